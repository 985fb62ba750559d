//! The commands in `README.md` and `docs/`: all are accepted, and those of the pages for everyday use run. The pages of
//! frameworks and servers, with their projects, are in `pages.rs`.
//!
//! A line `<!-- not run: REASON -->` before a block excludes the block from running, not from the check of its arguments.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::registry::{Kind, Registry};
use crate::support::{Project, binary, clean_environment, requires, run};
use test_macros::test;

/// A command of a document.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    text: String,
    is_run: bool,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the documents for users.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![repository().join("README.md")];
    for entry in walkdir::WalkDir::new(repository().join("docs")).sort_by_file_name() {
        let path = entry.expect("an entry").into_path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// Returns the commands of a document: lines of indented blocks, and of fenced ones without a language or for a shell.
/// In a block with prompts, only lines after a prompt are commands.
fn commands(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    let (mut is_run, mut was_code) = (true, false);
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(language) = line.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
            was_code = true;
            continue;
        }
        let code = match fence {
            Some("" | "sh" | "console") => Some(line),
            Some(_) => None,
            None => line.strip_prefix("    "),
        };
        let Some(code) = code else {
            if line.starts_with("<!-- not run: ") {
                is_run = false;
            } else if !line.is_empty() && was_code {
                is_run = true;
                was_code = false;
            }
            continue;
        };
        was_code = true;
        let code = code.trim_start();
        let code = code.strip_prefix("$ ").unwrap_or(code);
        if program(code).is_some() {
            found.push(Line { number, text: code.to_owned(), is_run });
        }
    }
    found
}

/// Returns the words of a command of `ipo-oci`, up to a comment, a pipe or a redirection, without variables before it.
fn program(code: &str) -> Option<Vec<String>> {
    let words = words(code);
    let first = words.iter().position(|word| !is_assignment(word))?;
    (words[first] == "ipo-oci" && words.len() > first + 1).then(|| words[first + 1..].to_vec())
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    })
}

/// Splits a command at blanks outside quotes.
fn words(code: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in code.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | '&' | ';') => break,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[test]
fn commands_are_found_in_documents() {
    let text = "Text `ipo-oci x`.\n\n    ipo-oci build -t 'a b'  # comment\n    A=1 ipo-oci test | jq .\n\n<!-- not run: a \
                registry -->\n\n    $ ipo-oci copy a b > c\n    ipo-oci: output\n\nMore\n\n```yaml\nipo-oci no\n```\n\n```\nipo-oci ls\n```\n";
    let found = commands(text);
    let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "ipo-oci build -t 'a b'  # comment",
            "A=1 ipo-oci test | jq .",
            "ipo-oci copy a b > c",
            "ipo-oci ls"
        ]
    );
    assert_eq!(found.iter().map(|line| line.is_run).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(program(texts[0]).expect("a command"), ["build", "-t", "a b"]);
    assert_eq!(program(texts[1]).expect("a command"), ["test"]);
}

#[test]
fn every_command_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut count, mut wrong) = (0, Vec::new());
    for path in documents() {
        let page = path.strip_prefix(repository()).expect("a document").display().to_string();
        for line in commands(&fs_err::read_to_string(&path).expect("a document")) {
            let text = line.text.replace("$REGISTRY", "registry.example").replace("$VERSION", "1");
            let words = program(&text).expect("a command");
            // Words of a synopsis are in capitals, in brackets or end with an ellipsis.
            let is_synopsis = |word: &String| {
                word.starts_with('[')
                    || word.ends_with('…')
                    || word.contains('|')
                    || *word == word.to_uppercase()
            };
            if words.iter().any(|word| is_synopsis(word) && word.chars().any(char::is_alphabetic)) {
                continue;
            }
            // In an empty folder and without a network, each command fails soon; wrong usage has a code of its own.
            let mut command = Command::new(binary());
            clean_environment(&mut command);
            command
                .args(&words)
                .current_dir(folder.path())
                .env("IPO_OCI_CACHE_DIR", folder.path().join("cache"));
            command
                .env("IPO_OCI_OFFLINE", "1")
                .env("HOME", folder.path())
                .env("DOCKER_HOST", "unix:///nonexistent");
            let outcome = run(&mut command);
            count += 1;
            if outcome.code() == Some(2) {
                wrong.push(format!("{page}:{}: {}\n{}", line.number, line.text, outcome.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 200, "{count} commands");
}

/// Runs the commands of a page in their order, in a project that is built into `dist/image`. The registry of the page's
/// references is one of this machine, and has the image under each name that a command reads.
fn run_page(page: &str, present: &[&str]) {
    for program in ["docker-registry", "jq"] {
        requires(program);
    }
    let registry = Registry::start(Kind::Anonymous);
    let project = Project::example();
    let host = registry.host();
    let replaced = |text: &str| {
        text.replace("ghcr.io/", &format!("{host}/")).replace("registry.example/", &format!("{host}/"))
    };
    let shell = |text: &str| {
        let mut command = Command::new("sh");
        clean_environment(&mut command);
        let programs = binary().parent().expect("a folder").display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").expect("PATH"));
        command.args(["-ec", text]).current_dir(project.path()).env("PATH", path);
        command.env("IPO_OCI_CACHE_DIR", project.beside("cache")).env("IPO_OCI_INSECURE_REGISTRY", &host);
        command.env("HOME", project.path()).env_remove("DOCKER_CONFIG");
        run(&mut command)
    };
    shell("ipo-oci build").success();
    for name in present {
        shell(&replaced(&format!("ipo-oci copy oci:dist/image docker://{name}"))).success();
    }
    let text = fs_err::read_to_string(repository().join(page)).expect("a page");
    let mut count = 0;
    for line in commands(&text).iter().filter(|line| line.is_run) {
        let outcome = shell(&replaced(&line.text));
        assert!(outcome.status.success(), "{page}:{}: {}", line.number, outcome.describe());
        count += 1;
    }
    assert!(count > 0, "{page} has no command");
}

#[test]
fn the_commands_of_the_quick_reference_run() {
    run_page("docs/quick-reference.md", &["ghcr.io/team/api:main"]);
}

#[test]
fn the_commands_of_the_page_about_ci_run() {
    run_page("docs/ci/README.md", &[]);
}

#[test]
fn the_commands_of_the_pages_about_checks_and_sizes_run() {
    run_page("docs/checks.md", &[]);
    run_page("docs/report.md", &[]);
    run_page("docs/cache.md", &[]);
}
