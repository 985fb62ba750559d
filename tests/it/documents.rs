//! The commands in `README.md` and `docs/`: all are accepted, and those of the pages for everyday use run. The pages of
//! frameworks and servers, with their projects, are in `pages.rs`.
//!
//! A line `<!-- not run: REASON -->` before a block excludes the block from running, not from the check of its arguments.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::images::image_for;
use crate::support::registry::{Kind, Registry};
use crate::support::{Outcome, Project, Venv, base, binary, clean_environment, copy_folder, requires, run};
use ipo_oci::store;
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
    let mut continued: Option<String> = None;
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
        // A backslash continues a command on the next line.
        if let Some(begun) = continued.take() {
            continued = Some(format!("{begun} {code}"));
        } else {
            continued = Some(code.strip_prefix("$ ").unwrap_or(code).to_owned());
        }
        if let Some(rest) = continued.as_ref().and_then(|code| code.strip_suffix('\\')) {
            continued = Some(rest.trim_end().to_owned());
            continue;
        }
        let code = continued.take().unwrap_or_default();
        let code = code.as_str();
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
    let text = "Text `ipo-oci x`.\n\n    ipo-oci build -t 'a b'  # comment\n    A=1 ipo-oci test \\\n        --json | jq .\n\n<!-- not run: a \
                registry -->\n\n    $ ipo-oci copy a b > c\n    ipo-oci: output\n\nMore\n\n```yaml\nipo-oci no\n```\n\n```\nipo-oci ls\n```\n";
    let found = commands(text);
    let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "ipo-oci build -t 'a b'  # comment",
            "A=1 ipo-oci test --json | jq .",
            "ipo-oci copy a b > c",
            "ipo-oci ls"
        ]
    );
    assert_eq!(found.iter().map(|line| line.is_run).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(program(texts[0]).expect("a command"), ["build", "-t", "a b"]);
    assert_eq!(program(texts[1]).expect("a command"), ["test", "--json"]);
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

/// A machine with a registry, on which the commands of a page run. The hosts of references in the page are the registry,
/// which is the mirror of Docker Hub as well.
struct Machine {
    registry: Registry,
    project: Project,
    venv: Venv,
}

/// The hosts of registries in pages.
const HOSTS: [&str; 5] =
    ["ghcr.io", "registry.example", "registry.internal", "mirror.internal", "localhost:5000"];
/// The name of the base in pages, and the registry's name of Docker Hub's image.
const BASE: &str = "python:3.12-slim-bookworm";
const PUBLISHED_BASE: &str = "ghcr.io/library/python:3.12-slim-bookworm";

impl Machine {
    fn new() -> Self {
        Self::with(Venv::pip())
    }

    fn with(venv: Venv) -> Self {
        for program in ["docker-registry", "jq"] {
            requires(program);
        }
        Self { registry: Registry::start(Kind::Anonymous), project: Project::example(), venv }
    }

    /// Returns a machine whose project has a base: a Debian, under the name of the base in pages.
    fn with_base() -> Self {
        let machine = Self::with(Venv::of_the_system());
        let folder = machine.project.path();
        let debian = base::debian_images().display();
        machine
            .shell(folder, &format!("ipo-oci copy oci:{debian}:bookworm docker://{PUBLISHED_BASE}"))
            .success();
        let settings = format!("[tool.ipo-oci]\nbase = \"{BASE}\"");
        let metadata =
            machine.project.read("pyproject.toml").replace("[tool.ipo-oci]\n", &format!("{settings}\n"));
        // A Debian is larger than the example.
        machine.project.write("pyproject.toml", &metadata.replace("max-size = \"120MB\"\n", ""));
        machine.shell(folder, "ipo-oci lock").success();
        machine
    }

    /// Stores an image without a program, for an architecture.
    fn store(&self, architecture: &str, reference: &str) {
        let layout = self.project.beside(architecture);
        let destination = format!("oci:{}", layout.display()).parse().expect("a destination");
        let name = "image:1".parse().expect("a name");
        store::write_image(&image_for(architecture), &destination, &name, "").expect("stored");
        self.shell(self.project.path(), &format!("ipo-oci copy {destination} {reference}")).success();
    }

    /// Runs a command in a folder.
    fn shell(&self, folder: &Path, text: &str) -> Outcome {
        let host = self.registry.host();
        let text = HOSTS
            .iter()
            .fold(text.to_owned(), |text, name| text.replace(&format!("{name}/"), &format!("{host}/")));
        let mut command = Command::new("sh");
        clean_environment(&mut command);
        let programs = binary().parent().expect("a folder").display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").expect("PATH"));
        command.args(["-ec", &text]).current_dir(folder).env("PATH", path);
        command
            .env("IPO_OCI_CACHE_DIR", self.project.beside("cache"))
            .env("IPO_OCI_INSECURE_REGISTRY", &host)
            .env("IPO_OCI_REGISTRY_MIRROR", format!("docker.io={host}"));
        command.env("VIRTUAL_ENV", self.venv.path());
        command.env("REGISTRY", &host).env("VERSION", "1").env("HOME", self.project.path());
        run(command.env_remove("DOCKER_CONFIG"))
    }

    /// Runs the commands of a page in their order.
    #[track_caller]
    fn run_page(&self, folder: &Path, page: &str, is_run: impl Fn(&Line) -> bool) {
        let text = fs_err::read_to_string(repository().join(page)).expect("a page");
        let mut count = 0;
        for line in commands(&text).iter().filter(|line| line.is_run && is_run(line)) {
            let outcome = self.shell(folder, &line.text);
            assert!(outcome.status.success(), "{page}:{}: {}", line.number, outcome.describe());
            count += 1;
        }
        assert!(count > 0, "{page} has no command");
    }
}

/// Runs the commands of a page in the example, which is built into `dist/image` and is in the registry under the names
/// that commands read.
#[track_caller]
fn run_in_example(page: &str, present: &[&str]) {
    let machine = Machine::new();
    let folder = machine.project.path();
    machine.shell(folder, "ipo-oci build").success();
    for name in present {
        machine.shell(folder, &format!("ipo-oci copy oci:dist/image docker://{name}")).success();
    }
    machine.run_page(folder, page, |_| true);
}

#[test]
fn the_commands_of_the_quick_reference_run() {
    run_in_example("docs/quick-reference.md", &["ghcr.io/team/api:main"]);
}

#[test]
fn the_commands_of_the_page_about_ci_run() {
    run_in_example("docs/ci/README.md", &[]);
}

#[test]
fn the_commands_of_the_pages_about_checks_sizes_and_the_cache_run() {
    for page in ["docs/checks.md", "docs/report.md", "docs/cache.md"] {
        run_in_example(page, &[]);
    }
}

#[test]
fn the_commands_of_the_page_about_deployment_run() {
    run_in_example("docs/deploy.md", &["ghcr.io/team/other:1.4"]);
}

#[test]
fn the_commands_of_the_pages_about_verification_and_differences_run() {
    let machine = Machine::new();
    let folder = machine.project.path();
    machine.shell(folder, "ipo-oci build -t agencyos:3.0.0").success();
    for name in ["api:3.0.0", "api:main", "hello:1"] {
        machine.shell(folder, &format!("ipo-oci copy oci:dist/image ghcr.io/team/{name}")).success();
    }
    machine.store("arm64", "ghcr.io/library/python:3.13-slim");
    machine.run_page(folder, "docs/verify.md", |_| true);

    for (name, version) in [("old", "3.13.1"), ("new", "3.13.2")] {
        machine.project.write("app/version.py", version);
        machine.shell(folder, &format!("ipo-oci build -o oci:{name}")).success();
        machine
            .shell(folder, &format!("ipo-oci copy oci:{name} ghcr.io/library/python:{version}-slim"))
            .success();
    }
    machine.run_page(folder, "docs/diff.md", |_| true);
    let comment = machine.project.read("comment.md");
    assert!(comment.contains("/team/api:main"), "{comment}");
}

#[test]
fn the_commands_of_the_page_about_tests_run() {
    let machine = Machine::new();
    let folder = machine.project.path();
    let worker = "import signal, threading\nstopped = threading.Event()\n\
                  signal.signal(signal.SIGTERM, lambda *_: stopped.set())\nstopped.wait()\n";
    machine.project.write("app/worker.py", worker);
    let metadata = machine.project.read("pyproject.toml");
    let process = "[tool.ipo-oci.process.worker]\ncommand = [\"{python}\", \"-m\", \"app.worker\"]\n";
    machine.project.write("pyproject.toml", &format!("{metadata}\n{process}"));
    machine.project.write(".env", "AGENCYOS_LOG_LEVEL=WARNING\n");
    machine.shell(folder, "ipo-oci build").success();
    machine.shell(folder, "ipo-oci copy oci:dist/image ghcr.io/library/python:3.13-slim").success();
    machine.run_page(folder, "docs/test.md", |_| true);
    assert!(machine.project.read("test.xml").contains("<testcase"), "{}", machine.project.read("test.xml"));
}

#[test]
fn the_commands_of_the_page_about_bases_run() {
    let machine = Machine::with_base();
    let folder = machine.project.path();
    machine.shell(folder, "ipo-oci build --push -t ghcr.io/team/hello:1.2").success();
    let archive = fs_err::File::create(folder.join("debian.tar.gz")).expect("a file");
    let (archive, _) = archive.into_parts();
    run(Command::new("gzip").args(["-1", "--stdout"]).arg(base::debian()).stdout(archive)).success();
    machine.run_page(folder, "docs/bases.md", |_| true);
}

#[test]
fn the_commands_of_the_page_about_registries_run() {
    let machine = Machine::with_base();
    let folder = machine.project.path();
    for name in ["agencyos:3.0.0", "agencyos:deb"] {
        machine.shell(folder, &format!("ipo-oci build -t {name}")).success();
    }
    machine.shell(folder, "ipo-oci copy oci:dist/image:3.0.0 ghcr.io/team/hello:1").success();
    machine
        .shell(folder, &format!("ipo-oci copy {PUBLISHED_BASE} ghcr.io/dockerhub/library/{BASE}"))
        .success();
    for architecture in ["amd64", "arm64"] {
        machine.store(architecture, &format!("oci:{architecture}/image"));
    }
    let authority = Registry::start(Kind::Tls);
    fs_err::copy(authority.folder.path().join("ca.pem"), folder.join("ca.pem")).expect("a copy");
    machine.run_page(folder, "docs/registries.md", |_| true);
}

#[test]
fn the_commands_of_the_guide_run() {
    let machine = Machine::new();
    let folder = machine.project.path();
    for name in ["app", "tests"] {
        fs_err::remove_dir_all(folder.join(name)).expect("a folder of the example");
    }
    let page = fs_err::read_to_string(repository().join("docs/guide.md")).expect("the guide");
    for path in ["pyproject.toml", "app/main.py"] {
        let start = page.find(&format!("`{path}`:")).expect("a file of the guide");
        let text =
            page[start..].split("```").nth(1).and_then(|block| block.split_once('\n')).expect("a block");
        machine.project.write(path, text.1);
    }
    fs_err::remove_file(folder.join("requirements.txt")).expect("a file of the example");
    machine.project.write("app/__init__.py", "");
    machine.project.write("README.md", "# Hello\n");
    machine.run_page(folder, "docs/guide.md", |_| true);
}

#[test]
fn the_commands_of_the_readme_about_examples_run() {
    let machine = Machine::new();
    let folder = machine.project.beside("repository");
    fs_err::create_dir(&folder).expect("a folder");
    copy_folder(&repository().join("examples"), &folder.join("examples"));
    machine.run_page(&folder, "README.md", |line| line.text.contains("examples/"));
}
