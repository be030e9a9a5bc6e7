//! A hash for names.

/// Returns the 64-bit FNV-1a hash, for names that people read. It is not resistant to attacks.
pub(crate) fn short_hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
