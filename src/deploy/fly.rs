//! Fly.io: a `fly.toml` for each service and worker.
//!
//! An app of Fly has one image, and starts its processes by other arguments of it. The processes of a project have images
//! that differ in the whole command, so each is an app of its own.

use std::fmt::Write as _;

use super::document::{comment, one_line};
use super::health::Probe;
use super::workload::Workload;
use super::{DeployError, DeployFile, Deployment, slug};
use crate::recipe::WEB;
use crate::settings::WorkloadKind;

/// Writes the files.
pub(super) fn render(deployment: &Deployment) -> Result<Vec<DeployFile>, DeployError> {
    let is_app = |workload: &&Workload| matches!(workload.kind, WorkloadKind::Service | WorkloadKind::Worker);
    let apps: Vec<&Workload> = deployment.workloads.iter().filter(is_app).collect();
    if apps.is_empty() {
        return Err(DeployError::Unsupported {
            subject: deployment.name.clone(),
            reason: "an app of Fly needs a service or a worker".to_owned(),
            help: "select web or a worker with --process",
        });
    }
    let file = |workload: &&Workload| {
        let name = if workload.name == WEB {
            "fly.toml".to_owned()
        } else {
            format!("fly.{}.toml", slug(&workload.name))
        };
        DeployFile::new(name, app(deployment, workload))
    };
    Ok(apps.iter().map(file).collect())
}

fn app(deployment: &Deployment, workload: &Workload) -> String {
    let is_web = workload.name == WEB;
    let name = if is_web {
        deployment.name.clone()
    } else {
        format!("{}-{}", deployment.name, slug(&workload.name))
    };
    let file = if is_web { String::new() } else { format!(" --config fly.{}.toml", slug(&workload.name)) };
    let mut text = String::new();
    let mut note = |line: &str| comment(&mut text, 0, line);
    note("Written by ipo-oci deploy fly. Not tested on Fly itself. Apply:");
    note(&format!("  fly deploy{file}"));
    if !workload.is_in_registry {
        note(
            "The image has no registry in its name: push it to registry.fly.io or another, with -t REGISTRY/NAME.",
        );
    }
    if is_web {
        for other in &deployment.workloads {
            match (other.kind, &other.schedule) {
                (WorkloadKind::Release, _) => {
                    note(
                        "A release_command would start this image with other arguments. Run the image of the release before:",
                    );
                    note(&format!("  fly machine run {} --app {name} --rm", other.image));
                }
                (WorkloadKind::Cron, Some(schedule)) => {
                    note(&format!(
                        "{} ({schedule}): Fly knows hourly, daily, weekly and monthly:",
                        other.name
                    ));
                    note(&format!("  fly machine run {} --app {name} --schedule daily", other.image));
                }
                _ => {}
            }
        }
    }
    for secret in &workload.secrets {
        note(&format!("  fly secrets set{file} {secret}=…"));
    }
    for secret in &workload.secret_files {
        note(&format!("  fly secrets set{file} {}=\"$(base64 < FILE)\"", secret_variable(secret)));
    }
    for host in &workload.hosts {
        note(&format!("  fly certs add {host}"));
    }
    set(&mut text, "app", &quoted(&name));
    comment(&mut text, 0, "Decide: the region.");
    let _ = writeln!(text, "# primary_region = \"ams\"");
    set(&mut text, "kill_signal", &quoted(workload.facts.stop_signal.as_deref().unwrap_or("SIGTERM")));
    set(&mut text, "kill_timeout", &quoted(&format!("{}s", workload.stop_seconds)));
    let _ = writeln!(text, "\n[build]");
    if let Some(tag) = &workload.tag {
        comment(&mut text, 0, tag);
    }
    set(&mut text, "image", &quoted(&workload.image));
    if !workload.env.is_empty() {
        let _ = writeln!(text, "\n[env]");
        for (name, value) in &workload.env {
            set(&mut text, name, &quoted(value));
        }
    }
    service(&mut text, workload);
    mounts(&mut text, workload);
    machine(&mut text, workload);
    text
}

fn service(text: &mut String, workload: &Workload) {
    let Some(port) = workload.port() else { return };
    let _ = writeln!(text, "\n[http_service]");
    set(text, "internal_port", &port.to_string());
    set(text, "force_https", "true");
    comment(text, 0, "Decide: \"off\" keeps idle machines.");
    set(text, "auto_stop_machines", "\"stop\"");
    set(text, "auto_start_machines", "true");
    set(text, "min_machines_running", &workload.replicas.unwrap_or(1).to_string());
    let Some(health) = &workload.facts.health else {
        comment(text, 0, "The image has no health check.");
        return;
    };
    let Probe::Http(http) = &health.probe else {
        comment(text, 0, "The health check of the image is no plain request, which Fly could make.");
        return;
    };
    if health.has_secret() {
        comment(
            text,
            0,
            "The health check of the image seems to contain a secret, and is not repeated here.",
        );
        return;
    }
    let _ = writeln!(text, "\n[[http_service.checks]]");
    set(text, "method", "\"GET\"");
    set(text, "path", &quoted(&http.path));
    if http.is_tls {
        set(text, "protocol", "\"https\"");
    }
    set(text, "interval", &quoted(&format!("{}s", health.check.interval.as_secs().max(1))));
    set(text, "timeout", &quoted(&format!("{}s", health.check.timeout.as_secs().max(1))));
    set(text, "grace_period", &quoted(&format!("{}s", health.check.start_period.as_secs().max(1))));
    let _ = writeln!(text, "\n[http_service.checks.headers]");
    set(text, "Host", &quoted(&http.host));
    for (name, value) in &http.headers {
        set(text, name, &quoted(value));
    }
}

fn mounts(text: &mut String, workload: &Workload) {
    for (number, path) in workload.volumes.iter().enumerate() {
        let _ = writeln!(text);
        if number == 1 {
            comment(text, 0, "A machine of Fly has one volume: join the directories, or use a store.");
        }
        let prefix = if number > 0 { "# " } else { "" };
        let _ = writeln!(text, "{prefix}[[mounts]]");
        let _ = writeln!(text, "{prefix}source = {}", quoted(&slug(path).replace('-', "_")));
        let _ = writeln!(text, "{prefix}destination = {}", quoted(path));
    }
    for name in &workload.secret_files {
        let _ = writeln!(text, "\n[[files]]");
        set(text, "guest_path", &quoted(&format!("/run/secrets/{name}")));
        set(text, "secret_name", &quoted(&secret_variable(name)));
    }
}

fn machine(text: &mut String, workload: &Workload) {
    let _ = writeln!(text, "\n[[restart]]");
    set(text, "policy", "\"always\"");
    let _ = writeln!(text, "\n[[vm]]");
    if workload.cpu.is_none() || workload.memory.is_none() {
        comment(text, 0, "Decide: `cpu` and `memory` in [tool.ipo-oci.deploy], measured under load.");
    }
    // Shared machines have 256 MB to 2 GB a processor, in steps of 256.
    let mebibytes =
        workload.memory.map_or(256, |memory| memory.0.div_ceil(1 << 20)).div_ceil(256).max(1) * 256;
    let processors = workload.cpu.map_or(1, |cpu| cpu.0.div_ceil(1000));
    set(text, "memory", &quoted(&format!("{mebibytes}mb")));
    set(text, "cpu_kind", "\"shared\"");
    set(text, "cpus", &processors.next_power_of_two().to_string());
}

fn secret_variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn set(text: &mut String, key: &str, value: &str) {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let key = if is_bare { key.to_owned() } else { quoted(key) };
    let _ = writeln!(text, "{key} = {}", one_line(value));
}

/// Returns a basic string of TOML, which has JSON's escapes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
