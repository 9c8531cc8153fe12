//! Branches that are known not to be in use before the tree is there.

use super::record::Record;

/// Whether the page is a branch whose children are not what it says, as far as they have passed. `pages` is how many there are in the file.
pub fn is_refuted<'t>(page: u64, pages: u64, record: impl Fn(u64) -> Option<Record<'t>>) -> bool {
    let Some(Record::Branch(_, children)) = record(page) else { return false };
    let mut children = children.peekable();
    while let Some((key, child)) = children.next() {
        let upper = children.peek().map(|(key, _)| key);
        let is_outside = |at: &Vec<u8>| *at < key || upper.is_some_and(|upper| at >= upper);
        let is_wrong = match record(child) {
            Some(Record::Other(_) | Record::Damaged(_) | Record::Raw(..)) => true,
            Some(Record::Leaf(_, leaf)) => {
                leaf.ends.is_some_and(|(first, last)| is_outside(&first) || is_outside(&last))
            }
            Some(Record::Branch(_, mut below)) => below.next().is_some_and(|(first, _)| is_outside(&first)),
            None => child < 2 || child >= pages,
        };
        if is_wrong {
            return true;
        }
    }
    false
}
