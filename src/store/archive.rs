//! Archives: an OCI layout in a tar that `docker load` takes too, and the form of `docker save`.
//!
//! Docker before 25 reads only `manifest.json`, so the OCI archive has one whose paths lead into the layout's blobs. Podman
//! then reads the OCI side, and drops the health check of an image with OCI media types; the Docker archive has no
//! `oci-layout`, so Podman keeps it (measured: docs/decisions.md).

use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::layout::index_of;
use super::{Name, Place, StoreError, Transport};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Blob, Encoding, Image, Layer};
use crate::layer::{self, LayerError};
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner, Tree, TreeError};

/// Writes `image` as an archive to `place`.
pub(super) fn write(
    image: &Image,
    transport: Transport,
    place: &Place,
    name: &Name,
) -> Result<(), StoreError> {
    let shown = match place {
        Place::Path(path) => path.display().to_string(),
        Place::StandardOutput => "standard output".to_owned(),
    };
    let failed = |source: LayerError| StoreError::Archive { path: shown.clone(), source: Box::new(source) };
    let tree = match transport {
        Transport::DockerArchive => docker(image, name),
        _ => oci(image, name),
    }
    .map_err(failed)?;
    match place {
        Place::StandardOutput => {
            let out = io::stdout();
            if out.is_terminal() {
                return Err(StoreError::Terminal);
            }
            let mut out = BufWriter::with_capacity(256 << 10, out.lock());
            layer::write_archive(&tree, &mut out).map_err(failed)?;
            out.flush().map_err(|error| failed(error.into()))
        }
        Place::Path(path) => file(path, &tree, failed),
    }
}

/// Writes under another name beside `path`, and takes its place when all is on the disk.
fn file(path: &Path, tree: &Tree, failed: impl Fn(LayerError) -> StoreError) -> Result<(), StoreError> {
    if path.is_dir() {
        return Err(StoreError::Folder(path.to_owned()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder).map_err(|error| FileError::new("create", folder, error))?;
    let mut temporary = tempfile::Builder::new()
        .prefix(".ipo-oci-")
        // Temporary files are their owner's alone; an image archive is a file like others, under the umask.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(|error| FileError::new("write in", folder, error))?;
    let mut out = BufWriter::with_capacity(256 << 10, temporary.as_file_mut());
    layer::write_archive(tree, &mut out).map_err(&failed)?;
    out.flush().map_err(|error| failed(error.into()))?;
    drop(out);
    temporary.as_file().sync_all().map_err(FileError::of("write", path))?;
    temporary.persist(path).map_err(|error| FileError::new("create", path, error.error))?;
    Ok(())
}

fn oci(image: &Image, name: &Name) -> Result<Tree, LayerError> {
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let mut files: Vec<(String, Content)> = Vec::new();
    for layer in &image.layers {
        files.push((blob(layer.digest), content(layer)?));
    }
    files.push((blob(image.config_digest()), Content::Bytes(image.config.clone())));
    files.push((blob(image.digest()), Content::Bytes(image.manifest.clone())));
    files.push(("index.json".to_owned(), index_of(image, name).into()));
    files.push(("oci-layout".to_owned(), r#"{"imageLayoutVersion":"1.0.0"}"#.into()));
    let layers = image.layers.iter().map(|layer| blob(layer.digest)).collect();
    files.push(("manifest.json".to_owned(), manifest(&blob(image.config_digest()), layers, name)));
    tree(files)
}

fn docker(image: &Image, name: &Name) -> Result<Tree, LayerError> {
    let blob = |layer: &Layer| match layer.encoding {
        Encoding::Plain => format!("{}.tar", layer.digest.hex()),
        Encoding::Gzip => format!("{}.tar.gz", layer.digest.hex()),
    };
    let config = format!("{}.json", image.config_digest().hex());
    let mut files: Vec<(String, Content)> = Vec::new();
    for layer in &image.layers {
        files.push((blob(layer), content(layer)?));
    }
    files.push((config.clone(), Content::Bytes(image.config.clone())));
    files
        .push(("manifest.json".to_owned(), manifest(&config, image.layers.iter().map(blob).collect(), name)));
    tree(files)
}

/// `manifest.json` of `docker save` (Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format").
fn manifest(config: &str, layers: Vec<String>, name: &Name) -> Content {
    let entries: Vec<Value> =
        vec![json!({ "Config": config, "RepoTags": [name.to_string()], "Layers": layers })];
    Value::from(entries).to_string().into()
}

fn content(layer: &Layer) -> Result<Content, LayerError> {
    Ok(match &layer.blob {
        Blob::File(path) => Content::Host(HostFile::new(path)?),
        Blob::Memory(bytes) => Content::Bytes(bytes.clone()),
    })
}

/// The files of an archive. Two layers with the same bytes are one file.
fn tree(files: Vec<(String, Content)>) -> Result<Tree, LayerError> {
    let mut tree = Tree::new();
    for (path, content) in files {
        let entry = ImagePath::new(&path).map(|path| Entry::file(path, content, Owner::System));
        let entry = entry.map_err(|error| LayerError::Write(io::Error::other(error)))?;
        match tree.insert(entry) {
            Ok(()) | Err(TreeError::Twice { .. }) => {}
            Err(error) => return Err(LayerError::Write(io::Error::other(error))),
        }
    }
    Ok(tree)
}
