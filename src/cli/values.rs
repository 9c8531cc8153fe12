//! Values of flags and of ConfigMap keys whose parsers do not say what is allowed.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

/// A number of backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub NonZeroUsize);

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "is no number of backups; allowed is a whole number from 1 on")
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = humantime::parse_duration(text);
        span.map(Self).map_err(|_| "is no length of time; allowed is a number with a unit, such as 90s, 30m or 1h")
    }
}

/// A revision of etcd.
pub fn revision(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|n| *n > 0).ok_or("is no revision; allowed is a whole number from 1 on")
}

/// What is added to a revision.
pub fn bump(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "is no number of revisions; allowed is a whole number")
}
