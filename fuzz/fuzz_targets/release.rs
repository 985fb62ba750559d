//! A signed release and a keyring, separated by NUL. No panic, and no signature is valid with a changed text.

#![no_main]

use debian_archive::release::{Keyring, Release, SignedText};
use debian_archive::sources::SignedBy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (release, keyring) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let keyring = Keyring::parse(keyring);
    if let Ok(text) = std::str::from_utf8(release) {
        let _ = Release::parse(text);
    }
    let Ok(signed) = SignedText::split(release) else { return };
    if let Ok(release) = Release::parse(signed.text()) {
        for path in release.files.keys() {
            assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
        }
    }
    let Ok(keyring) = keyring else { return };
    for fingerprint in keyring.verify(&signed, 1_800_000_000).unwrap_or_default() {
        let limited = keyring.limited_to(&[SignedBy::Fingerprint { fingerprint, is_exact: true }]);
        limited.verify(&signed, 1_800_000_000).expect("a signature by this key");
        // The text is behind the header, and one more letter is not signed.
        let text = String::from_utf8_lossy(release).replacen("\n\n", "\n\nx", 1);
        if let Ok(changed) = SignedText::split(text.as_bytes())
            && changed.text() != signed.text()
        {
            assert!(keyring.verify(&changed, 1_800_000_000).is_err());
        }
    }
});
