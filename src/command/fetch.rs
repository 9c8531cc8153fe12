//! `fetch`: a proved backup as a file.

use std::io;
use std::path::Path;

use bytesize::ByteSize;

use super::input::{Source, find};
use crate::cli::FetchArgs;
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::report::{Body, Report};
use crate::snapshot::{Proof, Workspace};
use crate::system::fs::{parent_folder, rename_noreplace};

/// Stages it beside PATH, proves it, and gives it that name.
pub async fn fetch(args: &FetchArgs, job: &Job, report: &mut Report) -> Result<Exit, Failure> {
    // The real folder behind a link, as a workspace follows none.
    let folder = parent_folder(&args.path).and_then(|folder| folder.canonicalize());
    let folder = folder.map_err(|e| refused(&args.path, &e))?;
    if args.path.symlink_metadata().is_ok() {
        return Err(refused(&args.path, &io::ErrorKind::AlreadyExists.into()));
    }
    let source = find(&args.name, &args.read, job).await?;
    let workspace = Workspace::create(&folder)?;
    let snapshot = source.receive(&workspace).await?;
    rename_noreplace(&snapshot.path, &args.path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => refused(&args.path, &e),
        _ => Failure::new(Exit::Disk, e),
    })?;
    report.body = Some(body(&source, &args.path, &snapshot.proof));
    Ok(Exit::Ok)
}

fn refused(path: &Path, why: &io::Error) -> Failure {
    let path = path.display();
    let error = match why.kind() {
        io::ErrorKind::AlreadyExists => anyhow::anyhow!("{path} exists and is not overwritten; give another path"),
        _ => anyhow::anyhow!("cannot write {path}: {why}"),
    };
    Failure::new(Exit::Settings, error)
}

fn body(source: &Source, path: &Path, proof: &Proof) -> Body {
    let (name, digest, facts) = (source.label(), &proof.digest, &proof.facts);
    let text = format!(
        "fetched    {name} to {}\nsize       {} ({} bytes)\nsha256     {}\ncontent    revision {}, {} keys; every page proved good\n",
        path.display(),
        ByteSize(digest.bytes),
        digest.bytes,
        digest.sha256,
        facts.revision,
        facts.live_keys
    );
    let json = serde_json::json!({
        "name": name, "path": path, "bytes": digest.bytes, "sha256": digest.sha256,
        "revision": facts.revision, "keys": facts.live_keys,
    });
    Body { text, json: Some(json) }
}
