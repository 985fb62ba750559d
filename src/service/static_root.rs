//! [`StaticRoot`]: the folder in which a Django project collects its static files.
//!
//! `STATIC_ROOT` (Django 5.2, "Settings") is an expression over `BASE_DIR`, which is one over `__file__`.
//! The usual functions of paths are evaluated, and nothing is run.

use std::collections::BTreeMap;

use ruff_python_ast::{self as ast, Expr, Operator, Stmt};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::{Ranged as _, TextSize};

use crate::python::application::SourceTree;
use crate::python::application::module::nests_too_deeply;

/// The most names and calls that lead to a value.
const MOST_STEPS: usize = 32;

/// The value of `STATIC_ROOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StaticRoot {
    /// The path: relative to the source, or absolute.
    pub(super) path: String,
    /// The environment variable that replaces it.
    pub(super) variable: Option<String>,
    /// The file.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: usize,
}

/// The assignments at the top level of a module.
pub(super) struct ModuleValues {
    file: String,
    text: String,
    values: BTreeMap<String, Expr>,
}

/// A path during evaluation: the names of its folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FolderPath {
    is_absolute: bool,
    parts: Vec<String>,
}

impl StaticRoot {
    /// Evaluates `STATIC_ROOT` in settings `files`, of which the first that assigns it decides.
    pub(super) fn find(sources: &dyn SourceTree, files: &[String]) -> Option<Self> {
        let read = |file: &String| ModuleValues::read(file, sources.text(file)?);
        let modules: Vec<ModuleValues> = files.iter().filter_map(read).collect();
        let (module, value) =
            modules.iter().find_map(|module| Some((module, module.values.get("STATIC_ROOT")?)))?;
        let mut evaluation = Evaluation { modules: &modules, variable: None, steps: 0 };
        let path = evaluation.path(module, value)?.normalized()?;
        let line = module.line_of(value);
        let is_inside = path.is_absolute || !path.parts.is_empty();
        is_inside.then(|| Self {
            path: path.text(),
            variable: evaluation.variable,
            file: module.file.clone(),
            line,
        })
    }
}

impl ModuleValues {
    fn read(file: &str, text: String) -> Option<Self> {
        Self::with_tree(file, text).map(|(module, _)| module)
    }

    /// Returns the module of a file with its syntax tree.
    pub(super) fn with_tree(file: &str, text: String) -> Option<(Self, ast::ModModule)> {
        if nests_too_deeply(&text) {
            return None;
        }
        let parsed = parse_unchecked(&text, ParseOptions::from(Mode::Module));
        let ast::Mod::Module(tree) = parsed.into_syntax() else { return None };
        let mut values = BTreeMap::new();
        for statement in &tree.body {
            match statement {
                Stmt::Assign(assign) => {
                    if let [Expr::Name(name)] = &assign.targets[..] {
                        values.insert(name.id.to_string(), (*assign.value).clone());
                    }
                }
                Stmt::AnnAssign(assign) => {
                    if let (Expr::Name(name), Some(value)) = (&*assign.target, &assign.value) {
                        values.insert(name.id.to_string(), (**value).clone());
                    }
                }
                _ => {}
            }
        }
        Some((Self { file: file.to_owned(), text, values }, tree))
    }

    /// Returns the module's file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Evaluates an expression of the module as a path, relative to the source or absolute.
    pub(super) fn path_of(&self, value: &Expr) -> Option<String> {
        let mut evaluation = Evaluation { modules: &[], variable: None, steps: 0 };
        Some(evaluation.path(self, value)?.normalized()?.text())
    }

    fn line_of(&self, value: &Expr) -> usize {
        self.line_at(value.start())
    }

    /// Returns the line of a place in the text, from 1.
    pub(super) fn line_at(&self, place: TextSize) -> usize {
        let before = self.text.get(..place.to_usize()).unwrap_or_default();
        before.matches('\n').count() + 1
    }
}

impl FolderPath {
    fn of(text: &str) -> Self {
        let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
        Self { is_absolute: text.starts_with('/'), parts: parts.map(str::to_owned).collect() }
    }

    fn join(mut self, other: Self) -> Self {
        if other.is_absolute {
            return other;
        }
        self.parts.extend(other.parts);
        self
    }

    /// Returns the path without `..`, or `None` for one that leaves the source.
    fn normalized(self) -> Option<Self> {
        let mut parts: Vec<String> = Vec::new();
        for part in self.parts {
            if part == ".." {
                parts.pop()?;
            } else {
                parts.push(part);
            }
        }
        Some(Self { parts, ..self })
    }

    /// Returns the folder `levels` above, or `None` above the source.
    fn parent(self, levels: usize) -> Option<Self> {
        let mut path = self.normalized()?;
        path.parts.truncate(path.parts.len().checked_sub(levels)?);
        Some(path)
    }

    fn text(&self) -> String {
        format!("{}{}", if self.is_absolute { "/" } else { "" }, self.parts.join("/"))
    }
}

/// The evaluation of one expression.
struct Evaluation<'a> {
    modules: &'a [ModuleValues],
    /// The first environment variable that decides the value.
    variable: Option<String>,
    steps: usize,
}

impl Evaluation<'_> {
    fn path(&mut self, module: &ModuleValues, value: &Expr) -> Option<FolderPath> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return None;
        }
        match value {
            Expr::StringLiteral(text) => Some(FolderPath::of(text.value.to_str())),
            Expr::Name(name) if name.id.as_str() == "__file__" => Some(FolderPath::of(&module.file)),
            Expr::Name(name) => {
                let modules = self.modules;
                let mut owners = std::iter::once(module).chain(modules);
                let (owner, value) =
                    owners.find_map(|owner| Some((owner, owner.values.get(name.id.as_str())?)))?;
                self.path(owner, value)
            }
            Expr::BinOp(operation) if operation.op == Operator::Div => {
                let left = self.path(module, &operation.left)?;
                Some(left.join(self.path(module, &operation.right)?))
            }
            // `environ.get("STATIC_ROOT") or BASE_DIR / "static"`: the value without the variable.
            Expr::BoolOp(operation) if operation.op == ast::BoolOp::Or => {
                let (last, first) = operation.values.split_last()?;
                for operand in first {
                    let variable = variable_of(operand)?;
                    self.variable.get_or_insert(variable);
                }
                self.path(module, last)
            }
            Expr::Attribute(attribute) if attribute.attr.as_str() == "parent" => {
                self.path(module, &attribute.value)?.parent(1)
            }
            Expr::Subscript(subscript) => {
                let Expr::Attribute(parents) = &*subscript.value else { return None };
                let index =
                    (parents.attr.as_str() == "parents").then(|| number(&subscript.slice)).flatten()?;
                self.path(module, &parents.value)?.parent(index + 1)
            }
            Expr::Call(call) => self.call(module, call),
            _ => None,
        }
    }

    fn call(&mut self, module: &ModuleValues, call: &ast::ExprCall) -> Option<FolderPath> {
        let arguments = &call.arguments.args;
        let function = match &*call.func {
            Expr::Attribute(attribute) => attribute.attr.as_str(),
            Expr::Name(name) => name.id.as_str(),
            _ => return None,
        };
        if let Some(variable) = variable_of(&Expr::Call(call.clone())) {
            let named = call
                .arguments
                .keywords
                .iter()
                .find(|keyword| keyword.arg.as_ref().is_some_and(|name| name.as_str() == "default"));
            let default = named.map(|keyword| &keyword.value).or(arguments.get(1))?;
            self.variable.get_or_insert(variable);
            return self.path(module, default);
        }
        match (function, &*call.func) {
            ("resolve" | "absolute" | "as_posix", Expr::Attribute(attribute)) => {
                self.path(module, &attribute.value)
            }
            ("joinpath", Expr::Attribute(attribute)) => {
                let first = self.path(module, &attribute.value)?;
                self.joined(module, first, arguments)
            }
            ("dirname", _) => self.path(module, arguments.first()?)?.parent(1),
            ("Path" | "PurePath" | "str" | "abspath" | "realpath" | "normpath" | "fspath" | "join", _) => {
                let (first, rest) = arguments.split_first()?;
                let first = self.path(module, first)?;
                self.joined(module, first, rest)
            }
            _ => None,
        }
    }

    fn joined(&mut self, module: &ModuleValues, first: FolderPath, rest: &[Expr]) -> Option<FolderPath> {
        rest.iter().try_fold(first, |path, part| Some(path.join(self.path(module, part)?)))
    }
}

/// Returns the name of the environment variable that a call reads: `os.environ.get("A")`,
/// `os.getenv("A")`, `env("A")`, `env.str("A")`, `env.path("A")`, `config("A")`.
fn variable_of(value: &Expr) -> Option<String> {
    let Expr::Call(call) = value else { return None };
    let reads = match &*call.func {
        Expr::Name(name) => ["getenv", "env", "config"].contains(&name.id.as_str()),
        Expr::Attribute(attribute) => match (&*attribute.value, attribute.attr.as_str()) {
            (Expr::Name(module), "getenv") => module.id.as_str() == "os",
            (Expr::Name(name), "str" | "path" | "get") => ["env", "environ"].contains(&name.id.as_str()),
            (Expr::Attribute(environ), "get") => environ.attr.as_str() == "environ",
            _ => false,
        },
        _ => false,
    };
    let Some(Expr::StringLiteral(name)) = call.arguments.args.first().filter(|_| reads) else { return None };
    Some(name.value.to_str().to_owned())
}

fn number(value: &Expr) -> Option<usize> {
    let Expr::NumberLiteral(literal) = value else { return None };
    let ast::Number::Int(number) = &literal.value else { return None };
    number.as_usize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::application::testing::FakeTree;

    /// Returns `PATH` or `PATH VARIABLE` of settings in `shop/settings/base.py`.
    fn evaluated(text: &'static str) -> Option<String> {
        let tree = FakeTree([("shop/settings/base.py", text)].into());
        let root = StaticRoot::find(&tree, &["shop/settings/base.py".to_owned()])?;
        Some(format!("{} {}", root.path, root.variable.unwrap_or_default()).trim_end().to_owned())
    }

    #[test]
    fn evaluates_the_usual_expressions() {
        for (text, expected) in [
            (
                "BASE_DIR = Path(__file__).resolve().parent.parent.parent\nSTATIC_ROOT = BASE_DIR / 'static' / 'all'",
                "static/all",
            ),
            (
                "BASE_DIR = Path(__file__).resolve().parents[1]\nSTATIC_ROOT: str = str(BASE_DIR / 'static')",
                "shop/static",
            ),
            (
                "import os\nBASE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\nSTATIC_ROOT = os.path.join(BASE, '../static', 'x')",
                "static/x",
            ),
            ("BASE_DIR = Path(__file__).parent.parent.parent\nSTATIC_ROOT = BASE_DIR.joinpath('a')", "a"),
            ("STATIC_ROOT = Path(__file__).parent / '..' / 'static'", "shop/static"),
            ("STATIC_ROOT = Path(__file__).parent.parent / '../static'", "static"),
            ("STATIC_ROOT = '/var/www/static/'", "/var/www/static"),
            ("STATIC_ROOT = os.path.join('/srv', 'x')", "/srv/x"),
            ("STATIC_ROOT = os.environ.get('STATICS', 'collected')", "collected STATICS"),
            ("STATIC_ROOT = env.str('S', default='collected')", "collected S"),
            ("STATIC_ROOT = env('S', default=str(Path('a') / 'b'))", "a/b S"),
            ("STATIC_ROOT = os.getenv('OUT') or Path('a')", "a OUT"),
        ] {
            assert_eq!(evaluated(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_expressions_have_no_value() {
        for text in [
            "STATIC_URL = '/static/'",
            "STATIC_ROOT = None",
            "STATIC_ROOT = ''",
            "STATIC_ROOT = BASE_DIR / 'static'",
            "STATIC_ROOT = folder()",
            "STATIC_ROOT = os.environ['STATIC_ROOT']",
            "STATIC_ROOT = Path(__file__).parents[7] / 'a'",
            "A = B\nB = A\nSTATIC_ROOT = A",
            "STATIC_ROOT = x or 'static'",
            "STATIC_ROOT = Path(__file__).parent / '../../../static'",
            "STATIC_ROOT = (",
        ] {
            assert_eq!(evaluated(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_found_in_the_other_settings() {
        let tree = FakeTree(
            [
                ("shop/settings/prod.py", "from .base import *\nSTATIC_ROOT = ROOT / 'out'"),
                ("shop/settings/base.py", "\nROOT = Path(__file__).parent.parent\nSTATIC_ROOT = 'other'"),
            ]
            .into(),
        );
        let files = ["shop/settings/prod.py", "shop/settings/base.py"].map(str::to_owned);
        let root = StaticRoot::find(&tree, &files).unwrap();
        assert_eq!((root.path.as_str(), root.file.as_str(), root.line), ("shop/out", files[0].as_str(), 2));
    }
}
