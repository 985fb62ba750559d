//! Helpers shared by the tests: projects, environments, the command, images, engines.
//!
//! Every test works in temporary directories of its own. Environments take long to create, so they
//! are created once and kept in the target directory.

pub(crate) mod base;
pub(crate) mod engine;
pub(crate) mod environments;
pub(crate) mod harness;
pub(crate) mod http;
pub(crate) mod images;
pub(crate) mod layout;
pub(crate) mod packages;
pub(crate) mod project;
#[cfg(feature = "registry")]
pub(crate) mod proxy;
#[cfg(feature = "registry")]
pub(crate) mod registry;
pub(crate) mod venv;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) use harness::skip;
pub(crate) use layout::{Image, Layout};
pub(crate) use project::Project;
pub(crate) use venv::Venv;

/// Longer than any wait on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);

/// The result of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// The content of the file after `--metadata-file`.
    pub metadata: Option<serde_json::Value>,
}

impl Outcome {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is UTF-8")
    }

    /// Returns the names of the layers that a build with `--metadata-file` wrote.
    #[track_caller]
    pub(crate) fn written_layers(&self) -> Vec<String> {
        let metadata = self.metadata.as_ref().unwrap_or_else(|| panic!("no metadata: {}", self.describe()));
        let layers = metadata["layers"].as_array().expect("layers").iter();
        let written = layers.filter(|layer| layer["origin"] == "written");
        let mut names: Vec<_> =
            written.map(|layer| layer["name"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    }

    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert!(self.status.success(), "{}", self.describe());
        self
    }

    /// Fails the test unless the program ended with this code.
    #[track_caller]
    pub(crate) fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{}", self.describe());
        self
    }

    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{}\n--- standard error\n{}", self.status, self.stderr);
        let _ = match std::str::from_utf8(&self.stdout) {
            Ok(out) => write!(text, "--- standard output\n{out}"),
            Err(_) => write!(text, "--- standard output: {} bytes", self.stdout.len()),
        };
        text
    }
}

/// Runs a program to its end, without standard input.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Outcome {
    run_reading(command, Stdio::null())
}

/// Runs a program to its end, with a file as its standard input.
#[track_caller]
pub(crate) fn run_with(command: &mut Command, input: &Path) -> Outcome {
    run_reading(command, fs_err::File::open(input).expect("a file").into_parts().0.into())
}

#[track_caller]
fn run_reading(command: &mut Command, input: Stdio) -> Outcome {
    let output = command.stdin(input).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    outcome(command, output)
}

/// Makes the outcome of an ended command.
pub(crate) fn outcome(command: &Command, output: Output) -> Outcome {
    let metadata = command.get_args().skip_while(|argument| *argument != "--metadata-file").nth(1);
    let folder = command.get_current_dir().unwrap_or(Path::new("."));
    let metadata = metadata.and_then(|file| fs_err::read(folder.join(file)).ok());
    Outcome {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        metadata: metadata.map(|bytes| serde_json::from_slice(&bytes).expect("JSON")),
    }
}

/// Adds `--metadata-file` with an unused file of `folder` to a build.
pub(crate) fn with_metadata<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    command.arg("--metadata-file").arg(folder.join(format!("metadata-{number}.json")))
}

/// Runs a program that has to succeed; returns its standard output without the final newline.
#[track_caller]
pub(crate) fn output_of<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let outcome = run(&mut command);
    assert!(outcome.status.success(), "{command:?}: {}", outcome.describe());
    outcome.text().trim_end().to_owned()
}

/// Returns the path of the tested program.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ipo-oci"))
}

/// Returns the tested command, without variables that affect a build.
pub(crate) fn ipo_oci() -> Command {
    let mut command = Command::new(binary());
    clean_environment(&mut command);
    command.env("XDG_CACHE_HOME", target_dir().join("test-cache"));
    command
}

/// Removes a developer's variables that affect the command.
pub(crate) fn clean_environment(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("IPO_OCI_") || name.starts_with("UV_") || name.starts_with("PYTHON") {
            command.env_remove(&key);
        }
    }
    for key in ["VIRTUAL_ENV", "SOURCE_DATE_EPOCH", "NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR"] {
        command.env_remove(key);
    }
}

/// Returns cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target folder").to_path_buf()
}

/// Polls `look` until it returns a value; fails the test after a timeout.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", TIMEOUT.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a change to the files written so far would change their timestamps.
pub(crate) fn settle(folder: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let probe = folder.join("probe");
    let time = |path: &Path| {
        let file = fs_err::metadata(path).expect("a file");
        file.ctime() * 1_000_000_000 + file.ctime_nsec()
    };
    fs_err::write(&probe, "").expect("a file");
    let before = time(&probe);
    eventually("the clock of the file system", || {
        fs_err::write(&probe, "x").expect("a file");
        (time(&probe) > before + 100_000_000).then_some(())
    });
    fs_err::remove_file(probe).expect("a file");
}

/// Skips the test unless a program is on `PATH`.
#[track_caller]
pub(crate) fn requires(program: &str) {
    if !on_path(program) {
        skip(&format!("`{program}` is not installed"));
    }
}

/// Returns true if a program is on `PATH`, for a part of a test. On CI a missing program fails the
/// test.
#[track_caller]
pub(crate) fn has(program: &str) -> bool {
    let found = on_path(program);
    assert!(found || std::env::var_os("CI").is_none(), "`{program}` is not installed, and CI skips no test");
    found
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Skips the test unless root runs it.
#[track_caller]
pub(crate) fn requires_root() {
    if !is_root() {
        skip("the test needs root");
    }
}

/// Returns `env`, run by a user without privileges and without variables.
pub(crate) fn unprivileged_env() -> Command {
    let mut command = Command::new("env");
    if is_root() {
        requires("setpriv");
        command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps=-all", "--bounding-set=-all", "env"]);
    }
    command.arg("-i");
    command
}

/// Returns true if root runs the test, for a part of it.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns an unused TCP port of this machine.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
    listener.local_addr().expect("an address").port()
}

/// Returns every file and link below a directory with its bytes, to detect changes.
pub(crate) fn snapshot(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.expect("a readable folder");
        let bytes = if entry.file_type().is_file() {
            fs_err::read(entry.path()).expect("a readable file")
        } else if entry.file_type().is_symlink() {
            fs_err::read_link(entry.path()).expect("a link").into_os_string().into_encoded_bytes()
        } else {
            Vec::new()
        };
        all.insert(entry.path().to_path_buf(), bytes);
    }
    all
}

/// Copies a directory with its links and modes.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    let outcome = run(Command::new("cp").args(["--archive", "--reflink=auto", "--"]).arg(from).arg(to));
    outcome.success();
}
