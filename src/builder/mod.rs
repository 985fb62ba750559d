//! The build of a project's images: the entry point of the library, which combines all lower
//! modules.
//!
//! The library reads no environment variable and no home directory, and uses the clock only for the
//! age of leases. The [`Builder`] receives the relevant values, so the embedder decides, and equal
//! input gives equal images.

mod added_files;
mod assemble;
mod base;
mod build_results;
mod built;
pub mod cause;
mod compile;
mod complete;
mod content_scan;
mod environment;
mod environment_location;
mod environment_plan;
mod error;
mod explain;
mod ignore_defaults;
mod layer_cache;
mod layer_job;
mod leases;
mod loaded;
mod locales;
mod multi_platform;
mod pip;
mod plan_cache;
mod planned_files;
mod planner;
mod prepare;
mod python;
mod remote_cache;
mod selection;
mod server_dependencies;
mod service;
mod source;
mod source_warnings;
mod system;
mod warning_recorder;
mod write;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

#[doc(hidden)]
pub use build_results::exclude_build_results;
pub use built::Built;
pub use error::BuildError;
pub use explain::Explanation;
#[doc(hidden)]
pub use ignore_defaults::with_ignore_rules;
pub use layer_job::LayerOrigin;
pub use multi_platform::BuiltSet;
pub use prepare::{PrepareError, Preparing};

#[doc(inline)]
pub use crate::context::IgnoreSource;

use assemble::Assembled;
use built::BuildContext;
use plan_cache::PlanCache;
use warning_recorder::WarningRecorder;

use crate::cache::{LayerCache, RemoteCache, gc};
use crate::error::FileError;
use crate::image::{Format, HistoryLine, Layer};
use crate::lock::Policy;
use crate::plan::{ExtraLayer, Plan};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::project::Project;
use crate::python::bytecode::BytecodeCheck;
use crate::recipe::{Recipe, Target, WEB};
use crate::reference::Name;
use crate::settings::Settings;
use crate::staging::Staging;
use crate::store::Access;
use crate::traced_fs;

/// Builds the images of one project.
#[derive(Debug, Clone)]
pub struct Builder {
    root: PathBuf,
    project: Project,
    target: Target,
    flags: Settings,
    recipe: Option<PathBuf>,
    tag_form: TagForm,
    ignore: IgnoreSource,
    venv: Option<PathBuf>,
    venvs: BTreeMap<Platform, PathBuf>,
    active_venv: Option<PathBuf>,
    provisioning: Provisioning,
    preparing: Preparing,
    search_path: OsString,
    installations: Vec<PathBuf>,
    home: Option<PathBuf>,
    cache: Option<PathBuf>,
    layers: LayerReuse,
    cache_from: Vec<Arc<dyn RemoteCache>>,
    cache_to: Vec<Arc<dyn RemoteCache>>,
    epoch: Option<i64>,
    excluded: Vec<PathBuf>,
    extra: Vec<ExtraLayer>,
    appended: Vec<(Layer, HistoryLine)>,
    threads: Option<NonZero<usize>>,
    access: Access,
    platform: Option<Platform>,
    processes: ProcessSelection,
    lock: Policy,
    format: Format,
}

/// Policy for a missing environment. Making one is the only step that may use a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Provisioning {
    /// Fail.
    Never,
    /// Make one in the cache directory, from `uv.lock`, `requirements.txt` or `pyproject.toml`.
    #[default]
    WhenMissing,
}

/// Policy for layers of earlier builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LayerReuse {
    /// Reuse layers from the cache directory, and store new ones.
    #[default]
    Allowed,
    /// Write every layer, and store none.
    Never,
}

/// The processes of a project to make images of. All have the same layers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProcessSelection {
    /// `web`, the process of the settings `entrypoint` and `cmd`.
    #[default]
    Web,
    /// `web` and every process of the settings.
    All,
    /// These processes.
    Named(Vec<String>),
}

/// Derivation of an image's tag from the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TagForm {
    /// Targets other than the runtime append their name: `1.2-dev`.
    #[default]
    OfTarget,
    /// Use the setting unchanged.
    Exact,
}

impl Builder {
    /// Starts from the project in the directory `root`. Reads its `pyproject.toml`, if any.
    pub fn from_project(root: impl Into<PathBuf>) -> Result<Self, BuildError> {
        let root = root.into();
        let metadata = traced_fs::metadata(&root).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BuildError::NoProject(root.clone()),
            _ => FileError::new("read", &root, error).into(),
        })?;
        if !metadata.is_dir() {
            return Err(BuildError::ProjectNotFolder(root));
        }
        Ok(Self {
            project: Project::read(&root)?,
            root,
            target: Target::Runtime,
            flags: Settings::default(),
            recipe: None,
            tag_form: TagForm::default(),
            ignore: IgnoreSource::Default,
            venv: None,
            venvs: BTreeMap::new(),
            active_venv: None,
            provisioning: Provisioning::default(),
            preparing: Preparing::default(),
            search_path: OsString::new(),
            installations: Vec::new(),
            home: None,
            cache: None,
            layers: LayerReuse::default(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            epoch: None,
            excluded: Vec::new(),
            extra: Vec::new(),
            appended: Vec::new(),
            threads: None,
            access: Access::default(),
            platform: None,
            processes: ProcessSelection::default(),
            lock: Policy::default(),
            format: Format::default(),
        })
    }

    /// Sets the target. Default: the runtime.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Adds settings with precedence over the project's and the recipe's. Later calls override
    /// earlier ones.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.flags = settings.over(self.flags);
        self
    }

    /// Sets the derivation of the tag. Default: each target has its own tag.
    #[must_use]
    pub fn tag_form(mut self, form: TagForm) -> Self {
        self.tag_form = form;
        self
    }

    /// Sets a recipe file in place of the target's own. Its settings, with those of the files it
    /// extends, override the project's.
    #[must_use]
    pub fn recipe(mut self, file: impl Into<PathBuf>) -> Self {
        self.recipe = Some(file.into());
        self
    }

    /// Sets the source of ignore rules. Default: `.dockerignore` in the project's directory.
    #[must_use]
    pub fn ignore(mut self, source: IgnoreSource) -> Self {
        self.ignore = source;
        self
    }

    /// Sets the virtual environment. Default: `.venv` in the project, then [`Self::active_venv`],
    /// then a new one.
    #[must_use]
    pub fn venv(mut self, folder: impl Into<PathBuf>) -> Self {
        self.venv = Some(folder.into());
        self
    }

    /// Sets the virtual environment for one platform, with precedence over [`Self::venv`].
    #[must_use]
    pub fn venv_for(mut self, platform: Platform, folder: impl Into<PathBuf>) -> Self {
        self.venvs.insert(platform, folder.into());
        self
    }

    /// Sets the active environment (`$VIRTUAL_ENV`), the last candidate before a new one.
    #[must_use]
    pub fn active_venv(mut self, folder: impl Into<PathBuf>) -> Self {
        self.active_venv = Some(folder.into());
        self
    }

    /// Sets the policy for a missing environment.
    #[must_use]
    pub fn provisioning(mut self, provisioning: Provisioning) -> Self {
        self.provisioning = provisioning;
        self
    }

    /// Sets the policy for the commands of the setting `prepare`.
    #[must_use]
    pub fn preparing(mut self, preparing: Preparing) -> Self {
        self.preparing = preparing;
        self
    }

    /// Sets the search path for `uv` and `python3` when making an environment, in the format of
    /// `$PATH`.
    #[must_use]
    pub fn search_path(mut self, path: impl AsRef<OsStr>) -> Self {
        path.as_ref().clone_into(&mut self.search_path);
        self
    }

    /// Sets the folders of Python installations, each in its own subfolder, such as
    /// `~/.pyenv/versions`. They are searched, after the search path, for the interpreter of a new
    /// environment.
    #[must_use]
    pub fn python_installations(mut self, folders: Vec<PathBuf>) -> Self {
        self.installations = folders;
        self
    }

    /// Sets the user's home directory. A path in it that remains in the image causes a warning.
    #[must_use]
    pub fn scan_for_home_path(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// Sets the cache directory. Default: none.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        // Tools that make an environment run in the project's directory.
        self.cache = Some(std::path::absolute(&folder).unwrap_or(folder));
        self
    }

    /// Sets the policy for layers of earlier builds. The image does not depend on it.
    #[must_use]
    pub fn layer_reuse(mut self, reuse: LayerReuse) -> Self {
        self.layers = reuse;
        self
    }

    /// Sets the remote caches to read layers from, in order. Fetched layers are verified, so
    /// they never change the image.
    #[must_use]
    pub fn cache_from(mut self, caches: Vec<Arc<dyn RemoteCache>>) -> Self {
        self.cache_from = caches;
        self
    }

    /// Sets the remote caches to write layers to.
    #[must_use]
    pub fn cache_to(mut self, caches: Vec<Arc<dyn RemoteCache>>) -> Self {
        self.cache_to = caches;
        self
    }

    /// Sets the time of source and image, in seconds since 1970 (reproducible-builds.org,
    /// `SOURCE_DATE_EPOCH`). Default: a constant.
    #[must_use]
    pub fn source_date_epoch(mut self, seconds: i64) -> Self {
        self.epoch = Some(seconds);
        self
    }

    /// Excludes a file or directory from the source, such as an output of an earlier build.
    #[must_use]
    pub fn exclude(mut self, path: impl Into<PathBuf>) -> Self {
        self.excluded.push(path.into());
        self
    }

    /// Adds a layer of the program's own files, above earlier ones.
    ///
    /// ```no_run
    /// # use ipo_oci::{builder::Builder, plan::ExtraLayer, progress::Silent};
    /// # fn main() -> Result<(), ipo_oci::builder::BuildError> {
    /// let certificate = ExtraLayer::new("company")
    ///     .file("company.crt", "/usr/local/share/ca-certificates/company.crt");
    /// let built = Builder::from_project(".")?.layer(certificate).build(&Silent)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer(mut self, layer: ExtraLayer) -> Self {
        self.extra.push(layer);
        self
    }

    /// Adds a finished layer of another tool on top of the image, above earlier ones, with its history
    /// line. The layer is verified before anything is written, see [`AppendedLayer`].
    ///
    /// [`AppendedLayer`]: crate::plan::AppendedLayer
    #[must_use]
    pub fn append_layer(mut self, layer: Layer, history: HistoryLine) -> Self {
        self.appended.push((layer, history));
        self
    }

    /// Sets the number of compressing threads. Default: one for each processor. The image does not
    /// depend on it.
    #[must_use]
    pub fn threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the network access for bases. Default: the minimum, see [`Access`].
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets the platform. Default: this machine's.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Sets the processes to make images of. Default: `web`. Methods that make one image make that of
    /// the first.
    #[must_use]
    pub fn processes(mut self, processes: ProcessSelection) -> Self {
        self.processes = processes;
        self
    }

    /// Sets the media types of the image. Default: OCI's.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Sets the policy for bases outside the project's lock. Default: locked bases are used as
    /// locked, others resolved now.
    #[must_use]
    pub fn lock(mut self, policy: Policy) -> Self {
        self.lock = policy;
        self
    }

    /// Returns the access for reading bases, with the mirrors of the settings. The mirrors given to
    /// [`Self::access`] take precedence.
    pub fn resolved_access(&self) -> Result<Access, BuildError> {
        let access = self.access.clone();
        #[cfg(feature = "registry")]
        let access = {
            let mut access = access;
            for (registry, mirrors) in self.resolve()?.mirrors {
                access.registry.mirrors.entry(registry).or_insert(mirrors);
            }
            access
        };
        Ok(access)
    }

    /// Returns the project's metadata.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Returns the name of the image.
    pub fn image_name(&self) -> Result<Name, BuildError> {
        let recipe = self.resolve()?;
        Ok(Name::new(self.repository(&recipe), self.tag(&recipe))?)
    }

    fn repository(&self, recipe: &Recipe) -> String {
        recipe.name.clone().unwrap_or_else(|| self.project.image_name())
    }

    fn tag(&self, recipe: &Recipe) -> String {
        match self.tag_form {
            TagForm::OfTarget => format!("{}{}", recipe.tag, recipe.tag_suffix()),
            // The images of several processes never have one tag.
            TagForm::Exact => format!("{}{}", recipe.tag, recipe.process_suffix()),
        }
    }

    /// Resolves the target's recipe under all settings, for the first process.
    pub fn resolve(&self) -> Result<Recipe, BuildError> {
        let (recipe, _) = self.resolve_all()?;
        Ok(recipe)
    }

    /// Returns the names of the selected processes, `web` first. Their images are those of
    /// [`Self::build_processes`], in this order.
    ///
    /// # Errors
    /// Fails if the settings are invalid or do not define a selected process.
    pub fn process_names(&self) -> Result<Vec<String>, BuildError> {
        self.selected(&self.resolve_with(Settings::default(), &self.flags)?)
    }

    fn selected(&self, unnamed: &Recipe) -> Result<Vec<String>, BuildError> {
        let known = unnamed.process_names();
        Ok(match &self.processes {
            ProcessSelection::Web => vec![WEB.to_owned()],
            ProcessSelection::All => known,
            ProcessSelection::Named(names) => {
                for name in names {
                    unnamed.settings_of_process(name)?;
                }
                known.into_iter().filter(|known| names.contains(known)).collect()
            }
        })
    }

    /// Resolves the recipes of all selected processes: the first and the others.
    fn resolve_all(&self) -> Result<(Recipe, Vec<Recipe>), BuildError> {
        // Processes may be defined at any level of the settings.
        let unnamed = self.resolve_with(Settings::default(), &self.flags)?;
        let web = match unnamed.settings_of_process(WEB)? {
            settings if settings == Settings::default() => unnamed.clone(),
            settings => self.resolve_with(settings, &self.flags)?,
        };
        let names = self.selected(&unnamed)?;
        // Of several processes, flags about a server concern `web`.
        let mut flags = self.flags.clone();
        if names.len() > 1 {
            (flags.entrypoint, flags.cmd, flags.healthcheck, flags.port) = (None, None, None, None);
        }
        let mut recipes = Vec::new();
        for name in names {
            if name == WEB {
                recipes.push(web.clone());
                continue;
            }
            let mut recipe = self.resolve_with(unnamed.settings_of_process(&name)?, &flags)?;
            recipe.process = Some(name);
            recipe.compiled_for.clone_from(&web.compiled_for);
            recipes.push(recipe);
        }
        let mut recipes = recipes.into_iter();
        let first = recipes.next().unwrap_or(web);
        Ok((first, recipes.collect()))
    }

    /// Resolves the target's recipe under all settings. `process` has precedence over all but `flags`.
    fn resolve_with(&self, process: Settings, flags: &Settings) -> Result<Recipe, BuildError> {
        let mut project = self.project.settings.clone();
        let own = project.target.remove(self.target.as_str()).unwrap_or_default();
        if let Some(wrong) = project.target.keys().find(|name| name.parse::<Target>().is_err()) {
            return Err(wrong.parse::<Target>().map(|_| ()).unwrap_err().into());
        }
        Recipe::refuse_misplaced(&self.root.join("pyproject.toml"), &self.project.settings)?;
        if self.target != Target::Runtime {
            // The project's budget is meant for production; the other images are larger by nature.
            project.max_size = None;
        }
        let below = own.recipe.as_ref().or(project.recipe.as_ref()).map(|name| self.root.join(name));
        let project = own.over(project);
        let flags = flags.clone().over(process);
        Ok(match &self.recipe {
            Some(file) => Recipe::resolve_named(self.target, file, flags, project)?,
            None => Recipe::resolve(self.target, below.as_deref(), flags.over(project))?,
        })
    }

    /// Plans the image. Writes only a new environment and new bytecode, to the cache directory.
    ///
    /// ```no_run
    /// # use ipo_oci::{builder::Builder, progress::Silent};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let plan = Builder::from_project(".")?.plan(&Silent)?;
    /// for layer in &plan.layers {
    ///     println!("{}: {} files, {}", layer.name, layer.tree.file_count(), layer.reason);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn plan(&self, progress: &dyn Progress) -> Result<Plan, BuildError> {
        self.assemble(None, BytecodeCheck::Whole, progress).map(|assembled| assembled.plan)
    }

    /// Builds the image. Its layers are in a temporary directory until stored.
    ///
    /// ```no_run
    /// # use ipo_oci::{builder::Builder, progress::Silent, store::WriteOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let built = Builder::from_project(".")?.cache("/var/cache/images").build(&Silent)?;
    /// println!("{}", built.image.digest());
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(&self, progress: &dyn Progress) -> Result<Built, BuildError> {
        let one = Self { processes: self.first_process()?, ..self.clone() };
        let mut built = one.build_each(progress)?;
        Ok(built.swap_remove(0))
    }

    /// Selects the first of the selected processes.
    fn first_process(&self) -> Result<ProcessSelection, BuildError> {
        Ok(ProcessSelection::Named(self.process_names()?.into_iter().take(1).collect()))
    }

    /// Builds the images of all selected processes for one platform: at least one.
    fn build_each(&self, progress: &dyn Progress) -> Result<Vec<Built>, BuildError> {
        // Rejects an impossible combination before the build.
        self.resolve()?.compression.encoding().media_type_in(self.format)?;
        let warnings = WarningRecorder::new(progress);
        match self.build_with(BytecodeCheck::Header, &warnings) {
            // An installer's bytecode contradicts its header. Such a file is as rare as a damaged
            // disk, so the other builds need not read all bytecode twice.
            Err(error) if error.is_of_bytecode() => self
                .build_with(BytecodeCheck::Whole, &WarningRecorder::ignoring(progress, warnings.warnings())),
            outcome => outcome,
        }
    }

    /// Builds the image of `plan`, which the caller may have changed. Compression, caches, budget and
    /// media types are this builder's.
    ///
    /// ```no_run
    /// # use ipo_oci::{builder::Builder, plan::ExtraLayer, progress::Silent};
    /// # fn main() -> Result<(), ipo_oci::builder::BuildError> {
    /// let builder = Builder::from_project(".")?;
    /// let mut plan = builder.plan(&Silent)?;
    /// plan.process.set_env("GREETING", "hello");
    /// plan.add_layer(&ExtraLayer::new("notes").bytes("built on a Friday\n", "/opt/notes"))?;
    /// let built = builder.build_plan(plan, &Silent)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Plan`] if a change makes no sense, [`BuildError::Start`] if the image lacks a
    /// program that it starts.
    pub fn build_plan(&self, plan: Plan, progress: &dyn Progress) -> Result<Built, BuildError> {
        let recipe = self.resolve()?;
        recipe.compression.encoding().media_type_in(self.format)?;
        let mut built = self.carry_out(|_| self.assembled(plan, recipe), progress)?;
        Ok(built.swap_remove(0))
    }

    fn build_with(&self, check: BytecodeCheck, progress: &dyn Progress) -> Result<Vec<Built>, BuildError> {
        self.carry_out(|plan_cache| self.assemble(plan_cache, check, progress), progress)
    }

    fn carry_out(
        &self,
        assemble: impl FnOnce(Option<PlanCache<'_>>) -> Result<Assembled, BuildError>,
        progress: &dyn Progress,
    ) -> Result<Vec<Built>, BuildError> {
        let staging = Arc::new(self.staging()?);
        // Without a persistent cache, fetched layers live as long as this build.
        let shares = !self.cache_from.is_empty() || !self.cache_to.is_empty();
        let folder = self.cache.as_deref().or_else(|| shares.then(|| staging.path()));
        let cache = folder.filter(|_| self.layers == LayerReuse::Allowed).map(LayerCache::new);
        let plan_cache = cache.as_ref().map(|cache| PlanCache { cache, staging: &staging });
        let assembled = assemble(plan_cache)?;
        let context = BuildContext {
            threads: self.threads,
            staging: staging.clone(),
            access: self.access.clone(),
            cache: cache.as_ref(),
            from: &self.cache_from,
            to: &self.cache_to,
            root: &self.root,
        };
        let built = Built::all(assembled, context, progress)?.into_iter();
        built.map(|built| built.with_format(self.format)).collect()
    }

    /// Makes a temporary directory for this build, in the cache directory if possible.
    fn staging(&self) -> Result<Staging, BuildError> {
        if let Some(cache) = &self.cache
            && fs_err::create_dir_all(cache).is_ok()
        {
            gc::mark(cache);
            if let Ok(staging) = Staging::in_cache(cache) {
                return Ok(staging);
            }
        }
        Staging::temporary().map_err(|error| {
            FileError::new("create a temporary directory in", std::env::temp_dir(), error).into()
        })
    }
}
