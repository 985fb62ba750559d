//! Follows imports from the modules that a process starts to all modules that it may load.
//!
//! Names are resolved as in CPython's path finder (`Lib/importlib/_bootstrap_external.py`,
//! `PathFinder`): a package, a module, then a namespace package, root by root. Imports that may
//! fail, in a `try` or under a test of the Python version, are not followed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::module::{Import, Module};
use crate::tree::ImagePath;

/// A source tree in which imports are followed.
pub trait Modules {
    /// Returns the text of the file at a path of the image, or `None` if missing or not UTF-8.
    fn text(&self, path: &ImagePath) -> Option<String>;

    /// Returns true for a file.
    fn has(&self, path: &ImagePath) -> bool;

    /// Returns true for a directory.
    fn has_directory(&self, path: &ImagePath) -> bool;
}

/// A module that a process starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// An imported module: `pkg.main`.
    Module(String),
    /// A module or package run as a program: `python -m pkg.main`.
    Program(String),
    /// A script run by its path.
    Script(ImagePath),
}

/// The reason that a file is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadReason {
    /// The process starts with it.
    Start,
    /// A file that imports it, and the line.
    ImportedBy(ImagePath, usize),
}

/// A file to search for imports.
struct Visit {
    path: ImagePath,
    /// The package to which relative imports refer: `pkg.sub`.
    package: String,
    /// The file is run, with `__name__ == "__main__"`.
    is_program: bool,
}

/// A search in one source.
struct ImportSearch<'a> {
    modules: &'a dyn Modules,
    /// The directories from which modules are imported, in order.
    roots: &'a [ImagePath],
    follow: Followed,
    found: BTreeMap<ImagePath, LoadReason>,
    queue: VecDeque<Visit>,
}

/// The imports that are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Those that may happen, such as those of functions.
    Possible,
    /// Those that happen whenever the module is loaded, and whose failure is that of the module.
    Certain,
}

/// Returns every file reachable from `starts`, with the reason. Modules are searched in `roots`, in
/// order.
pub fn reach(
    modules: &dyn Modules,
    roots: &[ImagePath],
    starts: &[Start],
    follow: Followed,
) -> BTreeMap<ImagePath, LoadReason> {
    let mut search = ImportSearch { modules, roots, follow, found: BTreeMap::new(), queue: VecDeque::new() };
    for start in starts {
        match start {
            Start::Module(name) => drop(search.load(name, &LoadReason::Start, false)),
            Start::Program(name) => {
                // A package is run by its `__main__`.
                let main = format!("{name}.__main__");
                let is_package = matches!(search.locate(&main), ModuleLocation::File { .. });
                search.load(if is_package { &main } else { name }, &LoadReason::Start, true);
            }
            Start::Script(path) => {
                search.visit(path.clone(), String::new(), &LoadReason::Start, true);
            }
        }
    }
    while let Some(visit) = search.queue.pop_front() {
        search.follow_imports(&visit);
    }
    search.found
}

impl ImportSearch<'_> {
    fn follow_imports(&mut self, visit: &Visit) {
        let Some(module) = self.modules.text(&visit.path).and_then(|text| Module::read(&text)) else {
            return;
        };
        for import in &module.imports {
            if import.is_guarded || import.in_program && !visit.is_program {
                continue;
            }
            if self.follow == Followed::Certain && !import.is_certain {
                continue;
            }
            let reason = LoadReason::ImportedBy(visit.path.clone(), import.line);
            let Some(name) = absolute(import, &visit.package) else { continue };
            self.import(&name, import, &reason);
        }
    }

    /// Follows one import to its module, and to the imported names that are modules.
    fn import(&mut self, name: &str, import: &Import, reason: &LoadReason) {
        if !name.is_empty() {
            self.load(name, reason, false);
        }
        let bound = self.bound_in(name);
        for submodule in import.names.iter().filter(|submodule| *submodule != "*") {
            // A name bound by the package itself is not searched among its modules.
            if !bound.contains(submodule) {
                let dotted = if name.is_empty() { submodule.clone() } else { format!("{name}.{submodule}") };
                self.load(&dotted, reason, false);
            }
        }
    }

    /// Returns the names bound by a module's own text.
    fn bound_in(&self, name: &str) -> BTreeSet<String> {
        let ModuleLocation::File { path, .. } = self.locate(name) else { return BTreeSet::new() };
        let module = self.modules.text(&path).and_then(|text| Module::read(&text));
        module.map(|module| module.names).unwrap_or_default()
    }

    /// Loads a module after its parent packages. Returns false if the source does not have it.
    fn load(&mut self, name: &str, reason: &LoadReason, is_program: bool) -> bool {
        let mut end = 0;
        loop {
            end = name.get(end..).and_then(|rest| rest.find('.')).map_or(name.len(), |at| end + at);
            let part = name.get(..end).unwrap_or_default();
            match self.locate(part) {
                ModuleLocation::Nowhere => return false,
                ModuleLocation::Directories(_) => {}
                ModuleLocation::File { path, is_package } => {
                    let package = match part.rsplit_once('.') {
                        _ if is_package => part,
                        Some((package, _)) => package,
                        None => "",
                    };
                    self.visit(path, package.to_owned(), reason, is_program && end == name.len());
                }
            }
            if end == name.len() {
                return true;
            }
            end += 1;
        }
    }

    fn visit(&mut self, path: ImagePath, package: String, reason: &LoadReason, is_program: bool) {
        if !self.found.contains_key(&path) {
            self.found.insert(path.clone(), reason.clone());
            self.queue.push_back(Visit { path, package, is_program });
        }
    }

    fn locate(&self, name: &str) -> ModuleLocation {
        let mut roots = self.roots.to_vec();
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            let found = self.locate_in(&roots, part);
            match found {
                _ if parts.peek().is_none() => return found,
                ModuleLocation::Directories(directories) => roots = directories,
                ModuleLocation::File { path, is_package: true } => {
                    roots = path.parent().into_iter().collect();
                }
                ModuleLocation::File { .. } | ModuleLocation::Nowhere => return ModuleLocation::Nowhere,
            }
        }
        ModuleLocation::Nowhere
    }

    fn locate_in(&self, roots: &[ImagePath], part: &str) -> ModuleLocation {
        let mut directories = Vec::new();
        for root in roots {
            let at = |suffix: &str| root.join(&format!("{part}{suffix}")).ok();
            if let Some(path) = at("/__init__.py").filter(|path| self.modules.has(path)) {
                return ModuleLocation::File { path, is_package: true };
            }
            if let Some(path) = at(".py").filter(|path| self.modules.has(path)) {
                return ModuleLocation::File { path, is_package: false };
            }
            directories.extend(at("").filter(|path| self.modules.has_directory(path)));
        }
        if directories.is_empty() {
            ModuleLocation::Nowhere
        } else {
            ModuleLocation::Directories(directories)
        }
    }
}

/// The location of a module in the source.
enum ModuleLocation {
    /// A module, or a package with its `__init__.py`.
    File { path: ImagePath, is_package: bool },
    /// The portions of a namespace package.
    Directories(Vec<ImagePath>),
    /// Not in the source: of a distribution or of the standard library.
    Nowhere,
}

/// Returns the absolute name of an import in a module of `package`.
pub(crate) fn absolute(import: &Import, package: &str) -> Option<String> {
    if import.level == 0 {
        return Some(import.module.clone());
    }
    let mut parts: Vec<&str> = package.split('.').filter(|part| !part.is_empty()).collect();
    let up = usize::try_from(import.level).ok()?.checked_sub(1)?;
    parts.truncate(parts.len().checked_sub(up).filter(|left| *left > 0)?);
    parts.extend(Some(import.module.as_str()).filter(|module| !module.is_empty()));
    Some(parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FakeModules(BTreeMap<ImagePath, &'static str>);

    impl Modules for FakeModules {
        fn text(&self, path: &ImagePath) -> Option<String> {
            self.0.get(path).map(|text| (*text).to_owned())
        }

        fn has(&self, path: &ImagePath) -> bool {
            self.0.contains_key(path)
        }

        fn has_directory(&self, path: &ImagePath) -> bool {
            self.0.keys().any(|file| file.as_str().starts_with(&format!("{}/", path.as_str())))
        }
    }

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    fn reached(files: &[(&str, &'static str)], roots: &[&str], start: &Start) -> Vec<String> {
        let files = FakeModules(files.iter().map(|(name, text)| (path(name), *text)).collect());
        let roots: Vec<ImagePath> = roots.iter().map(|root| path(root)).collect();
        reach(&files, &roots, std::slice::from_ref(start), Followed::Possible)
            .keys()
            .map(|path| path.as_str().to_owned())
            .collect()
    }

    fn module(name: &str) -> Start {
        Start::Module(name.to_owned())
    }

    #[test]
    fn follows_imports_of_every_kind() {
        for (text, expected) in [
            ("import pkg.b", vec!["app/pkg/b.py"]),
            ("from . import b", vec!["app/pkg/b.py"]),
            ("from .b import x", vec!["app/pkg/b.py"]),
            ("from pkg import b as c", vec!["app/pkg/b.py"]),
            ("from pkg.sub import d", vec!["app/pkg/sub/__init__.py", "app/pkg/sub/d.py"]),
            ("from .sub import *", vec!["app/pkg/sub/__init__.py"]),
            ("def f():\n    if x:\n        import pkg.b", vec!["app/pkg/b.py"]),
            ("importlib.import_module('.b', __package__)", vec!["app/pkg/b.py"]),
            ("import space.inner.e", vec!["app/space/inner/e.py", "lib/space/inner/__init__.py"]),
            ("import os, fastapi", vec![]),
            ("try:\n    import pkg.b\nexcept ImportError: pass", vec!["app/pkg/b.py"]),
            ("try:\n    import pkg.b\nexcept Exception: pass", vec![]),
            ("try:\n    import x\nexcept ImportError:\n    import pkg.b", vec![]),
            ("if sys.version_info < (3,):\n    import pkg.b", vec![]),
            ("if __name__ == '__main__':\n    import pkg.b", vec![]),
            ("from .... import b", vec![]),
            ("from . import bound", vec![]),
        ] {
            let files = [
                ("app/pkg/__init__.py", "bound = 1"),
                ("app/pkg/a.py", text),
                ("app/pkg/b.py", ""),
                ("app/pkg/bound.py", ""),
                ("app/pkg/sub/__init__.py", ""),
                ("app/pkg/sub/d.py", ""),
                ("app/space/other.py", ""),
                ("lib/space/inner/__init__.py", ""),
                ("lib/space/inner/e.py", ""),
            ];
            let mut found = reached(&files, &["app", "lib"], &module("pkg.a"));
            found.retain(|path| !["app/pkg/__init__.py", "app/pkg/a.py"].contains(&path.as_str()));
            let expected: Vec<String> =
                expected.iter().map(|path| path.replace("app/space/inner", "lib/space/inner")).collect();
            let mut expected = expected;
            expected.sort();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn follows_circular_imports_once() {
        let files =
            [("app/a.py", "import b"), ("app/b.py", "import a, b, c"), ("app/c.py", "from a import x")];
        assert_eq!(reached(&files, &["app"], &module("a")), ["app/a.py", "app/b.py", "app/c.py"]);
    }

    #[test]
    fn follows_imports_below_main_for_a_program() {
        let files = [
            ("app/run.py", "if __name__ == '__main__':\n    uvicorn.run('pkg.web:app')"),
            ("app/pkg/__init__.py", ""),
            ("app/pkg/__main__.py", "from .web import app"),
            ("app/pkg/web.py", ""),
        ];
        let web = ["app/pkg/__init__.py", "app/pkg/web.py", "app/run.py"];
        assert_eq!(reached(&files, &["app"], &Start::Script(path("app/run.py"))), web);
        assert_eq!(reached(&files, &["app"], &Start::Program("run".to_owned())), web);
        assert_eq!(reached(&files, &["app"], &module("run")), ["app/run.py"]);
        let package = ["app/pkg/__init__.py", "app/pkg/__main__.py", "app/pkg/web.py"];
        assert_eq!(reached(&files, &["app"], &Start::Program("pkg".to_owned())), package);
    }
}
