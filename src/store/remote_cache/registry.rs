//! A remote cache in a repository of a registry: one manifest a layer, tagged with its key.
//!
//! ```text
//! REGISTRY/REPOSITORY:layer-<64 hex>   image manifest, artifactType application/vnd.ipo-oci.layer.v1
//!     config    the record as JSON, also inlined (`descriptor.md`, "data"), to save a request
//!     layers    the layer, as in an image
//! REGISTRY/REPOSITORY:making-<64 hex>  empty image index, artifactType application/vnd.ipo-oci.claim.v1
//!     annotations   the lease on the layer of this key
//! ```
//!
//! Leases have tags of their own, so faults of leases cannot affect layers. An empty index needs
//! one request and no blob.
//!
//! The registry's garbage collection keeps a layer while its tag exists, and images in other
//! repositories of the registry mount the blob without an upload.

use std::io::{self, Read};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::CacheLocationError;
use super::lease::{self, LEASE_BYTES};
use super::min_throughput::with_min_throughput;
use super::record::{self, RECORD_BYTES};
use crate::cache::{Lease, Record, RemoteCache, RemoteCacheError};
use crate::digest::Digest;
use crate::image::{Artifact, Blob, Descriptor, Encoding, IMAGE_INDEX, IMAGE_MANIFEST};
use crate::progress::Silent;
use crate::reference::RemoteName;
use crate::store::Access;
use crate::store::registry::{Client, RegistryError};

/// The media types of the manifests and their configurations.
const ARTIFACT: &str = "application/vnd.ipo-oci.layer.v1";
const RECORD: &str = "application/vnd.ipo-oci.layer.record.v1+json";
/// The media type of a lease's index, and the annotation with the lease as JSON.
const LEASE_TYPE: &str = "application/vnd.ipo-oci.claim.v1";
const LEASE_ANNOTATION: &str = "vnd.ipo-oci.claim";
/// Limit for a manifest, in bytes.
const MANIFEST_BYTES: u64 = 4 << 20;
/// Larger records are not inlined: registries refuse manifests above 4 MB.
const INLINE_BYTES: usize = 256 << 10;

/// The layers in one repository.
#[derive(Debug)]
pub(super) struct RegistryCache {
    client: Client,
    place: RemoteName,
    /// The outcome of reaching the registry. One thread finds out, the others wait.
    reachable: OnceLock<Result<(), RemoteCacheError>>,
}

/// The relevant parts of a manifest.
struct LayerManifest {
    config: Descriptor,
    layer: Descriptor,
}

impl RegistryCache {
    pub(super) fn open(place: RemoteName, access: &Access) -> Result<Self, CacheLocationError> {
        let access = Access {
            // Layers are cached by the caller; caching them here would store them twice.
            cache: None,
            registry: access.registry.clone().best_effort(),
            ..access.clone()
        };
        Ok(Self { client: Client::new(&access)?, place, reachable: OnceLock::new() })
    }

    fn tag(&self, key: &Digest) -> RemoteName {
        self.place.with_tag(format!("layer-{}", key.hex()))
    }

    fn lease_tag(&self, key: &Digest) -> RemoteName {
        self.place.with_tag(format!("making-{}", key.hex()))
    }

    fn reach(&self) -> Result<(), RemoteCacheError> {
        self.reachable.get_or_init(|| self.client.reach(&self.place).map_err(RemoteCacheError::new)).clone()
    }

    fn lookup(&self, key: &Digest) -> Result<Option<(Record, Descriptor)>, RegistryError> {
        let manifest = self.client.manifest(&self.tag(key), MANIFEST_BYTES)?;
        let Some(found) = manifest.and_then(|bytes| LayerManifest::read(&bytes)) else { return Ok(None) };
        let bytes = match inline(&found.config) {
            Some(bytes) => bytes,
            None => match self.fetch(&found.config)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        let record = record::from_json(key, &bytes);
        // The registry keeps the blob of the descriptor, and callers trust the record: both must
        // match.
        let same = |record: &Record| (record.digest, record.size) == (found.layer.digest, found.layer.size);
        Ok(record.filter(same).map(|record| (record, found.layer)))
    }

    /// Fetches a small blob and verifies its digest.
    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, RegistryError> {
        if descriptor.size > RECORD_BYTES {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let blob = self.client.blob(&self.place, descriptor);
        let read = blob.open().and_then(|reader| reader.take(RECORD_BYTES).read_to_end(&mut bytes));
        read.map_err(|source| RegistryError::Blob { digest: descriptor.digest, cause: source })?;
        Ok((Digest::of(&bytes) == descriptor.digest).then_some(bytes))
    }

    fn artifact(key: &Digest, record: &Record, blob: &Blob) -> Result<Artifact, RemoteCacheError> {
        let json = record::to_json(key, record).map_err(RemoteCacheError::new)?;
        let encoding = encoding(record, blob)
            .map_err(|cause| RemoteCacheError::new(RegistryError::Blob { digest: record.digest, cause }))?;
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
        let bytes = serde_json::to_vec(&manifest).map_err(RemoteCacheError::new)?;
        Ok(Artifact {
            descriptor: Descriptor::new(IMAGE_MANIFEST, Digest::of(&bytes), bytes.len() as u64),
            bytes: bytes.into(),
            blobs: vec![(config, Blob::Memory(json.into())), (layer, blob.clone())],
            manifests: Vec::new(),
        })
    }
}

impl RemoteCache for RegistryCache {
    fn find(&self, key: &Digest) -> Result<Option<(Record, Blob)>, RemoteCacheError> {
        self.reach()?;
        let found = self.lookup(key).map_err(RemoteCacheError::new)?;
        Ok(found.map(|(record, layer)| (record, with_min_throughput(self.client.blob(&self.place, &layer)))))
    }

    fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), RemoteCacheError> {
        self.reach()?;
        let artifact = Self::artifact(key, record, blob)?;
        let name = self.tag(key);
        let existing = self.client.digest(&name).map_err(RemoteCacheError::new)?;
        if existing == Some(artifact.digest()) {
            return Ok(());
        }
        // Another project may name the same layer differently. A damaged record is replaced.
        if existing.is_some()
            && let Some((known, _)) = self.lookup(key).map_err(RemoteCacheError::new)?
            && known.is_same_layer(record)
        {
            return Ok(());
        }
        self.client.write(&artifact, &name, &Silent).map_err(RemoteCacheError::new)?;
        Ok(())
    }

    fn take_lease(&self, key: &Digest, lease: &Lease) -> Result<(), RemoteCacheError> {
        self.reach()?;
        let index = json!({
            "annotations": { LEASE_ANNOTATION: lease::to_json(key, lease).map_err(RemoteCacheError::new)? },
            "artifactType": LEASE_TYPE,
            "manifests": [],
            "mediaType": IMAGE_INDEX,
            "schemaVersion": 2,
        });
        let bytes = serde_json::to_vec(&index).map_err(RemoteCacheError::new)?;
        let artifact = Artifact {
            descriptor: Descriptor::new(IMAGE_INDEX, Digest::of(&bytes), bytes.len() as u64),
            bytes: bytes.into(),
            blobs: Vec::new(),
            manifests: Vec::new(),
        };
        self.client.write(&artifact, &self.lease_tag(key), &Silent).map(|_| ()).map_err(RemoteCacheError::new)
    }

    fn lease(&self, key: &Digest) -> Result<Option<Lease>, RemoteCacheError> {
        self.reach()?;
        let index = self.client.manifest(&self.lease_tag(key), LEASE_BYTES).map_err(RemoteCacheError::new)?;
        Ok(index.and_then(|bytes| {
            let index: Value = serde_json::from_slice(&bytes).ok()?;
            lease::from_json(key, index.get("annotations")?.get(LEASE_ANNOTATION)?.as_str()?.as_bytes())
        }))
    }

    fn repository(&self) -> Option<RemoteName> {
        Some(self.place.clone())
    }

    fn name(&self) -> String {
        format!("docker://{}", self.place)
    }
}

impl LayerManifest {
    /// Parses a manifest; `None` if not one of these.
    fn read(bytes: &[u8]) -> Option<Self> {
        let manifest: Value = serde_json::from_slice(bytes).ok()?;
        let config = Descriptor::from_json(manifest.get("config")?).ok()?;
        let [layer] = manifest.get("layers")?.as_array()?.as_slice() else { return None };
        let layer = Descriptor::from_json(layer).ok()?;
        (config.media_type == RECORD).then_some(Self { config, layer })
    }
}

/// Decodes and verifies a descriptor's inline data.
fn inline(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(descriptor.json.get("data")?.as_str()?).ok()?;
    (Digest::of(&bytes) == descriptor.digest).then_some(bytes)
}

/// Detects the layer's compression from its first bytes; the record lacks it.
fn encoding(record: &Record, blob: &Blob) -> io::Result<Encoding> {
    if record.digest == record.diff_id {
        return Ok(Encoding::Plain);
    }
    let mut begin = Vec::new();
    blob.open()?.take(Encoding::MAGIC_BYTES).read_to_end(&mut begin)?;
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "unknown compression");
    Encoding::of_magic(&begin).ok_or_else(unknown)
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
    fn the_compression_of_a_layer_is_detected() {
        let of = |bytes: &[u8]| encoding(&record(), &Blob::Memory(bytes.to_vec().into()));
        assert_eq!(of(&[0x1f, 0x8b, 8, 0]).unwrap(), Encoding::Gzip);
        assert_eq!(of(&[0x28, 0xb5, 0x2f, 0xfd, 4]).unwrap(), Encoding::Zstd);
        assert!(of(b"tar").is_err() && of(b"").is_err());
        let plain = Record { digest: Digest::of(b"x"), diff_id: Digest::of(b"x"), ..record() };
        assert_eq!(encoding(&plain, &Blob::Memory(b"x".to_vec().into())).unwrap(), Encoding::Plain);
    }
}
