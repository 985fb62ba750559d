//! Pods: the container with its probes, its security context and its volumes.

use super::{
    claim_name, config_map, config_name, labels, replicas, secret_files_name, secret_name, selector,
};
use crate::deploy::Deployment;
use crate::deploy::document::YamlMap;
use crate::deploy::facts::ProcessUser;
use crate::deploy::health::{HealthFacts, Probe};
use crate::deploy::workload::{PORT_START, ROOT_CAPABILITIES, Workload};
use crate::digest::Digest;
use crate::recipe::WEB;
use crate::settings::WorkloadKind;

/// Seconds in which load balancers learn that a pod ends, before it stops accepting connections.
const DRAIN_SECONDS: u32 = 5;
/// The shortest time that a start may take, in seconds.
const START_SECONDS: u32 = 60;
const START_PERIOD: u32 = 2;

/// Returns the template of a process's pods.
pub(super) fn template(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let mut metadata = YamlMap::new().set("labels", labels(deployment, workload));
    if let Some(config) = config_map(deployment, workload) {
        let digest = Digest::of(config.to_yaml().as_bytes()).to_string();
        if workload.name == WEB {
            metadata =
                metadata.note("Pods read their configuration when they start: a change of it replaces them.");
        }
        metadata = metadata.set("annotations", YamlMap::new().set("ipo-oci/config", digest));
    }
    YamlMap::new().set("metadata", metadata).set("spec", spec(deployment, workload))
}

fn is_repeated(workload: &Workload) -> bool {
    matches!(workload.kind, WorkloadKind::Service | WorkloadKind::Worker)
}

fn spec(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let mut spec = YamlMap::new().set("automountServiceAccountToken", false).set("enableServiceLinks", false);
    if !is_repeated(workload) {
        spec.insert("restartPolicy", "Never");
    }
    spec = spec.set("securityContext", pod_security(workload));
    let drain = if workload.kind == WorkloadKind::Service { DRAIN_SECONDS } else { 0 };
    spec.insert("terminationGracePeriodSeconds", workload.stop_seconds.saturating_add(drain));
    let scales = replicas(workload) > 1 || workload.max_replicas.is_some_and(|most| most > 1);
    if is_repeated(workload) && scales {
        let spread = YamlMap::new()
            .set("maxSkew", 1)
            .set("topologyKey", "kubernetes.io/hostname")
            .set("whenUnsatisfiable", "ScheduleAnyway")
            .set("labelSelector", YamlMap::new().set("matchLabels", selector(deployment, workload)));
        spec.insert("topologySpreadConstraints", vec![spread]);
    }
    spec = spec.set("containers", vec![container(deployment, workload)]);
    spec.set_filled("volumes", volumes(deployment, workload))
}

fn pod_security(workload: &Workload) -> YamlMap {
    let mut map = YamlMap::new();
    match &workload.facts.user {
        ProcessUser::Root => {
            map = map
                .note("The image runs as root, which the Pod Security Standard `restricted` refuses: set a user.")
                .set_disabled("runAsNonRoot", true)
                .set_disabled("runAsUser", 1000);
        }
        ProcessUser::Numeric { uid, gid } => {
            let gid = gid.unwrap_or(*uid);
            map = map.set("runAsNonRoot", true).set("runAsUser", *uid).set("runAsGroup", gid);
            if !workload.volumes.is_empty() || !workload.secret_files.is_empty() {
                map = map.set("fsGroup", gid);
            }
        }
        ProcessUser::Named(name) => {
            map = map
                .note(format!("Decide: the number of the image's user `{name}`; Kubernetes knows no names."))
                .set_disabled("runAsUser", 1000)
                .note("Without the number, `runAsNonRoot` refuses to start the container.")
                .set_disabled("runAsNonRoot", true);
        }
    }
    if workload.has_low_port() {
        let sysctl = YamlMap::new().set("name", PORT_START).set("value", "0");
        map = map.note("A port below 1024 without a capability.").set("sysctls", vec![sysctl]);
    }
    map.set("seccompProfile", YamlMap::new().set("type", "RuntimeDefault"))
}

fn container(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let facts = &workload.facts;
    let mut map = YamlMap::new().set("name", super::component(workload)).set("image", &workload.image);
    if let Some(tag) = &workload.tag {
        map = map.trailing(tag);
    }
    if let Some(port) = workload.port() {
        let port = YamlMap::new().set("name", "http").set("containerPort", port);
        map.insert("ports", vec![port]);
    }
    if !workload.env.is_empty() {
        let config = YamlMap::new().set("name", config_name(deployment, workload));
        map.insert("envFrom", vec![YamlMap::new().set("configMapRef", config)]);
    }
    let secret = |name: &String| {
        let key = YamlMap::new().set("name", secret_name(deployment)).set("key", name);
        YamlMap::new().set("name", name).set("valueFrom", YamlMap::new().set("secretKeyRef", key))
    };
    map = map.set_filled("env", workload.secrets.iter().map(secret).collect::<Vec<_>>());
    map = map.set("resources", resources(workload));
    let mut security = YamlMap::new().set("allowPrivilegeEscalation", false);
    security = if facts.is_own {
        security.set("readOnlyRootFilesystem", true)
    } else {
        security
            .note("Not built by ipo-oci: enable if the process writes to no folder but /tmp.")
            .set_disabled("readOnlyRootFilesystem", true)
    };
    let mut capabilities = YamlMap::new().set("drop", ["ALL"]);
    if workload.begins_as_root() {
        capabilities = capabilities
            .note("Decide: a start script that changes owners and its user needs these; `restricted` refuses them.")
            .set_disabled("add", ROOT_CAPABILITIES);
    }
    let security = security.set("capabilities", capabilities);
    map = map.set("securityContext", security);
    map = probes(map, workload);
    if workload.kind == WorkloadKind::Service {
        let sleep = YamlMap::new().set("seconds", DRAIN_SECONDS);
        map = map
            .note("Load balancers learn of the end before the process does. Needs Kubernetes 1.30.")
            .set("lifecycle", YamlMap::new().set("preStop", YamlMap::new().set("sleep", sleep)));
    }
    map.set_filled("volumeMounts", mounts(deployment, workload))
}

fn resources(workload: &Workload) -> YamlMap {
    let (mut requests, mut limits) = (YamlMap::new(), YamlMap::new());
    let mut map = YamlMap::new();
    if workload.cpu.is_none() || workload.memory.is_none() {
        map = map.note("Decide: `cpu` and `memory` in [tool.ipo-oci.deploy], measured under load.");
    }
    match workload.cpu {
        Some(cpu) => requests.insert("cpu", format!("{}m", cpu.0)),
        None => requests.insert("cpu", "100m"),
    }
    let memory = workload.memory.map_or_else(|| "256Mi".to_owned(), |memory| quantity(memory.0));
    requests.insert("memory", memory.clone());
    limits.insert("memory", memory);
    map.set("requests", requests).set("limits", limits)
}

/// Returns a number of bytes as a quantity, in the largest binary unit without a rest.
fn quantity(bytes: u64) -> String {
    [(30, "Gi"), (20, "Mi"), (10, "Ki")]
        .into_iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Adds the probes. Kubernetes ignores the health check of an image.
fn probes(map: YamlMap, workload: &Workload) -> YamlMap {
    let facts = &workload.facts;
    if !is_repeated(workload) {
        return map;
    }
    let Some(health) = &facts.health else {
        let Some(port) = workload.port() else { return map };
        let check = || YamlMap::new().set("tcpSocket", YamlMap::new().set("port", port));
        return map
            .note("The image has no health check. These probes see a connection, and no application that hangs.")
            .set("startupProbe", check().set("periodSeconds", START_PERIOD).set("failureThreshold", 30))
            .set("readinessProbe", check().set("periodSeconds", 5));
    };
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1);
    if health.has_secret() && workload.port().is_none() {
        return map
            .note("The health check of the image seems to contain a secret, and is not repeated here.");
    }
    let (interval, timeout) = (seconds(health.check.interval), seconds(health.check.timeout));
    let (map, check) = check(map, workload, health);
    let longest = seconds(health.check.start_period).saturating_mul(3).max(START_SECONDS);
    let startup = check
        .clone()
        .set("periodSeconds", START_PERIOD)
        .set("timeoutSeconds", timeout)
        .set("failureThreshold", longest.div_ceil(START_PERIOD));
    let liveness = check
        .clone()
        .set("periodSeconds", interval)
        .set("timeoutSeconds", timeout)
        .set("failureThreshold", health.check.retries.max(3));
    let map = map.set("startupProbe", startup).set("livenessProbe", liveness);
    if workload.port().is_none() {
        return map;
    }
    let readiness = check
        .set("periodSeconds", interval.min(5))
        .set("timeoutSeconds", timeout)
        .set("failureThreshold", health.check.retries.min(2));
    map.set("readinessProbe", readiness)
}

/// Returns the check of the probes, and adds comments about it.
fn check(map: YamlMap, workload: &Workload, health: &HealthFacts) -> (YamlMap, YamlMap) {
    let port = workload.port();
    if let (true, Some(port)) = (health.has_secret(), port) {
        let map =
            map.note("The health check of the image seems to contain a secret, and is not repeated here.");
        return (map, YamlMap::new().set("tcpSocket", YamlMap::new().set("port", port)));
    }
    let (Probe::Http(http), Some(port)) = (&health.probe, port) else {
        let map = map.note(if matches!(health.probe, Probe::Answer { .. }) {
            "The health check of the image. `healthcheck = \"/PATH\"` in [tool.ipo-oci] makes a request of the kubelet."
        } else {
            "The health check of the image."
        });
        return (
            map,
            YamlMap::new().set("exec", YamlMap::new().set("command", health.check.command.clone())),
        );
    };
    let map =
        map.note("The request of the image's health check. The path should depend on no other service.");
    let mut headers = vec![("Host".to_owned(), http.host.clone())];
    headers.extend(http.headers.clone());
    let header = |(name, value): (String, String)| YamlMap::new().set("name", name).set("value", value);
    let headers: Vec<YamlMap> = headers.into_iter().map(header).collect();
    let mut request = YamlMap::new().set("path", &http.path).set("port", http.port.unwrap_or(port));
    if http.is_tls {
        request.insert("scheme", "HTTPS");
    }
    (map, YamlMap::new().set("httpGet", request.set("httpHeaders", headers)))
}

fn mounts(deployment: &Deployment, workload: &Workload) -> Vec<YamlMap> {
    let mount = |name: String, path: &str| YamlMap::new().set("name", name).set("mountPath", path);
    let mut mounts = Vec::new();
    if workload.facts.is_own {
        mounts.push(mount(temporary_name(deployment, workload), "/tmp"));
    }
    for (number, path) in workload.volumes.iter().enumerate() {
        mounts.push(mount(format!("data-{number}"), path));
    }
    if !workload.secret_files.is_empty() {
        mounts.push(mount("secret-files".to_owned(), "/run/secrets").set("readOnly", true));
    }
    mounts
}

/// Returns the name of the volume at `/tmp`. Podman 4 makes one volume of all with one name.
fn temporary_name(deployment: &Deployment, workload: &Workload) -> String {
    format!("{}-tmp", super::object_name(deployment, workload))
}

fn volumes(deployment: &Deployment, workload: &Workload) -> Vec<YamlMap> {
    let mut volumes = Vec::new();
    if workload.facts.is_own {
        let empty = YamlMap::new().set("sizeLimit", "64Mi");
        let name = temporary_name(deployment, workload);
        volumes.push(YamlMap::new().set("name", name).set("emptyDir", empty));
    }
    for (number, path) in workload.volumes.iter().enumerate() {
        let claim = YamlMap::new().set("claimName", claim_name(deployment, path));
        volumes
            .push(YamlMap::new().set("name", format!("data-{number}")).set("persistentVolumeClaim", claim));
    }
    if !workload.secret_files.is_empty() {
        let item = |name: &String| YamlMap::new().set("key", name).set("path", name);
        let secret = YamlMap::new()
            .set("secretName", secret_files_name(deployment))
            .set("items", workload.secret_files.iter().map(item).collect::<Vec<_>>());
        volumes.push(YamlMap::new().set("name", "secret-files").set("secret", secret));
    }
    volumes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_binary_units() {
        for (bytes, text) in [
            (256 << 20, "256Mi"),
            (1 << 30, "1Gi"),
            (1536 << 20, "1536Mi"),
            (1000, "1000"),
            (256_000_000, "250000Ki"),
            (0, "0"),
        ] {
            assert_eq!(quantity(bytes), text);
        }
    }
}
