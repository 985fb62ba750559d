//! Images into a Docker engine and out of it, without its client: `.ci/engine cargo test --test it
//! daemon::`.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use ipo_oci::error::{Advice, chain};
use ipo_oci::image::Blob;
use ipo_oci::progress::Silent;
use ipo_oci::store::{self, Access, Network, StoreError, WriteOptions};

use crate::support::engine::Engine;
use crate::support::images::{image, image_with, layer_of};
use crate::support::layout::json;
use crate::support::{Layout, ipo_oci, run};
use test_macros::test;

/// The name of an image that is removed at the end of the test.
struct Loaded(Engine, String);

impl Drop for Loaded {
    fn drop(&mut self) {
        self.0.docker(&["image", "rm", "--force", &self.1]);
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn loads_and_exports_an_image() {
    let engine = Engine::find();
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let image = image("in and out of an engine");
    let name = Loaded(engine, "ipo-oci-test/daemon:1".to_owned());
    let layout = format!("oci:{}:1", at("a"));
    let destination = layout.parse().expect("a destination");
    store::write_image(&image, &destination, &"x:1".parse().expect("a name"), "").expect("stored");
    let there = format!("docker-daemon:{}", name.1);
    let outcome = run(ipo_oci().args(["copy", &layout, &there])).success();
    assert_eq!(outcome.text().trim_end(), format!("{there}@{}", image.digest()));
    let inspected = engine.docker(&["image", "inspect", &name.1]).success();
    let inspected = &json(&inspected.stdout)[0];
    assert_eq!(inspected["Id"], image.config_digest().to_string());
    assert_eq!(inspected["Config"]["Healthcheck"]["Test"][1], "/app/check");
    // Exported through the API, and by `docker save`.
    let saved = at("saved.tar");
    engine.docker(&["save", "--output", &saved, &name.1]).success();
    for (number, from) in
        [there.clone(), format!("docker-archive:{saved}"), format!("docker-archive:{saved}:{}", name.1)]
            .iter()
            .enumerate()
    {
        let to = format!("oci:{}", at(&format!("out{number}")));
        let outcome = run(ipo_oci().args(["copy", from, &to])).success();
        assert!(outcome.text().starts_with(&format!("{to}:1@")), "{}", outcome.text());
        let layout = Layout::open(folder.path().join(format!("out{number}")));
        layout.verify();
        let again = layout.only();
        assert_eq!(again.manifest["config"]["digest"], image.config_digest().to_string());
        assert_eq!(again.config["config"]["Healthcheck"]["Test"][1], "/app/check");
    }
    // The engine stores unpacked layers, so exported layers are uncompressed and stay so.
    let outcome = run(ipo_oci().args(["copy", &format!("oci:{}", at("out0")), &there])).success();
    assert!(outcome.text().contains("@sha256:"));
    let told = run(ipo_oci().args(["inspect", "--json", &there])).success();
    assert_eq!(json(&told.stdout)["image"]["config_digest"], image.config_digest().to_string());
}

#[test]
fn reads_several_images_of_docker_save() {
    let engine = Engine::find();
    let folder = folder();
    let names =
        ["ipo-oci-test/several:1", "ipo-oci-test/several:2"].map(|name| Loaded(engine, name.to_owned()));
    for (number, name) in names.iter().enumerate() {
        let destination = format!("docker-daemon:{}", name.1).parse().expect("a destination");
        let artifact = image(&number.to_string()).artifact().expect("an artifact");
        store::write(
            &artifact,
            &destination,
            &"x".parse().expect("a name"),
            &WriteOptions::default(),
            &access(),
            &Silent,
        )
        .expect("loaded");
    }
    let saved = folder.path().join("saved.tar");
    // The second image shares a layer with the first, which the engine exports as a link.
    engine.docker(&["save", "--output", saved.to_str().expect("UTF-8"), &names[0].1, &names[1].1]).success();
    for (number, name) in names.iter().enumerate() {
        let reference = format!("docker-archive:{}:{}", saved.display(), name.1);
        let found =
            store::open_image(&reference.parse().expect("a reference"), None, &access()).expect("an image");
        assert_eq!(found.config, image(&number.to_string()).config);
        store::verify_layers(&found).expect("good layers");
    }
}

fn access() -> Access {
    let mut access = Access::default();
    access.docker_host = std::env::var("DOCKER_HOST").ok();
    access
}

#[test]
fn names_an_absent_image() {
    Engine::find();
    let error = store::open(&"docker-daemon:ipo-oci-test/absent:1".parse().expect("a reference"), &access())
        .expect_err("it is not there");
    assert!(matches!(error, StoreError::NotInEngine { .. }), "{error}");
}

#[test]
fn an_image_with_wrong_blobs_is_not_loaded() {
    let engine = Engine::find();
    let name = Loaded(engine, "ipo-oci-test/wrong:1".to_owned());
    let destination = format!("docker-daemon:{}", name.1).parse().expect("a destination");
    let mut wrong = layer_of(&[("app/main.py", "what it says")]);
    wrong.blob = layer_of(&[("app/main.py", "another thing")]).blob;
    let artifact = image_with(wrong).artifact().expect("an artifact");
    let put = |artifact| {
        store::write(
            artifact,
            &destination,
            &"x".parse().expect("a name"),
            &WriteOptions::default(),
            &access(),
            &Silent,
        )
    };
    let error = put(&artifact).expect_err("another layer");
    assert!(matches!(error, StoreError::Digest { .. }), "{error}");
    let mut gone = artifact.clone();
    gone.blobs[2].1 = Blob::File("not/there".into());
    put(&gone).expect_err("no layer");
    engine.docker(&["image", "inspect", &name.1]).exits_with(1);
}

#[test]
fn names_an_unreachable_engine() {
    let folder = folder();
    let socket = folder.path().join("no.sock");
    for (host, said) in [
        (format!("unix://{}", socket.display()), "no such file"),
        ("tcp://127.0.0.1:1".to_owned(), "connection refused"),
        ("ssh://host".to_owned(), "unix:///PATH or tcp://HOST:PORT"),
    ] {
        let mut command = ipo_oci();
        command.env("DOCKER_HOST", &host).args(["inspect", "docker-daemon:x:1"]);
        let outcome = run(&mut command).exits_with(1);
        assert!(outcome.stderr.contains(&format!("the Docker engine at {host}")), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("DOCKER_HOST"), "{}", outcome.stderr);
    }
    let access = Access::default().with_network(Network::Forbidden).with_docker_host("tcp://127.0.0.1:1");
    let error =
        store::open(&"docker-daemon:x:1".parse().expect("a reference"), &access).expect_err("no network");
    assert!(matches!(error, StoreError::Offline(_)), "{error}");
    assert!(error.help().is_some());
}

/// Responds to the ping request.
fn greet(listener: &UnixListener) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut request = [0; 1024];
    let got = stream.read(&mut request).expect("a request");
    assert!(request[..got].starts_with(b"GET /_ping "));
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").expect("an answer");
}

/// Starts an engine that responds to the ping and then sends `answer`.
fn answering(socket: &Path, answer: &'static [u8]) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        greet(&listener);
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).expect("a request");
        let _ = stream.write_all(answer);
    })
}

#[test]
fn reports_invalid_responses() {
    for (answer, said) in [
        (&b"rubbish\r\n\r\n"[..], "the response is not HTTP"),
        (b"", "no response"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 17\r\n\r\n{\"message\":\"why\"}", "status 500: why"),
        (b"HTTP/1.1 400 No\r\n\r\nplain words\n", "status 400: plain words"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nabc", "the response is truncated"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "invalid tar archive",
        ),
    ] {
        let folder = folder();
        let socket = folder.path().join("engine.sock");
        let engine = answering(&socket, answer);
        let access = Access::default().with_docker_host(format!("unix://{}", socket.display()));
        let error =
            chain(&store::open(&"docker-daemon:x:1".parse().expect("a reference"), &access).expect_err(said));
        assert!(error.contains(said), "{error}");
        engine.join().expect("an engine");
    }
}

#[test]
fn a_stalled_engine_times_out() {
    let artifact = image("1").artifact().expect("an artifact");
    for (answers, said) in [(0, "no progress for 0.1 s"), (1, "no progress for 2 s")] {
        let folder = folder();
        let socket = folder.path().join("engine.sock");
        // Connections wait in its backlog and are never accepted.
        let listener = UnixListener::bind(&socket).expect("a socket");
        let mut access = Access::default().with_docker_host(format!("unix://{}", socket.display()));
        access.engine_timeout = Some(Duration::from_millis(100));
        std::thread::scope(|scope| {
            let greeting = scope.spawn(|| (0..answers).for_each(|_| greet(&listener)));
            let error = chain(
                &store::open(&"docker-daemon:x:1".parse().expect("a reference"), &access).expect_err(said),
            );
            assert!(error.contains(said), "{error}");
            greeting.join().expect("an engine");
        });
        if answers == 0 {
            let destination = "docker-daemon:x:1".parse().expect("a destination");
            let name = "x:1".parse().expect("a name");
            let error = chain(
                &store::write(&artifact, &destination, &name, &WriteOptions::default(), &access, &Silent)
                    .expect_err(said),
            );
            assert!(error.contains(said), "{error}");
        }
    }
}

#[test]
fn reports_the_reason_for_a_refused_image() {
    for (answer, said) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"error\":\"full\"}"[..], "truncated"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"error\":\"full\"}", "full"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "does not confirm the loaded image"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 18\r\n\r\n{\"message\":\"full\"}", "status 500: full"),
    ] {
        let folder = folder();
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let engine = std::thread::spawn(move || {
            greet(&listener);
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut body = Vec::new();
            let mut piece = [0; 4096];
            // The last chunk ends the request.
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                let got = stream.read(&mut piece).expect("a request");
                assert!(got > 0, "the request has no end");
                body.extend_from_slice(&piece[..got]);
            }
            stream.write_all(answer).expect("an answer");
        });
        let access = Access::default().with_docker_host(format!("unix://{}", socket.display()));
        let destination = "docker-daemon:x:1".parse().expect("a destination");
        let artifact = image("1").artifact().expect("an artifact");
        let name = "x:1".parse().expect("a name");
        let error = chain(
            &store::write(&artifact, &destination, &name, &WriteOptions::default(), &access, &Silent)
                .expect_err(said),
        );
        assert!(error.contains(said), "{error}");
        engine.join().expect("an engine");
    }
}

#[test]
fn reports_the_response_before_a_hang_up() {
    let folder = folder();
    let socket = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let engine = std::thread::spawn(move || {
        greet(&listener);
        let (mut stream, _) = listener.accept().expect("a connection");
        stream
            .write_all(b"HTTP/1.1 507 Full\r\nContent-Length: 23\r\n\r\n{\"message\":\"disk full\"}")
            .expect("an answer");
    });
    let access = Access::default().with_docker_host(format!("unix://{}", socket.display()));
    // More bytes than a socket buffers.
    let noise = "0123456789abcdef".repeat(1 << 18);
    let layer = crate::support::images::compressed(&[("noise", &noise)], ipo_oci::layer::Compression::None);
    let artifact = image_with(layer).artifact().expect("an artifact");
    let destination = "docker-daemon:x:1".parse().expect("a destination");
    let name = "x:1".parse().expect("a name");
    let error = chain(
        &store::write(&artifact, &destination, &name, &WriteOptions::default(), &access, &Silent)
            .expect_err("it hung up"),
    );
    assert!(error.contains("status 507: disk full"), "{error}");
    engine.join().expect("an engine");
}
