//! The resolved base of an image, with its files and its Python.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::package_inputs::{PackageInputs, WantedPython};
use super::{BuildError, Builder};
use crate::base::{self, BasePython, BaseReference, View};
use crate::digest::Digest;
use crate::image::Image;
use crate::lock::{self, Lock};
use crate::plan::extra::ExtraEntries;
use crate::plan::{BaseLayer, Pieces, PlannedBase};
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Step};
use crate::python::{Runner, Venv, VenvError};
use crate::recipe::Recipe;
use crate::reference::{Place, Reference};
use crate::store;
use crate::tree::{Entry, ImagePath, Owner};

/// A resolved base image.
pub(super) struct ResolvedBase {
    /// The image.
    pub(super) image: Image,
    /// Its files.
    pub(super) view: Arc<View>,
    /// The files of the same base for this machine, if the image is for another platform and that base can be made.
    pub(super) native: Option<View>,
    /// Name and resolved digest, for annotations.
    pub(super) name: Option<(String, Digest)>,
    /// Environment variables of its configuration.
    pub(super) variables: Vec<(String, String)>,
    /// Command of its configuration: entrypoint, then arguments.
    pub(super) command: Vec<String>,
}

impl Builder {
    /// Resolves the base of `recipe`; `None` for an image from scratch.
    pub(super) fn resolved_base(
        &self,
        recipe: &Recipe,
        python: WantedPython<'_>,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<ResolvedBase>, BuildError> {
        let wanted = self.target_platform(recipe);
        let reference = recipe.base.parse::<BaseReference>()?;
        let mut packages = PackageInputs { recipe, platform: &wanted, python, native: None, work, progress };
        let is_foreign = wanted.architecture != Platform::of_this_program().architecture;
        let native = match &reference {
            BaseReference::Apt(_) if is_foreign => self.native_base(&reference, packages),
            _ => None,
        };
        packages.native = native.as_ref();
        let (image, name) = match &reference {
            // The interpreter of another system runs in no container.
            BaseReference::Scratch
                if cfg!(not(target_os = "linux")) || wanted != Platform::of_this_program() =>
            {
                return Err(BuildError::NoInterpreterFor(wanted));
            }
            BaseReference::Scratch if recipe.packages.is_empty() => return Ok(None),
            BaseReference::Scratch | BaseReference::Apt(_) => {
                (self.install_packages(&reference, None, packages)?, None)
            }
            BaseReference::Rootfs(path) => {
                let path = self.resolve_path(path);
                progress.step(&Step::on(Activity::ReadImage, path.display().to_string()));
                (base::rootfs(&path, work, self.cache.as_deref(), recipe.compression, progress)?, None)
            }
            BaseReference::Image(reference) => {
                progress.step(&Step::on(Activity::ReadImage, reference.to_string()));
                self.base_image(reference, &wanted)?
            }
        };
        if !wanted.runs(&image.platform) {
            return Err(BuildError::BasePlatform {
                base: recipe.base.clone(),
                is: Box::new(image.platform.clone()),
                wanted: Box::new(wanted),
            });
        }
        let view_of = |image: &Image| View::of(image, self.cache.as_deref(), progress);
        let view = view_of(&image)?;
        let is_of_others = matches!(reference, BaseReference::Image(_) | BaseReference::Rootfs(_));
        if is_of_others && !recipe.packages.is_empty() {
            let image = self.install_packages(&reference, Some((image, &view)), packages)?;
            let view = view_of(&image)?;
            return Ok(Some(ResolvedBase::new(image, Arc::new(view), name)));
        }
        Ok(Some(ResolvedBase { native, ..ResolvedBase::new(image, Arc::new(view), name) }))
    }

    /// Returns the lock of the project.
    pub(super) fn read_lock(&self) -> Result<Option<Lock>, BuildError> {
        match &self.given_lock {
            Some(lock) => Ok(Some(lock.clone())),
            None => Ok(Lock::read(&self.root.join(lock::FILE_NAME))?),
        }
    }

    /// Resolves the path of a base: a flag is relative to the current directory, a setting to the
    /// project's directory.
    fn resolve_path(&self, path: &Path) -> PathBuf {
        if self.flags.base.is_some() { path.to_owned() } else { self.root.join(path) }
    }

    /// Resolves the path of an image reference likewise.
    pub fn resolve_image(&self, mut reference: Reference) -> Reference {
        if let Place::Path(path) = &mut reference.place {
            *path = self.resolve_path(path);
        }
        reference
    }

    /// Returns the path of the base, if it is a file or directory.
    pub(super) fn base_path(&self, recipe: &Recipe) -> Option<PathBuf> {
        match recipe.base.parse::<BaseReference>().ok()? {
            BaseReference::Scratch | BaseReference::Apt(_) => None,
            BaseReference::Rootfs(path) => Some(self.resolve_path(&path)),
            BaseReference::Image(reference) => reference.path().map(|path| self.resolve_path(path)),
        }
    }

    /// Returns the platform to build for.
    pub(super) fn target_platform(&self, recipe: &Recipe) -> Platform {
        let named = self.platform.as_ref().or(recipe.platforms.first());
        named.cloned().unwrap_or_else(Platform::of_this_program)
    }

    /// Resolves the image for the platform `wanted`, and the name and digest for annotations.
    fn base_image(
        &self,
        reference: &Reference,
        wanted: &Platform,
    ) -> Result<(Image, Option<(String, Digest)>), BuildError> {
        let lock = self.read_lock()?;
        let locked = self.lock.choose(lock.as_ref(), &reference.to_string(), wanted)?;
        let access = self.resolved_access()?;
        let (image, digest) = if let Some((base, image)) = locked {
            let mut at = self.resolve_image(base.read_from.parse()?);
            match &mut at.place {
                Place::Remote(name) => *name = name.with_digest(base.digest),
                _ => at.digest = Some(base.digest),
            }
            (image.image(store::lazy_blobs(&at, &access))?, base.digest)
        } else {
            let artifact = store::open(&self.resolve_image(reference.clone()), &access)?;
            (Image::from_artifact(artifact.for_platform(wanted)?)?, artifact.digest())
        };
        // A local path is meaningless to others.
        let name = match &reference.place {
            Place::Remote(name) => Some((name.to_string(), digest)),
            _ => None,
        };
        Ok((image, name))
    }
}

impl ResolvedBase {
    pub(super) fn new(image: Image, view: Arc<View>, name: Option<(String, Digest)>) -> Self {
        let (variables, command) = (base::variables(&image), base::command(&image));
        Self { image, view, native: None, name, variables, command }
    }

    /// Opens the environment in `folder` for the first matching Python of the base. If the base has
    /// no Python, the environment brings its own.
    ///
    /// # Errors
    /// If the environment matches no Python of the base, or every match lacks a part of its
    /// standard library.
    pub(super) fn environment(&self, folder: &Path) -> Result<(Venv, Option<BasePython>), BuildError> {
        let platform = &self.image.platform;
        let (mut first, mut incomplete) = (None, None);
        for python in self.view.pythons(self.path()) {
            let runner = Runner::Base { platform, python: Some(python.version) };
            match Venv::open_for(folder, &runner) {
                Ok(venv) => {
                    let missing = self.view.missing_modules(&python);
                    if missing.is_empty() {
                        return Ok((venv, Some(python)));
                    }
                    let package = self.view.package_of_stdlib(&python);
                    incomplete.get_or_insert(base::BaseError::IncompletePython {
                        executable: python.executable,
                        stdlib: python.stdlib,
                        missing,
                        package,
                    });
                }
                Err(error @ VenvError::OtherPython { .. }) => drop(first.get_or_insert(error)),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(error) = incomplete {
            return Err(error.into());
        }
        match first {
            Some(error) => Err(error.into()),
            None => Ok((Venv::open(folder)?, None)),
        }
    }

    /// Returns the directory of the base's C library, in which its loader searches.
    pub(super) fn library_directory(&self) -> Option<ImagePath> {
        let machine = self.view.machine()?;
        let is_libc = |path: &ImagePath| {
            path.file_name() == Some("libc.so.6")
                && self.view.description(path).is_some_and(|found| found.elf.machine.runs_with(machine))
        };
        self.view.iter().find(|(path, _)| is_libc(path)).and_then(|(path, _)| path.parent())
    }

    /// Returns true if the base has the library `name` in its loader's directory or a usual one.
    pub(super) fn has_library(&self, name: &str) -> bool {
        let home = self.library_directory().map(|home| home.to_string());
        let folders = home.into_iter().chain(["usr/lib", "usr/lib64", "usr/local/lib"].map(str::to_owned));
        folders.map(|folder| format!("{folder}/{name}")).any(|path| self.has(&path))
    }

    /// Grafts the pieces of an image onto the base.
    pub(super) fn graft(&self, pieces: Pieces) -> Result<Pieces, BuildError> {
        let graft = |entries| self.graft_entries(entries);
        let distributions = pieces.distributions.into_iter();
        Ok(Pieces {
            system: graft(pieces.system)?,
            interpreter: graft(pieces.interpreter)?,
            distributions: distributions
                .map(|(name, entries)| Ok::<_, BuildError>((name, graft(entries)?)))
                .collect::<Result<_, _>>()?,
            environment: graft(pieces.environment)?,
            source: graft(pieces.source)?,
            extra: self.graft_extra(pieces.extra)?,
        })
    }

    /// Grafts added layers onto the base.
    pub(super) fn graft_extra(&self, extra: Vec<ExtraEntries>) -> Result<Vec<ExtraEntries>, BuildError> {
        let graft =
            |layer: ExtraEntries| Ok(ExtraEntries { entries: self.graft_entries(layer.entries)?, ..layer });
        extra.into_iter().map(graft).collect()
    }

    /// Grafts entries onto the base.
    pub(super) fn graft_entries(&self, entries: Vec<Entry>) -> Result<Vec<Entry>, BuildError> {
        Ok(self.view.graft(entries)?)
    }

    /// Resolves a directory of the image through the base's links.
    pub(super) fn destination(&self, directory: &ImagePath) -> Result<ImagePath, BuildError> {
        let inside = Entry::file(directory.join("x")?, "".into(), Owner::Source);
        let grafted = self.graft_entries(vec![inside])?.pop();
        Ok(grafted.and_then(|file| file.path.parent()).unwrap_or_else(|| directory.clone()))
    }

    /// Returns `PATH` of its configuration.
    pub(super) fn path(&self) -> Option<&str> {
        let path = self.variables.iter().find(|(name, _)| name == "PATH");
        path.map(|(_, value)| value.as_str())
    }

    /// Returns an environment variable of its configuration.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        base::variable(&self.image, name)
    }

    /// Returns true if the base gives user `uid` a writable home directory: by `HOME`, or in
    /// `/etc/passwd`.
    pub(super) fn has_home(&self, uid: u32) -> bool {
        self.variable("HOME").is_some() || base::writable_home(&self.view, uid).is_some()
    }

    /// Returns the `entries` that the base lacks under any name.
    pub(super) fn missing_entries(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let has_zones = self.has("usr/share/zoneinfo/UTC") || self.has("usr/share/zoneinfo/Etc/UTC");
        let has_bundle = crate::system::CERTIFICATES.iter().any(|path| self.has(path));
        let wanted = |entry: &Entry| {
            let path = entry.path.as_str();
            let of_zones = path.starts_with("usr/share/zoneinfo");
            let of_bundle = path.contains("/ssl/") || path.starts_with("etc/pki/");
            let has =
                has_zones && of_zones || has_bundle && of_bundle || self.view.find(&entry.path).is_some();
            // The base identifies the system.
            let is_name = path.ends_with("os-release");
            !(has || is_name)
        };
        entries.into_iter().filter(wanted).collect()
    }

    /// Returns true if `path` is a license file of a package and the base has it. Debian's packages
    /// of one source share these through a link between their directories, so two may be one file.
    pub(super) fn has_license_file(&self, path: &ImagePath) -> bool {
        path.as_str().starts_with("usr/share/doc/") && self.view.find(path).is_some()
    }

    fn has(&self, path: &str) -> bool {
        ImagePath::new(path).is_ok_and(|path| self.view.find(&path).is_some())
    }

    /// Describes the base for a plan.
    pub(super) fn planned(&self, base: &str) -> PlannedBase {
        let sizes = self.view.layer_sizes();
        let layers = self.image.layers.iter().enumerate().map(|(index, layer)| {
            let (disk_bytes, files) = sizes.get(index).copied().unwrap_or_default();
            BaseLayer {
                digest: layer.digest,
                diff_id: layer.diff_id,
                disk_bytes,
                transfer_bytes: layer.size,
                files,
            }
        });
        PlannedBase { name: base.to_owned(), digest: self.image.digest(), layers: layers.collect() }
    }
}
