//! IPO601 to IPO603: modes and owners that give more rights than a service needs.

use std::collections::BTreeMap;

use crate::base::NodeKind;
use crate::check::diagnostic::{Diagnostic, Reporter};
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::tree::ImagePath;

const CODES: [&str; 3] = ["IPO601", "IPO602", "IPO603"];
/// Set-user-ID and set-group-ID.
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_ALL: u32 = 0o002;

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !reporter.wants(&CODES) {
        return;
    }
    let user = image.user();
    let (mut set_id, mut shared) = (BTreeMap::<String, Vec<ImagePath>>::new(), BTreeMap::new());
    let mut writable_sources = Vec::new();
    for (path, node) in image.iter().filter(|(_, node)| node.is_own()) {
        if node.is_file() && node.mode & SET_ID != 0 && node.mode & 0o111 != 0 {
            set_id.entry(set_id_message(node)).or_default().push(path.clone());
        }
        // The mode of a link has no effect. A sticky directory, such as /tmp, is shared safely.
        let is_sticky = node.is_directory() && node.mode & STICKY != 0;
        if node.mode & WRITABLE_BY_ALL != 0
            && !is_sticky
            && matches!(node.kind, NodeKind::File | NodeKind::Directory)
        {
            let what = if node.is_directory() { "directory" } else { "file" };
            let message = format!("is a {what} that every user may write (mode {:o})", node.mode);
            shared.entry(message).or_insert_with(Vec::new).push(path.clone());
        }
        if node.is_file() && image.is_source(path) && is_program(path) && user.may_write(node) {
            writable_sources.push(path.clone());
        }
    }
    for (code, groups, way_out) in [
        ("IPO601", set_id, "remove the bit (chmod a-s FILE), or remove the program, if unused"),
        ("IPO602", shared, "remove the permission: chmod o-w FILE"),
    ] {
        for (message, paths) in groups {
            let owner = paths.first().and_then(|path| image.owner(path));
            let found = Diagnostic::new(code, message).of(owner.as_ref()).at_all(paths);
            reporter.report(found.with_help(way_out));
        }
    }
    if let Some(first) = writable_sources.first().cloned() {
        let owner = image.owner(&first);
        reporter.report(
            Diagnostic::new(
                "IPO603",
                format!("is source that the user of the process ({}) may write", user.name()),
            )
            .of(owner.as_ref())
            .at_all(writable_sources)
            .with_help("leave the source to root, and name directories for data in the setting `writable`"),
        );
    }
}

fn set_id_message(node: &CheckedNode) -> String {
    let who = match (node.mode & 0o4000, node.mode & 0o2000) {
        (0, _) => format!("group {}", node.gid),
        (_, 0) => format!("user {}", node.uid),
        _ => format!("user {} and group {}", node.uid, node.gid),
    };
    format!("runs as {who} whoever starts it (mode {:o})", node.mode)
}

/// Returns true for Python source and other scripts: files that the process runs.
fn is_program(path: &ImagePath) -> bool {
    [".py", ".so", ".sh"].iter().any(|suffix| path.as_str().ends_with(suffix))
}
