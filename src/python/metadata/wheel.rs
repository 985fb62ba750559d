//! [`Wheel`]: the compatibility tags of the wheel that a distribution was installed from.
//!
//! Follows the packaging specification "Binary distribution format"
//! (<https://packaging.python.org/en/latest/specifications/binary-distribution-format/>) and
//! "Platform compatibility tags". Compatibility with an interpreter is decided coarsely: version,
//! ABI and machine.

use super::headers::Headers;

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

fn tag_suits(tag: &str, major: u32, minor: u32, machine: &str) -> bool {
    let mut parts = tag.splitn(3, '-');
    let (Some(pythons), Some(abis), Some(platforms)) = (parts.next(), parts.next(), parts.next()) else {
        return true;
    };
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
