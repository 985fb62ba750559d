//! The part of HTTP/1.1 (RFC 9112) needed for a Docker engine: one request a connection.
//!
//! Chunked coding is implemented here because `chunked_transfer`'s encoder ends a body on drop,
//! also after a failure, and its decoder accepts a truncated chunk as the end (measured with 1.5).

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::store::EngineError;

/// Limits for a response's head, in bytes, and its fields.
const HEAD_LIMIT: u64 = 64 << 10;
const MOST_FIELDS: usize = 100;
/// Limit for interim responses (100 to 199).
const MAX_INTERIM: usize = 100;
/// Limit for the line before a chunk, in bytes.
const LINE_LIMIT: u64 = 4 << 10;
/// Docker's port without TLS.
const PORT: u16 = 2375;
/// The minimum throughput, as for registries.
const MIN_BYTES_PER_SECOND: u32 = 1000;

/// Time limits for an engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct EngineTimeouts {
    /// For the head of the response.
    pub(super) response: Duration,
    /// For the entire body of the response; none if the body is an image.
    pub(super) body: Option<Duration>,
    /// Without progress while the bytes of an image pass.
    pub(super) silence: Duration,
}

/// An engine's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineHost {
    /// A local socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl FromStr for EngineHost {
    type Err = EngineError;

    /// Parses the form of `$DOCKER_HOST`.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        if let Some(path) = text.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        let host = text.strip_prefix("tcp://").map(|host| host.trim_end_matches('/'));
        match host {
            Some(host) if !host.is_empty() && !host.contains('/') => {
                let port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if port { host.to_owned() } else { format!("{host}:{PORT}") }))
            }
            _ => Err(EngineError::Address),
        }
    }
}

/// A request not yet sent.
#[derive(Debug)]
pub(super) struct EngineRequest {
    method: &'static str,
    path: String,
}

/// A response.
pub(super) struct EngineResponse {
    pub(super) status: u16,
    pub(super) body: Box<dyn Read>,
}

/// Writes the body of a request.
pub(super) type BodyWriter<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

impl EngineRequest {
    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned() }
    }

    pub(super) fn post(path: &str) -> Self {
        Self { method: "POST", path: path.to_owned() }
    }

    /// Sends the request without a body.
    pub(super) fn send(self, host: &EngineHost, timeouts: EngineTimeouts) -> io::Result<EngineResponse> {
        self.exchange(host, timeouts, None)
    }

    /// Sends the request with an archive as its body. After a failed write, the response is still
    /// read, since an early one has the reason.
    pub(super) fn send_with(
        self,
        host: &EngineHost,
        timeouts: EngineTimeouts,
        body: &mut BodyWriter<'_>,
    ) -> io::Result<EngineResponse> {
        self.exchange(host, timeouts, Some(body))
    }

    fn exchange(
        self,
        host: &EngineHost,
        timeouts: EngineTimeouts,
        body: Option<&mut BodyWriter<'_>>,
    ) -> io::Result<EngineResponse> {
        let EngineTimeouts { response: limit, silence, .. } = timeouts;
        match host {
            EngineHost::Unix(path) => {
                let stream = connect_unix(path, silence)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(silence))?;
                let sent = self.write(Limited::new(&stream, TransferLimit::rate(silence)), "docker", body);
                response(Limited::new(stream, TransferLimit::whole(limit)), timeouts, sent)
            }
            EngineHost::Tcp(address) => {
                let stream = connect_tcp(address, silence)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(silence))?;
                let sent = self.write(Limited::new(&stream, TransferLimit::rate(silence)), address, body);
                response(Limited::new(stream, TransferLimit::whole(limit)), timeouts, sent)
            }
        }
    }

    fn write(&self, stream: impl Write, host: &str, body: Option<&mut BodyWriter<'_>>) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(64 << 10, stream);
        let Self { method, path } = self;
        write!(out, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n")?;
        let Some(body) = body else {
            out.write_all(b"\r\n")?;
            return out.flush();
        };
        out.write_all(b"Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut chunks = Chunks(&mut out);
        body(&mut chunks)?;
        out.write_all(b"0\r\n\r\n")?;
        out.flush()
    }
}

/// Connects to a socket. `connect` itself has no timeout and blocks when the listener's queue is
/// full.
fn connect_unix(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let (sender, receiver) = mpsc::channel();
    let socket = path.to_owned();
    std::thread::spawn(move || sender.send(UnixStream::connect(socket)));
    receiver.recv_timeout(limit).unwrap_or_else(|_| Err(no_progress(limit)))
}

fn connect_tcp(address: &str, limit: Duration) -> io::Result<TcpStream> {
    let mut failed = io::ErrorKind::NotFound.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = timed_out(error, limit),
        }
    }
    Err(failed)
}

fn no_progress(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no progress for {} s", limit.as_secs_f64()))
}

/// Replaces the system's message for a socket timeout, "resource temporarily unavailable".
fn timed_out(error: io::Error, limit: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => no_progress(limit),
        _ => error,
    }
}

/// Measures the throughput of a connection, since a socket's timeouts restart with every byte.
#[derive(Debug, Clone, Copy)]
struct TransferLimit {
    limit: Duration,
    /// `limit` is for all bytes together, not for the minimum throughput.
    is_whole: bool,
    waited: Duration,
    bytes: u64,
}

impl TransferLimit {
    fn whole(limit: Duration) -> Self {
        Self { limit, is_whole: true, waited: Duration::ZERO, bytes: 0 }
    }

    fn rate(limit: Duration) -> Self {
        Self { is_whole: false, ..Self::whole(limit) }
    }

    /// Counts bytes and the time spent waiting. Too few bytes are an error.
    fn count(&mut self, waited: Duration, bytes: usize) -> io::Result<usize> {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.waited < self.limit {
            return Ok(bytes);
        }
        let least = self.waited.as_secs_f64() * f64::from(MIN_BYTES_PER_SECOND);
        if self.is_whole || (self.bytes as f64) < least {
            return Err(no_progress(self.limit));
        }
        *self = Self::rate(self.limit);
        Ok(bytes)
    }
}

/// A stream with a read timeout.
trait Socket: Read {
    /// Sets the read timeout.
    fn set_timeout(&self, limit: Duration) -> io::Result<()>;
}

impl Socket for UnixStream {
    fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))
    }
}

impl Socket for TcpStream {
    fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))
    }
}

/// A stream with clear timeout errors and a minimum throughput.
struct Limited<S> {
    inner: S,
    watch: TransferLimit,
    /// A read timed out. Another attempt would wait again.
    is_over: bool,
}

impl<S> Limited<S> {
    fn new(inner: S, watch: TransferLimit) -> Self {
        Self { inner, watch, is_over: false }
    }
}

impl<S: Read> Read for Limited<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Err(no_progress(self.watch.limit));
        }
        let begin = Instant::now();
        let read = match self.inner.read(buffer).map_err(|error| timed_out(error, self.watch.limit)) {
            // The end of the stream is never late.
            Ok(0) => Ok(0),
            Ok(got) => self.watch.count(begin.elapsed(), got),
            Err(error) => Err(error),
        };
        self.is_over = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        read
    }
}

impl<S: Write> Write for Limited<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begin = Instant::now();
        let sent = self.inner.write(bytes).map_err(|error| timed_out(error, self.watch.limit))?;
        self.watch.count(begin.elapsed(), sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A chunk encoder. The caller writes the last chunk after success.
struct Chunks<W>(W);

impl<W: Write> Write for Chunks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty chunk would end the body.
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads the response; `sent` is the outcome of sending the request.
fn response<S: Socket + 'static>(
    stream: Limited<S>,
    timeouts: EngineTimeouts,
    sent: io::Result<()>,
) -> io::Result<EngineResponse> {
    let Err(error) = sent else { return read_response(stream, timeouts) };
    // A peer that closed the connection early may have sent a reason. Otherwise both sides would
    // wait forever.
    let gone = matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    );
    match gone.then(|| read_response(stream, timeouts)) {
        Some(Ok(response)) if response.status != 200 => Ok(response),
        _ => Err(error),
    }
}

fn read_response<S: Socket + 'static>(
    stream: Limited<S>,
    timeouts: EngineTimeouts,
) -> io::Result<EngineResponse> {
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut head = read_head(&mut stream)?;
    // Interim responses (RFC 9110, section 15.2).
    for _ in 0..MAX_INTERIM {
        if !head.starts_with(b"HTTP/1.1 1") {
            break;
        }
        head = read_head(&mut stream)?;
    }
    let watch = timeouts.body.map_or(TransferLimit::rate(timeouts.silence), TransferLimit::whole);
    stream.get_ref().inner.set_timeout(watch.limit)?;
    stream.get_mut().watch = watch;
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let complete = parsed.parse(&head).is_ok_and(|parsed| parsed.is_complete());
    let status = parsed
        .code
        .filter(|code| complete && *code >= 200)
        .ok_or_else(|| wrong("the response is not HTTP"))?;
    let field = |name: &str| {
        let found = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok()).map(str::trim)
    };
    let chunked = field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body: Box<dyn Read> = if chunked {
        Box::new(Chunked { inner: stream, left: 0, ended: false })
    } else if let Some(length) = field("content-length") {
        let left = length.parse().map_err(|_| wrong("invalid length of the response"))?;
        Box::new(FixedLength { inner: stream, left })
    } else {
        Box::new(stream)
    };
    Ok(EngineResponse { status, body })
}

/// Reads the head of a response, with the empty line at the end.
fn read_head(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let left = HEAD_LIMIT.saturating_sub(head.len() as u64);
        if stream.by_ref().take(left).read_until(b'\n', &mut head)? == 0 {
            return Err(wrong(if head.is_empty() { "no response" } else { "invalid response" }));
        }
    }
    Ok(head)
}

/// A chunk decoder that rejects truncated bodies.
struct Chunked<R> {
    inner: R,
    /// Bytes left in the current chunk.
    left: u64,
    ended: bool,
}

impl<R: BufRead> Chunked<R> {
    /// Reads a line without its end.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.inner).take(LINE_LIMIT).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n").map(<[u8]>::to_vec).map(String::from_utf8) {
            Some(Ok(line)) => Ok(line),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the response is truncated")),
        }
    }
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            // Chunk extensions may follow the size.
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(size, 16).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "invalid chunk size in the response")
            })?;
            if self.left == 0 {
                // Trailers end with an empty line.
                while !self.line()?.is_empty() {}
                self.ended = true;
                return Ok(0);
            }
        }
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.inner.read(buffer.get_mut(..want).unwrap_or_default())?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the response is truncated"));
        }
        self.left -= got as u64;
        if self.left == 0 && !self.line()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "wrong chunk size in the response"));
        }
        Ok(got)
    }
}

/// A reader of a body with a known length; a truncated body is an error.
struct FixedLength<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for FixedLength<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.inner.read(buffer.get_mut(..want).unwrap_or_default())?;
        if got == 0 && want > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the response is truncated"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const TIMEOUTS: EngineTimeouts = EngineTimeouts { response: SECOND, body: None, silence: SECOND };
    const SECOND: Duration = Duration::from_secs(1);

    /// Bytes without waiting.
    struct Immediate<R>(R);

    impl<R: Read> Read for Immediate<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl<R: Read> Socket for Immediate<R> {
        fn set_timeout(&self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    fn respond(stream: impl Read + 'static) -> io::Result<EngineResponse> {
        read_response(Limited::new(Immediate(stream), TransferLimit::whole(SECOND)), TIMEOUTS)
    }

    fn read(text: &'static str) -> io::Result<(u16, String)> {
        let mut response = respond(Cursor::new(text))?;
        let mut body = String::new();
        response.body.read_to_string(&mut body)?;
        Ok((response.status, body))
    }

    #[test]
    fn every_form_of_response_is_read() {
        for (text, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", 200, "ab"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                200,
                "abc",
            ),
            ("HTTP/1.0 404 Not Found\r\n\r\nabc", 404, "abc"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc",
                200,
                "abc",
            ),
        ] {
            assert_eq!(read(text).unwrap(), (status, body.to_owned()));
        }
    }

    #[test]
    fn a_truncated_response_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "rubbish\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nab\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(respond(io::repeat(b'x')).is_err());
    }

    /// Returns the seconds until the failure of a connection with `bytes` a second.
    fn seconds_to_failure(mut watch: TransferLimit, bytes: usize) -> Option<u64> {
        (1..=100).find(|_| watch.count(SECOND, bytes).is_err())
    }

    #[test]
    fn a_read_that_timed_out_is_not_tried_again() {
        struct TimedOut(usize);
        impl Read for TimedOut {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let mut stream = Limited::new(TimedOut(0), TransferLimit::rate(SECOND));
        for _ in 0..3 {
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(stream.inner.0, 1);
    }

    #[test]
    fn a_byte_a_second_is_no_progress() {
        let limit = Duration::from_secs(30);
        assert_eq!(seconds_to_failure(TransferLimit::rate(limit), 1), Some(30));
        assert_eq!(seconds_to_failure(TransferLimit::rate(limit), 999), Some(30));
        assert_eq!(seconds_to_failure(TransferLimit::rate(limit), 1000), None);
        // A limit for the sum ignores the throughput.
        assert_eq!(seconds_to_failure(TransferLimit::whole(limit), 1), Some(30));
        assert_eq!(seconds_to_failure(TransferLimit::whole(limit), 1 << 20), Some(30));
    }

    #[test]
    fn interim_responses_are_limited() {
        struct Early(&'static [u8], usize);
        impl Read for Early {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let got = buffer.len().min(self.0.len());
                for (to, from) in buffer.iter_mut().zip(self.0.iter().cycle().skip(self.1)) {
                    *to = *from;
                }
                self.1 = (self.1 + got) % self.0.len();
                Ok(got)
            }
        }
        assert!(respond(Early(b"HTTP/1.1 100 Continue\r\n\r\n", 0)).is_err());
    }

    #[test]
    fn hosts_have_dockers_notation() {
        let host = |text: &str| text.parse::<EngineHost>().ok();
        assert_eq!(host("unix:///run/d.sock"), Some(EngineHost::Unix("/run/d.sock".into())));
        assert_eq!(host("tcp://h"), Some(EngineHost::Tcp("h:2375".to_owned())));
        assert_eq!(host("tcp://[::1]:1/"), Some(EngineHost::Tcp("[::1]:1".to_owned())));
        for text in ["", "h", "ssh://h", "unix://x", "tcp://", "tcp://h/x", "npipe:////./pipe"] {
            assert!(host(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_failed_body_lacks_its_end() {
        let mut sent = Vec::new();
        let request = EngineRequest::post("/x");
        request
            .write(
                &mut sent,
                "h",
                Some(&mut |out| {
                    out.write_all(b"abc")?;
                    Err(io::Error::other("no"))
                }),
            )
            .unwrap_err();
        let text = String::from_utf8(sent).unwrap();
        assert!(text.ends_with("\r\n\r\n3\r\nabc\r\n"), "{text}");
    }
}
