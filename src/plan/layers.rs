//! Assigns entries to layers.
//!
//! Layers are ordered by how seldom they change: system, interpreter, large distributions, other
//! distributions, environment, source. A large distribution has a layer to itself: its digest is
//! the same in every project that installs the same wheel, and a registry stores it once.

use std::collections::BTreeMap;

use super::PlannedLayer;
use super::extra::ExtraEntries;
use crate::settings::human_size;
use crate::tree::{Entry, ImagePath, Owner, Tree, TreeError};

/// Size in bytes, without bytecode, below which a distribution shares a layer with others.
/// `benches/layering` compares this threshold with others and with shares of the image;
/// `docs/decisions.md` has the figures.
pub(crate) const MIN_OWN_LAYER_BYTES: u64 = 4_000_000;

/// Name of the layer with the project's source, if separate.
pub(crate) const SOURCE: &str = "source";

/// Number of groups that are separate layers if the budget allows.
const OTHER_GROUPS: u16 = 5;

/// The entries of an image by origin.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub(crate) struct Pieces {
    /// Shared libraries, account files, certificates, time zones.
    pub system: Vec<Entry>,
    /// The interpreter and its standard library.
    pub interpreter: Vec<Entry>,
    /// The distributions by name.
    pub distributions: BTreeMap<String, Vec<Entry>>,
    /// Files of the environment itself, accounts, files that no distribution owns.
    pub environment: Vec<Entry>,
    /// The project's source.
    pub source: Vec<Entry>,
    /// The layers that a program adds, below the source.
    pub(crate) extra: Vec<ExtraEntries>,
}

impl Pieces {
    /// Returns everything below the added layers and the source, in the order of layers.
    pub(crate) fn environment_entries(&self) -> impl Iterator<Item = &Entry> {
        let Self { system, interpreter, distributions, environment, source: _, extra: _ } = self;
        system.iter().chain(interpreter).chain(distributions.values().flatten()).chain(environment)
    }

    /// Gives the added directories that exist below the attributes that they have there.
    pub(crate) fn settle_extra(&mut self) {
        if self.extra.is_empty() {
            return;
        }
        let mut extra = std::mem::take(&mut self.extra);
        // `None` for a directory that only the paths of other entries imply.
        let mut directories: BTreeMap<ImagePath, Option<Entry>> = BTreeMap::new();
        let add = |entry: &Entry, directories: &mut BTreeMap<ImagePath, Option<Entry>>| {
            let mut above = entry.path.parent();
            while let Some(directory) =
                above.filter(|path| !path.is_root() && !directories.contains_key(path))
            {
                above = directory.parent();
                directories.insert(directory, None);
            }
            if entry.is_directory() {
                directories.insert(entry.path.clone(), Some(entry.clone()));
            }
        };
        self.environment_entries().for_each(|entry| add(entry, &mut directories));
        for layer in &mut extra {
            for entry in layer.entries.iter_mut().filter(|entry| entry.is_directory()) {
                match directories.get(&entry.path) {
                    Some(Some(known)) => *entry = Entry { owner: entry.owner.clone(), ..known.clone() },
                    Some(None) => *entry = Entry::directory(entry.path.clone(), entry.owner.clone()),
                    None => {}
                }
            }
            layer.entries.iter().for_each(|entry| add(entry, &mut directories));
        }
        self.extra = extra;
    }
}

/// Splits `pieces` into at most `budget` layers, and those that a program adds.
///
/// # Errors
/// If two entries conflict at one path, or an entry is below a link.
pub(crate) fn split(pieces: Pieces, budget: u16) -> Result<Vec<PlannedLayer>, TreeError> {
    let Pieces { system, interpreter, distributions, environment, source, extra } = pieces;
    let mut groups: Vec<Group> = Vec::new();
    let large = large(&distributions, budget.saturating_sub(OTHER_GROUPS));
    let mut rest = Vec::new();
    let mut own = BTreeMap::new();
    for (name, entries) in distributions {
        match large.iter().position(|(large, _)| *large == name) {
            Some(rank) => {
                own.insert(rank, (name, entries));
            }
            None => rest.extend(entries),
        }
    }
    groups.push(Group::new(
        "system",
        "shared libraries and files of the system, changed by its updates",
        system,
    ));
    groups.push(Group::new("interpreter", "changed by a new Python", interpreter));
    for (rank, (name, entries)) in own {
        let reason = format!(
            "{} in one distribution: one digest wherever its wheel is installed",
            human_size(large[rank].1)
        );
        groups.push(Group { name, reason, entries, replacing: false });
    }
    groups.push(Group::new("dependencies", "the distributions that have no layer of their own", rest));
    groups.push(Group::new("environment", "links, accounts and settings of the environment", environment));
    groups.push(Group::source(source));
    groups.retain(|group| !group.entries.is_empty());
    let mut groups = merge(groups, budget);
    // A source that shares its layer stays below.
    let at = groups.iter().rposition(|group| group.name == SOURCE).unwrap_or(groups.len());
    groups.splice(at..at, extra.into_iter().map(Group::extra));
    let order = PathOrder::of(&groups.iter().map(Group::ordered).collect::<Vec<_>>());
    if order == PathOrder::Unsettled {
        conflicts(&groups)?;
    }
    build(groups, order, BTreeMap::new())
}

/// The entries of one layer.
pub(super) struct Group {
    name: String,
    reason: String,
    entries: Vec<Entry>,
    /// True if a file may replace one of a lower group.
    replacing: bool,
}

impl Group {
    fn new(name: &str, reason: &str, entries: Vec<Entry>) -> Self {
        Self { name: name.to_owned(), reason: reason.to_owned(), entries, replacing: false }
    }

    /// Makes the group of a layer that a program adds.
    pub(super) fn extra(extra: ExtraEntries) -> Self {
        let ExtraEntries { name, reason, replacing, entries } = extra;
        Self { name, reason, entries, replacing }
    }

    /// Makes the group of the uppermost layer.
    pub(super) fn source(entries: Vec<Entry>) -> Self {
        Self::new(SOURCE, "changed at every commit", entries)
    }

    fn ordered(&self) -> GroupEntries<'_> {
        GroupEntries { entries: &self.entries, replacing: self.replacing }
    }
}

/// The entries of a group to be ordered.
#[derive(Clone, Copy)]
pub(super) struct GroupEntries<'a> {
    pub(super) entries: &'a [Entry],
    /// As in [`Group`].
    pub(super) replacing: bool,
}

/// Returns the distributions with a layer to themselves and their sizes, the largest first. Ignores
/// bytecode: its amount depends on settings, and the split must not.
fn large(distributions: &BTreeMap<String, Vec<Entry>>, slots: u16) -> Vec<(String, u64)> {
    let without_bytecode = |entry: &&Entry| !entry.path.as_str().ends_with(".pyc");
    let mut sizes: Vec<(String, u64)> = distributions
        .iter()
        .map(|(name, entries)| {
            (name.clone(), entries.iter().filter(without_bytecode).map(Entry::size_hint).sum::<u64>())
        })
        .filter(|(_, size)| *size >= MIN_OWN_LAYER_BYTES)
        .collect();
    sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sizes.truncate(slots.into());
    sizes
}

/// Joins groups until they fit the budget: neighbors that change equally often first, the source
/// last.
fn merge(mut groups: Vec<Group>, budget: u16) -> Vec<Group> {
    let budget = usize::from(budget.max(1));
    for (first, second) in [
        ("dependencies", "environment"),
        ("system", "interpreter"),
        ("system and interpreter", "dependencies and environment"),
        ("system and interpreter and dependencies and environment", SOURCE),
    ] {
        if groups.len() <= budget {
            break;
        }
        let at = groups.iter().position(|group| group.name == first);
        if let Some(at) = at.filter(|at| groups.get(at + 1).is_some_and(|next| next.name == second)) {
            let next = groups.remove(at + 1);
            let group = &mut groups[at];
            group.name = format!("{} and {}", group.name, next.name);
            "together, as the budget of layers is small".clone_into(&mut group.reason);
            group.entries.extend(next.entries);
        }
    }
    // A group may be empty, hence missing above. The last resort ignores names.
    while groups.len() > budget {
        let last = groups.len() - 2;
        let next = groups.remove(last + 1);
        groups[last].name = format!("{} and {}", groups[last].name, next.name);
        groups[last].entries.extend(next.entries);
    }
    groups
}

/// Finds conflicts among all groups: layers hide one another, so one layer alone does not show
/// them.
fn conflicts(groups: &[Group]) -> Result<(), TreeError> {
    let mut all = Tree::new();
    for group in groups {
        let mut own = Tree::new();
        for entry in &group.entries {
            if group.replacing && !entry.is_directory() {
                insert(&mut own, entry.clone())?;
                if all.get(&entry.path).is_some_and(|lower| !lower.is_directory()) {
                    all.replace(entry.clone())?;
                    continue;
                }
            }
            insert(&mut all, entry.clone())?;
        }
    }
    Ok(())
}

/// Inserts an entry. Accepts a file of two distributions: installers overwrite one with the other,
/// so one exists on disk.
fn insert(tree: &mut Tree, entry: Entry) -> Result<(), TreeError> {
    let shared = |owner: &Owner| matches!(owner, Owner::Distribution { .. });
    match tree.insert(entry) {
        Err(TreeError::Twice { first, second, .. }) if shared(&first) && shared(&second) => Ok(()),
        other => other,
    }
}

/// Result of sorting the paths of all groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PathOrder {
    /// No conflicts. For each group the indices of its entries, ordered by path; of a file shared
    /// between distributions in one group, the first.
    Settled(Vec<Vec<usize>>),
    /// Some entries may conflict; the order of insertion decides.
    Unsettled,
}

impl PathOrder {
    pub(super) fn of(groups: &[GroupEntries<'_>]) -> Self {
        let mut all: Vec<(&Entry, usize, usize)> = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            all.extend(group.entries.iter().enumerate().map(|(place, entry)| (entry, number, place)));
        }
        all.sort_by(|(one, ..), (two, ..)| one.path.cmp(&two.path));
        let mut places = vec![Vec::new(); groups.len()];
        let mut last: Option<(&Entry, usize)> = None;
        for (entry, number, place) in all {
            if let Some((previous, last_number)) = last {
                let same = previous.path == entry.path;
                let are_files = same && !previous.is_directory() && !entry.is_directory();
                let is_replaced = are_files && last_number != number && groups[number].replacing;
                let is_shared = are_files && is_shared(previous) && is_shared(entry);
                if is_shared && last_number == number {
                    // Each layer contains the file once.
                    continue;
                }
                let is_below_file = !previous.is_directory() && entry.path.starts_with(&previous.path);
                let conflicts = is_below_file || same && !entry.is_directory();
                if conflicts && !is_replaced && !is_shared {
                    return Self::Unsettled;
                }
            }
            last = Some((entry, number));
            places[number].push(place);
        }
        Self::Settled(places)
    }
}

/// Returns true if another distribution may contain the same file.
fn is_shared(entry: &Entry) -> bool {
    !entry.is_directory() && matches!(entry.owner, Owner::Distribution { .. })
}

/// Makes the layers of `groups`. `named` holds the directories with an entry in a lower layer.
pub(super) fn build(
    groups: Vec<Group>,
    order: PathOrder,
    mut named: BTreeMap<ImagePath, Entry>,
) -> Result<Vec<PlannedLayer>, TreeError> {
    // A parent directory without an entry of its own in a layer repeats the attributes from the
    // layer below: the upper entry would replace them.
    let mut orders = match order {
        PathOrder::Settled(places) => places.into_iter().map(Some).collect(),
        PathOrder::Unsettled => Vec::new(),
    }
    .into_iter();
    let mut layers = Vec::new();
    for group in groups {
        let mut tree = Tree::new();
        // Explicit directories before implied ones: the tree keeps the first.
        for directory in group.entries.iter().filter(|entry| entry.is_directory()) {
            named.insert(directory.path.clone(), directory.clone());
            add_known_parents(&mut tree, &named, &directory.path)?;
            insert(&mut tree, directory.clone())?;
        }
        let is_file = |entry: &Entry| !entry.is_directory();
        match orders.next().flatten() {
            None => {
                for file in group.entries.into_iter().filter(is_file) {
                    add_known_parents(&mut tree, &named, &file.path)?;
                    insert(&mut tree, file)?;
                }
            }
            Some(places) => {
                let mut last: Option<&str> = None;
                for file in group.entries.iter().filter(|entry| is_file(entry)) {
                    let parent = file.path.as_str().rsplit_once('/').map(|(parent, _)| parent);
                    // Consecutive files often share a directory.
                    if parent.is_some() && parent != last {
                        add_known_parents(&mut tree, &named, &file.path)?;
                        add_missing_parents(&mut tree, file)?;
                        last = parent;
                    }
                }
                let mut entries: Vec<Option<Entry>> = group.entries.into_iter().map(Some).collect();
                let in_order = places.into_iter().filter_map(|place| entries.get_mut(place)?.take());
                tree.insert_sorted(in_order.filter(is_file));
            }
        }
        layers.push(PlannedLayer { name: group.name, reason: group.reason, tree });
    }
    Ok(layers)
}

/// Inserts the known directories above `path` into `tree`.
fn add_known_parents(
    tree: &mut Tree,
    named: &BTreeMap<ImagePath, Entry>,
    path: &ImagePath,
) -> Result<(), TreeError> {
    if path.parent().is_some_and(|parent| tree.get(&parent).is_some_and(Entry::is_directory)) {
        // The directory is present, and with it all above.
        return Ok(());
    }
    for parent in path.parents() {
        if let Some(known) = named.get(&parent) {
            insert(tree, known.clone())?;
        }
    }
    Ok(())
}

/// Inserts the missing directories above `file` into `tree`, with the same owner.
fn add_missing_parents(tree: &mut Tree, file: &Entry) -> Result<(), TreeError> {
    let parent = file.path.parent().unwrap_or_default();
    if parent.is_root() || tree.contains(&parent) {
        return Ok(());
    }
    tree.insert(Entry::directory(parent, file.owner.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str, size: usize, owner: Owner) -> Entry {
        Entry::file(ImagePath::new(path).unwrap(), vec![0; size].into(), owner)
    }

    fn distribution(name: &str, size: usize) -> (String, Vec<Entry>) {
        let owner = Owner::Distribution { name: name.into(), version: "1".into() };
        (name.to_owned(), vec![file(&format!("v/{name}"), size, owner)])
    }

    fn pieces() -> Pieces {
        Pieces {
            system: vec![file("etc/a", 1, Owner::System)],
            interpreter: vec![file("usr/python", 1, Owner::Interpreter)],
            distributions: [
                distribution("big", 5_000_000),
                distribution("bigger", 6_000_000),
                distribution("small", 10),
            ]
            .into(),
            environment: vec![file("v/cfg", 1, Owner::Environment)],
            source: vec![file("app/main.py", 1, Owner::Source)],
            extra: Vec::new(),
        }
    }

    /// The pieces with a layer `extra`.
    fn with(entries: Vec<Entry>, replacing: bool) -> Pieces {
        let extra = ExtraEntries { name: "extra".to_owned(), reason: String::new(), replacing, entries };
        let mut pieces = Pieces { extra: vec![extra], ..pieces() };
        pieces.settle_extra();
        pieces
    }

    fn extra(path: &str) -> Entry {
        file(path, 1, Owner::Extra { layer: "extra".into() })
    }

    fn names(budget: u16) -> Vec<String> {
        split(pieces(), budget).unwrap().into_iter().map(|layer| layer.name).collect()
    }

    #[test]
    fn layers_are_ordered_by_how_seldom_they_change() {
        assert_eq!(
            names(10),
            ["system", "interpreter", "bigger", "big", "dependencies", "environment", "source"]
        );
    }

    #[test]
    fn by_default_no_large_distribution_shares_a_layer() {
        let default = crate::recipe::Recipe::resolve(
            crate::recipe::Target::Runtime,
            None,
            crate::settings::Settings::default(),
        );
        let mut pieces = pieces();
        for number in 0..8 {
            let (name, entries) = distribution(&format!("large{number}"), 4_000_000);
            pieces.distributions.insert(name, entries);
        }
        let layers = split(pieces, default.unwrap().layers).unwrap();
        let shared = layers.iter().find(|layer| layer.name == "dependencies").unwrap();
        assert_eq!(shared.tree.file_count(), 1);
        assert_eq!(layers.len(), 5 + 10);
    }

    #[test]
    fn a_small_budget_joins_what_changes_together() {
        assert_eq!(names(6), ["system", "interpreter", "bigger", "dependencies", "environment", "source"]);
        assert_eq!(names(4), ["system", "interpreter", "dependencies and environment", "source"]);
        assert_eq!(names(3), ["system and interpreter", "dependencies and environment", "source"]);
        assert_eq!(names(2), ["system and interpreter and dependencies and environment", "source"]);
        assert_eq!(names(1).len(), 1);
    }

    #[test]
    fn a_distribution_layer_has_no_other_files() {
        let layers = split(pieces(), 10).unwrap();
        let big = layers.iter().find(|layer| layer.name == "big").unwrap();
        let paths: Vec<_> = big.tree.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["v", "v/big"]);
    }

    #[test]
    fn directory_attributes_are_repeated_in_upper_layers() {
        let mut pieces = pieces();
        let tmp = ImagePath::new("tmp").unwrap();
        pieces.system.push(Entry::directory(tmp.clone(), Owner::System).with_mode(0o1777));
        pieces.source.push(file("tmp/x", 1, Owner::Source));
        let layers = split(pieces, 10).unwrap();
        assert_eq!(layers.last().unwrap().tree.get(&tmp).unwrap().mode, 0o1777);
    }

    #[test]
    fn an_added_layer_lies_below_the_source_and_counts_towards_no_budget() {
        let names = |budget| -> Vec<String> {
            let layers = split(with(vec![extra("opt/x")], false), budget).unwrap();
            layers.into_iter().map(|layer| layer.name).collect()
        };
        assert_eq!(names(10)[5..], ["environment", "extra", "source"]);
        assert_eq!(names(2)[1..], ["extra", "source"]);
        assert_eq!((names(1).len(), names(1)[1].as_str()), (2, "extra"));
    }

    #[test]
    fn an_added_file_replaces_only_with_permission() {
        for (path, replacing, works) in [
            ("etc/a", false, false),
            ("etc/a", true, true),
            ("v/big", true, true),
            // A directory, a path below a file, and the source.
            ("etc", true, false),
            ("etc/a/b", true, false),
            ("app/main.py", true, false),
        ] {
            let layers = split(with(vec![extra(path)], replacing), 10);
            assert_eq!(layers.is_ok(), works, "{path}");
            if let Ok(layers) = layers {
                let own = layers.iter().find(|layer| layer.name == "extra").unwrap();
                assert!(own.tree.contains(&ImagePath::new(path).unwrap()));
            }
        }
        assert!(split(with(vec![extra("opt/x"), extra("opt/x")], true), 10).is_err());
    }

    #[test]
    fn an_added_directory_keeps_the_attributes_of_the_one_below() {
        let path = |text: &str| ImagePath::new(text).unwrap();
        let directory = |text| Entry::directory(path(text), Owner::Source).with_mode(0o700);
        let mut all = pieces();
        all.system.push(Entry::directory(path("tmp"), Owner::System).with_mode(0o1777));
        let entries =
            vec![directory("tmp"), directory("usr"), directory("opt"), extra("opt/x"), extra("tmp/x")];
        all.extra = with(entries, false).extra;
        all.settle_extra();
        let layers = split(all, 10).unwrap();
        let own = layers.iter().find(|layer| layer.name == "extra").unwrap();
        let mode = |text| own.tree.get(&path(text)).unwrap().mode;
        assert_eq!((mode("tmp"), mode("usr"), mode("opt")), (0o1777, 0o755, 0o700));
    }

    #[test]
    fn a_file_below_a_link_of_another_layer_is_a_conflict() {
        let mut pieces = pieces();
        pieces.system.push(Entry::symlink(ImagePath::new("lib").unwrap(), "usr/lib", Owner::System));
        pieces.source.push(file("lib/x", 1, Owner::Source));
        assert!(matches!(split(pieces, 10), Err(TreeError::NotADirectory { .. })));
    }

    #[test]
    fn distributions_may_share_a_file() {
        let mut pieces = pieces();
        for name in ["one", "two"] {
            let owner = Owner::Distribution { name: name.into(), version: "1".into() };
            pieces.distributions.insert(name.to_owned(), vec![file("v/tests/__init__.py", 0, owner)]);
        }
        assert!(split(pieces, 10).is_ok());
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_and_no_file_is_lost(budget in 1u16..20) {
            let layers = split(pieces(), budget).unwrap();
            prop_assert!(layers.len() <= budget.into());
            let files: usize = layers.iter().map(|layer| layer.tree.file_count()).sum();
            prop_assert_eq!(files, 7);
        }
    }
}
