//! Numbers with nouns, and lists of names, for messages.

/// Returns `1 file`, `2 files`; the plural of the noun is formed with `s`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Maximum number of names in most messages.
pub(crate) const MAX_NAMED: usize = 5;

/// Lists the first `most` names, and the number of the rest.
pub(crate) fn first_names(names: &[String], most: usize) -> String {
    let mut text = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > most {
        text = format!("{text} and {} more", names.len() - most);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let said = [0, 1, 2].map(|number| counted(number, "layer"));
        assert_eq!(said, ["0 layers", "1 layer", "2 layers"]);
    }
}
