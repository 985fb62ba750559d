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

/// The deepest nesting of calls that is recorded of a value.
const MAX_VALUE_DEPTH: usize = 8;
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
    /// Functions at its top level that a server cannot call as a factory, with the reason.
    uncallable: BTreeMap<String, String>,
    /// Names bound by `from … import` during import.
    imported: BTreeSet<String>,
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
        Self { text, module: Module::default(), scopes: 0, guards: 0, never: 0, programs: 0 }
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
    fn assigned(
        &mut self,
        target: &Expr,
        value: &Expr,
        annotation: Option<&Expr>,
        at: ruff_text_size::TextSize,
    ) {
        let Expr::Name(name) = target else { return };
        if !self.is_imported() {
            return;
        }
        let name = name.id.to_string();
        if let Expr::StringLiteral(string) = value {
            self.module.strings.push((name.clone(), string.value.to_str().to_owned()));
        }
        let line = self.line(at);
        let annotation = annotation.and_then(annotated);
        self.module.bindings.push(Binding {
            name,
            value: Expression::of(value, MAX_VALUE_DEPTH),
            annotation,
            line,
        });
    }

    /// Returns the line of a place in the text.
    fn line(&self, at: ruff_text_size::TextSize) -> usize {
        let before = self.text.get(..at.to_usize()).unwrap_or_default();
        memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1
    }

    fn import(&mut self, level: u32, module: &str, names: Vec<String>, at: ruff_text_size::TextSize) {
        let line = self.line(at);
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
            let dotted =
                if module.is_empty() { alias.name.to_string() } else { format!("{module}.{}", alias.name) };
            self.origin(bound, import.level, dotted);
        }
        self.import(import.level, module, names, import.range.start());
    }

    /// Records the origin of an imported name; the first one at the top level counts.
    fn origin(&mut self, bound: &str, level: u32, dotted: String) {
        let origin = Origin { level, dotted };
        if self.scopes == 0 {
            self.module.origins.insert(bound.to_owned(), origin);
        } else {
            self.module.origins.entry(bound.to_owned()).or_insert(origin);
        }
    }

    /// Records a function at the top level, and the reason if a server cannot call it.
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
        let mut body = FunctionVisitor { locals: Vec::new(), returned: Vec::new() };
        body.visit_body(&function.body);
        let FunctionVisitor { locals, returned } = body;
        let annotation = function.returns.as_deref().and_then(annotated);
        let line = self.line(function.name.range.start());
        self.module.functions.insert(name.clone(), Function { returned, locals, annotation, line });
        let Some(problem) = problem else {
            self.module.uncallable.remove(&name);
            return;
        };
        // A decorator may supply the arguments.
        if self.guards == 0 && function.decorator_list.is_empty() {
            self.module.uncallable.insert(name, problem);
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
        if ["run", "run_app", "serve", "launch"].contains(&last) {
            self.run(call, &called);
        }
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

impl ModuleVisitor<'_> {
    /// Records a call that may start a server.
    fn run(&mut self, call: &ast::ExprCall, called: &str) {
        let keyword = |name: &str| call.arguments.find_keyword(name).map(|keyword| &keyword.value);
        let host = keyword("host").or_else(|| keyword("server_name"));
        // `**options` may contain it.
        let names_host =
            host.is_some() || call.arguments.keywords.iter().any(|keyword| keyword.arg.is_none());
        let host = host.and_then(|value| match value {
            Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
            _ => None,
        });
        let port = keyword("port").or_else(|| keyword("server_port")).and_then(|value| match value {
            Expr::NumberLiteral(number) => number.value.as_int()?.as_u16(),
            _ => None,
        });
        let line = self.line(call.range_start);
        self.module.runs.push(Run { function: called.to_owned(), host, names_host, port, line });
    }
}

impl<'a> Visitor<'a> for ModuleVisitor<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => {
                self.bind(function.name.as_str());
                self.factory(function);
                self.scopes += 1;
                walk_stmt(self, statement);
                self.scopes -= 1;
            }
            Stmt::ClassDef(class) => {
                self.bind(class.name.as_str());
                if self.is_imported() {
                    let bases =
                        class.arguments.as_deref().map(|arguments| &arguments.args[..]).unwrap_or_default();
                    let bases = bases.iter().filter_map(dotted).collect();
                    self.module.classes.insert(class.name.to_string(), bases);
                }
                self.scopes += 1;
                walk_stmt(self, statement);
                self.scopes -= 1;
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let first = alias.name.as_str().split('.').next().unwrap_or_default();
                    let bound = alias.asname.as_ref().map_or(first, ast::Identifier::as_str);
                    self.bind(bound);
                    let origin = if alias.asname.is_some() { alias.name.as_str() } else { first };
                    self.origin(bound, 0, origin.to_owned());
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
                            self.assigned(target, &assign.value, None, assign.range.start());
                        }
                    }
                    Stmt::AnnAssign(assign) => {
                        self.target(&assign.target);
                        if let Some(value) = &assign.value {
                            let annotation = Some(&*assign.annotation);
                            self.assigned(&assign.target, value, annotation, assign.range.start());
                        }
                    }
                    Stmt::AugAssign(assign) => self.target(&assign.target),
                    Stmt::For(each) => self.target(&each.target),
                    Stmt::TypeAlias(alias) => self.target(&alias.name),
                    Stmt::With(with) => {
                        for item in &with.items {
                            let Some(name) = item.optional_vars.as_deref() else { continue };
                            self.target(name);
                            self.assigned(name, &item.context_expr, None, with.range.start());
                        }
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

/// A visitor that records the variables and results of a function.
struct FunctionVisitor {
    locals: Vec<(String, Expression)>,
    returned: Vec<Expression>,
}

impl<'t> Visitor<'t> for FunctionVisitor {
    fn visit_stmt(&mut self, statement: &'t Stmt) {
        let mut assign = |target: &Expr, value: &Expr| {
            if let Expr::Name(name) = target {
                self.locals.push((name.id.to_string(), Expression::of(value, MAX_VALUE_DEPTH)));
            }
        };
        match statement {
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => return,
            Stmt::Assign(statement) => {
                statement.targets.iter().for_each(|target| assign(target, &statement.value));
            }
            Stmt::AnnAssign(statement) => {
                if let Some(value) = &statement.value {
                    assign(&statement.target, value);
                }
            }
            Stmt::With(with) => {
                for item in &with.items {
                    if let Some(name) = &item.optional_vars {
                        assign(name, &item.context_expr);
                    }
                }
            }
            Stmt::Return(returned) => {
                if let Some(value) = &returned.value {
                    self.returned.push(Expression::of(value, MAX_VALUE_DEPTH));
                }
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, _: &'t Expr) {}
}

impl Expression {
    /// Reads an expression, with arguments to a depth of `left` calls.
    fn of(expression: &Expr, left: usize) -> Self {
        let Some(left) = left.checked_sub(1) else { return Self::Other };
        match expression {
            Expr::Call(call) => match dotted(&call.func) {
                Some(function) => {
                    let named = call.arguments.keywords.iter().map(|keyword| &keyword.value);
                    let arguments = call.arguments.args.iter().chain(named);
                    Self::Call {
                        function,
                        arguments: arguments.map(|argument| Self::of(argument, left)).collect(),
                    }
                }
                // A chain: `make().with_routes()`, `FastAPI()(…)`.
                None => match &*call.func {
                    Expr::Attribute(attribute) => Self::of(&attribute.value, left),
                    other => Self::of(other, left),
                },
            },
            Expr::Name(_) => dotted(expression).map_or(Self::Other, Self::Name),
            Expr::Attribute(attribute) => match dotted(expression) {
                Some(name) => Self::Name(name),
                None => Self::of(&attribute.value, left),
            },
            Expr::If(choice) => match Self::of(&choice.body, left) {
                Self::Other => Self::of(&choice.orelse, left),
                value => value,
            },
            Expr::Named(named) => Self::of(&named.value, left),
            _ => Self::Other,
        }
    }
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
