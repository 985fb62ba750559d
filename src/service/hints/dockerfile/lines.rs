//! [`parse`]: the instructions of a Dockerfile, with their lines.
//!
//! Follows BuildKit's parser (<https://github.com/moby/buildkit>, `frontend/dockerfile/parser`) and is
//! compared with it by `benches/dockerfiles`: parser directives, comments, continued lines, flags, the
//! JSON form, and here-documents. The crate `parse-dockerfile` knows here-documents only at the start of
//! a command, refuses the entire file otherwise, and leaves continuations in its values.

/// An instruction of a Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// In upper case: `RUN`.
    pub(crate) keyword: String,
    /// The instruction is the argument of `ONBUILD`.
    pub(crate) is_onbuild: bool,
    /// `--mount=…`, `--from=…`, in order.
    pub(crate) flags: Vec<String>,
    /// The text behind the flags, continued lines joined.
    pub(crate) arguments: String,
    /// The arguments in JSON form.
    pub(crate) words: Option<Vec<String>>,
    /// The here-documents of `RUN`, `COPY` and `ADD`.
    pub(crate) here_documents: Vec<HereDocument>,
    /// The first line, from 1.
    pub(crate) line: usize,
    /// The last line.
    pub(crate) last_line: usize,
    /// Offsets in `arguments` at which a line of the file begins, with the number of that line.
    starts: Vec<(usize, usize)>,
}

/// A here-document of an instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HereDocument {
    /// The word that ends the text.
    pub(crate) name: String,
    /// The text, with its line ends.
    pub(crate) text: String,
    /// The line of the first line of the text.
    pub(crate) line: usize,
}

/// The instructions of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ParsedDockerfile {
    pub(crate) instructions: Vec<Instruction>,
    /// The escape character: a backslash, or the backtick of `# escape=`.
    pub(crate) escape: char,
    /// The reason if BuildKit refuses the file.
    pub(crate) problem: Option<String>,
}

impl Instruction {
    /// Returns the number of the line with the byte `offset` of `arguments`.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        let before = self.starts.iter().take_while(|(start, _)| *start <= offset);
        before.last().map_or(self.line, |(_, line)| *line)
    }

    /// Returns the value of the flag `--NAME=VALUE`.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find_map(|flag| flag.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='))
    }

    /// Returns true for a line of the instruction.
    pub(crate) fn has_line(&self, line: usize) -> bool {
        (self.line..=self.last_line).contains(&line)
    }

    /// Returns the instruction as one line of text.
    pub(crate) fn text(&self) -> String {
        let onbuild = self.is_onbuild.then_some("ONBUILD");
        let flags = self.flags.iter().map(String::as_str);
        let arguments = self.arguments.split_whitespace();
        let words = onbuild.into_iter().chain([self.keyword.as_str()]).chain(flags).chain(arguments);
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Parses a Dockerfile. Instructions that BuildKit refuses are kept, and the first reason is returned.
pub(crate) fn parse(text: &str) -> ParsedDockerfile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n').enumerate().peekable();
    let escape = escape(text);
    let mut parsed = ParsedDockerfile { escape, ..ParsedDockerfile::default() };
    while let Some((index, raw)) = lines.next() {
        let line = trim_newline(raw).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut joined = Joined::default();
        let (mut part, mut continues) = trim_continuation(line, escape);
        let mut last = index;
        joined.push(part, index);
        while continues {
            let Some((index, raw)) = lines.next() else { break };
            let line = trim_newline(raw);
            last = index;
            if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            (part, continues) = trim_continuation(line, escape);
            joined.push(part, index);
        }
        if joined.text.trim().is_empty() {
            continue;
        }
        let mut instruction = instruction(&joined, escape);
        instruction.line = index + 1;
        for mut document in here_documents(&instruction) {
            document.line = last + 2;
            let mut is_ended = false;
            for (index, raw) in lines.by_ref() {
                last = index;
                let stripped = if document.strips_tabs { raw.trim_start_matches('\t') } else { raw };
                if trim_newline(stripped) == document.name {
                    is_ended = true;
                    break;
                }
                document.text.push_str(stripped);
            }
            if !is_ended {
                let problem = format!("the here-document `{}` does not end", document.name);
                parsed.problem.get_or_insert(problem);
            }
            let HereDelimiter { name, text, line, .. } = document;
            instruction.here_documents.push(HereDocument { name, text, line });
        }
        instruction.last_line = last + 1;
        parsed.instructions.push(instruction);
    }
    parsed
}

/// The joined lines of an instruction.
#[derive(Default)]
struct Joined {
    text: String,
    starts: Vec<(usize, usize)>,
}

impl Joined {
    fn push(&mut self, part: &str, index: usize) {
        self.starts.push((self.text.len(), index + 1));
        self.text.push_str(part);
    }
}

fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Returns the escape character. Directives are the comments before any other line.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let directive = line.strip_prefix('#').and_then(|line| line.split_once('='));
        let Some((name, value)) = directive else { break };
        let (name, value) = (name.trim(), value.trim());
        if !name.starts_with(|first: char| first.is_ascii_alphabetic())
            || !name.chars().all(|c| c.is_ascii_alphanumeric())
            || value.is_empty()
        {
            break;
        }
        if name.eq_ignore_ascii_case("escape") {
            return if value == "`" { '`' } else { '\\' };
        }
    }
    '\\'
}

/// Removes the escape character at the end of a continued line. A doubled one continues no line.
fn trim_continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

fn instruction(joined: &Joined, escape: char) -> Instruction {
    let whole = joined.text.trim_end();
    let mut text = whole.trim_start();
    let mut instruction = Instruction::default();
    loop {
        let (keyword, rest) = text.split_once(is_blank).unwrap_or((text, ""));
        instruction.keyword = keyword.to_uppercase();
        let (flags, rest) = flags(rest.trim_start_matches(is_blank), escape);
        text = rest.trim_start();
        if instruction.keyword != "ONBUILD" || instruction.is_onbuild || text.is_empty() {
            instruction.flags = flags;
            break;
        }
        instruction.is_onbuild = true;
    }
    let offset = whole.len() - text.len();
    instruction.starts =
        joined.starts.iter().map(|(start, line)| (start.saturating_sub(offset), *line)).collect();
    text.clone_into(&mut instruction.arguments);
    let has_words = ["CMD", "ENTRYPOINT", "RUN", "SHELL", "VOLUME", "COPY", "ADD"];
    let json = match instruction.keyword.as_str() {
        "HEALTHCHECK" => text.split_once(is_blank).map(|(_, command)| command.trim_start()),
        keyword => has_words.contains(&keyword).then_some(text),
    };
    let json = json.filter(|json| json.starts_with('['));
    instruction.words = json.and_then(|json| serde_json::from_str(json).ok());
    instruction
}

/// Takes the words that begin with `--` from the start of the arguments.
fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let mut flag = String::new();
        let mut quote = None;
        let mut characters = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = characters.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                None if c == '"' || c == '\'' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ if c == escape => flag.extend(characters.next().map(|(_, c)| c)),
                _ => flag.push(c),
            }
        }
        rest = &rest[end..];
        if flag == "--" {
            return (flags, rest.trim_start());
        }
        flags.push(flag);
    }
}

struct HereDelimiter {
    name: String,
    strips_tabs: bool,
    text: String,
    line: usize,
}

/// Returns the here-documents that the arguments begin: the words `<<NAME`, `<<-NAME`, `3<<"NAME"`.
fn here_documents(instruction: &Instruction) -> Vec<HereDelimiter> {
    let can_have = ["RUN", "COPY", "ADD"].contains(&instruction.keyword.as_str());
    if !can_have || instruction.words.is_some() || !instruction.arguments.contains("<<") {
        return Vec::new();
    }
    // The escape character of a shell, also under the directive `escape`.
    let words = super::words::split(&instruction.arguments, '\\');
    let delimiter = |word: &str| {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (strips_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let name = super::words::expand(rest, '\\', &|name| Some(format!("${name}")));
        Some(HereDelimiter { name, strips_tabs, text: String::new(), line: 0 })
    };
    words.iter().filter_map(|word| delimiter(word)).collect()
}
