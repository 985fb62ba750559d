//! Planning an image: from the project to the plan.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Builder;
use super::added_files::WritableDirectories;
use super::base::ResolvedBase;
use super::check_build::CheckedLayers;
use super::compile::{ModuleSet, source_modules};
use super::environment_plan::{EnvironmentFacts, forward_warnings, without_process_settings};
use super::error::BuildError;
use super::hints::LazyHints;
use super::loaded::LoadedModules;
use super::locales;
use super::package_inputs::WantedPython;
use super::plan_cache::{CachedLayer, CachedPlan, PendingPlan, PlanCache, PlanRecorder};
use super::planned_files::{LowerLayerFiles, PlannedFiles, RecordedAnswers};
use super::planner::EnvironmentPlanner;
use super::service::distributions_of;
use super::source::Source;
use super::system::{loader_files, loader_requirements};
use super::warning_recorder::WarningRecorder;
use crate::base::BaseReference;
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{HistoryLine, ImageError, Layer, MAX_LAYERS, rfc3339};
use crate::parallel;
use crate::plan::check::refuse_duplicates;
use crate::plan::context::{PlanBase, PlanContext};
use crate::plan::extra::ExtraEntries;
use crate::plan::layers::{SOURCE, split};
use crate::plan::start::{StartCheck, StartVerdict};
use crate::plan::{AppendedLayer, CommandPaths, Pieces, Plan, PlanError, PlannedLayer, Process, process};
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Span, Warning};
use crate::project::Project;
use crate::python::application::{Application, ApplicationError};
use crate::python::bytecode::{BytecodeCheck, warn_of_refused};
use crate::python::relocate::EditableEntries;
use crate::python::relocate::paths::PathScanner;
use crate::recipe::Recipe;
use crate::reference::Name;
use crate::system::Account;
use crate::traced_fs::{self, TraceRecorder};
use crate::tree::{CONSTANT_TIME, Entry};

/// The value of `HOME`: the only directory of an image from scratch that its user can write to.
const HOME: &str = "/tmp";

/// A plan with its context.
pub(super) struct Assembled {
    /// Contains only the layers that are not in `below`.
    pub(super) plan: Plan,
    /// Cached layers, lowest first.
    pub(super) below: Vec<(CachedLayer, Layer)>,
    /// The plan to be cached for the next build.
    pub(super) pending_plan: Option<PendingPlan>,
    pub(super) recipe: Recipe,
    pub(super) scanner: PathScanner,
    pub(super) base: Option<ResolvedBase>,
    /// The check of the cached layers; `None` for a complete plan.
    pub(super) known: Option<CheckedLayers>,
    /// The images of further processes, which have the same layers.
    pub(super) others: Vec<OtherImage>,
}

/// An image that differs from the plan's in its configuration alone.
#[derive(Debug, Clone)]
pub(super) struct OtherImage {
    /// Name of the process.
    pub(super) name: Option<String>,
    pub(super) tag: String,
    pub(super) process: Process,
}

/// The inputs of an image except its environment.
struct PlanInputs<'a> {
    recipe: &'a Recipe,
    /// The recipes of further processes.
    others: &'a [Recipe],
    project: &'a Project,
    planner: &'a EnvironmentPlanner<'a>,
    created: i64,
    /// `created` as text, if it becomes a label.
    label: Option<&'a str>,
    /// Finished layers on top.
    appended: &'a [AppendedLayer],
    hints: &'a LazyHints<'a>,
    progress: &'a dyn Progress,
}

/// Decisions about an image: new layers, and the facts behind them.
struct Decisions {
    facts: EnvironmentFacts,
    source: Source,
    process: Process,
    others: Vec<Process>,
    layers: Vec<PlannedLayer>,
    below: Vec<(CachedLayer, Layer)>,
    pending_plan: Option<PendingPlan>,
    /// The check of the cached layers; `None` for a complete plan.
    known: Option<CheckedLayers>,
}

impl<'a> PlanInputs<'a> {
    /// Returns the recipe and those of further processes.
    fn recipes(&self) -> (&'a Recipe, &'a [Recipe]) {
        (self.recipe, self.others)
    }

    /// Returns the source's entries with their bytecode.
    fn entries_of(&self, source: &Source, facts: &EnvironmentFacts) -> Result<Vec<Entry>, BuildError> {
        let Self { planner, created, progress, .. } = *self;
        let recipe = &source.recipe;
        let mut entries = source.listing.entries(&recipe.workdir, created)?;
        let editable = EditableEntries::of(&facts.sources)?;
        forward_warnings(progress, &editable.warnings);
        entries.extend(editable.entries);
        // Bytecode in an image is not validated against its source: Python would ignore changes
        // made in the container, which is the purpose of an image with `reload`.
        if !recipe.reload {
            let modules = source_modules(&entries);
            let folders = (planner.cache, planner.work);
            let modules_of = (ModuleSet::Source, &modules[..]);
            let (bytecode, refused) =
                facts.compiler.bytecode(modules_of, planner.check, folders, progress)?;
            let application = source.application.as_ref();
            let loading = LoadedModules { recipe, project: self.project, application, facts };
            warn_of_refused(&loading.check(&modules, refused)?, progress);
            entries.extend(bytecode);
        }
        let mut entries = match planner.base {
            Some(base) => base.graft_entries(entries)?,
            None => entries,
        };
        self.writable()?.own_all(&mut entries);
        Ok(entries)
    }

    /// Returns the directories that the process may write to, at their place in the image.
    fn writable(&self) -> Result<WritableDirectories, BuildError> {
        let mut writable = WritableDirectories::of(self.recipe);
        if let Some(base) = self.planner.base {
            writable.paths =
                writable.paths.iter().map(|path| base.destination(path)).collect::<Result<_, _>>()?;
        }
        Ok(writable)
    }
}

impl Builder {
    /// Plans the image. Uses cached plans of `plan_cache`.
    pub(super) fn assemble(
        &self,
        plan_cache: Option<PlanCache<'_>>,
        check: BytecodeCheck,
        progress: &dyn Progress,
    ) -> Result<Assembled, BuildError> {
        let (mut recipe, mut others) = self.resolve_all()?;
        let existing = self.existing_environment(&self.target_platform(&recipe));
        let hints = LazyHints::of(&self.root);
        let selected = self.select_server(&mut recipe, &mut others, existing.as_deref(), &hints);
        selected.warning.iter().for_each(|warning| progress.warn(warning.clone()));
        let created = self.epoch.unwrap_or(CONSTANT_TIME);
        let created_text = rfc3339(created).ok().filter(|_| created >= 0);
        let created_text = created_text.ok_or(BuildError::Epoch(created))?;
        let root = traced_fs::canonicalize(&self.root).map_err(FileError::of("read", &self.root))?;

        let work = Arc::new(self.staging()?);
        let wanted = self.target_platform(&recipe);
        let (base, folder) = self.base_and_environment((&wanted, &recipe), &hints, work.path(), progress)?;
        let extra = self.added_layers(&recipe, &folder, work.path(), progress)?;
        let planner = EnvironmentPlanner {
            recipe: &without_process_settings(&recipe),
            given: &self.root,
            root: &root,
            folder: &folder,
            wanted: &wanted,
            account: self.account(&recipe),
            search_path: &self.search_path,
            home: self.home.as_deref(),
            base: base.as_ref(),
            extra: &extra,
            check,
            cache: self.cache.as_deref().unwrap_or(work.path()),
            work: work.path(),
        };
        let appended = self.verified_layers(progress)?;
        let inputs = PlanInputs {
            recipe: &recipe,
            others: &others,
            project: &self.project,
            planner: &planner,
            created,
            label: self.epoch.map(|_| created_text.as_str()),
            appended: &appended,
            hints: &hints,
            progress,
        };
        let Decisions { facts, source, process, others: processes, layers, below, pending_plan, known } =
            self.decide(plan_cache, &inputs).map_err(|error| selected.advise(error))?;
        let own_names = own_names(&below, &layers, (&extra, &appended))?;
        forward_warnings(progress, &source.warnings);
        let scanner = planner.scanner(&facts);
        let recipe = source.recipe.clone();
        let others: Vec<Recipe> = source.others.iter().map(|(recipe, _)| recipe.clone()).collect();
        for recipe in std::iter::once(&recipe).chain(&others) {
            forward_warnings(progress, &process::reachability_warnings(recipe));
        }
        let others = self.other_images(&others, processes);
        let plan = Plan {
            name: self.repository(&recipe),
            tag: self.tag(&recipe),
            process_name: recipe.process.clone(),
            target: recipe.target,
            platform: facts.platform.clone(),
            base: base.as_ref().map(|base| base.planned(&recipe.base)),
            layers,
            appended,
            process,
            created,
            distributions: facts.distributions,
            excluded: facts.excluded,
            service: source.findings.clone(),
            work: Some(work.clone()),
            context: PlanContext {
                base: base.as_ref().map(|base| PlanBase {
                    image: base.image.clone(),
                    view: base.view.clone(),
                    name: base.name.clone(),
                }),
                scanner: scanner.clone(),
                platform: facts.platform.clone(),
                own_names,
            },
        };
        parallel::drop_in_background(source);
        Ok(Assembled { plan, below, pending_plan, recipe, scanner, base, known, others })
    }

    /// Resolves the base and finds or makes the environment.
    fn base_and_environment(
        &self,
        (wanted, recipe): (&Platform, &Recipe),
        hints: &LazyHints<'_>,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<(Option<ResolvedBase>, PathBuf), BuildError> {
        let is_of_packages = matches!(recipe.base.parse()?, BaseReference::Apt(_));
        let existing = self.existing_environment(wanted);
        let allowed = |version: &str| self.allows_python(recipe, hints, version);
        // The Python of a base made of packages depends on that of the environment, if there is one.
        let python = match &existing {
            _ if !is_of_packages => WantedPython::None,
            Some(folder) => WantedPython::of(folder),
            None => WantedPython::Allowed(&allowed),
        };
        let base = self.resolved_base(recipe, python, work, progress)?;
        let folder = match existing {
            Some(folder) => folder,
            None => self.make_environment(recipe, hints, base.as_ref(), work, progress)?,
        };
        Ok((base, folder))
    }

    /// Returns the account of the process.
    fn account(&self, recipe: &Recipe) -> Account {
        Account {
            name: self.project.account_name(recipe.name.as_deref()),
            uid: recipe.user.uid,
            gid: recipe.user.gid,
            home: recipe.workdir.clone(),
        }
    }

    /// Decides with a cached plan, if there is a valid one, else plans everything.
    fn decide(
        &self,
        plan_cache: Option<PlanCache<'_>>,
        inputs: &PlanInputs<'_>,
    ) -> Result<Decisions, BuildError> {
        let plan_cache = plan_cache.and_then(|cache| Some((cache, PlanCache::key(inputs.planner)?)));
        let Some((plan_cache, key)) = plan_cache else { return self.plan_uncached(None, inputs) };
        match self.plan_from_cache(plan_cache, &key, inputs)? {
            Some(decided) => Ok(decided),
            None => self.plan_uncached(plan_cache.record(key), inputs),
        }
    }

    /// Plans the images of all selected processes.
    pub(super) fn plan_each(&self, progress: &dyn Progress) -> Result<Vec<Plan>, BuildError> {
        let Assembled { plan, others, .. } = self.assemble(None, BytecodeCheck::Whole, progress)?;
        let others = others.into_iter().map(|OtherImage { name, tag, process }| Plan {
            process_name: name,
            tag,
            process,
            ..plan.clone()
        });
        let others: Vec<Plan> = others.collect();
        Ok(std::iter::once(plan).chain(others).collect())
    }

    /// Returns the layers of the settings, and above them those that a program adds.
    fn added_layers(
        &self,
        recipe: &Recipe,
        environment: &Path,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<ExtraEntries>, BuildError> {
        let prepared = self.prepared_layers(recipe, environment, work, progress)?;
        let mut layers = self.layers_of_settings(recipe, prepared)?;
        for layer in &self.extra {
            layers.push(layer.entries()?);
        }
        Ok(layers)
    }

    /// Names the images of further processes.
    fn other_images(&self, recipes: &[Recipe], processes: Vec<Process>) -> Vec<OtherImage> {
        let images = recipes.iter().zip(processes).map(|(recipe, process)| OtherImage {
            name: recipe.process.clone(),
            tag: self.tag(recipe),
            process,
        });
        images.collect()
    }

    /// Verifies the finished layers.
    fn verified_layers(&self, progress: &dyn Progress) -> Result<Vec<AppendedLayer>, BuildError> {
        let verify = |(layer, line): &(Layer, HistoryLine)| {
            AppendedLayer::verify(layer.clone(), line.clone(), self.cache.as_deref(), progress)
        };
        Ok(self.appended.iter().map(verify).collect::<Result<_, _>>()?)
    }

    /// Combines a cached plan with the current source. Returns `None` if an input changed, or the
    /// source conflicts with the cached layers: everything must then be planned.
    fn plan_from_cache(
        &self,
        plan_cache: PlanCache<'_>,
        key: &Digest,
        inputs: &PlanInputs<'_>,
    ) -> Result<Option<Decisions>, BuildError> {
        let Some((cached_plan, layers)) = plan_cache.load(key, inputs.planner, inputs.progress) else {
            return Ok(None);
        };
        let CachedPlan {
            facts,
            checked,
            warnings,
            lower_layers,
            answers,
            natives,
            layers: known,
            extra: directories,
        } = cached_plan;
        // A build without a check cached the plan.
        if checked.is_none() && self.checks(inputs.recipe) {
            return Ok(None);
        }
        let planned = |named: &str| {
            let planned = facts.application.as_ref().filter(|planned| planned.reference() == named);
            Ok(planned.cloned())
        };
        let distributions = distributions_of(&facts);
        let source = match self.source(
            (inputs.recipes(), inputs.hints),
            &facts.places,
            (&distributions, &planned),
            inputs.progress,
        ) {
            // The plan is for an application in the source, or for another one.
            Err(BuildError::Application(ApplicationError::NoModule { .. })) => return Ok(None),
            source => source?,
        };
        let deferred = WarningRecorder::deferring(inputs.progress);
        let entries = PlanInputs { progress: &deferred, ..*inputs }.entries_of(&source, &facts)?;
        let extra = inputs.planner.grafted_extra()?;
        if loader_requirements(entries.iter().chain(extra.iter().flat_map(|layer| &layer.entries))) != natives
        {
            return Ok(None);
        }
        let (process, others) = self.processes_of(inputs, &facts, &source)?;
        let recorded = LowerLayerFiles::Recorded(&answers);
        let files = PlannedFiles::new(inputs.planner.base, recorded, (&entries, &extra), inputs.appended);
        // The error message needs facts of the complete plan.
        let is_good = |process| matches!(self.started(inputs, process).check(&files), Ok(StartVerdict::Good));
        if !std::iter::once(&process).chain(&others).all(is_good) {
            return Ok(None);
        }
        let Some(locale_warnings) = named_locales(inputs, &process, &files) else { return Ok(None) };
        let Some(layer) = lower_layers.layer(entries)? else { return Ok(None) };
        let added = extra.into_iter().zip(&directories).map(|(extra, known)| extra.into_layer(known));
        let mut layers_above = added.collect::<Result<Vec<_>, _>>()?;
        layers_above.push(layer);
        // In the order of an uncached plan.
        forward_warnings(inputs.progress, &warnings);
        forward_warnings(inputs.progress, &deferred.warnings());
        forward_warnings(inputs.progress, &locale_warnings);
        let below = known.into_iter().zip(layers).collect();
        let layers = layers_above;
        Ok(Some(Decisions {
            facts,
            source,
            process,
            others,
            layers,
            below,
            pending_plan: None,
            known: checked,
        }))
    }

    /// Plans everything.
    fn plan_uncached(
        &self,
        recorder: Option<PlanRecorder>,
        inputs: &PlanInputs<'_>,
    ) -> Result<Decisions, BuildError> {
        let PlanInputs { recipe, planner, progress, .. } = *inputs;
        let warnings = WarningRecorder::new(progress);
        let trace = recorder.as_ref().map(|recorder| &recorder.trace);
        let opened = TraceRecorder::scoped(trace, || planner.open(&warnings))?;
        // Early, since errors in the source should not wait for slow steps.
        let installed = |named: &str| TraceRecorder::scoped(trace, || opened.application(named));
        let source = self.source(
            (inputs.recipes(), inputs.hints),
            &opened.places(),
            (&opened.distributions(), &installed),
            inputs.progress,
        )?;
        let listed = source.listing.entries(&recipe.workdir, inputs.created)?;
        let of_source =
            loader_files(listed.iter().chain(planner.extra.iter().flat_map(|layer| &layer.entries)));
        let (mut facts, mut pieces) =
            TraceRecorder::scoped(trace, || planner.plan(opened, of_source, &warnings))?;
        facts.application = source.application.clone().filter(|_| source.is_installed);
        pieces.extra = planner.grafted_extra()?;
        pieces.settle_extra();
        let writable = inputs.writable()?;
        pieces.extra.iter_mut().for_each(|layer| writable.open(&mut layer.entries));
        pieces.source = inputs.entries_of(&source, &facts)?;
        let (process, others) = self.processes_of(inputs, &facts, &source)?;
        let (answers, locale_warnings) = self.require_programs(inputs, (&process, &others), &pieces)?;
        forward_warnings(progress, &locale_warnings);
        let added = pieces.extra.iter().flat_map(|layer| &layer.entries);
        let known = (answers, loader_requirements(pieces.source.iter().chain(added)));
        let _span = Span::begin(progress, Activity::SplitLayers);
        let lower_layers =
            recorder.and_then(|recorder| Some((recorder, planner.lower_layers(&facts, &pieces).ok()?)));
        // A plan unusable for this source is not cached.
        let lower_layers = lower_layers.filter(|(_, lower_layers)| lower_layers.accepts(&pieces.source));
        let below = planner.base.map_or(0, |base| base.image.layers.len());
        let added = pieces.extra.len();
        let taken = below + added + inputs.appended.len();
        if taken >= MAX_LAYERS {
            return Err(ImageError::Layers { base: below, own: taken - below + 1 }.into());
        }
        let layers = split(pieces, layer_budget(recipe.layers, taken))?;
        // A source that shares its layer cannot be planned alone.
        let lower_layers = lower_layers.filter(|_| layers.last().is_some_and(|layer| layer.name == SOURCE));
        let pending_plan = lower_layers.map(|(recorder, lower_layers)| {
            let end = layers.len().saturating_sub(1);
            let count = end.saturating_sub(added);
            let extra = layers.get(count..end).unwrap_or_default();
            recorder.finish(facts.clone(), warnings.warnings(), lower_layers, known, (count, extra))
        });
        Ok(Decisions { facts, source, process, others, layers, below: Vec::new(), pending_plan, known: None })
    }

    /// Makes the configurations of the image, and of those of further processes.
    fn processes_of(
        &self,
        inputs: &PlanInputs<'_>,
        facts: &EnvironmentFacts,
        source: &Source,
    ) -> Result<(Process, Vec<Process>), BuildError> {
        let process = self.process(inputs, &source.recipe, source.application.as_ref(), facts)?;
        let others = source.others.iter();
        let others =
            others.map(|(recipe, application)| self.process(inputs, recipe, application.as_ref(), facts));
        Ok((process, others.collect::<Result<_, _>>()?))
    }

    /// Makes the configuration of an image.
    fn process(
        &self,
        inputs: &PlanInputs<'_>,
        recipe: &Recipe,
        application: Option<&Application>,
        facts: &EnvironmentFacts,
    ) -> Result<Process, BuildError> {
        let PlanInputs { planner, label, .. } = *inputs;
        let places = CommandPaths {
            environment: planner.environment()?,
            interpreter_folder: facts.executable.parent().unwrap_or_default(),
            base_path: planner.base.and_then(ResolvedBase::path).map(str::to_owned),
            home: match planner.base {
                Some(base) if base.has_home(recipe.user.uid) => None,
                _ => Some(HOME.to_owned()),
            },
        };
        Ok(process::of_recipe(recipe, &self.project, application, &facts.distributions, &places, label))
    }

    /// Prepares a plan, which may have been changed, for carrying it out.
    pub(super) fn assembled(&self, plan: Plan, recipe: Recipe) -> Result<Assembled, BuildError> {
        plan.check()?;
        Name::new(&plan.name, &plan.tag)?;
        let PlanContext { base, scanner, .. } = plan.context.clone();
        let base = base.map(|PlanBase { image, view, name }| ResolvedBase::new(image, view, name));
        let files = PlannedFiles::new(
            base.as_ref(),
            LowerLayerFiles::Layers(&plan.layers),
            (&[], &[]),
            &plan.appended,
        );
        self.start_check(base.as_ref(), &plan.process).check(&files)?;
        drop(files);
        Ok(Assembled {
            plan,
            below: Vec::new(),
            pending_plan: None,
            known: None,
            recipe,
            scanner,
            base,
            others: Vec::new(),
        })
    }

    fn started<'a>(&'a self, inputs: &PlanInputs<'a>, process: &'a Process) -> StartCheck<'a> {
        self.start_check(inputs.planner.base, process)
    }

    fn start_check<'a>(&'a self, base: Option<&'a ResolvedBase>, process: &'a Process) -> StartCheck<'a> {
        StartCheck {
            process,
            inherited: base.map_or(&[], |base| &base.command),
            on_base: base.is_some(),
            scripts: &self.project.scripts,
        }
    }

    /// Requires the programs that the image starts. Returns the results for the cached plan, and
    /// warnings about missing locales.
    fn require_programs(
        &self,
        inputs: &PlanInputs<'_>,
        (process, others): (&Process, &[Process]),
        pieces: &Pieces,
    ) -> Result<(RecordedAnswers, Vec<Warning>), BuildError> {
        let planned = LowerLayerFiles::Planned(pieces);
        let files =
            PlannedFiles::new(inputs.planner.base, planned, (&pieces.source, &pieces.extra), inputs.appended);
        for process in std::iter::once(process).chain(others) {
            self.started(inputs, process).check(&files)?;
        }
        let locale_warnings = named_locales(inputs, process, &files).unwrap_or_default();
        Ok((files.into_answers(), locale_warnings))
    }
}

/// Returns the names of the layers except those that the settings or a program add. Refuses added
/// layers with the name of another.
fn own_names(
    below: &[(CachedLayer, Layer)],
    layers: &[PlannedLayer],
    (extra, appended): (&[ExtraEntries], &[AppendedLayer]),
) -> Result<Vec<String>, PlanError> {
    let names = below.iter().map(|(layer, _)| layer.name.as_str());
    let mut names: Vec<&str> = names.chain(layers.iter().map(|layer| layer.name.as_str())).collect();
    let is_own = |name: &&&str| !extra.iter().any(|layer| layer.name == **name);
    let own = names.iter().filter(is_own).map(|name| (*name).to_owned()).collect::<Vec<_>>();
    names.extend(appended.iter().map(AppendedLayer::name));
    refuse_duplicates(&names, &own)?;
    Ok(own)
}

/// Returns warnings about missing locales and time zones in the image's variables.
fn named_locales(
    inputs: &PlanInputs<'_>,
    process: &Process,
    files: &PlannedFiles<'_>,
) -> Option<Vec<Warning>> {
    let base = inputs.planner.base;
    let of_base = base.map_or(&[][..], |base| &base.variables);
    let variables: Vec<_> = of_base.iter().chain(&process.env).cloned().collect();
    locales::missing_locale_warnings(&variables, files, base.map(|base| &*base.view))
}

/// Returns the number of layers allowed on `below` layers of a base: by the settings, and by the
/// limit of runtimes.
fn layer_budget(allowed: u16, below: usize) -> u16 {
    let room = u16::try_from(MAX_LAYERS.saturating_sub(below)).unwrap_or(u16::MAX);
    allowed.min(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_with_many_layers_reduces_the_budget() {
        for (allowed, below, budget) in
            [(40, 0, 40), (40, 5, 40), (40, 100, 27), (10, 100, 10), (40, 200, 0), (u16::MAX, 7, 120)]
        {
            assert_eq!(layer_budget(allowed, below), budget, "{allowed} on {below}");
        }
    }
}
