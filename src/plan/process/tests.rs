use super::*;
use crate::recipe::Target;
use crate::settings::Settings;
use std::path::Path;

fn recipe(target: Target, settings: &str) -> Recipe {
    Recipe::resolve(target, None, Settings::parse(Path::new("test"), settings).unwrap()).unwrap()
}

fn process(target: Target, settings: &str) -> Process {
    process_with(target, settings, &["uvloop", "httptools"])
}

fn process_with(target: Target, settings: &str, distributions: &[&str]) -> Process {
    let recipe = recipe(target, settings);
    let recipe = recipe.with_command(&["{venv}/bin/uvicorn", "{app}"].map(str::to_owned), &[]);
    let distribution = |name: &&str| PlannedDistribution {
        name: (*name).to_owned(),
        version: String::new(),
        reason: String::new(),
    };
    let distributions: Vec<_> = distributions.iter().map(distribution).collect();
    let application = "pkg.main:app".parse::<Application>().unwrap();
    let application = Application { directory: "src".to_owned(), ..application };
    let places = CommandPaths {
        environment: ImagePath::new("/app/.venv").unwrap(),
        interpreter_folder: ImagePath::new("/usr/local/bin").unwrap(),
        base_path: None,
        home: Some("/tmp".to_owned()),
    };
    of_recipe(&recipe, &Project::default(), Some(&application), &distributions, &places, None)
}

fn value<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
    process.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[test]
fn uvicorn_is_configured_by_variables() {
    let process = process(Target::Runtime, "port = 9000\nworkers = 2\nenv.UVICORN_HTTP = \"h11\"");
    assert_eq!(process.entrypoint[..3], ["/app/.venv/bin/python", "-IS", "-c"]);
    assert_eq!(process.entrypoint[4..], ["/app/.venv/bin/uvicorn", "pkg.main:app"]);
    for (name, expected) in [
        ("UVICORN_PORT", "9000"),
        ("WEB_CONCURRENCY", "2"),
        ("UVICORN_LOOP", "uvloop"),
        ("UVICORN_HTTP", "h11"),
        ("HOME", "/tmp"),
        ("UVICORN_APP_DIR", "/app/src"),
        ("PATH", "/app/.venv/bin:/usr/local/bin:/usr/bin:/bin"),
    ] {
        assert_eq!(value(&process, name), Some(expected), "{name}");
    }
}

#[test]
fn the_faster_loop_is_used_if_included() {
    for (settings, distributions, event_loop, http) in [
        ("", vec!["uvloop", "httptools"], "uvloop", "httptools"),
        ("", vec!["uvloop"], "uvloop", "auto"),
        ("", vec![], "auto", "auto"),
        ("loop = \"auto\"", vec!["uvloop"], "uvloop", "auto"),
        ("loop = \"asyncio\"\nhttp = \"h11\"", vec!["uvloop", "httptools"], "asyncio", "h11"),
    ] {
        let process = process_with(Target::Runtime, settings, &distributions);
        let found = (value(&process, "UVICORN_LOOP"), value(&process, "UVICORN_HTTP"));
        assert_eq!(found, (Some(event_loop), Some(http)), "{settings} {distributions:?}");
    }
}

#[test]
fn each_server_gets_the_variables_that_it_reads() {
    let command = |words: &str| format!("port = 9000\nentrypoint = {words}");
    for (words, set) in [
        (
            "['gunicorn', '-k', 'uvicorn_worker.UvicornWorker', '{app}']",
            vec![("PORT", "9000"), ("WEB_CONCURRENCY", "4")],
        ),
        ("['{venv}/bin/gunicorn', 'pkg.main:app']", vec![("PORT", "9000"), ("WEB_CONCURRENCY", "4")]),
        ("['gunicorn', '--bind', '{host}:{port}', 'pkg.main:app']", vec![("WEB_CONCURRENCY", "4")]),
        ("['sh', '-c', 'exec gunicorn pkg.main:app']", vec![("PORT", "9000"), ("WEB_CONCURRENCY", "4")]),
        (
            "['granian', '--interface', 'asgi', '{app}']",
            vec![
                ("GRANIAN_HOST", "0.0.0.0"),
                ("GRANIAN_PORT", "9000"),
                ("GRANIAN_WORKERS", "4"),
                ("GRANIAN_WORKERS_KILL_TIMEOUT", "8"),
            ],
        ),
        ("['fastapi', 'run', 'main.py']", vec![("PORT", "9000"), ("WEB_CONCURRENCY", "4")]),
        ("['flask', '--app', 'x', 'run']", vec![("FLASK_RUN_HOST", "0.0.0.0"), ("FLASK_RUN_PORT", "9000")]),
        ("['sanic', 'pkg.main:app']", vec![("SANIC_GRACEFUL_SHUTDOWN_TIMEOUT", "8")]),
        ("['hypercorn', '{app}']", vec![]),
        ("['{python}', 'serve.py', '{app}']", vec![]),
    ] {
        let process = process(Target::Runtime, &command(words));
        let general = [
            "HOME",
            "LANG",
            "PATH",
            "PYTHONDONTWRITEBYTECODE",
            "PYTHONPATH",
            "PYTHONUNBUFFERED",
            "VIRTUAL_ENV",
        ];
        let found: Vec<_> = process.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let found: Vec<_> = found.into_iter().filter(|(name, _)| !general.contains(name)).collect();
        assert_eq!(found, set, "{words}");
        // uvicorn has its own variable for the directory.
        assert_eq!(value(&process, "PYTHONPATH"), Some("/app/src"), "{words}");
        assert_eq!(process.port, Some(9000), "{words}");
        assert!(process.healthcheck.is_some(), "{words}");
    }
    let module = process(Target::Runtime, "entrypoint = ['{python}', '-m', 'uvicorn', 'pkg.main:app']");
    assert_eq!(value(&module, "UVICORN_HOST"), Some("0.0.0.0"));
    let there = process(Target::Runtime, "host = '::'\nentrypoint = ['gunicorn', '{app}']");
    assert_eq!(value(&there, "GUNICORN_CMD_ARGS"), Some("--bind=[::]:8000"));
    let reloads = process(Target::Dev, "entrypoint = ['gunicorn', '{app}']");
    assert_eq!(value(&reloads, "GUNICORN_CMD_ARGS"), Some("--reload"));
}

#[test]
fn servers_that_read_port_follow_that_of_azure_too() {
    for (words, variables) in [
        ("['gunicorn', '{app}']", &["PORT"][..]),
        ("['gunicorn', '--bind', '{host}:{port}', '{app}']", &["PORT"]),
        ("['fastapi', 'run', 'main.py']", &["PORT"]),
        ("['gunicorn', '-b', '0.0.0.0:9000', '{app}']", &[]),
        ("['sh', '-c', 'exec gunicorn pkg.main:app']", &[]),
    ] {
        let process = process(Target::Runtime, &format!("entrypoint = {words}"));
        let launcher = process.entrypoint.get(3).filter(|_| process.entrypoint[1] == "-IS");
        let found: Vec<_> = variables
            .iter()
            .filter(|name| {
                launcher.is_some_and(|program| program.contains(&format!("env[\"{name}\"] = port")))
            })
            .collect();
        assert_eq!(found.len(), variables.len(), "{words}: {launcher:?}");
        assert_eq!(launcher.is_some(), !variables.is_empty(), "{words}");
        // A variable of the image must not take precedence over the platform's other one.
        if let (Some(_), Some(program)) = (value(&process, "PORT"), launcher) {
            assert!(program.contains("(\"WEBSITES_PORT\", \"PORT\",)"), "{program}");
        }
    }
}

#[test]
fn an_explicit_health_check_applies_to_every_process() {
    let worker = "entrypoint = ['{venv}/bin/celery', '-A', 'x', 'worker']\n";
    assert_eq!(process(Target::Runtime, worker).healthcheck, None);
    for asked in ["healthcheck = '/health'", "healthcheck = true", "healthcheck.retries = 2"] {
        let process = process(Target::Runtime, &format!("{worker}{asked}"));
        assert_eq!(process.port, Some(8000), "{asked}");
        let check = process.healthcheck.unwrap();
        let script = check.test.last().unwrap();
        assert!(script.contains("(env(\"PORT\"), \"8000\",)"), "{script}");
    }
    // A project's settings apply to its builder too, which serves nothing.
    assert_eq!(process(Target::Builder, "healthcheck = '/health'").healthcheck, None);
    // Sockets are not checked by default.
    let socket = "entrypoint = ['gunicorn', '-b', 'unix:/tmp/x', '{app}']\n";
    assert_eq!(process(Target::Runtime, socket).healthcheck, None);
    let secure = "entrypoint = ['gunicorn', '--certfile=x', '{app}']\n";
    let check = process(Target::Runtime, secure).healthcheck.unwrap();
    assert!(check.test.last().unwrap().contains("elif True:"));
}

#[test]
fn a_found_program_has_a_port_and_a_check() {
    let found = recipe(Target::Runtime, "").with_command(&["{venv}/bin/beacon".to_owned()], &[]);
    let places = CommandPaths {
        environment: ImagePath::new("/app/.venv").unwrap(),
        interpreter_folder: ImagePath::new("/usr/local/bin").unwrap(),
        base_path: None,
        home: None,
    };
    let process = of_recipe(&found, &Project::default(), None, &[], &places, None);
    assert_eq!((process.port, process.healthcheck.is_some()), (Some(8000), true));
    // A program that reads `PORT` has the port of the image, or that of Azure.
    assert_eq!(process.entrypoint[4..], ["/app/.venv/bin/beacon"]);
    assert!(process.entrypoint[3].contains("env[\"PORT\"] = port"), "{:?}", process.entrypoint);
    let variable = ["GRADIO_SERVER_PORT".to_owned()];
    let found = recipe(Target::Runtime, "env.A = '{port}'").with_command(&["{python}".to_owned()], &variable);
    let process = of_recipe(&found, &Project::default(), None, &[], &places, None);
    assert_eq!(value(&process, "GRADIO_SERVER_PORT"), Some("8000"));
    assert!(process.entrypoint[3].contains("env[\"GRADIO_SERVER_PORT\"] = port"), "{:?}", process.entrypoint);
    // Values of the user are no templates.
    assert_eq!(value(&process, "A"), Some("{port}"));
}

#[test]
fn warns_about_unreachable_servers() {
    for (settings, parts) in [
        ("entrypoint = ['hypercorn', '{app}']", vec!["hypercorn", "127.0.0.1", "--bind"]),
        ("entrypoint = ['daphne', 'a:b']", vec!["daphne", "127.0.0.1", "-b"]),
        ("entrypoint = ['fastapi', 'dev']", vec!["fastapi", "127.0.0.1", "--host"]),
        ("entrypoint = ['waitress-serve', 'a:b']", vec!["waitress", "8080", "port = 8080"]),
        ("entrypoint = ['uvicorn', '{app}', '--host', '127.0.0.1']", vec!["uvicorn", "127.0.0.1"]),
        ("entrypoint = ['uvicorn', '{app}', '--port', '9000']", vec!["uvicorn", "9000", "8000"]),
        (
            "entrypoint = ['gunicorn', '{app}']\nenv.GUNICORN_CMD_ARGS = '--bind=127.0.0.1:8000'",
            vec!["gunicorn", "127.0.0.1"],
        ),
    ] {
        let found = reachability_warnings(&recipe(Target::Runtime, settings));
        let text: Vec<String> = found.iter().map(|warning| format!("{warning} {:?}", warning.help)).collect();
        assert_eq!(text.len(), 1, "{settings}: {text:?}");
        assert!(parts.iter().all(|part| text[0].contains(part)), "{text:?}");
    }
    for settings in [
        "",
        "entrypoint = ['gunicorn', '{app}']",
        "entrypoint = ['gunicorn', '-b', '0.0.0.0:8000', '{app}']",
        "entrypoint = ['gunicorn', '-b', 'unix:/tmp/x', '{app}']",
        "entrypoint = ['hypercorn', '-b', '0.0.0.0:8000', '{app}']",
        "port = 9000\nentrypoint = ['hypercorn', '--bind', '{host}:{port}', '{app}']",
        "entrypoint = ['hypercorn', '-c', 'hypercorn.toml', '{app}']",
        "entrypoint = ['granian', '{app}']",
        "entrypoint = ['fastapi', 'run']",
        "entrypoint = ['waitress-serve', '--listen=*:8000', 'a:b']",
        "entrypoint = ['{python}', 'main.py']",
    ] {
        assert_eq!(reachability_warnings(&recipe(Target::Runtime, settings)), [], "{settings}");
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
        let places = CommandPaths {
            environment: ImagePath::new("/app/.venv").unwrap(),
            interpreter_folder: ImagePath::new(interpreter).unwrap(),
            base_path: base.map(str::to_owned),
            home: None,
        };
        assert_eq!(search_path(&places), format!("/app/.venv/bin:{expected}"));
    }
}

#[test]
fn servers_reload_by_an_option_or_a_variable() {
    let command = |words: &str, distributions: &[&str]| {
        let process = process_with(Target::Dev, &format!("entrypoint = {words}"), distributions);
        let last: Vec<String> = process.entrypoint.iter().rev().take(2).rev().cloned().collect();
        (last.join(" "), process)
    };
    for (words, expected) in [
        ("['hypercorn', '{app}']", "pkg.main:app --reload"),
        ("['hypercorn', '--reload', '{app}']", "--reload pkg.main:app"),
        ("['sanic', 'pkg.main:app']", "pkg.main:app --auto-reload"),
        ("['uwsgi', '--processes', '1', '--module', '{app}']", "--py-autoreload 1"),
        ("['fastapi', 'run', 'main.py']", "main.py --reload"),
        ("['waitress-serve', '{app}']", "waitress-serve pkg.main:app"),
        ("['sh', '-c', 'hypercorn pkg.main:app']", "-c hypercorn pkg.main:app"),
    ] {
        assert_eq!(command(words, &[]).0, expected);
    }
    let words = "['granian', '{app}']";
    for (distributions, expected) in [(&["watchfiles"][..], Some("true")), (&[], None)] {
        assert_eq!(value(&command(words, distributions).1, "GRANIAN_RELOAD"), expected);
    }
    let arguments = process(Target::Dev, "entrypoint = ['hypercorn', '-w', '{workers}']\ncmd = ['{app}']");
    assert!(arguments.entrypoint[3].contains("or \"1\""), "{:?}", arguments.entrypoint);
    assert_eq!(arguments.cmd, ["pkg.main:app", "--reload"]);
}

#[test]
fn development_reloads_with_one_worker() {
    let process = process(Target::Dev, "");
    assert_eq!((value(&process, "UVICORN_RELOAD"), value(&process, "WEB_CONCURRENCY")), (Some("true"), None));
}

#[test]
fn a_builder_has_no_server() {
    let process = process(Target::Builder, "");
    assert_eq!((process.port, &process.healthcheck, value(&process, "UVICORN_PORT")), (None, &None, None));
    assert_eq!(process.cmd, ["/app/.venv/bin/python"]);
}

#[test]
fn the_health_check_sends_the_headers_that_are_set() {
    for (settings, expected) in [
        ("", r#"{"User-Agent": "healthcheck"}"#),
        ("healthcheck.host = 'a.example'", r#"{"Host": "a.example", "User-Agent": "healthcheck"}"#),
        ("healthcheck.headers = {X-A = '\"b\"', User-Agent = 'c'}", r#"{"User-Agent": "c", "X-A": "\"b\""}"#),
    ] {
        let check = process(Target::Runtime, settings).healthcheck.unwrap();
        let script = check.test.last().unwrap();
        assert!(script.contains(&format!("headers={expected})")), "{script}");
    }
    for wrong in ["healthcheck.headers = {'a b' = 'c'}", "healthcheck.host = \"a\\nb\""] {
        let settings = Settings::parse(Path::new("test"), wrong).unwrap();
        assert!(Recipe::resolve(Target::Runtime, None, settings).is_err(), "{wrong}");
    }
}

#[test]
fn the_health_check_template_is_filled() {
    let check = process(Target::Runtime, "healthcheck = '/up?a=\"b\"'").healthcheck.unwrap();
    let script = check.test.last().unwrap();
    for part in [
        r#""/up?a=\"b\"""#,
        "timeout=4.5",
        "< 400",
        "(env(\"PORT\"), env(\"WEBSITES_PORT\"), env(\"UVICORN_PORT\"), \"8000\",)",
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
    for blank in ["TIMEOUT", "BELOW", " PATH", "PORTS"] {
        assert!(!script.contains(blank), "{blank}: {script}");
    }
    let check = process(Target::Runtime, "").healthcheck.unwrap();
    assert!(check.test.last().unwrap().contains("< 500"));
}
