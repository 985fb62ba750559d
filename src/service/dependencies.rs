//! [`OptionalServer`]: the part of a project's optional dependencies that has its server.
//!
//! Many projects declare the server apart from their main dependencies: in a group `prod`, an extra
//! `server` or a file `requirements-prod.txt`. A part is selected if it has a usual name, or if a
//! command of the Dockerfile that installs distributions names it; others are advice.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::distributions::with_implied;
use super::hints::dockerfile::{Dockerfile, Instruction};
use super::server::ServerKind;
use crate::python::application::framework::Framework;
use crate::python::requirements::closure::{DeclaredDependencies, DependencySource, read_pyproject};
use crate::python::requirements::declaration::{Declaration, DependencySelection};
use crate::python::requirements::requirement::Requirement;
use crate::traced_fs;

/// Distributions that serve applications of any framework as libraries, without a command.
const SERVER_LIBRARIES: [&str; 2] = ["cheroot", "bjoern"];

/// Usual names of a part with the server, the likeliest first.
const NAMES: [&str; 20] = [
    "prod",
    "production",
    "deploy",
    "deployment",
    "server",
    "webserver",
    "web",
    "serve",
    "asgi",
    "wsgi",
    "docker",
    "container",
    "heroku",
    "cloud",
    "api",
    "app",
    "backend",
    "runtime",
    "standard",
    "main",
];

/// Names of parts for development.
const DEVELOPMENT: [&str; 14] = [
    "dev",
    "develop",
    "development",
    "test",
    "tests",
    "testing",
    "lint",
    "docs",
    "doc",
    "ci",
    "local",
    "debug",
    "typing",
    "e2e",
];

/// Commands that install distributions.
const INSTALLERS: [&str; 12] = [
    "pip install",
    "pip3 install",
    "pip wheel",
    "uv sync",
    "uv pip",
    "uv export",
    "poetry install",
    "poetry export",
    "pdm install",
    "pdm sync",
    "pipenv install",
    "pipenv sync",
];

/// Options of `pip install` without a value. Others may have one in the next word.
const SWITCHES: [&str; 30] = [
    "-U",
    "--upgrade",
    "-q",
    "--quiet",
    "-v",
    "--verbose",
    "-I",
    "--ignore-installed",
    "--force-reinstall",
    "--reinstall",
    "--no-cache-dir",
    "--no-cache",
    "--no-deps",
    "--no-compile",
    "--compile",
    "--compile-bytecode",
    "--no-index",
    "--no-input",
    "--no-build-isolation",
    "--no-warn-script-location",
    "--disable-pip-version-check",
    "--break-system-packages",
    "--require-hashes",
    "--use-pep517",
    "--prefer-binary",
    "--pre",
    "--user",
    "--system",
    "--isolated",
    "--no-progress",
];

/// Distributions without wheels for Linux, whose builds need the headers of a library.
const WITH_HEADERS: [&str; 7] =
    ["gdal", "mod-wsgi", "mysqlclient", "psycopg2", "pygraphviz", "python-ldap", "xmlsec"];

/// Distributions that install, build or test others.
const TOOLS: [&str; 26] = [
    "pip",
    "setuptools",
    "wheel",
    "uv",
    "poetry",
    "poetry-core",
    "pipenv",
    "pdm",
    "hatch",
    "hatchling",
    "flit",
    "virtualenv",
    "build",
    "pip-tools",
    "tox",
    "nox",
    "twine",
    "pytest",
    "coverage",
    "black",
    "ruff",
    "flake8",
    "mypy",
    "pre-commit",
    "debugpy",
    "yq",
];

/// The most requirement files that are read.
const MOST_FILES: usize = 50;

/// A part of a project's dependencies with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionalServer {
    part: DependencyPart,
    /// The distribution of the server.
    pub(crate) server: &'static str,
}

/// A part of a project's dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DependencyPart {
    Group(String),
    Extra(String),
    /// A requirement file, and those that replace the project's own selection.
    File(String, Vec<PathBuf>),
    /// A requirement that the Dockerfile installs beside the project's own.
    Requirement(String),
}

impl OptionalServer {
    /// Returns the name of the part.
    fn name(&self) -> &str {
        match &self.part {
            DependencyPart::Group(name)
            | DependencyPart::Extra(name)
            | DependencyPart::File(name, _)
            | DependencyPart::Requirement(name) => name,
        }
    }

    /// Returns the word that makes the name of the part: `prod` of `requirements/prod.txt`.
    fn word(&self) -> &str {
        match &self.part {
            DependencyPart::File(name, _) => word_of_file(name).unwrap_or_default(),
            _ => self.name(),
        }
    }

    /// Returns the part as a setting, its key and values.
    pub(crate) fn key_and_values(&self) -> (&'static str, Vec<String>) {
        match &self.part {
            DependencyPart::Group(name) => ("groups", vec![name.clone()]),
            DependencyPart::Extra(name) => ("extras", vec![name.clone()]),
            DependencyPart::File(_, files) => {
                ("requirements", files.iter().map(|file| file.display().to_string()).collect())
            }
            DependencyPart::Requirement(requirement) => ("with", vec![requirement.clone()]),
        }
    }

    /// Adds the part to a selection.
    pub(crate) fn add_to(&self, selection: &mut DependencySelection) {
        match &self.part {
            DependencyPart::Group(name) => selection.groups.push(name.clone()),
            DependencyPart::Extra(name) => selection.extras.push(name.clone()),
            DependencyPart::File(_, files) => selection.requirements.clone_from(files),
            DependencyPart::Requirement(requirement) => selection.with.push(requirement.clone()),
        }
    }

    /// Returns the setting that selects the part: `groups = ["prod"]`.
    pub(crate) fn setting(&self) -> String {
        let (key, values) = self.key_and_values();
        let values: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
        format!("{key} = [{}]", values.join(", "))
    }
}

impl fmt::Display for OptionalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            DependencyPart::Group(name) => write!(f, "group `{name}`"),
            DependencyPart::Extra(name) => write!(f, "extra `{name}`"),
            DependencyPart::File(name, _) => f.write_str(name),
            DependencyPart::Requirement(name) => write!(f, "`{name}` of the Dockerfile"),
        }
    }
}

/// Finds the parts of a project's optional dependencies that have a server; `None` if its main
/// dependencies have one; `server` is the distribution of the settings' server.
///
/// Errors of the files are none here: reading the selected dependencies reports them.
pub(crate) fn find(
    context: &Path,
    selection: &DependencySelection,
    server: Option<&[&str]>,
) -> Option<Vec<OptionalServer>> {
    let main = DeclaredDependencies::read(context, selection).ok()?;
    let project = read_pyproject(&context.join("pyproject.toml")).ok().flatten().unwrap_or_default();
    if main.source == DependencySource::InstalledProject {
        return None;
    }
    let extras = main.extras.clone();
    let main = names(main);
    let wanted = server;
    // A project of a framework that needs a server may use `aiohttp` as a client.
    let mut frameworks =
        Framework::ALL.into_iter().filter(|framework| main.contains(&framework.distribution()));
    let serves_itself = match frameworks.next() {
        Some(first) => first.has_own_server() && frameworks.all(Framework::has_own_server),
        None => main.contains("robyn"),
    };
    if server_of(&main, wanted).is_some() || (server.is_none() && serves_itself) {
        return None;
    }
    let named = |(name, requirements): (&String, &Vec<Requirement>), part: fn(String) -> DependencyPart| {
        let given = requirements.iter().map(|one| (one.name.clone(), one.extras.clone()));
        let server = server_of(&with_implied(given), wanted)?;
        Some(OptionalServer { part: part(name.clone()), server })
    };
    let groups = project.groups.iter().filter_map(|group| named(group, DependencyPart::Group));
    let extras = extras.iter().filter_map(|extra| named(extra, DependencyPart::Extra));
    let mut found: Vec<OptionalServer> = groups.chain(extras).collect();
    if let Some(Declaration::Requirements(declared)) = Declaration::find(context, selection, &project) {
        let of_file = |file: String| {
            let selected =
                DependencySelection { requirements: vec![file.clone().into()], ..Default::default() };
            let names = names(DeclaredDependencies::read(context, &selected).ok()?);
            let server = server_of(&names, wanted)?;
            let own = declared.iter().filter_map(|file| Some(file.strip_prefix(context).ok()?.to_owned()));
            let own: Vec<PathBuf> = if main.is_subset(&names) { Vec::new() } else { own.collect() };
            let files = own.into_iter().chain([file.clone().into()]).collect();
            Some(OptionalServer { part: DependencyPart::File(file, files), server })
        };
        found.extend(requirement_files(context).into_iter().filter_map(of_file));
    }
    Some(found)
}

/// Returns the server that the Dockerfile installs by its name; `server` as for [`find`].
pub(crate) fn installed_by(dockerfile: &Dockerfile, server: Option<&[&str]>) -> Option<OptionalServer> {
    let wanted = server;
    let mut commands = dockerfile.runs().flat_map(|run| dockerfile.programs_in(run));
    commands.find_map(|words| installed_server(&words, wanted))
}

/// Returns the server that a command names: `pip install gunicorn==23.0.0`.
fn installed_server(words: &[String], wanted: Option<&[&str]>) -> Option<OptionalServer> {
    words.iter().skip(after_pip(words)?).find_map(|word| {
        let requirement = word.parse::<Requirement>().ok()?;
        let server = servers(wanted).find(|server| *server == requirement.name)?;
        Some(OptionalServer { part: DependencyPart::Requirement(word.clone()), server })
    })
}

/// Returns the index of the first word after `pip install` or `pip wheel`.
fn after_pip(words: &[String]) -> Option<usize> {
    let is_pip = |pair: &[String]| match pair {
        [program, action] => {
            ["pip", "pip3"].contains(&program.as_str()) && ["install", "wheel"].contains(&action.as_str())
        }
        _ => false,
    };
    Some(words.windows(2).position(is_pip)? + 2)
}

/// Requirements that a Dockerfile installs by their names and that are not among the project's
/// dependencies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FurtherRequirements {
    /// Requirements whose wheels any machine can install or build.
    pub(crate) portable: Vec<String>,
    /// Requirements without wheels, whose builds need the headers of a library.
    pub(crate) with_headers: Vec<String>,
    /// The line of the first one.
    pub(crate) line: usize,
}

/// Returns the further requirements of the Dockerfile, if it has some.
pub(crate) fn further_requirements(
    dockerfile: &Dockerfile,
    has: &dyn Fn(&str) -> bool,
) -> Option<FurtherRequirements> {
    let mut found: Vec<(String, Requirement, usize)> = Vec::new();
    for run in dockerfile.production_runs() {
        for words in dockerfile.programs_in(run) {
            let named = named_requirements(&words).into_iter();
            found.extend(named.map(|(word, requirement)| (word, requirement, run.line)));
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|(_, requirement, _)| {
        let name = requirement.name.as_str();
        !TOOLS.contains(&name) && !has(name) && seen.insert(name.to_owned())
    });
    let line = found.first().map(|(.., line)| *line)?;
    let (with_headers, portable): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, requirement, _)| WITH_HEADERS.contains(&requirement.name.as_str()));
    let words = |found: Vec<(String, Requirement, usize)>| found.into_iter().map(|(word, ..)| word).collect();
    Some(FurtherRequirements { portable: words(portable), with_headers: words(with_headers), line })
}

/// Returns the requirements in the words of `pip install`, without those of files and options.
fn named_requirements(words: &[String]) -> Vec<(String, Requirement)> {
    let Some(start) = after_pip(words) else { return Vec::new() };
    let mut is_value = false;
    let mut found = Vec::new();
    for word in words.iter().skip(start) {
        let was_value = std::mem::replace(
            &mut is_value,
            word.starts_with('-') && !word.contains('=') && !SWITCHES.contains(&word.as_str()),
        );
        let is_name = !was_value && word.starts_with(|c: char| c.is_ascii_alphanumeric());
        if let Some(requirement) = is_name.then(|| word.parse::<Requirement>().ok()).flatten() {
            found.push((word.clone(), requirement));
        }
    }
    found
}

/// Returns the part to select without a setting.
pub(crate) fn usual<'a>(
    found: &'a [OptionalServer],
    dockerfile: Option<&Dockerfile>,
) -> Option<&'a OptionalServer> {
    let installs = dockerfile.map(install_commands).unwrap_or_default();
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let installed: BTreeSet<&str> = installs
        .iter()
        .flat_map(|text| text.split(|c| !is_word(c)))
        .map(|word| word.trim_matches(['.', '/']))
        .collect();
    let is_installed = |part: &OptionalServer| {
        matches!(part.part, DependencyPart::Requirement(_))
            || installed
                .iter()
                .any(|word| *word == part.name() || word.ends_with(&format!("/{}", part.name())))
    };
    let rank = |part: &OptionalServer| NAMES.iter().position(|name| *name == part.word());
    let usual = found
        .iter()
        .filter(|part| !DEVELOPMENT.contains(&part.word()) && (is_installed(part) || rank(part).is_some()));
    usual.min_by_key(|part| (!is_installed(part), rank(part).unwrap_or(NAMES.len())))
}

/// Returns the texts of the instructions that install distributions.
fn install_commands(dockerfile: &Dockerfile) -> Vec<String> {
    let texts = dockerfile.runs().map(Instruction::text);
    texts.filter(|text| INSTALLERS.iter().any(|command| text.contains(command))).collect()
}

fn names(declared: DeclaredDependencies) -> BTreeSet<String> {
    with_implied(declared.into_named().map(|requirement| (requirement.name, requirement.extras)))
}

fn server_of(names: &BTreeSet<String>, wanted: Option<&[&str]>) -> Option<&'static str> {
    servers(wanted).find(|server| names.contains(*server))
}

/// Returns the distributions that serve applications of any framework, of which those of the settings' server
/// are wanted.
fn servers(wanted: Option<&[&str]>) -> impl Iterator<Item = &'static str> {
    let kinds = ServerKind::of_any_framework().flat_map(|kind| kind.distributions().iter().copied());
    kinds.chain(SERVER_LIBRARIES).filter(move |server| wanted.is_none_or(|wanted| wanted.contains(server)))
}

/// Returns `prod` for `requirements-prod.txt`, `requirements/prod.txt` and `prod-requirements.txt`.
fn word_of_file(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(".txt")?;
    let stem = stem.strip_prefix("requirements/").unwrap_or(stem);
    let stem = stem.strip_prefix("requirements").unwrap_or(stem);
    Some(stem.strip_suffix("requirements").unwrap_or(stem).trim_matches(['-', '_', '.']))
}

/// Lists the requirement files of a project, relative to it and sorted.
fn requirement_files(context: &Path) -> Vec<String> {
    let in_folder = |folder: &'static str| {
        let entries = traced_fs::read_dir(context.join(folder)).into_iter().flatten();
        entries.filter_map(move |entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let is_list = name.ends_with(".txt") && (!folder.is_empty() || name.contains("requirements"));
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            is_list.then_some(path)
        })
    };
    let mut files: Vec<String> = in_folder("").chain(in_folder("requirements")).collect();
    files.sort();
    files.truncate(MOST_FILES);
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::folder;

    /// Returns the settings of all parts with a server, that of the selected one with `*`.
    fn parts(files: &[(&str, &str)], server: Option<&[&str]>) -> Vec<String> {
        let folder = folder(files);
        let dockerfile = files.iter().find(|(name, _)| *name == "Dockerfile");
        let dockerfile = dockerfile.map(|(name, text)| Dockerfile::parse(name, text));
        let found = find(folder.path(), &DependencySelection::default(), server);
        let Some(mut found) = found else { return Vec::new() };
        found.extend(dockerfile.as_ref().and_then(|file| installed_by(file, server)));
        let usual = usual(&found, dockerfile.as_ref());
        let shown = |part: &OptionalServer| {
            format!("{}{}", part.setting(), if Some(part) == usual { "*" } else { "" })
        };
        found.iter().map(shown).collect()
    }

    fn of_project(text: &str) -> Vec<String> {
        parts(&[("pyproject.toml", &format!("[project]\nname = 'x'\n{text}"))], None)
    }

    #[test]
    fn a_part_with_a_usual_name_is_selected() {
        let flask = "dependencies = ['flask']\n";
        for (text, expected) in [
            (
                "[dependency-groups]\nprod = ['gunicorn']\ndev = ['uvicorn']",
                &["groups = [\"dev\"]", "groups = [\"prod\"]*"][..],
            ),
            ("[dependency-groups]\nload = ['uvicorn']", &["groups = [\"load\"]"]),
            (
                "[project.optional-dependencies]\nserver = ['uvicorn-worker']\nx = []",
                &["extras = [\"server\"]*"],
            ),
            (
                "[project.optional-dependencies]\nweb = ['waitress']\nprod = ['gunicorn']",
                &["extras = [\"prod\"]*", "extras = [\"web\"]"],
            ),
            ("[tool.poetry.group.production.dependencies]\ngunicorn = '*'", &["groups = [\"production\"]*"]),
            ("[dependency-groups]\nprod = ['psycopg']", &[]),
        ] {
            assert_eq!(of_project(&format!("{flask}{text}")), expected, "{text}");
        }
    }

    #[test]
    fn main_dependencies_with_a_server_are_enough() {
        let group = "[dependency-groups]\nprod = ['gunicorn']";
        for (main, is_enough) in [
            ("['flask', 'waitress']", true),
            ("['fastapi[standard]']", true),
            ("['aiohttp']", true),
            ("['sanic']", true),
            ("['django', 'aiohttp']", false),
            ("[]", false),
        ] {
            let found = of_project(&format!("dependencies = {main}\n{group}"));
            assert_eq!(found.is_empty(), is_enough, "{main}");
        }
        // Their metadata is in the built project.
        assert!(of_project(&format!("dynamic = ['dependencies']\n{group}")).is_empty());
    }

    #[test]
    fn the_server_of_the_settings_decides() {
        let text = "[project]\nname='x'\ndependencies = ['fastapi', 'uvicorn']\n[dependency-groups]\nprod = ['gunicorn']";
        let files = [("pyproject.toml", text)];
        assert!(parts(&files, None).is_empty());
        assert_eq!(parts(&files, Some(&["gunicorn"])), ["groups = [\"prod\"]*"]);
        assert!(parts(&files, Some(&["hypercorn"])).is_empty());
    }

    #[test]
    fn commands_of_the_dockerfile_select_parts() {
        let project = "[project]\nname='x'\ndependencies = ['flask']\n[dependency-groups]\nload = ['gunicorn']\nprod = ['waitress']\ntest = ['uvicorn']";
        for (run, selected) in [
            ("RUN uv sync --frozen --group load", "load"),
            ("RUN poetry install --with=load,other", "load"),
            ("RUN uv sync --group test", "prod"),
            ("RUN echo load", "prod"),
        ] {
            let dockerfile = format!("FROM python:3.12\n{run}\n");
            let found = parts(&[("pyproject.toml", project), ("Dockerfile", &dockerfile)], None);
            assert!(found.contains(&format!("groups = [\"{selected}\"]*")), "{run}: {found:?}");
        }
    }

    #[test]
    fn a_server_that_the_dockerfile_installs_is_a_requirement() {
        let project = ("pyproject.toml", "[project]\nname='x'\ndependencies = ['flask']");
        for (run, expected) in [
            ("pip install --no-cache-dir gunicorn && pip install -e .[web]", Some("gunicorn")),
            ("pip install 'uvicorn[standard]>=0.30' \\\n  psycopg", Some("uvicorn[standard]>=0.30")),
            ("python -m pip wheel -w /x uwsgi -r requirements.txt", Some("uwsgi")),
            ("pip install -r requirements.txt && gunicorn --version", None),
            ("apt-get install -y gunicorn", None),
        ] {
            let dockerfile = format!("FROM python:3.12\nRUN {run}\n");
            let found = parts(&[project, ("Dockerfile", &dockerfile)], None);
            let expected = expected.map(|requirement| format!("with = [\"{requirement}\"]*"));
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{run}");
        }
    }

    #[test]
    fn requirements_of_the_dockerfile_that_the_project_lacks() {
        for (run, expected) in [
            (
                "pip install --no-cache-dir -U pip gunicorn 'psycopg[binary]==3.2' -r requirements.txt",
                "gunicorn psycopg[binary]==3.2",
            ),
            (
                "python -m pip install --index-url https://x/y flask 'redis>=5' .[web] ./wheels/a.whl",
                "redis>=5",
            ),
            ("pip install -t lib -e . && uv pip install --system setproctitle", "setproctitle"),
            ("pip install -r requirements.txt", ""),
            ("pip install --prefix=/x --no-warn-script-location --group docker", ""),
            ("pip install --unknown idna flask redis", "redis"),
            ("apt-get install -y gunicorn", ""),
            ("pip wheel uwsgi && pip install mysqlclient apprise", "uwsgi apprise (mysqlclient)"),
        ] {
            let text = format!("FROM x AS test\nRUN pip install idna\nFROM python:3.12\nRUN {run}\n");
            let dockerfile = Dockerfile::parse("Dockerfile", &text);
            let found = further_requirements(&dockerfile, &|name| name == "flask");
            let lines: Vec<usize> = found.iter().map(|found| found.line).collect();
            let words = found.map_or_else(String::new, |found| {
                let with_headers = found.with_headers.iter().map(|word| format!("({word})"));
                found.portable.iter().cloned().chain(with_headers).collect::<Vec<_>>().join(" ")
            });
            assert_eq!((words.as_str(), lines.is_empty()), (expected, expected.is_empty()), "{run}");
        }
    }

    #[test]
    fn requirement_files_with_a_server_complete_or_replace_the_others() {
        for (files, expected) in [
            (
                &[
                    ("requirements.txt", "flask"),
                    ("requirements-server.txt", "granian"),
                    ("requirements-dev.txt", "uvicorn"),
                ][..],
                &[
                    "requirements = [\"requirements.txt\", \"requirements-dev.txt\"]",
                    "requirements = [\"requirements.txt\", \"requirements-server.txt\"]*",
                ][..],
            ),
            (
                &[("requirements/base.txt", "flask"), ("requirements/heroku.txt", "-r base.txt\ngunicorn")],
                &["requirements = [\"requirements/heroku.txt\"]*"],
            ),
            (&[("requirements.txt", "flask\ngunicorn"), ("requirements-server.txt", "granian")], &[]),
            (
                &[("requirements.txt", "flask"), ("docker-requirements.txt", "gunicorn")],
                &["requirements = [\"requirements.txt\", \"docker-requirements.txt\"]*"],
            ),
        ] {
            assert_eq!(parts(files, None), expected);
        }
    }
}
