//! The command `ipo-oci`, a thin layer over the library `ipo_oci`.

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
