//! Proposals of processes beside the service: workers of task queues, schedulers and migrations.
//!
//! A proposal follows from a distribution of the environment and from evidence in the source: the
//! object or file that the tool's own command line names. The source is read and never run, and
//! nothing is built without a setting `process.NAME`. The caller merges proposals with the commands
//! of [`Hints`](super::hints::Hints), which are closer to what the project runs today.

use std::collections::BTreeSet;

use super::Finding;
use super::hints::Evidence;
use super::proposal::image_words;
use super::{ProposedSetting, ProposedValue};
use crate::python::application::{NO_SERVICE, SourceTree};

/// The most modules that are searched for one tool.
const MOST_MODULES: usize = 1000;
/// The most modules in one command line.
const MOST_NAMED: usize = 10;
/// Names of modules that usually have the object of a task queue; they are searched first.
const USUAL: [&str; 8] = ["celery", "celery_app", "worker", "workers", "tasks", "queue", "huey", "scheduler"];
/// Folders and files of tools, beside those of [`NO_SERVICE`].
const TOOLS: [&str; 6] = ["doc", "tools", "bench", "noxfile.py", "fabfile.py", "tasks.py"];

/// A process that the project probably has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProposedProcess {
    /// The name: `worker`, `beat`, `scheduler`, `release`, or the tool's for a second worker.
    pub(crate) name: String,
    /// The words of the command, with placeholders.
    pub(crate) command: Vec<String>,
    /// The tool: `Celery`, `Alembic`.
    pub(crate) tool: &'static str,
    /// The line that shows its use.
    pub(crate) evidence: Evidence,
}

impl ProposedProcess {
    /// Returns the setting that builds the image of the process.
    pub(crate) fn setting(&self) -> ProposedSetting {
        let reason = format!("{}:{}: {}", self.evidence.file, self.evidence.line, self.tool);
        let words = ProposedValue::List(image_words(&self.command));
        ProposedSetting::new(&["process", &self.name, "command"], words, reason)
    }

    /// Returns the process as an answer with its evidence and the setting that builds its image.
    pub(crate) fn finding(&self) -> Finding {
        let Self { name, command, tool, evidence } = self;
        let place = format!("{}:{}", evidence.file, evidence.line);
        let evidence = format!("{place}; {tool}; to build its image, set process.{name}.command");
        Finding::new("process", format!("{name}: {}", command.join(" ")), evidence)
    }
}

/// The source, with the distributions of the environment.
struct Search<'a> {
    sources: &'a dyn SourceTree,
    /// Returns true if the environment has a distribution, by its normalized name.
    has: &'a dyn Fn(&str) -> bool,
    /// Modules outside of tests, the usual ones first.
    modules: Vec<String>,
}

/// Proposes processes of a project: workers, schedulers, then the step of a release. `has` returns
/// true for the normalized name of a distribution in the environment.
pub(crate) fn propose(sources: &dyn SourceTree, has: &dyn Fn(&str) -> bool) -> Vec<ProposedProcess> {
    let queues = ["celery", "rq", "arq", "dramatiq", "huey", "apscheduler"];
    let mut search = Search { sources, has, modules: Vec::new() };
    if queues.iter().any(|queue| has(queue)) {
        search.modules = modules(sources);
    }
    let workers = [search.celery(), search.rq(), search.arq(), search.dramatiq(), search.huey()];
    let mut proposals = Vec::new();
    for (mut worker, queue) in
        workers.into_iter().zip(queues).filter_map(|(worker, queue)| Some((worker?, queue)))
    {
        if proposals.iter().any(|known: &ProposedProcess| known.name == worker.name) {
            queue.clone_into(&mut worker.name);
        }
        proposals.push(worker);
    }
    proposals.extend(search.celery_beat());
    proposals.extend(search.apscheduler());
    let releases = [search.django(), search.alembic(), search.flask_migrate(), search.aerich()];
    proposals.extend(releases.into_iter().flatten().next());
    proposals
}

impl Search<'_> {
    fn celery(&self) -> Option<ProposedProcess> {
        let (application, evidence) = self.celery_application()?;
        Some(proposal("worker", "Celery", &["celery", "-A", &application, "worker"], evidence))
    }

    /// Finds the object of `Celery()`, as `-A` names it: `app` and `celery` are found by themselves
    /// (Celery, `celery/app/utils.py`: `find_app`).
    fn celery_application(&self) -> Option<(String, Evidence)> {
        if !(self.has)("celery") {
            return None;
        }
        let (file, line, text) = self.find(|line| assigned_call(line, &["Celery"]).is_some())?;
        let attribute = assigned_call(&text, &["Celery"])?;
        let module = module_name(&file);
        let name =
            if matches!(attribute, "app" | "celery") { module } else { format!("{module}:{attribute}") };
        Some((name, Evidence::line(&file, line, &text)))
    }

    /// Proposes the scheduler of Celery if the source has a schedule.
    fn celery_beat(&self) -> Option<ProposedProcess> {
        let (application, _) = self.celery_application()?;
        let keys = ["beat_schedule", "CELERY_BEAT_SCHEDULE", "CELERYBEAT_SCHEDULE", "add_periodic_task("];
        let (file, line, text) =
            self.find(|line| !is_comment(line) && keys.iter().any(|key| line.contains(key)))?;
        let evidence = Evidence::line(&file, line, &text);
        Some(proposal("beat", "Celery", &["celery", "-A", &application, "beat"], evidence))
    }

    fn rq(&self) -> Option<ProposedProcess> {
        if !(self.has)("rq") {
            return None;
        }
        if (self.has)("django-rq")
            && let Some(manage) = self.manage()
        {
            let evidence = self.first_line(&manage)?;
            return Some(proposal("worker", "RQ", &["{python}", &manage, "rqworker"], evidence));
        }
        let (file, line, text) = self.find(|line| assigned_call(line, &["Queue"]).is_some())?;
        if !self.sources.text(&file)?.lines().any(|line| imports(line, "rq")) {
            return None;
        }
        let queue = text.split_once("Queue(").and_then(|(_, rest)| string_literal(rest));
        let words: Vec<&str> = ["rq", "worker"].into_iter().chain(queue).collect();
        Some(proposal("worker", "RQ", &words, Evidence::line(&file, line, &text)))
    }

    fn arq(&self) -> Option<ProposedProcess> {
        if !(self.has)("arq") {
            return None;
        }
        let (file, line, text) = self.find(|line| line.starts_with("class WorkerSettings"))?;
        let settings = format!("{}.WorkerSettings", module_name(&file));
        Some(proposal("worker", "arq", &["arq", &settings], Evidence::line(&file, line, &text)))
    }

    fn dramatiq(&self) -> Option<ProposedProcess> {
        if !(self.has)("dramatiq") {
            return None;
        }
        let is_actor = |line: &str| line.starts_with("@dramatiq.actor") || line.starts_with("@actor");
        let mut found = self.modules.iter().filter_map(|file| Some((file, self.line_in(file, &is_actor)?)));
        let (first, (line, text)) = found.next()?;
        let evidence = Evidence::line(first, line, &text);
        if (self.has)("django-dramatiq")
            && let Some(manage) = self.manage()
        {
            return Some(proposal("worker", "dramatiq", &["{python}", &manage, "rundramatiq"], evidence));
        }
        let mut modules: BTreeSet<String> =
            found.take(MOST_NAMED - 1).map(|(file, _)| module_name(file)).collect();
        modules.insert(module_name(first));
        let words: Vec<&str> =
            std::iter::once("dramatiq").chain(modules.iter().map(String::as_str)).collect();
        Some(proposal("worker", "dramatiq", &words, evidence))
    }

    fn huey(&self) -> Option<ProposedProcess> {
        if !(self.has)("huey") {
            return None;
        }
        let kinds = ["Huey", "RedisHuey", "PriorityRedisHuey", "RedisExpireHuey", "SqliteHuey", "FileHuey"];
        if let Some(manage) = self.manage()
            && let Some((file, line, text)) = self.find(|line| line.contains("huey.contrib.djhuey"))
        {
            let evidence = Evidence::line(&file, line, &text);
            return Some(proposal("worker", "Huey", &["{python}", &manage, "run_huey"], evidence));
        }
        let (file, line, text) = self.find(|line| assigned_call(line, &kinds).is_some())?;
        let object = format!("{}.{}", module_name(&file), assigned_call(&text, &kinds)?);
        let words = ["{python}", "-m", "huey.bin.huey_consumer", &object];
        Some(proposal("worker", "Huey", &words, Evidence::line(&file, line, &text)))
    }

    /// Proposes the module of a scheduler that blocks; others run in the service.
    fn apscheduler(&self) -> Option<ProposedProcess> {
        if !(self.has)("apscheduler") {
            return None;
        }
        let (file, line, text) = self.find(|line| assigned_call(line, &["BlockingScheduler"]).is_some())?;
        let words = ["{python}", "-m", &module_name(&file)];
        Some(proposal("scheduler", "APScheduler", &words, Evidence::line(&file, line, &text)))
    }

    fn alembic(&self) -> Option<ProposedProcess> {
        if !(self.has)("alembic") {
            return None;
        }
        let file = self.in_root_or_folder("alembic.ini")?;
        let text = self.sources.text(&file)?;
        let line = text.lines().position(|line| line.trim_start().starts_with("script_location"))?;
        let evidence = Evidence::line(&file, line + 1, text.lines().nth(line).unwrap_or_default());
        let words: &[&str] = if file.contains('/') {
            &["alembic", "-c", &file, "upgrade", "head"]
        } else {
            &["alembic", "upgrade", "head"]
        };
        Some(proposal("release", "Alembic", words, evidence))
    }

    fn flask_migrate(&self) -> Option<ProposedProcess> {
        if !(self.has)("flask-migrate") {
            return None;
        }
        let file = ["migrations/env.py", "migrations/alembic.ini"]
            .into_iter()
            .find(|file| self.sources.has(file))?;
        Some(proposal("release", "Flask-Migrate", &["flask", "db", "upgrade"], self.first_line(file)?))
    }

    fn django(&self) -> Option<ProposedProcess> {
        if !(self.has)("django") {
            return None;
        }
        let manage = self.manage()?;
        let line = self.line_in(&manage, &|line| line.contains("DJANGO_SETTINGS_MODULE"));
        let evidence = match line {
            Some((line, text)) => Evidence::line(&manage, line, &text),
            None => self.first_line(&manage)?,
        };
        Some(proposal("release", "Django", &["{python}", &manage, "migrate", "--noinput"], evidence))
    }

    fn aerich(&self) -> Option<ProposedProcess> {
        if !(self.has)("aerich") {
            return None;
        }
        let (line, text) = self.line_in("pyproject.toml", &|line| line.trim() == "[tool.aerich]")?;
        let evidence = Evidence::line("pyproject.toml", line, &text);
        Some(proposal("release", "Aerich", &["aerich", "upgrade"], evidence))
    }

    fn manage(&self) -> Option<String> {
        self.in_root_or_folder("manage.py")
    }

    /// Returns the file `name` in the root, or in the only folder of the root that has it.
    fn in_root_or_folder(&self, name: &str) -> Option<String> {
        if self.sources.has(name) {
            return Some(name.to_owned());
        }
        let places = self.sources.folders("").into_iter().map(|folder| format!("{folder}/{name}"));
        let mut found = places.filter(|place| self.sources.has(place));
        found.next().filter(|_| found.next().is_none())
    }

    fn first_line(&self, file: &str) -> Option<Evidence> {
        let text = self.sources.text(file)?;
        Some(Evidence::line(file, 1, text.lines().next().unwrap_or_default()))
    }

    /// Returns the first line of the modules that fits: file, number and text.
    fn find(&self, fits: impl Fn(&str) -> bool) -> Option<(String, usize, String)> {
        self.modules.iter().find_map(|file| {
            let (line, text) = self.line_in(file, &fits)?;
            Some((file.clone(), line, text))
        })
    }

    /// Returns the first line of a file that fits, with its number.
    fn line_in(&self, file: &str, fits: &dyn Fn(&str) -> bool) -> Option<(usize, String)> {
        let text = self.sources.text(file)?;
        let (number, line) = text.lines().enumerate().find(|(_, line)| fits(line))?;
        Some((number + 1, line.to_owned()))
    }
}

fn proposal(name: &str, tool: &'static str, words: &[&str], evidence: Evidence) -> ProposedProcess {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    ProposedProcess { name: name.to_owned(), command, tool, evidence }
}

/// Returns true for a module of tests.
fn is_test(path: &str) -> bool {
    let mut parts = path.split('/');
    let name = parts.next_back().unwrap_or_default();
    name.starts_with("test_") || name == "conftest.py" || parts.any(|part| matches!(part, "test" | "tests"))
}

/// Returns true for a module that no service runs: tests, tools, examples and migrations.
pub(super) fn is_for_development(path: &str) -> bool {
    is_test(path) || path.split('/').any(|part| NO_SERVICE.contains(&part) || TOOLS.contains(&part))
}

/// Returns the modules outside of tests, those with usual names first, the outermost first.
fn modules(sources: &dyn SourceTree) -> Vec<String> {
    let mut modules: Vec<String> = sources.modules().into_iter().filter(|path| !is_test(path)).collect();
    let is_usual = |path: &str| {
        let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".py"));
        name.is_some_and(|name| USUAL.contains(&name))
    };
    modules.sort_by_key(|path| (!is_usual(path), path.matches('/').count()));
    modules.truncate(MOST_MODULES);
    modules
}

/// Returns the name by which the working directory's `src` or itself imports a module.
pub(super) fn module_name(file: &str) -> String {
    let path = file.strip_prefix("src/").unwrap_or(file);
    let path = path.strip_suffix(".py").unwrap_or(path);
    path.strip_suffix("/__init__").unwrap_or(path).replace('/', ".")
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Returns the name to which a line at the top of a module assigns a call of one of `classes`:
/// `app: Celery = celery.Celery(`.
fn assigned_call<'a>(line: &'a str, classes: &[&str]) -> Option<&'a str> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start();
    let value = match rest.strip_prefix(':') {
        Some(annotated) => annotated.split_once('=')?.1,
        None => rest.strip_prefix('=').filter(|value| !value.starts_with('='))?,
    };
    let (called, _) = value.split_once('(')?;
    let class = called.trim().rsplit('.').next().unwrap_or_default();
    classes.contains(&class).then_some(name)
}

/// Returns true if the line imports from `package`.
fn imports(line: &str, package: &str) -> bool {
    ["import ", "from "].iter().any(|start| {
        let rest =
            line.trim_start().strip_prefix(start).and_then(|rest| rest.trim_start().strip_prefix(package));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}

/// Returns the string at the start of an argument list.
fn string_literal(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (literal, _) = text.get(1..)?.split_once(quote)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    Some(literal).filter(|literal| !literal.is_empty() && literal.chars().all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::application::testing::FakeTree;

    fn proposed(files: &[(&'static str, &'static str)], distributions: &[&str]) -> Vec<String> {
        let sources = FakeTree(files.iter().copied().collect());
        let proposals = propose(&sources, &|name| distributions.contains(&name));
        let shown = |proposal: ProposedProcess| {
            let ProposedProcess { name, command, evidence, .. } = proposal;
            format!("{name}: {} ({}:{})", command.join(" "), evidence.file, evidence.line)
        };
        proposals.into_iter().map(shown).collect()
    }

    macro_rules! proposes {
        ($($name:ident: [$($file:literal = $text:literal),* $(,)?], [$($dist:literal),*] => [$($expected:literal),*];)*) => {$(
            #[test]
            fn $name() {
                let expected: &[&str] = &[$($expected),*];
                assert_eq!(proposed(&[$(($file, $text)),*], &[$($dist),*]), expected);
            }
        )*};
    }

    proposes! {
        celery_is_named_by_its_module: ["app/celery.py" = "from celery import Celery\n\napp = Celery('x')\n"],
            ["celery"] => ["worker: celery -A app.celery worker (app/celery.py:3)"];
        celery_under_another_name: ["src/shop/jobs.py" = "import celery\nqueue: celery.Celery = celery.Celery()\n"],
            ["celery"] => ["worker: celery -A shop.jobs:queue worker (src/shop/jobs.py:2)"];
        celery_with_a_schedule: [
            "app/celery.py" = "app = Celery('x')\n# beat_schedule\napp.conf.beat_schedule = {}\n",
        ], ["celery"] => [
            "worker: celery -A app.celery worker (app/celery.py:1)",
            "beat: celery -A app.celery beat (app/celery.py:3)"
        ];
        celery_of_tests_and_other_assignments_do_not_count: [
            "tests/celery.py" = "app = Celery()\n",
            "app/test_x.py" = "app = Celery()\n",
            "a.py" = "def f():\n    app = Celery()\nx == Celery()\ny = NotCelery()\n",
        ], ["celery"] => [];
        nothing_without_the_distribution: ["celery.py" = "app = Celery()\n", "alembic.ini" = "script_location = x\n"],
            [] => [];
        rq_with_its_queue: ["jobs.py" = "from rq import Queue\nq = Queue('mail', connection=r)\n"],
            ["rq"] => ["worker: rq worker mail (jobs.py:2)"];
        the_queue_of_another_module_is_not_of_rq: ["jobs.py" = "from queue import Queue\nq = Queue()\n"],
            ["rq"] => [];
        rq_in_django: ["manage.py" = "#!/usr/bin/env python\nos.environ['DJANGO_SETTINGS_MODULE'] = 'x'\n"],
            ["rq", "django-rq", "django"] => [
                "worker: {python} manage.py rqworker (manage.py:1)",
                "release: {python} manage.py migrate --noinput (manage.py:2)"
            ];
        arq_settings: ["app/worker.py" = "class WorkerSettings:\n    functions = []\n"],
            ["arq"] => ["worker: arq app.worker.WorkerSettings (app/worker.py:1)"];
        dramatiq_actors: [
            "app/mail.py" = "import dramatiq\n\n@dramatiq.actor\ndef send():\n    pass\n",
            "app/tasks.py" = "@actor(queue_name='x')\ndef f():\n    pass\n",
        ], ["dramatiq"] => ["worker: dramatiq app.mail app.tasks (app/tasks.py:1)"];
        huey_object: ["demo/config.py" = "from huey import RedisHuey\nhuey = RedisHuey('x')\n"],
            ["huey"] => ["worker: {python} -m huey.bin.huey_consumer demo.config.huey (demo/config.py:2)"];
        a_blocking_scheduler: ["clock.py" = "sched = BlockingScheduler()\n", "web.py" = "s = BackgroundScheduler()\n"],
            ["apscheduler"] => ["scheduler: {python} -m clock (clock.py:1)"];
        two_queues_have_two_names: [
            "a.py" = "app = Celery()\n",
            "b.py" = "class WorkerSettings:\n    pass\n",
        ], ["celery", "arq"] => ["worker: celery -A a worker (a.py:1)", "arq: arq b.WorkerSettings (b.py:1)"];
        alembic_in_the_root: ["alembic.ini" = "[alembic]\nscript_location = migrations\n"],
            ["alembic"] => ["release: alembic upgrade head (alembic.ini:2)"];
        alembic_in_a_folder: ["backend/alembic.ini" = "script_location = x\n"],
            ["alembic"] => ["release: alembic -c backend/alembic.ini upgrade head (backend/alembic.ini:1)"];
        flask_migrate: ["migrations/env.py" = "import logging\n"],
            ["flask-migrate", "alembic"] => ["release: flask db upgrade (migrations/env.py:1)"];
        aerich: ["pyproject.toml" = "[project]\n\n[tool.aerich]\n"],
            ["aerich"] => ["release: aerich upgrade (pyproject.toml:3)"];
    }
}
