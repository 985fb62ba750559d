//! Debian packages as layers: bases `apt:SUITE`, and the setting `packages` on Debian bases and on `scratch`.
//!
//! An image has up to three layers of packages: those of the base, which all targets have in common, those that the
//! target adds to such a base, and those of the project. Each is resolved on top of the layers below, so that the
//! digest of a layer depends on its packages alone.

use std::collections::BTreeMap;
use std::path::Path;

use debian_archive::index::Installed;
use debian_archive::sources::SourcesFormat;

use super::hints::LazyHints;
use super::package_inputs::{PackageInputs, PackageSets, WantedPython};
use super::{BuildError, Builder};
use crate::apt::client::{ArchiveSettings, UnsignedReleases};
use crate::apt::{
    AptError, LayerFolders, PackageLayer, PackageLookup, SuitePython, installed_in, suite_of_root,
};
use crate::base::{BaseReference, View};
use crate::digest::Digest;
use crate::image::{DEFAULT_PATH, HistoryLine, Image, ImageConfig, Process};
use crate::lock::{Lock, Policy};
use crate::platform::Platform;
use crate::progress::{Progress, Silent};
use crate::recipe::{Recipe, ResolvedApt};
use crate::settings::Bytecode;

/// The packages of an image, before they are resolved.
struct PreparedPackages {
    lookup: PackageLookup,
    /// The image below, and its packages.
    base: Option<(Digest, Vec<Installed>)>,
    /// The wanted packages of each layer by its name, lowest first.
    layers: Vec<(&'static str, Vec<String>)>,
}

impl Builder {
    /// Adds the packages of `inputs` to `below`, the image of `reference` with its files; without an image, makes one
    /// of the packages alone.
    pub(super) fn install_packages(
        &self,
        reference: &BaseReference,
        below: Option<(Image, &View)>,
        inputs: PackageInputs<'_>,
    ) -> Result<Image, BuildError> {
        let PackageInputs { recipe, work, progress, .. } = inputs;
        let on = below.as_ref().map(|(image, view)| (image, *view));
        let mut prepared = self.prepare_packages(reference, on, (self.read_lock()?, self.lock), inputs)?;
        let sets = prepared.resolve(progress)?;
        let folders = LayerFolders { cache: self.cache.as_deref(), work };
        let mut image = match below {
            Some((image, _)) => image,
            None => empty_image(inputs.platform)?,
        };
        for ((name, _), (_, packages)) in prepared.layers.iter().zip(&sets) {
            if packages.is_empty() {
                continue;
            }
            let layer = PackageLayer::new(name, packages, recipe.compression)
                .on(&image.layers)
                .without(&recipe.apt.exclude);
            let layer = layer.make(folders, || prepared.lookup.download(packages, progress), progress)?;
            let line = HistoryLine {
                created_by: format!("ipo-oci: Debian packages of {}", prepared.lookup.suite()),
                comment: packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(" "),
            };
            image = image.append_layers(vec![(layer, line)])?;
            image = self.add_standard_library_bytecode(image, packages, inputs)?;
        }
        Ok(image)
    }

    /// Makes the lowest layer of the base of packages for this machine, if it can be made.
    pub(super) fn native_base(&self, reference: &BaseReference, inputs: PackageInputs<'_>) -> Option<View> {
        let recipe = Recipe {
            packages: Vec::new(),
            apt: ResolvedApt { tools: Vec::new(), ..inputs.recipe.apt.clone() },
            bytecode: Bytecode::Strip,
            ..inputs.recipe.clone()
        };
        let own = Platform::of_this_program();
        let inputs = PackageInputs { recipe: &recipe, platform: &own, progress: &Silent, ..inputs };
        let image = self.install_packages(reference, None, inputs).ok()?;
        View::of(&image, self.cache.as_deref(), inputs.progress).ok()
    }

    /// Resolves the Debian packages of the image in their archive, whatever the lock has: by layer, lowest first.
    ///
    /// # Errors
    /// If the archive cannot be read or a package cannot be installed.
    pub fn resolve_packages(&self, progress: &dyn Progress) -> Result<PackageSets, BuildError> {
        let recipe = self.resolve()?;
        let reference = recipe.base.parse::<BaseReference>()?;
        if !matches!(reference, BaseReference::Apt(_)) && recipe.packages.is_empty() {
            return Ok(Vec::new());
        }
        let platform = self.target_platform(&recipe);
        let work = self.staging()?;
        let hints = LazyHints::of(&self.root);
        let allowed = |version: &str| self.allows_python(&recipe, &hints, version);
        let python = match self.existing_environment(&platform) {
            Some(environment) => WantedPython::of(&environment),
            None => WantedPython::Allowed(&allowed),
        };
        let inputs = PackageInputs {
            recipe: &recipe,
            platform: &platform,
            python,
            native: None,
            work: work.path(),
            progress,
        };
        let plain = Recipe { packages: Vec::new(), ..recipe.clone() };
        let base = match reference {
            BaseReference::Image(_) | BaseReference::Rootfs(_) => {
                self.resolved_base(&plain, WantedPython::None, work.path(), progress)?
            }
            BaseReference::Scratch | BaseReference::Apt(_) => None,
        };
        let on = base.as_ref().map(|base| (&base.image, &*base.view));
        let mut prepared = self.prepare_packages(&reference, on, (None, Policy::Any), inputs)?;
        let sets = prepared.resolve(progress)?;
        Ok(sets.into_iter().filter(|(_, packages)| !packages.is_empty()).collect())
    }

    /// Finds the suite and the wanted packages of an image on `on`.
    fn prepare_packages(
        &self,
        reference: &BaseReference,
        on: Option<(&Image, &View)>,
        (lock, policy): (Option<Lock>, Policy),
        inputs: PackageInputs<'_>,
    ) -> Result<PreparedPackages, BuildError> {
        let PackageInputs { recipe, platform, work, progress, .. } = inputs;
        let settings = self.archive_settings(recipe, work)?;
        let (suite, base) = match (reference, on) {
            (_, Some((image, view))) => {
                let (suite, installed) = installed_in(view)?;
                (suite, Some((image.digest(), installed)))
            }
            (BaseReference::Apt(suite), None) => (Some(suite.as_str().to_owned()), None),
            (_, None) => (suite_of_root(&settings.root), None),
        };
        let suite = suite.ok_or_else(|| AptError::NoSuite(recipe.base.clone()))?;
        let mut lookup = PackageLookup::new(&suite, platform, settings)?
            .with_recommends(recipe.apt.recommends)
            .locked(lock, policy);
        let mut layers = Vec::new();
        if let BaseReference::Apt(_) = reference {
            let (mut base, mut tools) = (recipe.apt.base.clone(), recipe.apt.tools.clone());
            if let Some(python) = inputs.python.choose(&mut lookup, progress)? {
                if recipe.headers {
                    tools.push(format!("lib{python}-dev"));
                }
                base.push(python);
            }
            layers.extend([("base", base), ("tools", tools)]);
        }
        layers.push(("packages", recipe.packages.clone()));
        Ok(PreparedPackages { lookup, base, layers })
    }

    /// Returns the settings of the archive.
    pub(super) fn archive_settings(
        &self,
        recipe: &Recipe,
        work: &Path,
    ) -> Result<ArchiveSettings, BuildError> {
        let access = self.resolved_access()?;
        let cache = self.cache.as_deref().or(access.cache.as_deref()).unwrap_or(work);
        let mut settings = ArchiveSettings::new(cache);
        settings.connection = access.registry;
        settings.network = access.network;
        settings.mirrors.clone_from(&recipe.apt.mirrors);
        settings.components.clone_from(&recipe.apt.components);
        let lines = recipe.apt.sources.join("\n");
        settings.sources = SourcesFormat::OneLine.parse(&lines).map_err(AptError::SettingsSources)?;
        settings.keyrings = recipe.apt.keyrings.iter().map(|file| self.root.join(file)).collect();
        if recipe.apt.unsigned {
            settings.unsigned = UnsignedReleases::Allow;
        }
        Ok(settings)
    }
}

impl WantedPython<'_> {
    /// Returns the package of the wanted Python.
    fn choose(
        self,
        lookup: &mut PackageLookup,
        progress: &dyn Progress,
    ) -> Result<Option<String>, BuildError> {
        let is_wanted: &dyn Fn(&SuitePython) -> bool = match self {
            Self::None => return Ok(None),
            Self::Of(version) => &move |python| python.runs(version),
            Self::Allowed(allowed) => &move |python| allowed(&python.full_version),
        };
        Ok(lookup.pythons(progress)?.into_iter().find(is_wanted).map(|python| python.package))
    }
}

impl PreparedPackages {
    /// Resolves the packages of each layer.
    fn resolve(&mut self, progress: &dyn Progress) -> Result<PackageSets, BuildError> {
        let base = self.base.as_ref().map(|(digest, installed)| (*digest, installed.as_slice()));
        let wanted: Vec<Vec<String>> = self.layers.iter().map(|(_, wanted)| wanted.clone()).collect();
        Ok(self.lookup.resolve(base, &wanted, progress)?)
    }
}

/// Returns an image without layers.
fn empty_image(platform: &Platform) -> Result<Image, BuildError> {
    let process = Process { env: vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())], ..Process::default() };
    let config = ImageConfig {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        process,
        ..ImageConfig::default()
    };
    Ok(Image::assemble(&config, Vec::new(), &BTreeMap::new())?)
}
