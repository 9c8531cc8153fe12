//! Backs up a Kubernetes cluster's etcd to any rclone remote, and proves every backup before it counts.

mod backup;
mod cli;
mod command;
mod config;
mod etcd;
mod exit;
mod inspect;
mod kubernetes;
mod logging;
mod member;
mod rclone;
mod recovery;
mod report;
mod snapshot;
mod store;
mod system;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::Utc;

use exit::{Exit, Failure};
use report::Report;
use system::signals::Signals;

/// What a thread that reads the disk may still take when all else has ended.
const LAST_THREADS: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "the clock is read once, here")]
fn main() -> ExitCode {
    let (begun, now) = (Instant::now(), Utc::now());
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => return cli::explain(&usage),
    };
    let mut report = Report::new(cli.command.name());
    let outcome = start(&cli, now, &mut report);
    let (exit, error) = match outcome {
        Ok(exit) => (exit, None),
        Err(failure) => (failure.exit, Some(format!("{:#}", failure.error))),
    };
    if let Some(error) = &error {
        tracing::error!(exit = exit.code(), "{error}");
    }
    if let Err(error) = report.finish(exit, error, cli.output.output, begun.elapsed()) {
        tracing::warn!(%error, "writing the report");
    }
    exit.code().into()
}

fn start(cli: &cli::Cli, now: chrono::DateTime<Utc>, report: &mut Report) -> Result<Exit, Failure> {
    logging::start(&cli.output, config::time_zone().unwrap_or(chrono_tz::UTC));
    system::core_dumps::no_core_files();
    let unexpected = |e: std::io::Error| Failure::new(Exit::Unexpected, e);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unexpected)?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new().map_err(unexpected)?;
        tokio::select! {
            outcome = command::execute(cli, now, report) => outcome,
            exit = signals.first() => Err(Failure::new(exit, anyhow::anyhow!("{exit}; nothing half-made is left"))),
        }
    });
    runtime.shutdown_timeout(LAST_THREADS);
    outcome
}
