//! A [`Plan`] as a summary, as text with every entry, and as JSON, for `--dry-run`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::launcher::launched;
use super::{AppendedLayer, Finding, Plan, PlannedBase, PlannedDistribution};
use crate::GENERATOR;
use crate::digest::Digest;
use crate::parallel::{cores, each};
use crate::plural::counted;
use crate::printable::name;
use crate::settings::human_size;
use crate::tree::{ContentError, Entry, Kind};

/// Version of the JSON format of plans, raised when a field is renamed or removed, but not when one
/// is added.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    // First: later builds look for the generator at the start of a file.
    generator: &'static str,
    schema: u32,
    plans: Vec<PlanDocument<'a>>,
}

#[derive(Serialize)]
struct PlanDocument<'a> {
    image: String,
    target: &'static str,
    platform: String,
    created: i64,
    disk_bytes: u64,
    process: ProcessDocument<'a>,
    base: Option<BaseDocument<'a>>,
    layers: Vec<LayerDocument<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    appended: Vec<AppendedDocument<'a>>,
    distributions: &'a [PlannedDistribution],
    excluded: &'a [String],
    service: &'a [Finding],
}

#[derive(Serialize)]
struct ProcessDocument<'a> {
    user: Option<String>,
    workdir: Option<String>,
    env: Vec<String>,
    entrypoint: &'a [String],
    cmd: &'a [String],
    port: Option<u16>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    exposed_ports: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<String>,
    stop_signal: Option<&'a str>,
    healthcheck: Option<HealthcheckDocument<'a>>,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct HealthcheckDocument<'a> {
    test: &'a [String],
    interval_seconds: f64,
    timeout_seconds: f64,
    start_period_seconds: f64,
    start_interval_seconds: f64,
    retries: u32,
}

#[derive(Serialize)]
struct BaseDocument<'a> {
    name: &'a str,
    digest: Digest,
    layers: Vec<BaseLayerDocument>,
}

#[derive(Serialize)]
struct BaseLayerDocument {
    digest: Digest,
    diff_id: Digest,
    disk_bytes: u64,
    transfer_bytes: u64,
    files: u64,
}

#[derive(Serialize)]
struct LayerDocument<'a> {
    name: &'a str,
    why: &'a str,
    disk_bytes: u64,
    entries: Vec<EntryDocument>,
}

#[derive(Serialize)]
struct AppendedDocument<'a> {
    name: &'a str,
    digest: Digest,
    diff_id: Digest,
    disk_bytes: u64,
    transfer_bytes: u64,
    files: u64,
}

#[derive(Serialize)]
struct EntryDocument {
    path: String,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    disk_bytes: u64,
    target: Option<String>,
    owner: String,
}

/// Renders plans as indented JSON with a trailing newline. Reads files that are rewritten, for their
/// sizes, and writes none.
pub fn to_json(plans: &[Plan]) -> Result<String, ContentError> {
    let plans = plans.iter().map(Plan::document).collect::<Result<_, _>>()?;
    let document = Document { generator: GENERATOR, schema: SCHEMA, plans };
    // Cannot fail: plain data with string keys.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    Ok(text)
}

impl Plan {
    /// Formats the configuration and a table of the layers with their exact sizes. Reads files that
    /// are rewritten, for their sizes, and writes none.
    pub fn summarize(&self) -> Result<String, ContentError> {
        let sizes = self.exact_sizes()?;
        let mut text = String::new();
        self.describe_process(&mut text);
        self.describe_base(&mut text);
        let mut rows = vec![["LAYER", "DISK", "ENTRIES", "REASON"].map(str::to_owned)];
        rows.extend(self.layers.iter().zip(&sizes).map(|(layer, sizes)| {
            let bytes = human_size(sizes.iter().sum());
            [name(&layer.name), bytes, layer.tree.len().to_string(), name(&layer.reason)]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (names, bytes, entries) = (width(0), width(1), width(2));
        text.push('\n');
        for [layer, disk, count, reason] in &rows {
            let _ = writeln!(text, "{layer:names$}  {disk:>bytes$}  {count:>entries$}  {reason}");
        }
        let included = counted(self.distributions.len() as u64, "distribution");
        let _ = match self.excluded.as_slice() {
            [] => writeln!(text, "\n{included}"),
            excluded => {
                writeln!(text, "\n{included}; installed but excluded: {}", name(&excluded.join(", ")))
            }
        };
        self.describe_appended(&mut text);
        self.describe_total(&mut text, &sizes);
        Ok(text)
    }

    /// Formats the plan: the configuration, the distributions with reasons, then each layer with
    /// its entries and their exact sizes. Reads files that are rewritten, for their sizes, and
    /// writes none.
    pub fn describe(&self) -> Result<String, ContentError> {
        let sizes = self.exact_sizes()?;
        let mut text = String::new();
        self.describe_process(&mut text);
        if !self.distributions.is_empty() {
            text.push_str("\ndistributions\n");
            for distribution in &self.distributions {
                let _ = writeln!(
                    text,
                    "  {} {}: {}",
                    name(&distribution.name),
                    name(&distribution.version),
                    name(&distribution.reason)
                );
            }
        }
        if !self.excluded.is_empty() {
            let _ = writeln!(text, "\ninstalled but excluded\n  {}", name(&self.excluded.join(", ")));
        }
        self.describe_base(&mut text);
        for (index, (layer, sizes)) in self.layers.iter().zip(&sizes).enumerate() {
            let _ = writeln!(
                text,
                "\nlayer {} {} ({}, {}): {}",
                index + 1,
                name(&layer.name),
                human_size(sizes.iter().sum()),
                counted(layer.tree.len() as u64, "entry"),
                name(&layer.reason)
            );
            for (entry, size) in layer.tree.iter().zip(sizes) {
                let _ = writeln!(text, "  {}", line(entry, *size));
            }
        }
        self.describe_appended(&mut text);
        self.describe_total(&mut text, &sizes);
        Ok(text)
    }

    fn document(&self) -> Result<PlanDocument<'_>, ContentError> {
        let sizes = self.exact_sizes()?;
        let process = &self.process;
        let seconds = |duration: std::time::Duration| duration.as_secs_f64();
        let healthcheck = process.healthcheck.as_ref().map(|check| HealthcheckDocument {
            test: &check.test,
            interval_seconds: seconds(check.interval),
            timeout_seconds: seconds(check.timeout),
            start_period_seconds: seconds(check.start_period),
            start_interval_seconds: seconds(check.start_interval),
            retries: check.retries,
        });
        Ok(PlanDocument {
            image: format!("{}:{}", self.name, self.tag),
            target: self.target.as_str(),
            platform: self.platform.to_string(),
            created: self.created,
            disk_bytes: self.disk_bytes(&sizes),
            process: ProcessDocument {
                user: process.user.map(|user| user.to_string()),
                workdir: process.workdir.as_ref().map(ToString::to_string),
                env: process.env.iter().map(|(key, value)| format!("{key}={value}")).collect(),
                entrypoint: &process.entrypoint,
                cmd: &process.cmd,
                port: process.port,
                exposed_ports: &process.exposed_ports,
                volumes: process.volumes.iter().map(ToString::to_string).collect(),
                stop_signal: process.stop_signal.as_deref(),
                healthcheck,
                labels: &process.labels,
            },
            base: self.base.as_ref().map(base_document),
            layers: self
                .layers
                .iter()
                .zip(&sizes)
                .map(|(layer, sizes)| LayerDocument {
                    name: &layer.name,
                    why: &layer.reason,
                    disk_bytes: sizes.iter().sum(),
                    entries: layer
                        .tree
                        .iter()
                        .zip(sizes)
                        .map(|(entry, size)| document(entry, *size))
                        .collect(),
                })
                .collect(),
            appended: self.appended.iter().map(appended_document).collect(),
            distributions: &self.distributions,
            excluded: &self.excluded,
            service: &self.service,
        })
    }

    /// Returns the sizes of all entries by layer. In parallel, since thousands of files are
    /// rewritten for them.
    fn exact_sizes(&self) -> Result<Vec<Vec<u64>>, ContentError> {
        let entries: Vec<&Entry> = self.layers.iter().flat_map(|layer| layer.tree.iter()).collect();
        let step = |(): &mut (), index: usize| entries.get(index).map_or(Ok(0), |entry| exact_size(entry));
        let mut sizes = each(entries.len(), cores(), || Ok(()), step)?.into_iter();
        Ok(self.layers.iter().map(|layer| sizes.by_ref().take(layer.tree.len()).collect()).collect())
    }

    /// Returns the bytes of all files, including the base's.
    fn disk_bytes(&self, sizes: &[Vec<u64>]) -> u64 {
        let base = self.base.as_ref().map_or(0, base_bytes);
        let appended: u64 = self.appended.iter().map(AppendedLayer::disk_bytes).sum();
        base + sizes.iter().flatten().sum::<u64>() + appended
    }

    fn describe_base(&self, text: &mut String) {
        let Some(base) = &self.base else { return };
        let _ = writeln!(
            text,
            "\nbase {}\n  {} ({} in {})",
            name(&base.name),
            base.digest,
            human_size(base_bytes(base)),
            counted(base.layers.len() as u64, "layer")
        );
    }

    fn describe_appended(&self, text: &mut String) {
        for layer in &self.appended {
            let _ = writeln!(
                text,
                "\nappended layer {}\n  {} ({} in {})",
                name(layer.name()),
                layer.layer().digest,
                human_size(layer.disk_bytes()),
                counted(layer.files(), "file")
            );
        }
    }

    fn describe_total(&self, text: &mut String, sizes: &[Vec<u64>]) {
        let layers =
            self.layers.len() + self.appended.len() + self.base.as_ref().map_or(0, |base| base.layers.len());
        let total = human_size(self.disk_bytes(sizes));
        let _ = writeln!(text, "\ntotal {total} in {}", counted(layers as u64, "layer"));
    }

    fn describe_process(&self, text: &mut String) {
        let process = &self.process;
        let _ = writeln!(
            text,
            "image {}:{} ({}, {})",
            name(&self.name),
            name(&self.tag),
            self.target,
            self.platform
        );
        if let Some(user) = process.user {
            let _ = writeln!(text, "  user        {user}");
        }
        if let Some(workdir) = &process.workdir {
            let _ = writeln!(text, "  workdir     {}", name(&workdir.to_string()));
        }
        let command: Vec<&String> = process.entrypoint.iter().chain(&process.cmd).collect();
        let command: Vec<String> = command.into_iter().cloned().collect();
        match command.get(1..).and_then(launched) {
            Some(command) => {
                let _ = writeln!(text, "  command     {command:?} (behind a launcher that sets the port)");
            }
            None => {
                let _ = writeln!(text, "  command     {command:?}");
            }
        }
        for finding in &self.service {
            let _ = writeln!(text, "  service     {}", name(&finding.to_string()));
        }
        if let Some(port) = process.port {
            let _ = writeln!(text, "  port        {port}");
        }
        for port in &process.exposed_ports {
            let _ = writeln!(text, "  exposes     {}", name(port));
        }
        for volume in &process.volumes {
            let _ = writeln!(text, "  volume      {}", name(&volume.to_string()));
        }
        if let Some(signal) = &process.stop_signal {
            let _ = writeln!(text, "  stop signal {}", name(signal));
        }
        match &process.healthcheck {
            Some(check) => {
                let _ = writeln!(
                    text,
                    "  health      every {:?}, {:?} at most, {} failures",
                    check.interval, check.timeout, check.retries
                );
            }
            None => text.push_str("  health      no check\n"),
        }
        for (key, value) in &process.env {
            let _ = writeln!(text, "  env         {}={}", name(key), name(value));
        }
        for (key, value) in &process.labels {
            let _ = writeln!(text, "  label       {}={}", name(key), name(value));
        }
    }
}

fn base_bytes(base: &PlannedBase) -> u64 {
    base.layers.iter().map(|layer| layer.disk_bytes).sum()
}

fn base_document(base: &PlannedBase) -> BaseDocument<'_> {
    let layers = base.layers.iter().map(|layer| BaseLayerDocument {
        digest: layer.digest,
        diff_id: layer.diff_id,
        disk_bytes: layer.disk_bytes,
        transfer_bytes: layer.transfer_bytes,
        files: layer.files,
    });
    BaseDocument { name: &base.name, digest: base.digest, layers: layers.collect() }
}

fn appended_document(appended: &AppendedLayer) -> AppendedDocument<'_> {
    AppendedDocument {
        name: appended.name(),
        digest: appended.layer().digest,
        diff_id: appended.layer().diff_id,
        disk_bytes: appended.disk_bytes(),
        transfer_bytes: appended.layer().size,
        files: appended.files(),
    }
}

fn document(entry: &Entry, disk_bytes: u64) -> EntryDocument {
    let (kind, target) = match &entry.kind {
        Kind::Directory => ("directory", None),
        Kind::File(_) => ("file", None),
        Kind::Symlink(target) => ("symlink", Some(target.clone())),
        Kind::HardLink(target) => ("hardlink", Some(target.to_string())),
    };
    EntryDocument {
        path: entry.path.to_string(),
        kind,
        mode: format!("{:04o}", entry.mode),
        uid: entry.uid,
        gid: entry.gid,
        disk_bytes,
        target,
        owner: entry.owner.to_string(),
    }
}

fn exact_size(entry: &Entry) -> Result<u64, ContentError> {
    match &entry.kind {
        Kind::File(content) => content.open().map(|open| open.size),
        _ => Ok(0),
    }
}

/// Formats an entry as `tar -tv` does: `-rwxr-xr-x 0:0 1234 /path`.
fn line(entry: &Entry, size: u64) -> String {
    let (kind, target) = match &entry.kind {
        Kind::Directory => ('d', String::new()),
        Kind::File(_) => ('-', String::new()),
        Kind::Symlink(target) => ('l', format!(" -> {}", name(target))),
        Kind::HardLink(target) => ('h', format!(" link to {}", name(&target.to_string()))),
    };
    let mut mode: String = (0..9)
        .rev()
        .map(|bit| if entry.mode >> bit & 1 == 1 { ['x', 'w', 'r'][bit % 3] } else { '-' })
        .collect();
    if entry.mode & 0o1000 != 0 {
        let last = if mode.pop() == Some('x') { 't' } else { 'T' };
        mode.push(last);
    }
    format!("{kind}{mode} {}:{} {size:>9} {}{target}", entry.uid, entry.gid, name(&entry.path.to_string()))
}
