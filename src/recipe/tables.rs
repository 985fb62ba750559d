//! Files, prepared files and processes of a recipe, without open choices.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Recipe, RecipeError, is_signal};
use crate::settings::{
    AptTable, CheckTable, FileTable, HealthcheckSetting, List, Places, PrepareTable, ProcessTable, Settings,
    SettingsError, Size, User,
};
use crate::suggest::nearest;
use crate::tree::ImagePath;

/// The process of the image without a suffix of its tag.
pub const WEB: &str = "web";
/// Names that a process cannot have: `--process all`, and the suffixes of targets' tags.
const RESERVED: [&str; 4] = ["all", "runtime", "builder", "dev"];
/// The longest name of a process, which becomes a part of a tag (distribution specification,
/// "Pulling manifests": 128 characters).
const MAX_NAME: usize = 40;
/// Time limit of a command that makes files.
const PREPARE_TIMEOUT: Duration = Duration::from_mins(10);

/// A file or folder of this machine for the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResolvedFile {
    /// Path on this machine as written.
    pub from: String,
    /// Path in the image.
    pub to: ImagePath,
    /// True if a file keeps its name, below `to`.
    pub into_directory: bool,
    /// User and group, if set.
    pub owner: Option<User>,
    /// Mode of the files, if set.
    pub mode: Option<u32>,
    /// Name of the layer, if set.
    pub layer: Option<String>,
}

/// A command that makes files for the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResolvedPrepare {
    /// Name of the layer with the results.
    pub name: String,
    /// The words of the command.
    pub command: Vec<String>,
    /// Patterns of the files that the result depends on; `None` for the entire source.
    pub inputs: Option<Vec<String>>,
    /// Paths below the command's output folder, empty for the folder itself, with their places in
    /// the image.
    pub to: Vec<(String, ImagePath)>,
    /// Variables of the command.
    pub env: BTreeMap<String, String>,
    /// Time limit.
    pub timeout: Duration,
}

/// The check of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResolvedCheck {
    /// Rules to apply; empty for all.
    pub select: Vec<String>,
    /// Rules to leave out.
    pub ignore: Vec<String>,
    /// True if builds check the image.
    pub build: bool,
    /// The size on disk from which a layer is reported.
    pub max_layer_size: Option<Size>,
    /// The size on disk from which a distribution is reported.
    pub max_distribution_size: Option<Size>,
}

/// Debian packages of an image, and their archives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResolvedApt {
    /// Packages of an `apt:` base.
    pub base: Vec<String>,
    /// Packages that the target adds to an `apt:` base.
    pub tools: Vec<String>,
    /// True to install recommended packages.
    pub recommends: bool,
    /// Files of packages to leave out.
    pub exclude: Vec<String>,
    /// Mirrors of the archive; empty for the machine's.
    pub mirrors: Vec<String>,
    /// Components at the mirrors; empty for the usual ones.
    pub components: Vec<String>,
    /// Lines of a `sources.list`; empty for the machine's sources.
    pub sources: Vec<String>,
    /// Files with the keys of the archives; empty for the machine's keys.
    pub keyrings: Vec<String>,
    /// True to accept archives without a valid signature.
    pub unsigned: bool,
}

impl ResolvedApt {
    pub(super) fn resolve(table: AptTable) -> Self {
        let AptTable { base, tools, recommends, exclude, mirrors, components, sources, keyrings, unsigned } =
            table;
        let items = |list: Option<List>| list.map(List::into_items).unwrap_or_default();
        Self {
            base: items(base),
            tools: items(tools),
            recommends: recommends.unwrap_or(false),
            exclude: items(exclude),
            mirrors: items(mirrors),
            components: items(components),
            sources: items(sources),
            keyrings: items(keyrings),
            unsigned: unsigned.unwrap_or(false),
        }
    }
}

impl ResolvedCheck {
    pub(super) fn resolve(table: CheckTable) -> Self {
        let CheckTable { select, ignore, build, max_layer_size, max_distribution_size } = table;
        Self {
            select: select.map(List::into_items).unwrap_or_default(),
            ignore: ignore.map(List::into_items).unwrap_or_default(),
            build: build.unwrap_or(true),
            max_layer_size,
            max_distribution_size,
        }
    }
}

/// Resolves each table of a list.
pub(super) fn resolve_each<T, R>(
    tables: Option<Vec<T>>,
    resolve: impl FnMut(T) -> Result<R, RecipeError>,
) -> Result<Vec<R>, RecipeError> {
    tables.unwrap_or_default().into_iter().map(resolve).collect()
}

/// Returns `text` as a path in the image; a relative one is below `workdir`.
pub(super) fn place(key: &'static str, text: &str, workdir: &ImagePath) -> Result<ImagePath, RecipeError> {
    let path = if text.starts_with('/') { ImagePath::new(text) } else { workdir.join(text) };
    path.map_err(|reason| RecipeError::Path { key, reason })
}

/// Returns `texts` as directories of the image other than the root.
pub(super) fn directories(
    key: &'static str,
    texts: Vec<String>,
    workdir: &ImagePath,
) -> Result<Vec<ImagePath>, RecipeError> {
    let mut paths = Vec::new();
    for text in texts {
        let path = place(key, &text, workdir)?;
        if path.is_root() {
            return Err(SettingsError::value(
                key,
                text,
                "name a directory below the root, such as /app/media",
            )
            .into());
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn required<T>(table: &'static str, key: &'static str, value: Option<T>) -> Result<T, RecipeError> {
    value.ok_or(RecipeError::MissingIn { table: table.to_owned(), key })
}

impl ResolvedFile {
    pub(super) fn resolve(table: FileTable, workdir: &ImagePath) -> Result<Self, RecipeError> {
        let FileTable { from, to, owner, mode, layer } = table;
        let (from, to) = (required("files", "from", from)?, required("files", "to", to)?);
        if from.is_empty() {
            return Err(
                SettingsError::value("files.from", from, "name a file or folder of this machine").into()
            );
        }
        Ok(Self {
            into_directory: to.ends_with('/') || to.ends_with("/.") || to == ".",
            to: place("files.to", &to, workdir)?,
            from,
            owner,
            mode: mode.map(|mode| mode.0),
            layer,
        })
    }
}

impl ResolvedPrepare {
    pub(super) fn resolve(table: PrepareTable, workdir: &ImagePath) -> Result<Self, RecipeError> {
        let PrepareTable { name, command, inputs, to, env, timeout } = table;
        let (name, command) = (required("prepare", "name", name)?, required("prepare", "command", command)?);
        let to = match required("prepare", "to", to)? {
            Places::One(to) => vec![(String::new(), place("prepare.to", &to, workdir)?)],
            Places::Each(places) => {
                let places = places.into_iter().map(|(from, to)| {
                    // The output folder is a tree of its own; its paths have the rules of an image's.
                    let from = place("prepare.to", &from, &ImagePath::root())?;
                    Ok((from.as_str().to_owned(), place("prepare.to", &to, workdir)?))
                });
                places.collect::<Result<_, RecipeError>>()?
            }
        };
        if command.first().is_none_or(String::is_empty) {
            return Err(SettingsError::value(
                "prepare.command",
                "",
                "name a program, such as [\"python\", \"manage.py\", \"collectstatic\"]",
            )
            .into());
        }
        let words = command.iter().chain(env.values());
        if let Some(text) = words.clone().find(|text| text.contains('\0')) {
            return Err(SettingsError::value("word that a process can get", text, "leave out `\\0`").into());
        }
        if let Some(key) = env.keys().find(|key| key.is_empty() || key.contains(['=', '\0'])) {
            return Err(SettingsError::value("environment variable name", key, "leave out `=`").into());
        }
        let timeout = timeout.map_or(PREPARE_TIMEOUT, |timeout| timeout.0);
        Ok(Self { name, command, inputs, to, env, timeout })
    }
}

/// Refuses names that cannot be parts of tags, and properties that no process can have.
pub(super) fn check_processes(processes: &BTreeMap<String, ProcessTable>) -> Result<(), RecipeError> {
    for (name, table) in processes {
        let is_name = name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
        if !is_name || RESERVED.contains(&name.as_str()) {
            let help =
                "write a short word in lower case other than all, runtime, builder and dev, such as worker";
            return Err(SettingsError::value("process name", name, help).into());
        }
        if name != WEB && table.command.as_ref().is_none_or(Vec::is_empty) {
            return Err(RecipeError::MissingIn { table: format!("process.{name}"), key: "command" });
        }
        if table.env.contains_key("PYTHONOPTIMIZE") {
            let help = "set it in [tool.ipo-oci.env], since all processes share the bytecode";
            return Err(SettingsError::value("variable of a process", "PYTHONOPTIMIZE", help).into());
        }
        if let Some(signal) = table.stop_signal.as_ref().filter(|signal| !is_signal(signal)) {
            return Err(SettingsError::value(
                "signal",
                signal,
                "write a name or number of signal(7), such as SIGTERM",
            )
            .into());
        }
    }
    Ok(())
}

impl Recipe {
    /// Returns the names of the processes with an image, `web` first.
    pub fn process_names(&self) -> Vec<String> {
        let others = self.processes.keys().filter(|name| *name != WEB).cloned();
        std::iter::once(WEB.to_owned()).chain(others).collect()
    }

    /// Returns the settings of the process `name`, to be merged over all others.
    ///
    /// # Errors
    /// Fails if there is no such process.
    pub fn settings_of_process(&self, name: &str) -> Result<Settings, RecipeError> {
        let Some(table) = self.processes.get(name) else {
            if name == WEB {
                return Ok(Settings::default());
            }
            let known = self.process_names();
            let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
            return Err(RecipeError::NoProcess { name: name.to_owned(), near, known });
        };
        let ProcessTable { command, healthcheck, env, stop_signal, port } = table.clone();
        let is_web = name == WEB;
        Ok(Settings {
            cmd: command.is_some().then(Vec::new),
            entrypoint: command,
            healthcheck: healthcheck.or((!is_web).then_some(HealthcheckSetting::Off)),
            env,
            stop_signal,
            port,
            ..Settings::default()
        })
    }

    /// Returns the suffix of the image's tag: that of the target, then that of the process.
    pub fn tag_suffix(&self) -> String {
        format!("{}{}", self.target.tag_suffix(), self.process_suffix())
    }

    /// Returns the part of the tag that names the process; empty for `web`.
    pub fn process_suffix(&self) -> String {
        self.process.as_ref().map(|process| format!("-{process}")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Target;
    use super::*;

    fn resolve(text: &str) -> Result<Recipe, String> {
        let settings = Settings::parse(Path::new("test"), text).map_err(|error| error.to_string())?;
        Recipe::resolve(Target::Runtime, None, settings).map_err(|error| error.to_string())
    }

    #[test]
    fn places_are_relative_to_the_working_directory() {
        let recipe = resolve(
            "workdir = '/srv'\nwritable = ['media', '/data']\nvolumes = ['/data']\n\
             [[files]]\nfrom = 'a'\nto = 'x/'\n[[files]]\nfrom = 'b'\nto = '/etc/b'\nmode = '0600'\n\
             [[prepare]]\nname = 'static'\ncommand = ['true']\nto = {'a/b' = 'static', c = '/c'}",
        )
        .unwrap();
        let texts = |paths: &[ImagePath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&recipe.writable), ["/srv/media", "/data"]);
        assert_eq!(texts(&recipe.volumes), ["/data"]);
        let files: Vec<_> =
            recipe.files.iter().map(|file| (file.to.to_string(), file.into_directory)).collect();
        assert_eq!(files, [("/srv/x".to_owned(), true), ("/etc/b".to_owned(), false)]);
        let to: Vec<_> = recipe.prepare[0].to.iter().map(|(from, to)| format!("{from} {to}")).collect();
        assert_eq!(to, ["a/b /srv/static", "c /c"]);
    }

    #[test]
    fn refuses_paths_out_of_the_image_and_missing_keys() {
        for (text, expected) in [
            ("writable = ['../x']", "contains `..`"),
            ("writable = ['/']", "invalid writable `/`"),
            ("volumes = ['/a/../..']", "contains `..`"),
            ("[[files]]\nfrom = 'a'\nto = '/a/../b'", "invalid `files.to`"),
            ("[[files]]\nto = '/a'", "missing key `from` in `files`"),
            ("[[files]]\nfrom = 'a'", "missing key `to` in `files`"),
            ("[[prepare]]\ncommand = ['a']\nto = '/a'", "missing key `name` in `prepare`"),
            ("[[prepare]]\nname = 'a'\ncommand = []\nto = '/a'", "invalid prepare.command"),
            ("[[prepare]]\nname = 'a'\ncommand = ['a']\nto = {'../x' = '/a'}", "contains `..`"),
            ("[process.worker]\nport = 1", "missing key `command` in `process.worker`"),
            ("[process.all]\ncommand = ['a']", "invalid process name `all`"),
            ("[process.Worker]\ncommand = ['a']", "invalid process name `Worker`"),
            ("[process.worker]\ncommand = ['a']\nenv.PYTHONOPTIMIZE = '1'", "PYTHONOPTIMIZE"),
            ("[process.worker]\ncommand = ['a']\nstop-signal = 'SIGFOO'", "invalid signal"),
        ] {
            let error = resolve(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_process_has_no_health_check_by_default() {
        let recipe = resolve(
            "healthcheck = '/up'\n[process.worker]\ncommand = ['w']\n[process.api]\ncommand = ['a']\nhealthcheck.retries = 2",
        )
        .unwrap();
        assert_eq!(recipe.process_names(), ["web", "api", "worker"]);
        let worker = recipe.settings_of_process("worker").unwrap();
        assert_eq!(worker.healthcheck, Some(HealthcheckSetting::Off));
        assert_eq!((worker.entrypoint, worker.cmd), (Some(vec!["w".to_owned()]), Some(vec![])));
        assert!(matches!(
            recipe.settings_of_process("api").unwrap().healthcheck,
            Some(HealthcheckSetting::On(_))
        ));
        assert_eq!(recipe.settings_of_process("web").unwrap(), Settings::default());
        let error = recipe.settings_of_process("workr").unwrap_err();
        assert!(error.to_string().contains("process `workr` not found"), "{error}");
    }
}
