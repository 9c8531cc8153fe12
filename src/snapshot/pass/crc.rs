//! CRC-32C of bytes that were hashed in parts, in another order than that in which they are joined.

/// The polynomial, its bits reversed: the coefficient of x^0 is the highest bit.
const POLYNOMIAL: u32 = 0x82F6_3B78;
const ONE: u32 = 1 << 31;
/// `x^(2^n)`, for as many n as the bits of a length can have.
const POWERS: [u32; 67] = powers();

/// The checksum of two parts of which each has its own; the second has `bytes` bytes.
pub fn joined(first: u32, second: u32, bytes: u64) -> u32 {
    // A checksum is a polynomial. Bytes that follow multiply it by x, eight times each.
    let mut shift = ONE;
    let powers = POWERS.iter().skip(3).enumerate();
    for (_, power) in powers.filter(|(bit, _)| (bytes >> bit) & 1 == 1) {
        shift = product(shift, *power);
    }
    product(shift, first) ^ second
}

const fn powers() -> [u32; 67] {
    // x itself.
    let mut powers = [ONE >> 1; 67];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = product(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

/// Of two polynomials, modulo that of CRC-32C.
const fn product(one: u32, mut other: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit != 0 {
        if one & bit != 0 {
            product ^= other;
        }
        let carry = if other & 1 == 1 { POLYNOMIAL } else { 0 };
        other = (other >> 1) ^ carry;
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use crc32c::crc32c;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_make_the_checksum_of_the_whole(first: Vec<u8>, second: Vec<u8>) {
            let bytes = u64::try_from(second.len()).unwrap();
            let whole = crc32c(&[first.as_slice(), &second].concat());
            prop_assert_eq!(joined(crc32c(&first), crc32c(&second), bytes), whole);
        }

        #[test]
        fn long_parts_too(first: u32, second: u32, bytes in 0..u64::from(u32::MAX)) {
            let expected = crc32c::crc32c_combine(first, second, usize::try_from(bytes).unwrap());
            prop_assert_eq!(joined(first, second, bytes), expected);
        }
    }
}
