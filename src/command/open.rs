//! Opens the store for a job: everything that is wrong with it is found before the snapshot is taken or uploaded.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use crate::backup::name::BackupName;
use crate::config::StoreConfig;
use crate::store::{self, Next, Store, fits_everywhere};
use crate::system::patience::Patience;

/// Fails for what is wrong with the settings. Unless a look is next, most remotes are not asked for that, and none is waited
/// for.
async fn prepare(config: &StoreConfig, now: DateTime<Utc>, next: Next) -> Result<Arc<Store>, store::Error> {
    // With seconds, as after a name that was taken.
    let longest = BackupName::new(&config.naming.prefix, now, config.naming.zone);
    let longest_leaf = longest.compressed(config.naming.compression).leaf().len() + 2;
    let next = if fits_everywhere(config, longest_leaf) { next } else { Next::Other };
    let store = Store::open(config.clone(), next).await?;
    store.check_name_length(longest_leaf).await?;
    Ok(Arc::new(store))
}

/// As [`prepare`], with `None` for a failure that is not one of the settings. It shows again when the store is used.
pub async fn check_settings(config: &StoreConfig, now: DateTime<Utc>) -> Result<Option<Arc<Store>>, store::Error> {
    match prepare(config, now, Next::Other).await {
        Err(error) if !error.is_of_settings() => {
            tracing::debug!("the store cannot be prepared: {error}");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

async fn open(config: &StoreConfig, now: DateTime<Utc>) -> Result<Arc<Store>, store::Error> {
    let store = prepare(config, now, Next::Look).await?;
    look(&store).await?;
    Ok(store)
}

/// Whether the bucket is there, and what stands in it can be read.
async fn look(store: &Store) -> Result<(), store::Error> {
    Inventory::read(store).await.map(drop)
}

/// The prepared store after a look at it, or `None` if it is away and may come back in time.
pub async fn look_if_there(store: Option<Arc<Store>>, retry_for: Duration) -> Result<Option<Arc<Store>>, store::Error> {
    let Some(store) = store else { return Ok(None) };
    match look(&store).await {
        Err(error) if error.is_away() && !retry_for.is_zero() => Ok(None),
        outcome => outcome.map(|()| Some(store)),
    }
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
    patience.wait_out(&opening(config), store::Error::is_away, || open(config, now)).await
}

/// The same of a store that may be prepared already.
pub async fn open_prepared(
    prepared: Option<Arc<Store>>,
    config: &StoreConfig,
    patience: &Patience,
    now: DateTime<Utc>,
) -> Result<Arc<Store>, store::Error> {
    let Some(store) = prepared else { return open_patiently(config, patience, now).await };
    patience.wait_out(&opening(config), store::Error::is_away, || look(&store)).await?;
    Ok(store)
}

fn opening(config: &StoreConfig) -> String {
    format!("opening {}", config.target)
}
