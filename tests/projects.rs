//! Projects as people lay them out, beside the plain ones that the other tests build.

mod support;

use support::Project;

#[test]
fn a_module_behind_a_link_has_bytecode_where_python_looks_for_it() {
    let project = Project::tiny();
    project.write("common/models.py", "ANSWER = 42\n");
    project.write("service/__init__.py", "");
    std::os::unix::fs::symlink("../common/models.py", project.path().join("service/models.py"))
        .expect("a link");
    std::os::unix::fs::symlink("nowhere.py", project.path().join("service/dangling.py")).expect("a link");
    let files = project.image(&[]).files();
    let compiled = |folder: &str| {
        files.keys().any(|path| {
            path.starts_with(&format!("app/{folder}/__pycache__/models.cpython-")) && path.ends_with(".pyc")
        })
    };
    assert!(compiled("common") && compiled("service"), "{:?}", files.keys());
}
