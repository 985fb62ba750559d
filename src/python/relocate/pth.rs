//! Rewrites `.pth` files: directories for `sys.path`, one per line.
//!
//! The format is that of Python's `site` module: a line that begins with `import` and a space or
//! tab is executed, `#` begins a comment, and every other line is a path, relative to the file's
//! directory. Editable installs of hatchling, uv_build, poetry-core, flit_core, pdm-backend,
//! maturin and setuptools (without a finder) are one such path.

use std::path::{Path, PathBuf};

use super::mapping::{Mapping, normalize};
use crate::tree::ImagePath;

/// The result for a `.pth` file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RewrittenPth {
    /// The new text; `None` if unchanged.
    pub(crate) text: Option<String>,
    /// The directories in the file, with their paths in the image.
    pub(crate) directories: Vec<(PathBuf, ImagePath)>,
    /// Paths of the build machine without a counterpart in the image; their lines are dropped.
    pub(crate) unmapped: Vec<String>,
}

/// Rewrites the lines of a file in the directory `site` of this machine, inside the environment
/// `root`.
pub(crate) fn relocate(text: &str, site: &Path, root: &Path, mapping: &Mapping) -> RewrittenPth {
    let mut result = RewrittenPth::default();
    let mut new = String::new();
    let mut changed = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let path = line.trim_end();
        let is_path = !(path.is_empty()
            || path.starts_with('#')
            || path.starts_with("import ")
            || path.starts_with("import\t"));
        let Some(host) = is_path.then(|| normalize(&site.join(path))).flatten() else {
            new.push_str(line);
            new.push('\n');
            continue;
        };
        let Some(image) = mapping.map(&host) else {
            changed = true;
            result.unmapped.push(host.display().to_string());
            continue;
        };
        if Path::new(path).is_relative() && host.starts_with(root) {
            new.push_str(line);
        } else {
            new.push_str(&image.to_string());
            changed = true;
        }
        result.directories.push((host, image));
        new.push('\n');
    }
    result.text = changed.then_some(new);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mapping() -> Mapping {
        let mut mapping = Mapping::default();
        mapping.add(Path::new("/no/.venv"), &ImagePath::new("/app/.venv").unwrap());
        mapping.add(Path::new("/no"), &ImagePath::new("/app").unwrap());
        mapping
    }

    fn relocated(text: &str) -> RewrittenPth {
        relocate(
            text,
            Path::new("/no/.venv/lib/python3.11/site-packages"),
            Path::new("/no/.venv"),
            &mapping(),
        )
    }

    #[test]
    fn rewrites_each_kind_of_line() {
        for (line, becomes) in [
            ("/no/src", Some("/app/src\n")),
            ("/no/src  ", Some("/app/src\n")),
            ("/no/.venv/lib/python3.11/site-packages/x", Some("/app/.venv/lib/python3.11/site-packages/x\n")),
            ("../../../../src", Some("/app/src\n")),
            ("./x.egg", None),
            ("win32/lib", None),
            ("import sys; sys.path.append('/no/src')", None),
            ("# /no/src", None),
            ("", None),
            ("/elsewhere", Some("")),
        ] {
            assert_eq!(relocated(line).text.as_deref(), becomes, "{line}");
        }
    }

    #[test]
    fn reports_directories_and_unmapped_paths() {
        let result = relocated("/no/src\nimport x\n/elsewhere\n");
        assert_eq!(result.text.as_deref(), Some("/app/src\nimport x\n"));
        assert_eq!(result.directories, [("/no/src".into(), ImagePath::new("/app/src").unwrap())]);
        assert_eq!(result.unmapped, ["/elsewhere"]);
    }

    proptest! {
        #[test]
        fn no_path_of_the_build_machine_remains(text in "([a-z./ #]|/no/|\n){0,60}") {
            let result = relocated(&text);
            for line in result.text.as_deref().unwrap_or(&text).lines().filter(|line| !line.trim_end().is_empty() && !line.starts_with('#')) {
                prop_assert!(!line.starts_with("/no/"), "{}", line);
            }
        }
    }
}
