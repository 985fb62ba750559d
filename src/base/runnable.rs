//! A base's Python on this machine: its files in a folder of the cache, started through its own loader.
//!
//! Nothing of this machine is needed but a shell and a processor of the base's architecture. The program, its
//! loader and its libraries are in one folder; a script in the place of the program starts the loader with them.
//! Python finds its standard library and an environment around a link to the script by `argv[0]`, as usual, since
//! the loader passes the script's path on (`--argv0`, glibc 2.33 and musl 1.2.3).

#![allow(clippy::disallowed_methods)] // The files follow from the base, which identifies a plan.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::{Location, NodeKind};
use super::overlay::Overlay;
use super::{BaseError, BasePython, View};
use crate::cache::{PYTHONS_FOLDER, mark_used};
use crate::digest::Digest;
use crate::elf::{LoadRoot, Loader, Machine};
use crate::error::FileError;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::staging::{Staging, remove_tree};
use crate::tree::{ImagePath, KeyHasher};

/// glibc, and its oldest version whose loader has `--argv0`.
const LIBC: &str = "libc.so.6";
const OLDEST_GLIBC: (u32, u32) = (2, 33);

/// Limits of an unpacked Python.
const MAX_FILES: u64 = 100_000;
const MAX_BYTES: u64 = 4 << 30;

/// The names of the program and of the folder of its libraries, below the folder of a Python.
const PROGRAM: &str = "program";
const LIBRARIES: &str = "libraries";
/// The loader, in the folder of the libraries.
const LOADER: &str = "loader";

/// Libraries that a C library opens by name.
const OPENED: [&str; 1] = ["libgcc_s.so.1"];

/// A file beside those of the base.
pub(crate) struct PythonFile {
    /// The place below the folder of the Python.
    pub(crate) place: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// A Python of a base in a folder of this machine.
pub(crate) struct UnpackedPython {
    /// The script that starts the program.
    pub(crate) program: PathBuf,
    pub(crate) prefix: PathBuf,
    pub(crate) stdlib: PathBuf,
    pub(crate) machine: Machine,
}

/// The files of a Python that make it start on this machine.
pub(crate) struct RunnablePython<'a> {
    view: Arc<View>,
    python: &'a BasePython,
    /// The places of each file, below the folder of the Python.
    places: BTreeMap<Location, Vec<PathBuf>>,
    more: Vec<PythonFile>,
}

impl<'a> RunnablePython<'a> {
    /// Finds the files of `python` in `view`; `None` if this machine cannot execute its program, or the base's glibc
    /// is too old to start it. Layers above the
    /// program's do not count, so that images on one base have one Python.
    ///
    /// `cache` has the index of each layer.
    ///
    /// # Errors
    /// If the base's libraries cannot be read, or there are too many files.
    pub(crate) fn find(
        view: &View,
        python: &'a BasePython,
        cache: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Option<Self>, BaseError> {
        let own = Platform::of_this_program();
        let machine = python.machine.platform().filter(|machine| machine.architecture == own.architecture);
        if own.os != "linux" || machine.is_none() {
            return Ok(None);
        }
        let Some(layers) = view
            .lookup(&python.executable)
            .and_then(|node| view.layers.get(..=usize::try_from(node.location.layer).ok()?))
        else {
            return Ok(None);
        };
        let view = Arc::new(View::of_layers(layers, cache, progress)?);
        let Some(program) = view.description(&python.executable) else { return Ok(None) };
        let Some(loader) = program.elf.interpreter.as_deref() else { return Ok(None) };
        let Some(loader) = ImagePath::new(loader).ok().and_then(|loader| view.resolve(&loader).ok()) else {
            return Ok(None);
        };
        let mut found = Self { view: view.clone(), python, places: BTreeMap::new(), more: Vec::new() };
        let libraries = Path::new(LIBRARIES);
        found.add(&python.executable, PROGRAM.into());
        found.add(&loader, libraries.join(LOADER));
        let closure = found.libraries()?;
        if let Some(libc) = closure.get(LIBC)
            && !view.description(libc).is_some_and(|libc| passes_argv0(&libc.versions.defines))
        {
            return Ok(None);
        }
        for (soname, real) in closure {
            found.add(&real, libraries.join(soname));
        }
        let name = python.version.name();
        let headers = python.prefix.join(&format!("include/{name}"))?;
        for directory in [&python.stdlib, &headers] {
            for (path, node) in view.below(directory) {
                // Bytecode follows from the source; the Python writes its own.
                let is_bytecode =
                    path.parent().is_some_and(|parent| parent.file_name() == Some("__pycache__"));
                if is_bytecode || node.kind == NodeKind::Directory {
                    continue;
                }
                let Some((real, _)) = view.find(path) else { continue };
                found.add(&real, PathBuf::from(path.as_str()));
            }
        }
        found.check_limits()?;
        Ok(Some(found))
    }

    /// Adds files that the base has not.
    #[must_use]
    pub(crate) fn with(self, more: Vec<PythonFile>) -> Self {
        Self { more, ..self }
    }

    /// Unpacks the files in the folder `cache`, unless they are there.
    ///
    /// # Errors
    /// If a layer cannot be read or the folder not be written.
    pub(crate) fn unpack(&self, cache: &Path) -> Result<UnpackedPython, BaseError> {
        let folder = cache.join(PYTHONS_FOLDER);
        fs_err::create_dir_all(&folder).map_err(FileError::of("create", &folder))?;
        let folder = fs_err::canonicalize(&folder).map_err(FileError::of("read", &folder))?;
        let root = folder.join(self.key(&folder).hex());
        let place = |path: &ImagePath| root.join(path.as_str());
        let unpacked = UnpackedPython {
            program: place(&self.python.executable),
            prefix: place(&self.python.prefix),
            stdlib: place(&self.python.stdlib),
            machine: self.python.machine,
        };
        if unpacked.program.is_file() {
            mark_used(&root);
            return Ok(unpacked);
        }
        let staging = Staging::in_cache(cache).map_err(FileError::of("write in", cache))?;
        let made = staging.path().join("python");
        self.write_files(&made)?;
        let script = made.join(self.python.executable.as_str());
        write_script(&script, &root).map_err(FileError::of("write", &script))?;
        match fs_err::rename(&made, &root) {
            Ok(()) => Ok(unpacked),
            // Another build was faster, or has damaged the folder.
            Err(_) if unpacked.program.is_file() => Ok(unpacked),
            Err(_) if root.is_dir() => {
                remove_tree(&root).map_err(FileError::of("remove", &root))?;
                fs_err::rename(&made, &root).map_err(FileError::of("create", &root))?;
                Ok(unpacked)
            }
            Err(error) => Err(FileError::new("create", root, error).into()),
        }
    }

    fn add(&mut self, real: &ImagePath, place: PathBuf) {
        let file = self.view.lookup(real).filter(|node| node.kind == NodeKind::File);
        if let Some(node) = file {
            self.places.entry(node.location).or_default().push(place);
        }
    }

    /// Returns the libraries that the program and its modules load, by name.
    fn libraries(&self) -> Result<BTreeMap<String, ImagePath>, BaseError> {
        let host = |path: &ImagePath| Path::new("/").join(path.as_str());
        let executable = host(&self.python.executable);
        let is_module = |path: &&ImagePath| {
            path.file_name().is_some_and(|name| name.ends_with(".so"))
                && self.view.description(path).is_some()
        };
        let modules = self.view.below(&self.python.stdlib).map(|(path, _)| path).filter(is_module);
        let roots: Vec<LoadRoot> = std::iter::once(LoadRoot::new(&executable))
            .chain(modules.map(|module| LoadRoot::loaded_by(host(module), &executable)))
            .collect();
        let files = Arc::new(Overlay::new(self.view.clone(), [])?);
        let closure = Loader::of(files).resolve(&roots)?;
        let mut libraries = BTreeMap::new();
        for library in closure.libraries {
            let real = ImagePath::new(&library.real.to_string_lossy())?;
            for opened in OPENED {
                let beside = real.parent().and_then(|folder| folder.join(opened).ok());
                if let Some((found, _)) = beside.and_then(|path| self.view.find(&path)) {
                    libraries.entry(opened.to_owned()).or_insert(found);
                }
            }
            // A name may be a path, in which case the loader does not search.
            if !library.soname.contains('/') {
                libraries.entry(library.soname).or_insert(real);
            }
        }
        Ok(libraries)
    }

    fn check_limits(&self) -> Result<(), BaseError> {
        let files = self.places.values().map(|places| places.len() as u64).sum::<u64>();
        if files > MAX_FILES {
            return Err(BaseError::Limit { what: "files of Python", limit: MAX_FILES });
        }
        let is_wanted = |location: &Location| self.places.contains_key(location);
        let sizes = self.view.iter().filter(|(_, node)| is_wanted(&node.location)).map(|(_, node)| node.size);
        if sizes.sum::<u64>() > MAX_BYTES {
            return Err(BaseError::Limit { what: "bytes of Python", limit: MAX_BYTES });
        }
        Ok(())
    }

    /// Returns the digest of everything that decides the folder's files. The script has the path of `folder`.
    fn key(&self, folder: &Path) -> Digest {
        let mut key = KeyHasher::new("Python of a base, 1");
        key.add(folder.as_os_str().as_encoded_bytes());
        for (location, places) in &self.places {
            let layer = usize::try_from(location.layer).ok().and_then(|number| self.view.layers.get(number));
            key.add(layer.map(|layer| layer.diff_id.to_string()).unwrap_or_default().as_bytes());
            key.add(&location.member.to_le_bytes());
            for place in places {
                key.add(place.as_os_str().as_encoded_bytes());
            }
        }
        for PythonFile { place, bytes } in &self.more {
            key.add(place.as_os_str().as_encoded_bytes());
            key.add(Digest::of(bytes).as_bytes());
        }
        key.finish()
    }

    fn write_files(&self, root: &Path) -> Result<(), BaseError> {
        let is_wanted = |location: &Location| self.places.contains_key(location);
        self.view.visit_files(&|_, node| is_wanted(&node.location), &mut |_, node, content| {
            self.write(root, node.location, content)
        })?;
        for PythonFile { place, bytes } in &self.more {
            let place = root.join(place);
            let written = create_parent(&place).and_then(|()| fs_err::write(&place, bytes));
            written.map_err(FileError::of("write", &place))?;
        }
        Ok(())
    }

    fn write(&self, root: &Path, location: Location, content: &mut dyn Read) -> io::Result<()> {
        let Some((first, others)) = self.places.get(&location).and_then(|places| places.split_first()) else {
            return Ok(());
        };
        let first = root.join(first);
        create_parent(&first)?;
        io::copy(content, &mut fs_err::File::create_new(&first)?)?;
        let is_program = first.starts_with(root.join(LIBRARIES)) || first == root.join(PROGRAM);
        let mode = if is_program { 0o755 } else { 0o644 };
        fs_err::set_permissions(&first, Permissions::from_mode(mode))?;
        for other in others {
            let other = root.join(other);
            create_parent(&other)?;
            fs_err::hard_link(&first, &other)?;
        }
        Ok(())
    }
}

/// Returns true if the loader of the glibc that defines these versions passes `--argv0` on.
fn passes_argv0(versions: &[String]) -> bool {
    let parse = |version: &String| {
        let (major, minor) = version.strip_prefix("GLIBC_")?.split_once('.')?;
        // The third number of `GLIBC_2.2.5` does not matter.
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    versions.iter().filter_map(parse).max() >= Some(OLDEST_GLIBC)
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs_err::create_dir_all)
}

/// Writes the script that starts the program in `root`.
fn write_script(script: &Path, root: &Path) -> io::Result<()> {
    let libraries = root.join(LIBRARIES);
    let [loader, folder, program] =
        [&libraries.join(LOADER), &libraries, &root.join(PROGRAM)].map(|path| quoted(path));
    let text = format!(
        "#!/bin/sh\nexec {} --argv0 \"$0\" --library-path {} {} \"$@\"\n",
        loader?, folder?, program?
    );
    create_parent(script)?;
    fs_err::write(script, text)?;
    fs_err::set_permissions(script, Permissions::from_mode(0o755))
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
    if text.contains([':', ';']) {
        return Err(io::Error::other("the path has a colon or semicolon, at which the loader splits"));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_glibc_does_not_pass_the_name_of_the_program() {
        let passes = |versions: &[&str]| {
            passes_argv0(&versions.iter().map(|version| (*version).to_owned()).collect::<Vec<_>>())
        };
        assert!(passes(&["GLIBC_2.2.5", "GLIBC_2.33", "GLIBC_PRIVATE"]));
        // A port that is younger than this version.
        assert!(passes(&["GLIBC_2.36"]));
        assert!(!passes(&["GLIBC_2.2.5", "GLIBC_2.31", "GLIBC_2.4"]));
        assert!(!passes(&[]));
    }
    use crate::base::testing::{Tar, path, view};
    use crate::elf::fixture::{Fixture, S390X, library, program};
    use crate::progress::Silent;

    /// A base with Python 3.13, whose program and loader are these files.
    fn base(python: &Fixture, loader: &[u8]) -> Tar {
        Tar::default()
            .binary("usr/bin/python3.13", &python.bytes())
            .link("usr/bin/python3", "python3.13")
            .binary("usr/lib/x/ld.so", loader)
            .link("lib64", "usr/lib/x")
            .binary("usr/lib/libc.so.6", &libc("GLIBC_2.36").bytes())
            .binary("usr/lib/libm.so.6", &library(&["libc.so.6"]).bytes())
            .file("usr/lib/python3.13/os.py", "os")
            .file("usr/lib/python3.13/__pycache__/os.cpython-313.pyc", "x")
            .binary("usr/lib/python3.13/lib-dynload/math.so", &library(&["libm.so.6"]).bytes())
            .link("usr/lib/python3.13/sitecustomize.py", "/etc/python3.13/sitecustomize.py")
            .link("usr/lib/python3.13/gone.py", "/etc/gone.py")
            .file("etc/python3.13/sitecustomize.py", "site")
            .file("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    }

    fn libc(version: &'static str) -> Fixture {
        Fixture { defines: vec!["GLIBC_2.2.5", version], ..library(&[]) }
    }

    fn own() -> Fixture {
        program("/lib64/ld.so", &["libc.so.6"])
    }

    fn found(view: &View, then: impl FnOnce(&RunnablePython<'_>)) -> bool {
        let python = view.pythons(None).remove(0);
        let found = RunnablePython::find(view, &python, None, &Silent).unwrap();
        let is_found = found.is_some();
        if let Some(found) = &found {
            then(found);
        }
        is_found
    }

    #[test]
    fn the_files_of_python_are_unpacked_without_links() {
        if Platform::of_this_program().architecture != "amd64" {
            return;
        }
        let cache = tempfile::tempdir().unwrap();
        // The loader is a script here, which prints its arguments.
        let view = view(&[base(&own(), b"#!/bin/sh\nprintf '%s\\n' \"$@\"\n")]);
        let is_found = found(&view, |python| {
            let program = python.unpack(cache.path()).unwrap().program;
            let root = program.ancestors().nth(3).unwrap().to_owned();
            let files: Vec<String> = walkdir::WalkDir::new(&root)
                .sort_by_file_name()
                .into_iter()
                .map(Result::unwrap)
                .filter(|entry| !entry.file_type().is_dir())
                .map(|entry| {
                    assert!(entry.file_type().is_file(), "{entry:?}");
                    entry.path().strip_prefix(&root).unwrap().display().to_string()
                })
                .collect();
            assert_eq!(
                files,
                [
                    "libraries/libc.so.6",
                    "libraries/libm.so.6",
                    "libraries/loader",
                    "program",
                    "usr/bin/python3.13",
                    "usr/lib/python3.13/lib-dynload/math.so",
                    "usr/lib/python3.13/os.py",
                    "usr/lib/python3.13/sitecustomize.py",
                ]
            );
            let text = fs_err::read_to_string(root.join("usr/lib/python3.13/sitecustomize.py")).unwrap();
            assert_eq!(text, "site");
            let link = cache.path().join("python");
            std::os::unix::fs::symlink(&program, &link).unwrap();
            let printed = std::process::Command::new(&link).args(["-c", "a b"]).output().unwrap().stdout;
            let real = root.display();
            let expected = format!(
                "--argv0\n{}\n--library-path\n{real}/libraries\n{real}/program\n-c\na b\n",
                link.display()
            );
            assert_eq!(String::from_utf8(printed).unwrap(), expected);
            // Again, from the cache.
            assert_eq!(python.unpack(cache.path()).unwrap().program, program);
        });
        assert!(is_found);
    }

    #[test]
    fn layers_above_the_program_do_not_count() {
        if Platform::of_this_program().architecture != "amd64" {
            return;
        }
        let folder = Path::new("/cache");
        let lower = base(&own(), b"loader");
        let upper = Tar::default().file("usr/lib/python3.13/more.py", "x");
        let mut keys = Vec::new();
        for layers in [vec![lower.clone()], vec![lower.clone(), upper]] {
            assert!(found(&view(&layers), |python| keys.push(python.key(folder))));
        }
        assert_eq!(keys[0], keys[1]);
        assert!(found(&view(&[lower]), |python| keys.push(python.key(Path::new("/other")))));
        assert_ne!(keys[0], keys[2]);
    }

    #[test]
    fn programs_of_other_machines_and_without_a_loader_are_not_started() {
        let other = Fixture { machine: S390X, ..own() };
        for python in [other, library(&[])] {
            assert!(!found(&view(&[base(&python, b"loader")]), |_| ()));
        }
        let missing = program("/lib64/none.so", &[]);
        assert!(!found(&view(&[base(&missing, b"loader")]), |_| ()));
        let old = Tar::default().binary("usr/lib/libc.so.6", &libc("GLIBC_2.31").bytes());
        let above = Tar::default().binary("usr/bin/python3.13", &own().bytes());
        assert!(!found(&view(&[base(&own(), b"loader"), old, above]), |_| ()));
        let link = path("lib64");
        assert!(view(&[base(&own(), b"loader")]).lookup(&link).is_some());
    }

    #[test]
    fn paths_are_quoted_for_the_shell_and_the_loader() {
        assert_eq!(quoted(Path::new("/a b/$c")).unwrap(), "'/a b/$c'");
        assert_eq!(quoted(Path::new("/it's")).unwrap(), r"'/it'\''s'");
        assert!(quoted(Path::new("/a:b")).is_err() && quoted(Path::new("/a;b")).is_err());
    }
}
