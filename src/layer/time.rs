//! Modification times that follow from content.

use crate::digest::Digest;
use crate::tree::CONSTANT_TIME;

/// The range of times from content, in seconds: 34 years, up to 2014.
const TIME_RANGE: u64 = 1 << 30;

/// Returns the modification time for content with these bytes.
pub(super) fn time_of_bytes(bytes: &[u8]) -> i64 {
    time_of(&Digest::of(bytes))
}

/// Returns the modification time for content with this digest.
pub(super) fn time_of(digest: &Digest) -> i64 {
    let number = digest.as_bytes()[..8].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    CONSTANT_TIME + (number % TIME_RANGE).cast_signed()
}
