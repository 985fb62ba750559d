//! (in the making)
pub mod process;
