//! A short run of the fuzz targets in `fuzz/fuzz_targets/`, without libFuzzer and without a second build.
//!
//!     cargo test --test fuzz                        # all targets
//!     FUZZ_SECONDS=60 cargo test --test fuzz elf    # one target for a minute
//!
//! Inputs are the files of `fuzz/regressions/TARGET`, the seeds that `fuzz/seeds` makes, and mutations of both, in an order
//! that the number of the mutation alone determines. libFuzzer finds more, because it sees the branches that an input
//! takes; this run finds shallow faults before the weekly run. bolero's engine for `cargo test` mutates no seed, and the
//! mutators of libFuzzer and LibAFL need their own runtimes.

// The targets use `libfuzzer_sys::fuzz_target`, which is a macro of this file.
extern crate self as libfuzzer_sys;

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};

/// The longest input in bytes, as in `fuzz/run`.
const LONGEST: usize = 1 << 16;
/// Mutations of a target, unless `FUZZ_SECONDS` is set.
const MUTATIONS: u64 = 20_000;
/// The time of all mutations of a target, unless `FUZZ_SECONDS` is set.
const TIME: Duration = Duration::from_millis(1500);
/// The time of one input.
const TIME_OF_INPUT: Duration = Duration::from_secs(20);
/// The peak memory of the targets that run at one time, as in `fuzz/run`.
const PEAK_KILOBYTES: u64 = 2 << 20;
/// Integers at the ends of ranges.
const INTEGERS: [u64; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
/// Pieces of text that readers treat in a special way.
const WORDS: [&str; 16] = [
    "\0",
    "\n",
    "\r\n",
    "..",
    "/",
    "\"",
    "'",
    "\\",
    "{",
    "[",
    "-1",
    "99999999999999999999",
    "\u{feff}",
    "é",
    "$(",
    "<<",
];

/// Reads the input of a target from bytes, in the format of libFuzzer's files.
pub(crate) fn input<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

/// Includes the targets, each with a test.
macro_rules! targets {
    ($($name:ident $path:literal)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[path = $path]
            #[allow(unused_attributes, reason = "`no_main` is for the build with libFuzzer")]
            mod $name;

            #[test]
            fn $name() {
                fuzz(stringify!($name), $name::run);
            }
        )*
    };
}

targets! {
    application "../fuzz/fuzz_targets/application.rs"
    archive "../fuzz/fuzz_targets/archive.rs"
    base "../fuzz/fuzz_targets/base.rs"
    base_form "../fuzz/fuzz_targets/base_form.rs"
    bytecode "../fuzz/fuzz_targets/bytecode.rs"
    cache "../fuzz/fuzz_targets/cache.rs"
    check "../fuzz/fuzz_targets/check.rs"
    deb "../fuzz/fuzz_targets/deb.rs"
    dist_info "../fuzz/fuzz_targets/dist_info.rs"
    dockerignore "../fuzz/fuzz_targets/dockerignore.rs"
    elf "../fuzz/fuzz_targets/elf.rs"
    environment "../fuzz/fuzz_targets/environment.rs"
    git "../fuzz/fuzz_targets/git.rs"
    hints "../fuzz/fuzz_targets/hints.rs"
    image "../fuzz/fuzz_targets/image.rs"
    layer "../fuzz/fuzz_targets/layer.rs"
    lock "../fuzz/fuzz_targets/lock.rs"
    manifest "../fuzz/fuzz_targets/manifest.rs"
    packages "../fuzz/fuzz_targets/packages.rs"
    products "../fuzz/fuzz_targets/products.rs"
    project "../fuzz/fuzz_targets/project.rs"
    registry "../fuzz/fuzz_targets/registry.rs"
    release "../fuzz/fuzz_targets/release.rs"
    scripts "../fuzz/fuzz_targets/scripts.rs"
    settings "../fuzz/fuzz_targets/settings.rs"
    sources "../fuzz/fuzz_targets/sources.rs"
    system "../fuzz/fuzz_targets/system.rs"
}

#[test]
fn every_target_is_included_and_has_seeds() {
    let mut found: Vec<String> = files(&repository().join("fuzz/fuzz_targets"))
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
    for name in NAMES {
        assert!(!files(&seeds().join(name)).is_empty(), "fuzz/seeds makes no seed for {name}");
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files of a folder, ordered by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Returns the folder with the seeds of all targets, which the first test makes.
fn seeds() -> &'static Path {
    static SEEDS: OnceLock<PathBuf> = OnceLock::new();
    SEEDS.get_or_init(|| make_seeds("fuzz-seeds"))
}

fn make_seeds(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs_err::remove_dir_all(&folder);
    let output = Command::new(repository().join("fuzz/seeds"))
        .arg(&folder)
        .env("IPO_OCI", env!("CARGO_BIN_EXE_ipo-oci"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

#[test]
fn seeds_are_the_same_in_each_run() {
    let again = make_seeds("fuzz-seeds-again");
    for name in NAMES {
        // Seeds are named by their digests.
        let names = |folder: &Path| {
            let files = files(&folder.join(name));
            files.iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(seeds()), names(&again), "{name}");
    }
}

/// Runs a target on all stored inputs and on mutations of them.
fn fuzz(name: &str, run: fn(&[u8])) {
    let mut target = Target::new(name, run);
    let mut stored = Vec::new();
    for folder in [repository().join("fuzz/regressions"), seeds().to_path_buf()] {
        stored.extend(files(&folder.join(name)).iter().map(|path| fs_err::read(path).unwrap()));
    }
    stored.push(Vec::new());
    for bytes in &stored {
        target.check(bytes);
    }
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().expect("FUZZ_SECONDS"));
    let (most, time) = match seconds {
        Some(seconds) => (u64::MAX, Duration::from_secs(seconds)),
        None => (MUTATIONS, TIME),
    };
    let begin = Instant::now();
    let mut number = 0;
    while number < most && begin.elapsed() < time {
        target.check(&mutation(&stored, number));
        number += 1;
    }
    println!("{name}: {} files and {number} mutations", stored.len());
    target.finish();
}

/// A running target and its current input as a file, which remains if the process ends.
struct Target {
    run: fn(&[u8]),
    file: PathBuf,
}

impl Target {
    fn new(name: &str, run: fn(&[u8])) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-findings");
        fs_err::create_dir_all(&folder).unwrap();
        Self { run, file: folder.join(name) }
    }

    fn check(&mut self, bytes: &[u8]) {
        fs_err::write(&self.file, bytes).unwrap();
        let begin = Instant::now();
        let result = panic::catch_unwind(AssertUnwindSafe(|| (self.run)(bytes)));
        let time = begin.elapsed();
        let keep = format!(
            "on the {} bytes of {}; keep the file in fuzz/regressions/{}/",
            bytes.len(),
            self.file.display(),
            self.file.file_name().unwrap().display()
        );
        assert!(result.is_ok(), "the target panicked {keep}");
        assert!(time < TIME_OF_INPUT, "the target took {time:?} {keep}");
        let peak = peak_kilobytes();
        assert!(peak < PEAK_KILOBYTES, "the targets used {peak} kB, lastly {keep}");
    }

    fn finish(self) {
        fs_err::remove_file(&self.file).unwrap();
    }
}

fn peak_kilobytes() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Returns a stored input with up to eight changes, which `number` determines.
fn mutation(stored: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes = stored[random.below(stored.len())].clone();
    for _ in 0..1 << random.below(4) {
        change(&mut bytes, stored, &mut random);
    }
    bytes.truncate(LONGEST);
    bytes
}

/// Changes bytes in one of ten ways.
fn change(bytes: &mut Vec<u8>, stored: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let longest = 1 << random.below(12);
    let end = (at + 1 + random.below(longest)).min(bytes.len());
    match random.below(10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => bytes[at..end].iter_mut().for_each(|byte| *byte = random.byte()),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1 - piece.len());
            bytes[to..to + piece.len()].copy_from_slice(&piece);
        }
        6 => {
            let other = &stored[random.below(stored.len())];
            let from = random.below(other.len() + 1);
            let piece = &other[from..(from + end - at).min(other.len())];
            bytes.splice(at..end, piece.iter().copied());
        }
        7 => {
            let word = WORDS[random.below(WORDS.len())].bytes();
            bytes.splice(at..at, word);
        }
        8 => number_in_text(bytes, at, random),
        _ => {
            let mut piece =
                INTEGERS[random.below(INTEGERS.len())].to_le_bytes()[..1 << random.below(4)].to_vec();
            if random.below(2) == 0 {
                piece.reverse();
            }
            let end = (at + piece.len()).min(bytes.len());
            bytes.splice(at..end, piece);
        }
    }
}

/// Replaces the first decimal or octal number from `at` on.
fn number_in_text(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(first) = bytes[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else {
        return;
    };
    let digits = bytes[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let integer = INTEGERS[random.below(INTEGERS.len())];
    // Fields of a fixed width keep their width.
    let text = if random.below(2) == 0 { format!("{integer}") } else { format!("{integer:0digits$o}") };
    bytes.splice(first..first + digits, text.bytes());
}

/// Numbers of SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// Declares a fuzz target as the macro of `libfuzzer-sys` does. Below the targets, since they import the macro by its path.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: $type:ty| $body:expr) => {
        pub(crate) fn run(bytes: &[u8]) {
            fn target($input: $type) {
                $body
            }
            if let Some(input) = $crate::input(bytes) {
                target(input);
            }
        }
    };
}
