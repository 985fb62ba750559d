//! Runs an image for a test, without a container engine: start, health, requests, graceful stop.
//!
//! [`test()`] unpacks the layers into a root file system (`rootfs`), writes an OCI runtime bundle
//! (OCI runtime specification 1.0, `bundle.md` and `config.md`; `bundle`) and starts it with the
//! first of `crun`, `runc`, `youki` and a runtime of this module (`container`) that the machine
//! permits. The health check is the image's own, run in the container as Docker runs it.
//!
//! The runtime, the container and the checks live in namespaces of their own, under an *agent*: this
//! program, started again by util-linux's `unshare` (`space`, `agent`). The agent is process 1 of
//! its namespace and ends when the pipe to the test closes, so that nothing outlives a killed test.
//! `docs/decisions.md` gives the reasons; `docs/test.md` describes the command.

#![allow(clippy::disallowed_methods)] // No layer of an environment depends on a test.

mod agent;
mod bundle;
mod config;
#[cfg(target_os = "linux")]
mod container;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod engine;
mod error;
mod foreground;
mod hints;
mod http;
mod job;
mod junit;
mod listeners;
mod log;
#[cfg(target_os = "linux")]
mod loopback;
mod options;
mod prepared;
mod process;
mod refusal;
mod report;
mod rootfs;
mod runtime;
mod secret_file;
mod session;
mod signal;
mod space;
mod test;
mod user;

#[cfg(not(target_os = "linux"))]
use elsewhere::{container, loopback};

pub use agent::{HELPER_ARGUMENT, helper_main};
pub use engine::EngineProgram;
pub use error::RunError;
pub use foreground::{ForegroundEnd, Input, RunOptions, Starting, run};
pub use junit::{Suite, junit};
pub use options::{ContainerOptions, HostMount, MountAccess, NetworkMode, RootMode};
pub use report::{StepFailure, StepOutcome, TestReport, TestStep};
pub use runtime::RuntimeName;
pub use secret_file::SecretFile;
pub use session::UrlCheck;
pub use test::{TestOptions, test};
