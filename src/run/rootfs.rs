//! Unpacking an image into a root file system.
//!
//! The merged view decides the content ([`View`]); no path of an archive is used. Every path of the view
//! is canonical, with directories as its parents, and symbolic links are made last, so that no write
//! follows a link: nothing is written outside of the folder.
//!
//! A user namespace of an unprivileged user has one user. All files then belong to that user, and their
//! owner's permission bits become the access that the image's user has. Devices, named pipes and
//! extended attributes are left out.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Timespec, Timestamps, Uid};

use super::RunError;
use super::user::ContainerUser;
use crate::base::{BaseError, NodeKind, View, ViewNode, VisibleFile};
use crate::error::FileError;
use crate::tree::ImagePath;

/// Limits of a root file system.
const MAX_FILES: u64 = 1_000_000;
const MAX_BYTES: u64 = 32 << 30;
/// Space that stays free on the disk.
const RESERVED_BYTES: u64 = 64 << 20;
/// Bytes that a file occupies beside its content.
const BYTES_PER_FILE: u64 = 4 << 10;
/// Most folders that are writable for themselves. With more, the whole root file system is.
const MAX_WRITABLE: usize = 200;

/// The names of a container's own addresses.
const HOSTS: &str = "127.0.0.1\tlocalhost ipo-oci\n::1\tlocalhost\n";

/// Owners of unpacked files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Those of the image, which needs root.
    Image,
    /// The user of this process.
    OneUser,
}

/// A root file system.
#[derive(Debug, Clone)]
pub(super) struct Rootfs {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Folders that the container may write to, as canonical paths of the image.
    pub(super) writable: Vec<ImagePath>,
    /// True if the container may write to the root folder itself.
    pub(super) is_writable: bool,
    /// Canonical paths of the mounts, in the order given.
    pub(super) mounted: Vec<ImagePath>,
}

/// A path of the container where something is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountPoint {
    pub(super) path: ImagePath,
    pub(super) is_directory: bool,
}

impl MountPoint {
    pub(super) fn directory(path: ImagePath) -> Self {
        Self { path, is_directory: true }
    }
}

/// Folders to make if the image lacks them.
pub(super) struct RootfsFolders<'a> {
    pub(super) cwd: &'a ImagePath,
    pub(super) volumes: &'a [ImagePath],
    pub(super) mount_points: &'a [MountPoint],
    /// True if the container has the network of this machine.
    pub(super) has_network: bool,
}

/// Unpacks the files of `view` into `root`, a new folder, for a process of `user`. `mounts` become mount
/// points, which may lie below each other.
pub(super) fn unpack(
    view: &View,
    root: &Path,
    ownership: Ownership,
    user: &ContainerUser,
    folders: &RootfsFolders<'_>,
    mounts: &[MountPoint],
) -> Result<Rootfs, RunError> {
    let (files, bytes) = check_limits(view, root)?;
    let writer = RootfsWriter { root, ownership, user };
    let of_kind = |kind: NodeKind| view.iter().filter(move |(_, node)| node.kind == kind);
    for (path, _) in of_kind(NodeKind::Directory).filter(|(path, _)| !path.is_root()) {
        let place = writer.place(path);
        fs_err::create_dir(&place).map_err(FileError::of("create", &place))?;
    }
    view.read_files(|file, content| writer.file(file, content))?;
    for (path, node) in view.iter() {
        if let NodeKind::Symlink(target) = &node.kind {
            let place = writer.place(path);
            let made =
                std::os::unix::fs::symlink(&**target, &place).and_then(|()| writer.own_link(&place, node));
            made.map_err(FileError::of("create", &place))?;
        }
    }
    let (mut writable, mut made) = (Vec::new(), Vec::new());
    for volume in folders.volumes {
        writable.push(writer.ensure(view, &MountPoint::directory(volume.clone()), &mut made)?);
    }
    writer.ensure(view, &MountPoint::directory(folders.cwd.clone()), &mut made)?;
    for mount_point in folders.mount_points {
        writer.ensure(view, mount_point, &mut made)?;
    }
    let mut mounted = Vec::new();
    for mount in mounts {
        mounted.push(writer.ensure(view, mount, &mut made)?);
    }
    let mut hosts = HOSTS.to_owned();
    if folders.has_network
        && let Ok(more) = fs_err::read_to_string("/etc/hosts")
    {
        hosts.push_str(&more);
    }
    writer.replace_file(view, "/etc/hosts", hosts.as_bytes())?;
    if folders.has_network
        && let Ok(resolver) = fs_err::read("/etc/resolv.conf")
    {
        writer.replace_file(view, "/etc/resolv.conf", &resolver)?;
    }
    // Deepest first, since a folder without permissions hides its content.
    for place in made.iter().rev() {
        let access = if ownership == Ownership::OneUser && user.uid != 0 { 0o555 } else { 0o755 };
        let own = std::fs::set_permissions(place, Permissions::from_mode(access));
        own.map_err(FileError::of("write", place))?;
    }
    let directories: Vec<_> = of_kind(NodeKind::Directory).collect();
    for (path, node) in directories.into_iter().rev() {
        let place = writer.place(path);
        writer.own(&place, node).map_err(FileError::of("write", &place))?;
    }
    let own = own_folders(view, user);
    let is_writable = own.contains(&ImagePath::root()) || own.len() > MAX_WRITABLE;
    writable.extend(own);
    writable.sort();
    // A folder follows those that contain it.
    writable.dedup_by(|below, folder| below.starts_with(folder));
    if is_writable {
        writable.clear();
    }
    Ok(Rootfs { files, bytes, writable, is_writable, mounted })
}

/// Returns the number of files and their bytes.
fn check_limits(view: &View, root: &Path) -> Result<(u64, u64), RunError> {
    let sizes = view.layer_sizes();
    let bytes: u64 = sizes.iter().map(|(bytes, _)| *bytes).sum();
    let files = view.iter().filter(|(_, node)| node.kind != NodeKind::Directory).count() as u64;
    if view.len() as u64 > MAX_FILES {
        return Err(RunError::Limit { what: "files", limit: MAX_FILES });
    }
    if bytes > MAX_BYTES {
        return Err(RunError::Limit { what: "bytes", limit: MAX_BYTES });
    }
    let disk = rustix::fs::statvfs(root).map_err(|error| FileError::new("read", root, error.into()))?;
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = bytes.saturating_add(view.len() as u64 * BYTES_PER_FILE).saturating_add(RESERVED_BYTES);
    if needed > available {
        return Err(RunError::Space { folder: root.to_path_buf(), needed, available });
    }
    Ok((files, bytes))
}

/// Returns the outermost folders that belong to `user` and that the user may write to, unless the user is
/// root.
pub(super) fn own_folders(view: &View, user: &ContainerUser) -> Vec<ImagePath> {
    if user.uid == 0 {
        return Vec::new();
    }
    let mut own: Vec<ImagePath> = Vec::new();
    for (path, node) in view.iter() {
        let is_own = node.kind == NodeKind::Directory
            && node.uid == u64::from(user.uid)
            && user.access(node.mode, node.uid, node.gid) & 0o2 != 0;
        if is_own && own.last().is_none_or(|last| !path.starts_with(last)) {
            own.push(path.clone());
        }
    }
    own
}

struct RootfsWriter<'a> {
    root: &'a Path,
    ownership: Ownership,
    user: &'a ContainerUser,
}

impl RootfsWriter<'_> {
    fn place(&self, path: &ImagePath) -> PathBuf {
        self.root.join(path.as_str())
    }

    /// Writes a file, and its other paths as hard links.
    fn file(&self, file: &VisibleFile<'_>, content: &mut dyn Read) -> Result<(), RunError> {
        let Some((first, others)) = file.paths.split_first() else { return Ok(()) };
        let place = self.place(first);
        let mut write = || {
            let mut out = File::create_new(&place)?;
            io::copy(content, &mut out)?;
            self.own(&place, file.node)?;
            let time = Timespec { tv_sec: file.node.mtime, tv_nsec: 0 };
            // A file system may not represent the time.
            let _ = rustix::fs::futimens(&out, &Timestamps { last_access: time, last_modification: time });
            Ok(())
        };
        write().map_err(FileError::of("write", &place))?;
        for other in others {
            let link = self.place(other);
            std::fs::hard_link(&place, &link).map_err(FileError::of("create", &link))?;
        }
        Ok(())
    }

    /// Sets the owner and the mode of a file or folder.
    fn own(&self, place: &Path, node: &ViewNode) -> io::Result<()> {
        let mode = match self.ownership {
            Ownership::Image => {
                std::os::unix::fs::chown(place, Some(id(node.uid)), Some(id(node.gid)))?;
                node.mode
            }
            // Root in a user namespace keeps its capabilities over the files.
            Ownership::OneUser if self.user.uid == 0 => node.mode & 0o1777,
            Ownership::OneUser => {
                let access = self.user.access(node.mode, node.uid, node.gid);
                (node.mode & 0o1077) | (access << 6)
            }
        };
        std::fs::set_permissions(place, Permissions::from_mode(mode))
    }

    fn own_link(&self, place: &Path, node: &ViewNode) -> io::Result<()> {
        if self.ownership == Ownership::Image {
            let (user, group) = (Uid::from_raw(id(node.uid)), Gid::from_raw(id(node.gid)));
            rustix::fs::chownat(
                rustix::fs::CWD,
                place,
                Some(user),
                Some(group),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    /// Writes a file that engines provide, if the image has its folder.
    fn replace_file(&self, view: &View, path: &str, content: &[u8]) -> Result<(), RunError> {
        let path = ImagePath::new(path).map_err(BaseError::from)?;
        let real = match view.resolve(&path) {
            Ok(real) => real,
            Err(_) => view.destination(&path)?,
        };
        let parent = real.parent().unwrap_or_default();
        if view.lookup(&parent).is_none_or(|node| node.kind != NodeKind::Directory) {
            return Ok(());
        }
        let place = self.place(&real);
        // A new file, since others may be hard links to the old one.
        let _ = fs_err::remove_file(&place);
        let written = File::create_new(&place).and_then(|mut file| {
            file.write_all(content)?;
            file.set_permissions(Permissions::from_mode(0o644))
        });
        Ok(written.map_err(FileError::of("write", &place))?)
    }

    /// Returns the canonical path of a folder or file of the image. Makes it if it is missing, as Docker makes
    /// volumes, working directories and mount points.
    fn ensure(
        &self,
        view: &View,
        point: &MountPoint,
        made: &mut Vec<PathBuf>,
    ) -> Result<ImagePath, RunError> {
        let kind = if point.is_directory { NodeKind::Directory } else { NodeKind::File };
        if let Some((real, node)) = view.find(&point.path)
            && node.kind == kind
        {
            return Ok(real);
        }
        let real = view.destination(&point.path)?;
        if point.is_directory {
            self.make_folder(view, &real, made)?;
            return Ok(real);
        }
        self.make_folder(view, &real.parent().unwrap_or_default(), made)?;
        let place = self.place(&real);
        match File::create_new(&place) {
            // The same path may be given twice, and the later mount hides the other.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(FileError::new("create", place, error).into())
            }
            _ => Ok(real),
        }
    }

    /// Makes a folder with a canonical path, and those above it.
    fn make_folder(&self, view: &View, real: &ImagePath, made: &mut Vec<PathBuf>) -> Result<(), RunError> {
        for folder in real.parents().chain([real.clone()]).filter(|folder| view.lookup(folder).is_none()) {
            let place = self.place(&folder);
            match fs_err::create_dir(&place) {
                Ok(()) => made.push(place),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(FileError::new("create", place, error).into()),
            }
        }
        // A link, dangling in the image, may have a target on this machine.
        let place = self.place(real);
        let kind = std::fs::symlink_metadata(&place).map_err(FileError::of("read", &place))?;
        if !kind.is_dir() {
            return Err(FileError::new("create", place, io::ErrorKind::NotADirectory.into()).into());
        }
        Ok(())
    }
}

/// Returns a user or group number of a layer. Larger ones belong to nobody.
fn id(number: u64) -> u32 {
    u32::try_from(number).ok().filter(|number| *number != u32::MAX).unwrap_or(65534)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::base::testing::{Tar, path, view};

    /// Unpacks layers for the user 1000, whose files belong to others, or for their owner, 7.
    fn unpacked(
        layers: &[Tar],
        uid: u32,
        volumes: &[ImagePath],
    ) -> Result<(tempfile::TempDir, Rootfs), RunError> {
        let folder = tempfile::tempdir().unwrap();
        let user = ContainerUser { uid, gid: uid, groups: Vec::new(), home: "/".to_owned() };
        let cwd = path("srv/app");
        let folders = RootfsFolders {
            cwd: &cwd,
            volumes,
            mount_points: &[MountPoint::directory(path("proc"))],
            has_network: false,
        };
        let mounts = [MountPoint { path: path("srv/app/new/file"), is_directory: false }];
        let rootfs = unpack(&view(layers), folder.path(), Ownership::OneUser, &user, &folders, &mounts)?;
        Ok((folder, rootfs))
    }

    fn mode(folder: &tempfile::TempDir, path: &str) -> u32 {
        std::fs::symlink_metadata(folder.path().join(path)).unwrap().mode() & 0o7777
    }

    #[test]
    fn layers_are_merged_with_links() {
        let lower =
            Tar::default().dir("a", 0o755).file("a/gone", "1").file("a/kept", "2").link("l", "a/kept");
        let upper = Tar::default().file("a/.wh.gone", "").file("b", "3").hard("c", "b");
        let (folder, rootfs) = unpacked(&[lower, upper], 7, &[]).unwrap();
        let place = |path: &str| folder.path().join(path);
        assert!(!place("a/gone").exists());
        assert_eq!(std::fs::read_to_string(place("l")).unwrap(), "2");
        let inode = |path: &str| std::fs::metadata(place(path)).unwrap().ino();
        assert_eq!(inode("b"), inode("c"));
        assert_eq!(std::fs::metadata(place("b")).unwrap().mtime(), 9);
        // Files: kept, l, b and c. Folders that were missing are made.
        assert_eq!(rootfs.files, 4);
        assert!(place("srv/app").is_dir() && place("proc").is_dir());
        assert_eq!(rootfs.writable, [path("a")]);
    }

    #[test]
    fn permissions_of_the_image_are_those_of_the_owner() {
        let layer = Tar::default().dir("d", 0o750).binary("program", b"x").file("d/text", "x");
        let (folder, rootfs) = unpacked(std::slice::from_ref(&layer), 7, &[]).unwrap();
        assert_eq!((mode(&folder, "d"), mode(&folder, "program")), (0o750, 0o755));
        assert_eq!(rootfs.writable, [path("d")]);
        let (folder, rootfs) = unpacked(&[layer], 1000, &[path("d/v")]).unwrap();
        assert_eq!((mode(&folder, "d"), mode(&folder, "program")), (0o050, 0o555));
        assert_eq!(rootfs.writable, [path("d/v")]);
        remove_all(folder);
    }

    #[test]
    fn hostile_links_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        let lower = Tar::default().link("x", target).link("etc", target).link("srv", target);
        let upper = Tar::default().link("y", "../../..").file("x/evil", "1").file("y/evil", "2");
        let (folder, _) = unpacked(&[lower.clone(), upper], 1000, &[]).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("x/evil")).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(folder.path().join("evil")).unwrap(), "2");
        // A volume at a link that dangles in the image would be a mount of this machine's folder.
        let link = Tar::default().link("data", target);
        assert!(unpacked(&[link], 1000, &[path("data")]).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        remove_all(folder);
    }

    fn remove_all(folder: tempfile::TempDir) {
        crate::staging::remove_tree(&folder.keep()).unwrap();
    }
}
