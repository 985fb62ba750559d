//! [`propose`]: the command that collects a Django project's static files, as a `prepare` table.

use super::environment::is_secret;
use super::{ProposedSetting, ProposedValue, place};
use crate::python::application::SourceTree;
use crate::service::django::DjangoProject;
use crate::service::hints::dockerfile::Dockerfile;
use crate::service::hints::{CommandHint, HintRole, Hints};

/// The variable with the settings module.
const SETTINGS: &str = "DJANGO_SETTINGS_MODULE";

/// The value of a secret while static files are collected.
const PLACEHOLDER: &str = "only-for-collectstatic";

/// Collects static files into the folder of the command, for settings without a variable that names one.
/// Applications may open the folder when they are loaded, and settings look for the word `collectstatic` among the
/// arguments.
const COLLECT: &str = "import os, django; from django.conf import settings; \
    settings.STATIC_ROOT = os.environ['IPO_OCI_OUT']; django.setup(); \
    from django.core.management import call_command; \
    call_command('collectstatic', interactive=False, verbosity=0)";

/// The way to have the static files in an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StaticFiles {
    /// A `prepare` table.
    Setting(ProposedSetting),
    /// Advice: the settings need values that the repository does not have.
    Open(String),
}

/// Proposes the command for a project whose Dockerfile runs `collectstatic` in a `RUN`, since there it works
/// without the configuration of a running container, or that serves the files by WhiteNoise. `has` returns true for the normalized name of a
/// distribution.
pub(crate) fn propose(
    sources: &dyn SourceTree,
    hints: &Hints,
    has: &dyn Fn(&str) -> bool,
) -> Option<StaticFiles> {
    let dockerfile = hints.dockerfile.as_ref();
    let is_run = |hint: &&CommandHint| {
        dockerfile.is_some_and(|dockerfile| {
            hint.evidence.file == dockerfile.file
                && dockerfile.runs().any(|run| run.has_line(hint.evidence.line))
        })
    };
    let hint = hints.commands.iter().filter(|hint| collects(hint)).find(is_run);
    // Without `RUN`, another server may have the files, unless WhiteNoise serves them.
    if !has("django") || (hint.is_none() && !has("whitenoise")) {
        return None;
    }
    let project = DjangoProject::find(sources)?;
    let of_hint: &[(String, String)] = hint.map_or(&[], |hint| &hint.env);
    let stage = dockerfile.and_then(Dockerfile::target);
    let of_stage = |name: &str| {
        let variables = stage.into_iter().flat_map(|stage| &stage.env);
        variables.filter(|(known, ..)| known == name).map(|(_, value, _)| value.clone()).next()
    };
    let named = of_hint.iter().find(|(name, _)| name == SETTINGS).map(|(_, value)| value.clone());
    let settings =
        named.or_else(|| of_stage(SETTINGS)).unwrap_or_else(|| project.settings_of_service(sources));
    let root = project.static_root(sources, &settings)?;
    let place_of_root = format!("STATIC_ROOT of {}:{}", root.file, root.line);
    let mut required = project.required_variables(sources, &settings);
    required.retain(|name| {
        name != SETTINGS
            && Some(name) != root.variable.as_ref()
            && !of_hint.iter().any(|(known, _)| known == name)
    });
    required.retain(|name| of_stage(name).is_none());
    // A secret's value is not in collected files; that of another variable may decide about them.
    let others: Vec<&str> =
        required.iter().map(String::as_str).filter(|name| placeholder(name).is_none()).collect();
    if hint.is_none() && !others.is_empty() {
        return Some(StaticFiles::Open(format!(
            "WhiteNoise serves {place_of_root}, and its settings need {}: write [[tool.ipo-oci.prepare]] with `collectstatic` \
             and an `env` for them",
            others.join(", ")
        )));
    }
    let text = |text: &str| ProposedValue::Text(text.to_owned());
    let mut env: Vec<(String, ProposedValue)> = Vec::new();
    let others = of_hint.iter().filter(|(name, _)| name != SETTINGS && Some(name) != root.variable.as_ref());
    env.extend(others.map(|(name, value)| (name.clone(), text(value))));
    if hint.is_none() {
        env.extend(required.iter().filter_map(|name| Some((name.clone(), text(placeholder(name)?)))));
    }
    env.push((SETTINGS.to_owned(), text(&settings)));
    let folder = project.manage.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (command, to) = if let Some(variable) = &root.variable {
        env.push((variable.clone(), text("{out}")));
        let to = of_stage(variable).unwrap_or_else(|| root.path.clone());
        (vec!["python", &project.manage, "collectstatic", "--noinput"], to)
    } else {
        if !folder.is_empty() {
            env.push(("PYTHONPATH".to_owned(), text(folder)));
        }
        (vec!["python", "-c", COLLECT, "collectstatic"], root.path.clone())
    };
    let table = vec![
        ("name".to_owned(), text("static")),
        ("command".to_owned(), ProposedValue::List(command.into_iter().map(str::to_owned).collect())),
        ("env".to_owned(), ProposedValue::Table(env)),
        ("to".to_owned(), ProposedValue::Text(to)),
    ];
    let reason = match hint {
        Some(hint) => format!("{}; {place_of_root}", place(&hint.evidence)),
        None => format!("whitenoise is a dependency; {place_of_root}"),
    };
    Some(StaticFiles::Setting(ProposedSetting::new(&["prepare"], ProposedValue::Tables(vec![table]), reason)))
}

/// Returns the value of a variable that no collected file depends on: of a secret, or of the database.
fn placeholder(name: &str) -> Option<&'static str> {
    match name {
        "DATABASE_URL" => Some("sqlite://:memory:"),
        name if name.ends_with("_URL") || !is_secret(name, "") => None,
        _ => Some(PLACEHOLDER),
    }
}

/// Returns true for a command that collects static files.
pub(super) fn collects(hint: &CommandHint) -> bool {
    hint.role == HintRole::Prepare
        && hint.words.as_ref().is_ok_and(|words| words.iter().any(|word| word == "collectstatic"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::application::testing::FakeTree;
    use crate::testing::folder;

    const SETTINGS_FILE: (&str, &str) = (
        "shop/settings.py",
        "BASE_DIR = Path(__file__).resolve().parent.parent\nSTATIC_ROOT = BASE_DIR / 'static'\n",
    );
    const MANAGE: (&str, &str) = ("manage.py", "setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')");

    /// Returns the proposed `env` and `to`, and the program's second word.
    fn proposed(files: &[(&'static str, &'static str)], distributions: &[&str]) -> Option<String> {
        let root = folder(files);
        let hints = Hints::read(root.path());
        let tree = FakeTree(files.iter().copied().collect());
        let setting = match propose(&tree, &hints, &|name| distributions.contains(&name))? {
            StaticFiles::Setting(setting) => setting,
            StaticFiles::Open(open) => return Some(open),
        };
        let ProposedValue::Tables(tables) = setting.value else { return None };
        let shown = tables[0].iter().map(|(key, value)| match value {
            ProposedValue::Text(text) => format!("{key}={text}"),
            ProposedValue::List(words) => format!("{key}={}", words[1]),
            ProposedValue::Table(entries) => entries
                .iter()
                .map(|(key, value)| match value {
                    ProposedValue::Text(text) => format!("{key}={text}"),
                    _ => String::new(),
                })
                .collect::<Vec<_>>()
                .join(" "),
            _ => String::new(),
        });
        Some(shown.skip(1).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn collects_into_the_folder_of_the_settings() {
        let dockerfile = (
            "Dockerfile",
            "FROM python\nENV STATICS=/srv/static\nRUN SECRET_KEY=x python manage.py collectstatic --noinput\n",
        );
        let variable = ("shop/settings.py", "STATIC_ROOT = os.environ.get('STATICS', 'static')\n");
        let of_django = "DJANGO_SETTINGS_MODULE=shop.settings";
        for (files, expected) in [
            (
                &[MANAGE, SETTINGS_FILE, dockerfile][..],
                format!("command=-c; SECRET_KEY=x {of_django}; to=static"),
            ),
            (
                &[MANAGE, variable, dockerfile],
                format!("command=manage.py; SECRET_KEY=x {of_django} STATICS={{out}}; to=/srv/static"),
            ),
        ] {
            assert_eq!(proposed(files, &["django"]), Some(expected), "{files:?}");
        }
        // A command of the container may need its configuration.
        let start = ("Dockerfile", "FROM python\nCMD python manage.py collectstatic && gunicorn shop.wsgi\n");
        for files in [&[MANAGE, SETTINGS_FILE, start][..], &[MANAGE, SETTINGS_FILE], &[MANAGE, dockerfile]] {
            assert_eq!(proposed(files, &["django"]), None, "{files:?}");
        }
        assert_eq!(proposed(&[MANAGE, SETTINGS_FILE, dockerfile], &[]), None);
    }

    #[test]
    fn whitenoise_needs_no_command_of_the_repository() {
        let whitenoise = ["django", "whitenoise"];
        let of_django = "DJANGO_SETTINGS_MODULE=shop.settings";
        let with = |lines: &'static str| {
            let text: &'static str = Box::leak(format!("{}{lines}", SETTINGS_FILE.1).into_boxed_str());
            proposed(&[MANAGE, ("shop/settings.py", text)], &whitenoise).unwrap()
        };
        assert_eq!(with(""), format!("command=-c; {of_django}; to=static"));
        assert_eq!(
            with("SECRET_KEY = os.environ['SECRET_KEY']\n"),
            format!("command=-c; SECRET_KEY=only-for-collectstatic {of_django}; to=static")
        );
        assert_eq!(
            with("D = env.db()\n"),
            format!("command=-c; DATABASE_URL=sqlite://:memory: {of_django}; to=static")
        );
        let open = with("A = os.environ['SECRET_KEY']\nB = os.environ['SITE']\n");
        assert!(open.contains("shop/settings.py:2, and its settings need SITE:"), "{open}");
        assert_eq!(proposed(&[MANAGE, SETTINGS_FILE], &["django"]), None);
    }
}
