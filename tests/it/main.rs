//! Tests of the binary as its users drive it, against the real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::doc_markdown, reason = "SeaweedFS and ConfigMap are names")]
#![allow(clippy::disallowed_methods, reason = "tests start programs, read the clock and the environment")]

#[macro_use]
mod support;

mod auth;
mod choice;
mod compressed;
mod compressed_files;
mod cut_short;
mod disaster;
mod discovery;
mod documents;
mod edited;
mod evidence;
mod export;
mod faults;
mod fetch;
mod few_calls;
mod image;
mod inspect;
mod interrupt;
mod job;
mod judge;
mod killed;
mod kills;
mod kustomize;
mod lies;
mod list;
mod lost_output;
mod moved;
mod nights;
mod odd_files;
mod outage;
mod plan;
mod proof;
mod put_back;
mod rclone;
mod records;
mod remotes;
mod report;
mod restore;
mod retention;
mod rooms;
mod secrets;
mod settings;
mod snapshots;
mod soak;
mod steps;
mod store;
mod stream;
mod support_works;
mod systemd;
mod tls;
mod tokens;
mod unanswered;
mod unstaged;
mod upload;
mod verify;
