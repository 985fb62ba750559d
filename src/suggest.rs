//! Suggestions for misspelled names: keys, transports, architectures, modes.

/// Returns the most similar of the `known` names; up to a third of the letters may differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    let distance = |known: &str| strsim::damerau_levenshtein(&name, &known.to_lowercase());
    let near = known.into_iter().map(|known| (distance(known), known)).min()?;
    (near.0 <= (near.1.chars().count() / 3).max(1)).then_some(near.1)
}

/// Returns `help` with a suggestion, if one of the `known` names is similar to `name`.
pub fn with_nearest<'a>(help: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("{help}; did you mean `{near}`?"),
        None => help.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_similar_names_only() {
        let known = ["keep", "compile", "strip"];
        for (name, near) in [
            ("kep", Some("keep")),
            ("Compile", Some("compile")),
            ("stripp", Some("strip")),
            ("maybe", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
        for (name, near) in [("trm", Some("TERM")), ("HUB", Some("HUP"))] {
            assert_eq!(nearest(name, ["TERM", "HUP"]), near, "{name}");
        }
        assert_eq!(with_nearest("write keep", "kepe", known), "write keep; did you mean `keep`?");
        assert_eq!(with_nearest("write keep", "x", known), "write keep");
    }
}
