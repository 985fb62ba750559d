//! What a Python environment holds, and how it is made fit for an image.

pub mod bytecode;
