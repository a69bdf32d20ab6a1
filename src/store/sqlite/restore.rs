//! Sites and hostnames that were listed before the store was lost, as rows again.

use sqlx::Connection;

use super::database::{Database, Durability, Fault};
use super::hostnames;
use super::registry::{found, insert_site};
use crate::store::records::{Listing, NewHostname, StoredSite};

/// Takes them in; those that are there stay. How many hostnames came in.
pub async fn restore(database: &Database, sites: &[StoredSite], listings: &[Listing]) -> Result<u64, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    for site in sites {
        found(&mut transaction, &site.organization, now).await?;
        insert_site(&mut transaction, site, now).await?;
    }
    let mut taken = 0;
    // Whoever held a name comes first, and holds it again.
    let (holders, others): (Vec<&Listing>, Vec<&Listing>) =
        listings.iter().partition(|listing| listing.holder);
    for listing in holders.into_iter().chain(others) {
        if hostnames::find(&mut transaction, &listing.organization, &listing.name).await?.is_some() {
            continue;
        }
        found(&mut transaction, &listing.organization, now).await?;
        let new = NewHostname {
            name: listing.name.clone(),
            organization: listing.organization.clone(),
            site: listing.site.clone(),
            via: listing.via,
            settings: listing.settings.clone(),
            preview: listing.preview.clone(),
            proof: listing.proof.clone(),
            quota: 0,
        };
        hostnames::insert(&mut transaction, &new, now).await?;
        hostnames::count(&mut transaction, &listing.organization, u32::MAX).await?;
        hostnames::note_change(&mut transaction, listing.name.as_str()).await?;
        taken += 1;
    }
    transaction.commit().await?;
    Ok(taken)
}
