//! Adding an account to those of a base (passwd(5), group(5)).

use super::BaseError;
use super::node::NodeKind;
use super::view::View;
use crate::system::Account;
use crate::tree::{Content, Entry, ImagePath, Owner, Time};

/// Content of the files in a base without them.
const PASSWD: &[u8] =
    b"root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n";
const GROUP: &[u8] = b"root:x:0:\nnogroup:x:65534:\n";

/// The account of an image on a base.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// The changed files; empty if the base has user and group.
    pub entries: Vec<Entry>,
    /// Name of the account: the base's own for this number, else the wanted one, with a suffix if
    /// taken.
    pub name: String,
}

/// Adds `account` to the base's `/etc/passwd` and `/etc/group`. Existing bytes stay, missing lines
/// are appended. A number that exists keeps its line.
pub fn accounts(view: &View, account: &Account) -> Result<Accounts, BaseError> {
    let Account { name: wanted, uid, gid, home } = account;
    let passwd = AccountFile::of(view, "etc/passwd", PASSWD)?;
    let name = passwd.name_of(*uid).unwrap_or_else(|| passwd.free_name(wanted, *uid));
    let group = AccountFile::of(view, "etc/group", GROUP)?;
    let group_name = group.name_of(*gid).unwrap_or_else(|| group.free_name(wanted, *gid));
    let files = [
        passwd.with(*uid, &format!("{name}:x:{uid}:{gid}:{name}:{home}:/sbin/nologin\n")),
        group.with(*gid, &format!("{group_name}:x:{gid}:\n")),
    ];
    Ok(Accounts { entries: files.into_iter().flatten().collect(), name })
}

/// Returns the home directory of `uid` in the base's `/etc/passwd`, if the user may write to it.
pub fn writable_home(view: &View, uid: u32) -> Option<ImagePath> {
    let passwd = AccountFile::of(view, "etc/passwd", PASSWD).ok().filter(|lines| !lines.is_new)?;
    let text = String::from_utf8_lossy(&passwd.bytes);
    let mut rows = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let row = rows.find(|row| row.get(2).and_then(|number| number.parse().ok()) == Some(uid))?;
    let home = ImagePath::new(row.get(5)?).ok()?;
    let (_, node) = view.find(&home).filter(|(_, node)| node.kind == NodeKind::Directory)?;
    let writable = if node.uid == u64::from(uid) { 0o300 } else { 0o003 };
    (node.mode & writable == writable).then_some(home)
}

/// One of the two files. Both have the name in the first field and the number in the third.
struct AccountFile {
    bytes: Vec<u8>,
    /// The file in the image, with mode, owner and time of the base's.
    entry: Entry,
    is_new: bool,
}

impl AccountFile {
    fn of(view: &View, path: &str, default: &[u8]) -> Result<Self, BaseError> {
        let path = ImagePath::new(path)?;
        let place = super::resolve::resolve_path(
            view,
            path.as_str(),
            super::resolve::FinalLink::Follow,
            super::resolve::OnMissing::Allow,
        )?;
        let mut entry = Entry::file(place, Content::from(""), Owner::System);
        let Some(node) = view.lookup(&entry.path) else {
            return Ok(Self { bytes: default.to_vec(), entry, is_new: true });
        };
        // The target of a link may have any name, hence not be retained.
        let bytes = if let Some(bytes) = view.retained_bytes(&entry.path) {
            bytes.to_vec()
        } else {
            let mut bytes = Vec::new();
            view.copy(&entry.path, &mut bytes)?;
            bytes
        };
        let number =
            |number: u64| u32::try_from(number).map_err(|_| BaseError::Owner { path: path.clone(), number });
        (entry.uid, entry.gid) = (number(node.uid)?, number(node.gid)?);
        (entry.mode, entry.time) = (node.mode, Time::At(node.mtime.max(0)));
        Ok(Self { bytes, entry, is_new: false })
    }

    /// Iterates over name and number of every line with both.
    fn rows(&self) -> impl Iterator<Item = (String, u32)> {
        self.bytes.split(|byte| *byte == b'\n').filter_map(|line| {
            let text = String::from_utf8_lossy(line);
            let mut fields = text.split(':');
            let (name, number) = (fields.next()?.to_owned(), fields.nth(1)?);
            Some((name, number.parse().ok()?))
        })
    }

    fn name_of(&self, number: u32) -> Option<String> {
        self.rows().find(|row| row.1 == number).map(|row| row.0)
    }

    fn free_name(&self, wanted: &str, number: u32) -> String {
        let taken: Vec<String> = self.rows().map(|row| row.0).collect();
        let names = std::iter::once(wanted.to_owned())
            .chain(std::iter::once(format!("{wanted}{number}")))
            .chain((2..).map(|n: u64| format!("{wanted}{number}-{n}")));
        let mut free = names.filter(|name| !taken.contains(name));
        free.next().unwrap_or_else(|| wanted.to_owned())
    }

    /// Returns the file with `line`, or `None` if the base's file has the number.
    fn with(mut self, number: u32, line: &str) -> Option<Entry> {
        if self.name_of(number).is_none() {
            if self.bytes.last().is_some_and(|last| *last != b'\n') {
                self.bytes.push(b'\n');
            }
            self.bytes.extend(line.as_bytes());
        } else if !self.is_new {
            return None;
        }
        Some(Entry { kind: crate::tree::Kind::File(self.bytes.into()), ..self.entry })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tar, path, view};
    use super::*;
    use crate::tree::Kind;

    #[test]
    fn a_home_must_be_writable_by_its_user() {
        // Every file of such a layer belongs to user 7.
        let passwd = "app:x:7:7::/home/app:/bin/sh\nany:x:5:5::/tmp:/bin/sh\nweb:x:33:33::/home/app:/bin/sh\n\
                      none:x:8:8::/nonexistent:/bin/sh\nshort:x:9:9\n";
        let base = view(&[Tar::default()
            .file("etc/passwd", passwd)
            .dir("home", 0o755)
            .dir("home/app", 0o755)
            .dir("tmp", 0o1777)]);
        let home = |uid| writable_home(&base, uid).map(|home| home.to_string());
        assert_eq!(home(7).as_deref(), Some("/home/app"));
        assert_eq!(home(5).as_deref(), Some("/tmp"));
        for uid in [33, 8, 9, 10] {
            assert_eq!(home(uid), None, "{uid}");
        }
        assert_eq!(writable_home(&View::empty(), 0), None);
    }

    fn account(uid: u32) -> Account {
        Account { name: "app".to_owned(), uid, gid: uid, home: path("home/app") }
    }

    fn files(view: &View, uid: u32) -> (String, Vec<String>) {
        let Accounts { entries, name } = accounts(view, &account(uid)).unwrap();
        let text = |entry: Entry| match entry.kind {
            Kind::File(content) => {
                format!("{} {}", entry.path, String::from_utf8_lossy(&content.read().unwrap()))
            }
            other => panic!("{other:?}"),
        };
        (name, entries.into_iter().map(text).collect())
    }

    #[test]
    fn existing_bytes_stay_and_a_line_is_appended() {
        let base = view(&[Tar::default()
            .file("etc/passwd", "root:x:0:0::/root:/bin/sh\n\u{e9}:odd\n\nlast:x:5:5::/:/bin/sh")
            .file("etc/group", "root:x:0:\n")]);
        let (name, files) = files(&base, 1000);
        assert_eq!(name, "app");
        assert_eq!(
            files[0],
            "/etc/passwd root:x:0:0::/root:/bin/sh\n\u{e9}:odd\n\nlast:x:5:5::/:/bin/sh\n\
             app:x:1000:1000:app:/home/app:/sbin/nologin\n"
        );
        assert_eq!(files[1], "/etc/group root:x:0:\napp:x:1000:\n");
    }

    #[test]
    fn an_existing_number_keeps_its_line() {
        let base = view(&[Tar::default()
            .file("etc/passwd", "node:x:1000:1000::/:/bin/sh\n")
            .file("etc/group", "node:x:1000:\n")]);
        assert_eq!(files(&base, 1000), ("node".to_owned(), vec![]));
    }

    #[test]
    fn a_taken_name_gets_a_suffix() {
        let base = view(&[Tar::default()
            .file("etc/passwd", "app:x:999:1::/:/bin/sh\napp1000:x:998:1::/:/bin/sh\n")
            .file("etc/group", "app:x:999:\n")]);
        let (name, files) = files(&base, 1000);
        assert_eq!(name, "app1000-2");
        assert!(files[0].ends_with("app1000-2:x:1000:1000:app1000-2:/home/app:/sbin/nologin\n"), "{files:?}");
        assert!(files[1].ends_with("app1000:x:1000:\n"), "{files:?}");
    }

    #[test]
    fn missing_files_are_made() {
        let (_, files) = files(&View::empty(), 0);
        assert_eq!(files[0].lines().count(), 2);
        assert!(files[0].starts_with("/etc/passwd root:x:0:0:"), "{files:?}");
        assert_eq!(files[1], "/etc/group root:x:0:\nnogroup:x:65534:\n");
    }

    #[test]
    fn the_target_of_a_link_is_changed() {
        let base = view(&[Tar::default()
            .file("nix/passwd", "root:x:0:0::/:\n")
            .link("etc/passwd", "../nix/passwd")]);
        assert!(files(&base, 7).1[0].starts_with("/nix/passwd root:x:0:0::/:\napp:x:7:7:"));
    }
}
