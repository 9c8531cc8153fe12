//! Reads many records at once. `rclone cat` asks for one after another, which takes minutes where there are thousands and
//! each answer takes its time.

use std::fs;
use std::io;
use std::path::Path;

use super::list::RemoteObject;
use super::remove::{as_lines, escape};
use super::{FAIL_FAST, RECORD, Store};
use crate::rclone::{Call, Error};
use crate::snapshot::Workspace;
use crate::system::blocking::blocking;

/// With fewer, the time that a second directory costs is not won back.
const MANY: usize = 32;
/// How many answers are waited for at once.
const AT_ONCE: [&str; 2] = ["--transfers=16", "--checkers=16"];
/// Nothing is asked about a record beyond its bytes: for the objects' own times rclone would ask S3 about each of them, and
/// for their hashes an SFTP server, which starts a program for each. A record that came changed is one that cannot be read.
const NOTHING_MORE: [&str; 3] = ["--use-server-modtime", "--local-no-set-modtime", "--ignore-checksum"];
/// The copies lie in a directory that may be a small one in memory, and at most so many at a time.
const BATCH: usize = 256;
const BATCH_BYTES: u64 = 4 << 20;
/// How much is asked for in one answer, in bytes: half of what is kept of one.
const ONE_ANSWER: i64 = 32 << 20;
/// What a file takes of a disk at least.
const BLOCK: u64 = 4096;
/// No record that this program writes is nearly as large. A larger file is read by nobody.
pub(super) const LARGEST: i64 = 1 << 20;
const NO_LARGER: &str = "--max-size=1M";

impl Store {
    /// The text of these records in a folder, in any order, as far as they could be read. Without `others`, there are no more
    /// whose names begin as those of this prefix.
    pub(super) async fn gather(
        &self,
        folder: &str,
        files: &[&RemoteObject],
        others: bool,
    ) -> (Vec<u8>, Result<(), Error>) {
        let bytes: i64 = files.iter().map(|file| file.size.max(0)).sum();
        if files.len() < MANY || (self.local_directory().is_some() && bytes <= ONE_ANSWER) {
            if others {
                let names = files.iter().map(|file| file.name.clone()).collect();
                return self.cat(folder, &["--files-from-raw=-"], names).await;
            }
            // A pattern takes one question for all of them, names take one for each. Without the slash it would match at any
            // depth.
            let include = format!("--include=/{}*{RECORD}", escape(self.config.naming.prefix.leaf()));
            return self.cat(folder, &["--max-depth=1", &include, NO_LARGER], Vec::new()).await;
        }
        let (mut text, mut outcome) = (Vec::new(), Ok(()));
        for batch in batches(files) {
            let (more, this) = self.gather_batch(folder, &batch).await;
            text.extend(more);
            text.push(b'\n');
            if let Err(error) = this {
                let is_away = error.is_away();
                outcome = Err(error);
                if is_away {
                    break;
                }
            }
        }
        (text, outcome)
    }

    /// Reads one after another what could not be copied, be it for want of room.
    async fn gather_batch(&self, folder: &str, leaves: &[String]) -> (Vec<u8>, Result<(), Error>) {
        let (mut text, mut left) = (Vec::new(), leaves.to_vec());
        match self.copied(folder, leaves).await {
            Ok((copies, Ok(()))) => return (copies.concat(), Ok(())),
            Ok((copies, Err(error))) if error.is_away() => return (copies.concat(), Err(error)),
            Ok((copies, Err(error))) => {
                tracing::debug!("not every record could be copied: {error}");
                left.retain(|leaf| !copies.names().any(|copied| copied == leaf));
                text = copies.concat();
            }
            Err(error) => tracing::debug!("no room for copies of the records: {error}"),
        }
        let (more, outcome) = self.cat(folder, &["--files-from-raw=-"], left).await;
        text.extend(more);
        (text, outcome)
    }

    async fn cat(&self, folder: &str, which: &[&str], lines: Vec<String>) -> (Vec<u8>, Result<(), Error>) {
        // A record that was cut off has no newline at its end.
        let args = [which, &["--separator=\n", "--", folder]].concat();
        let call =
            Call { defaults: &FAIL_FAST, stdin: as_lines(&lines), quiet: true, ..Call::new("cat", folder, &args) };
        self.rclone.partial_output(call).await
    }

    /// The error is one of this machine's disk.
    async fn copied(&self, folder: &str, leaves: &[String]) -> io::Result<(Copies, Result<(), Error>)> {
        let stage = Workspace::temporary()?;
        let copies = stage.path().join("records");
        fs::create_dir(&copies)?;
        let to = copies.to_string_lossy();
        let args = [&["--files-from-raw=-"], &NOTHING_MORE[..], &["--", folder, &to]].concat();
        let defaults = [&FAIL_FAST[..], &AT_ONCE].concat();
        let stdin = as_lines(leaves);
        let call = Call { defaults: &defaults, stdin, quiet: true, ..Call::new("copy", folder, &args) };
        let outcome = self.rclone.call(call).await.map(drop);
        let copies = blocking(move || Copies::read(&copies)).await?;
        drop(stage);
        Ok((copies, outcome))
    }
}

/// The name and the text of each record that arrived.
struct Copies(Vec<(String, Vec<u8>)>);

impl Copies {
    fn read(folder: &Path) -> io::Result<Self> {
        let mut copies = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // rclone gives a file its name when it is whole.
            if name.ends_with(RECORD) {
                copies.push((name, fs::read(entry.path())?));
            }
        }
        Ok(Self(copies))
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    fn concat(&self) -> Vec<u8> {
        let text = self.0.iter().flat_map(|(_, text)| [text, &b"\n"[..]]);
        text.flatten().copied().collect()
    }
}

/// Names of files that need little room together.
fn batches(files: &[&RemoteObject]) -> Vec<Vec<String>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for file in files {
        let size = u64::try_from(file.size).unwrap_or(BLOCK).next_multiple_of(BLOCK);
        if let Some(batch) = batches.last_mut()
            && batch.len() < BATCH
            && bytes + size <= BATCH_BYTES
        {
            batch.push(file.name.clone());
            bytes += size;
        } else {
            batches.push(vec![file.name.clone()]);
            bytes = size;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_needs_little_room() {
        let file = |n: usize, size| RemoteObject { name: format!("{n}.json"), size, ..RemoteObject::default() };
        let sizes = |files: &[RemoteObject]| {
            batches(&files.iter().collect::<Vec<_>>()).iter().map(Vec::len).collect::<Vec<_>>()
        };
        let small: Vec<_> = (0..600).map(|n| file(n, 900)).collect();
        assert_eq!(sizes(&small), [256, 256, 88]);
        let large: Vec<_> = (0..10).map(|n| file(n, LARGEST)).collect();
        assert_eq!(sizes(&large), [4, 4, 2]);
        let unknown: Vec<_> = (0..300).map(|n| file(n, -1)).collect();
        assert_eq!(sizes(&unknown), [256, 44]);
    }
}
