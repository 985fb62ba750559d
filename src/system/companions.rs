//! [`Companions`]: the files that a shared library opens by itself, such as the database of
//! libmagic.
//!
//! No header lists these files, so the selection follows the packages (Debian Policy 8.1 puts such
//! files into packages of their own). A library named in a recipe brings
//!
//! - the files of its own package, and of the packages of its dependencies;
//! - the files of installed packages with neither programs nor libraries on which these depend, or
//!   which these recommend and which are of the same source or named `-data`, `-common`, `-config`,
//!   `-mgc` or `-modules`; and so on;
//! - links and caches made by maintainer scripts in the folders of these packages, such as
//!   gdk-pixbuf's `loaders.cache`;
//!
//! without documentation, translations, and files read only by developers or an init system.
//! Packages of the C library and of the compiler bring none: recipes name these libraries for other
//! reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::SystemError;
use crate::debian::{Dpkg, Package};
use crate::error::FileError;
use crate::progress::Warning;
use crate::traced_fs;

/// The largest package included, in bytes; larger ones are excluded with a warning. The grids of
/// `proj-data`, one of the largest packages that libraries depend on, have 23 MB.
const PACKAGE_LIMIT: u64 = 128 << 20;

/// Folders of `/usr/share` that no library reads, or with translations of messages.
const EXCLUDED_IN_SHARE: [&str; 32] = [
    "aclocal",
    "applications",
    "apport",
    "appdata",
    "bash-completion",
    "bug",
    "cmake",
    "dbus-1",
    "doc",
    "doc-base",
    "fish",
    "gdb",
    "gir-1.0",
    "gtk-doc",
    "help",
    "icons",
    "info",
    "java",
    "lintian",
    "locale",
    "man",
    "menu",
    "metainfo",
    "perl5",
    "pixmaps",
    "pkgconfig",
    "polkit-1",
    "python3",
    "reportbug",
    "upstart",
    "vala",
    "zsh",
];
/// The same for `/usr/lib` and its folder for the machine.
const EXCLUDED_IN_LIB: [&str; 14] = [
    "cmake",
    "debug",
    "girepository-1.0",
    "init",
    "modules",
    "pkgconfig",
    "python3",
    "python3.11",
    "sysctl.d",
    "systemd",
    "sysusers.d",
    "tmpfiles.d",
    "udev",
    "valgrind",
];
/// The same for `/etc`.
const EXCLUDED_IN_ETC: [&str; 15] = [
    "apparmor.d",
    "apt",
    "bash_completion.d",
    "cron.d",
    "cron.daily",
    "cron.weekly",
    "dbus-1",
    "default",
    "init.d",
    "ld.so.conf.d",
    "logcheck",
    "logrotate.d",
    "pam.d",
    "profile.d",
    "systemd",
];
/// Programs used by maintainer scripts.
const MAINTAINER_SCRIPT_TOOLS: [&str; 9] = [
    "adduser",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "install-info",
    "libpam-runtime",
    "perl-base",
    "sensible-utils",
    "ucf",
];
/// Suffixes of the names of data packages.
const DATA_SUFFIXES: [&str; 5] = ["-data", "-common", "-config", "-mgc", "-modules"];

/// The files and packages added for a library.
#[derive(Debug, Default)]
pub(super) struct Companions {
    /// Files and links of this machine, ordered.
    pub(super) files: BTreeSet<PathBuf>,
    /// The packages of these files, with their sizes in bytes.
    pub(super) packages: BTreeMap<String, u64>,
    /// Excluded packages, too large, with their sizes in bytes.
    pub(super) excluded: BTreeMap<String, u64>,
    /// Excluded packages with programs on which the library's own package depends.
    pub(super) programs: BTreeSet<String>,
}

/// The relation of a package to the named library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackageRole {
    /// The package has the library or one of its dependencies.
    Library,
    /// A package on which one of the former depends, or which one of the former recommends.
    Data,
}

impl Companions {
    /// Returns one line about the files added for the library `name`, if any.
    pub(super) fn note(&self, name: &str) -> Option<String> {
        let bytes = self.packages.values().sum::<u64>();
        let names: Vec<&str> = self.packages.keys().map(String::as_str).collect();
        (bytes > 0)
            .then(|| format!("including {} of files of {} with {name}", megabytes(bytes), names.join(", ")))
    }

    /// Returns warnings about excluded packages.
    pub(super) fn warnings(&self, name: &str) -> Vec<Warning> {
        let programs: Vec<&str> = self.programs.iter().map(String::as_str).collect();
        let programs = (!programs.is_empty()).then(|| {
            let message = "excluded packages with programs on which its package depends:";
            Warning::new(name, format!("{message} {}", programs.join(", ")))
                .with_help("use a base with these packages if the library needs their files")
        });
        self.too_large(name).into_iter().chain(programs).collect()
    }

    fn too_large(&self, name: &str) -> Option<Warning> {
        let packages =
            self.excluded.iter().map(|(package, bytes)| format!("{package} ({})", megabytes(*bytes)));
        let packages: Vec<String> = packages.collect();
        (!packages.is_empty()).then(|| {
            Warning::new(name, format!("excluded packages that are too large: {}", packages.join(", ")))
                .with_help("copy the needed files into the source, or use a base with the packages")
        })
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Finds the companions of `libraries`, which are files of this machine without links. The first
/// one is the library named in the recipe.
pub(super) fn companions(dpkg: &Dpkg, libraries: &[PathBuf]) -> Result<Companions, SystemError> {
    let owners = dpkg.owners_of(libraries.iter().map(PathBuf::as_path));
    let named = owners.first().copied().flatten().map(|package| package.name.as_str());
    let mut found = Companions::default();
    let mut packages: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    let mut pending: Vec<(&Package, PackageRole)> =
        owners.into_iter().flatten().map(|package| (package, PackageRole::Library)).collect();
    while let Some((package, kind)) = pending.pop() {
        if is_toolchain_package(package) || packages.contains_key(package.name.as_str()) {
            continue;
        }
        let recommended =
            if kind == PackageRole::Library { package.names(&["Recommends"]) } else { Vec::new() };
        let needed = package.names(&["Pre-Depends", "Depends"]);
        let needed = needed.into_iter().map(|name| (name, true));
        for (name, is_needed) in needed.chain(recommended.into_iter().map(|name| (name, false))) {
            let Some(other) = dpkg.package(name).filter(|other| !is_toolchain_package(other)) else {
                continue;
            };
            if !is_needed && !is_named_as_data(other, package) {
                continue;
            }
            let files = dpkg.files(other)?;
            // Dependencies on libraries are found by their headers.
            if files.iter().any(|file| is_library(file)) {
                continue;
            }
            if !files.iter().any(|file| is_program(file)) {
                pending.push((other, PackageRole::Data));
            } else if named == Some(&package.name) && is_needed && !MAINTAINER_SCRIPT_TOOLS.contains(&name) {
                found.programs.insert(name.to_owned());
            }
        }
        packages.insert(&package.name, dpkg.files(package)?);
    }
    for (name, listed) in &packages {
        let mut files: BTreeSet<PathBuf> = listed.iter().filter(|file| is_data(file)).cloned().collect();
        files.extend(script_products(dpkg, listed, &files)?);
        let (files, bytes) = existing_files(files);
        if bytes > PACKAGE_LIMIT {
            found.excluded.insert((*name).to_owned(), bytes);
        } else if !files.is_empty() {
            found.packages.insert((*name).to_owned(), bytes);
            found.files.extend(files);
        }
    }
    Ok(found)
}

/// Returns whether the package is of the C library or the compiler.
fn is_toolchain_package(package: &Package) -> bool {
    package.source.name == "glibc" || package.source.name.starts_with("gcc-")
}

fn is_named_as_data(package: &Package, of: &Package) -> bool {
    package.source.name == of.source.name || DATA_SUFFIXES.iter().any(|end| package.name.ends_with(end))
}

/// Returns the existing files and links among `paths`, with the size of the files in bytes. Files
/// deleted by an administrator are skipped.
fn existing_files(paths: BTreeSet<PathBuf>) -> (Vec<PathBuf>, u64) {
    let (mut files, mut bytes) = (Vec::new(), 0);
    for path in paths {
        let Ok(metadata) = traced_fs::symlink_metadata(&path) else { continue };
        if metadata.is_file() {
            bytes += metadata.len();
        }
        if metadata.is_file() || metadata.is_symlink() {
            files.push(path);
        }
    }
    (files, bytes)
}

/// Returns the products of maintainer scripts in the folders among `listed`: links to `files`, and
/// all files without a package in a folder of one package or of a library.
fn script_products(
    dpkg: &Dpkg,
    listed: &[PathBuf],
    files: &BTreeSet<PathBuf>,
) -> Result<Vec<PathBuf>, SystemError> {
    let depth = |path: &Path| path.components().count();
    // Three components with the root: `/etc/fonts`.
    let is_folder = |path: &&PathBuf| depth(path) >= 3 && is_data(path) && traced_fs::is_dir(path);
    let folders: Vec<&PathBuf> = listed.iter().filter(is_folder).collect();
    let owners = dpkg.owners_of(folders.iter().map(|path| path.as_path()));
    let (mut found, mut children) = (Vec::new(), Vec::new());
    for (folder, owner) in folders.into_iter().zip(owners) {
        let listing = traced_fs::read_dir(folder).map_err(FileError::of("list", folder))?;
        for entry in listing {
            let path = entry.map_err(FileError::of("list", folder))?.path();
            if files.contains(&path) || traced_fs::is_dir(&path) {
                continue;
            }
            // Several packages put plugins into one folder of a library, with a cache that lists
            // the plugins.
            if owner.is_some() || below_lib(folder).is_some() {
                children.push(path);
            } else if traced_fs::file_type(&path).is_ok_and(|kind| kind.is_symlink())
                && traced_fs::canonicalize(&path).is_ok_and(|target| files.contains(&target))
            {
                found.push(path);
            }
        }
    }
    let owners = dpkg.owners_of(children.iter().map(PathBuf::as_path));
    let unowned: Vec<PathBuf> = children
        .iter()
        .zip(owners)
        .filter(|(_, owner)| owner.is_none())
        .map(|(path, _)| path.clone())
        .collect();
    found.extend(unowned);
    Ok(found)
}

fn is_program(path: &Path) -> bool {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|folder| path.parent() == Some(Path::new(folder)))
}

/// Returns whether `path` is a shared library that the loader finds by name.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_named_so = name.ends_with(".so") || name.contains(".so.");
    is_named_so && below_lib(path).is_some_and(|rest| rest.len() == 1)
}

/// Returns the components of a path below `/usr/lib`, or below its folder for one machine.
fn below_lib(path: &Path) -> Option<Vec<&str>> {
    let path = path.to_str()?;
    let path = path.strip_prefix("/usr").unwrap_or(path);
    let rest = path.strip_prefix("/lib/").or_else(|| path.strip_prefix("/lib64/"))?;
    let mut parts: Vec<&str> = rest.split('/').collect();
    if parts.first().is_some_and(|first| first.ends_with("-linux-gnu") || first.contains("-linux-gnu")) {
        parts.remove(0);
    }
    Some(parts)
}

/// Returns whether a library may read the file or folder at `path`.
fn is_data(path: &Path) -> bool {
    if let Some(parts) = below_lib(path) {
        let name = parts.last().copied().unwrap_or_default();
        return parts.len() > 1
            && !parts.first().is_some_and(|first| EXCLUDED_IN_LIB.contains(first))
            && !name.ends_with(".a")
            && !name.ends_with(".la");
    }
    let part = |prefix: &str| {
        let rest = path.strip_prefix(prefix).ok()?;
        rest.components().next()?.as_os_str().to_str()
    };
    if let Some(first) = part("/usr/share") {
        return !EXCLUDED_IN_SHARE.contains(&first);
    }
    part("/etc").is_some_and(|first| !EXCLUDED_IN_ETC.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_files_that_a_library_may_read() {
        for (path, expected) in [
            ("/usr/lib/file/magic.mgc", true),
            ("/usr/share/misc/magic.mgc", true),
            ("/etc/magic", true),
            ("/usr/share/proj/proj.db", true),
            ("/usr/lib/x86_64-linux-gnu/sasl2/libplain.so.2", true),
            ("/usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0/2.10.0/loaders/x.so", true),
            ("/etc/fonts/fonts.conf", true),
            ("/usr/lib/x86_64-linux-gnu/libmagic.so.1", false),
            ("/lib/x86_64-linux-gnu/libz.so.1", false),
            ("/usr/lib/x86_64-linux-gnu/pkgconfig/x.pc", false),
            ("/usr/share/doc/libmagic1/copyright", false),
            ("/usr/share/locale/de/LC_MESSAGES/x.mo", false),
            ("/etc/init.d/x", false),
            ("/usr/bin/file", false),
            ("/var/lib/x", false),
        ] {
            assert_eq!(is_data(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_library_is_found_by_its_name() {
        assert!(is_library(Path::new("/usr/lib/x86_64-linux-gnu/libmagic.so.1")));
        assert!(is_library(Path::new("/usr/lib/libx.so")));
        assert!(!is_library(Path::new("/usr/lib/x86_64-linux-gnu/sasl2/libplain.so.2")));
    }

    /// Creates a dpkg database of these packages: name, further fields, files.
    fn root(packages: &[(&str, &str, &[&str])]) -> (tempfile::TempDir, Dpkg) {
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("var/lib/dpkg/info");
        fs_err::create_dir_all(&info).unwrap();
        let mut status = String::new();
        for (name, fields, files) in packages {
            status.push_str("Package: ");
            status.push_str(name);
            status.push_str("\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n");
            status.push_str(fields);
            status.push('\n');
            fs_err::write(info.join(format!("{name}.list")), files.join("\n") + "\n").unwrap();
        }
        fs_err::write(folder.path().join("var/lib/dpkg/status"), status).unwrap();
        let dpkg = Dpkg::open(folder.path()).unwrap().unwrap();
        (folder, dpkg)
    }

    #[test]
    fn distinguishes_packages_of_data_libraries_and_programs() {
        let lib = "/usr/lib/x86_64-linux-gnu/libm.so.1";
        let (_folder, dpkg) = root(&[
            (
                "libm1",
                "Source: m\nDepends: libm-mgc (= 1), libz1 | libz2, m-tool, other\nRecommends: m-extra, z-data, unrelated\n",
                &[lib],
            ),
            ("libm-mgc", "Source: m\n", &["/usr/lib/file/m.mgc"]),
            ("libz1", "Source: z\n", &["/usr/lib/libz.so.1"]),
            ("m-tool", "Source: m\n", &["/usr/bin/m"]),
            ("other", "", &["/usr/share/other/x"]),
            ("z-data", "", &["/usr/share/z/x"]),
            ("unrelated", "", &["/usr/share/unrelated/x"]),
            ("m-extra", "Source: m\n", &["/usr/share/m/x"]),
        ]);
        let package = dpkg.package("libm1").unwrap();
        assert_eq!(package.names(&["Depends"]), ["libm-mgc", "libz1", "libz2", "m-tool", "other"]);
        let is_tied = |name: &str| is_named_as_data(dpkg.package(name).unwrap(), package);
        assert!(is_tied("m-extra") && is_tied("z-data") && !is_tied("libz1"));
        let found = companions(&dpkg, &[PathBuf::from(lib)]).unwrap();
        assert_eq!(found.programs, BTreeSet::from(["m-tool".to_owned()]));
        assert_eq!(found.warnings("libm.so.1").len(), 1);
    }
}
