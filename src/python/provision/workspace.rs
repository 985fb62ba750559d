//! Finds the `uv.lock` of a project: its own, or that of its workspace.
//!
//! uv keeps one lock for a workspace, in the folder of its root
//! (<https://docs.astral.sh/uv/concepts/projects/workspaces/>). The lock lists each member with its
//! folder: `source = { editable = "services/api" }`, or `virtual` for a member that is not a
//! package.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use walkdir::WalkDir;

use super::ProvisionError;
use crate::error::FileError;
use crate::python::environment::listing::read_text;
use crate::python::metadata::name::normalize;
use crate::python::requirements::pyproject::PyProject;
use crate::tree::HostFile;

/// The depth of `**` in a pattern of members.
const MAX_DEPTH: usize = 8;

/// The number of folders that a pattern of members matches at most.
const MAX_FOLDERS: usize = 10_000;

/// The largest lock read, in bytes.
const LIMIT: u64 = 64 << 20;

/// A `uv.lock` with the folders of its projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UvLock {
    /// The folder of the lock.
    pub(super) root: PathBuf,
    /// The folders of the projects used in place.
    pub(super) projects: Vec<PathBuf>,
    /// The Pythons that the lock is for.
    pub(super) requires_python: Option<String>,
}

/// The result of a search for the lock of a project.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LockLookup {
    /// The lock lists the project.
    Lock(UvLock),
    /// The workspace above has a lock that does not list the project.
    NotListed(PathBuf),
    /// No lock.
    None,
}

#[derive(Deserialize)]
struct UvLockTables {
    #[serde(rename = "requires-python")]
    requires_python: Option<String>,
    #[serde(default)]
    package: Vec<LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    source: Option<PackageSource>,
}

#[derive(Deserialize)]
struct PackageSource {
    editable: Option<String>,
    r#virtual: Option<String>,
    directory: Option<String>,
}

#[derive(Deserialize)]
struct WorkspaceFile {
    tool: Option<WorkspaceTools>,
}

#[derive(Deserialize)]
struct WorkspaceTools {
    uv: Option<UvWorkspace>,
}

#[derive(Deserialize)]
struct UvWorkspace {
    workspace: Option<toml::Table>,
}

/// Finds the lock of the project in `context`.
pub(super) fn find(context: &Path) -> LockLookup {
    let own = context.join("uv.lock");
    if own.is_file() {
        let root = context.to_path_buf();
        let lock = read_lock(&own, root.clone());
        return LockLookup::Lock(lock.unwrap_or(UvLock {
            root,
            projects: Vec::new(),
            requires_python: None,
        }));
    }
    let Ok(real) = std::fs::canonicalize(context) else { return LockLookup::None };
    // uv uses the nearest workspace above, never an outer one.
    let Some(root) = real.ancestors().skip(1).find(|folder| is_workspace(folder)) else {
        return LockLookup::None;
    };
    let lock = root.join("uv.lock");
    match read_lock(&lock, root.to_path_buf()) {
        Some(lock) if lock.projects.contains(&real) => LockLookup::Lock(lock),
        Some(_) if real.join("pyproject.toml").is_file() => LockLookup::NotListed(lock),
        _ => LockLookup::None,
    }
}

fn is_workspace(folder: &Path) -> bool {
    workspace_table(folder).is_some()
}

fn workspace_table(folder: &Path) -> Option<toml::Table> {
    let text = read(&folder.join("pyproject.toml"));
    let project = text.and_then(|text| toml::from_str::<WorkspaceFile>(&text).ok());
    project.and_then(|project| project.tool?.uv?.workspace)
}

/// Returns the folder of the member `name` of the workspace at or above `context`.
pub fn member_folder(context: &Path, name: &str) -> Result<PathBuf, ProvisionError> {
    let real = std::fs::canonicalize(context).map_err(FileError::of("read", context))?;
    let found = real.ancestors().find_map(|folder| Some((folder, workspace_table(folder)?)));
    let Some((root, table)) = found else {
        return Err(ProvisionError::NoWorkspace { name: name.to_owned(), context: context.to_path_buf() });
    };
    let patterns = |key: &str| {
        let patterns = table.get(key).and_then(toml::Value::as_array).into_iter().flatten();
        patterns.filter_map(toml::Value::as_str).map(|pattern| pattern.trim_matches('/').to_owned()).collect()
    };
    let (members, excluded): (Vec<String>, Vec<String>) = (patterns("members"), patterns("exclude"));
    let excluded: Vec<PathBuf> = excluded.iter().flat_map(|pattern| expand(root, pattern)).collect();
    let mut names = Vec::new();
    let mut is_wanted = |folder: &Path| {
        let text = read(&folder.join("pyproject.toml"))?;
        let project = PyProject::parse(&text).ok()?.name?;
        names.push(project.clone());
        Some(project == normalize(name))
    };
    if is_wanted(root) == Some(true) {
        return Ok(root.to_path_buf());
    }
    for pattern in &members {
        for folder in expand(root, pattern) {
            if excluded.contains(&folder) {
                continue;
            }
            if !pattern.contains(['*', '?']) && !folder.join("pyproject.toml").is_file() {
                return Err(ProvisionError::MemberWithoutProject {
                    root: root.to_path_buf(),
                    member: folder,
                });
            }
            if is_wanted(&folder) == Some(true) {
                return Ok(folder);
            }
        }
    }
    names.sort();
    names.dedup();
    Err(ProvisionError::NoMember { name: name.to_owned(), root: root.to_path_buf(), members: names })
}

/// Lists the folders that a pattern of `members` matches: `*` and `?` within a component, `**` for
/// any components. A pattern without them is returned as it is.
fn expand(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut folders = vec![root.to_path_buf()];
    for component in pattern.split('/').filter(|component| !matches!(*component, "" | ".")) {
        let of = |folder: PathBuf| -> Vec<PathBuf> {
            if !component.contains(['*', '?']) {
                return vec![folder.join(component)];
            }
            let depth = if component == "**" { MAX_DEPTH } else { 1 };
            let walk =
                WalkDir::new(&folder).min_depth(usize::from(depth == 1)).max_depth(depth).sort_by_file_name();
            let is_hidden = |name: &OsStr| name.to_string_lossy().starts_with('.');
            let entries = walk.into_iter().filter_entry(move |entry| {
                entry.depth() == 0 || entry.file_type().is_dir() && !is_hidden(entry.file_name())
            });
            let matching = entries.flatten().filter(|entry| {
                depth > 1 || matches(component.as_bytes(), entry.file_name().as_encoded_bytes())
            });
            matching.map(walkdir::DirEntry::into_path).collect()
        };
        folders = folders.into_iter().flat_map(of).take(MAX_FOLDERS).collect();
    }
    folders
}

/// Matches a name with `*` and `?`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut matched) = (0, 0);
    let mut star = None;
    while let Some(byte) = name.get(matched) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, matched));
                at += 1;
            }
            Some(expected) if *expected == b'?' || expected == byte => {
                at += 1;
                matched += 1;
            }
            _ => match star {
                Some((place, from)) => {
                    at = place + 1;
                    matched = from + 1;
                    star = Some((place, matched));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

/// Returns the folders of all projects in a lock, or `None` if the lock is invalid.
fn read_lock(lock: &Path, folder: PathBuf) -> Option<UvLock> {
    let file: UvLockTables = toml::from_str(&read(lock)?).ok()?;
    let root = std::fs::canonicalize(lock.parent()?).ok()?;
    let places = file.package.into_iter().filter_map(|package| {
        let PackageSource { editable, r#virtual, directory } = package.source?;
        std::fs::canonicalize(root.join(editable.or(r#virtual).or(directory)?)).ok()
    });
    Some(UvLock { root: folder, projects: places.collect(), requires_python: file.requires_python })
}

fn read(file: &Path) -> Option<String> {
    let real = std::fs::canonicalize(file).ok()?;
    read_text(&HostFile::new(real).ok()?, LIMIT).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::folder;

    const WORKSPACE: &str = "[tool.uv.workspace]\nmembers = ['services/*']\n";
    const LOCK: &str = "version = 1\n[[package]]\nname = 'api'\nversion = '1'\nsource = { virtual = 'services/api' }\n\
                        [[package]]\nname = 'idna'\nversion = '1'\nsource = { registry = 'https://h/simple' }\n\
                        [[package]]\nname = 'shared'\nversion = '1'\nsource = { editable = 'packages/shared' }\n";

    #[test]
    fn finds_the_workspace_lock_of_a_member() {
        let folder = folder(&[
            ("pyproject.toml", WORKSPACE),
            ("uv.lock", LOCK),
            ("services/api/pyproject.toml", ""),
            ("services/new/pyproject.toml", ""),
            ("packages/shared/pyproject.toml", ""),
            ("tools/main.py", ""),
        ]);
        let root = fs_err::canonicalize(folder.path()).unwrap();
        let LockLookup::Lock(lock) = find(&root.join("services/api")) else { panic!("a lock") };
        assert_eq!(lock.root, root);
        assert_eq!(lock.projects, [root.join("services/api"), root.join("packages/shared")]);
        assert_eq!(find(&root.join("services/new")), LockLookup::NotListed(root.join("uv.lock")));
        assert_eq!(find(&root.join("tools")), LockLookup::None);
    }

    #[test]
    fn prefers_the_projects_own_lock() {
        let folder = folder(&[
            ("pyproject.toml", "[project]\nname = 'x'"),
            ("uv.lock", LOCK),
            ("services/api/pyproject.toml", ""),
            ("own/pyproject.toml", ""),
            ("own/uv.lock", "not TOML"),
        ]);
        let own = folder.path().join("own");
        assert_eq!(
            find(&own),
            LockLookup::Lock(UvLock { root: own.clone(), projects: Vec::new(), requires_python: None })
        );
        assert_eq!(find(&folder.path().join("services/api")), LockLookup::None);
    }

    #[test]
    fn finds_members_by_name() {
        let project = |name: &str| format!("[project]\nname = '{name}'\n");
        let root = format!(
            "{}[tool.uv.workspace]\nmembers = ['services/*', 'libs/**/core', 'tool']\nexclude = ['services/old']\n",
            project("root")
        );
        let folder = folder(&[
            ("pyproject.toml", &root),
            ("services/api/pyproject.toml", &project("My_API")),
            ("services/api/src/main.py", ""),
            ("services/old/pyproject.toml", &project("old")),
            ("services/notes/readme.txt", ""),
            ("libs/a/b/core/pyproject.toml", &project("core")),
            ("tool/pyproject.toml", &project("tool")),
        ]);
        let root = fs_err::canonicalize(folder.path()).unwrap();
        for (name, place) in
            [("my-api", "services/api"), ("core", "libs/a/b/core"), ("tool", "tool"), ("root", "")]
        {
            for from in ["", "services/api/src"] {
                assert_eq!(member_folder(&root.join(from), name).unwrap(), root.join(place), "{name}");
            }
        }
        let error = member_folder(&root, "old").unwrap_err();
        assert!(
            matches!(&error, ProvisionError::NoMember { members, .. } if members == &["core", "my-api", "root", "tool"])
        );
        fs_err::remove_file(root.join("tool/pyproject.toml")).unwrap();
        assert!(matches!(member_folder(&root, "none"), Err(ProvisionError::MemberWithoutProject { .. })));
        let alone = tempfile::tempdir().unwrap();
        assert!(matches!(member_folder(alone.path(), "x"), Err(ProvisionError::NoWorkspace { .. })));
    }

    #[test]
    fn matches_wildcards_within_a_name() {
        for (pattern, name, is_match) in [
            ("*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("a?", "ab", true),
            ("a?", "a", false),
            ("*-api", "my-api", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), is_match, "{pattern} {name}");
        }
    }
}
