//! The lines of a program's output, of which none takes more memory than it should.

use std::io::{self, BufRead};

/// The longest line that is kept, in bytes.
pub const LONGEST: usize = 256 << 10;

#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its end. What is not UTF-8 is replaced.
    Text(String),
    /// It has more than [`LONGEST`] bytes, and was skipped.
    TooLong,
}

/// All lines up to the end, or to the first error.
pub fn lines(mut reader: impl BufRead) -> impl Iterator<Item = Line> {
    std::iter::from_fn(move || next(&mut reader).ok().flatten())
}

fn next(reader: &mut impl BufRead) -> io::Result<Option<Line>> {
    let (mut kept, mut length) = (Vec::new(), 0);
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        length += part.len();
        if length <= LONGEST {
            kept.extend_from_slice(part);
        }
        let is_at_end = bytes.is_empty();
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if is_at_end && length == 0 {
            return Ok(None);
        }
        if is_at_end || end.is_some() {
            let text = || Line::Text(String::from_utf8_lossy(&kept).into_owned());
            return Ok(Some(if length > LONGEST { Line::TooLong } else { text() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn all(text: impl Read) -> Vec<Line> {
        lines(BufReader::new(text)).collect()
    }

    #[test]
    fn every_line_is_given_whole_or_not_at_all() {
        let text = |text: &str| Line::Text(text.to_owned());
        assert_eq!(all(&b"a\n\nb\xff\r\nc"[..]), [text("a"), text(""), text("b\u{fffd}\r"), text("c")]);
        assert_eq!(all(&b""[..]), []);
        let long = "x".repeat(LONGEST);
        assert_eq!(
            all(format!("{long}\n{long}y\nz\n{long}y").as_bytes()),
            [text(&long), Line::TooLong, text("z"), Line::TooLong]
        );
    }

    /// It would take too much memory to keep.
    #[test]
    fn a_line_without_an_end_is_skipped() {
        let line = io::repeat(b'x').take(16 << 20).chain(&b"\nlast"[..]);
        assert_eq!(all(line), [Line::TooLong, Line::Text("last".into())]);
    }
}
