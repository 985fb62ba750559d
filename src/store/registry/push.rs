//! Writing an image or an index: blobs in parallel, manifests from the innermost out, then the tag.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ureq::http::{Method, header};

use super::auth::Scope;
use super::error::RegistryError;
use super::pull;
use super::referrers::{self, ReferrersUpdate};
use super::session::Session;
use super::upload::PushTarget;
use crate::digest::Digest;
use crate::image::{Artifact, Blob, Descriptor};
use crate::progress::Progress;
use crate::reference::RemoteName;
use crate::store::http::{Payload, Request};
use crate::sync::LockExt as _;

/// Writes `artifact`. Returns its digest.
pub(super) fn write(
    session: &Session,
    artifact: &Artifact,
    name: &RemoteName,
    progress: &dyn Progress,
) -> Result<Digest, RegistryError> {
    let digest = artifact.digest();
    if let Some(expected) = name.digest.filter(|expected| *expected != digest) {
        return Err(RegistryError::Digest { what: name.to_string(), expected, found: digest });
    }
    let endpoint = session.endpoint(&name.registry)?;
    let scope = Scope::push(&name.repository);
    let target = PushTarget {
        session,
        endpoint: &endpoint,
        scope: &scope,
        name,
        progress,
        titles: artifact.titles(),
        stopped: AtomicBool::new(false),
        bodiless: AtomicBool::new(false),
    };
    target.blobs(artifact)?;
    for child in &artifact.manifests {
        target.tree(child)?;
    }
    // Put the document under its tag, if any; the digest is implied.
    let reference = match (&name.tag, name.digest) {
        (Some(tag), _) => tag.clone(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => name.reference(),
    };
    target.document(artifact, &reference)?;
    Ok(digest)
}

impl PushTarget<'_> {
    /// Uploads all missing blobs, several at a time.
    fn blobs(&self, artifact: &Artifact) -> Result<(), RegistryError> {
        let mut blobs: BTreeMap<Digest, (&Descriptor, &Blob)> = BTreeMap::new();
        collect(artifact, &mut blobs);
        // Largest first: a large blob started last would finish alone.
        let mut blobs: Vec<_> = blobs.into_values().collect();
        blobs.sort_by_key(|(descriptor, _)| std::cmp::Reverse(descriptor.size));
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.session.settings.transfers.get().min(blobs.len()) {
                scope.spawn(|| {
                    let following = || blobs.get(next.fetch_add(1, Ordering::Relaxed));
                    if let Err(error) = self.ensure_each(std::iter::from_fn(following)) {
                        // Report the first error: others may be consequences.
                        failed.lock_forgiving().get_or_insert(error);
                        self.stopped.store(true, Ordering::Relaxed);
                    }
                });
            }
        });
        failed.into_inner_forgiving().map_or(Ok(()), Err)
    }

    /// Uploads the missing ones of `blobs` until an upload fails, here or on another thread.
    fn ensure_each<'b>(
        &self,
        mut blobs: impl Iterator<Item = &'b (&'b Descriptor, &'b Blob)>,
    ) -> Result<(), RegistryError> {
        while !self.stopped.load(Ordering::Relaxed) {
            let Some((descriptor, blob)) = blobs.next() else { break };
            self.ensure(descriptor, blob)?;
        }
        Ok(())
    }

    /// Puts a document after everything below.
    fn tree(&self, artifact: &Artifact) -> Result<(), RegistryError> {
        for child in &artifact.manifests {
            self.tree(child)?;
        }
        self.document(artifact, &artifact.digest().to_string())
    }

    fn document(&self, artifact: &Artifact, reference: &str) -> Result<(), RegistryError> {
        let update = self.put(&artifact.bytes, &artifact.descriptor.media_type, reference)?;
        referrers::update(self, artifact, update)
    }

    /// Returns whether `reference` resolves to the document with this digest.
    fn has_document(&self, reference: &str, digest: &Digest) -> bool {
        let there = self.name.with_tag(reference);
        let there = reference.parse().map_or(there, |digest| self.name.with_digest(digest));
        pull::resolve_at(self.session, self.endpoint, &there).is_ok_and(|(found, _)| found.digest == *digest)
    }

    /// Puts a document. Returns whether the registry maintains the referrers list of its `subject`.
    pub(super) fn put(
        &self,
        bytes: &[u8],
        media_type: &str,
        reference: &str,
    ) -> Result<ReferrersUpdate, RegistryError> {
        let url = self.endpoint.url(&self.name.repository, &format!("manifests/{reference}"));
        let request = Request::new(Method::PUT, url)
            .with(header::CONTENT_TYPE, media_type)
            .sending(Payload::Bytes(bytes));
        let response = self.session.send(self.endpoint, self.scope, &request)?;
        let expected = Digest::of(bytes);
        if !matches!(response.status, 200..=204) {
            // An immutable tag is fine if the tag already has this document.
            let refused = matches!(response.status, 400 | 403 | 405 | 409 | 412 | 422);
            let error = response.into_error(&self.name.path());
            if refused && self.has_document(reference, &expected) {
                return Ok(ReferrersUpdate::Done);
            }
            return Err(error);
        }
        let found = response.header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(found) = found.filter(|found| *found != found.recomputed(bytes)) {
            return Err(RegistryError::Digest { what: self.name.to_string(), expected, found });
        }
        let update = match response.header("oci-subject") {
            Some(_) => ReferrersUpdate::Done,
            None => ReferrersUpdate::Needed,
        };
        response.drain();
        Ok(update)
    }
}

/// Collects the blobs of an artifact without duplicates. Nondistributable layers are omitted.
fn collect<'a>(artifact: &'a Artifact, blobs: &mut BTreeMap<Digest, (&'a Descriptor, &'a Blob)>) {
    for (descriptor, blob) in &artifact.blobs {
        if !descriptor.is_nondistributable() {
            blobs.entry(descriptor.digest).or_insert((descriptor, blob));
        }
    }
    for child in &artifact.manifests {
        collect(child, blobs);
    }
}
