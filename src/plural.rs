//! Numbers with nouns, and lists of names, for messages.

/// Returns `1 file`, `2 files`; the plural of the noun is formed with `s`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Maximum number of names in one message.
const MAX_NAMED: usize = 5;

/// Lists the first names, and the number of the rest.
pub(crate) fn first_names(names: &[String]) -> String {
    let mut text = names.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMED {
        text = format!("{text} and {} more", names.len() - MAX_NAMED);
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
