//! How long a name may be in this store.

use super::look::directory_of;
use super::{Error, FAIL_FAST, QUERY_LIMIT, RECORDS, Store};
use crate::config::StoreConfig;
use crate::rclone::Call;

/// File systems, and most stores that are built on one. S3 has this limit only for the whole key, but not all of its servers.
const LONGEST_LEAF: usize = 255;
/// The whole key in S3, Azure, GCS and B2, in bytes.
const LONGEST_KEY: usize = 1024;
/// Of a name before a crypt remote encrypts it, should the remote not tell.
const LONGEST_ENCRYPTED: usize = 143;
/// What comes after a backup's leaf in the longest name beside it.
const LONGEST_ENDING: &str = ".20261121T010203Z.dismissed.json";
const PART_ENDING: &str = ".01234567.part";

/// The longest name that belongs to a backup whose leaf has so many bytes.
fn longest_name(config: &StoreConfig, longest_leaf: usize, part: &str) -> String {
    let prefix = config.naming.prefix.leaf();
    let digits = "0".repeat(longest_leaf.saturating_sub(prefix.len()));
    format!("{prefix}{digits}{LONGEST_ENDING}{part}")
}

/// Whether every store that does not encrypt names keeps all that belongs to a backup whose leaf has so many bytes.
pub fn fits_everywhere(config: &StoreConfig, longest_leaf: usize) -> bool {
    let name = longest_name(config, longest_leaf, PART_ENDING);
    let directory = directory_of(config);
    name.len() <= LONGEST_LEAF && directory.len() + RECORDS.len() + name.len() + 2 <= LONGEST_KEY
}

impl Store {
    /// Fails with [`Error::NameTooLong`] if the store cannot keep all that belongs to a backup whose leaf has so many bytes.
    pub async fn check_name_length(&self, longest_leaf: usize) -> Result<(), Error> {
        let part = if self.uploads_a_part() { PART_ENDING } else { "" };
        let name = longest_name(&self.config, longest_leaf, part);
        let too_long = |is: usize, unit, limit| {
            let name = name.clone();
            if is > limit { Err(Error::NameTooLong { name, is, unit, limit }) } else { Ok(()) }
        };
        too_long(name.len(), "bytes", LONGEST_LEAF)?;
        if self.is_bucket_based() {
            let path = self.path_of(&format!("{RECORDS}/{name}"));
            let key = path.strip_prefix(self.config.target.root()).unwrap_or(&path);
            too_long(key.len(), "bytes with its directories", LONGEST_KEY)?;
        }
        if !self.is_crypt() {
            return Ok(());
        }
        match self.encrypted(&name).await {
            Some(sealed) => too_long(sealed.encode_utf16().count(), "characters once it is encrypted", LONGEST_LEAF),
            None => too_long(name.len(), "bytes", LONGEST_ENCRYPTED),
        }
    }

    /// A name as the crypt remote writes it: how much longer that is depends on its settings.
    async fn encrypted(&self, name: &str) -> Option<String> {
        let root = self.config.target.root();
        let args = ["encode", root, name];
        let limit = Some(QUERY_LIMIT);
        let call = Call { defaults: &FAIL_FAST, limit, quiet: true, ..Call::new("backend", root, &args) };
        match self.rclone.call(call).await {
            Ok(stdout) => {
                let line = String::from_utf8_lossy(&stdout).trim().to_owned();
                Some(line).filter(|line| !line.is_empty())
            }
            Err(error) => {
                tracing::debug!("asking how names are encrypted: {error}");
                None
            }
        }
    }
}
