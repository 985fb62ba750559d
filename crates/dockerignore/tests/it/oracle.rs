//! A comparison with Go's tool chain and moby/patternmatcher, on request.

use std::fs;
use std::path::Path;

use dockerignore::{Dockerignore, Error};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::Value;

use crate::tree::{Directory, Reads};

/// Trees with names that patterns may trip over.
fn odd_trees() -> Vec<Vec<String>> {
    let names = [
        "a", "b", "ab", "abc", "c.py", ".env", "x[1]", "#x", "#", "!y", "a b", "é", "[", "]", "^", "-", "\\",
        "a\\b", "*", "**", "?", "$", "(a)", "{a,b}", "a+", "a|b", "1", "_", ".", "Q", "E", "z",
    ];
    let names: Vec<&str> = names.into_iter().filter(|name| *name != ".").collect();
    let part = proptest::sample::select(names);
    let path = proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    let tree = proptest::collection::vec(path, 30).prop_map(|mut paths| {
        paths.sort();
        let mut taken: Vec<String> = Vec::new();
        for path in paths {
            let clashes = |other: &String| other == &path || path.starts_with(&format!("{other}/"));
            if !taken.iter().any(clashes) {
                taken.push(path);
            }
        }
        taken
    });
    samples(&tree, 24)
}

/// Ignore files as nobody would write them.
fn odd_files(count: usize) -> Vec<String> {
    let odd = vec![
        "[",
        "]",
        "^",
        "-",
        "*",
        "**",
        "?",
        "\\",
        "!",
        "#",
        "/",
        "/",
        ".",
        "..",
        "a",
        "b",
        "c",
        "é",
        "1",
        ":",
        "Q",
        "E",
        "d",
        "s",
        "w",
        "p",
        "x",
        "z",
        "A",
        "0",
        "7",
        "$",
        "(",
        ")",
        "{",
        "}",
        "|",
        "+",
        " ",
        "\t",
        "\u{a0}",
        "\u{feff}",
        "[:alpha:]",
        "[a-c]",
        "[^a]",
        "\\d",
        "\\]",
        "\\x41",
        "_",
        ",",
        "\r",
        "\u{1}",
    ];
    let soup =
        proptest::collection::vec(proptest::sample::select(odd), 0..10).prop_map(|parts| parts.concat());
    let part = proptest::sample::select(vec![
        "a", "b", "ab*", "*", "**", "?", "#", "#x", "[", "[a-c]", "[^a]", "[*", "[a", "a*", "*a", "**a",
        "\\*", "\\", "a\\b", "[]", "[a-]", "x[[]1]", "!y", "é", ".", "..", "", "[z-a]", "[é-z]", "c.py",
        "*.py", "a b", "[\\]]", "[^]", "\\[", "]",
    ]);
    let path = proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    let bang = proptest::sample::select(vec!["", "", "!", "! ", "/", "/!", " "]);
    let line = (bang, prop_oneof![soup, path]).prop_map(|(bang, rest)| format!("{bang}{rest}"));
    let file = proptest::collection::vec(line, 1..4).prop_map(|lines| lines.join("\n"));
    samples(&file, count)
}

/// The same samples each time.
fn samples<T>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Asks Go's tool chain and a checkout of github.com/moby/patternmatcher about 20,000 odd files:
///
/// ```sh
/// PATTERNMATCHER=CHECKOUT cargo test -p dockerignore -- --ignored
/// ```
#[test]
#[ignore = "needs Go, and a checkout of github.com/moby/patternmatcher in PATTERNMATCHER"]
fn keeps_what_patternmatcher_keeps() {
    let checkout = std::env::var("PATTERNMATCHER").expect("PATTERNMATCHER names a checkout");
    let trees = odd_trees();
    let questions: Vec<(usize, String)> =
        odd_files(20_000).into_iter().enumerate().map(|(at, file)| (at % trees.len(), file)).collect();
    let asked = |(tree, file): &(usize, String)| {
        serde_json::json!({"files": trees[*tree], "dockerignore": file}).to_string()
    };
    let asked: Vec<String> = questions.iter().map(asked).collect();
    let answers = ask_go(&checkout, &asked.join("\n"));
    let trees: Vec<Directory> = trees.iter().map(|files| Directory::new(files)).collect();
    let (mut differences, mut errors) = (0, 0);
    for ((tree, file), answer) in questions.iter().zip(&answers) {
        let ours = Dockerignore::parse("x", file.as_bytes())
            .and_then(|ignore| trees[*tree].kept(&ignore, Reads::UnlessPruned));
        let theirs = match answer["error"].as_str() {
            Some(error) => Err(error),
            None => Ok(serde_json::from_value::<Vec<String>>(answer["kept"].clone()).unwrap()),
        };
        errors += usize::from(theirs.is_err());
        let same = match (&ours, &theirs) {
            // The only difference that is known.
            (Err(Error::Line { reason, .. }), _) if reason.contains("Unicode classes") => true,
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (ours, theirs) => ours.is_err() == theirs.is_err(),
        };
        if !same {
            differences += 1;
            println!("{file:?}\n  ours: {ours:?}\n  Go's: {theirs:?}");
        }
    }
    println!("{} files, {errors} of them errors to Go, {differences} differences", answers.len());
    assert_eq!(differences, 0);
}

/// Runs `tests/oracle/main.go` on lines of JSON.
fn ask_go(checkout: &str, questions: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let checkout = fs::canonicalize(checkout).unwrap();
    let module = format!(
        "module oracle\n\ngo 1.21\n\nrequire github.com/moby/patternmatcher v0.0.0\n\n\
         replace github.com/moby/patternmatcher => {}\n",
        checkout.display()
    );
    fs::write(folder.path().join("go.mod"), module).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/main.go");
    fs::copy(program, folder.path().join("main.go")).unwrap();
    fs::write(folder.path().join("questions"), questions).unwrap();
    let output = std::process::Command::new("go")
        .args(["run", "."])
        .current_dir(folder.path())
        .envs([("GOPROXY", "off"), ("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local")])
        .stdin(fs::File::open(folder.path().join("questions")).unwrap())
        .output()
        .expect("`go` is on PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    println!("{}", lines.next().unwrap());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}
