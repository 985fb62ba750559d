//! A Docker engine as a place for images, through its interface (Docker Engine API, "Export an image", "Import images").
//!
//! An engine gives and takes archives in the form of `docker save`. What it gives goes through a temporary file, what it
//! takes is written into the connection.

mod http;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::archive::{self, ArchiveFile};
use super::{Access, Network, StoreError};
use crate::image::Artifact;
use crate::progress::Progress;
use crate::reference::{Name, Place, Reference, Transport};
use http::{Answer, Host, Request};

/// Where an engine listens when nothing else is said.
const USUAL: &str = "unix:///var/run/docker.sock";
/// Time without progress after which an engine is given up, and how often that while it is at work.
const TIMEOUT: Duration = Duration::from_secs(30);
const BUSY: u32 = 20;
/// Bytes of an answer that are read for its messages.
const ANSWER_LIMIT: u64 = 1 << 20;

/// Reads an image from the engine.
pub(super) fn read(name: &Name, access: &Access) -> Result<Artifact, StoreError> {
    let engine = Engine::new(access)?;
    let path = format!("/images/{}/get", escaped(&name.to_string()));
    engine.greet()?;
    let answer = Request::get(&path).send(&engine.host, engine.busy());
    let answer = answer.map_err(|error| engine.failed(&error))?;
    if answer.status == 404 {
        let (path, tag) = (PathBuf::from(engine.shown), name.to_string());
        return Err(StoreError::NoImage { path, tag, there: Vec::new() });
    }
    let answer = engine.accepted(answer)?;
    let archive = ArchiveFile::spool(Path::new(&engine.shown), answer.body)?;
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
    engine.greet()?;
    let request = Request::post("/images/load?quiet=1");
    let answer = request.send_with(&engine.host, engine.busy(), &mut |out| {
        archive::write_docker_to(image, out, &shown, name, progress).map_err(|error| match &error {
            // It went away, and may have said why.
            StoreError::File(error) if error.action == "write" => io::Error::from(error.source.kind()),
            _ => {
                failed = Some(error);
                io::Error::other("the image could not be read")
            }
        })
    });
    // A body that failed ends without its last chunk, so the engine keeps nothing of it.
    if let Some(error) = failed {
        return Err(error);
    }
    let answer = engine.accepted(answer.map_err(|error| engine.failed(&error))?)?;
    // It says 200 before it has looked at anything; what comes of it stands in lines of JSON.
    let lines = serde_json::Deserializer::from_reader(answer.body.take(ANSWER_LIMIT)).into_iter::<Value>();
    let mut loaded = false;
    for line in lines {
        let line = line.map_err(|error| engine.refused(format!("its answer is cut off: {error}")))?;
        if let Some(error) = line.get("error").and_then(Value::as_str) {
            return Err(engine.refused(error.to_owned()));
        }
        loaded |= line.get("stream").is_some();
    }
    if loaded { Ok(()) } else { Err(engine.refused("it does not say that it loaded the image".to_owned())) }
}

/// An engine that can be asked.
struct Engine {
    host: Host,
    shown: String,
    /// How long it may make no progress.
    timeout: Duration,
}

impl Engine {
    fn new(access: &Access) -> Result<Self, StoreError> {
        let shown = access.docker_host.as_deref().filter(|host| !host.is_empty()).unwrap_or(USUAL).to_owned();
        let host = shown.parse().map_err(|reason| StoreError::Engine { host: shown.clone(), reason })?;
        if matches!(host, Host::Tcp(_)) && access.network == Network::Forbidden {
            return Err(StoreError::Offline(format!("the Docker engine at {shown}")));
        }
        Ok(Self { host, shown, timeout: access.engine_timeout.unwrap_or(TIMEOUT) })
    }

    /// Makes sure that it answers at all: while it exports or loads, silence is no sign that it does not.
    fn greet(&self) -> Result<(), StoreError> {
        let answer = Request::get("/_ping").send(&self.host, self.timeout);
        answer.map(|_| ()).map_err(|error| self.failed(&error))
    }

    /// Time without progress while it exports or loads an image.
    fn busy(&self) -> Duration {
        self.timeout.saturating_mul(BUSY)
    }

    /// An answer that is no refusal.
    fn accepted(&self, answer: Answer) -> Result<Answer, StoreError> {
        if answer.status == 200 {
            return Ok(answer);
        }
        let mut text = String::new();
        let _ = answer.body.take(ANSWER_LIMIT).read_to_string(&mut text);
        let message = serde_json::from_str::<Value>(&text).ok();
        let message = message.as_ref().and_then(|json| json.get("message")).and_then(Value::as_str);
        let message: String = message.unwrap_or(text.trim()).chars().take(500).collect();
        Err(self.refused(format!("it answers {}: {message}", answer.status)))
    }

    fn refused(&self, reason: String) -> StoreError {
        StoreError::Engine { host: self.shown.clone(), reason }
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        // The system's words without their number, which helps nobody.
        let text = error.to_string();
        self.refused(text.split_once(" (os error ").map_or(text.clone(), |(words, _)| words.to_lowercase()))
    }
}

/// A name in the path of a request. Names hold little else than letters.
fn escaped(name: &str) -> String {
    name.replace('[', "%5B").replace(']', "%5D")
}
