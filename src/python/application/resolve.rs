//! [`Resolver`]: follows the value of a name to the constructor of an application.
//!
//! The value may be behind assignments, functions, imports and re-exports, subclasses, wrappers and
//! chains of calls, in any module of the source. A cycle, or a chain of more than `MAX_STEPS`, has
//! no application.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::framework::{Framework, Interface, Wrapper, of_constructor, of_wrapper};
use super::module::{Expression, Function, Module};
use super::{SourceTree, module_of};

/// The largest number of steps from a name to a constructor.
const MAX_STEPS: usize = 24;

/// Constructors of objects often named `app` or `api` that no server runs: a router, a command line, a
/// worker.
const OTHER_OBJECTS: [&str; 12] = [
    "APIRouter",
    "Router",
    "Blueprint",
    "Api",
    "Typer",
    "Celery",
    "Huey",
    "RqHuey",
    "SQLAlchemy",
    "ArgumentParser",
    "QApplication",
    "App",
];

/// An application, as constructed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constructed {
    /// The framework.
    pub framework: Framework,
    /// The interface to a server.
    pub interface: Interface,
    /// The file with the constructor.
    pub file: String,
    /// The line of the statement in it, from 1.
    pub line: usize,
}

impl Constructed {
    /// Adds the line, if a variable without a line of its own has the value.
    fn at(self, line: usize) -> Self {
        if self.line == 0 { Self { line, ..self } } else { self }
    }
}

/// Modules of a source tree, each parsed once.
pub struct Resolver<'a> {
    /// The tree.
    pub tree: &'a dyn SourceTree,
    modules: RefCell<BTreeMap<String, Option<Rc<Module>>>>,
}

/// A module with its place.
#[derive(Clone)]
struct ModuleScope {
    file: String,
    module: Rc<Module>,
}

impl<'a> Resolver<'a> {
    /// Makes a resolver for `tree`.
    pub fn new(tree: &'a dyn SourceTree) -> Self {
        Self { tree, modules: RefCell::default() }
    }

    /// Returns the parsed module in `file`.
    pub fn module(&self, file: &str) -> Option<Rc<Module>> {
        if let Some(known) = self.modules.borrow().get(file) {
            return known.clone();
        }
        let module = self.tree.text(file).and_then(|text| Module::read(&text)).map(Rc::new);
        self.modules.borrow_mut().insert(file.to_owned(), module.clone());
        module
    }

    /// Returns the application that is the value of `name` in `file`.
    pub fn value(&self, file: &str, name: &str) -> Option<Constructed> {
        let scope = self.scope(file)?;
        self.name(&scope, name, &[], MAX_STEPS)
    }

    /// Returns the application made by the function `name` in `file`.
    pub fn factory(&self, file: &str, name: &str) -> Option<Constructed> {
        let scope = self.scope(file)?;
        self.called(&scope, name, scope.module.functions.get(name)?.line, MAX_STEPS)
    }

    /// Returns true if `name` in `file` may be an application: it is the result of a call, or imported,
    /// and not certainly something else.
    pub fn may_be_application(&self, file: &str, name: &str) -> bool {
        self.scope(file).is_some_and(|scope| self.is_uncertain(&scope, name, MAX_STEPS))
    }

    fn is_uncertain(&self, scope: &ModuleScope, name: &str, left: usize) -> bool {
        let Some(left) = left.checked_sub(1) else { return false };
        if let Some(binding) = scope.module.bindings.iter().rfind(|binding| binding.name == name) {
            return match &binding.value {
                Expression::Call { function, .. } => {
                    let last = function.rsplit('.').next().unwrap_or_default();
                    !OTHER_OBJECTS.contains(&last)
                }
                Expression::Name(other) => other != name && self.is_uncertain(scope, other, left),
                Expression::Other => false,
            };
        }
        if !scope.module.imports_name(name) {
            return false;
        }
        // `from . import api` of a package with the module `api`.
        if self.file_of(&scope.file, &scope.module.qualified(name)).is_some() {
            return false;
        }
        match self.definition(scope, name) {
            Some((scope, name)) => self.is_uncertain(&scope, &name, left),
            // A distribution's. Names of the standard library are not `app` or `api`.
            None => true,
        }
    }

    fn scope(&self, file: &str) -> Option<ModuleScope> {
        Some(ModuleScope { file: file.to_owned(), module: self.module(file)? })
    }

    /// Follows a dotted name in a module; `locals` are the variables of a function around it.
    fn name(
        &self,
        scope: &ModuleScope,
        name: &str,
        locals: &[(String, Expression)],
        left: usize,
    ) -> Option<Constructed> {
        let left = left.checked_sub(1)?;
        let module = &scope.module;
        if let Some((object, attribute)) = name.rsplit_once('.') {
            let of_object = || self.name(scope, object, locals, left);
            return match attribute {
                // The Flask application of Dash and of Connexion, and what Flask calls with each request.
                "server" | "wsgi_app" | "asgi_app" => of_object(),
                _ => {
                    self.definition(scope, name).and_then(|(scope, name)| self.name(&scope, &name, &[], left))
                }
            };
        }
        if let Some((_, value)) = locals.iter().rfind(|(local, _)| local == name) {
            let earlier = before(locals, name);
            return self.assigned(scope, value, &earlier, 0, left);
        }
        let bound: Vec<_> = module.bindings.iter().filter(|binding| binding.name == name).collect();
        for (index, binding) in bound.iter().enumerate().rev() {
            // `app = Middleware(app)` refers to the binding before.
            let earlier: Vec<_> =
                bound.iter().take(index).map(|earlier| (name.to_owned(), earlier.value.clone())).collect();
            if let Some(found) = self.assigned(scope, &binding.value, &earlier, binding.line, left) {
                return Some(found.at(binding.line));
            }
            if let Some(found) =
                binding.annotation.as_deref().and_then(|class| self.class(scope, class, binding.line, left))
            {
                return Some(found);
            }
        }
        if !bound.is_empty() || !module.origins.contains_key(name) {
            return None;
        }
        let (scope, name) = self.definition(scope, name)?;
        self.name(&scope, &name, &[], left)
    }

    fn assigned(
        &self,
        scope: &ModuleScope,
        value: &Expression,
        locals: &[(String, Expression)],
        line: usize,
        left: usize,
    ) -> Option<Constructed> {
        let left = left.checked_sub(1)?;
        match value {
            Expression::Name(name) => self.name(scope, name, locals, left),
            Expression::Other => None,
            Expression::Call { function, arguments } => {
                if let Some(found) = self.called(scope, function, line, left) {
                    return Some(found);
                }
                let wrapper = of_wrapper(&scope.module.qualified(function))?;
                let mut wrapped = arguments
                    .iter()
                    .filter_map(|argument| self.assigned(scope, argument, locals, line, left));
                let found = wrapped.next()?;
                Some(match wrapper {
                    Wrapper::Converts(interface) => Constructed { interface, ..found },
                    Wrapper::Keeps => found,
                })
            }
        }
    }

    /// Follows the call of a constructor, a class or a function.
    fn called(&self, scope: &ModuleScope, function: &str, line: usize, left: usize) -> Option<Constructed> {
        let left = left.checked_sub(1)?;
        if let Some(found) = self.class(scope, function, line, left) {
            return Some(found);
        }
        if let Some(known) = scope.module.functions.get(function) {
            return self.function(scope, known, left);
        }
        let (scope, name) = self.definition(scope, function)?;
        match scope.module.functions.get(&name) {
            Some(known) => self.function(&scope, known, left),
            // A re-export.
            None if scope.module.origins.contains_key(&name) => self.called(&scope, &name, line, left),
            None => None,
        }
    }

    fn function(&self, scope: &ModuleScope, function: &Function, left: usize) -> Option<Constructed> {
        let returned = function.returned.iter().rev().find_map(|value| {
            self.assigned(scope, value, &function.locals, function.line, left)
                .map(|found| found.at(function.line))
        });
        returned.or_else(|| self.class(scope, function.annotation.as_deref()?, function.line, left))
    }

    /// Follows the name of a class to a constructor, through base classes.
    fn class(&self, scope: &ModuleScope, class: &str, line: usize, left: usize) -> Option<Constructed> {
        let left = left.checked_sub(1)?;
        if let Some(bases) = scope.module.classes.get(class) {
            return bases
                .iter()
                .find_map(|base| self.class(scope, base, line, left))
                .map(|found| Constructed { file: scope.file.clone(), line, ..found });
        }
        let is_own = scope.module.functions.contains_key(class);
        if let Some((framework, interface)) =
            of_constructor(&scope.module.qualified(class)).filter(|_| !is_own)
        {
            return Some(Constructed { framework, interface, file: scope.file.clone(), line });
        }
        let (defined, name) = self.definition(scope, class)?;
        let is_class =
            defined.module.classes.contains_key(&name) || defined.module.origins.contains_key(&name);
        is_class.then(|| self.class(&defined, &name, line, left)).flatten().map(|found| Constructed {
            file: scope.file.clone(),
            line,
            ..found
        })
    }

    /// Finds the module of the source that defines a dotted name, with the name in it.
    fn definition(&self, scope: &ModuleScope, name: &str) -> Option<(ModuleScope, String)> {
        let qualified = scope.module.qualified(name);
        if !qualified.contains('.') {
            return None;
        }
        let (module, attribute) = qualified.rsplit_once('.')?;
        let file = self.file_of(&scope.file, module)?;
        (file != scope.file || attribute != name).then_some(())?;
        Some((self.scope(&file)?, attribute.to_owned()))
    }

    /// Returns the file of a module that `from` imports, with leading dots for a relative import.
    fn file_of(&self, from: &str, module: &str) -> Option<String> {
        let name = module.trim_start_matches('.');
        let level = module.len() - name.len();
        let path = name.replace('.', "/");
        let file = |folder: &str| {
            let base = match (folder.is_empty(), path.is_empty()) {
                (true, _) => path.clone(),
                (false, true) => folder.to_owned(),
                (false, false) => format!("{folder}/{path}"),
            };
            let files = [format!("{base}.py"), format!("{base}/__init__.py")];
            files.into_iter().rev().find(|file| self.tree.has(file))
        };
        if level == 0 {
            let (root, _) = module_of(self.tree, from);
            return [root.as_str(), "", "src"].into_iter().find_map(file);
        }
        let mut folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        for _ in 1..level {
            folder = folder.rsplit_once('/').map_or("", |(outer, _)| outer);
        }
        file(folder)
    }
}

/// Returns the values of variables without the last one of `name`, which may refer to the one before.
fn before(locals: &[(String, Expression)], name: &str) -> Vec<(String, Expression)> {
    let last = locals.iter().rposition(|(local, _)| local == name);
    let others = locals.iter().enumerate().filter(|(index, _)| Some(*index) != last);
    others.map(|(_, local)| local.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeTree;
    use super::*;

    fn resolved(
        files: &[(&'static str, &'static str)],
        name: &str,
    ) -> Option<(Framework, Interface, String)> {
        let tree = FakeTree(files.iter().copied().collect());
        let found = Resolver::new(&tree).value(files[0].0, name)?;
        Some((found.framework, found.interface, format!("{}:{}", found.file, found.line)))
    }

    #[test]
    fn follows_a_value_to_its_constructor() {
        use {Framework as F, Interface as I};
        let flask = "from flask import Flask\n";
        for (text, framework, interface, line) in [
            ("from fastapi import FastAPI\napp = FastAPI()", F::FastApi, I::Asgi, 2),
            ("import fastapi as f\napp = f.FastAPI()", F::FastApi, I::Asgi, 2),
            ("from fastapi import FastAPI as Web\napp: Web = Web()", F::FastApi, I::Asgi, 2),
            ("from x import *\n\napp = FastAPI()", F::FastApi, I::Asgi, 3),
            ("from aiohttp import web\nservice = app = web.Application()", F::Aiohttp, I::Aiohttp, 2),
            ("import falcon.asgi\napp = falcon.asgi.App()", F::Falcon, I::Asgi, 2),
            ("from falcon import App\napp = App()", F::Falcon, I::Wsgi, 2),
            ("from fastapi import FastAPI\nweb = FastAPI()\napp = web", F::FastApi, I::Asgi, 2),
            ("from flask import Flask\nclass Web(Flask): ...\napp = Web()", F::Flask, I::Wsgi, 3),
            ("from litestar import Litestar\napp = Litestar([]).with_x().with_y()", F::Litestar, I::Asgi, 2),
            ("from fastapi import FastAPI\napp = FastAPI() if x else None", F::FastApi, I::Asgi, 2),
            (
                "from own import make\nfrom fastapi import FastAPI\napp: 'FastAPI' = make()",
                F::FastApi,
                I::Asgi,
                3,
            ),
            ("import dash\ndash_app = dash.Dash()\napp = dash_app.server", F::Dash, I::Wsgi, 2),
            ("import gradio as gr\nwith gr.Blocks() as app: ...", F::Gradio, I::Program, 2),
            (
                "from flask import Flask\nfrom a import WsgiToAsgi\nflask = Flask('x')\napp = WsgiToAsgi(flask)",
                F::Flask,
                I::Asgi,
                3,
            ),
            ("from flask import Flask\napp = Flask('x')\napp = ProxyFix(app)", F::Flask, I::Wsgi, 3),
            (
                "from flask import Flask\napp = Flask('x')\napp = socketio.WSGIApp(sio, app)",
                F::Flask,
                I::Wsgi,
                3,
            ),
            (
                "from flask import Flask\ndef make(config=None):\n    app = Flask('x')\n    app.y = 1\n    return app\napp = make()",
                F::Flask,
                I::Wsgi,
                2,
            ),
            (
                "from django.core.wsgi import get_wsgi_application\napp = get_wsgi_application()",
                F::Django,
                I::Wsgi,
                2,
            ),
        ] {
            let expected = Some((framework, interface, format!("main.py:{line}")));
            assert_eq!(resolved(&[("main.py", text)], "app"), expected, "{text}");
        }
        for text in [
            "app = SQLAlchemy(Flask('x'))",
            "app = typer.Typer()",
            "app = app",
            "a = b\nb = a\napp = a",
            "def make():\n    return make()\napp = make()",
            "class A(A): ...\napp = A()",
            "from main import app",
            "from . import app",
            "from telegram.ext import Application\napp = Application()",
            "",
        ] {
            let text: &'static str = text;
            assert_eq!(resolved(&[("main.py", text)], "app"), None, "{flask}{text}");
        }
    }

    #[test]
    fn follows_imports_to_other_modules() {
        let make = "from fastapi import FastAPI\ndef create_app():\n    app = FastAPI()\n    return app\n";
        for files in [
            vec![("main.py", "from web import create_app\napp = create_app()"), ("web.py", make)],
            vec![("pkg/main.py", "from .web import create_app\napp = create_app()"), ("pkg/web.py", make)],
            vec![("pkg/main.py", "from . import web\napp = web.create_app()"), ("pkg/web.py", make)],
            vec![
                ("src/pkg/main.py", "import pkg.web\napp = pkg.web.create_app()"),
                ("src/pkg/__init__.py", ""),
                ("src/pkg/web.py", make),
            ],
            vec![
                ("main.py", "from pkg import app"),
                ("pkg/__init__.py", "from .web import create_app\napp = create_app()"),
                ("pkg/web.py", make),
            ],
            vec![
                ("pkg/sub/main.py", "from ..web import create_app as make\napp = make()"),
                ("pkg/web.py", "from .deep.web import create_app"),
                ("pkg/deep/web.py", make),
            ],
            vec![
                ("main.py", "from own import Web\napp = Web()"),
                ("own.py", "from fastapi import FastAPI\nclass Web(FastAPI): ..."),
            ],
        ] {
            let found = resolved(&files, "app").map(|(framework, ..)| framework);
            assert_eq!(found, Some(Framework::FastApi), "{files:?}");
        }
        let cycle = [("a.py", "from b import app"), ("b.py", "from a import app")];
        assert_eq!(resolved(&cycle, "app"), None);
    }
}
