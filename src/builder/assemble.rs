//! From a project to a plan: every floor below is asked in its turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Builder;
use super::built::tag_suffix;
use super::error::BuildError;
use super::pip;
use super::selected::select;
use crate::context::{Context, Detail, Dockerignore, Listing, SourceKind};
use crate::error::FileError;
use crate::image::rfc3339;
use crate::plan::layers::{Pieces, split};
use crate::plan::{Places, Plan, Platform, Process};
use crate::progress::{Progress, Warning};
use crate::python::application::{self, Application, Sources};
use crate::python::bytecode::{self, Mode, Python};
use crate::python::interpreter::{
    Headers, Interpreter, InterpreterFiles, InterpreterOptions, PySource, SitePackages,
};
use crate::python::relocate::paths::PathScanner;
use crate::python::{Activation, PythonVersion, Relocated, Relocation, Selection, Venv};
use crate::recipe::Recipe;
use crate::settings;
use crate::system::{self, Account, Programs, Wanted};
use crate::tree::{CONSTANT_TIME, Content, Entry, ImagePath, Kind, Owner};

/// An application's source is text of at most this many bytes; a larger file is not looked into.
const SOURCE_LIMIT: u64 = 4 << 20;

/// A plan, with what is needed to carry it out.
pub(super) struct Assembled {
    pub(super) plan: Plan,
    pub(super) recipe: Recipe,
    pub(super) scanner: PathScanner,
}

impl Builder {
    /// Decides everything.
    pub(super) fn assemble(&self, progress: &dyn Progress) -> Result<Assembled, BuildError> {
        let recipe = self.resolve()?;
        if recipe.base != "scratch" {
            return Err(BuildError::Base(recipe.base));
        }
        let created = self.epoch.unwrap_or(CONSTANT_TIME);
        let created_text =
            rfc3339(created).ok().filter(|_| created >= 0).ok_or(BuildError::Epoch(created))?;
        let root =
            fs_err::canonicalize(&self.root).map_err(|error| FileError::new("read", &self.root, error))?;

        let work = Arc::new(self.staging()?);
        let folder = self.environment(work.path(), progress)?;
        progress.step("reading the environment");
        let venv = Venv::open(&folder)?;
        warn(progress, &venv.warnings);
        let selected = select(&recipe, &root, &venv, progress)?;

        progress.step("reading the source");
        let listing = self.source(&recipe, &venv)?;
        let application = if recipe.serves() { Some(self.application(&recipe, &listing)?) } else { None };

        progress.step("reading the interpreter");
        let interpreter = Interpreter::discover(&venv.root.join("bin/python"), venv.config.home.as_deref())?;
        // uv makes environments without pip; the interpreter has one beside it.
        let borrowed = recipe.pip && !selected.names.contains("pip");
        let mut base = interpreter.files(&InterpreterOptions {
            trim: recipe.trim.clone(),
            headers: if recipe.headers { Headers::Take } else { Headers::Leave },
            site_packages: if borrowed { SitePackages::Pip } else { SitePackages::Leave },
        })?;
        warn(progress, &base.warnings);

        let environment = recipe.workdir.join(".venv")?;
        let mut borrowed_pip = (Vec::new(), Vec::new());
        if borrowed {
            let site = environment.join(venv.site_packages.first().map_or("lib", String::as_str))?;
            borrowed_pip = pip::take(&mut base, &environment.join("bin")?, &site, recipe.target.as_str())?;
        }
        let relocated = Relocation {
            venv: &venv,
            prefix: environment.clone(),
            interpreter: base.executable.clone(),
            workdir: recipe.workdir.clone(),
            context: &root,
            selection: Selection::Only(selected.names.clone()),
            activation: if recipe.activate { Activation::Keep } else { Activation::LeaveOut },
        }
        .run()?;
        warn(progress, &relocated.warnings);

        let places = Places {
            environment: environment.clone(),
            interpreter_folder: base.executable.parent().unwrap_or_default(),
        };
        let label = self.epoch.map(|_| created_text.as_str());
        let process = Process::new(&recipe, &self.project, application.as_ref(), &places, label);

        let mut pieces = Pieces { source: listing.entries(&recipe.workdir, created)?, ..Pieces::default() };
        for source in &relocated.sources {
            pieces.source.extend(source.entries()?);
        }
        let platform = self.system(&recipe, &interpreter, &base, &relocated, &mut pieces, progress)?;
        if borrowed {
            pieces.distributions.insert("pip".to_owned(), borrowed_pip.0);
        }
        let mut modules = modules(&base, &relocated, borrowed_pip.1, &pieces);
        if recipe.reload {
            // Bytecode in an image is never checked against its source: a source that is changed in the container would
            // go unnoticed, and noticing is what this image is for.
            modules.retain(|module| module.owner != Owner::Source);
        }
        self.bytecode(&recipe, &interpreter, &modules, &mut pieces, work.path(), progress)?;
        if recipe.writable_environment {
            pieces.environment.extend(writable(&recipe, &environment, &venv)?);
        }

        let scanner = self.scanner(&root, &venv, &interpreter);
        let plan = Plan {
            name: recipe.name.clone().unwrap_or_else(|| self.project.image_name()),
            tag: format!("{}{}", recipe.tag, tag_suffix(recipe.target)),
            target: recipe.target,
            platform: platform_of(platform),
            layers: split(pieces, recipe.layers)?,
            process,
            created,
            distributions: selected.distributions,
            left_out: selected.left_out,
            _work: Some(work),
        };
        Ok(Assembled { plan, recipe, scanner })
    }

    /// The source of the project as it goes into the image.
    fn source(&self, recipe: &Recipe, venv: &Venv) -> Result<Listing, BuildError> {
        let defaults = Dockerignore::from_lines("exclude of the recipe", &recipe.exclude)?;
        let mut context = Context::open(&self.root, self.ignore.clone())?
            .with_workdir(recipe.workdir.clone())
            .with_defaults(defaults);
        context.leave_out(&venv.root);
        context.leave_out(&venv.given);
        for path in self.left_out.iter().chain(&self.cache) {
            context.leave_out(path);
        }
        let mut listing = context.walk(Detail::SkipIgnored)?;
        leave_out_layouts(&mut listing);
        Ok(listing)
    }

    fn application(&self, recipe: &Recipe, listing: &Listing) -> Result<Application, BuildError> {
        let named = recipe.app.as_deref().or(self.project.fastapi_entrypoint.as_deref());
        Ok(application::find(&Tree(listing), named, &self.project.name)?)
    }

    /// Fills in interpreter, shared libraries, accounts and what else makes a system.
    fn system(
        &self,
        recipe: &Recipe,
        interpreter: &Interpreter,
        base: &InterpreterFiles,
        relocated: &Relocated,
        pieces: &mut Pieces,
        progress: &dyn Progress,
    ) -> Result<Option<(String, Option<String>)>, BuildError> {
        let wanted =
            Wanted { certificates: recipe.certificates.into(), time_zones: recipe.time_zones.into() };
        let (files, warnings) = system::files(Path::new("/"), wanted)?;
        warn(progress, &warnings);
        pieces.system = files;
        pieces.environment.extend(system::accounts(&Account {
            name: self.project.account_name(),
            uid: recipe.user.uid,
            gid: recipe.user.gid,
            home: recipe.workdir.clone(),
        })?);
        progress.step("finding shared libraries");
        pieces.environment.extend(relocated.environment.iter().chain(&relocated.unowned).cloned());
        pieces.distributions = relocated.distributions.clone();
        pieces.interpreter.clone_from(&base.entries);

        let of_environment = relocated.entries().filter_map(may_be_elf);
        let mut libraries = system::shared_libraries(&Programs {
            executable: &interpreter.executable,
            prefix: (&interpreter.prefix, &base.prefix),
            files: base.elf_files.iter().cloned().chain(of_environment).collect(),
            extra: &recipe.libraries,
        })?;
        warn(progress, &libraries.warnings);
        system::apply(&libraries.patches, &mut pieces.interpreter);
        let host_files: Vec<Arc<Path>> =
            pieces.interpreter.iter().chain(&pieces.system).filter_map(host_file).collect();
        let (packages, warnings) =
            system::record_packages(&mut libraries, host_files.iter().map(|path| &**path))?;
        warn(progress, &warnings);
        pieces.system.extend(packages);
        pieces.system.extend(libraries.entries);
        Ok(libraries.platform)
    }

    /// Fills in the bytecode of every module.
    fn bytecode(
        &self,
        recipe: &Recipe,
        interpreter: &Interpreter,
        modules: &[bytecode::Source],
        pieces: &mut Pieces,
        work: &Path,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        let mode = match recipe.bytecode {
            settings::Bytecode::Keep => Mode::Keep,
            settings::Bytecode::Compile => Mode::Compile,
            settings::Bytecode::Strip => Mode::Strip,
        };
        let cache =
            self.cache.as_deref().filter(|cache| fs_err::create_dir_all(cache).is_ok()).unwrap_or(work);
        progress.step("preparing bytecode");
        let made = bytecode::entries(&bytecode::Request {
            sources: modules,
            python: &Python {
                executable: interpreter.executable.clone(),
                version: short(interpreter.version),
                cache_tag: interpreter.cache_tag.clone(),
                magic: None,
            },
            mode,
            cache: &cache.join("bytecode"),
            progress,
        })?;
        for entry in made {
            let piece = match &entry.owner {
                Owner::Distribution { name, .. } => pieces.distributions.entry(name.to_string()).or_default(),
                Owner::Interpreter => &mut pieces.interpreter,
                Owner::Source => &mut pieces.source,
                Owner::Package { .. } | Owner::Environment | Owner::System => &mut pieces.environment,
            };
            piece.push(entry);
        }
        Ok(())
    }

    /// What names this machine and must not remain in the image.
    fn scanner(&self, root: &Path, venv: &Venv, interpreter: &Interpreter) -> PathScanner {
        let mut machine: Vec<&Path> = vec![root, &self.root, &venv.root, &venv.given, &interpreter.prefix];
        machine.extend(self.home.as_deref());
        PathScanner::new(&machine, &[])
    }
}

/// Every module of the image with the bytecode that an installer made of it.
fn modules(
    base: &InterpreterFiles,
    relocated: &Relocated,
    pip: Vec<PySource>,
    pieces: &Pieces,
) -> Vec<bytecode::Source> {
    let of_base = |source: PySource, owner| bytecode::Source {
        path: source.path,
        content: source.content,
        pyc: source.pyc,
        owner,
    };
    let of_interpreter = base.sources.iter().map(|source| of_base(source.clone(), Owner::Interpreter));
    let pip_owner = pieces.distributions.get("pip").and_then(|entries| entries.first());
    let pip_owner = pip_owner.map_or(Owner::Environment, |entry| entry.owner.clone());
    let of_pip = pip.into_iter().map(|source| of_base(source, pip_owner.clone()));
    let of_environment = relocated.python_sources(relocated.entries()).into_iter().map(|source| {
        bytecode::Source { path: source.path, content: source.content, pyc: source.pyc, owner: source.owner }
    });
    let python: BTreeMap<&ImagePath, &Content> = pieces
        .source
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::File(content) if entry.path.as_str().ends_with(".py") => Some((&entry.path, content)),
            _ => None,
        })
        .collect();
    let of_project =
        pieces.source.iter().filter(|entry| entry.path.as_str().ends_with(".py")).filter_map(|entry| {
            match &entry.kind {
                Kind::File(content) => Some((entry, content)),
                // Python looks for bytecode beside the link, not beside the file that it leads to.
                Kind::Symlink(target) => link_target(&entry.path, target)
                    .and_then(|target| python.get(&target).copied())
                    .map(|content| (entry, content)),
                _ => None,
            }
        });
    let of_project = of_project.map(|(entry, content)| bytecode::Source {
        path: entry.path.clone(),
        content: content.clone(),
        pyc: None,
        owner: entry.owner.clone(),
    });
    of_interpreter.chain(of_pip).chain(of_environment).chain(of_project).collect()
}

/// Where a link leads, when nothing on the way is a link.
fn link_target(link: &ImagePath, target: &str) -> Option<ImagePath> {
    let folder = link.parent().filter(|_| !target.starts_with('/')).unwrap_or_default();
    let mut parts: Vec<&str> = folder.components().collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    ImagePath::new(&parts.join("/")).ok()
}

/// Extension modules and programs of the environment. Whether a file is one, its first bytes say; these have the names.
fn may_be_elf(entry: &Entry) -> Option<(ImagePath, PathBuf)> {
    let Kind::File(Content::Host(file)) = &entry.kind else { return None };
    let name = entry.path.file_name()?;
    let likely = name.ends_with(".so") || name.contains(".so.") || entry.mode & 0o111 != 0;
    likely.then(|| (entry.path.clone(), file.path.to_path_buf()))
}

/// The file of this machine that an entry comes from.
fn host_file(entry: &Entry) -> Option<Arc<Path>> {
    match &entry.kind {
        Kind::File(content) => content.host_file().map(|file| file.path.clone()),
        _ => None,
    }
}

/// Major and minor of a version, which fit a byte for every Python there will be.
fn short(version: PythonVersion) -> (u8, u8) {
    (u8::try_from(version.major).unwrap_or(u8::MAX), u8::try_from(version.minor).unwrap_or(u8::MAX))
}

fn platform_of(found: Option<(String, Option<String>)>) -> Platform {
    let (architecture, variant) = found.unwrap_or_else(|| ("unknown".to_owned(), None));
    Platform { os: "linux".to_owned(), architecture, variant }
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

/// Takes image layouts out of the source: results of earlier builds, which would make every image hold the one before.
fn leave_out_layouts(listing: &mut Listing) {
    let layouts: Vec<String> = listing
        .files
        .iter()
        .filter_map(|file| file.path.strip_suffix("/oci-layout"))
        .filter(|folder| listing.get(&format!("{folder}/index.json")).is_some())
        .map(|folder| format!("{folder}/"))
        .collect();
    listing.files.retain(|file| {
        let path = format!("{}/", file.path);
        !layouts.iter().any(|layout| path.starts_with(layout.as_str()))
    });
}

/// The source tree as the search for the application sees it.
struct Tree<'a>(&'a Listing);

impl Sources for Tree<'_> {
    fn has(&self, path: &str) -> bool {
        self.0.get(path).is_some_and(|file| !matches!(file.kind, SourceKind::Directory))
    }

    fn text(&self, path: &str) -> Option<String> {
        match &self.0.get(path)?.kind {
            SourceKind::File { file, .. } if file.size <= SOURCE_LIMIT => {
                String::from_utf8(file.read().ok()?).ok()
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
}

fn warn(progress: &dyn Progress, warnings: &[Warning]) {
    for warning in warnings {
        progress.warn(warning.clone());
    }
}
