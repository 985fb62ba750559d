//! Collects the interpreter's files as entries of an image.

use std::path::{Path, PathBuf};

use super::discover::{TEXT_LIMIT, read_text};
use super::rewrite::PrefixRewrite;
use super::trim::{DEFAULT_TRIM, TrimPattern};
use super::{Flavor, Interpreter, InterpreterError};
use crate::error::FileError;
use crate::progress::Warning;
use crate::python::environment::version::PythonVersion;
use crate::traced_fs;
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner};

/// The choice of an interpreter's files for an image.
#[derive(Debug, Clone)]
pub struct InterpreterOptions {
    /// The excluded parts of the standard library, as patterns relative to its directory.
    pub trim: Vec<String>,
    /// The choice of the files for compiling C extensions.
    pub headers: DevelopmentFiles,
    /// The choice of packages installed beside the interpreter.
    pub site_packages: SitePackages,
}

impl Default for InterpreterOptions {
    /// The files needed by a running service.
    fn default() -> Self {
        Self {
            trim: DEFAULT_TRIM.iter().map(|&pattern| pattern.to_owned()).collect(),
            headers: DevelopmentFiles::Exclude,
            site_packages: SitePackages::Exclude,
        }
    }
}

/// C headers, build configuration, `pkg-config` files and `python3-config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevelopmentFiles {
    /// Excluded.
    #[default]
    Exclude,
    /// Included; `config-*` is included regardless of trim patterns, but without its static
    /// libraries.
    Include,
}

/// `site-packages` of the interpreter itself, and `dist-packages` of Debian's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SitePackages {
    /// Excluded.
    #[default]
    Exclude,
    /// Only pip.
    Pip,
    /// All of them, as visible to an environment with `include-system-site-packages`.
    Include,
}

/// An interpreter in an image.
#[derive(Debug, Clone)]
pub struct InterpreterFiles {
    /// The files, directories and links, ordered by path, without bytecode.
    pub entries: Vec<Entry>,
    /// The Python sources among the entries, for the bytecode.
    pub sources: Vec<InterpreterSource>,
    /// The programs and libraries among the entries, with their paths on this machine.
    pub elf_files: Vec<(ImagePath, PathBuf)>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
    /// The program: `/usr/local/bin/python3.11`.
    pub executable: ImagePath,
    /// The program's directory: the target of `home` in `pyvenv.cfg` and of the environment's
    /// links.
    pub home: ImagePath,
    /// `sys.base_prefix` in the image.
    pub prefix: ImagePath,
    /// The standard library's directory.
    pub stdlib: ImagePath,
}

/// A Python source in the image, with the bytecode beside it on this machine.
#[derive(Debug, Clone)]
pub struct InterpreterSource {
    /// The path in the image.
    pub path: ImagePath,
    /// The source text.
    pub content: Content,
    /// `__pycache__/NAME.cpython-311.pyc`, if present and the source is unchanged.
    pub pyc: Option<HostFile>,
}

impl Interpreter {
    /// Returns `sys.base_prefix` in the image: `/usr` for `/usr`, else `/usr/local`.
    pub fn image_prefix(&self) -> ImagePath {
        let place = if self.prefix == Path::new("/usr") { "usr" } else { "usr/local" };
        ImagePath::new(place).unwrap_or_default()
    }

    /// Returns the interpreter's files as entries. Only small text files are read.
    ///
    /// # Errors
    /// If a trim pattern is invalid or a file cannot be read.
    pub fn files(&self, options: &InterpreterOptions) -> Result<InterpreterFiles, InterpreterError> {
        let patterns: Vec<TrimPattern> =
            options.trim.iter().map(|text| TrimPattern::new(text)).collect::<Result<_, _>>()?;
        let mut collector = FileCollector::new(self, patterns, options.headers);
        collector.program()?;
        collector.stdlib()?;
        if options.headers == DevelopmentFiles::Include {
            collector.headers()?;
        }
        match options.site_packages {
            SitePackages::Exclude => {}
            SitePackages::Pip => collector.site_packages(|name| name == "pip" || name.starts_with("pip-"))?,
            SitePackages::Include => collector.site_packages(|_| true)?,
        }
        Ok(collector.finish())
    }
}

/// Collects entries below the prefix.
struct FileCollector<'a> {
    interpreter: &'a Interpreter,
    prefix: ImagePath,
    patterns: Vec<TrimPattern>,
    headers: DevelopmentFiles,
    rewrite: PrefixRewrite,
    entries: Vec<Entry>,
    sources: Vec<InterpreterSource>,
    elf_files: Vec<(ImagePath, PathBuf)>,
    warnings: Vec<Warning>,
}

impl<'a> FileCollector<'a> {
    fn new(interpreter: &'a Interpreter, patterns: Vec<TrimPattern>, headers: DevelopmentFiles) -> Self {
        let prefix = interpreter.image_prefix();
        let old = interpreter.prefix.to_str().map(str::to_owned).into_iter();
        let old = old.chain(interpreter.configured_prefix.clone()).filter(|old| old != "/usr");
        Self {
            rewrite: PrefixRewrite::new(old, prefix.to_string()),
            interpreter,
            prefix,
            patterns,
            headers,
            entries: Vec::new(),
            sources: Vec::new(),
            elf_files: Vec::new(),
            warnings: interpreter.warnings.clone(),
        }
    }

    /// Adds `bin/python3.11` with its two links, and libpython.
    fn program(&mut self) -> Result<(), InterpreterError> {
        let interpreter = self.interpreter;
        let name = interpreter.version.name();
        let bin = below(&self.prefix, "bin");
        self.elf(below(&bin, &name), &interpreter.executable)?;
        for link in ["python", "python3"] {
            self.entries.push(Entry::symlink(below(&bin, link), name.as_str(), Owner::Interpreter));
        }
        if let Some(library) = &interpreter.libpython {
            let real = traced_fs::canonicalize(library).map_err(FileError::of("follow", library))?;
            let Some(path) = self.place(library) else { return Ok(()) };
            self.elf(path.clone(), &real)?;
            let development = format!("lib{name}.so");
            let wanted =
                self.headers == DevelopmentFiles::Include && path.file_name() != Some(development.as_str());
            if let (true, Some(parent), Some(target)) = (wanted, path.parent(), path.file_name()) {
                let link = Entry::symlink(below(&parent, &development), target, Owner::Interpreter);
                self.entries.push(link);
            }
        }
        Ok(())
    }

    fn stdlib(&mut self) -> Result<(), InterpreterError> {
        let interpreter = self.interpreter;
        let stdlib = &interpreter.stdlib;
        self.walk(stdlib, |this, relative| {
            if matches!(relative, "site-packages" | "dist-packages") {
                return false;
            }
            if this.is_below_config(relative) && is_static_library(relative) {
                return false;
            }
            this.is_taken_config(relative) || !this.patterns.iter().any(|pattern| pattern.matches(relative))
        })?;
        if let Some(modules) = interpreter.lib_dynload.as_ref().filter(|dir| !dir.starts_with(stdlib)) {
            self.walk(modules, |this, relative| {
                let relative = format!("lib-dynload/{relative}");
                !this.patterns.iter().any(|pattern| pattern.matches(&relative))
            })?;
        }
        // Debian's ensurepip reads its wheels from here.
        let ensurepip = below(&self.image_stdlib(), "ensurepip");
        let has_ensurepip = self.entries.iter().any(|entry| entry.path.starts_with(&ensurepip));
        let wheels = interpreter.prefix.join("share/python-wheels");
        if interpreter.flavor == Flavor::Debian && has_ensurepip && traced_fs::is_dir(&wheels) {
            self.walk(&wheels, |_, relative| relative.ends_with(".whl"))?;
        }
        Ok(())
    }

    fn is_taken_config(&self, relative: &str) -> bool {
        self.headers == DevelopmentFiles::Include && self.is_below_config(relative)
    }

    fn is_below_config(&self, relative: &str) -> bool {
        let PythonVersion { major, minor, .. } = self.interpreter.version;
        let rest = relative.strip_prefix(&format!("config-{major}.{minor}"));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    }

    fn headers(&mut self) -> Result<(), InterpreterError> {
        let interpreter = self.interpreter;
        let name = interpreter.version.name();
        let Some(include) = &interpreter.include else {
            let missing = Warning::new(
                interpreter.executable.display().to_string(),
                "C headers not found; the builder image cannot compile extension modules",
            );
            let package = format!("install them (Debian: apt-get install {name}-dev)");
            self.warnings.push(missing.with_help(package));
            return Ok(());
        };
        self.walk(include, |_, _| true)?;
        // Debian has pyconfig.h, which depends on the architecture, in
        // include/<triplet>/python3.11.
        for directory in list(&interpreter.prefix.join("include"))? {
            let directory = directory.join(&name);
            if directory != *include && traced_fs::is_dir(&directory) {
                self.walk(&directory, |_, _| true)?;
            }
        }
        let PythonVersion { major, minor, .. } = interpreter.version;
        let versioned = format!("python-{major}.{minor}");
        let lib = interpreter.stdlib.parent().unwrap_or(Path::new("/")).join("pkgconfig");
        for file in list(&lib)? {
            let stem = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = stem.strip_suffix("-embed").unwrap_or(stem).trim_end_matches('t');
            if stem == versioned || stem == "python3" {
                self.file_or_link(&file, &lib)?;
            }
        }
        let bin = interpreter.executable.parent().unwrap_or(Path::new("/"));
        for file in list(bin)? {
            let file_name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let script = file_name.strip_suffix("-config");
            // Debian's begins with the triplet, and `python3.11-config` is a link to the file.
            if script.is_some_and(|script| script == name || script.ends_with(&format!("-{name}"))) {
                self.file_or_link(&file, bin)?;
            }
        }
        Ok(())
    }

    fn site_packages(&mut self, accepts: fn(&str) -> bool) -> Result<(), InterpreterError> {
        let interpreter = self.interpreter;
        let mut directories = vec![interpreter.stdlib.join("site-packages")];
        if interpreter.flavor == Flavor::Debian {
            let name = interpreter.version.name();
            directories = vec!["/usr/lib/python3/dist-packages".into()];
            directories.push(format!("/usr/local/lib/{name}/dist-packages").into());
        } else if interpreter.flavor == Flavor::System {
            directories
                .push(interpreter.prefix.join("lib").join(interpreter.version.name()).join("site-packages"));
        }
        directories.sort();
        directories.dedup();
        for directory in directories.into_iter().filter(|dir| traced_fs::is_dir(dir)) {
            self.walk(&directory, |_, relative| relative.contains('/') || accepts(relative))?;
        }
        Ok(())
    }

    /// Adds the accepted files of a directory of the installation; `accepts` gets paths relative to
    /// `directory`.
    fn walk(
        &mut self,
        directory: &Path,
        accepts: impl Fn(&Self, &str) -> bool,
    ) -> Result<(), InterpreterError> {
        let mut walk = traced_fs::walk(directory);
        while let Some(found) = walk.next() {
            let found = found.map_err(|error| {
                let path = error.path().unwrap_or(directory).to_owned();
                let source = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
                FileError::new("list", path, source)
            })?;
            if found.depth() == 0 {
                continue;
            }
            let is_directory = found.file_type().is_dir();
            let relative = found.path().strip_prefix(directory).ok().and_then(Path::to_str);
            let Some(relative) = relative else {
                let name = found.path().display().to_string();
                let message = "excluded from the image: the name is not UTF-8";
                self.warnings.push(Warning::new(name, message));
                if is_directory {
                    walk.skip_current_dir();
                }
                continue;
            };
            let cache = is_directory && found.file_name() == "__pycache__";
            if cache || !accepts(self, relative) {
                if is_directory {
                    walk.skip_current_dir();
                }
            } else if !is_directory {
                self.file_or_link(found.path(), directory)?;
            }
        }
        Ok(())
    }

    /// Adds one file. A link inside `root` stays a link. Links out of `root` and links to modules
    /// are replaced by the file: the target may be absent from the image, and bytecode is named
    /// after the imported name.
    fn file_or_link(&mut self, path: &Path, root: &Path) -> Result<(), InterpreterError> {
        let metadata = traced_fs::symlink_metadata(path).map_err(FileError::of("read", path))?;
        let Some(place) = self.place(path) else { return Ok(()) };
        let source = path.extension().is_some_and(|end| end == "py");
        if !metadata.is_symlink() {
            if metadata.is_file() {
                let file = HostFile::with_metadata(path, &metadata)?;
                return self.file(place, &file, source);
            }
            let message = "excluded from the image: not a regular file";
            self.warnings.push(Warning::new(path.display().to_string(), message));
            return Ok(());
        }
        let Ok(real) = traced_fs::canonicalize(path) else {
            // Debian's config directory links to development packages, which are optional.
            return Ok(());
        };
        let target = traced_fs::read_link(path).map_err(FileError::of("follow", path))?;
        let stays = real.starts_with(root) && target.is_relative();
        if let (true, false, Some(target)) = (stays, source, target.to_str()) {
            self.entries.push(Entry::symlink(place, target, Owner::Interpreter));
            return Ok(());
        }
        if traced_fs::is_file(&real) { self.file(place, &HostFile::new(real)?, source) } else { Ok(()) }
    }

    /// Adds a regular file as `place`.
    fn file(&mut self, place: ImagePath, file: &HostFile, source: bool) -> Result<(), InterpreterError> {
        let path = &*file.path;
        let name = place.file_name().unwrap_or_default();
        if name.ends_with(".so") || name.contains(".so.") {
            return self.elf(place, path);
        }
        let mut content = Content::Host(file.clone());
        let mut pyc = None;
        if contains_prefix(&place)
            && file.size <= TEXT_LIMIT
            && let Some(text) = self.rewrite.apply(&read_text(path)?)
        {
            content = text.into();
        }
        if source {
            if matches!(content, Content::Host(_)) {
                pyc = self.bytecode_of(path);
            }
            self.sources.push(InterpreterSource { path: place.clone(), content: content.clone(), pyc });
        }
        let script = path.starts_with(self.interpreter.prefix.join("bin"));
        let entry = if script { Entry::executable } else { Entry::file };
        self.entries.push(entry(place, content, Owner::Interpreter));
        Ok(())
    }

    fn bytecode_of(&self, source: &Path) -> Option<HostFile> {
        let stem = source.file_stem()?.to_str()?;
        let name = format!("{stem}.{}.pyc", self.interpreter.cache_tag);
        HostFile::new(source.parent()?.join("__pycache__").join(name)).ok()
    }

    fn elf(&mut self, place: ImagePath, path: &Path) -> Result<(), InterpreterError> {
        let content = Content::Host(HostFile::new(path)?);
        self.elf_files.push((place.clone(), path.to_owned()));
        self.entries.push(Entry::executable(place, content, Owner::Interpreter));
        Ok(())
    }

    /// Returns the path in the image of a file of the installation; `None` if its name is not
    /// UTF-8.
    fn place(&self, path: &Path) -> Option<ImagePath> {
        if let Ok(relative) = path.strip_prefix(&self.interpreter.prefix) {
            return self.prefix.join(relative.to_str()?).ok();
        }
        ImagePath::new(path.to_str()?).ok()
    }

    fn image_stdlib(&self) -> ImagePath {
        self.place(&self.interpreter.stdlib).unwrap_or_default()
    }

    fn finish(mut self) -> InterpreterFiles {
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        self.entries.dedup_by(|a, b| a.path == b.path);
        self.sources.sort_by(|a, b| a.path.cmp(&b.path));
        self.sources.dedup_by(|a, b| a.path == b.path);
        self.elf_files.sort();
        self.elf_files.dedup();
        let home = below(&self.prefix, "bin");
        InterpreterFiles {
            executable: below(&home, &self.interpreter.version.name()),
            stdlib: self.image_stdlib(),
            home,
            prefix: self.prefix,
            entries: self.entries,
            sources: self.sources,
            elf_files: self.elf_files,
            warnings: self.warnings,
        }
    }
}

/// Joins a name without dots to a directory.
fn below(directory: &ImagePath, name: &str) -> ImagePath {
    directory.join(name).unwrap_or_else(|_| directory.clone())
}

/// Lists a directory, sorted; empty if absent.
fn list(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let found = match traced_fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(FileError::of("list", directory))?,
    };
    let mut paths = Vec::new();
    for entry in found {
        paths.push(entry.map_err(FileError::of("list", directory))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn is_static_library(path: &str) -> bool {
    path.rsplit('.').next().is_some_and(|end| matches!(end, "a" | "o"))
}

/// Returns whether a text file of an installation contains the prefix.
fn contains_prefix(place: &ImagePath) -> bool {
    let name = place.file_name().unwrap_or_default();
    name.starts_with("_sysconfigdata_")
        || name.starts_with("_sysconfig_vars_")
        || matches!(name, "build-details.json" | "Makefile" | "python-config.py")
        || name.ends_with(".pc")
        || name.ends_with("-config")
}
