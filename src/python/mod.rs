//! (in the making)

pub mod application;
