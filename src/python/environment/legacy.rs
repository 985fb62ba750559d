//! Metadata formats older than `.dist-info`: `.egg-info` directories (setuptools), `.egg-info`
//! files (distutils), `.egg-link` files (`setup.py develop`) and eggs, directories or zip archives
//! (`setup.py install`).
//!
//! No standard describes them; setuptools' documentation ("The Internal Structure of Python Eggs")
//! does. Their files are listed in `installed-files.txt`, or found by the names of their modules.
//! An egg holds all of its files, and Python imports from it if a `.pth` file names it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::archive;
use super::distribution::{Distribution, DistributionKind, INFO_LIMIT, Recorded, Site, is_bytecode_cache};
use super::error::VenvError;
use super::listing::{ListingEntry, has_extension, read_bytes, read_text};
use crate::error::FileError;
use crate::progress::Warning;
use crate::python::metadata::core_metadata::Metadata;
use crate::python::metadata::entry_points;
use crate::python::metadata::name::normalize;
use crate::python::metadata::record;
use crate::traced_fs;
use crate::tree::HostFile;

/// Reads an `.egg-info` directory or file.
pub(crate) fn egg_info(
    site: &Site<'_>,
    info: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Distribution, VenvError> {
    let is_file = site.listing.contains_key(info);
    let package_info = if is_file { info.to_owned() } else { format!("{info}/PKG-INFO") };
    let malformed = |reason: &'static str| VenvError::Malformed { path: site.host(&package_info), reason };
    let bytes = site.bytes(&package_info)?.ok_or_else(|| malformed("no such file"))?;
    let mut metadata = Metadata::parse(&bytes).map_err(malformed)?;
    let beside = |name: &str| site.text(&format!("{info}/{name}"));
    if metadata.requires_dist.is_empty()
        && let Some(text) = beside("requires.txt")?
    {
        metadata.requires_dist = requires_dist(&text);
    }
    let mut distribution = plain(site, info, metadata, DistributionKind::EggInfo);
    distribution.entry_points = entry_points::parse(&beside("entry_points.txt")?.unwrap_or_default());
    distribution.top_level =
        beside("top_level.txt")?.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if let Some(text) = beside("installed-files.txt")? {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(place) = record::resolve(line.trim(), info, site.roots)
                && site.listing.contains_key(&place)
                && !is_bytecode_cache(&place)
            {
                distribution.files.insert(place, Recorded::default());
            }
        }
    } else {
        guess_files(site, &mut distribution, warnings);
    }
    if is_file {
        distribution.files.insert(info.to_owned(), Recorded::default());
    }
    for (rest, _) in site.below(info) {
        distribution.files.insert(format!("{info}/{rest}"), Recorded::default());
    }
    Ok(distribution)
}

/// Reads an `.egg-link`: its first line is the directory with the source and its `.egg-info`.
pub(crate) fn egg_link(
    site: &Site<'_>,
    info: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Distribution>, VenvError> {
    let text = site.text(info)?.unwrap_or_default();
    let source = PathBuf::from(text.lines().next().unwrap_or_default().trim());
    let link = info.rsplit('/').next().unwrap_or(info);
    let name = normalize(link.strip_suffix(".egg-link").unwrap_or(link));
    let Some(package_info) = package_info_in(&source, &name)? else {
        warnings.push(
            Warning::new(
                site.host(info).display().to_string(),
                format!("links to {}, which has no .egg-info", source.display()),
            )
            .with_help("install it again with pip or uv"),
        );
        return Ok(None);
    };
    let file = |name: &str| HostFile::new(package_info.join(name)).ok();
    let read = |name: &str| file(name).map(|file| read_text(&file, INFO_LIMIT)).transpose();
    let malformed =
        |reason: &'static str| VenvError::Malformed { path: package_info.join("PKG-INFO"), reason };
    let package_file = file("PKG-INFO").ok_or_else(|| malformed("no such file"))?;
    let mut metadata = Metadata::parse(&read_bytes(&package_file, INFO_LIMIT)?).map_err(malformed)?;
    if metadata.requires_dist.is_empty()
        && let Some(text) = read("requires.txt")?
    {
        metadata.requires_dist = requires_dist(&text);
    }
    let mut distribution = plain(site, info, metadata, DistributionKind::EggLink(source));
    distribution.entry_points = entry_points::parse(&read("entry_points.txt")?.unwrap_or_default());
    distribution.files.insert(info.to_owned(), Recorded::default());
    Ok(Some(distribution))
}

/// Reads an egg named by a `.pth` file; Python ignores any other.
pub(crate) fn egg(
    site: &Site<'_>,
    info: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Distribution>, VenvError> {
    let mut unused = |reason: &str| {
        warnings.push(
            Warning::new(site.host(info).display().to_string(), format!("is left out: {reason}"))
                .with_help("install it again with pip or uv"),
        );
        Ok(None)
    };
    if !is_named_by_pth(site, info)? {
        return unused("no .pth file names this egg");
    }
    let zipped = match site.listing.get(info).and_then(ListingEntry::file) {
        Some(file) => match archive::members(&read_bytes(file, INFO_LIMIT)?, "EGG-INFO/", INFO_LIMIT) {
            Ok(members) => Some(members),
            Err(error) => return unused(&format!("cannot read this egg: {error}")),
        },
        None => None,
    };
    let read = |name: &str| match &zipped {
        Some(members) => Ok(members.get(name).cloned()),
        None => site.bytes(&format!("{info}/{name}")),
    };
    let Some(bytes) = read("EGG-INFO/PKG-INFO")? else {
        return unused("this egg has no EGG-INFO/PKG-INFO");
    };
    let mut metadata = Metadata::parse(&bytes)
        .map_err(|reason| VenvError::Malformed { path: site.host(info).join("EGG-INFO/PKG-INFO"), reason })?;
    let text = |name: &str| -> Result<String, VenvError> {
        Ok(String::from_utf8_lossy(&read(name)?.unwrap_or_default()).into_owned())
    };
    if metadata.requires_dist.is_empty() {
        metadata.requires_dist = requires_dist(&text("EGG-INFO/requires.txt")?);
    }
    let entry_points = entry_points::parse(&text("EGG-INFO/entry_points.txt")?);
    let top_level = text("EGG-INFO/top_level.txt")?;
    let mut distribution = plain(site, info, metadata, DistributionKind::Egg);
    distribution.entry_points = entry_points;
    distribution.top_level = top_level.split_whitespace().map(str::to_owned).collect();
    if site.listing.contains_key(info) {
        distribution.files.insert(info.to_owned(), Recorded::default());
    }
    for (rest, _) in site.below(info) {
        let place = format!("{info}/{rest}");
        if !is_bytecode_cache(&place) {
            distribution.files.insert(place, Recorded::default());
        }
    }
    Ok(Some(distribution))
}

/// Returns true if a line of a `.pth` file of the directory of packages leads to `place`.
fn is_named_by_pth(site: &Site<'_>, place: &str) -> Result<bool, VenvError> {
    let is_pth = |name: &str| !name.contains('/') && has_extension(name, "pth");
    for (name, _) in site.below(site.place).filter(|(name, _)| is_pth(name)) {
        let text = site.text(&format!("{}/{name}", site.place))?.unwrap_or_default();
        if text
            .lines()
            .any(|line| record::resolve(line.trim(), site.place, site.roots).as_deref() == Some(place))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The metadata of a source linked by `setup.py develop`.
#[derive(Debug)]
pub(crate) struct LinkedMetadata {
    /// The name of its `.egg-info` directory, beside the source.
    pub(crate) folder: String,
    /// The files in `folder` by their names.
    pub(crate) files: BTreeMap<String, HostFile>,
}

/// Finds the metadata of the distribution `name` (normalized) in its source directory.
pub(crate) fn linked_metadata(source: &Path, name: &str) -> Result<Option<LinkedMetadata>, VenvError> {
    let Some(folder) = package_info_in(source, name)? else { return Ok(None) };
    let Some(own) = folder.file_name().and_then(|own| own.to_str()) else { return Ok(None) };
    let mut files = BTreeMap::new();
    for entry in traced_fs::read_dir(&folder).map_err(FileError::of("list", &folder))? {
        let path = entry.map_err(FileError::of("list", &folder))?.path();
        // `SOURCES.txt` lists the files of one checkout only.
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| *name != "SOURCES.txt");
        if let (Some(name), true) = (name, traced_fs::is_file(&path)) {
            let real = traced_fs::canonicalize(&path).map_err(FileError::of("read", &path))?;
            files.insert(name.to_owned(), HostFile::new(real)?);
        }
    }
    Ok(Some(LinkedMetadata { folder: own.to_owned(), files }))
}

/// Returns the `.egg-info` directory in a source directory: that of `name` (normalized), or the
/// first.
fn package_info_in(source: &Path, name: &str) -> Result<Option<PathBuf>, VenvError> {
    let entries = match traced_fs::read_dir(source) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(FileError::new("list", source, error).into()),
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::of("list", source))?.path();
        if path.extension().is_some_and(|extension| extension == "egg-info") && traced_fs::is_dir(&path) {
            found.push(path);
        }
    }
    let is_other = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        normalize(stem.split('-').next().unwrap_or(stem)) != name
    };
    found.sort_by_key(|path| (is_other(path), path.clone()));
    Ok(found.into_iter().next())
}

fn plain(site: &Site<'_>, info: &str, metadata: Metadata, kind: DistributionKind) -> Distribution {
    Distribution {
        name: normalize(&metadata.name).into(),
        version: metadata.version.as_str().into(),
        metadata,
        kind,
        origin: site.origin,
        site: site.place.to_owned(),
        info: info.to_owned(),
        files: BTreeMap::new(),
        wheel: None,
        entry_points: Vec::new(),
        direct_url: None,
        installer: None,
        requested: false,
        top_level: Vec::new(),
    }
}

/// Finds the files of a distribution without a list of them: the packages and modules in
/// `top_level.txt`, else those named like the distribution.
pub(crate) fn guess_files(site: &Site<'_>, distribution: &mut Distribution, warnings: &mut Vec<Warning>) {
    let mut names = distribution.top_level.clone();
    if names.is_empty() {
        names = vec![distribution.metadata.name.replace(['-', '.'], "_"), distribution.metadata.name.clone()];
        names.push(distribution.name.replace('-', "_"));
    }
    let before = distribution.files.len();
    for name in names {
        if name.is_empty() || name.contains("..") || name.starts_with('/') {
            continue;
        }
        let start = format!("{}/{name}", distribution.site);
        for (place, listed) in site.listing.range(start.clone()..) {
            let Some(rest) = place.strip_prefix(&start) else { break };
            // The package's files, `name.py`, or `name.cpython-311-x86_64-linux-gnu.so`.
            let module =
                rest == ".py" || (rest.starts_with('.') && has_extension(rest, "so") && !rest.contains('/'));
            if (rest.starts_with('/') || module)
                && !is_bytecode_cache(place)
                && !matches!(listed, ListingEntry::Dangling { .. })
            {
                distribution.files.insert(place.clone(), Recorded::default());
            }
        }
    }
    let found = if distribution.files.len() > before {
        "its files were found by name"
    } else {
        "no files were found by name"
    };
    warnings.push(
        Warning::new(
            format!("{} {}", distribution.metadata.name, distribution.version),
            format!("has no record of its files; {found}"),
        )
        .with_help("install it again with pip or uv"),
    );
}

/// Converts setuptools' `requires.txt` to `Requires-Dist` values.
///
/// ```text
/// click>=7
///
/// [standard:sys_platform != "win32"]
/// uvloop
/// ```
pub(in crate::python) fn requires_dist(text: &str) -> Vec<String> {
    let mut requirements = Vec::new();
    let mut condition = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let (extra, marker) = section.split_once(':').unwrap_or((section, ""));
            condition = match (extra.trim(), marker.trim()) {
                ("", "") => String::new(),
                ("", marker) => format!("; {marker}"),
                (extra, "") => format!("; extra == \"{extra}\""),
                (extra, marker) => format!("; ({marker}) and extra == \"{extra}\""),
            };
        } else {
            // A marker after a URL needs white space before it.
            let gap = if line.contains('@') && !condition.is_empty() { " " } else { "" };
            requirements.push(format!("{line}{gap}{condition}"));
        }
    }
    requirements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::discover::discover;
    use crate::python::environment::distribution::DistributionOrigin;
    use crate::python::environment::listing::list;

    const SITE: &str = "lib/python3.11/site-packages";

    fn read(root: &Path) -> (Vec<Distribution>, Vec<Warning>) {
        let listing = list(root).unwrap();
        let roots = [root.to_str().unwrap()];
        let site =
            Site { place: SITE, listing: &listing, roots: &roots, origin: DistributionOrigin::Environment };
        let mut warnings = Vec::new();
        (discover(&site, &mut warnings).unwrap(), warnings)
    }

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs_err::create_dir_all(root.join(SITE)).unwrap();
        for (path, text) in files {
            let path = root.join(SITE).join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        (folder, root)
    }

    #[test]
    fn sections_of_requires_txt_become_markers() {
        assert_eq!(
            requires_dist(
                "a>=1\n\n[x]\nb\n[:python_version < \"3\"]\nc\n[x:os_name == \"nt\"]\nd\n\
                 e @ https://h/e.zip\n"
            ),
            [
                "a>=1",
                "b; extra == \"x\"",
                "c; python_version < \"3\"",
                "d; (os_name == \"nt\") and extra == \"x\"",
                "e @ https://h/e.zip ; (os_name == \"nt\") and extra == \"x\"",
            ]
        );
    }

    #[test]
    fn an_egg_info_directory_lists_its_files() {
        let (_folder, root) = folder(&[
            ("x-1.egg-info/PKG-INFO", "Name: x\nVersion: 1\n"),
            ("x-1.egg-info/installed-files.txt", "../x/__init__.py\n../../../../../etc/passwd\nPKG-INFO\n"),
            ("x/__init__.py", ""),
            ("x/other.py", ""),
        ]);
        let (found, warnings) = read(&root);
        let names: Vec<_> = found[0].files.keys().map(|place| &place[SITE.len()..]).collect();
        assert_eq!(names, ["/x-1.egg-info/PKG-INFO", "/x-1.egg-info/installed-files.txt", "/x/__init__.py"]);
        assert_eq!(warnings, []);
    }

    #[test]
    fn guesses_the_files_of_an_egg_info_file_with_a_warning() {
        let (_folder, root) = folder(&[
            ("My.Mod-1.egg-info", "Name: My.Mod\nVersion: 1\n"),
            ("My_Mod.py", ""),
            ("My_Module.py", ""),
            ("my_mod/a.py", ""),
        ]);
        let (found, warnings) = read(&root);
        assert_eq!(found[0].files.len(), 3);
        assert!(warnings[0].message.contains("files were found by name"));
    }

    #[test]
    fn reads_an_egg_named_by_a_pth_file() {
        let (_folder, root) = folder(&[
            ("My.Egg-1-py3.11.egg/EGG-INFO/PKG-INFO", "Name: My.Egg\nVersion: 1\n"),
            ("My.Egg-1-py3.11.egg/EGG-INFO/requires.txt", "click\n[x]\nsix\n"),
            ("My.Egg-1-py3.11.egg/EGG-INFO/entry_points.txt", "[console_scripts]\nrun = my:main\n"),
            ("My.Egg-1-py3.11.egg/my/__init__.py", ""),
            ("My.Egg-1-py3.11.egg/my/__pycache__/__init__.cpython-311.pyc", ""),
            ("old-1.egg/EGG-INFO/PKG-INFO", "Name: old\nVersion: 1\n"),
            ("none-1.egg", "no archive"),
            ("easy-install.pth", "# ./old-1.egg\n./My.Egg-1-py3.11.egg\n./none-1.egg\n"),
        ]);
        let (found, warnings) = read(&root);
        let [egg] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((&*egg.name, &egg.kind), ("my-egg", &DistributionKind::Egg));
        assert_eq!(egg.metadata.requires_dist, ["click", "six; extra == \"x\""]);
        assert_eq!((egg.files.len(), egg.entry_points.len()), (4, 1));
        let messages: Vec<_> = warnings.iter().map(|warning| &*warning.message).collect();
        assert!(
            messages[0].starts_with("is left out: cannot read this egg: ")
                && messages[1].contains("no .pth file names")
        );
    }

    #[test]
    fn an_egg_link_leads_to_its_source() {
        let (_folder, root) = folder(&[("x.egg-link", "")]);
        let source = root.join("source");
        fs_err::create_dir_all(source.join("x.egg-info")).unwrap();
        fs_err::create_dir_all(source.join("another.egg-info")).unwrap();
        fs_err::write(source.join("x.egg-info/PKG-INFO"), "Name: x\nVersion: 2\n").unwrap();
        fs_err::write(source.join("x.egg-info/requires.txt"), "click\n").unwrap();
        fs_err::write(root.join(SITE).join("x.egg-link"), format!("{}\n.", source.display())).unwrap();
        let (found, _) = read(&root);
        assert_eq!(found[0].kind, DistributionKind::EggLink(source.clone()));
        assert_eq!(found[0].metadata.requires_dist, ["click"]);
        fs_err::remove_dir_all(&source).unwrap();
        let (found, warnings) = read(&root);
        assert!(found.is_empty() && warnings[0].message.contains("no .egg-info"));
    }
}
