//! [`CheckOptions`]: the selected rules, and the limits of the rules on sizes.

use super::error::CheckError;
use super::selection::RuleSelection;
use crate::recipe::ResolvedCheck;
use crate::settings::Size;

/// The selected rules and the limits of sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckOptions {
    /// The rules that are applied.
    pub selection: RuleSelection,
    /// The most bytes of an image on disk.
    pub max_size: Option<u64>,
    /// The most bytes of a layer on disk.
    pub max_layer_size: Option<u64>,
    /// The most bytes of a distribution on disk.
    pub max_distribution_size: Option<u64>,
}

impl CheckOptions {
    /// Selects `selection`, without limits.
    pub fn new(selection: RuleSelection) -> Self {
        Self { selection, ..Self::default() }
    }

    /// Takes the rules and limits of settings.
    ///
    /// # Errors
    /// [`CheckError::UnknownRule`] for a text that names no rule.
    pub fn of_settings(check: &ResolvedCheck, max_size: Option<Size>) -> Result<Self, CheckError> {
        Ok(Self {
            selection: RuleSelection::new(&check.select, &check.ignore)?,
            max_size: max_size.map(|size| size.0),
            max_layer_size: check.max_layer_size.map(|size| size.0),
            max_distribution_size: check.max_distribution_size.map(|size| size.0),
        })
    }
}
