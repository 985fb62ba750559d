//! Sends requests built by `object_store` through the registry HTTP client: same proxies,
//! certificates and limits.

use ureq::http::{HeaderMap, Method, header};

use super::Client;
use super::error::RegistryError;
use super::http::{Payload, Request, Trust};
use super::url::{Scheme, Url};

/// A request to send unchanged.
pub(in crate::store) struct Passing<'a> {
    pub(in crate::store) method: Method,
    /// The full address.
    pub(in crate::store) address: &'a str,
    pub(in crate::store) headers: &'a HeaderMap,
    pub(in crate::store) body: &'a [u8],
    /// The policy for plain HTTP to hosts that are neither local nor named as insecure.
    pub(in crate::store) clear: Clear,
}

/// The policy for plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Clear {
    Allowed,
    Forbidden,
}

/// The complete response.
pub(in crate::store) struct Passed {
    pub(in crate::store) status: u16,
    pub(in crate::store) headers: HeaderMap,
    pub(in crate::store) body: Vec<u8>,
}

impl Client {
    /// Sends the request once without following redirects. The response has at most `limit` bytes.
    pub(in crate::store) fn pass(&self, passing: &Passing, limit: u64) -> Result<Passed, RegistryError> {
        let http = &self.0.http;
        let url = Url::parse(passing.address).ok_or_else(|| RegistryError::Setting {
            what: "an address of the object store".to_owned(),
            reason: "it is not http[s]://HOST/PATH".to_owned(),
        })?;
        let clear = url.origin.scheme == Scheme::Http && http.trust(&url.origin.authority) == Trust::Verified;
        if clear && passing.clear == Clear::Forbidden {
            return Err(RegistryError::PlainHttp(url.origin.authority));
        }
        let mut request = Request::new(passing.method.clone(), url.clone());
        for (name, value) in passing.headers {
            // Set by the client.
            if [header::HOST, header::CONTENT_LENGTH, header::USER_AGENT].contains(name) {
                continue;
            }
            if let Ok(value) = value.to_str() {
                request = request.with(name.clone(), value);
            }
        }
        let reading = [Method::GET, Method::HEAD, Method::DELETE].contains(&passing.method);
        if !(reading && passing.body.is_empty()) {
            request = request.sending(Payload::Bytes(passing.body));
        }
        let answer = http.exchange(&request, &url, None)?;
        let (status, headers) = (answer.status, answer.headers.clone());
        Ok(Passed { status, headers, body: answer.bytes(limit)? })
    }
}
