//! Libraries that modules load by name, and programs that distributions start.

use test_macros::test;

use super::Changed;

/// The directory of the example's distributions.
const SITE: &str = "app/.venv/lib/python3.11/site-packages";

/// The files of a distribution without modules.
fn distribution(changed: Changed, name: &str, files: &[&str]) -> Changed {
    let info = format!("{name}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
    let record = [files.join(",,\n"), format!("{info}/METADATA,,\n")].join(",,\n");
    let changed = changed
        .file(&format!("{SITE}/{info}/METADATA"), metadata)
        .file(&format!("{SITE}/{info}/RECORD"), record);
    files.iter().fold(changed, |changed, file| changed.file(&format!("{SITE}/{file}"), "x"))
}

#[test]
fn a_library_is_opened_by_its_file_name() {
    let magic = || distribution(Changed::default(), "python-magic", &[]);
    magic().reports("IPO106", "loads libmagic.so.1 by name");
    magic().file("usr/lib/x86_64-linux-gnu/libmagic.so.1", "x").stays_silent("IPO106");
}

#[test]
fn find_library_needs_ldconfig_or_a_compiler() {
    let zbar = || distribution(Changed::default(), "pyzbar", &[]);
    let with_library = || zbar().file("usr/lib/libzbar.so.0", "x");
    zbar().reports("IPO106", "use a base that has libzbar0 installed");
    with_library().reports("IPO106", "the image has neither, though it has libzbar.so.0");
    with_library().file("sbin/ldconfig", "x").stays_silent("IPO106");
    zbar().file("sbin/ldconfig", "x").reports("IPO106", "libzbar.so.0 is not in the image");
    let cache = b"\0libz.so.1\0/usr/lib/libz.so.1\0";
    let with_cache = || with_library().file("sbin/ldconfig", "x").file("etc/ld.so.cache", cache);
    with_cache().reports("IPO106", "/etc/ld.so.cache of the image does not list libzbar.so.0");
}

#[test]
fn a_wheel_may_bring_its_library_or_have_another_way() {
    distribution(Changed::default(), "soundfile", &["_soundfile_data/libsndfile_x86_64.so"])
        .stays_silent("IPO106");
    distribution(Changed::default(), "soundfile", &["other.py"]).reports("IPO106", "sndfile");
    let psycopg = || distribution(Changed::default(), "psycopg", &[]);
    psycopg().reports("IPO106", "install the distribution psycopg-binary");
    distribution(psycopg(), "psycopg-binary", &[]).stays_silent("IPO106");
}

#[test]
fn the_source_names_a_library() {
    let module = |text: &str| Changed::default().file("app/native.py", text);
    module("import ctypes\n\nLIB = ctypes.CDLL('libnope.so.1')\n")
        .reports("IPO106", "loads libnope.so.1 by name, which is not in the image (line 3)");
    for text in [
        "import ctypes\n\nLIB = ctypes.CDLL('libc.so.6')\n",
        "import ctypes\n\ntry:\n    LIB = ctypes.CDLL('libnope.so.1')\nexcept OSError:\n    LIB = None\n",
        "import ctypes, sys\n\nif sys.platform == 'darwin':\n    LIB = ctypes.CDLL('libnope.so.1')\n",
        "# ctypes.CDLL('libnope.so.1')\n",
    ] {
        module(text).stays_silent("IPO106");
    }
}

#[test]
fn a_distribution_starts_a_program() {
    let git = || distribution(Changed::default(), "GitPython", &[]);
    git().reports("IPO107", "starts the program `git`, which is not in the image");
    git().file("usr/bin/git", "x").stays_silent("IPO107");
}
