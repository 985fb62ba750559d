//! [`RequirementError`]: the error of a dependency specifier and of its marker.

/// The reason that a requirement is invalid, without the requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RequirementError(pub(crate) String);
