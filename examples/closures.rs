//! Prints the distributions of a virtual environment that a project with one dependency gets, for
//! each requirement on standard input, as a line of JSON.
//!
//!     echo 'uvicorn[standard]' | cargo run --example closures -- .venv
//!
//! With `--metadata` each line is the text of a METADATA file as JSON, and its fields are printed.
//! `benches/closures` compares both with Python's results.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;

use ipo_oci::python::metadata::core_metadata::Metadata;
use ipo_oci::python::requirements::closure::DeclaredRequirement;
use ipo_oci::python::requirements::requirements_txt::RequirementTarget;
use ipo_oci::python::{ClosureError, DeclaredDependencies, Venv};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args_os().nth(1).ok_or("name a virtual environment, or --metadata")?;
    let venv = if argument == "--metadata" { None } else { Some(Venv::open(Path::new(&argument))?) };
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = match &venv {
            Some(venv) => closure(venv, &line)?,
            None => metadata(&serde_json::from_str::<String>(&line)?),
        };
        writeln!(output, "{answer}")?;
    }
    Ok(())
}

/// Returns the installed distributions that the requirement `text` needs, and the missing ones.
fn closure(venv: &Venv, text: &str) -> Result<Value, Box<dyn Error>> {
    let target = RequirementTarget::Named(Box::new(text.parse()?));
    let root = DeclaredRequirement { target, declared_in: "standard input".to_owned() };
    let mut declared = DeclaredDependencies { roots: vec![root], ..DeclaredDependencies::default() };
    let mut missing = BTreeSet::new();
    let closure = loop {
        match declared.closure(venv) {
            Err(ClosureError::Missing(more)) => {
                declared.allow_missing.extend(more.iter().map(|missing| missing.name.clone()));
                missing.extend(more.into_iter().map(|missing| (missing.name, missing.by)));
            }
            closure => break closure?,
        }
    };
    let members: Vec<&String> = closure.members.keys().collect();
    Ok(json!({ "members": members, "missing": missing }))
}

fn metadata(text: &str) -> Value {
    match Metadata::parse(text.as_bytes()) {
        Ok(metadata) => json!({
            "name": metadata.name,
            "version": metadata.version,
            "requires": metadata.requires_dist,
            "extras": metadata.provides_extra,
            "python": metadata.requires_python,
        }),
        Err(reason) => json!({ "error": reason }),
    }
}
