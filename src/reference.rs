//! References: an image's location in skopeo's notation, and the image's name there.
//!
//! A [`Reference`] names an image to read or a destination to write: `oci:dist/image:3.0.0`,
//! `docker://ghcr.io/team/agencyos:3`. This module does no I/O; [`crate::store`] opens references.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::Advice;

/// A malformed reference or image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a reference.
    #[error("invalid reference `{0}`")]
    Place(String),
    /// A transport of other tools, not supported here.
    #[error("invalid reference `{0}`: unsupported transport")]
    Unsupported(String),
    /// A destination without a registry, mostly a forgotten `oci:`.
    #[error("invalid destination `{0}`: neither a transport nor a registry")]
    NoRegistry(String),
    /// A name, tag or digest that registries and engines refuse.
    #[error("invalid image name `{0}`: {1}")]
    Name(String, &'static str),
}

impl Advice for ReferenceError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoRegistry(text) | Self::Place(text) if is_archive(text) && !text.contains(':') => {
                format!("write oci-archive:{text} or docker-archive:{text} for a file, or oci:DIR for a folder")
            }
            Self::Place(_) | Self::Unsupported(_) => {
                "write oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG], docker-daemon:NAME:TAG or \
                 docker://REGISTRY/NAME[:TAG]; of an archive, FILE may be - for standard input or output"
                    .to_owned()
            }
            Self::NoRegistry(text) => {
                format!("write oci:{text} for a folder, or docker://{text} for Docker Hub")
            }
            Self::Name(..) => {
                "write NAME[:TAG], such as agencyos:3.0.0: lower case letters, digits, dots, dashes and slashes".to_owned()
            }
        })
    }
}

/// Returns whether `text` looks like an archive file rather than a folder.
fn is_archive(text: &str) -> bool {
    let name = text.to_ascii_lowercase();
    [".tar", ".tgz", ".tar.gz", ".tar.zst"].iter().any(|ending| name.ends_with(ending))
}

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

/// An image's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `agencyos`, `registry.example:5000/team/agencyos`.
    pub repository: String,
    /// `latest`.
    pub tag: String,
}

/// An image's name in a registry, with Docker's defaults filled in.
///
/// The similar type of `oci-spec` refuses registries at an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteName {
    /// Host and port: `ghcr.io`, `localhost:5000`; Docker Hub is `docker.io`.
    pub registry: String,
    /// `library/python`.
    pub repository: String,
    /// The tag, if written. Without one, images are read from `latest` and stored under their own
    /// tag.
    pub tag: Option<String>,
    /// The digest, if written. Takes precedence over the tag.
    pub digest: Option<Digest>,
}

impl Transport {
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

impl RemoteName {
    /// Docker Hub's name, which differs from the host that serves Docker Hub.
    pub const DOCKER_HUB: &str = "docker.io";

    /// Returns the reference for the registry's API: the digest, else the tag.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Returns the same repository with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: impl Into<String>) -> Self {
        Self { tag: Some(tag.into()), digest: None, ..self.clone() }
    }

    /// Returns the same repository with a digest; the tag stays, for display.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Returns registry and repository: `docker.io/library/python`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for RemoteName {
    type Err = ReferenceError;

    /// Parses `[REGISTRY/]NAME[:TAG][@DIGEST]` by Docker's rules: the first part is a registry
    /// if it contains a dot or a colon, or is `localhost`; else the registry is Docker Hub, and a
    /// name of one part belongs to `library/`.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let wrong = |_| {
                    ReferenceError::Name(
                        text.to_owned(),
                        "the digest is neither sha256: and 64 hexadecimal digits nor sha512: and 128",
                    )
                };
                (name, Some(digest.parse::<Digest>().map_err(wrong)?))
            }
            None => (text, None),
        };
        let (name, tag) = split_name(name).map_err(|error| match error {
            ReferenceError::Name(_, why) => ReferenceError::Name(text.to_owned(), why),
            other => other,
        })?;
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first.to_owned(), rest.to_owned())
            }
            Some(_) => (Self::DOCKER_HUB.to_owned(), name),
            None => (Self::DOCKER_HUB.to_owned(), format!("library/{name}")),
        };
        // Docker Hub's former name.
        let registry = if registry == "index.docker.io" { Self::DOCKER_HUB.to_owned() } else { registry };
        let repository = if registry == Self::DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        Ok(Self { registry, repository, tag, digest })
    }
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
            _ => {
                let name = text.parse::<RemoteName>().map_err(|_| wrong())?;
                let place = Place::Remote(name);
                return Ok(Self { transport: Transport::Registry, place, tag: None, digest: None });
            }
        };
        let digest_at = ["@sha256:", "@sha512:"].iter().filter_map(|mark| rest.rfind(mark)).max();
        let (rest, digest) = match digest_at.map(|at| rest.split_at(at)) {
            None => (rest, None),
            Some((rest, digest)) => {
                let wrong = |_| {
                    ReferenceError::Name(
                        text.to_owned(),
                        "the digest is neither sha256: and 64 hexadecimal digits nor sha512: and 128",
                    )
                };
                (rest, Some(digest.trim_start_matches('@').parse().map_err(wrong)?))
            }
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

impl Name {
    /// Makes a name; fails if registries and engines would refuse the name.
    pub fn new(repository: impl Into<String>, tag: impl Into<String>) -> Result<Self, ReferenceError> {
        let (repository, tag) = (repository.into(), tag.into());
        check_repository(&repository, &repository)?;
        check_tag(&tag, &tag)?;
        Ok(Self { repository, tag })
    }

    /// Returns the full name for containerd: `docker.io/library/agencyos:latest`.
    pub fn full(&self) -> String {
        let (first, rest) = self.repository.split_once('/').unwrap_or(("", &self.repository));
        if first.contains(['.', ':']) || first == "localhost" {
            self.to_string()
        } else if first.is_empty() {
            format!("docker.io/library/{rest}:{}", self.tag)
        } else {
            format!("docker.io/{}:{}", self.repository, self.tag)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

impl FromStr for Name {
    type Err = ReferenceError;

    /// Parses `NAME[:TAG]`; the tag defaults to `latest`.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (repository, tag) = split_name(text)?;
        Ok(Self { repository, tag: tag.unwrap_or_else(|| "latest".to_owned()) })
    }
}

/// Splits `NAME[:TAG]`; a colon before a slash belongs to a registry's port.
pub fn split_name(text: &str) -> Result<(String, Option<String>), ReferenceError> {
    let (repository, tag) = match text.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (text, None),
    };
    check_repository(repository, text)?;
    if let Some(tag) = tag {
        check_tag(tag, text)?;
    }
    Ok((repository.to_owned(), tag.map(str::to_owned)))
}

/// Checks the grammar of `<name>` (distribution specification 1.1, "Pulling manifests"), with an
/// optional registry in front, as Docker writes names.
fn check_repository(repository: &str, whole: &str) -> Result<(), ReferenceError> {
    let wrong = |why| Err(ReferenceError::Name(whole.to_owned(), why));
    if repository.len() > 255 {
        return wrong("longer than 255 characters");
    }
    for (index, part) in repository.split('/').enumerate() {
        let host = index == 0 && repository.contains('/');
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let in_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if host && part.contains(['.', ':']) {
            // `./image` is a path.
            if !part.chars().all(in_host) || part.starts_with(['.', '-']) {
                return wrong("the registry is not a host name");
            }
        } else if part.is_empty() {
            return wrong("a component is empty");
        } else if !part.chars().all(allowed) {
            return wrong("only lower-case letters, digits, dots, dashes and underscores are allowed");
        } else if !edge(part.chars().next()) || !edge(part.chars().next_back()) {
            return wrong("a component begins or ends with a separator");
        }
    }
    Ok(())
}

/// Checks a tag (same section): `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn check_tag(tag: &str, whole: &str) -> Result<(), ReferenceError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = tag.len() <= 128
        && tag.chars().next().is_some_and(word)
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    if fits {
        Ok(())
    } else {
        Err(ReferenceError::Name(
            whole.to_owned(),
            "the tag may contain only letters, digits, underscores, dots and dashes",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn names_follow_the_distribution_specification() {
        for text in ["a", "a/b", "localhost:5000/a:1", "ghcr.io/Org".to_lowercase().as_str(), "a_b.c-d:V1_.-"]
        {
            assert!(text.parse::<Name>().is_ok(), "{text}");
        }
        for text in ["", "A", "a//b", "-a", "a-", "a:", "a:.x", "a b", "a:b:c", &"a".repeat(256)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
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

    #[test]
    fn names_in_a_registry_are_filled_in_as_docker_does() {
        let digest = Digest::of(b"");
        for (text, whole) in [
            ("python", "docker.io/library/python"),
            ("python:3.12", "docker.io/library/python:3.12"),
            ("team/x", "docker.io/team/x"),
            ("index.docker.io/x", "docker.io/library/x"),
            ("localhost/x:1", "localhost/x:1"),
            ("[::1]:5000/x", "[::1]:5000/x"),
            ("host:5000/a/b:1", "host:5000/a/b:1"),
        ] {
            assert_eq!(text.parse::<RemoteName>().unwrap().to_string(), whole);
            let pinned: RemoteName = format!("{text}@{digest}").parse().unwrap();
            assert_eq!(pinned.to_string(), format!("{whole}@{digest}"));
            assert_eq!(pinned.reference(), digest.to_string());
        }
        assert_eq!("x".parse::<RemoteName>().unwrap().reference(), "latest");
    }

    #[test]
    fn full_names_have_a_registry() {
        for (name, full) in [
            ("a", "docker.io/library/a:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
            ("localhost/a", "localhost/a:latest"),
        ] {
            assert_eq!(name.parse::<Name>().unwrap().full(), full);
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
