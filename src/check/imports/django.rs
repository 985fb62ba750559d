//! [`DjangoApps`]: the modules that Django imports by name when it starts (Django 5.2, "Applications").
//!
//! `DJANGO_SETTINGS_MODULE` names the settings module, and `INSTALLED_APPS` in it the applications, of
//! which Django imports the module, `apps` and `models`. Items under conditions are left out.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{self as ast, Expr, Operator, Stmt};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

use super::SourceFiles;
use crate::check::image::CheckedImage;
use crate::python::application::imports::{Followed, LoadReason, Start, reach};
use crate::python::application::module::nests_too_deeply;
use crate::service::django::settings_module;
use crate::tree::ImagePath;

const VARIABLE: &str = "DJANGO_SETTINGS_MODULE";
const APPS: &str = "INSTALLED_APPS";

/// The applications of a Django project.
#[derive(Debug, Default)]
pub(in crate::check) struct DjangoApps {
    /// The settings module.
    settings: String,
    /// Each name in `INSTALLED_APPS`, with its file and line.
    pub(in crate::check) apps: Vec<(String, ImagePath, usize)>,
    /// True if the image sets the variable. A default in the source may be replaced when the container
    /// starts.
    pub(in crate::check) is_certain: bool,
}

impl DjangoApps {
    /// Finds the settings that the loaded modules name.
    pub(in crate::check) fn find(
        image: &CheckedImage,
        roots: &[ImagePath],
        loaded: &BTreeMap<ImagePath, LoadReason>,
    ) -> Option<Self> {
        let of_image = image.config.variable(VARIABLE).map(str::to_owned);
        let is_certain = of_image.is_some();
        let source = || loaded.keys().filter(|path| image.is_source(path));
        let settings =
            of_image.or_else(|| source().find_map(|path| Some(settings_module(&image.text(path)?)?.1)))?;
        let start = [Start::Module(settings.clone())];
        let files = reach(&SourceFiles(image), roots, &start, Followed::Certain);
        let mut apps = Vec::new();
        for path in files.keys().filter(|path| image.is_source(path)) {
            let text = image.text(path).unwrap_or_default();
            let found = installed_apps(&text).into_iter();
            apps.extend(found.map(|(name, line)| (name, path.clone(), line)));
        }
        Some(Self { settings, apps, is_certain })
    }

    /// Returns the modules that Django imports.
    pub(in crate::check) fn starts(&self) -> impl Iterator<Item = Start> {
        let of_app = |name: &str| [name.to_owned(), format!("{name}.apps"), format!("{name}.models")];
        let apps = self.apps.iter().flat_map(move |(name, ..)| of_app(name));
        std::iter::once(self.settings.clone()).chain(apps).map(Start::Module)
    }
}

/// Returns the names in `INSTALLED_APPS` of a module, with their lines.
fn installed_apps(text: &str) -> Vec<(String, usize)> {
    if !text.contains(APPS) || nests_too_deeply(text) {
        return Vec::new();
    }
    let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module));
    let ast::Mod::Module(tree) = parsed.syntax() else { return Vec::new() };
    let mut lists = ListReader { text, lists: BTreeMap::new() };
    for statement in &tree.body {
        match statement {
            Stmt::Assign(assign) => {
                for target in &assign.targets {
                    lists.assign(target, &assign.value, false);
                }
            }
            Stmt::AnnAssign(assign) => {
                if let Some(value) = &assign.value {
                    lists.assign(&assign.target, value, false);
                }
            }
            Stmt::AugAssign(assign) if assign.op == Operator::Add => {
                lists.assign(&assign.target, &assign.value, true);
            }
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = lists.lists.remove(APPS).unwrap_or_default();
    found.retain(|(name, _)| seen.insert(name.clone()));
    found
}

/// The lists of texts in a module's variables.
struct ListReader<'a> {
    text: &'a str,
    lists: BTreeMap<String, Vec<(String, usize)>>,
}

impl ListReader<'_> {
    fn assign(&mut self, target: &Expr, value: &Expr, is_added: bool) {
        let Expr::Name(name) = target else { return };
        let mut items = Vec::new();
        self.read(value, &mut items);
        let list = self.lists.entry(name.id.to_string()).or_default();
        if !is_added {
            list.clear();
        }
        list.append(&mut items);
    }

    /// Adds the texts of a list, a tuple, a variable with one, or a sum of these.
    fn read(&self, value: &Expr, items: &mut Vec<(String, usize)>) {
        match value {
            Expr::List(list) => list.elts.iter().for_each(|item| self.read_item(item, items)),
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|item| self.read_item(item, items)),
            Expr::Name(name) => items.extend(self.lists.get(name.id.as_str()).into_iter().flatten().cloned()),
            Expr::BinOp(sum) if sum.op == Operator::Add => {
                self.read(&sum.left, items);
                self.read(&sum.right, items);
            }
            _ => {}
        }
    }

    fn read_item(&self, item: &Expr, items: &mut Vec<(String, usize)>) {
        match item {
            Expr::StringLiteral(text) => {
                let before = self.text.get(..text.range.start().to_usize()).unwrap_or_default();
                let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
                items.push((text.value.to_string(), line));
            }
            Expr::Starred(starred) => self.read(&starred.value, items),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_applications_of_settings() {
        for (text, expected) in [
            ("INSTALLED_APPS = ['a', \"b.apps.B\"]", &[("a", 1), ("b.apps.B", 1)][..]),
            ("INSTALLED_APPS: list[str] = [\n    'a',\n    'b',\n]\n", &[("a", 2), ("b", 3)]),
            (
                "X = ('a',)\nY = ['b']\nINSTALLED_APPS = X + Y\nINSTALLED_APPS += ['c']",
                &[("a", 1), ("b", 2), ("c", 4)],
            ),
            ("X = ['a']\nINSTALLED_APPS = [*X, 'b', 'a']", &[("a", 1), ("b", 2)]),
            ("from .base import *\nINSTALLED_APPS = ['b'] + INSTALLED_APPS", &[("b", 2)]),
            ("if DEBUG:\n    INSTALLED_APPS = ['debug_toolbar']", &[]),
            ("INSTALLED_APPS = list(apps()) + [name]", &[]),
            ("OTHER = ['a']", &[]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(name, line)| ((*name).to_owned(), *line)).collect();
            assert_eq!(installed_apps(text), expected, "{text}");
        }
    }
}
