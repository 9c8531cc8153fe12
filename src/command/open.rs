//! Opens the store for a job: everything that is wrong with it is found before the snapshot is taken or uploaded.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use crate::backup::name::BackupName;
use crate::config::StoreConfig;
use crate::store::{self, Store};
use crate::system::patience::Patience;

async fn open(config: &StoreConfig, now: DateTime<Utc>) -> Result<Arc<Store>, store::Error> {
    let store = Store::open(config.clone()).await?;
    // With seconds, as after a name that was taken.
    let longest_leaf = BackupName::new(&config.naming.prefix, now, config.naming.zone).leaf().len() + 2;
    store.check_name_length(longest_leaf).await?;
    Inventory::read(&store).await?;
    Ok(Arc::new(store))
}

/// The store, or `None` if it is away and may come back in time.
pub async fn open_if_there(
    config: &StoreConfig,
    retry_for: Duration,
    now: DateTime<Utc>,
) -> Result<Option<Arc<Store>>, store::Error> {
    match open(config, now).await {
        Err(error) if error.is_away() && !retry_for.is_zero() => {
            tracing::warn!("the store is away, and the snapshot is taken meanwhile: {error}");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

pub async fn open_patiently(
    config: &StoreConfig,
    patience: &Patience,
    now: DateTime<Utc>,
) -> Result<Arc<Store>, store::Error> {
    let what = format!("opening {}", config.target);
    patience.wait_out(&what, store::Error::is_away, || open(config, now)).await
}
