//! Credential helpers: programs that hold secrets (`docker/docker-credential-helpers`).

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::CredentialFiles;
use super::{Credential, CredentialsError};

/// Limit for a helper's output, in bytes. Tokens have some kilobytes.
const LIMIT_BYTES: u64 = 1 << 20;

/// Time limit for the exit after the output.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The output of a helper without an entry for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Runs the helper `name`, configured in `file`, for the credentials of `key`.
pub(super) fn run(
    name: &str,
    key: &str,
    file: &Path,
    sources: &CredentialFiles,
) -> Result<Option<Credential>, CredentialsError> {
    let program = format!("docker-credential-{name}");
    let failed =
        |reason: String| CredentialsError::Helper { program: program.clone(), key: key.to_owned(), reason };
    let path =
        find(&program, sources.helper_path.as_deref()).ok_or_else(|| CredentialsError::HelperMissing {
            program: program.clone(),
            key: key.to_owned(),
            file: file.to_path_buf(),
        })?;
    // A process group of its own, to kill the helper's children too.
    let child = Command::new(path)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be run ({})", error.kind())))?;
    let mut child = Running(child);
    if let Some(mut stdin) = child.0.stdin.take() {
        // A helper that does not read may still have an answer.
        let _ = stdin.write_all(format!("{key}\n").as_bytes());
    }
    let (sender, receiver) = mpsc::channel();
    let stdout = child.0.stdout.take();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(LIMIT_BYTES + 1).read_to_end(&mut bytes));
        let _ = sender.send(read.is_some_and(|read| read.is_ok()).then_some(bytes));
    });
    let Ok(output) = receiver.recv_timeout(sources.helper_timeout) else {
        let seconds = sources.helper_timeout.as_secs();
        return Err(CredentialsError::HelperHangs { program, key: key.to_owned(), seconds });
    };
    let output = output.ok_or_else(|| failed("could not be read".to_owned()))?;
    if output.len() as u64 > LIMIT_BYTES {
        return Err(failed(format!("printed more than {LIMIT_BYTES} bytes")));
    }
    // Its output is closed, so the helper exits soon or is killed.
    let waited = child
        .finish(EXIT_TIMEOUT)
        .map_err(|error| failed(format!("could not be waited for ({})", error.kind())))?;
    let status = waited.ok_or_else(|| failed("did not exit after its output".to_owned()))?;
    parse_output(&output, status).map_err(failed)
}

fn parse_output(output: &[u8], status: ExitStatus) -> Result<Option<Credential>, String> {
    if !status.success() {
        if String::from_utf8_lossy(output).trim() == NOT_FOUND {
            return Ok(None);
        }
        return Err(match status.code() {
            Some(code) => format!("failed with exit code {code}"),
            None => "was killed by a signal".to_owned(),
        });
    }
    let output: Value = serde_json::from_slice(output).map_err(|_| "printed invalid JSON")?;
    let text = |key: &str| output.get(key).and_then(Value::as_str);
    match (text("Username"), text("Secret")) {
        (Some("<token>"), Some(secret)) => Ok(Some(Credential::IdentityToken(secret.into()))),
        // The output of ECR's helper and others for an unknown registry.
        (Some(""), Some("")) => Ok(None),
        (Some(user), Some(secret)) => {
            Ok(Some(Credential::Password { user: user.to_owned(), password: secret.into() }))
        }
        _ => Err("printed no Username and Secret".to_owned()),
    }
}

fn find(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    // A name with a slash would escape the search path.
    if program.contains('/') {
        return None;
    }
    std::env::split_paths(path?).map(|folder| folder.join(program)).find(|program| program.is_file())
}

/// A process, killed with its entire group on drop.
struct Running(Child);

impl Running {
    /// Waits for the exit, up to a limit.
    fn finish(&mut self, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.0.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}
