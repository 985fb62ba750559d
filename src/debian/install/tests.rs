use proptest::prelude::*;

use super::testing::{TestFiles, TestPackage, install_on, listing, text};

fn package(name: &str) -> TestPackage {
    TestPackage::new(name)
}

/// Installs packages without a base, and lists the result.
fn installed(packages: Vec<TestPackage>) -> Result<Vec<String>, String> {
    match install_on(None, packages, &[]) {
        Ok((_work, installed)) => Ok(listing(&installed)),
        Err(error) => Err(error.to_string()),
    }
}

#[track_caller]
fn entries(packages: Vec<TestPackage>) -> Vec<String> {
    installed(packages).unwrap()
}

#[track_caller]
fn error(packages: Vec<TestPackage>) -> String {
    installed(packages).unwrap_err()
}

#[test]
fn one_file_in_two_packages_is_an_error() {
    assert_eq!(
        error(vec![package("b").file("./usr/x", "b"), package("a").file("./usr/x", "a")]),
        "cannot install b: /usr/x is also in a"
    );
    assert_eq!(
        error(vec![package("a").file("./lib/x", "a"), package("b").file("./usr/lib/x", "b")]),
        "cannot install b: /usr/lib/x is also in a"
    );
    assert_eq!(
        error(vec![package("a").symlink("./x", "y"), package("b").file("./x", "b")]),
        "cannot install b: /x is also in a"
    );
    assert_eq!(
        error(vec![package("a").file("./x", "a"), package("b").file("./y", "b").hard_link("./x", "./y")]),
        "cannot install b: /x is also in a"
    );
    assert_eq!(error(vec![package("a"), package("a")]), "cannot install a: given twice");
}

#[test]
fn a_replacing_package_keeps_its_files() {
    for (name, other) in [("a", "b"), ("b", "a")] {
        let replacing = || package(name).field("Replaces", &format!("{other} (<< 2)")).file("./x", "new");
        let replaced = || package(other).file("./x", "old").file("./y", "old");
        assert_eq!(entries(vec![replacing(), replaced()]), ["x: new", "y: old"]);
        let later = replaced().field("Version", "2");
        assert!(error(vec![replacing(), later]).contains("/x is also in"));
        let linking = package(other).symlink("./x", "y").file("./y", "old");
        assert_eq!(entries(vec![replacing(), linking]), ["x: new", "y: old"]);
    }
}

#[test]
fn hard_links_of_a_replaced_file_keep_its_content() {
    for (name, other) in [("a", "b"), ("b", "a")] {
        let replacing = || package(name).field("Replaces", other);
        let replaced = || {
            let package = package(other).file("./x", "old");
            package.hard_link("./y", "./x").hard_link("./z", "./x")
        };
        assert_eq!(
            entries(vec![replacing().file("./x", "new"), replaced()]),
            ["x: new", "y: old", "z = y"],
            "the file, by {name}"
        );
        assert_eq!(
            entries(vec![replacing().file("./y", "new"), replaced()]),
            ["x: old", "y: new", "z = x"],
            "a link, by {name}"
        );
        assert_eq!(
            entries(vec![replacing().file("./w", "new").hard_link("./x", "./w"), replaced()]),
            ["w: new", "x = w", "y: old", "z = y"],
            "by another link, by {name}"
        );
    }
}

#[test]
fn the_first_of_hard_links_is_the_file() {
    let linked = package("a").file("./m", "text").hard_link("./z", "./m").hard_link("./a", "./z");
    assert_eq!(entries(vec![linked]), ["a: text", "m = a", "z = a"]);
    let out = package("a").file("./m", "text").hard_link("./z", "./n");
    assert!(error(vec![out]).ends_with("path `z`: a hard link to a path that is not a file before it"));
}

#[test]
fn an_excluded_file_has_no_hard_links() {
    let linked = || package("a").file("./doc/m", "text").hard_link("./z", "./doc/m");
    let (_, error) = (0, install_on(None, vec![linked()], &["/doc/*"]).unwrap_err());
    assert_eq!(error.to_string(), "cannot install a: /z is a hard link to /doc/m, which is excluded");
    let (_work, installed) = install_on(None, vec![linked()], &["/doc/*", "/z"]).unwrap();
    assert_eq!(listing(&installed), [""; 0]);
}

#[test]
fn a_link_to_a_directory_takes_the_files_of_other_packages() {
    let linking = || package("z").directory("./data").symlink("./old", "data");
    let other = || package("a").directory("./old").file("./old/x", "a");
    assert_eq!(entries(vec![linking(), other()]), ["data/", "data/x: a", "old -> data"]);
    let looping = package("l").symlink("./one", "two").symlink("./two", "one");
    let below = package("m").file("./one/x", "m");
    assert_eq!(
        error(vec![looping, below]),
        "cannot install m: too many symbolic links in the parents of /one/x"
    );
    let escaping = package("e").symlink("./out", "../../../data");
    assert_eq!(
        entries(vec![escaping, package("f").file("./out/x", "f")]),
        ["data/", "data/x: f", "out -> ../../../data"]
    );
}

#[test]
fn a_path_is_a_file_or_a_directory() {
    let file = || package("a").file("./x", "a");
    assert_eq!(
        error(vec![file(), package("b").file("./x/y", "b")]),
        "cannot install b: /x, the parent of /x/y, is not a directory"
    );
    for name in ["b", "0"] {
        let directory = package(name).directory("./x");
        assert!(error(vec![file(), directory]).contains("/x is a directory in"), "{name}");
        let below = package(name).directory("./x/y");
        assert!(error(vec![file(), below]).contains("/x, the parent of /x/y, is not a directory"), "{name}");
    }
    let base = TestFiles::default().directory("x");
    let error = install_on(Some(&base), vec![file()], &[]).unwrap_err();
    assert_eq!(error.to_string(), "cannot install both: /x is a directory in the base and a file in a");
}

#[test]
fn diversions_move_the_files_of_other_packages() {
    let diverting = || {
        let script =
            "#!/bin/sh\nset -e\ndpkg-divert --package d --add --rename --divert /bin/x.orig /bin/x\n";
        package("d").control("preinst", script).file("./usr/bin/x", "mine")
    };
    let other = package("a").file("./usr/bin/x", "theirs");
    let expected = ["usr/", "usr/bin/", "usr/bin/x: mine", "usr/bin/x.orig: theirs"];
    let (_work, found) = install_on(None, vec![diverting(), other], &[]).unwrap();
    assert_eq!(listing(&found), expected);
    assert_eq!(text(&found, "var/lib/dpkg/diversions"), "/bin/x\n/bin/x.orig\nd\n");
    let linked = package("a").file("./usr/bin/w", "theirs").hard_link("./usr/bin/x", "./usr/bin/w");
    assert_eq!(
        entries(vec![diverting(), linked]),
        ["usr/", "usr/bin/", "usr/bin/w: theirs", "usr/bin/x: mine", "usr/bin/x.orig = usr/bin/w"]
    );
}

#[test]
fn two_architectures_of_a_package_have_files_in_common() {
    let of = |architecture: &str| {
        let package = package("l").field("Architecture", architecture).field("Multi-Arch", "same");
        package.file("./doc/l", "text").file(&format!("./lib/{architecture}/l"), architecture)
    };
    let (_work, found) = install_on(None, vec![of("amd64"), of("arm64")], &[]).unwrap();
    let lines = listing(&found);
    assert!(lines.contains(&"doc/l: text".to_owned()), "{lines:?}");
    assert!(lines.contains(&"usr/lib/arm64/l: arm64".to_owned()), "{lines:?}");
    assert!(text(&found, "var/lib/dpkg/info/l:arm64.list").contains("/doc/l\n"));
}

#[test]
fn the_files_of_a_base_belong_to_its_packages() {
    let status = "Package: old\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n";
    let base = || {
        let base = TestFiles::default().file("var/lib/dpkg/status", status).directory("var/lib/dpkg/info");
        base.file("var/lib/dpkg/info/old.list", "/.\n/x\n").file("x", "old").file("y", "nobody's")
    };
    let on = |package: TestPackage| match install_on(Some(&base()), vec![package], &[]) {
        Ok((_work, installed)) => Ok(listing(&installed)),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(on(package("a").file("./x", "a")), Err("cannot install a: /x is also in old".to_owned()));
    assert_eq!(on(package("a").file("./y", "a")).unwrap(), ["y: a"]);
    assert_eq!(on(package("a").field("Replaces", "old").file("./x", "a")).unwrap(), ["x: a"]);
    assert_eq!(on(package("old")), Err("cannot install old: the base has the package already".to_owned()));
}

#[test]
fn alternatives_of_a_base_are_chosen_anew_unless_an_administrator_chose() {
    let record = |mode: &str| format!("{mode}\n/usr/bin/awk\n\n/usr/bin/mawk\n5\n\n");
    let base = |mode: &str| {
        let base = TestFiles::default()
            .file("usr/bin/mawk", "")
            .file("var/lib/dpkg/alternatives/awk", &record(mode));
        base.symlink("etc/alternatives/awk", "/usr/bin/mawk").symlink("usr/bin/awk", "/etc/alternatives/awk")
    };
    let gawk = |priority: u32| {
        let script =
            format!("#!/bin/sh\nupdate-alternatives --install /usr/bin/awk awk /usr/bin/gawk {priority}\n");
        package("gawk").control("postinst", &script).file("./usr/bin/gawk", "")
    };
    for (mode, priority, chosen) in [("auto", 10, true), ("auto", 2, false), ("manual", 10, false)] {
        let (_work, found) = install_on(Some(&base(mode)), vec![gawk(priority)], &[]).unwrap();
        let link = "etc/alternatives/awk -> /usr/bin/gawk".to_owned();
        assert_eq!(listing(&found).contains(&link), chosen, "{mode} {priority}");
        assert_eq!(
            text(&found, "var/lib/dpkg/alternatives/awk"),
            format!("{mode}\n/usr/bin/awk\n\n/usr/bin/gawk\n{priority}\n/usr/bin/mawk\n5\n\n"),
        );
    }
}

/// Installs a package with a postinst that is configured, and lists the result and the warning.
fn configured(package: TestPackage, script: &str) -> (Vec<String>, Option<String>) {
    let accounts = TestPackage::new("base-passwd")
        .file("./usr/share/base-passwd/passwd.master", "root::0:0:::\nwww::33:33:::\n")
        .file("./usr/share/base-passwd/group.master", "root::0:\nstaff::50:\n");
    let package = package.control("postinst", &format!("#!/bin/sh\nset -e\n{script}\n"));
    let (_work, installed) =
        install_on(None, vec![package, accounts], &["/usr/share/base-passwd/*"]).unwrap();
    let lines = listing(&installed).into_iter().filter(|line| !line.starts_with("usr/share"));
    let warnings = installed.warnings.iter().map(|warning| warning.message.clone());
    (lines.collect(), warnings.into_iter().next())
}

#[test]
fn scripts_make_files_links_and_directories() {
    for (script, expected) in [
        ("mkdir -p /a/b; touch /a/b/c", &["a/", "a/b/", "a/b/c: "][..]),
        ("install -d -m 700 /a", &["a/"]),
        ("ln -s ../x /y; ln -sf z /y; ln -s /usr /y || true", &["y -> z"]),
        ("[ -e /x ] && cp /x /y", &["y: text"]),
        ("ucf --three-way /x /z; ucf /x /x", &["z: text"]),
        ("if [ ! -d /d ]; then if mkdir /d 2>/dev/null; then touch /d/e; fi; fi", &["d/", "d/e: "]),
        ("if mkdir /x; then touch /e; fi", &[]),
        ("touch /e; [ -h /e ] || rm -f /e", &[]),
        ("test -e /gone || ln -s x /l", &["l -> x"]),
    ] {
        let (mut lines, warning) = configured(package("a").file("./x", "text"), script);
        lines.retain(|line| line != "x: text" && !line.starts_with("etc") && line != "usr/");
        assert_eq!(
            (&*lines, warning),
            (&*expected.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), None),
            "{script}"
        );
    }
}

#[test]
fn a_command_that_is_not_certain_is_left_undone() {
    for (script, program) in [
        ("if other; then mkdir /a; fi", "mkdir, other"),
        ("mkdir $HOME/a", "mkdir"),
        ("mkdir a", "mkdir"),
        ("touch /x/below", "touch"),
        ("chown nobody /x", "chown"),
        ("chmod u+s /x", "chmod"),
        ("ln /x /y", "ln"),
        ("cp /gone /y", "cp"),
    ] {
        let (_, warning) = configured(package("a").file("./x", "text"), script);
        let expected = format!("its installation scripts were not run, which call {program}");
        assert_eq!(warning.as_deref(), Some(&*expected), "{script}");
    }
}

#[test]
fn scripts_change_owners_and_modes() {
    let attributes = |script: &str| {
        let package =
            package("a").file("./x", "text").hard_link("./y", "./x").directory("./d").file("./d/e", "");
        let accounts = package.control("postinst", &format!("#!/bin/sh\n{script}\n"));
        let base =
            TestFiles::default().file("etc/passwd", "www:x:33:33:::\n").file("etc/group", "staff:x:50:\n");
        let (_work, installed) = install_on(Some(&base), vec![accounts], &[]).unwrap();
        let entries = installed.entries.iter().filter(|entry| entry.path.as_str().len() <= 3);
        let shown = entries.filter(|entry| (entry.mode, entry.uid, entry.gid) != (0o755, 0, 0));
        let shown = shown.map(|entry| format!("{} {:o} {}:{}", entry.path, entry.mode, entry.uid, entry.gid));
        shown.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(attributes("chmod 0640 /y"), "/x 640 0:0, /y 640 0:0");
    assert_eq!(attributes("chown -R www:staff /d"), "/d 755 33:50, /d/e 755 33:50");
    assert_eq!(attributes("chgrp staff /d/e; chown 7 /d"), "/d 755 7:0, /d/e 755 0:50");
    let overridden = "dpkg-statoverride --list /d || dpkg-statoverride --update --add www staff 2750 /d";
    assert_eq!(attributes(overridden), "/d 2750 33:50");
    assert_eq!(attributes("install -d -o www -g staff -m 1777 /d"), "/d 1777 33:50");
    assert_eq!(attributes("umask 066; touch /f; umask 022; mkdir /g"), "/f 600 0:0");
    assert_eq!(attributes("getent group staff && chmod 700 /d"), "/d 700 0:0");
}

#[test]
fn drivers_of_odbc_are_registered() {
    let script = "if ! grep -q Free /etc/odbcinst.ini; then odbcinst -i -d -f /t.ini 1>&2; fi\nodbcinst -i -d -f /u.ini";
    let package =
        package("a").file("./t.ini", "[Free]\nDriver\t\t= free.so\nPort = \n").file("./u.ini", "[Own]\n");
    let (lines, warning) = configured(package, script);
    let list = "etc/odbcinst.ini: [Free]\nUsageCount=1\nDriver=free.so\n\n[Own]\nUsageCount=1\n";
    assert!(lines.contains(&list.to_owned()), "{lines:?}");
    assert_eq!(warning, None);
}

#[test]
fn scripts_get_the_default_answers_of_debconf() {
    let script = "f() { [ \"$1\" = configure ]; }\nif [ \"$1\" = configure ]; then db_get a/b; case \"$RET\" in\n\
                  Slight) ln -s /slight /link;;\nNone) ln -s /none /link;;\nesac; fi";
    let templates = "Template: a/b\nType: select\nDefault: Slight\nDescription: x\n\nTemplate: c\n";
    let (lines, warning) = configured(package("a").control("templates", templates), script);
    assert!(lines.contains(&"link -> /slight".to_owned()), "{lines:?}");
    assert_eq!(warning, None);
}

#[test]
fn certificates_are_where_openssl_looks_for_them() {
    let certificates = package("ca-certificates").file("./usr/share/ca-certificates/a.crt", "pem\n");
    let lines = entries(vec![certificates]);
    assert!(
        lines.contains(&"usr/lib/ssl/cert.pem -> /etc/ssl/certs/ca-certificates.crt".to_owned()),
        "{lines:?}"
    );
    assert!(lines.contains(&"usr/lib/ssl/certs -> /etc/ssl/certs".to_owned()));
}

/// A package: the number of its name, true with `Replaces`, and the kinds and numbers of its members.
type PackageParts = (u8, bool, Vec<(u8, u8)>);

/// Packages with few names and paths, so that many have a path in common.
fn packages() -> impl Strategy<Value = Vec<PackageParts>> {
    let member = (0_u8..4, 0_u8..4);
    proptest::collection::vec((0_u8..4, any::<bool>(), proptest::collection::vec(member, 0..5)), 1..5)
}

fn made(parts: &[PackageParts]) -> Vec<TestPackage> {
    let mut names = std::collections::BTreeSet::new();
    let parts = parts.iter().filter(|(name, _, _)| names.insert(*name));
    let make = |(name, replaces, members): &PackageParts| {
        let mut made = package(&format!("p{name}"));
        if *replaces {
            made = made.field("Replaces", "p0, p1");
        }
        let mut paths = std::collections::BTreeSet::new();
        for (kind, path) in members.iter().filter(|(_, path)| paths.insert(*path)) {
            let at = format!("./d{path}");
            made = match kind {
                0 => made.directory(&at),
                1 => made.symlink(&at, &format!("d{}", (path + 1) % 4)),
                2 => made.file(&format!("{at}-file"), &at).hard_link(&at, &format!("{at}-file")),
                _ => made.file(&at, &format!("p{name}")),
            };
        }
        made
    };
    parts.map(make).collect()
}

proptest! {
    #[test]
    fn the_order_of_packages_is_irrelevant(parts in packages()) {
        let forward = installed(made(&parts));
        let mut distinct = made(&parts);
        distinct.reverse();
        prop_assert_eq!(installed(distinct), forward);
    }

    /// The entries make a tree, whatever the packages have.
    #[test]
    fn entries_have_directories_above_and_files_behind_links(parts in packages()) {
        if let Ok((_work, installed)) = install_on(None, made(&parts), &[]) {
            let mut tree = crate::tree::Tree::new();
            for entry in installed.entries {
                let path = entry.path.clone();
                let inserted = tree.insert(entry);
                prop_assert!(inserted.is_ok(), "{path}: {inserted:?}");
            }
        }
    }
}
