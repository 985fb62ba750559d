//! [`LibraryFiles`]: the shared libraries of an image, as `dlopen` and `find_library` find them.
//!
//! `dlopen` searches the file name in the loader's directories. `ctypes.util.find_library`
//! (`Lib/ctypes/util.py`) searches no directory: it runs `/sbin/ldconfig -p`, else `gcc` or `cc`, else
//! `ld` with `objdump`. An image without these finds no library, though it has the file. The
//! interpreters of Alpine search the directories of musl.

use std::collections::BTreeSet;

use memchr::memmem;

use crate::check::distributions::CheckedDistribution;
use crate::check::image::CheckedImage;
use crate::tree::ImagePath;

/// The shared libraries of an image.
pub(in crate::check) struct LibraryFiles<'a> {
    image: &'a CheckedImage,
    /// File names outside of Python's directories.
    system: BTreeSet<&'a str>,
    /// `/etc/ld.so.cache`, if its bytes are available.
    cache: Option<Vec<u8>>,
    search: LibrarySearch,
}

/// The way in which `find_library` searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LibrarySearch {
    /// `ldconfig -p`.
    Cache,
    /// The linker or the directories.
    Directories,
    /// Neither.
    Nothing,
}

/// The answer for one library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum Answer {
    /// The library is found.
    Found,
    /// The image has no such library.
    Missing,
    /// The image has the library or not; `find_library` finds none.
    NoSearch,
    /// The image has the file, which is not in the loader's cache.
    NotInCache,
}

impl<'a> LibraryFiles<'a> {
    /// Lists the libraries of `image`.
    pub(in crate::check) fn of(image: &'a CheckedImage) -> Self {
        let of_python = |path: &ImagePath| {
            image.pythons.iter().any(|python| python.sites.iter().any(|site| path.starts_with(site)))
        };
        let system: BTreeSet<&str> = image
            .iter()
            .filter(|(path, node)| !node.is_directory() && !of_python(path))
            .filter_map(|(path, _)| path.file_name().filter(|name| name.contains(".so")))
            .collect();
        let cache = ImagePath::new("/etc/ld.so.cache").ok().and_then(|path| image.read(&path));
        let search = search(image, &system);
        Self { image, system, cache, search }
    }

    /// Returns the answer of `dlopen(file)` in a module of `owner`.
    pub(in crate::check) fn open(&self, file: &str, owner: Option<&CheckedDistribution>) -> Answer {
        let is_there = if file.contains('/') {
            ImagePath::new(file).is_ok_and(|path| self.image.find(&path).is_some())
        } else {
            self.system.contains(file) || bundles(owner, file)
        };
        if is_there { Answer::Found } else { Answer::Missing }
    }

    /// Returns the answer of `find_library(name)` in a module of `owner`.
    pub(in crate::check) fn find(&self, name: &str, owner: Option<&CheckedDistribution>) -> Answer {
        let file = format!("lib{name}");
        if bundles(owner, &file) {
            return Answer::Found;
        }
        let is_there = has_start(&self.system, &file);
        match self.search {
            LibrarySearch::Nothing => Answer::NoSearch,
            _ if !is_there => Answer::Missing,
            LibrarySearch::Directories => Answer::Found,
            LibrarySearch::Cache => {
                let listed = [&b"\0"[..], file.as_bytes()].concat();
                let is_listed = self.cache.as_ref().is_none_or(|cache| {
                    memmem::find(cache, &listed).is_some()
                        || memmem::find(cache, format!("/{file}").as_bytes()).is_some()
                });
                if is_listed { Answer::Found } else { Answer::NotInCache }
            }
        }
    }

    /// Returns true if the image has a file of the library, wherever.
    pub(in crate::check) fn has(&self, file: &str) -> bool {
        self.system.contains(file)
    }
}

/// Returns true if the wheel of `owner` brings the library: `libfoo-1a2b3c.so.1` of auditwheel,
/// `libfoo_x86_64.so`.
fn bundles(owner: Option<&CheckedDistribution>, file: &str) -> bool {
    let stem = file.split(".so").next().unwrap_or(file);
    // `libspatialindex_c` and `libspatialindex` are one project's.
    let stem = stem.strip_suffix("_c").unwrap_or(stem);
    let names = owner.into_iter().flat_map(|owner| &owner.files).filter_map(ImagePath::file_name);
    has_start(&names.filter(|name| name.contains(".so")).collect(), stem)
}

/// Returns true if a name is `start`, or goes on with a character that begins a suffix.
fn has_start(names: &BTreeSet<&str>, start: &str) -> bool {
    names.range(start..).take_while(|name| name.starts_with(start)).any(|name| {
        name.get(start.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))
    })
}

fn search(image: &CheckedImage, libraries: &BTreeSet<&str>) -> LibrarySearch {
    let has = |path: &str| ImagePath::new(path).is_ok_and(|path| image.find(&path).is_some());
    let is_musl = libraries.range("ld-musl-"..).next().is_some_and(|name| name.starts_with("ld-musl-"));
    let path = image.config.variable("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let on_path = |name: &str| path.split(':').any(|directory| has(&format!("{directory}/{name}")));
    if is_musl || on_path("gcc") || on_path("cc") || on_path("ld") && on_path("objdump") {
        return LibrarySearch::Directories;
    }
    if has("/sbin/ldconfig") { LibrarySearch::Cache } else { LibrarySearch::Nothing }
}
