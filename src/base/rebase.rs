//! Checks that an image keeps its requirements on another base.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::libraries::missing_libraries;
use super::node::NodeKind;
use super::overlay::Overlay;
use super::view::View;
use super::{BaseError, CLibrary};
use crate::elf::LoadRoot;
use crate::image::Image;
use crate::progress::Progress;

/// An image and the number of its base layers.
pub type OnBase<'a> = (&'a Image, usize);

/// Checks that the application layers of `before`, moved to another base in `after`, keep the
/// requirements that were met: the environment's Python, shared libraries, symbol versions.
///
/// # Errors
/// [`BaseError::Lost`] with the requirements that the new base lacks.
pub fn check_rebase(
    before: OnBase<'_>,
    after: OnBase<'_>,
    cache: Option<&Path>,
    progress: &dyn Progress,
) -> Result<(), BaseError> {
    let unmet = |(image, base): OnBase<'_>| {
        let view = Arc::new(View::of(image, cache, progress)?);
        unmet(&view, u32::try_from(base).unwrap_or(u32::MAX))
    };
    let lacked = unmet(before)?;
    // Requirements unmet before may stay so: modules for absent hardware or unused databases.
    let lost: Vec<String> = unmet(after)?.into_iter().filter(|need| !lacked.contains(need)).collect();
    if lost.is_empty() { Ok(()) } else { Err(BaseError::Lost(lost)) }
}

/// Returns the unmet requirements of the layers from `own` on, as text.
fn unmet(view: &Arc<View>, own: u32) -> Result<BTreeSet<String>, BaseError> {
    let mut unmet = BTreeSet::new();
    let mut python = None;
    for (path, _) in view.iter().filter(|(path, _)| path.file_name() == Some("pyvenv.cfg")) {
        let link = path.parent().unwrap_or_default().join("bin/python")?;
        match view.find(&link) {
            Some((program, _)) => python = Some(program.to_string()),
            None => drop(unmet.insert(format!("{link} leads to no Python"))),
        }
    }
    let c_library = python.as_ref().map(|_| view.c_library());
    let mut roots = Vec::new();
    for (path, node) in view.iter().filter(|(_, node)| node.layer >= own && node.kind == NodeKind::File) {
        let Some(found) = view.description(path).filter(|found| found.elf.is_dynamic()) else { continue };
        let needs_glibc = found.elf.needed.iter().any(|name| name == "libc.so.6");
        if needs_glibc && c_library == Some(Some(CLibrary::Musl)) {
            unmet.insert(format!("{path} is built for glibc, and the base has musl (layer {})", node.layer));
            continue;
        }
        roots.push(match &python {
            Some(python) if !found.elf.is_executable() => LoadRoot::loaded_by(path.to_string(), python),
            _ => LoadRoot::new(path.to_string()),
        });
    }
    let files = Arc::new(Overlay::with_own(view.clone(), own));
    let found = missing_libraries(&files, &roots)?;
    let libraries = found.libraries.iter();
    unmet
        .extend(libraries.map(|missing| format!("{} needs {}", missing.needed_by.display(), missing.soname)));
    unmet.extend(found.versions.iter().map(ToString::to_string));
    Ok(unmet)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tar, image};
    use super::*;
    use crate::elf::fixture::{Fixture, library, program};
    use crate::progress::Silent;

    const LD_SO: &str = "/lib64/ld-linux-x86-64.so.2";

    fn base(python: &str, glibc: &'static str) -> Tar {
        let libc = Fixture { defines: vec!["GLIBC_2.2.5", glibc], ..library(&[]) };
        Tar::default()
            .binary("lib64/ld-linux-x86-64.so.2", &library(&[]).bytes())
            .binary("lib64/libc.so.6", &libc.bytes())
            .binary(python, &program(LD_SO, &["libc.so.6"]).bytes())
    }

    fn own() -> Tar {
        let module = Fixture { versions: vec![("libc.so.6", "GLIBC_2.34")], ..library(&["libc.so.6"]) };
        Tar::default()
            .file("app/.venv/pyvenv.cfg", "home = /usr/bin\n")
            .link("app/.venv/bin/python", "/usr/bin/python3.12")
            .binary("app/.venv/lib/x.so", &module.bytes())
            .binary("app/.venv/lib/unused.so", &library(&["libcuda.so.1"]).bytes())
    }

    fn moved(to: Tar) -> Result<(), BaseError> {
        let before = image(&[base("usr/bin/python3.12", "GLIBC_2.34"), own()]);
        let after = image(&[to, own()]);
        check_rebase((&before, 1), (&after, 1), None, &Silent)
    }

    #[test]
    fn a_base_with_the_same_python_and_library_is_accepted() {
        moved(base("usr/bin/python3.12", "GLIBC_2.34")).unwrap();
    }

    #[test]
    fn lost_requirements_are_named() {
        for (to, word) in [
            (base("usr/bin/python3.13", "GLIBC_2.34"), "leads to no Python"),
            (base("usr/bin/python3.12", "GLIBC_2.31"), "GLIBC_2.34"),
        ] {
            let error = moved(to).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("libcuda"), "{error}");
        }
    }
}
