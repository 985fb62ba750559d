//! A whole `.pyc` file in its canonical form.

use super::error::MarshalError;
use super::header::{Binding, Header, source_hash, unchecked};
use super::magic::Format;
use super::store::REVISION;
use super::{read, write};
use crate::tree::{Fields, HostFile, ImagePath, Transform, TransformError};

/// Writes a `.pyc` file anew: with `filename` as the file name of all code in it, bound to its
/// source by `source_hash` without a check, and otherwise in a form that follows from the code's
/// value alone.
///
/// Without a `source_hash` that of the file is kept. `filename` is what tracebacks show:
/// the absolute path of the source in the image.
///
/// # Errors
/// A file that is not understood, or that carries no hash where none is given.
///
/// ```
/// # use ipo_oci::python::bytecode::{canonicalize, MarshalError};
/// let error = canonicalize(b"not bytecode, surely", "/app/main.py", None).unwrap_err();
/// assert_eq!(error, MarshalError::NotBytecode);
/// ```
pub fn canonicalize(
    pyc: &[u8],
    filename: &str,
    source_hash: Option<[u8; 8]>,
) -> Result<Vec<u8>, MarshalError> {
    let (header, code) = Header::read(pyc)?;
    let format = Format::of_magic(header.magic)?;
    let hash = match (source_hash, header.binding) {
        (Some(hash), _) | (None, Binding::Hash(hash)) => hash,
        (None, Binding::Stamp { .. }) => return Err(MarshalError::NoHash),
    };
    assemble(format, code, filename, hash)
}

/// The canonical file of `code` as the interpreter marshalled it.
pub(super) fn of_code(
    format: &'static Format,
    code: &[u8],
    filename: &ImagePath,
    source: &[u8],
) -> Result<Vec<u8>, MarshalError> {
    assemble(format, code, &filename.to_string(), source_hash(format, source))
}

/// Whether [`canonicalize`] with a hash will write `pyc`, which most often is known without writing it.
pub(super) fn can_be_canonical(pyc: &[u8], filename: &str) -> bool {
    let known = || {
        let (header, code) = Header::read(pyc)?;
        let format = Format::of_magic(header.magic)?;
        let (values, root) = read::read(code, format, filename)?;
        // Nothing but depth is refused when it is written, and it never is where no way down is too long.
        if values.depth(root) <= read::MAX_DEPTH {
            return Ok(());
        }
        write::write(&values, root, format, &mut Vec::new())
    };
    known().is_ok()
}

fn assemble(
    format: &'static Format,
    code: &[u8],
    filename: &str,
    hash: [u8; 8],
) -> Result<Vec<u8>, MarshalError> {
    let (values, root) = read::read(code, format, filename)?;
    let mut out = Vec::with_capacity(code.len() + super::header::LENGTH);
    out.extend_from_slice(&unchecked(format, hash));
    write::write(&values, root, format, &mut out)?;
    Ok(out)
}

/// [`canonicalize`] as a [`Transform`], for bytecode that is read when its layer is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// The path of the source in the image.
    pub filename: ImagePath,
    /// What the bytecode belongs to.
    pub source: SourceOf,
}

/// The source of bytecode that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceOf {
    /// One with this hash.
    Hash([u8; 8]),
    /// This file; its hash is computed when it is needed.
    File(HostFile),
}

impl Transform for Canonical {
    fn apply(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        let failed = |error: &dyn std::fmt::Display| TransformError(error.to_string());
        let hash = match &self.source {
            SourceOf::Hash(hash) => *hash,
            SourceOf::File(source) => {
                let (header, _) = Header::read(&bytes).map_err(|error| failed(&error))?;
                let format = Format::of_magic(header.magic).map_err(|error| failed(&error))?;
                source_hash(format, &source.read().map_err(|error| failed(&error))?)
            }
        };
        canonicalize(&bytes, &self.filename.to_string(), Some(hash)).map_err(|error| failed(&error))
    }

    fn identity(&self) -> String {
        let source = match &self.source {
            SourceOf::Hash(hash) => format!("{:016x}", u64::from_be_bytes(*hash)),
            SourceOf::File(source) => {
                let mut fields = Fields::new("source");
                source.identify(&mut fields);
                fields.finish().to_string()
            }
        };
        format!("canonical bytecode {REVISION} {source} {}", self.filename)
    }

    fn reads(&self) -> Option<&HostFile> {
        match &self.source {
            SourceOf::Hash(_) => None,
            SourceOf::File(source) => Some(source),
        }
    }
}
