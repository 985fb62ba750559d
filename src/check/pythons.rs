//! [`CheckedPython`]: the Pythons of an image, by their files.

use super::image::CheckedImage;
use super::modules;
use crate::base::NodeKind;
use crate::python::PythonVersion;
use crate::python::environment::config::{Config, SystemSitePackages};
use crate::tree::ImagePath;

/// Directories searched after the image's `PATH`.
const DIRECTORIES: [&str; 2] = ["/usr/local/bin", "/usr/bin"];

/// A Python of an image: an environment, or an interpreter with its own directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedPython {
    /// The environment, if it is one.
    pub(crate) environment: Option<ImagePath>,
    /// The program without links; `None` if the environment's link leads to none.
    pub(crate) executable: Option<ImagePath>,
    /// Major and minor number, by the names of its directories.
    pub(crate) version: PythonVersion,
    /// `sys.prefix` of the interpreter: `/usr/local`.
    pub(crate) prefix: Option<ImagePath>,
    /// The standard library.
    pub(crate) stdlib: Option<ImagePath>,
    /// Existing directories of distributions, the environment's first.
    pub(crate) sites: Vec<ImagePath>,
    /// Further directories of imports: those in `PYTHONPATH`, and in `.pth` files of `sites`.
    pub(crate) added: Vec<ImagePath>,
}

impl CheckedPython {
    /// Returns true for a path of the environment, or of the interpreter's library or distributions.
    pub(crate) fn has(&self, path: &ImagePath) -> bool {
        let directories = self.environment.iter().chain(&self.stdlib).chain(&self.sites);
        directories.into_iter().any(|directory| path.starts_with(directory))
    }
}

/// Finds the environments of `image`, else the interpreters on its `PATH` that have distributions.
pub(super) fn find(image: &CheckedImage) -> Vec<CheckedPython> {
    let markers = image.iter().filter(|(path, _)| path.file_name() == Some("pyvenv.cfg"));
    let environments: Vec<ImagePath> = markers.filter_map(|(path, _)| path.parent()).collect();
    let mut found: Vec<CheckedPython> =
        environments.iter().filter_map(|environment| of_environment(image, environment)).collect();
    let own: Vec<ImagePath> = found.iter().filter_map(|python| python.executable.clone()).collect();
    let search = image.config.variable("PATH").unwrap_or_default().to_owned();
    for directory in search.split(':').filter(|path| path.starts_with('/')).chain(DIRECTORIES) {
        let Some((directory, _)) = ImagePath::new(directory).ok().and_then(|path| image.find(&path)) else {
            continue;
        };
        let programs: Vec<ImagePath> = image
            .children(&directory)
            .filter(|(path, _)| path.file_name().is_some_and(is_python))
            .filter_map(|(path, _)| Some(image.find(path)?.0))
            .collect();
        for executable in programs {
            let is_known = own.contains(&executable)
                || found.iter().any(|known| known.executable.as_ref() == Some(&executable));
            if !is_known && let Some(python) = of_interpreter(image, &executable) {
                found.push(python);
            }
        }
    }
    for python in &mut found {
        python.added = added(image, python);
    }
    found
}

/// Returns the directories that `PYTHONPATH` and `.pth` files add.
fn added(image: &CheckedImage, python: &CheckedPython) -> Vec<ImagePath> {
    let variable = image.config.variable("PYTHONPATH").unwrap_or_default();
    let workdir = image.workdir();
    let named = variable.split(':').filter(|part| !part.is_empty());
    let named = named.filter_map(|part| image.find(&modules::relative(&workdir, part)?));
    let named = named.filter(|(_, node)| node.is_directory()).map(|(path, _)| path);
    let mut directories: Vec<ImagePath> = named.collect();
    directories.extend(modules::pth_directories(image, &python.sites).0);
    directories.retain(|directory| !python.sites.contains(directory));
    directories.dedup();
    directories
}

/// Returns the directory of the user's own distributions (`site.getusersitepackages`).
fn user_site(image: &CheckedImage, version: PythonVersion) -> Option<ImagePath> {
    let home = image.config.variable("HOME").map(str::to_owned).or_else(|| image.user().home)?;
    let site = format!(".local/lib/{}/site-packages", version.name());
    existing(image, &ImagePath::new(&home).ok()?, &site)
}

/// Returns true for `python`, `python3` and `python3.12`, also free-threaded ones.
fn is_python(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|rest| {
        rest.trim_end_matches('t').bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

/// Reads `pyvenv.cfg`.
pub(super) fn config(image: &CheckedImage, environment: &ImagePath) -> Option<Config> {
    environment.join("pyvenv.cfg").ok().and_then(|path| image.text(&path)).map(|text| Config::parse(&text))
}

fn of_environment(image: &CheckedImage, environment: &ImagePath) -> Option<CheckedPython> {
    let program = ["bin/python", "bin/python3"].iter().find_map(|name| {
        let path = environment.join(name).ok()?;
        image.lookup(&path).map(|_| path)
    });
    let executable = program.and_then(|path| Some(image.find(&path)?.0));
    let sites: Vec<(PythonVersion, ImagePath)> = ["lib", "lib64"]
        .iter()
        .flat_map(|lib| libraries(image, environment, lib))
        .filter_map(|(version, library)| Some((version, existing(image, &library, "site-packages")?)))
        .collect();
    let (version, _) = sites.first()?.clone();
    let mut of_environment: Vec<ImagePath> = sites.into_iter().map(|(_, site)| site).collect();
    of_environment.dedup();
    let prefix = executable.as_ref().and_then(|program| program.parent()?.parent());
    let stdlib = prefix.as_ref().and_then(|prefix| stdlib(image, prefix, version));
    let config = config(image, environment).unwrap_or_default();
    let inherits = config.system_site_packages == SystemSitePackages::Included;
    if inherits && let Some(prefix) = &prefix {
        of_environment.extend(system_sites(image, prefix, version));
    }
    Some(CheckedPython {
        environment: Some(environment.clone()),
        executable,
        version,
        prefix,
        stdlib,
        sites: of_environment,
        added: Vec::new(),
    })
}

fn of_interpreter(image: &CheckedImage, executable: &ImagePath) -> Option<CheckedPython> {
    let prefix = executable.parent()?.parent()?;
    let named = PythonVersion::from_name(executable.file_name()?);
    let version = match named {
        Some(version) => version,
        None => libraries(image, &prefix, "lib").next()?.0,
    };
    let stdlib = stdlib(image, &prefix, version)?;
    let mut sites = system_sites(image, &prefix, version);
    sites.extend(user_site(image, version));
    Some(CheckedPython {
        environment: None,
        executable: Some(executable.clone()),
        version,
        prefix: Some(prefix),
        stdlib: Some(stdlib),
        sites,
        added: Vec::new(),
    })
}

/// Returns the directories `lib/python3.12` below `prefix`, without links.
fn libraries(
    image: &CheckedImage,
    prefix: &ImagePath,
    lib: &str,
) -> impl Iterator<Item = (PythonVersion, ImagePath)> {
    let lib = prefix.join(lib).ok().and_then(|lib| Some(image.find(&lib)?.0));
    let found: Vec<_> = lib
        .iter()
        .flat_map(|lib| image.children(lib))
        .filter(|(_, node)| node.kind == NodeKind::Directory)
        .filter_map(|(path, _)| Some((PythonVersion::from_name(path.file_name()?)?, path.clone())))
        .collect();
    found.into_iter()
}

fn stdlib(image: &CheckedImage, prefix: &ImagePath, version: PythonVersion) -> Option<ImagePath> {
    let all = ["lib", "lib64"].iter().flat_map(|lib| libraries(image, prefix, lib));
    let mut same = all.filter(|(found, _)| (found.major, found.minor) == (version.major, version.minor));
    same.find(|(_, library)| {
        ["os.py", "os.pyc"]
            .iter()
            .any(|name| library.join(name).is_ok_and(|path| image.lookup(&path).is_some()))
    })
    .map(|(_, library)| library)
}

/// Returns the directories of an interpreter's own distributions: `site-packages`, and Debian's.
fn system_sites(image: &CheckedImage, prefix: &ImagePath, version: PythonVersion) -> Vec<ImagePath> {
    let name = version.name();
    let mut sites = Vec::new();
    for (root, below) in [
        (prefix.clone(), format!("lib/{name}/site-packages")),
        (prefix.clone(), format!("lib64/{name}/site-packages")),
        (ImagePath::root(), format!("usr/local/lib/{name}/dist-packages")),
        (prefix.clone(), "lib/python3/dist-packages".to_owned()),
    ] {
        if let Some(site) = existing(image, &root, &below)
            && !sites.contains(&site)
        {
            sites.push(site);
        }
    }
    sites
}

/// Returns the directory `below` in `root` without links, if there is one.
fn existing(image: &CheckedImage, root: &ImagePath, below: &str) -> Option<ImagePath> {
    let (path, node) = image.find(&root.join(below).ok()?)?;
    node.is_directory().then_some(path)
}
