//! The command that a shell's line runs first, as far as it is certain.
//!
//! Follows the shell command language of POSIX.1-2017, section 2.10, without expansions: a line whose
//! first command is computed, or part of a compound command, has none.

use crate::shell_names::is_shell;

/// Words after which no program follows: special and regular built-in utilities, reserved words.
const BUILTINS: [&str; 47] = [
    "!", ".", ":", "[", "[[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue",
    "declare", "echo", "eval", "exit", "export", "false", "for", "function", "getopts", "hash", "if", "kill",
    "let", "local", "printf", "pwd", "read", "readonly", "return", "select", "set", "shift", "source",
    "test", "time", "times", "trap", "true", "type", "ulimit", "umask", "until", "wait", "while",
];

/// Returns the line in a command of the form `sh -c LINE`, also behind an init such as `tini`.
pub(crate) fn line(command: &[String]) -> Option<&str> {
    let at = command.iter().position(|word| is_shell(word))?;
    let mut rest = command.get(at + 1..)?.iter();
    loop {
        let word = rest.next()?;
        let letters = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'))?;
        if letters.ends_with('c') {
            return rest.next().map(String::as_str);
        }
        if letters.ends_with('o') {
            rest.next()?;
        }
    }
}

/// Returns the words of the first command in `line`, if it is a program. Variables in its arguments
/// stay as written.
pub(crate) fn first_command(line: &str) -> Option<Vec<String>> {
    let mut words = words(line)?.into_iter().peekable();
    while words.peek().is_some_and(|word| is_assignment(word)) {
        words.next();
    }
    if words.peek().is_some_and(|word| word == "exec") {
        words.next();
    }
    let program = words.next()?;
    let is_literal =
        program.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-+@:".contains(letter));
    let is_program = is_literal && !program.starts_with('-') && !BUILTINS.contains(&program.as_str());
    is_program.then(|| std::iter::once(program).chain(words).collect())
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Returns the words up to the first operator. `None` for a substitution, a group, or an open quote.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut has_word) = (Vec::new(), String::new(), false);
    let mut letters = line.trim_start().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                has_word = true;
                loop {
                    match letters.next()? {
                        end if end == letter => break,
                        '\\' if letter == '"' => word.push(letters.next()?),
                        '`' if letter == '"' => return None,
                        other => word.push(other),
                    }
                }
            }
            '\\' => match letters.next()? {
                '\n' => {}
                other => {
                    has_word = true;
                    word.push(other);
                }
            },
            '`' | '(' | ')' => return None,
            ' ' | '\t' => {
                if std::mem::take(&mut has_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            '\n' | ';' | '|' | '&' => break,
            '#' if !has_word => break,
            other => {
                has_word = true;
                word.push(other);
            }
        }
    }
    if has_word {
        words.push(word);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_of_a_line_is_a_program() {
        for (line, expected) in [
            ("curl -f http://localhost:8000/health || exit 1", Some("curl -f http://localhost:8000/health")),
            ("exec uvicorn main:app --port ${PORT:-8000}", Some("uvicorn main:app --port ${PORT:-8000}")),
            ("A=1 B=x python -m app && echo", Some("python -m app")),
            ("python -c 'import x; x.y()' # z", Some("python -c import x; x.y()")),
            ("python manage.py migrate\ngunicorn x", Some("python manage.py migrate")),
            ("test -f x", None),
            ("cd /app && uvicorn x", None),
            ("$PYTHON x", None),
            ("\"$X\" y", None),
            ("(a)", None),
            ("`a` b", None),
            ("$(a) b", None),
            ("a '", None),
            ("[ -f x ]", None),
            ("if a; then b; fi", None),
            ("", None),
        ] {
            assert_eq!(first_command(line).map(|words| words.join(" ")).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_shell_has_its_line_after_its_options() {
        for (command, expected) in [
            ("/bin/sh|-c|a b", Some("a b")),
            ("tini|--|bash|-euo|pipefail|-c|a", Some("a")),
            ("bash|-lc|a", Some("a")),
            ("sh|script.sh", None),
            ("sh|--login|-c|x", None),
            ("uvicorn|-c|x", None),
            ("sh|-c", None),
        ] {
            let words: Vec<String> = command.split('|').map(str::to_owned).collect();
            assert_eq!(line(&words), expected, "{command}");
        }
    }
}
