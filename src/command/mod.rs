//! One file for each command; each wires the parts in order and decides nothing.

mod accept;
mod compare;
mod copy_tls;
mod dismiss;
mod export;
mod facts;
mod fetch;
mod get;
mod input;
mod inspect;
mod inventory;
mod keep;
mod list;
mod members;
mod open;
mod opening;
mod plan;
mod prune;
mod put_back;
mod restore;
mod retain;
mod ruling;
mod run;
mod snapshot;
mod staging;
mod store;
mod streaming;
mod take;
mod unstaged;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::cli::{self, Cli, Command};
use crate::config::{RestoreConfig, Settings};
use crate::exit::{Exit, Failure};
use crate::report::job::Stage;
use crate::report::{Answer, Report};
use crate::system::blocking::blocking;

pub use put_back::Unfinished;

/// How long settings and the files that they name may take. Nobody waits for the whole deadline to learn that a disk hangs.
const READING: Duration = Duration::from_secs(30);

/// Runs the command under its deadline. `zone` is an error if its setting is wrong.
pub async fn execute(
    cli: &Cli,
    now: DateTime<Utc>,
    zone: Result<Tz, String>,
    report: &mut Report,
    unfinished: &mut Unfinished,
) -> Result<Exit, Failure> {
    // These have to work without a ConfigMap, a target or a valid zone.
    let Some(args) = cli.command.settings() else { return without_settings(&cli.command, report).await };
    let (args, deadline) = (args.clone(), cli.command.deadline());
    let settings = Arc::new(reading(move || Settings::read(&args, deadline, zone)).await?);
    let work = with_settings(cli, &settings, now, report, unfinished);
    // Dropping `work` ends its child processes and removes its workspace.
    let ended = tokio::time::timeout(settings.timeout, work).await;
    ended.unwrap_or_else(|_| late(settings.timeout, &report.job.stage))
}

/// Reads settings and the files that they name on a thread of its own: a disk that hangs may hold it for ever.
async fn reading<T: Send + 'static>(read: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::time::timeout(READING, blocking(read)).await.unwrap_or_else(|_| {
        let limit = humantime::format_duration(READING);
        let why =
            format!("the settings and the files that they name could not be read within {limit}: does a disk hang?");
        Err(Failure::message(Exit::Disk, why))
    })
}

/// The same of what a command makes of its arguments.
async fn read<A: Clone + Send + 'static, T: Send + 'static>(
    settings: &Arc<Settings>,
    args: &A,
    read: impl FnOnce(&Settings, &A) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (settings, args) = (Arc::clone(settings), args.clone());
    reading(move || read(&settings, &args)).await
}

async fn without_settings(command: &Command, report: &mut Report) -> Result<Exit, Failure> {
    match command {
        Command::Completions { shell } => report.answer = Answer::Text(cli::completions(*shell)),
        Command::Man { command } => report.answer = Answer::Text(man_page(command.as_deref())?),
        Command::CopyTls(args) => {
            let args = args.clone();
            reading(move || copy_tls::copy_tls(&args)).await?;
        }
        other => return Err(Failure::message(Exit::Unexpected, format!("{} needs settings", other.name()))),
    }
    Ok(Exit::Ok)
}

fn man_page(command: Option<&str>) -> Result<String, Failure> {
    let unknown = || format!("man: there is no command `{}`", command.unwrap_or_default());
    cli::man_page(command).ok_or_else(|| Failure::message(Exit::Settings, unknown()))
}

async fn with_settings(
    cli: &Cli,
    settings: &Arc<Settings>,
    now: DateTime<Utc>,
    report: &mut Report,
    unfinished: &mut Unfinished,
) -> Result<Exit, Failure> {
    let (format, answer) = (cli.output.output, &mut report.answer);
    match &cli.command {
        Command::Run(args) => {
            return run::run(read(settings, args, move |s, args| s.run(args, now)).await?, now, report).await;
        }
        Command::Snapshot(args) => {
            // Even if this fails, the step has to mark an earlier record as not stored.
            let etcd = read(settings, args, move |s, args| s.snapshot_source(args, now)).await;
            return snapshot::snapshot(read(settings, args, Settings::snapshot_step).await?, etcd, now, report).await;
        }
        Command::Store(args) => {
            return store::store(read(settings, args, Settings::store_step).await?, now, report).await;
        }
        Command::Prune(args) => return prune::prune(read(settings, args, Settings::prune).await?, now, report).await,
        Command::Accept(args) => accept::accept(read(settings, args, Settings::judge).await?, now, answer).await,
        Command::Dismiss(args) => dismiss::dismiss(read(settings, args, Settings::judge).await?, now, answer).await,
        Command::List(args) => list::list(read(settings, args, Settings::list).await?, now, answer).await,
        Command::Verify(args) => verify::verify(read(settings, args, Settings::verify).await?, now, answer).await,
        Command::Inspect(args) => {
            inspect::inspect(read(settings, args, Settings::inspect).await?, format, now, answer).await
        }
        Command::Get(args) => get::get(read(settings, args, Settings::get).await?, format, now, answer).await,
        Command::Export(args) => export::export(read(settings, args, Settings::export).await?, now, answer).await,
        Command::Fetch(args) => fetch::fetch(read(settings, args, Settings::fetch).await?, now, answer).await,
        Command::PutBack(args) => {
            let config = read(settings, args, move |s, args| s.put_back(args, now)).await?;
            put_back::put_back(config, now, unfinished).await
        }
        Command::Restore(args) => match read(settings, args, |s, args| s.restore(args)).await? {
            RestoreConfig::Member(config) => restore::restore(*config, now, answer).await,
            RestoreConfig::Plan(config) => plan::plan(*config, now, answer).await,
        },
        Command::Completions { .. } | Command::Man { .. } | Command::CopyTls(_) => {
            without_settings(&cli.command, report).await.map(drop)
        }
    }?;
    Ok(Exit::Ok)
}

/// How a command ends whose deadline passed. A backup that is stored stays stored.
fn late(limit: Duration, stage: &Stage) -> Result<Exit, Failure> {
    let limit = humantime::format_duration(limit);
    let passed = format!("the deadline of {limit} passed; give more with --timeout");
    match stage {
        Stage::NotStored => Err(Failure::message(Exit::Deadline, passed)),
        Stage::Sending(_) => Err(Failure::message(Exit::Deadline, format!("{}: {passed}", stage.when_cut_short()))),
        Stage::Stored => Err(Failure::message(Exit::Retention, format!("{}: {passed}", stage.when_cut_short()))),
        Stage::Done(exit) => {
            tracing::warn!("{}: {passed}", stage.when_cut_short());
            Ok(*exit)
        }
        // The deadline came after it, and is not why.
        Stage::Failed(exit, why) => {
            tracing::warn!("{passed}");
            Err(Failure::message(*exit, why.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_takes_nothing_back() {
        let end = |stage| late(Duration::from_mins(5), &stage).map_err(|failure| (failure.exit, failure.one_line()));
        let passed = "the deadline of 5m passed; give more with --timeout";
        assert_eq!(end(Stage::NotStored), Err((Exit::Deadline, passed.to_owned())));
        let safe = format!("the backup is safe, retention is not done: {passed}");
        assert_eq!(end(Stage::Stored), Err((Exit::Retention, safe)));
        assert_eq!(end(Stage::Done(Exit::Degraded)), Ok(Exit::Degraded));
        let failed = (Exit::Retention, "could not delete x".to_owned());
        assert_eq!(end(Stage::Failed(failed.0, failed.1.clone())), Err(failed));
    }
}
