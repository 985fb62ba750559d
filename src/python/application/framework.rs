//! [`Framework`]: the web frameworks that are recognized, by the constructors of their applications.
//!
//! A constructor is recognized by the package that it is imported from, under any alias; classes with
//! a name that no other package has are recognized without an import as well (`from x import *`).

use serde::{Deserialize, Serialize};

/// A web framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // The variants are names of frameworks.
#[non_exhaustive]
pub enum Framework {
    FastApi,
    Starlette,
    Litestar,
    Quart,
    Sanic,
    Aiohttp,
    BlackSheep,
    Flask,
    Django,
    Falcon,
    Bottle,
    Connexion,
    Dash,
    Streamlit,
    Gradio,
    NiceGui,
    Pyramid,
    Tornado,
}

/// The interface between a server and an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Interface {
    /// ASGI 3 (<https://asgi.readthedocs.io>).
    Asgi,
    /// WSGI (PEP 3333).
    Wsgi,
    /// `aiohttp.web.Application`, which only aiohttp serves.
    Aiohttp,
    /// None: the application is a program with a server of its own.
    Program,
}

/// Constructors: package, name, framework, interface.
const CONSTRUCTORS: [(&str, &str, Framework, Interface); 29] = [
    ("fastapi", "FastAPI", Framework::FastApi, Interface::Asgi),
    ("starlette", "Starlette", Framework::Starlette, Interface::Asgi),
    ("litestar", "Litestar", Framework::Litestar, Interface::Asgi),
    ("starlite", "Starlite", Framework::Litestar, Interface::Asgi),
    ("quart", "Quart", Framework::Quart, Interface::Asgi),
    ("quart_trio", "QuartTrio", Framework::Quart, Interface::Asgi),
    ("sanic", "Sanic", Framework::Sanic, Interface::Asgi),
    ("blacksheep", "BlackSheep", Framework::BlackSheep, Interface::Asgi),
    ("blacksheep", "Application", Framework::BlackSheep, Interface::Asgi),
    ("channels", "ProtocolTypeRouter", Framework::Django, Interface::Asgi),
    ("django", "get_asgi_application", Framework::Django, Interface::Asgi),
    ("django", "get_wsgi_application", Framework::Django, Interface::Wsgi),
    ("configurations", "get_asgi_application", Framework::Django, Interface::Asgi),
    ("configurations", "get_wsgi_application", Framework::Django, Interface::Wsgi),
    ("aiohttp", "Application", Framework::Aiohttp, Interface::Aiohttp),
    ("flask", "Flask", Framework::Flask, Interface::Wsgi),
    ("apiflask", "APIFlask", Framework::Flask, Interface::Wsgi),
    ("flask_openapi3", "OpenAPI", Framework::Flask, Interface::Wsgi),
    ("falcon", "API", Framework::Falcon, Interface::Wsgi),
    ("bottle", "Bottle", Framework::Bottle, Interface::Wsgi),
    ("bottle", "default_app", Framework::Bottle, Interface::Wsgi),
    ("connexion", "App", Framework::Connexion, Interface::Asgi),
    ("connexion", "AsyncApp", Framework::Connexion, Interface::Asgi),
    ("connexion", "FlaskApp", Framework::Connexion, Interface::Asgi),
    ("dash", "Dash", Framework::Dash, Interface::Wsgi),
    ("tornado", "Application", Framework::Tornado, Interface::Program),
    ("gradio", "Blocks", Framework::Gradio, Interface::Program),
    ("gradio", "Interface", Framework::Gradio, Interface::Program),
    ("gradio", "ChatInterface", Framework::Gradio, Interface::Program),
];

/// Names of constructors that other packages use as well, so that an import has to show the package.
const AMBIGUOUS: [&str; 6] = ["Application", "API", "App", "Blocks", "Interface", "OpenAPI"];

/// Calls that wrap an application.
const WRAPPERS: [(&str, Wrapper); 9] = [
    ("WsgiToAsgi", Wrapper::Converts(Interface::Asgi)),
    ("WSGIMiddleware", Wrapper::Converts(Interface::Asgi)),
    ("ASGIMiddleware", Wrapper::Converts(Interface::Wsgi)),
    ("ASGIApp", Wrapper::Converts(Interface::Asgi)),
    ("WSGIApp", Wrapper::Converts(Interface::Wsgi)),
    ("DispatcherMiddleware", Wrapper::Converts(Interface::Wsgi)),
    ("WhiteNoise", Wrapper::Keeps),
    ("ProxyFix", Wrapper::Keeps),
    ("Cling", Wrapper::Keeps),
];

impl Framework {
    /// All frameworks.
    pub(crate) const ALL: [Self; 18] = [
        Self::FastApi,
        Self::Starlette,
        Self::Litestar,
        Self::Quart,
        Self::Sanic,
        Self::Aiohttp,
        Self::BlackSheep,
        Self::Flask,
        Self::Django,
        Self::Falcon,
        Self::Bottle,
        Self::Connexion,
        Self::Dash,
        Self::Streamlit,
        Self::Gradio,
        Self::NiceGui,
        Self::Pyramid,
        Self::Tornado,
    ];

    /// Returns the normalized name of the distribution.
    pub(crate) fn distribution(self) -> String {
        self.name().to_lowercase()
    }

    /// Returns true if the framework brings a server.
    pub(crate) fn has_own_server(self) -> bool {
        matches!(
            self,
            Self::Sanic | Self::Aiohttp | Self::Streamlit | Self::Gradio | Self::NiceGui | Self::Tornado
        )
    }

    /// Returns the name, as the framework's documentation writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FastApi => "FastAPI",
            Self::Starlette => "Starlette",
            Self::Litestar => "Litestar",
            Self::Quart => "Quart",
            Self::Sanic => "Sanic",
            Self::Aiohttp => "aiohttp",
            Self::BlackSheep => "BlackSheep",
            Self::Flask => "Flask",
            Self::Django => "Django",
            Self::Falcon => "Falcon",
            Self::Bottle => "Bottle",
            Self::Connexion => "Connexion",
            Self::Dash => "Dash",
            Self::Streamlit => "Streamlit",
            Self::Gradio => "Gradio",
            Self::NiceGui => "NiceGUI",
            Self::Pyramid => "Pyramid",
            Self::Tornado => "Tornado",
        }
    }
}

/// Returns the framework of the constructor with this dotted name: `fastapi.FastAPI`, or `FastAPI`
/// alone if the module shows no import of it.
pub(super) fn of_constructor(dotted: &str) -> Option<(Framework, Interface)> {
    let name = dotted.rsplit('.').next().unwrap_or_default();
    let package = dotted.split('.').next().filter(|_| dotted.contains('.'));
    if package == Some("falcon") && name == "App" {
        let is_async = dotted.split('.').any(|part| part == "asgi");
        return Some((Framework::Falcon, if is_async { Interface::Asgi } else { Interface::Wsgi }));
    }
    // A method of `pyramid.config.Configurator`.
    if name == "make_wsgi_app" {
        return Some((Framework::Pyramid, Interface::Wsgi));
    }
    let named = CONSTRUCTORS.iter().filter(|(_, constructor, ..)| *constructor == name);
    let mut of_package = named.clone().filter(|(known, ..)| package == Some(*known));
    let found = of_package.next().or_else(|| {
        let is_clear = package.is_none() && !AMBIGUOUS.contains(&name);
        named.clone().next().filter(|_| is_clear)
    });
    found.map(|(_, _, framework, interface)| (*framework, *interface))
}

/// A call that wraps an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// The result has this interface.
    Converts(Interface),
    /// The result has the interface of the wrapped application.
    Keeps,
}

/// Returns the kind of a call that wraps an application, or `None` for any other call.
pub(super) fn of_wrapper(dotted: &str) -> Option<Wrapper> {
    let name = dotted.rsplit('.').next().unwrap_or_default();
    let known = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == name).map(|(_, interface)| *interface);
    known.or_else(|| name.ends_with("Middleware").then_some(Wrapper::Keeps))
}

/// Names of which one is in the text of every module with an application.
pub(super) const MARKERS: [&str; 22] = [
    "FastAPI",
    "Starlette",
    "Litestar",
    "Starlite",
    "Quart",
    "Sanic",
    "BlackSheep",
    "blacksheep",
    "ProtocolTypeRouter",
    "get_asgi_application",
    "get_wsgi_application",
    "aiohttp",
    "Flask",
    "flask_openapi3",
    "falcon",
    "bottle",
    "connexion",
    "Dash",
    "gradio",
    "streamlit",
    "tornado",
    "make_wsgi_app",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_constructors_by_their_package() {
        for (dotted, expected) in [
            ("fastapi.FastAPI", Some((Framework::FastApi, Interface::Asgi))),
            ("FastAPI", Some((Framework::FastApi, Interface::Asgi))),
            ("fastapi.applications.FastAPI", Some((Framework::FastApi, Interface::Asgi))),
            ("own.FastAPI", None),
            ("aiohttp.web.Application", Some((Framework::Aiohttp, Interface::Aiohttp))),
            ("blacksheep.Application", Some((Framework::BlackSheep, Interface::Asgi))),
            ("Application", None),
            ("telegram.ext.Application", None),
            ("falcon.App", Some((Framework::Falcon, Interface::Wsgi))),
            ("falcon.asgi.App", Some((Framework::Falcon, Interface::Asgi))),
            ("gradio.Blocks", Some((Framework::Gradio, Interface::Program))),
            ("tornado.web.Application", Some((Framework::Tornado, Interface::Program))),
            ("config.make_wsgi_app", Some((Framework::Pyramid, Interface::Wsgi))),
            ("typer.Typer", None),
        ] {
            assert_eq!(of_constructor(dotted), expected, "{dotted}");
        }
    }

    #[test]
    fn recognizes_wrappers() {
        for (dotted, expected) in [
            ("asgiref.wsgi.WsgiToAsgi", Some(Wrapper::Converts(Interface::Asgi))),
            ("socketio.ASGIApp", Some(Wrapper::Converts(Interface::Asgi))),
            ("starlette.middleware.cors.CORSMiddleware", Some(Wrapper::Keeps)),
            ("flask_sqlalchemy.SQLAlchemy", None),
        ] {
            assert_eq!(of_wrapper(dotted), expected, "{dotted}");
        }
    }
}
