//! The bytes of blobs: they change only in a release that announces it.
//!
//! The digests depend on the compressor's version and back end, the tar format and the order of
//! keys. After an intended change, the changelog says that every digest changes.

use std::collections::BTreeMap;
use std::num::NonZero;
use test_macros::test;

use ipo_oci::image::{Blob, Encoding, HistoryLine, Image, ImageConfig, Layer};
use ipo_oci::layer::{self, Compression, NoWatch, WrittenLayer};
use ipo_oci::tree::{CONSTANT_TIME, Entry, ImagePath, Owner, Time, Tree};

/// The uncompressed archive, equal for every compression.
const TAR: &str = "sha256:2dbf06a13bf4f8a80a86d0f1d3c8ecb7e2d030d386a19b31a986055e6106e097";

/// Returns three megabytes that compress like text and machine code, with names of every length.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut add = |entry| tree.insert(entry).expect("no conflict");
    let path = |text: &str| ImagePath::new(text).expect("a path");
    let mut state = 1_u32;
    for file in 0..40 {
        let mut bytes = Vec::new();
        while bytes.len() < 77_777 {
            // Numerical Recipes' linear congruential generator.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let word = state >> 24;
            bytes.extend_from_slice(b"the quick brown fox jumps"[..(word % 25) as usize].as_ref());
            bytes.push(state.to_be_bytes()[1]);
        }
        let name = format!("app/{}/file-{file}", "directory/".repeat(file));
        add(Entry::file(path(&name), bytes.into(), Owner::Source).with_time(Time::FromContent));
    }
    add(Entry::file(path("app/été"), "".into(), Owner::Source));
    add(Entry::symlink(path("lib64"), "x".repeat(150), Owner::System));
    add(Entry::directory(path("tmp"), Owner::System).with_mode(0o1777));
    let mut large = Entry::executable(path("bin/x"), "x".into(), Owner::System);
    large.uid = 1_000_650_000;
    add(large);
    tree
}

fn written(compression: Compression, threads: usize) -> (WrittenLayer, Vec<u8>) {
    let mut bytes = Vec::new();
    let threads = NonZero::new(threads);
    let written = layer::write(&tree(), compression, threads, &mut bytes, &mut NoWatch).expect("a layer");
    (written, bytes)
}

#[test]
fn layers_have_fixed_bytes() {
    let compressions = [Compression::None, Compression::Gzip(1), Compression::Gzip(6), Compression::Gzip(9)];
    for threads in [1, 2, 8] {
        let written = compressions.map(|compression| written(compression, threads).0);
        let found = written.map(|written| (written.diff_id.to_string(), written.digest.to_string()));
        let expected = [
            TAR,
            "sha256:2277614ee79b750687205b3c6ca4dcfeeb598b5e5e583bebd5691a722807f3c3",
            "sha256:567f5002d8f3bc0053d25a4c2fd3fe86b263a15716701bf9631bb85748484513",
            "sha256:cfd17ce34f95f860102e110fbe84e5f5b35c16db3e7041e5450e42ee28ae00ef",
        ]
        .map(|digest| (TAR.to_owned(), digest.to_owned()));
        assert_eq!(found, expected, "{threads} threads");
    }
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_layers_have_fixed_bytes() {
    for threads in [1, 2, 8] {
        let written = [1, 3, 19].map(|level| written(Compression::Zstd(level), threads).0);
        assert!(written.iter().all(|written| written.diff_id.to_string() == TAR));
        assert_eq!(
            written.map(|written| written.digest.to_string()),
            [
                "sha256:40a514b2967508000b07898371f4595e3f6a6566f9926d249362707b24347696",
                "sha256:6fa374ee51827d9347d00630afdf2b6f621805442c272bc93b6e2ddc25caac29",
                "sha256:b92fea42b0b388e77616f6c315cbfbcbdda45e226bc81ebd32a4f1f71f7d85a4",
            ],
            "{threads} threads"
        );
    }
}

#[test]
fn manifests_have_fixed_bytes() {
    let (written, bytes) = written(Compression::Gzip(6), 2);
    let layer = Layer {
        digest: written.digest,
        size: written.size,
        diff_id: written.diff_id,
        encoding: Encoding::Gzip,
        blob: Blob::Memory(bytes.into()),
    };
    let map =
        |prefix: &str| (0..20).map(|i| (format!("{prefix}.{i}"), i.to_string())).collect::<BTreeMap<_, _>>();
    let mut config = ImageConfig::default();
    config.os = "linux".into();
    config.architecture = "amd64".into();
    config.created = CONSTANT_TIME;
    config.process.env = vec![("PATH".to_owned(), "/bin".to_owned())];
    config.process.labels = map("label");
    let line = HistoryLine { created_by: "golden".to_owned(), comment: "one".to_owned() };
    let image = Image::assemble(&config, vec![(layer, line)], &map("annotation")).expect("an image");
    assert_eq!(
        image.digest().to_string(),
        "sha256:f75343a60dd8d2ac41e7dfd5fdf242ca40a55c736e7254db5ff1602ab2db6765"
    );
}
