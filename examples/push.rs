//! Copies an image to a registry, with a token held in memory only.
//!
//!     REGISTRY_TOKEN=… cargo run --example push -- oci:dist/hello:1.0 docker://ghcr.io/team/hello:1.0

use std::error::Error;
use std::sync::Arc;

use ipo_oci::progress::Silent;
use ipo_oci::reference::{Place, Reference};
use ipo_oci::store::registry::{Credential, FixedCredentials};
use ipo_oci::store::{self, Access, WriteOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let references: Vec<Reference> =
        std::env::args().skip(1).map(|it| it.parse()).collect::<Result<_, _>>()?;
    let [source, destination] = &references[..] else { return Err("usage: push SOURCE DESTINATION".into()) };
    let Place::Remote(place) = &destination.place else {
        return Err("the destination is not in a registry".into());
    };
    let password = std::env::var("REGISTRY_TOKEN")?.into();
    let credential = Credential::Password { user: "user".to_owned(), password };

    let mut access = Access::default();
    access.registry.keychains =
        vec![Arc::new(FixedCredentials::default().with(&place.registry, credential)?)];
    let image = store::open(source, &access)?;
    let name = store::name_of(source, &image);
    let stored = store::write(&image, destination, &name, &WriteOptions::default(), &access, &Silent)?;
    println!("{stored}");
    Ok(())
}
