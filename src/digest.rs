//! Content digests: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128.
//!
//! OCI image specification 1.1, `descriptor.md`, section "Digests": both registered algorithms.
//! This program writes SHA-256, which every implementation must support, and verifies SHA-512 in
//! images that use it.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A parsed digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(DigestBytes);

/// The bytes of a digest, by its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum DigestBytes {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

/// A malformed digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid digest `{0}`: expected `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128"
)]
pub struct DigestError(String);

impl Digest {
    /// Returns the SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(DigestBytes::Sha256(Sha256::digest(bytes).into()))
    }

    /// Digests `bytes` with the algorithm of this digest, for comparison.
    #[must_use]
    pub fn recomputed(&self, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::like(self);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Reads to the end. Returns the SHA-256 digest and the number of bytes.
    pub fn of_reader(reader: &mut dyn Read) -> io::Result<(Self, u64)> {
        Hasher::new().of_reader(reader)
    }

    /// Like [`of_reader`](Self::of_reader), with the algorithm of this digest, for comparison.
    pub fn recomputed_from(&self, reader: &mut dyn Read) -> io::Result<(Self, u64)> {
        Hasher::like(self).of_reader(reader)
    }

    /// Returns the algorithm: `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            DigestBytes::Sha256(_) => "sha256",
            DigestBytes::Sha512(_) => "sha512",
        }
    }

    /// Returns the digest without its algorithm: 64 or 128 hexadecimal digits.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.as_bytes().iter().fold(String::with_capacity(128), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Makes a SHA-256 digest from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(DigestBytes::Sha256(bytes))
    }

    /// Returns the 32 bytes of a SHA-256 digest; `None` for SHA-512.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        match self.0 {
            DigestBytes::Sha256(bytes) => Some(bytes),
            DigestBytes::Sha512(_) => None,
        }
    }

    /// Returns the 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            DigestBytes::Sha256(bytes) => bytes,
            DigestBytes::Sha512(bytes) => bytes,
        }
    }
}

/// The BLAKE3 hash of a file's bytes, used inside the cache only. Faster than a [`Digest`], and
/// never part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Makes a fingerprint from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// An incremental [`Fingerprint`].
#[derive(Debug, Default)]
pub struct Fingerprinter(blake3::Hasher);

impl Fingerprinter {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the fingerprint of the bytes added so far and resets the state.
    pub fn take(&mut self) -> Fingerprint {
        let fingerprint = Fingerprint(*self.0.finalize().as_bytes());
        self.0.reset();
        fingerprint
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError(text.chars().take(100).collect());
        let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
        let value = match algorithm {
            "sha256" => from_hex(hex).map(DigestBytes::Sha256),
            "sha512" => from_hex(hex).map(DigestBytes::Sha512),
            _ => None,
        };
        value.map(Self).ok_or_else(wrong)
    }
}

/// Decodes exactly `N` bytes from lower-case hexadecimal digits.
fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if hex.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// An incremental [`Digest`]; also a [`Write`].
#[derive(Clone)]
pub struct Hasher(HasherState);

#[derive(Clone)]
enum HasherState {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Default for Hasher {
    fn default() -> Self {
        Self(HasherState::Sha256(Sha256::new()))
    }
}

impl Hasher {
    /// Starts a SHA-256 digest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a digest with the algorithm of `digest`.
    pub fn like(digest: &Digest) -> Self {
        Self(match digest.0 {
            DigestBytes::Sha256(_) => HasherState::Sha256(Sha256::new()),
            DigestBytes::Sha512(_) => HasherState::Sha512(Sha512::new()),
        })
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            HasherState::Sha256(state) => state.update(bytes),
            HasherState::Sha512(state) => state.update(bytes),
        }
    }

    /// Returns the digest of the bytes added.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            HasherState::Sha256(state) => DigestBytes::Sha256(state.finalize().into()),
            HasherState::Sha512(state) => DigestBytes::Sha512(state.finalize().into()),
        })
    }

    fn of_reader(mut self, reader: &mut dyn Read) -> io::Result<(Digest, u64)> {
        let size = io::copy(reader, &mut self)?;
        Ok((self.finish(), size))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_empty_digest_matches() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn malformed_digests_are_refused() {
        for text in ["", "sha256:", "sha256", "sha512:00", &EMPTY[..70], &EMPTY.to_uppercase(), "sha256:é"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert!("sha256:é".repeat(9).parse::<Digest>().is_err());
    }

    #[test]
    fn a_digest_is_recomputed_by_its_algorithm() {
        // FIPS 180-2, appendix C.1.
        let abc = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                   2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let digest: Digest = abc.parse().unwrap();
        assert_eq!((digest.to_string().as_str(), digest.algorithm()), (abc, "sha512"));
        assert_eq!(digest.recomputed(b"abc"), digest);
        assert_eq!(digest.recomputed_from(&mut &b"abc"[..]).unwrap(), (digest, 3));
        assert_ne!(digest.recomputed(b"abd"), digest);
        assert_eq!(Digest::of(b"x").recomputed(b"abc"), Digest::of(b"abc"));
        for text in ["sha512:", &abc[..71], &abc.replace("sha512", "sha256"), "sha384:00", "md5:00"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn parts_give_the_digest_of_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"ab");
        hasher.update(b"c");
        assert_eq!(hasher.finish(), Digest::of(b"abc"));
    }
}
