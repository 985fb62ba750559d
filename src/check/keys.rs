//! Keys of the parts of an image on which the rules of [`WHOLE`] depend.
//!
//! These rules compare the source with the layers below, which a build with a cached plan does not have.
//! Such a build looks for the key of an image without a fault before it plans these layers again.

use super::image::CheckedImage;
use crate::digest::Digest;
use crate::image::{ImageConfig, ImageError, Process};
use crate::plan::Plan;
use crate::python::application::module::Module;
use crate::tree::{Entry, ImagePath, KeyHasher, Kind, Owner};

/// Rules on the source together with the layers below.
pub(crate) const WHOLE: [&str; 3] = ["IPO106", "IPO305", "IPO404"];

/// Parts of modules on which the rules depend, and which neither imports nor names show.
const TEXTS: [&str; 10] = [
    "DJANGO_SETTINGS_MODULE",
    "INSTALLED_APPS",
    "__path__",
    "sys.modules",
    "meta_path",
    "sys.path",
    "CDLL",
    "LoadLibrary",
    "find_library",
    "dlopen",
];

fn is_upper(owner: Option<&Owner>) -> bool {
    matches!(owner, Some(Owner::Source | Owner::Extra { .. }))
}

/// Returns the key of the layers below the source: their paths, and the texts that change the search
/// for modules.
pub(crate) fn lower_key(image: &CheckedImage) -> Digest {
    let mut fields = KeyHasher::new("checked layers").text(env!("CARGO_PKG_VERSION"));
    for (path, node) in image.iter().filter(|(_, node)| !is_upper(node.owner.as_ref())) {
        fields.add(path.as_str().as_bytes());
        let name = path.file_name().unwrap_or_default();
        if node.is_file() && (name.ends_with(".pth") || name == "pyvenv.cfg") {
            fields.add(&image.read(path).unwrap_or_default());
        }
    }
    fields.finish()
}

/// Returns the key of the configurations and of the upper layers by the stamps of their files.
pub(crate) fn stamp_key(lower: &Digest, plan: &Plan, processes: &[&Process]) -> Result<Digest, ImageError> {
    let mut fields = start(lower, plan, processes)?.text("stamps");
    for entry in upper_entries(plan) {
        entry.identify(&mut fields);
        if let Kind::File(content) = &entry.kind {
            content.identify(&mut fields);
        }
    }
    Ok(fields.finish())
}

/// Returns the key of the configurations, and of the modules of the upper layers by their
/// imports. It stays the same when functions change.
pub(crate) fn module_key(
    lower: &Digest,
    plan: &Plan,
    processes: &[&Process],
    image: &CheckedImage,
) -> Result<Digest, ImageError> {
    let mut fields = start(lower, plan, processes)?.text("modules");
    for entry in upper_entries(plan) {
        fields.add(entry.path.as_str().as_bytes());
        if entry.path.as_str().ends_with(".py") {
            fields = add_module(fields, image, &entry.path);
        }
    }
    Ok(fields.finish())
}

fn upper_entries(plan: &Plan) -> impl Iterator<Item = &Entry> {
    let entries = plan.layers.iter().flat_map(|layer| layer.tree.iter());
    entries.filter(|entry| is_upper(Some(&entry.owner)))
}

fn start(lower: &Digest, plan: &Plan, processes: &[&Process]) -> Result<KeyHasher, ImageError> {
    let mut fields = KeyHasher::new("checked image").text(&lower.to_string());
    for process in processes {
        let config = ImageConfig::new(&plan.platform, plan.created, (*process).clone());
        fields.add(&config.to_json(&[])?);
    }
    Ok(fields)
}

fn add_module(fields: KeyHasher, image: &CheckedImage, path: &ImagePath) -> KeyHasher {
    let text = image.text(path).unwrap_or_default();
    let Some(module) = Module::read(&text) else { return fields.text(&text) };
    if TEXTS.iter().any(|part| text.contains(part)) {
        return fields.text(&text);
    }
    let mut fields =
        fields.number(u64::from(module.is_open)).number(u64::from(module.syntax_error.is_some()));
    // `from package import name` names a module, unless the package binds the name.
    if path.file_name() == Some("__init__.py") {
        for name in &module.names {
            fields.add(name.as_bytes());
        }
    }
    for import in &module.imports {
        fields = fields.text("import").number(import.level.into()).text(&import.module);
        fields = fields.number(u64::from(import.is_certain)).number(u64::from(import.in_program));
        for name in &import.names {
            fields.add(name.as_bytes());
        }
    }
    fields
}
