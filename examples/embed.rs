//! Builds the example's runtime image through the library.
//!
//!     cargo run --example embed --no-default-features

use ipo_oci::builder::{BuildError, Builder};
use ipo_oci::progress::Silent;
use ipo_oci::recipe::Target;
use ipo_oci::store::WriteOptions;

fn main() -> Result<(), BuildError> {
    let built = Builder::from_project("examples/agencyos")?
        .target(Target::Runtime)
        .search_path(std::env::var_os("PATH").unwrap_or_default())
        .cache("target/embed-cache")
        .source_date_epoch(1_767_225_600)
        .build(&Silent)?;
    let stored = built.write_to(&"oci:dist/embedded:3.0.0".parse()?, &WriteOptions::default(), &Silent)?;
    eprint!("{}", built.size_report());
    println!("{stored}");
    Ok(())
}
