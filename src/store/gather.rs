//! Reads many records at once. `rclone cat` asks for one after another, which takes minutes where there are thousands and
//! each answer takes its time.

use std::fs;
use std::io;
use std::path::Path;

use super::upload::stage;
use super::{FAIL_FAST, RECORD, Store};
use crate::rclone::{Call, Error};
use crate::system::blocking::blocking;

/// With fewer, the time that a second directory costs is not won back.
const MANY: usize = 32;
/// How many answers are waited for at once.
const AT_ONCE: [&str; 2] = ["--transfers=16", "--checkers=16"];
/// The times of the copies are of no interest. For the objects' own, rclone would ask S3 about each of them.
const TIMELESS: [&str; 2] = ["--use-server-modtime", "--local-no-set-modtime"];

impl Store {
    /// The text of the `count` files in a folder that the flag `include` selects, in any order, as far as they could be read.
    pub(super) async fn gather(&self, folder: &str, include: &str, count: usize) -> (Vec<u8>, Result<(), Error>) {
        if count >= MANY && self.local_directory().is_none() {
            match self.copied(folder, include).await {
                Ok(gathered) => return gathered,
                Err(error) => tracing::debug!("no room for copies of the records: {error}"),
            }
        }
        // A record that was cut off has no newline at its end.
        let args = ["--max-depth=1", include, "--separator=\n", "--", folder];
        self.rclone.partial_output(Call { defaults: &FAIL_FAST, quiet: true, ..Call::new("cat", folder, &args) }).await
    }

    /// The error is one of this machine's disk.
    async fn copied(&self, folder: &str, include: &str) -> io::Result<(Vec<u8>, Result<(), Error>)> {
        let stage = stage()?;
        let copies = stage.path().join("records");
        fs::create_dir(&copies)?;
        let to = copies.to_string_lossy();
        let args = [&["--max-depth=1", include], &TIMELESS[..], &["--", folder, &to]].concat();
        let defaults = [&FAIL_FAST[..], &AT_ONCE].concat();
        let call = Call { defaults: &defaults, quiet: true, ..Call::new("copy", folder, &args) };
        let outcome = self.rclone.call(call).await.map(drop);
        let text = blocking(move || joined(&copies)).await?;
        drop(stage);
        Ok((text, outcome))
    }
}

fn joined(folder: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // rclone gives a file its name when it is whole.
        if entry.file_name().to_string_lossy().ends_with(RECORD) {
            text.extend(fs::read(entry.path())?);
            text.push(b'\n');
        }
    }
    Ok(text)
}
