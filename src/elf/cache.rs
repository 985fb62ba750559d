//! [`LibraryCache`]: `ld.so.cache`, the loader's index of libraries by name.
//!
//! Follows glibc's `sysdeps/generic/dl-cache.h`: the format `glibc-ld.so.cache1.1`, the older
//! `ld.so-1.7.0`, and files with the newer format behind the older. An invalid cache counts as
//! empty, as for the loader.

use std::collections::HashMap;

use super::machine::Machine;

/// The largest accepted cache, in bytes. Real ones have tens of kilobytes.
pub(super) const LIMIT: u64 = 16 << 20;
/// The limit for all retained names and paths, in bytes. Entries may share strings, so the text of
/// a small file can expand to far more than its size.
const TEXT_LIMIT: usize = 64 << 20;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;

/// Cache entries by library name.
#[derive(Debug, Default)]
pub(super) struct LibraryCache(HashMap<String, Vec<Cached>>);

/// A cache entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cached {
    flags: u32,
    /// Nonzero for a build limited to some processors of the machine.
    capabilities: u64,
    path: String,
}

impl LibraryCache {
    /// Parses a cache; the result is empty if the bytes are invalid.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self::parse_new(bytes).or_else(|| Self::parse_old(bytes)).unwrap_or_default()
    }

    /// Returns the paths of `name` for `machine`, best first. Builds for every processor of the
    /// architecture precede those limited to some, because an image is built on one processor and
    /// runs on another.
    pub(super) fn lookup(&self, name: &str, machine: Machine) -> impl Iterator<Item = &str> {
        let entries = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        entries
            .iter()
            .filter(move |entry| machine.accepts_cache_flags(entry.flags))
            .map(|entry| entry.path.as_str())
    }

    fn parse_new(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(NEW_MAGIC) {
            return None;
        }
        // Byte 28 is the byte order: 2 little, 3 big, 0 in caches older than this field.
        let orders: &[CacheByteOrder] = match bytes.get(28)? & 3 {
            2 => &[CacheByteOrder::Little],
            3 => &[CacheByteOrder::Big],
            _ => &[CacheByteOrder::Little, CacheByteOrder::Big],
        };
        orders.iter().find_map(|order| {
            let entries = table(bytes, NEW_HEADER, NEW_ENTRY, order.u32(bytes, 20)?)?;
            Some(Self::collect(entries.filter_map(|entry| {
                let (key, value) = (order.u32(entry, 4)?, order.u32(entry, 8)?);
                let capabilities = order.u64(entry, 16)?;
                Some((text(bytes, key)?, order.u32(entry, 0)?, capabilities, text(bytes, value)?))
            })))
        })
    }

    fn parse_old(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(OLD_MAGIC) {
            return None;
        }
        [CacheByteOrder::Little, CacheByteOrder::Big].into_iter().find_map(|order| {
            let count = order.u32(bytes, 12)?;
            let entries = table(bytes, OLD_HEADER, OLD_ENTRY, count)?;
            let end = OLD_HEADER + OLD_ENTRY * usize::try_from(count).ok()?;
            let strings = bytes.get(end..)?;
            if let Some(newer) = bytes.get(end.next_multiple_of(8)..).and_then(Self::parse_new) {
                return Some(newer);
            }
            Some(Self::collect(entries.filter_map(|entry| {
                let (key, value) = (order.u32(entry, 4)?, order.u32(entry, 8)?);
                Some((text(strings, key)?, order.u32(entry, 0)?, 0, text(strings, value)?))
            })))
        })
    }

    fn collect<'a>(entries: impl Iterator<Item = (&'a str, u32, u64, &'a str)>) -> Self {
        let mut by_name = HashMap::<String, Vec<Cached>>::new();
        let mut left = TEXT_LIMIT;
        for (name, flags, capabilities, path) in entries {
            let Some(rest) = left.checked_sub(name.len() + path.len()) else { break };
            left = rest;
            let cached = Cached { flags, capabilities, path: path.to_owned() };
            by_name.entry(name.to_owned()).or_default().push(cached);
        }
        for entries in by_name.values_mut() {
            // Stable: among equals the loader takes the first, in the order of /etc/ld.so.conf.
            entries.sort_by_key(|entry| entry.capabilities != 0);
        }
        Self(by_name)
    }
}

#[derive(Debug, Clone, Copy)]
enum CacheByteOrder {
    Little,
    Big,
}

impl CacheByteOrder {
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(*bytes),
            Self::Big => u32::from_be_bytes(*bytes),
        })
    }

    fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u64::from_le_bytes(*bytes),
            Self::Big => u64::from_be_bytes(*bytes),
        })
    }
}

/// Returns the entries of a table; `None` unless `bytes` contains the entire table.
fn table(bytes: &[u8], start: usize, size: usize, count: u32) -> Option<impl Iterator<Item = &[u8]>> {
    let len = usize::try_from(count).ok()?.checked_mul(size)?;
    Some(bytes.get(start..)?.get(..len)?.chunks_exact(size))
}

/// Returns the string at an offset, unless longer than the longest path: entries that all point
/// into one long string would multiply the memory needed.
fn text(bytes: &[u8], at: u32) -> Option<&str> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let rest = rest.get(..4096).unwrap_or(rest);
    let end = memchr::memchr(0, rest)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{CacheLine as Line, I386, S390X, X86_64, cache as new_format};
    use super::super::machine::ByteOrder;
    use super::*;
    use proptest::prelude::*;

    const LINES: [Line; 5] = [
        ("libz.so.1", 0x0303, 1 << 62, "/lib/glibc-hwcaps/x86-64-v3/libz.so.1"),
        ("libz.so.1", 0x0303, 0, "/lib/x86_64-linux-gnu/libz.so.1"),
        ("libz.so.1", 0x0303, 0, "/opt/lib/libz.so.1"),
        ("libz.so.1", 0x0003, 0, "/lib/i386-linux-gnu/libz.so.1"),
        ("libc.so.6", 0x0403, 0, "/lib/s390x-linux-gnu/libc.so.6"),
    ];

    fn old_format(lines: &[Line]) -> Vec<u8> {
        let mut file = OLD_MAGIC.to_vec();
        file.push(0);
        file.extend(u32::try_from(lines.len()).unwrap().to_le_bytes());
        let mut strings = Vec::new();
        for (name, flags, _, path) in lines {
            file.extend(flags.to_le_bytes());
            for text in [name, path] {
                file.extend(u32::try_from(strings.len()).unwrap().to_le_bytes());
                strings.extend(text.as_bytes());
                strings.push(0);
            }
        }
        file.extend(strings);
        file
    }

    fn lookup(bytes: &[u8], name: &str, machine: Machine) -> Vec<String> {
        LibraryCache::parse(bytes).lookup(name, machine).map(str::to_owned).collect()
    }

    #[test]
    fn reads_the_new_format_in_every_order() {
        use ByteOrder::{Big, Little};
        for (order, mark) in [(Little, 2), (Little, 0), (Big, 3), (Big, 0)] {
            let file = new_format(&LINES, order, mark);
            assert_eq!(lookup(&file, "libc.so.6", S390X), ["/lib/s390x-linux-gnu/libc.so.6"]);
            assert_eq!(lookup(&file, "libz.so.1", I386), ["/lib/i386-linux-gnu/libz.so.1"]);
            assert_eq!(lookup(&file, "libabsent.so", X86_64), Vec::<String>::new());
        }
    }

    #[test]
    fn prefers_builds_for_every_processor() {
        let file = new_format(&LINES, ByteOrder::Little, 2);
        let paths = lookup(&file, "libz.so.1", X86_64);
        let expected = ["/lib/x86_64-linux-gnu/libz.so.1", "/opt/lib/libz.so.1"];
        assert_eq!(paths[..2], expected);
        assert_eq!(paths[2], "/lib/glibc-hwcaps/x86-64-v3/libz.so.1");
    }

    #[test]
    fn reads_the_old_format_and_the_new_behind_it() {
        let old = [LINES[3]];
        assert_eq!(lookup(&old_format(&old), "libz.so.1", I386), ["/lib/i386-linux-gnu/libz.so.1"]);
        // In a file with both formats, the old strings follow the new table.
        let mut both = OLD_MAGIC.to_vec();
        both.push(0);
        both.extend(1u32.to_le_bytes());
        both.extend([0; OLD_ENTRY]);
        both.resize(both.len().next_multiple_of(8), 0);
        both.extend(new_format(&LINES, ByteOrder::Little, 2));
        assert_eq!(lookup(&both, "libz.so.1", X86_64).len(), 3);
    }

    #[test]
    fn an_invalid_cache_is_empty() {
        let mut cut = new_format(&LINES, ByteOrder::Little, 2);
        cut.truncate(NEW_HEADER + 10);
        let mut wrong = new_format(&LINES, ByteOrder::Little, 2);
        wrong[NEW_HEADER + 4..NEW_HEADER + 8].fill(0xff);
        assert_eq!(lookup(&cut, "libz.so.1", X86_64).len(), 0);
        assert_eq!(lookup(&wrong, "libz.so.1", X86_64).len(), 2, "one entry is lost, not all");
        assert_eq!(lookup(b"", "libz.so.1", X86_64).len(), 0);
    }

    proptest! {
        #[test]
        fn never_panics(changes in prop::collection::vec((0usize..400, any::<u8>()), 0..20), cut in 0usize..400) {
            for mut bytes in [new_format(&LINES, ByteOrder::Little, 2), old_format(&LINES)] {
                for (at, value) in &changes {
                    if let Some(byte) = bytes.get_mut(*at) {
                        *byte = *value;
                    }
                }
                bytes.truncate(cut);
                LibraryCache::parse(&bytes);
            }
        }
    }
}
