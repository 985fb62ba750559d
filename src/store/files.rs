//! The files of a layout: in a folder, or in an archive.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;
use crate::digest::Digest;
use crate::error::{Cause, FileError};
use crate::image::{Blob, BlobSource, Descriptor, Documents};
use crate::traced_fs;

/// Upper limit for manifests and indexes, in bytes (distribution specification 1.1, "Pushing
/// manifests").
pub(super) const JSON_LIMIT: u64 = 4 << 20;

/// Access to the files of a layout or a Docker archive, by name.
pub(super) trait LayoutFiles {
    /// Returns the path of the folder or archive.
    fn path(&self) -> &Path;

    /// Reads a small file; `None` if missing.
    fn small(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns a file and its size; `None` if missing.
    fn file(&self, name: &str) -> Result<Option<(Blob, u64)>, StoreError>;

    /// Returns the error for invalid contents.
    fn invalid(&self, cause: impl Into<Cause>) -> StoreError;
}

/// Returns a blob's file name in a layout.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

pub(super) fn damaged(root: &Path, cause: impl Into<Cause>) -> StoreError {
    StoreError::Damaged { path: root.to_owned(), source: cause.into() }
}

/// Reads a small file; fails above [`JSON_LIMIT`].
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let file = traced_fs::open_regular(path).map_err(FileError::of("read", path))?;
    file.take(JSON_LIMIT + 1).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    if bytes.len() as u64 > JSON_LIMIT {
        return Err(StoreError::Unusable(format!(
            "cannot read {}: larger than {JSON_LIMIT} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

/// The files of a folder.
#[derive(Debug)]
pub(super) struct LayoutFolder(pub(super) PathBuf);

impl LayoutFiles for LayoutFolder {
    fn path(&self) -> &Path {
        &self.0
    }

    fn small(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match read_small(&self.0.join(name)) {
            Err(StoreError::File(error)) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn file(&self, name: &str) -> Result<Option<(Blob, u64)>, StoreError> {
        let path = self.0.join(name);
        match fs_err::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => Err(self.invalid(format!("{name} is not a file"))),
            Ok(metadata) => Ok(Some((Blob::File(path), metadata.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::new("read", path, error).into()),
        }
    }

    fn invalid(&self, cause: impl Into<Cause>) -> StoreError {
        damaged(&self.0, cause)
    }
}

/// The documents and blobs of a layout.
pub(super) struct LayoutBlobs<'a, F>(pub(super) &'a F);

impl<F: LayoutFiles> Documents for LayoutBlobs<'_, F> {
    type Error = StoreError;

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StoreError> {
        let digest = &descriptor.digest;
        let bytes = self.0.small(&blob_name(digest))?;
        bytes.ok_or_else(|| self.0.invalid(format!("manifest {digest} not found")))
    }

    fn blob(&self, descriptor: &Descriptor) -> Blob {
        match self.0.file(&blob_name(&descriptor.digest)) {
            Ok(Some((blob, _))) => blob,
            // A layout may omit blobs stored elsewhere (`image-layout.md`, "Blobs"); reading one
            // fails.
            _ => Blob::Source(Arc::new(MissingBlob {
                digest: descriptor.digest,
                from: self.0.path().to_owned(),
            })),
        }
    }
}

/// A blob missing from its layout.
#[derive(Debug)]
struct MissingBlob {
    digest: Digest,
    from: PathBuf,
}

impl BlobSource for MissingBlob {
    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
        let (digest, from) = (&self.digest, self.from.display());
        Err(io::Error::other(format!(
            "blob {digest} not found in {from}: the layout is shallow or incomplete"
        )))
    }
}
