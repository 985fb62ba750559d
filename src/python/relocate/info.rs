//! Writes the `.dist-info` of a distribution for the image, with its RECORD.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Relocator;
use crate::digest::Hasher;
use crate::progress::Warning;
use crate::python::environment::distribution::{Distribution, DistributionKind, Recorded};
use crate::python::environment::error::VenvError;
use crate::python::metadata::direct_url::DirectUrl;
use crate::python::metadata::record;
use crate::tree::{Content, Entry, Kind};

/// The content of `INSTALLER`.
const INSTALLER: &str = "ipo-oci\n";

/// Hash and size of a row of RECORD.
type HashAndSize<'a> = (Option<Cow<'a, str>>, Option<u64>);

/// Returns whether a file of a `.dist-info` depends on the installer, and so is dropped or
/// rewritten.
pub(super) fn is_rewritten(name: &str) -> bool {
    matches!(
        name,
        "INSTALLER" | "REQUESTED" | "RECORD" | "direct_url.json" | "uv_cache.json" | "uv_build.json"
    )
}

/// Adds `INSTALLER`, `direct_url.json` and `RECORD` to the entries of `distribution`, by path below
/// the environment. An `.egg-info` has none of these.
pub(super) fn write(
    relocator: &mut Relocator<'_>,
    distribution: &Distribution,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), VenvError> {
    if !matches!(distribution.kind, DistributionKind::DistInfo | DistributionKind::DistInfoWithoutRecord) {
        return Ok(());
    }
    let mut add = |name: &str, text: String| -> Result<String, VenvError> {
        let place = format!("{}/{name}", distribution.info);
        entries.insert(place.clone(), Entry::file(relocator.at(&place)?, text.into(), distribution.owner()));
        Ok(place)
    };
    add("INSTALLER", INSTALLER.to_owned())?;
    match &distribution.direct_url {
        Some(DirectUrl::Editable(root)) => {
            if let Some(image) = relocator.mapping.map(root) {
                add("direct_url.json", DirectUrl::editable_text(&image.to_string()))?;
            }
        }
        Some(DirectUrl::Remote(text)) => {
            add("direct_url.json", text.clone())?;
        }
        Some(DirectUrl::Local(_)) | None => {}
    }
    let record_place = format!("{}/RECORD", distribution.info);
    let mut rows: Vec<(Cow<'_, str>, HashAndSize<'_>)> = Vec::with_capacity(entries.len() + 1);
    for (place, entry) in entries.iter() {
        let recorded = distribution.files.get(place);
        let row = row(relocator, distribution, entry, recorded)?;
        rows.push((record::relative(place, &distribution.site), row));
    }
    rows.push((record::relative(&record_place, &distribution.site), (None, None)));
    rows.sort_by(|(one, _), (two, _)| one.cmp(two));
    let text = record::render(rows.iter().map(|(path, (hash, size))| (&**path, hash.as_deref(), *size)));
    let entry = Entry::file(relocator.at(&record_place)?, text.into(), distribution.owner());
    entries.insert(record_place, entry);
    Ok(())
}

/// Returns hash and size of an entry: the recorded ones for unchanged bytes, else computed.
fn row<'a>(
    relocator: &mut Relocator<'_>,
    distribution: &Distribution,
    entry: &Entry,
    recorded: Option<&'a Recorded>,
) -> Result<HashAndSize<'a>, VenvError> {
    let Kind::File(content) = &entry.kind else { return Ok((None, None)) };
    if let (Content::Host(file), Some(Recorded { hash: Some(hash), size })) = (content, recorded) {
        match size {
            Some(size) if *size != file.size => relocator.relocated.warnings.push(
                Warning::new(
                    file.path.display().to_string(),
                    format!(
                        "was changed after {} {} was installed",
                        distribution.metadata.name, distribution.version
                    ),
                )
                .with_help(
                    "install the distribution again if the change was not intended; the image gets the changed file",
                ),
            ),
            _ => return Ok((Some(hash.into()), Some(file.size))),
        }
    }
    let (hash, size) = digest(content)?;
    Ok((Some(hash.into()), Some(size)))
}

/// Returns the hash column and the size of some content.
pub(super) fn digest(content: &Content) -> Result<(String, u64), VenvError> {
    let mut hasher = Hasher::new();
    let (mut size, mut piece) = (0, Vec::new());
    let mut open = content.open()?;
    while open.read_some(&mut piece)? > 0 {
        hasher.update(&piece);
        size += piece.len() as u64;
        piece.clear();
    }
    Ok((record::hash_column(&hasher.finish()), size))
}
