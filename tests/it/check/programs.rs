//! IPO301 to IPO305.

use super::Changed;
use test_macros::test;

const UVICORN: &str = "/app/.venv/bin/uvicorn";

fn starting(words: &[&str]) -> Changed {
    Changed::default().entrypoint(words)
}

#[test]
fn a_command_that_is_not_in_the_image() {
    starting(&["/app/.venv/bin/gunicorn", "app.main:app"]).reports("IPO301", "is not in the image");
    starting(&["gunicorn", "app.main:app"]).reports("IPO301", "is not in /app/.venv/bin");
    starting(&[UVICORN, "app.main:app"]).stays_silent("IPO301");
    starting(&["python", "-m", "uvicorn", "app.main:app"]).stays_silent("IPO301");
}

#[test]
fn a_health_check_without_its_program() {
    let probing = |test: &[&str]| Changed::default().healthcheck(test);
    probing(&["CMD", "curl", "-f", "http://localhost:8000"]).reports("IPO302", "`curl`");
    probing(&["CMD-SHELL", "python -V || exit 1"]).reports("IPO302", "`/bin/sh`");
    probing(&["CMD", "python", "-c", "pass"]).stays_silent("IPO302");
}

#[test]
fn a_script_with_the_interpreter_of_another_machine() {
    let script = "#!/build/.venv/bin/python\nfrom uvicorn.main import main\nmain()\n";
    Changed::default().program("app/.venv/bin/dotenv", script).reports("IPO303", "/build/.venv/bin/python");
    Changed::default().program("app/.venv/bin/tool", "#!/bin/sh\n").stays_silent("IPO303");
}

#[test]
fn an_application_that_is_not_in_the_image() {
    starting(&[UVICORN, "app.nope:app"]).reports("IPO304", "the module `app.nope`");
    starting(&[UVICORN, "app.main:nope"]).reports("IPO304", "does not define `nope`");
    starting(&["python", "-m", "app.nope"]).reports("IPO304", "`-m app.nope`");
    starting(&[UVICORN, "app.main:app"]).stays_silent("IPO304");
}

#[test]
fn a_part_of_the_server_that_is_not_installed() {
    starting(&[UVICORN, "app.main:app", "--ws", "wsproto"]).reports("IPO305", "`wsproto`");
    starting(&[UVICORN, "app.main:app", "--http", "httptools", "--ws", "auto"]).stays_silent("IPO305");
}
