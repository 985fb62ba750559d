//! [`PythonDemands`]: the interpreter of a new environment.
//!
//! A project limits Python by a range (`requires-python`, Poetry's `python`, `python_requires`) and
//! chooses one version of the range by a pin (`.python-version` of pyenv and uv, `runtime.txt` of
//! Heroku, `.tool-versions` of asdf, Pipenv's `python_version`). A pin that this machine cannot
//! follow is a warning as long as another interpreter is in the range.
//!
//! Without a pin, the newest interpreter is preferred, with two exceptions: the one nearest to the
//! version of the Dockerfile's base image, and an older one for which the lock has all wheels.

use std::path::{Path, PathBuf};

use pep440_rs::Version;

use super::wheels::LockedWheels;
use super::workspace::UvLock;
use crate::platform::Platform;
use crate::progress::Warning;
use crate::python::interpreter::Interpreter;
use crate::python::requirements::poetry::Constraint;
use crate::traced_fs;

/// The files with a pin, in the order of precedence.
const PIN_FILES: [&str; 3] = [".python-version", "runtime.txt", ".tool-versions"];

/// The largest file read, in bytes.
const LIMIT: u64 = 64 << 20;

/// The demands of a project's files and of the settings on the version of Python.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PythonDemands {
    /// The setting.
    request: Option<Demand>,
    /// All of them apply.
    ranges: Vec<Demand>,
    pin: Option<Demand>,
    /// The major and minor version of the Dockerfile's base image: the nearest one in the ranges is
    /// preferred, without a warning.
    suggestion: Option<(u32, u32)>,
}

/// The demand of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Demand {
    /// The file as named in messages; `python` for the setting.
    file: String,
    /// The demand as written: `>=3.10`, `3.12`.
    text: String,
    versions: Constraint,
}

/// The interpreter for the environment.
#[derive(Debug)]
pub(super) enum PythonChoice<'a> {
    /// No file limits the version: the installer's own choice, or else one of these, newest first.
    Any(Vec<&'a Interpreter>),
    /// Interpreters that fit, the preferred one first.
    Fitting(Vec<&'a Interpreter>, Option<Warning>),
    /// No interpreter fits.
    None,
}

impl PythonDemands {
    /// Reads the demands of the project in `context`, or of the workspace with the
    /// lock; those of `Pipfile` if that declares the dependencies.
    pub(super) fn read(
        context: &Path,
        (lock, is_of_pipenv): (Option<&UvLock>, bool),
        request: Option<&str>,
    ) -> Self {
        let mut demands = Self::default();
        if let Some(text) = request {
            demands.request = version_prefix(text).or_else(|| text.parse().ok()).map(|versions| Demand {
                file: "python".to_owned(),
                text: text.to_owned(),
                versions,
            });
        }
        let mut range = |file: &str, text: Option<String>| {
            let text = text.filter(|text| !text.trim().is_empty());
            if let Some(versions) = text.as_ref().and_then(|text| text.parse().ok()) {
                let text = text.unwrap_or_default();
                demands.ranges.push(Demand { file: file.to_owned(), text, versions });
            }
        };
        let toml = |path: &Path| -> toml::Table {
            read_text(path).and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        let text = |table: &toml::Table, keys: &[&str]| -> Option<String> {
            let (first, rest) = keys.split_first()?;
            let value = rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key));
            Some(value?.as_str()?.to_owned())
        };
        let pyproject = toml(&context.join("pyproject.toml"));
        let own = text(&pyproject, &["project", "requires-python"]);
        let of_poetry = || text(&pyproject, &["tool", "poetry", "dependencies", "python"]);
        range("pyproject.toml", own.or_else(of_poetry));
        range("uv.lock", lock.and_then(|lock| lock.requires_python.clone()));
        range("pylock.toml", text(&toml(&context.join("pylock.toml")), &["requires-python"]));
        for name in ["setup.cfg", "setup.py"] {
            range(name, read_text(&context.join(name)).and_then(|text| python_requires(&text)));
        }
        let pipfile = toml(&context.join("Pipfile"));
        let of_pipenv = || {
            ["python_full_version", "python_version"]
                .into_iter()
                .find_map(|key| Some((text(&pipfile, &["requires", key])?, "Pipfile".to_owned())))
        };
        let pin =
            pin_files(context, lock.map(|lock| lock.root.as_path())).into_iter().find_map(|(path, name)| {
                let file = read_text(&path)?;
                let pin = if name == ".tool-versions" { tool_version(&file) } else { pinned_version(&file) };
                Some((pin?, name.to_owned()))
            });
        demands.pin = pin.or_else(|| is_of_pipenv.then(of_pipenv).flatten()).and_then(|(text, file)| {
            let versions = version_prefix(&text)?;
            Some(Demand { file, text, versions })
        });
        demands
    }

    /// Adds the version of the Dockerfile's base image, `3.12`.
    pub(super) fn suggest(mut self, version: Option<&str>) -> Self {
        self.suggestion = version.and_then(minor_of);
        self
    }

    /// Orders fitting interpreters, which are ordered from newest to oldest: those near to the suggested
    /// version first, then those for which the lock has all wheels.
    pub(super) fn prefer(&self, fitting: &mut [&Interpreter], wheels: &LockedWheels) {
        let machine = Platform::of_this_program().machine();
        let distance = |interpreter: &Interpreter| {
            self.suggestion.map(|(_, minor)| minor.abs_diff(interpreter.version.minor))
        };
        fitting.sort_by_key(|interpreter| {
            (distance(interpreter), wheels.lacking(interpreter.version, &machine).is_some())
        });
    }

    /// Chooses among the interpreters of this machine, which are ordered from newest to oldest.
    pub(super) fn choose<'a>(&self, interpreters: &'a [Interpreter]) -> PythonChoice<'a> {
        let fits = |demand: &Demand, interpreter: &Interpreter| allows(&demand.versions, interpreter);
        if let Some(request) = &self.request {
            let fitting: Vec<&Interpreter> =
                interpreters.iter().filter(|interpreter| fits(request, interpreter)).collect();
            return match fitting[..] {
                [] => PythonChoice::None,
                [first, ..] => PythonChoice::Fitting(vec![first], None),
            };
        }
        let in_range: Vec<&Interpreter> = interpreters
            .iter()
            .filter(|interpreter| self.ranges.iter().all(|range| fits(range, interpreter)))
            .filter(|interpreter| !interpreter.version.free_threaded)
            .collect();
        let stable = || {
            let is_stable = |interpreter: &&&Interpreter| {
                interpreter.full_version.parse().is_ok_and(|version: Version| !version.any_prerelease())
            };
            newest_of_minors(in_range.iter().filter(is_stable).copied())
        };
        let Some(pin) = &self.pin else {
            return match (&self.ranges[..], &stable()[..]) {
                ([], [_, ..]) if self.suggestion.is_some() => PythonChoice::Fitting(stable(), None),
                ([], _) => PythonChoice::Any(stable()),
                (_, []) => PythonChoice::None,
                (_, stable) => PythonChoice::Fitting(stable.to_vec(), None),
            };
        };
        if let Some(exact) = in_range.iter().find(|interpreter| fits(pin, interpreter)) {
            return PythonChoice::Fitting(vec![exact], None);
        }
        let minor = minor_of(&pin.text);
        let near = in_range
            .iter()
            .find(|interpreter| Some((interpreter.version.major, interpreter.version.minor)) == minor);
        let stable = stable();
        let (chosen, followed) = match (near, &stable[..]) {
            (Some(near), _) => (vec![*near], "its patch version is not on this machine"),
            (None, [_, ..]) if !self.ranges.is_empty() => (stable, "that version is not on this machine"),
            _ => return PythonChoice::None,
        };
        let used = chosen.first().map(|interpreter| interpreter.full_version.clone()).unwrap_or_default();
        let message = format!("asks for Python {}: {followed}, Python {used} is used", pin.text);
        let help = format!("install it (`uv python install {}`), or choose one with --python", pin.text);
        PythonChoice::Fitting(chosen, Some(Warning::new(&pin.file, message).with_help(help)))
    }

    /// Returns true if the demands allow the full version `version`. Beside a range, a pin does not count if no minor
    /// version of this machine follows it either; `interpreters` are those of this machine.
    pub(super) fn allow(&self, version: &str, interpreters: impl FnOnce() -> Vec<Interpreter>) -> bool {
        let Ok(parsed) = version.parse::<Version>() else { return false };
        let allowed = |demand: &Demand| demand.versions.allows(&parsed);
        if let Some(request) = &self.request {
            return allowed(request);
        }
        let follows = |pin: &Demand| {
            let minor = minor_of(&pin.text);
            let is_followed = |one: &Interpreter| Some((one.version.major, one.version.minor)) == minor;
            let is_limited = !self.ranges.is_empty();
            allowed(pin)
                || minor_of(version) == minor
                || is_limited && !interpreters().iter().any(is_followed)
        };
        self.ranges.iter().all(allowed) && self.pin.as_ref().is_none_or(follows)
    }

    /// Returns the demands for a message: `Python >=3.14 (pyproject.toml)`.
    pub(super) fn describe(&self) -> String {
        let all = match &self.request {
            Some(request) => vec![request],
            None => self.ranges.iter().chain(&self.pin).collect(),
        };
        let texts: Vec<String> =
            all.iter().map(|demand| format!("{} ({})", demand.text, demand.file)).collect();
        format!("Python {}", texts.join(" and "))
    }

    /// Returns the version to install for these demands: `3.14` for `>=3.14`.
    pub(super) fn version_to_install(&self) -> String {
        let demand = self.request.as_ref().or(self.pin.as_ref()).or(self.ranges.first());
        let text = demand.map(|demand| demand.text.as_str()).unwrap_or_default();
        let is_upper = |part: &&str| part.trim_start().starts_with(['<', '!']);
        let lower = text.split([',', '|']).find(|part| !is_upper(part)).unwrap_or_default();
        let digits = lower.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let version = digits.get(..end).unwrap_or_default().trim_end_matches('.');
        if version.is_empty() { "VERSION".to_owned() } else { version.to_owned() }
    }

    /// Returns the demand in the form of uv's `--python`.
    pub(super) fn for_uv(&self) -> Option<String> {
        match (&self.request, &self.pin, &self.ranges[..]) {
            (Some(demand), ..) | (None, Some(demand), _) | (None, None, [demand]) => {
                Some(demand.text.clone())
            }
            (None, None, ranges) => {
                let texts: Vec<&str> = ranges.iter().map(|range| range.text.as_str()).collect();
                (!texts.is_empty()).then(|| texts.join(","))
            }
        }
    }
}

fn allows(versions: &Constraint, interpreter: &Interpreter) -> bool {
    interpreter.full_version.parse().is_ok_and(|version: Version| versions.allows(&version))
}

/// Returns true for a valid setting `python`: a version (`3.12`, `3.12.1`) or a range (`>=3.11,<3.13`).
pub(crate) fn is_python_request(text: &str) -> bool {
    version_prefix(text).is_some() || text.parse::<Constraint>().is_ok()
}

/// Returns the newest interpreter of each minor version.
fn newest_of_minors<'a>(interpreters: impl Iterator<Item = &'a Interpreter>) -> Vec<&'a Interpreter> {
    let mut newest: Vec<&Interpreter> = Vec::new();
    for interpreter in interpreters {
        let minor = |one: &Interpreter| (one.version.major, one.version.minor);
        if newest.iter().all(|known| minor(known) != minor(interpreter)) {
            newest.push(interpreter);
        }
    }
    newest
}

/// Lists the possible files with a pin: those of the project and of the folders up to the root of
/// its repository or workspace, nearest first.
fn pin_files(context: &Path, lock_root: Option<&Path>) -> Vec<(PathBuf, &'static str)> {
    let real = std::fs::canonicalize(context).unwrap_or_else(|_| context.to_path_buf());
    let top = real.ancestors().find(|folder| folder.join(".git").exists()).or(lock_root);
    let folders: Vec<&Path> = match top {
        Some(top) => real.ancestors().take_while(|folder| folder.starts_with(top)).collect(),
        None => vec![&real],
    };
    let in_folder = |folder: &&Path| PIN_FILES.map(|name| (folder.join(name), name));
    folders.iter().flat_map(in_folder).collect()
}

/// Returns the version in `.python-version` or `runtime.txt`: `3.12`, `cpython@3.12.1`,
/// `python-3.12.1`. Other names, of environments or of other implementations, are not versions.
fn pinned_version(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let version = ["python-", "cpython-", "cpython@", "python@"]
        .into_iter()
        .find_map(|prefix| line.strip_prefix(prefix))
        .unwrap_or(line);
    // Heroku's `python-3.12.x`; uv's `cpython-3.12.1-linux-x86_64-gnu`.
    let version = version.split('-').next()?.trim_end_matches(".x");
    version_prefix(version).map(|_| version.to_owned())
}

/// Returns the version of Python in `.tool-versions`: `python 3.12.1`.
fn tool_version(text: &str) -> Option<String> {
    let mut words = text.lines().map(str::split_whitespace);
    let version = words.find_map(|mut words| (words.next()? == "python").then(|| words.next()).flatten())?;
    version_prefix(version).map(|_| version.to_owned())
}

/// Converts `3.12` to the versions that begin with it.
fn version_prefix(text: &str) -> Option<Constraint> {
    let version: Version = text.trim().trim_end_matches(".*").parse().ok()?;
    let is_plain = text.starts_with(|c: char| c.is_ascii_digit());
    let constraint = match version.release().len() {
        _ if !is_plain || version.any_prerelease() => format!("=={version}"),
        1 | 2 => format!("=={version}.*"),
        _ => format!("=={version}"),
    };
    constraint.parse().ok()
}

fn minor_of(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Returns the value of `python_requires` in a `setup.cfg` or `setup.py`, if it is a literal.
fn python_requires(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("python_requires")?;
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split(quote).next()?,
        _ => value.lines().next()?.trim(),
    };
    value.parse::<Constraint>().ok().map(|_| value.to_owned())
}

pub(super) fn read_text(path: &Path) -> Option<String> {
    let bytes = traced_fs::read_limited(traced_fs::open_regular(path).ok()?, LIMIT).ok()??;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::version::PythonVersion;
    use crate::python::interpreter::{Architecture, Flavor};
    use crate::testing::folder;

    fn interpreter(full_version: &str) -> Interpreter {
        let (minor, micro) = full_version.trim_start_matches("3.").split_once('.').unwrap();
        let micro = micro.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        let version = PythonVersion {
            major: 3,
            minor: minor.parse().unwrap(),
            micro: micro.parse().ok(),
            free_threaded: false,
        };
        Interpreter {
            executable: format!("/opt/{full_version}/bin/python3").into(),
            version,
            full_version: full_version.to_owned(),
            prefix: "/opt".into(),
            stdlib: "/opt".into(),
            lib_dynload: None,
            libpython: None,
            include: None,
            cache_tag: String::new(),
            soabi: None,
            flavor: Flavor::Prefix,
            architecture: Architecture(62),
            configured_prefix: None,
            warnings: Vec::new(),
        }
    }

    /// Returns the version of the chosen interpreter, `any` or `none`, with `*` after a warning.
    fn chosen(demands: &PythonDemands, versions: &[&str]) -> String {
        let interpreters: Vec<Interpreter> = versions.iter().map(|version| interpreter(version)).collect();
        match demands.choose(&interpreters) {
            PythonChoice::Any(_) => "any".to_owned(),
            PythonChoice::None => "none".to_owned(),
            PythonChoice::Fitting(fitting, warning) => {
                format!("{}{}", fitting[0].full_version, if warning.is_some() { "*" } else { "" })
            }
        }
    }

    #[test]
    fn chooses_the_newest_in_the_range_unless_pinned() {
        let requires = |text: &str| format!("[project]\nrequires-python = '{text}'");
        let (from_39, from_311, below_312) = (requires(">=3.9"), requires(">=3.11"), requires("<3.12"));
        let pyproject = |text| ("pyproject.toml", text);
        for (files, expected) in [
            (&[][..], "any"),
            (&[pyproject("[project]")], "any"),
            (&[pyproject(&*from_39)], "3.13.0"),
            (&[pyproject(&*below_312)], "3.11.7"),
            (&[pyproject(&*requires("==3.12.*"))], "3.12.1"),
            (&[pyproject(&*requires(">=3.15"))], "none"),
            (&[pyproject("[tool.poetry.dependencies]\npython = '^3.9,<3.12'")], "3.11.7"),
            (&[("setup.cfg", "[options]\npython_requires = >=3.8,<3.13\n")], "3.12.1"),
            (&[("setup.py", "setup(python_requires='~=3.11.0')")], "3.11.7"),
            (&[("Pipfile", "[requires]\npython_version = '3.12'")], "3.12.1"),
            (&[(".python-version", "3.12\n")], "3.12.1"),
            (&[(".python-version", "# team\n\ncpython@3.11\n3.12\n")], "3.11.7"),
            (&[(".python-version", "3.11.2\n")], "3.11.2"),
            (&[(".python-version", "my-environment\n")], "any"),
            (&[(".python-version", "pypy3.10-7.3.12\n")], "any"),
            (&[(".python-version", "3.15.0a2\n")], "3.15.0a2"),
            (&[("runtime.txt", "python-3.12.x")], "3.12.1"),
            (&[(".tool-versions", "nodejs 20\npython 3.11.7\n")], "3.11.7"),
            (&[(".python-version", "3.11.9")], "3.11.7*"),
            (&[(".python-version", "3.14")], "none"),
            (&[(".python-version", "3.14"), pyproject(&*from_311)], "3.13.0*"),
            (&[(".python-version", "3.11"), pyproject(&*from_39)], "3.11.7"),
            (&[(".python-version", "3.12"), pyproject(&*below_312)], "3.11.7*"),
            (&[("pylock.toml", "requires-python = '<3.12'"), pyproject(&*from_39)], "3.11.7"),
        ] {
            let folder = folder(files);
            let demands = PythonDemands::read(folder.path(), (None, true), None);
            let versions = ["3.15.0a2", "3.13.0", "3.12.1", "3.11.7", "3.11.2"];
            assert_eq!(chosen(&demands, &versions), expected, "{files:?}");
        }
    }

    #[test]
    fn a_request_overrides_the_files() {
        let folder =
            folder(&[(".python-version", "3.12"), ("pyproject.toml", "[project]\nrequires-python='>=3.12'")]);
        for (request, expected) in [
            ("3.11", "3.11.7"),
            ("3.11.2", "3.11.2"),
            (">=3.11,<3.13", "3.12.1"),
            ("^3.11", "3.13.0"),
            ("3.14", "none"),
        ] {
            let demands = PythonDemands::read(folder.path(), (None, true), Some(request));
            assert_eq!(chosen(&demands, &["3.13.0", "3.12.1", "3.11.7", "3.11.2"]), expected, "{request}");
        }
        assert!(["3", "3.12", "3.12.1", ">=3.11"].iter().all(|text| is_python_request(text)));
        assert!(!["", "newest", "python3.12"].iter().any(|text| is_python_request(text)));
    }

    #[test]
    fn the_base_image_and_the_lock_decide_without_a_pin() {
        let of_lock = r#"file = "asyncpg-0.29.0-cp311-cp311-manylinux_2_17_MACHINE.whl""#
            .replace("MACHINE", &Platform::of_this_program().machine());
        let range = ("pyproject.toml", "[project]\nrequires-python = '>=3.9'");
        let versions = ["3.15.0a2", "3.13.0", "3.12.1", "3.11.7"];
        for (files, suggested, lock, expected) in [
            (&[range][..], None, "", "3.13.0"),
            (&[range], Some("3.12"), "", "3.12.1"),
            (&[range], Some("3.12.9"), "", "3.12.1"),
            (&[range], Some("3.8"), "", "3.11.7"),
            (&[range], Some("3.14"), "", "3.13.0"),
            (&[range], Some("3"), "", "3.13.0"),
            (&[range], None, &*of_lock, "3.11.7"),
            (&[range], Some("3.12"), &of_lock, "3.12.1"),
            (&[range, (".python-version", "3.13")], Some("3.12"), &of_lock, "3.13.0"),
            (&[], Some("3.12"), "", "3.12.1"),
            (&[], Some("3.8"), "", "3.11.7"),
            (&[], None, "", "any"),
        ] {
            let folder = folder(files);
            let demands = PythonDemands::read(folder.path(), (None, true), None).suggest(suggested);
            let interpreters: Vec<Interpreter> = versions.map(interpreter).into();
            let found = match demands.choose(&interpreters) {
                PythonChoice::Fitting(mut fitting, None) => {
                    demands.prefer(&mut fitting, &LockedWheels::find(lock));
                    fitting[0].full_version.clone()
                }
                PythonChoice::Any(_) => "any".to_owned(),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{files:?} {suggested:?} {lock}");
        }
    }

    #[test]
    fn reads_pins_up_to_the_root_of_the_repository() {
        let folder = folder(&[
            (".python-version", "3.9"),
            ("repository/.git/HEAD", ""),
            ("repository/.python-version", "3.12"),
            ("repository/services/api/main.py", ""),
            ("repository/services/own/runtime.txt", "3.11"),
            ("alone/main.py", ""),
        ]);
        for (path, expected) in
            [("repository/services/api", "3.12.1"), ("repository/services/own", "3.11.7"), ("alone", "any")]
        {
            let demands = PythonDemands::read(&folder.path().join(path), (None, true), None);
            assert_eq!(chosen(&demands, &["3.12.1", "3.11.7"]), expected, "{path}");
        }
    }

    #[test]
    fn describes_all_demands() {
        let folder =
            folder(&[(".python-version", "3.14"), ("pyproject.toml", "[project]\nrequires-python='>=3.9'")]);
        let demands = PythonDemands::read(folder.path(), (None, true), None);
        assert_eq!(demands.describe(), "Python >=3.9 (pyproject.toml) and 3.14 (.python-version)");
        assert_eq!(demands.for_uv().as_deref(), Some("3.14"));
    }
}
