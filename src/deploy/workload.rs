//! [`Workload`]: a process with its image, and the settings of its deployment.

use std::collections::BTreeMap;

use super::facts::{ImageFacts, ProcessUser};
use super::settings::{names, value};
use super::{DeployError, DeployedImage, Pinning};
use crate::recipe::WEB;
use crate::settings::{Cpu, DeployProcessTable, DeployTable, Size, WorkloadKind};

/// Names of processes that run before a new version.
const RELEASES: [&str; 3] = ["release", "migrate", "migrations"];
/// Seconds that a server gets beyond its own graceful timeout.
const GRACE_MARGIN: u32 = 2;
/// Seconds of Docker and most others from the signal to the kill.
const DEFAULT_STOP: u32 = 10;
/// Seconds in which a worker can end a task.
const WORKER_STOP: u32 = 30;

/// The first port that needs no privilege, unless the network namespace says otherwise.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// The variable of Linux that says otherwise, which applies to the network namespace of the container.
pub(super) const PORT_START: &str = "net.ipv4.ip_unprivileged_port_start";
/// Capabilities of start scripts that change the owners of files, and then their own user.
pub(super) const ROOT_CAPABILITIES: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"];

/// A process of a deployment.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    /// Name of the process: `web`.
    pub(super) name: String,
    pub(super) kind: WorkloadKind,
    /// Reference of the image, by digest or tag.
    pub(super) image: String,
    /// The tag, if the reference is by digest.
    pub(super) tag: Option<String>,
    /// True if the reference names a registry.
    pub(super) is_in_registry: bool,
    pub(super) facts: ImageFacts,
    pub(super) replicas: Option<u16>,
    pub(super) max_replicas: Option<u16>,
    pub(super) cpu: Option<Cpu>,
    pub(super) memory: Option<Size>,
    pub(super) env: BTreeMap<String, String>,
    /// Variables with secret values, in the order of their names.
    pub(super) secrets: Vec<String>,
    /// Files in `/run/secrets`, in the order of their names.
    pub(super) secret_files: Vec<String>,
    pub(super) env_files: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) schedule: Option<String>,
    /// Seconds from the stop signal to the kill.
    pub(super) stop_seconds: u32,
    /// Directories with data that outlives the container, in the order of their paths.
    pub(super) volumes: Vec<String>,
}

impl Workload {
    pub(super) fn of(
        image: &DeployedImage<'_>,
        settings: &DeployTable,
        pinning: Pinning,
    ) -> Result<Self, DeployError> {
        let facts = ImageFacts::of(&image.image.config)
            .map_err(|reason| DeployError::Config { image: image.name.to_string(), reason })?;
        let own = settings.process.get(&image.process).cloned().unwrap_or_default();
        let kind = kind(&image.process, &own, &facts)?;
        let is_repeated = matches!(kind, WorkloadKind::Service | WorkloadKind::Worker);
        let mut hosts = names(own.hosts.as_ref());
        if image.process == WEB {
            hosts.extend(names(settings.hosts.as_ref()));
        }
        if kind != WorkloadKind::Service
            && let Some(host) = hosts.first()
        {
            let key = format!("deploy.process.{}.hosts", image.process);
            return Err(value(&key, host, "the process has no port", "name the host of a service"));
        }
        let mut volumes = facts.volumes.clone();
        volumes.extend(image.writable.iter().map(ToString::to_string));
        let default_stop = if kind == WorkloadKind::Service { DEFAULT_STOP } else { WORKER_STOP };
        let stop = own.stop_timeout.or(settings.stop_timeout).map(|time| whole_seconds(time.0));
        let registry = image.name.repository.split_once('/').map(|(registry, _)| registry);
        let replicas = |own: Option<std::num::NonZeroU16>, all: Option<std::num::NonZeroU16>| {
            own.or(all.filter(|_| is_repeated)).map(std::num::NonZeroU16::get)
        };
        let (image_reference, tag) = match pinning {
            Pinning::Digest => {
                (format!("{}@{}", image.name.repository, image.digest), Some(image.name.tag.clone()))
            }
            Pinning::Tag => (image.name.to_string(), None),
        };
        Ok(Self {
            name: image.process.clone(),
            image: image_reference,
            tag,
            is_in_registry: registry.is_some_and(|name| name.contains(['.', ':']) || name == "localhost"),
            replicas: replicas(own.replicas, settings.replicas),
            max_replicas: replicas(
                own.max_replicas,
                settings.max_replicas.filter(|_| kind == WorkloadKind::Service),
            ),
            cpu: own.cpu.or(settings.cpu),
            memory: own.memory.or(settings.memory),
            env: settings.env.clone().into_iter().chain(own.env).collect(),
            secrets: joined(names(settings.secrets.as_ref()), names(own.secrets.as_ref())),
            secret_files: joined(names(settings.secret_files.as_ref()), names(own.secret_files.as_ref())),
            env_files: names(settings.env_files.as_ref()),
            hosts: joined(hosts, Vec::new()),
            schedule: own.schedule,
            stop_seconds: stop.unwrap_or_else(|| {
                facts.grace.map_or(default_stop, |grace| grace.saturating_add(GRACE_MARGIN))
            }),
            volumes: joined(volumes, Vec::new()),
            facts,
            kind,
        })
    }

    /// Returns the port of a service.
    pub(super) fn port(&self) -> Option<u16> {
        (self.kind == WorkloadKind::Service).then(|| self.facts.port()).flatten()
    }

    /// Returns true if the port needs a privilege of Linux or a lower `net.ipv4.ip_unprivileged_port_start`.
    pub(super) fn has_low_port(&self) -> bool {
        self.port().is_some_and(|port| port < FIRST_UNPRIVILEGED_PORT)
    }

    /// Returns true for an image of another builder whose process begins as root, and may change its user.
    pub(super) fn begins_as_root(&self) -> bool {
        self.facts.user == ProcessUser::Root && !self.facts.is_own
    }
}

/// Returns the items of both lists once, sorted.
fn joined(mut items: Vec<String>, more: Vec<String>) -> Vec<String> {
    items.extend(more);
    items.sort();
    items.dedup();
    items
}

fn whole_seconds(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

fn kind(name: &str, own: &DeployProcessTable, facts: &ImageFacts) -> Result<WorkloadKind, DeployError> {
    let key = format!("deploy.process.{name}");
    match (own.kind, &own.schedule) {
        (Some(WorkloadKind::Cron), None) => {
            let help = format!("set `schedule` in [tool.ipo-oci.{key}], such as \"0 4 * * *\"");
            Err(value(&format!("{key}.kind"), "cron", "no schedule", help))
        }
        (None | Some(WorkloadKind::Cron), Some(_)) => Ok(WorkloadKind::Cron),
        (Some(kind), Some(schedule)) => {
            let reason = "only a process of kind cron has one";
            Err(value(
                &format!("{key}.schedule"),
                schedule,
                reason,
                format!("leave out kind = \"{}\"", kind.as_str()),
            ))
        }
        (Some(WorkloadKind::Service), None) if facts.ports.is_empty() => {
            let help = "set `port` of the process, and build its image again";
            Err(value(&format!("{key}.kind"), "service", "the image exposes no TCP port", help))
        }
        (Some(kind), None) => Ok(kind),
        (None, None) if RELEASES.contains(&name) => Ok(WorkloadKind::Release),
        (None, None) if facts.ports.is_empty() => Ok(WorkloadKind::Worker),
        (None, None) => Ok(WorkloadKind::Service),
    }
}
