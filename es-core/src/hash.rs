//! A hash that is the same in every version and on every platform, because stored data depends on it.

/// Returns the 64-bit FNV-1a hash.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
