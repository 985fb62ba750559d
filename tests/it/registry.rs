//! Reads and writes with the registry of Debian's packages, and with a proxy in front of it.

use std::io::Read;
use std::num::NonZero;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipo_oci::digest::Digest;
use ipo_oci::error::{Advice, chain};
use ipo_oci::image::{Artifact, DOCKER_MANIFEST, Descriptor, IMAGE_MANIFEST};
use ipo_oci::progress::{Direction, Progress, Silent, Transfer, TransferState, Warning};
use ipo_oci::reference::RemoteName;
use ipo_oci::store::registry::{
    CertificateError, Client, ConnectionError, Credential, CredentialFiles, FixedCredentials, RegistryError,
};
use ipo_oci::store::{self, Access, Network, WriteOptions};
use serde_json::{Value, json};

use crate::support::proxy::{Action, Proxy, ProxyRequest};
use crate::support::registry::{Kind, PASSWORD, Registry, Shelf, Types, USER, access, fetch, image, noise};
use crate::support::{binary, clean_environment, requires, run, skip};
use test_macros::test;

fn name(host: &str, rest: &str) -> RemoteName {
    format!("{host}/{rest}").parse().expect("a name")
}

fn push(client: &Client, artifact: &Artifact, name: &RemoteName) -> Result<(), RegistryError> {
    client.write(artifact, name, &Silent).map(|digest| assert_eq!(digest, artifact.digest()))
}

#[test]
fn reads_written_artifacts() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let client = Client::new(&access()).unwrap();
    let mut shelf = Shelf::default();
    let oci = shelf.image(Types::Oci, &[noise(1, 100_000), Vec::new()]);
    let docker = shelf.image(Types::Docker, &[noise(2, 10)]);
    let index = shelf.index(&[(oci.clone(), "amd64"), (docker.clone(), "arm64")]);
    for (tag, descriptor) in [("oci", &oci), ("docker", &docker), ("index", &index)] {
        let name = name(&registry.host(), &format!("team/app:{tag}"));
        let artifact = shelf.read(descriptor);
        push(&client, &artifact, &name).unwrap();
        let resolved = client.resolve(&name).unwrap();
        assert_eq!((resolved.digest, resolved.size), (descriptor.digest, descriptor.size));
        let again = client.read(&name).unwrap();
        assert_eq!(again.bytes, artifact.bytes);
        assert_eq!(again.descriptor.media_type, descriptor.media_type);
        fetch(&again).unwrap();
    }
    let by_digest = client.read(&name(&registry.host(), "team/app").with_digest(docker.digest)).unwrap();
    assert_eq!(by_digest.descriptor.media_type, DOCKER_MANIFEST);
    registry.verify();
}

#[test]
fn skopeo_reads_written_images_and_vice_versa() {
    requires("docker-registry");
    requires("skopeo");
    let registry = Registry::start(Kind::Anonymous);
    let client = Client::new(&access()).unwrap();
    let mut shelf = Shelf::default();
    let oci = shelf.image(Types::Oci, &[noise(1, 100_000)]);
    let docker = shelf.image(Types::Docker, &[noise(2, 10)]);
    let index = shelf.index(&[(oci.clone(), "amd64"), (docker.clone(), "arm64")]);
    for (tag, descriptor) in [("oci", oci), ("docker", docker), ("index", index)] {
        let here = name(&registry.host(), &format!("here:{tag}"));
        push(&client, &shelf.read(&descriptor), &here).unwrap();
        let there = name(&registry.host(), &format!("there:{tag}"));
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        run(skopeo.arg(format!("docker://{here}")).arg(format!("docker://{there}"))).success();
        let found = client.read(&there).unwrap();
        assert_eq!(found.digest(), descriptor.digest, "{tag}");
        fetch(&found).unwrap();
    }
}

#[test]
fn sends_only_new_blobs() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let client = Client::new(&access()).unwrap();
    let mut shelf = Shelf::default();
    let (base, venv) = (noise(1, 50_000), noise(2, 80_000));
    let first = shelf.image(Types::Oci, &[base.clone(), venv.clone(), noise(3, 100)]);
    let second = shelf.image(Types::Oci, &[base, venv, noise(4, 100)]);
    push(&client, &shelf.read(&first), &name(&registry.host(), "team/app:1")).unwrap();

    let before = registry.log_end();
    push(&client, &shelf.read(&second), &name(&registry.host(), "team/app:2")).unwrap();
    let put = |what: &str| registry.requests(before, &format!("PUT /v2/team/app/{what}"));
    assert_eq!((put("blobs/uploads/"), put("manifests/")), (2, 1), "{}", registry.log());
    assert_eq!(registry.requests(before, "PATCH "), 0);

    // Layers read from one repository are mounted into another.
    let read = client.read(&name(&registry.host(), "team/app:2")).unwrap();
    let before = registry.log_end();
    push(&client, &read, &name(&registry.host(), "other/app:2")).unwrap();
    assert_eq!(registry.requests(before, "POST /v2/other/app/blobs/uploads/?mount="), 4);
    assert_eq!(registry.requests(before, "PUT /v2/other/app/blobs/"), 0);
    assert_eq!(registry.requests(before, "PUT /v2/other/app/manifests/2"), 1);
    assert_eq!(registry.requests(before, "GET /v2/team/app/blobs/"), 0, "no byte of them was fetched");

    // Blobs of repositories in `mount_from` are mounted as well.
    let mut access = access();
    access.registry.mount_from = vec![
        name(&registry.host(), "not/there"),
        name("elsewhere.example", "team/app"),
        name(&registry.host(), "team/app"),
    ];
    let before = registry.log_end();
    let client = Client::new(&access).unwrap();
    push(&client, &shelf.read(&first), &name(&registry.host(), "third/app:1")).unwrap();
    assert_eq!(registry.requests(before, "PUT /v2/third/app/blobs/"), 0, "{}", registry.log());
    fetch(&client.read(&name(&registry.host(), "third/app:1")).unwrap()).unwrap();
}

proptest::proptest! {
    #[test]
    fn parsers_never_panic_on_any_text(
        text in "([BbearicNgo, =\"\\\\:/?@.\\[\\]{}0-9é-]|realm|auths|://|Bearer )*",
    ) {
        ipo_oci::store::registry::fuzz(text.as_bytes());
    }
}

/// Records transfers.
#[derive(Default)]
struct RecordedTransfers(Mutex<Vec<(Direction, u64, u64, TransferState)>>);

impl Progress for RecordedTransfers {
    fn warn(&self, _: Warning) {}

    fn transfer(&self, transfer: &Transfer) {
        let Transfer { direction, done_bytes, total_bytes, state, .. } = *transfer;
        self.0.lock().unwrap().push((direction, done_bytes, total_bytes, state));
    }
}

#[test]
fn reports_transfers_to_their_end() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let told = std::sync::Arc::new(RecordedTransfers::default());
    let client = Client::with_progress(&access(), told.clone()).unwrap();
    let artifact = image(1, &[2_000_000]);
    let name = name(&registry.host(), "app:1");
    client.write(&artifact, &name, &*told).unwrap();
    client.write(&artifact, &name, &*told).unwrap();
    fetch(&client.read(&name).unwrap()).unwrap();
    let told = told.0.lock().unwrap();
    let ends = |direction, state| {
        let is = |(d, done, total, s): &&(Direction, u64, u64, TransferState)| {
            (*d, *s) == (direction, state) && done == total
        };
        told.iter().filter(is).count()
    };
    assert_eq!(ends(Direction::Sent, TransferState::Done), 2);
    assert_eq!(ends(Direction::Sent, TransferState::Present), 2);
    assert_eq!(ends(Direction::Fetched, TransferState::Done), 2);
    assert!(told.iter().filter(|(_, _, _, state)| *state == TransferState::Running).count() > 4);
}

#[test]
fn a_referrer_is_listed_under_its_subject() {
    requires("docker-registry");
    // Registry 2.8 has no referrers API.
    let registry = Registry::start(Kind::Anonymous);
    let client = Client::new(&access()).unwrap();
    let mut shelf = Shelf::default();
    let subject = shelf.image(Types::Oci, &[noise(1, 10)]);
    push(&client, &shelf.read(&subject), &name(&registry.host(), "app:1")).unwrap();
    let empty = shelf.document_of("application/vnd.oci.empty.v1+json", &json!({}));
    let mut listed = Vec::new();
    for kind in ["application/spdx+json", "application/vnd.example.signature"] {
        let document = json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": kind, "config": empty.json,
            "layers": [empty.json], "subject": subject.json, "annotations": { "kind": kind },
        });
        let document = shelf.document_of(IMAGE_MANIFEST, &document);
        let place = name(&registry.host(), "app").with_digest(document.digest);
        for _ in 0..2 {
            push(&client, &shelf.read(&document), &place).unwrap();
        }
        listed.push((document.digest.to_string(), kind));
    }
    let tag = format!("sha256-{}", subject.digest.hex());
    let index = client.read(&name(&registry.host(), "app").with_tag(tag)).unwrap();
    let index: Value = serde_json::from_slice(&index.bytes).unwrap();
    let found: Vec<_> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2, "{index:#}");
    for (entry, (digest, kind)) in found.iter().zip(&listed) {
        assert_eq!(entry["digest"], json!(digest));
        assert_eq!(entry["artifactType"], json!(kind));
        assert_eq!(entry["annotations"]["kind"], json!(kind));
    }
}

/// Returns an access with `file` as its credential file.
fn access_with(folder: &std::path::Path, file: &Value) -> Access {
    let path = folder.join("config.json");
    fs_err::write(&path, file.to_string()).unwrap();
    let mut access = access();
    access.registry.keychains = vec![Arc::new(CredentialFiles::new(vec![path]))];
    access
}

fn auth(user: &str, password: &str) -> Value {
    json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
}

#[test]
fn credentials_in_memory_need_no_file() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let place = name(&registry.host(), "team/app:1");
    let with = |key: &str| {
        let credential = Credential::Password { user: USER.to_owned(), password: PASSWORD.into() };
        let mut access = access();
        access.registry.keychains =
            vec![Arc::new(FixedCredentials::default().with(key, credential).expect("a registry"))];
        Client::new(&access).expect("a client")
    };
    let artifact = image(1, &[1000]);
    push(&with(&registry.host()), &artifact, &place).expect("pushed");
    let client = with(&format!("{}/team", registry.host()));
    fetch(&client.read(&place).expect("an image")).expect("its layers");
    // Credentials for another host are not sent.
    let error = push(&with("other.example"), &artifact, &place).expect_err("refused");
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert_no_secret(&error);
}

#[test]
fn a_program_pushes_with_a_token_in_memory() {
    requires("docker-registry");
    let program = binary().with_file_name("examples").join("push");
    if !program.exists() {
        skip("examples/push is not built: cargo build --example push");
    }
    let registry = Registry::start(Kind::Htpasswd);
    let folder = tempfile::tempdir().expect("a folder");
    let layout = format!("oci:{}:1", folder.path().join("layout").display());
    let (source, at) = (layout.parse().expect("a layout"), "team/app:1".parse().expect("a name"));
    let image = image(1, &[1000]);
    store::write(&image, &source, &at, &WriteOptions::default(), &access(), &Silent).expect("written");
    let destination = format!("docker://{}/team/app:1", registry.host());
    let mut command = Command::new(program);
    clean_environment(&mut command);
    let outcome = run(command.args([&layout, &destination]).env("REGISTRY_TOKEN", PASSWORD)).success();
    let place = destination.trim_start_matches("docker://");
    assert_eq!(outcome.text().trim_end(), format!("{place}@{}", image.digest()));
    let mut command = Command::new(binary().with_file_name("examples").join("push"));
    clean_environment(&mut command);
    let outcome = run(command.args([&layout, &destination]).env("REGISTRY_TOKEN", "wrong"));
    assert!(!outcome.status.success() && !outcome.stderr.contains("wrong"), "{}", outcome.describe());
}

/// Checks that no text of an error contains a secret.
#[track_caller]
fn assert_no_secret(error: &RegistryError) {
    let shown = format!("{error} {error:?} {:?}", error.help());
    for secret in [PASSWORD, &STANDARD.encode(format!("{USER}:{PASSWORD}")), "token-1", "refresh-1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn sends_user_and_password() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let folder = tempfile::tempdir().unwrap();
    let artifact = image(1, &[1000]);
    let place = name(&registry.host(), "team/app:1");
    let with = |file: &Value| Client::new(&access_with(folder.path(), file)).unwrap();

    let client = with(&json!({ "auths": { registry.host(): auth(USER, PASSWORD) } }));
    push(&client, &artifact, &place).unwrap();
    fetch(&client.read(&place).unwrap()).unwrap();

    for file in [
        json!({}),
        json!({ "auths": { registry.host(): auth(USER, "wrong") } }),
        json!({ "auths": { "localhost:1": auth(USER, PASSWORD) } }),
    ] {
        let client = with(&file);
        let error = push(&client, &artifact, &place).unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
        let error = client.read(&place).unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
        assert_no_secret(&error);
    }
    let client = with(&json!({ "credHelpers": { registry.host(): "not-installed" } }));
    let error = client.read(&place).unwrap_err();
    assert!(error.to_string().contains("docker-credential-not-installed"), "{error}");
    assert!(error.help().is_some());
}

#[test]
fn trusts_a_given_certificate_authority() {
    requires("docker-registry");
    requires("openssl");
    let registry = Registry::start(Kind::Tls);
    let artifact = image(1, &[100_000]);
    let place = name(&registry.host(), "app:1");

    let error = push(&Client::new(&access()).unwrap(), &artifact, &place).unwrap_err();
    let RegistryError::Certificate { source: CertificateError::UnknownIssuer, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        chain(&error),
        format!("cannot trust {}: the certificate's issuer is not trusted", registry.host())
    );

    let mut trusting = access();
    trusting.registry.ca_files = vec![registry.folder.path().join("ca.pem")];
    let client = Client::new(&trusting).unwrap();
    push(&client, &artifact, &place).unwrap();
    fetch(&client.read(&place).unwrap()).unwrap();
    // The certificate covers this name, but not the address below.
    client.read(&name(&format!("localhost:{}", registry.port), "app:1")).unwrap();
    let error = client.read(&name(&format!("127.0.0.2:{}", registry.port), "app:1")).unwrap_err();
    assert!(!matches!(error, RegistryError::NotFound(_)), "{error:?}");

    let mut insecure = access();
    insecure.registry.insecure = vec![registry.host()];
    fetch(&Client::new(&insecure).unwrap().read(&place).unwrap()).unwrap();
    let error = Client::new(&insecure).unwrap().read(&name(&format!("localhost:{}", registry.port), "app:1"));
    assert!(matches!(error, Err(RegistryError::Certificate { .. })), "insecure is for the named host only");

    let mut wrong = access();
    wrong.registry.ca_files = vec![registry.folder.path().join("config.yml")];
    assert!(matches!(Client::new(&wrong), Err(RegistryError::Setting { .. })));
}

/// Token authentication in front of an anonymous registry.
struct Tokens {
    /// The accepted token.
    good: Mutex<String>,
}

impl Tokens {
    /// Forwards a request with the accepted token, and challenges others.
    fn check(&self, seen: &ProxyRequest, realm: &str) -> Action {
        let good = format!("Bearer {}", self.good.lock().unwrap());
        if seen.header("authorization") == Some(&good) {
            return Action::Pass;
        }
        let challenge = format!(r#"Bearer realm="{realm}",service="test registry",scope="x""#);
        let body = json!({ "errors": [{ "message": format!("no: {:?}", seen.header("authorization")) }] });
        Action::Answer(401, vec![("WWW-Authenticate", challenge)], body.to_string().into_bytes())
    }
}

#[test]
fn fetches_caches_and_renews_tokens() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let tokens = std::sync::Arc::new(Tokens { good: Mutex::new("token-1".to_owned()) });
    let server = Proxy::start(0, {
        let tokens = tokens.clone();
        move |seen| {
            let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
            let by_password = seen.method == "GET" && seen.header("authorization") == Some(&basic);
            let by_token = seen.method == "POST" && seen.body.contains("refresh_token=refresh%2D1");
            if by_password || by_token {
                let answer = json!({ "access_token": *tokens.good.lock().unwrap(), "expires_in": 3600 });
                return Action::Answer(200, vec![], answer.to_string().into_bytes());
            }
            Action::Answer(401, vec![], b"no".to_vec())
        }
    });
    let realm = format!("http://{}/token?x=1", server.host());
    let proxy = Proxy::start(registry.port, {
        let tokens = tokens.clone();
        move |seen| tokens.check(seen, &realm)
    });
    let folder = tempfile::tempdir().unwrap();
    let artifact = image(1, &[1000, 2000]);
    let place = name(&proxy.host(), "team/app:1");
    for credentials in [auth(USER, PASSWORD), json!({ "identitytoken": "refresh-1", "auth": "dTo=" })] {
        let file = json!({ "auths": { proxy.host(): credentials } });
        let client = Client::new(&access_with(folder.path(), &file)).unwrap();
        let before = server.all().len();
        push(&client, &artifact, &place).unwrap();
        fetch(&client.read(&place).unwrap()).unwrap();
        assert_eq!(server.all().len() - before, 2, "one token to push and one to pull: {:#?}", server.all());
        let asked = server.all();
        let all: Vec<_> =
            asked.iter().skip(before).map(|seen| format!("{}&{}", seen.path, seen.body)).collect();
        let all = all.join(
            "
",
        );
        assert!(all.contains("service=test%20registry"), "{all}");
        assert!(all.contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush"), "{all}");
        // The token expires between two requests.
        *tokens.good.lock().unwrap() = format!("token-1{before}");
        fetch(&client.read(&place).unwrap()).unwrap();
        assert_eq!(server.all().len() - before, 3);
    }
    for file in [json!({}), json!({ "auths": { proxy.host(): auth(USER, "wrong") } })] {
        let client = Client::new(&access_with(folder.path(), &file)).unwrap();
        let error = client.read(&place).unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    }
    // A registry that refuses its own tokens and repeats them in its error.
    let stubborn = Proxy::start(registry.port, {
        let realm = format!("http://{}/token", server.host());
        move |seen| Tokens { good: Mutex::new("another".to_owned()) }.check(seen, &realm)
    });
    let file = json!({ "auths": { stubborn.host(): auth(USER, PASSWORD) } });
    let client = Client::new(&access_with(folder.path(), &file)).unwrap();
    let error = client.read(&name(&stubborn.host(), "team/app:1")).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    assert_no_secret(&error);
}

#[test]
fn no_credential_goes_to_another_host() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Htpasswd);
    let open = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[100_000]);
    push(&Client::new(&access()).unwrap(), &artifact, &name(&open.host(), "app:1")).unwrap();
    // Blobs on another host, as in large registries.
    let storage = Proxy::start(open.port, |_| Action::Pass);
    let greedy = Proxy::start(0, {
        let realm = format!("http://{}/steal", storage.host());
        move |_| {
            let challenge = format!(r#"Bearer realm="{realm}""#);
            Action::Answer(
                401,
                vec![("WWW-Authenticate", challenge), ("WWW-Authenticate", "Basic".to_owned())],
                vec![],
            )
        }
    });
    let to = std::sync::Arc::new(Mutex::new(storage.host()));
    let proxy = Proxy::start(registry.port, {
        let to = to.clone();
        move |seen| {
            if seen.header("authorization").is_some() && seen.path.contains("/blobs/sha256") {
                let location = format!("http://{}{}", to.lock().unwrap(), seen.path);
                return Action::Answer(307, vec![("Location", location)], vec![]);
            }
            Action::Pass
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = json!({ "auths": {
        proxy.host(): auth(USER, PASSWORD), registry.host(): auth(USER, PASSWORD),
        storage.host(): auth(USER, PASSWORD), greedy.host(): auth(USER, PASSWORD),
    } });
    let client = Client::new(&access_with(folder.path(), &file)).unwrap();
    push(&client, &artifact, &name(&registry.host(), "app:1")).unwrap();
    fetch(&client.read(&name(&proxy.host(), "app:1")).unwrap()).unwrap();
    assert!(storage.count(|seen| seen.method == "GET") >= 2);
    // A redirected request sends no credentials, even if challenged.
    *to.lock().unwrap() = greedy.host();
    let error = fetch(&client.read(&name(&proxy.host(), "app:1")).unwrap()).unwrap_err();
    assert!(error.to_string().contains("requires separate credentials"), "{error}");
    assert!(greedy.count(|_| true) > 0);
    // A token request is not redirected to another host.
    for status in [301, 307] {
        let away = Proxy::start(0, {
            let location = format!("http://{}/steal", storage.host());
            move |_| Action::Answer(status, vec![("Location", location.clone())], vec![])
        });
        let wanting = Proxy::start(0, {
            let realm = format!("http://{}/token", away.host());
            move |_| {
                Action::Answer(401, vec![("WWW-Authenticate", format!(r#"Bearer realm="{realm}""#))], vec![])
            }
        });
        let file = json!({ "auths": { wanting.host(): { "identitytoken": "refresh-1" } } });
        let client = Client::new(&access_with(folder.path(), &file)).unwrap();
        let error = client.read(&name(&wanting.host(), "app:1")).unwrap_err();
        assert!(error.to_string().contains("refused redirect of POST"), "{error}");
        assert_eq!(away.count(|seen| seen.body.contains("refresh")), 1);
    }
    for other in [&storage, &greedy] {
        assert_eq!(other.count(|seen| seen.header("authorization").is_some()), 0);
        assert_eq!(other.count(|seen| seen.path.contains("steal")), 0);
    }
}

#[test]
fn mirrors_are_read_first_and_never_written() {
    requires("docker-registry");
    let (registry, mirror) = (Registry::start(Kind::Anonymous), Registry::start(Kind::Anonymous));
    let plain = Client::new(&access()).unwrap();
    let (both, one) = (image(1, &[1000]), image(2, &[1000]));
    push(&plain, &both, &name(&registry.host(), "team/both:1")).unwrap();
    push(&plain, &both, &name(&mirror.host(), "kept/team/both:1")).unwrap();
    push(&plain, &one, &name(&registry.host(), "team/one:1")).unwrap();

    let mut access = access();
    let dead = format!("127.0.0.1:{}", crate::support::free_port());
    let mirrors = vec![dead, format!("http://{}/kept", mirror.host())];
    access.registry.mirrors.insert(registry.host(), mirrors);
    let client = Client::new(&access).unwrap();
    let before = (registry.log_end(), mirror.log_end());
    fetch(&client.read(&name(&registry.host(), "team/both:1")).unwrap()).unwrap();
    assert_eq!(registry.requests(before.0, "GET "), 0, "{}", registry.log());
    fetch(&client.read(&name(&registry.host(), "team/one:1")).unwrap()).unwrap();
    push(&client, &image(3, &[10]), &name(&registry.host(), "team/new:1")).unwrap();
    assert_eq!(mirror.requests(before.1, "PUT "), 0);
}

#[test]
fn reports_mirrors_and_registry_without_the_image() {
    requires("docker-registry");
    let (registry, mirror) = (Registry::start(Kind::Anonymous), Registry::start(Kind::Anonymous));
    let absent = format!("127.0.0.1:{}", crate::support::free_port());
    for own in [registry.host(), absent.clone()] {
        let mut access = access();
        let mirrors = vec![absent.clone(), format!("http://user:hunter2@{}", mirror.host())];
        access.registry.mirrors.insert(own.clone(), mirrors);
        let with_password = Client::new(&access).unwrap().read(&name(&own, "team/app:1")).unwrap_err();
        assert_no_secret(&with_password);
        access
            .registry
            .mirrors
            .insert(own.clone(), vec![absent.clone(), format!("http://{}", mirror.host())]);
        let error = Client::new(&access).unwrap().read(&name(&own, "team/app:1")).unwrap_err();
        let RegistryError::Everywhere { mirrors, cause, .. } = &error else { panic!("{error}") };
        let tried: Vec<_> = mirrors.iter().map(|(mirror, _)| mirror.trim_start_matches("http://")).collect();
        assert_eq!(tried, [absent.clone(), mirror.host()]);
        match &**cause {
            RegistryError::NotFound(_) => assert_eq!(own, registry.host()),
            RegistryError::Network { .. } => assert_eq!(own, absent),
            other => panic!("{other}"),
        }
        let told = error.to_string();
        assert!(told.find(&mirror.host()) < told.find("; then "), "{told}");
    }
}

#[test]
fn names_a_silent_proxy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut access = access();
    access.registry.proxies.https = Some(format!("http://{}", listener.local_addr().unwrap()).into());
    access.registry.retry.attempts = std::num::NonZero::<u32>::MIN;
    access.registry.silence_timeout = Duration::from_millis(300);
    access.registry.connect_timeout = Duration::from_millis(300);
    let error = Client::new(&access).unwrap().resolve(&name("registry.invalid", "app:1")).unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
    let through = format!("registry.invalid through the proxy {}: ", listener.local_addr().unwrap());
    assert!(error.to_string().contains(&through), "{error}");
}

#[test]
fn uses_a_proxy_except_for_this_machine() {
    let proxy = Proxy::start(0, |_| Action::Answer(403, vec![], vec![]));
    let mut access = access();
    access.registry.proxies.https = Some(format!("http://user:hunter2@{}", proxy.host()).into());
    "direct.invalid".clone_into(&mut access.registry.proxies.no_proxy);
    access.registry.retry.attempts = std::num::NonZero::<u32>::MIN;
    let client = Client::new(&access).unwrap();
    let error = client.resolve(&name("registry.invalid", "app:1")).unwrap_err();
    assert_no_secret(&error);
    assert_eq!(proxy.count(|seen| seen.is("CONNECT", "registry.invalid:443")), 1, "{error}");
    let through = format!("cannot reach registry.invalid through the proxy {}: ", proxy.host());
    assert!(chain(&error).starts_with(&through), "{error:?}");
    assert!(proxy.all()[0].header("proxy-authorization").is_some());
    // Docker Hub's API has another host name.
    client.resolve(&"python:3.12".parse().unwrap()).unwrap_err();
    assert_eq!(proxy.count(|seen| seen.is("CONNECT", "registry-1.docker.io:443")), 1);
    let before = proxy.all().len();
    let error = client.resolve(&name("direct.invalid", "app:1")).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownHost(_)), "{error}");
    assert_eq!(proxy.all().len(), before);
    assert!(!format!("{:?}", access.registry).contains("hunter2"));
}

#[test]
fn reads_from_the_cache_without_a_network() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let cache = tempfile::tempdir().unwrap();
    let mut access = access();
    access.cache = Some(cache.path().to_path_buf());
    let artifact = image(1, &[300_000]);
    let place = name(&registry.host(), "app:1");
    let client = Client::new(&access).unwrap();
    push(&client, &artifact, &place).unwrap();
    // Old temporary files of killed processes are removed; recent ones may still be in use.
    let drafts = [("old", 48), ("new", 1)].map(|(name, hours)| {
        let path = cache.path().join(format!("registry/sha256/.ipo-oci-{name}"));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let made = file.metadata().unwrap().modified().unwrap();
        file.set_modified(made - std::time::Duration::from_hours(hours)).unwrap();
        path
    });
    fetch(&client.read(&place).unwrap()).unwrap();
    assert_eq!(drafts.map(|draft| draft.exists()), [false, true]);
    // A second read is served by the cache.
    let before = registry.log_end();
    fetch(&Client::new(&access).unwrap().read(&place).unwrap()).unwrap();
    assert_eq!(registry.requests(before, "GET /v2/app/"), 0, "{}", registry.log());

    access.network = Network::Forbidden;
    let offline = Client::new(&access).unwrap();
    let by_digest = place.with_digest(artifact.digest());
    fetch(&offline.read(&by_digest).unwrap()).unwrap();
    assert!(matches!(offline.read(&place), Err(RegistryError::Offline(_))));
    // Without a writable cache, blobs are read from the registry.
    let mut without = crate::support::registry::access();
    without.cache = Some("/dev/null/cache".into());
    fetch(&Client::new(&without).unwrap().read(&place).unwrap()).unwrap();
    // A damaged file is an error offline, and fetched again online.
    let blob = artifact.blobs[1].0.digest;
    fs_err::write(cache.path().join("registry/sha256").join(blob.hex()), "damaged").unwrap();
    assert!(fetch(&Client::new(&access).unwrap().read(&by_digest).unwrap()).is_err());
    access.network = Network::Allowed;
    fetch(&Client::new(&access).unwrap().read(&by_digest).unwrap()).unwrap();
}

#[test]
fn reads_a_blob_from_any_offset() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let client = Client::new(&access()).unwrap();
    let artifact = image(1, &[10_000]);
    let place = name(&registry.host(), "app:1");
    push(&client, &artifact, &place).unwrap();
    let read = client.read(&place).unwrap();
    let (descriptor, blob) = &read.blobs[1];
    let mut whole = Vec::new();
    blob.open().unwrap().read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len() as u64, descriptor.size);
    for from in [0, 1, 5000, descriptor.size - 1, descriptor.size, descriptor.size + 9] {
        let mut rest = Vec::new();
        blob.open_from(from).unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, whole[usize::try_from(from.min(descriptor.size)).unwrap()..], "{from}");
    }
    assert_eq!(blob.repository().unwrap().to_string(), format!("{}/app", registry.host()));
}

#[test]
fn names_missing_images() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let client = Client::new(&access()).unwrap();
    let place = name(&registry.host(), "app:none");
    let error = client.read(&place).unwrap_err();
    assert_eq!(error.to_string(), format!("not found: {place}"));
    let other = image(1, &[10]);
    let error = push(&client, &other, &place.with_digest(image(2, &[10]).digest())).unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    let dead = name(&format!("127.0.0.1:{}", crate::support::free_port()), "app:1");
    let error = client.read(&dead).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Network { source: ConnectionError::Io(cause), .. }
            if cause.kind() == std::io::ErrorKind::ConnectionRefused),
        "{error:?}"
    );
    assert!(chain(&error).ends_with(": connection refused"), "{error:?}");
}

/// Edits the lines of a response's head.
type Edit = fn(&mut Vec<String>);

/// Replaces the status of a response.
#[allow(clippy::ptr_arg, reason = "an `Edit` may add and take lines")]
fn status<const STATUS: u16>(lines: &mut Vec<String>) {
    lines[0] = format!("HTTP/1.1 {STATUS} x");
}

/// Removes a header of a response.
fn without(lines: &mut Vec<String>, name: &str) {
    lines.retain(|line| !line.to_ascii_lowercase().starts_with(&format!("{name}:")));
}

/// Returns the part of an upload's location after the last slash.
fn upload_of(lines: &[String]) -> String {
    let location = lines.iter().find(|line| line.starts_with("Location:")).expect("an address");
    location.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned()
        + location.find('?').map_or("", |query| &location[query..])
}

#[test]
fn accepts_variants_of_upload_responses() {
    requires("docker-registry");
    let dots: Edit = |lines| {
        let upload = upload_of(lines);
        without(lines, "location");
        lines.push(format!("Location: ../uploads/{upload}"));
    };
    let range: Edit = |lines| {
        let end = lines.iter().find_map(|line| line.strip_prefix("Range: 0-")?.parse::<u64>().ok());
        without(lines, "range");
        lines.push(format!("Range: bytes=0-{}", end.expect("a range") + 1));
    };
    for (method, edit) in [
        ("POST", status::<200> as Edit),
        ("POST", dots),
        ("PATCH", status::<200>),
        ("PATCH", status::<201>),
        ("PATCH", status::<204>),
        ("PATCH", dots),
        ("PATCH", range),
        ("PATCH", |lines| without(lines, "range")),
        ("PUT", status::<200>),
        ("PUT", status::<202>),
        ("PUT", status::<204>),
        ("PUT", |lines| without(lines, "docker-content-digest")),
    ] {
        let registry = Registry::start(Kind::Anonymous);
        let proxy = Proxy::start(registry.port, move |seen| {
            let meant = seen.method == method && seen.path.contains("/blobs/uploads/");
            if meant { Action::Edit(edit) } else { Action::Pass }
        });
        let artifact = image(1, &[400_000, 10]);
        for chunk in [None, NonZero::new(150_000)] {
            let mut access = access();
            access.registry.chunk_bytes = chunk;
            let name = name(&proxy.host(), &format!("team/{}:1", chunk.map_or(0, NonZero::get)));
            push(&Client::new(&access).unwrap(), &artifact, &name)
                .unwrap_or_else(|error| panic!("{method}: {error} {:#?}", proxy.all()));
            fetch(&Client::new(&access).unwrap().read(&name).unwrap()).unwrap();
        }
        registry.verify();
    }
}

#[test]
fn streams_before_the_final_request_if_required() {
    requires("docker-registry");
    for status in [400, 405, 501] {
        let registry = Registry::start(Kind::Anonymous);
        let proxy = Proxy::start(registry.port, move |seen| {
            let refused = seen.is("PUT", "/blobs/uploads/") && seen.length() > 0;
            if refused { Action::Answer(status, vec![], vec![]) } else { Action::Pass }
        });
        let artifact = image(1, &[400_000, 10, 20]);
        for chunk in [None, NonZero::new(1_000), NonZero::new(1_000_000)] {
            let mut access = access();
            access.registry.chunk_bytes = chunk;
            access.registry.transfers = NonZero::<usize>::MIN;
            let name = name(&proxy.host(), &format!("team/{}:1", chunk.map_or(0, NonZero::get)));
            push(&Client::new(&access).unwrap(), &artifact, &name).unwrap();
            fetch(&Client::new(&access).unwrap().read(&name).unwrap()).unwrap();
        }
        // The first blob of a push detects the limitation.
        let refused = proxy.count(|seen| seen.is("PUT", "team/0/blobs/uploads/") && seen.length() > 0);
        assert_eq!(refused, 1);
        // Streamed like docker's and crane's.
        assert!(proxy.count(|seen| seen.method == "PATCH" && seen.header("content-range").is_none()) >= 3);
        registry.verify();
    }
}

#[test]
fn an_immutable_tag_accepts_the_same_image() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let (first, other) = (image(1, &[10]), image(2, &[10]));
    push(&Client::new(&access()).unwrap(), &first, &name(&registry.host(), "a/b:1")).unwrap();
    for status in [400, 403, 409, 412] {
        for head in [Action::Pass, Action::Answer(405, vec![], vec![])] {
            let proxy = Proxy::start(registry.port, move |seen| match seen.method.as_str() {
                "PUT" if seen.path.ends_with("/manifests/1") => {
                    let body = br#"{"errors":[{"code":"TAG_INVALID","message":"immutable"}]}"#;
                    Action::Answer(status, vec![], body.to_vec())
                }
                "HEAD" if seen.path.contains("/manifests/") => head.clone(),
                _ => Action::Pass,
            });
            let name = name(&proxy.host(), "a/b:1");
            push(&Client::new(&access()).unwrap(), &first, &name).unwrap();
            let error = push(&Client::new(&access()).unwrap(), &other, &name).unwrap_err();
            assert!(error.to_string().contains("immutable"), "{error}");
        }
    }
}

#[test]
fn reads_a_tag_if_head_is_refused() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let artifact = image(1, &[10]);
    push(&Client::new(&access()).unwrap(), &artifact, &name(&registry.host(), "a/b:1")).unwrap();
    for status in [401, 403, 404, 405, 429, 500, 501] {
        let wait = vec![("Retry-After", "9999".to_owned())];
        let proxy = Proxy::start(registry.port, move |seen| {
            if seen.method == "HEAD" { Action::Answer(status, wait.clone(), vec![]) } else { Action::Pass }
        });
        let client = Client::new(&access()).unwrap();
        let read = client.read(&name(&proxy.host(), "a/b:1")).unwrap();
        assert_eq!(read.digest(), artifact.digest(), "{status}");
        assert_eq!(proxy.count(|seen| seen.method == "HEAD"), 1);
        if status != 500 {
            push(&client, &image(status.into(), &[10]), &name(&proxy.host(), "a/b:2")).unwrap();
        }
    }
}

#[test]
fn copies_and_verifies_sha512_images() {
    requires("docker-registry");
    let registry = Registry::start(Kind::Anonymous);
    let sha512 =
        |bytes: &[u8]| format!("sha512:{}", "0".repeat(128)).parse::<Digest>().unwrap().recomputed(bytes);
    let mut artifact = image(1, &[1000]);
    let mut manifest: Value = serde_json::from_slice(&artifact.bytes).unwrap();
    for (number, (descriptor, blob)) in artifact.blobs.iter_mut().enumerate() {
        let mut bytes = Vec::new();
        blob.open().unwrap().read_to_end(&mut bytes).unwrap();
        descriptor.digest = sha512(&bytes);
        descriptor.json["digest"] = descriptor.digest.to_string().into();
        let place = if number == 0 { &mut manifest["config"] } else { &mut manifest["layers"][number - 1] };
        *place = descriptor.json.clone();
    }
    artifact.bytes = manifest.to_string().into_bytes().into();
    artifact.descriptor =
        Descriptor::new(IMAGE_MANIFEST, Digest::of(&artifact.bytes), artifact.bytes.len() as u64);
    let tag = name(&registry.host(), "a/b:1");
    push(&Client::new(&access()).unwrap(), &artifact, &tag).unwrap();
    // Through a cache, a layout, and by the manifest's SHA-512 digest.
    let folder = tempfile::tempdir().unwrap();
    let mut access = access();
    access.cache = Some(folder.path().join("cache"));
    for _ in 0..2 {
        fetch(&Client::new(&access).unwrap().read(&tag).unwrap()).unwrap();
    }
    let layout = format!("oci:{}:1", folder.path().join("layout").display());
    let read = Client::new(&access).unwrap().read(&tag).unwrap();
    let options = store::WriteOptions::default();
    store::write(&read, &layout.parse().unwrap(), &"x:1".parse().unwrap(), &options, &access, &Silent)
        .unwrap();
    let layer = folder.path().join("layout/blobs/sha512").join(artifact.blobs[1].0.digest.hex());
    let from_layout = store::open(&layout.parse().unwrap(), &access).unwrap();
    fetch(&from_layout).unwrap();
    fs_err::write(&layer, vec![7; usize::try_from(artifact.blobs[1].0.size).unwrap()]).unwrap();
    fetch(&from_layout).unwrap_err();
    // Damaged bytes are detected.
    let lying = Proxy::start(registry.port, |seen| {
        if seen.is("GET", "/blobs/sha512:") { Action::Damage } else { Action::Pass }
    });
    let read = Client::new(&crate::support::registry::access())
        .unwrap()
        .read(&name(&lying.host(), "a/b:1"))
        .unwrap();
    fetch(&read).unwrap_err();
}
