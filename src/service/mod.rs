//! The service that an image runs: its server, and how that is told where to listen.

pub mod server;

pub use server::{Bind, Server};
