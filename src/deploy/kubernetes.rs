//! Kubernetes: objects of the stable APIs of Kubernetes 1.25 and later, which the Pod Security Standard *restricted*
//! admits. `kubernetes/pod.rs` writes the pods.

mod pod;

use super::document::YamlMap;
use super::workload::Workload;
use super::{DeployFile, Deployment, slug};
use crate::digest::Digest;
use crate::settings::WorkloadKind;

/// The file of all objects.
const FILE: &str = "kubernetes.yaml";
/// Instances of a service, so that one can be replaced.
const SERVICE_REPLICAS: u16 = 2;

/// The port of the service of each process.
const SERVICE_PORT: u16 = 80;

/// An object of the API.
struct KubernetesObject {
    /// `deployment-api`.
    file: String,
    object: YamlMap,
}

/// The form of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManifestForm {
    /// One file of all objects.
    Plain,
    /// A base of Kustomize: one file for each object.
    Kustomize,
}

/// Writes the files.
pub(super) fn render(deployment: &Deployment, form: ManifestForm) -> Vec<DeployFile> {
    let mut manifests = Vec::new();
    for workload in &deployment.workloads {
        objects(deployment, workload, &mut manifests);
    }
    manifests.extend(network_policies(deployment));
    let head = head(deployment, form);
    match form {
        ManifestForm::Plain => {
            let documents: Vec<String> = manifests.iter().map(|manifest| manifest.object.to_yaml()).collect();
            vec![DeployFile::new(FILE, format!("{}{}", head.to_yaml(), documents.join("---\n")))]
        }
        ManifestForm::Kustomize => {
            let files: Vec<String> =
                manifests.iter().map(|manifest| format!("{}.yaml", manifest.file)).collect();
            let kustomization = head
                .set("apiVersion", "kustomize.config.k8s.io/v1beta1")
                .set("kind", "Kustomization")
                .set("resources", files);
            let file = |manifest: &KubernetesObject| {
                DeployFile::new(format!("{}.yaml", manifest.file), manifest.object.to_yaml())
            };
            std::iter::once(DeployFile::new("kustomization.yaml", kustomization.to_yaml()))
                .chain(manifests.iter().map(file))
                .collect()
        }
    }
}

/// Returns the comments of the whole.
fn head(deployment: &Deployment, form: ManifestForm) -> YamlMap {
    let mut map = YamlMap::new().note("Written by ipo-oci deploy kubernetes.");
    if deployment.workloads.iter().any(|workload| !workload.is_in_registry) {
        map = map.note("The image has no registry in its name: push it to one that the cluster reads, with -t REGISTRY/NAME.");
    }
    let releases: Vec<String> = deployment
        .workloads
        .iter()
        .filter(|workload| workload.kind == WorkloadKind::Release)
        .map(|workload| release_name(deployment, workload))
        .collect();
    let apply = match form {
        ManifestForm::Plain => format!("  kubectl apply -f {FILE}"),
        ManifestForm::Kustomize => "  kubectl apply -k .".to_owned(),
    };
    if !releases.is_empty() {
        map = map
            .note("kubectl knows no order, so run the release first, and the rest when it has succeeded:")
            .note(format!("{apply} -l ipo-oci/stage=release"))
            .note(format!(
                "  kubectl wait --for=condition=complete --timeout=10m job/{}",
                releases.join(" job/")
            ));
    }
    map = map.note(apply);
    let mut secrets: Vec<&String> =
        deployment.workloads.iter().flat_map(|workload| &workload.secrets).collect();
    let mut files: Vec<&String> =
        deployment.workloads.iter().flat_map(|workload| &workload.secret_files).collect();
    for names in [&mut secrets, &mut files] {
        names.sort();
        names.dedup();
    }
    if !secrets.is_empty() {
        map = map
            .note(format!(
                "The secret variables ({}) are in a Secret, made by an operator of secrets, or of a file with lines NAME=VALUE:",
                list(&secrets)
            ))
            .note(format!("  kubectl create secret generic {} --from-env-file=FILE", secret_name(deployment)));
    }
    if !files.is_empty() {
        let parts: Vec<String> = files.iter().map(|name| format!("--from-file={name}=FILE")).collect();
        map = map.note("The secret files, likewise:").note(format!(
            "  kubectl create secret generic {} {}",
            secret_files_name(deployment),
            parts.join(" ")
        ));
    }
    map
}

fn list(names: &[&String]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Adds the objects of a process.
fn objects(deployment: &Deployment, workload: &Workload, manifests: &mut Vec<KubernetesObject>) {
    let name = object_name(deployment, workload);
    if let Some(object) = config_map(deployment, workload) {
        manifests.push(KubernetesObject { file: format!("configmap-{name}"), object });
    }
    for path in &workload.volumes {
        let claim = claim_name(deployment, path);
        let file = format!("persistentvolumeclaim-{claim}");
        if !manifests.iter().any(|manifest| manifest.file == file) {
            manifests.push(KubernetesObject { file, object: volume_claim(deployment, workload, path) });
        }
    }
    let mut add = |kind: &str, object: YamlMap| {
        manifests.push(KubernetesObject { file: format!("{kind}-{name}"), object });
    };
    match workload.kind {
        WorkloadKind::Release => add("job", release_job(deployment, workload)),
        WorkloadKind::Cron => add("cronjob", cron_job(deployment, workload)),
        WorkloadKind::Service | WorkloadKind::Worker => {
            add("deployment", pod_deployment(deployment, workload));
            if workload.port().is_some() {
                add("service", service(deployment, workload));
            }
            if let Some(most) = workload.max_replicas {
                add("horizontalpodautoscaler", autoscaler(deployment, workload, most));
            }
            if replicas(workload) > 1 && workload.kind == WorkloadKind::Service {
                add("poddisruptionbudget", disruption_budget(deployment, workload));
            }
            match &deployment.gateway {
                _ if workload.hosts.is_empty() => {}
                Some(gateway) => add("httproute", http_route(deployment, workload, gateway)),
                None => add("ingress", ingress(deployment, workload)),
            }
        }
    }
}

/// Returns the instances of a process.
fn replicas(workload: &Workload) -> u16 {
    let is_shared = workload.volumes.is_empty() && workload.kind == WorkloadKind::Service;
    workload.replicas.unwrap_or(if is_shared { SERVICE_REPLICAS } else { 1 })
}

/// Returns the name of the objects of a process: that of the whole for the first service.
fn object_name(deployment: &Deployment, workload: &Workload) -> String {
    if workload.name == crate::recipe::WEB {
        return deployment.name.clone();
    }
    format!("{}-{}", deployment.name, component(workload))
}

/// Returns the name of the process as a DNS label.
fn component(workload: &Workload) -> String {
    slug(&workload.name)
}

/// Returns the name of a release's job, which is another one for each image: jobs cannot be changed.
fn release_name(deployment: &Deployment, workload: &Workload) -> String {
    let digest = Digest::of(pod::template(deployment, workload).to_yaml().as_bytes()).to_string();
    let digest = digest.split_once(':').map_or(digest.as_str(), |(_, hex)| hex);
    format!("{}-{}", object_name(deployment, workload), digest.get(..10).unwrap_or(digest))
}

fn secret_name(deployment: &Deployment) -> String {
    format!("{}-secrets", deployment.name)
}

fn secret_files_name(deployment: &Deployment) -> String {
    format!("{}-secret-files", deployment.name)
}

fn claim_name(deployment: &Deployment, path: &str) -> String {
    format!("{}-{}", deployment.name, slug(path))
}

fn config_name(deployment: &Deployment, workload: &Workload) -> String {
    format!("{}-config", object_name(deployment, workload))
}

/// Returns the labels that select the pods of a process.
fn selector(deployment: &Deployment, workload: &Workload) -> YamlMap {
    YamlMap::new()
        .set("app.kubernetes.io/name", &deployment.name)
        .set("app.kubernetes.io/component", component(workload))
}

fn labels(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let labels = selector(deployment, workload);
    // Selects the objects that a release needs: itself, its configuration and its volumes.
    let is_release = workload.kind == WorkloadKind::Release;
    if is_release { labels.set("ipo-oci/stage", "release") } else { labels }
}

fn object(version: &str, kind: &str, name: &str, labels: YamlMap) -> YamlMap {
    YamlMap::new()
        .set("apiVersion", version)
        .set("kind", kind)
        .set("metadata", YamlMap::new().set("name", name).set("labels", labels))
}

fn config_map(deployment: &Deployment, workload: &Workload) -> Option<YamlMap> {
    let mut data = YamlMap::new();
    for (name, value) in &workload.env {
        data.insert(name, value);
    }
    let name = config_name(deployment, workload);
    (!workload.env.is_empty())
        .then(|| object("v1", "ConfigMap", &name, labels(deployment, workload)).set("data", data))
}

fn volume_claim(deployment: &Deployment, workload: &Workload, path: &str) -> YamlMap {
    let mut labels = YamlMap::new().set("app.kubernetes.io/name", &deployment.name);
    if deployment.workloads.iter().any(|workload| workload.kind == WorkloadKind::Release) {
        labels = labels.set("ipo-oci/stage", "release");
    }
    let requests = YamlMap::new().note("Decide: the size of the data.").set("storage", "1Gi");
    let spec = YamlMap::new()
        .note("ReadWriteOnce is for the pods of one node: several replicas need ReadWriteMany, or another store.")
        .set("accessModes", ["ReadWriteOnce"])
        .set("resources", YamlMap::new().set("requests", requests));
    object("v1", "PersistentVolumeClaim", &claim_name(deployment, path), labels)
        .set("spec", spec)
        .with_first_note(format!("The data in {path} of {}.", workload.name))
}

fn release_job(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let spec = YamlMap::new()
        .set("backoffLimit", 2)
        .set("ttlSecondsAfterFinished", 86_400)
        .set("template", pod::template(deployment, workload));
    object("batch/v1", "Job", &release_name(deployment, workload), labels(deployment, workload))
        .set("spec", spec)
        .with_first_note("The name contains a digest of the pod, since a job cannot be changed.")
}

fn cron_job(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let job = YamlMap::new().set("backoffLimit", 2).set("template", pod::template(deployment, workload));
    let spec = YamlMap::new()
        .set("schedule", workload.schedule.as_deref().unwrap_or_default())
        .set("timeZone", "Etc/UTC")
        .set("concurrencyPolicy", "Forbid")
        .set("jobTemplate", YamlMap::new().set("spec", job));
    object("batch/v1", "CronJob", &object_name(deployment, workload), labels(deployment, workload))
        .set("spec", spec)
}

fn pod_deployment(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let mut spec = YamlMap::new();
    if workload.max_replicas.is_some() {
        spec = spec.note("The autoscaler sets the replicas.");
    } else {
        spec.insert("replicas", replicas(workload));
    }
    let strategy = if workload.volumes.is_empty() {
        let rolling = YamlMap::new().set("maxUnavailable", 0).set("maxSurge", 1);
        YamlMap::new().set("type", "RollingUpdate").set("rollingUpdate", rolling)
    } else {
        YamlMap::new()
            .note("A volume of one node cannot be in two pods of two nodes.")
            .set("type", "Recreate")
    };
    let spec = spec
        .set("strategy", strategy)
        .set("selector", YamlMap::new().set("matchLabels", selector(deployment, workload)))
        .set("template", pod::template(deployment, workload));
    object("apps/v1", "Deployment", &object_name(deployment, workload), labels(deployment, workload))
        .set("spec", spec)
}

fn service(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let port = YamlMap::new().set("name", "http").set("port", SERVICE_PORT).set("targetPort", "http");
    let mut spec = YamlMap::new().set("selector", selector(deployment, workload)).set("ports", vec![port]);
    let more = workload.facts.ports.iter().skip(1).map(ToString::to_string);
    for other in more.chain(workload.facts.other_ports.iter().cloned()) {
        spec = spec.note(format!("The image also exposes {other}, which the service leaves out."));
    }
    object("v1", "Service", &object_name(deployment, workload), labels(deployment, workload))
        .set("spec", spec)
}

fn autoscaler(deployment: &Deployment, workload: &Workload, most: u16) -> YamlMap {
    let name = object_name(deployment, workload);
    let target = YamlMap::new().set("type", "Utilization").set("averageUtilization", 75);
    let cpu = YamlMap::new().set("name", "cpu").set("target", target);
    let metric = YamlMap::new().set("type", "Resource").set("resource", cpu);
    let scaled = YamlMap::new().set("apiVersion", "apps/v1").set("kind", "Deployment").set("name", &name);
    let mut spec = YamlMap::new()
        .set("scaleTargetRef", scaled)
        .set("minReplicas", replicas(workload).min(most))
        .set("maxReplicas", most);
    if workload.cpu.is_none() {
        spec = spec.note("A share of the requested processors: set `cpu` in [tool.ipo-oci.deploy].");
    }
    object("autoscaling/v2", "HorizontalPodAutoscaler", &name, labels(deployment, workload))
        .set("spec", spec.set("metrics", vec![metric]))
}

fn disruption_budget(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let spec = YamlMap::new()
        .set("maxUnavailable", 1)
        .set("selector", YamlMap::new().set("matchLabels", selector(deployment, workload)));
    object(
        "policy/v1",
        "PodDisruptionBudget",
        &object_name(deployment, workload),
        labels(deployment, workload),
    )
    .set("spec", spec)
}

fn ingress(deployment: &Deployment, workload: &Workload) -> YamlMap {
    let name = object_name(deployment, workload);
    let rule = |host: &String| {
        let service = YamlMap::new().set("name", &name).set("port", YamlMap::new().set("name", "http"));
        let path = YamlMap::new()
            .set("path", "/")
            .set("pathType", "Prefix")
            .set("backend", YamlMap::new().set("service", service));
        YamlMap::new().set("host", host).set("http", YamlMap::new().set("paths", vec![path]))
    };
    let tls = YamlMap::new()
        .set("hosts", workload.hosts.clone())
        .note("The certificate: made by cert-manager with an annotation of its issuer, or by hand.")
        .set("secretName", format!("{name}-tls"));
    let spec = YamlMap::new()
        .note("Decide: the class of the cluster's controller, unless it has a default. Clusters with a Gateway need none:")
        .note("set `gateway` in [tool.ipo-oci.deploy].")
        .set_disabled("ingressClassName", "nginx")
        .set("tls", vec![tls])
        .set("rules", workload.hosts.iter().map(rule).collect::<Vec<_>>());
    object("networking.k8s.io/v1", "Ingress", &name, labels(deployment, workload)).set("spec", spec)
}

/// Returns the route of the Gateway API, which is a stable API since its version 1.0.
fn http_route(deployment: &Deployment, workload: &Workload, gateway: &str) -> YamlMap {
    let name = object_name(deployment, workload);
    let (namespace, gateway) = gateway.split_once('/').map_or((None, gateway), |(n, g)| (Some(n), g));
    let mut parent = YamlMap::new().set("name", gateway);
    if let Some(namespace) = namespace {
        parent = parent
            .note("The listener of the Gateway has to allow routes of this namespace: `allowedRoutes`.")
            .set("namespace", namespace);
    }
    let backend = YamlMap::new().set("name", &name).set("port", SERVICE_PORT);
    let spec = YamlMap::new()
        .note("The Gateway has the certificates.")
        .set("parentRefs", vec![parent])
        .set("hostnames", workload.hosts.clone())
        .set("rules", vec![YamlMap::new().set("backendRefs", vec![backend])]);
    object("gateway.networking.k8s.io/v1", "HTTPRoute", &name, labels(deployment, workload)).set("spec", spec)
}

/// Returns the policies: no incoming connection but to the ports of services.
fn network_policies(deployment: &Deployment) -> Vec<KubernetesObject> {
    let all = YamlMap::new().set("app.kubernetes.io/name", &deployment.name);
    let name = format!("{}-closed", deployment.name);
    let spec = YamlMap::new()
        .set("podSelector", YamlMap::new().set("matchLabels", all.clone()))
        .note("Outgoing connections stay open: add Egress with the database and others to close them.")
        .set("policyTypes", ["Ingress"]);
    let closed = object("networking.k8s.io/v1", "NetworkPolicy", &name, all).set("spec", spec);
    let mut manifests = vec![KubernetesObject { file: format!("networkpolicy-{name}"), object: closed }];
    for workload in deployment.workloads.iter().filter(|workload| workload.port().is_some()) {
        let name = object_name(deployment, workload);
        let port = YamlMap::new().set("protocol", "TCP").set("port", "http");
        let rule = YamlMap::new()
            .note("Decide: `from` limits the clients, such as the namespace of the ingress controller.")
            .set("ports", vec![port]);
        let spec = YamlMap::new()
            .set("podSelector", YamlMap::new().set("matchLabels", selector(deployment, workload)))
            .set("policyTypes", ["Ingress"])
            .set("ingress", vec![rule]);
        let object = object("networking.k8s.io/v1", "NetworkPolicy", &name, labels(deployment, workload))
            .set("spec", spec);
        manifests.push(KubernetesObject { file: format!("networkpolicy-{name}"), object });
    }
    manifests
}
