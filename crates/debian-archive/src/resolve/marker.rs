//! apt's search: `pkgDepCache::MarkInstall` of apt 2.6, for packages that are all new.
//!
//! A package is marked, then the first solution of each dependency that no marked package satisfies, depth first. A solution
//! that fails is discarded for good, and the next one is tried. Protected packages, the wanted ones and those
//! to which there is no alternative, may not be unmarked by a conflict.

use super::candidates::{Candidates, Needs};
use super::{ResolveError, UnmetDependency};

/// Deepest chain of packages. The deepest in Debian has about 100.
const MAX_DEPTH: usize = 1000;
/// A package of a chain needs less stack, in bytes, also in code that is not optimized.
const STACK_OF_PACKAGE: usize = 64 * 1024;
/// Bytes by which the stack grows: a thread of another program may have a small one.
const STACK_STEP: usize = 1024 * 1024;
/// Most visits of packages: those that unmark each other could be visited an exponential number of times.
const MAX_VISITS: usize = 1_000_000;
/// Most reasons of an error.
const MAX_REASONS: usize = 8;

/// The state of the search.
pub(super) struct Marker<'c, 'a> {
    pub(super) candidates: &'c mut Candidates<'a>,
    roots: Vec<usize>,
    states: Vec<State>,
    visits: usize,
}

/// The state of one candidate.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    marked: bool,
    /// A conflict may not unmark the package.
    protected: bool,
    /// The package cannot be installed.
    discarded: bool,
    /// The package whose dependency this one satisfies.
    parent: Option<usize>,
}

/// The dependencies of a marked package are followed, or left for a later call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    Dependencies,
    Nothing,
}

impl<'c, 'a> Marker<'c, 'a> {
    pub(super) fn new(candidates: &'c mut Candidates<'a>, roots: &[usize]) -> Self {
        let mut marker = Self { candidates, roots: roots.to_vec(), states: Vec::new(), visits: 0 };
        for id in marker.candidates.installed() {
            let state = marker.state(id);
            (state.marked, state.protected) = (true, true);
        }
        marker
    }

    fn state(&mut self, id: usize) -> &mut State {
        if self.states.len() <= id {
            let length = self.candidates.len().max(id + 1);
            self.states.resize(length, State::default());
        }
        &mut self.states[id]
    }

    /// Marks the wanted packages, then their dependencies.
    pub(super) fn run(&mut self) -> Result<(), ResolveError> {
        for id in self.roots.clone() {
            let state = self.state(id);
            (state.marked, state.protected) = (true, true);
        }
        for id in self.roots.clone() {
            if !self.candidates.is_installed(id) {
                self.mark(id, Follow::Dependencies, 0)?;
            }
        }
        Ok(())
    }

    /// Returns the marked candidates.
    pub(super) fn selected(&self) -> Vec<usize> {
        (0..self.states.len()).filter(|id| self.states[*id].marked).collect()
    }

    /// `MarkInstall`: marks a candidate and, with it, solutions of its dependencies. Returns `false` if that is not possible.
    fn mark(&mut self, id: usize, follow: Follow, depth: usize) -> Result<bool, ResolveError> {
        let state = *self.state(id);
        if state.discarded {
            return Ok(false);
        }
        if !state.protected && state.marked {
            return Ok(true);
        }
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(ResolveError::Limit { reason: "more than 1,000,000 visits of packages" });
        }
        if depth > MAX_DEPTH {
            return Err(ResolveError::Limit { reason: "a chain of more than 1000 dependencies" });
        }
        if follow == Follow::Nothing {
            self.state(id).marked = true;
            return Ok(true);
        }
        let needs = self.candidates.needs(id)?;
        if !self.is_satisfiable(&needs) {
            if !state.protected {
                self.discard(id);
            }
            return Ok(false);
        }
        let root = depth == 0;
        let mut failed = !self.unmark_conflicts(&needs, state.protected);
        if failed && !state.protected && !root {
            return Ok(false);
        }
        let state_before = state.protected;
        let state = self.state(id);
        (state.marked, state.protected) = (true, true);
        failed |= !stacker::maybe_grow(STACK_OF_PACKAGE, STACK_STEP, || {
            self.mark_dependencies(id, &needs, state_before, depth)
        })?;
        self.state(id).protected = state_before;
        if failed && !state_before {
            self.discard(id);
        }
        Ok(!failed)
    }

    /// `IsInstallOkDependenciesSatisfiableByCandidates`: each dependency has a candidate that is not discarded.
    fn is_satisfiable(&mut self, needs: &Needs) -> bool {
        needs
            .dependencies
            .iter()
            .filter(|dependency| dependency.mandatory)
            .all(|dependency| dependency.solutions.iter().any(|id| !self.state(*id).discarded))
    }

    fn discard(&mut self, id: usize) {
        let state = self.state(id);
        (state.marked, state.discarded) = (false, true);
    }

    /// `RemoveConflictsIfNotUpgradeable`: unmarks marked packages with which `needs` conflicts. A protected package
    /// forbids the others for good.
    fn unmark_conflicts(&mut self, needs: &Needs, protected: bool) -> bool {
        let mut possible = true;
        for (other, _) in &needs.conflicts {
            let state = self.state(*other);
            if state.protected {
                possible &= !state.marked;
            } else if state.marked || protected {
                state.marked = false;
                state.discarded |= protected;
            }
        }
        possible
    }

    /// `MarkInstall_InstallDependencies`.
    fn mark_dependencies(
        &mut self,
        id: usize,
        needs: &Needs,
        protected: bool,
        depth: usize,
    ) -> Result<bool, ResolveError> {
        let mut complete = true;
        for dependency in &needs.dependencies {
            let solutions: Vec<_> =
                dependency.solutions.iter().copied().filter(|id| !self.state(*id).discarded).collect();
            let satisfied = solutions.iter().any(|id| self.state(*id).marked);
            let only = (protected && dependency.mandatory && solutions.len() == 1).then(|| solutions[0]);
            if satisfied {
                if let Some(only) = only.filter(|only| !self.states[*only].protected) {
                    self.state(only).protected = true;
                    complete &= self.mark(only, Follow::Dependencies, depth + 1)?;
                }
                continue;
            }
            let mut solved = false;
            for solution in solutions {
                self.state(solution).parent.get_or_insert(id);
                if only.is_some() {
                    if !self.mark(solution, Follow::Nothing, depth + 1)? {
                        continue;
                    }
                    self.state(solution).protected = true;
                }
                if self.mark(solution, Follow::Dependencies, depth + 1)? {
                    solved = true;
                    break;
                }
            }
            if !solved && dependency.mandatory {
                complete = false;
                if !protected {
                    break;
                }
            }
        }
        Ok(complete)
    }

    /// Tells whether the marked packages satisfy all dependencies and conflict with none.
    pub(super) fn is_consistent(&mut self) -> Result<bool, ResolveError> {
        Ok(self.violations(1)?.is_empty())
    }

    /// Returns dependencies and conflicts of marked packages that are violated.
    fn violations(&mut self, limit: usize) -> Result<Vec<(usize, Violation)>, ResolveError> {
        let mut violations = Vec::new();
        for id in self.selected() {
            let needs = self.candidates.needs(id)?;
            for (index, dependency) in needs.dependencies.iter().enumerate() {
                let satisfied = dependency.solutions.iter().any(|id| self.state(*id).marked);
                if dependency.mandatory && !satisfied {
                    violations.push((id, Violation::Dependency(index)));
                }
            }
            for (index, (other, _)) in needs.conflicts.iter().enumerate() {
                let both_installed = self.candidates.is_installed(id) && self.candidates.is_installed(*other);
                if self.state(*other).marked && !both_installed {
                    violations.push((id, Violation::Conflict(index)));
                }
            }
            if violations.len() >= limit {
                break;
            }
        }
        Ok(violations)
    }

    /// Explains the failed search.
    pub(super) fn explain(&mut self) -> Result<ResolveError, ResolveError> {
        let mut reasons = Reasons::default();
        for (id, violation) in self.violations(MAX_REASONS)? {
            self.explain_violation(id, violation, &mut reasons, 0)?;
        }
        let Reasons { unmet, unfinished } = reasons;
        let mut unmet = if unmet.is_empty() { unfinished } else { unmet };
        unmet.dedup();
        unmet.truncate(MAX_REASONS);
        Ok(ResolveError::Unsatisfiable { unmet })
    }

    /// Adds the reasons of a violation: of a dependency whose solutions fail, the reasons of these.
    fn explain_violation(
        &mut self,
        id: usize,
        violation: Violation,
        reasons: &mut Reasons,
        depth: usize,
    ) -> Result<(), ResolveError> {
        let unmet = &mut reasons.unmet;
        if unmet.len() >= MAX_REASONS || depth > MAX_REASONS {
            return Ok(());
        }
        let needs = self.candidates.needs(id)?;
        match violation {
            Violation::Conflict(index) => {
                let (other, relation) = &needs.conflicts[index];
                let wanted = self.chain(*other);
                let by = match wanted.len() {
                    1 if self.candidates.is_installed(*other) => "is installed".to_owned(),
                    1 => "is wanted".to_owned(),
                    length => format!("is needed by {}", wanted[length - 2]),
                };
                let reason = format!("{relation}, and {} {by}", self.candidates.display(*other));
                unmet.push(UnmetDependency { chain: self.chain(id), reason });
            }
            Violation::Dependency(index) => {
                let dependency = &needs.dependencies[index];
                let before = unmet.len();
                for solution in &dependency.solutions {
                    self.state(*solution).parent.get_or_insert(id);
                    for violation in self.obstacles(*solution)? {
                        self.explain_violation(*solution, violation, reasons, depth + 1)?;
                    }
                }
                if reasons.unmet.len() == before {
                    let missing = self.candidates.describe_missing(&dependency.text);
                    let reason = format!("depends on {}, but {missing}", dependency.text);
                    let unmet = UnmetDependency { chain: self.chain(id), reason };
                    // A solution without an obstacle was not marked, because the search ended before.
                    let kind = if dependency.solutions.is_empty() {
                        &mut reasons.unmet
                    } else {
                        &mut reasons.unfinished
                    };
                    kind.push(unmet);
                }
            }
        }
        Ok(())
    }

    /// Returns what speaks against a candidate that is not marked.
    fn obstacles(&mut self, id: usize) -> Result<Vec<Violation>, ResolveError> {
        let needs = self.candidates.needs(id)?;
        let mut obstacles = Vec::new();
        for (index, (other, _)) in needs.conflicts.iter().enumerate() {
            if self.state(*other).marked {
                obstacles.push(Violation::Conflict(index));
            }
        }
        for (index, dependency) in needs.dependencies.iter().enumerate() {
            let possible = dependency.solutions.iter().any(|id| !self.state(*id).discarded);
            if dependency.mandatory && !possible {
                obstacles.push(Violation::Dependency(index));
            }
        }
        Ok(obstacles)
    }

    /// Returns the way from a wanted package to this one.
    fn chain(&mut self, id: usize) -> Vec<String> {
        let mut chain = vec![self.candidates.display(id)];
        let mut current = id;
        while let Some(parent) = self.state(current).parent {
            if self.roots.contains(&current) || chain.len() > 20 {
                break;
            }
            chain.push(self.candidates.display(parent));
            current = parent;
        }
        chain.reverse();
        chain
    }
}

/// The reasons of a failed search.
#[derive(Default)]
struct Reasons {
    unmet: Vec<UnmetDependency>,
    /// Dependencies on packages that nothing speaks against.
    unfinished: Vec<UnmetDependency>,
}

/// A relation of a package that does not hold: an index into its dependencies or conflicts.
#[derive(Debug, Clone, Copy)]
enum Violation {
    Dependency(usize),
    Conflict(usize),
}
