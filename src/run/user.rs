//! [`ContainerUser`]: the user of a container, from the accounts of its image (passwd(5), group(5)).

use serde::{Deserialize, Serialize};

use super::RunError;

/// User, groups and home of a container's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContainerUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

impl ContainerUser {
    /// Resolves `USER[:GROUP]`, each a name or a number, as Docker does (moby, `pkg/user`:
    /// `GetExecUser`): the group of a user without a written one is that of `/etc/passwd`, else 0, and
    /// supplementary groups count without a written group only.
    pub(super) fn resolve(text: &str, passwd: &str, group: &str) -> Result<Self, RunError> {
        let (user, written_group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let number = if user.is_empty() { Some(0) } else { user.parse::<u32>().ok() };
        let account = rows(passwd).find(|row| match number {
            Some(number) => field(row, 2).parse() == Ok(number),
            None => field(row, 0) == user,
        });
        let uid = match (&account, number) {
            (_, Some(number)) => number,
            (Some(account), None) => field(account, 2).parse().map_err(|_| unknown("user", user))?,
            (None, None) => return Err(unknown("user", user)),
        };
        let name = account.as_ref().map_or("", |account| field(account, 0));
        let is_member =
            |row: &Vec<&str>| !name.is_empty() && field(row, 3).split(',').any(|member| member == name);
        let (gid, groups) = if let Some(text) = written_group {
            let row = rows(group).find(|row| field(row, 0) == text);
            let found = row.and_then(|row| field(&row, 2).parse().ok()).or_else(|| text.parse().ok());
            (found.ok_or_else(|| unknown("group", text))?, Vec::new())
        } else {
            let gid = account.as_ref().and_then(|account| field(account, 3).parse().ok()).unwrap_or(0);
            let members = rows(group).filter(is_member);
            let mut groups: Vec<u32> = members.filter_map(|row| field(&row, 2).parse().ok()).collect();
            groups.retain(|group| *group != gid);
            (gid, groups)
        };
        let home = account.as_ref().map(|account| field(account, 5)).filter(|home| !home.is_empty());
        Ok(Self { uid, gid, groups, home: home.unwrap_or("/").to_owned() })
    }

    /// Returns the permission bits, 0 to 7, that the user has for a file, without those of root.
    pub(super) fn access(&self, mode: u32, owner: u64, group: u64) -> u32 {
        let is_in = |group: u64| {
            u64::from(self.gid) == group || self.groups.iter().any(|own| u64::from(*own) == group)
        };
        let shift = match (u64::from(self.uid) == owner, is_in(group)) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        mode >> shift & 7
    }
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn field<'a>(row: &[&'a str], index: usize) -> &'a str {
    row.get(index).copied().unwrap_or_default()
}

fn unknown(kind: &'static str, name: &str) -> RunError {
    RunError::Account { kind, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:50:app:/home/app:/bin/sh\nodd\nbad:x:y:z::\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:\naudio:x:29:app,other\nmore:x:30:other\n";

    #[test]
    fn resolves_names_and_numbers() {
        for (text, uid, gid, groups, home) in [
            ("", 0, 0, &[][..], "/root"),
            ("app", 1000, 50, &[29], "/home/app"),
            ("1000", 1000, 50, &[29], "/home/app"),
            ("app:more", 1000, 30, &[], "/home/app"),
            ("1000:7", 1000, 7, &[], "/home/app"),
            ("77", 77, 0, &[], "/"),
            ("77:audio", 77, 29, &[], "/"),
            ("app:", 1000, 50, &[29], "/home/app"),
        ] {
            let user = ContainerUser::resolve(text, PASSWD, GROUP).unwrap();
            assert_eq!(
                (user.uid, user.gid, user.groups.as_slice(), user.home.as_str()),
                (uid, gid, groups, home)
            );
        }
        for text in ["none", "bad", "app:none", "none:0"] {
            assert!(
                matches!(ContainerUser::resolve(text, PASSWD, GROUP), Err(RunError::Account { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn access_is_that_of_one_class() {
        let user = ContainerUser::resolve("app", PASSWD, GROUP).unwrap();
        for (mode, owner, group, access) in [
            (0o751, 1000, 0, 7),
            (0o751, 0, 50, 5),
            (0o751, 0, 29, 5),
            (0o751, 0, 0, 1),
            (0o077, 1000, 50, 0),
        ] {
            assert_eq!(user.access(mode, owner, group), access, "{mode:o} {owner}:{group}");
        }
    }
}
