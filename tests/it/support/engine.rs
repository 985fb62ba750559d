//! Docker: images and containers of a test, removed at its end.

use std::process::Command;

use serde_json::Value;

use super::{Outcome, eventually, run};

/// A running Docker engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Engine {
    program: &'static str,
}

/// A running container.
#[derive(Debug)]
pub(crate) struct Container {
    pub id: String,
}

impl Engine {
    /// Returns the engine of `DOCKER_HOST`, or the machine's. Required on CI: `.ci/engine cargo
    /// test`.
    pub(crate) fn find() -> Self {
        let answers = Command::new("docker")
            .args(["version", "--format", "{{.Server.Version}}"])
            .output()
            .is_ok_and(|output| output.status.success());
        if !answers {
            super::skip("no Docker engine answers; `.ci/engine cargo test` brings one");
        }
        Self { program: "docker" }
    }

    #[track_caller]
    pub(crate) fn docker(self, arguments: &[&str]) -> Outcome {
        run(Command::new(self.program).args(arguments))
    }

    /// Runs a container in the background.
    #[track_caller]
    pub(crate) fn start(self, arguments: &[&str]) -> Container {
        let outcome = self.docker(&[&["run", "--detach"], arguments].concat()).success();
        Container { id: outcome.text().trim().to_owned() }
    }
}

impl Container {
    /// Runs a program in the container.
    #[track_caller]
    pub(crate) fn exec(&self, arguments: &[&str]) -> Outcome {
        run(Command::new("docker").args(["exec", &self.id]).args(arguments))
    }

    /// Runs Python in the container; returns its output.
    #[track_caller]
    pub(crate) fn python(&self, script: &str) -> String {
        let outcome = self.exec(&["/app/.venv/bin/python", "-c", script]).success();
        outcome.text().trim_end().to_owned()
    }

    /// Returns the output of `docker inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self) -> Value {
        let outcome = run(Command::new("docker").args(["container", "inspect", &self.id])).success();
        super::layout::json(&outcome.stdout)[0].clone()
    }

    pub(crate) fn logs(&self) -> String {
        let outcome = run(Command::new("docker").args(["logs", &self.id]));
        format!("{}{}", String::from_utf8_lossy(&outcome.stdout), outcome.stderr)
    }

    /// Waits for a healthy status; fails at once if the container ends.
    #[track_caller]
    pub(crate) fn wait_healthy(&self) {
        eventually("the container is healthy", || {
            let state = &self.inspect()["State"];
            assert_eq!(state["Status"], "running", "{state:#}\n{}", self.logs());
            (state["Health"]["Status"] == "healthy").then_some(())
        });
    }

    /// Stops the container with SIGTERM; returns its exit code.
    #[track_caller]
    pub(crate) fn stop(&self) -> i64 {
        run(Command::new("docker").args(["stop", "--time", "10", &self.id])).success();
        self.inspect()["State"]["ExitCode"].as_i64().expect("an exit code")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- logs of the container\n{}", self.logs());
        }
        run(Command::new("docker").args(["rm", "--force", "--volumes", &self.id]));
    }
}
