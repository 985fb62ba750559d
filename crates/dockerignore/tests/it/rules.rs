//! The rules, one test each, and errors.

use dockerignore::{Dockerignore, Error, Fate, clean, escape};

fn fate(lines: &[&str], path: &str) -> Fate {
    Dockerignore::from_lines("test", lines).unwrap().fate(path).unwrap()
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
    let read = |text: &str| Dockerignore::parse("x", text.as_bytes()).unwrap();
    assert_eq!(read("\u{feff}a").fate("a").unwrap(), Fate::Ignored);
    assert!(read("\u{feff}#a").rules().is_empty());
}

#[test]
fn names_the_line_that_decides_and_the_directory_it_matches() {
    let text = "# first\n*.md\n!README.md\n\nbuild/\n";
    let rules = Dockerignore::parse(".dockerignore", text.as_bytes()).unwrap();
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
        let read = Dockerignore::parse("x/.dockerignore", text.as_bytes());
        assert_is_line(read, line, shown);
    }
}

fn assert_is_line<T: std::fmt::Debug>(outcome: Result<T, Error>, line: usize, shown: &str) {
    match outcome {
        Err(Error::Line { file, line: at, text, .. }) => {
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
        let read = |text: String| Dockerignore::parse("x/.dockerignore", text.as_bytes()).unwrap();
        assert_is_line(read(format!("\n{line}\n")).verdict("c/d"), 2, line);
        // No line is asked that could change nothing.
        assert_eq!(read(format!("*\n{line}\n")).fate("c/d").unwrap(), Fate::Ignored, "{line}");
        assert_eq!(read(format!("!{line}\n")).fate("c/d").unwrap(), Fate::Kept, "{line}");
        assert_is_line(read(format!("*\n!{line}\n")).verdict("c/d"), 2, &format!("!{line}"));
    }
}

#[test]
fn refuses_lines_that_are_no_text_and_files_that_are_no_ignore_files() {
    let read = |bytes: &[u8]| Dockerignore::parse("x", bytes);
    assert!(matches!(read(b"a\n\xff\n"), Err(Error::Line { line: 2, .. })));
    assert!(read(b"# caf\xe9\na\n").is_ok(), "a comment may hold anything");
    assert!(matches!(read("a".repeat(70_000).as_bytes()), Err(Error::Line { line: 1, .. })));
    let large = "a\n".repeat(600_000);
    assert!(matches!(read(large.as_bytes()), Err(Error::TooLarge { .. })));
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
    assert_eq!(rules.fate("a/b.pyc").unwrap(), Fate::Ignored);
    assert_eq!(rules.fate("a/keep.pyc").unwrap(), Fate::Kept);
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

#[test]
fn the_root_is_kept() {
    let ignore = Dockerignore::from_lines("test", &["*", "**"]).unwrap();
    for root in ["", "."] {
        let verdict = ignore.verdict(root).unwrap();
        assert_eq!((verdict.fate, verdict.decision), (Fate::Kept, None));
        assert!(!ignore.may_prune(root));
    }
    assert!(!ignore.root().may_prune());
}

#[test]
fn limits_the_memory_of_a_file() {
    let repeated = |times: usize| Dockerignore::parse("x", "a{1000}*\n".repeat(times).as_bytes());
    assert!(repeated(1000).is_ok());
    let error = repeated(100_000).unwrap_err();
    assert!(
        error.to_string().ends_with("invalid pattern `a{1000}*`: too many repetitions in this file"),
        "{error}"
    );
    // Patterns without repetitions fill a file.
    let long = format!("{}*\n", "a".repeat(1022)).repeat(1024);
    assert!(Dockerignore::parse("x", long.as_bytes()).is_ok());
}

#[test]
fn escapes_only_special_characters() {
    for (path, line) in [
        ("a/b.py", "a/b.py"),
        ("#a", "\\#a"),
        ("a#!", "a#!"),
        ("!a", "\\!a"),
        ("[x]*?", "\\[x\\]\\*\\?"),
        ("a\\b", "a\\\\b"),
        (" a ", "\\x{20}a\\x{20}"),
        ("a\nb", "a\\x{a}b"),
        ("{a|b}*", "\\{a\\|b\\}\\*"),
    ] {
        assert_eq!(escape(path), line);
        let ignore = Dockerignore::from_lines("test", &[line]).unwrap();
        assert_eq!(ignore.fate(path), Ok(Fate::Ignored), "{path:?}");
    }
}

#[test]
fn cleans_as_go_does() {
    for (path, cleaned) in [
        ("", "."),
        ("a/..", "."),
        ("a/../..", ".."),
        ("/..", "/"),
        ("//a//b/", "/a/b"),
        ("./a/./b", "a/b"),
        ("../a/..", ".."),
    ] {
        assert_eq!(clean(path), cleaned, "{path:?}");
    }
}
