//! dpkg's database: `/var/lib/dpkg/status`, `info/` and `triggers/`.
//!
//! The order of fields in `status` and the names in `info` are dpkg's, so that its next run changes nothing. A base
//! with one file a package in `status.d` and no `status`, as distroless images have, gets such files too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::InstallError;
use super::package_tree::{FollowedLinks, PackageTree};
use super::scripts::PackageScripts;
use super::unpack::UnpackedPackage;
use crate::tree::{Content, Entry, Owner, Time};

const DATABASE: &str = "var/lib/dpkg";

/// The fields of `status` in dpkg's order; `Status` and `Conffiles` are not the package's. Other fields follow in the
/// order of the package.
const FIELDS: [&str; 23] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
];

/// Adds the database, or the packages to the base's.
pub(super) fn write(
    packages: &[UnpackedPackage],
    scripts: &[PackageScripts],
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    let before = tree.read_text(&format!("{DATABASE}/status"))?.unwrap_or_default();
    let is_distroless = before.is_empty() && tree.exists(&format!("{DATABASE}/status.d"));
    let mut status = before;
    if !status.is_empty() && !status.ends_with("\n\n") {
        status.push('\n');
    }
    for package in packages {
        let paragraph = paragraph(package);
        if is_distroless {
            let path = format!("{DATABASE}/status.d/{}", package.control.name());
            tree.add_file(&path, paragraph.clone(), &package.owner());
            if let Some(sums) = checksums(package) {
                tree.add_file(&format!("{path}.md5sums"), sums, &package.owner());
            }
        }
        status.push_str(&paragraph);
        status.push('\n');
        info(package, tree);
    }
    tree.write_file(&format!("{DATABASE}/status"), status, &Owner::System);
    tree.write_file(&format!("{DATABASE}/info/format"), "1\n", &Owner::System);
    tree.add_file(&format!("{DATABASE}/available"), "", &Owner::System);
    for directory in ["alternatives", "parts", "updates"] {
        tree.add_directory(&format!("{DATABASE}/{directory}"), 0o755, 0, &Owner::System);
    }
    diversions(packages, scripts, tree)?;
    triggers(packages, tree)
}

/// Adds the packages' diversions, dpkg-divert(1): old path, new path and package on a line each.
fn diversions(
    packages: &[UnpackedPackage],
    scripts: &[PackageScripts],
    tree: &mut PackageTree<'_>,
) -> Result<(), InstallError> {
    let path = format!("{DATABASE}/diversions");
    let mut text = tree.read_text(&path)?.unwrap_or_default();
    for (package, scripts) in packages.iter().zip(scripts) {
        for (from, to) in &scripts.diversions {
            let _ = writeln!(text, "{from}\n{to}\n{}", package.control.name());
        }
    }
    tree.write_file(&path, text, &Owner::System);
    Ok(())
}

/// Returns the paragraph of `status`.
fn paragraph(package: &UnpackedPackage) -> String {
    let fields = split_fields(package.control.text());
    let find = |name: &str| fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
    let mut text = String::new();
    for name in FIELDS {
        match find(name) {
            _ if name == "Status" => text.push_str("Status: install ok installed\n"),
            Some((_, lines)) => text.push_str(lines),
            None => {}
        }
    }
    text.push_str(&conffiles(package));
    text.push_str(find("Description").map_or("", |(_, lines)| lines));
    let is_known = |name: &str| {
        let mut known = FIELDS.into_iter().chain(["Conffiles", "Description"]);
        known.any(|field| field.eq_ignore_ascii_case(name))
    };
    for (_, lines) in fields.iter().filter(|(name, _)| !is_known(name)) {
        text.push_str(lines);
    }
    text
}

/// Splits a paragraph into its fields: the name, and the lines with the name and a newline at the end.
fn split_fields(text: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match (line.starts_with([' ', '\t']), line.split_once(':')) {
            (false, Some((name, _))) if !line.starts_with('#') => fields.push((name, format!("{line}\n"))),
            (true, _) => {
                if let Some((_, lines)) = fields.last_mut() {
                    let _ = writeln!(lines, "{line}");
                }
            }
            _ => {}
        }
    }
    fields
}

/// Returns the field with the package's conffiles and their checksums as shipped.
fn conffiles(package: &UnpackedPackage) -> String {
    let mut text = String::new();
    for path in package.control.conffiles() {
        if let Some(sum) = package.md5.get(path.trim_start_matches('/')) {
            let _ = writeln!(text, " {path} {sum}");
        }
    }
    if text.is_empty() { text } else { format!("Conffiles:\n{text}") }
}

/// Returns `md5sums`, made for a package without that file, as dpkg does.
fn checksums(package: &UnpackedPackage) -> Option<String> {
    if let Some(text) = package.control.file_text("md5sums") {
        return Some(text);
    }
    let conffiles = package.control.conffiles();
    let is_conffile = |path: &str| conffiles.iter().any(|conffile| conffile.trim_start_matches('/') == path);
    let mut text = String::new();
    for (path, sum) in package.md5.iter().filter(|(path, _)| !is_conffile(path)) {
        let _ = writeln!(text, "{sum}  {path}");
    }
    Some(text).filter(|text| !text.is_empty())
}

/// Adds the package's files of `info/`.
fn info(package: &UnpackedPackage, tree: &mut PackageTree<'_>) {
    let stem = format!("{DATABASE}/info/{}", package.info_name());
    let owner = package.owner();
    let mut list = "/.\n".to_owned();
    for member in &package.members {
        let _ = writeln!(list, "/{}", member.data.path);
    }
    tree.add_file(&format!("{stem}.list"), list, &owner);
    for (name, file) in package.control.files().filter(|(name, _)| *name != "control") {
        let Some(place) = tree.resolve(&format!("{stem}.{name}"), FollowedLinks::Parents) else { continue };
        let content = Content::from(file.bytes.clone());
        let time = Time::At(i64::try_from(file.mtime).unwrap_or(i64::MAX));
        tree.insert(Entry::file(place, content, owner.clone()).with_mode(file.mode).with_time(time));
    }
    if package.control.file("md5sums").is_none()
        && let Some(sums) = checksums(package)
    {
        tree.add_file(&format!("{stem}.md5sums"), sums, &owner);
    }
}

/// Adds the packages' interests, deb-triggers(5), by which dpkg finds the packages to configure after a change: in
/// `triggers/File` for paths, and in `triggers/NAME` for others.
fn triggers(packages: &[UnpackedPackage], tree: &mut PackageTree<'_>) -> Result<(), InstallError> {
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    let mut paths = String::new();
    for package in packages {
        let text = package.control.file_text("triggers").unwrap_or_default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, suffix) = match words.as_slice() {
                ["interest" | "interest-await", name] => (*name, ""),
                ["interest-noawait", name] => (*name, "/noawait"),
                _ => continue,
            };
            if name.starts_with('/') {
                let _ = writeln!(paths, "{name} {}{suffix}", package.info_name());
            } else if !name.contains('/') {
                let _ =
                    writeln!(named.entry(name.to_owned()).or_default(), "{}{suffix}", package.info_name());
            }
        }
    }
    if !paths.is_empty() {
        named.insert("File".to_owned(), paths);
    }
    for (name, added) in named {
        let path = format!("{DATABASE}/triggers/{name}");
        let before = tree.read_text(&path)?.unwrap_or_default();
        tree.write_file(&path, before + &added, &Owner::System);
    }
    tree.add_file(&format!("{DATABASE}/triggers/Unincorp"), "", &Owner::System);
    Ok(())
}
