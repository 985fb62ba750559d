//! [`first_difference`]: the first byte or field in which two images of one plan differ.

use std::io::Read;

use super::{config, layers};
use crate::base::BaseError;
use crate::image::{Image, Layer};
use crate::layer::{Duplicates, LayerReader, Limits, Member, MemberKind, ReadError};

/// The first difference of two images, in the order of a build: layers, configuration, manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirstDifference {
    /// The document or layer: `layer 4 (ipo-oci: dependencies)`.
    pub place: String,
    /// The path or field.
    pub subject: Option<String>,
    /// The difference: `mode 0644, now 0755`, `byte 100 of the content`.
    pub detail: String,
}

impl std::fmt::Display for FirstDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.subject {
            Some(subject) => write!(f, "{}: {subject}: {}", self.place, self.detail),
            None => write!(f, "{}: {}", self.place, self.detail),
        }
    }
}

/// Returns the first difference of `new` from `old`; `None` for equal images. If one image alone has
/// compressed layers, as a copy in an engine differs from that in a registry, layers are compared by
/// their archives, and manifests are not compared.
///
/// # Errors
/// A layer cannot be read.
pub fn first_difference(old: &Image, new: &Image) -> Result<Option<FirstDifference>, BaseError> {
    if old.manifest == new.manifest {
        return Ok(None);
    }
    let (old_history, new_history) = (layers::history(old), layers::history(new));
    for number in 0..old.layers.len().max(new.layers.len()) {
        let titles = [&old_history, &new_history].map(|history| history.get(number).cloned().flatten());
        let [old_title, new_title] = &titles;
        let title = old_title.as_ref().or(new_title.as_ref());
        let place = match title {
            Some(title) => format!("layer {} ({title})", number + 1),
            None => format!("layer {}", number + 1),
        };
        let at =
            |subject, detail: String| Ok(Some(FirstDifference { place: place.clone(), subject, detail }));
        match (old.layers.get(number), new.layers.get(number)) {
            (Some(old), Some(new)) if layers::is_same(old, new) => {}
            (Some(_), Some(_)) if old_title != new_title && new_title.is_some() => {
                return at(None, format!("is now {}", new_title.as_deref().unwrap_or_default()));
            }
            (Some(old), Some(new)) if old.diff_id == new.diff_id => {
                return at(None, "the same archive, compressed to other bytes".to_owned());
            }
            (Some(old), Some(new)) => {
                let found = members(old, new)?;
                let (subject, detail) = found.unwrap_or_else(|| {
                    (None, "the headers of the archive differ, the members do not".to_owned())
                });
                return at(subject, detail);
            }
            (Some(_), None) => return at(None, "is missing now".to_owned()),
            (None, _) => return at(None, "is new".to_owned()),
        }
    }
    let document = |place: &str, subject, detail: &str| {
        Ok(Some(FirstDifference { place: place.to_owned(), subject, detail: detail.to_owned() }))
    };
    if let Some(field) = config::compare(old, new).into_iter().next() {
        let text =
            |value: Option<String>| value.map_or_else(|| "absent".to_owned(), |value| format!("`{value}`"));
        let detail = format!("{}, now {}", text(field.old), text(field.new));
        return document("configuration", Some(field.field), &detail);
    }
    if old.config != new.config {
        return document("configuration", None, "the history or the form of the JSON differs");
    }
    if old.layers.iter().zip(&new.layers).any(|(old, new)| old.digest != new.digest) {
        return Ok(None);
    }
    document("manifest", None, "media types or the form of the JSON differ")
}

type Found = Option<(Option<String>, String)>;

/// Compares two layers member by member.
fn members(old: &Layer, new: &Layer) -> Result<Found, BaseError> {
    let open = |layer: &Layer| {
        let failed = |cause| BaseError::Layer { layer: layer.digest, cause };
        let blob = layer.blob.open().map_err(|cause| BaseError::Blob { layer: layer.digest, cause })?;
        let reader =
            LayerReader::of(blob, Limits::default(), &layer.digest, &layer.diff_id).map_err(failed)?;
        Ok::<_, BaseError>(reader.with_duplicates(Duplicates::Allow))
    };
    let (mut old_reader, mut new_reader) = (open(old)?, open(new)?);
    let old_failed = |cause| BaseError::Layer { layer: old.digest, cause };
    let new_failed = |cause| BaseError::Layer { layer: new.digest, cause };
    // Bytecode precedes its module, and a change of the module explains more.
    let mut bytecode: Found = None;
    loop {
        let old_member = old_reader.next_member().map_err(old_failed)?;
        let new_member = new_reader.next_member().map_err(new_failed)?;
        let (old_member, new_member) = match (old_member, new_member) {
            (None, None) => return Ok(bytecode),
            (Some(old), None) => return Ok(Some((Some(old.path.to_string()), "is missing now".to_owned()))),
            (None, Some(new)) => return Ok(Some((Some(new.path.to_string()), "is new".to_owned()))),
            (Some(old), Some(new)) => (old, new),
        };
        if old_member.path != new_member.path {
            // Members are in order, so the lesser path is the one that the other layer lacks.
            let (path, detail) = if old_member.path < new_member.path {
                (old_member.path, "is missing now")
            } else {
                (new_member.path, "is new")
            };
            return Ok(Some((Some(path.to_string()), detail.to_owned())));
        }
        let subject = Some(old_member.path.to_string());
        let size = (old_member.size, new_member.size);
        if old_member.kind == MemberKind::File && new_member.kind == MemberKind::File {
            let content = content(&mut old_reader, &mut new_reader);
            if let Some(at) = content.map_err(|error| new_failed(ReadError::from(error)))? {
                let detail = if size.0 == size.1 {
                    format!("byte {at} of the content differs")
                } else {
                    format!("byte {at} of the content differs; {} bytes, now {}", size.0, size.1)
                };
                if !old_member.path.as_str().ends_with(".pyc") {
                    return Ok(Some((subject, detail)));
                }
                bytecode = bytecode.or(Some((subject, detail)));
                continue;
            }
        }
        if let Some(detail) = header(&old_member, &new_member) {
            return Ok(Some((subject, detail)));
        }
    }
}

/// Compares the headers of two members.
fn header(old: &Member, new: &Member) -> Option<String> {
    if old.kind != new.kind {
        return Some(match (&old.kind, &new.kind) {
            (MemberKind::Symlink(old), MemberKind::Symlink(new)) => format!("target `{old}`, now `{new}`"),
            _ => "the type differs".to_owned(),
        });
    }
    let fields = [
        ("mode", format!("{:04o}", old.mode), format!("{:04o}", new.mode)),
        ("owner", format!("{}:{}", old.uid, old.gid), format!("{}:{}", new.uid, new.gid)),
        ("time", old.mtime.to_string(), new.mtime.to_string()),
        ("size", old.size.to_string(), new.size.to_string()),
    ];
    fields
        .into_iter()
        .find(|(_, old, new)| old != new)
        .map(|(field, old, new)| format!("{field} {old}, now {new}"))
}

/// Returns the offset of the first different byte.
fn content(old: &mut impl Read, new: &mut impl Read) -> std::io::Result<Option<u64>> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    loop {
        let (old_bytes, new_bytes) = (fill(old, &mut left)?, fill(new, &mut right)?);
        let (old_bytes, new_bytes) =
            (left.get(..old_bytes).unwrap_or_default(), right.get(..new_bytes).unwrap_or_default());
        if let Some(offset) = old_bytes.iter().zip(new_bytes).position(|(old, new)| old != new) {
            return Ok(Some(at + offset as u64));
        }
        if old_bytes.len() != new_bytes.len() {
            return Ok(Some(at + old_bytes.len().min(new_bytes.len()) as u64));
        }
        if old_bytes.is_empty() {
            return Ok(None);
        }
        at += old_bytes.len() as u64;
    }
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => break,
            got => filled += got,
        }
    }
    Ok(filled)
}
