//! IPO101 to IPO105: the dynamic loader finds the libraries and symbol versions of every ELF file.
//!
//! The search is that of [`crate::elf`]: ld.so(8) of the GNU C library, and musl's loader for
//! programs that name it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::{self, BaseError, MissingVersion};
use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::elf::{Description, Elf, LoadRoot, Machine, Missing};
use crate::platform::Platform;
use crate::system::LibraryIndex;
use crate::tree::ImagePath;

const CODES: [&str; 5] = ["IPO101", "IPO102", "IPO103", "IPO104", "IPO105"];

/// An ELF file of the image that the loader maps.
struct LoaderFile {
    path: ImagePath,
    root: LoadRoot,
}

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !reporter.wants(&CODES) {
        return;
    }
    report_platform(image, reporter);
    let (mut roots, mut headers) = (Vec::new(), Vec::new());
    for (path, _) in image.iter().filter(|(_, node)| node.is_file() && node.is_own()) {
        let Some(description) = image.elf(path) else { continue };
        let loaded = LoaderFile { root: root_of(image, path, &description), path: path.clone() };
        match base::check_loadable(&image.files, &loaded.root) {
            // Of a static program, only the machine matters.
            Ok(()) if !description.elf.is_dynamic() => {}
            Ok(()) => {
                headers.push((path.to_string(), description.elf));
                roots.push(loaded.root);
            }
            Err(error) => report_unloadable(image, &loaded, &error, reporter),
        }
    }
    let found = match base::missing_libraries(&image.files, &roots) {
        Ok(found) => found,
        Err(error) => return reporter.report(Diagnostic::new("IPO101", error.to_string())),
    };
    report_missing(image, &headers, &found.libraries, reporter);
    report_versions(image, found.versions, reporter);
}

/// Reports an image whose files are for another architecture than its configuration says: a node of that architecture
/// pulls the image and cannot start it.
fn report_platform(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let Some(of_files) = image.files.view().machine().and_then(Machine::platform) else { return };
    let declared = &image.platform;
    // Flags of files tell no variant for certain.
    let found = Platform::new("linux", of_files.architecture, None);
    if declared.os != "linux" || declared.starts_programs_of(&found) {
        return;
    }
    let message = format!(
        "the image is for {declared}, and most of its programs and libraries are for {}",
        of_files.architecture
    );
    reporter.report(
        Diagnostic::new("IPO101", message)
            .with_help("build the image for the platform of its files, or from a base for the platform"),
    );
}

/// Returns the root for the loader: a module is loaded by the Python that has it on its path.
fn root_of(image: &CheckedImage, path: &ImagePath, description: &Description) -> LoadRoot {
    let inside = path.to_string();
    if description.elf.is_executable() {
        return LoadRoot::new(inside);
    }
    let of_site = image.pythons.iter().find(|python| python.has(path));
    let executable = of_site.or(image.pythons.first()).and_then(|python| python.executable.as_ref());
    match executable {
        Some(executable) if of_site.is_some() || image.is_source(path) => {
            LoadRoot::loaded_by(inside, executable.to_string())
        }
        _ => LoadRoot::new(inside),
    }
}

fn report_unloadable(
    image: &CheckedImage,
    loaded: &LoaderFile,
    error: &BaseError,
    reporter: &mut Reporter<'_>,
) {
    let code = match error {
        BaseError::CLibrary { .. } => "IPO105",
        _ => "IPO101",
    };
    let message = error.to_string();
    let reason = message.split_once(": ").map_or(message.as_str(), |(_, reason)| reason).to_owned();
    // Python imports a module of its own directories; a distribution may bring programs for several
    // machines, and start the right one.
    let is_module = loaded.root.executable.is_some();
    reporter.report(
        Diagnostic::new(code, reason)
            .with_severity(if is_module { Severity::Error } else { Severity::Warning })
            .at(&loaded.path)
            .of(image.owner(&loaded.path).as_ref())
            .with_help("install the distribution for the platform of the image, or exclude the file"),
    );
}

/// Reports missing loaders and libraries, each library once with all files that need it.
fn report_missing(
    image: &CheckedImage,
    headers: &[(String, Elf)],
    missing: &[Missing],
    reporter: &mut Reporter<'_>,
) {
    let index = LibraryIndex::of(headers.iter().map(|(path, header)| (path.as_str(), header)));
    let searched = search_path(image);
    let mut by_name: BTreeMap<&str, Vec<ImagePath>> = BTreeMap::new();
    for Missing { soname, needed_by } in missing {
        let Some((file, path)) = needed_by.to_str().and_then(|file| Some((file, image_path(needed_by)?)))
        else {
            continue;
        };
        let is_own = image.lookup(&path).is_none_or(CheckedNode::is_own);
        let is_searched = || searched.iter().any(|folder| has(image, folder, soname));
        if is_own && !index.is_met(file, soname) && !is_searched() {
            by_name.entry(soname).or_default().push(path);
        }
    }
    for (soname, paths) in by_name {
        let owner = paths.first().and_then(|path| image.owner(path));
        let found = if soname.starts_with('/') {
            Diagnostic::new("IPO102", format!("needs the loader {soname}, which is not in the image"))
                .with_help("use a base with this C library, or a program that is built for the image's")
        } else if let Some(place) = index.place(soname) {
            let folder = place.rsplit_once('/').map_or("/", |(folder, _)| folder);
            Diagnostic::new("IPO103", format!("needs {soname}, and the loader does not search {folder}"))
                .with_help(format!("set LD_LIBRARY_PATH={folder} for the program"))
        } else {
            Diagnostic::new("IPO103", format!("needs {soname}, which is not in the image")).with_help(
                "name the library in the setting `libraries`, or use a base with the library, if the file is used",
            )
        };
        reporter.report(found.of(owner.as_ref()).at_all(paths));
    }
}

/// Returns the directories of `LD_LIBRARY_PATH` in the image, which the loader searches for every file.
fn search_path(image: &CheckedImage) -> Vec<ImagePath> {
    let text = image.config.variable("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = text.split([':', ';']).filter(|folder| folder.starts_with('/'));
    folders.filter_map(|folder| ImagePath::new(folder).ok()).collect()
}

fn has(image: &CheckedImage, folder: &ImagePath, soname: &str) -> bool {
    folder.join(soname).is_ok_and(|path| image.find(&path).is_some_and(|(_, node)| node.is_file()))
}

/// Reports symbol versions, each once for a library with all files that need the version.
fn report_versions(image: &CheckedImage, missing: Vec<MissingVersion>, reporter: &mut Reporter<'_>) {
    let mut by_version: BTreeMap<(String, String, Option<String>), Vec<ImagePath>> = BTreeMap::new();
    for MissingVersion { needed_by, soname, library, version, newest } in missing {
        let Some(path) = image_path(&needed_by) else { continue };
        let key = (format!("needs {version} of {soname}, and {}", library.display()), version, newest);
        by_version.entry(key).or_default().push(path);
    }
    for ((message, version, newest), paths) in by_version {
        let owner = paths.first().and_then(|path| image.owner(path));
        let rest =
            newest.map_or_else(|| "does not have it".to_owned(), |newest| format!("goes up to {newest}"));
        let help = if version.starts_with("GLIBC_") {
            "use a base with a newer glibc, or install a wheel for an older glibc"
        } else {
            "use a base with a newer library, or another version of the distribution"
        };
        reporter.report(
            Diagnostic::new("IPO104", format!("{message} {rest}"))
                .of(owner.as_ref())
                .at_all(paths)
                .with_help(help),
        );
    }
}

fn image_path(path: &Path) -> Option<ImagePath> {
    ImagePath::new(path.to_str()?).ok()
}
