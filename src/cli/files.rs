//! `ipo-oci ls` and `ipo-oci cat`: the files of an image, without unpacking.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use ipo_oci::base::{BaseError, FileReference, NodeKind, View, ViewNode};
use ipo_oci::platform::Platform;
use ipo_oci::printable;
use ipo_oci::reference::Reference;
use ipo_oci::store;
use ipo_oci::tree::ImagePath;

use super::access::AccessArguments;
use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `ipo-oci ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct FileListArguments {
    /// Image with an optional path
    #[arg(value_name = "REF[:PATH]")]
    reference: String,
    /// List directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    #[command(flatten)]
    open: OpenArguments,
}

/// Arguments of `ipo-oci cat`.
#[derive(Debug, clap::Args)]
pub(crate) struct PrintArguments {
    /// Image and path: oci:dist/image:3.0.0:/etc/passwd
    #[arg(value_name = "REF:PATH")]
    reference: String,
    #[command(flatten)]
    open: OpenArguments,
}

#[derive(Debug, clap::Args)]
struct OpenArguments {
    /// Platform of the image in an index [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_parser = super::arguments::platform)]
    platform: Option<Platform>,
    #[command(flatten)]
    access: AccessArguments,
}

impl OpenArguments {
    /// Opens the files of an image.
    fn open(&self, reference: &Reference, terminal: &Terminal) -> Result<View, Failure> {
        let access = self.access.access();
        let image = store::open_image(reference, self.platform.as_ref(), &access)?;
        Ok(View::of(&image, access.cache.as_deref(), terminal)?)
    }
}

/// Lists files.
pub(crate) fn list(arguments: &FileListArguments, terminal: &Terminal) -> Result<(), Failure> {
    let reference: FileReference = arguments.reference.parse().map_err(Failure::argument)?;
    let view = arguments.open.open(&reference.image, terminal)?;
    let asked = reference.path.unwrap_or_default();
    let path = match view.resolve(&asked) {
        Ok(real) if view.directory_attributes(&real).is_some() => real,
        // Files are listed themselves, and so are dangling links.
        _ => view.destination(&asked)?,
    };
    let node = view.lookup(&path).ok_or_else(|| BaseError::Missing(path.clone()))?;
    let mut text = String::new();
    if node.kind != NodeKind::Directory {
        line(&mut text, &path, node);
    } else if arguments.recursive {
        view.below(&path).for_each(|(path, node)| line(&mut text, path, node));
    } else {
        view.children(&path).for_each(|(path, node)| line(&mut text, path, node));
    }
    terminal.result(&text)
}

/// Prints a file.
pub(crate) fn print(arguments: &PrintArguments, terminal: &Terminal) -> Result<(), Failure> {
    let reference: FileReference = arguments.reference.parse().map_err(Failure::argument)?;
    let Some(path) = &reference.path else {
        return Err(Failure::usage(
            format!("invalid reference `{}`: no path", arguments.reference),
            "append the path to the image: oci:DIR:TAG:/etc/passwd",
        ));
    };
    let view = arguments.open.open(&reference.image, terminal)?;
    let mut out = io::stdout().lock();
    match view.copy(path, &mut out).and_then(|_| out.flush().map_err(BaseError::Output)) {
        // The reader closed the pipe.
        Err(BaseError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

fn line(text: &mut String, path: &ImagePath, node: &ViewNode) {
    // A name may contain terminal control sequences or line breaks.
    let name = printable::name(&path.to_string());
    let target = match &node.kind {
        NodeKind::Symlink(target) => format!(" -> {}", printable::name(target)),
        _ => String::new(),
    };
    let ViewNode { uid, gid, size, layer, .. } = node;
    let owner = format!("{uid}:{gid}");
    let _ = writeln!(text, "{} {owner:<11} {size:>10} {:>3} {name}{target}", node.mode_string(), layer + 1);
}
