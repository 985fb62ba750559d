//! The registry of Debian's package `docker-registry`, and artifacts to copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipo_oci::digest::Digest;
use ipo_oci::image::{
    Artifact, Blob, DOCKER_CONFIG, DOCKER_MANIFEST, Descriptor, Documents, IMAGE_CONFIG, IMAGE_INDEX,
    IMAGE_MANIFEST, ImageError,
};
use ipo_oci::store::Access;
use serde_json::{Value, json};
use tempfile::TempDir;

/// User and password of a registry with htpasswd.
pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "hunter2";
const HTPASSWD: &str = "user:$2b$04$f.H3Wb3/QCB4c5XXnDHUrOB79bDnxGRMBYiRyBmlQDiqvliPmvs3e\n";

/// A registry that ends with the test.
pub(crate) struct Registry {
    pub port: u16,
    pub folder: TempDir,
    child: Child,
}

/// The authentication of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Anonymous,
    Htpasswd,
    /// TLS, with the certificate authority `ca.pem` in its directory.
    Tls,
}

impl Registry {
    #[track_caller]
    pub(crate) fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = super::free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut http = json!({ "addr": format!("127.0.0.1:{port}") });
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "warn" },
            "storage": { "filesystem": { "rootdirectory": path("data") }, "delete": { "enabled": true } },
        });
        match kind {
            Kind::Anonymous => {}
            Kind::Htpasswd => {
                fs_err::write(path("htpasswd"), HTPASSWD).expect("a file");
                config["auth"] = json!({ "htpasswd": { "realm": "test", "path": path("htpasswd") } });
            }
            Kind::Tls => {
                certificates(folder.path());
                http["tls"] = json!({ "certificate": path("server.pem"), "key": path("server.key") });
            }
        }
        config["http"] = http;
        // JSON is YAML.
        fs_err::write(path("config.yml"), config.to_string()).expect("a file");
        let log = File::create(path("log")).expect("a file");
        let child = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("docker-registry runs");
        let mut registry = Self { port, folder, child };
        super::eventually("the registry", || {
            assert!(registry.child.try_wait().expect("a child").is_none(), "{}", registry.log());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        registry
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Returns the length of the log, including the lines of all earlier requests. The registry
    /// logs a request after its response, so a marker request is awaited.
    #[track_caller]
    pub(crate) fn log_end(&self) -> usize {
        let mark = format!("/v2/?mark={}", self.log().len());
        super::http::get(self.port, &mark).expect("a response");
        super::eventually("a line in the log", || self.log().contains(&mark).then_some(()));
        self.log().len()
    }

    /// Counts the requests in the log from the offset `from` whose method and path begin with
    /// `method_and_path`, such as `PUT /v2/a/blobs/uploads/`.
    pub(crate) fn requests(&self, from: usize, method_and_path: &str) -> usize {
        let wanted = format!("\"{method_and_path}");
        self.log().get(from..).unwrap_or_default().lines().filter(|line| line.contains(&wanted)).count()
    }

    /// Compares every stored blob with its digest; returns their number.
    #[track_caller]
    pub(crate) fn verify(&self) -> usize {
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        let mut count = 0;
        for entry in walkdir::WalkDir::new(blobs).into_iter().filter_map(Result::ok) {
            if entry.file_name() == "data" {
                let expected = entry.path().parent().and_then(Path::file_name).expect("a name");
                let found = Digest::of(&fs_err::read(entry.path()).expect("a blob"));
                assert_eq!(found.hex(), expected.to_string_lossy());
                count += 1;
            }
        }
        count
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates a certificate authority, and a server certificate for 127.0.0.1 and localhost.
fn certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        super::run(command.args(arguments).current_dir(folder)).success();
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca =
        ["req", "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&ca[..], &key].concat());
    let request = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    openssl(&[&request[..], &key].concat());
    fs_err::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a file");
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
}

/// Returns the access of a test's client, with short timeouts.
pub(crate) fn access() -> Access {
    let mut access = Access::default();
    let retry = &mut access.registry.retry;
    retry.attempts = NonZero::new(5).expect("not 0");
    retry.first_wait = Duration::from_millis(2);
    retry.longest_wait = Duration::from_millis(20);
    retry.total_wait = Duration::from_secs(5);
    access
}

/// Documents and blobs in memory.
#[derive(Debug, Default)]
pub(crate) struct Shelf(BTreeMap<Digest, Vec<u8>>);

/// The media types of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Types {
    Oci,
    Docker,
}

impl Documents for Shelf {
    type Error = ImageError;

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        self.0.get(&descriptor.digest).cloned().ok_or_else(|| ImageError::Content("gone".to_owned()))
    }

    fn blob(&self, descriptor: &Descriptor) -> Blob {
        Blob::Memory(self.0.get(&descriptor.digest).cloned().unwrap_or_default().into())
    }
}

impl Shelf {
    fn put(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        self.0.insert(descriptor.digest, bytes);
        descriptor
    }

    pub(crate) fn read(&self, descriptor: &Descriptor) -> Artifact {
        Artifact::read(descriptor, self).expect("an artifact")
    }

    /// Adds an image with these layers.
    pub(crate) fn image(&mut self, types: Types, layers: &[Vec<u8>]) -> Descriptor {
        let (manifest_type, config_type, layer_type) = match types {
            Types::Oci => (IMAGE_MANIFEST, IMAGE_CONFIG, "application/vnd.oci.image.layer.v1.tar+gzip"),
            Types::Docker => {
                (DOCKER_MANIFEST, DOCKER_CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip")
            }
        };
        let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": ids },
            "history": vec![json!({ "created_by": "test" }); layers.len()],
        });
        let config = self.put(config_type, config.to_string().into_bytes()).json;
        let layers: Vec<_> = layers.iter().map(|layer| self.put(layer_type, gzip(layer)).json).collect();
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers });
        self.put(manifest_type, manifest.to_string().into_bytes())
    }

    /// Adds a document.
    pub(crate) fn document_of(&mut self, media_type: &str, document: &Value) -> Descriptor {
        self.put(media_type, document.to_string().into_bytes())
    }

    /// Adds an index of images for these architectures.
    pub(crate) fn index(&mut self, images: &[(Descriptor, &str)]) -> Descriptor {
        let entry = |(descriptor, architecture): &(Descriptor, &str)| {
            let mut json = descriptor.json.clone();
            json["platform"] = json!({ "os": "linux", "architecture": architecture });
            json
        };
        let manifests: Vec<_> = images.iter().map(entry).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests });
        self.put(IMAGE_INDEX, index.to_string().into_bytes())
    }
}

/// Returns an OCI image with layers of these sizes; their content depends on `seed`.
pub(crate) fn image(seed: u64, sizes: &[usize]) -> Artifact {
    let layers: Vec<_> =
        sizes.iter().zip(seed..).map(|(size, seed)| noise(seed * 1000 + *size as u64, *size)).collect();
    let mut shelf = Shelf::default();
    let descriptor = shelf.image(Types::Oci, &layers);
    shelf.read(&descriptor)
}

/// Wraps bytes in gzip without compressing them, for tools that expect compressed layers.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Returns bytes without repetition.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend(next());
    }
    bytes.truncate(size);
    bytes
}

/// Returns an image of these layers.
pub(crate) fn image_of(layers: &[(Digest, u64, Blob)]) -> Artifact {
    let mut shelf = Shelf::default();
    let config = shelf.put(IMAGE_CONFIG, br#"{"architecture":"amd64","os":"linux"}"#.to_vec());
    let describe = |(digest, size, _): &(Digest, u64, Blob)| {
        Descriptor::new("application/vnd.oci.image.layer.v1.tar", *digest, *size).json
    };
    let described: Vec<_> = layers.iter().map(describe).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": config.json, "layers": described,
    });
    let descriptor = shelf.document_of(IMAGE_MANIFEST, &manifest);
    let mut artifact = shelf.read(&descriptor);
    for ((_, blob), (_, _, source)) in artifact.blobs.iter_mut().skip(1).zip(layers) {
        *blob = source.clone();
    }
    artifact
}

/// Reads all blobs of an artifact and compares them with their digests.
pub(crate) fn fetch(artifact: &Artifact) -> std::io::Result<()> {
    for image in artifact.images() {
        for (descriptor, blob) in &image.blobs {
            let (found, size) = descriptor.digest.recomputed_from(&mut blob.open()?)?;
            if (found, size) != (descriptor.digest, descriptor.size) {
                return Err(std::io::Error::other(format!("{} is {found}", descriptor.digest)));
            }
        }
    }
    Ok(())
}
