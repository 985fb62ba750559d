//! The flags of settings, made from their declarations in [`KEYS`].

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use ipo_oci::recipe::default_text;
use ipo_oci::settings::{Flag, KEYS, Key, KeyGroup, Repetition, Settings};

use super::arguments::message;
use super::heading;

/// The settings from flags and environment variables.
///
/// Flags on which more than their key depends, such as `-t`, are arguments of their own.
#[derive(Debug, Clone, Default)]
pub(super) struct SettingArguments(pub(super) Settings);

impl Args for SettingArguments {
    fn augment_args(command: Command) -> Command {
        flags().fold(command, |command, (key, flag)| command.arg(argument(key, flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut arguments = Self::default();
        arguments.update_from_arg_matches(matches)?;
        Ok(arguments)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for (key, _) in flags() {
            for text in matches.get_many::<String>(key.name).into_iter().flatten() {
                let invalid = |error| Error::raw(ErrorKind::ValueValidation, message("", &error));
                self.0.set(key.name, text).map_err(invalid)?;
            }
        }
        Ok(())
    }
}

/// Returns the keys with a flag of their own.
fn flags() -> impl Iterator<Item = (&'static Key, &'static Flag)> {
    let all = KEYS.iter().filter_map(|key| Some((key, key.flag.as_ref()?)));
    all.filter(|(_, flag)| !flag.is_shared)
}

fn argument(key: &'static Key, flag: &Flag) -> Arg {
    let check = move |text: &str| match Settings::default().set(key.name, text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(message(text, &error)),
    };
    let help = help(key, flag);
    let mut argument = Arg::new(key.name)
        .long(flag.long)
        .value_name(flag.value_name)
        .value_parser(check)
        .action(if flag.repetition == Repetition::Once { ArgAction::Set } else { ArgAction::Append })
        .help_heading(match key.group {
            KeyGroup::Server => heading::APPLICATION,
            KeyGroup::Python => heading::SOURCE,
            KeyGroup::Layers => heading::LAYERS,
            _ => heading::IMAGE,
        })
        .hide_short_help(!flag.is_common);
    if let Some(details) = flag.details {
        argument = argument.long_help(format!("{help}\n\n{details}"));
    }
    if flag.repetition == Repetition::RepeatedOrCommas {
        argument = argument.value_delimiter(',');
    }
    if let Some(short) = flag.short {
        argument = argument.short(short);
    }
    if let Some(variable) = flag.variable {
        argument = argument.env(variable);
    }
    argument.help(help)
}

/// Returns the help of a flag, with the default if that is one value for all targets.
fn help(key: &Key, flag: &Flag) -> String {
    let mut help = flag.help.unwrap_or(key.description()).to_owned();
    if flag.repetition != Repetition::Once {
        help += "; repeatable";
    }
    let default = default_text(key);
    if !default.contains("; ") && !default.contains("](") && !matches!(&*default, "–" | "`[]`" | "see below")
    {
        help = format!("{help} [default: {default}]");
    }
    help.replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::super::Arguments;
    use super::*;
    use clap::CommandFactory as _;

    fn build() -> Command {
        let mut command = Arguments::command();
        command.build();
        command.find_subcommand("build").unwrap().clone()
    }

    #[test]
    fn arguments_of_their_own_are_as_declared() {
        let build = build();
        for (key, flag) in KEYS.iter().filter_map(|key| Some((key, key.flag?))) {
            let argument = build.get_arguments().find(|argument| argument.get_long() == Some(flag.long));
            let argument = argument.unwrap_or_else(|| panic!("--{} of {} is missing", flag.long, key.name));
            assert_eq!(argument.get_short(), flag.short, "{}", key.name);
            let variable = argument.get_env().map(|name| name.to_str().unwrap());
            assert_eq!(variable, flag.variable, "{}", key.name);
            assert_eq!(argument.get_value_names().unwrap()[0].as_str(), flag.value_name, "{}", key.name);
        }
    }

    #[test]
    fn the_reference_lists_every_flag_with_its_variable() {
        let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        let reference = fs_err::read_to_string(reference).unwrap();
        for argument in build().get_arguments().filter(|argument| !argument.is_global_set()) {
            let Some(long) = argument.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
                continue;
            };
            let names = [format!("`--{long}`"), format!("`--{long} "), format!("`--{long}[")];
            let is_row = |line: &&str| line.starts_with('|') && names.iter().any(|name| line.contains(name));
            let mut rows = reference.lines().filter(is_row);
            let variable = argument.get_env().map(|name| format!("`{}`", name.to_str().unwrap()));
            let variable = variable.as_deref().unwrap_or("| – |");
            assert!(
                rows.any(|row| row.contains(variable)),
                "docs/settings.md lacks --{long} with {variable}"
            );
        }
    }

    #[test]
    fn repeated_flags_add_up() {
        let parse = |words: &[&str]| {
            let command = SettingArguments::augment_args(Command::new("x"));
            let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
            Ok::<_, String>(SettingArguments::from_arg_matches(&matches).unwrap().0)
        };
        let settings =
            parse(&["x", "-e", "A=1", "--env", "B=2=3", "-e", "A=2", "--extra", "a,b", "--extra=c"]).unwrap();
        assert_eq!(settings.env, [("A", "2"), ("B", "2=3")].map(|(k, v)| (k.into(), v.into())).into());
        assert_eq!(settings.extras.unwrap().into_items(), ["a", "b", "c"]);
        assert_eq!(
            parse(&["x", "--platform", "linux/amd64,linux/arm64"])
                .unwrap()
                .platform
                .unwrap()
                .as_slice()
                .len(),
            2
        );
        for (words, expected) in [
            (&["x", "--port", "0"][..], "write a whole number from 1 to 65535"),
            (&["x", "--port", "1", "--port", "2"], "cannot be used multiple times"),
            (&["x", "-e", "=1"], "write it as KEY=VALUE"),
            (&["x", "--loop", "fast"], ": write uvloop, asyncio or auto"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
