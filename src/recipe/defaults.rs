//! Defaults of the settings in the compiled-in recipes, for the reference, the help and the JSON schema.

use toml::{Table, Value};

use super::Target;
use crate::settings::{Key, KeyGroup};

/// The longest list that the reference repeats, in characters.
const MOST_SHOWN: usize = 80;

impl Target {
    /// Returns the values in the compiled-in recipe, including those of the recipes that it extends.
    pub(super) fn values(self) -> Table {
        let mut own: Table = self.text().parse().unwrap_or_default();
        let below = own.remove("extends").and_then(|name| name.as_str()?.parse::<Self>().ok());
        match below.filter(|below| *below != self) {
            Some(below) => merged(own, below.values()),
            None => own,
        }
    }
}

fn merged(above: Table, mut below: Table) -> Table {
    for (key, value) in above {
        match (value, below.remove(&key)) {
            (Value::Table(above), Some(Value::Table(under))) => {
                below.insert(key, Value::Table(merged(above, under)));
            }
            (value, _) => {
                below.insert(key, value);
            }
        }
    }
    below
}

/// Returns the value of `key` in the compiled-in recipe of `target`.
pub(super) fn value(key: &Key, target: Target) -> Option<Value> {
    // Tables without defaults; their keys may have the names of others.
    let without_defaults = [
        KeyGroup::Files,
        KeyGroup::Prepare,
        KeyGroup::Process,
        KeyGroup::Check,
        KeyGroup::Deploy,
        KeyGroup::DeployProcess,
    ];
    if without_defaults.contains(&key.group) {
        return None;
    }
    let mut values = target.values();
    let table = match key.group {
        KeyGroup::Healthcheck => Some("healthcheck"),
        KeyGroup::Apt => Some("apt"),
        _ => None,
    };
    if let Some(table) = table {
        values = values.remove(table)?.as_table().cloned()?;
    }
    values.remove(key.name)
}

/// Returns the default of `key` as Markdown: `` `4` ``, or `` `false`; dev: `true` `` if it differs
/// between targets. Refers to the recipe for a long one; `–` means none.
pub fn default_text(key: &Key) -> String {
    let mut texts: Vec<(Vec<Target>, String)> = Vec::new();
    for target in Target::ALL {
        let text = match value(key, target) {
            // The table's own properties are the default.
            None if key.group == KeyGroup::Healthcheck && target != Target::Runtime => continue,
            None => key.default.unwrap_or("–").to_owned(),
            Some(value) => {
                let text = short(&value).filter(|text| text.chars().count() <= MOST_SHOWN);
                text.map_or_else(|| link(key, target), |text| format!("`{text}`"))
            }
        };
        match texts.iter_mut().find(|(_, known)| *known == text) {
            Some((targets, _)) => targets.push(target),
            None => texts.push((vec![target], text)),
        }
    }
    let parts = texts.iter().enumerate().map(|(index, (targets, text))| {
        if index == 0 {
            return text.clone();
        }
        let names: Vec<&str> = targets.iter().map(|target| target.as_str()).collect();
        format!("{}: {text}", names.join(", "))
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// Refers to the recipe that has the value of `key` for `target`: its own, or the one that it extends.
fn link(key: &Key, target: Target) -> String {
    let own: Table = target.text().parse().unwrap_or_default();
    let owner = if own.contains_key(key.name) { target } else { Target::Runtime };
    format!("[recipe `{owner}`](../layers/{owner}.toml)")
}

/// Returns a value on one line, as in TOML; `None` for a table.
fn short(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        Value::Table(_) => None,
        other => Some(other.to_string()),
    }
}
