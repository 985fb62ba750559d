//! Production container images of Python web services, built without Docker.

pub mod builder;
pub mod context;
pub mod debian;
pub mod digest;
pub mod elf;
pub mod error;
pub mod image;
pub mod layer;
pub mod plan;
pub mod progress;
pub mod project;
pub mod python;
pub mod recipe;
pub mod report;
pub mod settings;
pub mod store;
pub mod system;
pub mod tree;
