//! Detection of a base's Python from its files. No program of the image is run.

use serde_json::Value;

use super::node::NodeKind;
use super::view::View;
use crate::debian::{self, Package};
use crate::elf::Machine;
use crate::image::Image;
use crate::python::PythonVersion;
use crate::python::interpreter::{full_version_of_header, version_of_text};
use crate::tree::ImagePath;

/// Directories searched after the base's `PATH`.
const DIRECTORIES: [&str; 2] = ["/usr/local/bin", "/usr/bin"];

/// A Python in a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePython {
    /// The path by which it was found: `/usr/local/bin/python3`.
    pub command: ImagePath,
    /// The executable: `/usr/local/bin/python3.12`.
    pub executable: ImagePath,
    /// Version; the micro number if a header or a package has it.
    pub version: PythonVersion,
    /// Full version, such as `3.12.7` or `3.15.0a2`.
    pub full_version: Option<String>,
    /// `sys.prefix`: `/usr/local`.
    pub prefix: ImagePath,
    /// The standard library: `/usr/local/lib/python3.12`.
    pub stdlib: ImagePath,
    /// Install location of distributions: `site-packages`, or Debian's `dist-packages`.
    pub platlib: ImagePath,
    /// Architecture.
    pub machine: Machine,
}

/// Returns `PATH` of an image's configuration.
pub fn path_variable(image: &Image) -> Option<String> {
    variables(image).into_iter().find(|(name, _)| name == "PATH").map(|(_, value)| value)
}

/// Returns the environment variables of an image's configuration.
pub(crate) fn variables(image: &Image) -> Vec<(String, String)> {
    let lines = texts(image, "Env").into_iter();
    lines.filter_map(|line| line.split_once('=').map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Returns the command of an image's configuration: entrypoint, then arguments.
pub(crate) fn command(image: &Image) -> Vec<String> {
    [texts(image, "Entrypoint"), texts(image, "Cmd")].concat()
}

/// Returns a list of strings from an image's configuration; empty if absent.
fn texts(image: &Image, key: &str) -> Vec<String> {
    let Ok(config) = serde_json::from_slice::<Value>(&image.config) else { return Vec::new() };
    let list = config.get("config").and_then(|config| config.get(key)).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Returns an environment variable of an image's configuration.
pub(crate) fn variable(image: &Image, name: &str) -> Option<String> {
    variables(image).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

impl View {
    /// Returns the base's Python: the first of the `wanted` version (major and minor), or else the
    /// first. `path` is the `PATH` of its configuration, see [`path_variable`].
    pub fn python(&self, path: Option<&str>, wanted: Option<&PythonVersion>) -> Option<BasePython> {
        let key = |version: &PythonVersion| (version.major, version.minor, version.free_threaded);
        let mut pythons = self.pythons(path);
        let at = wanted
            .and_then(|wanted| pythons.iter().position(|python| key(&python.version) == key(wanted)))
            .unwrap_or(0);
        (at < pythons.len()).then(|| pythons.swap_remove(at))
    }

    /// Returns all Pythons of the base in the order of a shell's search. Within a directory:
    /// `python3`, `python`, then versioned names, the newest first.
    pub fn pythons(&self, path: Option<&str>) -> Vec<BasePython> {
        let mut found: Vec<BasePython> = Vec::new();
        let directories = path.unwrap_or_default().split(':').filter(|path| path.starts_with('/'));
        for directory in directories.chain(DIRECTORIES) {
            let Some((directory, _)) = ImagePath::new(directory).ok().and_then(|path| self.find(&path))
            else {
                continue;
            };
            let mut commands: Vec<(u32, ImagePath)> = self
                .children(&directory)
                .filter_map(|(path, _)| Some((rank(path.file_name()?)?, path.clone())))
                .collect();
            commands.sort();
            for (_, command) in commands {
                if let Some(python) = self.python_at(command)
                    && !found.iter().any(|other| other.executable == python.executable)
                {
                    found.push(python);
                }
            }
        }
        found
    }

    fn python_at(&self, command: ImagePath) -> Option<BasePython> {
        let (executable, _) = self.find(&command)?;
        // A script of this name, such as pyenv's, is not the program.
        let machine = self.description(&executable)?.elf.machine;
        let prefix = executable.parent()?.parent()?;
        let named = PythonVersion::from_name(executable.file_name()?)
            .or_else(|| PythonVersion::from_name(command.file_name()?));
        let (version, stdlib) = self.stdlib(&prefix, named)?;
        let name = version.name();
        let header = prefix.join(&format!("include/{name}/patchlevel.h")).ok()?;
        let full_version = self
            .retained_text(header.as_str())
            .and_then(full_version_of_header)
            .or_else(|| self.version_by_package(version));
        let micro = full_version.as_deref().and_then(version_of_text).and_then(|version| version.micro);
        let debian = prefix.join("lib/python3/dist-packages").ok()?;
        let platlib = if self.lookup(&debian).is_some() {
            ImagePath::new(&format!("usr/local/lib/{name}/dist-packages")).ok()?
        } else {
            stdlib.join("site-packages").ok()?
        };
        let version = PythonVersion { micro, ..version };
        Some(BasePython { command, executable, version, full_version, prefix, stdlib, platlib, machine })
    }

    /// Finds the standard library below `prefix` and its version: the one in the program's name, or
    /// the only one.
    fn stdlib(&self, prefix: &ImagePath, named: Option<PythonVersion>) -> Option<(PythonVersion, ImagePath)> {
        let mut found: Vec<(PythonVersion, ImagePath)> = Vec::new();
        for lib in ["lib", "lib64"] {
            // With Debian's merged directories, one may be a link to the other.
            let Some((lib, _)) = prefix.join(lib).ok().and_then(|lib| self.find(&lib)) else { continue };
            for (directory, node) in self.children(&lib) {
                let is_library = node.kind == NodeKind::Directory
                    && ["os.py", "os.pyc"]
                        .iter()
                        .any(|module| directory.join(module).is_ok_and(|path| self.lookup(&path).is_some()));
                let Some(version) = directory.file_name().and_then(PythonVersion::from_name) else {
                    continue;
                };
                if is_library && !found.iter().any(|(_, other)| other == directory) {
                    found.push((version, directory.clone()));
                }
            }
        }
        match named {
            Some(named) => {
                let same =
                    |version: &PythonVersion| (version.major, version.minor) == (named.major, named.minor);
                let exact = found.iter().position(|(version, _)| *version == named);
                let at = exact.or_else(|| found.iter().position(|(version, _)| same(version)))?;
                Some(found.swap_remove(at))
            }
            None if found.len() == 1 => found.pop(),
            None => None,
        }
    }

    fn version_by_package(&self, version: PythonVersion) -> Option<String> {
        let PythonVersion { major, minor, .. } = version;
        let names = [format!("python{major}.{minor}-minimal"), format!("libpython{major}.{minor}-minimal")];
        let package = self.packages().into_iter().find(|package| names.contains(&package.name))?;
        let upstream = package.version.split_once(':').map_or(&*package.version, |(_, version)| version);
        let digits = upstream.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        version_of_text(digits).filter(|found| found.minor == minor)?;
        Some(digits.to_owned())
    }

    /// Returns the packages in dpkg's database.
    pub fn packages(&self) -> Vec<Package> {
        let mut packages = Vec::new();
        for text in self.package_databases() {
            let installed = format!("Status: install ok installed\n{}", text.trim_start());
            packages.extend(debian::packages_in(if text.contains("Status:") { text } else { &installed }));
        }
        packages
    }

    /// Returns the files of dpkg's database with packages: one, or in distroless images one for each package, without
    /// `Status`.
    pub(crate) fn package_databases(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.retained_text("var/lib/dpkg/status").into_iter().collect();
        if let Ok(directory) = ImagePath::new("var/lib/dpkg/status.d") {
            let files = self.children(&directory).filter(|(path, _)| !path.as_str().ends_with(".md5sums"));
            texts.extend(files.filter_map(|(path, _)| self.retained_text(path.as_str())));
        }
        texts
    }
}

/// Returns the rank of a command within its directory, or `None` if it is not a Python.
fn rank(name: &str) -> Option<u32> {
    match name {
        "python3" => Some(0),
        "python" => Some(1),
        _ => {
            let version = PythonVersion::from_name(name).filter(|version| version.major == 3)?;
            let minor = u32::MAX - 10 - version.minor.min(1000) * 2;
            Some(minor + u32::from(version.free_threaded))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tar, path, view};
    use super::*;
    use crate::elf::fixture::program;

    fn elf() -> Vec<u8> {
        program("/lib64/ld-linux-x86-64.so.2", &["libc.so.6"]).bytes()
    }

    /// As in the `python` images of Docker Hub, on top of Debian's own.
    fn two() -> View {
        view(&[
            Tar::default()
                .binary("usr/bin/python3.11", &elf())
                .link("usr/bin/python3", "python3.11")
                .file("usr/lib/python3.11/os.py", "")
                .dir("usr/lib/python3/dist-packages", 0o755)
                .file("var/lib/dpkg/status", "Package: python3.11-minimal\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.11.2-6+deb12u6\n"),
            Tar::default()
                .binary("usr/local/bin/python3.12", &elf())
                .link("usr/local/bin/python3", "python3.12")
                .link("usr/local/bin/python", "python3")
                .file("usr/local/lib/python3.12/os.py", "")
                .file("usr/local/include/python3.12/patchlevel.h", "#define PY_VERSION \"3.12.7\"\n"),
        ])
    }

    fn version(text: &str) -> PythonVersion {
        PythonVersion::from_name(text).unwrap()
    }

    #[test]
    fn the_first_of_the_path_is_the_base_s_python() {
        let python = two().python(None, None).unwrap();
        assert_eq!(python.command, path("usr/local/bin/python3"));
        assert_eq!(python.executable, path("usr/local/bin/python3.12"));
        assert_eq!(python.full_version.as_deref(), Some("3.12.7"));
        assert_eq!((python.version.minor, python.version.micro), (12, Some(7)));
        assert_eq!(python.prefix, path("usr/local"));
        assert_eq!(python.stdlib, path("usr/local/lib/python3.12"));
        assert_eq!(python.platlib, path("usr/local/lib/python3.12/site-packages"));
        let debian = two().python(Some("relative:/usr/bin:/usr/local/bin"), None).unwrap();
        assert_eq!(debian.executable, path("usr/bin/python3.11"));
        assert_eq!(debian.full_version.as_deref(), Some("3.11.2"), "dpkg tells it");
        assert_eq!(debian.platlib, path("usr/local/lib/python3.11/dist-packages"));
    }

    #[test]
    fn the_wanted_version_is_preferred() {
        let wanted = |name| two().python(None, Some(&version(name))).unwrap().version.minor;
        assert_eq!(wanted("python3.11"), 11);
        assert_eq!(wanted("python3.12"), 12);
        assert_eq!(wanted("python3.13"), 12, "the caller says that it differs");
    }

    #[test]
    fn free_threaded_builds_are_distinguished() {
        let both = Tar::default()
            .binary("opt/bin/python3.13", &elf())
            .binary("opt/bin/python3.13t", &elf())
            .file("opt/lib/python3.13/os.py", "")
            .file("opt/lib/python3.13t/os.py", "");
        let found = view(&[both]).pythons(Some("/opt/bin"));
        let threads: Vec<bool> = found.iter().map(|python| python.version.free_threaded).collect();
        assert_eq!(threads, [false, true]);
        let only = Tar::default().binary("opt/bin/python3", &elf()).file("opt/lib/python3.14t/os.py", "");
        let python = view(&[only]).python(Some("/opt/bin"), None).unwrap();
        assert_eq!((python.version.minor, python.version.free_threaded), (14, true));
    }

    #[test]
    fn scripts_and_programs_without_a_library_are_not_python() {
        let tar = Tar::default()
            .binary(
                "usr/bin/python3.11",
                b"#!/bin/sh\nexec something else that is long enough for a program\n",
            )
            .file("usr/lib/python3.11/os.py", "")
            .binary("usr/bin/python3.12", &elf())
            .link("usr/bin/python3", "nowhere");
        assert_eq!(view(&[tar]).pythons(None), []);
        assert_eq!(View::empty().python(None, None), None);
    }

    #[test]
    fn distroless_has_a_file_for_every_package() {
        let tar = Tar::default()
            .file("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nArchitecture: all\nVersion: 2024a\n");
        let names: Vec<String> = view(&[tar]).packages().into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["tzdata"]);
    }
}
