//! Files that every process expects: accounts, name service configuration, certificates, time
//! zones, the UTF-8 locale, the names of services and media types, `/tmp`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::SystemError;
use crate::error::FileError;
use crate::progress::Warning;
use crate::traced_fs;
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner};

/// Paths of the bundle of certificate authorities on the distributions, in PEM.
pub const CERTIFICATES: [&str; 5] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
];

/// The bundle's path in the image. [`BUNDLE_LINKS`] are the other paths read by OpenSSL builds
/// (compiled-in `OPENSSLDIR`: Debian's `/usr/lib/ssl`, upstream's `/usr/local/ssl`, uv's standalone
/// builds' `/etc/ssl`, Fedora's `/etc/pki/tls`).
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
const BUNDLE_LINKS: [&str; 4] =
    ["etc/ssl/cert.pem", "usr/lib/ssl/cert.pem", "usr/local/ssl/cert.pem", "etc/pki/tls/cert.pem"];

/// Excluded parts of the time zone database: copies with other rules for leap seconds, and
/// files that describe the machine.
const EXCLUDED_ZONES: [&str; 6] = ["posix", "right", "localtime", "posixrules", "+VERSION", "leapseconds"];

/// Paths of the locale `C.UTF-8`, the value of the image's `LANG`, in a distribution's C library.
/// Without this locale `setlocale(LC_ALL, "")` fails, and so do programs that use the user's
/// locale. Debian 11 has the second spelling.
const LOCALES: [&str; 2] = ["usr/lib/locale/C.utf8", "usr/lib/locale/C.UTF-8"];

/// The names of ports and protocols (`socket.getservbyname`), and of media types (`mimetypes`, and
/// so the types of static files: Python itself does not know `.woff2`). Small, and not installed
/// everywhere.
const NAMES: [&str; 3] = ["etc/services", "etc/protocols", "etc/mime.types"];

/// The account of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The home directory.
    pub home: ImagePath,
}

/// The choice of large optional files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionalFiles {
    /// The bundle of certificate authorities.
    pub certificates: Choice,
    /// The time zone database.
    pub time_zones: Choice,
}

/// The choice to include or exclude a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Included.
    Include,
    /// Excluded.
    Exclude,
}

impl From<bool> for Choice {
    fn from(included: bool) -> Self {
        if included { Self::Include } else { Self::Exclude }
    }
}

/// Returns `/etc/passwd` and `/etc/group` with root, nobody and `account`.
pub fn accounts(account: &Account) -> Result<Vec<Entry>, SystemError> {
    let Account { name, uid, gid, home } = account;
    let mut passwd = String::from("root:x:0:0:root:/root:/sbin/nologin\n");
    let mut group = String::from("root:x:0:\n");
    if !matches!(uid, 0 | 65534) {
        let _ = writeln!(passwd, "{name}:x:{uid}:{gid}:{name}:{home}:/sbin/nologin");
    }
    if !matches!(gid, 0 | 65534) {
        let _ = writeln!(group, "{name}:x:{gid}:");
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n");
    group.push_str("nogroup:x:65534:\n");
    Ok(vec![text("etc/passwd", passwd)?, text("etc/group", group)?])
}

/// Returns the other files, from the system with the root directory `root` (usually `/`), and
/// warnings about absent ones.
pub fn files(root: &Path, optional: OptionalFiles) -> Result<(Vec<Entry>, Vec<Warning>), SystemError> {
    let mut warnings = Vec::new();
    let mut entries = vec![
        Entry::directory(ImagePath::new("tmp")?, Owner::System).with_mode(0o1777),
        Entry::directory(ImagePath::new("run")?, Owner::System),
        // Without this file, glibc tries NIS before any name server.
        text(
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\nnetworks: files\n",
        )?,
    ];
    if optional.certificates == Choice::Include {
        match CERTIFICATES.iter().map(|place| root.join(place)).find(|path| traced_fs::is_file(path)) {
            Some(path) => entries.extend(bundle(&path)?),
            None => warnings.push(
                Warning::new("certificates", "bundle of certificate authorities not found on this machine")
                    .with_help("install ca-certificates, or set certificates = false in the recipe"),
            ),
        }
    }
    if optional.time_zones == Choice::Include {
        let zones = root.join("usr/share/zoneinfo");
        if traced_fs::is_dir(&zones) {
            entries.extend(time_zones(&zones)?);
            // Programs that read the system's zone by name (tzlocal) find this link, and print no
            // warning.
            if traced_fs::is_file(zones.join("Etc/UTC")) {
                let link = ImagePath::new("etc/localtime")?;
                entries.push(Entry::symlink(link, "../usr/share/zoneinfo/Etc/UTC", Owner::System));
            }
        } else {
            warnings
                .push(Warning::new("time zones", "time zone database not found on this machine").with_help(
                "install tzdata, depend on the tzdata distribution, or set time-zones = false in the recipe",
            ));
        }
    }
    entries.extend(locale(root)?);
    for place in NAMES {
        let path = root.join(place);
        if traced_fs::is_file(&path) {
            entries.push(Entry::file(ImagePath::new(place)?, followed(&path)?, Owner::System));
        }
    }
    entries.extend(os_release(root)?);
    Ok((entries, warnings))
}

/// Returns the files of the locale `C.UTF-8`, if there are any: newer C libraries may have this
/// locale built in.
fn locale(root: &Path) -> Result<Vec<Entry>, SystemError> {
    let Some(place) = LOCALES.into_iter().find(|place| traced_fs::is_dir(root.join(place))) else {
        return Ok(Vec::new());
    };
    let real = root.join(place);
    let mut entries = Vec::new();
    for visited in traced_fs::walk_through_links(&real) {
        let entry = visited.map_err(|error| {
            let path = error.path().unwrap_or(&real).to_path_buf();
            FileError::new("list", path, error.into())
        })?;
        let below = entry.path().strip_prefix(&real).ok().and_then(Path::to_str);
        if let (true, Some(below)) = (entry.file_type().is_file(), below) {
            let path = ImagePath::new(place)?.join(below)?;
            entries.push(Entry::file(path, followed(entry.path())?, Owner::System));
        }
    }
    Ok(entries)
}

fn text(path: &str, content: impl Into<String>) -> Result<Entry, SystemError> {
    Ok(Entry::file(ImagePath::new(path)?, content.into().into(), Owner::System))
}

fn bundle(path: &Path) -> Result<Vec<Entry>, SystemError> {
    let place = ImagePath::new(BUNDLE)?;
    let mut entries = Vec::new();
    for link in BUNDLE_LINKS {
        let link = ImagePath::new(link)?;
        let folder = link.parent().unwrap_or_default();
        entries.push(Entry::symlink(link, place.relative_to(&folder), Owner::System));
    }
    entries.push(Entry::file(place, followed(path)?, Owner::System));
    Ok(entries)
}

/// Returns the content of the file behind a path that may be a link.
fn followed(path: &Path) -> Result<Content, SystemError> {
    let real = traced_fs::canonicalize(path).map_err(|error| FileError::new("read", path, error))?;
    Ok(Content::Host(HostFile::new(real)?))
}

fn time_zones(zones: &Path) -> Result<Vec<Entry>, SystemError> {
    let real = traced_fs::canonicalize(zones).map_err(|error| FileError::new("read", zones, error))?;
    let place = ImagePath::new("usr/share/zoneinfo")?;
    let mut entries = Vec::new();
    let mut walk = traced_fs::walk(&real);
    while let Some(visited) = walk.next() {
        let entry = visited.map_err(|error| {
            let path = error.path().unwrap_or(&real).to_path_buf();
            FileError::new("list", path, error.into())
        })?;
        if entry.depth() == 1 && EXCLUDED_ZONES.iter().any(|name| entry.file_name() == *name) {
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            continue;
        }
        let below = entry.path().strip_prefix(&real).ok().and_then(Path::to_str);
        let Some(below) = below else { continue };
        let path = place.join(below)?;
        if entry.file_type().is_file() {
            entries.push(Entry::file(path, Content::Host(HostFile::new(entry.path())?), Owner::System));
        } else if entry.file_type().is_symlink() {
            entries.extend(zone_link(&real, entry.path(), &place, path)?);
        }
    }
    Ok(entries)
}

/// Keeps a link to another zone, in one spelling. Links to other targets are specific to the
/// machine and dropped.
fn zone_link(
    zones: &Path,
    link: &Path,
    place: &ImagePath,
    path: ImagePath,
) -> Result<Option<Entry>, SystemError> {
    let Ok(target) = traced_fs::canonicalize(link) else { return Ok(None) };
    let Some(target) = target.strip_prefix(zones).ok().and_then(Path::to_str) else { return Ok(None) };
    let folder = path.parent().unwrap_or_default();
    let target = place.join(target)?.relative_to(&folder);
    Ok(Some(Entry::symlink(path, target, Owner::System)))
}

/// Returns the origin of the system's files, for scanners (os-release(5)).
fn os_release(root: &Path) -> Result<Vec<Entry>, SystemError> {
    let found: Option<PathBuf> = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .map(|place| root.join(place))
        .find(|path| traced_fs::is_file(path));
    let Some(path) = found else { return Ok(Vec::new()) };
    Ok(vec![
        Entry::file(ImagePath::new("usr/lib/os-release")?, followed(&path)?, Owner::System),
        Entry::symlink(ImagePath::new("etc/os-release")?, "../usr/lib/os-release", Owner::System),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Kind;

    fn account(uid: u32, gid: u32) -> Account {
        Account { name: "agencyos".to_owned(), uid, gid, home: ImagePath::new("/app").unwrap() }
    }

    fn read(entries: &[Entry], path: &str) -> String {
        let entry = entries.iter().find(|entry| entry.path.as_str() == path).expect(path);
        match &entry.kind {
            Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
            Kind::Symlink(target) => format!("-> {target}"),
            _ => String::new(),
        }
    }

    #[test]
    fn the_process_has_an_account() {
        let entries = accounts(&account(1000, 2000)).unwrap();
        assert!(
            read(&entries, "etc/passwd").contains("\nagencyos:x:1000:2000:agencyos:/app:/sbin/nologin\n")
        );
        assert!(read(&entries, "etc/group").contains("\nagencyos:x:2000:\n"));
        let entries = accounts(&account(0, 0)).unwrap();
        assert_eq!(read(&entries, "etc/passwd").matches(":0:0:").count(), 1);
    }

    #[test]
    fn includes_the_files_of_the_machine() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        put("etc/pki/tls/certs/ca-bundle.crt", "PEM");
        put("usr/share/zoneinfo/Europe/Berlin", "TZif");
        put("usr/share/zoneinfo/right/Europe/Berlin", "TZif with leap seconds");
        put("usr/share/zoneinfo/Etc/UTC", "TZif");
        put("usr/lib/os-release", "ID=test\n");
        put("usr/lib/locale/C.utf8/LC_CTYPE", "");
        put("usr/lib/locale/C.utf8/LC_MESSAGES/SYS_LC_MESSAGES", "");
        put("etc/services", "https 443/tcp\n");
        let zones = root.path().join("usr/share/zoneinfo");
        std::os::unix::fs::symlink("/etc/localtime", zones.join("localtime")).unwrap();
        std::os::unix::fs::symlink("../Europe/Berlin", zones.join("Europe/Old")).unwrap();
        std::os::unix::fs::symlink("/dev/null", zones.join("Elsewhere")).unwrap();
        let optional = OptionalFiles { certificates: Choice::Include, time_zones: Choice::Include };
        let (entries, warnings) = files(root.path(), optional).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(read(&entries, BUNDLE), "PEM");
        assert_eq!(read(&entries, "usr/lib/ssl/cert.pem"), "-> ../../../etc/ssl/certs/ca-certificates.crt");
        assert_eq!(read(&entries, "usr/share/zoneinfo/Europe/Old"), "-> Berlin");
        assert_eq!(read(&entries, "etc/os-release"), "-> ../usr/lib/os-release");
        let zones =
            entries.iter().filter(|entry| entry.path.as_str().starts_with("usr/share/zoneinfo")).count();
        assert_eq!(zones, 3);
        assert_eq!(read(&entries, "etc/localtime"), "-> ../usr/share/zoneinfo/Etc/UTC");
        assert_eq!(read(&entries, "etc/services"), "https 443/tcp\n");
        let locale: Vec<_> =
            entries.iter().filter_map(|entry| entry.path.as_str().strip_prefix("usr/lib/locale/")).collect();
        assert_eq!(locale, ["C.utf8/LC_CTYPE", "C.utf8/LC_MESSAGES/SYS_LC_MESSAGES"]);
    }

    #[test]
    fn warns_of_absent_files() {
        let root = tempfile::tempdir().unwrap();
        let optional = OptionalFiles { certificates: Choice::Include, time_zones: Choice::Include };
        assert_eq!(files(root.path(), optional).unwrap().1.len(), 2);
        let optional = OptionalFiles { certificates: Choice::Exclude, time_zones: Choice::Exclude };
        assert_eq!(files(root.path(), optional).unwrap().1.len(), 0);
    }
}
