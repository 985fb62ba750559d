//! Signals that a module names.

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{self as ast, Expr};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

use super::module::nests_too_deeply;

/// Returns true if code of the module names `signal`: `signal.SIGTERM`, `SIGTERM` after an import, or
/// `getattr(signal, "SIGTERM")`. Comments and docstrings do not count.
pub fn names_signal(text: &str, signal: &str) -> bool {
    if !text.contains(signal) || nests_too_deeply(text) {
        return false;
    }
    let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module));
    let ast::Mod::Module(tree) = parsed.syntax() else { return false };
    let mut search = SignalSearch { signal, is_found: false };
    for statement in &tree.body {
        search.visit_stmt(statement);
    }
    search.is_found
}

struct SignalSearch<'s> {
    signal: &'s str,
    is_found: bool,
}

impl<'a> Visitor<'a> for SignalSearch<'_> {
    fn visit_expr(&mut self, expression: &'a Expr) {
        self.is_found |= match expression {
            Expr::Attribute(attribute) => attribute.attr.as_str() == self.signal,
            Expr::Name(name) => name.id.as_str() == self.signal,
            Expr::StringLiteral(text) => text.value.to_str() == self.signal,
            _ => false,
        };
        walk_expr(self, expression);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_names_a_signal() {
        for (text, expected) in [
            ("import signal\nsignal.signal(signal.SIGTERM, stop)", true),
            ("from signal import SIGTERM\nloop.add_signal_handler(SIGTERM, stop)", true),
            ("def f():\n    for name in ('SIGINT', 'SIGTERM'):\n        on(getattr(signal, name))", true),
            ("\"\"\"Serves until SIGTERM.\"\"\"", false),
            ("# SIGTERM\nx = 1", false),
            ("def f():\n    \"Ends at SIGTERM.\"", false),
            ("print('sent SIGTERM')", false),
            ("signal.SIGINT", false),
        ] {
            assert_eq!(names_signal(text, "SIGTERM"), expected, "{text}");
        }
    }
}
