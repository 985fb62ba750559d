//! Layers of packages: written once, then taken from the cache by the digests of their packages.

use std::path::{Path, PathBuf};

use super::AptError;
use super::lower::LowerImage;
use crate::base::View;
use crate::cache::{LayerCache, MadeLayer};
use crate::debian::install::{
    InstallError, InstallOptions, InstalledPackages, LowerFiles, PathRules, install,
};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::Layer;
use crate::layer::Compression;
use crate::lock::LockedDeb;
use crate::progress::{Activity, Progress, Span, Step, Warning};
use crate::tree::{KeyHasher, Tree};

/// A layer of packages to be made.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PackageLayer<'a> {
    /// The name, for messages.
    pub name: &'a str,
    /// The packages.
    pub packages: &'a [LockedDeb],
    /// The layers below, lowest first.
    pub below: &'a [Layer],
    /// Files to leave out, see [`InstallOptions`].
    pub exclude: &'a [String],
    /// The compression of the layer.
    pub compression: Compression,
}

/// The folders of a build.
#[derive(Debug, Clone, Copy)]
pub struct LayerFolders<'a> {
    /// The cache folder.
    pub cache: Option<&'a Path>,
    /// The folder of this build; layers live as long as this folder.
    pub work: &'a Path,
}

impl<'a> PackageLayer<'a> {
    /// Makes a layer of all files of `packages`, on no other layer.
    pub fn new(name: &'a str, packages: &'a [LockedDeb], compression: Compression) -> Self {
        Self { name, packages, below: &[], exclude: &[], compression }
    }

    /// Sets the layers below.
    #[must_use]
    pub fn on(self, below: &'a [Layer]) -> Self {
        Self { below, ..self }
    }

    /// Sets the files to leave out.
    #[must_use]
    pub fn without(self, exclude: &'a [String]) -> Self {
        Self { exclude, ..self }
    }

    /// Returns the digest of everything that decides the bytes of the layer.
    fn key(&self) -> Digest {
        let mut key = KeyHasher::new("layer of Debian packages, 4").text(&self.compression.identity());
        for pattern in self.exclude {
            key = key.text(pattern);
        }
        key = key.number(self.packages.len() as u64);
        for package in self.packages {
            key = key.text(&package.sha256.to_string());
        }
        for layer in self.below {
            key = key.text(&layer.diff_id.to_string());
        }
        key.finish()
    }

    /// Names the package in place of its file, which has the name of a digest.
    fn named(&self, error: InstallError, files: &[PathBuf]) -> InstallError {
        match error {
            InstallError::Package { path, cause } => {
                let number = files.iter().position(|file| *file == path);
                let package = number.and_then(|number| self.packages.get(number));
                let name = package.and_then(|package| package.path.rsplit('/').next());
                InstallError::Package { path: name.map_or(path, PathBuf::from), cause }
            }
            other => other,
        }
    }

    /// Returns the layer from the cache, or makes it from the files that `download` provides in the order of
    /// the packages.
    pub fn make(
        &self,
        folders: LayerFolders<'_>,
        download: impl FnOnce() -> Result<Vec<PathBuf>, AptError>,
        progress: &dyn Progress,
    ) -> Result<Layer, AptError> {
        let key = self.key();
        let made = MadeLayer {
            name: self.name,
            key,
            compression: self.compression,
            cache: folders.cache.map(LayerCache::new),
            work: folders.work,
        };
        if let Some(layer) = cached(&made, progress) {
            return Ok(layer);
        }
        // Another build may be making the same layer.
        let _lock = made.lock();
        if let Some(layer) = cached(&made, progress) {
            return Ok(layer);
        }
        let files = download()?;
        let lower = match self.below {
            [] => None,
            below => Some(LowerImage::of(View::of_layers(below, folders.cache, progress)?, progress)?),
        };
        progress.step(&Step::on(Activity::InstallPackages, self.name));
        let span = Span::begin(progress, Activity::InstallPackages);
        let options = InstallOptions { exclude: PathRules::new(self.exclude) };
        let lower = lower.as_ref().map(|lower| lower as &dyn LowerFiles);
        let contents = tempfile::tempdir_in(folders.work).map_err(FileError::of("write in", folders.work))?;
        let InstalledPackages { entries, warnings } =
            install(&files, lower, &options, contents.path()).map_err(|error| self.named(error, &files))?;
        drop(span);
        let mut tree = Tree::new();
        for entry in entries {
            tree.insert(entry)?;
        }
        let layer = made.write::<AptError>(&tree, progress)?;
        if let Some(cache) = &made.cache {
            cache.keep_cached_plan(&warnings_key(&key), &[layer.digest], &warnings);
        }
        for warning in warnings {
            progress.warn(warning);
        }
        Ok(layer)
    }
}

/// Returns the cached layer, and repeats its warnings.
fn cached(made: &MadeLayer<'_>, progress: &dyn Progress) -> Option<Layer> {
    let layer = made.cached()?;
    let warnings: Vec<Warning> = made.cache.as_ref()?.cached_plan(&warnings_key(&made.key))?;
    for warning in warnings {
        progress.warn(warning);
    }
    Some(layer)
}

/// Returns the key of the warnings of a layer.
fn warnings_key(layer: &Digest) -> Digest {
    KeyHasher::new("warnings of Debian packages").text(&layer.to_string()).finish()
}
