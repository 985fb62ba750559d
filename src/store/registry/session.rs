//! Requests that are authorized and tried again: what reading and writing stand on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ureq::http::Method;

use super::auth::{Auth, Scope};
use super::cache::Cache;
use super::credentials::Credentials;
use super::error::RegistryError;
use super::http::{Answer, Http, Request, Trust};
use super::patience::{Patience, Verdict, is_transient, retry_after};
use super::settings::Settings;
use super::url::{Origin, Scheme, Url, host_and_port};
use crate::progress::Progress;
use crate::reference::RemoteName;
use crate::store::Access;

/// The host that serves Docker Hub.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// What all that one client does shares.
pub(super) struct Session {
    pub(super) http: Http,
    pub(super) settings: Settings,
    pub(super) cache: Option<Cache>,
    pub(super) progress: Option<Arc<dyn Progress>>,
    auth: Auth,
    schemes: Mutex<BTreeMap<String, Scheme>>,
    /// Mirrors that could not be reached, or stalled: they are not asked again.
    absent: Mutex<BTreeSet<String>>,
}

/// Where a registry's interface is.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// By which name credentials for it are known.
    pub(super) registry: String,
    origin: Origin,
    /// What stands before `/v2/`'s repository, for mirrors that keep several registries: empty, or ends with a slash.
    prefix: String,
    /// The mirror as it is written, where it is one: there is another place to ask.
    pub(super) mirror: Option<String>,
}

impl Endpoint {
    /// An address below a repository: `manifests/latest`.
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
            auth: Auth::new(Credentials::new(settings.credentials.clone()), settings.retry),
            cache: access.cache.as_ref().map(|folder| Cache::new(folder)),
            schemes: Mutex::default(),
            absent: Mutex::default(),
            progress,
            settings,
        })
    }

    /// The registry itself.
    pub(super) fn endpoint(&self, registry: &str) -> Result<Endpoint, RegistryError> {
        let host = if registry == RemoteName::DOCKER_HUB { DOCKER_HUB_HOST } else { registry };
        let origin = Origin::new(self.scheme(host, Patience::new(&self.settings.retry))?, host);
        Ok(Endpoint { registry: registry.to_owned(), origin, prefix: String::new(), mirror: None })
    }

    /// The registry's mirror that is written `mirror`.
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
            // In the clear only where it is written so, and a user has said so.
            Some(scheme) => scheme,
            None => self.scheme(host, Patience::once(&self.settings.retry))?,
        };
        let origin = Origin::new(scheme, host);
        if Url::new(origin.clone(), "/").uri().is_none_or(|uri| uri.host().is_none_or(str::is_empty)) {
            return Err(wrong_mirror(mirror));
        }
        let mirror = Some(shown(mirror).to_owned());
        Ok(Endpoint { registry: host.to_owned(), origin, prefix, mirror })
    }

    /// Asks each place that may have a registry's images, mirrors first, until one gives what is wanted.
    pub(super) fn anywhere<T>(
        &self,
        registry: &str,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut tried = Vec::new();
        for mirror in self.settings.mirrors.get(registry).into_iter().flatten() {
            let shown = shown(mirror);
            if self.is_absent(shown) {
                tried.push((shown.to_owned(), "it could not be reached before".to_owned()));
                continue;
            }
            // A mirror that does not have it, or is not there, is no reason to stop. One that cannot be is.
            match self.mirror(mirror).and_then(|endpoint| ask(&endpoint)) {
                Ok(found) => return Ok(found),
                Err(error @ RegistryError::Setting { .. }) => return Err(error),
                Err(error) => {
                    if error.is_transient() {
                        self.give_up(shown);
                    }
                    tried.push((shown.to_owned(), error.to_string()));
                }
            }
        }
        let found = self.endpoint(registry).and_then(|endpoint| ask(&endpoint));
        found.map_err(|error| error.after(registry, tried))
    }

    /// Asks a mirror no more, for as long as this session lasts.
    pub(super) fn give_up(&self, mirror: &str) {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).insert(mirror.to_owned());
    }

    fn is_absent(&self, mirror: &str) -> bool {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).contains(mirror)
    }

    /// Whether a host speaks TLS. Only one that may do otherwise is asked, once.
    fn scheme(&self, host: &str, mut patience: Patience) -> Result<Scheme, RegistryError> {
        let trust = self.http.trust(host);
        if trust == Trust::Verified {
            return Ok(Scheme::Https);
        }
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = schemes.get(host) {
            return Ok(*known);
        }
        let found = loop {
            let ping = |scheme| {
                let url = Url::new(Origin::new(scheme, host), "/v2/");
                self.http.send(&Request::new(Method::GET, url), None).map(Answer::drain)
            };
            let error = match ping(Scheme::Https) {
                Ok(()) => break Scheme::Https,
                // It speaks TLS, and that is not right.
                Err(error @ (RegistryError::Certificate { .. } | RegistryError::Offline(_))) => {
                    return Err(error);
                }
                Err(first) => match ping(Scheme::Http) {
                    Ok(()) => break Scheme::Http,
                    Err(error) => {
                        patience.charge(first.lost());
                        error
                    }
                },
            };
            if !error.is_transient() || patience.wait(&error, None) == Verdict::Enough {
                return Err(error);
            }
        };
        schemes.insert(host.to_owned(), found);
        Ok(found)
    }

    /// Sends a request once, with what proves who one is; where that is refused, with a new proof.
    pub(super) fn send_once(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
    ) -> Result<Answer, RegistryError> {
        // An upload's location may be at another host, which gets no credentials.
        let own = request.url.origin == endpoint.origin;
        let proof = if own { self.auth.current(&endpoint.origin, scope) } else { None };
        let answer = self.http.send(request, proof.as_ref())?;
        // Who refuses HEAD so, without a challenge, may take GET.
        let unexplained = request.method == Method::HEAD && answer.header("www-authenticate").is_none();
        if answer.status != 401 || unexplained {
            return Ok(answer);
        }
        if answer.url.origin != endpoint.origin {
            let reason = format!("it sends to {}, which wants credentials of its own", answer.host());
            return Err(RegistryError::Answer { host: endpoint.origin.authority.clone(), reason });
        }
        let proof = self.auth.renew(&self.http, &endpoint.registry, scope, &answer, proof.as_ref())?;
        answer.drain();
        self.http.send(request, Some(&proof))
    }

    /// Sends a request, again and again where that may help, and gives the answer, whatever it says.
    pub(super) fn send(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
    ) -> Result<Answer, RegistryError> {
        self.read(endpoint, scope, request, Ok)
    }

    /// Sends a request and reads its answer; both again where the connection breaks before the answer's end.
    pub(super) fn read<T>(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
        read: impl Fn(Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let never = AtomicBool::new(false);
        self.read_with(endpoint, scope, request, &mut self.patience(endpoint), &never, read)
    }

    /// The same with the patience that is left for something larger; ends early once `stopped` is set.
    pub(super) fn read_with<T>(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        request: &Request,
        patience: &mut Patience,
        stopped: &AtomicBool,
        read: impl Fn(Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        loop {
            let (error, asked) = match self.send_once(endpoint, scope, request) {
                Ok(answer) if is_transient(answer.status) => failure(answer),
                Ok(answer) => match read(answer) {
                    Err(error) if error.is_transient() => (error, None),
                    done => return done,
                },
                Err(error) if error.is_transient() => (error, None),
                Err(error) => return Err(error),
            };
            if stopped.load(Ordering::Relaxed) || patience.wait(&error, asked) == Verdict::Enough {
                return Err(given_up(error, asked));
            }
        }
    }

    /// Who has another place to ask is not patient with this one.
    pub(super) fn patience(&self, endpoint: &Endpoint) -> Patience {
        let retry = &self.settings.retry;
        if endpoint.mirror.is_some() { Patience::once(retry) } else { Patience::new(retry) }
    }
}

/// What an answer that may be better in a moment means, and how long it asks to wait.
pub(super) fn failure(answer: Answer) -> (RegistryError, Option<std::time::Duration>) {
    let asked = retry_after(&answer.headers);
    (answer.into_error("such thing"), asked)
}

/// The error where patience has ended.
pub(super) fn given_up(error: RegistryError, asked: Option<std::time::Duration>) -> RegistryError {
    match (error, asked) {
        (RegistryError::Status { host, status: 429, .. }, Some(wait)) => RegistryError::Busy { host, wait },
        (error, _) => error,
    }
}

fn wrong_mirror(mirror: &str) -> RegistryError {
    RegistryError::Setting {
        what: format!("mirror {}", shown(mirror)),
        reason: "it is not [http[s]://]HOST[:PORT][/PREFIX]".to_owned(),
    }
}

/// A mirror for people: whatever is before an @ may be a password.
fn shown(mirror: &str) -> &str {
    mirror.rsplit('@').next().unwrap_or_default()
}

/// Whether two names are of one registry.
pub(super) fn same_registry(one: &str, other: &str) -> bool {
    host_and_port(one) == host_and_port(other)
}
