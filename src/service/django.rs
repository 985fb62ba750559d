//! Django projects: `manage.py`, the settings module, and the WSGI and ASGI applications.
//!
//! `manage.py` names the settings module as `django-admin startproject` writes it, and the settings
//! name the applications (`WSGI_APPLICATION`, `ASGI_APPLICATION`; Django 5.2, "Settings"). Without
//! these, the applications are in `wsgi.py` and `asgi.py` beside the settings.

use std::collections::BTreeSet;

use super::distributions::Distributions;
use super::required_variables::required_variables;
use super::static_root::StaticRoot;
use crate::python::application::SourceTree;
use crate::python::application::framework::Interface;
use crate::python::application::module::Module;

/// Most folders in which `manage.py` is searched.
const MOST_FOLDERS: usize = 200;

/// A Django project in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DjangoProject {
    /// `manage.py`, relative to the source.
    pub(super) manage: String,
    /// The line in it that names the settings module, from 1.
    pub(super) line: usize,
    /// The settings module that `manage.py` names.
    pub(super) settings: String,
    /// The applications as `MODULE:ATTRIBUTE`.
    pub(super) asgi: Option<String>,
    pub(super) wsgi: Option<String>,
}

impl DjangoProject {
    /// Finds the project of the only `manage.py` in the root or in a folder of it.
    pub(super) fn find(sources: &dyn SourceTree) -> Option<Self> {
        let mut folders = vec![String::new()];
        folders.extend(sources.folders("").into_iter().take(MOST_FOLDERS).map(|folder| format!("{folder}/")));
        let mut found = folders.iter().filter_map(|folder| Self::in_folder(sources, folder));
        let first = found.next()?;
        // The root's takes precedence over examples in folders.
        let is_clear = !first.manage.contains('/') || found.next().is_none();
        is_clear.then_some(first)
    }

    fn in_folder(sources: &dyn SourceTree, folder: &str) -> Option<Self> {
        let manage = format!("{folder}manage.py");
        if !sources.has(&manage) {
            return None;
        }
        let text = sources.text(&manage)?;
        let (line, settings) = settings_module(&text)?;
        let package = settings.split('.').next().unwrap_or_default().to_owned();
        let named = |key: &str| {
            let mut files = settings_files(sources, folder, &settings).into_iter();
            files.find_map(|file| {
                let module = Module::read(&sources.text(&file)?)?;
                let (_, value) = module.strings.into_iter().find(|(name, _)| name == key)?;
                let (module, attribute) = value.rsplit_once('.')?;
                Some(format!("{module}:{attribute}"))
            })
        };
        let usual = |name: &str| {
            let parents = settings.rsplit_once('.').map(|(parent, _)| parent.replace('.', "/"));
            let mut places = vec![package.clone()];
            places.extend(parents);
            let is_there = |at: &String| {
                ["{}.py", "{}/__init__.py"]
                    .into_iter()
                    .any(|file| sources.has(&format!("{folder}{at}/{}", file.replace("{}", name))))
            };
            let place = places.into_iter().find(is_there);
            let root = || sources.has(&format!("{folder}{name}.py")).then(|| format!("{name}:application"));
            place.map(|at| format!("{}.{name}:application", at.replace('/', "."))).or_else(root)
        };
        let existing = |application: Option<String>| {
            application.filter(|application| {
                let module = application.split(':').next().unwrap_or_default().replace('.', "/");
                sources.has(&format!("{folder}{module}.py"))
                    || sources.has(&format!("{folder}{module}/__init__.py"))
            })
        };
        let asgi = existing(named("ASGI_APPLICATION")).or_else(|| usual("asgi"));
        let wsgi = existing(named("WSGI_APPLICATION")).or_else(|| usual("wsgi"));
        Some(Self { manage, line, settings, asgi, wsgi })
    }

    /// Returns the folder of the collected static files in a settings module.
    pub(super) fn static_root(&self, sources: &dyn SourceTree, settings: &str) -> Option<StaticRoot> {
        StaticRoot::find(sources, &settings_files(sources, self.folder(), settings))
    }

    /// Returns the variables that a settings module requires of its environment.
    pub(super) fn required_variables(&self, sources: &dyn SourceTree, settings: &str) -> BTreeSet<String> {
        let files = settings_files(sources, self.folder(), settings);
        let texts = files.iter().filter_map(|file| sources.text(file));
        texts.flat_map(|text| required_variables(&text)).collect()
    }

    /// Returns the function of Django that makes the application of a project without a module for it.
    pub(super) fn own_application(distributions: &Distributions) -> (&'static str, Interface) {
        let has = |names: &[&str]| names.iter().any(|name| distributions.has(name));
        let is_asgi =
            has(&["uvicorn", "daphne", "hypercorn"]) && !has(&["gunicorn", "waitress", "uwsgi", "pyuwsgi"]);
        if is_asgi {
            ("django.core.asgi:get_asgi_application()", Interface::Asgi)
        } else {
            ("django.core.wsgi:get_wsgi_application()", Interface::Wsgi)
        }
    }

    /// Returns the settings module of the application, which often differs from that of `manage.py`.
    pub(super) fn settings_of_service(&self, sources: &dyn SourceTree) -> String {
        let applications = self.wsgi.iter().chain(&self.asgi);
        let mut of_application = applications.filter_map(|application| {
            let module = application.split(':').next()?.replace('.', "/");
            let files = ["{}.py", "{}/__init__.py"]
                .map(|file| self.folder().to_owned() + &file.replace("{}", &module));
            let text = files.into_iter().find_map(|file| sources.text(&file))?;
            settings_module(&text).map(|(_, settings)| settings)
        });
        of_application.next().unwrap_or_else(|| self.settings.clone())
    }

    /// Returns the folder of `manage.py` with a slash, or an empty text for the source's own.
    pub(super) fn folder(&self) -> &str {
        self.manage.strip_suffix("manage.py").unwrap_or_default()
    }

    /// Returns the application for the servers of the image: the WSGI application, unless only ASGI
    /// servers are there, or Channels is.
    pub(super) fn application(&self, distributions: &Distributions) -> Option<(&str, Interface)> {
        let has = |name: &str| !distributions.is_unknown() && distributions.has(name);
        let wsgi_server = ["gunicorn", "waitress", "uwsgi", "pyuwsgi"].into_iter().any(has);
        let asgi_server = ["uvicorn", "daphne", "hypercorn"].into_iter().any(has);
        let prefers_asgi = has("channels") || has("daphne") || (asgi_server && !wsgi_server);
        let asgi = self.asgi.as_deref().map(|application| (application, Interface::Asgi));
        let wsgi = self.wsgi.as_deref().map(|application| (application, Interface::Wsgi));
        if prefers_asgi { asgi.or(wsgi) } else { wsgi.or(asgi) }
    }
}

/// Returns the settings module that `manage.py` or an application sets, with its line.
pub(crate) fn settings_module(text: &str) -> Option<(usize, String)> {
    text.lines().enumerate().find_map(|(index, line)| {
        let (_, rest) = line.split_once("DJANGO_SETTINGS_MODULE")?;
        let rest = rest.trim_start_matches(['"', '\'', ']', ')', ' ', ',', '=', '(']);
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        let name = rest.get(..end).filter(|name| !name.is_empty() && !name.starts_with('.'))?;
        Some((index + 1, name.to_owned()))
    })
}

/// Returns the file of the settings module, and those of the package around it.
fn settings_files(sources: &dyn SourceTree, folder: &str, settings: &str) -> Vec<String> {
    let path = format!("{folder}{}", settings.replace('.', "/"));
    let mut files = vec![format!("{path}.py"), format!("{path}/__init__.py")];
    if let Some((package, _)) = path.rsplit_once('/') {
        files.extend(["base", "common", "defaults", "__init__"].map(|name| format!("{package}/{name}.py")));
    }
    files.extend(["base", "common", "defaults"].map(|name| format!("{path}/{name}.py")));
    files.retain(|file| sources.has(file));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::application::testing::FakeTree;

    const MANAGE: &str =
        "import os\nos.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"config.settings.local\")\n";

    #[test]
    fn finds_the_applications_of_a_project() {
        let wsgi = ("config/wsgi.py", "");
        for (files, wsgi, asgi) in [
            (vec![("manage.py", MANAGE), wsgi], Some("config.wsgi:application"), None),
            (
                vec![("manage.py", MANAGE), wsgi, ("config/asgi.py", "")],
                Some("config.wsgi:application"),
                Some("config.asgi:application"),
            ),
            (
                vec![
                    ("manage.py", MANAGE),
                    ("config/settings/base.py", "WSGI_APPLICATION = 'web.serve.app'"),
                    ("web/serve.py", ""),
                ],
                Some("web.serve:app"),
                None,
            ),
            (
                vec![("site/manage.py", MANAGE), ("site/config/wsgi.py", ""), ("docs/x.py", "")],
                Some("config.wsgi:application"),
                None,
            ),
        ] {
            let tree = FakeTree(files.iter().copied().collect());
            let found = DjangoProject::find(&tree).unwrap();
            assert_eq!((found.wsgi.as_deref(), found.asgi.as_deref()), (wsgi, asgi), "{files:?}");
            assert_eq!((found.settings.as_str(), found.line), ("config.settings.local", 2));
        }
        let two = FakeTree([("a/manage.py", MANAGE), ("b/manage.py", MANAGE)].into());
        assert_eq!(DjangoProject::find(&two), None);
    }

    #[test]
    fn the_application_names_the_settings_of_the_service() {
        let wsgi = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings.production')";
        for (wsgi, expected) in [(wsgi, "config.settings.production"), ("", "config.settings.local")] {
            let tree = FakeTree([("src/manage.py", MANAGE), ("src/config/wsgi.py", wsgi)].into());
            let project = DjangoProject::find(&tree).unwrap();
            assert_eq!(project.settings_of_service(&tree), expected);
        }
    }

    #[test]
    fn reads_the_settings_module() {
        for text in [
            "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'a.b')",
            "os.environ[\"DJANGO_SETTINGS_MODULE\"] = \"a.b\"",
            "environ.setdefault( \"DJANGO_SETTINGS_MODULE\" , \"a.b\" )",
        ] {
            assert_eq!(settings_module(text), Some((1, "a.b".to_owned())), "{text}");
        }
        assert_eq!(settings_module("DJANGO_SETTINGS_MODULE = get()"), Some((1, "get".to_owned())));
        assert_eq!(settings_module("nothing"), None);
    }

    #[test]
    fn prefers_the_interface_of_the_servers() {
        let project = DjangoProject {
            manage: String::new(),
            line: 1,
            settings: String::new(),
            asgi: Some("a:b".to_owned()),
            wsgi: Some("c:d".to_owned()),
        };
        for (distributions, application) in [
            (&["gunicorn"][..], "c:d"),
            (&["gunicorn", "uvicorn"], "c:d"),
            (&["uvicorn"], "a:b"),
            (&["gunicorn", "channels"], "a:b"),
            (&[], "c:d"),
        ] {
            let names: Vec<String> = distributions.iter().map(|name| (*name).to_owned()).collect();
            let known = Distributions::new(&names, &[]);
            assert_eq!(project.application(&known).unwrap().0, application, "{distributions:?}");
        }
    }
}
