//! Where files of the build machine stand in the image.
//!
//! Images have the directories that every distribution of today has: `/bin`, `/sbin`, `/lib` and `/lib64`
//! are links into `/usr` (file-hierarchy(7), "usr-merge").

use std::path::{Component, Path, PathBuf};

use crate::tree::{Entry, ImagePath, Owner};

/// A directory of this machine whose content stands elsewhere in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// On this machine: the interpreter's prefix, the virtual environment.
    pub host: PathBuf,
    /// In the image.
    pub image: ImagePath,
}

/// Top directories that are links to the same name below `/usr`.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The same place by its name below `/usr`.
pub(super) fn merged(path: &ImagePath) -> ImagePath {
    let first = path.components().next().unwrap_or_default();
    if !MERGED.contains(&first) {
        return path.clone();
    }
    ImagePath::new(&format!("usr/{}", path.as_str())).unwrap_or_default()
}

/// A path of this machine as one of the image, below `/usr` where it is merged. None where it is not UTF-8
/// or climbs above the root.
pub(super) fn image_path(host: &Path) -> Option<ImagePath> {
    Some(merged(&ImagePath::new(lexical(host).to_str()?).ok()?))
}

/// Where a path below a moved directory stands; the deepest directory decides.
pub(super) fn moved(directories: &[Moved], host: &Path) -> Option<ImagePath> {
    let host = lexical(host);
    directories
        .iter()
        .filter_map(|directory| Some((directory, host.strip_prefix(&directory.host).ok()?)))
        .max_by_key(|(directory, _)| directory.host.components().count())
        .and_then(|(directory, below)| directory.image.join(below.to_str()?).ok())
}

/// A path without `.` and `..`, by its text alone.
pub(super) fn lexical(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
        clean
    })
}

/// `directory` with `relative` applied, which may climb; none where it climbs out of the image.
pub(super) fn climb(directory: &ImagePath, relative: &str) -> Option<ImagePath> {
    let mut parts: Vec<&str> = directory.components().collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    ImagePath::new(&parts.join("/")).ok()
}

/// The links of a merged `/usr` and the directories they lead to.
pub(super) fn merged_links(names: &[&str]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for name in names {
        let (Ok(link), Ok(target)) = (ImagePath::new(name), ImagePath::new(&format!("usr/{name}"))) else {
            continue;
        };
        entries.push(Entry::symlink(link, target.as_str(), Owner::System));
        entries.push(Entry::directory(target, Owner::System));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    #[test]
    fn merges_usr() {
        let cases = [
            ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
            ("/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
            ("/usr/lib/libz.so.1", "usr/lib/libz.so.1"),
            ("/libexec/x", "libexec/x"),
            ("/opt/lib/x", "opt/lib/x"),
        ];
        for (before, after) in cases {
            assert_eq!(image_path(Path::new(before)), Some(path(after)), "{before}");
        }
    }

    #[test]
    fn the_deepest_moved_directory_decides() {
        let moves = [
            Moved { host: "/home/u".into(), image: path("wrong") },
            Moved { host: "/home/u/.venv".into(), image: path("app/.venv") },
        ];
        let place = |host: &str| moved(&moves, Path::new(host));
        assert_eq!(place("/home/u/.venv/lib/../lib/x.so"), Some(path("app/.venv/lib/x.so")));
        assert_eq!(place("/home/u/.venvs/x"), Some(path("wrong/.venvs/x")));
        assert_eq!(place("/usr/lib/x"), None);
    }

    #[test]
    fn climbs_within_the_image_only() {
        assert_eq!(climb(&path("usr/local/bin"), "../lib"), Some(path("usr/local/lib")));
        assert_eq!(climb(&path("usr"), "../../x"), None);
        assert_eq!(climb(&path("usr"), ""), Some(path("usr")));
    }
}
