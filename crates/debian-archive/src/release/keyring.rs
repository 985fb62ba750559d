//! Keyrings, and the signatures of releases.
//!
//! Keys are judged as by gpgv with apt's additions: a signature counts if its key, or the key that its subkey belongs to,
//! is neither expired nor revoked, may sign, has a sufficient length, and the signature is not expired and uses no
//! broken digest.

use std::fmt;
use std::io::Read as _;

use pgp::armor::Dearmor;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PacketParser, PacketTrait as _, Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, PublicParams, Tag};

use super::{ReleaseError, SignedText};
use crate::sources::SignedBy;

/// The least length of RSA keys, in bits.
const MIN_RSA_BITS: u16 = 2048;
/// The limit for packets of a keyring.
const MAX_PACKETS: usize = 1 << 16;
/// The limit for signatures of one file.
const MAX_SIGNATURES: usize = 16;

/// Trusted public keys.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    certificates: Vec<TrustedCertificate>,
}

/// A key with its subkeys, or one of them.
#[derive(Debug, Clone)]
struct TrustedCertificate {
    key: SignedPublicKey,
    /// The fingerprint of the only key that may sign.
    only: Option<String>,
}

/// The reason to reject a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureFault {
    /// The identifier of the key, in hexadecimal digits.
    pub key: String,
    /// The reason.
    pub reason: FaultReason,
}

/// A reason to reject a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultReason {
    /// No key of the keyring.
    #[error("not in the keyring")]
    UnknownKey,
    /// Other bytes than those signed.
    #[error("does not match the text")]
    Mismatch,
    /// An expired key.
    #[error("has expired")]
    ExpiredKey,
    /// A revoked key.
    #[error("is revoked")]
    RevokedKey,
    /// A key without a valid signature by its owner, or not meant for signing.
    #[error("may not sign")]
    UnfitKey,
    /// A short key, or one of an outdated algorithm.
    #[error("is too weak")]
    WeakKey,
    /// An expired signature.
    #[error("made a signature that has expired")]
    ExpiredSignature,
    /// A digest for which collisions can be made.
    #[error("made a signature with a broken digest")]
    WeakDigest,
    /// A signature for another purpose, or of an unknown version.
    #[error("made a signature of an unsupported kind")]
    Unsupported,
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            FaultReason::Mismatch => write!(f, "the signature of the key {} {}", self.key, self.reason),
            FaultReason::UnknownKey => write!(f, "the key {} is {}", self.key, self.reason),
            reason => write!(f, "the key {} {reason}", self.key),
        }
    }
}

impl Keyring {
    /// Reads public keys, binary or in ASCII armor. Keys of unknown kinds are left out; no key at all is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
        let invalid = |reason: &dyn fmt::Display| ReleaseError::Keyring(reason.to_string());
        let mut keys = Vec::new();
        let is_armored = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
        if is_armored {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| invalid(&"neither OpenPGP packets nor ASCII armor"))?;
            for block in text.split(ARMOR).skip(1) {
                let block = format!("{ARMOR}{block}");
                let mut binary = Vec::new();
                let read = Dearmor::new(block.as_bytes()).read_to_end(&mut binary);
                read.map_err(|error| invalid(&error))?;
                keys.extend(certificates(&binary));
            }
        } else {
            keys = certificates(bytes);
        }
        if keys.is_empty() {
            return Err(invalid(&"no public key"));
        }
        Ok(Self {
            certificates: keys.into_iter().map(|key| TrustedCertificate { key, only: None }).collect(),
        })
    }

    /// Adds the keys of another keyring.
    pub fn extend(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
    }

    /// Returns true without any key.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Returns the keys with the fingerprints of `signed_by`; all if none is named.
    #[must_use]
    pub fn limited_to(&self, signed_by: &[SignedBy]) -> Self {
        let wanted: Vec<(&str, bool)> = signed_by
            .iter()
            .filter_map(|value| match value {
                SignedBy::Fingerprint { fingerprint, is_exact } => Some((fingerprint.as_str(), *is_exact)),
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return self.clone();
        }
        let mut certificates = Vec::new();
        for certificate in &self.certificates {
            let fingerprint = |key: &dyn KeyDetails| format!("{:X}", key.fingerprint());
            let primary = fingerprint(&certificate.key.primary_key);
            for (wanted, is_exact) in &wanted {
                let is_subkey =
                    certificate.key.public_subkeys.iter().any(|sub| fingerprint(&sub.key) == *wanted);
                if primary == *wanted || is_subkey {
                    let only = (is_subkey || *is_exact).then(|| (*wanted).to_owned());
                    certificates.push(TrustedCertificate { key: certificate.key.clone(), only });
                }
            }
        }
        Self { certificates }
    }

    /// Verifies a text at the time `now`, in seconds since 1970. Returns the fingerprints of the keys with a valid
    /// signature: at least one. A wrong signature of a trusted key is an error, also beside a valid one.
    pub fn verify(&self, signed: &SignedText, now: i64) -> Result<Vec<String>, ReleaseError> {
        let unreadable = |_| ReleaseError::Cleartext("an unreadable signature");
        let (signatures, _) = DetachedSignature::from_string_many(&signed.armor).map_err(unreadable)?;
        let text = signed.canonical();
        let (mut valid, mut faults) = (Vec::new(), Vec::new());
        for signature in signatures.take(MAX_SIGNATURES) {
            let signature = signature.map_err(unreadable)?.signature;
            match self.verify_one(&signature, text.as_bytes(), now) {
                Ok(fingerprint) => valid.push(fingerprint),
                Err(reason) => faults.push(SignatureFault { key: issuer(&signature), reason }),
            }
        }
        let is_wrong = faults.iter().any(|fault| fault.reason == FaultReason::Mismatch);
        if valid.is_empty() || is_wrong { Err(ReleaseError::Signature(faults)) } else { Ok(valid) }
    }

    /// Verifies one signature with any certificate that has its key.
    fn verify_one(&self, signature: &Signature, text: &[u8], now: i64) -> Result<String, FaultReason> {
        check_signature(signature, now)?;
        let mut fault = FaultReason::UnknownKey;
        for certificate in &self.certificates {
            let primary = &certificate.key.primary_key;
            let subkeys = certificate.key.public_subkeys.iter();
            let found = if certificate.may_be(signature, primary) {
                Some((None, signature.verify(primary, text).is_ok(), primary as &dyn KeyDetails))
            } else {
                let mut subkeys = subkeys.filter(|subkey| certificate.may_be(signature, &subkey.key));
                subkeys.next().map(|subkey| {
                    let matches = signature.verify(&subkey.key, text).is_ok();
                    (Some(subkey), matches, &subkey.key as &dyn KeyDetails)
                })
            };
            let Some((subkey, matches, key)) = found else { continue };
            let checked = if matches { certificate.check(subkey, now) } else { Err(FaultReason::Mismatch) };
            match checked {
                Ok(()) => return Ok(format!("{:X}", key.fingerprint())),
                Err(reason) => fault = reason,
            }
        }
        Err(fault)
    }
}

/// Reads the keys of a file. Trust packets, which gpg adds to its own keyrings, would part names from their signatures.
fn certificates(bytes: &[u8]) -> Vec<SignedPublicKey> {
    let packets = PacketParser::new(bytes).take(MAX_PACKETS);
    let packets = packets.filter(|packet| matches!(packet, Ok(packet) if packet.tag() != Tag::Trust));
    SignedPublicKey::from_packets(packets.peekable()).take(MAX_PACKETS).flatten().collect()
}

impl TrustedCertificate {
    /// Returns true if the signature names this key, and the key is not excluded.
    fn may_be(&self, signature: &Signature, key: &dyn KeyDetails) -> bool {
        let fingerprint = key.fingerprint();
        let is_issuer = signature.issuer_fingerprint().contains(&&fingerprint)
            || signature.issuer_key_id().contains(&&key.legacy_key_id());
        is_issuer && self.only.as_ref().is_none_or(|only| *only == format!("{fingerprint:X}"))
    }

    /// Checks the key, or one of its subkeys with the key.
    fn check(&self, subkey: Option<&SignedPublicSubKey>, now: i64) -> Result<(), FaultReason> {
        let primary = &self.key.primary_key;
        check_strength(primary)?;
        if self
            .key
            .details
            .revocation_signatures
            .iter()
            .any(|signature| signature.verify_key(primary).is_ok())
        {
            return Err(FaultReason::RevokedKey);
        }
        let of_users = self.key.details.users.iter().flat_map(|user| {
            let own = user.signatures.iter().filter(|signature| {
                signature.typ() != Some(SignatureType::CertRevocation) && is_by(signature, primary)
            });
            own.filter(|signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok())
        });
        let direct = self.key.details.direct_signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key)
                && is_by(signature, primary)
                && signature.verify_key(primary).is_ok()
        });
        let newest = of_users.chain(direct).filter(|signature| !is_expired(signature, now));
        let newest = newest.max_by_key(|signature| signature.created());
        let newest = newest.ok_or(FaultReason::UnfitKey)?;
        check_validity(primary, newest, now)?;
        let Some(subkey) = subkey else {
            return if may_sign(newest) { Ok(()) } else { Err(FaultReason::UnfitKey) };
        };
        check_strength(&subkey.key)?;
        let of_type = |wanted| {
            let matching = subkey.signatures.iter().filter(move |signature| signature.typ() == Some(wanted));
            matching.filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
        };
        if of_type(SignatureType::SubkeyRevocation).next().is_some() {
            return Err(FaultReason::RevokedKey);
        }
        let binding = of_type(SignatureType::SubkeyBinding).filter(|signature| !is_expired(signature, now));
        let binding = binding.max_by_key(|signature| signature.created()).ok_or(FaultReason::UnfitKey)?;
        // A subkey that signs must confirm to belong to the key, or it could be another's.
        let confirms = |signature: &Signature| {
            let back = signature.embedded_signature();
            back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok())
        };
        if !may_sign(binding) || !confirms(binding) {
            return Err(FaultReason::UnfitKey);
        }
        check_validity(&subkey.key, binding, now)
    }
}

/// Checks the properties of a signature that need no key.
fn check_signature(signature: &Signature, now: i64) -> Result<(), FaultReason> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(FaultReason::Unsupported);
    }
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => {}
        Some(HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160 | HashAlgorithm::Sha224) => {
            return Err(FaultReason::WeakDigest);
        }
        _ => return Err(FaultReason::Unsupported),
    }
    if is_expired(signature, now) { Err(FaultReason::ExpiredSignature) } else { Ok(()) }
}

/// Checks the age of a key by its newest signature of its owner.
fn check_validity(key: &impl KeyDetails, newest: &Signature, now: i64) -> Result<(), FaultReason> {
    let lifetime = newest.key_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    let end = i64::from(key.created_at().as_secs()) + i64::from(lifetime);
    if lifetime != 0 && end <= now { Err(FaultReason::ExpiredKey) } else { Ok(()) }
}

/// Checks the algorithm and the length of a key.
fn check_strength(key: &impl KeyDetails) -> Result<(), FaultReason> {
    match key.public_params() {
        PublicParams::RSA(params) => {
            // The first number is the modulus, behind its length in bits.
            let bytes = params.to_bytes().unwrap_or_default();
            let bits = bytes.first_chunk::<2>().map_or(0, |bits| u16::from_be_bytes(*bits));
            if bits < MIN_RSA_BITS { Err(FaultReason::WeakKey) } else { Ok(()) }
        }
        PublicParams::DSA(_) => Err(FaultReason::WeakKey),
        _ => Ok(()),
    }
}

fn is_expired(signature: &Signature, now: i64) -> bool {
    let lifetime = signature.signature_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    let made = signature.created().map_or(0, pgp::types::Timestamp::as_secs);
    lifetime != 0 && i64::from(made) + i64::from(lifetime) <= now
}

/// Returns true if the signature's key may sign: without flags, every key may.
fn may_sign(signature: &Signature) -> bool {
    let flags = signature.key_flags();
    let is_silent =
        !flags.certify() && !flags.encrypt_comms() && !flags.encrypt_storage() && !flags.authentication();
    flags.sign() || is_silent
}

fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

/// Returns the identifier of a signature's key, in upper-case digits.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_ascii_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "without a name".to_owned())
}
