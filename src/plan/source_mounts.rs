//! [`SourceMount`]: the places of this machine's source in an image, for a container that shall see changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Plan;
use crate::tree::{Content, Entry, ImagePath, Kind, Owner};

/// A directory or file of this machine whose content an image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceMount {
    /// The path on this machine.
    pub host: PathBuf,
    /// The path in the image.
    pub image: ImagePath,
}

impl Plan {
    /// Returns the source of the plan: the outermost directories that have nothing else in the image, and
    /// the files in others, such as `/app`, which holds the environment too.
    ///
    /// Mounted over the image, these show a container each change of the source.
    pub fn source_mounts(&self) -> Vec<SourceMount> {
        let entries = self.layers.iter().flat_map(|layer| layer.tree.iter());
        source_mounts(&entries.map(|entry| (&entry.path, entry)).collect())
    }
}

fn source_mounts(entries: &BTreeMap<&ImagePath, &Entry>) -> Vec<SourceMount> {
    let mut mounts: Vec<SourceMount> = Vec::new();
    let is_mounted = |mounts: &[SourceMount], path: &ImagePath| {
        mounts.last().is_some_and(|mount| path.starts_with(&mount.image))
    };
    for (path, entry) in entries {
        let Some(host) = host_of(entry).filter(|_| !is_mounted(&mounts, path)) else { continue };
        let folder = folder_of(path, host, entries);
        mounts.push(folder.unwrap_or_else(|| SourceMount { host: host.to_owned(), image: (*path).clone() }));
    }
    mounts
}

/// Returns the file of this machine that is the content of a source's entry.
fn host_of(entry: &Entry) -> Option<&Path> {
    match &entry.kind {
        Kind::File(Content::Host(file)) if entry.owner == Owner::Source => Some(&file.path),
        _ => None,
    }
}

/// Returns the outermost directory above `path` that is the same on this machine.
fn folder_of(path: &ImagePath, host: &Path, entries: &BTreeMap<&ImagePath, &Entry>) -> Option<SourceMount> {
    path.parents().find_map(|image| {
        let host = host.ancestors().nth(path.strip_prefix(&image)?.split('/').count())?;
        let mut below =
            entries.range::<ImagePath, _>(&image..).take_while(|(path, _)| path.starts_with(&image));
        let is_same = below.all(|(path, entry)| match &entry.kind {
            Kind::Directory => true,
            // Bytecode of the source, which a mount hides.
            Kind::File(_) if entry.owner == Owner::Source && path.as_str().ends_with(".pyc") => true,
            Kind::Symlink(_) => entry.owner == Owner::Source,
            _ => path.strip_prefix(&image).is_some_and(|rest| host_of(entry) == Some(&*host.join(rest))),
        });
        is_same.then(|| SourceMount { host: host.to_owned(), image })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the mounts of entries: image path and file of this machine, or none.
    fn mounts(files: &[(&str, &str)]) -> Vec<String> {
        let entries: Vec<Entry> = files
            .iter()
            .map(|(image, host)| {
                let path = ImagePath::new(image).unwrap();
                match *host {
                    "bytecode" => Entry::file(path, Content::from(Vec::new()), Owner::Source),
                    "" => Entry::file(path, Content::from(Vec::new()), Owner::Environment),
                    "link" => Entry::symlink(path, "x", Owner::Source),
                    host => Entry::file(path, Content::Host(host_file(host)), Owner::Source),
                }
            })
            .collect();
        let entries = entries.iter().map(|entry| (&entry.path, entry)).collect();
        let mounts = source_mounts(&entries);
        mounts.iter().map(|mount| format!("{}:{}", mount.host.display(), mount.image)).collect()
    }

    fn host_file(path: &str) -> crate::tree::HostFile {
        let stamp = crate::tree::ContentStamp::of(&std::fs::metadata("Cargo.toml").unwrap());
        crate::tree::HostFile { path: Path::new(path).into(), size: 0, stamp }
    }

    #[test]
    fn packages_are_mounted_and_the_environment_beside_them_stays() {
        let files = [
            ("app/.venv/bin/x", ""),
            ("app/app/__init__.py", "/home/app/app/__init__.py"),
            ("app/app/__pycache__/__init__.cpython-311.pyc", "bytecode"),
            ("app/app/api/x.py", "/home/app/app/api/x.py"),
            ("app/app/link", "link"),
            ("app/app.toml", "/home/app/app.toml"),
            ("app/main.py", "/home/app/main.py"),
            ("app/templates/x.html", "/home/app/templates/x.html"),
        ];
        assert_eq!(
            mounts(&files),
            [
                "/home/app/app:/app/app",
                "/home/app/app.toml:/app/app.toml",
                "/home/app/main.py:/app/main.py",
                "/home/app/templates:/app/templates",
            ]
        );
    }

    #[test]
    fn a_directory_with_other_files_is_not_mounted() {
        let files = [
            ("app/app/a.py", "/p/app/a.py"),
            ("app/app/api/b.py", "/p/app/api/b.py"),
            ("app/app/static/made.css", "/tmp/out/made.css"),
            ("app/.venv/x", ""),
        ];
        assert_eq!(
            mounts(&files),
            ["/p/app/a.py:/app/app/a.py", "/p/app/api:/app/app/api", "/tmp/out:/app/app/static"]
        );
    }

    #[test]
    fn sources_of_other_projects_have_their_own_places() {
        let files = [
            ("app/.venv/x", ""),
            ("app/main.py", "/ws/services/a/main.py"),
            ("opt/lib/shared/__init__.py", "/ws/libs/shared/src/shared/__init__.py"),
            ("opt/lib/shared/x/y.py", "/ws/libs/shared/src/shared/x/y.py"),
        ];
        assert_eq!(mounts(&files), ["/ws/services/a/main.py:/app/main.py", "/ws/libs/shared/src:/opt/lib"]);
    }
}
