//! `ipo-oci explain`: prints the service of a project, with the evidence for each answer.

use std::path::PathBuf;

use clap::Args;
use ipo_oci::builder::{Builder, Explanation};

use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `ipo-oci explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// Folder of the project
    #[arg(default_value = ".")]
    context: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the findings to standard output.
pub(crate) fn run(arguments: &ExplainArguments, terminal: &Terminal) -> Result<(), Failure> {
    let Explanation { findings, error, .. } = Builder::from_project(&arguments.context)?.explain()?;
    if arguments.json {
        let findings = serde_json::json!({ "schema": 1, "findings": findings });
        terminal.json(&format!("{findings:#}"))?;
    } else {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        terminal.result(&(lines.join("\n") + "\n"))?;
    }
    error.map_or(Ok(()), |error| Err(error.into()))
}
