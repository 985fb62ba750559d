//! Virtual environments and the distributions installed in them.
//!
//! | module | owns |
//! |---|---|
//! | [`venv`] | finding and opening an environment |
//! | [`config`] | `pyvenv.cfg` |
//! | `scheme` | the directories of an environment and of a `--target` |
//! | [`listing`] | the files of an environment, listed once |
//! | [`distribution`] | an installed distribution with its files |
//! | `discover` | the distributions of a directory of packages |
//! | `legacy`, `archive` | distributions without `.dist-info`; zipped eggs |
//! | [`platform_tags`] | wheels built for another platform |
//! | [`error`] | the errors of all these |

mod archive;
pub mod config;
mod discover;
pub mod distribution;
pub mod error;
pub(super) mod legacy;
pub mod listing;
mod machine;
pub mod platform_tags;
mod scheme;
pub mod venv;
pub mod version;
