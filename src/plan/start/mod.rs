//! Checks that an image contains the programs of its configuration.
//!
//! Follows execve(2) and the kernel's `fs/binfmt_script.c` and `fs/binfmt_elf.c` for interpreters
//! and loaders, and runc for names without a slash, which are searched in the image's `PATH`. Of a
//! shell command line only the shell is checked. An `ImageFiles` provides the image's files; no
//! program is run.

mod command_line;
mod error;

use std::cell::Cell;

use serde::{Deserialize, Serialize};

pub(crate) use command_line::{LINE_LIMIT, PythonTarget, is_python, python_target};
pub use error::{RequiredProgram, Role, StartError, StartFault};

use super::{Process, launcher};
use crate::settings::User;
use crate::shell_names::may_be_shell;
use crate::tree::ImagePath;

/// Maximum number of links on the way to a file (`MAXSYMLINKS`).
const LINKS_LIMIT: usize = 40;
/// Maximum depth of nested script interpreters (`exec_binprm`).
const INTERPRETERS_LIMIT: usize = 5;
/// Top-level directories mounted by container runtimes.
const MOUNTED: [&str; 3] = ["proc", "sys", "dev"];

/// A node of an image's file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PathNode {
    /// No such path.
    Absent,
    /// A directory.
    Directory(Permissions),
    /// A symbolic link with its target.
    Link(String),
    /// A file.
    File(Permissions, ExecutableFormat),
    /// A device or pipe.
    Other,
}

/// Permission bits and owners of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permissions {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
}

/// Executable format of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ExecutableFormat {
    /// A script, with its first line after `#!`.
    Script(String),
    /// An ELF program, with its loader (`PT_INTERP`).
    Elf(Option<String>),
    /// Not executable.
    Plain,
    /// Unknown, since the content is not available.
    Unknown,
}

impl ExecutableFormat {
    /// Returns the format of a file that is not ELF, by its first bytes.
    pub(crate) fn of_start(start: &[u8]) -> Self {
        if let Some(line) = start.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Self::Script(String::from_utf8_lossy(line).into_owned());
        }
        // The kernel that runs the container may know other formats (binfmt_misc).
        if start.contains(&0) { Self::Unknown } else { Self::Plain }
    }
}

/// Archives from which Python can import.
const ARCHIVES: [&str; 4] = [".zip", ".egg", ".pyz", ".whl"];

/// Returns true if one of `paths` may be the top-level module `name`, in any directory: `.pth`
/// files, variables and code can extend the search path. Returns `None` if an archive may contain
/// the module.
pub(crate) fn may_have_module<'a>(paths: impl Iterator<Item = &'a ImagePath>, name: &str) -> Option<bool> {
    let mut has_archive = false;
    for path in paths {
        let is_it =
            |part: &str| part.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if path.components().any(is_it) {
            return Some(true);
        }
        has_archive |= ARCHIVES.iter().any(|kind| path.as_str().ends_with(kind));
    }
    (!has_archive).then_some(false)
}

/// The files of an image.
pub(crate) trait ImageFiles {
    /// Returns the node at `path` without following links; `None` if unknown.
    fn node(&self, path: &ImagePath) -> Option<PathNode>;

    /// Returns true if the image may contain a module of this name, at any level; `None` if unknown.
    fn has_module(&self, name: &str) -> Option<bool>;
}

/// The programs of an image's configuration, with the context of the check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartCheck<'a> {
    pub(crate) process: &'a Process,
    /// Entrypoint and command of the base, in effect if the process has neither.
    pub(crate) inherited: &'a [String],
    /// True if the image has a base.
    pub(crate) on_base: bool,
    /// Names in `[project.scripts]`.
    pub(crate) scripts: &'a [String],
}

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartVerdict {
    /// No program is missing as far as is known.
    Good,
    /// Some file was unknown.
    Unknown,
}

impl StartCheck<'_> {
    /// Checks the programs of entrypoint, command and health check.
    pub(crate) fn check(&self, files: &dyn ImageFiles) -> Result<StartVerdict, StartError> {
        let Process { entrypoint, cmd, healthcheck, .. } = self.process;
        let own: Vec<String> = entrypoint.iter().chain(cmd).cloned().collect();
        let (role, words) = match (entrypoint.is_empty(), own.is_empty()) {
            (false, _) => (Role::Entrypoint, own),
            (true, false) => (Role::Command, own),
            (true, true) => (Role::Entrypoint, self.inherited.to_vec()),
        };
        let mut verdict = self.words(files, role, &words)?;
        let probe = healthcheck.as_ref().map_or(&[][..], |probe| &probe.test[..]);
        let words = match probe.split_first() {
            Some((kind, words)) if kind == "CMD" => words.to_vec(),
            Some((kind, _)) if kind == "CMD-SHELL" => vec!["/bin/sh".to_owned()],
            _ => Vec::new(),
        };
        if self.words(files, Role::HealthCheck, &words)? == StartVerdict::Unknown {
            verdict = StartVerdict::Unknown;
        }
        Ok(verdict)
    }

    fn words(
        &self,
        files: &dyn ImageFiles,
        role: Role,
        words: &[String],
    ) -> Result<StartVerdict, StartError> {
        let Some((program, arguments)) = words.split_first() else { return Ok(StartVerdict::Good) };
        let path = self.process.env.iter().find(|(name, _)| name == "PATH");
        let root = ImagePath::default();
        let search = ProgramSearch {
            files,
            workdir: self.process.workdir.as_ref().unwrap_or(&root),
            path: path.map(|(_, value)| value.split(':').collect()).unwrap_or_default(),
            user: self.process.user.unwrap_or(User { uid: 0, gid: 0 }),
            unknown: Cell::new(false),
        };
        match search.start(program, Lookup::Path, arguments, INTERPRETERS_LIMIT) {
            Ok(()) if search.unknown.get() => Ok(StartVerdict::Unknown),
            Ok(()) => Ok(StartVerdict::Good),
            Err(StartFailure { needed, fault }) => {
                // The user did not name the launcher.
                let named = match launcher::launched(arguments) {
                    Some([next, ..])
                        if search.start(program, Lookup::Path, &[], INTERPRETERS_LIMIT).is_ok() =>
                    {
                        next
                    }
                    _ => program,
                };
                let help = self.help(needed.as_ref().map_or(named, |needed| &needed.program), &fault);
                Err(StartError { role, program: named.clone(), needed, fault, help })
            }
        }
    }

    /// Returns the advice for `fault` of `program`.
    fn help(&self, program: &str, fault: &StartFault) -> String {
        let name = program.rsplit('/').next().unwrap_or(program).trim_end();
        match fault {
            StartFault::Absent
            | StartFault::Dangling(_)
            | StartFault::NotOnPath(_)
            | StartFault::NotADirectory(_) => {
                if program.ends_with('\r') {
                    return "save it with Unix line endings: its first line ends in a carriage return"
                        .to_owned();
                }
                if self.scripts.iter().any(|script| script == name) {
                    return format!(
                        "install the project, which has `{name}` in [project.scripts], into the environment (`uv sync`, \
                         `pip install .`), or start its module: [\"{{python}}\", \"-m\", …]"
                    );
                }
                if may_be_shell(name) && !self.on_base {
                    return "start the program without a shell, or use a base with one, such as --base \
                            debian:bookworm-slim: an image from scratch has no shell"
                        .to_owned();
                }
                let base = if self.on_base { "another base" } else { "a base" };
                format!(
                    "install and declare the distribution with `{name}`, put it into the source, or use {base} \
                     with it (--base)"
                )
            }
            StartFault::NotExecutable { .. } => {
                "set its execute permission (`chmod +x`, `git update-index --chmod=+x`), or start it by its \
                 interpreter"
                    .to_owned()
            }
            StartFault::Denied { .. } => "copy it elsewhere, or set another `user`".to_owned(),
            StartFault::NoFormat => {
                "begin it with the line of its interpreter, such as #!/usr/bin/env python3, or name the \
                 interpreter in the command"
                    .to_owned()
            }
            StartFault::NoModule => {
                "declare the distribution that has it, put it into the source, or correct its name".to_owned()
            }
            StartFault::Directory | StartFault::Circle | StartFault::TooManyInterpreters => {
                "name a program of the image".to_owned()
            }
        }
    }
}

/// Returns true if `path` exists in the image; `None` if unknown.
pub(crate) fn exists(files: &dyn ImageFiles, path: &str) -> Option<bool> {
    let search = ProgramSearch {
        files,
        workdir: &ImagePath::root(),
        path: Vec::new(),
        user: User { uid: 0, gid: 0 },
        unknown: Cell::new(false),
    };
    let found = search.walk(path).is_ok();
    (!search.unknown.get()).then_some(found)
}

/// A failed search.
struct StartFailure {
    needed: Option<RequiredProgram>,
    fault: StartFault,
}

impl From<StartFault> for StartFailure {
    fn from(fault: StartFault) -> Self {
        Self { needed: None, fault }
    }
}

/// Lookup of a name without a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// In `PATH`.
    Path,
    /// In the working directory, as the kernel does for an interpreter.
    Plain,
}

struct ProgramSearch<'a> {
    files: &'a dyn ImageFiles,
    workdir: &'a ImagePath,
    path: Vec<&'a str>,
    user: User,
    /// True once an unknown file was requested. The check then passes as far as is known.
    unknown: Cell<bool>,
}

/// The target of a path.
enum ResolvedPath {
    /// A file, with its canonical path.
    File(ImagePath, Permissions, ExecutableFormat),
    /// Any other existing node.
    Other,
    /// Unknown.
    Unknown,
}

impl ProgramSearch<'_> {
    /// Follows the execution of `name` with `arguments`.
    fn start(
        &self,
        name: &str,
        lookup: Lookup,
        arguments: &[String],
        left: usize,
    ) -> Result<(), StartFailure> {
        let (place, access, format) = match self.locate(name, lookup)? {
            ResolvedPath::File(place, access, format) => (place, access, format),
            ResolvedPath::Other => return Err(StartFault::Directory.into()),
            ResolvedPath::Unknown => return Ok(()),
        };
        self.require_execute(&place, access)?;
        let shown = place.to_string();
        match format {
            ExecutableFormat::Script(line) => {
                let left = left.checked_sub(1).ok_or(StartFault::TooManyInterpreters)?;
                self.require(&place, access, 4)?;
                let (interpreter, argument) = command_line::interpreter(&line).ok_or(StartFault::NoFormat)?;
                let script = if name.contains('/') { name.to_owned() } else { shown.clone() };
                let argument = argument.map(str::to_owned);
                let given: Vec<String> =
                    argument.into_iter().chain([script.clone()]).chain(arguments.iter().cloned()).collect();
                return attach_requirer(
                    (&script, "its interpreter", interpreter),
                    self.start(interpreter, Lookup::Plain, &given, left),
                );
            }
            ExecutableFormat::Elf(Some(loader)) => {
                let found = match self.walk(&loader) {
                    Ok(ResolvedPath::Other) => Err(StartFault::Directory.into()),
                    outcome => outcome.map(|_| ()),
                };
                attach_requirer((name, "its loader", &loader), found)?;
            }
            ExecutableFormat::Plain => return Err(StartFault::NoFormat.into()),
            ExecutableFormat::Elf(None) | ExecutableFormat::Unknown => {}
        }
        self.arguments(name, arguments, left)
    }

    /// Follows the program in the arguments of a launcher such as `env`.
    fn arguments(&self, program: &str, arguments: &[String], left: usize) -> Result<(), StartFailure> {
        let name = program.rsplit('/').next().unwrap_or(program);
        let next = match name {
            "env" => command_line::command_after_env(arguments),
            _ => command_line::command_after_init(name, arguments).map(<[String]>::to_vec),
        };
        if let Some((next, arguments)) = next.as_deref().and_then(<[String]>::split_first) {
            let left = left.checked_sub(1).ok_or(StartFault::TooManyInterpreters)?;
            return attach_requirer(
                (program, "the program", next),
                self.start(next, Lookup::Path, arguments, left),
            );
        }
        if !command_line::is_python(name) {
            return Ok(());
        }
        if let Some((next, arguments)) = launcher::launched(arguments).and_then(<[String]>::split_first) {
            let left = left.checked_sub(1).ok_or(StartFault::TooManyInterpreters)?;
            return self.start(next, Lookup::Path, arguments, left);
        }
        match command_line::python_target(arguments) {
            Some(command_line::PythonTarget::File(file)) => {
                attach_requirer((program, "the file", file), self.walk(file).map(|_| ()))
            }
            Some(command_line::PythonTarget::Module(module)) => {
                // Submodules too have to be files or directories of some name.
                let mut end = 0;
                for part in module.split('.') {
                    end += part.len();
                    let dotted = module.get(..end).unwrap_or(module);
                    end += 1;
                    let found = match self.files.has_module(part) {
                        Some(true) => Ok(()),
                        Some(false) => Err(StartFault::NoModule.into()),
                        None => {
                            self.unknown.set(true);
                            Ok(())
                        }
                    };
                    attach_requirer((program, "the module", dotted), found)?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Locates a program.
    fn locate(&self, name: &str, lookup: Lookup) -> Result<ResolvedPath, StartFailure> {
        if name.is_empty() {
            return Err(StartFault::Absent.into());
        }
        if name.contains('/') || lookup == Lookup::Plain {
            return self.walk(name);
        }
        let mut other = None;
        for folder in &self.path {
            // An empty part of `PATH` is the working directory.
            let path = if folder.is_empty() { format!("./{name}") } else { format!("{folder}/{name}") };
            match self.walk(&path) {
                Ok(ResolvedPath::File(place, access, format)) => match self.require_execute(&place, access) {
                    Ok(()) => return Ok(ResolvedPath::File(place, access, format)),
                    Err(stop) => drop(other.get_or_insert(stop)),
                },
                Ok(ResolvedPath::Unknown) => return Ok(ResolvedPath::Unknown),
                Ok(ResolvedPath::Other) => {}
                Err(stop) if matches!(stop.fault, StartFault::Absent | StartFault::NotADirectory(_)) => {}
                Err(stop) => drop(other.get_or_insert(stop)),
            }
        }
        let folders = self.path.iter().filter(|folder| !folder.is_empty());
        Err(other.unwrap_or_else(|| StartFault::NotOnPath(folders.map(ToString::to_string).collect()).into()))
    }

    /// Resolves a path through links, with the permissions of the image's user.
    fn walk(&self, text: &str) -> Result<ResolvedPath, StartFailure> {
        let components = |text: &str| -> Vec<String> {
            text.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).rev().collect()
        };
        let mut at = ImagePath::root();
        let mut ahead = components(text);
        if !text.starts_with('/') {
            ahead.extend(components(self.workdir.as_str()));
        }
        let (mut links, mut is_link) = (0, false);
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at = at.parent().unwrap_or_default();
                continue;
            }
            let next = at.join(&name).map_err(|_| StartFault::Absent)?;
            if at.is_root() && MOUNTED.contains(&name.as_str()) {
                return Ok(ResolvedPath::Unknown);
            }
            match self.files.node(&next) {
                None => {
                    self.unknown.set(true);
                    return Ok(ResolvedPath::Unknown);
                }
                Some(PathNode::Absent) if is_link => {
                    return Err(StartFault::Dangling(next.to_string()).into());
                }
                Some(PathNode::Absent) => return Err(StartFault::Absent.into()),
                Some(PathNode::Directory(access)) => {
                    if !ahead.is_empty() {
                        self.require(&next, access, 1)?;
                    }
                    at = next;
                }
                Some(PathNode::Link(target)) => {
                    links += 1;
                    if links > LINKS_LIMIT {
                        return Err(StartFault::Circle.into());
                    }
                    is_link |= ahead.is_empty();
                    if target.starts_with('/') {
                        at = ImagePath::root();
                    }
                    ahead.extend(components(&target));
                }
                Some(PathNode::File(access, format)) if ahead.is_empty() => {
                    return Ok(ResolvedPath::File(next, access, format));
                }
                Some(PathNode::Other) if ahead.is_empty() => return Ok(ResolvedPath::Unknown),
                Some(PathNode::File(..) | PathNode::Other) => {
                    return Err(StartFault::NotADirectory(next.to_string()).into());
                }
            }
        }
        Ok(ResolvedPath::Other)
    }

    fn require_execute(&self, place: &ImagePath, access: Permissions) -> Result<(), StartFailure> {
        if access.mode & 0o111 == 0 {
            return Err(StartFault::NotExecutable { path: place.to_string(), mode: access.mode }.into());
        }
        self.require(place, access, 1)
    }

    /// Requires a permission of the image's user: 4 to read, 1 to execute or to enter.
    fn require(&self, place: &ImagePath, access: Permissions, bit: u32) -> Result<(), StartFailure> {
        let User { uid, gid } = self.user;
        let Permissions { mode, uid: owner, gid: group } = access;
        let granted = if uid == 0 {
            true
        } else if u64::from(uid) == owner {
            mode >> 6 & bit != 0
        } else if u64::from(gid) == group {
            mode >> 3 & bit != 0
        } else {
            // The image's group file may add the user to further groups.
            mode & bit != 0 || mode >> 3 & bit != 0
        };
        if granted { Ok(()) } else { Err(StartFault::Denied { path: place.to_string(), uid }.into()) }
    }
}

/// Attaches the requesting file to an error, unless an inner one is attached already.
fn attach_requirer(
    (by, kind, program): (&str, &'static str, &str),
    outcome: Result<(), StartFailure>,
) -> Result<(), StartFailure> {
    outcome.map_err(|stop| match stop.needed {
        Some(_) => stop,
        None => StartFailure {
            needed: Some(RequiredProgram { by: by.to_owned(), kind, program: program.to_owned() }),
            fault: stop.fault,
        },
    })
}

#[cfg(test)]
mod tests;
