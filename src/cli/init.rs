//! `ipo-oci init`: writes `[tool.ipo-oci]` and `.dockerignore` for a project, from its files for other tools.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ipo_oci::atomic_file;
use ipo_oci::builder::Builder;
use ipo_oci::context::{Context, Detail, Dockerignore, IgnoreSource};
use ipo_oci::error::{Advice, FileError};
use ipo_oci::service::{Proposal, ProposedValue};
use ipo_oci::settings::{Settings, human_size};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Key, Table, Value};

use super::failure::Failure;
use super::terminal::Terminal;

const PYPROJECT: &str = "pyproject.toml";
const IGNORE_FILE: &str = ".dockerignore";
/// The longest reason in a comment, in characters.
const MAX_REASON: usize = 100;

/// The start of a new `.dockerignore`.
const IGNORE_HEAD: &str = "\
# Files that no service needs at run time, and secrets. A line `!PATTERN` takes files back.
# Builds also leave out the lines of `exclude`, such as .git and caches: ipo-oci help recipes runtime
";

/// Write [tool.ipo-oci] and a .dockerignore for a project
#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// Folder of the project
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: PathBuf,
    /// Print the settings, and write no file
    #[arg(long)]
    print: bool,
    /// Take over this Dockerfile, and list each instruction with its fate
    #[arg(long, value_name = "DOCKERFILE")]
    from: Option<PathBuf>,
}

/// Errors of the command.
#[derive(Debug, thiserror::Error)]
enum InitError {
    /// `pyproject.toml` has a value where a table is expected.
    #[error("cannot edit {file}: `{key}` is not a table")]
    NotATable { file: String, key: String },
    /// `pyproject.toml` cannot be parsed.
    #[error("cannot parse {file}: {reason}")]
    Toml { file: String, reason: String },
}

impl Advice for InitError {
    fn help(&self) -> Option<String> {
        let Self::NotATable { key, .. } = self else { return None };
        Some(format!("write `{key}` as a table, [{key}]"))
    }
}

/// Proposes settings for the project, and writes those that it does not have.
pub(crate) fn run(arguments: &InitArguments, terminal: &Terminal) -> Result<(), Failure> {
    let root = arguments.context.as_path();
    // Invalid settings are reported before any file is written.
    let proposal = Builder::from_project(root)?.propose(arguments.from.as_deref())?;
    let path = root.join(PYPROJECT);
    let before = read(&path)?;
    let mut document = before.clone().unwrap_or_default().parse::<DocumentMut>().map_err(|error| {
        InitError::Toml { file: path.display().to_string(), reason: error.to_string().trim_end().to_owned() }
    })?;
    let added = add(&mut document, &proposal, &path)?;
    let after = document.to_string();
    // Written settings have to be valid.
    check(&after, &path)?;
    let mut report = String::new();
    if arguments.from.is_some() {
        print_instructions(&mut report, &proposal);
    }
    if arguments.print {
        terminal.report(&report);
        terminal.report(&open(&proposal));
        return terminal.result(&table(&after));
    }
    if added.is_empty() {
        let _ = writeln!(report, "{}: nothing to add", path.display());
    } else {
        atomic_file::write_text(&path, &after)?;
        let verb = if before.is_some() { "added to" } else { "written to" };
        let _ = writeln!(report, "{verb} {}: {}", path.display(), added.join(", "));
    }
    ignore_file(root, &mut report)?;
    report.push_str(&open(&proposal));
    report.push_str("next: ipo-oci build --dry-run\n");
    terminal.result(&report)
}

fn read(path: &Path) -> Result<Option<String>, FileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path, error)),
    }
}

/// Adds the settings that the document does not have. Returns their keys.
fn add(document: &mut DocumentMut, proposal: &Proposal, path: &Path) -> Result<Vec<String>, InitError> {
    let mut added = Vec::new();
    for setting in &proposal.settings {
        let [parents @ .., key] = setting.path.as_slice() else { continue };
        let names: Vec<&str> =
            ["tool", "ipo-oci"].into_iter().chain(parents.iter().map(String::as_str)).collect();
        let Some(table) = descend(document.as_table_mut(), &names, 0, path)? else { continue };
        if table.contains_key(key) {
            continue;
        }
        let comment: String = setting.reason.chars().take(MAX_REASON).collect();
        let comment = if comment.len() < setting.reason.len() { format!("{comment}…") } else { comment };
        let comment = format!("# {}\n", comment.replace(char::is_control, " "));
        if let ProposedValue::Tables(tables) = &setting.value {
            table.insert(key, Item::ArrayOfTables(array_of_tables(tables, &comment)));
        } else {
            let mut key = Key::new(key);
            key.leaf_decor_mut().set_prefix(comment);
            table.insert_formatted(&key, Item::Value(value(&setting.value)));
        }
        added.push(setting.path.join("."));
    }
    Ok(added)
}

/// Returns the table with these names, made if missing; `None` for a setting that the user wrote in another form, such as
/// an inline table.
fn descend<'a>(
    table: &'a mut Table,
    names: &[&str],
    depth: usize,
    path: &Path,
) -> Result<Option<&'a mut Table>, InitError> {
    let Some(name) = names.get(depth) else { return Ok(Some(table)) };
    let is_own = depth >= 2;
    let item = table.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        // A table without values of its own needs no line.
        table.set_implicit(true);
        Item::Table(table)
    });
    match item.as_table_mut() {
        Some(table) => descend(table, names, depth + 1, path),
        None if is_own => Ok(None),
        None => {
            let key = names[..=depth].join(".");
            Err(InitError::NotATable { file: path.display().to_string(), key })
        }
    }
}

fn value(proposed: &ProposedValue) -> Value {
    match proposed {
        ProposedValue::Text(text) => text.as_str().into(),
        ProposedValue::Number(number) => i64::from(*number).into(),
        ProposedValue::Boolean(boolean) => (*boolean).into(),
        ProposedValue::List(words) => Value::Array(words.iter().map(String::as_str).collect::<Array>()),
        ProposedValue::Table(entries) => {
            let entries = entries.iter().map(|(key, entry)| (key.as_str(), value(entry)));
            Value::InlineTable(entries.collect::<InlineTable>())
        }
        _ => Value::from(""),
    }
}

/// Returns `[[tables]]`, the first below a comment.
fn array_of_tables(tables: &[Vec<(String, ProposedValue)>], comment: &str) -> ArrayOfTables {
    let mut array = ArrayOfTables::new();
    for (index, entries) in tables.iter().enumerate() {
        let mut table = Table::new();
        for (key, entry) in entries {
            table.insert(key, Item::Value(value(entry)));
        }
        let comment = if index == 0 { comment } else { "" };
        table.decor_mut().set_prefix(format!("\n{comment}"));
        array.push(table);
    }
    array
}

/// Parses the settings as a build would.
fn check(text: &str, path: &Path) -> Result<(), Failure> {
    let document: toml::Table = toml::from_str(text).map_err(|error| InitError::Toml {
        file: path.display().to_string(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    let settings = document.get("tool").and_then(|tool| tool.get("ipo-oci"));
    if let Some(settings) = settings {
        Settings::parse(path, &toml::to_string(settings).unwrap_or_default())?;
    }
    Ok(())
}

/// Returns the tables of this command in a document, with their comments.
fn table(text: &str) -> String {
    let mut is_own = false;
    let mut own = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            is_own = line.trim_start_matches('[').starts_with("tool.ipo-oci");
        }
        if is_own {
            own.push_str(line);
            own.push('\n');
        }
    }
    own
}

fn print_instructions(report: &mut String, proposal: &Proposal) {
    for instruction in &proposal.instructions {
        let _ = writeln!(report, "{}:{} {}", instruction.file, instruction.line, instruction.text);
        let _ = writeln!(report, "    {}: {}", instruction.fate.words(), instruction.reason);
    }
    if !proposal.instructions.is_empty() {
        report.push('\n');
    }
}

/// Returns the facts that could not be found out, one a line.
fn open(proposal: &Proposal) -> String {
    let mut open = String::new();
    for line in &proposal.open {
        let _ = writeln!(open, "open: {line}");
    }
    open
}

/// Writes a `.dockerignore` where there is none, and reports the bytes that it saves.
fn ignore_file(root: &Path, report: &mut String) -> Result<(), Failure> {
    let path = root.join(IGNORE_FILE);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let builder = Builder::from_project(root)?;
    let text = format!("{IGNORE_HEAD}{}\n", builder.dockerignore_lines()?.join("\n"));
    let exclude = builder.resolve()?.exclude;
    let kept = |more: &str| -> Result<(u64, u64), Failure> {
        let lines: Vec<&str> = exclude.iter().map(String::as_str).chain(more.lines()).collect();
        let rules = Dockerignore::from_lines(IGNORE_FILE, &lines)
            .map_err(|error| Failure::failed(ipo_oci::context::ContextError::from(error)))?;
        let listing =
            Context::open(root, IgnoreSource::Default)?.with_defaults(rules).walk(Detail::SkipIgnored)?;
        Ok((listing.kept.files, listing.kept.bytes))
    };
    let (before, after) = (kept("")?, kept(&text)?);
    atomic_file::write_text(&path, &text)?;
    let files = before.0.saturating_sub(after.0);
    let plural = if files == 1 { "" } else { "s" };
    let _ = writeln!(
        report,
        "written to {}: keeps out {files} file{plural}, {}",
        path.display(),
        human_size(before.1.saturating_sub(after.1))
    );
    Ok(())
}
