//! Uploading one blob: in one request, or in chunks after a refusal or a cut connection.
//!
//! OCI distribution specification 1.1, "Pushing blobs".

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::{Method, header};

use super::auth::Scope;
use super::error::{ConnectionError, RegistryError};
use super::session::{Endpoint, Session, failure, final_error, same_registry};
use crate::digest::Digest;
use crate::image::{Blob, Descriptor};
use crate::progress::{Direction, Progress, Transfer, TransferState};
use crate::reference::RemoteName;
use crate::store::http::retry::{Backoff, RetryDecision, is_transient};
use crate::store::http::url::Url;
use crate::store::http::{Payload, Request, Response};

/// The default chunk size.
const CHUNK_BYTES: u64 = 16 << 20;
/// The smallest chunk size tried.
const MIN_CHUNK_BYTES: u64 = 128 << 10;
/// Limit for mount attempts of one blob; each is a request.
const MOST_MOUNTS: usize = 3;
/// Bytes between progress reports.
const REPORT_EVERY: u64 = 256 << 10;
/// Time limit for cancelling an upload.
const CANCEL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Progress after which the retry budget is renewed, in bytes.
const GOOD_PROGRESS: u64 = 1 << 20;

/// The destination of an upload.
pub(super) struct PushTarget<'a> {
    pub(super) session: &'a Session,
    pub(super) endpoint: &'a Endpoint,
    pub(super) scope: &'a Scope,
    pub(super) name: &'a RemoteName,
    pub(super) progress: &'a dyn Progress,
    /// Display names of layers.
    pub(super) titles: BTreeMap<Digest, String>,
    /// Set when another blob has failed, to stop early.
    pub(super) stopped: AtomicBool,
    /// Set when the registry refuses a body in the request that ends an upload.
    pub(super) bodiless: AtomicBool,
}

/// An upload session of the registry.
struct Upload {
    location: Url,
    /// Bytes received by the registry.
    at: u64,
    /// The smallest allowed chunk.
    min_chunk: u64,
}

/// The way of sending the rest.
#[derive(Clone, Copy)]
enum UploadMode {
    /// In the request that ends the upload.
    Whole,
    /// In one request before the end, without ranges, as docker and go-containerregistry do.
    Streamed,
    /// In requests of this many bytes.
    Chunks(u64),
}

/// The outcome of one attempt.
enum AttemptOutcome {
    Done,
    /// Continue with the rest.
    On(Upload),
    /// The request was too large for the registry or a proxy.
    TooLarge(Upload, u64),
    /// The registry refuses bodies in the request that ends the upload.
    Bodiless(RegistryError, Upload),
    /// The registry accepts bodies in that request only.
    Unchunked(RegistryError, Upload),
    /// A failure worth a retry.
    Failed(RegistryError, Option<std::time::Duration>, Upload),
}

impl PushTarget<'_> {
    /// Makes sure that the repository has the blob.
    pub(super) fn ensure(&self, descriptor: &Descriptor, blob: &Blob) -> Result<(), RegistryError> {
        if self.has(descriptor)? {
            self.report(descriptor, descriptor.size, TransferState::Present);
            return Ok(());
        }
        let begun = match self.mount(descriptor, blob)? {
            Mounted::Done => {
                self.report(descriptor, descriptor.size, TransferState::Mounted);
                return Ok(());
            }
            Mounted::Begun(upload) => Some(upload),
            Mounted::Not => None,
        };
        self.send(descriptor, blob, begun)?;
        self.report(descriptor, descriptor.size, TransferState::Done);
        Ok(())
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let url = self.endpoint.url(&self.name.repository, &format!("blobs/{}", descriptor.digest));
        let response = match self.ask(&Request::new(Method::HEAD, url)) {
            Ok(response) => response,
            Err(error) if error.is_transient() => return Err(error),
            // Registries refuse HEAD or limit its rate more; the upload reports real errors.
            Err(_) => return Ok(false),
        };
        match response.status {
            200 => {
                // A blob of another size is damaged.
                let size = response.header("content-length").and_then(|size| size.parse::<u64>().ok());
                Ok(size.is_none_or(|size| size == descriptor.size))
            }
            _ => Ok(false),
        }
    }

    /// Sends a request with retries, unless another blob has failed.
    fn ask(&self, request: &Request) -> Result<Response, RegistryError> {
        let mut backoff = self.session.backoff(self.endpoint);
        self.session.read_with(self.endpoint, self.scope, request, &mut backoff, &self.stopped, Ok)
    }

    /// Asks the registry to mount the blob from another of its repositories. On failure, the blob
    /// is uploaded.
    fn mount(&self, descriptor: &Descriptor, blob: &Blob) -> Result<Mounted, RegistryError> {
        let known = blob.repository();
        let mut from: Vec<&str> = known
            .iter()
            .chain(&self.session.settings.mount_from)
            .filter(|other| same_registry(&other.registry, &self.name.registry))
            .map(|other| other.repository.as_str())
            .filter(|other| *other != self.name.repository)
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        from.retain(|repository| seen.insert(*repository));
        let mut begun: Option<Upload> = None;
        for repository in from.into_iter().take(MOST_MOUNTS) {
            let url = self
                .endpoint
                .url(&self.name.repository, "blobs/uploads/")
                .with("mount", &descriptor.digest.to_string())
                .with("from", repository);
            let request = Request::new(Method::POST, url);
            let scope = self.scope.mounting(repository);
            let Ok(response) = self.session.send_once(self.endpoint, &scope, &request) else { continue };
            match response.status {
                201 => {
                    response.drain();
                    self.cancel(begun);
                    return Ok(Mounted::Done);
                }
                202 => {
                    let upload = Upload::begun(&response)?;
                    response.drain();
                    self.cancel(begun.replace(upload));
                }
                _ => response.drain(),
            }
        }
        Ok(begun.map_or(Mounted::Not, Mounted::Begun))
    }

    /// Cancels an upload. A registry that misses the request expires the upload.
    fn cancel(&self, upload: Option<Upload>) {
        if let Some(upload) = upload {
            let request = Request::new(Method::DELETE, upload.location).within(CANCEL_TIMEOUT);
            if let Ok(response) = self.session.send_once(self.endpoint, self.scope, &request) {
                response.drain();
            }
        }
    }

    fn begin(&self) -> Result<Upload, RegistryError> {
        let url = self.endpoint.url(&self.name.repository, "blobs/uploads/");
        let response = self.ask(&Request::new(Method::POST, url))?;
        // 202 is the specification's, 200 is Amazon ECR's.
        if !matches!(response.status, 200..=204) {
            return Err(response.into_error(&self.name.path()));
        }
        let upload = Upload::begun(&response)?;
        response.drain();
        Ok(upload)
    }

    /// Sends the next request of an upload. A blob within one chunk is one request; otherwise all
    /// bytes go in chunks, and the last request has no body.
    fn step(
        &self,
        descriptor: &Descriptor,
        blob: &Blob,
        upload: Upload,
        mode: UploadMode,
    ) -> Result<AttemptOutcome, RegistryError> {
        match mode {
            UploadMode::Chunks(bytes)
                if upload.at < descriptor.size
                    && (upload.at + descriptor.size > bytes || self.bodiless.load(Ordering::Relaxed)) =>
            {
                let bytes = bytes.max(upload.min_chunk);
                self.chunk(descriptor, blob, upload, Some(bytes))
            }
            UploadMode::Streamed if upload.at < descriptor.size => self.chunk(descriptor, blob, upload, None),
            UploadMode::Chunks(_) | UploadMode::Streamed | UploadMode::Whole => {
                self.finish(descriptor, blob, upload)
            }
        }
    }

    fn send(&self, descriptor: &Descriptor, blob: &Blob, begun: Option<Upload>) -> Result<(), RegistryError> {
        let settings = &self.session.settings;
        let mut backoff = Backoff::new(&settings.retry);
        let (mut good_until, mut unchunked) = (0, false);
        let mut mode = match settings.chunk_bytes {
            Some(bytes) => UploadMode::Chunks(bytes.get()),
            None if self.bodiless.load(Ordering::Relaxed) => UploadMode::Streamed,
            None => UploadMode::Whole,
        };
        let mut upload = match begun {
            Some(upload) => upload,
            None => self.begin()?,
        };
        loop {
            upload = match self.step(descriptor, blob, upload, mode)? {
                AttemptOutcome::Done => return Ok(()),
                AttemptOutcome::On(upload) => upload,
                AttemptOutcome::TooLarge(upload, bytes) => {
                    let smaller = match mode {
                        UploadMode::Whole | UploadMode::Streamed => CHUNK_BYTES.min(bytes / 2),
                        UploadMode::Chunks(_) => bytes / 2,
                    };
                    if smaller < MIN_CHUNK_BYTES.max(upload.min_chunk) {
                        return Err(RegistryError::TooLarge { host: self.name.registry.clone(), bytes });
                    }
                    mode = UploadMode::Chunks(smaller);
                    self.resume(&upload, descriptor)?
                }
                AttemptOutcome::Bodiless(error, upload) if matches!(mode, UploadMode::Streamed) => {
                    self.cancel(Some(upload));
                    return Err(error);
                }
                AttemptOutcome::Unchunked(error, upload) => {
                    self.cancel(Some(upload));
                    if std::mem::replace(&mut unchunked, true) || self.bodiless.load(Ordering::Relaxed) {
                        return Err(error);
                    }
                    mode = UploadMode::Whole;
                    self.begin()?
                }
                AttemptOutcome::Bodiless(_, upload) => {
                    // Spare the image's other blobs the same attempt.
                    self.bodiless.store(true, Ordering::Relaxed);
                    self.cancel(Some(upload));
                    mode = UploadMode::Streamed;
                    self.begin()?
                }
                AttemptOutcome::Failed(error, _, upload) if self.stopped.load(Ordering::Relaxed) => {
                    self.cancel(Some(upload));
                    return Err(error);
                }
                AttemptOutcome::Failed(error, asked, upload) => {
                    if upload.at >= good_until + GOOD_PROGRESS {
                        backoff = Backoff::new(&settings.retry);
                    }
                    good_until = upload.at;
                    if backoff.wait(&error, asked) == RetryDecision::GiveUp {
                        self.cancel(Some(upload));
                        return Err(final_error(error, asked));
                    }
                    // A proxy that refuses large requests may cut the connection before its
                    // response is read. Besides, chunks that arrived need no second upload.
                    mode = match mode {
                        UploadMode::Whole | UploadMode::Streamed => UploadMode::Chunks(CHUNK_BYTES),
                        UploadMode::Chunks(bytes) => UploadMode::Chunks((bytes / 2).max(MIN_CHUNK_BYTES)),
                    };
                    self.resume(&upload, descriptor)?
                }
            };
        }
    }

    /// Asks for an upload's progress; begins another if the registry forgot it.
    fn resume(&self, upload: &Upload, descriptor: &Descriptor) -> Result<Upload, RegistryError> {
        let request = Request::new(Method::GET, upload.location.clone());
        let response = self.ask(&request)?;
        if !matches!(response.status, 200 | 202 | 204) {
            response.drain();
            return self.begin();
        }
        let at = received(&response);
        let location = location(&response).unwrap_or_else(|| upload.location.clone());
        response.drain();
        let resumed = Upload { location, at, min_chunk: upload.min_chunk };
        if at > descriptor.size {
            self.cancel(Some(resumed));
            return self.begin();
        }
        Ok(resumed)
    }

    /// Sends a part of the rest: `bytes` of it, or everything without a limit.
    fn chunk(
        &self,
        descriptor: &Descriptor,
        blob: &Blob,
        upload: Upload,
        bytes: Option<u64>,
    ) -> Result<AttemptOutcome, RegistryError> {
        let left = descriptor.size - upload.at;
        let size = bytes.map_or(left, |bytes| bytes.min(left));
        let mut request = Request::new(Method::PATCH, upload.location.clone())
            .with(header::CONTENT_TYPE, "application/octet-stream");
        if bytes.is_some() || upload.at > 0 {
            let range = format!("{}-{}", upload.at, upload.at + size - 1);
            request = request.with(header::CONTENT_RANGE, range);
        }
        match self.stream(descriptor, blob, upload.at, size, request.settling(size))? {
            // 202 is the specification's, 201 is Amazon ECR's.
            Ok(response) if matches!(response.status, 200..=204) => {
                let (at, sent) = (received(&response), upload.at + size);
                let next = Upload {
                    location: location(&response).unwrap_or_else(|| upload.location.clone()),
                    // Some registries omit the range, and some count one byte too many.
                    at: if at == 0 || at == sent + 1 { sent } else { at },
                    min_chunk: upload.min_chunk,
                };
                response.drain();
                if next.at > sent {
                    let reason =
                        format!("the registry reports more bytes than sent of {}", descriptor.digest);
                    return Err(RegistryError::Response { host: self.name.registry.clone(), reason });
                }
                if next.at <= upload.at {
                    let source = ConnectionError::Other("the registry accepts no bytes");
                    let error = RegistryError::Network { host: self.name.registry.clone(), source };
                    return Ok(AttemptOutcome::Failed(error, None, next));
                }
                Ok(AttemptOutcome::On(next))
            }
            Ok(response) if upload.at == 0 && matches!(response.status, 405 | 501) => {
                let error = response.into_error(&format!("upload of a blob in {}", self.name.path()));
                Ok(AttemptOutcome::Unchunked(error, upload))
            }
            // Out of step: the registry has other bytes than assumed.
            Ok(response) if response.status == 416 => {
                let (error, asked) = failure(response);
                Ok(AttemptOutcome::Failed(error, asked, upload))
            }
            other => self.refused(other, upload, size),
        }
    }

    /// Sends the rest with the digest.
    fn finish(
        &self,
        descriptor: &Descriptor,
        blob: &Blob,
        upload: Upload,
    ) -> Result<AttemptOutcome, RegistryError> {
        let size = descriptor.size - upload.at;
        let url = upload.location.with("digest", &descriptor.digest.to_string());
        let request = Request::new(Method::PUT, url).with(header::CONTENT_TYPE, "application/octet-stream");
        match self.stream(descriptor, blob, upload.at, size, request.settling(descriptor.size))? {
            // 201 is the specification's; others confirm with 200, 202 or 204.
            Ok(response) if matches!(response.status, 200..=204) => {
                let reported =
                    response.header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
                response.drain();
                match reported {
                    Some(found)
                        if found.algorithm() == descriptor.digest.algorithm()
                            && found != descriptor.digest =>
                    {
                        let (what, expected) = (format!("a blob of {}", self.name.path()), descriptor.digest);
                        Err(RegistryError::Digest { what, expected, found })
                    }
                    _ => Ok(AttemptOutcome::Done),
                }
            }
            Ok(response) if size > 0 && refuses_bodies(response.status) => {
                let error = response.into_error(&format!("upload of a blob in {}", self.name.path()));
                Ok(AttemptOutcome::Bodiless(error, upload))
            }
            // The upload succeeded, and only the response was lost.
            Ok(response) if response.status == 404 && self.has(descriptor)? => Ok(AttemptOutcome::Done),
            Err(error) if error.is_transient() && self.has(descriptor).unwrap_or(false) => {
                Ok(AttemptOutcome::Done)
            }
            other => self.refused(other, upload, size),
        }
    }

    fn refused(
        &self,
        response: Result<Response, RegistryError>,
        upload: Upload,
        size: u64,
    ) -> Result<AttemptOutcome, RegistryError> {
        match response {
            Ok(response) if response.status == 413 => {
                response.drain();
                Ok(AttemptOutcome::TooLarge(upload, size))
            }
            Ok(response) if response.status == 404 => {
                let reason = format!("unknown upload in {}", self.name.path());
                let error = RegistryError::Response { host: response.host(), reason };
                response.drain();
                Ok(AttemptOutcome::Failed(error, None, upload))
            }
            Ok(response) if is_transient(response.status) => {
                let (error, asked) = failure(response);
                Ok(AttemptOutcome::Failed(error, asked, upload))
            }
            Ok(response) => {
                let error = response.into_error(&format!("upload of a blob in {}", self.name.path()));
                self.cancel(Some(upload));
                Err(error)
            }
            Err(error) if error.is_transient() => Ok(AttemptOutcome::Failed(error, None, upload)),
            Err(error) => Err(error),
        }
    }

    /// Sends bytes of the blob with a request. The outer error is the blob's own.
    fn stream(
        &self,
        descriptor: &Descriptor,
        blob: &Blob,
        from: u64,
        size: u64,
        request: Request,
    ) -> Result<Result<Response, RegistryError>, RegistryError> {
        let failed = RefCell::new(None);
        let open = || -> io::Result<Box<dyn Read + '_>> {
            let inner = if size == 0 {
                Ok(Box::new(io::empty()) as Box<dyn Read + Send>)
            } else {
                blob.open_from(from)
            };
            let inner = inner.map_err(|error| note(&failed, error))?;
            Ok(Box::new(UploadReader {
                inner,
                left: size,
                at: from,
                reported: from,
                failed: &failed,
                target: self,
                descriptor,
            }))
        };
        let request = Request { payload: Payload::Stream(size, &open), ..request };
        let response = self.session.send_once(self.endpoint, self.scope, &request);
        drop(request);
        match failed.into_inner() {
            // The request was incomplete, whatever the response.
            Some(source) => Err(RegistryError::Blob { digest: descriptor.digest, cause: source }),
            None => Ok(response),
        }
    }

    fn report(&self, descriptor: &Descriptor, done_bytes: u64, state: TransferState) {
        self.progress.transfer(&Transfer {
            name: &descriptor.digest.to_string(),
            title: self.titles.get(&descriptor.digest).map(String::as_str),
            direction: Direction::Sent,
            done_bytes,
            total_bytes: descriptor.size,
            state,
        });
    }
}

/// Returns whether a status may mean that the request that ends an upload must have no body.
fn refuses_bodies(status: u16) -> bool {
    matches!(status, 400 | 405 | 411 | 415 | 422 | 501)
}

/// The outcome of a mount request.
enum Mounted {
    Done,
    /// The registry began an upload instead.
    Begun(Upload),
    Not,
}

impl Upload {
    fn begun(response: &Response) -> Result<Self, RegistryError> {
        let location = location(response).ok_or_else(|| RegistryError::Response {
            host: response.host(),
            reason: "no upload location in the response".to_owned(),
        })?;
        let least = response.header("oci-chunk-min-length").and_then(|bytes| bytes.trim().parse().ok());
        Ok(Self { location, at: 0, min_chunk: least.unwrap_or(0) })
    }
}

fn location(response: &Response) -> Option<Url> {
    response.url.join(response.header("location")?)
}

/// Returns the number of bytes received: `Range: 0-9` is ten, and registries send `0-0` for none.
fn received(response: &Response) -> u64 {
    let range = response.header("range").map(|range| range.trim().trim_start_matches("bytes="));
    let last = range.and_then(|range| range.strip_prefix("0-")?.parse::<u64>().ok());
    last.map_or(0, |last| if last == 0 { 0 } else { last.saturating_add(1) })
}

/// Stores an error and returns another of its kind.
fn note(aside: &RefCell<Option<io::Error>>, error: io::Error) -> io::Error {
    let kind = error.kind();
    *aside.borrow_mut() = Some(error);
    kind.into()
}

/// A reader of exactly the promised bytes; stores a blob's error.
struct UploadReader<'a> {
    inner: Box<dyn Read + Send>,
    left: u64,
    at: u64,
    reported: u64,
    failed: &'a RefCell<Option<io::Error>>,
    target: &'a PushTarget<'a>,
    descriptor: &'a Descriptor,
}

impl Read for UploadReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        if self.target.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("another blob has failed"));
        }
        match self.inner.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => {
                let short = format!("only {} of {} bytes available", self.at, self.descriptor.size);
                Err(note(self.failed, io::Error::new(io::ErrorKind::UnexpectedEof, short)))
            }
            Ok(read) => {
                self.left -= read as u64;
                self.at += read as u64;
                if self.at - self.reported >= REPORT_EVERY {
                    self.reported = self.at;
                    self.target.report(self.descriptor, self.at, TransferState::Running);
                }
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(note(self.failed, error)),
        }
    }
}
