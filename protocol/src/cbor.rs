//! Deterministic CBOR (RFC 8949 §4.2.1) in and out, and the bounded containers that decoders use.
//!
//! [`decode`] walks the bytes once before it builds anything: shortest integers, definite lengths, sorted and
//! unique map keys, no floats or tags, bounded depth, no trailing bytes. Unknown map keys are ignored, so that a
//! newer peer may say more, except keys 16 to 23: those *must be understood*, and none is defined yet.

use std::ops::Deref;

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::limits;

/// Map keys in this range change the meaning of what holds them: whoever does not know one must refuse.
pub const MUST_UNDERSTAND: std::ops::RangeInclusive<u64> = 16..=23;

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the channel it came over may carry.
    #[error("message of {length} bytes, {limit} allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit of that channel in bytes.
        limit: usize,
    },
    /// Ends inside an item.
    #[error("truncated CBOR")]
    Truncated,
    /// CBOR, but not in the deterministic encoding.
    #[error("not deterministic CBOR: {0}")]
    NotDeterministic(&'static str),
    /// Nested deeper than [`limits::MAX_CBOR_DEPTH`].
    #[error("CBOR nested too deeply")]
    TooDeep,
    /// Bytes after the item's end.
    #[error("bytes after the end")]
    Trailing,
    /// A key of the must-understand range that this version does not know.
    #[error("key {0} must be understood and is not: update to talk to this peer")]
    MustUnderstand(u64),
    /// Right CBOR with a wrong shape; says which field, by its numbers on the wire from the outside in.
    #[error("{0}")]
    Shape(String),
}

/// Encodes a value deterministically.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    encode_sized(value, 128)
}

/// Encodes a value that takes about this many bytes: growing on the way would copy it several times.
pub fn encode_sized<T: Encode<()>>(value: &T, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    encode_into(value, &mut out);
    out
}

/// Encodes a value at the end of `out`, for sequences (RFC 8742) of several frames in one message.
pub fn encode_into<T: Encode<()>>(value: &T, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and no type of ours refuses to encode.
    #[allow(clippy::unwrap_used)]
    minicbor::encode(value, out).unwrap();
}

/// Decodes exactly one value from at most `limit` bytes.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8], limit: usize) -> Result<T, DecodeError> {
    check_length(bytes, limit)?;
    let end = check_item(bytes, 0, 0)?;
    if end != bytes.len() {
        return Err(DecodeError::Trailing);
    }
    decode_checked(bytes)
}

/// Decodes a sequence (RFC 8742) of one or more values from at most `limit` bytes.
pub fn decode_sequence<'b, T: Decode<'b, ()>>(bytes: &'b [u8], limit: usize) -> Result<Vec<T>, DecodeError> {
    check_length(bytes, limit)?;
    let mut values = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let end = check_item(bytes, start, 0)?;
        values.push(decode_checked(&bytes[start..end])?);
        start = end;
    }
    if values.is_empty() { Err(DecodeError::Truncated) } else { Ok(values) }
}

fn check_length(bytes: &[u8], limit: usize) -> Result<(), DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { length: bytes.len(), limit });
    }
    Ok(())
}

fn decode_checked<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, DecodeError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|e| DecodeError::Shape(shape(bytes, &e)))?;
    if decoder.position() != bytes.len() {
        return Err(DecodeError::Trailing);
    }
    Ok(value)
}

/// What is wrong, and with which field: `field 1.0: …` is the first of what the second holds.
fn shape(bytes: &[u8], error: &minicbor::decode::Error) -> String {
    match error.position().and_then(|position| path(bytes, position)) {
        Some(path) => format!("field {path}: {error}"),
        None => error.to_string(),
    }
}

/// The indices and keys that lead to a position in an item that was checked; `None` for the item itself.
fn path(bytes: &[u8], position: usize) -> Option<String> {
    let mut path = Vec::new();
    let mut at = 0;
    'deeper: while at < position {
        let (major, count, mut inner) = check_head(bytes, at).ok()?;
        for index in 0..if matches!(major, 4 | 5) { count } else { 0 } {
            let mut name = index;
            if major == 5 {
                name = check_head(bytes, inner).ok()?.1;
                inner = check_item(bytes, inner, 0).ok()?;
            }
            let end = check_item(bytes, inner, 0).ok()?;
            if position < end {
                path.push(name.to_string());
                at = inner;
                continue 'deeper;
            }
            inner = end;
        }
        break;
    }
    (!path.is_empty()).then(|| path.join("."))
}

/// Walks one item that starts at `at`; answers where it ends.
fn check_item(bytes: &[u8], at: usize, depth: usize) -> Result<usize, DecodeError> {
    if depth > limits::MAX_CBOR_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let (major, argument, mut at) = check_head(bytes, at)?;
    match major {
        0 | 1 => Ok(at),
        2 | 3 => {
            let end = usize::try_from(argument).ok().and_then(|n| at.checked_add(n));
            let end = end.filter(|end| *end <= bytes.len()).ok_or(DecodeError::Truncated)?;
            if major == 3 && std::str::from_utf8(&bytes[at..end]).is_err() {
                return Err(DecodeError::Shape("text is not UTF-8".into()));
            }
            Ok(end)
        }
        4 => {
            // Every element is at least a byte, so a count beyond the bytes left needs no allocation to refuse.
            if argument > (bytes.len() - at) as u64 {
                return Err(DecodeError::Truncated);
            }
            for _ in 0..argument {
                at = check_item(bytes, at, depth + 1)?;
            }
            Ok(at)
        }
        5 => {
            if argument > (bytes.len() - at) as u64 / 2 {
                return Err(DecodeError::Truncated);
            }
            let mut previous: Option<&[u8]> = None;
            for _ in 0..argument {
                let (key_major, key, _) = check_head(bytes, at)?;
                if key_major == 0 && MUST_UNDERSTAND.contains(&key) {
                    return Err(DecodeError::MustUnderstand(key));
                }
                let key_end = check_item(bytes, at, depth + 1)?;
                let key_bytes = &bytes[at..key_end];
                if previous.is_some_and(|p| p >= key_bytes) {
                    return Err(DecodeError::NotDeterministic("map keys out of order or repeated"));
                }
                previous = Some(key_bytes);
                at = check_item(bytes, key_end, depth + 1)?;
            }
            Ok(at)
        }
        7 if (20..=22).contains(&argument) => Ok(at), // false, true, null
        _ => Err(DecodeError::NotDeterministic("floats, tags and other simple values are not used")),
    }
}

/// Reads an item's head: major type, argument, and where its content starts.
fn check_head(bytes: &[u8], at: usize) -> Result<(u8, u64, usize), DecodeError> {
    let first = *bytes.get(at).ok_or(DecodeError::Truncated)?;
    let (major, info) = (first >> 5, first & 0x1f);
    let width = match info {
        0..=23 => return Ok((major, u64::from(info), at + 1)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return Err(DecodeError::NotDeterministic("indefinite length or reserved head")),
    };
    let raw = bytes.get(at + 1..at + 1 + width).ok_or(DecodeError::Truncated)?;
    let argument = raw.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let least = match width {
        1 => 24,
        2 => 1 << 8,
        4 => 1 << 16,
        _ => 1 << 32,
    };
    if argument < least || major == 7 {
        return Err(DecodeError::NotDeterministic("integer not in its shortest form"));
    }
    Ok((major, argument, at + 1 + width))
}

/// A list of at most `MAX` items; the decoder refuses more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounded<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Bounded<T, MAX> {
    /// `None` if there are more than `MAX`.
    pub fn new(items: Vec<T>) -> Option<Self> {
        (items.len() <= MAX).then_some(Self(items))
    }

    /// The first `MAX` of the items, for lists that are sent again anyway (ACK ranges).
    pub fn truncated(mut items: Vec<T>) -> Self {
        items.truncate(MAX);
        Self(items)
    }

    /// The items as a plain list.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for Bounded<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<C, T: Encode<C>, const MAX: usize> Encode<C> for Bounded<T, MAX> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(self.0.len() as u64)?;
        self.0.iter().try_for_each(|item| item.encode(e, ctx))
    }
}

impl<'b, C, T: Decode<'b, C>, const MAX: usize> Decode<'b, C> for Bounded<T, MAX> {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let count = d.array()?.unwrap_or(u64::MAX);
        if count > MAX as u64 {
            return Err(minicbor::decode::Error::message(format!("list of {count}, {MAX} allowed")).at(at));
        }
        let items = (0..count).map(|_| T::decode(d, ctx)).collect::<Result<_, _>>()?;
        Ok(Self(items))
    }
}

/// Text of at most `MAX` bytes of UTF-8; the decoder refuses more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// `None` if it is longer than `MAX` bytes.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (text.len() <= MAX).then_some(Self(text))
    }

    /// As much of the text as fits, cut between characters: for explanations only.
    pub fn truncated(text: &str) -> Self {
        let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX).last();
        Self(text[..end.unwrap_or(0)].to_owned())
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<C, const MAX: usize> Encode<C> for Text<MAX> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Text<MAX> {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let text = d.str()?;
        Self::new(text).ok_or_else(|| {
            minicbor::decode::Error::message(format!("text of {} bytes, {MAX} allowed", text.len())).at(at)
        })
    }
}

/// Opaque bytes of at most `MAX`; cheap to clone, since one frame goes to several destinations.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob<const MAX: usize>(Bytes);

impl<const MAX: usize> Blob<MAX> {
    /// `None` if longer than `MAX` bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= MAX).then_some(Self(bytes))
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl<const MAX: usize> std::fmt::Debug for Blob<MAX> {
    // Content never reaches a log, not even through a derived Debug.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<C, const MAX: usize> Encode<C> for Blob<MAX> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Blob<MAX> {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let bytes = d.bytes()?;
        if bytes.len() > MAX {
            return Err(
                minicbor::decode::Error::message(format!("{} bytes, {MAX} allowed", bytes.len())).at(at)
            );
        }
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<u64, DecodeError> {
        decode::<u64>(bytes, 64)
    }

    #[test]
    fn only_the_shortest_integer_is_accepted() {
        assert_eq!(check(&[0x17]), Ok(23));
        assert_eq!(check(&[0x18, 24]), Ok(24));
        for long in [
            &[0x18, 23][..],
            &[0x19, 0, 255],
            &[0x1a, 0, 0, 255, 255],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
        ] {
            assert!(matches!(check(long), Err(DecodeError::NotDeterministic(_))), "{long:?}");
        }
    }

    #[test]
    fn lengths_that_lie_are_truncated_not_allocated() {
        assert_eq!(
            check(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            check(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            check(&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Err(DecodeError::Truncated)
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = vec![0x81; 60];
        assert_eq!(check(&deep), Err(DecodeError::TooDeep));
    }

    #[test]
    fn unsorted_and_repeated_keys_are_refused() {
        assert!(matches!(check(&[0xa2, 1, 0, 0, 0]), Err(DecodeError::NotDeterministic(_))));
        assert!(matches!(check(&[0xa2, 1, 0, 1, 0]), Err(DecodeError::NotDeterministic(_))));
    }

    #[test]
    fn a_key_that_must_be_understood_stops_the_decoder_wherever_it_is() {
        assert_eq!(check(&[0xa1, 0x10, 0]), Err(DecodeError::MustUnderstand(16)));
        assert_eq!(check(&[0x81, 0xa1, 0x17, 0]), Err(DecodeError::MustUnderstand(23)));
    }

    #[test]
    fn trailing_bytes_and_oversize_are_refused() {
        assert_eq!(check(&[0, 0]), Err(DecodeError::Trailing));
        assert_eq!(check(&[0; 65]), Err(DecodeError::TooLong { length: 65, limit: 64 }));
        assert_eq!(decode_sequence::<u64>(&[1, 2, 3], 64), Ok(vec![1, 2, 3]));
        assert_eq!(decode_sequence::<u64>(&[], 64), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_wrong_shape_names_its_field() {
        use crate::relay::Request;
        let good = Request::Subscribe {
            conversation: crate::ConversationId([1; 16]),
            log_epoch: crate::LogEpoch(2),
            after: crate::Position(3),
            held: None,
        };
        let good = encode(&good);
        let refused = |bytes: &[u8]| decode::<Request>(bytes, 1_000).unwrap_err().to_string();
        let end = good.len() - 1;
        let text = [&good[..end], &[0x61, b'x']].concat();
        assert!(refused(&text).starts_with("field 1.2: "), "{}", refused(&text));
        let mut missing = good[..end - 1].to_vec();
        missing[2] -= 1;
        assert!(refused(&missing).contains("after"), "{}", refused(&missing));
        let mut other = good.clone();
        other[1] = 23;
        assert!(refused(&other).contains("23"), "{}", refused(&other));
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(&*Text::<5>::truncated("aébécd"), "aéb");
        assert_eq!(&*Text::<3>::truncated("ab"), "ab");
    }
}
