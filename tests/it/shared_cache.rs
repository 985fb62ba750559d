//! Remote caches: layers of one machine are found by others, and faults do no harm.

use std::io::Read;
use std::sync::Arc;

use ipo_oci::cache::{Lease, Record, RemoteCache};
use ipo_oci::digest::Digest;
use ipo_oci::image::Blob;
use ipo_oci::store::{Access, remote_cache};
use ipo_oci::tree::{OwnedBytes, Owner};

use crate::support::{Project, run, with_metadata};
use test_macros::test;

/// Returns a gzip layer and its record.
fn layer(seed: u64, size: usize) -> (Record, Blob) {
    use std::io::Write;
    let mut archive: Vec<u8> = Vec::with_capacity(size + 32);
    let mut state = Digest::of(&seed.to_le_bytes());
    while archive.len() < size {
        archive.extend(state.as_bytes());
        state = Digest::of(state.as_bytes());
    }
    archive.truncate(size);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive).expect("memory");
    let bytes = encoder.finish().expect("memory");
    let owner = Owner::Distribution { name: "numpy".into(), version: "2.0".into() };
    let record = Record {
        name: "numpy".to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        diff_id: Digest::of(&archive),
        archive_size: archive.len() as u64,
        owners: vec![OwnedBytes { owner, bytes: 7, bytecode: 3, files: 2 }],
    };
    (record, Blob::Memory(bytes.into()))
}

fn key(seed: u64) -> Digest {
    Digest::of(format!("key {seed}").as_bytes())
}

fn bytes(blob: &Blob) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    blob.open()?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open(place: &str) -> Arc<dyn RemoteCache> {
    remote_cache::open(place, &Access::default()).expect("a cache")
}

/// Checks that the cache has the layer with all its bytes.
#[track_caller]
fn assert_cached(cache: &dyn RemoteCache, key: &Digest, record: &Record) {
    let (found, blob) = cache.find(key).expect("an answer").expect("a layer");
    assert_eq!(&found, record);
    assert_eq!(Digest::of(&bytes(&blob).expect("bytes")), record.digest);
}

#[test]
fn many_machines_write_to_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("dir:{}/cache", folder.path().display());
    let layers: Vec<_> = (0..4).map(|seed| (key(seed), layer(seed, 200_000))).collect();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (place, layers) = (&place, &layers);
            scope.spawn(move || {
                let cache = open(place);
                for round in 0..layers.len() {
                    let (key, (record, blob)) = &layers[(round + writer) % layers.len()];
                    cache.keep(key, record, blob).expect("it is kept");
                    assert_cached(&*cache, key, record);
                }
            });
        }
    });
    let cache = open(&place);
    for (key, (record, _)) in &layers {
        assert_cached(&*cache, key, record);
    }
    let count = |path: &str| fs_err::read_dir(folder.path().join("cache").join(path)).unwrap().count();
    assert_eq!((count("records"), count("blobs/sha256")), (4, 4), "nothing half written stays");
}

#[test]
fn layers_in_a_directory_are_ordinary_files() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&format!("dir:{}", folder.path().display()));
    let (record, blob) = layer(1, 1000);
    let own = folder.path().join("own");
    fs_err::write(&own, bytes(&blob).unwrap()).unwrap();
    cache.keep(&key(1), &record, &Blob::File(own.clone())).unwrap();
    let kept = folder.path().join("blobs/sha256").join(record.digest.hex());
    for file in [kept.clone(), folder.path().join("records").join(key(1).hex())] {
        let mode = fs_err::metadata(&file).unwrap().permissions().mode();
        let ordinary = fs_err::metadata(&own).unwrap().permissions().mode();
        assert_eq!(mode, ordinary, "what this user's files are, the shared ones are too");
    }
    assert_eq!(fs_err::metadata(&kept).unwrap().nlink(), 1, "no other name of a file of this machine");
}

#[test]
fn a_cache_directory_in_the_context_is_not_source() {
    let project = Project::tiny();
    let folder = tempfile::tempdir().unwrap();
    let place = format!("dir:{}/cache", project.path().display());
    let build = |runner: &str, arguments: &[&str]| {
        let mut command = project.command("build");
        command.args(["-v", "--no-provision", "--cache-dir"]).arg(folder.path().join(runner));
        let outcome = run(with_metadata(command.args(arguments), folder.path())).success();
        let (_, digest) = outcome.text().trim().rsplit_once('@').expect("a digest");
        (digest.to_owned(), outcome.written_layers().len())
    };
    let (digest, written) = build("first", &["--cache-to", &place]);
    assert!(written > 0 && project.path().join("cache/records").is_dir());
    assert_eq!(build("second", &["--cache-from", &place, "--offline"]), (digest, 0));
}

#[test]
fn refuses_invalid_caches_before_building() {
    let project = Project::tiny();
    for (arguments, code, said) in [
        (&["--cache-from", "cache"][..], 2, "docker://REGISTRY/REPOSITORY"),
        (&["--cache-to", "docker://localhost:1/cache:tag"], 2, "leave out the tag"),
        (&["--cache-to", "docker://localhost:1/cache", "--offline"], 1, "leave out --offline"),
        (&["--cache-to", "dir:pyproject.toml"], 1, "name a folder"),
    ] {
        let mut command = project.command("build");
        let outcome =
            crate::support::run(command.current_dir(project.path()).args(arguments)).exits_with(code);
        assert!(outcome.stderr.contains(said), "{}", outcome.describe());
    }
}

#[cfg(feature = "registry")]
mod in_a_registry {
    use std::net::TcpListener;
    use std::process::Command;
    use std::time::{Duration, Instant, SystemTime};

    use ipo_oci::image::Descriptor;
    use ipo_oci::progress::Silent;
    use ipo_oci::reference::RemoteName;
    use ipo_oci::store::registry::{Client, CredentialFiles};
    use serde_json::{Value, json};

    use test_macros::test;

    use super::{
        Access, Arc, Blob, Digest, Lease, OwnedBytes, Owner, Project, Record, assert_cached, bytes, key,
        layer, open, remote_cache,
    };
    use crate::support::proxy::{Action, Proxy, ProxyRequest};
    use crate::support::registry::{Kind, Registry, image_of};
    use crate::support::{requires, run, with_metadata};

    fn place(host: &str) -> String {
        format!("docker://{host}/team/cache")
    }

    fn tag(seed: u64) -> String {
        format!("layer-{}", key(seed).hex())
    }

    #[test]
    fn finds_stored_layers() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let place = place(&registry.host());
        let cache = open(&place);
        assert!(cache.find(&key(1)).unwrap().is_none());
        let (record, blob) = layer(1, 3_000_000);
        cache.keep(&key(1), &record, &blob).unwrap();
        assert_cached(&*open(&place), &key(1), &record);
        assert_eq!(cache.name(), place);
        // A second upload takes one request.
        let before = registry.log_end();
        open(&place).keep(&key(1), &record, &blob).unwrap();
        let asked = |method| registry.requests(before, method);
        let counts = ["HEAD ", "GET /v2/team", "POST ", "PUT ", "PATCH "].map(asked);
        assert_eq!(counts, [1, 0, 0, 0, 0], "{}", registry.log());
        // The manifest contains the record.
        let before = registry.log_end();
        open(&place).find(&key(1)).unwrap().unwrap();
        assert_eq!(registry.requests(before, "GET /v2/team"), 1, "{}", registry.log());
        // The name in the record does not matter.
        let before = registry.log_end();
        let other = Record { name: "other".to_owned(), ..record.clone() };
        cache.keep(&key(1), &other, &blob).unwrap();
        assert_eq!(registry.requests(before, "PUT "), 0, "{}", registry.log());
        assert_cached(&*cache, &key(1), &record);
    }

    #[test]
    fn serves_concurrent_clients() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Htpasswd);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let auth = json!({ "auths": { registry.host(): { "auth": "dXNlcjpodW50ZXIy" } } });
        fs_err::write(&file, auth.to_string()).unwrap();
        let mut access = Access::default();
        access.registry.keychains = vec![Arc::new(CredentialFiles::new(vec![file]))];
        let cache = remote_cache::open(&place(&registry.host()), &access).unwrap();
        std::thread::scope(|scope| {
            for seed in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    let (record, blob) = layer(seed, 100_000);
                    assert!(cache.find(&key(seed)).unwrap().is_none());
                    cache.keep(&key(seed), &record, &blob).unwrap();
                    assert_cached(&**cache, &key(seed), &record);
                });
            }
        });
        // Without the password there is an error, which does not contain it.
        let error = open(&place(&registry.host())).find(&key(1)).unwrap_err().to_string();
        assert!(error.contains("user and password") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_registry_keeps_a_layer_as_long_as_its_tag() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let cache = open(&place(&registry.host()));
        for seed in [1, 2] {
            let (record, blob) = layer(seed, 100_000);
            cache.keep(&key(seed), &record, &blob).unwrap();
        }
        // Garbage collection removes an untagged record and its layer.
        let tags = "data/docker/registry/v2/repositories/team/cache/_manifests/tags";
        fs_err::remove_dir_all(registry.folder.path().join(tags).join(tag(2))).unwrap();
        let config = registry.folder.path().join("config.yml");
        run(Command::new("docker-registry").args(["garbage-collect", "-m"]).arg(config)).success();
        assert_eq!(registry.verify(), 3, "a manifest, a record, a layer");
        let (record, _) = layer(1, 100_000);
        assert_cached(&*open(&place(&registry.host())), &key(1), &record);
        assert!(open(&place(&registry.host())).find(&key(2)).unwrap().is_none());
    }

    #[test]
    fn an_image_of_cached_layers_mounts_them() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let cache = open(&place(&registry.host()));
        let (record, blob) = layer(1, 1_000_000);
        cache.keep(&key(1), &record, &blob).unwrap();
        let (_, found) = cache.find(&key(1)).unwrap().unwrap();
        assert_eq!(found.repository(), cache.repository());
        let image = image_of(&[(record.digest, record.size, found)]);
        let name: RemoteName = format!("{}/team/app:1", registry.host()).parse().unwrap();
        let before = registry.log_end();
        Client::new(&Access::default()).unwrap().write(&image, &name, &Silent).unwrap();
        assert_eq!(registry.requests(before, "PUT /v2/team/app/blobs/"), 1, "only its configuration");
        assert_eq!(registry.requests(before, "PATCH /v2/team/app/blobs/"), 0, "{}", registry.log());
        assert_eq!(registry.requests(before, "GET /v2/team/cache/blobs/"), 0, "{}", registry.log());
        // A layer of an image is mounted into the cache.
        let (record, blob) = layer(2, 1_000_000);
        let image = image_of(&[(record.digest, record.size, blob)]);
        let client = Client::new(&Access::default()).unwrap();
        client.write(&image, &name, &Silent).unwrap();
        let mut read = client.read(&name).unwrap();
        let before = registry.log_end();
        // The image declares the layer as uncompressed.
        let plain = Record { diff_id: record.digest, ..record };
        cache.keep(&key(2), &plain, &read.blobs.remove(1).1).unwrap();
        assert_eq!(registry.requests(before, "PUT /v2/team/cache/blobs/"), 1, "only its record");
        assert_cached(&*cache, &key(2), &plain);
    }

    #[test]
    fn an_unreachable_registry_fails_within_seconds() {
        let (record, blob) = layer(1, 1000);
        // The port is closed.
        let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let begun = Instant::now();
        let cache = open(&place(&closed.to_string()));
        let error = cache.find(&key(1)).unwrap_err();
        assert!(error.to_string().contains(&closed.to_string()), "{error}");
        assert!(cache.keep(&key(1), &record, &blob).is_err());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_large_record_is_a_separate_blob() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let cache = open(&place(&registry.host()));
        let (mut record, blob) = layer(1, 1000);
        record.owners = (0..4000)
            .map(|number| OwnedBytes {
                owner: Owner::Package { name: format!("package-{number}").into(), version: "1".into() },
                bytes: number,
                bytecode: 0,
                files: 1,
            })
            .collect();
        cache.keep(&key(1), &record, &blob).unwrap();
        let before = registry.log_end();
        assert_cached(&*open(&place(&registry.host())), &key(1), &record);
        assert_eq!(registry.requests(before, "GET /v2/team/cache/blobs/"), 2, "{}", registry.log());
    }

    #[test]
    fn a_runner_with_an_empty_disk_pushes_only_documents() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let place = place(&registry.host());
        let project = Project::tiny();
        let folder = tempfile::tempdir().unwrap();
        let build = |runner: &str, arguments: &[&str]| {
            let mut command = project.command("build");
            command.args(["-v", "--no-provision", "--cache-dir"]).arg(folder.path().join(runner));
            let outcome = run(with_metadata(command.args(arguments), folder.path())).success();
            assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
            let (_, digest) = outcome.text().trim().rsplit_once('@').expect("a digest");
            (digest.to_owned(), outcome.written_layers().len())
        };
        let image = |name: &str| format!("docker://{}/team/{name}:1", registry.host());
        let (digest, written) = build("first", &["--cache-to", &place, "-o", &image("one")]);
        assert!(written > 0);
        let before = registry.log_end();
        let second = build("second", &["--cache-from", &place, "-o", &image("two")]);
        assert_eq!(second, (digest, 0), "the same image, and no layer was made");
        assert_eq!(registry.requests(before, "PUT /v2/team/two/blobs/"), 1, "only the configuration");
        assert_eq!(registry.requests(before, "PATCH "), 0, "{}", registry.log());
        registry.verify();
    }

    /// Returns the keys of the layers in a repository.
    fn keys(registry: &Registry, repository: &str) -> Vec<Digest> {
        let tags = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags");
        let entries = fs_err::read_dir(registry.folder.path().join(tags)).expect("tags");
        let names = entries.map(|entry| entry.expect("a tag").file_name().into_string().expect("a name"));
        let keys = names.filter_map(|name| Some(format!("sha256:{}", name.strip_prefix("layer-")?)));
        keys.map(|key| key.parse().expect("a digest")).collect()
    }

    #[test]
    fn waits_for_a_layer_under_lease() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let project = Project::tiny();
        let folder = tempfile::tempdir().unwrap();
        let (there, place) = (place(&registry.host()), format!("docker://{}/team/other", registry.host()));
        let command = |runner: &str| {
            let mut command = project.command("build");
            command.args(["-v", "--no-provision", "--cache-dir"]).arg(folder.path().join(runner));
            command
        };
        run(command("first").args(["--cache-to", &there])).success();
        let (keys, cache) = (keys(&registry, "team/cache"), open(&place));
        assert!(keys.len() > 1, "layers");
        for key in &keys {
            let lease = Lease { by: 7, at: SystemTime::now() };
            cache.take_lease(key, &lease).unwrap();
            assert_eq!(cache.lease(key).unwrap().map(|lease| lease.by), Some(7));
            assert!(cache.find(key).unwrap().is_none(), "a claim is no layer");
        }
        let before = registry.log_end();
        let image = format!("docker://{}/team/app:1", registry.host());
        let outcome = std::thread::scope(|scope| {
            let mut second = command("second");
            second.args(["--cache-from", &place, "--cache-to", &place, "-o", &image]);
            with_metadata(&mut second, folder.path());
            let building = scope.spawn(move || run(&mut second));
            // Repeated requests for a key show that the build waits for the lease.
            let asked = |key: &Digest| {
                registry.requests(before, &format!("GET /v2/team/other/manifests/making-{}", key.hex()))
            };
            crate::support::eventually("a build that waits", || {
                keys.iter().any(|key| asked(key) > 3).then_some(())
            });
            for key in &keys {
                let (record, blob) = open(&there).find(key).unwrap().unwrap();
                cache.keep(key, &record, &blob).unwrap();
            }
            building.join().unwrap().success()
        });
        assert_eq!(outcome.written_layers(), [""; 0], "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
        assert_eq!(registry.requests(before, "PUT /v2/team/app/blobs/"), 1, "only the configuration");
    }

    #[test]
    fn expired_leases_are_ignored() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let project = Project::tiny();
        let folder = tempfile::tempdir().unwrap();
        let place = place(&registry.host());
        let build = |runner: &str| {
            let mut command = project.command("build");
            command.args(["-v", "--no-provision", "--cache-dir"]).arg(folder.path().join(runner));
            command.args(["--cache-from", &place, "--cache-to", &place]);
            let outcome = run(with_metadata(&mut command, folder.path())).success();
            assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
            outcome.written_layers().len()
        };
        let written = build("first");
        let (keys, cache) = (keys(&registry, "team/cache"), open(&place));
        assert!(written == keys.len() && written > 1);
        let tags = "data/docker/registry/v2/repositories/team/cache/_manifests/tags";
        // Long ago, just now, and from a clock that is ahead.
        for at in [
            SystemTime::now() - Duration::from_hours(1),
            SystemTime::now() - Duration::from_secs(14),
            SystemTime::now() + Duration::from_hours(1),
        ] {
            for key in &keys {
                fs_err::remove_dir_all(
                    registry.folder.path().join(tags).join(format!("layer-{}", key.hex())),
                )
                .unwrap();
                cache.take_lease(key, &Lease { by: 7, at }).unwrap();
            }
            assert_eq!(build(&format!("at {at:?}")), written);
            assert!(keys.iter().all(|key| cache.find(key).unwrap().is_some()), "all are there again");
        }
    }

    /// Pushes a manifest with this configuration and layer under the tag of `seed`.
    fn put_manifest(registry: &Registry, seed: u64, config: (&str, &Value), layer: (&str, Digest, u64)) {
        let config_bytes = config.1.to_string().into_bytes();
        let config = Descriptor::new(config.0, Digest::of(&config_bytes), config_bytes.len() as u64);
        let layer = Descriptor::new(layer.0, layer.1, layer.2);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config.json, "layers": [layer.json],
        });
        let bytes = manifest.to_string().into_bytes();
        let artifact = ipo_oci::image::Artifact {
            descriptor: Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64),
            bytes: bytes.into(),
            blobs: vec![(config, Blob::Memory(config_bytes.into()))],
            manifests: Vec::new(),
        };
        let name: RemoteName = format!("{}/team/cache:{}", registry.host(), tag(seed)).parse().unwrap();
        Client::new(&Access::default()).unwrap().write(&artifact, &name, &Silent).unwrap();
    }

    #[test]
    fn invalid_records_are_missing_and_replaced() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let cache = open(&place(&registry.host()));
        let (record, blob) = layer(1, 1000);
        cache.keep(&key(9), &record, &blob).unwrap();
        let good = json!({
            "version": 1, "key": key(1), "name": "x", "digest": record.digest, "size": record.size,
            "diff_id": record.diff_id, "archive_size": record.archive_size, "owners": [],
        });
        let changed = |field: &str, value: Value| {
            let mut changed = good.clone();
            changed[field] = value;
            changed
        };
        let media_type = "application/vnd.ipo-oci.layer.record.v1+json";
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let whole = (gzip, record.digest, record.size);
        put_manifest(&registry, 1, (media_type, &good), whole);
        assert!(cache.find(&key(1)).unwrap().is_some(), "this one is good");
        for (what, media_type, config) in [
            ("an image", "application/vnd.oci.image.config.v1+json", good.clone()),
            ("another version", media_type, changed("version", 2.into())),
            ("another key", media_type, changed("key", json!(key(2)))),
            ("another layer", media_type, changed("digest", json!(key(2)))),
            ("another size", media_type, changed("size", 1.into())),
            ("no JSON of ours", media_type, json!([])),
            ("too big", media_type, changed("name", "x".repeat(1 << 20).into())),
        ] {
            put_manifest(&registry, 1, (media_type, &config), whole);
            assert!(cache.find(&key(1)).unwrap().is_none(), "{what}");
            cache.keep(&key(1), &record, &blob).unwrap();
            assert_cached(&*cache, &key(1), &record);
        }
    }

    #[test]
    fn detects_wrong_responses() {
        requires("docker-registry");
        let registry = Registry::start(Kind::Anonymous);
        let (record, blob) = layer(1, 200_000);
        open(&place(&registry.host())).keep(&key(1), &record, &blob).unwrap();
        let is_manifest = |seen: &ProxyRequest| seen.is("GET", "/manifests/");
        let is_blob = |seen: &ProxyRequest| seen.is("GET", "/blobs/");
        // A damaged manifest counts as missing or is an error; a damaged layer has a wrong digest
        // or is an error.
        for (what, action) in [
            ("damaged", Action::Damage),
            ("cut", Action::CutAnswer(100)),
            ("short", Action::Shorten(100)),
            ("endless", Action::Unsized(vec![b' '; 5 << 20])),
            ("refused", Action::Answer(403, vec![], b"{}".to_vec())),
            ("broken", Action::Answer(500, vec![], b"{}".to_vec())),
            ("elsewhere", Action::Answer(307, vec![("Location", "http://127.0.0.1:1/".to_owned())], vec![])),
        ] {
            let decide = action.clone();
            let proxy =
                Proxy::start(
                    registry.port,
                    move |seen| {
                        if is_manifest(seen) { decide.clone() } else { Action::Pass }
                    },
                );
            let found = open(&place(&proxy.host())).find(&key(1));
            assert!(!matches!(found, Ok(Some(_))), "{what}: {found:?}");
            let proxy =
                Proxy::start(
                    registry.port,
                    move |seen| if is_blob(seen) { action.clone() } else { Action::Pass },
                );
            let (_, blob) = open(&place(&proxy.host())).find(&key(1)).unwrap().unwrap();
            let right = bytes(&blob).is_ok_and(|bytes| Digest::of(&bytes) == record.digest);
            assert!(!right, "{what}");
        }
    }

    #[test]
    fn a_silent_registry_fails_after_one_timeout() {
        // The server accepts connections and never responds.
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut access = Access::default();
        access.registry.silence_timeout = Duration::from_millis(300);
        let place = place(&listener.local_addr().unwrap().to_string());
        let cache = remote_cache::open(&place, &access).unwrap();
        let errors: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4)
                .map(|seed| {
                    scope.spawn({
                        let cache = &cache;
                        move || cache.find(&key(seed)).unwrap_err().to_string()
                    })
                })
                .collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(errors.iter().all(|error| *error == errors[0]), "one has asked: {errors:?}");
    }
}
