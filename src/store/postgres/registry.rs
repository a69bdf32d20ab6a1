//! Organizations, tokens and sites as rows.

use async_trait::async_trait;
use serde_json::json;
use sqlx::PgConnection;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use super::events;
use super::text::plain;
use crate::domain::access::Reach;
use crate::domain::event::EventKind;
use crate::domain::label::Label;
use crate::store::Error;
use crate::store::read::registry as read;
use crate::store::read::row::{covered, readable, unusable};
use crate::store::records::{Actor, Changed, Organization, Registry, StoredSite, Token};
use crate::store::told::New;

macro_rules! token {
    ($rest:literal) => {
        concat!(
            "SELECT id, organization, scope, hash, note, created_at, expires_at, revoked_at FROM tokens ",
            $rest
        )
    };
}

macro_rules! site {
    ($rest:literal) => {
        concat!(
            "SELECT name, organization, origins, cname_target, version, created_at, updated_at FROM sites ",
            $rest
        )
    };
}

/// Makes the organization where it is missing.
pub(super) async fn found(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO organizations (name, created_at) VALUES ($1, unix_now()) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a site has changed.
pub(super) async fn note_site_change(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO changes (kind, name) VALUES ('site', '')").execute(connection).await?;
    Ok(())
}

async fn organization(database: &Database, name: &Label) -> Result<Option<Organization>, Fault> {
    let row = sqlx::query("SELECT name, quota, used, created_at FROM organizations WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(&database.pool)
        .await?;
    row.map(|row| read::organization(&row)).transpose()
}

async fn organizations(database: &Database, after: &str, limit: u32) -> Result<Vec<Organization>, Fault> {
    let rows = sqlx::query(
        "SELECT name, quota, used, created_at FROM organizations WHERE name > $1 ORDER BY name LIMIT $2",
    )
    .bind(plain(after))
    .bind(i64::from(limit))
    .fetch_all(&database.pool)
    .await?;
    rows.iter().map(read::organization).collect()
}

async fn set_quota(
    database: &Database,
    name: &Label,
    quota: Option<u32>,
    actor: Actor<'_>,
) -> Result<(), Fault> {
    let mut transaction = database.pool.begin().await?;
    sqlx::query(
        "INSERT INTO organizations (name, quota, created_at) VALUES ($1, $2, unix_now())
         ON CONFLICT (name) DO UPDATE SET quota = excluded.quota",
    )
    .bind(name.as_str())
    .bind(quota.map(i64::from))
    .execute(&mut *transaction)
    .await?;
    let event = New::of(EventKind::OrganizationUpdated, name, actor, json!({ "quota": quota }));
    events::insert(event, &mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

async fn add_token(database: &Database, token: &Token, actor: Actor<'_>) -> Result<(), Fault> {
    let mut transaction = database.pool.begin().await?;
    if let Some(organization) = token.reach.organization() {
        found(&mut transaction, organization.as_str()).await?;
    }
    sqlx::query(
        "INSERT INTO tokens (id, organization, scope, hash, note, created_at, expires_at, revoked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&token.id)
    .bind(token.reach.to_string())
    .bind(token.scope.word())
    .bind(token.hash.as_slice())
    .bind(plain(&token.note))
    .bind(token.created_at.0)
    .bind(token.expires_at.map(|at| at.0))
    .bind(token.revoked_at.map(|at| at.0))
    .execute(&mut *transaction)
    .await?;
    events::insert(New::of_token(token, actor), &mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

async fn token(database: &Database, id: &str) -> Result<Option<Token>, Fault> {
    let query = sqlx::query(token!("WHERE id = $1")).bind(plain(id));
    query.fetch_optional(&database.pool).await?.map(|row| read::token(&row)).transpose()
}

async fn tokens(database: &Database, reach: &Reach, after: &str, limit: u32) -> Result<Vec<Token>, Fault> {
    let query = match reach {
        Reach::All => token!("WHERE id > $1 AND $3::text IS NULL ORDER BY id LIMIT $2"),
        Reach::Organization(_) => token!("WHERE id > $1 AND organization = $3 ORDER BY id LIMIT $2"),
    };
    let query = sqlx::query(query).bind(plain(after)).bind(i64::from(limit)).bind(covered(reach));
    query.fetch_all(&database.pool).await?.iter().map(read::token).collect()
}

async fn revoke_token(database: &Database, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Fault> {
    let mut transaction = database.pool.begin().await?;
    let revoked: Option<String> = sqlx::query_scalar(
        "UPDATE tokens SET revoked_at = unix_now()
         WHERE id = $1 AND revoked_at IS NULL AND ($2::text IS NULL OR organization = $2)
         RETURNING organization",
    )
    .bind(plain(id))
    .bind(covered(reach))
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(organization) = &revoked {
        let reach: Reach = organization.parse().map_err(|why| unusable("token", id, why))?;
        let event = New::of_reach(EventKind::TokenRevoked, &reach, actor, json!({ "token": id }));
        events::insert(event, &mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(revoked.is_some())
}

async fn site(database: &Database, name: &Label) -> Result<Option<StoredSite>, Fault> {
    let query = sqlx::query(site!("WHERE name = $1")).bind(name.as_str());
    query.fetch_optional(&database.pool).await?.map(|row| read::site(&row)).transpose()
}

async fn sites(
    database: &Database,
    reach: &Reach,
    after: &str,
    limit: u32,
) -> Result<Vec<StoredSite>, Fault> {
    let query = match reach {
        Reach::All => site!("WHERE name > $1 AND $3::text IS NULL ORDER BY name LIMIT $2"),
        Reach::Organization(_) => site!("WHERE organization = $3 AND name > $1 ORDER BY name LIMIT $2"),
    };
    let query = sqlx::query(query).bind(plain(after)).bind(i64::from(limit)).bind(covered(reach));
    readable(&query.fetch_all(&database.pool).await?, read::site)
}

async fn add_site(database: &Database, site: &StoredSite, actor: Actor<'_>) -> Result<bool, Fault> {
    let mut transaction = database.pool.begin().await?;
    found(&mut transaction, site.organization.as_str()).await?;
    if insert_sites(&mut transaction, std::slice::from_ref(site)).await? == 0 {
        return Ok(false);
    }
    note_site_change(&mut transaction).await?;
    let event = New::of_site(site, EventKind::SiteCreated, actor);
    events::insert(event, &mut transaction).await?;
    transaction.commit().await?;
    database.ring();
    Ok(true)
}

/// The rows; without those whose name is taken, also by hostnames of another organization whose site of
/// this name is gone. How many that were.
pub(super) async fn insert_sites(
    connection: &mut PgConnection,
    sites: &[StoredSite],
) -> Result<u64, sqlx::Error> {
    let of = |text: fn(&StoredSite) -> String| sites.iter().map(text).collect::<Vec<_>>();
    let targets =
        sites.iter().map(|site| site.cname_target.as_ref().map(|target| target.as_str().to_owned()));
    let added = sqlx::query(
        "INSERT INTO sites (name, organization, origins, cname_target, version, created_at, updated_at)
         SELECT name, organization, origins, cname_target, 1, moment, moment
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
             AS site (name, organization, origins, cname_target), unix_now() AS moment
         WHERE CASE WHEN EXISTS (SELECT 1 FROM sites WHERE sites.name = site.name) THEN false
             ELSE (SELECT h.id FROM hostnames h WHERE h.site = site.name
                 AND h.organization <> site.organization ORDER BY h.name, h.id LIMIT 1) IS NULL END
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(of(|site| site.name.to_string()))
    .bind(of(|site| site.organization.to_string()))
    .bind(of(read::origins_text))
    .bind(targets.collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}

async fn change_site(
    database: &Database,
    site: &StoredSite,
    based_on: Option<i64>,
    actor: Actor<'_>,
) -> Result<Changed<StoredSite>, Fault> {
    let mut transaction = database.pool.begin().await?;
    let row = sqlx::query(
        "UPDATE sites SET origins = $2, cname_target = $3, version = version + 1, updated_at = unix_now()
         WHERE name = $1 AND ($4::bigint IS NULL OR version = $4)
         RETURNING name, organization, origins, cname_target, version, created_at, updated_at",
    )
    .bind(site.name.as_str())
    .bind(read::origins_text(site))
    .bind(site.cname_target.as_ref().map(|target| target.as_str()))
    .bind(based_on)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(changed) = row.map(|row| read::site(&row)).transpose()? else {
        let version: Option<i64> = sqlx::query_scalar("SELECT version FROM sites WHERE name = $1")
            .bind(site.name.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        return Ok(version.map_or(Changed::Absent, Changed::Newer));
    };
    note_site_change(&mut transaction).await?;
    events::insert(New::of_site(&changed, EventKind::SiteUpdated, actor), &mut transaction).await?;
    transaction.commit().await?;
    database.ring();
    Ok(Changed::Done(changed))
}

async fn remove_site(database: &Database, name: &Label, actor: Actor<'_>) -> Result<Option<u64>, Fault> {
    let mut transaction = database.pool.begin().await?;
    let query = sqlx::query(site!("WHERE name = $1 FOR UPDATE")).bind(name.as_str());
    let row = query.fetch_optional(&mut *transaction).await?;
    let Some(site) = row.map(|row| read::site(&row)).transpose()? else { return Ok(None) };
    // Enough to say that there are some.
    let hostnames: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM hostnames WHERE site = $1 ORDER BY name, id LIMIT 1000) AS found",
    )
    .bind(name.as_str())
    .fetch_one(&mut *transaction)
    .await?;
    if hostnames > 0 {
        return Ok(Some(hostnames.unsigned_abs()));
    }
    sqlx::query("DELETE FROM sites WHERE name = $1").bind(name.as_str()).execute(&mut *transaction).await?;
    note_site_change(&mut transaction).await?;
    events::insert(New::of_site(&site, EventKind::SiteDeleted, actor), &mut transaction).await?;
    transaction.commit().await?;
    database.ring();
    Ok(Some(0))
}

#[async_trait]
impl Registry for PostgresStore {
    async fn organization(&self, name: &Label) -> Result<Option<Organization>, Error> {
        let operation = Operation { label: "organization", doing: "look an organization up" };
        self.database.timed(operation, organization(&self.database, name)).await
    }

    async fn set_quota(&self, name: &Label, quota: Option<u32>, actor: Actor<'_>) -> Result<(), Error> {
        let operation = Operation { label: "set_quota", doing: "set an organization's quota" };
        self.database.timed(operation, set_quota(&self.database, name, quota, actor)).await
    }

    async fn organizations(&self, after: &str, limit: u32) -> Result<Vec<Organization>, Error> {
        let operation = Operation { label: "organizations", doing: "list organizations" };
        self.database.timed(operation, organizations(&self.database, after, limit)).await
    }

    async fn add_token(&self, token: &Token, actor: Actor<'_>) -> Result<(), Error> {
        let operation = Operation { label: "add_token", doing: "keep a token" };
        self.database.timed(operation, add_token(&self.database, token, actor)).await
    }

    async fn token(&self, id: &str) -> Result<Option<Token>, Error> {
        let operation = Operation { label: "token", doing: "look a token up" };
        self.database.timed(operation, token(&self.database, id)).await
    }

    async fn tokens(&self, reach: &Reach, after: &str, limit: u32) -> Result<Vec<Token>, Error> {
        let operation = Operation { label: "tokens", doing: "list tokens" };
        self.database.timed(operation, tokens(&self.database, reach, after, limit)).await
    }

    async fn revoke_token(&self, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Error> {
        let operation = Operation { label: "revoke_token", doing: "revoke a token" };
        self.database.timed(operation, revoke_token(&self.database, reach, id, actor)).await
    }

    async fn site(&self, name: &Label) -> Result<Option<StoredSite>, Error> {
        let operation = Operation { label: "site", doing: "look a site up" };
        self.database.timed(operation, site(&self.database, name)).await
    }

    async fn sites(&self, reach: &Reach, after: &str, limit: u32) -> Result<Vec<StoredSite>, Error> {
        let operation = Operation { label: "sites", doing: "list sites" };
        self.database.timed(operation, sites(&self.database, reach, after, limit)).await
    }

    async fn add_site(&self, site: &StoredSite, actor: Actor<'_>) -> Result<bool, Error> {
        let operation = Operation { label: "add_site", doing: "keep a site" };
        self.database.timed(operation, add_site(&self.database, site, actor)).await
    }

    async fn change_site(
        &self,
        site: &StoredSite,
        based_on: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Changed<StoredSite>, Error> {
        let operation = Operation { label: "change_site", doing: "change a site" };
        self.database.timed(operation, change_site(&self.database, site, based_on, actor)).await
    }

    async fn remove_site(&self, name: &Label, actor: Actor<'_>) -> Result<Option<u64>, Error> {
        let operation = Operation { label: "remove_site", doing: "take a site away" };
        self.database.timed(operation, remove_site(&self.database, name, actor)).await
    }
}
