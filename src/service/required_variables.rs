//! [`required_variables`]: the environment variables without which settings in Python cannot be loaded.
//!
//! Reads of `os.environ`, django-environ (`env("A")`, `env.str("A")`) and python-decouple (`config("A")`) without a
//! default are found by parsing; nothing is run.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{self as ast, Expr};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

use crate::python::application::module::nests_too_deeply;

/// Methods of django-environ whose name of a variable has a default.
const NAMED_METHODS: [(&str, &str); 4] =
    [("db", "DATABASE_URL"), ("db_url", "DATABASE_URL"), ("cache", "CACHE_URL"), ("email_url", "EMAIL_URL")];

/// Returns the names of the variables that a module requires.
pub(super) fn required_variables(text: &str) -> BTreeSet<String> {
    let mut finder = VariableFinder::default();
    if nests_too_deeply(text) {
        return finder.required;
    }
    let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module));
    if let ast::Mod::Module(tree) = parsed.syntax() {
        finder.visit_body(&tree.body);
    }
    finder.required.retain(|name| !finder.with_default.contains(name));
    finder.required
}

#[derive(Default)]
struct VariableFinder {
    required: BTreeSet<String>,
    /// Names with a default: `environ.Env(DEBUG=(bool, False))`, `os.environ.setdefault("A", "b")`.
    with_default: BTreeSet<String>,
}

impl VariableFinder {
    fn call(&mut self, call: &ast::ExprCall) {
        let (object, function) = match &*call.func {
            Expr::Name(name) => ("", name.id.as_str()),
            Expr::Attribute(attribute) => match &*attribute.value {
                Expr::Name(object) => (object.id.as_str(), attribute.attr.as_str()),
                Expr::Attribute(object) => (object.attr.as_str(), attribute.attr.as_str()),
                _ => return,
            },
            _ => return,
        };
        if function == "Env" || function == "FileAwareEnv" {
            let names = call.arguments.keywords.iter().filter_map(|keyword| keyword.arg.as_ref());
            self.with_default.extend(names.map(ToString::to_string));
            return;
        }
        let name = match call.arguments.args.first() {
            Some(Expr::StringLiteral(name)) => Some(name.value.to_str()),
            _ => None,
        };
        if function == "setdefault" && object == "environ" {
            self.with_default.extend(name.map(str::to_owned));
            return;
        }
        let is_reader = (object.is_empty() && ["env", "config"].contains(&function))
            || (object == "env" && !["read_env", "get_value", "prefixed"].contains(&function));
        let has_default = call.arguments.find_keyword("default").is_some() || call.arguments.args.len() > 1;
        let usual = || NAMED_METHODS.iter().find(|(method, _)| *method == function).map(|(_, name)| *name);
        if is_reader && !has_default {
            self.required.extend(name.or_else(usual).map(str::to_owned));
        }
    }
}

impl<'a> Visitor<'a> for VariableFinder {
    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            Expr::Call(call) => self.call(call),
            Expr::Subscript(subscript) => {
                let is_environ = match &*subscript.value {
                    Expr::Name(name) => name.id.as_str() == "environ",
                    Expr::Attribute(attribute) => attribute.attr.as_str() == "environ",
                    _ => false,
                };
                if let Expr::StringLiteral(name) = &*subscript.slice
                    && is_environ
                {
                    self.required.insert(name.value.to_str().to_owned());
                }
            }
            _ => {}
        }
        walk_expr(self, expression);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_reads_without_a_default() {
        for (text, expected) in [
            ("A = os.environ['KEY']", "KEY"),
            ("A = os.environ.get('KEY')\nB = os.getenv('X', 'y')", ""),
            (
                "env = environ.Env(DEBUG=(bool, False))\nA = env('DEBUG')\nB = env('KEY')\nC = env.str('S', default='x')",
                "KEY",
            ),
            ("D = {'default': env.db()}", "DATABASE_URL"),
            ("S = config('SECRET_KEY')\nT = config('T', default=1, cast=int)", "SECRET_KEY"),
            ("os.environ.setdefault('A', 'b')\nx = os.environ['A']", ""),
        ] {
            let found = required_variables(text).into_iter().collect::<Vec<_>>().join(" ");
            assert_eq!(found, expected, "{text}");
        }
    }
}
