//! The environment's own files, which belong to no distribution: `pyvenv.cfg`, the links to the
//! interpreter and `activate`.
//!
//! Each tool writes these differently and with paths of the build machine, so all are replaced by
//! one text.

use super::{Activation, Relocation};
use crate::python::environment::error::VenvError;
use crate::tree::{Entry, ImagePath, Owner};

/// Returns whether this module writes or drops the file `place` below the environment.
pub(crate) fn is_environment_file(place: &str) -> bool {
    match place.split_once('/') {
        None => matches!(place, "pyvenv.cfg" | "lib64" | ".lock" | ".gitignore" | "CACHEDIR.TAG"),
        Some(("bin", name)) => {
            // virtualenv and uv write one for each shell; CPython 3.14 adds a link called `𝜋thon`.
            let stem = name.split_once('.').map_or(name, |(stem, _)| stem).to_ascii_lowercase();
            let version =
                name.strip_prefix("python").or_else(|| name.strip_prefix('𝜋')?.strip_prefix("thon"));
            matches!(stem.as_str(), "activate" | "activate_this" | "deactivate")
                || name == "pydoc.bat"
                || version.is_some_and(|rest| {
                    rest.chars().all(|character| character.is_ascii_digit() || matches!(character, '.' | 't'))
                })
        }
        Some(_) => false,
    }
}

/// Returns whether a file in `site-packages` comes from the tool that made the environment and has
/// no use in an image: uv's `.gitignore` and `.lock`, virtualenv's patch of distutils.
pub(crate) fn is_tool_litter(name: &str) -> bool {
    matches!(name, ".gitignore" | ".lock" | "_virtualenv.py" | "_virtualenv.pth")
}

/// Returns the entries of the environment itself.
pub(crate) fn entries(relocation: &Relocation<'_>) -> Result<Vec<Entry>, VenvError> {
    let venv = relocation.venv;
    let at = |place: &str| relocation.prefix.join(place);
    let home = relocation.interpreter.parent().unwrap_or_default();
    let config = format!("home = {home}\ninclude-system-site-packages = false\nversion = {}\n", venv.version);
    let owner = Owner::Environment;
    let mut entries = vec![
        Entry::file(at("pyvenv.cfg")?, config.into(), owner.clone()),
        Entry::symlink(at("bin/python")?, relocation.interpreter.to_string(), owner.clone()),
        Entry::symlink(at("bin/python3")?, "python", owner.clone()),
        Entry::symlink(at(&format!("bin/{}", venv.version.name()))?, "python", owner.clone()),
    ];
    if !venv.site_packages.iter().any(|site| site.starts_with("lib64/")) {
        entries.push(Entry::symlink(at("lib64")?, "lib", owner.clone()));
    }
    if relocation.activation == Activation::Include {
        entries.push(Entry::file(at("bin/activate")?, activate(&relocation.prefix).into(), owner));
    }
    Ok(entries)
}

/// Returns `activate` for POSIX shells. Scripts for other shells are dropped: images have none of
/// these shells.
fn activate(prefix: &ImagePath) -> String {
    let quoted = format!("'{}'", prefix.to_string().replace('\'', r"'\''"));
    format!(
        r#"# To be sourced: `. {prefix}/bin/activate`. `deactivate` undoes it.

deactivate () {{
    if [ -n "${{_OLD_VIRTUAL_PATH+set}}" ]; then
        PATH="$_OLD_VIRTUAL_PATH"
        export PATH
        unset _OLD_VIRTUAL_PATH
    fi
    if [ -n "${{_OLD_VIRTUAL_PYTHONHOME+set}}" ]; then
        PYTHONHOME="$_OLD_VIRTUAL_PYTHONHOME"
        export PYTHONHOME
        unset _OLD_VIRTUAL_PYTHONHOME
    fi
    if [ -n "${{_OLD_VIRTUAL_PS1+set}}" ]; then
        PS1="$_OLD_VIRTUAL_PS1"
        unset _OLD_VIRTUAL_PS1
    fi
    hash -r 2> /dev/null
    unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    if [ "${{1-}}" != nondestructive ]; then
        unset -f deactivate
    fi
}}

deactivate nondestructive

VIRTUAL_ENV={quoted}
VIRTUAL_ENV_PROMPT=venv
export VIRTUAL_ENV VIRTUAL_ENV_PROMPT
_OLD_VIRTUAL_PATH="$PATH"
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH
if [ -n "${{PYTHONHOME+set}}" ]; then
    _OLD_VIRTUAL_PYTHONHOME="$PYTHONHOME"
    unset PYTHONHOME
fi
if [ -z "${{VIRTUAL_ENV_DISABLE_PROMPT-}}" ] && [ -n "${{PS1-}}" ]; then
    _OLD_VIRTUAL_PS1="$PS1"
    PS1="(venv) $PS1"
fi
hash -r 2> /dev/null
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_environment_files() {
        for place in [
            "pyvenv.cfg",
            "lib64",
            ".lock",
            "bin/python",
            "bin/python3",
            "bin/python3.11",
            "bin/python3.13t",
            "bin/𝜋thon",
            "bin/activate",
            "bin/activate.fish",
            "bin/Activate.ps1",
            "bin/activate_this.py",
            "bin/deactivate.bat",
            "bin/pydoc.bat",
        ] {
            assert!(is_environment_file(place), "{place}");
        }
        for place in
            ["bin/uvicorn", "bin/python-config", "bin/activate-env", "share/pyvenv.cfg", "bin/pip3.11"]
        {
            assert!(!is_environment_file(place), "{place}");
        }
    }

    #[test]
    fn activate_quotes_the_path() {
        assert!(activate(&ImagePath::new("/a'b").unwrap()).contains(r"VIRTUAL_ENV='/a'\''b'"));
    }
}
