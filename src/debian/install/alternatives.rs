//! Alternatives, update-alternatives(1): links that several packages can provide, of which the highest priority wins.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::package_tree::{FollowedLinks, PackageTree};
use super::scripts::PackageScripts;
use super::unpack::UnpackedPackage;
use crate::tree::{Entry, Owner};

/// A registration: `--install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    link: String,
    name: String,
    path: String,
    priority: i64,
    /// Links that follow the choice, by name: link and path.
    followers: BTreeMap<String, (String, String)>,
}

impl Alternative {
    /// Parses the arguments of the program; `None` unless all are constant and a registration.
    pub(super) fn parse(arguments: &[Option<String>]) -> Option<Self> {
        let words: Option<Vec<&str>> = arguments.iter().map(Option::as_deref).collect();
        let words = words?;
        let mut words = words.as_slice();
        while let [option, rest @ ..] = words
            && matches!(*option, "--quiet" | "--verbose" | "--force")
        {
            words = rest;
        }
        let ["--install", link, name, path, priority, rest @ ..] = words else { return None };
        let mut followers = BTreeMap::new();
        let mut rest = rest;
        while let ["--slave", link, name, path, more @ ..] = rest {
            followers.insert((*name).to_owned(), ((*link).to_owned(), (*path).to_owned()));
            rest = more;
        }
        let is_valid = rest.is_empty() && !name.contains('/') && !name.is_empty() && link.starts_with('/');
        is_valid.then_some(())?;
        Some(Self {
            link: (*link).to_owned(),
            name: (*name).to_owned(),
            path: (*path).to_owned(),
            priority: priority.parse().ok()?,
            followers,
        })
    }
}

/// Adds the links of the alternatives that the packages register, and their records in dpkg's database.
///
/// A registration with a missing file has no effect, as with the program, and a follower with a missing file has no
/// link: a manual page, for example.
pub(super) fn configure(
    packages: &[UnpackedPackage],
    scripts: &[PackageScripts],
    tree: &mut PackageTree<'_>,
) {
    let mut groups: BTreeMap<&str, Vec<(&Alternative, Owner)>> = BTreeMap::new();
    for (package, scripts) in packages.iter().zip(scripts) {
        for alternative in &scripts.alternatives {
            if tree
                .resolve(&alternative.path, FollowedLinks::All)
                .is_some_and(|path| tree.node(&path).is_some())
            {
                groups.entry(&alternative.name).or_default().push((alternative, package.owner()));
            }
        }
    }
    for (name, mut choices) in groups {
        choices.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path).then(b.priority.cmp(&a.priority)));
        choices.dedup_by(|(a, _), (b, _)| a.path == b.path);
        // Of equal priorities, the first path: the program keeps the first that is registered.
        let best = choices.iter().rev().max_by_key(|(alternative, _)| alternative.priority);
        let Some((best, owner)) = best else { continue };
        let record = format!("var/lib/dpkg/alternatives/{name}");
        // A base's choice stays.
        if tree.exists(&record) {
            continue;
        }
        link(tree, &best.link, name, &best.path, owner);
        for (follower, (place, path)) in &best.followers {
            if tree.exists(path) {
                link(tree, place, follower, path, owner);
            }
        }
        let text = record_of(&choices.iter().map(|(alternative, _)| *alternative).collect::<Vec<_>>());
        tree.add_file(&record, text, owner);
    }
}

/// Adds a link to `/etc/alternatives/NAME`, and that link to the choice.
fn link(tree: &mut PackageTree<'_>, place: &str, name: &str, path: &str, owner: &Owner) {
    if let Some(place) = tree.resolve(place, FollowedLinks::Parents)
        && tree.node(&place).is_none()
    {
        tree.insert(Entry::symlink(place, format!("/etc/alternatives/{name}"), owner.clone()));
        tree.add_link(&format!("etc/alternatives/{name}"), path, owner);
    }
}

/// Returns the record of a name: its mode, the link, the names and links of followers, and each choice.
fn record_of(choices: &[&Alternative]) -> String {
    let Some(first) = choices.first() else { return String::new() };
    let mut followers: BTreeMap<&str, &str> = BTreeMap::new();
    for choice in choices {
        followers.extend(choice.followers.iter().map(|(name, (link, _))| (name.as_str(), link.as_str())));
    }
    let mut text = format!("auto\n{}\n", first.link);
    for (name, link) in &followers {
        let _ = writeln!(text, "{name}\n{link}");
    }
    text.push('\n');
    for choice in choices {
        let _ = writeln!(text, "{}\n{}", choice.path, choice.priority);
        for name in followers.keys() {
            let _ = writeln!(text, "{}", choice.followers.get(*name).map_or("", |(_, path)| path));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Alternative> {
        Alternative::parse(&text.split(' ').map(|word| Some(word.to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn records_have_the_form_of_the_program() {
        let mawk =
            "--quiet --install /usr/bin/awk awk /usr/bin/mawk 5 --slave /usr/bin/nawk nawk /usr/bin/mawk";
        let gawk = parse("--install /usr/bin/awk awk /usr/bin/gawk 10").unwrap();
        let record = record_of(&[&gawk, &parse(mawk).unwrap()]);
        assert_eq!(
            record,
            "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/gawk\n10\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n\n"
        );
    }

    #[test]
    fn other_calls_are_no_registrations() {
        assert_eq!(parse("--remove awk /usr/bin/mawk"), None);
        assert_eq!(parse("--install /usr/bin/awk a/b /usr/bin/mawk 5"), None);
        assert_eq!(parse("--install /usr/bin/awk awk /usr/bin/mawk many"), None);
        assert_eq!(Alternative::parse(&[Some("--install".to_owned()), None]), None);
    }
}
