//! Texts for people, compared with the files in `tests/snapshots/`:
//!
//!     cargo test --test it snapshots::
//!     SNAPSHOTS=overwrite cargo test --test it snapshots::    # after a deliberate change

use std::path::Path;

use snapbox::data::{Data, DataFormat};
use test_macros::test;

use crate::support::{ipo_oci, run};

/// Every subcommand, as the words after `ipo-oci`.
const SUBCOMMANDS: [&[&str]; 17] = [
    &[],
    &["build"],
    &["context"],
    &["ls"],
    &["cat"],
    &["lock"],
    &["copy"],
    &["inspect"],
    &["index"],
    &["index", "create"],
    &["rebase"],
    &["cache"],
    &["cache", "ls"],
    &["cache", "verify"],
    &["cache", "prune"],
    &["completions"],
    &["help"],
];

/// Compares `text` with the file `name` in `tests/snapshots/`.
#[track_caller]
fn is_snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    let expected = Data::read_from(&path, Some(DataFormat::Text)).raw();
    snapbox::Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV).eq(text, expected);
}

/// Returns the output of `ipo-oci` on a terminal of 80 columns.
#[track_caller]
fn output(words: &[&str]) -> String {
    run(ipo_oci().args(words).env("COLUMNS", "80")).success().text().to_owned()
}

#[test]
fn help_of_each_subcommand() {
    for words in SUBCOMMANDS {
        let forms = ["-h", "--help"].map(|flag| {
            let text = output(&[words, &[flag]].concat());
            let command = [&["ipo-oci"], words, &[flag]].concat().join(" ");
            format!("$ {command}\n{text}")
        });
        let name = if words.is_empty() { "ipo-oci".to_owned() } else { words.join("-") };
        is_snapshot(&format!("help/{name}.txt"), forms.join("\n").trim_end());
    }
}

#[test]
fn short_help_fits_a_screen() {
    for words in SUBCOMMANDS {
        let text = output(&[words, &["-h"]].concat());
        let lines = text.lines().count();
        assert!(lines <= 40, "{lines} lines:\n{text}");
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 80, "{widest} columns:\n{text}");
    }
}
