//! Errors of a resolution.

use std::fmt;

use crate::relation::RelationError;

/// A request that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No suite has the package.
    #[error("package not found: `{name}`{}", did_you_mean(nearest))]
    UnknownPackage {
        /// The name.
        name: String,
        /// Names of packages that resemble it, the most similar first.
        nearest: Vec<String>,
    },
    /// The suites have the package in other versions.
    #[error("package not found: `{name}` in version {version}; available: {}", available.join(", "))]
    UnknownVersion {
        /// The package.
        name: String,
        /// The wanted version.
        version: String,
        /// The versions of the suites, from the highest to the lowest.
        available: Vec<String>,
    },
    /// A virtual package that several packages provide.
    #[error("package not found: `{name}` is a virtual package; it is provided by {}", providers.join(", "))]
    VirtualPackage {
        /// The name.
        name: String,
        /// Packages that provide it.
        providers: Vec<String>,
    },
    /// Not a wanted package.
    #[error("invalid package `{wanted}`: expected NAME or NAME=VERSION")]
    InvalidWanted {
        /// The text.
        wanted: String,
    },
    /// One package in two versions.
    #[error("cannot install `{name}` in version {version}: version {other} is {}", if *installed { "installed" } else { "wanted too" })]
    TwoVersions {
        /// The package.
        name: String,
        /// The wanted version.
        version: String,
        /// The other version.
        other: String,
        /// The other version is that of an installed package.
        installed: bool,
    },
    /// Dependencies that exclude each other, or that no package satisfies.
    #[error("cannot install the packages together:{}", lines(unmet))]
    Unsatisfiable {
        /// The reasons, each with the way from a wanted package.
        unmet: Vec<UnmetDependency>,
    },
    /// A package with a field that is not a list of relations.
    #[error("cannot read the relations of package `{package}`")]
    Relation {
        /// The package.
        package: String,
        /// The field.
        source: RelationError,
    },
    /// Too much for the solver.
    #[error("cannot resolve the packages: {reason}")]
    Limit {
        /// The limit.
        reason: &'static str,
    },
}

/// A dependency that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetDependency {
    /// The way from a wanted package to the package with the dependency: names with versions.
    pub chain: Vec<String>,
    /// The reason: `depends on libc6 (>= 2.40), but libc6 2.36-9 is available`.
    pub reason: String,
}

impl fmt::Display for UnmetDependency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chain = self.chain.iter().rev();
        if let Some(last) = chain.next() {
            write!(formatter, "{last} ")?;
        }
        formatter.write_str(&self.reason)?;
        let wanted: Vec<_> = chain.map(String::as_str).collect();
        if !wanted.is_empty() {
            write!(
                formatter,
                " ({} is needed by {})",
                self.chain[self.chain.len() - 1],
                wanted.join(", needed by ")
            )?;
        }
        Ok(())
    }
}

fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean `{}`?", names.join("`, `")),
    }
}

/// Joins reasons: one on the line of the error, more on lines of their own.
fn lines(unmet: &[UnmetDependency]) -> String {
    match unmet {
        [one] => format!(" {one}"),
        more => more.iter().flat_map(|unmet| ["\n  ".to_owned(), unmet.to_string()]).collect(),
    }
}
