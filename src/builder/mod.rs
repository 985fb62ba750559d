//! The build of a project's images: the entry point of the library, which combines all lower
//! modules.
//!
//! The library reads no environment variable and no home directory, and uses the clock only for the
//! age of leases. The [`Builder`] receives the relevant values, so the embedder decides, and equal
//! input gives equal images.

mod added_files;
mod assemble;
mod base;
mod base_python;
mod build_results;
mod built;
pub mod cause;
mod check;
mod check_build;
mod compile;
mod complete;
mod content_scan;
mod deploy;
mod environment;
mod environment_location;
mod environment_plan;
mod error;
mod explain;
mod hints;
mod ignore_defaults;
mod layer_cache;
mod layer_job;
mod leases;
mod loaded;
mod locales;
mod multi_platform;
mod options;
mod package_inputs;
#[cfg_attr(not(feature = "apt"), path = "packages_unsupported.rs")]
mod packages;
mod pip;
mod plan_cache;
mod planned_files;
mod planner;
mod prepare;
mod propose;
mod python;
#[cfg(feature = "apt")]
mod python_headers;
mod recipes;
mod remote_cache;
mod selection;
mod server_dependencies;
mod service;
mod source;
mod source_warnings;
#[cfg(feature = "apt")]
mod standard_library;
mod system;
mod warning_recorder;
mod write;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

#[doc(hidden)]
pub use build_results::exclude_build_results;
pub use built::Built;
pub use check::ImageCheck;
pub use error::BuildError;
pub use explain::Explanation;
#[doc(hidden)]
pub use ignore_defaults::with_ignore_rules;
pub use layer_job::LayerOrigin;
pub use multi_platform::BuiltSet;
pub use options::{LayerReuse, ProcessSelection, Provisioning, TagForm};
pub use package_inputs::PackageSets;
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
use crate::lock::{Lock, Policy};
use crate::plan::{ExtraLayer, Plan};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::project::Project;
use crate::python::bytecode::BytecodeCheck;
use crate::recipe::Target;
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
    image_check: ImageCheck,
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
    given_lock: Option<Lock>,
    format: Format,
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
            image_check: ImageCheck::default(),
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
            given_lock: None,
            format: Format::default(),
        })
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
        let mut assembled = assemble(plan_cache)?;
        self.check_assembled(&mut assembled, cache.as_ref(), progress)?;
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
