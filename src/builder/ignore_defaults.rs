//! The ignore rules of a source tree: the recipe's `exclude`, and without an ignore file also its
//! `dockerignore`.
//!
//! Files that no service needs at run time, and secrets, should not depend on the presence of a
//! `.dockerignore`. A line of `dockerignore` that is a plain name, such as `docs`, has no effect if a
//! module of the source names the folder.

use dockerignore::Dockerignore;
use memchr::memmem;

use super::Builder;
use super::error::BuildError;
use crate::context::{Context, ContextError, Detail, Listing, SourceKind};
use crate::parallel;
use crate::plural::{MAX_NAMED, first_names};
use crate::printable;
use crate::progress::Warning;
use crate::recipe::Recipe;

/// Below this number of modules, one thread is faster.
const MIN_PARALLEL_MODULES: usize = 64;
/// The largest module read, in bytes.
const MODULE_LIMIT: u64 = 4 << 20;
/// Modules at the root that run in development alone.
const DEVELOPMENT: [&str; 3] = ["setup.py", "conftest.py", "noxfile.py"];

/// Adds the rules of `recipe` to a context: `exclude`, and without an ignore file `dockerignore`.
///
/// # Errors
/// Fails for an invalid line.
pub fn with_ignore_rules(context: Context, recipe: &Recipe) -> Result<Context, ContextError> {
    with_rules(context, recipe, &[])
}

/// Adds the rules of `recipe` to a context; lines of `dockerignore` in `without` have no effect.
pub(super) fn with_rules(
    context: Context,
    recipe: &Recipe,
    without: &[String],
) -> Result<Context, ContextError> {
    let exclude = Dockerignore::from_lines("exclude of the recipe", &recipe.exclude)?;
    let lines: Vec<&String> = recipe.dockerignore.iter().filter(|line| !without.contains(line)).collect();
    let fallback = Dockerignore::from_lines("dockerignore of the recipe", &lines)?;
    Ok(context.with_defaults(exclude).with_fallback(fallback))
}

impl Builder {
    /// Returns the lines of the recipe's `dockerignore` that have an effect for the project's source.
    ///
    /// # Errors
    /// If the settings or the source cannot be read.
    #[doc(hidden)]
    pub fn dockerignore_lines(&self) -> Result<Vec<String>, BuildError> {
        let recipe = self.resolve()?;
        let context = Context::open(&self.root, self.ignore.clone())?.with_workdir(recipe.workdir.clone());
        let listing = with_rules(context, &recipe, &[])?.walk(Detail::SkipIgnored)?;
        let needed = needed_lines(&recipe, &listing);
        Ok(recipe.dockerignore.into_iter().filter(|line| !needed.contains(line)).collect())
    }
}

/// Returns the lines of `dockerignore` that exclude a path of the root which a kept module names.
pub(super) fn needed_lines(recipe: &Recipe, listing: &Listing) -> Vec<String> {
    let is_line = |path: &&String| recipe.dockerignore.contains(path);
    let names: Vec<&String> = listing.ignored_by_default.iter().filter(is_line).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let modules: Vec<_> = listing
        .files
        .iter()
        .filter(|file| file.path.ends_with(".py") && !DEVELOPMENT.contains(&file.path.as_str()))
        .filter_map(|file| match &file.kind {
            SourceKind::File { file, .. } if file.size <= MODULE_LIMIT => Some(file),
            _ => None,
        })
        .collect();
    let threads = if modules.len() < MIN_PARALLEL_MODULES { 1 } else { parallel::cores() };
    let look = |(): &mut (), index: usize| {
        let text = modules.get(index).and_then(|file| file.read().ok()).unwrap_or_default();
        Ok::<_, std::convert::Infallible>(
            names.iter().map(|name| mentions(&text, name)).collect::<Vec<bool>>(),
        )
    };
    let found =
        parallel::each(modules.len(), threads, || Ok(()), look).unwrap_or_else(|never| match never {});
    let is_needed = |index: usize| found.iter().any(|found| found.get(index) == Some(&true));
    names.iter().enumerate().filter(|(index, _)| is_needed(*index)).map(|(_, name)| (*name).clone()).collect()
}

/// Returns true if the text of a module imports `name`, or has a string that begins with it as a path
/// or module.
fn mentions(text: &[u8], name: &str) -> bool {
    memmem::find_iter(text, name.as_bytes()).any(|at| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + name.len()).copied().unwrap_or(b'\n');
        let relative = before.strip_suffix(b"./").unwrap_or(before);
        let is_string =
            matches!(relative.last(), Some(b'"' | b'\'')) && matches!(after, b'"' | b'\'' | b'/' | b'.');
        let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        let line = before.get(start..).unwrap_or_default().trim_ascii();
        let is_import =
            matches!(line, b"from" | b"import") && !(after.is_ascii_alphanumeric() || after == b'_');
        is_string || is_import
    })
}

/// Returns a warning about what `dockerignore` of the recipe excludes, in one line.
pub(super) fn warning(listing: &Listing) -> Option<Warning> {
    let first = listing.ignored_by_default.first()?;
    let names: Vec<String> = listing.ignored_by_default.iter().map(|path| printable::name(path)).collect();
    let message = "excluded from the source, which has no .dockerignore: not needed at run time, or secret";
    let help = format!(
        "write a .dockerignore, or include one with exclude.add = [\"!{}\"] in [tool.ipo-oci]",
        dockerignore::escape(first)
    );
    Some(Warning::new(first_names(&names, MAX_NAMED), message).with_help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_mentions_a_folder_by_import_or_path() {
        for (text, expected) in [
            ("import docs", true),
            ("from docs.views import x", true),
            ("    import docs\n", true),
            ("open('docs/x.html')", true),
            ("BASE / \"docs\"", true),
            ("Path('./docs')", true),
            ("INSTALLED_APPS = ['docs.apps.X']", true),
            ("import docstring", false),
            ("docs_url='/docs'", false),
            ("# docs", false),
            ("from x import docs", false),
            ("'my docs'", false),
            ("'docstring'", false),
        ] {
            assert_eq!(mentions(text.as_bytes(), "docs"), expected, "{text}");
        }
    }
}
