//! Package indexes: `Packages` files, one paragraph a binary package, deb-control(5); and `/var/lib/dpkg/status`, which
//! has the same form.
//!
//! The reader keeps the fields that [`crate::resolve`] and a download need, and their values as text: of 63,000
//! packages, a resolution looks at a few hundred. It reads a stream: a tree of all paragraphs takes as much memory as
//! the file.

use std::fmt;
use std::io::{BufRead, Read};
use std::str::FromStr;

use crate::relation::{self, Alternatives, RelationError};
use crate::version::Version;

/// Longest line. The longest of Debian, a `Provides`, has 30,000 bytes.
const MAX_LINE: u64 = 1 << 20;
/// Most packages of one index. Debian's largest has 70,000.
const MAX_PACKAGES: usize = 1 << 20;
/// Most text of one index that is kept. Debian's largest has 25 MB.
const MAX_TEXT: usize = 1 << 28;

/// A binary package of an archive.
#[derive(Debug, Clone)]
pub struct PackageRecord {
    /// `Package`
    pub name: Box<str>,
    /// `Version`
    pub version: Version,
    /// `Architecture`: one, or `all`.
    pub architecture: Box<str>,
    /// `Essential: yes`
    pub essential: bool,
    /// `Protected: yes`, or apt's `Important: yes`.
    pub protected: bool,
    /// `Multi-Arch`
    pub multi_arch: MultiArch,
    /// `Priority`
    pub priority: Priority,
    /// `Section`, with its area: `contrib/net`.
    pub section: Box<str>,
    /// Relations, as written.
    pub relations: Relations,
    /// `Filename`: the path below the archive's root. Relative and without `..`.
    pub filename: Box<str>,
    /// `Size`, in bytes.
    pub size: u64,
    /// `Installed-Size`, in KiB; 0 where the field is absent.
    pub installed_kib: u64,
    /// `SHA256` of the file.
    pub sha256: Sha256,
    /// `Phased-Update-Percentage`. Ubuntu offers a new update to this part of its machines first. An image is not one of
    /// them: [`crate::resolve`] takes every update.
    pub phased_update_percentage: Option<u8>,
    /// The index from which the package comes, as given to [`parse`].
    pub suite_index: usize,
}

/// A package that is installed, by dpkg's database.
#[derive(Debug, Clone)]
pub struct Installed {
    /// `Package`
    pub name: Box<str>,
    /// `Version`
    pub version: Version,
    /// `Architecture`
    pub architecture: Box<str>,
    /// `Multi-Arch`
    pub multi_arch: MultiArch,
    /// Relations, as written.
    pub relations: Relations,
}

/// The relations of a package, as written. [`relation::parse`] reads them.
#[derive(Debug, Clone, Default)]
pub struct Relations {
    /// `Pre-Depends`
    pub pre_depends: Box<str>,
    /// `Depends`
    pub depends: Box<str>,
    /// `Recommends`
    pub recommends: Box<str>,
    /// `Conflicts`
    pub conflicts: Box<str>,
    /// `Breaks`
    pub breaks: Box<str>,
    /// `Suggests`
    pub suggests: Box<str>,
    /// `Replaces`
    pub replaces: Box<str>,
    /// `Enhances`
    pub enhances: Box<str>,
    /// `Provides`
    pub provides: Box<str>,
}

/// The field `Multi-Arch`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MultiArch {
    /// Packages of the same architecture may depend on the package.
    #[default]
    No,
    /// Packages of several architectures can be installed together.
    Same,
    /// The package satisfies dependencies of each architecture.
    Foreign,
    /// The package satisfies dependencies with `:any` of each architecture.
    Allowed,
}

/// The field `Priority`, most important first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Priority {
    Required,
    Important,
    Standard,
    #[default]
    Optional,
    Extra,
}

/// A SHA-256 digest, written in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// An index that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The stream.
    #[error("cannot read the package index")]
    Read(#[from] std::io::Error),
    /// More than an archive has.
    #[error("cannot read the package index: line {line}: {reason}")]
    Limit {
        /// The line, from 1.
        line: u64,
        /// The limit.
        reason: &'static str,
    },
    /// No field.
    #[error("cannot parse the package index: line {line}: no field")]
    Syntax {
        /// The line, from 1.
        line: u64,
    },
    /// A field that each package has.
    #[error("cannot parse the package index: line {line}: package `{package}` has no field {field}")]
    MissingField {
        /// The first line of the paragraph, from 1.
        line: u64,
        /// The package; empty without `Package`.
        package: String,
        /// The field.
        field: &'static str,
    },
    /// A field with another value than its kind has.
    #[error("cannot parse the package index: line {line}: invalid {field} `{value}`")]
    InvalidField {
        /// The first line of the paragraph, from 1.
        line: u64,
        /// The field.
        field: &'static str,
        /// The beginning of the value.
        value: String,
    },
}

impl Relations {
    /// Parses one of the fields.
    pub fn parse(field: &str) -> Result<Vec<Alternatives<'_>>, RelationError> {
        relation::parse(field)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Text that is not a SHA-256 digest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("invalid SHA-256 digest")]
pub struct InvalidSha256;

impl FromStr for Sha256 {
    type Err = InvalidSha256;

    fn from_str(text: &str) -> Result<Self, InvalidSha256> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut digest = [0; 32];
        if pairs.len() != digest.len() || !rest.is_empty() {
            return Err(InvalidSha256);
        }
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or(InvalidSha256)?;
        }
        Ok(Self(digest))
    }
}

/// Parses a `Packages` file. `suite_index` is given back with each package.
pub fn parse(reader: impl BufRead, suite_index: usize) -> Result<Vec<PackageRecord>, IndexError> {
    let mut paragraphs = Paragraphs::new(reader);
    let mut records = Vec::new();
    while let Some(fields) = paragraphs.next()? {
        if records.len() == MAX_PACKAGES {
            return Err(IndexError::Limit { line: fields.line, reason: "more than 1,048,576 packages" });
        }
        records.push(PackageRecord {
            name: fields.name()?,
            version: fields.version()?,
            architecture: fields.architecture()?,
            essential: fields.is_yes(Field::Essential)?,
            protected: fields.is_yes(Field::Important)? || fields.is_yes(Field::Protected)?,
            multi_arch: fields.multi_arch()?,
            priority: fields.priority()?,
            section: fields.text(Field::Section)?.into(),
            relations: fields.relations()?,
            filename: fields.required(Field::Filename, |value| is_safe_path(value).then(|| value.into()))?,
            size: fields.required(Field::Size, |value| value.parse().ok())?,
            installed_kib: fields.text(Field::InstalledSize)?.parse().unwrap_or(0),
            sha256: fields.required(Field::Sha256, |value| value.parse().ok())?,
            phased_update_percentage: fields.text(Field::PhasedUpdatePercentage)?.parse().ok(),
            suite_index,
        });
    }
    Ok(records)
}

/// Parses dpkg's `status` file, or a file of `status.d`: the packages that are installed.
pub fn parse_status(reader: impl BufRead) -> Result<Vec<Installed>, IndexError> {
    let mut paragraphs = Paragraphs::new(reader);
    let mut installed = Vec::new();
    while let Some(fields) = paragraphs.next()? {
        // Files of status.d, a convention of distroless images, have no `Status`.
        let status = fields.text(Field::Status)?;
        if !status.is_empty() && status.split_ascii_whitespace().next_back() != Some("installed") {
            continue;
        }
        if installed.len() == MAX_PACKAGES {
            return Err(IndexError::Limit { line: fields.line, reason: "more than 1,048,576 packages" });
        }
        installed.push(Installed {
            name: fields.name()?,
            version: fields.version()?,
            architecture: fields.architecture()?,
            multi_arch: fields.multi_arch()?,
            relations: fields.relations()?,
        });
    }
    Ok(installed)
}

/// Tells whether a path stays below the folder that it is joined to.
fn is_safe_path(path: &str) -> bool {
    let path = path.strip_prefix("./").unwrap_or(path);
    !path.is_empty()
        && path.len() <= 4096
        && !path.contains(['\\', '\0'])
        && !path.contains(|letter: char| letter.is_control() || letter.is_whitespace())
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

macro_rules! fields {
    ($($name:ident $text:literal),+ $(,)?) => {
        /// A field that is kept.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Field { $($name),+ }

        /// The names of the fields, in the order of [`Field`].
        const NAMES: &[(Field, &str)] = &[$((Field::$name, $text)),+];
    };
}

fields! {
    Package "Package", Version "Version", Architecture "Architecture", Essential "Essential", Important "Important",
    Protected "Protected", MultiArch "Multi-Arch", Priority "Priority", Section "Section", PreDepends "Pre-Depends",
    Depends "Depends", Recommends "Recommends", Conflicts "Conflicts", Breaks "Breaks", Suggests "Suggests",
    Replaces "Replaces", Enhances "Enhances", Provides "Provides",
    Filename "Filename", Size "Size", InstalledSize "Installed-Size", Sha256 "SHA256",
    PhasedUpdatePercentage "Phased-Update-Percentage", Status "Status",
}

/// The kept fields of one paragraph.
struct Fields {
    /// The first line, from 1.
    line: u64,
    values: Vec<Vec<u8>>,
}

impl Fields {
    fn text(&self, field: Field) -> Result<&str, IndexError> {
        std::str::from_utf8(&self.values[field as usize]).map(str::trim).map_err(|_| self.invalid(field))
    }

    fn invalid(&self, field: Field) -> IndexError {
        let value = self.values[field as usize].trim_ascii();
        let value = String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned();
        IndexError::InvalidField { line: self.line, field: NAMES[field as usize].1, value }
    }

    fn required<T>(&self, field: Field, convert: impl FnOnce(&str) -> Option<T>) -> Result<T, IndexError> {
        match self.text(field)? {
            "" => Err(IndexError::MissingField {
                line: self.line,
                package: self.text(Field::Package)?.chars().take(80).collect(),
                field: NAMES[field as usize].1,
            }),
            value => convert(value).ok_or_else(|| self.invalid(field)),
        }
    }

    fn name(&self) -> Result<Box<str>, IndexError> {
        self.required(Field::Package, |name| relation::is_name(name).then(|| name.into()))
    }

    fn version(&self) -> Result<Version, IndexError> {
        self.required(Field::Version, |version| version.parse().ok())
    }

    fn architecture(&self) -> Result<Box<str>, IndexError> {
        self.required(Field::Architecture, |name| relation::is_architecture(name).then(|| name.into()))
    }

    fn is_yes(&self, field: Field) -> Result<bool, IndexError> {
        Ok(self.text(field)? == "yes")
    }

    fn multi_arch(&self) -> Result<MultiArch, IndexError> {
        match self.text(Field::MultiArch)? {
            "" | "no" => Ok(MultiArch::No),
            "same" => Ok(MultiArch::Same),
            "foreign" => Ok(MultiArch::Foreign),
            "allowed" => Ok(MultiArch::Allowed),
            _ => Err(self.invalid(Field::MultiArch)),
        }
    }

    /// Returns the priority. Archives of vendors have other words, which mean nothing.
    fn priority(&self) -> Result<Priority, IndexError> {
        Ok(match self.text(Field::Priority)? {
            "required" => Priority::Required,
            "important" => Priority::Important,
            "standard" => Priority::Standard,
            "extra" => Priority::Extra,
            _ => Priority::Optional,
        })
    }

    fn relations(&self) -> Result<Relations, IndexError> {
        Ok(Relations {
            pre_depends: self.text(Field::PreDepends)?.into(),
            depends: self.text(Field::Depends)?.into(),
            recommends: self.text(Field::Recommends)?.into(),
            conflicts: self.text(Field::Conflicts)?.into(),
            breaks: self.text(Field::Breaks)?.into(),
            suggests: self.text(Field::Suggests)?.into(),
            replaces: self.text(Field::Replaces)?.into(),
            enhances: self.text(Field::Enhances)?.into(),
            provides: self.text(Field::Provides)?.into(),
        })
    }
}

/// The paragraphs of a file.
struct Paragraphs<R> {
    reader: R,
    buffer: Vec<u8>,
    fields: Fields,
    /// The number of the line that was read last.
    line: u64,
    /// Bytes of values so far.
    text: usize,
}

impl<R: BufRead> Paragraphs<R> {
    fn new(reader: R) -> Self {
        let fields = Fields { line: 0, values: vec![Vec::new(); NAMES.len()] };
        Self { reader, buffer: Vec::new(), fields, line: 0, text: 0 }
    }

    /// Reads a line into the buffer, without its end. Returns `false` at the end of the file.
    fn read_line(&mut self) -> Result<bool, IndexError> {
        self.buffer.clear();
        let read = Read::take(&mut self.reader, MAX_LINE).read_until(b'\n', &mut self.buffer)?;
        self.line += 1;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if read as u64 == MAX_LINE {
            return Err(IndexError::Limit { line: self.line, reason: "more than 1 MiB" });
        }
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        Ok(read > 0)
    }

    /// Reads the next paragraph.
    fn next(&mut self) -> Result<Option<&Fields>, IndexError> {
        self.fields.values.iter_mut().for_each(Vec::clear);
        let mut current = None;
        let mut empty = true;
        while self.read_line()? {
            match self.buffer.first() {
                Some(b' ' | b'\t') if empty => return Err(IndexError::Syntax { line: self.line }),
                Some(b' ' | b'\t') if !self.buffer.trim_ascii().is_empty() => {
                    self.append(current)?;
                    continue;
                }
                None | Some(b' ' | b'\t') if empty => continue,
                None | Some(b' ' | b'\t') => return Ok(Some(&self.fields)),
                Some(b'#') => continue,
                Some(_) => {}
            }
            let Some(colon) = self.buffer.iter().take(256).position(|byte| *byte == b':') else {
                return Err(IndexError::Syntax { line: self.line });
            };
            if empty {
                (empty, self.fields.line) = (false, self.line);
            }
            current = field(&self.buffer[..colon]);
            if let Some(field) = current
                && !self.fields.values[field as usize].is_empty()
            {
                return Err(self.fields.invalid(field));
            }
            self.buffer.drain(..=colon);
            self.append(current)?;
        }
        Ok((!empty).then_some(&self.fields))
    }

    /// Appends the buffer to the value of a field.
    fn append(&mut self, field: Option<Field>) -> Result<(), IndexError> {
        let Some(field) = field else { return Ok(()) };
        let value = &mut self.fields.values[field as usize];
        value.extend_from_slice(&self.buffer);
        self.text += self.buffer.len();
        if value.len() as u64 > MAX_LINE {
            return Err(IndexError::Limit { line: self.line, reason: "a field of more than 1 MiB" });
        }
        if self.text > MAX_TEXT {
            return Err(IndexError::Limit { line: self.line, reason: "more than 256 MiB of fields" });
        }
        Ok(())
    }
}

/// Returns the field of this name, if it is kept.
fn field(name: &[u8]) -> Option<Field> {
    NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(field, _)| *field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "Package: hello\nVersion: 2.10-3\nArchitecture: amd64\nMulti-Arch: foreign\nPriority: required\n\
        section: devel\nDepends: libc6 (>= 2.34),\n debconf\nDescription: greets\n in a friendly way\nFilename: \
        pool/main/h/hello/hello_2.10-3_amd64.deb\nSize: 53 \nSHA256: \
        00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\nX-Unknown: 1\n";

    #[test]
    fn reads_the_fields_of_a_package() {
        let records = parse(format!("\n{HELLO}\n\n{HELLO}").as_bytes(), 7).unwrap();
        assert_eq!(records.len(), 2);
        let hello = &records[1];
        assert_eq!((&*hello.name, hello.version.as_str(), &*hello.section), ("hello", "2.10-3", "devel"));
        assert_eq!(&*hello.relations.depends, "libc6 (>= 2.34), debconf");
        assert_eq!((hello.multi_arch, hello.priority), (MultiArch::Foreign, Priority::Required));
        assert_eq!((hello.size, hello.suite_index, hello.phased_update_percentage), (53, 7, None));
        assert_eq!(
            hello.sha256.to_string(),
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
        );
    }

    #[test]
    fn names_the_line_and_the_field_of_an_error() {
        for (from, to, message) in [
            ("Version: 2.10-3\n", "", "line 2: package `hello` has no field Version"),
            ("2.10-3\nArch", "2 10\nArch", "line 2: invalid Version `2 10`"),
            ("Package: hello", "Package: ../hello", "line 2: invalid Package `../hello`"),
            ("pool/main", "/pool", "line 2: invalid Filename `/pool/h/hello/hello_2.10-3_amd64.deb`"),
            ("pool/main", "..", "line 2: invalid Filename `../h/hello/hello_2.10-3_amd64.deb`"),
            ("53", "-1", "line 2: invalid Size `-1`"),
            ("0011", "001", "line 2: invalid SHA256 `"),
            ("foreign", "both", "line 2: invalid Multi-Arch `both`"),
            ("X-Unknown", "Size: 1\nX", "line 2: invalid Size `53"),
            ("X-Unknown:", "unknown", "line 15: no field"),
            ("Package:", " Package:", "line 2: no field"),
        ] {
            let error = parse(format!("\n{}", HELLO.replacen(from, to, 1)).as_bytes(), 0).unwrap_err();
            assert!(error.to_string().contains(message), "{message}: {error}");
        }
    }

    #[test]
    fn limits_lines_and_fields() {
        let long = "x".repeat(1 << 20);
        for text in
            [format!("X: {long}\n"), format!("Depends: a\n{}", format!(" {}\n", &long[..1000]).repeat(1100))]
        {
            assert!(matches!(parse(text.as_bytes(), 0), Err(IndexError::Limit { .. })));
        }
    }

    #[test]
    fn reads_installed_packages() {
        let status =
            |status: &str| format!("Package: a\nStatus: {status}\nVersion: 1\nArchitecture: all\n\n");
        let text = status("install ok installed") + &status("deinstall ok config-files");
        assert_eq!(parse_status(text.as_bytes()).unwrap().len(), 1);
        assert_eq!(parse_status("Package: a\nVersion: 1\nArchitecture: all\n".as_bytes()).unwrap().len(), 1);
    }
}
