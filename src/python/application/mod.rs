//! Finds the application object of a project: the `MODULE:ATTRIBUTE` argument of a server.
//!
//! The search order is that of FastAPI's own command (`fastapi run`: `main.py`, `app.py`, `api.py`,
//! the same in `app/`), then `src/` folders and the project's own package, then other usual names
//! (`wsgi.py`, `server.py`), then all modules. Source is parsed, never run: importing a module could
//! have any effect on the build machine.
//!
//! [`module`] parses the source of a module, [`imports`] follows its imports to other modules,
//! [`resolve`] follows a value to the constructor of a [`framework`].

mod error;
pub mod framework;
pub mod imports;
mod installed;
pub mod module;
pub mod resolve;
pub mod signals;
#[cfg(test)]
pub(crate) mod testing;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

pub use error::ApplicationError;
pub use installed::find_installed;
use serde::{Deserialize, Serialize};

use self::framework::{Framework, Interface, MARKERS};
use self::module::{Expression, Module};
use self::resolve::{Constructed, Resolver};
use crate::parallel;

/// An application as a server imports it.
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
    /// The constructor that makes it, if the source shows one.
    pub constructor: Option<Constructor>,
}

/// The constructor of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constructor {
    /// The framework.
    pub framework: Framework,
    /// The interface to a server.
    pub interface: Interface,
    /// The file of the statement with the constructor, relative to the source tree.
    pub file: String,
    /// The line of the statement, from 1.
    pub line: usize,
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

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.attribute)
    }
}

/// A source tree to search.
pub trait SourceTree: Sync {
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

/// Usual names of functions that make an application.
const FACTORIES: [&str; 10] = [
    "create_app",
    "make_app",
    "get_app",
    "build_app",
    "create_application",
    "make_application",
    "get_application",
    "build_application",
    "app_factory",
    "application_factory",
];

/// Names of folders and files whose applications are not proposed.
pub(crate) const NO_SERVICE: [&str; 12] = [
    "test",
    "tests",
    "testing",
    "docs",
    "docs_src",
    "example",
    "examples",
    "migrations",
    "scripts",
    "benchmarks",
    "conftest.py",
    "setup.py",
];
/// Words in names of modules that make an application for another purpose than to serve it.
const HELPERS: [&str; 11] =
    ["doc", "docs", "openapi", "helper", "test", "tests", "example", "demo", "benchmark", "mock", "fake"];
/// Maximum number of modules searched for applications to propose.
const MOST_READ: usize = 2000;
/// Maximum number of modules at the root searched for an application.
const MOST_AT_ROOT: usize = 100;
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
    let resolver = Resolver::new(sources);
    match named {
        Some(named) => find_named(&resolver, named),
        None => find_unnamed(&resolver, project, SearchExtent::AllModules),
    }
}

/// Finds the application in the usual files alone.
pub fn find_usual(sources: &dyn SourceTree, project: &str) -> Result<Application, ApplicationError> {
    find_unnamed(&Resolver::new(sources), project, SearchExtent::UsualFiles)
}

/// Returns the applications in the usual files that other constructors make than `chosen`, in the order of
/// belief.
pub fn alternatives(sources: &dyn SourceTree, project: &str, chosen: &Application) -> Vec<Application> {
    let resolver = Resolver::new(sources);
    let usual = candidates(sources, project);
    let files = usual.iter().cloned().chain(less_usual(&usual)).filter(|path| sources.has(path));
    let place = |constructor: &Constructor| (constructor.file.clone(), constructor.line);
    let mut seen: Vec<(String, usize)> = chosen.constructor.iter().map(place).collect();
    let mut found = Vec::new();
    for application in files.filter_map(|path| instance_in(&resolver, &path, Certainty::Constructed)) {
        let Some(at) = application.constructor.as_ref().map(place).filter(|at| !seen.contains(at)) else {
            continue;
        };
        seen.push(at);
        found.push(application);
    }
    found.truncate(MOST_PROPOSED);
    found
}

/// The extent of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SearchExtent {
    /// The usual files.
    UsualFiles,
    /// The usual files, then all modules.
    AllModules,
}

/// Finds the application in the usual files, then in all modules.
fn find_unnamed(
    resolver: &Resolver<'_>,
    project: &str,
    extent: SearchExtent,
) -> Result<Application, ApplicationError> {
    let sources = resolver.tree;
    let mut without = Vec::new();
    let mut factories = Vec::new();
    let mut served = Vec::new();
    let candidates = candidates(sources, project);
    for path in candidates.iter().filter(|path| sources.has(path)) {
        if let Some(application) = instance_in(resolver, path, Certainty::Possible) {
            return Ok(application);
        }
        served.extend(resolver.module(path).map(|module| module.served.clone()).into_iter().flatten());
        factories.extend(factories_in(resolver, path));
        without.push(path.clone());
    }
    // A program in the usual files names it: `uvicorn.run("pkg.web:app")`.
    served.dedup();
    if let [only] = &served[..]
        && let Ok(application) = find_named(resolver, only)
    {
        return Ok(application);
    }
    for path in less_usual(&candidates).iter().filter(|path| sources.has(path)) {
        if let Some(application) = instance_in(resolver, path, Certainty::Constructed) {
            return Ok(application);
        }
    }
    if let Some(application) = only_root_instance(resolver) {
        return Ok(application);
    }
    let certain = || factories.iter().filter(|factory| factory.constructor.is_some());
    // Exactly one function makes an application, and no object is one.
    if let (Some(application), None) = (certain().next(), certain().nth(1)) {
        return Ok(application.clone());
    }
    if extent == SearchExtent::AllModules {
        let others = less_usual(&candidates).into_iter().filter(|path| sources.has(path));
        let others: Vec<Application> = others.flat_map(|path| factories_in(resolver, &path)).collect();
        let searched = if certain().next().is_some() { &factories } else { &others };
        if let Some(application) = only_usual_factory(searched) {
            return Ok(application.clone());
        }
    }
    factories.sort_by_key(|factory| factory.constructor.is_none());
    let mut proposed: Vec<String> = factories.iter().map(Application::reference).collect();
    if proposed.is_empty() && extent == SearchExtent::AllModules {
        let found = elsewhere(resolver);
        if let [only] = &found[..]
            && find_named(resolver, &only.reference()).is_ok()
        {
            return Ok(only.clone());
        }
        proposed = found.iter().map(Application::reference).collect();
    }
    let unparsed = without.iter().find_map(|file| {
        let (line, reason) = resolver.module(file)?.syntax_error.clone()?;
        Some(ApplicationError::Unparsed { file: file.clone(), line, reason })
    });
    if let Some(error) = unparsed.filter(|_| proposed.is_empty()) {
        return Err(error);
    }
    Err(if without.is_empty() {
        ApplicationError::NoFile { files: FASTAPI_FILES.map(str::to_owned).to_vec(), proposed }
    } else {
        ApplicationError::NoObject { files: without, proposed }
    })
}

/// Returns the only function with a usual name among those with a constructor: `create_app` beside
/// `create_docker_app`.
fn only_usual_factory(factories: &[Application]) -> Option<&Application> {
    let is_usual = |factory: &&Application| {
        factory.constructor.is_some() && FACTORIES.contains(&factory.attribute.as_str())
    };
    let mut usual = factories.iter().filter(is_usual);
    let first = usual.next()?;
    usual.next().is_none().then_some(first)
}

/// Returns the application of the only module at the root that has one, by any name: `autoapp.py`.
fn only_root_instance(resolver: &Resolver<'_>) -> Option<Application> {
    let modules = resolver.tree.modules();
    let root = modules.iter().filter(|path| !path.contains('/') && !NO_SERVICE.contains(&path.as_str()));
    let mut found = root
        .take(MOST_AT_ROOT)
        .filter(|path| resolver.tree.text(path).is_some_and(|text| text.contains("app")))
        .filter_map(|path| instance_in(resolver, path, Certainty::Constructed));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The certainty that a name is an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// Its value leads to a constructor.
    Constructed,
    /// Its value leads to a constructor, or its name is `app` or `api`, for which FastAPI searches too,
    /// and its value may be an application.
    Possible,
}

/// Returns the application object in a file: `app`, `application`, `api`, then the first one bound.
fn instance_in(resolver: &Resolver<'_>, path: &str, certainty: Certainty) -> Option<Application> {
    let module = resolver.module(path)?;
    let usual = ["app", "application", "api", "server", "asgi", "wsgi"].map(str::to_owned);
    let others = module.bindings.iter().filter(|binding| matches!(binding.value, Expression::Call { .. }));
    let others = others.map(|binding| binding.name.clone()).filter(|name| !usual.contains(name));
    for name in usual.iter().cloned().chain(others) {
        let found = resolver.value(path, &name);
        let is_possible = certainty == Certainty::Possible
            && ["app", "api"].contains(&name.as_str())
            && resolver.may_be_application(path, &name);
        if found.is_some() || is_possible {
            let is_dash = found.as_ref().is_some_and(|found| found.framework == Framework::Dash);
            let name = if is_dash { dash_server(&module, &name) } else { name };
            return Some(application_at(resolver, path, name, ApplicationKind::Instance, found));
        }
    }
    None
}

/// Returns the Flask application of a Dash object: the name bound to its attribute `server`, or the
/// attribute.
fn dash_server(module: &Module, object: &str) -> String {
    let attribute = format!("{object}.server");
    let is_server = |value: &Expression| matches!(value, Expression::Name(name) if *name == attribute);
    let mut bindings = module.bindings.iter();
    let bound = bindings.find(|binding| is_server(&binding.value));
    bound.map_or(attribute.clone(), |binding| binding.name.clone())
}

/// Returns the functions in a file that make an application and can be called without arguments. Those
/// without a constructor only have a usual name.
fn factories_in(resolver: &Resolver<'_>, path: &str) -> Vec<Application> {
    let Some(module) = resolver.module(path) else { return Vec::new() };
    let functions = module.functions.iter();
    let mut found: Vec<(usize, Application)> = functions
        .filter_map(|(name, function)| {
            let made = resolver.factory(path, name);
            // Servers of aiohttp call and await a function that is named without `()`, `aiohttp.web` with the
            // words of its command line.
            let is_awaited = made.as_ref().is_some_and(|made| made.interface == Interface::Aiohttp)
                && function.required <= 1;
            let is_callable = module.uncallable(name).is_none() || is_awaited;
            let is_candidate = is_callable && (made.is_some() || FACTORIES.contains(&name.as_str()));
            let kind = if is_awaited { ApplicationKind::Instance } else { ApplicationKind::Factory };
            is_candidate.then(|| (function.line, application_at(resolver, path, name.clone(), kind, made)))
        })
        .collect();
    found.sort_by_key(|(line, _)| *line);
    found.into_iter().map(|(_, application)| application).collect()
}

fn application_at(
    resolver: &Resolver<'_>,
    path: &str,
    attribute: String,
    kind: ApplicationKind,
    found: Option<Constructed>,
) -> Application {
    let (mut directory, mut module) = module_of(resolver.tree, path);
    if let Some(namespace) = namespace_of(resolver, path, &directory) {
        module = format!("{namespace}.{module}");
        let parent = directory.strip_suffix(&namespace.replace('.', "/")).unwrap_or_default();
        directory = parent.trim_end_matches('/').into();
    }
    Application { module, attribute, kind, directory, constructor: found.map(Constructor::from) }
}

/// Returns the namespace package that a directory is, because the module at `path` imports from it:
/// `titiler` for `titiler/application/main.py` with `from titiler.core import …`.
fn namespace_of(resolver: &Resolver<'_>, path: &str, directory: &str) -> Option<String> {
    let inside = directory.strip_prefix("src/").unwrap_or(directory);
    let namespace = Some(inside).filter(|inside| !matches!(*inside, "" | "src"))?.replace('/', ".");
    let module = resolver.module(path)?;
    let below = format!("{namespace}.");
    let mut imported = module.origins.values().filter(|origin| origin.level == 0);
    imported.any(|origin| origin.dotted.starts_with(&below)).then_some(namespace)
}

/// Lists applications in all modules of the tree: objects, or else functions that make one.
fn elsewhere(resolver: &Resolver<'_>) -> Vec<Application> {
    let sources = resolver.tree;
    let is_service = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".py");
        !path.split('/').any(|folder| NO_SERVICE.contains(&folder))
            && !name.split('_').any(|word| HELPERS.contains(&word))
    };
    let modules: Vec<String> = sources.modules().into_iter().filter(is_service).take(MOST_READ).collect();
    let (mut objects, mut functions) = (Vec::new(), Vec::new());
    for path in with_markers(sources, modules) {
        let Some(application) = instance_in(resolver, &path, Certainty::Constructed) else {
            functions
                .extend(factories_in(resolver, &path).into_iter().find(|found| found.constructor.is_some()));
            continue;
        };
        objects.push(application);
        if objects.len() == MOST_PROPOSED {
            break;
        }
    }
    functions.truncate(MOST_PROPOSED);
    let found = if objects.is_empty() { functions } else { objects };
    let known = |application: Application| {
        let is_found = find_named(resolver, &application.reference())
            .is_ok_and(|found| found.directory == application.directory);
        if is_found || application.directory.is_empty() {
            return application;
        }
        // Its directory is a namespace package.
        let directory = application.directory.trim_start_matches("src/").replace('/', ".");
        Application {
            module: format!("{directory}.{}", application.module),
            directory: String::new(),
            ..application
        }
    };
    found.into_iter().map(known).collect()
}

/// Returns the modules whose text has a constructor's name: searching is cheaper than parsing.
fn with_markers(sources: &dyn SourceTree, modules: Vec<String>) -> Vec<String> {
    let Ok(markers) = aho_corasick::AhoCorasick::new(MARKERS) else { return modules };
    let is_marked = |index: usize| {
        let text = modules.get(index).and_then(|path| sources.text(path));
        text.is_some_and(|text| markers.is_match(&text))
    };
    let marked = parallel::each(
        modules.len(),
        parallel::cores(),
        || Ok::<_, Infallible>(()),
        |(), index| Ok(is_marked(index)),
    );
    let Ok(marked) = marked;
    modules.into_iter().zip(marked).filter_map(|(path, is_marked)| is_marked.then_some(path)).collect()
}

/// Returns further usual files of the folders in `candidates`.
fn less_usual(candidates: &[String]) -> Vec<String> {
    let names = [
        "wsgi.py",
        "asgi.py",
        "application.py",
        "server.py",
        "web.py",
        "run.py",
        "service.py",
        "__main__.py",
    ];
    let mut seen = std::collections::BTreeSet::new();
    let folders = candidates.iter().map(|path| path.rsplit_once('/').map_or("", |(folder, _)| folder));
    let folders: Vec<&str> = folders.filter(|folder| seen.insert((*folder).to_owned())).collect();
    let at =
        |folder: &str, name| if folder.is_empty() { String::from(name) } else { format!("{folder}/{name}") };
    folders.into_iter().flat_map(|folder| names.map(|name| at(folder, name))).collect()
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
fn find_named(resolver: &Resolver<'_>, named: &str) -> Result<Application, ApplicationError> {
    let sources = resolver.tree;
    let mut application: Application = named.parse()?;
    let relative = application.module.replace('.', "/");
    let mut searched = Vec::new();
    for directory in ["", "src"] {
        for file in module_files(directory, &application.module) {
            if sources.has(&file) {
                directory.clone_into(&mut application.directory);
                check(resolver, &mut application, &file)?;
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
        check(resolver, &mut application, file)?;
        return Ok(application);
    }
    Err(ApplicationError::NoModule { application: named.to_owned(), searched })
}

/// Returns the files that may be a module imported from `directory`: a file, and a package.
pub fn module_files(directory: &str, module: &str) -> [String; 2] {
    let path = module.replace('.', "/");
    let base = if directory.is_empty() { path } else { format!("{directory}/{path}") };
    [format!("{base}.py"), format!("{base}/__init__.py")]
}

/// Finds the application `named` in the source tree, else with `installed` in the distributions.
pub fn find_in_source_or_installed(
    sources: &dyn SourceTree,
    named: &str,
    installed: &dyn Fn(&str) -> Result<Option<Application>, ApplicationError>,
) -> Result<Application, ApplicationError> {
    match find_named(&Resolver::new(sources), named) {
        Err(missing @ ApplicationError::NoModule { .. }) if !shadows(sources, named) => {
            installed(named)?.ok_or(missing)
        }
        found => found,
    }
}

/// Returns true if a module or package at the root of the tree hides the installed distributions from
/// `import` of the module in `named`: only namespace packages are merged.
fn shadows(sources: &dyn SourceTree, named: &str) -> bool {
    let first = named.split(['.', ':']).next().unwrap_or_default();
    module_files("", first).iter().any(|file| sources.has(file))
}

/// Refuses an application that the module in `file` certainly does not define, and adds its constructor.
fn check(resolver: &Resolver<'_>, application: &mut Application, file: &str) -> Result<(), ApplicationError> {
    let sources = resolver.tree;
    let attribute = application.attribute.split('.').next().unwrap_or_default();
    let Some(module) = resolver.module(file) else { return Ok(()) };
    let made = match application.kind {
        // Servers of aiohttp call a function without `()`.
        ApplicationKind::Instance => resolver
            .value(file, &application.attribute)
            .or_else(|| resolver.factory(file, &application.attribute)),
        ApplicationKind::Factory => resolver.factory(file, &application.attribute),
    };
    application.constructor = made.map(Constructor::from);
    // A package has its submodules as attributes once they are imported.
    let is_module = file.strip_suffix("__init__.py").is_some_and(|package| {
        sources.has(&format!("{package}{attribute}.py"))
            || sources.folders(package.trim_end_matches('/')).iter().any(|folder| folder == attribute)
    });
    let is_called = application.kind == ApplicationKind::Factory && attribute == application.attribute;
    let is_instance = module.only_value(attribute).is_some() && resolver.value(file, attribute).is_some();
    if is_called && is_instance {
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
    let found = instance_in(resolver, file, Certainty::Possible);
    let factories = factories_in(resolver, file);
    let mut suggestions: Vec<String> =
        found.iter().map(|found| name(&found.attribute, ApplicationKind::Instance)).collect();
    suggestions.extend(factories.iter().map(|found| name(&found.attribute, ApplicationKind::Factory)));
    let close = module.names.iter().map(|known| (strsim::osa_distance(known, attribute), known));
    let close = close.filter(|(distance, _)| *distance * 3 <= attribute.chars().count());
    if let Some((_, known)) = close.min() {
        let is_function = factories.iter().any(|found| found.attribute == *known);
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

impl From<Constructed> for Constructor {
    fn from(Constructed { framework, interface, file, line }: Constructed) -> Self {
        Self { framework, interface, file, line }
    }
}

impl Application {
    /// Returns the framework, if the source shows one.
    pub fn framework(&self) -> Option<Framework> {
        self.constructor.as_ref().map(|constructor| constructor.framework)
    }

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
            constructor: None,
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
    use super::testing::FakeTree;
    use super::*;
    use crate::error::Advice;
    use proptest::prelude::*;

    fn find_in(
        files: &[(&'static str, &'static str)],
        named: Option<&str>,
    ) -> Result<(String, String), ApplicationError> {
        let found = find(&FakeTree(files.iter().copied().collect()), named, "Agency-OS")?;
        Ok((found.to_string(), found.directory))
    }

    const APP: &str = "from fastapi import FastAPI\n\napp = FastAPI()\n";
    const NAMESPACED: &str = "from fastapi import FastAPI\nfrom ns.core import x\n\napp = FastAPI()\n";

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
            (vec![("ns/web/main.py", NAMESPACED), ("ns/web/__init__.py", "")], "ns.web.main:app", ""),
            (vec![("src/ns/main.py", NAMESPACED)], "ns.main:app", "src"),
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
            ("app = Flask(__name__)", Some("app")),
            ("from aiohttp import web\nservice = web.Application()", Some("service")),
            ("app = None", None),
            ("from .worker import app", Some("app")),
            ("app = Flask(__name__)\napp = WSGIMiddleware(app)", Some("app")),
            ("from .factory import make as app, other", Some("app")),
            ("def f():\n    app = FastAPI()", None),
            ("x = 1\ny == FastAPI()", None),
            ("application = NotFastAPI()", None),
        ] {
            let tree = FakeTree([("main.py", text)].into());
            let found = instance_in(&Resolver::new(&tree), "main.py", Certainty::Possible);
            assert_eq!(found.map(|found| found.attribute).as_deref(), attribute, "{text}");
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
        let error = find_in(&[("other.py", APP), ("more.py", APP), ("pkg/x.py", "x")], None).unwrap_err();
        assert!(error.to_string().contains("main.py"));
        let help = "name it with --app, or as app in [tool.ipo-oci]: `more:app` or `other:app`";
        assert_eq!(error.help().unwrap(), help);
        let error = find_in(&[("main.py", "x = 1")], None).unwrap_err();
        assert_eq!(
            error,
            ApplicationError::NoObject { files: vec!["main.py".to_owned()], proposed: Vec::new() }
        );
    }

    /// The layouts are those of public projects.
    #[test]
    fn applications_in_unusual_places_are_found_or_proposed() {
        let server =
            "def create_app() -> FastAPI:\n    app_ = FastAPI()\n    return app_\n\napp = create_app()\n";
        let packages = [("app/__init__.py", ""), ("app/server.py", server), ("tests/test.py", APP)];
        for (program, found) in [
            ("def main():\n    uvicorn.run(app='app.server:app', port=1)\n", Some("app.server:app")),
            ("uvicorn.run('app.server:create_app', factory=True)", Some("app.server:create_app()")),
            ("uvicorn.run('app.nowhere:app')", Some("app.server:app")),
            ("subprocess.run('a:b')\nuvicorn.run(app)", Some("app.server:app")),
        ] {
            let files = [&[("main.py", program)], &packages[..]].concat();
            let files = FakeTree(files.into_iter().collect());
            assert_eq!(find(&files, None, "x").unwrap().reference(), found.unwrap(), "{program}");
        }
        let two = [("a/one.py", APP), ("deep/in/two.py", APP), ("tests/app.py", APP), ("none.py", "x = 1")];
        let help = find_in(&two, None).unwrap_err().help().unwrap();
        assert!(help.contains("`one:app` or `two:app`") && !help.contains("tests"), "{help}");
        let found = find_in(&[("deep/in/two.py", APP)], None).unwrap();
        assert_eq!(found, ("two:app".to_owned(), "deep/in".to_owned()));
        // Usual names of other frameworks follow those of FastAPI.
        let flask = "from flask import Flask\napp = Flask('x')";
        assert_eq!(find_in(&[("wsgi.py", flask), ("flasky.py", flask)], None).unwrap().0, "wsgi:app");
        assert_eq!(find_in(&[("wsgi.py", flask), ("main.py", APP)], None).unwrap().0, "main:app");
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
        for (files, expected) in [
            (
                vec![(
                    "main.py",
                    "def create_app():\n    return FastAPI()\ndef create_docker_app():\n    return FastAPI()\n",
                )],
                "main:create_app()",
            ),
            (
                vec![("pkg/__init__.py", ""), ("pkg/server.py", make), ("pkg/web/reload.py", APP)],
                "pkg.server:create_app()",
            ),
        ] {
            assert_eq!(
                find(&FakeTree(files.into_iter().collect()), None, "x").unwrap().reference(),
                expected
            );
        }
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
