//! `fetch`: a proved backup as a file.

use std::io;
use std::path::Path;

use bytesize::ByteSize;
use chrono::{DateTime, Utc};

use super::input::Source;
use super::opening::Received;
use crate::config::FetchConfig;
use crate::exit::{Exit, Failure};
use crate::report::Answer;
use crate::report::table::labelled;
use crate::snapshot::{Proof, Workspace};
use crate::system::blocking::blocking;
use crate::system::fs::{parent_dir, publish_file};

pub async fn fetch(config: FetchConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let FetchConfig { input, path } = config;
    // A workspace refuses a link, but the user may well name a directory through one.
    let dir = parent_dir(&path).and_then(|dir| dir.canonicalize()).map_err(|e| refuse(&path, &e))?;
    // Before the download, which may take an hour.
    if path.symlink_metadata().is_ok() {
        return Err(refuse(&path, &io::ErrorKind::AlreadyExists.into()));
    }
    let source = Source::find(input, now).await?;
    // Beside PATH, because a rename works within one file system only.
    let workspace = Workspace::create(&dir)?;
    let Received { snapshot, .. } = source.receive(&workspace).await?;
    let (from, to) = (snapshot.path.clone(), path.clone());
    blocking(move || publish_file(&from, &to)).await.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => refuse(&path, &e),
        _ => Failure::new(Exit::Disk, e),
    })?;
    *answer = document(&source, &path, &snapshot.proof);
    Ok(())
}

fn refuse(path: &Path, why: &io::Error) -> Failure {
    let path = path.display();
    Failure::settings(match why.kind() {
        io::ErrorKind::AlreadyExists => format!("{path} exists and is not overwritten; give another path"),
        _ => format!("cannot write {path}: {why}"),
    })
}

fn document(source: &Source, path: &Path, proof: &Proof) -> Answer {
    let (name, file, contents) = (source.label(), &proof.file, &proof.contents);
    let text = labelled([
        ("fetched", format!("{name} to {}", path.display())),
        ("size", format!("{} ({} bytes)", ByteSize(file.bytes), file.bytes)),
        ("sha256", file.sha256.clone()),
        ("content", format!("revision {}, {} keys; every page proved good", contents.revision, contents.live_keys)),
    ]);
    let json = serde_json::json!({
        "name": name, "path": path, "bytes": file.bytes, "sha256": file.sha256,
        "revision": contents.revision, "keys": contents.live_keys,
    });
    Answer::Document { text, json }
}
