//! One file for each command; each wires the parts in order and decides nothing.

mod copy_tls;
mod export;
mod fetch;
mod get;
mod input;
mod inspect;
mod job;
mod list;
mod plan;
mod prune;
mod put_back;
mod restore;
mod run;
mod snapshot;
mod store;
mod streaming;
mod verify;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::cli::{self, Cli, Command};
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::report::{Body, Report};

impl Command {
    /// The name, for the report.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Snapshot(_) => "snapshot",
            Self::Store(_) => "store",
            Self::Completions { .. } => "completions",
            Self::Prune(_) => "prune",
            Self::Inspect(_) => "inspect",
            Self::Get(_) => "get",
            Self::Export(_) => "export",
            Self::PutBack(_) => "put-back",
            Self::CopyTls(_) => "copy-tls",
            Self::Fetch(_) => "fetch",
            Self::Restore(_) => "restore",
            Self::List(_) => "list",
            Self::Verify(_) => "verify",
        }
    }
}

/// Runs the command under its deadline.
///
/// # Errors
/// Whatever kept it from its end.
pub async fn execute(cli: &Cli, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Run(args) => {
            let job = Job::new(&args.job)?;
            within(job.timeout, run::run(args, &job, now, report)).await
        }
        Command::Snapshot(args) => {
            let job = Job::new(&args.job)?;
            within(job.timeout, snapshot::snapshot(args, &job, now, report)).await
        }
        Command::Store(args) => {
            let job = Job::new(&args.job)?;
            within(job.timeout, store::store(args, &job, report)).await
        }
        Command::Completions { shell } => {
            report.body = Some(Body { text: cli::completions(*shell), json: None });
            Ok(Exit::Ok)
        }
        Command::Prune(args) => {
            let job = Job::new(&args.job)?;
            within(job.timeout, prune::prune(args, &job, now, report)).await
        }
        Command::Restore(args) => {
            let job = Job::new(&args.read.job)?;
            within(job.timeout, restore::restore(args, &job, report)).await
        }
        Command::Inspect(args) => {
            let job = Job::new(&args.read.job)?;
            within(job.timeout, inspect::inspect(args, &job, cli.output.output, report)).await
        }
        Command::Get(args) => {
            let job = Job::new(&args.read.job)?;
            within(job.timeout, get::get(args, &job, cli.output.output, report)).await
        }
        Command::PutBack(args) => {
            let job = Job::new(&args.read.job)?;
            within(job.timeout, put_back::put_back(args, &job, now, report)).await
        }
        Command::Export(args) => {
            let job = Job::new(&args.read.job)?;
            within(job.timeout, export::export(args, &job, report)).await
        }
        Command::CopyTls(args) => copy_tls::copy_tls(args),
        Command::List(args) => {
            let job = Job::new(&args.job)?;
            within(job.timeout, list::list(args, &job, now, report)).await
        }
        Command::Verify(args) => {
            let job = Job::new(&args.read.job)?;
            within(job.timeout, verify::verify(args, &job, report)).await
        }
        Command::Fetch(args) => {
            let job = Job::new(&args.read.job)?;
            within(job.timeout, fetch::fetch(args, &job, report)).await
        }
    }
}

async fn within(limit: Duration, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(Failure::new(Exit::Deadline, anyhow::anyhow!("the deadline of {limit} passed; give more with --timeout")))
    })
}
