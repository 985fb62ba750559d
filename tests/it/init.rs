//! `ipo-oci init`: settings from a Dockerfile and a Procfile, and a `.dockerignore`.

use std::fs;
use std::path::Path;

use test_macros::test;

use crate::support::layout::Layout;
use crate::support::{Outcome, Project, ipo_oci, requires, run};

const DOCKERFILE: &str = "\
# syntax=docker/dockerfile:1
ARG PYTHON=3.12
FROM node:22 AS front
COPY web .
RUN npm ci && npm run build

FROM python:${PYTHON}-slim
ARG DEBIAN_FRONTEND=noninteractive
ENV PYTHONUNBUFFERED=1 PATH=/venv/bin:$PATH \\
    DJANGO_SETTINGS_MODULE=config.settings MEDIA=/srv/media SECRET_KEY=insecure
WORKDIR /srv
RUN apt-get update && apt-get install -y libpq5 gettext
RUN <<EOF
useradd service
pip install -r requirements.txt
EOF
COPY --from=front /dist static/
COPY . .
COPY deploy/app.conf /etc/app/
RUN python manage.py collectstatic --noinput
ONBUILD RUN true
LABEL team=web maintainer=somebody
USER service
VOLUME /srv/media
EXPOSE 9000 9001
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --retries=2 CMD curl -f http://localhost:9000/health || exit 1
ENTRYPOINT [\"./deploy/start.sh\"]
CMD [\"gunicorn\", \"config.wsgi\", \"--bind\", \"0.0.0.0:9000\", \"--workers\", \"3\", \"--timeout\", \"90\"]
";
const SCRIPT: &str = "#!/bin/sh\nset -e\npython manage.py migrate --noinput\nexec \"$@\"\n";
const PROCFILE: &str = "worker: celery -A config worker\nbeat: celery -A config beat | tee log\n";
const PYPROJECT: &str = "\
[project]
name = \"shop\"  # the name
version = \"1\"
dependencies = [\"django\", \"gunicorn\"]

[tool.ipo-oci]
port = 9000  # mine

[tool.other]
x = 1
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (file, text) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn service() -> Self {
        Self::new(&[
            ("Dockerfile", DOCKERFILE),
            ("Procfile", PROCFILE),
            ("deploy/start.sh", SCRIPT),
            ("pyproject.toml", PYPROJECT),
            ("manage.py", ""),
            (
                "config/wsgi.py",
                "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
            ),
            ("uv.lock", "a lock of 20 bytes\n\n"),
        ])
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn init(&self, words: &[&str]) -> Outcome {
        run(ipo_oci().arg("init").args(words).current_dir(self.path()))
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn takes_over_a_dockerfile() {
    let folder = Folder::service();
    let done = folder.init(&["--from", "Dockerfile"]).success();
    let shown =
        format!("$ ipo-oci init --from Dockerfile\n{}\n{}", done.text(), folder.text("pyproject.toml"));
    crate::snapshots::is_snapshot("init.txt", shown.trim_end());
    let context = run(ipo_oci().arg("context").current_dir(folder.path())).success();
    assert!(!context.text().contains("uv.lock"), "{}", context.text());
    assert!(context.text().contains("manage.py"));
}

#[test]
fn a_second_run_changes_nothing() {
    let folder = Folder::service();
    folder.init(&["--from", "Dockerfile"]).success();
    let (settings, ignored) = (folder.text("pyproject.toml"), folder.text(".dockerignore"));
    let done = folder.init(&["--from", "Dockerfile"]).success();
    assert!(done.text().contains("pyproject.toml: nothing to add"), "{}", done.text());
    assert_eq!((folder.text("pyproject.toml"), folder.text(".dockerignore")), (settings, ignored));
}

#[test]
fn print_writes_no_file() {
    let folder = Folder::service();
    let before = folder.files();
    let done = folder.init(&["--print"]).success();
    assert!(done.text().starts_with("[tool.ipo-oci]\nport = 9000  # mine\n"), "{}", done.text());
    assert_eq!(folder.files(), before);
    assert_eq!(folder.text("pyproject.toml"), PYPROJECT);
}

#[test]
fn keeps_settings_of_the_user_in_every_form() {
    let text = "[tool]\nipo-oci.healthcheck = \"/mine\"\nipo-oci.env = { MEDIA = \"/x\" }\n";
    let folder =
        Folder::new(&[("Dockerfile", DOCKERFILE), ("pyproject.toml", text), ("deploy/start.sh", SCRIPT)]);
    folder.init(&[]).success();
    let after = folder.text("pyproject.toml");
    assert!(after.contains("healthcheck = \"/mine\"") && after.contains("{ MEDIA = \"/x\" }"), "{after}");
    assert!(!after.contains("SETTINGS_MODULE"), "{after}");
    let wrong = Folder::new(&[("Dockerfile", DOCKERFILE), ("pyproject.toml", "[tool]\nipo-oci = 1\n")]);
    wrong.init(&[]).exits_with(1);
}

#[test]
fn a_folder_without_hints_gets_a_name_and_an_ignore_file() {
    let folder = Folder::new(&[("My.App/main.py", ""), ("My.App/tests/test_main.py", "1")]);
    let done = run(ipo_oci().args(["init", "My.App"]).current_dir(folder.path())).success();
    let settings = folder.text("My.App/pyproject.toml");
    assert!(
        settings.starts_with("[tool.ipo-oci]\n# ") && settings.ends_with("\nname = \"my.app\"\n"),
        "{settings}"
    );
    assert!(done.text().contains(".dockerignore: keeps out 1 file, 1 B"), "{}", done.text());
    let kept = Folder::new(&[(".dockerignore", "mine\n"), ("pyproject.toml", PYPROJECT)]);
    kept.init(&[]).success();
    assert_eq!(kept.text(".dockerignore"), "mine\n");
}

#[test]
fn a_project_without_a_server_gets_one() {
    let server = |distribution: &str, module: &str| {
        let declared =
            format!("[project]\nname = \"x\"\nversion = \"1\"\ndependencies = [\"{distribution}\"]\n");
        let folder = Folder::new(&[("app.py", module), ("pyproject.toml", &declared)]);
        let done = folder.init(&[]).success();
        assert!(!done.text().contains("server not found"), "{}", done.text());
        folder.text("pyproject.toml")
    };
    let flask = server("flask", "from flask import Flask\napp = Flask('x')\n");
    let reason = "# `app:app` is a Flask application (WSGI), and no dependency of the project serves it\n";
    assert!(flask.contains(&format!("{reason}with = [\"gunicorn\"]\n")), "{flask}");
    let fastapi = server("fastapi", "from fastapi import FastAPI\napp = FastAPI()\n");
    assert!(fastapi.contains("with = [\"uvicorn[standard]\"]"), "{fastapi}");
    assert!(!server("gunicorn", "from flask import Flask\napp = Flask('x')\n").contains("with"));
}

#[test]
fn distributions_of_the_dockerfile_become_requirements() {
    let dockerfile = "FROM python:3.12\nWORKDIR /app\nCOPY . .\n\
        RUN pip install -r requirements.txt && pip install --no-cache-dir gunicorn 'psycopg[binary]==3.2.1'\n\
        CMD gunicorn main:app\n";
    for (requirements, expected) in [
        ("flask\n", "with = [\"gunicorn\", \"psycopg[binary]==3.2.1\"]"),
        ("flask\nuvicorn\ngunicorn\n", "with = [\"psycopg[binary]==3.2.1\"]"),
    ] {
        let files = [
            ("requirements.txt", requirements),
            ("main.py", "from flask import Flask\napp = Flask('x')\n"),
            ("Dockerfile", dockerfile),
        ];
        let folder = Folder::new(&files);
        let explained = run(ipo_oci().arg("explain").arg(folder.path())).success();
        let place = "distributions of the Dockerfile (Dockerfile:4: ";
        assert!(explained.text().contains(place), "{}", explained.describe());
        let printed = run(ipo_oci().args(["init", "--print"]).arg(folder.path())).success();
        assert!(printed.text().contains(expected), "{expected}: {}", printed.describe());
    }
}

#[test]
fn errors_name_the_file() {
    let folder = Folder::new(&[("pyproject.toml", "[tool.ipo-oci]\nprot = 1\n")]);
    let done = folder.init(&[]).exits_with(1);
    assert!(done.stderr.contains("did you mean `port`?"), "{}", done.stderr);
    assert_eq!(folder.files(), ["pyproject.toml"]);
    let folder = Folder::new(&[]);
    let done = folder.init(&["--from", "missing/Dockerfile"]).exits_with(1);
    assert!(done.stderr.contains("cannot read missing/Dockerfile"), "{}", done.stderr);
    let done = folder.init(&["absent"]).exits_with(1);
    assert!(done.stderr.contains("absent"), "{}", done.stderr);
    assert!(folder.files().is_empty());
}

#[test]
fn a_folder_that_a_module_names_is_not_ignored() {
    let folder = Folder::new(&[
        ("main.py", "page = open('docs/page.html')\n"),
        ("docs/page.html", "x"),
        ("tests/a.py", ""),
    ]);
    folder.init(&[]).success();
    let ignored = folder.text(".dockerignore");
    assert!(ignored.contains("\ntests\n") && !ignored.contains("\ndocs\n"), "{ignored}");
}

#[test]
fn the_static_files_of_django_are_collected_by_a_build() {
    requires("uv");
    let settings = "import os\nfrom pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n\
                    SECRET_KEY = os.environ['SECRET_KEY']\nINSTALLED_APPS = ['django.contrib.staticfiles']\n\
                    STATICFILES_DIRS = [BASE_DIR / 'theme']\nSTATIC_URL = '/s/'\nSTATIC_ROOT = BASE_DIR / 'collected'\n";
    let project = Project::of(&[
        ("manage.py", "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"),
        ("shop/__init__.py", ""),
        ("shop/settings.py", settings),
        (
            "shop/wsgi.py",
            "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
        ),
        ("theme/a.css", "a {}"),
        (
            "pyproject.toml",
            "[project]\nname = \"shop\"\nversion = \"1\"\ndependencies = [\"django>=5,<6\", \"waitress\"]\n",
        ),
        ("Dockerfile", "FROM python\nRUN SECRET_KEY=build python manage.py collectstatic --noinput\n"),
    ]);
    let done = run(ipo_oci().args(["init", "--from", "Dockerfile"]).current_dir(project.path())).success();
    let text = done.text();
    assert!(text.contains("taken over: prepare") && !text.contains("collectstatic`"), "{text}");
    let written = fs::read_to_string(project.path().join("pyproject.toml")).unwrap();
    for part in [
        "# manage.py:2: Django\ncommand = [\"{python}\", \"manage.py\", \"migrate\", \"--noinput\"]\n",
        "# Dockerfile:2; STATIC_ROOT of shop/settings.py:8\n[[tool.ipo-oci.prepare]]\nname = \"static\"\n",
        "SECRET_KEY = \"build\"",
        "\nto = \"collected\"\n",
    ] {
        assert!(written.contains(part), "{part}: {written}");
    }
    let again = run(ipo_oci().arg("init").current_dir(project.path())).success();
    assert!(again.text().contains("nothing to add"), "{}", again.text());
    run(project.command("build").args(["-q", "-o", "oci:image"]).current_dir(project.path())).success();
    let image = Layout::open(project.path().join("image")).only();
    assert_eq!(image.read_file("app/collected/a.css"), b"a {}");
}
