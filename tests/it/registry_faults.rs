//! Faults during transfers: every transfer succeeds or ends with a clear error, and no wrong blob
//! is stored.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipo_oci::digest::Digest;
use ipo_oci::error::{Advice, chain};
use ipo_oci::image::{Artifact, Blob};
use ipo_oci::progress::Silent;
use ipo_oci::reference::RemoteName;
use ipo_oci::store::Access;
use ipo_oci::store::registry::{Client, RegistryError};

use crate::support::proxy::{Action, Proxy, ProxyRequest};
use crate::support::registry::{Kind, Registry, access, fetch, image};
use crate::support::requires;
use test_macros::test;

const MIB: usize = 1 << 20;

fn name(host: &str) -> RemoteName {
    format!("{host}/team/app:1").parse().expect("a name")
}

fn push(access: &Access, host: &str, artifact: &Artifact) -> Result<Digest, RegistryError> {
    Client::new(access)?.write(artifact, &name(host), &Silent)
}

/// Performs `action` on the first `times` matching requests, and forwards the others.
fn first(
    times: usize,
    meant: impl Fn(&ProxyRequest) -> bool + Send + Sync + 'static,
    action: Action,
) -> impl Fn(&ProxyRequest) -> Action + Send + Sync + 'static {
    let left = AtomicUsize::new(times);
    move |seen| {
        let hit = meant(seen)
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if hit { action.clone() } else { Action::Pass }
    }
}

fn answer(status: u16) -> Action {
    Action::Answer(status, vec![], br#"{"errors":[{"code":"X","message":"the reason"}]}"#.to_vec())
}

fn is_upload(seen: &ProxyRequest) -> bool {
    ["PUT", "PATCH"].contains(&seen.method.as_str())
        && seen.path.contains("/blobs/uploads/")
        && seen.length() > 0
}

fn is_writing(seen: &ProxyRequest) -> bool {
    ["POST", "PUT"].contains(&seen.method.as_str())
}

fn is_blob(seen: &ProxyRequest) -> bool {
    seen.is("GET", "/blobs/sha256:")
}

/// Checks that the registry's blobs are valid and its image is `artifact`.
#[track_caller]
fn assert_stored(registry: &Registry, artifact: &Artifact) {
    registry.verify();
    let found = Client::new(&access()).unwrap().read(&name(&registry.host())).unwrap();
    assert_eq!(found.digest(), artifact.digest());
    fetch(&found).unwrap();
}

#[test]
fn a_push_survives_transient_faults() {
    requires("docker-registry");
    let busy = |status, after: &str| Action::Answer(status, vec![("Retry-After", after.to_owned())], vec![]);
    for (what, decide) in [
        (
            "429",
            Box::new(first(3, is_writing, busy(429, "0")))
                as Box<dyn Fn(&ProxyRequest) -> Action + Send + Sync>,
        ),
        ("500", Box::new(first(3, is_writing, answer(500)))),
        ("503 for a blob", Box::new(first(2, is_upload, answer(503)))),
        ("503 for the manifest", Box::new(first(2, |seen| seen.is("PUT", "/manifests/"), answer(503)))),
        ("cut at once", Box::new(first(2, is_upload, Action::CutRequest(0)))),
        ("cut in the middle", Box::new(first(3, is_upload, Action::CutRequest(700_000)))),
        ("cut before the answer", Box::new(first(2, is_upload, Action::CutAnswer(0)))),
        ("upload forgotten", Box::new(first(2, is_upload, answer(404)))),
        ("mounts refused", Box::new(first(9, |seen| seen.path.contains("mount="), answer(405)))),
    ] {
        let registry = Registry::start(Kind::Anonymous);
        let artifact = image(1, &[2 * MIB, 10]);
        let proxy = Proxy::start(registry.port, decide);
        let pushed = push(&access(), &proxy.host(), &artifact);
        assert!(pushed.is_ok(), "{what}: {pushed:?} {:#?}", proxy.all());
        assert_stored(&registry, &artifact);
    }
}

#[test]
fn an_interrupted_push_resumes() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[4 * MIB]);
    let mut access = access();
    access.registry.chunk_bytes = NonZero::new(MIB as u64);
    // The chunk is cut before its first byte: registry 2.8 discards an upload whose chunk is
    // incomplete.
    let big = |seen: &ProxyRequest| {
        is_upload(seen) && seen.header("content-range").is_some_and(|range| range.starts_with("2097152-"))
    };
    let proxy = Proxy::start(registry.port, first(1, big, Action::CutRequest(0)));
    push(&access, &proxy.host(), &artifact).unwrap();
    assert_stored(&registry, &artifact);
    let sent: u64 = proxy.all().iter().filter(|seen| seen.method == "PATCH").map(ProxyRequest::length).sum();
    assert!(sent < 6 * MIB as u64, "{sent}");
}

#[test]
fn sends_chunks_if_large_requests_are_refused() {
    requires("docker-registry");
    for chunk in [None, NonZero::new(300_000)] {
        let registry = Registry::start(Kind::Anonymous);
        let artifact = image(1, &[2 * MIB]);
        let limit = 512 << 10;
        let proxy =
            Proxy::start(
                registry.port,
                move |seen| if seen.length() > limit { answer(413) } else { Action::Pass },
            );
        let mut access = access();
        access.registry.chunk_bytes = chunk;
        push(&access, &proxy.host(), &artifact).unwrap();
        assert_stored(&registry, &artifact);
        let patches = proxy.count(|seen| seen.method == "PATCH" && seen.length() <= limit);
        assert!(patches >= 4, "{patches}");
        assert_eq!(proxy.count(|seen| seen.length() > limit) == 0, chunk.is_some());
    }
    let registry = Registry::start(Kind::Anonymous);
    let proxy =
        Proxy::start(registry.port, |seen| if seen.length() > 1000 { answer(413) } else { Action::Pass });
    let error = push(&access(), &proxy.host(), &image(1, &[2 * MIB])).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[test]
fn respects_the_minimum_chunk_size() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[2 * MIB]);
    let least = Action::Headers(vec![("OCI-Chunk-Min-Length", "600000".to_owned())]);
    let proxy = Proxy::start(
        registry.port,
        move |seen| if seen.method == "POST" { least.clone() } else { Action::Pass },
    );
    let mut access = access();
    access.registry.chunk_bytes = NonZero::new(1000);
    push(&access, &proxy.host(), &artifact).unwrap();
    assert_stored(&registry, &artifact);
    assert_eq!(proxy.count(|seen| seen.method == "PATCH"), 4);
}

#[test]
fn a_failed_push_reports_the_reason_and_writes_no_tag() {
    requires("docker-registry");
    let always = |meant: fn(&ProxyRequest) -> bool, action: Action| first(usize::MAX, meant, action);
    let wrong = "sha256:".to_owned() + &"0".repeat(64);
    for (what, decide) in [
        (
            "the reason",
            Box::new(always(is_upload, answer(500))) as Box<dyn Fn(&ProxyRequest) -> Action + Send + Sync>,
        ),
        ("the reason", Box::new(always(|seen| seen.method == "POST", answer(403)))),
        ("the reason", Box::new(always(is_upload, answer(400)))),
        ("cut", Box::new(always(is_upload, Action::CutRequest(10)))),
        (
            "asks to wait 9999 s",
            Box::new(always(is_upload, Action::Answer(429, vec![("Retry-After", "9999".into())], vec![]))),
        ),
        (
            "no upload location",
            Box::new(always(
                |seen| seen.method == "POST",
                Action::Headers(vec![("Location", String::new())]),
            )),
        ),
        (
            "expected sha256:",
            Box::new(always(is_upload, Action::Headers(vec![("Docker-Content-Digest", wrong)]))),
        ),
    ] {
        let registry = Registry::start(Kind::Anonymous);
        let artifact = image(1, &[MIB]);
        let proxy = Proxy::start(registry.port, decide);
        let error = push(&access(), &proxy.host(), &artifact).unwrap_err();
        assert!(chain(&error).contains(what), "{what}: {error:?}");
        registry.verify();
        let read = Client::new(&access()).unwrap().read(&name(&registry.host()));
        assert!(matches!(read, Err(RegistryError::NotFound(_))), "{read:?}");
    }
}

#[test]
fn a_wrong_blob_is_not_pushed() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let good = image(1, &[MIB]);
    let size = good.blobs[1].0.size;
    let mut short = vec![0; usize::try_from(size).unwrap()];
    let other: Blob = Blob::Memory(short.clone().into());
    short.truncate(100);
    for (blob, expected) in [
        (other, "digest"),
        (Blob::Memory(short.into()), "only 100 of"),
        (Blob::File("not/there".into()), "cannot read the blob"),
    ] {
        let mut artifact = good.clone();
        artifact.blobs[1].1 = blob;
        let error = push(&access(), &registry.host(), &artifact).unwrap_err();
        assert!(chain(&error).contains(expected), "{error:?}");
        registry.verify();
        assert!(Client::new(&access()).unwrap().read(&name(&registry.host())).is_err());
    }
}

#[test]
fn a_pull_survives_transient_faults() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[3 * MIB, 10]);
    push(&access(), &registry.host(), &artifact).unwrap();
    let busy = Action::Answer(429, vec![("Retry-After", "0".to_owned())], vec![]);
    for (what, decide) in [
        ("429", Box::new(first(3, |_| true, busy)) as Box<dyn Fn(&ProxyRequest) -> Action + Send + Sync>),
        ("500", Box::new(first(3, |seen| seen.path.contains("/manifests/"), answer(500)))),
        ("cut manifest", Box::new(first(2, |seen| seen.is("GET", "/manifests/"), Action::CutAnswer(20)))),
        ("cut blob", Box::new(first(4, is_blob, Action::CutAnswer(700_000)))),
        ("cut at once", Box::new(first(3, is_blob, Action::CutAnswer(0)))),
        ("no HEAD", Box::new(first(9, |seen| seen.method == "HEAD", answer(405)))),
        (
            "no digest",
            Box::new(first(99, |_| true, Action::Headers(vec![("Docker-Content-Digest", String::new())]))),
        ),
    ] {
        let proxy = Proxy::start(registry.port, decide);
        let client = Client::new(&access()).unwrap();
        let read = client.read(&name(&proxy.host())).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(read.digest(), artifact.digest());
        fetch(&read).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[test]
fn an_interrupted_pull_resumes() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[3 * MIB]);
    push(&access(), &registry.host(), &artifact).unwrap();
    let digest = artifact.blobs[1].0.digest.to_string();
    for ranges in [true, false] {
        let digest = digest.clone();
        let cut = first(1, move |seen| seen.is("GET", &digest), Action::CutAnswer(2 * MIB));
        let proxy = Proxy::start(registry.port, move |seen| match cut(seen) {
            Action::Pass if !ranges => Action::Without("range"),
            action => action,
        });
        fetch(&Client::new(&access()).unwrap().read(&name(&proxy.host())).unwrap()).unwrap();
        assert_eq!(proxy.count(|seen| seen.header("range") == Some("bytes=2097152-")), 1);
    }
}

#[test]
fn a_pull_of_wrong_bytes_is_an_error() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[MIB]);
    push(&access(), &registry.host(), &artifact).unwrap();
    let always = |meant: fn(&ProxyRequest) -> bool, action: Action| first(usize::MAX, meant, action);
    let is_manifest: fn(&ProxyRequest) -> bool = |seen| seen.is("GET", "/manifests/");
    for decide in [
        Box::new(always(is_blob, Action::Damage)) as Box<dyn Fn(&ProxyRequest) -> Action + Send + Sync>,
        Box::new(always(is_blob, Action::Shorten(10))),
        Box::new(always(is_blob, Action::CutAnswer(10))),
        Box::new(always(is_blob, answer(404))),
        Box::new(always(is_blob, Action::Answer(200, vec![], vec![7; 2 * MIB]))),
        Box::new(always(is_manifest, Action::Damage)),
        Box::new(always(is_manifest, Action::Shorten(10))),
        Box::new(always(is_manifest, Action::CutAnswer(10))),
        Box::new(always(is_manifest, Action::Answer(200, vec![], vec![b' '; 9 * MIB]))),
        Box::new(always(is_manifest, Action::Answer(200, vec![], b"<html>".to_vec()))),
        Box::new(always(|_| true, Action::Answer(302, vec![("Location", "/v2/round".into())], vec![]))),
        Box::new(always(|_| true, Action::Answer(302, vec![], vec![]))),
    ] {
        let proxy = Proxy::start(registry.port, decide);
        let cache = tempfile::tempdir().unwrap();
        let mut access = access();
        access.cache = Some(cache.path().to_path_buf());
        let result = Client::new(&access)
            .unwrap()
            .read(&name(&proxy.host()))
            .map_err(|error| chain(&error))
            .and_then(|read| fetch(&read).map_err(|error| chain(&error)));
        let error = result.unwrap_err();
        assert!(error.len() < 400 && !error.contains('\n'), "{error}");
        // No wrong blob is cached.
        for entry in walkdir::WalkDir::new(cache.path()).into_iter().filter_map(Result::ok) {
            if entry.file_type().is_file() {
                let found = Digest::of(&fs_err::read(entry.path()).unwrap());
                assert_eq!(found.hex(), entry.file_name().to_string_lossy());
            }
        }
    }
}

#[test]
fn excess_bytes_are_an_error() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[1000]);
    push(&access(), &registry.host(), &artifact).unwrap();
    // Without a `Content-Length`, the client counts the bytes.
    let size = usize::try_from(artifact.blobs[1].0.size).unwrap();
    for (more, expected) in [(0, "is sha256:"), (1, "has more than its"), (MIB, "has more than its")] {
        let bytes = vec![7; size + more];
        let digest = artifact.blobs[1].0.digest.to_string();
        let proxy = Proxy::start(registry.port, move |seen| {
            if seen.is("GET", &digest) { Action::Unsized(bytes.clone()) } else { Action::Pass }
        });
        let read = Client::new(&access()).unwrap().read(&name(&proxy.host())).unwrap();
        let error = fetch(&read).unwrap_err();
        assert!(error.to_string().contains(expected), "{more}: {error}");
    }
}

#[test]
fn waits_for_retry_after() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[10]);
    push(&access(), &registry.host(), &artifact).unwrap();
    let busy = Action::Answer(503, vec![("Retry-After", "1".to_owned())], vec![]);
    let proxy = Proxy::start(registry.port, first(1, |seen| seen.is("GET", "/manifests/"), busy));
    let begin = Instant::now();
    Client::new(&access()).unwrap().read(&name(&proxy.host())).unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

/// Returns a server that accepts connections and never responds.
fn silent() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    (listener, host)
}

/// Returns an access with short timeouts.
fn access_with_short_timeouts() -> Access {
    let mut access = access();
    access.registry.connect_timeout = Duration::from_millis(300);
    access.registry.silence_timeout = Duration::from_millis(300);
    access.registry.retry.attempts = NonZero::new(2).unwrap();
    access
}

fn pull(access: &Access, host: &str) -> Result<(), RegistryError> {
    let read = Client::new(access)?.read(&name(host))?;
    fetch(&read).map_err(|error| match RegistryError::from_reader(error) {
        Ok(error) => error,
        Err(error) => panic!("{error}"),
    })
}

/// All stalls of a response.
fn stalls() -> [(&'static str, Action); 5] {
    [
        ("nothing", Action::Stall(0)),
        ("half a head", Action::Stall(20)),
        ("half a body", Action::Stall(700)),
        ("a head that crawls", Action::Crawl(20)),
        ("a body that crawls", Action::Crawl(700)),
    ]
}

#[test]
fn a_stalled_registry_times_out() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[100_000]);
    push(&access(), &registry.host(), &artifact).unwrap();
    let is_manifest: fn(&ProxyRequest) -> bool = |seen| seen.is("GET", "/manifests/");
    // In parallel, since each mostly waits.
    std::thread::scope(|scope| {
        for ((how, action), meant) in
            stalls().into_iter().flat_map(|stall| [(stall.clone(), is_manifest), (stall, is_blob)])
        {
            let port = registry.port;
            scope.spawn(move || {
                let proxy = Proxy::start(port, first(usize::MAX, meant, action.clone()));
                let error = pull(&access_with_short_timeouts(), &proxy.host()).unwrap_err();
                assert!(matches!(error, RegistryError::Stalled { .. }), "{how}: {error}");
                assert!(error.help().unwrap().contains("--network-timeout"));
                assert!(proxy.count(meant) >= 2, "{how}: it is tried again");
                // A single stall is retried.
                let proxy = Proxy::start(port, first(1, meant, action));
                pull(&access_with_short_timeouts(), &proxy.host())
                    .unwrap_or_else(|error| panic!("{how}: {error}"));
            });
        }
    });
    let (_listener, host) = silent();
    for error in [
        pull(&access_with_short_timeouts(), &host).unwrap_err(),
        push(&access_with_short_timeouts(), &host, &artifact).unwrap_err(),
    ] {
        assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
    }
}

#[test]
fn a_stalled_push_times_out() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    // Larger than the buffers of two sockets.
    let artifact = image(1, &[16 * MIB]);
    let is_post: fn(&ProxyRequest) -> bool = |seen| seen.method == "POST";
    let is_manifest: fn(&ProxyRequest) -> bool = |seen| seen.is("PUT", "/manifests/");
    let is_head: fn(&ProxyRequest) -> bool = |seen| seen.is("HEAD", "/blobs/");
    std::thread::scope(|scope| {
        for (meant, action) in [
            (is_upload as fn(&ProxyRequest) -> bool, Action::Deaf),
            (is_post, Action::Stall(0)),
            (is_post, Action::Crawl(20)),
            (is_head, Action::Stall(0)),
            (is_manifest, Action::Stall(0)),
        ] {
            let (port, artifact) = (registry.port, &artifact);
            scope.spawn(move || {
                let proxy = Proxy::start(port, first(usize::MAX, meant, action.clone()));
                let name: RemoteName = format!("{}/team/{}:1", proxy.host(), proxy.port).parse().unwrap();
                let client = Client::new(&access_with_short_timeouts()).unwrap();
                let error = client.write(artifact, &name, &Silent).unwrap_err();
                assert!(matches!(error, RegistryError::Stalled { .. }), "{action:?}: {error}");
            });
        }
    });
    // A single stall is retried, and a blob stored before its response was lost is found.
    for action in [Action::Deaf, Action::Stall(0), Action::Crawl(20)] {
        let proxy = Proxy::start(registry.port, first(1, is_upload, action));
        push(&access_with_short_timeouts(), &proxy.host(), &artifact).unwrap();
        assert_stored(&registry, &artifact);
    }
}

#[test]
fn stalled_redirects_and_token_servers_time_out() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[100_000]);
    push(&access(), &registry.host(), &artifact).unwrap();
    let (_listener, host) = silent();
    let elsewhere = format!("http://{host}/x");
    let challenge = format!("Bearer realm=\"{elsewhere}\",service=\"x\"");
    for (meant, action) in [
        (is_blob as fn(&ProxyRequest) -> bool, Action::Answer(307, vec![("Location", elsewhere)], vec![])),
        (|seen| seen.path.len() > 4, Action::Answer(401, vec![("WWW-Authenticate", challenge)], vec![])),
    ] {
        let proxy = Proxy::start(registry.port, first(usize::MAX, meant, action));
        let error = pull(&access_with_short_timeouts(), &proxy.host()).unwrap_err();
        let RegistryError::Stalled { host: named, .. } = &error else { panic!("{error}") };
        assert_eq!(*named, host);
    }
}

#[test]
fn a_stalled_mirror_is_skipped() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[100_000, 10, 20]);
    push(&access(), &registry.host(), &artifact).unwrap();
    let (listener, host) = silent();
    let mut access = access_with_short_timeouts();
    access.registry.mirrors.insert(registry.host(), vec![format!("http://{host}")]);
    pull(&access, &registry.host()).unwrap();
    // A stalled mirror is tried once, not for each document and blob.
    listener.set_nonblocking(true).unwrap();
    assert_eq!(std::iter::from_fn(|| listener.accept().ok()).count(), 1);
    // The same for a stall in the middle of a blob.
    for (_, action) in stalls() {
        let mirror = Proxy::start(registry.port, first(usize::MAX, is_blob, action));
        let mut access = access_with_short_timeouts();
        access.registry.mirrors.insert(registry.host(), vec![format!("http://{}", mirror.host())]);
        pull(&access, &registry.host()).unwrap();
        assert_eq!(mirror.count(is_blob), 1);
    }
}
