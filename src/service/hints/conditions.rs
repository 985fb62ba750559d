//! [`Conditions`]: the `if`, `case` and loops around a command of a script, as far as their tests are certain.
//!
//! A verdict is `Some(true)` for a branch that is taken, `Some(false)` for one that is not, and `None` if only a
//! running container can tell.

/// The conditions around a command, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    kind: ConditionKind,
    /// The verdict of the branch; of a test in progress, the value so far.
    branch: Option<bool>,
    /// The verdict of the branches that follow, before their own tests.
    rest: Option<bool>,
    state: ConditionState,
}

#[derive(Debug, PartialEq, Eq)]
enum ConditionKind {
    If,
    Loop,
    /// The word of a `case`, if it is known.
    Case(Option<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConditionState {
    /// Before the first command of a test.
    Test,
    /// The same behind `!`.
    NegatedTest,
    /// After a command of a test.
    Tested,
    Branch,
}

fn and(first: Option<bool>, second: Option<bool>) -> Option<bool> {
    match (first, second) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(first: Option<bool>, second: Option<bool>) -> Option<bool> {
    not(and(not(first), not(second)))
}

fn not(value: Option<bool>) -> Option<bool> {
    value.map(|value| !value)
}

impl Conditions {
    /// Returns the number of open conditions.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Closes the conditions beyond a number of open ones.
    pub(super) fn truncate(&mut self, depth: usize) {
        self.0.truncate(depth);
    }

    /// Returns the verdict of the current place.
    pub(super) fn verdict(&self) -> Option<bool> {
        let mut verdict = Some(true);
        for condition in &self.0 {
            let own = match condition.state {
                ConditionState::Branch => condition.branch,
                _ => condition.rest,
            };
            verdict = and(verdict, own);
        }
        verdict
    }

    /// Follows a keyword of the shell.
    pub(super) fn keyword(&mut self, word: &str) {
        let start =
            |kind| Condition { kind, branch: Some(true), rest: Some(true), state: ConditionState::Test };
        match word {
            "if" => self.0.push(start(ConditionKind::If)),
            "while" | "until" => self.0.push(start(ConditionKind::Loop)),
            "do" => {
                let is_tested = |last: &Condition| {
                    last.kind == ConditionKind::Loop && last.state != ConditionState::Branch
                };
                if !self.0.last().is_some_and(is_tested) {
                    self.0.push(start(ConditionKind::Loop));
                }
                if let Some(last) = self.0.last_mut() {
                    (last.branch, last.state) = (None, ConditionState::Branch);
                }
            }
            "fi" => self.close(|kind| *kind == ConditionKind::If),
            "done" => self.close(|kind| *kind == ConditionKind::Loop),
            _ => self.branch_keyword(word),
        }
    }

    fn branch_keyword(&mut self, word: &str) {
        let Some(last) = self.0.last_mut() else { return };
        match (word, last.state) {
            ("then", ConditionState::Branch) => {}
            ("then", _) => {
                let tested = last.branch;
                last.branch = and(last.rest, tested);
                last.rest = and(last.rest, not(tested));
                last.state = ConditionState::Branch;
            }
            ("elif", _) => last.state = ConditionState::Test,
            ("else", _) => {
                (last.branch, last.rest) = (last.rest, Some(false));
                last.state = ConditionState::Branch;
            }
            ("!", ConditionState::Test) => last.state = ConditionState::NegatedTest,
            _ => {}
        }
    }

    fn close(&mut self, is_kind: impl Fn(&ConditionKind) -> bool) {
        if let Some(at) = self.0.iter().rposition(|condition| is_kind(&condition.kind)) {
            self.0.truncate(at);
        }
    }

    /// Returns true between `if` and `then`.
    pub(super) fn is_test(&self) -> bool {
        self.0.last().is_some_and(|last| last.state != ConditionState::Branch)
    }

    /// Adds the value of a command of the test, behind an operator.
    pub(super) fn test(&mut self, value: Option<bool>, operator: Option<&str>) {
        let Some(last) = self.0.last_mut() else { return };
        let value = if last.state == ConditionState::NegatedTest { not(value) } else { value };
        last.branch = match (last.state, operator) {
            (ConditionState::Tested, Some("&&")) => and(last.branch, value),
            (ConditionState::Tested, Some("||")) => or(last.branch, value),
            _ => value,
        };
        last.state = ConditionState::Tested;
    }

    /// Opens a `case` of a word.
    pub(super) fn case(&mut self, word: Option<String>) {
        let kind = ConditionKind::Case(word);
        self.0.push(Condition { kind, branch: Some(false), rest: Some(true), state: ConditionState::Branch });
    }

    /// Opens the branch of a `case` with these patterns.
    pub(super) fn pattern(&mut self, patterns: &[String]) {
        let Some(last) = self.0.last_mut() else { return };
        let ConditionKind::Case(word) = &last.kind else { return };
        let matches = word.as_ref().and_then(|word| {
            let verdicts = patterns.iter().map(|pattern| match pattern.as_str() {
                "*" => Some(true),
                // Other patterns are not compared.
                pattern if pattern.contains(['*', '?', '[']) => None,
                pattern => Some(pattern == word),
            });
            verdicts.fold(Some(false), or)
        });
        last.branch = and(last.rest, matches);
        last.rest = and(last.rest, not(matches));
    }

    /// Closes a `case`.
    pub(super) fn esac(&mut self) {
        self.close(|kind| matches!(kind, ConditionKind::Case(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_branch_of_a_certain_condition_is_taken() {
        for (first, second, verdicts) in [
            (Some(true), None, [Some(true), Some(false), Some(false)]),
            (Some(false), Some(true), [Some(false), Some(true), Some(false)]),
            (Some(false), Some(false), [Some(false), Some(false), Some(true)]),
            (None, Some(false), [None, Some(false), None]),
            (None, Some(true), [None, None, Some(false)]),
        ] {
            let mut conditions = Conditions::default();
            let mut seen = Vec::new();
            conditions.keyword("if");
            conditions.test(first, None);
            conditions.keyword("then");
            seen.push(conditions.verdict());
            conditions.keyword("elif");
            conditions.test(second, None);
            conditions.keyword("then");
            seen.push(conditions.verdict());
            conditions.keyword("else");
            seen.push(conditions.verdict());
            conditions.keyword("fi");
            assert_eq!(seen, verdicts, "{first:?} {second:?}");
            assert_eq!(conditions.verdict(), Some(true));
        }
    }

    #[test]
    fn operators_and_negation() {
        let value = |negated: bool, first, operator, second| {
            let mut conditions = Conditions::default();
            conditions.keyword("if");
            if negated {
                conditions.keyword("!");
            }
            conditions.test(first, None);
            conditions.test(second, Some(operator));
            conditions.keyword("then");
            conditions.verdict()
        };
        assert_eq!(value(false, None, "&&", Some(false)), Some(false));
        assert_eq!(value(false, None, "||", Some(true)), Some(true));
        assert_eq!(value(false, None, "&&", Some(true)), None);
        assert_eq!(value(true, Some(true), "||", Some(false)), Some(false));
    }

    #[test]
    fn patterns_of_a_known_word() {
        let verdicts = |word: Option<&str>| {
            let mut conditions = Conditions::default();
            conditions.case(word.map(str::to_owned));
            ["a", "b|c", "*"].map(|pattern| {
                conditions.pattern(&pattern.split('|').map(str::to_owned).collect::<Vec<_>>());
                conditions.verdict()
            })
        };
        assert_eq!(verdicts(Some("c")), [Some(false), Some(true), Some(false)]);
        assert_eq!(verdicts(Some("x")), [Some(false), Some(false), Some(true)]);
        assert_eq!(verdicts(None), [None, None, None]);
    }

    #[test]
    fn loops_are_open() {
        let mut conditions = Conditions::default();
        conditions.keyword("do");
        assert_eq!(conditions.verdict(), None);
        conditions.keyword("done");
        assert_eq!((conditions.verdict(), conditions.depth()), (Some(true), 0));
    }
}
