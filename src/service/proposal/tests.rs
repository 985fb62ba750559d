use super::*;
use crate::recipe::Target;
use crate::testing::folder;

/// Returns the proposal for the files.
fn propose(files: &[(&str, &str)], finds_service: bool) -> Proposal {
    let folder = folder(files);
    let defaults = Target::Runtime.settings().unwrap();
    let (hints, defaults) = (&Hints::read(folder.path()), &defaults);
    let dependencies = &["flask".to_owned()].into();
    ProposalContext { hints, finds_service, scripts: &[], dependencies, defaults, of_source: &[] }.propose()
}

/// Returns the settings of a Dockerfile with this command, as lines.
fn settings(command: &str, finds_service: bool) -> Vec<String> {
    let proposal = propose(&[("Dockerfile", &format!("FROM python:3.12\nCMD {command}\n"))], finds_service);
    proposal.settings.iter().map(fates::shown).collect()
}

#[test]
fn options_of_servers_become_settings() {
    assert_eq!(
        settings(
            "uvicorn a:b --host 0.0.0.0 --port 80 --workers=2 --root-path /api --no-access-log --loop asyncio",
            true
        ),
        [
            "port = 80",
            "workers = 2",
            "env.UVICORN_ROOT_PATH = \"/api\"",
            "env.UVICORN_ACCESS_LOG = \"false\"",
            "loop = \"asyncio\""
        ]
    );
    assert_eq!(
        settings("gunicorn -w 2 -k gevent --timeout 90 --access-logfile - -b :$PORT a:b", true),
        ["workers = 2", "env.GUNICORN_CMD_ARGS = \"--timeout 90 --access-logfile -\""]
    );
    // The image has no other users and no folder for logs.
    assert_eq!(
        settings(
            "gunicorn -w 2 --user www-data -g www-data --pid /run/x.pid --error-logfile /var/log/x --log-file /dev/stdout -e A=b a:b",
            true
        ),
        ["workers = 2", "env.A = \"b\"", "env.GUNICORN_CMD_ARGS = \"--log-file /dev/stdout\""]
    );
    assert_eq!(settings("uvicorn a:b --port 8000 --workers 4 --reload --proxy-headers", true), [""; 0]);
}

#[test]
fn reports_a_dockerfile_that_buildkit_refuses() {
    let proposal = propose(&[("Dockerfile", "FROM a\nRUN <<EOF\necho\n")], true);
    let refused = "cannot parse Dockerfile: the here-document `EOF` does not end";
    assert!(proposal.open.iter().any(|open| open.starts_with(refused)), "{:?}", proposal.open);
}

#[test]
fn a_service_that_is_not_found_is_written() {
    assert_eq!(settings("uvicorn a:make --factory", false), ["app = \"a:make()\""]);
    assert_eq!(settings("gunicorn config.wsgi", false), ["app = \"config.wsgi:application\""]);
    assert_eq!(
        settings("python serve.py --port $PORT", false),
        [r#"entrypoint = ["{python}", "serve.py", "--port", "8000"]"#]
    );
    assert_eq!(settings("flask run", false), [r#"entrypoint = ["{venv}/bin/flask", "run"]"#]);
}

#[test]
fn secrets_and_variables_of_installers_are_not_proposed() {
    let dockerfile = "FROM a\nENV A=1 DB_PASSWORD=x PIP_NO_CACHE_DIR=1 PATH=/x PYTHONPATH=/y\nCMD b\n";
    let proposal = propose(&[("Dockerfile", dockerfile)], true);
    assert_eq!(proposal.settings.iter().map(fates::shown).collect::<Vec<_>>(), ["env.A = \"1\""]);
    let env = &proposal.instructions[1];
    assert_eq!(env.fate, Fate::NotPossible);
    assert!(env.reason.contains("DB_PASSWORD: give a secret to the container"), "{}", env.reason);
}

#[test]
fn a_command_that_needs_a_shell_is_open() {
    let proposal = propose(&[("Procfile", "web: a | b\nrelease: yes | python manage.py migrate\n")], true);
    assert!(proposal.settings.is_empty());
    assert_eq!(proposal.open.len(), 2, "{:?}", proposal.open);
    assert!(proposal.open.iter().all(|open| open.contains("the pipe `|`")), "{:?}", proposal.open);
}

#[test]
fn fates_of_instructions() {
    for (instruction, fate, reason) in [
        ("RUN pip install a", Fate::NotNeeded, "the environment is made on this machine"),
        ("RUN apt-get install -y libpq5", Fate::NotNeeded, "shared libraries"),
        ("RUN apt-get install -y ffmpeg", Fate::NotPossible, "programs of ffmpeg"),
        ("RUN ./compile --all", Fate::NotPossible, "no command runs in an image: do `./compile --all`"),
        ("RUN a | b", Fate::NotPossible, "no command runs in an image (the pipe `|`)"),
        ("COPY a b /srv/", Fate::NotPossible, "add [[tool.ipo-oci.files]] with from = \"a\", to = \"/srv/\""),
        ("COPY --from=x /etc/y /etc/y", Fate::NotPossible, "files of `x`"),
        ("COPY --from=ghcr.io/astral-sh/uv:latest /uv /bin/", Fate::NotNeeded, "the environment"),
        ("COPY . .", Fate::NotNeeded, "the source is taken along"),
        ("USER root", Fate::NotPossible, "user = \"0:0\""),
        ("USER 1000", Fate::NotNeeded, "user 1000"),
        ("USER 33:44", Fate::TakenOver, "user = \"33:44\""),
        ("HEALTHCHECK NONE", Fate::NotPossible, "healthcheck = false"),
        ("HEALTHCHECK CMD curl localhost:8000/up", Fate::TakenOver, "healthcheck = \"/up\""),
        ("VOLUME /data", Fate::TakenOver, "writable = [\"/data\"], volumes = [\"/data\"]"),
        ("EXPOSE 8000", Fate::NotNeeded, "the server's port"),
        ("EXPOSE 8000 9100", Fate::TakenOver, "ports = [\"9100\"]"),
        ("LABEL a=b", Fate::TakenOver, "labels.a = \"b\""),
        ("ONBUILD RUN x", Fate::NotPossible, "images that are built on this one"),
        ("SHELL [\"bash\", \"-c\"]", Fate::NotNeeded, "no shell"),
        ("STOPSIGNAL SIGTERM", Fate::NotNeeded, "the default"),
        ("CMD [\"x\"]", Fate::NotNeeded, "a later one replaces it"),
        ("NONSENSE x", Fate::NotPossible, "`NONSENSE` is no instruction"),
    ] {
        let text = format!("FROM python:3.12\nWORKDIR /app\n{instruction}\nCMD uvicorn a:b --port 8000\n");
        let proposal = propose(&[("Dockerfile", &text)], true);
        let found = &proposal.instructions[2];
        assert!(found.fate == fate && found.reason.contains(reason), "{instruction}: {found:?}");
    }
}

#[test]
fn the_migration_is_the_release_step() {
    let procfile =
        "web: python wait.py && flask db upgrade && gunicorn a:b\nwatch: make watch\nclock: own-clock\n";
    let proposal = propose(&[("Procfile", procfile)], true);
    let settings: Vec<_> = proposal.settings.iter().map(fates::shown).collect();
    assert_eq!(settings, [r#"process.release.command = ["{venv}/bin/flask", "db", "upgrade"]"#]);
    assert!(proposal.open[0].contains("`python wait.py` is a further command"), "{:?}", proposal.open);
    assert!(proposal.open[1].contains("starts make, which is no program"), "{:?}", proposal.open);
}

#[test]
fn a_program_of_a_dependency_is_a_command() {
    let proposal = propose(&[("Procfile", "worker: flask translate compile\nother: node x.js\n")], true);
    let settings: Vec<String> = proposal.settings.iter().map(fates::shown).collect();
    assert_eq!(settings, ["process.worker.command = [\"{venv}/bin/flask\", \"translate\", \"compile\"]"]);
    assert!(
        proposal.open.iter().any(|open| open.contains("starts node, which is no program")),
        "{:?}",
        proposal.open
    );
}
