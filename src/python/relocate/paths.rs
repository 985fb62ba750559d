//! Searches text files for remaining paths of the build machine.
//!
//! The writer of a layer feeds file contents to a [`PathScan`] in pieces of any size; a few bytes are
//! retained between pieces, so paths across two pieces are found. Binary files are skipped
//! (compilers leave source paths in debug data, which no program opens): ELF files, and by git's
//! rule files with a NUL byte in the first 8 KiB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aho_corasick::AhoCorasick;

use crate::tree::ImagePath;

/// The number of bytes that decide whether a file is binary.
const SNIFFED: u64 = 8 << 10;

/// A matcher for the paths of the build machine.
#[derive(Debug, Clone)]
pub struct PathScanner {
    paths: Arc<[String]>,
    automaton: Option<Arc<AhoCorasick>>,
    longest: usize,
}

/// The search of one file.
#[derive(Debug)]
pub struct PathScan<'a> {
    scanner: &'a PathScanner,
    /// The last bytes, in which a path may begin.
    kept: Vec<u8>,
    /// True if `kept` begins with the file's first byte.
    whole_from_start: bool,
    seen: u64,
    state: ScanState,
}

#[derive(Debug, PartialEq, Eq)]
enum ScanState {
    Searching,
    Binary,
    Found(usize),
}

impl PathScanner {
    /// Searches for `machine`: the directories of the environment, the context, the interpreter's
    /// prefix, the user's home. Excluded are directories of every machine (`/usr`, `/root`, in
    /// general paths of one component), and paths that also exist in the image, at or below one of
    /// `image`.
    pub fn new(machine: &[&Path], image: &[ImagePath]) -> Self {
        let mut paths: Vec<String> = machine
            .iter()
            .filter_map(|path| specific_text(path))
            .filter(|path| {
                !ImagePath::new(path).is_ok_and(|path| image.iter().any(|root| path.starts_with(root)))
            })
            .collect();
        paths.sort();
        paths.dedup();
        let automaton = if paths.is_empty() { None } else { AhoCorasick::new(&paths).ok().map(Arc::new) };
        let longest = paths.iter().map(String::len).max().unwrap_or(0);
        Self { paths: paths.into(), automaton, longest }
    }

    /// Returns a text that is equal for scanners of the same paths.
    pub fn identity(&self) -> String {
        self.paths.join("\0")
    }

    /// Begins a file.
    pub fn start(&self) -> PathScan<'_> {
        PathScan {
            scanner: self,
            kept: Vec::new(),
            whole_from_start: true,
            seen: 0,
            state: ScanState::Searching,
        }
    }
}

impl PathScan<'_> {
    /// Reads the file's next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Some(automaton) = &self.scanner.automaton else { return };
        if self.state != ScanState::Searching || bytes.is_empty() {
            return;
        }
        if self.seen < SNIFFED {
            let sniffed = usize::try_from(SNIFFED - self.seen).unwrap_or(0).min(bytes.len());
            let head = bytes.get(..sniffed).unwrap_or(bytes);
            if memchr::memchr(0, head).is_some() || (self.seen == 0 && bytes.starts_with(b"\x7fELF")) {
                self.state = ScanState::Binary;
                return;
            }
        }
        // The seam: the retained bytes, and enough of the new ones for any path that begins in the
        // former.
        let begins = self.seen == 0;
        self.seen += bytes.len() as u64;
        let reach = (self.scanner.longest + 1).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..reach).unwrap_or(bytes));
        let seam = search(automaton, &self.kept, self.whole_from_start, false);
        if let Some(found) = seam.or_else(|| search(automaton, bytes, begins, false)) {
            self.state = ScanState::Found(found);
            return;
        }
        if reach < bytes.len() {
            self.kept.clear();
            self.kept.extend_from_slice(bytes);
            self.whole_from_start = begins;
        }
        // A path at the end needs the byte behind it, and the byte before it.
        let keep_from = self.kept.len().saturating_sub(self.scanner.longest + 1);
        self.kept.drain(..keep_from);
        self.whole_from_start &= keep_from == 0;
    }

    /// Ends the file; returns a path of the build machine, if found.
    pub fn finish(mut self) -> Option<String> {
        if self.state == ScanState::Searching
            && let Some(automaton) = &self.scanner.automaton
            && let Some(found) = search(automaton, &self.kept, self.whole_from_start, true)
        {
            self.state = ScanState::Found(found);
        }
        match self.state {
            ScanState::Found(at) => self.scanner.paths.get(at).cloned(),
            _ => None,
        }
    }
}

/// Returns the first complete path in `bytes`: `/home/me` is neither in `/home/me2` nor in
/// `x/home/me`. A path at an edge counts only if the edge is the file's first byte (`first`) or
/// last (`last`).
fn search(automaton: &AhoCorasick, bytes: &[u8], first: bool, last: bool) -> Option<usize> {
    automaton.find_overlapping_iter(bytes).find_map(|found| {
        let before = found.start().checked_sub(1).and_then(|at| bytes.get(at));
        let whole = match bytes.get(found.end()) {
            Some(next) => !next.is_ascii_alphanumeric() && !matches!(next, b'_' | b'-' | b'.' | 0x80..),
            None => last,
        };
        // `file:///home/me` and `-I/home/me` are paths; `repo/home/me` is not.
        let begins = match before {
            Some(before) => !before.is_ascii_lowercase() && !before.is_ascii_digit() && *before != b'.',
            None => first,
        };
        (whole && begins).then(|| found.pattern().as_usize())
    })
}

/// Returns the text of a directory, if specific to this machine.
fn specific_text(path: &Path) -> Option<String> {
    let clean: PathBuf = path.components().collect();
    let names = clean.components().count().saturating_sub(1);
    let common =
        ["/usr/local", "/usr/bin", "/usr/lib", "/opt/venv"].iter().any(|common| clean == Path::new(common));
    (clean.is_absolute() && names >= 2 && !common).then(|| clean.to_str().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanner() -> PathScanner {
        PathScanner::new(&[Path::new("/home/me"), Path::new("/home/me/app/")], &[])
    }

    fn found(bytes: &[u8], piece: usize) -> Option<String> {
        let scanner = scanner();
        let mut scan = scanner.start();
        for piece in bytes.chunks(piece) {
            scan.feed(piece);
        }
        scan.finish()
    }

    #[test]
    fn finds_whole_paths_only() {
        for (text, path) in [
            ("x = '/home/me'", Some("/home/me")),
            ("/home/me", Some("/home/me")),
            ("file:///home/me/x", Some("/home/me")),
            ("-I/home/me/include", Some("/home/me")),
            ("PATH=/a:/home/me:/b", Some("/home/me")),
            ("/home/me2", None),
            ("/home/me.old", None),
            ("/home/me-too /home/me/", Some("/home/me")),
            ("repo/home/me", None),
            ("/home/m", None),
            ("", None),
        ] {
            for piece in 1..12 {
                assert_eq!(found(text.as_bytes(), piece).as_deref(), path, "{text} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn binary_files_are_not_searched() {
        assert_eq!(found(b"\0/home/me/", 100), None);
        assert_eq!(found(b"\x7fELF/home/me/", 100), None);
        let late = [&[b'x'; 9000][..], b"\0 /home/me/"].concat();
        assert_eq!(found(&late, 4096).as_deref(), Some("/home/me"));
    }

    #[test]
    fn directories_that_every_machine_has_are_not_searched_for() {
        let image = [ImagePath::new("/srv/app").unwrap()];
        let scanner = PathScanner::new(
            &[
                Path::new("/"),
                Path::new("/usr"),
                Path::new("/root"),
                Path::new("/usr/local"),
                Path::new("/srv/app/.venv"),
            ],
            &image,
        );
        let mut scan = scanner.start();
        scan.feed(b"/ /usr /root /usr/local /srv/app/.venv ");
        assert_eq!(scan.finish(), None);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "(/home/me|/home|me|x|/| |\\.){0,12}", long in 0usize..60, piece in 1usize..40) {
            let text = format!("{}{text}{}", " ".repeat(long), " ".repeat(long / 2));
            prop_assert_eq!(found(text.as_bytes(), piece), found(text.as_bytes(), usize::MAX));
        }
    }
}
