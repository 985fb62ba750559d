//! Layers in a repository of a registry: one manifest a layer, tagged with its key.
//!
//! ```text
//! REGISTRY/REPOSITORY:layer-<64 hex>   image manifest, artifactType application/vnd.ipo-oci.layer.v1
//!     config    the record as JSON; in the manifest itself too (`descriptor.md`, "data"), so that one request finds it
//!     layers    the layer, as it is in an image
//! REGISTRY/REPOSITORY:making-<64 hex>  image index of nothing, artifactType application/vnd.ipo-oci.claim.v1
//!     annotations   that a machine is making the layer of this key
//! ```
//!
//! A claim has a tag of its own, so that nothing that is wrong with claims can harm a layer. As an index of nothing it is one
//! request, and no blob.
//!
//! So the registry's own garbage collection keeps a layer as long as its tag stands, and an image in another repository of
//! the registry gets it without its bytes being sent.

use std::io::{self, Read};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::SharedCacheError;
use super::claim::{self, CLAIM_BYTES};
use super::pace::hurry;
use super::record::{self, RECORD_BYTES};
use crate::cache::{Claim, Record, SharedCache, SharedError};
use crate::digest::Digest;
use crate::image::{Artifact, Blob, Descriptor, Encoding, IMAGE_INDEX, IMAGE_MANIFEST};
use crate::progress::Silent;
use crate::reference::RemoteName;
use crate::store::Access;
use crate::store::registry::{Client, RegistryError};

/// What the manifests are, and their configurations.
const ARTIFACT: &str = "application/vnd.ipo-oci.layer.v1";
const RECORD: &str = "application/vnd.ipo-oci.layer.record.v1+json";
/// What the indexes of claims are, and the annotation that has the claim as JSON.
const CLAIM: &str = "application/vnd.ipo-oci.claim.v1";
const CLAIMED: &str = "vnd.ipo-oci.claim";
/// A manifest has no more bytes than this.
const MANIFEST_BYTES: u64 = 4 << 20;
/// A record that is bigger is not put into the manifest: registries refuse those above 4 MB.
const INLINE_BYTES: usize = 256 << 10;

/// The layers in one repository.
#[derive(Debug)]
pub(super) struct RegistryCache {
    client: Client,
    place: RemoteName,
    /// Whether the registry could be reached at all. One finds out, the others wait for it.
    reached: OnceLock<Result<(), SharedError>>,
}

/// A manifest that was found, as far as it is one of these.
struct Found {
    config: Descriptor,
    layer: Descriptor,
}

impl RegistryCache {
    pub(super) fn open(place: RemoteName, access: &Access) -> Result<Self, SharedCacheError> {
        let access = Access {
            // Whoever asks keeps layers in a place of its own; here they would be a second time.
            cache: None,
            registry: access.registry.clone().impatient(),
            ..access.clone()
        };
        Ok(Self { client: Client::new(&access)?, place, reached: OnceLock::new() })
    }

    fn tag(&self, key: &Digest) -> RemoteName {
        self.place.with_tag(format!("layer-{}", key.hex()))
    }

    fn claim_tag(&self, key: &Digest) -> RemoteName {
        self.place.with_tag(format!("making-{}", key.hex()))
    }

    fn reach(&self) -> Result<(), SharedError> {
        self.reached.get_or_init(|| self.client.reach(&self.place).map_err(told)).clone()
    }

    fn look(&self, key: &Digest) -> Result<Option<(Record, Descriptor)>, RegistryError> {
        let manifest = self.client.manifest(&self.tag(key), MANIFEST_BYTES)?;
        let Some(found) = manifest.and_then(|bytes| Found::read(&bytes)) else { return Ok(None) };
        let bytes = match inline(&found.config) {
            Some(bytes) => bytes,
            None => match self.fetch(&found.config)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        let record = record::from_json(key, &bytes);
        // The descriptor is what the registry keeps, and the record is what is believed.
        let same = |record: &Record| (record.digest, record.size) == (found.layer.digest, found.layer.size);
        Ok(record.filter(same).map(|record| (record, found.layer)))
    }

    /// A small blob, if it is the one that was promised.
    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, RegistryError> {
        if descriptor.size > RECORD_BYTES {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let blob = self.client.blob(&self.place, descriptor);
        let read = blob.open().and_then(|reader| reader.take(RECORD_BYTES).read_to_end(&mut bytes));
        read.map_err(|source| RegistryError::Blob { digest: descriptor.digest, source })?;
        Ok((Digest::of(&bytes) == descriptor.digest).then_some(bytes))
    }

    fn artifact(key: &Digest, record: &Record, blob: &Blob) -> Result<Artifact, String> {
        let json = record::to_json(key, record).map_err(|error| error.to_string())?;
        let encoding = encoding(record, blob)
            .map_err(|error| format!("the layer {} cannot be read: {error}", record.digest))?;
        let config = Descriptor::new(RECORD, Digest::of(&json), json.len() as u64);
        let layer = Descriptor::new(encoding.media_type(), record.digest, record.size);
        let mut written = config.json.clone();
        if json.len() <= INLINE_BYTES {
            written["data"] = STANDARD.encode(&json).into();
        }
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "artifactType": ARTIFACT,
            "config": written,
            "layers": [layer.json],
            "annotations": { "org.opencontainers.image.title": record.name },
        });
        manifest.sort_all_objects();
        let bytes = serde_json::to_vec(&manifest).map_err(|error| error.to_string())?;
        Ok(Artifact {
            descriptor: Descriptor::new(IMAGE_MANIFEST, Digest::of(&bytes), bytes.len() as u64),
            bytes: bytes.into(),
            blobs: vec![(config, Blob::Memory(json.into())), (layer, blob.clone())],
            manifests: Vec::new(),
        })
    }
}

impl SharedCache for RegistryCache {
    fn find(&self, key: &Digest) -> Result<Option<(Record, Blob)>, SharedError> {
        self.reach()?;
        let found = self.look(key).map_err(told)?;
        Ok(found.map(|(record, layer)| (record, hurry(self.client.blob(&self.place, &layer)))))
    }

    fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), SharedError> {
        self.reach()?;
        let artifact = Self::artifact(key, record, blob).map_err(SharedError)?;
        let name = self.tag(key);
        let there = self.client.digest(&name).map_err(told)?;
        if there == Some(artifact.digest()) {
            return Ok(());
        }
        // Another project may call the same layer otherwise. Damage is repaired.
        if there.is_some()
            && let Some((known, _)) = self.look(key).map_err(told)?
            && known.is_same_layer(record)
        {
            return Ok(());
        }
        self.client.write(&artifact, &name, &Silent).map_err(told)?;
        Ok(())
    }

    fn claim(&self, key: &Digest, claim: &Claim) -> Result<(), SharedError> {
        self.reach()?;
        let index = json!({
            "annotations": { CLAIMED: claim::to_json(key, claim).map_err(told)? },
            "artifactType": CLAIM,
            "manifests": [],
            "mediaType": IMAGE_INDEX,
            "schemaVersion": 2,
        });
        let bytes = serde_json::to_vec(&index).map_err(told)?;
        let artifact = Artifact {
            descriptor: Descriptor::new(IMAGE_INDEX, Digest::of(&bytes), bytes.len() as u64),
            bytes: bytes.into(),
            blobs: Vec::new(),
            manifests: Vec::new(),
        };
        self.client.write(&artifact, &self.claim_tag(key), &Silent).map(|_| ()).map_err(told)
    }

    fn claimed(&self, key: &Digest) -> Result<Option<Claim>, SharedError> {
        self.reach()?;
        let index = self.client.manifest(&self.claim_tag(key), CLAIM_BYTES).map_err(told)?;
        Ok(index.and_then(|bytes| {
            let index: Value = serde_json::from_slice(&bytes).ok()?;
            claim::from_json(key, index.get("annotations")?.get(CLAIMED)?.as_str()?.as_bytes())
        }))
    }

    fn repository(&self) -> Option<RemoteName> {
        Some(self.place.clone())
    }

    fn name(&self) -> String {
        format!("docker://{}", self.place)
    }
}

impl Found {
    /// Reads a manifest; nothing where it is none of these.
    fn read(bytes: &[u8]) -> Option<Self> {
        let manifest: Value = serde_json::from_slice(bytes).ok()?;
        let config = Descriptor::from_json(manifest.get("config")?).ok()?;
        let [layer] = manifest.get("layers")?.as_array()?.as_slice() else { return None };
        let layer = Descriptor::from_json(layer).ok()?;
        (config.media_type == RECORD).then_some(Self { config, layer })
    }
}

/// What a descriptor has of its blob, if it is right.
fn inline(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(descriptor.json.get("data")?.as_str()?).ok()?;
    (Digest::of(&bytes) == descriptor.digest).then_some(bytes)
}

fn told(error: impl std::fmt::Display) -> SharedError {
    SharedError(error.to_string())
}

/// How the layer is compressed: the record does not say it, and every form begins in its own way.
fn encoding(record: &Record, blob: &Blob) -> io::Result<Encoding> {
    if record.digest == record.diff_id {
        return Ok(Encoding::Plain);
    }
    let mut begin = Vec::new();
    blob.open()?.take(4).read_to_end(&mut begin)?;
    match begin.as_slice() {
        // RFC 1952, section 2.3.1.
        [0x1f, 0x8b, ..] => Ok(Encoding::Gzip),
        // RFC 8878, section 3.1.1.
        [0x28, 0xb5, 0x2f, 0xfd] => Ok(Encoding::Zstd),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is compressed in no way that is known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            name: String::new(),
            digest: Digest::of(b"blob"),
            size: 4,
            diff_id: Digest::of(b"archive"),
            archive_size: 7,
            owners: Vec::new(),
        }
    }

    #[test]
    fn a_layer_says_how_it_is_compressed() {
        let of = |bytes: &[u8]| encoding(&record(), &Blob::Memory(bytes.to_vec().into()));
        assert_eq!(of(&[0x1f, 0x8b, 8, 0]).unwrap(), Encoding::Gzip);
        assert_eq!(of(&[0x28, 0xb5, 0x2f, 0xfd, 4]).unwrap(), Encoding::Zstd);
        assert!(of(b"tar").is_err() && of(b"").is_err());
        let plain = Record { digest: Digest::of(b"x"), diff_id: Digest::of(b"x"), ..record() };
        assert_eq!(encoding(&plain, &Blob::Memory(b"x".to_vec().into())).unwrap(), Encoding::Plain);
    }
}
