//! [`open_contents`]: the files of a layout as they are, for a verification that must not stop at
//! the first fault.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{JSON_LIMIT, LayoutFiles};
use super::{Access, StoreError, archive};
use crate::error::FileError;
use crate::image::{Artifact, Blob};
use crate::reference::{Place, Reference, Transport};

/// The deepest folder of a layout: `blobs/sha256`.
const MAX_DEPTH: usize = 2;
/// The most files of a layout.
const MAX_FILES: usize = 1_000_000;

/// An image, opened for verification.
#[derive(Debug)]
pub(crate) enum Contents {
    /// A layout in a folder or an archive.
    Layout(LayoutContents),
    /// An image of another transport.
    Artifact(Box<Artifact>),
}

/// The files of a layout in a folder or an archive. Nothing is verified.
#[derive(Debug)]
pub(crate) struct LayoutContents {
    /// The files by name: `blobs/sha256/…`.
    pub(crate) files: BTreeMap<String, StoredFile>,
    /// The archive with the files.
    pub(crate) archive: Option<Blob>,
}

/// A file of a layout.
#[derive(Debug, Clone)]
pub(crate) enum StoredFile {
    /// A file and its size in bytes.
    File(Blob, u64),
    /// A device, a broken link or another file without content.
    Other(&'static str),
}

impl LayoutContents {
    /// Reads a small file. Returns the reason as an error if impossible.
    pub(crate) fn small(&self, name: &str) -> Result<Vec<u8>, String> {
        match self.files.get(name) {
            None => Err("not found".to_owned()),
            Some(StoredFile::Other(kind)) => Err((*kind).to_owned()),
            Some(StoredFile::File(_, size)) if *size > JSON_LIMIT => {
                Err(format!("larger than {JSON_LIMIT} bytes"))
            }
            Some(StoredFile::File(blob, size)) => {
                let mut bytes = Vec::new();
                let read = blob
                    .open()
                    .and_then(|reader| io::Read::read_to_end(&mut io::Read::take(reader, *size), &mut bytes));
                read.map(|_| bytes).map_err(|error| crate::error::describe(&error))
            }
        }
    }
}

/// Opens `reference`: a layout without verification, an image of another transport by
/// [`open`](super::open()).
pub(crate) fn open_contents(reference: &Reference, access: &Access) -> Result<Contents, StoreError> {
    match (reference.transport, &reference.place) {
        (Transport::Oci, Place::Path(root)) => {
            let metadata = fs_err::metadata(root).map_err(|error| FileError::new("read", root, error))?;
            if !metadata.is_dir() {
                return Err(StoreError::NotALayout { path: root.clone(), found: "a file".to_owned() });
            }
            let mut files = BTreeMap::new();
            list(root, "", 0, &mut files)?;
            if !files.contains_key("oci-layout") && !files.contains_key("index.json") {
                let found = "neither oci-layout nor index.json".to_owned();
                return Err(StoreError::NotALayout { path: root.clone(), found });
            }
            Ok(Contents::Layout(LayoutContents { files, archive: None }))
        }
        (Transport::OciArchive | Transport::DockerArchive, place) => {
            let opened = archive::open(place)?;
            if !opened.has("index.json") && !opened.has("oci-layout") {
                return Ok(Contents::Artifact(Box::new(archive::read_docker(&opened, reference)?)));
            }
            let mut files = BTreeMap::new();
            for name in opened.names() {
                let file = match opened.file(&name)? {
                    Some((blob, size)) => StoredFile::File(blob, size),
                    None => StoredFile::Other("a link to a missing file"),
                };
                files.insert(name, file);
            }
            Ok(Contents::Layout(LayoutContents { files, archive: Some(opened.whole()?) }))
        }
        _ => Ok(Contents::Artifact(Box::new(super::open(reference, access)?))),
    }
}

/// Lists a folder of a layout.
fn list(
    root: &Path,
    below: &str,
    depth: usize,
    files: &mut BTreeMap<String, StoredFile>,
) -> Result<(), StoreError> {
    let folder = root.join(below);
    let failed = |error| FileError::new("list", &folder, error);
    for entry in fs_err::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let path: PathBuf = entry.path();
        // Links are followed, as by every reader.
        let file = match fs_err::metadata(&path) {
            Ok(metadata) if metadata.is_file() => StoredFile::File(Blob::File(path), metadata.len()),
            Ok(metadata) if metadata.is_dir() && depth < MAX_DEPTH => {
                list(root, &name, depth + 1, files)?;
                continue;
            }
            Ok(metadata) if metadata.is_dir() => StoredFile::Other("a folder"),
            Ok(_) => StoredFile::Other("a special file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => StoredFile::Other("a broken link"),
            Err(error) => return Err(FileError::new("read", path, error).into()),
        };
        files.insert(name, file);
        if files.len() > MAX_FILES {
            return Err(StoreError::Unusable(format!("cannot list the layout: more than {MAX_FILES} files")));
        }
    }
    Ok(())
}
