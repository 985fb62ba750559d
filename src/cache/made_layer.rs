//! [`MadeLayer`]: a layer of a base that this program makes, kept under its key.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{BuildLock, LayerCache, Record};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Blob, Layer};
use crate::layer::{self, Compression, LayerError, NoWatch};
use crate::progress::{Activity, Progress, Span, Step};
use crate::tree::{ContentError, HostFile, Tree};

/// A layer that follows from a key, in the cache or to be written.
pub(crate) struct MadeLayer<'a> {
    /// The name, for messages and files.
    pub(crate) name: &'a str,
    /// The digest of everything that decides the bytes.
    pub(crate) key: Digest,
    /// The compression of the layer.
    pub(crate) compression: Compression,
    /// The cache, if there is one.
    pub(crate) cache: Option<LayerCache>,
    /// The folder of this build; the layer lives as long as this folder.
    pub(crate) work: &'a Path,
}

impl MadeLayer<'_> {
    /// Returns the layer from the cache.
    pub(crate) fn cached(&self) -> Option<Layer> {
        let cache = self.cache.as_ref()?;
        let record = cache.record(&self.key)?;
        let blob = cache.blob(record.digest, record.size)?;
        let file = cache.hold(blob, &self.place());
        Some(record.layer(self.compression, Blob::Verified { file, repository: None }))
    }

    /// Waits for another build that makes the same layer.
    pub(crate) fn lock(&self) -> Option<BuildLock> {
        self.cache.as_ref()?.lock_build(&self.key)
    }

    /// Writes the layer of the entries in `tree`, and keeps it in the cache.
    pub(crate) fn write<E: From<FileError> + From<LayerError> + From<ContentError>>(
        &self,
        tree: &Tree,
        progress: &dyn Progress,
    ) -> Result<Layer, E> {
        progress.step(&Step::on(Activity::WriteLayer, self.name));
        let _span = Span::begin(progress, Activity::WriteLayer);
        let path = self.place();
        let file = fs_err::File::create(&path).map_err(FileError::of("create", &path))?;
        let mut sink = BufWriter::with_capacity(1 << 20, file);
        let written = layer::write(tree, self.compression, None, &mut sink, &mut NoWatch)?;
        sink.flush().map_err(FileError::of("write", &path))?;
        let record = Record::new(self.name, &written, Vec::new());
        let blob = match &self.cache {
            Some(cache) => cache.keep(&self.key, &self.key, &record, path),
            None => Blob::Verified { file: HostFile::new(&path)?, repository: None },
        };
        Ok(record.layer(self.compression, blob))
    }

    fn place(&self) -> PathBuf {
        self.work.join(format!("{}-{}", self.name.replace(' ', "-"), self.key.hex()))
    }
}
