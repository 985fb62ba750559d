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
//! first: [`tree`] describes the files of an image; [`context`], [`python`], [`elf`] and [`debian`]
//! each know one domain and produce entries; [`recipe`], [`settings`], [`project`] and [`system`]
//! define the contents of an image; [`plan`] assigns entries to layers; [`layer`] and [`image`]
//! write; [`store`] reads and writes images; [`lock`] pins bases; [`report`] accounts for sizes.
//! `docs/architecture.md` describes the architecture.
//!
//! # Stability
//!
//! The interface for embedders is in [`builder`], [`plan`], [`recipe`], [`settings`], [`project`],
//! [`progress`], [`image`], [`layer`], [`tree`], [`store`], [`reference`](mod@reference), [`digest`], [`platform`],
//! [`report`], [`error`] and [`lock`]. The other modules are public for the command, tests and fuzz
//! targets, and may change in any version.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `cli` | yes | the command `ipo-oci` (clap, indicatif); a library needs none of it |
//! | `registry` | yes | reading from and writing to registries: [`store::registry`](store) |
//! | `zstd` | yes | layers in zstd; without it they are an error |
//! | `object-store` | no | remote caches in S3, Google Cloud Storage and Azure; implies `registry` |

#![forbid(unsafe_code)]
// Invariants of docs/architecture.md: see clippy.toml.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

#[doc(hidden)]
pub mod atomic_file;
pub mod base;
pub mod builder;
pub mod cache;
mod compression;
pub mod context;
pub mod debian;
pub mod digest;
pub mod elf;
pub mod error;
mod git;
pub mod image;
pub mod layer;
pub mod lock;
mod parallel;
pub mod plan;
pub mod platform;
mod plural;
pub mod printable;
pub mod progress;
pub mod project;
pub mod python;
pub mod recipe;
pub mod reference;
pub mod report;
mod sealed;
mod service;
pub mod settings;
mod staging;
pub mod store;
pub mod suggest;
#[doc(hidden)]
pub mod sync;
pub mod system;
mod traced_fs;
pub mod tree;

/// The value of `generator` in every document written beside images, by which later builds
/// recognize them.
const GENERATOR: &str = "ipo-oci";
