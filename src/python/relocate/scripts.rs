//! Rewrites scripts in `bin/`: their first line, and the full text of those that call an entry
//! point.
//!
//! The packaging specifications leave the text of a console script to the installer, and pip, uv
//! and distlib write different ones; all become one canonical text. Recognized first lines are a
//! plain `#!…python`, `env` with Python, the `/bin/sh` trampoline of pip and uv for paths with a
//! space or too long for the kernel, and uv's `--relocatable` trampoline; images from scratch have
//! neither a shell for the trampolines nor `env`. A script may have any name: `jp.py`, `deploy.sh`.

use crate::python::metadata::entry_points::EntryPoint;

/// Returns the script for an entry point, run by the interpreter at `python` (absolute in the
/// image).
pub(crate) fn console_script(python: &str, point: &EntryPoint) -> String {
    let (module, imported, attribute) = (&point.module, point.imported(), &point.attribute);
    format!(
        "#!{python}\n\
         import sys\n\
         \n\
         from {module} import {imported}\n\
         \n\
         if __name__ == \"__main__\":\n    \
             sys.argv[0] = sys.argv[0].removesuffix(\".exe\").removesuffix(\"-script.pyw\")\n    \
             sys.exit({attribute}())\n"
    )
}

/// Returns the new text of the script `name`; `None` without a recognized first line.
pub(crate) fn relocate(python: &str, name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let (options, body) = python_body(bytes)?;
    if options.is_empty()
        && let Some(point) = wrapped_entry_point(name, body)
    {
        return Some(console_script(python, &point).into_bytes());
    }
    let mut script = format!("#!{python}").into_bytes();
    if !options.is_empty() {
        script.push(b' ');
        script.extend_from_slice(options);
    }
    script.push(b'\n');
    script.extend_from_slice(body);
    Some(script)
}

/// Returns the interpreter's option in the first line of a Python script, and the text after that
/// line.
fn python_body(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = split_line(bytes.strip_prefix(b"#!")?);
    let words: Vec<&[u8]> = first.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [b"/bin/sh"] => {
            let (exec, rest) = split_line(rest);
            let (close, rest) = split_line(rest);
            let called = exec.strip_prefix(b"'''exec' ")?.strip_suffix(b" \"$0\" \"$@\"")?;
            (close == b"' '''").then(|| (trailing_option(called), rest))
        }
        [env, b"-S", python] | [env, python] if env.ends_with(b"/env") && is_python(python) => {
            Some((&[], rest))
        }
        [env, b"-S", python, option] if env.ends_with(b"/env") && is_python(python) => Some((*option, rest)),
        [python] if is_python(python) => Some((&[], rest)),
        [python, option] if is_python(python) => Some((*option, rest)),
        // Spaces in the build machine's path, if accepted by that machine's kernel.
        [] => None,
        words => {
            words.last().filter(|last| first.starts_with(b"/") && is_python(last)).map(|_| (&[][..], rest))
        }
    }
}

/// Returns the option after the interpreter in a trampoline's command.
fn trailing_option(command: &[u8]) -> &[u8] {
    let last = command.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if last.starts_with(b"-") { last } else { &[] }
}

/// Returns whether a path ends in `python`, `python3`, `python3.11`, `pythonw`.
fn is_python(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    name.strip_prefix(b"python").is_some_and(|version| {
        version.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b't' | b'w'))
    })
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', bytes) {
        Some(at) => {
            let (line, rest) = bytes.split_at(at);
            (line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..).unwrap_or_default())
        }
        None => (bytes, &[]),
    }
}

/// Returns the entry point called by a script without its first line, if the script has no other
/// effect.
fn wrapped_entry_point(name: &str, body: &[u8]) -> Option<EntryPoint> {
    if body.len() > 2048 {
        return None;
    }
    let (mut import, mut call) = (None, None);
    for line in std::str::from_utf8(body).ok()?.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("from ") {
            if import.replace(rest.split_once(" import ")?).is_some() {
                return None;
            }
        } else if let Some(rest) = line.strip_prefix("sys.exit(") {
            if call.replace(rest.strip_suffix("())")?).is_some() {
                return None;
            }
        } else if !matches!(line, "" | "import re" | "import sys")
            && !line.starts_with(['#'])
            && !line.starts_with("if __name__ ==")
            && !line.starts_with("sys.argv[0] = ")
            && !line.starts_with("if sys.argv[0].endswith(")
            && !line.starts_with("elif sys.argv[0].endswith(")
        {
            return None;
        }
    }
    let ((module, imported), attribute) = (import?, call?);
    let point = EntryPoint::new(name, &format!("{module}:{attribute}"))?;
    (point.imported() == imported).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PYTHON: &str = "/app/.venv/bin/python";

    fn relocated(script: &str) -> Option<String> {
        relocate(PYTHON, "x", script.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn all_installers_scripts_become_one_text() {
        let pip = "# -*- coding: utf-8 -*-\nimport re\nimport sys\nfrom a.b import c\nif __name__ == '__main__':\n    \
                   sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    sys.exit(c.d())\n";
        let new_pip = "import sys\nfrom a.b import c\nif __name__ == '__main__':\n    \
                   sys.argv[0] = sys.argv[0].removesuffix('.exe')\n    sys.exit(c.d())\n";
        let uv = "# -*- coding: utf-8 -*-\nimport sys\nfrom a.b import c\nif __name__ == \"__main__\":\n    \
                  if sys.argv[0].endswith(\"-script.pyw\"):\n        sys.argv[0] = sys.argv[0][:-11]\n    \
                  elif sys.argv[0].endswith(\".exe\"):\n        sys.argv[0] = sys.argv[0][:-4]\n    sys.exit(c.d())\n";
        let heads = [
            "#!/tmp/venv/bin/python3\n",
            "#!/tmp/venv/bin/python3.11\r\n",
            "#!/bin/sh\n'''exec' \"/tmp/a b/bin/python\" \"$0\" \"$@\"\n' '''\n",
            "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n",
        ];
        let expected = console_script(PYTHON, &EntryPoint::new("x", "a.b:c.d").unwrap());
        for head in heads {
            for body in [pip, new_pip, uv] {
                assert_eq!(relocated(&format!("{head}{body}")).as_ref(), Some(&expected), "{head}{body}");
            }
        }
    }

    #[test]
    fn other_python_scripts_get_only_another_first_line() {
        for (head, to) in [
            ("#!/tmp/venv/bin/python\n", "#!/app/.venv/bin/python\n"),
            ("#!/usr/bin/env python3\n", "#!/app/.venv/bin/python\n"),
            ("#!python\n", "#!/app/.venv/bin/python\n"),
            ("#!/tmp/venv/bin/python -E\n", "#!/app/.venv/bin/python -E\n"),
            ("#!/tmp/a b/bin/python\n", "#!/app/.venv/bin/python\n"),
            ("#!/tmp/venv/bin/pythonw\n", "#!/app/.venv/bin/python\n"),
            ("#! /usr/bin/env python\r\n", "#!/app/.venv/bin/python\n"),
            ("#!/usr/bin/env -S python3\n", "#!/app/.venv/bin/python\n"),
            ("#!/usr/bin/env -S python3 -u\n", "#!/app/.venv/bin/python -u\n"),
            (
                "#!/bin/sh\n'''exec' \"/tmp/a b/bin/python\" -E \"$0\" \"$@\"\n' '''\n",
                "#!/app/.venv/bin/python -E\n",
            ),
        ] {
            assert_eq!(relocated(&format!("{head}print(1)\n")), Some(format!("{to}print(1)\n")), "{head}");
        }
    }

    #[test]
    fn scripts_that_are_not_pythons_stay() {
        for script in [
            "#!/bin/sh\necho\n",
            "#!/bin/bash\nexec python\n",
            "\x7fELF",
            "",
            "#!",
            "#!/usr/bin/perl\n",
            "#!/usr/bin/env -S node\n",
            "#!/usr/bin/python-config\n",
        ] {
            assert_eq!(relocated(script), None, "{script}");
        }
    }

    #[test]
    fn a_wrapper_that_does_more_is_kept() {
        let body = "import sys\nimport os\nfrom a import b\nsys.exit(b())\n";
        assert_eq!(relocated(&format!("#!/v/bin/python\n{body}")), Some(format!("#!{PYTHON}\n{body}")));
        let other = "import sys\nfrom a import b\nsys.exit(c())\n";
        assert_eq!(relocated(&format!("#!/v/bin/python\n{other}")), Some(format!("#!{PYTHON}\n{other}")));
    }

    proptest! {
        #[test]
        fn relocating_twice_is_relocating_once(script in "#!/[a-z/ ]{0,10}(python|sh)[3 -E]{0,3}\n(?s).{0,80}") {
            if let Some(once) = relocate(PYTHON, "x", script.as_bytes()) {
                prop_assert_eq!(relocate(PYTHON, "x", &once), Some(once.clone()));
            }
        }
    }
}
