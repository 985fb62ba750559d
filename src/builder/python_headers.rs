//! Headers of a suite's Python, with which the base's own Python makes an environment of distributions without wheels.

use std::path::{Path, PathBuf};

use super::{BuildError, Builder};
use crate::apt::PackageLookup;
use crate::base::{BasePython, BaseReference, PythonFile};
use crate::debian::install::{InstallOptions, InstalledPackages, install};
use crate::error::FileError;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::tree::Kind;

impl Builder {
    /// Returns the headers of `python` in its suite; none for other bases than those of packages, and if the package
    /// cannot be had: few environments need them.
    pub(super) fn python_headers(
        &self,
        recipe: &Recipe,
        python: &BasePython,
        work: &Path,
        progress: &dyn Progress,
    ) -> Vec<PythonFile> {
        self.read_headers(recipe, python, work, progress).unwrap_or_default()
    }

    fn read_headers(
        &self,
        recipe: &Recipe,
        python: &BasePython,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<PythonFile>, BuildError> {
        let BaseReference::Apt(suite) = recipe.base.parse()? else { return Ok(Vec::new()) };
        let name = python.version.name();
        let settings = self.archive_settings(recipe, work)?;
        let mut lookup = PackageLookup::new(suite.as_str(), &Platform::of_this_program(), settings)?
            .locked(self.read_lock()?, self.lock);
        let Some(package) = lookup.package(&format!("lib{name}-dev"), progress)? else {
            return Ok(Vec::new());
        };
        let packages = lookup.download(std::slice::from_ref(&package), progress)?;
        let contents = tempfile::tempdir_in(work).map_err(FileError::of("write in", work))?;
        let installed = install(&packages, None, &InstallOptions::default(), contents.path());
        let InstalledPackages { entries, .. } = installed.map_err(crate::apt::AptError::from)?;
        let folder = python.prefix.join(&format!("include/{name}"))?;
        let configuration = format!("{name}/pyconfig.h");
        let mut files = Vec::new();
        for entry in entries {
            let Kind::File(content) = &entry.kind else { continue };
            let is_own = entry.path.starts_with(&folder);
            // The configuration in `folder` includes that of an architecture by its path below `/usr/include`.
            let is_configuration = !is_own && entry.path.as_str().ends_with(&configuration);
            let place = if is_configuration { folder.join("pyconfig.h")? } else { entry.path.clone() };
            if is_configuration || is_own && entry.path.file_name() != Some("pyconfig.h") {
                files.push(PythonFile { place: PathBuf::from(place.as_str()), bytes: content.read()? });
            }
        }
        Ok(files)
    }
}
