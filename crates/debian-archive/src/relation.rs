//! Relations between packages, Debian Policy section 7.1: `libc6 (>= 2.36), libssl3 | libssl1.1`.
//!
//! The parser reads the fields of binary packages: `Depends`, `Conflicts`, `Provides` and the others of chapter 7.
//! Architecture restrictions and build profiles belong to source packages, and are read all the same.

use std::cmp::Ordering;
use std::fmt;

use crate::version;

/// Packages of which one satisfies the relation, in the order of preference.
pub type Alternatives<'a> = Vec<Relation<'a>>;

/// A package that a relation names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The package, or a virtual package.
    pub name: &'a str,
    /// Architectures whose package satisfies the relation.
    pub qualifier: Qualifier<'a>,
    /// Versions that satisfy the relation; all, if absent.
    pub constraint: Option<Constraint<'a>>,
    /// Architectures to which the relation is restricted, as written: `amd64`, or `!i386`. Empty: all.
    pub restrictions: Vec<&'a str>,
}

/// The suffix of a name: `python3:any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier<'a> {
    /// None: the architecture of the package that has the relation.
    None,
    /// `:any`: each architecture, of a package that allows it (`Multi-Arch: allowed`).
    Any,
    /// `:native`: the machine's architecture.
    Native,
    /// `:arm64`: this one.
    Architecture(&'a str),
}

/// Versions of a package: `>= 2.36`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constraint<'a> {
    /// The comparison of the package's version with `version`.
    pub comparison: Comparison,
    /// The version.
    pub version: &'a str,
}

/// A comparison of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// A field that is not a list of relations.
#[derive(Debug, Clone, thiserror::Error)]
#[error("invalid relation `{relation}`: {reason}")]
pub struct RelationError {
    relation: String,
    reason: &'static str,
}

impl Constraint<'_> {
    /// Tells whether a package of this version satisfies the constraint.
    pub fn accepts(&self, version: &str) -> bool {
        let order = version::compare(version, self.version);
        match self.comparison {
            Comparison::Earlier => order == Ordering::Less,
            Comparison::EarlierOrEqual => order != Ordering::Greater,
            Comparison::Equal => order == Ordering::Equal,
            Comparison::LaterOrEqual => order != Ordering::Less,
            Comparison::Later => order == Ordering::Greater,
        }
    }
}

impl Relation<'_> {
    /// Tells whether the relation is one of packages for `architecture`, by its restrictions.
    pub fn applies_to(&self, architecture: &str) -> bool {
        let matches = |pattern: &str| {
            pattern == architecture
                || matches!(pattern, "any" | "linux-any")
                || pattern.strip_prefix("any-") == Some(architecture)
                || pattern.strip_prefix("linux-") == Some(architecture)
        };
        if self.restrictions.iter().all(|pattern| pattern.starts_with('!')) {
            !self.restrictions.iter().any(|pattern| matches(&pattern[1..]))
        } else {
            self.restrictions.iter().any(|pattern| matches(pattern))
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)?;
        match self.qualifier {
            Qualifier::None => {}
            Qualifier::Any => formatter.write_str(":any")?,
            Qualifier::Native => formatter.write_str(":native")?,
            Qualifier::Architecture(name) => write!(formatter, ":{name}")?,
        }
        if let Some(Constraint { comparison, version }) = self.constraint {
            write!(formatter, " ({comparison} {version})")?;
        }
        if !self.restrictions.is_empty() {
            write!(formatter, " [{}]", self.restrictions.join(" "))?;
        }
        Ok(())
    }
}

/// Formats alternatives as a field does: `a | b (>= 2)`.
pub fn display(alternatives: &[Relation<'_>]) -> String {
    alternatives.iter().map(Relation::to_string).collect::<Vec<_>>().join(" | ")
}

/// Parses a field. Empty parts, as after a last comma, are skipped.
pub fn parse(field: &str) -> Result<Vec<Alternatives<'_>>, RelationError> {
    let mut relations = Vec::new();
    for part in field.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        relations.push(part.split('|').map(parse_one).collect::<Result<_, _>>()?);
    }
    Ok(relations)
}

fn parse_one(text: &str) -> Result<Relation<'_>, RelationError> {
    let text = text.trim();
    let error = |reason| RelationError { relation: text.chars().take(80).collect(), reason };
    if text.contains("${") {
        return Err(error("a substitution variable that was not replaced"));
    }
    let end = text.find(|letter: char| letter.is_ascii_whitespace() || "([<".contains(letter));
    let (name, mut rest) = text.split_at(end.unwrap_or(text.len()));
    let (name, qualifier) = match name.split_once(':') {
        None => (name, Qualifier::None),
        Some((name, "any")) => (name, Qualifier::Any),
        Some((name, "native")) => (name, Qualifier::Native),
        Some((name, architecture)) if is_architecture(architecture) => {
            (name, Qualifier::Architecture(architecture))
        }
        Some(_) => return Err(error("no architecture after the colon")),
    };
    if !is_name(name) {
        return Err(error("no package name"));
    }
    let mut relation = Relation { name, qualifier, constraint: None, restrictions: Vec::new() };
    loop {
        rest = rest.trim_start();
        let Some(open) = rest.chars().next() else { return Ok(relation) };
        let close = match open {
            '(' => ')',
            '[' => ']',
            '<' => '>',
            _ => return Err(error("more than one name")),
        };
        let Some((inner, after)) = rest[1..].split_once(close) else { return Err(error("an open bracket")) };
        match open {
            '(' if relation.constraint.is_none() => {
                relation.constraint =
                    Some(parse_constraint(inner).ok_or_else(|| error("no version constraint"))?);
            }
            '[' if relation.restrictions.is_empty() => {
                relation.restrictions = inner.split_ascii_whitespace().collect();
                let valid = |pattern: &&str| is_architecture(pattern.strip_prefix('!').unwrap_or(pattern));
                if relation.restrictions.is_empty() || !relation.restrictions.iter().all(valid) {
                    return Err(error("no architecture restriction"));
                }
            }
            '<' => {}
            _ => return Err(error("two brackets of one kind")),
        }
        rest = after;
    }
}

/// Parses `>= 2.36`. `<` and `>` are obsolete and mean `<=` and `>=`.
fn parse_constraint(text: &str) -> Option<Constraint<'_>> {
    let text = text.trim();
    let (operator, version) = text.split_at(text.find(|letter| !"<=>".contains(letter))?);
    let comparison = match operator {
        "<<" => Comparison::Earlier,
        "<=" | "<" => Comparison::EarlierOrEqual,
        "=" => Comparison::Equal,
        ">=" | ">" => Comparison::LaterOrEqual,
        ">>" => Comparison::Later,
        _ => return None,
    };
    let version = version.trim();
    version::is_valid(version).then_some(Constraint { comparison, version })
}

/// Tells whether `name` can be that of a package. Names of older archives have capitals and underscores, and some of
/// one letter exist.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.len() <= 256
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

pub(crate) fn is_architecture(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(field: &str) -> String {
        let relations = parse(field).unwrap();
        relations.iter().map(|alternatives| display(alternatives)).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn reads_the_syntax_of_the_policy() {
        for (field, normal) in [
            ("libc6 (>= 2.36), libssl3", "libc6 (>= 2.36), libssl3"),
            ("a(=1:2-3)|b(<<2),", "a (= 1:2-3) | b (<< 2)"),
            ("a (> 1), b (< 2)", "a (>= 1), b (<= 2)"),
            ("python3:any, gcc:native, libc6:arm64", "python3:any, gcc:native, libc6:arm64"),
            ("a [amd64 !i386] <!nocheck> <cross>", "a [amd64 !i386]"),
            ("a\n , b\n ,\n c", "a, b, c"),
            ("g++-12, lib3.0+, 4store", "g++-12, lib3.0+, 4store"),
            ("", ""),
        ] {
            assert_eq!(parsed(field), normal, "{field}");
        }
    }

    #[test]
    fn refuses_other_text() {
        for (field, reason) in [
            ("${misc:Depends}", "a substitution variable that was not replaced"),
            ("a (>= ${binary:Version})", "a substitution variable that was not replaced"),
            ("a b", "more than one name"),
            ("a (>= 1", "an open bracket"),
            ("a (1)", "no version constraint"),
            ("a (>= )", "no version constraint"),
            ("a (=> 1)", "no version constraint"),
            ("a (>= 1) (<< 2)", "two brackets of one kind"),
            ("a |", "no package name"),
            ("-a", "no package name"),
            ("a:", "no architecture after the colon"),
            ("a []", "no architecture restriction"),
            ("é", "no package name"),
        ] {
            assert_eq!(parse(field).unwrap_err().reason, reason, "{field}");
        }
    }

    #[test]
    fn restrictions_name_architectures() {
        for (field, amd64, arm64) in [
            ("a", true, true),
            ("a [amd64]", true, false),
            ("a [!amd64]", false, true),
            ("a [i386 arm64]", false, true),
            ("a [linux-any]", true, true),
            ("a [any-arm64]", false, true),
        ] {
            let relation = &parse(field).unwrap()[0][0];
            assert_eq!(
                (relation.applies_to("amd64"), relation.applies_to("arm64")),
                (amd64, arm64),
                "{field}"
            );
        }
    }

    #[test]
    fn compares_versions() {
        for (constraint, versions) in [
            ("<< 2", [true, false, false]),
            ("<= 2", [true, true, false]),
            ("= 2", [false, true, false]),
            (">= 2", [false, true, true]),
            (">> 2", [false, false, true]),
        ] {
            let constraint = parse_constraint(constraint).unwrap();
            assert_eq!(["1", "2-0", "2-1"].map(|version| constraint.accepts(version)), versions);
        }
    }
}
