//! Installation schemes, read without an interpreter.
//!
//! A virtual environment and `--prefix` have `lib/pythonX.Y/site-packages` and `bin`;
//! `--target DIR` puts packages directly into DIR and commands into `DIR/bin` (pip, "Installing
//! Packages"; uv does the same). Files of a target are listed as in a virtual environment, so that
//! no other module has to distinguish them.

use std::path::Path;

use super::config::Config;
use super::distribution::Distribution;
use super::error::VenvError;
use super::listing::FileListing;
use super::version::PythonVersion;
use crate::traced_fs;

/// The scheme of the packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstallScheme {
    /// `lib/pythonX.Y/site-packages`.
    Prefix,
    /// The directory itself.
    Target,
}

/// Returns the directory of packages in an environment.
pub(super) fn purelib(version: PythonVersion) -> String {
    format!("lib/{}/site-packages", version.name())
}

/// Returns true if `root` has packages of a known scheme.
pub(super) fn has_packages(root: &Path) -> bool {
    !versions(root).is_empty() || is_target(root)
}

/// Determines the Python version and the scheme of the packages below `root`: from `pyvenv.cfg`,
/// else the only library directory, else `base`, the Python of the image's base. A known `base` has
/// to match, and adds the micro version.
pub(super) fn version(
    root: &Path,
    config: &Config,
    base: Option<PythonVersion>,
) -> Result<(PythonVersion, InstallScheme), VenvError> {
    let refused = |reason: String| VenvError::Interpreter { path: root.to_path_buf(), reason };
    if let Some(implementation) = config
        .implementation
        .as_deref()
        .filter(|implementation| !implementation.eq_ignore_ascii_case("cpython"))
    {
        return Err(refused(format!("{implementation} is not CPython")));
    }
    let installed = versions(root);
    let (own, packages) = match (config.version, installed.as_slice()) {
        (Some((major, minor, micro)), _) => {
            let same = |version: &&PythonVersion| (version.major, version.minor) == (major, minor);
            let free_threaded = installed.iter().find(same).is_some_and(|version| version.free_threaded);
            (PythonVersion { major, minor, micro, free_threaded }, InstallScheme::Prefix)
        }
        (None, [one]) => (*one, InstallScheme::Prefix),
        (None, []) => match base.filter(|_| is_target(root)) {
            Some(base) => (base, InstallScheme::Target),
            None => return Err(refused("unknown version".to_owned())),
        },
        (None, several) => {
            match base.filter(|base| several.iter().any(|installed| has_same_abi(*installed, *base))) {
                Some(base) => (base, InstallScheme::Prefix),
                None => return Err(refused("packages of several versions".to_owned())),
            }
        }
    };
    match base {
        Some(base) if has_same_abi(own, base) => Ok((base, packages)),
        Some(base) => Err(VenvError::OtherPython {
            path: root.to_path_buf(),
            environment: abi_version(own),
            base: abi_version(base),
        }),
        None => Ok((own, packages)),
    }
}

fn has_same_abi(one: PythonVersion, other: PythonVersion) -> bool {
    abi_version(one) == abi_version(other)
}

/// Formats `3.11` or `3.13t`, the part of the version to which compiled modules are bound.
fn abi_version(version: PythonVersion) -> String {
    version.name().trim_start_matches("python").to_owned()
}

/// Returns the versions of the library directories below `root` that have packages.
fn versions(root: &Path) -> Vec<PythonVersion> {
    let entries = traced_fs::read_dir(root.join("lib")).into_iter().flatten().flatten();
    let mut versions: Vec<_> = entries
        .filter(|entry| traced_fs::is_dir(entry.path().join("site-packages")))
        .filter_map(|entry| PythonVersion::from_name(entry.file_name().to_str()?))
        .collect();
    versions.sort();
    versions
}

/// Returns true if packages were installed directly into `root`.
fn is_target(root: &Path) -> bool {
    let entries = traced_fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| Path::new(&entry.file_name()).extension().is_some_and(|it| it == "dist-info"))
}

/// Moves the files of `--target` to their paths in an environment.
///
/// Of a command, uv's RECORD has `bin/x` and pip's `../../bin/x`, both relative to the directory of
/// packages of another scheme: commands are listed under every path to which a row may lead, until
/// [`settle_commands`].
pub(super) fn as_environment(listing: FileListing, version: PythonVersion) -> FileListing {
    let site = purelib(version);
    let mut moved = FileListing::new();
    for (place, listed) in listing {
        if place.starts_with("bin/") {
            for alias in aliases(&place, &site) {
                moved.insert(alias, listed.clone());
            }
            moved.insert(place, listed);
        } else {
            moved.insert(format!("{site}/{place}"), listed);
        }
    }
    moved
}

/// Returns the other paths to which RECORD rows of a command of `--target` may lead.
fn aliases(place: &str, site: &str) -> [String; 2] {
    [format!("{site}/{place}"), format!("lib/{place}")]
}

/// Removes the other paths of each command of `--target`: `bin` alone remains.
pub(super) fn settle_commands(
    listing: &mut FileListing,
    distributions: &mut [Distribution],
    version: PythonVersion,
) {
    let site = purelib(version);
    let commands: Vec<String> = listing.keys().filter(|place| place.starts_with("bin/")).cloned().collect();
    for command in commands {
        for alias in aliases(&command, &site) {
            listing.remove(&alias);
            for distribution in distributions.iter_mut() {
                if let Some(recorded) = distribution.files.remove(&alias) {
                    distribution.files.insert(command.clone(), recorded);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::error::Advice;
    use crate::platform::Platform;
    use crate::python::Venv;
    use crate::python::environment::venv::Runner;
    use crate::python::requirements::{closure::DeclaredDependencies, declaration::DependencySelection};
    use crate::python::testing::{FakeVenv, SITE};

    fn python(text: &str) -> PythonVersion {
        let mut version = PythonVersion::from_name(&format!("python{text}")).unwrap();
        version.micro = Some(9);
        version
    }

    fn open(fake: &FakeVenv, python: Option<PythonVersion>) -> Result<Venv, VenvError> {
        let platform: Platform = "linux/arm64".parse().unwrap();
        Venv::open_for(&fake.root(), &Runner::Base { platform: &platform, python })
    }

    #[test]
    fn an_environment_from_another_machine_needs_no_interpreter() {
        let mut fake = FakeVenv::new();
        fake.install("a", "1", &[], &[("a.py", "")]);
        fs_err::remove_file(fake.base().join("python/bin/python3.11")).unwrap();
        assert!(Venv::open(&fake.root()).is_err());
        let venv = open(&fake, None).unwrap();
        assert_eq!((venv.version.to_string(), venv.machine.as_str()), ("3.11.7".to_owned(), "aarch64"));
        assert_eq!(venv.interpreter, None);
        assert!(venv.distribution("a").is_some());
        // A circular link, then a missing one.
        for name in ["python", "python3"] {
            fs_err::remove_file(fake.root().join("bin").join(name)).unwrap();
        }
        symlink("python", fake.root().join("bin/python")).unwrap();
        open(&fake, None).unwrap();
        fs_err::remove_dir_all(fake.root().join("bin")).unwrap();
        open(&fake, None).unwrap();
    }

    #[test]
    fn adopts_the_bases_version_and_refuses_another() {
        let fake = FakeVenv::new();
        assert_eq!(open(&fake, Some(python("3.11"))).unwrap().version.to_string(), "3.11.9");
        for other in ["3.12", "3.11t"] {
            let error = open(&fake, Some(python(other))).unwrap_err();
            let text = error.to_string();
            let end = format!("/app/.venv: it is for Python 3.11, and the base has Python {other}");
            assert!(text.ends_with(&end), "{text}");
            assert!(error.help().unwrap().contains(&format!("uv venv --python {other}")));
        }
    }

    #[test]
    fn a_library_directory_gives_the_version() {
        let mut fake = FakeVenv::new();
        fake.install("a", "1", &[], &[]);
        fs_err::remove_file(fake.root().join("pyvenv.cfg")).unwrap();
        fs_err::remove_dir_all(fake.root().join("bin")).unwrap();
        let venv = open(&fake, None).unwrap();
        assert_eq!(venv.version.to_string(), "3.11");
        assert!(venv.distribution("a").is_some());
        // Two versions: the base selects one.
        fs_err::create_dir_all(fake.root().join("lib/python3.12/site-packages")).unwrap();
        assert!(open(&fake, None).is_err());
        assert_eq!(open(&fake, Some(python("3.11"))).unwrap().purelib(), SITE);
        // No version.
        fs_err::remove_dir_all(fake.root().join("lib")).unwrap();
        let error = open(&fake, None).unwrap_err().to_string();
        assert!(error.contains("pyvenv.cfg not found"), "{error}");
    }

    #[test]
    fn lists_a_target_as_an_environment() {
        for row in ["bin/serve", "../../bin/serve"] {
            let fake = FakeVenv::new();
            fs_err::remove_dir_all(fake.root()).unwrap();
            fake.write("a/__init__.py", "");
            fake.write("bin/serve", "#!/usr/bin/python\n");
            fake.write("a-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n");
            let record =
                format!("a/__init__.py,,\n{row},,\na-1.dist-info/METADATA,,\na-1.dist-info/RECORD,,\n");
            fake.write("a-1.dist-info/RECORD", &record);
            assert!(open(&fake, None).is_err(), "nothing says the version");
            let venv = open(&fake, Some(python("3.12"))).unwrap();
            let files: Vec<_> = venv.distribution("a").unwrap().files.keys().cloned().collect();
            let site = "lib/python3.12/site-packages";
            assert!(files.contains(&"bin/serve".to_owned()), "{files:?}");
            assert!(files.contains(&format!("{site}/a/__init__.py")), "{files:?}");
            assert!(venv.listing.keys().all(|place| place.starts_with(site) || place == "bin/serve"));
        }
    }

    #[test]
    fn evaluates_markers_for_the_images_platform() {
        let mut fake = FakeVenv::new();
        for name in ["arm", "intel", "always"] {
            fake.install(name, "1", &[], &[]);
        }
        fs_err::write(
            fake.context().join("requirements.txt"),
            "arm; platform_machine == 'aarch64' and sys_platform == 'linux'\n\
             intel; platform_machine == 'x86_64'\nalways; implementation_name == 'cpython'\n",
        )
        .unwrap();
        let venv = open(&fake, None).unwrap();
        let declared = DeclaredDependencies::read(&fake.context(), &DependencySelection::default()).unwrap();
        let members: Vec<_> = declared.closure(&venv).unwrap().members.into_keys().collect();
        assert_eq!(members, ["always", "arm"]);
    }

    #[test]
    fn refuses_other_implementations() {
        let fake = FakeVenv::new();
        fake.write("pyvenv.cfg", "home = /x\nimplementation = PyPy\nversion = 3.11.7\n");
        assert!(open(&fake, None).unwrap_err().to_string().contains("PyPy"));
    }
}
