//! The options of a [`Builder`], and their policies.

use std::ffi::OsStr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Builder, IgnoreSource, ImageCheck, Preparing};
use crate::cache::RemoteCache;
use crate::image::{Format, HistoryLine, Layer};
use crate::lock::{Lock, Policy};
use crate::plan::ExtraLayer;
use crate::platform::Platform;
use crate::recipe::Target;
use crate::settings::Settings;
use crate::store::Access;

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

    /// Sets the lock. Default: `ipo-oci.lock` in the project's directory.
    #[must_use]
    pub fn with_lock(mut self, lock: Lock) -> Self {
        self.given_lock = Some(lock);
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

    /// Sets the check of images before they are built.
    #[must_use]
    pub fn image_check(mut self, image_check: ImageCheck) -> Self {
        self.image_check = image_check;
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
}
