//! [`Distributions`]: the distributions among which a server is chosen.

use std::collections::BTreeSet;

/// The distributions of an environment or of a declaration, by normalized names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Distributions {
    included: BTreeSet<String>,
    excluded: BTreeSet<String>,
    is_unknown: bool,
}

impl Distributions {
    /// Returns the distributions of the image, and those that are installed and excluded.
    pub(crate) fn new<'a>(
        included: impl IntoIterator<Item = &'a String>,
        excluded: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        Self {
            included: included.into_iter().cloned().collect(),
            excluded: excluded.into_iter().cloned().collect(),
            is_unknown: false,
        }
    }

    /// Returns distributions of which nothing is known: each one may be there.
    pub(crate) fn unknown() -> Self {
        Self { is_unknown: true, ..Self::default() }
    }

    /// Returns true if the image has the distribution.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.is_unknown || self.included.contains(name)
    }

    /// Returns true if nothing is known of the distributions.
    pub(crate) fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// Returns true if the distribution is installed, but not in the image.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.excluded.contains(name)
    }
}

#[cfg(test)]
impl<const N: usize> From<[&str; N]> for Distributions {
    fn from(names: [&str; N]) -> Self {
        Self::new(&names.map(str::to_owned), &[])
    }
}
