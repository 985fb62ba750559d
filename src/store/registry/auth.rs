//! Authentication: Basic, and tokens from a token server.
//!
//! `docker/distribution`, "Token Authentication Specification" and "OAuth2 Token Authentication Specification".

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::{Method, header};

use super::challenge::{self, Challenge};
use super::credentials::{Credential, Credentials};
use super::error::{ConnectionError, RegistryError};
use super::settings::RetryPolicy;
use crate::store::http::retry::{Backoff, RetryDecision, is_transient, retry_after};
use crate::store::http::secret::Secret;
use crate::store::http::url::{Scheme, Url, UrlOrigin};
use crate::store::http::{Http, Payload, Request, Response, Trust};
use crate::sync::LockExt as _;

/// Limit for a token server's response, in bytes.
const TOKEN_BYTES: u64 = 1 << 20;
/// The default lifetime of a token ("Token Response Fields").
const TOKEN_LIFE: Duration = Duration::from_mins(1);
/// Tokens are dropped this long before they expire: the request must arrive in time.
const MARGIN: Duration = Duration::from_secs(5);

/// An access scope: a repository and the actions in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    repository: String,
    actions: &'static str,
    /// A second repository, to mount blobs from.
    mount: Option<String>,
}

/// The grants obtained, by origin and scope.
pub(super) struct Auth {
    credentials: Credentials,
    retry: RetryPolicy,
    grants: Mutex<BTreeMap<(String, Scope), Slot>>,
}

/// A shared grant.
type Slot = Arc<GrantSlot>;

#[derive(Default)]
struct GrantSlot {
    /// Locked while a grant is requested.
    grant: Mutex<Option<Grant>>,
    /// Counts connection failures, so that threads waiting meanwhile skip their own attempt.
    failures: AtomicU64,
}

/// An `Authorization` header and its lifetime.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) proof: Secret,
    /// `None` means forever.
    until: Option<Instant>,
}

impl Scope {
    pub(super) fn pull(repository: &str) -> Self {
        Self { repository: repository.to_owned(), actions: "pull", mount: None }
    }

    pub(super) fn push(repository: &str) -> Self {
        Self { repository: repository.to_owned(), actions: "pull,push", mount: None }
    }

    /// Returns the scope extended by pulling from another repository.
    pub(super) fn mounting(&self, from: &str) -> Self {
        Self { mount: Some(from.to_owned()), ..self.clone() }
    }

    /// Returns the scopes for a token server, the push scope first.
    fn scopes(&self) -> Vec<String> {
        let own = format!("repository:{}:{}", self.repository, self.actions);
        let other = self.mount.as_ref().map(|mount| format!("repository:{mount}:pull"));
        std::iter::once(own).chain(other).collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)
    }
}

impl Auth {
    pub(super) fn new(credentials: Credentials, retry: RetryPolicy) -> Self {
        Self { credentials, retry, grants: Mutex::default() }
    }

    /// Returns the current, unexpired grant, if any.
    pub(super) fn current(&self, origin: &UrlOrigin, scope: &Scope) -> Option<Secret> {
        let slot = self.slot(origin, scope);
        let grant = slot.grant.lock_forgiving();
        grant.as_ref().filter(|grant| grant.is_good()).map(|grant| grant.proof.clone())
    }

    /// Requests a new grant after `refused`, a 401 response to a request with the grant `before`.
    /// `registry` is the registry's name in references.
    pub(super) fn renew(
        &self,
        http: &Http,
        registry: &str,
        scope: &Scope,
        refused: &Response,
        before: Option<&Secret>,
    ) -> Result<Secret, RegistryError> {
        let origin = &refused.url.origin;
        let slot = self.slot(origin, scope);
        // One thread requests, the others wait and share the grant.
        let failures = slot.failures.load(Ordering::Relaxed);
        let place = &slot;
        let mut slot = place.grant.lock_forgiving();
        if place.failures.load(Ordering::Relaxed) != failures {
            let source = ConnectionError::Other("the token server was unreachable a moment ago");
            return Err(RegistryError::Network { host: origin.authority.clone(), source });
        }
        if let Some(grant) = slot.as_ref().filter(|grant| grant.is_good() && Some(&grant.proof) != before) {
            return Ok(grant.proof.clone());
        }
        *slot = None;
        let challenges: Vec<_> = refused
            .headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let grant = self.request_grant(http, registry, scope, origin, &challenges, before.is_some());
        if grant.as_ref().is_err_and(RegistryError::is_transient) {
            place.failures.fetch_add(1, Ordering::Relaxed);
        }
        let grant = grant?;
        let proof = grant.proof.clone();
        *slot = Some(grant);
        Ok(proof)
    }

    fn request_grant(
        &self,
        http: &Http,
        registry: &str,
        scope: &Scope,
        origin: &UrlOrigin,
        challenges: &[Challenge],
        had_proof: bool,
    ) -> Result<Grant, RegistryError> {
        let refuse = |reason: &str| RegistryError::Unauthorized {
            name: format!("{registry}/{scope}"),
            reason: reason.to_owned(),
        };
        let credential = self.credentials.of(registry, &scope.repository)?;
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, error } => Some((realm, service, error)),
            _ => None,
        });
        if let Some((realm, service, error)) = bearer {
            if let Some(Credential::RegistryToken(token)) = &credential {
                if had_proof {
                    return Err(refuse("the registry refuses the token in the credential file"));
                }
                return Ok(Grant::for_ever(format!("Bearer {}", token.reveal())));
            }
            if had_proof && error.as_deref() == Some("insufficient_scope") {
                return Err(refuse("the account lacks permission"));
            }
            let realm = trusted_realm(http, realm, origin)?;
            return self.token(http, realm, service.as_deref(), scope, credential.as_ref(), &refuse);
        }
        if !challenges.contains(&Challenge::Basic) {
            return Err(match challenges {
                [] => refuse("the registry requires authentication without a challenge"),
                _ => refuse("the registry requires an unsupported kind of authentication"),
            });
        }
        match credential {
            Some(Credential::Password { .. }) if had_proof => {
                Err(refuse("the registry refuses user and password"))
            }
            Some(Credential::Password { user, password }) => {
                Ok(Grant::for_ever(basic(&user, &password).reveal()))
            }
            Some(_) => Err(refuse("the registry requires user and password, but a token is configured")),
            None => Err(refuse("the registry requires user and password, and none are configured")),
        }
    }

    /// Requests a token from the token server.
    fn token(
        &self,
        http: &Http,
        realm: Url,
        service: Option<&str>,
        scope: &Scope,
        credential: Option<&Credential>,
        refuse: &dyn Fn(&str) -> RegistryError,
    ) -> Result<Grant, RegistryError> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut backoff = Backoff::new(&self.retry);
        let asked = Instant::now();
        let form;
        let (request, proof) = if let Some(Credential::IdentityToken(token)) = credential {
            let scopes = scope.scopes().join(" ");
            let mut fields = vec![
                ("grant_type", "refresh_token"),
                ("client_id", "ipo-oci"),
                ("scope", &scopes),
                ("refresh_token", token.reveal()),
            ];
            fields.extend(service.map(|service| ("service", service)));
            let fields: Vec<_> =
                fields.into_iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
            form = fields.join("&");
            let request = Request::new(Method::POST, realm)
                .with(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .sending(Payload::Bytes(form.as_bytes()));
            (request, None)
        } else {
            let mut url = realm;
            if let Some(service) = service {
                url = url.with("service", &encode(service));
            }
            for word in scope.scopes() {
                url = url.with("scope", &encode(&word));
            }
            let proof = match credential {
                Some(Credential::Password { user, password }) => {
                    url = url.with("account", &encode(user));
                    Some(basic(user, password))
                }
                _ => None,
            };
            (Request::new(Method::GET, url), proof)
        };
        loop {
            let (error, asked_to_wait) = match http.send(&request, proof.as_ref()) {
                Ok(response) if (200..300).contains(&response.status) => {
                    let host = response.host();
                    let body = response.bytes(TOKEN_BYTES)?;
                    return grant(&body, asked).ok_or_else(|| RegistryError::Response {
                        host,
                        reason: "no token in the response".to_owned(),
                    });
                }
                Ok(response) if matches!(response.status, 400 | 401 | 403) => {
                    return Err(match credential {
                        Some(_) => refuse("the registry's token server refuses the credentials"),
                        None => refuse(
                            "the registry's token server requires credentials, and none are configured",
                        ),
                    });
                }
                Ok(response) if !is_transient(response.status) => {
                    return Err(response.into_error("token server"));
                }
                Ok(response) => {
                    let wait = retry_after(&response.headers);
                    (response.into_error("token server"), wait)
                }
                // The retry happens with the request that needs the token.
                Err(error) => return Err(error),
            };
            if backoff.wait(&error, asked_to_wait) == RetryDecision::GiveUp {
                return Err(error);
            }
        }
    }

    fn slot(&self, origin: &UrlOrigin, scope: &Scope) -> Slot {
        self.grants.lock_forgiving().entry((origin.to_string(), scope.clone())).or_default().clone()
    }
}

impl Grant {
    fn for_ever(proof: impl Into<String>) -> Self {
        Self { proof: Secret::new(proof), until: None }
    }

    fn is_good(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

fn basic(user: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal()))))
}

/// Returns the token server's address. Plain HTTP is refused if the registry uses HTTPS and the
/// host is neither local nor named as insecure.
fn trusted_realm(http: &Http, realm: &str, origin: &UrlOrigin) -> Result<Url, RegistryError> {
    let wrong = |reason: &str| RegistryError::Response {
        host: origin.authority.clone(),
        reason: format!("the token server's address {reason}"),
    };
    // Some registries omit the host.
    let url = Url::new(origin.clone(), "/").join(realm.trim());
    let url = url.filter(|_| !realm.trim().is_empty()).ok_or_else(|| wrong("is invalid"))?;
    let in_the_clear = url.origin.scheme == Scheme::Http;
    if in_the_clear && origin.scheme == Scheme::Https && http.trust(&url.origin.authority) == Trust::Verified
    {
        return Err(wrong("is not HTTPS"));
    }
    Ok(url)
}

/// Parses a token server's response.
fn grant(body: &[u8], asked: Instant) -> Option<Grant> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let token = text("token").or_else(|| text("access_token"))?;
    let life = body.get("expires_in").and_then(Value::as_u64).map_or(TOKEN_LIFE, Duration::from_secs);
    Some(Grant {
        proof: Secret::new(format!("Bearer {token}")),
        until: asked.checked_add(life.max(TOKEN_LIFE).saturating_sub(MARGIN)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_servers_answer_is_read() {
        let proof =
            |body: &str| grant(body.as_bytes(), Instant::now()).map(|grant| grant.proof.reveal().to_owned());
        assert_eq!(proof(r#"{"token":"a","expires_in":300}"#).as_deref(), Some("Bearer a"));
        assert_eq!(proof(r#"{"access_token":"b"}"#).as_deref(), Some("Bearer b"));
        for body in ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":1}"#] {
            assert_eq!(proof(body), None);
        }
        let endless =
            grant(format!(r#"{{"token":"a","expires_in":{}}}"#, u64::MAX).as_bytes(), Instant::now());
        assert!(endless.unwrap().is_good());
    }

    #[test]
    fn the_scope_to_push_is_asked_for_first() {
        assert_eq!(
            Scope::push("a/b").mounting("c").scopes(),
            ["repository:a/b:pull,push", "repository:c:pull"]
        );
    }
}
