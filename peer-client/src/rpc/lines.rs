//! Lines from a stream of bytes, each bounded.

/// Longest line taken: a batch of about 30 of the longest texts.
pub const LONGEST_LINE: usize = 1024 * 1024;

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The line.
    Whole(Vec<u8>),
    /// It was longer than [`LONGEST_LINE`] and is gone.
    TooLong,
}

/// Cuts bytes into lines; keeps at most one line that is not complete.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    skipping: bool,
}

impl Lines {
    /// Takes the next bytes; answers the lines that they complete. Blank ones are left out.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end], &mut lines);
            bytes = &bytes[end + 1..];
            self.end(&mut lines);
        }
        self.extend(bytes, &mut lines);
        lines
    }

    /// The input has ended: what is left is a line too.
    pub fn finish(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.end(&mut lines);
        lines
    }

    fn extend(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        if self.skipping {
            return;
        }
        if self.partial.len() + bytes.len() > LONGEST_LINE {
            // Said at once: whoever sends without end may never send the end of the line.
            lines.push(Line::TooLong);
            self.partial = Vec::new();
            self.skipping = true;
            return;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn end(&mut self, lines: &mut Vec<Line>) {
        let line = std::mem::take(&mut self.partial);
        if !std::mem::take(&mut self.skipping) && !line.trim_ascii().is_empty() {
            lines.push(Line::Whole(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_cut_wherever_the_bytes_are() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), [whole("one")]);
        assert_eq!(lines.push(b"o"), []);
        assert_eq!(lines.push(b"\n\n  \nthree"), [whole("two")]);
        assert_eq!(lines.finish(), [whole("three")]);
        assert_eq!(lines.finish(), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_once_and_the_next_one_is_taken() {
        let mut lines = Lines::default();
        let long = vec![b'x'; LONGEST_LINE];
        assert_eq!(lines.push(&long), []);
        assert_eq!(lines.push(b"y"), [Line::TooLong]);
        assert_eq!(lines.push(&long), []);
        assert_eq!(lines.push(b"\nnext\n"), [whole("next")]);
        assert_eq!(lines.push(&long), []);
        assert_eq!(lines.push(b"\n"), [Line::Whole(long)]);
    }
}
