//! The header of a zstd frame, read before anything is unpacked. Pure.

/// `Magic_Number`, as the file begins.
pub const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The most bytes that a header has, its magic number included.
pub const LONGEST: usize = 18;
/// The base-2 logarithm of the largest window. `zstd` makes no larger one up to its level 19, and every decoder has to
/// support 8 MiB.
pub const WINDOW_LOG: u32 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The size of what is compressed, in bytes.
    pub content: u64,
}

/// Reads the header that a file begins with. Refuses what the format leaves out if it likes, and this program relies on.
pub fn parse(start: &[u8]) -> Result<Header, String> {
    let mut rest = start.strip_prefix(&MAGIC).ok_or("it is no zstd frame")?;
    let descriptor = take(&mut rest, 1)?;
    let (has_checksum, is_single_segment) = (descriptor & 0b100 != 0, descriptor & 0b10_0000 != 0);
    if descriptor & 0b1000 != 0 {
        return Err("its frame header has a reserved bit set".into());
    }
    if !has_checksum {
        return Err("its frame has no checksum".into());
    }
    let window = if is_single_segment { None } else { Some(window(take(&mut rest, 1)?)) };
    if descriptor & 0b11 != 0 {
        return Err("its frame needs a dictionary".into());
    }
    let content = match (descriptor >> 6, is_single_segment) {
        (0, false) => return Err("its frame does not announce the size of its content".into()),
        (0, true) => take(&mut rest, 1)?,
        // Two bytes begin where one ends.
        (1, _) => take(&mut rest, 2)? + 256,
        (2, _) => take(&mut rest, 4)?,
        _ => take(&mut rest, 8)?,
    };
    let (window, limit) = (window.unwrap_or(content), 1 << WINDOW_LOG);
    if window > limit {
        return Err(format!("its frame needs a window of {window} bytes, and the limit is {limit}"));
    }
    Ok(Header { content })
}

fn window(descriptor: u64) -> u64 {
    let base = 1_u64 << (10 + (descriptor >> 3));
    base + base / 8 * (descriptor & 0b111)
}

/// A little-endian number of so many bytes, at most 8.
fn take(rest: &mut &[u8], bytes: usize) -> Result<u64, String> {
    let (number, after) = rest.split_at_checked(bytes).ok_or("it ends in the midst of its frame header")?;
    *rest = after;
    Ok(number.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Result<u64, String> {
        parse(&[&MAGIC[..], bytes].concat()).map(|header| header.content)
    }

    #[test]
    fn the_size_in_each_of_its_forms() {
        assert_eq!(header(&[0b0010_0100, 200]), Ok(200));
        assert_eq!(header(&[0b0110_0100, 1, 2]), Ok(256 + 513));
        assert_eq!(header(&[0b1010_0100, 1, 0, 0, 0]), Ok(1));
        assert_eq!(header(&[0b1000_0100, 0x58, 0, 0, 0, 0x20]), Ok(0x2000_0000));
        assert_eq!(header(&[0b1100_0100, 0x58, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Ok(0x0807_0605_0403_0201));
    }

    #[test]
    fn what_is_missing_or_too_large_is_refused() {
        for (bytes, why) in [
            (&[0b1000_0000, 0x58, 0, 0, 0, 1][..], "no checksum"),
            (&[0b0000_0100, 0x58], "does not announce"),
            (&[0b1000_0101, 0x58, 7, 0, 0, 0, 1], "dictionary"),
            (&[0b1000_1100, 0x58, 0, 0, 0, 1], "reserved"),
            // 8 MiB and an eighth; and a window as large as the content.
            (&[0b1000_0100, 0x69, 0, 0, 0, 1], "window of 9437184 bytes"),
            (&[0b1000_0100, 0xff, 0, 0, 0, 1], "window of 4123168604160 bytes"),
            (&[0b1010_0100, 1, 0, 0x80, 0], "window of 8388609 bytes"),
            (&[0b1000_0100, 0x58, 0, 0], "midst of its frame header"),
            (&[], "midst of its frame header"),
        ] {
            let error = header(bytes).unwrap_err();
            assert!(error.contains(why), "{bytes:?}: {error}");
        }
        assert!(header(&[0b1000_0100, 0x68, 0, 0, 0, 1]).is_ok() && header(&[0b1010_0100, 0, 0, 0x80, 0]).is_ok());
        assert_eq!(parse(b"PK"), Err("it is no zstd frame".into()));
        // One that is skipped is a frame of its own, and the backup is one frame.
        assert_eq!(parse(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]), Err("it is no zstd frame".into()));
    }
}
