//! A [`Plan`] as text, for `--dry-run`.

use std::fmt::Write as _;

use super::Plan;
use crate::parallel::{cores, each};
use crate::plural::counted;
use crate::printable::name;
use crate::settings::human_size;
use crate::tree::{ContentError, Entry, Kind};

impl Plan {
    /// Formats the plan: the configuration, the distributions with reasons, then each layer with
    /// its entries and their exact sizes. Reads files that are rewritten, for their sizes, and
    /// writes none.
    pub fn describe(&self) -> Result<String, ContentError> {
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
        let mut total = 0;
        if let Some(base) = &self.base {
            let disk_bytes: u64 = base.layers.iter().map(|layer| layer.disk_bytes).sum();
            total += disk_bytes;
            let _ = writeln!(
                text,
                "\nbase {}\n  {} ({} in {})",
                name(&base.name),
                base.digest,
                human_size(disk_bytes),
                counted(base.layers.len() as u64, "layer")
            );
        }
        let mut sizes = self.exact_sizes()?.into_iter();
        for (index, layer) in self.layers.iter().enumerate() {
            let mut entries = String::new();
            let mut bytes = 0;
            for entry in layer.tree.iter() {
                let size = sizes.next().unwrap_or_default();
                bytes += size;
                let _ = writeln!(entries, "  {}", line(entry, size));
            }
            total += bytes;
            let _ = writeln!(
                text,
                "\nlayer {} {} ({}, {}): {}\n{entries}",
                index + 1,
                name(&layer.name),
                human_size(bytes),
                if layer.tree.len() == 1 {
                    "1 entry".to_owned()
                } else {
                    format!("{} entries", layer.tree.len())
                },
                name(&layer.why)
            );
        }
        let layers = self.layers.len() + self.base.as_ref().map_or(0, |base| base.layers.len());
        let _ = writeln!(text, "\ntotal {} in {}", human_size(total), counted(layers as u64, "layer"));
        Ok(text)
    }

    /// Returns the sizes of all entries in the order of layers. In parallel, since thousands of
    /// files are rewritten for them.
    fn exact_sizes(&self) -> Result<Vec<u64>, ContentError> {
        let entries: Vec<&Entry> = self.layers.iter().flat_map(|layer| layer.tree.iter()).collect();
        let step = |(): &mut (), index: usize| entries.get(index).map_or(Ok(0), |entry| exact_size(entry));
        each(entries.len(), cores(), || Ok(()), step)
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
        let _ = writeln!(text, "  user        {}", name(&process.user.to_string()));
        let _ = writeln!(text, "  workdir     {}", name(&process.workdir.to_string()));
        let command: Vec<&String> = process.entrypoint.iter().chain(&process.cmd).collect();
        let _ = writeln!(text, "  command     {command:?}");
        if let Some(port) = process.port {
            let _ = writeln!(text, "  port        {port}");
        }
        let _ = writeln!(text, "  stop signal {}", name(&process.stop_signal));
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
