//! Organizations, tokens and sites as rows.

use async_trait::async_trait;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use super::SqliteStore;
use super::database::{Database, Durability, Fault, Operation};
use super::events;
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::label::Label;
use crate::store::Error;
use crate::store::read::registry as read;
pub(super) use crate::store::read::row::{covered, readable, unusable};
use crate::store::records::{Actor, Changed, Organization, Registry, StoredSite, Token};

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
pub(super) async fn found(
    connection: &mut SqliteConnection,
    name: &Label,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR IGNORE INTO organizations (name, created_at) VALUES (?1, ?2)")
        .bind(name.as_str())
        .bind(now.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that a site has changed.
async fn note_site_change(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO changes (name) VALUES (NULL)").execute(connection).await?;
    Ok(())
}

async fn organization(database: &Database, name: &Label) -> Result<Option<Organization>, Fault> {
    let row = sqlx::query("SELECT name, quota, used, created_at FROM organizations WHERE name = ?1")
        .bind(name.as_str())
        .fetch_optional(&database.readers)
        .await?;
    row.map(|row| read::organization(&row)).transpose()
}

async fn organizations(database: &Database, after: &str, limit: u32) -> Result<Vec<Organization>, Fault> {
    let rows = sqlx::query(
        "SELECT name, quota, used, created_at FROM organizations WHERE name > ?1 ORDER BY name LIMIT ?2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(&database.readers)
    .await?;
    rows.iter().map(read::organization).collect()
}

async fn set_quota(
    database: &Database,
    name: &Label,
    quota: Option<u32>,
    actor: Actor<'_>,
) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    found(&mut transaction, name, now).await?;
    sqlx::query("UPDATE organizations SET quota = ?2 WHERE name = ?1")
        .bind(name.as_str())
        .bind(quota)
        .execute(&mut *transaction)
        .await?;
    let event = events::New::of(EventKind::OrganizationUpdated, name, actor, json!({ "quota": quota }));
    event.insert(&mut transaction, now).await?;
    transaction.commit().await?;
    Ok(())
}

async fn add_token(database: &Database, token: &Token, actor: Actor<'_>) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(organization) = token.reach.organization() {
        found(&mut transaction, organization, database.now()).await?;
    }
    sqlx::query(
        "INSERT INTO tokens (id, organization, scope, hash, note, created_at, expires_at, revoked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(&token.id)
    .bind(token.reach.to_string())
    .bind(token.scope.word())
    .bind(token.hash.as_slice())
    .bind(&token.note)
    .bind(token.created_at.0)
    .bind(token.expires_at.map(|at| at.0))
    .bind(token.revoked_at.map(|at| at.0))
    .execute(&mut *transaction)
    .await?;
    events::New::of_token(token, actor).insert(&mut transaction, database.now()).await?;
    transaction.commit().await?;
    Ok(())
}

async fn token(database: &Database, id: &str) -> Result<Option<Token>, Fault> {
    let row = sqlx::query(token!("WHERE id = ?1")).bind(id).fetch_optional(&database.readers).await?;
    row.map(|row| read::token(&row)).transpose()
}

async fn tokens(database: &Database, reach: &Reach, after: &str, limit: u32) -> Result<Vec<Token>, Fault> {
    let query = match reach {
        Reach::All => sqlx::query(token!("WHERE id > ?1 ORDER BY id LIMIT ?2")),
        Reach::Organization(_) => {
            sqlx::query(token!("WHERE id > ?1 AND organization = ?3 ORDER BY id LIMIT ?2"))
        }
    };
    let rows = query.bind(after).bind(limit).bind(covered(reach)).fetch_all(&database.readers).await?;
    rows.iter().map(read::token).collect()
}

async fn revoke_token(database: &Database, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let revoked: Option<String> = sqlx::query_scalar(
        "UPDATE tokens SET revoked_at = ?2
         WHERE id = ?1 AND revoked_at IS NULL AND (?3 IS NULL OR organization = ?3)
         RETURNING organization",
    )
    .bind(id)
    .bind(now.0)
    .bind(covered(reach))
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(organization) = &revoked {
        let reach: Reach = organization.parse().map_err(|why| unusable("token", id, why))?;
        let detail = json!({ "token": id });
        let event = events::New::of_reach(EventKind::TokenRevoked, &reach, actor, detail);
        event.insert(&mut transaction, now).await?;
    }
    transaction.commit().await?;
    Ok(revoked.is_some())
}

async fn site(database: &Database, name: &Label) -> Result<Option<StoredSite>, Fault> {
    let row =
        sqlx::query(site!("WHERE name = ?1")).bind(name.as_str()).fetch_optional(&database.readers).await?;
    row.map(|row| read::site(&row)).transpose()
}

async fn sites(
    database: &Database,
    reach: &Reach,
    after: &str,
    limit: u32,
) -> Result<Vec<StoredSite>, Fault> {
    let query = match reach {
        Reach::All => sqlx::query(site!("WHERE name > ?1 ORDER BY name LIMIT ?2")),
        Reach::Organization(_) => {
            sqlx::query(site!("WHERE organization = ?3 AND name > ?1 ORDER BY name LIMIT ?2"))
        }
    };
    let rows = query.bind(after).bind(limit).bind(covered(reach)).fetch_all(&database.readers).await?;
    readable(&rows, read::site)
}

async fn add_site(database: &Database, site: &StoredSite, actor: Actor<'_>) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    found(&mut transaction, &site.organization, database.now()).await?;
    if !insert_site(&mut transaction, site, database.now()).await? {
        return Ok(false);
    }
    note_site_change(&mut transaction).await?;
    events::New::of_site(site, EventKind::SiteCreated, actor)
        .insert(&mut transaction, database.now())
        .await?;
    transaction.commit().await?;
    Ok(true)
}

/// The row; `false` where the name is taken, also by hostnames of another organization whose site of
/// this name is gone.
pub(super) async fn insert_site(
    connection: &mut SqliteConnection,
    site: &StoredSite,
    now: UnixTime,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query(
        "INSERT INTO sites (name, organization, origins, cname_target, version, created_at, updated_at)
         SELECT ?1, ?2, ?3, ?4, 1, ?5, ?5
         WHERE NOT EXISTS (SELECT 1 FROM hostnames WHERE site = ?1 AND organization <> ?2)
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(site.name.as_str())
    .bind(site.organization.as_str())
    .bind(read::origins_text(site))
    .bind(site.cname_target.as_ref().map(|target| target.as_str().to_owned()))
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() > 0)
}

async fn change_site(
    database: &Database,
    site: &StoredSite,
    based_on: Option<i64>,
    actor: Actor<'_>,
) -> Result<Changed<StoredSite>, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let row = sqlx::query(site!("WHERE name = ?1"))
        .bind(site.name.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(before) = row.map(|row| read::site(&row)).transpose()? else { return Ok(Changed::Absent) };
    if based_on.is_some_and(|version| version != before.version) {
        return Ok(Changed::Newer(before.version));
    }
    let changed = StoredSite {
        version: before.version + 1,
        updated_at: database.now(),
        organization: before.organization,
        created_at: before.created_at,
        ..site.clone()
    };
    sqlx::query(
        "UPDATE sites SET origins = ?2, cname_target = ?3, version = ?4, updated_at = ?5 WHERE name = ?1",
    )
    .bind(changed.name.as_str())
    .bind(read::origins_text(&changed))
    .bind(changed.cname_target.as_ref().map(|target| target.as_str().to_owned()))
    .bind(changed.version)
    .bind(changed.updated_at.0)
    .execute(&mut *transaction)
    .await?;
    note_site_change(&mut transaction).await?;
    events::New::of_site(&changed, EventKind::SiteUpdated, actor)
        .insert(&mut transaction, changed.updated_at)
        .await?;
    transaction.commit().await?;
    Ok(Changed::Done(changed))
}

async fn remove_site(database: &Database, name: &Label, actor: Actor<'_>) -> Result<Option<u64>, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let row =
        sqlx::query(site!("WHERE name = ?1")).bind(name.as_str()).fetch_optional(&mut *transaction).await?;
    let Some(site) = row.map(|row| read::site(&row)).transpose()? else { return Ok(None) };
    // Enough to say that there are some.
    let hostnames: i64 =
        sqlx::query_scalar("SELECT count(*) FROM (SELECT 1 FROM hostnames WHERE site = ?1 LIMIT 1000)")
            .bind(name.as_str())
            .fetch_one(&mut *transaction)
            .await?;
    if hostnames > 0 {
        return Ok(Some(hostnames.unsigned_abs()));
    }
    sqlx::query("DELETE FROM sites WHERE name = ?1").bind(name.as_str()).execute(&mut *transaction).await?;
    note_site_change(&mut transaction).await?;
    events::New::of_site(&site, EventKind::SiteDeleted, actor)
        .insert(&mut transaction, database.now())
        .await?;
    transaction.commit().await?;
    Ok(Some(0))
}

#[async_trait]
impl Registry for SqliteStore {
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
