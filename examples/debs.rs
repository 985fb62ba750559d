//! Writes the entries of Debian packages as a tar archive, for `benches/debs`; warnings go to standard error.
//!
//!     cargo run --example debs -- OUT.tar [PATTERN…] FILE.deb…

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use ipo_oci::debian::install::{InstallOptions, PathRules, install};
use ipo_oci::layer::{NoWatch, write_archive};
use ipo_oci::tree::Tree;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let output = arguments.next().ok_or("usage: debs OUT.tar [PATTERN…] FILE.deb…")?;
    let (debs, patterns): (Vec<String>, Vec<String>) =
        arguments.partition(|argument| argument.ends_with(".deb"));
    let debs: Vec<PathBuf> = debs.into_iter().map(PathBuf::from).collect();
    let work = tempfile::tempdir()?;
    let options = InstallOptions { exclude: PathRules::new(patterns) };
    let installed = install(&debs, None, &options, work.path())?;
    for warning in &installed.warnings {
        eprintln!("warning: {warning}");
    }
    let mut tree = Tree::new();
    for entry in installed.entries {
        tree.insert(entry)?;
    }
    write_archive(&tree, &mut BufWriter::new(File::create(output)?), &mut NoWatch)?;
    Ok(())
}
