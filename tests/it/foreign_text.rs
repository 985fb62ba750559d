//! Names, metadata and responses with terminal escapes, which no output may contain.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{Outcome, Project, requires, run};
use test_macros::test;

/// Clears the screen, sets the window's title, rings the bell, returns to the start of the line,
/// forges a line of the program and reverses the text direction; also has a zero-width space and a
/// C1 control.
const HOSTILE: &str = "a\x1b[2J\x1b]0;t\x07\rb\nwarning: forged\u{202e}c\u{200b}\u{9b}31m";

/// Returns a project whose files, environment and settings contain the hostile text.
fn project() -> Project {
    let project = Project::tiny();
    project.write(&format!("data/{HOSTILE}.txt"), "x");
    std::os::unix::fs::symlink(HOSTILE, project.path().join("data/link")).expect("a link");
    project.write(&format!("data/{HOSTILE}.py"), "print 'does not compile'\n");
    let text = serde_json::to_string(HOSTILE).expect("a string");
    // TOML strings have the same escapes, except for U+009B.
    let text = text.replace('\u{9b}', "\\u009b");
    let settings = project.read("pyproject.toml")
        + &format!("\n[tool.ipo-oci]\nenv = {{ HOSTILE = {text} }}\nlabels = {{ hostile = {text} }}\n");
    project.write("pyproject.toml", &settings);
    crate::support::venv::add_stand_in(
        &project.path().join(".venv"),
        "extra",
        &format!("Summary: {}\n", "a\x1b[2J\u{202e}"),
    );
    let site = crate::support::venv::site_packages(&project.path().join(".venv"));
    let metadata = site.join("uvloop-1.0.dist-info/METADATA");
    let changed = fs_err::read_to_string(&metadata)
        .expect("a file")
        .replace("Version: 1.0", "Version: 1.0\x1b[2J\u{202e}");
    fs_err::write(metadata, changed).expect("a file");
    project
}

#[track_caller]
fn assert_escaped(what: &str, text: &str) {
    let raw = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}' | '\u{2066}'..='\u{2069}')
    };
    let bad: String = text.chars().filter(|c| raw(*c)).collect();
    assert!(bad.is_empty(), "{what} prints {bad:?} in\n{text:?}");
    let forged = text.lines().find(|line| line.starts_with("warning: forged"));
    assert!(forged.is_none(), "{what} prints a line that is not its own in\n{text}");
}

#[track_caller]
fn checked(what: &str, outcome: Outcome) -> Outcome {
    assert_escaped(what, &String::from_utf8_lossy(&outcome.stdout));
    assert_escaped(what, &outcome.stderr);
    outcome
}

#[test]
fn subcommands_escape_controls() {
    let project = project();
    let cache = project.beside("cache").display().to_string();
    let build = |arguments: &[&str]| {
        let mut command = project.command("build");
        run(command.args(["--no-provision", "--cache-dir", &cache]).args(arguments))
    };
    let reports = ["text", "markdown", "html", "json"];
    let file = |form: &str| project.beside(&format!("report.{form}"));
    let dry = checked("build --dry-run", build(&["--dry-run=full"])).success();
    for form in ["summary", "json"] {
        checked(form, build(&[&format!("--dry-run={form}")])).success();
    }
    assert!(
        dry.text().contains(
            "/app/data/a\\u{1b}[2J\\u{1b}]0;t\\u{7}\\rb\\nwarning: forged\\u{202e}c\\u{200b}\\u{9b}31m.txt\n"
        ),
        "{}",
        dry.text()
    );
    for form in reports {
        let into = format!("{form}={}", file(form).display());
        checked("build", build(&["-v", "--report", &into, "--report", form])).success();
        assert_escaped(form, &fs_err::read_to_string(file(form)).expect("a report"));
    }
    for (subcommand, arguments) in [
        ("ls", &["-R", "oci:dist/image"][..]),
        ("ls", &["oci:dist/image:/app/data"]),
        ("ls", &[&format!("oci:dist/image:/app/{HOSTILE}")]),
        ("inspect", &["oci:dist/image"]),
        ("inspect", &["--json", "oci:dist/image"]),
        ("inspect", &[&format!("oci:{HOSTILE}")]),
        ("context", &[]),
        ("context", &["--paths"]),
        ("context", &["--why", &format!("data/{HOSTILE}.txt")]),
        ("lock", &["--base", &format!("oci:{HOSTILE}")]),
        ("build", &["--venv", HOSTILE]),
        ("build", &["--recipe", HOSTILE]),
        ("build", &["--report", &format!("text={HOSTILE}/x")]),
        ("cache", &["ls"]),
        ("cache", &["ls", "--json"]),
        ("copy", &["oci:dist/image", &format!("oci:{HOSTILE}/x")]),
    ] {
        let mut command = project.command(subcommand);
        command.args(arguments);
        if subcommand == "cache" {
            command.args(["--cache-dir", &cache]);
        }
        checked(&format!("{subcommand} {arguments:?}"), run(&mut command));
    }
}

#[test]
fn escapes_names_that_are_not_utf_8() {
    let project = Project::tiny();
    let name = std::ffi::OsStr::from_bytes(b"no\xfftext\n\x1b[2J\xc3");
    fs_err::write(project.path().join(Path::new(name)), "x").expect("a file");
    for subcommand in ["build", "context"] {
        let outcome = checked(subcommand, run(&mut project.command(subcommand)));
        assert!(outcome.stderr.contains("no\\xfftext\\n\\u{1b}[2J\\xc3"), "{}", outcome.describe());
    }
}

#[test]
fn escapes_the_output_of_tools() {
    let project = Project::of(&[("requirements.txt", "a\n"), ("main.py", "")]);
    let bin = project.beside("bin");
    fs_err::create_dir(&bin).expect("a folder");
    let uv = bin.join("uv");
    fs_err::write(
        &uv,
        "#!/bin/sh\nprintf '\\033[2J\\033[1;31mno\\007\\r\\nwarning: forged\\n' >&2\nexit 3\n",
    )
    .expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(&uv, mode).expect("a mode");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let mut command = project.command("build");
    let outcome = run(command.env("PATH", path).args(["--cache-dir"]).arg(project.beside("cache")));
    let outcome = checked("a tool", outcome).exits_with(1);
    assert!(outcome.stderr.contains("\\u{1b}[1;31mno"), "{}", outcome.stderr);
}

#[cfg(feature = "registry")]
#[test]
fn escapes_the_responses_of_registries() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
    let host = format!("127.0.0.1:{}", listener.local_addr().expect("an address").port());
    let body = serde_json::json!({ "errors": [{ "code": HOSTILE, "message": HOSTILE }] }).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let mut command = crate::support::ipo_oci();
    command.args(["inspect", "--insecure-registry", &host, &format!("docker://{host}/a:1")]);
    let outcome = checked("a registry", run(&mut command)).exits_with(1);
    assert!(outcome.stderr.contains("forged"), "{}", outcome.stderr);
}

#[test]
fn escapes_controls_on_a_terminal() {
    requires("script");
    let project = project();
    let cache = project.beside("cache").display().to_string();
    let line = format!("{} build --no-provision --cache-dir {cache}", crate::support::binary().display());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(project.path());
    crate::support::clean_environment(&mut command);
    let outcome = run(&mut command).success();
    let shown = String::from_utf8_lossy(&outcome.stdout).into_owned();
    // The program's own sequences: colors, cleared lines, no wrapping.
    let own = [
        "\x1b[0m",
        "\x1b[1m",
        "\x1b[2m",
        "\x1b[1;31m",
        "\x1b[1;32m",
        "\x1b[1;33m",
        "\x1b[1;36m",
        "\r\x1b[K",
        "\x1b[?7l",
        "\x1b[?7h",
        "\r\n",
    ];
    let rest = own.iter().fold(shown, |text, own| text.replace(own, "\n"));
    assert_escaped("a terminal", &rest);
}
