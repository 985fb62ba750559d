//! Forms of a [`CheckReport`]: text for people, JSON, SARIF for code scanning, and annotations of
//! GitHub's workflows.

mod github;
mod json;
mod sarif;
mod text;

use super::CheckReport;
use crate::style::Style;

/// The form of a printed report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CheckFormat {
    /// Text as of a compiler.
    #[default]
    Text,
    /// JSON.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

impl CheckReport {
    /// Renders the report, with a trailing newline. Only text has a style.
    pub fn render(&self, format: CheckFormat, style: Style) -> String {
        Self::render_all(std::slice::from_ref(self), format, style)
    }

    /// Renders the reports of several images as one document: in JSON a list, in SARIF one run for each.
    pub fn render_all(reports: &[Self], format: CheckFormat, style: Style) -> String {
        match format {
            CheckFormat::Text => reports.iter().map(|report| text::render(report, style)).collect(),
            CheckFormat::Json => json::render(reports),
            CheckFormat::Sarif => sarif::render(reports),
            CheckFormat::Github => reports.iter().map(github::render).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::check::Diagnostic;
    use crate::tree::{ImagePath, Owner};

    fn report() -> CheckReport {
        let path = |text: &str| ImagePath::new(text).unwrap();
        let owner = Owner::Distribution { name: "demo".into(), version: "1.0".into() };
        let library = Diagnostic::new("IPO103", "needs libx.so.1, which is not in the image")
            .at_all(["/v/a.so", "/v/b.so", "/v/c.so", "/v/d.so", "/v/e.so"].map(path))
            .of(Some(&owner))
            .with_help("use another base");
        let secret = Diagnostic::new("IPO605", "contains 100% of a key,\nin two: lines")
            .at(&path("/app/a b.py"))
            .in_source("src/a b.py", Some(7));
        let image = Diagnostic::new("IPO608", "the process runs as root");
        CheckReport {
            subject: "app:1".to_owned(),
            folder: PathBuf::new(),
            diagnostics: vec![secret, library, image],
            rules: 3,
        }
    }

    #[test]
    fn text_names_code_path_place_and_way_out() {
        let text = report().render(CheckFormat::Text, Style::Plain);
        snapbox::assert_data_eq!(
            text,
            snapbox::str![[r"
error[IPO605]: /app/a b.py: contains 100% of a key,
in two: lines
  --> src/a b.py:7
warning[IPO103]: /v/a.so: needs libx.so.1, which is not in the image
  and /v/b.so
  and /v/c.so
  and /v/d.so
  and 1 more file
  of demo 1.0
  help: use another base
warning[IPO608]: the process runs as root
1 error, 2 warnings: app:1, 3 rules

"]]
        );
        let colored = report().render(CheckFormat::Text, Style::Colored);
        assert!(colored.contains("\x1b[1;31merror\x1b[0m[\x1b[1mIPO605\x1b[0m]"), "{colored}");
    }

    #[test]
    fn annotations_are_escaped_and_on_one_line_each() {
        let text = report().render(CheckFormat::Github, Style::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "::error file=src/a b.py,line=7,title=IPO605 secret-content::/app/a b.py: contains 100%25 of a key,%0Ain two: lines"
        );
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with("not in the image%0Ause another base"), "{}", lines[1]);
    }

    #[test]
    fn sarif_has_a_rule_and_a_place_for_each_result() {
        let text = report().render(CheckFormat::Sarif, Style::Plain);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let run = &json["runs"][0];
        assert_eq!(json["version"], "2.1.0");
        assert_eq!(run["automationDetails"]["id"], "app:1/");
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        let fingerprint = |result: &serde_json::Value| result["partialFingerprints"].clone();
        assert_ne!(fingerprint(&results[0]), fingerprint(&results[1]));
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
        }
        let both = CheckReport::render_all(&[report(), report()], CheckFormat::Sarif, Style::Plain);
        let both: serde_json::Value = serde_json::from_str(&both).unwrap();
        assert_eq!(both["runs"], serde_json::json!([run, run]));
        // A shifted line is the same result; an equal one of the same run is another.
        let mut shifted = report();
        shifted.diagnostics[0].message = report().diagnostics[0].message.replace("100", "99");
        shifted.diagnostics.push(shifted.diagnostics[0].clone());
        let shifted: serde_json::Value =
            serde_json::from_str(&shifted.render(CheckFormat::Sarif, Style::Plain)).unwrap();
        let shifted = shifted["runs"][0]["results"].as_array().unwrap();
        assert_eq!(fingerprint(&shifted[0]), fingerprint(&results[0]));
        assert_ne!(fingerprint(&shifted[0]), fingerprint(&shifted[3]));
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "src/a%20b.py");
        assert_eq!(place["region"]["startLine"], 7);
        // Code scanning shows no result without a file of the repository.
        let place = &results[2]["locations"][0]["physicalLocation"]["artifactLocation"];
        assert_eq!(place["uri"], "pyproject.toml");
    }

    #[test]
    fn places_are_relative_to_the_folder() {
        let report = CheckReport { folder: "services/api".into(), ..report() };
        let text = |format| report.render(format, Style::Plain);
        assert!(text(CheckFormat::Text).contains("  --> services/api/src/a b.py:7\n"));
        assert!(text(CheckFormat::Github).contains("::error file=services/api/src/a b.py,line=7,"));
        let json: serde_json::Value = serde_json::from_str(&text(CheckFormat::Sarif)).unwrap();
        let uri = |index: usize| {
            let place = &json["runs"][0]["results"][index]["locations"][0]["physicalLocation"];
            place["artifactLocation"]["uri"].clone()
        };
        assert_eq!(
            (uri(0), uri(2)),
            ("services/api/src/a%20b.py".into(), "services/api/pyproject.toml".into())
        );
    }

    #[test]
    fn json_has_all_fields_and_is_read_again() {
        let text = report().render(CheckFormat::Json, Style::Plain);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &2.into()));
        let both = CheckReport::render_all(&[report(), report()], CheckFormat::Json, Style::Plain);
        assert_eq!(
            serde_json::from_str::<Vec<serde_json::Value>>(&both).unwrap(),
            [json.clone(), json.clone()]
        );
        let read: Vec<Diagnostic> = serde_json::from_value(json["diagnostics"].clone()).unwrap();
        assert_eq!(read, report().diagnostics);
        // The format of the caches has no names of fields.
        let bytes = postcard::to_stdvec(&report().diagnostics).unwrap();
        assert_eq!(postcard::from_bytes::<Vec<Diagnostic>>(&bytes).unwrap(), report().diagnostics);
    }
}
