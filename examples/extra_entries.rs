//! Builds a project's image with more files: a company's certificate, a folder of models and a generated file.
//!
//!     cargo run --example extra_entries --no-default-features -- PROJECT CERTIFICATE MODELS oci:dist/image:1.0

use std::error::Error;

use ipo_oci::builder::Builder;
use ipo_oci::plan::ExtraLayer;
use ipo_oci::progress::Silent;
use ipo_oci::store::WriteOptions;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [project, certificate, models, destination] = &arguments[..] else {
        return Err("usage: extra_entries PROJECT CERTIFICATE MODELS DESTINATION".into());
    };
    let company = ExtraLayer::new("company")
        .file(certificate, "/usr/local/share/ca-certificates/company.crt")
        .bytes("{ \"revision\": \"4a1c0de\" }\n", "/etc/company/build.json");
    let models = ExtraLayer::new("models")
        .reason("changed by a training run")
        .directory(models, "/opt/models")
        .owner(1000, 1000)
        .file_mode(0o640)
        .directory_mode(0o750);
    let built = Builder::from_project(project)?.layer(company).layer(models).build(&Silent)?;
    let stored = built.write_to(&destination.parse()?, &WriteOptions::default(), &Silent)?;
    eprint!("{}", built.size_report());
    println!("{stored}");
    Ok(())
}
