//! Docker engines as a transport (Docker Engine API, "Export an image", "Import images").
//!
//! An engine exports and imports archives in the format of `docker save`. Exports are spooled to a
//! temporary file; imports stream into the connection.

mod http;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::archive::{self, ArchiveFile};
use super::{Access, EngineError, Network, StoreError};
use crate::image::Artifact;
use crate::progress::Progress;
use crate::reference::{Name, Place, Reference, Transport};
use http::{EngineHost, EngineRequest, EngineResponse, EngineTimeouts};

/// The default address.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The default time without progress before an engine counts as failed, and the factors while
/// exporting or loading, and while the bytes of an image pass.
const TIMEOUT: Duration = Duration::from_secs(30);
const BUSY_FACTOR: u32 = 20;
const TRANSFER_FACTOR: u32 = 3;
/// Limit for the messages in a response, in bytes.
const RESPONSE_LIMIT: u64 = 1 << 20;

/// Exports an image from the engine.
pub(super) fn read(name: &Name, access: &Access) -> Result<Artifact, StoreError> {
    let engine = Engine::new(access)?;
    let path = format!("/images/{}/get", escaped(&name.to_string()));
    engine.ping()?;
    let response = EngineRequest::get(&path).send(&engine.host, engine.exporting());
    let response = response.map_err(|error| engine.error(EngineError::Io(error)))?;
    if response.status == 404 {
        return Err(StoreError::NotInEngine { host: engine.shown, name: name.to_string() });
    }
    let response = engine.accepted(response)?;
    let archive = ArchiveFile::spool(Path::new(&engine.shown), response.body)?;
    let reference = Reference {
        transport: Transport::DockerArchive,
        place: Place::Standard,
        tag: Some(name.to_string()),
        digest: None,
    };
    archive::read_docker(&archive, &reference)
}

/// Loads one image into the engine, as `name`.
pub(super) fn write(
    image: &Artifact,
    name: &Name,
    access: &Access,
    progress: &dyn Progress,
) -> Result<(), StoreError> {
    let engine = Engine::new(access)?;
    let shown = PathBuf::from(&engine.shown);
    let mut failed = None;
    engine.ping()?;
    let request = EngineRequest::post("/images/load?quiet=1");
    let response = request.send_with(&engine.host, engine.loading(), &mut |out| {
        archive::write_docker_to(image, out, &shown, name, progress).map_err(|error| match &error {
            // The engine closed the connection and may have sent a reason.
            StoreError::File(error) if error.action == "write" => io::Error::from(error.source.kind()),
            _ => {
                failed = Some(error);
                io::Error::other("cannot read the image")
            }
        })
    });
    // A failed body lacks its last chunk, so the engine discards the image.
    if let Some(error) = failed {
        return Err(error);
    }
    let response = engine.accepted(response.map_err(|error| engine.error(EngineError::Io(error)))?)?;
    // The engine responds 200 before reading; the outcome follows as lines of JSON.
    let lines =
        serde_json::Deserializer::from_reader(response.body.take(RESPONSE_LIMIT)).into_iter::<Value>();
    let mut loaded = false;
    for line in lines {
        let line = line.map_err(|error| engine.error(EngineError::Truncated(error)))?;
        if let Some(error) = line.get("error").and_then(Value::as_str) {
            return Err(engine.error(EngineError::Refused(error.to_owned())));
        }
        loaded |= line.get("stream").is_some();
    }
    if loaded { Ok(()) } else { Err(engine.error(EngineError::Unconfirmed)) }
}

/// A connection configuration for an engine.
struct Engine {
    host: EngineHost,
    shown: String,
    /// The longest time without progress.
    timeout: Duration,
}

impl Engine {
    fn new(access: &Access) -> Result<Self, StoreError> {
        let shown =
            access.docker_host.as_deref().filter(|host| !host.is_empty()).unwrap_or(DEFAULT_HOST).to_owned();
        let host = shown.parse().map_err(|source| StoreError::Engine { host: shown.clone(), source })?;
        if matches!(host, EngineHost::Tcp(_)) && access.network == Network::Forbidden {
            return Err(StoreError::Offline(format!("the Docker engine at {shown}")));
        }
        Ok(Self { host, shown, timeout: access.engine_timeout.unwrap_or(TIMEOUT) })
    }

    /// Checks that the engine responds: during exports and loads, silence is normal.
    fn ping(&self) -> Result<(), StoreError> {
        let Self { timeout, .. } = *self;
        let timeouts = EngineTimeouts { response: timeout, body: Some(timeout), silence: timeout };
        let response = EngineRequest::get("/_ping").send(&self.host, timeouts);
        response.map(|_| ()).map_err(|error| self.error(EngineError::Io(error)))
    }

    /// Returns the limits for exports, which an engine may prepare before the response.
    fn exporting(&self) -> EngineTimeouts {
        EngineTimeouts {
            response: self.timeout.saturating_mul(BUSY_FACTOR),
            body: None,
            silence: self.timeout.saturating_mul(TRANSFER_FACTOR),
        }
    }

    /// Returns the limits for loads, whose response is complete after the load.
    fn loading(&self) -> EngineTimeouts {
        EngineTimeouts { body: Some(self.timeout.saturating_mul(BUSY_FACTOR)), ..self.exporting() }
    }

    /// Returns a successful response, or its error message.
    fn accepted(&self, response: EngineResponse) -> Result<EngineResponse, StoreError> {
        if response.status == 200 {
            return Ok(response);
        }
        let mut text = String::new();
        let _ = response.body.take(RESPONSE_LIMIT).read_to_string(&mut text);
        let message = serde_json::from_str::<Value>(&text).ok();
        let message = message.as_ref().and_then(|json| json.get("message")).and_then(Value::as_str);
        let message: String = message.unwrap_or(text.trim()).chars().take(500).collect();
        Err(self.error(EngineError::Refused(format!("status {}: {message}", response.status))))
    }

    fn error(&self, source: EngineError) -> StoreError {
        StoreError::Engine { host: self.shown.clone(), source }
    }
}

/// Escapes a name for a request's path. Names contain few other special characters.
fn escaped(name: &str) -> String {
    name.replace('[', "%5B").replace(']', "%5D")
}
