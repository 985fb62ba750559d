//! Reading images from any reference.

use super::{Access, StoreError, archive, daemon, layout_reader, remote};
use crate::image::{Artifact, Image, ImageError};
use crate::platform::Platform;
use crate::reference::{Name, Place, Reference, Transport};

/// Opens `reference` with everything below: an image, or an index of several. Manifests are read
/// and verified; blobs are read on demand.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let image = ipo_oci::store::open(&"oci:dist/image:1.0".parse()?, &Default::default())?;
/// println!("{} with {} layers", image.digest(), image.blobs.len() - 1);
/// # Ok(())
/// # }
/// ```
pub fn open(reference: &Reference, access: &Access) -> Result<Artifact, StoreError> {
    let tag = reference.tag.as_deref();
    match (reference.transport, &reference.place) {
        (Transport::Oci, Place::Path(root)) => {
            let (files, index) = layout_reader::folder(root)?;
            layout_reader::artifact(&files, &index, tag, reference.digest)
        }
        (Transport::OciArchive, place) => archive::read_oci(&archive::open(place)?, reference),
        (Transport::DockerArchive, place) => archive::read_docker(&archive::open(place)?, reference),
        // Without a network, the client reads from its cache.
        (Transport::Registry, Place::Remote(name)) => remote::read(name, access),
        (Transport::DockerDaemon, Place::Local(name)) => daemon::read(name, access),
        (Transport::Oci | Transport::Registry | Transport::DockerDaemon, _) => Err(StoreError::Transport {
            reference: reference.to_string(),
            reason: "the transport does not support reading this",
        }),
    }
}

/// Opens the image of `reference`. From an index, selects `platform`, by default this machine's
/// platform.
///
/// # Errors
/// No image matches the platform; the error lists the available ones.
pub fn open_image(
    reference: &Reference,
    platform: Option<&Platform>,
    access: &Access,
) -> Result<Image, StoreError> {
    let artifact = open(reference, access)?;
    let image = match platform {
        Some(wanted) => select_platform(&artifact, wanted)?,
        None => artifact.for_platform(&Platform::of_this_program())?,
    };
    Ok(Image::from_artifact(image)?)
}

/// Selects the image of `artifact` for `platform`. A single image must match too.
///
/// # Errors
/// No image matches; the error lists the available ones.
pub fn select_platform<'a>(artifact: &'a Artifact, platform: &Platform) -> Result<&'a Artifact, StoreError> {
    let chosen = artifact.for_platform(platform)?;
    if !artifact.is_index() {
        let image = Image::from_artifact(chosen)?;
        if !platform.runs(&image.platform) {
            return Err(ImageError::Platform { wanted: platform.clone(), there: vec![image.platform] }.into());
        }
    }
    Ok(chosen)
}

/// The default name of an image without a recorded one.
const DEFAULT_NAME: (&str, &str) = ("image", "latest");

/// Returns the name of `artifact`, read from `reference`: from the reference, else from the layout
/// or archive.
pub fn name_of(reference: &Reference, artifact: &Artifact) -> Name {
    let default_name = || Name { repository: DEFAULT_NAME.0.to_owned(), tag: DEFAULT_NAME.1.to_owned() };
    let tag = match &reference.place {
        Place::Remote(remote) => {
            // Docker Hub names lose their implied prefix.
            let path = remote.path();
            let path =
                path.strip_prefix("docker.io/library/").or(path.strip_prefix("docker.io/")).unwrap_or(&path);
            let tag = remote.tag.clone().unwrap_or_else(|| DEFAULT_NAME.1.to_owned());
            return Name { repository: path.to_owned(), tag };
        }
        Place::Local(name) => return name.clone(),
        Place::Path(_) | Place::Standard => reference.tag.as_deref(),
    };
    let whole = |text: &str| text.contains(['/', ':']).then(|| text.parse::<Name>().ok()).flatten();
    if let Some(name) = tag.and_then(whole) {
        return name;
    }
    let json = &artifact.descriptor.json;
    let ref_name = super::index::ref_name(json);
    let named = super::index::containerd_name(json).or(ref_name).and_then(whole);
    let mut name = named.map_or_else(default_name, |name| {
        let short = name.repository.strip_prefix("docker.io/library/").map(str::to_owned);
        Name { repository: short.unwrap_or(name.repository), tag: name.tag }
    });
    if let Some(tag) = tag.or(ref_name).and_then(|tag| Name::new(DEFAULT_NAME.0, tag).ok()) {
        name.tag = tag.tag;
    }
    name
}
