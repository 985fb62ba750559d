//! Prints what `ipo-oci resolve` makes of files of YAML as JSON, one file a line, for `benches/manifests`. Each image gets
//! the reference `registry.example/PROJECT@sha256:0`.
//!
//!     find . -name '*.yaml' | cargo run --example manifests

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};

use ipo_oci::deploy::{ManifestText, ProjectImage};
use serde_json::json;

fn main() -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    for file in std::io::stdin().lock().lines() {
        let file = file?;
        let answer = match ManifestText::parse(&file, std::fs::read(&file)?) {
            Ok(manifest) => {
                let reference = |image: &ProjectImage| format!("registry.example/{}@sha256:0", image.project);
                let references: BTreeMap<ProjectImage, String> =
                    manifest.images().map(|image| (image.clone(), reference(image))).collect();
                json!({ "text": manifest.resolved(&references) })
            }
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(output, "{answer}")?;
    }
    Ok(())
}
