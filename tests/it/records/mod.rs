//! The folder of the records: what a first run finds and writes, what is lost or damaged there, and what a person says.

mod first_run;
mod holds;
mod sharing;
mod unreadable;

use std::{path::Path, process::Command};

use chrono::{DateTime, Duration, Utc};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    LONG_AGO, SOON,
    etcd::Cluster,
    kubernetes::save,
    output::{Output, Report},
    remote::Remote,
    run::Run,
    sample,
};
const ONE: &str = "11111111-aaaa-4bbb-8ccc-000000000001";
const TWO: &str = "22222222-aaaa-4bbb-8ccc-000000000002";

/// Backups of the shell packages, the newest first.
const SHELL: [&str; 4] =
    ["p-202601040000.etcdb", "p-202601030000.etcdb", "p-202601020000.etcdb", "p-202601010000.etcdb"];

fn at(run: Run) -> Run {
    run.env("BACKUP_PREFIX", "p-")
}

fn job(cluster: &Cluster, remote: &Remote) -> Run {
    at(Run::job(cluster, remote))
}

/// A job with limits that leave one backup.
fn limited(cluster: &Cluster, remote: &Remote) -> Run {
    job(cluster, remote).env("RETENTION_COUNT", "1").env("KEEP_LAST", "1")
}

fn on(remote: &Remote, args: &[&str]) -> Run {
    at(Run::new().args(args).store(remote))
}

fn ruling(remote: &Remote, word: &str, name: &str) -> Run {
    on(remote, &[word, name, "--by", "alice"])
}

/// The name of a backup that is taken at this time, in UTC.
fn name_at(at: DateTime<Utc>) -> String {
    format!("p-{}.etcdb", at.format("%Y%m%d%H%M"))
}

/// The class, or the doubt, of each backup.
fn classes(remote: &Remote) -> Vec<(String, String)> {
    let report = on(remote, &["list"]).success();
    let class = |line: &Value| {
        let word = line["doubt"].as_str().or(line["class"].as_str()).unwrap();
        (line["name"].as_str().unwrap().to_owned(), word.to_owned())
    };
    report.value("backups").as_array().unwrap().iter().map(class).collect()
}

fn class(remote: &Remote, name: &str) -> String {
    classes(remote).into_iter().find(|(listed, _)| listed == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn record(remote: &Remote, name: &str) -> Value {
    remote.record(&format!("{name}.json"))
}

fn reasons(report: &Report) -> &Value {
    &report.value("verdict")["reasons"]
}

fn held_by(report: &Report) -> Vec<&str> {
    let holds = report.value("holds").as_array().unwrap();
    holds.iter().map(|hold| hold["name"].as_str().unwrap()).collect()
}

fn latest(remote: &Remote) -> (String, Output) {
    let output = on(remote, &["verify"]).exits(0);
    (output.report().value("backups")[0]["name"].as_str().unwrap().to_owned(), output)
}
