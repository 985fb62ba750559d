//! Renders an [`ImageDiff`] as text, and the lists that text and Markdown share.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{
    DiffKind, DiffText, DistributionDiff, FieldDiff, FileCounts, FileDiff, FileState, ImageDiff, LayerDiff,
    LayerSide, PackageDiff,
};
use crate::plural::counted;
use crate::printable::name;
use crate::settings::human_size;

/// The most lines of a section.
const SHOWN: usize = 20;
/// The most characters of a value.
const VALUE: usize = 100;
/// The digits of a short digest, with its algorithm.
const SHORT: usize = "sha256:".len() + 12;

/// A line of a section.
pub(super) struct Row {
    pub(super) kind: DiffKind,
    pub(super) subject: String,
    pub(super) detail: String,
    pub(super) bytes: Option<i128>,
}

/// Renders the differences with a trailing newline.
pub(super) fn render(diff: &ImageDiff, length: DiffText) -> String {
    let mut text = String::new();
    for (sign, side) in [("---", &diff.old), ("+++", &diff.new)] {
        let (size, disk) = (human_size(side.transfer_bytes), human_size(side.disk_bytes));
        let digest = side.digest.to_string();
        let digest = digest.get(..SHORT).unwrap_or(&digest);
        let (shown, platform) = (name(&side.name), name(&side.platform));
        let form = if side.compressed { "to transfer" } else { "uncompressed" };
        let _ = writeln!(text, "{sign} {shown}  {digest}  {platform}  {size} {form}, {disk} on disk");
    }
    if diff.is_same_image() {
        text.push_str("\nidentical\n");
        return text;
    }
    for (title, rows) in sections(diff) {
        section(&mut text, title, &rows, length);
    }
    if diff.is_empty() {
        let is_shared = diff.layers.iter().all(|layer| layer.side == LayerSide::Shared);
        text.push_str(if is_shared && diff.old.compressed != diff.new.compressed {
            "\nequal configuration, files and layers, which one image alone has compressed\n"
        } else {
            "\nequal configuration and files; layers or their order differ\n"
        });
    }
    let _ = writeln!(text, "\n{}", summary(diff));
    text
}

/// Returns the sections with their rows.
pub(super) fn sections(diff: &ImageDiff) -> Vec<(&'static str, Vec<Row>)> {
    let sections = [
        ("Distributions", diff.distributions.iter().map(distribution).collect()),
        ("Debian packages", diff.packages.iter().map(package).collect()),
        ("Configuration", diff.config.iter().map(field).collect()),
        ("Files", files(&diff.files)),
        ("Layers", layers(&diff.layers)),
    ];
    sections.into_iter().filter(|(_, rows): &(_, Vec<Row>)| !rows.is_empty()).collect()
}

/// Returns the sentence about the sizes on disk, and about the transfer if it is known.
pub(super) fn summary(diff: &ImageDiff) -> String {
    let disk = i128::from(diff.new.disk_bytes) - i128::from(diff.old.disk_bytes);
    let mut text = format!("{} on disk", signed(disk));
    if let Some(bytes) = diff.pull_bytes {
        let (pull, all) = (human_size(bytes), human_size(diff.new.transfer_bytes));
        let _ = write!(text, "; pulling the new image takes {pull} of {all} where the old one is present");
    }
    text
}

fn section(text: &mut String, title: &str, rows: &[Row], length: DiffText) {
    let shown = if length == DiffText::Full { rows.len() } else { rows.len().min(SHOWN) };
    let rows_shown: Vec<&Row> = rows.iter().take(shown).collect();
    let width =
        |text: &dyn Fn(&Row) -> usize| rows_shown.iter().map(|row| text(row)).max().unwrap_or(0).min(60);
    let subject = width(&|row| row.subject.chars().count());
    let detail = width(&|row| row.detail.chars().count());
    let _ = writeln!(text, "\n{title}");
    for row in rows_shown {
        let bytes = row.bytes.map(signed).unwrap_or_default();
        let line =
            format!("  {} {:subject$}  {:detail$}  {bytes:>9}", sign(row.kind), row.subject, row.detail);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if shown < rows.len() {
        let _ = writeln!(text, "  … {} more; --all lists them", rows.len() - shown);
    }
}

/// Returns the sign of a difference: `+`, `-` or `~`.
pub(super) fn sign(kind: DiffKind) -> char {
    match kind {
        DiffKind::Added => '+',
        DiffKind::Removed => '-',
        DiffKind::Changed => '~',
    }
}

/// Returns a size with its sign.
pub(super) fn signed(bytes: i128) -> String {
    let size = human_size(u64::try_from(bytes.unsigned_abs()).unwrap_or(u64::MAX));
    match bytes {
        0 => "±0 B".to_owned(),
        1.. => format!("+{size}"),
        _ => format!("-{size}"),
    }
}

fn kind<T>(old: Option<&T>, new: Option<&T>) -> DiffKind {
    match (old, new) {
        (None, _) => DiffKind::Added,
        (Some(_), None) => DiffKind::Removed,
        (Some(_), Some(_)) => DiffKind::Changed,
    }
}

fn versions(old: Option<&String>, new: Option<&String>) -> String {
    match (old.map(|text| name(text)), new.map(|text| name(text))) {
        (Some(old), Some(new)) if old == new => old,
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (old, new) => old.or(new).unwrap_or_default(),
    }
}

fn distribution(own: &DistributionDiff) -> Row {
    let (old, new) = (own.old_version.as_ref(), own.new_version.as_ref());
    let mut subject = name(&own.name);
    if let Some(place) = &own.place {
        let _ = write!(subject, " in {}", name(place));
    }
    let mut detail = versions(old, new);
    if old == new {
        let files = if own.moved { "moved".to_owned() } else { counts(&own.files) };
        let _ = write!(detail, " ({files})");
    }
    let bytes = Some(i128::from(own.new_bytes) - i128::from(own.old_bytes));
    Row { kind: kind(old, new), subject, detail, bytes }
}

fn package(own: &PackageDiff) -> Row {
    let (old, new) = (own.old_version.as_ref(), own.new_version.as_ref());
    Row { kind: kind(old, new), subject: name(&own.name), detail: versions(old, new), bytes: None }
}

/// Formats the numbers of different files; bytecode once.
fn counts(files: &FileCounts) -> String {
    let mut parts = Vec::new();
    for (number, word) in [(files.added, "added"), (files.removed, "removed"), (files.changed, "changed")] {
        if number > 0 {
            parts.push(format!("{} {word}", counted(number, "file")));
        }
    }
    if files.bytecode > 0 {
        parts.push("bytecode".to_owned());
    }
    parts.join(", ")
}

fn field(own: &FieldDiff) -> Row {
    let (old, new) = (own.old.as_ref(), own.new.as_ref());
    let detail = match (old.map(|text| value(text)), new.map(|text| value(text))) {
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (old, new) => old.or(new).unwrap_or_default(),
    };
    Row { kind: kind(old, new), subject: name(&own.field), detail, bytes: None }
}

fn value(text: &str) -> String {
    let shown: String = text.chars().take(VALUE).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", name(&shown))
}

/// Returns the rows of paths without an owner. The content of an added or removed directory, the
/// standard library of Python, and bytecode are one row each.
fn files(files: &[FileDiff]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut bytecode = 0;
    let mut libraries: BTreeMap<&str, (u64, i128)> = BTreeMap::new();
    let mut iterator = files.iter().peekable();
    while let Some(file) = iterator.next() {
        if file.owner.is_some() {
            continue;
        }
        if is_directory(file) && file.kind != DiffKind::Changed {
            let below = format!("{}/", file.path);
            let mut folder = FolderContent::default();
            while let Some(inner) = iterator.next_if(|inner| inner.path.starts_with(&below)) {
                folder.add(inner);
            }
            bytecode += if folder.is_bytecode() { folder.bytecode } else { 0 };
            rows.extend(folder.row(file));
        } else if file.bytecode {
            bytecode += 1;
        } else if let Some(library) = standard_library(&file.path) {
            let sum = libraries.entry(library).or_default();
            *sum = (sum.0 + 1, sum.1 + size(file));
        } else {
            rows.push(path(file));
        }
    }
    for (library, (number, bytes)) in libraries {
        let (subject, detail) = (format!("{}/", name(library)), counted(number, "file"));
        rows.push(Row { kind: DiffKind::Changed, subject, detail, bytes: Some(bytes) });
    }
    if bytecode > 0 {
        let subject = "bytecode".to_owned();
        rows.push(Row { kind: DiffKind::Changed, subject, detail: counted(bytecode, "file"), bytes: None });
    }
    rows
}

/// The content of an added or removed directory.
#[derive(Default)]
struct FolderContent {
    /// Files without an owner, and their bytes.
    files: u64,
    bytes: i128,
    bytecode: u64,
    owned: u64,
}

impl FolderContent {
    fn add(&mut self, file: &FileDiff) {
        if file.owner.is_some() {
            self.owned += 1;
        } else if !is_directory(file) {
            self.bytes += size(file);
            if file.bytecode { self.bytecode += 1 } else { self.files += 1 }
        }
    }

    /// Returns true for a directory of bytecode alone.
    fn is_bytecode(&self) -> bool {
        self.files == 0 && self.bytecode > 0
    }

    /// Returns the row, unless others have the content.
    fn row(&self, folder: &FileDiff) -> Option<Row> {
        let number = self.files + self.bytecode;
        if self.is_bytecode() || (number == 0 && self.owned > 0) {
            return None;
        }
        let mut row = path(folder);
        row.subject.push('/');
        if number > 0 {
            row.detail = counted(number, "file");
            row.bytes = Some(self.bytes);
        }
        Some(row)
    }
}

fn is_directory(file: &FileDiff) -> bool {
    file.old.as_ref().or(file.new.as_ref()).is_some_and(|state| state.r#type == "directory")
}

/// Returns the directory of the standard library with a path: `/usr/local/lib/python3.13`.
fn standard_library(path: &str) -> Option<&str> {
    let at = path.find("/lib/python3.")? + "/lib/".len();
    let end = at + path.get(at..)?.find('/')?;
    let inner = path.get(end..)?;
    let site = inner.starts_with("/site-packages/") || inner.starts_with("/dist-packages/");
    path.get(..end).filter(|_| !site)
}

/// Returns the difference of a file's sizes.
fn size(file: &FileDiff) -> i128 {
    let bytes = |state: &Option<FileState>| state.as_ref().map_or(0, |state| i128::from(state.size));
    bytes(&file.new) - bytes(&file.old)
}

fn path(file: &FileDiff) -> Row {
    let mut parts = Vec::new();
    if let (Some(old), Some(new)) = (&file.old, &file.new) {
        for property in &file.properties {
            let (old, new) = match *property {
                "type" => (old.r#type, new.r#type),
                "mode" => (&*old.mode, &*new.mode),
                "owner" => (&*old.owner, &*new.owner),
                "target" => {
                    (old.target.as_deref().unwrap_or_default(), new.target.as_deref().unwrap_or_default())
                }
                other => {
                    parts.push(other.to_owned());
                    continue;
                }
            };
            parts.push(format!("{property} {} → {}", name(old), name(new)));
        }
    } else if let Some(state) = file.old.as_ref().or(file.new.as_ref()) {
        parts.extend(state.target.as_ref().map(|target| format!("→ {}", name(target))));
        if state.r#type == "device" {
            parts.push(state.r#type.to_owned());
        }
    }
    let is_file = |state: &Option<FileState>| state.as_ref().is_some_and(|state| state.r#type == "file");
    let bytes = (is_file(&file.old) || is_file(&file.new)).then(|| size(file));
    let bytes = bytes.filter(|bytes| *bytes != 0 || file.kind != DiffKind::Changed);
    Row { kind: file.kind, subject: name(&file.path), detail: parts.join(", "), bytes }
}

fn layers(layers: &[LayerDiff]) -> Vec<Row> {
    let mut rows = Vec::new();
    for layer in layers.iter().filter(|layer| layer.side != LayerSide::Shared) {
        let digest = layer.digest.to_string();
        let (kind, bytes) = match layer.side {
            LayerSide::New => (DiffKind::Added, i128::from(layer.transfer_bytes)),
            _ => (DiffKind::Removed, -i128::from(layer.transfer_bytes)),
        };
        rows.push(Row {
            kind,
            subject: digest.get(..SHORT).unwrap_or(&digest).to_owned(),
            detail: layer
                .created_by
                .as_deref()
                .map(|text| {
                    let line: String = name(text).chars().take(60).collect();
                    line
                })
                .unwrap_or_default(),
            bytes: Some(bytes),
        });
    }
    rows
}
