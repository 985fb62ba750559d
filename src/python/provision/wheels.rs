//! [`LockedWheels`]: the wheels in a lock, for the choice of an interpreter.
//!
//! `uv.lock`, `poetry.lock`, `pdm.lock` and `pylock.toml` list the files of each distribution by name or
//! by URL. The names of wheels ("Binary distribution format", "File name convention") say for which
//! Pythons a lock has them:
//! a lock that is older than a Python has none for it, and an installer has to compile. The names are
//! found in the text, so that one reader serves all formats.

use std::collections::BTreeMap;

use crate::python::environment::version::PythonVersion;
use crate::python::metadata::name::normalize;
use crate::python::metadata::wheel::Wheel;

const EXTENSION: &str = ".whl";

/// The longest name of a file (Linux, `NAME_MAX`), in bytes.
const LONGEST_NAME: usize = 255;

/// The compiled wheels of a lock: for each distribution the tags of all its wheels.
#[derive(Debug, Default)]
pub(super) struct LockedWheels(BTreeMap<String, Wheel>);

impl LockedWheels {
    /// Finds the wheels in the text of a lock.
    pub(super) fn find(text: &str) -> Self {
        let mut wheels: BTreeMap<String, Wheel> = BTreeMap::new();
        for (at, _) in text.match_indices(EXTENSION) {
            let before =
                text.get(text.floor_char_boundary(at.saturating_sub(LONGEST_NAME))..at).unwrap_or_default();
            let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.+%!".contains(c);
            let name = &before[before.trim_end_matches(is_part).len()..];
            if let Some((distribution, tag)) = tag_of(name) {
                wheels.entry(normalize(distribution)).or_default().tags.push(tag);
            }
        }
        Self(wheels)
    }

    /// Returns the first distribution that has wheels for other Pythons on `machine` and none for
    /// `python`.
    pub(super) fn lacking(&self, python: PythonVersion, machine: &str) -> Option<&str> {
        let suits = |wheel: &Wheel, minor| wheel.suits(python.major, minor, machine);
        let minors = OLDEST_MINOR..=python.minor + FUTURE_MINORS;
        self.0.iter().find_map(|(name, wheel)| {
            let is_lacking = !suits(wheel, python.minor) && minors.clone().any(|minor| suits(wheel, minor));
            is_lacking.then_some(name.as_str())
        })
    }
}

/// The oldest minor version of Python 3 in names of wheels that matter.
const OLDEST_MINOR: u32 = 6;
/// Minor versions after an interpreter's for which a lock may have wheels.
const FUTURE_MINORS: u32 = 10;

/// Splits the name of a wheel, without its extension, in its distribution and its tag:
/// `{distribution}-{version}(-{build})?-{python}-{abi}-{platform}`.
fn tag_of(name: &str) -> Option<(&str, String)> {
    let (rest, platform) = name.rsplit_once('-')?;
    let (rest, abi) = rest.rsplit_once('-')?;
    let (rest, python) = rest.rsplit_once('-')?;
    let (distribution, _) = rest.split_once('-')?;
    // `cp313t` is the ABI of builds without the global lock.
    let is_free_threaded = abi.starts_with("cp") && abi.ends_with('t');
    (!is_free_threaded).then(|| (distribution, format!("{python}-{abi}-{platform}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(minor: u32) -> PythonVersion {
        PythonVersion { major: 3, minor, micro: None, free_threaded: false }
    }

    #[test]
    fn finds_the_wheels_of_each_format() {
        let uv = r#"
            { url = "https://index.example/packages/aa/asyncpg-0.29.0-cp311-cp311-manylinux_2_17_x86_64.whl", hash = "sha256:00" },
            { url = "https://index.example/packages/ab/torch-2.1.0%2Bcpu-cp311-cp311-linux_x86_64.whl" },"#;
        let poetry = r#"
            {file = "asyncpg-0.29.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", hash = "sha256:00"},
            {file = "torch-2.1.0+cpu-1-cp311-cp311-linux_x86_64.whl", hash = "sha256:00"},"#;
        for text in [uv, poetry] {
            let wheels = LockedWheels::find(text);
            assert_eq!(wheels.0.keys().collect::<Vec<_>>(), ["asyncpg", "torch"], "{text}");
            assert_eq!(wheels.lacking(version(11), "x86_64"), None);
            assert_eq!(wheels.lacking(version(12), "x86_64"), Some("asyncpg"));
            assert_eq!(wheels.lacking(version(10), "x86_64"), Some("asyncpg"));
            // No wheel for the machine: another Python is no remedy.
            assert_eq!(wheels.lacking(version(12), "aarch64"), None);
        }
    }

    #[test]
    fn long_names_take_no_time() {
        // Each of 50,000 names would begin at the start of the text.
        let text = EXTENSION.repeat(50_000);
        assert_eq!(LockedWheels::find(&text).lacking(version(13), "x86_64"), None);
    }

    #[test]
    fn all_wheels_of_a_distribution_count() {
        for (names, lacking) in [
            (&["a-1-cp39-abi3-linux_x86_64.whl"][..], None),
            (&["a-1-cp311-cp311-linux_x86_64.whl", "a-1-py3-none-any.whl"], None),
            (&["a-1-cp311-cp311-linux_x86_64.whl", "a-2-cp313-cp313-linux_x86_64.whl"], None),
            (&["a-1-cp311-cp311-linux_x86_64.whl", "A-1-cp313-cp313t-linux_x86_64.whl"], Some("a")),
            (&["a-1-cp314-cp314-linux_x86_64.whl"], Some("a")),
            (&["a-1-cp311-cp311-win_amd64.whl"], None),
            (&[".whl", "-.whl", "a-b-c-d.whl", "é.whl"], None),
        ] {
            let text = names.join("\"\n\"");
            assert_eq!(LockedWheels::find(&text).lacking(version(13), "x86_64"), lacking, "{names:?}");
        }
    }
}
