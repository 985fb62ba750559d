//! Modules of the source that the image's process loads: if one does not compile, the build fails;
//! others cause a warning.

use std::collections::{BTreeMap, BTreeSet};

use super::BuildError;
use super::environment_plan::EnvironmentFacts;
use crate::project::Project;
use crate::python::application::Application;
use crate::python::application::imports::{Followed, LoadReason, Modules, Start, reach};
use crate::python::bytecode::{BytecodeSource, Refused};
use crate::recipe::Recipe;
use crate::service::server::ServerKind;
use crate::tree::{Content, ImagePath};

/// Maximum size in bytes of a module with its imports followed: a larger one was generated.
const MAX_MODULE_BYTES: u64 = 4 << 20;

/// The inputs that decide which modules a process loads.
pub(super) struct LoadedModules<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) project: &'a Project,
    pub(super) application: Option<&'a Application>,
    pub(super) facts: &'a EnvironmentFacts,
}

impl LoadedModules<'_> {
    /// Returns the `refused` modules that the process does not load.
    ///
    /// # Errors
    /// If the process loads one.
    pub(super) fn check(
        &self,
        sources: &[BytecodeSource],
        refused: Vec<Refused>,
    ) -> Result<Vec<Refused>, BuildError> {
        if refused.is_empty() {
            return Ok(refused);
        }
        let files = SourceModules::of(sources);
        let (roots, starts) = (self.roots(&files), self.starts(&files));
        let loaded = reach(&files, &roots, &starts, Followed::Possible);
        let Some((refused, reason)) =
            refused.iter().find_map(|refused| Some((refused, loaded.get(&refused.path)?)))
        else {
            return Ok(refused);
        };
        let importer = match reason {
            LoadReason::Start => "the image starts with it".to_owned(),
            LoadReason::ImportedBy(path, line) => format!("{} imports it in line {line}", self.shown(path)),
        };
        Err(BuildError::SourceDoesNotCompile {
            path: self.shown(&refused.path),
            reason: refused.reason.clone().unwrap_or_else(|| "the compiler rejects it".to_owned()),
            importer,
        })
    }

    /// Returns a path as the user knows it: relative to the project.
    fn shown(&self, path: &ImagePath) -> String {
        let workdir = format!("{}/", self.recipe.workdir.as_str());
        let below = path.as_str().strip_prefix(&workdir);
        below.map_or_else(|| path.to_string(), str::to_owned)
    }

    /// Returns the directories from which the source's modules are imported.
    fn roots(&self, files: &SourceModules<'_>) -> Vec<ImagePath> {
        let workdir = &self.recipe.workdir;
        let directory = self.application.map(|application| application.directory.as_str());
        let script = self.script(files).and_then(|script| script.parent());
        let mut roots: Vec<ImagePath> = script.into_iter().collect();
        roots
            .extend(directory.filter(|directory| !directory.is_empty()).and_then(|at| workdir.join(at).ok()));
        roots.push(workdir.clone());
        let path = self.recipe.env.get("PYTHONPATH").map(String::as_str).unwrap_or_default();
        roots.extend(
            path.split(':').filter(|path| path.starts_with('/')).filter_map(|path| ImagePath::new(path).ok()),
        );
        for source in &self.facts.sources {
            // The directory of modules, or a package in it.
            if source.image.join("__init__.py").is_ok_and(|path| files.has(&path)) {
                roots.extend(source.image.parent());
            }
            roots.push(source.image.clone());
        }
        let mut seen = BTreeSet::new();
        roots.retain(|root| seen.insert(root.clone()));
        roots
    }

    /// Returns the first modules of the process, as far as its command shows.
    fn starts(&self, files: &SourceModules<'_>) -> Vec<Start> {
        let mut starts: Vec<Start> = self
            .application
            .map(|application| Start::Module(application.module.clone()))
            .into_iter()
            .collect();
        starts.extend(self.script(files).map(Start::Script));
        let command = self.recipe.command();
        let server = self.recipe.known_server();
        let module = |word: &str| Start::Module(word.split(':').next().unwrap_or_default().to_owned());
        if let Some(server) = &server {
            starts.extend(server.application().map(module));
            if matches!(server.kind, ServerKind::Gunicorn | ServerKind::Waitress) {
                let dotted = |word: &&String| word.contains('.') && word.split('.').all(is_identifier);
                starts.extend(command.iter().filter(dotted).map(|word| module(word)));
            }
        }
        for pair in command.windows(2) {
            let [option, value] = pair else { continue };
            match option.as_str() {
                "-m" => starts.push(Start::Program(value.clone())),
                "-A" | "--app" => starts.push(module(value)),
                _ => {}
            }
        }
        let program = command.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
        starts.extend(self.project.script_objects.get(program).map(|object| module(object)));
        starts
    }

    /// Returns the source file that the command runs.
    fn script(&self, files: &SourceModules<'_>) -> Option<ImagePath> {
        let command = self.recipe.command();
        let workdir = &self.recipe.workdir;
        let paths = command.iter().filter(|word| word.ends_with(".py")).filter_map(|word| {
            if word.starts_with('/') {
                ImagePath::new(word)
            } else {
                workdir.join(word.trim_start_matches("./"))
            }
            .ok()
        });
        paths.into_iter().find(|path| files.has(path))
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_')
}

/// The modules of a source.
struct SourceModules<'a> {
    modules: BTreeMap<&'a ImagePath, &'a Content>,
    directories: BTreeSet<ImagePath>,
}

impl<'a> SourceModules<'a> {
    fn of(sources: &'a [BytecodeSource]) -> Self {
        let mut directories = BTreeSet::new();
        for source in sources {
            let mut next = source.path.parent();
            while let Some(directory) = next {
                next = directory.parent();
                if !directories.insert(directory) {
                    break;
                }
            }
        }
        Self { modules: sources.iter().map(|source| (&source.path, &source.content)).collect(), directories }
    }
}

impl Modules for SourceModules<'_> {
    fn text(&self, path: &ImagePath) -> Option<String> {
        let content = self.modules.get(path).filter(|content| content.size_hint() <= MAX_MODULE_BYTES)?;
        Some(String::from_utf8_lossy(&content.read().ok()?).into_owned())
    }

    fn has(&self, path: &ImagePath) -> bool {
        self.modules.contains_key(path)
    }

    fn has_directory(&self, path: &ImagePath) -> bool {
        self.directories.contains(path)
    }
}
