//! The verdicts of BuildKit on 500 generated trees, and of moby/patternmatcher on 151 odd files.

use std::fs;
use std::path::Path;

use dockerignore::{Dockerignore, Error};
use serde_json::Value;

use crate::tree::{Directory, Reads};

/// One line of `tests/data/buildkit.jsonl`, made by a BuildKit of 2026-08, or of
/// `tests/data/patternmatcher.jsonl`, made by `tests/oracle/main.go` with Go 1.27.3.
struct Case {
    files: Vec<String>,
    dockerignore: String,
    /// The kept files, or the reference's error.
    outcome: Result<Vec<String>, String>,
}

fn cases() -> Vec<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap();
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

fn same_error(error: &Error, reference: &str) -> bool {
    let Error::Line { reason, .. } = error else { return false };
    reference.contains("illegal exclusion pattern") == reason.contains("expected a pattern after `!`")
}

#[test]
fn agrees_with_buildkit_on_every_case() {
    let cases = cases();
    assert_eq!(cases.len(), 651);
    for (number, case) in cases.into_iter().enumerate() {
        let tree = Directory::new(&case.files);
        for reads in [Reads::UnlessPruned, Reads::All] {
            // If only the expression is bad, the walk finds out.
            let ours = Dockerignore::parse("x", case.dockerignore.as_bytes())
                .and_then(|ignore| tree.kept(&ignore, reads));
            match (&case.outcome, ours) {
                (Err(reference), Err(error)) => {
                    assert!(same_error(&error, reference), "case {number}: {error}, not {reference}");
                }
                (Err(reference), Ok(_)) => panic!("case {number}: accepted, not {reference}"),
                (Ok(_), Err(error)) => panic!("case {number}: {error}"),
                (Ok(expected), Ok(kept)) => {
                    let mut expected = expected.clone();
                    expected.sort();
                    assert_eq!(kept, expected, "case {number}, {:?}", case.dockerignore);
                }
            }
        }
    }
}
