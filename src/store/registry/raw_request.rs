//! Sends requests built by `object_store` through the registry HTTP client: same proxies,
//! certificates and limits.

use ureq::http::{HeaderMap, Method, header};

use super::Client;
use super::error::RegistryError;
use crate::store::http::url::{Scheme, Url};
use crate::store::http::{Payload, Request, Trust};

/// A request to send unchanged.
pub(in crate::store) struct RawRequest<'a> {
    pub(in crate::store) method: Method,
    /// The full address.
    pub(in crate::store) address: &'a str,
    pub(in crate::store) headers: &'a HeaderMap,
    pub(in crate::store) body: &'a [u8],
    /// The policy for plain HTTP to hosts that are neither local nor named as insecure.
    pub(in crate::store) plain_http: PlainHttpPolicy,
}

/// The policy for plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum PlainHttpPolicy {
    Allowed,
    Forbidden,
}

/// The complete response.
pub(in crate::store) struct RawResponse {
    pub(in crate::store) status: u16,
    pub(in crate::store) headers: HeaderMap,
    pub(in crate::store) body: Vec<u8>,
}

impl Client {
    /// Sends the request once without following redirects. The response has at most `limit` bytes.
    pub(in crate::store) fn send_raw(
        &self,
        raw_request: &RawRequest,
        limit: u64,
    ) -> Result<RawResponse, RegistryError> {
        let http = &self.0.http;
        let url = Url::parse(raw_request.address).ok_or_else(|| RegistryError::Setting {
            what: "address of the object store".to_owned(),
            reason: "expected http[s]://HOST/PATH".to_owned(),
        })?;
        let plain_http =
            url.origin.scheme == Scheme::Http && http.trust(&url.origin.authority) == Trust::Verified;
        if plain_http && raw_request.plain_http == PlainHttpPolicy::Forbidden {
            return Err(RegistryError::PlainHttp(url.origin.authority));
        }
        let mut request = Request::new(raw_request.method.clone(), url.clone());
        for (name, value) in raw_request.headers {
            // Set by the client.
            if [header::HOST, header::CONTENT_LENGTH, header::USER_AGENT].contains(name) {
                continue;
            }
            if let Ok(value) = value.to_str() {
                request = request.with(name.clone(), value);
            }
        }
        let reading = [Method::GET, Method::HEAD, Method::DELETE].contains(&raw_request.method);
        if !(reading && raw_request.body.is_empty()) {
            request = request.sending(Payload::Bytes(raw_request.body));
        }
        let response = http.exchange(&request, &url, None)?;
        let (status, headers) = (response.status, response.headers.clone());
        Ok(RawResponse { status, headers, body: response.bytes(limit)? })
    }
}
