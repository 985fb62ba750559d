//! pip for an environment without it: the interpreter's own, as if installed in the environment.
//!
//! uv makes environments without pip, and a builder image exists to install packages.

use std::sync::Arc;

use super::BuildError;
use crate::python::interpreter::{InterpreterFiles, InterpreterSource};
use crate::tree::{Entry, ImagePath, Owner};

/// Moves pip's entries and modules from `base` to `site_packages` of an environment with its
/// programs in `bin`.
pub(super) fn take(
    base: &mut InterpreterFiles,
    bin: &ImagePath,
    site_packages: &ImagePath,
    target: &'static str,
) -> Result<(Vec<Entry>, Vec<InterpreterSource>), BuildError> {
    let place = |path: &ImagePath| -> Option<ImagePath> {
        let (_, below) = path
            .as_str()
            .split_once("/site-packages/")
            .or_else(|| path.as_str().split_once("/dist-packages/"))
            .filter(|(_, below)| below.starts_with("pip"))?;
        site_packages.join(below).ok()
    };
    let version = base.entries.iter().find_map(|entry| {
        let below = place(&entry.path)?;
        let info = below.strip_prefix(site_packages)?.split('/').next()?.strip_prefix("pip-")?;
        Some(Arc::<str>::from(info.strip_suffix(".dist-info")?))
    });
    let owner =
        Owner::Distribution { name: "pip".into(), version: version.ok_or(BuildError::NoPip(target))? };
    let (moved, kept): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(&mut base.entries).into_iter().partition(|entry| place(&entry.path).is_some());
    base.entries = kept;
    let mut entries: Vec<Entry> = moved
        .into_iter()
        .filter_map(|entry| Some(Entry { path: place(&entry.path)?, owner: owner.clone(), ..entry }))
        .collect();
    let (moved, kept): (Vec<InterpreterSource>, Vec<InterpreterSource>) =
        std::mem::take(&mut base.sources).into_iter().partition(|source| place(&source.path).is_some());
    base.sources = kept;
    let sources = moved
        .into_iter()
        .filter_map(|source| Some(InterpreterSource { path: place(&source.path)?, ..source }))
        .collect();
    let script =
        format!("#!{bin}/python\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n");
    for name in ["pip", "pip3"] {
        entries.push(Entry::executable(bin.join(name)?, script.clone().into(), owner.clone()));
    }
    Ok((entries, sources))
}
