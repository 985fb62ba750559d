//! A report for the tests of the output formats.

use super::{DistributionSize, Kinds, LayerSize, PackageSize, SCHEMA, SizeReport, SourceSize};
use crate::digest::Digest;

/// Makes a report with one layer, two distributions and one package; all kinds but two have bytes.
pub(super) fn report() -> SizeReport {
    let distribution = |name: &str, disk_bytes, bytecode_bytes| DistributionSize {
        name: name.to_owned(),
        version: "1.0".to_owned(),
        layer: "dependencies".to_owned(),
        disk_bytes,
        bytecode_bytes,
        files: 3,
    };
    SizeReport {
        schema: SCHEMA,
        image: "team/hello:1.0".to_owned(),
        target: "runtime".to_owned(),
        digest: Digest::of(b"image"),
        platform: "linux/amd64".to_owned(),
        disk_bytes: 20_000_000,
        transfer_bytes: 6_000_000,
        files: 12,
        budget_bytes: None,
        layers: vec![LayerSize {
            name: "dependencies".to_owned(),
            digest: Digest::of(b"layer"),
            diff_id: Digest::of(b"tar"),
            disk_bytes: 20_000_000,
            transfer_bytes: 5_999_000,
            files: 12,
            reason: "the distributions that have no layer of their own".to_owned(),
        }],
        distributions: vec![
            distribution("fastapi", 6_000_000, 2_000_000),
            distribution("anyio", 1_000_000, 0),
        ],
        packages: vec![PackageSize {
            name: "libc6".to_owned(),
            version: "2.36".to_owned(),
            disk_bytes: 3_000_000,
            files: 2,
        }],
        kinds: Kinds {
            base: 0,
            distributions: 5_000_000,
            interpreter: 7_000_000,
            system_libraries: 3_000_000,
            system_files: 0,
            bytecode: 4_000_000,
            environment: 500_000,
            source: 500_000,
            extra: 0,
        },
        source_files: vec![
            SourceSize { path: "/app/model.bin".to_owned(), disk_bytes: 300_000 },
            SourceSize { path: "/app/main.py".to_owned(), disk_bytes: 100_000 },
            SourceSize { path: "/app/a.py".to_owned(), disk_bytes: 99_999 },
        ],
    }
}
