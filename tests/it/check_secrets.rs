//! `ipo-oci check` on projects with secrets, repositories and odd users; each with a similar project
//! that stays silent.

use std::process::Command;
use test_macros::test;

use crate::support::{Project, output_of, requires, run};

/// Returns the diagnostics of the rules `codes`, as `severity code path: message`.
#[track_caller]
fn diagnostics(project: &Project, codes: &str) -> Vec<String> {
    diagnostics_of(project, codes, &[])
}

fn diagnostics_of(project: &Project, codes: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = project.command("check");
    command.args([".", "--select", codes, "--format", "json"]).args(arguments);
    let outcome = run(&mut command);
    assert!(matches!(outcome.code(), Some(0 | 1)), "{}", outcome.describe());
    let report: serde_json::Value =
        serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("{}", outcome.describe()));
    let found = report["diagnostics"].as_array().unwrap_or_else(|| panic!("{}", outcome.describe()));
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    found
        .iter()
        .map(|found| {
            let [severity, code, path, message] =
                ["severity", "code", "path", "message"].map(|key| text(&found[key]));
            format!("{severity} {code} {path}: {message}")
        })
        .collect()
}

/// A tiny project that includes all of its files.
fn open_project() -> Project {
    let project = Project::tiny();
    project.write(".dockerignore", "!.env\n!.git\n");
    project
}

fn token() -> String {
    // Not a literal, so that no scanner of this repository reports the test.
    format!("ghp_{}", "q7ZkW2mXv9LtB4nRj8PsD5hYc3FgT6wKe1Ua")
}

fn configure(project: &Project, lines: &str) {
    let text = project.read("pyproject.toml");
    project.write("pyproject.toml", &format!("{text}[tool.ipo-oci]\n{lines}"));
}

#[test]
fn reports_keys_of_real_tools() {
    requires("openssl");
    requires("ssh-keygen");
    let project = open_project();
    project.write("keys/server.key", &output_of("openssl", ["genrsa", "2048"]));
    project
        .write("keys/ec.pem", &output_of("openssl", ["ecparam", "-name", "prime256v1", "-genkey", "-noout"]));
    let key = project.path().join("keys/id_ed25519");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).success();
    let text = serde_json::json!({"type": "service_account", "private_key": project.read("keys/server.key")});
    project.write("account.json", &text.to_string());
    let found = diagnostics(&project, "IPO604,IPO605");
    assert_eq!(
        found,
        [
            "error IPO605 /app/account.json: contains a private key in line 1",
            "error IPO605 /app/keys/ec.pem: contains a private key in line 1",
            "error IPO605 /app/keys/id_ed25519: contains a private key in line 1",
            "error IPO605 /app/keys/server.key: contains a private key in line 1",
        ]
    );
}

#[test]
fn certificates_and_public_keys_are_silent() {
    requires("openssl");
    let project = open_project();
    let key = project.beside("server.key");
    let arguments = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-keyout"];
    let certificate = output_of("openssl", arguments.iter().copied().chain([key.to_str().unwrap()]));
    project.write("certs/server.pem", &certificate);
    let public = ["rsa", "-pubout", "-in", key.to_str().unwrap()];
    project.write("certs/public.pem", &output_of("openssl", public));
    project.write(
        "app/jwt.py",
        "if not text.startswith('-----BEGIN PRIVATE KEY-----'):\n    raise ValueError\n",
    );
    assert_eq!(diagnostics(&project, "IPO604,IPO605"), [] as [String; 0]);
}

#[test]
fn reports_files_of_credentials() {
    let project = open_project();
    project.write(".env", "PORT=80\nDB_PASSWORD=Xk29vQpL77sB\n");
    project.write(".env.production", "DEBUG=0\n");
    project.write(".netrc", "machine pypi.corp login ci password Xk29vQpL77sB\n");
    project.write(".npmrc", "fund=false\n");
    project.write(".env.example", "DB_PASSWORD=Xk29vQpL77sB\n");
    project.write("pip.conf", "[global]\nindex-url = https://ci:Xk29vQpL77sB@pypi.corp/simple\n");
    let found = diagnostics(&project, "IPO604,IPO605");
    assert_eq!(
        found,
        [
            "error IPO604 /app/.env: is a file of environment variables, with a secret in line 2",
            "error IPO604 /app/.netrc: is a file of passwords for curl, pip and git (netrc), with a secret in line 1",
            "error IPO605 /app/pip.conf: contains a password in a URL (Xk29…, 12 characters) in line 2",
            "warning IPO604 /app/.env.production: is a file of environment variables",
        ]
    );
    assert!(!found.concat().contains("Xk29vQpL77sB"));
}

#[test]
fn reports_tokens_of_the_source_and_not_of_distributions() {
    let project = open_project();
    project.write(
        "main.py",
        &format!("from fastapi import FastAPI\n\napp = FastAPI()\nTOKEN = '{}'\n", token()),
    );
    project.write(
        "docs.md",
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nTOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    );
    project.write("tests/data.py", &format!("TOKEN = '{}'\n", token()));
    let sites = project.path().join(".venv/lib");
    let site = fs_err::read_dir(sites).unwrap().next().unwrap().unwrap().path().join("site-packages");
    let module = site.join("fastapi/__init__.py");
    let text = fs_err::read_to_string(&module).unwrap();
    fs_err::write(&module, format!("{text}\nTOKEN = '{}'\n", token())).unwrap();
    assert_eq!(
        diagnostics(&project, "IPO604,IPO605"),
        [
            "error IPO605 /app/main.py: contains a token of GitHub (ghp_…, 40 characters) in line 4",
            "warning IPO605 /app/tests/data.py: contains a token of GitHub (ghp_…, 40 characters) in line 1",
        ]
    );
}

#[test]
fn reports_secrets_of_the_configuration() {
    let project = open_project();
    let token = token();
    configure(
        &project,
        &format!(
            "[tool.ipo-oci.env]\nGITHUB = \"{token}\"\nDB_PASSWORD = \"Xk29vQpL77sB\"\nSECRET_KEY = \"changeme\"\n"
        ),
    );
    assert_eq!(
        diagnostics(&project, "IPO606"),
        [
            "error IPO606 : the variable GITHUB contains a token of GitHub (ghp_…, 40 characters)",
            "warning IPO606 : the variable DB_PASSWORD seems to be a secret (Xk29…, 12 characters)",
        ]
    );
}

#[test]
fn without_an_ignore_file_credentials_stay_out() {
    requires("openssl");
    let project = Project::tiny();
    let key = output_of("openssl", ["genrsa", "2048"]);
    for path in ["keys/id_rsa", "keys/server.key", "certs/tls.pem"] {
        project.write(path, &key);
    }
    for path in
        [".env", ".env.production", ".netrc", ".pypirc", ".pgpass", ".git-credentials", ".htpasswd", ".npmrc"]
    {
        project.write(path, "password = Xk29vQpL77sB\n");
    }
    for path in
        [".aws/credentials", ".docker/config.json", ".kube/config", ".streamlit/secrets.toml", ".ssh/config"]
    {
        project.write(path, "{\"auth\": \"Xk29vQpL77sB\"}\n");
    }
    let image = project.image(&["-q"]);
    let files = image.files();
    let source = files.iter().filter(|(path, member)| {
        path.starts_with("app/") && !path.starts_with("app/.venv") && member.kind.is_file()
    });
    let kept: Vec<&str> =
        source.map(|(path, _)| path.as_str()).filter(|path| !path.ends_with(".pyc")).collect();
    assert_eq!(kept, ["app/main.py", "app/pyproject.toml"]);
    assert_eq!(diagnostics(&project, "IPO6"), [] as [String; 0]);
}

#[test]
fn reports_a_repository_and_files_that_git_ignores() {
    requires("git");
    let project = open_project();
    run(Command::new("git").args(["init", "-q"]).current_dir(project.path())).success();
    project.write(".gitignore", "*.sqlite3\n.venv\nlocal/\n");
    project.write("db.sqlite3", "data");
    project.write("local/a.txt", "a");
    project.write("data.json", "{}");
    assert_eq!(
        diagnostics(&project, "IPO607,IPO610"),
        [
            "warning IPO607 /app/.git: is a git repository: all versions of all files, and the addresses of remotes",
            "warning IPO610 /app/db.sqlite3: is ignored by git (line 1 of .gitignore: *.sqlite3)",
            "warning IPO610 /app/local/a.txt: is ignored by git (line 3 of .gitignore: local/)",
        ]
    );
    project.write(".dockerignore", "*.sqlite3\nlocal\n");
    assert_eq!(diagnostics(&project, "IPO607,IPO610"), [] as [String; 0]);
    // The ignore file of the build, in place of `.dockerignore`.
    project.write("other.ignore", ".git\nlocal\n");
    let found = diagnostics_of(&project, "IPO607,IPO610", &["--ignore-file", "other.ignore"]);
    assert_eq!(
        found,
        ["warning IPO610 /app/db.sqlite3: is ignored by git (line 1 of .gitignore: *.sqlite3)"]
    );
}

#[test]
fn places_are_relative_to_the_repository() {
    let project = open_project();
    project.write("conf.py", "TOKEN = \"ghp_Zx9Kq2Lm4Np6Rt8Vw1Yb3Cd5Ef7Gh0JkLs2M\"\n");
    let name = project.path().file_name().unwrap().to_str().unwrap();
    let parent = project.path().parent().unwrap();
    fs_err::create_dir(parent.join(".git")).unwrap();
    for (folder, current) in
        [(name, parent), (".", project.path()), (project.path().to_str().unwrap(), parent)]
    {
        let check = |format: &str| {
            let mut command = crate::support::ipo_oci();
            command.args(["check", folder, "--select", "IPO605", "--format", format]);
            run(command.current_dir(current)).exits_with(1).text().to_owned()
        };
        assert!(check("sarif").contains(&format!("\"uri\": \"{name}/conf.py\"")), "{}", check("sarif"));
        assert!(check("github").starts_with(&format!("::error file={name}/conf.py,")), "{}", check("github"));
        let shown = if folder == "." { "conf.py".to_owned() } else { format!("{name}/conf.py") };
        assert!(check("text").contains(&format!("\n  --> {shown}:1\n")), "{}", check("text"));
    }
}

#[test]
fn reports_users() {
    for (lines, expected) in [
        ("", None),
        ("user = \"0\"\n", Some("warning IPO608 : the process runs as root")),
        (
            "[tool.ipo-oci.env]\nHOME = \"/nowhere\"\n",
            Some(
                "warning IPO609 : the home /nowhere of the user 1000 does not exist: libraries keep their caches there",
            ),
        ),
        (
            "[tool.ipo-oci.env]\nHOME = \"/app\"\n",
            Some(
                "warning IPO609 : the home /app of the user 1000 cannot be written by the user: libraries keep their caches there",
            ),
        ),
    ] {
        let project = Project::tiny();
        configure(&project, lines);
        let found = diagnostics(&project, "IPO608,IPO609");
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{lines}");
    }
}
