//! [`Builder`]: the way from a project to its images, and the only place that strings the floors together.
//!
//! The library reads no environment variable and no home directory by itself, and of a clock only how old the word of another
//! machine is: what of them matters is given to the builder, so that an embedder decides, and the same input gives the same image.

mod assemble;
mod built;
mod claims;
mod compile;
mod complete;
mod environment;
mod error;
mod foundation;
mod ground;
mod heard;
mod loaded;
mod locales;
mod pip;
mod products;
mod reuse;
mod runtime;
mod selected;
mod set;
mod shared;
mod source;
mod started;
mod survey;
mod system;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

pub use built::Built;
pub use error::BuildError;
pub use products::leave_out_products;
pub use set::BuiltSet;
pub use write::LayerOrigin;

use built::How;
use ground::Memory;
use heard::Heard;

use crate::cache::{LayerCache, SharedCache, inventory};
use crate::context::IgnoreSource;
use crate::disk;
use crate::error::FileError;
use crate::image::Format;
use crate::lock::Policy;
use crate::plan::Plan;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::project::Project;
use crate::python::bytecode::Check;
use crate::recipe::{Recipe, Target};
use crate::reference::Name;
use crate::settings::Settings;
use crate::staging::Staging;
use crate::store::Access;

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
    search_path: OsString,
    home: Option<PathBuf>,
    cache: Option<PathBuf>,
    layers: LayerReuse,
    cache_from: Vec<Arc<dyn SharedCache>>,
    cache_to: Vec<Arc<dyn SharedCache>>,
    epoch: Option<i64>,
    left_out: Vec<PathBuf>,
    threads: Option<NonZero<usize>>,
    access: Access,
    platform: Option<Platform>,
    lock: Policy,
    format: Format,
}

/// Whether an environment may be made where there is none: the one step that may use a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provisioning {
    /// A project without an environment is an error.
    Never,
    /// One is made in the cache folder from `uv.lock`, `requirements.txt` or `pyproject.toml`.
    #[default]
    WhenMissing,
}

/// Whether layers of earlier builds are taken from the cache folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerReuse {
    /// They are, and what is made is kept there.
    #[default]
    Allowed,
    /// Every layer is made anew, and none is kept.
    Never,
}

/// How the tag of an image is made of the tag in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TagForm {
    /// Targets other than the runtime put their name behind it: `1.2-dev`.
    #[default]
    OfTarget,
    /// It stays as it is written.
    Exact,
}

impl Builder {
    /// Begins with the project in the folder `root`: reads its `pyproject.toml`, where there is one.
    pub fn from_project(root: impl Into<PathBuf>) -> Result<Self, BuildError> {
        let root = root.into();
        let metadata = disk::metadata(&root).map_err(|error| match error.kind() {
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
            search_path: OsString::new(),
            home: None,
            cache: None,
            layers: LayerReuse::default(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            epoch: None,
            left_out: Vec::new(),
            threads: None,
            access: Access::default(),
            platform: None,
            lock: Policy::default(),
            format: Format::default(),
        })
    }

    /// Which image is built. Default: the runtime.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Settings that beat the project's and the recipe's; given again, the later ones beat the earlier.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.flags = settings.over(self.flags);
        self
    }

    /// How the image's tag is made. Default: each target has a tag of its own.
    #[must_use]
    pub fn tag_form(mut self, form: TagForm) -> Self {
        self.tag_form = form;
        self
    }

    /// A recipe file instead of the target's own. What it and the files that it extends say beats the project's settings;
    /// what they do not say comes from these.
    #[must_use]
    pub fn recipe(mut self, file: impl Into<PathBuf>) -> Self {
        self.recipe = Some(file.into());
        self
    }

    /// Where the ignore file comes from. Default: `.dockerignore` in the project's folder.
    #[must_use]
    pub fn ignore(mut self, source: IgnoreSource) -> Self {
        self.ignore = source;
        self
    }

    /// The virtual environment. Default: `.venv` in the project, then [`Self::active_venv`], then one is made.
    #[must_use]
    pub fn venv(mut self, folder: impl Into<PathBuf>) -> Self {
        self.venv = Some(folder.into());
        self
    }

    /// The virtual environment for one platform; it beats [`Self::venv`] there.
    #[must_use]
    pub fn venv_for(mut self, platform: Platform, folder: impl Into<PathBuf>) -> Self {
        self.venvs.insert(platform, folder.into());
        self
    }

    /// The environment that is active where the build runs (`$VIRTUAL_ENV`): the last one that is looked at.
    #[must_use]
    pub fn active_venv(mut self, folder: impl Into<PathBuf>) -> Self {
        self.active_venv = Some(folder.into());
        self
    }

    /// Whether an environment may be made where there is none.
    #[must_use]
    pub fn provisioning(mut self, provisioning: Provisioning) -> Self {
        self.provisioning = provisioning;
        self
    }

    /// Folders to look for `uv` and `python3` in when an environment is made, separated as in `$PATH`.
    #[must_use]
    pub fn search_path(mut self, path: impl AsRef<OsStr>) -> Self {
        path.as_ref().clone_into(&mut self.search_path);
        self
    }

    /// The home folder of whoever builds: a path in it that remains in the image is warned of.
    #[must_use]
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    /// Where to keep what the next build can use again. Default: nowhere.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        // Tools that make an environment run in the project's folder.
        self.cache = Some(std::path::absolute(&folder).unwrap_or(folder));
        self
    }

    /// Whether layers of earlier builds are taken from the cache folder. The image does not depend on it.
    #[must_use]
    pub fn layer_reuse(mut self, reuse: LayerReuse) -> Self {
        self.layers = reuse;
        self
    }

    /// Where layers that other machines have made are looked for, the first first. What comes from there is checked: the
    /// image does not depend on it.
    #[must_use]
    pub fn cache_from(mut self, caches: Vec<Arc<dyn SharedCache>>) -> Self {
        self.cache_from = caches;
        self
    }

    /// Where layers are kept for other machines.
    #[must_use]
    pub fn cache_to(mut self, caches: Vec<Arc<dyn SharedCache>>) -> Self {
        self.cache_to = caches;
        self
    }

    /// The time of the source and of the image, in seconds since 1970 (reproducible-builds.org, `SOURCE_DATE_EPOCH`).
    /// Default: a constant.
    #[must_use]
    pub fn source_date_epoch(mut self, seconds: i64) -> Self {
        self.epoch = Some(seconds);
        self
    }

    /// A file or folder that is not source, wherever it lies: a result of an earlier build.
    #[must_use]
    pub fn leave_out(mut self, path: impl Into<PathBuf>) -> Self {
        self.left_out.push(path.into());
        self
    }

    /// How many threads compress. Default: as many as there are processors. The image does not depend on it.
    #[must_use]
    pub fn threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What reading a base needs from outside. Default: as little as there is, see [`Access`].
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// What the image runs on. Default: this machine's platform.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Whose media types the image gets. Default: OCI's.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Whether a base has to be in the project's lock. Default: a locked base is taken as it is locked, and others as
    /// they are now.
    #[must_use]
    pub fn lock(mut self, policy: Policy) -> Self {
        self.lock = policy;
        self
    }

    /// What reading a base needs from outside, the mirrors among it that the settings name. Those that [`Self::access`]
    /// was given beat them.
    pub fn reading(&self) -> Result<Access, BuildError> {
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

    /// What is known of the project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// What the image is called.
    pub fn image_name(&self) -> Result<Name, BuildError> {
        let recipe = self.resolve()?;
        Ok(Name::new(self.repository(&recipe), self.tag(&recipe))?)
    }

    fn repository(&self, recipe: &Recipe) -> String {
        recipe.name.clone().unwrap_or_else(|| self.project.image_name())
    }

    fn tag(&self, recipe: &Recipe) -> String {
        match self.tag_form {
            TagForm::OfTarget => format!("{}{}", recipe.tag, recipe.target.tag_suffix()),
            TagForm::Exact => recipe.tag.clone(),
        }
    }

    /// The recipe of the target under everything that was set.
    pub fn resolve(&self) -> Result<Recipe, BuildError> {
        let mut project = self.project.settings.clone();
        let own = project.target.remove(self.target.as_str()).unwrap_or_default();
        if let Some(wrong) = project.target.keys().find(|name| name.parse::<Target>().is_err()) {
            return Err(wrong.parse::<Target>().map(|_| ()).unwrap_err().into());
        }
        Recipe::refuse_misplaced(&self.root.join("pyproject.toml"), &self.project.settings)?;
        if self.target != Target::Runtime {
            // The project's budget is for what production runs; the other images are larger by nature.
            project.max_size = None;
        }
        let below = own.recipe.as_ref().or(project.recipe.as_ref()).map(|name| self.root.join(name));
        let project = own.over(project);
        let flags = self.flags.clone();
        Ok(match &self.recipe {
            Some(file) => Recipe::resolve_named(self.target, file, flags, project)?,
            None => Recipe::resolve(self.target, below.as_deref(), flags.over(project))?,
        })
    }

    /// Decides what goes into the image. Nothing is written but the environment and the bytecode that have to be made,
    /// into the cache folder.
    pub fn plan(&self, progress: &dyn Progress) -> Result<Plan, BuildError> {
        self.assemble(None, Check::Whole, progress).map(|assembled| assembled.plan)
    }

    /// Builds the image. Its layers wait in a temporary folder until they are stored.
    pub fn build(&self, progress: &dyn Progress) -> Result<Built, BuildError> {
        // What the format has no word for is better said now than after the build.
        built::encoding(foundation::compression(self.resolve()?.compression)).media_type_in(self.format)?;
        let heard = Heard::of(progress);
        match self.build_with(Check::Header, &heard) {
            // An installer's bytecode is not what its header says. That is as rare as a damaged disk, and all others need not
            // read every bytecode twice for it.
            Err(error) if error.is_of_bytecode() => {
                self.build_with(Check::Whole, &Heard::after(progress, heard.warnings()))
            }
            outcome => outcome,
        }
    }

    fn build_with(&self, check: Check, progress: &dyn Progress) -> Result<Built, BuildError> {
        let staging = Arc::new(self.staging()?);
        // Without a folder that stays, what others have made is kept for as long as this build lives.
        let shares = !self.cache_from.is_empty() || !self.cache_to.is_empty();
        let folder = self.cache.as_deref().or_else(|| shares.then(|| staging.path()));
        let cache = folder.filter(|_| self.layers == LayerReuse::Allowed).map(LayerCache::new);
        let memory = cache.as_ref().map(|cache| Memory { cache, staging: &staging });
        let assembled = self.assemble(memory, check, progress)?;
        let how = How {
            threads: self.threads,
            staging: staging.clone(),
            access: self.access.clone(),
            cache: cache.as_ref(),
            from: &self.cache_from,
            to: &self.cache_to,
            root: &self.root,
        };
        Built::new(assembled, how, progress)?.with_format(self.format)
    }

    /// A folder for this build's work, in the cache folder where that can be written.
    fn staging(&self) -> Result<Staging, BuildError> {
        if let Some(cache) = &self.cache
            && fs_err::create_dir_all(cache).is_ok()
        {
            inventory::mark(cache);
            if let Ok(staging) = Staging::in_cache(cache) {
                return Ok(staging);
            }
        }
        Staging::elsewhere()
            .map_err(|error| FileError::new("create a work folder in", std::env::temp_dir(), error).into())
    }
}
