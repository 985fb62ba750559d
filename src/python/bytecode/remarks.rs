//! Warnings about bytecode absent from the image, grouped for many files.

use std::collections::BTreeMap;

use super::magic::Format;
use super::memo::Finding;
use super::prepare::{Found, State};
use super::{MarshalError, Refused, Request};
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
    let does = count(&named, "source does", "sources do");
    let message = format!("{does} not compile and go without: {}", list(&named));
    let help = "templates and code for another Python are harmless; leave them out if nothing needs them";
    progress.warn(Warning::new("bytecode", message).with_help(help));
}

/// Warns about excluded bytecode, once for each cause.
pub(super) fn tell(request: &Request<'_>, found: &[Found<'_>]) {
    let mut stale = Vec::new();
    let mut foreign = BTreeMap::<u16, Vec<String>>::new();
    for found in found {
        let State::Done(finding, _) = &found.state else { continue };
        let path = found.source.path.to_string();
        match finding {
            Finding::Stale => stale.push(path),
            Finding::Foreign(magic) => foreign.entry(*magic).or_default().push(path),
            Finding::Reusable(_)
            | Finding::Promising
            | Finding::Sound
            | Finding::Compiled(_)
            | Finding::Refused(_)
            | Finding::Missing => {}
        }
    }
    let warn = |message: String, help: &str| {
        request.progress.warn(Warning::new("bytecode", message).with_help(help));
    };
    if !stale.is_empty() {
        warn(left_out(&stale, "the bytecode of their source"), RECOMPILE);
    }
    for (magic, paths) in foreign {
        let release = match Format::of_magic(magic) {
            Ok(format) => format!("Python {}.{}", format.version.0, format.version.1),
            Err(MarshalError::OtherPython { release, .. }) => release,
            Err(error) => error.to_string(),
        };
        let wrong = format!("bytecode of this Python but of {release} (magic number {magic})");
        warn(left_out(&paths, &wrong), RECOMPILE);
    }
}

/// Returns the warning about bytecode `not` fit for use.
fn left_out(paths: &[String], not: &str) -> String {
    let count = count(paths, ".pyc file that is", ".pyc files that are");
    format!("{count} not {not} stayed out: {}", list(paths))
}

fn count(things: &[String], one: &str, many: &str) -> String {
    if things.len() == 1 { format!("1 {one}") } else { format!("{} {many}", things.len()) }
}

fn list(things: &[String]) -> String {
    let named = things.get(..NAMED.min(things.len())).unwrap_or_default().join(", ");
    match things.len().saturating_sub(NAMED) {
        0 => named,
        rest => format!("{named} and {rest} more"),
    }
}
