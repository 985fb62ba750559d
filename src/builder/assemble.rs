//! Planning an image: from the project to the plan.

use std::sync::Arc;

use super::Builder;
use super::compile::{Modules, modules_of_source};
use super::error::BuildError;
use super::foundation::Foundation;
use super::ground::{Beginning, Ground, GroundLayer, Memory, Remembering};
use super::heard::Heard;
use super::loaded::Loading;
use super::locales;
use super::products::leave_out_products;
use super::source::source_warnings;
use super::started::{Answers, Below, PlannedFiles};
use super::survey::{Environment, Facts, Survey, deciding, tell};
use super::system::{natives, needs_of_natives};
use crate::context::{Context, Detail, Dockerignore, Listing, SourceKind};
use crate::digest::Digest;
use crate::disk::{self, TraceRecorder};
use crate::error::FileError;
use crate::image::{Layer, MOST_LAYERS, rfc3339};
use crate::parallel;
use crate::plan::layers::{SOURCE, split};
use crate::plan::start::{StartCheck, StartVerdict};
use crate::plan::{Pieces, Places, Plan, PlannedLayer, Process, process};
use crate::progress::{Progress, Span, Warning};
use crate::project::Project;
use crate::python::application::{self, Application, ApplicationError, SourceTree};
use crate::python::bytecode::{BytecodeCheck, warn_of_refused};
use crate::python::relocate::EditableEntries;
use crate::python::relocate::paths::PathScanner;
use crate::recipe::Recipe;
use crate::system::Account;
use crate::tree::{CONSTANT_TIME, Entry};

/// The value of `HOME`: the only directory of an image from scratch that its user can write to.
const HOME: &str = "/tmp";
/// Maximum size in bytes of an application's source file; larger ones are not parsed.
const SOURCE_LIMIT: u64 = 4 << 20;

/// A plan with its context.
pub(super) struct Assembled {
    /// Contains only the layers that are not in `below`.
    pub(super) plan: Plan,
    /// Cached layers, lowest first.
    pub(super) below: Vec<(GroundLayer, Layer)>,
    /// The plan to be cached for the next build.
    pub(super) remembering: Option<Remembering>,
    pub(super) recipe: Recipe,
    pub(super) scanner: PathScanner,
    pub(super) foundation: Option<Foundation>,
}

/// The source of a project, as listed.
struct Source {
    listing: Listing,
    application: Option<Application>,
    /// Reported once the listing is known to be final.
    warnings: Vec<Warning>,
}

/// The inputs of an image except its environment.
struct Task<'a> {
    recipe: &'a Recipe,
    project: &'a Project,
    survey: &'a Survey<'a>,
    created: i64,
    /// `created` as text, if it becomes a label.
    label: Option<&'a str>,
    progress: &'a dyn Progress,
}

/// Decisions about an image: new layers, and the facts behind them.
struct Decided {
    facts: Facts,
    source: Source,
    process: Process,
    layers: Vec<PlannedLayer>,
    below: Vec<(GroundLayer, Layer)>,
    remembering: Option<Remembering>,
}

impl Task<'_> {
    /// Returns the source's entries with their bytecode.
    fn entries_of(&self, source: &Source, facts: &Facts) -> Result<Vec<Entry>, BuildError> {
        let Self { recipe, survey, created, progress, .. } = *self;
        let mut entries = source.listing.entries(&recipe.workdir, created)?;
        let editable = EditableEntries::of(&facts.sources)?;
        tell(progress, &editable.warnings);
        entries.extend(editable.entries);
        // Bytecode in an image is not validated against its source: Python would ignore changes
        // made in the container, which is the purpose of an image with `reload`.
        if !recipe.reload {
            let modules = modules_of_source(&entries);
            let folders = (survey.cache, survey.work);
            let modules_of = (Modules::Source, &modules[..]);
            let (bytecode, refused) = facts.compiler.bytecode(modules_of, survey.check, folders, progress)?;
            let application = source.application.as_ref();
            let loading = Loading { recipe, project: self.project, application, facts };
            warn_of_refused(&loading.check(&modules, refused)?, progress);
            entries.extend(bytecode);
        }
        match survey.foundation {
            Some(foundation) => foundation.fit_entries(entries),
            None => Ok(entries),
        }
    }
}

impl Builder {
    /// Plans the image. Uses cached plans of `memory`.
    pub(super) fn assemble(
        &self,
        memory: Option<Memory<'_>>,
        check: BytecodeCheck,
        progress: &dyn Progress,
    ) -> Result<Assembled, BuildError> {
        let recipe = self.resolve()?;
        let created = self.epoch.unwrap_or(CONSTANT_TIME);
        let created_text =
            rfc3339(created).ok().filter(|_| created >= 0).ok_or(BuildError::Epoch(created))?;
        let root = disk::canonicalize(&self.root).map_err(FileError::of("read", &self.root))?;

        let work = Arc::new(self.staging()?);
        let foundation = self.foundation(&recipe, work.path(), progress)?;
        let wanted = self.wanted(&recipe);
        let folder = self.environment(&wanted, work.path(), progress)?;
        let survey = Survey {
            recipe: &deciding(&recipe),
            given: &self.root,
            root: &root,
            folder: &folder,
            wanted: &wanted,
            account: Account {
                name: self.project.account_name(recipe.name.as_deref()),
                uid: recipe.user.uid,
                gid: recipe.user.gid,
                home: recipe.workdir.clone(),
            },
            search_path: &self.search_path,
            home: self.home.as_deref(),
            foundation: foundation.as_ref(),
            check,
            cache: self.cache.as_deref().unwrap_or(work.path()),
            work: work.path(),
        };
        let label = self.epoch.map(|_| created_text.as_str());
        let task =
            Task { recipe: &recipe, project: &self.project, survey: &survey, created, label, progress };
        let memory = memory.and_then(|memory| Some((memory, Memory::key(&survey)?)));
        let recalled = match memory {
            Some((memory, key)) => self.recall(memory, &key, &task)?,
            None => None,
        };
        let decided = match recalled {
            Some(decided) => decided,
            None => self.find(memory.and_then(|(memory, key)| memory.begin(key)), &task)?,
        };
        let Decided { facts, source, process, layers, below, remembering } = decided;
        tell(progress, &source.warnings);
        let scanner = survey.scanner(&facts);
        tell(progress, &process::remarks(&recipe));
        let plan = Plan {
            name: self.repository(&recipe),
            tag: self.tag(&recipe),
            target: recipe.target,
            platform: facts.platform,
            base: foundation.as_ref().map(|foundation| foundation.planned(&recipe.base)),
            layers,
            process,
            created,
            distributions: facts.distributions,
            left_out: facts.left_out,
            work: Some(work.clone()),
        };
        parallel::drop_beside(source);
        Ok(Assembled { plan, below, remembering, recipe, scanner, foundation })
    }

    /// Combines a cached plan with the current source. Returns `None` if an input changed, or the
    /// source conflicts with the cached layers: everything must then be planned.
    fn recall(
        &self,
        memory: Memory<'_>,
        key: &Digest,
        task: &Task<'_>,
    ) -> Result<Option<Decided>, BuildError> {
        let Some((ground, layers)) = memory.recall(key, task.survey, task.progress) else { return Ok(None) };
        let Ground { facts, warnings, around, answers, natives, layers: known } = ground;
        let source = self.source(task, &facts.places)?;
        let later = Heard::to_tell_later(task.progress);
        let entries = Task { progress: &later, ..*task }.entries_of(&source, &facts)?;
        if needs_of_natives(&entries) != natives {
            return Ok(None);
        }
        let process = self.process(task, &facts, &source)?;
        let files = PlannedFiles::new(task.survey.foundation, Below::Remembered(&answers), &entries);
        // The error message needs facts of the complete plan.
        if !matches!(self.started(task, &process).check(&files), Ok(StartVerdict::Good)) {
            return Ok(None);
        }
        let Some(told) = named_locales(task, &process, &files) else { return Ok(None) };
        let Some(layer) = around.layer(entries)? else { return Ok(None) };
        // In the order of an uncached plan.
        tell(task.progress, &warnings);
        tell(task.progress, &later.warnings());
        tell(task.progress, &told);
        let below = known.into_iter().zip(layers).collect();
        Ok(Some(Decided { facts, source, process, layers: vec![layer], below, remembering: None }))
    }

    /// Plans everything.
    fn find(&self, beginning: Option<Beginning>, task: &Task<'_>) -> Result<Decided, BuildError> {
        let Task { recipe, survey, progress, .. } = *task;
        let heard = Heard::of(progress);
        let trace = beginning.as_ref().map(|beginning| &beginning.trace);
        let opened = TraceRecorder::scoped(trace, || survey.open(&heard))?;
        // Early, since errors in the source should not wait for slow steps.
        let source = self.source(task, &opened.places())?;
        let of_source = natives(&source.listing.entries(&recipe.workdir, task.created)?);
        let (facts, mut pieces) = TraceRecorder::scoped(trace, || survey.find(opened, of_source, &heard))?;
        pieces.source = task.entries_of(&source, &facts)?;
        let process = self.process(task, &facts, &source)?;
        let (answers, told) = self.require_programs(task, &process, &pieces)?;
        tell(progress, &told);
        let known = (answers, needs_of_natives(&pieces.source));
        let _span = Span::begin(progress, "splitting into layers");
        let around =
            beginning.and_then(|beginning| Some((beginning, survey.surroundings(&facts, &pieces).ok()?)));
        // A plan unusable for this source is not cached.
        let around = around.filter(|(_, around)| matches!(around.layer(pieces.source.clone()), Ok(Some(_))));
        let below = survey.foundation.map_or(0, |foundation| foundation.image.layers.len());
        let layers = split(pieces, layer_budget(recipe.layers, below))?;
        // A source that shares its layer cannot be planned alone.
        let around = around.filter(|_| layers.last().is_some_and(|layer| layer.name == SOURCE));
        let remembering =
            around.map(|(beginning, around)| beginning.end(facts.clone(), heard.warnings(), around, known));
        Ok(Decided { facts, source, process, layers, below: Vec::new(), remembering })
    }

    /// Makes the configuration of the image.
    fn process(&self, task: &Task<'_>, facts: &Facts, source: &Source) -> Result<Process, BuildError> {
        let Task { recipe, survey, label, .. } = *task;
        let places = Places {
            environment: survey.environment()?,
            interpreter_folder: facts.executable.parent().unwrap_or_default(),
            base_path: survey.foundation.and_then(Foundation::path).map(str::to_owned),
            home: match survey.foundation {
                Some(foundation) if foundation.has_home(recipe.user.uid) => None,
                _ => Some(HOME.to_owned()),
            },
        };
        let application = source.application.as_ref();
        Ok(Process::new(recipe, &self.project, application, &facts.distributions, &places, label))
    }

    fn started<'a>(&'a self, task: &Task<'a>, process: &'a Process) -> StartCheck<'a> {
        let foundation = task.survey.foundation;
        StartCheck {
            process,
            inherited: foundation.map_or(&[], |foundation| &foundation.command),
            on_base: foundation.is_some(),
            scripts: &self.project.scripts,
        }
    }

    /// Requires the programs that the image starts. Returns the results for the cached plan, and
    /// warnings about missing locales.
    fn require_programs(
        &self,
        task: &Task<'_>,
        process: &Process,
        pieces: &Pieces,
    ) -> Result<(Answers, Vec<Warning>), BuildError> {
        let files = PlannedFiles::new(task.survey.foundation, Below::Planned(pieces), &pieces.source);
        self.started(task, process).check(&files)?;
        let told = named_locales(task, process, &files).unwrap_or_default();
        Ok((files.into_answers(), told))
    }

    /// Lists the project's source without the environment in it, and finds the application.
    fn source(&self, task: &Task<'_>, environment: &Environment) -> Result<Source, BuildError> {
        let Task { recipe, progress, .. } = *task;
        progress.step("reading the source");
        let _span = Span::begin(progress, "reading the source");
        let (listing, warnings) = self.listing(recipe, environment)?;
        let application = self.application(recipe, &listing)?;
        Ok(Source { listing, application, warnings })
    }

    /// Lists the project's source, with warnings.
    fn listing(
        &self,
        recipe: &Recipe,
        environment: &Environment,
    ) -> Result<(Listing, Vec<Warning>), BuildError> {
        let defaults = Dockerignore::from_lines("exclude of the recipe", &recipe.exclude)?;
        let mut context = Context::open(&self.root, self.ignore.clone())?
            .with_workdir(recipe.workdir.clone())
            .with_defaults(defaults);
        context.leave_out(&environment.root);
        context.leave_out(&environment.given);
        for path in self.left_out.iter().chain(&self.cache) {
            context.leave_out(path);
        }
        // Environments of other platforms and a base in a file are separate inputs.
        for path in self.venvs.values().chain(self.base_path(recipe).as_ref()) {
            context.leave_out(path);
        }
        let mut listing = context.walk(Detail::SkipIgnored)?;
        leave_out_products(&context, &mut listing);
        let warnings = source_warnings(&context, &listing);
        Ok((listing, warnings))
    }

    /// Finds the application of `{app}`, or the one named in the command.
    fn application(&self, recipe: &Recipe, listing: &Listing) -> Result<Option<Application>, BuildError> {
        let find = |named| application::find(&Tree(listing), named, &self.project.name);
        if recipe.names_application() {
            let named = recipe.app.as_deref().or(self.project.fastapi_entrypoint.as_deref());
            return Ok(Some(find(named)?));
        }
        let Some(server) = recipe.server().filter(|server| !server.changes_directory()) else {
            return Ok(None);
        };
        match server.application().map(|named| find(Some(named))) {
            Some(Ok(application)) => Ok(Some(application)),
            // A distribution may contain it.
            None | Some(Err(ApplicationError::NoModule { .. } | ApplicationError::Syntax(_))) => Ok(None),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// Returns warnings about missing locales and time zones in the image's variables.
fn named_locales(task: &Task<'_>, process: &Process, files: &PlannedFiles<'_>) -> Option<Vec<Warning>> {
    let foundation = task.survey.foundation;
    let of_base = foundation.map_or(&[][..], |foundation| &foundation.variables);
    let variables: Vec<_> = of_base.iter().chain(&process.env).cloned().collect();
    locales::missing(&variables, files, foundation.map(|foundation| &*foundation.view))
}

/// The source tree, for the search of the application.
struct Tree<'a>(&'a Listing);

impl SourceTree for Tree<'_> {
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

/// Returns the number of layers allowed on `below` layers of a base: by the settings, and by the
/// limit of runtimes.
fn layer_budget(allowed: u16, below: usize) -> u16 {
    let room = u16::try_from(MOST_LAYERS.saturating_sub(below)).unwrap_or(u16::MAX);
    allowed.min(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_of_many_layers_leaves_fewer() {
        for (allowed, below, budget) in
            [(40, 0, 40), (40, 5, 40), (40, 100, 27), (10, 100, 10), (40, 200, 0), (u16::MAX, 7, 120)]
        {
            assert_eq!(layer_budget(allowed, below), budget, "{allowed} on {below}");
        }
    }
}
