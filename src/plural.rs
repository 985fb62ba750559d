//! Numbers with nouns, for messages.

/// Returns `1 file`, `2 files`; the plural of the noun is formed with `s`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
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
