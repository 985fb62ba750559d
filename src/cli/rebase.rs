//! `ipo-oci rebase`: moves an image to a newer base without a build.

use clap::Args;
use ipo_oci::base;
use ipo_oci::image::{Artifact, Image};
use ipo_oci::progress::{Activity, Progress as _, Step};
use ipo_oci::reference::{Place, Reference, RemoteName};
use ipo_oci::store::{self, WriteOptions};

use super::access::AccessArguments;
use super::failure::Failure;
use super::terminal::Terminal;

/// Move an image's own layers to a newer base
#[derive(Debug, Args)]
pub(crate) struct RebaseArguments {
    /// Image to rebase
    #[arg(value_name = "IMAGE")]
    image: String,
    /// New base
    #[arg(value_name = "NEWBASE")]
    base: String,
    /// Current base [default: from the image's annotations]
    #[arg(long, value_name = "REF")]
    old_base: Option<String>,
    /// Destination [default: replaces the image]
    #[arg(short, long, value_name = "DEST", env = "IPO_OCI_OUTPUT")]
    output: Option<String>,
    #[command(flatten)]
    access: AccessArguments,
}

/// Rebases and stores the image.
pub(crate) fn run(arguments: &RebaseArguments, terminal: &Terminal) -> Result<(), Failure> {
    let parse = |text: &str| text.parse::<Reference>().map_err(Failure::argument);
    let (reference, new_base) = (parse(&arguments.image)?, parse(&arguments.base)?);
    let destination = match &arguments.output {
        Some(output) => Reference::destination(output).map_err(Failure::argument)?,
        // The result has another digest, and there is no tag to replace.
        None if names_a_digest(&reference) => {
            let help = "name a destination with -o";
            return Err(Failure::usage(
                format!("cannot replace {reference}: it is named by its digest"),
                help,
            ));
        }
        None => reference.clone(),
    };
    let access = arguments.access.access();
    let open = |reference: &Reference| store::open(reference, &access);
    terminal.step(&Step::on(Activity::ReadImage, reference.to_string()));
    let artifact = open(&reference)?;
    if artifact.is_index() {
        let help = "name the image of one platform by its digest";
        return Err(Failure::usage(format!("cannot rebase {reference}: it is an index"), help));
    }
    let image = Image::from_artifact(&artifact)?;
    let on_platform = |artifact: &Artifact| Image::from_artifact(artifact.for_platform(&image.platform)?);
    let old = on_platform(&open(&parse(&old_base(arguments, &image)?)?)?)?;
    terminal.step(&Step::on(Activity::ReadImage, new_base.to_string()));
    let new_artifact = open(&new_base)?;
    let new = on_platform(&new_artifact)?;
    // A path of this machine has no meaning to others.
    let name = match &new_base.place {
        Place::Remote(name) => {
            Some((RemoteName { digest: None, ..name.clone() }.to_string(), new_artifact.digest()))
        }
        _ => None,
    };
    let rebased = image.rebase(&old, &new, name.as_ref())?;
    let cache = access.cache.as_deref();
    base::check_rebase((&image, old.layers.len()), (&rebased, new.layers.len()), cache, terminal)?;
    let called = store::name_of(&reference, &artifact);
    terminal.step(&Step::on(Activity::WriteImage, destination.to_string()));
    let options = WriteOptions::default();
    let stored = store::write(&rebased.artifact()?, &destination, &called, &options, &access, terminal)?;
    terminal.stored(&stored, &destination)
}

fn names_a_digest(reference: &Reference) -> bool {
    reference.digest.is_some() || matches!(&reference.place, Place::Remote(name) if name.digest.is_some())
}

/// Returns the reference of the image's current base.
fn old_base(arguments: &RebaseArguments, image: &Image) -> Result<String, Failure> {
    if let Some(named) = &arguments.old_base {
        return Ok(named.clone());
    }
    let said = image.base()?;
    match (said.name.and_then(|name| name.parse::<RemoteName>().ok()), said.digest) {
        (Some(name), Some(digest)) => Ok(format!("docker://{}", name.with_digest(digest))),
        _ => Err(Failure::usage(
            format!("base of {} not found: the image does not record it", arguments.image),
            "name the base with --old-base",
        )),
    }
}
