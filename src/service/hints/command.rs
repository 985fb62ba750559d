//! [`hints`]: the roles of the commands of a command line: the server, the commands before it, workers.

use super::command_reader::{CommandStep, base_name};
use super::{CommandHint, HintRole};

/// The kind of a command, recognized by its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandKind {
    /// A program that serves HTTP.
    Server,
    /// A program that works beside the server, with the usual name of its process.
    Worker(&'static str),
    /// A program that changes a database, once for each release.
    Migration,
    /// A program that makes files of the image.
    Preparation,
    Other,
}

const SERVERS: [&str; 22] = [
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "granian",
    "daphne",
    "waitress-serve",
    "uwsgi",
    "fastapi",
    "flask",
    "sanic",
    "litestar",
    "streamlit",
    "chainlit",
    "datasette",
    "mlflow",
    "bokeh",
    "panel",
    "voila",
    "robyn",
    "pypi-server",
    "nicegui",
    "marimo",
];
/// Commands of a server's program that serve nothing.
const NO_SERVING: [&str; 9] =
    ["db", "routes", "shell", "init-db", "create-admin", "database", "assets", "digest", "translate"];

/// Returns the kind of a command.
pub(crate) fn kind(words: &[String]) -> CommandKind {
    let Some((program, arguments)) = words.split_first() else { return CommandKind::Other };
    let all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let has = |wanted: &[&str]| all.iter().any(|word| wanted.contains(word));
    let pair = |first: &str, second: &[&str]| {
        all.windows(2).any(|words| matches!(words, [a, b] if *a == first && second.contains(b)))
    };
    let name = base_name(program);
    match name {
        "alembic" | "aerich" | "yoyo" | "litestar" | "piccolo" | "goose"
            if has(&["upgrade", "apply", "migrations"]) =>
        {
            CommandKind::Migration
        }
        "flask" if pair("db", &["upgrade", "migrate"]) => CommandKind::Migration,
        "prisma" if has(&["migrate", "push"]) => CommandKind::Migration,
        "celery" if has(&["beat"]) => CommandKind::Worker("beat"),
        "celery" if has(&["flower"]) => CommandKind::Worker("flower"),
        "celery" | "rq" | "rqworker" | "arq" | "dramatiq" | "taskiq" | "huey_consumer"
        | "huey_consumer.py" | "faust" | "procrastinate" | "saq" | "streaq" => CommandKind::Worker("worker"),
        "rqscheduler" => CommandKind::Worker("scheduler"),
        "npm" | "yarn" | "pnpm" | "bun" if all.iter().any(|word| word.starts_with("build")) => {
            CommandKind::Preparation
        }
        "pybabel" | "tailwindcss" | "sass" | "spacy" => CommandKind::Preparation,
        "playwright" if has(&["install"]) => CommandKind::Preparation,
        "python" | "manage.py" | "django-admin" => python_kind(&all, name),
        _ if SERVERS.contains(&name) && !has(&NO_SERVING) => CommandKind::Server,
        _ => CommandKind::Other,
    }
}

/// Returns the kind of a command of Django's `manage.py`, or of another Python program.
fn python_kind(arguments: &[&str], name: &str) -> CommandKind {
    let manages = name != "python"
        || arguments
            .iter()
            .any(|word| word.ends_with("manage.py") || *word == "manage" || word.ends_with(".manage"));
    let has = |wanted: &[&str]| arguments.iter().any(|word| wanted.contains(word));
    if !manages {
        let prepares = ["spacy", "nltk.downloader"];
        return if has(&prepares) { CommandKind::Preparation } else { CommandKind::Other };
    }
    if has(&["runserver", "runserver_plus", "daphne", "uvicorn", "gunicorn", "runserver_uwsgi"]) {
        CommandKind::Server
    } else if has(&["migrate", "migrate_schemas"])
        || arguments.windows(2).any(|pair| pair == ["db", "upgrade"])
    {
        CommandKind::Migration
    } else if has(&["collectstatic", "compilemessages", "compress", "tailwind", "compilescss", "build_vite"])
    {
        CommandKind::Preparation
    } else if has(&[
        "qcluster",
        "rqworker",
        "db_worker",
        "run_huey",
        "process_tasks",
        "celery_worker",
        "runworker",
    ]) {
        CommandKind::Worker("worker")
    } else if has(&["rqscheduler", "runapscheduler", "run_scheduler", "scheduler"]) {
        CommandKind::Worker("scheduler")
    } else {
        CommandKind::Other
    }
}

/// Names of `case` branches that start the server, likeliest first.
const SERVER_LABELS: [&str; 14] = [
    "web",
    "server",
    "serve",
    "start",
    "run",
    "app",
    "api",
    "production",
    "prod",
    "gunicorn",
    "uvicorn",
    "django",
    "runserver",
    "*",
];

/// Returns the hints of a command line, whose last command, or the one that serves, has the role `main`.
pub(super) fn hints(steps: &[CommandStep], main: &HintRole) -> Vec<CommandHint> {
    let label = chosen_label(steps);
    let is_excluded = |step: &CommandStep| step.label.is_some() && step.label != label;
    let kinds: Vec<CommandKind> = steps
        .iter()
        .map(|step| step.words.as_ref().map_or(CommandKind::Other, |words| kind(words)))
        .collect();
    let possible = || (0..steps.len()).filter(|at| !steps[*at].is_background && !is_excluded(&steps[*at]));
    let is_certain = possible().any(|at| steps[at].is_taken != Some(false));
    let candidates = || possible().filter(|at| !is_certain || steps[*at].is_taken != Some(false));
    let in_script = steps.iter().any(|step| step.in_script);
    let serves = |at: &usize| steps[*at].is_exec || kinds[*at] == CommandKind::Server;
    let is_service = |at: &usize| !matches!(kinds[*at], CommandKind::Migration | CommandKind::Preparation);
    let last = if in_script {
        candidates()
            .rfind(serves)
            .or_else(|| candidates().rfind(is_service))
            .or_else(|| candidates().next_back())
    } else {
        candidates().next_back()
    };
    let mut hints = Vec::new();
    let mut others = Vec::new();
    for (at, (step, kind)) in steps.iter().zip(&kinds).enumerate() {
        let is_main = Some(at) == last;
        let is_excluded = is_excluded(step);
        let role = match kind {
            CommandKind::Worker("flower") if is_main => main.clone(),
            CommandKind::Worker(name) if !is_main || *main == HintRole::Web => {
                HintRole::Process((*name).to_owned())
            }
            CommandKind::Migration if !is_main || *main == HintRole::Web => HintRole::Release,
            CommandKind::Preparation if !is_main || *main == HintRole::Web => HintRole::Prepare,
            _ if is_main => main.clone(),
            CommandKind::Server if step.is_background && last.is_some_and(|last| !serves(&last)) => {
                main.clone()
            }
            _ if step.is_background => match step.words.as_ref().ok().and_then(|words| words.first()) {
                Some(program) => HintRole::Process(base_name(program).to_owned()),
                None => continue,
            },
            CommandKind::Other if is_excluded && step.is_exec => match &step.label {
                Some(label) if label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) => {
                    HintRole::Process(label.clone())
                }
                _ => continue,
            },
            // Of two servers in a script, the other is for another mode.
            CommandKind::Server => continue,
            CommandKind::Other if step.is_taken == Some(false) && !is_excluded => continue,
            CommandKind::Other if is_excluded || last.is_some_and(|last| at > last) => continue,
            CommandKind::Other if step.in_script && !starts_python(step) => continue,
            _ => HintRole::Release,
        };
        let hint = hint(step, role);
        let is_known = |known: &CommandHint| known.words.is_err() && *known == hint;
        if hints.iter().chain(&others).any(is_known) {
            continue;
        }
        if is_main || hint.role == *main { hints.push(hint) } else { others.push(hint) }
    }
    hints.extend(others);
    hints
}

fn starts_python(step: &CommandStep) -> bool {
    let first = step.words.as_ref().ok().and_then(|words| words.first());
    first.is_some_and(|program| ["python", "flask", "django-admin"].contains(&base_name(program)))
}

/// Returns the pattern of the `case` branch that starts the server.
fn chosen_label(steps: &[CommandStep]) -> Option<String> {
    let labels = || steps.iter().filter_map(|step| step.label.as_ref());
    let serves = |label: &str| label.split('|').any(|part| SERVER_LABELS.contains(&part));
    let rank = |label: &String| {
        let ranks = label.split('|').filter_map(|part| SERVER_LABELS.iter().position(|known| *known == part));
        ranks.min()
    };
    let taken = steps.iter().filter(|step| step.is_taken == Some(true)).find_map(|step| step.label.clone());
    if taken.is_some() {
        return taken;
    }
    labels()
        .filter(|label| serves(label))
        .min_by_key(|label| rank(label))
        .or_else(|| labels().next())
        .cloned()
}

fn hint(step: &CommandStep, role: HintRole) -> CommandHint {
    CommandHint {
        role,
        words: step.words.clone(),
        directory: step.directory.clone().filter(|directory| !directory.is_empty()),
        env: step.env.clone(),
        wrappers: step.wrappers.clone(),
        port: step.port,
        unread: step.unread.clone(),
        evidence: step.evidence.clone(),
    }
}
