//! [`Module`]: the names bound by a module's source, its imports, and its applications.
//!
//! Source is parsed by ruff's parser, which follows the newest version of the Python language
//! reference and returns a tree for invalid source too, and is never run. CPython's own parser
//! would need an interpreter of the image's platform on the build machine.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_pattern, walk_stmt};
use ruff_python_ast::{self as ast, Expr, Pattern, Stmt};
use ruff_python_parser::{Mode, ParseOptions, lexer, parse_unchecked};

/// The deepest tree parsed, counted in tokens that can nest. Trees are dropped and visited by
/// recursion.
const MAX_DEPTH: usize = 4000;

/// Constructors of applications for ASGI servers.
pub(super) const APPLICATIONS: [&str; 7] =
    ["FastAPI", "Starlette", "Litestar", "Quart", "Sanic", "BlackSheep", "ProtocolTypeRouter"];
/// Usual names of functions that make an application.
const FACTORIES: [&str; 10] = [
    "create_app",
    "make_app",
    "get_app",
    "build_app",
    "create_application",
    "make_application",
    "get_application",
    "build_application",
    "app_factory",
    "application_factory",
];
/// Functions and attributes with which a module can bind names absent from its text.
const DYNAMIC: [&str; 10] = [
    "globals",
    "setattr",
    "exec",
    "eval",
    "vars",
    "locals",
    "__dict__",
    "__getattr__",
    "modules",
    "__class__",
];

/// The facts read from a module's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Names bound at its top level, in any branch.
    pub names: BTreeSet<String>,
    /// More names may exist: the module imports `*`, writes to `globals()`, or does not parse.
    pub is_open: bool,
    /// Its imports, in source order.
    pub imports: Vec<Import>,
    /// Names at its top level assigned an application of a known class, in source order.
    pub applications: Vec<String>,
    /// Functions at its top level that make an application and can be called without arguments.
    pub factories: Vec<Function>,
    /// Applications passed to `uvicorn.run`, as `MODULE:ATTRIBUTE` or `MODULE:FUNCTION()`.
    pub served: Vec<String>,
    /// Assignments at its top level, in order, with the dotted name of the called function, if any.
    assigned: Vec<(String, Option<String>)>,
    /// Functions at its top level that a server cannot call as a factory, with the reason.
    uncallable: BTreeMap<String, String>,
    /// Functions and classes at its top level.
    functions: BTreeSet<String>,
    /// Names bound by `from … import`.
    imported: BTreeSet<String>,
    /// Strings assigned to a name at its top level.
    pub strings: Vec<(String, String)>,
}

/// A function that makes an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The body or the annotation shows an application of a known class; otherwise only the name
    /// suggests one.
    pub is_certain: bool,
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
        reader.body(&tree.body);
        Some(reader.module)
    }

    /// Returns the reason if a server certainly cannot call `name` as a factory: a required argument, or
    /// `async def`.
    pub fn uncallable(&self, name: &str) -> Option<&str> {
        let is_rebound =
            self.imported.contains(name) || self.assigned.iter().any(|(assigned, _)| assigned == name);
        self.uncallable.get(name).map(String::as_str).filter(|_| !self.is_open && !is_rebound)
    }

    /// Returns true if every statement that binds `name` assigns an application of a known class.
    pub fn is_instance(&self, name: &str) -> bool {
        let of_name = self.assigned.iter().filter(|(assigned, _)| assigned == name).count();
        let is_function = self.functions.contains(name) || self.imported.contains(name);
        !self.is_open && !is_function && of_name == 1 && self.applications.iter().any(|known| known == name)
    }

    /// Returns true if `name` certainly is not an attribute of the imported module.
    pub fn lacks(&self, name: &str) -> bool {
        let is_special = name.starts_with("__") && name.ends_with("__");
        let is_computed = self.names.contains("__getattr__");
        !(self.is_open || is_special || is_computed || self.names.contains(name))
    }

    /// Returns the name of the application: `app`, then `api`, then the first one assigned.
    pub fn application(&self) -> Option<&str> {
        // FastAPI searches the two names `app` and `api`: for them an import or an assignment of
        // any value is enough. The last assignment counts: `app = Flask(…)`, then
        // `app = WSGIMiddleware(app)`.
        let is_assigned = |wanted: &&str| {
            let last = self.assigned.iter().rfind(|(name, _)| name == wanted);
            last.is_some_and(|(_, called)| !is_other_object(called.as_deref()))
                || self.imported.contains(*wanted)
        };
        let first = self.applications.first().map(String::as_str);
        ["app", "api"].into_iter().find(is_assigned).or(first)
    }
}

/// Recognizes calls usually assigned to `app` or `api` that no ASGI server runs: a router, a
/// command line, a worker, a WSGI application.
fn is_other_object(called: Option<&str>) -> bool {
    let known = ["APIRouter", "Typer", "Celery", "Flask"];
    called.and_then(|called| called.rsplit('.').next()).is_some_and(|called| known.contains(&called))
}

/// Returns true if the tree of the text could be deeper than [`MAX_DEPTH`]: operators, calls and
/// brackets nest; a comma, a closing bracket or the end of a line ends the nesting.
pub(crate) fn nests_too_deeply(text: &str) -> bool {
    let mut lexer = lexer::lex(text, Mode::Module);
    // Tokens since the last comma in each open bracket, and `lambda`s, whose parameters have
    // commas.
    let mut open: Vec<(usize, usize)> = vec![(0, 0)];
    let (mut depth, mut indent) = (0_usize, 0_usize);
    loop {
        let kind = lexer.next_token();
        match kind {
            TokenKind::EndOfFile => return false,
            TokenKind::Indent => indent += 1,
            TokenKind::Dedent => indent = indent.saturating_sub(1),
            TokenKind::Lpar
            | TokenKind::Lsqb
            | TokenKind::Lbrace
            | TokenKind::FStringStart
            | TokenKind::TStringStart => {
                count(&mut open, &mut depth, 1, 0);
                open.push((0, 0));
            }
            TokenKind::Rpar
            | TokenKind::Rsqb
            | TokenKind::Rbrace
            | TokenKind::FStringEnd
            | TokenKind::TStringEnd
                if open.len() > 1 =>
            {
                let (tokens, lambdas) = open.pop().unwrap_or_default();
                depth = depth.saturating_sub(tokens + lambdas);
            }
            TokenKind::Newline | TokenKind::Semi if open.len() == 1 => {
                open = vec![(0, 0)];
                depth = 0;
            }
            TokenKind::Comma => {
                if let Some((tokens, _)) = open.last_mut() {
                    depth = depth.saturating_sub(*tokens);
                    *tokens = 0;
                }
            }
            TokenKind::Lambda => count(&mut open, &mut depth, 0, 1),
            // Adjacent strings form one.
            TokenKind::Comment
            | TokenKind::NonLogicalNewline
            | TokenKind::String
            | TokenKind::FStringMiddle => {}
            _ => count(&mut open, &mut depth, 1, 0),
        }
        if depth + indent > MAX_DEPTH {
            return true;
        }
    }
}

fn count(open: &mut [(usize, usize)], depth: &mut usize, tokens: usize, lambdas: usize) {
    if let Some(last) = open.last_mut() {
        last.0 += tokens;
        last.1 += lambdas;
    }
    *depth += tokens + lambdas;
}

/// A visitor of a module's tree.
struct ModuleVisitor<'a> {
    text: &'a str,
    module: Module,
    /// Names of `FastAPI` from `from fastapi import FastAPI as NAME`.
    aliases: BTreeSet<String>,
    /// The number of functions and classes around the current statement.
    scopes: usize,
    /// The number of statements around it in which an import may fail.
    guards: usize,
    /// The number of `if TYPE_CHECKING` and the like around it.
    never: usize,
    /// The number of `if __name__ == "__main__"` around it.
    programs: usize,
}

/// The condition of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Branch {
    Sometimes,
    /// `TYPE_CHECKING`, `False`.
    Never,
    /// `__name__ == "__main__"`.
    InProgram,
}

impl<'a> ModuleVisitor<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            module: Module::default(),
            aliases: BTreeSet::new(),
            scopes: 0,
            guards: 0,
            never: 0,
            programs: 0,
        }
    }

    fn body(&mut self, body: &'a [Stmt]) {
        for statement in body {
            self.visit_stmt(statement);
        }
    }

    fn bind(&mut self, name: &str) {
        if self.scopes == 0 {
            self.module.names.insert(name.to_owned());
        }
    }

    fn define(&mut self, name: &str) {
        if self.scopes == 0 {
            self.module.functions.insert(name.to_owned());
        }
    }

    /// Binds every name of an assignment's target.
    fn target(&mut self, target: &'a Expr) {
        match target {
            Expr::Name(name) => self.bind(name.id.as_str()),
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|element| self.target(element)),
            Expr::List(list) => list.elts.iter().for_each(|element| self.target(element)),
            Expr::Starred(starred) => self.target(&starred.value),
            // An attribute or an item: the visitor handles it.
            _ => {}
        }
    }

    /// Records the value assigned to one name at the top level during import.
    fn assigned(&mut self, target: &Expr, value: &Expr) {
        let Expr::Name(name) = target else { return };
        if !self.is_imported() {
            return;
        }
        let name = name.id.to_string();
        let called = called(value);
        if called.as_deref().is_some_and(|called| self.is_application(called))
            && !self.module.applications.contains(&name)
        {
            self.module.applications.push(name.clone());
        }
        if let Expr::StringLiteral(string) = value {
            self.module.strings.push((name.clone(), string.value.to_str().to_owned()));
        }
        self.module.assigned.push((name, called));
    }

    fn is_application(&self, called: &str) -> bool {
        called.rsplit('.').next().is_some_and(|last| APPLICATIONS.contains(&last))
            || self.aliases.contains(called)
    }

    fn import(&mut self, level: u32, module: &str, names: Vec<String>, at: ruff_text_size::TextSize) {
        let before = self.text.get(..at.to_usize()).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let is_guarded = self.guards > 0 || self.never > 0;
        let in_program = self.programs > 0;
        self.module.imports.push(Import {
            level,
            module: module.to_owned(),
            names,
            is_guarded,
            in_program,
            line,
        });
    }

    fn import_from(&mut self, import: &ast::StmtImportFrom) {
        let module = import.module.as_ref().map(ast::Identifier::as_str).unwrap_or_default();
        let names: Vec<String> = import.names.iter().map(|alias| alias.name.to_string()).collect();
        for alias in &import.names {
            if alias.name.as_str() == "*" {
                self.module.is_open |= self.scopes == 0;
                continue;
            }
            let bound = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
            self.bind(bound);
            if self.is_imported() {
                self.module.imported.insert(bound.to_owned());
            }
            if module == "fastapi" && alias.name.as_str() == "FastAPI" {
                self.aliases.insert(bound.to_owned());
            }
        }
        self.import(import.level, module, names, import.range.start());
    }

    /// Records a function at the top level that makes an application, or that a server cannot call.
    fn factory(&mut self, function: &ast::StmtFunctionDef) {
        let mut parameters = function.parameters.iter_non_variadic_params();
        let required = parameters.find(|parameter| parameter.default.is_none());
        let problem = match required {
            Some(parameter) => Some(format!("needs the argument `{}`", parameter.name())),
            None => function.is_async.then(|| "is async, and servers call without await".to_owned()),
        };
        if !self.is_imported() {
            return;
        }
        let name = function.name.to_string();
        let Some(problem) = problem else {
            self.module.uncallable.remove(&name);
            return self.callable_factory(function, name);
        };
        // A decorator may supply the arguments.
        if self.guards == 0 && function.decorator_list.is_empty() {
            self.module.uncallable.insert(name, problem);
        }
    }

    fn callable_factory(&mut self, function: &ast::StmtFunctionDef, name: String) {
        let returns = function.returns.as_deref().and_then(annotated);
        let mut body = FunctionVisitor { made: BTreeSet::new(), returns: false, reader: self };
        body.visit_body(&function.body);
        let is_certain = body.returns || returns.is_some_and(|name| self.is_application(&name));
        if is_certain || FACTORIES.contains(&name.as_str()) {
            self.module.factories.push(Function { name, is_certain });
        }
    }

    /// Returns true if a statement here is executed at the top level during import.
    fn is_imported(&self) -> bool {
        self.scopes == 0 && self.never == 0 && self.programs == 0
    }

    fn guarded(&mut self, guards: bool, branch: Branch, body: &'a [Stmt]) {
        let counts = [guards, branch == Branch::Never, branch == Branch::InProgram].map(usize::from);
        let [guards, never, programs] = counts;
        self.guards += guards;
        self.never += never;
        self.programs += programs;
        self.body(body);
        self.guards -= guards;
        self.never -= never;
        self.programs -= programs;
    }

    fn if_statement(&mut self, statement: &'a ast::StmtIf) {
        let tests: Vec<&Expr> = std::iter::once(&*statement.test)
            .chain(statement.elif_else_clauses.iter().filter_map(|clause| clause.test.as_ref()))
            .collect();
        let guards = tests.iter().any(|test| is_about_python(test));
        for test in tests {
            self.visit_expr(test);
        }
        self.guarded(guards, branch(&statement.test), &statement.body);
        for clause in &statement.elif_else_clauses {
            let branch = clause.test.as_ref().map_or(Branch::Sometimes, branch);
            self.guarded(guards, branch, &clause.body);
        }
    }

    fn try_statement(&mut self, statement: &'a ast::StmtTry) {
        // `except ImportError` does not catch the error of source that does not compile.
        let guards = statement.handlers.iter().any(|handler| catches(handler, &["SyntaxError"]));
        self.guarded(guards, Branch::Sometimes, &statement.body);
        let missing = ["SyntaxError", "ImportError", "ModuleNotFoundError"];
        let guards = statement.handlers.iter().any(|handler| catches(handler, &missing));
        for ast::ExceptHandler::ExceptHandler(handler) in &statement.handlers {
            if let Some(name) = &handler.name {
                self.bind(name.as_str());
            }
            self.guarded(guards, Branch::Sometimes, &handler.body);
        }
        self.guarded(guards, Branch::Sometimes, &statement.orelse);
        self.body(&statement.finalbody);
    }

    /// Records `import_module("pkg.x")`, `__import__("pkg.x")` and `uvicorn.run("pkg.main:app")`, with the
    /// first argument by position or by name.
    fn call(&mut self, call: &ast::ExprCall) {
        let Some(called) = dotted(&call.func) else { return };
        let last = called.rsplit('.').next().unwrap_or_default();
        let keyword = if last == "run" { "app" } else { "name" };
        let Some(Expr::StringLiteral(first)) = call.arguments.find_argument_value(keyword, 0) else { return };
        let first = first.value.to_str();
        let module = match last {
            "import_module" | "__import__" => first,
            "run" => match first.split_once(':') {
                Some((module, _)) => {
                    let is_factory = call.arguments.find_keyword("factory").is_some_and(
                        |keyword| matches!(&keyword.value, Expr::BooleanLiteral(literal) if literal.value),
                    );
                    if called.rsplit('.').nth(1) == Some("uvicorn") {
                        self.module.served.push(format!("{first}{}", if is_factory { "()" } else { "" }));
                    }
                    module
                }
                None => return,
            },
            _ => return,
        };
        let name = module.trim_start_matches('.');
        let level = u32::try_from(module.len() - name.len()).unwrap_or_default();
        if !name.is_empty() && name.split('.').all(|part| !part.is_empty()) {
            self.import(level, name, Vec::new(), call.range_start);
        }
    }
}

impl<'a> Visitor<'a> for ModuleVisitor<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => {
                self.bind(function.name.as_str());
                self.define(function.name.as_str());
                self.factory(function);
                self.scopes += 1;
                walk_stmt(self, statement);
                self.scopes -= 1;
            }
            Stmt::ClassDef(class) => {
                self.bind(class.name.as_str());
                self.define(class.name.as_str());
                self.scopes += 1;
                walk_stmt(self, statement);
                self.scopes -= 1;
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let first = alias.name.as_str().split('.').next().unwrap_or_default();
                    self.bind(alias.asname.as_ref().map_or(first, ast::Identifier::as_str));
                    self.import(0, alias.name.as_str(), Vec::new(), import.range.start());
                }
            }
            Stmt::ImportFrom(import) => self.import_from(import),
            Stmt::If(statement) => self.if_statement(statement),
            Stmt::Try(statement) => self.try_statement(statement),
            Stmt::Global(global) => {
                // A function binds its globals when called, possibly during import.
                self.module.names.extend(global.names.iter().map(ToString::to_string));
            }
            _ => {
                match statement {
                    Stmt::Assign(assign) => {
                        for target in &assign.targets {
                            self.target(target);
                            self.assigned(target, &assign.value);
                        }
                    }
                    Stmt::AnnAssign(assign) => {
                        self.target(&assign.target);
                        if let Some(value) = &assign.value {
                            self.assigned(&assign.target, value);
                        }
                    }
                    Stmt::AugAssign(assign) => self.target(&assign.target),
                    Stmt::For(each) => self.target(&each.target),
                    Stmt::TypeAlias(alias) => self.target(&alias.name),
                    Stmt::With(with) => {
                        with.items
                            .iter()
                            .filter_map(|item| item.optional_vars.as_deref())
                            .for_each(|name| self.target(name));
                    }
                    _ => {}
                }
                walk_stmt(self, statement);
            }
        }
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            Expr::Named(named) => self.target(&named.target),
            Expr::Name(name) if DYNAMIC.contains(&name.id.as_str()) => self.module.is_open = true,
            Expr::Attribute(attribute) if DYNAMIC.contains(&attribute.attr.as_str()) => {
                self.module.is_open = true;
            }
            Expr::Call(call) => self.call(call),
            _ => {}
        }
        walk_expr(self, expression);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(pattern) => pattern.name.as_ref(),
            Pattern::MatchStar(pattern) => pattern.name.as_ref(),
            Pattern::MatchMapping(pattern) => pattern.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bind(name.as_str());
        }
        walk_pattern(self, pattern);
    }
}

/// A visitor that looks for a returned application in a function.
struct FunctionVisitor<'a, 'b> {
    /// Variables assigned an application.
    made: BTreeSet<String>,
    returns: bool,
    reader: &'b ModuleVisitor<'a>,
}

impl FunctionVisitor<'_, '_> {
    fn makes(&self, value: &Expr) -> bool {
        called(value).is_some_and(|called| self.reader.is_application(&called))
    }
}

impl<'t> Visitor<'t> for FunctionVisitor<'_, '_> {
    fn visit_stmt(&mut self, statement: &'t Stmt) {
        match statement {
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => return,
            Stmt::Assign(assign) if self.makes(&assign.value) => {
                for target in &assign.targets {
                    if let Expr::Name(name) = target {
                        self.made.insert(name.id.to_string());
                    }
                }
            }
            Stmt::AnnAssign(assign) => {
                if let (Expr::Name(name), Some(value)) = (&*assign.target, &assign.value)
                    && self.makes(value)
                {
                    self.made.insert(name.id.to_string());
                }
            }
            Stmt::Return(returned) => {
                if let Some(value) = &returned.value {
                    let is_made =
                        matches!(&**value, Expr::Name(name) if self.made.contains(name.id.as_str()));
                    self.returns |= is_made || self.makes(value);
                }
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, _: &'t Expr) {}
}

/// Returns the dotted name of an expression: `a.b.c`.
fn dotted(expression: &Expr) -> Option<String> {
    let mut parts = Vec::new();
    let mut next = expression;
    loop {
        match next {
            Expr::Name(name) => {
                parts.push(name.id.as_str());
                break;
            }
            Expr::Attribute(attribute) => {
                parts.push(attribute.attr.as_str());
                next = &attribute.value;
            }
            _ => return None,
        }
    }
    parts.reverse();
    Some(parts.join("."))
}

/// Returns the dotted name of the function in a call.
fn called(value: &Expr) -> Option<String> {
    match value {
        Expr::Call(call) => dotted(&call.func),
        _ => None,
    }
}

/// Returns the dotted name of an annotation, which may be a string.
fn annotated(annotation: &Expr) -> Option<String> {
    match annotation {
        Expr::StringLiteral(string) => Some(string.value.to_str().to_owned()),
        other => dotted(other),
    }
}

/// Recognizes a test of the Python version or of the platform, whose branches may be for another
/// one.
fn is_about_python(test: &Expr) -> bool {
    struct Finder(bool);
    impl<'a> Visitor<'a> for Finder {
        fn visit_expr(&mut self, expression: &'a Expr) {
            let name = dotted(expression).unwrap_or_default();
            let known = [
                "version_info",
                "hexversion",
                "python_version",
                "python_version_tuple",
                "PY2",
                "PY3",
                "py2",
                "py3",
                "PYPY",
                "platform",
                "implementation",
                "python_implementation",
                "TYPE_CHECKING",
            ];
            self.0 |= known.contains(&name.rsplit('.').next().unwrap_or_default())
                || ["os.name", "sys.version", "platform.system"].contains(&name.as_str());
            walk_expr(self, expression);
        }
    }
    let mut finder = Finder(false);
    finder.visit_expr(test);
    finder.0
}

/// Returns the condition under which the branch below a test runs.
fn branch(test: &Expr) -> Branch {
    let is_name = |side: &Expr| matches!(side, Expr::Name(name) if name.id.as_str() == "__name__");
    match test {
        Expr::BooleanLiteral(literal) if !literal.value => Branch::Never,
        Expr::Name(name) if name.id.as_str() == "TYPE_CHECKING" => Branch::Never,
        Expr::Attribute(attribute) if attribute.attr.as_str() == "TYPE_CHECKING" => Branch::Never,
        Expr::Compare(compare) if is_name(&compare.left) || compare.comparators.iter().any(is_name) => {
            Branch::InProgram
        }
        _ => Branch::Sometimes,
    }
}

/// Returns true for a handler of one of the exceptions `names`, of `Exception`, or of all.
fn catches(handler: &ast::ExceptHandler, names: &[&str]) -> bool {
    let ast::ExceptHandler::ExceptHandler(handler) = handler;
    let catches = |caught: &Expr| {
        let is_named = |last: &str| names.contains(&last) || ["Exception", "BaseException"].contains(&last);
        dotted(caught).is_some_and(|name| is_named(name.rsplit('.').next().unwrap_or_default()))
    };
    match handler.type_.as_deref() {
        None => true,
        Some(Expr::Tuple(tuple)) => tuple.elts.iter().any(catches),
        Some(caught) => catches(caught),
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
                let Import { level, module, names, is_guarded, in_program, line } = import;
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
    fn finds_factories() {
        let certain = |text: &str| {
            read(text)
                .factories
                .iter()
                .map(|found| (found.name.clone(), found.is_certain))
                .collect::<Vec<_>>()
        };
        for text in [
            "def make(): return FastAPI()",
            "def make(debug=False, **more):\n    web = fastapi.FastAPI(debug=debug)\n    if debug:\n        web.x = 1\n    return web",
            "def make() -> FastAPI:\n    return build()",
            "def make() -> 'Starlette': ...",
            "from fastapi import FastAPI as Web\ndef make():\n    app: Web = Web()\n    return app",
            "if x:\n    def make(): return Litestar([])",
        ] {
            assert_eq!(certain(text), [("make".to_owned(), true)], "{text}");
        }
        assert_eq!(certain("def create_app():\n    return other()"), [("create_app".to_owned(), false)]);
        for text in [
            "def create_app(settings): return FastAPI()",
            "async def create_app(): return FastAPI()",
            "class A:\n    def create_app(self): return FastAPI()",
            "def other():\n    def create_app(): return FastAPI()",
            "def make():\n    app = FastAPI()",
        ] {
            assert_eq!(certain(text), [], "{text}");
        }
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
