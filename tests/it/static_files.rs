//! Browsers detect a changed static file of equal size.

use std::path::Path;
use std::process::Command;

use crate::support::{Image, Project, Venv, run};
use test_macros::test;

const FILE: &str = "app/app/static/agencyos.css";

/// Returns the ETag of Starlette's `StaticFiles` for the file in this image.
#[track_caller]
fn etag(project: &Project, image: &Image, name: &str) -> String {
    let folder = project.beside(name);
    fs_err::create_dir(&folder).expect("a folder");
    let file = folder.join("agencyos.css");
    fs_err::write(&file, image.read_file(FILE)).expect("a file");
    let seconds = image.files()[FILE].mtime;
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs_err::OpenOptions::new()
        .write(true)
        .open(&file)
        .expect("a file")
        .file()
        .set_modified(time)
        .expect("a time");
    etag_of_starlette(&folder)
}

fn etag_of_starlette(folder: &Path) -> String {
    let script = "import asyncio, sys
from starlette.staticfiles import StaticFiles
scope = {'type': 'http', 'method': 'GET', 'path': '/agencyos.css', 'root_path': '', 'headers': []}
response = asyncio.run(StaticFiles(directory=sys.argv[1]).get_response('agencyos.css', scope))
print(response.status_code, response.headers['etag'])";
    let outcome = run(Command::new(Venv::pip().python()).args(["-c", script]).arg(folder)).success();
    let (status, etag) = outcome.text().trim().split_once(' ').expect("two words");
    assert_eq!(status, "200");
    etag.to_owned()
}

#[test]
fn a_changed_file_of_equal_size_has_another_etag() {
    for epoch in [None, Some("1767225600")] {
        let project = Project::example();
        let build = |name: &str| {
            let mut command = project.command("build");
            command.arg("--venv").arg(Venv::pip().path());
            if let Some(epoch) = epoch {
                command.env("SOURCE_DATE_EPOCH", epoch);
            }
            run(&mut command).success();
            let image = project.layout().only();
            (image.files()[FILE].size, etag(&project, &image, name))
        };
        let (size, before) = build("before");
        let text = project.read("app/static/agencyos.css");
        project.write("app/static/agencyos.css", &text.replace("#123456", "#654321"));
        let (same_size, after) = build("after");
        assert_eq!(size, same_size);
        assert_ne!(before, after, "epoch {epoch:?}");
        // An unchanged file keeps its ETag after other changes.
        project.write("app/static/other.css", "p {}\n");
        assert_eq!(build("again").1, after, "epoch {epoch:?}");
    }
}
