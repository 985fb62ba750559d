//! The service of an image: its server and the address of that server.

pub mod server;

pub use server::{Bind, Server};
