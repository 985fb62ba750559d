//! Fetching: manifests, and blobs on demand.
//!
//! OCI distribution specification 1.1, "Pull".

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ureq::http::{Method, header};

use super::cache::{CacheWriter, open_at};
use super::error::{ConnectionError, RegistryError};
use super::session::{Endpoint, Session};
use crate::digest::Digest;
use crate::image::{
    Artifact, Blob, BlobSource, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Documents, IMAGE_INDEX,
    IMAGE_MANIFEST, media_type_of,
};
use crate::progress::{Direction, Transfer, TransferState};
use crate::reference::RemoteName;
use crate::store::http::retry::{Backoff, RetryDecision};
use crate::store::http::{Request, Response, body_error};

/// Limit for a manifest, in bytes; the specification advises registries to refuse more than 4 MiB.
const DOCUMENT_BYTES: u64 = 8 << 20;
/// Progress after which a reader's retry budget is renewed, in bytes.
const GOOD_PROGRESS: u64 = 1 << 20;
/// Bytes between progress reports.
const REPORT_EVERY: u64 = 256 << 10;

/// Returns the `Accept` header for manifests.
fn accepted() -> String {
    [IMAGE_INDEX, IMAGE_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ")
}

/// Resolves a name, with the document if fetching was necessary.
pub(super) fn resolve(
    session: &Session,
    name: &RemoteName,
) -> Result<(Descriptor, Option<Vec<u8>>), RegistryError> {
    if let (Some(digest), Some(cache)) = (name.digest, &session.cache)
        && let Some(bytes) = cache.document(digest, DOCUMENT_BYTES)
    {
        return Ok((describe("", digest, &bytes), Some(bytes)));
    }
    session.try_endpoints(&name.registry, |endpoint| resolve_at(session, endpoint, name))
}

/// Resolves a name at one endpoint.
pub(super) fn resolve_at(
    session: &Session,
    endpoint: &Endpoint,
    name: &RemoteName,
) -> Result<(Descriptor, Option<Vec<u8>>), RegistryError> {
    let request = |method| {
        let url = endpoint.url(&name.repository, &format!("manifests/{}", name.reference()));
        Request::new(method, url).with(header::ACCEPT, accepted())
    };
    let scope = endpoint.scope(&name.repository);
    // One attempt only: registries refuse HEAD (403, 404, 405), limit the rate below that of GET
    // (429), and give no reason in the response.
    let mut backoff = session.backoff(endpoint);
    match session.send_once(endpoint, &scope, &request(Method::HEAD)) {
        Ok(response) if response.status == 200 => {
            if let Some(found) = described(name, &response)? {
                return Ok((found, None));
            }
        }
        Ok(_) => {}
        Err(error) if error.is_transient() && backoff.wait(&error, None) != RetryDecision::GiveUp => {}
        Err(error) => return Err(error),
    }
    let never = AtomicBool::new(false);
    session.read_with(endpoint, &scope, &request(Method::GET), &mut backoff, &never, |response| {
        if response.status != 200 {
            return Err(response.into_error(&name.to_string()));
        }
        let promised = name.digest.or_else(|| promised_digest(&response));
        let media_type = media_type(&response);
        let bytes = response.bytes(DOCUMENT_BYTES)?;
        let found = promised.map_or_else(|| Digest::of(&bytes), |expected| expected.recomputed(&bytes));
        match promised {
            Some(expected) if expected != found => {
                Err(RegistryError::Digest { what: name.to_string(), expected, found })
            }
            _ => Ok((describe(&media_type, found, &bytes), Some(bytes))),
        }
    })
}

/// Returns the descriptor, if the headers suffice.
fn described(name: &RemoteName, response: &Response) -> Result<Option<Descriptor>, RegistryError> {
    let promised = promised_digest(response);
    if let (Some(expected), Some(found)) = (name.digest, promised)
        && expected.algorithm() == found.algorithm()
        && expected != found
    {
        return Err(RegistryError::Digest { what: name.to_string(), expected, found });
    }
    let size = response.header("content-length").and_then(|size| size.parse().ok());
    let media_type = media_type(response);
    Ok(match (name.digest.or(promised), size) {
        (Some(digest), Some(size)) if !media_type.is_empty() => {
            Some(Descriptor::new(media_type, digest, size))
        }
        _ => None,
    })
}

fn promised_digest(response: &Response) -> Option<Digest> {
    response.header("docker-content-digest")?.parse().ok()
}

fn media_type(response: &Response) -> String {
    let whole = response.header("content-type").unwrap_or_default();
    whole.split(';').next().unwrap_or_default().trim().to_owned()
}

fn describe(declared: &str, digest: Digest, bytes: &[u8]) -> Descriptor {
    let own = serde_json::from_slice(bytes).ok().and_then(|document| media_type_of(&document));
    Descriptor::new(own.unwrap_or_else(|| declared.to_owned()), digest, bytes.len() as u64)
}

/// Reads an image or an index.
pub(super) fn read(session: &Arc<Session>, name: &RemoteName) -> Result<Artifact, RegistryError> {
    let (descriptor, bytes) = resolve(session, name)?;
    let documents =
        RepositoryDocuments { session, name, at_hand: bytes.map(|bytes| (descriptor.digest, bytes)) };
    Artifact::read(&descriptor, &documents).map_err(|error| match error {
        RegistryError::Image { source, .. } => RegistryError::Image { name: name.to_string(), source },
        other => other,
    })
}

/// The documents and blobs of a repository.
struct RepositoryDocuments<'a> {
    session: &'a Arc<Session>,
    name: &'a RemoteName,
    at_hand: Option<(Digest, Vec<u8>)>,
}

impl Documents for RepositoryDocuments<'_> {
    type Error = RegistryError;

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let kept = self.session.cache.as_ref();
        let bytes = match &self.at_hand {
            Some((digest, bytes)) if *digest == descriptor.digest => Some(bytes.clone()),
            _ => kept.and_then(|cache| cache.document(descriptor.digest, DOCUMENT_BYTES)),
        };
        let fetch =
            || self.session.try_endpoints(&self.name.registry, |endpoint| self.fetch(endpoint, descriptor));
        let bytes = bytes.map_or_else(fetch, Ok)?;
        if let Some(cache) = kept
            && cache.find(descriptor.digest).is_none()
        {
            cache.keep(descriptor.digest, &bytes);
        }
        Ok(bytes)
    }

    fn blob(&self, descriptor: &Descriptor) -> Blob {
        blob_of(self.session, self.name, descriptor)
    }
}

/// Returns a blob of the repository of `name`, fetched when read.
pub(super) fn blob_of(session: &Arc<Session>, name: &RemoteName, descriptor: &Descriptor) -> Blob {
    Blob::Source(Arc::new(RemoteBlob {
        session: session.clone(),
        place: RemoteName { tag: None, digest: None, ..name.clone() },
        digest: descriptor.digest,
        size: descriptor.size,
    }))
}

impl RepositoryDocuments<'_> {
    fn fetch(&self, endpoint: &Endpoint, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let name = self.name.with_digest(descriptor.digest);
        let url = endpoint.url(&name.repository, &format!("manifests/{}", descriptor.digest));
        let request = Request::new(Method::GET, url).with(header::ACCEPT, accepted());
        self.session.read(endpoint, &endpoint.scope(&name.repository), &request, |response| {
            if response.status != 200 {
                return Err(response.into_error(&name.to_string()));
            }
            let bytes = response.bytes(DOCUMENT_BYTES)?;
            let found = descriptor.digest.recomputed(&bytes);
            // A proxy may have truncated the body: the HTTP library enforces only a declared
            // length.
            if found != descriptor.digest {
                let expected = descriptor.digest;
                return Err(RegistryError::Digest { what: name.to_string(), expected, found });
            }
            Ok(bytes)
        })
    }
}

/// A blob of a repository.
struct RemoteBlob {
    session: Arc<Session>,
    place: RemoteName,
    digest: Digest,
    size: u64,
}

impl fmt::Debug for RemoteBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteBlob({}@{})", self.place, self.digest)
    }
}

impl BlobSource for RemoteBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        if let Some(path) = self.session.cache.as_ref().and_then(|cache| cache.find(self.digest)) {
            return open_at(&path, from);
        }
        let writer = self.session.cache.as_ref().filter(|_| from == 0);
        let mut reader = BlobReader {
            session: self.session.clone(),
            name: RemoteName { digest: Some(self.digest), ..self.place.clone() },
            digest: self.digest,
            size: self.size,
            at: from.min(self.size),
            body: None,
            mirror: None,
            backoff: Backoff::new(&self.session.settings.retry),
            good_until: from,
            reported: from,
            writer: writer.and_then(|cache| cache.writer(self.digest)),
        };
        // Report a missing blob at once, not in the middle of the read.
        if reader.at < reader.size {
            reader.connect().map_err(RegistryError::into_io)?;
        }
        Ok(Box::new(reader))
    }

    fn repository(&self) -> Option<RemoteName> {
        Some(self.place.clone())
    }
}

/// A reader of a blob that resumes after a cut connection.
struct BlobReader {
    session: Arc<Session>,
    name: RemoteName,
    digest: Digest,
    size: u64,
    at: u64,
    body: Option<Box<dyn Read + Send>>,
    /// The mirror of the current body.
    mirror: Option<String>,
    backoff: Backoff,
    /// The offset at the last renewal of the retry budget.
    good_until: u64,
    reported: u64,
    writer: Option<CacheWriter>,
}

impl BlobReader {
    /// Requests the rest within the remaining retry budget.
    fn connect(&mut self) -> Result<(), RegistryError> {
        let (this, mut backoff) = (&*self, self.backoff.clone());
        let connected = this.session.try_endpoints(&this.name.registry, |endpoint| {
            let body = match &endpoint.mirror {
                Some(_) => this.connect_at(endpoint, &mut this.session.backoff(endpoint)),
                None => this.connect_at(endpoint, &mut backoff),
            };
            Ok((body?, endpoint.mirror.clone()))
        });
        self.backoff = backoff;
        let (body, mirror) = connected?;
        (self.body, self.mirror) = (Some(body), mirror);
        Ok(())
    }

    fn connect_at(
        &self,
        endpoint: &Endpoint,
        backoff: &mut Backoff,
    ) -> Result<Box<dyn Read + Send>, RegistryError> {
        let url = endpoint.url(&self.name.repository, &format!("blobs/{}", self.digest));
        let mut request = Request::new(Method::GET, url);
        if self.at > 0 {
            request = request.with(header::RANGE, format!("bytes={}-", self.at));
        }
        let scope = endpoint.scope(&self.name.repository);
        let never = AtomicBool::new(false);
        self.session.read_with(endpoint, &scope, &request, backoff, &never, |response| self.body_of(response))
    }

    /// Returns the body of a response, from this reader's offset.
    fn body_of(&self, response: Response) -> Result<Box<dyn Read + Send>, RegistryError> {
        let wrong = |reason: String| {
            let reason = format!("{} {reason}", self.digest);
            Err(RegistryError::Response { host: response.host(), reason })
        };
        let skip = match response.status {
            200 => self.at,
            206 if begins_at(response.header("content-range"), self.at) => 0,
            206 => return wrong("has another range than requested".to_owned()),
            _ => return Err(response.into_error(&self.name.to_string())),
        };
        let length = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let expected = self.size - self.at + skip;
        if let Some(length) = length.filter(|length| *length != expected) {
            return wrong(format!("should have {} bytes and has {}", self.size, length + self.at - skip));
        }
        let host = response.host();
        let mut body: Box<dyn Read + Send> = Box::new(response.body.into_reader());
        // A server without range support starts from the beginning.
        let skipped = io::copy(&mut (&mut body).take(skip), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == skip => Ok(body),
            Ok(_) => Err(RegistryError::Network { host, source: ConnectionError::Cut }),
            Err(error) => Err(body_error(&host, error, self.session.settings.silence_timeout)),
        }
    }

    /// Waits before the next request.
    fn pause(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.body = None;
        if let (Some(mirror), RegistryError::Stalled { .. }) = (self.mirror.take(), &error) {
            self.session.skip_mirror(&mirror);
        }
        if self.at >= self.good_until + GOOD_PROGRESS {
            self.backoff = Backoff::new(&self.session.settings.retry);
        }
        self.good_until = self.at;
        match (self.backoff.wait(&error, None), error) {
            (RetryDecision::After(_), _) => Ok(()),
            (RetryDecision::GiveUp, RegistryError::Network { host, source }) => Err(RegistryError::Network {
                host,
                source: ConnectionError::Incomplete {
                    digest: self.digest,
                    fetched: self.at,
                    size: self.size,
                    cause: Box::new(source),
                },
            }),
            (RetryDecision::GiveUp, error) => Err(error),
        }
    }

    fn report(&mut self, state: TransferState) {
        self.reported = self.at;
        if let Some(progress) = &self.session.progress {
            progress.transfer(&Transfer {
                name: &self.digest.to_string(),
                title: None,
                direction: Direction::Fetched,
                done_bytes: self.at,
                total_bytes: self.size,
                state,
            });
        }
    }

    /// Finishes: rejects excess bytes and releases the connection.
    fn end(&mut self) -> io::Result<()> {
        if let Some(mut body) = self.body.take() {
            if matches!(body.read(&mut [0]), Ok(1)) {
                self.writer = None;
                let reason = format!("{} has more than its {} bytes", self.digest, self.size);
                return Err(RegistryError::Response { host: self.name.registry.clone(), reason }.into_io());
            }
            self.report(TransferState::Done);
        }
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let left = self.size - self.at;
            if left == 0 {
                self.end()?;
                return Ok(0);
            }
            let Some(body) = &mut self.body else {
                self.connect().map_err(RegistryError::into_io)?;
                continue;
            };
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let host = || self.name.registry.clone();
            let error = match body.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(0) => RegistryError::Network { host: host(), source: ConnectionError::Cut },
                Ok(read) => {
                    self.at += read as u64;
                    if let Some(writer) = &mut self.writer {
                        writer.write(buffer.get(..read).unwrap_or_default());
                    }
                    if self.at - self.reported >= REPORT_EVERY {
                        self.report(TransferState::Running);
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => body_error(&host(), error, self.session.settings.silence_timeout),
            };
            self.pause(error).map_err(RegistryError::into_io)?;
        }
    }
}

/// Returns whether `Content-Range: bytes 5-9/10` begins at `from`.
fn begins_at(header: Option<&str>, from: u64) -> bool {
    let first = header.and_then(|header| header.trim().strip_prefix("bytes ")?.split_once('-'));
    first.is_some_and(|(first, _)| first.trim().parse() == Ok(from))
}
