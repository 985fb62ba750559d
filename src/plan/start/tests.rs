use std::collections::BTreeMap;

use super::*;
use crate::image::Healthcheck;
use std::time::Duration;

/// An image with these files and no others.
#[derive(Default)]
struct Fake {
    nodes: BTreeMap<ImagePath, PathNode>,
    modules: Vec<&'static str>,
    unknown: Option<ImagePath>,
}

const ALL: Permissions = Permissions { mode: 0o755, uid: 0, gid: 0 };

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

impl Fake {
    /// Python and a loader, as in an image from scratch.
    fn scratch() -> Self {
        Self::default()
            .file("usr/bin/python3.11", ALL, ExecutableFormat::Elf(Some("/lib64/ld.so".to_owned())))
            .file("usr/lib64/ld.so", ALL, ExecutableFormat::Elf(None))
            .link("lib64", "usr/lib64")
            .link("app/.venv/bin/python", "/usr/bin/python3.11")
            .file("app/.venv/bin/uvicorn", ALL, ExecutableFormat::Script("/app/.venv/bin/python".to_owned()))
            .file("app/main.py", Permissions { mode: 0o644, ..ALL }, ExecutableFormat::Plain)
    }

    /// A Debian base.
    fn debian() -> Self {
        Self::scratch()
            .file("usr/bin/dash", ALL, ExecutableFormat::Elf(Some("/lib64/ld.so".to_owned())))
            .link("usr/bin/sh", "dash")
            .link("bin", "usr/bin")
            .file("usr/bin/env", ALL, ExecutableFormat::Elf(Some("/lib64/ld.so".to_owned())))
            .file("usr/bin/tini", ALL, ExecutableFormat::Elf(None))
    }

    fn node(mut self, at: &str, node: PathNode) -> Self {
        let at = path(at);
        for parent in at.parents() {
            self.nodes.entry(parent).or_insert(PathNode::Directory(ALL));
        }
        self.nodes.insert(at, node);
        self
    }

    fn file(self, at: &str, access: Permissions, format: ExecutableFormat) -> Self {
        self.node(at, PathNode::File(access, format))
    }

    fn script(self, at: &str, line: &str) -> Self {
        self.file(at, ALL, ExecutableFormat::Script(line.to_owned()))
    }

    fn link(self, at: &str, target: &str) -> Self {
        self.node(at, PathNode::Link(target.to_owned()))
    }
}

impl ImageFiles for Fake {
    fn node(&self, path: &ImagePath) -> Option<PathNode> {
        (self.unknown.as_ref() != Some(path))
            .then(|| self.nodes.get(path).cloned().unwrap_or(PathNode::Absent))
    }

    fn has_module(&self, name: &str) -> Option<bool> {
        Some(self.modules.contains(&name))
    }
}

fn process(entrypoint: &[&str], cmd: &[&str], test: &[&str]) -> Process {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let time = Duration::from_secs(1);
    Process {
        user: Some(User { uid: 1000, gid: 1000 }),
        workdir: Some(path("app")),
        env: vec![("PATH".to_owned(), "/app/.venv/bin:/usr/bin:/bin".to_owned())],
        entrypoint: words(entrypoint),
        cmd: words(cmd),
        healthcheck: (!test.is_empty()).then(|| Healthcheck {
            test: words(test),
            interval: time,
            timeout: time,
            start_period: time,
            start_interval: time,
            retries: 1,
        }),
        ..Process::default()
    }
}

fn check(files: &Fake, process: &Process) -> Result<StartVerdict, StartError> {
    let scripts = ["svc-run".to_owned()];
    StartCheck { process, inherited: &[], on_base: false, scripts: &scripts }.check(files)
}

/// Returns the error of an image with this entrypoint, or `None` if it starts.
fn fault(files: &Fake, words: &str) -> Option<String> {
    let words: Vec<&str> = words.split(' ').collect();
    check(files, &process(&words, &[], &[])).err().map(|error| error.to_string())
}

macro_rules! starts {
    ($($name:ident: $files:expr, $words:expr;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(fault(&$files, $words), None);
        }
    )*};
}

macro_rules! is_refused {
    ($($name:ident: $files:expr, $words:expr, $said:expr;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(fault(&$files, $words).as_deref(), Some($said));
        }
    )*};
}

starts! {
    a_program_by_its_path: Fake::scratch(), "/app/.venv/bin/uvicorn main:app";
    a_name_on_the_path: Fake::scratch(), "uvicorn main:app";
    a_path_from_the_working_directory: Fake::scratch(), "./.venv/bin/../bin/python main.py";
    a_shell_with_a_line_that_names_nothing: Fake::debian(), "sh -c nothing";
    a_script_by_env: Fake::debian().script("app/run", "/usr/bin/env -S python -u"), "/app/run";
    a_script_of_a_script: Fake::debian().script("app/a", "/app/b").script("app/b", "/bin/sh"), "./a x";
    what_an_init_starts: Fake::debian(), "tini -- uvicorn main:app";
    what_is_mounted_when_it_runs: Fake::scratch(), "/proc/self/exe";
    a_file_of_unknown_bytes: Fake::scratch().file("app/x", ALL, ExecutableFormat::Unknown), "/app/x";
    an_executable_behind_one_that_is_none:
        Fake::debian().file("app/.venv/bin/sh", Permissions { mode: 0o644, ..ALL }, ExecutableFormat::Plain), "sh";
    a_module_that_is_there: Fake { modules: vec!["svc", "main"], ..Fake::scratch() }, "python -um svc.main";
    a_group_that_the_user_may_be_in:
        Fake::scratch().file("app/x", Permissions { mode: 0o750, uid: 0, gid: 7 }, ExecutableFormat::Elf(None)), "/app/x";
}

is_refused! {
    a_missing_path: Fake::scratch(), "/app/.venv/bin/svc-run",
        "cannot start the entrypoint `/app/.venv/bin/svc-run`: it is not in the image";
    a_name_not_on_path: Fake::scratch(), "gunicorn x",
        "cannot start the entrypoint `gunicorn`: it is not in /app/.venv/bin, /usr/bin, /bin of the image";
    a_missing_interpreter: Fake::scratch().script("app/start.sh", "/bin/sh"), "/app/start.sh",
        "cannot start the entrypoint `/app/start.sh`: its interpreter `/bin/sh` is not in the image";
    an_interpreter_of_an_interpreter:
        Fake::scratch().script("app/a", "/app/b").script("app/b", "/bin/sh"), "/app/a",
        "cannot start the entrypoint `/app/a`: its interpreter `/bin/sh` is not in the image (required by /app/b)";
    the_program_of_env: Fake::debian().script("app/a", "/usr/bin/env bash"), "/app/a",
        "cannot start the entrypoint `/app/a`: the program `bash` is not in /app/.venv/bin, /usr/bin, /bin of the image (required by /usr/bin/env)";
    a_missing_loader:
        Fake::scratch().file("app/x", ALL, ExecutableFormat::Elf(Some("/lib/ld-musl.so".to_owned()))), "/app/x",
        "cannot start the entrypoint `/app/x`: its loader `/lib/ld-musl.so` is not in the image";
    a_file_without_execute_permission: Fake::scratch(), "/app/main.py",
        "cannot start the entrypoint `/app/main.py`: it is not executable: /app/main.py has mode 0644";
    a_file_without_an_interpreter: Fake::scratch().file("app/x.sh", ALL, ExecutableFormat::Plain), "/app/x.sh",
        "cannot start the entrypoint `/app/x.sh`: it is neither an ELF program nor a script that begins with #!";
    a_directory: Fake::scratch(), "/app",
        "cannot start the entrypoint `/app`: it is a directory";
    a_dangling_link: Fake::scratch().link("app/x", "y"), "/app/x",
        "cannot start the entrypoint `/app/x`: it is a link to /app/y, which is not in the image";
    a_loop_of_links: Fake::scratch().link("app/x", "x"), "/app/x",
        "cannot start the entrypoint `/app/x`: it is a loop of links";
    a_file_of_another_user:
        Fake::scratch().file("app/x", Permissions { mode: 0o700, ..ALL }, ExecutableFormat::Elf(None)), "/app/x",
        "cannot start the entrypoint `/app/x`: it is out of reach: user 1000 lacks permission for /app/x";
    a_folder_of_another_user:
        Fake::scratch().file("root/x", ALL, ExecutableFormat::Elf(None)).node("root", PathNode::Directory(Permissions { mode: 0o700, ..ALL })),
        "/root/x",
        "cannot start the entrypoint `/root/x`: it is out of reach: user 1000 lacks permission for /root";
    a_missing_file_for_python: Fake::scratch(), "python manage.py",
        "cannot start the entrypoint `python`: the file `manage.py` is not in the image";
    a_missing_submodule: Fake { modules: vec!["svc"], ..Fake::scratch() }, "python -m svc.nope.x",
        "cannot start the entrypoint `python`: the module `svc.nope` is neither in the source nor in the environment nor in the standard library";
    a_missing_module: Fake::scratch(), "python -m svc.main",
        "cannot start the entrypoint `python`: the module `svc` is neither in the source nor in the environment nor in the standard library";
}

#[test]
fn without_an_entrypoint_the_command_is_checked() {
    let error = check(&Fake::scratch(), &process(&[], &["bash"], &[])).unwrap_err();
    assert_eq!((error.role, error.program.as_str()), (Role::Command, "bash"));
    assert_eq!(
        check(&Fake::scratch(), &process(&["python"], &["bash"], &[])).err().map(|e| e.to_string()),
        Some("cannot start the entrypoint `python`: the file `bash` is not in the image".to_owned())
    );
    assert_eq!(check(&Fake::scratch(), &process(&[], &[], &[])), Ok(StartVerdict::Good));
}

#[test]
fn the_inherited_command_is_checked() {
    let inherited = ["/entry.sh".to_owned()];
    let process = process(&[], &[], &[]);
    let started = StartCheck { process: &process, inherited: &inherited, on_base: true, scripts: &[] };
    assert_eq!(started.check(&Fake::debian()).unwrap_err().fault, StartFault::Absent);
    assert_eq!(started.check(&Fake::debian().script("entry.sh", "/bin/sh")), Ok(StartVerdict::Good));
}

#[test]
fn the_health_check_s_program_is_checked() {
    let role =
        |test: &[&str]| check(&Fake::scratch(), &process(&["uvicorn"], &[], test)).err().map(|e| e.role);
    assert_eq!(role(&["CMD", "curl", "-f", "x"]), Some(Role::HealthCheck));
    assert_eq!(role(&["CMD-SHELL", "true"]), Some(Role::HealthCheck));
    assert_eq!(role(&["NONE"]), None);
    assert_eq!(role(&["CMD", "python", "-c", "pass"]), None);
}

#[test]
fn an_unknown_file_gives_an_unknown_verdict() {
    let files = Fake { unknown: Some(path("app/.venv/bin/uvicorn")), ..Fake::scratch() };
    assert_eq!(check(&files, &process(&["uvicorn"], &[], &[])), Ok(StartVerdict::Unknown));
}

#[test]
fn the_help_depends_on_the_missing_file() {
    let help = |files: &Fake, words: &[&str]| check(files, &process(words, &[], &[])).unwrap_err().help;
    assert!(help(&Fake::scratch(), &["/app/.venv/bin/svc-run"]).contains("[project.scripts]"));
    assert!(help(&Fake::scratch(), &["bash", "-c", "x"]).contains("no shell"));
    assert!(help(&Fake::scratch(), &["gunicorn"]).contains("declare the distribution"));
    assert!(help(&Fake::scratch(), &["/app/main.py"]).contains("chmod +x"));
    let windows = Fake::debian().script("app/a", "/bin/sh\r");
    assert!(help(&windows, &["/app/a"]).contains("carriage return"));
}
