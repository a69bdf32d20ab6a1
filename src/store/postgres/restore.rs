//! Sites and hostnames that were listed before the store was lost, as rows again.

use sqlx::PgConnection;

use super::database::{Database, Fault};
use super::registry::{found, insert_sites};
use super::tries::Tries;
use crate::store::read::hostname as read;
use crate::store::records::{Listing, StoredSite};

/// Takes in what nobody has registered meanwhile. Of several that come with one name one holds it.
const TAKE_IN: &str = "
    WITH listed AS (
        SELECT *, row_number() OVER (PARTITION BY name ORDER BY place) AS rank
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::bigint[], $10::text[], $11::text[]) WITH ORDINALITY
            AS listed (name, organization, site, via, preview, proof, origin, redirect_to, redirect_status,
                metadata, wildcard, place)
        WHERE NOT EXISTS (SELECT 1 FROM hostnames
            WHERE hostnames.organization = listed.organization AND hostnames.name = listed.name)
    ), given AS (
        INSERT INTO proofs (organization, name, preview, proof)
        SELECT organization, name, preview, proof FROM listed
        ON CONFLICT (organization, name) DO UPDATE SET proof = proofs.proof
        RETURNING organization, name, preview, proof
    ), added AS (
        INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, origin, redirect_to,
            redirect_status, metadata, state, reason, looks, look_at, version, created_at, updated_at)
        SELECT name, organization, site, via,
            rank = 1 AND NOT EXISTS (SELECT 1 FROM hostnames WHERE hostnames.name = listed.name AND holder)
                AND NOT EXISTS (SELECT 1 FROM claims WHERE claims.name IN (listed.name, listed.wildcard)
                    AND claims.organization <> listed.organization)
                AND NOT EXISTS (SELECT 1 FROM hostnames WHERE hostnames.name = listed.wildcard AND holder
                    AND hostnames.organization <> listed.organization),
            given.preview, given.proof, origin, redirect_to, redirect_status, metadata, 'waiting', $12, 0,
            moment, 1, moment, moment
        FROM listed JOIN given USING (organization, name), unix_now() AS moment ORDER BY place
        RETURNING name, organization
    ), counted AS (
        INSERT INTO organizations (name, used, created_at)
        SELECT organization, count(*), unix_now() FROM added GROUP BY organization
        ON CONFLICT (name) DO UPDATE SET used = organizations.used + excluded.used
    ), unlisted AS (
        DELETE FROM unlisted WHERE name IN (SELECT name FROM added)
    ), told AS (
        INSERT INTO changes (kind, name) SELECT 'hostname', name FROM added
    )
    SELECT count(*) FROM added";

/// Takes them in; those that are there stay. How many hostnames came in.
pub async fn restore(database: &Database, sites: &[StoredSite], listings: &[Listing]) -> Result<u64, Fault> {
    let mut tries = Tries::new();
    loop {
        match try_to_restore(database, sites, listings).await {
            Err(fault) if tries.again(&fault) => {}
            other => return other,
        }
    }
}

async fn try_to_restore(
    database: &Database,
    sites: &[StoredSite],
    listings: &[Listing],
) -> Result<u64, Fault> {
    let mut transaction = database.pool.begin().await?;
    for site in sites {
        found(&mut transaction, site.organization.as_str()).await?;
    }
    if insert_sites(&mut transaction, sites).await? > 0 {
        sqlx::query("INSERT INTO changes (kind, name) VALUES ('site', '')")
            .execute(&mut *transaction)
            .await?;
    }
    // Whoever held a name comes first, and holds it again.
    let (holders, others): (Vec<&Listing>, Vec<&Listing>) =
        listings.iter().partition(|listing| listing.holder);
    let taken = take_in(&mut transaction, &holders).await? + take_in(&mut transaction, &others).await?;
    transaction.commit().await?;
    database.ring();
    Ok(taken)
}

async fn take_in(connection: &mut PgConnection, listings: &[&Listing]) -> Result<u64, Fault> {
    if listings.is_empty() {
        return Ok(0);
    }
    let of = |text: fn(&Listing) -> String| listings.iter().map(|one| text(one)).collect::<Vec<_>>();
    let may = |text: fn(&Listing) -> Option<String>| listings.iter().map(|one| text(one)).collect::<Vec<_>>();
    let statuses =
        listings.iter().map(|one| one.settings.redirect.as_ref().map(|redirect| i64::from(redirect.status)));
    let taken: i64 = sqlx::query_scalar(TAKE_IN)
        .bind(of(|one| one.name.to_string()))
        .bind(of(|one| one.organization.to_string()))
        .bind(of(|one| one.site.to_string()))
        .bind(of(|one| one.via.word().to_owned()))
        .bind(of(|one| one.preview.clone()))
        .bind(of(|one| one.proof.clone()))
        .bind(may(|one| one.settings.origin.as_ref().map(ToString::to_string)))
        .bind(may(|one| one.settings.redirect.as_ref().map(|redirect| redirect.to.as_str().to_owned())))
        .bind(statuses.collect::<Vec<_>>())
        .bind(may(|one| one.settings.metadata.as_deref().map(str::to_owned)))
        .bind(may(|one| read::wildcard_above(&one.name)))
        .bind(read::FRESH)
        .fetch_one(connection)
        .await?;
    Ok(taken.unsigned_abs())
}
