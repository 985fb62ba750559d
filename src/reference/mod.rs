//! References: an image's location in skopeo's notation, and the image's name there.
//!
//! A [`Reference`] names an image to read or a destination to write: `oci:dist/image:3.0.0`,
//! `docker://ghcr.io/team/agencyos:3`. `name.rs` has the names alone. This module does no I/O;
//! [`crate::store`] opens references.

mod error;
mod name;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::error::ReferenceError;
pub use self::name::{Name, RemoteName, split_name};
use self::name::{check_tag, parse_digest};
use crate::digest::Digest;
use crate::suggest::nearest;

/// The kind of storage that holds an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// A folder in the format of the OCI image layout specification.
    Oci,
    /// A tar archive of an OCI layout; `docker load` accepts the format too.
    OciArchive,
    /// A tar archive in the format of `docker save`.
    DockerArchive,
    /// A registry with the API of the OCI distribution specification.
    Registry,
    /// A Docker engine, reached through its socket.
    DockerDaemon,
}

/// The part of a reference after the transport: a path, a standard stream or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A file or folder.
    Path(PathBuf),
    /// The standard input or output, written `-`.
    Standard,
    /// A name in a registry.
    Remote(RemoteName),
    /// A name in a Docker engine.
    Local(Name),
}

/// An image's location: `oci:dist/image:3.0.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The transport.
    pub transport: Transport,
    /// The path or name.
    pub place: Place,
    /// The text after the second colon of a layout or archive: a tag or a full name.
    pub tag: Option<String>,
    /// The digest to read from a layout or archive, written `@sha256:…` at the end. Takes
    /// precedence over the tag.
    pub digest: Option<Digest>,
}

impl Transport {
    /// All transports.
    pub(crate) const ALL: [Self; 5] =
        [Self::Oci, Self::OciArchive, Self::DockerArchive, Self::Registry, Self::DockerDaemon];

    /// Returns the prefix before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::Registry => "docker",
            Self::DockerDaemon => "docker-daemon",
        }
    }
}

/// Returns true for text similar to a transport of two words. No official image of Docker Hub has
/// such a name; `oci` and `docker` are too short to tell.
fn is_misspelled(transport: &str) -> bool {
    let known = Transport::ALL.map(Transport::as_str).into_iter().filter(|known| known.contains('-'));
    nearest(transport, known).is_some()
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Splits the path off at the first colon, as skopeo does. A name without a transport is in a
    /// registry.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError::Place(text.to_owned());
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self {
                transport: Transport::Registry,
                place: Place::Remote(name.parse()?),
                tag: None,
                digest: None,
            });
        }
        let (transport, rest) = match text.split_once(':') {
            Some(("oci", rest)) => (Transport::Oci, rest),
            Some(("oci-archive", rest)) => (Transport::OciArchive, rest),
            Some(("docker-archive", rest)) => (Transport::DockerArchive, rest),
            Some(("docker-daemon", rest)) => {
                let place = Place::Local(rest.parse()?);
                return Ok(Self { transport: Transport::DockerDaemon, place, tag: None, digest: None });
            }
            Some(("docker", _)) => return Err(wrong()),
            Some(("containers-storage" | "dir" | "sif" | "ostree" | "tarball", _)) => {
                return Err(ReferenceError::Unsupported(text.to_owned()));
            }
            Some((transport, _)) if is_misspelled(transport) => return Err(wrong()),
            _ => {
                let name = text.parse::<RemoteName>().map_err(|_| wrong())?;
                let place = Place::Remote(name);
                return Ok(Self { transport: Transport::Registry, place, tag: None, digest: None });
            }
        };
        let digest_at = ["@sha256:", "@sha512:"].iter().filter_map(|mark| rest.rfind(mark)).max();
        let (rest, digest) = match digest_at.map(|at| rest.split_at(at)) {
            None => (rest, None),
            Some((rest, digest)) => (rest, Some(parse_digest(digest.trim_start_matches('@'), text)?)),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let place = match (path, transport) {
            ("", _) | ("-", Transport::Oci) => return Err(wrong()),
            ("-", _) => Place::Standard,
            (path, _) => Place::Path(path.into()),
        };
        let reference = Self { transport, place, tag: tag.map(str::to_owned), digest };
        // An invalid tag is reported now, not after the build.
        reference.name(&Name { repository: "x".to_owned(), tag: "x".to_owned() }, "")?;
        Ok(reference)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = self.transport.as_str();
        match &self.place {
            Place::Path(path) => write!(f, "{transport}:{}", path.display())?,
            Place::Standard => write!(f, "{transport}:-")?,
            Place::Remote(name) => write!(f, "{transport}://{name}")?,
            Place::Local(name) => write!(f, "{transport}:{name}")?,
        }
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl Reference {
    /// Parses a destination. A name without a transport must name its registry: a forgotten `oci:`
    /// would otherwise publish to Docker Hub.
    pub fn destination(text: &str) -> Result<Self, ReferenceError> {
        let destination: Self = text.parse()?;
        match &destination.place {
            Place::Remote(name)
                if name.registry == RemoteName::DOCKER_HUB
                    && !text.starts_with("docker://")
                    && !text.contains("docker.io/") =>
            {
                Err(ReferenceError::NoRegistry(text.to_owned()))
            }
            _ => Ok(destination),
        }
    }

    /// Returns whether the reference is a standard stream.
    pub fn is_standard(&self) -> bool {
        self.place == Place::Standard
    }

    /// Returns the file or folder of a path reference.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the name of the image here; `name` is the default, and `suffix` goes after a tag
    /// written in the reference.
    pub(crate) fn name(&self, name: &Name, suffix: &str) -> Result<Name, ReferenceError> {
        match &self.place {
            Place::Remote(remote) => {
                // The tag of `name` includes the suffix already.
                let tag =
                    remote.tag.as_ref().map_or_else(|| name.tag.clone(), |tag| format!("{tag}{suffix}"));
                return Ok(Name { repository: remote.path(), tag });
            }
            Place::Local(local) => {
                return Ok(Name {
                    repository: local.repository.clone(),
                    tag: format!("{}{suffix}", local.tag),
                });
            }
            Place::Path(_) | Place::Standard => {}
        }
        let Some(tag) = &self.tag else { return Ok(name.clone()) };
        // A bare word is a tag; a slash or a colon makes a name.
        if self.transport == Transport::DockerArchive || tag.contains(['/', ':']) {
            let (repository, tag) = split_name(tag)?;
            let tag = tag.unwrap_or_else(|| "latest".to_owned());
            return Ok(Name { repository, tag: format!("{tag}{suffix}") });
        }
        check_tag(tag, tag)?;
        Ok(Name { repository: name.repository.clone(), tag: format!("{tag}{suffix}") })
    }

    /// Returns the full reference of the image stored here as `name`.
    pub(crate) fn reference(&self, name: &Name) -> String {
        match self.place {
            Place::Remote(_) => return name.to_string(),
            Place::Local(_) => return format!("{}:{name}", self.transport.as_str()),
            Place::Path(_) | Place::Standard => {}
        }
        Self { tag: Some(self.ref_name(name)), digest: None, ..self.clone() }.to_string()
    }

    /// Returns the text after the path: the value of `org.opencontainers.image.ref.name`, or the
    /// name in a Docker archive.
    ///
    /// The tag by default; the full name if one was written. Podman turns a bare tag in an archive
    /// into `localhost/3.0.0:latest`, so archives get the full name unless a tag was written.
    pub(crate) fn ref_name(&self, name: &Name) -> String {
        match (self.transport, &self.tag) {
            (Transport::DockerArchive, _) => name.to_string(),
            (Transport::OciArchive, None) => name.full(),
            (_, Some(tag)) if tag.contains(['/', ':']) => name.to_string(),
            _ => name.tag.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Advice;
    use proptest::prelude::*;

    fn name(destination: &str, suffix: &str) -> String {
        let destination: Reference = destination.parse().unwrap();
        let name = Name::new("agencyos", "latest").unwrap();
        destination.reference(&destination.name(&name, suffix).unwrap())
    }

    #[test]
    fn destinations_are_named_as_skopeo_names_them() {
        for (written, suffix, reference) in [
            ("oci:dist/image", "", "oci:dist/image:latest"),
            ("oci:dist/image:3.0.0", "-dev", "oci:dist/image:3.0.0-dev"),
            ("oci:d:docker.io/team/x:1", "", "oci:d:docker.io/team/x:1"),
            ("oci-archive:a.tar", "", "oci-archive:a.tar:docker.io/library/agencyos:latest"),
            ("oci-archive:a.tar:3", "-dev", "oci-archive:a.tar:3-dev"),
            ("docker-archive:a.tar", "", "docker-archive:a.tar:agencyos:latest"),
            ("docker-archive:-:team/x:2", "-builder", "docker-archive:-:team/x:2-builder"),
            ("docker://ghcr.io/team/x:2", "-dev", "ghcr.io/team/x:2-dev"),
            ("localhost:5000/x", "", "localhost:5000/x:latest"),
            ("docker-daemon:x:2", "-dev", "docker-daemon:x:2-dev"),
        ] {
            assert_eq!(name(written, suffix), reference);
        }
    }

    #[test]
    fn a_layout_is_read_by_digest() {
        let digest = Digest::of(b"");
        for (text, path, tag) in [
            ("oci:a", "a", None),
            ("oci-archive:a@b:1", "a@b", Some("1")),
            ("oci:a:x/y:1", "a", Some("x/y:1")),
        ] {
            let text = format!("{text}@{digest}");
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.path(), Some(Path::new(path)));
            assert_eq!((reference.tag.as_deref(), reference.digest), (tag, Some(digest)));
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            "Dist",
            "oci:",
            "oci::tag",
            "oci:-",
            "oci:a:b c",
            "oci:a:",
            "docker:a",
            "docker-daemon:",
            "docker://",
            "a@sha256:1",
            "docker-archive:a:UP:1",
            "oci:a@sha256:1",
            "oci:@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "docker-archive:a:",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(matches!("dir:x".parse::<Reference>(), Err(ReferenceError::Unsupported(_))));
    }

    #[test]
    fn a_forgotten_transport_does_not_mean_docker_hub() {
        for text in ["dist/image", "image", "ftp:image"] {
            assert!(matches!(Reference::destination(text), Err(ReferenceError::NoRegistry(_))), "{text}");
            assert!(text.parse::<Reference>().is_ok(), "{text}");
        }
        for text in ["./image", "../image", "/tmp/image.tar"] {
            assert!(matches!(Reference::destination(text), Err(ReferenceError::Place(_))), "{text}");
        }
        for text in ["hello.tar", "out/hello.tar.gz", "./hello.tar", "/tmp/hello.tgz"] {
            let help = Reference::destination(text).unwrap_err().help().unwrap();
            assert!(help.contains(&format!("oci-archive:{text}")), "{help}");
        }
        for text in ["docker://team/x", "docker.io/team/x", "localhost:5000/x", "ghcr.io/team/x", "oci:dist"]
        {
            assert!(Reference::destination(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,30}") {
            let _ = text.parse::<Reference>();
            let _ = text.parse::<Name>();
            let _ = format!("oci:{text}").parse::<Reference>();
        }
    }
}
