//! The records' folder beside the backups: its names, all its records at once, new ones that replace nothing.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use super::error::{Doubt, Left};
use super::evidence::Testimony;
use super::gather::LARGEST;
use super::list::RemoteObject;
use super::local::LocalPart;
use super::read::ONE_OBJECT;
use super::upload::{Ours, staged};
use super::{Error, FAIL_FAST, QUERY_LIMIT, RECORD, RECORDS, Store};
use crate::backup::beside::{files_in, is_of_prefix};
use crate::exit::Exit;
use crate::rclone::Call;
use crate::system::blocking::blocking;

/// How far the time of a new record is set back on its way. It is less than what counts as a wrong clock.
const SET_BACK: Duration = Duration::from_mins(5);
/// How often the records are read while some of them cannot be.
const READS: u8 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// The folder of the parts is in that of the records.
const THE_PARTS_TOO: [&str; 5] =
    ["--fast-list=false", "--recursive", "--max-depth=2", "--include=/*", "--include=/parts/*"];
/// Stores keep times to the second, some to two of them.
const PRECISION: chrono::Duration = chrono::Duration::seconds(3);

#[derive(Debug, Default)]
pub struct RecordFiles {
    /// Every file of the folder, those of other prefixes too.
    pub names: Vec<String>,
    /// Those of the uploads that other runs have on their way, or were killed with. Empty where an upload has no name of its
    /// own that others could see.
    pub parts: Vec<String>,
    /// The lines of all records of this prefix that could be read, and of prefixes that begin with this one.
    pub text: Vec<u8>,
}

#[derive(Debug)]
pub struct RecordWritten {
    /// By the store's own clock; `None` where it has none, or keeps the time that it is told.
    pub modified: Option<DateTime<Utc>>,
}

impl Store {
    /// Every file beside the backups; none if the folder is missing.
    pub(super) async fn beside(&self) -> Result<Vec<RemoteObject>, Error> {
        // One question for both folders.
        let with_parts = if self.uploads_a_part() { &THE_PARTS_TOO[..] } else { &[] };
        let listed = self.objects(&self.path_of(RECORDS), &[&["--no-modtime"], with_parts].concat(), true).await;
        listed.map_err(Error::of_records)
    }

    /// Reads the records of this prefix among these files, as far as that was not done before.
    pub(super) async fn read_records(&self, listed: Vec<RemoteObject>) -> Result<RecordFiles, Error> {
        let (listed, parts): (Vec<_>, Vec<_>) = listed.into_iter().partition(|file| file.path == file.name);
        let own = format!(".{}.part", self.rclone.mark());
        let parts = parts.into_iter().map(|file| file.name).filter(|part| !part.ends_with(&own));
        let parts: Vec<_> = parts.filter(|_| self.uploads_a_part()).collect();
        let names: Vec<String> = listed.iter().map(|object| object.name.clone()).collect();
        let prefix = &self.config.naming.prefix;
        let mut unread: Vec<_> = listed.iter().filter(|file| is_of_prefix(prefix, &file.name)).collect();
        let mut text = {
            let mut told = self.seen.told();
            told.parts = Some(parts.clone());
            unread.retain(|file| !told.read.contains(&file.name));
            told.text.clone()
        };
        // One that is too large costs only itself, too.
        let (readable, too_large): (Vec<_>, Vec<_>) = unread.into_iter().partition(|file| file.size <= LARGEST);
        for RemoteObject { name, size, .. } in too_large {
            let folder = self.path_of(RECORDS);
            tracing::warn!("{folder}/{name} is not read: it has {size} bytes, and no record has more than {LARGEST}");
        }
        if !readable.is_empty() {
            let is_matched = |name: &&String| name.starts_with(prefix.leaf()) && name.ends_with(RECORD);
            let others = readable.len() < names.iter().filter(is_matched).count();
            let more = self.read_files(&readable, others, !text.is_empty()).await?;
            self.remember(&more);
            text = if text.is_empty() { more } else { [text, more].concat() };
        }
        Ok(RecordFiles { names, parts, text })
    }

    fn remember(&self, text: &[u8]) {
        let mut told = self.seen.told();
        for (file, line) in files_in(&self.config.naming.prefix, text) {
            if told.read.insert(file) {
                told.text.extend_from_slice(line);
                told.text.push(b'\n');
            }
        }
    }

    /// The text of these records, as far as they can be read; see [`Store::gather`]. `some_known` is whether others were read
    /// before.
    async fn read_files(&self, files: &[&RemoteObject], others: bool, some_known: bool) -> Result<Vec<u8>, Error> {
        let folder = self.path_of(RECORDS);
        let mut text = Vec::new();
        for tries_left in (0..READS).rev() {
            let (more, outcome) = self.gather(&folder, files, others).await;
            text.extend(more);
            // The last line may have been cut.
            text.push(b'\n');
            match outcome {
                Ok(()) => break,
                // A record that is only unreadable for a moment must not change what is known.
                Err(_) if tries_left > 0 => tokio::time::sleep(PAUSE).await,
                // Where others are known, this may be the one that nobody can read.
                Err(error) if (!some_known || error.is_away()) && text.iter().all(|byte| *byte == b'\n') => {
                    return Err(Error::of(error, READ_RECORDS));
                }
                // One that cannot be read costs only itself. Its name is in the list, so it is known to be there.
                Err(error) => tracing::warn!("not every record could be read: {error}"),
            }
        }
        Ok(text)
    }

    /// Writes one record with a newline at its end, whole or not at all, or fails with [`Error::Taken`]. A file that is
    /// there already with the same bytes counts as written.
    pub async fn create_record(&self, leaf: &str, line: &[u8]) -> Result<RecordWritten, Error> {
        let text = [line, b"\n"].concat();
        let (written, stays) = self.write_record(leaf, &text).await?;
        if stays {
            self.remember(&text);
        }
        Ok(written)
    }

    /// Also whether no other run can replace it by its own.
    async fn write_record(&self, leaf: &str, text: &[u8]) -> Result<(RecordWritten, bool), Error> {
        let place = format!("{RECORDS}/{leaf}");
        if let Some(directory) = self.local_directory() {
            let created = self.create_here(&directory, &place, text.to_vec()).await;
            return self.or_identical(created, &place, text).await.map(|()| (RecordWritten { modified: None }, true));
        }
        let sent = staged(text)?;
        let told = set_back(&sent.path)?;
        let created = match self.upload(&sent.path, &place).await {
            Ok(ours) => match self.found_with(text, leaf, &place).await? {
                Some(found) => {
                    let written = RecordWritten { modified: by_own_clock(&found, told) };
                    return Ok((written, ours != Ours::Unknown));
                }
                // rclone looked and then moved, or the store may not know the condition. Of two runs at once, one finds the
                // other's record here.
                None => Err(Error::Taken(self.path_of(&place))),
            },
            Err(error) => Err(error.may(WRITE_RECORDS)),
        };
        // One that an earlier try has written has that try's time.
        self.or_identical(created, &place, text).await.map(|()| (RecordWritten { modified: None }, false))
    }

    async fn create_here(&self, directory: &Path, place: &str, text: Vec<u8>) -> Result<(), Error> {
        let part = LocalPart::new(directory, &self.part_name(place))?;
        let place = place.to_owned();
        let write = move || {
            part.write(&text)?;
            part.publish(&place)
        };
        blocking(write).await
    }

    /// Perhaps only the answer was lost, and what is there is what was sent.
    async fn or_identical(&self, created: Result<(), Error>, place: &str, text: &[u8]) -> Result<(), Error> {
        let Err(error) = created else { return Ok(()) };
        if error.exit() != Exit::Store {
            return Err(error);
        }
        if self.reads_as(place, text).await.unwrap_or_default() {
            tracing::debug!("the record is there, although writing it failed: {error}");
            return Ok(());
        }
        Err(if error.is_name_taken() { Error::Taken(self.path_of(place)) } else { error })
    }

    /// Whether the file at `place` has exactly this text.
    async fn reads_as(&self, place: &str, text: &[u8]) -> Result<bool, Error> {
        let path = self.path_of(place);
        // One byte more, to see a longer file.
        let head = format!("--head={}", text.len() + 1);
        let args = [ONE_OBJECT, head.as_str(), "--", &path];
        let limit = Some(QUERY_LIMIT);
        let call = Call { defaults: &FAIL_FAST, limit, quiet: true, ..Call::new("cat", &path, &args) };
        Ok(self.rclone.call(call).await.map_err(|error| Error::of(error, READ_RECORDS))? == text)
    }

    /// What stands at `place`, if it has exactly this text.
    async fn found_with(&self, text: &[u8], leaf: &str, place: &str) -> Result<Option<RemoteObject>, Error> {
        let not_confirmed = |doubt, left| Error::NotConfirmed { name: leaf.to_owned(), doubt, left };
        let testimony = self.testimony(text.len().try_into().unwrap_or(u64::MAX));
        let (kind, limit) = (testimony.and_then(Testimony::hash), Some(QUERY_LIMIT));
        let path = self.path_of(place);
        let (found, theirs) =
            match self.object_and_hash(&path, &FAIL_FAST, &["--use-server-modtime"], kind, limit).await {
                Ok((Some(found), theirs)) => (found, theirs),
                Ok((None, _)) => return Err(not_confirmed(Doubt::Absent, Left::Nothing)),
                Err(error) => return Err(not_confirmed(Doubt::unread(error), Left::There)),
            };
        // A hash that differs may be another's word. The content decides.
        let is_it = testimony.zip(theirs).is_some_and(|(by, theirs)| by.of(text).eq_ignore_ascii_case(&theirs));
        Ok((is_it || self.reads_as(place, text).await?).then_some(found))
    }

    /// Deletes these files of the records' folder. Returns what went wrong.
    pub async fn remove_records(&self, leaves: &[String]) -> Option<String> {
        if leaves.is_empty() {
            return None;
        }
        self.delete(&self.path_of(RECORDS), &["--files-from-raw=-"], leaves.to_vec(), false).await.complaint
    }
}

const READ_RECORDS: &str = "list and read there: it is where the records of the backups are";
const WRITE_RECORDS: &str = "store new objects there: it is where the records of the backups are";

impl Error {
    /// Says which folder could not be listed, and why it has to be.
    fn of_records(self) -> Self {
        match self {
            Self::Denied { cause, .. } => Self::Denied { may: READ_RECORDS, cause },
            error => error,
        }
    }
}

/// When the store's own clock says that a file came, which was `told` as its time.
fn by_own_clock(found: &RemoteObject, told: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // rclone gives a file the time of the one that it sends, where it can. Then that is what comes back.
    found.modified().filter(|modified| (*modified - told).abs() > PRECISION)
}

/// Sets the time of a file back, and returns the new one.
fn set_back(file: &Path) -> Result<DateTime<Utc>, Error> {
    let set = || {
        let file = fs::File::options().write(true).open(file)?;
        let told: SystemTime = file.metadata()?.modified()? - SET_BACK;
        file.set_modified(told)?;
        Ok(told.into())
    };
    set().map_err(|cause| Error::Local { doing: "set the time of", path: file.to_owned(), cause })
}
