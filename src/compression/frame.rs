//! The header of a zstd frame, read before anything is unpacked. Pure.

/// `Magic_Number`, as the file begins.
pub const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The base-2 logarithm of the largest window. `zstd` makes no larger one up to its level 19, and RFC 8878 recommends that
/// every decoder supports 8 MiB.
pub const WINDOW_LOG: u32 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The size of what is compressed, in bytes. `zstd` leaves it out where it does not know it, as of a pipe.
    pub content: Option<u64>,
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Damaged(String),
    /// It may be sound.
    OtherShape {
        what: String,
        advice: &'static str,
    },
}

impl Fault {
    fn damaged(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }

    fn other_way(what: &str) -> Self {
        let what = format!("it is compressed in another way than this program does it: {what}");
        Self::OtherShape { what, advice: "unpack it with `zstd -d` and use the file" }
    }
}

/// Of a file with anything behind its frame, of which these are the first bytes.
pub fn behind(rest: &[u8]) -> Fault {
    if rest.starts_with(&MAGIC) || is_skipped(rest) {
        Fault::other_way("it has more than one frame")
    } else {
        Fault::damaged("there are more bytes after the end of its frame")
    }
}

pub fn too_large(bytes: u64, limit: u64) -> Fault {
    Fault::other_way(&format!("{bytes} bytes or more come out of it, and the limit is {limit}"))
}

/// Whether a frame begins that decoders skip.
pub fn is_skipped(start: &[u8]) -> bool {
    matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Reads the header that a file begins with.
pub fn parse(start: &[u8]) -> Result<Header, Fault> {
    if start.is_empty() {
        return Err(Fault::damaged("it is empty"));
    }
    if is_skipped(start) {
        return Err(Fault::other_way("it has more than one frame"));
    }
    let mut rest = start.strip_prefix(&MAGIC).ok_or_else(|| Fault::damaged("it is no zstd frame"))?;
    let descriptor = take(&mut rest, 1)?;
    let is_single_segment = descriptor & 0b10_0000 != 0;
    if descriptor & 0b1000 != 0 {
        return Err(Fault::damaged("its frame header has a reserved bit set"));
    }
    let window = if is_single_segment { None } else { Some(window(take(&mut rest, 1)?)) };
    if descriptor & 0b11 != 0 {
        return Err(Fault::other_way("its frame needs a dictionary"));
    }
    let content = match (descriptor >> 6, is_single_segment) {
        (0, false) => None,
        (0, true) => Some(take(&mut rest, 1)?),
        // Two bytes begin where one ends.
        (1, _) => Some(take(&mut rest, 2)? + 256),
        (2, _) => Some(take(&mut rest, 4)?),
        _ => Some(take(&mut rest, 8)?),
    };
    let (window, limit) = (window.or(content).unwrap_or_default(), 1 << WINDOW_LOG);
    if window > limit {
        return Err(Fault::other_way(&format!("its frame needs a window of {window} bytes, and the limit is {limit}")));
    }
    Ok(Header { content })
}

fn window(descriptor: u64) -> u64 {
    let base = 1_u64 << (10 + (descriptor >> 3));
    base + base / 8 * (descriptor & 0b111)
}

/// A little-endian number of so many bytes, at most 8.
fn take(rest: &mut &[u8], bytes: usize) -> Result<u64, Fault> {
    let (number, after) =
        rest.split_at_checked(bytes).ok_or_else(|| Fault::damaged("it ends in the midst of its frame header"))?;
    *rest = after;
    Ok(number.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Result<Option<u64>, Fault> {
        parse(&[&MAGIC[..], bytes].concat()).map(|header| header.content)
    }

    #[test]
    fn the_size_in_each_of_its_forms() {
        assert_eq!(header(&[0b0010_0100, 200]), Ok(Some(200)));
        assert_eq!(header(&[0b0110_0100, 1, 2]), Ok(Some(256 + 513)));
        assert_eq!(header(&[0b1010_0100, 1, 0, 0, 0]), Ok(Some(1)));
        assert_eq!(header(&[0b1000_0100, 0x58, 0, 0, 0, 0x20]), Ok(Some(0x2000_0000)));
        assert_eq!(header(&[0b1100_0100, 0x58, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Ok(Some(0x0807_0605_0403_0201)));
    }

    #[test]
    fn the_size_and_the_checksum_may_be_left_out() {
        assert_eq!(header(&[0b0000_0100, 0x58]), Ok(None));
        assert_eq!(header(&[0b1000_0000, 0x58, 1, 0, 0, 0]), Ok(Some(1)));
    }

    #[test]
    fn damage_is_told_from_another_shape() {
        let other = |fault| matches!(fault, Fault::OtherShape { .. });
        for (bytes, is_other, why) in [
            (&[0b1000_0101, 0x58, 7, 0, 0, 0, 1][..], true, "dictionary"),
            // 8 MiB and an eighth; and a window as large as the content.
            (&[0b1000_0100, 0x69, 0, 0, 0, 1], true, "window of 9437184 bytes"),
            (&[0b1000_0100, 0xff, 0, 0, 0, 1], true, "window of 4123168604160 bytes"),
            (&[0b0000_0100, 0x69], true, "window of 9437184 bytes"),
            (&[0b1010_0100, 1, 0, 0x80, 0], true, "window of 8388609 bytes"),
            (&[0b1000_1100, 0x58, 0, 0, 0, 1], false, "reserved"),
            (&[0b1000_0100, 0x58, 0, 0], false, "midst of its frame header"),
            (&[], false, "midst of its frame header"),
        ] {
            let fault = header(bytes).unwrap_err();
            assert!(format!("{fault:?}").contains(why), "{bytes:?}: {fault:?}");
            assert_eq!(other(fault), is_other, "{bytes:?}");
        }
        assert!(header(&[0b1000_0100, 0x68, 0, 0, 0, 1]).is_ok() && header(&[0b1010_0100, 0, 0, 0x80, 0]).is_ok());
        assert_eq!(parse(b"PK"), Err(Fault::damaged("it is no zstd frame")));
        assert_eq!(parse(b""), Err(Fault::damaged("it is empty")));
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        assert!(parse(&skipped).is_err_and(other) && other(behind(&skipped)) && other(behind(&MAGIC)));
        assert!(!other(behind(&MAGIC[..3])) && !other(behind(b"\0")));
    }
}
