//! Forms of a [`CheckReport`]: text for people, JSON, SARIF for code scanning, and annotations of
//! GitHub's workflows.

mod github;
mod json;
mod sarif;
mod text;

use super::CheckReport;
use crate::report::text::Style;

/// The form of a printed report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CheckFormat {
    /// Text as of a compiler.
    #[default]
    Text,
    /// JSON.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

impl CheckReport {
    /// Renders the report, with a trailing newline. Only text has a style.
    pub fn render(&self, format: CheckFormat, style: Style) -> String {
        match format {
            CheckFormat::Text => text::render(self, style),
            CheckFormat::Json => json::render(self),
            CheckFormat::Sarif => sarif::render(self),
            CheckFormat::Github => github::render(self),
        }
    }
}
