//! `ipo-oci check`: finds faults of an image before it is started.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ipo_oci::check::{CheckFormat, CheckOptions, CheckReport, CheckedImage, RuleSelection, check, rule};
use ipo_oci::platform::Platform;
use ipo_oci::recipe::ResolvedCheck;
use ipo_oci::settings::Size;
use ipo_oci::store;

use super::access::AccessArguments;
use super::failure::Failure;
use super::pages;
use super::project::{ProjectArguments, image_reference, is_project};
use super::terminal::{self, Terminal};

/// Arguments of `ipo-oci check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// Folder of a project, or an image: oci:DIR[:TAG], oci-archive:FILE[:TAG],
    /// docker-archive:FILE[:NAME:TAG], docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]
    #[arg(default_value = ".", value_name = "PROJECT|REF")]
    subject: String,
    /// Apply these rules: codes, beginnings of codes, names [default: all]
    #[arg(long, value_name = "RULE,…", value_delimiter = ',', env = "IPO_OCI_CHECK_SELECT")]
    select: Vec<String>,
    /// Leave these rules out; the longer code of both takes precedence
    #[arg(long, value_name = "RULE,…", value_delimiter = ',', env = "IPO_OCI_CHECK_IGNORE")]
    ignore: Vec<String>,
    /// Print the reason and the way out of a rule
    #[arg(long, value_name = "RULE", conflicts_with = "subject")]
    explain: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: FormatChoice,
    #[command(flatten)]
    project: ProjectArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatChoice {
    /// Messages for people
    Text,
    /// JSON
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub's workflows
    Github,
}

impl From<FormatChoice> for CheckFormat {
    fn from(choice: FormatChoice) -> Self {
        match choice {
            FormatChoice::Text => Self::Text,
            FormatChoice::Json => Self::Json,
            FormatChoice::Sarif => Self::Sarif,
            FormatChoice::Github => Self::Github,
        }
    }
}

impl CheckArguments {
    /// Returns the options of the settings; flags replace the rules.
    fn options(&self, settings: &ResolvedCheck, max_size: Option<Size>) -> Result<CheckOptions, Failure> {
        let mut options = CheckOptions::of_settings(settings, max_size)?;
        if !self.select.is_empty() || !self.ignore.is_empty() {
            options.selection = RuleSelection::new(&self.select, &self.ignore).map_err(Failure::argument)?;
        }
        Ok(options)
    }
}

/// Checks, and prints the diagnostics to standard output.
pub(crate) fn run(arguments: &CheckArguments, terminal: &Terminal) -> Result<(), Failure> {
    if let Some(text) = &arguments.explain {
        let known = rule(text).and_then(|rule| pages::rule(rule.code));
        let Some(section) = known else {
            let Err(error) = RuleSelection::new(std::slice::from_ref(text), &[]) else {
                return Err(Failure::usage(
                    format!("`{text}` names several rules"),
                    "run `ipo-oci help checks` for all rules",
                ));
            };
            return Err(Failure::argument(error));
        };
        return terminal.result(&section);
    }
    let reports = reports(arguments, terminal)?;
    let format = arguments.format.into();
    let text = CheckReport::render_all(&reports, format, terminal::standard_output_style());
    match format {
        CheckFormat::Text => terminal.bytes(text.as_bytes())?,
        _ => terminal.json(&text)?,
    }
    match reports.iter().map(CheckReport::errors).sum::<usize>() {
        0 => Ok(()),
        1 => Err(Failure::found("the check found an error", help())),
        errors => Err(Failure::found(format!("the check found {errors} errors"), help())),
    }
}

fn help() -> String {
    "run `ipo-oci check --explain CODE` for the reason of a rule, and leave a rule out with --ignore CODE"
        .to_owned()
}

/// Returns the folder of a project as output names it: for code scanning relative to the repository, else
/// to the current directory.
fn folder_of_places(folder: &Path, format: FormatChoice) -> PathBuf {
    let (Ok(project), Ok(current)) = (folder.canonicalize(), Path::new(".").canonicalize()) else {
        return folder.to_owned();
    };
    let is_scanned = matches!(format, FormatChoice::Sarif | FormatChoice::Github);
    let repository = project.ancestors().find(|folder| folder.join(".git").exists()).filter(|_| is_scanned);
    let below = project.strip_prefix(repository.unwrap_or(&current));
    below.map_or_else(|_| folder.to_owned(), Path::to_owned)
}

fn reports(arguments: &CheckArguments, terminal: &Terminal) -> Result<Vec<CheckReport>, Failure> {
    let folder = Path::new(&arguments.subject);
    if is_project(&arguments.subject) {
        let builder = arguments.project.builder(folder, &arguments.access)?;
        let mut reports = Vec::new();
        for target in arguments.project.targets() {
            let builder = builder.clone().target(target);
            let recipe = builder.resolve()?;
            let options = arguments.options(&recipe.check, recipe.max_size)?;
            reports.extend(builder.check(&options, terminal)?);
        }
        let folder = folder_of_places(folder, arguments.format);
        for report in &mut reports {
            report.folder.clone_from(&folder);
        }
        return Ok(reports);
    }
    let settings = arguments.project.settings();
    let options = arguments.options(&ResolvedCheck::default(), settings.max_size)?;
    let reference = image_reference(&arguments.subject)?;
    let access = arguments.access.access();
    let platforms = arguments.project.platforms();
    let images = match platforms.as_slice() {
        [] => vec![store::open_image(&reference, None, &access)?],
        some => some
            .iter()
            .map(|platform: &Platform| store::open_image(&reference, Some(platform), &access))
            .collect::<Result<_, _>>()?,
    };
    let cache = access.cache.as_deref();
    images
        .iter()
        .map(|image| {
            let checked = CheckedImage::of_image(image, cache, terminal)?;
            Ok(check(&reference.to_string(), &checked, &options))
        })
        .collect()
}
