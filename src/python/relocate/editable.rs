//! Editable installs: rewrites `.pth` files, modules with tables of paths, and links for the
//! source's path in the image.

use std::collections::BTreeMap;
use std::path::Path;

use super::sources::{EditableSource, SourcePlace};
use super::{Relocator, literals, pth};
use crate::progress::Warning;
use crate::python::environment::distribution::{Distribution, DistributionKind};
use crate::python::environment::error::VenvError;
use crate::python::environment::legacy::{self, LinkedMetadata};
use crate::python::environment::listing::read_text;
use crate::traced_fs;
use crate::tree::{Content, Entry, HostFile, ImagePath, Owner};

/// The largest accepted `.pth` file or editable finder, in bytes. A finder of a project with
/// thousands of modules has less than 1 MiB.
const LIMIT: u64 = 16 << 20;

/// Rejects editable installs that find or build modules on the build machine at each import.
pub(super) fn refuse_loaders(distribution: &Distribution) -> Result<(), VenvError> {
    for place in distribution.files.keys() {
        let name =
            place.strip_prefix(&distribution.site).and_then(|rest| rest.strip_prefix('/')).unwrap_or("");
        let backend = match name.strip_prefix('_') {
            Some(name) if name.ends_with("_editable_loader.py") => "meson-python",
            Some(name) if name.ends_with("_editable.py") => "scikit-build-core",
            _ => continue,
        };
        return Err(VenvError::EditableLoader {
            distribution: distribution.metadata.name.clone(),
            backend,
            file: place.clone(),
        });
    }
    Ok(())
}

impl Relocator<'_> {
    /// Returns the new content of a `.pth`, `.egg-link` or finder; `None` for unchanged and all
    /// other files.
    pub(super) fn module_or_path(
        &mut self,
        place: &str,
        file: &HostFile,
        distribution: Option<&Distribution>,
    ) -> Result<Option<Content>, VenvError> {
        let venv = self.relocation.venv;
        let Some((site, name)) = venv
            .site_packages
            .iter()
            .find_map(|site| Some((site, place.strip_prefix(site.as_str())?.strip_prefix('/')?)))
        else {
            return Ok(None);
        };
        let owner = distribution.map_or(name, |distribution| &distribution.name);
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        let is_finder = ["__editable__", "_editable_impl_", "_editable_skbc_", "__editables_"]
            .iter()
            .any(|start| name.starts_with(start));
        let (text, found, unmapped) = match extension {
            _ if name.contains('/') => return Ok(None),
            Some("pth" | "egg-link") => {
                let text = read_text(file, LIMIT)?;
                let result = pth::relocate(&text, &venv.root.join(site), &venv.root, self.mapping);
                (result.text, result.directories, result.unmapped)
            }
            Some("py") if is_finder => {
                let result = literals::relocate(&read_text(file, LIMIT)?, self.mapping);
                (result.text, result.paths, result.unmapped)
            }
            _ => return Ok(None),
        };
        for path in unmapped {
            self.relocated.warnings.push(
                Warning::new(self.host(place), format!("refers to {path}, which is not in the image"))
                    .with_help("install its project, or move the directory into the context"),
            );
        }
        for (host, image) in found {
            self.source(owner, &host, &image);
        }
        Ok(text.map(Content::from))
    }

    /// Adds the metadata of a source linked by `setup.py develop`: Python reads them beside the
    /// source, but an image does not have them there.
    pub(super) fn linked_metadata(
        &mut self,
        distribution: &Distribution,
        entries: &mut BTreeMap<String, Entry>,
    ) -> Result<(), VenvError> {
        let DistributionKind::EggLink(source) = &distribution.kind else { return Ok(()) };
        let Some(LinkedMetadata { folder, files }) = legacy::linked_metadata(source, &distribution.name)?
        else {
            return Ok(());
        };
        for (name, file) in files {
            let place = format!("{}/{folder}/{name}", distribution.site);
            let entry = Entry::file(self.at(&place)?, Content::Host(file), distribution.owner());
            entries.entry(place).or_insert(entry);
        }
        Ok(())
    }

    /// Adds a link to a directory outside the environment, such as those of
    /// `flit install --symlink`.
    pub(super) fn linked_source(
        &mut self,
        place: &str,
        path: ImagePath,
        target: &Path,
        owner: &Owner,
        distribution: Option<&Distribution>,
    ) -> Result<Option<Entry>, VenvError> {
        let name = place.rsplit('/').next().unwrap_or(place);
        let image = match self.mapping.map(target) {
            Some(image) => image,
            None => self.relocation.prefix.join("src")?.join(name)?,
        };
        self.source(distribution.map_or(name, |distribution| &distribution.name), target, &image);
        Ok(Some(Entry::symlink(path, image.to_string(), owner.clone())))
    }

    /// Records a source needed in the image. Absent sources are ignored.
    fn source(&mut self, name: &str, host: &Path, image: &ImagePath) {
        if !traced_fs::exists(host) {
            return;
        }
        let real = traced_fs::canonicalize(host).unwrap_or_else(|_| host.to_path_buf());
        let (venv, context) = (self.relocation.venv, self.relocation.context);
        let in_environment = real.starts_with(&venv.root);
        // A checkout of pip's in the environment is source; other files in the environment have
        // entries.
        let is_checkout = || {
            let roots = venv.distributions.iter().filter_map(Distribution::editable_root);
            roots.filter_map(|root| traced_fs::canonicalize(root).ok()).any(|root| real.starts_with(root))
        };
        if in_environment && !is_checkout() {
            return;
        }
        let inside = |path: &Path| {
            path.starts_with(context)
                || traced_fs::canonicalize(context).is_ok_and(|context| path.starts_with(context))
        };
        let in_context = !in_environment && (inside(host) || inside(&real));
        // Projects may be nested: the longest root is the innermost project.
        let project = venv
            .distributions
            .iter()
            .filter_map(|distribution| {
                let root = traced_fs::canonicalize(distribution.editable_root()?).ok()?;
                real.starts_with(&root).then_some((root, &distribution.name))
            })
            .max_by_key(|(root, _)| root.as_os_str().len());
        let (project, name) = match project {
            Some((root, name)) => (root, name.to_string()),
            None => (real.clone(), name.to_owned()),
        };
        self.relocated.sources.push(EditableSource {
            name,
            host: real,
            image: image.clone(),
            project,
            place: if in_context { SourcePlace::Context } else { SourcePlace::Elsewhere },
        });
    }
}
