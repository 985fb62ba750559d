//! [`Module`]: the names bound by a module's source, its imports, and its applications.
//!
//! Source is parsed by ruff's parser, which follows the newest version of the Python language
//! reference and returns a tree for invalid source too, and is never run. CPython's own parser
//! would need an interpreter of the image's platform on the build machine.

mod command_line;
mod nesting;
mod visitor;

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast as ast;
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

pub(crate) use nesting::nests_too_deeply;

use self::visitor::ModuleVisitor;

/// The facts read from a module's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Names bound at its top level, in any branch.
    pub names: BTreeSet<String>,
    /// More names may exist: the module imports `*`, writes to `globals()`, or does not parse.
    pub is_open: bool,
    /// Its imports, in source order.
    pub imports: Vec<Import>,
    /// Values bound to names at its top level during import, in source order.
    pub bindings: Vec<Binding>,
    /// Functions at its top level; of several with one name, the last.
    pub functions: BTreeMap<String, Function>,
    /// Base classes of the classes at its top level, as dotted names.
    pub classes: BTreeMap<String, Vec<String>>,
    /// Modules and names behind the names bound by imports, in any scope.
    pub origins: BTreeMap<String, Origin>,
    /// Applications passed to `uvicorn.run`, as `MODULE:ATTRIBUTE` or `MODULE:FUNCTION()`.
    pub served: Vec<String>,
    /// Calls that start a server, in source order.
    pub runs: Vec<Run>,
    /// The options and arguments of its command line.
    pub command_line: CommandLine,
    /// Functions at its top level that a server cannot call as a factory, with the reason.
    uncallable: BTreeMap<String, String>,
    /// Names bound by `from … import` during import.
    imported: BTreeSet<String>,
    /// The line of the first error of syntax, from 1, and the parser's message.
    pub syntax_error: Option<(usize, String)>,
    /// Strings assigned to a name at its top level.
    pub strings: Vec<(String, String)>,
}

/// A value bound to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Expression,
    /// The dotted name of an annotation.
    pub annotation: Option<String>,
    /// Its line, from 1.
    pub line: usize,
}

/// An expression, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A call of a function with a dotted name; of a chain of calls, the first.
    Call {
        /// The dotted name of the function.
        function: String,
        /// The arguments, by position and by name.
        arguments: Vec<Expression>,
    },
    /// A dotted name.
    Name(String),
    /// Any other value.
    Other,
}

/// A function at the top level of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its returned values.
    pub returned: Vec<Expression>,
    /// Values bound to its variables, in source order.
    pub locals: Vec<(String, Expression)>,
    /// The dotted name of the annotation of its result.
    pub annotation: Option<String>,
    /// The number of its parameters without a default.
    pub required: usize,
    /// Its line, from 1.
    pub line: usize,
}

/// The module and the name behind an imported name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Leading dots: 0 for an absolute import.
    pub level: u32,
    /// The dotted name: `pkg.web.app` for `from pkg.web import app`.
    pub dotted: String,
}

/// A call that starts a server: `uvicorn.run(app)`, `app.run()`, `web.run_app(app)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The dotted name of the function.
    pub function: String,
    /// The literal argument `host`.
    pub host: Option<String>,
    /// True if the call has an argument `host`, of any value.
    pub names_host: bool,
    /// The literal argument `port`.
    pub port: Option<u16>,
    /// Its line, from 1.
    pub line: usize,
}

/// The command line that a module declares by `argparse`, `optparse` or `click`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Its options.
    pub options: Vec<CommandOption>,
    /// Required arguments and options, with the line of each.
    pub required: Vec<(String, usize)>,
    /// True if it has subcommands, so that an option belongs to one of them.
    pub has_commands: bool,
}

/// An option of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOption {
    /// Its names: `-p`, `--port`.
    pub names: Vec<String>,
    /// The literal default.
    pub default: Option<String>,
    /// Its line, from 1.
    pub line: usize,
}

/// An import of another module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Leading dots: 0 for an absolute import.
    pub level: u32,
    /// The module's dotted name; empty for `from . import x`.
    pub module: String,
    /// The imported names, each possibly a module.
    pub names: Vec<String>,
    /// The import may fail: inside a `try`, or under a test of the Python version or the platform.
    pub is_guarded: bool,
    /// The import is below `if __name__ == "__main__"`: it happens only when the module is run.
    pub in_program: bool,
    /// The statement is executed whenever the module is loaded, and its failure is that of the module: in no
    /// function, condition or loop, and in no `try` that handles `ImportError`.
    pub is_certain: bool,
    /// Its line, from 1.
    pub line: usize,
}

impl Module {
    /// Parses a module. Returns `None` for text nested more deeply than any hand-written source.
    pub fn read(text: &str) -> Option<Self> {
        if nests_too_deeply(text) {
            return None;
        }
        let parsed = parse_unchecked(text, ParseOptions::from(Mode::Module));
        let ast::Mod::Module(tree) = parsed.syntax() else { return None };
        let mut reader = ModuleVisitor::new(text);
        reader.module.is_open = !parsed.errors().is_empty();
        reader.module.syntax_error = parsed.errors().first().map(|error| {
            let before = text.get(..error.location.start().to_usize()).unwrap_or_default();
            (before.matches('\n').count() + 1, error.error.to_string())
        });
        reader.body(&tree.body);
        Some(reader.module)
    }

    /// Returns the reason if a server certainly cannot call `name` as a factory: a required argument, or
    /// `async def`.
    pub fn uncallable(&self, name: &str) -> Option<&str> {
        let is_rebound =
            self.imported.contains(name) || self.bindings.iter().any(|binding| binding.name == name);
        self.uncallable.get(name).map(String::as_str).filter(|_| !self.is_open && !is_rebound)
    }

    /// Returns a dotted name with the module or package that its first part is imported from, with a
    /// leading dot for each level of a relative import.
    pub fn qualified(&self, name: &str) -> String {
        let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
        let Some(origin) = self.origins.get(first) else { return name.to_owned() };
        let dots = ".".repeat(usize::try_from(origin.level).unwrap_or_default());
        let base = format!("{dots}{}", origin.dotted);
        rest.map_or_else(|| base.clone(), |rest| format!("{base}.{rest}"))
    }

    /// Returns the only value of `name`, if no other statement binds it.
    pub fn only_value(&self, name: &str) -> Option<&Expression> {
        let is_other = self.is_open
            || self.functions.contains_key(name)
            || self.classes.contains_key(name)
            || self.imports_name(name);
        let mut bound = self.bindings.iter().filter(|binding| binding.name == name);
        let first = bound.next().filter(|_| !is_other)?;
        bound.next().is_none().then_some(&first.value)
    }

    /// Returns true if `from … import` binds `name` during import.
    pub fn imports_name(&self, name: &str) -> bool {
        self.imported.contains(name)
    }

    /// Returns true if `name` certainly is not an attribute of the imported module.
    pub fn lacks(&self, name: &str) -> bool {
        let is_special = name.starts_with("__") && name.ends_with("__");
        let is_computed = self.names.contains("__getattr__");
        !(self.is_open || is_special || is_computed || self.names.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Module {
        Module::read(text).expect("shallow")
    }

    #[test]
    fn finds_every_bound_name() {
        for text in [
            "app = 1",
            "app: int = 1",
            "app += 1",
            "(x, [app, *y]) = z",
            "a = app = 1",
            "import app",
            "import app.b",
            "import x as app",
            "from x import app",
            "from x import y as app",
            "def app(): ...",
            "async def app(): ...",
            "class app: ...",
            "if x:\n    app = 1",
            "if x: pass\nelif y:\n    app = 1",
            "try:\n    pass\nexcept E as app: pass",
            "try:\n    pass\nfinally:\n    app = 1",
            "with x as (app, y): pass",
            "for app in x: pass",
            "while (app := 1): pass",
            "print([app := y for y in z])",
            "match x:\n    case {'a': [*app]}: pass",
            "match x:\n    case A(b=app): pass",
            "match x:\n    case {**app}: pass",
            "def f():\n    global app\n    app = 1",
            "type app = int",
            "if __name__ == '__main__':\n    app = 1",
        ] {
            assert!(!read(text).lacks("app"), "{text}");
            assert!(read(text).lacks("nope"), "{text}");
        }
    }

    #[test]
    fn dynamic_modules_may_have_any_name() {
        for text in [
            "from x import *",
            "globals()['app'] = 1",
            "def f():\n    globals().update(x)",
            "setattr(sys.modules[__name__], 'app', 1)",
            "sys.modules[__name__] = x",
            "def __getattr__(name): ...",
            "__getattr__, __dir__, __all__ = lazy.attach(__name__)",
            "exec(code)",
            "vars()['app'] = 1",
            "app = = 1",
            "print 'two'",
        ] {
            assert!(!read(text).lacks("nope"), "{text}");
        }
        for text in [
            "def f():\n    app = 1",
            "class A:\n    app = 1",
            "f(app=1)",
            "x.app = 1",
            "x['app'] = 1",
            "lambda app: 1",
            "[app for app in x]",
        ] {
            assert!(read(text).lacks("app"), "{text}");
        }
    }

    #[test]
    fn records_imports_with_their_conditions() {
        let text = "\
import a.b as c
from ..d import e, f
def g():
    from . import h
try:
    import i
except ImportError:
    import j
else:
    import k
try:
    import l
except ValueError: pass
if sys.version_info < (3,):
    import m
else:
    import n
if TYPE_CHECKING:
    import o
if __name__ == '__main__':
    uvicorn.run('p.q:app', port=1)
importlib.import_module('.r', package=__package__)
__import__('s')
if DEBUG:
    import t
subprocess.run('u')
try:
    import v
except (ValueError, SyntaxError):
    pass
uvicorn.run(port=1, app='w:app')
";
        let found: Vec<String> = read(text)
            .imports
            .iter()
            .map(|import| {
                let Import { level, module, names, is_guarded, in_program, line, .. } = import;
                let flags =
                    format!("{}{}", if *is_guarded { "?" } else { "" }, if *in_program { "!" } else { "" });
                format!("{line} {}{module} {}{flags}", ".".repeat(*level as usize), names.join(","))
            })
            .collect();
        let expected = [
            "1 a.b ",
            "2 ..d e,f",
            "4 . h",
            "6 i ",
            "8 j ?",
            "10 k ?",
            "12 l ",
            "15 m ?",
            "17 n ?",
            "19 o ?",
            "21 p.q !",
            "22 .r ",
            "23 s ",
            "25 t ",
            "28 v ?",
            "31 w ",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_import_is_certain_outside_of_conditions() {
        let text = "\
import a
try:
    import b
except ImportError:
    import c
else:
    import d
try:
    import e
except ValueError:
    import f
finally:
    import g
def h():
    import i
class J:
    import j
if DEBUG:
    import k
else:
    import l
with suppress(ImportError):
    import m
for x in y:
    import n
if __name__ == '__main__':
    import o
import_module('p')
if TYPE_CHECKING:
    import q
";
        let module = read(text);
        let certain = module.imports.iter().filter(|import| import.is_certain);
        let certain: Vec<&str> = certain.map(|import| import.module.as_str()).collect();
        assert_eq!(certain, ["a", "e", "g", "j", "o"]);
    }

    #[test]
    fn reads_values() {
        let call = |function: &str, arguments| Expression::Call { function: function.to_owned(), arguments };
        let name = |name: &str| Expression::Name(name.to_owned());
        for (text, value) in [
            ("x = a.b(c, d=e())", call("a.b", vec![name("c"), call("e", vec![])])),
            ("x: 'a.T' = a(1)", call("a", vec![Expression::Other])),
            ("x = a().b().c(d)", call("a", vec![])),
            ("x = a.b.c", name("a.b.c")),
            ("x = a().b", call("a", vec![])),
            ("x = a if b else c", name("a")),
            ("x = None if b else c()", call("c", vec![])),
            ("with a() as x: ...", call("a", vec![])),
            ("if b:\n    x = a", name("a")),
            ("x = 1", Expression::Other),
        ] {
            assert_eq!(read(text).bindings[0].value, value, "{text}");
        }
        let found = read("def f() -> A:\n    x = a()\n    if b:\n        return x\n    return c(x)");
        let function = &found.functions["f"];
        assert_eq!(function.locals, [("x".to_owned(), call("a", vec![]))]);
        assert_eq!(function.returned, [name("x"), call("c", vec![name("x")])]);
        assert_eq!((function.annotation.as_deref(), function.line), (Some("A"), 1));
        assert!(read("def f():\n    def g():\n        return a").functions["f"].returned.is_empty());
    }

    #[test]
    fn records_servers_started_by_the_module() {
        let text = "\nuvicorn.run(app, host='0.0.0.0', port=80)\nif __name__ == '__main__':\n    app.run()";
        let runs = read(text).runs;
        let found: Vec<_> =
            runs.iter().map(|run| (&*run.function, run.host.as_deref(), run.port, run.line)).collect();
        assert_eq!(found, [("uvicorn.run", Some("0.0.0.0"), Some(80), 2), ("app.run", None, None, 4)]);
    }

    #[test]
    fn refuses_deeply_nested_source() {
        let many = 100_000;
        for text in [
            format!("x = {}1", "-".repeat(many)),
            format!("x = {}{}", "(".repeat(many), ")".repeat(many)),
            format!("x = y{}", ".z".repeat(many)),
            format!("x = y{}", "()".repeat(many)),
            format!("x = y{}", " + y".repeat(many)),
            format!("x = {}1", "lambda a, b: ".repeat(many)),
            format!("x = {}1", "1 if 1 else ".repeat(many)),
            format!("x = f\"{}", "{f\"".repeat(many)),
            format!("x: {}", "list[\"".repeat(many)),
            format!("match x:\n case {}: pass", "a|".repeat(many)),
            (0..5000).flat_map(|level| [" ".repeat(level), "if x:\n".to_owned()]).collect(),
        ] {
            assert_eq!(Module::read(&text), None, "{}", text.get(..20).unwrap_or_default());
        }
        // Long, flat source is parsed.
        for text in [
            format!("x = [{}]", "f(1), ".repeat(many)),
            format!("x = ({})", "'a'\n".repeat(many)),
            "x = 1; ".repeat(many),
            format!("if x: pass\n{}", "elif y: pass\n".repeat(2000)),
        ] {
            assert!(Module::read(&text).is_some(), "{}", text.get(..20).unwrap_or_default());
        }
    }

    proptest! {
        #[test]
        fn parses_any_source(text in "(app|def |class |FastAPI|if |try|except|\n    |\n|[ =:.(),\\[\\]{}'\"f]|from |import |lambda )*") {
            let _ = Module::read(&text);
        }
    }
}
