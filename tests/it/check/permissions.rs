//! IPO601 to IPO603.

use tar::EntryType;
use test_macros::test;

use super::Changed;

fn with_mode(path: &str, mode: u32) -> Changed {
    let mut changed = Changed::default();
    changed.layer = changed.layer.member(EntryType::Regular, path, "", mode, b"x");
    changed
}

#[test]
fn a_set_id_program_is_reported_and_a_plain_one_is_not() {
    with_mode("usr/local/bin/tool", 0o4755).reports("IPO601", "/usr/local/bin/tool: runs as user 0");
    with_mode("usr/local/bin/tool", 0o2755).reports("IPO601", "runs as group 0");
    // Without execute permission, the bit has no effect; on a directory it has another meaning.
    with_mode("usr/local/bin/tool", 0o4644).stays_silent("IPO601");
    with_mode("usr/local/bin/tool", 0o755).stays_silent("IPO601");
}

#[test]
fn a_world_writable_file_is_reported_and_a_shared_directory_is_not() {
    with_mode("srv/data.json", 0o666)
        .reports("IPO602", "/srv/data.json: is a file that every user may write");
    let directory = |mode| {
        let mut changed = Changed::default();
        changed.layer = changed.layer.dir("srv/uploads", mode);
        changed
    };
    directory(0o777).reports("IPO602", "/srv/uploads: is a directory");
    directory(0o1777).stays_silent("IPO602");
    with_mode("srv/data.json", 0o664).stays_silent("IPO602");
    let mut link = Changed::default();
    link.layer = link.layer.link("srv/link", "/app");
    link.stays_silent("IPO602");
}

#[test]
fn source_that_the_process_may_write_is_reported_and_its_data_are_not() {
    let owned = |path: &str| {
        let mut changed = Changed::default();
        changed.layer = changed.layer.owned(1000, path, b"x = 1\n");
        changed
    };
    owned("app/app/extra.py").reports("IPO603", "/app/app/extra.py: is source that the user");
    owned("app/data/state.json").stays_silent("IPO603");
    with_mode("app/app/extra.py", 0o644).stays_silent("IPO603");
}
