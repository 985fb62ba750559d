//! IPO106 and IPO107: libraries that modules load by name, and programs that distributions start.

use crate::check::diagnostic::{Diagnostic, Reporter};
use crate::check::distributions::CheckedDistribution;
use crate::check::image::CheckedImage;
use crate::check::named::{self, Answer, KnownLibrary, LIBRARIES, LibraryFiles, LoadCall, PROGRAMS};
use crate::check::node::CheckedNode;
use crate::parallel;
use crate::tree::ImagePath;

/// Libraries that `CDLL(None)` has too: of the C library and the compiler.
const ALWAYS: [&str; 9] = ["c", "m", "dl", "pthread", "rt", "util", "crypt", "stdc++", "gcc_s"];
/// The largest module that is read, in bytes.
const MODULE_LIMIT: u64 = 4 << 20;
/// Parts of paths of modules for other systems, and of modules that no service imports.
const ELSEWHERE: [&str; 14] = [
    "windows",
    "win32",
    "_win",
    "macos",
    "darwin",
    "osx",
    "/mac/",
    "cygwin",
    "/tests/",
    "/test/",
    "/examples/",
    "/_examples/",
    "/docs/",
    "/demo",
];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    // Without a Python, this is a part of an image, or none that runs modules.
    if reporter.wants(&["IPO106"]) && !image.pythons.is_empty() {
        let libraries = LibraryFiles::of(image);
        check_known(image, &libraries, reporter);
        check_source(image, &libraries, reporter);
    }
    if reporter.wants(&["IPO107"]) {
        check_programs(image, reporter);
    }
}

/// Returns the distributions that the project makes.
fn own_distributions(image: &CheckedImage) -> impl Iterator<Item = &CheckedDistribution> {
    image
        .distributions
        .iter()
        .filter(|distribution| image.lookup(&distribution.info).is_some_and(CheckedNode::is_own))
}

/// Returns true if a distribution or variable of `names` is in the image.
fn is_replaced(image: &CheckedImage, names: &[&str]) -> bool {
    names.iter().any(|name| {
        image.config.variable(name).is_some() || image.distributions.iter().any(|known| &*known.name == *name)
    })
}

fn check_known(image: &CheckedImage, libraries: &LibraryFiles<'_>, reporter: &mut Reporter<'_>) {
    for distribution in own_distributions(image) {
        for library in LIBRARIES.iter().filter(|library| library.distribution == &*distribution.name) {
            if is_replaced(image, library.instead) {
                continue;
            }
            if let Some((message, help)) = verdict(libraries, library, distribution) {
                reporter.report(
                    Diagnostic::new("IPO106", message)
                        .at(&distribution.info)
                        .of(Some(&distribution.owner()))
                        .with_help(help),
                );
            }
        }
    }
}

/// Returns the message and the help, if the library of a distribution is not found.
fn verdict(
    libraries: &LibraryFiles<'_>,
    library: &KnownLibrary,
    of: &CheckedDistribution,
) -> Option<(String, String)> {
    if library.files.iter().any(|file| libraries.open(file, Some(of)) == Answer::Found) {
        return None;
    }
    let answers: Vec<Answer> = library.found.iter().map(|name| libraries.find(name, Some(of))).collect();
    if answers.contains(&Answer::Found) {
        return None;
    }
    let KnownLibrary { soname, package, .. } = library;
    // The setting helps only if the module opens the file by this name.
    if library.files.contains(soname) {
        let help = format!(
            "add the library: libraries = {{ add = [\"{soname}\"] }}, with the package {package} on the build machine, or use a base with {package}"
        );
        return Some((format!("loads {soname} by name, which is not in the image"), help));
    }
    Some((searched(library.found, soname, &answers, libraries), searched_help(library, libraries)))
}

fn searched(names: &[&str], soname: &str, answers: &[Answer], libraries: &LibraryFiles<'_>) -> String {
    let name = names.first().copied().unwrap_or(soname);
    if answers.contains(&Answer::NotInCache) {
        return format!(
            "loads a library by find_library(\"{name}\"), and /etc/ld.so.cache of the image does not list {soname}"
        );
    }
    if answers.contains(&Answer::NoSearch) {
        let there = if libraries.has(soname) { format!(", though it has {soname}") } else { String::new() };
        return format!(
            "loads a library by find_library(\"{name}\"), which finds none without ldconfig or a compiler: the image has neither{there}"
        );
    }
    format!("loads a library by find_library(\"{name}\"), and {soname} is not in the image")
}

fn searched_help(library: &KnownLibrary, libraries: &LibraryFiles<'_>) -> String {
    let package = library.package;
    match library.instead {
        [instead, ..] if instead.contains(char::is_lowercase) => {
            format!("install the distribution {instead}, or use a base that has {package} installed")
        }
        [variable, ..] if libraries.has(library.soname) => {
            format!("name the library in the variable {variable}, or use a base that has {package} installed")
        }
        _ => format!("use a base that has {package} installed"),
    }
}

/// Searches modules for other libraries: all of the source, and what distributions load during import.
fn check_source(image: &CheckedImage, libraries: &LibraryFiles<'_>, reporter: &mut Reporter<'_>) {
    let paths: Vec<&ImagePath> = image
        .iter()
        .filter(|(path, node)| {
            node.is_own() && node.is_file() && node.size <= MODULE_LIMIT && path.as_str().ends_with(".py")
        })
        .map(|(path, _)| path)
        .filter(|path| is_searched(image, path))
        .collect();
    let read = |(): &mut (), index: usize| {
        let calls = paths.get(index).map(|path| (calls(image, path), *path));
        Ok::<_, std::convert::Infallible>(calls)
    };
    let threads = if paths.len() < 64 { 1 } else { parallel::cores() };
    let found = parallel::each(paths.len(), threads, || Ok(()), read).unwrap_or_else(|never| match never {});
    for (calls, path) in found.into_iter().flatten() {
        let is_source = image.is_source(path);
        for call in calls.into_iter().filter(|call| is_source || !call.in_function) {
            let Some(message) = missing(libraries, &call, image.recorded_by(path)) else { continue };
            let found = Diagnostic::new("IPO106", format!("{message} (line {})", call.line))
                .at(path)
                .of(image.owner(path).as_ref())
                .with_help(
                    "add the library with the setting `libraries`, or use a base that has the library",
                );
            reporter.report(match image.source_file(path) {
                Some(file) => found.in_source(file, Some(call.line)),
                None => found,
            });
        }
    }
}

/// Returns true for modules of the source and of distributions, except those with known libraries.
fn is_searched(image: &CheckedImage, path: &ImagePath) -> bool {
    let text = path.as_str();
    if ELSEWHERE.iter().any(|part| text.contains(part)) {
        return false;
    }
    let of_python =
        || image.pythons.iter().any(|python| python.sites.iter().any(|site| path.starts_with(site)));
    if !of_python() {
        return image.is_source(path);
    }
    let is_known = |distribution: &CheckedDistribution| {
        LIBRARIES.iter().any(|library| library.distribution == &*distribution.name)
    };
    !image.recorded_by(path).is_some_and(is_known)
}

fn calls(image: &CheckedImage, path: &ImagePath) -> Vec<LoadCall> {
    let Some(bytes) = image.read(path).filter(|bytes| named::may_load(bytes)) else { return Vec::new() };
    named::find_calls(&String::from_utf8_lossy(&bytes))
}

fn missing(
    libraries: &LibraryFiles<'_>,
    call: &LoadCall,
    of: Option<&CheckedDistribution>,
) -> Option<String> {
    let LoadCall { files, found, .. } = call;
    let is_linux = |file: &&String| file.contains(".so") && !file.contains('/');
    // Names of other systems: `kernel32`, `CoreFoundation`, `libfoo.dylib`.
    if !files.iter().all(|file| is_linux(&file)) || !found.iter().all(|name| is_plain(name)) {
        return None;
    }
    let finds = |name: &String| ALWAYS.contains(&name.as_str()) || libraries.find(name, of) == Answer::Found;
    if files.iter().any(|file| libraries.open(file, of) == Answer::Found) || found.iter().any(finds) {
        return None;
    }
    if let Some(file) = files.first() {
        return Some(format!("loads {file} by name, which is not in the image"));
    }
    let name = found.first()?;
    Some(match libraries.find(name, of) {
        Answer::NoSearch => format!(
            "calls find_library(\"{name}\"), which finds none without ldconfig or a compiler: the image has neither"
        ),
        _ => format!("calls find_library(\"{name}\"), and lib{name} is not in the image"),
    })
}

/// Returns true for the name of a library on Linux.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_uppercase())
        && !["objc", "kernel32", "user32", "msvcrt", "ole32", "gdi32", "shell32", "advapi32"].contains(&name)
        && !["/", "\\", ".dll", ".dylib"].iter().any(|part| name.contains(part))
}

fn check_programs(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    for distribution in own_distributions(image) {
        for known in PROGRAMS.iter().filter(|known| known.distribution == &*distribution.name) {
            let is_there = known.programs.iter().any(|program| has_program(image, distribution, program));
            if is_there || is_replaced(image, known.instead) {
                continue;
            }
            let name = known.programs.first().copied().unwrap_or_default();
            reporter.report(
                Diagnostic::new("IPO107", format!("starts the program `{name}`, which is not in the image"))
                    .at(&distribution.info)
                    .of(Some(&distribution.owner()))
                    .with_help(format!(
                        "use a base that has {} installed, if the service needs the program",
                        known.package
                    )),
            );
        }
    }
}

/// Returns true if the `PATH` of the image or the environment of the distribution has the program.
fn has_program(image: &CheckedImage, distribution: &CheckedDistribution, name: &str) -> bool {
    let path = image.config.variable("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let environment = image.pythons.get(distribution.python).and_then(|python| python.environment.as_ref());
    let of_environment = environment.map(|environment| format!("{environment}/bin"));
    let directories = path.split(':').map(str::to_owned).chain(of_environment);
    let mut places = directories.filter_map(|directory| ImagePath::new(&format!("{directory}/{name}")).ok());
    places.any(|place| image.find(&place).is_some())
}
