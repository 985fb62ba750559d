//! [`ProvisionError`]: errors of making an environment.

use std::path::PathBuf;

use super::{LINE_LENGTH, LINES_SHOWN};
use crate::error::{Advice, FileError};
use crate::printable;
use crate::python::requirements::closure::ClosureError;
use crate::python::requirements::requirements_txt::RequirementsError;
use crate::suggest::with_nearest;

/// Errors of making an environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The project's declared dependencies cannot be read.
    #[error(transparent)]
    Declared(#[from] ClosureError),
    /// The project has no file to install from.
    #[error("virtual environment not found: {} has none, and no file to make one from", printable::path(.0))]
    NothingToInstall(PathBuf),
    /// Neither uv nor Python is on `PATH`.
    #[error("cannot make a virtual environment: neither uv nor python3 is on PATH")]
    NoTool,
    /// No interpreter of this machine fits the project.
    #[error("{demanded} not found: this machine has {found}")]
    NoInterpreter {
        /// The demands, each with its file.
        demanded: String,
        /// The interpreters of this machine.
        found: String,
        /// The version to install.
        install: String,
    },
    /// The project uses sources that pip does not know.
    #[error(
        "cannot make a virtual environment: the source of `{name}` is in [tool.uv.sources], and uv is not on PATH"
    )]
    OnlyUv {
        /// The first dependency with such a source.
        name: String,
    },
    /// A tool failed.
    #[error("cannot make a virtual environment: `{command}` failed ({status}):\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// Lines of its output: the one that names the package, and the last ones.
        output: String,
        /// The line that names the cause.
        reason: String,
        /// True if the installation may succeed with another Python: a distribution has no wheel for
        /// this one, and cannot be built.
        is_of_python: bool,
        /// True if a build found no version in version control.
        is_of_version: bool,
    },
    /// An installation failed that may succeed with another Python than the base's, the only one that is tried.
    #[error("{failure}")]
    OfBase {
        /// The full version of the base's Python.
        version: String,
        /// The failure.
        failure: Box<ProvisionError>,
    },
    /// No workspace at or above the project.
    #[error("package `{name}` not found: {} is not in a uv workspace", printable::path(.context))]
    NoWorkspace {
        /// The package.
        name: String,
        /// The project's directory.
        context: PathBuf,
    },
    /// The workspace has no such member.
    #[error("package `{name}` not found in the workspace {}", printable::path(.root))]
    NoMember {
        /// The package.
        name: String,
        /// The workspace's directory.
        root: PathBuf,
        /// The names of its members.
        members: Vec<String>,
    },
    /// A member of the workspace without a project.
    #[error("invalid workspace {}: its member {} has no pyproject.toml", printable::path(.root), printable::path(.member))]
    MemberWithoutProject {
        /// The workspace's directory.
        root: PathBuf,
        /// The member.
        member: PathBuf,
    },
}

impl Advice for ProvisionError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::File(error) => return error.help(),
            Self::Declared(error) => return error.help(),
            Self::NothingToInstall(_) => {
                "name a virtual environment with --venv, or list the dependencies in requirements.txt or pyproject.toml"
                    .to_owned()
            }
            Self::NoTool => "install uv or Python, or name a virtual environment with --venv".to_owned(),
            Self::NoInterpreter { install, .. } => format!(
                "install it (`uv python install {install}` or `pyenv install {install}`), choose another version with \
                 --python, or name a virtual environment with --venv"
            ),
            Self::NoWorkspace { .. } => {
                "name the project's folder as CONTEXT, or add [tool.uv.workspace] with its `members`".to_owned()
            }
            Self::NoMember { name, members, .. } => {
                let known = members.iter().map(String::as_str);
                with_nearest(&format!("name one of {}", members.join(", ")), name, known)
            }
            Self::MemberWithoutProject { .. } => {
                "correct `members` in [tool.uv.workspace], or add the file".to_owned()
            }
            Self::OnlyUv { .. } => "install uv, or name a virtual environment with --venv".to_owned(),
            Self::OfBase { version, .. } => format!(
                "a distribution may not support the base's Python {version}: choose a base with an older one, or name \
                 a virtual environment with --venv"
            ),
            Self::Failed { output, is_of_python, .. } => failure_help(output, *is_of_python),
        })
    }

    fn is_of_machine(&self) -> bool {
        matches!(self, Self::NoTool | Self::OnlyUv { .. } | Self::NoInterpreter { .. })
    }
}

impl From<RequirementsError> for ProvisionError {
    fn from(error: RequirementsError) -> Self {
        Self::Declared(error.into())
    }
}

impl ProvisionError {
    /// Names the Python of a base as a possible cause.
    pub(super) fn on_base(self, version: Option<&str>) -> Self {
        match version {
            Some(version) if self.is_of_python() => {
                Self::OfBase { version: version.to_owned(), failure: Box::new(self) }
            }
            _ => self,
        }
    }

    /// Returns the line of a tool that names the cause.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Failed { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }

    pub(super) fn is_of_python(&self) -> bool {
        matches!(self, Self::Failed { is_of_python: true, .. })
    }

    pub(super) fn is_of_version(&self) -> bool {
        matches!(self, Self::Failed { is_of_version: true, .. })
    }
}

/// Returns the advice on a tool's failure with this output.
fn failure_help(output: &str, is_of_python: bool) -> String {
    const REST: &str = "make the virtual environment yourself and name it with --venv";
    if let Some(file) = missing_file(output) {
        return format!(
            "install the package of this machine that has {file}, and add the package of its library to \
             `packages`; or {REST}"
        );
    }
    if is_of_python {
        return format!(
            "a version that this Python cannot build or does not support is demanded: choose another Python with \
             --python, demand another version in the project's files, or {REST}"
        );
    }
    format!("{REST}, or turn this step off with --no-provision")
}

/// Returns the header or the program that a build does not find on this machine.
fn missing_file(output: &str) -> Option<&str> {
    /// Headers that newer versions of Python lack.
    const OF_PYTHON: [&str; 4] = ["code.h", "graminit.h", "longintrepr.h", "node.h"];
    output.lines().find_map(|line| {
        // gcc: `fatal error: lber.h: No such file or directory`; clang: `fatal error: 'lber.h' file not found`.
        let header = line.split_once("fatal error: ").and_then(|(_, rest)| {
            rest.split_once(": No such file").or_else(|| rest.split_once(" file not found"))
        });
        // setuptools: `error: command 'gcc' failed: No such file or directory`.
        let program =
            || line.split_once("error: command '").and_then(|(_, rest)| rest.split_once("' failed: No such"));
        let (name, _) = header.or_else(program)?;
        let name = name.trim_matches('\'');
        (!name.is_empty() && name.len() < 100 && !OF_PYTHON.contains(&name)).then_some(name)
    })
}

/// Returns the lines of a tool's output for an error: the last ones, after the line that names the package that
/// cannot be installed.
pub(super) fn shown(lines: &[&str]) -> String {
    let (first, last) = lines.split_at(lines.len().saturating_sub(LINES_SHOWN));
    let is_named = |line: &&&str| {
        let text = line.trim_start_matches([' ', '×']);
        ["error: ", "ERROR: ", "Failed to build "].iter().any(|mark| text.starts_with(mark))
    };
    let mut shown: Vec<&str> = Vec::new();
    if let Some(line) = first.iter().find(is_named) {
        shown.extend([*line, "…"]);
    }
    shown.extend(last);
    shown.join("\n")
}

/// Returns true for the output of an installer that may succeed with another Python.
pub(super) fn is_output_of_python(output: &str) -> bool {
    const MARKS: [&str; 9] = [
        "does not satisfy Python",
        "Failed to build",
        "Failed building",
        "Could not build wheels",
        "subprocess-exited-with-error",
        "no wheels with a matching",
        "can't be installed because",
        "Requires-Python",
        "requires a different Python",
    ];
    MARKS.iter().any(|mark| output.contains(mark))
}

/// Returns the line of a tool's output that names the cause: the last line of a Python exception,
/// else the last line marked as an error, else the last line.
pub(super) fn reason(lines: &[&str]) -> String {
    let lines = || lines.iter().rev().map(|line| line.trim_matches(|c: char| c.is_whitespace() || c == '│'));
    let is_exception = |line: &&str| {
        line.split_once(": ").is_some_and(|(name, _)| {
            name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_'))
                && (name.ends_with("Error") || name.ends_with("Exception"))
        })
    };
    let is_marked = |line: &&str| {
        let marked = ["error: ", "ERROR: ", "cause: "].into_iter().find_map(|mark| line.strip_prefix(mark));
        // pip prints the kind of its error in one word.
        marked.is_some_and(|text| text.contains(' '))
    };
    let line = lines().find(is_exception).or_else(|| lines().find(is_marked));
    let line = line.or_else(|| lines().find(|line| !line.is_empty())).unwrap_or_default();
    line.chars().take(LINE_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_package_before_the_last_lines() {
        let long: Vec<String> = (0..LINES_SHOWN).map(|number| format!("line {number}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        for name in ["error: Failed to build `markupsafe==1.0`", "  × Failed to build `uwsgi==2.0`"] {
            let lines = [&["Resolved 1 package", name, "  cause: x"], &long[..]].concat();
            assert_eq!(shown(&lines), format!("{name}\n…\n{}", long.join("\n")));
        }
        assert_eq!(shown(&["error: short", "end"]), "error: short\nend");
        assert_eq!(shown(&[&["Resolved"], &long[..]].concat()), long.join("\n"));
    }

    #[test]
    fn names_the_file_that_a_build_lacks() {
        for (output, expected) in [
            (
                "x\n  Modules/common.h:15:10: fatal error: lber.h: No such file or directory\n",
                "that has lber.h,",
            ),
            ("a.c:1:10: fatal error: 'mysql.h' file not found", "that has mysql.h,"),
            ("error: command 'gcc' failed: No such file or directory", "that has gcc,"),
            ("Failed to build `x`", "--python"),
            ("fatal error: : No such file", "--python"),
            ("ast27/compile.h:5:10: fatal error: code.h: No such file or directory", "--python"),
        ] {
            let help = failure_help(output, true);
            assert!(help.contains(expected), "{output}: {help}");
        }
    }
}
