//! Digests of values that have several parts.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of several parts as hexadecimal digits. Each part is preceded by its length, so that two
/// different lists of parts never have the same digest.
pub(crate) fn digest_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut digits = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::digest_of;

    #[test]
    fn the_boundaries_of_the_parts_count() {
        let digest = |parts: &[&str]| digest_of(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["ab", "c", ""], &["c", "ab"]] {
            assert_ne!(digest(&["ab", "c"]), digest(other), "{other:?}");
        }
    }
}
