//! System requirements of an environment's modules that a base lacks: libraries, symbol versions, C
//! library, architecture.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BaseError;
use super::overlay::Overlay;
use super::view::View;
use crate::elf::{Elf, LibraryClosure, LoadRoot, Loader, Machine, Missing, RootFiles};
use crate::error::FileError;

/// Libraries and symbol versions that a base lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingLibraries {
    /// Missing libraries, each with a file that needs it.
    pub libraries: Vec<Missing>,
    /// Symbol versions missing from a library that is too old.
    pub versions: Vec<MissingVersion>,
    /// The libraries that were found.
    pub closure: LibraryClosure,
}

/// A symbol version that a library lacks. The loader refuses to load the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingVersion {
    /// The file.
    pub needed_by: PathBuf,
    /// `DT_NEEDED` name of the library: `libc.so.6`.
    pub soname: String,
    /// The library that was found.
    pub library: PathBuf,
    /// The version: `GLIBC_2.38`.
    pub version: String,
    /// The library's newest version with the same prefix: `GLIBC_2.36`.
    pub newest: Option<String>,
}

impl fmt::Display for MissingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed_by, soname, library, version, newest } = self;
        write!(
            f,
            "{} needs {version} of {soname}, and the base's {}",
            needed_by.display(),
            library.display()
        )?;
        match newest {
            Some(newest) => write!(f, " goes up to {newest}"),
            None => f.write_str(" does not have it"),
        }
    }
}

/// A C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CLibrary {
    /// GNU's: Debian, Fedora and most others.
    Glibc,
    /// musl: Alpine.
    Musl,
}

impl fmt::Display for CLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        })
    }
}

/// Finds the requirements of `roots` that the image lacks. Paths are the image's.
///
/// # Errors
/// [`BaseError::Machine`] and [`BaseError::CLibrary`] for a root that its program can never load;
/// also for a root that is missing or not ELF.
pub fn missing_libraries(files: &Arc<Overlay>, roots: &[LoadRoot]) -> Result<MissingLibraries, BaseError> {
    for root in roots {
        check_loadable(files, root)?;
    }
    let loader = Loader::of(files.clone());
    let closure = loader.resolve(roots)?;
    let mut versions = Vec::new();
    let mut known = BTreeMap::new();
    let mut versions_of = |path: &Path| {
        let real = files.resolve(path).map_err(FileError::of("find", path))?;
        if let Some(found) = known.get(&real) {
            return Ok::<_, BaseError>(Arc::clone(found));
        }
        let found = Arc::new(files.versions(&real)?);
        known.insert(real, found.clone());
        Ok(found)
    };
    for library in &closure.libraries {
        let has = versions_of(&library.real)?;
        // For the loader, a library without versions satisfies any.
        if has.defines.is_empty() {
            continue;
        }
        for needer in &library.needed_by {
            // Errors within the base are not the build's.
            if !files.is_planned(needer) && !files.is_planned(&library.real) {
                continue;
            }
            let needs = versions_of(needer)?;
            let of_it = needs.needs.iter().filter(|need| need.soname == library.soname);
            for version in of_it.flat_map(|need| &need.versions) {
                if !has.defines.contains(version) {
                    versions.push(MissingVersion {
                        needed_by: needer.clone(),
                        soname: library.soname.clone(),
                        library: library.real.clone(),
                        version: version.clone(),
                        newest: newest(&has.defines, version),
                    });
                }
            }
        }
    }
    versions.sort();
    versions.dedup();
    Ok(MissingLibraries { libraries: closure.missing.clone(), versions, closure })
}

/// Rejects a module that its program can never load.
pub(crate) fn check_loadable(files: &Overlay, root: &LoadRoot) -> Result<(), BaseError> {
    let Some(module) = elf(files, &root.path)? else { return Ok(()) };
    let (machine, c_library, by) = match &root.executable {
        Some(executable) => match elf(files, executable)? {
            Some(program) => (Some(program.machine), c_library_of_program(&program), executable.clone()),
            None => return Ok(()),
        },
        None => (files.view().machine(), files.view().c_library(), PathBuf::from("the image")),
    };
    if let Some(machine) = machine
        && !module.machine.runs_with(machine)
    {
        return Err(BaseError::Machine {
            file: root.path.clone(),
            machine: name(module.machine),
            by,
            of_base: name(machine),
        });
    }
    match (c_library_of_module(&module), c_library) {
        (Some(needs), Some(has)) if needs != has => {
            Err(BaseError::CLibrary { file: root.path.clone(), needs, by, has })
        }
        _ => Ok(()),
    }
}

fn elf(files: &Overlay, path: &Path) -> Result<Option<Elf>, BaseError> {
    let real = files.resolve(path).map_err(FileError::of("find", path))?;
    Ok(files.elf(&real)?)
}

fn c_library_of_program(program: &Elf) -> Option<CLibrary> {
    let interpreter = program.interpreter.as_deref()?;
    Some(if interpreter.contains("/ld-musl-") { CLibrary::Musl } else { CLibrary::Glibc })
}

fn c_library_of_module(module: &Elf) -> Option<CLibrary> {
    module.needed.iter().find_map(|name| match name.as_str() {
        "libc.so.6" => Some(CLibrary::Glibc),
        // Alpine names its library for the architecture, other builds have musl's own name. The `libc.so` of
        // glibc is a text for the linker, which no module needs.
        name if name.starts_with("libc.musl-") || name == "libc.so" => Some(CLibrary::Musl),
        _ => None,
    })
}

fn name(machine: Machine) -> String {
    machine
        .platform()
        .map_or_else(|| format!("ELF machine {}", machine.number), |platform| platform.to_string())
}

/// Returns the newest of `defines` with the prefix of `version`: `GLIBC`, `GLIBCXX`.
fn newest(defines: &[String], version: &str) -> Option<String> {
    let (word, _) = version.rsplit_once('_')?;
    let numbers = |version: &str| -> Option<Vec<u64>> {
        let (own, number) = version.rsplit_once('_')?;
        let parts = number.split('.').map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        (own == word).then_some(parts)
    };
    let found = defines.iter().filter_map(|define| Some((numbers(define)?, define)));
    found.max().map(|(_, define)| define.clone())
}

impl View {
    /// Returns the architecture of most ELF files in the base.
    pub fn machine(&self) -> Option<Machine> {
        let mut counts = BTreeMap::<Machine, usize>::new();
        for description in self.descriptions() {
            // Flags differ between files of one machine.
            *counts.entry(description.elf.machine).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(machine, _)| machine)
    }

    /// Returns the base's C library; glibc if there are both.
    pub fn c_library(&self) -> Option<CLibrary> {
        let mut found = None;
        for (path, _) in self.iter() {
            let name = path.file_name().unwrap_or_default();
            if name == "libc.so.6" {
                return Some(CLibrary::Glibc);
            }
            if name.starts_with("ld-musl-") && name.ends_with(".so.1") {
                found = Some(CLibrary::Musl);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tar, path, view};
    use super::*;
    use crate::elf::fixture::{Fixture, NEEDED, RUNPATH, S390X, X86_64, library, program};
    use crate::tree::{Entry, Owner};

    const LD_SO: &str = "/lib64/ld-linux-x86-64.so.2";

    fn base() -> Arc<View> {
        let libc = Fixture { defines: vec!["GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_2.4"], ..library(&[]) };
        let python = program(LD_SO, &["libc.so.6"]).bytes();
        Arc::new(view(&[Tar::default()
            .link("lib", "usr/lib")
            .link("lib64", "usr/lib64")
            .binary("usr/lib64/ld-linux-x86-64.so.2", &library(&[]).bytes())
            .binary("usr/lib/libc.so.6", &libc.bytes())
            .binary("usr/lib/libz.so.1", &library(&["libc.so.6"]).bytes())
            .binary("usr/bin/python3.12", &python)]))
    }

    fn module(place: &str, fixture: &Fixture) -> Entry {
        Entry::file(path(place), fixture.bytes().into(), Owner::Environment)
    }

    fn lacking(view: &Arc<View>, entries: &[Entry]) -> Result<MissingLibraries, BaseError> {
        let files = Arc::new(Overlay::new(view.clone(), entries).unwrap());
        let root = |entry: &Entry| LoadRoot::loaded_by(entry.path.to_string(), "/usr/bin/python3.12");
        let modules = entries.iter().filter(|entry| entry.path.as_str().starts_with("app"));
        missing_libraries(&files, &modules.map(root).collect::<Vec<_>>())
    }

    #[test]
    fn libraries_of_the_base_are_found_and_others_missing() {
        let needs = library(&["libz.so.1", "libssl.so.3", "libc.so.6"]);
        let found = lacking(&base(), &[module("app/x.so", &needs)]).unwrap();
        let missing: Vec<&str> = found.libraries.iter().map(|missing| &*missing.soname).collect();
        assert_eq!(missing, ["libssl.so.3"]);
        let zlib = found.closure.libraries.iter().find(|library| library.soname == "libz.so.1").unwrap();
        assert_eq!(zlib.path, Path::new("/lib/libz.so.1"));
        assert_eq!(zlib.real, Path::new("/usr/lib/libz.so.1"));
    }

    #[test]
    fn a_planned_library_is_found() {
        let ssl = module("lib/libssl.so.3", &library(&["libc.so.6"]));
        let found = lacking(&base(), &[module("app/x.so", &library(&["libssl.so.3"])), ssl]).unwrap();
        assert_eq!(found.libraries, []);
        assert_eq!(found.closure.libraries[1].real, Path::new("/usr/lib/libssl.so.3"));
    }

    /// Gives a library another search path.
    #[derive(Debug)]
    struct Moved(Fixture);

    impl crate::tree::Transform for Moved {
        fn apply(&self, _: Vec<u8>) -> Result<Vec<u8>, crate::tree::TransformError> {
            Ok(self.0.bytes())
        }

        fn identity(&self) -> String {
            "moved".to_owned()
        }
    }

    #[test]
    fn a_rewritten_library_is_read_after_the_rewrite() {
        let ssl = module("opt/own/libssl.so.3", &library(&["libc.so.6"]));
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("x.so");
        // Here the library is elsewhere than in the image.
        let with = |runpath: &str| {
            let named = vec![(NEEDED, "libssl.so.3".to_owned()), (RUNPATH, runpath.to_owned())];
            Fixture { named, ..library(&[]) }
        };
        fs_err::write(&host, with("/home/me/lib").bytes()).unwrap();
        let file = crate::tree::HostFile::new(host).unwrap();
        let content =
            crate::tree::Content::Derived { file, transform: Arc::new(Moved(with("$ORIGIN/../opt/own"))) };
        let module = Entry::file(path("app/x.so"), content, Owner::Environment);
        assert_eq!(lacking(&base(), &[module, ssl]).unwrap().libraries, []);
    }

    #[test]
    fn an_old_base_is_reported_with_its_newest_version() {
        let new = vec![("libc.so.6", "GLIBC_2.38"), ("libc.so.6", "GLIBC_2.4")];
        let needs = Fixture { versions: new, ..library(&["libc.so.6"]) };
        let found = lacking(&base(), &[module("app/x.so", &needs)]).unwrap();
        let said: Vec<String> = found.versions.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "/app/x.so needs GLIBC_2.38 of libc.so.6, and the base's /usr/lib/libc.so.6 goes up to GLIBC_2.36"
            ]
        );
    }

    #[test]
    fn another_architecture_is_an_error_that_names_both() {
        let other = Fixture { machine: S390X, ..library(&[]) };
        let error = lacking(&base(), &[module("app/x.so", &other)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot load /app/x.so: built for s390x, and /usr/bin/python3.12 for amd64"
        );
        assert_eq!(base().machine(), Some(X86_64));
    }

    #[test]
    fn glibc_wheels_on_a_musl_base_are_an_error() {
        let musl = "/lib/ld-musl-x86_64.so.1";
        let base = Arc::new(view(&[Tar::default()
            .binary("lib/ld-musl-x86_64.so.1", &library(&[]).bytes())
            .binary("usr/bin/python3.12", &program(musl, &["libc.musl-x86_64.so.1"]).bytes())]));
        assert_eq!(base.c_library(), Some(CLibrary::Musl));
        let error = lacking(&base, &[module("app/x.so", &library(&["libc.so.6"]))]).unwrap_err();
        assert!(
            error.to_string().contains("/app/x.so: built for glibc, and /usr/bin/python3.12 for musl"),
            "{error}"
        );
        assert!(lacking(&base, &[module("app/x.so", &library(&["libc.musl-x86_64.so.1"]))]).is_ok());
        assert!(lacking(&base, &[module("app/x.so", &library(&["libc.so"]))]).is_ok());
    }

    #[test]
    fn musl_modules_on_a_glibc_base_are_an_error() {
        for name in ["libc.musl-x86_64.so.1", "libc.so"] {
            let error = lacking(&self::base(), &[module("app/x.so", &library(&[name]))]).unwrap_err();
            assert!(error.to_string().contains("built for musl, and "), "{error}");
        }
    }

    #[test]
    fn on_an_empty_base_everything_is_missing() {
        let python = module("usr/bin/python3.12", &program(LD_SO, &["libc.so.6"]));
        let entries = [python, module("app/x.so", &library(&["libz.so.1", "libc.so.6"]))];
        let found = lacking(&Arc::new(View::empty()), &entries).unwrap();
        let missing: Vec<&str> = found.libraries.iter().map(|missing| &*missing.soname).collect();
        assert_eq!(missing, [LD_SO, "libc.so.6", "libc.so.6", "libz.so.1"]);
    }
}
