//! File format of a cached [`LayerIndex`]: a line with format name and version, the digest of the
//! rest, and the rest in [postcard](https://postcard.jamesmunns.com/).
//!
//! Most of a layer index is names, and consecutive names share a prefix: a name is stored as the
//! length of the shared prefix and the remainder.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layer_index::LayerIndex;
use crate::digest::Digest;
use crate::elf::Description;
use crate::layer::{LayerDigests, Member, MemberKind};
use crate::tree::ImagePath;

/// The first line of a file. Raise the number with every change to the format, to the `elf` types
/// in it, or to the retained content.
const MAGIC: &[u8] = b"ipo-oci layer view 2\n";
/// Maximum length of a member's name in bytes: the kernel's paths end at 4096.
const MAX_NAME_BYTES: usize = 1 << 20;
/// Maximum bytes of all names in one layer: names with long shared prefixes take little space in
/// the file and much in memory.
const MAX_TOTAL_NAME_BYTES: usize = 1 << 30;

/// An invalid layer index file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid layer index: {0}")]
pub struct IndexFormatError(&'static str);

/// Layers with such a digest are rare; they are read each time.
const OTHER_ALGORITHM: IndexFormatError = IndexFormatError("the digest is not SHA-256");

#[derive(Serialize, Deserialize)]
struct EncodedIndex {
    digest: [u8; 32],
    size: u64,
    diff_id: [u8; 32],
    archive_size: u64,
    members: Vec<EncodedMember>,
    texts: BTreeMap<u32, Vec<u8>>,
    descriptions: BTreeMap<u32, Description>,
}

#[derive(Serialize, Deserialize)]
struct EncodedMember {
    shared: u32,
    rest: String,
    kind: EncodedMemberKind,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: i64,
    size: u64,
}

#[derive(Serialize, Deserialize)]
enum EncodedMemberKind {
    Directory,
    File,
    Symlink(String),
    HardLink(String),
    Device,
    Whiteout,
    Opaque,
}

/// Encodes a layer index.
pub(super) fn encode(index: &LayerIndex) -> Result<Vec<u8>, IndexFormatError> {
    let mut before = "";
    let rows = index.members.iter().map(|member| {
        let path = member.path.as_str();
        let (shared, rest) = split(before, path);
        before = path;
        EncodedMember {
            shared,
            rest,
            kind: match &member.kind {
                MemberKind::Directory => EncodedMemberKind::Directory,
                MemberKind::File => EncodedMemberKind::File,
                MemberKind::Symlink(target) => EncodedMemberKind::Symlink(target.clone()),
                MemberKind::HardLink(target) => EncodedMemberKind::HardLink(target.as_str().to_owned()),
                MemberKind::Device => EncodedMemberKind::Device,
                MemberKind::Whiteout => EncodedMemberKind::Whiteout,
                MemberKind::Opaque => EncodedMemberKind::Opaque,
            },
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            size: member.size,
        }
    });
    let LayerDigests { digest, size, diff_id, archive_size } = index.summary;
    let encoded = EncodedIndex {
        digest: digest.sha256().ok_or(OTHER_ALGORITHM)?,
        size,
        diff_id: diff_id.sha256().ok_or(OTHER_ALGORITHM)?,
        archive_size,
        members: rows.collect(),
        texts: index.texts.clone(),
        descriptions: index.descriptions.clone(),
    };
    let body = postcard::to_stdvec(&encoded).map_err(|_| IndexFormatError("cannot encode"))?;
    Ok([MAGIC, Digest::of(&body).as_bytes(), &body].concat())
}

/// Decodes a layer index. Fails on invalid bytes, and bounds memory by a multiple of their number.
pub(super) fn decode(bytes: &[u8]) -> Result<LayerIndex, IndexFormatError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(IndexFormatError("unknown format"))?;
    let (digest, body) = rest.split_first_chunk::<32>().ok_or(IndexFormatError("truncated"))?;
    if Digest::of(body).as_bytes() != digest {
        return Err(IndexFormatError("wrong digest"));
    }
    decode_body(body)
}

/// Decodes a layer index without its first line and digest, and drops it: the entry point of a fuzz
/// target.
pub fn check_layer_index(body: &[u8]) -> Result<(), IndexFormatError> {
    decode_body(body).map(drop)
}

fn decode_body(body: &[u8]) -> Result<LayerIndex, IndexFormatError> {
    let encoded: EncodedIndex =
        postcard::from_bytes(body).map_err(|_| IndexFormatError("malformed content"))?;
    let mut members: Vec<Member> = Vec::with_capacity(encoded.members.len());
    let mut names = 0;
    for row in encoded.members {
        let before = members.last().map_or("", |member| member.path.as_str());
        let shared = usize::try_from(row.shared).ok().and_then(|shared| before.get(..shared));
        let path = format!("{}{}", shared.ok_or(IndexFormatError("a shared prefix is too long"))?, row.rest);
        names += path.len();
        if path.len() > MAX_NAME_BYTES || names > MAX_TOTAL_NAME_BYTES {
            return Err(IndexFormatError("the names are too long"));
        }
        let image_path =
            |text: &str| ImagePath::new(text).map_err(|_| IndexFormatError("a name leads out of the image"));
        members.push(Member {
            path: image_path(&path)?,
            kind: match row.kind {
                EncodedMemberKind::Directory => MemberKind::Directory,
                EncodedMemberKind::File => MemberKind::File,
                EncodedMemberKind::Symlink(target) => MemberKind::Symlink(target),
                EncodedMemberKind::HardLink(target) => MemberKind::HardLink(image_path(&target)?),
                EncodedMemberKind::Device => MemberKind::Device,
                EncodedMemberKind::Whiteout => MemberKind::Whiteout,
                EncodedMemberKind::Opaque => MemberKind::Opaque,
            },
            mode: row.mode,
            uid: row.uid,
            gid: row.gid,
            mtime: row.mtime,
            size: row.size,
        });
    }
    Ok(LayerIndex {
        summary: LayerDigests {
            digest: Digest::from_bytes(encoded.digest),
            size: encoded.size,
            diff_id: Digest::from_bytes(encoded.diff_id),
            archive_size: encoded.archive_size,
        },
        members,
        texts: encoded.texts,
        descriptions: encoded.descriptions,
    })
}

/// Splits `name` into the number of bytes shared with the start of `before`, and the remainder.
fn split(before: &str, name: &str) -> (u32, String) {
    let mut shared = before.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    while !name.is_char_boundary(shared) || !before.is_char_boundary(shared) {
        shared -= 1;
    }
    (u32::try_from(shared).unwrap_or(0), name.get(shared..).unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Tar;
    use crate::elf;
    use proptest::prelude::*;

    fn index() -> LayerIndex {
        let tar = Tar::default()
            .dir("usr/lib/é", 0o755)
            .file("usr/lib/è", "x")
            .file("etc/passwd", "root")
            .link("usr/lib/l", "é")
            .hard("usr/b", "etc/passwd")
            .member(tar::EntryType::Char, "dev/null", "", 0o666, b"")
            .file("usr/.wh.gone", "")
            .file("usr/.wh..wh..opq", "");
        let mut index = LayerIndex::of(&[&*tar.0, &[0; 1024]].concat()[..]).unwrap();
        let machine =
            elf::Machine { class: elf::Class::Elf64, order: elf::ByteOrder::Little, number: 62, flags: 0 };
        let elf = elf::Elf {
            machine,
            kind: elf::ElfKind::Shared,
            interpreter: None,
            soname: Some("libx.so.1".to_owned()),
            needed: vec!["libc.so.6".to_owned()],
            rpath: vec![],
            runpath: vec!["$ORIGIN".to_owned()],
            skips_defaults: false,
            position_independent_executable: false,
        };
        let need =
            elf::VersionNeed { soname: "libc.so.6".to_owned(), versions: vec!["GLIBC_2.34".to_owned()] };
        let versions = elf::Versions { needs: vec![need], defines: vec!["X_1".to_owned()] };
        index.descriptions.insert(1, Description { elf, versions });
        index
    }

    #[test]
    fn an_index_round_trips() {
        let index = index();
        assert_eq!(decode(&encode(&index).unwrap()).unwrap(), index);
    }

    /// On failure: the format changed, so raise the number in `MAGIC`.
    #[test]
    fn the_format_matches_its_version() {
        let digest = Digest::of(&encode(&index()).unwrap());
        assert_eq!(
            (MAGIC, digest.hex().as_str()),
            (
                &b"ipo-oci layer view 2\n"[..],
                "6c773c575504921e7cb0825139d4051a3820ef65791bdeb47da1c2a2b36f661a"
            )
        );
    }

    proptest! {
        #[test]
        fn invalid_bytes_never_panic(changes in proptest::collection::vec((0usize..700, any::<u8>()), 1..20), cut in 0usize..700) {
            let bytes = encode(&index()).unwrap();
            let mut body = bytes[MAGIC.len() + 32..].to_vec();
            for (at, value) in changes {
                if let Some(byte) = body.get_mut(at) {
                    *byte = value;
                }
            }
            body.truncate(cut);
            let _ = check_layer_index(&body);
        }
    }
}
