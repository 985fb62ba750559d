//! Lists the files of a folder that its `.dockerignore` keeps: `cargo run --example list -- FOLDER`

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;

use dockerignore::{Dockerignore, Fate, Node};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let folder = Path::new(&folder);
    let ignore = match fs::read(folder.join(".dockerignore")) {
        Ok(bytes) => Dockerignore::parse(".dockerignore", &bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Dockerignore::empty(),
        Err(error) => return Err(error.into()),
    };
    list(folder, &ignore.root())
}

fn list(folder: &Path, node: &Node<'_>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name =
            entry.file_name().into_string().map_err(|name| format!("invalid name {name:?}: not UTF-8"))?;
        let child = node.child(&name)?;
        if !entry.file_type()?.is_dir() {
            if child.fate() == Fate::Kept {
                println!("{}", child.path());
            }
        } else if !child.may_prune() {
            list(&entry.path(), &child)?;
        }
    }
    Ok(())
}
