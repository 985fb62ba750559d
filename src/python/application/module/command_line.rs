//! [`CommandLine::read`]: the options and arguments that a call declares.

use ruff_python_ast::{self as ast, Expr};

use super::{CommandLine, CommandOption};

impl CommandLine {
    /// Reads a call of a function with this dotted name: `parser.add_argument("--port", default=8000)`,
    /// `@click.option("--port")`, `parser.add_subparsers()`.
    pub(super) fn read(&mut self, function: &str, call: &ast::ExprCall, line: impl FnOnce() -> usize) {
        let last = function.rsplit('.').next().unwrap_or_default();
        match last {
            "add_subparsers" | "Typer" | "add_command" => self.has_commands = true,
            // `match.group()` is a method of regular expressions.
            "group" if function == "group" || function.ends_with("click.group") => self.has_commands = true,
            "argument" if function != last && !function.ends_with("click.argument") => {}
            // An option of `tornado.options`.
            "define" => {
                let Some(Expr::StringLiteral(name)) = call.arguments.args.first() else { return };
                let names = vec![format!("--{}", name.value.to_str().replace('_', "-"))];
                let default = literal(value(call, "default").or(call.arguments.args.get(1)));
                self.options.push(CommandOption { names, default, line: line() });
            }
            "add_argument" | "add_option" | "option" | "argument" => {
                let names: Vec<&str> = call
                    .arguments
                    .args
                    .iter()
                    .filter_map(|argument| match argument {
                        Expr::StringLiteral(text) => Some(text.value.to_str()),
                        _ => None,
                    })
                    .collect();
                let Some(first) = names.first() else { return };
                let line = line();
                if is_required(first, call) {
                    self.required.push(((*first).to_owned(), line));
                }
                if first.starts_with('-') {
                    let default = literal(value(call, "default"));
                    // `click.option("-p/-P", "port", …)` names the parameter as well.
                    let names = names.iter().filter(|name| name.starts_with('-'));
                    let names = names.map(|name| (*name).to_owned()).collect();
                    self.options.push(CommandOption { names, default, line });
                }
            }
            _ => {}
        }
    }

    /// Adds the options and arguments of another module of the program.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.options.extend(other.options.iter().cloned());
        self.required.extend(other.required.iter().cloned());
        self.has_commands |= other.has_commands;
    }

    /// Returns the option with this name.
    pub(crate) fn option(&self, name: &str) -> Option<&CommandOption> {
        self.options.iter().find(|option| option.names.iter().any(|known| known == name))
    }
}

fn value<'a>(call: &'a ast::ExprCall, keyword: &str) -> Option<&'a Expr> {
    call.arguments.find_keyword(keyword).map(|keyword| &keyword.value)
}

fn literal(value: Option<&Expr>) -> Option<String> {
    match value? {
        Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
        Expr::NumberLiteral(number) => Some(number.value.as_int()?.to_string()),
        _ => None,
    }
}

/// Returns true if the program does not start without the argument or option `name`.
fn is_required(name: &str, call: &ast::ExprCall) -> bool {
    let is = |keyword, expected| matches!(value(call, keyword), Some(Expr::BooleanLiteral(literal)) if literal.value == expected);
    if name.starts_with('-') {
        return is("required", true);
    }
    let is_optional = match value(call, "nargs") {
        // `+` and a number need a value.
        Some(Expr::StringLiteral(count)) => ["?", "*"].contains(&count.value.to_str()),
        Some(Expr::NumberLiteral(_)) | None => false,
        // `-1` of click, `argparse.REMAINDER`.
        Some(_) => true,
    };
    let has_default = ["default", "envvar"].iter().any(|keyword| value(call, keyword).is_some());
    !(is_optional || has_default || is("required", false))
}

#[cfg(test)]
mod tests {
    use crate::python::application::module::Module;

    #[test]
    fn reads_options_and_required_arguments() {
        for (text, options, required) in [
            ("p.add_argument('-p', '--port', default=8888, type=int)", "-p --port=8888", ""),
            ("p.add_argument('url')\np.add_argument('--key', required=True)", "--key", "url:1 --key:2"),
            ("p.add_argument('url', nargs='+')\np.add_argument('x', nargs='?')", "", "url:1"),
            ("p.add_argument('x', nargs=argparse.REMAINDER)", "", ""),
            ("@click.command()\n@click.option('--port', default='80')\ndef f(): pass", "--port=80", ""),
            ("@click.argument('files', nargs=-1)\n@click.argument('one')\ndef f(): pass", "", "one:2"),
            ("@click.argument('a', required=False)\n@click.argument('b', envvar='B')\ndef f(): pass", "", ""),
            ("p.add_option('--port', dest='port')", "--port", ""),
            ("define('port', default=8888, type=int)", "--port=8888", ""),
        ] {
            let line = Module::read(text).unwrap().command_line;
            let shown = line.options.iter().map(|option| {
                let default =
                    option.default.as_ref().map(|default| format!("={default}")).unwrap_or_default();
                format!("{}{default}", option.names.join(" "))
            });
            assert_eq!(shown.collect::<Vec<_>>().join(" "), options, "{text}");
            let needed = line.required.iter().map(|(name, line)| format!("{name}:{line}"));
            assert_eq!(needed.collect::<Vec<_>>().join(" "), required, "{text}");
        }
        assert!(Module::read("p.add_subparsers()").unwrap().command_line.has_commands);
    }
}
