//! Maps paths of the build machine to paths in the image.

use std::path::{Component, Path, PathBuf};

use crate::traced_fs;
use crate::tree::ImagePath;

/// Directories of the build machine with their paths in the image, the innermost first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping(Vec<(PathBuf, ImagePath)>);

impl Mapping {
    /// Adds `host`, both as spelled and with links resolved. The first mapping of a path wins, so
    /// the environment must precede the context around it.
    pub(crate) fn add(&mut self, host: &Path, image: &ImagePath) {
        let real = traced_fs::canonicalize(host).ok();
        for spelling in [Some(host.to_path_buf()), real].into_iter().flatten() {
            if spelling.is_absolute() && !self.0.iter().any(|(known, _)| *known == spelling) {
                self.0.push((spelling, image.clone()));
            }
        }
    }

    /// Returns the path in the image of the absolute path `host`; `None` for paths outside the
    /// mapping, and for names that are not UTF-8.
    pub(crate) fn map(&self, host: &Path) -> Option<ImagePath> {
        let host = normalize(host)?;
        self.0.iter().find_map(|(root, image)| image.join(host.strip_prefix(root).ok()?.to_str()?).ok())
    }
}

/// Removes `.` and `..` from a path; `None` for a relative path or one that climbs above the root.
pub(crate) fn normalize(path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() {
        return None;
    }
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                if !tidy.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            other => tidy.push(other),
        }
    }
    Some(tidy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_context_that_holds_it() {
        let image = |path: &str| ImagePath::new(path).unwrap();
        let mut mapping = Mapping::default();
        mapping.add(Path::new("/no/app/.venv"), &image("/app/.venv"));
        mapping.add(Path::new("/no/app"), &image("/srv"));
        for (host, place) in [
            ("/no/app/.venv/lib", Some("/app/.venv/lib")),
            ("/no/app/src", Some("/srv/src")),
            ("/no/app", Some("/srv")),
            ("/no/app/x/../src/./a", Some("/srv/src/a")),
            ("/no/app/../other", None),
            ("/no/apples", None),
            ("relative", None),
        ] {
            assert_eq!(mapping.map(Path::new(host)), place.map(image), "{host}");
        }
    }
}
