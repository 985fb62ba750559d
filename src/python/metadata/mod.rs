//! The files that describe an installed distribution, each read and written by the packaging
//! specification that defines its format. No module of this group reads a file itself.
//!
//! | module | owns |
//! |---|---|
//! | [`core_metadata`] | `METADATA` and `PKG-INFO` |
//! | [`record`] | `RECORD` |
//! | [`wheel`] | `WHEEL`, with compatibility tags |
//! | [`entry_points`] | `entry_points.txt` |
//! | [`direct_url`] | `direct_url.json` |
//! | [`name`] | names of distributions in their normal form |
//!
//! `headers` reads the header fields of `METADATA`, `PKG-INFO` and `WHEEL`.

pub mod core_metadata;
pub mod direct_url;
pub mod entry_points;
mod headers;
pub mod name;
pub mod record;
pub mod wheel;
