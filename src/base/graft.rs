//! Grafting planned entries onto a base: through its links, without changing its directories.

use std::collections::{BTreeMap, HashMap};

use super::BaseError;
use super::node::{NodeKind, ViewNode};
use super::resolve::{FinalLink, OnMissing, resolve_path};
use super::view::View;
use crate::tree::{Entry, ImagePath, Kind, Owner, Time};

impl View {
    /// Returns `entries` as a layer on top of this base needs them.
    ///
    /// - Paths are resolved through the base's links: `/lib/x` becomes `/usr/lib/x` if `lib` is a
    ///   link to `usr/lib`.
    /// - Directories of the base among the entries or above them repeat the base's owner, mode and
    ///   time, since a layer sets them for every directory it contains.
    /// - A link that the base has, or with the same destination as the base's, is omitted.
    ///
    /// Entries that end up at one path are not merged here.
    ///
    /// # Errors
    /// [`BaseError::Clash`] for an entry that would turn a directory of the base into a file, or
    /// the reverse.
    pub fn graft(&self, entries: Vec<Entry>) -> Result<Vec<Entry>, BaseError> {
        let mut directories = BTreeMap::new();
        let mut links: HashMap<ImagePath, String> = HashMap::new();
        let mut others = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let planned = entry.path.clone();
            let last = if entry.is_directory() { FinalLink::Follow } else { FinalLink::Keep };
            entry.path = resolve_path(self, planned.as_str(), last, OnMissing::Allow).map_err(clash)?;
            self.repeat_parents(&mut directories, &entry.path, &entry.owner)?;
            let has = self.lookup(&entry.path);
            match &mut entry.kind {
                Kind::Directory => {
                    if has.is_some_and(|node| node.kind != NodeKind::Directory) {
                        return Err(refused(&entry.path, has, "a directory"));
                    }
                    if has.is_some() {
                        self.repeat(&mut directories, &entry.path, &entry.owner)?;
                    } else {
                        directories.entry(entry.path.clone()).or_insert(entry);
                    }
                    continue;
                }
                Kind::Symlink(target) => {
                    *target = self.target(&planned, &entry.path, target)?;
                    if has.is_some_and(|node| self.is_same_link(&entry.path, node, target))
                        || links.get(&entry.path) == Some(target)
                    {
                        continue;
                    }
                    links.insert(entry.path.clone(), target.clone());
                }
                Kind::HardLink(target) => *target = self.destination(target).map_err(clash)?,
                Kind::File(_) => {}
            }
            if has.is_some_and(|node| node.kind == NodeKind::Directory) {
                let what = if matches!(entry.kind, Kind::Symlink(_)) { "a symbolic link" } else { "a file" };
                return Err(refused(&entry.path, has, what));
            }
            others.push(entry);
        }
        Ok(directories.into_values().chain(others).collect())
    }

    /// Repeats every directory of the base above `path`, including the root.
    fn repeat_parents(
        &self,
        directories: &mut BTreeMap<ImagePath, Entry>,
        path: &ImagePath,
        owner: &Owner,
    ) -> Result<(), BaseError> {
        let mut above = path.parent();
        while let Some(directory) = above {
            // Its parents were repeated with it.
            if directories.contains_key(&directory) && self.lookup(&directory).is_some() {
                return Ok(());
            }
            self.repeat(directories, &directory, owner)?;
            above = directory.parent();
        }
        Ok(())
    }

    fn repeat(
        &self,
        directories: &mut BTreeMap<ImagePath, Entry>,
        path: &ImagePath,
        owner: &Owner,
    ) -> Result<(), BaseError> {
        let Some(node) = self.lookup(path).filter(|node| node.kind == NodeKind::Directory) else {
            return Ok(());
        };
        let number =
            |number: u64| u32::try_from(number).map_err(|_| BaseError::Owner { path: path.clone(), number });
        let mut entry = Entry::directory(path.clone(), owner.clone())
            .with_mode(node.mode)
            // A tar archive has no time before 1970.
            .with_time(Time::At(node.mtime.max(0)));
        (entry.uid, entry.gid) = (number(node.uid)?, number(node.gid)?);
        directories.insert(path.clone(), entry);
        Ok(())
    }

    /// Adapts the target of a link to its destination.
    fn target(&self, planned: &ImagePath, placed: &ImagePath, target: &str) -> Result<String, BaseError> {
        let climbs = target.split('/').any(|name| name == "..");
        if planned == placed || target.starts_with('/') || !climbs {
            return Ok(target.to_owned());
        }
        let from = planned.parent().unwrap_or_default();
        let resolved = lexical_target(&from, target)?;
        let resolved =
            resolve_path(self, resolved.as_str(), FinalLink::Keep, OnMissing::Allow).map_err(clash)?;
        Ok(resolved.relative_to(&placed.parent().unwrap_or_default()))
    }

    /// Returns true if a link at `path` to `target` is equivalent to the base's own.
    fn is_same_link(&self, path: &ImagePath, node: &ViewNode, target: &str) -> bool {
        let NodeKind::Symlink(own) = &node.kind else { return false };
        if **own == *target {
            return true;
        }
        let parent = path.parent().unwrap_or_default();
        let leads = |target: &str| {
            let text = if target.starts_with('/') {
                target.to_owned()
            } else {
                format!("{}/{target}", parent.as_str())
            };
            resolve_path(self, &text, FinalLink::Follow, OnMissing::Refuse).ok()
        };
        leads(own).is_some_and(|own| leads(target) == Some(own))
    }
}

/// Resolves a relative target in the directory `from`, lexically.
fn lexical_target(from: &ImagePath, target: &str) -> Result<ImagePath, BaseError> {
    let mut at = from.clone();
    for name in target.split('/') {
        at = if name == ".." { at.parent().unwrap_or_default() } else { at.join(name)? };
    }
    Ok(at)
}

/// Reports a file of the base in place of a parent directory.
fn clash(error: BaseError) -> BaseError {
    match error {
        BaseError::NotADirectory(path) => BaseError::Clash { path, has: "a file", planned: "a directory" },
        error => error,
    }
}

fn refused(path: &ImagePath, has: Option<&ViewNode>, planned: &'static str) -> BaseError {
    BaseError::Clash { path: path.clone(), has: has.map_or("nothing", ViewNode::kind_name), planned }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tar, path, view};
    use super::*;

    fn base() -> View {
        view(&[Tar::default()
            .dir("./", 0o755)
            .dir("usr", 0o755)
            .dir("usr/lib", 0o2755)
            .dir("usr/share", 0o755)
            .link("lib", "usr/lib")
            .link("var/run", "/run")
            .file("usr/lib/x.so", "")
            .link("usr/lib/l.so", "x.so")
            .dir("opt", 0o700)])
    }

    fn file(name: &str) -> Entry {
        Entry::file(path(name), "".into(), Owner::System)
    }

    fn link(name: &str, target: &str) -> Entry {
        Entry::symlink(path(name), target, Owner::System)
    }

    fn adapted(entries: Vec<Entry>) -> Vec<String> {
        let show = |entry: Entry| match &entry.kind {
            Kind::Directory => format!("{} {:o} {}", entry.path, entry.mode, entry.uid),
            Kind::Symlink(target) => format!("{} -> {target}", entry.path),
            _ => entry.path.to_string(),
        };
        base().graft(entries).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn paths_go_through_links_and_directories_keep_their_owner_and_mode() {
        let entries = vec![
            Entry::directory(path("lib"), Owner::System),
            file("lib/new/y.so"),
            file("var/run/pid"),
            Entry::directory(path("opt"), Owner::Source),
            file("opt/app/main.py"),
        ];
        let expected = [
            "/ 755 7",
            "/opt 700 7",
            "/usr 755 7",
            "/usr/lib 2755 7",
            "/usr/lib/new/y.so",
            "/run/pid",
            "/opt/app/main.py",
        ];
        assert_eq!(adapted(entries), expected);
    }

    #[test]
    fn links_of_the_base_are_omitted() {
        let same = vec![link("lib", "usr/lib"), link("lib", "/usr/lib"), link("lib/l.so", "./x.so")];
        assert_eq!(adapted(same), ["/ 755 7", "/usr 755 7", "/usr/lib 2755 7"]);
        assert_eq!(adapted(vec![link("lib/l.so", "y.so")])[3..], ["/usr/lib/l.so -> y.so"]);
        assert_eq!(adapted(vec![link("lib/n", "x"), link("usr/lib/n", "x")])[3..], ["/usr/lib/n -> x"]);
    }

    #[test]
    fn a_relative_link_keeps_its_target() {
        assert_eq!(adapted(vec![link("lib/s", "../usr/share/s")])[3..], ["/usr/lib/s -> ../share/s"]);
        assert_eq!(adapted(vec![link("lib/s", "../lib/x.so")])[3..], ["/usr/lib/s -> x.so"]);
        assert_eq!(adapted(vec![link("lib/s", "sub/x")])[3..], ["/usr/lib/s -> sub/x"]);
    }

    #[test]
    fn a_file_may_replace_a_file_and_a_link() {
        assert_eq!(
            adapted(vec![file("lib/x.so"), file("lib/l.so")])[3..],
            ["/usr/lib/x.so", "/usr/lib/l.so"]
        );
    }

    #[test]
    fn directories_and_files_never_replace_each_other() {
        for (entry, words) in [
            (file("usr/share"), "cannot put a file at /usr/share: the base has a directory there"),
            (link("opt", "x"), "cannot put a symbolic link at /opt: the base has a directory there"),
            (
                Entry::directory(path("lib/x.so"), Owner::System),
                "cannot put a directory at /usr/lib/x.so: the base has a file there",
            ),
            (file("lib/x.so/y"), "cannot put a directory at /usr/lib/x.so: the base has a file there"),
        ] {
            assert_eq!(base().graft(vec![entry]).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn on_scratch_everything_stays() {
        let entries = View::empty().graft(vec![file("a/b"), link("c", "a/b")]).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["a/b", "c"]);
    }
}
