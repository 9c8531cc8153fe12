//! `dismiss`: a person says that a backup is not of the cluster.

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use super::ruling::{self, Decided};
use crate::backup::beside::Ruling;
use crate::backup::catalog::{Class, Doubt};
use crate::backup::ruling::refuses_dismissal;
use crate::config::JudgeConfig;
use crate::exit::Failure;
use crate::report::Answer;
use crate::store::{Next, Store};

pub async fn dismiss(config: JudgeConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let JudgeConfig { store, name, by, .. } = config;
    let store = Store::open(store, Next::Look).await?;
    let inventory = Inventory::read(&store).await?;
    let entry = ruling::find(&inventory, &name, &store)?;
    if let Some(why) = refuses_dismissal(&inventory.catalog, entry, now) {
        return Err(Failure::settings(why));
    }
    let is_dismissed = entry.class == Class::Doubtful(Doubt::Dismissed);
    let covers = if is_dismissed { Vec::new() } else { vec![name.leaf()] };
    if !is_dismissed {
        let ruling = Ruling::Dismissed;
        let decided = Decided { ruling, name: &name, by: &by, covers: covers.clone(), facts: None };
        ruling::write(&store, &inventory, &decided, now).await?;
    }
    *answer = ruling::answer(&store, Ruling::Dismissed, &name, &by, &covers, now).await?;
    Ok(())
}
