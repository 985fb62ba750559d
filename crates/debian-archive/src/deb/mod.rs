//! Binary packages, deb(5): an `ar` archive of `debian-binary`, `control.tar` and `data.tar`.
//!
//! A [`DebReader`] reads the control information of a package, then passes the members of its data to the caller, one
//! after the other, without a seek. Nothing is written or executed.
//!
//! Both tar archives may be plain or compressed with gzip, xz or zstd. Names longer than a header's field come from GNU
//! records or pax headers. All input is hostile: [`DebLimits`] bounds every size, and a member with a path outside the
//! package is an error.

mod ar;
mod compression;
mod control;
mod data;
mod tarball;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::compression::DECOMPRESSOR_BYTES;
use std::io::{self, Read};

pub use control::{ControlFile, ControlFiles};
pub use data::{DataKind, DataMember};

use ar::Ar;

/// Bounds for packages from outside.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DebLimits {
    /// The largest `control.tar`, in bytes without compression; Debian 12's largest has four million.
    pub control_bytes: u64,
    /// The largest `data.tar`, in bytes without compression; Debian 12's largest has six thousand million.
    pub data_bytes: u64,
    /// The largest number of members of a tar archive; Debian 12's largest has 130,000.
    pub members: u64,
    /// The longest path or link target, in bytes: `PATH_MAX` of Linux.
    pub path_bytes: u64,
    /// The memory of a decompressor, in bytes.
    pub decompressor_bytes: u64,
}

impl Default for DebLimits {
    fn default() -> Self {
        Self {
            control_bytes: 64 << 20,
            data_bytes: 16 << 30,
            members: 1_000_000,
            path_bytes: 4096,
            decompressor_bytes: DECOMPRESSOR_BYTES,
        }
    }
}

/// An invalid or unreadable package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// A failed read, or damaged compressed data.
    #[error("cannot read member `{member}`: {cause}")]
    Read {
        /// The member of the `ar` archive.
        member: &'static str,
        /// The cause.
        cause: io::Error,
    },
    /// An end in the middle of a member.
    #[error("cannot read member `{0}`: the file ends early")]
    Truncated(&'static str),
    /// Another file format.
    #[error("invalid package: not an `ar` archive")]
    NotAnArchive,
    /// Another version of the format.
    #[error("invalid package: unknown format version `{}`", .0.escape_debug())]
    Version(String),
    /// Another member than the format prescribes at this place.
    #[error("invalid package: member `{}` instead of `{expected}`", .found.escape_debug())]
    Order {
        /// The member of the file.
        found: String,
        /// The member that the format prescribes.
        expected: &'static str,
    },
    /// The archive ends before a member.
    #[error("invalid package: member `{0}` not found")]
    Missing(&'static str),
    /// A malformed header of the `ar` archive.
    #[error("invalid package: malformed header of an `ar` member")]
    Header,
    /// A compression that no version of dpkg for Debian 12 or later writes.
    #[error("invalid package: unsupported compression of member `{}`", .0.escape_debug())]
    Compression(String),
    /// A member larger than its limit.
    #[error("invalid package: {subject} exceeds the limit of {limit}")]
    Limit {
        /// The measured size: `data.tar`, `path`.
        subject: &'static str,
        /// The limit in bytes or members.
        limit: u64,
    },
    /// A member of a tar archive outside the package, of an unsupported type, or with a malformed header.
    #[error("invalid package: path `{}`: {reason}", .path.escape_debug())]
    Path {
        /// The path as in the archive.
        path: String,
        /// The fault.
        reason: &'static str,
    },
    /// A malformed file of the control archive.
    #[error("invalid package: file `{file}` of the control archive: {reason}")]
    Control {
        /// The file.
        file: String,
        /// The fault.
        reason: &'static str,
    },
    /// The caller's function failed.
    #[error(transparent)]
    Visit(io::Error),
}

/// A package that is being read.
#[derive(Debug)]
pub struct DebReader<R> {
    archive: Ar<R>,
    control: ControlFiles,
    limits: DebLimits,
}

impl<R: Read> DebReader<R> {
    /// Reads a package up to the end of its control archive.
    pub fn open(input: R, limits: DebLimits) -> Result<Self, DebError> {
        let mut archive = Ar::open(input)?;
        {
            let mut member = archive.next_member("debian-binary")?;
            if member.name != "debian-binary" {
                return Err(DebError::Order { found: member.name, expected: "debian-binary" });
            }
            check_version(&mut member.content)?;
        }
        let control = {
            let member = archive.next_member("control.tar")?;
            let mut input = compression::open(member, "control.tar", &limits)?;
            let control = control::read(&mut input, &limits)?;
            compression::drain(input, "control.tar")?;
            control
        };
        Ok(Self { archive, control, limits })
    }

    /// Returns the control information.
    pub fn control(&self) -> &ControlFiles {
        &self.control
    }

    /// Calls `visit` with each member of the data archive and the bytes of its file, in the order of the archive, and
    /// returns the control information.
    ///
    /// The stream of a member ends with it, and need not be read to its end. The paths are relative and without `.` and
    /// `..`; a hard link's target is a file before it.
    pub fn read_data(
        mut self,
        visit: &mut dyn FnMut(DataMember, &mut dyn Read) -> io::Result<()>,
    ) -> Result<ControlFiles, DebError> {
        let member = self.archive.next_member("data.tar")?;
        let mut input = compression::open(member, "data.tar", &self.limits)?;
        data::read(&mut input, &self.limits, visit)?;
        compression::drain(input, "data.tar")?;
        Ok(self.control)
    }
}

/// Reads `debian-binary`: the version, then lines that later versions may add.
fn check_version(content: &mut dyn Read) -> Result<(), DebError> {
    let mut text = Vec::new();
    let read = content.take(64).read_to_end(&mut text);
    read.map_err(|cause| DebError::of_read("debian-binary", cause))?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.starts_with(b"2.") {
        Ok(())
    } else {
        Err(DebError::Version(String::from_utf8_lossy(line).into_owned()))
    }
}

impl DebError {
    /// Classifies a failed read of a member.
    fn of_read(member: &'static str, cause: io::Error) -> Self {
        let is_limit =
            |inner: &(dyn std::error::Error + Send + Sync + 'static)| inner.is::<compression::LimitReached>();
        if let Some(inner) = cause.get_ref()
            && is_limit(inner)
        {
            let limit = inner.downcast_ref::<compression::LimitReached>().map_or(0, |reached| reached.0);
            return Self::Limit { subject: member, limit };
        }
        if cause.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Truncated(member);
        }
        Self::Read { member, cause }
    }
}
