//! [`Project`]: metadata from `pyproject.toml` and the git checkout.
//!
//! `[project]` follows the PyPA specification "pyproject.toml" (PEP 621). Only the fields for
//! labels, names and defaults are read, and `[tool.ipo-oci]` with every key checked; other tables
//! are ignored.

#![allow(clippy::disallowed_methods)] // Plans depend on the values read here, which are part of their key.

mod setup_scripts;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::error::FileError;
use crate::git::GitDirectory;
use crate::settings::{Settings, SettingsError};
use crate::suggest::nearest;
use crate::traced_fs;

/// The largest `pyproject.toml` read, in bytes.
const PYPROJECT_LIMIT: u64 = 4 << 20;
/// The largest file of git read, in bytes.
const GIT_FILE_LIMIT: u64 = 16 << 20;

/// The default name of an image and of its account.
pub const UNNAMED: &str = "app";

/// The metadata of a project, known before any build.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Project {
    /// The name, verbatim, or empty. Never the folder's name: another checkout would give another
    /// image.
    pub name: String,
    /// The version, unless left to the build back end.
    pub version: Option<String>,
    /// A one-line description.
    pub description: Option<String>,
    /// An SPDX expression.
    pub license: Option<String>,
    /// Names with mail addresses, in the form of `org.opencontainers.image.authors`.
    pub authors: Option<String>,
    /// Links by label, in file order.
    pub urls: Vec<(String, String)>,
    /// `[tool.fastapi] entrypoint`: the application.
    pub fastapi_entrypoint: Option<String>,
    /// Names of the commands in `[project.scripts]` and `[tool.poetry.scripts]`.
    pub scripts: Vec<String>,
    /// Object references of these commands, `MODULE:FUNCTION`, by the command's name.
    pub script_objects: std::collections::BTreeMap<String, String>,
    /// `[tool.ipo-oci]`.
    pub settings: Settings,
    /// The commit of the git checkout that contains the folder.
    pub revision: Option<String>,
}

#[derive(Deserialize, Default)]
struct ProjectFile {
    project: Option<ProjectTable>,
    tool: Option<ToolTables>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "a table")]
struct ToolTables {
    #[serde(rename = "ipo-oci")]
    ipo_oci: Option<Settings>,
    fastapi: Option<FastApi>,
    poetry: Option<PoetryMetadata>,
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
struct FastApi {
    entrypoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
struct PoetryMetadata {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    license: Option<String>,
    #[serde(default)]
    scripts: toml::Table,
}

#[derive(Deserialize)]
#[serde(expecting = "a table")]
struct ProjectTable {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    license: Option<License>,
    #[serde(default)]
    authors: Vec<Author>,
    #[serde(default)]
    urls: toml::Table,
    #[serde(default)]
    scripts: toml::Table,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[serde(expecting = "expected an SPDX license expression, or a table with `text` or `file`")]
enum License {
    Expression(String),
    Table { text: Option<String> },
}

#[derive(Deserialize)]
#[serde(expecting = "a table with `name` or `email`")]
struct Author {
    name: Option<String>,
    email: Option<String>,
}

impl Project {
    /// Reads the project in the folder `root`. A folder without `pyproject.toml` is a project, too.
    pub fn read(root: &Path) -> Result<Self, SettingsError> {
        let path = root.join("pyproject.toml");
        let text = match read_limited(&path, PYPROJECT_LIMIT) {
            Ok(text) => text,
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let file: ProjectFile = toml::from_str(&text).map_err(|error| SettingsError::toml(&path, error))?;
        refuse_misplaced(&path, &text)?;
        let mut project = Self::from_file(file);
        if project.scripts.is_empty() {
            project.script_objects = setup_scripts::read(root);
            project.scripts = project.script_objects.keys().cloned().collect();
        }
        project.revision = git_revision(root);
        Ok(project)
    }

    fn from_file(file: ProjectFile) -> Self {
        let mut project = Self::default();
        if let Some(table) = file.project {
            project.name = table.name.unwrap_or_default();
            project.version = table.version;
            project.description = table.description;
            project.license = match table.license {
                Some(License::Expression(text) | License::Table { text: Some(text) })
                    if !text.contains('\n') =>
                {
                    Some(text)
                }
                _ => None,
            };
            let authors: Vec<String> = table.authors.into_iter().filter_map(Author::written).collect();
            project.authors = (!authors.is_empty()).then(|| authors.join(", "));
            project.scripts = table.scripts.keys().cloned().collect();
            project.urls = table
                .urls
                .into_iter()
                .filter_map(|(label, url)| Some((label, url.as_str()?.to_owned())))
                .collect();
            let scripts = table.scripts.into_iter();
            project.script_objects =
                scripts.filter_map(|(name, object)| Some((name, object.as_str()?.to_owned()))).collect();
        }
        if let Some(tool) = file.tool {
            if let Some(poetry) = tool.poetry {
                if project.name.is_empty() {
                    project.name = poetry.name.unwrap_or_default();
                }
                project.version = project.version.or(poetry.version);
                project.description = project.description.or(poetry.description);
                project.license = project.license.or(poetry.license);
                project.scripts.extend(poetry.scripts.keys().cloned());
                let object = |value: &toml::Value| {
                    let reference = value.as_str().or_else(|| value.get("reference")?.as_str())?;
                    reference.contains(':').then(|| reference.to_owned())
                };
                let objects =
                    poetry.scripts.iter().filter_map(|(name, value)| Some((name.clone(), object(value)?)));
                project.script_objects.extend(objects);
            }
            project.settings = tool.ipo_oci.unwrap_or_default();
            project.fastapi_entrypoint = tool.fastapi.and_then(|fastapi| fastapi.entrypoint);
        }
        project
    }

    /// Returns the name to display: the project's own, else the last component of `image`, the
    /// image's name, else [`UNNAMED`].
    pub fn title<'a>(&'a self, image: Option<&'a str>) -> &'a str {
        let own = Some(self.name.as_str()).filter(|name| !name.trim().is_empty());
        let of_image = || image.and_then(|image| image.rsplit('/').next());
        own.or_else(of_image).filter(|name| !name.is_empty()).unwrap_or(UNNAMED)
    }

    /// Returns the name as part of an image's name: lower case letters, digits and single
    /// separators (distribution specification 1.1, "Pulling manifests": the grammar of `<name>`).
    pub fn image_name(&self) -> String {
        slug(self.title(None))
    }

    /// Returns the [title](Self::title) as an account name: like [`Self::image_name`], but
    /// beginning with a letter and of at most 32 characters (`useradd(8)`).
    pub fn account_name(&self, image: Option<&str>) -> String {
        let name = slug(self.title(image));
        let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
        let name: String = name.chars().take(32).collect();
        let name = name.trim_end_matches('-');
        // These have accounts of their own in every image.
        if matches!(name, "" | "root" | "nobody" | "nogroup" | "daemon" | "bin" | "sys") {
            UNNAMED.to_owned()
        } else {
            name.to_owned()
        }
    }

    /// Returns the link whose label matches one of `labels`, compared as PyPI does ("Well-known
    /// Project URLs": letters only).
    pub fn url(&self, labels: &[&str]) -> Option<&str> {
        let slug =
            |label: &str| label.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
        labels
            .iter()
            .find_map(|known| self.urls.iter().find(|(label, _)| slug(label) == *known))
            .map(|(_, url)| url.as_str())
    }
}

/// Refuses a table that would be ignored and was probably meant as `[tool.ipo-oci]`: a similar name
/// in `[tool]`, or the name outside of `[tool]`.
fn refuse_misplaced(path: &Path, text: &str) -> Result<(), SettingsError> {
    const NAME: &str = "ipo-oci";
    let Ok(file) = DeTable::parse(text) else { return Ok(()) };
    let misplaced = tables(file.get_ref()).into_iter().filter(|(name, _)| match name[..] {
        [name] => nearest(name, [NAME]).is_some(),
        ["tool", NAME] => false,
        [outer, name] if nearest(outer, ["tool", "project"]).is_some() => nearest(name, [NAME]).is_some(),
        ["ipo", "oci"] | ["tool", "ipo", "oci"] => true,
        _ => false,
    });
    let Some((name, start)) = misplaced.min_by_key(|(_, start)| *start) else { return Ok(()) };
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    let (name, known) = (format!("[{}]", name.join(".")), format!("[tool.{NAME}]"));
    Err(SettingsError::UnknownTable { file: path.display().to_string(), line, name, known })
}

/// Lists the tables of a file to the third level by their dotted names, with the place of the last
/// component in the text.
fn tables<'a>(file: &'a DeTable<'_>) -> Vec<(Vec<&'a str>, usize)> {
    let mut found = Vec::new();
    let mut pending = vec![(Vec::new(), file)];
    while let Some((outer, table)) = pending.pop() {
        for (key, value) in table {
            let DeValue::Table(table) = value.get_ref() else { continue };
            let name = [&outer[..], &[&**key.get_ref()]].concat();
            if name.len() < 3 {
                pending.push((name.clone(), table));
            }
            found.push((name, key.span().start));
        }
    }
    found
}

/// Returns `name` in lower case letters, digits and single hyphens.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { UNNAMED.to_owned() } else { slug.to_owned() }
}

impl Author {
    fn written(self) -> Option<String> {
        match (self.name, self.email) {
            (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
            (name, email) => name.or(email),
        }
    }
}

fn read_limited(path: &Path, limit: u64) -> Result<String, FileError> {
    traced_fs::open_regular(path)
        .and_then(|file| traced_fs::read_limited(file, limit))
        .and_then(|bytes| match bytes {
            Some(bytes) => std::io::read_to_string(bytes.as_slice()),
            None => Err(std::io::Error::other(format!("it is larger than {limit} bytes"))),
        })
        .map_err(FileError::of("read", path))
}

/// Returns the commit checked out in the repository that contains `root`. Returns `None` without a
/// repository or if its files are invalid: a label is not worth a failed build.
///
/// Reads the files described in gitrepository-layout(5), so that git need not be installed.
fn git_revision(root: &Path) -> Option<String> {
    let root = fs_err::canonicalize(root).ok()?;
    let GitDirectory { git, common, .. } = GitDirectory::containing(&root)?;
    let head = read_limited(&git.join("HEAD"), GIT_FILE_LIMIT).ok()?;
    let Some(reference) = head.trim().strip_prefix("ref:").map(str::trim) else { return object_name(&head) };
    if reference.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    let loose = [git.join(reference), common.join(reference)]
        .into_iter()
        .find_map(|path: PathBuf| object_name(&read_limited(&path, GIT_FILE_LIMIT).ok()?));
    loose.or_else(|| {
        let packed = read_limited(&common.join("packed-refs"), GIT_FILE_LIMIT).ok()?;
        packed.lines().find_map(|line| object_name(line.strip_suffix(reference)?.strip_suffix(' ')?))
    })
}

/// Parses the name of a commit: 40 hexadecimal digits, or 64 in a SHA-256 repository.
fn object_name(text: &str) -> Option<String> {
    let text = text.trim();
    (matches!(text.len(), 40 | 64) && text.bytes().all(|c| c.is_ascii_hexdigit())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;
    use crate::testing::folder;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn reads_the_fields_for_labels() {
        let folder = folder(&[(
            "pyproject.toml",
            r#"
            [project]
            name = "Agency.OS"
            version = "3.0.0"
            license = {text = "MIT"}
            authors = [{name = "A", email = "a@example.org"}, {name = "B"}]
            urls = {"Source Code" = "https://example.org/src"}
            [tool.ipo-oci]
            port = 9000
            [tool.other]
            anything = true
            "#,
        )]);
        let project = Project::read(folder.path()).unwrap();
        assert_eq!(project.image_name(), "agency-os");
        assert_eq!(project.license.as_deref(), Some("MIT"));
        assert_eq!(project.authors.as_deref(), Some("A <a@example.org>, B"));
        assert_eq!(project.url(&["source", "sourcecode"]), Some("https://example.org/src"));
        assert_eq!(project.settings.port.unwrap().get(), 9000);
    }

    #[test]
    fn a_folder_without_pyproject_is_a_project_without_a_name() {
        let folder = folder(&[("some service/main.py", "")]);
        let project = Project::read(&folder.path().join("some service")).unwrap();
        assert_eq!((project.name.as_str(), project.image_name().as_str()), ("", "app"));
    }

    #[test]
    fn an_unnamed_project_takes_the_images_name() {
        let long = "a".repeat(40);
        for (project, image, title, account) in [
            ("", None, "app", "app"),
            ("", Some("hello"), "hello", "hello"),
            ("", Some("ghcr.io/team/hello"), "hello", "hello"),
            ("", Some("localhost:5000/hello_web.v2"), "hello_web.v2", "hello-web-v2"),
            ("", Some("team/2048"), "2048", "app"),
            ("", Some("team/root"), "root", "app"),
            ("", Some(long.as_str()), long.as_str(), &long[..32]),
            ("Agency.OS", Some("ghcr.io/team/staging"), "Agency.OS", "agency-os"),
        ] {
            let project = Project { name: project.to_owned(), ..Project::default() };
            let named = (project.title(image), project.account_name(image));
            assert_eq!(named, (title, account.to_owned()), "{image:?}");
        }
    }

    #[test]
    fn an_unknown_setting_names_file_and_line() {
        let folder = folder(&[("pyproject.toml", "[tool.ipo-oci]\nworkerz = 3\n")]);
        let error = chain(&Project::read(folder.path()).unwrap_err());
        assert!(
            error.contains("pyproject.toml") && error.contains("line 2") && error.contains("workerz"),
            "{error}"
        );
    }

    #[test]
    fn a_misplaced_or_misspelled_table_is_refused() {
        for table in [
            "[tool.ipo_oci]",
            "[tool.ipooci]",
            "[tool.ipo-ocl]",
            "[tool.ipo.oci]",
            "[tool.Ipo-OCI]",
            "[ipo-oci]",
            "[ipo_oci]",
            "[ipo.oci]",
            "[tools.ipo-oci]",
            "[Tool.ipooci]",
            "[project.ipo-oci]",
        ] {
            let text = format!("[other]\nx = '{table}'\n{table}\nport = 1\n");
            let folder = folder(&[("pyproject.toml", &text)]);
            let error = chain(&Project::read(folder.path()).unwrap_err());
            let expected = format!("line 3: unknown table `{table}`; did you mean `[tool.ipo-oci]`?");
            assert!(error.ends_with(&expected), "{table}: {error}");
        }
        for (text, expected) in [
            ("tools.ipo-oci.port = 1", "line 1: unknown table `[tools.ipo-oci]`"),
            ("[tools]\n\n\"ipo-oci\" = { port = 1 }", "line 3: unknown table `[tools.ipo-oci]`"),
            ("[tool.ipo-oci.env]\n[ipo-oci.env]", "line 2: unknown table `[ipo-oci]`"),
            ("[tools.ipo-oci]\n[ipo-oci]", "line 1: unknown table `[tools.ipo-oci]`"),
        ] {
            let folder = folder(&[("pyproject.toml", text)]);
            let error = chain(&Project::read(folder.path()).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn tables_of_other_tools_are_ignored() {
        for text in [
            "[tool.ipo]",
            "[tool.black]",
            "[tool.tox]",
            "[tool.poetry]",
            "[tools.other]",
            "[tools]\nipo-oci = '0.1'",
            "[other.ipo-oci]",
            "[tool.uv.sources.ipo-oci]\ngit = 'https://example.org'",
            "[tool.x.ipo-oci]",
            "[dependency-groups]\nipo-oci = ['ipo-oci']",
            "[project]\nname = 'ipo-oci'\n[project.urls]\nipo-oci = 'https://example.org'",
            "[tool.ipo-oci.env]\nipo_oci = '1'",
        ] {
            let folder = folder(&[("pyproject.toml", text)]);
            Project::read(folder.path()).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn converts_names_for_images_and_accounts() {
        for (name, image, account) in [
            ("Agency__OS", "agency-os", "agency-os"),
            ("-ü-", "app", "app"),
            ("3d-model", "3d-model", "d-model"),
            ("root", "root", "app"),
            ("a", "a", "a"),
        ] {
            let project = Project { name: name.to_owned(), ..Project::default() };
            assert_eq!(
                (project.image_name().as_str(), project.account_name(None).as_str()),
                (image, account),
                "{name}"
            );
        }
    }

    #[test]
    fn finds_the_commit_in_every_layout_of_git() {
        let head = ".git/HEAD";
        let branch = "ref: refs/heads/main\n";
        let line = format!("{COMMIT}\n");
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^{COMMIT}\n");
        for files in [
            vec![(head, line.as_str())],
            vec![(head, branch), (".git/refs/heads/main", &line)],
            vec![(head, branch), (".git/packed-refs", &packed)],
            vec![
                (".git", "gitdir: real/worktrees/a\n"),
                ("real/worktrees/a/HEAD", branch),
                ("real/worktrees/a/commondir", "../..\n"),
                ("real/refs/heads/main", &line),
            ],
        ] {
            let folder = folder(&files);
            fs_err::create_dir_all(folder.path().join("service")).unwrap();
            assert_eq!(git_revision(&folder.path().join("service")).as_deref(), Some(COMMIT), "{files:?}");
        }
    }

    #[test]
    fn a_damaged_checkout_has_no_commit() {
        for text in ["", "ref: ../../etc/passwd", "ref: refs/heads/none", "rubbish"] {
            let folder = folder(&[(".git/HEAD", text)]);
            assert_eq!(git_revision(folder.path()), None, "{text}");
        }
    }
}
