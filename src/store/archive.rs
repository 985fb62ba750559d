//! Archives: an OCI layout in a tar that `docker load` takes too, and the form of `docker save`.
//!
//! Docker before 25 reads only `manifest.json`, so the OCI archive has one whose paths lead into the layout's blobs. Podman
//! then reads the OCI side, and drops the health check of an image with OCI media types; the Docker archive has no
//! `oci-layout`, so Podman keeps it (measured: docs/decisions.md).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{StoreError, blobs, index};
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::image::{Blob, Encoding, Image, Layer};
use crate::layer::{self, LayerError, Watch};
use crate::reference::{Name, Place};
use crate::tree::{Content, ContentError, Entry, HostFile, ImagePath, Owner, Tree};

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

/// Writes a layout of just `image` as an archive.
pub(super) fn write_oci(image: &Image, place: &Place, ref_name: &str, name: &Name) -> Result<(), StoreError> {
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let config = blob(image.config_digest());
    let mut members = Members::default();
    for layer in &image.layers {
        members.blob(&blob(layer.digest), content(layer)?, layer.digest)?;
    }
    members.blob(&config, Content::Bytes(image.config.clone()), image.config_digest())?;
    members.blob(&blob(image.digest()), Content::Bytes(image.manifest.clone()), image.digest())?;
    members.file("index.json", index::of(image, ref_name, name).into())?;
    members.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.into())?;
    let layers: Vec<String> = image.layers.iter().map(|layer| blob(layer.digest)).collect();
    members.file("manifest.json", manifest(&config, &layers, name))?;
    members.write(place)
}

/// Writes `image` as `docker save` does, but with compressed layers.
pub(super) fn write_docker(image: &Image, place: &Place, name: &Name) -> Result<(), StoreError> {
    let blob = |layer: &Layer| match layer.encoding {
        Encoding::Plain => format!("{}.tar", layer.digest.hex()),
        Encoding::Gzip => format!("{}.tar.gz", layer.digest.hex()),
        Encoding::Zstd => format!("{}.tar.zst", layer.digest.hex()),
    };
    let config = format!("{}.json", image.config_digest().hex());
    let mut members = Members::default();
    for layer in &image.layers {
        members.blob(&blob(layer), content(layer)?, layer.digest)?;
    }
    members.blob(&config, Content::Bytes(image.config.clone()), image.config_digest())?;
    members
        .file("manifest.json", manifest(&config, &image.layers.iter().map(blob).collect::<Vec<_>>(), name))?;
    members.write(place)
}

/// `manifest.json` of `docker save` (Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format").
fn manifest(config: &str, layers: &[String], name: &Name) -> Content {
    let entries: Vec<Value> =
        vec![json!({ "Config": config, "RepoTags": [name.to_string()], "Layers": layers })];
    let mut manifest = Value::from(entries);
    manifest.sort_all_objects();
    manifest.to_string().into()
}

fn content(layer: &Layer) -> Result<Content, StoreError> {
    Ok(match &layer.blob {
        Blob::File(path) => Content::Host(HostFile::new(path).map_err(unreadable)?),
        Blob::Memory(bytes) => Content::Bytes(bytes.clone()),
        Blob::Source(_) => {
            return Err(StoreError::Blob("a blob that is elsewhere cannot be archived".to_owned()));
        }
    })
}

/// A blob that cannot be read is no file of a project: the advice for those would be wrong.
fn unreadable(error: ContentError) -> StoreError {
    match error {
        ContentError::File(error) => error.into(),
        error => StoreError::Blob(error.to_string()),
    }
}

/// The files of an archive, and the digests that some of them have to have.
#[derive(Default)]
struct Members {
    tree: Tree,
    expected: BTreeMap<ImagePath, Digest>,
}

impl Members {
    /// Adds a blob. Two layers with the same bytes are one file.
    fn blob(&mut self, path: &str, content: Content, digest: Digest) -> Result<(), StoreError> {
        let known = ImagePath::new(path).is_ok_and(|path| self.expected.insert(path, digest).is_some());
        if known { Ok(()) } else { self.file(path, content) }
    }

    fn file(&mut self, path: &str, content: Content) -> Result<(), StoreError> {
        let wrong = |error: &dyn std::error::Error| StoreError::Blob(error.to_string());
        let path = ImagePath::new(path).map_err(|error| wrong(&error))?;
        self.tree.insert(Entry::file(path, content, Owner::System)).map_err(|error| wrong(&error))
    }

    fn write(&self, place: &Place) -> Result<(), StoreError> {
        match place {
            Place::Standard => {
                let out = io::stdout();
                if out.is_terminal() {
                    return Err(StoreError::Terminal);
                }
                self.stream(out.lock(), Path::new("standard output"))
            }
            Place::Path(path) => match fs_err::metadata(path) {
                Ok(metadata) if metadata.is_dir() => Err(StoreError::Folder(path.clone())),
                // A device or a pipe is written to; taking its place with a file would break the machine.
                Ok(metadata) if !metadata.is_file() => {
                    let file = File::options().write(true).open(path).map_err(FileError::of("open", path))?;
                    self.stream(file, path)
                }
                // Behind a link is the file that is meant.
                Ok(_) => self.replace(&path.canonicalize().map_err(FileError::of("open", path))?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.replace(path),
                Err(error) => Err(FileError::new("open", path, error).into()),
            },
            Place::Remote(_) | Place::Local(_) => Err(StoreError::Blob("an archive is a file".to_owned())),
        }
    }

    /// Writes under another name beside `path`, and takes its place when all is on the disk.
    fn replace(&self, path: &Path) -> Result<(), StoreError> {
        let folder: PathBuf = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => ".".into(),
        };
        fs_err::create_dir_all(&folder).map_err(|error| FileError::new("create", &folder, error))?;
        let mut temporary = tempfile::Builder::new()
            .prefix(blobs::TEMPORARY)
            // Temporary files are their owner's alone; an image archive is a file like others, under the umask.
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(&folder)
            .map_err(|error| FileError::new("write in", &folder, error))?;
        self.stream(temporary.as_file_mut(), path)?;
        temporary.as_file().sync_all().map_err(FileError::of("write", path))?;
        temporary.persist(path).map_err(|error| FileError::new("create", path, error.error))?;
        Ok(blobs::sync_folder(&folder)?)
    }

    fn stream(&self, out: impl Write, shown: &Path) -> Result<(), StoreError> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        let mut verify = Verify { expected: &self.expected, hasher: Hasher::new(), wrong: None };
        layer::write_archive(&self.tree, &mut out, &mut verify).map_err(|error| match error {
            LayerError::Write(error) => FileError::new("write", shown, error).into(),
            LayerError::Content(error) => unreadable(error),
            error => StoreError::Blob(error.to_string()),
        })?;
        out.flush().map_err(FileError::of("write", shown))?;
        match verify.wrong {
            None => Ok(()),
            Some((expected, found)) => Err(StoreError::Digest { expected, found }),
        }
    }
}

/// Digests the blobs as they pass, so that none is stored that is not what it is called.
struct Verify<'a> {
    expected: &'a BTreeMap<ImagePath, Digest>,
    hasher: Hasher,
    /// Expected and found.
    wrong: Option<(Digest, Digest)>,
}

impl Watch for Verify<'_> {
    fn bytes(&mut self, _: &Entry, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    fn end(&mut self, entry: &Entry, _: u64) {
        let found = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = self.expected.get(&entry.path)
            && *expected != found
        {
            self.wrong.get_or_insert((*expected, found));
        }
    }
}
