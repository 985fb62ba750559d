//! The tables of `docs/settings.md` and `docs/settings.schema.json`, which are made from the
//! declarations of the settings.

use std::fmt::Write as _;

use super::{Recipe, Target, default_text, schema};
use crate::settings::{
    APT_KEYS, CHECK_KEYS, DEPLOY_KEYS, DEPLOY_PROCESS_KEYS, FILE_KEYS, Flag, HEALTHCHECK_KEYS, KEYS, Key,
    KeyGroup, PREPARE_KEYS, PROCESS_KEYS, Repetition, Settings,
};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");

/// The headings of `docs/settings.md` below which a table of keys follows.
const HEADINGS: [(&str, KeyGroup); 15] = [
    ("## The image", KeyGroup::Image),
    ("## The server", KeyGroup::Server),
    ("### `healthcheck`", KeyGroup::Healthcheck),
    ("## Python", KeyGroup::Python),
    ("## The system", KeyGroup::System),
    ("### `apt`", KeyGroup::Apt),
    ("### `process`", KeyGroup::Process),
    ("## The source", KeyGroup::Source),
    ("### `files`", KeyGroup::Files),
    ("### `prepare`", KeyGroup::Prepare),
    ("## Layers and size", KeyGroup::Layers),
    ("### `check`", KeyGroup::Check),
    ("## Deployment", KeyGroup::Deploy),
    ("### `deploy.process`", KeyGroup::DeployProcess),
    ("## Scope of keys", KeyGroup::Scope),
];

/// Returns the keys of all tables.
fn all_keys() -> impl Iterator<Item = &'static Key> {
    let tables = [KEYS, HEALTHCHECK_KEYS, FILE_KEYS, PREPARE_KEYS, PROCESS_KEYS, CHECK_KEYS, APT_KEYS];
    tables.into_iter().chain([DEPLOY_KEYS, DEPLOY_PROCESS_KEYS]).flatten()
}

/// Returns `text` with the first table of keys below each heading made anew.
fn with_tables(text: &str) -> String {
    let mut made = String::new();
    let mut pending: Vec<KeyGroup> = HEADINGS.map(|(_, group)| group).to_vec();
    let (mut group, mut is_inside) = (None, false);
    for line in text.lines() {
        if line.starts_with('#') {
            group = HEADINGS.iter().find(|(heading, _)| *heading == line).map(|(_, group)| *group);
        }
        if let Some(group) = group.take_if(|_| line.starts_with("| key |")) {
            pending.retain(|missing| *missing != group);
            made += &table(group);
            is_inside = true;
        }
        is_inside &= line.starts_with('|');
        if !is_inside {
            made += line;
            made.push('\n');
        }
    }
    assert!(pending.is_empty(), "docs/settings.md has no table `| key | …` for {pending:?}");
    made
}

/// Makes the table of the keys of `group`.
fn table(group: KeyGroup) -> String {
    let keys: Vec<&Key> = all_keys().filter(|key| key.group == group).collect();
    let has_flags = keys.iter().any(|key| key.flag.is_some());
    let third = if group == KeyGroup::Scope { "meaning" } else { "default" };
    let mut columns = vec!["key", "type", third];
    columns.extend(has_flags.then_some(["flag", "variable"]).into_iter().flatten());
    let mut made = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for key in keys {
        let third = if group == KeyGroup::Scope { key.description().to_owned() } else { default_text(key) };
        let _ = write!(made, "| `{}` | {} | {third} |", key.name, key.form);
        if has_flags {
            let flag = key.flag.as_ref().map_or("–".to_owned(), flag_text);
            let variable = key.flag.and_then(|flag| flag.variable).map(|name| format!("`{name}`"));
            let _ = write!(made, " {flag} | {} |", variable.as_deref().unwrap_or("–"));
        }
        made.push('\n');
    }
    made
}

fn flag_text(flag: &Flag) -> String {
    let short = flag.short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let repetition = match flag.repetition {
        Repetition::Once => "",
        Repetition::Repeated => ", repeated",
        Repetition::RepeatedOrCommas => ", repeated or with commas",
    };
    format!("{short}`--{} {}`{repetition}", flag.long, flag.value_name)
}

/// `SNAPSHOTS=overwrite cargo test --lib recipe::documents` writes the file.
#[test]
fn the_reference_is_made_from_the_declarations() {
    let reference = fs_err::read_to_string(REFERENCE).unwrap();
    snapbox::assert_data_eq!(with_tables(&reference), snapbox::file!("../../docs/settings.md").raw());
}

/// `SNAPSHOTS=overwrite cargo test --lib recipe::documents` writes the file.
#[test]
fn the_schema_is_made_from_the_declarations() {
    let made = format!("{:#}\n", schema());
    snapbox::assert_data_eq!(made, snapbox::file!("../../docs/settings.schema.json").raw());
}

#[test]
fn every_key_has_a_description_and_the_default_of_its_recipes() {
    for key in all_keys() {
        let description = key.description();
        assert!(description.starts_with(|c: char| c == 'u' || c.is_uppercase() || c == '`'), "{description}");
        assert!(!key.form.is_empty(), "{}", key.name);
    }
    let default = |name: &str| default_text(KEYS.iter().find(|key| key.name == name).unwrap());
    assert_eq!(default("port"), "`8000`");
    assert_eq!(default("reload"), "`false`; dev: `true`");
    assert_eq!(default("distributions"), "`declared`; builder, dev: `installed`");
    assert_eq!(default("max-size"), "–");
    assert!(default("exclude").contains("recipe `runtime`"), "{}", default("exclude"));
    assert_eq!(Target::Builder.values()["healthcheck"].as_bool(), Some(false));
}

#[test]
fn defaults_in_the_code_are_the_documented_ones() {
    let recipe = Recipe::resolve(Target::Runtime, None, Settings::default()).unwrap();
    let default = |name: &str| default_text(KEYS.iter().find(|key| key.name == name).unwrap());
    assert_eq!(default("tag"), format!("`{}`", recipe.tag));
    assert!(recipe.cmd.is_empty() && recipe.extras.is_empty() && recipe.allow_missing.is_empty());
    for (name, text) in [("cmd", "`[]`; builder: "), ("extras", "`[]`"), ("allow-missing", "`[]`")] {
        assert!(default(name).starts_with(text), "{name}");
    }
    // A check that is enabled over the builder's `false` has the times of the runtime's.
    let enabled = |target| {
        let settings = toml::from_str("healthcheck = true").unwrap();
        Recipe::resolve(target, None, settings).unwrap().healthcheck
    };
    assert_eq!(enabled(Target::Builder), enabled(Target::Runtime));
}
