//! Environment variables of flags: empty and misspelled ones, and clap's errors about values, which
//! otherwise name the flag.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Error};

/// The prefix of all variables.
const PREFIX: &str = "IPO_OCI_";
/// The largest edit distance of a misspelled name.
const CLOSE: usize = 2;

/// Treats empty variables as unset: CI systems export undefined settings as empty ones.
pub(super) fn without_empty(command: Command) -> Command {
    let is_empty =
        |argument: &Arg| argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let command = command
        .mut_args(|argument| if is_empty(&argument) { argument.env(Resettable::Reset) } else { argument });
    command.mut_subcommands(without_empty)
}

/// Returns the variables in the environment that no flag has, each with the one probably meant.
pub(super) fn misspelled(command: &Command) -> Vec<(String, String)> {
    let mut known = BTreeSet::new();
    collect(command, &mut known);
    let mut found = Vec::new();
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if !name.starts_with(PREFIX) || known.contains(&name) {
            continue;
        }
        let close = known.iter().map(|known| (strsim::osa_distance(known, &name), known));
        if let Some((_, meant)) = close.filter(|(distance, _)| *distance <= CLOSE).min() {
            found.push((name, meant.clone()));
        }
    }
    found.sort();
    found
}

/// Collects the variables of the command and its subcommands.
fn collect(command: &Command, known: &mut BTreeSet<String>) {
    let names = command.get_arguments().filter_map(Arg::get_env);
    known.extend(names.map(|name| name.to_string_lossy().into_owned()));
    for command in command.get_subcommands() {
        collect(command, known);
    }
}

/// Replaces the flag's name in `error` by the name of its variable, if the flag is not among the
/// `words` of the command line.
pub(super) fn name_variable(mut error: Error, command: &Command, words: &[OsString]) -> Error {
    let Some(ContextValue::String(blamed)) = error.get(ContextKind::InvalidArg) else { return error };
    // Arguments of subcommands are complete only after `build`.
    let mut command = command.clone();
    command.build();
    let variable = find(&command, blamed)
        .filter(|argument| !is_written(argument, words))
        .and_then(Arg::get_env)
        .filter(|variable| std::env::var_os(variable).is_some());
    if let Some(variable) = variable {
        let name = variable.to_string_lossy().into_owned();
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    }
    error
}

/// Finds the argument that clap displays as `name` (`--port <N>`) in the command and its
/// subcommands.
fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|argument| argument.to_string() == name);
    own.or_else(|| command.get_subcommands().find_map(|command| find(command, name)))
}

fn is_written(argument: &Arg, words: &[OsString]) -> bool {
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    words.iter().filter_map(|word| word.to_str()).any(|word| {
        let name = word.split('=').next().unwrap_or(word);
        long.as_deref() == Some(name) || short.as_deref().is_some_and(|short| word.starts_with(short))
    })
}
