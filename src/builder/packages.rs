//! Debian packages as layers: bases `apt:SUITE`, and the setting `packages` on Debian bases and on `scratch`.
//!
//! An image has up to three layers of packages: those of the base, which all targets have in common, those that the
//! target adds to such a base, and those of the project. Each is resolved on top of the layers below, so that the
//! digest of a layer depends on its packages alone.

use std::collections::BTreeMap;
use std::path::Path;

use debian_archive::index::{Installed, PackageRecord, parse_status};
use debian_archive::resolve::{Recommends, Request, ScriptDependencies, Universe, resolve};
use debian_archive::sources::SourcesFormat;

use super::package_inputs::{PackageInputs, PackageSet, PackageSets};
use super::{BuildError, Builder};
use crate::apt::client::{
    Archive, ArchiveSettings, RemotePackage, UnsignedReleases, download, mirrors as mirrors_of_suite,
};
use crate::apt::{AptError, LayerFolders, PackageLayer};
use crate::base::{AptSuite, BaseReference, View};
use crate::cache::LayerCache;
use crate::digest::{Digest, Hasher};
use crate::image::{HistoryLine, Image, ImageConfig, Process};
use crate::lock::{self, Lock, LockedDeb, PackageSetKey, Policy};
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Span, Step};
use crate::python::{PythonVersion, Venv};
use crate::recipe::Recipe;
use crate::tree::{Content, HostFile, ImagePath, KeyHasher};

/// `PATH` of Debian's images.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The package without files that stands for a merged `/usr`, which a base of packages always has. Otherwise
/// `usrmerge`, which merges a file system with Perl, would meet the dependencies on it.
const USR_IS_MERGED: &str = "usr-is-merged";

/// Packages to install as one layer.
struct WantedLayer {
    name: &'static str,
    wanted: Vec<String>,
}

/// The packages of one suite and platform: locked, or resolved in the archive.
struct PackageLookup<'a> {
    builder: &'a Builder,
    inputs: PackageInputs<'a>,
    suite: String,
    architecture: &'static str,
    settings: ArchiveSettings,
    lock: Option<Lock>,
    policy: Policy,
    archive: Option<OpenedArchive>,
}

/// An archive, with its packages once they are needed.
struct OpenedArchive {
    archive: Archive,
    universe: Option<Universe>,
}

impl Builder {
    /// Makes the base `apt:SUITE` of `inputs`.
    pub(super) fn packages_base(
        &self,
        suite: &AptSuite,
        inputs: PackageInputs<'_>,
    ) -> Result<Image, BuildError> {
        let mut source = PackageLookup::new(self, suite.as_str().to_owned(), inputs)?;
        let layers = source.base_layers()?;
        source.install(empty_image(inputs.platform)?, None, layers)
    }

    /// Resolves the Debian packages of the image in their archive, whatever the lock has: by layer, lowest first.
    ///
    /// # Errors
    /// If the archive cannot be read or a package cannot be installed.
    pub fn resolve_packages(&self, progress: &dyn Progress) -> Result<PackageSets, BuildError> {
        let recipe = self.resolve()?;
        let platform = self.target_platform(&recipe);
        let work = self.staging()?;
        let environment = self.existing_environment(&platform);
        let inputs = PackageInputs {
            recipe: &recipe,
            platform: &platform,
            environment: environment.as_deref(),
            work: work.path(),
            progress,
        };
        let reference = recipe.base.parse::<BaseReference>()?;
        if !matches!(reference, BaseReference::Apt(_)) && recipe.packages.is_empty() {
            return Ok(Vec::new());
        }
        let (mut source, base, layers) = match reference {
            BaseReference::Apt(suite) => {
                let mut source = PackageLookup::unlocked(self, suite.as_str().to_owned(), inputs)?;
                let layers = source.base_layers()?;
                (source, None, layers)
            }
            BaseReference::Scratch => {
                let source = PackageLookup::unlocked(self, suite_of_machine()?, inputs)?;
                (source, None, vec![WantedLayer::of_project(&recipe)])
            }
            BaseReference::Image(_) | BaseReference::Rootfs(_) => {
                let plain = Recipe { packages: Vec::new(), ..recipe.clone() };
                let base = self.resolved_base(&plain, None, work.path(), progress)?;
                let Some(base) = base else { return Ok(Vec::new()) };
                let (suite, installed) = installed_in(&base.view, &recipe.base)?;
                let source = PackageLookup::unlocked(self, suite, inputs)?;
                (source, Some((base.image.digest(), installed)), vec![WantedLayer::of_project(&recipe)])
            }
        };
        Ok(source.resolve(base, layers)?.into_iter().map(|(_, set)| set).collect())
    }

    /// Makes a base of the packages of `inputs` alone, for an image from scratch on this machine.
    pub(super) fn packages_on_scratch(&self, inputs: PackageInputs<'_>) -> Result<Image, BuildError> {
        let mut source = PackageLookup::new(self, suite_of_machine()?, inputs)?;
        source.install(empty_image(inputs.platform)?, None, vec![WantedLayer::of_project(inputs.recipe)])
    }

    /// Installs the packages of `inputs` on `image`, whose files are `view`.
    pub(super) fn packages_on(
        &self,
        image: Image,
        view: &View,
        inputs: PackageInputs<'_>,
    ) -> Result<Image, BuildError> {
        let (suite, installed) = installed_in(view, &inputs.recipe.base)?;
        let mut source = PackageLookup::new(self, suite, inputs)?;
        source.install(image, Some(installed), vec![WantedLayer::of_project(inputs.recipe)])
    }

    /// Returns the settings of the archive.
    fn archive_settings(&self, recipe: &Recipe, work: &Path) -> Result<ArchiveSettings, BuildError> {
        let access = self.resolved_access()?;
        let mut settings = ArchiveSettings::new(self.cache.as_deref().unwrap_or(work));
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

impl WantedLayer {
    /// Returns the packages that the project names.
    fn of_project(recipe: &Recipe) -> Self {
        Self { name: "packages", wanted: recipe.packages.clone() }
    }
}

impl<'a> PackageLookup<'a> {
    /// Prepares the packages of the lock, and of the archive for sets that are not locked.
    fn new(builder: &'a Builder, suite: String, inputs: PackageInputs<'a>) -> Result<Self, BuildError> {
        let lock = Lock::read(&builder.root.join(lock::FILE_NAME))?;
        Ok(Self { lock, policy: builder.lock, ..Self::unlocked(builder, suite, inputs)? })
    }

    /// Prepares the packages of the archive alone.
    fn unlocked(builder: &'a Builder, suite: String, inputs: PackageInputs<'a>) -> Result<Self, BuildError> {
        let architecture = debian_architecture(inputs.platform)
            .ok_or_else(|| AptError::Platform(inputs.platform.clone()))?;
        let settings = builder.archive_settings(inputs.recipe, inputs.work)?;
        Ok(Self {
            builder,
            inputs,
            suite,
            architecture,
            settings,
            lock: None,
            policy: Policy::Any,
            archive: None,
        })
    }

    /// Returns the layers of a base of this suite.
    fn base_layers(&mut self) -> Result<Vec<WantedLayer>, BuildError> {
        let recipe = self.inputs.recipe;
        let (mut base, mut tools) = (recipe.apt.base.clone(), recipe.apt.tools.clone());
        if let Some(python) = self.python()? {
            if recipe.headers {
                tools.push(format!("lib{python}-dev"));
            }
            base.push(python);
        }
        let packages = recipe.packages.clone();
        Ok(vec![
            WantedLayer { name: "base", wanted: base },
            WantedLayer { name: "tools", wanted: tools },
            WantedLayer { name: "packages", wanted: packages },
        ])
    }

    /// Returns the package of the suite's Python, if the environment is for its version.
    fn python(&mut self) -> Result<Option<String>, BuildError> {
        let Some(environment) = self.inputs.environment else { return Ok(None) };
        let Ok(venv) = Venv::open(environment) else { return Ok(None) };
        let PythonVersion { major, minor, .. } = venv.version;
        let own = format!("python{major}.{minor}");
        let is_own = |version: &str| version.starts_with(&format!("{major}.{minor}."));
        if let Some(lock) = &self.lock {
            let of_base = lock.package_sets().filter(|(key, _)| {
                key.suite == self.suite && key.platform == *self.inputs.platform && key.below.is_none()
            });
            let mut locked = of_base.flat_map(|(key, set)| {
                set.packages.iter().filter(|package| key.wanted.contains(&package.name))
            });
            if let Some(found) = locked
                .find(|package| package.name == own || package.name == "python3" && is_own(&package.version))
            {
                return Ok(Some(found.name.clone()));
            }
            if self.policy == Policy::Locked {
                return Ok(None);
            }
        }
        let architecture = self.architecture;
        let cache = self.builder.cache.as_deref().map(LayerCache::new);
        let opened = self.archive()?;
        let identity = opened.archive.identity().to_string();
        let stored = KeyHasher::new("Python of an archive, 1").text(&identity).text(&own).finish();
        if let Some(found) = cache.as_ref().and_then(|cache| cache.cached_plan::<Option<String>>(&stored)) {
            return Ok(found);
        }
        let universe = opened.universe()?;
        let candidate = |name: &str| {
            let is_for = |record: &&PackageRecord| matches!(&*record.architecture, found if found == architecture || found == "all");
            universe.versions(name).find(is_for)
        };
        let found = match candidate("python3") {
            Some(default) if is_own(default.version.as_str()) => Some("python3".to_owned()),
            _ => candidate(&own).map(|_| own),
        };
        if let Some(cache) = &cache {
            cache.keep_cached_plan(&stored, &[], &found);
        }
        Ok(found)
    }

    /// Opens the archive once.
    fn archive(&mut self) -> Result<&mut OpenedArchive, BuildError> {
        let archive = match self.archive.take() {
            Some(archive) => archive,
            None => OpenedArchive {
                archive: Archive::open(&self.settings, &self.suite, self.architecture, self.inputs.progress)?,
                universe: None,
            },
        };
        Ok(self.archive.insert(archive))
    }

    /// Returns the addresses of packages: at the mirrors of their suite.
    fn remote(&self, packages: &[LockedDeb]) -> Result<Vec<RemotePackage>, BuildError> {
        let mirrors = match &self.archive {
            Some(opened) => opened.mirrors(),
            None => BTreeMap::new(),
        };
        let any = mirrors_of_suite(&self.settings, &self.suite, self.architecture)?;
        let remote = |package: &LockedDeb| {
            let mirrors = mirrors.get(package.suite.as_str()).unwrap_or(&any).clone();
            RemotePackage::new(mirrors, &package.path, package.size, package.sha256)
        };
        Ok(packages.iter().map(remote).collect())
    }

    /// Installs `layers` on `image`, which has the packages `installed`.
    fn install(
        &mut self,
        mut image: Image,
        installed: Option<Vec<Installed>>,
        layers: Vec<WantedLayer>,
    ) -> Result<Image, BuildError> {
        let PackageInputs { recipe, work, progress, .. } = self.inputs;
        let folders = LayerFolders { cache: self.builder.cache.as_deref(), work };
        for (WantedLayer { name, .. }, (_, packages)) in
            self.resolve(installed.map(|installed| (image.digest(), installed)), layers)?
        {
            let layer = PackageLayer::new(name, &packages, recipe.compression)
                .on(&image.layers)
                .without(&recipe.apt.exclude);
            let remote = self.remote(&packages)?;
            let files = || download(&self.settings, &remote, progress);
            let layer = layer.make(folders, files, progress)?;
            let line = HistoryLine {
                created_by: format!("ipo-oci: Debian packages of {}", self.suite),
                comment: packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(" "),
            };
            image = image.append_layers(vec![(layer, line)])?;
        }
        Ok(image)
    }

    /// Resolves the packages of `layers`, lowest first, on top of `base`, an image and its packages.
    fn resolve(
        &mut self,
        base: Option<(Digest, Vec<Installed>)>,
        layers: Vec<WantedLayer>,
    ) -> Result<Vec<(WantedLayer, PackageSet)>, BuildError> {
        let (mut below, installed) =
            base.map_or((None, Vec::new()), |(digest, installed)| (Some(digest), installed));
        let mut lower: Vec<LockedDeb> = Vec::new();
        let mut resolved = Vec::new();
        for layer in layers.into_iter().filter(|layer| !layer.wanted.is_empty()) {
            let key = PackageSetKey::new(&self.suite, self.inputs.platform, layer.wanted.clone())
                .with_recommends(self.inputs.recipe.apt.recommends)
                .on(below);
            let packages = self.packages(&key, (&installed, &lower))?;
            below = Some(digest_of(below, &packages));
            lower.extend(packages.iter().cloned());
            if !packages.is_empty() {
                resolved.push((layer, (key, packages)));
            }
        }
        Ok(resolved)
    }

    /// Returns the packages of a set: from the lock, else from the archive.
    fn packages(
        &mut self,
        key: &PackageSetKey,
        (installed, lower): (&[Installed], &[LockedDeb]),
    ) -> Result<Vec<LockedDeb>, BuildError> {
        if let Some(packages) = self.lock.as_ref().and_then(|lock| lock.packages(key)) {
            return Ok(packages.to_vec());
        }
        if self.policy == Policy::Locked {
            return Err(lock::LockError::PackagesNotLocked(Box::new(key.clone())).into());
        }
        let cache = self.builder.cache.as_deref().map(LayerCache::new);
        let (architecture, progress) = (self.architecture, self.inputs.progress);
        let opened = self.archive()?;
        let identity = opened.archive.identity().to_string();
        let stored = KeyHasher::new("resolved Debian packages, 1").text(&identity).value(key);
        let stored = stored.map(KeyHasher::finish);
        if let (Some(cache), Some(stored)) = (&cache, &stored)
            && let Some(packages) = cache.cached_plan::<Vec<LockedDeb>>(stored)
        {
            return Ok(packages);
        }
        progress.step(&Step::on(Activity::ResolvePackages, key.wanted.join(", ")));
        let _span = Span::begin(progress, Activity::ResolvePackages);
        let suites: Vec<String> = opened.archive.suites().iter().map(|suite| suite.name.clone()).collect();
        let universe = opened.universe()?;
        let mut below = installed.to_vec();
        below.extend(lower.iter().filter_map(|package| installed_as(universe, package)));
        let mut wanted = key.wanted.clone();
        let has_merged = below.iter().any(|package| &*package.name == USR_IS_MERGED);
        if !has_merged && universe.versions(USR_IS_MERGED).next().is_some() {
            wanted.push(USR_IS_MERGED.to_owned());
        }
        let recommends = if key.recommends { Recommends::Include } else { Recommends::Omit };
        let found = resolve(
            universe,
            &Request {
                wanted: &wanted,
                installed: &below,
                recommends,
                architecture,
                script_dependencies: ScriptDependencies::Omit,
            },
        )
        .map_err(AptError::Resolve)?;
        let packages: Vec<LockedDeb> = found
            .into_iter()
            .map(|record| {
                let digest = Digest::from_bytes(record.sha256.0);
                let suite = suites.get(record.suite_index).map(String::as_str).unwrap_or_default();
                let version = record.version.as_str();
                LockedDeb::new(&record.name, version, &record.architecture, digest, record.size)
                    .at(suite, &record.filename)
            })
            .collect();
        if let (Some(cache), Some(stored)) = (&cache, &stored) {
            cache.keep_cached_plan(stored, &[], &packages);
        }
        Ok(packages)
    }
}

impl OpenedArchive {
    /// Parses the indexes once.
    fn universe(&mut self) -> Result<&Universe, BuildError> {
        let universe = match self.universe.take() {
            Some(universe) => universe,
            None => self.archive.universe()?,
        };
        Ok(self.universe.insert(universe))
    }

    /// Returns the mirrors by the name of their suite.
    fn mirrors(&self) -> BTreeMap<String, Vec<String>> {
        let suites = self.archive.suites().iter().enumerate();
        suites.map(|(number, suite)| (suite.name.clone(), self.archive.mirrors(number))).collect()
    }
}

/// Returns a package of the layers below, with the relations of the archive if it still has this version.
fn installed_as(universe: &Universe, package: &LockedDeb) -> Option<Installed> {
    let LockedDeb { name, version, architecture, .. } = package;
    let record = universe.find(name, version, architecture);
    Some(Installed {
        name: name.as_str().into(),
        version: version.parse().ok()?,
        architecture: architecture.as_str().into(),
        multi_arch: record.map(|record| record.multi_arch).unwrap_or_default(),
        relations: record.map(|record| record.relations.clone()).unwrap_or_default(),
    })
}

/// Returns the suite of this machine.
fn suite_of_machine() -> Result<String, BuildError> {
    let text = |path: &&str| HostFile::new(path).ok().and_then(|file| Content::Host(file).read().ok());
    let texts = ["/etc/os-release", "/usr/lib/os-release"].iter().filter_map(text);
    let suite =
        texts.map(|text| String::from_utf8_lossy(&text).into_owned()).find_map(|text| suite_of(&text));
    Ok(suite.ok_or_else(|| AptError::NoSuite("this machine".to_owned()))?)
}

/// Returns the suite and the packages of the image `view`.
fn installed_in(view: &View, base: &str) -> Result<(String, Vec<Installed>), BuildError> {
    let mut texts =
        ["etc/os-release", "usr/lib/os-release"].iter().filter_map(|path| view.retained_text(path));
    let suite = texts.find_map(suite_of).ok_or_else(|| AptError::NoSuite(base.to_owned()))?;
    let mut status = view.retained_text("var/lib/dpkg/status").unwrap_or_default().to_owned();
    // One file a package, the convention of distroless.
    let folder = ImagePath::new("var/lib/dpkg/status.d")?;
    let files = view.children(&folder).filter(|(path, _)| !path.as_str().ends_with(".md5sums"));
    for text in files.filter_map(|(path, _)| view.retained_text(path.as_str())) {
        status.push_str("\n\n");
        status.push_str(text);
    }
    Ok((suite, parse_status(status.as_bytes()).map_err(AptError::Status)?))
}

/// Returns an image without layers.
fn empty_image(platform: &Platform) -> Result<Image, BuildError> {
    let process = Process { env: vec![("PATH".to_owned(), PATH.to_owned())], ..Process::default() };
    let config = ImageConfig {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        process,
        ..ImageConfig::default()
    };
    Ok(Image::assemble(&config, Vec::new(), &BTreeMap::new())?)
}

/// Digests the packages of a layer with everything below.
fn digest_of(below: Option<Digest>, packages: &[LockedDeb]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(below.map(|below| below.to_string()).unwrap_or_default().as_bytes());
    for package in packages {
        hasher.update(b"\n");
        hasher.update(package.sha256.to_string().as_bytes());
    }
    hasher.finish()
}

/// Returns the code name of a Debian or Ubuntu (os-release(5)); `None` for other systems.
fn suite_of(release: &str) -> Option<String> {
    let value = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']))
    };
    let is_known = |id: &str| matches!(id, "debian" | "ubuntu");
    let ids = value("ID").into_iter().chain(value("ID_LIKE").into_iter().flat_map(str::split_whitespace));
    // Derivatives such as Linux Mint name the suite of the Ubuntu below.
    let codename = value("UBUNTU_CODENAME").or(value("VERSION_CODENAME"));
    ids.into_iter().any(is_known).then_some(codename?).map(str::to_owned).filter(|name| !name.is_empty())
}

/// Returns Debian's name of an architecture (Debian Policy, section 11.1).
fn debian_architecture(platform: &Platform) -> Option<&'static str> {
    Some(match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("amd64", _) => "amd64",
        ("arm64", _) => "arm64",
        ("arm", Some("v5" | "v6")) => "armel",
        ("arm", _) => "armhf",
        ("386", _) => "i386",
        ("ppc64le", _) => "ppc64el",
        ("s390x", _) => "s390x",
        ("riscv64", _) => "riscv64",
        ("loong64", _) => "loong64",
        ("mips64le", _) => "mips64el",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_those_of_debian_and_its_derivatives() {
        for (release, suite) in [
            ("ID=debian\nVERSION_CODENAME=bookworm\n", Some("bookworm")),
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n", Some("noble")),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble",
                Some("noble"),
            ),
            ("ID=alpine\nVERSION_ID=3.20\n", None),
            ("ID=debian\n", None),
            ("", None),
        ] {
            assert_eq!(suite_of(release).as_deref(), suite, "{release}");
        }
    }

    #[test]
    fn architectures_have_the_names_of_debian() {
        for (platform, name) in [
            ("linux/amd64", Some("amd64")),
            ("linux/arm64", Some("arm64")),
            ("linux/arm/v7", Some("armhf")),
            ("linux/arm/v6", Some("armel")),
            ("linux/386", Some("i386")),
            ("linux/ppc64le", Some("ppc64el")),
            ("linux/wasm", None),
        ] {
            assert_eq!(debian_architecture(&platform.parse().unwrap()), name, "{platform}");
        }
    }
}
