//! Planning of the source layer alone, on top of existing layers.

use serde::{Deserialize, Serialize};

use super::PlannedLayer;
use super::directory::Directory;
use super::layers::{Group, GroupEntries, PathOrder, Pieces, build};
use crate::tree::{Entry, ImagePath, Kind, Owner, Time, TreeError};

/// The parts of the lower layers that a source layer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LowerLayers {
    /// Directories that may receive source.
    places: Vec<ImagePath>,
    /// The source does not write to this directory, except below `places`.
    apart: ImagePath,
    /// Directories below and above `places` with an entry in a lower layer.
    directories: Vec<Directory>,
    /// Files and links there.
    others: Vec<ImagePath>,
}

impl LowerLayers {
    /// Extracts them from `pieces`, whose added directories are settled, without the source, which
    /// goes into `places` and not elsewhere into `apart`.
    pub(crate) fn of(pieces: &Pieces, places: Vec<ImagePath>, apart: ImagePath) -> Self {
        let is_near = |path: &ImagePath| {
            places.iter().any(|place| is_in(path, place, &apart) || place.starts_with(path)) || *path == apart
        };
        let (mut directories, mut others) = (Vec::new(), Vec::new());
        // In the order of layers: the uppermost entry of a directory counts.
        let extra = pieces.extra.iter().flat_map(|layer| &layer.entries);
        let all = pieces.environment_entries().chain(extra);
        for entry in all.filter(|entry| is_near(&entry.path)) {
            match (&entry.kind, entry.time) {
                (Kind::Directory, Time::At(_)) => directories.extend(Directory::of(entry)),
                _ => others.push(entry.path.clone()),
            }
        }
        Self { places, apart, directories, others }
    }

    /// Plans the layer of `source`, equal to the one that [`super::layers::split`] makes. Returns
    /// `None` if the other layers matter: the source conflicts with one, or lies outside `places`.
    pub(crate) fn layer(&self, source: Vec<Entry>) -> Result<Option<PlannedLayer>, TreeError> {
        let Some(order) = self.order(&source) else { return Ok(None) };
        let named = self.directories.iter().map(|directory| (directory.path.clone(), directory.entry()));
        Ok(build(vec![Group::source(source)], PathOrder::Settled(vec![order]), named.collect())?.pop())
    }

    /// Returns true if [`Self::layer`] plans the layer of `source`.
    pub(crate) fn accepts(&self, source: &[Entry]) -> bool {
        self.order(source).is_some()
    }

    /// Returns the indices of the entries of `source` ordered by path; `None` if the other layers
    /// matter.
    fn order(&self, source: &[Entry]) -> Option<Vec<usize>> {
        let is_expected = |entry: &Entry| {
            let path = &entry.path;
            // On a base, parent directories are included with the base's attributes.
            let is_parent = |place: &ImagePath| entry.is_directory() && place.starts_with(path);
            let hides_the_unknown = !entry.is_directory() && self.apart.starts_with(path);
            self.places.iter().any(|place| is_in(path, place, &self.apart) || is_parent(place))
                && !hides_the_unknown
        };
        if source.is_empty() || !source.iter().all(is_expected) {
            return None;
        }
        let others = self.others.iter().map(|path| Entry::file(path.clone(), "".into(), Owner::System));
        let below: Vec<Entry> = self.directories.iter().map(Directory::entry).chain(others).collect();
        let groups = [&below, source].map(|entries| GroupEntries { entries, replacing: false });
        match PathOrder::of(&groups) {
            PathOrder::Settled(mut orders) => orders.pop(),
            PathOrder::Unsettled => None,
        }
    }
}

/// Returns true if `path` is below `place`, and not below `apart` unless `place` is.
fn is_in(path: &ImagePath, place: &ImagePath, apart: &ImagePath) -> bool {
    path.starts_with(place) && (place.starts_with(apart) || !path.starts_with(apart))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::layers::split;
    use crate::tree::KeyHasher;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    fn identity(layer: &PlannedLayer) -> String {
        let mut fields = KeyHasher::new("test").text(&layer.name).text(&layer.reason);
        layer.tree.iter().for_each(|entry| entry.identify(&mut fields));
        fields.finish().hex()
    }

    /// The source layer's identity when planned with all others, and when planned alone.
    fn both(below: Vec<Entry>, source: Vec<Entry>) -> (Option<String>, Option<String>) {
        let pieces = Pieces { environment: below, ..Pieces::default() };
        let lower_layers = LowerLayers::of(
            &pieces,
            vec![path("app"), path("app/.venv/src/l"), path("v/src")],
            path("app/.venv"),
        );
        let alone = lower_layers.layer(source.clone()).unwrap();
        let all = split(Pieces { source, ..pieces }, 20).ok().and_then(|mut layers| layers.pop());
        (all.as_ref().map(identity), alone.as_ref().map(identity))
    }

    #[test]
    fn attributes_of_directories_below_are_kept() {
        let app = Entry::directory(path("app"), Owner::Environment).with_mode(0o700);
        let main = Entry::file(path("app/main.py"), "".into(), Owner::Source);
        let (all, alone) = both(vec![Entry { uid: 7, ..app }], vec![main]);
        assert!(all.is_some());
        assert_eq!(all, alone);
    }

    #[test]
    fn conflicting_entries_are_not_planned_alone() {
        let main = || vec![Entry::file(path("app/main.py"), "".into(), Owner::Source)];
        for (below, source) in [
            (Entry::file(path("app/main.py"), "".into(), Owner::Environment), main()),
            (Entry::file(path("app"), "".into(), Owner::Environment), main()),
            (Entry::file(path("app/main.py/x"), "".into(), Owner::Environment), main()),
            (Entry::file(path("x"), "".into(), Owner::Environment), vec![]),
            (
                Entry::file(path("x"), "".into(), Owner::Environment),
                vec![Entry::file(path("elsewhere/x"), "".into(), Owner::Source)],
            ),
            (
                Entry::file(path("x"), "".into(), Owner::Environment),
                vec![Entry::file(path("app/.venv/x"), "".into(), Owner::Source)],
            ),
        ] {
            assert_eq!(both(vec![below], source).1, None);
        }
    }

    fn entries(owner: Owner) -> impl Strategy<Value = Vec<Entry>> {
        let place = prop::sample::select(vec![
            "app",
            "app/a",
            "app/a/b",
            "app/a/b/c",
            "app/x",
            "v",
            "v/src/p",
            "v/src/p/q",
            "app/.venv",
            "app/.venv/src",
            "app/.venv/src/l",
            "app/.venv/src/l/x",
            "app/.venv/l",
        ]);
        let entry = (place, 0..4_u32, 0..3_u32).prop_map(move |(place, kind, uid)| {
            let entry = match kind {
                0 => Entry::file(path(place), "".into(), owner.clone()),
                1 => Entry::symlink(path(place), "x", owner.clone()),
                _ => Entry::directory(path(place), owner.clone()),
            };
            Entry { uid, ..entry }
        });
        prop::collection::vec(entry, 1..6)
    }

    proptest! {
        #[test]
        fn a_layer_planned_alone_equals_the_one_planned_with_all(
            below in entries(Owner::Environment),
            source in entries(Owner::Source),
        ) {
            // Layers that conflict with each other never exist.
            let mut fitting = Vec::new();
            for entry in below {
                let environment: Vec<Entry> = fitting.iter().cloned().chain([entry]).collect();
                if split(Pieces { environment: environment.clone(), ..Pieces::default() }, 20).is_ok() {
                    fitting = environment;
                }
            }
            let (all, alone) = both(fitting, source);
            if alone.is_some() {
                prop_assert_eq!(all, alone);
            }
        }
    }
}
