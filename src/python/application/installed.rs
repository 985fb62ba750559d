//! Finds a named application in the installed distributions of an environment.
//!
//! Modules are resolved as by CPython's `FileFinder` (`Lib/importlib/_bootstrap_external.py`): a
//! package, an extension module, source, then bytecode. The source tree precedes the distributions
//! in `sys.path`, and is searched by [`super::find`].

use std::collections::{BTreeMap, BTreeSet};

use super::resolve::Resolver;
use super::{Application, ApplicationError, SourceTree, check};
use crate::python::Venv;
use crate::python::environment::listing::{ListingEntry, has_extension, read_text};

/// Maximum size in bytes of a module that is parsed.
const MODULE_LIMIT: u64 = 4 << 20;

/// Finds the application `named` in the distributions of `venv`. `included` are the normalized names
/// of those in the image.
///
/// Returns `None` if no distribution has the module.
///
/// # Errors
/// If the distribution with the module is not in the image, or the module certainly does not define
/// the application.
pub fn find_installed(
    venv: &Venv,
    included: &BTreeSet<String>,
    named: &str,
) -> Result<Option<Application>, ApplicationError> {
    let mut application: Application = named.parse()?;
    for site in &venv.site_packages {
        let packages = InstalledModules { venv, site };
        let Some(file) = packages.module(&application.module.replace('.', "/")) else { continue };
        let place = packages.place(&file);
        let mut owners =
            venv.distributions.iter().filter(|owner| owner.files.contains_key(&place)).peekable();
        // A file without an owner is in the image.
        if let Some(owner) = owners.peek().map(|owner| owner.metadata.name.clone())
            && !owners.any(|owner| included.contains(&*owner.name))
        {
            return Err(ApplicationError::Excluded { application: named.to_owned(), distribution: owner });
        }
        check(&Resolver::new(&packages), &mut application, &file)?;
        return Ok(Some(application));
    }
    Ok(None)
}

/// A directory of packages. Paths are relative to it.
struct InstalledModules<'a> {
    venv: &'a Venv,
    site: &'a str,
}

impl InstalledModules<'_> {
    /// Returns the path below the environment.
    fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.site)
    }

    /// Returns the file of the module at `path`, without its extension.
    fn module(&self, path: &str) -> Option<String> {
        self.loaded(&format!("{path}/__init__")).or_else(|| self.loaded(path))
    }

    /// Returns the file that Python loads for `stem`: `stem.cpython-312-x86_64-linux-gnu.so`, `stem.so`,
    /// `stem.py` or `stem.pyc`.
    fn loaded(&self, stem: &str) -> Option<String> {
        let extensions = self.below(&format!("{stem}."));
        let extension = extensions.keys().find(|path| has_extension(path, "so")).cloned();
        let others = || [format!("{stem}.py"), format!("{stem}.pyc")].into_iter().find(|path| self.has(path));
        extension.or_else(others)
    }

    /// Lists the files whose paths begin with `prefix`.
    fn below(&self, prefix: &str) -> BTreeMap<String, &ListingEntry> {
        let start = self.place(prefix);
        let below =
            self.venv.listing.range(start.clone()..).take_while(|(place, _)| place.starts_with(&start));
        let relative = |place: &str| place.get(self.site.len() + 1..).unwrap_or_default().to_owned();
        below.map(|(place, listed)| (relative(place), listed)).collect()
    }
}

impl SourceTree for InstalledModules<'_> {
    fn has(&self, path: &str) -> bool {
        self.venv.listing.contains_key(&self.place(path))
    }

    fn text(&self, path: &str) -> Option<String> {
        if !has_extension(path, "py") {
            return None;
        }
        read_text(self.venv.listing.get(&self.place(path))?.file()?, MODULE_LIMIT).ok()
    }

    fn folders(&self, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = self.below(&prefix);
        let names = below.keys().filter_map(|path| path.strip_prefix(&prefix)?.split_once('/'));
        names.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn modules(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Advice as _;
    use crate::python::testing::FakeVenv;

    fn find(named: &str, included: &[&str]) -> Result<Option<String>, ApplicationError> {
        let mut fake = FakeVenv::new();
        let app = "app = FastAPI()\ndef make(settings): ...\n";
        // Two distributions share a namespace.
        fake.install(
            "titiler.core",
            "1",
            &[],
            &[("titiler/core/__init__.py", ""), ("titiler/core/web.py", app)],
        );
        let application = [("titiler/application/__init__.py", ""), ("titiler/application/main.py", app)];
        fake.install("titiler.application", "1", &[], &application);
        fake.install("Fast.Web", "1", &[], &[("web.abi3.so", ""), ("web.py", ""), ("old.pyc", "")]);
        fake.install("both", "1", &[], &[("both.py", ""), ("both/__init__.py", app), ("both/sub/x.py", app)]);
        fake.write(&format!("{}/loose.py", crate::python::testing::SITE), app);
        let included = included.iter().map(|name| (*name).to_owned()).collect();
        find_installed(&fake.open(), &included, named).map(|found| found.map(|found| found.reference()))
    }

    #[test]
    fn finds_modules_of_included_distributions() {
        let included = ["titiler-application", "fast-web", "both"];
        for named in [
            "titiler.application.main:app",
            "titiler.application:main.app",
            // Neither is parsed.
            "web:anything",
            "old:anything",
            // The package precedes the module of that name.
            "both:app",
            "both:sub.x",
            "both.sub.x:app",
            "loose:app",
        ] {
            assert_eq!(find(named, &included).unwrap().as_deref(), Some(named));
        }
        for named in ["titiler.main:app", "titiler:app", "nowhere:app", "titiler.application.main.app:x"] {
            assert_eq!(find(named, &included).unwrap(), None, "{named}");
        }
    }

    #[test]
    fn refuses_excluded_distributions_and_undefined_objects() {
        let error = find("titiler.core.web:app", &["titiler-application"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "application `titiler.core.web:app` not found: its distribution titiler.core is not in the image"
        );
        assert_eq!(error.help().unwrap(), "declare titiler.core as a dependency of the project");
        for (named, expected) in [
            ("both:nope", "both/__init__.py does not define `nope`"),
            ("both:app()", "defines it as an application"),
            ("both:make()", "needs the argument `settings`"),
        ] {
            let error = find(named, &["both"]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(matches!(find("both", &["both"]), Err(ApplicationError::Syntax(_))));
    }
}
