//! [`PackageLookup`]: the packages of a suite for one platform, locked or resolved in the archive.

use std::collections::BTreeMap;
use std::path::PathBuf;

use debian_archive::index::{Installed, PackageRecord};
use debian_archive::resolve::{Recommends, Request, ScriptDependencies, Universe, resolve};
use serde::{Deserialize, Serialize};

use super::AptError;
use super::client::{Archive, ArchiveSettings, RemotePackage, download, mirrors};
use super::resolutions::Resolutions;
use super::system::architecture_of;
use crate::digest::{Digest, Hasher};
use crate::lock::{Lock, LockError, LockedDeb, PackageSetKey, Policy};
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Span, Step};
use crate::python::PythonVersion;
use crate::python::interpreter::MINORS;
use crate::tree::KeyHasher;

/// The package without files that stands for a merged `/usr`, which a base of packages always has. Otherwise
/// `usrmerge`, which merges a file system with Perl, would meet the dependencies on it.
const USR_IS_MERGED: &str = "usr-is-merged";

/// The packages of one suite and platform: locked, or resolved in the archive.
#[derive(Debug)]
pub struct PackageLookup {
    suite: String,
    platform: Platform,
    architecture: &'static str,
    recommends: bool,
    settings: ArchiveSettings,
    resolutions: Resolutions,
    lock: Option<Lock>,
    policy: Policy,
    archive: Option<OpenedArchive>,
}

/// An archive, with its packages once they are needed.
#[derive(Debug)]
struct OpenedArchive {
    archive: Archive,
    universe: Option<Universe>,
}

/// A Python of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuitePython {
    /// The package: `python3`, `python3.12`.
    pub package: String,
    /// The version of Python, such as `3.11.2`.
    pub full_version: String,
}

/// The packages of one layer, with the question that they answer.
pub type PackageSet = (PackageSetKey, Vec<LockedDeb>);

impl PackageLookup {
    /// Prepares the packages of `suite` for `platform` in the archive of `settings`.
    ///
    /// # Errors
    /// If Debian has no architecture for the platform.
    pub fn new(suite: &str, platform: &Platform, settings: ArchiveSettings) -> Result<Self, AptError> {
        let architecture = architecture_of(platform).ok_or_else(|| AptError::Platform(platform.clone()))?;
        Ok(Self {
            suite: suite.to_owned(),
            platform: platform.clone(),
            architecture,
            recommends: false,
            resolutions: Resolutions::new(&settings.cache),
            settings,
            lock: None,
            policy: Policy::Any,
            archive: None,
        })
    }

    /// Includes recommended packages.
    #[must_use]
    pub fn with_recommends(self, recommends: bool) -> Self {
        Self { recommends, ..self }
    }

    /// Takes sets of packages from a lock.
    #[must_use]
    pub fn locked(self, lock: Option<Lock>, policy: Policy) -> Self {
        Self { lock, policy, ..self }
    }

    /// Returns the suite.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// Returns the Pythons of the suite: the default one, `python3`, first, then the others from the newest to the
    /// oldest. With a locked base, those of the base.
    pub fn pythons(&mut self, progress: &dyn Progress) -> Result<Vec<SuitePython>, AptError> {
        let locked = self.locked_pythons();
        if !locked.is_empty() || self.policy == Policy::Locked {
            return Ok(locked);
        }
        let identity = self.archive(progress)?.archive.identity().to_string();
        let key = KeyHasher::new("Pythons of an archive").text(&identity).text(self.architecture).finish();
        if let Some(found) = self.resolutions.load::<Vec<SuitePython>>(&key) {
            return Ok(found);
        }
        let architecture = self.architecture;
        let universe = self.archive(progress)?.universe()?;
        let is_for = |record: &&PackageRecord| matches!(&*record.architecture, found if found == architecture || found == "all");
        let minors = MINORS.rev().map(|minor| format!("python3.{minor}"));
        let found: Vec<SuitePython> = std::iter::once("python3".to_owned())
            .chain(minors)
            .filter_map(|name| {
                let version = universe.versions(&name).find(is_for)?.version.as_str();
                Some(SuitePython::new(&name, version))
            })
            .collect();
        self.resolutions.keep(&key, &found);
        Ok(found)
    }

    /// Returns the Pythons that a locked base has.
    fn locked_pythons(&self) -> Vec<SuitePython> {
        let of_base = |key: &PackageSetKey| {
            key.suite == self.suite && key.platform == self.platform && key.below.is_none()
        };
        let mut sets = self.lock.iter().flat_map(Lock::package_sets).filter(|(key, _)| of_base(key));
        let found = sets.find_map(|(key, set)| {
            let is_python = |name: &str| {
                name.strip_prefix("python3").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let wanted = set.packages.iter().filter(|package| key.wanted.contains(&package.name));
            let pythons: Vec<SuitePython> = wanted
                .filter(|package| is_python(&package.name))
                .map(|package| SuitePython::new(&package.name, &package.version))
                .collect();
            (!pythons.is_empty()).then_some(pythons)
        });
        found.unwrap_or_default()
    }

    /// Returns one package of the suite: the locked one, in whatever set, or else that of the archive.
    pub fn package(&mut self, name: &str, progress: &dyn Progress) -> Result<Option<LockedDeb>, AptError> {
        let is_of_suite = |key: &PackageSetKey| key.suite == self.suite && key.platform == self.platform;
        let sets = self.lock.iter().flat_map(Lock::package_sets).filter(|(key, _)| is_of_suite(key));
        let mut packages = sets.flat_map(|(_, set)| &set.packages);
        let locked = packages.find(|package| package.name == name).cloned();
        drop(packages);
        if locked.is_some() || self.policy == Policy::Locked {
            return Ok(locked);
        }
        let sets = self.resolve(None, &[vec![name.to_owned()]], progress)?;
        Ok(sets.into_iter().flat_map(|(_, packages)| packages).find(|package| package.name == name))
    }

    /// Resolves sets of packages, lowest first, on top of `base`, an image and its packages. A set without wanted
    /// packages is empty.
    pub fn resolve(
        &mut self,
        base: Option<(Digest, &[Installed])>,
        wanted: &[Vec<String>],
        progress: &dyn Progress,
    ) -> Result<Vec<PackageSet>, AptError> {
        let (mut below, installed) =
            base.map_or((None, &[][..]), |(digest, installed)| (Some(digest), installed));
        let mut lower: Vec<LockedDeb> = Vec::new();
        let mut sets = Vec::new();
        for wanted in wanted {
            let key = PackageSetKey::new(&self.suite, &self.platform, wanted.clone())
                .with_recommends(self.recommends)
                .on(below);
            let packages = match wanted.as_slice() {
                [] => Vec::new(),
                _ => self.packages(&key, (installed, &lower), progress)?,
            };
            if !wanted.is_empty() {
                below = Some(digest_of(below, &packages));
            }
            lower.extend(packages.iter().cloned());
            sets.push((key, packages));
        }
        Ok(sets)
    }

    /// Downloads packages. Returns their files, in the same order.
    pub fn download(
        &self,
        packages: &[LockedDeb],
        progress: &dyn Progress,
    ) -> Result<Vec<PathBuf>, AptError> {
        let of_suites = self.archive.as_ref().map(OpenedArchive::mirrors).unwrap_or_default();
        let any = mirrors(&self.settings, &self.suite, self.architecture)?;
        let remote = |package: &LockedDeb| {
            let mirrors = of_suites.get(package.suite.as_str()).unwrap_or(&any).clone();
            RemotePackage::new(mirrors, &package.path, package.size, package.sha256)
        };
        let remote: Vec<RemotePackage> = packages.iter().map(remote).collect();
        download(&self.settings, &remote, progress)
    }

    /// Opens the archive once.
    fn archive(&mut self, progress: &dyn Progress) -> Result<&mut OpenedArchive, AptError> {
        let archive = match self.archive.take() {
            Some(archive) => archive,
            None => OpenedArchive {
                archive: Archive::open(&self.settings, &self.suite, self.architecture, progress)?,
                universe: None,
            },
        };
        Ok(self.archive.insert(archive))
    }

    /// Returns the packages of a set: from the lock, else from the archive.
    fn packages(
        &mut self,
        key: &PackageSetKey,
        (installed, lower): (&[Installed], &[LockedDeb]),
        progress: &dyn Progress,
    ) -> Result<Vec<LockedDeb>, AptError> {
        if let Some(packages) = self.lock.as_ref().and_then(|lock| lock.packages(key)) {
            return Ok(packages.to_vec());
        }
        if self.policy == Policy::Locked {
            return Err(LockError::PackagesNotLocked(Box::new(key.clone())).into());
        }
        let identity = self.archive(progress)?.archive.identity().to_string();
        let stored = KeyHasher::new("resolved packages").text(&identity).value(key).map(KeyHasher::finish);
        if let Some(packages) = stored.and_then(|stored| self.resolutions.load(&stored)) {
            return Ok(packages);
        }
        progress.step(&Step::on(Activity::ResolvePackages, key.wanted.join(", ")));
        let _span = Span::begin(progress, Activity::ResolvePackages);
        let architecture = self.architecture;
        let packages = self.archive(progress)?.resolve(key, (installed, lower), architecture)?;
        if let Some(stored) = stored {
            self.resolutions.keep(&stored, &packages);
        }
        Ok(packages)
    }
}

impl OpenedArchive {
    /// Parses the indexes once.
    fn universe(&mut self) -> Result<&Universe, AptError> {
        let universe = match self.universe.take() {
            Some(universe) => universe,
            None => self.archive.universe()?,
        };
        Ok(self.universe.insert(universe))
    }

    /// Resolves a set of packages on top of others.
    fn resolve(
        &mut self,
        key: &PackageSetKey,
        (installed, lower): (&[Installed], &[LockedDeb]),
        architecture: &str,
    ) -> Result<Vec<LockedDeb>, AptError> {
        let suites: Vec<String> = self.archive.suites().iter().map(|suite| suite.name.clone()).collect();
        let universe = self.universe()?;
        let mut below = installed.to_vec();
        below.extend(lower.iter().filter_map(|package| installed_as(universe, package)));
        let mut wanted = key.wanted.clone();
        let has_merged = below.iter().any(|package| &*package.name == USR_IS_MERGED);
        if !has_merged && universe.versions(USR_IS_MERGED).next().is_some() {
            wanted.push(USR_IS_MERGED.to_owned());
        }
        let found = resolve(
            universe,
            &Request {
                wanted: &wanted,
                installed: &below,
                recommends: if key.recommends { Recommends::Include } else { Recommends::Omit },
                architecture,
                script_dependencies: ScriptDependencies::Omit,
            },
        )?;
        let locked = |record: &PackageRecord| {
            let digest = Digest::from_bytes(record.sha256.0);
            let suite = suites.get(record.suite_index).map(String::as_str).unwrap_or_default();
            LockedDeb::new(&record.name, record.version.as_str(), &record.architecture, digest, record.size)
                .at(suite, &record.filename)
        };
        Ok(found.into_iter().map(locked).collect())
    }

    /// Returns the mirrors by the name of their suite.
    fn mirrors(&self) -> BTreeMap<String, Vec<String>> {
        let suites = self.archive.suites().iter().enumerate();
        suites.map(|(number, suite)| (suite.name.clone(), self.archive.mirrors(number))).collect()
    }
}

impl SuitePython {
    fn new(package: &str, version: &str) -> Self {
        let upstream = version.split(['-', '+', '~']).next().unwrap_or_default();
        let upstream = upstream.split_once(':').map_or(upstream, |(_, version)| version);
        Self { package: package.to_owned(), full_version: upstream.to_owned() }
    }

    /// Returns true if environments of `version` run with this Python. Debian's has the global interpreter lock.
    pub fn runs(&self, version: PythonVersion) -> bool {
        let PythonVersion { major, minor, free_threaded, .. } = version;
        !free_threaded && self.full_version.starts_with(&format!("{major}.{minor}."))
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
