//! From a project to a plan: every floor below is asked in its turn.

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
use crate::disk::{self, Trace};
use crate::error::FileError;
use crate::image::{Layer, MOST_LAYERS, rfc3339};
use crate::parallel;
use crate::plan::layers::{SOURCE, split};
use crate::plan::start::{Started, Verdict};
use crate::plan::{Pieces, Places, Plan, PlannedLayer, Process, process};
use crate::progress::{Progress, Span, Warning};
use crate::project::Project;
use crate::python::application::{self, Application, ApplicationError, Sources};
use crate::python::bytecode::{Check, warn_of_refused};
use crate::python::relocate::paths::PathScanner;
use crate::recipe::Recipe;
use crate::system::Account;
use crate::tree::{CONSTANT_TIME, Entry};

/// The value of `HOME`: the only directory of an image from scratch that its user may write to.
const HOME: &str = "/tmp";
/// An application's source is text of at most this many bytes; a larger file is not looked into.
const SOURCE_LIMIT: u64 = 4 << 20;

/// A plan, with what is needed to carry it out.
pub(super) struct Assembled {
    /// Its layers are those that are not among `below`.
    pub(super) plan: Plan,
    /// The layers that are there already, lowest first.
    pub(super) below: Vec<(GroundLayer, Layer)>,
    /// For the next build.
    pub(super) remembering: Option<Remembering>,
    pub(super) recipe: Recipe,
    pub(super) scanner: PathScanner,
    pub(super) foundation: Option<Foundation>,
}

/// The source of a project, as it was listed.
struct Source {
    listing: Listing,
    application: Option<Application>,
    /// Told when it is clear that this listing is the one that is used.
    warnings: Vec<Warning>,
}

/// What an image is made of, as far as it is known without looking at the environment.
struct Task<'a> {
    recipe: &'a Recipe,
    project: &'a Project,
    survey: &'a Survey<'a>,
    created: i64,
    /// The same as text, where it is a label.
    label: Option<&'a str>,
    progress: &'a dyn Progress,
}

/// What was decided: new layers, and what was found out for them.
struct Decided {
    facts: Facts,
    source: Source,
    process: Process,
    layers: Vec<PlannedLayer>,
    below: Vec<(GroundLayer, Layer)>,
    remembering: Option<Remembering>,
}

impl Task<'_> {
    /// The source as it goes into the image, with its bytecode.
    fn entries_of(&self, source: &Source, facts: &Facts) -> Result<Vec<Entry>, BuildError> {
        let Self { recipe, survey, created, progress, .. } = *self;
        let mut entries = source.listing.entries(&recipe.workdir, created)?;
        for source in &facts.sources {
            entries.extend(source.entries()?);
        }
        // Bytecode in an image is never checked against its source: a source that is changed in the container would
        // go unnoticed, and noticing is what an image that reloads is for.
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
    /// Decides everything. What `memory` has of it need not be found out again.
    pub(super) fn assemble(
        &self,
        memory: Option<Memory<'_>>,
        check: Check,
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

    /// The layers below the source as they were, and the source. Nothing where something changed, or the source is in the way
    /// of something: then all has to be looked at.
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
        // An error names what only the whole plan knows.
        if !matches!(self.started(task, &process).check(&files), Ok(Verdict::Good)) {
            return Ok(None);
        }
        let Some(told) = named_locales(task, &process, &files) else { return Ok(None) };
        let Some(layer) = around.layer(entries)? else { return Ok(None) };
        // In the order in which they came when all of it was found out.
        tell(task.progress, &warnings);
        tell(task.progress, &later.warnings());
        tell(task.progress, &told);
        let below = known.into_iter().zip(layers).collect();
        Ok(Some(Decided { facts, source, process, layers: vec![layer], below, remembering: None }))
    }

    /// Looks at everything.
    fn find(&self, beginning: Option<Beginning>, task: &Task<'_>) -> Result<Decided, BuildError> {
        let Task { recipe, survey, progress, .. } = *task;
        let heard = Heard::of(progress);
        let trace = beginning.as_ref().map(|beginning| &beginning.trace);
        let opened = Trace::keep_if(trace, || survey.open(&heard))?;
        // Before all that takes long: it may be wrong.
        let source = self.source(task, &opened.places())?;
        let of_source = natives(&source.listing.entries(&recipe.workdir, task.created)?);
        let (facts, mut pieces) = Trace::keep_if(trace, || survey.find(opened, of_source, &heard))?;
        pieces.source = task.entries_of(&source, &facts)?;
        let process = self.process(task, &facts, &source)?;
        let (answers, told) = self.require_programs(task, &process, &pieces)?;
        tell(progress, &told);
        let known = (answers, needs_of_natives(&pieces.source));
        let _span = Span::begin(progress, "splitting into layers");
        let around =
            beginning.and_then(|beginning| Some((beginning, survey.surroundings(&facts, &pieces).ok()?)));
        // What is of no use for this source is of none for the next.
        let around = around.filter(|(_, around)| matches!(around.layer(pieces.source.clone()), Ok(Some(_))));
        let below = survey.foundation.map_or(0, |foundation| foundation.image.layers.len());
        let layers = split(pieces, layer_budget(recipe.layers, below))?;
        // A source that shares its layer cannot be planned by itself.
        let around = around.filter(|_| layers.last().is_some_and(|layer| layer.name == SOURCE));
        let remembering =
            around.map(|(beginning, around)| beginning.end(facts.clone(), heard.warnings(), around, known));
        Ok(Decided { facts, source, process, layers, below: Vec::new(), remembering })
    }

    /// How the image runs.
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

    fn started<'a>(&'a self, task: &Task<'a>, process: &'a Process) -> Started<'a> {
        let foundation = task.survey.foundation;
        Started {
            process,
            inherited: foundation.map_or(&[], |foundation| &foundation.command),
            on_base: foundation.is_some(),
            scripts: &self.project.scripts,
        }
    }

    /// Requires that the programs which the image starts are in it. Gives what had to be known for that, and warnings about
    /// locales that are not.
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

    /// The source of the project, without the environment in it, and the application in it.
    fn source(&self, task: &Task<'_>, environment: &Environment) -> Result<Source, BuildError> {
        let Task { recipe, progress, .. } = *task;
        progress.step("reading the source");
        let _span = Span::begin(progress, "reading the source");
        let (listing, warnings) = self.listing(recipe, environment)?;
        let application = self.application(recipe, &listing)?;
        Ok(Source { listing, application, warnings })
    }

    /// The source of the project, with warnings of what is strange in it.
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
        // The environments of other platforms and a base that is a file are inputs of their own too.
        for path in self.venvs.values().chain(self.base_path(recipe).as_ref()) {
            context.leave_out(path);
        }
        let mut listing = context.walk(Detail::SkipIgnored)?;
        leave_out_products(&context, &mut listing);
        let warnings = source_warnings(&context, &listing);
        Ok((listing, warnings))
    }

    /// The application that the command asks for by `{app}`, or that it names itself.
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
            // A distribution may have it.
            None | Some(Err(ApplicationError::NoModule { .. } | ApplicationError::Syntax(_))) => Ok(None),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// Warnings about locales and time zones that the image's variables name, and that it lacks.
fn named_locales(task: &Task<'_>, process: &Process, files: &PlannedFiles<'_>) -> Option<Vec<Warning>> {
    let foundation = task.survey.foundation;
    let of_base = foundation.map_or(&[][..], |foundation| &foundation.variables);
    let variables: Vec<_> = of_base.iter().chain(&process.env).cloned().collect();
    locales::missing(&variables, files, foundation.map(|foundation| &*foundation.view))
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

/// The layers that may be made on `below` layers of a base: as many as the settings allow, and as can be stacked.
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
