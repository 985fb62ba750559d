//! [`ModuleVisitor`]: reads the facts of a [`Module`] from its tree.

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_pattern, walk_stmt};
use ruff_python_ast::{self as ast, Expr, Pattern, Stmt};

use super::{Binding, Expression, Function, Import, Module, Origin, Run};

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

/// A visitor of a module's tree.
pub(super) struct ModuleVisitor<'a> {
    text: &'a str,
    pub(super) module: Module,
    /// The number of functions and classes around the current statement.
    scopes: usize,
    /// The number of statements around it in which an import may fail.
    guards: usize,
    /// The number of `if TYPE_CHECKING` and the like around it.
    never: usize,
    /// The number of `if __name__ == "__main__"` around it.
    programs: usize,
    /// The number of functions, conditions, loops and handled `try` around it: an import may not happen, or
    /// may fail.
    conditions: usize,
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
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, module: Module::default(), scopes: 0, guards: 0, never: 0, programs: 0, conditions: 0 }
    }

    pub(super) fn body(&mut self, body: &'a [Stmt]) {
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
        let is_certain = !is_guarded && self.conditions == 0;
        self.module.imports.push(Import {
            level,
            module: module.to_owned(),
            names,
            is_guarded,
            in_program,
            is_certain,
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
        let parameters = function.parameters.iter_non_variadic_params();
        let mut needed = parameters.filter(|parameter| parameter.default.is_none());
        let first = needed.next();
        let required = usize::from(first.is_some()) + needed.count();
        let problem = match first {
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
        self.module.functions.insert(name.clone(), Function { returned, locals, annotation, required, line });
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

    /// Visits statements that may not be executed, or whose failure is handled.
    fn conditional(&mut self, is_conditional: bool, visit: impl FnOnce(&mut Self)) {
        self.conditions += usize::from(is_conditional);
        visit(self);
        self.conditions -= usize::from(is_conditional);
    }

    fn if_statement(&mut self, statement: &'a ast::StmtIf) {
        let tests: Vec<&Expr> = std::iter::once(&*statement.test)
            .chain(statement.elif_else_clauses.iter().filter_map(|clause| clause.test.as_ref()))
            .collect();
        let guards = tests.iter().any(|test| is_about_python(test));
        for test in tests {
            self.visit_expr(test);
        }
        let first = branch(&statement.test);
        self.conditional(first != Branch::InProgram, |visitor| {
            visitor.guarded(guards, first, &statement.body);
        });
        for clause in &statement.elif_else_clauses {
            let branch = clause.test.as_ref().map_or(Branch::Sometimes, branch);
            self.conditional(true, |visitor| visitor.guarded(guards, branch, &clause.body));
        }
    }

    fn try_statement(&mut self, statement: &'a ast::StmtTry) {
        // `except ImportError` does not catch the error of source that does not compile.
        let guards = statement.handlers.iter().any(|handler| catches(handler, &["SyntaxError"]));
        let missing = ["SyntaxError", "ImportError", "ModuleNotFoundError"];
        let handles = statement.handlers.iter().any(|handler| catches(handler, &missing));
        self.conditional(handles, |visitor| visitor.guarded(guards, Branch::Sometimes, &statement.body));
        for ast::ExceptHandler::ExceptHandler(handler) in &statement.handlers {
            if let Some(name) = &handler.name {
                self.bind(name.as_str());
            }
            self.conditional(true, |visitor| visitor.guarded(handles, Branch::Sometimes, &handler.body));
        }
        self.conditional(handles, |visitor| visitor.guarded(handles, Branch::Sometimes, &statement.orelse));
        self.body(&statement.finalbody);
    }

    /// Records `import_module("pkg.x")`, `__import__("pkg.x")` and `uvicorn.run("pkg.main:app")`, with the
    /// first argument by position or by name.
    fn call(&mut self, call: &ast::ExprCall) {
        let Some(called) = dotted(&call.func) else { return };
        let last = called.rsplit('.').next().unwrap_or_default();
        if ["run", "run_app", "serve", "launch", "listen"].contains(&last) {
            self.run(call, &called);
        }
        let at = self.text.get(..call.range_start.to_usize()).unwrap_or_default();
        self.module
            .command_line
            .read(&called, call, || memchr::memchr_iter(b'\n', at.as_bytes()).count() + 1);
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
            self.conditional(true, |visitor| visitor.import(level, name, Vec::new(), call.range_start));
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
        // `listen` of Tornado has it first.
        let first = call.arguments.args.first().filter(|_| called.ends_with(".listen"));
        let port =
            keyword("port").or_else(|| keyword("server_port")).or(first).and_then(|value| match value {
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
                self.conditional(true, |visitor| walk_stmt(visitor, statement));
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
                let is_conditional =
                    matches!(statement, Stmt::With(_) | Stmt::For(_) | Stmt::While(_) | Stmt::Match(_));
                self.conditional(is_conditional, |visitor| walk_stmt(visitor, statement));
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
