//! Texts for people, compared with the files in `tests/snapshots/`:
//!
//!     cargo test --test it snapshots::
//!     SNAPSHOTS=overwrite cargo test --test it snapshots::    # after a deliberate change

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use snapbox::data::{Data, DataFormat};
use test_macros::test;

use crate::support::{Project, ipo_oci, run};

/// Every subcommand, as the words after `ipo-oci`.
const SUBCOMMANDS: [&[&str]; 22] = [
    &[],
    &["build"],
    &["init"],
    &["context"],
    &["explain"],
    &["ls"],
    &["cat"],
    &["lock"],
    &["test"],
    &["copy"],
    &["inspect"],
    &["verify"],
    &["diff"],
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
pub(crate) fn is_snapshot(name: &str, text: &str) {
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

/// First words of errors in their form (CONTRIBUTING.md, "Language").
const FIRST_WORDS: [&str; 7] =
    ["cannot", "invalid", "duplicate", "missing", "unexpected", "unknown", "unsupported"];
/// Reasons, which are a part of other errors.
const REASONS: [&str; 17] = [
    "conda environment",
    "ended with {status}{}",
    "made on Windows",
    "made with --system-site-packages",
    "nested more than {0} levels deep",
    "not a .pyc file",
    "reference cycle at byte {0}",
    "sets too complex to be ordered",
    "the certificate has expired",
    "the certificate is for another name",
    "the certificate is not valid yet",
    "the certificate's issuer is not trusted",
    "the connection was cut",
    "the proxy refuses the connection",
    "the response does not confirm the loaded image",
    "the response is truncated: {0}",
    "{0} bytes exceed the size limit",
];

/// Compares the formats of the errors, each once; their placeholders are names of fields.
#[test]
fn formats_of_errors() {
    let mut formats = BTreeSet::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs_err::read_to_string(file).expect("a source");
        for attribute in text.split("#[error(").skip(1) {
            let attribute = attribute.trim_start();
            if let Some(format) = attribute.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                formats.insert(format.to_owned());
            }
        }
    }
    let is_whole = |format: &&String| !format.starts_with('{') || !format.ends_with('}');
    let formats: Vec<&str> = formats.iter().filter(is_whole).map(String::as_str).collect();
    is_snapshot("errors.txt", &formats.join("\n"));
    for format in formats.into_iter().filter(|format| !REASONS.contains(format)) {
        let first = format.split(' ').next().unwrap_or_default();
        let has_form =
            FIRST_WORDS.contains(&first) || format.contains("not found") || format.contains(" mismatch");
        assert!(has_form, "write `cannot VERB NOUN: REASON` (CONTRIBUTING.md, \"Language\"): {format}");
    }
}

/// Compares the texts of warnings: the sentences in the functions that make one, each once.
#[test]
fn texts_of_warnings() {
    let mut texts = BTreeSet::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        if file.ends_with("tests.rs") {
            continue;
        }
        let text = fs_err::read_to_string(file).expect("a source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for function in functions(code).into_iter().filter(|function| function.warns) {
            texts.extend(function.literals.into_iter().filter(|literal| is_sentence(literal)));
        }
    }
    let texts: Vec<String> = texts.into_iter().collect();
    is_snapshot("warnings.txt", &texts.join("\n"));
}

/// Returns true for several words beside the placeholders.
fn is_sentence(literal: &str) -> bool {
    let words = literal.split(['{', '}']).step_by(2).flat_map(str::split_whitespace);
    words.filter(|word| word.contains(|c: char| c.is_ascii_alphabetic())).count() > 1
}

/// A part of a Rust file: from one `fn` to the next.
#[derive(Default)]
struct FunctionText {
    /// The code names a warning.
    warns: bool,
    /// Its string literals, except those of attributes.
    literals: Vec<String>,
}

/// Divides Rust code into functions.
fn functions(code: &str) -> Vec<FunctionText> {
    let mut functions = vec![FunctionText::default()];
    let mut rest = code;
    let mut attribute = false;
    while let Some(next) = rest.chars().next() {
        let mut length = next.len_utf8();
        if rest.starts_with("//") {
            length = rest.find('\n').unwrap_or(rest.len());
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            length = 3 + raw.find("\"#").map_or(raw.len(), |end| end + 2);
        } else if ["'\"'", "'\\\\'", "'\\''"].iter().any(|literal| rest.starts_with(literal)) {
            length = rest[1..].find('\'').expect("the end of the literal") + 2;
            length += usize::from(rest.starts_with("'\\''"));
        } else if let Some(literal) = rest.strip_prefix('"') {
            let end = literal_end(literal);
            length = end + 2;
            if !attribute {
                let lines = literal[..end].split("\\\n").enumerate();
                let lines = lines.map(|(number, line)| if number == 0 { line } else { line.trim_start() });
                functions.last_mut().expect("a function").literals.push(lines.collect());
            }
        } else if next.is_ascii_alphabetic() {
            let word =
                rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            length = word.len();
            if word == "fn" {
                functions.push(FunctionText::default());
            } else if word.to_lowercase().contains("warn") {
                functions.last_mut().expect("a function").warns = true;
            }
        } else if rest.starts_with("#[") {
            attribute = true;
        } else if next == '\n' {
            attribute = false;
        }
        rest = &rest[length..];
    }
    functions
}

/// Returns the length of a string literal behind its opening quote.
fn literal_end(literal: &str) -> usize {
    let mut is_escaped = false;
    let end = literal.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.expect("the end of the literal")
}

/// Lists the Rust files below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs_err::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let (directories, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let below = directories.iter().flat_map(|directory| sources(directory));
    below.chain(files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"))).collect()
}

/// Command lines that fail, without a registry, an engine or an environment.
const FAILURES: &str = "\
ipo-oci bild
ipo-oci help setings
ipo-oci help cache prun
ipo-oci build absent
ipo-oci build pyproject.toml
ipo-oci build --platfrom linux/amd64
ipo-oci build --target runtme
ipo-oci build --platform linux/amd46
ipo-oci build --port 0
ipo-oci build --user bob
ipo-oci build --max-size 12
ipo-oci build --compression gzpi
ipo-oci build --bytecode maybe
ipo-oci build --healthcheck health
ipo-oci build --env A
ipo-oci build --report pdf
ipo-oci build --report json=
ipo-oci build --dry-run=ful
ipo-oci build -t Not/A/Name
ipo-oci build -o ftp:image
ipo-oci build -o oci-archve:image.tar
ipo-oci build -o image.tar
ipo-oci build -o team/image
ipo-oci build --push
ipo-oci build --base rootfs:
ipo-oci build --base oci:
ipo-oci build --venv .venv --venv .venv
ipo-oci build --no-provision
ipo-oci build --venv absent
ipo-oci build --venv docs
ipo-oci build --recipe absent.toml
ipo-oci build --recipe cycle.toml
ipo-oci build --recipe unknown.toml
ipo-oci build --cache-from dri:x
ipo-oci build --cache-from docker://ghcr.io/team/cache:1
ipo-oci build --cache-from docker://ghcr.io/team/cache --offline
ipo-oci build --target runtime,dev -o oci-archive:-
ipo-oci context absent
ipo-oci context pyproject.toml
ipo-oci context --why ../outside
ipo-oci context --ignore-file absent
ipo-oci context --paths --why main.py
ipo-oci ls oci:absent
ipo-oci ls oci:docs
ipo-oci cat oci:absent
ipo-oci inspect oci-archive:absent.tar
ipo-oci inspect docker-archive:pyproject.toml
ipo-oci inspect docker:python
ipo-oci inspect containers-storage:python
ipo-oci inspect oci:docs:tag@sha256:12
ipo-oci inspect python:3.13 --offline
ipo-oci copy oci:absent oci:x
ipo-oci copy oci:absent x
ipo-oci copy oci:absent oci:x --platform linux
ipo-oci copy oci:absent oci:x --all --platform linux/amd64
ipo-oci index create oci:x
ipo-oci rebase python@sha256:0000000000000000000000000000000000000000000000000000000000000000 python:3.13
ipo-oci lock --remove python:3.13
ipo-oci lock --base oci:absent
ipo-oci cache prune --max-size much
ipo-oci completions tcsh
";

#[test]
fn messages_of_failures() {
    let project = Project::of(&[
        ("pyproject.toml", "[project]\nname = \"hello\"\nversion = \"1.0\"\ndependencies = [\"fastapi\"]\n"),
        ("main.py", ""),
        ("docs/index.md", ""),
        ("cycle.toml", "extends = \"cycle.toml\"\n"),
        ("unknown.toml", "extends = \"runtime\"\nprot = 80\n"),
    ]);
    let mut all = Vec::new();
    for line in FAILURES.lines() {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let mut command = ipo_oci();
        let outcome = run(command.current_dir(project.path()).args(words));
        let code = outcome.code().expect("an exit code");
        assert!(code > 0, "{line}: {}", outcome.describe());
        assert!(outcome.stdout.is_empty(), "{line}: {}", outcome.describe());
        let said = outcome.stderr.replace(&project.path().display().to_string(), "[PROJECT]");
        all.push(format!("$ {line}\n{said}[exit code {code}]\n"));
    }
    is_snapshot("failures.txt", all.join("\n").trim_end());
}
