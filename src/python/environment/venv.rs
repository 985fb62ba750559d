//! [`Venv`]: a virtual environment of this machine, found and read.
//!
//! PEP 405 defines its form: a directory with `pyvenv.cfg`, an interpreter in `bin/`, usually a
//! chain of links to another, and packages in `lib/pythonX.Y/site-packages`. Environments of `venv`
//! and pip, uv and virtualenv are read; conda environments are not. With
//! `include-system-site-packages` the base interpreter's distributions are read too, as if
//! installed in the environment; the environment's own distributions take precedence, as in Python.

use std::path::{Path, PathBuf};

use super::config::{Config, SystemSitePackages};
use super::discover::discover;
use super::distribution::{Distribution, DistributionOrigin, Site};
use super::error::{ForeignKind, VenvError};
use super::listing::{self, FileListing, ListingEntry};
use super::machine::machine_of;
use super::scheme::{self, InstallScheme};
use super::version::PythonVersion;
use crate::error::FileError;
use crate::platform::Platform;
use crate::progress::Warning;
use crate::traced_fs;
use crate::tree::HostFile;

/// Linux resolves as many links in one path before it fails with `ELOOP`.
const LINKS: usize = 40;

/// The largest `pyvenv.cfg` read, in bytes.
const CONFIG_LIMIT: u64 = 1 << 20;

/// A virtual environment with its installed distributions.
#[derive(Debug, Clone)]
pub struct Venv {
    /// The environment's directory, absolute and without links.
    pub root: PathBuf,
    /// The environment's directory, absolute, as the caller spelled its path.
    pub given: PathBuf,
    /// The contents of `pyvenv.cfg`.
    pub config: Config,
    /// The interpreter from which the environment was made: the file at the end of the links of
    /// `bin/python`, or with `--copies` the copied one. May be `None` if the image's base has a
    /// Python.
    pub interpreter: Option<PathBuf>,
    /// The links from `bin/python` to the interpreter, in order.
    pub links: Vec<PathBuf>,
    /// The version of the interpreter that runs the environment in the image.
    pub version: PythonVersion,
    /// The machine of that interpreter, as in `uname -m`.
    pub machine: String,
    /// The directories of packages below `root`: `lib/python3.11/site-packages`, and the one in
    /// `lib64` unless `lib64` is a link.
    pub site_packages: Vec<String>,
    /// The installed distributions, ordered by normalized name.
    pub distributions: Vec<Distribution>,
    /// All files and links, by their path below `root`.
    pub listing: FileListing,
    /// Warnings collected while reading.
    pub warnings: Vec<Warning>,
}

/// The interpreter that runs an environment in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner<'a> {
    /// The interpreter from which the environment was made. Opening fails without it.
    Own,
    /// An interpreter of the image's base. `bin/python` may be dangling or a program for another
    /// machine; the layouts of `pip install --prefix` and `--target` and of uv's equivalents,
    /// without a `pyvenv.cfg`, are read too.
    Base {
        /// The image's platform.
        platform: &'a Platform,
        /// The version of the base's interpreter, if known; `--target` does not record one.
        python: Option<PythonVersion>,
    },
}

/// The value of `--venv`: `DIR`, or `PLATFORM=DIR` for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedVenv {
    /// The platform of the environment, if given.
    pub platform: Option<Platform>,
    /// The directory.
    pub directory: PathBuf,
}

impl std::str::FromStr for NamedVenv {
    type Err = std::convert::Infallible;

    /// Takes the part before `=` for a platform only if it parses as one: a directory's name may
    /// contain `=`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split_once('=').and_then(|(platform, directory)| {
            Some(Self { platform: Some(platform.parse().ok()?), directory: directory.into() })
        });
        Ok(named.unwrap_or_else(|| Self { platform: None, directory: text.into() }))
    }
}

/// Finds a project's environment: `explicit` (`--venv`), else `.venv` in `context`, else
/// `virtual_env` (the value of `$VIRTUAL_ENV`). An explicit or active environment is returned even
/// if missing, so that opening fails with its path.
pub fn find(explicit: Option<&Path>, context: &Path, virtual_env: Option<&Path>) -> Option<PathBuf> {
    let beside = context.join(".venv");
    explicit
        .map(Path::to_path_buf)
        .or_else(|| traced_fs::is_there(&beside).then_some(beside))
        .or_else(|| virtual_env.filter(|path| !path.as_os_str().is_empty()).map(Path::to_path_buf))
}

impl Venv {
    /// Opens the environment in `dir` for the interpreter from which the environment was made.
    pub fn open(dir: &Path) -> Result<Self, VenvError> {
        Self::open_for(dir, &Runner::Own)
    }

    /// Returns the version of Python for which the environment in `dir` was made, without reading its distributions.
    pub fn version_of(dir: &Path) -> Option<PythonVersion> {
        let config = read_config(dir).unwrap_or_default();
        scheme::version(dir, &config, None).ok().map(|(version, _)| version)
    }

    /// Opens the environment in `dir` for the interpreter of `runner`.
    ///
    /// # Errors
    /// [`VenvError::OtherPython`] names both versions if the environment was made for another
    /// Python than the base's.
    pub fn open_for(dir: &Path, runner: &Runner<'_>) -> Result<Self, VenvError> {
        let absent = |reason| VenvError::Absent { path: dir.to_path_buf(), reason };
        let root = match traced_fs::canonicalize(dir) {
            Ok(root) if traced_fs::is_dir(&root) => root,
            Ok(_) => return Err(absent("not a directory")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(absent("no such directory"));
            }
            Err(error) => return Err(FileError::new("read", dir, error).into()),
        };
        let given = std::path::absolute(dir).map_err(FileError::of("read", dir))?;
        if root.to_str().is_none() || given.to_str().is_none() {
            return Err(VenvError::NotUtf8(root));
        }
        let mut packages = InstallScheme::Prefix;
        let (config, interpreter, links, version, machine) = match *runner {
            Runner::Own => {
                let config = read_config(&root)?;
                let (interpreter, links) = follow_interpreter(&root, &config)?;
                let version = interpreter_version(&root, &interpreter, &config)?;
                let machine = machine_of(&interpreter)?;
                (config, Some(interpreter), links, version, machine)
            }
            Runner::Base { platform, python } => {
                let config = match read_config(&root) {
                    Err(VenvError::Foreign { found: ForeignKind::NoConfig, .. })
                        if scheme::has_packages(&root) =>
                    {
                        Config::default()
                    }
                    read => read?,
                };
                let (version, found) = scheme::version(&root, &config, python)?;
                packages = found;
                // Used only to distinguish copies of the interpreter in `bin` from other programs.
                let (interpreter, links) = follow_interpreter(&root, &config).ok().unzip();
                (config, interpreter, links.unwrap_or_default(), version, platform.machine())
            }
        };
        let mut site_packages = match packages {
            InstallScheme::Prefix => vec![site_packages(&root, version)?],
            InstallScheme::Target => vec![scheme::purelib(version)],
        };
        let other = format!("lib64/{}/site-packages", version.name());
        let lib64_is_own = traced_fs::file_type(root.join("lib64")).is_ok_and(|kind| kind.is_dir());
        if lib64_is_own && traced_fs::is_dir(root.join(&other)) {
            site_packages.push(other);
        }
        let mut listing = listing::list(&root)?;
        if packages == InstallScheme::Target {
            listing = scheme::as_environment(listing, version);
        }
        let mut venv = Self {
            listing,
            root,
            given,
            config,
            interpreter,
            links,
            version,
            machine,
            site_packages,
            distributions: Vec::new(),
            warnings: Vec::new(),
        };
        venv.read_distributions()?;
        if packages == InstallScheme::Target {
            scheme::settle_commands(&mut venv.listing, &mut venv.distributions, version);
        }
        match (venv.config.system_site_packages, runner) {
            (SystemSitePackages::Excluded, _) => {}
            (SystemSitePackages::Included, Runner::Own) => venv.read_system_distributions()?,
            (SystemSitePackages::Included, Runner::Base { .. }) => venv.warnings.push(
                Warning::new(
                    venv.given.display().to_string(),
                    "includes the distributions of its interpreter, which an image on a base does not have",
                )
                .with_help("install the dependencies of the project into the environment itself"),
            ),
        }
        venv.distributions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(venv)
    }

    /// Refuses an environment that includes the distributions of its interpreter.
    pub fn refuse_system_distributions(&self) -> Result<(), VenvError> {
        match self.config.system_site_packages {
            SystemSitePackages::Excluded => Ok(()),
            SystemSitePackages::Included => {
                Err(VenvError::Foreign { path: self.given.clone(), found: ForeignKind::SystemSitePackages })
            }
        }
    }

    /// Returns the distribution with this normalized name.
    pub fn distribution(&self, name: &str) -> Option<&Distribution> {
        let at = self.distributions.binary_search_by(|distribution| (*distribution.name).cmp(name)).ok()?;
        self.distributions.get(at)
    }

    /// Returns the directory of pure Python packages, `purelib` in sysconfig:
    /// `lib/python3.11/site-packages`.
    pub fn purelib(&self) -> &str {
        self.site_packages.first().map_or("", String::as_str)
    }

    fn roots(&self) -> Vec<&str> {
        let mut roots: Vec<&str> =
            [&self.root, &self.given].iter().filter_map(|root| root.to_str()).collect();
        roots.dedup();
        roots
    }

    fn read_distributions(&mut self) -> Result<(), VenvError> {
        let mut warnings = Vec::new();
        let mut distributions = Vec::new();
        for place in &self.site_packages {
            let site = Site {
                place,
                listing: &self.listing,
                roots: &self.roots(),
                origin: DistributionOrigin::Environment,
            };
            distributions.extend(discover(&site, &mut warnings)?);
        }
        // A distribution in both `lib` and `lib64` is one; `lib` comes first.
        distributions.sort_by(|a, b| a.name.cmp(&b.name));
        distributions.dedup_by(|second, first| second.name == first.name);
        self.distributions = distributions;
        self.warnings.append(&mut warnings);
        Ok(())
    }

    /// Reads the base interpreter's distributions that the environment does not shadow, and lists
    /// their files at the paths they would have in the environment.
    fn read_system_distributions(&mut self) -> Result<(), VenvError> {
        let place = self.purelib().to_owned();
        for directory in self.system_directories() {
            let Ok(real) = traced_fs::canonicalize(&directory) else { continue };
            let below = listing::list(&real)?;
            let listing: FileListing =
                below.into_iter().map(|(path, listed)| (format!("{place}/{path}"), listed)).collect();
            let mut listing = listing;
            self.list_system_scripts(&real, &mut listing);
            let site =
                Site { place: &place, listing: &listing, roots: &[], origin: DistributionOrigin::System };
            let mut warnings = Vec::new();
            let found = discover(&site, &mut warnings)?;
            for distribution in found {
                if self.distributions.iter().any(|own| own.name == distribution.name) {
                    continue;
                }
                for file in distribution.files.keys() {
                    if let Some(listed) = listing.get(file) {
                        self.listing.entry(file.clone()).or_insert_with(|| listed.clone());
                    }
                }
                self.distributions.push(distribution);
            }
            self.warnings.append(&mut warnings);
        }
        Ok(())
    }

    /// Returns the base interpreter's directories of packages: as in `site`, with Debian's changes.
    fn system_directories(&self) -> Vec<PathBuf> {
        let bin = self.interpreter.as_deref().and_then(Path::parent);
        let prefix = self.config.home.as_deref().or(bin).and_then(Path::parent).unwrap_or(Path::new("/usr"));
        let name = self.version.name();
        let mut directories = vec![prefix.join("lib").join(&name).join("site-packages")];
        if prefix == Path::new("/usr") {
            directories.insert(0, format!("/usr/local/lib/{name}/dist-packages").into());
            directories.push("/usr/lib/python3/dist-packages".into());
            directories.push(format!("/usr/lib/{name}/dist-packages").into());
        }
        directories
    }

    /// Lists `bin` of the prefix of a directory of packages, since RECORD rows may lead there.
    fn list_system_scripts(&self, site: &Path, listing: &mut FileListing) {
        let Some(bin) = site.ancestors().nth(3).map(|prefix| prefix.join("bin")) else { return };
        let Ok(entries) = traced_fs::read_dir(&bin) else { return };
        for entry in entries.flatten() {
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else {
                continue;
            };
            let place = format!("bin/{name}");
            if let (true, false, Ok(file)) = (
                metadata.is_file(),
                self.listing.contains_key(&place),
                HostFile::with_metadata(entry.path(), &metadata),
            ) {
                listing.insert(place, ListingEntry::File { file, execution: listing::Execution::Allowed });
            }
        }
    }
}

fn read_config(root: &Path) -> Result<Config, VenvError> {
    let foreign = |found| VenvError::Foreign { path: root.to_path_buf(), found };
    let path = root.join("pyvenv.cfg");
    if traced_fs::is_dir(root.join("conda-meta")) {
        return Err(foreign(ForeignKind::Conda));
    }
    if !traced_fs::exists(root.join("bin")) && traced_fs::is_dir(root.join("Scripts")) {
        return Err(foreign(ForeignKind::Windows));
    }
    let real = match traced_fs::canonicalize(&path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(foreign(ForeignKind::NoConfig));
        }
        Err(error) => return Err(FileError::new("read", path, error).into()),
    };
    Ok(Config::parse(&listing::read_text(&HostFile::new(real)?, CONFIG_LIMIT)?))
}

/// Follows the links of `bin/python` one by one, to name the broken one in an error.
fn follow_interpreter(root: &Path, config: &Config) -> Result<(PathBuf, Vec<PathBuf>), VenvError> {
    let start = ["python", "python3"]
        .map(|name| root.join("bin").join(name))
        .into_iter()
        .find(|path| traced_fs::is_there(path))
        .ok_or_else(|| VenvError::NoInterpreter { path: root.to_path_buf() })?;
    let mut links = Vec::new();
    let mut path = start;
    loop {
        let kind = match traced_fs::file_type(&path) {
            Ok(kind) => kind,
            Err(error) => {
                return Err(match links.pop() {
                    Some(link) if error.kind() == std::io::ErrorKind::NotFound => {
                        VenvError::Dangling { link, target: path }
                    }
                    _ => FileError::new("read", path, error).into(),
                });
            }
        };
        if !kind.is_symlink() {
            break;
        }
        let target = traced_fs::read_link(&path).map_err(FileError::of("read", &path))?;
        let next = path.parent().unwrap_or(root).join(target);
        links.push(std::mem::replace(&mut path, next));
        if links.len() > LINKS {
            return Err(VenvError::Interpreter {
                path: root.to_path_buf(),
                reason: format!("{} is a circular link", root.join("bin/python").display()),
            });
        }
    }
    let real = traced_fs::canonicalize(&path).map_err(FileError::of("read", &path))?;
    if !traced_fs::is_file(&real) {
        return Err(VenvError::Interpreter {
            path: root.to_path_buf(),
            reason: format!("{} is not a file", real.display()),
        });
    }
    if !real.starts_with(root) {
        return Ok((real, links));
    }
    // Made with `--copies`: `pyvenv.cfg` names the original.
    let named = config.executable.clone().or_else(|| Some(config.home.as_ref()?.join("python3")));
    match named {
        Some(original) => match traced_fs::canonicalize(&original) {
            Ok(original) => Ok((original, links)),
            Err(_) => Err(VenvError::Dangling { link: root.join("pyvenv.cfg"), target: original }),
        },
        None => Ok((real, links)),
    }
}

fn interpreter_version(root: &Path, interpreter: &Path, config: &Config) -> Result<PythonVersion, VenvError> {
    let refused = |reason: String| VenvError::Interpreter { path: root.to_path_buf(), reason };
    let name = interpreter.file_name().unwrap_or_default().to_string_lossy();
    let cpython = config.implementation.as_deref().is_none_or(|name| name.eq_ignore_ascii_case("cpython"));
    if !cpython || !name.starts_with("python") {
        let implementation = config.implementation.as_deref().filter(|_| !cpython);
        return Err(refused(format!("{} is not CPython", implementation.unwrap_or(&name))));
    }
    let configured = config.version;
    match (PythonVersion::from_name(&name), configured) {
        (Some(version), Some((major, minor, micro))) if (version.major, version.minor) == (major, minor) => {
            Ok(PythonVersion { micro, ..version })
        }
        (Some(version), _) => Ok(version),
        (None, Some((major, minor, micro))) => {
            // The name `python` does not show a free-threaded build; the name of its library
            // directory does.
            let threads = traced_fs::is_dir(root.join("lib").join(format!("python{major}.{minor}t")));
            Ok(PythonVersion { major, minor, micro, free_threaded: threads })
        }
        (None, None) => Err(refused(format!(
            "unknown version: neither pyvenv.cfg nor the name {} contains it",
            interpreter.display()
        ))),
    }
}

fn site_packages(root: &Path, version: PythonVersion) -> Result<String, VenvError> {
    let expected = format!("lib/{}/site-packages", version.name());
    if traced_fs::is_dir(root.join(&expected)) {
        return Ok(expected);
    }
    let mut others: Vec<String> = traced_fs::read_dir(root.join("lib"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| traced_fs::is_dir(root.join("lib").join(name).join("site-packages")))
        .collect();
    others.sort();
    Err(match others.into_iter().next() {
        Some(other) => VenvError::OtherVersion {
            path: root.to_path_buf(),
            interpreter: version.to_string(),
            packages: format!("lib/{other}/site-packages"),
        },
        None => VenvError::NoSitePackages { path: root.to_path_buf(), expected },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Advice;
    use crate::python::testing::{FakeVenv, SITE};
    use std::os::unix::fs::symlink;

    #[test]
    fn opens_an_environment() {
        let mut fake = FakeVenv::new();
        fake.install("B", "1", &[], &[]);
        fake.install("a", "2", &[], &[]);
        let venv = fake.open();
        assert_eq!(venv.version.to_string(), "3.11.7");
        assert_eq!(venv.version.name(), "python3.11");
        assert_eq!(venv.interpreter.clone().unwrap(), fake.base().join("python/bin/python3.11"));
        assert_eq!(venv.links, [fake.root().join("bin/python")]);
        assert_eq!(venv.site_packages, [SITE]);
        assert_eq!(&*venv.distribution("b").unwrap().version, "1");
        assert!(venv.distribution("c").is_none());
    }

    #[test]
    fn parses_an_environment_for_a_platform() {
        for (text, platform, directory) in [
            ("dir", None, "dir"),
            ("linux/arm64=dir", Some("linux/arm64"), "dir"),
            ("linux/arm/v7=/a=b", Some("linux/arm/v7"), "/a=b"),
            ("a=b", None, "a=b"),
            ("/x/y/z/u=b", None, "/x/y/z/u=b"),
        ] {
            let named: NamedVenv = text.parse().unwrap();
            assert_eq!(named.platform.map(|it| it.to_string()).as_deref(), platform, "{text}");
            assert_eq!(named.directory, Path::new(directory), "{text}");
        }
    }

    #[test]
    fn searches_in_order() {
        let fake = FakeVenv::new();
        let (named, active) = (Path::new("/named"), Path::new("/active"));
        let context = fake.context();
        assert_eq!(find(Some(named), &context, Some(active)), Some(named.into()));
        assert_eq!(find(None, &context, Some(active)), Some(fake.root()));
        assert_eq!(find(None, &fake.base(), Some(active)), Some(active.into()));
        assert_eq!(find(None, &fake.base(), Some(Path::new(""))), None);
        assert_eq!(find(None, &fake.base(), None), None);
    }

    type Damage = fn(&FakeVenv);

    /// Returns the error text of opening an environment changed by `damage`.
    fn error_after(damage: impl FnOnce(&FakeVenv)) -> String {
        let fake = FakeVenv::new();
        damage(&fake);
        let error = Venv::open(&fake.root()).unwrap_err();
        assert!(error.help().is_some(), "{error}");
        error.to_string().replace(&fake.base().display().to_string(), "")
    }

    #[test]
    fn names_the_broken_part() {
        let cases: [(&str, Damage); 10] = [
            ("virtual environment not found at /app/.venv: no such directory", |fake| {
                fs_err::remove_dir_all(fake.root()).unwrap();
            }),
            ("virtual environment not found at /app/.venv: not a directory", |fake| {
                fs_err::remove_dir_all(fake.root()).unwrap();
                fs_err::write(fake.root(), "").unwrap();
            }),
            ("cannot use /app/.venv as a virtual environment: pyvenv.cfg not found", |fake| {
                fs_err::remove_file(fake.root().join("pyvenv.cfg")).unwrap();
            }),
            ("cannot use /app/.venv as a virtual environment: conda environment", |fake| {
                fake.write("conda-meta/history", "");
            }),
            ("cannot use /app/.venv as a virtual environment: made on Windows", |fake| {
                fs_err::rename(fake.root().join("bin"), fake.root().join("Scripts")).unwrap();
            }),
            (
                "interpreter of the virtual environment not found: /app/.venv/bin/python links to \
                 /python/bin/python3.11, which does not exist",
                |fake| fs_err::remove_file(fake.base().join("python/bin/python3.11")).unwrap(),
            ),
            ("interpreter not found in the virtual environment /app/.venv: bin/python is missing", |fake| {
                fs_err::remove_file(fake.root().join("bin/python")).unwrap();
                fs_err::remove_file(fake.root().join("bin/python3")).unwrap();
            }),
            ("cannot use the interpreter of /app/.venv: /app/.venv/bin/python is a circular link", |fake| {
                fs_err::remove_file(fake.root().join("bin/python")).unwrap();
                symlink("python3", fake.root().join("bin/python")).unwrap();
            }),
            (
                "cannot use the virtual environment /app/.venv: it runs Python 3.11.7, and its packages are in \
                 lib/python3.10/site-packages",
                |fake| {
                    fs_err::rename(fake.root().join("lib/python3.11"), fake.root().join("lib/python3.10"))
                        .unwrap();
                },
            ),
            ("lib/python3.11/site-packages not found in the virtual environment /app/.venv", |fake| {
                fs_err::remove_dir_all(fake.root().join("lib")).unwrap();
            }),
        ];
        for (text, damage) in cases {
            assert_eq!(error_after(damage), text);
        }
    }

    #[test]
    fn refuses_other_implementations() {
        let error = error_after(|fake| {
            let home = fake.base().join("python/bin");
            fake.write("pyvenv.cfg", &format!("home = {}\nimplementation = PyPy\n", home.display()));
        });
        assert_eq!(error, "cannot use the interpreter of /app/.venv: PyPy is not CPython");
    }

    #[test]
    fn finds_the_original_of_a_copied_interpreter() {
        let fake = FakeVenv::new();
        fs_err::remove_file(fake.root().join("bin/python")).unwrap();
        fake.write("bin/python", "");
        let original = fake.base().join("python/bin/python3.11");
        fake.write(
            "pyvenv.cfg",
            &format!("home = /x\nexecutable = {}\nversion = 3.11.7\n", original.display()),
        );
        assert_eq!(fake.open().interpreter.unwrap(), original);
        fs_err::remove_file(&original).unwrap();
        assert!(matches!(Venv::open(&fake.root()), Err(VenvError::Dangling { .. })));
    }
}
