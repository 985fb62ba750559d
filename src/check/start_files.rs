//! The files of a checked image for [`StartCheck`](crate::plan::start::StartCheck), and the process of
//! its configuration.

use std::time::Duration;

use super::image::CheckedImage;
use super::node::CheckedKind;
use crate::image::{Healthcheck, Process};
use crate::plan::start::{ExecutableFormat, ImageFiles, LINE_LIMIT, PathNode, Permissions};
use crate::settings::User;
use crate::tree::ImagePath;

/// `PATH` of a container without the variable, as set by container engines.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Archives from which Python can import.
const ARCHIVES: [&str; 4] = [".zip", ".egg", ".pyz", ".whl"];

impl ImageFiles for CheckedImage {
    fn node(&self, path: &ImagePath) -> Option<PathNode> {
        let Some(node) = self.lookup(path) else { return Some(PathNode::Absent) };
        let access = Permissions { mode: node.mode, uid: node.uid, gid: node.gid };
        Some(match &node.kind {
            CheckedKind::Directory => PathNode::Directory(access),
            CheckedKind::Symlink(target) => PathNode::Link(target.to_string()),
            CheckedKind::Device => PathNode::Other,
            CheckedKind::File => PathNode::File(access, self.format(path)),
        })
    }

    fn has_module(&self, name: &str) -> Option<bool> {
        let mut has_archive = false;
        for (path, _) in self.iter() {
            let is_it = |part: &str| {
                part.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if path.components().any(is_it) {
                return Some(true);
            }
            has_archive |= ARCHIVES.iter().any(|kind| path.as_str().ends_with(kind));
        }
        (!has_archive).then_some(false)
    }
}

impl CheckedImage {
    /// Returns the executable format of the file at `path`.
    fn format(&self, path: &ImagePath) -> ExecutableFormat {
        if let Some(description) = self.elf(path) {
            return ExecutableFormat::Elf(description.elf.interpreter);
        }
        let Some(start) = self.start(path, LINE_LIMIT) else { return ExecutableFormat::Unknown };
        if let Some(line) = start.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return ExecutableFormat::Script(String::from_utf8_lossy(line).into_owned());
        }
        // The kernel that runs the container may know other formats (binfmt_misc).
        if start.contains(&0) { ExecutableFormat::Unknown } else { ExecutableFormat::Plain }
    }

    /// Returns the process of the configuration with another command, or another health check.
    pub(super) fn process(&self, entrypoint: &[String], healthcheck: Option<&[String]>) -> Process {
        let user = self.user();
        let number = |id: Option<u64>| id.and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let mut env = self.config.env.clone();
        if self.config.variable("PATH").is_none() {
            env.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
        }
        Process {
            // A name that the image does not have: another rule reports it.
            user: user.uid.map(|uid| User { uid: number(Some(uid)), gid: number(user.gid) }),
            workdir: self.config.workdir.as_deref().and_then(|path| ImagePath::new(path).ok()),
            env,
            entrypoint: entrypoint.to_vec(),
            healthcheck: healthcheck.map(|test| Healthcheck {
                test: test.to_vec(),
                interval: Duration::ZERO,
                timeout: Duration::ZERO,
                start_period: Duration::ZERO,
                start_interval: Duration::ZERO,
                retries: 0,
            }),
            ..Process::default()
        }
    }
}
