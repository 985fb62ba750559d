//! Where an image goes, written as skopeo writes it, and what it is called there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::StoreError;

/// How an image is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// A folder as the OCI image layout specification has it.
    Oci,
    /// A tar archive of such a folder, which `docker load` takes as well.
    OciArchive,
    /// A tar archive as `docker save` writes it.
    DockerArchive,
}

/// A file or folder, or the standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A path.
    Path(PathBuf),
    /// The standard output, written `-`.
    StandardOutput,
}

/// Where an image goes: `oci:dist/image:3.0.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// How it is stored.
    pub transport: Transport,
    /// Where.
    pub place: Place,
    /// What stands behind the second colon: a tag, or a whole name.
    pub tag: Option<String>,
}

/// What an image is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `agencyos`, `registry.example:5000/team/agencyos`.
    pub repository: String,
    /// `latest`.
    pub tag: String,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

impl FromStr for Destination {
    type Err = StoreError;

    /// The path ends at the first colon, as it does for skopeo.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let wrong = || StoreError::Destination(text.to_owned());
        let (transport, rest) = text.split_once(':').ok_or_else(wrong)?;
        let transport = match transport {
            "oci" => Transport::Oci,
            "oci-archive" => Transport::OciArchive,
            "docker-archive" => Transport::DockerArchive,
            "docker" | "docker-daemon" | "containers-storage" | "dir" | "sif" | "ostree" => {
                return Err(StoreError::Unsupported(text.to_owned()));
            }
            _ => return Err(wrong()),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let place = match (path, transport) {
            ("", _) | ("-", Transport::Oci) => return Err(wrong()),
            ("-", _) => Place::StandardOutput,
            (path, _) => Place::Path(path.into()),
        };
        let destination = Self { transport, place, tag: tag.map(str::to_owned) };
        // A tag that is wrong is better found now than after the build.
        destination.name(&Name { repository: "x".to_owned(), tag: "x".to_owned() }, "")?;
        Ok(destination)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Path(path) => path.display().to_string(),
            Place::StandardOutput => "-".to_owned(),
        };
        write!(f, "{}:{place}", self.transport.as_str())?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl Destination {
    /// Whether it is the standard output.
    pub fn is_standard_output(&self) -> bool {
        self.place == Place::StandardOutput
    }

    /// The file or folder, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Path(path) => Some(path),
            Place::StandardOutput => None,
        }
    }

    /// What an image that is otherwise called `name` is called here.
    pub(super) fn name(&self, name: &Name, suffix: &str) -> Result<Name, StoreError> {
        let Some(tag) = &self.tag else { return Ok(name.clone()) };
        // A bare word is a tag; a name is what has a slash or a colon.
        if self.transport == Transport::DockerArchive || tag.contains(['/', ':']) {
            let (repository, tag) = split_name(tag)?;
            let tag = tag.unwrap_or_else(|| "latest".to_owned());
            return Ok(Name { repository, tag: format!("{tag}{suffix}") });
        }
        check_tag(tag, tag)?;
        Ok(Name { repository: name.repository.clone(), tag: format!("{tag}{suffix}") })
    }

    /// How what is stored here as `name` is referred to.
    pub(super) fn reference(&self, name: &Name) -> String {
        Self { tag: Some(self.ref_name(name)), ..self.clone() }.to_string()
    }

    /// What stands behind the path: the value of `org.opencontainers.image.ref.name`, or the name in a Docker archive.
    ///
    /// It is the tag, or the whole name where one was written. An archive is for loading, and Podman makes
    /// `localhost/3.0.0:latest` of a tag alone, so there the whole name stands unless a tag was written.
    pub(super) fn ref_name(&self, name: &Name) -> String {
        match (self.transport, &self.tag) {
            (Transport::DockerArchive, _) => name.to_string(),
            (Transport::OciArchive, None) => name.full(),
            (_, Some(tag)) if tag.contains(['/', ':']) => name.to_string(),
            _ => name.tag.clone(),
        }
    }
}

impl Name {
    /// A name that registries and engines take.
    pub fn new(repository: impl Into<String>, tag: impl Into<String>) -> Result<Self, StoreError> {
        let (repository, tag) = (repository.into(), tag.into());
        check_repository(&repository, &repository)?;
        check_tag(&tag, &tag)?;
        Ok(Self { repository, tag })
    }

    /// The whole name as containerd wants it: `docker.io/library/agencyos:latest`.
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
    type Err = StoreError;

    /// `NAME[:TAG]`; without a tag it is `latest`.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let (repository, tag) = split_name(text)?;
        Ok(Self { repository, tag: tag.unwrap_or_else(|| "latest".to_owned()) })
    }
}

/// Splits `NAME[:TAG]`; a colon before a slash belongs to a registry's port.
pub fn split_name(text: &str) -> Result<(String, Option<String>), StoreError> {
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

/// Distribution specification 1.1, "Pulling manifests": the grammar of `<name>`, with a registry in front as Docker
/// writes it.
fn check_repository(repository: &str, whole: &str) -> Result<(), StoreError> {
    let wrong = |why| Err(StoreError::Name(whole.to_owned(), why));
    if repository.len() > 255 {
        return wrong("it is longer than 255 characters");
    }
    for (index, part) in repository.split('/').enumerate() {
        let host = index == 0 && repository.contains('/');
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let in_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if host && part.contains(['.', ':']) {
            if !part.chars().all(in_host) {
                return wrong("its registry is no host name");
            }
        } else if part.is_empty() {
            return wrong("a part of it is empty");
        } else if !part.chars().all(allowed) {
            return wrong(
                "it has other characters than lower case letters, digits, dots, dashes and underscores",
            );
        } else if !edge(part.chars().next()) || !edge(part.chars().next_back()) {
            return wrong("a part of it begins or ends with a separator");
        }
    }
    Ok(())
}

/// The same section: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn check_tag(tag: &str, whole: &str) -> Result<(), StoreError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = tag.len() <= 128
        && tag.chars().next().is_some_and(word)
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    if fits {
        Ok(())
    } else {
        Err(StoreError::Name(whole.to_owned(), "its tag is not letters, digits, dots and dashes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(destination: &str, suffix: &str) -> String {
        let destination: Destination = destination.parse().unwrap();
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
        ] {
            assert_eq!(name(written, suffix), reference);
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for text in [
            "",
            "dist",
            "oci:",
            "oci::tag",
            "oci:-",
            "oci:a:b c",
            "oci:a:",
            "zip:a",
            "docker-archive:a:UP:1",
            "docker-archive:a:",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
        assert!(matches!("docker://x".parse::<Destination>(), Err(StoreError::Unsupported(_))));
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
        fn no_text_makes_it_panic(text in ".{0,30}") {
            let _ = text.parse::<Destination>();
            let _ = text.parse::<Name>();
            let _ = format!("oci:{text}").parse::<Destination>();
        }
    }
}
