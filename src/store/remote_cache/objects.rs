//! A remote cache in a bucket: S3 and compatible stores, Google Cloud Storage, Azure.
//!
//! ```text
//! s3://BUCKET/PREFIX/records/<64 hex>        the record as JSON, by its key
//!                    making/<64 hex>         the lease on the layer of this key
//!                    blobs/sha256/<64 hex>   the layer
//! ```
//!
//! `object_store` is asynchronous, and this module blocks: each call runs to completion on the
//! calling thread.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig};

use super::CacheLocationError;
use super::connector::Connector;
use super::lease::{self, LEASE_BYTES};
use super::min_throughput::with_min_throughput;
use super::record::{self, RECORD_BYTES};
use crate::cache::{Lease, Record, RemoteCache, RemoteCacheError};
use crate::digest::{Digest, Hasher};
use crate::image::{Blob, BlobSource};
use crate::store::Access;
use crate::store::registry::{Client, RegistryError, Secret};

/// Bytes of one request: accepted by all stores, and small enough for memory.
const PART_BYTES: u64 = 16 << 20;

/// Object store settings.
#[derive(Debug, Clone, Default)]
pub struct ObjectStoreSettings {
    /// The environment variables with cloud configuration.
    variables: Vec<(String, Secret)>,
}

impl ObjectStoreSettings {
    /// Selects the environment variables of object stores: `AWS_…`, `AZURE_…` and `GOOGLE_…`.
    ///
    /// Without credentials there, the machine's are used, as by the clouds' own tools, including
    /// files in the home folder.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let known = |name: &str| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix));
        let known = variables.into_iter().filter(|(name, _)| known(name));
        Self { variables: known.map(|(name, value)| (name, Secret::new(value))).collect() }
    }

    /// Returns the settings of one kind of store, by its builder's names.
    fn of<K: std::str::FromStr>(&self, prefix: &str) -> impl Iterator<Item = (K, &str)> {
        let own = self.variables.iter().filter(move |(name, _)| name.starts_with(prefix));
        own.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.reveal())))
    }
}

/// The layers below one prefix of one bucket.
pub(super) struct ObjectCache {
    name: String,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl ObjectCache {
    pub(super) fn open(text: &str, name: String, access: &Access) -> Result<Self, CacheLocationError> {
        let wrong = |reason: String| CacheLocationError::Objects { location: name.clone(), reason };
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.is_empty() || !bucket.chars().all(fits) {
            return Err(CacheLocationError::Invalid(name));
        }
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| wrong(error.to_string()))?;
        let access = Access { registry: access.registry.clone().best_effort(), ..access.clone() };
        let connector = Connector { client: Client::new(&access)?, limit: 2 * PART_BYTES };
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: Duration::from_millis(250), ..BackoffConfig::default() },
            max_retries: 1,
            retry_timeout: Duration::from_secs(10),
        };
        let settings = &access.objects;
        let store: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
            "s3" => settings
                .of("AWS_")
                .fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value))
                .with_bucket_name(bucket)
                .with_retry(retry)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
            "gs" => settings
                .of("GOOGLE_")
                .fold(GoogleCloudStorageBuilder::new(), |builder, (key, value)| {
                    builder.with_config(key, value)
                })
                .with_bucket_name(bucket)
                .with_retry(retry)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
            _ => settings
                .of("AZURE_")
                .fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(key, value))
                .with_container_name(bucket)
                .with_retry(retry)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
        };
        let store = store.map_err(|error| wrong(one_line(&error)))?;
        Ok(Self { name, store, prefix })
    }

    fn record(&self, key: &Digest) -> Path {
        self.prefix.clone().join("records").join(key.hex())
    }

    fn lease_path(&self, key: &Digest) -> Path {
        self.prefix.clone().join("making").join(key.hex())
    }

    fn blob(&self, digest: Digest) -> Path {
        self.prefix.clone().join("blobs").join("sha256").join(digest.hex())
    }

    /// Reads an object of up to `most` bytes; `None` if missing or larger.
    fn small(&self, path: &Path, most: u64) -> Result<Option<Bytes>, RemoteCacheError> {
        let bytes = optional(run(async { self.store.get(path).await?.bytes().await }))?;
        Ok(bytes.filter(|bytes| bytes.len() as u64 <= most))
    }

    /// Looks up a record whose layer exists too.
    fn lookup(&self, key: &Digest) -> Result<Option<Record>, RemoteCacheError> {
        let Some(bytes) = self.small(&self.record(key), RECORD_BYTES)? else { return Ok(None) };
        let Some(record) = record::from_json(key, &bytes) else { return Ok(None) };
        // Lifecycle rules delete by age, ignoring records.
        let path = self.blob(record.digest);
        let blob = optional(run(async { self.store.head(&path).await }))?;
        Ok(blob.filter(|blob| blob.size == record.size).map(|_| record))
    }

    /// Uploads a blob; fails if its bytes do not match the record.
    fn send(&self, record: &Record, blob: &Blob) -> Result<(), RemoteCacheError> {
        let path = self.blob(record.digest);
        let mut parts = Parts::of(record, blob)?;
        if record.size <= PART_BYTES {
            let part = parts.next()?;
            parts.end()?;
            return run(async { self.store.put(&path, part.into()).await }).map(|_| ()).map_err(cache_error);
        }
        let mut upload = run(async { self.store.put_multipart(&path).await }).map_err(cache_error)?;
        let sent = send_parts(&mut *upload, &mut parts);
        if sent.is_err() {
            let _ = run(async { upload.abort().await });
        }
        sent
    }
}

impl RemoteCache for ObjectCache {
    fn find(&self, key: &Digest) -> Result<Option<(Record, Blob)>, RemoteCacheError> {
        Ok(self.lookup(key)?.map(|record| {
            let (store, path) = (self.store.clone(), self.blob(record.digest));
            let blob = Blob::Source(Arc::new(ObjectBlob { store, path, size: record.size }));
            (record, with_min_throughput(blob))
        }))
    }

    fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), RemoteCacheError> {
        if self.lookup(key)?.is_some_and(|known| known.is_same_layer(record)) {
            return Ok(());
        }
        let path = self.blob(record.digest);
        let known = optional(run(async { self.store.head(&path).await }))?;
        if known.is_none_or(|known| known.size != record.size) {
            self.send(record, blob)?;
        }
        let json = record::to_json(key, record).map_err(RemoteCacheError::new)?;
        let path = self.record(key);
        run(async { self.store.put(&path, json.into()).await }).map_err(cache_error)?;
        let path = self.lease_path(key);
        let _ = run(async { self.store.delete(&path).await });
        Ok(())
    }

    fn take_lease(&self, key: &Digest, lease: &Lease) -> Result<(), RemoteCacheError> {
        let json = lease::to_json(key, lease).map_err(RemoteCacheError::new)?;
        let path = self.lease_path(key);
        run(async { self.store.put(&path, json.into()).await }).map(|_| ()).map_err(cache_error)
    }

    fn lease(&self, key: &Digest) -> Result<Option<Lease>, RemoteCacheError> {
        let bytes = self.small(&self.lease_path(key), LEASE_BYTES)?;
        Ok(bytes.and_then(|bytes| lease::from_json(key, &bytes)))
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl fmt::Debug for ObjectCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectCache({})", self.name)
    }
}

/// A reader of a blob's parts, digesting on the way.
struct Parts {
    reader: Box<dyn Read + Send>,
    hasher: Hasher,
    left: u64,
    digest: Digest,
}

impl Parts {
    fn of(record: &Record, blob: &Blob) -> Result<Self, RemoteCacheError> {
        let reader = blob.open().map_err(|cause| unreadable(record.digest, cause))?;
        Ok(Self { reader, hasher: Hasher::new(), left: record.size, digest: record.digest })
    }

    /// Returns the next part; all but the last have the same size.
    fn next(&mut self) -> Result<Bytes, RemoteCacheError> {
        let size = self.left.min(PART_BYTES);
        let mut part = Vec::new();
        let read = (&mut self.reader).take(size).read_to_end(&mut part);
        read.map_err(|cause| unreadable(self.digest, cause))?;
        self.hasher.update(&part);
        if part.len() as u64 != size {
            return Err(self.wrong());
        }
        self.left -= size;
        Ok(part.into())
    }

    /// Checks that the blob is complete and matches its digest.
    fn end(&mut self) -> Result<(), RemoteCacheError> {
        let more = self.reader.read(&mut [0]).map_err(|cause| unreadable(self.digest, cause))?;
        let right = self.left == 0 && more == 0 && std::mem::take(&mut self.hasher).finish() == self.digest;
        if right { Ok(()) } else { Err(self.wrong()) }
    }

    fn wrong(&self) -> RemoteCacheError {
        RemoteCacheError::new(format!("digest mismatch of the layer {}", self.digest))
    }
}

fn send_parts(upload: &mut dyn MultipartUpload, parts: &mut Parts) -> Result<(), RemoteCacheError> {
    while parts.left > 0 {
        let part = parts.next()?;
        run(async { upload.put_part(part.into()).await }).map_err(cache_error)?;
    }
    // The object appears on completion only.
    parts.end()?;
    run(async { upload.complete().await }).map(|_| ()).map_err(cache_error)
}

/// A layer in a bucket, fetched part by part when read.
struct ObjectBlob {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl BlobSource for ObjectBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let (store, path) = (self.store.clone(), self.path.clone());
        Ok(Box::new(ObjectReader { store, path, at: from, size: self.size, part: Cursor::default() }))
    }
}

impl fmt::Debug for ObjectBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectBlob({})", self.path)
    }
}

struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// The offset of the next part.
    at: u64,
    size: u64,
    part: Cursor<Bytes>,
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.part.read(buffer)?;
        if read > 0 || buffer.is_empty() || self.at >= self.size {
            return Ok(read);
        }
        let range = self.at..self.size.min(self.at + PART_BYTES);
        let part = run(async { self.store.get_range(&self.path, range.clone()).await });
        let part = part.map_err(|error| io::Error::other(ObjectError(error)))?;
        if part.len() as u64 != range.end - range.start {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the response has another range than requested",
            ));
        }
        self.at = range.end;
        self.part = Cursor::new(part);
        self.part.read(buffer)
    }
}

/// Runs a future to completion; only timers are available.
fn run<T>(future: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let generic = |error| object_store::Error::Generic { store: "runtime", source: Box::new(error) };
    runtime.map_err(generic)?.block_on(future)
}

/// Maps a missing object to `None`.
fn optional<T>(outcome: object_store::Result<T>) -> Result<Option<T>, RemoteCacheError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(cache_error(error)),
    }
}

/// An error of an object store, on one line.
#[derive(Debug, thiserror::Error)]
#[error("{}", one_line(.0))]
struct ObjectError(object_store::Error);

fn cache_error(error: object_store::Error) -> RemoteCacheError {
    RemoteCacheError::new(ObjectError(error))
}

fn unreadable(digest: Digest, cause: io::Error) -> RemoteCacheError {
    RemoteCacheError::new(RegistryError::Blob { digest, cause })
}

/// Returns an error as one line: for an XML response, its code.
fn one_line(error: &object_store::Error) -> String {
    const MOST: usize = 300;
    let text = error.to_string();
    let code = text.split_once("<Code>").and_then(|(_, rest)| Some(rest.split_once("</Code>")?.0));
    let first: String = text.split('<').next().unwrap_or_default().chars().take(MOST).collect();
    let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
    match code {
        Some(code) => {
            format!("{first} {}", code.escape_debug().to_string().chars().take(MOST).collect::<String>())
        }
        None => first,
    }
}
