//! `ipo-oci rebase`: an image on a newer base, without building it again.

use clap::Args;
use ipo_oci::image::{Artifact, Image};
use ipo_oci::reference::{Name, Place, Reference, RemoteName};
use ipo_oci::store;

use super::failure::Failure;
use super::lock::open;
use super::terminal::Terminal;

/// Put an image's own layers on a newer base
#[derive(Debug, Args)]
pub(crate) struct RebaseArguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What it is to stand on
    #[arg(value_name = "NEWBASE")]
    base: String,
    /// What it stands on now [default: what its annotations say]
    #[arg(long, value_name = "REF")]
    old_base: Option<String>,
    /// Where the result goes [default: in place of the image]
    #[arg(short, long, value_name = "DEST", env = "IPO_OCI_OUTPUT")]
    output: Option<String>,
}

/// Rebases and stores.
pub(crate) fn run(arguments: &RebaseArguments, terminal: &Terminal) -> Result<(), Failure> {
    let parse = |text: &str| text.parse::<Reference>().map_err(Failure::argument);
    let (reference, base) = (parse(&arguments.image)?, parse(&arguments.base)?);
    let destination = arguments.output.as_deref().map_or_else(|| Ok(reference.clone()), parse)?;
    let artifact = open(&reference.to_string())?.artifact;
    if artifact.is_index() {
        let help = "name the image of one platform by its digest";
        return Err(Failure::usage(format!("{reference} is an index"), help));
    }
    let image = Image::from_artifact(&artifact)?;
    let on_platform = |artifact: &Artifact| Image::from_artifact(artifact.for_platform(&image.platform)?);
    let old = open(&old_base(arguments, &image)?)?.artifact;
    let new = open(&base.to_string())?.artifact;
    // A path of this machine is no name for others.
    let name = match &base.place {
        Place::Remote(name) => Some((RemoteName { digest: None, ..name.clone() }.to_string(), new.digest())),
        _ => None,
    };
    let rebased = image.rebase(&on_platform(&old)?, &on_platform(&new)?, name.as_ref())?;
    let called = match &reference.place {
        Place::Remote(name) => Name { repository: name.path(), tag: name.tag.clone().unwrap_or_else(latest) },
        Place::Local(name) => name.clone(),
        Place::Path(_) | Place::Standard => Name { repository: "image".to_owned(), tag: latest() },
    };
    let stored = store::store(&rebased, &destination, &called, "")?;
    terminal.result(format!("{stored}\n").as_bytes())
}

fn latest() -> String {
    "latest".to_owned()
}

/// The reference of the base that an image stands on.
fn old_base(arguments: &RebaseArguments, image: &Image) -> Result<String, Failure> {
    if let Some(named) = &arguments.old_base {
        return Ok(named.clone());
    }
    let said = image.base()?;
    match (said.name.and_then(|name| name.parse::<RemoteName>().ok()), said.digest) {
        (Some(name), Some(digest)) => Ok(format!("docker://{}", name.with_digest(digest))),
        _ => Err(Failure::usage(
            format!("{} does not say what it stands on", arguments.image),
            "name the base that it was built on with --old-base",
        )),
    }
}
