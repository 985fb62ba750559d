//! [`Context`]: a directory with its ignore file, ready to be walked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::dockerignore::{Dockerignore, FILE_LIMIT, Verdict, prefixes};
use super::error::ContextError;
use super::listing::Listing;
use super::marks::{self, LeftOut};
use super::pattern::clean;
use super::walk::{self, Detail};
use crate::error::FileError;
use crate::printable;
use crate::tree::ImagePath;

/// The ignore file's name in the root.
const DEFAULT_NAME: &str = ".dockerignore";
/// The Dockerfile that BuildKit takes where none is named (`frontend/dockerui/config.go`), and the ignore file that then
/// stands before [`DEFAULT_NAME`].
const DOCKERFILES: [&str; 2] = ["Dockerfile", "dockerfile"];
const DOCKERFILE_NAME: &str = "Dockerfile.dockerignore";

/// Which ignore file counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IgnoreSource {
    /// `Dockerfile.dockerignore` in the context's root, where there is one and a `Dockerfile`, or else `.dockerignore`.
    #[default]
    Default,
    /// This file, which has to be there. It replaces the one in the root.
    File(PathBuf),
    /// None: everything is kept.
    None,
}

/// A directory with its ignore file, ready to be walked.
#[derive(Debug, Clone)]
pub struct Context {
    /// Canonical, so that places that are left out compare.
    root: PathBuf,
    /// Absolute, as it was named: links may have been made with this one.
    named: PathBuf,
    ignore: Dockerignore,
    /// As messages name it.
    ignore_file: Option<PathBuf>,
    passed_over: Vec<String>,
    /// Relative to the root.
    left_out: BTreeSet<PathBuf>,
    workdir: ImagePath,
}

/// Why a path is part of the context or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why<'a> {
    /// It is, or lies in, a place that [`Context::leave_out`] named, relative to the root.
    LeftOut(PathBuf),
    /// It is, or lies in, something that is no source.
    NotSource(LeftOut),
    /// The ignore file's lines say so.
    Lines(Verdict<'a>),
}

impl Context {
    /// Opens the directory `root` and reads its ignore file. The working directory of the image is
    /// taken to be `/app` ([`Context::with_workdir`]).
    ///
    /// # Errors
    /// Where `root` is missing or no directory, or the ignore file is missing (if it was asked
    /// for), too large or has a bad line.
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
        let mut passed_over = Vec::new();
        let (ignore_file, bytes) = match source {
            IgnoreSource::None => (None, None),
            IgnoreSource::File(file) => {
                let bytes = read_ignore_file(&file)?;
                (Some(file.clone()), Some(bytes.ok_or(ContextError::IgnoreMissing(file))?))
            }
            IgnoreSource::Default => {
                let name = default_name(&root);
                let bytes = read_ignore_file(&root.join(name))?;
                if bytes.is_none() {
                    passed_over = other_ignore_files(&root);
                }
                (bytes.is_some().then(|| name.into()), bytes)
            }
        };
        let ignore = match (&ignore_file, bytes) {
            (Some(name), Some(bytes)) => Dockerignore::parse(name, &bytes)?,
            _ => Dockerignore::empty(),
        };
        let workdir = ImagePath::new("/app")?;
        Ok(Self { root, named, ignore, ignore_file, passed_over, left_out: BTreeSet::new(), workdir })
    }

    /// The same context for an image whose working directory is `workdir`: absolute links to places
    /// below it stay as they are.
    #[must_use]
    pub fn with_workdir(mut self, workdir: ImagePath) -> Self {
        self.workdir = workdir;
        self
    }

    /// The same context with `defaults` before the lines of its ignore file, which so have the last
    /// word.
    #[must_use]
    pub fn with_defaults(mut self, defaults: Dockerignore) -> Self {
        self.ignore = self.ignore.after(defaults);
        self
    }

    /// The directory, absolute and without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The working directory of the image.
    pub fn workdir(&self) -> &ImagePath {
        &self.workdir
    }

    /// The ignore file as messages name it; none where there is none.
    pub fn ignore_file(&self) -> Option<&Path> {
        self.ignore_file.as_deref()
    }

    /// Ignore files of other programs in the root, where there is none that applies: `.containerignore`,
    /// `Dockerfile.prod.dockerignore`.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// The rules that apply.
    pub fn ignore(&self) -> &Dockerignore {
        &self.ignore
    }

    /// Leaves out `host_path`, a path of this machine, whatever the ignore file says: the virtual
    /// environment or the output, which may lie in the context and are inputs and outputs of their
    /// own. Where it is a link, both the link and what it leads to are left out. A path outside the
    /// context, and the root itself, change nothing.
    pub fn leave_out(&mut self, host_path: &Path) {
        let Ok(absolute) = std::path::absolute(host_path) else { return };
        let beside = match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => absolute.clone(),
        };
        let canonical = fs::canonicalize(&absolute).unwrap_or_else(|_| absolute.clone());
        for path in [&beside, &canonical, &absolute] {
            self.left_out.extend(self.inside(path).filter(|inside| !inside.as_os_str().is_empty()));
        }
    }

    /// The place that was named with [`Context::leave_out`] and is `path` or above it; relative.
    pub(super) fn left_out(&self, path: &Path) -> Option<&Path> {
        if self.left_out.is_empty() {
            return None;
        }
        path.ancestors().find_map(|above| self.left_out.get(above)).map(PathBuf::as_path)
    }

    /// All such places, relative to the root.
    pub(super) fn left_out_places(&self) -> Vec<&str> {
        self.left_out.iter().filter_map(|path| path.to_str()).collect()
    }

    /// Whether `path`, relative to the root, is itself such a place.
    pub(super) fn is_left_out(&self, path: &Path) -> bool {
        self.left_out.contains(path)
    }

    /// Lists what is kept, ordered by path components.
    ///
    /// # Errors
    /// For the first thing that is kept and that an image cannot hold or this user cannot read.
    pub fn walk(&self, detail: Detail) -> Result<Listing, ContextError> {
        walk::walk(self, detail)
    }

    /// Says why `path` is part of the context or not. It is relative to the root, or absolute and
    /// below it, and need not exist.
    ///
    /// # Errors
    /// As [`Context::relative`] and [`Dockerignore::verdict`].
    pub fn why(&self, path: &Path) -> Result<Why<'_>, ContextError> {
        let text = self.relative(path)?;
        if text == "." {
            return Ok(Why::Lines(Verdict::unmatched()));
        }
        if let Some(place) = self.left_out(Path::new(&text)) {
            return Ok(Why::LeftOut(place.to_owned()));
        }
        Ok(match self.not_source(&text) {
            Some(thing) => Why::NotSource(thing),
            None => Why::Lines(self.ignore.verdict(&text)?),
        })
    }

    /// The outermost directory that is no source and is `path` or above it.
    fn not_source(&self, path: &str) -> Option<LeftOut> {
        prefixes(path).find_map(|path| {
            let what = marks::of_directory(&self.root.join(path))?;
            let left_out = what.is_environment() || !self.ignore.insists_on(path);
            left_out.then(|| LeftOut { path: path.to_owned(), what })
        })
    }

    /// A path that a person named, relative or absolute, as a listing has it; `.` for the root.
    ///
    /// # Errors
    /// [`ContextError::Outside`] where it leads out of the context, and [`ContextError::Name`] where
    /// it is not UTF-8.
    pub fn relative(&self, path: &Path) -> Result<String, ContextError> {
        let outside = || ContextError::Outside(path.to_owned());
        let absolute = path.is_absolute().then(|| self.inside(path).ok_or_else(outside)).transpose()?;
        let inside = absolute.as_deref().unwrap_or(path);
        let text = clean(inside.to_str().ok_or_else(|| ContextError::Name(printable::path(inside)))?);
        if text == ".." || text.starts_with("../") { Err(outside()) } else { Ok(text) }
    }

    /// Where in the context an absolute path lies, `.` and `..` resolved by its text; none outside.
    pub(super) fn inside(&self, absolute: &Path) -> Option<PathBuf> {
        let absolute = normalize(absolute);
        let inside = absolute.strip_prefix(&self.root).or_else(|_| absolute.strip_prefix(&self.named));
        inside.ok().map(Path::to_owned)
    }
}

/// An absolute path without `.` and `..`, by its text.
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

/// The name of the ignore file that BuildKit would read.
fn default_name(root: &Path) -> &'static str {
    let is_file = |name: &str| fs::metadata(root.join(name)).is_ok_and(|file| file.is_file());
    if is_file(DOCKERFILE_NAME) && DOCKERFILES.into_iter().any(is_file) {
        DOCKERFILE_NAME
    } else {
        DEFAULT_NAME
    }
}

/// Names in `root` that only other programs, or other Dockerfiles, take for ignore files, sorted.
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

/// The bytes of an ignore file, one more than the limit at most; none where there is none.
fn read_ignore_file(path: &Path) -> Result<Option<Vec<u8>>, ContextError> {
    let failed = |error| FileError::new("read", path, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error).into()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}
