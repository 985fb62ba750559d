//! Rewrites a complete `.pyc` file in canonical form: [`canonicalize`], and [`Canonical`] for layers.

use super::error::MarshalError;
use super::header::{Header, Invalidation, source_hash, unchecked};
use super::magic::PycFormat;
use super::store::REVISION;
use super::{read, write};
use crate::tree::{HostFile, ImagePath, KeyHasher, Transform, TransformError};

/// Rewrites a `.pyc` file in canonical form: `filename` becomes the file name of all code, the
/// header an unchecked `source_hash`, and the rest follows from the code's value alone.
///
/// Without a `source_hash` the file's own is retained. `filename` appears in tracebacks: the
/// absolute path of the source in the image.
///
/// # Errors
/// If the file is invalid, or neither the file nor the caller has a hash.
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
    let format = PycFormat::of_magic(header.magic)?;
    let hash = match (source_hash, header.invalidation) {
        (Some(hash), _) | (None, Invalidation::Hash(hash)) => hash,
        (None, Invalidation::Stamp { .. }) => return Err(MarshalError::NoHash),
    };
    assemble(format, code, filename, hash)
}

/// Returns the canonical file for `code` as marshalled by the interpreter.
pub(super) fn of_code(
    format: &'static PycFormat,
    code: &[u8],
    filename: &ImagePath,
    source: &[u8],
) -> Result<Vec<u8>, MarshalError> {
    assemble(format, code, &filename.to_string(), source_hash(format, source))
}

/// Returns whether [`canonicalize`] with a hash succeeds for `pyc`, usually without writing.
pub(super) fn can_be_canonical(pyc: &[u8], filename: &str) -> bool {
    let known = || {
        let (header, code) = Header::read(pyc)?;
        let format = PycFormat::of_magic(header.magic)?;
        let (values, root) = read::read(code, format, filename)?;
        // Writing rejects nothing but depth, and never rejects values within the limit on every
        // path.
        if values.depth(root) <= read::MAX_DEPTH {
            return Ok(());
        }
        write::write(&values, root, format, &mut Vec::new())
    };
    known().is_ok()
}

fn assemble(
    format: &'static PycFormat,
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

/// [`canonicalize`] as a [`Transform`], for bytecode read when its layer is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// The path of the source in the image.
    pub filename: ImagePath,
    /// The source of the bytecode.
    pub source: InstalledSource,
}

/// The source of installed bytecode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstalledSource {
    /// A source with this hash.
    Hash([u8; 8]),
    /// A source file; its hash is computed on demand.
    File(HostFile),
}

impl Transform for Canonical {
    fn apply(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        let failed = |error: &dyn std::fmt::Display| TransformError(error.to_string());
        let hash = match &self.source {
            InstalledSource::Hash(hash) => *hash,
            InstalledSource::File(source) => {
                let (header, _) = Header::read(&bytes).map_err(|error| failed(&error))?;
                let format = PycFormat::of_magic(header.magic).map_err(|error| failed(&error))?;
                source_hash(format, &source.read().map_err(|error| failed(&error))?)
            }
        };
        canonicalize(&bytes, &self.filename.to_string(), Some(hash)).map_err(|error| failed(&error))
    }

    fn identity(&self) -> String {
        let source = match &self.source {
            InstalledSource::Hash(hash) => format!("{:016x}", u64::from_be_bytes(*hash)),
            InstalledSource::File(source) => {
                let mut fields = KeyHasher::new("source");
                source.identify(&mut fields);
                fields.finish().to_string()
            }
        };
        format!("canonical bytecode {REVISION} {source} {}", self.filename)
    }

    fn reads(&self) -> Option<&HostFile> {
        match &self.source {
            InstalledSource::Hash(_) => None,
            InstalledSource::File(source) => Some(source),
        }
    }
}
