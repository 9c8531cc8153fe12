//! Backs up a Kubernetes cluster's etcd to any rclone remote, and proves every backup before it counts.

mod backup;
mod cli;
mod command;
mod compression;
mod config;
mod etcd;
mod exit;
mod inspect;
mod kubernetes;
mod logging;
mod member;
mod plain;
mod rclone;
mod recovery;
mod report;
mod snapshot;
mod store;
mod system;
mod url;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use command::Unfinished;
use exit::{Exit, Failure};
use report::Report;
use system::core_dumps::no_core_files;
use system::launch::become_child;
use system::signals::Signals;

/// How long threads that still read or write a file may go on after the command has ended.
const LAST_THREADS: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "the clock is read once, here")]
fn main() -> ExitCode {
    // First of all: what was started is to be a child program, and nothing of this one.
    if let Some(failed) = become_child(std::env::args_os()) {
        return failed;
    }
    let (begun, now) = (Instant::now(), Utc::now());
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => {
            let args: Vec<_> = std::env::args_os().collect();
            let format = cli::usage::format_of(&args, config::output_variable().as_deref());
            return report::usage(usage, &args, format, begun.elapsed());
        }
    };
    let mut report = Report::new(cli.command.name(), cli.command.purpose());
    let (exit, error) = match start(&cli, now, &mut report) {
        Ok(exit) => (exit, None),
        Err(failure) => (failure.exit, Some(failure.one_line())),
    };
    // Only now is everything gone that holds rclone's configuration.
    report.job.lost_token = rclone::lost_token().map(ToOwned::to_owned);
    if let Some(error) = &error {
        tracing::error!(exit = exit.code(), "{error}");
    }
    report.print(exit, error, cli.output.output, begun.elapsed())
}

fn start(cli: &cli::Cli, now: DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    let zone = config::time_zone();
    // The log must be there before a wrong zone is reported.
    logging::start(&cli.output, *zone.as_ref().unwrap_or(&chrono_tz::UTC));
    no_core_files();
    let unexpected = |e: std::io::Error| Failure::new(Exit::Unexpected, e);
    // One thread: the server that sends a snapshot is the bottleneck, and more threads gain nothing.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unexpected)?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new().map_err(unexpected)?;
        let mut unfinished = Unfinished::default();
        let outcome = tokio::select! {
            outcome = command::execute(cli, now, zone, report, &mut unfinished) => outcome,
            signal = signals.first() => Err(Failure::message(signal.exit(), format!("interrupted by {signal}"))),
        };
        unfinished.settle(outcome, report).await
    });
    // Dropping the runtime would wait without limit for a thread that a hung disk blocks.
    runtime.shutdown_timeout(LAST_THREADS);
    outcome
}
