//! Candidates: the one version of each name that a resolution may take, and the relations between candidates.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::{Recommends, Request, ResolveError, ScriptDependencies, Universe, scripts};
use crate::index::{Installed, MultiArch, Priority, Relations};
use crate::relation::{self, Alternatives, Qualifier, Relation};
use crate::version;

/// The candidates that a resolution has met so far.
pub(super) struct Candidates<'a> {
    universe: &'a Universe,
    request: &'a Request<'a>,
    pool: Vec<Candidate<'a>>,
    /// The candidate of each name that was looked up.
    by_name: HashMap<Box<str>, Option<usize>>,
    /// Versions that the request names.
    pinned: BTreeMap<Box<str>, Box<str>>,
    installed: HashMap<&'a str, usize>,
    /// Virtual packages of installed packages.
    installed_provides: HashMap<&'a str, Vec<InstalledProvide<'a>>>,
}

/// A virtual package of an installed package.
struct InstalledProvide<'a> {
    id: usize,
    version: Option<&'a str>,
    /// `Provides: name:any`.
    any: bool,
}

/// A package that a resolution may take.
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) origin: Origin,
    multi_arch: MultiArch,
    essential: bool,
    protected: bool,
    priority: Priority,
    relations: &'a Relations,
    needs: Option<Rc<Needs>>,
}

/// The place of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The universe.
    Record(u32),
    /// The packages that are there already.
    Installed,
}

/// The relations of a candidate to others.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) dependencies: Vec<Dependency>,
    /// Candidates that may not be installed beside this one, each with the relation.
    pub(super) conflicts: Vec<(usize, String)>,
}

/// One dependency.
#[derive(Debug)]
pub(super) struct Dependency {
    /// As written.
    pub(super) text: String,
    /// `Recommends` are not mandatory.
    pub(super) mandatory: bool,
    /// Candidates that satisfy it, in apt's order of preference.
    pub(super) solutions: Vec<usize>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(universe: &'a Universe, request: &'a Request<'a>) -> Self {
        let mut candidates = Self {
            universe,
            request,
            pool: Vec::new(),
            by_name: HashMap::new(),
            pinned: BTreeMap::new(),
            installed: HashMap::new(),
            installed_provides: HashMap::new(),
        };
        for package in request.installed {
            if candidates.is_for_architecture(&package.architecture) {
                candidates.add_installed(package);
            }
        }
        candidates
    }

    fn add_installed(&mut self, package: &'a Installed) {
        let id = self.pool.len();
        self.pool.push(Candidate {
            name: &package.name,
            version: package.version.as_str(),
            origin: Origin::Installed,
            multi_arch: package.multi_arch,
            essential: false,
            protected: false,
            priority: Priority::Optional,
            relations: &package.relations,
            needs: None,
        });
        self.installed.insert(&package.name, id);
        for relation in relation::parse(&package.relations.provides).unwrap_or_default().into_iter().flatten()
        {
            self.installed_provides.entry(relation.name).or_default().push(InstalledProvide {
                id,
                version: relation.constraint.map(|constraint| constraint.version),
                any: relation.qualifier == Qualifier::Any,
            });
        }
    }

    fn is_for_architecture(&self, architecture: &str) -> bool {
        architecture == "all" || architecture == self.request.architecture
    }

    pub(super) fn len(&self) -> usize {
        self.pool.len()
    }

    pub(super) fn is_installed(&self, id: usize) -> bool {
        self.pool[id].origin == Origin::Installed
    }

    /// Returns the ids of the installed packages.
    pub(super) fn installed(&self) -> Vec<usize> {
        self.installed.values().copied().collect()
    }

    pub(super) fn record(&self, id: usize) -> Option<u32> {
        match self.pool[id].origin {
            Origin::Record(index) => Some(index),
            Origin::Installed => None,
        }
    }

    /// Returns the name and version for a message.
    pub(super) fn display(&self, id: usize) -> String {
        let candidate = &self.pool[id];
        format!("{} {}", candidate.name, candidate.version)
    }

    /// Makes `version` the candidate of `name`.
    pub(super) fn pin(&mut self, wanted: &str, name: &str, version: &str) -> Result<(), ResolveError> {
        if !relation::is_name(name) || !version::is_valid(version) {
            return Err(ResolveError::InvalidWanted { wanted: wanted.chars().take(80).collect() });
        }
        let two = |other: &str, installed| ResolveError::TwoVersions {
            name: name.to_owned(),
            version: version.to_owned(),
            other: other.to_owned(),
            installed,
        };
        if let Some(other) = self.pinned.get(name).filter(|other| ***other != *version) {
            return Err(two(other, false));
        }
        if let Some(id) = self.installed.get(name) {
            let other = self.pool[*id].version;
            return if version::compare(other, version).is_eq() { Ok(()) } else { Err(two(other, true)) };
        }
        if self.universe.find(name, version, self.request.architecture).is_none() {
            let available: Vec<_> =
                self.universe.versions(name).map(|record| record.version.to_string()).collect();
            if available.is_empty() {
                return Err(self.unknown(name));
            }
            return Err(ResolveError::UnknownVersion {
                name: name.to_owned(),
                version: version.to_owned(),
                available,
            });
        }
        self.pinned.insert(name.into(), version.into());
        Ok(())
    }

    /// Returns the candidate of a wanted name, or the provider of a virtual package that has only one.
    pub(super) fn named(&mut self, name: &str) -> Result<usize, ResolveError> {
        if !relation::is_name(name) {
            return Err(ResolveError::InvalidWanted { wanted: name.chars().take(80).collect() });
        }
        if let Some(id) = self.candidate(name) {
            return Ok(id);
        }
        let relation =
            Relation { name, qualifier: Qualifier::None, constraint: None, restrictions: Vec::new() };
        match *self.solutions(&relation) {
            [] => Err(self.unknown(name)),
            [id] => Ok(id),
            ref several => Err(ResolveError::VirtualPackage {
                name: name.to_owned(),
                providers: several.iter().map(|id| self.pool[*id].name.to_owned()).collect(),
            }),
        }
    }

    fn unknown(&self, name: &str) -> ResolveError {
        ResolveError::UnknownPackage { name: name.to_owned(), nearest: self.universe.nearest(name) }
    }

    /// Returns the candidates with `Essential: yes`.
    pub(super) fn essential(&mut self) -> Vec<usize> {
        let universe = self.universe;
        let essential = universe.records().iter().filter(|record| record.essential);
        let mut ids: Vec<_> = essential.filter_map(|record| self.candidate(&record.name)).collect();
        ids.retain(|id| self.pool[*id].essential || self.is_installed(*id));
        ids
    }

    /// Returns the candidate of a name: the installed package, else the pinned version, else the highest one.
    fn candidate(&mut self, name: &str) -> Option<usize> {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let id = match self.installed.get(name) {
            Some(id) => Some(*id),
            None => self.add_record(name),
        };
        self.by_name.insert(name.into(), id);
        id
    }

    fn add_record(&mut self, name: &str) -> Option<usize> {
        let universe = self.universe;
        let pinned = self.pinned.get(name);
        let index = universe.indexes(name).iter().copied().find(|index| {
            let record = universe.record(*index);
            self.is_for_architecture(&record.architecture)
                && pinned.is_none_or(|version| *record.version.as_str() == **version)
        })?;
        let record = universe.record(index);
        self.pool.push(Candidate {
            name: &record.name,
            version: record.version.as_str(),
            origin: Origin::Record(index),
            multi_arch: record.multi_arch,
            essential: record.essential,
            protected: record.protected,
            priority: record.priority,
            relations: &record.relations,
            needs: None,
        });
        Some(self.pool.len() - 1)
    }

    /// Returns the relations of a candidate. An installed package's dependencies are met, and its conflicts hold.
    pub(super) fn needs(&mut self, id: usize) -> Result<Rc<Needs>, ResolveError> {
        if let Some(needs) = &self.pool[id].needs {
            return Ok(Rc::clone(needs));
        }
        let (name, relations, installed) =
            (self.pool[id].name, self.pool[id].relations, self.is_installed(id));
        let parse = |field: &'a str| {
            relation::parse(field)
                .map_err(|source| ResolveError::Relation { package: name.to_owned(), source })
        };
        let mut needs = Needs::default();
        if !installed {
            let fields =
                [(&relations.pre_depends, true), (&relations.depends, true), (&relations.recommends, false)];
            for (field, mandatory) in fields {
                if !mandatory && self.request.recommends == Recommends::Omit {
                    continue;
                }
                for alternatives in parse(field)? {
                    needs.dependencies.extend(self.dependency(name, &alternatives, mandatory));
                }
            }
        }
        for (field, word) in [(&relations.conflicts, "conflicts with"), (&relations.breaks, "breaks")] {
            for relation in parse(field)?.into_iter().flatten() {
                if !relation.applies_to(self.request.architecture) {
                    continue;
                }
                for other in self.solutions(&relation) {
                    // A package that provides what it conflicts with is the only one of its kind.
                    if other != id && self.pool[other].name != name {
                        needs.conflicts.push((other, format!("{word} {relation}")));
                    }
                }
            }
        }
        let needs = Rc::new(needs);
        self.pool[id].needs = Some(Rc::clone(&needs));
        Ok(needs)
    }

    /// Adds the preferred solutions of dependencies of installed packages that only scripts use, where no root is one.
    pub(super) fn add_omitted(&mut self, roots: &mut Vec<usize>) -> Result<(), ResolveError> {
        let mut installed = self.installed();
        installed.sort_unstable();
        for id in installed {
            let (name, relations) = (self.pool[id].name, self.pool[id].relations);
            for field in [&relations.pre_depends, &relations.depends] {
                let dependencies = relation::parse(field)
                    .map_err(|source| ResolveError::Relation { package: name.to_owned(), source })?;
                for alternatives in dependencies {
                    if !scripts::only_scripts_use(name, &alternatives) {
                        continue;
                    }
                    let Some(dependency) = self.dependency(name, &alternatives, true) else { continue };
                    let is_met = |id: &usize| self.is_installed(*id) || roots.contains(id);
                    if !dependency.solutions.iter().any(is_met) {
                        roots.extend(dependency.solutions.first());
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the dependency, unless it is one of other architectures or, where those are omitted, of scripts alone.
    fn dependency(
        &mut self,
        package: &str,
        alternatives: &Alternatives<'_>,
        mandatory: bool,
    ) -> Option<Dependency> {
        let architecture = self.request.architecture;
        let alternatives: Vec<_> =
            alternatives.iter().filter(|relation| relation.applies_to(architecture)).cloned().collect();
        let omitted = self.request.script_dependencies == ScriptDependencies::Omit
            && scripts::only_scripts_use(package, &alternatives);
        if alternatives.is_empty() || omitted {
            return None;
        }
        let mut solutions = Vec::new();
        for relation in &alternatives {
            for id in self.solutions(relation) {
                if !solutions.contains(&id) {
                    solutions.push(id);
                }
            }
        }
        // Stable: apt tries installed packages of all alternatives first.
        solutions.sort_by_key(|id| !self.is_installed(*id));
        Some(Dependency { text: relation::display(&alternatives), mandatory, solutions })
    }

    /// Returns the candidates that satisfy a relation, in apt's order (`CompareProviders`).
    fn solutions(&mut self, relation: &Relation<'_>) -> Vec<usize> {
        let any = relation.qualifier == Qualifier::Any;
        if matches!(relation.qualifier, Qualifier::Architecture(name) if name != self.request.architecture) {
            return Vec::new();
        }
        let accepts =
            |version: &str| relation.constraint.as_ref().is_none_or(|constraint| constraint.accepts(version));
        let provided = |version: Option<&str>| version.map_or(relation.constraint.is_none(), accepts);
        let mut solutions = Vec::new();
        if let Some(id) = self.candidate(relation.name)
            && accepts(self.pool[id].version)
            && (!any || self.pool[id].multi_arch == MultiArch::Allowed)
        {
            solutions.push(id);
        }
        let universe = self.universe;
        for provide in universe.providers(relation.name) {
            if !provided(provide.version.as_deref()) {
                continue;
            }
            let record = universe.record(provide.record);
            if let Some(id) = self.candidate(&record.name)
                && self.pool[id].origin == Origin::Record(provide.record)
                && (any && record.multi_arch == MultiArch::Allowed || any == provide.any)
                && !solutions.contains(&id)
            {
                solutions.push(id);
            }
        }
        for provide in self.installed_provides.get(relation.name).into_iter().flatten() {
            let allowed = any && self.pool[provide.id].multi_arch == MultiArch::Allowed;
            if provided(provide.version)
                && (allowed || any == provide.any)
                && !solutions.contains(&provide.id)
            {
                solutions.push(provide.id);
            }
        }
        let key = |id: &usize| {
            let candidate = &self.pool[*id];
            (
                !self.is_installed(*id),
                candidate.name != relation.name,
                !candidate.essential,
                !candidate.protected,
                candidate.priority,
            )
        };
        // The last to be mentioned is preferred. The ranks, of which few relations have need, take 0.1 s.
        let mention = |id: &usize| self.record(*id).map(|index| universe.mention(index));
        solutions.sort_by(|left, right| {
            key(left).cmp(&key(right)).then_with(|| mention(right).cmp(&mention(left)))
        });
        solutions
    }

    /// Describes packages of the alternatives that do not satisfy a dependency.
    pub(super) fn describe_missing(&mut self, text: &str) -> String {
        let mut found = Vec::new();
        for relation in relation::parse(text).unwrap_or_default().into_iter().flatten() {
            match self.candidate(relation.name) {
                Some(id) if self.is_installed(id) => {
                    found.push(format!("{} is installed and stays as it is", self.display(id)));
                }
                Some(id) => found.push(format!("{} is available", self.display(id))),
                None => found.push(format!("no package `{}` is available", relation.name)),
            }
        }
        found.join(", ")
    }

    /// Returns the part of `selected` that the roots need.
    pub(super) fn reachable(
        &mut self,
        roots: &[usize],
        selected: &[usize],
    ) -> Result<Vec<usize>, ResolveError> {
        let mut state = vec![false; self.len()];
        let mut wanted = vec![false; self.len()];
        for id in selected {
            wanted[*id] = true;
        }
        let mut open = roots.to_vec();
        let mut reached = Vec::new();
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut state[id], true) {
                continue;
            }
            reached.push(id);
            for dependency in &self.needs(id)?.dependencies {
                open.extend(dependency.solutions.iter().filter(|id| wanted.get(**id) == Some(&true)));
            }
        }
        Ok(reached)
    }
}
