//! A revision as a key of the bucket `key`, in the format of etcd's `server/storage/mvcc/revision.go`.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// The number that clients see: 1 for an empty etcd, 2 for the first write.
    pub main: u64,
    /// The place among the changes of one transaction, from 0.
    pub sub: u64,
    /// Whether the change deletes a key.
    pub tombstone: bool,
}

impl Revision {
    /// Reads 17 bytes, or 18 with a final `t` for a deletion.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let (numbers, tombstone) = match key.len() {
            17 => (key, false),
            18 => (key.strip_suffix(b"t")?, true),
            _ => return None,
        };
        let (main, rest) = numbers.split_first_chunk::<8>()?;
        let sub = rest.strip_prefix(b"_")?.first_chunk::<8>()?;
        Some(Self { main: u64::from_be_bytes(*main), sub: u64::from_be_bytes(*sub), tombstone })
    }

    pub fn to_key(self) -> Vec<u8> {
        // Big endian, so that the order of the keys is that of the revisions.
        let mut key = Vec::with_capacity(18);
        key.extend(self.main.to_be_bytes());
        key.push(b'_');
        key.extend(self.sub.to_be_bytes());
        key.extend(self.tombstone.then_some(b't'));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for (tombstone, end) in [(false, "\x05"), (true, "\x05t")] {
            let key = ["\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0", end].concat().into_bytes();
            let revision = Revision { main: 0x102, sub: 5, tombstone };
            assert_eq!(Revision::parse(&key), Some(revision));
            assert_eq!(revision.to_key(), key);
        }
        for other in [&b""[..], &[b'_'; 16], b"12345678-12345678", b"12345678_12345678x", &[b'_'; 19]] {
            assert_eq!(Revision::parse(other), None);
        }
    }
}
