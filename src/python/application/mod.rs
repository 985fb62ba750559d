//! Finds the application object of a project: the `MODULE:ATTRIBUTE` argument of uvicorn.
//!
//! The search order is that of FastAPI's own command (`fastapi run`: `main.py`, `app.py`, `api.py`,
//! the same in `app/`), then `src/` folders and the project's own package. Source is parsed, never
//! run: importing a module could have any effect on the build machine.
//!
//! [`module`] parses the source of a module, [`imports`] follows its imports to other modules.

pub mod imports;
mod installed;
pub mod module;

use std::fmt;
use std::str::FromStr;

pub use installed::find_installed;
use serde::{Deserialize, Serialize};

use self::module::{APPLICATIONS, Module};
use crate::error::Advice;

/// An application as uvicorn imports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// The module: `agencyos.main`.
    pub module: String,
    /// The object in it: `app`.
    pub attribute: String,
    /// The kind of the object: an application or a factory.
    pub kind: ApplicationKind,
    /// The folder of the source tree from which modules are imported: `src`, or empty for the root and for
    /// a module of an installed distribution.
    pub directory: String,
}

/// The kind of an application object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplicationKind {
    /// The application itself.
    Instance,
    /// A function that returns the application when called without arguments, written
    /// `MODULE:ATTRIBUTE()`.
    Factory,
}

/// Errors of finding an application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplicationError {
    /// None of the searched files exists.
    #[error("application not found: none of {} is in the source tree", .files.join(", "))]
    NoFile {
        /// The searched files.
        files: Vec<String>,
        /// Applications in other files, as `MODULE:ATTRIBUTE` or `MODULE:FUNCTION()`.
        proposed: Vec<String>,
    },
    /// The searched files define no application.
    #[error("application not found: {} {} no FastAPI() at the top level", .files.join(", "), if .files.len() == 1 { "has" } else { "have" })]
    NoObject {
        /// The files.
        files: Vec<String>,
        /// Functions in them that make an application, as `MODULE:FUNCTION()`, or else applications in
        /// other files.
        proposed: Vec<String>,
    },
    /// The module does not define the object.
    #[error("application `{application}` not found: {file} does not define `{attribute}`")]
    NoAttribute {
        /// The application, as given.
        application: String,
        /// The module's file.
        file: String,
        /// The missing name.
        attribute: String,
        /// Similar names in the module, and applications, as `MODULE:ATTRIBUTE` or
        /// `MODULE:FUNCTION()`; the likeliest first.
        suggestions: Vec<String>,
    },
    /// `MODULE:ATTRIBUTE()` of an object that is the application already.
    #[error(
        "cannot call `{application}`: {file} defines it as an application, not as a function that makes one"
    )]
    NotAFactory {
        /// The application, without the call.
        application: String,
        /// The module's file.
        file: String,
    },
    /// A factory that a server cannot call without arguments.
    #[error("cannot call `{application}`: {attribute} in {file} {reason}")]
    Uncallable {
        /// The application, as given.
        application: String,
        /// The function.
        attribute: String,
        /// The module's file.
        file: String,
        /// The reason.
        reason: String,
    },
    /// The text is not `MODULE:ATTRIBUTE`.
    #[error("invalid application `{0}`")]
    Syntax(String),
    /// The module is neither in the source tree nor in an installed distribution.
    #[error("application `{application}` not found: {} {} not in the source tree, and no distribution has the module", .searched.join(" or "), if .searched.len() == 1 { "is" } else { "are" })]
    NoModule {
        /// The application, as given.
        application: String,
        /// The files searched for the module.
        searched: Vec<String>,
    },
    /// The module is in an installed distribution that is not in the image.
    #[error("application `{application}` not found: its distribution {distribution} is not in the image")]
    Excluded {
        /// The application, as given.
        application: String,
        /// The name of the distribution.
        distribution: String,
    },
}

impl Advice for ApplicationError {
    fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Syntax(_) => "write MODULE:ATTRIBUTE, such as app.main:app, or MODULE:FUNCTION() for a function that makes it",
                Self::NoModule { .. } => {
                    "correct the name, install the distribution that has the module, or include the file: `ipo-oci context --why FILE` names the line of .dockerignore that excludes it"
                }
                Self::NoObject { proposed, .. } | Self::NoFile { proposed, .. } if !proposed.is_empty() => {
                    return Some(format!(
                        "name it with --app, or as app in [tool.ipo-oci]: {}",
                        quoted(proposed)
                    ));
                }
                Self::NoAttribute { suggestions, .. } if !suggestions.is_empty() => {
                    return Some(format!("use {}", quoted(suggestions)));
                }
                Self::Excluded { distribution, .. } => {
                    return Some(format!("declare {distribution} as a dependency of the project"));
                }
                Self::NotAFactory { application, .. } => return Some(format!("use `{application}`")),
                Self::Uncallable { .. } => {
                    "give each parameter a default, or add a function without parameters that calls it"
                }
                Self::NoAttribute { .. } => "name an object that the module defines, or the module that defines it",
                _ => "name it with --app MODULE:ATTRIBUTE, or with app = \"MODULE:ATTRIBUTE\" in [tool.ipo-oci]",
            }
            .to_owned(),
        )
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.attribute)
    }
}

/// A source tree to search.
pub trait SourceTree {
    /// Returns true if `path`, relative to the tree's root, is a file of the image.
    fn has(&self, path: &str) -> bool;

    /// Returns the text of a file, or `None` if it cannot be read as UTF-8.
    fn text(&self, path: &str) -> Option<String>;

    /// Returns the names of the folders directly in `folder` (`""` for the root), sorted.
    fn folders(&self, folder: &str) -> Vec<String>;

    /// Returns the paths of all modules, sorted.
    fn modules(&self) -> Vec<String>;
}

/// The files that FastAPI's command searches, in its order.
const FASTAPI_FILES: [&str; 6] = ["main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py"];

/// Names of folders whose applications are not proposed.
const NO_SERVICE: [&str; 6] = ["test", "tests", "docs", "docs_src", "examples", "migrations"];
/// Maximum number of modules searched for applications to propose.
const MOST_READ: usize = 2000;
/// Maximum number of proposed applications.
const MOST_PROPOSED: usize = 5;

/// Finds the application: `named`, or the first one in the usual files.
///
/// `project` is the project's name, or empty; the package of that name is searched as well.
pub fn find(
    sources: &dyn SourceTree,
    named: Option<&str>,
    project: &str,
) -> Result<Application, ApplicationError> {
    if let Some(named) = named {
        return find_named(sources, named);
    }
    let mut without = Vec::new();
    let mut factories = Vec::new();
    let mut served = Vec::new();
    let candidates = candidates(sources, project);
    for path in candidates.iter().filter(|path| sources.has(path)) {
        let (directory, module) = module_of(sources, path);
        let Some(found) = sources.text(path).and_then(|text| Module::read(&text)) else {
            without.push(path.clone());
            continue;
        };
        if let Some(attribute) = found.application() {
            let attribute = attribute.to_owned();
            return Ok(Application { module, attribute, kind: ApplicationKind::Instance, directory });
        }
        served.extend(found.served);
        factories.extend(found.factories.into_iter().map(|function| {
            let (module, directory) = (module.clone(), directory.clone());
            let application =
                Application { module, attribute: function.name, kind: ApplicationKind::Factory, directory };
            (application, function.is_certain)
        }));
        without.push(path.clone());
    }
    let mut certain = factories.iter().filter(|(_, is_certain)| *is_certain);
    // Exactly one function makes an application, and no object is one.
    if let (Some((application, _)), None) = (certain.next(), certain.next()) {
        return Ok(application.clone());
    }
    // A program in the usual files names it: `uvicorn.run("pkg.web:app")`.
    served.dedup();
    if let [only] = &served[..]
        && let Ok(application) = find_named(sources, only)
    {
        return Ok(application);
    }
    factories.sort_by_key(|(_, is_certain)| !is_certain);
    let mut proposed: Vec<String> =
        factories.iter().map(|(application, _)| application.reference()).collect();
    if proposed.is_empty() {
        proposed = elsewhere(sources);
    }
    Err(if without.is_empty() {
        ApplicationError::NoFile { files: FASTAPI_FILES.map(str::to_owned).to_vec(), proposed }
    } else {
        ApplicationError::NoObject { files: without, proposed }
    })
}

/// Lists applications in all modules of the tree, as `MODULE:ATTRIBUTE` or `MODULE:FUNCTION()`.
fn elsewhere(sources: &dyn SourceTree) -> Vec<String> {
    let is_service = |path: &String| !path.split('/').any(|folder| NO_SERVICE.contains(&folder));
    let mut proposed = Vec::new();
    for path in sources.modules().into_iter().filter(is_service).take(MOST_READ) {
        let Some(text) = sources.text(&path) else { continue };
        // Skips modules without a constructor before the costly parse.
        if !APPLICATIONS.iter().any(|class| text.contains(class)) {
            continue;
        }
        let Some(found) = Module::read(&text) else { continue };
        let (directory, module) = module_of(sources, &path);
        let makes = found.factories.iter().find(|function| function.is_certain);
        let object = found.application().filter(|_| makes.is_some() || !found.applications.is_empty());
        let (attribute, kind) = match (object, makes) {
            (Some(object), _) => (object.to_owned(), ApplicationKind::Instance),
            (None, Some(function)) => (function.name.clone(), ApplicationKind::Factory),
            (None, None) => continue,
        };
        let application = Application { module, attribute, kind, directory };
        let reference = application.reference();
        if find_named(sources, &reference).is_ok_and(|found| found == application) {
            proposed.push(reference);
        } else if let Some(stem) = path.strip_suffix(".py") {
            // Its directory is a namespace package.
            let module = stem.strip_prefix("src/").unwrap_or(stem).replace('/', ".");
            proposed.push(Application { module, ..application }.reference());
        }
        if proposed.len() == MOST_PROPOSED {
            break;
        }
    }
    proposed
}

/// Lists every file that may hold the application, the likeliest first, without duplicates.
fn candidates(sources: &dyn SourceTree, project: &str) -> Vec<String> {
    let package = project.to_lowercase().replace(['-', '.', ' '], "_");
    let mut folders = vec![String::new(), "src/".to_owned()];
    let named = [format!("{package}/"), format!("src/{package}/")];
    let below_src = sources.folders("src").into_iter().map(|folder| format!("src/{folder}/"));
    let below_root =
        sources.folders("").into_iter().filter(|name| name != "src").map(|folder| format!("{folder}/"));
    let packages = named
        .into_iter()
        .filter(|_| !package.is_empty())
        .chain(below_src)
        .chain(below_root.filter(|folder| sources.has(&format!("{folder}__init__.py"))));
    let mut candidates: Vec<String> =
        folders.drain(..).flat_map(|folder| FASTAPI_FILES.map(|path| format!("{folder}{path}"))).collect();
    for folder in packages {
        for name in ["main.py", "app.py", "api.py", "__init__.py"] {
            candidates.push(format!("{folder}{name}"));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    candidates.retain(|place| seen.insert(place.clone()));
    candidates
}

/// Finds the module of `MODULE:ATTRIBUTE` in the root or in `src`.
fn find_named(sources: &dyn SourceTree, named: &str) -> Result<Application, ApplicationError> {
    let mut application: Application = named.parse()?;
    let relative = application.module.replace('.', "/");
    let mut searched = Vec::new();
    for directory in ["", "src"] {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        for file in [format!("{prefix}{relative}.py"), format!("{prefix}{relative}/__init__.py")] {
            if sources.has(&file) {
                directory.clone_into(&mut application.directory);
                check(sources, &application, &file)?;
                return Ok(application);
            }
            if directory.is_empty() || sources.folders("").iter().any(|name| name == directory) {
                searched.push(file);
            }
        }
    }
    // The member of a workspace: one directory of the tree has the module.
    let ends = [format!("/{relative}.py"), format!("/{relative}/__init__.py")];
    let is_module = |path: &String| ends.iter().any(|end| path.ends_with(end));
    if let [file] = &sources.modules().into_iter().filter(is_module).collect::<Vec<_>>()[..]
        && let (directory, module) = module_of(sources, file)
        && module == application.module
    {
        application.directory = directory;
        check(sources, &application, file)?;
        return Ok(application);
    }
    Err(ApplicationError::NoModule { application: named.to_owned(), searched })
}

/// Returns true if a module or package at the root of the tree hides the installed distributions from
/// `import` of the module in `named`: only namespace packages are merged.
pub fn shadows(sources: &dyn SourceTree, named: &str) -> bool {
    let first = named.split(['.', ':']).next().unwrap_or_default();
    sources.has(&format!("{first}.py")) || sources.has(&format!("{first}/__init__.py"))
}

/// Refuses an application that the module in `file` certainly does not define.
fn check(sources: &dyn SourceTree, application: &Application, file: &str) -> Result<(), ApplicationError> {
    let attribute = application.attribute.split('.').next().unwrap_or_default();
    let Some(module) = sources.text(file).and_then(|text| Module::read(&text)) else { return Ok(()) };
    // A package has its submodules as attributes once they are imported.
    let is_module = file.strip_suffix("__init__.py").is_some_and(|package| {
        sources.has(&format!("{package}{attribute}.py"))
            || sources.folders(package.trim_end_matches('/')).iter().any(|folder| folder == attribute)
    });
    let is_called = application.kind == ApplicationKind::Factory && attribute == application.attribute;
    if is_called && module.is_instance(attribute) {
        return Err(ApplicationError::NotAFactory {
            application: application.to_string(),
            file: file.to_owned(),
        });
    }
    if let Some(reason) = module.uncallable(attribute).filter(|_| is_called) {
        return Err(ApplicationError::Uncallable {
            application: application.reference(),
            attribute: attribute.to_owned(),
            file: file.to_owned(),
            reason: reason.to_owned(),
        });
    }
    if is_module || !module.lacks(attribute) {
        return Ok(());
    }
    let name = |attribute: &str, kind| {
        Application { attribute: attribute.to_owned(), kind, ..application.clone() }.reference()
    };
    let found = module.application().into_iter().chain(module.applications.iter().map(String::as_str));
    let mut suggestions: Vec<String> =
        found.map(|attribute| name(attribute, ApplicationKind::Instance)).collect();
    suggestions
        .extend(module.factories.iter().map(|function| name(&function.name, ApplicationKind::Factory)));
    let close = module.names.iter().map(|known| (strsim::osa_distance(known, attribute), known));
    let close = close.filter(|(distance, _)| *distance * 3 <= attribute.chars().count());
    if let Some((_, known)) = close.min() {
        let is_function = module.factories.iter().any(|function| function.name == *known);
        suggestions
            .insert(0, name(known, if is_function { ApplicationKind::Factory } else { application.kind }));
    }
    let mut seen = std::collections::BTreeSet::new();
    suggestions.retain(|name| seen.insert(name.clone()));
    Err(ApplicationError::NoAttribute {
        application: application.reference(),
        file: file.to_owned(),
        attribute: attribute.to_owned(),
        suggestions,
    })
}

impl Application {
    /// Returns the value for settings: `MODULE:ATTRIBUTE`, or `MODULE:FUNCTION()`.
    pub fn reference(&self) -> String {
        match self.kind {
            ApplicationKind::Instance => self.to_string(),
            ApplicationKind::Factory => format!("{self}()"),
        }
    }
}

impl FromStr for Application {
    type Err = ApplicationError;

    fn from_str(text: &str) -> Result<Self, ApplicationError> {
        let invalid = || ApplicationError::Syntax(text.to_owned());
        let (module, object) = text.split_once(':').ok_or_else(invalid)?;
        let (attribute, kind) = match object.strip_suffix("()") {
            Some(name) => (name, ApplicationKind::Factory),
            None => (object, ApplicationKind::Instance),
        };
        let dotted = |name: &str| name.split('.').all(is_identifier);
        if !dotted(module) || !dotted(attribute) {
            return Err(invalid());
        }
        Ok(Self {
            module: module.to_owned(),
            attribute: attribute.to_owned(),
            kind,
            directory: String::new(),
        })
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_')
}

/// Returns the folder to import from and the dotted name of the module in `path`. As in FastAPI's
/// command, parent folders belong to the name as long as they have an `__init__.py`.
fn module_of(sources: &dyn SourceTree, path: &str) -> (String, String) {
    let stem = path.strip_suffix(".py").unwrap_or(path);
    let mut parts: Vec<&str> = stem.split('/').collect();
    let mut name = match parts.pop() {
        Some("__init__") | None => Vec::new(),
        Some(stem) => vec![stem],
    };
    while !parts.is_empty() && sources.has(&format!("{}/__init__.py", parts.join("/"))) {
        name.extend(parts.pop());
    }
    name.reverse();
    (parts.join("/"), name.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    struct FakeTree(BTreeMap<&'static str, &'static str>);

    impl SourceTree for FakeTree {
        fn has(&self, path: &str) -> bool {
            self.0.contains_key(path)
        }

        fn text(&self, path: &str) -> Option<String> {
            self.0.get(path).map(|text| (*text).to_owned())
        }

        fn folders(&self, folder: &str) -> Vec<String> {
            let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            let below = self.0.keys().filter_map(|path| path.strip_prefix(prefix.as_str())?.split_once('/'));
            below.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
        }

        fn modules(&self) -> Vec<String> {
            self.0.keys().filter(|path| path.ends_with(".py")).map(|path| (*path).to_owned()).collect()
        }
    }

    fn find_in(
        files: &[(&'static str, &'static str)],
        named: Option<&str>,
    ) -> Result<(String, String), ApplicationError> {
        let found = find(&FakeTree(files.iter().copied().collect()), named, "Agency-OS")?;
        Ok((found.to_string(), found.directory))
    }

    const APP: &str = "from fastapi import FastAPI\n\napp = FastAPI()\n";

    #[test]
    fn searches_the_files_of_fastapi() {
        for (files, module, directory) in [
            (vec![("main.py", APP)], "main:app", ""),
            (vec![("app.py", APP)], "app:app", ""),
            (vec![("main.py", APP), ("app.py", APP)], "main:app", ""),
            (vec![("app/main.py", APP), ("app/__init__.py", "")], "app.main:app", ""),
            (vec![("app/main.py", APP)], "main:app", "app"),
            (vec![("src/main.py", APP)], "main:app", "src"),
            (
                vec![("src/agency_os/main.py", APP), ("src/agency_os/__init__.py", "")],
                "agency_os.main:app",
                "src",
            ),
            (vec![("src/other/main.py", APP), ("src/other/__init__.py", "")], "other.main:app", "src"),
            (vec![("agency_os/api.py", APP), ("agency_os/__init__.py", "")], "agency_os.api:app", ""),
            (vec![("service/__init__.py", APP)], "service:app", ""),
            (
                vec![("main.py", "print('cli')"), ("app/main.py", APP), ("app/__init__.py", "")],
                "app.main:app",
                "",
            ),
        ] {
            assert_eq!(
                find_in(&files, None).unwrap(),
                (module.to_owned(), directory.to_owned()),
                "{files:?}"
            );
        }
    }

    #[test]
    fn finds_the_attribute() {
        for (text, attribute) in [
            ("app = create_app()", Some("app")),
            ("api: FastAPI = FastAPI(title='x')", Some("api")),
            ("service = fastapi.FastAPI()", Some("service")),
            ("api = APIRouter()\nweb = FastAPI(\n)", Some("web")),
            ("from .factory import app", Some("app")),
            ("from fastapi import APIRouter, FastAPI as Web\nservice = Web()", Some("service")),
            ("if DEBUG:\n    app = FastAPI(debug=True)\nelse:\n    app = FastAPI()", Some("app")),
            (
                "try:\n    def f():\n        x = FastAPI()\n    web: FastAPI = FastAPI()\nfinally: ...",
                Some("web"),
            ),
            ("if __name__ == '__main__':\n    app = FastAPI()", None),
            ("run(\n    app=FastAPI(),\n)", None),
            ("run(\n    app=app\n)", None),
            ("class A:\n    app = FastAPI()", None),
            ("app = typer.Typer()", None),
            ("app = Flask(__name__)", None),
            ("app = Flask(__name__)\napp = WSGIMiddleware(app)", Some("app")),
            ("from .factory import make as app, other", Some("app")),
            ("def f():\n    app = FastAPI()", None),
            ("x = 1\ny == FastAPI()", None),
            ("application = NotFastAPI()", None),
        ] {
            let module = Module::read(text).unwrap();
            assert_eq!(module.application(), attribute, "{text}");
        }
    }

    #[test]
    fn finds_a_named_application() {
        let files = [("src/pkg/main.py", APP), ("pkg2/__init__.py", "from x import make")];
        assert_eq!(
            find_in(&files, Some("pkg.main:app")).unwrap(),
            ("pkg.main:app".to_owned(), "src".to_owned())
        );
        assert_eq!(find_in(&files, Some("pkg2:make.it()")).unwrap().0, "pkg2:make.it");
        assert!(matches!(find_in(&files, Some("none:app")), Err(ApplicationError::NoModule { .. })));
        for wrong in ["main", "main:", ":app", "a/b:app", "main:app(1)", "main.py:app:x", "ma in:app"] {
            assert!(matches!(find_in(&files, Some(wrong)), Err(ApplicationError::Syntax(_))), "{wrong}");
        }
    }

    #[test]
    fn errors_list_the_searched_files() {
        let error =
            find_in(&[("other.py", APP), ("tests/main.py", APP), ("pkg/x.py", "x")], None).unwrap_err();
        assert!(error.to_string().contains("main.py"));
        assert_eq!(error.help().unwrap(), "name it with --app, or as app in [tool.ipo-oci]: `other:app`");
        let error = find_in(&[("main.py", "x = 1")], None).unwrap_err();
        assert_eq!(
            error,
            ApplicationError::NoObject { files: vec!["main.py".to_owned()], proposed: Vec::new() }
        );
    }

    /// The layouts are those of public projects.
    #[test]
    fn applications_in_unusual_places_are_served_or_proposed() {
        let server =
            "def create_app() -> FastAPI:\n    app_ = FastAPI()\n    return app_\n\napp = create_app()\n";
        let packages = [("app/__init__.py", ""), ("app/server.py", server), ("tests/test.py", APP)];
        for (program, found) in [
            ("def main():\n    uvicorn.run(app='app.server:app', port=1)\n", Some("app.server:app")),
            ("uvicorn.run('app.server:create_app', factory=True)", Some("app.server:create_app()")),
            ("uvicorn.run('app.nowhere:app')", None),
            ("subprocess.run('a:b')\nuvicorn.run(app)", None),
        ] {
            let files = [&[("main.py", program)], &packages[..]].concat();
            let files = FakeTree(files.into_iter().collect());
            match (find(&files, None, "x"), found) {
                (Ok(application), Some(found)) => assert_eq!(application.reference(), found),
                (Err(error), None) => {
                    assert!(error.help().unwrap().ends_with(": `app.server:app`"), "{error:?}");
                }
                (other, _) => panic!("{program}: {other:?}"),
            }
        }
    }

    #[test]
    fn finds_modules_of_workspace_members() {
        let files = [
            ("packages/api/src/api/__init__.py", ""),
            ("packages/api/src/api/main.py", APP),
            ("a/twice.py", APP),
            ("b/twice.py", APP),
        ];
        let found = find_in(&files, Some("api.main:app")).unwrap();
        assert_eq!(found, ("api.main:app".to_owned(), "packages/api/src".to_owned()));
        assert!(matches!(find_in(&files, Some("twice:app")), Err(ApplicationError::NoModule { .. })));
        let help = find_in(&files, None).unwrap_err().help().unwrap();
        assert!(
            ["`a.twice:app`", "`b.twice:app`", "`api.main:app`"].iter().all(|name| help.contains(name)),
            "{help}"
        );
    }

    #[test]
    fn an_application_is_not_called() {
        let files = [("main.py", APP), ("both.py", "app = FastAPI()\ndef app():\n    return FastAPI()\n")];
        let error = find_in(&files, Some("main:app()")).unwrap_err();
        assert_eq!(error.help().unwrap(), "use `main:app`");
        assert!(find_in(&files, Some("both:app()")).is_ok());
    }

    #[test]
    fn takes_the_only_factory() {
        let make = "def create_app():\n    return FastAPI()\n";
        let found = find(&FakeTree([("src/pkg/main.py", make)].into()), None, "x").unwrap();
        assert_eq!((found.reference(), &*found.directory), ("main:create_app()".to_owned(), "src/pkg"));
        // An application takes precedence over a factory.
        let files = [("main.py", make), ("app.py", APP)];
        assert_eq!(find_in(&files, None).unwrap().0, "app:app");
        for (files, proposed) in [
            (vec![("main.py", make), ("app.py", make)], vec!["main:create_app()", "app:create_app()"]),
            (vec![("main.py", "def get_app():\n    return other()")], vec!["main:get_app()"]),
        ] {
            let error = find_in(&files, None).unwrap_err();
            let help = error.help().unwrap();
            assert!(proposed.iter().all(|name| help.contains(name)), "{help}");
        }
    }

    #[test]
    fn refuses_a_factory_that_needs_arguments() {
        for (text, reason) in [
            ("def make(settings): ...", "needs the argument `settings`"),
            ("def make(*, debug): ...", "needs the argument `debug`"),
            ("async def make(): ...", "is async"),
        ] {
            let error = find_in(&[("main.py", text)], Some("main:make()")).unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
        for text in [
            "def make(debug=False, *args, **more): ...",
            "@injected\ndef make(settings): ...",
            "def make(settings): ...\nmake = partial(make, None)",
            "def make(settings): ...\ndef make(): ...",
            "try:\n    from x import make\nexcept ImportError:\n    def make(settings): ...",
        ] {
            assert!(find_in(&[("main.py", text)], Some("main:make()")).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_an_undefined_object() {
        for (text, named, suggestions) in [
            (APP, "main:nope", vec!["main:app"]),
            (APP, "main:ap", vec!["main:app"]),
            (
                "service = Starlette()\ndef create_app(): ...",
                "main:app",
                vec!["main:service", "main:create_app()"],
            ),
            ("def create_app(): ...", "main:create_ap()", vec!["main:create_app()"]),
            ("def create_app(): ...", "main:create_ap", vec!["main:create_app()"]),
            ("", "main:app", vec![]),
        ] {
            let Err(ApplicationError::NoAttribute { suggestions: found, .. }) =
                find_in(&[("main.py", text)], Some(named))
            else {
                panic!("{text:?} has {named}");
            };
            assert_eq!(found, suggestions, "{text}");
        }
        for (text, named) in [
            ("from .x import *", "main:nope"),
            ("if x:\n    nope = 1", "main:nope"),
            ("import x.nope", "main:x.nope"),
            ("def nope(): ...", "main:nope()"),
            ("def", "main:nope"),
        ] {
            assert!(find_in(&[("main.py", text)], Some(named)).is_ok(), "{text}");
        }
        let files = [("pkg/__init__.py", ""), ("pkg/web.py", APP), ("pkg/sub/web.py", APP)];
        for named in ["pkg:web.app", "pkg:sub.web"] {
            assert!(find_in(&files, Some(named)).is_ok(), "{named}");
        }
    }

    proptest! {
        #[test]
        fn parses_any_source(text in "(app|api|x|FastAPI|[ =:.(),\n]|from |import )*") {
            let _ = text.parse::<Application>();
        }
    }
}
