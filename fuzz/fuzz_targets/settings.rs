//! Text written by the user: recipes, references, destinations. No panic.

#![no_main]

use std::path::Path;

use ipo_oci::settings::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Settings::parse(Path::new("recipe.toml"), text);
    let _ = ipo_oci::reference::split_name(text);
    let _ = text.parse::<ipo_oci::reference::Reference>();
});
