//! `ipo-oci context`: shows the files of a source tree that go into an image, with reasons.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ipo_oci::builder::{Builder, exclude_build_results, with_ignore_rules};
use ipo_oci::context::{
    Context, ContextError, Detail, ExcludedPath, Fate, GitIgnoreRule, GitIgnoredFiles, IgnoreSource, Listing,
    PathExplanation, SourceFile, SourceKind, Verdict,
};
use ipo_oci::error::FileError;
use ipo_oci::printable;

use super::failure::Failure;

/// Inputs and outputs of a build, each with a marker file: the environment, the default output.
const BUILD_PATHS: [(&str, &str); 2] = [(".venv", "pyvenv.cfg"), ("dist/image", "oci-layout")];

/// The listing applies the ignore file alone, for comparison with Docker.
const MORE: &str = "builds also leave out the recipe's `exclude` patterns, such as .git and caches";
/// The same for a tree without an ignore file.
const MORE_WITHOUT_FILE: &str =
    "builds leave out the recipe's `dockerignore` and `exclude` patterns, such as tests, lock files and .git";

/// List the files of a source tree that .dockerignore keeps, with sizes
#[derive(Debug, clap::Args)]
pub(crate) struct ContextArgs {
    /// Directory of the source
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
    /// Ignore file in place of CONTEXT/.dockerignore
    #[arg(long, value_name = "FILE")]
    ignore_file: Option<PathBuf>,
    /// Explain why PATH is kept or excluded
    #[arg(long, value_name = "PATH", conflicts_with = "paths")]
    why: Option<PathBuf>,
    /// Print only the kept paths, one per line
    #[arg(long)]
    paths: bool,
}

/// Runs the command and prints to `out`.
pub(crate) fn run(args: &ContextArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let source = args.ignore_file.clone().map_or(IgnoreSource::Default, IgnoreSource::File);
    let mut context = Context::open(&args.context, source)?;
    for (place, mark) in BUILD_PATHS {
        let place = args.context.join(place);
        if place.join(mark).exists() {
            context.exclude(&place);
        }
    }
    let printed = if let Some(path) = &args.why {
        let why = why(&context, path)?;
        let parent_of_kept = match &why {
            PathExplanation::Rules(verdict) if verdict.fate == Fate::Ignored => {
                // Errors elsewhere in the tree do not concern the question.
                let relative = context.relative(path)?;
                context.walk(Detail::SkipIgnored).is_ok_and(|listing| listing.get(&relative).is_some())
            }
            _ => false,
        };
        let relative = context.relative(path)?;
        // A missing file is usually a typing error.
        let there = std::fs::symlink_metadata(args.context.join(&relative)).is_ok();
        let name = printable::path(path);
        let name = if there { name } else { format!("{name} (not found)") };
        let build = left_out_by_a_build(args, path, &why);
        let is_kept =
            build.is_none() && matches!(&why, PathExplanation::Rules(verdict) if verdict.fate == Fate::Kept);
        let git = if is_kept { context.git_rule(&relative) } else { None };
        print_why(out, &context, &name, &why, &Notes { parent_of_kept, build, git })
    } else if args.paths {
        print_paths(out, &list(&context, Detail::SkipIgnored)?)
    } else {
        let listing = list(&context, Detail::CountIgnored)?;
        let git = git_ignored(args, &context, &listing);
        print_listing(out, &context, &listing, &git)
    };
    match printed.and_then(|()| out.flush()) {
        // The reader closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| FileError::new("write", "standard output", error).into()),
    }
}

/// Lists a tree without outputs of builds.
fn list(context: &Context, detail: Detail) -> Result<Listing, ContextError> {
    let mut listing = context.walk(detail)?;
    exclude_build_results(context, &mut listing);
    Ok(listing)
}

/// Explains why `path` is kept or not, including outputs of builds.
fn why<'a>(context: &'a Context, path: &Path) -> Result<PathExplanation<'a>, ContextError> {
    let why = context.explain(path)?;
    if !matches!(&why, PathExplanation::Rules(verdict) if verdict.fate == Fate::Kept) {
        return Ok(why);
    }
    let path = context.relative(path)?;
    // Errors elsewhere in the tree do not concern the question.
    let left_out = list(context, Detail::SkipIgnored).map(|listing| listing.left_out).unwrap_or_default();
    let is_in = |thing: &ExcludedPath| {
        path.strip_prefix(&thing.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    Ok(left_out.into_iter().find(is_in).map_or(why, PathExplanation::NotSource))
}

/// Returns the line of the runtime recipe's `exclude` that excludes a path kept by the ignore file.
/// If the project's settings are invalid, builds report the error.
fn left_out_by_a_build(args: &ContextArgs, path: &Path, why: &PathExplanation<'_>) -> Option<String> {
    if !matches!(why, PathExplanation::Rules(verdict) if verdict.fate == Fate::Kept) {
        return None;
    }
    match build_context(args)?.explain(path).ok()? {
        PathExplanation::Rules(Verdict { fate: Fate::Ignored, decision, .. }) => {
            Some(printable::name(&decision?.rule.to_string()))
        }
        _ => None,
    }
}

/// Returns the context of a build of the runtime image, with the recipe's `exclude`; `None` if the
/// project's settings are invalid.
fn build_context(args: &ContextArgs) -> Option<Context> {
    let recipe = Builder::from_project(&args.context).and_then(|builder| builder.resolve()).ok()?;
    let source = args.ignore_file.clone().map_or(IgnoreSource::Default, IgnoreSource::File);
    with_ignore_rules(Context::open(&args.context, source).ok()?, &recipe).ok()
}

/// Returns the files that git ignores and that a build takes.
fn git_ignored(args: &ContextArgs, context: &Context, listing: &Listing) -> GitIgnoredFiles {
    let mut files = context.git_ignored(listing);
    if !files.ignored.is_empty()
        && let Some(build) = build_context(args)
    {
        files.retain(|file| build.ignore().fate(file) == Ok(Fate::Kept));
    }
    files
}

/// Further reasons for the outcome of a path.
struct Notes {
    parent_of_kept: bool,
    /// The line of the recipe with which a build excludes the path.
    build: Option<String>,
    /// The line with which git ignores the path.
    git: Option<(GitIgnoreRule, Option<String>)>,
}

fn print_paths(out: &mut dyn Write, listing: &Listing) -> io::Result<()> {
    let files = listing.files.iter().filter(|file| !matches!(file.kind, SourceKind::Directory));
    files.map(|file| &file.path).try_for_each(|path| writeln!(out, "{}", printable::name(path)))
}

fn print_why(
    out: &mut dyn Write,
    context: &Context,
    path: &str,
    why: &PathExplanation<'_>,
    notes: &Notes,
) -> io::Result<()> {
    let verdict = match why {
        PathExplanation::Excluded(place) => {
            let place = printable::path(place);
            return writeln!(
                out,
                "{path} is left out: {place} is an input or output of the build, whatever the ignore file"
            );
        }
        PathExplanation::NotSource(ExcludedPath { path: place, what }) => {
            let place = printable::name(place);
            let more = if what.is_environment() {
                "which is never source".to_owned()
            } else {
                format!("unless a line of the ignore file insists: !{place}")
            };
            return writeln!(out, "{path} is left out: {place} is {what}, {more}");
        }
        PathExplanation::Rules(verdict) => verdict,
    };
    let fate = match verdict.fate {
        Fate::Kept => "kept",
        Fate::Ignored => "left out",
    };
    match &verdict.decision {
        Some(decision) => write!(out, "{path} is {fate}: {}", printable::name(&decision.rule.to_string()))?,
        None => match context.ignore_file() {
            Some(file) => write!(out, "{path} is {fate}: no line of {} matches it", printable::path(file))?,
            None => write!(out, "{path} is {fate}: there is no ignore file")?,
        },
    }
    if let Some(parent) = verdict.decision.as_ref().and_then(|decision| decision.parent.as_ref()) {
        write!(out, " (matches the directory {})", printable::name(parent))?;
    }
    if notes.parent_of_kept {
        write!(out, "; the directory itself is kept for its content")?;
    }
    if let Some(line) = &notes.build {
        write!(out, "; a build leaves it out all the same: {line}")?;
    }
    if let Some((rule, parent)) = &notes.git {
        write!(out, "; git ignores it: {}", printable::name(&rule.to_string()))?;
        if let Some(parent) = parent {
            write!(out, " (matches the directory {})", printable::name(parent))?;
        }
    }
    writeln!(out)
}

fn print_listing(
    out: &mut dyn Write,
    context: &Context,
    listing: &Listing,
    git: &GitIgnoredFiles,
) -> io::Result<()> {
    for (index, file) in listing.files.iter().enumerate() {
        print_file(out, file, listing.files.get(index + 1))?;
    }
    let (kept, ignored) = (listing.kept, listing.ignored);
    if !listing.files.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{} kept, {}", files(kept.files), human(kept.bytes))?;
    for ExcludedPath { path, what } in &listing.left_out {
        writeln!(out, "{} is left out: it is {what}", printable::name(path))?;
    }
    for file in listing.outliers() {
        writeln!(out, "{} is unusually large: {}", printable::name(&file.path), human(file.size()))?;
    }
    for (file, reason) in &git.unread {
        writeln!(out, "{} is not read, for the files that git ignores: {reason}", printable::name(file))?;
    }
    if let [first, ..] = git.ignored.as_slice() {
        writeln!(out, "git ignores {} of these: {}", files(git.count()), git.names())?;
        writeln!(
            out,
            "  exclude or confirm each in .dockerignore, or see why: --why {}",
            printable::name(&first.path)
        )?;
    }
    let Some(name) = context.ignore_file().map(printable::path) else {
        for other in context.unused_ignore_files() {
            writeln!(out, "{} is not read: name it with --ignore-file", printable::name(other))?;
        }
        writeln!(out, "no .dockerignore found: this list has every file")?;
        return writeln!(out, "{MORE_WITHOUT_FILE}");
    };
    let all = kept.bytes.saturating_add(ignored.bytes);
    let share = if all == 0 { 0.0 } else { ignored.bytes as f64 * 100.0 / all as f64 };
    writeln!(
        out,
        "{} left out by {name}, {}: {share:.1} % of the bytes saved",
        files(ignored.files),
        human(ignored.bytes)
    )?;
    writeln!(out, "{MORE}")
}

/// Prints a file, a link or an empty directory; other directories appear in the paths of their
/// files.
fn print_file(out: &mut dyn Write, file: &SourceFile, next: Option<&SourceFile>) -> io::Result<()> {
    let path = printable::name(&file.path);
    match &file.kind {
        SourceKind::File { file, .. } => writeln!(out, "{:>8}  {path}", human(file.size)),
        SourceKind::Symlink(target) => writeln!(out, "{:>8}  {path} -> {}", "link", printable::name(target)),
        SourceKind::Directory => {
            let below = next.and_then(|next| next.path.strip_prefix(&file.path));
            if below.is_some_and(|below| below.starts_with('/')) {
                return Ok(());
            }
            writeln!(out, "{:>8}  {path}/", "empty")
        }
    }
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Formats a size in decimal units, as registries and disks do.
fn human(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        // A value that rounds to 1000.0 moves to the next unit.
        if size < 999.95 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::fs;

    #[derive(Debug, Parser)]
    struct TestCommand {
        #[command(flatten)]
        args: ContextArgs,
    }

    fn project() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            (".dockerignore", "# rules\n*.log\nlogs/\nassets\n!assets/logo.svg\n"),
            ("main.py", "app = 1\n"),
            ("a.log", "aaaaaaaaaa"),
            ("logs/deep/x", "0123456789"),
            ("assets/logo.svg", "<svg/>"),
            ("assets/raw.psd", "012345678"),
            (".venv/pyvenv.cfg", "home = /usr\n"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir(folder.path().join("uploads")).unwrap();
        std::os::unix::fs::symlink("main.py", folder.path().join("wsgi.py")).unwrap();
        folder
    }

    fn output(folder: &tempfile::TempDir, options: &[&str]) -> String {
        let words = ["context", folder.path().to_str().unwrap()].into_iter().chain(options.iter().copied());
        let command = TestCommand::parse_from(words);
        let mut out = Vec::new();
        run(&command.args, &mut out).map_err(|error| error.to_string()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_sizes_and_totals() {
        let expected = "    \
                44 B  .dockerignore\n     \
                 6 B  assets/logo.svg\n     \
                 8 B  main.py\n   \
               empty  uploads/\n    \
                link  wsgi.py -> main.py\n\
            \n\
            4 files kept, 58 B\n\
            3 files left out by .dockerignore, 29 B: 33.3 % of the bytes saved\n\
            builds also leave out the recipe's `exclude` patterns, such as .git and caches\n";
        assert_eq!(output(&project(), &[]), expected);
    }

    #[test]
    fn prints_only_paths() {
        assert_eq!(output(&project(), &["--paths"]), ".dockerignore\nassets/logo.svg\nmain.py\nwsgi.py\n");
    }

    #[test]
    fn names_the_deciding_rule() {
        let folder = project();
        for (path, expected) in [
            ("main.py", "main.py is kept: no line of .dockerignore matches it\n"),
            ("a.log", "a.log is left out: .dockerignore:2: *.log\n"),
            ("logs/deep/x", "logs/deep/x is left out: .dockerignore:3: logs/ (matches the directory logs)\n"),
            ("./assets/logo.svg", "./assets/logo.svg is kept: .dockerignore:5: !assets/logo.svg\n"),
            (
                "assets",
                "assets is left out: .dockerignore:4: assets; \
                 the directory itself is kept for its content\n",
            ),
            (
                ".venv/pyvenv.cfg",
                ".venv/pyvenv.cfg is left out: .venv is an input or output of the build, \
                 whatever the ignore file\n",
            ),
        ] {
            assert_eq!(output(&folder, &["--why", path]), expected);
        }
    }

    #[test]
    fn formats_sizes_in_decimal_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn accepts_a_closed_pipe() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = project();
        let command = TestCommand::parse_from(["context", folder.path().to_str().unwrap()]);
        assert!(run(&command.args, &mut Closed).is_ok());
    }
}
