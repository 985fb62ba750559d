//! [`Providers`]: the modules that an image provides.
//!
//! Names are searched by [`ModuleSearch`]. A program may extend `sys.path`, so any module or directory of
//! the source provides its name.

use std::collections::BTreeSet;

use super::names;
use crate::check::image::CheckedImage;
use crate::check::modules::{FoundModule, ModuleSearch};
use crate::check::node::CheckedNode;
use crate::check::pythons::CheckedPython;
use crate::python::application::imports::Modules;
use crate::tree::ImagePath;

/// The largest module that is read, in bytes.
const MODULE_LIMIT: u64 = 4 << 20;
/// Modules that images leave out of the standard library (the setting `trim`), and Debian's packages too.
const TRIMMED: [&str; 8] =
    ["tkinter", "turtle", "turtledemo", "idlelib", "ensurepip", "lib2to3", "pydoc_data", "test"];

/// The files of an image as modules.
pub(in crate::check) struct SourceFiles<'a>(pub(in crate::check) &'a CheckedImage);

impl Modules for SourceFiles<'_> {
    fn text(&self, path: &ImagePath) -> Option<String> {
        let node = self.0.lookup(path)?;
        if node.size > MODULE_LIMIT { None } else { self.0.text(path) }
    }

    fn has(&self, path: &ImagePath) -> bool {
        self.0.lookup(path).is_some_and(|node| !node.is_directory())
    }

    fn has_directory(&self, path: &ImagePath) -> bool {
        self.0.lookup(path).is_some_and(CheckedNode::is_directory)
    }
}

/// The missing part of a module's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum Lack {
    /// Nothing has the name up to this part.
    Missing(String),
    /// The module of the standard library is left out of the image.
    Trimmed(String),
}

/// The modules that an image provides.
pub(in crate::check) struct Providers<'a> {
    python: &'a CheckedPython,
    search: ModuleSearch<'a>,
    /// Names of modules and directories of the source.
    source: BTreeSet<&'a str>,
}

impl<'a> Providers<'a> {
    /// Lists what `python` can import.
    pub(in crate::check) fn of(image: &'a CheckedImage, python: &'a CheckedPython) -> Self {
        let source = image.iter().filter(|(path, _)| image.is_source(path)).flat_map(|(path, _)| {
            let stem = path.file_name().and_then(|name| {
                let is_module = [".py", ".so", ".pyc"].iter().any(|end| name.ends_with(end));
                is_module.then(|| name.split('.').next().unwrap_or_default())
            });
            let folder = path.parent();
            let count = folder.as_ref().map_or(0, |folder| folder.components().count());
            stem.into_iter().chain(path.components().take(count))
        });
        Self { python, search: ModuleSearch::new(image, python), source: source.collect() }
    }

    /// Returns the first part of an absolute import that nothing provides. `names` are the imported names,
    /// of which those of a namespace package are modules.
    pub(in crate::check) fn lacks(&self, module: &str, names: &[String]) -> Option<Lack> {
        let (first, rest) =
            module.split_once('.').map_or((module, None), |(first, rest)| (first, Some(rest)));
        let minor = self.python.version.minor;
        if names::is_standard(first, u64::from(minor)) {
            let is_trimmed = TRIMMED.contains(&first) && self.python.stdlib.is_some();
            let is_there = !is_trimmed || !is_missing(&self.search.find_top(first));
            return (!is_there && !self.source.contains(first)).then(|| Lack::Trimmed(first.to_owned()));
        }
        if self.source.contains(first) || self.search.is_open() {
            return None;
        }
        let mut found = self.search.find_top(first);
        let mut name = first.to_owned();
        let mut names = names.iter().map(String::as_str).filter(|name| *name != "*");
        let mut parts = rest.into_iter().flat_map(|rest| rest.split('.'));
        loop {
            let FoundModule::Namespace(directories) = &found else {
                return is_missing(&found).then_some(Lack::Missing(name));
            };
            let Some(part) = parts.next() else {
                // A namespace package has no names of its own.
                let missing = names.find(|part| is_missing(&self.search.find_in(directories, part)));
                return missing.map(|part| Lack::Missing(format!("{name}.{part}")));
            };
            found = self.search.find_in(directories, part);
            name = format!("{name}.{part}");
        }
    }
}

fn is_missing(found: &FoundModule) -> bool {
    matches!(found, FoundModule::Missing(_))
}
