//! Sealed files: the format of a cache's small files.
//!
//! A line with the format and its version, a fingerprint that binds the body to the file's name,
//! then the body. A file that is damaged, truncated, extended, of another version or under another
//! name does not open; callers treat such a file as missing.

use std::io;
use std::path::Path;

use crate::digest::{Fingerprint, Fingerprinter};

/// Bytes of a fingerprint.
const LENGTH: usize = 32;

/// Returns a sealed file with `body`, bound to `name`. `format` ends in a line feed.
pub(crate) fn seal(format: &str, name: &[u8], body: &[u8]) -> Vec<u8> {
    [format.as_bytes(), fingerprint(name, body).as_bytes(), body].concat()
}

/// Returns the body of a file sealed as `format` under `name`; `None` after any change.
pub(crate) fn open<'a>(format: &str, name: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (stored, body) = bytes.strip_prefix(format.as_bytes())?.split_first_chunk::<LENGTH>()?;
    (fingerprint(name, body).as_bytes() == stored).then_some(body)
}

/// Removes the file or directory at `path`. A link's target stays.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        let _ = std::fs::remove_dir_all(path);
    }
}

fn fingerprint(name: &[u8], body: &[u8]) -> Fingerprint {
    let mut fingerprinter = Fingerprinter::default();
    fingerprinter.update(&(name.len() as u64).to_le_bytes());
    fingerprinter.update(name);
    fingerprinter.update(body);
    fingerprinter.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "form 1\n";

    #[test]
    fn any_change_is_detected() {
        let sealed = seal(FORMAT, b"name", b"body");
        assert_eq!(open(FORMAT, b"name", &sealed), Some(&b"body"[..]));
        for (format, name) in [("form 2\n", "name"), (FORMAT, "nam"), (FORMAT, "nameb")] {
            assert_eq!(open(format, name.as_bytes(), &sealed), None, "{format}{name}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(FORMAT, b"name", &flipped), None, "{bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(FORMAT, b"name", &sealed[..length]), None, "{length}");
        }
        assert_eq!(open(FORMAT, b"name", &[&sealed[..], b"\0"].concat()), None);
    }
}
