//! Lookup and upload of layers in remote caches.
//!
//! Remote data is not trusted. The expected digest of the archive is computed from local files, so
//! a record with another digest is of another layer; a blob is hashed and decompressed before use.
//! A cache that fails or lies is not used again in this build, and causes one warning.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::leases::{LeaseStatus, Leases, RENEW_EVERY, run_with_renewal};
use crate::cache::{Record, RemoteCache, RemoteCacheError};
use crate::digest::Digest;
use crate::error::chain;
use crate::image::Blob;
use crate::layer::{Duplicates, LayerReader, Limits, ReadError};
use crate::progress::{Activity, Progress, Span, Step, Warning};
use crate::reference::RemoteName;
use crate::sync::LockExt as _;

/// The remote caches of a build.
pub(super) struct RemoteCaches<'a> {
    from: Vec<Remote<'a>>,
    to: Vec<Remote<'a>>,
    leases: Leases,
}

struct Remote<'a> {
    cache: &'a Arc<dyn RemoteCache>,
    /// Reason for the cache being out of use.
    disabled_because: Mutex<Option<String>>,
    /// Set once an operation on leases failed.
    lacks_leases: AtomicBool,
    /// True if the cache is read and written: only then do leases work.
    is_read_and_written: bool,
}

/// Expected properties of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpectedLayer {
    pub(super) key: Digest,
    pub(super) diff_id: Digest,
    pub(super) archive_size: u64,
}

/// Outcome of a lookup.
pub(super) enum LookupOutcome {
    /// The layer was fetched.
    Fetched(Box<FetchedLayer>),
    /// Another machine is making it.
    Leased,
    /// Not found.
    NotFound,
}

/// A layer from a remote cache, in a local file.
pub(super) struct FetchedLayer {
    pub(super) record: Record,
    pub(super) file: PathBuf,
    pub(super) repository: Option<RemoteName>,
}

/// A layer to upload.
#[derive(Clone)]
pub(super) struct LayerUpload<'a> {
    pub(super) key: Digest,
    pub(super) record: &'a Record,
    pub(super) blob: Blob,
    /// True if this build holds the lease.
    pub(super) leased: bool,
}

/// State of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadStatus {
    /// Done, as far as the caches accept it.
    Done,
    /// Another build is uploading the layer.
    Deferred,
}

impl<'a> RemoteCaches<'a> {
    pub(super) fn new(from: &'a [Arc<dyn RemoteCache>], to: &'a [Arc<dyn RemoteCache>]) -> Self {
        let remotes = |caches: &'a [Arc<dyn RemoteCache>], others: &[Arc<dyn RemoteCache>]| {
            let remote = |cache: &'a Arc<dyn RemoteCache>| Remote {
                cache,
                disabled_because: Mutex::default(),
                lacks_leases: AtomicBool::new(false),
                is_read_and_written: others.iter().any(|other| other.name() == cache.name()),
            };
            caches.iter().map(remote).collect()
        };
        Self { from: remotes(from, to), to: remotes(to, from), leases: Leases::of_process() }
    }

    /// Returns true if there is a cache to read from.
    pub(super) fn can_read(&self) -> bool {
        self.from.iter().any(Remote::is_enabled)
    }

    /// Looks up the layer in order of caches, and writes it to `file`.
    pub(super) fn look_up(
        &self,
        expected_layer: ExpectedLayer,
        file: &Path,
        progress: &dyn Progress,
    ) -> LookupOutcome {
        match self.fetch(expected_layer, file, progress) {
            Some(fetched) => LookupOutcome::Fetched(Box::new(fetched)),
            None if self.is_leased(expected_layer.key) => LookupOutcome::Leased,
            None => LookupOutcome::NotFound,
        }
    }

    /// Waits while another machine is making the layer, until the layer exists or the lease
    /// expires.
    pub(super) fn wait(&self, key: Digest, name: &str, progress: &dyn Progress) {
        let mut last_seen: Option<Instant> = None;
        let has = |remote: &Remote<'_>| matches!(remote.cache.find(&key), Ok(Some(_)));
        let poll = || {
            if self.from.iter().filter(|remote| remote.is_enabled()).any(has) {
                return LeaseStatus::Done(());
            }
            if last_seen.is_some_and(|at| at.elapsed() < RENEW_EVERY) {
                return LeaseStatus::Held;
            }
            last_seen = Some(Instant::now());
            if self.is_leased(key) { LeaseStatus::Held } else { LeaseStatus::Free }
        };
        self.leases.wait(&format!("another machine to make {name}"), progress, poll);
    }

    /// Runs `work`, which makes a layer, under a lease.
    pub(super) fn with_lease<T>(&self, key: Digest, work: impl FnOnce() -> T) -> T {
        let remotes: Vec<&Remote<'_>> =
            self.to.iter().filter(|remote| remote.is_enabled() && remote.is_read_and_written).collect();
        if remotes.is_empty() {
            return work();
        }
        for remote in &remotes {
            remote.take_lease(&key, &self.leases);
        }
        self.renewing_lease(&remotes, key, work)
    }

    /// Runs `work` under a lease already taken, and renews the lease.
    fn renewing_lease<T>(&self, remotes: &[&Remote<'_>], key: Digest, work: impl FnOnce() -> T) -> T {
        let renew = || {
            // The most recent lease of two wins.
            let is_ours = !remotes.iter().any(|remote| remote.is_leased(&key, &self.leases));
            if is_ours {
                for remote in remotes {
                    remote.take_lease(&key, &self.leases);
                }
            }
            is_ours
        };
        run_with_renewal(RENEW_EVERY, renew, work)
    }

    fn is_leased(&self, key: Digest) -> bool {
        let mut good = self.from.iter().filter(|remote| remote.is_enabled());
        self.leases.are_respected() && good.any(|remote| remote.is_leased(&key, &self.leases))
    }

    fn fetch(
        &self,
        expected_layer: ExpectedLayer,
        file: &Path,
        progress: &dyn Progress,
    ) -> Option<FetchedLayer> {
        self.from.iter().filter(|remote| remote.is_enabled()).find_map(|remote| {
            let (record, blob) = remote.or_disable(remote.cache.find(&expected_layer.key))??;
            if (record.diff_id, record.archive_size) != (expected_layer.diff_id, expected_layer.archive_size)
            {
                remote.disable("a record does not match its layer".to_owned());
                return None;
            }
            let _span = Span::begin(progress, Activity::FetchLayer);
            let subject = format!("{} from {}", record.name, remote.cache.name());
            progress.step(&Step::on(Activity::FetchLayer, subject));
            match fetch(&record, &blob, file) {
                Ok(()) => Some(FetchedLayer { record, file: file.to_owned(), repository: blob.repository() }),
                Err(reason) => {
                    remote.disable(reason);
                    None
                }
            }
        })
    }

    /// Returns the index, among `count` layers, to begin with. Machines that build the same at the
    /// same time begin with different layers, and find those of the others later. Has no other
    /// effect.
    pub(super) fn first_index(&self, count: usize) -> usize {
        if count == 0 || !self.to.iter().any(|remote| remote.is_read_and_written) {
            return 0;
        }
        usize::from(self.leases.own().by.to_ne_bytes()[0]) % count
    }

    /// Uploads a layer immediately, since another machine may need it soon. Returns
    /// [`UploadStatus::Deferred`] if another build is uploading it.
    pub(super) fn upload(&self, upload: LayerUpload<'_>, progress: &dyn Progress) -> (Blob, UploadStatus) {
        let LayerUpload { key, record, blob, leased } = upload;
        let (mut holder, mut status) = (blob.repository(), UploadStatus::Done);
        for remote in self.to.iter().filter(|remote| remote.is_enabled()) {
            let _span = Span::begin(progress, Activity::UploadLayer);
            match remote.or_disable(self.upload_to(remote, key, record, &blob, leased)) {
                Some(UploadStatus::Done) => holder = holder.or_else(|| remote.cache.repository()),
                Some(UploadStatus::Deferred) => status = UploadStatus::Deferred,
                None => {}
            }
        }
        let blob = match blob {
            Blob::Verified { file, .. } => Blob::Verified { file, repository: holder },
            blob => blob,
        };
        (blob, status)
    }

    /// Uploads a layer leased to another build: waits for its upload, or for the lease to
    /// expire.
    pub(super) fn upload_after_wait(&self, upload: &LayerUpload<'_>, progress: &dyn Progress) -> Blob {
        // A more recent lease replaced this build's.
        let again = || LayerUpload { leased: false, ..upload.clone() };
        let try_upload = || match self.upload(again(), progress) {
            (blob, UploadStatus::Done) => LeaseStatus::Done(blob),
            (_, UploadStatus::Deferred) => LeaseStatus::Held,
        };
        let what = format!("another machine to upload {}", upload.record.name);
        self.leases.wait(&what, progress, try_upload).unwrap_or_else(|| {
            // After one failed wait no lease is respected.
            self.leases.ignore();
            self.upload(again(), progress).0
        })
    }

    fn upload_to(
        &self,
        remote: &Remote<'_>,
        key: Digest,
        record: &Record,
        blob: &Blob,
        leased: bool,
    ) -> Result<UploadStatus, RemoteCacheError> {
        let keep = || remote.cache.keep(&key, record, blob).map(|()| UploadStatus::Done);
        if !remote.is_read_and_written {
            return keep();
        }
        if !leased {
            // Errors of the cache surface when uploading.
            let found = remote.cache.find(&key).ok().flatten();
            if found.is_some_and(|(known, _)| known.is_same_layer(record)) {
                return Ok(UploadStatus::Done);
            }
        }
        // Of two concurrent leases the last write wins.
        let is_leased_to_another = || self.leases.are_respected() && remote.is_leased(&key, &self.leases);
        if is_leased_to_another() {
            return Ok(UploadStatus::Deferred);
        }
        if !leased {
            remote.take_lease(&key, &self.leases);
            if is_leased_to_another() {
                return Ok(UploadStatus::Deferred);
            }
        }
        self.renewing_lease(&[remote], key, keep)
    }

    /// Warns about the caches that failed.
    pub(super) fn warn(&self, progress: &dyn Progress) {
        for remote in self.from.iter().chain(&self.to) {
            if let Some(reason) = &*remote.lock() {
                progress.warn(
                    Warning::new(remote.cache.name(), format!("not used further in this build: {reason}"))
                        .with_help("check this cache: builds are correct but slower without it"),
                );
            }
        }
    }
}

impl Remote<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.disabled_because.lock_forgiving()
    }

    fn is_enabled(&self) -> bool {
        self.lock().is_none()
    }

    fn disable(&self, reason: String) {
        self.lock().get_or_insert(reason);
    }

    /// Takes the lease.
    fn take_lease(&self, key: &Digest, leases: &Leases) {
        self.try_lease_operation(|| self.cache.take_lease(key, &leases.own()));
    }

    /// Returns true if another machine holds the lease.
    fn is_leased(&self, key: &Digest, leases: &Leases) -> bool {
        let leased = self.try_lease_operation(|| self.cache.lease(key)).flatten();
        leased.is_some_and(|lease| leases.is_of_another(&lease))
    }

    /// Runs an operation on leases. A cache without leases may still have layers; after one error,
    /// operations on leases are skipped.
    fn try_lease_operation<T>(&self, operation: impl FnOnce() -> Result<T, RemoteCacheError>) -> Option<T> {
        if self.lacks_leases.load(Ordering::Relaxed) {
            return None;
        }
        operation().inspect_err(|_| self.lacks_leases.store(true, Ordering::Relaxed)).ok()
    }

    fn or_disable<T>(&self, outcome: Result<T, RemoteCacheError>) -> Option<T> {
        outcome.map_err(|error| self.disable(chain(&error))).ok()
    }
}

/// Writes the blob to `file`, and verifies blob and archive against the record.
fn fetch(record: &Record, blob: &Blob, file: &Path) -> Result<(), String> {
    let outcome = write_verified(record, blob, file);
    if outcome.is_err() {
        let _ = fs_err::remove_file(file);
    }
    outcome.map_err(|error| match error {
        Some(error) => error.to_string(),
        None => "a layer does not match its digest".to_owned(),
    })
}

fn write_verified(record: &Record, blob: &Blob, file: &Path) -> Result<(), Option<ReadError>> {
    let failed = |error: io::Error| Some(ReadError::from(error));
    let source = blob.open().map_err(failed)?.take(record.size.saturating_add(1));
    let mut out = io::BufWriter::with_capacity(1 << 20, fs_err::File::create(file).map_err(failed)?);
    let limits = Limits { archive_bytes: record.archive_size.saturating_add(1), ..Limits::default() };
    let summary = {
        let source = TeeReader { source, out: &mut out };
        let mut reader = LayerReader::new(source, limits)?.with_duplicates(Duplicates::Allow);
        while reader.next_member()?.is_some() {}
        reader.finish()?
    };
    out.flush().map_err(failed)?;
    let expected = (record.digest, record.size, record.diff_id, record.archive_size);
    let found = (summary.digest, summary.size, summary.diff_id, summary.archive_size);
    if found == expected { Ok(()) } else { Err(None) }
}

/// A reader that copies everything it reads.
struct TeeReader<R, W> {
    source: R,
    out: W,
}

impl<R: Read, W: Write> Read for TeeReader<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.out.write_all(buffer.get(..got).unwrap_or_default())?;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::cache::Lease;
    use crate::progress::Silent;
    use crate::store::{Access, remote_cache};

    const BYTES: &[u8] = &[0; 1024];

    fn record() -> Record {
        Record {
            name: "numpy".to_owned(),
            digest: Digest::of(BYTES),
            size: 1024,
            diff_id: Digest::of(BYTES),
            archive_size: 1024,
            owners: Vec::new(),
        }
    }

    fn upload(record: &Record, leased: bool) -> LayerUpload<'_> {
        LayerUpload { key: Digest::of(b"key"), record, blob: Blob::Memory(BYTES.into()), leased }
    }

    /// A directory as remote cache, and a file for fetched layers.
    fn place() -> (tempfile::TempDir, Vec<Arc<dyn RemoteCache>>) {
        let folder = tempfile::tempdir().unwrap();
        let cache = remote_cache::open(&format!("dir:{}/cache", folder.path().display()), &Access::default());
        (folder, vec![cache.unwrap()])
    }

    /// A machine that reads from and writes to the caches.
    fn machine(caches: &[Arc<dyn RemoteCache>]) -> RemoteCaches<'_> {
        RemoteCaches { leases: Leases::of_another_machine(), ..RemoteCaches::new(caches, caches) }
    }

    fn expected_layer() -> ExpectedLayer {
        ExpectedLayer { key: Digest::of(b"key"), diff_id: Digest::of(BYTES), archive_size: 1024 }
    }

    #[test]
    fn of_two_concurrent_leases_one_uploads() {
        let (folder, caches) = place();
        let (one, other) = (machine(&caches), machine(&caches));
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        for machine in [&one, &other] {
            assert!(matches!(machine.look_up(expected_layer(), &file, &Silent), LookupOutcome::NotFound));
        }
        let outcome = one.with_lease(key, || {
            other.with_lease(key, || {
                let outcome = one.upload(upload(&record, true), &Silent).1;
                assert!(caches[0].find(&key).unwrap().is_none(), "nothing was sent");
                assert_eq!(other.upload(upload(&record, true), &Silent).1, UploadStatus::Done);
                outcome
            })
        });
        assert_eq!(outcome, UploadStatus::Deferred);
        assert!(caches[0].find(&key).unwrap().is_some());
        one.upload_after_wait(&upload(&record, true), &Silent);
        assert!(one.leases.are_respected(), "no wait in vain");
        assert!(matches!(one.look_up(expected_layer(), &file, &Silent), LookupOutcome::Fetched(_)));
    }

    #[test]
    fn a_layer_leased_to_another_is_neither_made_nor_uploaded() {
        let (folder, caches) = place();
        let (one, other) = (machine(&caches), machine(&caches));
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        caches[0].take_lease(&key, &other.leases.own()).unwrap();
        assert!(matches!(one.look_up(expected_layer(), &file, &Silent), LookupOutcome::Leased));
        assert!(
            matches!(other.look_up(expected_layer(), &file, &Silent), LookupOutcome::NotFound),
            "its own lease"
        );
        // As if the layer came from its local cache.
        assert_eq!(one.upload(upload(&record, false), &Silent).1, UploadStatus::Deferred);
        // Reading suffices for waiting.
        let reader = RemoteCaches::new(&caches, &[]);
        assert!(matches!(reader.look_up(expected_layer(), &file, &Silent), LookupOutcome::Leased));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.wait(key, "numpy", &Silent));
            assert_eq!(other.upload(upload(&record, true), &Silent).1, UploadStatus::Done);
            waiting.join().unwrap();
        });
        assert!(reader.leases.are_respected(), "no wait in vain");
        assert!(matches!(reader.look_up(expected_layer(), &file, &Silent), LookupOutcome::Fetched(_)));
        assert!(caches[0].lease(&key).unwrap().is_none(), "a finished layer has no lease");
    }

    #[test]
    fn an_abandoned_lease_is_waited_for_once() {
        let (folder, caches) = place();
        let remotes = RemoteCaches::new(&caches, &caches);
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        // Expires in a moment.
        let at = SystemTime::now() - Duration::from_millis(14_900);
        caches[0].take_lease(&key, &Lease { by: 1, at }).unwrap();
        remotes.wait(key, "numpy", &Silent);
        caches[0].take_lease(&key, &Lease { by: 1, at: SystemTime::now() }).unwrap();
        assert!(matches!(remotes.look_up(expected_layer(), &file, &Silent), LookupOutcome::NotFound));
        assert_eq!(remotes.upload(upload(&record, false), &Silent).1, UploadStatus::Done);
        assert!(caches[0].find(&key).unwrap().is_some());
    }

    #[test]
    fn a_cache_without_leases_stores_layers() {
        let (folder, caches) = place();
        let cache = folder.path().join("cache");
        fs_err::create_dir(&cache).unwrap();
        fs_err::write(cache.join("making"), "no folder").unwrap();
        let remotes = RemoteCaches::new(&caches, &caches);
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        assert!(matches!(remotes.look_up(expected_layer(), &file, &Silent), LookupOutcome::NotFound));
        let try_upload = || remotes.upload(upload(&record, true), &Silent).1;
        assert_eq!(remotes.with_lease(key, try_upload), UploadStatus::Done);
        assert!(remotes.can_read(), "lookups continue");
        assert!(matches!(remotes.look_up(expected_layer(), &file, &Silent), LookupOutcome::Fetched(_)));
    }

    #[test]
    fn a_lease_in_a_cache_only_written_is_ignored() {
        let ((folder, from), (_folder, to)) = (place(), place());
        let remotes = RemoteCaches::new(&from, &to);
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        // The holder of this lease did not look up the layer here.
        to[0].take_lease(&key, &Leases::of_another_machine().own()).unwrap();
        assert!(matches!(remotes.look_up(expected_layer(), &file, &Silent), LookupOutcome::NotFound));
        assert_eq!(
            remotes.with_lease(key, || remotes.upload(upload(&record, true), &Silent).1),
            UploadStatus::Done
        );
        assert!(from[0].lease(&key).unwrap().is_none() && to[0].find(&key).unwrap().is_some());
    }

    /// A write-only cache, such as a registry with push permission only.
    #[derive(Debug)]
    struct Mute(Arc<dyn RemoteCache>);

    impl RemoteCache for Mute {
        fn find(&self, _: &Digest) -> Result<Option<(Record, Blob)>, RemoteCacheError> {
            Err(RemoteCacheError::new("forbidden"))
        }

        fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), RemoteCacheError> {
            self.0.keep(key, record, blob)
        }

        fn name(&self) -> String {
            self.0.name()
        }
    }

    #[test]
    fn a_write_only_cache_gets_layers() {
        let (_folder, caches) = place();
        let mute: Vec<Arc<dyn RemoteCache>> = vec![Arc::new(Mute(caches[0].clone()))];
        let (remotes, record) = (RemoteCaches::new(&mute, &mute), record());
        assert_eq!(remotes.upload(upload(&record, false), &Silent).1, UploadStatus::Done);
        assert!(caches[0].find(&Digest::of(b"key")).unwrap().is_some());
    }
}
