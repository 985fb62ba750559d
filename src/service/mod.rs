//! The service of an image: framework, application, server, command, and the evidence for each.
//!
//! `find` reads the source and the hints of the repository and never runs either. `server` knows
//! the servers, `command` the command line of each for an application.

pub(crate) mod command;
pub(crate) mod dependencies;
mod distributions;
pub(crate) mod django;
mod error;
pub(crate) mod find;
pub(crate) mod hint_fates;
pub(crate) mod hints;
pub(crate) mod processes;
pub(crate) mod proposal;
mod required_variables;
pub(crate) mod server;
mod static_root;
pub(crate) mod written_folders;

pub(crate) use distributions::{Distributions, with_implied};
pub use error::ServiceError;
pub use find::Finding;
pub(crate) use find::{Program, ServiceSearch, StartHint};
pub use hints::{dockerfile_instructions, fuzz};
pub(crate) use proposal::ProposalContext;
pub use proposal::{Fate, InstructionFate, Proposal, ProposedSetting, ProposedValue};
pub(crate) use server::{Bind, Server};
