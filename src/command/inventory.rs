//! What is stored, and what is known of it.

use std::time::Instant;

use chrono_tz::Tz;

use crate::backup::beside::Beside;
use crate::backup::catalog::Catalog;
use crate::backup::name::BackupName;
use crate::store::{self, Listing, Store};
use crate::system::patience::Patience;

pub struct Inventory {
    pub catalog: Catalog,
    pub beside: Beside,
    /// How many files among the backups are not backups.
    pub foreign: usize,
    /// The names that a new backup cannot have.
    pub taken: Vec<BackupName>,
}

impl Inventory {
    /// Asks the store a number of questions that does not depend on the number of backups.
    pub async fn read(store: &Store) -> Result<Self, store::Error> {
        let naming = &store.config().naming;
        let (listing, files) = store.look().await?;
        let mut inventory = Self::new(&listing, Beside::parse(&naming.prefix, &files.names, &files.text), naming.zone);
        // To another run's name, this one would wait in vain after it has uploaded all.
        inventory.taken.extend(files.parts.iter().filter_map(|part| BackupName::borne_by(&naming.prefix, part)));
        for warning in &inventory.catalog.warnings {
            tracing::warn!("{warning}");
        }
        Ok(inventory)
    }

    pub async fn read_patiently(store: &Store, patience: &Patience) -> Result<Self, store::Error> {
        let what = format!("listing {}", store.config().target);
        patience.wait_out(&what, store::Error::is_away, || Self::read(store)).await
    }

    /// How many files there are that nothing here touches.
    pub fn untouched(&self) -> usize {
        self.foreign + self.catalog.foreign()
    }

    pub fn without_records(listing: &Listing, zone: Tz) -> Self {
        Self::new(listing, Beside::default(), zone)
    }

    fn new(listing: &Listing, beside: Beside, zone: Tz) -> Self {
        let backups = listing.backups.iter().map(|backup| (backup.name.clone(), backup.bytes));
        let begun = Instant::now();
        let catalog = Catalog::new(backups, &beside, zone);
        tracing::debug!(
            backups = catalog.entries.len(),
            seconds = begun.elapsed().as_secs_f64(),
            "sorted into classes"
        );
        let taken = [&listing.borne[..], &beside.borne].concat();
        Self { catalog, beside, foreign: listing.foreign, taken }
    }
}
