//! Files that receive standard output and standard error, directly or through a pipeline.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Ancestors whose other children may read from this process: `timeout 60 ipo-oci build | tee log`.
const ANCESTORS: usize = 3;

/// Returns the files below `context` that receive the output of this process.
pub(super) fn files_below(context: &Path) -> Vec<PathBuf> {
    let Ok(root) = std::fs::canonicalize(context) else { return Vec::new() };
    // proc_pid_fd(5)
    let streams = ["/proc/self/fd/1", "/proc/self/fd/2"];
    let streams: Vec<PathBuf> =
        streams.into_iter().filter_map(|stream| std::fs::read_link(stream).ok()).collect();
    let pipes: Vec<&PathBuf> = streams.iter().filter(|stream| is_pipe(stream)).collect();
    let mut files = streams.clone();
    if !pipes.is_empty() {
        for process in relatives() {
            let open = open_files(&process);
            if open.iter().any(|file| pipes.contains(&file)) {
                files.extend(open);
            }
        }
    }
    files.retain(|file| file.starts_with(&root) && *file != root);
    files.sort();
    files.dedup();
    files
}

/// Returns true for the target of the link of a pipe, `pipe:[INODE]`.
fn is_pipe(target: &Path) -> bool {
    target.to_string_lossy().starts_with("pipe:[")
}

/// Returns the children of the nearest ancestors, such as the processes of a shell's pipeline.
fn relatives() -> Vec<OsString> {
    let mut found = Vec::new();
    let mut process = std::process::id().to_string();
    for _ in 0..ANCESTORS {
        let Some(parent) = parent(&process) else { break };
        // proc_tid_children(5)
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        found.extend(children.unwrap_or_default().split_ascii_whitespace().map(OsString::from));
        process = parent;
    }
    found
}

/// Returns the id of the parent process.
fn parent(process: &str) -> Option<String> {
    // proc_pid_status(5)
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let id = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim();
    (id != "0").then(|| id.to_owned())
}

/// Returns what the descriptors of a process refer to.
fn open_files(process: &OsString) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(Path::new("/proc").join(process).join("fd")) else {
        return Vec::new();
    };
    entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect()
}
