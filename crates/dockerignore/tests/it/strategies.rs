//! Generated trees and ignore files. The tests of ipo-oci include this file.

use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "b", "ab", "c.py", "x[1]", ".env"]).prop_map(str::to_owned)
}

/// Paths of files in one tree.
pub(crate) fn tree() -> impl Strategy<Value = Vec<String>> {
    let path = proptest::collection::vec(name(), 1..5).prop_map(|parts| parts.join("/"));
    proptest::collection::vec(path, 1..20).prop_map(|paths| {
        let mut taken: Vec<String> = Vec::new();
        for path in paths {
            let clashes = |other: &String| {
                other == &path
                    || other.starts_with(&format!("{path}/"))
                    || path.starts_with(&format!("{other}/"))
            };
            if !taken.iter().any(clashes) {
                taken.push(path);
            }
        }
        taken
    })
}

/// A line of patterns that may match files of [`tree`].
pub(crate) fn line() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => name(),
        4 => proptest::sample::select(vec!["*", "**", "a*", "?", "[a-c]", "[^a]", "*.py", "**b", "a**", "\\*", "[*-b]"])
            .prop_map(str::to_owned),
    ];
    let parts = proptest::collection::vec(part, 1..4);
    (any::<bool>(), parts)
        .prop_map(|(bang, parts)| format!("{}{}", if bang { "!" } else { "" }, parts.join("/")))
}
