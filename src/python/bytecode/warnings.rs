//! Warnings about bytecode absent from the image, grouped for many files.

use std::collections::BTreeMap;

use super::compile_memo::SourceFinding;
use super::magic::PycFormat;
use super::state::{CompileStage, SourceState};
use super::{BytecodeRequest, MarshalError, Refused};
use crate::plural::first_names;
use crate::progress::{Progress, Warning};

/// The most files named in a warning; the rest is counted.
const NAMED: usize = 3;
const RECOMPILE: &str = "with `--bytecode compile` the sources are compiled anew";

/// Warns about sources that do not compile, once for all of them.
pub fn warn_of_refused(refused: &[Refused], progress: &dyn Progress) {
    if refused.is_empty() {
        return;
    }
    let named: Vec<String> = refused
        .iter()
        .map(|Refused { path, reason }| match reason {
            Some(reason) => format!("{path} ({reason})"),
            None => path.to_string(),
        })
        .collect();
    let sources = count(&named, "source that does", "sources that do");
    let message = format!("no bytecode of {sources} not compile: {}", first_names(&named, NAMED));
    let help = "exclude unused sources; templates and code for another Python are harmless";
    progress.warn(Warning::new("bytecode", message).with_help(help));
}

/// Warns about excluded bytecode, once for each cause.
pub(super) fn warn_of_excluded(request: &BytecodeRequest<'_>, found: &[SourceState<'_>]) {
    let mut stale = Vec::new();
    let mut foreign = BTreeMap::<u16, Vec<String>>::new();
    for found in found {
        let CompileStage::Done(finding, _) = &found.stage else { continue };
        let path = found.source.path.to_string();
        match finding {
            SourceFinding::Stale => stale.push(path),
            SourceFinding::Foreign(magic) => foreign.entry(*magic).or_default().push(path),
            SourceFinding::Reusable(_)
            | SourceFinding::HeaderMatches
            | SourceFinding::Verified
            | SourceFinding::Compiled(_)
            | SourceFinding::Refused(_)
            | SourceFinding::Missing => {}
        }
    }
    let warn = |message: String, help: &str| {
        request.progress.warn(Warning::new("bytecode", message).with_help(help));
    };
    if !stale.is_empty() {
        warn(excluded(&stale, "the bytecode of their source"), RECOMPILE);
    }
    for (magic, paths) in foreign {
        let release = match PycFormat::of_magic(magic) {
            Ok(format) => format!("Python {}.{}", format.version.0, format.version.1),
            Err(MarshalError::OtherPython { release, .. }) => release,
            Err(error) => error.to_string(),
        };
        let wrong = format!("bytecode of this Python but of {release} (magic number {magic})");
        warn(excluded(&paths, &wrong), RECOMPILE);
    }
}

/// Returns the warning about bytecode `not` fit for use.
fn excluded(paths: &[String], not: &str) -> String {
    let count = count(paths, ".pyc file that is", ".pyc files that are");
    format!("excluded {count} not {not}: {}", first_names(paths, NAMED))
}

fn count(things: &[String], one: &str, many: &str) -> String {
    if things.len() == 1 { format!("1 {one}") } else { format!("{} {many}", things.len()) }
}
