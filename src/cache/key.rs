//! Keys of a layer: digests of all inputs to its bytes.

use super::FileDigest;
use crate::digest::Digest;
use crate::layer::Compression;
use crate::tree::{KeyHasher, Kind, Tree};

/// Digests a layer's metadata without reading files. `scanner` names the strings searched for in
/// the files, since the findings are cached under this key too.
pub fn quick_key(tree: &Tree, compression: Compression, scanner: &str) -> Digest {
    let mut fields =
        KeyHasher::new("layer, by the states of its files").text(&compression.identity()).text(scanner);
    for entry in tree.iter() {
        entry.identify(&mut fields);
        if let Kind::File(content) = &entry.kind {
            content.identify(&mut fields);
        }
    }
    fields.finish()
}

/// Digests a layer by its files' bytes, independent of their location. `known` covers the regular
/// files, in order; `None` if the counts differ.
pub fn content_key(tree: &Tree, compression: Compression, known: &[FileDigest]) -> Option<Digest> {
    let mut fields = KeyHasher::new("layer, by the bytes of its files, 2").text(&compression.identity());
    let mut known = known.iter();
    for entry in tree.iter() {
        entry.identify(&mut fields);
        if matches!(entry.kind, Kind::File(_)) {
            let known = known.next()?;
            fields.add(known.fingerprint.as_bytes());
            fields.add(&known.size.to_le_bytes());
        }
    }
    known.next().is_none().then(|| fields.finish())
}

/// Digests the names in a layer, whatever the files hold.
pub fn hint(tree: &Tree, compression: Compression) -> Digest {
    let mut fields = KeyHasher::new("layer, by its names").text(&compression.identity());
    for entry in tree.iter() {
        fields.add(entry.path.as_str().as_bytes());
    }
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Fingerprint;
    use crate::tree::{Content, Entry, HostFile, ImagePath, Owner, Time};

    const GZIP: Compression = Compression::Gzip(3);

    fn tree(file: &std::path::Path) -> Tree {
        let path = |text: &str| ImagePath::new(text).unwrap();
        let mut tree = Tree::new();
        let content = Content::Host(HostFile::new(file).unwrap());
        tree.insert(Entry::file(path("a/b"), content, Owner::Source)).unwrap();
        tree.insert(Entry::symlink(path("a/c"), "b", Owner::Source)).unwrap();
        tree
    }

    fn known(text: &str) -> FileDigest {
        FileDigest { fingerprint: Fingerprint::of(text.as_bytes()), size: text.len() as u64, found: None }
    }

    #[test]
    fn the_same_bytes_elsewhere_have_the_same_content_key_and_another_quick_key() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        fs_err::write(&one, "x").unwrap();
        fs_err::write(&two, "x").unwrap();
        let (one, two) = (tree(&one), tree(&two));
        assert_ne!(quick_key(&one, GZIP, ""), quick_key(&two, GZIP, ""));
        let key = |tree, text| content_key(tree, GZIP, &[known(text)]).unwrap();
        assert_eq!(key(&one, "x"), key(&two, "x"));
        assert_ne!(key(&one, "x"), key(&one, "y"));
        assert_eq!(hint(&one, GZIP), hint(&two, GZIP));
    }

    #[test]
    fn compressor_scanner_and_metadata_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("1");
        fs_err::write(&file, "x").unwrap();
        let tree = tree(&file);
        let key = quick_key(&tree, GZIP, "");
        assert_ne!(key, quick_key(&tree, Compression::Gzip(4), ""));
        assert_ne!(key, quick_key(&tree, Compression::None, ""));
        assert_ne!(key, quick_key(&tree, GZIP, "/home/me"));
        let mut later = Tree::new();
        for entry in tree.iter() {
            later.insert(entry.clone().with_time(Time::At(7))).unwrap();
        }
        assert_ne!(key, quick_key(&later, GZIP, ""));
        let content = |tree| content_key(tree, GZIP, &[known("x")]);
        assert_ne!(content(&tree), content(&later));
        assert_eq!(content_key(&tree, GZIP, &[]), None);
        assert_eq!(content_key(&tree, GZIP, &[known("x"), known("x")]), None);
    }
}
