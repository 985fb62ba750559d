//! Checks the locales and the time zone in an image's variables: programs silently fall back if
//! these are missing.

use crate::base::{CLibrary, View};
use crate::plan::start::{ImageFiles, exists};
use crate::progress::Warning;
use crate::tree::ImagePath;

/// Variables of setlocale(3), in order of precedence.
const CATEGORIES: [&str; 13] = [
    "LC_ALL",
    "LC_CTYPE",
    "LC_COLLATE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_ADDRESS",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_NAME",
    "LC_PAPER",
    "LANG",
];
/// glibc's directory of compiled locales.
const FOLDER: &str = "usr/lib/locale";
/// glibc's archive of compiled locales.
pub(super) const ARCHIVE: &str = "usr/lib/locale/locale-archive";
/// `AR_MAGIC` of glibc's `locale/locarchive.h`.
const ARCHIVE_MAGIC: u32 = 0xde02_0109;

/// Returns warnings about locales and the time zone in `variables` that `files` lacks; `None` if
/// unknown. Of duplicate variables the last counts.
pub(super) fn missing_locale_warnings(
    variables: &[(String, String)],
    files: &dyn ImageFiles,
    base: Option<&View>,
) -> Option<Vec<Warning>> {
    let value = |name: &str| {
        let found = variables.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let mut warnings = Vec::new();
    let of_musl = base.is_some_and(|view| view.c_library() == Some(CLibrary::Musl));
    let archive = base.and_then(|view| view.retained_bytes(&ImagePath::new(ARCHIVE).ok()?));
    let mut reported = Vec::new();
    for variable in CATEGORIES {
        let Some(locale) = value(variable) else { continue };
        // musl supports UTF-8 only.
        if of_musl
            || value("LOCPATH").is_some()
            || reported.contains(&locale)
            || glibc_finds(locale, files, archive)?
        {
            continue;
        }
        reported.push(locale);
        warnings.push(
            Warning::new(
                format!("{variable}={locale}"),
                "locale not found in the image: programs use the locale C",
            )
            .with_help(match base {
                None => "use C.UTF-8, or a base with the locale",
                Some(_) => "use C.UTF-8, or generate the locale in the base (Debian: the packages locales or locales-all)",
            }),
        );
    }
    if let Some(zone) = value("TZ").filter(|_| value("TZDIR").is_none())
        && let Some(path) = file_of_zone(zone)
        && !exists(files, &path)?
    {
        warnings.push(
            Warning::new(
                format!("TZ={zone}"),
                format!("time zone not found in the image: {path}; local time is UTC"),
            )
            .with_help("correct its name, or set time-zones = true"),
        );
    }
    Some(warnings)
}

/// Returns true if glibc finds the locale.
fn glibc_finds(locale: &str, files: &dyn ImageFiles, archive: Option<&[u8]>) -> Option<bool> {
    let spellings = spellings(locale);
    if spellings.iter().any(|name| matches!(name.as_str(), "C" | "POSIX" | "C.utf8")) {
        return Some(true);
    }
    if locale.contains('/') {
        return exists(files, locale);
    }
    if let Some(archive) = archive {
        let names = archive_names(archive).unwrap_or_default();
        if names.is_empty() || names.iter().any(|name| spellings.contains(name)) {
            return Some(true);
        }
    } else if exists(files, &format!("/{ARCHIVE}"))? {
        return Some(true);
    }
    for name in spellings {
        if exists(files, &format!("/{FOLDER}/{name}"))? {
            return Some(true);
        }
    }
    Some(false)
}

/// Returns a locale's name as written and with glibc's normalized codeset: `de_DE.UTF-8`,
/// `de_DE.utf8`.
fn spellings(locale: &str) -> Vec<String> {
    let mut all = vec![locale.to_owned()];
    if let Some((language, rest)) = locale.split_once('.') {
        let (set, modifier) = match rest.split_once('@') {
            Some((set, modifier)) => (set, format!("@{modifier}")),
            None => (rest, String::new()),
        };
        let letters: String =
            set.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        let is_number = letters.chars().all(|c| c.is_ascii_digit());
        let set = if is_number { format!("iso{letters}") } else { letters };
        all.push(format!("{language}.{set}{modifier}"));
    }
    all
}

/// Returns the names in a locale archive with the first bytes `bytes`.
fn archive_names(bytes: &[u8]) -> Option<Vec<String>> {
    let number = |index: usize| {
        let bytes = bytes.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if number(0)? != ARCHIVE_MAGIC {
        return None;
    }
    let (start, used) = (usize::try_from(number(5)?).ok()?, usize::try_from(number(6)?).ok()?);
    let names = bytes.get(start..start.checked_add(used)?)?.split(|byte| *byte == 0);
    Some(names.filter_map(|name| Some(std::str::from_utf8(name).ok()?.to_owned())).collect())
}

/// Returns the file that tzset(3) opens for `TZ`. Returns `None` for POSIX rules, and for names of
/// UTC.
fn file_of_zone(zone: &str) -> Option<String> {
    let zone = zone.strip_prefix(':').unwrap_or(zone);
    let is_rule = !zone.contains('/') && zone.contains(|c: char| c.is_ascii_digit() || c == '<');
    if is_rule || matches!(zone, "" | "UTC" | "UTC0" | "GMT" | "UCT" | "Zulu" | "Etc/UTC" | "Etc/GMT") {
        return None;
    }
    Some(if zone.starts_with('/') { zone.to_owned() } else { format!("/usr/share/zoneinfo/{zone}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::start::{ExecutableFormat, PathNode, Permissions};

    /// An image with these files.
    struct PresentFiles(&'static [&'static str]);

    impl ImageFiles for PresentFiles {
        fn node(&self, path: &ImagePath) -> Option<PathNode> {
            let access = Permissions { mode: 0o755, uid: 0, gid: 0 };
            let file = |other: &&str| *other == path.as_str();
            let below = |other: &&str| other.starts_with(&format!("{}/", path.as_str()));
            Some(if self.0.iter().any(file) {
                PathNode::File(access, ExecutableFormat::Unknown)
            } else if self.0.iter().any(below) {
                PathNode::Directory(access)
            } else {
                PathNode::Absent
            })
        }

        fn has_module(&self, _: &str) -> Option<bool> {
            None
        }
    }

    fn reported(variables: &[(&str, &str)], files: &'static [&'static str]) -> Vec<String> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let warnings = missing_locale_warnings(&variables, &PresentFiles(files), None).unwrap();
        warnings.into_iter().map(|warning| warning.subject).collect()
    }

    #[test]
    fn a_missing_locale_is_reported_once() {
        assert_eq!(reported(&[("LANG", "C.UTF-8"), ("LC_ALL", "POSIX"), ("LC_TIME", "")], &[]), [""; 0]);
        assert_eq!(
            reported(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "de_DE.UTF-8"), ("LC_TIME", "fr_FR")], &[]),
            ["LC_ALL=de_DE.UTF-8", "LC_TIME=fr_FR"]
        );
        let has = &["usr/lib/locale/de_DE.utf8/LC_CTYPE"];
        assert_eq!(reported(&[("LANG", "de_DE.UTF-8")], has), [""; 0]);
        assert_eq!(reported(&[("LANG", "de_DE.UTF-8")], &[ARCHIVE]), [""; 0]);
    }

    #[test]
    fn a_missing_time_zone_is_reported() {
        let zones = &["usr/share/zoneinfo/Europe/Berlin"];
        for (zone, missing) in [
            ("Europe/Berlin", false),
            (":Europe/Berlin", false),
            ("Europe/Berln", true),
            ("UTC", false),
            ("CET-1CEST,M3.5.0", false),
            ("<+03>-3", false),
            ("/usr/share/zoneinfo/Europe/Berlin", false),
            ("/etc/zone", true),
        ] {
            assert_eq!(!reported(&[("TZ", zone)], zones).is_empty(), missing, "{zone}");
        }
    }

    #[test]
    fn names_are_read_from_an_archive() {
        let mut archive: Vec<u8> = Vec::new();
        for number in [ARCHIVE_MAGIC, 0, 56, 0, 0, 56, 22, 0, 0, 0, 0, 0, 0, 0] {
            archive.extend(number.to_le_bytes());
        }
        archive.extend(b"de_DE.utf8\0en_US.utf8\0");
        assert!(archive_names(&archive).unwrap().contains(&"en_US.utf8".to_owned()));
        assert_eq!(glibc_finds("en_US.UTF-8", &PresentFiles(&[]), Some(&archive)), Some(true));
        assert_eq!(glibc_finds("fr_FR.UTF-8", &PresentFiles(&[]), Some(&archive)), Some(false));
        for cut in 0..archive.len() {
            let _ = archive_names(&archive[..cut]);
        }
    }
}
