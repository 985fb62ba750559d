//! The integration tests: one module for each capability, run by [`support::harness`].
//!
//!     cargo test --test it                      # all modules
//!     cargo test --test it copy::               # one module
//!     .ci/engine cargo test --test it docker::  # with a container engine
//!
//! A test whose tool is missing is listed as ignored, with the reason; with `CI` set it fails.
//! Tests that need a process or features of their own are separate binaries.

mod support;

#[cfg(feature = "apt")]
mod apt_client;
mod archives;
mod bad_input;
mod base;
mod base_python;
mod bytecode;
mod check;
mod check_imports;
mod check_loader;
mod check_secrets;
#[cfg(feature = "registry")]
mod ci;
mod cli;
mod complete;
mod context;
mod copy;
mod daemon;
#[cfg(feature = "registry")]
mod damaged_cache;
mod debian;
mod deploy;
mod diff;
#[cfg(feature = "apt")]
mod distroless;
mod docker;
mod dockerignore;
#[cfg(feature = "registry")]
mod documents;
mod elf;
mod embed;
mod examples;
mod extra;
mod files;
mod foreign_text;
mod gitignore;
mod golden;
#[cfg(all(feature = "registry", feature = "zstd", not(feature = "object-store")))]
mod init;
mod install;
mod interpreter;
mod layer_cache;
mod lock;
#[cfg(feature = "registry")]
mod on_base;
#[cfg(feature = "apt")]
mod package_faults;
mod package_oracles;
mod packages;
mod pages;
mod platforms;
mod prepare;
mod processes;
mod products;
mod progress;
mod projects;
mod rebase;
#[cfg(feature = "registry")]
mod registry;
#[cfg(feature = "registry")]
mod registry_faults;
mod reproducible;
mod resolve;
mod run_image;
mod service;
mod settings;
mod shapes;
mod shared_cache;
#[cfg(all(feature = "registry", feature = "zstd", not(feature = "object-store")))]
mod snapshots;
mod static_files;
mod store;
mod test_image;
mod tools;
#[cfg(feature = "apt")]
mod ubuntu;
mod unchanged;
mod unprivileged;
mod venv;
mod verify;
#[cfg(feature = "zstd")]
mod zstd;

fn main() -> std::process::ExitCode {
    support::harness::run()
}
