//! One file for each command; each wires the parts in order and decides nothing.

mod export;
mod get;
mod inspect;
mod prune;
mod run;
mod source;
mod steps;
mod streaming;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::cli::{Cli, Command};
use crate::config::Job;
use crate::exit::{Exit, Failure};
use crate::report::Report;

impl Command {
    /// The name, for the report.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Prune(_) => "prune",
            Self::Inspect(_) => "inspect",
            Self::Get(_) => "get",
            Self::Export(_) => "export",
            Self::PutBack(_) => "put-back",
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
        Command::Prune(args) => {
            let job = Job::new(&args.job)?;
            within(job.timeout, prune::prune(args, &job, now, report)).await
        }
        Command::Inspect(args) => {
            let job = Job::new(&args.source.job)?;
            within(job.timeout, inspect::inspect(args, &job, cli.output.output, report)).await
        }
        Command::Get(args) => {
            let job = Job::new(&args.source.job)?;
            within(job.timeout, get::get(args, &job, cli.output.output, report)).await
        }
        Command::PutBack(_) => Ok(Exit::Unexpected),
        Command::Export(args) => {
            let job = Job::new(&args.source.job)?;
            within(job.timeout, export::export(args, &job, report)).await
        }
    }
}

async fn within(limit: Duration, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(Failure::new(Exit::Deadline, anyhow::anyhow!("the deadline of {limit} passed; give more with --timeout")))
    })
}
