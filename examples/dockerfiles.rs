//! Prints the instructions of Dockerfiles as JSON, one file a line, for `benches/dockerfiles`.
//!
//!     find . -name Dockerfile | cargo run --example dockerfiles

use std::io::{BufRead as _, Write as _};

fn main() -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    for file in std::io::stdin().lock().lines() {
        let text = std::fs::read(file?)?;
        let instructions = ipo_oci::service::dockerfile_instructions(&String::from_utf8_lossy(&text));
        writeln!(output, "{instructions}")?;
    }
    Ok(())
}
