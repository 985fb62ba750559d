//! Sends one HTTP request: TLS, proxies, redirects. Registries, remote caches and archives of packages
//! send theirs through this client. Contents and credentials are the callers' concern.

mod absolute_form;
pub(crate) mod no_proxy;
pub(crate) mod retry;
pub(crate) mod secret;
mod throughput;
pub(crate) mod url;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::Error as TlsError;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue, Method, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::error::FileError;
use crate::store::Network;
use crate::store::registry::{CertificateError, ConnectionError, RegistryError, RegistrySettings};
use crate::sync::LockExt as _;
use absolute_form::AbsoluteFormConnector;
use secret::Secret;
use throughput::GuardConnector;
use url::{Scheme, Url, UrlOrigin, host_and_port};

/// Limit for the redirects of one request.
const MOST_REDIRECTS: usize = 10;
/// Bytes read of an error's body, and characters of it shown.
const DETAIL_BYTES: u64 = 64 << 10;
const DETAIL_CHARACTERS: usize = 300;
/// Describes a stalled connection.
const NO_PROGRESS: &str = "no progress for";
/// After the last byte of a body is written, megabytes of it may still be in local buffers: a body
/// larger than `BUFFERED` multiplies the response timeout by `UNSENT`.
const BUFFERED: u64 = 64 << 10;
const UNSENT: u32 = 3;
/// The least throughput of a registry that hashes or copies a blob before responding, in bytes per
/// second; extends the response timeout.
const STORED_BYTES_PER_SECOND: u64 = 8 << 20;

/// A request.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) payload: Payload<'a>,
    /// The time limit for the entire exchange.
    pub(crate) within: Option<Duration>,
    /// Bytes to be stored by the server before it responds.
    pub(crate) settling: u64,
}

/// The body of a request.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// A number of bytes, from a reader opened for each attempt.
    Stream(u64, &'a dyn Fn() -> io::Result<Box<dyn Read + 'a>>),
}

/// A response.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// The address of the response: redirects may have changed the host.
    pub(crate) url: Url,
    /// Method and path of the request, for display.
    pub(crate) what: String,
    /// The `Authorization` sent, to redact from error messages.
    sent: Option<Secret>,
    /// The longest time without progress in the body.
    silence: Duration,
}

/// The trust in a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Verified TLS.
    Verified,
    /// This machine: verified TLS, or plain HTTP.
    Loopback,
    /// Named by the user: unverified TLS, or plain HTTP.
    Insecure,
}

/// An HTTP client.
pub(crate) struct Http {
    settings: RegistrySettings,
    network: Network,
    roots: RootCerts,
    /// Agents hold the connections; each has one proxy and one kind of trust.
    agents: Mutex<BTreeMap<(Route, bool), Agent>>,
}

/// The kind of proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Route {
    Direct,
    Http,
    Https,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), payload: Payload::None, within: None, settling: 0 }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Limits the time of the exchange; redirects each have a limit of their own.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.within = Some(limit);
        self
    }

    pub(crate) fn sending(mut self, payload: Payload<'a>) -> Self {
        self.payload = payload;
        self
    }

    /// Extends the response timeout for `bytes` to be stored first.
    pub(crate) fn settling(mut self, bytes: u64) -> Self {
        self.settling = bytes;
        self
    }
}

impl Http {
    pub(crate) fn new(settings: &RegistrySettings, network: Network) -> Result<Self, RegistryError> {
        let mut roots = Vec::new();
        for path in &settings.ca_files {
            let pem = fs_err::read(path).map_err(FileError::of("read", path))?;
            let wrong = |reason: &str| RegistryError::Setting {
                what: format!("certificates in {}", path.display()),
                reason: reason.to_owned(),
            };
            let before = roots.len();
            for item in ureq::tls::parse_pem(&pem) {
                if let PemItem::Certificate(certificate) = item.map_err(|_| wrong("not PEM"))? {
                    roots.push(certificate);
                }
            }
            if roots.len() == before {
                return Err(wrong("no certificate found"));
            }
        }
        // Unreadable certificates count as untrusted; connections report the error.
        let native = rustls_native_certs::load_native_certs().certs;
        roots.extend(native.iter().map(|certificate| Certificate::from_der(certificate).to_owned()));
        for (name, proxy) in
            [("HTTP_PROXY", &settings.proxies.http), ("HTTPS_PROXY", &settings.proxies.https)]
        {
            let known = |proxy: &Secret| {
                let proxy = ureq::Proxy::new(proxy.reveal()).ok();
                let protocol = proxy.as_ref().map(ureq::Proxy::protocol);
                matches!(protocol, Some(ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https))
            };
            if proxy.as_ref().is_some_and(|proxy| !known(proxy)) {
                return Err(RegistryError::Setting {
                    what: name.to_owned(),
                    reason: "expected http[s]://[USER:PASSWORD@]HOST[:PORT]".to_owned(),
                });
            }
        }
        if HeaderValue::from_str(&settings.user_agent).is_err() {
            return Err(RegistryError::Setting {
                what: "user agent".to_owned(),
                reason: "invalid characters for a header".to_owned(),
            });
        }
        Ok(Self {
            settings: settings.clone(),
            network,
            roots: RootCerts::Specific(Arc::new(roots)),
            agents: Mutex::default(),
        })
    }

    /// Returns the trust in an authority's host.
    pub(crate) fn trust(&self, authority: &str) -> Trust {
        let (host, port) = host_and_port(authority);
        let named = |entry: &String| {
            let (name, wanted) = host_and_port(entry);
            name.eq_ignore_ascii_case(host) && wanted.is_none_or(|wanted| Some(wanted) == port)
        };
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if self.settings.insecure.iter().any(named) {
            Trust::Insecure
        } else if loopback {
            Trust::Loopback
        } else {
            Trust::Verified
        }
    }

    /// Sends a request and follows redirects. `proof`, the `Authorization` header, goes only to the
    /// origin of the request, and never again after a redirect to another origin.
    pub(crate) fn send(&self, request: &Request, proof: Option<&Secret>) -> Result<Response, RegistryError> {
        let mut url = request.url.clone();
        let mut proof = proof;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.exchange(request, &url, proof)?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let refuse =
                |reason: String| RegistryError::Response { host: url.origin.authority.clone(), reason };
            let location = text(&response.headers, &header::LOCATION).unwrap_or_default();
            let next = url.join(location).ok_or_else(|| refuse("invalid redirect".to_owned()))?;
            // Only 307 and 308 allow sending a body again.
            let reading = [Method::GET, Method::HEAD].contains(&request.method);
            if !reading && !matches!(response.status, 307 | 308) {
                return Err(refuse(format!("refused redirect of {} to {}", request.method, next.origin)));
            }
            if url.origin.scheme == Scheme::Https
                && next.origin.scheme == Scheme::Http
                && self.trust(&next.origin.authority) == Trust::Verified
            {
                return Err(refuse(format!("refused redirect from HTTPS to {}", next.origin)));
            }
            if next.origin != request.url.origin {
                // A document may be a form for a token server, with a secret.
                if matches!(request.payload, Payload::Bytes(_)) {
                    return Err(refuse(format!("refused redirect of {} to {}", request.method, next.origin)));
                }
                proof = None;
            }
            url = next;
        }
        Err(RegistryError::Response {
            host: url.origin.authority,
            reason: format!("more than {MOST_REDIRECTS} redirects"),
        })
    }

    /// Sends a request once; a redirect is a response.
    pub(crate) fn exchange(
        &self,
        request: &Request,
        url: &Url,
        proof: Option<&Secret>,
    ) -> Result<Response, RegistryError> {
        let host = &url.origin.authority;
        if self.network == Network::Forbidden {
            return Err(RegistryError::Offline(host.clone()));
        }
        let unfit = || RegistryError::Response { host: host.clone(), reason: "invalid address".to_owned() };
        let (route, proxy) = self.route(&url.origin);
        let forwarding = proxy.as_ref().filter(|_| route == Route::Http);
        let uri = forwarding.map_or_else(|| url.uri(), |proxy| absolute_form::uri(proxy, url));
        let mut builder = http::Request::builder().method(&request.method).uri(uri.ok_or_else(unfit)?);
        if let Some(proxy) = forwarding {
            builder = builder.header(header::HOST, host);
            if let Some(value) = absolute_form::authorization(proxy) {
                builder = builder.header(header::PROXY_AUTHORIZATION, value);
            }
        }
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(proof) = proof {
            let mut value =
                HeaderValue::from_str(proof.reveal()).map_err(|_| RegistryError::Unauthorized {
                    name: host.clone(),
                    reason: "the credentials contain invalid characters".to_owned(),
                })?;
            value.set_sensitive(true);
            builder = builder.header(header::AUTHORIZATION, value);
        }
        let bodiless = [Method::GET, Method::HEAD, Method::DELETE].contains(&request.method);
        let agent = self.agent(&url.origin, route, proxy.as_ref());
        let response = if bodiless && matches!(request.payload, Payload::None) {
            let bare = builder.body(SendBody::none()).map_err(|_| unfit())?;
            agent.run(agent.configure_request(bare).timeout_global(request.within).build())
        } else {
            let timeout = self.response_timeout(request);
            let (size, mut reader): (u64, Box<dyn Read + '_>) = match &request.payload {
                Payload::None => (0, Box::new(io::empty())),
                Payload::Bytes(bytes) => (bytes.len() as u64, Box::new(*bytes)),
                Payload::Stream(size, open) => {
                    (*size, open().map_err(|source| self.explain(&url.origin, ureq::Error::Io(source)))?)
                }
            };
            let body = SendBody::from_reader(&mut *reader);
            let full = builder.header(header::CONTENT_LENGTH, size).body(body).map_err(|_| unfit())?;
            let full = agent.configure_request(full);
            let full = full.timeout_per_read(Some(timeout)).timeout_recv_response(Some(timeout));
            agent.run(full.timeout_global(request.within).build())
        };
        let response = response.map_err(|error| self.explain(&url.origin, error))?;
        let (parts, body) = response.into_parts();
        if forwarding.is_some() && parts.status == http::StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(RegistryError::Network {
                host: self.peer(&url.origin),
                source: ConnectionError::Proxy,
            });
        }
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            url: url.clone(),
            what: format!("{} {}", request.method, url.path()),
            sent: proof.cloned(),
            silence: self.settings.silence_timeout,
        })
    }

    /// Returns the response timeout of a request with a body.
    fn response_timeout(&self, request: &Request) -> Duration {
        let silence = self.settings.silence_timeout;
        let sent = match request.payload {
            Payload::Stream(size, _) if size > BUFFERED => silence.saturating_mul(UNSENT),
            _ => silence,
        };
        sent.saturating_add(Duration::from_secs(request.settling / STORED_BYTES_PER_SECOND))
    }

    /// Returns the proxy for `origin`, if any.
    fn route(&self, origin: &UrlOrigin) -> (Route, Option<ureq::Proxy>) {
        let proxies = &self.settings.proxies;
        let (route, proxy) = match origin.scheme {
            _ if no_proxy::bypasses(&proxies.no_proxy, &origin.authority) => (Route::Direct, None),
            Scheme::Http => (Route::Http, proxies.http.as_ref()),
            Scheme::Https => (Route::Https, proxies.https.as_ref()),
        };
        (route, proxy.and_then(|proxy| ureq::Proxy::new(proxy.reveal()).ok()))
    }

    /// Names the host of `origin`, with its proxy if there is one: either may be the cause of an
    /// error.
    fn peer(&self, origin: &UrlOrigin) -> String {
        match self.route(origin).1 {
            Some(proxy) => {
                format!("{} through the proxy {}:{}", origin.authority, proxy.host(), proxy.port())
            }
            None => origin.authority.clone(),
        }
    }

    /// Returns the agent for `origin` with its [`Self::route`].
    fn agent(&self, origin: &UrlOrigin, route: Route, proxy: Option<&ureq::Proxy>) -> Agent {
        let unverified = self.trust(&origin.authority) == Trust::Insecure;
        let mut agents = self.agents.lock_forgiving();
        let agent = agents.entry((route, unverified)).or_insert_with(|| {
            let tls = TlsConfig::builder()
                .root_certs(self.roots.clone())
                .disable_verification(unverified)
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .build();
            // A request of a forwarding proxy names the proxy as its host.
            let forwarded = route == Route::Http && proxy.is_some();
            let tunnel = proxy.filter(|_| !forwarded).cloned();
            let per_host = self.settings.transfers.get().saturating_add(1);
            let config = Agent::config_builder()
                .tls_config(tls)
                .proxy(tunnel)
                .http_status_as_error(false)
                .max_redirects(0)
                .user_agent(self.settings.user_agent.clone())
                // Layers must arrive as stored: the digest covers the compressed bytes.
                .accept_encoding("identity")
                .max_idle_connections(per_host.saturating_mul(2))
                .max_idle_connections_per_host(per_host)
                .timeout_resolve(Some(self.settings.connect_timeout))
                .timeout_connect(Some(self.settings.connect_timeout))
                .timeout_send_request(Some(self.settings.silence_timeout))
                .timeout_recv_response(Some(self.settings.silence_timeout))
                .timeout_per_read(Some(self.settings.silence_timeout))
                .timeout_per_write(Some(self.settings.silence_timeout))
                .build();
            // The connector of `ureq`, with the guard between the socket and TLS.
            let connector =
                ().chain(ConnectProxyConnector::default())
                    .chain(TcpConnector::default())
                    .chain(GuardConnector { window: self.settings.silence_timeout })
                    .chain(RustlsConnector::default())
                    .chain(AbsoluteFormConnector { proxied: forwarded });
            Agent::with_parts(config, connector, DefaultResolver::default())
        });
        agent.clone()
    }

    /// Returns the error of a timeout.
    fn stalled(&self, host: String, timeout: Timeout) -> RegistryError {
        let RegistrySettings { connect_timeout, silence_timeout, .. } = self.settings;
        match timeout {
            Timeout::Resolve | Timeout::Connect => {
                RegistryError::Stalled { host, what: "no connection within", limit: connect_timeout }
            }
            _ => RegistryError::Stalled { host, what: NO_PROGRESS, limit: silence_timeout },
        }
    }

    /// Converts an error of `ureq`.
    fn explain(&self, origin: &UrlOrigin, error: ureq::Error) -> RegistryError {
        let host = self.peer(origin);
        if let Some(timeout) = timeout_of(&error) {
            return self.stalled(host, timeout);
        }
        match tls_error(&error) {
            Some(TlsError::InvalidCertificate(reason)) => {
                return RegistryError::Certificate { host, source: CertificateError::of(reason) };
            }
            Some(TlsError::InvalidMessage(_)) => return RegistryError::PlainHttp(origin.authority.clone()),
            _ => {}
        }
        let source = match error {
            ureq::Error::HostNotFound => return RegistryError::UnknownHost(host),
            ureq::Error::Io(error) if is_unknown_host(&error) => return RegistryError::UnknownHost(host),
            ureq::Error::ConnectProxyFailed(_) => ConnectionError::Proxy,
            ureq::Error::Io(error) => ConnectionError::Io(error),
            ureq::Error::ConnectionFailed => ConnectionError::Other("connection failed"),
            // Protocol errors contain none of the data sent.
            ureq::Error::Protocol(error) => ConnectionError::Http(error.into()),
            ureq::Error::LargeResponseHeader(..) => {
                ConnectionError::Other("too many headers in the response")
            }
            ureq::Error::Tls(reason) => ConnectionError::Other(reason),
            ureq::Error::Rustls(error) => ConnectionError::Tls(error.into()),
            // Others may contain an address with a signature.
            _ => ConnectionError::Other("cannot send the request"),
        };
        RegistryError::Network { host, source }
    }
}

/// Returns the timeout in an error, also one wrapped by a reader.
fn timeout_of(error: &ureq::Error) -> Option<Timeout> {
    match error {
        ureq::Error::Timeout(timeout) => Some(*timeout),
        ureq::Error::Io(error) => timed_out(error),
        _ => None,
    }
}

/// Returns the timeout in a body reader's error.
fn timed_out(error: &io::Error) -> Option<Timeout> {
    match error.get_ref()?.downcast_ref::<ureq::Error>()? {
        ureq::Error::Timeout(timeout) => Some(*timeout),
        _ => None,
    }
}

impl Response {
    pub(crate) fn host(&self) -> String {
        self.url.origin.authority.clone()
    }

    /// Returns a header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads a body of at most `limit` bytes.
    pub(crate) fn bytes(self, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let host = self.host();
        let mut bytes = Vec::new();
        let silence = self.silence;
        let read = self.body.into_reader().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| body_error(&host, error, silence))?;
        if bytes.len() as u64 > limit {
            let reason = format!("the response to {} has more than {limit} bytes", self.what);
            return Err(RegistryError::Response { host, reason });
        }
        Ok(bytes)
    }

    /// Reads a short body to its end, to reuse the connection.
    pub(crate) fn drain(self) {
        let _ = io::copy(&mut self.body.into_reader().take(DETAIL_BYTES), &mut io::sink());
    }

    /// Converts an error response. `name` is the requested object.
    pub(crate) fn into_error(self, name: &str) -> RegistryError {
        let (host, what, status) = (self.host(), self.what.clone(), self.status);
        let sent = self.sent.clone();
        let mut body = Vec::new();
        let _ = self.body.into_reader().take(DETAIL_BYTES).read_to_end(&mut body);
        let detail = detail(&body, sent.as_ref());
        match status {
            404 => RegistryError::NotFound(name.to_owned()),
            401 => RegistryError::Unauthorized {
                name: name.to_owned(),
                reason: or(detail, "authentication failed"),
            },
            403 => {
                RegistryError::Unauthorized { name: name.to_owned(), reason: or(detail, "permission denied") }
            }
            _ => RegistryError::Status { host, what, status, detail },
        }
    }
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}

/// Returns a header's text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the messages of an error's body (distribution specification 1.1, "Error Codes"), with
/// credentials redacted.
pub(crate) fn detail(body: &[u8], sent: Option<&Secret>) -> String {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = document.get("errors").and_then(serde_json::Value::as_array).into_iter().flatten();
    let messages: Vec<String> = errors
        .filter_map(|error| {
            let text = |key: &str| {
                error.get(key).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty())
            };
            text("message").or_else(|| text("code")).map(str::to_owned)
        })
        .collect();
    let mut message = messages.join("; ");
    // A body may repeat all of `Bearer TOKEN`, or the token.
    let secret = sent.and_then(|sent| sent.reveal().rsplit(' ').next()).filter(|secret| !secret.is_empty());
    if let Some(secret) = secret {
        message = message.replace(secret, "…");
    }
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    message.chars().take(DETAIL_CHARACTERS).map(printable).collect()
}

/// Returns the TLS error in an error, if any.
fn tls_error(error: &ureq::Error) -> Option<&TlsError> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<TlsError>(),
        _ => None,
    }
}

/// Returns whether the name server message an unknown host. The standard library reports this in
/// the message only; an unreachable name server is a `Temporary failure`, worth a retry.
fn is_unknown_host(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("failed to lookup address") && !text.contains("Temporary failure")
}

/// Converts an error of reading a body.
pub(crate) fn body_error(host: &str, error: io::Error, silence: Duration) -> RegistryError {
    let host = host.to_owned();
    match timed_out(&error) {
        Some(_) => RegistryError::Stalled { host, what: NO_PROGRESS, limit: silence },
        None => RegistryError::Network { host, source: ConnectionError::Io(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_body_is_shown_without_secrets() {
        let sent = Secret::new("Bearer hunter2");
        for (body, expected) in [
            (r#"{"errors":[{"code":"DENIED","message":"no\n"},{"code":"X","message":""}]}"#, "no ; X"),
            (r#"{"errors":[{"message":"token hunter2 is old"}]}"#, "token … is old"),
            ("<html>", ""),
            (r#"{"errors":1}"#, ""),
        ] {
            assert_eq!(detail(body.as_bytes(), Some(&sent)), expected);
        }
    }

    #[test]
    fn only_named_hosts_and_this_machine_are_trusted_less() {
        let settings = RegistrySettings {
            insecure: vec!["a.example".to_owned(), "b.example:5000".to_owned(), "127.0.0.1:7".to_owned()],
            ..RegistrySettings::default()
        };
        let http = Http::new(&settings, Network::Forbidden).unwrap();
        for (authority, expected) in [
            ("A.example:1", Trust::Insecure),
            ("b.example:5000", Trust::Insecure),
            ("b.example", Trust::Verified),
            ("a.example.evil", Trust::Verified),
            ("localhost:5000", Trust::Loopback),
            ("[::1]:5000", Trust::Loopback),
            ("127.9.9.9", Trust::Loopback),
            ("127.0.0.1:7", Trust::Insecure),
            ("127.0.0.1.example", Trust::Verified),
        ] {
            assert_eq!(http.trust(authority), expected, "{authority}");
        }
    }
}
