//! Projects to build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::{Image, Layout, Outcome, Venv, copy_folder, ipo_oci, run};

/// A project in a temporary directory.
#[derive(Debug)]
pub(crate) struct Project {
    // Removed with the last project or image that refers to it.
    folder: Arc<TempDir>,
    dir: PathBuf,
    venv: Option<PathBuf>,
}

impl Project {
    /// Returns a copy of `examples/agencyos`, with a pip environment that includes its development
    /// tools.
    pub(crate) fn example() -> Self {
        Self::example_as("agencyos", &Venv::pip())
    }

    /// Returns a copy with another directory name and environment.
    pub(crate) fn example_as(name: &str, venv: &Venv) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join(name);
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/agencyos"), &dir);
        // Leftovers of a developer's tools.
        for trash in [".venv", "dist", ".env", ".pytest_cache", ".ruff_cache"] {
            let _ = fs_err::remove_dir_all(dir.join(trash));
            let _ = fs_err::remove_file(dir.join(trash));
        }
        Self { folder: Arc::new(folder), dir, venv: Some(venv.path().to_path_buf()) }
    }

    /// Returns a project of these files, without an environment.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join("project");
        fs_err::create_dir(&dir).expect("a folder");
        let project = Self { folder: Arc::new(folder), dir, venv: None };
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    /// Returns a minimal project, with an environment of stand-ins at `.venv`.
    pub(crate) fn tiny() -> Self {
        let project = Self::of(&[
            (
                "pyproject.toml",
                "[project]\nname = \"tiny\"\nversion = \"1.0\"\ndependencies = [\"fastapi\", \"uvicorn\", \"uvloop\", \"httptools\"]\n",
            ),
            ("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n"),
        ]);
        super::venv::stand_in(&project.path().join(".venv"), &["fastapi", "uvicorn", "uvloop", "httptools"]);
        project
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns a path beside the project, in the same temporary directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the project, with its parent directories.
    #[track_caller]
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.dir.join(path);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs_err::write(path, text).expect("a file");
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.dir.join(path)).expect("a file")
    }

    /// Returns `ipo-oci SUBCOMMAND .` in the project's directory.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = ipo_oci();
        command.current_dir(&self.dir).arg(subcommand);
        command
    }

    /// Runs `ipo-oci build` in the project's directory.
    #[track_caller]
    pub(crate) fn try_build(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command("build");
        if let Some(venv) = &self.venv {
            command.arg("--venv").arg(venv);
        }
        run(command.args(arguments))
    }

    /// Runs `ipo-oci build` in the project's directory, which has to succeed.
    #[track_caller]
    pub(crate) fn build(&self, arguments: &[&str]) -> Outcome {
        self.try_build(arguments).success()
    }

    /// Returns the layout of a build without `-o`.
    #[track_caller]
    pub(crate) fn layout(&self) -> Layout {
        Layout::open(self.dir.join("dist/image"))
    }

    /// Builds and reads the one image of the default layout.
    #[track_caller]
    pub(crate) fn image(&self, arguments: &[&str]) -> Image {
        self.build(arguments);
        let mut image = self.layout().only();
        image.keep = Some(self.folder.clone());
        image
    }
}
