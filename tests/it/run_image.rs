//! `ipo-oci run`: images run in the foreground, without a container engine.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::http::{get, wait_for};
use crate::support::{
    Outcome, Project, binary, eventually, free_port, has, ipo_oci, is_root, outcome, output_of, requires,
    run, unprivileged_env,
};
use test_macros::test;

/// A server that answers with a file of its source, and ends by SIGTERM unless `MODE` is `deaf`.
const SERVER: &str = r#"
import http.server
import os
import signal
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with open("/app/app/answer.txt", "rb") as file:
            self.wfile.write(file.read())

    def log_message(self, *_):
        pass


def stop(*_):
    print("stopped", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("MODE") == "deaf" else stop)
http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
"#;

const SETTINGS: &str = r#"
[project]
name = "service"
version = "1"

[tool.ipo-oci]
entrypoint = ["{python}", "-m", "app.server"]
port = 8000
env = { PORT = "8000" }
healthcheck = "/"
"#;

/// Prints the facts about a container, and exits with 7.
const FACTS: &str = r#"
import os, sys
print("user", os.getuid(), "secret", open("/run/secrets/db").read(), oct(os.stat("/run/secrets/db").st_mode))
print("env", os.environ["A"], os.environ["B"], "arguments", sys.argv[1:])
for path in ["/run/secrets/db", "/data/new", "/input"]:
    try:
        open(path, "w").close()
        print("wrote", path)
    except OSError as error:
        print("refused", path, error.strerror)
print("input", open("/input").read(), "stdin", repr(sys.stdin.read()), file=sys.stderr)
sys.exit(7)
"#;

fn project() -> Project {
    let files = [
        ("pyproject.toml", SETTINGS),
        ("app/__init__.py", ""),
        ("app/server.py", SERVER),
        ("app/answer.txt", "first"),
    ];
    Project::of(&files)
}

/// Returns the reference of an image of the server.
fn image() -> String {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = crate::support::target_dir().join("run-image");
        let _ = fs_err::remove_dir_all(&folder);
        project().build(&["-o", &format!("oci:{}", folder.display())]);
        folder
    });
    format!("oci:{}", folder.display())
}

/// A running command, killed on drop.
struct Running {
    child: Option<Child>,
    port: u16,
}

impl Running {
    /// Starts a server on a free port, and waits until it answers.
    fn server(mut command: Command) -> Self {
        let port = free_port();
        command.args(["--port", &port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let running = Self { child: Some(child.expect("ipo-oci")), port };
        wait_for(port, "/");
        running
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("a child").id().to_string();
        run(Command::new("kill").args(["-s", name, &id])).success();
    }

    fn end(mut self) -> Outcome {
        let output = self.child.take().expect("a child").wait_with_output().expect("an output");
        outcome(&Command::new("ipo-oci run"), output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run_image(reference: &str, arguments: &[&str]) -> Command {
    let mut command = ipo_oci();
    command.arg("run").arg(reference).args(arguments);
    command
}

/// Writes a secret that its owner alone can read, an input, and a folder for output.
fn inputs(folder: &Path, owner: Option<u32>) -> [String; 3] {
    use std::os::unix::fs::{PermissionsExt, chown};
    let place = |name: &str| folder.join(name).display().to_string();
    fs_err::write(place("secret"), "s3cret").expect("a file");
    fs_err::set_permissions(place("secret"), PermissionsExt::from_mode(0o600)).expect("a mode");
    fs_err::write(place("given"), "given").expect("a file");
    // The link has a target that the container does not have.
    std::os::unix::fs::symlink(place("given"), place("input")).expect("a link");
    fs_err::create_dir(place("out")).expect("a folder");
    fs_err::set_permissions(place("out"), PermissionsExt::from_mode(0o777)).expect("a mode");
    for path in [folder.to_path_buf(), place("secret").into(), place("out").into()] {
        chown(path, owner, owner).expect("an owner");
    }
    [
        format!("db={}", place("secret")),
        format!("{}:/data:rw", place("out")),
        format!("{}:/input", place("input")),
    ]
}

/// Returns the arguments of a container that prints its facts.
fn facts<'a>([secret, out, input]: &'a [String; 3], file: &'a str) -> Vec<&'a str> {
    vec![
        "--secret",
        secret,
        "--volume",
        out,
        "--volume",
        input,
        "--env-file",
        file,
        "-e",
        "B=2",
        "--entrypoint",
        "python",
        "--",
        "-c",
        FACTS,
        "x y",
    ]
}

const PRINTED: &str = "user 1000 secret s3cret 0o100400\nenv 1 2 arguments ['x y']\n\
                       refused /run/secrets/db Read-only file system\nwrote /data/new\n\
                       refused /input Read-only file system\n";

#[test]
fn each_runtime_runs_a_program_with_secrets_and_volumes() {
    for runtime in ["crun", "runc", "own"] {
        if runtime != "own" && !has(runtime) || runtime == "runc" && !is_root() {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let inputs = inputs(folder.path(), None);
        let variables = folder.path().join("variables");
        fs_err::write(&variables, "A=1\n").expect("a file");
        let arguments = facts(&inputs, variables.to_str().expect("UTF-8"));
        let outcome =
            run(&mut run_image(&image(), &[&["--runtime", runtime], &arguments[..]].concat())).exits_with(7);
        assert_eq!(outcome.text(), PRINTED, "{runtime}: {}", outcome.describe());
        assert!(outcome.stderr.ends_with("input given stdin ''\n"), "{runtime}: {}", outcome.describe());
        assert!(outcome.stderr.starts_with(&format!("running {}\n", image())), "{}", outcome.describe());
        assert!(folder.path().join("out/new").exists());
    }
}

#[test]
fn an_unprivileged_user_runs_an_image_with_a_secret() {
    requires("unshare");
    let folder = tempfile::tempdir().expect("a folder");
    let owner = is_root().then_some(65534);
    let inputs = inputs(folder.path(), owner);
    let variables = folder.path().join("variables");
    fs_err::write(&variables, "A=1\n").expect("a file");
    let place = |name: &str| folder.path().join(name).display().to_string();
    fs_err::copy(binary(), place("ipo-oci")).expect("a copy");
    crate::support::copy_folder(Path::new(image().trim_start_matches("oci:")), &folder.path().join("image"));
    run(Command::new("chmod").args(["-R", "a+rX", &place("image"), &place("ipo-oci")])).success();
    let mut command = unprivileged_env();
    command.args(["PATH=/usr/bin:/bin", &format!("HOME={}", folder.path().display())]);
    command.args([&place("ipo-oci"), "run", &format!("oci:{}", place("image"))]);
    command.args(facts(&inputs, variables.to_str().expect("UTF-8")));
    let outcome = run(&mut command).exits_with(7);
    assert_eq!(outcome.text(), PRINTED, "{}", outcome.describe());
}

#[test]
fn the_first_signal_stops_and_the_second_kills() {
    for signal in ["INT", "TERM", "HUP"] {
        let running = Running::server(run_image(&image(), &[]));
        running.signal(signal);
        let port = running.port;
        let outcome = running.end().success();
        assert_eq!(outcome.text(), "stopped\n", "{}", outcome.describe());
        let started = format!("running {} at http://127.0.0.1:{port}\n", image());
        assert_eq!(outcome.stderr, started);
    }
    let running = Running::server(run_image(&image(), &["-e", "MODE=deaf", "--stop-timeout", "100s"]));
    running.signal("INT");
    running.signal("INT");
    running.end().exits_with(137);
    let running = Running::server(run_image(&image(), &["-e", "MODE=deaf", "--stop-timeout", "1s"]));
    running.signal("TERM");
    running.end().exits_with(137);
}

#[test]
fn a_killed_command_leaves_nothing_behind() {
    let cache = tempfile::tempdir().expect("a folder");
    let secret = cache.path().join("secret");
    fs_err::write(&secret, "s3cret").expect("a file");
    let secret = format!("db={}", secret.display());
    let folder = cache.path().join("cache");
    let arguments = ["--cache-dir", folder.to_str().expect("UTF-8"), "--secret", &secret];
    let running = Running::server(run_image(&image(), &arguments));
    let port = running.port;
    // The secret is in memory: no file of the cache has it.
    let found = output_of("grep", ["-rl", "s3cret", cache.path().to_str().expect("UTF-8")]);
    assert_eq!(found.lines().collect::<Vec<_>>(), [cache.path().join("secret").to_str().expect("UTF-8")]);
    running.signal("KILL");
    eventually("the end of the server", || get(port, "/").err());
    eventually("the removal of the files", || {
        let left = fs_err::read_dir(&folder).expect("a folder").flatten();
        let names: Vec<_> = left.map(|entry| entry.file_name()).collect();
        (!names.iter().any(|name| name.to_string_lossy().starts_with("build-"))).then_some(())
    });
}

#[test]
fn standard_input_is_passed_on() {
    let mut command = run_image(&image(), &["-q", "--interactive", "--entrypoint", "python"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ipo-oci");
    child.stdin.take().expect("a pipe").write_all(b"print(6 * 7)\n").expect("written");
    let output = child.wait_with_output().expect("an output");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"42\n"[..]));
}

/// Types into a program behind a terminal, and prints its output. Each input follows its prompt.
const TERMINAL: &str = r#"
import os, pty, sys
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
output = b""

def wait_for(text):
    global output
    while text not in output:
        output += os.read(terminal, 1 << 16)
    before, _, output = output.partition(text)
    print(before.decode(errors="replace"))

wait_for(b">>> ")
os.write(terminal, b"import os; print('tty', os.isatty(0), os.environ['TERM'])\r")
wait_for(b"tty True")
wait_for(b">>> ")
os.write(terminal, b"\x03")
wait_for(b"KeyboardInterrupt")
wait_for(b">>> ")
os.write(terminal, b"exit(5)\r")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"#;

#[test]
fn a_terminal_is_passed_on_with_its_interrupts() {
    for runtime in ["crun", "own"] {
        if runtime != "own" && !has(runtime) {
            continue;
        }
        let mut command = Command::new("timeout");
        command.args(["120", "/usr/bin/python3", "-c", TERMINAL]).arg(binary());
        command.args(["run", &image(), "-q", "-i", "-e", "PYTHON_BASIC_REPL=1", "--runtime", runtime]);
        command.args(["-e", "TERM=xterm", "--entrypoint", "python", "--", "-q"]);
        crate::support::clean_environment(&mut command);
        run(&mut command).exits_with(5);
    }
}

#[test]
fn the_dev_target_sees_changes_of_the_source() {
    let project = project();
    let mut command = project.command("run");
    command.args(["--target", "dev"]);
    let running = Running::server(command);
    assert_eq!(get(running.port, "/").expect("an answer").body, "first");
    project.write("app/answer.txt", "second");
    assert_eq!(get(running.port, "/").expect("an answer").body, "second");
    running.signal("INT");
    let outcome = running.end().success();
    assert!(outcome.stderr.contains(", with the source of this machine\n"), "{}", outcome.describe());

    let write = ["--entrypoint", "python", "--", "-c", "open('/app/app/new', 'w')"];
    let refused = run(project.command("run").args(["--target", "dev"]).args(write)).exits_with(1);
    assert!(refused.stderr.contains("Read-only file system"), "{}", refused.describe());
    let path = project.path().to_path_buf();
    // The image's user is another than root, to whom the folder belongs.
    run(Command::new("chmod").arg("a+rwx").arg(path.join("app"))).success();
    run(project.command("run").args(["--target", "runtime", "--source", "writable"]).args(write)).success();
    assert!(path.join("app/new").exists());
}

#[test]
fn a_module_beside_the_environment_is_mounted_alone_and_named() {
    let settings = SETTINGS.replace("\"-m\", \"app.server\"", "\"/app/main.py\"");
    let project = Project::of(&[("pyproject.toml", &settings), ("main.py", "print('first')\n")]);
    let mut command = project.command("run");
    let outcome = run(command.args(["--target", "dev"])).success();
    assert_eq!(outcome.text(), "first\n", "{}", outcome.describe());
    assert!(outcome.stderr.contains("main.py: mounted one by one"), "{}", outcome.describe());
}

#[test]
fn a_port_is_checked_before_the_start() {
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0)).expect("a socket");
    let port = taken.local_addr().expect("an address").port().to_string();
    let outcome = run(&mut run_image(&image(), &["--port", &port])).exits_with(1);
    let expected = format!("error: cannot use port {port}: address already in use\n");
    assert!(outcome.stderr.starts_with(&expected), "{}", outcome.describe());
}

#[test]
fn wrong_usage_is_refused() {
    for (arguments, code, reason) in [
        (&["--secret", "../x=/etc/passwd"][..], 2, "write a NAME of letters"),
        (&["--secret", "x=/none"], 1, "cannot read /none: no such file or directory"),
        (&["--secret", "x=/dev/zero"], 1, "cannot read /dev/zero: a secret has at most 1048576 bytes"),
        (&["--secret", "x=/etc/passwd", "--secret", "x=/etc/group"], 2, "several secrets with the name x"),
        (&["--volume", "/none:/x"], 1, "cannot read /none: no such file or directory"),
        (&["--volume", "/etc:/"], 2, "the root of the container cannot be replaced"),
        (&["--source", "mounted"], 2, "cannot use --source mounted for an image"),
        (&["--entrypoint", "nosuch"], 1, "program not found in the image: nosuch"),
        (&["--runtime", "crun", "--engine", "docker"], 2, "cannot be used with"),
    ] {
        let outcome = run(&mut run_image(&image(), arguments)).exits_with(code);
        assert!(outcome.stderr.contains(reason), "{reason}: {}", outcome.describe());
    }
    let project = project();
    let several = run(project.command("run").args(["--process", "web,web2"])).exits_with(1);
    assert!(several.stderr.contains("process `web2` not found"), "{}", several.describe());
}

#[test]
fn an_engine_runs_the_image() {
    if !has("docker") || !run(Command::new("docker").args(["ps", "--quiet"])).status.success() {
        crate::support::skip("no engine is running");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = inputs(folder.path(), is_root().then_some(1000));
    let variables = folder.path().join("variables");
    fs_err::write(&variables, "A=1\n").expect("a file");
    let engine = ["--engine", "docker", "--network", "host"];
    let arguments = facts(&inputs, variables.to_str().expect("UTF-8"));
    let outcome = run(&mut run_image(&image(), &[&engine[..], &arguments].concat())).exits_with(7);
    let owned = PRINTED.replace("0o100400", "0o100600");
    assert_eq!(outcome.text(), owned, "{}", outcome.describe());
    let running = Running::server(run_image(&image(), &engine));
    running.signal("INT");
    let outcome = running.end().success();
    assert_eq!(outcome.text(), "stopped\n", "{}", outcome.describe());
    let left = output_of("docker", ["ps", "--all", "--format", "{{.Names}}"]);
    assert!(!left.lines().any(|line| line.starts_with("ipo-oci-test-")), "{left}");
}
