//! Reading from registries and writing to them: the registry of Debian's packages, with faults in front of it.

#![cfg(feature = "registry")]

mod support;

use std::process::Command;

use ipo_oci::image::{Artifact, DOCKER_MANIFEST};
use ipo_oci::progress::Silent;
use ipo_oci::reference::RemoteName;
use ipo_oci::store::registry::{Client, RegistryError};

use support::registry::{Kind, Registry, Shelf, Types, access, fetch, image, noise};
use support::{lacks, run};

fn name(host: &str, rest: &str) -> RemoteName {
    format!("{host}/{rest}").parse().expect("a name")
}

fn push(client: &Client, artifact: &Artifact, name: &RemoteName) -> Result<(), RegistryError> {
    client.write(artifact, name, &Silent).map(|digest| assert_eq!(digest, artifact.digest()))
}

#[test]
fn what_was_written_is_read_back() {
    if lacks("docker-registry") {
        return;
    }
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
fn skopeo_reads_what_is_written_and_writes_what_is_read() {
    if lacks("docker-registry") || lacks("skopeo") {
        return;
    }
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
