//! [`ProcessStart`]: the modules with which the process of an image starts, by its command.

use crate::check::image::CheckedImage;
use crate::check::modules::relative;
use crate::check::pythons::CheckedPython;
use crate::python::application::imports::Start;
use crate::python::application::module::Module;
use crate::tree::ImagePath;

/// The first modules of a process, and the directories in which they are searched.
#[derive(Debug, Default)]
pub(in crate::check) struct ProcessStart {
    pub(in crate::check) starts: Vec<Start>,
    pub(in crate::check) roots: Vec<ImagePath>,
}

impl ProcessStart {
    /// Reads the command of `image`.
    pub(in crate::check) fn of(image: &CheckedImage, python: &CheckedPython) -> Self {
        let workdir = image.workdir();
        let command = image.config.command();
        let mut found = Self::default();
        let mut before = "";
        for word in &command {
            match before {
                "-m" => found.starts.push(Start::Program(word.clone())),
                "-A" | "--app" => found.starts.extend(module(word)),
                "--app-dir" | "--chdir" | "--pythonpath" => found.roots.extend(relative(&workdir, word)),
                _ if word.ends_with(".py") => found.script(image, &workdir, word),
                _ => found.starts.extend(module(word)),
            }
            if let Some(directory) = word.strip_prefix("--app-dir=").or_else(|| word.strip_prefix("--chdir="))
            {
                found.roots.extend(relative(&workdir, directory));
            }
            before = word;
        }
        found.console_script(image, &workdir, command.first());
        found.roots.push(workdir);
        found.roots.extend(python.added.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        found.roots.retain(|root| seen.insert(root.clone()));
        found
    }

    /// Adds a script that the command runs.
    fn script(&mut self, image: &CheckedImage, workdir: &ImagePath, word: &str) {
        let Some(path) = relative(workdir, word).filter(|path| image.lookup(path).is_some()) else { return };
        self.roots.extend(path.parent());
        self.starts.push(Start::Script(path));
    }

    /// Adds the module that a console script imports: `from pkg.cli import main`.
    fn console_script(&mut self, image: &CheckedImage, workdir: &ImagePath, word: Option<&String>) {
        let text = word
            .and_then(|word| relative(workdir, word))
            .filter(|path| image.lookup(path).is_some_and(|node| node.size < 1 << 16))
            .and_then(|path| image.text(&path))
            .filter(|text| text.starts_with("#!") && text.contains("import "));
        let imports =
            text.and_then(|text| Module::read(&text)).map(|module| module.imports).unwrap_or_default();
        let names = imports.into_iter().filter(|import| import.level == 0).map(|import| import.module);
        self.starts.extend(names.map(Start::Module));
    }
}

/// Returns the module of `pkg.main`, `pkg.main:app` or `pkg.main:make()`; `None` for other words.
fn module(word: &str) -> Option<Start> {
    let name = word.split(':').next().unwrap_or_default();
    let is_identifier = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    // A plain word, such as `worker`, is a subcommand.
    let names_module = word.contains(':') || word.contains('.');
    (names_module && name.split('.').all(is_identifier)).then(|| Start::Module(name.to_owned()))
}
