//! Tests of the entire search, each in a root file system of its own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::fixture::{Fixture, I386, RPATH, RUNPATH, SONAME, cache, library, program};
use super::machine::ByteOrder;
use super::{ElfError, FoundBy, LibraryClosure, LoadRoot, Loader};

const LD_SO: &str = "/lib64/ld-linux-x86-64.so.2";
const LIB: &str = "/lib/x86_64-linux-gnu";

/// A root file system in a temporary directory.
struct Disk(TempDir);

impl Disk {
    /// Creates a root with a loader and a C library, laid out as on Debian.
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.link("lib", "usr/lib").link("lib64", "usr/lib64");
        disk.put(LD_SO, &library(&[]).with(SONAME, "ld-linux-x86-64.so.2"));
        disk.put(&format!("{LIB}/libc.so.6"), &library(&["ld-linux-x86-64.so.2"]).with(SONAME, "libc.so.6"));
        disk
    }

    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path.trim_start_matches('/'));
        let parent = path.parent().unwrap();
        // Resolved through the merged directories, as a program would.
        if !parent.exists() {
            let text = parent.to_str().unwrap().replace("/lib64", "/usr/lib64").replace("/usr/usr", "/usr");
            let _ = std::fs::create_dir_all(text);
            let _ = std::fs::create_dir_all(parent);
        }
        path
    }

    fn put(&self, path: &str, fixture: &Fixture) -> &Self {
        self.write(path, &fixture.bytes())
    }

    fn write(&self, path: &str, bytes: &[u8]) -> &Self {
        std::fs::write(self.on_disk(path), bytes).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        if path.starts_with("lib") {
            std::fs::create_dir_all(self.0.path().join(target)).unwrap();
        }
        std::os::unix::fs::symlink(target, self.on_disk(path)).unwrap();
        self
    }

    fn resolve(&self, roots: &[LoadRoot]) -> LibraryClosure {
        Loader::at_root(self.0.path()).unwrap().resolve(roots).unwrap()
    }

    fn closure(&self, path: &str) -> LibraryClosure {
        self.resolve(&[LoadRoot::new(path)])
    }
}

/// Returns each library as `name path rule`, without the C library.
fn found(closure: &LibraryClosure) -> Vec<String> {
    let libraries = closure.libraries.iter().filter(|library| library.soname != "libc.so.6");
    libraries.map(|found| format!("{} {} {:?}", found.soname, found.path.display(), found.found_by)).collect()
}

fn missing(closure: &LibraryClosure) -> Vec<(&str, &str)> {
    let missing = closure.missing.iter();
    missing.map(|missing| (missing.soname.as_str(), missing.needed_by.to_str().unwrap())).collect()
}

#[test]
fn finds_the_c_library_and_names_the_loader() {
    let disk = Disk::new();
    disk.put("/usr/bin/tool", &program(LD_SO, &["libc.so.6"]));
    let closure = disk.closure("/usr/bin/tool");
    assert_eq!(closure.loaders, [Path::new(LD_SO)]);
    assert_eq!(missing(&closure), []);
    let [libc] = closure.libraries.as_slice() else { panic!("{closure:?}") };
    assert_eq!(libc.path, Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
    assert_eq!(libc.real, Path::new("/usr/lib/x86_64-linux-gnu/libc.so.6"));
    assert_eq!(libc.needed_by, [Path::new("/usr/bin/tool")]);
    assert_eq!(libc.found_by, FoundBy::Default);
}

#[test]
fn a_static_program_has_no_needs() {
    let disk = Disk::empty();
    disk.put("/bin/static", &Fixture { kind: 2, ..library(&[]) });
    assert_eq!(disk.closure("/bin/static"), LibraryClosure::default());
}

#[test]
fn rpath_is_inherited_and_runpath_is_not() {
    for (tag, libraries, unmet) in [
        (RPATH, vec!["liba.so /opt/liba.so Rpath", "libb.so /opt/libb.so Rpath"], vec![]),
        (RUNPATH, vec!["liba.so /opt/liba.so Runpath"], vec![("libb.so", "/opt/liba.so")]),
    ] {
        let disk = Disk::new();
        disk.put("/bin/tool", &program(LD_SO, &["liba.so"]).with(tag, "/opt"));
        disk.put("/opt/liba.so", &library(&["libb.so"])).put("/opt/libb.so", &library(&[]));
        let closure = disk.closure("/bin/tool");
        assert_eq!(found(&closure), libraries);
        assert_eq!(missing(&closure), unmet);
    }
}

#[test]
fn a_runpath_disables_rpaths_for_the_needs_of_its_file() {
    let disk = Disk::new();
    disk.put("/bin/tool", &program(LD_SO, &["liba.so"]).with(RPATH, "/opt"));
    disk.put("/opt/liba.so", &library(&["libb.so"]).with(RUNPATH, "/elsewhere"));
    disk.put("/opt/libb.so", &library(&[]));
    assert_eq!(missing(&disk.closure("/bin/tool")), [("libb.so", "/opt/liba.so")]);

    // The file's own DT_RPATH is ignored beside its DT_RUNPATH too.
    disk.put("/bin/both", &program(LD_SO, &["libb.so"]).with(RPATH, "/opt").with(RUNPATH, ""));
    assert_eq!(missing(&disk.closure("/bin/both")), [("libb.so", "/bin/both")]);
}

#[test]
fn origin_is_the_directory_of_the_file() {
    let disk = Disk::new();
    disk.put("/app/numpy/core/module.so", &library(&["libblas.so"]).with(RPATH, "$ORIGIN/../../numpy.libs"));
    disk.put("/app/numpy.libs/libblas.so", &library(&["libfortran.so"]).with(RUNPATH, "${ORIGIN}"));
    disk.put("/app/numpy.libs/libfortran.so", &library(&[]));
    let expected = [
        "libblas.so /app/numpy.libs/libblas.so Rpath",
        "libfortran.so /app/numpy.libs/libfortran.so Runpath",
    ];
    assert_eq!(found(&disk.closure("/app/numpy/core/module.so")), expected);
}

#[test]
fn origin_of_a_library_is_its_link_and_of_a_program_its_target() {
    let disk = Disk::new();
    // uv links a venv's modules into its cache: the libraries beside them are found in the venv.
    disk.put("/cache/module.so", &library(&["liba.so"]).with(RUNPATH, "$ORIGIN/libs"));
    disk.put("/venv/libs/liba.so", &library(&[])).link("/venv/module.so", "/cache/module.so");
    assert_eq!(found(&disk.closure("/venv/module.so")), ["liba.so /venv/libs/liba.so Runpath"]);
    // A venv's python is a link to the interpreter.
    disk.put("/opt/python/bin/python3", &program(LD_SO, &["libpython.so"]).with(RUNPATH, "$ORIGIN/../lib"));
    disk.put("/opt/python/lib/libpython.so", &library(&[])).link("/venv/python", "../opt/python/bin/python3");
    assert_eq!(found(&disk.closure("/venv/python")), ["libpython.so /opt/python/lib/libpython.so Runpath"]);
}

#[test]
fn dots_are_removed_only_without_a_change_of_directory() {
    let disk = Disk::new();
    std::fs::create_dir_all(disk.0.path().join("far/deep")).unwrap();
    disk.link("/app/link", "/far/deep");
    disk.put("/app/module.so", &library(&["liba.so"]).with(RPATH, "$ORIGIN/link/../libs"));
    disk.put("/app/libs/liba.so", &library(&[])).put("/far/libs/liba.so", &library(&[]));
    assert_eq!(found(&disk.closure("/app/module.so")), ["liba.so /far/libs/liba.so Rpath"]);
}

#[test]
fn a_name_with_a_slash_is_a_path() {
    let disk = Disk::new();
    disk.put("/bin/tool", &program(LD_SO, &["/opt/x/liba.so", "$ORIGIN/../opt/y/libb.so", "sub/libc.so"]));
    disk.put("/opt/x/liba.so", &library(&[])).put("/opt/y/libb.so", &library(&[]));
    let closure = disk.closure("/bin/tool");
    assert_eq!(
        found(&closure),
        ["/opt/x/liba.so /opt/x/liba.so Path", "$ORIGIN/../opt/y/libb.so /opt/y/libb.so Path"]
    );
    assert_eq!(missing(&closure), [("sub/libc.so", "/bin/tool")], "a relative path means nothing here");
}

#[test]
fn skips_libraries_of_another_machine_and_other_files() {
    let disk = Disk::new();
    disk.put("/bin/tool", &program(LD_SO, &["liba.so"]).with(RUNPATH, "/one:relative::/two:/three:/four"));
    disk.put("/one/liba.so", &Fixture { machine: I386, ..library(&[]) });
    disk.write("/two/liba.so", b"INPUT(-la)").write("/three/liba.so", b"\x7fELF cut short, and then more");
    disk.put("/four/liba.so", &library(&[]));
    assert_eq!(found(&disk.closure("/bin/tool")), ["liba.so /four/liba.so Runpath"]);
}

#[test]
fn a_loaded_library_answers_to_its_own_name() {
    let disk = Disk::new();
    disk.put("/bin/tool", &program(LD_SO, &["/opt/liba-build.so", "libb.so"]).with(RPATH, "/opt"));
    disk.put("/opt/liba-build.so", &library(&[]).with(SONAME, "liba.so.1"));
    disk.put("/opt/libb.so", &library(&["liba.so.1"]));
    let closure = disk.closure("/bin/tool");
    assert_eq!(missing(&closure), []);
    let library = closure.libraries.iter().find(|library| library.path.ends_with("liba-build.so")).unwrap();
    assert_eq!(library.needed_by, [Path::new("/bin/tool"), Path::new("/opt/libb.so")]);
}

#[test]
fn lists_every_link_to_a_file() {
    let disk = Disk::new();
    disk.put("/bin/tool", &program(LD_SO, &["liba.so", "liba.so.1"]).with(RUNPATH, "/opt"));
    disk.put("/opt/liba.so.1.2", &library(&["libc.so.6"]));
    disk.link("/opt/liba.so", "liba.so.1.2").link("/opt/liba.so.1", "liba.so.1.2");
    let closure = disk.closure("/bin/tool");
    assert_eq!(found(&closure), ["liba.so /opt/liba.so Runpath", "liba.so.1 /opt/liba.so.1 Runpath"]);
    let libc = closure.libraries.iter().find(|library| library.soname == "libc.so.6").unwrap();
    assert_eq!(libc.needed_by, [Path::new("/opt/liba.so")], "it is loaded once");
}

#[test]
fn terminates_on_cycles_and_link_loops() {
    let disk = Disk::new();
    disk.put("/bin/tool", &program(LD_SO, &["liba.so", "libloop.so"]).with(RPATH, "/opt"));
    disk.put("/opt/liba.so", &library(&["libb.so"])).put("/opt/libb.so", &library(&["liba.so", "libb.so"]));
    disk.link("/opt/libloop.so", "libloop.so");
    let closure = disk.closure("/bin/tool");
    assert_eq!(found(&closure), ["liba.so /opt/liba.so Rpath", "libb.so /opt/libb.so Rpath"]);
    assert_eq!(missing(&closure), [("libloop.so", "/bin/tool")]);
}

#[test]
fn a_module_uses_the_libraries_of_its_executable() {
    let disk = Disk::new();
    disk.put(
        "/opt/bin/python",
        &program(LD_SO, &["libpython.so", "libc.so.6"]).with(RPATH, "$ORIGIN/../lib"),
    );
    disk.put("/opt/lib/libpython.so", &library(&["libc.so.6"])).put("/opt/lib/libextra.so", &library(&[]));
    disk.put("/venv/module.so", &library(&["libpython.so", "libc.so.6", "libextra.so"]));
    disk.put("/venv/other.so", &library(&["libpython.so", "libgiven.so"]).with(RUNPATH, "/nowhere"));

    // By itself the module finds neither.
    let alone = disk.closure("/venv/module.so");
    let unmet = [("libextra.so", "/venv/module.so"), ("libpython.so", "/venv/module.so")];
    assert_eq!(missing(&alone), unmet);

    let roots = [
        LoadRoot::loaded_by("/venv/module.so", "/opt/bin/python"),
        LoadRoot::loaded_by("/venv/other.so", "/opt/bin/python").with_provided("libgiven.so"),
    ];
    let closure = disk.resolve(&roots);
    assert_eq!(missing(&closure), []);
    assert_eq!(
        found(&closure),
        ["libextra.so /opt/lib/libextra.so Rpath", "libpython.so /opt/lib/libpython.so Rpath"],
        "the executable's DT_RPATH serves the modules that it loads"
    );
    let python = closure.libraries.iter().find(|library| library.soname == "libpython.so").unwrap();
    let users = ["/opt/bin/python", "/venv/module.so", "/venv/other.so"].map(PathBuf::from);
    assert_eq!(python.needed_by, users);
    assert_eq!(closure.loaders, [Path::new(LD_SO)]);
}

#[test]
fn a_library_of_a_wheel_is_resolved_in_the_process_of_its_module() {
    let disk = Disk::new();
    disk.put("/venv/module.so", &library(&["liba.so"]).with(RPATH, "$ORIGIN/libs"));
    disk.put("/venv/libs/liba.so", &library(&["libb.so", "libgone.so"]))
        .put("/venv/libs/libb.so", &library(&[]));
    let roots = ["/venv/libs/liba.so", "/venv/libs/libb.so", "/venv/module.so"].map(LoadRoot::new);
    assert_eq!(missing(&disk.resolve(&roots)), [("libgone.so", "/venv/libs/liba.so")]);
    assert_eq!(missing(&disk.resolve(&roots[..1])).len(), 2, "nothing loads it here");
}

#[test]
fn a_module_for_another_machine_is_foreign() {
    let disk = Disk::new();
    disk.put("/bin/python", &program(LD_SO, &["libc.so.6"]));
    disk.put("/venv/old.so", &Fixture { machine: I386, ..library(&["libx.so"]) });
    let closure = disk.resolve(&[LoadRoot::loaded_by("/venv/old.so", "/bin/python")]);
    assert_eq!(closure.foreign, [Path::new("/venv/old.so")]);
    assert_eq!(missing(&closure), []);
}

#[test]
fn the_cache_follows_search_paths_and_precedes_default_directories() {
    let disk = Disk::new();
    let lines = [
        ("liba.so", 0x0303, 1 << 62, "/opt/glibc-hwcaps/x86-64-v3/liba.so"),
        ("liba.so", 0x0303, 0, "/opt/gone/liba.so"),
        ("liba.so", 0x0303, 0, "/opt/liba.so"),
        ("libb.so", 0x0003, 0, "/opt/libb.so"),
        ("libd.so", 0x0303, 0, "/lib/x86_64-linux-gnu/libd.so"),
    ];
    disk.write("/etc/ld.so.cache", &cache(&lines, ByteOrder::Little, 2));
    for path in ["/opt/glibc-hwcaps/x86-64-v3/liba.so", "/opt/liba.so", "/opt/libb.so", "/own/libd.so"] {
        disk.put(path, &library(&[]));
    }
    for name in ["liba.so", "libb.so", "libd.so"] {
        disk.put(&format!("{LIB}/{name}"), &library(&[]));
    }
    let needed = ["liba.so", "libb.so", "libd.so"];
    disk.put("/bin/tool", &program(LD_SO, &needed));
    let expected = [
        "libb.so /lib/x86_64-linux-gnu/libb.so Default",
        "libd.so /lib/x86_64-linux-gnu/libd.so Cache",
        "liba.so /opt/liba.so Cache",
    ];
    assert_eq!(found(&disk.closure("/bin/tool")), expected);

    // Without the default directories, cache entries inside them are ignored.
    let own = Fixture { flags_1: 0x0800_0800, ..program(LD_SO, &needed) };
    disk.put("/bin/own", &own.clone().with(RUNPATH, "/own")).put("/bin/bare", &own);
    assert_eq!(
        found(&disk.closure("/bin/own")),
        ["liba.so /opt/liba.so Cache", "libd.so /own/libd.so Runpath"]
    );
    let unmet = [("libb.so", "/bin/bare"), ("libd.so", "/bin/bare")];
    assert_eq!(missing(&disk.closure("/bin/bare")), unmet);
}

#[test]
fn default_directories_can_be_switched_off() {
    let disk = Disk::new();
    let flagged = Fixture { flags_1: 0x0800_0800, ..program(LD_SO, &["libc.so.6"]) };
    disk.put("/bin/tool", &flagged);
    assert_eq!(missing(&disk.closure("/bin/tool")), [("libc.so.6", "/bin/tool")]);
}

#[test]
fn expands_lib_and_platform_for_the_system() {
    let disk = Disk::new();
    disk.put(
        "/bin/tool",
        &program(LD_SO, &["liba.so", "libb.so"]).with(RUNPATH, "/opt/$LIB:/opt/${PLATFORM}"),
    );
    disk.put("/opt/lib/x86_64-linux-gnu/liba.so", &library(&[])).put("/opt/x86_64/libb.so", &library(&[]));
    assert_eq!(disk.closure("/bin/tool").missing, []);
    let plain = Disk::empty();
    plain.put("/bin/tool", &program("/lib/ld.so", &["liba.so"]).with(RUNPATH, "/opt/$LIB"));
    plain.put("/opt/lib/liba.so", &library(&[])).put("/lib/ld.so", &library(&[]));
    assert_eq!(plain.closure("/bin/tool").missing, []);
}

#[test]
fn musl_inherits_every_path_and_is_the_c_library_itself() {
    let musl = "/lib/ld-musl-x86_64.so.1";
    let disk = Disk::empty();
    disk.put(musl, &library(&[]).with(SONAME, "libc.musl-x86_64.so.1"));
    disk.put(
        "/bin/tool",
        &program(musl, &["liba.so", "libm.so.6", "libc.musl-x86_64.so.1", "libz.so"]).with(RUNPATH, "/opt"),
    );
    disk.put("/opt/liba.so", &library(&["libb.so", "libpthread.so.0"])).put("/opt/libb.so", &library(&[]));
    disk.put("/usr/local/lib/libz.so", &library(&[]));
    let expected = [
        "liba.so /opt/liba.so Runpath",
        "libb.so /opt/libb.so Runpath",
        "libz.so /usr/local/lib/libz.so Default",
    ];
    let closure = disk.closure("/bin/tool");
    assert_eq!((found(&closure), missing(&closure)), (expected.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(closure.loaders, [Path::new(musl)]);

    disk.write("/etc/ld-musl-x86_64.path", b"/somewhere\n/else:/third\n");
    disk.put("/third/libz.so", &library(&[]));
    assert!(found(&disk.closure("/bin/tool")).contains(&"libz.so /third/libz.so Default".to_owned()));
}

#[test]
fn an_absent_loader_is_missing() {
    let disk = Disk::empty();
    disk.put("/bin/tool", &program("/lib/ld.so.9", &[]));
    assert_eq!(missing(&disk.closure("/bin/tool")), [("/lib/ld.so.9", "/bin/tool")]);
}

#[test]
fn roots_have_to_be_elf_files() {
    let disk = Disk::new();
    disk.write("/bin/script", b"#!/bin/sh\n").write("/bin/broken", b"\x7fELF and so on and so forth");
    let loader = Loader::at_root(disk.0.path()).unwrap();
    let error = |path: &str| loader.resolve(&[LoadRoot::new(path)]).unwrap_err();
    assert!(matches!(error("/bin/script"), ElfError::NotElf(path) if path == Path::new("/bin/script")));
    assert!(matches!(error("/bin/broken"), ElfError::Malformed { .. }));
    assert!(matches!(error("/bin/absent"), ElfError::File(_)));
    assert!(matches!(Loader::at_root(Path::new("/absent/root")), Err(ElfError::File(_))));
}

#[test]
fn the_order_of_roots_is_irrelevant() {
    let disk = Disk::new();
    for name in ["a", "b", "c"] {
        let needed = format!("lib{name}.so");
        disk.put(&format!("/bin/{name}"), &program(LD_SO, &[&needed, "libshared.so"]).with(RPATH, "/opt"));
        disk.put(&format!("/opt/{needed}"), &library(&["libshared.so", "libnone.so"]));
    }
    disk.put("/opt/libshared.so", &library(&["libc.so.6"]));
    let roots = ["/bin/a", "/bin/b", "/bin/c"].map(LoadRoot::new);
    let backwards: Vec<LoadRoot> = roots.iter().rev().cloned().collect();
    assert_eq!(disk.resolve(&roots), disk.resolve(&backwards));
}
