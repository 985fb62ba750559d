use std::io::Write;
use std::num::NonZero;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;
use crate::layer::{self, Compression, NoWatch};
use crate::tree::{CONSTANT_TIME, Entry, Kind, Owner, Tree};

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

/// Makes one record with a valid checksum, as a hostile writer would.
fn record(kind: u8, name: &[u8], size: u64) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn with_body(mut record: Vec<u8>, body: &[u8]) -> Vec<u8> {
    record.extend_from_slice(body);
    record.resize(record.len().next_multiple_of(512), 0);
    record
}

fn pax(body: &[u8]) -> Vec<u8> {
    with_body(record(b'x', b"PAX", body.len() as u64), body)
}

fn members(bytes: &[u8]) -> Result<Vec<Member>, ReadError> {
    let mut reader = LayerReader::new(bytes, Limits::default())?;
    let mut members = Vec::new();
    while let Some(member) = reader.next_member()? {
        members.push(member);
    }
    reader.finish()?;
    Ok(members)
}

fn written(tree: &Tree, compression: Compression) -> (Vec<u8>, layer::WrittenLayer) {
    let mut bytes = Vec::new();
    let threads = NonZero::new(2);
    let written = layer::write(tree, compression, threads, &mut bytes, &mut NoWatch).unwrap();
    (bytes, written)
}

#[cfg(feature = "zstd")]
const COMPRESSIONS: &[Compression] = &[Compression::None, Compression::Gzip(6), Compression::Zstd(3)];
#[cfg(not(feature = "zstd"))]
const COMPRESSIONS: &[Compression] = &[Compression::None, Compression::Gzip(6)];

fn sample() -> Tree {
    let mut tree = Tree::new();
    tree.insert(Entry::file(path("app/main.py"), "x = 1".into(), Owner::Source)).unwrap();
    tree.insert(Entry::symlink(path("lib64"), "lib", Owner::System)).unwrap();
    let mut link = Entry::file(path("app/same.py"), "".into(), Owner::Source);
    link.kind = Kind::HardLink(path("app/main.py"));
    tree.insert(link).unwrap();
    tree
}

#[test]
fn round_trips_layers_and_digests() {
    for compression in COMPRESSIONS {
        let (bytes, written) = written(&sample(), *compression);
        let mut reader = LayerReader::new(&bytes[..], Limits::default()).unwrap();
        let mut found = Vec::new();
        let mut text = String::new();
        while let Some(member) = reader.next_member().unwrap() {
            if member.path == path("app/main.py") {
                reader.read_to_string(&mut text).unwrap();
            }
            assert_eq!(member.mtime, CONSTANT_TIME);
            found.push((member.path.to_string(), member.kind, member.mode, member.size));
        }
        assert_eq!(
            found,
            [
                ("/app".to_owned(), MemberKind::Directory, 0o755, 0),
                ("/app/main.py".to_owned(), MemberKind::File, 0o644, 5),
                ("/app/same.py".to_owned(), MemberKind::HardLink(path("app/main.py")), 0o644, 0),
                ("/lib64".to_owned(), MemberKind::Symlink("lib".to_owned()), 0o777, 0),
            ]
        );
        assert_eq!(text, "x = 1");
        let summary = reader.finish().unwrap();
        assert_eq!((summary.digest, summary.size), (written.digest, written.size));
        assert_eq!((summary.diff_id, summary.archive_size), (written.diff_id, written.archive_size));
    }
}

#[test]
fn gzip_of_several_members_is_one_layer() {
    let (tar, written) = written(&sample(), Compression::None);
    let mut bytes = Vec::new();
    for part in tar.chunks(700) {
        let mut gzip = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
        gzip.write_all(part).unwrap();
        gzip.finish().unwrap();
    }
    let reader = LayerReader::new(&bytes[..], Limits::default()).unwrap();
    assert_eq!(reader.finish().unwrap().diff_id, written.diff_id);
}

#[test]
fn unsafe_names_are_refused() {
    for name in [&b"../a"[..], b"a/../../b", b"/../a", b"", b"a/.."] {
        let error = members(&record(b'0', name, 0)).unwrap_err();
        assert!(matches!(error, ReadError::Unsafe(_)), "{name:?}: {error}");
        let in_pax = format!("{} path={}\n", name.len() + 9, String::from_utf8_lossy(name));
        let in_pax = format!("{} path={}\n", in_pax.len(), String::from_utf8_lossy(name));
        if !name.is_empty() {
            let error = members(&[pax(in_pax.as_bytes()), record(b'0', b"good", 0)].concat()).unwrap_err();
            assert!(matches!(error, ReadError::Unsafe(_)), "{in_pax}: {error}");
        }
    }
    let mut link = record(b'1', b"a", 0);
    link[157..161].copy_from_slice(b"../b");
    let header = Header::from_byte_slice(&link).clone();
    let mut header = header;
    header.set_cksum();
    assert!(matches!(members(header.as_bytes()).unwrap_err(), ReadError::Unsafe(_)));
}

#[test]
fn absolute_names_lie_below_the_root() {
    for (name, path) in [(&b"/"[..], ""), (b"/etc/passwd", "etc/passwd"), (b"//a", "a")] {
        let members = members(&record(b'5', name, 0)).unwrap();
        assert_eq!(members[0].path.as_str(), path);
    }
}

#[test]
fn refuses_duplicate_paths_in_any_spelling() {
    for (first, second) in [(&b"a"[..], &b"a"[..]), (b"a", b"./a"), (b"a/b", b"a//b"), (b"a", b"a/")] {
        let error = members(&[record(b'0', first, 0), record(b'5', second, 0)].concat()).unwrap_err();
        assert!(matches!(error, ReadError::Twice(_)), "{error}");
    }
}

#[test]
fn lenient_readers_return_duplicates() {
    let bytes = [record(b'0', b"a", 0), record(b'5', b"a", 0)].concat();
    let reader = LayerReader::new(&bytes[..], Limits::default()).unwrap();
    let mut reader = reader.with_duplicates(Duplicates::Allow);
    let kinds = [MemberKind::File, MemberKind::Directory].map(Some);
    assert_eq!([(); 2].map(|()| reader.next_member().unwrap().map(|member| member.kind)), kinds);
}

#[test]
fn distinguishes_whiteouts_from_files() {
    let names: [&[u8]; 4] = [b"d", b"d/.wh..wh..opq", b"d/.wh.gone", b"d/gone"];
    let bytes: Vec<u8> =
        names.iter().flat_map(|name| record(if *name == b"d" { b'5' } else { b'0' }, name, 0)).collect();
    let found: Vec<_> = members(&bytes).unwrap().into_iter().map(|m| (m.path.to_string(), m.kind)).collect();
    let expected = [
        ("/d", MemberKind::Directory),
        ("/d", MemberKind::Opaque),
        ("/d/gone", MemberKind::Whiteout),
        ("/d/gone", MemberKind::File),
    ];
    assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
}

#[test]
fn explains_invalid_archives() {
    let mut bad_sum = record(b'0', b"a", 0);
    bad_sum[0] = b'b';
    let mut bad_size = record(b'0', b"a", 0);
    bad_size[124..128].copy_from_slice(b"zzzz");
    let mut bad_size = Header::from_byte_slice(&bad_size).clone();
    bad_size.set_cksum();
    let file = || record(b'0', b"a", 0);
    for (bytes, reason) in [
        (bad_sum, "checksum"),
        (bad_size.as_bytes().to_vec(), "size is not a number"),
        (record(b'0', b"a\xff", 0), "not UTF-8"),
        (record(b'S', b"a", 0), "sparse"),
        (record(b'?', b"a", 0), "unknown type"),
        (file()[..100].to_vec(), "ends within"),
        (record(b'0', b"a", 9000), "ends within"),
        (record(b'0', b"a", u64::MAX >> 2), "ends within"),
        (with_body(record(b'0', b"a", 3), b"")[..512].to_vec(), "ends within"),
        ([record(b'0', b"a", 3), b"abc".to_vec()].concat(), "ends within"),
        (pax(b"10 path=a\n"), "ends after"),
        ([pax(b"10 path=a\n"), vec![0; 1024]].concat(), "without a member"),
        ([pax(b"10 path=a\n"), record(b'g', b"g", 0), file()].concat(), "global header"),
        ([pax(b"99 path=a\n"), file()].concat(), "records"),
        ([pax(b"+9 path=a\n"), file()].concat(), "records"),
        ([pax(b"99999999999999999999999 path=a\n"), file()].concat(), "records"),
        ([pax(b"0 a=b\n"), file()].concat(), "records"),
        ([pax(b"7 patha\n"), file()].concat(), "records"),
        ([pax(b"11 size=-1\n"), file()].concat(), "number"),
        ([pax(b"21 GNU.sparse.map=1\n"), file()].concat(), "records"),
        ([pax(b"20 GNU.sparse.map=1\n"), file()].concat(), "sparse"),
    ] {
        let error = members(&bytes).unwrap_err();
        assert!(error.to_string().contains(reason), "{error} / {reason}");
    }
}

#[test]
fn limits_hold() {
    let huge = record(b'x', b"PAX", 1 << 40);
    let error = members(&huge).unwrap_err();
    assert!(matches!(error, ReadError::Limit { limit: 1_048_576, .. }), "{error}");
    let limits = Limits { members: 1, ..Limits::default() };
    let two = [record(b'0', b"a", 0), record(b'0', b"b", 0)].concat();
    let error = LayerReader::new(&two[..], limits).unwrap().finish().unwrap_err();
    assert!(matches!(error, ReadError::Limit { limit: 1, .. }), "{error}");
    // A few kilobytes of gzip expand to many megabytes of archive.
    let limits = Limits { archive_bytes: 1 << 20, ..Limits::default() };
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&record(b'0', b"a", 64 << 20)).unwrap();
    for _ in 0..64 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let error = LayerReader::new(&bomb.finish().unwrap()[..], limits).unwrap().finish().unwrap_err();
    assert!(error.to_string().contains("larger than 1048576"), "{error}");
}

#[test]
fn other_compression_is_named() {
    for (magic, name) in [(&b"BZh91"[..], "bzip2"), (b"\xfd7zXZ\0", "xz")] {
        let error = LayerReader::new(magic, Limits::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[cfg(not(feature = "zstd"))]
#[test]
fn names_zstd_without_the_feature() {
    let error = LayerReader::new(&b"\x28\xb5\x2f\xfd...."[..], Limits::default()).unwrap_err();
    assert!(error.to_string().contains("zstd"), "{error}");
    let error =
        layer::write(&sample(), Compression::Zstd(3), None, &mut Vec::new(), &mut NoWatch).unwrap_err();
    assert!(error.to_string().contains("zstd"), "{error}");
}

#[cfg(feature = "zstd")]
#[test]
fn a_damaged_zstd_stream_is_an_error() {
    let (good, _) = written(&sample(), Compression::Zstd(3));
    for at in [0, 4, good.len() / 2] {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        assert!(members(&bytes).is_err(), "{at}");
    }
    assert!(members(&good[..good.len() - 5]).is_err());
    assert!(members(&[&good[..], b"rest"].concat()).is_err());
}

#[test]
fn a_damaged_gzip_stream_is_an_error() {
    let (good, _) = written(&sample(), Compression::Gzip(6));
    for at in [12, good.len() / 2, good.len() - 6] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        assert!(members(&bytes).is_err(), "{at}");
        assert!(members(&good[..at]).is_err(), "{at}");
    }
}

#[test]
fn extended_attributes_may_hold_any_bytes() {
    let attribute = pax(b"29 SCHILY.xattr.user.a=\xff\x00\n\xfe\x01\n");
    assert_eq!(members(&[attribute, record(b'0', b"a", 0)].concat()).unwrap().len(), 1);
}

#[test]
fn names_of_gnu_tar_and_global_headers_are_read() {
    let long = "d/".repeat(90) + "file";
    let name =
        with_body(record(b'L', b"././@LongLink", long.len() as u64 + 1), format!("{long}\0").as_bytes());
    let global = with_body(record(b'g', b"PAX", 12), b"12 uid=1000\n");
    let found = members(&[global, name, record(b'0', b"d/d", 0), record(b'0', b"b", 0)].concat()).unwrap();
    assert_eq!(found.iter().map(|m| m.path.as_str()).collect::<Vec<_>>(), [&*long, "b"]);
    assert!(found.iter().all(|member| member.uid == 1000));
}

proptest! {
    #[test]
    fn round_trips_any_tree(
        names in proptest::collection::btree_set(proptest::collection::vec("[a-zé\n =.]{1,90}", 1..6), 1..8),
        link in "[a-zé\n/.]{1,300}",
        uid in any::<u32>(),
        time in 0..i64::MAX / 2,
        mode in 0u32..0o10000,
        text in "[a-z]{0,1200}",
    ) {
        let mut tree = Tree::new();
        for name in &names {
            let Ok(path) = ImagePath::new(&name.join("/")) else { continue };
            if path.is_root() {
                continue;
            }
            let mut entry = Entry::file(path, text.as_str().into(), Owner::Source).with_mode(mode);
            entry.uid = uid;
            entry.time = crate::tree::Time::At(time);
            // A name may be the directory of another, which the tree refuses.
            let _ = tree.insert(entry);
        }
        tree.insert(Entry::symlink(path("zz/link"), link.clone(), Owner::Source)).unwrap();
        let (bytes, _) = written(&tree, Compression::Gzip(1));
        let found = members(&bytes).unwrap();
        prop_assert_eq!(found.len(), tree.len());
        for (member, entry) in found.iter().zip(tree.iter()) {
            prop_assert_eq!(&member.path, &entry.path);
            prop_assert_eq!((member.mode, member.uid), (entry.mode, u64::from(entry.uid)));
            let crate::tree::Time::At(time) = entry.time else { unreachable!() };
            prop_assert_eq!(member.mtime, time);
            match &entry.kind {
                Kind::File(_) => prop_assert_eq!(member.size, text.len() as u64),
                Kind::Symlink(target) => prop_assert_eq!(&member.kind, &MemberKind::Symlink(target.clone())),
                _ => prop_assert_eq!(&member.kind, &MemberKind::Directory),
            }
        }
    }

    #[test]
    fn never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = members(&bytes);
    }

    #[test]
    fn never_panics_on_damage(at in 0usize..4000, with in any::<u8>()) {
        let (mut bytes, _) = written(&sample(), Compression::None);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
            if let Some(first) = bytes.get(at / 512 * 512..at / 512 * 512 + 512) {
                // With a valid checksum, the damaged fields are parsed.
                let mut header = Header::from_byte_slice(first).clone();
                header.set_cksum();
                bytes[at / 512 * 512..at / 512 * 512 + 512].copy_from_slice(header.as_bytes());
            }
        }
        let _ = members(&bytes);
    }
}
