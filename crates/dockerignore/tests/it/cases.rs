//! Recorded verdicts of the reference implementations. The tests of ipo-oci include this file.

use std::fs;
use std::path::Path;

use dockerignore::Error;
use serde_json::Value;

/// One line of `tests/data/buildkit.jsonl`, made by a BuildKit of 2026-08, or of
/// `tests/data/patternmatcher.jsonl`, made by `tests/oracle/main.go` with Go 1.27.3.
pub(crate) struct Case {
    pub(crate) files: Vec<String>,
    pub(crate) dockerignore: String,
    /// The kept files, or the reference's error.
    pub(crate) outcome: Result<Vec<String>, String>,
}

/// Reads the cases of the crate in the directory `root`.
pub(crate) fn cases(root: &Path) -> Vec<Case> {
    let read = |name: &str| fs::read_to_string(root.join("tests/data").join(name)).unwrap();
    let text = read("buildkit.jsonl") + &read("patternmatcher.jsonl");
    text.lines()
        .map(|line| {
            let case: Value = serde_json::from_str(line).unwrap();
            let strings = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
            Case {
                files: strings(&case["files"]),
                dockerignore: case["dockerignore"].as_str().unwrap().to_owned(),
                outcome: match case["error"].as_str() {
                    Some(error) => Err(error.to_owned()),
                    None => Ok(strings(&case["kept"])),
                },
            }
        })
        .collect()
}

/// Returns true if `error` is of the same kind as the reference's.
pub(crate) fn same_error(error: &Error, reference: &str) -> bool {
    let Error::Line { reason, .. } = error else { return false };
    reference.contains("illegal exclusion pattern") == reason.contains("expected a pattern after `!`")
}
