//! [`discover`]: reads the distributions of a directory of packages.
//!
//! `.dist-info` is read here, the formats of older tools in `legacy`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::distribution::{
    Distribution, DistributionKind, DistributionOrigin, INFO_LIMIT, Recorded, Site, is_bytecode_cache,
};
use super::error::VenvError;
use super::legacy;
use super::listing::{FileListing, ListingCursor, ListingEntry, has_extension};
use crate::error::chain;
use crate::parallel::{cores, each};
use crate::progress::Warning;
use crate::python::metadata::core_metadata::Metadata;
use crate::python::metadata::direct_url::DirectUrl;
use crate::python::metadata::entry_points::{self};
use crate::python::metadata::name::normalize;
use crate::python::metadata::record;
use crate::python::metadata::wheel::Wheel;

/// The number of threads beyond which reading metadata does not get faster.
const READERS: usize = 8;

/// The number of missing files in an error.
const MISSING_SHOWN: usize = 3;

/// Reads all distributions of a directory of packages, ordered by name.
pub(crate) fn discover(site: &Site<'_>, warnings: &mut Vec<Warning>) -> Result<Vec<Distribution>, VenvError> {
    let names: Vec<&str> = site.names().into_iter().collect();
    let step =
        |(): &mut (), index: usize| Ok::<_, Infallible>(names.get(index).map(|name| read_one(site, name)));
    let read = each(names.len(), cores().min(READERS), || Ok(()), step);
    let mut found: BTreeMap<Arc<str>, Distribution> = BTreeMap::new();
    for (name, (outcome, more)) in names.iter().zip(read.into_iter().flatten().flatten()) {
        warnings.extend(more);
        let distribution = match outcome {
            Ok(Some(distribution)) => distribution,
            Ok(None) => continue,
            Err(error) if site.origin == DistributionOrigin::System => {
                let info = format!("{}/{name}", site.place);
                warnings.push(Warning::new(
                    site.host(&info).display().to_string(),
                    format!("is left out: {}", chain(&error)),
                ));
                continue;
            }
            Err(error) => return Err(error),
        };
        match found.get(&distribution.name) {
            Some(first)
                if first.kind == DistributionKind::DistInfo
                    && distribution.kind != DistributionKind::DistInfo => {}
            Some(first)
                if site.origin == DistributionOrigin::Environment
                    && distribution.kind == DistributionKind::DistInfo
                    && first.kind == DistributionKind::DistInfo =>
            {
                return Err(VenvError::Twice {
                    distribution: distribution.name.to_string(),
                    first: site.host(&first.info),
                    second: site.host(&distribution.info),
                });
            }
            _ => {
                found.insert(distribution.name.clone(), distribution);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Reads the distribution of one name in a directory of packages; `None` for other names.
fn read_one(site: &Site<'_>, name: &str) -> (Result<Option<Distribution>, VenvError>, Vec<Warning>) {
    let info = format!("{}/{name}", site.place);
    let mut warnings = Vec::new();
    // pip renames directories to this form while it uninstalls, and leaves them when interrupted.
    if name.starts_with('~') {
        warnings.push(
            Warning::new(site.host(&info).display().to_string(), "was left behind by an interrupted pip")
                .with_help("remove it"),
        );
        return (Ok(None), warnings);
    }
    let outcome = match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "dist-info" => dist_info(site, &info, &mut warnings).map(Some),
        "egg-info" => legacy::egg_info(site, &info, &mut warnings).map(Some),
        "egg-link" => legacy::egg_link(site, &info, &mut warnings),
        "egg" => legacy::egg(site, &info, &mut warnings),
        _ => Ok(None),
    };
    (outcome, warnings)
}

fn dist_info(site: &Site<'_>, info: &str, warnings: &mut Vec<Warning>) -> Result<Distribution, VenvError> {
    let at = |name: &str| format!("{info}/{name}");
    let malformed =
        |name: &str, reason: &'static str| VenvError::Malformed { path: site.host(&at(name)), reason };
    let bytes = site.bytes(&at("METADATA"))?.ok_or_else(|| malformed("METADATA", "no such file"))?;
    let metadata = Metadata::parse(&bytes).map_err(|reason| malformed("METADATA", reason))?;
    let lines = |text: Option<String>| -> Vec<String> {
        text.unwrap_or_default()
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut distribution = Distribution {
        name: normalize(&metadata.name).into(),
        version: metadata.version.as_str().into(),
        metadata,
        kind: DistributionKind::DistInfo,
        origin: site.origin,
        site: site.place.to_owned(),
        info: info.to_owned(),
        files: BTreeMap::new(),
        wheel: site.bytes(&at("WHEEL"))?.as_deref().map(Wheel::parse),
        entry_points: entry_points::parse(&site.text(&at("entry_points.txt"))?.unwrap_or_default()),
        direct_url: site.text(&at("direct_url.json"))?.as_deref().and_then(DirectUrl::parse),
        installer: lines(site.text(&at("INSTALLER"))?).into_iter().next(),
        requested: site.listing.contains_key(&at("REQUESTED")),
        top_level: lines(site.text(&at("top_level.txt"))?),
    };
    match site.listing.get(&at("RECORD")).and_then(ListingEntry::file) {
        Some(file) if file.size > INFO_LIMIT => {
            return Err(VenvError::TooLarge {
                path: file.path.to_path_buf(),
                size: file.size,
                limit: INFO_LIMIT,
            });
        }
        Some(file) => {
            let rows = record::parse(&file.read()?)
                .map_err(|source| VenvError::Record { path: site.host(&at("RECORD")), source })?;
            recorded_files(site, &mut distribution, rows)?;
        }
        None => {
            distribution.kind = DistributionKind::DistInfoWithoutRecord;
            legacy::guess_files(site, &mut distribution, warnings);
        }
    }
    // Files added by an installer without a row belong to the distribution too.
    for (rest, _) in site.below(info) {
        distribution.files.entry(at(rest)).or_default();
    }
    Ok(distribution)
}

/// Takes over the files of the rows. Refuses rows outside the environment and missing files.
fn recorded_files(
    site: &Site<'_>,
    distribution: &mut Distribution,
    rows: Vec<record::RecordRow>,
) -> Result<(), VenvError> {
    let (mut missing, mut count) = (Vec::new(), 0);
    let mut listing = ListingCursor::of(site.listing);
    let mut files = Vec::with_capacity(rows.len());
    for row in rows {
        let place = record::resolve(&row.path, site.place, site.roots).ok_or_else(|| VenvError::Escapes {
            distribution: distribution.metadata.name.clone(),
            version: distribution.version.to_string(),
            row: row.path.clone(),
        })?;
        // `lib64` is usually a link to `lib`, and rows may go through it.
        let place = match place.strip_prefix("lib64/") {
            Some(rest) if matches!(site.listing.get("lib64"), Some(ListingEntry::Link { .. })) => {
                format!("lib/{rest}")
            }
            _ => place,
        };
        // Some builders record directories, and virtualenv the `__pycache__` of its pip.
        if is_bytecode_cache(&place) || row.path.ends_with('/') || place.ends_with("/__pycache__") {
            continue;
        }
        let found = listing.get(&place);
        if !is_there(site.listing, &place, found) {
            // A missing sourceless module is an error; bytecode with a source can be made again,
            // and the image drops or rewrites these files of the `.dist-info`.
            let name = place.strip_prefix(&distribution.info).unwrap_or("");
            let made_anew = matches!(name, "/INSTALLER" | "/REQUESTED" | "/RECORD" | "/direct_url.json")
                || name.starts_with("/uv_");
            if !has_extension(&place, "pyc") && !made_anew {
                count += 1;
                if missing.len() < MISSING_SHOWN {
                    missing.push(place);
                }
            }
            continue;
        }
        files.push((place, Recorded { hash: row.hash, size: row.size }));
    }
    // The last of several rows for one file counts.
    distribution.files = files.into_iter().collect();
    if count > 0 {
        return Err(VenvError::MissingFiles {
            distribution: distribution.metadata.name.clone(),
            version: distribution.version.to_string(),
            files: missing,
            count,
        });
    }
    Ok(())
}

/// Returns true if `place` is a file, or is behind a link of the environment (`lib64 -> lib`, or a
/// package linked by flit). `found` is its entry in the listing.
fn is_there(listing: &FileListing, place: &str, found: Option<&ListingEntry>) -> bool {
    match found {
        Some(ListingEntry::Dangling { .. }) => false,
        Some(_) => true,
        None => place.match_indices('/').any(|(at, _)| {
            place.get(..at).is_some_and(|parent| {
                matches!(
                    listing.get(parent),
                    Some(ListingEntry::Link { .. } | ListingEntry::OutsideDirectory { .. })
                )
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::environment::listing::list;

    const SITE: &str = "lib/python3.11/site-packages";

    fn read(files: &[(&str, &str)]) -> (Result<Vec<Distribution>, VenvError>, Vec<Warning>) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (path, text) in files {
            let path = root.join(SITE).join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let listing = list(&root).unwrap();
        let roots = [root.to_str().unwrap()];
        let site =
            Site { place: SITE, listing: &listing, roots: &roots, origin: DistributionOrigin::Environment };
        let mut warnings = Vec::new();
        (discover(&site, &mut warnings), warnings)
    }

    const METADATA: (&str, &str) = ("X_y-1.dist-info/METADATA", "Name: X_y\nVersion: 1\n");

    #[test]
    fn reads_a_dist_info() {
        let (found, warnings) = read(&[
            METADATA,
            (
                "X_y-1.dist-info/RECORD",
                "x.py,sha256=a,1\n__pycache__/x.cpython-311.pyc,,\nX_y-1.dist-info/METADATA,,\n",
            ),
            ("X_y-1.dist-info/INSTALLER", "pip\n"),
            ("X_y-1.dist-info/REQUESTED", ""),
            ("x.py", "1"),
        ]);
        let found = found.unwrap();
        assert_eq!(warnings, []);
        let x = &found[0];
        assert_eq!((&*x.name, &*x.version, x.requested), ("x-y", "1", true));
        assert_eq!(x.installer.as_deref(), Some("pip"));
        let files: Vec<_> = x.files.keys().map(|place| place.strip_prefix(SITE).unwrap()).collect();
        assert_eq!(
            files,
            [
                "/X_y-1.dist-info/INSTALLER",
                "/X_y-1.dist-info/METADATA",
                "/X_y-1.dist-info/RECORD",
                "/X_y-1.dist-info/REQUESTED",
                "/x.py"
            ]
        );
    }

    #[test]
    fn names_missing_files_of_a_record() {
        // virtualenv records bytecode folders that its pip has not created yet.
        let (found, _) = read(&[METADATA, ("X_y-1.dist-info/RECORD", "x/__pycache__,,\n")]);
        assert_eq!(found.unwrap().len(), 1);
        let rows = "a.py,,\nb.py,,\nc.py,,\nd.py,,\n__pycache__/a.cpython-311.pyc,,\nold.pyc,,\n";
        let (found, _) = read(&[METADATA, ("X_y-1.dist-info/RECORD", rows)]);
        assert_eq!(
            found.unwrap_err().to_string(),
            "cannot include X_y 1: incomplete, its RECORD lists lib/python3.11/site-packages/a.py, \
             lib/python3.11/site-packages/b.py, lib/python3.11/site-packages/c.py and 1 more file, which are missing"
        );
    }

    #[test]
    fn refuses_a_row_outside_the_environment() {
        let (found, _) = read(&[METADATA, ("X_y-1.dist-info/RECORD", "../../../../etc/passwd,,\n")]);
        assert!(matches!(found, Err(VenvError::Escapes { row, .. }) if row == "../../../../etc/passwd"));
    }

    #[test]
    fn refuses_two_versions_of_one_distribution() {
        let (found, _) = read(&[
            METADATA,
            ("X_y-1.dist-info/RECORD", ""),
            ("x.y-2.dist-info/METADATA", "Name: x.y\nVersion: 2\n"),
            ("x.y-2.dist-info/RECORD", ""),
        ]);
        assert!(matches!(found, Err(VenvError::Twice { .. })));
    }

    #[test]
    fn names_the_file_of_missing_or_empty_metadata() {
        let (found, _) = read(&[("x-1.dist-info/RECORD", "")]);
        assert!(found.unwrap_err().to_string().ends_with("x-1.dist-info/METADATA: no such file"));
        let (found, _) = read(&[("x-1.dist-info/METADATA", "")]);
        assert!(found.unwrap_err().to_string().contains("`Name` is missing"));
    }

    #[test]
    fn warns_about_leftovers_of_pip() {
        let (found, warnings) = read(&[("~ip-1.dist-info/METADATA", "")]);
        assert!(found.unwrap().is_empty());
        assert!(warnings[0].subject.ends_with("~ip-1.dist-info"));
    }
}
