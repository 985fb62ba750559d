//! Writing archives: an OCI layout in a tar, loadable with `docker load`, and the format of `docker
//! save`.
//!
//! Docker before 25 reads only `manifest.json`, so the OCI archive has one with paths into the
//! layout's blobs. Podman then reads the OCI side and drops the health check of an image with OCI
//! media types; a Docker archive has no `oci-layout`, so Podman keeps the check (measured:
//! docs/decisions.md).
//!
//! An OCI archive contains an index completely. `manifest.json` describes one image, so only an
//! index of one image gets the file: choosing among several would depend on the machine, and equal
//! inputs must give equal bytes.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::atomic_file::write_output;
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::image::{Artifact, Blob, Descriptor, Encoding};
use crate::layer::{self, LayerError, Watch};
use crate::progress::{Direction, Progress, Transfer, TransferState};
use crate::reference::{Name, Place};
use crate::store::files::blob_name;
use crate::store::{StoreError, blobs, index};
use crate::tree::{Content, ContentError, ContentSource, Entry, HostFile, ImagePath, Owner, Tree};

/// Size of a write, in bytes.
const BUFFER: usize = 256 << 10;

/// Writes an archive with a layout of only `artifact` under `names`, each with its tag.
pub(in crate::store) fn write_oci(
    artifact: &Artifact,
    place: &Place,
    names: &[(String, Name)],
    progress: &dyn Progress,
) -> Result<(), StoreError> {
    let mut members = Members::default();
    members.artifact(artifact)?;
    members.file("index.json", index::of(artifact, names).into())?;
    members.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.into())?;
    let images: Vec<_> = artifact.images().into_iter().filter(|image| image.is_image()).collect();
    if let [image] = images.as_slice()
        && let [config, layers @ ..] = image.blobs.as_slice()
    {
        let layers: Vec<String> = layers.iter().map(|(layer, _)| blob_name(&layer.digest)).collect();
        let tags: Vec<String> = names.iter().map(|(_, name)| name.to_string()).collect();
        members.file("manifest.json", manifest(&blob_name(&config.0.digest), &layers, &tags))?;
    }
    members.write(place, progress)
}

/// Writes one image in the format of `docker save`, with compressed layers.
pub(in crate::store) fn write_docker(
    image: &Artifact,
    place: &Place,
    names: &[Name],
    progress: &dyn Progress,
) -> Result<(), StoreError> {
    docker(image, names)?.write(place, progress)
}

/// Like [`write_docker`], to a stream; errors call the stream `shown`.
pub(in crate::store) fn write_docker_to(
    image: &Artifact,
    out: impl Write,
    shown: &Path,
    name: &Name,
    progress: &dyn Progress,
) -> Result<(), StoreError> {
    docker(image, std::slice::from_ref(name))?.stream(out, shown, progress)
}

fn docker(image: &Artifact, names: &[Name]) -> Result<Members, StoreError> {
    let file_name = |layer: &Descriptor| {
        let suffix = match Encoding::from_media_type(&layer.media_type) {
            Some(Encoding::Gzip) => ".gz",
            Some(Encoding::Zstd) => ".zst",
            _ => "",
        };
        format!("{}.tar{suffix}", layer.digest.hex())
    };
    let [(config, config_blob), layers @ ..] = image.blobs.as_slice() else {
        return Err(StoreError::Unusable("cannot write an index into a Docker archive".to_owned()));
    };
    let mut members = Members::default();
    for (layer, blob) in layers {
        members.blob(&file_name(layer), layer, blob)?;
    }
    let config_name = format!("{}.json", config.digest.hex());
    members.blob(&config_name, config, config_blob)?;
    let layers: Vec<String> = layers.iter().map(|(layer, _)| file_name(layer)).collect();
    let tags: Vec<String> = names.iter().map(Name::to_string).collect();
    members.file("manifest.json", manifest(&config_name, &layers, &tags))?;
    Ok(members)
}

/// Returns `manifest.json` of `docker save` (Docker image specification 1.2, "Combined Image JSON +
/// Filesystem Changeset Format").
fn manifest(config: &str, layers: &[String], tags: &[String]) -> Content {
    let entries: Vec<Value> = vec![json!({ "Config": config, "RepoTags": tags, "Layers": layers })];
    let mut manifest = Value::from(entries);
    manifest.sort_all_objects();
    manifest.to_string().into()
}

fn content(descriptor: &Descriptor, blob: &Blob) -> Result<Content, StoreError> {
    Ok(match blob {
        Blob::File(path) => Content::Host(HostFile::new(path).map_err(unreadable)?),
        Blob::Verified { file, .. } => Content::Host(file.clone()),
        Blob::Memory(bytes) => Content::Bytes(bytes.clone()),
        Blob::Source(_) => {
            let source = BlobContent { digest: descriptor.digest, blob: blob.clone() };
            Content::External { size: descriptor.size, source: Arc::new(source) }
        }
    })
}

/// A blob that is fetched when read.
#[derive(Debug)]
struct BlobContent {
    digest: Digest,
    blob: Blob,
}

impl ContentSource for BlobContent {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.blob.open()
    }

    fn name(&self) -> String {
        self.digest.to_string()
    }
}

/// Converts an error of a blob: the help for project files would be wrong.
fn unreadable(error: ContentError) -> StoreError {
    match error {
        ContentError::File(error) => error.into(),
        error => StoreError::Content(error),
    }
}

/// The files of an archive, and the expected digests of the blobs among them.
#[derive(Default)]
struct Members {
    tree: Tree,
    expected: BTreeMap<ImagePath, (Digest, u64)>,
}

impl Members {
    /// Adds a document of a layout with everything below.
    fn artifact(&mut self, artifact: &Artifact) -> Result<(), StoreError> {
        for below in &artifact.manifests {
            self.artifact(below)?;
        }
        for (descriptor, blob) in &artifact.blobs {
            if descriptor.is_nondistributable() && blob.open().is_err() {
                continue;
            }
            self.blob(&blob_name(&descriptor.digest), descriptor, blob)?;
        }
        let document = Blob::Memory(artifact.bytes.clone());
        self.blob(&blob_name(&artifact.digest()), &artifact.descriptor, &document)
    }

    /// Adds a blob. Layers with the same bytes share one file.
    fn blob(&mut self, path: &str, descriptor: &Descriptor, blob: &Blob) -> Result<(), StoreError> {
        let expected = (descriptor.digest, descriptor.size);
        let known = ImagePath::new(path).is_ok_and(|path| self.expected.insert(path, expected).is_some());
        if known { Ok(()) } else { self.file(path, content(descriptor, blob)?) }
    }

    fn file(&mut self, path: &str, content: Content) -> Result<(), StoreError> {
        let wrong = |error: &dyn std::error::Error| StoreError::Unusable(error.to_string());
        let path = ImagePath::new(path).map_err(|error| wrong(&error))?;
        self.tree.insert(Entry::file(path, content, Owner::System)).map_err(|error| wrong(&error))
    }

    fn write(&self, place: &Place, progress: &dyn Progress) -> Result<(), StoreError> {
        match place {
            Place::Standard => {
                let out = io::stdout();
                if out.is_terminal() {
                    return Err(StoreError::Terminal);
                }
                self.stream(out.lock(), Path::new("standard output"), progress)
            }
            Place::Path(path) => match fs_err::metadata(path) {
                Ok(metadata) if metadata.is_dir() => Err(StoreError::Folder(path.clone())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let folder = path.parent().unwrap_or(path);
                    fs_err::create_dir_all(folder).map_err(FileError::of("create", folder))?;
                    write_output(path, |file| self.stream(file, path, progress))
                }
                _ => write_output(path, |file| self.stream(file, path, progress)),
            },
            Place::Remote(_) | Place::Local(_) => {
                Err(StoreError::Unusable("invalid archive: neither a file nor standard output".to_owned()))
            }
        }
    }

    fn stream(&self, out: impl Write, shown: &Path, progress: &dyn Progress) -> Result<(), StoreError> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        let mut verify =
            Verify { expected: &self.expected, hasher: Hasher::new(), done: 0, wrong: None, progress };
        layer::write_archive(&self.tree, &mut out, &mut verify).map_err(|error| match error {
            LayerError::Write(error) => FileError::new("write", shown, error).into(),
            LayerError::Content(error) => unreadable(error),
            error => StoreError::Layer(error),
        })?;
        out.flush().map_err(FileError::of("write", shown))?;
        match verify.wrong {
            None => Ok(()),
            Some((expected, found)) => Err(StoreError::Digest { expected, found }),
        }
    }
}

/// Digests blobs while writing, so that a wrong one is never stored.
struct Verify<'a> {
    expected: &'a BTreeMap<ImagePath, (Digest, u64)>,
    hasher: Hasher,
    done: u64,
    /// The expected and the actual digest.
    wrong: Option<(Digest, Digest)>,
    progress: &'a dyn Progress,
}

impl Watch for Verify<'_> {
    fn bytes(&mut self, entry: &Entry, bytes: &[u8]) {
        let expected = self.expected.get(&entry.path);
        if let Some((digest, _)) = expected.filter(|_| self.done == 0) {
            self.hasher = Hasher::like(digest);
        }
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        if let Some((digest, size)) = expected {
            let (name, done_bytes, total_bytes) = (&blobs::display_name(digest), self.done, *size);
            let state = if done_bytes < total_bytes { TransferState::Running } else { TransferState::Done };
            let direction = Direction::Sent;
            self.progress.transfer(&Transfer {
                name,
                title: None,
                direction,
                done_bytes,
                total_bytes,
                state,
            });
        }
    }

    fn end(&mut self, entry: &Entry, _: u64) {
        let hasher = std::mem::take(&mut self.hasher);
        let empty = std::mem::take(&mut self.done) == 0;
        if let Some((expected, _)) = self.expected.get(&entry.path)
            && let found = if empty { expected.recomputed(b"") } else { hasher.finish() }
            && *expected != found
        {
            self.wrong.get_or_insert((*expected, found));
        }
    }
}
