//! A backup as an idea: what it is called, what is known of it, which one is meant, and how long it lives. Pure, but for
//! the handover file.

pub mod handover;
pub mod metadata;
pub mod name;
pub mod record;
pub mod retention;
pub mod select;
