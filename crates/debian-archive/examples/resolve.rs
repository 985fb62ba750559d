//! Resolves packages as `apt-get install` does: `resolve [OPTION…] PACKAGES_FILE… -- NAME… [-- NAME…]…`.
//!
//! Each group of names is one resolution. Prints `NAME=VERSION`, one line a group, or `error: …`. With `--relations`, prints
//! the parsed relations of all packages instead.

use std::fs::File;
use std::io::{BufReader, Write};
use std::time::Instant;

use debian_archive::resolve::{Recommends, Request, ScriptDependencies, Universe, resolve};
use debian_archive::{index, relation};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let (mut recommends, mut script_dependencies) = (Recommends::Omit, ScriptDependencies::Include);
    let (mut architecture, mut timings, mut relations) = (String::from("amd64"), false, false);
    while let Some(option) = arguments.next_if(|argument| argument.starts_with("--") && argument != "--") {
        match &*option {
            "--recommends" => recommends = Recommends::Include,
            "--omit-scripts" => script_dependencies = ScriptDependencies::Omit,
            "--timings" => timings = true,
            "--relations" => relations = true,
            other => {
                other.strip_prefix("--architecture=").ok_or("unknown option")?.clone_into(&mut architecture);
            }
        }
    }
    let start = Instant::now();
    let mut records = Vec::new();
    let mut suites = 0;
    while let Some(file) = arguments.next_if(|argument| argument != "--") {
        records.extend(index::parse(BufReader::with_capacity(1 << 16, File::open(file)?), suites)?);
        suites += 1;
    }
    let parsed = start.elapsed();
    let universe = Universe::new(records);
    if timings {
        eprintln!(
            "{} packages: parsed in {parsed:?}, indexed after {:?}",
            universe.records().len(),
            start.elapsed()
        );
    }
    if relations {
        return print_relations(&universe);
    }
    let mut groups: Vec<Vec<String>> = Vec::new();
    for argument in arguments {
        match &*argument {
            "--" => groups.push(Vec::new()),
            _ => groups.last_mut().ok_or("a name before `--`")?.push(argument),
        }
    }
    for wanted in &groups {
        let start = Instant::now();
        let request =
            Request { wanted, installed: &[], recommends, architecture: &architecture, script_dependencies };
        match resolve(&universe, &request) {
            Ok(records) => {
                let line: Vec<_> =
                    records.iter().map(|record| format!("{}={}", record.name, record.version)).collect();
                println!("{}", line.join(" "));
            }
            Err(error) => println!("error: {}", error.to_string().replace('\n', " ")),
        }
        if timings {
            eprintln!("{} in {:?}", wanted.join(" "), start.elapsed());
        }
    }
    Ok(())
}

/// Prints each field as `NAME VERSION FIELD: …`, in one form whatever the spaces of the index.
fn print_relations(universe: &Universe) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for record in universe.records() {
        let fields = &record.relations;
        for (name, field) in [
            ("Pre-Depends", &fields.pre_depends),
            ("Depends", &fields.depends),
            ("Recommends", &fields.recommends),
            ("Conflicts", &fields.conflicts),
            ("Breaks", &fields.breaks),
            ("Provides", &fields.provides),
        ] {
            let relations = relation::parse(field)?;
            let text: Vec<_> = relations.iter().map(|alternatives| relation::display(alternatives)).collect();
            writeln!(out, "{} {} {name}: {}", record.name, record.version, text.join(", "))?;
        }
    }
    Ok(())
}
