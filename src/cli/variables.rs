//! Names the environment variable in clap's errors about values, which otherwise name the flag.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Error};

/// Replaces the flag's name in `error` by the name of its variable, if the flag is not among the
/// `words` of the command line.
pub(super) fn blamed(mut error: Error, command: &Command, words: &[OsString]) -> Error {
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
