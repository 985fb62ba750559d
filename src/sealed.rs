//! Sealed files: the format of a cache's small files.
//!
//! A line with the format and its version, a fingerprint that binds the body to the file's name,
//! then the body. A file that is damaged, truncated, extended, of another version or under another
//! name does not open; callers treat such a file as missing.

use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::digest::{Fingerprint, Fingerprinter};

/// Bytes of a fingerprint.
const LENGTH: usize = 32;

/// Returns a sealed file with `body`, bound to `name`. `form` ends in a line feed.
pub(crate) fn seal(form: &str, name: &[u8], body: &[u8]) -> Vec<u8> {
    [form.as_bytes(), fingerprint(name, body).as_bytes(), body].concat()
}

/// Returns the body of a file sealed as `form` under `name`; `None` after any change.
pub(crate) fn open<'a>(form: &str, name: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (kept, body) = bytes.strip_prefix(form.as_bytes())?.split_first_chunk::<LENGTH>()?;
    (fingerprint(name, body).as_bytes() == kept).then_some(body)
}

/// Renames a finished file to `path`. A directory in the way is removed, as anything in a cache may
/// be.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    let Err(failed) = file.persist(path) else { return Ok(()) };
    if !matches!(failed.error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists) {
        return Err(failed.error);
    }
    std::fs::remove_dir_all(path)?;
    failed.file.persist(path).map(drop).map_err(|failed| failed.error)
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

    const FORM: &str = "form 1\n";

    #[test]
    fn any_change_of_a_bit_a_length_or_a_name_shows() {
        let sealed = seal(FORM, b"name", b"body");
        assert_eq!(open(FORM, b"name", &sealed), Some(&b"body"[..]));
        for (form, name) in [("form 2\n", "name"), (FORM, "nam"), (FORM, "nameb")] {
            assert_eq!(open(form, name.as_bytes(), &sealed), None, "{form}{name}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(FORM, b"name", &flipped), None, "{bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(FORM, b"name", &sealed[..length]), None, "{length}");
        }
        assert_eq!(open(FORM, b"name", &[&sealed[..], b"\0"].concat()), None);
    }

    #[test]
    fn a_file_takes_the_place_of_whatever_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let put = || {
            let mut file = NamedTempFile::new_in(folder.path()).unwrap();
            io::Write::write_all(&mut file, b"new").unwrap();
            persist(file, &path).unwrap();
            assert_eq!(fs_err::read(&path).unwrap(), b"new");
            assert!(fs_err::symlink_metadata(&path).unwrap().is_file());
            remove(&path);
            assert!(fs_err::symlink_metadata(&path).is_err());
        };
        put();
        fs_err::create_dir_all(path.join("below")).unwrap();
        put();
        std::os::unix::fs::symlink(folder.path(), &path).unwrap();
        put();
        assert!(folder.path().exists());
    }
}
