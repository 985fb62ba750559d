//! Alternatives, update-alternatives(1): links that several packages can provide, of which the highest priority wins.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::InstallError;
use super::package_tree::{FollowedLinks, PackageTree, TreeNode};
use super::scripts::PackageScripts;
use super::unpack::UnpackedPackage;
use crate::tree::{Entry, Owner};

const RECORDS: &str = "var/lib/dpkg/alternatives";

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
    /// Parses the arguments of the program; `None` unless they are a registration of constants. Followers that are not
    /// constant are left out: scripts add those of manual pages only if these are there.
    pub(super) fn parse(arguments: &[Option<String>]) -> Option<Self> {
        let words: Vec<&str> = arguments.iter().map_while(Option::as_deref).collect();
        let is_constant = words.len() == arguments.len();
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
        let is_valid = (rest.is_empty() || !is_constant)
            && !name.contains('/')
            && !name.is_empty()
            && link.starts_with('/');
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

/// The record of a name in dpkg's database.
struct AlternativeRecord {
    /// `auto`, or `manual` after an administrator's choice.
    mode: String,
    choices: Vec<Alternative>,
}

impl AlternativeRecord {
    /// Parses a record: see [`record_of`].
    fn parse(name: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (mode, link) = (lines.next()?, lines.next()?);
        let mut followers = Vec::new();
        loop {
            match lines.next()? {
                "" => break,
                follower => followers.push((follower.to_owned(), lines.next()?.to_owned())),
            }
        }
        let mut choices = Vec::new();
        while let Some(path) = lines.next().filter(|path| !path.is_empty()) {
            let priority = lines.next()?.parse().ok()?;
            let mut own = BTreeMap::new();
            for (follower, link) in &followers {
                let path = lines.next()?;
                if !path.is_empty() {
                    own.insert(follower.clone(), (link.clone(), path.to_owned()));
                }
            }
            let (link, name, path) = (link.to_owned(), name.to_owned(), path.to_owned());
            choices.push(Alternative { link, name, path, priority, followers: own });
        }
        Some(Self { mode: mode.to_owned(), choices })
    }

    /// Returns the choice of the highest priority; of equal ones, the first path: the program keeps the first that is
    /// registered.
    fn best(&self) -> Option<&Alternative> {
        self.choices.iter().rev().max_by_key(|choice| choice.priority)
    }
}

/// Adds the links of the alternatives that the packages register, and their records in dpkg's database.
///
/// A registration with a missing file has no effect, as with the program, and a follower with a missing file has no
/// link: a manual page, for example. Choices are added to a record of the base; its links change if an added one has a
/// higher priority, unless an administrator chose.
pub(super) fn configure(
    packages: &[UnpackedPackage],
    scripts: &[PackageScripts],
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
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
        let place = format!("{RECORDS}/{name}");
        let mut record = AlternativeRecord { mode: "auto".to_owned(), choices: Vec::new() };
        let mut before = None;
        if let Some(text) = tree.read_text(&place)? {
            // A record that the program could not read either.
            let Some(parsed) = AlternativeRecord::parse(name, &text) else { continue };
            before = parsed.best().map(|best| (best.path.clone(), best.priority));
            record = parsed;
        }
        record.choices.retain(|choice| choices.iter().all(|(added, _)| added.path != choice.path));
        record.choices.extend(choices.iter().map(|(choice, _)| (*choice).clone()));
        record.choices.sort_by(|a, b| a.path.cmp(&b.path));
        let Some(best) = record.best() else { continue };
        let added = choices.iter().find(|(choice, _)| choice.path == best.path);
        let is_better = before.is_none_or(|(_, priority)| best.priority > priority);
        if let Some((_, owner)) = added
            && is_better
            && record.mode == "auto"
        {
            link(tree, &best.link, name, &best.path, owner);
            for (follower, (place, path)) in &best.followers {
                if tree.exists(path) {
                    link(tree, place, follower, path, owner);
                }
            }
        }
        let owner = choices.first().map_or(Owner::System, |(_, owner)| owner.clone());
        tree.write_file(&place, record_of(&record), &owner);
    }
    Ok(())
}

/// Adds a link to `/etc/alternatives/NAME`, and that link to the choice. A file at the place stays.
fn link(tree: &mut PackageTree<'_>, place: &str, name: &str, path: &str, owner: &Owner) {
    let selector = format!("/etc/alternatives/{name}");
    let Some(place) = tree.resolve(place, FollowedLinks::Parents) else { return };
    let Some(chosen) = tree.resolve(&selector, FollowedLinks::Parents) else { return };
    match tree.node(&place) {
        None => tree.insert(Entry::symlink(place, selector, owner.clone())),
        Some(TreeNode::Symlink(target)) if target == selector => {}
        Some(_) => return,
    }
    tree.insert(Entry::symlink(chosen, path, owner.clone()));
}

/// Returns the text of a record: its mode, the link, the names and links of followers, and each choice.
fn record_of(record: &AlternativeRecord) -> String {
    let Some(first) = record.choices.first() else { return String::new() };
    let mut followers: BTreeMap<&str, &str> = BTreeMap::new();
    for choice in &record.choices {
        followers.extend(choice.followers.iter().map(|(name, (link, _))| (name.as_str(), link.as_str())));
    }
    let mut text = format!("{}\n{}\n", record.mode, first.link);
    for (name, link) in &followers {
        let _ = writeln!(text, "{name}\n{link}");
    }
    text.push('\n');
    for choice in &record.choices {
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
        let record = AlternativeRecord { mode: "auto".to_owned(), choices: vec![gawk, parse(mawk).unwrap()] };
        let text = record_of(&record);
        assert_eq!(
            text,
            "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/gawk\n10\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n\n"
        );
        let parsed = AlternativeRecord::parse("awk", &text).unwrap();
        assert_eq!((parsed.mode, parsed.choices), (record.mode, record.choices));
    }

    #[test]
    fn other_calls_are_no_registrations() {
        assert_eq!(parse("--remove awk /usr/bin/mawk"), None);
        assert_eq!(parse("--install /usr/bin/awk a/b /usr/bin/mawk 5"), None);
        assert_eq!(parse("--install /usr/bin/awk awk /usr/bin/mawk many"), None);
        assert_eq!(Alternative::parse(&[Some("--install".to_owned()), None]), None);
        let words = "--install /usr/bin/awk awk /usr/bin/mawk 5";
        let mut arguments: Vec<_> = words.split(' ').map(|word| Some(word.to_owned())).collect();
        arguments.push(None);
        assert_eq!(Alternative::parse(&arguments), parse(words));
    }
}
