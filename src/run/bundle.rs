//! The OCI runtime bundle: `config.json` (OCI runtime specification 1.0, `config.md` and
//! `config-linux.md`).
//!
//! The document is written as JSON: `oci_spec::runtime` has builders for its types, and would compile
//! for every embedder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::ImageProcess;
use super::options::MountAccess;
use super::rootfs::Rootfs;
use super::user::ContainerUser;
use crate::tree::ImagePath;

/// Mount points that every image gets.
pub(super) const MOUNT_POINTS: [&str; 4] = ["/proc", "/dev", "/sys", "/tmp"];
/// The folder of a bundle with the files.
pub(super) const ROOTFS: &str = "rootfs";
/// The configuration of a bundle.
pub(super) const CONFIG: &str = "config.json";
/// The folder of secrets in a container, as in Compose and Swarm.
pub(super) const SECRETS: &str = "/run/secrets";
/// The folder of a bundle where the agent mounts a file system in memory with the secrets.
pub(super) const SECRETS_FOLDER: &str = "secrets";
/// The host name of a container.
pub(super) const HOST_NAME: &str = "ipo-oci";

/// Docker's capabilities of a process of root. Other processes have none, as in Docker.
const ROOT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mount {
    pub(super) destination: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) source: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
}

/// The user namespace of a container: an own one with one user, for a test without root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UserNamespace {
    /// The container has the users of its agent.
    Inherited,
    /// Root of the agent's namespace is the container's user.
    OneUser,
}

/// The terminal of a container's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Console {
    /// Standard input and output are those of the runtime.
    None,
    /// The runtime makes a pseudo-terminal, and passes on the terminal of its own.
    Terminal,
}

/// A file or folder of this machine in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BindMount {
    pub(super) source: PathBuf,
    pub(super) destination: ImagePath,
    pub(super) access: MountAccess,
}

/// The files of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct BundleFiles<'a> {
    pub(super) rootfs: &'a Rootfs,
    pub(super) mounts: &'a [BindMount],
    /// The folder of the bundle.
    pub(super) folder: &'a Path,
}

/// Returns the configuration of a bundle.
pub(super) fn config(
    process: &ImageProcess,
    user: &ContainerUser,
    files: &BundleFiles<'_>,
    namespace: UserNamespace,
    console: Console,
) -> Value {
    let capabilities: &[&str] = if user.uid == 0 { &ROOT_CAPABILITIES } else { &[] };
    let groups = match namespace {
        UserNamespace::Inherited => user.groups.as_slice(),
        UserNamespace::OneUser => &[],
    };
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    let mut linux = json!({
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if namespace == UserNamespace::OneUser {
        namespaces.push("user");
        let mapping = |id: u32| json!([{ "containerID": id, "hostID": 0, "size": 1 }]);
        linux["uidMappings"] = mapping(user.uid);
        linux["gidMappings"] = mapping(user.gid);
    }
    linux["namespaces"] = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    let env: Vec<String> = process.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": console == Console::Terminal,
            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": groups },
            "args": process.args,
            "env": env,
            "cwd": process.cwd.to_string(),
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": [], "ambient": [],
            },
            "noNewPrivileges": true,
        },
        "root": { "path": ROOTFS, "readonly": !files.rootfs.is_writable },
        "hostname": HOST_NAME,
        "mounts": mounts(files),
        "linux": linux,
    })
}

/// Returns the mounts, in order. Writable folders are folders of the root file system itself, a copy that
/// the test removes, so that they keep their content.
fn mounts(files: &BundleFiles<'_>) -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        // A new sysfs belongs to the owner of the network namespace.
        mount("/sys", "bind", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ];
    mounts.extend(files.rootfs.writable.iter().filter(|path| path.to_string() != "/tmp").map(|path| {
        let source = files.folder.join(ROOTFS).join(path.as_str());
        mount(&path.to_string(), "bind", &source.to_string_lossy(), &["rbind", "rw", "nosuid", "nodev"])
    }));
    mounts.extend(files.mounts.iter().map(|bind| {
        let access = if bind.access == MountAccess::Writable { "rw" } else { "ro" };
        let options = ["rbind", access, "nosuid", "nodev"];
        mount(&bind.destination.to_string(), "bind", &bind.source.to_string_lossy(), &options)
    }));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::config::CommandChange;

    fn bundle(uid: u32, namespace: UserNamespace) -> Value {
        let bind = BindMount {
            source: "/home/me/app".into(),
            destination: ImagePath::new("/app/app").unwrap(),
            access: MountAccess::ReadOnly,
        };
        let config = br#"{"config":{"Cmd":["a"],"WorkingDir":"/srv"}}"#;
        let user = ContainerUser { uid, gid: 5, groups: vec![6], home: "/".to_owned() };
        let writable = vec![ImagePath::new("/data").unwrap()];
        let rootfs = Rootfs { files: 1, bytes: 1, writable, is_writable: false, mounted: Vec::new() };
        let files = BundleFiles { rootfs: &rootfs, mounts: &[bind], folder: Path::new("/b") };
        super::config(
            &ImageProcess::of(config, &CommandChange::default()).unwrap(),
            &user,
            &files,
            namespace,
            Console::None,
        )
    }

    #[test]
    fn a_user_has_no_capability() {
        let config = bundle(1000, UserNamespace::Inherited);
        let process = &config["process"];
        assert_eq!(process["capabilities"]["bounding"], json!([]));
        assert_eq!(process["noNewPrivileges"], true);
        assert_eq!(process["user"], json!({ "uid": 1000, "gid": 5, "additionalGids": [6] }));
        assert_eq!((&process["cwd"], &config["root"]["readonly"]), (&json!("/srv"), &json!(true)));
        assert_eq!(
            bundle(0, UserNamespace::Inherited)["process"]["capabilities"]["effective"]
                .as_array()
                .unwrap()
                .len(),
            14
        );
    }

    #[test]
    fn one_user_is_mapped_to_the_agents_root() {
        let config = bundle(1000, UserNamespace::OneUser);
        let mapping = json!([{ "containerID": 1000, "hostID": 0, "size": 1 }]);
        assert_eq!(config["linux"]["uidMappings"], mapping);
        assert_eq!(config["process"]["user"]["additionalGids"], json!([]));
        assert!(config["linux"]["namespaces"].as_array().unwrap().contains(&json!({ "type": "user" })));
    }

    #[test]
    fn writable_folders_are_those_of_the_copy_and_mounts_follow() {
        let config = bundle(1000, UserNamespace::Inherited);
        let [.., mount, last] = config["mounts"].as_array().unwrap().as_slice() else { panic!("mounts") };
        assert_eq!((&mount["destination"], &mount["source"]), (&json!("/data"), &json!("/b/rootfs/data")));
        assert_eq!((&last["destination"], &last["source"]), (&json!("/app/app"), &json!("/home/me/app")));
        assert_eq!(last["options"], json!(["rbind", "ro", "nosuid", "nodev"]));
    }
}
