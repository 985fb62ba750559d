//! [`CheckedUser`]: the user of the process, resolved as a container runtime does.
//!
//! OCI image specification 1.1, `config.md`, `User`; names are looked up in the image's
//! `/etc/passwd` and `/etc/group`.

use super::image::CheckedImage;
use super::node::CheckedNode;
use crate::tree::ImagePath;

/// The user and group of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedUser {
    /// The user as written in the configuration; empty for none.
    pub(crate) written: String,
    /// The user ID; `None` for a name that the image does not have.
    pub(crate) uid: Option<u64>,
    /// The group ID; `None` for a name that the image does not have.
    pub(crate) gid: Option<u64>,
    /// The home directory of the account, if there is an account.
    pub(crate) home: Option<String>,
}

/// An account of `/etc/passwd`.
struct PasswdLine<'a> {
    name: &'a str,
    uid: u64,
    gid: u64,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

impl CheckedUser {
    pub(super) fn of(image: &CheckedImage) -> Self {
        let written = image.config.user.clone().unwrap_or_default();
        let (user, group) = match written.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (written.as_str(), None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let passwd = text(image, "/etc/passwd");
        let accounts: Vec<PasswdLine<'_>> = passwd.lines().filter_map(PasswdLine::parse).collect();
        let number = user.parse::<u64>().ok();
        let account = accounts
            .iter()
            .find(|account| account.name == user || number.is_some_and(|uid| uid == account.uid));
        let gid = match group {
            Some(group) => group.parse().ok().or_else(|| group_of(&text(image, "/etc/group"), group)),
            None => account.map(|account| account.gid).or(number.map(|_| 0)),
        };
        Self {
            uid: number.or(account.map(|account| account.uid)),
            gid,
            home: account.map(|account| account.home.to_owned()),
            written,
        }
    }

    /// Returns the user as written, `root` for none.
    pub(crate) fn name(&self) -> &str {
        if self.written.is_empty() { "root" } else { &self.written }
    }

    /// Returns true for the user with all rights.
    pub(crate) fn is_root(&self) -> bool {
        self.uid == Some(0)
    }

    /// Returns true if the permission bits let the user write, as for a user other than root.
    pub(crate) fn may_write(&self, node: &CheckedNode) -> bool {
        self.has(node, 0o2)
    }

    fn has(&self, node: &CheckedNode, bit: u32) -> bool {
        let shift = if self.uid == Some(node.uid) {
            6
        } else if self.gid == Some(node.gid) {
            3
        } else {
            0
        };
        node.mode >> shift & bit != 0
    }
}

fn text(image: &CheckedImage, path: &str) -> String {
    let path = ImagePath::new(path).ok().and_then(|path| Some(image.find(&path)?.0));
    path.and_then(|path| image.text(&path)).unwrap_or_default()
}

fn group_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}
