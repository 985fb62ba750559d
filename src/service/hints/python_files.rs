//! Python's and its servers' own files: `gunicorn.conf.py`, `.flaskenv` and `runtime.txt`.

use ruff_python_ast::{self as ast, Expr, Stmt};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::Ranged;

use super::Evidence;
use crate::python::application::module::nests_too_deeply;

/// A configuration file of gunicorn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GunicornConfig {
    /// Its path from the project's root.
    pub(crate) file: String,
    /// Assigned settings, in order; `None` for a value that is no literal.
    pub(crate) settings: Vec<(String, Option<String>, Evidence)>,
}

impl GunicornConfig {
    /// Returns the literal value of a setting and its place.
    pub(crate) fn setting(&self, name: &str) -> Option<(&str, &Evidence)> {
        let (_, value, evidence) = self.settings.iter().rfind(|(known, ..)| known == name)?;
        Some((value.as_deref()?, evidence))
    }

    /// Parses the file. Assignments at its top level are read, no code is run.
    pub(super) fn parse(file: &str, text: &str) -> Self {
        let mut settings = Vec::new();
        if !nests_too_deeply(text) {
            let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module));
            if let ast::Mod::Module(tree) = parsed.syntax() {
                for statement in &tree.body {
                    let (target, value) = match statement {
                        Stmt::Assign(assign) => match assign.targets.as_slice() {
                            [target] => (target, Some(&*assign.value)),
                            _ => continue,
                        },
                        Stmt::AnnAssign(assign) => (&*assign.target, assign.value.as_deref()),
                        _ => continue,
                    };
                    let Expr::Name(name) = target else { continue };
                    let evidence = Evidence::at(file, text, statement.start().to_usize());
                    settings.push((name.id.to_string(), value.and_then(literal), evidence));
                }
            }
        }
        Self { file: file.to_owned(), settings }
    }
}

/// Returns the text of a string, a number or a truth value; of a list, its first string.
fn literal(value: &Expr) -> Option<String> {
    match value {
        Expr::StringLiteral(string) => Some(string.value.to_str().to_owned()),
        Expr::NumberLiteral(number) => match &number.value {
            ast::Number::Int(number) => Some(number.to_string()),
            ast::Number::Float(number) => Some(number.to_string()),
            ast::Number::Complex { .. } => None,
        },
        Expr::BooleanLiteral(boolean) => Some(if boolean.value { "True" } else { "False" }.to_owned()),
        Expr::List(list) => match list.elts.first()? {
            Expr::StringLiteral(string) => Some(string.value.to_str().to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// Reads `.flaskenv`: lines `NAME=VALUE`, as python-dotenv does, without interpolation.
pub(super) fn flaskenv(file: &str, text: &str) -> Vec<(String, String, Evidence)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let Some((name, value)) = content.split_once('=').filter(|_| !content.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        let value = quoted.unwrap_or_else(|| value.split_once(" #").map_or(value, |(value, _)| value.trim()));
        found.push((name.trim().to_owned(), value.to_owned(), Evidence::line(file, index + 1, line)));
    }
    found
}

/// Reads `runtime.txt`: `python-3.12.4`.
pub(super) fn runtime(file: &str, text: &str) -> Option<(String, Evidence)> {
    let line = text.lines().next()?.trim();
    let version = line.strip_prefix("python-")?;
    let is_version = version.starts_with(|c: char| c.is_ascii_digit());
    is_version.then(|| (version.to_owned(), Evidence::line(file, 1, line)))
}

/// Returns the Python version in an image's name: `python:3.12-slim`, `…:python3.11`, `ubi9/python-311`.
pub(super) fn image_version(image: &str) -> Option<String> {
    let image = image.split('@').next()?;
    let (path, tag) = match image.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (image, ""),
    };
    let name = path.rsplit('/').next()?;
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let number = text[..end].trim_matches('.');
        number.starts_with("3.").then(|| number.to_owned())
    };
    let after_python = |text: &str| {
        text.match_indices("python")
            .find_map(|(at, word)| number(text[at + word.len()..].trim_start_matches(['-', ':'])))
    };
    let short = || {
        let digits = name.strip_prefix("python-3")?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| format!("3.{digits}"))
            .filter(|_| !digits.is_empty())
    };
    if name == "python" || name == "pypy" {
        number(tag)
    } else {
        after_python(tag).or_else(|| after_python(name)).or_else(short)
    }
}
