//! `RECORD`: the files of a distribution, with their digests.
//!
//! Follows the packaging specification "Recording installed projects"
//! (<https://packaging.python.org/en/latest/specifications/recording-installed-packages/>): CSV
//! with the columns path (relative to the directory that holds the `.dist-info`), hash (`sha256=`
//! and base64 without padding) and size in bytes. `python::relocate` decides which rows
//! the RECORD of an image has.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::digest::Digest;

/// One row of `RECORD`.
///
/// ```text
/// uvicorn/main.py,sha256=AbpHGcgLb-kRsJGnwFEktk7uzpZOCcBY74-YBdrKVGs,1024
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// The path, verbatim.
    pub path: String,
    /// The hash with its algorithm, verbatim.
    pub hash: Option<String>,
    /// The size in bytes.
    pub size: Option<u64>,
}

/// An invalid row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid line {line}: {reason}")]
#[non_exhaustive]
pub struct RecordError {
    /// The line, from 1.
    pub line: u64,
    /// The violated rule.
    pub reason: String,
}

/// Parses the rows of `text`. A repeated row counts once; a contradicting one is an error.
pub fn parse(text: &[u8]) -> Result<Vec<RecordRow>, RecordError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let mut rows: Vec<RecordRow> = Vec::new();
    let mut seen = std::collections::HashMap::<String, usize>::new();
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        let invalid = |reason: String| RecordError { line, reason };
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(rows),
            Ok(true) => {}
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                return Err(invalid("not UTF-8".to_owned()));
            }
            Err(error) => return Err(invalid(error.to_string())),
        }
        let field = |at| record.get(at).map(str::trim).filter(|field| !field.is_empty());
        let Some(path) = field(0) else { continue };
        let size = field(2)
            .map(|size| size.parse().map_err(|_| invalid(format!("invalid size `{size}`"))))
            .transpose()?;
        let row = RecordRow { path: path.to_owned(), hash: field(1).map(str::to_owned), size };
        match seen.get(path).and_then(|at| rows.get_mut(*at)) {
            None => {
                seen.insert(path.to_owned(), rows.len());
                rows.push(row);
            }
            Some(first) => {
                let agree = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
                let sizes = first.size.is_none() || row.size.is_none() || first.size == row.size;
                if !sizes || !agree(&first.hash, &row.hash) {
                    return Err(invalid(format!("`{path}` is listed twice with different hashes or sizes")));
                }
                first.hash = first.hash.take().or(row.hash);
                first.size = first.size.or(row.size);
            }
        }
    }
}

/// Writes the text of a `RECORD` with these rows, in their order.
pub fn render<'a>(rows: impl IntoIterator<Item = (&'a str, Option<&'a str>, Option<u64>)>) -> String {
    let mut text = String::new();
    for (path, hash, size) in rows {
        if path.contains([',', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&path.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(path);
        }
        text.push(',');
        text.push_str(hash.unwrap_or_default());
        text.push(',');
        if let Some(size) = size {
            text.push_str(&size.to_string());
        }
        text.push('\n');
    }
    text
}

/// Returns the hash column for a digest.
pub fn hash_column(digest: &Digest) -> String {
    format!("sha256={}", URL_SAFE_NO_PAD.encode(digest.as_bytes()))
}

/// Resolves a row's path to a path below the environment's root. `site` is the directory of the
/// `.dist-info` below that root, `roots` are the spellings of the root for absolute rows. Returns
/// `None` for a path outside the environment and for the root itself.
pub fn resolve(path: &str, site: &str, roots: &[&str]) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    // The common case.
    if !path.split('/').any(|part| matches!(part, "" | "." | "..")) && !site.is_empty() {
        return Some([site, "/", path].concat());
    }
    let relative = if path.starts_with('/') {
        roots.iter().find_map(|root| path.strip_prefix(root)?.strip_prefix('/'))?
    } else {
        path
    };
    let mut parts: Vec<&str> =
        if relative.len() == path.len() { site.split('/').collect() } else { Vec::new() };
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Returns the row path of the file `place`, both below the environment's root: the inverse of
/// [`resolve`].
pub fn relative<'a>(place: &'a str, site: &str) -> Cow<'a, str> {
    // The common case.
    if let Some(below) = place.strip_prefix(site).and_then(|rest| rest.strip_prefix('/')) {
        return below.into();
    }
    let (mut here, mut there) = (site.split('/').peekable(), place.split('/').peekable());
    while here.peek().is_some() && here.peek() == there.peek() {
        here.next();
        there.next();
    }
    here.map(|_| "..").chain(there).collect::<Vec<_>>().join("/").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SITE: &str = "lib/python3.11/site-packages";

    #[test]
    fn reads_rows_with_and_without_hash() {
        let rows = parse(b"a/b.py,sha256=xyz,12\r\n\"a, b.py\",,\nx.dist-info/RECORD,,\n\n").unwrap();
        assert_eq!(
            rows[0],
            RecordRow { path: "a/b.py".into(), hash: Some("sha256=xyz".into()), size: Some(12) }
        );
        assert_eq!(rows[1], RecordRow { path: "a, b.py".into(), hash: None, size: None });
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_repeated_row_counts_once_and_a_contradiction_is_refused() {
        assert_eq!(parse(b"a,sha256=x,1\na,,\na,sha256=x,1\n").unwrap().len(), 1);
        assert_eq!(parse(b"b,,\na,sha256=x,1\na,sha256=y,1\n").unwrap_err().line, 3);
        assert!(parse(b"a,,1\na,,2\n").is_err());
        assert!(parse(b"a,,many\n").unwrap_err().reason.contains("invalid size `many`"));
    }

    #[test]
    fn resolves_rows() {
        for (path, place) in [
            ("a/b.py", Some("lib/python3.11/site-packages/a/b.py")),
            ("../../../bin/x", Some("bin/x")),
            ("../../../share/man/x.1", Some("share/man/x.1")),
            ("./a//b", Some("lib/python3.11/site-packages/a/b")),
            ("../../../../etc/passwd", None),
            ("a/../../../../../x", None),
            ("/etc/passwd", None),
            ("/venv/bin/x", Some("bin/x")),
            ("/venvious/x", None),
            ("/venv/../etc/passwd", None),
            ("../../..", None),
        ] {
            assert_eq!(resolve(path, SITE, &["/venv"]).as_deref(), place, "{path}");
        }
    }

    #[test]
    fn hashes_as_pip_does() {
        let column = hash_column(&Digest::of(b""));
        assert_eq!(column, "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    proptest! {
        #[test]
        fn parses_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn round_trips_rows(path in "[a-z ,\"./é]{0,10}[a-z]", size in proptest::option::of(any::<u64>())) {
            let path = path.trim();
            let rows = parse(render([(path, Some("sha256=x"), size)]).as_bytes()).unwrap();
            prop_assert_eq!(rows, [RecordRow { path: path.to_owned(), hash: Some("sha256=x".to_owned()), size }]);
        }

        #[test]
        fn resolving_never_escapes(path in "[a./]{0,24}") {
            if let Some(place) = resolve(&path, SITE, &["/a"]) {
                prop_assert!(place.split('/').all(|part| part != ".." && part != "." && !part.is_empty()));
                prop_assert_eq!(resolve(&relative(&place, SITE), SITE, &[]), Some(place));
            }
        }
    }
}
