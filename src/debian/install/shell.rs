//! The commands that a maintainer script would run, found without running it.
//!
//! Covers the part of the POSIX shell language that scripts consist of: lists, `if`, `case`, loops, functions,
//! assignments, here-documents. Conditions on the script's arguments and on versions are decided; after any other
//! condition, both branches count. A word that depends on anything but constants is unknown.

mod lexer;
mod parser;

use std::collections::BTreeMap;

use parser::{ScriptNode, SimpleCommand};

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
enum TestOutcome {
    Success,
    Failure,
    Unknown,
}

/// The largest number of commands of a script; nested loops could have millions.
const COMMAND_LIMIT: usize = 5000;
/// The deepest nesting of function calls.
const CALL_LIMIT: usize = 16;
/// The largest script, in bytes; Debian 12's largest has 60,000.
const SCRIPT_LIMIT: usize = 1 << 20;

/// Returns the commands of `script` with these arguments.
pub(super) fn commands(
    script: &str,
    arguments: &[&str],
    architecture: &str,
    package: &str,
) -> Vec<ScriptCommand> {
    let mut interpreter =
        script.lines().next().unwrap_or_default().trim_start_matches("#!").split_whitespace();
    let interpreter = interpreter.next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    if !matches!(interpreter, "sh" | "bash" | "dash") || script.len() > SCRIPT_LIMIT {
        return vec![ScriptCommand { words: vec![Some(interpreter.to_owned())], writes: false }];
    }
    let mut walk = ScriptWalk::default();
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

#[derive(Default)]
struct ScriptWalk {
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Vec<ScriptNode>>,
    commands: Vec<ScriptCommand>,
    /// The number of undecided conditions around the current command.
    undecided: usize,
    calls: usize,
    is_ended: bool,
}

impl ScriptWalk {
    fn set_arguments(&mut self, arguments: impl Iterator<Item = Option<String>>) {
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
        for node in nodes {
            if self.is_ended || self.commands.len() >= COMMAND_LIMIT {
                break;
            }
            outcome = self.node(node);
        }
        outcome
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
            ScriptNode::And(first, second) => self.and_or(first, second, TestOutcome::Failure),
            ScriptNode::Or(first, second) => self.and_or(first, second, TestOutcome::Success),
            ScriptNode::If { branches, otherwise } => {
                self.conditional(branches, otherwise);
                TestOutcome::Unknown
            }
            ScriptNode::Case { word, arms } => {
                let word = word.value(&self.variables);
                for (patterns, body) in arms {
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

    /// Walks `first`, then `second` unless the outcome of `first` is `last`.
    fn and_or(&mut self, first: &ScriptNode, second: &ScriptNode, last: TestOutcome) -> TestOutcome {
        match self.node(first) {
            TestOutcome::Unknown => {
                self.undecided(std::slice::from_ref(second));
                TestOutcome::Unknown
            }
            outcome if outcome == last => outcome,
            _ => self.node(second),
        }
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
        let values: Vec<Option<String>> =
            command.words.iter().map(|word| word.value(&self.variables)).collect();
        if values.is_empty() {
            for (name, word) in &command.assignments {
                match word.value(&self.variables).filter(|_| self.undecided == 0) {
                    Some(value) => self.variables.insert(name.clone(), value),
                    None => self.variables.remove(name),
                };
            }
            return TestOutcome::Success;
        }
        let words: Vec<&str> = values.iter().map(|word| word.as_deref().unwrap_or("\0")).collect();
        match words.as_slice() {
            ["[", test @ .., "]"] | ["test", test @ ..] => decide(test),
            ["dpkg", "--compare-versions", "", relation, ..] => compare_empty(relation),
            ["true" | ":", ..] => TestOutcome::Success,
            ["false", ..] => TestOutcome::Failure,
            ["exit" | "return", ..] => {
                self.is_ended |= self.undecided == 0;
                TestOutcome::Unknown
            }
            [name, ..] if self.functions.contains_key(*name) => self.call(name, &values),
            _ => {
                self.commands.push(ScriptCommand { words: values, writes: command.writes });
                TestOutcome::Unknown
            }
        }
    }

    fn call(&mut self, name: &str, values: &[Option<String>]) -> TestOutcome {
        let Some(body) = self.functions.get(name).cloned().filter(|_| self.calls < CALL_LIMIT) else {
            return TestOutcome::Unknown;
        };
        let outer = self.variables.clone();
        self.set_arguments(values.iter().skip(1).cloned());
        self.calls += 1;
        self.list(&body);
        self.calls -= 1;
        // An end inside a function may be a `return`.
        self.is_ended = false;
        for number in (1..10).map(|number| number.to_string()) {
            match outer.get(&number) {
                Some(value) => self.variables.insert(number, value.clone()),
                None => self.variables.remove(&number),
            };
        }
        TestOutcome::Unknown
    }
}

/// Decides the arguments of `test` whose words are constant; an unknown word is a NUL byte.
fn decide(test: &[&str]) -> TestOutcome {
    let of = |is_true: bool| if is_true { TestOutcome::Success } else { TestOutcome::Failure };
    if test.iter().any(|word| word.contains('\0')) {
        // One part of a conjunction may decide the whole.
        return match split(test, "-a") {
            Some((one, two)) if [decide(one), decide(two)].contains(&TestOutcome::Failure) => {
                TestOutcome::Failure
            }
            _ => TestOutcome::Unknown,
        };
    }
    if let Some((one, two)) = split(test, "-o") {
        return match [decide(one), decide(two)] {
            [TestOutcome::Failure, TestOutcome::Failure] => TestOutcome::Failure,
            outcomes if outcomes.contains(&TestOutcome::Success) => TestOutcome::Success,
            _ => TestOutcome::Unknown,
        };
    }
    if let Some((one, two)) = split(test, "-a") {
        return match [decide(one), decide(two)] {
            [TestOutcome::Success, TestOutcome::Success] => TestOutcome::Success,
            outcomes if outcomes.contains(&TestOutcome::Failure) => TestOutcome::Failure,
            _ => TestOutcome::Unknown,
        };
    }
    match test {
        ["!", rest @ ..] => match decide(rest) {
            TestOutcome::Success => TestOutcome::Failure,
            TestOutcome::Failure => TestOutcome::Success,
            TestOutcome::Unknown => TestOutcome::Unknown,
        },
        ["-n", word] | [word] => of(!word.is_empty()),
        ["-z", word] => of(word.is_empty()),
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
        let commands = commands(&script, &["configure", ""], "amd64", "hello");
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
}
