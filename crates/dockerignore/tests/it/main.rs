//! Tests of the public interface in one binary.

mod buildkit;
mod oracle;
mod properties;
mod rules;
mod tree;
