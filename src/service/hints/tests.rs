//! Tests of entire repositories, given as files.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::folder;

/// Writes the files and returns their hints.
fn hints(files: &[(&str, &str)]) -> Hints {
    Hints::read(folder(files).path())
}

/// Returns a command as one line: `web: cd FOLDER: A=1 gunicorn … (FILE:LINE)`.
fn shown(hint: &CommandHint) -> String {
    let role = match &hint.role {
        HintRole::Web => "web",
        HintRole::Release => "release",
        HintRole::Prepare => "prepare",
        HintRole::Process(name) => name,
    };
    let mut words: Vec<String> = hint.directory.iter().map(|folder| format!("cd {folder}:")).collect();
    words.extend(hint.wrappers.iter().map(|wrapper| format!("[{wrapper}]")));
    words.extend(hint.env.iter().map(|(name, value)| format!("{name}={value}")));
    match &hint.words {
        Ok(more) => words.extend(more.iter().cloned()),
        Err(problem) => words.push(format!("cannot: {problem}")),
    }
    format!("{role}: {} ({}:{})", words.join(" "), hint.evidence.file, hint.evidence.line)
}

fn commands(files: &[(&str, &str)]) -> Vec<String> {
    hints(files).commands.iter().map(shown).collect()
}

/// Returns the commands of a `Procfile` with one line, without their place.
fn line(line: &str) -> Vec<String> {
    let mut shown = commands(&[("Procfile", &format!("web: {line}\n"))]);
    for command in &mut shown {
        *command = command.replace(" (Procfile:1)", "");
    }
    shown
}

#[test]
fn programs_that_only_start_another_one_are_removed() {
    let unwrapped = [
        "gunicorn app:app",
        "exec gunicorn app:app",
        "poetry run gunicorn app:app",
        "uv run --no-sync --extra web gunicorn app:app",
        "uv run -- gunicorn app:app",
        "pipenv run gunicorn app:app",
        "python -m gunicorn app:app",
        "python3.12 -u -m gunicorn app:app",
        "/venv/bin/gunicorn app:app",
        "bash -c 'gunicorn app:app'",
        "/bin/sh -c \"exec poetry run gunicorn app:app\"",
        "tini -g -- gunicorn app:app",
        "/usr/bin/dumb-init gunicorn app:app",
        "gosu app:app gunicorn app:app",
        "conda run -n base --no-capture-output gunicorn app:app",
        "./wait-for-it.sh db:5432 -t 30 -- gunicorn app:app",
        "set -e; echo start; gunicorn app:app",
        "gunicorn app:app 2>&1",
    ];
    for given in unwrapped {
        assert_eq!(line(given), ["web: gunicorn app:app"], "{given}");
    }
    assert_eq!(line("newrelic-admin run-program gunicorn a"), ["web: [newrelic-admin] gunicorn a"]);
    assert_eq!(line("ddtrace-run gunicorn a"), ["web: [ddtrace-run] gunicorn a"]);
    assert_eq!(line("python -m app.main"), ["web: python -m app.main"]);
    assert_eq!(line("./manage.py runserver"), ["web: python ./manage.py runserver"]);
}

#[test]
fn variables_and_quotes_of_a_line() {
    assert_eq!(line("gunicorn a -b 0.0.0.0:$PORT"), ["web: gunicorn a -b 0.0.0.0:{port}"]);
    assert_eq!(line("gunicorn a -b \"[::]:${PORT:-8000}\""), ["web: gunicorn a -b [::]:{port}"]);
    assert_eq!(line("gunicorn a -w ${WORKERS:-4}"), ["web: gunicorn a -w 4"]);
    assert_eq!(line("gunicorn 'a:create(\"x | y\")'"), ["web: gunicorn a:create(\"x | y\")"]);
    assert_eq!(line("FOO=1 BAR='b c' gunicorn a"), ["web: FOO=1 BAR=b c gunicorn a"]);
    assert_eq!(line("env FOO=1 gunicorn a"), ["web: FOO=1 gunicorn a"]);
    assert_eq!(line("export FOO=1 && gunicorn a"), ["web: FOO=1 gunicorn a"]);
    assert_eq!(line("cd backend && cd src && gunicorn a"), ["web: cd backend/src: gunicorn a"]);
    assert_eq!(line("uvicorn a --forwarded-allow-ips=*"), ["web: uvicorn a --forwarded-allow-ips=*"]);
    assert_eq!(line("gunicorn a # b | c"), ["web: gunicorn a"]);
    assert_eq!(line("[[ -n $A && ( $B < 1 || -z $C ) ]] && gunicorn a"), ["web: gunicorn a"]);
    assert_eq!(hints(&[("Procfile", "web: x --port ${PORT:-5000}")]).commands[0].port, Some(5000));
}

#[test]
fn constructs_that_need_a_shell_are_named() {
    for (given, problem) in [
        ("yes | gunicorn a", "the pipe `|`"),
        ("gunicorn a > log.txt", "the redirection `>`"),
        ("exec $SERVER a", "the variable `$SERVER`"),
        ("$(which gunicorn) a", "the substitution `$(…)`"),
        ("true || gunicorn a", "the alternative `||`"),
        ("(gunicorn a)", "the subshell `(…)`"),
        ("if true; then gunicorn a; fi", "the keyword `if`"),
        ("gunicorn 'a", "a quote that does not end"),
        ("gunicorn src/*.py", "the pattern `*`"),
        ("bash start.sh", "the shell script `start.sh`, which is not in the project"),
        ("gunicorn -c ~/x a", "the home folder `~`"),
    ] {
        assert_eq!(line(given), [format!("web: cannot: {problem}")], "{given}");
    }
}

#[test]
fn values_of_a_running_container_stay_as_written() {
    for (given, read, unread) in [
        ("gunicorn a -w $WORKERS", "gunicorn a -w ${WORKERS}", &["${WORKERS}"][..]),
        ("gunicorn a -b 0.0.0.0:${API_PORT}", "gunicorn a -b 0.0.0.0:${API_PORT}", &["0.0.0.0:${API_PORT}"]),
        ("gunicorn a -w $(nproc) ${X%.*}", "gunicorn a -w $(…) ${X}", &["$(…)", "${X}"]),
        ("gunicorn a -w `nproc`", "gunicorn a -w $(…)", &["$(…)"]),
        ("gunicorn a -w $((2 * 3))", "gunicorn a -w $(…)", &["$(…)"]),
        ("A=$(date) gunicorn a", "gunicorn a", &[]),
    ] {
        assert_eq!(line(given), [format!("web: {read}")], "{given}");
        assert_eq!(hints(&[("Procfile", &format!("web: {given}"))]).commands[0].unread, unread, "{given}");
    }
}

#[test]
fn variables_of_the_repository_have_their_values() {
    let procfile = ("Procfile", "web: gunicorn a -w $WORKERS --threads ${THREADS} --log-level $LEVEL\n");
    let found = commands(&[
        procfile,
        (
            "app.json",
            "{\"env\": {\"WORKERS\": \"3\", \"LEVEL\": {\"value\": \"info\"}, \"X\": {\"required\": true}}}",
        ),
        ("fly.toml", "[env]\nTHREADS = '2'\n"),
    ]);
    assert_eq!(found, ["web: gunicorn a -w 3 --threads 2 --log-level info (Procfile:1)"]);
    let dockerfile =
        "FROM python\nARG PORT_OF_API=9000\nENV HOST=0.0.0.0\nCMD gunicorn a -b $HOST:${PORT_OF_API}\n";
    assert_eq!(commands(&[("Dockerfile", dockerfile)]), ["web: gunicorn a -b 0.0.0.0:9000 (Dockerfile:4)"]);
}

/// Returns the command of a Dockerfile with `CMD` and this script as its entrypoint, and the unread parts.
fn of_script(script: &str, cmd: &str) -> (String, Vec<String>) {
    let dockerfile = format!("FROM python\nENV WORKERS=2\nCOPY . /\nENTRYPOINT [\"/start.sh\"]\n{cmd}\n");
    let found = hints(&[("Dockerfile", &dockerfile), ("start.sh", &format!("#!/bin/bash\n{script}\n"))]);
    let web = found.command(&HintRole::Web).unwrap();
    (web.words.clone().unwrap_or_else(|problem| vec![problem]).join(" "), web.unread.clone())
}

#[test]
fn arrays_and_certain_conditions_of_a_script_are_read() {
    for (script, cmd, expected) in [
        (
            "ARGS=(a:b --workers \"$WORKERS\")\nARGS+=(--preload)\nexec gunicorn \"${ARGS[@]}\"",
            "",
            "gunicorn a:b --workers 2 --preload",
        ),
        (
            "if [ \"$*\" == \"\" ]; then\n  C=(run -p 80)\nelse\n  C=( \"${@}\" )\nfi\nexec gunicorn \"${C[@]}\"",
            "",
            "gunicorn run -p 80",
        ),
        (
            "if [[ \"$*\" == \"\" ]]; then C=(run); else C=( \"$@\" ); fi\nexec gunicorn \"${C[@]}\"",
            "CMD [\"x:y\"]",
            "gunicorn x:y",
        ),
        (
            "if [ \"${1#-}\" != \"$1\" ]; then set -- gunicorn \"$@\"; fi\nexec \"$@\"",
            "CMD [\"--preload\", \"a:b\"]",
            "gunicorn --preload a:b",
        ),
        (
            "if [ \"${1:0:1}\" = '-' ]; then set -- gunicorn \"$@\"; fi\nexec \"$@\"",
            "CMD [\"uvicorn\", \"a:b\"]",
            "uvicorn a:b",
        ),
        (
            "if [ \"$1\" = web ]; then exec gunicorn a:b; elif [ \"$1\" = dev ]; then exec uvicorn a:b; fi",
            "CMD [\"web\"]",
            "gunicorn a:b",
        ),
        (
            "case $1 in\nserver) exec uvicorn a:b ;;\nweb) exec gunicorn a:b ;;\nesac",
            "CMD [\"server\"]",
            "uvicorn a:b",
        ),
        ("if [ $# -eq 0 ]; then set -- gunicorn a:b; fi\nexec \"$@\"", "", "gunicorn a:b"),
        (
            "if [ ! -z \"$WORKERS\" ] && [ \"$WORKERS\" -gt 1 ]; then exec gunicorn a:b; else exec uvicorn a:b; fi",
            "",
            "gunicorn a:b",
        ),
    ] {
        assert_eq!(of_script(script, cmd), (expected.to_owned(), vec![]), "{script}");
    }
}

#[test]
fn uncertain_parts_of_a_script_are_named() {
    let script = "ARGS=(a:b)\nif [ -f /etc/x ]; then\n  ARGS+=(--preload)\nfi\nexec gunicorn \"${ARGS[@]}\"";
    let unread = vec!["`ARGS` under a condition (start.sh:4)".to_owned()];
    assert_eq!(of_script(script, ""), ("gunicorn a:b".to_owned(), unread));
    let script = "if [ -n \"$DEBUG\" ]; then set -- uvicorn \"$@\"; fi\nexec \"$@\"";
    let unread = vec!["`set --` under a condition".to_owned()];
    assert_eq!(of_script(script, "CMD [\"gunicorn\", \"a:b\"]"), ("gunicorn a:b".to_owned(), unread));
}

#[test]
fn commands_before_and_beside_the_server() {
    assert_eq!(
        line("python manage.py migrate && python manage.py collectstatic --noinput && gunicorn a"),
        [
            "web: gunicorn a",
            "release: python manage.py migrate",
            "prepare: python manage.py collectstatic --noinput"
        ]
    );
    assert_eq!(
        line("celery -A a worker & celery -A a beat & gunicorn a"),
        ["web: gunicorn a", "worker: celery -A a worker", "beat: celery -A a beat"]
    );
    assert_eq!(line("flask db upgrade; gunicorn a"), ["web: gunicorn a", "release: flask db upgrade"]);
    assert_eq!(
        commands(&[(
            "Procfile",
            "web: gunicorn a\nrelease: yes \"yes\" | python manage.py migrate\nclock: python c.py\n"
        )]),
        [
            "web: gunicorn a (Procfile:1)",
            "release: cannot: the pipe `|` (Procfile:2)",
            "clock: python c.py (Procfile:3)"
        ]
    );
}

#[test]
fn the_last_stage_of_a_dockerfile_counts() {
    let dockerfile = "\
# syntax=docker/dockerfile:1
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS base
ENV PORT=9000 A=\"b c\"
WORKDIR /srv
CMD [\"python\", \"old.py\"]
FROM node AS front
EXPOSE 3000
RUN npm run build
FROM base
ONBUILD RUN apt-get install -y never
RUN apt-get update && apt-get install -y --no-install-recommends \\
    # for psycopg
    libpq5=15.* \\
    gettext && rm -rf /var/lib/apt/lists/*
RUN <<EOF
apk add --virtual .deps ffmpeg
EOF
COPY --from=front /out static
COPY backend/ .
RUN SECRET=x python manage.py collectstatic --noinput
EXPOSE $PORT/tcp
HEALTHCHECK --interval=5s CMD curl -f http://localhost:$PORT/health || exit 1
CMD gunicorn --bind :$PORT \\
  config.wsgi
";
    let hints = hints(&[("Dockerfile", dockerfile), ("backend/manage.py", "")]);
    assert_eq!(
        hints.commands.iter().map(shown).collect::<Vec<_>>(),
        [
            "web: cd backend: gunicorn --bind :{port} config.wsgi (Dockerfile:24)",
            "prepare: cd backend: SECRET=x python manage.py collectstatic --noinput (Dockerfile:21)"
        ]
    );
    let port = hints.port.unwrap();
    assert_eq!((port.0, port.1.line), (9000, 22));
    let (path, place) = hints.health_path.unwrap();
    assert_eq!((path.as_str(), place.line), ("/health", 23));
    let packages: Vec<_> =
        hints.system_packages.iter().map(|(name, place)| (name.as_str(), place.line)).collect();
    assert_eq!(packages, [("libpq5", 14), ("gettext", 15), ("ffmpeg", 17)]);
    assert_eq!(hints.python_version.unwrap().0, "3.12");
    let stage = hints.dockerfile.as_ref().unwrap().target().unwrap();
    assert_eq!(stage.env[1].1, "b c");
}

#[test]
fn an_entrypoint_is_followed_into_its_script() {
    let script = "\
#!/bin/sh
set -e
: \"${WORKERS:=2}\"
if [ \"$1\" = debug ]; then
    python manage.py runserver 0.0.0.0:8000
fi
python manage.py migrate --noinput
cat <<EOF
exec nothing
EOF
exec \"$@\"
";
    let dockerfile = "FROM python:3.12\nCOPY . /app\nWORKDIR /app\nENTRYPOINT [\"/app/docker/start.sh\"]\n\
        CMD [\"gunicorn\", \"config.wsgi\"]\n";
    assert_eq!(
        commands(&[("Dockerfile", dockerfile), ("docker/start.sh", script)]),
        [
            "web: gunicorn config.wsgi (Dockerfile:5)",
            "release: python manage.py migrate --noinput (docker/start.sh:7)"
        ]
    );
    let cases = "#!/bin/bash\ncase \"$1\" in\n  worker)\n    exec celery -A a worker ;;\n  web|api)\n    exec gunicorn a\n    ;;\n\
        *) exec \"$@\" ;;\nesac\n";
    let dockerfile =
        "FROM python:3.12\nCOPY entrypoint /bin/entrypoint\nENTRYPOINT [\"entrypoint\"]\nCMD [\"web\"]\n";
    assert_eq!(
        commands(&[("Dockerfile", dockerfile), ("entrypoint", cases)])[..2],
        ["web: gunicorn a (entrypoint:6)", "worker: celery -A a worker (entrypoint:4)"]
    );
    let inline = "FROM python:3.12\nCOPY <<EOF /start.sh\n#!/bin/sh\nalembic upgrade head\nexec uvicorn a:b --port 80\nEOF\n\
        CMD [\"/start.sh\"]\n";
    assert_eq!(
        commands(&[("Dockerfile", inline)]),
        ["web: uvicorn a:b --port 80 (Dockerfile:5)", "release: alembic upgrade head (Dockerfile:4)"]
    );
}

#[test]
fn paths_of_the_image_become_paths_of_the_project() {
    let dockerfile = "FROM python:3.12\nWORKDIR /code\nCOPY src .\nCMD [\"python\", \"/code/serve.py\"]\n";
    assert_eq!(
        commands(&[("Dockerfile", dockerfile), ("src/serve.py", "")]),
        ["web: cd src: python serve.py (Dockerfile:4)"]
    );
    let built = "FROM python:3.12 AS build\nCOPY . /src\nFROM python:3.12\nCOPY --from=build /src/api /srv\nWORKDIR /srv\nCMD uvicorn a:b\n";
    assert_eq!(
        commands(&[("Dockerfile", built), ("api/a.py", "")]),
        ["web: cd api: uvicorn a:b (Dockerfile:6)"]
    );
}

#[test]
fn an_entrypoint_resets_an_inherited_command() {
    let of = |text: &str| commands(&[("Dockerfile", text)]);
    assert_eq!(of("FROM a AS b\nCMD x\nFROM b\nENTRYPOINT [\"y\"]\n"), ["web: y (Dockerfile:4)"]);
    assert_eq!(of("FROM a\nCMD [\"x\"]\nENTRYPOINT [\"y\"]\n"), ["web: y x (Dockerfile:2)"]);
    assert_eq!(of("FROM a\nENTRYPOINT y\nCMD [\"x\"]\n"), ["web: y (Dockerfile:2)"]);
}

#[test]
fn a_dockerfile_for_production_precedes_one_for_development() {
    let of = |command: &str| format!("FROM a\nCMD {command}\n");
    let (one, two, three) = (of("gunicorn a"), of("gunicorn b"), of("gunicorn c"));
    let found =
        commands(&[("Dockerfile.dev", &one), ("Dockerfile.prod", &two), ("docker/Dockerfile", &three)]);
    assert_eq!(found, ["web: gunicorn b (Dockerfile.prod:2)"]);
    let found = commands(&[("Dockerfile.dev", &one), ("docker/Dockerfile", &three)]);
    assert_eq!(found, ["web: gunicorn c (docker/Dockerfile:2)"]);
}

#[test]
fn other_dockerfiles_are_named_and_compared() {
    let of = |application: &str| format!("FROM a\nCMD uvicorn {application}\n");
    let (api, admin) = (of("api:app"), of("admin:app"));
    let found = |second: &str| {
        hints(&[("Dockerfile", &api), ("Dockerfile.admin", second), ("Dockerfile.dev", &admin)])
    };
    let files =
        |hints: &Hints| hints.other_dockerfiles.iter().map(|(file, _)| file.clone()).collect::<Vec<_>>();
    let same = found(&api);
    assert_eq!((files(&same), same.competing_dockerfile()), (vec!["Dockerfile.admin".to_owned()], None));
    assert_eq!(found(&admin).competing_dockerfile(), Some(("Dockerfile", "Dockerfile.admin")));
}

#[test]
fn files_of_platforms() {
    let found = hints(&[
        ("app.json", "{\n \"scripts\": {\n  \"postdeploy\": \"python manage.py migrate\"\n }\n}"),
        ("heroku.yml", "run:\n  web: gunicorn a # b\nrelease:\n  command:\n    - flask db upgrade\n"),
        (
            "fly.toml",
            "[processes]\nworker = 'rq worker'\n[http_service]\ninternal_port = 8080\n[[http_service.checks]]\npath = '/up'\n",
        ),
        ("railway.json", "{\"deploy\": {\"startCommand\": \"uvicorn a:b\"}}"),
        (
            "render.yaml",
            "services:\n  - type: web\n    startCommand: \"hypercorn a:b\"\n    healthCheckPath: /ok\n",
        ),
    ]);
    let shown: Vec<_> = found.commands.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "postdeploy: python manage.py migrate (app.json:3)",
            "web: gunicorn a (heroku.yml:2)",
            "release: flask db upgrade (heroku.yml:5)",
            "worker: rq worker (fly.toml:2)",
            "web: uvicorn a:b (railway.json:1)",
            "web: hypercorn a:b (render.yaml:3)"
        ]
    );
    assert_eq!(found.port.map(|(port, place)| (port, place.line)), Some((8080, 4)));
    assert_eq!(found.health_path.map(|(path, place)| (path, place.line)), Some(("/up".to_owned(), 6)));
}

#[test]
fn python_files() {
    let found = hints(&[
        (
            "gunicorn.conf.py",
            "import os\nbind = \"0.0.0.0:7000\"\nworkers = int(os.environ['W'])\nwsgi_app = 'a:b'\n",
        ),
        (".flaskenv", "# x\nFLASK_APP=\"web:create\"\nexport B=1 # c\n"),
        ("runtime.txt", "python-3.12.4\n"),
    ]);
    let gunicorn = found.gunicorn.unwrap();
    assert_eq!(gunicorn.setting("wsgi_app").map(|(value, place)| (value, place.line)), Some(("a:b", 4)));
    assert_eq!(gunicorn.setting("workers"), None);
    assert_eq!(found.port.map(|(port, _)| port), Some(7000));
    let env: Vec<_> =
        found.flask_env.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("FLASK_APP", "web:create"), ("B", "1")]);
    assert_eq!(found.python_version.unwrap().0, "3.12.4");
}

#[test]
fn versions_in_names_of_images() {
    for (image, version) in [
        ("python:3.12", Some("3.12")),
        ("docker.io/library/python:3.11.4-slim-bookworm@sha256:00", Some("3.11.4")),
        ("ghcr.io/astral-sh/uv:python3.13-bookworm-slim", Some("3.13")),
        ("registry.access.redhat.com/ubi9/python-311:1", Some("3.11")),
        ("localhost:5000/python", None),
        ("python:latest", None),
        ("debian:12", None),
    ] {
        assert_eq!(python_files::image_version(image).as_deref(), version, "{image}");
    }
}

#[test]
fn missing_large_and_binary_files_give_no_hints() {
    assert!(Hints::read(Path::new("/nonexistent")).commands.is_empty());
    let large = format!("web: gunicorn a\n{}", "#".repeat(usize::try_from(LIMIT).unwrap()));
    assert!(commands(&[("Procfile", &large)]).is_empty());
    assert!(commands(&[("Dockerfile", "\u{0}\u{1}\nFROM"), ("fly.toml", "["), ("app.json", "{")]).is_empty());
}

#[test]
fn a_script_that_starts_itself_ends() {
    let dockerfile = "FROM a\nCOPY . /\nCMD [\"/a.sh\"]\n";
    assert!(commands(&[("Dockerfile", dockerfile), ("a.sh", "./a.sh\n./a.sh\nexec ./a.sh\n")]).len() < 200);
}

proptest! {
    #[test]
    fn quoted_words_are_read_as_a_shell_reads_them(words in prop::collection::vec("[ -~]{1,12}", 1..6)) {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
        let tokens = shell::lex(&quoted.join(" ")).unwrap();
        prop_assert_eq!(tokens.len(), words.len());
    }

    #[test]
    fn no_text_panics(text in "(FROM |RUN |CMD |<<E|\n|\\\\|\"|'|\\$\\{?A|:-|\\(|\\)|&|;|case a in|\\[|web: |é|x| ){0,40}") {
        fuzz(&text);
    }
}

#[test]
fn addresses_in_gunicorns_configuration_follow_the_port_or_not() {
    let own = "workers = 2\nbind = '127.0.0.1:5000'\n";
    for (files, expected) in [
        (&[("gunicorn.conf.py", own)][..], Some("gunicorn.conf.py:2")),
        (&[("gunicorn.conf.py", "bind = f\"0.0.0.0:{os.environ['PORT']}\"\n")], None),
        (&[("gunicorn.conf.py", "workers = 2\n")], None),
        // gunicorn reads other files only if they are named.
        (&[("gunicorn.py", own)], None),
        (&[("x.conf", own), ("Procfile", "web: gunicorn -c x.conf app:app\n")], Some("x.conf:2")),
        (
            &[("pkg/conf.py", own), ("Procfile", "web: gunicorn --config=python:pkg.conf app:app\n")],
            Some("pkg/conf.py:2"),
        ),
    ] {
        let folder = crate::testing::folder(files);
        let found = Hints::read(folder.path()).gunicorn_address;
        let found = found.map(|evidence| format!("{}:{}", evidence.file, evidence.line));
        assert_eq!(found.as_deref(), expected, "{files:?}");
    }
}
