//! Times and sizes as people write them: `30s`, `7d`, `1GiB`.

use std::time::Duration;

const TIMES: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A time such as `250ms`, `30s`, `15m`, `12h`, `7d` or `2w`.
pub fn duration(text: &str) -> Option<Duration> {
    scaled(text, &TIMES).map(Duration::from_millis)
}

/// A size in bytes such as `65536B`, `64KiB` or `1GiB`.
pub fn bytes(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_required_and_overflow_is_refused() {
        assert_eq!(duration("7d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("250 ms"), Some(Duration::from_millis(250)));
        assert_eq!(bytes("1GiB"), Some(1 << 30));
        for bad in ["", "7", "d", "-1d", "7 days", "1.5h", "99999999999999999999s", "18446744073709551615w"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
