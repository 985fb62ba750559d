//! [`Platform`]: the operating system and architecture of an image.
//!
//! OCI image specification 1.1, `image-index.md`, the property `platform`; the text form is that of
//! Docker and containerd: `linux/amd64`, `linux/arm/v7`. Other names of architectures (`x86_64`,
//! `aarch64`) are accepted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Advice;
use crate::suggest::nearest;

/// An operating system and an architecture, by Go's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v7` of `arm`; `v8` of `arm64` is implied and omitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Go's operating systems that images are made for.
const SYSTEMS: [&str; 5] = ["linux", "windows", "darwin", "freebsd", "wasip1"];
/// Go's architectures (`go/build`, `syslist.go`).
const ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// A text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform `{0}`")]
pub struct PlatformError(String);

impl Advice for PlatformError {
    fn help(&self) -> Option<String> {
        let near = Platform::nearest(&self.0).map(|near| format!("; did you mean `{near}`?"));
        Some(format!("write OS/ARCHITECTURE, such as linux/amd64 or linux/arm64{}", near.unwrap_or_default()))
    }
}

impl Platform {
    /// Makes a normalized platform.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        // As in containerd's `platforms.Normalize`, the case is ignored.
        let (os, architecture) = (os.to_ascii_lowercase(), architecture.to_ascii_lowercase());
        let variant = variant.map(str::to_ascii_lowercase);
        let (architecture, implied) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "armhf" | "armv7l" => ("arm", Some("v7")),
            "armel" | "armv6l" => ("arm", Some("v6")),
            "i386" | "i686" => ("386", None),
            other => (other, None),
        };
        let variant = variant.as_deref().filter(|variant| !variant.is_empty()).or(implied);
        // As in containerd's `platforms.Normalize`, default variants are omitted.
        let variant = variant
            .filter(|variant| !matches!((architecture, *variant), ("arm64", "v8" | "8") | ("amd64", "v1")));
        Self { os, architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// Returns the platform that a misspelled one probably means.
    pub(crate) fn nearest(text: &str) -> Option<Self> {
        let (os, architecture) = text.split_once('/')?;
        let (architecture, variant) = match architecture.split_once('/') {
            Some((architecture, variant)) => (architecture, Some(variant)),
            None => (architecture, None),
        };
        let known = Self::new(nearest(os, SYSTEMS)?, architecture, variant);
        let architecture = nearest(&known.architecture, ARCHITECTURES)?;
        Some(Self { architecture: architecture.to_owned(), ..known }).filter(|near| near.to_string() != text)
    }

    /// Returns true if the architecture is unknown, and similar to a known one.
    fn is_misspelled(&self) -> bool {
        let architecture = self.architecture.as_str();
        !ARCHITECTURES.contains(&architecture) && nearest(architecture, ARCHITECTURES).is_some()
    }

    /// Returns the platform for which this program was compiled.
    pub fn of_this_program() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// Returns the platform's `uname -m`, its name in wheels and environment markers: `x86_64`,
    /// `aarch64`, `armv7l`.
    pub fn machine(&self) -> String {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("amd64", _) => "x86_64".to_owned(),
            ("arm64", _) => "aarch64".to_owned(),
            ("arm", Some(variant)) => format!("arm{variant}l"),
            ("arm", None) => "armv7l".to_owned(),
            ("386", _) => "i686".to_owned(),
            ("loong64", _) => "loongarch64".to_owned(),
            (same, _) => same.to_owned(),
        }
    }

    /// Returns true if software for `other` runs on this platform: the two are equal, or at most
    /// one has a variant.
    pub fn runs(&self, other: &Self) -> bool {
        let variants = self.variant.is_none() || other.variant.is_none() || self.variant == other.variant;
        self.os == other.os && self.architecture == other.architecture && variants
    }

    /// Returns true if machines of this platform start programs for `other`: their own, and on Linux
    /// those of the 32-bit architecture that most processors of a 64-bit one have, too.
    pub fn starts_programs_of(&self, other: &Self) -> bool {
        let of_64_bits = matches!(
            (self.architecture.as_str(), other.architecture.as_str()),
            ("amd64", "386") | ("arm64", "arm")
        );
        self.runs(other) || (self.os == "linux" && other.os == "linux" && of_64_bits)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &&str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        let wrong = || PlatformError(text.chars().take(100).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let platform = match parts.as_slice() {
            [os, architecture] if parts.iter().all(word) => Self::new(os, architecture, None),
            [os, architecture, variant] if parts.iter().all(word) => {
                Self::new(os, architecture, Some(variant))
            }
            _ => return Err(wrong()),
        };
        if platform.is_misspelled() { Err(wrong()) } else { Ok(platform) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_other_names() {
        for (text, usual) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/AMD64", "linux/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), usual);
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_misspelled_architecture_is_refused_with_a_suggestion() {
        for (text, near) in [
            ("linux/amd46", "linux/amd64"),
            ("linux/arm46", "linux/arm64"),
            ("linx/amd64", "linux/amd64"),
            ("linux/amr/v7", "linux/arm/v7"),
        ] {
            assert_eq!(Platform::nearest(text).map(|near| near.to_string()).as_deref(), Some(near), "{text}");
        }
        let error = "linux/amd46".parse::<Platform>().unwrap_err();
        assert!(error.help().unwrap().ends_with("; did you mean `linux/amd64`?"), "{:?}", error.help());
        // Unknown and not similar: an image decides if there is one.
        assert!("linux/other".parse::<Platform>().is_ok());
        assert_eq!(Platform::nearest("linux/amd64"), None);
    }

    #[test]
    fn machine_names_match_wheel_tags() {
        for (text, machine) in [
            ("linux/amd64", "x86_64"),
            ("linux/arm64", "aarch64"),
            ("linux/arm/v6", "armv6l"),
            ("linux/arm", "armv7l"),
            ("linux/386", "i686"),
            ("linux/s390x", "s390x"),
        ] {
            let platform: Platform = text.parse().unwrap();
            assert_eq!(platform.machine(), machine);
            assert!(platform.runs(&Platform::new("linux", machine, None)), "{text}");
        }
    }

    #[test]
    fn a_missing_variant_matches_any() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm/v7").runs(&platform("linux/arm")));
        assert!(!platform("linux/arm/v7").runs(&platform("linux/arm/v6")));
        assert!(!platform("linux/amd64").runs(&platform("linux/arm64")));
    }

    #[test]
    fn a_64_bit_machine_starts_programs_of_32_bits() {
        let starts = |machine: &str, program: &str| {
            let platform = |text: &str| text.parse::<Platform>().unwrap();
            platform(machine).starts_programs_of(&platform(program))
        };
        for (machine, program) in
            [("linux/amd64", "linux/386"), ("linux/arm64", "linux/arm/v7"), ("linux/s390x", "linux/s390x")]
        {
            assert!(starts(machine, program), "{machine} {program}");
            assert!(machine == program || !starts(program, machine), "{program} {machine}");
        }
        assert!(!starts("windows/amd64", "windows/386") && !starts("linux/amd64", "linux/arm"));
    }
}
