//! Standard library modules missing from a base's Python.
//!
//! Distributors split CPython: Debian's `python3.11-minimal` contains the program and about half of
//! the library. [`MODULES`] is contained in every complete CPython from 3.9 to 3.15, and in the
//! main package of every distribution that splits off the parts services rarely need (`tkinter`,
//! `idlelib`, `test`, `venv`, `ensurepip`, `distutils`, `lib2to3`, `curses`, `dbm`, `sqlite3`,
//! `pydoc`). The latter are not checked.

use super::node::NodeKind;
use super::python::BasePython;
use super::view::View;
use crate::tree::ImagePath;

/// Imports of the interpreter, packaging metadata, asyncio and web servers.
pub(crate) const MODULES: [&str; 95] = [
    "__future__",
    "_collections_abc",
    "abc",
    "argparse",
    "ast",
    "asyncio",
    "base64",
    "bisect",
    "calendar",
    "codecs",
    "collections",
    "concurrent",
    "configparser",
    "contextlib",
    "contextvars",
    "copy",
    "copyreg",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "dis",
    "email",
    "encodings",
    "enum",
    "fnmatch",
    "functools",
    "genericpath",
    "getpass",
    "gettext",
    "glob",
    "gzip",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "http",
    "importlib",
    "inspect",
    "io",
    "ipaddress",
    "json",
    "keyword",
    "linecache",
    "locale",
    "logging",
    "mimetypes",
    "multiprocessing",
    "numbers",
    "opcode",
    "operator",
    "os",
    "pathlib",
    "pickle",
    "pkgutil",
    "platform",
    "posixpath",
    "queue",
    "quopri",
    "random",
    "re",
    "reprlib",
    "runpy",
    "secrets",
    "selectors",
    "shlex",
    "shutil",
    "signal",
    "site",
    "socket",
    "socketserver",
    "ssl",
    "stat",
    "string",
    "stringprep",
    "struct",
    "subprocess",
    "sysconfig",
    "tarfile",
    "tempfile",
    "textwrap",
    "threading",
    "token",
    "tokenize",
    "traceback",
    "tracemalloc",
    "types",
    "typing",
    "urllib",
    "uuid",
    "warnings",
    "weakref",
    "xml",
    "zipfile",
    "zoneinfo",
];

impl View {
    /// Returns the standard library modules that `python` lacks, in order. Returns none if the
    /// library is an archive.
    pub fn missing_modules(&self, python: &BasePython) -> Vec<&'static str> {
        let archive = format!("python{}{}.zip", python.version.major, python.version.minor);
        let lib = python.stdlib.parent().unwrap_or_default();
        let is_file = |node: &NodeKind| *node == NodeKind::File;
        if lib
            .join(&archive)
            .ok()
            .and_then(|path| self.find(&path))
            .is_some_and(|(_, node)| is_file(&node.kind))
        {
            return Vec::new();
        }
        MODULES.into_iter().filter(|module| !self.has_module(&python.stdlib, module)).collect()
    }

    fn has_module(&self, stdlib: &ImagePath, module: &str) -> bool {
        let files = [".py", ".pyc", "/__init__.py", "/__init__.pyc"];
        files.iter().any(|end| {
            let path = stdlib.join(&format!("{module}{end}")).ok();
            path.and_then(|path| self.find(&path)).is_some_and(|(_, node)| node.kind == NodeKind::File)
        })
    }

    /// Returns the Debian package with the rest of the standard library, if dpkg's database or the
    /// layout of the library belongs to Debian.
    pub fn package_of_stdlib(&self, python: &BasePython) -> Option<String> {
        let name = format!("python{}.{}", python.version.major, python.version.minor);
        let minimal = [format!("{name}-minimal"), format!("lib{name}-minimal")];
        let is_split = self.packages().iter().any(|package| minimal.contains(&package.name));
        let is_of_debian = python.platlib.file_name() == Some("dist-packages");
        (is_split || is_of_debian).then(|| format!("lib{name}-stdlib"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tar, view};
    use super::*;
    use crate::elf::fixture::program;

    fn python(tar: Tar) -> (View, BasePython) {
        let elf = program("/lib64/ld-linux-x86-64.so.2", &["libc.so.6"]).bytes();
        let view = view(&[tar.binary("usr/bin/python3.11", &elf).file("usr/lib/python3.11/os.py", "")]);
        let python = view.python(None, None).unwrap();
        (view, python)
    }

    /// A library without the modules in `without`; the file forms of the others alternate.
    fn library(without: &[&str]) -> Tar {
        let modules = MODULES.iter().filter(|module| **module != "os" && !without.contains(module));
        modules.enumerate().fold(Tar::default(), |tar, (at, module)| {
            let form = [".py", ".pyc", "/__init__.py", "/__init__.pyc"][at % 4];
            tar.file(&format!("usr/lib/python3.11/{module}{form}"), "")
        })
    }

    #[test]
    fn a_complete_library_lacks_no_module() {
        let (view, python) = python(library(&[]));
        assert_eq!(view.missing_modules(&python), Vec::<&str>::new());
        assert_eq!(view.package_of_stdlib(&python), None);
    }

    #[test]
    fn missing_modules_are_named_with_their_package() {
        let status = "Package: python3.11-minimal\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.11.2-6\n";
        let tar = library(&["http", "asyncio"]).file("var/lib/dpkg/status", status);
        let (view, python) = python(tar.dir("usr/lib/python3.11/http", 0o755));
        assert_eq!(view.missing_modules(&python), ["asyncio", "http"]);
        assert_eq!(view.package_of_stdlib(&python).as_deref(), Some("libpython3.11-stdlib"));
    }

    #[test]
    fn a_library_in_an_archive_is_assumed_complete() {
        let (view, python) = python(Tar::default().file("usr/lib/python311.zip", "x"));
        assert_eq!(view.missing_modules(&python), Vec::<&str>::new());
    }

    #[test]
    fn this_machine_s_interpreter_has_every_module() {
        let names = std::process::Command::new("python3")
            .args(["-c", "import sys; print(' '.join(sys.stdlib_module_names))"])
            .output()
            .unwrap();
        let names = String::from_utf8(names.stdout).unwrap();
        let names: Vec<&str> = names.split_whitespace().collect();
        assert!(MODULES.iter().all(|module| names.contains(module)));
    }
}
