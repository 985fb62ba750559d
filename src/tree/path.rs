//! [`ImagePath`]: a path that cannot escape the image.

use std::cmp::Ordering;
use std::fmt;
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Advice;

/// A path in the image: UTF-8, absolute, without `.`, `..`, empty components or a trailing slash.
///
/// The order is by components, so that a directory comes right before its content (`a`, `a/x`,
/// `a-b`); in the order of raw bytes, `a-b` would come between them. Clones share the text, since a
/// plan names each path many times.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImagePath(Arc<str>);

/// A text that is not a valid path in an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path contains `..`.
    #[error("invalid path `{0}`: contains `..`")]
    Escapes(String),
    /// The path contains a NUL byte.
    #[error("invalid path `{}`: contains a NUL byte", .0.escape_debug())]
    Nul(String),
}

impl Advice for PathError {
    fn help(&self) -> Option<String> {
        Some("write an absolute path of the image, such as /app/main.py".to_owned())
    }
}

impl ImagePath {
    /// The root directory.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses an absolute or relative path; both mean the same place. `.` components and repeated
    /// slashes are dropped.
    pub fn new(text: &str) -> Result<Self, PathError> {
        let relative = text.strip_prefix('/').unwrap_or(text);
        if is_clean(relative) {
            return Ok(Self(relative.into()));
        }
        if text.contains('\0') {
            return Err(PathError::Nul(text.to_owned()));
        }
        let mut clean = String::with_capacity(text.len());
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => return Err(PathError::Escapes(text.to_owned())),
                name => {
                    if !clean.is_empty() {
                        clean.push('/');
                    }
                    clean.push_str(name);
                }
            }
        }
        Ok(Self(clean.into()))
    }

    /// Appends `below` to this path.
    pub fn join(&self, below: &str) -> Result<Self, PathError> {
        if self.is_root() || !is_clean(below) {
            let below = Self::new(below)?;
            return Ok(match (self.is_root(), below.is_root()) {
                (true, _) => below,
                (_, true) => self.clone(),
                _ => Self::new_below(&self.0, &below.0),
            });
        }
        Ok(Self::new_below(&self.0, below))
    }

    fn new_below(directory: &str, below: &str) -> Self {
        Self([directory, "/", below].concat().into())
    }

    /// Returns the path as in a tar archive: without a leading slash, and empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true for the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the parent directory; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or("", |(parent, _)| parent).into()))
    }

    /// Returns the last component; `None` for the root.
    pub fn file_name(&self) -> Option<&str> {
        if self.is_root() { None } else { self.0.rsplit('/').next() }
    }

    /// Returns the components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// Returns all ancestors except the root, outermost first.
    pub fn parents(&self) -> impl Iterator<Item = Self> {
        self.0.match_indices('/').map(|(at, _)| Self(self.0[..at].into()))
    }

    /// Returns the path relative to `directory`, if it is below: `Some("")` for the directory
    /// itself.
    pub fn strip_prefix(&self, directory: &Self) -> Option<&str> {
        if directory.is_root() {
            return Some(&self.0);
        }
        let rest = self.0.strip_prefix(&*directory.0)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    /// Returns true if the path is `directory` or below.
    pub fn starts_with(&self, directory: &Self) -> bool {
        self.strip_prefix(directory).is_some()
    }

    /// Returns the relative path from the directory `from` to this path: the target of a symbolic
    /// link in `from`.
    pub fn relative_to(&self, from: &Self) -> String {
        let (mut here, mut there) = (from.components().peekable(), self.components().peekable());
        while here.peek().is_some() && here.peek() == there.peek() {
            here.next();
            there.next();
        }
        let parts: Vec<&str> = here.map(|_| "..").chain(there).collect();
        if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
    }
}

impl Ord for ImagePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` sorts below every byte of a name, which equals a comparison by components.
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        let (one, two) = (self.0.as_bytes(), other.0.as_bytes());
        let at = common_length(one, two);
        one.get(at).map(rank).cmp(&two.get(at).map(rank))
    }
}

/// Returns the length of the common prefix in bytes. Paths of one directory begin alike, so eight
/// bytes are compared at a time.
fn common_length(one: &[u8], two: &[u8]) -> usize {
    let (ones, one_end) = one.as_chunks::<8>();
    let (twos, two_end) = two.as_chunks::<8>();
    for (index, (one, two)) in ones.iter().zip(twos).enumerate() {
        let differs = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*two);
        if differs != 0 {
            return 8 * index + differs.trailing_zeros() as usize / 8;
        }
    }
    let at = 8 * ones.len().min(twos.len());
    let rest = match ones.len().cmp(&twos.len()) {
        Ordering::Less => {
            one_end.iter().zip(twos[ones.len()].iter()).take_while(|(one, two)| one == two).count()
        }
        Ordering::Greater => ones[twos.len()].iter().zip(two_end).take_while(|(one, two)| one == two).count(),
        Ordering::Equal => one_end.iter().zip(two_end).take_while(|(one, two)| one == two).count(),
    };
    at + rest
}

/// Returns true if a relative path is not empty and already in the form of [`ImagePath`]. Most are,
/// and are only copied.
fn is_clean(text: &str) -> bool {
    /// The value of `read` inside a name; below are the empty component, one dot and two dots.
    const NAME: u8 = 3;
    let mut read = 0;
    for byte in text.bytes() {
        match byte {
            0 => return false,
            b'/' if read < NAME => return false,
            b'/' => read = 0,
            b'.' if read < NAME => read += 1,
            _ => read = NAME,
        }
    }
    read == NAME
}

impl PartialOrd for ImagePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ImagePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl TryFrom<String> for ImagePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::new(&text)
    }
}

impl From<ImagePath> for String {
    fn from(path: ImagePath) -> Self {
        path.to_string()
    }
}

/// Returns the name of a file type that an image cannot have: a socket, a named pipe or a device.
pub(crate) fn special_name(kind: FileType) -> &'static str {
    if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "named pipe"
    } else {
        "device"
    }
}

/// Returns true if the relative `target` of the link at `path` stays in the directory, lexically.
pub(crate) fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    target.components().all(|component| match component {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir => {
            let above = depth.checked_sub(1);
            depth = above.unwrap_or_default();
            above.is_some()
        }
        Component::RootDir | Component::Prefix(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_in_its_directory_or_not() {
        for (path, target, stays) in [
            ("a", "b", true),
            ("a", "./b/../c", true),
            ("a/b", "../c", true),
            ("a", "../c", false),
            ("a/b", "../../c", false),
            ("a", "b/../../c", false),
            ("a", "/c", false),
        ] {
            assert_eq!(stays_inside(Path::new(path), Path::new(target)), stays, "{path} -> {target}");
        }
    }
    use proptest::prelude::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    #[test]
    fn normalizes_equivalent_paths() {
        for text in ["/a/b", "a/b", "a//b/", "./a/./b"] {
            assert_eq!(path(text).as_str(), "a/b", "{text}");
        }
        assert!(path("/").is_root() && path("").is_root());
    }

    proptest! {
        #[test]
        fn long_paths_are_ordered_by_their_components(one in "[ab/-]{0,40}", two in "[ab/-]{0,40}") {
            let (one, two) = (path(&one), path(&two));
            prop_assert_eq!(one.cmp(&two), one.components().cmp(two.components()));
        }
    }

    #[test]
    fn refuses_parent_components() {
        assert!(matches!(ImagePath::new("a/../b"), Err(PathError::Escapes(_))));
        assert!(matches!(ImagePath::new("a\0b"), Err(PathError::Nul(_))));
        assert!(path("a").join("../b").is_err());
    }

    #[test]
    fn sorts_a_directory_right_before_its_content() {
        let mut paths = vec![path("a-b"), path("a/x"), path("a"), path("a.b")];
        paths.sort();
        assert_eq!(paths, [path("a"), path("a/x"), path("a-b"), path("a.b")]);
    }

    #[test]
    fn computes_parents_and_relative_paths() {
        let file = path("/app/src/main.py");
        assert_eq!(file.parent(), Some(path("/app/src")));
        assert_eq!(file.parents().collect::<Vec<_>>(), [path("app"), path("app/src")]);
        assert_eq!(file.file_name(), Some("main.py"));
        assert_eq!(file.strip_prefix(&path("app")), Some("src/main.py"));
        assert_eq!(file.strip_prefix(&path("ap")), None);
        assert_eq!(path("usr/lib/x").relative_to(&path("usr/bin")), "../lib/x");
        assert_eq!(path("usr").relative_to(&path("usr")), ".");
    }

    proptest! {
        #[test]
        fn never_escapes(text in ".{0,40}") {
            if let Ok(path) = ImagePath::new(&text) {
                prop_assert!(path.components().all(|c| c != ".." && c != "." && !c.is_empty()));
                prop_assert_eq!(ImagePath::new(&path.to_string()).unwrap(), path);
            }
        }

        #[test]
        fn is_ordered_by_components(a in "[a/.-]{0,8}", b in "[a/.-]{0,8}") {
            if let (Ok(a), Ok(b)) = (ImagePath::new(&a), ImagePath::new(&b)) {
                prop_assert_eq!(a.cmp(&b), a.components().cmp(b.components()));
            }
        }
    }
}
