//! Findings of the last build about each source, so that an unchanged environment is not read
//! again.
//!
//! One file per interpreter, one line per source. The key of a record is a digest of everything
//! that decides the finding (stamps of source and bytecode, path in the image, magic number, mode),
//! so a record can be missing but not wrong. As in git's index, a record about a file changed at
//! the very moment of writing the memo is ignored: a second change at that moment would leave the
//! same stamp. The file is sealed under the interpreter's path ([`crate::sealed`]), since a finding
//! decides the content of an image and damage must be detected.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::compiler::Identity;
use super::store::REVISION;
use crate::atomic_file;
use crate::digest::{Digest, Hasher};
use crate::sealed;
use crate::traced_fs;
use crate::tree::{ContentStamp, HostFile};

/// The heading of the format; files with another heading are ignored.
const FORM: &str = "ipo-oci bytecode memo 2";
/// The number of successive writes without use after which a record is dropped.
const MAX_AGE: u32 = 20;

/// The finding about one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceFinding {
    /// Usable installed bytecode; the source has this hash.
    Reusable([u8; 8]),
    /// Bytecode with a usable header.
    HeaderMatches,
    /// Bytecode with a usable header and readable code.
    Verified,
    /// Compiled, and stored under this key.
    Compiled(Digest),
    /// A source that does not compile; the compiler's message is stored under this key.
    Refused(Digest),
    /// Broken bytecode, or bytecode of another source. Only for `BytecodeMode::Keep`.
    Stale,
    /// Bytecode of another Python, with this magic number. Only for `BytecodeMode::Keep`.
    Foreign(u16),
    /// No bytecode. Only for `BytecodeMode::Keep`.
    Missing,
}

/// A finding, with the data to validate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoRecord {
    /// The finding.
    pub(super) finding: SourceFinding,
    /// The last change of the files examined: seconds and nanoseconds.
    pub(super) changed: (i64, i64),
    /// The [`mark`] of the compiled file, or 0.
    pub(super) mark: u64,
}

/// The findings of earlier builds.
#[derive(Debug)]
pub(super) struct Memo {
    path: PathBuf,
    /// The path of the interpreter.
    executable: Vec<u8>,
    interpreter: Option<(u64, Identity)>,
    /// Each record with the number of writes since its last use. Never iterated unsorted.
    records: HashMap<Digest, (MemoRecord, u32)>,
    changed: bool,
}

impl Memo {
    /// Loads the memo for `executable`, empty if there is none.
    pub(super) fn load(cache: &Path, executable: &Path) -> Self {
        let name = Digest::of(executable.as_os_str().as_bytes()).hex();
        let path = cache.join("memo").join(name.get(..32).unwrap_or_default());
        let executable_path = executable.as_os_str().as_bytes().to_vec();
        let mut memo = Self {
            path,
            executable: executable_path,
            interpreter: None,
            records: HashMap::new(),
            changed: false,
        };
        let read = || {
            let file = HostFile::new(&memo.path).ok()?;
            let bytes = file.read().ok()?;
            let text = sealed::open(&heading(), executable.as_os_str().as_bytes(), &bytes)?;
            Some((file, String::from_utf8(text.to_vec()).ok()?))
        };
        let Some((file, text)) = traced_fs::untraced(read) else { return memo };
        let mut lines = text.lines();
        memo.interpreter = lines.next().and_then(parse_interpreter);
        for (key, record, age) in lines.filter_map(parse_record) {
            if record.changed < file.stamp.modified {
                memo.records.insert(key, (record, age));
            }
        }
        memo
    }

    /// Returns the stored identity of `executable`, if that file is unchanged.
    pub(super) fn interpreter(&self, executable: &Path) -> Option<Identity> {
        let (known, identity) = self.interpreter?;
        (known == executable_mark(executable)?).then_some(identity)
    }

    /// Stores the identity of `executable`.
    pub(super) fn remember_interpreter(&mut self, executable: &Path, identity: Identity) {
        self.interpreter = executable_mark(executable).map(|mark| (mark, identity));
        self.changed = true;
    }

    /// Returns the record under `key`.
    pub(super) fn get(&self, key: &Digest) -> Option<MemoRecord> {
        self.records.get(key).map(|(record, _)| *record)
    }

    /// Adds or replaces records.
    pub(super) fn note(&mut self, found: impl Iterator<Item = (Digest, MemoRecord)>) {
        for (key, record) in found {
            let old = self.records.insert(key, (record, 0));
            self.changed |= old.is_none_or(|(old, _)| old != record);
        }
    }

    /// Writes the memo if changed. Failures are ignored: the next build repeats the work.
    pub(super) fn save(&self) {
        if !self.changed {
            return;
        }
        let sealed = sealed::seal(&heading(), &self.executable, self.text().as_bytes());
        let _ = atomic_file::replace(&self.path, &sealed);
    }

    fn text(&self) -> String {
        let mut text = match self.interpreter {
            Some((mark, Identity { magic, hexversion })) => format!("{mark} {magic} {hexversion}\n"),
            None => "\n".to_owned(),
        };
        let mut lines: Vec<_> = self.records.iter().filter(|(_, (_, age))| *age < MAX_AGE).collect();
        lines.sort_unstable_by_key(|(key, _)| **key);
        for (key, (record, age)) in lines {
            let MemoRecord { finding, changed: (seconds, nanoseconds), mark } = record;
            let (kind, data) = match finding {
                SourceFinding::Reusable(hash) => ('r', u64::from_le_bytes(*hash).to_string()),
                SourceFinding::HeaderMatches => ('p', "0".to_owned()),
                SourceFinding::Verified => ('w', "0".to_owned()),
                SourceFinding::Compiled(key) => ('c', key.to_string()),
                SourceFinding::Refused(key) => ('e', key.to_string()),
                SourceFinding::Stale => ('s', "0".to_owned()),
                SourceFinding::Foreign(magic) => ('f', magic.to_string()),
                SourceFinding::Missing => ('m', "0".to_owned()),
            };
            let age = age + 1;
            let _ = writeln!(text, "{key} {age} {seconds} {nanoseconds} {mark} {kind} {data}");
        }
        text
    }
}

/// Returns a hash of a file's stamp and size.
pub(super) fn mark(file: &HostFile) -> u64 {
    let ContentStamp { device, inode, modified, changed } = file.stamp;
    let mut hasher = Hasher::new();
    for number in [device, inode, file.size] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [modified.0, modified.1, changed.0, changed.1] {
        hasher.update(&number.to_le_bytes());
    }
    let digest = hasher.finish();
    digest.as_bytes().first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Returns the mark of `executable` after links.
fn executable_mark(executable: &Path) -> Option<u64> {
    let real = traced_fs::canonicalize(executable).ok()?;
    HostFile::new(real).ok().map(|file| mark(&file))
}

fn heading() -> String {
    format!("{FORM} {REVISION}\n")
}

fn parse_interpreter(line: &str) -> Option<(u64, Identity)> {
    let mut words = line.split(' ');
    let mark = words.next()?.parse().ok()?;
    let magic = words.next()?.parse().ok()?;
    let hexversion = words.next()?.parse().ok()?;
    Some((mark, Identity { magic, hexversion }))
}

fn parse_record(line: &str) -> Option<(Digest, MemoRecord, u32)> {
    let mut words = line.split(' ');
    let key = words.next()?.parse().ok()?;
    let age = words.next()?.parse().ok()?;
    let changed = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let mark = words.next()?.parse().ok()?;
    let (kind, data) = (words.next()?, words.next()?);
    let finding = match kind {
        "r" => SourceFinding::Reusable(data.parse::<u64>().ok()?.to_le_bytes()),
        "p" => SourceFinding::HeaderMatches,
        "w" => SourceFinding::Verified,
        "c" => SourceFinding::Compiled(data.parse().ok()?),
        "e" => SourceFinding::Refused(data.parse().ok()?),
        "s" => SourceFinding::Stale,
        "f" => SourceFinding::Foreign(data.parse().ok()?),
        "m" => SourceFinding::Missing,
        _ => return None,
    };
    words.next().is_none().then_some((key, MemoRecord { finding, changed, mark }, age))
}

/// Parses a memo with a valid seal.
pub(super) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = text.lines().next().and_then(parse_interpreter);
    text.lines().filter_map(parse_record).for_each(drop);
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: (i64, i64) = (5, 7);

    fn key(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn record(finding: SourceFinding) -> MemoRecord {
        MemoRecord { finding, changed: EARLY, mark: 3 }
    }

    #[test]
    fn saved_records_are_loaded() {
        let cache = tempfile::tempdir().unwrap();
        let python = std::env::current_exe().unwrap();
        let identity = Identity { magic: 3495, hexversion: 0x030b_07f0 };
        let findings = [
            SourceFinding::Reusable([0xff, 1, 2, 3, 4, 5, 6, 7]),
            SourceFinding::HeaderMatches,
            SourceFinding::Verified,
            SourceFinding::Compiled(key(100)),
            SourceFinding::Refused(key(101)),
            SourceFinding::Stale,
            SourceFinding::Foreign(3413),
            SourceFinding::Missing,
        ];
        let mut memo = Memo::load(cache.path(), &python);
        assert_eq!((memo.interpreter(&python), memo.get(&key(0))), (None, None));
        memo.remember_interpreter(&python, identity);
        memo.note((0..).map(key).zip(findings.map(record)));
        memo.save();
        let memo = Memo::load(cache.path(), &python);
        assert_eq!(memo.interpreter(&python), Some(identity));
        for (number, finding) in (0..).zip(findings) {
            assert_eq!(memo.get(&key(number)), Some(record(finding)), "{finding:?}");
        }
        assert_eq!(Memo::load(cache.path(), Path::new("/another")).get(&key(0)), None);
    }

    #[test]
    fn ignores_records_of_files_changed_while_saving() {
        let cache = tempfile::tempdir().unwrap();
        let python = Path::new("/python");
        let mut memo = Memo::load(cache.path(), python);
        let late = MemoRecord { changed: (i64::MAX, 0), ..record(SourceFinding::Stale) };
        memo.note([(key(0), record(SourceFinding::Stale)), (key(1), late)].into_iter());
        memo.save();
        let memo = Memo::load(cache.path(), python);
        assert!(memo.get(&key(0)).is_some() && memo.get(&key(1)).is_none());
    }

    #[test]
    fn drops_unused_records() {
        let cache = tempfile::tempdir().unwrap();
        let python = Path::new("/python");
        let known = |number| Memo::load(cache.path(), python).get(&key(number)).is_some();
        for round in 0..=MAX_AGE {
            assert!(round == 0 || known(200), "{round}");
            let mut memo = Memo::load(cache.path(), python);
            let unneeded = (round == 0).then(|| (key(200), record(SourceFinding::Stale)));
            let needed = [(key(201), record(SourceFinding::Stale))];
            let new = [(key(u8::try_from(round).unwrap()), record(SourceFinding::Stale))];
            memo.note(unneeded.into_iter().chain(needed).chain(new));
            memo.save();
        }
        assert!(!known(200) && known(201));
    }

    #[test]
    fn a_damaged_memo_is_empty() {
        let cache = tempfile::tempdir().unwrap();
        let python = Path::new("/python");
        let mut memo = Memo::load(cache.path(), python);
        memo.note([(key(0), record(SourceFinding::Reusable([1; 8])))].into_iter());
        memo.save();
        let whole = fs_err::read(&memo.path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs_err::write(&memo.path, damaged).unwrap();
            assert!(Memo::load(cache.path(), python).records.is_empty(), "{bit}");
        }
        // The memo of another interpreter in its place.
        let other = Memo::load(cache.path(), Path::new("/other")).path;
        fs_err::write(other, whole).unwrap();
        assert!(Memo::load(cache.path(), Path::new("/other")).records.is_empty());
    }

    #[test]
    fn malformed_lines_are_ignored() {
        let lines = format!("1 2\n\nx y z\n{} 1 1", key(0));
        let sealed = sealed::seal(&heading(), b"/python", lines.as_bytes());
        for text in [&b""[..], b"bytecode-memo-1 0\n", heading().as_bytes(), &sealed] {
            let cache = tempfile::tempdir().unwrap();
            let path = Memo::load(cache.path(), Path::new("/python")).path;
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, text).unwrap();
            assert!(Memo::load(cache.path(), Path::new("/python")).records.is_empty());
        }
    }
}
