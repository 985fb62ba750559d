//! One manifest by its tag, asked for once: what a cache of layers in a repository needs. What is not there is no error.

use std::time::Duration;

use ureq::http::{Method, header};

use super::auth::Scope;
use super::error::RegistryError;
use super::http::Request;
use super::session::Session;
use crate::digest::Digest;
use crate::image::{IMAGE_INDEX, IMAGE_MANIFEST};
use crate::reference::RemoteName;

/// A small document that is not there after this time is not worth more of it.
const DEADLINE: Duration = Duration::from_secs(10);

/// The bytes of the manifest or index of OCI's that `name` is the tag of, `limit` of them at most.
pub(super) fn manifest(
    session: &Session,
    name: &RemoteName,
    limit: u64,
) -> Result<Option<Vec<u8>>, RegistryError> {
    let endpoint = session.endpoint(&name.registry)?;
    let url = endpoint.url(&name.repository, &format!("manifests/{}", name.reference()));
    let accepted = format!("{IMAGE_MANIFEST}, {IMAGE_INDEX}");
    let request = Request::new(Method::GET, url).with(header::ACCEPT, accepted).within(DEADLINE);
    let answer = session.send(&endpoint, &endpoint.scope(&name.repository), &request)?;
    match answer.status {
        200 => answer.bytes(limit).map(Some),
        404 => {
            answer.drain();
            Ok(None)
        }
        _ => Err(answer.into_error(&name.to_string())),
    }
}

/// The digest of the manifest that `name` is the tag of, where there is one and the registry tells it. Whoever asks is about
/// to write.
pub(super) fn digest(session: &Session, name: &RemoteName) -> Result<Option<Digest>, RegistryError> {
    let endpoint = session.endpoint(&name.registry)?;
    let url = endpoint.url(&name.repository, &format!("manifests/{}", name.reference()));
    let request = Request::new(Method::HEAD, url).with(header::ACCEPT, IMAGE_MANIFEST).within(DEADLINE);
    let answer = session.send(&endpoint, &Scope::push(&name.repository), &request)?;
    // What is wrong is told, in words, when something is sent.
    let told = answer.header("docker-content-digest").filter(|_| answer.status == 200);
    Ok(told.and_then(|digest| digest.parse().ok()))
}
