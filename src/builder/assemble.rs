//! From a project to a plan: every floor below is asked in its turn.

use std::path::Path;
use std::sync::Arc;

use super::Builder;
use super::built::tag_suffix;
use super::compile::{distribute, modules};
use super::error::BuildError;
use super::foundation::Foundation;
use super::runtime::{Pip, Runtime};
use super::selected::select;
use crate::context::{Context, Detail, Dockerignore, Listing, SourceKind};
use crate::error::FileError;
use crate::image::rfc3339;
use crate::parallel;
use crate::plan::layers::{Pieces, split};
use crate::plan::{Places, Plan, Process};
use crate::platform::Platform;
use crate::progress::{Collected, Edge, Progress, Span, Transfer, Warning};
use crate::python::application::{self, Application, Sources};
use crate::python::bytecode;
use crate::python::relocate::paths::PathScanner;
use crate::python::{Activation, Relocated, Relocation, Selection, Venv};
use crate::recipe::Recipe;
use crate::tree::{CONSTANT_TIME, Entry, ImagePath, Owner};

/// An application's source is text of at most this many bytes; a larger file is not looked into.
const SOURCE_LIMIT: u64 = 4 << 20;

/// A plan, with what is needed to carry it out.
pub(super) struct Assembled {
    pub(super) plan: Plan,
    pub(super) recipe: Recipe,
    pub(super) scanner: PathScanner,
    pub(super) foundation: Option<Foundation>,
}

/// What was found out of the environment and its Python.
struct Parts<'a> {
    recipe: &'a Recipe,
    runtime: &'a Runtime,
    relocated: &'a Relocated,
    work: &'a Path,
}

impl Builder {
    /// Decides everything.
    pub(super) fn assemble(&self, progress: &dyn Progress) -> Result<Assembled, BuildError> {
        let recipe = self.resolve()?;
        let created = self.epoch.unwrap_or(CONSTANT_TIME);
        let created_text =
            rfc3339(created).ok().filter(|_| created >= 0).ok_or(BuildError::Epoch(created))?;
        let root =
            fs_err::canonicalize(&self.root).map_err(|error| FileError::new("read", &self.root, error))?;

        let work = Arc::new(self.staging()?);
        let foundation = self.foundation(&recipe, work.path(), progress)?;
        let wanted = self.wanted(&recipe);
        let folder = self.environment(&wanted, work.path(), progress)?;
        progress.step("reading the environment");
        let span = Span::begin(progress, "reading the environment");
        let (venv, of_base) = match &foundation {
            Some(foundation) => foundation.environment(&folder)?,
            None => (Venv::open(&folder)?, None),
        };
        warn(progress, &venv.warnings);
        let selected = select(&recipe, &root, &venv, progress)?;

        if foundation.is_some() {
            venv.refuse_foreign(&selected.names, &wanted)?;
        }
        drop(span);
        progress.step("reading the source");
        let span = Span::begin(progress, "reading the source");
        let listing = self.source(&recipe, &venv)?;
        let application = if recipe.serves() { Some(self.application(&recipe, &listing)?) } else { None };

        drop(span);

        let environment = recipe.workdir.join(".venv")?;
        // uv makes environments without pip; the interpreter has one beside it.
        let pip = if recipe.pip && !selected.names.contains("pip") { Pip::Borrowed } else { Pip::Settled };
        let span = Span::begin(progress, "reading the interpreter");
        let mut runtime = Runtime::find(&recipe, &venv, &environment, pip, of_base, &wanted, progress)?;
        drop(span);
        let span = Span::begin(progress, "relocating the environment");
        let relocated = Relocation {
            venv: &venv,
            prefix: environment.clone(),
            interpreter: runtime.executable.clone(),
            workdir: recipe.workdir.clone(),
            context: &root,
            selection: Selection::Only(selected.names.clone()),
            activation: if recipe.activate { Activation::Keep } else { Activation::LeaveOut },
        }
        .run()?;
        warn(progress, &relocated.warnings);
        drop(span);

        let places = Places {
            environment: environment.clone(),
            interpreter_folder: runtime.executable.parent().unwrap_or_default(),
            base_path: foundation.as_ref().and_then(Foundation::path).map(str::to_owned),
        };
        let label = self.epoch.map(|_| created_text.as_str());
        let process = Process::new(&recipe, &self.project, application.as_ref(), &places, label);

        let mut pieces = Pieces { source: listing.entries(&recipe.workdir, created)?, ..Pieces::default() };
        for source in &relocated.sources {
            pieces.source.extend(source.entries()?);
        }
        pieces.environment.extend(relocated.environment.iter().chain(&relocated.unowned).cloned());
        pieces.distributions.clone_from(&relocated.distributions);
        pieces.interpreter = runtime.files.as_ref().map(|files| files.entries.clone()).unwrap_or_default();
        let mut pip_sources = Vec::new();
        if let Some((entries, sources)) = runtime.pip.take() {
            pieces.distributions.insert("pip".to_owned(), entries);
            pip_sources = sources;
        }
        let mut modules = modules(&runtime, &relocated, pip_sources, &pieces);
        if recipe.reload {
            // Bytecode in an image is never checked against its source: a source that is changed in the container would
            // go unnoticed, and noticing is what this image is for.
            modules.retain(|module| module.owner != Owner::Source);
        }
        let parts = Parts { recipe: &recipe, runtime: &runtime, relocated: &relocated, work: work.path() };
        let platform = self.around_python(&parts, foundation.as_ref(), &modules, &mut pieces, progress)?;
        let _span = Span::begin(progress, "splitting into layers");
        if recipe.writable_environment {
            pieces.environment.extend(writable(&recipe, &environment, &venv)?);
        }

        if let Some(foundation) = &foundation {
            pieces = foundation.fit(pieces)?;
        }
        let scanner = self.scanner(&root, &venv, &runtime);
        let plan = Plan {
            name: recipe.name.clone().unwrap_or_else(|| self.project.image_name()),
            tag: format!("{}{}", recipe.tag, tag_suffix(recipe.target)),
            target: recipe.target,
            platform,
            base: foundation.as_ref().map(|foundation| foundation.planned(&recipe.base)),
            layers: split(pieces, recipe.layers)?,
            process,
            created,
            distributions: selected.distributions,
            left_out: selected.left_out,
            work: Some(work),
        };
        parallel::drop_beside((venv, relocated, runtime, listing, modules));
        Ok(Assembled { plan, recipe, scanner, foundation })
    }

    /// The files of the system that the image needs, and the bytecode of `modules`. Neither knows of the other, so they go
    /// side by side; warnings come in one order all the same.
    fn around_python(
        &self,
        parts: &Parts<'_>,
        foundation: Option<&Foundation>,
        modules: &[bytecode::Source],
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<Platform, BuildError> {
        let Parts { recipe, runtime, relocated, work } = *parts;
        let later = WarningsLater { progress, warnings: Collected::default() };
        let (platform, bytecode) = std::thread::scope(|scope| {
            let bytecode = scope.spawn(|| self.bytecode(recipe, runtime, modules, work, &later));
            let span = Span::begin(progress, "reading the system");
            let platform = match foundation {
                None => self.system(recipe, runtime, relocated, pieces, progress),
                Some(foundation) => self
                    .system_on_base(recipe, foundation, runtime, relocated, pieces, progress)
                    .map(|()| foundation.image.platform.clone()),
            };
            drop(span);
            let bytecode = bytecode.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (platform, bytecode)
        });
        let platform = platform?;
        warn(progress, &later.warnings.warnings());
        distribute(bytecode?, pieces);
        Ok(platform)
    }

    /// The source of the project as it goes into the image.
    fn source(&self, recipe: &Recipe, venv: &Venv) -> Result<Listing, BuildError> {
        let defaults = Dockerignore::from_lines("exclude of the recipe", &recipe.exclude)?;
        let mut context = Context::open(&self.root, self.ignore.clone())?
            .with_workdir(recipe.workdir.clone())
            .with_defaults(defaults);
        context.leave_out(&venv.root);
        context.leave_out(&venv.given);
        for path in self.left_out.iter().chain(&self.cache) {
            context.leave_out(path);
        }
        // The environments of other platforms and a base that is a file are inputs of their own too.
        for path in self.venvs.values().chain(self.base_path(recipe).as_ref()) {
            context.leave_out(path);
        }
        let mut listing = context.walk(Detail::SkipIgnored)?;
        leave_out_layouts(&mut listing);
        Ok(listing)
    }

    fn application(&self, recipe: &Recipe, listing: &Listing) -> Result<Application, BuildError> {
        let named = recipe.app.as_deref().or(self.project.fastapi_entrypoint.as_deref());
        Ok(application::find(&Tree(listing), named, &self.project.name)?)
    }

    /// What names this machine and must not remain in the image.
    fn scanner(&self, root: &Path, venv: &Venv, runtime: &Runtime) -> PathScanner {
        let mut machine: Vec<&Path> = vec![root, &self.root, &venv.root, &venv.given];
        machine.extend(runtime.host.as_ref().map(|host| &*host.prefix));
        machine.extend(self.home.as_deref());
        PathScanner::new(&machine, &[])
    }
}

/// The folders that `pip install` writes to, as the process's own. Their content stays root's: what is installed stays
/// as it is, and more can be added.
fn writable(recipe: &Recipe, environment: &ImagePath, venv: &Venv) -> Result<Vec<Entry>, BuildError> {
    let folders = ["", "bin", "lib", "share", "include", "etc"].into_iter().map(str::to_owned);
    let site = venv.site_packages.iter().cloned();
    let mut entries = Vec::new();
    for folder in folders.chain(site) {
        let mut entry = Entry::directory(environment.join(&folder)?, Owner::Environment);
        (entry.uid, entry.gid) = (recipe.user.uid, recipe.user.gid);
        entries.push(entry);
    }
    Ok(entries)
}

/// Takes image layouts out of the source: results of earlier builds, which would make every image hold the one before.
fn leave_out_layouts(listing: &mut Listing) {
    let layouts: Vec<String> = listing
        .files
        .iter()
        .filter_map(|file| file.path.strip_suffix("/oci-layout"))
        .filter(|folder| listing.get(&format!("{folder}/index.json")).is_some())
        .map(str::to_owned)
        .collect();
    listing.remove(&layouts.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The source tree as the search for the application sees it.
struct Tree<'a>(&'a Listing);

impl Sources for Tree<'_> {
    fn has(&self, path: &str) -> bool {
        self.0.get(path).is_some_and(|file| !matches!(file.kind, SourceKind::Directory))
    }

    fn text(&self, path: &str) -> Option<String> {
        match &self.0.get(path)?.kind {
            SourceKind::File { file, .. } if file.size <= SOURCE_LIMIT => {
                String::from_utf8(file.read().ok()?).ok()
            }
            _ => None,
        }
    }

    fn folders(&self, folder: &str) -> Vec<String> {
        let below = |path: &str| match folder {
            "" => Some(path.to_owned()),
            folder => path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
        };
        let directories = self.0.files.iter().filter(|file| matches!(file.kind, SourceKind::Directory));
        directories.filter_map(|file| below(&file.path)).filter(|path| !path.contains('/')).collect()
    }
}

/// Tells of everything but warnings, which it keeps.
struct WarningsLater<'a> {
    progress: &'a dyn Progress,
    warnings: Collected,
}

impl Progress for WarningsLater<'_> {
    fn warn(&self, warning: Warning) {
        self.warnings.warn(warning);
    }

    fn step(&self, what: &str) {
        self.progress.step(what);
    }

    fn span(&self, what: &str, edge: Edge) {
        self.progress.span(what, edge);
    }

    fn transfer(&self, transfer: &Transfer<'_>) {
        self.progress.transfer(transfer);
    }
}

fn warn(progress: &dyn Progress, warnings: &[Warning]) {
    for warning in warnings {
        progress.warn(warning.clone());
    }
}
