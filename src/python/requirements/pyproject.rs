//! [`PyProject`]: the dependencies declared in `pyproject.toml`.
//!
//! Follows the packaging specifications "Declaring project metadata" (PEP 621) and "Dependency
//! groups" (PEP 735): <https://packaging.python.org/en/latest/specifications/pyproject-toml/>.
//! Without a `[project]` table, Poetry's own `[tool.poetry]` is read; its version constraints are
//! another language and are not checked, only names and conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use super::error::RequirementError;
use super::requirement::Requirement;
use crate::error::TomlError;
use crate::python::metadata::name::normalize;

/// The maximal nesting of dependency groups.
const MAX_DEPTH: usize = 32;

/// The dependencies and the build of a `pyproject.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PyProject {
    /// The project's normalized name.
    pub name: Option<String>,
    /// Its dependencies; `None` if undeclared: without a project, or with `dynamic` dependencies.
    pub dependencies: Option<Vec<Requirement>>,
    /// The requirements of its extras, by their normalized names.
    pub extras: BTreeMap<String, Vec<Requirement>>,
    /// The requirements of its dependency groups, by their normalized names, with included groups.
    pub groups: BTreeMap<String, Vec<Requirement>>,
    /// The names of uv's default groups, without `dev`.
    pub default_groups: Vec<String>,
    /// The kind of the project: a package or a virtual one.
    pub build: Build,
}

/// The kind of a project, in uv's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Build {
    /// No `[build-system]`, or declared not a package (Poetry's `package-mode`, uv's `package`): an
    /// application that runs from its source.
    #[default]
    Virtual,
    /// With a `[build-system]`.
    Package,
}

/// An error in the dependencies of a `pyproject.toml`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PyProjectError {
    /// Invalid TOML, or a value of the wrong type.
    #[error(transparent)]
    Toml(Box<TomlError>),
    /// An invalid requirement.
    #[error("invalid requirement `{text}` in {key}")]
    Requirement {
        /// The requirement as written.
        text: String,
        /// The key of its list.
        key: String,
        /// The cause.
        source: RequirementError,
    },
    /// An invalid dependency in a table of Poetry.
    #[error("invalid dependency `{name}` in {key}.dependencies")]
    Poetry {
        /// The key in the table.
        name: String,
        /// The table above `dependencies`.
        key: String,
        /// The cause.
        source: RequirementError,
    },
    /// An included dependency group that the file does not have.
    #[error("dependency group `{0}` not found")]
    NoGroup(String),
    /// Dependency groups that include one another in a circle.
    #[error("invalid dependency group: includes itself: {}", .0.join(" → "))]
    Circle(Vec<String>),
    /// An invalid value of uv's `default-groups`.
    #[error("invalid tool.uv.default-groups `{0}`")]
    DefaultGroups(String),
    /// Dependency groups that include one another too deeply.
    #[error("invalid dependency group `{0}`: nested too deeply")]
    Depth(String),
}

#[derive(Deserialize)]
struct PyProjectTables {
    project: Option<ProjectDependencies>,
    #[serde(rename = "build-system")]
    build: Option<toml::Value>,
    #[serde(default, rename = "dependency-groups")]
    groups: BTreeMap<String, Vec<GroupItem>>,
    #[serde(default)]
    tool: PackageTools,
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
struct ProjectDependencies {
    name: Option<String>,
    dependencies: Option<Vec<String>>,
    #[serde(default, rename = "optional-dependencies")]
    extras: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    dynamic: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[serde(expecting = "expected a requirement, or a table with `include-group`")]
enum GroupItem {
    Requirement(String),
    Include {
        #[serde(rename = "include-group")]
        group: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(expecting = "a table")]
struct PackageTools {
    poetry: Option<PoetryDependencies>,
    uv: Option<UvPackage>,
    pdm: Option<PdmGroups>,
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
#[serde(rename_all = "kebab-case")]
struct UvPackage {
    package: Option<bool>,
    default_groups: Option<UvDefaultGroups>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[serde(expecting = "expected a list of groups, or `all`")]
enum UvDefaultGroups {
    All(String),
    Some(Vec<String>),
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
struct PdmGroups {
    #[serde(default, rename = "dev-dependencies")]
    groups: BTreeMap<String, Vec<String>>,
}

impl PackageTools {
    /// Returns true unless Poetry's or uv's table declares that the project is not a package.
    fn is_package(&self) -> bool {
        self.poetry.as_ref().and_then(|poetry| poetry.package_mode) != Some(false)
            && self.uv.as_ref().and_then(|uv| uv.package) != Some(false)
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
struct PoetryDependencies {
    name: Option<String>,
    #[serde(rename = "package-mode")]
    package_mode: Option<bool>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    #[serde(default)]
    group: BTreeMap<String, PoetryGroup>,
    #[serde(default, rename = "dev-dependencies")]
    dev: BTreeMap<String, toml::Value>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
struct PoetryGroup {
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
}

impl PyProject {
    /// Parses the file's text.
    pub fn parse(text: &str) -> Result<Self, PyProjectError> {
        let file: PyProjectTables = toml::from_str(text)
            .map_err(|error: toml::de::Error| PyProjectError::Toml(Box::new(error.into())))?;
        let is_package = file.build.is_some() && file.tool.is_package();
        let build = if is_package { Build::Package } else { Build::Virtual };
        let mut project = Self { groups: groups(&file.groups)?, build, ..Self::default() };
        for (group, requirements) in file.tool.pdm.iter().flat_map(|pdm| &pdm.groups) {
            // An editable requirement (`-e file:///…`) has no name.
            let named: Vec<String> =
                requirements.iter().filter(|text| !text.starts_with('-')).cloned().collect();
            let needed = parse_all(&format!("tool.pdm.dev-dependencies.{group}"), &named)?;
            project.groups.entry(normalize(group)).or_insert(needed);
        }
        let poetry = file.tool.poetry.as_ref();
        if let Some(table) = &file.project {
            project.name = table.name.as_deref().map(normalize);
            let is_dynamic = table.dynamic.iter().any(|field| field == "dependencies");
            let named = table.dependencies.as_deref();
            if named.is_some() || !is_dynamic {
                project.dependencies = Some(parse_all("project.dependencies", named.unwrap_or_default())?);
            }
            for (extra, requirements) in &table.extras {
                let key = format!("project.optional-dependencies.{extra}");
                project.extras.insert(normalize(extra), parse_all(&key, requirements)?);
            }
        }
        if let Some(poetry) = poetry {
            project.add_poetry(poetry, file.project.is_some())?;
        }
        let defaults = match file.tool.uv.and_then(|uv| uv.default_groups) {
            Some(UvDefaultGroups::Some(groups)) => groups.iter().map(|group| normalize(group)).collect(),
            Some(UvDefaultGroups::All(all)) if all != "all" => {
                return Err(PyProjectError::DefaultGroups(all));
            }
            Some(UvDefaultGroups::All(_)) => project.groups.keys().cloned().collect(),
            None => Vec::new(),
        };
        project.default_groups = defaults.into_iter().filter(|group| group != "dev").collect();
        Ok(project)
    }

    /// Adds Poetry's tables. Poetry 2 keeps groups beside `[project]`, which takes precedence.
    fn add_poetry(&mut self, poetry: &PoetryDependencies, has_project: bool) -> Result<(), PyProjectError> {
        for (group, table) in &poetry.group {
            let (needed, _) =
                poetry_requirements(&format!("tool.poetry.group.{group}"), &table.dependencies)?;
            self.groups.entry(normalize(group)).or_insert(needed);
        }
        if !poetry.dev.is_empty() {
            let (needed, _) = poetry_requirements("tool.poetry.dev-dependencies", &poetry.dev)?;
            self.groups.entry("dev".to_owned()).or_insert(needed);
        }
        if has_project && (self.dependencies.is_some() || poetry.dependencies.is_empty()) {
            return Ok(());
        }
        let (needed, optional) = poetry_requirements("tool.poetry", &poetry.dependencies)?;
        self.name = self.name.take().or_else(|| poetry.name.as_deref().map(normalize));
        self.dependencies = Some(needed);
        for (extra, names) in &poetry.extras {
            let selected: BTreeSet<String> = names.iter().map(|name| normalize(name)).collect();
            let of_extra = optional.iter().filter(|requirement| selected.contains(&requirement.name));
            self.extras.insert(normalize(extra), of_extra.cloned().collect());
        }
        Ok(())
    }
}

fn parse_all(key: &str, texts: &[String]) -> Result<Vec<Requirement>, PyProjectError> {
    texts
        .iter()
        .map(|text| {
            text.parse().map_err(|source| PyProjectError::Requirement {
                text: text.clone(),
                key: key.to_owned(),
                source,
            })
        })
        .collect()
}

fn groups(
    tables: &BTreeMap<String, Vec<GroupItem>>,
) -> Result<BTreeMap<String, Vec<Requirement>>, PyProjectError> {
    let by_name: BTreeMap<String, &Vec<GroupItem>> =
        tables.iter().map(|(name, items)| (normalize(name), items)).collect();
    by_name
        .keys()
        .map(|name| {
            let mut requirements = Vec::new();
            flatten(name, &by_name, &mut Vec::new(), &mut BTreeSet::new(), &mut requirements)?;
            Ok((name.clone(), requirements))
        })
        .collect()
}

/// Appends a group's requirements to `into`; a repeated group counts once. `path` has the groups that
/// include it.
fn flatten(
    name: &str,
    groups: &BTreeMap<String, &Vec<GroupItem>>,
    path: &mut Vec<String>,
    seen: &mut BTreeSet<String>,
    into: &mut Vec<Requirement>,
) -> Result<(), PyProjectError> {
    let items = groups.get(name).ok_or_else(|| PyProjectError::NoGroup(name.to_owned()))?;
    if let Some(start) = path.iter().position(|outer| outer == name) {
        let circle = path.iter().skip(start).chain([&name.to_owned()]).cloned().collect();
        return Err(PyProjectError::Circle(circle));
    }
    if path.len() == MAX_DEPTH {
        return Err(PyProjectError::Depth(name.to_owned()));
    }
    if !seen.insert(name.to_owned()) {
        return Ok(());
    }
    path.push(name.to_owned());
    for item in *items {
        match item {
            GroupItem::Requirement(text) => {
                into.extend(parse_all(&format!("dependency-groups.{name}"), std::slice::from_ref(text))?);
            }
            GroupItem::Include { group } => flatten(&normalize(group), groups, path, seen, into)?,
        }
    }
    path.pop();
    Ok(())
}

/// Converts Poetry's table to requirements without versions: the mandatory and the optional ones.
fn poetry_requirements(
    key: &str,
    table: &BTreeMap<String, toml::Value>,
) -> Result<(Vec<Requirement>, Vec<Requirement>), PyProjectError> {
    let (mut needed, mut optional) = (Vec::new(), Vec::new());
    for (name, value) in table.iter().filter(|(name, _)| normalize(name) != "python") {
        // A list holds alternatives for different Pythons or platforms.
        let alternatives = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for alternative in alternatives {
            let strings = |field: &str| -> Vec<&str> {
                let values = alternative.get(field).and_then(toml::Value::as_array);
                values.into_iter().flatten().filter_map(toml::Value::as_str).collect()
            };
            let text = |field: &str| alternative.get(field).and_then(toml::Value::as_str);
            let mut requirement = name.clone();
            let extras = strings("extras");
            if !extras.is_empty() {
                let _ = write!(requirement, "[{}]", extras.join(","));
            }
            let python = text("python").and_then(poetry_python).map(|marker| format!("({marker})"));
            let platform = text("platform").map(|platform| format!("sys_platform == '{platform}'"));
            let markers: Vec<String> =
                [text("markers").map(|marker| format!("({marker})")), python, platform]
                    .into_iter()
                    .flatten()
                    .collect();
            if !markers.is_empty() {
                let _ = write!(requirement, " ; {}", markers.join(" and "));
            }
            let parsed: Requirement = requirement.parse().map_err(|source| PyProjectError::Poetry {
                name: name.clone(),
                key: key.to_owned(),
                source,
            })?;
            match alternative.get("optional").and_then(toml::Value::as_bool) {
                Some(true) => optional.push(parsed),
                _ => needed.push(parsed),
            }
        }
    }
    Ok((needed, optional))
}

/// Converts Poetry's constraint on Python to a marker: `>=3.8,<3.11`, `^3.9`, `~3.9`. Returns
/// `None` if it does not constrain.
fn poetry_python(constraint: &str) -> Option<String> {
    let alternatives: Option<Vec<String>> = constraint
        .split("||")
        .map(|all| {
            let parts: Option<Vec<String>> = all
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty() && *part != "*")
                .map(|part| {
                    let digits = part.trim_start_matches(|character: char| !character.is_ascii_digit());
                    let operator = part.strip_suffix(digits)?.trim();
                    let major: u32 = digits.split('.').next()?.parse().ok()?;
                    let minor: u32 =
                        digits.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0);
                    Some(match operator {
                        "^" => format!(
                            "python_full_version >= '{digits}' and python_version < '{}.0'",
                            major + 1
                        ),
                        "~" => format!(
                            "python_full_version >= '{digits}' and python_version < '{major}.{}'",
                            minor + 1
                        ),
                        "" => format!("python_full_version == '{digits}'"),
                        operator => format!("python_full_version {operator} '{digits}'"),
                    })
                })
                .collect();
            parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(" and "))
        })
        .collect();
    alternatives.map(|alternatives| alternatives.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(requirements: &[Requirement]) -> Vec<String> {
        requirements.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_the_standard_tables() {
        let project = PyProject::parse(
            "[project]\nname = 'My_App'\ndependencies = ['fastapi>=0.1']\n\
             [project.optional-dependencies]\nS_3 = ['boto3']\n\
             [dependency-groups]\ntest = ['pytest']\nDev = ['ruff', {include-group = 'test'}]\n",
        )
        .unwrap();
        assert_eq!(project.name.as_deref(), Some("my-app"));
        assert_eq!(names(&project.dependencies.unwrap()), ["fastapi>=0.1"]);
        assert_eq!(names(&project.extras["s-3"]), ["boto3"]);
        assert_eq!(names(&project.groups["dev"]), ["ruff", "pytest"]);
    }

    #[test]
    fn distinguishes_dynamic_from_empty_dependencies() {
        let dependencies = |text| PyProject::parse(text).unwrap().dependencies;
        assert_eq!(dependencies("[project]\nname='x'\ndynamic=['dependencies']"), None);
        assert_eq!(dependencies("[project]\nname='x'"), Some(vec![]));
        assert_eq!(dependencies("[tool.x]\ny=1"), None);
    }

    #[test]
    fn reads_poetrys_tables() {
        let project = PyProject::parse(
            "[tool.poetry]\nname='x'\n[tool.poetry.dependencies]\npython='^3.11'\nfastapi='^0.1'\n\
             uvicorn={version='*',extras=['standard']}\nboto3={version='1',optional=true}\n\
             own={path='../own',develop=true}\nwin={version='1',markers=\"sys_platform == 'win32'\"}\n\
             many=[{version='1',python='<3.9'},{version='2',python='>=3.9'}]\n\
             [tool.poetry.extras]\ns3=['boto3']\n[tool.poetry.group.dev.dependencies]\npytest='*'\n",
        )
        .unwrap();
        assert_eq!(
            names(&project.dependencies.unwrap()),
            [
                "fastapi",
                "many ; (python_full_version < '3.9')",
                "many ; (python_full_version >= '3.9')",
                "own",
                "uvicorn[standard]",
                "win ; (sys_platform == 'win32')"
            ]
        );
        assert_eq!(names(&project.extras["s3"]), ["boto3"]);
        assert_eq!(names(&project.groups["dev"]), ["pytest"]);
    }

    #[test]
    fn recognizes_virtual_projects() {
        for (text, build) in [
            ("", Build::Virtual),
            ("[build-system]\n", Build::Package),
            ("[build-system]\n[tool.poetry]\npackage-mode = false", Build::Virtual),
            ("[build-system]\n[tool.uv]\npackage = false", Build::Virtual),
            ("[build-system]\n[tool.uv]\npackage = true", Build::Package),
        ] {
            assert_eq!(PyProject::parse(text).unwrap().build, build, "{text}");
        }
    }

    #[test]
    fn converts_constraints_on_python() {
        for (constraint, marker) in [
            ("^3.9", Some("python_full_version >= '3.9' and python_version < '4.0'")),
            ("~3.9", Some("python_full_version >= '3.9' and python_version < '3.10'")),
            (">=3.8,<3.11", Some("python_full_version >= '3.8' and python_full_version < '3.11'")),
            ("<3.9 || >=3.11", Some("python_full_version < '3.9' or python_full_version >= '3.11'")),
            ("*", None),
        ] {
            assert_eq!(poetry_python(constraint).as_deref(), marker, "{constraint}");
        }
    }

    #[test]
    fn errors_name_the_key_or_line() {
        for (text, part) in [
            ("[project]\ndependencies = ['a b']", "`a b` in project.dependencies"),
            ("[project]\ndependencies = 1", "line 2"),
            ("[dependency-groups]\na = [{include-group='b'}]", "dependency group `b` not found"),
            ("[", "line 1"),
        ] {
            let error = PyProject::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_group_that_includes_itself_is_an_error() {
        for (text, circle) in [
            ("a = [{include-group='a'}]", "includes itself: a → a"),
            ("a = ['x', {include-group='B'}]\nb = [{include-group='a'}]", "includes itself: a → b → a"),
        ] {
            let error = PyProject::parse(&format!("[dependency-groups]\n{text}")).unwrap_err().to_string();
            assert!(error.contains(circle), "{error}");
        }
        let text = "[dependency-groups]\na = [{include-group='c'}, {include-group='b'}]\nb = [{include-group='c'}]\nc = ['x']";
        assert_eq!(names(&PyProject::parse(text).unwrap().groups["a"]), ["x"]);
    }

    #[test]
    fn reads_the_groups_of_other_tools() {
        let project = PyProject::parse(
            "[project]\nname='x'\n[tool.pdm.dev-dependencies]\nTest=['pytest', '-e file:///x']\n\
             [tool.poetry.dev-dependencies]\nruff='*'\n[dependency-groups]\nprod=['gunicorn']\n\
             [tool.uv]\ndefault-groups=['dev', 'Prod']",
        )
        .unwrap();
        assert_eq!(names(&project.groups["test"]), ["pytest"]);
        assert_eq!(names(&project.groups["dev"]), ["ruff"]);
        assert_eq!(project.default_groups, ["prod"]);
    }

    proptest! {
        #[test]
        fn parses_any_text(text in "(?s).{0,100}") {
            let _ = PyProject::parse(&text);
        }
    }
}
