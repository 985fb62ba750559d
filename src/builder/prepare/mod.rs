//! Prepared files: commands of the project that make files for the image before it is planned.
//!
//! A command runs in the project's directory with the environment's programs on `PATH`, and writes
//! into an empty directory of its own, `$IPO_OCI_OUT`. The result is cached by everything that the
//! command is told, and by the content of the inputs that the settings name
//! ([`PreparedFiles`]).

mod error;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf, absolute};

pub use error::PrepareError;
use run::{RunFailure, RunLimits};

use super::environment_location::EnvironmentLocation;
use super::{BuildError, Builder};
use crate::cache::{PreparedFiles, UnusableFile};
use crate::context::{Context, Detail, Dockerignore, Fate, IgnoreSource, Listing, Permission, SourceKind};
use crate::digest::Digest;
use crate::error::FileError;
use crate::plan::ExtraLayer;
use crate::plan::extra::ExtraEntries;
use crate::progress::{Activity, Progress, Span, Step};
use crate::recipe::{Recipe, ResolvedPrepare};
use crate::traced_fs;
use crate::tree::{ImagePath, KeyHasher};

/// The variable with the output directory of a command.
const OUT: &str = "IPO_OCI_OUT";

/// Policy for the commands of the setting `prepare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preparing {
    /// Fail, unless an earlier build ran the command with the same inputs.
    Never,
    /// Run a command whose inputs changed.
    #[default]
    WhenChanged,
}

/// The inputs of all commands.
struct Inputs<'a> {
    recipe: &'a Recipe,
    /// The environment's directory, absolute.
    environment: PathBuf,
    location: EnvironmentLocation,
    work: &'a Path,
    progress: &'a dyn Progress,
}

impl Builder {
    /// Returns the layers of prepared files. Runs a command if its result is not cached.
    pub(super) fn prepared_layers(
        &self,
        recipe: &Recipe,
        folder: &Path,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<ExtraEntries>, BuildError> {
        if recipe.prepare.is_empty() {
            return Ok(Vec::new());
        }
        let environment = absolute(folder).map_err(FileError::of("read", folder))?;
        let root = traced_fs::canonicalize(folder).map_err(FileError::of("read", folder))?;
        let location = EnvironmentLocation { root, given: folder.to_owned() };
        let inputs = Inputs { recipe, environment, location, work, progress };
        let mut layers = Vec::new();
        for (number, prepare) in recipe.prepare.iter().enumerate() {
            let _span = Span::begin(progress, Activity::Prepare);
            let made = self.prepared(prepare, number, &inputs)?;
            layers.push(layer(prepare, &made, recipe)?);
        }
        Ok(layers)
    }

    /// Returns the directory with the results of a command.
    fn prepared(
        &self,
        prepare: &ResolvedPrepare,
        number: usize,
        inputs: &Inputs<'_>,
    ) -> Result<PathBuf, BuildError> {
        let named = self.named_inputs(prepare, inputs)?;
        let key = key_of(prepare, &named, inputs)?;
        let prepared = PreparedFiles::new(self.cache.as_deref().unwrap_or(inputs.work));
        if let Some(found) = prepared.get(&key) {
            return Ok(found);
        }
        let name = || prepare.name.clone();
        if self.preparing == Preparing::Never {
            return Err(PrepareError::Forbidden(name()).into());
        }
        let before = self.listing(inputs.recipe, Some(&inputs.location))?.0;
        let folder = inputs.work.join(format!("prepare-{number}"));
        let out = folder.join("out");
        fs_err::create_dir_all(&out).map_err(FileError::of("create", &out))?;
        let made = self
            .run(prepare, &out, inputs)
            .and_then(|()| {
                let after = self.listing(inputs.recipe, Some(&inputs.location))?.0;
                refuse_changes(prepare, &before, &after)
            })
            .and_then(|()| {
                prepared.keep(&key, &out).map_err(|cause| match cause {
                    UnusableFile::File(error) => BuildError::File(error),
                    UnusableFile::None => PrepareError::NoResult { name: name(), path: String::new() }.into(),
                    cause => PrepareError::Unusable { name: name(), reason: cause.to_string() }.into(),
                })
            });
        if made.is_err() {
            let _ = fs_err::remove_dir_all(&folder);
        }
        made
    }

    /// Lists the files that the result depends on.
    fn named_inputs(&self, prepare: &ResolvedPrepare, inputs: &Inputs<'_>) -> Result<Listing, BuildError> {
        let Some(patterns) = &prepare.inputs else {
            return Ok(self.listing(inputs.recipe, Some(&inputs.location))?.0);
        };
        // The ignore rules of these inputs: everything but what they name.
        let is_exception = |pattern: &String| pattern.starts_with('!');
        let rule = |pattern: &String| match pattern.strip_prefix('!') {
            Some(exception) => exception.to_owned(),
            None => format!("!{pattern}"),
        };
        let lines: Vec<String> = std::iter::once("**".to_owned()).chain(patterns.iter().map(rule)).collect();
        let source = format!("inputs of {}", prepare.name);
        let rules = Dockerignore::from_lines(&source, &lines).map_err(crate::context::ContextError::from)?;
        let mut context = Context::open(&self.root, IgnoreSource::None)?
            .with_workdir(inputs.recipe.workdir.clone())
            .with_defaults(rules);
        for path in [&inputs.location.root, &inputs.location.given].into_iter().chain(&self.cache) {
            context.exclude(path);
        }
        let listing = context.walk(Detail::SkipIgnored)?;
        for pattern in patterns.iter().filter(|pattern| !is_exception(pattern)) {
            let matcher =
                Dockerignore::from_lines(&source, &[pattern]).map_err(crate::context::ContextError::from)?;
            if !listing.files.iter().any(|file| matcher.fate(&file.path) == Ok(Fate::Ignored)) {
                return Err(
                    PrepareError::NoInput { name: prepare.name.clone(), pattern: pattern.clone() }.into()
                );
            }
        }
        Ok(listing)
    }

    /// Runs a command.
    fn run(&self, prepare: &ResolvedPrepare, out: &Path, inputs: &Inputs<'_>) -> Result<(), BuildError> {
        let root = absolute(&self.root).map_err(FileError::of("read", &self.root))?;
        let environment = &inputs.environment;
        let out = absolute(out).map_err(FileError::of("read", out))?;
        let fill = |text: &str| {
            text.replace("{out}", &out.to_string_lossy())
                .replace("{venv}", &environment.to_string_lossy())
                .replace("{python}", &environment.join("bin/python").to_string_lossy())
        };
        let words: Vec<String> = prepare.command.iter().map(|word| fill(word)).collect();
        let programs =
            std::iter::once(environment.join("bin")).chain(std::env::split_paths(&self.search_path));
        let path = std::env::join_paths(programs)
            .map_err(|_| PrepareError::EnvironmentPath { path: environment.clone() })?;
        let mut variables: BTreeMap<String, OsString> = BTreeMap::from([
            (OUT.to_owned(), out.clone().into()),
            ("PATH".to_owned(), path),
            ("VIRTUAL_ENV".to_owned(), environment.clone().into()),
            // Bytecode beside the source would be a change of the source.
            ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".into()),
        ]);
        variables.extend(prepare.env.iter().map(|(name, value)| (name.clone(), fill(value).into())));
        let line = words.join(" ");
        inputs.progress.step(&Step::on(Activity::Prepare, format!("{}: {line}", prepare.name)));
        let limits = RunLimits { time: prepare.timeout };
        run::run(&words, &root, &variables, limits).map_err(|failure| {
            let (name, command) = (prepare.name.clone(), line);
            match failure {
                RunFailure::Start(cause) => PrepareError::Start { name, command, cause },
                RunFailure::Status { status, output } => {
                    PrepareError::Failed { name, command, status, output }
                }
                RunFailure::Time { output } => {
                    PrepareError::TimedOut { name, command, limit: prepare.timeout, output }
                }
            }
            .into()
        })
    }
}

/// Computes the key of a result: the command with its variables, the environment, and the named
/// files with their content.
fn key_of(prepare: &ResolvedPrepare, named: &Listing, inputs: &Inputs<'_>) -> Result<Digest, BuildError> {
    let mut fields = KeyHasher::new("prepared files").number(prepare.command.len() as u64);
    prepare.command.iter().for_each(|word| fields.add(word.as_bytes()));
    for (name, value) in &prepare.env {
        fields.add(name.as_bytes());
        fields.add(value.as_bytes());
    }
    identify_environment(&inputs.environment, &mut fields)?;
    for file in &named.files {
        fields.add(file.path.as_bytes());
        match &file.kind {
            SourceKind::Directory => fields.add(b"directory"),
            SourceKind::Symlink(target) => {
                fields.add(b"link");
                fields.add(target.as_bytes());
            }
            SourceKind::File { file, permission } => {
                let is_program = *permission == Permission::Executable;
                fields.add(if is_program { b"program" } else { b"file" });
                fields.add(digest_of(&file.path)?.as_bytes());
            }
        }
    }
    Ok(fields.finish())
}

/// Computes the digest of a file's content.
fn digest_of(path: &Path) -> Result<Digest, FileError> {
    let digest = traced_fs::open_regular(path).and_then(|mut open| Digest::of_reader(&mut open));
    digest.map(|(digest, _)| digest).map_err(FileError::of("read", path))
}

/// Adds the identity of an environment: its configuration, and the files of its distributions.
fn identify_environment(environment: &Path, fields: &mut KeyHasher) -> Result<(), BuildError> {
    let mut add = |path: &Path| match digest_of(path) {
        Ok(digest) => {
            fields.add(digest.as_bytes());
            Ok(())
        }
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
            fields.add(b"");
            Ok(())
        }
        Err(error) => Err(error),
    };
    add(&environment.join("pyvenv.cfg"))?;
    let names = |folder: &Path, is_wanted: &dyn Fn(&str) -> bool| {
        let mut names: Vec<String> = Vec::new();
        let entries = traced_fs::read_dir(folder).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
        names.retain(|name| is_wanted(name));
        names.sort_unstable();
        names
    };
    let lib = environment.join("lib");
    let mut distributions = Vec::new();
    for python in names(&lib, &|name| name.starts_with("python")) {
        let site = lib.join(python).join("site-packages");
        for distribution in names(&site, &|name| name.ends_with(".dist-info")) {
            let folder = site.join(&distribution);
            add(&folder.join("RECORD"))?;
            add(&folder.join("direct_url.json"))?;
            distributions.push(distribution);
        }
    }
    for name in &distributions {
        fields.add(name.as_bytes());
    }
    Ok(())
}

/// Refuses a command that changed the source: an image must not depend on whether it ran.
fn refuse_changes(prepare: &ResolvedPrepare, before: &Listing, after: &Listing) -> Result<(), BuildError> {
    let is_there = |file: &&crate::context::SourceFile| before.get(&file.path) != Some(file);
    let changed = after.files.iter().filter(is_there).filter(|file| file.kind != SourceKind::Directory);
    let mut changed: Vec<String> = changed.map(|file| file.path.clone()).collect();
    let gone = before.files.iter().filter(|file| after.get(&file.path).is_none());
    changed.extend(gone.map(|file| file.path.clone()));
    if changed.is_empty() {
        return Ok(());
    }
    Err(PrepareError::Outside { name: prepare.name.clone(), paths: changed }.into())
}

/// Makes the layer with the results of a command in `made`.
fn layer(prepare: &ResolvedPrepare, made: &Path, recipe: &Recipe) -> Result<ExtraEntries, BuildError> {
    let mut all: Option<ExtraEntries> = None;
    for (from, to) in &prepare.to {
        let source = made.join(from);
        let metadata = traced_fs::symlink_metadata(&source)
            .map_err(|_| PrepareError::NoResult { name: prepare.name.clone(), path: from.clone() })?;
        let mut layer =
            ExtraLayer::new(&prepare.name).reason(format!("made by {}", prepare.command.join(" ")));
        if recipe.writable.iter().any(|directory| to.starts_with(directory)) {
            layer = layer.owner(recipe.user.uid, recipe.user.gid);
        }
        let to: &ImagePath = to;
        let layer = if metadata.is_dir() {
            layer.directory(&source, to.to_string())
        } else {
            layer.file(&source, to.to_string())
        };
        let added = layer.entries()?;
        match &mut all {
            Some(all) => all.entries.extend(added.entries),
            None => all = Some(added),
        }
    }
    let layer = all.filter(|layer| layer.entries.iter().any(|entry| !entry.is_directory()));
    layer.ok_or_else(|| PrepareError::NoResult { name: prepare.name.clone(), path: String::new() }.into())
}
