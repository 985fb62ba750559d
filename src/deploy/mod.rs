//! Deployments: what runs the images of a project, for Compose, Kubernetes and others.
//!
//! [`Deployment::of`] joins the configuration of images with `[tool.ipo-oci.deploy]`; [`Deployment::render`] writes the
//! files of a target. The text depends on nothing else, and contains comments where a person has to decide. The values
//! of secrets are never known here, only their names.
//!
//! ```no_run
//! use ipo_oci::deploy::{DeployOptions, DeployTarget, DeployedImage, Deployment};
//! use ipo_oci::store;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reference = "ghcr.io/team/api:3.0.0".parse()?;
//! let artifact = store::open(&reference, &Default::default())?;
//! let image = store::open_image(&reference, None, &Default::default())?;
//! let name = store::name_of(&reference, &artifact);
//! let web = DeployedImage::new("web", name, artifact.digest(), &image);
//! let deployment = Deployment::of(&[web], &Default::default(), &DeployOptions::default())?;
//! for file in deployment.render(DeployTarget::Compose)? {
//!     println!("{}", file.text);
//! }
//! # Ok(())
//! # }
//! ```

mod cloud_run;
mod compose;
mod document;
mod ecs;
mod error;
mod facts;
mod fly;
mod health;
mod kubernetes;
mod manifest;
mod nomad;
mod schedule;
mod settings;
mod systemd;
mod workload;

use std::path::PathBuf;

pub use error::DeployError;
pub use manifest::{ManifestError, ManifestText, ProjectImage};

use crate::digest::Digest;
use crate::image::Image;
use crate::reference::Name;
use crate::settings::DeployTable;
use crate::tree::ImagePath;
use kubernetes::ManifestForm;
use workload::Workload;

/// The program that runs the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeployTarget {
    /// Compose (Compose Specification).
    Compose,
    /// Kubernetes, in one file.
    Kubernetes,
    /// Kubernetes, as a base of Kustomize.
    Kustomize,
    /// Google Cloud Run (Admin API v1).
    CloudRun,
    /// Amazon ECS on Fargate (CloudFormation).
    Ecs,
    /// Fly.io (`fly.toml`).
    Fly,
    /// Nomad (HCL2).
    Nomad,
    /// systemd, with units of Podman's Quadlet.
    Systemd,
}

/// The form of the references to images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pinning {
    /// By digest.
    #[default]
    Digest,
    /// By tag, for an engine that an archive was loaded into.
    Tag,
}

/// Options of a deployment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeployOptions {
    /// The form of the references.
    pub pinning: Pinning,
}

/// An image with its process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeployedImage<'a> {
    /// Name of the process: `web`.
    pub process: String,
    /// Name of the image.
    pub name: Name,
    /// Digest of the image, or of its index.
    pub digest: Digest,
    /// The image; of an index, any.
    pub image: &'a Image,
    /// Directories that the process may write to.
    pub writable: Vec<ImagePath>,
}

/// A file of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeployFile {
    /// The name, relative to a folder.
    pub name: PathBuf,
    /// The content.
    pub text: String,
}

/// The processes of a project with all that a target needs to run them.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Name of the whole: a DNS label.
    name: String,
    /// The processes: `web`, then by name.
    workloads: Vec<Workload>,
    /// Gateway of Kubernetes: `NAME` or `NAMESPACE/NAME`.
    gateway: Option<String>,
}

impl<'a> DeployedImage<'a> {
    /// Describes the image of a process.
    pub fn new(process: impl Into<String>, name: Name, digest: Digest, image: &'a Image) -> Self {
        Self { process: process.into(), name, digest, image, writable: Vec::new() }
    }

    /// Sets the directories that the process may write to.
    #[must_use]
    pub fn writable(mut self, directories: Vec<ImagePath>) -> Self {
        self.writable = directories;
        self
    }
}

impl DeployFile {
    fn new(name: impl Into<PathBuf>, text: String) -> Self {
        Self { name: name.into(), text }
    }
}

impl Deployment {
    /// Joins images with the settings.
    ///
    /// # Errors
    /// Fails if a configuration or a value of the settings is invalid, or if a value would print a secret.
    pub fn of(
        images: &[DeployedImage<'_>],
        settings: &DeployTable,
        options: &DeployOptions,
    ) -> Result<Self, DeployError> {
        settings::check(settings)?;
        let first = images.first().map(|image| image.name.repository.as_str()).unwrap_or_default();
        let workloads = images
            .iter()
            .map(|image| Workload::of(image, settings, options.pinning))
            .collect::<Result<_, _>>()?;
        Ok(Self { name: label(first), workloads, gateway: settings.gateway.clone() })
    }

    /// Writes the files of a target.
    ///
    /// # Errors
    /// Fails if the target has no place for one of the processes.
    pub fn render(&self, target: DeployTarget) -> Result<Vec<DeployFile>, DeployError> {
        match target {
            DeployTarget::Compose => Ok(vec![DeployFile::new("compose.yaml", compose::render(self))]),
            DeployTarget::Kubernetes => Ok(kubernetes::render(self, ManifestForm::Plain)),
            DeployTarget::Kustomize => Ok(kubernetes::render(self, ManifestForm::Kustomize)),
            DeployTarget::CloudRun => cloud_run::render(self),
            DeployTarget::Ecs => ecs::render(self),
            DeployTarget::Fly => fly::render(self),
            DeployTarget::Nomad => Ok(nomad::render(self)),
            DeployTarget::Systemd => Ok(systemd::render(self)),
        }
    }
}

/// Returns text in lower-case letters, digits and hyphens: `/app/data` is `app-data`.
fn slug(text: &str) -> String {
    let slug: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "data".to_owned() } else { slug.to_owned() }
}

/// Returns the last part of a repository as a DNS label (RFC 1123).
fn label(repository: &str) -> String {
    let last = repository.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let label: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let label: String = label.trim_matches('-').chars().take(40).collect();
    let label = label.trim_end_matches('-');
    match label.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => label.to_owned(),
        _ => format!("app-{label}").trim_end_matches('-').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for (repository, name) in [
            ("ghcr.io/team/api", "api"),
            ("localhost:5000/My_App.v2", "my-app-v2"),
            ("1st", "app-1st"),
            ("--", "app"),
            (&"x".repeat(80), &"x".repeat(40)),
        ] {
            assert_eq!(label(repository), name);
        }
    }
}
