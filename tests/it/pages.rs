//! The pages of `docs/frameworks/` and `docs/servers/`: each holds a project, and the commands that build and
//! run the project with their output. The tests do what a page says, in its order.
//!
//!     cargo test --test it pages::the_pages              # `ipo-oci explain` alone
//!     .ci/engine cargo test --test it pages::            # images and containers as well
//!
//! A line with nothing but a file name in code and a colon, and the block after it, are a file. A block
//! `console` has commands after `$ `, each before its output.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::engine::{Container, Engine};
use crate::support::{Project, eventually, free_port, http, requires, run};
use test_macros::test;

/// The variables that every image has, which no page repeats.
const COMMON: [&str; 6] =
    ["HOME=", "LANG=", "PATH=", "PYTHONDONTWRITEBYTECODE=", "PYTHONUNBUFFERED=", "VIRTUAL_ENV="];

/// Options of `docker run` that a test replaces by its own, and their number of words.
const REPLACED: [(&str, usize); 4] = [("--detach", 1), ("--rm", 1), ("--name", 2), ("--publish", 2)];

/// A step of a page.
#[derive(Debug)]
enum Step {
    File { path: String, text: String },
    Command { words: Vec<String>, output: Vec<String> },
}

/// Declares a test for each page, and lists the pages.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $test() {
                build_and_run($page);
            }
        )*
    };
}

pages! {
    aiohttp: "frameworks/aiohttp.md",
    blacksheep: "frameworks/blacksheep.md",
    bottle: "frameworks/bottle.md",
    connexion: "frameworks/connexion.md",
    console_script: "frameworks/console-script.md",
    dash: "frameworks/dash.md",
    django: "frameworks/django.md",
    falcon: "frameworks/falcon.md",
    fastapi: "frameworks/fastapi.md",
    flask: "frameworks/flask.md",
    gradio: "frameworks/gradio.md",
    litestar: "frameworks/litestar.md",
    nicegui: "frameworks/nicegui.md",
    pyramid: "frameworks/pyramid.md",
    quart: "frameworks/quart.md",
    sanic: "frameworks/sanic.md",
    starlette: "frameworks/starlette.md",
    streamlit: "frameworks/streamlit.md",
    tornado: "frameworks/tornado.md",
    daphne: "servers/daphne.md",
    fastapi_run: "servers/fastapi-run.md",
    granian: "servers/granian.md",
    gunicorn: "servers/gunicorn.md",
    hypercorn: "servers/hypercorn.md",
    uvicorn: "servers/uvicorn.md",
    uwsgi: "servers/uwsgi.md",
    waitress: "servers/waitress.md",
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Reads the steps of a page.
fn steps(page: &str) -> Vec<Step> {
    let text = fs_err::read_to_string(docs().join(page)).expect("a page");
    let mut steps = Vec::new();
    let mut file = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if !line.is_empty() {
                let name = line.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:"));
                file = name.filter(|name| !name.contains('`')).map(str::to_owned);
            }
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if language == "console" {
            for line in block {
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => {
                        let words = command.split_whitespace().map(str::to_owned).collect();
                        steps.push(Step::Command { words, output: Vec::new() });
                    }
                    (None, Some(Step::Command { output, .. })) => output.push(line.to_owned()),
                    (None, _) => panic!("{page}: output before a command: {line}"),
                }
            }
        } else if let Some(path) = file.take() {
            steps.push(Step::File { path, text: block.join("\n") + "\n" });
        }
    }
    steps
}

/// Returns the lines about the process in the output of `build --dry-run` that are on the page.
fn excerpt(output: &str) -> Vec<String> {
    let is_quoted = |line: &&str| match line.strip_prefix("  ").and_then(|line| line.split_once(' ')) {
        Some(("env", variable)) => !COMMON.iter().any(|name| variable.trim_start().starts_with(name)),
        Some((topic, _)) => ["command", "port", "exposes", "volume", "stop"].contains(&topic),
        None => false,
    };
    output.lines().filter(is_quoted).map(str::to_owned).collect()
}

/// Runs `ipo-oci` as the page says.
#[track_caller]
fn ipo_oci(page: &str, project: &Project, words: &[String], expected: &[String]) {
    let mut command = project.command(&words[0]);
    let outcome = run(command.args(&words[1..])).success();
    let found = match words[0].as_str() {
        "explain" => outcome.text().lines().map(str::to_owned).collect(),
        "build" if words.iter().any(|word| word == "--dry-run") => excerpt(outcome.text()),
        _ => return,
    };
    let found: Vec<String> = found;
    assert_eq!(found, expected, "{page}: `ipo-oci {}` prints\n{}", words.join(" "), found.join("\n"));
}

/// The container of a page and its port.
struct Running {
    container: Container,
    port: u16,
}

/// Runs the commands of a page.
#[track_caller]
fn build_and_run(page: &str) {
    let engine = Engine::find();
    requires("uv");
    requires("curl");
    let project = Project::of(&[]);
    let image = format!("ipo-oci-test/{}:1", page.replace('/', "-").trim_end_matches(".md"));
    let mut running: Option<Running> = None;
    let mut command: Vec<String> = Vec::new();
    for step in steps(page) {
        let (words, output) = match step {
            Step::File { path, text } => {
                project.write(&path, &text);
                continue;
            }
            Step::Command { words, output } => (words, output),
        };
        match (words[0].as_str(), words.get(1).map(String::as_str).unwrap_or_default()) {
            ("ipo-oci", _) => {
                let is_destination = |word: &String| word.starts_with("docker-daemon:");
                let own = format!("docker-daemon:{image}");
                let words: Vec<String> = words[1..]
                    .iter()
                    .map(|word| if is_destination(word) { own.clone() } else { word.clone() })
                    .collect();
                ipo_oci(page, &project, &words, &output);
                if let Some(line) = output.iter().find_map(|line| line.strip_prefix("  command ")) {
                    let words = line.trim().strip_suffix(" (behind a launcher that sets the port)");
                    command = serde_json::from_str(words.unwrap_or(line.trim())).expect("a list of words");
                }
            }
            ("docker", "run") => {
                drop(running.take());
                assert_eq!(command_of(engine, &image), command, "{page}");
                running = Some(start(engine, page, &image, &words[2..]));
            }
            ("docker", "stop") => {
                let Running { container, .. } = running.take().expect("a container");
                assert_eq!(container.stop(), 0, "{page}: {}", container.logs());
            }
            ("curl", _) => {
                let Running { container, port } = running.as_ref().expect("a container");
                let words: Vec<String> =
                    words.iter().map(|word| word.replace(":8000/", &format!(":{port}/"))).collect();
                let options = ["--silent", "--show-error", "--fail"];
                let answer = run(Command::new("curl").args(options).args(&words[1..]));
                let expected = output.join("\n");
                let is_right = answer.status.success() && answer.text().contains(&expected);
                assert!(is_right, "{page}: {}\n{}", answer.describe(), container.logs());
            }
            _ => panic!("{page}: unknown command {words:?}"),
        }
    }
    assert!(running.is_none(), "{page} stops the container");
    engine.docker(&["image", "rm", "--force", &image]);
}

/// Returns the words of an image's command, without the launcher.
fn command_of(engine: Engine, image: &str) -> Vec<String> {
    let config = engine.docker(&["image", "inspect", "--format", "{{json .Config}}", image]).success();
    let config: serde_json::Value = serde_json::from_slice(&config.stdout).expect("JSON");
    let words = ["Entrypoint", "Cmd"].into_iter().filter_map(|key| config[key].as_array()).flatten();
    let words: Vec<String> = words.map(|word| word.as_str().expect("a word").to_owned()).collect();
    let is_launched = words.get(3).is_some_and(|program| program.contains("os.execvp"));
    words[if is_launched { 4 } else { 0 }..].to_vec()
}

/// Starts the image of a page with the options of its `docker run`, and waits until the container is healthy.
#[track_caller]
fn start(engine: Engine, page: &str, image: &str, words: &[String]) -> Running {
    let mut options: Vec<&str> = Vec::new();
    let (_, mut rest) = words.split_last().expect("the image's name");
    while let [word, ..] = rest {
        let replaced = REPLACED.iter().find(|(name, _)| name == word);
        if replaced.is_none() {
            options.push(word);
        }
        rest = &rest[replaced.map_or(1, |(_, words)| *words)..];
    }
    for hardened in ["--read-only", "--cap-drop", "--tmpfs"] {
        assert!(options.contains(&hardened), "{page}: {options:?}");
    }
    launch(engine, page, image, &options)
}

/// Starts an image with options of `docker run`, and waits until the container is healthy.
#[track_caller]
fn launch(engine: Engine, page: &str, image: &str, options: &[&str]) -> Running {
    let port = free_port();
    // Azure gives the port in another variable.
    let variable = if page.starts_with("servers") { "WEBSITES_PORT" } else { "PORT" };
    let port_variable = format!("{variable}={port}");
    let own = ["--network", "host", "--health-interval", "1s", "--env", &port_variable, image];
    let container = engine.start(&[options, &own].concat());
    container.wait_healthy();
    Running { container, port }
}

#[test]
fn images_for_development_restart_on_changes() {
    let engine = Engine::find();
    requires("uv");
    for (page, file) in [
        ("servers/hypercorn.md", "main.py"),
        ("servers/granian.md", "main.py"),
        ("servers/uwsgi.md", "app.py"),
        ("frameworks/sanic.md", "app.py"),
    ] {
        let project = Project::of(&[]);
        for step in steps(page) {
            if let Step::File { path, text } = step {
                project.write(&path, &text.replace("granian~", "granian[reload]~"));
            }
        }
        let image = format!("ipo-oci-test/{}:dev", page.replace('/', "-").trim_end_matches(".md"));
        let destination = format!("docker-daemon:{image}");
        project.build(&["--target", "dev", "-o", &destination]);
        let mounted = project.beside(file);
        fs_err::write(&mounted, project.read(file)).expect("a file");
        let volume = format!("{}:/app/{file}:ro", mounted.display());
        // No event of the kernel names a file that is mounted by itself.
        let polling = ["--env", "WATCHFILES_FORCE_POLLING=true", "--volume", &volume];
        let options = ["--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp"];
        let Running { container, port } = launch(engine, page, &image, &[&options[..], &polling].concat());
        let changed = project.read(file).replace("\"ok\"", "\"changed\"");
        let mut written: Option<Instant> = None;
        eventually(&format!("{page}: the server restarts"), || {
            // A server may not watch the file yet.
            if written.is_none_or(|time| time.elapsed() > Duration::from_secs(5)) {
                fs_err::write(&mounted, &changed).expect("a file");
                written = Some(Instant::now());
            }
            http::get(port, "/health").ok().filter(|answer| answer.body.contains("changed"))
        });
        assert_eq!(container.stop(), 0, "{page}: {}", container.logs());
        drop(container);
        engine.docker(&["image", "rm", "--force", &image]);
    }
}

#[test]
fn the_pages_show_the_explained_service() {
    for page in PAGES {
        let project = Project::of(&[]);
        let mut explained = 0;
        for step in steps(page) {
            match step {
                Step::File { path, text } => project.write(&path, &text),
                Step::Command { words, output } if words[..2] == ["ipo-oci", "explain"] => {
                    ipo_oci(page, &project, &words[1..], &output);
                    explained += 1;
                }
                Step::Command { .. } => {}
            }
        }
        assert!(explained > 0, "{page} has no `ipo-oci explain`");
    }
}

#[test]
fn every_page_has_a_test_and_a_link() {
    let mut files = BTreeSet::new();
    for folder in ["frameworks", "servers"] {
        for entry in fs_err::read_dir(docs().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            files.insert(format!("{folder}/{name}"));
        }
    }
    files.remove("frameworks/README.md");
    assert_eq!(files, PAGES.iter().map(|page| (*page).to_owned()).collect());
    let table = fs_err::read_to_string(docs().join("frameworks/README.md")).expect("the table");
    for page in PAGES {
        let link = match page.strip_prefix("frameworks/") {
            Some(name) => format!("({name})"),
            None => format!("(../{page})"),
        };
        assert!(table.contains(&link), "{link} is not in the table");
    }
    let titles: BTreeMap<String, &str> = PAGES
        .iter()
        .map(|page| {
            let text = fs_err::read_to_string(docs().join(page)).expect("a page");
            (text.lines().next().unwrap_or_default().to_owned(), *page)
        })
        .collect();
    assert_eq!(titles.len(), PAGES.len(), "{titles:?}");
    assert!(titles.keys().all(|title| title.starts_with("# ")), "{titles:?}");
}
