//! Looks up one manifest by tag, for remote caches; a missing tag is `None`.

use std::time::Duration;

use ureq::http::{Method, header};

use super::auth::Scope;
use super::error::RegistryError;
use super::session::Session;
use crate::digest::Digest;
use crate::image::{IMAGE_INDEX, IMAGE_MANIFEST};
use crate::reference::RemoteName;
use crate::store::http::Request;

/// A small document that takes longer costs more than the lookup saves.
const DEADLINE: Duration = Duration::from_secs(10);

/// Fetches the OCI manifest or index with the tag `name`, of at most `limit` bytes.
pub(super) fn manifest(
    session: &Session,
    name: &RemoteName,
    limit: u64,
) -> Result<Option<Vec<u8>>, RegistryError> {
    let endpoint = session.endpoint(&name.registry)?;
    let url = endpoint.url(&name.repository, &format!("manifests/{}", name.reference()));
    let accepted = format!("{IMAGE_MANIFEST}, {IMAGE_INDEX}");
    let request = Request::new(Method::GET, url).with(header::ACCEPT, accepted).within(DEADLINE);
    let response = session.send(&endpoint, &endpoint.scope(&name.repository), &request)?;
    match response.status {
        200 => response.bytes(limit).map(Some),
        404 => {
            response.drain();
            Ok(None)
        }
        _ => Err(response.into_error(&name.to_string())),
    }
}

/// Returns the digest of the manifest with the tag `name`, if the registry reports one. Asks for
/// push access, since an upload follows.
pub(super) fn digest(session: &Session, name: &RemoteName) -> Result<Option<Digest>, RegistryError> {
    let endpoint = session.endpoint(&name.registry)?;
    let url = endpoint.url(&name.repository, &format!("manifests/{}", name.reference()));
    let request = Request::new(Method::HEAD, url).with(header::ACCEPT, IMAGE_MANIFEST).within(DEADLINE);
    let response = session.send(&endpoint, &Scope::push(&name.repository), &request)?;
    // The upload that follows reports errors in more detail.
    let reported = response.header("docker-content-digest").filter(|_| response.status == 200);
    Ok(reported.and_then(|digest| digest.parse().ok()))
}
