//! `ipo-oci cache`: lists, verifies and prunes the cache.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipo_oci::cache::gc::{self, CacheEntry, CacheEntryKind};
use ipo_oci::image::rfc3339;
use ipo_oci::printable;
use ipo_oci::settings::{Size, human_size};

use super::arguments::setting;
use super::failure::Failure;
use super::terminal::Terminal;

/// List, verify or prune the cache
#[derive(Subcommand, Debug)]
pub(crate) enum CacheCommand {
    /// List the cache, most recently used first
    Ls(CacheListArguments),
    /// Verify everything with a digest, and remove damaged files; exit code 1 if there were any
    Verify(CacheFolderArgument),
    /// Remove leftovers of killed builds and other versions, and the least recently used files
    Prune(PruneArguments),
}

/// The cache folder.
#[derive(Args, Debug)]
pub(crate) struct CacheFolderArgument {
    /// Folder of the cache [default: ipo-oci in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "IPO_OCI_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
}

/// Arguments of `ipo-oci cache ls`.
#[derive(Args, Debug)]
pub(crate) struct CacheListArguments {
    #[command(flatten)]
    folder: CacheFolderArgument,
    /// Print JSON, with sizes in bytes
    #[arg(long)]
    json: bool,
}

/// Arguments of `ipo-oci cache prune`.
#[derive(Args, Debug)]
pub(crate) struct PruneArguments {
    #[command(flatten)]
    folder: CacheFolderArgument,
    /// Keep at most this much, such as 2GB; 0 keeps nothing [default: everything in use]
    #[arg(long, value_name = "SIZE", value_parser = setting::<Size>)]
    max_size: Option<Size>,
}

impl CacheFolderArgument {
    fn path(&self) -> Result<PathBuf, Failure> {
        super::access::folder(self.cache_dir.as_ref()).ok_or_else(|| {
            Failure::usage(
                "cache folder not found: HOME is not set",
                "set HOME, or name one with --cache-dir",
            )
        })
    }
}

/// Runs the subcommand.
pub(crate) fn run(command: &CacheCommand, terminal: &Terminal) -> Result<(), Failure> {
    match command {
        CacheCommand::Ls(arguments) => {
            let kept = gc::list(&arguments.folder.path()?)?;
            if arguments.json { terminal.json(&as_json(&kept)) } else { terminal.result(&as_table(&kept)) }
        }
        CacheCommand::Verify(folder) => {
            let damaged = gc::verify(&folder.path()?)?;
            let mut text = String::new();
            for one in &damaged {
                let _ = writeln!(
                    text,
                    "removed {}: {}",
                    printable::path(&one.path),
                    printable::name(&one.reason)
                );
            }
            terminal.result(&text)?;
            match damaged.len() {
                0 => Ok(()),
                count => Err(Failure::found(
                    format!("found {count} damaged files in the cache"),
                    "check the disk if this happens again; the files are removed, and restored when needed",
                )),
            }
        }
        CacheCommand::Prune(arguments) => {
            let most = arguments.max_size.map(|size| size.0);
            let pruned = gc::prune(&arguments.folder.path()?, most)?;
            let (bytes, left) = (human_size(pruned.bytes), human_size(pruned.left));
            terminal.result(&format!("removed {} of {bytes}, {left} remain\n", pruned.removed))
        }
    }
}

/// Formats a table of layers, and totals by kind.
fn as_table(kept: &[CacheEntry]) -> String {
    let mut text = String::new();
    let layers: Vec<&CacheEntry> = kept.iter().filter(|kept| kept.kind == CacheEntryKind::Layer).collect();
    if !layers.is_empty() {
        let name = |layer: &CacheEntry| printable::name(&layer.name);
        let width = layers.iter().map(|layer| name(layer).chars().count()).max().unwrap_or(0).max(5);
        let _ = writeln!(text, "{:width$}  {:>9}  {:20}  DIGEST", "LAYER", "SIZE", "LAST USED");
        for layer in layers {
            let digest = layer.digest.map(|digest| digest.to_string()).unwrap_or_default();
            let used = rfc3339(layer.used).unwrap_or_default();
            let _ =
                writeln!(text, "{:width$}  {:>9}  {used:20}  {digest}", name(layer), human_size(layer.bytes));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{:16}  {:>7}  {:>9}", "KIND", "COUNT", "SIZE");
    for kind in CacheEntryKind::ALL {
        let of_kind = kept.iter().filter(|kept| kept.kind == kind);
        let (count, bytes) = of_kind.fold((0, 0), |(count, bytes), kept| (count + 1, bytes + kept.bytes));
        if count > 0 {
            let _ = writeln!(text, "{:16}  {count:>7}  {:>9}", kind.as_str(), human_size(bytes));
        }
    }
    let all = kept.iter().map(|kept| kept.bytes).sum();
    let _ = writeln!(text, "{:16}  {:>7}  {:>9}", "all", kept.len(), human_size(all));
    text
}

fn as_json(kept: &[CacheEntry]) -> String {
    let rows = kept.iter().map(|kept| {
        serde_json::json!({
            "kind": kept.kind.as_str(),
            "name": kept.name,
            "digest": kept.digest,
            "bytes": kept.bytes,
            "used": rfc3339(kept.used).ok(),
        })
    });
    format!("{:#}\n", serde_json::Value::Array(rows.collect()))
}
