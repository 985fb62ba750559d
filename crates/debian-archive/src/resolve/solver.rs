//! The search by SAT, with `resolvo`: each candidate is the only version of its name.

use std::cell::{Cell, RefCell};
use std::fmt::Display;

use resolvo::{
    Candidates as SolverCandidates, Condition, ConditionId, Dependencies, DependencyProvider, Interner,
    KnownDependencies, NameId, Problem, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled,
    VersionSetId, VersionSetUnionId,
};

use super::ResolveError;
use super::candidates::Candidates;

/// A name without candidates, for dependencies that nothing satisfies. The solver's ids are those of candidates plus one:
/// they are indexes of its tables.
const NOTHING: u32 = 0;

/// Most rounds of the solver: satisfiability takes exponential time in general.
const MAX_ROUNDS: usize = 1_000_000;

/// Finds a set without conflicts, or proves that there is none.
pub(super) fn solve(
    candidates: &mut Candidates<'_>,
    roots: &[usize],
) -> Result<Option<Vec<usize>>, ResolveError> {
    let mut wanted = roots.to_vec();
    wanted.extend(candidates.installed());
    let provider = Provider {
        state: RefCell::new(Shared { candidates, error: None, unions: Vec::new() }),
        rounds: Cell::new(0),
    };
    let requirements =
        wanted.iter().map(|id| provider.state.borrow_mut().union(vec![solver_id(*id)]).into()).collect();
    let mut solver = Solver::new(provider);
    let solution = solver.solve(Problem::new().requirements(requirements));
    if let Some(error) = solver.provider().state.borrow_mut().error.take() {
        return Err(error);
    }
    match solution {
        Ok(ids) => Ok(Some(ids.into_iter().map(|id| id.into_raw() as usize - 1).collect())),
        Err(UnsolvableOrCancelled::Unsolvable(_)) => Ok(None),
        Err(UnsolvableOrCancelled::Cancelled(_)) => {
            Err(ResolveError::Limit { reason: "more than 1,000,000 rounds of the solver" })
        }
    }
}

/// Names, solvables and version sets have the same ids: a name has one solvable, which its version set contains.
struct Provider<'c, 'a> {
    state: RefCell<Shared<'c, 'a>>,
    /// Rounds of the solver so far.
    rounds: Cell<usize>,
}

struct Shared<'c, 'a> {
    candidates: &'c mut Candidates<'a>,
    /// The first error of a relation: the solver's interface has none.
    error: Option<ResolveError>,
    /// The candidates of each dependency.
    unions: Vec<Vec<u32>>,
}

impl Shared<'_, '_> {
    fn union(&mut self, solutions: Vec<u32>) -> VersionSetUnionId {
        self.unions.push(if solutions.is_empty() { vec![NOTHING] } else { solutions });
        VersionSetUnionId(
            u32::try_from(self.unions.len() - 1).expect("a resolution has at most 2^32 dependencies"),
        )
    }
}

/// Returns the solver's id of a candidate.
fn solver_id(id: usize) -> u32 {
    u32::try_from(id + 1).expect("a universe has at most 2^32 packages")
}

impl Interner for Provider<'_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        solvable.into_raw()
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        name.into_raw()
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        version_set.0
    }

    fn display_string(&self, string_id: StringId) -> impl Display + '_ {
        string_id.0
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        NameId::from_raw(version_set.0)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_raw(solvable.into_raw())
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.state.borrow().unions[union.0 as usize].clone().into_iter().map(VersionSetId)
    }

    fn resolve_condition(&self, _condition: ConditionId) -> Condition {
        unreachable!("no requirement has a condition")
    }
}

impl DependencyProvider for Provider<'_, '_> {
    /// A dependency's version set contains the candidate of its name, and a conflict's (`inverse`) excludes that candidate.
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        _version_set: VersionSetId,
        _inverse: bool,
    ) -> Vec<SolvableId> {
        candidates.to_vec()
    }

    async fn get_candidates(&self, name: NameId) -> Option<SolverCandidates> {
        let id = name.into_raw();
        (id != NOTHING).then(|| SolverCandidates {
            candidates: vec![SolvableId::from_raw(id)],
            ..SolverCandidates::default()
        })
    }

    async fn sort_candidates(&self, _solver: &SolverCache<Self>, _solvables: &mut [SolvableId]) {}

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let mut state = self.state.borrow_mut();
        let id = solvable.into_raw() as usize - 1;
        let needs = match state.candidates.needs(id) {
            Ok(needs) => needs,
            Err(error) => {
                state.error.get_or_insert(error);
                return Dependencies::Unknown(StringId(0));
            }
        };
        let mut known = KnownDependencies::default();
        for dependency in needs.dependencies.iter().filter(|dependency| dependency.mandatory) {
            let solutions = dependency.solutions.iter().map(|id| solver_id(*id)).collect();
            known.requirements.push(state.union(solutions).into());
        }
        for (other, _) in &needs.conflicts {
            let both_installed = state.candidates.is_installed(id) && state.candidates.is_installed(*other);
            if !both_installed {
                known.constrains.push(VersionSetId(solver_id(*other)));
            }
        }
        Dependencies::Known(known)
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn std::any::Any>> {
        self.rounds.set(self.rounds.get() + 1);
        let failed = self.state.try_borrow().is_ok_and(|state| state.error.is_some());
        (failed || self.rounds.get() > MAX_ROUNDS).then(|| Box::new(()) as Box<dyn std::any::Any>)
    }
}
