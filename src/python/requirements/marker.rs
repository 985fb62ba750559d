//! [`Marker`]: the condition of a requirement.
//!
//! Follows the packaging specification "Dependency specifiers", section "Environment Markers"
//! (<https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers>),
//! and the library `packaging` for cases that it leaves open. Markers are evaluated for the
//! interpreter of the virtual environment, on Linux; `platform_release` and `platform_version`
//! describe the build machine's kernel and are empty, since no image may depend on them.

use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifier};

use super::error::RequirementError;
use crate::python::environment::version::PythonVersion;
use crate::python::metadata::name::normalize;

/// The maximal nesting of parentheses.
const MAX_DEPTH: usize = 64;

/// A condition on the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// Both conditions hold.
    And(Box<[Marker; 2]>),
    /// At least one of the conditions holds.
    Or(Box<[Marker; 2]>),
    /// A comparison holds.
    Compare {
        /// The left operand.
        left: Operand,
        /// The comparison operator.
        operator: Operator,
        /// The right operand.
        right: Operand,
    },
}

/// An operand of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A property of the environment, by its current name.
    Variable(&'static str),
    /// A string.
    Literal(String),
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `===`
    Identical,
    /// `~=`
    Compatible,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `in`
    In,
    /// `not in`
    NotIn,
}

/// Operators as written, before their own prefixes.
const OPERATORS: [(&str, Operator); 8] = [
    ("===", Operator::Identical),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("~=", Operator::Compatible),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// Variables as written, and their current names.
const VARIABLES: [(&str, &str); 18] = [
    ("python_version", "python_version"),
    ("python_full_version", "python_full_version"),
    ("os_name", "os_name"),
    ("sys_platform", "sys_platform"),
    ("platform_release", "platform_release"),
    ("platform_system", "platform_system"),
    ("platform_version", "platform_version"),
    ("platform_machine", "platform_machine"),
    ("platform_python_implementation", "platform_python_implementation"),
    ("implementation_name", "implementation_name"),
    ("implementation_version", "implementation_version"),
    ("extra", "extra"),
    ("os.name", "os_name"),
    ("sys.platform", "sys_platform"),
    ("platform.version", "platform_version"),
    ("platform.machine", "platform_machine"),
    ("platform.python_implementation", "platform_python_implementation"),
    ("python_implementation", "platform_python_implementation"),
];

/// The marker variables of a CPython on Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    version: String,
    full_version: String,
    machine: String,
}

impl Environment {
    /// Returns the variables for `version` on `machine` (as in `uname -m`).
    pub fn new(version: PythonVersion, machine: &str) -> Self {
        let short = format!("{}.{}", version.major, version.minor);
        Self {
            full_version: format!("{short}.{}", version.micro.unwrap_or(0)),
            version: short,
            machine: machine.to_owned(),
        }
    }

    /// Returns the version of Python.
    pub(in crate::python) fn python(&self) -> Version {
        self.full_version.parse().unwrap_or_else(|_| Version::new([3]))
    }

    fn value(&self, variable: &str) -> &str {
        match variable {
            "python_version" => &self.version,
            "python_full_version" | "implementation_version" => &self.full_version,
            "os_name" => "posix",
            "sys_platform" => "linux",
            "platform_system" => "Linux",
            "platform_machine" => &self.machine,
            "platform_python_implementation" => "CPython",
            "implementation_name" => "cpython",
            _ => "",
        }
    }
}

impl Marker {
    /// Evaluates the marker in `environment` for a requirement of a distribution with these
    /// `extras` (normalized).
    pub fn holds(&self, environment: &Environment, extras: &[String]) -> bool {
        match self {
            Self::And(both) => both.iter().all(|marker| marker.holds(environment, extras)),
            Self::Or(both) => both.iter().any(|marker| marker.holds(environment, extras)),
            Self::Compare { left, operator, right } => match (left, right) {
                (Operand::Variable("extra"), Operand::Literal(extra))
                | (Operand::Literal(extra), Operand::Variable("extra")) => {
                    let is_selected = extras.contains(&normalize(extra));
                    if matches!(operator, Operator::NotEqual | Operator::NotIn) {
                        !is_selected
                    } else {
                        is_selected
                    }
                }
                _ => {
                    let is_version = |operand: &Operand| {
                        matches!(
                            operand,
                            Operand::Variable(
                                "python_version" | "python_full_version" | "implementation_version"
                            )
                        )
                    };
                    let value = |operand| match operand {
                        &Operand::Variable(variable) => environment.value(variable),
                        Operand::Literal(text) => text,
                    };
                    let versions = is_version(left) || is_version(right);
                    let (left, right) = (value(left), value(right));
                    let compared = if versions { compare_versions(left, *operator, right) } else { None };
                    compared.unwrap_or_else(|| compare_texts(left, *operator, right))
                }
            },
        }
    }
}

/// Compares as PEP 440 does. Returns `None` if an operand is not a version.
fn compare_versions(left: &str, operator: Operator, right: &str) -> Option<bool> {
    let (symbol, _) = OPERATORS.iter().find(|(_, known)| *known == operator)?;
    let specifier: VersionSpecifier = format!("{symbol}{right}").parse().ok()?;
    Some(specifier.contains(&left.parse::<Version>().ok()?))
}

fn compare_texts(left: &str, operator: Operator, right: &str) -> bool {
    match operator {
        Operator::Equal | Operator::Identical => left == right,
        Operator::NotEqual => left != right,
        Operator::Less => left < right,
        Operator::LessOrEqual => left <= right,
        Operator::Greater => left > right,
        Operator::GreaterOrEqual => left >= right,
        Operator::In => right.contains(left),
        Operator::NotIn => !right.contains(left),
        Operator::Compatible => false,
    }
}

impl FromStr for Marker {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let mut reader = MarkerParser { rest: text };
        let marker = reader.or(MAX_DEPTH)?;
        reader.skip_space();
        if reader.rest.is_empty() { Ok(marker) } else { Err(reader.unexpected("the end")) }
    }
}

/// A recursive descent parser for the grammar of the specification.
struct MarkerParser<'a> {
    rest: &'a str,
}

impl<'a> MarkerParser<'a> {
    fn or(&mut self, depth: usize) -> Result<Marker, RequirementError> {
        let mut marker = self.and(depth)?;
        while self.word("or") {
            marker = Marker::Or(Box::new([marker, self.and(depth)?]));
        }
        Ok(marker)
    }

    fn and(&mut self, depth: usize) -> Result<Marker, RequirementError> {
        let mut marker = self.single(depth)?;
        while self.word("and") {
            marker = Marker::And(Box::new([marker, self.single(depth)?]));
        }
        Ok(marker)
    }

    fn single(&mut self, depth: usize) -> Result<Marker, RequirementError> {
        self.skip_space();
        if let Some(rest) = self.rest.strip_prefix('(') {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(RequirementError(format!(
                    "invalid marker: nested more than {MAX_DEPTH} levels deep"
                )));
            };
            self.rest = rest;
            let marker = self.or(depth)?;
            self.skip_space();
            self.rest = self.rest.strip_prefix(')').ok_or_else(|| self.unexpected("`)`"))?;
            return Ok(marker);
        }
        let left = self.operand()?;
        let operator = self.operator()?;
        let right = self.operand()?;
        Ok(Marker::Compare { left, operator, right })
    }

    fn operand(&mut self) -> Result<Operand, RequirementError> {
        self.skip_space();
        if let Some(quote) = self.rest.chars().next().filter(|first| matches!(first, '\'' | '"')) {
            let inner = self.rest.get(1..).unwrap_or_default();
            let (literal, rest) = inner.split_once(quote).ok_or_else(|| self.unexpected("a closed quote"))?;
            self.rest = rest;
            return Ok(Operand::Literal(literal.to_owned()));
        }
        let name = self.name();
        match VARIABLES.iter().find(|(written, _)| *written == name) {
            Some((_, variable)) => {
                self.rest = self.rest.get(name.len()..).unwrap_or_default();
                Ok(Operand::Variable(variable))
            }
            None => Err(self.unexpected("a variable such as `python_version`, or a quoted text")),
        }
    }

    fn operator(&mut self) -> Result<Operator, RequirementError> {
        self.skip_space();
        for (symbol, operator) in OPERATORS {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return Ok(operator);
            }
        }
        if self.word("in") {
            return Ok(Operator::In);
        }
        if self.word("not") && self.word("in") {
            return Ok(Operator::NotIn);
        }
        Err(self.unexpected("an operator such as `==`"))
    }

    /// Consumes `word` if it is next.
    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self.name() == word;
        if found {
            self.rest = self.rest.get(word.len()..).unwrap_or_default();
        }
        found
    }

    /// Returns the next letters.
    fn name(&self) -> &'a str {
        let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
        let end = self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len());
        self.rest.get(..end).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unexpected(&self, expected: &str) -> RequirementError {
        let found: String = self.rest.chars().take(20).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
        RequirementError(format!("invalid marker: expected {expected}, found {found}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment() -> Environment {
        let version = PythonVersion { major: 3, minor: 11, micro: Some(7), free_threaded: false };
        Environment::new(version, "x86_64")
    }

    fn holds(marker: &str) -> bool {
        let marker: Marker = marker.parse().unwrap_or_else(|error| panic!("{marker}: {error}"));
        marker.holds(&environment(), &["fast".to_owned()])
    }

    #[test]
    fn evaluates_markers_for_the_environment() {
        for (marker, expected) in [
            ("python_version >= '3.8'", true),
            ("python_version < '3.11'", false),
            ("python_version >= '3.9'", true),
            ("'3.8' <= python_version", true),
            ("python_full_version >= \"3.11.7\"", true),
            ("python_version == '3.*'", true),
            ("python_version ~= '3.8'", true),
            ("python_version in '3.10 3.11'", true),
            ("python_version not in '3.10, 3.11'", false),
            ("python_version >= 'x'", false),
            ("sys_platform == 'win32'", false),
            ("sys.platform=='linux'", true),
            ("platform_machine == 'x86_64' and platform_system == 'Linux'", true),
            ("platform_python_implementation == 'PyPy'", false),
            ("implementation_name == 'cpython'", true),
            ("platform_release >= '4'", false),
            ("extra == 'dev'", false),
            ("extra == 'Fast'", true),
            ("extra != 'fast'", false),
            ("'fast' == extra", true),
            ("os_name == 'nt' or extra == 'fast'", true),
            ("os_name == 'nt' and extra == 'fast' or os_name == 'posix'", true),
            ("os_name == 'nt' and (extra == 'fast' or os_name == 'posix')", false),
            ("'linux' in sys_platform", true),
            ("sys_platform ~= 'linux'", false),
        ] {
            assert_eq!(holds(marker), expected, "{marker}");
        }
    }

    #[test]
    fn errors_name_the_unexpected_token() {
        for (marker, part) in [
            ("", "quoted text, found the end"),
            ("a == 'b'", "quoted text, found `a == 'b'`"),
            ("os_name 'b'", "an operator such as `==`, found `'b'`"),
            ("os_name == 'b", "a closed quote"),
            ("os_name == 'b' x", "expected the end, found `x`"),
            ("(os_name == 'b'", "expected `)`, found the end"),
        ] {
            let error = marker.parse::<Marker>().unwrap_err().to_string();
            assert!(error.contains(part), "{marker}: {error}");
        }
        let deep = format!("{}os_name == 'a'{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(deep.parse::<Marker>().unwrap_err().to_string().contains("nested"));
    }

    const MARKER: &str = "(\\(?(python_version|python_full_version|sys_platform|extra|os_name|'3\\.8'|'a') ?\
                          (==|!=|<|>|<=|>=|~=|===|in|not in) ?('3\\.8'|'3\\.8\\.\\*'|'3'|'linux'|''|os_name|extra)\\)?\
                          ( and | or |)){1,4}";

    proptest! {
        #[test]
        fn evaluates_any_marker(marker in MARKER) {
            if let Ok(marker) = marker.parse::<Marker>() {
                marker.holds(&environment(), &[]);
            }
        }
    }
}
