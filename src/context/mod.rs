//! The source tree that goes into an image, and what `.dockerignore` leaves out of it.
//!
//! [`Dockerignore`] follows BuildKit to the letter (moby/patternmatcher, tonistiigi/fsutil): a project
//! that is built with `docker build .` too has one ignore file and one result. [`Context`] walks a
//! directory under it and refuses what an image cannot hold: names that are not UTF-8, devices, links
//! that lead out, files that cannot be read. There are no nested ignore files and no global excludes,
//! and links are not followed.
//!
//! A virtual environment in the tree is never source, whatever its name, and a cache only where a line of the ignore
//! file insists ([`NotSource`]). A place that is an input or output of its own is named with [`Context::leave_out`].
//!
//! ```
//! use ipo_oci::context::{Context, Detail, IgnoreSource};
//!
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join(".dockerignore"), "*.log\n")?;
//! std::fs::write(folder.path().join("main.py"), "app = 1\n")?;
//! std::fs::write(folder.path().join("build.log"), "done\n")?;
//!
//! let context = Context::open(folder.path(), IgnoreSource::Default)?;
//! let listing = context.walk(Detail::CountIgnored)?;
//! let paths: Vec<_> = listing.files.iter().map(|file| file.path.as_str()).collect();
//! assert_eq!(paths, [".dockerignore", "main.py"]);
//! assert_eq!(listing.ignored.files, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(clippy::disallowed_methods)] // What it reads decides no layer of an environment.

mod dockerignore;
mod error;
mod expression;
mod link;
mod listing;
mod marks;
mod pattern;
mod root;
mod syntax;
mod walk;

pub use dockerignore::{Decision, Dockerignore, Effect, Fate, Rule, Verdict};
pub use error::ContextError;
pub(crate) use error::pattern_of;
pub use listing::{Listing, Permission, SourceFile, SourceKind, Totals};
pub use marks::{LeftOut, NotSource};
pub use root::{Context, IgnoreSource, Why};
pub use walk::Detail;
