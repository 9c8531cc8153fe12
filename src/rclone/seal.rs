//! rclone's own encryption of a configuration (`fs/config/crypt.go`), so that a copy on disk is worth nothing without the
//! password.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use rustix::rand::{GetRandomFlags, getrandom};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};

/// Begins the line before the sealed text, which is base64 to the end of the file.
const MARK: &str = "RCLONE_ENCRYPT_V0:";
const NONCE: usize = 24;
const TAG: usize = 16;

/// One that nobody knows and that is kept nowhere: 64 hexadecimal digits.
pub fn new_password() -> io::Result<String> {
    Ok(hex::encode(random::<32>()?))
}

pub fn is_sealed(text: &[u8]) -> bool {
    sealed_part(text).is_some()
}

pub fn seal(text: &[u8], password: &str) -> io::Result<Vec<u8>> {
    let nonce = random::<NONCE>()?;
    let mut text = text.to_owned();
    let (mut stream, mac) = cipher(password, &nonce);
    stream.apply_keystream(&mut text);
    let tag = mac.compute_unpadded(&text);
    let sealed = BASE64.encode([&nonce[..], &tag[..], &text].concat());
    Ok(format!("# Encrypted rclone configuration File\n\n{MARK}\n{sealed}\n").into_bytes())
}

/// The text; `None` if it is not sealed with this password.
pub fn open(sealed: &[u8], password: &str) -> Option<Vec<u8>> {
    let sealed: Vec<u8> = sealed_part(sealed)?.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let sealed = BASE64.decode(sealed).ok()?;
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    let (tag, text) = sealed.split_first_chunk::<TAG>()?;
    let (mut stream, mac) = cipher(password, nonce);
    if mac.compute_unpadded(text)[..] != tag[..] {
        return None;
    }
    let mut text = text.to_owned();
    stream.apply_keystream(&mut text);
    Some(text)
}

/// What comes after the mark, which stands below comments alone.
fn sealed_part(text: &[u8]) -> Option<&str> {
    let (head, sealed) = std::str::from_utf8(text).ok()?.split_once(MARK)?;
    let is_comment = |line: &str| line.trim().is_empty() || line.starts_with(['#', ';']);
    head.lines().all(is_comment).then_some(sealed)
}

/// As `crypto_secretbox` of the library `NaCl`: the first 32 bytes of the key stream are the key of the tag.
fn cipher(password: &str, nonce: &[u8; NONCE]) -> (XSalsa20, Poly1305) {
    let key: [u8; 32] = Sha256::digest(format!("[{password}][rclone-config]")).into();
    let mut stream = XSalsa20::new(&key.into(), &(*nonce).into());
    let mut key_of_tag = [0; 32];
    stream.apply_keystream(&mut key_of_tag);
    (stream, Poly1305::new(&key_of_tag.into()))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // So few bytes come at once or not at all.
    let got = getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    if got == N { Ok(bytes) } else { Err(io::Error::other("the system gives too few random bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_password_alone() {
        let (text, password) = (b"[x]\ntype = s3\nsecret = hunter2\n", new_password().unwrap());
        let sealed = seal(text, &password).unwrap();
        assert!(is_sealed(&sealed) && !is_sealed(text) && !is_sealed(b"[x]\nnote = RCLONE_ENCRYPT_V0:\n"));
        assert_eq!(open(&sealed, &password).as_deref(), Some(&text[..]));
        assert_eq!(open(&sealed, "another"), None);
        assert_ne!(password, new_password().unwrap());
        assert_ne!(sealed, seal(text, &password).unwrap());
    }

    /// By rclone 1.75.2.
    #[test]
    fn what_rclone_has_sealed_is_opened() {
        let sealed = b"# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\n\
            gzlBKibm84OK12dq/jXRHVKLVQqI9U/adWAqLyQ/eLaAfm5Fw68sqhTZVaQIJ1wSC5Yqm5EK3aU/iQ==";
        assert_eq!(open(sealed, "secret").as_deref(), Some(&b"[a]\ntype = local\n\n"[..]));
    }
}
