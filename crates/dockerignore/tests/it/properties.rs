//! Properties of all ignore files.

use dockerignore::{Dockerignore, Fate, clean, escape};
use proptest::prelude::*;

use crate::strategies::{line, tree};
use crate::tree::{Directory, Reads};

/// Paths of characters that are special somewhere.
fn odd_path() -> impl Strategy<Value = String> {
    "[ab*?\\[\\]\\^|{}()!#+.$ \t\r\n\u{feff}\u{a0}\u{1}é\\\\/-]{1,8}"
        .prop_map(|path| clean(path.trim_start_matches('/')))
        .prop_filter("inside the root", |path| path != "." && !path.starts_with(".."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn pruning_never_loses_a_file(files in tree(), lines in proptest::collection::vec(line(), 0..6)) {
        let ignore = Dockerignore::from_lines("test", &lines).unwrap();
        let mut expected: Vec<String> =
            files.iter().filter(|file| ignore.fate(file).unwrap() == Fate::Kept).cloned().collect();
        expected.sort();
        let tree = Directory::new(&files);
        prop_assert_eq!(&tree.kept(&ignore, Reads::UnlessPruned).unwrap(), &expected);
        prop_assert_eq!(&tree.kept(&ignore, Reads::All).unwrap(), &expected);
        for file in &files {
            for (at, _) in file.match_indices('/') {
                prop_assert!(!ignore.may_prune(&file[..at]) || !expected.contains(file));
            }
        }
    }

    #[test]
    fn an_escaped_path_matches_itself_alone(path in odd_path(), other in odd_path()) {
        let ignore = Dockerignore::from_lines("test", &["*".to_owned(), format!("!{}", escape(&path))]).unwrap();
        prop_assert_eq!(ignore.fate(&path), Ok(Fate::Kept), "{:?}", escape(&path));
        let below = other.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        prop_assert_eq!(ignore.fate(&other).unwrap() == Fate::Kept, below, "{:?} {:?}", path, other);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a*?!\\[\\]^\\\\/.#\u{feff}é -]{0,24}(\n[a*/!\\\\QEdpx:\\[\\]]{0,12}){0,3}", path in "[a-c/é\n]{1,12}") {
        if let Ok(rules) = Dockerignore::parse("x", text.as_bytes()) {
            if let Ok(verdict) = rules.verdict(&path) {
                prop_assert_eq!(verdict.decision.is_some() || verdict.fate == Fate::Kept, true);
            }
            rules.may_prune(&path);
        }
    }
}
