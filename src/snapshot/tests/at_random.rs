//! Histories, damage and pages at random: one pass gives what the walk gives.

use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use super::build::{SIZE, Value, branch, bucket, inline, leaf, meta, patched};
use super::pass::{same, text_key};
use super::{KeyValueMessage, fixture_bytes, with_trailer};
use crate::snapshot::bolt::meta::NO_FREELIST;

type Op = (u8, Option<u8>);

/// A history in leaves of a few changes, behind branches, among pages that nothing leads to; compacted as the numbers say.
#[derive(Debug, Clone)]
struct Made {
    ops: Vec<Op>,
    leaf: usize,
    finished: u64,
    scheduled: u64,
    stale: Vec<(usize, usize)>,
    order: u64,
    meta_is_inline: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let op = (0_u8..6, prop::option::weighted(0.7, any::<u8>()));
    let stale = prop::collection::vec((any::<usize>(), any::<usize>()), 0..6);
    (prop::collection::vec(op, 0..60), 1_usize..6, 0_u64..70, 0_u64..70, stale, any::<u64>(), any::<bool>()).prop_map(
        |(ops, leaf, finished, scheduled, stale, order, meta_is_inline)| Made {
            ops,
            leaf,
            finished,
            scheduled,
            stale,
            order,
            meta_is_inline,
        },
    )
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut versions = [0_i64; 6];
        let mut pairs = Vec::new();
        for (main, (key, value)) in (2_u64..).zip(&self.ops) {
            let version = &mut versions[usize::from(*key)];
            *version = if value.is_some() { *version + 1 } else { 0 };
            let mut record = KeyValueMessage { key: format!("k{key}").into(), ..KeyValueMessage::default() };
            if let Some(value) = value {
                record.version = *version;
                record.mod_revision = main.cast_signed();
                record.value = vec![*value; usize::from(*value) / 8];
            }
            pairs.push((text_key(main, value.is_none()), (0, record.encode_to_vec())));
        }
        let chunks: Vec<Vec<(&str, Value)>> = pairs
            .chunks(self.leaf)
            .map(|chunk| chunk.iter().map(|(key, value)| (key.as_str(), value.clone())).collect())
            .collect();
        // 2 is the root, 3 the meta bucket, 4 the branch of the history, then its leaves.
        let meta = [("finishedCompactRev", self.finished), ("scheduledCompactRev", self.scheduled)]
            .map(|(name, main)| (name, (0, text_key(main, false).into_bytes())));
        let history = if chunks.is_empty() { inline(&[]) } else { bucket(4) };
        let meta_bucket = if self.meta_is_inline { inline(&meta) } else { bucket(3) };
        let mut pages = vec![leaf(2, &[("key", history), ("meta", meta_bucket)]), leaf(3, &meta)];
        let numbers: Vec<u64> = (5..).take(chunks.len()).collect();
        let children: Vec<_> = chunks.iter().zip(&numbers).map(|(chunk, number)| (chunk[0].0, *number)).collect();
        pages.push(if children.is_empty() { vec![0; SIZE] } else { branch(4, &children) });
        pages.extend(chunks.iter().zip(&numbers).map(|(chunk, number)| leaf(*number, chunk)));
        self.placed(pages)
    }

    /// The pages in another order, with old ones among them.
    fn placed(&self, mut pages: Vec<Vec<u8>>) -> Vec<u8> {
        for (from, _) in &self.stale {
            pages.push(pages[from % pages.len()].clone());
        }
        // Where each page begins, if all are shuffled.
        let mut order: Vec<usize> = (0..pages.len()).collect();
        let mut seed = self.order | 1;
        for at in (1..order.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
        }
        let mut number_of = vec![0_u64; pages.len()];
        let mut next = 2;
        for page in &order {
            number_of[*page] = next;
            next += u64::try_from(pages[*page].len() / SIZE).unwrap();
        }
        let renumbered = |id: u64| number_of.get(usize::try_from(id).unwrap().wrapping_sub(2)).copied().unwrap_or(id);
        let mut bytes = Vec::new();
        for at in order {
            let mut page = pages[at].clone();
            let old = u64::from_le_bytes(page[..8].try_into().unwrap());
            let overflow = u32::try_from(page.len() / SIZE - 1).unwrap();
            page = patched(patched(page, 0, &number_of[at].to_le_bytes()), 12, &overflow.to_le_bytes());
            let count = usize::from(u16::from_le_bytes(page[10..12].try_into().unwrap()));
            for entry in (0..count).map(|index| 16 + index * 16) {
                let u32_at =
                    |at: usize| usize::try_from(u32::from_le_bytes(page[at..at + 4].try_into().unwrap())).unwrap();
                let place = match page[8] {
                    1 => entry + 8,
                    2 if old == 2 => entry + u32_at(entry + 4) + u32_at(entry + 8),
                    _ => continue,
                };
                let child = u64::from_le_bytes(page[place..place + 8].try_into().unwrap());
                if child != 0 {
                    page = patched(page, place, &renumbered(child).to_le_bytes());
                }
            }
            bytes.push(page);
        }
        let root = renumbered(2);
        let body = bytes.concat();
        let count = u64::try_from(body.len() / SIZE).unwrap() + 2;
        [meta(0, root, NO_FREELIST, count, 8), meta(1, root, NO_FREELIST, count, 7), body].concat()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_among_stale_pages_give_the_same(made in made()) {
        let proof = same(&with_trailer(&made.bytes()), true);
        prop_assert!(proof.is_ok(), "{proof:?}");
    }

    #[test]
    fn flipped_bytes_give_the_same(made in made(), flips in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6)) {
        let mut bytes = made.bytes();
        for (at, with) in &flips {
            // The meta pages stay, as nothing else would be read without them.
            let at = 2 * SIZE + at.index(bytes.len() - 2 * SIZE);
            bytes[at] = *with;
        }
        let _ = same(&with_trailer(&bytes), false);
    }

    #[test]
    fn flipped_bytes_of_real_snapshots_give_the_same(flips in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4)) {
        for name in ["etcd-3.5.1", "etcd-3.4.23"] {
            let mut bytes = fixture_bytes(name);
            bytes.truncate(bytes.len() - 32);
            for (at, with) in &flips {
                let at = at.index(bytes.len());
                bytes[at] = *with;
            }
            let _ = same(&with_trailer(&bytes), false);
        }
    }

    #[test]
    fn small_numbers_at_random_give_the_same(
        body in prop::collection::vec(any::<u8>(), 2 * SIZE..9 * SIZE),
        root in 2_u64..8,
        freelist in prop_oneof![4 => Just(NO_FREELIST), 1 => 0_u64..8],
    ) {
        let pages: Vec<u8> = body.chunks_exact(SIZE).zip(2_u8..).flat_map(|(page, id)| {
            let mut page: Vec<u8> = page.iter().map(|byte| byte % 24).collect();
            let header = [id, 0, 0, 0, 0, 0, 0, 0, 1 + page[8] % 2, 0, page[10] / 4, 0, page[12] / 20, 0, 0, 0];
            page[..16].copy_from_slice(&header);
            page
        }).collect();
        let count = u64::try_from(pages.len() / SIZE).unwrap() + 2;
        let bytes = [meta(0, root, freelist, count, 1), meta(1, root, freelist, count, 0), pages].concat();
        let _ = same(&with_trailer(&bytes), false);
    }
}
