//! The packages of all suites of an archive, by name and by the virtual packages that they provide.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::index::{PackageRecord, Relations};
use crate::relation::{self, Comparison};

/// All packages to choose from.
#[derive(Debug, Default)]
pub struct Universe {
    records: Vec<PackageRecord>,
    /// The records by name; those of one name from the highest version to the lowest.
    by_name: Vec<u32>,
    /// `Provides` by name; those of one name in the order of the records.
    provides: Vec<Provide>,
    /// See [`Self::mention`].
    mentions: OnceLock<Vec<u32>>,
}

/// A virtual package of a record.
#[derive(Debug)]
pub(super) struct Provide {
    pub(super) name: Box<str>,
    pub(super) version: Option<Box<str>>,
    /// `Provides: name:any`.
    pub(super) any: bool,
    pub(super) record: u32,
}

impl Universe {
    /// Indexes the records of one or more indexes. Of equal versions, the first remains: give the suite that should be
    /// credited first.
    pub fn new(records: Vec<PackageRecord>) -> Self {
        let mut by_name: Vec<u32> = (0..).take(records.len()).collect();
        by_name.sort_by(|left, right| {
            let (left, right) = (&records[*left as usize], &records[*right as usize]);
            left.name.cmp(&right.name).then_with(|| right.version.cmp(&left.version))
        });
        let mut provides = Vec::new();
        for (record, index) in records.iter().zip(0..) {
            if record.relations.provides.is_empty() {
                continue;
            }
            // A `Provides` that cannot be parsed provides nothing.
            for relation in
                relation::parse(&record.relations.provides).unwrap_or_default().into_iter().flatten()
            {
                if relation.constraint.is_some_and(|constraint| constraint.comparison != Comparison::Equal) {
                    continue;
                }
                provides.push(Provide {
                    name: relation.name.into(),
                    version: relation.constraint.map(|constraint| constraint.version.into()),
                    any: relation.qualifier == relation::Qualifier::Any,
                    record: index,
                });
            }
        }
        provides.sort_by(|left, right| left.name.cmp(&right.name));
        Self { records, by_name, provides, mentions: OnceLock::new() }
    }

    /// Returns the packages of all suites.
    pub fn records(&self) -> &[PackageRecord] {
        &self.records
    }

    /// Returns all versions of a package, from the highest to the lowest.
    pub fn versions<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a PackageRecord> + use<'a> {
        self.indexes(name).iter().map(|index| &self.records[*index as usize])
    }

    /// Returns the package of this name and version.
    pub fn find(&self, name: &str, version: &str, architecture: &str) -> Option<&PackageRecord> {
        self.versions(name).find(|record| {
            record.version.as_str() == version
                && matches!(&*record.architecture, found if found == architecture || found == "all")
        })
    }

    pub(super) fn indexes(&self, name: &str) -> &[u32] {
        let name_of = |index: &u32| &*self.records[*index as usize].name;
        let start = self.by_name.partition_point(|index| name_of(index) < name);
        let length = self.by_name[start..].partition_point(|index| name_of(index) == name);
        &self.by_name[start..start + length]
    }

    pub(super) fn record(&self, index: u32) -> &PackageRecord {
        &self.records[index as usize]
    }

    /// Returns the rank of a record's name in the order in which the indexes mention names: as a package or in a relation.
    ///
    /// apt numbers packages so, and decides by the number between providers that are equal otherwise.
    pub(super) fn mention(&self, index: u32) -> u32 {
        self.mentions.get_or_init(|| self.mentions())[index as usize]
    }

    fn mentions(&self) -> Vec<u32> {
        let mut ranks: HashMap<&str, u32> =
            self.records.iter().map(|record| (&*record.name, u32::MAX)).collect();
        let mut next = 0;
        let mut mention = |name: &str| {
            if let Some(rank) = ranks.get_mut(name).filter(|rank| **rank == u32::MAX) {
                *rank = next;
                next += 1;
            }
        };
        for record in &self.records {
            mention(&record.name);
            fields_in_apts_order(&record.relations).into_iter().flat_map(names).for_each(&mut mention);
        }
        self.records.iter().map(|record| ranks[&*record.name]).collect()
    }

    pub(super) fn providers(&self, name: &str) -> &[Provide] {
        let start = self.provides.partition_point(|provide| &*provide.name < name);
        let length = self.provides[start..].partition_point(|provide| &*provide.name == name);
        &self.provides[start..start + length]
    }

    /// Returns up to three names of packages that resemble `name`, the most similar first.
    pub(super) fn nearest(&self, name: &str) -> Vec<String> {
        let limit = (name.chars().count() / 3).clamp(1, 4);
        let mut near: Vec<(usize, &str)> = Vec::new();
        let mut last = "";
        for index in &self.by_name {
            let known = &*self.records[*index as usize].name;
            if known == last || known.len().abs_diff(name.len()) > limit + 3 {
                continue;
            }
            last = known;
            // `libpq` for `libpq5`, `magic1` for `libmagic1`.
            let contained =
                name.len() >= 3 && (known.starts_with(name) || known.strip_prefix("lib") == Some(name));
            let distance = if contained { 1 } else { strsim::damerau_levenshtein(name, known) };
            if distance <= limit {
                near.push((distance, known));
            }
        }
        near.sort_unstable();
        near.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
    }
}

/// Returns the relations in the order in which apt reads them.
fn fields_in_apts_order(relations: &Relations) -> [&str; 9] {
    [
        &relations.pre_depends,
        &relations.depends,
        &relations.conflicts,
        &relations.breaks,
        &relations.recommends,
        &relations.suggests,
        &relations.replaces,
        &relations.enhances,
        &relations.provides,
    ]
}

/// Returns the names of a field. With an architecture qualifier, a name is another one for apt.
fn names(field: &str) -> impl Iterator<Item = &str> {
    field.split([',', '|']).map(|relation| {
        let relation = relation.trim_ascii_start();
        let end = relation.find(|letter: char| letter.is_ascii_whitespace() || letter == '(');
        &relation[..end.unwrap_or(relation.len())]
    })
}
