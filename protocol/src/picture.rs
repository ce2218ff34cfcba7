//! Pictures, as far as one must know them before handing them to something that decodes: the format, and how large they
//! become. A few kilobytes can ask for gigabytes of pixels.

/// Width and height of a PNG, JPEG or WebP by its headers; `None` if it is none of these.
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    png(bytes).or_else(|| jpeg(bytes)).or_else(|| webp(bytes))
}

/// RFC 2083 §4.1.1: the header is the first chunk.
fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(4..)?.strip_prefix(b"IHDR")?;
    let side = |at| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((side(0)?, side(4)?))
}

/// ITU T.81 annex B: segments up to the frame header.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    loop {
        rest = rest.strip_prefix(b"\xff")?;
        while let Some(filled) = rest.strip_prefix(b"\xff") {
            rest = filled;
        }
        let (marker, segment) = rest.split_first()?;
        let length = usize::from(u16::from_be_bytes(segment.get(..2)?.try_into().ok()?));
        match marker {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let side =
                    |at| Some(u32::from(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?)));
                return Some((side(5)?, side(3)?));
            }
            // The picture itself, or its end, without a frame header before it.
            0xd8..=0xda => return None,
            _ => rest = segment.get(length.max(2)..)?,
        }
    }
}

/// RFC 9649 §2: the first chunk says it in one of three ways.
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    let chunk = bytes.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WEBP")?;
    let body = chunk.get(8..)?;
    let byte = |at: usize| body.get(at).copied().map(u32::from);
    match chunk.get(..4)? {
        b"VP8 " => {
            let side = |at| Some((byte(at)? | byte(at + 1)? << 8) & 0x3fff);
            (body.get(3..6)? == b"\x9d\x01\x2a").then_some((side(6)?, side(8)?))
        }
        b"VP8L" => {
            let bits = byte(1)? | byte(2)? << 8 | byte(3)? << 16 | byte(4)? << 24;
            (byte(0)? == 0x2f).then_some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let side = |at| Some((byte(at)? | byte(at + 1)? << 8 | byte(at + 2)? << 16) + 1);
            Some((side(4)?, side(7)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_format_says_how_large_it_is() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x40\0\0\0\0\x60\x08\x06\0\0\0";
        assert_eq!(dimensions(png), Some((16_384, 96)));
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x0b\x08\0\x60\x01\0\x01\x01\x11\0";
        assert_eq!(dimensions(jpeg), Some((256, 96)));
        let lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x60\0\x80\x40";
        assert_eq!(dimensions(lossy), Some((96, 128)));
        let lossless = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x5f\xc0\x17\0";
        assert_eq!(dimensions(lossless), Some((96, 96)));
        let extended = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\x10\0\0\0\xff\xff\xff\x5f\0\0";
        assert_eq!(dimensions(extended), Some((16_777_216, 96)));
    }

    #[test]
    fn what_has_no_size_is_no_picture() {
        for bytes in [
            &b""[..],
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xd9\0\x02",
            b"\xff\xd8\xff\xda\0\x02",
            b"GIF89a",
            b"<svg>",
        ] {
            assert_eq!(dimensions(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(tail in proptest::collection::vec(any::<u8>(), 0..64), kind in 0..3_usize) {
            let heads: [&[u8]; 3] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8"];
            let _ = dimensions(&[heads[kind], &tail[..]].concat());
        }
    }
}
