//! `ipo-oci check` on broken images of real parts: a built image, changed by one layer. For each
//! rule, a similar image without the fault stays silent.

mod builds;
mod command;
mod imports;
mod libraries;
mod named;
mod permissions;
mod programs;
mod python;
mod requirements;
mod sizes;
mod wheels;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use ipo_oci::check::{CheckOptions, CheckReport, CheckedImage, Diagnostic, RuleSelection, check};
use ipo_oci::image::{Blob, Encoding, Healthcheck, HistoryLine, Image, ImageConfig, Layer, Process};
use ipo_oci::progress::Silent;
use ipo_oci::store;
use tar::EntryType;
use test_macros::test;

use crate::support::{self, Project, Venv, base, venv};

/// The example's image: Python, an environment of real wheels, and the source in `/app`.
struct Example {
    project: Project,
    image: Image,
}

fn example() -> &'static Example {
    static MADE: OnceLock<Example> = OnceLock::new();
    MADE.get_or_init(|| {
        let project = Project::example();
        project.build(&["-q"]);
        let layout = format!("oci:{}", project.path().join("dist/image").display());
        let image = store::open_image(&layout.parse().expect("a reference"), None, &store::Access::default());
        Example { project, image: image.expect("an image") }
    })
}

/// An image with one more layer and another configuration.
#[derive(Debug, Default)]
struct Changed {
    layer: base::Layer,
    process: Process,
}

impl Changed {
    fn file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.layer = self.layer.member(EntryType::Regular, path, "", 0o644, bytes.as_ref());
        self
    }

    fn program(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.layer = self.layer.member(EntryType::Regular, path, "", 0o755, bytes.as_ref());
        self
    }

    fn without(mut self, path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').expect("a folder");
        self.layer = self.layer.file(&format!("{folder}/.wh.{name}"), "");
        self
    }

    fn entrypoint(mut self, words: &[&str]) -> Self {
        self.process.entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn healthcheck(mut self, test: &[&str]) -> Self {
        self.process.healthcheck = Some(Healthcheck {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            start_period: Duration::from_secs(1),
            start_interval: Duration::from_secs(1),
            retries: 1,
        });
        self
    }

    /// Replaces text in a file of the example.
    fn edited(self, path: &str, old: &str, new: &str) -> Self {
        let bytes = example().project.layout().only().read_file(path);
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert!(text.contains(old), "{path} lacks {old}: {text}");
        self.file(path, text.replace(old, new))
    }

    /// Puts the layer onto the example's image.
    fn image(self) -> Image {
        let bytes = [self.layer.into_bytes(), vec![0; 1024]].concat();
        let (digest, size) = (ipo_oci::digest::Digest::of(&bytes), bytes.len() as u64);
        let blob = Blob::Memory(bytes.into());
        let layer = Layer { digest, size, diff_id: digest, encoding: Encoding::Plain, blob };
        let line = HistoryLine { created_by: "ipo-oci: change".to_owned(), comment: String::new() };
        let mut config = ImageConfig::default();
        config.os = "linux".into();
        config.architecture.clone_from(&example().image.platform.architecture);
        config.process = self.process;
        Image::on_base(&example().image, &config, vec![(layer, line)], &BTreeMap::new(), None)
            .expect("an image")
    }

    /// Returns the diagnostics of the rules `codes`.
    fn diagnostics(self, codes: &str) -> Vec<Diagnostic> {
        report(&self.image(), codes).diagnostics
    }

    /// Requires one diagnostic of the rules with the code's first digit: of `code`, with `text` in
    /// its path, message and help.
    #[track_caller]
    fn reports(self, code: &str, text: &str) {
        let found = self.diagnostics(&code[..4]);
        let [only] = &found[..] else { panic!("{found:#?}") };
        let path = only.path.as_ref().map(ToString::to_string).unwrap_or_default();
        let shown = format!("{path}: {} ({})", only.message, only.help.as_deref().unwrap_or_default());
        assert!(only.code == code && shown.contains(text), "{only:#?}");
    }

    /// Requires silence of all rules with the code's first digit.
    #[track_caller]
    fn stays_silent(self, code: &str) {
        let found = self.diagnostics(&code[..4]);
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// Each rule has a broken sample and a similar one without the fault in the modules of this folder, or,
/// for the projects of `check_secrets.rs`, its code in the expected diagnostics there.
#[test]
fn every_rule_has_samples() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut text = String::new();
    for file in fs_err::read_dir(folder.join("check")).expect("a folder") {
        text.push_str(&fs_err::read_to_string(file.expect("a file").path()).expect("UTF-8"));
    }
    let secrets = fs_err::read_to_string(folder.join("check_secrets.rs")).expect("UTF-8");
    for rule in ipo_oci::check::RULES {
        let code = rule.code;
        let of_projects = secrets.contains(&format!(" {code} "));
        let has = |verb: &str| text.contains(&format!("{verb}(\"{code}\""));
        let of_sizes = text.contains(&format!(", \"{code}\", \"the "));
        assert!(of_projects || of_sizes || (has("reports") && has("stays_silent")), "{code}");
    }
}

/// Returns the name of the example's Python: `python3.11`.
fn python() -> String {
    let site = venv::site_packages(Venv::pip().path());
    let python = site.parent().and_then(|lib| lib.file_name()).expect("a folder");
    python.to_str().expect("UTF-8").to_owned()
}

/// Returns the directory of the example's distributions.
fn site() -> String {
    format!("app/.venv/lib/{}/site-packages", python())
}

fn report(image: &Image, codes: &str) -> CheckReport {
    let selected: Vec<String> = codes.split(',').map(str::to_owned).collect();
    let selection = RuleSelection::new(&selected, &[]).expect("rules");
    let cache = support::target_dir().join("test-cache");
    let checked = CheckedImage::of_image(image, Some(&cache), &Silent).expect("an image");
    check("image", &checked, &CheckOptions::new(selection))
}
