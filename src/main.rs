//! The command `ipo-oci`.

fn main() {}
