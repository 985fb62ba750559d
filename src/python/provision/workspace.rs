//! Finds the `uv.lock` of a project: its own, or that of its workspace.
//!
//! uv keeps one lock for a workspace, in the folder of its root
//! (<https://docs.astral.sh/uv/concepts/projects/workspaces/>). The lock lists each member with its
//! folder: `source = { editable = "services/api" }`, or `virtual` for a member that is not a
//! package.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::python::environment::listing::read_text;
use crate::tree::HostFile;

/// The largest lock read, in bytes.
const LIMIT: u64 = 64 << 20;

/// A `uv.lock` with the folders of its projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UvLock {
    /// The folder of the lock.
    pub(super) root: PathBuf,
    /// The folders of the projects used in place.
    pub(super) projects: Vec<PathBuf>,
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
        let projects = projects(&own).unwrap_or_default();
        return LockLookup::Lock(UvLock { root: context.to_path_buf(), projects });
    }
    let Ok(real) = std::fs::canonicalize(context) else { return LockLookup::None };
    // uv uses the nearest workspace above, never an outer one.
    let Some(root) = real.ancestors().skip(1).find(|folder| is_workspace(folder)) else {
        return LockLookup::None;
    };
    let lock = root.join("uv.lock");
    match projects(&lock) {
        Some(projects) if projects.contains(&real) => {
            LockLookup::Lock(UvLock { root: root.to_path_buf(), projects })
        }
        Some(_) if real.join("pyproject.toml").is_file() => LockLookup::NotListed(lock),
        _ => LockLookup::None,
    }
}

fn is_workspace(folder: &Path) -> bool {
    let text = read(&folder.join("pyproject.toml"));
    let project = text.and_then(|text| toml::from_str::<WorkspaceFile>(&text).ok());
    project.and_then(|project| project.tool?.uv?.workspace).is_some()
}

/// Returns the folders of all projects in a lock, or `None` if the lock is invalid.
fn projects(lock: &Path) -> Option<Vec<PathBuf>> {
    let file: UvLockTables = toml::from_str(&read(lock)?).ok()?;
    let root = std::fs::canonicalize(lock.parent()?).ok()?;
    let places = file.package.into_iter().filter_map(|package| {
        let PackageSource { editable, r#virtual, directory } = package.source?;
        std::fs::canonicalize(root.join(editable.or(r#virtual).or(directory)?)).ok()
    });
    Some(places.collect())
}

fn read(file: &Path) -> Option<String> {
    let real = std::fs::canonicalize(file).ok()?;
    read_text(&HostFile::new(real).ok()?, LIMIT).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "[tool.uv.workspace]\nmembers = ['services/*']\n";
    const LOCK: &str = "version = 1\n[[package]]\nname = 'api'\nversion = '1'\nsource = { virtual = 'services/api' }\n\
                        [[package]]\nname = 'idna'\nversion = '1'\nsource = { registry = 'https://h/simple' }\n\
                        [[package]]\nname = 'shared'\nversion = '1'\nsource = { editable = 'packages/shared' }\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        folder
    }

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
        assert_eq!(find(&own), LockLookup::Lock(UvLock { root: own.clone(), projects: Vec::new() }));
        assert_eq!(find(&folder.path().join("services/api")), LockLookup::None);
    }
}
