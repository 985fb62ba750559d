//! The codec of the cache's small files: [postcard](https://postcard.jamesmunns.com/), sealed under
//! the name of the file.
//!
//! The seal covers the key: a file renamed to another key does not open.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{atomic_file, sealed};

/// The largest file that is read. A million files take some 80 MB.
const LARGEST: u64 = 1 << 30;

/// Returns the bytes of `value` in `format`, for the file `path`.
fn encode<T: Serialize>(format: &str, path: &Path, value: &T) -> Option<Vec<u8>> {
    Some(seal(format, path, &postcard::to_stdvec(value).ok()?))
}

/// Seals `body` in `format`, for the file `path`.
pub(super) fn seal(format: &str, path: &Path, body: &[u8]) -> Vec<u8> {
    sealed::seal(format, name(path), body)
}

/// Decodes the file `path`; `None` if damaged, of another format or of another file.
pub(super) fn decode<T: DeserializeOwned>(format: &str, path: &Path, bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(sealed::open(format, name(path), bytes)?).ok()
}

/// Reads a file; `None` if missing or invalid.
pub(super) fn load<T: DeserializeOwned>(format: &str, path: &Path) -> Option<T> {
    decode(format, path, &read(path)?)
}

/// Like [`load`], but decodes only the first field.
pub(super) fn load_first<T: DeserializeOwned>(format: &str, path: &Path) -> Option<T> {
    let bytes = read(path)?;
    postcard::take_from_bytes(sealed::open(format, name(path), &bytes)?).ok().map(|(first, _)| first)
}

fn name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let file = fs_err::symlink_metadata(path).ok()?;
    if !file.is_file() || file.len() > LARGEST {
        return None;
    }
    fs_err::read(path).ok()
}

/// Writes a file atomically, without a sync: after a crash, the seal exposes a damaged file.
pub(super) fn save<T: Serialize>(format: &str, path: &Path, value: &T) -> std::io::Result<()> {
    let bytes =
        encode(format, path, value).ok_or_else(|| std::io::Error::other("the value cannot be encoded"))?;
    atomic_file::replace(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_format_does_not_load() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        save("form 1\n", &path, &vec![1_u64, 300]).unwrap();
        assert_eq!(load::<Vec<u64>>("form 1\n", &path), Some(vec![1, 300]));
        assert_eq!(load::<Vec<u64>>("form 2\n", &path), None);
        assert_eq!(load::<Vec<u64>>("form 1\n", &folder.path().join("a")), None);
        let other = folder.path().join("a/c");
        fs_err::copy(&path, &other).unwrap();
        assert_eq!(load::<Vec<u64>>("form 1\n", &other), None);
    }

    proptest! {
        #[test]
        fn a_damaged_file_does_not_decode(at in 0_usize..60, bits in 1_u8.., cut in 0_usize..60) {
            let path = Path::new("file");
            let whole = encode("form 1\n", path, &vec!["one".to_owned(), "two and more".to_owned()]).unwrap();
            let mut damaged = whole.clone();
            let at = at % damaged.len();
            damaged[at] ^= bits;
            prop_assert_eq!(decode::<Vec<String>>("form 1\n", path, &damaged), None);
            prop_assert_eq!(decode::<Vec<String>>("form 1\n", path, &whole[..cut % whole.len()]), None);
        }
    }
}
