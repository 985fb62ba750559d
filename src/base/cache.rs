//! Slices in the cache folder, by the digest of their layer.

#![allow(clippy::disallowed_methods)] // A base is known by its digest.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::BaseError;
use super::form;
use super::slice::Slice;
use crate::digest::Digest;
use crate::image::Layer;
use crate::progress::{Progress, Warning};
use crate::sealed;

/// The largest file that is read. A million members have some 30 MB.
const LARGEST: u64 = 1 << 30;

/// What is kept of `layer`, from the cache where it is there, else from the layer itself.
///
/// A file that is damaged, foreign or of another version is as good as none. A cache that cannot be written costs time
/// and nothing else, so it is a warning.
pub(super) fn slice(
    layer: &Layer,
    cache: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Slice, BaseError> {
    let kept = layer.digest.sha256().and(layer.diff_id.sha256()).and(cache);
    let Some(folder) = kept.map(|cache| cache.join("layer-views")) else {
        return Slice::read(layer, progress);
    };
    let file = path_of(&folder, &layer.digest);
    if let Some(slice) = load(&file).filter(|slice| slice.summary.digest == layer.digest) {
        // The digest is right; an image that promises another size or diff id for it is wrong.
        slice.verify(layer)?;
        return Ok(slice);
    }
    progress.step(&format!("reading layer {} of the base", layer.digest));
    let slice = Slice::read(layer, progress)?;
    keep_in(&folder, &slice, progress);
    Ok(slice)
}

/// Keeps what was learnt of a layer in the cache.
pub(super) fn keep(slice: &Slice, cache: &Path, progress: &dyn Progress) {
    keep_in(&cache.join("layer-views"), slice, progress);
}

fn keep_in(folder: &Path, slice: &Slice, progress: &dyn Progress) {
    let file = path_of(folder, &slice.summary.digest);
    if let Err(error) = save(folder, &file, slice) {
        let message = format!("the view of a layer cannot be kept: {error}");
        progress.warn(
            Warning::new(folder.display().to_string(), message)
                .with_help("the base is read again next time; name another folder with --cache-dir"),
        );
    }
}

fn path_of(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("sha256-{}", digest.hex()))
}

fn load(file: &Path) -> Option<Slice> {
    if fs_err::metadata(file).ok().filter(std::fs::Metadata::is_file)?.len() > LARGEST {
        return None;
    }
    form::decode(&fs_err::read(file).ok()?).ok()
}

/// A temporary name and a rename: two builds at once both write, and either file is right. It is not synced, because its
/// digest is looked at when it is read.
fn save(folder: &Path, file: &Path, slice: &Slice) -> std::io::Result<()> {
    let bytes = form::encode(slice).map_err(std::io::Error::other)?;
    fs_err::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    temporary.write_all(&bytes)?;
    sealed::persist(temporary, file)
}
