//! `ipo-oci resolve`: builds and pushes the images that manifests name by project.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ipo_oci::builder::ProcessSelection;
use ipo_oci::deploy::{ManifestText, ProjectImage};
use ipo_oci::error::FileError;
use ipo_oci::printable;
use ipo_oci::progress::{Activity, Progress as _, Step};
use ipo_oci::reference::{Place, Reference};
use ipo_oci::settings::Settings;
use ipo_oci::store::WriteOptions;

use super::access::AccessArguments;
use super::arguments::FormatArgument;
use super::failure::Failure;
use super::heading;
use super::project::ProjectArguments;
use super::reports::write_file;
use super::terminal::Terminal;

/// Names of files of manifests.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Arguments of `ipo-oci resolve`.
#[derive(Args, Debug)]
#[command(mut_arg("process", |argument| argument.hide(true)))]
pub(crate) struct ResolveArguments {
    /// Manifest, folder of manifests, or - for standard input; repeatable
    #[arg(short, long, value_name = "FILE|DIR", required = true)]
    filename: Vec<PathBuf>,
    /// Read the folders below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Folder for the resolved files [default: standard output]
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Registry and prefix of the images' names [default: the projects' names]
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(long, value_name = "REGISTRY/PREFIX", env = "IPO_OCI_REPOSITORY")]
    repository: Option<String>,
    /// Build the images for their digests, and push none
    #[arg(help_heading = heading::OUTPUT)]
    #[arg(long)]
    no_push: bool,
    /// Media types of the images
    #[arg(help_heading = heading::IMAGE, hide_short_help = true)]
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "oci", env = "IPO_OCI_FORMAT")]
    format: FormatArgument,
    #[command(flatten)]
    project: ProjectArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// A file of manifests.
struct ManifestFile {
    /// The name below the folder of the output.
    name: PathBuf,
    manifest: ManifestText,
}

/// Resolves the manifests.
pub(crate) fn run(arguments: &ResolveArguments, terminal: &Terminal) -> Result<(), Failure> {
    let files = arguments.files()?;
    let mut projects: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for image in files.iter().flat_map(|file| file.manifest.images()) {
        projects.entry(&image.project).or_default().insert(&image.process);
    }
    let mut references = BTreeMap::new();
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (project, processes) in projects {
        let of_project = |failure: Failure| failure.of_project(printable::name(project));
        for (image, name, reference) in arguments.build(project, &processes, terminal).map_err(of_project)? {
            if let Some(other) = names.insert(name.clone(), project)
                && other != project
            {
                return Err(Failure::usage(
                    format!("cannot push the images of {other} and {project}: both have the name {name}"),
                    "give each project a `name` in [tool.ipo-oci] or [project]",
                ));
            }
            references.insert(image, reference);
        }
    }
    match &arguments.output {
        None => {
            let texts: Vec<String> = files.iter().map(|file| file.manifest.resolved(&references)).collect();
            terminal.bytes(joined(&texts).as_bytes())
        }
        Some(folder) => files.iter().try_for_each(|file| {
            let path = folder.join(&file.name);
            let parent = path.parent().unwrap_or(folder);
            fs_err::create_dir_all(parent).map_err(|error| FileError::new("create", parent, error))?;
            write_file(&path, &file.manifest.resolved(&references))
        }),
    }
}

/// Joins files to one stream of documents. A single file stays as it is.
fn joined(texts: &[String]) -> String {
    let mut stream = String::new();
    for text in texts {
        if !stream.is_empty() {
            if !stream.ends_with('\n') {
                stream.push('\n');
            }
            if !text.starts_with("---") {
                stream.push_str("---\n");
            }
        }
        stream.push_str(text);
    }
    stream
}

impl ResolveArguments {
    /// Reads the manifests in the order of the arguments, those of a folder by name.
    fn files(&self) -> Result<Vec<ManifestFile>, Failure> {
        let mut files = Vec::new();
        for path in &self.filename {
            if path.as_os_str() == "-" {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|error| FileError::new("read", "standard input", error))?;
                let manifest = ManifestText::parse("standard input", bytes).map_err(Failure::failed)?;
                files.push(ManifestFile { name: "manifest.yaml".into(), manifest });
            } else if path.is_dir() {
                let found = self.files_of(path)?;
                if found.is_empty() {
                    return Err(Failure::usage(
                        format!("manifest not found: no file *.yaml, *.yml or *.json in {}", path.display()),
                        "name a file, or pass -R to read the folders below",
                    ));
                }
                for file in found {
                    let name = file.strip_prefix(path).unwrap_or(&file).to_owned();
                    files.push(read(&file, name)?);
                }
            } else {
                let name = path.file_name().unwrap_or_default().into();
                files.push(read(path, name)?);
            }
        }
        Ok(files)
    }

    fn files_of(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let entries = fs_err::read_dir(folder).map_err(|error| FileError::new("read", folder, error))?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|error| FileError::new("read", folder, error))?.path());
        }
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let is_manifest = path
                .extension()
                .and_then(|text| text.to_str())
                .is_some_and(|text| EXTENSIONS.contains(&text));
            if path.is_dir() && self.recursive && !path.is_symlink() {
                files.extend(self.files_of(&path)?);
            } else if path.is_file() && is_manifest {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Builds and pushes images of a project. Returns each with its name and its reference by digest.
    fn build(
        &self,
        project: &str,
        processes: &BTreeSet<&str>,
        terminal: &Terminal,
    ) -> Result<Vec<(ProjectImage, String, String)>, Failure> {
        let [target] = self.project.targets()[..] else {
            return Err(Failure::usage("cannot resolve several targets", "name one with --target"));
        };
        let selected = processes.iter().map(|name| (*name).to_owned()).collect();
        let mut builder = self
            .project
            .builder(Path::new(project), &self.access)?
            .target(target)
            .format(self.format.into())
            .processes(ProcessSelection::Named(selected));
        if let Some(prefix) = &self.repository {
            let name = builder.image_name()?.repository;
            let last = name.rsplit('/').next().unwrap_or_default();
            let mut settings = Settings::default();
            settings.name = Some(format!("{}/{last}", prefix.trim_end_matches('/')));
            builder = builder.settings(settings);
        }
        // An impossible destination is reported before the build.
        let name = builder.image_name()?.to_string();
        if Reference::destination(&name).is_err() {
            return Err(Failure::usage(
                format!("the name `{name}` has no registry"),
                "pass --repository REGISTRY/PREFIX, or set `name` in [tool.ipo-oci] to REGISTRY/NAME",
            ));
        }
        let mut resolved = Vec::new();
        for set in builder.build_processes(terminal)? {
            let reference = Reference::destination(&set.name().to_string()).map_err(Failure::argument)?;
            if !self.no_push {
                terminal.step(&Step::on(Activity::WriteImage, reference.to_string()));
                set.write_to(&reference, &WriteOptions::default(), terminal)?;
            }
            let Place::Remote(name) = &reference.place else { continue };
            let digest = set.artifact()?.digest();
            let image = ProjectImage::new(project, set.process_name());
            resolved.push((image, set.name().to_string(), format!("{}@{digest}", name.path())));
        }
        Ok(resolved)
    }
}

fn read(path: &Path, name: PathBuf) -> Result<ManifestFile, Failure> {
    let bytes = fs_err::read(path).map_err(|error| FileError::new("read", path, error))?;
    let manifest = ManifestText::parse(&path.display().to_string(), bytes).map_err(Failure::failed)?;
    Ok(ManifestFile { name, manifest })
}
