//! Combines images of several platforms into one index (OCI image specification 1.1,
//! `image-index.md`).

use serde_json::{Value, json};

use super::{Artifact, DOCKER_MANIFEST, Descriptor, IMAGE_INDEX, Image, ImageError};
use crate::digest::Digest;
use crate::platform::Platform;

/// Annotations that name an image in a layout; inside an index they would name the image twice.
const LAYOUT_NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

impl Artifact {
    /// Makes an index of `sources`, in order. Indexes among them contribute their children,
    /// attestations included. Platforms are taken from the configurations, which are read.
    ///
    /// # Errors
    /// Fails if two images have one platform, a source is not an image, or there are no images.
    pub fn index_of(sources: Vec<Self>) -> Result<Self, ImageError> {
        let mut manifests: Vec<Self> = Vec::new();
        let mut platforms: Vec<Platform> = Vec::new();
        for source in sources {
            let listed = source.is_index();
            for image in source.images() {
                let mut image = image.clone();
                if image.is_image() {
                    let stored = Image::from_artifact(&image)?;
                    let platform = name_platform(&mut image.descriptor, &stored)?;
                    if platforms.contains(&platform) {
                        return Err(ImageError::Twice(platform));
                    }
                    platforms.push(platform);
                } else if !listed {
                    return Err(ImageError::Content(format!(
                        "cannot add {} to the index: not an image",
                        image.digest()
                    )));
                }
                remove_layout_names(&mut image.descriptor.json);
                manifests.push(image);
            }
        }
        if platforms.is_empty() {
            return Err(ImageError::Content("cannot make an index without images".to_owned()));
        }
        // Docker's manifest list holds only Docker's manifests; an OCI index may hold both.
        let docker = manifests.iter().all(|image| image.descriptor.media_type == DOCKER_MANIFEST);
        let media_type = if docker { super::DOCKER_LIST } else { IMAGE_INDEX };
        let entries: Vec<&Value> = manifests.iter().map(|image| &image.descriptor.json).collect();
        let mut document = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
        document.sort_all_objects();
        let bytes = serde_json::to_vec(&document)?;
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        Ok(Self { descriptor, bytes: bytes.into(), blobs: Vec::new(), manifests })
    }
}

/// Sets the platform of a descriptor from the image's configuration.
fn name_platform(descriptor: &mut Descriptor, image: &Image) -> Result<Platform, ImageError> {
    let config: Value = serde_json::from_slice(&image.config)?;
    let mut platform = serde_json::to_value(&image.platform)?;
    // Required for Windows.
    for key in ["os.version", "os.features"] {
        if let (Some(value), Some(platform)) = (config.get(key), platform.as_object_mut()) {
            platform.insert(key.to_owned(), value.clone());
        }
    }
    // A descriptor from elsewhere may lack required properties.
    let mut json = descriptor.json.clone();
    if let Some(json) = json.as_object_mut() {
        json.insert("platform".to_owned(), platform);
        json.insert("mediaType".to_owned(), descriptor.media_type.as_str().into());
        json.insert("size".to_owned(), descriptor.size.into());
    }
    descriptor.json = json;
    descriptor.platform = Some(image.platform.clone());
    Ok(image.platform.clone())
}

fn remove_layout_names(descriptor: &mut Value) {
    let Some(descriptor) = descriptor.as_object_mut() else { return };
    let Some(annotations) = descriptor.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    for key in LAYOUT_NAMES {
        annotations.remove(key);
    }
    if annotations.is_empty() {
        descriptor.remove("annotations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Blob, Encoding, HistoryLine, ImageConfig, Layer};

    fn image(architecture: &str, variant: Option<&str>) -> Artifact {
        let layer = Layer {
            digest: Digest::of(b"blob"),
            size: 4,
            diff_id: Digest::of(b"tar"),
            encoding: Encoding::Gzip,
            blob: Blob::Memory(b"blob".to_vec().into()),
        };
        let config = ImageConfig {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            ..ImageConfig::default()
        };
        let line = HistoryLine { created_by: "x".to_owned(), comment: String::new() };
        let image =
            Image::assemble(&config, vec![(layer, line)], &std::collections::BTreeMap::new()).unwrap();
        let mut artifact = image.artifact().unwrap();
        artifact.descriptor.json["annotations"] = json!({ LAYOUT_NAMES[0]: "1" });
        artifact
    }

    #[test]
    fn separate_images_become_one_index() {
        let inner = Artifact::index_of(vec![image("arm", Some("v7")), image("arm64", None)]).unwrap();
        let index = Artifact::index_of(vec![image("amd64", None), inner]).unwrap();
        assert_eq!(Digest::of(&index.bytes), index.digest());
        let document: Value = serde_json::from_slice(&index.bytes).unwrap();
        let platforms: Vec<_> =
            index.manifests.iter().filter_map(|image| image.descriptor.platform.clone()).collect();
        assert_eq!(
            platforms.iter().map(Platform::to_string).collect::<Vec<_>>(),
            ["linux/amd64", "linux/arm/v7", "linux/arm64"]
        );
        assert_eq!(document["manifests"][1]["platform"]["variant"], "v7");
        assert!(document["manifests"][0].get("annotations").is_none());
        assert_eq!(
            index.for_platform(&"linux/arm64".parse().unwrap()).unwrap().bytes,
            image("arm64", None).bytes
        );
    }

    #[test]
    fn refuses_duplicate_platforms() {
        let error = Artifact::index_of(vec![image("amd64", None), image("amd64", None)]).unwrap_err();
        assert!(matches!(error, ImageError::Twice(_)), "{error}");
        assert!(Artifact::index_of(Vec::new()).is_err());
    }
}
