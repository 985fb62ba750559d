//! [`Findings`]: collects findings, with a bounded number of paths for each.

use std::collections::HashMap;

use super::{VerifyFinding, VerifyRule};

/// The most paths retained of one finding.
const MAX_PATHS: usize = 100;
/// The most findings; a hostile image could have millions.
const MAX_FINDINGS: usize = 10_000;

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<VerifyFinding>,
    index: HashMap<(VerifyRule, String, String), usize>,
}

impl Findings {
    /// Adds a finding about `subject`.
    pub(super) fn add(&mut self, rule: VerifyRule, subject: &str, message: impl Into<String>) {
        self.insert(rule, subject, message.into(), None);
    }

    /// Adds a path to the finding with the same rule, subject and message.
    pub(super) fn add_path(&mut self, rule: VerifyRule, subject: &str, message: &str, path: String) {
        self.insert(rule, subject, message.to_owned(), Some(path));
    }

    fn insert(&mut self, rule: VerifyRule, subject: &str, message: String, path: Option<String>) {
        let key = (rule, subject.to_owned(), message);
        let place = if let Some(place) = self.index.get(&key) {
            *place
        } else {
            if self.found.len() >= MAX_FINDINGS {
                return;
            }
            let (rule, subject, message) = key.clone();
            let severity = rule.severity();
            let (paths, count) = (Vec::new(), 0);
            self.found.push(VerifyFinding { rule: rule.name(), severity, subject, message, paths, count });
            self.index.insert(key, self.found.len() - 1);
            self.found.len() - 1
        };
        if let Some(finding) = self.found.get_mut(place) {
            finding.count += 1;
            finding.paths.extend(path.filter(|_| finding.paths.len() < MAX_PATHS));
        }
    }

    /// Adds all findings of another collection.
    pub(super) fn extend(&mut self, others: Self) {
        let room = MAX_FINDINGS.saturating_sub(self.found.len());
        self.found.extend(others.found.into_iter().take(room));
    }

    /// Returns the findings, errors first, else in their order.
    pub(super) fn finish(mut self) -> Vec<VerifyFinding> {
        self.found.sort_by_key(|finding| finding.severity);
        self.found
    }
}
