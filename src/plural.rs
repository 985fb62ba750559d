//! Numbers with nouns, and lists of names, for messages.

/// Returns `1 file`, `2 files`, `2 entries`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let vowels = ['a', 'e', 'i', 'o', 'u'];
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(vowels)) {
        _ if number == 1 => format!("1 {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {noun}s"),
    }
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
        let said = [counted(1, "entry"), counted(2, "entry"), counted(2, "key")];
        assert_eq!(said, ["1 entry", "2 entries", "2 keys"]);
    }
}
