//! `ipo-oci lock`: writes down which images a project is built on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use ipo_oci::builder::Builder;
use ipo_oci::lock::{self, Found, Lock, LockError};
use ipo_oci::platform::Platform;
use ipo_oci::recipe::Target;
use ipo_oci::reference::Reference;
use ipo_oci::settings::{Platforms, Settings};
use ipo_oci::store::{self, StoreError};

use super::access::AccessArguments;
use super::build::setting;
use super::failure::Failure;
use super::terminal::Terminal;

/// Write the base images by digest to ipo-oci.lock
#[derive(Debug, Args)]
pub(crate) struct LockArguments {
    /// The project's folder
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
    /// Lock this base, and leave what else is locked; may be given more than once
    #[arg(long, value_name = "REF")]
    base: Vec<String>,
    /// What to lock each base for [default: what the project is built for, else this machine's platform]
    #[arg(long, value_name = "PLATFORM,…", env = "IPO_OCI_PLATFORM", value_parser = setting::<Platforms>)]
    platform: Option<Platforms>,
    /// Write nothing, and fail with exit code 3 when the lock is out of date
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    access: AccessArguments,
}

/// Locks what the project, or the command line, says.
pub(crate) fn run(arguments: &LockArguments, terminal: &Terminal) -> Result<(), Failure> {
    let path = arguments.context.join(lock::FILE_NAME);
    let there = Lock::read(&path)?;
    let mut lock = there.clone().unwrap_or_default();
    let (references, platforms) = wanted(arguments)?;
    let builder = Builder::from_project(&arguments.context)?.access(arguments.access.access());
    let access = builder.reading()?;
    let mut open = |reference: &str| -> Result<Found, StoreError> {
        let parsed: Reference = reference.parse()?;
        let named_here = !arguments.base.is_empty();
        let place = if named_here { parsed } else { builder.located_image(parsed) };
        let artifact = store::open(&place, &access)?;
        Ok(Found { artifact, read_from: reference.to_owned() })
    };
    let mut changes = lock::update(&mut lock, &references, &platforms, &mut open)?;
    if arguments.base.is_empty() {
        changes.extend(lock.retain(&references));
    }
    if arguments.check {
        let up_to_date = changes.is_empty();
        return if up_to_date { Ok(()) } else { Err(Failure::gate(LockError::OutOfDate { path, changes })) };
    }
    for change in &changes {
        terminal.report(&format!("{change}\n"));
    }
    if there.is_some() || !references.is_empty() {
        lock.write(&path)?;
    } else {
        terminal.report("every image is built on scratch: there is nothing to lock\n");
    }
    Ok(())
}

/// The references to lock, in their full form, and for which platforms.
fn wanted(arguments: &LockArguments) -> Result<(Vec<String>, Vec<Platform>), Failure> {
    let settings = Settings { platform: arguments.platform.clone(), ..Settings::default() };
    let builder = Builder::from_project(&arguments.context)?.settings(settings);
    let mut bases = arguments.base.clone();
    let mut platforms = BTreeSet::new();
    for target in Target::ALL {
        let recipe = builder.clone().target(target).resolve()?;
        if arguments.base.is_empty() {
            bases.push(recipe.base);
        }
        platforms.extend(recipe.platforms);
    }
    if platforms.is_empty() {
        platforms.insert(Platform::of_this_program());
    }
    let references: Result<BTreeSet<_>, _> =
        bases.iter().filter_map(|base| lock::key(base).transpose()).collect();
    Ok((references.map_err(Failure::argument)?.into_iter().collect(), platforms.into_iter().collect()))
}
