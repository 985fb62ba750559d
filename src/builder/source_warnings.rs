//! Warnings about a source tree: excluded files and outliers in size.

use dockerignore::escape;

use crate::context::{Context, ExcludedPath, GitIgnoredFiles, Listing};
use crate::plural::{MAX_NAMED, counted, first_names};
use crate::printable::name as shown;
use crate::progress::Warning;
use crate::settings::human_size;

/// Maximum number of warnings about large files.
const MAX_OUTLIERS: usize = 5;
/// The command's default output. Its exclusion needs no warning.
const DEFAULT_OUTPUT: &str = "dist/image";

/// Returns warnings about files of `listing` excluded without a rule, an unused ignore file, and
/// outliers.
pub(super) fn source_warnings(context: &Context, listing: &Listing) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let [first, ..] = context.unused_ignore_files() {
        let names: Vec<String> = context.unused_ignore_files().iter().map(|name| shown(name)).collect();
        let message = "not read: only .dockerignore excludes files by default";
        warnings.push(Warning::new(first_names(&names, MAX_NAMED), message).with_help(format!(
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
    for file in listing
        .outliers()
        .into_iter()
        .filter(|file| !context.ignore().reincludes(&file.path))
        .take(MAX_OUTLIERS)
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
    warnings.extend(git_warnings(&context.git_ignored(listing)));
    warnings
}

/// Returns a warning about files in the image that git ignores.
fn git_warnings(files: &GitIgnoredFiles) -> Vec<Warning> {
    let unread = files.unread.iter().map(|(file, reason)| {
        let message = format!("cannot find the files that git ignores: {reason}");
        Warning::new(shown(file), message)
    });
    let mut warnings: Vec<Warning> = unread.collect();
    if let [first, ..] = files.ignored.as_slice() {
        let count = files.count();
        let verb = if count == 1 { "is" } else { "are" };
        let message = format!("{} that git ignores {verb} part of the image", counted(count, "file"));
        let (path, pattern) = (shown(&first.path), escape(&first.path));
        let help = format!(
            "exclude it with a line in .dockerignore: {pattern}; or include it explicitly: !{pattern} \
             (`ipo-oci context --why {path}` names the line of git)"
        );
        warnings.push(Warning::new(files.names(), message).with_help(help));
    }
    warnings
}

/// Makes one warning about files excluded for one reason.
fn left_out(things: &[&ExcludedPath], reason: &str, help: &str) -> Option<Warning> {
    let first = things.first()?;
    let names: Vec<String> =
        things.iter().map(|thing| format!("{} ({})", shown(&thing.path), thing.what)).collect();
    let help = format!("{help}: {}", escape(&first.path));
    Some(
        Warning::new(first_names(&names, MAX_NAMED), format!("excluded from the source: {reason}"))
            .with_help(help),
    )
}
