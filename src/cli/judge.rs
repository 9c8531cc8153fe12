//! Commands with which a person says what a backup is.

use clap::Args;

use super::PassingArgs;

/// `accept` and `dismiss`.
#[derive(Args, Clone, Debug)]
pub struct JudgeArgs {
    /// The backup's full name, as `list` shows it; never `latest` or a part of a name
    pub name: String,
    /// Who says so; it is noted at the remote, with the time
    #[arg(long, env = "USER", value_name = "WHO")]
    pub by: Option<String>,
    #[command(flatten)]
    pub read: PassingArgs,
}
