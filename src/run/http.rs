//! A minimal HTTP/1.1 client (RFC 9112) for requests to the tested container: one GET a connection.
//!
//! Only the head of the response is read. The registry client's `ureq` is optional, and follows
//! redirects that a test should see.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Limits for the head of a response.
const HEAD_LIMIT: usize = 64 << 10;
const MAX_FIELDS: usize = 100;
/// Time in which a proxy without a server behind it closes a connection.
const PROXY_TIMEOUT: Duration = Duration::from_millis(150);

/// Requests `path` and returns the status.
pub(super) fn get(address: SocketAddr, path: &str, limit: Duration) -> io::Result<u16> {
    let deadline = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_write_timeout(Some(limit))?;
    // One segment: `write!` on the stream would send each part by itself.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: ipo-oci\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        address.port()
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let got = match stream.read(&mut piece) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "connection closed without a response",
                ));
            }
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        head.extend_from_slice(piece.get(..got).unwrap_or_default());
        if let Some(status) = final_status(&mut head)? {
            return Ok(status);
        }
        if head.len() > HEAD_LIMIT {
            return Err(invalid("the head of the response is too large"));
        }
    }
}

/// Returns the status of the response once its head is complete. Drops interim responses.
fn final_status(head: &mut Vec<u8>) -> io::Result<Option<u16>> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let parsed =
            response.parse(head).map_err(|error| invalid(&format!("the response is not HTTP: {error}")))?;
        let (httparse::Status::Complete(length), Some(status)) = (parsed, response.code) else {
            return Ok(None);
        };
        if !(100..200).contains(&status) {
            return Ok(Some(status));
        }
        head.drain(..length);
    }
}

/// Returns true if a server accepts connections. Docker's proxy accepts connections of its own, and
/// closes them if no server listens.
pub(super) fn accepts(address: SocketAddr, limit: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else { return false };
    if stream.set_read_timeout(Some(PROXY_TIMEOUT)).is_err() {
        return true;
    }
    match stream.read(&mut [0]) {
        Ok(got) => got > 0,
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `response`.
    fn serve(response: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 256];
                let got = stream.read(&mut piece).unwrap();
                assert!(got > 0, "{request:?}");
                request.extend_from_slice(&piece[..got]);
            }
            assert!(request.starts_with(b"GET /x HTTP/1.1\r\nHost: localhost:"));
            let _ = stream.write_all(response);
        });
        address
    }

    #[test]
    fn reads_the_status() {
        let limit = Duration::from_secs(20);
        for (response, status) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"[..], 200),
            (b"HTTP/1.0 404 Not Found\r\n\r\n", 404),
            (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 302 Found\r\n\r\n", 302),
        ] {
            assert_eq!(get(serve(response), "/x", limit).unwrap(), status);
        }
        for response in [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert!(get(serve(response), "/x", limit).is_err());
        }
    }

    #[test]
    fn a_slow_response_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = get(listener.local_addr().unwrap(), "/", Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(accepts(listener.local_addr().unwrap(), Duration::from_secs(5)));
    }

    #[test]
    fn a_closed_port_accepts_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(!accepts(address, Duration::from_secs(5)));
    }
}
