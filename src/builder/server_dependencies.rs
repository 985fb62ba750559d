//! The optional dependencies with the project's server: selected if the settings select none.

use std::path::Path;

use super::hints::LazyHints;
use super::{BuildError, Builder};
use crate::progress::Warning;
use crate::python::Venv;
use crate::recipe::{Recipe, SERVICE};
use crate::service::dependencies::{OptionalServer, find, installed_by, usual};
use crate::service::server::ServerKind;

impl Builder {
    /// Selects the optional dependencies with the server in all recipes, if the settings select none.
    /// An `existing` environment has to have the server: its other distributions may bring one.
    pub(super) fn select_server(
        &self,
        recipe: &mut Recipe,
        others: &mut [Recipe],
        existing: Option<&Path>,
        hints: &LazyHints<'_>,
    ) -> SelectedServer {
        if recipe.is_selection_set {
            return SelectedServer::default();
        }
        // All processes share the environment of `web`, whose command may be that of the settings.
        let is_searched = recipe.compiled_for.iter().any(|word| word == SERVICE);
        let named = recipe.known_server().filter(|_| !is_searched).map(|server| server.kind.distributions());
        if !is_searched && named.is_none() {
            return SelectedServer::default();
        }
        let server = recipe.server.map(|name| ServerKind::of_name(name).distributions()).or(named);
        let Some(mut found) = find(&self.root, &recipe.dependencies(), server) else {
            return SelectedServer::default();
        };
        let hints = hints.get();
        found.extend(hints.dockerfile.as_ref().and_then(|dockerfile| installed_by(dockerfile, server)));
        let advised = found.first().cloned();
        if let Some(venv) = existing.filter(|_| advised.is_some()).and_then(|folder| Venv::open(folder).ok())
        {
            found.retain(|part| venv.distribution(part.server).is_some());
        }
        let Some(part) = usual(&found, hints.dockerfile.as_ref()) else {
            return SelectedServer { advised, ..SelectedServer::default() };
        };
        for recipe in std::iter::once(recipe).chain(others) {
            let mut selection = recipe.dependencies();
            part.add_to(&mut selection);
            recipe.select(selection);
        }
        let message = format!("included: it has {}, and no other dependency is a server", part.server);
        let help = format!("write {} to [tool.ipo-oci], or another selection", part.setting());
        let warning = Warning::new(part.to_string(), message).with_help(help);
        SelectedServer { warning: Some(warning), part: Some(part.clone()), advised: None }
    }
}

/// The optional dependencies with the server.
#[derive(Debug, Default)]
pub(super) struct SelectedServer {
    /// A warning about selected ones.
    pub(super) warning: Option<Warning>,
    /// The selected ones.
    pub(super) part: Option<OptionalServer>,
    /// The first ones that could be selected.
    advised: Option<OptionalServer>,
}

impl SelectedServer {
    /// Adds advice to the error of an image without a server.
    pub(super) fn advise(&self, error: BuildError) -> BuildError {
        match (error, &self.advised) {
            (BuildError::Service(error), Some(part)) => error.with_optional(part).into(),
            (error, _) => error,
        }
    }
}
