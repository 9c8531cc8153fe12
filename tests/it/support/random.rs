//! Secrets that exist nowhere else.

/// Thirty-two characters that no other test has.
pub fn random_text() -> String {
    use std::io::Read as _;

    let mut bytes = [0; 16];
    let mut random = std::fs::File::open("/dev/urandom").expect("a source of chance");
    random.read_exact(&mut bytes).expect("sixteen bytes");
    format!("{:032x}", u128::from_be_bytes(bytes))
}
