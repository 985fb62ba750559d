//! `/etc/ld.so.cache`, as ldconfig(8) makes it after an installation: `ctypes.util.find_library` and programs find
//! libraries by it, and libraries in other than the loader's default directories are found by nothing else.
//!
//! Owns the writing of the format `glibc-ld.so.cache1.1` (glibc, `sysdeps/generic/dl-cache.h`). Builds of a library for
//! some processors are left out. The names are those of files and links: Debian's libraries have a link with their
//! `SONAME` (Debian Policy, section 8.1). Other links of versions are in the cache too.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::InstallError;
use super::package_tree::{FollowedLinks, PackageTree, TreeNode};
use super::unpack::UnpackedPackage;
use crate::tree::{Entry, ImagePath, Kind, Owner};

const CACHE: &str = "etc/ld.so.cache";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// The field for the byte order: little-endian.
const LITTLE: u8 = 2;

/// A library: its name and path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CachedLibrary {
    name: String,
    path: String,
    flags: u32,
}

/// Returns the flags of an architecture's libraries (glibc, `sysdeps/generic/ldconfig.h`) and its library directory.
fn architecture_of(name: &str) -> Option<(u32, &'static str)> {
    Some(match name {
        "amd64" => (0x0303, "x86_64-linux-gnu"),
        "arm64" => (0x0a03, "aarch64-linux-gnu"),
        "armhf" => (0x0903, "arm-linux-gnueabihf"),
        "i386" => (0x0003, "i386-linux-gnu"),
        "ppc64el" => (0x0503, "powerpc64le-linux-gnu"),
        "riscv64" => (0x1003, "riscv64-linux-gnu"),
        _ => return None,
    })
}

/// Adds the libraries of the packages to the cache, where ldconfig is installed.
pub(super) fn configure(
    packages: &[UnpackedPackage],
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    let mut architectures = packages.iter().map(|package| package.control.architecture());
    let Some((flags, multiarch)) = architectures.find_map(architecture_of) else { return Ok(()) };
    if !tree.exists("usr/sbin/ldconfig") && !tree.exists("sbin/ldconfig") {
        return Ok(());
    }
    let mut libraries = match tree.read(CACHE)? {
        Some(bytes) => match parse(&bytes) {
            Some(libraries) => libraries,
            // Of a glibc before 2.32.
            None => return Ok(()),
        },
        None => Vec::new(),
    };
    let known = libraries.len();
    let mut seen = BTreeSet::new();
    for directory in directories(multiarch, tree)? {
        let Some(place) = tree.resolve(&directory, FollowedLinks::All) else { continue };
        if seen.insert(place.clone()) {
            let names = names_in(&place, tree)?;
            let paths = names.into_iter().map(|name| (format!("{directory}/{name}"), name));
            libraries.extend(paths.map(|(path, name)| CachedLibrary { name, path, flags }));
        }
    }
    if libraries.len() == known {
        return Ok(());
    }
    libraries.sort_by(|a, b| compare(&b.name, &a.name).then(b.flags.cmp(&a.flags)));
    let mut paths = BTreeSet::new();
    libraries.retain(|library| paths.insert((library.name.clone(), library.path.clone())));
    tree.write_file(CACHE, written(&libraries), &Owner::System);
    Ok(())
}

/// Returns the directories of `/etc/ld.so.conf.d`, then the default ones.
fn directories(multiarch: &str, tree: &PackageTree<'_>) -> Result<Vec<String>, InstallError> {
    let mut found = Vec::new();
    if let Ok(folder) = ImagePath::new("etc/ld.so.conf.d") {
        let files: BTreeSet<String> =
            tree.below(&folder).map(|entry| entry.path.as_str().to_owned()).collect();
        // Files of the base that no package of this layer has: of libc-bin and libc6.
        let lower = ["libc.conf".to_owned(), format!("{multiarch}.conf")];
        let files = files.into_iter().chain(lower.map(|name| format!("{}/{name}", folder.as_str())));
        for file in files.collect::<BTreeSet<_>>().into_iter().filter(|file| file.ends_with(".conf")) {
            let text = tree.read_text(&file)?.unwrap_or_default();
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            found.extend(
                lines.filter(|line| line.starts_with('/')).map(|line| line.trim_end_matches('/').to_owned()),
            );
        }
    }
    let own = [format!("/lib/{multiarch}"), format!("/usr/lib/{multiarch}")];
    found.extend(own.into_iter().chain(["/lib".to_owned(), "/usr/lib".to_owned()]));
    Ok(found)
}

/// Returns the names of the libraries in a directory.
fn names_in(directory: &ImagePath, tree: &PackageTree<'_>) -> Result<Vec<String>, InstallError> {
    let is_library = |name: &str| {
        (name.starts_with("lib") || name.starts_with("ld-"))
            && name.contains(".so")
            && !name.ends_with(".py")
            && !name.contains('/')
    };
    let mut names = Vec::new();
    let mut linked = BTreeSet::new();
    for entry in tree.below(directory) {
        let Some(name) = entry.path.strip_prefix(directory).filter(|name| is_library(name)) else { continue };
        let Some(file) = tree.resolve(entry.path.as_str(), FollowedLinks::All) else { continue };
        if tree.node(&file) != Some(TreeNode::File) || !is_elf(tree.entry(&file), tree)? {
            continue;
        }
        // The link `libz.so.1` has the SONAME of the file `libz.so.1.2.13`.
        let is_soname = |file: &str| file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        if file != entry.path
            && let Some(target) = file.strip_prefix(directory)
            && is_soname(target)
            && !name.ends_with(".so")
        {
            linked.insert(target.to_owned());
        }
        names.push(name.to_owned());
    }
    names.retain(|name| !linked.contains(name));
    Ok(names)
}

/// Returns true for an ELF file; linker scripts of development packages have names of libraries. Files of the base are
/// taken for libraries.
fn is_elf(entry: Option<&Entry>, tree: &PackageTree<'_>) -> Result<bool, InstallError> {
    let entry = match entry {
        Some(Entry { kind: Kind::HardLink(first), .. }) => tree.entry(first),
        other => other,
    };
    let Some(Entry { kind: Kind::File(content), .. }) = entry else { return Ok(entry.is_none()) };
    let mut start = Vec::new();
    let mut opened = content.open()?;
    while start.len() < 4 && opened.read_some(&mut start)? > 0 {}
    Ok(start.starts_with(b"\x7fELF"))
}

/// Compares names as the loader does, by which it searches: numbers by their value (glibc, `_dl_cache_libcmp`).
fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    let number = |bytes: &[u8]| -> (u64, usize) {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = bytes.iter().take(digits).fold(0_u64, |value, digit| {
            value.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))
        });
        (value, digits)
    };
    while let Some(first) = one.first() {
        let second = other.first().copied().unwrap_or(0);
        match (first.is_ascii_digit(), second.is_ascii_digit()) {
            (true, true) => {
                let ((a, a_digits), (b, b_digits)) = (number(one), number(other));
                if a != b {
                    return a.cmp(&b);
                }
                (one, other) =
                    (one.get(a_digits..).unwrap_or_default(), other.get(b_digits..).unwrap_or_default());
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if *first != second => return first.cmp(&second),
            (false, false) => {
                (one, other) = (one.get(1..).unwrap_or_default(), other.get(1..).unwrap_or_default());
            }
        }
    }
    if other.is_empty() { Ordering::Equal } else { Ordering::Less }
}

/// Returns the libraries of a cache, without those for some processors; `None` for another format, or if entries share
/// texts so that the result would be much larger than the cache.
fn parse(bytes: &[u8]) -> Option<Vec<CachedLibrary>> {
    if !bytes.starts_with(MAGIC) || !matches!(bytes.get(28)? & 3, 0 | LITTLE) {
        return None;
    }
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let text = |at: u32| {
        let rest = bytes.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(std::str::from_utf8(rest.get(..end)?).ok()?.to_owned())
    };
    let count = usize::try_from(word(20)?).ok()?;
    bytes.get(HEADER..)?.get(..count.checked_mul(ENTRY)?)?;
    let (mut libraries, mut size) = (Vec::new(), 0);
    for entry in (0..count).map(|number| HEADER + number * ENTRY) {
        if word(entry + 16)? == 0 && word(entry + 20)? == 0 {
            let (flags, name, path) = (word(entry)?, text(word(entry + 4)?)?, text(word(entry + 8)?)?);
            size += name.len() + path.len();
            if size > bytes.len().saturating_mul(4) {
                return None;
            }
            libraries.push(CachedLibrary { name, path, flags });
        }
    }
    Some(libraries)
}

/// Returns the bytes of a cache.
fn written(libraries: &[CachedLibrary]) -> Vec<u8> {
    let start = HEADER + ENTRY * libraries.len();
    let (mut table, mut strings) = (Vec::new(), Vec::new());
    let place = |strings: &mut Vec<u8>, text: &str| {
        let at = start + strings.len();
        strings.extend(text.bytes().chain([0]));
        u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes()
    };
    for CachedLibrary { name, path, flags } in libraries {
        table.extend(flags.to_le_bytes());
        table.extend(place(&mut strings, name));
        table.extend(place(&mut strings, path));
        table.extend([0; 12]);
    }
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut cache = MAGIC.to_vec();
    cache.extend(size(libraries.len()));
    cache.extend(size(strings.len()));
    cache.extend([LITTLE, 0, 0, 0]);
    cache.extend([0; 16]);
    cache.extend(table);
    cache.extend(strings);
    cache
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestFiles, TestPackage, install_on};
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        for (one, other, order) in [
            ("libz.so.1", "libz.so.1", Ordering::Equal),
            ("libz.so.10", "libz.so.9", Ordering::Greater),
            ("libz.so", "libz.so.1", Ordering::Less),
            ("liba.so", "libb.so", Ordering::Less),
            ("lib1.so", "liba.so", Ordering::Greater),
        ] {
            assert_eq!(compare(one, other), order, "{one} {other}");
        }
    }

    #[test]
    fn libraries_are_added_to_the_cache_of_a_base() {
        let library =
            |name: &str, path: &str| CachedLibrary { name: name.into(), path: path.into(), flags: 0x0303 };
        let before = written(&[library("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6")]);
        let mut base = TestFiles::default().file("usr/sbin/ldconfig", "");
        base = base.bytes(CACHE, before);
        let package = TestPackage::new("p")
            .file("./etc/ld.so.conf.d/p.conf", "# one\n/opt/p/lib/\n")
            .file("./opt/p/lib/libp.so.2", "\x7fELF")
            .file("./usr/lib/x86_64-linux-gnu/libz.so.1.2", "\x7fELF")
            .symlink("./usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2")
            .symlink("./usr/lib/x86_64-linux-gnu/libz.so", "libz.so.1.2")
            .file("./usr/lib/x86_64-linux-gnu/libm.so", "GROUP ( libm.so.6 )")
            .file("./usr/lib/x86_64-linux-gnu/libm.so-gdb.py", "");
        let (_work, found) = install_on(Some(&base), vec![package], &[]).unwrap();
        let entry = found.entries.iter().find(|entry| entry.path.as_str() == CACHE).unwrap();
        let Kind::File(content) = &entry.kind else { panic!("{entry:?}") };
        let expected = [
            library("libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1"),
            library("libz.so", "/lib/x86_64-linux-gnu/libz.so"),
            library("libp.so.2", "/opt/p/lib/libp.so.2"),
            library("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
        ];
        let libraries = parse(&content.read().unwrap()).unwrap();
        // The base is not merged.
        let libraries: Vec<_> = libraries
            .into_iter()
            .map(|library| CachedLibrary { path: library.path.replace("/usr/lib/x", "/lib/x"), ..library })
            .collect();
        assert_eq!(libraries, expected);
    }
}
