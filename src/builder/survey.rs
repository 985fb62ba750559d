//! [`Survey`]: finds out all of an image that does not depend on the project's source.
//!
//! A survey knows nothing but its fields and the files that it looks at through [`crate::disk`]: what came of it holds as
//! long as those are the same, see `ground.rs`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf, absolute};

use serde::{Deserialize, Serialize};

use super::compile::{Compiler, Modules, PYTHONOPTIMIZE, distribute, modules};
use super::complete;
use super::error::BuildError;
use super::foundation::Foundation;
use super::heard::Heard;
use super::runtime::{Pip, Runtime};
use super::selected::{Selected, allow_missing, select};
use super::system::{Around, natives};
use crate::base::BasePython;
use crate::disk;
use crate::parallel;
use crate::plan::above::Surroundings;
use crate::plan::{Pieces, PlannedDistribution};
use crate::platform::Platform;
use crate::progress::{Progress, Span, Warning};
use crate::python::bytecode::{self, Check};
use crate::python::relocate::SourcePlace;
use crate::python::relocate::paths::PathScanner;
use crate::python::{Activation, EditableSource, Relocation, Selection, Venv};
use crate::recipe::Recipe;
use crate::system::Account;
use crate::tree::{Entry, Fields, ImagePath, Owner};

/// What decides all of an image but its source.
pub(super) struct Survey<'a> {
    /// The recipe without what only names the image or is given to its process, see [`deciding`].
    pub(super) recipe: &'a Recipe,
    /// The project's folder as it was given.
    pub(super) given: &'a Path,
    /// The same without links.
    pub(super) root: &'a Path,
    /// The environment's folder.
    pub(super) folder: &'a Path,
    pub(super) wanted: &'a Platform,
    pub(super) account: Account,
    /// Where another Python is looked for.
    pub(super) search_path: &'a OsStr,
    pub(super) home: Option<&'a Path>,
    pub(super) foundation: Option<&'a Foundation>,
    /// How much of an installer's bytecode is looked at. It decides nothing, or the build fails.
    pub(super) check: Check,
    /// Where bytecode is kept. It decides nothing.
    pub(super) cache: &'a Path,
    /// A folder for what cannot be kept. It decides nothing.
    pub(super) work: &'a Path,
}

/// An environment that was opened, with what of it goes in.
pub(super) struct Opened {
    venv: Venv,
    of_base: Option<BasePython>,
    selected: Selected,
}

/// What a survey finds out beside the layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Where the environment is.
    pub(super) places: Environment,
    /// Where the interpreter on this machine is.
    pub(super) prefix: Option<PathBuf>,
    /// Python in the image.
    pub(super) executable: ImagePath,
    pub(super) compiler: Compiler,
    /// Source that the environment names.
    pub(super) sources: Vec<EditableSource>,
    #[serde(with = "platform")]
    pub(super) platform: Platform,
    pub(super) distributions: Vec<PlannedDistribution>,
    pub(super) left_out: Vec<String>,
}

/// Where an environment is on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Environment {
    pub(super) root: PathBuf,
    /// As it was named.
    pub(super) given: PathBuf,
}

/// `recipe` without what does not decide what a survey finds: what the process is told, and what names the image.
pub(super) fn deciding(recipe: &Recipe) -> Recipe {
    Recipe {
        name: None,
        tag: String::new(),
        description: String::new(),
        // Of the process's environment this alone decides files.
        env: recipe
            .env
            .iter()
            .filter(|(name, _)| *name == PYTHONOPTIMIZE)
            .map(|(name, level)| (name.clone(), level.clone()))
            .collect(),
        labels: BTreeMap::new(),
        mirrors: BTreeMap::new(),
        stop_signal: String::new(),
        app: None,
        host: String::new(),
        port: 0,
        workers: 0,
        proxy_headers: false,
        graceful_timeout: 0,
        healthcheck: None,
        exclude: Vec::new(),
        max_size: None,
        ..recipe.clone()
    }
}

impl Survey<'_> {
    /// What tells it from all others: two of one identity that see the same find the same.
    pub(super) fn identify(&self, fields: Fields) -> Option<Fields> {
        let Self {
            recipe,
            given,
            root,
            folder,
            wanted,
            account,
            search_path,
            home,
            foundation,
            check: _,
            cache: _,
            work: _,
        } = self;
        let mut fields = fields
            .text(&format!("{recipe:?} {wanted:?} {account:?}"))
            .text(&format!("{given:?} {root:?} {folder:?} {home:?}"))
            // A path that is relative leads elsewhere from elsewhere.
            .text(&format!("{:?} {:?}", absolute(given).ok()?, absolute(folder).ok()?));
        if let Some(Foundation { image, name, .. }) = foundation {
            // Only where a base brings its own Python is another one looked for.
            fields.add(search_path.as_encoded_bytes());
            fields.add(image.digest().as_bytes());
            fields.add(format!("{name:?}").as_bytes());
        }
        Some(fields)
    }

    /// Where the environment lies in the image.
    pub(super) fn environment(&self) -> Result<ImagePath, BuildError> {
        Ok(self.recipe.workdir.join(".venv")?)
    }

    /// Opens the environment and selects what goes in.
    pub(super) fn open(&self, progress: &dyn Progress) -> Result<Opened, BuildError> {
        progress.step("reading the environment");
        let _span = Span::begin(progress, "reading the environment");
        let (venv, of_base) = match self.foundation {
            Some(foundation) => foundation.environment(self.folder)?,
            None => (Venv::open(self.folder)?, None),
        };
        tell(progress, &venv.warnings);
        let selected = select(self.recipe, self.root, &venv, progress)?;
        if self.foundation.is_some() {
            venv.refuse_foreign(&selected.names, self.wanted)?;
        }
        Ok(Opened { venv, of_base, selected })
    }

    /// Finds out everything else.
    ///
    /// `natives` are ELF files of the source, which need libraries as those of the environment do.
    pub(super) fn find(
        &self,
        opened: Opened,
        mut natives: Vec<Entry>,
        progress: &dyn Progress,
    ) -> Result<(Facts, Pieces), BuildError> {
        let Opened { venv, of_base, selected } = opened;
        let recipe = self.recipe;
        let environment = self.environment()?;
        // uv makes environments without pip; the interpreter has one beside it.
        let pip = if recipe.pip && !selected.names.contains("pip") { Pip::Borrowed } else { Pip::Settled };
        let span = Span::begin(progress, "reading the interpreter");
        let mut runtime = Runtime::find(recipe, &venv, &environment, pip, of_base, self.wanted, progress)?;
        drop(span);
        let span = Span::begin(progress, "relocating the environment");
        let relocated = Relocation {
            venv: &venv,
            prefix: environment.clone(),
            interpreter: runtime.executable.clone(),
            workdir: recipe.workdir.clone(),
            context: self.root,
            selection: Selection::Only(selected.names.clone()),
            activation: if recipe.activate { Activation::Keep } else { Activation::LeaveOut },
        }
        .run()?;
        tell(progress, &relocated.warnings);
        drop(span);

        let mut pieces = Pieces::default();
        pieces.environment.extend(relocated.environment.iter().chain(&relocated.unowned).cloned());
        pieces.distributions.clone_from(&relocated.distributions);
        pieces.interpreter = runtime.files.as_ref().map(|files| files.entries.clone()).unwrap_or_default();
        let mut pip_sources = Vec::new();
        if let Some((entries, sources)) = runtime.pip.take() {
            pieces.distributions.insert("pip".to_owned(), entries);
            pip_sources = sources;
        }
        let modules = modules(&runtime, &relocated, pip_sources, &pieces);
        let base_level = self.foundation.and_then(|foundation| foundation.variable(PYTHONOPTIMIZE));
        let compiler = Compiler::of(recipe, &runtime, (self.search_path, base_level.as_deref()), progress);
        let bytecode = (&compiler, &modules[..]);
        // A script with execute permission that changes is no reason to look at everything again.
        natives.extend(disk::untraced(|| natives_of_sources(&relocated.sources))?);
        let around =
            Around { runtime: &runtime, relocated: &relocated, natives: &natives, named: &recipe.libraries };
        let platform = self.around_python(&around, bytecode, &mut pieces, progress)?;
        if recipe.writable_environment {
            pieces.environment.extend(writable(recipe, &environment, &venv)?);
        }
        if let Some(foundation) = self.foundation {
            pieces = foundation.fit(pieces)?;
        }
        complete::check(&pieces, &venv, &selected, &allow_missing(recipe))?;
        let facts = Facts {
            places: Environment::of(&venv),
            prefix: runtime.host.as_ref().map(|host| host.prefix.clone()),
            executable: runtime.executable.clone(),
            compiler,
            sources: relocated.sources.clone(),
            platform,
            distributions: selected.distributions,
            left_out: selected.left_out,
        };
        parallel::drop_beside((venv, relocated, runtime, modules));
        Ok((facts, pieces))
    }

    /// The files of the system that the image needs, and the bytecode of `modules`. Neither knows of the other, so they go
    /// side by side; warnings come in one order all the same.
    fn around_python(
        &self,
        around: &Around<'_>,
        (compiler, modules): (&Compiler, &[bytecode::Source]),
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<Platform, BuildError> {
        let later = Heard::to_tell_later(progress);
        let (bytecode, platform) = parallel::both(
            || {
                compiler.bytecode(
                    (Modules::Environment, modules),
                    self.check,
                    (self.cache, self.work),
                    &later,
                )
            },
            || {
                let _span = Span::begin(progress, "reading the system");
                match self.foundation {
                    None => self.system(around, pieces, progress),
                    Some(foundation) => self
                        .system_on_base(foundation, around, pieces, progress)
                        .map(|()| foundation.image.platform.clone()),
                }
            },
        );
        let platform = platform?;
        tell(progress, &later.warnings());
        let (bytecode, refused) = bytecode?;
        bytecode::warn_of_refused(&refused, progress);
        distribute(bytecode, pieces);
        Ok(platform)
    }

    /// What `pieces` have where the source may come to lie.
    pub(super) fn surroundings(&self, facts: &Facts, pieces: &Pieces) -> Result<Surroundings, BuildError> {
        let places = facts.places_of_source(&self.recipe.workdir);
        let apart = self.environment()?;
        Ok(match self.foundation {
            None => Surroundings::of(pieces, places, apart),
            // The base may have links there.
            Some(foundation) => {
                let places = places.iter().map(|place| foundation.place(place)).collect::<Result<_, _>>()?;
                Surroundings::of(pieces, places, foundation.place(&apart)?)
            }
        })
    }

    /// What names this machine and must not remain in the image.
    pub(super) fn scanner(&self, facts: &Facts) -> PathScanner {
        let Environment { root, given } = &facts.places;
        let mut machine: Vec<&Path> = vec![self.root, self.given, root, given];
        machine.extend(facts.prefix.as_deref());
        machine.extend(self.home);
        PathScanner::new(&machine, &[])
    }
}

impl Opened {
    /// Where the environment is.
    pub(super) fn places(&self) -> Environment {
        Environment::of(&self.venv)
    }
}

impl Environment {
    fn of(venv: &Venv) -> Self {
        Self { root: venv.root.clone(), given: venv.given.clone() }
    }
}

impl Facts {
    /// Where the source may come to lie in an image whose process works in `workdir`.
    pub(super) fn places_of_source(&self, workdir: &ImagePath) -> Vec<ImagePath> {
        let elsewhere = self.sources.iter().filter(|source| source.place == SourcePlace::Elsewhere);
        std::iter::once(workdir.clone()).chain(elsewhere.map(|source| source.image.clone())).collect()
    }
}

/// The ELF files of source that the environment names.
fn natives_of_sources(sources: &[EditableSource]) -> Result<Vec<Entry>, BuildError> {
    let mut all = Vec::new();
    for source in sources {
        all.extend(natives(&source.entries()?));
    }
    Ok(all)
}

/// The folders that `pip install` writes to, as the process's own. Their content stays root's: what is installed stays
/// as it is, and more can be added.
fn writable(recipe: &Recipe, environment: &ImagePath, venv: &Venv) -> Result<Vec<Entry>, BuildError> {
    let folders = ["", "bin", "lib", "share", "include", "etc"].into_iter().map(str::to_owned);
    let site = venv.site_packages.iter().cloned();
    let mut entries = Vec::new();
    for folder in folders.chain(site) {
        let mut entry = Entry::directory(environment.join(&folder)?, Owner::Environment);
        (entry.uid, entry.gid) = (recipe.user.uid, recipe.user.gid);
        entries.push(entry);
    }
    Ok(entries)
}

/// Passes warnings on.
pub(super) fn tell(progress: &dyn Progress, warnings: &[Warning]) {
    for warning in warnings {
        progress.warn(warning.clone());
    }
}

/// [`Platform`] as it is kept: its own form leaves out a variant that is not there, which only a form with names can.
mod platform {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::platform::Platform;

    type Kept = (String, String, Option<String>);

    pub(super) fn serialize<S: Serializer>(platform: &Platform, serializer: S) -> Result<S::Ok, S::Error> {
        let Platform { os, architecture, variant } = platform.clone();
        Kept::serialize(&(os, architecture, variant), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
        let (os, architecture, variant) = Kept::deserialize(deserializer)?;
        Ok(Platform { os, architecture, variant })
    }
}
