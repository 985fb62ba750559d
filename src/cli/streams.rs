//! Files that receive standard output and standard error, directly or through a pipeline.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ancestors whose other children may read from this process: `timeout 60 ipo-oci build | tee log`.
const ANCESTORS: usize = 3;
/// Time for another process to start, in milliseconds.
const START_TIMEOUT_MS: usize = 50;

/// Returns the file that receives standard output, if it is one.
pub(super) fn output_file() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/fd/1").ok().filter(|file| file.is_file())
}

/// Returns the files below `context` that receive the output of this process.
pub(super) fn files_below(context: &Path) -> Vec<PathBuf> {
    let Ok(root) = std::fs::canonicalize(context) else { return Vec::new() };
    // proc_pid_fd(5)
    let streams = ["/proc/self/fd/1", "/proc/self/fd/2"];
    let streams: Vec<PathBuf> =
        streams.into_iter().filter_map(|stream| std::fs::read_link(stream).ok()).collect();
    let pipes: Vec<&PathBuf> = streams.iter().filter(|stream| is_pipe(stream)).collect();
    let mut files = Vec::new();
    if !pipes.is_empty() {
        let own = OsString::from(std::process::id().to_string());
        for process in relatives().into_iter().filter(|process| *process != own) {
            if open_files(&process).any(|(_, file)| pipes.contains(&&file)) {
                wait_until_idle(&process);
                let written =
                    open_files(&process).filter(|(descriptor, _)| is_writable(&process, descriptor));
                files.extend(written.map(|(_, file)| file));
            }
        }
    }
    files.extend(streams.iter().cloned());
    files.retain(|file| file.starts_with(&root) && *file != root);
    files.sort();
    files.dedup();
    files
}

/// Waits until a process of a pipeline, started at the same time, has opened its files and reads. The
/// pipe is still empty, so that a reader sleeps.
fn wait_until_idle(process: &OsString) {
    let path = Path::new("/proc").join(process);
    // proc_pid_exe(5): until execve(2), the process is a copy of the shell.
    let shell = parent(&process.to_string_lossy());
    let shell = shell.and_then(|shell| std::fs::read_link(format!("/proc/{shell}/exe")).ok());
    for _ in 0..START_TIMEOUT_MS {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let sleeps = status.lines().any(|line| line.starts_with("State:\tS"));
        let runs_itself = std::fs::read_link(path.join("exe")).ok() != shell;
        if status.is_empty() || sleeps && runs_itself {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns true for the target of the link of a pipe, `pipe:[INODE]`.
fn is_pipe(target: &Path) -> bool {
    target.to_string_lossy().starts_with("pipe:[")
}

/// Returns the children of the nearest ancestors, such as the processes of a shell's pipeline.
///
/// An ancestor itself is not among them: a program that starts a build and reads its output may have
/// the project's own files open.
fn relatives() -> Vec<OsString> {
    let mut found = Vec::new();
    let mut ancestors = Vec::new();
    let mut process = std::process::id().to_string();
    for _ in 0..ANCESTORS {
        let Some(parent) = parent(&process) else { break };
        // proc_tid_children(5)
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        found.extend(children.unwrap_or_default().split_ascii_whitespace().map(OsString::from));
        ancestors.push(OsString::from(&parent));
        process = parent;
    }
    found.retain(|process| !ancestors.contains(process));
    found
}

/// Returns the id of the parent process.
fn parent(process: &str) -> Option<String> {
    // proc_pid_status(5)
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let id = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim();
    (id != "0").then(|| id.to_owned())
}

/// Returns the descriptors of a process with their targets.
fn open_files(process: &OsString) -> impl Iterator<Item = (OsString, PathBuf)> {
    let entries = std::fs::read_dir(Path::new("/proc").join(process).join("fd"));
    entries.into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.file_name(), std::fs::read_link(entry.path()).ok()?))
    })
}

/// Returns true for a descriptor that is open for writing.
fn is_writable(process: &OsString, descriptor: &OsString) -> bool {
    // proc_pid_fdinfo(5): the flags of open(2), in octal; the last digit is the access mode.
    let path = Path::new("/proc").join(process).join("fdinfo").join(descriptor);
    let info = std::fs::read_to_string(path).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| flags.trim().ends_with(['1', '2']))
}
