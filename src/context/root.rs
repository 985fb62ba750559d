//! [`Context`]: a directory with its ignore file, ready to be walked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use dockerignore::{Dockerignore, Verdict};

use super::error::ContextError;
use super::markers::{self, ExcludedPath};
use crate::error::FileError;
use crate::printable;
use crate::traced_fs;
use crate::tree::ImagePath;

/// The name of the ignore file in the root.
const DEFAULT_NAME: &str = ".dockerignore";
/// BuildKit's default Dockerfiles (`frontend/dockerui/config.go`), and the ignore file that then
/// takes precedence over [`DEFAULT_NAME`].
const DOCKERFILES: [&str; 2] = ["Dockerfile", "dockerfile"];
const DOCKERFILE_NAME: &str = "Dockerfile.dockerignore";

/// The choice of the ignore file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IgnoreSource {
    /// `Dockerfile.dockerignore` in the context's root if that and a `Dockerfile` exist, else
    /// `.dockerignore`.
    #[default]
    Default,
    /// This file, which must exist. The one in the root is not read.
    File(PathBuf),
    /// None: every path is kept.
    None,
}

/// A directory with its ignore file, ready to be walked.
#[derive(Debug, Clone)]
pub struct Context {
    /// Canonical, so that left-out paths compare.
    root: PathBuf,
    /// Absolute, as given: links may have been made with this path.
    named: PathBuf,
    ignore: Dockerignore,
    /// The source of the rules that replace a missing ignore file.
    fallback: Option<String>,
    /// True if the ignore file is the usual one, which may be missing.
    has_default_source: bool,
    /// The name in messages.
    ignore_file: Option<PathBuf>,
    unused_ignore_files: Vec<String>,
    /// Relative to the root.
    excluded: BTreeSet<PathBuf>,
    workdir: ImagePath,
}

/// The reason for which a path is part of the context or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathExplanation<'a> {
    /// The path is, or is below, an argument of [`Context::exclude`], relative to the root.
    Excluded(PathBuf),
    /// The path is, or is below, a directory that is not source.
    NotSource(ExcludedPath),
    /// The verdict of the ignore file.
    Rules(Verdict<'a>),
}

impl Context {
    /// Opens the directory `root` and reads its ignore file. The image's working directory defaults
    /// to `/app` ([`Context::with_workdir`]).
    ///
    /// # Errors
    /// Fails if `root` is missing or not a directory, or if the ignore file is missing (when given
    /// explicitly), too large or invalid.
    pub fn open(root: &Path, source: IgnoreSource) -> Result<Self, ContextError> {
        let metadata = fs::metadata(root).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ContextError::Missing(root.to_owned()),
            _ => FileError::new("read", root, error).into(),
        })?;
        if !metadata.is_dir() {
            return Err(ContextError::NotADirectory(root.to_owned()));
        }
        let named = normalize(&std::path::absolute(root).map_err(FileError::of("read", root))?);
        let root = fs::canonicalize(root).map_err(FileError::of("read", root))?;
        let mut unused_ignore_files = Vec::new();
        let has_default_source = source == IgnoreSource::Default;
        let (ignore_file, bytes) = match source {
            IgnoreSource::None => (None, None),
            IgnoreSource::File(file) => {
                let bytes = read_ignore_file(&file, |path| File::open(path))?;
                (Some(file.clone()), Some(bytes.ok_or(ContextError::IgnoreMissing(file))?))
            }
            IgnoreSource::Default => {
                let name = default_name(&root);
                let bytes = read_ignore_file(&root.join(name), traced_fs::open_regular)?;
                if bytes.is_none() {
                    unused_ignore_files = other_ignore_files(&root);
                }
                (bytes.is_some().then(|| name.into()), bytes)
            }
        };
        let ignore = match (&ignore_file, bytes) {
            (Some(name), Some(bytes)) => Dockerignore::parse(&name.to_string_lossy(), &bytes)?,
            _ => Dockerignore::empty(),
        };
        let workdir = ImagePath::new("/app")?;
        Ok(Self {
            root,
            named,
            ignore,
            fallback: None,
            has_default_source,
            ignore_file,
            unused_ignore_files,
            excluded: BTreeSet::new(),
            workdir,
        })
    }

    /// Sets the working directory of the image: absolute links to paths below it are kept.
    #[must_use]
    pub fn with_workdir(mut self, workdir: ImagePath) -> Self {
        self.workdir = workdir;
        self
    }

    /// Puts `defaults` before the rules of the ignore file, which take precedence.
    #[must_use]
    pub fn with_defaults(mut self, defaults: Dockerignore) -> Self {
        self.ignore = self.ignore.after(defaults);
        self
    }

    /// Puts `rules` before all others if the context has no ignore file and none is forbidden.
    /// [`Listing::ignored_by_default`](super::Listing::ignored_by_default) has the paths that they exclude.
    #[must_use]
    pub fn with_fallback(mut self, rules: Dockerignore) -> Self {
        if self.ignore_file.is_none() && self.has_default_source {
            self.fallback = rules.rules().first().map(|rule| rule.source().to_owned());
            self.ignore = self.ignore.after(rules);
        }
        self
    }

    /// Returns true if a rule of [`Self::with_fallback`] decides that `path` is excluded.
    pub(super) fn is_ignored_by_default(&self, path: &str) -> Result<bool, ContextError> {
        let Some(fallback) = &self.fallback else { return Ok(false) };
        let decision = self.ignore.verdict(path)?.decision;
        Ok(decision.is_some_and(|decision| decision.rule.source() == fallback))
    }

    /// Returns the directory, absolute and without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the working directory of the image.
    pub fn workdir(&self) -> &ImagePath {
        &self.workdir
    }

    /// Returns the ignore file as named in messages, if any.
    pub fn ignore_file(&self) -> Option<&Path> {
        self.ignore_file.as_deref()
    }

    /// Returns ignore files of other programs in the root, such as `.containerignore` or
    /// `Dockerfile.prod.dockerignore`, if no ignore file applies.
    pub fn unused_ignore_files(&self) -> &[String] {
        &self.unused_ignore_files
    }

    /// Returns the rules in effect.
    pub fn ignore(&self) -> &Dockerignore {
        &self.ignore
    }

    /// Excludes `host_path`, a path of this machine, whatever the ignore file contains: the virtual
    /// environment or the output, which may be inside the context. Of a link, both the link and its
    /// target are excluded. Paths outside the context and the root itself have no effect.
    pub fn exclude(&mut self, host_path: &Path) {
        let Ok(absolute) = std::path::absolute(host_path) else { return };
        let beside = match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => absolute.clone(),
        };
        let canonical = fs::canonicalize(&absolute).unwrap_or_else(|_| absolute.clone());
        for path in [&beside, &canonical, &absolute] {
            self.excluded.extend(self.inside(path).filter(|inside| !inside.as_os_str().is_empty()));
        }
    }

    /// Returns the argument of [`Context::exclude`] that is `path` or an ancestor; relative.
    pub(super) fn excluded(&self, path: &Path) -> Option<&Path> {
        if self.excluded.is_empty() {
            return None;
        }
        path.ancestors().find_map(|above| self.excluded.get(above)).map(PathBuf::as_path)
    }

    /// Returns all left-out paths, relative to the root.
    pub(super) fn excluded_places(&self) -> Vec<&str> {
        self.excluded.iter().filter_map(|path| path.to_str()).collect()
    }

    /// Returns true if `path`, relative to the root, is itself left out.
    pub(super) fn is_excluded(&self, path: &Path) -> bool {
        self.excluded.contains(path)
    }

    /// Explains why `path` is part of the context or not. The path is relative to the root, or
    /// absolute and below the root, and need not exist.
    ///
    /// # Errors
    /// As [`Context::relative`] and [`Dockerignore::verdict`].
    pub fn explain(&self, path: &Path) -> Result<PathExplanation<'_>, ContextError> {
        let text = self.relative(path)?;
        if text == "." {
            return Ok(PathExplanation::Rules(self.ignore.verdict(&text)?));
        }
        if let Some(place) = self.excluded(Path::new(&text)) {
            return Ok(PathExplanation::Excluded(place.to_owned()));
        }
        Ok(match self.not_source(&text) {
            Some(thing) => PathExplanation::NotSource(thing),
            None => PathExplanation::Rules(self.ignore.verdict(&text)?),
        })
    }

    /// Returns the outermost directory that is not source and is `path` or an ancestor.
    fn not_source(&self, path: &str) -> Option<ExcludedPath> {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.chain([path]).find_map(|path| {
            let what = markers::of_directory(&self.root.join(path))?;
            let excluded = what.is_environment() || !self.ignore.reincludes(path);
            excluded.then(|| ExcludedPath { path: path.to_owned(), what })
        })
    }

    /// Converts a path given by the user, relative or absolute, to the form of a listing; `.` for
    /// the root.
    ///
    /// # Errors
    /// [`ContextError::Outside`] for a path out of the context, and [`ContextError::Name`] for
    /// one that is not UTF-8.
    pub fn relative(&self, path: &Path) -> Result<String, ContextError> {
        let outside = || ContextError::Outside(path.to_owned());
        let absolute = path.is_absolute().then(|| self.inside(path).ok_or_else(outside)).transpose()?;
        let inside = absolute.as_deref().unwrap_or(path);
        let text =
            dockerignore::clean(inside.to_str().ok_or_else(|| ContextError::Name(printable::path(inside)))?);
        if text == ".." || text.starts_with("../") { Err(outside()) } else { Ok(text) }
    }

    /// Returns an absolute path relative to the root, with `.` and `..` resolved lexically; `None`
    /// outside.
    pub(super) fn inside(&self, absolute: &Path) -> Option<PathBuf> {
        let absolute = normalize(absolute);
        let inside = absolute.strip_prefix(&self.root).or_else(|_| absolute.strip_prefix(&self.named));
        inside.ok().map(Path::to_owned)
    }
}

/// Resolves `.` and `..` lexically in an absolute path.
pub(super) fn normalize(absolute: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// Returns the name of the ignore file that BuildKit would read.
fn default_name(root: &Path) -> &'static str {
    let is_file = |name: &str| fs::metadata(root.join(name)).is_ok_and(|file| file.is_file());
    if is_file(DOCKERFILE_NAME) && DOCKERFILES.into_iter().any(is_file) {
        DOCKERFILE_NAME
    } else {
        DEFAULT_NAME
    }
}

/// Returns ignore files in `root` of other programs or other Dockerfiles, sorted.
fn other_ignore_files(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| name.ends_with(".dockerignore") || name.ends_with(".containerignore"))
        .filter(|name| fs::metadata(root.join(name)).is_ok_and(|file| file.is_file()))
        .collect();
    names.sort_unstable();
    names
}

/// Returns the bytes of an ignore file, up to one more than the limit; `None` if the file is
/// missing. A file named by the user may be a pipe.
fn read_ignore_file(
    path: &Path,
    open: impl FnOnce(&Path) -> io::Result<File>,
) -> Result<Option<Vec<u8>>, ContextError> {
    let failed = |error| FileError::new("read", path, error);
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error).into()),
    };
    let mut bytes = Vec::new();
    file.take(Dockerignore::SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}
