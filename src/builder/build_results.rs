//! Detection of build results in a source tree, written by any version of this program or by
//! others.
//!
//! Detection depends on content, never on names:
//!
//! - an image layout: `oci-layout` beside `index.json` (OCI image specification,
//!   `image-layout.md`);
//! - an archive of one, or of `docker save`: the members of the tar;
//! - documents: the generator that they name, and for those of earlier versions the structure;
//! - a remote cache in a directory (`--cache-to dir:`): records and blobs.
//!
//! Files with an extension of code or media are not opened, unless the size is that of a tar. Of
//! others the first bytes are read, of a log also the last, and of an archive the headers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use memchr::memmem::find;

use crate::atomic_file::is_temporary;
use crate::context::{Context, ExcludedPath, Listing, NotSource, SourceFile, SourceKind};
use crate::layer::{LayerReader, Limits, MemberKind, locate};
use crate::parallel;
use crate::traced_fs;
use crate::tree::HostFile;

/// Number of bytes at the start of a document that contain the generator.
const HEAD_BYTES: usize = 4 << 10;
/// Minimum size of results in bytes: a reference with a digest.
const MIN_BYTES: u64 = 76;
/// Maximum size of documents in bytes: a trace has 150 for each part of a build.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// Extensions that no result of a build has. Any other name is possible on the command line.
const OTHER_EXTENSIONS: [&str; 56] = [
    "avif", "bmp", "c", "cc", "cfg", "conf", "cpp", "css", "csv", "eot", "gif", "go", "h", "ico", "ini",
    "ipynb", "j2", "java", "jinja", "jinja2", "jpeg", "jpg", "js", "jsx", "less", "map", "mjs", "mo", "mp3",
    "mp4", "npy", "otf", "parquet", "pdf", "png", "po", "pot", "proto", "py", "pyc", "pyi", "pyx", "rs",
    "sass", "scss", "sh", "so", "sql", "svg", "toml", "ts", "tsx", "ttf", "vue", "webp", "woff2",
];
/// Number of bytes at the end of a log that contain a report.
const TAIL_BYTES: u64 = 16 << 10;
/// Number of lines at the end of a log that contain the total of a report.
const LAST_LINES: usize = 12;
/// Number of uncompressed bytes of a compressed archive that are read.
const MAX_UNPACKED_BYTES: u64 = 16 << 20;
/// Limits for image archives, which have a few members for each layer; other archives are rejected
/// early.
const LIMITS: Limits = Limits { members: 1000, archive_bytes: 1 << 42, header_bytes: 64 << 10 };
/// Maximum size of the `manifest.json` of `docker save` in bytes.
const MANIFEST_LIMIT: u64 = 1 << 20;
/// Transports of references in a build's output, except registries: a line with a registry's
/// reference may be the name of a base.
const PRINTED_TRANSPORTS: [&str; 4] = ["oci:", "oci-archive:", "docker-archive:", "docker-daemon:"];
/// Number of hexadecimal digits of a digest in the name of a blob or record.
const DIGEST_DIGITS: usize = 64;
/// Below this number of files, one thread is faster.
const MIN_PARALLEL_FILES: usize = 64;

/// Excludes build results from `listing`, unless a `!` line of the ignore file matches exactly.
///
/// An image must not depend on the results of earlier builds beside the source.
pub fn exclude_build_results(context: &Context, listing: &mut Listing) {
    let mut found = layouts(listing);
    found.extend(remote_cache_directories(listing));
    let candidates: Vec<(&SourceFile, &HostFile)> = listing.files.iter().filter_map(candidate).collect();
    let threads = if candidates.len() < MIN_PARALLEL_FILES { 1 } else { parallel::cores() };
    let kinds = parallel::each(
        candidates.len(),
        threads,
        || Ok::<_, std::convert::Infallible>(()),
        |(), index| Ok(candidates.get(index).and_then(|(file, host)| recognize(name_of(file), host))),
    );
    let kinds = kinds.unwrap_or_else(|never| match never {});
    for ((file, _), what) in candidates.iter().zip(kinds) {
        found.extend(what.map(|what| ExcludedPath { path: file.path.clone(), what }));
    }
    found.retain(|thing| !context.ignore().reincludes(&thing.path));
    found.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
    listing.exclude(found);
}

fn name_of(file: &SourceFile) -> &str {
    file.path.rsplit('/').next().unwrap_or_default()
}

/// Returns directories with an image layout; for a layout at the root, its parts.
fn layouts(listing: &Listing) -> Vec<ExcludedPath> {
    let thing = |path: &str| ExcludedPath { path: path.to_owned(), what: NotSource::ImageLayout };
    let mut found = Vec::new();
    for file in &listing.files {
        if file.path == "oci-layout" && listing.get("index.json").is_some() && listing.get("blobs").is_some()
        {
            found.extend(["blobs", "index.json", "oci-layout"].map(thing));
        }
        let Some(folder) = file.path.strip_suffix("/oci-layout") else { continue };
        if listing.get(&format!("{folder}/index.json")).is_some() {
            found.push(thing(folder));
        }
    }
    found
}

/// Returns the directories of remote caches, which earlier versions did not tag.
fn remote_cache_directories(listing: &Listing) -> Vec<ExcludedPath> {
    let mut found: Vec<ExcludedPath> = Vec::new();
    for file in &listing.files {
        let Some((folder, key)) = file.path.rsplit_once('/') else { continue };
        let Some(folder) = folder.strip_suffix("/records") else { continue };
        let is_record = key.len() == DIGEST_DIGITS && digits(key) == DIGEST_DIGITS;
        let is_known = found.last().is_some_and(|last| last.path == folder);
        if is_record && !is_known && listing.get(&format!("{folder}/blobs/sha256")).is_some() {
            found.push(ExcludedPath { path: folder.to_owned(), what: NotSource::Cache });
        }
    }
    found
}

/// Returns the file if its content must be examined.
fn candidate(file: &SourceFile) -> Option<(&SourceFile, &HostFile)> {
    let SourceKind::File { file: host, .. } = &file.kind else { return None };
    let name = name_of(file);
    let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty());
    let extension = extension.map_or(String::new(), |(_, extension)| extension.to_ascii_lowercase());
    let may_be_anything = OTHER_EXTENSIONS.binary_search(&&*extension).is_err();
    let may_be = host.size >= MIN_BYTES && (may_be_anything || host.size.is_multiple_of(512));
    (may_be || is_temporary(name)).then_some((file, host))
}

fn recognize(name: &str, host: &HostFile) -> Option<NotSource> {
    if is_temporary(name) {
        return Some(NotSource::Unfinished);
    }
    let mut file = traced_fs::open_no_follow(&host.path).ok()?;
    let mut head = vec![0; HEAD_BYTES.min(usize::try_from(host.size).unwrap_or(HEAD_BYTES))];
    let got = file.read_at(&mut head, 0).ok()?;
    head.truncate(got);
    if host.size <= HEAD_BYTES as u64 && is_references(&head) {
        return Some(NotSource::BuildMetadata);
    }
    let text = (host.size <= MAX_DOCUMENT_BYTES)
        .then(|| document(&head).or_else(|| log(name, &file, host.size)))
        .flatten();
    text.or_else(|| archive(&head, &mut file, host.size))
}

/// Recognizes a document by its first bytes.
fn document(head: &[u8]) -> Option<NotSource> {
    let has = |text: &str| find(head, text.as_bytes()).is_some();
    let first = *head.first()?;
    if head.starts_with(b"<!DOCTYPE html>") {
        return has("<meta name=\"generator\" content=\"ipo-oci ").then_some(NotSource::SizeReport);
    }
    if head.starts_with(b"<!-- generator: ipo-oci -->") {
        return Some(NotSource::SizeReport);
    }
    if matches!(first, b'{' | b'[') {
        return json(&has);
    }
    // Text reports, and Markdown of earlier versions, are marked by their first lines only.
    let start = String::from_utf8_lossy(head.get(..head.len().min(512))?);
    let mut lines = start.lines();
    let (heading, sizes) = (lines.next()?, lines.find(|line| !line.is_empty())?);
    let is_report = sizes.contains(" on disk, ")
        && sizes.contains(" to transfer, ")
        && (heading.starts_with("### ") && sizes.contains("`sha256:")
            || heading.ends_with(')') && has("\nLAYER ") && has(" TRANSFER "));
    is_report.then_some(NotSource::SizeReport)
}

/// Recognizes the standard error of a build, with a text report at the end. Documents that
/// quote one continue.
fn log(name: &str, file: &File, size: u64) -> Option<NotSource> {
    if [".md", ".markdown", ".rst"].iter().any(|extension| name.ends_with(extension)) {
        return None;
    }
    let mut tail = vec![0; usize::try_from(size.min(TAIL_BYTES)).ok()?];
    file.read_exact_at(&mut tail, size.saturating_sub(TAIL_BYTES)).ok()?;
    // The quick test, sufficient for most files.
    find(&tail, b" to transfer, ")?;
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().collect();
    let is_heading = |pair: &[&str]| match pair {
        [heading, sizes] => {
            heading.ends_with(')') && sizes.contains(" on disk, ") && sizes.contains(" to transfer, ")
        }
        _ => false,
    };
    let at = lines.windows(2).rposition(is_heading)?;
    let report = lines.get(at..)?;
    let table = report.iter().any(|line| line.starts_with("LAYER ") && line.contains(" TRANSFER "));
    let ends = report.iter().rev().take(LAST_LINES).any(|line| line.starts_with("total "));
    (table && ends).then_some(NotSource::SizeReport)
}

/// Returns true for the standard output of a build: one reference with a digest in each line.
fn is_references(text: &[u8]) -> bool {
    let is_reference = |line: &str| {
        let digest = line.rsplit_once("@sha256:").map(|(_, hex)| hex);
        PRINTED_TRANSPORTS.iter().any(|transport| line.starts_with(transport))
            && digest.is_some_and(|hex| hex.len() == DIGEST_DIGITS && digits(hex) == DIGEST_DIGITS)
    };
    std::str::from_utf8(text).is_ok_and(|text| !text.is_empty() && text.lines().all(is_reference))
}

fn json(has: &dyn Fn(&str) -> bool) -> Option<NotSource> {
    let is_trace = has("\"traceEvents\"");
    let is_metadata = has("\"containerimage.digest\"");
    if has("\"generator\": \"ipo-oci\"") || has("\"generator\":\"ipo-oci\"") {
        return Some(match (is_trace, is_metadata) {
            (true, _) => NotSource::BuildTimings,
            (_, true) => NotSource::BuildMetadata,
            _ if has("\"plans\": [") => NotSource::BuildPlan,
            _ => NotSource::SizeReport,
        });
    }
    // Earlier versions named no generator.
    if is_trace && has("\"displayTimeUnit\": \"ms\"") && has("\"name\": \"reading the ") {
        return Some(NotSource::BuildTimings);
    }
    if is_metadata && has("\"image.name\": ") && has("\"target\": ") {
        return Some(NotSource::BuildMetadata);
    }
    let keys = ["\"schema\": 1", "\"image\": ", "\"target\": ", "\"budget_bytes\": ", "\"transfer_bytes\": "];
    keys.into_iter().all(has).then_some(NotSource::SizeReport)
}

/// Recognizes an archive of images by its members.
fn archive(head: &[u8], file: &mut File, size: u64) -> Option<NotSource> {
    // RFC 1952, section 2.3.1; RFC 8878, section 3.1.1.
    if head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return is_compressed_image_archive(file).then_some(NotSource::ImageArchive);
    }
    // POSIX ustar, "magic" and "typeflag": an extended header may precede the first member.
    let is_tar = size.is_multiple_of(512) && head.get(257..262) == Some(b"ustar");
    let is_extended = head.get(156).is_some_and(|flag| b"xgL".contains(flag));
    let may_be = is_tar && (is_extended || is_member(&member_name(head)));
    (may_be && is_image_archive(file)).then_some(NotSource::ImageArchive)
}

/// Returns true if the first members of a compressed archive are those of images.
fn is_compressed_image_archive(file: &File) -> bool {
    let limits = Limits { archive_bytes: MAX_UNPACKED_BYTES, ..LIMITS };
    let Ok(mut members) = LayerReader::new(file, limits) else { return false };
    let mut blobs = 0;
    loop {
        let member = match members.next_member() {
            Ok(Some(member)) => member,
            Ok(None) => return false,
            // Of a large or truncated archive the start must suffice.
            Err(_) => return blobs > 0,
        };
        let path = member.path.as_str().trim_start_matches('/').to_owned();
        let is_file = member.kind == MemberKind::File;
        match &*path {
            "oci-layout" if is_file => return true,
            "manifest.json" if is_file && member.size <= MANIFEST_LIMIT => {
                let mut bytes = Vec::new();
                return members.read_to_end(&mut bytes).is_ok() && is_docker_manifest(&bytes);
            }
            path if !is_member(path) => return false,
            path => blobs += usize::from(path.split('/').any(|part| digits(part) == DIGEST_DIGITS)),
        }
    }
}

/// Returns true if the archive contains images.
fn is_image_archive(file: &mut File) -> bool {
    let Ok(members) = locate(&mut *file, LIMITS) else { return false };
    let mut docker = None;
    for located in &members {
        let (path, kind) = (located.member.path.as_str(), &located.member.kind);
        match path {
            "oci-layout" if *kind == MemberKind::File => return true,
            "manifest.json" if *kind == MemberKind::File => docker = Some(located),
            path if is_member(path) => {}
            _ => return false,
        }
    }
    let Some(manifest) = docker.filter(|found| found.member.size <= MANIFEST_LIMIT) else { return false };
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(manifest.offset))
        .and_then(|_| file.take(manifest.member.size).read_to_end(&mut bytes));
    read.is_ok() && is_docker_manifest(&bytes)
}

fn is_docker_manifest(bytes: &[u8]) -> bool {
    find(bytes, b"\"Config\"").is_some() && find(bytes, b"\"Layers\"").is_some()
}

/// Returns the name in a tar header, without `./`.
fn member_name(header: &[u8]) -> String {
    let name = header.get(..100).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    name.trim_start_matches("./").trim_end_matches('/').to_owned()
}

/// Returns true if an image archive may contain `path`: `blobs/…`, documents, or `<64 hex>…` of
/// `docker save`.
fn is_member(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    digits(first) == DIGEST_DIGITS
        || matches!(first, "" | "blobs" | "index.json" | "manifest.json" | "oci-layout" | "repositories")
}

/// Returns the number of hexadecimal digits at the start of a text.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_hexdigit).count()
}
