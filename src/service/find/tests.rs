use super::*;
use crate::error::Advice;
use crate::python::application::testing::FakeTree;

const FLASK: &str = "from flask import Flask\napp = Flask('x')\n";
const FASTAPI: &str = "from fastapi import FastAPI\napp = FastAPI()\n";

/// The inputs of a search.
#[derive(Default)]
struct ProjectInputs<'a> {
    files: &'a [(&'static str, &'static str)],
    distributions: &'a [&'a str],
    excluded: &'a [&'a str],
    /// Commands of a Procfile.
    hints: &'a [&'a str],
    /// The folder in `PYTHONPATH` of a Dockerfile.
    python_path: Option<&'a str>,
    gunicorn_address: Option<&'a str>,
    gunicorn_application: Option<&'a str>,
    server: Option<ServerName>,
    /// Console scripts: name and object.
    scripts: &'a [(&'a str, &'a str)],
    /// The name of the project.
    name: &'a str,
}

impl ProjectInputs<'_> {
    fn find(&self) -> Result<Service, ServiceError> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let scripts = self.scripts.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut project = Project { scripts, name: self.name.to_owned(), ..Project::default() };
        let objects = self.scripts.iter().map(|(name, object)| ((*name).to_owned(), (*object).to_owned()));
        project.script_objects = objects.collect();
        let hint = |(line, words): (usize, &&str)| StartHint {
            words: words.split(' ').map(str::to_owned).collect(),
            file: "Procfile".to_owned(),
            line: line + 1,
            directory: String::new(),
            port: Some(9000),
        };
        let search = ServiceSearch {
            sources: &FakeTree(self.files.iter().copied().collect()),
            project: &project,
            distributions: &Distributions::new(
                &[owned(self.distributions), owned(&["installed"])].concat(),
                &owned(self.excluded),
            ),
            server: self.server,
            app: None,
            hints: self.hints.iter().enumerate().map(hint).collect(),
            python_path: self.python_path.map(|folder| (vec![folder.to_owned()], "Dockerfile:2".to_owned())),
            has_arguments: false,
            gunicorn_address: self.gunicorn_address.map(str::to_owned),
            gunicorn_application: self.gunicorn_application.map(|named| (named.to_owned(), "x".to_owned())),
            installed: &|_| Ok(None),
        };
        search.find()
    }

    fn command(&self) -> String {
        self.find().unwrap().program.command.join(" ")
    }
}

#[test]
fn the_server_follows_the_interface_and_the_distributions() {
    let flask = [("app.py", FLASK)];
    let fastapi = [("app.py", FASTAPI)];
    for (files, distributions, command) in [
        (
            &flask,
            &["flask", "gunicorn"][..],
            "{venv}/bin/gunicorn --bind {host}:{port} --graceful-timeout {grace} {app}",
        ),
        (&flask, &["flask", "waitress", "uvicorn"], "{venv}/bin/waitress-serve --listen={host}:{port} {app}"),
        (&fastapi, &["fastapi", "gunicorn", "uvicorn"], "{venv}/bin/uvicorn {app}"),
        (&fastapi, &["fastapi", "granian"], "{venv}/bin/granian --interface asgi {app}"),
    ] {
        assert_eq!(ProjectInputs { files, distributions, ..ProjectInputs::default() }.command(), command);
    }
}

#[test]
fn an_address_in_gunicorns_configuration_is_replaced() {
    for (distributions, command) in [
        (["flask", "gunicorn"], "{venv}/bin/gunicorn --bind {host}:{port} --graceful-timeout {grace} {app}"),
        (["flask", "waitress"], "{venv}/bin/waitress-serve --listen={host}:{port} {app}"),
    ] {
        let inputs = ProjectInputs {
            files: &[("app.py", FLASK)],
            distributions: &distributions,
            gunicorn_address: Some("gunicorn.conf.py:1"),
            ..ProjectInputs::default()
        };
        assert_eq!(inputs.command(), command);
    }
}

#[test]
fn a_missing_server_is_an_error_with_the_requirement() {
    for (files, excluded, parts) in [
        (&[("app.py", FLASK)], &[][..], ["`app:app` is a Flask application (WSGI)", "add gunicorn to"]),
        (
            &[("app.py", FASTAPI)],
            &[],
            ["`app:app` is a FastAPI application (ASGI)", "add uvicorn[standard] to"],
        ),
        (&[("app.py", FLASK)], &[], ["(WSGI)", "`with = [\"gunicorn\"]` to [tool.ipo-oci]"]),
        (&[("app.py", FLASK)], &["waitress"], ["(WSGI)", "declare waitress, which is installed"]),
    ] {
        let error = ProjectInputs { files, excluded, ..ProjectInputs::default() }.find().unwrap_err();
        let text = format!("{error}: {}", error.help().unwrap());
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn commands_of_the_repository_precede_the_usual_files() {
    let files = [("main.py", FASTAPI), ("web/__init__.py", ""), ("web/site.py", FLASK)];
    let distributions = ["flask", "fastapi", "gunicorn", "uvicorn", "gevent"];
    let found = |hints| {
        let service =
            ProjectInputs { files: &files, distributions: &distributions, hints, ..ProjectInputs::default() };
        let service = service.find().unwrap();
        (service.application.unwrap().reference(), service.program.command.join(" "))
    };
    let (application, command) = found(&["gunicorn -k gevent web.site:app --workers 3"]);
    assert_eq!(application, "web.site:app");
    assert!(command.contains("--worker-class gevent") && !command.contains("--workers"), "{command}");
    // An application that the source does not have is no evidence.
    assert_eq!(found(&["gunicorn nowhere:app"]).0, "main:app");
    assert_eq!(found(&["npm start"]).0, "main:app");
}

#[test]
fn a_command_decides_the_interface_of_an_unknown_framework() {
    let files = [("config/__init__.py", ""), ("config/web.py", "app = make()\n")];
    let service = |hint, distributions| {
        ProjectInputs { files: &files, distributions, hints: &[hint], ..ProjectInputs::default() }.find()
    };
    let found = service("daphne -p 80 config.web:app", &["django", "daphne", "gunicorn"]).unwrap();
    assert_eq!(found.program.command[0], "{venv}/bin/daphne");
    for (hint, interface, help) in [
        ("daphne config.web:app", "an ASGI", "Procfile:1 starts it with daphne: add daphne to"),
        ("uvicorn config.web:app", "an ASGI", "starts it with uvicorn: add uvicorn[standard] to"),
        ("uwsgi --module config.web:app", "a WSGI", "starts it with uwsgi: add uwsgi to"),
        ("gunicorn -k uvicorn.workers.UvicornWorker config.web:app", "an ASGI", "add uvicorn[standard] to"),
    ] {
        let error = service(hint, &["django"]).unwrap_err();
        let text = format!("{error}: {}", error.help().unwrap());
        assert!(text.contains(interface) && text.contains(help), "{text}");
    }
}

#[test]
fn the_server_of_the_settings_has_to_fit() {
    let files = [("app.py", FLASK)];
    let inputs = |server, distributions| ProjectInputs {
        files: &files,
        distributions,
        server,
        ..ProjectInputs::default()
    };
    let waitress = inputs(Some(ServerName::Waitress), &["gunicorn", "waitress"]);
    assert!(waitress.command().contains("waitress-serve"));
    for (server, part) in [
        (ServerName::Daphne, "it serves no WSGI applications"),
        (ServerName::Uwsgi, "it is not among the project's dependencies"),
    ] {
        let error = inputs(Some(server), &["gunicorn", "daphne"]).find().unwrap_err().to_string();
        assert!(error.starts_with("cannot run app:app with ") && error.ends_with(part), "{error}");
    }
}

#[test]
fn programs_have_servers_of_their_own() {
    let cli = "import waitress\ndef main():\n    waitress.serve(app, host='0.0.0.0', port=81)\n";
    let local = "import uvicorn\ndef main():\n    uvicorn.run('x:y')\n";
    let aiohttp = "import asyncio\nfrom aiohttp import web\napp = web.Application()\nasyncio.run(setup())\nweb.run_app(app, port=82)\n";
    let gradio = "import gradio as gr\nwith gr.Blocks() as demo: ...\ndemo.launch()\n";
    let streamlit = "import streamlit as st\n";
    let nicegui =
        "from nicegui import app, ui\nif __name__ in {'__main__', '__mp_main__'}:\n    ui.run(title='x')\n";
    let scripts = [("serve", "pkg.cli:main")];
    for (files, distributions, hints, scripts, command, port) in [
        ([("src/pkg/cli.py", cli)], &[][..], &[][..], &scripts[..], "{venv}/bin/serve", Some(81)),
        ([("pkg/cli.py", local)], &[], &[], &scripts, "{venv}/bin/serve", None),
        ([("pkg/cli.py", "")], &[], &["serve --all"], &scripts, "{venv}/bin/serve --all", Some(9000)),
        ([("pkg/cli.py", "")], &[], &["serve --help"], &scripts, "{venv}/bin/serve", Some(9000)),
        (
            [("pkg/cli.py", "")],
            &[],
            &["serve --port 9000"],
            &scripts,
            "{venv}/bin/serve --port {port}",
            Some(9000),
        ),
        (
            [("run.py", "")],
            &[],
            &["python run.py --port=9000"],
            &[],
            "{python} run.py --port={port}",
            Some(9000),
        ),
        ([("run.py", "")], &[], &["python run.py --port=81"], &[], "{python} run.py --port=81", Some(9000)),
        ([("run.py", "")], &[], &["python run.py -v"], &[], "{python} run.py -v", Some(9000)),
        (
            [("pkg/cli.py", "")],
            &[],
            &["python /opt/env/bin/serve --at 0.0.0.0:9000,[::]:9000 --to=0.0.0.0:9000 0.0.0.0:9"],
            &scripts,
            "{python} {venv}/bin/serve --at 0.0.0.0:{port},[::]:{port} --to=0.0.0.0:{port} 0.0.0.0:9",
            Some(9000),
        ),
        ([("main.py", aiohttp)], &["aiohttp"], &[], &[], "{python} -m main", Some(82)),
        ([("app.py", gradio)], &["gradio"], &[], &[], "{python} -m app", None),
        ([("app.py", streamlit)], &["streamlit"], &[], &[], "{venv}/bin/streamlit run app.py", None),
        ([("chat.py", streamlit)], &["streamlit"], &[], &[], "{venv}/bin/streamlit run chat.py", None),
        ([("main.py", nicegui)], &["nicegui", "fastapi"], &[], &[], "{python} main.py", Some(8080)),
        ([("shop.py", nicegui)], &["nicegui", "uvicorn"], &[], &[], "{python} shop.py", Some(8080)),
    ] {
        let inputs =
            ProjectInputs { files: &files, distributions, hints, scripts, ..ProjectInputs::default() };
        let service = inputs.find().unwrap();
        let loopback = service.program.loopback.is_some();
        assert_eq!((service.program.command.join(" ").as_str(), service.program.port), (command, port));
        assert_eq!(loopback, files[0].1 == local, "{command}");
        // Streamlit and NiceGUI handle SIGTERM.
        let has_handler = distributions.contains(&"streamlit") || distributions.contains(&"nicegui");
        let signal = (!has_handler).then_some("SIGINT");
        assert_eq!(service.program.stop_signal, signal, "{command}");
    }
}

#[test]
fn a_missing_server_is_looked_for_in_the_folder_of_the_application() {
    let files =
        [("server/web/main.py", FASTAPI), ("server/web/__init__.py", ""), ("server/pyproject.toml", "")];
    let inputs = ProjectInputs { files: &files, ..ProjectInputs::default() };
    let help = inputs.find().unwrap_err().help().unwrap();
    let start =
        "build the folder `server`, which has dependencies of its own (server/pyproject.toml), or add ";
    assert!(help.starts_with(start), "{help}");
}

#[test]
fn a_factory_may_be_named_by_an_option_of_the_server() {
    let factory = "from fastapi import FastAPI\ndef create_app():\n    return FastAPI()\n";
    for hint in ["uvicorn pkg:create_app --factory", "granian --factory pkg:create_app"] {
        let files = [("pkg.py", factory)];
        let distributions = ["fastapi", "uvicorn", "granian"];
        let inputs = ProjectInputs {
            files: &files,
            distributions: &distributions,
            hints: &[hint],
            ..ProjectInputs::default()
        };
        let service = inputs.find().unwrap();
        assert_eq!(service.application.unwrap().reference(), "pkg:create_app()", "{hint}");
    }
}

#[test]
fn a_script_that_is_not_installed_is_started_by_its_function() {
    let cli = "import uvicorn\ndef main():\n    uvicorn.run('x:y', host='0.0.0.0')\n";
    let scripts = [("serve", "pkg.cli:app.main")];
    let command = |file, name, hints| {
        let files = [(file, cli)];
        ProjectInputs { files: &files, name, scripts: &scripts, hints, ..ProjectInputs::default() }.command()
    };
    let call = "from pkg.cli import app; sys.argv[0] = 'serve'; sys.exit(app.main())";
    assert_eq!(command("pkg/cli.py", "X_y", &[]), format!("{{python}} -c import sys; {call}"));
    assert_eq!(
        command("src/pkg/cli.py", "x.y", &["serve --all"]),
        format!("{{python}} -c import sys; sys.path.insert(0, 'src'); {call} --all")
    );
    assert_eq!(command("pkg/cli.py", "installed", &[]), "{venv}/bin/serve");
}

#[test]
fn a_project_without_an_application_is_an_error_with_its_commands() {
    let mut scripts = [("serve", "pkg.cli:main"), ("check", "pkg.check:main")];
    let files = [("pkg/cli.py", "from pkg.web import serve as main\n"), ("pkg/check/__main__.py", "")];
    let error =
        ProjectInputs { files: &files, scripts: &scripts, ..ProjectInputs::default() }.find().unwrap_err();
    assert!(error.to_string().starts_with("application not found: "), "{error}");
    let help = error.help().unwrap();
    let end = "if a command of the project serves (`serve`, `check`), name it with its arguments: \
               entrypoint = [\"{venv}/bin/serve\"]";
    assert!(help.ends_with(end), "{help}");
    scripts.reverse();
    let error = ProjectInputs { files: &files, scripts: &scripts, ..ProjectInputs::default() }.find();
    let help = error.unwrap_err().help().unwrap();
    assert!(help.ends_with("entrypoint = [\"{python}\", \"-m\", \"pkg.check\"]"), "{help}");
}

#[test]
fn a_program_that_binds_the_loopback_address_is_known() {
    let aiohttp = "from aiohttp import web\napp = web.Application()\nweb.run_app(app, host='127.0.0.1')\n";
    let gradio = "import gradio as gr\ndemo = gr.Blocks()\ndemo.launch(server_name='localhost')\n";
    for (text, place) in [(aiohttp, "app.py:3: web.run_app"), (gradio, "app.py:3: demo.launch")] {
        let inputs = ProjectInputs {
            files: &[("app.py", text)],
            distributions: &["aiohttp", "gradio"],
            ..ProjectInputs::default()
        };
        assert_eq!(inputs.find().unwrap().program.loopback.as_deref(), Some(place));
    }
}

#[test]
fn dash_runs_by_its_flask_application() {
    let app = "import dash\napp = dash.Dash()\n";
    let inputs = |text| [("app.py", text)];
    let find = |files: &[(&'static str, &'static str)], distributions: &[&str]| {
        ProjectInputs { files, distributions, ..ProjectInputs::default() }.find()
    };
    let error = find(&inputs(app), &["dash", "gunicorn"]).unwrap_err();
    assert!(error.help().unwrap().contains("`server = app.server`"), "{error}");
    let bound = "import dash\napp = dash.Dash()\nserver = app.server\n";
    for (text, distributions, reference) in
        [(bound, ["dash", "gunicorn"], "app:server"), (app, ["dash", "waitress"], "app:app.server")]
    {
        let service = find(&inputs(text), &distributions).unwrap();
        assert_eq!(service.application.unwrap().reference(), reference);
    }
}

#[test]
fn a_program_gets_its_options_for_port_and_host_or_a_warning() {
    let run = "import argparse, uvicorn\np = argparse.ArgumentParser()\n";
    let with = |lines: &str| -> &'static str {
        Box::leak(
            format!("{run}{lines}\ndef main():\n    uvicorn.run(app, port=port, host=host)\n")
                .into_boxed_str(),
        )
    };
    let found = |text: &'static str, hints: &[&str]| {
        let files = [("tool.py", text)];
        let inputs = ProjectInputs {
            files: &files,
            hints,
            scripts: &[("tool", "tool:main")],
            ..ProjectInputs::default()
        };
        let program = inputs.find().unwrap().program;
        let warnings: Vec<String> = program.warnings.iter().map(|warning| warning.message.clone()).collect();
        (program.command.join(" "), program.port, warnings)
    };
    let port = with("p.add_argument('--port', default=8100)");
    assert_eq!(found(port, &[]), ("{venv}/bin/tool --port {port}".to_owned(), Some(8100), vec![]));
    let host = with("p.add_argument('--port')\np.add_argument('--host', default='127.0.0.1')");
    assert_eq!(found(host, &["tool"]).0, "{venv}/bin/tool --port {port} --host {host}");
    assert_eq!(
        found(host, &["tool --host 0.0.0.0 --port 9000"]).0,
        "{venv}/bin/tool --host 0.0.0.0 --port {port}"
    );
    let all = with("p.add_argument('--port')\np.add_argument('--host', default='0.0.0.0')");
    assert_eq!(found(all, &[]).0, "{venv}/bin/tool --port {port}");
    let reads = with("import os\nport = os.environ['PORT']");
    assert_eq!(found(reads, &[]), ("{venv}/bin/tool".to_owned(), None, vec![]));
    let (command, _, warnings) = found(with("p.add_argument('index')"), &[]);
    assert_eq!(command, "{venv}/bin/tool");
    assert_eq!(
        warnings,
        [
            "tool does not read the variable PORT: it listens on its own port",
            "tool does not start without `index` (tool.py:3)"
        ]
    );
    let commands = with("p.add_subparsers()\np.add_argument('--port')");
    assert_eq!(found(commands, &["tool serve"]).0, "{venv}/bin/tool serve");
}

#[test]
fn further_evidence_for_the_service() {
    // `wsgi_app` of gunicorn's configuration.
    let files = [("a/__init__.py", ""), ("a/web.py", FLASK), ("b.py", FLASK)];
    let inputs = ProjectInputs {
        files: &files,
        distributions: &["flask", "gunicorn"],
        gunicorn_application: Some("a.web:app"),
        ..ProjectInputs::default()
    };
    assert_eq!(inputs.find().unwrap().application.unwrap().reference(), "a.web:app");
    // The program of a distribution.
    let hints = ["mlflow server --port 9000"];
    let inputs = ProjectInputs { distributions: &["mlflow"], hints: &hints, ..ProjectInputs::default() };
    assert_eq!(inputs.command(), "{venv}/bin/mlflow server --port {port}");
    let others = ProjectInputs { distributions: &["other"], hints: &hints, ..ProjectInputs::default() };
    assert!(others.find().is_err());
    let hints = ["twistd -n web --class=hello.resource"];
    let inputs = ProjectInputs {
        distributions: &["twisted"],
        hints: &hints,
        python_path: Some("lib"),
        ..ProjectInputs::default()
    };
    let program = inputs.find().unwrap().program;
    assert_eq!(program.command.join(" "), "{venv}/bin/twistd -n web --class=hello.resource");
    assert_eq!(program.env, [("PYTHONPATH".to_owned(), "{workdir}/lib".to_owned())]);
    // A module that makes an application for its documentation.
    let docs = "import falcon\ndef make():\n    return falcon.API()\napp = make()\n";
    let files = [("src/pkg/__init__.py", ""), ("src/pkg/doc_helper.py", docs)];
    let distributions = ["falcon", "gunicorn"];
    let inputs = ProjectInputs { files: &files, distributions: &distributions, ..ProjectInputs::default() };
    assert!(inputs.find().is_err());
    // A package that runs itself, in place of the module with its application.
    let aiohttp = "from aiohttp import web\ndef make():\n    return web.Application()\nasync def init_app():\n    return make()\n";
    let main = "import os\nos.environ['PORT']\n";
    let files = [("pkg/__init__.py", ""), ("pkg/app.py", aiohttp), ("pkg/__main__.py", main)];
    let inputs = ProjectInputs {
        files: &files,
        distributions: &["aiohttp"],
        hints: &["python -m pkg"],
        name: "pkg",
        ..ProjectInputs::default()
    };
    assert_eq!(inputs.command(), "{python} -m pkg");
    // A module `api` is no application.
    let flask = "from flask import Flask\nfrom . import api\ndef create():\n    return Flask('x')\n";
    let files = [("pkg/__init__.py", ""), ("pkg/api.py", "x = 1\n"), ("pkg/app.py", flask)];
    let distributions = ["flask", "gunicorn"];
    let inputs = ProjectInputs {
        files: &files,
        distributions: &distributions,
        name: "pkg",
        ..ProjectInputs::default()
    };
    assert_eq!(inputs.find().unwrap().application.unwrap().reference(), "pkg.app:create()");
}

#[test]
fn further_applications_are_named() {
    let files = [
        ("main.py", FASTAPI),
        ("app.py", FLASK),
        ("web/__init__.py", ""),
        ("web/app.py", "from main import app\n"),
        ("web/wsgi.py", FLASK),
    ];
    let distributions = ["fastapi", "uvicorn", "flask", "gunicorn"];
    let inputs = ProjectInputs { files: &files, distributions: &distributions, ..ProjectInputs::default() };
    let service = inputs.find().unwrap();
    assert_eq!(service.application.unwrap().reference(), "main:app");
    let candidates = service.findings.iter().filter(|finding| finding.topic == "candidate");
    let candidates: Vec<String> = candidates.map(|finding| finding.answer.clone()).collect();
    assert_eq!(candidates, ["app:app (Flask)", "web.wsgi:app (Flask)"]);
}

#[test]
fn django_makes_the_application_of_a_project_without_a_module() {
    let manage = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n";
    let files = [("src/manage.py", manage), ("src/site1/__init__.py", ""), ("src/site1/settings.py", "")];
    for (server, command) in [
        ("gunicorn", "{venv}/bin/gunicorn --bind {host}:{port} --graceful-timeout {grace} {app}"),
        ("uvicorn", "{venv}/bin/uvicorn {app}"),
    ] {
        let distributions = ["django", server];
        let inputs =
            ProjectInputs { files: &files, distributions: &distributions, ..ProjectInputs::default() };
        let service = inputs.find().unwrap();
        let application = service.application.unwrap();
        let kind = if server == "uvicorn" { "asgi" } else { "wsgi" };
        assert_eq!(application.reference(), format!("django.core.{kind}:get_{kind}_application()"));
        assert_eq!(application.directory, "src");
        assert_eq!(service.program.command.join(" "), command);
        assert_eq!(service.program.env, [("DJANGO_SETTINGS_MODULE".to_owned(), "site1.settings".to_owned())]);
    }
}

#[test]
fn source_that_does_not_parse_is_named() {
    let files = [("main.py", "x = 1\nfrom {{ name }} import app\n")];
    let inputs =
        ProjectInputs { files: &files, distributions: &["fastapi", "uvicorn"], ..ProjectInputs::default() };
    let error = inputs.find().unwrap_err();
    assert!(
        error.to_string().starts_with("application not found: main.py does not parse in line 2: "),
        "{error}"
    );
    assert!(error.help().unwrap().contains("template"), "{error}");
}

#[test]
fn options_of_a_console_script_are_not_those_of_python() {
    let main = "import click\n@click.command()\n@click.option('-c')\ndef main(): ...\n";
    let inputs = ProjectInputs {
        files: &[("pan/__init__.py", ""), ("pan/main.py", main)],
        distributions: &["pan"],
        hints: &["pan -c /data/pan.conf"],
        scripts: &[("pan", "pan.main:main")],
        ..ProjectInputs::default()
    };
    let service = inputs.find().unwrap();
    assert_eq!(service.program.command.join(" "), "{venv}/bin/pan -c /data/pan.conf");
    assert!(
        service.findings.iter().any(|finding| finding.evidence == "pan does not read PORT"),
        "{service:?}"
    );
}

#[test]
fn uwsgi_names_its_application_in_options_and_files() {
    let wsgi = "import hug\n__hug_wsgi__ = hug.make()\n";
    let ini = "[uwsgi]\nhttp = :80\nwsgi-file = web.py\ncallable = __hug_wsgi__\n";
    let files = [("web.py", wsgi), ("conf/uwsgi.ini", ini)];
    for hint in ["uwsgi --http :80 --wsgi-file web.py --callable __hug_wsgi__", "uwsgi --ini conf/uwsgi.ini"]
    {
        let distributions = ["hug", "uwsgi"];
        let inputs = ProjectInputs {
            files: &files,
            distributions: &distributions,
            hints: &[hint],
            ..ProjectInputs::default()
        };
        let service = inputs.find().unwrap();
        assert_eq!(service.application.unwrap().reference(), "web:__hug_wsgi__", "{hint}");
        assert!(service.program.command[0].ends_with("uwsgi"), "{hint}");
    }
}

#[test]
fn a_package_that_does_not_run_itself_needs_a_server() {
    let make = "from aiohttp import web\ndef make():\n    return web.Application()\n";
    let files = [("pkg/__init__.py", make)];
    let distributions = ["aiohttp"];
    let inputs = ProjectInputs {
        files: &files,
        distributions: &distributions,
        name: "pkg",
        ..ProjectInputs::default()
    };
    let error = inputs.find().unwrap_err();
    assert!(matches!(error, ServiceError::NoServer { .. }), "{error}");
    assert!(error.to_string().contains("none of gunicorn, aiohttp.web"), "{error}");
    let more = [("pkg/__init__.py", make), ("pkg/__main__.py", "")];
    assert_eq!(ProjectInputs { files: &more, ..inputs }.command(), "{python} -m pkg");
    // A function of a library that needs more than the command line.
    let setup = "from aiohttp import web\ndef setup(app, schema):\n    return web.Application()\n";
    let files = [("pkg/__init__.py", setup)];
    let inputs = ProjectInputs {
        files: &files,
        distributions: &distributions,
        name: "pkg",
        ..ProjectInputs::default()
    };
    assert!(matches!(inputs.find().unwrap_err(), ServiceError::Application(_)));
}

#[test]
fn a_module_that_starts_a_server_is_run_if_no_application_is_found() {
    const SERVES: &str = "from aiohttp import web\ndef main():\n    app = build()[0]\n    web.run_app(app, port=9001)\n\
         if __name__ == '__main__':\n    main()\n";
    let run = |files: &[(&'static str, &'static str)]| {
        let service = ProjectInputs { files, distributions: &["aiohttp"], ..ProjectInputs::default() }.find();
        service.map(|service| {
            let env: Vec<String> =
                service.program.env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
            format!("{}{} on {:?}", env.concat(), service.program.command.join(" "), service.program.port)
        })
    };
    for (files, expected) in [
        (&[("shop/__init__.py", ""), ("shop/serve.py", SERVES)][..], "{python} -m shop.serve on Some(9001)"),
        (&[("shop/__init__.py", ""), ("shop/__main__.py", SERVES)], "{python} -m shop on Some(9001)"),
        (
            &[("src/shop/__init__.py", ""), ("src/shop/serve.py", SERVES)],
            "PYTHONPATH={workdir}/src {python} -m shop.serve on Some(9001)",
        ),
        (&[("bin/serve.py", SERVES), ("tests/serve.py", SERVES)], "{python} bin/serve.py on Some(9001)"),
        (&[("serve.py", SERVES), ("other/serve.py", SERVES)], "{python} serve.py on Some(9001)"),
    ] {
        assert_eq!(run(files).as_deref(), Ok(expected), "{files:?}");
    }
    assert!(run(&[("a.py", SERVES), ("b.py", SERVES)]).is_err());
    assert!(run(&[("a.py", "import uvicorn\ndef main():\n    uvicorn.run(x)\n")]).is_err());
}

#[test]
fn a_streamlit_script_without_the_distribution_names_the_line_to_add() {
    let files = &[("streamlit_app.py", "import streamlit as st\nst.write(1)\n")];
    let error =
        ProjectInputs { files, distributions: &["pandas"], ..ProjectInputs::default() }.find().unwrap_err();
    assert_eq!(
        format!("{error}; {}", error.help().unwrap()),
        "server not found: `streamlit_app.py` is a Streamlit script, and streamlit is not among the project's dependencies; \
         add streamlit to the project's dependencies, or `with = [\"streamlit\"]` to [tool.ipo-oci]"
    );
}

#[test]
fn flask_s_own_server_is_the_last_resort() {
    let find = |files: &[(&'static str, &'static str)], distributions: &[&str], hint: &str| {
        let service =
            ProjectInputs { files, distributions, hints: &[hint], ..ProjectInputs::default() }.find();
        service
            .map(|service| (service.program.command.join(" "), service.program.env, service.program.warnings))
    };
    let app = [("app.py", FLASK)];
    let (command, env, warnings) = find(&app, &["flask"], "flask run -h 0.0.0.0").unwrap();
    assert_eq!(command, "{venv}/bin/flask run");
    assert_eq!(env, [("FLASK_APP".to_owned(), "app:app".to_owned())]);
    assert!(warnings[0].to_string().contains("as Procfile:1 does"), "{warnings:?}");
    let factory =
        [("src/shop/__init__.py", "from flask import Flask\ndef create_app():\n    return Flask('x')\n")];
    let (_, env, _) = find(&factory, &["flask"], "python -m flask --app shop run").unwrap();
    assert_eq!(env[0].1, "shop:create_app");
    assert_eq!(env[1], ("PYTHONPATH".to_owned(), "{workdir}/src".to_owned()));
    assert!(find(&app, &["flask", "waitress"], "flask run").unwrap().0.contains("waitress-serve"));
    assert!(find(&app, &["flask"], "flask db upgrade").is_err());
    assert!(find(&[("app.py", FASTAPI)], &["flask", "fastapi"], "flask run").is_err());
}
