//! `accept`: a person says that a backup is of the cluster as it is now.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::compare::read_back;
use super::inventory::Inventory;
use super::ruling::{self, Decided};
use crate::backup::beside::Ruling;
use crate::backup::catalog::Class;
use crate::backup::ruling::covered;
use crate::config::JudgeConfig;
use crate::exit::Failure;
use crate::report::Answer;
use crate::store::{Next, Store};

pub async fn accept(config: JudgeConfig, now: DateTime<Utc>, answer: &mut Answer) -> Result<(), Failure> {
    let JudgeConfig { store, name, by } = config;
    let store = Arc::new(Store::open(store, Next::Look).await?);
    let inventory = Inventory::read(&store).await?;
    let entry = ruling::find(&inventory, &name, &store)?;
    // Nobody should have to accept what cannot be restored.
    let found = if entry.facts.is_none() { Some(read_back(&store, entry).await?) } else { None };
    let facts = found.as_ref().or(entry.facts.as_deref());
    let covers = facts.map_or_else(|| vec![name.leaf()], |facts| covered(&inventory.catalog, &name, facts));
    let is_good = entry.class == Class::Good && !entry.is_from_the_future(now) && covers.len() == 1;
    let covers = if is_good { Vec::new() } else { covers };
    if !is_good {
        let decided = Decided { ruling: Ruling::Accepted, name: &name, by: &by, covers: covers.clone(), facts: found };
        ruling::write(&store, &inventory, &decided, now).await?;
    }
    *answer = ruling::answer(&store, Ruling::Accepted, &name, &by, &covers, now).await?;
    Ok(())
}
