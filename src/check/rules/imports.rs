//! IPO404: the application's source imports a module that nothing in the image provides.
//!
//! Imports are followed from the modules with which the process starts, and only those that are
//! executed whenever the module is loaded: a failure is that of the process. Imports of functions,
//! under conditions, and in a `try` that handles `ImportError` are not reported.

use std::collections::BTreeMap;

use crate::check::diagnostic::Severity;
use crate::check::diagnostic::{Diagnostic, Reporter};
use crate::check::image::CheckedImage;
use crate::check::imports::{
    DjangoApps, Lack, ProcessStart, Providers, SourceFiles, distribution_of, removed_in,
};
use crate::python::application::imports::{Followed, Start, reach};
use crate::python::application::module::{Import, Module};
use crate::tree::ImagePath;

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !reporter.wants(&["IPO404"]) {
        return;
    }
    let Some(python) = image.main_python().filter(|python| !python.sites.is_empty()) else { return };
    let process = ProcessStart::of(image, python);
    let files = SourceFiles(image);
    let mut loaded = reach(&files, &process.roots, &process.starts, Followed::Certain);
    let providers = Providers::of(image, python);
    if let Some(django) = DjangoApps::find(image, &process.roots, &loaded) {
        for found in missing_apps(image, &providers, python.version.minor.into(), &django) {
            reporter.report(found);
        }
        // A default of the settings may be replaced when the container starts.
        if django.is_certain {
            let starts: Vec<Start> = process.starts.iter().cloned().chain(django.starts()).collect();
            loaded = reach(&files, &process.roots, &starts, Followed::Certain);
        }
    }
    // One diagnostic for each module, with all files that import it.
    let mut missing: BTreeMap<(String, String), Vec<(ImagePath, usize)>> = BTreeMap::new();
    for path in loaded.keys().filter(|path| image.is_source(path)) {
        // A template, or a fault of another rule.
        let module = image.text(path).and_then(|text| Module::read(&text));
        let Some(module) = module.filter(|module| module.syntax_error.is_none()) else { continue };
        let is_program = is_program(&process.starts, path);
        let certain = |import: &&Import| import.is_certain && (is_program || !import.in_program);
        for import in module.imports.iter().filter(certain) {
            if let Some(found) = lack(image, &providers, python.version.minor.into(), path, import) {
                missing.entry(found).or_default().push((path.clone(), import.line));
            }
        }
    }
    for ((message, help), mut places) in missing {
        places.dedup_by(|later, first| later.0 == first.0);
        let Some((first, line)) = places.first().cloned() else { continue };
        let found = Diagnostic::new("IPO404", format!("{message} (line {line})"))
            .of(image.owner(&first).as_ref())
            .at_all(places.into_iter().map(|(path, _)| path))
            .with_help(help);
        reporter.report(match image.source_file(&first) {
            Some(file) => found.in_source(file, Some(line)),
            None => found,
        });
    }
}

/// Returns a diagnostic for each application of Django that nothing in the image provides.
fn missing_apps(
    image: &CheckedImage,
    providers: &Providers<'_>,
    minor: u64,
    django: &DjangoApps,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, path, line) in &django.apps {
        let Some((message, help)) = lack_of(providers.lacks(name, &[]), minor) else { continue };
        let message = message.replacen("imports", "names in INSTALLED_APPS", 1);
        let mut one = Diagnostic::new("IPO404", format!("{message} (line {line})"))
            .at(path)
            .of(image.owner(path).as_ref())
            .with_help(help);
        if !django.is_certain {
            one = one.with_severity(Severity::Warning);
        }
        found.push(match image.source_file(path) {
            Some(file) => one.in_source(file, Some(*line)),
            None => one,
        });
    }
    found
}

/// Returns true if the process runs the module as a program.
fn is_program(starts: &[Start], path: &ImagePath) -> bool {
    starts.iter().any(|start| match start {
        Start::Script(script) => script == path,
        Start::Program(name) => {
            let file = name.replace('.', "/");
            [format!("{file}.py"), format!("{file}/__main__.py")]
                .iter()
                .any(|end| path.as_str().ends_with(end.as_str()))
        }
        Start::Module(_) => false,
    })
}

/// Returns the message and the help, if nothing provides the module of an import.
fn lack(
    image: &CheckedImage,
    providers: &Providers<'_>,
    minor: u64,
    path: &ImagePath,
    import: &Import,
) -> Option<(String, String)> {
    if import.level > 0 {
        let name = missing_sibling(image, path, import)?;
        return Some((
            format!("imports {name}, which is not in the image"),
            "include the module: `ipo-oci context --why FILE` names the rule that excludes a file".to_owned(),
        ));
    }
    lack_of(providers.lacks(&import.module, &import.names), minor)
}

/// Returns the message and the help for a missing module.
fn lack_of(lack: Option<Lack>, minor: u64) -> Option<(String, String)> {
    Some(match lack? {
        Lack::Trimmed(name) => (
            format!("imports {name}, which images leave out of the standard library"),
            format!("include the module with the setting trim.remove, or do not import {name}"),
        ),
        Lack::Missing(name) => match removed_in(&name, minor) {
            Some(first) => (
                format!("imports {name}, which Python 3.{first} removed from the standard library"),
                "use an older Python, or a distribution that replaces the module".to_owned(),
            ),
            None => (
                format!(
                    "imports {name}, which no distribution, module of the source or standard library provides"
                ),
                match distribution_of(&name) {
                    Some(distribution) => format!("add {distribution} to the dependencies"),
                    None => format!("add the distribution that provides {name} to the dependencies"),
                },
            ),
        },
    })
}

/// Returns the module of a relative import that the package does not have: `.models`.
fn missing_sibling(image: &CheckedImage, path: &ImagePath, import: &Import) -> Option<String> {
    let first = import.module.split('.').next().filter(|first| !first.is_empty())?;
    let mut package = path.parent()?;
    for _ in 1..import.level {
        package = package.parent()?;
    }
    // A script has no package, and a package may extend its path.
    let init = package.join("__init__.py").ok()?;
    let text = image.text(&init).unwrap_or_default();
    if ["__path__", "sys.modules", "meta_path"].iter().any(|name| text.contains(name)) {
        return None;
    }
    let exists = ["", ".py", ".pyc"]
        .iter()
        .any(|end| package.join(&format!("{first}{end}")).is_ok_and(|path| image.find(&path).is_some()))
        || image.starting_with(&package, &format!("{first}.")).next().is_some();
    (!exists).then(|| format!("{}{first}", ".".repeat(usize::try_from(import.level).unwrap_or(1))))
}
