//! Fetches files of mirrors: `http:`, `https:`, `file:` and `copy:`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use debian_archive::credentials::MirrorCredentials;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use ureq::http::{Method, header};

use super::store::{FetchedRelease, PartialFile};
use crate::apt::AptError;
use crate::digest::Digest;
use crate::error::FileError;
use crate::progress::{Direction, Progress, Transfer, TransferState};
use crate::store::Network;
use crate::store::http::retry::{Backoff, RetryDecision, is_transient, retry_after};
use crate::store::http::secret::Secret;
use crate::store::http::url::Url;
use crate::store::http::{Http, Request, Response, body_error};
use crate::store::registry::{ConnectionError, RegistryError, RegistrySettings};

/// Characters of paths that apt escapes.
const ESCAPED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'%').add(b'+').add(b'~').add(b'#').add(b'?').add(b'"').add(b'<').add(b'>');
/// Progress after which the retry budget is renewed, in bytes.
const GOOD_PROGRESS: u64 = 1 << 20;
/// Bytes between progress reports.
const REPORT_EVERY: u64 = 256 << 10;
const BUFFER_BYTES: usize = 64 << 10;

/// Fetches files of mirrors.
pub(super) struct Fetcher {
    http: Http,
    network: Network,
    settings: RegistrySettings,
    credentials: Vec<MirrorCredentials>,
}

/// The base address of a mirror, such as `http://deb.example/debian`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct MirrorUrl {
    /// The address, without a slash at the end and without credentials.
    base: String,
    /// The folder of a mirror on this machine.
    folder: Option<PathBuf>,
    /// `USER:PASSWORD`, percent-encoded.
    user: Option<Secret>,
}

/// The outcome of a conditional request.
pub(super) enum ReleaseResponse {
    Fetched(FetchedRelease),
    NotModified,
    Missing,
}

impl MirrorUrl {
    pub(super) fn parse(address: &str) -> Result<Self, AptError> {
        let address = address.trim_end_matches('/');
        let invalid = || AptError::Mirror(debian_archive::sources::shown(address));
        let local = ["file:", "copy:"].iter().find_map(|scheme| address.strip_prefix(scheme));
        if let Some(path) = local {
            let path = if path.starts_with("//") { path.get(2..).unwrap_or_default() } else { path };
            let path = percent_decode_str(path).decode_utf8().map_err(|_| invalid())?;
            if !path.starts_with('/') {
                return Err(invalid());
            }
            let folder = Some(PathBuf::from(path.as_ref()));
            return Ok(Self { base: address.to_owned(), folder, user: None });
        }
        let (scheme, rest) = address.split_once("://").ok_or_else(invalid)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let base = format!("{scheme}://{host}{path}");
        if Url::parse(&base).is_none() {
            return Err(invalid());
        }
        Ok(Self { base, folder: None, user: user.map(Secret::from) })
    }

    /// Returns the address of a file of the mirror, without credentials.
    pub(super) fn file(&self, path: &str) -> String {
        match self.folder {
            Some(_) => format!("{}/{path}", self.base),
            None => format!("{}/{}", self.base, utf8_percent_encode(path, ESCAPED)),
        }
    }

    /// Returns true for a mirror on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.folder.is_some()
    }

    /// Returns the address with its credentials, for a later [`parse`](Self::parse).
    pub(super) fn with_credentials(&self) -> String {
        match (&self.user, self.base.split_once("://")) {
            (Some(user), Some((scheme, rest))) => format!("{scheme}://{}@{rest}", user.reveal()),
            _ => self.base.clone(),
        }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Returns true for an address with a time, as of snapshot mirrors: `…/20250520T000000Z/`.
    pub(super) fn is_snapshot(&self) -> bool {
        self.base.split('/').any(|part| {
            let digits =
                |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
            let time = part.strip_suffix('Z').and_then(|part| part.split_once('T'));
            time.is_some_and(|(date, time)| digits(date, 8) && digits(time, 6))
        })
    }
}

impl std::fmt::Debug for MirrorUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.base)
    }
}

/// Returns the value of a header with a password (RFC 7617).
fn basic(user: &str, password: &str) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

impl Fetcher {
    pub(super) fn new(
        settings: &RegistrySettings,
        network: Network,
        credentials: Vec<MirrorCredentials>,
    ) -> Result<Self, AptError> {
        let http = Http::new(settings, network).map_err(|error| AptError::Connection(Box::new(error)))?;
        Ok(Self { http, network, settings: settings.clone(), credentials })
    }

    /// Fetches a document of at most `limit` bytes if changed since `known`.
    pub(super) fn document(
        &self,
        mirror: &MirrorUrl,
        path: &str,
        known: Option<&FetchedRelease>,
        limit: u64,
    ) -> Result<ReleaseResponse, AptError> {
        let shown = mirror.file(path);
        if let Some(folder) = &mirror.folder {
            return local_document(&folder.join(path), &shown, limit);
        }
        if self.network == Network::Forbidden {
            return Err(AptError::Offline(shown));
        }
        let failed = |source| AptError::Fetch { url: shown.clone(), source: Box::new(source) };
        let mut request = request(&shown)?;
        if let Some(known) = known {
            if let Some(etag) = &known.etag {
                request = request.with(header::IF_NONE_MATCH, etag);
            }
            if let Some(modified) = &known.last_modified {
                request = request.with(header::IF_MODIFIED_SINCE, modified);
            }
        }
        let mut backoff = Backoff::new(&self.settings.retry);
        loop {
            let outcome = self.send(&request, mirror).and_then(|response| match response.status {
                304 if known.is_some() => Ok(ReleaseResponse::NotModified),
                404 | 410 => Ok(ReleaseResponse::Missing),
                200 => {
                    let text = |name| response.header(name).map(str::to_owned);
                    let (etag, last_modified) = (text("etag"), text("last-modified"));
                    let bytes = response.bytes(limit).map_err(|error| (error, None))?;
                    Ok(ReleaseResponse::Fetched(FetchedRelease { etag, last_modified, bytes }))
                }
                _ => Err((response.into_error(&shown), None)),
            });
            match outcome {
                Ok(found) => return Ok(found),
                Err((error, asked)) => pause(&mut backoff, error, asked).map_err(failed)?,
            }
        }
    }

    /// Fetches a file of `size` bytes into `partial`, and resumes after a cut connection. The caller verifies the digest.
    pub(super) fn file(
        &self,
        mirror: &MirrorUrl,
        path: &str,
        size: u64,
        partial: &mut PartialFile,
        reporter: &TransferReporter,
    ) -> Result<(), AptError> {
        let shown = mirror.file(path);
        if let Some(folder) = &mirror.folder {
            let path = folder.join(path);
            let file = File::open(&path).map_err(|error| missing_or(error, &path, &shown))?;
            let failed = |error| AptError::File(FileError::new("read", &path, error));
            copy(file, size, partial, reporter).map_err(|failure| failure.into_error(failed))?;
            return check_size(&shown, size, partial.written);
        }
        if self.network == Network::Forbidden {
            return Err(AptError::Offline(shown));
        }
        let mut backoff = Backoff::new(&self.settings.retry);
        let mut renewed_at = partial.written;
        loop {
            let error = match self.continue_file(mirror, &shown, size, partial, reporter) {
                Ok(()) => return check_size(&shown, size, partial.written),
                Err(error) => error,
            };
            let AptError::Fetch { source, .. } = error else { return Err(error) };
            if partial.written >= renewed_at + GOOD_PROGRESS {
                backoff = Backoff::new(&self.settings.retry);
                renewed_at = partial.written;
            }
            pause(&mut backoff, *source, None)
                .map_err(|source| AptError::Fetch { url: shown.clone(), source: Box::new(source) })?;
        }
    }

    /// Requests the rest of a file once.
    fn continue_file(
        &self,
        mirror: &MirrorUrl,
        shown: &str,
        size: u64,
        partial: &mut PartialFile,
        reporter: &TransferReporter,
    ) -> Result<(), AptError> {
        let failed = |source| AptError::Fetch { url: shown.to_owned(), source: Box::new(source) };
        let mut request = request(shown)?;
        let begin = partial.written;
        if begin > 0 {
            request = request.with(header::RANGE, format!("bytes={begin}-"));
        }
        let response = self.send(&request, mirror).map_err(|(error, _)| failed(error))?;
        let skip = match response.status {
            200 => begin,
            206 if begins_at(response.header("content-range"), begin) => 0,
            404 | 410 => return Err(AptError::NotFound(shown.to_owned())),
            _ => return Err(failed(response.into_error(shown))),
        };
        let length = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
        if let Some(length) = length.filter(|length| *length != size - begin + skip) {
            return Err(AptError::Size {
                url: shown.to_owned(),
                expected: size,
                found: length + begin - skip,
            });
        }
        let host = response.host();
        let mut body = response.body.into_reader();
        let silence = self.settings.silence_timeout;
        let broken = |error: io::Error| failed(body_error(&host, error, silence));
        io::copy(&mut (&mut body).take(skip), &mut io::sink()).map_err(broken)?;
        copy(body, size, partial, reporter).map_err(|failure| failure.into_error(broken))?;
        if partial.written < size {
            return Err(failed(RegistryError::Network { host, source: ConnectionError::Cut }));
        }
        Ok(())
    }

    /// Returns the `Authorization` of a mirror: that of its address, else that of apt's file.
    fn proof(&self, mirror: &MirrorUrl) -> Option<Secret> {
        let Some(user) = &mirror.user else {
            let entry = self.credentials.iter().find(|entry| entry.is_of(&mirror.base));
            return entry.map(|entry| basic(&entry.login, &entry.password));
        };
        let (user, password) = user.reveal().split_once(':').unwrap_or((user.reveal(), ""));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some(basic(&decoded(user), &decoded(password)))
    }

    /// Sends a request once. A transient status is an error, with the wait that the server asks for.
    fn send(
        &self,
        request: &Request,
        mirror: &MirrorUrl,
    ) -> Result<Response, (RegistryError, Option<Duration>)> {
        let proof = self.proof(mirror);
        let response = self.http.send(request, proof.as_ref()).map_err(|error| (error, None))?;
        if is_transient(response.status) {
            let asked = retry_after(&response.headers);
            return Err((response.into_error("file"), asked));
        }
        Ok(response)
    }
}

/// Reports the progress of one file.
pub(super) struct TransferReporter<'a> {
    pub(super) progress: &'a dyn Progress,
    pub(super) digest: Digest,
    pub(super) title: &'a str,
    pub(super) size: u64,
}

impl TransferReporter<'_> {
    pub(super) fn report(&self, done: u64, state: TransferState) {
        let name = self.digest.to_string();
        let transfer = Transfer::new(&name, Direction::Fetched, (done, self.size), state);
        self.progress.transfer(&Transfer { title: Some(self.title), ..transfer });
    }
}

/// A failure of one of the two sides of a copy.
enum CopyFailure {
    Read(io::Error),
    Write(FileError),
}

impl CopyFailure {
    fn into_error(self, read: impl FnOnce(io::Error) -> AptError) -> AptError {
        match self {
            Self::Read(error) => read(error),
            Self::Write(error) => AptError::File(error),
        }
    }
}

/// Appends at most the missing bytes, and one more, by which a longer file is recognized.
fn copy(
    mut from: impl Read,
    size: u64,
    to: &mut PartialFile,
    reporter: &TransferReporter,
) -> Result<(), CopyFailure> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut reported = to.written;
    while to.written <= size {
        let most = usize::try_from(size + 1 - to.written).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let read = match from.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyFailure::Read(error)),
        };
        to.write(buffer.get(..read).unwrap_or_default()).map_err(CopyFailure::Write)?;
        if to.written - reported >= REPORT_EVERY {
            reported = to.written;
            reporter.report(to.written, TransferState::Running);
        }
    }
    Ok(())
}

fn check_size(url: &str, expected: u64, found: u64) -> Result<(), AptError> {
    if found == expected { Ok(()) } else { Err(AptError::Size { url: url.to_owned(), expected, found }) }
}

fn request(shown: &str) -> Result<Request<'static>, AptError> {
    let url = Url::parse(shown).ok_or_else(|| AptError::Mirror(shown.to_owned()))?;
    Ok(Request::new(Method::GET, url))
}

/// Waits before another attempt, or returns the error.
fn pause(backoff: &mut Backoff, error: RegistryError, asked: Option<Duration>) -> Result<(), RegistryError> {
    if !error.is_transient() || backoff.wait(&error, asked) == RetryDecision::GiveUp {
        Err(error)
    } else {
        Ok(())
    }
}

fn local_document(path: &std::path::Path, shown: &str, limit: u64) -> Result<ReleaseResponse, AptError> {
    let failed = |error| AptError::File(FileError::new("read", path, error));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReleaseResponse::Missing),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    let found = bytes.len() as u64;
    if found > limit {
        return Err(AptError::Size { url: shown.to_owned(), expected: limit, found });
    }
    Ok(ReleaseResponse::Fetched(FetchedRelease { etag: None, last_modified: None, bytes }))
}

fn missing_or(error: io::Error, path: &std::path::Path, shown: &str) -> AptError {
    match error.kind() {
        io::ErrorKind::NotFound => AptError::NotFound(shown.to_owned()),
        _ => AptError::File(FileError::new("read", path, error)),
    }
}

/// Returns whether `Content-Range: bytes 5-9/10` begins at `from`.
fn begins_at(header: Option<&str>, from: u64) -> bool {
    let first = header.and_then(|header| header.trim().strip_prefix("bytes ")?.split_once('-'));
    first.is_some_and(|(first, _)| first.trim().parse() == Ok(from))
}
