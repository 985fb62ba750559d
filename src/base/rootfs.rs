//! A root file system as a base: a directory, or a tar archive of one.

#![allow(clippy::disallowed_methods)] // The digest identifies a base.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use walkdir::WalkDir;

use super::BaseError;
use super::index_cache;
use super::layer_index::LayerIndex;
use super::view::View;
use crate::atomic_file::temporary_in;
use crate::error::FileError;
use crate::image::{Blob, Encoding, HistoryLine, Image, ImageConfig, Layer};
use crate::layer::{self, Compression, NoWatch, ReadError};
use crate::platform::Platform;
use crate::progress::{Progress, Warning};
use crate::tree::{Content, Entry, HostFile, ImagePath, Kind, Owner, Time, Tree, TreeError};

/// Makes an image of one layer from the files at `path`, with an empty configuration.
///
/// An archive, plain or compressed, becomes the layer unchanged. A directory is written to a
/// reproducible layer in the directory `work`, which must live as long as the image. The
/// directory's owner becomes root; other owners, modes and times stay. Devices, sockets and pipes
/// are omitted with a warning.
///
/// The index of the layer is cached in `cache`, as in [`View::of`].
///
/// The platform is that of the ELF files, else this program's.
pub fn rootfs(
    path: &Path,
    work: &Path,
    cache: Option<&Path>,
    compression: Compression,
    progress: &dyn Progress,
) -> Result<Image, BaseError> {
    let metadata = fs_err::metadata(path).map_err(|error| FileError::new("read", path, error))?;
    let layer = if metadata.is_dir() {
        of_directory(path, work, compression, progress)?
    } else {
        of_archive(path, cache, progress)?
    };
    let image = |platform: Platform| {
        let config = ImageConfig {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
            ..ImageConfig::default()
        };
        let line = HistoryLine { created_by: "ipo-oci: root file system".to_owned(), comment: String::new() };
        Image::assemble(&config, vec![(layer.clone(), line)], &[].into())
    };
    let made = image(Platform::of_this_program())?;
    let machine = View::of(&made, cache, progress)?.machine();
    match machine.and_then(crate::elf::Machine::platform) {
        Some(platform) => Ok(image(Platform::new("linux", platform.architecture, platform.variant))?),
        None => Ok(made),
    }
}

fn of_archive(path: &Path, cache: Option<&Path>, progress: &dyn Progress) -> Result<Layer, BaseError> {
    let read = |error| FileError::new("read", path, error);
    let mut magic = Vec::new();
    let file = fs_err::File::open(path).map_err(read)?;
    file.take(Encoding::MAGIC_BYTES).read_to_end(&mut magic).map_err(read)?;
    let encoding = Encoding::of_magic(&magic).unwrap_or(Encoding::Plain);
    let file = fs_err::File::open(path).map_err(read)?;
    let index = LayerIndex::of(file)
        .map_err(|cause: ReadError| BaseError::Archive { path: path.to_owned(), cause })?;
    if let Some(cache) = cache {
        index_cache::store(&index, cache, progress);
    }
    let summary = index.summary;
    let blob = Blob::File(path.to_owned());
    Ok(Layer { digest: summary.digest, size: summary.size, diff_id: summary.diff_id, encoding, blob })
}

fn of_directory(
    path: &Path,
    work: &Path,
    compression: Compression,
    progress: &dyn Progress,
) -> Result<Layer, BaseError> {
    let tree = tree(path, progress)?;
    let failed = |error| FileError::new("write", work, error);
    fs_err::create_dir_all(work).map_err(failed)?;
    let mut file = temporary_in(work).map_err(failed)?;
    let written = layer::write(&tree, compression, None, file.as_file_mut(), &mut NoWatch)?;
    let place = work.join(format!("rootfs-{}", written.digest.hex()));
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&place).map_err(|error| failed(error.error))?;
    Ok(Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: compression.encoding(),
        blob: Blob::File(place),
    })
}

fn tree(root: &Path, progress: &dyn Progress) -> Result<Tree, BaseError> {
    let mut tree = Tree::new();
    let mut owner = 0;
    // The first name of each file with hard links.
    let mut names: HashMap<(u64, u64), ImagePath> = HashMap::new();
    // `/.` because the directory may be a link.
    for found in WalkDir::new(root.join(".")).sort_by_file_name() {
        let found = found.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            FileError::new("list", path, error.into())
        })?;
        let disk = found.path();
        let metadata = found.metadata().map_err(|error| FileError::new("read", disk, error.into()))?;
        let below = disk.strip_prefix(root).unwrap_or(disk);
        let text = below.to_str().ok_or_else(|| BaseError::Name(disk.to_owned()))?;
        let path = ImagePath::new(text)?;
        if path.is_root() {
            owner = metadata.uid();
        }
        let Some(kind) = kind(disk, &metadata, &path, &mut names)? else {
            progress.warn(Warning::new(path.to_string(), "excluded from the base: a device, socket or pipe"));
            continue;
        };
        let mut entry = Entry::directory(path, Owner::System).with_mode(metadata.mode() & 0o7777);
        entry.kind = kind;
        // A tar archive has no time before 1970.
        entry.time = Time::At(metadata.mtime().max(0));
        if metadata.uid() != owner {
            entry.uid = metadata.uid();
        }
        if owner == 0 || metadata.uid() != owner {
            entry.gid = metadata.gid();
        }
        tree.insert(entry)?;
    }
    Ok(tree)
}

fn kind(
    disk: &Path,
    metadata: &Metadata,
    path: &ImagePath,
    names: &mut HashMap<(u64, u64), ImagePath>,
) -> Result<Option<Kind>, BaseError> {
    if metadata.is_dir() {
        return Ok(Some(Kind::Directory));
    }
    if metadata.is_symlink() {
        let target = fs_err::read_link(disk).map_err(|error| FileError::new("read", disk, error))?;
        let target = target.to_str().ok_or_else(|| BaseError::Name(disk.to_owned()))?;
        return Ok(Some(Kind::Symlink(target.to_owned())));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.nlink() > 1 {
        let key = (metadata.dev(), metadata.ino());
        if let Some(first) = names.get(&key) {
            return Ok(Some(Kind::HardLink(first.clone())));
        }
        names.insert(key, path.clone());
    }
    Ok(Some(Kind::File(Content::Host(HostFile::with_metadata(disk, metadata)?))))
}

impl From<TreeError> for BaseError {
    fn from(error: TreeError) -> Self {
        // A directory lists each name once.
        let (TreeError::Twice { path, .. } | TreeError::NotADirectory { path, .. }) = error;
        Self::NotADirectory(path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::testing::path;
    use super::*;
    use crate::base::NodeKind;
    use crate::elf::fixture::{S390X, library};
    use crate::progress::{Silent, WarningCollector};

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs_err::create_dir_all(at("usr/lib")).unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        let library = crate::elf::fixture::Fixture { machine: S390X, ..library(&[]) };
        fs_err::write(at("usr/lib/x.so"), library.bytes()).unwrap();
        fs_err::hard_link(at("usr/lib/x.so"), at("usr/lib/y.so")).unwrap();
        fs_err::set_permissions(at("usr/lib/x.so"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        root
    }

    fn image(root: &Path, work: &Path) -> Image {
        rootfs(root, work, None, Compression::Gzip(1), &Silent).unwrap()
    }

    #[test]
    fn a_directory_becomes_a_layer() {
        let (root, work) = (root(), tempfile::tempdir().unwrap());
        let socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        let progress = WarningCollector::default();
        let made = rootfs(root.path(), work.path(), None, Compression::Gzip(1), &progress).unwrap();
        assert_eq!(progress.warnings()[0].subject, "/socket");
        drop(socket);
        assert_eq!(made.platform.to_string(), "linux/s390x");
        let view = View::of(&made, None, &Silent).unwrap();
        let node = |name: &str| view.lookup(&path(name)).unwrap();
        assert_eq!(node("lib").kind, NodeKind::Symlink("usr/lib".into()));
        assert_eq!((node("usr/lib/x.so").mode, node("usr/lib/x.so").uid), (0o4755, 0));
        assert!(node("usr/lib/x.so").is_same_file(node("usr/lib/y.so")));
        assert!(view.lookup(&path("socket")).is_none());
    }

    #[test]
    fn equal_files_give_equal_layers_at_any_path() {
        let (root, work) = (root(), tempfile::tempdir().unwrap());
        let link = work.path().join("link");
        symlink(root.path(), &link).unwrap();
        assert_eq!(image(root.path(), work.path()).digest(), image(&link, work.path()).digest());
    }

    #[test]
    fn an_archive_becomes_the_layer_unchanged() {
        let (root, work) = (root(), tempfile::tempdir().unwrap());
        let made = image(root.path(), work.path());
        let Blob::File(file) = &made.layers[0].blob else { panic!() };
        let again = image(file, work.path());
        assert_eq!(again.layers[0].digest, made.layers[0].digest);
        assert_eq!(again.digest(), made.digest());
        let wrong = work.path().join("wrong.tar");
        fs_err::write(&wrong, "no archive").unwrap();
        let error = rootfs(&wrong, work.path(), None, Compression::None, &Silent).unwrap_err();
        assert!(error.to_string().contains("wrong.tar: "), "{error}");
    }
}
