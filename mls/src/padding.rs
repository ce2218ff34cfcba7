//! Hides lengths: content is padded to one of few sizes before it is encrypted.
//!
//! The sizes are those of Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with
//! PURBs", 2019, §4.3), from 64 bytes on: at most 12 % more, and a length tells O(log log n) bits.

/// The smallest size: "yes" and "no thanks" look alike.
pub const SMALLEST: usize = 64;

/// Bytes in front of the content, which say its length.
const LENGTH: usize = 4;

/// The size that something of `len` bytes gets.
pub fn padded(len: usize) -> usize {
    let len = len.max(SMALLEST);
    let exponent = len.ilog2();
    let bits = exponent - exponent.ilog2() - 1;
    let mask = (1usize << bits) - 1;
    len.checked_add(mask).map_or(len, |sum| sum & !mask)
}

/// Content with its length in front and zeros behind.
pub fn pad(content: &[u8]) -> Vec<u8> {
    let size = padded(LENGTH + content.len());
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(size, 0);
    bytes
}

/// The content in padded bytes; `None` if they are not.
pub fn unpad(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_at_checked(LENGTH)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    if rest.len() < length || rest[length..].iter().any(|byte| *byte != 0) {
        return None;
    }
    bytes.truncate(LENGTH + length);
    bytes.drain(..LENGTH);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_padded_comes_back_and_costs_little(content in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let bytes = pad(&content);
            prop_assert_eq!(bytes.len(), padded(bytes.len()), "a size of the few");
            prop_assert!(bytes.len() <= (content.len() + LENGTH).max(SMALLEST) * 112 / 100 + 1);
            prop_assert_eq!(unpad(bytes), Some(content));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpad(bytes);
        }
    }

    #[test]
    fn there_are_few_sizes() {
        let sizes: std::collections::BTreeSet<usize> = (0..=32_768).map(padded).collect();
        assert!(sizes.len() < 130, "{}", sizes.len());
    }
}
