//! The meaning of `.dockerignore`: BuildKit's verdicts on 500 generated trees, those of moby/patternmatcher on 150 odd files,
//! and a table of the rules.

use std::fs;
use std::path::{Path, PathBuf};
use test_macros::test;

use ipo_oci::context::{
    Context, ContextError, Detail, Dockerignore, Fate, IgnoreSource, Listing, SourceKind,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::Value;

/// One line of `tests/data/dockerignore-cases.jsonl`, made by a BuildKit of 2026-08, or of `dockerignore-odd-cases.jsonl`, made
/// by `tests/oracle/dockerignore.go` with Go 1.27.3.
struct Case {
    files: Vec<String>,
    dockerignore: String,
    /// What is kept of `files`, or the reference's error.
    outcome: Result<Vec<String>, String>,
}

fn cases() -> Vec<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap();
    let text = read("dockerignore-cases.jsonl") + &read("dockerignore-odd-cases.jsonl");
    text.lines()
        .map(|line| {
            let case: Value = serde_json::from_str(line).unwrap();
            let strings = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
            Case {
                files: strings(&case["files"]),
                dockerignore: case["dockerignore"].as_str().unwrap().to_owned(),
                outcome: match case["error"].as_str() {
                    Some(error) => Err(error.to_owned()),
                    None => Ok(strings(&case["kept"])),
                },
            }
        })
        .collect()
}

fn plant(root: &Path, files: &[String]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

/// What is kept but directories and the ignore file itself, sorted as the cases are.
fn kept(listing: &Listing) -> Vec<String> {
    let is_file = |kind: &SourceKind| matches!(kind, SourceKind::File { .. });
    let files = listing.files.iter().filter(|file| is_file(&file.kind) && file.path != ".dockerignore");
    let mut paths: Vec<String> = files.map(|file| file.path.clone()).collect();
    paths.sort();
    paths
}

fn same_error(error: &ContextError, reference: &str) -> bool {
    let ContextError::IgnoreLine { reason, .. } = error else { return false };
    reference.contains("illegal exclusion pattern") == reason.contains("expected a pattern after `!`")
}

#[test]
fn agrees_with_buildkit_on_every_case() {
    let cases = cases();
    assert_eq!(cases.len(), 651);
    for (number, case) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("context"), folder.path().join("Dockerfile.dockerignore"));
        plant(&root, &case.files);
        fs::write(&outside, &case.dockerignore).unwrap();
        let elsewhere = Context::open(&root, IgnoreSource::File(outside));
        fs::write(root.join(".dockerignore"), &case.dockerignore).unwrap();
        let inside = Context::open(&root, IgnoreSource::Default);
        for context in [elsewhere, inside] {
            // Where only the expression is bad, the walk finds out.
            let context = context.and_then(|context| context.walk(Detail::SkipIgnored).map(|_| context));
            match (&case.outcome, context) {
                (Err(reference), Err(error)) => {
                    assert!(same_error(&error, reference), "case {number}: {error}, not {reference}");
                }
                (Err(reference), Ok(_)) => panic!("case {number}: taken, not {reference}"),
                (Ok(_), Err(error)) => panic!("case {number}: {error}"),
                (Ok(expected), Ok(context)) => {
                    let mut expected = expected.clone();
                    expected.sort();
                    for detail in [Detail::SkipIgnored, Detail::CountIgnored] {
                        let listing = context.walk(detail).unwrap();
                        assert_eq!(kept(&listing), expected, "case {number}, {:?}", case.dockerignore);
                        assert_parents_stand_before_children(&listing);
                    }
                    let counted = context.walk(Detail::CountIgnored).unwrap();
                    let there = case.files.len() + usize::from(root_has_own_file(&context));
                    assert_eq!(counted.kept.files + counted.ignored.files, there as u64, "case {number}");
                }
            }
        }
    }
}

fn root_has_own_file(context: &Context) -> bool {
    context.root().join(".dockerignore").exists()
}

fn assert_parents_stand_before_children(listing: &Listing) {
    let mut directories = std::collections::BTreeSet::new();
    let mut last: Vec<&str> = Vec::new();
    for file in &listing.files {
        if let Some((parent, _)) = file.path.rsplit_once('/') {
            assert!(directories.contains(parent), "{parent} is missing before {}", file.path);
        }
        let parts: Vec<&str> = file.path.split('/').collect();
        assert!(last < parts, "{} is out of order", file.path);
        last = parts;
        if matches!(file.kind, SourceKind::Directory) {
            directories.insert(file.path.as_str());
        }
    }
}

fn fate(lines: &[&str], path: &str) -> Fate {
    Dockerignore::from_lines("test", lines).unwrap().verdict(path).unwrap().fate
}

/// `rules!(name: [lines] keeps [paths] ignores [paths]; …)`: one test a rule.
macro_rules! rules {
    ($($name:ident: $lines:expr, keeps $kept:expr, ignores $ignored:expr;)*) => {$(
        #[test]
        fn $name() {
            let (kept, ignored): (&[&str], &[&str]) = (&$kept, &$ignored);
            for path in kept {
                assert_eq!(fate(&$lines, path), Fate::Kept, "{path}");
            }
            for path in ignored {
                assert_eq!(fate(&$lines, path), Fate::Ignored, "{path}");
            }
        }
    )*};
}

rules! {
    // Reading a line.
    hash_starts_a_comment_in_the_first_column_only: ["#a", " #b"], keeps ["#a", "a"], ignores ["#b"];
    an_escaped_hash_is_a_pattern: ["\\#a"], keeps ["a"], ignores ["#a"];
    white_space_around_a_pattern_goes: ["\t a b \r"], keeps ["a"], ignores ["a b"];
    white_space_after_the_bang_goes: ["*", "!  a"], keeps ["a"], ignores ["b"];
    empty_lines_say_nothing: ["", "  ", "a"], keeps ["b"], ignores ["a"];
    one_leading_slash_means_the_root: ["/foo"], keeps ["a/foo"], ignores ["foo", "foo/x"];
    two_leading_slashes_too: ["//foo"], keeps ["a/foo"], ignores ["foo"];
    a_leading_dot_slash_goes: ["./foo"], keeps ["a/foo"], ignores ["foo"];
    a_trailing_slash_says_nothing: ["foo/"], keeps ["a/foo"], ignores ["foo", "foo/x"];
    double_slashes_and_dots_inside_go: ["a//./b/../c"], keeps ["a/b", "a/b/c"], ignores ["a/c"];
    climbing_above_the_root_matches_nothing: ["../a"], keeps ["a", "b/a"], ignores [];
    the_root_itself_cannot_be_ignored: ["/", "."], keeps ["a", ".a"], ignores [];
    a_bang_behind_a_slash_is_still_one: ["*", "/!a"], keeps ["a"], ignores ["!a"];
    an_escaped_bang_is_a_pattern: ["\\!a"], keeps ["a"], ignores ["!a"];
    two_bangs_name_a_file_with_one: ["*", "!!a"], keeps ["!a"], ignores ["a"];

    // Matching one name.
    is_anchored_at_the_root: ["foo"], keeps ["a/foo", "foox", "xfoo"], ignores ["foo"];
    matches_what_is_below: ["foo"], keeps ["bar"], ignores ["foo/bar/baz"];
    a_star_stays_in_one_component: ["*/foo"], keeps ["foo", "a/b/foo"], ignores ["a/foo"];
    a_star_matches_nothing_too: ["foo*"], keeps ["fo"], ignores ["foo", "foobar"];
    a_leading_dot_is_nothing_special: ["*"], keeps [], ignores [".env", "a"];
    a_question_mark_is_one_character: ["a?c"], keeps ["ac", "a/c", "abbc"], ignores ["abc", "aéc"];
    a_dot_is_a_dot: ["a.c*"], keeps ["abc"], ignores ["a.c", "a.css"];
    brackets_hold_ranges: ["[a-c]x"], keeps ["dx", "-x"], ignores ["ax", "bx", "cx"];
    a_caret_negates_and_takes_slashes_too: ["x[^a]y"], keeps ["xay"], ignores ["xby", "x/y"];
    an_exclamation_mark_does_not_negate: ["[!a]"], keeps ["b"], ignores ["a", "!"];
    a_backslash_escapes: ["\\*", "\\[a\\]", "b\\?"], keeps ["x", "a", "bc"], ignores ["*", "[a]", "b?"];
    a_backslash_before_a_letter_is_a_class: ["a\\d", "b\\sc"], keeps ["ad", "bsc"], ignores ["a7", "b c"];
    a_named_class_in_brackets: ["[[:digit:]_]x"], keeps ["ax", ":x"], ignores ["1x", "_x"];
    a_star_closes_brackets: ["[*-z]"], keeps ["b", "*", "-"], ignores ["-z]", "^-z]"];
    case_matters: ["Foo"], keeps ["foo"], ignores ["Foo"];
    brackets_that_close_nowhere_for_match_may_close_in_the_expression: ["#/*/[/*", "/#/*/[/*"],
        keeps ["a", "#", "#/a", "#/a/b"], ignores ["#/a//", "#/a/^", "#/a/["];
    // As BuildKit does: of `.+()|{}$` it means to escape all, and three of them it does not.
    a_bar_beside_a_wildcard_is_an_alternative: ["a|b*"], keeps ["c", "xa", "d/c"], ignores ["ax", "a/c", "xb", "c/xby"];
    a_bar_alone_is_itself: ["a|b"], keeps ["a", "b"], ignores ["a|b"];
    a_number_in_braces_beside_a_wildcard_repeats: ["a{2}*", "b{1,}c?", "d{0}e?"],
        keeps ["a", "ab", "a{2}", "c1", "b{1,}c1", "de1"], ignores ["aa", "aab", "bbc1", "e1"];
    a_number_in_braces_alone_is_itself: ["a{2}"], keeps ["aa"], ignores ["a{2}"];
    braces_and_the_like_are_themselves: ["{a,b}*", "(c)?"], keeps ["a", "c"], ignores ["{a,b}", "(c)d"];

    // Across directories.
    two_stars_cross_directories: ["**/foo"], keeps ["xfoo", "foox"], ignores ["foo", "a/foo", "a/b/foo/c"];
    two_stars_between: ["a/**/z"], keeps ["z", "a/bz"], ignores ["a/z", "a/b/z", "a/b/c/z"];
    two_stars_behind_a_name_mean_what_is_below: ["abc/**"], keeps ["abc", "abcd"], ignores ["abc/d", "abc/d/e"];
    two_stars_glued_to_the_end_of_a_name: ["ab**"], keeps ["a", "x/ab"], ignores ["ab", "abc", "ab/c", "abc/d"];
    two_stars_glued_to_a_name_match_its_end: ["**foo"], keeps ["foox"], ignores ["foo", "xfoo", "a/xfoo"];
    two_stars_alone_match_all: ["**"], keeps [], ignores ["a", "a/b", ".a"];
    suffixes_everywhere: ["**/*.pyc"], keeps ["a.py", "a.pycx"], ignores ["a.pyc", "a/b.pyc"];
    a_star_behind_two_needs_a_name: ["a/**/*"], keeps ["a"], ignores ["a/b", "a/b/c"];

    // Several lines.
    the_last_match_wins: ["*.md", "!README.md", "README*"], keeps ["a.py"], ignores ["b.md", "README.md"];
    a_bang_takes_back_in: ["*.md", "!README.md"], keeps ["README.md"], ignores ["b.md"];
    a_bang_before_says_nothing: ["!README.md", "*.md"], keeps ["a"], ignores ["README.md"];
    reincludes_below_an_excluded_directory: ["a", "!a/b/keep"], keeps ["a/b/keep"], ignores ["a", "a/b", "a/b/x"];
    reincludes_everywhere_with_two_stars: ["a", "!**/keep"], keeps ["a/keep", "a/b/keep"], ignores ["a/b/x"];
    reincludes_a_whole_directory: ["*", "!src"], keeps ["src", "src/a/b"], ignores ["a"];
    excludes_again_below_what_came_back: ["*", "!src", "**/*.pyc"], keeps ["src/a"], ignores ["src/a.pyc", "a"];
    // As BuildKit does: `!a` changes nothing for `a` itself, so `a/b` does not inherit it.
    a_bang_that_changed_nothing_above_is_not_inherited: ["a/b", "!a"], keeps ["a"], ignores ["a/b"];
    nor_is_a_second_exclusion: ["a", "!a/b", "a"], keeps ["a/b"], ignores ["a", "a/c"];
}

#[test]
fn a_byte_order_mark_is_dropped_before_anything_else() {
    let read = |text: &str| Dockerignore::parse(Path::new("x"), text.as_bytes()).unwrap();
    assert_eq!(read("\u{feff}a").verdict("a").unwrap().fate, Fate::Ignored);
    assert!(read("\u{feff}#a").rules().is_empty());
}

#[test]
fn names_the_line_that_decides_and_the_directory_it_matches() {
    let text = "# first\n*.md\n!README.md\n\nbuild/\n";
    let rules = Dockerignore::parse(Path::new(".dockerignore"), text.as_bytes()).unwrap();
    let explain = |path: &str| {
        let verdict = rules.verdict(path).unwrap();
        verdict.decision.map(|decision| (decision.rule.to_string(), decision.parent))
    };
    assert_eq!(explain("a.md"), Some((".dockerignore:2: *.md".to_owned(), None)));
    assert_eq!(explain("README.md"), Some((".dockerignore:3: !README.md".to_owned(), None)));
    assert_eq!(explain("main.py"), None);
    let by_parent = (".dockerignore:5: build/".to_owned(), Some("build".to_owned()));
    assert_eq!(explain("build/x/y"), Some(by_parent));
}

#[test]
fn a_bad_line_names_the_file_the_line_and_the_text() {
    for (text, line, shown) in [
        ("a\n[", 2, "["),
        ("!", 1, "!"),
        ("a\n\n ! ", 3, "!"),
        ("!/", 1, "!/"),
        ("!/..", 1, "!/.."),
        ("[]a]", 1, "[]a]"),
        ("[a", 1, "[a"),
        ("[^]", 1, "[^]"),
        ("[-a]", 1, "[-a]"),
        ("[a-]", 1, "[a-]"),
        ("a\\", 1, "a\\"),
        ("**/[", 1, "**/["),
    ] {
        let read = Dockerignore::parse(Path::new("x/.dockerignore"), text.as_bytes());
        assert_is_line(read, line, shown);
    }
}

fn assert_is_line<T: std::fmt::Debug>(outcome: Result<T, ContextError>, line: usize, shown: &str) {
    match outcome {
        Err(ContextError::IgnoreLine { file, line: at, text, .. }) => {
            assert_eq!((file.as_str(), at, text.as_str()), ("x/.dockerignore", line, shown));
        }
        other => panic!("{shown:?}: {other:?}"),
    }
}

/// `filepath.Match(pattern, ".")` finds nothing wrong with these, and `regexp` compiles them when they are asked.
#[test]
fn a_line_that_only_its_expression_shows_to_be_bad_is_an_error_where_it_is_asked() {
    for line in [
        "[z-a]",
        "**/[é-z]",
        "a\\y",
        "a\\pL",
        "[[:nothing:]]",
        // Behind a chunk that does not match, Go reads no further.
        "a*/[",
        "*b/*/[",
    ] {
        let read = |text: String| Dockerignore::parse(Path::new("x/.dockerignore"), text.as_bytes()).unwrap();
        assert_is_line(read(format!("\n{line}\n")).verdict("c/d"), 2, line);
        // No line is asked that could change nothing.
        assert_eq!(read(format!("*\n{line}\n")).verdict("c/d").unwrap().fate, Fate::Ignored, "{line}");
        assert_eq!(read(format!("!{line}\n")).verdict("c/d").unwrap().fate, Fate::Kept, "{line}");
        assert_is_line(read(format!("*\n!{line}\n")).verdict("c/d"), 2, &format!("!{line}"));
    }
}

#[test]
fn refuses_lines_that_are_no_text_and_files_that_are_no_ignore_files() {
    let read = |bytes: &[u8]| Dockerignore::parse(Path::new("x"), bytes);
    assert!(matches!(read(b"a\n\xff\n"), Err(ContextError::IgnoreLine { line: 2, .. })));
    assert!(read(b"# caf\xe9\na\n").is_ok(), "a comment may hold anything");
    assert!(matches!(read("a".repeat(70_000).as_bytes()), Err(ContextError::IgnoreLine { line: 1, .. })));
    let large = "a\n".repeat(600_000);
    assert!(matches!(read(large.as_bytes()), Err(ContextError::IgnoreTooLarge { .. })));
}

#[test]
fn hostile_patterns_take_no_exponential_time() {
    let path = format!("{}/c", "a".repeat(250));
    for pattern in ["**/**/**/*a*a*a*a*a*a*a*a*b".to_owned(), "*a".repeat(2000), "**/".repeat(5000) + "b"] {
        assert_eq!(fate(&[&pattern], &path), Fate::Kept, "{pattern:.40}");
    }
    assert_eq!(fate(&[&("**/".repeat(5000) + "*a*a*a*c")], "a/b/aaac"), Fate::Ignored);
}

#[test]
fn defaults_come_before_the_lines_of_the_file() {
    let own = Dockerignore::from_lines("own", &["!**/keep.pyc"]).unwrap();
    let rules = own.after(Dockerignore::from_lines("defaults", &["**/*.pyc"]).unwrap());
    assert_eq!(rules.verdict("a/b.pyc").unwrap().fate, Fate::Ignored);
    assert_eq!(rules.verdict("a/keep.pyc").unwrap().fate, Fate::Kept);
}

#[test]
fn prunes_only_what_no_line_can_bring_back() {
    for (lines, directory, prune) in [
        (&["a"] as &[&str], "a", true),
        (&["a"], "b", false),
        (&["a", "!b"], "a", true),
        (&["a", "!a/b/c"], "a", false),
        (&["a", "!a/b/c"], "a/b", false),
        (&["a", "!a/b/c"], "a/x", true),
        (&["a", "!**/c"], "a", false),
        (&["!**/c", "a"], "a", true),
        (&["a", "!a*/c"], "a", false),
        (&["a", "!b*/c"], "a", true),
        (&["a/*", "!a/*/**"], "a/b", false),
        (&["*", "!src"], "node_modules", true),
        (&["*", "!src"], "src", false),
    ] {
        let rules = Dockerignore::from_lines("test", lines).unwrap();
        assert_eq!(rules.may_prune(directory), prune, "{lines:?} {directory}");
    }
}

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "b", "ab", "c.py", "x[1]", ".env"]).prop_map(str::to_owned)
}

fn tree() -> impl Strategy<Value = Vec<String>> {
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

fn line() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => name(),
        4 => proptest::sample::select(vec!["*", "**", "a*", "?", "[a-c]", "[^a]", "*.py", "**b", "a**", "\\*", "[*-b]"])
            .prop_map(str::to_owned),
    ];
    let parts = proptest::collection::vec(part, 1..4);
    (any::<bool>(), parts)
        .prop_map(|(bang, parts)| format!("{}{}", if bang { "!" } else { "" }, parts.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn pruning_never_loses_a_file(files in tree(), lines in proptest::collection::vec(line(), 0..6)) {
        let folder = tempfile::tempdir().unwrap();
        plant(folder.path(), &files);
        let rules = Dockerignore::from_lines("test", &lines).unwrap();
        let context = Context::open(folder.path(), IgnoreSource::None).unwrap().with_defaults(rules.clone());
        let pruned = context.walk(Detail::SkipIgnored).unwrap();
        let mut expected: Vec<String> =
            files.iter().filter(|file| rules.verdict(file).unwrap().fate == Fate::Kept).cloned().collect();
        expected.sort();
        prop_assert_eq!(kept(&pruned), expected);
        let counted = context.walk(Detail::CountIgnored).unwrap();
        prop_assert_eq!(&counted.files, &pruned.files);
        prop_assert_eq!(counted.kept.files + counted.ignored.files, files.len() as u64);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a*?!\\[\\]^\\\\/.#\u{feff}é -]{0,24}(\n[a*/!\\\\QEdpx:\\[\\]]{0,12}){0,3}", path in "[a-c/é\n]{1,12}") {
        if let Ok(rules) = Dockerignore::parse(Path::new("x"), text.as_bytes()) {
            if let Ok(verdict) = rules.verdict(&path) {
                prop_assert_eq!(verdict.decision.is_some() || verdict.fate == Fate::Kept, true);
            }
            rules.may_prune(&path);
        }
    }
}

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
/// PATTERNMATCHER=CHECKOUT cargo test --test it dockerignore:: -- --ignored
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
    let folders: Vec<tempfile::TempDir> = trees.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    for (folder, tree) in folders.iter().zip(&trees) {
        plant(folder.path(), tree);
    }
    let (mut differences, mut errors) = (0, 0);
    for ((tree, file), answer) in questions.iter().zip(&answers) {
        let ours = Dockerignore::parse(Path::new("x"), file.as_bytes()).and_then(|rules| {
            let context = Context::open(folders[*tree].path(), IgnoreSource::None)?.with_defaults(rules);
            Ok(kept(&context.walk(Detail::SkipIgnored)?))
        });
        let theirs = match answer["error"].as_str() {
            Some(error) => Err(error),
            None => Ok(serde_json::from_value::<Vec<String>>(answer["kept"].clone()).unwrap()),
        };
        errors += usize::from(theirs.is_err());
        let same = match (&ours, &theirs) {
            // The only difference that is known.
            (Err(ContextError::IgnoreLine { reason, .. }), _) if reason.contains("Unicode classes") => true,
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

/// Runs `tests/oracle/dockerignore.go` on lines of JSON.
fn ask_go(checkout: &str, questions: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let checkout = fs::canonicalize(checkout).unwrap();
    let module = format!(
        "module oracle\n\ngo 1.21\n\nrequire github.com/moby/patternmatcher v0.0.0\n\n\
         replace github.com/moby/patternmatcher => {}\n",
        checkout.display()
    );
    fs::write(folder.path().join("go.mod"), module).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/dockerignore.go");
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

#[test]
fn the_file_that_was_asked_for_replaces_the_one_in_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("Dockerfile.dockerignore");
    plant(folder.path(), &["a".to_owned(), "b".to_owned()]);
    fs::write(folder.path().join(".dockerignore"), "a\n.dockerignore\n").unwrap();
    fs::write(&other, "b\nDockerfile*\n").unwrap();
    let listed =
        |source| kept(&Context::open(folder.path(), source).unwrap().walk(Detail::SkipIgnored).unwrap());
    assert_eq!(listed(IgnoreSource::Default), ["Dockerfile.dockerignore", "b"]);
    assert_eq!(listed(IgnoreSource::File(other)), ["a"]);
    assert_eq!(listed(IgnoreSource::None), ["Dockerfile.dockerignore", "a", "b"]);
    let missing = IgnoreSource::File(PathBuf::from("no-such-file"));
    assert!(matches!(Context::open(folder.path(), missing), Err(ContextError::IgnoreMissing(_))));
}
