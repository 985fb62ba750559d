//! [`Owners`]: which package each file of the system came from.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Names that stand for others: `lib` for `usr/lib`, where a system has merged the two.
///
/// Packages name files by either (`/lib/x86_64-linux-gnu/libz.so.1`), the loader by the other.
#[derive(Debug, Default)]
pub(super) struct Aliases(BTreeMap<String, String>);

impl Aliases {
    /// `directory`, directly below the root, is a link to `target`.
    pub(super) fn insert(&mut self, directory: String, target: &str) {
        let target = target.trim_matches('/');
        let is_plain = !target.is_empty() && target.split('/').all(|name| !matches!(name, "" | "." | ".."));
        if is_plain && target != directory {
            self.0.insert(directory, target.to_owned());
        }
    }

    /// The path by the name that is no link. Paths start with a slash.
    pub(super) fn resolve<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let relative = path.trim_start_matches('/');
        // The link itself is a file like others; only what is below it has two names.
        let split = relative.split_once('/');
        match split.and_then(|(first, rest)| Some((self.0.get(first)?, rest))) {
            Some((target, rest)) => Cow::Owned(format!("/{target}/{rest}")),
            None if path.len() == relative.len() + 1 => Cow::Borrowed(path),
            None => Cow::Owned(format!("/{relative}")),
        }
    }
}

/// A file that was moved out of the way of another package's (dpkg-divert(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diversion {
    /// Where the other packages' file stands.
    to: String,
    /// The package whose file stands at the old place; none for a local diversion.
    by: Option<String>,
}

/// All diversions, by the path that is diverted.
#[derive(Debug, Default)]
pub(super) struct Diversions(BTreeMap<String, Diversion>);

impl Diversions {
    /// Reads `diversions`: three lines each, from, to, package, where `:` is the administrator. What
    /// does not look so is left out.
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

    /// Where the file really is that `package` installs at `path`.
    pub(super) fn actual<'a>(&'a self, path: Cow<'a, str>, package: &str) -> Cow<'a, str> {
        match self.0.get(&*path) {
            Some(diversion) if diversion.by.as_deref() != Some(package) => Cow::Borrowed(&diversion.to),
            _ => path,
        }
    }
}

/// Which package each path came from, by its place among the packages.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Box<str>, Owned>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owned {
    By(usize),
    /// A directory that several packages have.
    Shared,
}

impl Owners {
    /// Takes in one package's list of paths. `same` says whether two packages are one for two
    /// architectures, which may have files in common; the first stays their owner.
    pub(super) fn add<'a>(
        &mut self,
        package: usize,
        paths: impl Iterator<Item = Cow<'a, str>>,
        same: impl Fn(usize, usize) -> bool,
    ) {
        for path in paths {
            // Most lines repeat a directory: no allocation for those.
            match self.0.get_mut(&*path) {
                Some(owned) => {
                    if matches!(*owned, Owned::By(first) if !same(first, package)) {
                        *owned = Owned::Shared;
                    }
                }
                None => {
                    self.0.insert(path.into(), Owned::By(package));
                }
            }
        }
    }

    /// The package that `path` came from.
    pub(super) fn get(&self, path: &str) -> Option<usize> {
        match self.0.get(path) {
            Some(Owned::By(package)) => Some(*package),
            Some(Owned::Shared) | None => None,
        }
    }
}

/// The paths of a `.list` file by the names that are no links, where they really are.
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
    fn diverted_files_stand_elsewhere_but_for_the_diverting_package() {
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
        let mut owners = Owners::default();
        let paths = |list: &[&str]| {
            list.iter().map(|path| Cow::Owned((*path).to_owned())).collect::<Vec<_>>().into_iter()
        };
        let same = |a, b| matches!((a, b), (0, 1) | (1, 0));
        owners.add(0, paths(&["/usr", "/usr/doc/c", "/usr/a"]), same);
        owners.add(1, paths(&["/usr", "/usr/doc/c"]), same);
        owners.add(2, paths(&["/usr", "/usr/b"]), same);
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
