//! Verifies releases as gpgv does: `verify [--now SECONDS] RELEASE… -- KEYRING…`.
//!
//! Prints one line a release: the path, and `valid` with the fingerprints of the keys or `error: …`.

use std::time::{SystemTime, UNIX_EPOCH};

use debian_archive::release::{Keyring, Release, ReleaseError, SignedText};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    if arguments.next_if_eq("--now").is_some() {
        now = arguments.next().ok_or("no time")?.parse()?;
    }
    let releases: Vec<String> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    let mut keyring = Keyring::default();
    for path in arguments {
        keyring.extend(Keyring::parse(&std::fs::read(path)?)?);
    }
    for path in releases {
        let verify = |bytes: &[u8]| -> Result<Vec<String>, ReleaseError> {
            let signed = SignedText::split(bytes)?;
            let keys = keyring.verify(&signed, now)?;
            Release::parse(signed.text())?;
            Ok(keys)
        };
        match verify(&std::fs::read(&path)?) {
            Ok(keys) => println!("{path} valid {}", keys.join(" ")),
            Err(error) => println!("{path} error: {error}"),
        }
    }
    Ok(())
}
