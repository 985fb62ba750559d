//! Builds a project's image and draws a bar, from counts and not from sentences.
//!
//!     cargo run --example progress --no-default-features -- PROJECT oci:dist/image:1.0

use std::error::Error;

use ipo_oci::builder::Builder;
use ipo_oci::progress::{Progress, Step, Warning};
use ipo_oci::store::WriteOptions;

struct Bar;

impl Progress for Bar {
    fn warn(&self, warning: Warning) {
        eprintln!("\r\x1b[Kwarning: {warning}");
    }

    fn step(&self, step: &Step<'_>) {
        eprint!("\r\x1b[K{step}");
    }

    fn advance(&self, step: &Step<'_>) {
        let Some(count) = step.count else { return };
        let bar = "=".repeat(usize::from(count.percent()) / 5);
        eprint!("\r\x1b[K[{bar:20}] {:>3} % {step}", count.percent());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [project, destination] = &arguments[..] else {
        return Err("usage: progress PROJECT DESTINATION".into());
    };
    let built = Builder::from_project(project)?.build(&Bar)?;
    let stored = built.write_to(&destination.parse()?, &WriteOptions::default(), &Bar)?;
    eprintln!();
    println!("{stored}");
    Ok(())
}
