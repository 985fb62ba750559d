//! Bytecode of a Python that Debian packages install.
//!
//! The packages have none: their maintainer scripts compile it. Without it, each start of a container would compile
//! the standard library again. The bytecode is a layer of its own above that of the packages, which thus depends on
//! them alone, and is compiled by the Python in the packages, so that the machine does not decide its bytes.

use std::io::Read as _;
use std::path::Path;

use super::base_python::PythonViews;
use super::compile::{Compiler, ModuleSet, optimization};
use super::package_inputs::PackageInputs;
use super::{BuildError, Builder};
use crate::base::{BasePython, NodeKind, View};
use crate::cache::{LayerCache, MadeLayer};
use crate::image::{HistoryLine, Image, Layer};
use crate::lock::LockedDeb;
use crate::platform::Platform;
use crate::printable;
use crate::progress::{Progress, Warning};
use crate::python::bytecode::{BytecodeCheck, BytecodeSource};
use crate::python::interpreter;
use crate::settings;
use crate::tree::{ImagePath, KeyHasher, Owner, Tree};

/// The largest size of a standard library's source, in bytes.
const MAX_SOURCE: u64 = 512 << 20;

impl Builder {
    /// Adds the bytecode of the standard libraries in `packages`, the highest layer of `image`.
    pub(super) fn add_standard_library_bytecode(
        &self,
        mut image: Image,
        packages: &[LockedDeb],
        inputs: PackageInputs<'_>,
    ) -> Result<Image, BuildError> {
        let PackageInputs { recipe, progress, .. } = inputs;
        if recipe.bytecode != settings::Bytecode::Compile {
            return Ok(image);
        }
        let names: Vec<&str> =
            packages.iter().filter_map(|package| python_of_package(&package.name)).collect();
        if names.is_empty() {
            return Ok(image);
        }
        let view = View::of(&image, self.cache.as_deref(), progress)?;
        let of_packages = |python: &BasePython| {
            names.contains(&python.version.name().as_str()) && python.stdlib.as_str().starts_with("usr/lib/")
        };
        for python in view.pythons(None).iter().filter(|python| of_packages(python)) {
            if let Some(layer) = self.standard_library_layer(&view, python, &image, inputs)? {
                let line = HistoryLine {
                    created_by: "ipo-oci: bytecode of the standard library".to_owned(),
                    comment: python.full_version.clone().unwrap_or_default(),
                };
                image = image.append_layers(vec![(layer, line)])?;
            }
        }
        Ok(image)
    }

    /// Makes the layer; `None` if no Python on this machine can compile.
    fn standard_library_layer(
        &self,
        view: &View,
        python: &BasePython,
        image: &Image,
        PackageInputs { recipe, work, progress, native, .. }: PackageInputs<'_>,
    ) -> Result<Option<Layer>, BuildError> {
        let cache = self.cache.as_deref();
        let mut key = KeyHasher::new("bytecode of a standard library, 1")
            .text(&recipe.compression.identity())
            .text(python.stdlib.as_str())
            .number(optimization(recipe, None).into());
        for layer in &image.layers {
            key = key.text(&layer.diff_id.to_string());
        }
        let mut made = MadeLayer {
            name: "standard library",
            key: key.clone().finish(),
            compression: recipe.compression,
            cache: cache.map(LayerCache::new),
            work,
        };
        if let Some(layer) = made.cached() {
            return Ok(Some(layer));
        }
        let views = PythonViews { image: view, native };
        let unpacked = views.unpack(python, Vec::new(), (cache, work), progress)?;
        let program = if let Some(unpacked) = unpacked {
            unpacked.program
        } else {
            let Some(program) = interpreter::find(python.version, &self.search_path) else {
                return Ok(None);
            };
            // Another patch release may compile differently.
            made.key = key.text(&program.to_string_lossy()).finish();
            warn_of_compiler(&program, progress);
            program
        };
        let compiler = Compiler::of_version(recipe, python.version, Some(program), progress);
        let _lock = made.lock();
        if let Some(layer) = made.cached() {
            return Ok(Some(layer));
        }
        let sources = sources(view, python)?;
        let folders = (cache.unwrap_or(work), work);
        let modules = (ModuleSet::Environment, sources.as_slice());
        let (bytecode, _) = compiler.bytecode(modules, BytecodeCheck::Whole, folders, progress)?;
        let mut tree = Tree::new();
        for entry in view.graft(bytecode)? {
            tree.insert(entry)?;
        }
        Ok(Some(made.write::<BuildError>(&tree, progress)?))
    }
}

/// Warns that `program` of this machine compiles for another Python of its minor version.
fn warn_of_compiler(program: &Path, progress: &dyn Progress) {
    let own = Platform::of_this_program();
    let message = format!(
        "is compiled by {} instead of the base's Python: another machine may make another image",
        printable::path(program)
    );
    let help = format!("lock the base for {own} too: `ipo-oci lock --platform {own}`");
    progress.warn(Warning::new("bytecode", message).with_help(help));
}

/// Returns the name of the Python whose standard library the package has: `libpython3.13-stdlib`.
fn python_of_package(name: &str) -> Option<&str> {
    name.strip_prefix("lib")?.strip_suffix("-stdlib").filter(|name| name.starts_with("python3."))
}

/// Reads the modules of the standard library.
fn sources(view: &View, python: &BasePython) -> Result<Vec<BytecodeSource>, BuildError> {
    let is_source = |path: &ImagePath| path.as_str().ends_with(".py") && path.starts_with(&python.stdlib);
    let mut total = 0;
    let mut sources = Vec::new();
    view.visit_files(
        &|path, node| node.kind == NodeKind::File && is_source(path),
        &mut |path, node, content| {
            total += node.size;
            if total > MAX_SOURCE {
                return Err(std::io::Error::other("the standard library is too large"));
            }
            let mut bytes = Vec::new();
            content.take(node.size).read_to_end(&mut bytes)?;
            sources.push(BytecodeSource {
                path: path.clone(),
                content: bytes.into(),
                pyc: None,
                owner: Owner::Interpreter,
            });
            Ok(())
        },
    )?;
    Ok(sources)
}
