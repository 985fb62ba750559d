//! Planning of everything in an image except the project's source.
//!
//! The result depends only on the fields of an [`EnvironmentPlanner`] and on files read through
//! [`crate::traced_fs`]: it is valid as long as these are the same, see `plan_cache.rs`.

use std::collections::BTreeMap;
use std::mem::take;
use std::path::{Path, PathBuf, absolute};

use serde::{Deserialize, Serialize};

use super::base::ResolvedBase;
use super::compile::{Compiler, CompilerSearch, ModuleSet, PYTHONOPTIMIZE, distribute, environment_modules};
use super::complete;
use super::environment_location::EnvironmentLocation;
use super::error::BuildError;
use super::planner::EnvironmentPlanner;
use super::python::{ImagePython, PipSource};
use super::selection::{SelectedDistributions, allow_missing, select};
use super::system::{LibraryUsers, loader_files, programs};
use super::warning_recorder::WarningRecorder;
use crate::base::{BasePython, BaseReference};
use crate::parallel;
use crate::plan::extra::ExtraEntries;
use crate::plan::source_layer::LowerLayers;
use crate::plan::{Pieces, PlannedDistribution};
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Span, Step, Warning};
use crate::python::application::{Application, ApplicationError, find_installed};
use crate::python::bytecode;
use crate::python::relocate::paths::PathScanner;
use crate::python::relocate::{EditableEntries, SourcePlace};
use crate::python::{Activation, DistributionSelection, EditableSource, Relocation, Venv};
use crate::recipe::{Recipe, ResolvedApt, ResolvedCheck};
use crate::service::Distributions;
use crate::traced_fs;
use crate::tree::{Entry, ImagePath, KeyHasher, Owner};

/// An opened environment, with the selected distributions.
pub(super) struct OpenedEnvironment {
    venv: Venv,
    of_base: Option<BasePython>,
    selected: SelectedDistributions,
}

/// The result of planning an environment, beside its layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EnvironmentFacts {
    /// Location of the environment.
    pub(super) places: EnvironmentLocation,
    /// Location of the interpreter on this machine.
    pub(super) prefix: Option<PathBuf>,
    /// Python in the image.
    pub(super) executable: ImagePath,
    pub(super) compiler: Compiler,
    /// Source that the environment refers to.
    pub(super) sources: Vec<EditableSource>,
    #[serde(with = "platform")]
    pub(super) platform: Platform,
    pub(super) distributions: Vec<PlannedDistribution>,
    pub(super) excluded: Vec<String>,
    /// The application, if an installed distribution has it.
    pub(super) application: Option<Application>,
}

/// Returns `recipe` without the parts that do not affect an environment plan: settings of the
/// process, and names.
pub(super) fn without_process_settings(recipe: &Recipe) -> Recipe {
    Recipe {
        name: None,
        tag: String::new(),
        description: String::new(),
        // The only variable of the process that affects files.
        env: recipe
            .env
            .iter()
            .filter(|(name, _)| *name == PYTHONOPTIMIZE)
            .map(|(name, level)| (name.clone(), level.clone()))
            .collect(),
        labels: BTreeMap::new(),
        mirrors: BTreeMap::new(),
        stop_signal: String::new(),
        app: None,
        server: None,
        service: None,
        is_port_set: false,
        is_stop_signal_set: false,
        host: String::new(),
        port: 0,
        workers: 0,
        proxy_headers: false,
        graceful_timeout: 0,
        healthcheck: None,
        ports: Vec::new(),
        volumes: Vec::new(),
        // Added entries are part of the key themselves, and the source is of no plan.
        writable: Vec::new(),
        files: Vec::new(),
        prepare: Vec::new(),
        process: None,
        processes: BTreeMap::new(),
        dockerignore: Vec::new(),
        exclude: Vec::new(),
        max_size: None,
        check: ResolvedCheck::default(),
        // The plan depends on the files of the base.
        packages: Vec::new(),
        apt: ResolvedApt::default(),
        ..recipe.clone()
    }
}

impl EnvironmentPlanner<'_> {
    /// Adds the inputs to a key. Equal inputs that read equal files give equal plans.
    pub(super) fn identify(&self, fields: KeyHasher) -> Option<KeyHasher> {
        let Self {
            recipe,
            given,
            root,
            folder,
            wanted,
            account,
            search_path,
            home,
            base,
            extra,
            check: _,
            cache: _,
            work: _,
        } = self;
        let mut fields = fields.value(&(recipe, wanted, account))?;
        // A relative path depends on the current directory.
        let (absolute_given, absolute_folder) = (absolute(given).ok()?, absolute(folder).ok()?);
        for path in [given, root, folder, &*absolute_given, &*absolute_folder].into_iter().chain(*home) {
            fields.add(path.as_os_str().as_encoded_bytes());
        }
        fields = fields.value(&home.is_some())?;
        extra.iter().for_each(|layer| layer.identify(&mut fields));
        if let Some(ResolvedBase { image, name, .. }) = base {
            // Another Python is searched only if the base has its own.
            fields.add(search_path.as_encoded_bytes());
            fields.add(image.digest().as_bytes());
            fields = fields.value(name)?;
        }
        Some(fields)
    }

    /// Returns the path of the environment in the image.
    pub(super) fn environment(&self) -> Result<ImagePath, BuildError> {
        Ok(self.recipe.workdir.join(".venv")?)
    }

    /// Opens the environment and selects its distributions.
    pub(super) fn open(&self, progress: &dyn Progress) -> Result<OpenedEnvironment, BuildError> {
        progress.step(&Step::new(Activity::ReadEnvironment));
        let _span = Span::begin(progress, Activity::ReadEnvironment);
        let (venv, of_base) = match self.base {
            Some(base) => base.environment(self.folder)?,
            None => (Venv::open(self.folder)?, None),
        };
        venv.refuse_system_distributions()?;
        forward_warnings(progress, &venv.warnings);
        let selected = select(self.recipe, self.root, &venv, progress)?;
        if self.base.is_some() {
            venv.refuse_foreign(&selected.names, self.wanted)?;
        }
        Ok(OpenedEnvironment { venv, of_base, selected })
    }

    /// Plans everything else.
    ///
    /// `natives` are ELF files of the source. The image gets their libraries too.
    pub(super) fn plan(
        &self,
        opened: OpenedEnvironment,
        mut natives: Vec<Entry>,
        progress: &dyn Progress,
    ) -> Result<(EnvironmentFacts, Pieces), BuildError> {
        let OpenedEnvironment { venv, of_base, selected } = opened;
        let recipe = self.recipe;
        let environment = self.environment()?;
        // uv makes environments without pip; the interpreter has pip beside it.
        let pip = if recipe.pip && !selected.names.contains("pip") {
            PipSource::Interpreter
        } else {
            PipSource::None
        };
        let span = Span::begin(progress, Activity::ReadInterpreter);
        let base_python = of_base.clone();
        let mut python = ImagePython::find(recipe, &venv, &environment, pip, of_base, self.wanted, progress)?;
        drop(span);
        let span = Span::begin(progress, Activity::RelocateEnvironment);
        let relocated = Relocation {
            venv: &venv,
            prefix: environment.clone(),
            interpreter: python.executable.clone(),
            workdir: recipe.workdir.clone(),
            context: self.root,
            selection: DistributionSelection::Only(selected.names.clone()),
            activation: if recipe.activate { Activation::Include } else { Activation::Exclude },
        }
        .run()?;
        forward_warnings(progress, &relocated.warnings);
        drop(span);

        let programs = programs(&python, &relocated);
        let (pip_entries, pip_sources) = python.pip.take().unzip();
        let pip_owner = pip_entries.iter().flatten().next().map(|entry| entry.owner.clone());
        let pip_sources = pip_sources.unwrap_or_default();
        let mut modules = environment_modules(&mut python, &relocated, (pip_sources, pip_owner));
        let mut pieces = Pieces {
            interpreter: python.files.as_mut().map(|files| take(&mut files.entries)).unwrap_or_default(),
            distributions: relocated.distributions,
            environment: relocated.environment,
            ..Pieces::default()
        };
        pieces.environment.extend(relocated.unowned);
        pieces.distributions.extend(pip_entries.map(|entries| ("pip".to_owned(), entries)));
        let base_level = self.base.and_then(|base| base.variable(PYTHONOPTIMIZE));
        let search = CompilerSearch {
            path: self.search_path,
            of_base: &|| self.base_program(base_python.as_ref()?, progress),
            prefers_base: matches!(recipe.base.parse(), Ok(BaseReference::Apt(_))),
        };
        let compiler = Compiler::of(recipe, &python, &search, base_level.as_deref(), progress);
        compiler.forget_installed(&mut modules);
        let bytecode = (&compiler, &modules[..]);
        // Untraced: a change of an executable script must not invalidate the cached plan.
        natives.extend(traced_fs::untraced(|| loader_files_of_sources(&relocated.sources))?);
        let users = LibraryUsers {
            python: &python,
            programs: &programs,
            natives: &natives,
            named: &recipe.libraries,
        };
        let platform = self.system_and_bytecode(&users, bytecode, &mut pieces, progress)?;
        if recipe.writable_environment {
            pieces.environment.extend(writable(recipe, &environment, &venv)?);
        }
        if let Some(base) = self.base {
            pieces = base.graft(pieces)?;
        }
        complete::check(&pieces, &venv, &selected, &allow_missing(recipe))?;
        let facts = EnvironmentFacts {
            places: EnvironmentLocation::of(&venv),
            prefix: python.host.as_ref().map(|host| host.prefix.clone()),
            executable: python.executable.clone(),
            compiler,
            sources: relocated.sources,
            platform,
            distributions: selected.distributions,
            excluded: selected.excluded,
            application: None,
        };
        parallel::drop_in_background((venv, python, modules));
        Ok((facts, pieces))
    }

    /// Returns the base's `python` as a program of this machine.
    fn base_program(&self, python: &BasePython, progress: &dyn Progress) -> Option<PathBuf> {
        let program = self.base?.program(python, self.cache, progress)?;
        // The plan is not valid without the program.
        traced_fs::is_file(&program).then_some(program)
    }

    /// Finds the required system files, and the bytecode of `modules`. The two are independent and
    /// run in parallel; warnings have a fixed order all the same.
    fn system_and_bytecode(
        &self,
        users: &LibraryUsers<'_>,
        (compiler, modules): (&Compiler, &[bytecode::BytecodeSource]),
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<Platform, BuildError> {
        let deferred = WarningRecorder::deferring(progress);
        let (bytecode, platform) = parallel::both(
            || {
                compiler.bytecode(
                    (ModuleSet::Environment, modules),
                    self.check,
                    (self.cache, self.work),
                    &deferred,
                )
            },
            || {
                let _span = Span::begin(progress, Activity::ReadSystem);
                match self.base {
                    None => self.system(users, pieces, progress),
                    Some(base) => self
                        .system_on_base(base, users, pieces, progress)
                        .map(|()| base.image.platform.clone()),
                }
            },
        );
        let platform = platform?;
        forward_warnings(progress, &deferred.warnings());
        let (bytecode, refused) = bytecode?;
        bytecode::warn_of_refused(&refused, progress);
        distribute(bytecode, pieces);
        Ok(platform)
    }

    /// Returns the layers that a program adds, at their place in the image.
    pub(super) fn grafted_extra(&self) -> Result<Vec<ExtraEntries>, BuildError> {
        let extra = self.extra.to_vec();
        match self.base {
            Some(base) => base.graft_extra(extra),
            None => Ok(extra),
        }
    }

    /// Extracts the parts of `pieces` that a source layer depends on.
    pub(super) fn lower_layers(
        &self,
        facts: &EnvironmentFacts,
        pieces: &Pieces,
    ) -> Result<LowerLayers, BuildError> {
        let places = facts.places_of_source(&self.recipe.workdir);
        let apart = self.environment()?;
        Ok(match self.base {
            None => LowerLayers::of(pieces, places, apart),
            // The base may have links there.
            Some(base) => {
                let places = places.iter().map(|place| base.destination(place)).collect::<Result<_, _>>()?;
                LowerLayers::of(pieces, places, base.destination(&apart)?)
            }
        })
    }

    /// Makes the scanner for paths of this machine, which must not remain in the image.
    pub(super) fn scanner(&self, facts: &EnvironmentFacts) -> PathScanner {
        let EnvironmentLocation { root, given } = &facts.places;
        let mut machine: Vec<&Path> = vec![self.root, self.given, root, given];
        machine.extend(facts.prefix.as_deref());
        machine.extend(self.home);
        PathScanner::new(&machine, &[])
    }
}

impl OpenedEnvironment {
    /// Returns the location of the environment.
    pub(super) fn places(&self) -> EnvironmentLocation {
        EnvironmentLocation::of(&self.venv)
    }

    /// Returns the distributions in the image, and the others.
    pub(super) fn distributions(&self) -> Distributions {
        let planned = self.selected.distributions.iter();
        let versions = planned.map(|planned| (&planned.name, &planned.version));
        Distributions::installed(versions, &self.selected.excluded)
    }

    /// Finds the application `named` in the distributions of the image.
    pub(super) fn application(&self, named: &str) -> Result<Option<Application>, ApplicationError> {
        find_installed(&self.venv, &self.selected.names, named)
    }
}

impl EnvironmentFacts {
    /// Returns the directories that may receive source, given the process's `workdir`.
    pub(super) fn places_of_source(&self, workdir: &ImagePath) -> Vec<ImagePath> {
        let elsewhere = self.sources.iter().filter(|source| source.place == SourcePlace::Elsewhere);
        std::iter::once(workdir.clone()).chain(elsewhere.map(|source| source.image.clone())).collect()
    }
}

/// Returns the ELF files of the source that the environment refers to.
fn loader_files_of_sources(sources: &[EditableSource]) -> Result<Vec<Entry>, BuildError> {
    Ok(loader_files(&EditableEntries::of(sources)?.entries))
}

/// Returns the directories that `pip install` writes to, owned by the process. Their content stays
/// root's: installed files are protected, and more can be added.
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

/// Passes warnings on.
pub(super) fn forward_warnings(progress: &dyn Progress, warnings: &[Warning]) {
    for warning in warnings {
        progress.warn(warning.clone());
    }
}

/// Serialization of [`Platform`]: its own form omits an absent variant, which a format without
/// field names cannot.
mod platform {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::platform::Platform;

    type PlatformParts = (String, String, Option<String>);

    pub(super) fn serialize<S: Serializer>(platform: &Platform, serializer: S) -> Result<S::Ok, S::Error> {
        let Platform { os, architecture, variant } = platform.clone();
        PlatformParts::serialize(&(os, architecture, variant), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
        let (os, architecture, variant) = PlatformParts::deserialize(deserializer)?;
        Ok(Platform { os, architecture, variant })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::python::bytecode::BytecodeCheck;
    use crate::recipe::Target;
    use crate::settings::Settings;
    use crate::system::Account;

    /// One setting for each field of a recipe that the environment's layers depend on.
    const SETTINGS: &[(&str, &str)] = &[
        ("base", "base = 'debian:12'"),
        ("platforms", "platform = 'linux/s390x'"),
        ("user", "user = '7:8'"),
        ("workdir", "workdir = '/srv'"),
        ("env", "env.PYTHONOPTIMIZE = '1'"),
        ("entrypoint", "entrypoint = ['a']"),
        ("cmd", "cmd = ['a']"),
        ("compiled_for", "entrypoint = ['python', '-O']"),
        ("event_loop", "loop = 'asyncio'"),
        ("http", "http = 'h11'"),
        ("reload", "reload = true"),
        ("distributions", "distributions = 'installed'"),
        ("extras", "extras = ['a']"),
        ("groups", "groups = ['a']"),
        ("default_groups", "default-groups = false"),
        ("requirements", "requirements = 'a.txt'"),
        ("with", "with = ['a']"),
        ("allow_missing", "allow-missing = ['a']"),
        ("bytecode", "bytecode = 'keep'"),
        ("pip", "pip = true"),
        ("python", "python = '3.12'"),
        ("headers", "headers = true"),
        ("activate", "activate = true"),
        ("writable_environment", "writable-environment = true"),
        ("trim", "trim = ['a']"),
        ("libraries", "libraries = ['a.so']"),
        ("certificates", "certificates = false"),
        ("time_zones", "time-zones = false"),
        ("layers", "layers = 3"),
        ("compression", "compression = 'gzip:9'"),
    ];

    /// The other fields: the target, and settings of the process.
    const OTHERS: &[&str] = &[
        "check",
        "server",
        "service",
        "is_port_set",
        "is_stop_signal_set",
        "is_selection_set",
        "target",
        "description",
        "name",
        "tag",
        "mirrors",
        "labels",
        "stop_signal",
        "app",
        "host",
        "port",
        "workers",
        "proxy_headers",
        "graceful_timeout",
        "healthcheck",
        "ports",
        "volumes",
        "writable",
        "files",
        "prepare",
        "process",
        "dockerignore",
        "exclude",
        "max_size",
        "packages",
        "apt",
    ];

    fn resolve(target: Target, settings: &str) -> Recipe {
        Recipe::resolve(target, None, Settings::parse(Path::new("test"), settings).unwrap()).unwrap()
    }

    fn key(recipe: &Recipe) -> String {
        let folder = Path::new("/");
        let planner = EnvironmentPlanner {
            recipe: &without_process_settings(recipe),
            given: folder,
            root: folder,
            folder,
            wanted: &Platform::new("linux", "amd64", None),
            account: Account { name: "app".to_owned(), uid: 1, gid: 1, home: ImagePath::default() },
            search_path: "".as_ref(),
            home: None,
            base: None,
            extra: &[],
            check: BytecodeCheck::default(),
            cache: folder,
            work: folder,
        };
        planner.identify(KeyHasher::new("test")).unwrap().finish().to_string()
    }

    #[test]
    fn each_field_of_a_recipe_changes_the_key() {
        let mut keys = BTreeSet::from([key(&resolve(Target::Runtime, ""))]);
        for &(field, settings) in SETTINGS {
            assert!(keys.insert(key(&resolve(Target::Runtime, settings))), "{field}");
        }
        assert!(keys.insert(key(&resolve(Target::Dev, ""))), "target");
        let recipe = serde_json::to_value(resolve(Target::Runtime, "")).unwrap();
        let fields: BTreeSet<&str> = recipe.as_object().unwrap().keys().map(String::as_str).collect();
        let tested = SETTINGS.iter().map(|(field, _)| *field).chain(OTHERS.iter().copied()).collect();
        assert_eq!(fields, tested, "a field without a test");
    }

    #[test]
    fn settings_of_the_process_do_not_change_the_key() {
        let plain = key(&resolve(Target::Runtime, ""));
        for settings in ["name = 'a'", "port = 1", "healthcheck = '/up'", "env.A = 'b'", "labels.a = 'b'"] {
            assert_eq!(key(&resolve(Target::Runtime, settings)), plain, "{settings}");
        }
    }
}
