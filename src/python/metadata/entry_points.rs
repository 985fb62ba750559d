//! `entry_points.txt`: the commands of a distribution.
//!
//! Follows the packaging specification "Entry points"
//! (<https://packaging.python.org/en/latest/specifications/entry-points/>). Only the groups
//! `console_scripts` and `gui_scripts` are read; both become a script in `bin/` on Linux.

/// A command: the name of its script and the object reference that the script calls.
///
/// ```text
/// [console_scripts]
/// uvicorn = uvicorn.main:main
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPoint {
    /// The name of the script in `bin/`.
    pub name: String,
    /// The module to import.
    pub module: String,
    /// The object in the module, with its attributes: `main`, `Command.run`.
    pub attribute: String,
}

impl EntryPoint {
    /// Parses `module:attribute`, with optional extras. Returns `None` if no script can call the
    /// reference: without an attribute, or with parts that are not Python identifiers.
    pub fn new(name: &str, reference: &str) -> Option<Self> {
        let reference = reference.split_once('[').map_or(reference, |(before, _)| before).trim();
        let (module, attribute) = reference.split_once(':')?;
        let (module, attribute) = (module.trim(), attribute.trim());
        let named = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0', '\n']);
        (named && is_dotted_name(module) && is_dotted_name(attribute)).then(|| Self {
            name: name.to_owned(),
            module: module.to_owned(),
            attribute: attribute.to_owned(),
        })
    }

    /// Returns the first component of the attribute: the name to import.
    pub fn imported(&self) -> &str {
        self.attribute.split('.').next().unwrap_or(&self.attribute)
    }
}

/// Returns true if `text` is Python identifiers joined by dots.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && part.chars().all(|character| character.is_alphanumeric() || character == '_')
    })
}

/// Parses the file's text. Returns the commands ordered by name, without invalid references.
pub fn parse(text: &str) -> Vec<EntryPoint> {
    let mut points = Vec::new();
    let mut scripts = false;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(group) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            scripts = matches!(group.trim(), "console_scripts" | "gui_scripts");
        } else if scripts && let Some((name, reference)) = line.split_once('=') {
            points.extend(EntryPoint::new(name.trim(), reference));
        }
    }
    points.sort();
    points.dedup_by(|second, first| second.name == first.name);
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_two_groups_of_scripts() {
        let points = parse(
            "[console_scripts]\nuvicorn = uvicorn.main:main\nb=b:C.run [extra]\n\n[pytest11]\nx = y:z\n\
             [gui_scripts]\nshow = a : b\n",
        );
        let read: Vec<_> =
            points.iter().map(|point| (&*point.name, &*point.module, &*point.attribute)).collect();
        assert_eq!(read, [("b", "b", "C.run"), ("show", "a", "b"), ("uvicorn", "uvicorn.main", "main")]);
        assert_eq!(points[0].imported(), "C");
    }

    #[test]
    fn skips_invalid_references() {
        for line in ["a = b", "a = b:c;d", "../a = b:c", "a = 1b:c", "a = b:import os"] {
            assert_eq!(parse(&format!("[console_scripts]\n{line}\n")), [], "{line}");
        }
    }

    proptest! {
        #[test]
        fn returns_only_identifiers(text in "(?s)\\[console_scripts\\]\n[a-z=:. \\[\\]\n/]{0,60}") {
            for point in parse(&text) {
                prop_assert!(is_dotted_name(&point.module) && is_dotted_name(&point.attribute));
                prop_assert!(!point.name.contains('/'));
            }
        }
    }
}
