//! [`hints`]: causes of a failed test, read from what the container printed.

use super::options::{ContainerOptions, NetworkMode, RootMode};
use super::report::{StepFailure, TestReport, TestStep};
use crate::image::shell;
use crate::printable;
use crate::python::removed::{attribute_removed_in, module_removed_in};

/// The longest name of a variable or of a module in a hint.
const NAME_LENGTH: usize = 100;
/// The number of lines of a traceback above its exception in which a read of the environment is searched.
const LINES_ABOVE: usize = 40;
/// The most variables in a hint.
const VARIABLES_SHOWN: usize = 8;

/// Returns hints to the cause of a failure, by what the container printed and by its command.
pub(super) fn hints(report: &TestReport, options: &ContainerOptions, command: &[String]) -> Vec<String> {
    let mut hints = Vec::new();
    let log = report.log.to_lowercase();
    let says = |text: &str| log.contains(text);
    hints.extend(removed_name(&report.log));
    hints.extend(missing_variables(&report.log));
    hints.extend(missing_module(&report.log));
    hints.extend(missing_file(&report.log));
    if options.root == RootMode::ReadOnly && options.engine.is_none() && says("read-only file system") {
        let file =
            report.log.split_once("Read-only file system: '").and_then(|(_, rest)| rest.split('\'').next());
        let folder =
            file.map_or("the folder".to_owned(), |file| format!("the folder of `{}`", printable::text(file)));
        hints.push(format!(
            "add {folder} to `writable` or `volumes` of [tool.ipo-oci], or test with --writable"
        ));
    }
    let is_offline = says("network is unreachable") || says("name resolution") || says("connection refused");
    if options.network == NetworkMode::Private && options.engine.is_none() && is_offline {
        hints.push(
            "the container has no network; for a service of this machine add --network host".to_owned(),
        );
    }
    let ignores_signal = |step: &TestStep| step.failure == Some(StepFailure::SignalIgnored);
    if report.failure().is_some_and(ignores_signal) && keeps_shell(command) {
        hints.push(
            "the shell of the command passes no signal on: put `exec` before its program, or write the command as \
             a list of words"
                .to_owned(),
        );
    }
    hints
}

/// Returns true for a command `sh -c LINE`, the shell form of a Dockerfile, whose shell waits for the program.
fn keeps_shell(command: &[String]) -> bool {
    shell::line(command).is_some_and(|line| !line.split_whitespace().any(|word| word == "exec"))
}

/// Returns the hint for a module or a name that newer versions of Python lack.
fn removed_name(log: &str) -> Option<String> {
    let of_line = |line: &str| {
        if let Some(rest) = after(line, "No module named ") {
            let module = quoted(rest)?.split('.').next()?;
            return Some((module.to_owned(), module_removed_in(module)?));
        }
        let (module, name) = if let Some(rest) = after(line, "cannot import name ") {
            (quoted(after(rest, " from ")?)?, quoted(rest)?)
        } else {
            let rest = after(line, "AttributeError: module ")?;
            (quoted(rest)?, quoted(after(rest, " has no attribute ")?)?)
        };
        Some((format!("{module}.{name}"), attribute_removed_in(module, name)?))
    };
    let (name, minor) = log.lines().find_map(of_line)?;
    Some(format!(
        "Python 3.{minor} removed `{name}`, which a distribution of the image uses: build with an older Python \
         (--python 3.{}), or require a newer version of the distribution",
        minor - 1
    ))
}

/// Returns the hint for a module that no distribution of the image has.
fn missing_module(log: &str) -> Option<String> {
    let module =
        log.lines().find_map(|line| quoted(after(line, "ModuleNotFoundError: No module named ")?))?;
    let package = module.split('.').next().unwrap_or(module);
    if module_removed_in(package).is_some() {
        return None;
    }
    Some(match package {
        // setuptools 82 removed the module, and Python 3.12 setuptools from new environments.
        "pkg_resources" => {
            "a distribution of the image imports `pkg_resources` and does not require setuptools: write \
             with = [\"setuptools<82\"] to [tool.ipo-oci]"
                .to_owned()
        }
        _ => format!(
            "no distribution of the image has the module `{module}`: add its distribution to the project's dependencies, \
             or to `with` of [tool.ipo-oci]; a module of the project may need `app` or PYTHONPATH"
        ),
    })
}

/// Returns the hint for a file, a folder or a program that the service expects, at the last exception that names one.
fn missing_file(log: &str) -> Option<String> {
    let rest = log
        .lines()
        .rev()
        .find_map(|line| after(line, "FileNotFoundError: [Errno 2] No such file or directory: "))?;
    let (file, _) = rest.strip_prefix('\'')?.split_once('\'')?;
    let file = printable::text(file);
    if file.is_empty() || file.len() > NAME_LENGTH {
        return None;
    }
    Some(if file.contains(['/', '.']) {
        format!(
            "the image has no `{file}`, which the service opens: mount it with --volume FILE:PATH, or copy it into the \
             image with [[tool.ipo-oci.files]]; `writable` makes folders"
        )
    } else {
        format!(
            "the image has no `{file}`: if that is a program, add its package to `packages` of [tool.ipo-oci]"
        )
    })
}

/// Returns the hint for environment variables without which the service does not start.
fn missing_variables(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let mut names: Vec<&str> = Vec::new();
    for name in (0..lines.len()).filter_map(|index| variable_of(&lines, index)) {
        if !names.contains(&name) && names.len() < VARIABLES_SHOWN {
            names.push(name);
        }
    }
    let first = names.first()?;
    let noun = if names.len() == 1 { "variable" } else { "variables" };
    // Pydantic prints the name of the field.
    let is_field = names.iter().any(|name| name.chars().any(|c| c.is_ascii_lowercase()));
    let prefix = if is_field { " (with the prefix of its settings)" } else { "" };
    Some(format!(
        "the service needs the {noun} {}{prefix}: test with --env {first}=VALUE, or with --env-file FILE for several; a \
         container gets them when it starts",
        names.join(", ")
    ))
}

/// Returns the variable that the exception in a line demands.
fn variable_of<'a>(lines: &[&'a str], index: usize) -> Option<&'a str> {
    let line = lines.get(index)?.trim();
    let above = || lines.get(index.saturating_sub(LINES_ABOVE)..index).unwrap_or_default().iter();
    let name = if let Some(rest) = after(line, "Set the ") {
        // django-environ.
        rest.split_once(" environment variable").map(|(name, _)| name)
    } else if let Some(rest) = after(line, "UndefinedValueError: ") {
        // python-decouple.
        rest.split_once(" not found").map(|(name, _)| name)
    } else if let Some(rest) = after(line, "KeyError: \"Config '") {
        // Starlette.
        rest.split_once("' is missing").map(|(name, _)| name)
    } else if let Some(rest) = line.strip_prefix("KeyError: ") {
        let reads = |line: &&str| line.contains("environ") || line.contains("<frozen os>");
        quoted(rest).filter(|_| above().any(reads))
    } else if line.starts_with("Field required [type=missing")
        || line.starts_with("field required (type=value_error.missing")
    {
        // Pydantic prints the field in a line of its own, and the name of the settings above.
        let is_of_settings = |line: &&str| {
            line.contains(" for ") && line.contains("validation error") && line.contains("ettings")
        };
        let field = lines.get(index.checked_sub(1)?)?.trim();
        Some(field).filter(|_| above().any(is_of_settings))
    } else {
        None
    }?;
    let is_name = !name.is_empty()
        && name.len() <= NAME_LENGTH
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then_some(name)
}

/// Returns the text after the first `mark`.
fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

/// Returns the first name in single quotes at the beginning of `text`.
fn quoted(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('\'')?.split_once('\'')?;
    let is_name =
        name.len() <= NAME_LENGTH && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_shell_that_passes_no_signal_on_is_named() {
        let stop = |failure| TestStep { failure, ..TestStep::failed("stop", "a reason", Duration::ZERO) };
        let hints = |failure, line: &[&str]| {
            let report = TestReport { steps: vec![stop(failure)], ..TestReport::default() };
            hints(&report, &ContainerOptions::new("helper"), &words(line)).len()
        };
        let ignored = Some(StepFailure::SignalIgnored);
        assert_eq!(hints(ignored, &["/bin/sh", "-c", "gunicorn a:b"]), 1);
        assert_eq!(hints(None, &["/bin/sh", "-c", "gunicorn a:b"]), 0);
        assert_eq!(hints(ignored, &["/bin/sh", "-c", "exec gunicorn a:b"]), 0);
        assert_eq!(hints(ignored, &["gunicorn", "-c", "a.py", "a:b"]), 0);
    }

    #[test]
    fn a_name_that_newer_versions_of_python_lack_is_named() {
        for (line, expected) in [
            (
                "AttributeError: module 'collections' has no attribute 'MutableMapping'",
                Some("3.10 removed `collections.MutableMapping`"),
            ),
            (
                "ImportError: cannot import name 'Mapping' from 'collections' (/usr/lib/x.py)",
                Some("--python 3.9)"),
            ),
            ("ModuleNotFoundError: No module named 'imghdr'", Some("3.13 removed `imghdr`")),
            ("ModuleNotFoundError: No module named 'distutils.util'", Some("--python 3.11)")),
            ("ModuleNotFoundError: No module named 'shop'", None),
            ("AttributeError: module 'collections' has no attribute 'shop'", None),
            ("AttributeError: module 'collections", None),
            ("No module named x", None),
        ] {
            let hint = removed_name(&format!("Traceback\n{line}\n"));
            let is_expected = match expected {
                Some(text) => hint.as_deref().is_some_and(|hint| hint.contains(text)),
                None => hint.is_none(),
            };
            assert!(is_expected, "{line}: {hint:?}");
        }
    }

    #[test]
    fn a_variable_that_the_service_demands_is_named() {
        for (log, expected) in [
            (
                "  File \"/app/a.py\", line 1\n    os.environ[\"KEY\"]\n  File \"<frozen os>\", line 679\nKeyError: 'KEY'",
                Some(" KEY"),
            ),
            ("  File \"/app/a.py\", line 1\n    table[name]\nKeyError: 'KEY'", None),
            (
                "django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable",
                Some(" SECRET_KEY"),
            ),
            (
                "decouple.UndefinedValueError: A_B not found. Declare it as envvar or define a default value.",
                Some(" A_B"),
            ),
            ("KeyError: \"Config 'DATABASE_URL' is missing, and has no default.\"", Some(" DATABASE_URL")),
            (
                "pydantic_core._pydantic_core.ValidationError: 2 validation errors for Settings\nDATABASE_URL\n  \
                 Field required [type=missing, input_value={}, input_type=dict]\nKEY\n  Field required [type=missing]",
                Some("s DATABASE_URL, KEY"),
            ),
            (
                "pydantic.error_wrappers.ValidationError: 1 validation error for AppSettings\ndsn\n  field required \
                 (type=value_error.missing)",
                Some(" dsn (with the prefix of its settings): test"),
            ),
            ("1 validation error for Order\nname\n  Field required [type=missing, input_value={}]", None),
            ("Set the table; rm -rf environment variable", None),
            ("Field required [type=missing", None),
        ] {
            let hint = missing_variables(log);
            let start = expected.map(|names| format!("the service needs the variable{names}"));
            assert_eq!(hint.is_some(), start.is_some(), "{log}: {hint:?}");
            assert!(
                hint.clone().unwrap_or_default().starts_with(&start.unwrap_or_default()),
                "{log}: {hint:?}"
            );
        }
    }

    #[test]
    fn a_module_that_nothing_has_is_named() {
        for (line, expected) in [
            ("ModuleNotFoundError: No module named 'pkg_resources'", Some("with = [\"setuptools<82\"]")),
            ("ModuleNotFoundError: No module named 'shop.main'", Some("the module `shop.main`: add")),
            ("ModuleNotFoundError: No module named 'cgi'", None),
            ("ModuleNotFoundError: No module named", None),
        ] {
            let hint = missing_module(line);
            assert_eq!(hint.is_some(), expected.is_some(), "{line}: {hint:?}");
            assert!(hint.unwrap_or_default().contains(expected.unwrap_or_default()), "{line}");
        }
    }

    #[test]
    fn a_file_or_a_program_that_the_image_lacks_is_named() {
        let of = |path: &str| {
            missing_file(&format!("x\nFileNotFoundError: [Errno 2] No such file or directory: {path}\n"))
        };
        assert!(
            of("'/etc/kinto/kinto.ini'")
                .unwrap()
                .starts_with("the image has no `/etc/kinto/kinto.ini`, which")
        );
        assert!(of("'git'").unwrap().contains("`git`: if that is a program"));
        assert_eq!([of(""), of("''"), of("'x")], [None, None, None]);
    }
}
