//! Selection of the files in a base for which a layer index retains more than the name.

use crate::layer::Member;

/// Maximum size in bytes of a retained text. dpkg's database on a Debian with every package has a
/// few megabytes.
const MAX_TEXT_BYTES: u64 = 8 << 20;
/// Size of a 32-bit ELF header.
const MIN_ELF_BYTES: u64 = 52;

/// Retained texts by full path.
const TEXTS: [&str; 9] = [
    "etc/passwd",
    "etc/group",
    "etc/nsswitch.conf",
    "etc/ld.so.conf",
    "etc/ld.so.cache",
    "etc/os-release",
    "usr/lib/os-release",
    "etc/debian_version",
    "var/lib/dpkg/status",
];

/// Directories with texts only.
const TEXT_DIRECTORIES: [&str; 2] = ["etc/ld.so.conf.d", "var/lib/dpkg/status.d"];

/// Retained part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retained {
    /// All bytes.
    Text,
    /// The first bytes.
    Start,
    /// The headers of an ELF file, or the first line of a script.
    Description,
}

/// Returns the part of the file `member` to retain.
pub(super) fn retained_part(member: &Member) -> Option<Retained> {
    let path = member.path.as_str();
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_text = TEXTS.contains(&path)
        || TEXT_DIRECTORIES.contains(&parent)
        // The search path of musl's loader.
        || (parent == "etc" && name.starts_with("ld-musl-") && name.ends_with(".path"))
        // The version of an interpreter: include/python3.12/patchlevel.h.
        || (name == "patchlevel.h" && parent.contains("include/python"));
    // The names of its locales are at the start; the archive may have 200 megabytes.
    if path == "usr/lib/locale/locale-archive" {
        return Some(Retained::Start);
    }
    if is_text {
        return (member.size <= MAX_TEXT_BYTES).then_some(Retained::Text);
    }
    // Libraries need not be executable, and programs have any name.
    let is_program = member.mode & 0o111 != 0 && member.size > 0;
    let may_be_elf = name.contains(".so") && member.size >= MIN_ELF_BYTES;
    (is_program || may_be_elf).then_some(Retained::Description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::MemberKind;
    use crate::tree::ImagePath;

    #[test]
    fn configuration_texts_and_loadable_files_are_retained() {
        use Retained::{Description, Start, Text};
        let member = |path: &str, mode, size| Member {
            path: ImagePath::new(path).unwrap(),
            kind: MemberKind::File,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            size,
        };
        for (path, mode, size, expected) in [
            ("etc/passwd", 0o644, 5, Some(Text)),
            ("etc/ld.so.cache", 0o644, 5, Some(Text)),
            ("etc/ld.so.conf.d/x.conf", 0o644, 5, Some(Text)),
            ("var/lib/dpkg/status", 0o644, MAX_TEXT_BYTES + 1, None),
            ("var/lib/dpkg/status.d/base", 0o644, 5, Some(Text)),
            ("usr/local/include/python3.12/patchlevel.h", 0o644, 5, Some(Text)),
            ("usr/lib/x86_64-linux-gnu/libz.so.1.2.13", 0o644, 100, Some(Description)),
            ("usr/bin/python3.12", 0o755, 100, Some(Description)),
            ("usr/bin/true", 0o755, 10, Some(Description)),
            ("usr/lib/locale/locale-archive", 0o644, 200 << 20, Some(Start)),
            ("usr/bin/empty", 0o755, 0, None),
            ("usr/lib/x.so", 0o644, 10, None),
            ("usr/share/doc/a", 0o644, 100, None),
        ] {
            assert_eq!(retained_part(&member(path, mode, size)), expected, "{path}");
        }
    }
}
