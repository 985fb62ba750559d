//! The service of an image: its server and the address of that server.

#[allow(dead_code)] // The search for the service is not connected yet.
pub(crate) mod hints;
#[allow(dead_code)] // The caller of the hints prints these too.
pub(crate) mod processes;
pub(crate) mod server;

pub use hints::{dockerfile_instructions, fuzz};

pub(crate) use server::{Bind, Server};
