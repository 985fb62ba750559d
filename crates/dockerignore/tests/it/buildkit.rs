//! The verdicts of BuildKit on 500 generated trees, and of moby/patternmatcher on 151 odd files.

use std::path::Path;

use dockerignore::Dockerignore;

use crate::cases::{cases, same_error};
use crate::tree::{Directory, Reads};

#[test]
fn agrees_with_buildkit_on_every_case() {
    let cases = cases(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(cases.len(), 651);
    for (number, case) in cases.into_iter().enumerate() {
        let tree = Directory::new(&case.files);
        for reads in [Reads::UnlessPruned, Reads::All] {
            // If only the expression is bad, the walk finds out.
            let ours = Dockerignore::parse("x", case.dockerignore.as_bytes())
                .and_then(|ignore| tree.kept(&ignore, reads));
            match (&case.outcome, ours) {
                (Err(reference), Err(error)) => {
                    assert!(same_error(&error, reference), "case {number}: {error}, not {reference}");
                }
                (Err(reference), Ok(_)) => panic!("case {number}: accepted, not {reference}"),
                (Ok(_), Err(error)) => panic!("case {number}: {error}"),
                (Ok(expected), Ok(kept)) => {
                    let mut expected = expected.clone();
                    expected.sort();
                    assert_eq!(kept, expected, "case {number}, {:?}", case.dockerignore);
                }
            }
        }
    }
}
