//! Runs the interpreter of the virtual environment as a compiler: one process, many sources.
//!
//! The process gets an empty environment, no site-packages and a fixed hash seed, and answers
//! requests over standard input and output (protocol in `worker.py`). The process writes no file,
//! so no partial file can remain.

#![allow(clippy::disallowed_methods)] // The compiler is identified by its own version, and receives the bytes to compile.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::BytecodeError;
use crate::python::interpreter::RunError;
use crate::tree::ImagePath;

const PROGRAM: &str = include_str!("worker.py");

/// The largest accepted code from a process, in bytes.
const MAX_CODE: u32 = 256 << 20;
/// The amount of a process's output kept for an error message, in bytes.
const OUTPUT_TAIL: usize = 2000;
/// The time for a process to end, and the interval between checks.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The version of an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// The magic number of its bytecode.
    pub(super) magic: u16,
    /// `sys.hexversion`
    pub(super) hexversion: u32,
}

impl Identity {
    /// Returns whether the bytecode follows from the source alone.
    ///
    /// 3.13.0 writes `__static_attributes__` of a class in the order of string hashes, which
    /// differs from process to process (python/cpython#124442, fixed in 3.13.1); reordering
    /// afterwards would change the code.
    pub(super) fn is_deterministic(self) -> bool {
        self.hexversion >> 8 != 0x03_0d_00
    }
}

/// The result of compiling a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Marshalled code, as written by the interpreter.
    Code(Vec<u8>),
    /// A compile error, with the interpreter's message.
    Refused(String),
}

/// A compiler process.
#[derive(Debug)]
pub(super) struct CompilerProcess {
    executable: PathBuf,
    identity: Identity,
    process: Child,
    requests: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
    printed: Option<JoinHandle<String>>,
}

impl CompilerProcess {
    /// Starts the interpreter, to compile at a level of optimization, and waits for its version.
    pub(super) fn start(executable: &Path, optimize: u8) -> Result<Self, BytecodeError> {
        let failed =
            |source: RunError| BytecodeError::Interpreter { interpreter: executable.to_owned(), source };
        let mut process = Command::new(executable)
            // No -I, which would ignore the hash seed too. The environment is empty instead.
            .args(["-s", "-S", "-B", "-W", "ignore", "-c", PROGRAM, &optimize.to_string()])
            .env_clear()
            .env("PYTHONHASHSEED", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.into()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(failed(io::Error::other("standard streams not found").into()));
        };
        let printed = std::thread::spawn(move || read_tail(stderr));
        let mut started = Self {
            executable: executable.to_owned(),
            identity: Identity { magic: 0, hexversion: 0 },
            process,
            requests: Some(BufWriter::new(stdin)),
            answers: BufReader::new(stdout),
            printed: Some(printed),
        };
        match started.read_identity() {
            Ok(identity) => started.identity = identity,
            Err(error) => return Err(failed(started.failure(error))),
        }
        Ok(started)
    }

    /// Returns the version reported at the start.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Compiles `source` as the file `path` of the image.
    pub(super) fn compile(&mut self, path: &ImagePath, source: &[u8]) -> Result<Outcome, BytecodeError> {
        self.exchange(&path.to_string(), source).map_err(|error| BytecodeError::Worker {
            interpreter: self.executable.clone(),
            path: path.clone(),
            source: self.failure(error),
        })
    }

    fn read_identity(&mut self) -> io::Result<Identity> {
        let mut line = String::new();
        (&mut self.answers).take(100).read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::parse::<u32>);
        let (Some(Ok(magic)), Some(Ok(hexversion))) = (words.next(), words.next()) else {
            return Err(io::Error::other("unexpected answer; CPython 3.9 or later is required"));
        };
        let magic = u16::try_from(magic).map_err(io::Error::other)?;
        Ok(Identity { magic, hexversion })
    }

    fn exchange(&mut self, name: &str, source: &[u8]) -> io::Result<Outcome> {
        let Some(requests) = self.requests.as_mut() else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        for length in [name.len(), source.len()] {
            let length = u32::try_from(length).map_err(io::Error::other)?;
            requests.write_all(&length.to_le_bytes())?;
        }
        requests.write_all(name.as_bytes())?;
        requests.write_all(source)?;
        requests.flush()?;
        let mut head = [0; 5];
        self.answers.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        if length > MAX_CODE {
            return Err(io::Error::other("the answer is too long"));
        }
        let mut data = Vec::new();
        (&mut self.answers).take(u64::from(length)).read_to_end(&mut data)?;
        if data.len() as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match kind {
            b'k' => Ok(Outcome::Code(data)),
            b'e' => Ok(Outcome::Refused(String::from_utf8_lossy(&data).into_owned())),
            _ => Err(io::Error::other("unexpected answer")),
        }
    }

    /// Ends the process and returns the failure.
    fn failure(&mut self, error: io::Error) -> RunError {
        let stream_ended = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe);
        let status = self.end();
        let printed = self.printed.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let printed = printed.trim().to_owned();
        match status {
            Some(status) if stream_ended || !status.success() => RunError::Ended { status, printed },
            _ => RunError::Io { cause: error, printed },
        }
    }

    /// Closes the input of the process, and kills the process if still alive after [`EXIT_TIMEOUT`].
    /// Returns the exit status unless killed.
    fn end(&mut self) -> Option<ExitStatus> {
        self.requests = None;
        for _ in 0..EXIT_TIMEOUT.as_millis() / POLL_INTERVAL.as_millis() {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => std::thread::sleep(POLL_INTERVAL),
                Err(_) => break,
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        None
    }
}

impl Drop for CompilerProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads to the end and returns the last part.
fn read_tail(mut stderr: ChildStderr) -> String {
    let mut kept = VecDeque::new();
    let mut piece = [0; 1024];
    while let Ok(got @ 1..) = stderr.read(&mut piece) {
        kept.extend(piece.iter().take(got));
        kept.drain(..kept.len().saturating_sub(OUTPUT_TAIL));
    }
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}
