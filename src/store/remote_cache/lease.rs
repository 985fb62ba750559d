//! Wire format of a lease: versioned JSON.
//!
//! ```json
//! {"at":1764012345678,"by":"00112233445566778899aabbccddeeff","key":"sha256:…","version":1}
//! ```
//!
//! `at` is in milliseconds since 1970; `by` is a random number in hexadecimal digits.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cache::Lease;
use crate::digest::Digest;

/// Limit for a lease, in bytes.
pub(super) const LEASE_BYTES: u64 = 4 << 10;
/// The version; leases of other versions are ignored.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct LeaseJson {
    at: u64,
    by: String,
    key: Digest,
    version: u32,
}

/// Encodes the lease on the layer of `key`.
pub(super) fn to_json(key: &Digest, lease: &Lease) -> Result<String, serde_json::Error> {
    // Times before 1970 count as 1970.
    let at = lease.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let at = u64::try_from(at).unwrap_or(u64::MAX);
    serde_json::to_string(&LeaseJson { at, by: format!("{:032x}", lease.by), key: *key, version: VERSION })
}

/// Decodes a lease; `None` if invalid, of another version or for another layer.
pub(super) fn from_json(key: &Digest, bytes: &[u8]) -> Option<Lease> {
    let json: LeaseJson = serde_json::from_slice(bytes).ok()?;
    let by = u128::from_str_radix(&json.by, 16).ok()?;
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(json.at))?;
    (json.version == VERSION && json.key == *key).then_some(Lease { by, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_survives_a_round_trip() {
        let key = Digest::of(b"key");
        let lease = Lease { by: u128::MAX - 1, at: UNIX_EPOCH + Duration::from_millis(1_764_012_345_678) };
        let text = to_json(&key, &lease).unwrap();
        assert_eq!(from_json(&key, text.as_bytes()), Some(lease));
        assert_eq!(from_json(&Digest::of(b"other"), text.as_bytes()), None);
        let early = Lease { at: UNIX_EPOCH - Duration::from_secs(1), ..lease };
        let text = to_json(&key, &early).unwrap();
        assert_eq!(from_json(&key, text.as_bytes()), Some(Lease { at: UNIX_EPOCH, ..lease }));
    }

    #[test]
    fn an_invalid_lease_is_ignored() {
        let key = Digest::of(b"key");
        let lease = Lease { by: 7, at: UNIX_EPOCH };
        let good: serde_json::Value = serde_json::from_str(&to_json(&key, &lease).unwrap()).unwrap();
        for (field, value) in [
            ("version", 2.into()),
            ("at", (-1).into()),
            ("at", u64::MAX.to_string().into()),
            ("by", "x".into()),
            ("by", "1".repeat(33).into()),
            ("by", 7.into()),
            ("key", "sha256:1".into()),
        ] {
            let mut changed = good.clone();
            changed[field] = value;
            assert_eq!(from_json(&key, changed.to_string().as_bytes()), None, "{changed}");
        }
        let mut late = good;
        late["at"] = u64::MAX.into();
        let _ = from_json(&key, late.to_string().as_bytes());
        for bytes in ["", "{", "[]", "null"] {
            assert_eq!(from_json(&key, bytes.as_bytes()), None);
        }
    }
}
