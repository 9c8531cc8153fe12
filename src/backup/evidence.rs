//! How it is known that a stored backup is what was sent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a stored backup was compared with before it counted. None of these is this program's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Its whole content was read back and hashed.
    ReadBack,
    /// A hash that the store computed from what it holds.
    StoreSha256,
    StoreSha1,
    StoreMd5,
    /// The MD5s of the parts in which it was sent, which the store computed from what it received.
    StoreMd5OfParts,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadBack => "its content, read back",
            Self::StoreSha256 => "the store's SHA-256",
            Self::StoreSha1 => "the store's SHA-1",
            Self::StoreMd5 => "the store's MD5",
            Self::StoreMd5OfParts => "the store's MD5 of its parts",
        })
    }
}
