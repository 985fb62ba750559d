//! Google Cloud Run: services, jobs and worker pools of the Admin API v1, one file each.

use super::document::{YamlMap, YamlNode};
use super::health::Probe;
use super::workload::Workload;
use super::{DeployError, DeployFile, Deployment, slug};
use crate::recipe::WEB;
use crate::settings::WorkloadKind;

/// Seconds from the stop signal to the kill, which Cloud Run does not change.
const STOP_SECONDS: u32 = 10;

/// Writes the files.
pub(super) fn render(deployment: &Deployment) -> Result<Vec<DeployFile>, DeployError> {
    let mut files = Vec::new();
    for workload in &deployment.workloads {
        if workload.secret_files.len() > 1 {
            return Err(DeployError::Unsupported {
                subject: workload.name.clone(),
                reason: "Cloud Run has one secret file in a folder, here /run/secrets".to_owned(),
                help: "leave one in secret-files, and name the others in secrets, as variables",
            });
        }
        let kind = match workload.kind {
            WorkloadKind::Service => "service",
            WorkloadKind::Worker => "workerpool",
            WorkloadKind::Release | WorkloadKind::Cron => "job",
        };
        let document = match workload.kind {
            WorkloadKind::Service => service(deployment, workload),
            WorkloadKind::Worker => worker_pool(deployment, workload),
            WorkloadKind::Release | WorkloadKind::Cron => job(deployment, workload),
        };
        files
            .push(DeployFile::new(format!("{kind}-{}.yaml", name(deployment, workload)), document.to_yaml()));
    }
    Ok(files)
}

fn name(deployment: &Deployment, workload: &Workload) -> String {
    if workload.name == WEB {
        deployment.name.clone()
    } else {
        format!("{}-{}", deployment.name, slug(&workload.name))
    }
}

/// Begins a document, with the comments about the image.
fn begin(workload: &Workload, command: &str) -> YamlMap {
    let mut map = YamlMap::new()
        .note("Written by ipo-oci deploy cloud-run. Not tested on Cloud Run itself. Apply:")
        .note(command);
    if !workload.is_in_registry {
        map = map.note("The image has no registry in its name: push it to Artifact Registry, with -t REGION-docker.pkg.dev/….");
    }
    if !workload.secrets.is_empty() || !workload.secret_files.is_empty() {
        map = map.note("Secrets are those of Secret Manager with the same names; the service account needs roles/secretmanager.secretAccessor.");
    }
    if !workload.volumes.is_empty() {
        map = map.note(format!(
            "Decide: the data in {} is lost with the instance, unless a volume of Cloud Storage or NFS is mounted there.",
            workload.volumes.join(", ")
        ));
    }
    if workload.stop_seconds > STOP_SECONDS {
        map = map.note(format!(
            "Cloud Run kills {STOP_SECONDS} s after SIGTERM; the process would get {} s.",
            workload.stop_seconds
        ));
    }
    map
}

fn object(map: YamlMap, version: &str, kind: &str, name: &str) -> YamlMap {
    map.set("apiVersion", version).set("kind", kind).set("metadata", YamlMap::new().set("name", name))
}

fn service(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let name = name(deployment, workload);
    let least = workload.replicas.unwrap_or(1);
    let most = workload.max_replicas.unwrap_or_else(|| least.max(10));
    let annotations = YamlMap::new()
        .note("Decide: 0 costs nothing without requests, and lets the first one wait for the start.")
        .set("autoscaling.knative.dev/minScale", least.to_string())
        .set("autoscaling.knative.dev/maxScale", most.to_string())
        .set("run.googleapis.com/startup-cpu-boost", "true");
    let spec = YamlMap::new()
        .note("Decide: requests of an instance at the same time, measured under load.")
        .set("containerConcurrency", 80)
        .set("timeoutSeconds", 60)
        .set("containers", vec![container(workload)])
        .set_filled("volumes", volumes(workload));
    let template =
        YamlMap::new().set("metadata", YamlMap::new().set("annotations", annotations)).set("spec", spec);
    let mut map = begin(workload, &format!("  gcloud run services replace service-{name}.yaml"));
    if !workload.hosts.is_empty() {
        map = map
            .note(format!("Map {} to it by a load balancer or a domain mapping.", workload.hosts.join(", ")));
    }
    object(map, "serving.knative.dev/v1", "Service", &name)
        .set("spec", YamlMap::new().set("template", template))
}

fn worker_pool(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let name = name(deployment, workload);
    let spec =
        YamlMap::new().set("containers", vec![container(workload)]).set_filled("volumes", volumes(workload));
    let map = begin(workload, &format!("  gcloud run worker-pools replace workerpool-{name}.yaml"));
    let annotations = YamlMap::new()
        .set("run.googleapis.com/manualInstanceCount", workload.replicas.unwrap_or(1).to_string());
    map.set("apiVersion", "run.googleapis.com/v1")
        .set("kind", "WorkerPool")
        .set("metadata", YamlMap::new().set("name", name).set("annotations", annotations))
        .set("spec", YamlMap::new().set("template", YamlMap::new().set("spec", spec)))
}

fn job(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let name = name(deployment, workload);
    let task = YamlMap::new()
        .set("maxRetries", 2)
        .set("timeoutSeconds", "600")
        .set("containers", vec![container(workload)])
        .set_filled("volumes", volumes(workload));
    let execution = YamlMap::new().set("taskCount", 1).set("template", YamlMap::new().set("spec", task));
    let mut map = begin(workload, &format!("  gcloud run jobs replace job-{name}.yaml"));
    map = match &workload.schedule {
        Some(schedule) => {
            map.note(format!("Cloud Scheduler starts it: --schedule=\"{schedule}\" --time-zone=Etc/UTC"))
        }
        None => map.note("Before the services:").note(format!("  gcloud run jobs execute {name} --wait")),
    };
    object(map, "run.googleapis.com/v1", "Job", &name)
        .set("spec", YamlMap::new().set("template", YamlMap::new().set("spec", execution)))
}

fn container(workload: &Workload) -> YamlMap {
    let mut map = YamlMap::new().set("image", &workload.image);
    if let Some(tag) = &workload.tag {
        map = map.trailing(tag);
    }
    if let Some(port) = workload.port() {
        if !workload.facts.follows_port && !workload.facts.is_own {
            map = map.note("The process has to listen on this port: Cloud Run also sets it in PORT.");
        }
        map.insert("ports", vec![YamlMap::new().set("name", "http1").set("containerPort", port)]);
    }
    let literal =
        workload.env.iter().map(|(name, value)| YamlMap::new().set("name", name).set("value", value));
    let secret = workload.secrets.iter().map(|name| {
        let key = YamlMap::new().set("name", name).set("key", "latest");
        YamlMap::new().set("name", name).set("valueFrom", YamlMap::new().set("secretKeyRef", key))
    });
    map = map.set_filled("env", literal.chain(secret).collect::<Vec<_>>());
    let mut limits = YamlMap::new();
    if workload.cpu.is_none() || workload.memory.is_none() {
        limits = limits.note("Decide: `cpu` and `memory` in [tool.ipo-oci.deploy], measured under load.");
    }
    limits.insert("cpu", workload.cpu.map_or_else(|| "1".to_owned(), |cpu| cpu.to_string()));
    let mebibytes = workload.memory.map_or(512, |memory| memory.0.div_ceil(1 << 20));
    limits.insert("memory", format!("{mebibytes}Mi"));
    map = map.set("resources", YamlMap::new().set("limits", limits));
    map = probes(map, workload);
    let mounts = workload
        .secret_files
        .first()
        .map(|_| YamlMap::new().set("name", "secret-file").set("mountPath", "/run/secrets"));
    map.set_filled("volumeMounts", mounts.into_iter().collect::<Vec<YamlMap>>())
}

fn probes(map: YamlMap, workload: &Workload) -> YamlMap {
    let (Some(port), Some(health)) = (workload.port(), &workload.facts.health) else { return map };
    let interval = i64::try_from(health.check.interval.as_secs()).unwrap_or(i64::MAX).clamp(1, 240);
    let timeout = i64::try_from(health.check.timeout.as_secs()).unwrap_or(i64::MAX).clamp(1, interval);
    let socket = || YamlMap::new().set("tcpSocket", YamlMap::new().set("port", port));
    let (map, check) = match &health.probe {
        Probe::Http(http) if !health.has_secret() && !http.is_tls => {
            let headers = std::iter::once(("Host", http.host.as_str()))
                .chain(http.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
                .map(|(name, value)| YamlMap::new().set("name", name).set("value", value));
            let headers: Vec<YamlMap> = headers.collect();
            let request = YamlMap::new()
                .set("path", &http.path)
                .set("port", http.port.unwrap_or(port))
                .set("httpHeaders", headers);
            (
                map.note("The request of the image's health check."),
                Some(YamlMap::new().set("httpGet", request)),
            )
        }
        _ => {
            (map.note("The health check of the image is no plain request, which Cloud Run could make."), None)
        }
    };
    let startup = check
        .clone()
        .unwrap_or_else(socket)
        .set("periodSeconds", 2)
        .set("timeoutSeconds", 2)
        .set("failureThreshold", 60);
    let map = map.set("startupProbe", startup);
    match check {
        Some(check) => map.set(
            "livenessProbe",
            check
                .set("periodSeconds", interval)
                .set("timeoutSeconds", timeout)
                .set("failureThreshold", YamlNode::from(health.check.retries.max(3))),
        ),
        None => map,
    }
}

fn volumes(workload: &Workload) -> Vec<YamlMap> {
    let volume = |name: &String| {
        let item = YamlMap::new().set("key", "latest").set("path", name);
        let secret = YamlMap::new().set("secretName", slug(name)).set("items", vec![item]);
        YamlMap::new().set("name", "secret-file").set("secret", secret)
    };
    workload.secret_files.iter().map(volume).collect()
}
