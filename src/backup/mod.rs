//! What a backup is called, what is known of it, which one a user means, and how long it is kept. Pure, except for the
//! handover file.

pub mod evidence;
pub mod handover;
pub mod identity;
pub mod metadata;
pub mod name;
pub mod record;
pub mod retention;
pub mod select;
