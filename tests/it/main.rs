//! Tests of the binary as its users drive it, against the real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::disallowed_methods, reason = "these tests are the outside world")]

#[macro_use]
#[allow(dead_code, reason = "until the tests of the binary use all of it")]
mod support;

mod bench;
mod job;
