//! Writing images to any reference.

use std::fmt;

use super::extent::Extent;
use super::{Access, Layout, Network, StoreError, archive, daemon, layout, remote};
use crate::digest::Digest;
use crate::image::{Artifact, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Format, Image};
use crate::platform::Platform;
use crate::progress::{Progress, Silent, Warning};
use crate::reference::{Name, Place, Reference, Transport};
use crate::settings::human_size;

/// Options for writing an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Appended to the tag written in the destination: `-dev`.
    pub suffix: String,
    /// The media types to convert to. Default: unchanged, as is the digest.
    pub format: Option<Format>,
    /// The extent of a layout.
    pub extent: Extent,
    /// Additional names, unless the destination specifies a name.
    pub more_names: Vec<Name>,
}

/// A written image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The reference, in the form for skopeo and podman.
    pub reference: String,
    /// The name at the destination.
    pub name: Name,
    /// The manifest's digest.
    pub digest: Digest,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.reference, self.digest)
    }
}

/// Writes `image` to `destination` as `name`, unless the destination specifies a name. `suffix` is
/// appended to a tag written in the destination (`-dev`).
pub fn write_image(
    image: &Image,
    destination: &Reference,
    name: &Name,
    suffix: &str,
) -> Result<Stored, StoreError> {
    let options = WriteOptions { suffix: suffix.to_owned(), ..WriteOptions::default() };
    write(&image.artifact()?, destination, name, &options, &Access::default(), &Silent)
}

/// Refuses a destination that cannot be written to, before a build starts. Reads only.
pub fn check(destination: &Reference, access: &Access) -> Result<(), StoreError> {
    match (destination.transport, &destination.place) {
        (Transport::Oci, Place::Path(folder)) => layout::check_destination(folder),
        (Transport::OciArchive | Transport::DockerArchive, Place::Path(file)) if file.is_dir() => {
            Err(StoreError::Folder(file.clone()))
        }
        (Transport::Registry, _) if access.network == Network::Forbidden => {
            Err(StoreError::Offline(destination.to_string()))
        }
        _ => Ok(()),
    }
}

/// Writes `artifact` to `destination` unchanged, unless the options ask for another format.
///
/// `name` applies unless the destination specifies a name. A Docker archive or engine holds one
/// image: from an index, the only one or this machine's.
pub fn write(
    artifact: &Artifact,
    destination: &Reference,
    name: &Name,
    options: &WriteOptions,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Stored, StoreError> {
    let names = names(destination, name, options)?;
    let Some((_, name)) = names.first().cloned() else {
        return Err(StoreError::Unusable("cannot write the image: it has no name".to_owned()));
    };
    let refused = |reason| StoreError::Transport { reference: destination.to_string(), reason };
    if options.extent == Extent::Shallow
        && !matches!(destination.transport, Transport::Oci | Transport::Registry)
    {
        return Err(refused("only a layout (oci:) can omit layers of a registry"));
    }
    let converted;
    let mut artifact = match options.format {
        Some(format) => {
            converted = artifact.with_format(format)?;
            warn_omitted(artifact, &converted, progress);
            &converted
        }
        None => artifact,
    };
    if matches!(destination.transport, Transport::DockerArchive | Transport::DockerDaemon) {
        artifact = one_image(artifact)?;
    }
    if let Some(expected) = destination.digest
        && expected != artifact.digest()
    {
        return Err(StoreError::Digest { expected, found: artifact.digest() });
    }
    warn_docker(destination, artifact, progress);
    match (destination.transport, &destination.place) {
        (Transport::Oci, Place::Path(folder)) => {
            let layout = Layout::open(folder)?.with_cache(access.cache.as_deref());
            for (index, (ref_name, name)) in names.iter().enumerate() {
                let omitted = layout.write(artifact, ref_name, name, options.extent, progress)?;
                if index == 0 {
                    warn_shallow(&destination.reference(name), &omitted, progress);
                }
            }
        }
        (Transport::OciArchive, place) => {
            archive::write_oci(artifact, place, &names, progress)?;
        }
        (Transport::DockerArchive, place) => {
            let names: Vec<Name> = names.into_iter().map(|(_, name)| name).collect();
            archive::write_docker(artifact, place, &names, progress)?;
        }
        (Transport::DockerDaemon, Place::Local(_)) => daemon::write(artifact, &name, access, progress)?,
        (Transport::Registry, Place::Remote(remote)) => {
            if access.network == Network::Forbidden {
                return Err(StoreError::Offline(destination.to_string()));
            }
            for (_, name) in &names {
                let remote =
                    if remote.digest.is_some() { remote.clone() } else { remote.with_tag(&name.tag) };
                remote::write(artifact, &remote, access, progress)?;
            }
        }
        (Transport::Oci | Transport::Registry | Transport::DockerDaemon, _) => {
            return Err(refused("the transport does not support writing"));
        }
    }
    Ok(Stored { reference: destination.reference(&name), name, digest: artifact.digest() })
}

/// Returns the names at `destination` without duplicates, each with its tag there. Two names with
/// one tag are distinguished by the full name.
fn names(
    destination: &Reference,
    name: &Name,
    options: &WriteOptions,
) -> Result<Vec<(String, Name)>, StoreError> {
    let mut names: Vec<(String, Name)> = Vec::new();
    for name in std::iter::once(name).chain(&options.more_names) {
        let name = destination.name(name, &options.suffix)?;
        if names.iter().any(|(_, existing)| *existing == name) {
            continue;
        }
        let ref_name = destination.ref_name(&name);
        let taken = names.iter().any(|(existing, _)| *existing == ref_name);
        names.push((if taken { name.to_string() } else { ref_name }, name));
    }
    Ok(names)
}

/// Selects the image of an index for a destination with room for one.
fn one_image(artifact: &Artifact) -> Result<&Artifact, StoreError> {
    let images: Vec<_> = artifact.images().into_iter().filter(|image| image.is_image()).collect();
    match images.as_slice() {
        [image] => Ok(image),
        [] => {
            Err(StoreError::Unusable(format!("cannot convert {}: not an image of layers", artifact.digest())))
        }
        _ => Ok(artifact.for_platform(&Platform::of_this_program())?),
    }
}

fn warn_omitted(before: &Artifact, after: &Artifact, progress: &dyn Progress) {
    let omitted = before.images().len() - after.images().len().min(before.images().len());
    if omitted > 0 {
        let message = format!("{omitted} manifests that refer to the old digests are omitted");
        progress.warn(Warning::new(before.digest().to_string(), message));
    }
}

/// Layouts keep bytes unchanged, and other tools recognize only OCI media types there (measured
/// with skopeo 1.9).
fn warn_docker(destination: &Reference, artifact: &Artifact, progress: &dyn Progress) {
    let docker = matches!(artifact.descriptor.media_type.as_str(), DOCKER_MANIFEST | DOCKER_LIST);
    if docker && matches!(destination.transport, Transport::Oci | Transport::OciArchive) {
        let message =
            "the image has Docker's media types; skopeo and podman recognize only OCI's in a layout";
        progress.warn(
            Warning::new(destination.to_string(), message).with_help(
                "convert the image with --format oci, which changes the digest; ipo-oci reads both",
            ),
        );
    }
}

fn warn_shallow(reference: &str, omitted: &[Descriptor], progress: &dyn Progress) {
    if omitted.is_empty() {
        return;
    }
    let bytes: u64 = omitted.iter().map(|layer| layer.size).sum();
    let layers = match omitted.len() {
        1 => "1 layer is omitted and stays in its registry".to_owned(),
        count => format!("{count} layers are omitted and stay in their registry"),
    };
    let message = format!("{layers} ({})", human_size(bytes));
    progress.warn(
        Warning::new(reference, message)
            .with_help("leave out --shallow for a layout that tools can read without that registry"),
    );
}
