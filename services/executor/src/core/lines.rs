//! Lines out of pieces of bytes.
//!
//! The accident that this file prevents is P9: a listener that stops at one odd line (too long, or no UTF-8) and leaves a
//! child that waits for ever, or dies because nobody reads what it says.

/// What is given for each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The line. Bytes that are no UTF-8 have become U+FFFD.
    Whole(String),
    /// It was longer than the limit, and was passed over.
    TooLong,
}

/// Puts lines together. Memory is bounded by the limit, whatever comes.
#[derive(Debug)]
pub struct Lines {
    limit_bytes: usize,
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Lines of at most this many bytes.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, begun: Vec::new(), too_long: false }
    }

    /// Takes a piece in; gives the lines that end in it.
    pub fn take(&mut self, piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|b| *b == b'\n') {
            let text = part.strip_suffix(b"\n");
            self.add(text.unwrap_or(part));
            if text.is_some() {
                lines.push(self.cut());
            }
        }
        lines
    }

    /// The last line, when it has no end.
    pub fn end(mut self) -> Option<Line> {
        (self.too_long || !self.begun.is_empty()).then(|| self.cut())
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.too_long || self.begun.len() + bytes.len() > self.limit_bytes {
            self.too_long = true;
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn cut(&mut self) -> Line {
        let bytes = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.too_long) {
            return Line::TooLong;
        }
        Line::Whole(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(limit_bytes: usize, pieces: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::new(limit_bytes);
        let mut out: Vec<Line> = pieces.iter().flat_map(|piece| lines.take(piece)).collect();
        out.extend(lines.end());
        out
    }

    #[test]
    fn one_odd_line_does_not_end_the_listening() {
        let whole = |text: &str| Line::Whole(text.into());
        let pieces: [&[u8]; 3] = [b"a\ntoo lo", b"ng a line\nb\xff\n", b"\nend"];
        assert_eq!(all(8, &pieces), [whole("a"), Line::TooLong, whole("b\u{fffd}"), whole(""), whole("end")]);
    }

    proptest! {
        #[test]
        fn where_it_is_cut_makes_no_difference(text in "[a-c\n]{0,60}", cut in 0_usize..60, limit in 0_usize..9) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(all(limit, &[first, second]), all(limit, &[bytes]));
        }

        #[test]
        fn lines_are_those_of_the_text(text in "[a-c\n]{0,60}") {
            let expected: Vec<Line> = text.lines().map(|l| Line::Whole(l.into())).collect();
            prop_assert_eq!(all(100, &[text.as_bytes()]), expected);
        }
    }
}
