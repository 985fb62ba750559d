//! Names of images: [`Name`], and [`RemoteName`] with the registry.
//!
//! Follows the grammar of the OCI distribution specification 1.1, "Pulling manifests", and the
//! defaults of Docker (`docker.io`, `library/`, `latest`).

use std::fmt;
use std::str::FromStr;

use super::error::ReferenceError;
use crate::digest::Digest;

/// An image's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `agencyos`, `registry.example:5000/team/agencyos`.
    pub repository: String,
    /// `latest`.
    pub tag: String,
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
            Some((name, digest)) => (name, Some(parse_digest(digest, text)?)),
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
pub(super) fn check_tag(tag: &str, whole: &str) -> Result<(), ReferenceError> {
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

/// Parses the digest in the reference `whole`.
pub(super) fn parse_digest(digest: &str, whole: &str) -> Result<Digest, ReferenceError> {
    digest.parse().map_err(|_| {
        ReferenceError::Name(
            whole.to_owned(),
            "the digest is neither sha256: and 64 hexadecimal digits nor sha512: and 128",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
