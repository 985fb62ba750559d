//! [`WrittenFolders`]: the folders that a service makes when it starts, which a read-only image lacks.
//!
//! Calls of `os.mkdir`, `os.makedirs` and `Path.mkdir` with a path that the source shows are found by parsing;
//! nothing is run.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{self as ast, Expr};
use ruff_text_size::Ranged as _;

use super::Finding;
use super::processes::is_for_development;
use super::static_root::ModuleValues;
use super::{ProposedSetting, ProposedValue};
use crate::python::application::SourceTree;

/// The most folders of a project.
const MOST_FOLDERS: usize = 8;
/// The most modules that are read, the outermost first.
const MOST_FILES: usize = 500;
/// The most modules that are parsed.
const MOST_MODULES: usize = 100;
/// Folders outside of the source that no image has or that every container can write to.
const FOREIGN: [&str; 6] = ["/tmp", "/dev", "/proc", "/sys", "/run", "/home"];

/// A folder that the source makes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WrittenFolder {
    /// The path: relative to the source, or absolute.
    path: String,
    /// The file with the call.
    file: String,
    /// The line of the call, from 1.
    line: usize,
}

/// Folders that the source makes, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenFolders(Vec<WrittenFolder>);

impl WrittenFolders {
    /// Finds the folders; `None` if there are none.
    pub(crate) fn find(sources: &dyn SourceTree) -> Option<Self> {
        Some(Self(written_folders(sources))).filter(|folders| !folders.0.is_empty())
    }

    /// Returns the folders as an answer with its evidence.
    pub(crate) fn finding(&self) -> Finding {
        let names: Vec<&str> = self.0.iter().map(|folder| folder.path.as_str()).collect();
        let evidence = format!("{} makes a folder; ipo-oci init writes writable", self.places());
        Finding::new("writable", names.join(", "), evidence)
    }

    /// Returns the setting that gives the folders to the process.
    pub(crate) fn setting(&self) -> ProposedSetting {
        let paths = self.0.iter().map(|folder| folder.path.clone()).collect();
        let reason = format!("{} makes a folder when the service runs", self.places());
        ProposedSetting::new(&["writable"], ProposedValue::List(paths), reason)
    }

    /// Returns the places of the calls: `app/main.py:3, app/web.py:7`.
    fn places(&self) -> String {
        let places: BTreeSet<String> =
            self.0.iter().map(|folder| format!("{}:{}", folder.file, folder.line)).collect();
        places.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// Returns the outermost folders that the source makes, sorted by path. Folders with modules are part of the
/// source.
fn written_folders(sources: &dyn SourceTree) -> Vec<WrittenFolder> {
    let modules = sources.modules();
    let mut found: BTreeMap<String, WrittenFolder> = BTreeMap::new();
    let mut files: Vec<&String> = modules.iter().filter(|file| !is_for_development(file)).collect();
    files.sort_by_key(|file| file.matches('/').count());
    files.truncate(MOST_FILES);
    let texts = files.into_iter().filter_map(|file| {
        let text = sources.text(file)?;
        (text.contains("mkdir(") || text.contains("makedirs(")).then_some((file, text))
    });
    for (file, text) in texts.take(MOST_MODULES) {
        let Some((module, tree)) = ModuleValues::with_tree(file, text) else { continue };
        let mut finder = FolderFinder { module: &module, found: Vec::new() };
        finder.visit_body(&tree.body);
        for folder in finder.found {
            found.entry(folder.path.clone()).or_insert(folder);
        }
    }
    let is_source = |folder: &str| {
        modules.iter().any(|file| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    };
    let mut folders: Vec<WrittenFolder> = Vec::new();
    for folder in found.into_values().filter(|folder| is_of_image(&folder.path) && !is_source(&folder.path)) {
        let is_below = |outer: &WrittenFolder| folder.path.starts_with(&format!("{}/", outer.path));
        if !folders.iter().any(is_below) {
            folders.push(folder);
        }
    }
    folders.truncate(MOST_FOLDERS);
    folders
}

/// Returns true for a folder that an image can have.
fn is_of_image(path: &str) -> bool {
    let is_below =
        |outer: &str| path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ' '));
    !path.trim_matches('/').is_empty() && is_plain && !FOREIGN.into_iter().any(is_below)
}

struct FolderFinder<'a> {
    module: &'a ModuleValues,
    found: Vec<WrittenFolder>,
}

impl FolderFinder<'_> {
    fn call(&mut self, call: &ast::ExprCall) {
        let module = self.module;
        let is_name = |name: &str| name == "mkdir" || name == "makedirs";
        let folder = match &*call.func {
            Expr::Name(name) if is_name(name.id.as_str()) => call.arguments.args.first(),
            Expr::Attribute(attribute) if is_name(attribute.attr.as_str()) => match &*attribute.value {
                Expr::Name(name) if name.id.as_str() == "os" => call.arguments.args.first(),
                path => Some(path).filter(|_| attribute.attr.as_str() == "mkdir"),
            },
            _ => return,
        };
        let path = match folder {
            // Flask's folder beside the package or the module.
            Some(Expr::Attribute(attribute)) if attribute.attr.as_str() == "instance_path" => {
                let is_below_src = module.file().starts_with("src/");
                Some(if is_below_src { "src/instance" } else { "instance" }.to_owned())
            }
            Some(folder) => module.path_of(folder),
            None => None,
        };
        if let Some(path) = path {
            let line = module.line_at(call.start());
            self.found.push(WrittenFolder { path, file: module.file().to_owned(), line });
        }
    }
}

impl<'a> Visitor<'a> for FolderFinder<'_> {
    fn visit_expr(&mut self, expression: &'a Expr) {
        if let Expr::Call(call) = expression {
            self.call(call);
        }
        walk_expr(self, expression);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::application::testing::FakeTree;

    fn found(files: &[(&'static str, &'static str)]) -> String {
        let folders = written_folders(&FakeTree(files.iter().copied().collect()));
        let shown = folders.iter().map(|folder| format!("{} {}:{}", folder.path, folder.file, folder.line));
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn finds_folders_that_the_source_makes() {
        for (text, expected) in [
            ("import os\nif not os.path.exists('logs'):\n    os.mkdir('logs')\n", "logs a/m.py:3"),
            ("F = 'up/loads/'\ndef f():\n    os.makedirs(F, exist_ok=True)\n", "up/loads a/m.py:3"),
            (
                "D = Path(__file__).parent.parent / 'data'\nD.mkdir(parents=True)\n(D / 'x').mkdir()\n",
                "data a/m.py:2",
            ),
            ("os.makedirs(app.instance_path)\n", "instance a/m.py:1"),
            ("os.makedirs(os.path.join('/var/lib', 'shop'))\n", "/var/lib/shop a/m.py:1"),
            ("D = os.environ.get('DATA', './data')\nos.makedirs(D)\n", "data a/m.py:2"),
        ] {
            assert_eq!(found(&[("a/m.py", text)]), expected, "{text}");
        }
    }

    #[test]
    fn other_folders_are_not_proposed() {
        for (file, text) in [
            ("m.py", "os.makedirs(path)\n"),
            ("m.py", "def f(name):\n    os.makedirs(name)\n"),
            ("m.py", "os.makedirs('/tmp/x')\nPath('~/.shop').mkdir()\nPath('.').mkdir()\n"),
            ("m.py", "ftp.makedirs('x')\n"),
            ("a/m.py", "os.makedirs('a')\n"),
            ("tests/m.py", "os.mkdir('logs')\n"),
            ("setup.py", "os.mkdir('build')\n"),
        ] {
            assert_eq!(found(&[(file, text)]), "", "{text}");
        }
    }
}
