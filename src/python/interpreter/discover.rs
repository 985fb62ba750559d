//! Discovers the installation behind a virtual environment's `bin/python`.

use std::path::{Component, Path, PathBuf};

use super::executable::{self, Executable};
use super::{Flavor, Interpreter, InterpreterError, RunError, version};
use crate::error::FileError;
use crate::progress::Warning;
use crate::python::environment::version::PythonVersion;
use crate::traced_fs;

/// The oldest supported version, and the newest known one.
const OLDEST: (u32, u32) = (3, 9);
const NEWEST: (u32, u32) = (3, 15);

/// The number of links that Linux follows at most (`ELOOP`).
const LINK_LIMIT: usize = 40;

/// The largest accepted text file of an installation, in bytes. Build configurations have 100 KB.
pub(super) const TEXT_LIMIT: u64 = 8 << 20;

impl Interpreter {
    /// Finds the interpreter behind `venv_python`, such as `.venv/bin/python`, by following links.
    ///
    /// `home` is the key `home` of `pyvenv.cfg`: the base of an environment made of copies, which
    /// has no link. The interpreter is run only if its files leave its version open (a distribution
    /// without headers, a name without a version).
    ///
    /// # Errors
    /// Each names the file and has a help text; see [`InterpreterError`].
    pub fn discover(venv_python: &Path, home: Option<&Path>) -> Result<Self, InterpreterError> {
        let mut executable = follow(venv_python)?;
        if let Some(environment) = environment_of(&executable) {
            executable = base_of(&executable, &environment, home)?;
        }
        reject_other_implementations(&executable)?;
        let program = executable::read(&executable)?;
        let file_name = executable.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let bin = executable.parent().unwrap_or(Path::new("/"));
        let prefix = bin.parent().unwrap_or(Path::new("/")).to_owned();

        let mut output = None;
        let named = PythonVersion::from_name(file_name).or_else(|| sole_library(&prefix));
        let version = if let Some(found) = named {
            found
        } else {
            let reported = query(&executable)?;
            let found = reported.version().ok_or_else(|| unknown(&executable, RunError::Output))?;
            output = Some(reported);
            found
        };
        let (major, minor) = (version.major, version.minor);
        let agrees = |other: &PythonVersion| (other.major, other.minor) == (major, minor);
        if (major, minor) < OLDEST {
            return Err(InterpreterError::TooOld { executable, version: format!("{major}.{minor}") });
        }
        let directory = version.name();
        let stdlib = standard_library(&executable, &prefix, &directory)?;
        let include = Some(prefix.join("include").join(&directory)).filter(|dir| traced_fs::is_dir(dir));

        let patchlevel = include.as_ref().and_then(|dir| read_text(&dir.join("patchlevel.h")).ok());
        let from_header = patchlevel.as_deref().and_then(version::from_patchlevel);
        let from_header = from_header.filter(|full| version::split(full).as_ref().is_some_and(agrees));
        if output.is_none() && (from_header.is_none() || version.free_threaded) {
            output = version::query(&executable).ok();
        }
        if let Some(reported) = output.as_ref().filter(|reported| reported.implementation != "cpython") {
            let implementation = reported.implementation.clone();
            return Err(InterpreterError::OtherImplementation { executable, implementation });
        }
        let full_version = from_header
            .or_else(|| output.as_ref().map(|reported| reported.full_version.clone()))
            .or_else(|| {
                version_in_pyvenv(venv_python)
                    .filter(|full| version::split(full).as_ref().is_some_and(agrees))
            })
            .ok_or_else(|| InterpreterError::UnknownMicroVersion(executable.clone()))?;
        let cache_tag = match output {
            Some(reported) => reported.cache_tag,
            // As built from the version by CPython's sysmodule.c.
            None => format!("cpython-{major}{minor}"),
        };
        let configuration = build_configuration(&stdlib)?;
        let configured_prefix = configuration
            .prefix
            .filter(|configured| Path::new(configured) != prefix && is_specific(configured));

        let warnings = newer_than_supported(&executable, &version).into_iter().collect();
        Ok(Self {
            flavor: flavor(&prefix, &stdlib, configured_prefix.as_deref()),
            lib_dynload: lib_dynload(&prefix, &stdlib, &directory),
            libpython: libpython(&program, &prefix),
            soabi: configuration.soabi,
            architecture: program.architecture,
            executable,
            version: PythonVersion {
                micro: version::split(&full_version).and_then(|full| full.micro),
                ..version
            },
            full_version,
            prefix,
            stdlib,
            include,
            cache_tag,
            configured_prefix,
            warnings,
        })
    }
}

/// Returns the warning about a version newer than the supported ones.
fn newer_than_supported(executable: &Path, version: &PythonVersion) -> Option<Warning> {
    let (major, minor) = (version.major, version.minor);
    let is_newer = (major, minor) > NEWEST;
    is_newer.then(|| {
        let message = format!(
            "Python {major}.{minor} is newer than the newest supported version ({}.{})",
            NEWEST.0, NEWEST.1
        );
        Warning::new(executable.display().to_string(), message).with_help("update ipo-oci")
    })
}

/// Resolves all links of `path`.
fn follow(path: &Path) -> Result<PathBuf, InterpreterError> {
    match traced_fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(dangling(path)),
        Err(error) => Err(FileError::new("follow", path, without_path(&error)).into()),
    }
}

/// Removes the path added by `fs_err`, since [`FileError`] adds the path itself.
fn without_path(error: &std::io::Error) -> std::io::Error {
    std::io::Error::from(error.kind())
}

/// Follows links one by one to the link with a missing target.
fn dangling(path: &Path) -> InterpreterError {
    let mut link = path.to_owned();
    for _ in 0..LINK_LIMIT {
        let Ok(target) = traced_fs::read_link(&link) else { break };
        let target = without_dots(&link.parent().unwrap_or(Path::new("/")).join(target));
        if !traced_fs::is_there(&target) {
            return InterpreterError::Dangling { link, target };
        }
        link = target;
    }
    FileError::new("read", link, std::io::ErrorKind::NotFound.into()).into()
}

/// Shortens `a/../b` to `b`, for messages.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
        clean
    })
}

/// Returns the virtual environment around `executable`, if that file is a copy inside one.
fn environment_of(executable: &Path) -> Option<PathBuf> {
    let environment = executable.parent()?.parent()?;
    traced_fs::is_file(environment.join("pyvenv.cfg")).then(|| environment.to_owned())
}

/// Returns the base interpreter of a copied one.
fn base_of(copy: &Path, environment: &Path, home: Option<&Path>) -> Result<PathBuf, InterpreterError> {
    let config = read_text(&environment.join("pyvenv.cfg"))?;
    let of_config = config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case("home").then(|| PathBuf::from(value.trim()))
    });
    let home = home.map(Path::to_owned).or(of_config);
    let versioned = version::from_pyvenv(&config).and_then(|full| version::split(&full));
    let named = copy.file_name().map(PathBuf::from);
    let versioned = versioned.map(|version| PathBuf::from(version.name()));
    let names = versioned.into_iter().chain(named).chain(["python3".into(), "python".into()]);
    if let Some(home) = &home {
        for name in names {
            let Ok(real) = traced_fs::canonicalize(home.join(name)) else { continue };
            if traced_fs::is_file(&real) && environment_of(&real).is_none() {
                return Ok(real);
            }
        }
    }
    Err(InterpreterError::NoBase { copy: copy.to_owned(), home })
}

/// Rejects PyPy and GraalPy by name before any file is read.
fn reject_other_implementations(executable: &Path) -> Result<(), InterpreterError> {
    let name = executable.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let other =
        [("pypy", "PyPy"), ("graalpy", "GraalPy"), ("jython", "Jython"), ("micropython", "MicroPython")];
    match other.iter().find(|(start, _)| name.starts_with(start)) {
        Some((_, implementation)) => Err(InterpreterError::OtherImplementation {
            executable: executable.to_owned(),
            implementation: (*implementation).to_owned(),
        }),
        None => Ok(()),
    }
}

fn query(executable: &Path) -> Result<version::VersionOutput, InterpreterError> {
    version::query(executable).map_err(|source| unknown(executable, source))
}

fn unknown(executable: &Path, source: RunError) -> InterpreterError {
    InterpreterError::UnknownVersion { executable: executable.to_owned(), source }
}

/// Returns the version of the only standard library below `prefix`, if there is exactly one.
fn sole_library(prefix: &Path) -> Option<PythonVersion> {
    let mut found = None;
    for lib in ["lib", "lib64"] {
        for entry in traced_fs::read_dir(prefix.join(lib)).into_iter().flatten().flatten() {
            let Some(version) = entry.file_name().to_str().and_then(PythonVersion::from_name) else {
                continue;
            };
            if traced_fs::is_file(entry.path().join("os.py")) {
                if found.is_some_and(|other| other != version) {
                    return None;
                }
                found = Some(version);
            }
        }
    }
    found
}

/// Finds the standard library by `os.py`, CPython's own landmark.
fn standard_library(executable: &Path, prefix: &Path, directory: &str) -> Result<PathBuf, InterpreterError> {
    let candidates = ["lib", "lib64"].map(|lib| prefix.join(lib).join(directory));
    if let Some(found) = candidates.iter().find(|stdlib| traced_fs::is_file(stdlib.join("os.py"))) {
        return Ok(found.clone());
    }
    let [expected, _] = candidates;
    Err(InterpreterError::NoStandardLibrary {
        executable: executable.to_owned(),
        expected: expected.join("os.py"),
    })
}

fn lib_dynload(prefix: &Path, stdlib: &Path, directory: &str) -> Option<PathBuf> {
    let beside = ["lib64", "lib"].map(|lib| prefix.join(lib).join(directory));
    std::iter::once(stdlib.to_owned())
        .chain(beside)
        .map(|dir| dir.join("lib-dynload"))
        .find(|dir| traced_fs::is_dir(dir))
}

/// Returns the program's libpython, if part of the installation.
fn libpython(program: &Executable, prefix: &Path) -> Option<PathBuf> {
    let name = program.needed.iter().find(|name| name.starts_with("libpython"))?;
    if prefix == Path::new("/usr") {
        return None;
    }
    ["lib", "lib64"].map(|lib| prefix.join(lib).join(name)).into_iter().find(|path| traced_fs::is_file(path))
}

fn version_in_pyvenv(venv_python: &Path) -> Option<String> {
    let environment = venv_python.parent()?.parent()?;
    version::from_pyvenv(&read_text(&environment.join("pyvenv.cfg")).ok()?)
}

/// The values of interest in `_sysconfigdata_*.py`.
#[derive(Debug, Default)]
struct BuildConfiguration {
    prefix: Option<String>,
    soabi: Option<String>,
}

fn build_configuration(stdlib: &Path) -> Result<BuildConfiguration, InterpreterError> {
    let mut names: Vec<PathBuf> = traced_fs::read_dir(stdlib)
        .map_err(FileError::of("list", stdlib))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("_sysconfigdata_") && path.extension().is_some_and(|end| end == "py")
        })
        .collect();
    names.sort();
    for path in names {
        let text = read_text(&path)?;
        let soabi = value_of(&text, "SOABI");
        if soabi.is_some() {
            return Ok(BuildConfiguration { prefix: value_of(&text, "prefix"), soabi });
        }
    }
    Ok(BuildConfiguration::default())
}

/// Returns the value of a key in Python's printed dictionary: `'prefix': '/usr',` or with double
/// quotes.
fn value_of(text: &str, key: &str) -> Option<String> {
    ['\'', '"'].iter().find_map(|quote| {
        let start = format!("{quote}{key}{quote}: {quote}");
        let rest = text.get(text.find(&start)? + start.len()..)?;
        let value = rest.get(..rest.find(*quote)?)?;
        (!value.contains('\n')).then(|| value.to_owned())
    })
}

/// Returns whether a prefix belongs to one installation; `/usr` in a text means the system.
fn is_specific(prefix: &str) -> bool {
    prefix.starts_with('/') && !matches!(prefix, "/" | "/usr" | "/usr/local")
}

fn flavor(prefix: &Path, stdlib: &Path, configured_prefix: Option<&str>) -> Flavor {
    if prefix == Path::new("/usr") {
        let debian = stdlib.starts_with("/usr/lib/")
            && (traced_fs::is_dir(Path::new("/usr/lib/python3/dist-packages"))
                || traced_fs::exists(Path::new("/etc/debian_version")));
        return if debian { Flavor::Debian } else { Flavor::System };
    }
    let name = prefix.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // uv names them `cpython-3.11.7-linux-x86_64-gnu`; the build itself is configured for /install.
    let named = name.starts_with("cpython-3.") && name.contains("-linux-");
    if named || configured_prefix == Some("/install") { Flavor::Standalone } else { Flavor::Prefix }
}

/// Reads a small text file of an installation.
pub(super) fn read_text(path: &Path) -> Result<String, FileError> {
    use std::io::Read as _;
    let file = traced_fs::open(path).map_err(FileError::of("read", path))?;
    let mut bytes = Vec::new();
    let read = file.take(TEXT_LIMIT).read_to_end(&mut bytes);
    // Some of these files are optional.
    read.inspect_err(|_| traced_fs::mark_unreliable()).map_err(FileError::of("read", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
