//! Checks of an image before it is started: rules with stable codes, on the files and the
//! configuration of a planned image or of a stored one.
//!
//! [`CheckedImage`] is an image as data: merged files with the bytes that rules read, the
//! configuration, the Pythons and their distributions. [`check`] applies the selected [`RULES`] and
//! returns [`Diagnostic`]s, which the modules of `render/` print. No program of the image is run, and
//! no module imported. `docs/checks.md` explains each rule.

mod collect;
mod config;
mod diagnostic;
mod distributions;
mod error;
mod image;
mod imports;
mod keys;
mod modules;
mod named;
mod node;
mod options;
mod pythons;
mod render;
mod rule;
mod rules;
mod secrets;
mod selection;
mod start_files;
#[cfg(test)]
mod testing;
mod user;

pub use diagnostic::{Diagnostic, DiagnosticSource, Severity};
pub use error::CheckError;
pub use image::{CheckedImage, SourceFolder};
pub use options::CheckOptions;
pub use render::CheckFormat;
pub use rule::{RULES, Rule, rule};
pub use selection::RuleSelection;

use std::path::PathBuf;

use crate::image::shell;
use diagnostic::Reporter;
pub(crate) use keys::{WHOLE, lower_key, module_key, stamp_key};

/// The result of checking an image: the diagnostics, errors first.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Name of the image or project.
    pub subject: String,
    /// Folder of the project, to which the places in its files are relative, as text, SARIF and annotations
    /// print it. Empty for the current one.
    pub folder: PathBuf,
    /// The diagnostics, ordered by severity, code and path.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of rules that were applied.
    pub rules: usize,
}

impl CheckReport {
    /// Returns the number of errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count()
    }

    /// Returns the number of warnings.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }
}

/// Applies all rules of builds to `image`, selected or not.
pub(crate) fn check_for_build(image: &CheckedImage, options: &CheckOptions) -> Vec<Diagnostic> {
    // The other rules need no work: libraries are searched already.
    let reported = RULES.iter().filter(|rule| !rule.is_of_builds()).map(|rule| rule.code.to_owned());
    let selection = RuleSelection::new(&[], &reported.collect::<Vec<_>>()).unwrap_or_default();
    let mut reporter = Reporter::new(&selection);
    rules::apply(image, options, &mut reporter);
    let mut found = reporter.finish();
    found.retain(|found| rule(found.code).is_some_and(Rule::is_of_builds));
    found
}

/// Applies the rules with these codes to `image`, selected or not.
pub(crate) fn check_only(image: &CheckedImage, codes: &[&str]) -> Vec<Diagnostic> {
    let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
    let selection = RuleSelection::new(&codes, &[]).unwrap_or_default();
    let mut reporter = Reporter::new(&selection);
    rules::apply(image, &CheckOptions::default(), &mut reporter);
    reporter.finish()
}

/// Reads untrusted bytes by the readers of this module, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = config::CheckedConfig::parse(bytes);
    let _ = (secrets::find(bytes), secrets::find_in_urls(bytes));
    for path in ["app/.env", "root/.netrc", "etc/pip.conf", "app/.npmrc", "root/.docker/config.json"] {
        if let Some(file) = secrets::CredentialFile::of(path) {
            let _ = file.credentials(&text);
        }
    }
    let _ = (named::find_calls(&text), shell::first_command(&text));
    let _ = crate::python::application::signals::names_signal(&text, "SIGTERM");
}

/// Applies the selected rules to `image`.
pub fn check(subject: &str, image: &CheckedImage, options: &CheckOptions) -> CheckReport {
    let mut reporter = Reporter::new(&options.selection);
    rules::apply(image, options, &mut reporter);
    CheckReport {
        subject: subject.to_owned(),
        folder: PathBuf::new(),
        diagnostics: reporter.finish(),
        rules: RULES.iter().filter(|rule| options.selection.includes(rule)).count(),
    }
}
