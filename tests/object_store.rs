//! Remote caches in an object store, tested against an implementation of S3 (PyPI's `moto`).

#[path = "it/support/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "this binary uses a part")]
mod support;

fn main() -> std::process::ExitCode {
    support::harness::run()
}

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use std::time::{Duration, Instant};

use ipo_oci::cache::{Lease, Record, RemoteCache};
use ipo_oci::digest::Digest;
use ipo_oci::image::Blob;
use ipo_oci::store::remote_cache::{self, ObjectStoreSettings};
use ipo_oci::store::{Access, Network};
use ipo_oci::tree::{OwnedBytes, Owner};

use test_macros::test;

use support::{eventually, free_port, run, skip, target_dir};

/// Installed on the first run.
const MOTO: &str = "moto[server]==5.2.5";
const SECRET: &str = "hunter2/hunter2+hunter2";

struct S3 {
    port: u16,
    child: Child,
}

impl S3 {
    /// Starts moto; skips the test if moto cannot be installed.
    fn start() -> Self {
        let program = moto();
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server = Self { port, child: child.expect("moto runs") };
        eventually("moto", || {
            assert!(server.child.try_wait().expect("a child").is_none(), "moto has ended");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let url = format!("http://127.0.0.1:{port}/bucket");
        let make = ["-c", "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method='PUT'))"];
        run(Command::new("python3").args(make).arg(url)).success();
        server
    }

    fn access(&self) -> Access {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut access = Access::default();
        access.objects = ObjectStoreSettings::new(variables);
        access
    }

    fn cache(&self) -> Arc<dyn RemoteCache> {
        remote_cache::open("s3://bucket/team/cache", &self.access()).expect("a cache")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the server program, from a virtual environment that is created once.
fn moto() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let folder = target_dir().join("test-moto");
        let program = folder.join("bin/moto_server");
        if !program.is_file() {
            let made = run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            let pip = || run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", MOTO]));
            if !made.status.success() || !pip().status.success() {
                skip(&format!("{MOTO} cannot be installed, so there is no S3 to test with"));
            }
        }
        program
    };
    PROGRAM.get_or_init(make)
}

fn layer(seed: u8, size: usize) -> (Record, Blob) {
    let mut bytes = vec![0x1f, 0x8b, 8, 0];
    bytes.resize(size, seed);
    let record = Record {
        name: "numpy".to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        diff_id: Digest::of(b"archive"),
        archive_size: 7,
        owners: vec![OwnedBytes { owner: Owner::Source, bytes: 7, bytecode: 3, files: 2 }],
    };
    (record, Blob::Memory(bytes.into()))
}

fn key(seed: u8) -> Digest {
    Digest::of(&[seed])
}

#[track_caller]
fn assert_cached(cache: &dyn RemoteCache, key: &Digest, record: &Record) {
    let (found, blob) = cache.find(key).expect("an answer").expect("a layer");
    assert_eq!(&found, record);
    let (digest, size) = Digest::of_reader(&mut blob.open().expect("bytes")).expect("bytes");
    assert_eq!((digest, size), (record.digest, record.size));
    let mut rest = Vec::new();
    blob.open_from(record.size - 3).expect("bytes").read_to_end(&mut rest).expect("bytes");
    assert_eq!(rest.len(), 3);
}

#[test]
fn finds_kept_layers() {
    let server = S3::start();
    assert!(server.cache().find(&key(1)).unwrap().is_none());
    assert!(server.cache().lease(&key(1)).unwrap().is_none());
    for by in [7, 8] {
        server.cache().take_lease(&key(1), &Lease { by, at: SystemTime::now() }).unwrap();
        assert_eq!(server.cache().lease(&key(1)).unwrap().map(|lease| lease.by), Some(by));
    }
    // Smaller than an upload part, exactly two parts, and slightly more.
    for (seed, size) in [(1, 1000), (2, 32 << 20), (3, (32 << 20) + 1)] {
        let (record, blob) = layer(seed, size);
        server.cache().keep(&key(seed), &record, &blob).unwrap();
        server
            .cache()
            .keep(&key(seed), &record, &Blob::File("not/there".into()))
            .expect("nothing is read again");
        assert_cached(&*server.cache(), &key(seed), &record);
    }
    assert!(server.cache().find(&key(9)).unwrap().is_none());
    let other = remote_cache::open("s3://bucket/other", &server.access()).unwrap();
    assert!(other.find(&key(1)).unwrap().is_none());
}

#[test]
fn serves_concurrent_clients() {
    let server = S3::start();
    let cache = server.cache();
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let cache = &cache;
            scope.spawn(move || {
                let (record, blob) = layer(seed % 4, 300_000);
                cache.keep(&key(seed % 4), &record, &blob).unwrap();
                assert_cached(&**cache, &key(seed % 4), &record);
            });
        }
    });
}

#[test]
fn rejects_bytes_that_differ_from_the_record() {
    let server = S3::start();
    for size in [1000, 20 << 20] {
        let (record, _) = layer(1, size);
        let (_, wrong) = layer(2, size);
        let (_, short) = layer(1, size - 1);
        let (_, long) = layer(1, size + 1);
        for blob in [wrong, short, long, Blob::File("not/there".into())] {
            assert!(server.cache().keep(&key(1), &record, &blob).is_err());
            assert!(server.cache().find(&key(1)).unwrap().is_none());
        }
    }
}

#[test]
fn errors_are_short_and_hold_no_secret() {
    let server = S3::start();
    let (record, blob) = layer(1, 1000);
    let cache = remote_cache::open("s3://missing", &server.access()).unwrap();
    let error = cache.keep(&key(1), &record, &blob).unwrap_err().to_string();
    assert!(error.contains("NoSuchBucket") && !error.contains('\n'), "{error}");
    let told = format!("{error} {cache:?} {:?}", server.access());
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn an_unreachable_store_fails_within_seconds() {
    let access = {
        let endpoint = ("AWS_ENDPOINT_URL".to_owned(), format!("http://127.0.0.1:{}", free_port()));
        let key = ("AWS_ACCESS_KEY_ID".to_owned(), "key".to_owned());
        let secret = ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET.to_owned());
        let mut access = Access::default();
        access.objects = ObjectStoreSettings::new([endpoint, key, secret]);
        access
    };
    let begun = Instant::now();
    let error = remote_cache::open("s3://bucket", &access).unwrap().find(&key(1)).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1") && !error.contains("hunter2"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn rejects_invalid_locations_at_once() {
    let access = Access::default();
    for place in ["s3://", "s3:///prefix", "s3://a b", "s3://bucket/a//b"] {
        assert!(remote_cache::open(place, &access).is_err(), "{place}");
    }
    let help = |error: remote_cache::CacheLocationError| ipo_oci::error::Advice::help(&error).unwrap();
    // The account is required.
    assert!(help(remote_cache::open("az://container", &access).unwrap_err()).contains("AZURE_"));
    let offline = Access::default().with_network(Network::Forbidden);
    assert!(help(remote_cache::open("s3://bucket", &offline).unwrap_err()).contains("--offline"));
}
