//! Compose: one file by the Compose Specification, in the forms that docker-compose 1.29, `docker compose` and
//! podman-compose have in common.

use std::collections::BTreeSet;

use super::document::{YamlMap, YamlNode};
use super::facts::ProcessUser;
use super::workload::{PORT_START, ROOT_CAPABILITIES, Workload};
use super::{Deployment, slug};
use crate::recipe::WEB;
use crate::settings::WorkloadKind;

/// Writes `compose.yaml`.
pub(super) fn render(deployment: &Deployment) -> String {
    let mut services = YamlMap::new();
    let mut published = BTreeSet::new();
    for workload in &deployment.workloads {
        let service = service(workload, deployment, &mut published);
        for note in notes(workload) {
            services = services.note(note);
        }
        services.insert(&workload.name, service);
    }
    let volumes: BTreeSet<String> =
        deployment.workloads.iter().flat_map(|workload| &workload.volumes).map(|path| slug(path)).collect();
    let mut volume_map = YamlMap::new();
    for name in volumes {
        volume_map.insert(name, YamlMap::new());
    }
    let files: BTreeSet<&String> =
        deployment.workloads.iter().flat_map(|workload| &workload.secret_files).collect();
    let mut secrets = YamlMap::new();
    for name in files {
        secrets = secrets
            .note("Write the value to this file, readable by the user of the container; keep it out of git.")
            .set(name, YamlMap::new().set("file", format!("./secrets/{name}")));
    }
    head(deployment)
        .set("services", services)
        .set_filled("volumes", volume_map)
        .set_filled("secrets", secrets)
        .to_yaml()
}

/// Returns the comments of the whole file.
fn head(deployment: &Deployment) -> YamlMap {
    // A `name` in the file is unknown to docker-compose 1.29.
    let start = format!("  docker compose --project-name {} up --detach --wait", deployment.name);
    let mut map = YamlMap::new().note("Written by ipo-oci deploy compose. Start:").note(start);
    if deployment.workloads.iter().any(|workload| !workload.is_in_registry) {
        map = map.note(
            "The image has no registry in its name. Push it to one that this machine reads, with -t REGISTRY/NAME; for an \
             image that an archive brings into the engine, use --by-tag.",
        );
    }
    map
}

fn notes(workload: &Workload) -> Vec<String> {
    let mut notes = Vec::new();
    let facts = &workload.facts;
    match &facts.health {
        Some(health) => notes.push(format!("Health check of the image: {}.", health.summary())),
        None if workload.kind == WorkloadKind::Service => {
            notes.push("The image has no health check: `up --wait` waits for the start alone.".to_owned());
        }
        None => {}
    }
    if facts.user == ProcessUser::Root {
        notes.push(
            "The image runs as root: set a user that the image has, such as user: \"1000:1000\".".to_owned(),
        );
    }
    if !facts.is_own {
        notes.push(
            "Not built by ipo-oci, so the root file system stays writable. Try read_only: true with a tmpfs."
                .to_owned(),
        );
    }
    if workload.kind == WorkloadKind::Cron {
        notes.push(format!(
            "Compose has no schedule. Run it by a timer of the machine ({}): docker compose run --rm {}",
            workload.schedule.as_deref().unwrap_or_default(),
            workload.name
        ));
    }
    notes
}

fn service(workload: &Workload, deployment: &Deployment, published: &mut BTreeSet<u16>) -> YamlMap {
    let facts = &workload.facts;
    let runs_once = matches!(workload.kind, WorkloadKind::Release | WorkloadKind::Cron);
    let mut map = YamlMap::new().set("image", &workload.image);
    if let Some(tag) = &workload.tag {
        map = map.trailing(tag);
    }
    if workload.kind == WorkloadKind::Cron {
        map = map.set("profiles", ["cron"]);
    }
    map = map.set("restart", if runs_once { "no" } else { "unless-stopped" });
    let mut releases = YamlMap::new();
    for release in deployment.workloads.iter().filter(|other| other.kind == WorkloadKind::Release) {
        releases.insert(&release.name, YamlMap::new().set("condition", "service_completed_successfully"));
    }
    if workload.kind != WorkloadKind::Release {
        map = map.set_filled("depends_on", releases);
    }
    map = ports(map, workload, published);
    map = environment(map, workload);
    let mounts: Vec<String> = workload.volumes.iter().map(|path| format!("{}:{path}", slug(path))).collect();
    map = map.set_filled("volumes", mounts);
    if facts.is_own {
        map = map.set("read_only", true).set("tmpfs", ["/tmp"]);
    }
    map = map.set("cap_drop", ["ALL"]);
    if workload.begins_as_root() {
        map = map
            .note("Decide: a start script that changes owners and its user needs these.")
            .set_disabled("cap_add", ROOT_CAPABILITIES);
    }
    map = map.set("security_opt", ["no-new-privileges:true"]);
    if workload.has_low_port() {
        map = map
            .note("A port below 1024 without a capability; Docker does this by itself.")
            .set("sysctls", [format!("{PORT_START}=0")]);
    }
    map = resources(map, workload);
    if let Some(replicas) = workload.replicas.filter(|replicas| *replicas > 1 && !runs_once) {
        map = map.set("scale", replicas);
    }
    if let Some(most) = workload.max_replicas {
        map = map.note(format!("Compose does not scale by load: max-replicas = {most} has no effect."));
    }
    map.set("stop_grace_period", format!("{}s", workload.stop_seconds))
}

fn ports(map: YamlMap, workload: &Workload, published: &mut BTreeSet<u16>) -> YamlMap {
    let Some(port) = workload.port() else { return map };
    let instances = workload.replicas.unwrap_or(1);
    let last = port.checked_add(instances - 1);
    let mut map = map;
    if !workload.hosts.is_empty() {
        map = map.note(format!(
            "Let a reverse proxy with TLS forward {} to this port.",
            workload.hosts.join(", ")
        ));
    }
    let more = workload.facts.ports.iter().skip(1).map(ToString::to_string);
    for other in more.chain(workload.facts.other_ports.iter().cloned()) {
        map = map.note(format!("The image also exposes {other}, which is not published."));
    }
    match last {
        Some(last) if (port..=last).all(|port| !published.contains(&port)) => {
            published.extend(port..=last);
            let outside = if last == port { port.to_string() } else { format!("{port}-{last}") };
            map.note("On this machine alone; 0.0.0.0 in place of 127.0.0.1 publishes it to others.")
                .set("ports", [format!("127.0.0.1:{outside}:{port}")])
        }
        _ => map
            .note(format!(
                "Another service has port {port} of the machine: choose one to publish this service."
            ))
            .set("expose", [port.to_string()])
            .set_disabled("ports", [format!("127.0.0.1:{}:{port}", port.saturating_add(1))]),
    }
}

fn environment(map: YamlMap, workload: &Workload) -> YamlMap {
    let mut variables = YamlMap::new();
    for (name, value) in &workload.env {
        // A dollar sign begins a reference (Compose Specification, "Interpolation").
        variables.insert(name, value.replace('$', "$$"));
    }
    if !workload.secrets.is_empty() {
        variables =
            variables.note("Secrets: set them in the environment of Compose, or in .env beside this file.");
    }
    for name in &workload.secrets {
        variables.insert(name, format!("${{{name}:?set {name} in .env}}"));
    }
    map.set_filled("env_file", workload.env_files.clone())
        .set_filled("environment", variables)
        .set_filled("secrets", workload.secret_files.clone())
}

fn resources(map: YamlMap, workload: &Workload) -> YamlMap {
    let map = match workload.memory {
        Some(memory) => {
            map.set("mem_limit", YamlNode::Text(memory.0.to_string())).trailing(memory.to_string())
        }
        None if workload.name == WEB => map
            .note("Limit the memory, measured under load: `memory` in [tool.ipo-oci.deploy].")
            .set_disabled("mem_limit", "256m"),
        None => map.set_disabled("mem_limit", "256m"),
    };
    match workload.cpu {
        Some(cpu) => map.set("cpus", YamlNode::Text(cpu.to_string())),
        None => map.set_disabled("cpus", "0.5"),
    }
}
