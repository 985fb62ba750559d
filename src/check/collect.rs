//! [`Collection`]: bytes of files of a stored image, in a temporary file.
//!
//! A compressed layer can only be read from its start, so one pass collects the files that rules may
//! read: metadata of distributions, Python source, headers of bytecode, and small files in which
//! secrets can be.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;

use super::node::NodeContent;
use crate::base::{NodeKind, View, ViewNode};
use crate::error::FileError;
use crate::tree::ImagePath;

use super::error::CheckError;

/// The largest metadata or source file that is collected, in bytes.
const FILE_LIMIT: u64 = 8 << 20;
/// The largest other file that is collected, in bytes.
const OTHER_LIMIT: u64 = 1 << 20;
/// Number of bytes of a `.pyc` file: its header (PEP 552).
const HEADER_BYTES: u64 = 16;
/// Number of bytes of a program or script: the line of its interpreter.
const LINE_BYTES: u64 = 256;
/// The most bytes that are collected of one image.
const TOTAL_LIMIT: u64 = 4 << 30;

/// Directories of a distribution's own files, in which only Python and scripts are collected.
const SYSTEM: [&str; 14] = [
    "bin",
    "boot",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "sbin",
    "usr/bin",
    "usr/include",
    "usr/lib",
    "usr/sbin",
    "usr/share",
    "usr/local/include",
    "var/lib",
];

/// Bytes of files, one after another.
#[derive(Debug)]
pub(super) struct Collection {
    file: File,
}

/// Returns the number of bytes of a file that are collected; `None` for none.
fn wanted(path: &ImagePath, node: &ViewNode) -> Option<u64> {
    let name = path.file_name().unwrap_or_default();
    let parent = path.parent().unwrap_or_default();
    let of_info = parent
        .file_name()
        .is_some_and(|parent| [".dist-info", ".egg-info"].iter().any(|suffix| parent.ends_with(suffix)));
    if of_info || name.ends_with(".egg-info") || name.ends_with(".py") || name.ends_with(".pth") {
        return (node.size <= FILE_LIMIT).then_some(node.size);
    }
    if name.ends_with(".pyc") {
        return Some(HEADER_BYTES);
    }
    if [".so", ".a", ".o"].iter().any(|suffix| name.ends_with(suffix)) || name.contains(".so.") {
        return None;
    }
    let is_system = SYSTEM
        .iter()
        .any(|directory| path.as_str().strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')));
    if !is_system && node.size <= OTHER_LIMIT {
        return Some(node.size);
    }
    (node.mode & 0o111 != 0).then_some(LINE_BYTES)
}

impl Collection {
    /// Collects the files of `view`. Calls `found` with the place of each.
    pub(super) fn of(
        view: &View,
        mut found: impl FnMut(&ImagePath, NodeContent),
    ) -> Result<Self, CheckError> {
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile().map_err(FileError::of("create a temporary file in", &folder))?;
        let mut sink = BufWriter::with_capacity(1 << 20, &file);
        let mut offset = 0;
        view.visit_files(
            &|path, node| node.kind == NodeKind::File && wanted(path, node).is_some(),
            &mut |path, node, reader| {
                let limit = wanted(path, node).unwrap_or(0).min(TOTAL_LIMIT.saturating_sub(offset));
                let length = io::copy(&mut reader.take(limit), &mut sink)?;
                found(path, NodeContent::Collected { offset, length });
                offset += length;
                Ok(())
            },
        )?;
        sink.flush().map_err(FileError::of("write a temporary file in", &folder))?;
        drop(sink);
        Ok(Self { file })
    }

    /// Returns the first `limit` of `length` bytes at `offset`.
    pub(super) fn read(&self, offset: u64, length: u64, limit: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length.min(limit)).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}
