//! [`Diagnostic`]: one violation of a rule, and [`Reporter`], which collects them.

use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::rule::{Rule, rule};
use super::selection::RuleSelection;
use crate::plural::counted;
use crate::printable;
use crate::tree::{ImagePath, Owner};

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// The image does not work, or exposes a secret. Builds refuse it.
    Error,
    /// The image works in part, or is weaker than it has to be.
    Warning,
}

/// One violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Code of the rule: `IPO103`.
    pub code: &'static str,
    /// Name of the rule: `library-not-found`.
    pub name: &'static str,
    /// The severity.
    pub severity: Severity,
    /// The file in the image; `None` for the configuration or the entire image.
    pub path: Option<ImagePath>,
    /// Further files with the same violation.
    pub others: Vec<ImagePath>,
    /// The place in the project, if the file comes from there.
    pub source: Option<DiagnosticSource>,
    /// The origin of the file, if known: a distribution, the source.
    pub owner: Option<Owner>,
    /// The violation and its reason, without the path.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

/// A place in a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiagnosticSource {
    /// The file on this machine.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: Option<usize>,
}

/// A diagnostic as read, whose code may be of another version.
#[derive(Deserialize)]
struct StoredDiagnostic {
    code: String,
    /// The caches' format has no names of fields, so the fields are those of [`Diagnostic`].
    #[serde(rename = "name")]
    _name: String,
    severity: Severity,
    path: Option<ImagePath>,
    others: Vec<ImagePath>,
    source: Option<DiagnosticSource>,
    owner: Option<Owner>,
    message: String,
    help: Option<String>,
}

impl<'de> Deserialize<'de> for Diagnostic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = StoredDiagnostic::deserialize(deserializer)?;
        let StoredDiagnostic { code, severity, path, others, source, owner, message, help, .. } = stored;
        let known = rule(&code).ok_or_else(|| D::Error::custom(format!("unknown rule `{code}`")))?;
        let Rule { code, name, .. } = *known;
        Ok(Self { code, name, severity, path, others, source, owner, message, help })
    }
}

/// Formats path, message, number of further files, and code on one line.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", printable::name(&path.to_string()))?;
        }
        f.write_str(&self.message)?;
        if !self.others.is_empty() {
            write!(f, " (and {})", counted(self.others.len() as u64, "more file"))?;
        }
        write!(f, " [{}]", self.code)
    }
}

impl Diagnostic {
    /// Returns path, message and way out, for a service that has one text for all.
    pub(super) fn full_text(&self) -> String {
        let path = self.path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
        let help = self.help.as_deref().map(|help| format!("\n{help}")).unwrap_or_default();
        format!("{path}{}{help}", self.message)
    }

    /// Makes a diagnostic of the rule `code`, with the severity of the rule.
    ///
    /// # Panics
    /// In debug builds, for a code without a rule.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        let known = rule(code);
        debug_assert!(known.is_some(), "{code}");
        Self {
            code,
            name: known.map_or("", |rule| rule.name),
            severity: known.map_or(Severity::Warning, |rule| rule.severity),
            path: None,
            others: Vec::new(),
            source: None,
            owner: None,
            message: message.into(),
            help: None,
        }
    }

    /// Names the file in the image.
    pub(super) fn at(mut self, path: &ImagePath) -> Self {
        self.path = Some(path.clone());
        self
    }

    /// Names files with the same violation; the first is the diagnostic's own.
    pub(super) fn at_all(mut self, paths: impl IntoIterator<Item = ImagePath>) -> Self {
        let mut paths = paths.into_iter();
        self.path = paths.next();
        self.others = paths.collect();
        self
    }

    /// Names the line of the project's file.
    pub(super) fn in_source(mut self, file: impl Into<PathBuf>, line: Option<usize>) -> Self {
        self.source = Some(DiagnosticSource { file: file.into(), line });
        self
    }

    /// Names the origin of the file.
    pub(super) fn of(mut self, owner: Option<&Owner>) -> Self {
        self.owner = owner.cloned();
        self
    }

    /// Adds the way out.
    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Replaces the severity of the rule.
    pub(super) fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

/// Collects the diagnostics of the selected rules.
#[derive(Debug)]
pub(super) struct Reporter<'a> {
    selection: &'a RuleSelection,
    found: Vec<Diagnostic>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(selection: &'a RuleSelection) -> Self {
        Self { selection, found: Vec::new() }
    }

    /// Returns true if one of the rules `codes` is selected: others need no work.
    pub(super) fn wants(&self, codes: &[&str]) -> bool {
        codes.iter().filter_map(|code| rule(code)).any(|rule: &Rule| self.selection.includes(rule))
    }

    /// Adds a diagnostic, unless its rule is not selected.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        if self.wants(&[diagnostic.code]) {
            self.found.push(diagnostic);
        }
    }

    /// Returns the diagnostics in order.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by(|a, b| {
            (a.severity, a.code, &a.path, &a.message).cmp(&(b.severity, b.code, &b.path, &b.message))
        });
        self.found.dedup();
        self.found
    }
}
