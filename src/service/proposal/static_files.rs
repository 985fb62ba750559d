//! [`propose`]: the command that collects a Django project's static files, as a `prepare` table.

use super::{ProposedSetting, ProposedValue, place};
use crate::python::application::SourceTree;
use crate::service::django::DjangoProject;
use crate::service::hints::{CommandHint, HintRole, Hints};

/// The variable with the settings module.
const SETTINGS: &str = "DJANGO_SETTINGS_MODULE";

/// Collects static files into the folder of the command, for settings without a variable that names one.
/// Applications may open the folder when they are loaded.
const COLLECT: &str = "import os, django; from django.conf import settings; \
    settings.STATIC_ROOT = os.environ['IPO_OCI_OUT']; django.setup(); \
    from django.core.management import call_command; \
    call_command('collectstatic', interactive=False, verbosity=0)";

/// Proposes the command for a project whose Dockerfile runs `collectstatic` in a `RUN`: there it works
/// without the configuration of a running container. `has` returns true for the normalized name of a
/// distribution.
pub(crate) fn propose(
    sources: &dyn SourceTree,
    hints: &Hints,
    has: &dyn Fn(&str) -> bool,
) -> Option<ProposedSetting> {
    let dockerfile = hints.dockerfile.as_ref()?;
    let is_run = |hint: &&CommandHint| {
        hint.evidence.file == dockerfile.file && dockerfile.runs().any(|run| run.has_line(hint.evidence.line))
    };
    let hint = hints.commands.iter().filter(|hint| collects(hint)).find(is_run)?;
    if !has("django") {
        return None;
    }
    let project = DjangoProject::find(sources)?;
    let (of_hint, stage) = (&hint.env, dockerfile.target());
    let of_stage = |name: &str| {
        let variables = stage.into_iter().flat_map(|stage| &stage.env);
        variables.filter(|(known, ..)| known == name).map(|(_, value, _)| value.clone()).next()
    };
    let named = of_hint.iter().find(|(name, _)| name == SETTINGS).map(|(_, value)| value.clone());
    let settings =
        named.or_else(|| of_stage(SETTINGS)).unwrap_or_else(|| project.settings_of_service(sources));
    let root = project.static_root(sources, &settings)?;
    let text = |text: &str| ProposedValue::Text(text.to_owned());
    let mut env: Vec<(String, ProposedValue)> = Vec::new();
    let others = of_hint.iter().filter(|(name, _)| name != SETTINGS && Some(name) != root.variable.as_ref());
    env.extend(others.map(|(name, value)| (name.clone(), text(value))));
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
        (vec!["python", "-c", COLLECT], root.path.clone())
    };
    let table = vec![
        ("name".to_owned(), text("static")),
        ("command".to_owned(), ProposedValue::List(command.into_iter().map(str::to_owned).collect())),
        ("env".to_owned(), ProposedValue::Table(env)),
        ("to".to_owned(), ProposedValue::Text(to)),
    ];
    let setting = format!("STATIC_ROOT of {}:{}", root.file, root.line);
    let reason = format!("{}; {setting}", place(&hint.evidence));
    Some(ProposedSetting::new(&["prepare"], ProposedValue::Tables(vec![table]), reason))
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
        let setting = propose(&tree, &hints, &|name| distributions.contains(&name))?;
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
}
