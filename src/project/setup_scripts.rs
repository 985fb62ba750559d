//! Console scripts in `setup.cfg` and `setup.py`, which setuptools reads without `[project.scripts]`.
//!
//! Follows the setuptools user guide, "Entry Points". `setup.py` is parsed and never run: literal lists are read.

use std::collections::BTreeMap;
use std::path::Path;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{self as ast, Expr};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

use super::{PYPROJECT_LIMIT, read_limited};
use crate::python::application::module::nests_too_deeply;

/// Returns the object reference of each console script.
pub(super) fn read(root: &Path) -> BTreeMap<String, String> {
    let text = |file: &str| read_limited(&root.join(file), PYPROJECT_LIMIT).unwrap_or_default();
    let found = of_cfg(&text("setup.cfg"));
    if found.is_empty() { of_setup(&text("setup.py")) } else { found }
}

/// Reads `console_scripts` in `[options.entry_points]`.
fn of_cfg(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let (mut in_section, mut in_key) = (false, false);
    for line in text.lines() {
        if line.starts_with('[') {
            in_section = line.trim() == "[options.entry_points]";
        } else if in_section && !line.starts_with(char::is_whitespace) && !line.trim().is_empty() {
            in_key = line.split('=').next().map(str::trim) == Some("console_scripts");
        } else if in_section && in_key {
            found.extend(script(line));
        }
    }
    found
}

/// Parses `NAME = MODULE:FUNCTION [EXTRA]`.
fn script(line: &str) -> Option<(String, String)> {
    let (name, object) = line.split_once('=')?;
    let object = object.split(['[', '#']).next()?.trim();
    (object.contains(':') && !name.trim().starts_with('#'))
        .then(|| (name.trim().to_owned(), object.to_owned()))
}

/// Reads `entry_points={"console_scripts": […]}`, or the same as a text.
fn of_setup(text: &str) -> BTreeMap<String, String> {
    let mut finder = ScriptFinder(BTreeMap::new());
    if !text.contains("console_scripts") || nests_too_deeply(text) {
        return finder.0;
    }
    let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module));
    if let ast::Mod::Module(tree) = parsed.syntax() {
        finder.visit_body(&tree.body);
    }
    finder.0
}

struct ScriptFinder(BTreeMap<String, String>);

impl<'a> Visitor<'a> for ScriptFinder {
    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            Expr::Dict(dict) => {
                for item in &dict.items {
                    if item.key.as_ref().and_then(string) != Some("console_scripts") {
                        continue;
                    }
                    let elements = match &item.value {
                        Expr::List(list) => list.elts.as_slice(),
                        Expr::Tuple(tuple) => tuple.elts.as_slice(),
                        other => std::slice::from_ref(other),
                    };
                    let lines = elements.iter().filter_map(string).flat_map(str::lines);
                    self.0.extend(lines.filter_map(script));
                }
            }
            // A text with sections, as in `entry_points.txt`.
            Expr::StringLiteral(text) if text.value.to_str().contains("[console_scripts]") => {
                let lines = text.value.to_str().lines().map(str::trim);
                let mut lines = lines.skip_while(|line| *line != "[console_scripts]").skip(1);
                let own = lines.by_ref().take_while(|line| !line.starts_with('['));
                self.0.extend(own.filter_map(script));
            }
            _ => {}
        }
        walk_expr(self, expression);
    }
}

fn string(value: &Expr) -> Option<&str> {
    match value {
        Expr::StringLiteral(text) => Some(text.value.to_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::folder;

    #[test]
    fn scripts_of_setuptools_are_read() {
        let scripts = |file: &str, text: &str| {
            let found = super::read(folder(&[(file, text)]).path());
            let shown = found.into_iter().map(|(name, object)| format!("{name}={object}"));
            shown.collect::<Vec<_>>().join(" ")
        };
        let cfg = "[options]\nx = 1\n[options.entry_points]\nconsole_scripts =\n    # c\n    a = b.c:main [x]\n\
                   \x20   d = e:f\nother =\n    g = h:i\n";
        assert_eq!(scripts("setup.cfg", cfg), "a=b.c:main d=e:f");
        for text in [
            "setup(entry_points={'console_scripts': ['a = b:c', 'd=e.f:g']})",
            "setup(entry_points={'console_scripts': '''\n  a = b:c\n  d = e.f:g\n'''})",
            "setup(entry_points='''\n  [console_scripts]\n  a = b:c\n  d = e.f:g\n  [other]\n  x = y:z\n''')",
        ] {
            assert_eq!(scripts("setup.py", text), "a=b:c d=e.f:g", "{text}");
        }
        assert_eq!(scripts("setup.py", "setup(console_scripts=names)"), "");
    }
}
