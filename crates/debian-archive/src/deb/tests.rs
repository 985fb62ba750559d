use proptest::prelude::*;

use super::testing::{CONTROL, TarBytes, ar, control, deb, gzip};
use super::*;

/// Reads a package: its members with their contents.
fn read_with(bytes: &[u8], limits: DebLimits) -> Result<Vec<(DataMember, String)>, DebError> {
    let mut members = Vec::new();
    DebReader::open(bytes, limits)?.read_data(&mut |member, content| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        members.push((member, text));
        Ok(())
    })?;
    Ok(members)
}

fn read(bytes: &[u8]) -> Result<Vec<(DataMember, String)>, DebError> {
    read_with(bytes, DebLimits::default())
}

fn error(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

fn paths(bytes: &[u8]) -> Vec<String> {
    read(bytes).unwrap().into_iter().map(|(member, _)| member.path).collect()
}

fn hello() -> TarBytes {
    TarBytes::default().directory("./").directory("./usr/").file("./usr/hello", "hello\n")
}

/// The data archive of [`hello`], compressed with `xz -0`: the crate for xz is built without its encoder.
const XZ: &[u8] = b"\
    \xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x0c\x00\x00\x00\x8f\x98\x41\x9c\xe0\x0b\xff\x00\
    \x70\x5d\x00\x17\x0b\xbc\x1c\x7d\x01\x95\xc0\x1d\x3f\x82\xa2\x8a\xc2\x21\xf7\x39\xcb\x43\x25\xf4\x38\xdf\xd0\xaa\
    \x1e\x2b\x29\x71\xff\xcd\x01\xf0\x2d\x96\x4f\x40\xb9\xb5\x37\xd5\x65\xb6\xec\x84\xa2\x1f\xcf\x72\xbe\x47\xf3\xde\
    \xea\xb9\xc1\x8f\xcb\x5e\xf5\x87\xc6\xc4\xe9\x39\xfa\xa4\xea\xbb\xe6\x95\x24\x76\x70\xbc\x51\x3c\x23\xcb\x98\x80\
    \xb6\x11\xc9\x8b\x41\xd2\x23\x36\x67\xb1\xb5\xf9\x44\x9a\xa6\x2d\x45\x93\xa0\x2e\xaf\x1d\x49\x00\xad\xdd\x11\xcf\
    \x28\xc7\x00\x00\x90\xa4\xe1\xab\x80\xa6\x94\x3d\x00\x01\x8c\x01\x80\x18\x00\x00\x3d\x6d\x2b\x68\xb1\xc4\x67\xfb\
    \x02\x00\x00\x00\x00\x04\x59\x5a";

#[test]
fn reads_fields_files_and_links() {
    let data =
        hello().member(b'2', "./usr/link", "../etc", b"").member(b'1', "./usr/other", "./usr/hello", b"");
    let package = deb(&data.end());
    let reader = DebReader::open(&*package, DebLimits::default()).unwrap();
    let control = reader.control();
    assert_eq!((control.name(), control.version(), control.architecture()), ("hello", "1:2.0-1", "amd64"));
    assert_eq!(control.text(), CONTROL);
    assert_eq!(control.field("description"), Some("says hello\nto everyone"));
    let members = read(&package).unwrap();
    let kinds: Vec<_> = members.iter().map(|(member, text)| (&*member.path, &member.kind, &**text)).collect();
    assert_eq!(
        kinds,
        [
            ("", &DataKind::Directory, ""),
            ("usr", &DataKind::Directory, ""),
            ("usr/hello", &DataKind::File { size: 6 }, "hello\n"),
            ("usr/link", &DataKind::Symlink("../etc".to_owned()), ""),
            ("usr/other", &DataKind::HardLink("usr/hello".to_owned()), ""),
        ]
    );
    let hello = &members[2].0;
    assert_eq!((hello.mode, hello.uid, hello.gid, hello.mtime), (0o644, 0, 42, 1_700_000_000));
}

#[test]
fn reads_conffiles_checksums_and_scripts() {
    let files = TarBytes::default()
        .file("./control", CONTROL)
        .file("./conffiles", "/etc/a\nremove-on-upgrade /etc/b\n")
        .file("./md5sums", "0123  usr/hello\n")
        .file("./postinst", "#!/bin/sh\n");
    let package =
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &files.end()), ("data.tar", &hello().end())]);
    let reader = DebReader::open(&*package, DebLimits::default()).unwrap();
    assert_eq!(reader.control().conffiles(), ["/etc/a"]);
    assert_eq!(reader.control().md5sums()["usr/hello"], "0123");
    assert_eq!(reader.control().file_text("postinst").unwrap(), "#!/bin/sh\n");
}

#[test]
fn reads_every_compression() {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let data = hello().end();
    for (suffix, data) in [("gz", gzip(&data)), ("xz", XZ.to_vec()), ("zst", zstd(&data))] {
        let (control, name) = (gzip(&control()), format!("data.tar.{suffix}/"));
        let package = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), (&name, &data)]);
        assert_eq!(paths(&package), ["", "usr", "usr/hello"], "{suffix}");
        let damaged = &package[..package.len() - 20];
        assert!(read(damaged).is_err(), "{suffix}");
    }
}

#[test]
fn reads_long_names() {
    let long = format!("usr/{}/x", "a".repeat(150));
    let record = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let length = rest.len() + 3;
        format!("{length}{rest}")
    };
    let gnu = TarBytes::default()
        .member(b'K', "././@LongLink", "", format!("{long}\0").as_bytes())
        .member(b'L', "././@LongLink", "", format!("{long}\0").as_bytes())
        .member(b'2', "cut", "cut", b"");
    let pax = TarBytes::default()
        .member(b'x', "pax", "", record("path", &long).as_bytes())
        .member(b'0', "cut", "", b"");
    assert_eq!(read(&deb(&gnu.end())).unwrap()[0].0.kind, DataKind::Symlink(long.clone()));
    assert_eq!(paths(&deb(&pax.end())), [long]);
}

#[test]
fn skips_members_with_an_underscore_and_ignores_later_ones() {
    let package = ar(&[
        ("debian-binary", b"2.0\n"),
        ("_other", b"odd"),
        ("control.tar", &control()),
        ("_other", b""),
        ("data.tar", &hello().end()),
        ("later", b"x"),
    ]);
    assert_eq!(paths(&package).len(), 3);
}

#[test]
fn refuses_paths_outside_the_package() {
    let file = |path: &str| error(&deb(&TarBytes::default().file(path, "x").end()));
    assert_eq!(file("/etc/passwd"), "invalid package: path `/etc/passwd`: absolute");
    assert_eq!(file("./usr/../../x"), "invalid package: path `./usr/../../x`: contains `..`");
    let link = |target: &str| error(&deb(&hello().member(b'1', "./link", target, b"").end()));
    for target in ["/etc/passwd", "../x"] {
        assert_eq!(link(target), "invalid package: path `./link`: a hard link to a path outside the package");
    }
    for target in ["./missing", "./usr"] {
        assert_eq!(
            link(target),
            "invalid package: path `./link`: a hard link to a path that is not a file before it"
        );
    }
}

#[test]
fn refuses_paths_below_links_and_files() {
    let below_link = hello().member(b'2', "./usr/link", "/etc", b"").file("./usr/link/x", "");
    assert!(error(&deb(&below_link.end())).ends_with("below a file or link of the package"));
    let below_file = hello().file("./usr/hello/x", "");
    assert!(error(&deb(&below_file.end())).ends_with("below a file or link of the package"));
    assert!(error(&deb(&hello().file("usr/hello", "").end())).ends_with("twice in the package"));
}

#[test]
fn refuses_devices_and_unknown_types() {
    for (kind, reason) in [
        (b'3', "a device node"),
        (b'4', "a device node"),
        (b'6', "a named pipe"),
        (b'S', "a sparse file"),
        (b'V', "an unknown type of member"),
    ] {
        let data = TarBytes::default().member(kind, "./x", "", b"").end();
        assert_eq!(error(&deb(&data)), format!("invalid package: path `./x`: {reason}"));
    }
}

#[test]
fn refuses_a_wrong_order_and_missing_members() {
    let (control, data) = (control(), hello().end());
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    for (members, expected) in [
        (&[("control.tar", &*control)][..], "member `control.tar` instead of `debian-binary`"),
        (&[version, ("data.tar", &*data)], "member `data.tar` instead of `control.tar`"),
        (&[version, ("control.tar", &*control), ("other", b"")], "member `other` instead of `data.tar`"),
        (&[version, ("control.tar", &*control)], "member `data.tar` not found"),
        (&[version], "member `control.tar` not found"),
        (&[("debian-binary", b"3.0\n")], "unknown format version `3.0`"),
        (&[version, ("control.tar.lz", b"")], "unsupported compression of member `control.tar.lz`"),
    ] {
        assert_eq!(error(&ar(members)), format!("invalid package: {expected}"));
    }
    assert_eq!(error(b"PK\x03\x04, a zip file"), "invalid package: not an `ar` archive");
    assert_eq!(error(b""), "invalid package: not an `ar` archive");
}

#[test]
fn refuses_members_that_are_cut() {
    let package = deb(&hello().end());
    for end in [package.len() - 2000, package.len() - 1100, package.len() - 1] {
        assert_eq!(error(&package[..end]), "cannot read member `data.tar`: the file ends early");
    }
    let mut header = TarBytes::default().file("./x", "content").end();
    header.truncate(514);
    assert_eq!(error(&deb(&header)), "cannot read member `data.tar`: the file ends early");
}

#[test]
fn refuses_more_than_the_limits() {
    let bomb = gzip(&TarBytes::default().member(b'0', "./x", "", &vec![0; 1 << 20]).end());
    let package = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar.gz", &bomb)]);
    let limits = DebLimits { data_bytes: 1 << 16, ..DebLimits::default() };
    let found = read_with(&package, limits).unwrap_err().to_string();
    assert_eq!(found, "invalid package: data.tar exceeds the limit of 65536");
    let limits = DebLimits { members: 2, ..DebLimits::default() };
    let found = read_with(&deb(&hello().end()), limits).unwrap_err().to_string();
    assert_eq!(found, "invalid package: number of members exceeds the limit of 2");
    let name = "a".repeat(5000);
    let data = TarBytes::default().member(b'L', "x", "", name.as_bytes()).file("./x", "");
    assert_eq!(error(&deb(&data.end())), "invalid package: path exceeds the limit of 4096");
}

#[test]
fn a_failure_of_the_caller_is_kept() {
    let package = deb(&hello().end());
    let reader = DebReader::open(&*package, DebLimits::default()).unwrap();
    let failed = reader.read_data(&mut |_, _| Err(std::io::Error::other("disk full"))).unwrap_err();
    assert!(matches!(failed, DebError::Visit(_)));
    assert_eq!(failed.to_string(), "disk full");
}

proptest! {
    #[test]
    fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
        let _ = read(&ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar", &bytes)]));
        let _ = read(&ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &bytes)]));
    }

    #[test]
    fn a_changed_byte_ends_without_a_panic(at in 0usize..8192, byte in any::<u8>()) {
        let mut package = deb(&hello().member(b'1', "./b", "./usr/hello", b"").end());
        let at = at % package.len();
        package[at] = byte;
        let _ = read(&package);
    }

    #[test]
    fn members_come_back(names in proptest::collection::btree_map("[a-z]{1,120}", "[ -~]{0,700}", 0..8)) {
        let mut data = TarBytes::default();
        for (name, text) in &names {
            if name.len() > 90 {
                data = data.member(b'L', "././@LongLink", "", format!("./{name}\0").as_bytes());
            }
            data = data.file(&format!("./{}", &name[..name.len().min(90)]), text);
        }
        let found = read(&deb(&data.end())).unwrap();
        let found: Vec<_> = found.into_iter().map(|(member, text)| (member.path, text)).collect();
        prop_assert_eq!(found, names.into_iter().collect::<Vec<_>>());
    }
}
