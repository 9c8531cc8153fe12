//! What a backup is called, what is known of it, what it is worth, which one a user means, and how long it is kept. Pure,
//! except for the handover file.

pub mod beside;
pub mod catalog;
pub mod evidence;
pub mod handover;
pub mod identity;
pub mod name;
pub mod record;
pub mod retention;
pub mod ruling;
pub mod select;
pub mod verdict;
