//! The settings that `ipo-oci init` writes for a project.

use std::path::Path;

use super::hints::LazyHints;
use super::{BuildError, Builder, Explanation};
use crate::error::Advice;
use crate::project::UNNAMED;
use crate::recipe::Target;
use crate::service::hints::{Dockerfile, Hints};
use crate::service::{Proposal, ProposalContext, ProposedSetting, ProposedValue, ServiceError};
use crate::traced_fs;

/// The settings that start a service.
const SERVICE_KEYS: [&str; 2] = ["app", "entrypoint"];

impl Builder {
    /// Proposes settings for the project, with `dockerfile` in place of its own.
    ///
    /// # Errors
    /// If the settings, the source or the named Dockerfile cannot be read.
    #[doc(hidden)]
    pub fn propose(&self, dockerfile: Option<&Path>) -> Result<Proposal, BuildError> {
        let hints = match dockerfile {
            Some(file) => {
                let dockerfile = Dockerfile::read(&self.root, file)?;
                LazyHints::known(&self.root, Hints::with_dockerfile(&self.root, Some(dockerfile)))
            }
            None => LazyHints::of(&self.root),
        };
        let Explanation { error, proposed, dependencies, open, .. } = self.explain_with(&hints)?;
        let mut proposal = ProposalContext {
            hints: hints.get(),
            // Another application or command is no remedy for a missing server.
            finds_service: !matches!(&error, Some(BuildError::Application(_))),
            scripts: &self.project.scripts,
            dependencies: &dependencies,
            defaults: &Target::Runtime.settings()?,
            of_source: &proposed,
        }
        .propose();
        proposal.open.extend(open);
        let server = error.as_ref().and_then(missing_server);
        let has_server = server.is_some();
        if let Some(server) = server {
            add_requirement(&mut proposal.settings, server);
        }
        let is_service = |setting: &ProposedSetting| {
            setting.path.first().is_some_and(|key| SERVICE_KEYS.contains(&key.as_str()))
        };
        if let Some(error) = error.filter(|_| !has_server && !proposal.settings.iter().any(is_service)) {
            let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
            proposal.open.insert(0, format!("{error}{help}"));
        }
        proposal.settings.splice(0..0, self.missing_name());
        let has_check = proposal
            .settings
            .iter()
            .any(|setting| setting.path.first().is_some_and(|key| key == "healthcheck"));
        if !has_check && self.project.settings.healthcheck.is_none() {
            proposal.open.push(
                "no file names a path for the health check, so it requests `/`; write `healthcheck = \"/PATH\"` for another"
                    .to_owned(),
            );
        }
        Ok(proposal)
    }

    /// Returns the folder's name as a setting, for a project without a name.
    fn missing_name(&self) -> Option<ProposedSetting> {
        let root = traced_fs::canonicalize(&self.root).ok()?;
        let folder = root.file_name()?.to_str()?.to_lowercase();
        let is_name = folder.starts_with(|first: char| first.is_ascii_alphanumeric())
            && folder.ends_with(|last: char| last.is_ascii_alphanumeric())
            && folder.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let is_missing = self.project.name.is_empty() && self.project.settings.name.is_none();
        let reason = format!("the folder's name; without it, the image is named `{UNNAMED}`");
        (is_name && is_missing).then(|| ProposedSetting::new(&["name"], ProposedValue::Text(folder), reason))
    }
}

/// Adds a setting of requirements to another one with the same key, or at the beginning.
fn add_requirement(settings: &mut Vec<ProposedSetting>, added: ProposedSetting) {
    match (settings.iter_mut().find(|setting| setting.path == added.path), added) {
        (
            Some(ProposedSetting { value: ProposedValue::List(known), reason, .. }),
            ProposedSetting { value: ProposedValue::List(more), reason: another, .. },
        ) => {
            known.splice(0..0, more);
            *reason = format!("{reason}; {another}");
        }
        (_, added) => settings.insert(0, added),
    }
}

/// Returns the setting that adds a server, if none is among the dependencies.
fn missing_server(error: &BuildError) -> Option<ProposedSetting> {
    let BuildError::Service(ServiceError::NoServer { what, requirement: Some(requirement), .. }) = error
    else {
        return None;
    };
    let reason = format!("{what}, and no dependency of the project serves it");
    Some(ProposedSetting::new(&["with"], ProposedValue::List(vec![requirement.clone()]), reason))
}
