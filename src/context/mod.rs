//! The source tree of an image, filtered by `.dockerignore`.
//!
//! [`Dockerignore`], of the crate [`dockerignore`], follows BuildKit exactly: a project that is also
//! built with `docker build .` has one ignore file and one result. [`Context`] walks a directory and
//! refuses files that an image cannot hold: names that are not UTF-8, devices, links out of the
//! context, unreadable files. There are no nested ignore files and no global excludes, and links are
//! not followed.
//!
//! A virtual environment in the tree is never source, whatever its name; a cache is source only if
//! a rule of the ignore file re-includes the directory itself ([`NotSource`]). Inputs and outputs
//! inside the context are excluded with [`Context::exclude`].
//!
//! Files that git ignores are part of the source all the same: [`Context::git_ignored`] finds them,
//! for a warning.
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

#![allow(clippy::disallowed_methods)] // No layer of an environment depends on the reads here.

mod error;
mod git_ignored;
mod git_names;
mod link;
mod listing;
mod markers;
mod root;
mod walk;

pub use crate::git::ignore_file::GitIgnoreRule;
pub use dockerignore::{Decision, Dockerignore, Effect, Fate, Rule, Verdict};
pub use error::ContextError;
pub use git_ignored::{GitIgnored, GitIgnoredFiles};
pub use listing::{Listing, Permission, SourceFile, SourceKind, Totals};
pub use markers::{ExcludedPath, NotSource};
pub use root::{Context, IgnoreSource, PathExplanation};
pub use walk::Detail;
