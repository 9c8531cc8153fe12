//! What kind of key a file holds, where the TLS library cannot use it: its own errors do not tell.

use x509_parser::prelude::SubjectPublicKeyInfo;
use x509_parser::public_key::PublicKey;

/// Object identifiers in DER, and what to call a key that has them.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "a P-521 key"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], "a P-224 key"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "a secp256k1 key"),
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01], "a P-192 key"),
    (&[0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01], "a Brainpool key"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x71], "an Ed448 key"),
    (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
    (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "a key for RSA-PSS alone"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "an X25519 key, which signs nothing"),
];

/// Bytes of a public key's structure in which they are.
const IDENTIFIERS: usize = 40;
/// In bits: what the TLS library signs and verifies with.
const RSA: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a private key is, PKCS#8, SEC1 or PKCS#1 in DER, that the TLS library refused.
pub fn refused(der: &[u8]) -> String {
    let rsa = || rsa_bits(der).map(|bits| format!("an RSA key of {bits} bits"));
    named(der).map(ToOwned::to_owned).or_else(rsa).unwrap_or_else(|| "a key of another kind".to_owned())
}

/// What the public key of an authority is, if the TLS library verifies nothing with it.
pub fn unusable(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if !RSA.contains(&rsa.key_size()) => {
            Some(format!("an RSA key of {} bits", rsa.key_size()))
        }
        // The identifiers come before the key itself.
        _ => named(key.raw.get(..IDENTIFIERS).unwrap_or(key.raw)).map(ToOwned::to_owned),
    }
}

/// Looks for the object identifier of an algorithm or a curve.
fn named(der: &[u8]) -> Option<&'static str> {
    let found = NAMES.iter().find(|(id, _)| der.windows(id.len()).any(|window| window == *id));
    found.map(|(_, name)| *name)
}

/// The length of the modulus, which follows the version 0 in PKCS#1, and so in the PKCS#8 around it.
fn rsa_bits(der: &[u8]) -> Option<usize> {
    let version = [0x02, 0x01, 0x00, 0x02];
    let at = der.windows(version.len()).position(|window| window == version)? + version.len();
    let (bytes, first) = match der.get(at..)? {
        [0x82, high, low, first, ..] => (usize::from(u16::from_be_bytes([*high, *low])), first),
        [0x81, bytes, first, ..] | [bytes, first, ..] => (usize::from(*bytes), first),
        _ => return None,
    };
    // A zero keeps the number from being negative.
    Some(bytes.saturating_sub(usize::from(*first == 0)) * 8)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::*;

    #[test]
    fn private_keys_are_called_by_their_kind() {
        let pkcs8 = |id: &[u8]| [&[0x30, 0x40, 0x02, 0x01, 0x00, 0x30, 0x10], id, &[0x04, 0x20], &[9; 32]].concat();
        for (id, name) in NAMES {
            assert_eq!(refused(&pkcs8(id)), name);
        }
        let rsa = |length: &[u8]| refused(&[&[0x30, 0x82, 4, 4, 2, 1, 0, 2], length, &[0, 0xc1], &[9; 32]].concat());
        assert_eq!(rsa(&[0x81, 129]), "an RSA key of 1024 bits");
        assert_eq!(rsa(&[0x82, 0x08, 0x01]), "an RSA key of 16384 bits");
        assert_eq!(rsa(&[65]), "an RSA key of 512 bits");
        for other in [&[][..], &[2, 1, 0, 2], &[9; 40]] {
            assert_eq!(refused(other), "a key of another kind");
        }
    }

    #[test]
    fn authorities_are_told_by_their_keys() {
        let of = |name: &str| {
            let path = format!("{}/tests/fixtures/{name}-ca.crt", env!("CARGO_MANIFEST_DIR"));
            let der = CertificateDer::from_pem_file(path).unwrap();
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            unusable(certificate.public_key())
        };
        assert_eq!(of("p521").as_deref(), Some("a P-521 key"));
        assert_eq!(of("ed448").as_deref(), Some("an Ed448 key"));
        assert_eq!(of("rsa1024").as_deref(), Some("an RSA key of 1024 bits"));
        let usable = rcgen::generate_simple_self_signed(vec![]).unwrap();
        let (_, certificate) = X509Certificate::from_der(usable.cert.der()).unwrap();
        assert_eq!(unusable(certificate.public_key()), None);
    }
}
