//! The cache's small files: [postcard](https://postcard.jamesmunns.com/), sealed under the name of the file.
//!
//! A record answers for its key: the file of another key that took its place is as good as none.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sealed;

/// The largest file that is read. What is known of a million files has some 80 MB.
const LARGEST: u64 = 1 << 30;

/// Returns the bytes of `value` in the form `magic`, for the file `path`.
fn encode<T: Serialize>(magic: &str, path: &Path, value: &T) -> Option<Vec<u8>> {
    Some(around(magic, path, &postcard::to_stdvec(value).ok()?))
}

/// Returns the file `path` of this form with this body.
pub(super) fn around(magic: &str, path: &Path, body: &[u8]) -> Vec<u8> {
    sealed::seal(magic, name(path), body)
}

/// Returns the value in `bytes`, the file `path`; nothing where they are damaged, of another form or of another file.
pub(super) fn decode<T: DeserializeOwned>(magic: &str, path: &Path, bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(sealed::open(magic, name(path), bytes)?).ok()
}

/// Reads a file; nothing where there is none that is right.
pub(super) fn load<T: DeserializeOwned>(magic: &str, path: &Path) -> Option<T> {
    decode(magic, path, &read(path)?)
}

/// The same of the first part of what is in the file.
pub(super) fn load_first<T: DeserializeOwned>(magic: &str, path: &Path) -> Option<T> {
    let bytes = read(path)?;
    postcard::take_from_bytes(sealed::open(magic, name(path), &bytes)?).ok().map(|(first, _)| first)
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

/// Writes a file in one step. It is not synced: what a crash makes of it is not right, and so is nothing.
pub(super) fn save<T: Serialize>(magic: &str, path: &Path, value: &T) -> std::io::Result<()> {
    let bytes = encode(magic, path, value).ok_or_else(|| std::io::Error::other("it has no such form"))?;
    let folder = path.parent().unwrap_or(path);
    let new = || tempfile::Builder::new().prefix(super::folder::DRAFT).tempfile_in(folder);
    let mut file = match new() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs_err::create_dir_all(folder)?;
            new()?
        }
        other => other?,
    };
    file.write_all(&bytes)?;
    sealed::persist(file, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_saved_is_loaded_and_another_form_is_not() {
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
        fn a_damaged_file_is_nothing(at in 0_usize..60, bits in 1_u8.., cut in 0_usize..60) {
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
