//! IPO501 to IPO506.

use super::{Changed, python, site};
use crate::support::output_of;
use crate::support::venv::interpreter;
use test_macros::test;

/// The modification time of all files in the changed layer.
const MTIME: u64 = 1_700_000_000;

/// Returns the part of the names of bytecode that tells the Python.
fn tag() -> String {
    python().replace("python", "cpython-").replace('.', "")
}

/// Returns bytecode of `text` with the source's time in its header.
fn compiled(text: &str, time: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("x.py");
    fs_err::write(&source, text).expect("a file");
    let program = "import os, py_compile, sys\n\
                   os.utime(sys.argv[1], (0, int(sys.argv[2])))\n\
                   py_compile.compile(sys.argv[1], sys.argv[1] + 'c', doraise=True)";
    let source = source.to_str().expect("UTF-8");
    output_of(interpreter().to_str().expect("UTF-8"), ["-c", program, source, &time.to_string()]);
    fs_err::read(format!("{source}c")).expect("bytecode")
}

#[test]
fn bytecode_of_another_state_of_its_source() {
    let text = "answer = 42\n";
    let tag = tag();
    let with = |pyc: Vec<u8>| {
        let image = Changed::default().file(&format!("{}/extra.py", site()), text);
        image.file(&format!("{}/__pycache__/extra.{tag}.pyc", site()), pyc)
    };
    with(compiled(text, MTIME)).stays_silent("IPO501");
    with(compiled(text, MTIME - 1)).reports("IPO501", "bytecode of another state");
    with(compiled("answer = 1\n", MTIME)).reports("IPO501", "bytecode of another state");
    let mut foreign = compiled(text, MTIME);
    foreign[0] ^= 1;
    with(foreign).reports("IPO501", "magic number");
}

#[test]
fn source_without_bytecode() {
    let text = "x = 1\n".repeat(200_000);
    let with = |files: u32| {
        let add = |image: Changed, number| image.file(&format!("{}/big/m{number}.py", site()), &text);
        (0..files).fold(Changed::default(), add)
    };
    with(20).reports("IPO502", "like 20 modules");
    with(1).stays_silent("IPO502");
}

#[test]
fn paths_that_lead_out_of_the_image() {
    let with = |line: &str| Changed::default().file(&format!("{}/extra.pth", site()), line);
    with("/build/src\n").reports("IPO503", "leads to /build/src");
    with("/app\nimport os\n").stays_silent("IPO503");
    let moved = Changed::default().edited("app/.venv/pyvenv.cfg", "home = ", "home = /opt/python");
    moved.reports("IPO504", "/opt/python");
    // A value that Python does not read.
    let prompt = |line: &str| Changed::default().edited("app/.venv/pyvenv.cfg", "home = ", line);
    prompt("prompt = /build/src\nhome = ").stays_silent("IPO504");
}

#[test]
fn source_that_does_not_compile() {
    let with = |text: &str| {
        let start = &["/app/.venv/bin/uvicorn", "app.main:app"];
        let image = Changed::default().without(&format!("app/app/__pycache__/main.{}.pyc", tag()));
        image.file("app/app/main.py", format!("{text}\napp = 1\n")).entrypoint(start)
    };
    with("print 'two'").reports("IPO505", "/app/app/main.py: does not compile");
    with("print('two')").stays_silent("IPO505");
}

#[test]
fn an_incomplete_standard_library() {
    let without = |module: &str| Changed::default().without(&format!("usr/local/lib/{}/{module}", python()));
    without("asyncio").reports("IPO506", "without asyncio");
    without("wave.py").stays_silent("IPO506");
}
