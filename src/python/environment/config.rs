//! [`Config`]: the file `pyvenv.cfg` of a virtual environment.
//!
//! PEP 405 defines the file as lines of `key = value` and gives a meaning to `home` and
//! `include-system-site-packages`. The other keys are conventions of the three tools that write the
//! file: `venv` (`version`, `executable`, `command`), uv (`version_info`, `relocatable`, `prompt`)
//! and virtualenv (`version_info = 3.11.7.final.0`, `base-prefix`, `base-executable`).

use std::path::PathBuf;

/// The contents of `pyvenv.cfg`.
///
/// ```text
/// home = /usr/bin
/// include-system-site-packages = false
/// version = 3.11.7
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `home`: the directory of the interpreter from which the environment was made.
    pub home: Option<PathBuf>,
    /// `executable` or `base-executable`: the interpreter itself.
    pub executable: Option<PathBuf>,
    /// `version` or `version_info` as numbers: major, minor and, if present, micro.
    pub version: Option<(u32, u32, Option<u32>)>,
    /// `implementation`, as uv and virtualenv write it: `CPython`.
    pub implementation: Option<String>,
    /// `include-system-site-packages`: visibility of the base interpreter's distributions.
    pub system_site_packages: SystemSitePackages,
    /// `relocatable`: uv wrote scripts that find the interpreter beside them.
    pub relocatable: bool,
    /// `prompt`: the prefix of the shell prompt set by `activate`.
    pub prompt: Option<String>,
}

/// `include-system-site-packages`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SystemSitePackages {
    /// Only the environment's distributions are visible.
    #[default]
    Excluded,
    /// The base interpreter's distributions are visible after the environment's.
    Included,
}

impl Config {
    /// Parses the file's text. As in Python's `site` module, keys are compared in lower case and
    /// unknown ones are ignored, as are lines without `=`.
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match key.trim().to_lowercase().as_str() {
                "home" => config.home = Some(value.into()),
                "executable" => config.executable = Some(value.into()),
                "base-executable" if config.executable.is_none() => config.executable = Some(value.into()),
                // `version_info` takes precedence: beside it, virtualenv writes its own version as
                // `version`.
                "version_info" => config.version = parse_version(value).or(config.version),
                "version" if config.version.is_none() => config.version = parse_version(value),
                "implementation" => config.implementation = Some(value.to_owned()),
                "include-system-site-packages" if value.eq_ignore_ascii_case("true") => {
                    config.system_site_packages = SystemSitePackages::Included;
                }
                "relocatable" => config.relocatable = value.eq_ignore_ascii_case("true"),
                "prompt" => {
                    config.prompt = Some(value.trim_matches(|quote| matches!(quote, '\'' | '"')).to_owned());
                }
                _ => {}
            }
        }
        config
    }
}

/// Parses the leading numbers of `3.11.7`, `3.14.0rc1` or `3.11.7.final.0`.
fn parse_version(text: &str) -> Option<(u32, u32, Option<u32>)> {
    let mut parts = text.split('.').map(|part| {
        let digits = part.len() - part.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        part.get(..digits)?.parse::<u32>().ok()
    });
    let major = parts.next()??;
    let minor = parts.next()??;
    Some((major, minor, parts.next().flatten()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_file_of_venv() {
        let config = Config::parse(
            "home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.11.7\n\
             executable = /usr/bin/python3.11\ncommand = /usr/bin/python3 -m venv /tmp/x\n",
        );
        assert_eq!(config.home.unwrap(), PathBuf::from("/usr/bin"));
        assert_eq!(config.executable.unwrap(), PathBuf::from("/usr/bin/python3.11"));
        assert_eq!(config.version, Some((3, 11, Some(7))));
        assert_eq!(config.system_site_packages, SystemSitePackages::Included);
        assert!(!config.relocatable);
    }

    #[test]
    fn reads_the_file_of_uv() {
        let config = Config::parse(
            "home = /usr/bin\nimplementation = CPython\nuv = 0.13.9\nversion_info = 3.13.0\n\
             include-system-site-packages = false\nrelocatable = true\nprompt = 'my app'\n",
        );
        assert_eq!(config.version, Some((3, 13, Some(0))));
        assert_eq!(config.implementation.as_deref(), Some("CPython"));
        assert_eq!(config.system_site_packages, SystemSitePackages::Excluded);
        assert!(config.relocatable);
        assert_eq!(config.prompt.as_deref(), Some("my app"));
    }

    #[test]
    fn reads_the_file_of_virtualenv() {
        let config = Config::parse(
            "home = /usr/bin\r\nimplementation = CPython\r\nversion_info = 3.11.7.final.0\r\nvirtualenv = 20.25\r\n\
             version = 20.25.0\r\nbase-executable = /usr/bin/python3.11\r\n",
        );
        assert_eq!(config.version, Some((3, 11, Some(7))));
        assert_eq!(config.executable.unwrap(), PathBuf::from("/usr/bin/python3.11"));
    }

    #[test]
    fn parses_versions() {
        for (text, version) in [
            ("3.14.0rc1", Some((3, 14, Some(0)))),
            ("3.12", Some((3, 12, None))),
            ("3", None),
            ("x.y", None),
            ("", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parses_any_text(text in "(?s).{0,200}") {
            let _ = Config::parse(&text);
        }
    }
}
