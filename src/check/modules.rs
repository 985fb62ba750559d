//! [`ModuleSearch`]: finds modules as the Python of a command would import them.
//!
//! Follows CPython's path finder (`Lib/importlib/_bootstrap_external.py`) and the directories of
//! `site`: the working directory, `PYTHONPATH`, the standard library, the directories of distributions
//! and those that their `.pth` files add.

use super::image::CheckedImage;
use super::pythons::CheckedPython;
use crate::tree::ImagePath;

/// Endings of `.pth` files with lines of code that add no module.
const HARMLESS_PTH: [&str; 5] = [
    "distutils-precedence.pth",
    "_virtualenv.pth",
    "-nspkg.pth",
    "a1_coverage.pth",
    "sitecustomize-entrypoints.pth",
];

/// The directories from which a Python imports.
#[derive(Debug, Clone)]
pub(super) struct ModuleSearch<'a> {
    image: &'a CheckedImage,
    directories: Vec<ImagePath>,
    /// True if code or archives can add modules that are not known.
    is_open: bool,
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundModule {
    /// A module or the `__init__` of a package: source, bytecode, or an extension module.
    File {
        /// The file.
        path: ImagePath,
        /// True for the `__init__` of a package.
        is_package: bool,
    },
    /// The portions of a namespace package.
    Namespace(Vec<ImagePath>),
    /// Not found: the dotted name up to the first missing part.
    Missing(String),
    /// Possibly added by code.
    Unknown,
}

/// Returns the directories that the `.pth` files in `sites` add, and true if other lines run unknown
/// code.
pub(super) fn pth_directories(image: &CheckedImage, sites: &[ImagePath]) -> (Vec<ImagePath>, bool) {
    let (mut directories, mut is_open) = (Vec::new(), false);
    for site in sites {
        for (path, _) in image.children(site) {
            let name = path.file_name().unwrap_or_default();
            is_open |= name.ends_with(".egg") || name.ends_with(".egg-link");
            if !name.ends_with(".pth") {
                continue;
            }
            for line in image.text(path).unwrap_or_default().lines().map(str::trim_end) {
                if line.starts_with("import ") || line.starts_with("import\t") {
                    is_open |= !HARMLESS_PTH.iter().any(|known| name.ends_with(known));
                } else if let Some(directory) = pth_path(site, line)
                    && let Some((directory, _)) = image.find(&directory)
                {
                    directories.push(directory);
                }
            }
        }
    }
    (directories, is_open)
}

/// Returns the path in a line of a `.pth` file in `site`; `None` for a comment, code, and a path out of
/// the root.
pub(super) fn pth_path(site: &ImagePath, line: &str) -> Option<ImagePath> {
    let line = line.trim_start_matches('\u{feff}').trim_end();
    let is_path = !(line.is_empty()
        || line.starts_with('#')
        || line.starts_with("import ")
        || line.starts_with("import\t"));
    is_path.then(|| relative(site, line)).flatten()
}

/// Resolves `path`, absolute or relative to `directory`, without following links.
pub(super) fn relative(directory: &ImagePath, path: &str) -> Option<ImagePath> {
    let mut at = if path.starts_with('/') { ImagePath::root() } else { directory.clone() };
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        at = if part == ".." { at.parent().unwrap_or_default() } else { at.join(part).ok()? };
    }
    Some(at)
}

impl<'a> ModuleSearch<'a> {
    /// Makes the search of `python` in the working directory of `image`.
    pub(super) fn new(image: &'a CheckedImage, python: &CheckedPython) -> Self {
        let workdir = image.workdir();
        let mut directories = vec![workdir.clone()];
        let mut is_open = false;
        let variable = image.config.variable("PYTHONPATH").unwrap_or_default();
        for part in variable.split(':').filter(|part| !part.is_empty()) {
            let file = relative(&workdir, part).and_then(|path| image.find(&path));
            is_open |= file.is_some_and(|(_, node)| node.is_file());
        }
        if let Some(stdlib) = &python.stdlib {
            directories.push(stdlib.clone());
            directories.extend(stdlib.join("lib-dynload").ok());
        }
        directories.extend(python.sites.iter().cloned());
        directories.extend(python.added.iter().cloned());
        is_open |= pth_directories(image, &python.sites).1;
        Self { image, directories, is_open }
    }

    /// Adds directories that are searched first.
    pub(super) fn including(mut self, directories: &[ImagePath]) -> Self {
        self.directories.splice(0..0, directories.iter().cloned());
        self
    }

    /// Finds the module with a dotted name.
    pub(super) fn find(&self, name: &str) -> FoundModule {
        let mut directories = self.directories.clone();
        let (mut end, mut is_extended) = (0, self.is_open);
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            end += part.len() + usize::from(end > 0);
            let is_last = parts.peek().is_none();
            match self.find_in(&directories, part) {
                FoundModule::File { path, is_package: true } if !is_last => {
                    // Packages may share their directories: `pkgutil.extend_path`.
                    is_extended |= self.image.text(&path).is_none_or(|text| text.contains("__path__"));
                    directories = path.parent().into_iter().collect();
                }
                FoundModule::Namespace(portions) if !is_last => directories = portions,
                FoundModule::File { path, is_package: false } if !is_last => {
                    // A module may put others into `sys.modules`.
                    let text = self.image.text(&path);
                    if text.is_none_or(|text| text.contains("sys.modules") || text.contains("__path__")) {
                        return FoundModule::Unknown;
                    }
                    let rest = parts.peek().copied().unwrap_or_default();
                    return FoundModule::Missing(format!("{}.{rest}", name.get(..end).unwrap_or(name)));
                }
                FoundModule::Missing(_) if is_extended => return FoundModule::Unknown,
                FoundModule::Missing(_) => {
                    return FoundModule::Missing(name.get(..end).unwrap_or(name).to_owned());
                }
                found => return found,
            }
        }
        FoundModule::Missing(name.to_owned())
    }

    /// Returns true if code or archives can add modules that are not known.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Finds the module or package `name` at the top level, as far as files have it.
    pub(super) fn find_top(&self, name: &str) -> FoundModule {
        self.find_in(&self.directories, name)
    }

    /// Finds the module or package `part` in `directories`, as far as files have it.
    pub(super) fn find_in(&self, directories: &[ImagePath], part: &str) -> FoundModule {
        let mut portions = Vec::new();
        for directory in directories {
            let folder = directory.join(part).ok().and_then(|path| self.image.find(&path));
            let folder = folder.filter(|(_, node)| node.is_directory()).map(|(path, _)| path);
            if let Some(path) = folder.as_ref().and_then(|folder| self.file(folder, "__init__")) {
                return FoundModule::File { path, is_package: true };
            }
            if let Some(path) = self.file(directory, part) {
                return FoundModule::File { path, is_package: false };
            }
            portions.extend(folder);
        }
        if portions.is_empty() {
            FoundModule::Missing(part.to_owned())
        } else {
            FoundModule::Namespace(portions)
        }
    }

    /// Returns the file that Python loads for `stem` in `directory`: an extension module, source or
    /// bytecode.
    pub(super) fn file(&self, directory: &ImagePath, stem: &str) -> Option<ImagePath> {
        let at = |name: String| {
            let (path, node) = self.image.find(&directory.join(&name).ok()?)?;
            node.is_file().then_some(path)
        };
        if let Some(path) = at(format!("{stem}.py")).or_else(|| at(format!("{stem}.pyc"))) {
            return Some(path);
        }
        let start = format!("{stem}.");
        let mut named = self.image.starting_with(directory, &start);
        let is_extension =
            |path: &&ImagePath| path.as_str().ends_with(".so") && path.parent().as_ref() == Some(directory);
        named.find(is_extension).cloned()
    }
}

impl CheckedImage {
    /// Returns the working directory of the process.
    pub(super) fn workdir(&self) -> ImagePath {
        let path = self.config.workdir.as_deref().and_then(|path| ImagePath::new(path).ok());
        let path = path.unwrap_or_default();
        self.find(&path).map_or(path, |(path, _)| path)
    }

    /// Returns the Python that runs the command: that of the first directory of `PATH` with one.
    pub(super) fn main_python(&self) -> Option<&CheckedPython> {
        let named = self.config.command().first().and_then(|word| ImagePath::new(word).ok());
        let of_command = named.filter(|path| !path.is_root()).and_then(|path| {
            let has = |python: &&CheckedPython| {
                python.environment.as_ref().is_some_and(|environment| path.starts_with(environment))
            };
            self.pythons.iter().find(has)
        });
        let of_path = || {
            let path = self.config.variable("PATH").unwrap_or_default();
            path.split(':').find_map(|directory| {
                let directory = ImagePath::new(directory).ok()?;
                self.pythons.iter().find(|python| {
                    let root = python.environment.as_ref().or(python.prefix.as_ref());
                    root.and_then(|root| root.join("bin").ok()).is_some_and(|bin| bin == directory)
                })
            })
        };
        of_command.or_else(of_path).or_else(|| self.pythons.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{SITE, TestImage};

    #[test]
    fn modules_are_found_as_python_does() {
        let image = TestImage::environment()
            .file("app/main.py", "")
            .file("app/pkg/__init__.py", "")
            .file("app/pkg/web.py", "")
            .file("app/space/x.py", "")
            .file(&format!("{SITE}/space/y.py"), "")
            .file(&format!("{SITE}/ext/__init__.cpython-311-x86_64-linux-gnu.so"), "")
            .file(&format!("{SITE}/shared/__init__.py"), "__path__ = extend_path(__path__, __name__)")
            .file(&format!("{SITE}/old.pth"), "/srv/lib\n# x\n../gone\n")
            .file("srv/lib/added.py", "")
            .image();
        let search = ModuleSearch::new(&image, image.main_python().unwrap());
        for (name, found) in [
            ("main", "/app/main.py"),
            ("pkg", "/app/pkg/__init__.py"),
            ("pkg.web", "/app/pkg/web.py"),
            ("space.x", "/app/space/x.py"),
            ("space.y", "/app/.venv/lib/python3.11/site-packages/space/y.py"),
            ("space", "namespace"),
            ("ext", "/app/.venv/lib/python3.11/site-packages/ext/__init__.cpython-311-x86_64-linux-gnu.so"),
            ("os", "/usr/local/lib/python3.11/os.py"),
            ("added", "/srv/lib/added.py"),
            ("nope.x", "missing nope"),
            ("pkg.nope", "missing pkg.nope"),
            ("main.nope", "missing main.nope"),
            ("shared.x", "unknown"),
        ] {
            let text = match search.find(name) {
                FoundModule::File { path, .. } => path.to_string(),
                FoundModule::Namespace(_) => "namespace".to_owned(),
                FoundModule::Missing(part) => format!("missing {part}"),
                FoundModule::Unknown => "unknown".to_owned(),
            };
            assert_eq!(text, found, "{name}");
        }
    }

    #[test]
    fn code_in_a_path_file_may_add_any_module() {
        let image = TestImage::environment()
            .file(&format!("{SITE}/distutils-precedence.pth"), "import os; x")
            .file("app/main.py", "");
        let find = |image: &TestImage| {
            let image = image.image();
            ModuleSearch::new(&image, image.main_python().unwrap()).find("nope")
        };
        assert_eq!(find(&image), FoundModule::Missing("nope".to_owned()));
        let image =
            image.file(&format!("{SITE}/__editable__.x.pth"), "import __editable___x_finder; x.install()");
        assert_eq!(find(&image), FoundModule::Unknown);
    }
}
