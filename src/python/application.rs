//! Finds the application object of a project: the `MODULE:ATTRIBUTE` that uvicorn is given.
//!
//! It is found as FastAPI's own command finds it (`fastapi run`: `main.py`, `app.py`, `api.py`, the same in `app/`),
//! and then where projects with a `src/` folder or a package of their own keep it. The source is read, never run:
//! what a module does when it is imported is not a build's business.

use std::fmt;
use std::str::FromStr;

use crate::error::Advice;

/// An application as uvicorn imports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The module: `agencyos.main`.
    pub module: String,
    /// The object in it: `app`.
    pub attribute: String,
    /// Whether the object makes the application when it is called.
    pub factory: Factory,
    /// The folder of the source tree that modules are imported from: empty for the tree's root, `src`.
    pub directory: String,
}

/// Whether an object is the application or makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factory {
    /// It is the application.
    No,
    /// It is called without arguments and gives the application: written `MODULE:ATTRIBUTE()`.
    Yes,
}

/// An application that cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationError {
    /// None of the usual files is there.
    #[error("no application was found: none of {} is in the source tree", .0.join(", "))]
    NoFile(Vec<String>),
    /// Files are there, and no application in them.
    #[error("no application was found: {} {} no FastAPI() at the top level", .0.join(", "), if .0.len() == 1 { "has" } else { "have" })]
    NoObject(Vec<String>),
    /// The text is not of the form that uvicorn reads.
    #[error("`{0}` does not name an application")]
    Syntax(String),
    /// The module that was named is not in the source tree.
    #[error("application `{application}` was asked for, and {} {} not in the source tree", .looked.join(" or "), if .looked.len() == 1 { "is" } else { "are" })]
    NoModule {
        /// As it was asked for.
        application: String,
        /// The files that it could have been.
        looked: Vec<String>,
    },
}

impl Advice for ApplicationError {
    fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Syntax(_) => "write MODULE:ATTRIBUTE, such as app.main:app, or MODULE:FUNCTION() for a function that makes it",
                Self::NoModule { .. } => {
                    "check the name, and with `ipo-oci context --why FILE` that .dockerignore does not leave the file out"
                }
                _ => "name it with --app MODULE:ATTRIBUTE, or with app = \"MODULE:ATTRIBUTE\" in [tool.ipo-oci]",
            }
            .to_owned(),
        )
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.attribute)
    }
}

/// The source tree as far as it matters here.
pub trait Sources {
    /// Whether `path`, relative to the tree's root, is a file of the image.
    fn has(&self, path: &str) -> bool;

    /// Its text; `None` when it cannot be read as UTF-8.
    fn text(&self, path: &str) -> Option<String>;

    /// The names of the folders directly below `folder` (`""` for the root), sorted.
    fn folders(&self, folder: &str) -> Vec<String>;
}

/// What FastAPI's command looks for, in its order.
const USUAL: [&str; 6] = ["main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py"];

/// Finds the application: the one that is `named`, or the first that the usual places hold.
///
/// `project` is the project's name, empty where it has none; its package is looked into as well.
pub fn find(
    sources: &dyn Sources,
    named: Option<&str>,
    project: &str,
) -> Result<Application, ApplicationError> {
    if let Some(named) = named {
        return locate(sources, named);
    }
    let mut without = Vec::new();
    let places = places(sources, project);
    for path in places.iter().filter(|path| sources.has(path)) {
        let found = sources.text(path).and_then(|text| attribute_of(&text));
        if let Some(attribute) = found {
            let (directory, module) = module_of(sources, path);
            return Ok(Application { module, attribute, factory: Factory::No, directory });
        }
        without.push(path.clone());
    }
    if without.is_empty() {
        Err(ApplicationError::NoFile(USUAL.map(str::to_owned).to_vec()))
    } else {
        Err(ApplicationError::NoObject(without))
    }
}

/// Every file that may hold the application, the likeliest first, each once.
fn places(sources: &dyn Sources, project: &str) -> Vec<String> {
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
    let mut places: Vec<String> =
        folders.drain(..).flat_map(|folder| USUAL.map(|path| format!("{folder}{path}"))).collect();
    for folder in packages {
        for name in ["main.py", "app.py", "api.py", "__init__.py"] {
            places.push(format!("{folder}{name}"));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

/// Finds the module of `MODULE:ATTRIBUTE` from the root or from `src`.
fn locate(sources: &dyn Sources, named: &str) -> Result<Application, ApplicationError> {
    let mut application: Application = named.parse()?;
    let relative = application.module.replace('.', "/");
    let mut looked = Vec::new();
    for directory in ["", "src"] {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        for file in [format!("{prefix}{relative}.py"), format!("{prefix}{relative}/__init__.py")] {
            if sources.has(&file) {
                directory.clone_into(&mut application.directory);
                return Ok(application);
            }
            if directory.is_empty() || sources.folders("").iter().any(|name| name == directory) {
                looked.push(file);
            }
        }
    }
    Err(ApplicationError::NoModule { application: named.to_owned(), looked })
}

impl FromStr for Application {
    type Err = ApplicationError;

    fn from_str(text: &str) -> Result<Self, ApplicationError> {
        let wrong = || ApplicationError::Syntax(text.to_owned());
        let (module, object) = text.split_once(':').ok_or_else(wrong)?;
        let (attribute, factory) = match object.strip_suffix("()") {
            Some(name) => (name, Factory::Yes),
            None => (object, Factory::No),
        };
        let dotted = |name: &str| name.split('.').all(is_identifier);
        if !dotted(module) || !dotted(attribute) {
            return Err(wrong());
        }
        Ok(Self {
            module: module.to_owned(),
            attribute: attribute.to_owned(),
            factory,
            directory: String::new(),
        })
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_')
}

/// The folder to import from and the dotted name of the module in `path`: packages are climbed as long as they have
/// an `__init__.py`, as FastAPI's command does.
fn module_of(sources: &dyn Sources, path: &str) -> (String, String) {
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

/// The attribute that holds the application: `app`, then `api`, then whatever FastAPI() is assigned to first.
fn attribute_of(text: &str) -> Option<String> {
    let aliases: Vec<&str> = text.lines().filter_map(fastapi_alias).collect();
    let mut assigned: Vec<(&str, &str)> = text.lines().filter_map(assignment).collect();
    assigned.extend(branches(text).into_iter().filter(|(_, value)| is_fastapi(value, &aliases)));
    // What was assigned last counts: `app = Flask(…)`, then `app = WSGIMiddleware(app)`.
    let by_name = |wanted: &str| assigned.iter().rfind(|(name, _)| *name == wanted);
    // A name that is merely imported or assigned is believed when it is one of the two that FastAPI looks for.
    let imported = |wanted: &str| {
        text.lines().any(|line| {
            line.starts_with("from ")
                && line.split_once(" import ").is_some_and(|(_, names)| {
                    names.split(',').any(|name| name.split_whitespace().next_back() == Some(wanted))
                })
        })
    };
    for wanted in ["app", "api"] {
        if by_name(wanted).is_some_and(|(_, value)| !is_something_else(value)) || imported(wanted) {
            return Some(wanted.to_owned());
        }
    }
    assigned.iter().find(|(_, value)| is_fastapi(value, &aliases)).map(|(name, _)| (*name).to_owned())
}

/// `name = value` or `name: Type = value` at the top level of a module.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (left, value) = line.split_once('=')?;
    let name = left.split(':').next()?.trim_end();
    (is_identifier(name) && !value.starts_with('=')).then_some((name, value.trim()))
}

/// The assignments that stand in a branch of a module and are carried out when it is imported: below `if`, `else`,
/// `try` or `with`, and not in a function or class, nor where only a program run as such comes by.
fn branches(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    // How far a block is indented whose lines are passed over.
    let mut skipped: Option<usize> = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let statement = line.trim_start();
        let indent = line.len() - statement.len();
        if skipped.is_some_and(|block| indent > block) {
            continue;
        }
        skipped = ["def ", "async def ", "class ", "if __name__", "if TYPE_CHECKING"]
            .iter()
            .any(|start| statement.starts_with(start))
            .then_some(indent);
        // A comma ends an argument: `run(\n    app=FastAPI(),`.
        if indent > 0 && !statement.trim_end().ends_with(',') {
            found.extend(assignment(statement));
        }
    }
    found
}

/// The name that `from fastapi import FastAPI as NAME` gives it.
fn fastapi_alias(line: &str) -> Option<&str> {
    let (module, names) = line.strip_prefix("from ")?.split_once(" import ")?;
    let name = names.split(',').find_map(|name| name.trim().strip_prefix("FastAPI as "))?;
    (module.trim() == "fastapi").then(|| name.trim_end_matches(')').trim())
}

/// What `value` calls, where it begins with a call.
fn called(value: &str) -> Option<&str> {
    value
        .split_once('(')
        .map(|(called, _)| called.trim())
        .filter(|called| called.split('.').all(is_identifier))
}

fn is_fastapi(value: &str, aliases: &[&str]) -> bool {
    called(value)
        .is_some_and(|called| called.split('.').next_back() == Some("FastAPI") || aliases.contains(&called))
}

/// Whether it is a call of what is called `app` or `api` as well and cannot be served by uvicorn: a router, a command
/// line, a worker, an application of WSGI.
fn is_something_else(value: &str) -> bool {
    let known = ["APIRouter", "Typer", "Celery", "Flask"];
    called(value)
        .and_then(|called| called.split('.').next_back())
        .is_some_and(|called| known.contains(&called))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    struct Files(BTreeMap<&'static str, &'static str>);

    impl Sources for Files {
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
    }

    fn find_in(
        files: &[(&'static str, &'static str)],
        named: Option<&str>,
    ) -> Result<(String, String), ApplicationError> {
        let found = find(&Files(files.iter().copied().collect()), named, "Agency-OS")?;
        Ok((found.to_string(), found.directory))
    }

    const APP: &str = "from fastapi import FastAPI\n\napp = FastAPI()\n";

    #[test]
    fn looks_where_fastapi_looks() {
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
    fn knows_the_attribute() {
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
            assert_eq!(attribute_of(text).as_deref(), attribute, "{text}");
        }
    }

    #[test]
    fn a_named_application_is_looked_up() {
        let files = [("src/pkg/main.py", ""), ("pkg2/__init__.py", "")];
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
    fn says_what_was_looked_for() {
        assert!(find_in(&[("other.py", APP)], None).unwrap_err().to_string().contains("main.py"));
        let error = find_in(&[("main.py", "x = 1")], None).unwrap_err();
        assert_eq!(error, ApplicationError::NoObject(vec!["main.py".to_owned()]));
    }

    proptest! {
        #[test]
        fn no_source_makes_it_panic(text in "(app|api|x|FastAPI|[ =:.(),\n]|from |import )*") {
            let _ = attribute_of(&text);
            let _ = text.parse::<Application>();
        }
    }
}
