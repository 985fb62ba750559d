//! Lazily opened blobs: the image is resolved on the first read, since a lock or a cache may
//! suffice for a build.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use super::{Access, StoreError, open};
use crate::digest::Digest;
use crate::error::chain;
use crate::image::{Artifact, Blob, BlobSource};
use crate::reference::{Place, Reference, RemoteName};

/// Returns a function from digests to blobs of the image at `reference`. No request is sent before
/// a blob is read.
pub fn lazy_blobs(reference: &Reference, access: &Access) -> impl Fn(Digest) -> Blob + use<> {
    let image =
        Arc::new(LazyImage { reference: reference.clone(), access: access.clone(), opened: OnceLock::new() });
    move |digest| Blob::Source(Arc::new(LazyBlob { image: image.clone(), digest }))
}

/// Returns the error kind by which readers recognize a forbidden network.
fn kind_of(error: &StoreError) -> io::ErrorKind {
    match error {
        StoreError::Offline(_) => io::ErrorKind::NetworkUnreachable,
        _ => io::ErrorKind::Other,
    }
}

/// An image to open on demand.
#[derive(Debug)]
struct LazyImage {
    reference: Reference,
    access: Access,
    opened: OnceLock<Result<Artifact, (io::ErrorKind, String)>>,
}

/// A blob of a lazily opened image.
#[derive(Debug)]
struct LazyBlob {
    image: Arc<LazyImage>,
    digest: Digest,
}

impl BlobSource for LazyBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let LazyImage { reference, access, opened } = &*self.image;
        let artifact = opened
            .get_or_init(|| open::open(reference, access).map_err(|error| (kind_of(&error), chain(&error))))
            .as_ref()
            .map_err(|(kind, error)| io::Error::new(*kind, error.clone()))?;
        let blobs = artifact.images().into_iter().flat_map(|image| &image.blobs);
        let found = blobs.into_iter().find(|(descriptor, _)| descriptor.digest == self.digest);
        let (_, blob) =
            found.ok_or_else(|| io::Error::other(format!("{} not found in {reference}", self.digest)))?;
        blob.open_from(from).map_err(|error| match error.kind() {
            // The image's name is more useful than the host's.
            io::ErrorKind::NetworkUnreachable => {
                io::Error::new(error.kind(), StoreError::Offline(reference.to_string()))
            }
            _ => error,
        })
    }

    fn repository(&self) -> Option<RemoteName> {
        match &self.image.reference.place {
            Place::Remote(name) => Some(name.clone()),
            _ => None,
        }
    }
}
