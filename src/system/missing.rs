//! Decides which missing libraries of an image's files are worth a warning, and groups these
//! warnings.
//!
//! The loader's search ([`crate::elf`]) reports the needs of a file as if Python loaded that file
//! first. Three kinds of files are never loaded first, and lack no library in practice:
//!
//! - modules that need a **driver's library**. The driver's version must equal the kernel module's,
//!   so the container runtime mounts the libraries into the container: NVIDIA's container toolkit
//!   `libcuda.so.1` and related ones, WSL `libdxcore.so`.
//! - modules that need a library **of another distribution** in the image, loaded earlier by their
//!   package: torchvision's need `libtorch.so`, and `import torchvision` imports torch. The loader
//!   takes a library by name from those already loaded.
//! - plug-ins for a **cluster's fabric**: libraries opened by another library if MPI or RDMA
//!   hardware is present, and skipped elsewhere. An extension module that needs MPI (mpi4py) is not
//!   a plug-in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::elf::{Elf, Missing};
use crate::plural::counted;
use crate::printable;
use crate::progress::Warning;

/// The most libraries named in one warning.
const NAMED: usize = 8;

/// Names of driver libraries up to `.so`; `*` may be the first or last character.
const DRIVER: [&str; 8] = [
    "libcuda",
    "libcudadebugger",
    "libnvcuvid",
    "libnvoptix",
    "libnvidia-*",
    "*_nvidia",
    "libdxcore",
    "libd3d12*",
];

/// Names of libraries for MPI, RDMA and their transports, up to `.so`.
const FABRIC: [&str; 16] = [
    "libmpi",
    "libmpi_cxx",
    "libmpicxx",
    "liboshmem",
    "libpmix",
    "libpmi",
    "libpmi2",
    "libibverbs",
    "librdmacm",
    "libmlx5",
    "libefa",
    "libfabric",
    "libucp",
    "libucs",
    "libuct",
    "libucm",
];

/// Returns whether the library comes with the driver of the machine that runs the image.
pub(crate) fn is_driver_library(soname: &str) -> bool {
    DRIVER.iter().any(|pattern| matches_pattern(pattern, soname))
}

fn is_fabric_library(soname: &str) -> bool {
    FABRIC.iter().any(|pattern| matches_pattern(pattern, soname))
}

fn matches_pattern(pattern: &str, soname: &str) -> bool {
    let Some((stem, _)) = soname.split_once(".so") else { return false };
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => stem.ends_with(end),
        (_, Some(start)) => stem.starts_with(start),
        _ => stem == pattern,
    }
}

/// An index of the ELF files of an image.
#[derive(Debug, Default)]
pub(crate) struct LibraryIndex<'a> {
    /// The files' paths by file name and by `DT_SONAME`.
    places: BTreeMap<&'a str, &'a str>,
    programs: BTreeSet<&'a str>,
    /// All names in `DT_NEEDED`.
    needed: BTreeSet<&'a str>,
}

impl<'a> LibraryIndex<'a> {
    /// Builds the index from paths and headers.
    pub(crate) fn of(files: impl IntoIterator<Item = (&'a str, &'a Elf)>) -> Self {
        let mut index = Self::default();
        for (place, header) in files {
            let soname = header.soname.as_deref();
            for name in [Some(file_name(place)), soname].into_iter().flatten() {
                index.places.entry(name).or_insert(place);
            }
            if header.is_executable() {
                index.programs.insert(place);
            }
            index.needed.extend(header.needed.iter().map(String::as_str));
        }
        index
    }

    /// Returns the path of the file with the name or `DT_SONAME` `soname`.
    pub(crate) fn place(&self, soname: &str) -> Option<&'a str> {
        self.places.get(soname).copied()
    }

    /// Returns whether the process of the file has the library, or works without.
    pub(crate) fn is_met(&self, file: &str, soname: &str) -> bool {
        is_driver_library(soname)
            || is_fabric_library(soname) && self.is_plug_in(file)
            || self.places.contains_key(soname) && !self.programs.contains(file)
    }

    /// Returns whether the file is a library that no other file links to and Python cannot import.
    fn is_plug_in(&self, file: &str) -> bool {
        let name = file_name(file);
        let importable = name.ends_with(".so") && !name.starts_with("lib");
        !importable && !self.programs.contains(file) && !self.needed.contains(name)
    }

    /// Returns warnings about `missing`, with files by their paths in the index. `clause` completes
    /// the sentence "libraries that …".
    pub(crate) fn warnings(&self, missing: &[Missing], clause: &str, help: &str) -> Vec<Warning> {
        let mut absent: Vec<(&str, &str)> = Vec::new();
        let mut misplaced: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for Missing { soname, needed_by } in missing {
            let file = needed_by.to_str().unwrap_or_default();
            if self.is_met(file, soname) {
                continue;
            }
            match self.places.get(soname.as_str()) {
                // A program is a process of its own, without libraries loaded earlier.
                Some(place) => misplaced.entry((soname, folder(place))).or_default().push(file),
                None => absent.push((file, soname)),
            }
        }
        let misplaced = misplaced.into_iter().map(|((soname, folder), files)| {
            let need = if files.len() == 1 { "needs" } else { "need" };
            Warning::new(
                and_others(&files),
                format!("{need} {soname}, and the loader does not search {folder}"),
            )
            .with_help(format!("set LD_LIBRARY_PATH={folder} for the program"))
        });
        misplaced.chain(combined_warning(&absent, clause).map(|warning| warning.with_help(help))).collect()
    }
}

/// Returns one warning about all libraries absent from the image: each with the first file that
/// needs the library and the number of others.
fn combined_warning(missing: &[(&str, &str)], clause: &str) -> Option<Warning> {
    let mut by_library: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, soname) in missing {
        by_library.entry(soname).or_default().push(file);
        by_file.entry(file).or_default().push(soname);
    }
    let files = by_file.len();
    let (file, sonames) = by_file.pop_first()?;
    if files == 1 && sonames.len() <= NAMED {
        return Some(Warning::new(
            printable::name(file),
            format!("needs {}, which {clause}", sonames.join(", ")),
        ));
    }
    let count = by_library.len();
    let mut libraries: Vec<_> = by_library.into_iter().collect();
    libraries.sort_by_key(|(soname, files)| (std::cmp::Reverse(files.len()), *soname));
    let mut message = format!(
        "{} {} {} that {clause}",
        counted(files as u64, "file"),
        if files == 1 { "needs" } else { "need" },
        if count == 1 { "a library".to_owned() } else { format!("{count} libraries") },
    );
    for (soname, files) in libraries.iter().take(NAMED) {
        let _ = write!(message, "\n{soname}, needed by {}", and_others(files));
    }
    if let Some(more) = count.checked_sub(NAMED).filter(|more| *more > 0) {
        let _ = write!(message, "\nand {more} more");
    }
    Some(Warning::new("shared libraries", message))
}

/// `a`, `a and 1 other`, `a and 7 others`.
fn and_others(files: &[&str]) -> String {
    let first = printable::name(files.first().copied().unwrap_or_default());
    match files.len() {
        0 | 1 => first,
        2 => format!("{first} and 1 other"),
        many => format!("{first} and {} others", many - 1),
    }
}

fn file_name(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or(place)
}

fn folder(place: &str) -> &str {
    place.rsplit_once('/').map_or("/", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::{Fixture, SONAME, library, program};
    use std::path::Path;

    fn header(fixture: &Fixture) -> Elf {
        crate::elf::parse(&fixture.bytes(), Path::new("x")).unwrap().unwrap()
    }

    /// Returns the warnings for an image of these files with none of their needs found.
    fn warnings(files: &[(&str, Fixture)]) -> Vec<String> {
        let headers: Vec<(&str, Elf)> = files.iter().map(|(place, file)| (*place, header(file))).collect();
        let mut missing: Vec<Missing> = headers
            .iter()
            .flat_map(|(place, header)| header.needed.iter().map(move |soname| (soname.clone(), place)))
            .map(|(soname, place)| Missing { soname, needed_by: place.into() })
            .collect();
        missing.sort();
        let index = LibraryIndex::of(headers.iter().map(|(place, header)| (*place, header)));
        let warnings = index.warnings(&missing, "nobody has", "look for it");
        warnings.iter().map(ToString::to_string).collect()
    }

    fn alone(place: &str, soname: &str) -> Vec<String> {
        warnings(&[(place, library(&[soname]))])
    }

    #[test]
    fn no_warning_about_driver_libraries() {
        for soname in [
            "libcuda.so.1",
            "libcuda.so",
            "libcudadebugger.so.1",
            "libnvidia-ml.so.1",
            "libnvidia-encode.so.1",
            "libnvcuvid.so.1",
            "libnvoptix.so.1",
            "libGLX_nvidia.so.0",
            "libvdpau_nvidia.so.1",
            "libdxcore.so",
        ] {
            assert_eq!(alone("/v/m.so", soname), <[&str; 0]>::default(), "{soname}");
        }
        // A toolkit's libraries, unlike a driver's, must be installed.
        for soname in
            ["libcudart.so.12", "libcudnn.so.9", "libnvrtc.so.12", "libnvinfer.so.10", "libOpenCL.so.1"]
        {
            assert_eq!(alone("/v/m.so", soname), [format!("/v/m.so: needs {soname}, which nobody has")]);
        }
    }

    #[test]
    fn a_library_of_another_distribution_is_loaded_earlier() {
        let torch = ("/v/torch/lib/libtorch.so", library(&[]).with(SONAME, "libtorch.so"));
        // Found by soname, not by file name.
        let mkl = ("/v/lib/mkl_core", library(&[]).with(SONAME, "libmkl_core.so.3"));
        let vision = ("/v/torchvision/_C.so", library(&["libtorch.so", "libmkl_core.so.3"]));
        assert_eq!(warnings(&[torch, mkl, vision]), <[&str; 0]>::default());
    }

    #[test]
    fn a_program_has_no_libraries_loaded_earlier() {
        let files = [
            ("/v/cli/lib/libdb2.so.1", library(&[]).with(SONAME, "libdb2.so.1")),
            ("/v/cli/bin/db2level", program("/lib64/ld-linux-x86-64.so.2", &["libdb2.so.1"])),
            ("/v/cli/bin/db2trc", program("/lib64/ld-linux-x86-64.so.2", &["libdb2.so.1"])),
        ];
        let message =
            "/v/cli/bin/db2level and 1 other: need libdb2.so.1, and the loader does not search /v/cli/lib";
        assert_eq!(warnings(&files), [message]);
    }

    #[test]
    fn no_warning_about_plug_ins_for_a_fabric() {
        for place in ["/v/nvshmem_bootstrap_mpi.so.3", "/v/libcufile_rdma.so.1", "/v/libtransport.so"] {
            assert_eq!(alone(place, "libmpi.so.40"), <[&str; 0]>::default(), "{place}");
        }
        // An importable module, a library that is linked to, and another library.
        let module = "/v/mpi4py/MPI.cpython-311-x86_64-linux-gnu.so";
        assert_eq!(
            alone(module, "libmpi.so.12"),
            [format!("{module}: needs libmpi.so.12, which nobody has")]
        );
        let linked = [("/v/libx.so.1", library(&["libibverbs.so.1"])), ("/v/m.so", library(&["libx.so.1"]))];
        assert_eq!(warnings(&linked), ["/v/libx.so.1: needs libibverbs.so.1, which nobody has"]);
        assert_eq!(alone("/v/libx.so.1", "libodbc.so.2").len(), 1);
    }

    #[test]
    fn one_file_is_named_in_its_own_warning() {
        let module = ("/v/pyodbc.so", library(&["libodbc.so.2", "libcuda.so.1", "libltdl.so.7"]));
        assert_eq!(warnings(&[module]), ["/v/pyodbc.so: needs libltdl.so.7, libodbc.so.2, which nobody has"]);
    }

    #[test]
    fn many_files_share_a_warning() {
        let mut files = vec![
            ("/v/one.so", library(&["libone.so.1", "libtwo.so.1"])),
            ("/v/two.so", library(&["libtwo.so.1"])),
            ("/v/three.so", library(&["libtwo.so.1"])),
        ];
        let message = "shared libraries: 3 files need 2 libraries that nobody has\n\
            libtwo.so.1, needed by /v/one.so and 2 others\nlibone.so.1, needed by /v/one.so";
        assert_eq!(warnings(&files), [message]);
        let names: Vec<String> = (10..20).map(|number| format!("lib{number}.so")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        files.push(("/v/four.so", library(&names)));
        let message = warnings(&files).remove(0);
        assert!(
            message.contains("4 files need 12 libraries") && message.ends_with("\nand 4 more"),
            "{message}"
        );
        assert_eq!(message.lines().count(), 2 + NAMED, "{message}");
    }

    #[test]
    fn the_warning_of_one_file_is_limited_too() {
        let names: Vec<String> = (10..30).map(|number| format!("lib{number}.so")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = warnings(&[("/v/x.so", library(&names))]).remove(0);
        assert!(
            message.contains("1 file needs 20 libraries") && message.ends_with("and 12 more"),
            "{message}"
        );
    }
}
