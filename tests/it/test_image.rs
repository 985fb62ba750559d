//! `ipo-oci test`: images are started without a container engine, checked and stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::{
    Outcome, Project, Venv, binary, copy_folder, eventually, ipo_oci, is_root, output_of, requires,
    requires_root, run, unprivileged_env,
};
use test_macros::test;

/// A service of the standard library, whose variable `MODE` chooses what goes wrong.
const SERVICE: &str = r#"
import http.server
import os
import signal
import sys
import time

MODE = os.environ.get("MODE", "")


def writable(folder):
    try:
        with open(folder + "/probe", "w"):
            return folder
    except OSError:
        return ""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({"/health": 200, "/metrics": 200, "/broken": 500}.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_):
        pass


def stop(*_):
    print("stopped", flush=True)
    sys.exit(7 if MODE == "code" else 0)


if MODE == "raise":
    raise RuntimeError("no database")
if MODE == "facts":
    print("user", os.getuid(), os.getgid(), os.getgroups(), os.environ["HOME"])
    print("process", os.getpid(), open("/proc/self/status").read().split("CapBnd:")[1].split()[0])
    print("writable", *filter(None, map(writable, ["/", "/app", "/app/data", "/data", "/tmp", "/dev/shm"])), flush=True)
if MODE == "chatty":
    for number in range(100_000):
        print(number, "x" * 50)
if MODE == "starting":
    time.sleep(600)
signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "deaf" else stop)
server = http.server.ThreadingHTTPServer(("127.0.0.1" if MODE == "local" else "", int(os.environ.get("PORT", "8000"))), Handler)
print("listening", *server.server_address, flush=True)
server.serve_forever()
"#;

const SETTINGS: &str = r#"
[project]
name = "service"
version = "1"

[tool.ipo-oci]
entrypoint = ["{python}", "/app/main.py"]
port = 8000
env = { PORT = "8000" }
volumes = ["/data"]
writable = ["data"]
healthcheck = "/health"
"#;

/// Returns a layout with images of the service: `web`, and `plain` without a health check.
fn images() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let project = Project::of(&[("pyproject.toml", SETTINGS), ("main.py", SERVICE)]);
        let parent = crate::support::target_dir().join("test-image");
        let _ = fs_err::remove_dir_all(&parent);
        fs_err::create_dir(&parent).expect("a folder");
        let folder = parent.join("service");
        let place = |tag: &str| format!("oci:{}:{tag}", folder.display());
        project.build(&["-o", &place("web")]);
        project.build(&["-o", &place("plain"), "--no-healthcheck"]);
        std::mem::forget(project);
        folder
    })
}

/// Returns the reference of one of the images.
fn image(tag: &str) -> String {
    format!("oci:{}:{tag}", images().display())
}

/// Makes another image of the service with umoci, and returns its reference.
fn configured(from: &str, tag: &str, options: &[&str]) -> String {
    requires("umoci");
    let copy = images().with_extension(tag);
    copy_folder(images(), &copy);
    let from = format!("{}:{from}", copy.display());
    output_of("umoci", [&["config", "--image", &from, "--tag", tag], options].concat());
    format!("oci:{}:{tag}", copy.display())
}

/// Tests an image.
#[track_caller]
fn test_image(reference: &str, arguments: &[&str]) -> Outcome {
    run(ipo_oci().arg("test").arg(reference).args(arguments))
}

#[test]
fn each_runtime_starts_and_stops_an_image() {
    for runtime in ["crun", "runc", "own"] {
        if runtime != "own" && !crate::support::has(runtime) || runtime == "runc" && !is_root() {
            continue;
        }
        let arguments = ["--runtime", runtime, "--get", "/metrics", "--get", "/none=404", "-e", "MODE=facts"];
        let report = tempfile::NamedTempFile::new().expect("a file");
        let junit = format!("junit={}", report.path().display());
        let outcome = test_image(&image("web"), &[&arguments[..], &["--report", &junit]].concat()).success();
        let lines: Vec<&str> = outcome.text().lines().collect();
        for (line, start) in lines.iter().skip(1).zip([
            "  ✓ unpack ",
            "  ✓ start ",
            "  ✓ healthy ",
            "  ✓ GET /metrics status 200",
            "  ✓ GET /none    status 404",
            "  ✓ stop         SIGTERM, exit code 0",
            "  passed in ",
        ]) {
            assert!(line.starts_with(start), "{runtime}: {line}");
        }
        // The user and the folders are those of a hardened deployment.
        let log = fs_err::read_to_string(report.path()).expect("a report");
        assert!(log.contains("user 1000 1000 [] /tmp\nprocess 1 0000000000000000\n"), "{runtime}: {log}");
        let writable = log.lines().find(|line| line.starts_with("writable")).expect("the folders");
        let expected = "writable /app/data /tmp /dev/shm";
        assert!(writable == expected || writable == "writable /app/data /data /tmp /dev/shm", "{writable}");
        assert!(log.contains("listening 0.0.0.0 8000\nstopped\n"), "{runtime}: {log}");
    }
}

#[test]
fn an_application_that_raises_fails_at_once_with_its_traceback() {
    let begun = Instant::now();
    let report = tempfile::NamedTempFile::new().expect("a file");
    let junit = format!("junit={}", report.path().display());
    let outcome = test_image(&image("web"), &["-e", "MODE=raise", "--timeout", "100s", "--report", &junit]);
    let outcome = outcome.exits_with(1);
    assert!(begun.elapsed() < Duration::from_secs(80), "{}", outcome.describe());
    assert!(outcome.text().contains("  │ Traceback (most recent call last):\n"), "{}", outcome.describe());
    assert!(outcome.text().contains("  │ RuntimeError: no database\n"), "{}", outcome.describe());
    assert!(
        outcome.stderr.contains("failed: healthy: the process ended with exit code 1"),
        "{}",
        outcome.describe()
    );
    let text = fs_err::read_to_string(report.path()).expect("a report");
    assert!(text.contains("failures=\"1\"") && text.contains("RuntimeError: no database"), "{text}");
}

#[test]
fn failures_have_reasons() {
    for (arguments, reason) in [
        (
            &["-e", "MODE=deaf", "--stop-timeout", "1s"][..],
            "stop: still running 1 s after SIGTERM, and killed",
        ),
        (&["-e", "MODE=code"], "stop: exit code 7 after SIGTERM, expected 0 or 143"),
        (&["--get", "/broken"], "GET /broken: status 500, expected 2xx"),
        (&["--get", "/none=200"], "GET /none: status 404, expected 200"),
        (&["-e", "MODE=starting", "--timeout", "2s"], "healthy: not within 2 s: "),
    ] {
        let outcome = test_image(&image("web"), arguments).exits_with(1);
        assert!(outcome.stderr.contains(reason), "{reason}: {}", outcome.describe());
    }
}

#[test]
fn a_port_shows_the_start_without_a_health_check() {
    let plain = configured("plain", "exposed", &["--config.exposedports", "8000/tcp"]);
    let outcome = test_image(&plain, &[]).success();
    assert!(outcome.text().contains("  ✓ listening port 8000"), "{}", outcome.describe());
    let outcome = test_image(&plain, &["-e", "MODE=raise"]).exits_with(1);
    assert!(
        outcome.stderr.contains("listening: the process ended with exit code 1"),
        "{}",
        outcome.describe()
    );
}

#[test]
fn a_service_that_nothing_outside_reaches_is_named() {
    let unreachable = "nothing outside the container reaches";
    let outcome = test_image(&image("web"), &["-e", "MODE=local"]).success();
    assert!(outcome.text().contains(unreachable), "{}", outcome.describe());
    let outcome = test_image(&image("web"), &[]).success();
    assert!(!outcome.text().contains(unreachable), "{}", outcome.describe());
}

#[test]
fn a_long_output_is_shortened() {
    let report = tempfile::NamedTempFile::new().expect("a file");
    let junit = format!("junit={}", report.path().display());
    test_image(&image("web"), &["-e", "MODE=chatty", "--report", &junit]).success();
    let text = fs_err::read_to_string(report.path()).expect("a report");
    assert!(text.len() < 300_000 && text.contains("bytes omitted"), "{} bytes", text.len());
    assert!(text.contains("stopped\n"), "the end of the output is kept");
}

#[test]
fn tests_at_the_same_time_do_not_share_ports() {
    for network in ["private", "host"] {
        let start = || {
            let mut command = ipo_oci();
            command.arg("test").arg(image("web")).args(["--network", network, "--get", "/metrics"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            (command.spawn().expect("a process"), command)
        };
        for (child, command) in [start(), start()] {
            let output = child.wait_with_output().expect("an output");
            crate::support::outcome(&command, output).success();
        }
    }
}

/// Returns the processes of this machine with `mark` in their environment.
fn processes(mark: &str) -> Vec<String> {
    let entries = fs_err::read_dir("/proc").expect("processes").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let environment = |id: &u32| fs_err::read(format!("/proc/{id}/environ")).unwrap_or_default();
    let has_mark = |id: &u32| environment(id).windows(mark.len()).any(|bytes| bytes == mark.as_bytes());
    numbers
        .filter(has_mark)
        .map(|id| fs_err::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default())
        .collect()
}

#[test]
fn a_killed_test_leaves_nothing() {
    requires_root();
    for (runtime, signal) in [("crun", "KILL"), ("own", "KILL"), ("own", "INT"), ("runc", "TERM")] {
        if runtime != "own" && !crate::support::has(runtime) || signal == "INT" && ignores_interrupts() {
            continue;
        }
        let cache = tempfile::tempdir().expect("a folder");
        let mark = format!("MARK={}", cache.path().display());
        let mut command = ipo_oci();
        command.arg("test").arg(image("web")).args(["--runtime", runtime, "--timeout", "600s"]);
        command.args(["-e", "MODE=starting", "-e", &mark]).arg("--cache-dir").arg(cache.path());
        let mut test: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process");
        // The marked processes are those of the container; the test itself has an argument.
        eventually("a container", || (!processes(&mark).is_empty()).then_some(()));
        output_of("kill", [&format!("-{signal}"), &test.id().to_string()]);
        test.wait().expect("the end");
        eventually("the end of the container", || processes(&mark).is_empty().then_some(()));
        let left =
            || fs_err::read_dir(cache.path()).expect("a folder").flatten().map(|entry| entry.file_name());
        eventually("an empty cache", || {
            (!left().any(|name| name.to_string_lossy().starts_with("build-"))).then_some(())
        });
    }
}

/// Returns true if SIGINT is ignored, as in a command that a script runs in the background: the tested
/// program inherits that.
fn ignores_interrupts() -> bool {
    let status = fs_err::read_to_string("/proc/self/status").expect("the status");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("a number") & 0b10 != 0
}

#[test]
fn images_of_other_builders_are_tested() {
    for (tag, options, arguments) in [
        ("named-user", &["--config.user", "service"][..], &[][..]),
        ("root", &["--config.user", ""], &[]),
        ("other-user", &["--config.user", "4321:99"], &[]),
        ("quit", &["--config.stopsignal", "SIGINT"], &[]),
    ] {
        let reference = configured("web", tag, options);
        test_image(&reference, arguments).success();
        test_image(&reference, &[arguments, &["--runtime", "own", "--writable"]].concat()).success();
    }
}

#[test]
fn images_that_cannot_start_are_named() {
    for (tag, options, code, reason) in [
        (
            "none",
            &["--clear", "config.entrypoint"][..],
            1,
            "cannot start the image: no entrypoint and no command",
        ),
        (
            "missing",
            &["--config.entrypoint", "/bin/none"],
            1,
            "start: program not found in the image: /bin/none",
        ),
        (
            "data",
            &["--config.entrypoint", "/app/main.py"],
            1,
            "start: /app/main.py is not executable for user 1000",
        ),
        ("user", &["--config.user", "nosuchuser"], 1, "user not found in the image: `nosuchuser`"),
        ("arch", &["--architecture", "s390x"], 5, "cannot run an image for linux/s390x on linux/"),
    ] {
        let reference = configured("web", tag, options);
        let outcome = test_image(&reference, &[]).exits_with(code);
        assert!(outcome.stderr.contains(reason), "{reason}: {}", outcome.describe());
    }
}

#[test]
fn the_example_is_tested_by_an_unprivileged_user() {
    requires("unshare");
    let project = Project::example_as("agencyos", &Venv::of_the_system());
    let image = project.beside("image");
    project.build(&["-o", &format!("oci:{}", image.display())]);
    let home = project.beside("home");
    fs_err::create_dir(&home).expect("a folder");
    let program = project.beside("ipo-oci");
    fs_err::copy(binary(), &program).expect("a copy");
    let parent = project.path().parent().expect("a parent");
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(parent)).success();
    if is_root() {
        run(Command::new("chown").arg("65534:65534").arg(&home)).success();
    }
    let mut command = unprivileged_env();
    command.arg("PATH=/usr/bin:/bin").arg(format!("HOME={}", home.display())).arg(&program);
    command.args(["test", &format!("oci:{}", image.display()), "--get", "/metrics"]);
    let outcome = run(&mut command).success();
    assert!(outcome.text().contains("  ✓ stop         SIGTERM, exit code 0"), "{}", outcome.describe());
}

#[test]
fn the_example_is_built_and_tested() {
    requires_root();
    requires("crun");
    let project = Project::example();
    let venv = Venv::pip();
    let venv = venv.path().to_str().expect("UTF-8");
    let arguments = ["--venv", venv, "--target", "all", "--get", "/metrics"];
    let outcome = run(project.command("test").arg(".").args(arguments)).success();
    assert_eq!(outcome.text().matches("  passed in ").count(), 2, "{}", outcome.describe());
    assert!(outcome.text().starts_with("agencyos:latest (linux/"), "{}", outcome.describe());
    assert!(!project.path().join("dist").exists());
    // Workers that a server restarts.
    let source = project.read("app/main.py");
    project.write("app/main.py", &format!("{source}\nraise RuntimeError(\"no database\")\n"));
    let begun = Instant::now();
    let outcome = run(project.command("test").arg(".").args(["--venv", venv])).exits_with(1);
    assert!(outcome.text().contains("  │ RuntimeError: no database\n"), "{}", outcome.describe());
    assert!(begun.elapsed() < Duration::from_secs(45), "{}", outcome.describe());
}

#[test]
fn a_machine_without_namespaces_is_named() {
    requires("unshare");
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(binary());
    let cache = tempfile::tempdir().expect("a folder");
    command.arg("test").arg(image("web")).arg("--cache-dir").arg(cache.path());
    let outcome = run(&mut command).exits_with(5);
    assert!(
        outcome.stderr.contains("cannot start a container on this machine: unshare: "),
        "{}",
        outcome.describe()
    );
    assert!(outcome.stderr.contains("(user.max_user_namespaces is 0"), "{}", outcome.describe());
}

#[test]
fn an_engine_starts_the_image() {
    requires_root();
    let mut found = false;
    for engine in ["podman", "docker"] {
        let answers = || run(Command::new(engine).args(["ps", "--quiet"])).status.success();
        if !crate::support::has(engine) || !answers() {
            continue;
        }
        found = true;
        let arguments = ["--engine", engine, "--network", "host", "--get", "/metrics"];
        // Podman's default limits need a capability that a sandbox may lack, and crun a machine with one
        // version of cgroups.
        let file = tempfile::NamedTempFile::new().expect("a file");
        let settings = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\n\
                        [engine]\nruntime = \"runc\"\n";
        fs_err::write(file.path(), settings).expect("a file");
        let test_image = |reference: &str, arguments: &[&str]| {
            let mut command = ipo_oci();
            // Podman requires the file that this variable of Docker's client names.
            command.env_remove("DOCKER_CONFIG").env("CONTAINERS_CONF", file.path());
            run(command.arg("test").arg(reference).args(arguments))
        };
        let outcome = test_image(&image("web"), &arguments).success();
        assert!(
            outcome.text().contains(&format!("  ✓ start        with {engine}")),
            "{}",
            outcome.describe()
        );
        let outcome = test_image(&image("web"), &[&arguments[..], &["-e", "MODE=raise"]].concat());
        let outcome = outcome.exits_with(1);
        assert!(outcome.text().contains("RuntimeError: no database"), "{}", outcome.describe());
        for list in
            [&["ps", "--all", "--format", "{{.Names}}"][..], &["images", "--format", "{{.Repository}}"]]
        {
            // Images of other tests are `ipo-oci-test/NAME`.
            let is_left = |line: &str| line.starts_with("ipo-oci-test-") || line.ends_with("/ipo-oci-test");
            assert!(!output_of(engine, list).lines().any(is_left), "{engine}");
        }
    }
    if !found {
        crate::support::skip("no engine is running");
    }
}

#[test]
fn wrong_usage_is_refused() {
    for (arguments, reason) in [
        (&["--get", "metrics"][..], "write a path such as /metrics"),
        (&["--report", "text"], "write junit=FILE"),
        (&["--env", "A"], "write it as KEY=VALUE"),
        (&["--runtime", "crun", "--engine", "docker"], "cannot be used with"),
    ] {
        let outcome = test_image("oci:none", arguments).exits_with(2);
        assert!(outcome.stderr.contains(reason), "{}", outcome.describe());
    }
    let layout = images().to_str().expect("UTF-8");
    let outcome = test_image(layout, &[]).exits_with(2);
    assert!(outcome.stderr.contains("is an OCI layout, and no project"), "{}", outcome.describe());
}
