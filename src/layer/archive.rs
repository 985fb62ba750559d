//! Writes entries as a tar archive. The bytes are a function of the entries.
//!
//! The format is POSIX ustar (IEEE 1003.1-2017, `pax`, "ustar Interchange Format") for ASCII
//! names that fit their fields along with all numbers; otherwise one PAX extended header (UTF-8 by
//! definition) holds just the values that do not fit. Access and change times, names of owners,
//! fractions of a second and sparse files are left out: each would reveal the build machine.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::read_ahead::{PrefetchedFile, ReadAhead};
use super::time::{time_of, time_of_bytes};
use super::{LayerError, Watch};
use crate::tree::{CONSTANT_TIME, Content, ContentError, Entry, ImagePath, Kind, OpenContent, Time, Tree};

const RECORD: u64 = 512;
/// The largest number in seven octal digits: user and group.
const OCTAL_7: u64 = 0o7_777_777;
/// The largest number in eleven octal digits: size and time.
const OCTAL_11: u64 = 0o77_777_777_777;
/// The largest file, in bytes, that is held in memory to compute a time from its content.
const HASH_IN_MEMORY_LIMIT: u64 = 4 << 20;
/// The prefix of deletions in a layer (OCI image specification 1.1, `layer.md`, "Whiteouts").
const WHITEOUT: &str = ".wh.";

/// Bytes and files of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ArchiveStats {
    pub(super) content_bytes: u64,
    pub(super) files: u64,
}

/// Writes `tree` to `out`, with the end of the archive. `files` reads ahead, if given.
pub(super) fn write(
    tree: &Tree,
    mut files: Option<ReadAhead<'_, '_>>,
    out: &mut dyn Write,
    watch: &mut dyn Watch,
) -> Result<ArchiveStats, LayerError> {
    let mut written = ArchiveStats::default();
    let mut buffer = Vec::new();
    for entry in tree.iter() {
        refuse(entry)?;
        match &entry.kind {
            Kind::File(content) => {
                let size = match files.as_mut().map_or(Ok(PrefetchedFile::Streamed), ReadAhead::next)? {
                    PrefetchedFile::Whole(time, bytes) => write_whole(entry, time, &bytes, out, watch)?,
                    PrefetchedFile::Streamed => write_streamed(entry, content, &mut buffer, out, watch)?,
                };
                watch.end(entry, size);
                written.content_bytes += size;
                written.files += 1;
            }
            Kind::Directory => {
                header(entry, EntryType::Directory, 0, time_without_content(entry.time), None, out)?;
            }
            Kind::Symlink(target) => {
                header(entry, EntryType::Symlink, 0, time_without_content(entry.time), Some(target), out)?;
            }
            Kind::HardLink(target) => {
                header(
                    entry,
                    EntryType::Link,
                    0,
                    time_without_content(entry.time),
                    Some(target.as_str()),
                    out,
                )?;
            }
        }
    }
    // Two empty records end an archive. No padding to 10 KiB follows: images are not read from
    // tape.
    out.write_all(&[0; 2 * 512])?;
    Ok(written)
}

/// Refuses entries that an archive could hold but a layer must not.
fn refuse(entry: &Entry) -> Result<(), LayerError> {
    // Parents are entries of their own, so the last component is enough.
    if entry.path.file_name().is_some_and(|name| name.starts_with(WHITEOUT)) {
        return Err(LayerError::Whiteout(entry.path.clone()));
    }
    let reason = match &entry.kind {
        Kind::Symlink(target) if target.is_empty() => "empty",
        Kind::Symlink(target) if target.contains('\0') => "contains a NUL byte",
        Kind::HardLink(target) if target.is_root() => "the root directory",
        _ => return Ok(()),
    };
    Err(LayerError::Target { path: entry.path.clone(), reason })
}

/// Writes a file that was read ahead.
fn write_whole(
    entry: &Entry,
    time: i64,
    bytes: &[u8],
    out: &mut dyn Write,
    watch: &mut dyn Watch,
) -> Result<u64, LayerError> {
    let size = bytes.len() as u64;
    header(entry, EntryType::Regular, size, time, None, out)?;
    if !bytes.is_empty() {
        watch.bytes(entry, bytes);
        out.write_all(bytes)?;
    }
    pad(size, out)?;
    Ok(size)
}

/// Writes a file in pieces.
fn write_streamed(
    entry: &Entry,
    content: &Content,
    buffer: &mut Vec<u8>,
    out: &mut dyn Write,
    watch: &mut dyn Watch,
) -> Result<u64, LayerError> {
    let (time, mut open) = open_with_time(entry.time, content, buffer)?;
    header(entry, EntryType::Regular, open.size, time, None, out)?;
    copy(entry, &mut open, buffer, out, watch)?;
    Ok(open.size)
}

/// Opens a file's content, and computes its modification time. [`Time::FromContent`] reads the
/// content first.
fn open_with_time(
    time: Time,
    content: &Content,
    buffer: &mut Vec<u8>,
) -> Result<(i64, OpenContent), ContentError> {
    match time {
        Time::At(time) => Ok((time, content.open()?)),
        Time::FromContent if content.size_hint() <= HASH_IN_MEMORY_LIMIT => {
            let bytes = content.read()?;
            let time = time_of_bytes(&bytes);
            Ok((time, Content::from(bytes).open()?))
        }
        Time::FromContent => {
            let mut hasher = crate::digest::Hasher::new();
            let mut open = content.open()?;
            loop {
                buffer.clear();
                if open.read_some(buffer)? == 0 {
                    break;
                }
                hasher.update(buffer);
            }
            // The second read refuses a file that changed since the hash.
            Ok((time_of(&hasher.finish()), content.open()?))
        }
    }
}

/// Returns the time of an entry without content.
fn time_without_content(time: Time) -> i64 {
    match time {
        Time::At(time) => time,
        Time::FromContent => CONSTANT_TIME,
    }
}

fn copy(
    entry: &Entry,
    open: &mut OpenContent,
    buffer: &mut Vec<u8>,
    out: &mut dyn Write,
    watch: &mut dyn Watch,
) -> Result<(), LayerError> {
    let mut size = 0;
    loop {
        buffer.clear();
        if open.read_some(buffer)? == 0 {
            break;
        }
        size += buffer.len() as u64;
        watch.bytes(entry, buffer);
        out.write_all(buffer)?;
    }
    if size != open.size {
        return Err(LayerError::Size { path: entry.path.clone(), promised: open.size, came: size });
    }
    pad(size, out)?;
    Ok(())
}

fn pad(size: u64, out: &mut dyn Write) -> io::Result<()> {
    let padding = usize::try_from(size.next_multiple_of(RECORD) - size).unwrap_or(0);
    out.write_all(&[0; 512][..padding])
}

fn header(
    entry: &Entry,
    kind: EntryType,
    size: u64,
    time: i64,
    link: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    let mut name = entry.path.as_str().to_owned();
    if entry.path.is_root() {
        // An empty name is invalid, and `/` would be absolute.
        name.push('.');
    }
    if kind == EntryType::Directory {
        name.push('/');
    }
    let mut records = Records::default();
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(entry.mode & 0o7777);
    if !set_name(&mut header, &name) {
        records.add("path", &name);
        // Readers without PAX support get a recognizable name.
        set_short_name(&mut header, &entry.path);
    }
    if let Some(link) = link
        && (link.len() > 100 || !link.is_ascii() || header.set_link_name_literal(link).is_err())
    {
        records.add("linkpath", link);
    }
    for (key, value, set) in [
        ("uid", u64::from(entry.uid), Header::set_uid as fn(&mut Header, u64)),
        ("gid", u64::from(entry.gid), Header::set_gid),
    ] {
        if value > OCTAL_7 {
            records.add(key, &value.to_string());
            set(&mut header, 0);
        } else {
            set(&mut header, value);
        }
    }
    if size > OCTAL_11 {
        records.add("size", &size.to_string());
        header.set_size(0);
    } else {
        header.set_size(size);
    }
    let time = u64::try_from(time).map_err(|_| LayerError::Time { path: entry.path.clone(), time })?;
    if time > OCTAL_11 {
        records.add("mtime", &time.to_string());
        header.set_mtime(0);
    } else {
        header.set_mtime(time);
    }
    header.set_cksum();
    records.write(out)?;
    out.write_all(header.as_bytes())?;
    Ok(())
}

/// Stores the name in its field, split at a slash into prefix and name if necessary. Returns false
/// if the name does not fit.
fn set_name(header: &mut Header, name: &str) -> bool {
    let Some(ustar) = header.as_ustar_mut() else { return false };
    if !name.is_ascii() {
        return false;
    }
    let split = if name.len() <= ustar.name.len() {
        Some((name, ""))
    } else {
        // The last slash that leaves a short enough name, except for the trailing slash of a
        // directory.
        let mut candidates = name.match_indices('/').map(|(at, _)| (&name[at + 1..], &name[..at]));
        candidates.rfind(|(rest, prefix)| {
            !rest.is_empty() && rest.len() <= ustar.name.len() && prefix.len() <= ustar.prefix.len()
        })
    };
    let Some((name, prefix)) = split else { return false };
    ustar.name[..name.len()].copy_from_slice(name.as_bytes());
    ustar.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
    true
}

/// Stores a short name for readers without PAX support.
fn set_short_name(header: &mut Header, path: &ImagePath) {
    let name = path.file_name().unwrap_or_default().chars().take(90);
    let ascii: String = name.map(|c| if c.is_ascii() { c } else { '_' }).collect();
    set_name(header, &format!("PAX/{ascii}"));
}

/// The records of a PAX extended header.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// Adds `LENGTH KEY=VALUE\n`; the length includes its own digits.
    fn add(&mut self, key: &str, value: &str) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        set_name(&mut header, "PAX/records");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(self.0.len() as u64);
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        out.write_all(&self.0)?;
        let padding = self.0.len().next_multiple_of(512) - self.0.len();
        out.write_all(&[0; 512][..padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Advice;
    use crate::layer::NoWatch;
    use crate::tree::Owner;
    use proptest::prelude::*;
    use std::io::Read;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    fn archive(entries: Vec<Entry>) -> Vec<u8> {
        let mut tree = Tree::new();
        for entry in entries {
            tree.insert(entry).unwrap();
        }
        let mut out = Vec::new();
        write(&tree, None, &mut out, &mut NoWatch).unwrap();
        out
    }

    fn file(name: &str, text: &str) -> Entry {
        Entry::file(path(name), text.into(), Owner::Source)
    }

    /// Name, link, mode, uid, time and bytes, according to an independent reader.
    fn read(archive: &[u8]) -> Vec<(String, Option<String>, u32, u64, u64, String)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            (
                entry.path().unwrap().to_str().unwrap().to_owned(),
                entry.link_name().unwrap().map(|link| link.to_str().unwrap().to_owned()),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.mtime().unwrap(),
                text,
            )
        });
        entries.collect()
    }

    #[test]
    fn round_trips_entries() {
        let time = CONSTANT_TIME.cast_unsigned();
        let found = read(&archive(vec![
            file("app/main.py", "x = 1"),
            Entry::symlink(path("lib"), "usr/lib", Owner::System),
            Entry::directory(path("tmp"), Owner::System).with_mode(0o1777),
        ]));
        let row = |name: &str, link: Option<&str>, mode, text: &str| {
            (name.to_owned(), link.map(str::to_owned), mode, 0, time, text.to_owned())
        };
        assert_eq!(
            found,
            [
                row("app/", None, 0o755, ""),
                row("app/main.py", None, 0o644, "x = 1"),
                row("lib", Some("usr/lib"), 0o777, ""),
                row("tmp/", None, 0o1777, ""),
            ]
        );
    }

    #[test]
    fn plain_names_need_no_extended_header() {
        let long = format!("{0}/{0}/{0}/{1}", "d".repeat(50), "f".repeat(100));
        let bytes = archive(vec![file(&long, "")]);
        // Three directories, the file, the end.
        assert_eq!(bytes.len(), 6 * 512);
        assert_eq!(read(&bytes)[3].0, long);
    }

    #[test]
    fn the_time_of_a_file_can_follow_from_its_content() {
        let time = |text: &str| read(&archive(vec![file("a", text).with_time(Time::FromContent)]))[0].4;
        assert_eq!(time("same"), time("same"));
        assert_ne!(time("one!"), time("two!"));
        let large = "x".repeat(usize::try_from(HASH_IN_MEMORY_LIMIT).unwrap() + 1);
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("large");
        fs_err::write(&host, &large).unwrap();
        let content = Content::Host(crate::tree::HostFile::new(host).unwrap());
        let entry = Entry::file(path("a"), content, Owner::Source).with_time(Time::FromContent);
        assert_eq!(read(&archive(vec![entry]))[0].4, time(&large));
    }

    #[test]
    fn the_root_is_a_relative_name() {
        let root = Entry::directory(ImagePath::root(), Owner::System);
        assert_eq!(read(&archive(vec![root, file("a", "")]))[0].0, "./");
    }

    #[test]
    fn refuses_invalid_entries() {
        for entry in [
            file("app/.wh.main.py", ""),
            file("app/.wh..wh..opq/x", ""),
            Entry::symlink(path("a"), "", Owner::Source),
            Entry::symlink(path("a"), "b\0c", Owner::Source),
            file("a", "").with_time(Time::At(-1)),
        ] {
            let mut tree = Tree::new();
            tree.insert(entry).unwrap();
            let error = write(&tree, None, &mut io::sink(), &mut NoWatch).unwrap_err();
            assert!(error.help().is_some(), "{error}");
        }
    }

    #[test]
    fn large_numbers_go_into_the_extended_header() {
        let mut entry = file("a", "");
        entry.uid = 1_000_650_000;
        let bytes = archive(vec![entry]);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("18 uid=1000650000\n"), "{text}");
    }

    proptest! {
        #[test]
        fn round_trips_names_and_links(parts in proptest::collection::vec("[a-zé]{1,60}", 1..8), link in "[a-zé/]{1,300}", text in "[a-z]{0,1200}") {
            let name = format!("a/{}", parts.join("/"));
            let found = read(&archive(vec![file(&name, &text), Entry::symlink(path("zz/link"), link.clone(), Owner::Source)]));
            let last = found.iter().find(|row| row.0 == name).unwrap();
            prop_assert_eq!(&last.5, &text);
            prop_assert_eq!(found.last().unwrap().1.as_deref(), Some(link.as_str()));
        }
    }
}
