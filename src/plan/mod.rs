//! (in the making)
pub mod layers;
pub mod process;
