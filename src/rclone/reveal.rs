//! Undoes `rclone obscure`, which is no encryption: its key is in rclone's sources. rclone's own `reveal` takes the text as an
//! argument, which other processes can read.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `cryptKey` of rclone's `fs/config/obscure`.
const KEY: [u8; 32] = [
    0x9c, 0x93, 0x5b, 0x48, 0x73, 0x0a, 0x55, 0x4d, 0x6b, 0xfd, 0x7c, 0x63, 0xc8, 0x86, 0xa9, 0x2b, 0xd3, 0x90, 0x19,
    0x8e, 0xb8, 0x12, 0x8a, 0xfb, 0xf4, 0xde, 0x16, 0x2b, 0x8b, 0x95, 0xf6, 0x38,
];
const BLOCK: usize = 16;

/// The plain form of an obscured text; `None` for what is none.
pub fn reveal(obscured: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(obscured).ok()?;
    let (start, text) = bytes.split_first_chunk::<BLOCK>()?;
    let cipher = Aes256::new(&KEY.into());
    // AES in counter mode: the text begins behind the first counter.
    let mut counter = u128::from_be_bytes(*start);
    let mut plain = Vec::with_capacity(text.len());
    for block in text.chunks(BLOCK) {
        let mut stream = counter.to_be_bytes().into();
        cipher.encrypt_block(&mut stream);
        plain.extend(block.iter().zip(stream).map(|(byte, mask)| byte ^ mask));
        counter = counter.wrapping_add(1);
    }
    // Bytes that are no text come from what was not obscured.
    String::from_utf8(plain).ok().filter(|plain| !plain.is_empty() && !plain.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rclone_obscured_is_revealed() {
        // Of rclone 1.75.2.
        assert_eq!(reveal("V0WKrEn0efDwZHipH7_yHct3_3TRIwQd2Laz_SBs").as_deref(), Some("hunter2hunter2"));
        assert_eq!(reveal("nDGl1SkXTEa6exWg7lqrEu-F").as_deref(), Some("hi"));
    }

    #[test]
    fn what_is_plain_is_not() {
        for plain in ["", "hunter2", "hunter2hunter2hunter2hunter2", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "ü"] {
            assert_eq!(reveal(plain), None, "{plain}");
        }
    }
}
