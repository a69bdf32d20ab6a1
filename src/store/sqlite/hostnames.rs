//! Hostnames as rows: how they come, are found, changed and go.

use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use super::database::{Database, Durability, Fault};
use super::events;
use super::registry::{found, unusable};
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Claim, Proof, Registration, Settings, Via};
use crate::store::read::hostname as read;
use crate::store::read::hostname::wildcard_above;
use crate::store::records::{Actor, Changed, NewHostname, Registered};
use crate::store::told;

/// Every column of a [`Registration`].
macro_rules! hostname {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, organization, site, via, holder, preview, proof, origin, redirect_to,
                redirect_status, metadata, state, reason, diagnosis, looks, looked_at, look_at, asked,
                kept, version, created_at, updated_at FROM hostnames ",
            $rest
        )
    };
}
pub(super) use hostname;

/// Notes that the routing table has to look at `name` again.
pub(super) async fn note_change(connection: &mut SqliteConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO changes (name) VALUES (?1)").bind(name).execute(connection).await?;
    Ok(())
}

/// The hostname of this organization.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    organization: &Label,
    name: &CertificateName,
) -> Result<Option<Registration>, Fault> {
    let row = sqlx::query(hostname!("WHERE organization = ?1 AND name = ?2"))
        .bind(organization.as_str())
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read::registration(&row)).transpose()
}

/// Whose the name is by proof.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    name: &CertificateName,
) -> Result<Option<Claim>, Fault> {
    let row = sqlx::query("SELECT organization, proof, since FROM claims WHERE name = ?1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read::claim(&row, name.as_str())).transpose()
}

/// Registers a hostname.
pub async fn register(database: &Database, new: &NewHostname, actor: Actor<'_>) -> Result<Registered, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    if let Some(existing) = find(&mut transaction, &new.organization, &new.name).await? {
        if existing.via == Via::OnDemand && new.via == Via::Api {
            let adopted = adopt(&mut transaction, existing, new, now, actor).await?;
            transaction.commit().await?;
            return Ok(Registered::Created(Box::new(adopted)));
        }
        return Ok(if existing.site == new.site {
            Registered::Existing(Box::new(existing))
        } else {
            Registered::OnAnotherSite(existing.site)
        });
    }
    found(&mut transaction, &new.organization, now).await?;
    let allowed: u32 = sqlx::query_scalar("SELECT coalesce(quota, ?2) FROM organizations WHERE name = ?1")
        .bind(new.organization.as_str())
        .bind(new.quota)
        .fetch_one(&mut *transaction)
        .await?;
    // What a visitor brings is not the organization's doing: it counts, and is not refused.
    let most = if new.via == Via::Api { allowed } else { u32::MAX };
    if !count(&mut transaction, &new.organization, most).await? {
        return Ok(Registered::QuotaReached(allowed));
    }
    insert(&mut transaction, new, now).await?;
    let registered = find(&mut transaction, &new.organization, &new.name).await?;
    let registered =
        registered.ok_or_else(|| unusable("hostname", new.name.as_str(), "it is gone at once"))?;
    note_change(&mut transaction, new.name.as_str()).await?;
    let detail = json!({ "via": new.via, "settings": told::settings(&new.settings) });
    let event = events::New::of(EventKind::HostnameCreated, &new.organization, actor, detail);
    event.at_site(&new.site).about(&new.name).insert(&mut transaction, now).await?;
    transaction.commit().await?;
    Ok(Registered::Created(Box::new(registered)))
}

/// Counts one hostname more, unless the organization has `most`; whether it was counted.
pub(super) async fn count(
    connection: &mut SqliteConnection,
    organization: &Label,
    most: u32,
) -> Result<bool, sqlx::Error> {
    let counted = sqlx::query("UPDATE organizations SET used = used + 1 WHERE name = ?1 AND used < ?2")
        .bind(organization.as_str())
        .bind(most)
        .execute(connection)
        .await?;
    Ok(counted.rows_affected() > 0)
}

/// Takes a hostname that nobody had registered for one that somebody has.
async fn adopt(
    connection: &mut SqliteConnection,
    before: Registration,
    new: &NewHostname,
    now: UnixTime,
    actor: Actor<'_>,
) -> Result<Registration, Fault> {
    sqlx::query("UPDATE hostnames SET via = ?2, site = ?3, look_at = ?4, asked = asked + 1 WHERE id = ?1")
        .bind(before.id)
        .bind(new.via.word())
        .bind(new.site.as_str())
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
    set(connection, before.id, &new.settings, now).await?;
    note_change(connection, new.name.as_str()).await?;
    let detail = json!({ "via": new.via, "settings": told::settings(&new.settings) });
    let event = events::New::of(EventKind::HostnameCreated, &new.organization, actor, detail);
    event.at_site(&new.site).about(&new.name).insert(connection, now).await?;
    let (via, site, settings) = (new.via, new.site.clone(), new.settings.clone());
    Ok(Registration { via, site, settings, version: before.version + 1, updated_at: now, ..before })
}

/// Sets what is set for the hostname of this number.
async fn set(
    connection: &mut SqliteConnection,
    id: i64,
    settings: &Settings,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE hostnames SET origin = ?2, redirect_to = ?3, redirect_status = ?4, metadata = ?5,
             version = version + 1, updated_at = ?6 WHERE id = ?1",
    )
    .bind(id)
    .bind(settings.origin.as_ref().map(ToString::to_string))
    .bind(settings.redirect.as_ref().map(|redirect| redirect.to.as_str().to_owned()))
    .bind(settings.redirect.as_ref().map(|redirect| redirect.status))
    .bind(settings.metadata.as_deref().map(str::to_owned))
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// The row, and all that stays with it.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    new: &NewHostname,
    now: UnixTime,
) -> Result<(), Fault> {
    let (name, organization) = (new.name.as_str(), new.organization.as_str());
    sqlx::query(
        "INSERT INTO proofs (organization, name, preview, proof) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (organization, name) DO NOTHING",
    )
    .bind(organization)
    .bind(name)
    .bind(&new.preview)
    .bind(&new.proof)
    .execute(&mut *connection)
    .await?;
    let settings = &new.settings;
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, origin, redirect_to,
             redirect_status, metadata, state, reason, looks, look_at, version, created_at, updated_at)
         SELECT ?2, ?1, ?3, ?4,
             NOT EXISTS (SELECT 1 FROM hostnames WHERE name = ?2 AND holder = 1)
                 AND NOT EXISTS (SELECT 1 FROM claims WHERE name IN (?2, ?11) AND organization <> ?1)
                 AND NOT EXISTS (SELECT 1 FROM hostnames
                     WHERE name = ?11 AND holder = 1 AND organization <> ?1),
             preview, proof, ?5, ?6, ?7, ?8, 'waiting', ?9, 0, ?10, 1, ?10, ?10
         FROM proofs WHERE organization = ?1 AND name = ?2 RETURNING id",
    )
    .bind(organization)
    .bind(name)
    .bind(new.site.as_str())
    .bind(new.via.word())
    .bind(settings.origin.as_ref().map(ToString::to_string))
    .bind(settings.redirect.as_ref().map(|redirect| redirect.to.as_str().to_owned()))
    .bind(settings.redirect.as_ref().map(|redirect| redirect.status))
    .bind(settings.metadata.as_deref().map(str::to_owned))
    .bind(read::FRESH)
    .bind(now.0)
    .bind(wildcard_above(&new.name))
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO hostname_texts (rowid, name) VALUES (?1, ?2)")
        .bind(id)
        .bind(name)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM unlisted WHERE name = ?1").bind(name).execute(connection).await?;
    Ok(())
}

/// Sets what is set for a hostname.
pub async fn configure(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
    settings: &Settings,
    based_on: Option<i64>,
    actor: Actor<'_>,
) -> Result<Changed<Registration>, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let Some(before) = find(&mut transaction, organization, name).await? else { return Ok(Changed::Absent) };
    if based_on.is_some_and(|version| version != before.version) {
        return Ok(Changed::Newer(before.version));
    }
    let now = database.now();
    set(&mut transaction, before.id, settings, now).await?;
    note_change(&mut transaction, name.as_str()).await?;
    let event = events::New::of(EventKind::HostnameUpdated, organization, actor, told::settings(settings));
    event.at_site(&before.site).about(name).insert(&mut transaction, now).await?;
    transaction.commit().await?;
    let (version, settings) = (before.version + 1, settings.clone());
    Ok(Changed::Done(Registration { version, settings, updated_at: now, ..before }))
}

/// Takes a hostname away; others that have the name are looked at soon.
pub async fn unregister(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
    actor: Actor<'_>,
) -> Result<Option<Registration>, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let Some(before) = find(&mut transaction, organization, name).await? else { return Ok(None) };
    let now = database.now();
    if before.holder {
        remember(&mut transaction, &before, now).await?;
    }
    // Its own certificates go with it.
    sqlx::query("DELETE FROM hostnames WHERE id = ?1").bind(before.id).execute(&mut *transaction).await?;
    sqlx::query("DELETE FROM hostname_texts WHERE rowid = ?1")
        .bind(before.id)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE organizations SET used = max(used - 1, 0) WHERE name = ?1")
        .bind(organization.as_str())
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE hostnames SET look_at = ?2, asked = asked + 1, looks = 0 WHERE name = ?1")
        .bind(name.as_str())
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
    withhold(&mut transaction, name).await?;
    note_change(&mut transaction, name.as_str()).await?;
    let event = events::New::of(EventKind::HostnameDeleted, organization, actor, json!({}));
    event.at_site(&before.site).about(name).insert(&mut transaction, now).await?;
    transaction.commit().await?;
    Ok(Some(before))
}

/// Claims a name that was served for whoever held it: its DNS, which may still lead here, is to let
/// nobody else have it.
async fn remember(
    connection: &mut SqliteConnection,
    before: &Registration,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR IGNORE INTO claims (name, organization, proof, since)
         SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM certificates WHERE name = ?1)
             OR EXISTS (SELECT 1 FROM own_certificates WHERE name = ?1 AND organization = ?2)",
    )
    .bind(before.name.as_str())
    .bind(before.organization.as_str())
    .bind(Proof::Dns.word())
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the certificate of a name that nobody has any more not be found: it is not served, and not
/// renewed. It stays, since an authority gives so many for a name and no more.
async fn withhold(connection: &mut SqliteConnection, name: &CertificateName) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE certificates SET withheld = 1, renew_at = NULL, late_at = NULL, ask_at = NULL, parked = NULL
         WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM hostnames WHERE name = ?1 AND holder = 1)",
    )
    .bind(name.as_str())
    .execute(connection)
    .await?;
    Ok(())
}
