//! Lookup and upload of layers in remote caches.
//!
//! Remote data is not trusted. The expected digest of the archive is computed from local files, so
//! a record with another digest is of another layer; a blob is hashed and decompressed before use.
//! A cache that fails or lies is not used again in this build, and causes one warning.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::claims::{Claims, RENEWAL, Word, renewing};
use crate::cache::{Record, RemoteCache, RemoteCacheError};
use crate::digest::Digest;
use crate::image::Blob;
use crate::layer::{Duplicates, LayerReader, Limits, ReadError};
use crate::progress::{Progress, Span, Warning};
use crate::reference::RemoteName;

/// The remote caches of a build.
pub(super) struct Shared<'a> {
    from: Vec<Peer<'a>>,
    to: Vec<Peer<'a>>,
    claims: Claims,
}

struct Peer<'a> {
    cache: &'a Arc<dyn RemoteCache>,
    /// Reason for the cache being out of use.
    given_up: Mutex<Option<String>>,
    /// Set once an operation on leases failed.
    has_no_claims: AtomicBool,
    /// True if the cache is read and written: only then do leases work.
    is_mutual: bool,
}

/// Expected properties of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) key: Digest,
    pub(super) diff_id: Digest,
    pub(super) archive_size: u64,
}

/// Outcome of a lookup.
pub(super) enum Asked {
    /// The layer was fetched.
    Fetched(Box<Fetched>),
    /// Another machine is making it.
    Claimed,
    /// Not found.
    Nothing,
}

/// A layer from a remote cache, in a local file.
pub(super) struct Fetched {
    pub(super) record: Record,
    pub(super) file: PathBuf,
    pub(super) repository: Option<RemoteName>,
}

/// A layer to upload.
#[derive(Clone)]
pub(super) struct Offered<'a> {
    pub(super) key: Digest,
    pub(super) record: &'a Record,
    pub(super) blob: Blob,
    /// True if this build holds the lease.
    pub(super) claimed: bool,
}

/// State of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Done, as far as the caches accept it.
    Done,
    /// Another build is uploading the layer.
    Later,
}

impl<'a> Shared<'a> {
    pub(super) fn new(from: &'a [Arc<dyn RemoteCache>], to: &'a [Arc<dyn RemoteCache>]) -> Self {
        let peers = |caches: &'a [Arc<dyn RemoteCache>], others: &[Arc<dyn RemoteCache>]| {
            let peer = |cache: &'a Arc<dyn RemoteCache>| Peer {
                cache,
                given_up: Mutex::default(),
                has_no_claims: AtomicBool::new(false),
                is_mutual: others.iter().any(|other| other.name() == cache.name()),
            };
            caches.iter().map(peer).collect()
        };
        Self { from: peers(from, to), to: peers(to, from), claims: Claims::of_process() }
    }

    /// Returns true if there is a cache to read from.
    pub(super) fn asks(&self) -> bool {
        self.from.iter().any(Peer::is_good)
    }

    /// Looks up the layer in order of caches, and writes it to `file`.
    pub(super) fn ask(&self, wanted: Wanted, file: &Path, progress: &dyn Progress) -> Asked {
        match self.fetch(wanted, file, progress) {
            Some(fetched) => Asked::Fetched(Box::new(fetched)),
            None if self.is_claimed(wanted.key) => Asked::Claimed,
            None => Asked::Nothing,
        }
    }

    /// Waits while another machine is making the layer, until the layer exists or the lease
    /// expires.
    pub(super) fn wait(&self, key: Digest, name: &str, progress: &dyn Progress) {
        let mut heard: Option<Instant> = None;
        let has = |peer: &Peer<'_>| matches!(peer.cache.find(&key), Ok(Some(_)));
        let ask = || {
            if self.from.iter().filter(|peer| peer.is_good()).any(has) {
                return Word::Done(());
            }
            if heard.is_some_and(|at| at.elapsed() < RENEWAL) {
                return Word::Claimed;
            }
            heard = Some(Instant::now());
            if self.is_claimed(key) { Word::Claimed } else { Word::Nothing }
        };
        self.claims.wait(&format!("waiting for another machine, which makes {name}"), progress, ask);
    }

    /// Runs `work`, which makes a layer, under a lease.
    pub(super) fn making<T>(&self, key: Digest, work: impl FnOnce() -> T) -> T {
        let peers: Vec<&Peer<'_>> = self.to.iter().filter(|peer| peer.is_good() && peer.is_mutual).collect();
        if peers.is_empty() {
            return work();
        }
        for peer in &peers {
            peer.claim(&key, &self.claims);
        }
        self.claimed(&peers, key, work)
    }

    /// Runs `work` under a lease already taken, and renews the lease.
    fn claimed<T>(&self, peers: &[&Peer<'_>], key: Digest, work: impl FnOnce() -> T) -> T {
        let renew = || {
            // The most recent lease of two wins.
            let is_ours = !peers.iter().any(|peer| peer.is_claimed(&key, &self.claims));
            if is_ours {
                for peer in peers {
                    peer.claim(&key, &self.claims);
                }
            }
            is_ours
        };
        renewing(RENEWAL, renew, work)
    }

    fn is_claimed(&self, key: Digest) -> bool {
        let mut good = self.from.iter().filter(|peer| peer.is_good());
        self.claims.are_heeded() && good.any(|peer| peer.is_claimed(&key, &self.claims))
    }

    fn fetch(&self, wanted: Wanted, file: &Path, progress: &dyn Progress) -> Option<Fetched> {
        self.from.iter().filter(|peer| peer.is_good()).find_map(|peer| {
            let (record, blob) = peer.note(peer.cache.find(&wanted.key))??;
            if (record.diff_id, record.archive_size) != (wanted.diff_id, wanted.archive_size) {
                peer.give_up("it has another layer than it says".to_owned());
                return None;
            }
            let _span = Span::begin(progress, "fetching layers");
            progress.step(&format!("fetching {} from {}", record.name, peer.cache.name()));
            match fetch(&record, &blob, file) {
                Ok(()) => Some(Fetched { record, file: file.to_owned(), repository: blob.repository() }),
                Err(reason) => {
                    peer.give_up(reason);
                    None
                }
            }
        })
    }

    /// Returns the index, among `count` layers, to begin with. Machines that build the same at the
    /// same time begin with different layers, and find those of the others later. Has no other
    /// effect.
    pub(super) fn first(&self, count: usize) -> usize {
        if count == 0 || !self.to.iter().any(|peer| peer.is_mutual) {
            return 0;
        }
        usize::from(self.claims.own().by.to_ne_bytes()[0]) % count
    }

    /// Uploads a layer immediately, since another machine may need it soon. Returns
    /// [`Delivery::Later`] if another build is uploading it.
    pub(super) fn offer(&self, offered: Offered<'_>, progress: &dyn Progress) -> (Blob, Delivery) {
        let Offered { key, record, blob, claimed } = offered;
        let (mut holder, mut delivery) = (blob.repository(), Delivery::Done);
        for peer in self.to.iter().filter(|peer| peer.is_good()) {
            let _span = Span::begin(progress, "giving layers to others");
            match peer.note(self.give(peer, key, record, &blob, claimed)) {
                Some(Delivery::Done) => holder = holder.or_else(|| peer.cache.repository()),
                Some(Delivery::Later) => delivery = Delivery::Later,
                None => {}
            }
        }
        let blob = match blob {
            Blob::Known { file, .. } => Blob::Known { file, repository: holder },
            blob => blob,
        };
        (blob, delivery)
    }

    /// Uploads a layer leased to another build: waits for its upload, or for the lease to
    /// expire.
    pub(super) fn offer_late(&self, offered: &Offered<'_>, progress: &dyn Progress) -> Blob {
        // A more recent lease replaced this build's.
        let again = || Offered { claimed: false, ..offered.clone() };
        let offer = || match self.offer(again(), progress) {
            (blob, Delivery::Done) => Word::Done(blob),
            (_, Delivery::Later) => Word::Claimed,
        };
        let what = format!("waiting for another machine, which sends {}", offered.record.name);
        self.claims.wait(&what, progress, offer).unwrap_or_else(|| {
            // After one failed wait no lease is respected.
            self.claims.ignore();
            self.offer(again(), progress).0
        })
    }

    fn give(
        &self,
        peer: &Peer<'_>,
        key: Digest,
        record: &Record,
        blob: &Blob,
        claimed: bool,
    ) -> Result<Delivery, RemoteCacheError> {
        let keep = || peer.cache.keep(&key, record, blob).map(|()| Delivery::Done);
        if !peer.is_mutual {
            return keep();
        }
        if !claimed {
            // Errors of the cache surface when uploading.
            let found = peer.cache.find(&key).ok().flatten();
            if found.is_some_and(|(known, _)| known.is_same_layer(record)) {
                return Ok(Delivery::Done);
            }
        }
        // Of two concurrent leases the last write wins.
        let is_claimed = || self.claims.are_heeded() && peer.is_claimed(&key, &self.claims);
        if is_claimed() {
            return Ok(Delivery::Later);
        }
        if !claimed {
            peer.claim(&key, &self.claims);
            if is_claimed() {
                return Ok(Delivery::Later);
            }
        }
        self.claimed(&[peer], key, keep)
    }

    /// Warns about the caches that failed.
    pub(super) fn warn(&self, progress: &dyn Progress) {
        for peer in self.from.iter().chain(&self.to) {
            if let Some(reason) = &*peer.lock() {
                progress.warn(
                    Warning::new(peer.cache.name(), format!("this cache was not used further: {reason}"))
                        .with_help("the image is right without it, and took longer"),
                );
            }
        }
    }
}

impl Peer<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_good(&self) -> bool {
        self.lock().is_none()
    }

    fn give_up(&self, reason: String) {
        self.lock().get_or_insert(reason);
    }

    /// Takes the lease.
    fn claim(&self, key: &Digest, claims: &Claims) {
        self.note_claims(|| self.cache.take_lease(key, &claims.own()));
    }

    /// Returns true if another machine holds the lease.
    fn is_claimed(&self, key: &Digest, claims: &Claims) -> bool {
        let claimed = self.note_claims(|| self.cache.lease(key)).flatten();
        claimed.is_some_and(|claim| claims.is_of_another(&claim))
    }

    /// Runs an operation on leases. A cache without leases may still have layers; after one error,
    /// operations on leases are skipped.
    fn note_claims<T>(&self, ask: impl FnOnce() -> Result<T, RemoteCacheError>) -> Option<T> {
        if self.has_no_claims.load(Ordering::Relaxed) {
            return None;
        }
        ask().inspect_err(|_| self.has_no_claims.store(true, Ordering::Relaxed)).ok()
    }

    fn note<T>(&self, outcome: Result<T, RemoteCacheError>) -> Option<T> {
        outcome.map_err(|error| self.give_up(error.to_string())).ok()
    }
}

/// Writes the blob to `file`, and verifies blob and archive against the record.
fn fetch(record: &Record, blob: &Blob, file: &Path) -> Result<(), String> {
    let outcome = write_checked(record, blob, file);
    if outcome.is_err() {
        let _ = fs_err::remove_file(file);
    }
    outcome.map_err(|error| match error {
        Some(error) => error.to_string(),
        None => "the bytes of a layer are not those of its digest".to_owned(),
    })
}

fn write_checked(record: &Record, blob: &Blob, file: &Path) -> Result<(), Option<ReadError>> {
    let failed = |error: io::Error| Some(ReadError::from(error));
    let source = blob.open().map_err(failed)?.take(record.size.saturating_add(1));
    let mut out = io::BufWriter::with_capacity(1 << 20, fs_err::File::create(file).map_err(failed)?);
    let limits = Limits { archive_bytes: record.archive_size.saturating_add(1), ..Limits::default() };
    let summary = {
        let source = Copied { source, out: &mut out };
        let mut reader = LayerReader::new(source, limits)?.with_duplicates(Duplicates::Give);
        while reader.next_member()?.is_some() {}
        reader.finish()?
    };
    out.flush().map_err(failed)?;
    let expected = (record.digest, record.size, record.diff_id, record.archive_size);
    let found = (summary.digest, summary.size, summary.diff_id, summary.archive_size);
    if found == expected { Ok(()) } else { Err(None) }
}

/// A reader that copies everything it reads.
struct Copied<R, W> {
    source: R,
    out: W,
}

impl<R: Read, W: Write> Read for Copied<R, W> {
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

    fn offered(record: &Record, claimed: bool) -> Offered<'_> {
        Offered { key: Digest::of(b"key"), record, blob: Blob::Memory(BYTES.into()), claimed }
    }

    /// A directory as remote cache, and a file for fetched layers.
    fn place() -> (tempfile::TempDir, Vec<Arc<dyn RemoteCache>>) {
        let folder = tempfile::tempdir().unwrap();
        let cache = remote_cache::open(&format!("dir:{}/cache", folder.path().display()), &Access::default());
        (folder, vec![cache.unwrap()])
    }

    /// A machine that reads from and writes to the caches.
    fn machine(caches: &[Arc<dyn RemoteCache>]) -> Shared<'_> {
        Shared { claims: Claims::of_another_machine(), ..Shared::new(caches, caches) }
    }

    fn wanted() -> Wanted {
        Wanted { key: Digest::of(b"key"), diff_id: Digest::of(BYTES), archive_size: 1024 }
    }

    #[test]
    fn of_two_that_claim_a_layer_in_the_same_moment_one_gives_it() {
        let (folder, caches) = place();
        let (one, other) = (machine(&caches), machine(&caches));
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        for machine in [&one, &other] {
            assert!(matches!(machine.ask(wanted(), &file, &Silent), Asked::Nothing));
        }
        let outcome = one.making(key, || {
            other.making(key, || {
                let outcome = one.offer(offered(&record, true), &Silent).1;
                assert!(caches[0].find(&key).unwrap().is_none(), "nothing was sent");
                assert_eq!(other.offer(offered(&record, true), &Silent).1, Delivery::Done);
                outcome
            })
        });
        assert_eq!(outcome, Delivery::Later);
        assert!(caches[0].find(&key).unwrap().is_some());
        one.offer_late(&offered(&record, true), &Silent);
        assert!(one.claims.are_heeded(), "it has not waited in vain");
        assert!(matches!(one.ask(wanted(), &file, &Silent), Asked::Fetched(_)));
    }

    #[test]
    fn what_another_is_making_is_neither_made_nor_given() {
        let (folder, caches) = place();
        let (one, other) = (machine(&caches), machine(&caches));
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        caches[0].take_lease(&key, &other.claims.own()).unwrap();
        assert!(matches!(one.ask(wanted(), &file, &Silent), Asked::Claimed));
        assert!(matches!(other.ask(wanted(), &file, &Silent), Asked::Nothing), "its own claim");
        // As if the layer came from its local cache.
        assert_eq!(one.offer(offered(&record, false), &Silent).1, Delivery::Later);
        // Reading suffices for waiting.
        let reader = Shared::new(&caches, &[]);
        assert!(matches!(reader.ask(wanted(), &file, &Silent), Asked::Claimed));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.wait(key, "numpy", &Silent));
            assert_eq!(other.offer(offered(&record, true), &Silent).1, Delivery::Done);
            waiting.join().unwrap();
        });
        assert!(reader.claims.are_heeded(), "it has not waited in vain");
        assert!(matches!(reader.ask(wanted(), &file, &Silent), Asked::Fetched(_)));
        assert!(caches[0].lease(&key).unwrap().is_none(), "what is there is not being made");
    }

    #[test]
    fn a_claim_that_nobody_stands_by_is_waited_for_once() {
        let (folder, caches) = place();
        let shared = Shared::new(&caches, &caches);
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        // Expires in a moment.
        let at = SystemTime::now() - Duration::from_millis(14_900);
        caches[0].take_lease(&key, &Lease { by: 1, at }).unwrap();
        shared.wait(key, "numpy", &Silent);
        caches[0].take_lease(&key, &Lease { by: 1, at: SystemTime::now() }).unwrap();
        assert!(matches!(shared.ask(wanted(), &file, &Silent), Asked::Nothing));
        assert_eq!(shared.offer(offered(&record, false), &Silent).1, Delivery::Done);
        assert!(caches[0].find(&key).unwrap().is_some());
    }

    #[test]
    fn a_cache_that_takes_no_claims_takes_layers() {
        let (folder, caches) = place();
        let cache = folder.path().join("cache");
        fs_err::create_dir(&cache).unwrap();
        fs_err::write(cache.join("making"), "no folder").unwrap();
        let shared = Shared::new(&caches, &caches);
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        assert!(matches!(shared.ask(wanted(), &file, &Silent), Asked::Nothing));
        let offer = || shared.offer(offered(&record, true), &Silent).1;
        assert_eq!(shared.making(key, offer), Delivery::Done);
        assert!(shared.asks(), "it is asked on");
        assert!(matches!(shared.ask(wanted(), &file, &Silent), Asked::Fetched(_)));
    }

    #[test]
    fn what_is_said_elsewhere_is_nothing_to_wait_for() {
        let ((folder, from), (_folder, to)) = (place(), place());
        let shared = Shared::new(&from, &to);
        let (key, record, file) = (Digest::of(b"key"), record(), folder.path().join("fetched"));
        // The holder of this lease did not look up the layer here.
        to[0].take_lease(&key, &Claims::of_another_machine().own()).unwrap();
        assert!(matches!(shared.ask(wanted(), &file, &Silent), Asked::Nothing));
        assert_eq!(shared.making(key, || shared.offer(offered(&record, true), &Silent).1), Delivery::Done);
        assert!(from[0].lease(&key).unwrap().is_none() && to[0].find(&key).unwrap().is_some());
    }

    /// A write-only cache, such as a registry with push permission only.
    #[derive(Debug)]
    struct Mute(Arc<dyn RemoteCache>);

    impl RemoteCache for Mute {
        fn find(&self, _: &Digest) -> Result<Option<(Record, Blob)>, RemoteCacheError> {
            Err(RemoteCacheError("forbidden".to_owned()))
        }

        fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), RemoteCacheError> {
            self.0.keep(key, record, blob)
        }

        fn name(&self) -> String {
            self.0.name()
        }
    }

    #[test]
    fn a_cache_that_may_only_be_given_to_is_given_to() {
        let (_folder, caches) = place();
        let mute: Vec<Arc<dyn RemoteCache>> = vec![Arc::new(Mute(caches[0].clone()))];
        let (shared, record) = (Shared::new(&mute, &mute), record());
        assert_eq!(shared.offer(offered(&record, false), &Silent).1, Delivery::Done);
        assert!(caches[0].find(&Digest::of(b"key")).unwrap().is_some());
    }
}
