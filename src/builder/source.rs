//! [`Source`]: the files of a project that become the layer of the source, with the service in them.

use super::Builder;
use super::build_results::exclude_build_results;
use super::environment_location::EnvironmentLocation;
use super::error::BuildError;
use super::hints::LazyHints;
use super::ignore_defaults;
use super::service::{InstalledLookup, ServiceInputs, SettledRecipe};
use super::source_warnings::source_warnings;
use crate::context::{Context, Detail, Listing, SourceKind};
use crate::plan::Finding;
use crate::progress::{Activity, Progress, Span, Step, Warning};
use crate::python::application::{Application, ApplicationError, SourceTree};
use crate::recipe::Recipe;
use crate::service::Distributions;
use crate::service::hints::Hints;

/// Maximum size in bytes of an application's source file; larger ones are not parsed.
const SOURCE_LIMIT: u64 = 4 << 20;

/// The source of a project, as listed, with its service.
pub(super) struct Source {
    pub(super) listing: Listing,
    /// The recipe with the command of the service.
    pub(super) recipe: Recipe,
    pub(super) application: Option<Application>,
    /// True if the application is that of an installed distribution.
    pub(super) is_installed: bool,
    /// The recipes of the other processes with their applications, in their order.
    pub(super) others: Vec<(Recipe, Option<Application>)>,
    /// The evidence for the service.
    pub(super) findings: Vec<Finding>,
    /// Reported once the listing is known to be final.
    pub(super) warnings: Vec<Warning>,
}

impl Builder {
    /// Lists the project's source without the environment in it, and finds the application there or
    /// with `installed`. `others` are the recipes of further processes.
    pub(super) fn source(
        &self,
        ((recipe, others), hints): ((&Recipe, &[Recipe]), &LazyHints<'_>),
        environment: &EnvironmentLocation,
        (distributions, installed): (&Distributions, &InstalledLookup<'_>),
        progress: &dyn Progress,
    ) -> Result<Source, BuildError> {
        progress.step(&Step::new(Activity::ReadSource));
        let _span = Span::begin(progress, Activity::ReadSource);
        let (listing, mut warnings) = self.listing(recipe, Some(environment))?;
        let is_searched = std::iter::once(recipe).chain(others).any(Recipe::starts_service);
        let none = Hints::default();
        let hints = if is_searched { hints.get() } else { &none };
        let settle = |recipe| {
            let inputs = ServiceInputs {
                recipe,
                project: &self.project,
                sources: &ListedSource(&listing),
                distributions,
                hints,
                installed,
            };
            inputs.settle().map_err(|error| self.with_ignored(error, &listing))
        };
        let SettledRecipe { recipe, application, is_installed, findings, warnings: of_server } =
            settle(recipe)?;
        warnings.extend(of_server);
        let others = others.iter().map(|recipe| {
            let SettledRecipe { recipe, application, .. } = settle(recipe)?;
            Ok((recipe, application))
        });
        let others = others.collect::<Result<_, BuildError>>()?;
        Ok(Source { listing, recipe, application, is_installed, others, findings, warnings })
    }

    /// Returns the error of an application that is not found because the ignore file excludes every
    /// module.
    pub(super) fn with_ignored(&self, error: BuildError, listing: &Listing) -> BuildError {
        let has_rules = || {
            let context = Context::open(&self.root, self.ignore.clone());
            context.is_ok_and(|context| context.ignore_file().is_some())
        };
        match error {
            BuildError::Application(ApplicationError::NoFile { .. })
                if ListedSource(listing).modules().is_empty() && has_rules() =>
            {
                BuildError::Application(ApplicationError::Ignored)
            }
            error => error,
        }
    }

    /// Lists the project's source, with warnings.
    pub(super) fn listing(
        &self,
        recipe: &Recipe,
        environment: Option<&EnvironmentLocation>,
    ) -> Result<(Listing, Vec<Warning>), BuildError> {
        let mut context =
            Context::open(&self.root, self.ignore.clone())?.with_workdir(recipe.workdir.clone());
        if let Some(environment) = environment {
            context.exclude(&environment.root);
            context.exclude(&environment.given);
        }
        for path in self.excluded.iter().chain(&self.cache) {
            context.exclude(path);
        }
        // Environments of other platforms and a base in a file are separate inputs.
        for path in self.venvs.values().chain(self.base_path(recipe).as_ref()) {
            context.exclude(path);
        }
        let without_rules = context;
        let mut context = ignore_defaults::with_rules(without_rules.clone(), recipe, &[])?;
        let mut listing = context.walk(Detail::SkipIgnored)?;
        let needed = ignore_defaults::needed_lines(recipe, &listing);
        if !needed.is_empty() {
            context = ignore_defaults::with_rules(without_rules, recipe, &needed)?;
            listing = context.walk(Detail::SkipIgnored)?;
        }
        exclude_build_results(&context, &mut listing);
        let mut warnings = source_warnings(&context, &listing);
        warnings.extend(ignore_defaults::warning(&listing));
        Ok((listing, warnings))
    }
}

/// The source tree, for the search of the application.
pub(super) struct ListedSource<'a>(pub(super) &'a Listing);

impl SourceTree for ListedSource<'_> {
    fn has(&self, path: &str) -> bool {
        self.0.get(path).is_some_and(|file| !matches!(file.kind, SourceKind::Directory))
    }

    fn text(&self, path: &str) -> Option<String> {
        match &self.0.get(path)?.kind {
            SourceKind::File { file, .. } if file.size <= SOURCE_LIMIT => {
                // Source may declare another encoding (PEP 263), in which syntax is ASCII all the same.
                Some(String::from_utf8_lossy(&file.read().ok()?).into_owned())
            }
            _ => None,
        }
    }

    fn folders(&self, folder: &str) -> Vec<String> {
        let below = |path: &str| match folder {
            "" => Some(path.to_owned()),
            folder => path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
        };
        let directories = self.0.files.iter().filter(|file| matches!(file.kind, SourceKind::Directory));
        directories.filter_map(|file| below(&file.path)).filter(|path| !path.contains('/')).collect()
    }

    fn modules(&self) -> Vec<String> {
        let files = self.0.files.iter().filter(|file| matches!(file.kind, SourceKind::File { .. }));
        let mut modules: Vec<String> =
            files.map(|file| file.path.clone()).filter(|path| path.ends_with(".py")).collect();
        modules.sort();
        modules
    }
}
