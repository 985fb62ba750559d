//! IPO604 to IPO607: credentials in files, in the configuration, and in the history of a repository.
//!
//! Files of distributions in `RECORD` are not searched: public wheels have keys for their tests, and
//! everybody may read them.

use std::collections::BTreeSet;

use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::check::secrets::{self, CredentialFile, Credentials, FoundSecret};
use crate::parallel;
use crate::plural::counted;
use crate::tree::{ImagePath, Owner};

const FILE_CODES: [&str; 2] = ["IPO604", "IPO605"];
/// The largest file that is searched, in bytes: larger ones are data.
const SIZE_LIMIT: u64 = 1 << 20;
/// The number of bytes in which a binary file has a NUL.
const SNIFFED: usize = 8 << 10;
/// Files without text, by their endings.
const BINARY: [&str; 30] = [
    ".pyc", ".so", ".a", ".o", ".png", ".jpg", ".jpeg", ".gif", ".ico", ".webp", ".avif", ".woff", ".woff2",
    ".ttf", ".otf", ".eot", ".gz", ".bz2", ".xz", ".zst", ".zip", ".whl", ".jar", ".pdf", ".mo", ".wasm",
    ".mp3", ".mp4", ".npy", ".parquet",
];
/// Directories of other people's packages, and git's objects.
const FOREIGN: [&str; 6] =
    ["node_modules", "bower_components", "site-packages", "dist-packages", ".git", "__pycache__"];
/// Directories of an operating system's packages, in images of other tools.
const SYSTEM: [&str; 8] = ["usr/", "lib/", "lib64/", "bin/", "sbin/", "var/lib/", "boot/", "opt/"];
/// Names of directories with keys that protect nothing.
const TESTS: [&str; 8] = ["test", "tests", "testing", "testdata", "fixtures", "examples", "docs", "e2e"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if reporter.wants(&FILE_CODES) {
        check_files(image, reporter);
    }
    if reporter.wants(&["IPO606"]) {
        check_configuration(image, reporter);
    }
    if reporter.wants(&["IPO607"]) {
        check_repositories(image, reporter);
    }
}

/// The findings in one file.
enum FoundInFile {
    Named(CredentialFile, Option<usize>),
    Content(Vec<FoundSecret>),
}

fn check_files(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let unlisted = UnlistedDistributions::of(image);
    let paths: Vec<&ImagePath> = image
        .iter()
        .filter(|(path, node)| is_searched(image, path, node) && !unlisted.has(path))
        .map(|(path, _)| path)
        .collect();
    let threads = if paths.len() < 16 { 1 } else { parallel::cores() };
    let search = |(): &mut (), index: usize| {
        Ok::<_, std::convert::Infallible>(paths.get(index).and_then(|path| search_file(image, path)))
    };
    let found =
        parallel::each(paths.len(), threads, || Ok(()), search).unwrap_or_else(|never| match never {});
    for (path, found) in paths.into_iter().zip(found) {
        match found {
            Some(FoundInFile::Named(file, line)) => report_named(image, path, file, line, reporter),
            Some(FoundInFile::Content(secrets)) => {
                for secret in secrets {
                    report_secret(image, path, &secret, reporter);
                }
            }
            None => {}
        }
    }
}

/// Returns true for a file that nobody else publishes: not of a distribution, the interpreter or a
/// system package.
fn is_searched(image: &CheckedImage, path: &ImagePath, node: &CheckedNode) -> bool {
    if !node.is_own() || !node.is_file() || node.size == 0 || node.size > SIZE_LIMIT {
        return false;
    }
    let is_published = match &node.owner {
        Some(Owner::Source | Owner::Extra { .. }) => false,
        Some(Owner::Environment) => image.recorded_by(path).is_some(),
        Some(_) => true,
        None => {
            let text = path.as_str();
            let is_system = SYSTEM.iter().any(|directory| text.starts_with(directory));
            image.recorded_by(path).is_some()
                || image
                    .pythons
                    .iter()
                    .any(|python| python.stdlib.as_ref().is_some_and(|stdlib| path.starts_with(stdlib)))
                || is_system && !text.starts_with("usr/src/") && !image.is_source(path)
        }
    };
    let name = path.file_name().unwrap_or_default();
    let of_python = image.pythons.iter().any(|python| python.sites.iter().any(|site| path.starts_with(site)));
    let is_foreign = || path.components().any(|part| FOREIGN.contains(&part));
    !is_published
        && (of_python || CredentialFile::of(path.as_str()).is_some() || !is_foreign())
        && !path.components().any(|part| part == "__pycache__")
        && !BINARY.iter().any(|end| name.ends_with(end))
}

/// Top-level names of distributions without `RECORD`, whose files nobody lists.
struct UnlistedDistributions(BTreeSet<ImagePath>);

impl UnlistedDistributions {
    fn of(image: &CheckedImage) -> Self {
        let unlisted = image.distributions.iter().filter(|distribution| distribution.files.is_empty());
        let names = unlisted.flat_map(|distribution| {
            let listed = distribution.info.join("top_level.txt").ok().and_then(|path| image.text(&path));
            let names: Vec<String> =
                listed.unwrap_or_default().lines().map(|line| line.trim().to_owned()).collect();
            let places = names.into_iter().flat_map(|name| [format!("{name}.py"), name]);
            places
                .filter_map(|name| distribution.site.join(&name).ok())
                .chain([distribution.info.clone()])
                .collect::<Vec<_>>()
        });
        Self(names.collect())
    }

    fn has(&self, path: &ImagePath) -> bool {
        self.0.iter().any(|directory| path.starts_with(directory))
    }
}

fn search_file(image: &CheckedImage, path: &ImagePath) -> Option<FoundInFile> {
    let bytes = image.read(path)?;
    let file = CredentialFile::of(path.as_str());
    let is_binary = memchr::memchr(0, bytes.get(..bytes.len().min(SNIFFED)).unwrap_or_default()).is_some();
    if is_binary {
        return file
            .filter(|file| *file == CredentialFile::KeyStore)
            .map(|file| FoundInFile::Named(file, None));
    }
    let read = file.map(|file| (file, file.credentials(&String::from_utf8_lossy(&bytes))));
    if let Some((file, Credentials::Present(line))) = read {
        return Some(FoundInFile::Named(file, Some(line)));
    }
    let secrets = match file {
        Some(CredentialFile::Index) => secrets::find_in_urls(&bytes),
        _ => secrets::find(&bytes),
    };
    if !secrets.is_empty() {
        return Some(FoundInFile::Content(secrets));
    }
    match read {
        Some((file, Credentials::Possible)) => Some(FoundInFile::Named(file, None)),
        _ => None,
    }
}

fn report_named(
    image: &CheckedImage,
    path: &ImagePath,
    file: CredentialFile,
    line: Option<usize>,
    reporter: &mut Reporter<'_>,
) {
    let message = match line {
        Some(line) => format!("is {}, with a secret in line {line}", file.noun()),
        None => format!("is {}", file.noun()),
    };
    let found = Diagnostic::new("IPO604", message).at(path).of(image.owner(path).as_ref()).with_help(
        "exclude the file in .dockerignore, and mount it or set its values when the container starts",
    );
    let found =
        if line.is_none() || is_of_tests(path) { found.with_severity(Severity::Warning) } else { found };
    reporter.report(placed(image, path, line, found));
}

fn report_secret(image: &CheckedImage, path: &ImagePath, secret: &FoundSecret, reporter: &mut Reporter<'_>) {
    let found = Diagnostic::new("IPO605", format!("contains {} in line {}", described(secret), secret.line))
        .at(path)
        .of(image.owner(path).as_ref())
        .with_help("exclude the file or remove the secret, revoke it, and pass the new one when the container starts");
    let severity = if is_of_tests(path) { Severity::Warning } else { secret.severity };
    reporter.report(placed(image, path, Some(secret.line), found.with_severity(severity)));
}

fn placed(image: &CheckedImage, path: &ImagePath, line: Option<usize>, found: Diagnostic) -> Diagnostic {
    match image.source_file(path) {
        Some(file) => found.in_source(file, line),
        None => found,
    }
}

/// Describes a secret by its kind, its first characters and its length.
fn described(secret: &FoundSecret) -> String {
    let article = if secret.noun.starts_with(['a', 'A']) { "an" } else { "a" };
    match secret.noun {
        "private key" | "private key of PuTTY" => format!("{article} {}", secret.noun),
        noun => {
            format!("{article} {noun} ({}…, {})", secret.start, counted(secret.length as u64, "character"))
        }
    }
}

fn is_of_tests(path: &ImagePath) -> bool {
    path.components().any(|part| TESTS.contains(&part))
        || path.file_name().is_some_and(|name| name.starts_with("test_") || name.ends_with("_test.py"))
}

fn check_configuration(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let config = &image.config;
    let mut texts: Vec<(String, &str)> = Vec::new();
    texts.extend(config.env.iter().map(|(name, value)| (format!("the variable {name}"), value.as_str())));
    texts.extend(config.labels.iter().map(|(name, value)| (format!("the label {name}"), value.as_str())));
    let words = config.entrypoint.iter().chain(&config.cmd).chain(&config.healthcheck);
    texts.extend(words.map(|word| ("the command".to_owned(), word.as_str())));
    texts.extend(config.history.iter().map(|line| ("the history".to_owned(), line.as_str())));
    let help = "remove the value, revoke the secret, and pass the new one when the container starts";
    for (place, text) in &texts {
        for secret in secrets::find(text.as_bytes()) {
            reporter.report(
                Diagnostic::new("IPO606", format!("{place} contains {}", described(&secret)))
                    .with_severity(secret.severity)
                    .with_help(help),
            );
        }
    }
    let mut seen = BTreeSet::new();
    let pairs = config.env.iter().map(|(name, value)| (name.as_str(), value.as_str(), "the variable"));
    // Arguments of a build and `ENV` are words of the history.
    let history = config.history.iter().flat_map(|line| line.split_whitespace());
    let arguments =
        history.filter_map(|word| word.split_once('=')).map(|(name, value)| (name, value, "the history's"));
    for (name, value, place) in pairs.chain(arguments) {
        let is_known = !secrets::is_secret_name(name)
            || !secrets::is_strong(value)
            || !secrets::find(value.as_bytes()).is_empty();
        if !is_known && seen.insert(name) {
            let start: String = value.chars().take(4).collect();
            let length = counted(value.chars().count() as u64, "character");
            reporter.report(
                Diagnostic::new(
                    "IPO606",
                    format!("{place} {name} seems to be a secret ({start}…, {length})"),
                )
                .with_severity(Severity::Warning)
                .with_help(help),
            );
        }
    }
}

fn check_repositories(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    for (path, node) in image.iter() {
        let is_repository = node.is_own()
            && node.is_directory()
            && path.file_name() == Some(".git")
            && path.join("HEAD").is_ok_and(|head| image.lookup(&head).is_some());
        if is_repository {
            reporter.report(
                Diagnostic::new(
                    "IPO607",
                    "is a git repository: all versions of all files, and the addresses of remotes",
                )
                .at(path)
                .of(image.owner(path).as_ref())
                .with_help("exclude `**/.git` in .dockerignore"),
            );
        }
    }
}
