//! [`Inspection`]: describes an image from its manifest and configuration, as text and as JSON.
//!
//! The configuration is read as lenient JSON: missing fields and fields of another type are
//! omitted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::digest::Digest;
use crate::image::{Artifact, Format, Image, ImageError};
use crate::plan::launcher::launched;
use crate::platform::Platform;
use crate::plural::counted;
use crate::printable;
use crate::settings::human_size;

/// Revision of the JSON format.
const SCHEMA: u32 = 1;
/// The most characters shown of a command's word, which is also cut at its first line break.
const WORD: usize = 60;
/// The most characters shown of a history line.
const HISTORY: usize = 100;

/// The description of a reference's target.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Revision of the JSON format.
    pub schema: u32,
    /// The reference as given.
    pub reference: String,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Media type of the manifest or index.
    pub media_type: String,
    /// The images of an index, or the single manifest.
    pub images: Vec<ManifestSummary>,
    /// The selected image; `None` if none matches this machine and no platform was requested.
    pub image: Option<ImageDetails>,
}

/// A manifest of an index.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ManifestSummary {
    /// The platform, if given.
    pub platform: Option<Platform>,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Size of manifest, layers and configuration in bytes.
    pub transfer_bytes: u64,
    /// The type of the manifest.
    pub kind: ManifestKind,
}

/// The type of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ManifestKind {
    /// An image.
    Image,
    /// An attestation or another artifact.
    Other,
}

/// The properties of an image.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ImageDetails {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the configuration, Docker's image ID.
    pub config_digest: Digest,
    /// The platform.
    pub platform: Platform,
    /// The family of media types: `oci` or `docker`.
    pub format: &'static str,
    /// Creation time as recorded.
    pub created: Option<String>,
    /// User of the process.
    pub user: Option<String>,
    /// Working directory of the process.
    pub working_dir: Option<String>,
    /// The entry point.
    pub entrypoint: Vec<String>,
    /// The arguments.
    pub cmd: Vec<String>,
    /// Environment variables.
    pub env: Vec<String>,
    /// Exposed ports: `8000/tcp`.
    pub exposed_ports: Vec<String>,
    /// Volumes.
    pub volumes: Vec<String>,
    /// The stop signal.
    pub stop_signal: Option<String>,
    /// Docker's health check.
    pub healthcheck: Option<HealthcheckDetails>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Size of all blobs and the manifest in bytes.
    pub transfer_bytes: u64,
    /// Layers, lowest first.
    pub layers: Vec<LayerDetails>,
}

/// A health check, with times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HealthcheckDetails {
    /// `CMD` and a command, `CMD-SHELL` and a shell command line, or `NONE`.
    pub test: Vec<String>,
    /// Time between checks.
    pub interval: Option<f64>,
    /// Time limit of a check.
    pub timeout: Option<f64>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<f64>,
    /// Time between checks in the start period.
    pub start_interval: Option<f64>,
    /// Consecutive failures that make the container unhealthy.
    pub retries: Option<u64>,
}

/// The properties of a layer.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LayerDetails {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Size of the blob in bytes.
    pub transfer_bytes: u64,
    /// Media type of the blob.
    pub media_type: String,
    /// The command in the layer's history line.
    pub created_by: Option<String>,
}

impl Inspection {
    /// Describes `artifact`, which was read from `reference`. Of an index, the image for `platform`
    /// is described, or the one for this program's platform. Only configurations are read.
    ///
    /// # Errors
    /// Fails if there is no image for the requested platform, or a configuration is not available.
    pub fn of(reference: &str, artifact: &Artifact, platform: Option<&Platform>) -> Result<Self, ImageError> {
        let chosen = match platform {
            Some(wanted) => Some(artifact.for_platform(wanted)?),
            None => artifact.for_platform(&Platform::of_this_program()).ok(),
        };
        let image = chosen.filter(|image| image.is_image()).map(ImageDetails::of).transpose()?;
        if let (Some(wanted), Some(image)) = (platform, &image)
            && !wanted.runs(&image.platform)
        {
            return Err(ImageError::Platform { wanted: wanted.clone(), there: vec![image.platform.clone()] });
        }
        let own = |listed: &Artifact| {
            let platform = listed.descriptor.platform.clone();
            platform.or_else(|| {
                image.as_ref().filter(|_| !artifact.is_index()).map(|image| image.platform.clone())
            })
        };
        let images = artifact.images().into_iter().map(|listed| ManifestSummary {
            platform: own(listed),
            digest: listed.digest(),
            transfer_bytes: transfer_bytes(listed),
            kind: if listed.is_image() { ManifestKind::Image } else { ManifestKind::Other },
        });
        Ok(Self {
            schema: SCHEMA,
            reference: reference.to_owned(),
            digest: artifact.digest(),
            media_type: artifact.descriptor.media_type.clone(),
            images: images.collect(),
            image,
        })
    }

    /// Renders JSON with a trailing newline.
    pub fn to_json(&self) -> String {
        match serde_json::to_value(self) {
            Ok(value) => format!("{value:#}\n"),
            Err(_) => String::new(),
        }
    }

    /// Renders text with a trailing newline.
    pub fn render(&self) -> String {
        let mut text = format!("{}\n", printable::name(&self.reference));
        line(&mut text, "Digest", &self.digest.to_string());
        line(&mut text, "Type", &self.media_type);
        let index = self.images.iter().any(|listed| listed.digest != self.digest);
        let images = self.images.iter().filter(|listed| index && listed.kind == ManifestKind::Image);
        for (number, listed) in images.enumerate() {
            let platform = listed.platform.as_ref().map_or_else(|| "unknown".to_owned(), Platform::to_string);
            let digest = listed.digest;
            let size = human_size(listed.transfer_bytes);
            let what = if number == 0 { "Platforms" } else { "" };
            line(&mut text, what, &format!("{platform}  {digest}  {size}"));
        }
        let others = self.images.iter().filter(|listed| listed.kind == ManifestKind::Other).count();
        if others > 0 {
            let what = if others == 1 {
                "1 manifest without an image".to_owned()
            } else {
                format!("{others} manifests without an image")
            };
            line(&mut text, "Others", &what);
        }
        if let Some(image) = &self.image {
            if index {
                text.push('\n');
            }
            image.render(&mut text, index);
        }
        text
    }
}

fn transfer_bytes(manifest: &Artifact) -> u64 {
    manifest
        .blobs
        .iter()
        .map(|(descriptor, _)| descriptor.size)
        .fold(manifest.bytes.len() as u64, u64::saturating_add)
}

impl ImageDetails {
    fn of(artifact: &Artifact) -> Result<Self, ImageError> {
        let image = Image::from_artifact(artifact)?;
        let json: Value = serde_json::from_slice(&image.config)?;
        let config = json.get("config").unwrap_or(&Value::Null);
        let text = |value: &Value, key: &str| {
            value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let keys = |key: &str| {
            let object = config.get(key).and_then(Value::as_object);
            object.map(|object| object.keys().cloned().collect()).unwrap_or_default()
        };
        let labels = config.get("Labels").and_then(Value::as_object).into_iter().flatten();
        let history = json.get("history").and_then(Value::as_array).into_iter().flatten();
        let mut made = history
            .filter(|entry| entry.get("empty_layer").and_then(Value::as_bool) != Some(true))
            .map(|entry| text(entry, "created_by"));
        let media_types = artifact.blobs.iter().skip(1).map(|(layer, _)| layer.media_type.clone());
        let layers = image.layers.iter().zip(media_types).map(|(layer, media_type)| LayerDetails {
            digest: layer.digest,
            diff_id: layer.diff_id,
            transfer_bytes: layer.size,
            media_type,
            created_by: made.next().flatten(),
        });
        Ok(Self {
            digest: image.digest(),
            config_digest: image.config_digest(),
            format: match image.format {
                Format::Oci => "oci",
                Format::Docker => "docker",
            },
            created: text(&json, "created"),
            user: text(config, "User"),
            working_dir: text(config, "WorkingDir"),
            entrypoint: strings(config.get("Entrypoint")),
            cmd: strings(config.get("Cmd")),
            env: strings(config.get("Env")),
            exposed_ports: keys("ExposedPorts"),
            volumes: keys("Volumes"),
            stop_signal: text(config, "StopSignal"),
            healthcheck: config
                .get("Healthcheck")
                .filter(|check| check.is_object())
                .map(HealthcheckDetails::of),
            labels: labels
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            transfer_bytes: transfer_bytes(artifact),
            layers: layers.collect(),
            platform: image.platform,
        })
    }

    fn render(&self, text: &mut String, of_an_index: bool) {
        line(text, "Platform", &self.platform.to_string());
        if of_an_index {
            line(text, "Manifest", &self.digest.to_string());
        }
        line(text, "Config", &self.config_digest.to_string());
        for (what, value) in [
            ("Created", &self.created),
            ("User", &self.user),
            ("Directory", &self.working_dir),
            ("Stop signal", &self.stop_signal),
        ] {
            if let Some(value) = value {
                line(text, what, value);
            }
        }
        for (what, command) in [("Entrypoint", &self.entrypoint), ("Command", &self.cmd)] {
            match command.get(1..).and_then(launched) {
                Some(command) => line(text, what, &format!("{} (behind a launcher)", words(command))),
                None if command.is_empty() => {}
                None => line(text, what, &words(command)),
            }
        }
        lines(text, "Ports", &self.exposed_ports);
        lines(text, "Volumes", &self.volumes);
        if let Some(check) = &self.healthcheck {
            line(text, "Health check", &words(&check.test));
            line(text, "", &check.times());
        }
        lines(text, "Environment", &self.env);
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines(text, "Labels", &labels);
        let layers = format!("{} of {}", self.layers.len(), human_size(self.transfer_bytes));
        line(text, "Layers", &layers);
        for layer in &self.layers {
            let by = layer.created_by.as_deref().unwrap_or_default();
            let by: String = printable::name(by).chars().take(HISTORY).collect();
            let digest: String = layer.digest.to_string().chars().take(19).collect();
            let row = format!("  {digest}  {:>9}  {by}", human_size(layer.transfer_bytes));
            let _ = writeln!(text, "{}", row.trim_end());
        }
    }
}

impl HealthcheckDetails {
    fn of(json: &Value) -> Self {
        let seconds = |key: &str| {
            let nanoseconds = json.get(key).and_then(Value::as_f64)?;
            (nanoseconds > 0.0).then_some(nanoseconds / 1e9)
        };
        Self {
            test: strings(json.get("Test")),
            interval: seconds("Interval"),
            timeout: seconds("Timeout"),
            start_period: seconds("StartPeriod"),
            start_interval: seconds("StartInterval"),
            retries: json.get("Retries").and_then(Value::as_u64).filter(|retries| *retries > 0),
        }
    }

    /// Formats the times, with Docker's defaults for missing ones.
    fn times(&self) -> String {
        let mut parts = vec![
            format!("every {} s", self.interval.unwrap_or(30.0)),
            format!("within {} s", self.timeout.unwrap_or(30.0)),
            format!("unhealthy after {}", counted(self.retries.unwrap_or(3), "failure")),
        ];
        if let Some(period) = self.start_period {
            let interval = self.start_interval.map_or_else(String::new, |every| format!(", every {every} s"));
            parts.push(format!("{period} s to start{interval}"));
        }
        parts.join(", ")
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Formats a command in shell syntax with long words cut: an inline program would fill the screen.
fn words(command: &[String]) -> String {
    let mut cut = 0;
    let short = command.iter().map(|word| {
        let line = word.lines().next().unwrap_or_default();
        let short: String = line.chars().take(WORD).collect();
        if short.len() == word.len() {
            return word.clone();
        }
        cut += 1;
        format!("{short}…")
    });
    let mut text = quoted(&short.collect::<Vec<_>>());
    if cut > 0 {
        text.push_str("  (cut; all of it with --json)");
    }
    text
}

fn quoted(command: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':' | '=' | ',' | '+'))
    };
    let quote = |word: &String| format!("'{}'", word.replace('\'', "'\\''"));
    let quoted = command.iter().map(|word| if plain(word) { word.clone() } else { quote(word) });
    quoted.collect::<Vec<_>>().join(" ")
}

fn line(text: &mut String, what: &str, value: &str) {
    let _ = writeln!(text, "  {what:<13}{}", printable::name(value));
}

fn lines(text: &mut String, what: &str, values: &[String]) {
    for (number, value) in values.iter().enumerate() {
        line(text, if number == 0 { what } else { "" }, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Blob, Encoding, Healthcheck, HistoryLine, ImageConfig, Layer, Process};
    use crate::settings::User;
    use crate::tree::ImagePath;
    use std::time::Duration;

    fn artifact(architecture: &str) -> Artifact {
        let layer = Layer {
            digest: Digest::of(b"blob"),
            size: 4096,
            diff_id: Digest::of(b"tar"),
            encoding: Encoding::Gzip,
            blob: Blob::Memory(b"blob".to_vec().into()),
        };
        let config = ImageConfig {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            created: crate::tree::CONSTANT_TIME,
            process: Process {
                user: Some(User { uid: 1000, gid: 1000 }),
                workdir: ImagePath::new("app").ok(),
                env: vec![("A".to_owned(), "\x1b[2J".to_owned())],
                entrypoint: vec!["/app/run".to_owned(), "it's".to_owned()],
                port: Some(8000),
                labels: [("a".to_owned(), "1".to_owned())].into(),
                healthcheck: Some(Healthcheck {
                    test: vec!["CMD".to_owned(), "check".to_owned()],
                    interval: Duration::from_millis(1500),
                    timeout: Duration::from_secs(3),
                    start_period: Duration::from_secs(5),
                    start_interval: Duration::from_secs(1),
                    retries: 3,
                }),
                ..Process::default()
            },
            ..ImageConfig::default()
        };
        let line = HistoryLine { created_by: "ipo-oci: source".to_owned(), comment: String::new() };
        Image::assemble(&config, vec![(layer, line)], &BTreeMap::new()).unwrap().artifact().unwrap()
    }

    #[test]
    fn renders_an_image_as_text() {
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let text = Inspection::of("oci:a", &artifact("amd64"), Some(&amd64)).unwrap().render();
        for said in [
            "oci:a\n",
            "  Platform     linux/amd64\n",
            "  Entrypoint   /app/run 'it'\\''s'\n",
            "  User         1000:1000\n",
            "  Ports        8000/tcp\n",
            "  Health check CMD check\n",
            "every 1.5 s, within 3 s, unhealthy after 3 failures, 5 s to start, every 1 s\n",
            "  Environment  A=\\u{1b}[2J\n",
            "  Labels       a=1\n",
            "ipo-oci: source\n",
        ] {
            assert!(text.contains(said), "{said:?} is not in\n{text}");
        }
    }

    #[test]
    fn truncates_inline_programs() {
        let long = "x".repeat(61);
        let command = ["CMD", "python", "-c", "import sys\nsys.exit(1)\n", &long, "a b"].map(str::to_owned);
        let said =
            format!("CMD python -c 'import sys…' '{}…' 'a b'  (cut; all of it with --json)", "x".repeat(60));
        assert_eq!(words(&command), said);
    }

    #[test]
    fn describes_an_index_with_platforms() {
        let index = Artifact::index_of(vec![artifact("amd64"), artifact("s390x")]).unwrap();
        let s390x: Platform = "linux/s390x".parse().unwrap();
        let inspection = Inspection::of("oci:a", &index, Some(&s390x)).unwrap();
        assert_eq!(inspection.images.len(), 2);
        assert_eq!(inspection.image.as_ref().unwrap().platform, s390x);
        let json: Value = serde_json::from_str(&inspection.to_json()).unwrap();
        assert_eq!(json["images"][0]["platform"]["architecture"], "amd64");
        assert_eq!(json["image"]["healthcheck"]["interval"], 1.5);
        assert_eq!(json["digest"], index.digest().to_string());
        let arm = "linux/arm64".parse().unwrap();
        assert!(Inspection::of("oci:a", &index, Some(&arm)).is_err());
        assert!(Inspection::of("oci:a", &artifact("amd64"), Some(&arm)).is_err());
    }
}
