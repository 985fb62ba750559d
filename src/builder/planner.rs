//! [`EnvironmentPlanner`]: the inputs of an environment plan. `environment_plan.rs` plans Python and
//! its distributions, `system.rs` the files of the system.

use std::ffi::OsStr;
use std::path::Path;

use super::base::ResolvedBase;
use crate::plan::extra::ExtraEntries;
use crate::platform::Platform;
use crate::python::bytecode::BytecodeCheck;
use crate::recipe::Recipe;
use crate::system::Account;

/// The inputs of an environment plan.
pub(super) struct EnvironmentPlanner<'a> {
    /// The recipe without names and settings of the process, see `without_process_settings`.
    pub(super) recipe: &'a Recipe,
    /// The project's directory as given.
    pub(super) given: &'a Path,
    /// The project's directory without links.
    pub(super) root: &'a Path,
    /// The environment's directory.
    pub(super) folder: &'a Path,
    pub(super) wanted: &'a Platform,
    pub(super) account: Account,
    /// Search path for another Python.
    pub(super) search_path: &'a OsStr,
    pub(super) home: Option<&'a Path>,
    pub(super) base: Option<&'a ResolvedBase>,
    /// The layers that a program adds. The plan depends on everything but the bytes of their files.
    pub(super) extra: &'a [ExtraEntries],
    /// Extent of the checks on an installer's bytecode. Affects no result, except as an error.
    pub(super) check: BytecodeCheck,
    /// Cache of bytecode. Affects no result.
    pub(super) cache: &'a Path,
    /// Temporary directory for uncached files. Affects no result.
    pub(super) work: &'a Path,
}
