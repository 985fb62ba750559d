//! Numbers with their nouns, for everything that a person reads.

/// Returns `1 file`, `2 files`; the noun's plural is with an `s`.
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
