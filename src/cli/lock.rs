//! `ipo-oci lock`: records the digests of a project's base images.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use ipo_oci::builder::Builder;
use ipo_oci::lock::{self, Change, Lock, LockError, LockReason, LockedPackages, ResolvedReference};
use ipo_oci::platform::Platform;
use ipo_oci::recipe::{Recipe, Target};
use ipo_oci::reference::Reference;
use ipo_oci::settings::{Platforms, Settings};
use ipo_oci::store::{self, StoreError};

use super::access::AccessArguments;
use super::arguments::setting;
use super::failure::Failure;
use super::terminal::Terminal;

/// Write the base images and Debian packages by digest to ipo-oci.lock
#[derive(Debug, Args)]
pub(crate) struct LockArguments {
    /// Folder of the project
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
    /// Lock this base too, for builds that name it, and keep all other entries; repeatable
    #[arg(long, value_name = "REF")]
    base: Vec<String>,
    /// Remove a base that was locked with --base; repeatable
    #[arg(long, value_name = "REF", conflicts_with_all = ["base", "check"])]
    remove: Vec<String>,
    /// Platforms to lock each base for [default: its locked platforms and those of the project,
    /// else this machine's]
    #[arg(long, value_name = "PLATFORM,…", env = "IPO_OCI_PLATFORM", value_parser = setting::<Platforms>)]
    platform: Option<Platforms>,
    /// Write nothing, and fail with exit code 3 if the lock is out of date
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    access: AccessArguments,
}

/// The bases of a project's targets.
struct ProjectBases {
    /// The references in normalized form.
    references: BTreeSet<String>,
    platforms: BTreeSet<Platform>,
}

/// Locks the bases of the project or of the command line.
pub(crate) fn run(arguments: &LockArguments, terminal: &Terminal) -> Result<(), Failure> {
    let path = arguments.context.join(lock::FILE_NAME);
    let there = Lock::read(&path)?;
    let mut lock = there.clone().unwrap_or_default();
    if !arguments.remove.is_empty() {
        for reference in keys(&arguments.remove)? {
            if lock.remove(&reference).is_none() {
                return Err(LockError::NotInLock { reference, path }.into());
            }
        }
        for base in &arguments.remove {
            let suite = base.strip_prefix("apt:");
            if suite.is_some_and(|suite| !lock.remove_packages(suite)) {
                return Err(LockError::NotInLock { reference: base.clone(), path }.into());
            }
        }
        return Ok(lock.write(&path)?);
    }
    let of_project = project_bases(arguments)?;
    let named_here = keys(&arguments.base)?;
    let all = || of_project.references.iter().cloned().chain(lock.named()).collect();
    let references: BTreeSet<String> = if arguments.base.is_empty() { all() } else { named_here.clone() };
    let builder = Builder::from_project(&arguments.context)?.access(arguments.access.access());
    let access = builder.resolved_access()?;
    let mut open = |reference: &str| -> Result<ResolvedReference, StoreError> {
        let parsed: Reference = reference.parse()?;
        // References on the command line are relative to the current folder, those of the project
        // to its own.
        let own = of_project.references.contains(reference) && !named_here.contains(reference);
        let place = if own { builder.resolve_image(parsed) } else { parsed };
        let artifact = store::open(&place, &access)?;
        Ok(ResolvedReference { artifact, read_from: reference.to_owned() })
    };
    let mut changes = Vec::new();
    for reference in &references {
        let platforms = arguments.platforms_of(&lock, reference, &of_project);
        let one = std::slice::from_ref(reference);
        changes.extend(lock::update(&mut lock, one, &platforms, &mut open)?);
        let named = named_here.contains(reference) || lock.named().contains(reference);
        let origin = if named && !of_project.references.contains(reference) {
            LockReason::Named
        } else {
            LockReason::Project
        };
        lock.set_reason(reference, origin);
    }
    if arguments.base.is_empty() {
        changes.extend(lock.retain(&references.iter().cloned().collect::<Vec<_>>()));
    }
    changes.extend(arguments.lock_packages(&mut lock, terminal)?);
    if arguments.check {
        let command = arguments.command(&lock, &references);
        let is_same = changes.is_empty();
        return if is_same {
            Ok(())
        } else {
            Err(Failure::gate(LockError::OutOfDate { path, changes, command }))
        };
    }
    for change in &changes {
        terminal.report(&format!("{change}\n"));
    }
    if there.is_some() || !references.is_empty() || lock.package_sets().next().is_some() {
        lock.write(&path)?;
    } else {
        terminal.report("every image is built on scratch: nothing to lock\n");
    }
    Ok(())
}

impl LockArguments {
    /// Resolves the packages of the project, and of the `apt:` bases that `--base` names or named.
    fn lock_packages(&self, lock: &mut Lock, terminal: &Terminal) -> Result<Vec<Change>, Failure> {
        let mut sets = BTreeMap::new();
        let bases: Vec<Option<String>> = if self.base.is_empty() {
            lock.named_suites().into_iter().map(|suite| Some(format!("apt:{suite}"))).chain([None]).collect()
        } else {
            // All other entries stay.
            let asked: Vec<&String> = self.base.iter().filter(|base| base.starts_with("apt:")).collect();
            let mut others = lock.clone();
            for suite in asked.iter().filter_map(|base| base.strip_prefix("apt:")) {
                others.remove_packages(suite);
            }
            sets.extend(others.package_sets().map(|(key, set)| (key.clone(), set.clone())));
            asked.into_iter().cloned().map(Some).collect()
        };
        for base in &bases {
            for target in Target::ALL {
                let mut settings = Settings::default();
                settings.base.clone_from(base);
                let builder = Builder::from_project(&self.context)?
                    .access(self.access.access())
                    .target(target)
                    .settings(settings)
                    // The packages of a base follow from the image that is locked now.
                    .with_lock(lock.clone());
                for platform in self.platforms_of_packages(lock, &builder.resolve()?) {
                    let found = builder.clone().platform(platform).resolve_packages(terminal)?;
                    let reason = if base.is_some() { LockReason::Named } else { LockReason::Project };
                    for (key, packages) in found {
                        sets.insert(key, LockedPackages::new(packages, reason));
                    }
                }
            }
        }
        Ok(lock.replace_packages(sets))
    }

    /// Returns the platforms to lock packages for: those of the command line, else of the lock and the project,
    /// else this machine's.
    fn platforms_of_packages(&self, lock: &Lock, recipe: &Recipe) -> BTreeSet<Platform> {
        if let Some(platforms) = self.platform.as_ref().filter(|_| !self.check) {
            return platforms.as_slice().iter().cloned().collect();
        }
        let locked = lock.package_sets().map(|(key, _)| key.platform.clone());
        let mut platforms: BTreeSet<Platform> = locked.chain(recipe.platforms.iter().cloned()).collect();
        if platforms.is_empty() {
            platforms.insert(Platform::of_this_program());
        }
        platforms
    }

    /// Returns the platforms to lock a base for. Locked platforms are kept, unless `--platform`
    /// replaces them.
    fn platforms_of(&self, lock: &Lock, reference: &str, of_project: &ProjectBases) -> Vec<Platform> {
        let there = lock.platforms(reference);
        let asked: Vec<Platform> = match &self.platform {
            Some(platforms) if !self.check => return platforms.as_slice().to_vec(),
            Some(platforms) => platforms.as_slice().to_vec(),
            None => of_project.platforms.iter().cloned().collect(),
        };
        let all: BTreeSet<Platform> = there.into_iter().chain(asked).collect();
        if all.is_empty() { vec![Platform::of_this_program()] } else { all.into_iter().collect() }
    }

    /// Returns the command that brings the lock up to date.
    fn command(&self, lock: &Lock, references: &BTreeSet<String>) -> String {
        let mut command = "ipo-oci lock".to_owned();
        for base in &self.base {
            let _ = write!(command, " --base {base}");
        }
        if self.platform.is_some() {
            let platforms: BTreeSet<_> =
                references.iter().flat_map(|reference| lock.platforms(reference)).collect();
            let platforms: Vec<_> = platforms.iter().map(Platform::to_string).collect();
            let _ = write!(command, " --platform {}", platforms.join(","));
        }
        command
    }
}

/// Returns the bases and platforms of the project.
fn project_bases(arguments: &LockArguments) -> Result<ProjectBases, Failure> {
    let builder = Builder::from_project(&arguments.context)?;
    let (mut bases, mut platforms) = (Vec::new(), BTreeSet::new());
    for target in Target::ALL {
        let recipe = builder.clone().target(target).resolve()?;
        bases.push(recipe.base);
        platforms.extend(recipe.platforms);
    }
    Ok(ProjectBases { references: keys(&bases)?, platforms })
}

/// Normalizes references, except for those without anything to lock.
fn keys(bases: &[String]) -> Result<BTreeSet<String>, Failure> {
    let keys = bases.iter().filter_map(|base| lock::key(base).transpose());
    keys.collect::<Result<_, _>>().map_err(Failure::argument)
}
