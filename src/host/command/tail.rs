//! What is kept and what is logged of a stream of bytes.

use super::Loudness;

const MAX_LINE: usize = 2000;

/// The last bytes of a stream.
pub(super) struct Tail {
    bytes: Vec<u8>,
    bound: usize,
    cut: bool,
}

impl Tail {
    pub(super) fn new(bound: usize) -> Self {
        Self { bytes: Vec::new(), bound, cut: false }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        // Let it grow to twice the bound, so that the bytes are not moved for each chunk.
        if self.bytes.len() > 2 * self.bound {
            self.trim();
        }
    }

    fn trim(&mut self) {
        if self.bytes.len() > self.bound {
            self.bytes.drain(..self.bytes.len() - self.bound);
            self.cut = true;
        }
    }

    /// Whether the beginning of the stream is gone.
    pub(super) fn is_cut(&self) -> bool {
        self.cut || self.bytes.len() > self.bound
    }

    /// The last lines that are not blank, trimmed.
    pub(super) fn last_lines(&self, count: usize) -> String {
        let start = self.bytes.len().saturating_sub(count * MAX_LINE);
        let text = String::from_utf8_lossy(&self.bytes[start..]);
        let lines: Vec<_> =
            text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    pub(super) fn into_text(mut self) -> String {
        self.trim();
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Turns a stream into one log event per line, as the lines come.
pub(super) struct Lines<'a> {
    program: &'a str,
    stream: &'static str,
    loudness: Loudness,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(program: &'a str, stream: &'static str, loudness: Loudness) -> Self {
        Self { program, stream, loudness, line: Vec::new() }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        if self.loudness == Loudness::Secret {
            return;
        }
        for byte in chunk {
            if matches!(byte, b'\n' | b'\r') {
                self.end();
            } else if self.line.len() < MAX_LINE {
                self.line.push(*byte);
            }
        }
    }

    /// Logs what stands before the end of the line or of the stream.
    pub(super) fn end(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        let (program, stream) = (self.program, self.stream);
        match self.loudness {
            _ if line.is_empty() => {}
            Loudness::Secret => {}
            Loudness::Debug => {
                tracing::debug!(target: "tandem::command", program, stream, "{line}");
            }
            Loudness::Info => {
                tracing::info!(target: "tandem::command", program, stream, "{line}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_bytes_are_kept() {
        let mut tail = Tail::new(4);
        for chunk in [b"abc".as_slice(), b"def", b"ghi", b"jk"] {
            tail.push(chunk);
        }
        assert!(tail.is_cut());
        assert_eq!(tail.into_text(), "hijk");
    }

    #[test]
    fn what_fits_is_whole() {
        let mut tail = Tail::new(4);
        tail.push(b"abcd");
        assert!(!tail.is_cut());
        assert_eq!(tail.into_text(), "abcd");
    }

    #[test]
    fn last_lines_skip_blank_ones_and_treat_a_redrawn_line_as_lines() {
        let mut tail = Tail::new(100);
        tail.push(b"one\n\ntwo\r three \n\n");
        assert_eq!(tail.last_lines(2), "two\nthree");
    }
}
