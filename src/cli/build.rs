//! `ipo-oci build`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches as _, ValueEnum};
use ipo_oci::builder::{
    BuildError, Builder, BuiltSet, ImageCheck, LayerReuse, Preparing, ProcessSelection, Provisioning, TagForm,
};
use ipo_oci::context::IgnoreSource;
use ipo_oci::lock::Policy;
use ipo_oci::plan::{self, Plan};
use ipo_oci::printable;
use ipo_oci::progress::{Activity, Progress as _, Span, Step};
use ipo_oci::python::environment::venv::NamedVenv;
use ipo_oci::python::provision::member_folder;
use ipo_oci::recipe::{Target, WEB};
use ipo_oci::reference::{Name, Reference};
use ipo_oci::report::Budget;
use ipo_oci::settings::{HealthcheckSetting, Settings};
use ipo_oci::store::{self, WriteOptions};

use super::access::{AccessArguments, CACHE_HEADING};
use super::arguments::{FormatArgument, extent};
use super::failure::Failure;
use super::heading;
use super::project::{self, TargetArgument, process_selection, targets};
use super::remote_cache::RemoteCacheArguments;
use super::reports::{self, ReportArgument, write_file};
use super::settings::SettingArguments;
use super::streams;
use super::summary::Summary;
use super::terminal::Terminal;

/// The part of a destination that the name of the image replaces.
const NAME_PLACE: &str = "{name}";

/// Arguments of `ipo-oci build`.
///
/// Flags of one heading are neighbors: `--help` prints the headings in the order of their first
/// flags. The flags of settings are declared in `settings::KEYS`.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each bool is a flag.
pub(crate) struct BuildArguments {
    /// Folder of the project; repeatable
    ///
    /// The folder contains the source and, usually, pyproject.toml and .venv. Several projects are
    /// built one after the other, each with its own settings, and stored under their names.
    #[arg(default_value = ".", value_name = "CONTEXT")]
    contexts: Vec<PathBuf>,

    /// Images to build
    #[arg(help_heading = heading::IMAGE)]
    #[arg(long, value_enum, default_value = "runtime", value_delimiter = ',', env = "IPO_OCI_TARGET")]
    target: Vec<TargetArgument>,
    /// Processes to make images of, or all
    ///
    /// The processes are web and those of [tool.ipo-oci.process]. The images have the same layers, and
    /// the tags TAG, for web, and TAG-NAME.
    #[arg(help_heading = heading::IMAGE, hide_short_help = true)]
    #[arg(
        long,
        value_name = "NAME,…",
        default_value = "web",
        value_delimiter = ',',
        env = "IPO_OCI_PROCESS"
    )]
    process: Vec<String>,
    /// Name and tag [default: the project's, latest]
    ///
    /// Repeatable: layouts, archives and --push get every name.
    #[arg(help_heading = heading::IMAGE)]
    #[arg(short, long, value_name = "NAME[:TAG]", value_delimiter = ',', env = "IPO_OCI_TAG")]
    tag: Vec<String>,
    /// True if `-t` is on the command line.
    #[arg(skip)]
    pub(super) tag_is_written: bool,
    /// Accept only bases in ipo-oci.lock
    #[arg(help_heading = heading::IMAGE, hide_short_help = true)]
    #[arg(long, env = "IPO_OCI_LOCKED", value_parser = clap::builder::FalseyValueParser::new())]
    locked: bool,
    /// Recipe in place of the target's own; takes precedence over [tool.ipo-oci]
    #[arg(help_heading = heading::IMAGE, hide_short_help = true)]
    #[arg(long, value_name = "FILE", env = "IPO_OCI_RECIPE")]
    recipe: Option<PathBuf>,

    /// Destination; repeatable [default: oci:dist/image]
    ///
    /// oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker://REGISTRY/NAME[:TAG] or docker-daemon:NAME:TAG. FILE may be -, for standard output.
    /// {name} is replaced by the last part of the image's name. [default for several projects:
    /// oci:dist/{name}]
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(short, long, value_name = "DEST", env = "IPO_OCI_OUTPUT")]
    output: Vec<String>,
    /// Push the image under its own name
    ///
    /// Short for -o docker://NAME:TAG.
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(long)]
    push: bool,
    /// Media types of the image
    #[arg(help_heading = heading::OUTPUT, hide_short_help = true)]
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "oci", env = "IPO_OCI_FORMAT")]
    format: FormatArgument,
    /// Omit base layers that are available in a registry from a layout
    #[arg(help_heading = heading::OUTPUT, hide_short_help = true)]
    #[arg(long)]
    shallow: bool,
    /// Size report: text, json, html, markdown
    ///
    /// Written to FILE, or to standard error in place of the table. Repeatable.
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(long, value_name = "FORM[=FILE]", value_delimiter = ',', env = "IPO_OCI_REPORT")]
    report: Vec<ReportArgument>,
    /// Write digests and names of the images to a JSON file
    #[arg(help_heading = heading::OUTPUT, hide_short_help = true)]
    #[arg(long, value_name = "FILE", env = "IPO_OCI_METADATA_FILE")]
    metadata_file: Option<PathBuf>,
    /// Print the timings to standard error, or write them to FILE as a trace for the viewers of
    /// Chrome and Perfetto
    #[arg(help_heading = heading::OUTPUT, hide_short_help = true)]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    timings: Option<PathBuf>,
    /// Print the plan to standard output without building
    ///
    /// The summary, the default, contains the configuration and the layers; `full` adds the
    /// distributions with reasons, and every file; `json` is for programs.
    #[arg(help_heading = heading::OUTPUT, hide_possible_values = true)]
    #[arg(long, value_enum, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "summary")]
    dry_run: Option<DryRunForm>,

    /// Environment [default: .venv, else a new one]
    ///
    /// The default virtual environment is .venv in the context, else $VIRTUAL_ENV, else a new one.
    /// Repeatable, for one platform each.
    #[arg(help_heading = heading::SOURCE)]
    #[arg(long, value_name = "[PLATFORM=]DIR", env = "IPO_OCI_VENV")]
    venv: Vec<NamedVenv>,
    /// Member of the uv workspace that contains CONTEXT; repeatable
    ///
    /// The member's folder is built, with the dependencies of the member alone.
    #[arg(help_heading = heading::SOURCE, hide_short_help = true)]
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "IPO_OCI_PACKAGE")]
    package: Vec<String>,
    /// Leave out uv's default groups
    #[arg(help_heading = heading::SOURCE, hide_short_help = true)]
    #[arg(long)]
    no_default_groups: bool,
    /// Never create a missing environment
    #[arg(help_heading = heading::SOURCE, hide_short_help = true)]
    #[arg(long, env = "IPO_OCI_NO_PROVISION", value_parser = clap::builder::FalseyValueParser::new())]
    no_provision: bool,
    /// Never run a command of the setting prepare; take the results of an earlier build
    #[arg(help_heading = heading::SOURCE, hide_short_help = true)]
    #[arg(long, env = "IPO_OCI_NO_PREPARE", value_parser = clap::builder::FalseyValueParser::new())]
    no_prepare: bool,
    /// Ignore file in place of .dockerignore
    #[arg(help_heading = heading::SOURCE, hide_short_help = true)]
    #[arg(long, value_name = "FILE", env = "IPO_OCI_IGNORE_FILE")]
    ignore_file: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingArguments,
    /// Build an image in which the check finds an error
    #[arg(help_heading = heading::LAYERS, hide_short_help = true)]
    #[arg(long, env = "IPO_OCI_NO_CHECK", value_parser = clap::builder::FalseyValueParser::new())]
    no_check: bool,
    /// Disable the health check
    #[arg(help_heading = heading::APPLICATION, hide_short_help = true)]
    #[arg(long, overrides_with = "healthcheck")]
    no_healthcheck: bool,

    /// Rebuild every layer: read from no cache, and write to none
    #[arg(help_heading = CACHE_HEADING)]
    #[arg(long, env = "IPO_OCI_NO_CACHE", value_parser = clap::builder::FalseyValueParser::new())]
    no_cache: bool,
    #[command(flatten)]
    remote_caches: RemoteCacheArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// The form of a printed plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DryRunForm {
    /// The configuration and the layers; the default
    Summary,
    /// The distributions with reasons, and every file, too
    Full,
    /// Everything, for programs
    Json,
}

/// Builds all requested targets.
pub(crate) fn run(arguments: &BuildArguments, terminal: &Terminal) -> Result<(), Failure> {
    if arguments.timings.is_some() {
        terminal.timings().start();
    }
    let outcome = build(arguments, terminal);
    // Timings are useful for failed builds too.
    match &arguments.timings {
        None => {}
        Some(file) if file.as_os_str() == "-" => terminal.print_requested(&terminal.timings().table()),
        Some(file) => write_file(file, &terminal.timings().trace())?,
    }
    outcome
}

fn build(arguments: &BuildArguments, terminal: &Terminal) -> Result<(), Failure> {
    let mut results = Results::default();
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    if arguments.has_several_projects() {
        arguments.refuse_common_names()?;
        for context in &arguments.contexts {
            let of_project = |failure: Failure| failure.of_project(printable::path(context));
            let name = arguments.project_name(context).map_err(of_project)?;
            if let Some(other) = names.insert(name.clone(), context) {
                let message =
                    format!("cannot build {}: it has the name `{name}`, as has", printable::path(context));
                return Err(Failure::usage(
                    format!("{message} {}", printable::path(other)),
                    "give each project a `name` in [tool.ipo-oci] or [project]",
                ));
            }
        }
    }
    for context in &arguments.contexts {
        let outcome = build_project(arguments, context, &mut results, terminal);
        if arguments.has_several_projects() {
            outcome.map_err(|failure| failure.of_project(printable::path(context)))?;
        } else {
            outcome?;
        }
    }
    let Results { mut metadata, plans, summary, .. } = results;
    match arguments.dry_run {
        None => {}
        Some(DryRunForm::Json) => return terminal.json(&plan::to_json(&plans)?),
        Some(DryRunForm::Full) => return Ok(()),
        Some(DryRunForm::Summary) => {
            terminal.report("--dry-run=full lists every file; --dry-run=json is for programs\n");
            return Ok(());
        }
    }
    if let Some(file) = &arguments.metadata_file {
        let value = if metadata.len() == 1 { metadata.remove(0) } else { serde_json::Value::Array(metadata) };
        write_file(file, &format!("{value:#}\n"))?;
    }
    if !reports::for_programs(&arguments.report) {
        terminal.report(&summary.render(terminal.timings().elapsed()));
    }
    Ok(())
}

/// The results of all builds of a command.
#[derive(Default)]
struct Results {
    metadata: Vec<serde_json::Value>,
    plans: Vec<Plan>,
    summary: Summary,
    /// True once an image was planned or built.
    has_any: bool,
}

/// Builds all requested images of one project.
fn build_project(
    arguments: &BuildArguments,
    context: &Path,
    results: &mut Results,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let name = arguments.project_name(context)?;
    let destinations = arguments.destinations(&name)?;
    let to_stdout = destinations.iter().any(Reference::is_standard);
    let builder = arguments.builder(context, &destinations)?;
    let targets = arguments.targets();
    for target in &targets {
        let builder = builder.clone().target(*target);
        let processes = builder.process_names()?;
        if to_stdout && targets.len() * processes.len() * arguments.contexts.len() > 1 {
            return Err(Failure::usage(
                "cannot write several images to standard output",
                "build one target and one process at a time",
            ));
        }
        if *target == Target::Builder && processes != [WEB] {
            return Err(Failure::usage(
                "cannot build a process of the builder image: it has no service",
                "leave out --process, or build the targets runtime and dev",
            ));
        }
        if results.has_any {
            terminal.report("\n");
        }
        let is_first = !std::mem::replace(&mut results.has_any, true);
        if let Some(form) = arguments.dry_run {
            let of_target = builder.plan_all(terminal)?;
            if form != DryRunForm::Json {
                print_plans(&of_target, form, is_first, terminal)?;
            }
            results.plans.extend(of_target);
            continue;
        }
        let mut outputs = Vec::new();
        for process in &processes {
            let one = builder.clone().processes(ProcessSelection::Named(vec![process.clone()]));
            let suffix = arguments.suffix(*target, process, processes.len());
            let to = arguments.all_of(&destinations, &one, &suffix)?;
            let access = arguments.access.access();
            to.iter().try_for_each(|to| store::check(&to.reference, &access))?;
            outputs.push((suffix, to, arguments.more_names(&one)?));
        }
        reports::check(&arguments.report, arguments.metadata_file.as_deref())?;
        let sets = builder.build_processes(terminal)?;
        for (number, (built, (suffix, to, more))) in sets.iter().zip(&outputs).enumerate() {
            if number > 0 {
                terminal.report("\n");
            }
            let suffix =
                if arguments.has_several_projects() { format!("-{name}{suffix}") } else { suffix.clone() };
            write_reports(arguments, built, &suffix, terminal)?;
            results.summary.add(built);
            for (index, Destination { reference, options }) in to.iter().enumerate() {
                terminal_step(terminal, reference);
                let _storing = Span::begin(terminal, Activity::WriteImage);
                let stored = built.write_to(reference, options, terminal)?;
                results.summary.stored(built, reference, &stored);
                if index == 0 {
                    let line = format!("{stored}\n");
                    if to_stdout { terminal.report(&line) } else { terminal.result(&line)? }
                }
            }
            let mut metadata = built.metadata()?;
            let names: Vec<_> = std::iter::once(built.name()).chain(more).map(Name::to_string).collect();
            metadata["image.name"] = names.join(",").into();
            results.metadata.push(metadata);
        }
    }
    Ok(())
}

/// Writes the reports of an image, one for each platform, and checks its budget.
fn write_reports(
    arguments: &BuildArguments,
    built: &BuiltSet,
    suffix: &str,
    terminal: &Terminal,
) -> Result<(), Failure> {
    for (index, image) in built.images().enumerate() {
        let of = if index == 0 { reports::ImagePosition::First } else { reports::ImagePosition::Other };
        if index > 0 {
            terminal.report("\n");
        }
        reports::write(&arguments.report, &image.report, suffix, of, terminal)?;
    }
    for image in built.images() {
        Budget::check(&image.report).map_err(Failure::gate)?;
    }
    Ok(())
}

/// Prints the plans of a target as text.
fn print_plans(plans: &[Plan], form: DryRunForm, is_first: bool, terminal: &Terminal) -> Result<(), Failure> {
    for (index, plan) in plans.iter().enumerate() {
        if index > 0 || !is_first {
            terminal.result("\n")?;
        }
        let text = if form == DryRunForm::Full { plan.describe()? } else { plan.summarize()? };
        terminal.result(&text)?;
    }
    Ok(())
}

/// The destination of an image.
struct Destination {
    reference: Reference,
    options: WriteOptions,
}

fn terminal_step(terminal: &Terminal, destination: &Reference) {
    terminal.step(&Step::on(Activity::WriteImage, destination.to_string()));
}

impl BuildArguments {
    /// Parses a command line of `build`, with the environment variables of its flags.
    pub(super) fn of_words(words: Vec<OsString>, access: &AccessArguments) -> Result<Self, Failure> {
        let command = Self::augment_args(clap::Command::new("ipo-oci build"));
        let parsed = command.try_get_matches_from(words).and_then(|matches| Self::from_arg_matches(&matches));
        let arguments = parsed.map_err(|error| {
            let text = error.kind().as_str().unwrap_or("invalid argument");
            Failure::usage(format!("cannot build the project: {text}"), error.to_string())
        })?;
        Ok(Self { access: access.clone(), ..arguments })
    }

    /// Replaces the folders by those of the members of their workspaces that `--package` names.
    pub(super) fn select_members(&mut self) -> Result<(), Failure> {
        if !self.package.is_empty() {
            let pairs =
                self.contexts.iter().flat_map(|context| self.package.iter().map(move |name| (context, name)));
            let folders = pairs.map(|(context, name)| member_folder(context, name));
            self.contexts = folders.collect::<Result<_, _>>().map_err(BuildError::from)?;
        }
        Ok(())
    }

    fn targets(&self) -> Vec<Target> {
        targets(&self.target)
    }

    fn has_several_projects(&self) -> bool {
        self.contexts.len() > 1
    }

    /// Refuses names and destinations that several projects would share.
    fn refuse_common_names(&self) -> Result<(), Failure> {
        if !self.tag.is_empty() {
            return Err(Failure::usage(
                "cannot give several projects one name",
                "leave out -t: each image has the `name` and `tag` of its project",
            ));
        }
        match self.output.iter().find(|text| !text.contains(NAME_PLACE)) {
            Some(text) => Err(Failure::usage(
                format!("cannot write several projects to `{text}`"),
                format!("write {NAME_PLACE} for the name of each image, as in oci:dist/{NAME_PLACE}"),
            )),
            None => Ok(()),
        }
    }

    /// Returns the last part of the name of a project's image.
    fn project_name(&self, context: &Path) -> Result<String, Failure> {
        let name = Builder::from_project(context)?.settings(self.settings()?).image_name()?;
        Ok(name.repository.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// Returns the destinations of the images of the project `name`.
    fn destinations(&self, name: &str) -> Result<Vec<Reference>, Failure> {
        if self.output.is_empty() && !self.push {
            let default = if self.has_several_projects() {
                format!("oci:dist/{name}")
            } else {
                "oci:dist/image".to_owned()
            };
            return Ok(vec![default.parse().map_err(Failure::argument)?]);
        }
        let destination = |text: &String| {
            Reference::destination(&text.replace(NAME_PLACE, name)).map_err(Failure::argument)
        };
        self.output.iter().map(destination).collect()
    }

    /// Returns the suffix that distinguishes an image from others of the same project. An explicit tag
    /// for a single image gets none.
    fn suffix(&self, target: Target, process: &str, processes: usize) -> String {
        let of_target = if self.targets().len() > 1 { target.tag_suffix() } else { "" };
        if processes > 1 && process != WEB { format!("{of_target}-{process}") } else { of_target.to_owned() }
    }

    /// Returns the destinations of the image of `builder`, including pushes. They are checked
    /// before the build.
    fn all_of(
        &self,
        destinations: &[Reference],
        builder: &Builder,
        suffix: &str,
    ) -> Result<Vec<Destination>, Failure> {
        let more_names = self.more_names(builder)?;
        let mut options = WriteOptions::default();
        options.extent = extent(self.shallow);
        options.more_names = more_names;
        let mut all: Vec<Destination> = destinations
            .iter()
            .map(|reference| {
                let mut options = options.clone();
                options.suffix = suffix.into();
                Destination { reference: reference.clone(), options }
            })
            .collect();
        if self.push {
            let own = builder.image_name()?;
            for name in std::iter::once(&own).chain(&options.more_names) {
                // Docker reads such a name as an official image of Docker Hub, which users cannot
                // push.
                if !name.repository.contains('/') {
                    return Err(Failure::usage(
                        format!("cannot push `{}`: its name has no registry", name.repository),
                        "name a registry with -t, such as -t ghcr.io/team/agencyos:3.0.0",
                    ));
                }
                let reference = format!("docker://{name}").parse().map_err(Failure::argument)?;
                let mut own = WriteOptions::default();
                own.extent = options.extent;
                all.push(Destination { reference, options: own });
            }
        }
        Ok(all)
    }

    /// Returns the form of the tag in `-t NAME:TAG`: exact, if given on the command line for a
    /// single image.
    fn tag_form(&self, tag: Option<&str>) -> TagForm {
        let exact = self.tag_is_written && tag.is_some() && self.targets().len() == 1;
        if exact { TagForm::Exact } else { TagForm::OfTarget }
    }

    /// Returns all names after the first.
    fn more_names(&self, builder: &Builder) -> Result<Vec<Name>, Failure> {
        let recipe = builder.resolve()?;
        let of_project = builder.project().settings.tag.clone().unwrap_or_else(|| "latest".to_owned());
        let names = self.tag.iter().skip(1).map(|text| {
            let (name, tag) = ipo_oci::reference::split_name(text)?;
            let form = self.tag_form(tag.as_deref());
            let tag = tag.unwrap_or_else(|| of_project.clone());
            let suffix = if form == TagForm::Exact { recipe.process_suffix() } else { recipe.tag_suffix() };
            Name::new(name, format!("{tag}{suffix}"))
        });
        names.collect::<Result<_, _>>().map_err(Failure::argument)
    }

    /// Returns the settings from flags and environment variables.
    fn settings(&self) -> Result<Settings, Failure> {
        let (name, tag) = match self.tag.first() {
            None => (None, None),
            Some(text) => {
                let (name, tag) = ipo_oci::reference::split_name(text).map_err(Failure::argument)?;
                (Some(name), tag)
            }
        };
        let mut settings = self.settings.0.clone();
        settings.name = name;
        settings.tag = tag;
        if self.no_default_groups {
            settings.default_groups = Some(false);
        }
        if self.no_healthcheck {
            settings.healthcheck = Some(HealthcheckSetting::Off);
        }
        Ok(settings)
    }

    /// Makes a builder from the project, the flags, and the relevant environment variables.
    pub(super) fn builder(&self, context: &Path, destinations: &[Reference]) -> Result<Builder, Failure> {
        let settings = self.settings()?;
        let mut builder = Builder::from_project(context)?
            .processes(process_selection(&self.process))
            .tag_form(self.tag_form(settings.tag.as_deref()))
            .settings(settings)
            .image_check(if self.no_check { ImageCheck::Skipped } else { ImageCheck::Required })
            .preparing(if self.no_prepare { Preparing::Never } else { Preparing::WhenChanged })
            .lock(if self.locked { Policy::Locked } else { Policy::Any })
            .provisioning(if self.no_provision || self.access.is_offline() {
                Provisioning::Never
            } else {
                Provisioning::WhenMissing
            });
        builder = project::with_environments(builder, &self.venv)?;
        if let Some(recipe) = &self.recipe {
            builder = builder.recipe(recipe);
        }
        if let Some(file) = &self.ignore_file {
            builder = builder.ignore(IgnoreSource::File(file.clone()));
        }
        builder = project::with_environment(builder)?;
        if self.no_cache {
            builder = builder.layer_reuse(LayerReuse::Never);
        }
        let access = self.access.access();
        if let Some(cache) = &access.cache {
            builder = builder.cache(cache);
        }
        builder = self.remote_caches.add_to(builder, &access)?;
        builder = builder.access(access).format(self.format.into());
        // Outputs in the context are not source: the next build would include them.
        let images = destinations.iter().filter_map(Reference::path);
        let documents = self.report.iter().filter_map(ReportArgument::file);
        let documents = documents.chain(self.metadata_file.as_deref()).chain(self.timings.as_deref());
        for path in images.chain(documents.filter(|file| file.as_os_str() != "-")) {
            builder = builder.exclude(path);
        }
        // A log grows during the build: `ipo-oci build 2>&1 | tee build.log`.
        for path in streams::files_below(context) {
            builder = builder.exclude(path);
        }
        Ok(builder)
    }
}
