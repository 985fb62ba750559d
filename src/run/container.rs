//! The OCI runtime of this program, for a machine without one.
//!
//! Three helper commands, run by the agent: `container` starts util-linux's `unshare` with new
//! namespaces, `init` prepares the mounts as process 1 and becomes the container's process, and `exec`
//! joins the namespaces for a health check. Each is a process of one thread, which `setns(2)` requires
//! for user namespaces. Cgroups, seccomp filters and LSM labels are left out.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};
use rustix::process::{Gid, Pid, PidfdFlags, Signal, Uid, kill_process, pidfd_open, pivot_root};
use rustix::thread::{
    CapabilitySet, CapabilitySets, ThreadNameSpaceType, clear_ambient_capability_set,
    move_into_thread_name_spaces, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use serde::Deserialize;

use super::bundle::{CONFIG, Mount, ROOTFS};
use super::process::exit_code;
use super::signal::StopSignal;
use crate::error::describe;

/// Devices of every container (OCI runtime specification, "Default Devices").
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links in `/dev` ("Dev symbolic links").
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];
/// Exit codes of a shell for a program that is missing, or that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// The used part of a bundle's configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleConfig {
    process: ProcessConfig,
    root: RootConfig,
    hostname: String,
    mounts: Vec<Mount>,
    linux: LinuxConfig,
}

#[derive(Debug, Deserialize)]
struct ProcessConfig {
    user: UserConfig,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    capabilities: CapabilityConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserConfig {
    uid: u32,
    gid: u32,
    #[serde(default)]
    additional_gids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct CapabilityConfig {
    bounding: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct RootConfig {
    readonly: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinuxConfig {
    #[serde(default)]
    uid_mappings: Vec<serde_json::Value>,
    masked_paths: Vec<PathBuf>,
    readonly_paths: Vec<PathBuf>,
}

impl BundleConfig {
    fn read(bundle: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs_err::read(bundle.join(CONFIG))?)?)
    }

    /// Returns true if the container has a user namespace of its own.
    fn has_user_namespace(&self) -> bool {
        !self.linux.uid_mappings.is_empty()
    }
}

/// Mounts an empty file system on a folder, and returns true on success.
pub(super) fn hide(folder: &str) -> bool {
    mount("tmpfs", folder, "tmpfs", MountFlags::RDONLY, None).is_ok()
}

/// Mounts an empty file system in memory, for secrets, on a folder.
pub(super) fn mount_memory(folder: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("tmpfs", folder, "tmpfs", flags, Some(c"mode=0755,size=64m"))?)
}

/// Unmounts the file system of [`hide`] or [`mount_memory`].
pub(super) fn show(folder: impl AsRef<Path>) {
    let _ = unmount(folder.as_ref(), UnmountFlags::DETACH);
}

/// Adds the arguments of the helper command `container`.
pub(super) fn start_command(mut helper: Command, bundle: &Path, mark: &Path) -> Command {
    helper.arg(bundle).arg(mark);
    helper
}

/// Returns the first process of the container that the process `id` of `unshare` started.
pub(super) fn init_process(id: u32) -> io::Result<i32> {
    // proc_tid_children(5)
    let children = fs_err::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    let first = children.split_ascii_whitespace().next().and_then(|child| child.parse().ok());
    first.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Sends a signal to the container's process.
pub(super) fn signal(id: u32, signal: StopSignal) -> Result<(), String> {
    let init = init_process(id).map_err(|error| describe(&error))?;
    let (Some(pid), Some(number)) = (Pid::from_raw(init), Signal::from_named_raw(signal.number())) else {
        return Err(format!("cannot send {signal} without crun, runc or youki"));
    };
    kill_process(pid, number).map_err(|error| describe(&error.into()))
}

/// Runs the helper command `container BUNDLE MARK`: becomes `unshare`.
pub(super) fn container(arguments: &[OsString], helper: &Path) -> ExitCode {
    let [bundle, mark] = arguments else { return ExitCode::from(2) };
    let config = match BundleConfig::read(Path::new(bundle)) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let mut command = Command::new("unshare");
    if config.has_user_namespace() {
        let UserConfig { uid, gid, .. } = config.process.user;
        // Without root in the namespace, only ambient capabilities survive the start of `init`.
        command.arg("--user").arg(format!("--map-user={uid}")).arg(format!("--map-group={gid}"));
        command.arg("--keep-caps");
    }
    command.args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--"]);
    command.arg(helper).args([super::HELPER_ARGUMENT, "init"]).arg(bundle).arg(mark);
    refuse(&command.exec())
}

/// Runs the helper command `init BUNDLE MARK` as process 1: becomes the container's process.
pub(super) fn init(arguments: &[OsString]) -> ExitCode {
    let [bundle, mark] = arguments else { return ExitCode::from(2) };
    let prepared = BundleConfig::read(Path::new(bundle)).and_then(|config| {
        let mark = fs_err::File::create(Path::new(mark))?;
        prepare(&config, Path::new(bundle))?;
        drop_privileges(&config)?;
        Ok((config, mark))
    });
    let (config, mut mark) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = mark.write_all(b"1") {
        return refuse(&error);
    }
    let Some(mut command) = command(&config, config.process.args.iter().map(OsString::from)) else {
        return ExitCode::from(NOT_FOUND);
    };
    failed_start(&command.exec(), command.get_program().to_string_lossy().as_ref())
}

/// Runs the helper command `exec BUNDLE PID WORD…`: a command in the namespaces of a container.
pub(super) fn exec(arguments: &[OsString]) -> ExitCode {
    let [bundle, pid, words @ ..] = arguments else { return ExitCode::from(2) };
    let joined = BundleConfig::read(Path::new(bundle)).and_then(|config| {
        let pid = pid.to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let mut kinds = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::PROCESS_ID
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
        if config.has_user_namespace() {
            kinds |= ThreadNameSpaceType::USER;
        }
        move_into_thread_name_spaces(process.as_fd(), kinds)?;
        std::env::set_current_dir(&config.process.cwd)?;
        drop_privileges(&config)?;
        Ok(config)
    });
    let config = match joined {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let Some(mut command) = command(&config, words.iter().cloned()) else { return ExitCode::from(NOT_FOUND) };
    // A process joins a namespace of processes by its children.
    match command.status() {
        Ok(status) => ExitCode::from(u8::try_from(exit_code(status)).unwrap_or(1)),
        Err(error) => failed_start(&error, command.get_program().to_string_lossy().as_ref()),
    }
}

/// Prints the reason why there is no container.
fn refuse(error: &io::Error) -> ExitCode {
    eprintln!("{}", describe(error));
    ExitCode::FAILURE
}

/// Prints the reason why the program of the image does not start, as a shell does.
fn failed_start(error: &io::Error, program: &str) -> ExitCode {
    eprintln!("cannot run {program}: {}", describe(error));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}

/// Returns a command with the variables of the container.
fn command(config: &BundleConfig, mut words: impl Iterator<Item = OsString>) -> Option<Command> {
    let mut command = Command::new(words.next()?);
    command.args(words).env_clear();
    command.envs(config.process.env.iter().filter_map(|pair| pair.split_once('=')));
    Some(command)
}

/// Enters the root file system, with its mounts.
fn prepare(config: &BundleConfig, bundle: &Path) -> io::Result<()> {
    let root = bundle.join(ROOTFS);
    let step = |what: &str, done: rustix::io::Result<()>| {
        done.map_err(|error| io::Error::other(format!("cannot {what}: {}", describe(&error.into()))))
    };
    step("mount the root file system", mount_bind_recursive(&root, &root))?;
    std::env::set_current_dir(&root)?;
    // Destinations are resolved in the new root, with its links. The old one has a name that no image
    // knows.
    let old = tempfile::Builder::new().prefix(".ipo-oci-").tempdir_in(".")?.keep();
    let old = Path::new("/").join(old.file_name().unwrap_or_default());
    step("change the root", pivot_root(".", old.strip_prefix("/").unwrap_or(&old)))?;
    std::env::set_current_dir("/")?;
    for mount in &config.mounts {
        let made = make_mount(mount, &root, &old);
        made.map_err(|error| {
            io::Error::other(format!("cannot mount {}: {}", mount.destination, describe(&error)))
        })?;
        if mount.destination == "/dev" {
            make_devices(&old)?;
        }
    }
    // The kernel's files are protected by permissions, too.
    for path in &config.linux.masked_paths {
        let _ = mount_bind("/dev/null", path);
    }
    for path in &config.linux.readonly_paths {
        let _ = mount_bind_recursive(path, path).and_then(|()| remount_read_only(path));
    }
    step("leave the old root", unmount(&old, UnmountFlags::DETACH))?;
    fs_err::remove_dir(&old)?;
    if config.root.readonly {
        step("make the root file system read-only", remount_read_only(Path::new("/")))?;
    }
    step("set the host name", rustix::system::sethostname(config.hostname.as_bytes()))?;
    std::env::set_current_dir(&config.process.cwd)
}

/// Makes the bind mount at `path` read-only, and keeps its other flags, which a user namespace may not
/// remove.
fn remount_read_only(path: &Path) -> rustix::io::Result<()> {
    mount_remount(path, kept_flags(path)? | MountFlags::BIND | MountFlags::RDONLY, c"")
}

/// Returns the flags of the mount at `path`.
fn kept_flags(path: &Path) -> rustix::io::Result<MountFlags> {
    use rustix::fs::StatVfsMountFlags as Vfs;
    let found = rustix::fs::statvfs(path)?.f_flag;
    let flags = [
        (Vfs::NOSUID, MountFlags::NOSUID),
        (Vfs::NODEV, MountFlags::NODEV),
        (Vfs::NOEXEC, MountFlags::NOEXEC),
        (Vfs::NOATIME, MountFlags::NOATIME),
        (Vfs::NODIRATIME, MountFlags::NODIRATIME),
        (Vfs::RELATIME, MountFlags::RELATIME),
    ];
    let kept = flags.into_iter().filter(|(vfs, _)| found.contains(*vfs));
    Ok(kept.fold(MountFlags::empty(), |all, (_, flag)| all | flag))
}

/// Makes one mount of the configuration.
fn make_mount(entry: &Mount, root: &Path, old: &Path) -> io::Result<()> {
    let destination = Path::new(&entry.destination);
    if !destination.exists() {
        fs_err::create_dir_all(destination)?;
    }
    let (mut flags, mut data) = (MountFlags::empty(), Vec::new());
    for option in &entry.options {
        match option.as_str() {
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "ro" => flags |= MountFlags::RDONLY,
            "rw" | "rbind" => {}
            other => data.push(other),
        }
    }
    if entry.kind != "bind" {
        let data = CString::new(data.join(","))?;
        return Ok(mount(&entry.source, destination, &entry.kind, flags, &*data)?);
    }
    // A folder of the root file system, or of this machine.
    let source = Path::new(&entry.source);
    let source = match source.strip_prefix(root) {
        Ok(inside) => Path::new("/").join(inside),
        Err(_) => old.join(source.strip_prefix("/").unwrap_or(source)),
    };
    mount_bind_recursive(&source, destination)?;
    Ok(mount_remount(destination, kept_flags(destination)? | flags | MountFlags::BIND, c"")?)
}

/// Fills `/dev` with the devices of this machine.
fn make_devices(old: &Path) -> io::Result<()> {
    for name in DEVICES {
        let (device, source) = (Path::new("/dev").join(name), old.join("dev").join(name));
        // A sandbox may lack one.
        if source.exists() {
            File::create(&device)?;
            mount_bind(source, &device)?;
        }
    }
    for (target, link) in DEVICE_LINKS {
        symlink(target, link)?;
    }
    Ok(())
}

/// Becomes the user of the container, with its capabilities alone.
fn drop_privileges(config: &BundleConfig) -> io::Result<()> {
    let UserConfig { uid, gid, additional_gids } = &config.process.user;
    let kept = capabilities(&config.process.capabilities.bounding);
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(capability) {
            // An older kernel has fewer capabilities.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    clear_ambient_capability_set()?;
    if !config.has_user_namespace() {
        let groups: Vec<Gid> = additional_gids.iter().map(|group| Gid::from_raw(*group)).collect();
        let (user, group) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    Ok(set_no_new_privs(true)?)
}

fn capabilities(names: &[String]) -> CapabilitySet {
    let known = |name: &String| CapabilitySet::from_name(name.strip_prefix("CAP_").unwrap_or(name));
    names.iter().filter_map(known).fold(CapabilitySet::empty(), |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_their_kernel_numbers() {
        let names = ["CAP_CHOWN", "CAP_KILL", "CAP_NEWER"].map(str::to_owned);
        assert_eq!(capabilities(&names).bits(), 1 | 1 << 5);
        assert_eq!(capabilities(&[]), CapabilitySet::empty());
    }
}
