//! The launcher: a line of Python before a command, which makes every server listen on `$PORT`.
//!
//! Cloud Run, Heroku, Railway and Render give the port of a container in the variable `PORT`, Azure
//! in `WEBSITES_PORT`. Most servers read another variable (`UVICORN_PORT`) or only their command
//! line, none reads `WEBSITES_PORT`, and an image has no shell that could insert a value. The launcher copies the port to the
//! server's variable, inserts `$PORT` and `$WEB_CONCURRENCY` in the words of the command, and then
//! replaces itself by the command (`execvp(3)`): the server has process 1 and gets every signal.
//! `docs/decisions.md` compares it with other ways.

use std::fmt::Write as _;

/// The word that the launcher replaces by the port.
pub(super) const PORT: &str = "$PORT";
/// The word that the launcher replaces by the number of workers.
pub(super) const WORKERS: &str = "$WEB_CONCURRENCY";

/// The variables in which platforms give the port, in order.
const PLATFORM_VARIABLES: [&str; 2] = ["PORT", "WEBSITES_PORT"];
/// The same for an image that has a value of `PORT`, which is there on every platform.
const VARIABLES_BESIDE_PORT: [&str; 2] = ["WEBSITES_PORT", "PORT"];

/// The beginning of the launcher's program, by which it is recognized.
const BEGINNING: &str = "import os, sys # sets the port\n";

/// A launcher of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launcher {
    /// The server's variables for the port.
    pub(super) variables: Vec<String>,
    /// The port without a variable.
    pub(super) port: u16,
    /// The number of workers without a variable.
    pub(super) workers: u16,
    /// True if the image has a value of `PORT`.
    pub(super) has_port: bool,
}

impl Launcher {
    /// Returns the variables with the port, in the order of precedence.
    pub(super) fn port_sources(&self) -> impl Iterator<Item = &str> {
        let own = self.variables.iter().map(String::as_str);
        let of_platforms = if self.has_port { VARIABLES_BESIDE_PORT } else { PLATFORM_VARIABLES };
        of_platforms.into_iter().chain(own.filter(|name| !PLATFORM_VARIABLES.contains(name)))
    }

    /// Returns the words of the launcher and of `command`, to which the image adds `arguments`; `python`
    /// is the interpreter of the environment.
    pub(super) fn words(&self, python: &str, command: Vec<String>, arguments: &[String]) -> Vec<String> {
        let Self { port, workers, .. } = self;
        let names: Vec<String> = self.port_sources().map(python_literal).collect();
        let mut program = format!(
            "{BEGINNING}env = os.environ\n\
             port = next((p for p in map(env.get, ({},)) if p and p.isdigit()), \"{port}\")\n",
            names.join(", ")
        );
        for variable in &self.variables {
            let _ = writeln!(program, "env[{}] = port", python_literal(variable));
        }
        let replaces = |word: &str| command.iter().chain(arguments).any(|part| part.contains(word));
        let mut words = "sys.argv[1:]".to_owned();
        if replaces(PORT) || replaces(WORKERS) {
            let _ = writeln!(program, "workers = env.get(\"WEB_CONCURRENCY\") or \"{workers}\"");
            words = format!(
                "[word.replace(\"{PORT}\", port).replace(\"{WORKERS}\", workers) for word in {words}]"
            );
        }
        let _ = write!(program, "os.execvp(sys.argv[1], {words})");
        let launcher = [python, "-IS", "-c", &program].map(str::to_owned);
        launcher.into_iter().chain(command).collect()
    }
}

/// Returns the command behind a launcher, given the arguments of Python.
pub(crate) fn launched(arguments: &[String]) -> Option<&[String]> {
    match arguments {
        [options, dash_c, program, command @ ..]
            if options == "-IS" && dash_c == "-c" && program.starts_with(BEGINNING) =>
        {
            Some(command)
        }
        _ => None,
    }
}

/// Quotes text as a Python string literal: JSON strings are a subset of Python's except for `\/`,
/// which serde_json does not write.
pub(super) fn python_literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs a launcher before `command` with `variables`, and returns its output.
    fn run(command: &[&str], variables: &[(&str, &str)]) -> String {
        run_by(&launcher_of(false), command, variables)
    }

    fn launcher_of(has_port: bool) -> Launcher {
        Launcher { variables: vec!["UVICORN_PORT".to_owned()], port: 8000, workers: 4, has_port }
    }

    fn run_by(launcher: &Launcher, command: &[&str], variables: &[(&str, &str)]) -> String {
        let words = launcher.words("python3", command.iter().map(|word| (*word).to_owned()).collect(), &[]);
        let (program, arguments) = words.split_first().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut process = Command::new(program);
        let output =
            process.args(arguments).env_clear().env("PATH", path).envs(variables.iter().copied()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn the_port_reaches_the_variable_and_the_words() {
        let command = ["sh", "-c", "echo $UVICORN_PORT $0 $1", "$PORT", "-w$WEB_CONCURRENCY"];
        for (variables, expected) in [
            (&[][..], "8000 8000 -w4"),
            (&[("PORT", "9000")], "9000 9000 -w4"),
            (&[("WEBSITES_PORT", "80"), ("WEB_CONCURRENCY", "2")], "80 80 -w2"),
            (&[("UVICORN_PORT", "7000")], "7000 7000 -w4"),
            (&[("PORT", "9000"), ("UVICORN_PORT", "7000")], "9000 9000 -w4"),
            // Kubernetes sets such variables for a service named `websites`.
            (&[("WEBSITES_PORT", "tcp://10.0.0.1:80"), ("PORT", "")], "8000 8000 -w4"),
        ] {
            assert_eq!(run(&command, variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn the_port_reaches_the_arguments_of_an_entrypoint() {
        let launcher = Launcher { variables: Vec::new(), port: 1, workers: 1, has_port: false };
        let program =
            |arguments: &[String]| launcher.words("python", vec!["a".to_owned()], arguments)[3].clone();
        assert!(program(&["--port=$PORT".to_owned()]).contains("replace(\"$PORT\", port)"));
        assert!(!program(&["--port=80".to_owned()]).contains("replace"));
    }

    #[test]
    fn the_port_of_the_image_hides_no_variable_of_a_platform() {
        let command = ["sh", "-c", "echo $UVICORN_PORT"];
        for (variables, expected) in [
            (&[("PORT", "8000")][..], "8000"),
            (&[("PORT", "9000")], "9000"),
            (&[("PORT", "8000"), ("WEBSITES_PORT", "80")], "80"),
            (&[("PORT", "9000"), ("WEBSITES_PORT", "tcp://10.0.0.1:80")], "9000"),
        ] {
            assert_eq!(run_by(&launcher_of(true), &command, variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn the_command_behind_a_launcher_is_known() {
        let launcher = Launcher { variables: Vec::new(), port: 1, workers: 1, has_port: false };
        let words = launcher.words("python", vec!["a".to_owned(), "b".to_owned()], &[]);
        assert_eq!(launched(&words[1..]).unwrap(), ["a", "b"]);
        assert_eq!(launched(&["-IS".to_owned(), "-c".to_owned(), "1".to_owned(), "a".to_owned()]), None);
    }
}
