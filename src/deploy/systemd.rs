//! systemd: units of Podman's Quadlet (podman-systemd.unit(5), Podman 4.6 and later), and timers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::document::{comment, one_line};
use super::facts::ProcessUser;
use super::schedule::Schedule;
use super::workload::{PORT_START, ROOT_CAPABILITIES, Workload};
use super::{DeployFile, Deployment, slug};
use crate::recipe::WEB;
use crate::settings::WorkloadKind;

/// Seconds that systemd waits longer than Podman.
const STOP_MARGIN: u32 = 5;

/// A unit file.
struct UnitText(String);

impl UnitText {
    fn section(&mut self, name: &str) {
        let _ = writeln!(
            self.0,
            "{}[{name}]",
            if self.0.is_empty() || self.0.ends_with("\n\n") { "" } else { "\n" }
        );
    }

    fn note(&mut self, text: &str) {
        comment(&mut self.0, 0, text);
    }

    fn set(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{key}={}", one_line(value));
    }
}

/// Writes the units.
pub(super) fn render(deployment: &Deployment) -> Vec<DeployFile> {
    let mut files = Vec::new();
    let mut published = BTreeSet::new();
    for workload in &deployment.workloads {
        let name = unit_name(deployment, workload);
        let text = container(deployment, workload, &mut published);
        files.push(DeployFile::new(format!("{name}.container"), text));
        if let Some(schedule) = &workload.schedule {
            files.push(DeployFile::new(format!("{name}.timer"), timer(deployment, workload, schedule)));
        }
    }
    let paths: BTreeSet<&String> =
        deployment.workloads.iter().flat_map(|workload| &workload.volumes).collect();
    for path in paths {
        let name = volume_unit(deployment, path);
        let mut unit = UnitText(String::new());
        unit.section("Volume");
        unit.set("VolumeName", name.trim_end_matches(".volume"));
        files.push(DeployFile::new(name, unit.0));
    }
    let mut network = UnitText(String::new());
    network.section("Network");
    network.set("NetworkName", &deployment.name);
    files.push(DeployFile::new(format!("{}.network", deployment.name), network.0));
    files
}

fn unit_name(deployment: &Deployment, workload: &Workload) -> String {
    if workload.name == WEB {
        return deployment.name.clone();
    }
    format!("{}-{}", deployment.name, slug(&workload.name))
}

fn volume_unit(deployment: &Deployment, path: &str) -> String {
    format!("{}-{}.volume", deployment.name, slug(path))
}

fn container(deployment: &Deployment, workload: &Workload, published: &mut BTreeSet<u16>) -> String {
    let facts = &workload.facts;
    let runs_once = matches!(workload.kind, WorkloadKind::Release | WorkloadKind::Cron);
    let mut unit = UnitText(String::new());
    unit.note(
        "Written by ipo-oci deploy systemd, for /etc/containers/systemd or ~/.config/containers/systemd.",
    );
    if workload.kind == WorkloadKind::Cron {
        unit.note("Its timer belongs into /etc/systemd/system or ~/.config/systemd/user.");
    }
    if !workload.is_in_registry {
        unit.note("The image has no registry in its name: push it to one, with -t REGISTRY/NAME.");
    }
    unit.section("Unit");
    unit.set("Description", &format!("{} of {}", workload.name, deployment.name));
    let releases = deployment.workloads.iter().filter(|other| other.kind == WorkloadKind::Release);
    if workload.kind != WorkloadKind::Release {
        for release in releases {
            let service = format!("{}.service", unit_name(deployment, release));
            unit.set("Requires", &service);
            unit.set("After", &service);
        }
    }
    unit.section("Container");
    unit.set("ContainerName", &unit_name(deployment, workload));
    if let Some(tag) = &workload.tag {
        unit.note(tag);
    }
    unit.set("Image", &escaped(&workload.image));
    unit.set("Network", &format!("{}.network", deployment.name));
    port(&mut unit, workload, published);
    environment(&mut unit, deployment, workload);
    for path in &workload.volumes {
        unit.set("Volume", &format!("{}:{}", volume_unit(deployment, path), escaped(path)));
    }
    if facts.is_own {
        unit.note("/tmp is in memory.");
        unit.set("ReadOnly", "true");
    } else {
        unit.note("Not built by ipo-oci, so the root file system stays writable.");
        unit.note("ReadOnly=true");
    }
    if facts.user == ProcessUser::Root {
        unit.note("The image runs as root: set a user that it has.");
        unit.note("User=1000");
    }
    unit.set("DropCapability", "all");
    if workload.begins_as_root() {
        unit.note("Decide: a start script that changes owners and its user needs these.");
        unit.note(&format!("AddCapability={}", ROOT_CAPABILITIES.join(" ")));
    }
    if workload.has_low_port() {
        unit.note("A port below 1024 without a capability.");
        unit.set("PodmanArgs", &format!("--sysctl={PORT_START}=0"));
    }
    unit.set("NoNewPrivileges", "true");
    health(&mut unit, workload);
    resources(&mut unit, workload);
    unit.section("Service");
    if runs_once {
        unit.set("Type", "oneshot");
        if workload.kind == WorkloadKind::Release {
            unit.note(
                "The services start when it has ended with success. After a change: systemctl restart.",
            );
            unit.set("RemainAfterExit", "yes");
        }
    } else {
        unit.set("Restart", "always");
    }
    unit.note("The first start pulls the image.");
    unit.set("TimeoutStartSec", "900");
    unit.set("TimeoutStopSec", &workload.stop_seconds.saturating_add(STOP_MARGIN).to_string());
    if workload.replicas.is_some_and(|replicas| replicas > 1) && !runs_once {
        unit.note("One unit is one instance: copy the file for more, with other names and ports.");
    }
    if workload.kind != WorkloadKind::Cron {
        unit.section("Install");
        unit.set("WantedBy", "multi-user.target default.target");
    }
    unit.0
}

fn port(unit: &mut UnitText, workload: &Workload, published: &mut BTreeSet<u16>) {
    let Some(port) = workload.port() else { return };
    if !workload.hosts.is_empty() {
        unit.note(&format!(
            "Let a reverse proxy with TLS forward {} to this port.",
            workload.hosts.join(", ")
        ));
    }
    if published.insert(port) {
        unit.set("PublishPort", &format!("127.0.0.1:{port}:{port}"));
    } else {
        unit.note(&format!(
            "Another service has port {port} of the machine: choose one to publish this service."
        ));
        unit.note(&format!("PublishPort=127.0.0.1:{}:{port}", port.saturating_add(1)));
    }
}

fn environment(unit: &mut UnitText, deployment: &Deployment, workload: &Workload) {
    for (name, value) in &workload.env {
        // systemd.syntax(7), "Quoting", and specifiers.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('%', "%%");
        unit.set("Environment", &format!("\"{name}={value}\""));
    }
    for file in &workload.env_files {
        unit.set("EnvironmentFile", &escaped(file));
    }
    for name in &workload.secrets {
        let secret = format!("{}-{name}", deployment.name);
        unit.note(&format!("  podman secret create {secret} FILE"));
        unit.set("Secret", &format!("{secret},type=env,target={name}"));
    }
    for name in &workload.secret_files {
        let secret = format!("{}-{name}", deployment.name);
        unit.note(&format!("  podman secret create {secret} FILE"));
        let owner = match &workload.facts.user {
            ProcessUser::Numeric { uid, gid } => format!(",uid={uid},gid={},mode=0400", gid.unwrap_or(*uid)),
            ProcessUser::Root | ProcessUser::Named(_) => String::new(),
        };
        unit.set("Secret", &format!("{secret},type=mount,target={name}{owner}"));
    }
}

/// Adds the health check, which Podman ignores in an image with OCI's media types.
fn health(unit: &mut UnitText, workload: &Workload) {
    let Some(health) = &workload.facts.health else {
        if workload.kind == WorkloadKind::Service {
            unit.note("The image has no health check, so a service that hangs is not started again.");
        }
        return;
    };
    if health.has_secret() {
        unit.note("The health check of the image seems to contain a secret, and is not repeated here.");
        return;
    }
    unit.note(&format!("The health check of the image: {}.", health.summary()));
    let command = serde_json::Value::from(health.check.command.clone()).to_string();
    // systemd replaces specifiers and variables.
    unit.set("HealthCmd", &escaped(&command).replace('$', "$$"));
    unit.set("HealthInterval", &format!("{}s", health.check.interval.as_secs().max(1)));
    unit.set("HealthTimeout", &format!("{}s", health.check.timeout.as_secs().max(1)));
    unit.set("HealthStartPeriod", &format!("{}s", health.check.start_period.as_secs()));
    unit.set("HealthRetries", &health.check.retries.to_string());
    unit.note("Restart= starts a killed container again.");
    unit.set("HealthOnFailure", "kill");
}

fn resources(unit: &mut UnitText, workload: &Workload) {
    let mut arguments = vec![format!("--stop-timeout={}", workload.stop_seconds)];
    match workload.memory {
        Some(memory) => arguments.push(format!("--memory={}", memory.0)),
        None => unit.note("Decide: `memory` and `cpu` in [tool.ipo-oci.deploy], measured under load."),
    }
    arguments.extend(workload.cpu.map(|cpu| format!("--cpus={cpu}")));
    unit.set("PodmanArgs", &arguments.join(" "));
}

fn timer(deployment: &Deployment, workload: &Workload, schedule: &str) -> String {
    let mut unit = UnitText(String::new());
    unit.note(&format!("Written by ipo-oci deploy systemd: {schedule}"));
    unit.section("Unit");
    unit.set("Description", &format!("Times of {} of {}", workload.name, deployment.name));
    unit.section("Timer");
    if let Some(calendar) = Schedule::parse(schedule).and_then(|schedule| schedule.to_calendar()) {
        unit.set("OnCalendar", &calendar);
    } else {
        unit.note("Decide: systemd has no form of these times.");
        unit.set("OnCalendar", "daily");
    }
    unit.set("Persistent", "true");
    unit.section("Install");
    unit.set("WantedBy", "timers.target");
    unit.0
}

/// Doubles percent signs, which begin specifiers (systemd.unit(5)).
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}
