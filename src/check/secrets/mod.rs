//! Secrets in text: credentials of known forms, and files in which tools keep credentials.
//!
//! `pattern.rs` finds tokens and keys by their form, `value.rs` tells values from placeholders,
//! `credential_file.rs` reads the files of `pip`, `docker`, `ssh` and others. None returns the secret
//! itself: [`FoundSecret`] has the first characters and the length.

mod credential_file;
mod pattern;
mod value;

pub(super) use credential_file::{CredentialFile, Credentials};
pub(super) use pattern::{FoundSecret, find, find_in_urls};
pub(super) use value::{is_secret_name, is_strong};
