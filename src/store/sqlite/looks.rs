//! Looks at hostnames, and whose they are, as rows.

use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use super::database::{Database, Durability, Fault};
use super::events;
use super::hostnames::{claim, hostname, note_change};
use super::registry::readable;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::registration::{Proof, Registration, State};
use crate::store::read::hostname as read;
use crate::store::read::hostname::wildcard_above;
use crate::store::records::{Claimed, Look};

/// Up to `limit` hostnames whose look is due.
pub async fn due(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<Registration>, Fault> {
    let rows = sqlx::query(hostname!("WHERE look_at <= ?1 ORDER BY look_at LIMIT ?2"))
        .bind(now.0)
        .bind(limit)
        .fetch_all(&database.readers)
        .await?;
    readable(&rows, read::registration)
}

/// Makes the look at the hostname of this number due at `at`, as if it were new.
pub async fn again(database: &Database, id: i64, at: UnixTime) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("UPDATE hostnames SET look_at = ?2, asked = asked + 1, looks = 0 WHERE id = ?1")
        .bind(id)
        .bind(at.0)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

async fn by_id(connection: &mut SqliteConnection, id: i64) -> Result<Option<Registration>, Fault> {
    let row = sqlx::query(hostname!("WHERE id = ?1")).bind(id).fetch_optional(connection).await?;
    row.map(|row| read::registration(&row)).transpose()
}

/// Keeps what a look came to.
pub async fn note(database: &Database, id: i64, look: &Look) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let Some(before) = by_id(&mut transaction, id).await? else { return Ok(()) };
    if look.holder != before.holder {
        // Somebody took the name, or gave it back, during the look: another one is due.
        return Ok(());
    }
    if look.turn.kept != before.turn.kept {
        // Another look was kept meanwhile: what it found is newer.
        return Ok(());
    }
    let (now, standing) = (database.now(), &look.standing);
    let asked_for = look.turn.asked != before.turn.asked;
    let (looks, look_at) = match asked_for {
        true => (before.standing.looks, before.standing.look_at),
        false => (standing.looks, standing.look_at),
    };
    sqlx::query(
        "UPDATE hostnames SET state = ?2, reason = ?3, diagnosis = ?4, looks = ?5, looked_at = ?6, look_at = ?7,
             kept = kept + 1
         WHERE id = ?1",
    )
    .bind(id)
    .bind(standing.state.word())
    .bind(&standing.reason)
    .bind(&standing.diagnosis)
    .bind(looks)
    .bind(standing.looked_at.map(|at| at.0))
    .bind(look_at.0)
    .execute(&mut *transaction)
    .await?;
    let changed = before.standing.state != standing.state
        || (standing.state == State::Stuck && before.standing.reason != standing.reason);
    let kind = match standing.state {
        State::Waiting => EventKind::HostnameWaiting,
        State::Serving => EventKind::HostnameServing,
        State::Stuck => EventKind::HostnameStuck,
    };
    let change = changed.then(|| (kind, json!({ "reason": standing.reason })));
    for (kind, detail) in look.events.iter().cloned().chain(change) {
        let event = events::New::of(kind, &before.organization, None, detail);
        event.at_site(&before.site).about(&before.name).insert(&mut transaction, now).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Whether another organization holds the wildcard that covers the name.
async fn is_below_anothers(
    connection: &mut SqliteConnection,
    mine: &Registration,
) -> Result<bool, sqlx::Error> {
    let Some(wildcard) = wildcard_above(&mine.name) else { return Ok(false) };
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM hostnames WHERE name = ?1 AND holder = 1 AND organization <> ?2")
            .bind(wildcard)
            .bind(mine.organization.as_str())
            .fetch_optional(connection)
            .await?;
    Ok(found.is_some())
}

/// Claims the name of the hostname of this number for its organization.
pub async fn claim_for(
    database: &Database,
    id: i64,
    proof: Proof,
    theirs_gone: bool,
) -> Result<Claimed, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let Some(mine) = by_id(&mut transaction, id).await? else { return Ok(Claimed::Anothers(proof)) };
    let standing = claim(&mut transaction, &mine.name).await?;
    match &standing {
        Some(claim) if claim.organization == mine.organization && claim.proof >= proof && mine.holder => {
            return Ok(Claimed::Held);
        }
        Some(claim) if claim.organization != mine.organization => {
            let yields = proof == Proof::Own && (claim.proof == Proof::Dns || theirs_gone);
            if !yields {
                return Ok(Claimed::Anothers(claim.proof));
            }
        }
        _ => {}
    }
    let other = other_holder(&mut transaction, &mine).await?;
    // Whoever was first holds the name for as long as nobody shows more than anybody could.
    let foreign = other.is_some() || is_below_anothers(&mut transaction, &mine).await?;
    if standing.is_none() && proof == Proof::Dns && foreign {
        return Ok(Claimed::Anothers(Proof::Dns));
    }
    let now = database.now();
    if let Some(theirs) = other {
        lose(&mut transaction, &theirs, now).await?;
    }
    sqlx::query("UPDATE hostnames SET holder = 1 WHERE id = ?1").bind(id).execute(&mut *transaction).await?;
    sqlx::query(
        "INSERT INTO claims (name, organization, proof, since) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET proof = excluded.proof, organization = excluded.organization,
             since = CASE WHEN claims.organization = excluded.organization THEN claims.since
                 ELSE excluded.since END",
    )
    .bind(mine.name.as_str())
    .bind(mine.organization.as_str())
    .bind(proof.word())
    .bind(now.0)
    .execute(&mut *transaction)
    .await?;
    note_change(&mut transaction, mine.name.as_str()).await?;
    transaction.commit().await?;
    Ok(Claimed::Held)
}

/// Who else holds the name.
async fn other_holder(
    connection: &mut SqliteConnection,
    mine: &Registration,
) -> Result<Option<Registration>, Fault> {
    let row = sqlx::query(hostname!("WHERE name = ?1 AND holder = 1 AND id <> ?2"))
        .bind(mine.name.as_str())
        .bind(mine.id)
        .fetch_optional(connection)
        .await?;
    row.map(|row| read::registration(&row)).transpose()
}

/// Takes the name from another organization that holds it; it is looked at, and told why, soon.
async fn lose(
    connection: &mut SqliteConnection,
    theirs: &Registration,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE hostnames SET holder = 0, look_at = ?2, asked = asked + 1 WHERE id = ?1")
        .bind(theirs.id)
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
    let event = events::New::of(EventKind::HostnameLost, &theirs.organization, None, json!({}));
    event.at_site(&theirs.site).about(&theirs.name).insert(connection, now).await
}

/// Names that nobody lists.
pub async fn unlisted(database: &Database, limit: u32) -> Result<Vec<CertificateName>, Fault> {
    let rows: Vec<String> = sqlx::query_scalar("SELECT name FROM unlisted ORDER BY name LIMIT ?1")
        .bind(limit)
        .fetch_all(&database.readers)
        .await?;
    let mut names = Vec::with_capacity(rows.len());
    for row in rows {
        match row.parse() {
            Ok(name) => names.push(name),
            Err(error) => {
                tracing::error!(name = ?row, %error, "a stored certificate has no valid name");
                forget_unlisted(database, &row).await?;
            }
        }
    }
    Ok(names)
}

/// Forgets that `name` is not listed.
pub async fn forget_unlisted(database: &Database, name: &str) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM unlisted WHERE name = ?1").bind(name).execute(&mut *writer.connection).await?;
    Ok(())
}
