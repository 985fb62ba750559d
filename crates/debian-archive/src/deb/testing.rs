//! Packages for tests, valid and hostile.

use std::io::Write as _;

/// A tar archive, written header by header.
#[derive(Default)]
pub(super) struct TarBytes(Vec<u8>);

impl TarBytes {
    /// Adds a member of a type with a link target and content.
    pub(super) fn member(mut self, kind: u8, path: &str, target: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        {
            let old = header.as_old_mut();
            old.name[..path.len().min(100)].copy_from_slice(&path.as_bytes()[..path.len().min(100)]);
            old.linkname[..target.len().min(100)]
                .copy_from_slice(&target.as_bytes()[..target.len().min(100)]);
        }
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(42);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.member(b'0', path, "", content.as_bytes())
    }

    pub(super) fn directory(self, path: &str) -> Self {
        self.member(b'5', path, "", b"")
    }

    /// Ends the archive.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// Writes an `ar` archive.
pub(super) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", content.len()).unwrap();
        bytes.extend(*content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

pub(super) const CONTROL: &str =
    "Package: hello\nVersion: 1:2.0-1\nArchitecture: amd64\nDescription: says hello\n to everyone\n";

/// Returns a control archive with the file `control`.
pub(super) fn control() -> Vec<u8> {
    TarBytes::default().directory("./").file("./control", CONTROL).end()
}

/// Returns a package with an uncompressed data archive.
pub(super) fn deb(data: &[u8]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar", data)])
}

/// Compresses with gzip.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
