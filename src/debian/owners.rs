//! Maps paths to packages: [`Owners`], with the links ([`Aliases`]) and [`Diversions`] of a system.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Links directly below the root: `lib` for `usr/lib` on a merged-/usr system.
///
/// Packages use one spelling (`/lib/x86_64-linux-gnu/libz.so.1`), the loader the other.
#[derive(Debug, Default)]
pub(super) struct Aliases(BTreeMap<String, String>);

impl Aliases {
    /// Adds `directory`, directly below the root, as a link to `target`.
    pub(super) fn insert(&mut self, directory: String, target: &str) {
        let target = target.trim_matches('/');
        let is_plain = !target.is_empty() && target.split('/').all(|name| !matches!(name, "" | "." | ".."));
        if is_plain && target != directory {
            self.0.insert(directory, target.to_owned());
        }
    }

    /// Resolves the link at the start of a path. Returned paths begin with a slash.
    pub(super) fn resolve<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let relative = path.trim_start_matches('/');
        // The link itself is an ordinary file; only paths below the link have two spellings.
        let split = relative.split_once('/');
        match split.and_then(|(first, rest)| Some((self.0.get(first)?, rest))) {
            Some((target, rest)) => Cow::Owned(format!("/{target}/{rest}")),
            None if path.len() == relative.len() + 1 => Cow::Borrowed(path),
            None => Cow::Owned(format!("/{relative}")),
        }
    }
}

/// A file moved out of the way of another package's (dpkg-divert(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diversion {
    /// The path of the other packages' file.
    to: String,
    /// The diverting package, which keeps the old path; none for a local diversion.
    by: Option<String>,
}

/// All diversions, by diverted path.
#[derive(Debug, Default)]
pub(super) struct Diversions(BTreeMap<String, Diversion>);

impl Diversions {
    /// Parses `diversions`: three lines each (from, to, package), with `:` as the package for the
    /// administrator's. Malformed entries are skipped.
    pub(super) fn parse(text: &str, aliases: &Aliases) -> Self {
        let mut lines = text.lines();
        let mut diversions = BTreeMap::new();
        while let (Some(from), Some(to), Some(by)) = (lines.next(), lines.next(), lines.next()) {
            if from.starts_with('/') && to.starts_with('/') {
                let by = (by != ":").then(|| by.to_owned());
                let to = aliases.resolve(to).into_owned();
                diversions.insert(aliases.resolve(from).into_owned(), Diversion { to, by });
            }
        }
        Self(diversions)
    }

    /// Returns the installed location of `package`'s file `path`.
    pub(super) fn actual<'a>(&'a self, path: Cow<'a, str>, package: &str) -> Cow<'a, str> {
        match self.0.get(&*path) {
            Some(diversion) if diversion.by.as_deref() != Some(package) => Cow::Borrowed(&diversion.to),
            _ => path,
        }
    }
}

/// Paths to look up, with a filter for the lines of file lists.
///
/// A system has hundreds of thousands of files, and a lookup concerns a few dozen: lines with any
/// other last component are skipped.
#[derive(Debug)]
pub(super) struct OwnerQuery {
    /// The paths with their indices. Never iterated.
    paths: HashMap<Box<str>, usize>,
    /// The last components of the paths and diversions. Never iterated.
    names: HashSet<Box<[u8]>>,
    /// A Bloom filter of the last four bytes of such lines, which rejects most others.
    marks: Marks,
}

impl OwnerQuery {
    /// Builds the filter of `paths`, in which links are resolved.
    pub(super) fn new(paths: impl IntoIterator<Item = Box<str>>, diversions: &Diversions) -> Self {
        let mut numbered = HashMap::new();
        for path in paths {
            let number = numbered.len();
            numbered.entry(path).or_insert(number);
        }
        let diverted = diversions.0.keys().map(|path| last_name(path));
        let names: HashSet<Box<[u8]>> =
            numbered.keys().map(|path| last_name(path)).chain(diverted).map(Box::from).collect();
        let mut marks = Marks(Box::new([0; 256]));
        for name in &names {
            marks.set(name);
        }
        Self { paths: numbered, names, marks }
    }

    /// Returns the indices of the paths in a package's `.list` file, in file order.
    pub(super) fn named_in(
        &self,
        list: &str,
        package: &str,
        aliases: &Aliases,
        diversions: &Diversions,
    ) -> Vec<usize> {
        let mut found = Vec::new();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', list.as_bytes()).chain([list.len()]) {
            let line = list.get(start..end).unwrap_or_default();
            start = end + 1;
            if self.marks.may_have(line) && self.names.contains(last_name(line)) {
                let paths = listed(line, package, aliases, diversions);
                found.extend(paths.filter_map(|path| self.paths.get(&*path)));
            }
        }
        found
    }
}

/// The owners of the paths to look up, as indices of packages.
#[derive(Debug)]
pub(super) struct Owners<'a> {
    query: &'a OwnerQuery,
    /// Indexed like the paths.
    owned: Vec<Option<Owned>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owned {
    By(usize),
    /// A directory of several packages.
    Shared,
}

impl<'a> Owners<'a> {
    /// Starts without any owner.
    pub(super) fn of(query: &'a OwnerQuery) -> Self {
        Self { query, owned: vec![None; query.paths.len()] }
    }

    /// Adds the files of one package's list. `same` returns whether two packages are architectures
    /// of one package, which may have files in common; the first stays their owner.
    pub(super) fn add(&mut self, package: usize, named: &[usize], same: impl Fn(usize, usize) -> bool) {
        for number in named {
            let Some(owned) = self.owned.get_mut(*number) else { continue };
            match owned {
                None => *owned = Some(Owned::By(package)),
                Some(Owned::By(first)) if !same(*first, package) => *owned = Some(Owned::Shared),
                Some(_) => {}
            }
        }
    }

    /// Returns the index of `path`'s package.
    pub(super) fn get(&self, path: &str) -> Option<usize> {
        match (*self.owned.get(*self.query.paths.get(path)?)?)? {
            Owned::By(package) => Some(package),
            Owned::Shared => None,
        }
    }
}

/// Returns the text after the last slash of a line, without the `\r` removed by [`str::lines`].
fn last_name(line: &str) -> &[u8] {
    let line = line.strip_suffix('\r').unwrap_or(line).as_bytes();
    memchr::memrchr(b'/', line).and_then(|at| line.get(at + 1..)).unwrap_or(line)
}

/// A bit set of the last four bytes of wanted lines; false positives are possible.
#[derive(Debug)]
struct Marks(Box<[u64; 256]>);

impl Marks {
    fn set(&mut self, name: &[u8]) {
        let mut mark = |end: [u8; 4]| {
            let (row, bit) = Self::place(end);
            self.0[row] |= bit;
        };
        // A slash precedes the name, and any byte precedes the slash.
        match *name {
            [.., a, b, c, d] => mark([a, b, c, d]),
            [a, b, c] => mark([b'/', a, b, c]),
            [a, b] => (0..=u8::MAX).for_each(|any| mark([any, b'/', a, b])),
            [_] | [] => self.0.fill(u64::MAX),
        }
    }

    /// Returns whether a line may end in one of the names; true for ends that are not expected.
    fn may_have(&self, line: &str) -> bool {
        let place = line.as_bytes().last_chunk().filter(|end: &&[u8; 4]| end[3] != b'\r');
        place.is_none_or(|end| {
            let (row, bit) = Self::place(*end);
            self.0[row] & bit != 0
        })
    }

    fn place(end: [u8; 4]) -> (usize, u64) {
        let mixed = u32::from_le_bytes(end).wrapping_mul(0x9e37_79b1);
        ((mixed >> 24) as usize, 1 << (mixed >> 18 & 63))
    }
}

/// Returns the paths of a `.list` file after links and diversions.
pub(super) fn listed<'a>(
    text: &'a str,
    package: &'a str,
    aliases: &'a Aliases,
    diversions: &'a Diversions,
) -> impl Iterator<Item = Cow<'a, str>> {
    text.lines()
        .filter(|line| line.starts_with('/') && *line != "/.")
        .map(|line| diversions.actual(aliases.resolve(line), package))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn merged() -> Aliases {
        let mut aliases = Aliases::default();
        for (name, target) in [("lib", "usr/lib"), ("bin", "/usr/bin/"), ("odd", "../x"), ("self", "self")] {
            aliases.insert(name.to_owned(), target);
        }
        aliases
    }

    #[test]
    fn follows_merged_directories() {
        for (path, resolved) in [
            ("/lib/x.so", "/usr/lib/x.so"),
            ("/bin/sh", "/usr/bin/sh"),
            ("/usr/lib/x.so", "/usr/lib/x.so"),
            ("/library/x", "/library/x"),
            ("/lib", "/lib"),
            ("/odd/x", "/odd/x"),
            ("/self/x", "/self/x"),
        ] {
            assert_eq!(merged().resolve(path), resolved);
        }
    }

    #[test]
    fn diversions_move_files_of_all_but_the_diverting_package() {
        let text = "/bin/sh\n/bin/sh.distrib\ndash\n/etc/x\n/etc/x.old\n:\nnonsense\n";
        let diversions = Diversions::parse(text, &merged());
        let actual = |path, package| diversions.actual(Cow::Borrowed(path), package);
        assert_eq!(actual("/usr/bin/sh", "dash"), "/usr/bin/sh");
        assert_eq!(actual("/usr/bin/sh", "bash"), "/usr/bin/sh.distrib");
        assert_eq!(actual("/etc/x", "any"), "/etc/x.old");
        assert_eq!(actual("/etc/y", "any"), "/etc/y");
    }

    #[test]
    fn shared_directories_have_no_owner() {
        let (aliases, diversions) = (Aliases::default(), Diversions::default());
        let query = ["/usr", "/usr/doc/c", "/usr/a", "/usr/b", "/x"].map(Box::from);
        let query = OwnerQuery::new(query, &diversions);
        let mut owners = Owners::of(&query);
        let same = |a, b| matches!((a, b), (0, 1) | (1, 0));
        let lists = ["/.\n/usr\n/usr/doc/c\n/usr/a\n/usr/y/x\n", "/usr\r\n/usr/doc/c", "/usr\n/usr/b\n"];
        for (package, list) in lists.into_iter().enumerate() {
            owners.add(package, &query.named_in(list, "p", &aliases, &diversions), same);
        }
        assert_eq!(owners.get("/usr"), None);
        assert_eq!(owners.get("/usr/doc/c"), Some(0), "two architectures of one package share it");
        assert_eq!((owners.get("/usr/a"), owners.get("/usr/b"), owners.get("/x")), (Some(0), Some(2), None));
    }

    proptest! {
        #[test]
        fn never_panics(text in "([/a.:\\n]|/lib/){0,60}") {
            let aliases = merged();
            let diversions = Diversions::parse(&text, &aliases);
            for path in listed(&text, "a", &aliases, &diversions) {
                prop_assert!(path.starts_with('/'));
            }
        }
    }
}
