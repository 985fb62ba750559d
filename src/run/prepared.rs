//! [`Prepared`]: a container before its start, and the folder with its bundle.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use super::RunError;
use super::bundle::{
    self, BindMount, BundleFiles, CONFIG, Console, MOUNT_POINTS, ROOTFS, SECRETS, SECRETS_FOLDER,
    UserNamespace,
};
use super::config::{CommandChange, ImageProcess};
use super::job::{AgentJob, AgentTask};
use super::options::{ContainerOptions, MountAccess, NetworkMode, RootMode};
use super::rootfs::{MountPoint, Ownership, Rootfs, RootfsFolders, own_folders, unpack};
use super::runtime::{InstalledRuntime, RuntimeName, find_program};
use super::secret_file::SentSecret;
use super::space::{NetworkNamespace, Space};
use super::user::ContainerUser;
use crate::base::{BaseError, NodeKind, View};
use crate::error::FileError;
use crate::image::Image;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::staging::{Staging, remove_tree};
use crate::tree::ImagePath;

/// A container before its start.
pub(super) struct Prepared<'a> {
    pub(super) options: &'a ContainerOptions,
    pub(super) process: ImageProcess,
    pub(super) user: ContainerUser,
    view: View,
}

/// Fails if this machine cannot run programs of `platform`.
fn check_platform(platform: &Platform) -> Result<(), RunError> {
    let machine = Platform::of_this_program();
    if platform.os == "linux" && (machine.starts_programs_of(platform) || has_emulator(platform)) {
        return Ok(());
    }
    Err(RunError::Platform { image: platform.clone(), machine })
}

/// Returns true if binfmt_misc has an emulator that works in containers: flag `F` opens it beforehand.
fn has_emulator(platform: &Platform) -> bool {
    let machine = platform.machine();
    let name = if machine.starts_with("armv") { "arm" } else { &machine };
    let rule = fs_err::read_to_string(format!("/proc/sys/fs/binfmt_misc/qemu-{name}")).unwrap_or_default();
    let flags = rule.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    rule.starts_with("enabled") && flags.contains('F')
}

/// The folder of a container, with its root file system.
pub(super) struct Folder(Staging);

impl Folder {
    pub(super) fn new(cache: Option<&Path>) -> Result<Self, RunError> {
        let in_cache = cache.and_then(|cache| {
            fs_err::create_dir_all(cache).ok()?;
            Staging::in_cache(cache).ok()
        });
        let folder = in_cache.map_or_else(Staging::temporary, Ok);
        Ok(Self(folder.map_err(|error| FileError::new("create", std::env::temp_dir(), error))?))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The folders of an image may refuse their owner.
        let _ = remove_tree(self.0.path());
    }
}

impl<'a> Prepared<'a> {
    /// Reads the configuration and the accounts of `image`, with another command.
    ///
    /// # Errors
    /// If the image has no command, or this machine cannot run its programs.
    pub(super) fn of(
        image: &Image,
        options: &'a ContainerOptions,
        change: &CommandChange<'_>,
        progress: &dyn Progress,
    ) -> Result<Self, RunError> {
        check_platform(&image.platform)?;
        let mut process = ImageProcess::of(&image.config, change)?;
        for (name, value) in &options.env {
            process.set_env(name, value);
        }
        let view = View::of(image, options.cache.as_deref(), progress)?;
        let accounts = |file| view.retained_text(file).unwrap_or_default();
        let user = ContainerUser::resolve(&process.user, accounts("etc/passwd"), accounts("etc/group"))?;
        if !process.env.iter().any(|(name, _)| name == "HOME") {
            process.set_env("HOME", &user.home);
        }
        Ok(Self { options, process, user, view })
    }

    /// Returns the reason if the image has no program for its command.
    pub(super) fn missing_program(&self) -> Option<String> {
        let name = self.process.args.first()?;
        let path = self.process.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
        let candidates: Vec<String> = if name.contains('/') {
            vec![if name.starts_with('/') { name.clone() } else { format!("{}/{name}", self.process.cwd) }]
        } else {
            path.split(':').map(|folder| format!("{folder}/{name}")).collect()
        };
        let mut found = None;
        for candidate in candidates {
            let file = ImagePath::new(&candidate).ok().and_then(|path| self.view.find(&path));
            let Some((path, node)) = file.filter(|(_, node)| node.kind == NodeKind::File) else { continue };
            let runs = match self.user.uid {
                0 => node.mode & 0o111 != 0,
                _ => self.user.access(node.mode, node.uid, node.gid) & 1 != 0,
            };
            if runs {
                return None;
            }
            found = found.or(Some(path));
        }
        Some(match found {
            Some(path) => format!("{path} is not executable for user {}", self.user.uid),
            None if name.contains('/') => format!("program not found in the image: {name}"),
            None => format!("program not found in the image: {name}, with PATH {path}"),
        })
    }

    /// Returns the namespaces for the container.
    pub(super) fn space(&self) -> Result<Space, RunError> {
        let refused = |reason| RunError::refused(vec![("unshare".to_owned(), reason)]);
        Space::find(self.network(), self.options.search_path.as_deref()).map_err(refused)
    }

    /// Returns the network of the container, which the machine may not permit.
    pub(super) fn network(&self) -> NetworkNamespace {
        match self.options.network {
            NetworkMode::Private => NetworkNamespace::New,
            NetworkMode::Host => NetworkNamespace::Inherited,
        }
    }

    /// Returns the port of the process: that of the variable `PORT`, or the lowest exposed one.
    pub(super) fn own_port(&self) -> Option<u16> {
        let variable = self.process.env.iter().find(|(name, _)| name == "PORT");
        let of_variable = variable.and_then(|(_, port)| port.parse().ok());
        let exposed = self.process.ports.first().copied();
        exposed.and(of_variable).or(exposed)
    }

    /// Returns the outermost folders that the process may write to.
    pub(super) fn own_folders(&self) -> Vec<ImagePath> {
        own_folders(&self.view, &self.user)
    }

    /// Unpacks the image into the folder of a new bundle.
    pub(super) fn unpack(&self, bundle: &Path, space: &Space) -> Result<Rootfs, RunError> {
        let root = bundle.join(ROOTFS);
        fs_err::create_dir_all(&root).map_err(FileError::of("create", &root))?;
        let ownership = if space.is_root { Ownership::Image } else { Ownership::OneUser };
        let mut mount_points = Vec::new();
        for path in MOUNT_POINTS {
            mount_points.push(MountPoint::directory(ImagePath::new(path).map_err(BaseError::from)?));
        }
        if !self.options.secrets.is_empty() {
            mount_points.push(MountPoint::directory(ImagePath::new(SECRETS).map_err(BaseError::from)?));
        }
        let folders = RootfsFolders {
            cwd: &self.process.cwd,
            volumes: &self.process.volumes,
            mount_points: &mount_points,
            has_network: space.network == NetworkNamespace::Inherited,
        };
        let mut mounted = Vec::new();
        for mount in &self.options.mounts {
            let found = fs_err::metadata(&mount.source).map_err(FileError::of("read", &mount.source))?;
            mounted.push(MountPoint { path: mount.destination.clone(), is_directory: found.is_dir() });
        }
        let mut rootfs = unpack(&self.view, &root, ownership, &self.user, &folders, &mounted)?;
        if self.options.root == RootMode::Writable {
            rootfs.is_writable = true;
        }
        Ok(rootfs)
    }

    /// Writes the configuration of the bundle.
    pub(super) fn configure(
        &self,
        bundle: &Path,
        rootfs: &Rootfs,
        space: &Space,
        console: Console,
    ) -> Result<(), RunError> {
        let namespace = if space.is_root { UserNamespace::Inherited } else { UserNamespace::OneUser };
        let mut mounts = Vec::new();
        for (mount, destination) in self.options.mounts.iter().zip(&rootfs.mounted) {
            // The runtime of this program resolves paths in the root of the container, which has other links.
            let source = fs_err::canonicalize(&mount.source).map_err(FileError::of("find", &mount.source))?;
            mounts.push(BindMount { source, destination: destination.clone(), access: mount.access });
        }
        if !self.options.secrets.is_empty() {
            let destination = ImagePath::new(SECRETS).map_err(BaseError::from)?;
            let source = bundle.join(SECRETS_FOLDER);
            fs_err::create_dir_all(&source).map_err(FileError::of("create", &source))?;
            let source = fs_err::canonicalize(&source).map_err(FileError::of("find", &source))?;
            mounts.push(BindMount { source, destination, access: MountAccess::ReadOnly });
        }
        let config = bundle::config(
            &self.process,
            &self.user,
            &BundleFiles { rootfs, mounts: &mounts, folder: bundle },
            namespace,
            console,
        );
        write(&bundle.join(CONFIG), config.to_string().as_bytes())
    }

    /// Reads the secrets.
    pub(super) fn secrets(&self) -> Result<Vec<SentSecret>, RunError> {
        self.options.secrets.iter().map(SentSecret::read).collect()
    }

    /// Writes the task of the agent of a container with this bundle, and returns its file.
    pub(super) fn write_job(
        &self,
        folder: &Path,
        bundle: PathBuf,
        space: &Space,
        task: AgentTask,
    ) -> Result<PathBuf, RunError> {
        let job = AgentJob {
            bundle,
            folder: folder.to_path_buf(),
            id: container_name(folder),
            runtimes: self.runtimes(space)?,
            task,
            owner: space.is_root.then_some((self.user.uid, self.user.gid)),
            has_network_namespace: space.network == NetworkNamespace::New,
            helper: self.options.helper.clone(),
        };
        let file = folder.join("job.json");
        let text = serde_json::to_vec(&job).map_err(|error| RunError::Agent(error.to_string()))?;
        write(&file, &text)?;
        Ok(file)
    }

    /// Returns the runtimes to try. runc and youki need root in the namespace of the container, which a
    /// test without root does not have beside the image's user.
    pub(super) fn runtimes(&self, space: &Space) -> Result<Vec<InstalledRuntime>, RunError> {
        let installed = |name: RuntimeName| {
            let program = match name {
                RuntimeName::Own => Some(self.options.helper.clone()),
                _ => find_program(name.as_str(), self.options.search_path.as_deref()),
            };
            program.map(|program| InstalledRuntime { name, program })
        };
        if let Some(name) = self.options.runtime {
            let missing = || RunError::Program {
                program: name.as_str().into(),
                source: std::io::ErrorKind::NotFound.into(),
            };
            return Ok(vec![installed(name).ok_or_else(missing)?]);
        }
        let fits = |name: &RuntimeName| {
            space.is_root || self.user.uid == 0 || matches!(name, RuntimeName::Crun | RuntimeName::Own)
        };
        Ok(RuntimeName::ALL.into_iter().filter(fits).filter_map(installed).collect())
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    Ok(fs_err::write(path, bytes).map_err(FileError::of("write", path))?)
}

/// Returns the name of the container with this folder.
pub(super) fn container_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let suffix = name.rsplit('-').next().unwrap_or_default();
    format!("ipo-oci-test-{}", suffix.trim_start_matches('.'))
}

/// Returns a free port of this machine.
pub(super) fn free_port() -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    Some(listener.local_addr().ok()?.port())
}
