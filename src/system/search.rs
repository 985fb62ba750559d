//! Search paths for libraries at their new place.
//!
//! A search path (`DT_RUNPATH`, `DT_RPATH`) that names a directory of the build machine is rewritten in place
//! to the same directory in the image, relative to the file (`$ORIGIN/../lib`). Where the bytes do not allow
//! that, a link in the loader's own directory leads to the library.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SystemError;
use super::libraries::Symbols;
use super::place::{Moved, climb, image_path, lexical, moved};
use super::strip::{self, StripSymbols};
use crate::elf::{self, Elf, ElfError, Library};
use crate::tree::{Content, Entry, ImagePath, Kind, Owner, Patch};

/// A program or library in the image.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) image: ImagePath,
    pub(super) host: PathBuf,
    pub(super) elf: Elf,
    /// What changes in it.
    pub(super) patches: Vec<Patch>,
}

impl Placed {
    pub(super) fn new(image: ImagePath, host: PathBuf, elf: Elf) -> Self {
        Self { image, host, elf, patches: Vec::new() }
    }
}

/// A link that is needed: `place` shall lead to the file `real` of the build machine.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) place: ImagePath,
    pub(super) real: PathBuf,
}

/// What there is in the image beside the file that is looked at.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// Libraries that the interpreter has loaded before any module.
    pub(super) in_process: &'a BTreeSet<String>,
    /// What was found on the build machine.
    pub(super) found: &'a [&'a Vec<Library>],
    /// Where links go.
    pub(super) directory: &'a ImagePath,
    /// Where the loader looks by itself.
    pub(super) defaults: &'a BTreeSet<ImagePath>,
    /// Every file of the image that is known here.
    pub(super) standing: &'a BTreeSet<ImagePath>,
}

/// The directories whose place differs.
pub(super) fn real_moves(directories: &[Moved]) -> Vec<Moved> {
    let moves = |directory: &&Moved| image_path(&directory.host).as_ref() != Some(&directory.image);
    directories.iter().filter(moves).cloned().collect()
}

/// Rewrites search paths, and says which links are needed beside so that everything is found.
pub(super) fn complete(
    placed: &mut [Placed],
    directories: &[Moved],
    around: &Surroundings<'_>,
) -> Result<Vec<Link>, SystemError> {
    let moves = real_moves(directories);
    let mut searched = Vec::with_capacity(placed.len());
    for file in placed.iter_mut() {
        let mut path = search_path(&file.elf).to_vec();
        let new = rewritten(&path, &file.image, &moves);
        if new != path {
            match elf::rewrite_search_path(&file.host, &new.join(":")) {
                Ok(patches) => {
                    file.patches = patches;
                    path = new;
                }
                Err(ElfError::DoesNotFit { .. } | ElfError::Shared { .. } | ElfError::NoSearchPath(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        searched.push(expand(&path, &file.image));
    }
    // DT_RPATH of a program serves all that it loads.
    let inherited: Vec<ImagePath> = placed
        .iter()
        .zip(&searched)
        .filter(|(file, _)| file.elf.is_executable() && file.elf.runpath.is_empty())
        .flat_map(|(_, directories)| directories.clone())
        .collect();

    let mut hosts = BTreeMap::<&Path, BTreeMap<&str, &Library>>::new();
    for library in around.found.iter().copied().flatten() {
        for needed_by in &library.needed_by {
            hosts.entry(needed_by).or_default().insert(&library.soname, library);
        }
    }
    let mut links = Vec::new();
    for (file, directories) in placed.iter().zip(&searched) {
        let known = hosts.get(file.host.as_path());
        for soname in &file.elf.needed {
            let is_found = if soname.contains('/') {
                named_place(soname, &file.image).is_some_and(|place| around.standing.contains(&place))
            } else {
                (!file.elf.is_executable() && around.in_process.contains(soname))
                    || directories
                        .iter()
                        .chain(&inherited)
                        .chain(around.defaults)
                        .filter_map(|directory| directory.join(soname).ok())
                        .any(|place| around.standing.contains(&place))
            };
            let library = known.and_then(|known| known.get(soname.as_str()));
            if let (false, Some(library)) = (is_found, library) {
                let place = match named_place(soname, &file.image) {
                    Some(place) => place,
                    None => around.directory.join(soname)?,
                };
                links.push(Link { place, real: library.real.clone() });
            }
        }
    }
    links.sort_by(|a, b| (&a.place, &a.real).cmp(&(&b.place, &b.real)));
    Ok(links)
}

/// The search path that counts: glibc disregards `DT_RPATH` where there is a `DT_RUNPATH`.
fn search_path(elf: &Elf) -> &[String] {
    if elf.runpath.iter().any(|element| !element.is_empty()) { &elf.runpath } else { &elf.rpath }
}

/// The search path of a file that stands at `image`.
fn rewritten(path: &[String], image: &ImagePath, moves: &[Moved]) -> Vec<String> {
    let own = image.parent().unwrap_or_default();
    let mut new = Vec::with_capacity(path.len());
    for element in path {
        let element = if !element.starts_with('/') {
            element.clone()
        } else if let Some(place) = moved(moves, Path::new(element)) {
            match place.relative_to(&own).as_str() {
                "." => "$ORIGIN".to_owned(),
                relative => format!("$ORIGIN/{relative}"),
            }
        } else if is_of_the_system(Path::new(element)) {
            element.clone()
        } else {
            // Libraries that were found there stand in the loader's own directory now.
            continue;
        };
        if !new.contains(&element) {
            new.push(element);
        }
    }
    if new.is_empty() && !path.is_empty() {
        // musl takes an empty search path for the working directory.
        new.push("$ORIGIN".to_owned());
    }
    new
}

/// Whether a directory means the same on every machine.
fn is_of_the_system(directory: &Path) -> bool {
    let directory = lexical(directory);
    ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"]
        .iter()
        .any(|system| directory.starts_with(system))
}

/// The directories of the image that a search path means.
fn expand(path: &[String], image: &ImagePath) -> Vec<ImagePath> {
    path.iter().filter_map(|element| named_place(element, image)).collect()
}

/// The place that a path with `$ORIGIN`, or an absolute one, means for a file at `image`. None for a plain name.
fn named_place(text: &str, image: &ImagePath) -> Option<ImagePath> {
    if text.starts_with('/') {
        return image_path(Path::new(text));
    }
    let rest = text.strip_prefix("$ORIGIN").or_else(|| text.strip_prefix("${ORIGIN}"))?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    climb(&image.parent().unwrap_or_default(), rest)
}

/// Changes one entry of the image.
pub(super) fn apply(
    entry: &mut Entry,
    patches: &BTreeMap<ImagePath, Vec<Patch>>,
    symbols: Symbols,
) -> Result<(), SystemError> {
    let Kind::File(content) = &mut entry.kind else { return Ok(()) };
    let Content::Host(file) = content else { return Ok(()) };
    let patches: Arc<[Patch]> = patches.get(&entry.path).cloned().unwrap_or_default().into();
    let strips = symbols == Symbols::Strip && entry.owner == Owner::Interpreter && is_elf_name(&entry.path);
    if strips && file.size <= strip::LIMIT && strip::is_worth_stripping(&file.read()?) {
        let file = file.clone();
        *content = Content::Derived { file, transform: Arc::new(StripSymbols { patches }) };
    } else if !patches.is_empty() {
        *content = Content::Patched { file: file.clone(), patches };
    }
    Ok(())
}

/// Whether a file may be ELF by its name: a library, or a program, which has no ending but a version.
fn is_elf_name(path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.ends_with(".so")
        || name.contains(".so.")
        || path.parent().is_some_and(|dir| dir.file_name() == Some("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    fn moves() -> Vec<Moved> {
        vec![
            Moved { host: "/home/u/.pyenv/versions/3.11.7".into(), image: path("usr/local") },
            Moved { host: "/work/project/.venv".into(), image: path("app/.venv") },
        ]
    }

    #[test]
    fn names_directories_of_the_image_relative_to_the_file() {
        let lib = "/home/u/.pyenv/versions/3.11.7/lib";
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("usr/local/bin/python3.11", &[lib], &["$ORIGIN/../lib"]),
            ("usr/local/lib/libpython3.11.so.1.0", &[lib], &["$ORIGIN"]),
            ("usr/local/lib/python3.11/lib-dynload/_ssl.so", &[lib], &["$ORIGIN/../.."]),
            (
                "app/.venv/lib/x.so",
                &["/work/project/.venv/lib", lib],
                &["$ORIGIN", "$ORIGIN/../../../usr/local/lib"],
            ),
            ("app/.venv/lib/x.so", &["$ORIGIN/../x.libs"], &["$ORIGIN/../x.libs"]),
            ("app/.venv/lib/x.so", &["/opt/build/lib", "/usr/lib/pulseaudio"], &["/usr/lib/pulseaudio"]),
            ("app/.venv/lib/x.so", &["/opt/build/lib"], &["$ORIGIN"]),
            ("app/.venv/lib/x.so", &[lib, lib], &["$ORIGIN/../../../usr/local/lib"]),
            ("app/.venv/lib/x.so", &[], &[]),
        ];
        for (file, before, after) in cases {
            let before: Vec<String> = before.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(rewritten(&before, &path(file), &moves()), *after, "{file} {before:?}");
        }
    }

    #[test]
    fn a_directory_that_does_not_move_is_no_move() {
        let stays = Moved { host: "/usr/local".into(), image: path("usr/local") };
        let merged = Moved { host: "/lib/x".into(), image: path("usr/lib/x") };
        assert_eq!(real_moves(&[stays, merged]), []);
        assert_eq!(real_moves(&moves()), moves());
    }

    #[test]
    fn expands_origin() {
        let file = path("usr/local/bin/python3.12");
        let cases = [
            ("$ORIGIN/../lib/libpython3.12.so.1.0", Some("usr/local/lib/libpython3.12.so.1.0")),
            ("${ORIGIN}", Some("usr/local/bin")),
            ("$ORIGINAL/x", None),
            ("/lib/x", Some("usr/lib/x")),
            ("libc.so.6", None),
            ("$ORIGIN/../../../../x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(named_place(text, &file), expected.map(path), "{text}");
        }
    }
}
