//! [`ContainerOptions`]: the properties of a container that its image leaves open.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::engine::EngineProgram;
use super::runtime::RuntimeName;
use super::secret_file::SecretFile;
use crate::tree::ImagePath;

/// Docker's time for a graceful stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// A network of its own with a loopback device alone, so that every port is free.
    #[default]
    Private,
    /// The network of this machine, for an application that needs a service of it.
    Host,
}

/// The access to the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootMode {
    /// Writable are `/tmp`, the volumes and the folders that belong to the image's user.
    #[default]
    ReadOnly,
    /// Everything is writable, as in Docker.
    Writable,
}

/// The access of a container to a mounted file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountAccess {
    /// Nothing below can be changed.
    #[default]
    ReadOnly,
    /// Files can be written, as far as their permissions allow.
    Writable,
}

/// A file or directory of this machine in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostMount {
    /// The path on this machine.
    pub source: PathBuf,
    /// The path in the container.
    pub destination: ImagePath,
    /// The access.
    pub access: MountAccess,
}

impl HostMount {
    /// Makes a mount.
    pub fn new(source: impl Into<PathBuf>, destination: ImagePath, access: MountAccess) -> Self {
        Self { source: source.into(), destination, access }
    }
}

/// Options of a container.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ContainerOptions {
    /// The runtime; by default the first one that this machine has and permits.
    pub runtime: Option<RuntimeName>,
    /// A container engine in place of a runtime.
    pub engine: Option<EngineProgram>,
    /// The network.
    pub network: NetworkMode,
    /// The access to the root file system.
    pub root: RootMode,
    /// Variables in addition to those of the image.
    pub env: Vec<(String, String)>,
    /// Files in `/run/secrets`.
    pub secrets: Vec<SecretFile>,
    /// Files and directories of this machine.
    pub mounts: Vec<HostMount>,
    /// Time for a graceful stop.
    pub stop_timeout: Duration,
    /// The program `ipo-oci`, which is started again as a helper ([`super::helper_main`]).
    pub helper: PathBuf,
    /// Folders of programs, as in `PATH`.
    pub search_path: Option<OsString>,
    /// The cache of layer indexes, which also holds the unpacked image. By default the system's folder of
    /// temporary files does.
    pub cache: Option<PathBuf>,
}

impl ContainerOptions {
    /// Makes the default options.
    pub fn new(helper: impl Into<PathBuf>) -> Self {
        Self {
            runtime: None,
            engine: None,
            network: NetworkMode::default(),
            root: RootMode::default(),
            env: Vec::new(),
            secrets: Vec::new(),
            mounts: Vec::new(),
            stop_timeout: STOP_TIMEOUT,
            helper: helper.into(),
            search_path: None,
            cache: None,
        }
    }
}
