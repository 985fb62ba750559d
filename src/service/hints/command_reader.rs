//! [`CommandReader`]: the commands that a command line or a shell script would start, found by reading it.
//!
//! Programs that only start another one are removed from the front (`exec`, `poetry run`, `tini --`), shell
//! scripts of the project are read in their place, and the state that a shell keeps for the next command is
//! followed: variables, arrays, `cd`, `export`, `set --`. No command is run: both branches of a condition count
//! unless its test compares known values, and values that only a running container has stay as `${NAME}`.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::Evidence;
use super::conditions::Conditions;
use super::shell::{ArrayAssignment, ShellParameters, Token, Word, is_unread, lex};
use crate::shell_names::is_shell;

/// The deepest chain of scripts and `sh -c` that is read.
const MAX_DEPTH: usize = 4;
/// The most commands read from one command line and its scripts.
const MAX_STEPS: usize = 200;

/// A command that a command line or a script starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandStep {
    /// The program and its arguments, or the construct that needs a shell.
    pub(crate) words: Result<Vec<String>, String>,
    /// The folder of `cd`.
    pub(super) directory: Option<String>,
    /// Variables set by the line or the script.
    pub(super) env: Vec<(String, String)>,
    /// Removed programs that have an effect of their own: `ddtrace-run`.
    pub(super) wrappers: Vec<String>,
    /// The command replaces the shell.
    pub(super) is_exec: bool,
    /// The command is started in the background.
    pub(super) is_background: bool,
    /// The command is in a script.
    pub(super) in_script: bool,
    /// The pattern of the `case` branch around the command.
    pub(super) label: Option<String>,
    /// The certain verdict of the conditions around the command.
    pub(super) is_taken: Option<bool>,
    /// The parts of the command that only a running container has.
    pub(super) unread: Vec<String>,
    /// The default of `PORT`: `${PORT:-8000}`.
    pub(super) port: Option<u16>,
    pub(super) evidence: Evidence,
}

/// A file of the project that a command starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// Its path from the project's root.
    pub(super) file: String,
    pub(super) text: String,
}

/// Returns the script of the project that a program name or path in a command stands for.
pub(super) type FindScript<'a> = &'a dyn Fn(&str, Option<&str>) -> Option<Script>;

/// A reader of command lines and scripts.
pub(super) struct CommandReader<'a> {
    find_script: FindScript<'a>,
    variables: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// The place of the command that has the arguments.
    caller: Option<Evidence>,
    /// The default of `PORT` in the command line or script.
    port: Cell<Option<u16>>,
    directory: Option<String>,
    exported: Vec<(String, String)>,
    depth: usize,
    in_script: bool,
    /// The first keyword of a command line.
    keyword: Option<String>,
    label: Option<String>,
    arrays: BTreeMap<String, Vec<String>>,
    conditions: Conditions,
    /// The arrays, and `@`, that are changed under a condition, with the place.
    uncertain: BTreeMap<String, String>,
    steps: Vec<CommandStep>,
}

/// The place of a text.
enum TextPlace<'a> {
    /// One line of a file.
    Line(&'a Evidence),
    /// A complete file.
    File { file: &'a str, text: &'a str },
}

impl TextPlace<'_> {
    fn evidence(&self, offset: usize) -> Evidence {
        match self {
            TextPlace::Line(evidence) => (*evidence).clone(),
            TextPlace::File { file, text } => Evidence::at(file, text, offset),
        }
    }
}

impl ShellParameters for CommandReader<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn arguments(&self) -> &[String] {
        &self.arguments
    }

    fn array(&self, name: &str) -> Option<&[String]> {
        self.arrays.get(name).map(Vec::as_slice)
    }

    fn unread(&self, text: &str, _: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn port_default(&self, default: &str) {
        if let Ok(port) = default.trim_matches(['"', '\'']).parse() {
            self.port.set(Some(port));
        }
    }
}

/// A command up to its control operator.
#[derive(Default)]
struct Simple {
    words: Vec<Word>,
    /// The construct around the command that needs a shell.
    problem: Option<String>,
    /// A redirection's operator without its word.
    redirection: Option<&'static str>,
    /// The array whose elements are read, up to the parenthesis.
    array: Option<OpenArray>,
}

/// An assignment of an array.
struct OpenArray {
    name: String,
    assignment: ArrayAssignment,
    elements: Vec<Word>,
}

impl Simple {
    /// Returns true in a conditional expression, from `[[` to `]]`.
    fn is_open_test(&self) -> bool {
        let literal = |word: Option<&Word>, text| word.and_then(Word::literal) == Some(text);
        literal(self.words.first(), "[[") && !literal(self.words.last(), "]]")
    }
}

/// The words between `case` and `esac`.
#[derive(Default)]
struct Cases {
    depth: usize,
    /// The pattern read so far, if a pattern comes next.
    pattern: Option<Vec<String>>,
}

impl<'a> CommandReader<'a> {
    /// Returns the commands of one command line.
    pub(super) fn line(
        text: &str,
        evidence: &Evidence,
        variables: BTreeMap<String, String>,
        find_script: FindScript<'a>,
    ) -> Vec<CommandStep> {
        let mut reader = Self::new(variables, find_script);
        reader.text(text, &TextPlace::Line(evidence));
        reader.steps
    }

    /// Returns the commands behind a command that is given as words.
    pub(super) fn words(
        words: Vec<String>,
        evidence: &Evidence,
        variables: BTreeMap<String, String>,
        find_script: FindScript<'a>,
    ) -> Vec<CommandStep> {
        let mut reader = Self::new(variables, find_script);
        reader.start(words, Vec::new(), &TextPlace::Line(evidence), 0, false);
        reader.steps
    }

    fn new(variables: BTreeMap<String, String>, find_script: FindScript<'a>) -> Self {
        Self {
            find_script,
            variables,
            arguments: Vec::new(),
            caller: None,
            port: Cell::new(None),
            directory: None,
            exported: Vec::new(),
            depth: 0,
            in_script: false,
            keyword: None,
            label: None,
            arrays: BTreeMap::new(),
            conditions: Conditions::default(),
            uncertain: BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    fn text(&mut self, text: &str, place: &TextPlace<'_>) {
        let tokens = match lex(text) {
            Ok(tokens) => tokens,
            Err(problem) => return self.push(Err(problem), Vec::new(), Vec::new(), place.evidence(0)),
        };
        let mut simple = Simple::default();
        let mut cases = Cases::default();
        // An operator before a command: `|` and `||` make its effect depend on the one before.
        let mut before: Option<&'static str> = None;
        let (label, depth) = (self.label.clone(), self.conditions.depth());
        for token in tokens.into_iter().chain([Token::Operator("\n", text.len())]) {
            let operator = match token {
                Token::Word(word) => {
                    self.word(word, &mut simple, &mut cases);
                    continue;
                }
                Token::Operator(operator, _) => operator,
            };
            // `[[ A && ( B || C ) ]]` is one command.
            if simple.is_open_test() {
                continue;
            }
            if let Some(pattern) = &mut cases.pattern {
                if operator == ")" {
                    self.label = Some(pattern.join("|"));
                    self.conditions.pattern(pattern);
                    cases.pattern = None;
                }
                continue;
            }
            if self.is_in_array(operator, &mut simple, place) {
                continue;
            }
            match operator {
                "(" | ")" if self.in_script => simple = Simple::default(),
                "(" | ")" => simple.problem = Some("the subshell `(…)`".to_owned()),
                _ if operator.contains(['<', '>']) => simple.redirection = Some(operator),
                // The last command of a pipeline stands for all of it.
                "|" | "|&" => {
                    simple = Simple::default();
                    before = Some("|");
                }
                _ => {
                    if before == Some("|") {
                        simple.problem.get_or_insert_with(|| "the pipe `|`".to_owned());
                    }
                    if before == Some("||") && !self.in_script {
                        simple.problem.get_or_insert_with(|| "the alternative `||`".to_owned());
                    }
                    let is_empty = simple.words.is_empty();
                    self.command(std::mem::take(&mut simple), (before, operator), place);
                    if !is_empty || operator != "\n" {
                        before = Some(operator);
                    }
                    if operator == ";;" {
                        self.label.clone_from(&label);
                        cases.pattern = (cases.depth > 0).then(Vec::new);
                    }
                }
            }
        }
        self.label = label;
        self.conditions.truncate(depth);
    }

    /// Follows an operator at or in the elements of an array: `NAME=(…)`. Returns false elsewhere.
    fn is_in_array(&mut self, operator: &str, simple: &mut Simple, place: &TextPlace<'_>) -> bool {
        if let Some(array) = &simple.array {
            if operator == ")" {
                let offset = array.elements.first().map_or(0, |word| word.offset);
                let Some(array) = simple.array.take() else { return true };
                self.assign_array(array, &place.evidence(offset));
            }
            return true;
        }
        let last = simple.words.last().filter(|_| operator == "(");
        let Some((name, assignment)) = last.and_then(Word::array_assignment) else { return false };
        simple.array = Some(OpenArray { name: name.to_owned(), assignment, elements: Vec::new() });
        simple.words.pop();
        true
    }

    fn assign_array(&mut self, array: OpenArray, place: &Evidence) {
        let OpenArray { name, assignment, elements } = array;
        let verdict = self.conditions.verdict();
        let fields: Result<Vec<_>, _> = elements.iter().map(|word| word.fields(self)).collect();
        let (Ok(fields), true) = (fields, verdict != Some(false)) else { return };
        let is_known = self.arrays.contains_key(&name);
        if verdict.is_none() {
            let text = format!("`{name}` under a condition ({}:{})", place.file, place.line);
            self.uncertain.insert(name.clone(), text);
            if is_known {
                return;
            }
        }
        let array = self.arrays.entry(name).or_default();
        if assignment == ArrayAssignment::Replace {
            array.clear();
        }
        array.extend(fields.concat());
    }

    fn word(&mut self, word: Word, simple: &mut Simple, cases: &mut Cases) {
        if let Some(array) = &mut simple.array {
            return array.elements.push(word);
        }
        if let Some(pattern) = &mut cases.pattern {
            match word.literal() {
                Some("esac") if pattern.is_empty() => {
                    cases.depth = cases.depth.saturating_sub(1);
                    cases.pattern = None;
                    self.conditions.esac();
                }
                _ => pattern.push(word.value(self).unwrap_or_default()),
            }
            return;
        }
        if let Some(operator) = simple.redirection.take() {
            let target = word.value(self).unwrap_or_default();
            let is_stream = ["/dev/null", "/dev/stdout", "/dev/stderr", "/proc/1/fd/1", "/proc/1/fd/2"]
                .contains(&target.as_str());
            let copies_stream = operator == ">&" && target.bytes().all(|byte| byte.is_ascii_digit());
            if !is_stream && !copies_stream {
                simple.problem = Some(format!("the redirection `{operator}`"));
            }
            return;
        }
        let literal = word.literal();
        if simple.words.is_empty() && literal.is_some_and(|word| KEYWORDS.contains(&word)) {
            if !self.in_script {
                self.keyword.get_or_insert_with(|| format!("the keyword `{}`", literal.unwrap_or_default()));
            }
            if literal == Some("esac") {
                cases.depth = cases.depth.saturating_sub(1);
                self.label = None;
                self.conditions.esac();
            }
            self.conditions.keyword(literal.unwrap_or_default());
            return;
        }
        let starts_case = simple.words.len() == 2
            && literal == Some("in")
            && simple.words.first().and_then(Word::literal) == Some("case");
        if starts_case {
            let subject = simple.words.get(1).and_then(|word| word.value(self).ok());
            // Without an argument, the command of an image gives one.
            self.conditions.case(subject.filter(|word| !word.is_empty() && !is_unread(word)));
            *simple = Simple::default();
            cases.depth += 1;
            cases.pattern = Some(Vec::new());
            return;
        }
        simple.words.push(word);
    }

    /// Follows one command between operators, which is part of a test or not.
    fn command(
        &mut self,
        simple: Simple,
        (before, after): (Option<&'static str>, &str),
        place: &TextPlace<'_>,
    ) {
        let first = self.steps.len();
        let is_taken = self.conditions.verdict();
        if self.conditions.is_test() && !simple.words.is_empty() {
            let value = self.tested(&simple.words);
            self.conditions.test(value, before);
        }
        let mut unread: Vec<String> = Vec::new();
        for (name, text) in &self.uncertain {
            if simple.words.iter().any(|word| word.names(name)) {
                unread.push(text.clone());
            }
        }
        self.simple(simple, after == "&", place);
        for step in &mut self.steps[first..] {
            step.unread.extend(unread.iter().cloned());
            step.is_taken = if is_taken == Some(true) { step.is_taken } else { is_taken };
        }
    }

    /// Returns the value of a test, `[ "$1" = web ]`, of known values.
    fn tested(&self, words: &[Word]) -> Option<bool> {
        let (first, rest) = words.split_first()?;
        ["[", "[[", "test"].contains(&first.literal()?).then_some(())?;
        let rest = match rest.split_last() {
            Some((last, rest)) if matches!(last.literal(), Some("]" | "]]")) => rest,
            _ => rest,
        };
        let values: Vec<String> = rest.iter().map(|word| word.value(self).ok()).collect::<Option<_>>()?;
        if values.iter().any(|value| is_unread(value)) {
            return None;
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let (is_negated, values) = match values.as_slice() {
            ["!", rest @ ..] => (true, rest),
            values => (false, values),
        };
        let number = |text: &str| text.parse::<i64>().ok();
        let value = match values {
            ["-z", value] => value.is_empty(),
            [first, "=" | "==", second] => first == second,
            [first, "!=", second] => first != second,
            [first, "-eq", second] => number(first)? == number(second)?,
            [first, "-ne", second] => number(first)? != number(second)?,
            [first, "-gt", second] => number(first)? > number(second)?,
            [first, "-ge", second] => number(first)? >= number(second)?,
            [first, "-lt", second] => number(first)? < number(second)?,
            [first, "-le", second] => number(first)? <= number(second)?,
            ["-n", value] | [value] => !value.is_empty(),
            _ => return None,
        };
        Some(value != is_negated)
    }

    /// Follows one command: changes the state, or adds steps.
    fn simple(&mut self, simple: Simple, is_background: bool, place: &TextPlace<'_>) {
        let Simple { words, mut problem, .. } = simple;
        problem = problem.or_else(|| self.keyword.clone().filter(|_| !self.in_script));
        let mut words = words.as_slice();
        let Some(offset) = words.first().map(|word| word.offset) else { return };
        let mut env = Vec::new();
        while let [first, rest @ ..] = words {
            let Some((name, value)) = first.assignment() else { break };
            match value.value(self) {
                Ok(value) if is_unread(&value) => drop(self.variables.remove(&name)),
                Ok(value) => env.push((name, value)),
                Err(construct) if rest.is_empty() => drop(construct),
                Err(construct) => problem = Some(construct),
            }
            words = rest;
        }
        let Some(first) = words.first() else {
            if self.conditions.verdict() == Some(false) {
                return;
            }
            // A name in its own value, `PORT=${PORT:-80}`, stays the variable that the platform sets.
            return self.variables.extend(env.into_iter().filter(|(_, value)| value != super::shell::PORT));
        };
        if self.is_state_change(first.literal().unwrap_or_default(), &words[1..], problem.is_none()) {
            return;
        }
        let passes_arguments = words.iter().any(Word::has_arguments);
        let mut fields = Vec::new();
        for word in words {
            match word.fields(self) {
                Ok(more) => fields.extend(more),
                Err(construct) => drop(problem.get_or_insert(construct)),
            }
        }
        let program = fields.iter().find(|field| *field != "exec").filter(|field| is_unread(field));
        if let Some(program) = program {
            let construct = if program.starts_with("${") {
                format!("the variable `{}`", program.replace(['{', '}'], ""))
            } else {
                "the substitution `$(…)`".to_owned()
            };
            problem.get_or_insert(construct);
        }
        match problem {
            Some(problem) => self.push(Err(problem), env, Vec::new(), place.evidence(offset)),
            // `exec "$@"`: the caller has the command.
            None if passes_arguments
                && words.iter().all(|word| word.has_arguments() || word.literal() == Some("exec")) =>
            {
                match self.caller.clone() {
                    Some(caller) => self.start(fields, env, &TextPlace::Line(&caller), 0, is_background),
                    None => self.start(fields, env, place, offset, is_background),
                }
            }
            None => self.start(fields, env, place, offset, is_background),
        }
    }

    /// Follows `cd`, `export`, `set` and other commands of the shell. Returns false for a program.
    fn is_state_change(&mut self, command: &str, words: &[Word], is_certain: bool) -> bool {
        let verdict = self.conditions.verdict();
        if verdict == Some(false) {
            return NO_SERVICE.contains(&command);
        }
        match command {
            "cd" if is_certain => {
                if let Some(Ok(folder)) = words.first().map(|word| word.value(self))
                    && !is_unread(&folder)
                {
                    self.directory = Some(join(self.directory.as_deref(), &folder));
                }
            }
            "export" | "declare" | "readonly" | "local" => {
                for (name, value) in words.iter().filter_map(Word::assignment) {
                    let Ok(value) = value.value(self) else { continue };
                    if value == super::shell::PORT || is_unread(&value) {
                        continue;
                    }
                    self.variables.insert(name.clone(), value.clone());
                    if command == "export" {
                        self.exported.retain(|(known, _)| *known != name);
                        self.exported.push((name, value));
                    }
                }
            }
            "set" if words.first().and_then(Word::literal) == Some("--") && verdict.is_none() => {
                self.uncertain.insert("@".to_owned(), "`set --` under a condition".to_owned());
            }
            "set" if words.first().and_then(Word::literal) == Some("--") => {
                let words: Result<Vec<_>, _> = words[1..].iter().map(|word| word.fields(self)).collect();
                if let Ok(words) = words {
                    self.arguments = words.concat();
                }
            }
            _ => return NO_SERVICE.contains(&command),
        }
        true
    }

    /// Adds the steps of a program that is given as words.
    fn start(
        &mut self,
        words: Vec<String>,
        env: Vec<(String, String)>,
        place: &TextPlace<'_>,
        offset: usize,
        is_background: bool,
    ) {
        let mut command = Unwrapped { words, env, ..Unwrapped::default() };
        command.unwrap();
        let Some(program) = command.words.first() else { return };
        let first = self.steps.len();
        if is_shell(program) {
            self.shell(&command, place, offset);
        } else if NO_SERVICE.contains(&program.as_str()) {
            return;
        } else if let Some(script) = self.script(program) {
            let arguments = command.words[1..].to_vec();
            self.read(&script, arguments, &command, place, offset);
        } else {
            command.normalize();
            self.push(Ok(command.words), command.env, command.wrappers, place.evidence(offset));
        }
        for step in &mut self.steps[first..] {
            step.is_background |= is_background;
            step.is_exec |= command.is_exec;
        }
    }

    /// Follows `sh -c TEXT` and `sh FILE`.
    fn shell(&mut self, command: &Unwrapped, place: &TextPlace<'_>, offset: usize) {
        let mut words = command.words[1..].iter();
        let evidence = place.evidence(offset);
        while let Some(word) = words.next() {
            if word == "-o" {
                words.next();
            } else if word.starts_with('-') && !word.starts_with("--") && word.contains('c') {
                let Some(text) = words.next().filter(|text| !text.is_empty()) else { return };
                return self.nested(|reader| {
                    let exported = reader.exported.clone();
                    reader.exported.extend(command.env.iter().cloned());
                    reader.in_script = false;
                    reader.text(text, &TextPlace::Line(&evidence));
                    reader.exported = exported;
                });
            } else if !word.starts_with(['-', '+']) {
                let Some(script) = self.script(word) else { break };
                let arguments = words.cloned().collect();
                return self.read(&script, arguments, command, place, offset);
            }
        }
        let name = words.next_back().or(command.words.last()).cloned().unwrap_or_default();
        let problem = format!("the shell script `{name}`, which is not in the project");
        self.push(Err(problem), command.env.clone(), command.wrappers.clone(), evidence);
    }

    /// Reads a script: a shell script's commands, or else the file as a program of its interpreter.
    fn read(
        &mut self,
        script: &Script,
        arguments: Vec<String>,
        command: &Unwrapped,
        place: &TextPlace<'_>,
        offset: usize,
    ) {
        let first_line = script.text.lines().next().unwrap_or_default();
        if first_line.starts_with("#!") && first_line.contains("python") {
            let words = [vec!["python".to_owned(), script.file.clone()], arguments].concat();
            return self.push(
                Ok(words),
                command.env.clone(),
                command.wrappers.clone(),
                place.evidence(offset),
            );
        }
        self.nested(|reader| {
            let callers = std::mem::replace(&mut reader.arguments, arguments);
            let caller = reader.caller.replace(place.evidence(offset));
            reader.in_script = true;
            reader.variables.extend(command.env.iter().cloned());
            reader.text(&script.text, &TextPlace::File { file: &script.file, text: &script.text });
            reader.arguments = callers;
            reader.caller = caller;
        });
    }

    fn nested(&mut self, work: impl FnOnce(&mut Self)) {
        if self.depth == MAX_DEPTH {
            return;
        }
        let (in_script, directory) = (self.in_script, self.directory.clone());
        self.depth += 1;
        work(self);
        self.depth -= 1;
        (self.in_script, self.directory) = (in_script, directory);
    }

    fn script(&self, program: &str) -> Option<Script> {
        (self.depth < MAX_DEPTH).then(|| (self.find_script)(program, self.directory.as_deref())).flatten()
    }

    fn push(
        &mut self,
        words: Result<Vec<String>, String>,
        env: Vec<(String, String)>,
        wrappers: Vec<String>,
        evidence: Evidence,
    ) {
        if self.steps.len() < MAX_STEPS {
            let unread = words.iter().flatten().filter(|word| is_unread(word)).cloned().collect();
            self.steps.push(CommandStep {
                words,
                is_taken: Some(true),
                unread,
                directory: self.directory.clone(),
                env: self.exported.iter().cloned().chain(env).collect(),
                wrappers,
                is_exec: false,
                is_background: false,
                in_script: self.in_script,
                label: self.label.clone(),
                port: self.port.get(),
                evidence,
            });
        }
    }
}

/// Keywords after which a command follows, or that end one.
const KEYWORDS: [&str; 13] =
    ["if", "then", "else", "elif", "fi", "while", "until", "do", "done", "esac", "{", "}", "!"];
/// Commands that start no program of the service.
const NO_SERVICE: [&str; 73] = [
    ":",
    ".",
    "[",
    "[[",
    "((",
    "alias",
    "apt",
    "apt-get",
    "apk",
    "awk",
    "break",
    "case",
    "cat",
    "cd",
    "chgrp",
    "chmod",
    "chown",
    "continue",
    "cp",
    "curl",
    "date",
    "declare",
    "echo",
    "eval",
    "exit",
    "export",
    "false",
    "find",
    "for",
    "function",
    "getopts",
    "grep",
    "hash",
    "head",
    "hostname",
    "id",
    "install",
    "jq",
    "kill",
    "let",
    "ln",
    "local",
    "ls",
    "mkdir",
    "mv",
    "nc",
    "openssl",
    "pg_isready",
    "pip",
    "printf",
    "psql",
    "pwd",
    "read",
    "readonly",
    "return",
    "rm",
    "sed",
    "select",
    "set",
    "shift",
    "shopt",
    "sleep",
    "source",
    "tail",
    "test",
    "touch",
    "tr",
    "trap",
    "true",
    "ulimit",
    "umask",
    "unset",
    "wait",
];

/// A command without the programs in front that only start it.
#[derive(Default)]
struct Unwrapped {
    words: Vec<String>,
    env: Vec<(String, String)>,
    wrappers: Vec<String>,
    is_exec: bool,
}

impl Unwrapped {
    fn unwrap(&mut self) {
        while let Some(skipped) = self.skipped() {
            self.words.drain(..skipped.count.min(self.words.len()));
            self.env.extend(skipped.env);
            self.wrappers.extend(skipped.wrapper);
            self.is_exec |= skipped.is_exec;
        }
        if let Some(program) = self.words.first_mut()
            && is_python(base_name(program))
        {
            "python".clone_into(program);
        }
        // `python -m uvicorn` is the command `uvicorn`.
        let module = self.words.iter().position(|word| word == "-m").unwrap_or(0);
        let flags = self.words.get(1..module).unwrap_or_default();
        if module > 0
            && self.words.first().is_some_and(|word| word == "python")
            && flags.iter().all(|flag| ["-u", "-O", "-B", "-I", "-E", "-s"].contains(&flag.as_str()))
            && let Some(command) =
                self.words.get(module + 1).and_then(|module| command_of(module)).map(str::to_owned)
        {
            self.words.drain(..=module);
            if let Some(first) = self.words.first_mut() {
                *first = command;
            }
            self.unwrap();
        }
    }

    /// Writes the program without the folder of an environment, and `manage.py` with its interpreter.
    fn normalize(&mut self) {
        let Some(program) = self.words.first_mut() else { return };
        let name = base_name(program);
        if name == "manage.py" {
            self.words.insert(0, "python".to_owned());
        } else if program.contains("/bin/") && !name.is_empty() {
            *program = name.to_owned();
        }
    }

    /// Returns the words in front of the started program; `None` if the first word is the program.
    fn skipped(&self) -> Option<Skipped> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let (first, rest) = words.split_first()?;
        let name = base_name(first);
        let flags = |start: usize, with_value: &[&str]| skip_flags(&words, start, with_value);
        let runs = |word: &str| rest.first() == Some(&word);
        let dashes = || words.iter().position(|word| *word == "--").map(|at| at + 1);
        let mut skipped = Skipped::default();
        skipped.count = match name {
            "exec" => flags(1, &["-a"]),
            "command" | "nohup" | "time" | "eval" | "ddtrace-run" => flags(1, &[]),
            "nice" | "ionice" | "stdbuf" => flags(1, &["-n", "-c"]),
            "env" => {
                let mut at = flags(1, &["-u", "-C"]);
                while let Some((name, value)) = words.get(at).and_then(|word| word.split_once('=')) {
                    skipped.env.push((name.to_owned(), value.to_owned()));
                    at += 1;
                }
                at
            }
            "tini" | "tini-static" | "dumb-init" | "catatonit" | "docker-init" => {
                flags(1, &["-p", "-e", "-r"])
            }
            "gosu" | "su-exec" => 2,
            "poetry" | "pipenv" | "pdm" | "rye" | "hatch" | "uv" | "pixi" if runs("run") => {
                flags(2, &UV_VALUES)
            }
            "conda" | "mamba" | "micromamba" if runs("run") => flags(2, &["-n", "--name", "-p", "--prefix"]),
            "newrelic-admin" if runs("run-program") => 2,
            "opentelemetry-instrument" => flags(1, OPENTELEMETRY_VALUES),
            "doppler" | "infisical" | "op" | "chamber" => dashes()?,
            "start-nginx"
            | "start-nginx-solo"
            | "start-pgbouncer"
            | "start-pgbouncer-stunnel"
            | "qgtunnel" => 1,
            "dockerize" => {
                flags(1, &["-wait", "-timeout", "-template", "-stdout", "-stderr", "-wait-retry-interval"])
            }
            _ if name.starts_with("wait-for") || name.starts_with("wait_for") => dashes()?,
            _ => return None,
        };
        skipped.is_exec = name == "exec";
        skipped.wrapper = WRAPPERS.contains(&name).then(|| name.to_owned());
        Some(skipped)
    }
}

/// Words in front of a program that only start it.
#[derive(Default)]
struct Skipped {
    count: usize,
    env: Vec<(String, String)>,
    wrapper: Option<String>,
    is_exec: bool,
}

/// Programs that start another one and have an effect of their own.
const WRAPPERS: [&str; 12] = [
    "newrelic-admin",
    "ddtrace-run",
    "opentelemetry-instrument",
    "doppler",
    "infisical",
    "op",
    "chamber",
    "start-nginx",
    "start-nginx-solo",
    "start-pgbouncer",
    "start-pgbouncer-stunnel",
    "qgtunnel",
];
const UV_VALUES: [&str; 16] = [
    "--extra",
    "--group",
    "--only-group",
    "--no-group",
    "--package",
    "--python",
    "-p",
    "--project",
    "--directory",
    "--env-file",
    "--with",
    "--with-requirements",
    "--index-url",
    "--cache-dir",
    "-n",
    "-s",
];
const OPENTELEMETRY_VALUES: &[&str] = &[
    "--traces_exporter",
    "--metrics_exporter",
    "--logs_exporter",
    "--service_name",
    "--exporter_otlp_endpoint",
];

/// Returns the position of the first word that is no flag and no value of one.
fn skip_flags(words: &[&str], start: usize, with_value: &[&str]) -> usize {
    let mut at = start;
    while let Some(word) = words.get(at) {
        match *word {
            "--" => return at + 1,
            word if with_value.contains(&word) => at += 2,
            word if word.starts_with('-') => at += 1,
            _ => break,
        }
    }
    at
}

/// Returns the command of a module that is run by `python -m`.
fn command_of(module: &str) -> Option<&str> {
    match module {
        "waitress" => Some("waitress-serve"),
        "django" => Some("django-admin"),
        "uvicorn" | "gunicorn" | "hypercorn" | "granian" | "daphne" | "flask" | "fastapi" | "celery"
        | "streamlit" | "sanic" | "litestar" | "alembic" | "aerich" | "dramatiq" | "rq" | "arq"
        | "poetry" | "pipenv" | "pdm" | "uv" | "robyn" => Some(module),
        _ => None,
    }
}

fn is_python(name: &str) -> bool {
    name.strip_prefix("python")
        .or_else(|| name.strip_prefix("pypy"))
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Returns the last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Joins two folders of a command; an absolute one replaces the first.
pub(super) fn join(folder: Option<&str>, more: &str) -> String {
    let folder = folder.filter(|_| !more.starts_with('/')).unwrap_or_default();
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(more.split('/')) {
        match part {
            "" | "." => {}
            ".." if !parts.is_empty() => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let start = if more.starts_with('/') || folder.starts_with('/') { "/" } else { "" };
    format!("{start}{}", parts.join("/"))
}
