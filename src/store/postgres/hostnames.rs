//! Hostnames as rows: how they come, are found, changed and go.

use serde_json::json;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::database::{Database, Fault};
use super::tries::Tries;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Proof, Registration, Settings, Via};
use crate::store::columns::Columns;
use crate::store::read::hostname as read;
use crate::store::read::row::unusable;
use crate::store::records::{Actor, Changed, NewHostname, Registered};
use crate::store::told;

/// Every column of a [`Registration`].
macro_rules! columns {
    () => {
        "id, name, organization, site, via, holder, preview, proof, origin, redirect_to, redirect_status,
            metadata, state, reason, diagnosis, looks, looked_at, look_at, asked, kept, version,
            created_at, updated_at"
    };
}
pub(super) use columns;

macro_rules! hostname {
    ($rest:literal) => {
        concat!("SELECT ", $crate::store::postgres::hostnames::columns!(), " FROM hostnames ", $rest)
    };
}
pub(super) use hostname;

/// One statement for a hostname that is new or there already; where neither comes of it, the organization
/// has as many as it may. Of two that do the same at once one fails, by a unique index, and is done again.
const REGISTER: &str = concat!(
    "WITH existing AS (",
    hostname!("WHERE organization = $1 AND name = $2"),
    "), counted AS (
        INSERT INTO organizations (name, used, created_at)
        SELECT $1, 1, unix_now() WHERE NOT EXISTS (SELECT 1 FROM existing)
            AND ($3 > 0 OR NOT $4 OR EXISTS (SELECT 1 FROM organizations WHERE name = $1))
        ON CONFLICT (name) DO UPDATE SET used = organizations.used + 1
            WHERE NOT $4 OR organizations.used < coalesce(organizations.quota, $3)
        RETURNING 1
    ), given AS (
        INSERT INTO proofs (organization, name, preview, proof) SELECT $1, $2, $5, $6 FROM counted
        ON CONFLICT (organization, name) DO UPDATE SET proof = proofs.proof RETURNING preview, proof
    ), added AS (
        INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, origin, redirect_to,
            redirect_status, metadata, state, reason, looks, look_at, version, created_at, updated_at)
        SELECT $2, $1, $7, $8,
            NOT EXISTS (SELECT 1 FROM hostnames WHERE name = $2 AND holder)
                AND NOT EXISTS (SELECT 1 FROM claims WHERE name IN ($2, $13) AND organization <> $1)
                AND NOT EXISTS (SELECT 1 FROM hostnames WHERE name = $13 AND holder AND organization <> $1),
            preview, proof, $9, $10, $11, $12, 'waiting', $14, 0, moment, 1, moment, moment
        FROM given, unix_now() AS moment RETURNING ",
    columns!(),
    "), listed AS (
        DELETE FROM unlisted WHERE name = $2 AND EXISTS (SELECT 1 FROM added)
    ), changed AS (
        INSERT INTO changes (kind, name) SELECT 'hostname', name FROM added
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, actor, detail)
        SELECT created_at, organization, site, name, $15, $16, $17 FROM added
    )
    SELECT TRUE AS fresh, added.* FROM added UNION ALL SELECT FALSE, existing.* FROM existing"
);

/// Sets what is set for a hostname, where its version is the one that is expected.
const CONFIGURE: &str = concat!(
    "WITH changed AS (
        UPDATE hostnames SET origin = $3, redirect_to = $4, redirect_status = $5, metadata = $6,
            version = version + 1, updated_at = unix_now()
        WHERE organization = $1 AND name = $2 AND ($7::bigint IS NULL OR version = $7) RETURNING ",
    columns!(),
    "), told AS (
        INSERT INTO changes (kind, name) SELECT 'hostname', name FROM changed
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, actor, detail)
        SELECT updated_at, organization, site, name, $8, $9, $10 FROM changed
    )
    SELECT * FROM changed"
);

/// Takes a hostname that nobody had registered for one that somebody has.
const ADOPT: &str = concat!(
    "WITH adopted AS (
        UPDATE hostnames SET via = $2, site = $3, look_at = unix_now(), asked = asked + 1, origin = $4,
            redirect_to = $5, redirect_status = $6, metadata = $7, version = version + 1, updated_at = unix_now()
        WHERE id = $1 AND via = $8 RETURNING ",
    columns!(),
    "), told AS (
        INSERT INTO changes (kind, name) SELECT 'hostname', name FROM adopted
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, actor, detail)
        SELECT updated_at, organization, site, name, $9, $10, $11 FROM adopted
    )
    SELECT * FROM adopted"
);

/// All that goes with a hostname; whoever else has the name is looked at soon. Its name's rows are locked.
///
/// A name that was served is claimed for whoever held it: its DNS, which may still lead here, is to let
/// nobody else have it. The certificate of a name that nobody has any more is not found: it is not served,
/// and not renewed. It stays, since an authority gives so many for a name and no more.
const UNREGISTER: &str = "
    WITH gone AS (
        DELETE FROM hostnames WHERE id = $1 RETURNING id, name, organization, site, holder
    ), remembered AS (
        INSERT INTO claims (name, organization, proof, since)
        SELECT name, organization, $2, unix_now() FROM gone
        WHERE holder AND (EXISTS (SELECT 1 FROM certificates WHERE certificates.name = gone.name)
            OR EXISTS (SELECT 1 FROM own_certificates
                WHERE own_certificates.name = gone.name AND own_certificates.organization = gone.organization))
        ON CONFLICT DO NOTHING
    ), counted AS (
        UPDATE organizations SET used = greatest(used - 1, 0) WHERE name = (SELECT organization FROM gone)
    ), looked AS (
        UPDATE hostnames SET look_at = unix_now(), asked = asked + 1, looks = 0
        WHERE name = (SELECT name FROM gone) AND id <> $1
    ), withheld AS (
        UPDATE certificates SET withheld = true, renew_at = NULL, late_at = NULL, ask_at = NULL, parked = NULL
        WHERE name = (SELECT name FROM gone) AND NOT EXISTS (
            SELECT 1 FROM hostnames WHERE name = (SELECT name FROM gone) AND holder AND id <> $1)
    ), told AS (
        INSERT INTO changes (kind, name) SELECT 'hostname', name FROM gone
    )
    INSERT INTO fresh_events (at, organization, site, hostname, kind, actor, detail)
    SELECT unix_now(), organization, site, name, $3, $4, $5 FROM gone";

/// Values of the settings' columns.
struct Set {
    origin: Option<String>,
    redirect_to: Option<String>,
    redirect_status: Option<i64>,
    metadata: Option<String>,
}

impl Set {
    fn of(settings: &Settings) -> Self {
        let redirect = settings.redirect.as_ref();
        Self {
            origin: settings.origin.as_ref().map(ToString::to_string),
            redirect_to: redirect.map(|redirect| redirect.to.as_str().to_owned()),
            redirect_status: redirect.map(|redirect| i64::from(redirect.status)),
            metadata: settings.metadata.as_deref().map(str::to_owned),
        }
    }
}

/// The hostname of this organization.
pub async fn find(
    connection: &mut PgConnection,
    organization: &Label,
    name: &CertificateName,
) -> Result<Option<Registration>, Fault> {
    let row = sqlx::query(hostname!("WHERE organization = $1 AND name = $2"))
        .bind(organization.as_str())
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read::registration(&row)).transpose()
}

/// Registers a hostname.
pub async fn register(database: &Database, new: &NewHostname, actor: Actor<'_>) -> Result<Registered, Fault> {
    let mut tries = Tries::new();
    loop {
        match try_to_register(database, new, actor).await {
            Ok(Some(registered)) => return Ok(registered),
            // It was there, and is gone.
            Ok(None) => {}
            Err(fault) if tries.again(&fault) => {}
            Err(fault) => return Err(fault),
        }
    }
}

async fn try_to_register(
    database: &Database,
    new: &NewHostname,
    actor: Actor<'_>,
) -> Result<Option<Registered>, Fault> {
    let set = Set::of(&new.settings);
    let detail = json!({ "via": new.via, "settings": told::settings(&new.settings) });
    let row = sqlx::query(REGISTER)
        .bind(new.organization.as_str())
        .bind(new.name.as_str())
        .bind(i64::from(new.quota))
        // What a visitor brings is not the organization's doing: it counts, and is not refused.
        .bind(new.via == Via::Api)
        .bind(&new.preview)
        .bind(&new.proof)
        .bind(new.site.as_str())
        .bind(new.via.word())
        .bind(set.origin)
        .bind(set.redirect_to)
        .bind(set.redirect_status)
        .bind(set.metadata)
        .bind(read::wildcard_above(&new.name))
        .bind(read::FRESH)
        .bind(EventKind::HostnameCreated.word())
        .bind(actor)
        .bind(detail.to_string())
        .fetch_optional(&database.pool)
        .await?;
    let Some(row) = row else { return Ok(Some(Registered::QuotaReached(quota(database, new).await?))) };
    let found = read::registration(&row)?;
    if row.flag("fresh")? {
        database.ring();
        return Ok(Some(Registered::Created(Box::new(found))));
    }
    if found.via == Via::OnDemand && new.via == Via::Api {
        let adopted = adopt(database, found.id, new, actor).await?;
        return Ok(adopted.map(|adopted| Registered::Created(Box::new(adopted))));
    }
    Ok(Some(if found.site == new.site {
        Registered::Existing(Box::new(found))
    } else {
        Registered::OnAnotherSite(found.site)
    }))
}

async fn quota(database: &Database, new: &NewHostname) -> Result<u32, Fault> {
    let own: Option<Option<i64>> = sqlx::query_scalar("SELECT quota FROM organizations WHERE name = $1")
        .bind(new.organization.as_str())
        .fetch_optional(&database.pool)
        .await?;
    let own = own.flatten().map(u32::try_from).transpose();
    let own = own.map_err(|why| unusable("organization", new.organization.as_str(), why))?;
    Ok(own.unwrap_or(new.quota))
}

async fn adopt(
    database: &Database,
    id: i64,
    new: &NewHostname,
    actor: Actor<'_>,
) -> Result<Option<Registration>, Fault> {
    let set = Set::of(&new.settings);
    let detail = json!({ "via": new.via, "settings": told::settings(&new.settings) });
    let row = sqlx::query(ADOPT)
        .bind(id)
        .bind(new.via.word())
        .bind(new.site.as_str())
        .bind(set.origin)
        .bind(set.redirect_to)
        .bind(set.redirect_status)
        .bind(set.metadata)
        .bind(Via::OnDemand.word())
        .bind(EventKind::HostnameCreated.word())
        .bind(actor)
        .bind(detail.to_string())
        .fetch_optional(&database.pool)
        .await?;
    database.ring();
    row.map(|row| read::registration(&row)).transpose()
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
    let set = Set::of(settings);
    let row = sqlx::query(CONFIGURE)
        .bind(organization.as_str())
        .bind(name.as_str())
        .bind(set.origin)
        .bind(set.redirect_to)
        .bind(set.redirect_status)
        .bind(set.metadata)
        .bind(based_on)
        .bind(EventKind::HostnameUpdated.word())
        .bind(actor)
        .bind(told::settings(settings).to_string())
        .fetch_optional(&database.pool)
        .await?;
    if let Some(row) = row {
        database.ring();
        return Ok(Changed::Done(read::registration(&row)?));
    }
    let version: Option<i64> =
        sqlx::query_scalar("SELECT version FROM hostnames WHERE organization = $1 AND name = $2")
            .bind(organization.as_str())
            .bind(name.as_str())
            .fetch_optional(&database.pool)
            .await?;
    Ok(version.map_or(Changed::Absent, Changed::Newer))
}

/// The rows of a name, which stay as they are until the end of the transaction.
pub async fn lock(connection: &mut PgConnection, name: &str) -> Result<Vec<PgRow>, sqlx::Error> {
    let query = sqlx::query(hostname!("WHERE name = $1 ORDER BY id FOR UPDATE")).bind(name);
    query.fetch_all(connection).await
}

/// Takes a hostname away; others that have the name are looked at soon.
pub async fn unregister(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
    actor: Actor<'_>,
) -> Result<Option<Registration>, Fault> {
    let mut tries = Tries::new();
    loop {
        match try_to_unregister(database, organization, name, actor).await {
            Err(fault) if tries.again(&fault) => {}
            other => return other,
        }
    }
}

async fn try_to_unregister(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
    actor: Actor<'_>,
) -> Result<Option<Registration>, Fault> {
    let mut transaction = database.pool.begin().await?;
    // All of them: who holds the name then is seen by the next statement.
    let all = lock(&mut transaction, name.as_str()).await?;
    let ours = all.iter().find(|row| row.text("organization").is_ok_and(|of| of == organization.as_str()));
    let Some(before) = ours.map(read::registration).transpose()? else { return Ok(None) };
    sqlx::query(UNREGISTER)
        .bind(before.id)
        .bind(Proof::Dns.word())
        .bind(EventKind::HostnameDeleted.word())
        .bind(actor)
        .bind("{}")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    database.ring();
    Ok(Some(before))
}
