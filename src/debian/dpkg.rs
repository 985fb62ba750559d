//! Opens dpkg's database ([`Dpkg`]) and maps files to packages through it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::owners::{Aliases, Diversions, OwnerQuery, Owners, listed};
use super::package::{Parsed, paragraphs, parse};
use super::{DebianError, Package};
use crate::error::FileError;
use crate::parallel::{cores, each};
use crate::progress::Warning;
use crate::traced_fs;

/// The largest accepted `status`, in bytes; a desktop's has five million.
const STATUS_LIMIT: u64 = 128 << 20;
/// The largest accepted file list of one package, in bytes.
const LIST_LIMIT: u64 = 32 << 20;
/// The number of threads beyond which small files are not read any faster.
const READERS: usize = 8;

/// dpkg's database of one root file system.
#[derive(Debug)]
pub struct Dpkg {
    root: PathBuf,
    /// Ordered by name and architecture.
    packages: Vec<Package>,
    aliases: Aliases,
    diversions: Diversions,
    warnings: Vec<Warning>,
    /// Warnings about unreadable file lists, set once the lists were read.
    unlisted: OnceLock<Vec<Warning>>,
}

/// Returns the installed packages of a `status` file's text, in file order, without malformed
/// entries.
pub fn packages_in(status: &str) -> Vec<Package> {
    let installed = paragraphs(status).filter_map(|paragraph| match parse(paragraph) {
        Parsed::Installed(package) => Some(*package),
        Parsed::Absent | Parsed::Broken { .. } => None,
    });
    installed.collect()
}

impl Dpkg {
    /// Reads the database of the root file system at `root`; `None` if there is none.
    ///
    /// # Errors
    /// If `status` cannot be read. Malformed entries are skipped, see [`Dpkg::warnings`].
    pub fn open(root: &Path) -> Result<Option<Self>, DebianError> {
        let status = root.join("var/lib/dpkg/status");
        let Some(text) = read_text(&status, STATUS_LIMIT)? else {
            return Ok(None);
        };
        let (mut packages, mut warnings) = (Vec::new(), Vec::new());
        for paragraph in paragraphs(&text) {
            match parse(paragraph) {
                Parsed::Installed(package) => packages.push(*package),
                Parsed::Absent => {}
                Parsed::Broken { name, reason } => {
                    let message = format!("skipped an entry of dpkg's database: {reason}");
                    warnings.push(Warning::new(name, message));
                }
            }
        }
        packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        let aliases = read_aliases(root)?;
        let diversions = read_text(&root.join("var/lib/dpkg/diversions"), LIST_LIMIT)?.unwrap_or_default();
        Ok(Some(Self {
            root: root.to_owned(),
            packages,
            diversions: Diversions::parse(&diversions, &aliases),
            aliases,
            warnings,
            unlisted: OnceLock::new(),
        }))
    }

    /// Returns the installed packages, ordered by name and architecture.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Returns the package of this name, the first if there are several architectures.
    pub fn package(&self, name: &str) -> Option<&Package> {
        let at = self.packages.partition_point(|package| package.name.as_str() < name);
        self.packages.get(at).filter(|package| package.name == name)
    }

    /// Returns the package of each of `paths`, which are paths as seen from inside the root.
    ///
    /// Symbolic links in parent directories are followed: `/lib/x` and `/usr/lib/x` are one file if
    /// `lib` is a link. The last component is not followed, because a link belongs to a package
    /// too. Directories shared by several packages and files made by maintainer scripts have no
    /// owner.
    ///
    /// Each call reads the file lists of all packages, so pass all paths at once.
    pub fn owners_of<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Vec<Option<&Package>> {
        let root = traced_fs::canonicalize(&self.root).ok();
        let mut parents = BTreeMap::new();
        let mut spellings = |path: &Path| -> Option<[Option<Box<str>>; 2]> {
            let text = path.to_str().filter(|text| text.starts_with('/'))?;
            let written = Box::from(&*self.aliases.resolve(text.trim_end_matches('/')));
            let inside = root.as_deref().and_then(|root| self.resolve_parent(root, path, &mut parents));
            let inside = inside.and_then(|inside| Some(Box::from(&*self.aliases.resolve(inside.to_str()?))));
            Some([Some(written), inside])
        };
        let spelled: Vec<_> = paths.into_iter().map(|path| spellings(path).unwrap_or_default()).collect();
        let query = OwnerQuery::new(spelled.iter().flatten().flatten().cloned(), &self.diversions);
        let mut owners = Owners::of(&query);
        let mut unlisted = Vec::new();
        let name = |index: usize| self.packages.get(index).map(|package| package.name.as_str());
        for (index, (package, named)) in self.packages.iter().zip(self.read_lists(&query)).enumerate() {
            match named {
                Ok(named) => owners.add(index, &named, |a, b| name(a) == name(b)),
                Err(reason) => unlisted.push(Warning::new(
                    &package.name,
                    format!("cannot read the package's file list: {reason}"),
                )),
            }
        }
        let _ = self.unlisted.set(unlisted);
        let owner = |spellings: &[Option<Box<str>>; 2]| {
            spellings.iter().flatten().find_map(|path| self.packages.get(owners.get(path)?))
        };
        spelled.iter().map(owner).collect()
    }

    /// Returns the package of the file at `path`; see [`Dpkg::owners_of`].
    pub fn owner_of(&self, path: &Path) -> Option<&Package> {
        self.owners_of([path]).into_iter().next().flatten()
    }

    /// Returns the paths of a package's files after links and diversions, in the order of its list.
    pub fn files(&self, package: &Package) -> Result<Vec<PathBuf>, DebianError> {
        let list = self.info(package, "list", LIST_LIMIT)?.unwrap_or_default();
        let paths = listed(&list, &package.name, &self.aliases, &self.diversions);
        Ok(paths.map(|path| PathBuf::from(path.into_owned())).collect())
    }

    /// Returns the lines of the package's `md5sums` for `files`, which are paths as seen from
    /// inside the root: the content of `NAME.md5sums` in `status.d`. Empty if the package has no
    /// sums or owns none of the files.
    pub fn md5sums(&self, package: &Package, files: &BTreeSet<PathBuf>) -> Result<String, DebianError> {
        let sums = self.info(package, "md5sums", LIST_LIMIT)?.unwrap_or_default();
        let kept: BTreeSet<_> =
            files.iter().filter_map(|path| Some(self.aliases.resolve(path.to_str()?))).collect();
        let is_kept = |line: &&str| {
            line.split_once("  ").is_some_and(|(_, path)| {
                let path = format!("/{path}");
                kept.contains(&self.diversions.actual(self.aliases.resolve(&path), &package.name))
            })
        };
        Ok(sums.split_inclusive('\n').filter(|line| is_kept(&line.trim_end())).collect())
    }

    /// Returns the path of the package's copyright file inside the root, if there is one.
    pub fn copyright(&self, package: &Package) -> Option<PathBuf> {
        let inside = Path::new("usr/share/doc").join(&package.name).join("copyright");
        traced_fs::is_file(self.root.join(&inside)).then(|| Path::new("/").join(inside))
    }

    /// Returns the warnings so far. File lists are read by the first lookup of an owner.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.warnings.iter().chain(self.unlisted.get().into_iter().flatten())
    }

    /// Returns the indices of the `query` paths in each package's list, or the reason for an
    /// unreadable list. Lists are not retained: a desktop's have tens of millions of bytes.
    fn read_lists(&self, query: &OwnerQuery) -> Vec<Result<Vec<usize>, String>> {
        let named = |package: &Package| match self.info(package, "list", LIST_LIMIT) {
            Ok(Some(list)) => Ok(query.named_in(&list, &package.name, &self.aliases, &self.diversions)),
            Ok(None) => Err("file not found".to_owned()),
            Err(error) => {
                traced_fs::mark_unreliable();
                Err(error.to_string())
            }
        };
        let step = |(): &mut (), index: usize| Ok::<_, Infallible>(self.packages.get(index).map(named));
        let found = each(self.packages.len(), cores().min(READERS), || Ok(()), step);
        found.into_iter().flatten().flatten().collect()
    }

    /// Reads an `info` file of a package: `NAME:ARCH.list` for packages installable for several
    /// architectures at once, else `NAME.list`.
    fn info(&self, package: &Package, kind: &str, limit: u64) -> Result<Option<String>, DebianError> {
        let info = self.root.join("var/lib/dpkg/info");
        let qualified = info.join(format!("{}:{}.{kind}", package.name, package.architecture));
        match read_text(&qualified, limit)? {
            Some(text) => Ok(Some(text)),
            None => read_text(&info.join(format!("{}.{kind}", package.name)), limit),
        }
    }

    /// Returns `path` with all links in its parent directory followed. `root` is the canonical
    /// root, `parents` a memo of resolved directories.
    fn resolve_parent(
        &self,
        root: &Path,
        path: &Path,
        parents: &mut BTreeMap<PathBuf, Option<PathBuf>>,
    ) -> Option<PathBuf> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        if !parents.contains_key(parent) {
            let resolved = || {
                let on_disk = self.root.join(parent.strip_prefix("/").ok()?);
                let resolved = traced_fs::canonicalize(on_disk).ok()?;
                Some(Path::new("/").join(resolved.strip_prefix(root).ok()?))
            };
            parents.insert(parent.to_owned(), resolved());
        }
        Some(parents.get(parent)?.as_ref()?.join(name))
    }
}

/// Reads the symbolic links to directories directly below the root.
fn read_aliases(root: &Path) -> Result<Aliases, DebianError> {
    let mut aliases = Aliases::default();
    let listing = traced_fs::read_dir(root).map_err(FileError::of("list", root))?;
    for entry in listing {
        let entry = entry.map_err(FileError::of("list", root))?;
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if let (true, Ok(name)) = (is_link, entry.file_name().into_string())
            && let Ok(target) = traced_fs::read_link(entry.path())
            && let Some(target) = target.to_str()
        {
            aliases.insert(name, target);
        }
    }
    Ok(aliases)
}

/// Reads a text file if it exists; bytes that are not UTF-8 are replaced.
fn read_text(path: &Path, limit: u64) -> Result<Option<String>, DebianError> {
    // Non-blocking: opening a FIFO would wait for a writer.
    let mut file = match traced_fs::open_nonblocking(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(FileError::new("read", path, error).into()),
    };
    let metadata = file.metadata().map_err(FileError::of("read", path))?;
    let size = metadata.len();
    if size > limit {
        return Err(DebianError::TooLarge { path: path.to_owned(), size, limit });
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
    file.by_ref().take(limit).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    Ok(Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n\
        Multi-Arch: same\nSource: glibc\nVersion: 2.36-9\n\n\
        Package: libc6\nStatus: install ok installed\nArchitecture: i386\n\
        Multi-Arch: same\nSource: glibc\nVersion: 2.36-9\n\n\
        this is not a field\n\n\
        Package: dash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.5.12-2\n\n\
        Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n\
        Package: listless\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A merged-/usr system with two C libraries and two shells.
    fn system() -> (TempDir, Dpkg) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "var/lib/dpkg/status", STATUS);
        let info = |name: &str, text: &str| put(root, &format!("var/lib/dpkg/info/{name}"), text);
        info(
            "libc6:amd64.list",
            "/.\n/lib\n/lib/amd64\n/lib/amd64/libc.so.6\n/usr/share/doc/libc6/copyright\n",
        );
        info("libc6:i386.list", "/.\n/lib\n/lib/i386\n/lib/i386/libc.so.6\n/usr/share/doc/libc6/copyright\n");
        info("dash.list", "/.\n/bin\n/bin/dash\n/bin/sh\n/usr/share\n");
        info("bash.list", "/.\n/bin\n/bin/bash\n/bin/sh\n/usr/share\n");
        info("libc6:amd64.md5sums", "aa  lib/amd64/libc.so.6\nbb  usr/share/doc/libc6/copyright\nbroken\n");
        put(root, "var/lib/dpkg/diversions", "/bin/sh\n/bin/sh.distrib\ndash\n");
        put(root, "usr/lib/amd64/libc.so.6", "");
        put(root, "usr/share/doc/libc6/copyright", "GPL");
        put(root, "usr/bin/dash", "");
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/usr/bin", root.join("bin")).unwrap();
        symlink("lib/amd64", root.join("usr/deep")).unwrap();
        let database = Dpkg::open(root).unwrap().unwrap();
        (folder, database)
    }

    #[test]
    fn lists_installed_packages_in_order() {
        let (_folder, database) = system();
        let names: Vec<String> = database
            .packages()
            .iter()
            .map(|package| format!("{}:{}", package.name, package.architecture))
            .collect();
        assert_eq!(names, ["bash:amd64", "dash:amd64", "libc6:amd64", "libc6:i386", "listless:all"]);
        assert_eq!(database.package("libc6").unwrap().architecture, "amd64");
        assert_eq!(database.package("gone"), None);
        assert_eq!(database.package("zzz"), None);
    }

    #[test]
    fn finds_owners_by_every_name_of_a_file() {
        let (_folder, database) = system();
        for (path, owner) in [
            ("/lib/amd64/libc.so.6", Some("libc6:amd64")),
            ("/usr/lib/amd64/libc.so.6", Some("libc6:amd64")),
            ("/usr/deep/libc.so.6", Some("libc6:amd64")),
            ("/usr/lib/i386/libc.so.6", Some("libc6:i386")),
            ("/usr/share/doc/libc6/copyright", Some("libc6:amd64")),
            ("/usr/bin/sh", Some("dash:amd64")),
            ("/bin/sh.distrib", Some("bash:amd64")),
            ("/usr/share", None),
            ("/usr/bin/made-by-a-script", None),
            ("usr/bin/dash", None),
            ("/", None),
        ] {
            let found = database.owner_of(Path::new(path));
            let found = found.map(|package| format!("{}:{}", package.name, package.architecture));
            assert_eq!(found.as_deref(), owner, "{path}");
        }
    }

    #[test]
    fn skips_and_reports_malformed_entries() {
        let (_folder, database) = system();
        let messages = |database: &Dpkg| database.warnings().map(ToString::to_string).collect::<Vec<_>>();
        let entry = "this is not a field: skipped an entry of dpkg's database: not a list of fields";
        assert_eq!(messages(&database), [entry]);
        assert!(database.owner_of(Path::new("/bin/dash")).is_some());
        let list = "listless: cannot read the package's file list: file not found";
        assert_eq!(messages(&database), [entry, list]);
    }

    #[test]
    fn files_and_sums_follow_links_and_diversions() {
        let (_folder, database) = system();
        let bash = database.package("bash").unwrap();
        let files = database.files(bash).unwrap();
        assert_eq!(files, ["/bin", "/usr/bin/bash", "/usr/bin/sh.distrib", "/usr/share"].map(PathBuf::from));
        let libc = database.package("libc6").unwrap();
        for name in ["/lib/amd64/libc.so.6", "/usr/lib/amd64/libc.so.6"] {
            let sums = database.md5sums(libc, &BTreeSet::from([PathBuf::from(name)])).unwrap();
            assert_eq!(sums, "aa  lib/amd64/libc.so.6\n");
        }
        assert_eq!(database.md5sums(libc, &BTreeSet::new()).unwrap(), "");
        assert_eq!(database.md5sums(bash, &BTreeSet::from(["/bin/bash".into()])).unwrap(), "");
        assert_eq!(database.copyright(libc), Some("/usr/share/doc/libc6/copyright".into()));
        assert_eq!(database.copyright(bash), None);
    }

    #[test]
    fn a_system_without_dpkg_has_no_database() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Dpkg::open(folder.path()).unwrap().is_none());
        assert!(Dpkg::open(&folder.path().join("absent")).unwrap().is_none());
    }

    #[test]
    fn a_database_that_is_far_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "var/lib/dpkg/status", "");
        let file = File::options().write(true).open(folder.path().join("var/lib/dpkg/status")).unwrap();
        file.set_len(STATUS_LIMIT + 1).unwrap();
        assert!(matches!(Dpkg::open(folder.path()), Err(DebianError::TooLarge { .. })));
    }
}
