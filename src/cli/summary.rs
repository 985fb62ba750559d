//! The closing summary of a build: reused and written layers, duration, and next commands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use ipo_oci::builder::{BuiltSet, LayerOrigin};
use ipo_oci::reference::{Place, Reference, Transport};
use ipo_oci::store::Stored;

/// The most written layers listed by name.
const NAMED: usize = 3;

/// The closing summary of a build.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    images: Vec<String>,
    next: Vec<(&'static str, String)>,
}

impl Summary {
    /// Adds the images of one target.
    pub(crate) fn add(&mut self, built: &BuiltSet) {
        let Some(first) = built.images().next() else { return };
        let layers = built.images().flat_map(|image| {
            let names = image.report.layers.iter().map(|layer| layer.name.as_str());
            image.origins.iter().copied().zip(names)
        });
        self.images.push(format!("{}: {}", first.name, layer_counts(layers)));
    }

    /// Adds the next commands for the image of `built` stored at `destination`. Only the first of
    /// several images is used.
    pub(crate) fn stored(&mut self, built: &BuiltSet, destination: &Reference, stored: &Stored) {
        let Some(first) = built.images().next().filter(|_| self.next.is_empty()) else { return };
        let name = stored.name.to_string();
        let source = word(&stored.reference);
        let remote = if has_registry(&name) { name.clone() } else { format!("REGISTRY/{name}") };
        let push =
            |source: &str| ("push", format!("ipo-oci copy {source} {}", word(&format!("docker://{remote}"))));
        let run = |source: &str| ("run", format!("ipo-oci run {source}"));
        let run_in_engine = |name: &str| {
            let port = first.port.map(|port| format!("--publish {port}:{port} ")).unwrap_or_default();
            ("run", format!("docker run --rm {port}{}", word(name)))
        };
        self.next = match (destination.transport, &destination.place) {
            (Transport::Oci, _) => {
                let engine = word(&format!("docker-daemon:{name}"));
                vec![run(&source), ("load", format!("ipo-oci copy {source} {engine}")), push(&source)]
            }
            (_, Place::Standard) => Vec::new(),
            (Transport::OciArchive | Transport::DockerArchive, Place::Path(file)) => {
                let file = file.to_string_lossy();
                let source = word(&format!("{}:{file}", destination.transport.as_str()));
                vec![run(&source), ("load", format!("docker load --input {}", word(&file))), push(&source)]
            }
            (Transport::DockerDaemon | Transport::Registry, _) => {
                let reference = stored.reference.as_str();
                let name =
                    ["docker-daemon:", "docker://"].iter().find_map(|start| reference.strip_prefix(start));
                vec![run_in_engine(name.unwrap_or(reference))]
            }
            _ => Vec::new(),
        };
    }

    /// Renders the text with a trailing newline; `took` is the time since the process began.
    pub(crate) fn render(&self, took: Duration) -> String {
        let mut text = String::new();
        for (number, image) in self.images.iter().enumerate() {
            let last = number + 1 == self.images.len();
            let after = if last { format!("; {}", seconds(took)) } else { String::new() };
            let _ = writeln!(text, "{image}{after}");
        }
        for (what, command) in &self.next {
            let _ = writeln!(text, "  {:<6}{command}", format!("{what}:"));
        }
        text
    }
}

/// Formats `6 layers reused, 1 made (source)`.
fn layer_counts<'a>(layers: impl Iterator<Item = (LayerOrigin, &'a str)>) -> String {
    let mut by_origin: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (origin, name) in layers {
        let what = match origin {
            LayerOrigin::Base => "of the base",
            LayerOrigin::Cache => "reused",
            LayerOrigin::Remote => "fetched",
            LayerOrigin::Appended => "appended",
            _ => "made",
        };
        by_origin.entry(what).or_default().push(name);
    }
    let mut parts = Vec::new();
    for what in ["of the base", "reused", "fetched", "made", "appended"] {
        let Some(names) = by_origin.remove(what) else { continue };
        let noun = match (parts.is_empty(), names.len()) {
            (false, _) => "",
            (_, 1) => "layer ",
            _ => "layers ",
        };
        let named = what == "made" && names.len() <= NAMED && !parts.is_empty();
        let named = if named { format!(" ({})", names.join(", ")) } else { String::new() };
        parts.push(format!("{} {noun}{what}{named}", names.len()));
    }
    parts.join(", ")
}

fn seconds(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{} min {} s", took.as_secs() / 60, took.as_secs() % 60)
    }
}

/// Returns whether a name begins with a registry, by Docker's rules.
fn has_registry(name: &str) -> bool {
    let host = name.split_once('/').map_or("", |(host, _)| host);
    host.contains(['.', ':']) || host == "localhost"
}

/// Quotes a word for a shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.-_:=,+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_layers_by_origin() {
        use LayerOrigin::{Base, Cache, Remote, Written};
        for (layers, said) in [
            (vec![(Written, "system")], "1 layer made"),
            (vec![(Written, "system"), (Written, "source")], "2 layers made"),
            (vec![(Cache, "system"), (Written, "source")], "1 layer reused, 1 made (source)"),
            (vec![(Cache, "a"), (Cache, "b")], "2 layers reused"),
            (
                vec![(Base, "base 1"), (Base, "base 2"), (Cache, "a"), (Remote, "b"), (Written, "c")],
                "2 layers of the base, 1 reused, 1 fetched, 1 made (c)",
            ),
        ] {
            assert_eq!(layer_counts(layers.into_iter()), said);
        }
    }

    #[test]
    fn formats_durations() {
        let said = [0.84, 9.9, 35.2, 125.0].map(|took| seconds(Duration::from_secs_f64(took)));
        assert_eq!(said, ["0.8 s", "9.9 s", "35 s", "2 min 5 s"]);
    }

    #[test]
    fn quotes_shell_words() {
        assert_eq!(word("oci:dist/image:latest"), "oci:dist/image:latest");
        assert_eq!(word("my image.tar"), "'my image.tar'");
        assert_eq!(word("it's"), "'it'\\''s'");
    }

    #[test]
    fn recognizes_registry_hosts() {
        for (name, known) in [
            ("hello:latest", false),
            ("team/hello:1", false),
            ("ghcr.io/team/hello:1", true),
            ("localhost/x", true),
        ] {
            assert_eq!(has_registry(name), known, "{name}");
        }
    }
}
