//! IPO301 to IPO303: the programs of the configuration and the scripts of environments can be started
//! in the image.
//!
//! The search is that of [`crate::plan::start`]. Of a shell's line, the first command is checked.

use std::collections::BTreeMap;

use crate::base::NodeKind;
use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::image::CheckedImage;
use crate::check::pythons::CheckedPython;
use crate::error::Advice as _;
use crate::image::shell;
use crate::plan::start::{RequiredProgram, StartCheck, StartError, StartFault};
use crate::tree::ImagePath;

/// Number of bytes with the first two lines of a script.
const START_BYTES: usize = 512;
/// Names of Python interpreters begin with these.
const INTERPRETERS: [&str; 2] = ["python", "pypy"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if reporter.wants(&["IPO301"]) {
        check_command(image, reporter);
    }
    if reporter.wants(&["IPO302"]) {
        check_probe(image, reporter);
    }
    if reporter.wants(&["IPO303"]) {
        check_scripts(image, reporter);
    }
}

/// Returns the fault of a command, or of a health check.
fn fault(image: &CheckedImage, entrypoint: &[String], probe: Option<&[String]>) -> Option<StartError> {
    let process = image.process(entrypoint, probe);
    let started = StartCheck { process: &process, inherited: &[], on_base: true, scripts: &[] };
    // A missing module is the subject of another rule.
    started.check(image).err().filter(|error| error.fault != StartFault::NoModule)
}

fn check_command(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let words = image.config.command();
    let of_line = || fault(image, &shell::first_command(shell::line(&words)?)?, None);
    let Some(mut error) = fault(image, &words, None).or_else(of_line) else { return };
    if image.config.entrypoint.is_empty() {
        error.role = crate::plan::start::Role::Command;
    }
    let help = error.help();
    reporter.report(with_help(Diagnostic::new("IPO301", error.to_string()), help));
}

fn check_probe(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let test = &image.config.healthcheck;
    let of_line = || {
        let line = test.split_first().filter(|(kind, _)| *kind == "CMD-SHELL")?.1.first()?;
        let words = match shell::line(test.get(1..)?) {
            Some(line) => shell::first_command(line)?,
            None => shell::first_command(line)?,
        };
        fault(image, &[], Some(&[vec!["CMD".to_owned()], words].concat()))
    };
    let Some(error) = fault(image, &[], Some(test)).or_else(of_line) else { return };
    let help = error.help();
    reporter.report(with_help(Diagnostic::new("IPO302", error.to_string()), help));
}

fn with_help(diagnostic: Diagnostic, help: Option<String>) -> Diagnostic {
    match help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

fn check_scripts(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let mut by_fault: BTreeMap<(String, String), Vec<ImagePath>> = BTreeMap::new();
    for python in &image.pythons {
        let dangling = dangling_interpreter(image, python);
        if let Some((path, target)) = &dangling {
            reporter.report(
                Diagnostic::new("IPO303", format!("is a link to {target}, which is not in the image"))
                    .at(path)
                    .with_severity(Severity::Error)
                    .with_help("make the environment with the interpreter of the image, at the same path"),
            );
        }
        if dangling.is_some() {
            continue;
        }
        for path in scripts(image, python) {
            if let Some((interpreter, reason)) = script_fault(image, &path) {
                by_fault.entry((interpreter, reason)).or_default().push(path);
            }
        }
    }
    for ((interpreter, reason), mut paths) in by_fault {
        paths.sort();
        paths.dedup();
        let owner = paths.first().and_then(|path| image.owner(path));
        reporter.report(
            Diagnostic::new("IPO303", format!("begins with the interpreter {interpreter}, which {reason}"))
                .of(owner.as_ref())
                .at_all(paths)
                .with_help("install the distribution in an environment at its path in the image"),
        );
    }
}

/// Returns the link of an environment that leads to no interpreter, and its target.
fn dangling_interpreter(image: &CheckedImage, python: &CheckedPython) -> Option<(ImagePath, String)> {
    let environment = python.environment.as_ref().filter(|_| python.executable.is_none())?;
    ["bin/python", "bin/python3"].iter().find_map(|name| {
        let path = environment.join(name).ok()?;
        let node = image.lookup(&path).filter(|node| node.is_own())?;
        match &node.kind {
            NodeKind::Symlink(target) => {
                Some((path, last_target(image, &environment.join(name).ok()?, target)))
            }
            _ => None,
        }
    })
}

/// Follows links beside each other, such as `python` to `python3`, to the first that leads elsewhere.
fn last_target(image: &CheckedImage, link: &ImagePath, target: &str) -> String {
    let mut target = target.to_owned();
    for _ in 0..4 {
        let next = link.parent().and_then(|folder| folder.join(&target).ok());
        let Some(NodeKind::Symlink(further)) = next.and_then(|next| Some(image.lookup(&next)?.kind.clone()))
        else {
            break;
        };
        target = further.to_string();
    }
    target
}

/// Returns the scripts of an environment, or those that an interpreter's distributions record.
fn scripts(image: &CheckedImage, python: &CheckedPython) -> Vec<ImagePath> {
    let prefix = python.environment.as_ref().or(python.prefix.as_ref());
    let Some(bin) = prefix.and_then(|prefix| prefix.join("bin").ok()) else { return Vec::new() };
    let all = image.children(&bin).filter(|(path, node)| {
        let is_script = node.is_own() && node.is_file() && node.mode & 0o111 != 0;
        is_script && (python.environment.is_some() || image.recorded_by(path).is_some())
    });
    all.map(|(path, _)| path.clone()).collect()
}

/// Returns the Python interpreter of a script that cannot be started, and the reason.
fn script_fault(image: &CheckedImage, path: &ImagePath) -> Option<(String, String)> {
    let start = image.start(path, START_BYTES).filter(|start| start.starts_with(b"#!"))?;
    let text = String::from_utf8_lossy(&start).into_owned();
    // pip and uv write such a line for an interpreter with a long path or with spaces.
    if let Some(interpreter) = text.lines().nth(1).and_then(executed) {
        let words = [interpreter.clone()];
        let error = fault(image, &words, None)?;
        return Some((interpreter, error.fault.to_string()));
    }
    let error = fault(image, &[path.to_string()], None)?;
    let StartError { needed: Some(RequiredProgram { program, .. }), fault, .. } = error else { return None };
    let name = program.rsplit('/').next().unwrap_or(&program);
    let is_python = INTERPRETERS.iter().any(|known| name.starts_with(known));
    is_python.then(|| (program, fault.to_string()))
}

/// Returns the interpreter in a line of the form `'''exec' "/path/python" "$0" "$@"`.
fn executed(line: &str) -> Option<String> {
    let rest = line.strip_prefix("'''exec' ")?;
    let interpreter = match rest.strip_prefix(['"', '\'']) {
        Some(quoted) => quoted.split(['"', '\'']).next()?,
        None => rest.split(' ').next()?,
    };
    (!interpreter.is_empty()).then(|| interpreter.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{SITE, TestImage};

    fn shell(words: &[&str]) -> Vec<String> {
        let elf = crate::elf::fixture::program("/lib64/ld-linux-x86-64.so.2", &[]).bytes();
        let image = TestImage::environment().program("bin/sh", &elf).program("bin/wget", &elf);
        image.command(words).found("IPO301")
    }

    #[test]
    fn the_command_is_followed_into_a_shell_s_line() {
        assert_eq!(shell(&["/app/.venv/bin/python", "-V"]), Vec::<String>::new());
        assert_eq!(shell(&["python", "-m", "nothing"]), Vec::<String>::new(), "a fault of the application");
        assert_eq!(shell(&["sh", "-c", "exec wget x"]), Vec::<String>::new());
        assert_eq!(
            shell(&["sh", "-c", "exec uvicorn app:app"]),
            [
                "IPO301 cannot start the entrypoint `uvicorn`: it is not in /app/.venv/bin, /usr/local/bin, /bin of the image"
            ]
        );
        assert_eq!(shell(&["uvicorn"]).len(), 1);
    }

    #[test]
    fn the_program_of_a_probe_is_searched() {
        let elf = crate::elf::fixture::program("/lib64/ld-linux-x86-64.so.2", &[]).bytes();
        let found = |test: &[&str]| {
            let mut image = TestImage::environment().program("bin/sh", &elf).program("bin/wget", &elf);
            let test: Vec<String> = test.iter().map(|word| (*word).to_owned()).collect();
            image.process.healthcheck = image.clone().image().process(&[], Some(&test)).healthcheck;
            image.found("IPO302").len()
        };
        assert_eq!(found(&["CMD-SHELL", "wget -q http://localhost/ || exit 1"]), 0);
        assert_eq!(found(&["CMD-SHELL", "curl -f http://localhost/ || exit 1"]), 1);
        assert_eq!(found(&["CMD", "curl", "-f", "http://localhost/"]), 1);
        assert_eq!(found(&["CMD", "python", "-c", "pass"]), 0);
        assert_eq!(found(&["NONE"]), 0);
    }

    #[test]
    fn scripts_of_another_machine_are_reported_once() {
        let script = |line: &str| format!("{line}\nimport sys\n");
        let image = TestImage::environment()
            .program("app/.venv/bin/good", script("#!/app/.venv/bin/python").as_bytes())
            .program("app/.venv/bin/env", script("#!/usr/local/bin/python3").as_bytes())
            .program("app/.venv/bin/sh-tool", script("#!/bin/bash").as_bytes());
        assert_eq!(image.found("IPO303"), Vec::<String>::new());
        let image = image
            .program("app/.venv/bin/a", script("#!/build/.venv/bin/python").as_bytes())
            .program("app/.venv/bin/b", script("#!/build/.venv/bin/python").as_bytes())
            .program(
                "app/.venv/bin/long",
                b"#!/bin/sh\n'''exec' \"/long path/python\" \"$0\" \"$@\"\n' '''\n",
            );
        let found = image.diagnostics("IPO303");
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!(
            found[0].message,
            "begins with the interpreter /build/.venv/bin/python, which is not in the image"
        );
        assert_eq!(found[0].others.len(), 1);
    }

    #[test]
    fn an_environment_without_its_interpreter_is_an_error() {
        let image = TestImage::python()
            .file("app/.venv/pyvenv.cfg", "home = /opt/python/bin\n")
            .link("app/.venv/bin/python", "python3")
            .link("app/.venv/bin/python3", "/opt/python/bin/python3.11")
            .program("app/.venv/bin/a", b"#!/app/.venv/bin/python\n")
            .file(&format!("{SITE}/x.py"), "");
        assert_eq!(
            image.found("IPO303"),
            [
                "IPO303 /app/.venv/bin/python: is a link to /opt/python/bin/python3.11, which is not in the image"
            ]
        );
    }
}
