//! The form of the cache's small files: a line that names form and version, the digest of the rest, and the rest, which is
//! [postcard](https://postcard.jamesmunns.com/).

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;

/// The largest file that is read. What is known of a million files has some 80 MB.
const LARGEST: u64 = 1 << 30;

/// The bytes of `value` in the form `magic`.
fn encode<T: Serialize>(magic: &str, value: &T) -> Option<Vec<u8>> {
    Some(around(magic, &postcard::to_stdvec(value).ok()?))
}

/// A file of this form with this body.
pub(super) fn around(magic: &str, body: &[u8]) -> Vec<u8> {
    [magic.as_bytes(), Digest::of(body).as_bytes(), body].concat()
}

/// The value in `bytes`; nothing where they are damaged or of another form.
pub(super) fn decode<T: DeserializeOwned>(magic: &str, bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(body(magic, bytes)?).ok()
}

/// What stands behind magic and digest, if they are right.
fn body<'a>(magic: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (digest, body) = bytes.strip_prefix(magic.as_bytes())?.split_first_chunk::<32>()?;
    (Digest::of(body).as_bytes() == digest).then_some(body)
}

/// Reads a file; nothing where there is none that is right.
pub(super) fn load<T: DeserializeOwned>(magic: &str, path: &Path) -> Option<T> {
    decode(magic, &read(path)?)
}

/// The same of the first part of what is in the file.
pub(super) fn load_first<T: DeserializeOwned>(magic: &str, path: &Path) -> Option<T> {
    let bytes = read(path)?;
    postcard::take_from_bytes(body(magic, &bytes)?).ok().map(|(first, _)| first)
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
    let bytes = encode(magic, value).ok_or_else(|| std::io::Error::other("it has no such form"))?;
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
    file.persist(path)?;
    Ok(())
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
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_nothing(at in 0_usize..60, bits in 1_u8.., cut in 0_usize..60) {
            let whole = encode("form 1\n", &vec!["one".to_owned(), "two and more".to_owned()]).unwrap();
            let mut damaged = whole.clone();
            let at = at % damaged.len();
            damaged[at] ^= bits;
            prop_assert_eq!(decode::<Vec<String>>("form 1\n", &damaged), None);
            prop_assert_eq!(decode::<Vec<String>>("form 1\n", &whole[..cut % whole.len()]), None);
        }
    }
}
