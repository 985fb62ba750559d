//! The files of a checked image for [`StartCheck`](crate::plan::start::StartCheck), and the process of
//! its configuration.

use std::time::Duration;

use super::image::CheckedImage;
use crate::base::NodeKind;
use crate::image::{DEFAULT_PATH, Healthcheck, Process};
use crate::plan::start::{ExecutableFormat, ImageFiles, LINE_LIMIT, PathNode, Permissions, may_have_module};
use crate::settings::User;
use crate::tree::ImagePath;

impl ImageFiles for CheckedImage {
    fn node(&self, path: &ImagePath) -> Option<PathNode> {
        let Some(node) = self.lookup(path) else { return Some(PathNode::Absent) };
        let access = Permissions { mode: node.mode, uid: node.uid, gid: node.gid };
        Some(match &node.kind {
            NodeKind::Directory => PathNode::Directory(access),
            NodeKind::Symlink(target) => PathNode::Link(target.to_string()),
            NodeKind::Device => PathNode::Other,
            NodeKind::File => PathNode::File(access, self.format(path)),
        })
    }

    fn has_module(&self, name: &str) -> Option<bool> {
        may_have_module(self.iter().map(|(path, _)| path), name)
    }
}

impl CheckedImage {
    /// Returns the executable format of the file at `path`.
    fn format(&self, path: &ImagePath) -> ExecutableFormat {
        if let Some(description) = self.elf(path) {
            return ExecutableFormat::Elf(description.elf.interpreter);
        }
        let Some(start) = self.start(path, LINE_LIMIT) else { return ExecutableFormat::Unknown };
        ExecutableFormat::of_start(&start)
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
