//! How the image runs: user, environment, command, health check and labels, made from a recipe.
//!
//! Whatever of uvicorn's configuration an operator may want to change travels as an environment variable:
//! uvicorn reads `UVICORN_*` for every option (and `WEB_CONCURRENCY` for the number of workers), and an option on the
//! command line would beat them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::project::Project;
use crate::python::application::{Application, Factory};
use crate::recipe::{Healthcheck, Recipe};
use crate::settings::User;
use crate::tree::ImagePath;

/// How an image runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Who it runs as.
    pub user: User,
    /// Where it runs.
    pub workdir: ImagePath,
    /// `NAME=value`, in the order in which they are written.
    pub env: Vec<(String, String)>,
    /// The command.
    pub entrypoint: Vec<String>,
    /// Its arguments, which `docker run IMAGE ARGS` replaces.
    pub cmd: Vec<String>,
    /// The TCP port it listens on, where it is a server.
    pub port: Option<u16>,
    /// The signal that stops it.
    pub stop_signal: String,
    /// How an engine finds out whether it is well.
    pub healthcheck: Option<Probe>,
    /// Labels of the config and annotations of the manifest.
    pub labels: BTreeMap<String, String>,
}

/// A health check as the image config has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `CMD` and the command in exec form: an image made from nothing has no shell.
    pub test: Vec<String>,
    /// Time between two checks.
    pub interval: Duration,
    /// Time after which a check has failed.
    pub timeout: Duration,
    /// Time in which failures do not count.
    pub start_period: Duration,
    /// Time between two checks in the start period.
    pub start_interval: Duration,
    /// Failures in a row that make the container unhealthy.
    pub retries: u32,
}

/// The paths that a command is written with.
#[derive(Debug, Clone)]
pub struct Places {
    /// The environment: `/app/.venv`.
    pub environment: ImagePath,
    /// The folder of the interpreter: `/usr/local/bin`.
    pub interpreter_folder: ImagePath,
    /// The `PATH` of the base, where there is one and it says one.
    pub base_path: Option<String>,
}

impl Process {
    /// Makes it from a recipe for `project`, with the application that was found for it.
    pub fn new(
        recipe: &Recipe,
        project: &Project,
        application: Option<&Application>,
        places: &Places,
        created: Option<&str>,
    ) -> Self {
        let serves = recipe.serves();
        let fill = |words: &[String]| -> Vec<String> {
            words.iter().map(|word| fill(word, application, places)).collect()
        };
        Self {
            user: recipe.user,
            workdir: recipe.workdir.clone(),
            env: environment(recipe, application, places),
            entrypoint: fill(&recipe.entrypoint),
            cmd: fill(&recipe.cmd),
            port: serves.then_some(recipe.port),
            stop_signal: recipe.stop_signal.clone(),
            healthcheck: recipe
                .healthcheck
                .as_ref()
                .filter(|_| serves)
                .map(|check| probe(check, recipe.port, places)),
            labels: labels(recipe, project, created),
        }
    }
}

fn fill(word: &str, application: Option<&Application>, places: &Places) -> String {
    let application = application.map(ToString::to_string).unwrap_or_default();
    word.replace("{app}", &application)
        .replace("{venv}", &places.environment.to_string())
        .replace("{python}", &format!("{}/bin/python", places.environment))
}

/// The folders that programs are looked for in: the environment's, and a base's in the order that it gives them.
fn search_path(places: &Places) -> String {
    let folders = places.base_path.as_deref().unwrap_or("/usr/local/bin:/usr/bin:/bin").split(':');
    let folders: Vec<_> = folders.filter(|folder| !folder.is_empty()).map(str::to_owned).collect();
    let mut path = vec![format!("{}/bin", places.environment)];
    let interpreter = places.interpreter_folder.to_string();
    if !folders.contains(&interpreter) {
        path.push(interpreter);
    }
    path.extend(folders);
    let mut seen = std::collections::BTreeSet::new();
    path.retain(|folder| seen.insert(folder.clone()));
    path.join(":")
}

fn environment(recipe: &Recipe, application: Option<&Application>, places: &Places) -> Vec<(String, String)> {
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), search_path(places)),
        ("VIRTUAL_ENV".to_owned(), places.environment.to_string()),
    ]);
    if recipe.serves() {
        let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
        set("UVICORN_HOST", recipe.host.clone());
        set("UVICORN_PORT", recipe.port.to_string());
        set("UVICORN_LOOP", recipe.event_loop.as_str().to_owned());
        set("UVICORN_HTTP", recipe.http.as_str().to_owned());
        set("UVICORN_PROXY_HEADERS", recipe.proxy_headers.to_string());
        set("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", recipe.graceful_timeout.to_string());
        if recipe.reload {
            // uvicorn knows either workers or reload.
            set("UVICORN_RELOAD", "true".to_owned());
        } else {
            set("WEB_CONCURRENCY", recipe.workers.to_string());
        }
        if let Some(application) = application {
            if !application.directory.is_empty() {
                set("UVICORN_APP_DIR", format!("{}/{}", recipe.workdir, application.directory));
            }
            if application.factory == Factory::Yes {
                set("UVICORN_FACTORY", "true".to_owned());
            }
        }
    }
    all.extend(recipe.env.clone());
    all.into_iter().collect()
}

fn probe(check: &Healthcheck, port: u16, places: &Places) -> Probe {
    // A path that somebody named has to answer well. The default only finds out whether the server answers, since
    // an application need not have anything at `/`.
    let (path, below) = match &check.path {
        Some(path) => (path.as_str(), 400),
        None => ("/", 500),
    };
    // The engine ends a check at its time-out without a word; half a second less, and the check can say why.
    let timeout = check.timeout.as_secs_f64();
    let timeout = if timeout > 1.0 { timeout - 0.5 } else { timeout };
    let script = include_str!("healthcheck.py")
        .trim_end()
        .replace("TIMEOUT", &timeout.to_string())
        .replace("= PATH", &format!("= {}", python_literal(path)))
        .replace("BELOW", &below.to_string())
        .replace("or PORT)", &format!("or {port})"));
    Probe {
        // Without the site module nothing of the environment (`.pth` files, sitecustomize) can break it.
        test: [
            "CMD".to_owned(),
            format!("{}/bin/python", places.environment),
            "-IS".to_owned(),
            "-c".to_owned(),
            script,
        ]
        .to_vec(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

/// The text as a string of Python's: JSON's strings are a subset of Python's, but for `\/`, which is not written.
fn python_literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `org.opencontainers.image.*` (OCI image specification 1.1, `annotations.md`) under what the user sets.
fn labels(recipe: &Recipe, project: &Project, created: Option<&str>) -> BTreeMap<String, String> {
    let known = [
        ("title", Some(project.title(recipe.name.as_deref()))),
        ("version", project.version.as_deref()),
        ("description", project.description.as_deref()),
        ("licenses", project.license.as_deref()),
        ("authors", project.authors.as_deref()),
        ("url", project.url(&["homepage"])),
        ("source", project.url(&["source", "repository", "sourcecode", "github"])),
        ("documentation", project.url(&["documentation", "docs"])),
        ("revision", project.revision.as_deref()),
        ("created", created),
    ];
    let mut labels: BTreeMap<String, String> = known
        .into_iter()
        .filter_map(|(key, value)| {
            Some((
                format!("org.opencontainers.image.{key}"),
                value.filter(|text| !text.is_empty())?.to_owned(),
            ))
        })
        .collect();
    labels.extend(recipe.labels.clone());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Target;
    use crate::settings::Settings;
    use std::path::Path;

    fn process(target: Target, settings: &str) -> Process {
        let settings = Settings::parse(Path::new("test"), settings).unwrap();
        let recipe = Recipe::resolve(target, None, settings).unwrap();
        let application = "pkg.main:app".parse::<Application>().unwrap();
        let application = Application { directory: "src".to_owned(), ..application };
        let places = Places {
            environment: ImagePath::new("/app/.venv").unwrap(),
            interpreter_folder: ImagePath::new("/usr/local/bin").unwrap(),
            base_path: None,
        };
        Process::new(&recipe, &Project::default(), Some(&application), &places, None)
    }

    fn value<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
        process.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn uvicorn_is_configured_where_an_operator_can_change_it() {
        let process = process(Target::Runtime, "port = 9000\nworkers = 2\nenv.UVICORN_HTTP = \"h11\"");
        assert_eq!(process.entrypoint, ["/app/.venv/bin/uvicorn", "pkg.main:app"]);
        for (name, expected) in [
            ("UVICORN_PORT", "9000"),
            ("WEB_CONCURRENCY", "2"),
            ("UVICORN_LOOP", "uvloop"),
            ("UVICORN_HTTP", "h11"),
            ("UVICORN_APP_DIR", "/app/src"),
            ("PATH", "/app/.venv/bin:/usr/local/bin:/usr/bin:/bin"),
        ] {
            assert_eq!(value(&process, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn the_path_keeps_the_order_of_the_base() {
        for (interpreter, base, expected) in [
            ("/usr/bin", Some("/usr/local/bin:/usr/bin:/bin"), "/usr/local/bin:/usr/bin:/bin"),
            ("/opt/python/bin", Some("/usr/local/bin:/usr/bin"), "/opt/python/bin:/usr/local/bin:/usr/bin"),
            ("/usr/bin", Some("/usr/bin::/bin:/usr/bin"), "/usr/bin:/bin"),
            ("/usr/bin", None, "/usr/local/bin:/usr/bin:/bin"),
        ] {
            let places = Places {
                environment: ImagePath::new("/app/.venv").unwrap(),
                interpreter_folder: ImagePath::new(interpreter).unwrap(),
                base_path: base.map(str::to_owned),
            };
            assert_eq!(search_path(&places), format!("/app/.venv/bin:{expected}"));
        }
    }

    #[test]
    fn development_reloads_with_one_worker() {
        let process = process(Target::Dev, "");
        assert_eq!(
            (value(&process, "UVICORN_RELOAD"), value(&process, "WEB_CONCURRENCY")),
            (Some("true"), None)
        );
    }

    #[test]
    fn a_builder_serves_nothing() {
        let process = process(Target::Builder, "");
        assert_eq!(
            (process.port, &process.healthcheck, value(&process, "UVICORN_PORT")),
            (None, &None, None)
        );
        assert_eq!(process.cmd, ["/app/.venv/bin/python"]);
    }

    #[test]
    fn the_health_check_has_its_blanks_filled() {
        let check = process(Target::Runtime, "healthcheck = '/up?a=\"b\"'").healthcheck.unwrap();
        let script = check.test.last().unwrap();
        for part in [r#""/up?a=\"b\"""#, "timeout=4.5", "< 400", "or 8000"] {
            assert!(script.contains(part), "{part}: {script}");
        }
        for blank in ["TIMEOUT", "BELOW", " PATH", "or PORT"] {
            assert!(!script.contains(blank), "{blank}: {script}");
        }
        let check = process(Target::Runtime, "").healthcheck.unwrap();
        assert!(check.test.last().unwrap().contains("< 500"));
    }
}
