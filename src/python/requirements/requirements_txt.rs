//! `requirements.txt`: the requirements that pip installs.
//!
//! Follows pip's documentation, "Requirements File Format"
//! (<https://pip.pypa.io/en/stable/reference/requirements-file-format/>): lines with continuations
//! and comments, `-r` files, per-requirement options such as `--hash`, editable and direct
//! requirements. Only the required distributions are read; indexes and hashes are left to the
//! installer. `${VAR}` is not expanded.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::error::RequirementError;
use super::requirement::Requirement;
use crate::error::FileError;
use crate::printable;
use crate::python::environment::error::VenvError;
use crate::python::environment::listing::{has_extension, read_bytes};
use crate::python::metadata::direct_url::DirectUrl;
use crate::traced_fs;
use crate::tree::HostFile;

/// The largest file read, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// The maximal nesting of included files.
const MAX_DEPTH: usize = 16;

/// A line that requires a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file.
    pub file: PathBuf,
    /// The line number, from 1; the first of continued lines.
    pub line: usize,
    /// The required distribution.
    pub target: RequirementTarget,
}

/// A required distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequirementTarget {
    /// A distribution by its name.
    Named(Box<Requirement>),
    /// A project directory of this machine (`-e .`, `./lib`), with extras; its name is not in the
    /// line.
    Directory {
        /// The directory, absolute if the file's path is.
        path: PathBuf,
        /// The extras.
        extras: Vec<String>,
    },
    /// An archive or repository without a name.
    Unnamed(String),
}

/// Errors of reading a `requirements.txt`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementsError {
    /// The file cannot be read.
    #[error(transparent)]
    Venv(#[from] VenvError),
    /// An invalid line.
    #[error("invalid requirement `{text}` in {}:{line}", printable::path(.file))]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line.
        text: String,
        /// The violated rule.
        source: RequirementError,
    },
    /// Files include each other.
    #[error("cannot read {}: requirement files are nested too deeply", printable::path(.0))]
    Depth(PathBuf),
}

/// Reads `file` and its included files.
pub fn read(file: &Path) -> Result<Vec<Line>, RequirementsError> {
    let (mut lines, mut files) = (Vec::new(), Vec::new());
    read_into(file, MAX_DEPTH, &mut lines, &mut files)?;
    Ok(lines)
}

/// Returns the texts of `file` and of all files it includes or is constrained by, in the order of
/// their names in it: everything that decides the result of an installer.
pub fn texts(file: &Path) -> Result<Vec<(PathBuf, String)>, RequirementsError> {
    let (mut lines, mut files) = (Vec::new(), Vec::new());
    read_into(file, MAX_DEPTH, &mut lines, &mut files)?;
    Ok(files)
}

/// Returns one text with all requirements of `file` and its included files except the project in
/// `project`, or `None` if the project is not required.
///
/// In every file, relative paths of requirements are relative to the installer's working directory.
pub fn without(file: &Path, project: &Path) -> Result<Option<String>, RequirementsError> {
    let mut text = String::new();
    let found = without_into(file, project, MAX_DEPTH, &mut text)?;
    Ok(found.then_some(text))
}

fn without_into(
    file: &Path,
    project: &Path,
    depth: usize,
    into: &mut String,
) -> Result<bool, RequirementsError> {
    let depth = depth.checked_sub(1).ok_or_else(|| RequirementsError::Depth(file.to_path_buf()))?;
    let (directory, mut found) = (file.parent().unwrap_or(Path::new("")), false);
    let real = |path: &Path| traced_fs::canonicalize(path).ok();
    for (_, line) in logical_lines(&read_file(file)?) {
        match read_line(&line, directory) {
            Ok(ParsedLine::Include(path)) => {
                found |= without_into(&directory.join(path), project, depth, into)?;
            }
            Ok(ParsedLine::Constraint(limits)) => {
                let _ = writeln!(into, "-c {}", directory.join(limits).display());
            }
            Ok(ParsedLine::Requirement(RequirementTarget::Directory { path, .. }))
                if real(&path) == real(project) =>
            {
                found = true;
            }
            _ => {
                let _ = writeln!(into, "{line}");
            }
        }
    }
    Ok(found)
}

fn read_into(
    file: &Path,
    depth: usize,
    lines: &mut Vec<Line>,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<(), RequirementsError> {
    if depth == 0 {
        return Err(RequirementsError::Depth(file.to_path_buf()));
    }
    let text = read_file(file)?;
    files.push((file.to_path_buf(), text.clone()));
    let directory = file.parent().unwrap_or(Path::new(""));
    for (line, text) in logical_lines(&text) {
        match read_line(&text, directory) {
            Ok(ParsedLine::Ignored) => {}
            Ok(ParsedLine::Include(path)) => read_into(&directory.join(path), depth - 1, lines, files)?,
            Ok(ParsedLine::Constraint(path)) => {
                // Constraints require no distribution, and may contain lines that are not
                // requirements.
                let path = directory.join(path);
                if let Ok(text) = read_file(&path) {
                    files.push((path, text));
                }
            }
            Ok(ParsedLine::Requirement(target)) => {
                lines.push(Line { file: file.to_path_buf(), line, target });
            }
            Err(source) => {
                return Err(RequirementsError::Line { file: file.to_path_buf(), line, text, source });
            }
        }
    }
    Ok(())
}

fn read_file(file: &Path) -> Result<String, VenvError> {
    let real = traced_fs::canonicalize(file).map_err(FileError::of("read", file))?;
    Ok(decode(&read_bytes(&HostFile::new(real)?, MAX_SIZE)?))
}

/// Decodes UTF-16 with a byte order mark, as PowerShell's `pip freeze > requirements.txt` writes it and
/// pip and uv read it, and else UTF-8.
fn decode(bytes: &[u8]) -> String {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return String::from_utf8_lossy(bytes).into_owned(),
    };
    let (pairs, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16_lossy(&units)
}

/// Joins continued lines and strips comments. Returns nonempty lines with their numbers.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut joined: Option<(usize, String)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        let continued = line.strip_suffix('\\').filter(|_| !is_comment);
        let (_, text) = joined.get_or_insert_with(|| (index + 1, String::new()));
        // A comment ends a continuation and is dropped, as in pip.
        if !is_comment {
            text.push_str(continued.unwrap_or(line));
        }
        if continued.is_none() {
            lines.extend(joined.take());
        }
    }
    lines.extend(joined);
    lines
        .into_iter()
        .map(|(line, text)| (line, without_comment(&text).trim().to_owned()))
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

/// Strips a comment. Comments begin at the line's start or after white space; `#egg=` in a URL is
/// not one.
fn without_comment(line: &str) -> &str {
    let start = line
        .char_indices()
        .scan(' ', |before, (at, character)| Some((at, std::mem::replace(before, character), character)))
        .find(|(_, before, character)| *character == '#' && before.is_whitespace());
    start.and_then(|(at, ..)| line.get(..at)).unwrap_or(line)
}

enum ParsedLine {
    Ignored,
    Include(String),
    Constraint(String),
    Requirement(RequirementTarget),
}

fn read_line(line: &str, directory: &Path) -> Result<ParsedLine, RequirementError> {
    if let Some(option) = line.strip_prefix('-') {
        let (name, value) = match option.strip_prefix('-') {
            Some(long) => long.split_at(long.find(['=', ' ', '\t']).unwrap_or(long.len())),
            None => option.split_at(option.chars().next().map_or(0, char::len_utf8)),
        };
        let value = value.trim_start_matches(['=', ' ', '\t']).trim();
        return match name {
            "r" | "requirement" => Ok(ParsedLine::Include(unquoted(value).to_owned())),
            "c" | "constraint" => Ok(ParsedLine::Constraint(unquoted(value).to_owned())),
            "e" | "editable" => {
                direct(unquoted(without_options(value)), directory).map(ParsedLine::Requirement)
            }
            _ => Ok(ParsedLine::Ignored),
        };
    }
    let text = without_options(line);
    match text.parse::<Requirement>() {
        Ok(requirement) => Ok(ParsedLine::Requirement(RequirementTarget::Named(Box::new(requirement)))),
        Err(error) => {
            let (target, _) = text.split_once(" ;").unwrap_or((text, ""));
            let looks_direct =
                target.contains('/') || target.starts_with('.') || has_extension(target, "whl");
            if looks_direct {
                direct(target.trim(), directory).map(ParsedLine::Requirement)
            } else {
                Err(error)
            }
        }
    }
}

/// Strips per-requirement options.
fn without_options(line: &str) -> &str {
    let options = [" --", "\t--", " -C", " \\"];
    let end = options.iter().filter_map(|option| line.find(option)).min().unwrap_or(line.len());
    line.get(..end).unwrap_or(line).trim()
}

fn unquoted(value: &str) -> &str {
    value.trim_matches(|quote| matches!(quote, '"' | '\''))
}

/// Parses a requirement by path or URL. Its name is that of a wheel, or in the fragment, or in the
/// `pyproject.toml` of a directory.
fn direct(target: &str, directory: &Path) -> Result<RequirementTarget, RequirementError> {
    if let Some((_, egg)) = target.split_once("#egg=").or_else(|| target.split_once("&egg=")) {
        let egg = egg.split('&').next().unwrap_or(egg);
        return named(egg);
    }
    let (target, extras) = match target.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((target, extras)) => (target, extras.split(',').map(|extra| extra.trim().to_owned()).collect()),
        None => (target, Vec::new()),
    };
    let file = target.split(['#', '?']).next().unwrap_or(target).rsplit('/').next().unwrap_or_default();
    if let Some((name, _)) = file.strip_suffix(".whl").and_then(|wheel| wheel.split_once('-')) {
        let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
        return named(&format!("{name}{extras}"));
    }
    if let Some(url) = target.strip_prefix("file:") {
        let json = serde_json::json!({ "url": format!("file://{}", url.trim_start_matches("//")), "dir_info": { "editable": true } });
        return match DirectUrl::parse(&json.to_string()) {
            Some(DirectUrl::Editable(path)) => Ok(RequirementTarget::Directory { path, extras }),
            _ => Err(RequirementError("invalid URL".to_owned())),
        };
    }
    if target.contains("://") {
        return Ok(RequirementTarget::Unnamed(target.to_owned()));
    }
    Ok(RequirementTarget::Directory { path: directory.join(target), extras })
}

fn named(text: &str) -> Result<RequirementTarget, RequirementError> {
    Ok(RequirementTarget::Named(Box::new(text.parse()?)))
}

/// Parses the lines of a file.
pub(in crate::python) fn fuzz(bytes: &[u8]) {
    for (_, line) in logical_lines(&String::from_utf8_lossy(bytes)) {
        let _ = read_line(&line, Path::new("/project"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;
    use proptest::prelude::*;

    fn target(line: &str) -> Option<RequirementTarget> {
        match read_line(line, Path::new("/p")).unwrap() {
            ParsedLine::Requirement(target) => Some(target),
            _ => None,
        }
    }

    fn named(line: &str) -> String {
        match target(line) {
            Some(RequirementTarget::Named(requirement)) => requirement.to_string(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn reads_utf_16() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("requirements.txt");
        for to_bytes in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
            let bytes: Vec<u8> = "\u{feff}click==8.1\r\nh11\r\n".encode_utf16().flat_map(to_bytes).collect();
            fs_err::write(&file, bytes).unwrap();
            let names: Vec<String> = read(&file)
                .unwrap()
                .into_iter()
                .map(|line| match line.target {
                    RequirementTarget::Named(requirement) => requirement.to_string(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(names, ["click==8.1", "h11"]);
        }
    }

    #[test]
    fn parses_lines() {
        for (line, name) in [
            ("click", "click"),
            (
                "uvicorn[standard]==0.30 ; python_version > '3.8'",
                "uvicorn[standard]==0.30 ; python_version > '3.8'",
            ),
            ("click==8.1 --hash=sha256:00 --hash=sha256:11", "click==8.1"),
            ("git+https://h/x.git#egg=thing", "thing"),
            ("-e git+https://h/x.git@main#egg=thing&subdirectory=y", "thing"),
            ("./wheels/some_thing-1.0-py3-none-any.whl", "some_thing"),
            ("https://h/some_thing-1.0-py3-none-any.whl", "some_thing"),
            ("x @ https://h/x.zip", "x @ https://h/x.zip"),
        ] {
            assert_eq!(named(line), name, "{line}");
        }
        let directory = |path: &str, extras: &[&str]| RequirementTarget::Directory {
            path: path.into(),
            extras: extras.iter().map(|extra| (*extra).to_owned()).collect(),
        };
        assert_eq!(target("-e ."), Some(directory("/p/.", &[])));
        assert_eq!(target("-e./lib[a,b]"), Some(directory("/p/./lib", &["a", "b"])));
        assert_eq!(target("--editable=../x"), Some(directory("/p/../x", &[])));
        assert_eq!(target("-e file:///a%20b"), Some(directory("/a b", &[])));
        assert_eq!(
            target("git+https://h/x.git"),
            Some(RequirementTarget::Unnamed("git+https://h/x.git".into()))
        );
        for line in ["--index-url https://h", "-c constraints.txt", "--no-binary :all:", "-i x", "--pre"] {
            assert_eq!(target(line), None, "{line}");
        }
        assert!(read_line("this is no requirement", Path::new("")).is_err());
    }

    #[test]
    fn lines_are_joined_and_comments_dropped() {
        let lines = logical_lines("a \\\n  --hash=x\n# c \\\nb # why\n\nc#d\ne \\");
        assert_eq!(lines, [(1, "a   --hash=x".into()), (4, "b".into()), (6, "c#d".into()), (7, "e".into())]);
    }

    #[test]
    fn files_include_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir(at("more")).unwrap();
        fs_err::write(at("requirements.txt"), "-r more/base.txt\nclick\n").unwrap();
        fs_err::write(at("more/base.txt"), "h11\n-r deep.txt\n").unwrap();
        fs_err::write(at("more/deep.txt"), "idna\n").unwrap();
        let names: Vec<_> = read(&at("requirements.txt"))
            .unwrap()
            .into_iter()
            .map(|line| match line.target {
                RequirementTarget::Named(requirement) => requirement.name,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names, ["h11", "idna", "click"]);
        fs_err::write(at("more/deep.txt"), "-r base.txt\n").unwrap();
        assert!(matches!(read(&at("requirements.txt")), Err(RequirementsError::Depth(_))));
        fs_err::write(at("more/deep.txt"), "\n!!!\n").unwrap();
        let error = chain(&read(&at("requirements.txt")).unwrap_err());
        assert!(error.contains("invalid requirement `!!!` in ") && error.contains("deep.txt:2: "), "{error}");
    }

    #[test]
    fn writes_one_file_without_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir(at("more")).unwrap();
        fs_err::write(
            at("requirements.txt"),
            "--pre\n-r more/base.txt\nclick>=8 \\\n  --hash=sha256:00\n-e .\n",
        )
        .unwrap();
        fs_err::write(at("more/base.txt"), "# why\nh11\n-c limits.txt\n").unwrap();
        let limits = at("more/limits.txt");
        assert_eq!(
            without(&at("requirements.txt"), folder.path()).unwrap().unwrap(),
            format!("--pre\nh11\n-c {}\nclick>=8   --hash=sha256:00\n", limits.display())
        );
        assert_eq!(without(&at("more/base.txt"), folder.path()).unwrap(), None);
    }

    proptest! {
        #[test]
        fn parses_any_text(text in "(?s)[a-z#\\\\ \n;=\\[\\]/.:@é-]{0,80}") {
            for (_, line) in logical_lines(&text) {
                let _ = read_line(&line, Path::new("/p"));
            }
        }
    }
}
