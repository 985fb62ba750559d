//! [`Wheel`]: the compatibility tags of the wheel that a distribution was installed from.
//!
//! Follows the packaging specification "Binary distribution format"
//! (<https://packaging.python.org/en/latest/specifications/binary-distribution-format/>) and
//! "Platform compatibility tags". Compatibility with an interpreter is decided coarsely: version,
//! ABI and machine.

use super::headers::Headers;
use crate::python::PythonVersion;

/// The contents of the file `WHEEL`.
///
/// ```text
/// Wheel-Version: 1.0
/// Root-Is-Purelib: false
/// Tag: cp311-cp311-manylinux_2_17_x86_64
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wheel {
    /// The tags, verbatim.
    pub tags: Vec<String>,
    /// `Root-Is-Purelib`: the wheel holds only Python.
    pub root_is_purelib: bool,
}

impl Wheel {
    /// Parses the file's bytes.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut wheel = Self::default();
        for (key, value) in Headers::new(bytes) {
            let value = value.unfolded();
            match key.to_ascii_lowercase().as_str() {
                "tag" => wheel.tags.push(value.into_owned()),
                "root-is-purelib" => wheel.root_is_purelib = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        wheel
    }

    /// Returns true if one of the tags suits CPython `major.minor` on Linux on `machine` (as in
    /// `uname -m`). A wheel without tags suits any.
    pub fn suits(&self, major: u32, minor: u32, machine: &str) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|tag| tag_suits(tag, major, minor, machine))
    }
}

impl Wheel {
    /// Returns the tags that have three parts.
    pub(crate) fn parsed_tags(&self) -> impl Iterator<Item = WheelTag<'_>> {
        self.tags.iter().filter_map(|tag| WheelTag::parse(tag))
    }
}

/// A compatibility tag; each part may be several, separated by dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WheelTag<'a> {
    /// `cp311`, `py2.py3`.
    pythons: &'a str,
    /// `cp311`, `abi3`, `none`.
    abis: &'a str,
    /// `manylinux_2_17_x86_64.manylinux2014_x86_64`, `any`.
    platforms: &'a str,
}

impl<'a> WheelTag<'a> {
    fn parse(tag: &'a str) -> Option<Self> {
        let mut parts = tag.splitn(3, '-');
        let (pythons, abis, platforms) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { pythons, abis, platforms })
    }

    /// Returns true if the tag suits this CPython on any platform.
    pub(crate) fn suits_python(self, version: &PythonVersion) -> bool {
        let PythonVersion { major, minor, free_threaded, .. } = *version;
        // The stable ABI does not extend to builds without the global interpreter lock (PEP 703).
        let abi_suits = |abi: &str| match abi {
            "none" => true,
            "abi3" => !free_threaded,
            abi => !abi.starts_with("cp") || abi.ends_with('t') == free_threaded,
        };
        self.pythons.split('.').any(|python| python_suits(python, self.abis, major, minor))
            && self.abis.split('.').any(abi_suits)
    }

    /// Returns the platforms.
    pub(crate) fn platforms(self) -> impl Iterator<Item = &'a str> {
        self.platforms.split('.')
    }
}

fn tag_suits(tag: &str, major: u32, minor: u32, machine: &str) -> bool {
    let Some(WheelTag { pythons, abis, platforms }) = WheelTag::parse(tag) else { return true };
    let python = pythons.split('.').any(|python| python_suits(python, abis, major, minor));
    let platform = platforms.split('.').any(|platform| {
        platform == "any" || (platform.contains("linux") && platform.ends_with(&format!("_{machine}")))
    });
    python && platform
}

fn python_suits(python: &str, abis: &str, major: u32, minor: u32) -> bool {
    let digits_at = python.find(|digit: char| digit.is_ascii_digit()).unwrap_or(python.len());
    let (implementation, digits) = python.split_at(digits_at);
    let Some(wheel_major) = digits.get(..1).and_then(|digit| digit.parse::<u32>().ok()) else { return true };
    if wheel_major != major {
        return false;
    }
    let Some(wheel_minor) = digits.get(1..).and_then(|rest| rest.parse::<u32>().ok()) else { return true };
    match implementation {
        "py" => wheel_minor <= minor,
        "cp" if abis.split('.').any(|abi| abi == "abi3" || abi == "none") => wheel_minor <= minor,
        "cp" => wheel_minor == minor,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_tags_with_interpreters() {
        for (tag, suits) in [
            ("py3-none-any", true),
            ("py2.py3-none-any", true),
            ("py2-none-any", false),
            ("cp311-cp311-manylinux_2_17_x86_64", true),
            ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", true),
            ("cp311-cp311-manylinux_2_17_aarch64", false),
            ("cp310-cp310-manylinux_2_17_x86_64", false),
            ("cp38-abi3-manylinux_2_17_x86_64", true),
            ("cp312-abi3-linux_x86_64", false),
            ("py3-none-musllinux_1_2_x86_64", true),
            ("cp311-cp311-macosx_11_0_x86_64", false),
            ("pp310-pypy310_pp73-manylinux_2_17_x86_64", false),
            ("nonsense", true),
        ] {
            assert_eq!(tag_suits(tag, 3, 11, "x86_64"), suits, "{tag}");
        }
    }

    #[test]
    fn free_threaded_builds_have_an_abi_of_their_own() {
        let version = |free_threaded| PythonVersion { major: 3, minor: 13, micro: None, free_threaded };
        for (tag, locked, free) in [
            ("cp313-cp313-linux_x86_64", true, false),
            ("cp313-cp313t-linux_x86_64", false, true),
            ("cp39-abi3-linux_x86_64", true, false),
            ("py3-none-linux_x86_64", true, true),
            ("cp312-cp312-linux_x86_64", false, false),
        ] {
            let tag = WheelTag::parse(tag).unwrap();
            assert_eq!(tag.suits_python(&version(false)), locked, "{tag:?}");
            assert_eq!(tag.suits_python(&version(true)), free, "{tag:?}");
        }
    }

    #[test]
    fn reads_tags_and_purity() {
        let wheel = Wheel::parse(
            b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n",
        );
        assert!(wheel.root_is_purelib);
        assert_eq!(wheel.tags.len(), 2);
        assert!(wheel.suits(3, 11, "x86_64"));
        assert!(Wheel::default().suits(3, 11, "x86_64"));
    }
}
