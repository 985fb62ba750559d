//! Faults of archives and packages, by the program: each one error, and nothing wrong in the cache.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ipo_oci::digest::Digest;
use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::support::{Outcome, Project, run};
use test_macros::test;

/// A mirror with the suite bookworm, unsigned.
struct Mirror {
    folder: TempDir,
    packages: String,
}

/// A member of a package: type, path, target of a link.
type Member<'a> = (EntryType, &'a str, &'a str);

impl Mirror {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::create_dir_all(folder.path().join("pool")).expect("a folder");
        Self { folder, packages: String::new() }
    }

    /// Adds a package.
    fn add(&mut self, name: &str, fields: &str, members: &[Member<'_>]) {
        self.add_bytes(name, fields, &data(members));
    }

    /// Adds a package with a compressed data archive.
    fn add_bytes(&mut self, name: &str, fields: &str, data: &[u8]) {
        let control =
            format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n{fields}Description: a test\n");
        let mut members = tar::Builder::new(Vec::new());
        append(&mut members, (EntryType::Regular, "./control", ""), control.as_bytes());
        let archive = gzip(&members.into_inner().expect("a tar"));
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in
            [("debian-binary", &b"2.0\n"[..]), ("control.tar.gz", &archive), ("data.tar.gz", data)]
        {
            let size = content.len();
            writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, 100_644).expect("memory");
            bytes.extend(content);
            bytes.extend(if size % 2 == 1 { "\n" } else { "" }.bytes());
        }
        let path = format!("pool/{name}_1_amd64.deb");
        let (size, sha256) = (bytes.len(), Digest::of(&bytes).hex());
        fs_err::write(self.folder.path().join(&path), bytes).expect("a file");
        let own = format!("Filename: {path}\nSize: {size}\nSHA256: {sha256}\nDescription");
        let _ = writeln!(self.packages, "{}", control.replace("Description", &own));
    }

    /// Writes the release.
    fn release(&self) {
        let suite = self.folder.path().join("dists/bookworm");
        fs_err::create_dir_all(suite.join("main/binary-amd64")).expect("a folder");
        fs_err::write(suite.join("main/binary-amd64/Packages"), &self.packages).expect("a file");
        let mut text =
            "Suite: bookworm\nDate: Sat, 31 May 2025 10:00:00 UTC\nArchitectures: amd64\nComponents: main\n\
            SHA256:\n"
                .to_owned();
        let digest = Digest::of(self.packages.as_bytes());
        let _ = writeln!(text, " {} {} main/binary-amd64/Packages", digest.hex(), self.packages.len());
        fs_err::write(suite.join("Release"), text).expect("a file");
    }

    /// Builds a project with `packages` on a base of the mirror. The cache is verified.
    fn build(&self, packages: &str) -> Outcome {
        let settings = format!(
            "[project]\nname = 'x'\nversion = '1'\n[tool.ipo-oci]\nbase = 'apt:bookworm'\n\
             entrypoint = ['/usr/good']\npackages = [{packages}]\n[tool.ipo-oci.apt]\nbase = ['base']\nunsigned = true\n\
             mirrors = ['file:{}']\n",
            self.folder.path().display()
        );
        let project = Project::of(&[("pyproject.toml", &settings)]);
        crate::support::venv::stand_in(&project.path().join(".venv"), &[]);
        let cache = project.beside("cache");
        let arguments = ["--no-check", "--platform", "linux/amd64", "--cache-dir"];
        let outcome = run(project.command("build").args(arguments).arg(&cache));
        let files = fs_err::read_dir(cache.join("apt/sha256")).into_iter().flatten();
        for file in files.map(|file| file.expect("a file").path()) {
            let digest = Digest::of(&fs_err::read(&file).expect("a file")).hex().clone();
            assert_eq!(file.file_name(), Some(digest.as_ref()), "a wrong file in the cache");
        }
        outcome
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Writes a member with any path, which `tar` would refuse.
fn append(tar: &mut tar::Builder<Vec<u8>>, (kind, path, target): Member<'_>, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).expect("memory");
}

fn data(members: &[Member<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for member in members {
        let content = if member.0 == EntryType::Regular { member.1.as_bytes() } else { b"" };
        append(&mut tar, *member, content);
    }
    gzip(&tar.into_inner().expect("a tar"))
}

const FILE: EntryType = EntryType::Regular;

/// Makes a mirror whose packages have a fault each.
fn mirror() -> Mirror {
    let mut mirror = Mirror::new();
    mirror.add("base", "", &[(FILE, "./etc/base", "")]);
    mirror.add("good", "", &[(FILE, "./usr/good", "")]);
    mirror.add("same", "", &[(FILE, "./usr/good", "")]);
    mirror.add("onbase", "", &[(FILE, "./etc/base", "")]);
    mirror.add("absolute", "", &[(FILE, "/../etc/x", "")]);
    mirror.add("parents", "", &[(FILE, "./a/../../x", "")]);
    mirror.add("out", "", &[(EntryType::Link, "./x", "../../etc/passwd")]);
    mirror.add("below", "", &[(EntryType::Symlink, "./x", "/tmp"), (FILE, "./x/y", "")]);
    mirror.add("device", "", &[(EntryType::Char, "./dev/x", "")]);
    let whole = data(&[(FILE, "./x", "")]);
    mirror.add_bytes("cut", "", &whole[..whole.len() - 30]);
    mirror.add("needs", "Depends: middle\n", &[]);
    mirror.add("middle", "Depends: libmissing2 (>= 2), good\n", &[]);
    mirror.add("fights", "Conflicts: good\n", &[]);
    mirror.add("wrong", "", &[(FILE, "./w", "")]);
    mirror.add("gone", "", &[(FILE, "./g", "")]);
    mirror.release();
    mirror
}

#[test]
fn each_fault_of_packages_is_one_error_that_names_the_package() {
    let mirror = mirror();
    let pool = |name: &str| mirror.folder.path().join(format!("pool/{name}_1_amd64.deb"));
    let mut bytes = fs_err::read(pool("wrong")).expect("a file");
    bytes[200] ^= 1;
    fs_err::write(pool("wrong"), bytes).expect("a file");
    fs_err::remove_file(pool("gone")).expect("a file");
    let at = |path: &Path| format!("file:{}", path.display());

    mirror.build("'good'").success();
    for (packages, expected, help) in [
        ("'good', 'same'", "cannot install same: /usr/good is also in good".to_owned(), "leave one of the two"),
        ("'onbase'", "cannot install onbase: /etc/base is also in base".to_owned(), "leave one of the two"),
        (
            "'absolute'",
            "cannot unpack absolute_1_amd64.deb: invalid package: path `/../etc/x`: absolute".to_owned(),
            "leave the package out, or report",
        ),
        (
            "'parents'",
            "cannot unpack parents_1_amd64.deb: invalid package: path `./a/../../x`: contains `..`".to_owned(),
            "leave the package out, or report",
        ),
        (
            "'out'",
            "cannot unpack out_1_amd64.deb: invalid package: path `./x`: a hard link to a path outside the package"
                .to_owned(),
            "leave the package out, or report",
        ),
        (
            "'below'",
            "cannot unpack below_1_amd64.deb: invalid package: path `./x/y`: below a file or link of the package"
                .to_owned(),
            "leave the package out, or report",
        ),
        (
            "'device'",
            "cannot unpack device_1_amd64.deb: invalid package: path `./dev/x`: a device node".to_owned(),
            "leave the package out, or report",
        ),
        (
            "'cut'",
            "cannot unpack cut_1_amd64.deb: cannot read member `data.tar`: the file ends early".to_owned(),
            "leave the package out, or report",
        ),
        (
            "'needs'",
            "cannot install the packages together: middle 1 depends on libmissing2 (>= 2), but no package `libmissing2` \
             is available (middle 1 is needed by needs 1)"
                .to_owned(),
            "leave out one of the packages",
        ),
        (
            "'fights', 'good'",
            "cannot install the packages together: fights 1 conflicts with good, and good 1 is wanted".to_owned(),
            "leave out one of the packages",
        ),
        ("'goods'", "package not found: `goods`; did you mean `good`?".to_owned(), "correct the name"),
        ("'wrong'", format!("digest mismatch of {}: expected sha256:", at(&pool("wrong"))), "try again"),
        ("'gone'", format!("file not found: {}", at(&pool("gone"))), "mirrors remove old versions"),
    ] {
        let outcome = mirror.build(packages).exits_with(1);
        let errors: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{packages}: {}", outcome.stderr);
        assert!(errors[0].starts_with(&format!("error: {expected}")), "{packages}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(&format!("\n  help: {help}")), "{packages}: {}", outcome.stderr);
    }
}
