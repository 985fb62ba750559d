//! The Python of a base as a program of this machine.

use std::path::{Path, PathBuf};

use super::BuildError;
use super::base::ResolvedBase;
use crate::base::{BasePython, PythonFile, RunnablePython, UnpackedPython, View};
use crate::progress::{Progress, Warning};
use crate::python::interpreter::{Architecture, Interpreter};

/// The views that have a Python of one version: of the image, and of the same base for this machine.
#[derive(Clone, Copy)]
pub(super) struct PythonViews<'a> {
    pub(super) image: &'a View,
    /// Set if the image is for another platform.
    pub(super) native: Option<&'a View>,
}

impl PythonViews<'_> {
    /// Unpacks `python` of the image, or else its version of the native base, with the files `more`. `None` if this
    /// machine can execute neither.
    pub(super) fn unpack(
        self,
        python: &BasePython,
        more: Vec<PythonFile>,
        (cache, work): (Option<&Path>, &Path),
        progress: &dyn Progress,
    ) -> Result<Option<UnpackedPython>, BuildError> {
        let folder = cache.unwrap_or(work);
        if let Some(found) = RunnablePython::find(self.image, python, cache, progress)? {
            return Ok(Some(found.with(more).unpack(folder)?));
        }
        let is_same =
            |other: &BasePython| other.full_version.is_some() && other.full_version == python.full_version;
        let Some(native) = self.native else { return Ok(None) };
        let Some(python) = native.pythons(None).into_iter().find(is_same) else { return Ok(None) };
        match RunnablePython::find(native, &python, cache, progress)? {
            Some(found) => Ok(Some(found.with(more).unpack(folder)?)),
            None => Ok(None),
        }
    }
}

impl ResolvedBase {
    /// Returns the base's `python` as an interpreter of this machine, unpacked in the folder `cache` with the files
    /// `more`; `None` if this machine cannot execute it, with a warning if it should.
    pub(super) fn interpreter(
        &self,
        (python, more): (&BasePython, Vec<PythonFile>),
        cache: &Path,
        progress: &dyn Progress,
    ) -> Option<Interpreter> {
        let views = PythonViews { image: &self.view, native: self.native.as_ref() };
        let started = || -> Result<Option<Interpreter>, BuildError> {
            let unpacked = views.unpack(python, more, (Some(cache), cache), progress)?;
            let Some(UnpackedPython { program, prefix, stdlib, machine }) = unpacked else { return Ok(None) };
            let architecture = Architecture(machine.number);
            Ok(Some(Interpreter::unpacked(&program, (&prefix, &stdlib), architecture)?))
        };
        started().unwrap_or_else(|error| {
            let name = format!("/{}", python.executable);
            let message = format!("of the base cannot be used on this machine: {error}");
            progress.warn(Warning::new(name, message));
            None
        })
    }

    /// Returns the path of [`Self::interpreter`].
    pub(super) fn program(
        &self,
        python: &BasePython,
        cache: &Path,
        progress: &dyn Progress,
    ) -> Option<PathBuf> {
        Some(self.interpreter((python, Vec::new()), cache, progress)?.executable)
    }
}
