//! The service of an image: its server and the address of that server.

pub(crate) mod server;

pub(crate) use server::{Bind, Server};
