//! [`normalize`]: names of distributions and extras in their normal form.
//!
//! Follows the packaging specification "Names and normalization" (PEP 503, PEP 685):
//! <https://packaging.python.org/en/latest/specifications/name-normalization/>.

/// Returns the normal form of a distribution's or an extra's name: lower case, with every run of
/// `-`, `_` and `.` as one `-`.
///
/// ```
/// assert_eq!(ipo_oci::python::normalize("Ruamel_.YAML"), "ruamel-yaml");
/// ```
pub fn normalize(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    let mut separated = false;
    for character in name.chars() {
        if matches!(character, '-' | '_' | '.') {
            separated = true;
            continue;
        }
        if separated && !normal.is_empty() {
            normal.push('-');
        }
        separated = false;
        normal.extend(character.to_lowercase());
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn different_spellings_are_one_name() {
        for spelling in
            ["friendly-bard", "Friendly-Bard", "friendly.bard", "friendly__bard", "FrIeNdLy-._.-bArD"]
        {
            assert_eq!(normalize(spelling), "friendly-bard", "{spelling}");
        }
        assert_eq!(normalize("numpy"), "numpy");
    }

    proptest! {
        #[test]
        fn normalizing_is_idempotent(name in "[A-Za-z0-9._-]{0,20}") {
            let once = normalize(&name);
            prop_assert_eq!(normalize(&once), once);
        }
    }
}
