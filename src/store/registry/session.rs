//! Sessions: authenticated requests with retries, the basis of reading and writing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ureq::http::Method;

use super::auth::{Auth, Scope};
use super::cache::Cache;
use super::credentials::Credentials;
use super::error::RegistryError;
use super::settings::RegistrySettings;
use crate::error::chain;
use crate::progress::Progress;
use crate::reference::RemoteName;
use crate::store::Access;
use crate::store::http::retry::{Backoff, RetryDecision, is_transient, retry_after};
use crate::store::http::url::{Scheme, Url, UrlOrigin, host_and_port};
use crate::store::http::{Http, Request, Response, Trust};
use crate::sync::LockExt as _;

/// The host that serves Docker Hub.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// The shared state of a client.
pub(super) struct Session {
    pub(super) http: Http,
    pub(super) settings: RegistrySettings,
    pub(super) cache: Option<Cache>,
    pub(super) progress: Option<Arc<dyn Progress>>,
    auth: Auth,
    schemes: Mutex<BTreeMap<String, Scheme>>,
    /// Mirrors that were unreachable or stalled, and are skipped.
    skipped_mirrors: Mutex<BTreeSet<String>>,
}

/// The address of a registry's API.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The registry's name for credentials.
    pub(super) registry: String,
    origin: UrlOrigin,
    /// The path prefix before the repository, for mirrors of several registries: empty, or ending
    /// in a slash.
    prefix: String,
    /// The mirror as configured, if this is one: then the registry itself is the alternative.
    pub(super) mirror: Option<String>,
}

impl Endpoint {
    /// Returns an address below a repository: `manifests/latest`.
    pub(super) fn url(&self, repository: &str, rest: &str) -> Url {
        Url::new(self.origin.clone(), &format!("/v2/{}{repository}/{rest}", self.prefix))
    }

    pub(super) fn scope(&self, repository: &str) -> Scope {
        Scope::pull(&format!("{}{repository}", self.prefix))
    }
}

impl Session {
    pub(super) fn new(access: &Access, progress: Option<Arc<dyn Progress>>) -> Result<Self, RegistryError> {
        let settings = access.registry.clone();
        Ok(Self {
            http: Http::new(&settings, access.network)?,
            auth: Auth::new(Credentials::new(settings.keychains.clone()), settings.retry),
            cache: access.cache.as_ref().map(|folder| Cache::new(folder)),
            schemes: Mutex::default(),
            skipped_mirrors: Mutex::default(),
            progress,
            settings,
        })
    }

    /// Returns the endpoint of the registry itself.
    pub(super) fn endpoint(&self, registry: &str) -> Result<Endpoint, RegistryError> {
        let host = if registry == RemoteName::DOCKER_HUB { DOCKER_HUB_HOST } else { registry };
        let origin = UrlOrigin::new(self.scheme(host, Backoff::new(&self.settings.retry))?, host);
        Ok(Endpoint { registry: registry.to_owned(), origin, prefix: String::new(), mirror: None })
    }

    /// Returns the endpoint of a configured mirror.
    pub(super) fn mirror(&self, mirror: &str) -> Result<Endpoint, RegistryError> {
        let (scheme, rest) = match mirror.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return Err(wrong_mirror(mirror)),
            None => (None, mirror),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let scheme = match scheme {
            // Plain HTTP only if the user wrote so.
            Some(scheme) => scheme,
            None => self.scheme(host, Backoff::once(&self.settings.retry))?,
        };
        let origin = UrlOrigin::new(scheme, host);
        if Url::new(origin.clone(), "/").uri().is_none_or(|uri| uri.host().is_none_or(str::is_empty)) {
            return Err(wrong_mirror(mirror));
        }
        let mirror = Some(shown(mirror).to_owned());
        Ok(Endpoint { registry: host.to_owned(), origin, prefix, mirror })
    }

    /// Tries the registry's mirrors in order, then the registry, until one succeeds.
    pub(super) fn try_endpoints<T>(
        &self,
        registry: &str,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut tried = Vec::new();
        for mirror in self.settings.mirrors.get(registry).into_iter().flatten() {
            let shown = shown(mirror);
            if self.is_skipped(shown) {
                tried.push((shown.to_owned(), "unreachable before".to_owned()));
                continue;
            }
            // A missing image or an unreachable mirror falls through to the next; an invalid
            // setting does not.
            match self.mirror(mirror).and_then(|endpoint| ask(&endpoint)) {
                Ok(found) => return Ok(found),
                Err(error @ RegistryError::Setting { .. }) => return Err(error),
                Err(error) => {
                    if error.is_transient() {
                        self.skip_mirror(shown);
                    }
                    tried.push((shown.to_owned(), chain(&error)));
                }
            }
        }
        let found = self.endpoint(registry).and_then(|endpoint| ask(&endpoint));
        found.map_err(|error| error.after(registry, tried))
    }

    /// Skips a mirror for the rest of the session.
    pub(super) fn skip_mirror(&self, mirror: &str) {
        self.skipped_mirrors.lock_forgiving().insert(mirror.to_owned());
    }

    fn is_skipped(&self, mirror: &str) -> bool {
        self.skipped_mirrors.lock_forgiving().contains(mirror)
    }

    /// Determines the scheme of a host. Only a host allowed plain HTTP is probed, once.
    fn scheme(&self, host: &str, mut backoff: Backoff) -> Result<Scheme, RegistryError> {
        let trust = self.http.trust(host);
        if trust == Trust::Verified {
            return Ok(Scheme::Https);
        }
        let mut schemes = self.schemes.lock_forgiving();
        if let Some(known) = schemes.get(host) {
            return Ok(*known);
        }
        let found = loop {
            let ping = |scheme| {
                let url = Url::new(UrlOrigin::new(scheme, host), "/v2/");
                self.http.send(&Request::new(Method::GET, url), None).map(Response::drain)
            };
            let error = match ping(Scheme::Https) {
                Ok(()) => break Scheme::Https,
                // TLS works, but is not acceptable.
                Err(error @ (RegistryError::Certificate { .. } | RegistryError::Offline(_))) => {
                    return Err(error);
                }
                Err(first) => match ping(Scheme::Http) {
                    Ok(()) => break Scheme::Http,
                    Err(error) => {
                        backoff.charge(first.lost());
                        error
                    }
                },
            };
            if !error.is_transient() || backoff.wait(&error, None) == RetryDecision::GiveUp {
                return Err(error);
            }
        };
        schemes.insert(host.to_owned(), found);
        Ok(found)
    }

    /// Sends a request once, with the current credentials; after a 401, once more with new ones.
    pub(super) fn send_once(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
    ) -> Result<Response, RegistryError> {
        // An upload's location may be at another host, which gets no credentials.
        let own = request.url.origin == endpoint.origin;
        let proof = if own { self.auth.current(&endpoint.origin, scope) } else { None };
        let response = self.http.send(request, proof.as_ref())?;
        // A HEAD refused without a challenge may still be allowed as GET.
        let unexplained = request.method == Method::HEAD && response.header("www-authenticate").is_none();
        if response.status != 401 || unexplained {
            return Ok(response);
        }
        if response.url.origin != endpoint.origin {
            let reason = format!("the upload's host {} requires separate credentials", response.host());
            return Err(RegistryError::Response { host: endpoint.origin.authority.clone(), reason });
        }
        let proof = self.auth.renew(&self.http, &endpoint.registry, scope, &response, proof.as_ref())?;
        response.drain();
        self.http.send(request, Some(&proof))
    }

    /// Sends a request with retries. Returns any final response.
    pub(super) fn send(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
    ) -> Result<Response, RegistryError> {
        self.read(endpoint, scope, request, Ok)
    }

    /// Sends a request and reads the response; retries both if the connection breaks before the
    /// end.
    pub(super) fn read<T>(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
        read: impl Fn(Response) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let never = AtomicBool::new(false);
        self.read_with(endpoint, scope, request, &mut self.backoff(endpoint), &never, read)
    }

    /// Like [`read`](Self::read), within an existing retry budget; ends early once `stopped` is
    /// set.
    pub(super) fn read_with<T>(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
        backoff: &mut Backoff,
        stopped: &AtomicBool,
        read: impl Fn(Response) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        loop {
            let (error, asked) = match self.send_once(endpoint, scope, request) {
                Ok(response) if is_transient(response.status) => failure(response),
                Ok(response) => match read(response) {
                    Err(error) if error.is_transient() => (error, None),
                    done => return done,
                },
                Err(error) if error.is_transient() => (error, None),
                Err(error) => return Err(error),
            };
            if stopped.load(Ordering::Relaxed) || backoff.wait(&error, asked) == RetryDecision::GiveUp {
                return Err(final_error(error, asked));
            }
        }
    }

    /// Returns the retry budget of an endpoint: a single attempt for a mirror.
    pub(super) fn backoff(&self, endpoint: &Endpoint) -> Backoff {
        let retry = &self.settings.retry;
        if endpoint.mirror.is_some() { Backoff::once(retry) } else { Backoff::new(retry) }
    }
}

/// Returns the error of a transient response, and the requested wait.
pub(super) fn failure(response: Response) -> (RegistryError, Option<std::time::Duration>) {
    let asked = retry_after(&response.headers);
    (response.into_error("object"), asked)
}

/// Returns the final error when the retry budget is exhausted.
pub(super) fn final_error(error: RegistryError, asked: Option<std::time::Duration>) -> RegistryError {
    match (error, asked) {
        (RegistryError::Status { host, status: 429, .. }, Some(wait)) => RegistryError::Busy { host, wait },
        (error, _) => error,
    }
}

fn wrong_mirror(mirror: &str) -> RegistryError {
    RegistryError::Setting {
        what: format!("mirror {}", shown(mirror)),
        reason: "expected [http[s]://]HOST[:PORT][/PREFIX]".to_owned(),
    }
}

/// Removes a possible password before an @ from a mirror.
fn shown(mirror: &str) -> &str {
    mirror.rsplit('@').next().unwrap_or_default()
}

/// Returns whether two names are of one registry.
pub(super) fn same_registry(one: &str, other: &str) -> bool {
    host_and_port(one) == host_and_port(other)
}
