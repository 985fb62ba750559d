//! IPO101 to IPO105, on modules of real wheels and programs of this machine.

use std::path::Path;
use std::process::Command;

use super::{Changed, report, site};
use crate::support::{requires, run};
use ipo_oci::platform::Platform;
use tar::EntryType;
use test_macros::test;

/// Compiles a shared library or program of C source.
fn compiled(arguments: &[&str], source: &str) -> Vec<u8> {
    requires("cc");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, output) = (folder.path().join("x.c"), folder.path().join("x"));
    fs_err::write(&file, source).expect("a file");
    // The linker looks for this library by its name.
    let needed = folder.path().join("libabsent.so");
    run(Command::new("cc")
        .args(["-shared", "-Wl,-soname,libabsent.so.7", "-x", "c", "/dev/null", "-o"])
        .arg(&needed))
    .success();
    run(Command::new("cc").arg(&file).args(arguments).arg("-L").arg(folder.path()).arg("-o").arg(&output))
        .success();
    fs_err::read(output).expect("a file")
}

fn with_program(path: &str, bytes: &[u8]) -> Changed {
    Changed::default().program(path, bytes)
}

#[test]
fn a_module_that_lacks_a_library_is_reported_until_the_library_is_there() {
    let module =
        compiled(&["-shared", "-fPIC", "-Wl,--no-as-needed", "-labsent"], "int f(void) { return 1; }");
    let path = format!("{}/extra.so", site());
    with_program(&path, &module).reports("IPO103", "needs libabsent.so.7, which is not in the image");
    // In a directory that the loader searches.
    let library = compiled(&["-shared", "-fPIC"], "int g(void) { return 1; }");
    let mut complete = with_program(&path, &module);
    complete.layer = complete.layer.member(EntryType::Regular, "usr/lib/libabsent.so.7", "", 0o644, &library);
    complete.stays_silent("IPO103");
    // In one that only a variable names.
    let mut named = with_program(&path, &module);
    named.layer = named.layer.member(EntryType::Regular, "opt/lib/libabsent.so.7", "", 0o644, &library);
    named.process.env = vec![("LD_LIBRARY_PATH".to_owned(), "/opt/lib".to_owned())];
    named.stays_silent("IPO103");
}

#[test]
fn a_program_without_its_loader_is_reported() {
    let loader = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    let source = "int main(void) { return 0; }";
    with_program("opt/tool", &compiled(&[loader], source))
        .reports("IPO102", "/opt/tool: needs the loader /lib/ld-musl-x86_64.so.1");
    with_program("opt/tool", &compiled(&[], source)).stays_silent("IPO102");
    with_program("opt/tool", &compiled(&["-static"], source)).stays_silent("IPO102");
}

#[test]
fn a_library_that_is_too_old_is_reported() {
    let script = tempfile::NamedTempFile::new().expect("a file");
    fs_err::write(script.path(), "OWN_2.0 { global: f; };\n").expect("a file");
    let versioned = format!("-Wl,--version-script={}", script.path().display());
    let folder = tempfile::tempdir().expect("a folder");
    let made = |name: &str, arguments: &[&str], source: &str| {
        let (file, output) = (folder.path().join("y.c"), folder.path().join(name));
        fs_err::write(&file, source).expect("a file");
        run(Command::new("cc")
            .args(["-shared", "-fPIC"])
            .arg(&file)
            .args(arguments)
            .arg("-L")
            .arg(folder.path())
            .arg("-o")
            .arg(&output))
        .success();
        fs_err::read(output).expect("a file")
    };
    requires("cc");
    let new = made("libown.so", &[&versioned, "-Wl,-soname,libown.so"], "int f(void) { return 1; }");
    let module = made("user.so", &["-lown"], "int f(void); int g(void) { return f(); }");
    fs_err::write(script.path(), "OWN_1.0 { global: h; };\n").expect("a file");
    let old = made("libold.so", &[&versioned, "-Wl,-soname,libown.so"], "int h(void) { return 1; }");
    let image = |library: &[u8]| {
        let mut changed = with_program(&format!("{}/user.so", site()), &module);
        changed.layer = changed.layer.member(EntryType::Regular, "usr/lib/libown.so", "", 0o644, library);
        changed
    };
    image(&old).reports("IPO104", "needs OWN_2.0 of libown.so, and /usr/lib/libown.so goes up to OWN_1.0");
    image(&new).stays_silent("IPO104");
}

#[test]
fn a_module_for_another_machine_is_reported() {
    let mut module = compiled(&["-shared", "-fPIC"], "int f(void) { return 1; }");
    assert!(Path::new("/proc/self").exists() && module.len() > 20);
    with_program(&format!("{}/extra.so", site()), &module).stays_silent("IPO101");
    // `e_machine` of AArch64.
    module[18..20].copy_from_slice(&183_u16.to_le_bytes());
    with_program(&format!("{}/extra.so", site()), &module).reports("IPO101", "built for arm64");
}

#[test]
fn an_image_that_is_declared_for_another_platform_is_reported() {
    let mut image = Changed::default().image();
    assert_eq!(report(&image, "IPO101").diagnostics, []);
    let native = image.platform.clone();
    image.platform = Platform::new("linux", "s390x", None);
    let found = report(&image, "IPO101").diagnostics;
    let messages: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
    let expected = format!(
        "the image is for linux/s390x, and most of its programs and libraries are for {}",
        native.architecture
    );
    assert_eq!(messages, [expected]);
}

#[test]
fn a_module_for_musl_is_reported() {
    let module = compiled(
        &["-shared", "-fPIC", "-nostdlib", "-Wl,--no-as-needed", "-labsent"],
        "int f(void) { return 1; }",
    );
    let glibc = compiled(&["-shared", "-fPIC", "-Wl,--no-as-needed"], "int f(void) { return 1; }");
    with_program(&format!("{}/extra.so", site()), &glibc).stays_silent("IPO105");
    // Only the name of the needed library tells the C libraries apart.
    let at = module.windows(14).position(|part| part == b"libabsent.so.7").expect("the name");
    let mut musl = module.clone();
    musl[at..at + 14].copy_from_slice(b"libc.musl-x.so");
    with_program(&format!("{}/extra.so", site()), &musl).reports("IPO105", "built for musl");
}
