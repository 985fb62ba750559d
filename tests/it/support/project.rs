//! Projects to build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::{Image, Layout, Outcome, Venv, copy_folder, ipo_oci, run};

/// A project in a temporary folder.
#[derive(Debug)]
pub(crate) struct Project {
    // Removed when the project and what was read from its images are dropped.
    folder: Arc<TempDir>,
    dir: PathBuf,
    venv: Option<PathBuf>,
}

impl Project {
    /// A copy of `examples/agencyos`, built with an environment that has its development tools, made by pip.
    pub(crate) fn example() -> Self {
        Self::example_as("agencyos", &Venv::pip())
    }

    /// A copy of it under another folder name and with another environment.
    pub(crate) fn example_as(name: &str, venv: &Venv) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join(name);
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/agencyos"), &dir);
        // What a developer's tools may have left there.
        for trash in [".venv", "dist", ".env", ".pytest_cache", ".ruff_cache"] {
            let _ = fs_err::remove_dir_all(dir.join(trash));
            let _ = fs_err::remove_file(dir.join(trash));
        }
        Self { folder: Arc::new(folder), dir, venv: Some(venv.path().to_path_buf()) }
    }

    /// A project of these files, with no environment.
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

    /// The smallest project that can be built, with an environment of stand-ins at `.venv`.
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

    /// A path beside the project, in the same temporary folder.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the project, with the folders above it.
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

    /// `ipo-oci SUBCOMMAND .` in the project's folder.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = ipo_oci();
        command.current_dir(&self.dir).arg(subcommand);
        command
    }

    /// `ipo-oci build` in the project's folder, whatever comes of it.
    #[track_caller]
    pub(crate) fn try_build(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command("build");
        if let Some(venv) = &self.venv {
            command.arg("--venv").arg(venv);
        }
        run(command.args(arguments))
    }

    /// `ipo-oci build` in the project's folder, which has to succeed.
    #[track_caller]
    pub(crate) fn build(&self, arguments: &[&str]) -> Outcome {
        self.try_build(arguments).success()
    }

    /// The layout that a build without `-o` writes.
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
