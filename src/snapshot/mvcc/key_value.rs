//! A value of the bucket `key`: the message `mvccpb.KeyValue` of etcd's `api/mvccpb/kv.proto`.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A `KeyValue` that borrows its bytes from the page.
// Decoded by hand, because a derived prost message would copy every value of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    pub key: &'a [u8],
    pub create_revision: i64,
    pub mod_revision: i64,
    /// How many changes there were since the key was created, this one included.
    pub version: i64,
    pub value: &'a [u8],
    /// The lease that the key expires with; 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// `None` for bytes that are not such a message. As in every protobuf reader, a later field replaces an earlier one
    /// of the same number, and fields of unknown numbers are skipped: a newer etcd may add some.
    pub fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let mut kv = Self::default();
        while !bytes.is_empty() {
            let (tag, wire) = decode_key(&mut bytes).ok()?;
            match (tag, wire) {
                (1, WireType::LengthDelimited) => kv.key = length_delimited(&mut bytes)?,
                (2, WireType::Varint) => kv.create_revision = int64(&mut bytes)?,
                (3, WireType::Varint) => kv.mod_revision = int64(&mut bytes)?,
                (4, WireType::Varint) => kv.version = int64(&mut bytes)?,
                (5, WireType::LengthDelimited) => kv.value = length_delimited(&mut bytes)?,
                (6, WireType::Varint) => kv.lease = int64(&mut bytes)?,
                // A known number with another type: etcd refuses this too.
                (1..=6, _) => return None,
                _ => skip_field(wire, tag, &mut bytes, DecodeContext::default()).ok()?,
            }
        }
        Some(kv)
    }
}

fn length_delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (field, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(field)
}

fn int64(bytes: &mut &[u8]) -> Option<i64> {
    // Protobuf writes a negative int64 as the varint of its two's complement.
    decode_varint(bytes).ok().map(u64::cast_signed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::snapshot::tests::KeyValueMessage;

    fn borrowed(message: &KeyValueMessage) -> KeyValue<'_> {
        let KeyValueMessage { key, create_revision, mod_revision, version, value, lease } = message;
        let (create_revision, mod_revision, version, lease) = (*create_revision, *mod_revision, *version, *lease);
        KeyValue { key, create_revision, mod_revision, version, value, lease }
    }

    proptest! {
        #[test]
        fn it_reads_what_prost_writes(key: Vec<u8>, value: Vec<u8>, numbers: [i64; 4]) {
            let [create_revision, mod_revision, version, lease] = numbers;
            let message = KeyValueMessage { key, create_revision, mod_revision, version, value, lease };
            let bytes = message.encode_to_vec();
            prop_assert_eq!(KeyValue::decode(&bytes), Some(borrowed(&message)));
        }

        #[test]
        fn it_reads_and_refuses_what_prost_does(
            message in (any::<Vec<u8>>(), any::<i64>(), any::<Vec<u8>>()),
            more in prop::collection::vec(0_u8..60, 0..12),
            cut: prop::sample::Index,
        ) {
            let (key, version, value) = message;
            let mut bytes = KeyValueMessage { key, version, value, ..KeyValueMessage::default() }.encode_to_vec();
            // Further bytes are likely to be fields: their numbers and types are small.
            bytes.extend(more);
            bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
            let message = KeyValueMessage::decode(bytes.as_slice()).ok();
            prop_assert_eq!(KeyValue::decode(&bytes), message.as_ref().map(borrowed));
        }
    }

    #[test]
    fn known_fields_of_another_type_are_refused_and_unknown_ones_are_skipped() {
        for number in 1..=7_u8 {
            // The field as the number 0, and as zero bytes.
            let (int64, bytes) = ([number << 3, 0], [number << 3 | 2, 0]);
            let read = (KeyValue::decode(&int64).is_some(), KeyValue::decode(&bytes).is_some());
            let expected = match number {
                1 | 5 => (false, true),
                7 => (true, true),
                _ => (true, false),
            };
            assert_eq!(read, expected, "field {number}");
        }
    }
}
