//! [`Distributions`]: the distributions among which a server is chosen.

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::Version;

/// Distributions that others require, as far as they decide the server: a distribution with an extra
/// or without (`""`), and the required ones.
const IMPLIED: [(&str, &str, &[&str]); 16] = [
    ("fastapi", "standard", &["uvicorn", "fastapi-cli", "starlette"]),
    ("fastapi", "all", &["uvicorn", "fastapi-cli", "starlette"]),
    ("fastapi", "", &["starlette"]),
    ("litestar", "standard", &["uvicorn"]),
    ("quart", "", &["hypercorn", "flask"]),
    ("channels", "daphne", &["daphne"]),
    ("connexion", "uvicorn", &["uvicorn"]),
    ("dash", "", &["flask"]),
    ("gradio", "", &["uvicorn", "fastapi", "starlette"]),
    ("sanic", "", &["uvloop", "httptools"]),
    ("uvicorn", "standard", &["uvloop", "httptools"]),
    ("uvicorn-worker", "", &["uvicorn", "gunicorn"]),
    ("flask-appbuilder", "", &["flask"]),
    ("djangorestframework", "", &["django"]),
    ("apiflask", "", &["flask"]),
    ("nicegui", "", &["fastapi", "uvicorn"]),
];

/// The distributions of an environment or of a declaration, by normalized names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Distributions {
    included: BTreeSet<String>,
    /// Versions by name, as far as they are known.
    versions: BTreeMap<String, String>,
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
            ..Self::default()
        }
    }

    /// Returns the distributions of an environment, with their versions.
    pub(crate) fn installed<'a>(
        included: impl Iterator<Item = (&'a String, &'a String)>,
        excluded: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        let versions: BTreeMap<String, String> =
            included.map(|(name, version)| (name.clone(), version.clone())).collect();
        let excluded = excluded.into_iter().cloned().collect();
        Self { included: versions.keys().cloned().collect(), versions, excluded, is_unknown: false }
    }

    /// Returns true if the image has an older version of the distribution.
    pub(crate) fn has_older(&self, name: &str, (major, minor): (u64, u64)) -> bool {
        let version = self.versions.get(name).and_then(|version| version.parse::<Version>().ok());
        version.is_some_and(|version| version < Version::new([major, minor]))
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

/// Returns normalized names of requirements, given with their extras, and of those that they imply.
pub(crate) fn with_implied(named: impl Iterator<Item = (String, Vec<String>)>) -> BTreeSet<String> {
    let mut pending: Vec<(String, Vec<String>)> = named.collect();
    let mut names = BTreeSet::new();
    while let Some((name, extras)) = pending.pop() {
        let implied = IMPLIED.iter().filter(|(of, extra, _)| {
            *of == name && (extra.is_empty() || extras.iter().any(|given| given == extra))
        });
        for name in implied.flat_map(|(_, _, implied)| *implied).filter(|name| !names.contains(**name)) {
            pending.push(((*name).to_owned(), Vec::new()));
        }
        names.insert(name);
    }
    names
}

#[cfg(test)]
impl<const N: usize> From<[&str; N]> for Distributions {
    fn from(names: [&str; N]) -> Self {
        Self::new(&names.map(str::to_owned), &[])
    }
}
