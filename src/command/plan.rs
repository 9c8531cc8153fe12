//! `restore --plan`: the backup is proved, and the way back is printed; nothing is changed anywhere.

use std::fmt::Display;
use std::path::Path;

use chrono::SecondsFormat;
use chrono_tz::Tz;

use super::input::{ProvedFile, Source};
use super::restore::{mark, recorded, source, token};
use crate::cli::{EtcdKind, RestoreArgs};
use crate::config::{self, Settings};
use crate::exit::{Exit, Failure};
use crate::kubernetes::kubeadm::Layout;
use crate::recovery::initial_cluster::{InitialCluster, Peer};
use crate::recovery::runbook::Runbook;
use crate::report::Answer;
use crate::snapshot::RecordedMember;
use crate::url::Url;

/// Proves the backup, asks it who the members are, and prints.
pub async fn plan(args: &RestoreArgs, job: &Settings, answer: &mut Answer) -> Result<(), Failure> {
    let (layout, told_by) = layout(args)?;
    let mut chosen = InitialCluster::default();
    for member in &args.cluster.member {
        chosen.add(member).map_err(|why| refused(format!("member: {why}")))?;
    }
    let source = source(args, job).await?;
    let proved = source.prove(&job.work_dir(&args.read.work)).await?;
    let members = recorded(&proved).await?;
    let recorded = InitialCluster::recorded(&members);
    let cluster = if chosen.peers().is_empty() { recorded.clone() } else { chosen };
    if cluster.peers().is_empty() {
        return Err(refused("the snapshot records no members; name each with --member name=https://host:2380"));
    }
    let (flags, files) = needs(args, &source)?;
    let runbook = Runbook {
        backup: backup(&source)?,
        content: content(&proved, job.zone),
        keys: proved.proof.contents.live_keys,
        stacked: layout.stacked,
        told_by,
        data_dir: data_dir(args, &layout),
        endpoints: endpoints(args, &layout, &cluster, &recorded, &members),
        members: cluster,
        recorded,
        client: client(args, &layout),
        token: token(&args.who, &proved),
        mark: mark(&proved),
        flags,
        files,
    };
    let json = serde_json::json!({ "name": proved.label, "steps": runbook.steps().map_err(refused)? });
    *answer = Answer::Document { text: runbook.text().map_err(refused)?, json };
    Ok(())
}

fn refused(why: impl Display) -> Failure {
    Failure::settings(why)
}

fn layout(args: &RestoreArgs) -> Result<(Layout, String), Failure> {
    let file = config::layout(args.cluster.kubeadm_config.as_deref())?;
    let (mut layout, mut told_by) = match file {
        Some((path, layout)) => (layout, format!("{} says so", path.display())),
        None => (Layout::default(), "this is kubeadm's default, --kubeadm-config or --etcd tell otherwise".into()),
    };
    let asked = args.cluster.etcd.map(|kind| kind == EtcdKind::Stacked);
    if let Some(stacked) = asked.filter(|stacked| *stacked != layout.stacked) {
        layout = Layout { stacked, client: layout.client.filter(|_| stacked), ..layout };
    }
    if asked.is_some() {
        told_by = "--etcd says so".into();
    }
    Ok((layout, told_by))
}

/// The full name, so that every member restores the same one, whatever is stored meanwhile.
fn backup(source: &Source) -> Result<String, Failure> {
    match source {
        Source::Stored(found) => Ok(found.backup.name.to_string()),
        Source::Local(path) => absolute(path),
    }
}

fn content(proved: &ProvedFile, zone: Tz) -> String {
    let contents = &proved.proof.contents;
    let taken = proved.name.as_ref().map(|name| name.taken_at(zone).to_rfc3339_opts(SecondsFormat::Secs, true));
    let taken = taken.map(|at| format!("taken at {at}, ")).unwrap_or_default();
    format!("{taken}revision {}, {} keys, every page proved good", contents.revision, contents.live_keys)
}

fn data_dir(args: &RestoreArgs, layout: &Layout) -> String {
    let written = args.data_dir.as_deref().map(Path::to_string_lossy);
    let dir = written.as_deref().unwrap_or(&layout.data_dir);
    dir.trim_end_matches('/').to_owned()
}

fn client(args: &RestoreArgs, layout: &Layout) -> Option<[String; 3]> {
    match (&args.cluster.cacert, &args.cluster.cert, &args.cluster.key) {
        (Some(ca), Some(cert), Some(key)) => Some([ca.clone(), cert.clone(), key.clone()]),
        _ => layout.client.clone(),
    }
}

/// Where clients reach the restored members.
fn endpoints(
    args: &RestoreArgs,
    layout: &Layout,
    cluster: &InitialCluster,
    recorded: &InitialCluster,
    members: &[RecordedMember],
) -> Vec<String> {
    if let Some(list) = args.cluster.endpoints.as_ref().filter(|list| !list.trim().is_empty()) {
        return list.split(',').map(|url| url.trim().to_owned()).collect();
    }
    let known: Option<Vec<String>> = cluster.peers().iter().map(|peer| recorded_url(peer, recorded, members)).collect();
    let listed = (cluster == recorded && !layout.endpoints.is_empty()).then(|| layout.endpoints.clone());
    known.or(listed).unwrap_or_else(|| cluster.peers().iter().map(usual_url).collect())
}

/// The client URL that the snapshot has for a member that is where it was. Some versions of etcd record none.
fn recorded_url(peer: &Peer, recorded: &InitialCluster, members: &[RecordedMember]) -> Option<String> {
    let before = members.iter().find(|m| m.name == peer.name).filter(|_| recorded.peers().contains(peer));
    before?.client_urls.first().cloned()
}

fn usual_url(peer: &Peer) -> String {
    let peer_url = peer.urls.first().and_then(|url| url.parse::<Url>().ok());
    peer_url.map_or_else(String::new, |url| url.with_port(2379).to_string())
}

/// Flags with their values, and files.
type Needs = (Vec<(&'static str, String)>, Vec<String>);

/// What `restore` is to be told on the members, and the files that they need for it.
fn needs(args: &RestoreArgs, source: &Source) -> Result<Needs, Failure> {
    let mut flags = Vec::new();
    let mut files = Vec::new();
    match source {
        Source::Local(path) => files.push(absolute(path)?),
        Source::Stored(found) => {
            let config = found.store.config();
            flags.push(("target", config.target.to_string()));
            flags.push(("backup-prefix", config.naming.prefix.to_string()));
            if let Some(file) = &config.rclone_config {
                flags.push(("rclone-config", absolute(file)?));
                files.push(absolute(file)?);
            }
            if !config.rclone_flags.0.is_empty() {
                flags.push(("rclone-flags", config.rclone_flags.to_string()));
            }
        }
    }
    flags.extend(args.who.bump_revision.map(|by| ("bump-revision", by.to_string())));
    Ok((flags, files))
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|e| Failure::new(Exit::Disk, e))?;
    Ok(path.to_string_lossy().into_owned())
}
