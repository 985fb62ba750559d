//! [`LibraryCache`]: `ld.so.cache`, the loader's index of libraries by name.
//!
//! Follows glibc's `sysdeps/generic/dl-cache.h`: the format `glibc-ld.so.cache1.1`, the older
//! `ld.so-1.7.0`, and the newer one standing behind the older in one file. A cache that makes no
//! sense is no cache, as for the loader.

use std::collections::HashMap;

use super::machine::Machine;

/// The largest cache that is read, in bytes. Real ones have tens of kilobytes.
pub(super) const LIMIT: u64 = 16 << 20;
/// The most bytes of names and paths that are kept. Entries may share strings, so a small file can
/// describe far more than it holds.
const TEXT_LIMIT: usize = 64 << 20;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;

/// Libraries by name.
#[derive(Debug, Default)]
pub(super) struct LibraryCache(HashMap<String, Vec<Cached>>);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cached {
    flags: u32,
    /// Not zero for a build that only some processors of the machine can run.
    capabilities: u64,
    path: String,
}

impl LibraryCache {
    /// Reads a cache; empty where it is not valid.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self::parse_new(bytes).or_else(|| Self::parse_old(bytes)).unwrap_or_default()
    }

    /// The paths that it has for `name` on `machine`, the best first: builds for every processor of
    /// the architecture before builds for some, because an image is made on one and runs on another.
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
        // Byte 28 says the order: 2 is little, 3 is big, 0 is a cache older than the byte.
        let orders: &[Order] = match bytes.get(28)? & 3 {
            2 => &[Order::Little],
            3 => &[Order::Big],
            _ => &[Order::Little, Order::Big],
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
        [Order::Little, Order::Big].into_iter().find_map(|order| {
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
enum Order {
    Little,
    Big,
}

impl Order {
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

/// The entries of a table that lies in `bytes` as a whole.
fn table(bytes: &[u8], start: usize, size: usize, count: u32) -> Option<impl Iterator<Item = &[u8]>> {
    let len = usize::try_from(count).ok()?.checked_mul(size)?;
    Some(bytes.get(start..)?.get(..len)?.chunks_exact(size))
}

/// The string at an offset. One that is longer than a path can be is none: entries that all point
/// into one long string would multiply it.
fn text(bytes: &[u8], at: u32) -> Option<&str> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let rest = rest.get(..4096).unwrap_or(rest);
    let end = memchr::memchr(0, rest)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}
