//! Uploading one blob: in one request, or in chunks after a refusal or a cut connection.
//!
//! OCI distribution specification 1.1, "Pushing blobs".

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::{Method, header};

use super::auth::Scope;
use super::error::RegistryError;
use super::http::{Answer, Payload, Request};
use super::patience::{Patience, Verdict, is_transient};
use super::session::{Endpoint, Session, failure, given_up, same_registry};
use super::url::Url;
use crate::digest::Digest;
use crate::image::{Blob, Descriptor};
use crate::progress::{Direction, Progress, Transfer, TransferState};
use crate::reference::RemoteName;

/// The default chunk size.
const CHUNK_BYTES: u64 = 16 << 20;
/// The smallest chunk size tried.
const LEAST_CHUNK_BYTES: u64 = 128 << 10;
/// Limit for mount attempts of one blob; each is a request.
const MOST_MOUNTS: usize = 3;
/// Bytes between progress reports.
const TELL_EVERY: u64 = 256 << 10;
/// Time limit for cancelling an upload.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(5);
/// Progress after which the retry budget is renewed, in bytes.
const GOOD_PROGRESS: u64 = 1 << 20;

/// The destination of an upload.
pub(super) struct Target<'a> {
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
    least_chunk: u64,
}

/// The way of sending the rest.
#[derive(Clone, Copy)]
enum Mode {
    /// In the request that ends the upload.
    Whole,
    /// In one request before the end, without ranges, as docker and go-containerregistry do.
    Streamed,
    /// In requests of this many bytes.
    Chunks(u64),
}

/// The outcome of one attempt.
enum Step {
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

impl Target<'_> {
    /// Makes sure that the repository has the blob.
    pub(super) fn ensure(&self, descriptor: &Descriptor, blob: &Blob) -> Result<(), RegistryError> {
        if self.has(descriptor)? {
            self.tell(descriptor, descriptor.size, TransferState::Present);
            return Ok(());
        }
        let begun = match self.mount(descriptor, blob)? {
            Mounted::Done => {
                self.tell(descriptor, descriptor.size, TransferState::Mounted);
                return Ok(());
            }
            Mounted::Begun(upload) => Some(upload),
            Mounted::Not => None,
        };
        self.send(descriptor, blob, begun)?;
        self.tell(descriptor, descriptor.size, TransferState::Done);
        Ok(())
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let url = self.endpoint.url(&self.name.repository, &format!("blobs/{}", descriptor.digest));
        let answer = match self.ask(&Request::new(Method::HEAD, url)) {
            Ok(answer) => answer,
            Err(error) if error.is_transient() => return Err(error),
            // Registries refuse HEAD or limit its rate more; the upload reports real errors.
            Err(_) => return Ok(false),
        };
        match answer.status {
            200 => {
                // A blob of another size is damaged.
                let size = answer.header("content-length").and_then(|size| size.parse::<u64>().ok());
                Ok(size.is_none_or(|size| size == descriptor.size))
            }
            _ => Ok(false),
        }
    }

    /// Sends a request with retries, unless another blob has failed.
    fn ask(&self, request: &Request) -> Result<Answer, RegistryError> {
        let mut patience = self.session.patience(self.endpoint);
        self.session.read_with(self.endpoint, self.scope, request, &mut patience, &self.stopped, Ok)
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
            let Ok(answer) = self.session.send_once(self.endpoint, &scope, &request) else { continue };
            match answer.status {
                201 => {
                    answer.drain();
                    self.cancel(begun);
                    return Ok(Mounted::Done);
                }
                202 => {
                    let upload = Upload::begun(&answer)?;
                    answer.drain();
                    self.cancel(begun.replace(upload));
                }
                _ => answer.drain(),
            }
        }
        Ok(begun.map_or(Mounted::Not, Mounted::Begun))
    }

    /// Cancels an upload. A registry that misses the request expires the upload.
    fn cancel(&self, upload: Option<Upload>) {
        if let Some(upload) = upload {
            let request = Request::new(Method::DELETE, upload.location).within(FAREWELL);
            if let Ok(answer) = self.session.send_once(self.endpoint, self.scope, &request) {
                answer.drain();
            }
        }
    }

    fn begin(&self) -> Result<Upload, RegistryError> {
        let url = self.endpoint.url(&self.name.repository, "blobs/uploads/");
        let answer = self.ask(&Request::new(Method::POST, url))?;
        // 202 is the specification's, 200 is Amazon ECR's.
        if !matches!(answer.status, 200..=204) {
            return Err(answer.into_error(&self.name.path()));
        }
        let upload = Upload::begun(&answer)?;
        answer.drain();
        Ok(upload)
    }

    fn send(&self, descriptor: &Descriptor, blob: &Blob, begun: Option<Upload>) -> Result<(), RegistryError> {
        let settings = &self.session.settings;
        let mut patience = Patience::new(&settings.retry);
        let (mut good_until, mut unchunked) = (0, false);
        let mut mode = match settings.chunk_bytes {
            Some(bytes) => Mode::Chunks(bytes.get()),
            None if self.bodiless.load(Ordering::Relaxed) => Mode::Streamed,
            None => Mode::Whole,
        };
        let mut upload = match begun {
            Some(upload) => upload,
            None => self.begin()?,
        };
        loop {
            // A blob within one chunk is one request; otherwise all bytes go in chunks, and the
            // last request has no body.
            let step = match mode {
                Mode::Chunks(bytes)
                    if upload.at < descriptor.size
                        && (upload.at + descriptor.size > bytes || self.bodiless.load(Ordering::Relaxed)) =>
                {
                    let bytes = bytes.max(upload.least_chunk);
                    self.chunk(descriptor, blob, upload, Some(bytes))?
                }
                Mode::Streamed if upload.at < descriptor.size => {
                    self.chunk(descriptor, blob, upload, None)?
                }
                Mode::Chunks(_) | Mode::Streamed | Mode::Whole => self.finish(descriptor, blob, upload)?,
            };
            upload = match step {
                Step::Done => return Ok(()),
                Step::On(upload) => upload,
                Step::TooLarge(upload, bytes) => {
                    let smaller = match mode {
                        Mode::Whole | Mode::Streamed => CHUNK_BYTES.min(bytes / 2),
                        Mode::Chunks(_) => bytes / 2,
                    };
                    if smaller < LEAST_CHUNK_BYTES.max(upload.least_chunk) {
                        return Err(RegistryError::TooLarge { host: self.name.registry.clone(), bytes });
                    }
                    mode = Mode::Chunks(smaller);
                    self.resume(&upload, descriptor)?
                }
                Step::Bodiless(error, upload) if matches!(mode, Mode::Streamed) => {
                    self.cancel(Some(upload));
                    return Err(error);
                }
                Step::Unchunked(error, upload) => {
                    self.cancel(Some(upload));
                    if std::mem::replace(&mut unchunked, true) || self.bodiless.load(Ordering::Relaxed) {
                        return Err(error);
                    }
                    mode = Mode::Whole;
                    self.begin()?
                }
                Step::Bodiless(_, upload) => {
                    // Spare the image's other blobs the same attempt.
                    self.bodiless.store(true, Ordering::Relaxed);
                    self.cancel(Some(upload));
                    mode = Mode::Streamed;
                    self.begin()?
                }
                Step::Failed(error, _, upload) if self.stopped.load(Ordering::Relaxed) => {
                    self.cancel(Some(upload));
                    return Err(error);
                }
                Step::Failed(error, asked, upload) => {
                    if upload.at >= good_until + GOOD_PROGRESS {
                        patience = Patience::new(&settings.retry);
                    }
                    good_until = upload.at;
                    if patience.wait(&error, asked) == Verdict::Enough {
                        self.cancel(Some(upload));
                        return Err(given_up(error, asked));
                    }
                    // A proxy that refuses large requests may cut the connection before its
                    // response is read. Besides, chunks that arrived need no second upload.
                    mode = match mode {
                        Mode::Whole | Mode::Streamed => Mode::Chunks(CHUNK_BYTES),
                        Mode::Chunks(bytes) => Mode::Chunks((bytes / 2).max(LEAST_CHUNK_BYTES)),
                    };
                    self.resume(&upload, descriptor)?
                }
            };
        }
    }

    /// Asks for an upload's progress; begins another if the registry forgot it.
    fn resume(&self, upload: &Upload, descriptor: &Descriptor) -> Result<Upload, RegistryError> {
        let request = Request::new(Method::GET, upload.location.clone());
        let answer = self.ask(&request)?;
        if !matches!(answer.status, 200 | 202 | 204) {
            answer.drain();
            return self.begin();
        }
        let at = received(&answer);
        let location = location(&answer).unwrap_or_else(|| upload.location.clone());
        answer.drain();
        let resumed = Upload { location, at, least_chunk: upload.least_chunk };
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
    ) -> Result<Step, RegistryError> {
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
            Ok(answer) if matches!(answer.status, 200..=204) => {
                let (at, sent) = (received(&answer), upload.at + size);
                let next = Upload {
                    location: location(&answer).unwrap_or_else(|| upload.location.clone()),
                    // Some registries omit the range, and some count one byte too many.
                    at: if at == 0 || at == sent + 1 { sent } else { at },
                    least_chunk: upload.least_chunk,
                };
                answer.drain();
                if next.at > sent {
                    let reason = format!("it has received more than was sent of {}", descriptor.digest);
                    return Err(RegistryError::Answer { host: self.name.registry.clone(), reason });
                }
                if next.at <= upload.at {
                    let reason = "it takes no bytes".to_owned();
                    let error = RegistryError::Network { host: self.name.registry.clone(), reason };
                    return Ok(Step::Failed(error, None, next));
                }
                Ok(Step::On(next))
            }
            Ok(answer) if upload.at == 0 && matches!(answer.status, 405 | 501) => {
                let error = answer.into_error(&format!("upload of a blob in {}", self.name.path()));
                Ok(Step::Unchunked(error, upload))
            }
            // Out of step: the registry has other bytes than assumed.
            Ok(answer) if answer.status == 416 => {
                let (error, asked) = failure(answer);
                Ok(Step::Failed(error, asked, upload))
            }
            other => self.refused(other, upload, size),
        }
    }

    /// Sends the rest with the digest.
    fn finish(&self, descriptor: &Descriptor, blob: &Blob, upload: Upload) -> Result<Step, RegistryError> {
        let size = descriptor.size - upload.at;
        let url = upload.location.with("digest", &descriptor.digest.to_string());
        let request = Request::new(Method::PUT, url).with(header::CONTENT_TYPE, "application/octet-stream");
        match self.stream(descriptor, blob, upload.at, size, request.settling(descriptor.size))? {
            // 201 is the specification's; others confirm with 200, 202 or 204.
            Ok(answer) if matches!(answer.status, 200..=204) => {
                let told =
                    answer.header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
                answer.drain();
                match told {
                    Some(found)
                        if found.algorithm() == descriptor.digest.algorithm()
                            && found != descriptor.digest =>
                    {
                        let (what, expected) = (format!("a blob of {}", self.name.path()), descriptor.digest);
                        Err(RegistryError::Digest { what, expected, found })
                    }
                    _ => Ok(Step::Done),
                }
            }
            Ok(answer) if size > 0 && refuses_bodies(answer.status) => {
                let error = answer.into_error(&format!("upload of a blob in {}", self.name.path()));
                Ok(Step::Bodiless(error, upload))
            }
            // The upload succeeded, and only the response was lost.
            Ok(answer) if answer.status == 404 && self.has(descriptor)? => Ok(Step::Done),
            Err(error) if error.is_transient() && self.has(descriptor).unwrap_or(false) => Ok(Step::Done),
            other => self.refused(other, upload, size),
        }
    }

    fn refused(
        &self,
        answer: Result<Answer, RegistryError>,
        upload: Upload,
        size: u64,
    ) -> Result<Step, RegistryError> {
        match answer {
            Ok(answer) if answer.status == 413 => {
                answer.drain();
                Ok(Step::TooLarge(upload, size))
            }
            Ok(answer) if answer.status == 404 => {
                let reason = format!("it has forgotten an upload in {}", self.name.path());
                let error = RegistryError::Answer { host: answer.host(), reason };
                answer.drain();
                Ok(Step::Failed(error, None, upload))
            }
            Ok(answer) if is_transient(answer.status) => {
                let (error, asked) = failure(answer);
                Ok(Step::Failed(error, asked, upload))
            }
            Ok(answer) => {
                let error = answer.into_error(&format!("upload of a blob in {}", self.name.path()));
                self.cancel(Some(upload));
                Err(error)
            }
            Err(error) if error.is_transient() => Ok(Step::Failed(error, None, upload)),
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
    ) -> Result<Result<Answer, RegistryError>, RegistryError> {
        let failed = RefCell::new(None);
        let open = || -> io::Result<Box<dyn Read + '_>> {
            let inner = if size == 0 {
                Ok(Box::new(io::empty()) as Box<dyn Read + Send>)
            } else {
                blob.open_from(from)
            };
            let inner = inner.map_err(|error| note(&failed, error))?;
            Ok(Box::new(Counted {
                inner,
                left: size,
                at: from,
                told: from,
                failed: &failed,
                target: self,
                descriptor,
            }))
        };
        let request = Request { payload: Payload::Stream(size, &open), ..request };
        let answer = self.session.send_once(self.endpoint, self.scope, &request);
        drop(request);
        match failed.into_inner() {
            // The request was incomplete, whatever the response.
            Some(source) => Err(RegistryError::Blob { digest: descriptor.digest, source }),
            None => Ok(answer),
        }
    }

    fn tell(&self, descriptor: &Descriptor, done_bytes: u64, state: TransferState) {
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
    fn begun(answer: &Answer) -> Result<Self, RegistryError> {
        let location = location(answer).ok_or_else(|| RegistryError::Answer {
            host: answer.host(),
            reason: "it does not say where to send a blob".to_owned(),
        })?;
        let least = answer.header("oci-chunk-min-length").and_then(|bytes| bytes.trim().parse().ok());
        Ok(Self { location, at: 0, least_chunk: least.unwrap_or(0) })
    }
}

fn location(answer: &Answer) -> Option<Url> {
    answer.url.join(answer.header("location")?)
}

/// Returns the number of bytes received: `Range: 0-9` is ten, and registries send `0-0` for none.
fn received(answer: &Answer) -> u64 {
    let range = answer.header("range").map(|range| range.trim().trim_start_matches("bytes="));
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
struct Counted<'a> {
    inner: Box<dyn Read + Send>,
    left: u64,
    at: u64,
    told: u64,
    failed: &'a RefCell<Option<io::Error>>,
    target: &'a Target<'a>,
    descriptor: &'a Descriptor,
}

impl Read for Counted<'_> {
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
                let short = format!("it has {} of {} bytes", self.at, self.descriptor.size);
                Err(note(self.failed, io::Error::new(io::ErrorKind::UnexpectedEof, short)))
            }
            Ok(read) => {
                self.left -= read as u64;
                self.at += read as u64;
                if self.at - self.told >= TELL_EVERY {
                    self.told = self.at;
                    self.target.tell(self.descriptor, self.at, TransferState::Running);
                }
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(note(self.failed, error)),
        }
    }
}
