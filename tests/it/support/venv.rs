//! Virtual environments: real ones, created once, and fast stand-ins.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ipo_oci::digest::Digest;
use tempfile::TempDir;

use super::{clean_environment, output_of, run, target_dir};

/// An environment with the example's requirements and its development tools.
#[derive(Debug, Clone)]
pub(crate) struct Venv {
    path: PathBuf,
    // A copy, removed with its last reference.
    _folder: Option<Arc<TempDir>>,
}

impl Venv {
    /// Created by `python3 -m venv` and pip.
    pub(crate) fn pip() -> Self {
        Self::of("pip", "requirements-dev.txt", &interpreter())
    }

    /// Created by uv, with the same interpreter.
    pub(crate) fn uv() -> Self {
        Self::of("uv", "requirements-dev.txt", &interpreter())
    }

    /// Created by pip, with an interpreter that every user of this machine can run.
    pub(crate) fn of_the_system() -> Self {
        Self::of("pip", "requirements-dev.txt", Path::new("/usr/bin/python3"))
    }

    /// Returns an environment that every user of this machine can read and run, independent of the
    /// target directory's owner.
    pub(crate) fn for_everyone() -> Self {
        let system = Path::new("/usr/bin/python3");
        let python = if system.exists() { system.to_path_buf() } else { interpreter() };
        let made = Self::of("pip", "requirements-dev.txt", &python);
        // Only its owner may be able to enter the target directory; a copy of an environment works
        // as well.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("venv");
        super::copy_folder(&made.path, &path);
        run(Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path())).success();
        Self { path, _folder: Some(Arc::new(folder)) }
    }

    /// Returns an environment created by pip or uv, with the given requirements of the example and
    /// the given interpreter.
    ///
    /// The first call creates it in the target directory, under a lock.
    pub(crate) fn of(installer: &str, requirements: &str, python: &Path) -> Self {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/agencyos").join(requirements);
        let version = output_of(
            python.to_str().expect("UTF-8"),
            ["-c", "import sys; print(sys.version, sys.base_prefix)"],
        );
        let mut key = fs_err::read(&requirements).expect("the requirements");
        // The development requirements refer to the other file.
        key.extend(fs_err::read(requirements.with_file_name("requirements.txt")).expect("the requirements"));
        key.extend(format!("{}\n{version}\n{installer}", requirements.display()).bytes());
        let name = format!("{installer}-{}", &Digest::of(&key).hex()[..12]);

        let folder = target_dir().join("test-venvs");
        fs_err::create_dir_all(&folder).expect("a folder");
        let lock = fs_err::File::create(folder.join(format!("{name}.lock"))).expect("a lock");
        lock.file().lock().expect("a lock");
        let (venv, ready) = (folder.join(&name), folder.join(format!("{name}.ready")));
        if !ready.exists() {
            let _ = fs_err::remove_dir_all(&venv);
            make(installer, python, &venv, &requirements);
            fs_err::write(&ready, "").expect("a file");
        }
        Self { path: venv, _folder: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.path.join("bin/python")
    }
}

/// Returns the resolved path of `python3` on `PATH`, without a version manager's shim.
pub(crate) fn interpreter() -> PathBuf {
    output_of("python3", ["-c", "import sys; print(sys._base_executable)"]).into()
}

fn make(installer: &str, python: &Path, venv: &Path, requirements: &Path) {
    let call = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        clean_environment(&mut command);
        run(command.args(arguments)).success();
    };
    let at = venv.to_str().expect("UTF-8");
    let from = requirements.to_str().expect("UTF-8");
    match installer {
        "pip" => {
            call(python, &["-m", "venv", at]);
            call(&venv.join("bin/python"), &["-m", "pip", "install", "--quiet", "--requirement", from]);
        }
        "uv" => {
            let uv = Path::new("uv");
            call(uv, &["venv", "--quiet", "--no-config", "--python", python.to_str().expect("UTF-8"), at]);
            let python = venv.join("bin/python");
            let python = python.to_str().expect("UTF-8");
            call(
                uv,
                &["pip", "install", "--quiet", "--no-config", "--python", python, "--requirement", from],
            );
        }
        other => panic!("no installer is called {other}"),
    }
}

/// Creates an environment of stand-ins: distributions with a module and metadata, but no code.
pub(crate) fn stand_in(venv: &Path, distributions: &[&str]) {
    let python = interpreter();
    let arguments = ["-m", "venv", "--without-pip", venv.to_str().expect("UTF-8")];
    run(Command::new(&python).args(arguments)).success();
    for name in distributions {
        add_stand_in(venv, name, "");
    }
}

/// Adds a stand-in; `metadata` is appended to its METADATA.
pub(crate) fn add_stand_in(venv: &Path, name: &str, metadata: &str) {
    let site = site_packages(venv);
    let module = name.replace('-', "_");
    let info = format!("{module}-1.0.dist-info");
    let source = "class FastAPI:\n    pass\n\n\ndef main():\n    pass\n";
    let files = [
        (format!("{module}/__init__.py"), source.to_owned()),
        (
            format!("{info}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}"),
        ),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
        (format!("{info}/entry_points.txt"), format!("[console_scripts]\n{name} = {module}:main\n")),
        (format!("{info}/INSTALLER"), "pip\n".to_owned()),
    ];
    let mut record = String::new();
    for (path, text) in &files {
        let file = site.join(path);
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        fs_err::write(&file, text).expect("a file");
        record += &record_row(path, text.as_bytes());
    }
    let script = format!(
        "#!{}\nimport sys\nfrom {module} import main\nif __name__ == '__main__':\n    sys.exit(main())\n",
        venv.join("bin/python").display()
    );
    let file = venv.join("bin").join(name);
    fs_err::write(&file, &script).expect("a file");
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    record += &record_row(&format!("../../../bin/{name}"), script.as_bytes());
    record.push_str(&info);
    record.push_str("/RECORD,,\n");
    fs_err::write(site.join(info).join("RECORD"), record).expect("a file");
}

/// Returns the `site-packages` directory of an environment.
pub(crate) fn site_packages(venv: &Path) -> PathBuf {
    let lib = venv.join("lib");
    let python = fs_err::read_dir(&lib)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3.")))
        .expect("an environment of Python 3");
    python.join("site-packages")
}

fn record_row(path: &str, bytes: &[u8]) -> String {
    use base64::Engine as _;
    let hash = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(Digest::of(bytes).as_bytes());
    format!("{path},sha256={hash},{}\n", bytes.len())
}
