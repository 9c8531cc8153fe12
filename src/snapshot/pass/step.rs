//! How much of a page is needed, by its first bytes.

use crate::snapshot::bolt::meta::{MetaPage, NO_FREELIST};
use crate::snapshot::bolt::{MOST_OF_A_PAGE, PageHeader, node_bytes};
use crate::snapshot::error::Damage;

/// What is to be done with a page, of which the first bytes are there.
pub enum Step {
    /// It is looked at again with so many bytes.
    Wait(u64),
    Node(usize),
    FreePages(usize, usize),
}

impl Step {
    /// `have` is what there is of the page: at least its first page. An error is one of the page, whoever leads to it.
    pub fn of(meta: &MetaPage, header: PageHeader, have: &[u8]) -> Result<Self, Damage> {
        let page = header.id;
        if u64::from(header.overflow) >= meta.pages.saturating_sub(page) {
            return Err(Damage::page(page, format!("it lies outside the {} pages of the file", meta.pages)));
        }
        let is_list = meta.freelist != NO_FREELIST && page == meta.freelist;
        let list = if is_list { Some(free_pages(meta, header, have)?) } else { None };
        let bytes = match list {
            Some((_, to)) => to,
            None => node_bytes(header, meta.page_size, have)?,
        };
        if bytes > MOST_OF_A_PAGE {
            return Err(Damage::page(page, format!("cannot hold a page of {bytes} bytes in memory")));
        }
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(match list {
            _ if len > have.len() => Self::Wait(bytes),
            Some((from, _)) => Self::FreePages(from, len),
            None => Self::Node(len),
        })
    }
}

/// Where the list begins in the page, and where it ends.
fn free_pages(meta: &MetaPage, header: PageHeader, have: &[u8]) -> Result<(usize, u64), Damage> {
    let room = (u64::from(header.overflow) + 1) * u64::from(meta.page_size);
    let list = header
        .free_pages(have, room)
        .and_then(|(from, count)| Some((from, count.checked_mul(8)?.checked_add(u64::try_from(from).ok()?)?)));
    list.ok_or_else(|| {
        Damage::page(header.id, "the meta page says that the free pages are listed here, but they are not")
    })
}
