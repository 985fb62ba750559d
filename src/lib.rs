//! Production container images of Python web services, built without Docker.
//!
//! `ipo-oci` turns a virtual environment and a source tree into OCI images: the *runtime* image for
//! production, the *builder* image that compiles dependencies, and the *dev* image with automatic
//! reload. Builds need no daemon, root, namespace or network, and are reproducible to the byte.
//!
//! ```no_run
//! use ipo_oci::builder::{BuildError, Builder};
//! use ipo_oci::progress::Silent;
//! use ipo_oci::recipe::Target;
//! use ipo_oci::store::WriteOptions;
//!
//! # fn main() -> Result<(), BuildError> {
//! let built = Builder::from_project("examples/agencyos")?
//!     .target(Target::Runtime)
//!     .source_date_epoch(1_767_225_600)
//!     .build(&Silent)?;
//! let stored = built.write_to(&"oci:dist/image:3.0.0".parse()?, &WriteOptions::default(), &Silent)?;
//! eprint!("{}", built.size_report());
//! println!("{stored}");
//! # Ok(())
//! # }
//! ```
//!
//! [`builder::Builder`] combines the modules, which can also be used separately. Lowest level
//! first: [`tree`] describes the files of an image; [`recipe`], [`settings`] and [`project`] define
//! the contents of an image; [`plan`] assigns entries to layers; [`layer`] and [`image`] write;
//! [`store`] reads and writes images; [`lock`] pins bases; [`report`] accounts for sizes;
//! [`check`] finds faults before an image is started; [`deploy`] describes the deployment of images.
//! `docs/architecture.md` describes the architecture.
//!
//! # Stability
//!
//! The documented modules are the interface for embedders. Undocumented ones serve the command,
//! tests and fuzz targets, are not part of the interface, and may change in any version.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `cli` | yes | the command `ipo-oci` (clap, indicatif); a library needs none of it |
//! | `apt` | yes | bases and layers of Debian packages; implies `registry` |
//! | `registry` | yes | reading from and writing to registries: [`store::registry`](store) |
//! | `zstd` | yes | layers in zstd; without it they are an error |
//! | `object-store` | no | remote caches in S3, Google Cloud Storage and Azure; implies `registry` |

#![forbid(unsafe_code)]
// Invariants of docs/architecture.md: see clippy.toml.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod builder;
pub mod check;
pub mod deploy;
pub mod diff;
pub mod digest;
pub mod error;
pub mod image;
pub mod layer;
pub mod lock;
pub mod plan;
pub mod platform;
pub mod progress;
pub mod project;
pub mod recipe;
pub mod reference;
pub mod report;
pub mod settings;
pub mod store;
pub mod tree;
pub mod verify;

mod compression;
mod git;
mod parallel;
mod plural;
mod sealed;
mod shell_names;
mod signal_names;
mod staging;
mod style;
#[cfg(test)]
mod testing;
mod threads;
mod toml_error;
mod traced_fs;

// For the command, tests, benchmarks and fuzz targets; not part of the interface.
#[cfg(feature = "apt")]
#[doc(hidden)]
pub mod apt;
#[doc(hidden)]
pub mod atomic_file;
#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod cache;
#[doc(hidden)]
pub mod context;
#[doc(hidden)]
pub mod debian;
#[doc(hidden)]
pub mod elf;
#[doc(hidden)]
pub mod printable;
#[doc(hidden)]
pub mod python;
#[doc(hidden)]
pub mod run;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod suggest;
#[doc(hidden)]
pub mod sync;
#[doc(hidden)]
pub mod system;

/// The value of `generator` in every document written beside images, by which later builds
/// recognize them.
const GENERATOR: &str = "ipo-oci";
