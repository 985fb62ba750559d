//! Debian archives without apt or dpkg.
//!
//! | module | format | specification |
//! |---|---|---|
//! | [`sources`] | the machine's package sources | sources.list(5), both formats |
//! | [`release`] | `InRelease`: suites, digests, signatures | Debian wiki, `DebianRepository/Format`; RFC 9580 |
//! | [`index`] | `Packages`: the packages of a component | deb-control(5), Debian Policy chapter 5 |
//! | [`compression`] | compressed indexes and members of packages | |
//! | [`configuration`] | the machine's settings of apt | apt.conf(5) |
//! | [`credentials`] | the machine's passwords of mirrors | apt_auth.conf(5) |
//! | [`relation`] | `Depends` and its like | Debian Policy, section 7.1 |
//! | [`version`] | versions, their order | Debian Policy, section 5.6.12 |
//! | [`resolve`] | the closure of wanted packages | Debian Policy, chapter 7 |
//! | [`deb`] | binary packages | deb(5) |
//!
//! The crate parses and decides. Its callers fetch files, and write or unpack what they want of them.

#![forbid(unsafe_code)]

pub mod compression;
pub mod configuration;
pub mod credentials;
pub mod deb;
pub mod index;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod sources;
pub mod version;
