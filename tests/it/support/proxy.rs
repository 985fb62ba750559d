//! A server in front of a registry that performs an action for each request: faults, tokens,
//! redirects.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct ProxyRequest {
    pub method: String,
    /// Includes the query.
    pub path: String,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// Read only if the request is not forwarded.
    pub body: String,
}

/// The treatment of a request.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Forwards the request.
    Pass,
    /// Responds without the registry, after reading the body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Responds with 200 and without `Content-Length`: the body ends with the connection.
    Unsized(Vec<u8>),
    /// Forwards this many bytes of the request body, then closes both connections.
    CutRequest(u64),
    /// Forwards this many bytes of the response body, then closes the connection.
    CutAnswer(usize),
    /// Forwards the request without this header.
    Without(&'static str),
    /// Changes the first byte of the response body.
    Damage,
    /// Shortens the response body by this many bytes, with a matching `Content-Length`.
    Shorten(usize),
    /// Replaces these headers of the response.
    Headers(Vec<(&'static str, String)>),
    /// Edits the status line and the headers of the response.
    Edit(fn(&mut Vec<String>)),
    /// Forwards this many bytes of the response, including its head, then sends nothing.
    Stall(usize),
    /// Forwards this many bytes of the response, then one every ten milliseconds.
    Crawl(usize),
    /// Neither reads the request body nor responds.
    Deaf,
}

/// A server that ends with the test.
pub(crate) struct Proxy {
    pub port: u16,
    pub seen: Arc<Mutex<Vec<ProxyRequest>>>,
    stop: Arc<AtomicBool>,
    /// Open connections that are never read.
    _kept: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl ProxyRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn length(&self) -> u64 {
        self.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

impl Proxy {
    /// Starts a server that calls `decide` for each request. `upstream` is the registry's port.
    pub(crate) fn start(
        upstream: u16,
        decide: impl Fn(&ProxyRequest) -> Action + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let decide = Arc::new(decide);
        let kept = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (seen, stop, kept) = (seen.clone(), stop.clone(), kept.clone());
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let (seen, decide, kept) = (seen.clone(), decide.clone(), kept.clone());
                    // A disconnected client is no failure.
                    std::thread::spawn(move || serve(stream, upstream, &seen, &kept, &*decide).ok());
                }
            }
        });
        Self { port, seen, stop, _kept: kept, thread: Some(thread) }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Counts the requests that match.
    pub(crate) fn count(&self, is: impl Fn(&ProxyRequest) -> bool) -> usize {
        self.seen.lock().expect("no panic").iter().filter(|seen| is(seen)).count()
    }

    pub(crate) fn all(&self) -> Vec<ProxyRequest> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[allow(clippy::too_many_lines)] // One branch for each action.
fn serve(
    client: TcpStream,
    upstream: u16,
    seen: &Mutex<Vec<ProxyRequest>>,
    kept: &Mutex<Vec<TcpStream>>,
    decide: &(dyn Fn(&ProxyRequest) -> Action + Send + Sync),
) -> io::Result<()> {
    let mut input = BufReader::new(client.try_clone()?);
    let mut client = client;
    let head = head(&mut input)?;
    let mut words = head.first().map(|line| line.split(' ')).into_iter().flatten();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = ProxyRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: head.iter().skip(1).filter_map(|line| pair(line)).collect(),
        body: String::new(),
    };
    let length = request.length();
    if length < 1 << 16 && request.header("content-type").is_some_and(|kind| kind.contains("form")) {
        let mut body = Vec::new();
        (&mut input).take(length).read_to_end(&mut body)?;
        request.body = String::from_utf8_lossy(&body).into_owned();
    }
    let action = decide(&request);
    seen.lock().expect("no panic").push(request.clone());
    if matches!(action, Action::Deaf) {
        kept.lock().expect("no panic").push(client);
        return Ok(());
    }
    let mut drop_header = "";
    match &action {
        Action::Answer(status, headers, body) => {
            if request.body.is_empty() {
                io::copy(&mut (&mut input).take(length), &mut io::sink())?;
            }
            write!(client, "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
            for (name, value) in headers {
                write!(client, "{name}: {value}\r\n")?;
            }
            client.write_all(b"\r\n")?;
            if request.method != "HEAD" {
                client.write_all(body)?;
            }
            return client.shutdown(Shutdown::Write);
        }
        Action::Unsized(body) => {
            client.write_all(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n")?;
            client.write_all(body)?;
            return client.shutdown(Shutdown::Write);
        }
        Action::Without(name) => drop_header = name,
        _ => {}
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    write!(server, "{method} {path} HTTP/1.1\r\nConnection: close\r\n")?;
    for (name, value) in &request.headers {
        if name != "connection" && name != drop_header {
            write!(server, "{name}: {value}\r\n")?;
        }
    }
    server.write_all(b"\r\n")?;
    server.write_all(request.body.as_bytes())?;
    let length = length.saturating_sub(request.body.len() as u64);
    let body = if let Action::CutRequest(bytes) = action { length.min(bytes) } else { length };
    io::copy(&mut (&mut input).take(body), &mut server)?;
    if matches!(action, Action::CutRequest(_)) {
        return Ok(());
    }
    let mut answer = BufReader::new(server);
    let mut lines = self::head(&mut answer)?;
    let mut body = Vec::new();
    if let Action::Edit(edit) = action {
        edit(&mut lines);
    }
    if let Action::Stall(bytes) | Action::Crawl(bytes) = action {
        let mut all = Vec::new();
        write_head(&mut all, &lines, &[], None)?;
        answer.read_to_end(&mut all)?;
        let (now, then) = all.split_at(bytes.min(all.len()));
        client.write_all(now)?;
        if matches!(action, Action::Stall(_)) {
            return wait(&mut client, None).map(|_| ());
        }
        for byte in then.chunks(1) {
            client.write_all(byte)?;
            if wait(&mut client, Some(Duration::from_millis(10)))? == Client::Gone {
                break;
            }
        }
        return client.shutdown(Shutdown::Both);
    }
    if let Action::CutAnswer(bytes) = action {
        answer.take(bytes as u64).read_to_end(&mut body)?;
        write_head(&mut client, &lines, &[], None)?;
        client.write_all(&body)?;
        return client.shutdown(Shutdown::Both);
    }
    let (mut other, mut cut) = (Vec::new(), None);
    match action {
        Action::Damage | Action::Shorten(_) => {
            answer.read_to_end(&mut body)?;
            match action {
                Action::Shorten(bytes) => body.truncate(body.len().saturating_sub(bytes)),
                _ => {
                    if let Some(first) = body.first_mut() {
                        *first ^= 1;
                    }
                }
            }
            // The length in a response to HEAD is that of the omitted body.
            cut = (request.method != "HEAD").then_some(body.len());
        }
        Action::Headers(headers) => other = headers,
        _ => {}
    }
    write_head(&mut client, &lines, &other, cut)?;
    client.write_all(&body)?;
    io::copy(&mut answer, &mut client)?;
    client.shutdown(Shutdown::Write)
}

/// The state of the client's connection.
#[derive(PartialEq, Eq)]
enum Client {
    There,
    Gone,
}

/// Waits until the client disconnects, or for at most `limit`.
fn wait(client: &mut TcpStream, limit: Option<Duration>) -> io::Result<Client> {
    client.set_read_timeout(limit)?;
    match client.read(&mut [0; 64]) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(Client::There)
        }
        _ => Ok(Client::Gone),
    }
}

fn write_head(
    client: &mut impl Write,
    lines: &[String],
    other: &[(&str, String)],
    length: Option<usize>,
) -> io::Result<()> {
    for line in lines {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let replaced = other.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name));
        if !(replaced || length.is_some() && name == "content-length") {
            write!(client, "{line}\r\n")?;
        }
    }
    for (name, value) in other.iter().filter(|(_, value)| !value.is_empty()) {
        write!(client, "{name}: {value}\r\n")?;
    }
    if let Some(length) = length {
        write!(client, "Content-Length: {length}\r\n")?;
    }
    client.write_all(b"\r\n")
}

fn head(input: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}

fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}
