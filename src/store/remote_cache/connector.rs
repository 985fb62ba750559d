//! The HTTP transport of `object_store`, on this library's blocking client.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};

use crate::store::registry::{Client, PlainHttpPolicy, RawRequest, RegistryError};

/// Makes services that share one client.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) client: Client,
    /// Limit for a response, in bytes.
    pub(super) limit: u64,
}

/// Sends requests through a client.
struct ClientService {
    client: Client,
    limit: u64,
    plain_http: PlainHttpPolicy,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Cloud metadata endpoints, which provide credentials, use plain HTTP.
        let plain_http =
            options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let plain_http = if plain_http { PlainHttpPolicy::Allowed } else { PlainHttpPolicy::Forbidden };
        Ok(HttpClient::new(ClientService { client: self.client.clone(), limit: self.limit, plain_http }))
    }
}

impl HttpService for ClientService {
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let address = parts.uri.to_string();
            let raw_request = RawRequest {
                method: parts.method,
                address: &address,
                headers: &parts.headers,
                body: &body,
                plain_http: self.plain_http,
            };
            let raw_response = self.client.send_raw(&raw_request, self.limit).map_err(failed)?;
            let mut response = HttpResponse::new(HttpResponseBody::from(Bytes::from(raw_response.body)));
            *response.status_mut() = raw_response.status.try_into().map_err(unknown)?;
            *response.headers_mut() = raw_response.headers;
            Ok(response)
        })
    }
}

impl fmt::Debug for ClientService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientService(..)")
    }
}

fn failed(error: RegistryError) -> HttpError {
    let kind = match &error {
        RegistryError::Network { .. } => HttpErrorKind::Interrupted,
        RegistryError::Stalled { .. } => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}
