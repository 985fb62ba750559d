//! Warnings about a source tree: excluded files and outliers in size.

use dockerignore::escape;

use crate::context::{Context, ExcludedPath, Listing};
use crate::printable::name as shown;
use crate::progress::Warning;
use crate::settings::human_size;

/// Maximum number of names in one warning.
const MAX_NAMED: usize = 5;
/// The command's default output. Its exclusion needs no warning.
const DEFAULT_OUTPUT: &str = "dist/image";

/// Returns warnings about files of `listing` excluded without a rule, an unused ignore file, and
/// outliers.
pub(super) fn source_warnings(context: &Context, listing: &Listing) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let [first, ..] = context.unused_ignore_files() {
        let names: Vec<String> = context.unused_ignore_files().iter().map(|name| shown(name)).collect();
        let message = "not read: only .dockerignore excludes files by default";
        warnings.push(Warning::new(few(&names), message).with_help(format!(
            "rename it to .dockerignore, or name it with --ignore-file {}",
            shown(first)
        )));
    }
    let named = listing.left_out.iter().filter(|thing| thing.path != DEFAULT_OUTPUT);
    let (environments, others): (Vec<&ExcludedPath>, Vec<&ExcludedPath>) =
        named.partition(|thing| thing.what.is_environment());
    warnings.extend(left_out(&environments, "an environment is never source", "exclude it in .dockerignore"));
    warnings.extend(left_out(
        &others,
        "generated files are not source",
        "exclude it in .dockerignore, or include it with a `!` line",
    ));
    for file in
        listing.outliers().into_iter().filter(|file| !context.ignore().reincludes(&file.path)).take(MAX_NAMED)
    {
        let total: u64 = listing.kept.bytes.max(1);
        let share = file.size() as f64 * 100.0 / total as f64;
        let message = format!("it has {}, {share:.0} % of the source", human_size(file.size()));
        let pattern = escape(&file.path);
        let help = format!(
            "exclude it with a line in .dockerignore: {pattern}; or include it explicitly: !{pattern}"
        );
        warnings.push(Warning::new(shown(&file.path), message).with_help(help));
    }
    warnings
}

/// Makes one warning about files excluded for one reason.
fn left_out(things: &[&ExcludedPath], reason: &str, help: &str) -> Option<Warning> {
    let first = things.first()?;
    let names: Vec<String> =
        things.iter().map(|thing| format!("{} ({})", shown(&thing.path), thing.what)).collect();
    let help = format!("{help}: {}", escape(&first.path));
    Some(Warning::new(few(&names), format!("excluded from the source: {reason}")).with_help(help))
}

/// Lists the first names, and the number of the rest.
fn few(names: &[String]) -> String {
    let mut text = names.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMED {
        text = format!("{text} and {} more", names.len() - MAX_NAMED);
    }
    text
}
