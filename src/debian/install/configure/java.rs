//! Java's certificates: the keystore that ca-certificates-java's postinst makes by running Java.
//!
//! Owns the writing of the format JKS (OpenJDK, `sun/security/provider/JavaKeyStore.java`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1_checked::{Digest as _, Sha1};

use super::super::InstallError;
use super::super::package_tree::PackageTree;
use super::super::unpack::UnpackedPackage;

const KEYSTORE: &str = "etc/ssl/certs/java/cacerts";
/// The password of every such keystore, which Java does not need to read it.
const PASSWORD: &str = "changeit";

/// Adds the keystore with the certificates of the bundle.
pub(super) fn configure(package: &UnpackedPackage, tree: &mut PackageTree<'_>) -> Result<(), InstallError> {
    let Some(bundle) = tree.read_text("etc/ssl/certs/ca-certificates.crt")? else { return Ok(()) };
    let list = tree.read_text("etc/ca-certificates.conf")?.unwrap_or_default();
    let names = list.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let names: Vec<String> = names.map(alias).collect();
    let certificates = certificates(&bundle);
    // The bundle has the certificates in the order of the list, then those of an administrator.
    let mut entries = BTreeMap::new();
    for (number, certificate) in certificates.into_iter().enumerate() {
        let name = names.get(number).cloned();
        entries.insert(name.unwrap_or_else(|| format!("debian:certificate-{number}")), certificate);
    }
    tree.add_file(KEYSTORE, keystore(&entries), &package.owner());
    Ok(())
}

/// Returns the alias of a certificate: `debian:` and the lower-case name of its link in `/etc/ssl/certs`.
fn alias(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".crt");
    format!("debian:{}.pem", name.replace([' ', ','], "_").replace(['(', ')'], "=").to_lowercase())
}

/// Decodes the certificates of a bundle.
fn certificates(bundle: &str) -> Vec<Vec<u8>> {
    let blocks = bundle.split("-----BEGIN CERTIFICATE-----").skip(1);
    let decode = |block: &str| {
        let text: String = block.split("-----END").next()?.split_whitespace().collect();
        STANDARD.decode(text).ok()
    };
    blocks.filter_map(decode).collect()
}

/// Writes a keystore of trusted certificates, of the time 0.
fn keystore(entries: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(text.bytes().take(usize::from(u16::MAX)));
    };
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
    bytes.extend(length(entries.len()));
    for (alias, certificate) in entries {
        bytes.extend([0, 0, 0, 2]);
        text(&mut bytes, alias);
        bytes.extend([0; 8]);
        text(&mut bytes, "X.509");
        bytes.extend(length(certificate.len()));
        bytes.extend(certificate);
    }
    let password = PASSWORD.bytes().flat_map(|byte| [0, byte]).collect::<Vec<u8>>();
    let digest = Sha1::new().chain_update(password).chain_update("Mighty Aphrodite").chain_update(&bytes);
    bytes.extend(digest.finalize());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn keystores_have_the_certificates() {
        let bundle = "-----BEGIN CERTIFICATE-----\nAAEC\nAw==\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(&bundle.repeat(2)), [[0, 1, 2, 3], [0, 1, 2, 3]]);
        assert_eq!(alias("mozilla/A_(B) C.crt"), "debian:a_=b=_c.pem");
        let made = keystore(&BTreeMap::from([("debian:a.pem".to_owned(), vec![1, 2, 3])]));
        // As Python's `hashlib` digests it; `benches/popular` reads a keystore with Java.
        assert_eq!(
            Digest::of(&made).to_string(),
            "sha256:34311da8914becf49293740a53e79986d3a70e9b7309e37151b4445f866d285e"
        );
    }
}
