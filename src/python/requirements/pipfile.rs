//! [`Pipfile`]: the dependencies declared for Pipenv.
//!
//! Follows Pipenv's documentation, "Pipfile" (<https://pipenv.pypa.io/en/latest/pipfile.html>): a
//! table of packages for each category, `packages` and `dev-packages` or others. Versions are those of
//! PEP 440; each marker variable is a key of its own too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use toml::Value;

use super::error::RequirementError;
use super::requirement::Requirement;
use super::requirements_txt::RequirementTarget;
use crate::error::TomlError;
use crate::python::metadata::name::normalize;

/// The keys of a package that are marker variables.
const MARKERS: [&str; 8] = [
    "os_name",
    "platform_machine",
    "platform_python_implementation",
    "platform_system",
    "python_full_version",
    "python_version",
    "sys_platform",
    "implementation_name",
];

/// The packages of a `Pipfile`, by category.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pipfile(BTreeMap<String, toml::Table>);

/// One package of a `Pipfile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipfilePackage {
    /// The required distribution.
    pub target: RequirementTarget,
    /// The line of a requirements file for it.
    pub line: String,
}

/// An invalid `Pipfile`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipfileError {
    /// Invalid TOML.
    #[error(transparent)]
    Toml(Box<TomlError>),
    /// An invalid package.
    #[error("invalid package `{name}`")]
    Package {
        /// Its name.
        name: String,
        /// The cause.
        source: RequirementError,
    },
}

#[derive(Deserialize)]
struct Tables {
    #[serde(flatten)]
    all: BTreeMap<String, Value>,
}

impl Pipfile {
    /// Parses the file's text.
    pub fn parse(text: &str) -> Result<Self, PipfileError> {
        let tables: Tables = toml::from_str(text)
            .map_err(|error: toml::de::Error| PipfileError::Toml(Box::new(error.into())))?;
        let categories = tables.all.into_iter().filter_map(|(name, value)| match value {
            Value::Table(table) if !matches!(&*name, "requires" | "scripts" | "pipenv") => {
                Some((category(&name), table))
            }
            _ => None,
        });
        Ok(Self(categories.collect()))
    }

    /// Returns the packages of the main category and of `groups`, for the project in `context`; an
    /// unknown group is returned as the error.
    pub fn packages(
        &self,
        context: &Path,
        groups: &[String],
    ) -> Result<Result<Vec<PipfilePackage>, PipfileError>, String> {
        let mut packages = Vec::new();
        for group in std::iter::once("packages").chain(groups.iter().map(String::as_str)) {
            let Some(table) = self.0.get(&category(group)) else {
                if group == "packages" {
                    continue;
                }
                return Err(group.to_owned());
            };
            for (name, value) in table {
                match package(name, value, context) {
                    Ok(package) => packages.push(package),
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(packages))
    }
}

/// Returns the normalized name of a category: `dev` for `dev-packages`.
fn category(name: &str) -> String {
    let name = normalize(name);
    if matches!(&*name, "dev-packages" | "develop") { "dev".to_owned() } else { name }
}

fn package(name: &str, value: &Value, context: &Path) -> Result<PipfilePackage, PipfileError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let extras = value.get("extras").and_then(Value::as_array).into_iter().flatten();
    let extras: Vec<String> = extras.filter_map(Value::as_str).map(str::to_owned).collect();
    let suffix = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
    if let Some(path) = text("path").or(text("file").filter(|file| !file.contains("://"))) {
        let is_editable = value.get("editable").and_then(Value::as_bool) == Some(true);
        let option = if is_editable { "-e " } else { "" };
        let path = context.join(path);
        let line = format!("{option}{}{suffix}", path.display());
        return Ok(PipfilePackage { target: RequirementTarget::Directory { path, extras }, line });
    }
    let mut requirement = format!("{name}{suffix}");
    if let Some(git) = text("git") {
        let reference = text("ref").map(|reference| format!("@{reference}")).unwrap_or_default();
        let subdirectory =
            text("subdirectory").map(|path| format!("#subdirectory={path}")).unwrap_or_default();
        let _ = write!(requirement, " @ git+{git}{reference}{subdirectory}");
    } else if let Some(file) = text("file") {
        let _ = write!(requirement, " @ {file}");
    } else if let Some(version) = value.as_str().or(text("version")).filter(|version| *version != "*") {
        let is_bare = !version.starts_with(['<', '>', '=', '!', '~']);
        let _ = write!(requirement, "{}{version}", if is_bare { "==" } else { "" });
    }
    let of_keys = MARKERS.into_iter().filter_map(|key| Some(format!("{key} {}", text(key)?)));
    let markers: Vec<String> =
        text("markers").map(|marker| format!("({marker})")).into_iter().chain(of_keys).collect();
    if !markers.is_empty() {
        let _ = write!(requirement, " ; {}", markers.join(" and "));
    }
    let parsed: Requirement =
        requirement.parse().map_err(|source| PipfileError::Package { name: name.to_owned(), source })?;
    Ok(PipfilePackage { target: RequirementTarget::Named(Box::new(parsed)), line: requirement })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str, groups: &[&str]) -> Result<Vec<String>, String> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let pipfile = Pipfile::parse(text).map_err(|error| error.to_string())?;
        let packages = pipfile.packages(Path::new("/p"), &groups)?.map_err(|error| error.to_string())?;
        Ok(packages.into_iter().map(|package| package.line).collect())
    }

    #[test]
    fn converts_every_form_of_a_package() {
        let text = "[[source]]\nurl='https://h/simple'\nname='x'\nverify_ssl=true\n[requires]\npython_version='3.11'\n\
                    [packages]\nany='*'\nexact='==1.2'\nbare='1.2'\nrange='>=1,<2'\n\
                    more={version='~=1.0',extras=['a','b'],markers=\"os_name == 'nt'\"}\n\
                    keyed={version='*',sys_platform=\"== 'linux'\"}\n\
                    git={git='https://h/x.git',ref='v1'}\nown={path='.',editable=true}\nlocal={path='./lib'}\n\
                    [dev-packages]\npytest='*'\n[docs]\nsphinx='*'\n";
        assert_eq!(
            lines(text, &[]).unwrap(),
            [
                "any",
                "bare==1.2",
                "exact==1.2",
                "git @ git+https://h/x.git@v1",
                "keyed ; sys_platform == 'linux'",
                "/p/./lib",
                "more[a,b]~=1.0 ; (os_name == 'nt')",
                "-e /p/.",
                "range>=1,<2",
            ]
        );
        assert_eq!(lines(text, &["dev", "docs"]).unwrap()[9..], ["pytest", "sphinx"]);
        assert_eq!(lines(text, &["none"]).unwrap_err(), "none");
        assert!(lines("[packages]\nx='what'", &[]).unwrap_err().contains("invalid package `x`"));
        assert_eq!(lines("", &[]).unwrap(), [""; 0]);
    }

    proptest! {
        #[test]
        fn parses_any_text(text in "(?s).{0,100}") {
            let _ = lines(&text, &[]);
        }
    }
}
