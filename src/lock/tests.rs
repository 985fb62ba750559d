use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::image::{
    Artifact, DOCKER_MANIFEST, Encoding, HistoryLine, IMAGE_INDEX, ImageConfig, Layer, Process,
};

const PYTHON: &str = "docker://docker.io/library/python:3.12";

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// An image that is unique in `label`.
fn image(on: &str, label: &str) -> Image {
    let on = platform(on);
    let layer = Layer {
        digest: Digest::of(b"blob"),
        size: 4,
        diff_id: Digest::of(b"tar"),
        encoding: Encoding::Gzip,
        blob: Blob::Memory(b"blob".to_vec().into()),
    };
    let config = ImageConfig {
        os: on.os,
        architecture: on.architecture,
        variant: on.variant,
        process: Process { labels: [("label".to_owned(), label.to_owned())].into(), ..Process::default() },
        ..ImageConfig::default()
    };
    let line = HistoryLine { created_by: "it's".to_owned(), comment: String::new() };
    Image::assemble(&config, vec![(layer, line)], &BTreeMap::new()).unwrap()
}

fn index(images: &[Image]) -> Artifact {
    let manifests: Vec<_> = images.iter().map(|image| image.artifact().unwrap()).collect();
    let entries: Vec<_> = manifests.iter().map(|manifest| manifest.descriptor.json.clone()).collect();
    let bytes = json!({ "mediaType": IMAGE_INDEX, "manifests": entries }).to_string().into_bytes();
    Artifact {
        descriptor: Descriptor::new(IMAGE_INDEX, Digest::of(&bytes), bytes.len() as u64),
        bytes: bytes.into(),
        blobs: Vec::new(),
        manifests,
    }
}

fn python(label: &str) -> Artifact {
    index(&[image("linux/amd64", label), image("linux/arm64", label)])
}

/// A resolver that returns `artifact` for every reference.
fn at(artifact: &Artifact) -> impl FnMut(&str) -> Result<ResolvedReference, ImageError> {
    move |reference| Ok(ResolvedReference { artifact: artifact.clone(), read_from: reference.to_owned() })
}

fn locked(lock: &mut Lock, artifact: &Artifact, platforms: &[&str]) -> Result<Vec<String>, LockError> {
    let platforms: Vec<_> = platforms.iter().map(|text| platform(text)).collect();
    let changes = update(lock, &[PYTHON.to_owned()], &platforms, &mut at(artifact))?;
    Ok(changes.iter().map(ToString::to_string).collect())
}

fn sample() -> Lock {
    let mut lock = Lock::default();
    locked(&mut lock, &python("a"), &["linux/arm64", "linux/amd64"]).unwrap();
    lock
}

fn parse(text: &str) -> Result<Lock, LockError> {
    Lock::parse(Path::new("ipo-oci.lock"), text)
}

#[test]
fn a_lock_round_trips() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    assert_eq!(Lock::read(&path).unwrap(), None);
    let lock = sample();
    lock.write(&path).unwrap();
    let again = Lock::read(&path).unwrap().unwrap();
    assert_eq!(again, lock);
    assert_eq!(again.to_toml(), lock.to_toml());
    let image = again.get(PYTHON).unwrap().image(&platform("linux/arm64")).unwrap();
    assert_eq!(image.image(|_| Blob::Memory(Vec::new().into())).unwrap().platform, platform("linux/arm64"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_moved_tag_is_reported_with_both_digests() {
    let mut lock = Lock::default();
    let (old, new) = (python("old"), python("new"));
    let both = &["linux/amd64", "linux/arm64"][..];
    assert_eq!(locked(&mut lock, &old, &both[..1]).unwrap(), [format!("{PYTHON} is {}", old.digest())]);
    assert!(locked(&mut lock, &old, &both[..1]).unwrap().is_empty());
    assert_eq!(
        locked(&mut lock, &old, both).unwrap(),
        [format!("{PYTHON} is still {}, now for linux/amd64, linux/arm64", old.digest())]
    );
    assert_eq!(lock.moved(PYTHON, old.digest()), None);
    let moved = format!("{PYTHON} moved from {} to {}", old.digest(), new.digest());
    assert_eq!(lock.moved(PYTHON, new.digest()).unwrap().to_string(), moved);
    assert_eq!(locked(&mut lock, &new, both).unwrap(), [moved]);
}

#[test]
fn an_unresolvable_base_changes_nothing() {
    let mut lock = sample();
    let before = lock.clone();
    let new = python("new");
    let mut open = |reference: &str| match reference {
        PYTHON => Ok(ResolvedReference { artifact: new.clone(), read_from: PYTHON.to_owned() }),
        _ => Err(ImageError::Content("gone".to_owned())),
    };
    let both = [PYTHON.to_owned(), "oci:gone".to_owned()];
    let error = update(&mut lock, &both, &[platform("linux/amd64")], &mut open).unwrap_err();
    assert_eq!(error.to_string(), "cannot lock oci:gone: gone");
    assert_eq!(lock, before);
}

#[test]
fn a_missing_platform_is_an_error() {
    let mut lock = Lock::default();
    let error = locked(&mut lock, &python("a"), &["linux/s390x"]).unwrap_err().to_string();
    assert!(error.contains("available for linux/amd64, linux/arm64"), "{error}");
    // A single image, with its platform in its configuration.
    let alone = image("linux/arm64", "a").artifact().unwrap();
    let error = locked(&mut lock, &alone, &["linux/amd64"]).unwrap_err().to_string();
    assert!(error.contains("available for linux/arm64"), "{error}");
    assert!(locked(&mut lock, &alone, &["linux/arm64"]).is_ok());
}

#[test]
fn the_locked_policy_rejects_other_bases() {
    let lock = sample();
    let (amd64, s390x) = (platform("linux/amd64"), platform("linux/s390x"));
    for policy in [Policy::Any, Policy::Locked] {
        assert!(policy.choose(Some(&lock), PYTHON, &amd64).unwrap().is_some());
    }
    for (lock, reference, on) in
        [(None, PYTHON, &amd64), (Some(&lock), "oci:x", &amd64), (Some(&lock), PYTHON, &s390x)]
    {
        assert!(Policy::Any.choose(lock, reference, on).unwrap().is_none());
        let error = Policy::Locked.choose(lock, reference, on).unwrap_err();
        assert_eq!(error.to_string(), format!("base not found in the lock: {reference} for {on}"));
        assert!(error.help().unwrap().contains("ipo-oci lock"));
    }
}

#[test]
fn unused_bases_are_removed() {
    let mut lock = sample();
    assert!(lock.retain(&[PYTHON.to_owned()]).is_empty());
    assert_eq!(lock.retain(&[])[0].to_string(), format!("{PYTHON} is no longer used"));
    assert_eq!(lock, Lock::default());
}

#[test]
fn named_bases_keep_their_reason() {
    let mut lock = sample();
    assert_eq!(lock.named(), [""; 0]);
    assert!(!lock.to_toml().contains("named"));
    lock.set_reason(PYTHON, LockReason::Named);
    let mut again = parse(&lock.to_toml()).unwrap();
    assert_eq!((again.named(), again.platforms(PYTHON).len()), (vec![PYTHON.to_owned()], 2));
    locked(&mut again, &python("b"), &["linux/amd64"]).unwrap();
    assert_eq!(again.named(), [PYTHON]);
    let error = Policy::Locked.choose(Some(&lock), PYTHON, &platform("linux/s390x")).unwrap_err();
    let command = format!("lock --base {PYTHON} --platform linux/amd64,linux/arm64,linux/s390x`");
    assert!(error.help().unwrap().contains(&command), "{:?}", error.help());
}

#[test]
fn a_contradictory_lock_is_an_error() {
    let good = sample().to_toml();
    assert!(parse(&good).is_ok());
    let other = image("linux/amd64", "other");
    let other = String::from_utf8(other.config.to_vec()).unwrap();
    let config_line = good.lines().find(|line| line.starts_with("config")).unwrap();
    let of_arm = good.split("platform = 'linux/arm64'").nth(1).unwrap();
    for (wrong, part) in [
        (good.replacen("size = ", "size = 1", 1), "the manifest is "),
        (good.replacen("schemaVersion", "schemaversion", 1), "the manifest is "),
        (
            good.replacen(config_line, &format!("config = '{}'", other.replace('\'', "")), 1),
            "another configuration",
        ),
        (good.replacen("linux/arm64'", "linux/amd64'", 1), "is for linux/arm64"),
        (good.replacen("linux/arm64'", "no", 1), "cannot parse"),
        (good.replacen("oci.image.manifest.v1+json'", "x'", 1), "the manifest is not a"),
        (format!("{good}\n[[base.image]]\nplatform = 'linux/arm64'{of_arm}"), "linux/arm64 is listed twice"),
        (format!("{good}{}", good.split("version = 1\n").nth(1).unwrap()), "listed twice"),
        (
            good.replacen("python:3.12'", &format!("python@{}'", Digest::of(b"")), 1),
            "not the one in its name",
        ),
    ] {
        let error = chain(&parse(&wrong).unwrap_err());
        assert!(error.contains(part), "{part}: {error}");
    }
    // A media type of the other family is a contradiction too.
    let docker = good.replace(crate::image::IMAGE_MANIFEST, DOCKER_MANIFEST);
    assert!(parse(&docker).is_err());
}

#[test]
fn bases_have_full_references() {
    for (base, key_of_it) in [
        ("scratch", None),
        ("rootfs:x.tar", None),
        ("python:3.12", Some(PYTHON)),
        ("docker://python:3.12", Some(PYTHON)),
        ("oci:dir:tag", Some("oci:dir:tag")),
    ] {
        assert_eq!(key(base).unwrap().as_deref(), key_of_it);
    }
    assert!(key("No Name").is_err());
}

#[test]
fn a_parse_error_has_the_line() {
    assert_eq!(parse("version = 1").unwrap(), Lock::default());
    assert!(matches!(parse("version = 2\nnew = 1"), Err(LockError::Version { found: 2, .. })));
    for (text, part) in [
        ("", "version"),
        ("version = '1'", "line 1"),
        ("version = 1\nbases = []", "line 2"),
        ("version = 1\n[[base]]\nreference = 'x'", "line 2"),
        ("version = 1\n[[base]]\nreference = 'x'\nread-from = 'x'\ndigest = 'md5:1'", "line 5"),
    ] {
        let error = chain(&parse(text).unwrap_err());
        assert!(error.contains(part), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_label_round_trips(label in any::<String>(), reference in "[^@\u{0}]{1,20}") {
        let mut lock = Lock::default();
        let artifact = python(&label);
        update(&mut lock, &[reference], &[platform("linux/amd64")], &mut at(&artifact)).unwrap();
        prop_assert_eq!(parse(&lock.to_toml()).unwrap(), lock);
    }

    #[test]
    fn no_changed_byte_is_accepted_or_panics(at in any::<prop::sample::Index>(), byte in 0x20u8..0x7f) {
        let lock = sample();
        let mut text = lock.to_toml().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(read) = parse(&String::from_utf8(text).unwrap()) {
            // Fields without a digest over them may change: a name, the index's digest, the mirror.
            for base in read.bases.values() {
                for (platform, image) in &base.images {
                    prop_assert_eq!(image, &lock.bases[PYTHON].images[platform]);
                }
            }
        }
    }
}
