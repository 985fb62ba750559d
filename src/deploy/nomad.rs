//! Nomad: job specifications in HCL2 for the Docker driver, with Nomad's own services and variables.

use std::fmt::Write as _;

use super::document::{comment, one_line};
use super::health::Probe;
use super::workload::Workload;
use super::{DeployFile, Deployment, slug};
use crate::recipe::WEB;
use crate::settings::WorkloadKind;

/// Text of blocks with their depth.
struct Hcl {
    text: String,
    depth: usize,
}

impl Hcl {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{}{line}", "  ".repeat(self.depth));
    }

    fn note(&mut self, note: &str) {
        comment(&mut self.text, self.depth, note);
    }

    fn set(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {value}"));
    }

    fn block(&mut self, head: &str, content: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        content(self);
        self.depth -= 1;
        self.line("}");
    }
}

/// Writes the jobs: services and workers in one, every other process in its own.
pub(super) fn render(deployment: &Deployment) -> Vec<DeployFile> {
    let is_repeated = |kind| matches!(kind, WorkloadKind::Service | WorkloadKind::Worker);
    let (repeated, others): (Vec<&Workload>, Vec<&Workload>) =
        deployment.workloads.iter().partition(|workload| is_repeated(workload.kind));
    let mut files = Vec::new();
    if !repeated.is_empty() {
        files.push(file(&deployment.name, main_job(deployment, &repeated)));
    }
    for workload in others {
        let name = format!("{}-{}", deployment.name, slug(&workload.name));
        files.push(file(&name, batch_job(deployment, workload, &name)));
    }
    files
}

fn file(name: &str, text: String) -> DeployFile {
    DeployFile::new(format!("{name}.nomad.hcl"), text)
}

fn begin(deployment: &Deployment, workloads: &[&Workload], name: &str) -> Hcl {
    let mut hcl = Hcl { text: String::new(), depth: 0 };
    hcl.note("Written by ipo-oci deploy nomad. Not tested on Nomad itself. Apply:");
    hcl.note(&format!("  nomad job run {name}.nomad.hcl"));
    if workloads.iter().any(|workload| !workload.is_in_registry) {
        hcl.note("The image has no registry in its name: push it to one, with -t REGISTRY/NAME.");
    }
    if workloads.iter().any(|workload| workload.kind != WorkloadKind::Release) {
        for release in deployment.workloads.iter().filter(|workload| workload.kind == WorkloadKind::Release) {
            hcl.note(&format!(
                "Run the job {}-{} before, and wait for its end.",
                deployment.name,
                slug(&release.name)
            ));
        }
    }
    let mut names: Vec<&String> =
        workloads.iter().flat_map(|workload| workload.secrets.iter().chain(&workload.secret_files)).collect();
    names.sort();
    names.dedup();
    if !names.is_empty() {
        let names: Vec<String> = names.into_iter().map(|name| format!("{}=…", variable_key(name))).collect();
        hcl.note(&format!("  nomad var put nomad/jobs/{name} {}", names.join(" ")));
    }
    hcl
}

fn main_job(deployment: &Deployment, workloads: &[&Workload]) -> String {
    let mut hcl = begin(deployment, workloads, &deployment.name);
    hcl.block(&format!("job {}", quoted(&deployment.name)), |hcl| {
        hcl.set("type", "\"service\"");
        hcl.block("update", |hcl| {
            hcl.set("max_parallel", "1");
            hcl.set("auto_revert", "true");
        });
        for workload in workloads {
            hcl.block(&format!("group {}", quoted(&workload.name)), |hcl| group(hcl, deployment, workload));
        }
    });
    hcl.text
}

fn batch_job(deployment: &Deployment, workload: &Workload, name: &str) -> String {
    let mut hcl = begin(deployment, &[workload], name);
    hcl.block(&format!("job {}", quoted(name)), |hcl| {
        hcl.set("type", "\"batch\"");
        if let Some(schedule) = &workload.schedule {
            hcl.block("periodic", |hcl| {
                hcl.set("crons", &format!("[{}]", quoted(schedule)));
                hcl.set("time_zone", "\"UTC\"");
                hcl.set("prohibit_overlap", "true");
            });
        }
        hcl.block(&format!("group {}", quoted(&workload.name)), |hcl| {
            hcl.block("restart", |hcl| {
                hcl.set("attempts", "2");
                hcl.set("mode", "\"fail\"");
            });
            volumes(hcl, workload);
            task(hcl, deployment, workload, name);
        });
    });
    hcl.text
}

fn group(hcl: &mut Hcl, deployment: &Deployment, workload: &Workload) {
    let is_service = workload.kind == WorkloadKind::Service;
    let count = workload.replicas.unwrap_or(if is_service && workload.volumes.is_empty() { 2 } else { 1 });
    if let Some(most) = workload.max_replicas {
        hcl.note("The Nomad Autoscaler needs a policy here.");
        hcl.block("scaling", |hcl| {
            hcl.set("min", &count.min(most).to_string());
            hcl.set("max", &most.to_string());
        });
    }
    hcl.set("count", &count.to_string());
    if let Some(port) = workload.port() {
        hcl.block("network", |hcl| hcl.block("port \"http\"", |hcl| hcl.set("to", &port.to_string())));
        service(hcl, deployment, workload);
    }
    volumes(hcl, workload);
    task(hcl, deployment, workload, &deployment.name);
}

fn service(hcl: &mut Hcl, deployment: &Deployment, workload: &Workload) {
    if !workload.hosts.is_empty() {
        hcl.note(&format!("Decide: `tags` of the load balancer, for {}.", workload.hosts.join(", ")));
    }
    let name = match workload.name.as_str() {
        WEB => deployment.name.clone(),
        name => format!("{}-{}", deployment.name, slug(name)),
    };
    hcl.block("service", |hcl| {
        hcl.set("name", &quoted(&name));
        hcl.set("provider", "\"nomad\"");
        hcl.set("port", "\"http\"");
        let health = workload.facts.health.as_ref();
        let request = health.and_then(|health| match &health.probe {
            Probe::Http(http) if !health.has_secret() => Some(http),
            _ => None,
        });
        if request.is_none() {
            hcl.note(match health {
                Some(_) => "The health check of the image is no plain request, which Nomad could make.",
                None => "The image has no health check.",
            });
        }
        let seconds = |time: std::time::Duration| quoted(&format!("{}s", time.as_secs().max(1)));
        hcl.block("check", |hcl| {
            hcl.set("type", if request.is_some() { "\"http\"" } else { "\"tcp\"" });
            if let Some(http) = request {
                hcl.set("path", &quoted(&http.path));
                if http.is_tls {
                    hcl.set("protocol", "\"https\"");
                    hcl.set("tls_skip_verify", "true");
                }
            }
            hcl.set(
                "interval",
                &health.map_or("\"10s\"".to_owned(), |health| seconds(health.check.interval)),
            );
            hcl.set("timeout", &health.map_or("\"5s\"".to_owned(), |health| seconds(health.check.timeout)));
            if let Some(http) = request {
                hcl.block("header", |hcl| {
                    hcl.set("Host", &format!("[{}]", quoted(&http.host)));
                    for (name, value) in &http.headers {
                        hcl.set(&quoted(name), &format!("[{}]", quoted(value)));
                    }
                });
            }
            let retries = health.map_or(3, |health| health.check.retries.max(3));
            hcl.block("check_restart", |hcl| {
                hcl.set("limit", &retries.to_string());
                hcl.set("grace", "\"60s\"");
            });
        });
    });
}

fn volumes(hcl: &mut Hcl, workload: &Workload) {
    for path in &workload.volumes {
        hcl.note("Decide: a host volume of the clients, or one of a CSI plugin.");
        hcl.block(&format!("volume {}", quoted(&slug(path))), |hcl| {
            hcl.set("type", "\"host\"");
            hcl.set("source", &quoted(&slug(path)));
        });
    }
}

fn task(hcl: &mut Hcl, deployment: &Deployment, workload: &Workload, job: &str) {
    let facts = &workload.facts;
    hcl.block(&format!("task {}", quoted(&workload.name)), |hcl| {
        hcl.set("driver", "\"docker\"");
        if let Some(signal) = &facts.stop_signal {
            hcl.set("kill_signal", &quoted(signal));
        }
        hcl.note("The clients allow 30 s, unless max_kill_timeout is larger.");
        hcl.set("kill_timeout", &quoted(&format!("{}s", workload.stop_seconds)));
        hcl.block("config", |hcl| config(hcl, workload));
        if !workload.env.is_empty() {
            hcl.block("env", |hcl| {
                for (name, value) in &workload.env {
                    hcl.set(name, &quoted(value));
                }
            });
        }
        secrets(hcl, workload, job);
        for path in &workload.volumes {
            hcl.block("volume_mount", |hcl| {
                hcl.set("volume", &quoted(&slug(path)));
                hcl.set("destination", &quoted(path));
            });
        }
        hcl.block("resources", |hcl| {
            if workload.cpu.is_none() || workload.memory.is_none() {
                hcl.note(&format!(
                    "Decide: `cpu` and `memory` of {} in [tool.ipo-oci.deploy].",
                    deployment.name
                ));
            }
            hcl.note("In MHz: a processor is taken for 2000.");
            hcl.set("cpu", &workload.cpu.map_or(200, |cpu| cpu.0.saturating_mul(2)).to_string());
            let mebibytes = workload.memory.map_or(256, |memory| memory.0.div_ceil(1 << 20));
            hcl.set("memory", &mebibytes.to_string());
        });
    });
}

fn config(hcl: &mut Hcl, workload: &Workload) {
    if let Some(tag) = &workload.tag {
        hcl.note(tag);
    }
    hcl.set("image", &quoted(&workload.image));
    if workload.port().is_some() {
        hcl.set("ports", "[\"http\"]");
    }
    hcl.set("cap_drop", "[\"all\"]");
    hcl.set("security_opt", "[\"no-new-privileges\"]");
    if workload.facts.is_own {
        hcl.set("readonly_rootfs", "true");
        hcl.block("mount", |hcl| {
            hcl.set("type", "\"tmpfs\"");
            hcl.set("target", "\"/tmp\"");
        });
    } else {
        hcl.note("Not built by ipo-oci, so the root file system stays writable.");
        hcl.note("readonly_rootfs = true");
    }
    let files: Vec<String> = workload
        .secret_files
        .iter()
        .map(|name| quoted(&format!("secrets/{name}:/run/secrets/{name}:ro")))
        .collect();
    if !files.is_empty() {
        hcl.set("volumes", &format!("[{}]", files.join(", ")));
    }
}

/// Adds templates that read Nomad's variables.
fn secrets(hcl: &mut Hcl, workload: &Workload, job: &str) {
    let reference = |name: &str| {
        format!("{{{{ with nomadVar \"nomad/jobs/{job}\" }}}}{{{{ .{} }}}}{{{{ end }}}}", variable_key(name))
    };
    if !workload.secrets.is_empty() {
        hcl.block("template", |hcl| {
            let lines: Vec<String> =
                workload.secrets.iter().map(|name| format!("{name}={}", reference(name))).collect();
            hcl.set("data", &quoted(&format!("{}\n", lines.join("\n"))));
            hcl.set("destination", "\"secrets/variables.env\"");
            hcl.set("env", "true");
        });
    }
    for name in &workload.secret_files {
        hcl.block("template", |hcl| {
            hcl.set("data", &quoted(&reference(name)));
            hcl.set("destination", &quoted(&format!("secrets/{name}")));
        });
    }
}

/// Returns the key of a variable of Nomad: letters, digits and underscores.
fn variable_key(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Returns a quoted string of HCL2, whose templates are escaped.
fn quoted(text: &str) -> String {
    let text = text.replace("${", "$${").replace("%{", "%%{");
    one_line(&serde_json::Value::from(text).to_string())
}
