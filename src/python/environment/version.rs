//! [`PythonVersion`].

use std::fmt;

/// A CPython version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PythonVersion {
    /// `3` of 3.11.7.
    pub major: u32,
    /// `11` of 3.11.7.
    pub minor: u32,
    /// `7` of 3.11.7, if known.
    pub micro: Option<u32>,
    /// A build without the global interpreter lock (`python3.13t`).
    pub free_threaded: bool,
}

impl PythonVersion {
    /// Returns the name of the executable and of the library directory: `python3.11`,
    /// `python3.13t`.
    pub fn name(&self) -> String {
        let threads = if self.free_threaded { "t" } else { "" };
        format!("python{}.{}{threads}", self.major, self.minor)
    }

    /// Parses the name of an executable or of a library directory.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let (major, minor) = name.strip_prefix("python")?.split_once('.')?;
        let (minor, free_threaded) = match minor.strip_suffix('t') {
            Some(minor) => (minor, true),
            None => (minor, false),
        };
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()?, micro: None, free_threaded })
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if let Some(micro) = self.micro {
            write!(f, ".{micro}")?;
        }
        Ok(())
    }
}
