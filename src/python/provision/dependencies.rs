//! The declared dependencies of a project that cannot be built as a package.
//!
//! Every installer reads the requirements in `[project] dependencies` ("Declaring project
//! metadata", PEP 621). Poetry's constraints are a language of their own, so Poetry's build back
//! end reads them: from a stand-in project that declares nothing else.

use std::path::Path;

use crate::python::metadata::name::normalize;
use crate::python::requirements::pyproject::PyProject;
use crate::python::requirements::requirement::Requirement;

/// The name of the stand-in project for Poetry's dependencies.
pub(super) const STAND_IN: &str = "ipo-oci-dependencies";

/// Declared dependencies in a form for an installer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dependencies {
    /// Lines of a `requirements.txt`.
    Lines(String),
    /// The `pyproject.toml` of a project named [`STAND_IN`] with these dependencies.
    Poetry(String),
}

impl Dependencies {
    /// Reads the dependencies, and those of `extras`, from the `pyproject.toml` of the project in
    /// `context`. Returns `None` if only a build of the project can determine them, or if none are
    /// declared.
    pub(super) fn of(pyproject: &str, context: &Path, extras: &[String]) -> Option<Self> {
        let file: toml::Table = pyproject.parse().ok()?;
        let project = file.get("project").and_then(toml::Value::as_table);
        if let Some(declared) = project.and_then(|project| project.get("dependencies")?.as_array()) {
            let lines = declared.iter().filter_map(toml::Value::as_str).map(str::to_owned);
            let optional = project.map(|project| of_extras(project, extras)).unwrap_or_default();
            return Some(Self::Lines(
                lines.chain(optional).fold(String::new(), |text, line| text + &line + "\n"),
            ));
        }
        let poetry = file.get("tool")?.get("poetry")?;
        let mut dependencies = poetry.get("dependencies")?.as_table()?.clone();
        let of_extra = |extra: &String| {
            let table = poetry.get("extras").and_then(toml::Value::as_table)?;
            table.iter().find(|(name, _)| normalize(name) == normalize(extra))?.1.as_array()
        };
        for name in extras.iter().filter_map(of_extra).flatten().filter_map(toml::Value::as_str) {
            let dependency = dependencies.iter_mut().find(|(known, _)| normalize(known) == normalize(name));
            if let Some((_, toml::Value::Table(dependency))) = dependency {
                dependency.remove("optional");
            }
        }
        Some(Self::Poetry(stand_in(dependencies, context)?))
    }
}

/// Returns the requirements of the normalized `groups` of a `pyproject.toml`: those of
/// `[dependency-groups]` and of PDM as lines, and those of Poetry.
pub(super) fn of_groups(pyproject: &str, context: &Path, groups: &[String]) -> Vec<Dependencies> {
    let file: toml::Table = pyproject.parse().unwrap_or_default();
    let project = PyProject::parse(pyproject).unwrap_or_default();
    let poetry = file.get("tool").and_then(|tool| tool.get("poetry"));
    let of_poetry = |group: &String| {
        let tables = poetry.and_then(|poetry| poetry.get("group")?.as_table()).into_iter().flatten();
        let mut named = tables.filter(|(name, _)| normalize(name) == *group);
        let dev = || poetry?.get("dev-dependencies");
        let table = named.find_map(|(_, table)| table.get("dependencies"));
        table.or_else(|| dev().filter(|_| group == "dev"))?.as_table()
    };
    let (mut lines, mut table) = (String::new(), toml::Table::new());
    for group in groups {
        match of_poetry(group) {
            Some(dependencies) if !is_standard_group(&file, group) => table.extend(dependencies.clone()),
            _ => {
                for requirement in project.groups.get(group).into_iter().flatten() {
                    lines = lines + &requirement.to_string() + "\n";
                }
            }
        }
    }
    let lines = Some(lines).filter(|lines| !lines.is_empty()).map(Dependencies::Lines);
    let stand_in = Some(table).filter(|table| !table.is_empty()).and_then(|table| stand_in(table, context));
    lines.into_iter().chain(stand_in.map(Dependencies::Poetry)).collect()
}

/// Returns true for a group of `[dependency-groups]`.
fn is_standard_group(file: &toml::Table, group: &str) -> bool {
    let groups = file.get("dependency-groups").and_then(toml::Value::as_table);
    groups.is_some_and(|groups| groups.keys().any(|name| normalize(name) == group))
}

/// Returns true if all of the normalized `groups` are in `[dependency-groups]`.
pub(super) fn are_standard_groups(pyproject: &str, groups: &[String]) -> bool {
    let file: toml::Table = pyproject.parse().unwrap_or_default();
    groups.iter().all(|group| is_standard_group(&file, group))
}

/// Returns true if Poetry manages the project, by its table or as the build back end.
pub(super) fn is_of_poetry(pyproject: &str) -> bool {
    let file: toml::Table = pyproject.parse().unwrap_or_default();
    let backend = file.get("build-system").and_then(|build| build.get("build-backend")?.as_str());
    file.get("tool").is_some_and(|tool| tool.get("poetry").is_some())
        || backend.is_some_and(|backend| backend.starts_with("poetry"))
}

/// Returns the requirements of `extras` of a `[project]`; an extra may name others: `all = ["app[a,b]"]`.
fn of_extras(project: &toml::Table, extras: &[String]) -> Vec<String> {
    let own = project.get("name").and_then(toml::Value::as_str).map(normalize);
    let table = project.get("optional-dependencies").and_then(toml::Value::as_table);
    let mut wanted: Vec<String> = extras.iter().map(|extra| normalize(extra)).collect();
    let (mut lines, mut next) = (Vec::new(), 0);
    while let Some(extra) = wanted.get(next).cloned() {
        next += 1;
        let found = table.and_then(|table| table.iter().find(|(name, _)| normalize(name) == extra));
        let requirements = found.and_then(|(_, requirements)| requirements.as_array()).into_iter().flatten();
        for line in requirements.filter_map(toml::Value::as_str) {
            match line.parse::<Requirement>() {
                Ok(requirement) if Some(&requirement.name) == own.as_ref() => {
                    let more = requirement.extras.iter().map(|extra| normalize(extra));
                    let more: Vec<String> = more.filter(|extra| !wanted.contains(extra)).collect();
                    wanted.extend(more);
                }
                _ => lines.push(line.to_owned()),
            }
        }
    }
    lines
}

/// Returns true for a `pyproject.toml` that lists dependencies of its project, or of its `extras`.
pub(super) fn declares(pyproject: &str, extras: &[String]) -> bool {
    match Dependencies::of(pyproject, Path::new(""), extras) {
        Some(Dependencies::Lines(lines)) => !lines.is_empty(),
        Some(Dependencies::Poetry(_)) => true,
        None => false,
    }
}

/// Returns true if `requires-python` of a `pyproject.toml` allows the Python `version`, is missing
/// or is invalid.
pub(super) fn allows_python(pyproject: &str, version: &str) -> bool {
    let file: toml::Table = pyproject.parse().unwrap_or_default();
    let requires_python = file.get("project").and_then(|project| project.get("requires-python")?.as_str());
    let requires_python = requires_python
        .and_then(|requires_python| format!("python {requires_python}").parse::<Requirement>().ok());
    requires_python.is_none_or(|requires_python| requires_python.allows(version))
}

/// Returns true if `[project]` of a `pyproject.toml` has the fields required by uv: a name and a
/// version.
pub(super) fn has_name_and_version(pyproject: &str) -> bool {
    let file: toml::Table = pyproject.parse().unwrap_or_default();
    let project = file.get("project");
    let has = |key: &str| {
        project
            .and_then(|project| project.get(key)?.as_str())
            .is_some_and(|text| text.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let dynamic = project.and_then(|project| project.get("dynamic")?.as_array()).into_iter().flatten();
    has("name") && (has("version") || dynamic.into_iter().any(|field| field.as_str() == Some("version")))
}

/// Returns the first dependency with a source known to uv only: another project, whose name may
/// belong to a stranger's distribution on an index.
pub(super) fn uv_only_dependency(pyproject: &str) -> Option<String> {
    let file: toml::Table = pyproject.parse().ok()?;
    let declared =
        file.get("project")?.get("dependencies")?.as_array()?.iter().filter_map(toml::Value::as_str);
    let names: Vec<String> =
        declared.filter_map(|text| Some(text.parse::<Requirement>().ok()?.name)).collect();
    let sources = file.get("tool")?.get("uv")?.get("sources")?.as_table()?;
    let is_project = |source: &toml::Value| {
        ["workspace", "path", "git", "url"].iter().any(|key| source.get(key).is_some())
    };
    let projects = sources.iter().filter(|(_, source)| match source {
        toml::Value::Array(alternatives) => alternatives.iter().any(is_project),
        source => is_project(source),
    });
    projects.map(|(name, _)| normalize(name)).find(|name| names.contains(name))
}

fn stand_in(mut dependencies: toml::Table, context: &Path) -> Option<String> {
    for (_, dependency) in &mut dependencies {
        match dependency {
            toml::Value::Array(alternatives) => alternatives.iter_mut().for_each(|it| absolute(it, context)),
            other => absolute(other, context),
        }
    }
    let text = |text: &str| toml::Value::from(text);
    let poetry = toml::Table::from_iter([
        ("name".to_owned(), text(STAND_IN)),
        ("version".to_owned(), text("0")),
        ("description".to_owned(), text("")),
        ("authors".to_owned(), toml::Value::Array(Vec::new())),
        ("dependencies".to_owned(), dependencies.into()),
    ]);
    let build = toml::Table::from_iter([
        ("requires".to_owned(), toml::Value::from(vec![text("poetry-core>=1.5")])),
        ("build-backend".to_owned(), text("poetry.core.masonry.api")),
    ]);
    let tool = toml::Table::from_iter([("poetry".to_owned(), poetry.into())]);
    let file =
        toml::Table::from_iter([("build-system".to_owned(), build.into()), ("tool".to_owned(), tool.into())]);
    toml::to_string(&file).ok()
}

/// Makes the `path` of a dependency absolute; paths are relative to the project's folder.
fn absolute(dependency: &mut toml::Value, context: &Path) {
    if let Some(path) = dependency.get_mut("path")
        && let Some(text) = path.as_str()
        && let Some(whole) = context.join(text).to_str()
    {
        *path = toml::Value::from(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Dependencies> {
        Dependencies::of(text, Path::new("/p"), &[])
    }

    #[test]
    fn keeps_requirements_verbatim() {
        let lines = |text| match of(text) {
            Some(Dependencies::Lines(lines)) => lines,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            lines("[project]\nname='x'\nversion=''\ndependencies=['a>=1', 'b @ https://h/b.zip']"),
            "a>=1\nb @ https://h/b.zip\n"
        );
        // Poetry 2 has only the sources of dependencies in its own table.
        assert_eq!(
            lines("[project]\ndependencies=['a']\n[tool.poetry.dependencies]\na={source='here'}"),
            "a\n"
        );
    }

    #[test]
    fn adds_requirements_of_extras() {
        let of = |text, extras: &[&str]| {
            let extras: Vec<String> = extras.iter().map(|extra| (*extra).to_owned()).collect();
            match Dependencies::of(text, Path::new("/p"), &extras) {
                Some(Dependencies::Lines(text) | Dependencies::Poetry(text)) => text,
                None => panic!("{text}"),
            }
        };
        let text = "[project]\nname='My.App'\ndependencies=['a']\n[project.optional-dependencies]\nPg=['b']\n\
                    q_r=['c', 'my-app[pg, all]']\nall=['my-app[q-r]']";
        assert_eq!(of(text, &[]), "a\n");
        assert_eq!(of(text, &["pg"]), "a\nb\n");
        assert_eq!(of(text, &["Q.r"]), "a\nc\nb\n");
        assert_eq!(of(text, &["all"]), "a\nc\nb\n");
        let text = "[tool.poetry.dependencies]\na={version='1',optional=true}\nB={version='1',optional=true}\n\
                    [tool.poetry.extras]\nx=['b']";
        let file: toml::Table = of(text, &["X"]).parse().unwrap();
        let dependencies = &file["tool"]["poetry"]["dependencies"];
        assert!(dependencies["a"].get("optional").is_some() && dependencies["B"].get("optional").is_none());
    }

    #[test]
    fn reads_groups_of_each_tool() {
        let text = "[dependency-groups]\nprod=['a', {include-group='more'}]\nmore=['b>=1']\n\
                    [tool.poetry.group.Worker.dependencies]\nc='^1'\n[tool.poetry.dev-dependencies]\nd='*'\n\
                    [tool.pdm.dev-dependencies]\nlint=['e']";
        let of = |groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            of_groups(text, Path::new("/p"), &groups)
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&["prod", "lint"]), [Dependencies::Lines("a\nb>=1\ne\n".to_owned())]);
        let [Dependencies::Lines(lines), Dependencies::Poetry(poetry)] = &of(&["worker", "dev", "more"])[..]
        else {
            panic!("both")
        };
        assert_eq!(lines, "b>=1\n");
        let file: toml::Table = poetry.parse().unwrap();
        assert_eq!(file["tool"]["poetry"]["dependencies"]["c"].as_str(), Some("^1"));
        assert_eq!(file["tool"]["poetry"]["dependencies"]["d"].as_str(), Some("*"));
        assert!(
            are_standard_groups(text, &["prod".to_owned()])
                && !are_standard_groups(text, &["dev".to_owned()])
        );
    }

    #[test]
    fn leaves_constraints_of_poetry_to_poetry() {
        let text = "[tool.poetry]\nname='x'\nversion=''\n[tool.poetry.dependencies]\npython='^3.9'\na='^1'\n\
                    own={path='../own',develop=true}\nb=[{path='b',python='<3.9'},{version='2'}]\n\
                    [build-system]\nrequires=['poetry>=0.12']\nbuild-backend='poetry.masonry.api'";
        let Some(Dependencies::Poetry(text)) = of(text) else { panic!("Poetry's") };
        let file: toml::Table = text.parse().unwrap();
        let poetry = &file["tool"]["poetry"];
        assert_eq!(poetry["name"].as_str(), Some(STAND_IN));
        assert_eq!(poetry["dependencies"]["python"].as_str(), Some("^3.9"));
        assert_eq!(poetry["dependencies"]["a"].as_str(), Some("^1"));
        assert_eq!(poetry["dependencies"]["own"]["path"].as_str(), Some("/p/../own"));
        assert_eq!(poetry["dependencies"]["b"][0]["path"].as_str(), Some("/p/b"));
        assert_eq!(file["build-system"]["build-backend"].as_str(), Some("poetry.core.masonry.api"));
    }

    #[test]
    fn dynamic_dependencies_are_none() {
        for text in ["", "[", "[project]\nname='x'\ndynamic=['dependencies']", "[tool.poetry]\nname='x'"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn finds_dependencies_with_sources_for_uv() {
        let text = |source: &str| {
            format!("[project]\ndependencies = ['My_Lib>=1', 'torch']\n[tool.uv.sources]\n{source}")
        };
        for (source, name) in [
            ("my-lib = { workspace = true }", Some("my-lib")),
            ("my-lib = [{ git = 'https://h/x', marker = 'x' }]", Some("my-lib")),
            ("torch = { index = 'cpu' }", None),
            ("other = { path = '../other' }", None),
        ] {
            assert_eq!(uv_only_dependency(&text(source)).as_deref(), name, "{source}");
        }
    }

    #[test]
    fn uv_requires_name_and_version() {
        for (table, whole) in [
            ("name='x'\nversion='1'", true),
            ("name='x'\ndynamic=['version']", true),
            ("name='x'\nversion=''", false),
            ("name='x'", false),
            ("version='1'", false),
        ] {
            assert_eq!(has_name_and_version(&format!("[project]\n{table}")), whole, "{table}");
        }
    }

    #[test]
    fn checks_requires_python() {
        for (requires_python, is_allowed) in
            [(">=3.9", true), (">=3.13", false), ("~=3.11", true), ("==3.11.*", true), ("<3.11", false)]
        {
            let text = format!("[project]\nrequires-python = '{requires_python}'");
            assert_eq!(allows_python(&text, "3.11.7"), is_allowed, "{requires_python}");
        }
        assert!(allows_python("[project]\nrequires-python = 'new'", "3.11.7") && allows_python("", "3.11.7"));
    }
}
