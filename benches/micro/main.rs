//! Benchmarks of single steps on generated inputs: `cargo bench`, or `cargo bench -- layer` for a
//! part of the names.
//!
//! `benches/peers` times whole builds; these benchmarks show the share of each step, and the effect
//! of a change to one module. They use only the public interface, so they compile as long as an
//! embedder's program does.

mod inputs;

use std::hint::black_box;
use std::process::Command;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use ipo_oci::context::{Context, Detail, Dockerignore, IgnoreSource};
use ipo_oci::digest::Digest;
use ipo_oci::elf;
use ipo_oci::layer::{self, Compression, LayerReader, Limits, NoWatch};
use ipo_oci::python::environment::listing;
use ipo_oci::python::{Activation, DistributionSelection, Relocation, Venv, bytecode};
use ipo_oci::tree::ImagePath;

/// Files of the source tree and of the environment, and bytes of a layer: large enough to make the
/// start of threads negligible.
const FILES: usize = 5_000;
const BYTES: usize = 32 << 20;

fn main() {
    divan::main();
}

/// Matches paths against `.dockerignore`, without a file system.
#[divan::bench]
fn context_match(bencher: Bencher) {
    let ignore = Dockerignore::parse(".dockerignore", inputs::DOCKERIGNORE.as_bytes()).expect("it is valid");
    let paths: Vec<String> = (0..FILES).map(inputs::source_path).collect();
    bencher.counter(ItemsCount::new(paths.len())).bench_local(|| {
        for path in &paths {
            let _ = black_box(ignore.verdict(path));
        }
    });
}

/// Walks a source tree under `.dockerignore`.
#[divan::bench]
fn context_walk(bencher: Bencher) {
    let folder = inputs::source(FILES);
    let context = Context::open(folder.path(), IgnoreSource::Default).expect("it is a folder");
    bencher
        .counter(ItemsCount::new(FILES))
        .bench_local(|| context.walk(Detail::SkipIgnored).expect("it can be read"));
}

/// Lists the files of an environment.
#[divan::bench]
fn venv_list(bencher: Bencher) {
    let venv = inputs::Environment::new(FILES);
    let root = venv.root();
    bencher.counter(ItemsCount::new(FILES)).bench_local(|| listing::list(&root).expect("it can be read"));
}

/// Opens an environment: lists its files and reads the installed distributions.
#[divan::bench]
fn venv_open(bencher: Bencher) {
    let venv = inputs::Environment::new(FILES);
    let root = venv.root();
    bencher.counter(ItemsCount::new(FILES)).bench_local(|| Venv::open(&root).expect("it is an environment"));
}

/// Creates the image entries of an environment.
#[divan::bench]
fn venv_relocate(bencher: Bencher) {
    let generated = inputs::Environment::new(FILES);
    let venv = Venv::open(&generated.root()).expect("it is an environment");
    let path = |text| ImagePath::new(text).expect("a path");
    let relocation = Relocation {
        venv: &venv,
        prefix: path("/app/.venv"),
        interpreter: path("/usr/local/bin/python3.11"),
        workdir: path("/app"),
        context: generated.context(),
        selection: DistributionSelection::All,
        activation: Activation::Exclude,
    };
    bencher.counter(ItemsCount::new(FILES)).bench_local(|| relocation.run().expect("it can be moved"));
}

/// Canonicalizes a `.pyc`, as for each module that an installer compiled. Needs `python3` to
/// compile it.
#[divan::bench]
fn bytecode_canonicalize(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let pyc = folder.path().join("argparse.pyc");
    let script =
        "import argparse, py_compile, sys; py_compile.compile(argparse.__file__, sys.argv[1], doraise=True)";
    if !Command::new("python3").args(["-c", script]).arg(&pyc).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: bytecode_canonicalize needs python3");
        return;
    }
    let pyc = std::fs::read(&pyc).expect("it was written");
    bencher.counter(BytesCount::new(pyc.len())).bench_local(|| {
        bytecode::canonicalize(&pyc, "/usr/local/lib/python3/argparse.py", Some([7; 8]))
            .expect("it is bytecode")
    });
}

/// Writes the archive and computes its digest, from files on disk.
#[divan::bench(sample_count = 20)]
fn layer_tar(bencher: Bencher) {
    write_layer(bencher, Compression::None);
}

/// Compresses with gzip at common levels, one thread for each processor.
#[divan::bench(args = [1, 3, 6], sample_count = 20)]
fn layer_gzip(bencher: Bencher, level: u32) {
    write_layer(bencher, Compression::Gzip(level));
}

/// Compresses with zstd.
#[cfg(feature = "zstd")]
#[divan::bench(args = [1, 3, 9], sample_count = 20)]
fn layer_zstd(bencher: Bencher, level: i32) {
    write_layer(bencher, Compression::Zstd(level));
}

fn write_layer(bencher: Bencher, compression: Compression) {
    let (tree, _folder) = inputs::tree(BYTES);
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| {
        layer::write(&tree, compression, None, &mut std::io::sink(), &mut NoWatch).expect("it can be written")
    });
}

/// Reads a layer and computes its digests.
#[divan::bench(args = ["none", "gzip", "zstd"], sample_count = 20)]
fn layer_read(bencher: Bencher, how: &str) {
    let compression = match how {
        "none" => Compression::None,
        "gzip" => Compression::Gzip(3),
        _ if cfg!(feature = "zstd") => Compression::Zstd(3),
        _ => return,
    };
    let (tree, _folder) = inputs::tree(BYTES);
    let mut blob = Vec::new();
    layer::write(&tree, compression, None, &mut blob, &mut NoWatch).expect("it can be written");
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| {
        LayerReader::new(blob.as_slice(), Limits::default())
            .and_then(LayerReader::finish)
            .expect("it can be read")
    });
}

/// Computes SHA-256.
#[divan::bench(sample_count = 20)]
fn digest(bencher: Bencher) {
    let bytes = inputs::bytes(BYTES, 1);
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| Digest::of(&bytes));
}

/// Reads the ELF headers of this program, which has dozens of megabytes.
#[divan::bench]
fn elf_headers(bencher: Bencher) {
    let program = std::env::current_exe().expect("it has a path");
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| elf::read(&program).expect("it is ELF"));
}
