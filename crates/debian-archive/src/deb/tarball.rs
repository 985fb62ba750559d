//! Members of a tar archive with long names: GNU records `L` and `K`, and pax headers.
//!
//! The crate `tar` would read a long name of any size into memory, so that its raw members are read here.

use std::io::Read;

use tar::{Archive, EntryType, PaxExtensions};

use super::{DebError, DebLimits};

/// The header of a member.
#[derive(Debug)]
pub(super) struct TarMember {
    /// Path as in the archive.
    pub(super) path: String,
    /// Target of a link as in the archive; else empty.
    pub(super) target: String,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) user: String,
    pub(super) group: String,
    pub(super) mtime: u64,
    pub(super) size: u64,
}

/// Values that precede the header of their member.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

/// The largest pax header: a path, a link target and a few numbers.
const PAX_BYTES: u64 = 64 << 10;

/// Calls `visit` with each member of `archive`, which is `subject`.
pub(super) fn each(
    input: &mut dyn Read,
    subject: &'static str,
    limits: &DebLimits,
    visit: &mut dyn FnMut(TarMember, &mut dyn Read) -> Result<(), DebError>,
) -> Result<(), DebError> {
    let failed = |cause| DebError::of_read(subject, cause);
    let mut archive = Archive::new(input);
    let mut extension = Extension::default();
    let mut left = limits.members;
    for entry in archive.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        left = left
            .checked_sub(1)
            .ok_or(DebError::Limit { subject: "number of members", limit: limits.members })?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            extension.path = Some(long_name(&mut entry, subject, limits)?);
        } else if kind.is_gnu_longlink() {
            extension.target = Some(long_name(&mut entry, subject, limits)?);
        } else if kind.is_pax_local_extensions() {
            extension.read_pax(&mut entry, subject)?;
        } else if !kind.is_pax_global_extensions() {
            let member = TarMember::new(entry.header(), std::mem::take(&mut extension), limits)?;
            visit(member, &mut entry)?;
        }
    }
    if extension.path.is_some() || extension.target.is_some() {
        return Err(DebError::Truncated(subject));
    }
    Ok(())
}

/// Reads the value of a GNU record, which a NUL byte ends.
fn long_name(entry: &mut dyn Read, subject: &'static str, limits: &DebLimits) -> Result<Vec<u8>, DebError> {
    let mut value = bytes(entry, subject, "path", limits.path_bytes)?;
    while value.last() == Some(&0) {
        value.pop();
    }
    Ok(value)
}

/// Reads at most `limit` bytes, and one more for the NUL byte.
fn bytes(
    entry: &mut dyn Read,
    subject: &'static str,
    what: &'static str,
    limit: u64,
) -> Result<Vec<u8>, DebError> {
    let mut value = Vec::new();
    entry.take(limit + 2).read_to_end(&mut value).map_err(|cause| DebError::of_read(subject, cause))?;
    if value.len() as u64 > limit + 1 {
        return Err(DebError::Limit { subject: what, limit });
    }
    Ok(value)
}

impl Extension {
    fn read_pax(&mut self, entry: &mut dyn Read, subject: &'static str) -> Result<(), DebError> {
        let malformed = |reason| DebError::Path { path: "pax header".to_owned(), reason };
        let text = bytes(entry, subject, "pax header", PAX_BYTES)?;
        for pair in PaxExtensions::new(&text) {
            let pair = pair.map_err(|_| malformed("malformed record"))?;
            match pair.key_bytes() {
                b"path" => self.path = Some(pair.value_bytes().to_vec()),
                b"linkpath" => self.target = Some(pair.value_bytes().to_vec()),
                // These would change the member's extent or its content.
                b"size" => return Err(malformed("unsupported record `size`")),
                key if key.starts_with(b"GNU.sparse.") => return Err(malformed("unsupported sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

impl TarMember {
    fn new(header: &tar::Header, extension: Extension, limits: &DebLimits) -> Result<Self, DebError> {
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&path).into_owned();
        let malformed = |reason| DebError::Path { path: shown.clone(), reason };
        let target =
            extension.target.or_else(|| Some(header.link_name_bytes()?.into_owned())).unwrap_or_default();
        if path.len().max(target.len()) as u64 > limits.path_bytes {
            return Err(DebError::Limit { subject: "path", limit: limits.path_bytes });
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| malformed("not UTF-8"));
        let name = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let number = |_| malformed("malformed header");
        Ok(Self {
            path: text(path)?,
            target: text(target)?,
            kind: header.entry_type(),
            mode: header.mode().map_err(number)? & 0o7777,
            uid: header.uid().map_err(number)?,
            gid: header.gid().map_err(number)?,
            user: name(header.username_bytes()),
            group: name(header.groupname_bytes()),
            mtime: header.mtime().map_err(number)?,
            size: header.entry_size().map_err(number)?,
        })
    }

    /// Returns the path relative to the archive's root, without `.` components: empty for the root itself.
    pub(super) fn relative_path(&self) -> Result<String, DebError> {
        relative(&self.path).map_err(|reason| DebError::Path { path: self.path.clone(), reason })
    }
}

/// Cleans a path, which must stay inside the package.
pub(super) fn relative(path: &str) -> Result<String, &'static str> {
    if path.starts_with('/') {
        return Err("absolute");
    }
    if path.contains('\0') {
        return Err("contains a NUL byte");
    }
    if path.is_empty() {
        return Err("empty");
    }
    let components: Vec<&str> = path.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
    if components.contains(&"..") {
        return Err("contains `..`");
    }
    Ok(components.join("/"))
}
