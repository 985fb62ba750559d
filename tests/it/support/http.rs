//! A minimal HTTP client.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: u16,
    pub body: String,
}

/// `GET http://127.0.0.1:PORT/PATH`.
pub(crate) fn get(port: u16, path: &str) -> io::Result<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let broken = || io::Error::other(format!("not HTTP: {text:?}"));
    let (headers, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
    Ok(Response { status, body: body.to_owned() })
}

/// Repeats the request until the response is 200.
#[track_caller]
pub(crate) fn wait_for(port: u16, path: &str) -> Response {
    super::eventually(&format!("{path} on port {port}"), || {
        get(port, path).ok().filter(|response| response.status == 200)
    })
}
