//! IPO201 to IPO205: distributions and extension modules suit the image's interpreter, platform and
//! C library.
//!
//! Follows the PyPA specification "Platform compatibility tags" (PEP 600 for glibc, PEP 656 for
//! musl) and PEP 3149 for the names of extension modules.

use std::collections::BTreeMap;

use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::distributions::CheckedDistribution;
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::check::pythons::CheckedPython;
use crate::python::PythonVersion;
use crate::python::environment::platform_tags::{machine_in_suffix, suffix};
use crate::python::metadata::wheel::{Wheel, WheelTag};
use crate::tree::ImagePath;

const TAG_CODES: [&str; 3] = ["IPO201", "IPO202", "IPO203"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if reporter.wants(&TAG_CODES) {
        check_tags(image, reporter);
    }
    if reporter.wants(&["IPO204"]) {
        check_environments(image, reporter);
        check_unsearched(image, reporter);
    }
    if reporter.wants(&["IPO205"]) {
        check_modules(image, reporter);
    }
}

/// The C library of an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageLibc {
    /// The GNU C library, with its version if known.
    Glibc(Option<(u32, u32)>),
    /// musl.
    Musl,
}

impl ImageLibc {
    /// Returns the C library of the loader that `python` names.
    fn of(image: &CheckedImage, python: &CheckedPython) -> Option<Self> {
        let loader = image.elf(python.executable.as_ref()?)?.elf.interpreter?;
        if loader.contains("ld-musl") {
            return Some(Self::Musl);
        }
        if !loader.contains("/ld-linux") && !loader.contains("/ld64") {
            return None;
        }
        // The loader is a part of glibc, in the same directory.
        let (loader, _) = image.find(&ImagePath::new(&loader).ok()?)?;
        let library = loader.parent()?.join("libc.so.6").ok()?;
        let (library, _) = image.find(&library)?;
        let named = library.file_name().and_then(|name| name.strip_prefix("libc-")?.strip_suffix(".so"));
        let known = named.and_then(version).or_else(|| packaged_glibc(image));
        Some(Self::Glibc(known.or_else(|| newest_glibc(image, &library))))
    }
}

/// Returns the version of Debian's package of glibc.
fn packaged_glibc(image: &CheckedImage) -> Option<(u32, u32)> {
    let packages = image.files.view().packages();
    let package = packages.iter().find(|package| package.name == "libc6")?;
    version(package.version.split('-').next()?)
}

/// Returns the newest version that a glibc with these symbols can have. Some versions have no new symbol in
/// `libc.so.6`, such as 2.31, so the next one is possible.
fn newest_glibc(image: &CheckedImage, library: &ImagePath) -> Option<(u32, u32)> {
    let defined = image.elf(library)?.versions.defines;
    let newest = defined.iter().filter_map(|name| version(name.strip_prefix("GLIBC_")?)).max();
    newest.map(|(major, minor)| (major, minor + 1))
}

/// Returns major and minor number of `2.36` or `2.2.5`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Returns the oldest glibc for wheels of a platform tag; `None` without a requirement.
fn required_glibc(platform: &str) -> Option<(u32, u32)> {
    let rest = platform.strip_prefix("manylinux")?;
    if let Some(numbers) = rest.strip_prefix('_') {
        let mut numbers = numbers.split('_').map(str::parse);
        return Some((numbers.next()?.ok()?, numbers.next()?.ok()?));
    }
    match rest.split('_').next()? {
        "1" => Some((2, 5)),
        "2010" => Some((2, 12)),
        "2014" => Some((2, 17)),
        _ => None,
    }
}

/// Returns true if wheels of a platform tag suit the machine, and the C library of any version.
fn suits_platform(platform: &str, machine: &str, libc: Option<ImageLibc>) -> bool {
    if platform == "any" {
        return true;
    }
    let family = match libc {
        Some(ImageLibc::Glibc(_)) => !platform.starts_with("musllinux"),
        Some(ImageLibc::Musl) => !platform.starts_with("manylinux"),
        None => true,
    };
    family && platform.contains("linux") && platform.ends_with(&format!("_{machine}"))
}

fn check_tags(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let machine = image.platform.machine();
    let libraries: Vec<Option<ImageLibc>> =
        image.pythons.iter().map(|python| ImageLibc::of(image, python)).collect();
    for distribution in &image.distributions {
        let is_own = image.lookup(&distribution.info).is_some_and(CheckedNode::is_own);
        let Some(wheel) = distribution.wheel.as_ref().filter(|wheel| is_own && !wheel.root_is_purelib) else {
            continue;
        };
        let Some(python) = image.pythons.get(distribution.python) else { continue };
        let libc = libraries.get(distribution.python).copied().flatten();
        let target = WheelTarget { image, python, machine: &machine, libc };
        if let Some(found) = target.fault(wheel) {
            reporter.report(found.at(&distribution.info).of(Some(&distribution.owner())));
        }
    }
}

/// The interpreter and platform that a wheel has to suit.
struct WheelTarget<'a> {
    image: &'a CheckedImage,
    python: &'a CheckedPython,
    machine: &'a str,
    libc: Option<ImageLibc>,
}

impl WheelTarget<'_> {
    fn fault(&self, wheel: &Wheel) -> Option<Diagnostic> {
        let tags: Vec<WheelTag<'_>> = wheel.parsed_tags().collect();
        if tags.is_empty() {
            return None;
        }
        let named = wheel.tags.join(", ");
        let of_python: Vec<&WheelTag<'_>> =
            tags.iter().filter(|tag| tag.suits_python(&self.python.version)).collect();
        if of_python.is_empty() {
            let version = self.python.version.name();
            let interpreter = version.strip_prefix("python").unwrap_or(&version).to_owned();
            return Some(
                Diagnostic::new(
                    "IPO202",
                    format!("is of a wheel for {named}, and the interpreter is Python {interpreter}"),
                )
                .with_help("install the distribution with the interpreter of the image"),
            );
        }
        let platforms: Vec<&str> = of_python
            .iter()
            .flat_map(|tag| tag.platforms())
            .filter(|platform| suits_platform(platform, self.machine, self.libc))
            .collect();
        if platforms.is_empty() {
            let libc = match self.libc {
                Some(ImageLibc::Glibc(_)) => " with glibc",
                Some(ImageLibc::Musl) => " with musl",
                None => "",
            };
            let message =
                format!("is of a wheel for {named}, and the image is for {}{libc}", self.image.platform);
            return Some(
                Diagnostic::new("IPO201", message)
                    .with_help("install the distribution for the platform and C library of the image"),
            );
        }
        let required: Option<Vec<(u32, u32)>> =
            platforms.iter().map(|platform| required_glibc(platform)).collect();
        let Some(ImageLibc::Glibc(Some(have))) = self.libc else { return None };
        let (major, minor) = required?.into_iter().min().filter(|oldest| *oldest > have)?;
        let message = format!(
            "is of a wheel for glibc {major}.{minor} or newer, and the image has glibc {}.{}",
            have.0, have.1
        );
        Some(
            Diagnostic::new("IPO203", message)
                .with_help("use a base with a newer glibc, or install a wheel for an older glibc"),
        )
    }
}

/// Reports environments whose distributions are for another Python than their interpreter.
fn check_environments(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    for python in &image.pythons {
        let (Some(environment), Some(executable)) = (&python.environment, &python.executable) else {
            continue;
        };
        let is_own = image.lookup(environment).is_none_or(CheckedNode::is_own);
        let found = executable.file_name().and_then(PythonVersion::from_name).or_else(|| {
            // A program without a version in its name: the only standard library tells it.
            let libraries = versions_in(image, python.prefix.as_ref()?);
            <[PythonVersion; 1]>::try_from(libraries).ok().map(|[version]| version)
        });
        let Some(found) = found.filter(|_| is_own) else { continue };
        let (has, wants) = ((python.version.major, python.version.minor), (found.major, found.minor));
        if has != wants {
            reporter.report(
                Diagnostic::new(
                    "IPO204",
                    format!(
                        "has distributions for Python {}, and its interpreter {executable} is Python {found}",
                        python.version
                    ),
                )
                .at(environment)
                .with_help("make the environment with the interpreter of the image"),
            );
        }
    }
}

/// Returns the versions of the standard libraries below `prefix`.
fn versions_in(image: &CheckedImage, prefix: &ImagePath) -> Vec<PythonVersion> {
    let Some((lib, _)) = prefix.join("lib").ok().and_then(|lib| image.find(&lib)) else { return Vec::new() };
    let has_library = |path: &ImagePath| path.join("os.py").is_ok_and(|path| image.lookup(&path).is_some());
    let libraries = image.children(&lib).filter(|(path, node)| node.is_directory() && has_library(path));
    libraries.filter_map(|(path, _)| PythonVersion::from_name(path.file_name()?)).collect()
}

/// Reports `site-packages` beside those of an interpreter of another version, which does not search
/// them.
fn check_unsearched(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    for python in image.pythons.iter().filter(|python| python.environment.is_none()) {
        let Some(lib) = python.prefix.as_ref().and_then(|prefix| prefix.join("lib").ok()) else { continue };
        for (path, node) in image.children(&lib) {
            let Some(other) = path.file_name().and_then(PythonVersion::from_name) else { continue };
            let is_searched = |site: &ImagePath| image.pythons.iter().any(|known| known.sites.contains(site));
            let Some(site) = path.join("site-packages").ok().filter(|site| !is_searched(site)) else {
                continue;
            };
            let is_info =
                |path: &ImagePath| path.file_name().is_some_and(|name| name.ends_with(".dist-info"));
            let distributions = image
                .children(&site)
                .filter(|(path, node)| node.is_own() && node.is_directory() && is_info(path))
                .count();
            if !node.is_directory() || distributions == 0 || other.minor == python.version.minor {
                continue;
            }
            reporter.report(
                Diagnostic::new(
                    "IPO204",
                    format!(
                        "has distributions for Python {other}, and no interpreter of the image searches it: {} is Python {}",
                        python.executable.clone().unwrap_or_default(),
                        python.version
                    ),
                )
                .at(&site)
                .with_severity(Severity::Warning)
                .with_help("install the distributions with the interpreter of the image"),
            );
        }
    }
}

/// The extension modules of a distribution, or of a directory without one.
#[derive(Default)]
struct ModuleGroup {
    foreign: Vec<ImagePath>,
    has_suitable: bool,
}

fn check_modules(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let machine = image.platform.machine();
    let machine = machine_in_suffix(&machine);
    let mut groups: BTreeMap<(usize, String), ModuleGroup> = BTreeMap::new();
    for (path, _) in image.iter().filter(|(_, node)| node.is_file() && node.is_own()) {
        let Some(tag) = suffix(path.as_str()).and_then(|suffix| suffix.strip_prefix("cpython-")) else {
            continue;
        };
        let of_site = |python: &CheckedPython| python.sites.iter().any(|site| path.starts_with(site));
        let index = match image.pythons.iter().position(of_site) {
            Some(index) => index,
            None if image.is_source(path) => 0,
            None => continue,
        };
        let Some(python) = image.pythons.get(index) else { continue };
        let owner = match image.recorded_by(path) {
            Some(CheckedDistribution { name, .. }) => name.to_string(),
            None => path.parent().unwrap_or_default().to_string(),
        };
        let group = groups.entry((index, owner)).or_default();
        if suits_suffix(tag, &python.version, machine) {
            group.has_suitable = true;
        } else if !has_other_form(image, path) {
            group.foreign.push(path.clone());
        }
    }
    for ((index, _), ModuleGroup { foreign, has_suitable }) in groups {
        // A wheel may have modules for several Pythons.
        let (Some(first), false) = (foreign.first().cloned(), has_suitable) else { continue };
        let Some(python) = image.pythons.get(index) else { continue };
        reporter.report(
            Diagnostic::new(
                "IPO205",
                format!(
                    "is an extension module for another Python than {} on {}, by its name",
                    python.version.name(),
                    image.platform
                ),
            )
            .of(image.owner(&first).as_ref())
            .at_all(foreign)
            .with_help("install the distribution with the interpreter of the image"),
        );
    }
}

/// Returns true if Python loads modules with this suffix after `cpython-`: `311-x86_64-linux-gnu`.
fn suits_suffix(tag: &str, version: &PythonVersion, machine: &str) -> bool {
    let (python, platform) = tag.split_once('-').unwrap_or((tag, ""));
    let threads = if version.free_threaded { "t" } else { "" };
    // Up to 3.7, the name ends in `m`.
    let python = python.trim_end_matches('m');
    python == format!("{}{}{threads}", version.major, version.minor)
        && (platform.is_empty() || platform.starts_with(machine))
}

/// Returns true if the module exists in a form that every Python loads.
fn has_other_form(image: &CheckedImage, path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    let (Some((stem, _)), Some(parent)) = (name.split_once('.'), path.parent()) else { return false };
    ["abi3.so", "so", "py", "pyc"]
        .iter()
        .any(|form| parent.join(&format!("{stem}.{form}")).is_ok_and(|path| image.lookup(&path).is_some()))
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{SITE, TestImage};
    use crate::elf::fixture::library;

    /// Returns a glibc with the symbols of 2.31, which are those of 2.30.
    fn glibc() -> Vec<u8> {
        let mut libc = library(&[]);
        libc.defines = vec!["libc.so.6", "GLIBC_2.2.5", "GLIBC_2.30", "GLIBC_PRIVATE"];
        libc.bytes()
    }

    /// Returns an image with glibc 2.31.
    fn on_glibc() -> TestImage {
        TestImage::environment().program("lib64/libc.so.6", &glibc())
    }

    #[test]
    fn the_version_of_glibc_is_that_of_its_name_or_package() {
        let tag = "cp311-cp311-manylinux_2_31_x86_64";
        let named = |name: &str| {
            let image = TestImage::environment().program(&format!("lib64/{name}"), &glibc());
            image.link("lib64/libc.so.6", name).wheel("pkg", tag).diagnostics("IPO203").len()
        };
        assert_eq!((named("libc-2.30.so"), named("libc-2.31.so")), (1, 0));
        let packaged = |version: &str| {
            let status = format!(
                "Package: libc6\nStatus: install ok installed\nVersion: {version}\nArchitecture: amd64\n\n"
            );
            on_glibc().file("var/lib/dpkg/status", &status).wheel("pkg", tag).diagnostics("IPO203").len()
        };
        assert_eq!((packaged("2.30-8"), packaged("2.31-13+deb11u11")), (1, 0));
    }

    #[test]
    fn tags_are_compared_with_interpreter_platform_and_glibc() {
        for (tag, code) in [
            ("py3-none-any", None),
            ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", None),
            ("cp311-cp311-manylinux_2_31_x86_64", None),
            ("cp311-cp311-linux_x86_64", None),
            ("cp38-abi3-manylinux1_x86_64", None),
            ("py3-none-manylinux_2_17_x86_64", None),
            ("cp311-cp311-manylinux_2_34_x86_64", Some("IPO203")),
            ("cp311-cp311-manylinux_2_28_x86_64.manylinux_2_34_x86_64", None),
            ("cp311-cp311-manylinux_2_17_aarch64", Some("IPO201")),
            ("cp311-cp311-musllinux_1_2_x86_64", Some("IPO201")),
            ("cp311-cp311-macosx_11_0_arm64", Some("IPO201")),
            ("cp310-cp310-manylinux_2_17_x86_64", Some("IPO202")),
            ("cp312-abi3-manylinux_2_17_x86_64", Some("IPO202")),
            ("cp311-cp311t-manylinux_2_17_x86_64", Some("IPO202")),
            ("pp311-pypy311_pp73-manylinux_2_17_x86_64", Some("IPO202")),
            ("nonsense", None),
        ] {
            let found = on_glibc().wheel("pkg", tag).diagnostics("IPO201,IPO202,IPO203");
            assert_eq!(found.first().map(|found| found.code), code, "{tag}");
        }
        assert_eq!(
            on_glibc().wheel("pkg", "cp311-cp311-manylinux_2_34_x86_64").found("IPO2"),
            [format!(
                "IPO203 /{SITE}/pkg-1.dist-info: is of a wheel for glibc 2.34 or newer, and the image has glibc 2.31"
            )]
        );
    }

    #[test]
    fn a_tag_of_glibc_is_accepted_without_a_known_version() {
        let image = TestImage::environment().wheel("pkg", "cp311-cp311-manylinux_2_34_x86_64");
        assert_eq!(image.found("IPO2"), Vec::<String>::new());
    }

    #[test]
    fn an_environment_of_another_python_is_reported() {
        let image = TestImage::python()
            .file("app/.venv/pyvenv.cfg", "home = /usr/local/bin\n")
            .link("app/.venv/bin/python", "/usr/local/bin/python3.11")
            .file("app/.venv/lib/python3.12/site-packages/x.py", "");
        assert_eq!(
            image.found("IPO204"),
            [
                "IPO204 /app/.venv: has distributions for Python 3.12, and its interpreter /usr/local/bin/python3.11 is Python 3.11"
            ]
        );
        assert_eq!(TestImage::environment().found("IPO204"), Vec::<String>::new());
    }

    #[test]
    fn distributions_that_no_interpreter_searches_are_reported() {
        let site = "usr/local/lib/python3.10/site-packages";
        let image = TestImage::python().file(&format!("{site}/README.txt"), "");
        assert_eq!(image.found("IPO204"), Vec::<String>::new());
        let image = image.file(&format!("{site}/a-1.dist-info/METADATA"), "Name: a\nVersion: 1\n");
        assert_eq!(image.found("IPO204").len(), 1);
    }

    #[test]
    fn names_of_extension_modules_are_compared() {
        for (names, foreign) in [
            (&["a.cpython-311-x86_64-linux-gnu.so"][..], 0),
            (&["a.abi3.so", "b.so"], 0),
            (&["a.cpython-310-x86_64-linux-gnu.so"], 1),
            (&["a.cpython-31-x86_64-linux-gnu.so"], 1),
            (&["a.cpython-311t-x86_64-linux-gnu.so"], 1),
            (&["a.cpython-311-darwin.so", "b.cpython-311-darwin.so"], 2),
            (&["a.cpython-311-aarch64-linux-gnu.so"], 1),
            (&["a.cpython-310-x86_64-linux-gnu.so", "a.cpython-311-x86_64-linux-gnu.so"], 0),
            (&["a.cpython-310-x86_64-linux-gnu.so", "a.py"], 0),
        ] {
            let image = names
                .iter()
                .fold(TestImage::environment(), |image, name| image.file(&format!("{SITE}/p/{name}"), ""));
            let found = image.diagnostics("IPO205");
            let files: usize = found.iter().map(|found| 1 + found.others.len()).sum();
            assert_eq!(files, foreign, "{names:?}");
        }
    }
}
