//! The control archive: fields, maintainer scripts and lists of files.

use std::collections::BTreeMap;
use std::io::Read;

use deb822_fast::borrowed::BorrowedParser;
use tar::EntryType;

use super::tarball;
use super::{DebError, DebLimits};

/// The control information of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFiles {
    /// The paragraph, verbatim.
    text: String,
    /// The values of the paragraph by lower-case name.
    fields: BTreeMap<String, String>,
    files: BTreeMap<String, ControlFile>,
}

/// A file of the control archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// The content.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
}

/// Reads a control archive.
pub(super) fn read(input: &mut dyn Read, limits: &DebLimits) -> Result<ControlFiles, DebError> {
    let mut files = BTreeMap::new();
    tarball::each(input, "control.tar", limits, &mut |member, content| {
        let path = member.relative_path()?;
        let invalid = |reason| DebError::Path { path: member.path.clone(), reason };
        match member.kind {
            EntryType::Directory if path.is_empty() => return Ok(()),
            EntryType::Regular | EntryType::Continuous if !path.is_empty() && !path.contains('/') => {}
            EntryType::Directory => return Err(invalid("a directory in the control archive")),
            _ => return Err(invalid("not a file in the control archive")),
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|cause| DebError::of_read("control.tar", cause))?;
        if bytes.len() as u64 != member.size {
            return Err(DebError::Truncated("control.tar"));
        }
        match files.insert(path, ControlFile { bytes, mode: member.mode & 0o777, mtime: member.mtime }) {
            Some(_) => Err(invalid("twice in the control archive")),
            None => Ok(()),
        }
    })?;
    ControlFiles::new(files)
}

impl ControlFiles {
    fn new(files: BTreeMap<String, ControlFile>) -> Result<Self, DebError> {
        let invalid = |reason| DebError::Control { file: "control".to_owned(), reason };
        let file = files.get("control").ok_or_else(|| invalid("file not found"))?;
        let text = std::str::from_utf8(&file.bytes).map_err(|_| invalid("not UTF-8"))?;
        let text = format!("{}\n", text.trim_matches('\n'));
        let paragraphs =
            BorrowedParser::new(&text).parse_all().map_err(|_| invalid("not a list of fields"))?;
        let [paragraph] = paragraphs.as_slice() else { return Err(invalid("not one paragraph")) };
        let mut fields = BTreeMap::new();
        for field in paragraph.iter() {
            let value = field.join();
            if fields.insert(field.name().to_ascii_lowercase(), value.trim().to_owned()).is_some() {
                return Err(invalid("duplicate field"));
            }
        }
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        };
        if !fields.get("package").is_some_and(|name| is_name(name)) {
            return Err(invalid("invalid field Package"));
        }
        if !fields.get("architecture").is_some_and(|name| is_name(name)) {
            return Err(invalid("invalid field Architecture"));
        }
        let version = fields.get("version").map(String::as_str).unwrap_or_default();
        let is_version = |byte: u8| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte);
        if version.is_empty() || !version.bytes().all(is_version) {
            return Err(invalid("invalid field Version"));
        }
        Ok(Self { text, fields, files })
    }

    /// Returns the paragraph of the file `control`, verbatim, with one newline at its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the value of a field, without regard to the case of its name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// Returns the name of the package, which consists of letters, digits and `+-.`.
    pub fn name(&self) -> &str {
        self.field("Package").unwrap_or_default()
    }

    /// Returns the version, with epoch and revision.
    pub fn version(&self) -> &str {
        self.field("Version").unwrap_or_default()
    }

    /// Returns the architecture: `amd64`, `all`.
    pub fn architecture(&self) -> &str {
        self.field("Architecture").unwrap_or_default()
    }

    /// Returns the files of the control archive by name, with `control`.
    pub fn files(&self) -> impl Iterator<Item = (&str, &ControlFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }

    /// Returns a file of the control archive.
    pub fn file(&self, name: &str) -> Option<&ControlFile> {
        self.files.get(name)
    }

    /// Returns a file of the control archive as text; bytes that are not UTF-8 are replaced.
    pub fn file_text(&self, name: &str) -> Option<String> {
        self.file(name).map(|file| String::from_utf8_lossy(&file.bytes).into_owned())
    }

    /// Returns the absolute paths of `conffiles`, without those that a package wants removed (`remove-on-upgrade`),
    /// deb-conffiles(5).
    pub fn conffiles(&self) -> Vec<String> {
        let text = self.file_text("conffiles").unwrap_or_default();
        let paths = text.lines().map(str::trim_end).filter(|line| line.starts_with('/'));
        paths.map(str::to_owned).collect()
    }

    /// Returns the checksums of `md5sums`, deb-md5sums(5), by relative path.
    pub fn md5sums(&self) -> BTreeMap<String, String> {
        let text = self.file_text("md5sums").unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(sum, path)| (path.trim_start_matches([' ', '*']).to_owned(), sum.to_owned())).collect()
    }
}
