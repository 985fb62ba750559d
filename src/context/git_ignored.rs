//! [`GitIgnored`]: files of the source that git ignores: local databases, keys, generated files.
//!
//! gitignore(5): the files `.gitignore` from the root of the worktree down to the path, and
//! `info/exclude` of the repository. `core.excludesFile` is not read: the file is in a user's home,
//! and the same source gives the same warnings for every user. Tracked files are not ignored,
//! whatever the patterns say.

use std::fmt;
use std::path::Path;

use super::listing::{Listing, SourceKind};
use super::root::Context;
use crate::git::GitDirectory;
use crate::git::ignore_file::{self, GitIgnoreRule, IgnoreFile, PATTERNS_LIMIT, Verdict};
use crate::git::index::TrackedPaths;
use crate::plural::{MAX_NAMED, counted, first_names};
use crate::printable;
use crate::traced_fs;

/// A file of the source that git ignores, or a directory of such files.
///
/// `Display` prints the path, escaped, and the number of files in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitIgnored {
    /// The file or directory that the line matches, relative to the context's root.
    pub path: String,
    /// The files and links of the source: the path itself, or those below.
    pub files: Vec<String>,
    /// The line.
    pub rule: GitIgnoreRule,
}

/// Files of the source that git ignores, in the order of the listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitIgnoredFiles {
    /// The files and directories.
    pub ignored: Vec<GitIgnored>,
    /// Files of patterns that are not read, each with the reason.
    pub unread: Vec<(String, &'static str)>,
}

impl GitIgnoredFiles {
    /// Returns the number of files.
    pub fn count(&self) -> u64 {
        self.ignored.iter().map(|found| found.files.len() as u64).sum()
    }

    /// Returns the first names for a message, escaped, and the number of the rest.
    pub fn names(&self) -> String {
        first_names(&self.ignored.iter().map(GitIgnored::to_string).collect::<Vec<_>>(), MAX_NAMED)
    }

    /// Keeps only the files for which `keep` returns true.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        for found in &mut self.ignored {
            found.files.retain(|file| keep(file));
        }
        self.ignored.retain(|found| !found.files.is_empty());
    }
}

impl fmt::Display for GitIgnored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable::name(&self.path);
        match self.files.as_slice() {
            [file] if *file == self.path => f.write_str(&path),
            files => write!(f, "{path}/ ({})", counted(files.len() as u64, "file")),
        }
    }
}

/// The patterns in effect at a directory, from the lowest precedence to the highest.
struct Patterns<'a> {
    root: &'a Path,
    repositories: Vec<Repository>,
    scopes: Vec<IgnoreScope>,
    /// The number of patterns that may still be read.
    budget: usize,
    unread: Vec<(String, &'static str)>,
}

struct Repository {
    git: GitDirectory,
    place: RelativeDirectory,
}

/// The patterns of one file, or the boundary of a repository.
struct IgnoreScope {
    place: RelativeDirectory,
    /// `None` at the boundary: patterns below do not apply.
    file: Option<IgnoreFile>,
}

/// A directory relative to the context's root.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RelativeDirectory {
    /// The root or a directory above, with the path from there to the root: empty, or ending in a
    /// slash.
    Above(String),
    /// A directory below.
    Below(String),
}

impl RelativeDirectory {
    /// Returns `path` relative to this directory; `None` outside.
    fn relative(&self, path: &str) -> Option<String> {
        match self {
            Self::Above(way) => Some(format!("{way}{path}")),
            Self::Below(place) => Some(path.strip_prefix(place)?.strip_prefix('/')?.to_owned()),
        }
    }

    /// Returns the name of a file in this directory, relative to the context's root.
    fn name_of(&self, file: &str) -> String {
        match self {
            Self::Above(way) => format!("{}{file}", "../".repeat(way.matches('/').count())),
            Self::Below(place) => format!("{place}/{file}"),
        }
    }
}

impl<'a> Patterns<'a> {
    /// Reads the patterns that apply in the context's root. Returns `None` outside of a repository,
    /// and if git ignores the root itself: then git tells nothing about its files.
    fn at_root(root: &'a Path) -> Option<Self> {
        let git = GitDirectory::containing(root)?;
        let way = root.strip_prefix(&git.worktree).ok()?.to_str()?.to_owned();
        let way = if way.is_empty() { way } else { format!("{way}/") };
        let mut patterns = Self {
            root,
            repositories: Vec::new(),
            scopes: Vec::new(),
            budget: PATTERNS_LIMIT,
            unread: Vec::new(),
        };
        patterns.read_exclude(&git, &RelativeDirectory::Above(way.clone()));
        let mut directory = git.worktree.clone();
        let mut passed = 0;
        for (at, _) in way.match_indices('/') {
            patterns.read_ignore_file(&directory, RelativeDirectory::Above(way[passed..].to_owned()));
            if patterns.is_above_ignored(&way, &way[..at]) {
                return None;
            }
            directory.push(&way[passed..at]);
            passed = at + 1;
        }
        patterns.read_ignore_file(root, RelativeDirectory::Above(String::new()));
        patterns.repositories.push(Repository { git, place: RelativeDirectory::Above(way) });
        Some(patterns)
    }

    /// Returns true if git ignores `directory`, a directory above the root or the root, both
    /// relative to the worktree.
    fn is_above_ignored(&self, way: &str, directory: &str) -> bool {
        let verdict = self.scopes.iter().rev().find_map(|scope| {
            let RelativeDirectory::Above(from) = &scope.place else { return None };
            let skipped = way.len() - from.len();
            scope.file.as_ref()?.verdict(directory.get(skipped..)?, true)
        });
        verdict == Some(Verdict::Ignored)
    }

    fn read_exclude(&mut self, git: &GitDirectory, place: &RelativeDirectory) {
        let path = git.common.join("info/exclude");
        let name = if git.common == git.worktree.join(".git") {
            place.name_of(".git/info/exclude")
        } else {
            path.to_string_lossy().into_owned()
        };
        if let Ok(file) = traced_fs::open_regular(&path) {
            self.push(name, file, place.clone());
        }
    }

    fn read_ignore_file(&mut self, directory: &Path, place: RelativeDirectory) {
        if let Some(file) = ignore_file::open(&directory.join(".gitignore")) {
            self.push(place.name_of(".gitignore"), file, place);
        }
    }

    fn push(&mut self, name: String, file: std::fs::File, place: RelativeDirectory) {
        let parsed = match traced_fs::read_limited(file, ignore_file::SIZE_LIMIT) {
            Ok(Some(bytes)) => IgnoreFile::parse(name.clone(), &bytes, self.budget),
            Ok(None) => Err("larger than 1 MiB"),
            Err(_) => Err("unreadable"),
        };
        match parsed {
            // Most repositories have an `info/exclude` of comments.
            Ok(file) if file.len() == 0 => {}
            Ok(file) => {
                self.budget -= file.len();
                self.scopes.push(IgnoreScope { place, file: Some(file) });
            }
            Err(reason) => self.unread.push((name, reason)),
        }
    }

    /// Enters `directory`. Returns the line that ignores all of the directory from inside.
    fn enter(&mut self, directory: &str, is_repository: bool, has_file: bool) -> Option<GitIgnoreRule> {
        let place = RelativeDirectory::Below(directory.to_owned());
        let host = self.root.join(directory);
        if is_repository && let Some(git) = GitDirectory::at(&host) {
            self.scopes.push(IgnoreScope { place: place.clone(), file: None });
            self.read_exclude(&git, &place);
            self.repositories.push(Repository { git, place: place.clone() });
        }
        if !has_file {
            return None;
        }
        let before = self.scopes.len();
        self.read_ignore_file(&host, place);
        self.scopes.get(before)?.file.as_ref()?.ignores_all()
    }

    /// Leaves the directories that are not above `path`.
    fn leave(&mut self, path: &str) {
        while self.scopes.last().is_some_and(|scope| scope.place.relative(path).is_none()) {
            self.scopes.pop();
        }
    }

    /// Returns the line that ignores `path`, whose directories are not ignored.
    fn rule(&self, path: &str, is_directory: bool) -> Option<GitIgnoreRule> {
        for scope in self.scopes.iter().rev() {
            let file = scope.file.as_ref()?;
            let Some(relative) = scope.place.relative(path) else { continue };
            match file.verdict(&relative, is_directory) {
                Some(Verdict::Included) => return None,
                Some(Verdict::Ignored) => return file.rule(&relative, is_directory),
                None => {}
            }
        }
        None
    }

    /// Returns the innermost repository that contains `path`, with the path in its worktree.
    fn repository(&self, path: &str) -> Option<(usize, String)> {
        let mut found = self.repositories.iter().enumerate().rev();
        found.find_map(|(index, repository)| Some((index, repository.place.relative(path)?)))
    }
}

/// The indexes of repositories, read when they are needed.
#[derive(Default)]
struct Indexes(Vec<Option<TrackedPaths>>);

impl Indexes {
    fn tracks(&mut self, patterns: &Patterns<'_>, path: &str) -> bool {
        let Some((repository, path)) = patterns.repository(path) else { return false };
        self.0.resize_with(self.0.len().max(repository + 1), || None);
        let index = self.0.get_mut(repository);
        index.is_some_and(|index| {
            index
                .get_or_insert_with(|| TrackedPaths::read(&patterns.repositories[repository].git))
                .contains(&path)
        })
    }
}

impl Context {
    /// Returns the files of `listing`, made by [`Context::walk`], that git ignores and does not
    /// track. Empty outside of a repository, and if git ignores the context's root itself.
    ///
    /// Left out are files that git ignores in most projects and that images need: compiled
    /// extension modules and message catalogs, generated modules, built web pages. So are files
    /// that a `!` rule of the ignore file matches itself.
    pub fn git_ignored(&self, listing: &Listing) -> GitIgnoredFiles {
        ignored_files(self, listing)
    }

    /// Returns the line with which git ignores `path`, relative to the root, and the directory above
    /// that the line matches; `None` if git tracks the file or does not ignore it.
    pub fn git_rule(&self, path: &str) -> Option<(GitIgnoreRule, Option<String>)> {
        explain(self, path)
    }
}

/// Returns the kept files that git ignores.
fn ignored_files(context: &Context, listing: &Listing) -> GitIgnoredFiles {
    let Some(mut patterns) = Patterns::at_root(context.root()) else { return GitIgnoredFiles::default() };
    let names = &listing.git_names;
    let mut indexes = Indexes::default();
    let mut ignored: Vec<GitIgnored> = Vec::new();
    // The directory of the last element, while its files follow.
    let mut inside: Option<String> = None;
    for file in &listing.files {
        let path = file.path.as_str();
        let is_directory = matches!(file.kind, SourceKind::Directory);
        if let (Some(directory), Some(last)) = (&inside, ignored.last_mut())
            && path.starts_with(directory)
        {
            if !is_directory {
                last.files.push(path.to_owned());
            }
            continue;
        }
        inside = None;
        // Git never looks into its own directory.
        if path.split('/').any(|name| name == ".git") {
            continue;
        }
        patterns.leave(path);
        let is_repository = is_directory && names.repositories.contains(path);
        let mut rule = patterns.rule(path, is_directory);
        if rule.is_some() && is_repository && indexes.tracks(&patterns, path) {
            // A submodule.
            rule = None;
        }
        if rule.is_none() && is_directory {
            rule = patterns.enter(path, is_repository, names.ignore_files.contains(path));
        }
        let Some(rule) = rule else { continue };
        let files = if is_directory { Vec::new() } else { vec![path.to_owned()] };
        inside = is_directory.then(|| format!("{path}/"));
        ignored.push(GitIgnored { path: path.to_owned(), files, rule });
    }
    for found in &mut ignored {
        found.files.retain(|file| {
            !is_expected(file) && !context.ignore().reincludes(file) && !indexes.tracks(&patterns, file)
        });
    }
    ignored.retain(|found| !found.files.is_empty() && !context.ignore().reincludes(&found.path));
    GitIgnoredFiles { ignored, unread: patterns.unread }
}

/// Returns the line that ignores `path`, with the directory above that the line matches.
fn explain(context: &Context, path: &str) -> Option<(GitIgnoreRule, Option<String>)> {
    if path == "." {
        return None;
    }
    let mut patterns = Patterns::at_root(context.root())?;
    let mut indexes = Indexes::default();
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let part = &path[..end];
        let host = context.root().join(part);
        let is_directory = host.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let is_repository = is_directory && host.join(".git").exists();
        let mut rule = patterns.rule(part, is_directory);
        if rule.is_some() && is_repository && indexes.tracks(&patterns, part) {
            rule = None;
        }
        if rule.is_none() && is_directory {
            rule = patterns.enter(part, is_repository, true);
        }
        if let Some(rule) = rule {
            let parent = (part != path).then(|| part.to_owned());
            return (!indexes.tracks(&patterns, path)).then_some((rule, parent));
        }
    }
    None
}

/// Returns true for files that projects let git ignore and that images need: compiled extension
/// modules and message catalogs, modules of generators, and built web pages.
///
/// The list follows the `.gitignore` of public services (docs/decisions.md).
fn is_expected(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_generated =
        ["_version.py", "_pb2.py", "_pb2.pyi", "_pb2_grpc.py"].iter().any(|end| name.ends_with(end));
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".br")).unwrap_or(name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    is_generated
        || matches!(extension, "so" | "mo")
        || WEB_EXTENSIONS.contains(&extension)
            && folders.split('/').any(|folder| WEB_FOLDERS.contains(&folder))
}

/// Folders of built web pages: `collectstatic`, Vite, webpack, Create React App.
const WEB_FOLDERS: [&str; 6] = ["static", "staticfiles", "assets", "dist", "build", "public"];
const WEB_EXTENSIONS: [&str; 25] = [
    "html",
    "htm",
    "css",
    "js",
    "mjs",
    "cjs",
    "map",
    "json",
    "txt",
    "xml",
    "webmanifest",
    "wasm",
    "svg",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "ico",
    "webp",
    "avif",
    "woff",
    "woff2",
    "ttf",
    "otf",
    "eot",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expects_outputs_of_builds_in_images() {
        for path in [
            "app/fast.cpython-313-x86_64-linux-gnu.so",
            "app/locale/de/LC_MESSAGES/django.mo",
            "app/_version.py",
            "app/api/service_pb2_grpc.py",
            "frontend/dist/index.html",
            "staticfiles/admin/css/base.css.gz",
            "app/static/assets/main.3f2a.js",
        ] {
            assert!(is_expected(path), "{path}");
        }
        for path in [
            ".env.production",
            "db.sqlite3",
            "app/local_settings.py",
            "dist/app-1.0.tar.gz",
            "build/lib/app.py",
            "instance/config.json",
            "keys/server.pem",
            "static/dump.sql",
            "so",
        ] {
            assert!(!is_expected(path), "{path}");
        }
    }
}
