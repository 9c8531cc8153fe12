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
mod plan;
mod prune;
mod put_back;
mod restore;
mod retain;
mod ruling;
mod run;
mod snapshot;
mod store;
mod streaming;
mod take;
mod verify;

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::cli::{self, Cli, Command};
use crate::config::{RestoreConfig, Settings};
use crate::exit::{Exit, Failure};
use crate::report::job::Stage;
use crate::report::{Answer, Report};

pub use put_back::Unfinished;

/// Runs the command under its deadline. `zone` is an error if its setting is wrong.
pub async fn execute(
    cli: &Cli,
    now: DateTime<Utc>,
    zone: Result<Tz, String>,
    report: &mut Report,
    unfinished: &mut Unfinished,
) -> Result<Exit, Failure> {
    // These have to work without a ConfigMap, a target or a valid zone.
    let Some(args) = cli.command.settings() else { return without_settings(&cli.command, report) };
    let settings = Settings::read(args, cli.command.deadline(), zone)?;
    let work = with_settings(cli, &settings, now, report, unfinished);
    // Dropping `work` ends its child processes and removes its workspace.
    let ended = tokio::time::timeout(settings.timeout, work).await;
    ended.unwrap_or_else(|_| late(settings.timeout, report.job.stage))
}

fn without_settings(command: &Command, report: &mut Report) -> Result<Exit, Failure> {
    match command {
        Command::Completions { shell } => report.answer = Answer::Text(cli::completions(*shell)),
        Command::Man { command } => report.answer = Answer::Text(man_page(command.as_deref())?),
        Command::CopyTls(args) => copy_tls::copy_tls(args)?,
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
    settings: &Settings,
    now: DateTime<Utc>,
    report: &mut Report,
    unfinished: &mut Unfinished,
) -> Result<Exit, Failure> {
    let (format, answer) = (cli.output.output, &mut report.answer);
    match &cli.command {
        Command::Run(args) => return run::run(settings.run(args, now)?, now, report).await,
        Command::Snapshot(args) => {
            // Even if this fails, the step has to mark an earlier record as not stored.
            let etcd = settings.snapshot_source(args, now);
            return snapshot::snapshot(settings.snapshot_step(args)?, etcd, now, report).await;
        }
        Command::Store(args) => return store::store(settings.store_step(args)?, now, report).await,
        Command::Prune(args) => return prune::prune(settings.prune(args)?, now, report).await,
        Command::Accept(args) => accept::accept(settings.judge(args)?, now, answer).await,
        Command::Dismiss(args) => dismiss::dismiss(settings.judge(args)?, now, answer).await,
        Command::List(args) => list::list(settings.list(args)?, now, answer).await,
        Command::Verify(args) => verify::verify(settings.verify(args)?, now, answer).await,
        Command::Inspect(args) => inspect::inspect(settings.inspect(args)?, format, now, answer).await,
        Command::Get(args) => get::get(settings.get(args)?, format, now, answer).await,
        Command::Export(args) => export::export(settings.export(args)?, now, answer).await,
        Command::Fetch(args) => fetch::fetch(settings.fetch(args)?, now, answer).await,
        Command::PutBack(args) => {
            put_back::put_back(settings.put_back(args, now)?, now, &mut report.put_back, unfinished).await
        }
        Command::Restore(args) => match settings.restore(args)? {
            RestoreConfig::Member(config) => restore::restore(*config, now, answer).await,
            RestoreConfig::Plan(config) => plan::plan(*config, now, answer).await,
        },
        Command::Completions { .. } | Command::Man { .. } | Command::CopyTls(_) => {
            without_settings(&cli.command, report).map(drop)
        }
    }?;
    Ok(Exit::Ok)
}

/// How a command ends whose deadline passed. A backup that is stored stays stored.
fn late(limit: Duration, stage: Stage) -> Result<Exit, Failure> {
    let limit = humantime::format_duration(limit);
    let passed = format!("the deadline of {limit} passed; give more with --timeout");
    match stage {
        Stage::NotStored => Err(Failure::message(Exit::Deadline, passed)),
        Stage::Stored => Err(Failure::message(Exit::Retention, format!("{}: {passed}", stage.when_cut_short()))),
        Stage::Done(exit) => {
            tracing::warn!("{}: {passed}", stage.when_cut_short());
            Ok(exit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_takes_nothing_back() {
        let end = |stage| late(Duration::from_mins(5), stage).map_err(|failure| (failure.exit, failure.one_line()));
        let passed = "the deadline of 5m passed; give more with --timeout";
        assert_eq!(end(Stage::NotStored), Err((Exit::Deadline, passed.to_owned())));
        let safe = format!("the backup is safe, retention is not done: {passed}");
        assert_eq!(end(Stage::Stored), Err((Exit::Retention, safe)));
        assert_eq!(end(Stage::Done(Exit::Degraded)), Ok(Exit::Degraded));
    }
}
