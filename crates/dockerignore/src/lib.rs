//! Exact `.dockerignore` matching.
//!
//! [`Dockerignore`] gives the verdicts of BuildKit, the builder behind `docker build`, and names
//! the line that decides. The reference is the code of BuildKit, since its documentation leaves most
//! of the rules open:
//!
//! - [moby/patternmatcher](https://github.com/moby/patternmatcher) parses lines (`ignorefile`) and
//!   matches patterns (`patternmatcher`);
//! - [tonistiigi/fsutil](https://github.com/tonistiigi/fsutil) (`filter.go`) applies them during a
//!   walk.
//!
//! The rules in short:
//!
//! - Patterns are anchored at the root: `foo` does not match `a/foo`, `**/foo` does.
//! - The last matching line decides. A line that matches a directory above a path matches the path.
//! - `!` re-includes paths that earlier lines exclude, also below an excluded directory.
//!
//! Patterns of `.gitignore` differ in each of these; the crate `ignore` implements them. This crate
//! reads no files and lists no directories. It has no dependencies.
//!
//! # Verdicts
//!
//! ```
//! use dockerignore::{Dockerignore, Fate};
//!
//! let ignore = Dockerignore::parse(".dockerignore", b"# notes\n*.md\n!README.md\nbuild/\n")?;
//! assert_eq!(ignore.fate("README.md")?, Fate::Kept);
//! assert_eq!(ignore.fate("docs/notes.md")?, Fate::Kept); // not at the root
//!
//! let verdict = ignore.verdict("build/app.js")?;
//! assert_eq!(verdict.fate, Fate::Ignored);
//! let decision = verdict.decision.expect("a line matches");
//! assert_eq!(decision.rule.to_string(), ".dockerignore:4: build/");
//! assert_eq!(decision.parent.as_deref(), Some("build"));
//! # Ok::<(), dockerignore::Error>(())
//! ```
//!
//! # Walks
//!
//! A walk asks a [`Node`] for each entry of a directory. Nodes remember the lines that match the
//! directories above, so each path is matched once, and [`Node::may_prune`] finds directories that
//! need not be read.
//!
//! ```
//! use dockerignore::{Dockerignore, Fate, Node};
//! use std::path::Path;
//!
//! fn list(folder: &Path, node: &Node<'_>, kept: &mut Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
//!     for entry in std::fs::read_dir(folder)? {
//!         let entry = entry?;
//!         let child = node.child(entry.file_name().to_str().ok_or("not UTF-8")?)?;
//!         if !entry.file_type()?.is_dir() {
//!             if child.fate() == Fate::Kept {
//!                 kept.push(child.path().to_owned());
//!             }
//!         } else if !child.may_prune() {
//!             list(&entry.path(), &child, kept)?;
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! # std::fs::create_dir(folder.path().join("target"))?;
//! # std::fs::write(folder.path().join("target/x"), "")?;
//! # std::fs::write(folder.path().join("main.py"), "")?;
//! let ignore = Dockerignore::from_lines("defaults", &["target"])?;
//! let mut kept = Vec::new();
//! list(folder.path(), &ignore.root(), &mut kept)?;
//! assert_eq!(kept, ["main.py"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Exactness
//!
//! The tests hold the verdicts of a BuildKit for 500 generated trees, and those of the Go packages
//! for 151 files that nobody would write: `a|b*` is an alternative, `[*-z]` closes its brackets at
//! the star, and `#/*/[` is a valid line. A program of 20,000 further files compares the two on
//! request. One difference is known: Unicode classes such as `\pL` are errors here.
//!
//! # Hostile input
//!
//! A file has at most 1 MiB, and a line at most 65,535 bytes, as in the reference. Matching a path
//! takes at most the length of the path times the length of the pattern. No input causes a panic.

#![forbid(unsafe_code)]

mod error;
mod expression;
mod matcher;
mod node;
mod path;
mod pattern;
mod rule;
mod syntax;

pub use error::Error;
pub use matcher::{Decision, Dockerignore, Fate, Verdict};
pub use node::Node;
pub use path::{clean, escape};
pub use rule::{Effect, Rule};

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
