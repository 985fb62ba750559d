//! The service of an image: its server and the address of that server.

#[allow(dead_code)] // The search for the service is not connected yet.
pub(crate) mod hints;
pub(crate) mod server;

pub use hints::{dockerfile_instructions, fuzz};

pub(crate) use server::{Bind, Server};
