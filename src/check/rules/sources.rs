//! IPO505 and IPO506: the source that the command reaches compiles for the image's Python, and the
//! standard library of the interpreter is complete.
//!
//! Source is parsed by ruff's parser for the version of the interpreter. Planned images are not checked
//! for source: their build compiles it.

use ruff_python_ast::PythonVersion as SyntaxVersion;
use ruff_python_parser::{Mode, ParseOptions, UnsupportedSyntaxErrorKind, parse_unchecked};

use crate::base;
use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::image::CheckedImage;
use crate::check::imports::SourceFiles;
use crate::check::modules::relative;
use crate::check::pythons::CheckedPython;
use crate::plural::counted;
use crate::python::PythonVersion;
use crate::python::application::imports::{Followed, reach};
use crate::python::application::module::nests_too_deeply;
use crate::tree::ImagePath;

use super::applications::StartedCommand;

/// The most missing modules that are named.
const NAMED: usize = 8;

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !image.is_planned && reporter.wants(&["IPO505"]) {
        check_syntax(image, reporter);
    }
    if reporter.wants(&["IPO506"]) {
        check_library(image, reporter);
    }
}

fn check_syntax(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let (Some(python), Some(command)) = (image.main_python(), StartedCommand::of(image)) else { return };
    let Some(start) = command.start() else { return };
    let mut roots = vec![image.workdir()];
    roots.extend(python.added.iter().cloned());
    let loaded = reach(&SourceFiles(image), &roots, &[start], Followed::Possible);
    for path in loaded.into_keys().filter(|path| image.is_source(path)) {
        let text = image.read(&path).and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((line, reason)) = text.and_then(|text| syntax_fault(&text, python.version)) else {
            continue;
        };
        reporter.report(
            Diagnostic::new(
                "IPO505",
                format!("does not compile for Python {}, in line {line}: {reason}", python.version),
            )
            .at(&path)
            .of(image.owner(&path).as_ref())
            .with_help("use a base with the Python of the project, or correct the source"),
        );
    }
}

/// Returns line and reason of the first syntax error of `text` for `version`.
fn syntax_fault(text: &str, version: PythonVersion) -> Option<(usize, String)> {
    if nests_too_deeply(text) {
        return None;
    }
    let target =
        SyntaxVersion { major: u8::try_from(version.major).ok()?, minor: u8::try_from(version.minor).ok()? };
    let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module).with_target_version(target));
    let errors = parsed.errors().iter().map(|error| (error.location.start(), error.error.to_string()));
    // Others are accepted by some releases of CPython before the grammar says so.
    let newer = parsed.unsupported_syntax_errors().iter().filter(|error| {
        matches!(
            error.kind,
            UnsupportedSyntaxErrorKind::Match
                | UnsupportedSyntaxErrorKind::ExceptStar
                | UnsupportedSyntaxErrorKind::TypeParameterList
                | UnsupportedSyntaxErrorKind::TypeAliasStatement
                | UnsupportedSyntaxErrorKind::TypeParamDefault
                | UnsupportedSyntaxErrorKind::UnparenthesizedExceptionTypes
                | UnsupportedSyntaxErrorKind::TemplateStrings
        )
    });
    let newer = newer.map(|error| (error.range.start(), error.to_string()));
    let (at, reason) = errors.chain(newer).min_by_key(|(at, _)| *at)?;
    let before = text.get(..at.to_usize()).unwrap_or(text);
    Some((before.matches('\n').count() + 1, reason))
}

fn check_library(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let main = image.main_python();
    for python in &image.pythons {
        let is_main = main == Some(python);
        let (Some(stdlib), true) = (&python.stdlib, is_main || python.environment.is_some()) else {
            continue;
        };
        if has_archive(image, python, stdlib) {
            continue;
        }
        let missing: Vec<&str> =
            base::STDLIB_MODULES.into_iter().filter(|module| !has_module(image, stdlib, module)).collect();
        if missing.is_empty() {
            continue;
        }
        let mut named = missing.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        if let Some(more) = missing.len().checked_sub(NAMED).filter(|more| *more > 0) {
            named = format!("{named} and {}", counted(more as u64, "other"));
        }
        // Without a command, the image is not known to run this Python.
        let runs = !image.config.command().is_empty() || python.environment.is_some();
        reporter.report(
            Diagnostic::new("IPO506", format!("is a standard library without {named}"))
                .at(stdlib)
                .with_severity(if runs { Severity::Error } else { Severity::Warning })
                .with_help("use a base with a complete Python: on Debian, install python3 instead of python3-minimal"),
        );
    }
}

/// Returns true if the library may be in the archive beside the directory: `python311.zip`.
fn has_archive(image: &CheckedImage, python: &CheckedPython, stdlib: &ImagePath) -> bool {
    let name = format!("python{}{}.zip", python.version.major, python.version.minor);
    let path = stdlib.parent().and_then(|lib| lib.join(&name).ok());
    path.is_some_and(|path| image.find(&path).is_some())
}

fn has_module(image: &CheckedImage, stdlib: &ImagePath, module: &str) -> bool {
    let found = |path: String| {
        stdlib.join(&path).ok().and_then(|path| image.find(&path)).is_some_and(|(_, node)| node.is_file())
    };
    [".py", ".pyc", "/__init__.py", "/__init__.pyc"].iter().any(|end| found(format!("{module}{end}")))
}

/// Returns the script that a command starts, if it is a file of the image.
pub(super) fn script(image: &CheckedImage, path: &str) -> Option<ImagePath> {
    let (path, node) = image.find(&relative(&image.workdir(), path)?)?;
    node.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::TestImage;

    #[test]
    fn syntax_follows_the_version() {
        let version = |minor| PythonVersion { major: 3, minor, micro: None, free_threaded: false };
        for (text, minor, line) in [
            ("x = 1\n", 9, None),
            ("x = 1\nmatch x:\n    case 1: pass\n", 9, Some(2)),
            ("match x:\n    case 1: pass\n", 10, None),
            ("type X = int\n", 11, Some(1)),
            ("type X = int\n", 12, None),
            ("def f[T](): ...\n", 11, Some(1)),
            ("with (a as b, c as d): pass\n", 9, None),
            ("print 'two'\n", 12, Some(1)),
            ("x = f'{a[\"b\"]}'\n", 11, None),
            ("try: pass\nexcept* E: pass\n", 10, Some(2)),
        ] {
            assert_eq!(syntax_fault(text, version(minor)).map(|(line, _)| line), line, "{text} {minor}");
        }
    }

    #[test]
    fn source_that_the_command_reaches_is_parsed() {
        let image = TestImage::environment()
            .file("app/main.py", "import pkg.new\n")
            .file("app/pkg/__init__.py", "")
            .file("app/pkg/new.py", "x = 1\ntype X = int\n")
            .file("app/templates/unused.py", "{{ name }} = \n");
        let found = image.clone().command(&["uvicorn", "main:app"]).found("IPO505");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("IPO505 /app/pkg/new.py: does not compile for Python 3.11, in line 2: "),
            "{found:?}"
        );
        for command in [&["python", "-m", "main"][..], &["python", "main.py"], &["python", "/app/main.py"]] {
            assert_eq!(image.clone().command(command).found("IPO505").len(), 1, "{command:?}");
        }
        assert_eq!(image.command(&["python", "-m", "pkg"]).found("IPO505"), Vec::<String>::new());
    }

    #[test]
    fn an_incomplete_library_is_reported() {
        let found = TestImage::environment().found("IPO506");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("without __future__, _collections_abc, abc, argparse"), "{found:?}");
        let complete =
            base::STDLIB_MODULES.iter().fold(TestImage::environment(), |image, module| match *module {
                "os" => image,
                module => image.file(&format!("usr/local/lib/python3.11/{module}.py"), ""),
            });
        assert_eq!(complete.found("IPO506"), Vec::<String>::new());
    }
}
