//! The commands that a maintainer script would run, found without running it.
//!
//! Covers the part of the POSIX shell language that scripts consist of: lists, `if`, `case`, loops, functions,
//! assignments, here-documents. Conditions on the script's arguments and on versions are decided, those on files by a
//! [`ScriptHost`]; after any other condition, both branches count. A word that depends on anything but constants is
//! unknown. A command whose words are known and that runs in every case is left to the host.

mod lexer;
mod parser;

use std::collections::BTreeMap;
use std::rc::Rc;

use parser::{AndOr, ScriptNode, SimpleCommand};

/// A command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptCommand {
    /// The program and its arguments; `None` for a word that is not constant.
    pub(super) words: Vec<Option<String>>,
    /// True if the command's output goes to a file other than `/dev/null`.
    pub(super) writes: bool,
}

/// The outcome of a command, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TestOutcome {
    Success,
    Failure,
    Unknown,
}

impl TestOutcome {
    /// Returns the outcome of a decided condition.
    pub(super) fn of(is_true: bool) -> Self {
        if is_true { Self::Success } else { Self::Failure }
    }
}

/// The system that a script runs on.
pub(super) trait ScriptHost {
    /// Decides a test of one file: `-d`, `/etc`.
    fn test(&self, operator: &str, path: &str) -> TestOutcome;

    /// Returns the answer to a question of debconf.
    fn answer(&self, question: &str) -> Option<String>;

    /// Does the work of a command; `None` for a command that is not supported.
    fn run(&mut self, words: &[&str]) -> Option<TestOutcome>;
}

/// A system about which nothing is known.
pub(super) struct UnknownHost;

impl ScriptHost for UnknownHost {
    fn test(&self, _operator: &str, _path: &str) -> TestOutcome {
        TestOutcome::Unknown
    }

    fn answer(&self, _question: &str) -> Option<String> {
        None
    }

    fn run(&mut self, _words: &[&str]) -> Option<TestOutcome> {
        None
    }
}

/// The largest number of commands of a script; nested loops could have millions.
const COMMAND_LIMIT: usize = 5000;
/// The largest number of steps: loops and functions need not contain commands.
const STEP_LIMIT: usize = 50_000;
/// The largest size of all words, in bytes: loops repeat them.
const WORDS_LIMIT: usize = 16 << 20;
/// The deepest nesting of lists, with those of called functions.
const DEPTH_LIMIT: usize = 200;
/// The largest number of words of a test.
const TEST_LIMIT: usize = 100;
/// The deepest nesting of function calls.
const CALL_LIMIT: usize = 16;
/// The largest script, in bytes; Debian 12's largest has 60,000.
const SCRIPT_LIMIT: usize = 1 << 20;

/// Returns the commands of `script` with these arguments that `host` did not run.
pub(super) fn commands(
    script: &str,
    arguments: &[&str],
    (architecture, package): (&str, &str),
    host: &mut dyn ScriptHost,
) -> Vec<ScriptCommand> {
    let mut interpreter =
        script.lines().next().unwrap_or_default().trim_start_matches("#!").split_whitespace();
    let interpreter = interpreter.next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    if !matches!(interpreter, "sh" | "bash" | "dash") || script.len() > SCRIPT_LIMIT {
        return vec![ScriptCommand { words: vec![Some(interpreter.to_owned())], writes: false }];
    }
    let mut walk = ScriptWalk::new(host);
    for (name, value) in [
        ("DPKG_ROOT", ""),
        ("DPKG_MAINTSCRIPT_ARCH", architecture),
        ("DPKG_MAINTSCRIPT_PACKAGE", package),
        ("0", "script"),
    ] {
        walk.variables.insert(name.to_owned(), value.to_owned());
    }
    walk.set_arguments(arguments.iter().map(|argument| Some((*argument).to_owned())));
    walk.list(&parser::parse(&lexer::tokens(script)));
    walk.commands
}

struct ScriptWalk<'a> {
    host: &'a mut dyn ScriptHost,
    /// `$@`.
    arguments: Vec<Option<String>>,
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Rc<[ScriptNode]>>,
    commands: Vec<ScriptCommand>,
    /// The number of undecided conditions around the current command.
    undecided: usize,
    calls: usize,
    steps: usize,
    /// The size of all words so far.
    words: usize,
    depth: usize,
    is_ended: bool,
    /// True behind an undecided end of the script.
    may_be_ended: bool,
    /// True behind an undecided end of the function or loop.
    may_have_returned: bool,
    /// The outcome of the function that has just ended.
    returned: Option<TestOutcome>,
}

impl<'a> ScriptWalk<'a> {
    fn new(host: &'a mut dyn ScriptHost) -> Self {
        Self {
            host,
            arguments: Vec::new(),
            variables: BTreeMap::new(),
            functions: BTreeMap::new(),
            commands: Vec::new(),
            undecided: 0,
            calls: 0,
            steps: 0,
            words: 0,
            depth: 0,
            is_ended: false,
            may_be_ended: false,
            may_have_returned: false,
            returned: None,
        }
    }

    fn set_arguments(&mut self, arguments: impl Iterator<Item = Option<String>>) {
        self.arguments = arguments.collect();
        let arguments = self.arguments.clone().into_iter();
        for number in 1..10 {
            self.variables.insert(number.to_string(), String::new());
        }
        for (number, argument) in (1..10).zip(arguments) {
            match argument {
                Some(argument) => self.variables.insert(number.to_string(), argument),
                None => self.variables.remove(&number.to_string()),
            };
        }
    }

    fn list(&mut self, nodes: &[ScriptNode]) -> TestOutcome {
        let mut outcome = TestOutcome::Success;
        self.depth += 1;
        for node in nodes {
            if self.is_ended || self.is_over() {
                break;
            }
            self.steps += 1;
            outcome = self.node(node);
        }
        self.depth -= 1;
        outcome
    }

    /// Returns true at a limit.
    fn is_over(&self) -> bool {
        self.commands.len() >= COMMAND_LIMIT
            || self.steps >= STEP_LIMIT
            || self.words >= WORDS_LIMIT
            || self.depth >= DEPTH_LIMIT
    }

    fn undecided(&mut self, nodes: &[ScriptNode]) {
        self.undecided += 1;
        self.list(nodes);
        self.undecided -= 1;
    }

    fn node(&mut self, node: &ScriptNode) -> TestOutcome {
        match node {
            ScriptNode::Simple(command) => self.simple(command),
            ScriptNode::Group(nodes) => self.list(nodes),
            ScriptNode::Pipeline(nodes) => {
                for node in nodes {
                    self.undecided(std::slice::from_ref(node));
                }
                TestOutcome::Unknown
            }
            ScriptNode::Not(node) => match self.node(node) {
                TestOutcome::Success => TestOutcome::Failure,
                TestOutcome::Failure => TestOutcome::Success,
                TestOutcome::Unknown => TestOutcome::Unknown,
            },
            ScriptNode::AndOr(first, rest) => self.and_or(first, rest),
            ScriptNode::If { branches, otherwise } => {
                self.conditional(branches, otherwise);
                TestOutcome::Unknown
            }
            ScriptNode::Case { word, arms } => {
                let word = word.value(&self.variables);
                for (patterns, body) in arms {
                    self.steps += patterns.len();
                    match &word {
                        None => self.undecided(body),
                        Some(word) => {
                            if patterns.iter().any(|pattern| matches(pattern, word)) {
                                self.list(body);
                                break;
                            }
                        }
                    }
                }
                TestOutcome::Unknown
            }
            ScriptNode::For { variable, words, body } => {
                let words: Vec<_> = words.iter().map(|word| word.value(&self.variables)).collect();
                for word in words {
                    let Some(word) = word else {
                        self.variables.remove(variable);
                        self.undecided(body);
                        continue;
                    };
                    for word in word.split_whitespace() {
                        if self.is_over() {
                            break;
                        }
                        self.steps += 1;
                        self.variables.insert(variable.clone(), word.to_owned());
                        self.list(body);
                    }
                }
                self.variables.remove(variable);
                TestOutcome::Unknown
            }
            ScriptNode::Loop { condition, body } => {
                self.undecided(condition);
                self.undecided(body);
                TestOutcome::Unknown
            }
            ScriptNode::Function { name, body } => {
                self.functions.insert(name.clone(), body.clone());
                TestOutcome::Success
            }
        }
    }

    /// Walks a list of `&&` and `||`, from the left.
    fn and_or(&mut self, first: &ScriptNode, rest: &[(AndOr, ScriptNode)]) -> TestOutcome {
        let mut outcome = self.node(first);
        for (operator, node) in rest {
            match (operator, outcome) {
                (_, TestOutcome::Unknown) => self.undecided(std::slice::from_ref(node)),
                (AndOr::And, TestOutcome::Failure) | (AndOr::Or, TestOutcome::Success) => {}
                _ => outcome = self.node(node),
            }
        }
        outcome
    }

    fn conditional(&mut self, branches: &[(Vec<ScriptNode>, Vec<ScriptNode>)], otherwise: &[ScriptNode]) {
        let mut open = 0;
        let mut is_decided = false;
        for (condition, body) in branches {
            match self.list(condition) {
                TestOutcome::Success => {
                    self.list(body);
                    is_decided = true;
                    break;
                }
                TestOutcome::Failure => {}
                TestOutcome::Unknown => {
                    self.undecided(body);
                    self.undecided += 1;
                    open += 1;
                }
            }
        }
        if !is_decided {
            self.list(otherwise);
        }
        self.undecided -= open;
    }

    fn simple(&mut self, command: &SimpleCommand) -> TestOutcome {
        let mut values: Vec<Option<String>> = Vec::with_capacity(command.words.len());
        for word in &command.words {
            if word.is_arguments() {
                values.extend_from_slice(&self.arguments);
            } else {
                values.push(word.value(&self.variables));
            }
        }
        if values.is_empty() {
            for (name, word) in &command.assignments {
                match word.value(&self.variables).filter(|_| self.undecided == 0) {
                    Some(value) => self.variables.insert(name.clone(), value),
                    None => self.variables.remove(name),
                };
            }
            return TestOutcome::Success;
        }
        self.words += values.iter().flatten().map(|word| word.len() + 1).sum::<usize>();
        let words: Vec<&str> = values.iter().map(|word| word.as_deref().unwrap_or("\0")).collect();
        match words.as_slice() {
            ["[", test @ .., "]"] | ["test", test @ ..] => decide(test, self.host),
            ["dpkg", "--compare-versions", "", relation, ..] => compare_empty(relation),
            ["true" | ":", ..] => TestOutcome::Success,
            ["false", ..] => TestOutcome::Failure,
            ["exit" | "return" | "break" | "continue", ..] => self.leave(&words),
            ["db_get", question] => {
                let answer = self.host.answer(question).filter(|_| self.is_certain());
                match answer {
                    Some(answer) => self.variables.insert("RET".to_owned(), answer),
                    None => self.variables.remove("RET"),
                };
                TestOutcome::Success
            }
            [name, ..] if self.functions.contains_key(*name) => self.call(name, &values),
            _ => {
                let is_known = self.is_certain() && !command.writes && values.iter().all(Option::is_some);
                if let Some(outcome) = is_known.then(|| self.host.run(&words)).flatten() {
                    return outcome;
                }
                if words.first().is_some_and(|name| name.starts_with("db_")) {
                    self.variables.remove("RET");
                }
                self.commands.push(ScriptCommand { words: values, writes: command.writes });
                TestOutcome::Unknown
            }
        }
    }

    /// Returns true for a command that runs in every case.
    fn is_certain(&self) -> bool {
        self.undecided == 0 && !self.may_be_ended && !self.may_have_returned
    }

    /// Ends the script, a function or a loop.
    fn leave(&mut self, words: &[&str]) -> TestOutcome {
        let (is_exit, is_decided) = (words.first() == Some(&"exit"), self.undecided == 0);
        let is_loop = matches!(words.first(), Some(&("break" | "continue")));
        match (is_exit, is_decided && !is_loop) {
            (true, false) => self.may_be_ended = true,
            (false, false) => self.may_have_returned = true,
            (_, true) => self.is_ended = true,
        }
        if !is_exit && self.is_certain() {
            self.returned = words.get(1).map(|status| TestOutcome::of(*status == "0"));
        }
        TestOutcome::Unknown
    }

    fn call(&mut self, name: &str, values: &[Option<String>]) -> TestOutcome {
        let Some(body) = self.functions.get(name).cloned().filter(|_| self.calls < CALL_LIMIT) else {
            return TestOutcome::Unknown;
        };
        let numbers = (1..10).map(|number| number.to_string());
        let outer: Vec<_> = numbers.map(|number| (self.variables.get(&number).cloned(), number)).collect();
        let arguments = std::mem::take(&mut self.arguments);
        self.set_arguments(values.iter().skip(1).cloned());
        let had_returned = std::mem::replace(&mut self.may_have_returned, false);
        self.returned = None;
        self.calls += 1;
        self.list(&body);
        self.calls -= 1;
        // An end inside a function may be a `return`.
        self.is_ended = false;
        self.may_have_returned = had_returned;
        self.arguments = arguments;
        for (value, number) in outer {
            match value {
                Some(value) => self.variables.insert(number, value),
                None => self.variables.remove(&number),
            };
        }
        self.returned.take().unwrap_or(TestOutcome::Unknown)
    }
}

/// Decides the arguments of `test` whose words are constant; an unknown word is a NUL byte.
fn decide(test: &[&str], host: &dyn ScriptHost) -> TestOutcome {
    let of = TestOutcome::of;
    if test.len() > TEST_LIMIT {
        return TestOutcome::Unknown;
    }
    if test.iter().any(|word| word.contains('\0')) {
        // One part of a conjunction may decide the whole.
        return match split(test, "-a") {
            Some((one, two)) if [decide(one, host), decide(two, host)].contains(&TestOutcome::Failure) => {
                TestOutcome::Failure
            }
            _ => TestOutcome::Unknown,
        };
    }
    if let Some((one, two)) = split(test, "-o") {
        return match [decide(one, host), decide(two, host)] {
            [TestOutcome::Failure, TestOutcome::Failure] => TestOutcome::Failure,
            outcomes if outcomes.contains(&TestOutcome::Success) => TestOutcome::Success,
            _ => TestOutcome::Unknown,
        };
    }
    if let Some((one, two)) = split(test, "-a") {
        return match [decide(one, host), decide(two, host)] {
            [TestOutcome::Success, TestOutcome::Success] => TestOutcome::Success,
            outcomes if outcomes.contains(&TestOutcome::Failure) => TestOutcome::Failure,
            _ => TestOutcome::Unknown,
        };
    }
    match test {
        ["!", rest @ ..] => match decide(rest, host) {
            TestOutcome::Success => TestOutcome::Failure,
            TestOutcome::Failure => TestOutcome::Success,
            TestOutcome::Unknown => TestOutcome::Unknown,
        },
        ["-n", word] | [word] => of(!word.is_empty()),
        ["-z", word] => of(word.is_empty()),
        [operator @ ("-d" | "-e" | "-f" | "-h" | "-L" | "-r" | "-s" | "-x"), path]
            if path.starts_with('/') =>
        {
            host.test(operator, path)
        }
        [one, "=" | "==", two] => of(one == two),
        [one, "!=", two] => of(one != two),
        _ => TestOutcome::Unknown,
    }
}

fn split<'a, 'w>(test: &'a [&'w str], operator: &str) -> Option<(&'a [&'w str], &'a [&'w str])> {
    let at = test.iter().position(|word| *word == operator)?;
    Some((test.get(..at)?, test.get(at + 1..)?))
}

/// Decides `dpkg --compare-versions "" RELATION VERSION`: with a first installation, the old version is empty.
fn compare_empty(relation: &str) -> TestOutcome {
    match relation {
        "lt" | "le" | "ne" | "gt-nl" | "ge-nl" | "<" | "<<" | "<=" => TestOutcome::Success,
        "gt" | "ge" | "eq" | "lt-nl" | "le-nl" | ">" | ">>" | ">=" | "=" => TestOutcome::Failure,
        _ => TestOutcome::Unknown,
    }
}

/// Matches a pattern of `case` with at most one `*`; others match nothing.
fn matches(pattern: &str, word: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            word.len() >= start.len() + end.len() && word.starts_with(start) && word.ends_with(end)
        }
        None => pattern == word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str) -> Vec<String> {
        let script = format!("#!/bin/sh -e\n{script}");
        let commands = commands(&script, &["configure", ""], ("amd64", "hello"), &mut UnknownHost);
        let text = |command: &ScriptCommand| {
            let words = command.words.iter().map(|word| word.as_deref().unwrap_or("?"));
            words.collect::<Vec<_>>().join(" ")
        };
        commands.iter().map(text).collect()
    }

    #[test]
    fn decides_by_arguments_and_versions() {
        assert_eq!(found("if [ \"$1\" = configure ]; then a; else b; fi"), ["a"]);
        assert_eq!(found("case \"$1\" in\n upgrade) a ;;\n configure|x) b;;\n *) c\nesac"), ["b"]);
        assert_eq!(found("if [ \"$1\" = configure ] && [ -n \"$2\" ]; then a; fi"), [""; 0]);
        assert_eq!(found("if dpkg --compare-versions \"$2\" lt-nl 1; then a; fi; b"), ["b"]);
        assert_eq!(found("[ \"$1\" != configure ] || a\nexit 0\nb"), ["a"]);
        assert_eq!(found("if [ \"$1\" != configure ]; then exit 0; fi; a"), ["a"]);
    }

    #[test]
    fn takes_both_branches_of_other_conditions() {
        assert_eq!(found("if [ -x /bin/a ]; then a; exit 0; else b; fi; c"), ["a", "b", "c"]);
        assert_eq!(
            found("if which x; then a; elif [ -z \"$2\" ]; then b; else c; fi"),
            ["which x", "a", "b"]
        );
    }

    #[test]
    fn expands_constants() {
        assert_eq!(
            found("A=x\nfor i in a b; do run /$i/${A} \"$i\" $(date); done"),
            ["run /a/x a ?", "run /b/x b ?"]
        );
        assert_eq!(
            found("f() { run $1 $DPKG_MAINTSCRIPT_ARCH; }\nf one\nf two"),
            ["run one amd64", "run two amd64"]
        );
        assert_eq!(found("run a \\\n  b # comment\n"), ["run a b"]);
        assert_eq!(found("[ amd64 != $(dpkg --print-architecture) ] && run"), [""; 0]);
    }

    #[test]
    fn skips_the_text_of_here_documents() {
        assert_eq!(found("cat > /etc/x <<'EOF'\nif odd; then\nEOF\nafter"), ["cat", "after"]);
        assert_eq!(found("cat <<-EOF\n\todd\n\tEOF\nafter"), ["cat", "after"]);
    }

    #[test]
    fn odd_scripts_end() {
        for text in
            ["if", "case x in", "for", "((((", "'", "$(", "a && ", "fi fi ;;", "f() f\nf", "while :; do", "`"]
        {
            let _ = found(text);
        }
    }

    #[test]
    fn hostile_scripts_end() {
        let nested = |count: usize| {
            let start = "for i in a b c d e f g h i j; do ".repeat(count);
            format!("{start} A=x; {}", "done; ".repeat(count))
        };
        for text in [
            nested(20),
            "f() { f; f; f; f; f; f; }; f".to_owned(),
            format!("A=xx\n{}run $A", "A=$A$A\n".repeat(60)),
            format!("A={}\nrun {}", "x".repeat(4000), "$A".repeat(100_000)),
            format!("for i in {}; do run {}; done", "a ".repeat(5000), "word ".repeat(10_000)),
            "! ".repeat(40_000),
            "f() ".repeat(40_000),
            "a && ".repeat(40_000),
            "(".repeat(40_000),
            format!("[ {} ]", "a -o ".repeat(40_000)),
            format!("[ {} ]", "! ".repeat(40_000)),
            format!("f() {{ {} f; {} }}; f", "if a; then ".repeat(50), "fi; ".repeat(50)),
        ] {
            assert!(found(&text).len() <= COMMAND_LIMIT);
        }
    }

    #[test]
    fn expands_arguments() {
        assert_eq!(found("run \"$@\""), ["run configure "]);
        assert_eq!(found("f() { run $*; }\nf a b"), ["run a b"]);
        assert_eq!(
            found("f() { other && return 0; return 1; }\nif f; then a; else b; fi"),
            ["other", "a", "b"],
            "an undecided return"
        );
        let decided = "f() { if [ \"$1\" = configure ]; then return 0; fi; return 1; }\n";
        assert_eq!(found(&format!("{decided}if f \"$@\"; then a; else b; fi")), ["a"]);
        assert_eq!(found(&format!("{decided}if f other; then a; else b; fi")), ["b"]);
    }

    /// A host on which `/there` exists and that runs `done`.
    struct TestHost(Vec<String>);

    impl ScriptHost for TestHost {
        fn test(&self, _operator: &str, path: &str) -> TestOutcome {
            TestOutcome::of(path == "/there")
        }

        fn answer(&self, question: &str) -> Option<String> {
            (question == "a/b").then(|| "yes".to_owned())
        }

        fn run(&mut self, words: &[&str]) -> Option<TestOutcome> {
            (words.first() == Some(&"do")).then(|| {
                self.0.push(words.join(" "));
                TestOutcome::Success
            })
        }
    }

    #[test]
    fn the_host_runs_commands_that_run_in_every_case() {
        let done = |script: &str| {
            let (script, mut host) = (format!("#!/bin/sh\n{script}"), TestHost(Vec::new()));
            let rest = commands(&script, &["configure", ""], ("amd64", "hello"), &mut host);
            (host.0.join("; "), rest.len())
        };
        assert_eq!(done("if [ -d /there ]; then do 1; else do 2; fi"), ("do 1".to_owned(), 0));
        assert_eq!(done("if [ ! -e /gone ] && do 1; then do 2; fi"), ("do 1; do 2".to_owned(), 0));
        assert_eq!(done("db_get a/b; do $RET; db_get c; do $RET"), ("do yes".to_owned(), 1));
        assert_eq!(done("if other; then do 1; fi; do 2"), ("do 2".to_owned(), 2));
        assert_eq!(done("if other; then exit 0; fi; do 1"), (String::new(), 2));
        assert_eq!(done("f() { if other; then return; fi; do 1; }; f; do 2"), ("do 2".to_owned(), 2));
        assert_eq!(done("for i in 1 2; do if other; then continue; fi; do $i; done"), (String::new(), 4));
        assert_eq!(done("do 1 > /etc/x; do $UNKNOWN; do 2 | do 3"), (String::new(), 4));
    }

    #[test]
    fn evaluates_lists_from_the_left() {
        assert_eq!(found("false && a || b"), ["b"]);
        assert_eq!(found("true || a && b"), ["b"]);
        assert_eq!(found("a && b || c"), ["a", "b", "c"]);
    }
}
