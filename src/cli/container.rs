//! Arguments for the container of an image, common to `ipo-oci test` and `ipo-oci run`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use ipo_oci::error::FileError;
use ipo_oci::printable;
use ipo_oci::run::{
    ContainerOptions, EngineProgram, HostMount, MountAccess, NetworkMode, RootMode, RunError, RuntimeName,
    SecretFile,
};
use ipo_oci::settings::Seconds;
use ipo_oci::tree::ImagePath;

use super::access::AccessArguments;
use super::arguments::{pair, setting};
use super::failure::Failure;

/// The container.
#[derive(Args, Debug)]
#[command(next_help_heading = "Container")]
pub(crate) struct ContainerArguments {
    /// Environment variable of the container; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// File of environment variables, one a line; repeatable
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// File in /run/secrets/NAME; repeatable
    #[arg(long, value_name = "NAME=FILE")]
    secret: Vec<SecretFile>,
    /// File or folder of this machine in the container, read-only without `:rw`; repeatable
    #[arg(long, value_name = "FROM:TO[:rw]")]
    volume: Vec<Volume>,
    /// Time to stop after the signal [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = setting::<Seconds>)]
    stop_timeout: Option<Seconds>,
    /// Make the whole root file system writable
    #[arg(long)]
    writable: bool,
    /// Runtime [default: the first that the machine has and permits]
    #[arg(long, value_enum, conflicts_with = "engine")]
    runtime: Option<RuntimeArgument>,
    /// Use a container engine in place of a runtime
    #[arg(long, value_enum)]
    engine: Option<EngineArgument>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NetworkArgument {
    /// Its own, with a loopback device alone
    Private,
    /// The machine's
    Host,
}

impl From<NetworkArgument> for NetworkMode {
    fn from(network: NetworkArgument) -> Self {
        match network {
            NetworkArgument::Private => Self::Private,
            NetworkArgument::Host => Self::Host,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RuntimeArgument {
    /// crun
    Crun,
    /// runc
    Runc,
    /// youki
    Youki,
    /// ipo-oci itself, with util-linux's unshare
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EngineArgument {
    /// docker
    Docker,
    /// podman
    Podman,
}

/// A mount as in `docker run --volume`, read-only by default.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Volume(HostMount);

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (places, access) = match text.rsplit_once(':') {
            Some((places, "rw")) => (places, MountAccess::Writable),
            Some((places, "ro")) => (places, MountAccess::ReadOnly),
            _ => (text, MountAccess::ReadOnly),
        };
        // A path of this machine may have a colon.
        let split = places.rsplit_once(':').filter(|(from, to)| !from.is_empty() && to.starts_with('/'));
        let (from, to) = split.ok_or("write FROM:TO with an absolute path TO of the container")?;
        let destination = ImagePath::new(to).map_err(|error| error.to_string())?;
        if destination.is_root() {
            return Err("the root of the container cannot be replaced".to_owned());
        }
        Ok(Self(HostMount::new(from, destination, access)))
    }
}

impl ContainerArguments {
    /// Returns true if a container engine runs the image.
    pub(super) fn has_engine(&self) -> bool {
        self.engine.is_some()
    }

    /// Returns the options of a container.
    pub(super) fn options(
        &self,
        network: NetworkArgument,
        access: &AccessArguments,
    ) -> Result<ContainerOptions, Failure> {
        let program =
            std::env::current_exe().map_err(|error| FileError::new("find", "this program", error))?;
        let mut options = ContainerOptions::new(program);
        options.runtime = self.runtime.map(|runtime| match runtime {
            RuntimeArgument::Crun => RuntimeName::Crun,
            RuntimeArgument::Runc => RuntimeName::Runc,
            RuntimeArgument::Youki => RuntimeName::Youki,
            RuntimeArgument::Own => RuntimeName::Own,
        });
        options.engine = self.engine.map(|engine| match engine {
            EngineArgument::Docker => EngineProgram::Docker,
            EngineArgument::Podman => EngineProgram::Podman,
        });
        options.network = network.into();
        options.root = if self.writable { RootMode::Writable } else { RootMode::ReadOnly };
        for file in &self.env_file {
            options.env.extend(read_env_file(file)?);
        }
        options.env.extend(self.env.iter().cloned());
        options.secrets.clone_from(&self.secret);
        if let Some(twice) = duplicate(&options.secrets) {
            return Err(Failure::usage(
                format!("cannot use several secrets with the name {twice}"),
                "give each secret a NAME of its own",
            ));
        }
        if let Some(timeout) = self.stop_timeout {
            options.stop_timeout = timeout.0;
        }
        options.mounts = self.volume.iter().map(|volume| volume.0.clone()).collect();
        options.search_path = std::env::var_os("PATH");
        options.cache = access.cache();
        Ok(options)
    }
}

/// Returns a name that occurs twice.
fn duplicate(secrets: &[SecretFile]) -> Option<&str> {
    let names = || secrets.iter().map(|secret| secret.name.as_str());
    names().enumerate().find_map(|(index, name)| names().take(index).find(|before| *before == name))
}

/// Returns the failure of a container that was not started.
pub(super) fn failure(error: RunError) -> Failure {
    if error.is_refusal() { Failure::refused(error) } else { Failure::failed(error) }
}

/// Reads `NAME=VALUE` lines in Docker's format: no quotes, comments begin with `#`, and a name alone
/// takes the value of this process.
fn read_env_file(file: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| FileError::new("read", file, error))?;
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if !name.is_empty() => pairs.push((name.to_owned(), value.to_owned())),
            None => pairs.extend(std::env::var(line).ok().map(|value| (line.to_owned(), value))),
            Some(_) => {
                return Err(Failure::usage(
                    format!("invalid line {number} of {}", printable::path(file)),
                    "write it as NAME=VALUE",
                ));
            }
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_env_file_as_docker_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        std::fs::write(&file, "# comment\n\nA=1 # no comment\n  B=\"q\"\nPATH\nNOT_SET_ANYWHERE\nC=\n")
            .unwrap();
        let pairs = read_env_file(&file).map_err(|error| error.to_string()).unwrap();
        let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "B", "PATH", "C"]);
        assert_eq!((pairs[0].1.as_str(), pairs[1].1.as_str()), ("1 # no comment", "\"q\""));
        std::fs::write(&file, "=1\n").unwrap();
        assert!(read_env_file(&file).is_err());
    }

    #[test]
    fn a_volume_is_read_only_unless_asked() {
        let volume = |text: &str| text.parse::<Volume>().map(|volume| volume.0);
        let mount = volume("a:b/c:/app/x").unwrap();
        assert_eq!((mount.source.to_str(), mount.destination.as_str()), (Some("a:b/c"), "app/x"));
        assert_eq!(mount.access, MountAccess::ReadOnly);
        assert_eq!(volume(".:/x:ro").unwrap().access, MountAccess::ReadOnly);
        assert_eq!(volume(".:/x:rw").unwrap().access, MountAccess::Writable);
        for text in ["", "/x", ":/x", "a:x", "a:/", "a:/x/../..", "a:/x:z"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_has_one_file() {
        let secret = |text: &str| text.parse::<SecretFile>().unwrap();
        assert_eq!(duplicate(&[secret("a=1"), secret("b=1"), secret("a=2")]), Some("a"));
        assert_eq!(duplicate(&[secret("a=1"), secret("b=1")]), None);
    }
}
