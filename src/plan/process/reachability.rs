//! [`reachability_warnings`]: servers that no other container or machine can reach.

use super::bind_of;
use crate::progress::Warning;
use crate::recipe::Recipe;
use crate::service::server::{ServerKind, is_loopback};

/// Returns warnings about a server that is unreachable from outside the container, or listens on
/// another port than the image exposes.
pub(crate) fn reachability_warnings(recipe: &Recipe) -> Vec<Warning> {
    let Some(server) = recipe.known_server() else { return Vec::new() };
    let name = server.kind.name();
    let bind = bind_of(&server, recipe);
    if bind.uses_socket {
        return Vec::new();
    }
    let (host_variable, port_variable) = server.kind.variables();
    let mut warnings = Vec::new();
    // The address is in a configuration file, which is not parsed.
    let unknown = server.kind != ServerKind::Gunicorn && server.config_file().is_some() && !bind.is_given();
    let (host, port) = server.default_bind();
    let given = bind.host.as_deref();
    let is_set = host_variable.is_some() || server.kind == ServerKind::Gunicorn;
    if let Some(host) = given.or((!is_set && !unknown).then_some(host)).filter(|host| is_loopback(host)) {
        let how = if given.is_some() { "" } else { " by default" };
        warnings.push(
            Warning::new(
                "entrypoint",
                format!("{name} listens on {host}{how}, unreachable from outside the container"),
            )
            .with_help(format!("add {} to the command", server.bind_options(recipe.port))),
        );
    }
    let is_default = port_variable.is_none() && !unknown && !bind.follows_port;
    let port = bind.port.or(is_default.then_some(port));
    if let Some(port) = port.filter(|port| *port != recipe.port) {
        let message =
            format!("{name} listens on port {port}, but the image exposes and checks port {}", recipe.port);
        warnings.push(
            Warning::new("entrypoint", message)
                .with_help(format!("set port = {port}, or remove it from the command")),
        );
    }
    warnings
}
