//! Modules that the Python of an image can import.
//!
//! `providers.rs` looks names up in the standard library, the directories of distributions, and the
//! source; `start.rs` finds the modules with which the process starts; `django.rs` those that Django imports by
//! name; `names.rs` has the modules of
//! the standard library by version, and distributions with modules of another name.

mod django;
mod names;
mod providers;
mod start;

pub(super) use django::DjangoApps;
pub(super) use names::{distribution_of, removed_in};
pub(super) use providers::{Lack, Providers, SourceFiles};
pub(super) use start::ProcessStart;
