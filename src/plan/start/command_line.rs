//! Command lines that name further programs: interpreter lines, `env`, `tini`, Python's options.

/// Number of bytes read by the kernel to find an interpreter (`BINPRM_BUF_SIZE`).
pub(crate) const LINE_LIMIT: usize = 256;

/// Splits `line`, the first line of a script after `#!`, into the interpreter and the one
/// argument that the kernel passes (`fs/binfmt_script.c`).
pub(super) fn interpreter(line: &str) -> Option<(&str, Option<&str>)> {
    let blank = [' ', '\t'];
    let line = line.trim_matches(blank);
    if line.is_empty() {
        return None;
    }
    Some(match line.split_once(blank) {
        Some((program, argument)) => (program, Some(argument.trim_start_matches(blank))),
        None => (line, None),
    })
}

/// Returns the command in the arguments of `env`, after options and variables. Returns `None` for
/// an unknown option or without a command.
pub(super) fn command_after_env(words: &[String]) -> Option<Vec<String>> {
    let mut words = words.iter().map(String::as_str);
    loop {
        let word = words.next()?;
        match word {
            "-" | "-i" | "--ignore-environment" | "-v" | "--debug" => {}
            "-u" | "--unset" => drop(words.next()?),
            "--" => return some(words),
            _ if word.starts_with("-u") || word.starts_with("--unset=") => {}
            _ if word.starts_with("-S")
                || word.starts_with("--split-string=")
                || word == "--split-string" =>
            {
                let text = match word {
                    "-S" | "--split-string" => words.next()?,
                    _ => word.strip_prefix("-S").or_else(|| word.strip_prefix("--split-string="))?,
                };
                // Quotes and escapes follow a syntax of `env` alone.
                if text.contains(['\'', '"', '\\', '$', '#']) {
                    return None;
                }
                let split: Vec<String> =
                    text.split_ascii_whitespace().chain(words).map(str::to_owned).collect();
                return command_after_env(&split);
            }
            // `-C DIR` changes the meaning of relative names, `PATH=` the search.
            _ if word.starts_with('-') || word.starts_with("PATH=") => return None,
            _ if word.contains('=') => {}
            _ => return some(std::iter::once(word).chain(words)),
        }
    }
}

fn some<'a>(words: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let words: Vec<String> = words.map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// Returns the command in the arguments of an init such as `tini`: the words after `--`.
pub(super) fn command_after_init<'a>(program: &str, words: &'a [String]) -> Option<&'a [String]> {
    if !matches!(program, "tini" | "tini-static" | "dumb-init" | "docker-init" | "catatonit") {
        return None;
    }
    let at = words.iter().position(|word| word == "--")?;
    words.get(at + 1..).filter(|rest| !rest.is_empty())
}

/// The program in the arguments of Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PythonTarget<'a> {
    /// A file, a directory or an archive.
    File(&'a str),
    /// `-m MODULE`.
    Module(&'a str),
}

/// Parses the arguments of Python (`Python/initconfig.c`). Returns `None` for `-c`, standard input
/// and unknown options.
pub(crate) fn python_target(words: &[String]) -> Option<PythonTarget<'_>> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-') else { return Some(PythonTarget::File(word)) };
        if letters.is_empty() {
            return None;
        }
        if let Some(long) = letters.strip_prefix('-') {
            if long == "check-hash-based-pycs" {
                words.next()?;
            } else if !long.starts_with("check-hash-based-pycs=") {
                return None;
            }
            continue;
        }
        for (at, letter) in letters.char_indices() {
            let rest = letters.get(at + 1..).unwrap_or_default();
            match letter {
                'm' => return Some(PythonTarget::Module(if rest.is_empty() { words.next()? } else { rest })),
                'W' | 'X' => {
                    if rest.is_empty() {
                        words.next()?;
                    }
                    break;
                }
                'b' | 'B' | 'd' | 'E' | 'i' | 'I' | 'O' | 'P' | 'q' | 'R' | 's' | 'S' | 'u' | 'v' | 'x' => {}
                _ => return None,
            }
        }
    }
    None
}

/// Returns true if `name` is an executable name of Python.
pub(crate) fn is_python(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|version| {
        let digits = version.strip_suffix('t').unwrap_or(version);
        digits.is_empty() || digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_interpreter_line_has_a_program_and_one_argument() {
        for (line, expected) in [
            ("/bin/sh", Some(("/bin/sh", None))),
            (" /usr/bin/env python3 -u ", Some(("/usr/bin/env", Some("python3 -u")))),
            ("/bin/sh\r", Some(("/bin/sh\r", None))),
            ("\t", None),
            ("", None),
        ] {
            assert_eq!(interpreter(line), expected, "{line:?}");
        }
    }

    #[test]
    fn env_starts_what_follows_its_options() {
        for (text, expected) in [
            ("python3", Some("python3")),
            ("-i A=1 B=2 bash -c x", Some("bash -c x")),
            ("-u HOME -uX -- prog", Some("prog")),
            ("-S python3 -u", Some("python3 -u")),
            ("-Spython3 x", Some("python3 x")),
            ("-C /x prog", None),
            ("PATH=/x prog", None),
            ("A=1", None),
            ("", None),
        ] {
            assert_eq!(command_after_env(&words(text)), expected.map(words), "{text}");
        }
        assert_eq!(
            command_after_env(&["-S A=1 python3 -u".to_owned(), "x".to_owned()]),
            Some(words("python3 -u x"))
        );
        assert_eq!(command_after_env(&["-S 'a b'".to_owned()]), None);
    }

    #[test]
    fn an_init_starts_what_follows_two_dashes() {
        assert_eq!(command_after_init("tini", &words("-g -- gunicorn x")), Some(&words("gunicorn x")[..]));
        assert_eq!(command_after_init("tini", &words("gunicorn")), None);
        assert_eq!(command_after_init("sh", &words("-- x")), None);
    }

    #[test]
    fn python_runs_a_file_or_a_module() {
        for (text, expected) in [
            ("main.py -m x", Some(PythonTarget::File("main.py"))),
            ("-m svc", Some(PythonTarget::Module("svc"))),
            ("-um svc", Some(PythonTarget::Module("svc"))),
            ("-msvc", Some(PythonTarget::Module("svc"))),
            ("-X dev -W error -OO manage.py", Some(PythonTarget::File("manage.py"))),
            ("-Xdev -Werror --check-hash-based-pycs never -B a", Some(PythonTarget::File("a"))),
            ("-c pass", None),
            ("-", None),
            ("--help", None),
            ("", None),
        ] {
            assert_eq!(python_target(&words(text)), expected, "{text}");
        }
    }

    #[test]
    fn names_of_python() {
        for name in ["python", "python3", "python3.11", "python3.13t"] {
            assert!(is_python(name), "{name}");
        }
        for name in ["pythonw", "python-config", "pytest", "ipython"] {
            assert!(!is_python(name), "{name}");
        }
    }
}
