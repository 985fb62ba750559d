//! [`LoadCall`]: calls in Python source that load a library by a literal name.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{self as ast, Expr, Stmt};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

use crate::python::application::module::nests_too_deeply;

/// The names of functions that load a library.
const FUNCTIONS: [&str; 4] = ["find_library", "CDLL", "LoadLibrary", "dlopen"];

static MARKS: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(FUNCTIONS.map(|name| format!("{name}("))).ok());

/// A library that a statement loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct LoadCall {
    /// File names for `dlopen`: one is needed.
    pub(in crate::check) files: Vec<String>,
    /// Names for `find_library`: one is enough.
    pub(in crate::check) found: Vec<String>,
    /// Line, from 1.
    pub(in crate::check) line: usize,
    /// The call is executed when a function is called, not during import.
    pub(in crate::check) in_function: bool,
}

/// Returns true if a text may have such a call. Most modules have none.
pub(in crate::check) fn may_load(text: &[u8]) -> bool {
    MARKS.as_ref().is_some_and(|marks| marks.is_match(text))
}

/// Returns the calls in a module that are not for another operating system, and whose failure no
/// `try` handles.
pub(in crate::check) fn find(text: &str) -> Vec<LoadCall> {
    if nests_too_deeply(text) {
        return Vec::new();
    }
    let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module));
    let ast::Mod::Module(tree) = parsed.syntax() else { return Vec::new() };
    let mut finder = CallFinder { text, calls: Vec::new(), guards: 0, functions: 0 };
    for statement in &tree.body {
        finder.visit_stmt(statement);
    }
    finder.calls
}

struct CallFinder<'a> {
    text: &'a str,
    calls: Vec<LoadCall>,
    /// The number of `try`, `with` and `if` around the expression.
    guards: usize,
    functions: usize,
}

impl CallFinder<'_> {
    fn guarded(&mut self, visit: impl FnOnce(&mut Self)) {
        self.guards += 1;
        visit(self);
        self.guards -= 1;
    }

    fn record(&mut self, expression: &Expr, at: ruff_text_size::TextSize) {
        let mut names = ModuleNames::default();
        names.visit_expr(expression);
        let ModuleNames { files, found } = names;
        if self.guards == 0 && !(files.is_empty() && found.is_empty()) {
            let before = self.text.get(..at.to_usize()).unwrap_or_default();
            let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
            self.calls.push(LoadCall { files, found, line, in_function: self.functions > 0 });
        }
    }
}

impl<'a> Visitor<'a> for CallFinder<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(_) => {
                self.functions += 1;
                walk_stmt(self, statement);
                self.functions -= 1;
            }
            // An `if` may be about the operating system, a loop tries several names.
            Stmt::Try(_) | Stmt::If(_) | Stmt::With(_) | Stmt::For(_) | Stmt::While(_) | Stmt::Match(_) => {
                self.guarded(|finder| walk_stmt(finder, statement));
            }
            _ => walk_stmt(self, statement),
        }
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            // All names of one expression are alternatives.
            Expr::Call(call) if is_load(call) => self.record(expression, call.range_start),
            Expr::BoolOp(operation) => self.record(expression, operation.range.start()),
            Expr::If(_) | Expr::Lambda(_) => self.guarded(|finder| walk_expr(finder, expression)),
            _ => walk_expr(self, expression),
        }
    }
}

/// The names in an expression.
#[derive(Default)]
struct ModuleNames {
    files: Vec<String>,
    found: Vec<String>,
}

impl<'a> Visitor<'a> for ModuleNames {
    fn visit_expr(&mut self, expression: &'a Expr) {
        if let Expr::Call(call) = expression
            && is_load(call)
            && let Some(Expr::StringLiteral(literal)) = call.arguments.find_positional(0)
        {
            let name = literal.value.to_str().to_owned();
            if called(call) == Some("find_library") {
                self.found.push(name);
            } else {
                self.files.push(name);
            }
        }
        walk_expr(self, expression);
    }
}

fn called(call: &ast::ExprCall) -> Option<&str> {
    match &*call.func {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}

fn is_load(call: &ast::ExprCall) -> bool {
    called(call).is_some_and(|name| FUNCTIONS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let shown = |call: LoadCall| {
            let at = if call.in_function { "()" } else { "" };
            format!("{}{at} {}|{}", call.line, call.files.join(","), call.found.join(","))
        };
        find(text).into_iter().map(shown).collect()
    }

    #[test]
    fn finds_literal_names() {
        for (text, expected) in [
            ("x = ctypes.CDLL('libfoo.so.1')", vec!["1 libfoo.so.1|"]),
            ("\nx = CDLL(find_library('foo'), mode=1)", vec!["2 |foo"]),
            ("x = ctypes.cdll.LoadLibrary(ctypes.util.find_library('a') or 'liba.so.1')", vec!["1 |a"]),
            ("p = os.environ.get('P') or find_library('archive')", vec!["1 |archive"]),
            ("p = find_library('a') or find_library('b')", vec!["1 |a,b"]),
            ("lib = ffi.dlopen('libfoo.so.1')", vec!["1 libfoo.so.1|"]),
            ("def f():\n    return CDLL('libfoo.so.1')", vec!["2() libfoo.so.1|"]),
            ("class A:\n    lib = CDLL('libfoo.so.1')", vec!["2 libfoo.so.1|"]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn calls_with_another_way_are_silent() {
        for text in [
            "x = CDLL(None)",
            "x = CDLL(name)",
            "x = CDLL(f'lib{name}.so')",
            "try:\n    x = CDLL('libfoo.so.1')\nexcept OSError:\n    x = None",
            "if sys.platform == 'darwin':\n    x = CDLL('libfoo.dylib')",
            "with suppress(OSError):\n    x = CDLL('libfoo.so.1')",
            "x = CDLL('libfoo.so.1') if is_linux else None",
            "for name in names:\n    x = CDLL('libfoo.so.1')",
            "CDLL",
        ] {
            assert_eq!(names(text), [] as [&str; 0], "{text}");
        }
    }
}
