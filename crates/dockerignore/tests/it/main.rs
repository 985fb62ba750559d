//! Tests of the public interface in one binary.

mod buildkit;
mod cases;
mod oracle;
mod properties;
mod rules;
mod strategies;
mod tree;
