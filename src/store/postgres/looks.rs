//! Looks at hostnames, and whose they are, as rows.

use serde_json::json;
use sqlx::PgConnection;

use super::database::{Database, Fault};
use super::hostnames::{columns, hostname, lock};
use super::text::plain;
use super::tries::Tries;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::registration::{Claim, Proof, Registration, State};
use crate::store::columns::Columns;
use crate::store::read::hostname as read;
use crate::store::read::row::readable;
use crate::store::records::{Claimed, Look};

/// Hostnames that are due and that no other machine holds, and holds them for a minute: a machine that asks
/// again meanwhile holds them for longer, and those of one that is gone are free then.
const DUE: &str = concat!(
    "WITH due AS MATERIALIZED (
        SELECT ",
    columns!(),
    ", held_by, held_until FROM hostnames
        WHERE look_at <= $1 AND (held_by IS NOT DISTINCT FROM $2 OR held_until <= (SELECT unix_now()))
        ORDER BY look_at, id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
    ), held AS (
        UPDATE hostnames SET held_by = $2, held_until = unix_now() + 60 FROM due
        WHERE hostnames.id = due.id
            AND (due.held_by IS DISTINCT FROM $2 OR due.held_until <= (SELECT unix_now()) + 30)
    )
    SELECT * FROM due ORDER BY look_at, id"
);

/// Keeps what a look came to, unless somebody took the name, or gave it back, or kept another look, during
/// the look; where another one was asked for meanwhile, that stays due. Tells what it found, and then how the
/// hostname stands, where that has changed.
const NOTE: &str = "
    WITH before AS MATERIALIZED (
        SELECT id, state, reason, looks, look_at, asked FROM hostnames
        WHERE id = $1 AND holder = $9 AND kept = $12 FOR UPDATE
    ), noted AS (
        UPDATE hostnames SET state = $2, reason = $3, diagnosis = $4, looked_at = $6,
            look_at = CASE WHEN before.asked = $8 THEN $7 ELSE before.look_at END,
            looks = CASE WHEN before.asked = $8 THEN $5 ELSE before.looks END, kept = kept + 1,
            held_by = NULL, held_until = 0
        FROM before WHERE hostnames.id = before.id
        RETURNING organization, site, name, before.state <> $2 OR ($2 = 'stuck' AND before.reason <> $3) AS changed
    )
    INSERT INTO fresh_events (at, organization, site, hostname, kind, detail)
    SELECT moment, organization, site, name, told.kind, told.detail
    FROM noted, unix_now() AS moment,
        unnest($10::text[], $11::text[]) WITH ORDINALITY AS told (kind, detail, place)
    WHERE changed OR place < cardinality($10::text[])
    ORDER BY place";

/// A claim, and whether the wildcard above is another organization's.
const STANDING: &str = "
    SELECT claims.organization, claims.proof, claims.since,
        EXISTS (SELECT 1 FROM hostnames WHERE name = $2 AND holder AND organization <> $3) AS below
    FROM (SELECT 1) AS one LEFT JOIN claims ON claims.name = $1";

/// Lets a hostname hold its name. Whoever loses it is looked at, and told why, soon.
const TAKE: [&str; 2] = [
    "WITH lost AS (
        UPDATE hostnames SET holder = false, look_at = unix_now(), asked = asked + 1
        WHERE name = $1 AND holder AND id <> $2
        RETURNING organization, site, name
    )
    INSERT INTO fresh_events (at, organization, site, hostname, kind, detail)
    SELECT unix_now(), organization, site, name, $3, '{}' FROM lost",
    "WITH held AS (
        UPDATE hostnames SET holder = true WHERE id = $2
    ), told AS (
        INSERT INTO changes (kind, name) VALUES ('hostname', $1)
    )
    INSERT INTO claims (name, organization, proof, since) VALUES ($1, $3, $4, unix_now())
    ON CONFLICT (name) DO UPDATE SET proof = excluded.proof, organization = excluded.organization,
        since = CASE WHEN claims.organization = excluded.organization THEN claims.since
            ELSE excluded.since END",
];

/// Up to `limit` hostnames whose look is due, and which no other machine looks at.
pub async fn due(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<Registration>, Fault> {
    let rows = sqlx::query(DUE)
        .bind(now.0)
        .bind(database.machine)
        .bind(i64::from(limit))
        .fetch_all(&database.pool)
        .await?;
    readable(&rows, read::registration)
}

/// Makes the look at the hostname of this number due at `at`, as if it were new.
pub async fn again(database: &Database, id: i64, at: UnixTime) -> Result<(), Fault> {
    sqlx::query("UPDATE hostnames SET look_at = $2, asked = asked + 1, looks = 0 WHERE id = $1")
        .bind(id)
        .bind(at.0)
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// Keeps what a look came to.
pub async fn note(database: &Database, id: i64, look: &Look) -> Result<(), Fault> {
    let standing = &look.standing;
    let kind = match standing.state {
        State::Waiting => EventKind::HostnameWaiting,
        State::Serving => EventKind::HostnameServing,
        State::Stuck => EventKind::HostnameStuck,
    };
    let change = (kind, json!({ "reason": standing.reason }));
    let told = look.events.iter().cloned().chain([change]);
    let (kinds, details): (Vec<&str>, Vec<String>) =
        told.map(|(kind, detail)| (kind.word(), detail.to_string())).unzip();
    sqlx::query(NOTE)
        .bind(id)
        .bind(standing.state.word())
        .bind(plain(&standing.reason))
        .bind(&standing.diagnosis)
        .bind(i64::from(standing.looks))
        .bind(standing.looked_at.map(|at| at.0))
        .bind(standing.look_at.0)
        .bind(look.turn.asked)
        .bind(look.holder)
        .bind(kinds)
        .bind(details)
        .bind(look.turn.kept)
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// Claims the name of the hostname of this number for its organization.
pub async fn claim_for(
    database: &Database,
    id: i64,
    proof: Proof,
    theirs_gone: bool,
) -> Result<Claimed, Fault> {
    let mut tries = Tries::new();
    loop {
        match try_to_claim(database, id, proof, theirs_gone).await {
            Err(fault) if tries.again(&fault) => {}
            other => return other,
        }
    }
}

async fn try_to_claim(
    database: &Database,
    id: i64,
    proof: Proof,
    theirs_gone: bool,
) -> Result<Claimed, Fault> {
    let row = sqlx::query(
        "SELECT hostnames.name, holder, claims.organization, claims.proof, claims.since
         FROM hostnames LEFT JOIN claims
             ON claims.name = hostnames.name AND claims.organization = hostnames.organization
         WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(&database.pool)
    .await?;
    let Some(row) = row else { return Ok(Claimed::Anothers(proof)) };
    let name = row.text("name")?;
    // As it is at nearly every look.
    if row.flag("holder")? && standing_of(&row, &name)?.is_some_and(|claim| claim.proof >= proof) {
        return Ok(Claimed::Held);
    }
    let mut transaction = database.pool.begin().await?;
    let all = lock(&mut transaction, &name).await?;
    let mine = all.iter().find(|row| row.number("id").is_ok_and(|number| number == id));
    let Some(mine) = mine.map(read::registration).transpose()? else { return Ok(Claimed::Anothers(proof)) };
    let other = all.iter().any(|row| row.flag("holder").is_ok_and(|holder| holder)) && !mine.holder;
    if let Some(claimed) = refusal(&mut transaction, &mine, other, proof, theirs_gone).await? {
        return Ok(claimed);
    }
    let [lose, hold] = TAKE;
    if other {
        let lost = sqlx::query(lose).bind(&name).bind(id).bind(EventKind::HostnameLost.word());
        lost.execute(&mut *transaction).await?;
    }
    sqlx::query(hold)
        .bind(&name)
        .bind(id)
        .bind(mine.organization.as_str())
        .bind(proof.word())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    database.ring();
    Ok(Claimed::Held)
}

/// A row's claim, if there is one.
fn standing_of(row: &impl Columns, name: &str) -> Result<Option<Claim>, Fault> {
    match row.maybe_text("organization")? {
        Some(_) => read::claim(row, name).map(Some),
        None => Ok(None),
    }
}

/// What comes of a claim that changes nothing; `None`: the name is to be taken.
///
/// - `other`: whether another hostname holds it
async fn refusal(
    connection: &mut PgConnection,
    mine: &Registration,
    other: bool,
    proof: Proof,
    theirs_gone: bool,
) -> Result<Option<Claimed>, Fault> {
    let row = sqlx::query(STANDING)
        .bind(mine.name.as_str())
        .bind(read::wildcard_above(&mine.name))
        .bind(mine.organization.as_str())
        .fetch_one(connection)
        .await?;
    let standing = standing_of(&row, mine.name.as_str())?;
    match &standing {
        Some(claim) if claim.organization == mine.organization && claim.proof >= proof && mine.holder => {
            return Ok(Some(Claimed::Held));
        }
        Some(claim) if claim.organization != mine.organization => {
            let yields = proof == Proof::Own && (claim.proof == Proof::Dns || theirs_gone);
            if !yields {
                return Ok(Some(Claimed::Anothers(claim.proof)));
            }
        }
        _ => {}
    }
    // Whoever was first holds the name for as long as nobody shows more than anybody could.
    let foreign = other || row.flag("below")?;
    Ok((standing.is_none() && proof == Proof::Dns && foreign).then_some(Claimed::Anothers(Proof::Dns)))
}

/// Whose the name is by proof.
pub async fn claim(database: &Database, name: &CertificateName) -> Result<Option<Claim>, Fault> {
    let row = sqlx::query("SELECT organization, proof, since FROM claims WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(&database.pool)
        .await?;
    row.map(|row| read::claim(&row, name.as_str())).transpose()
}

/// Who holds the name.
pub async fn holder(database: &Database, name: &CertificateName) -> Result<Option<Registration>, Fault> {
    let query = sqlx::query(hostname!("WHERE name = $1 AND holder")).bind(name.as_str());
    query.fetch_optional(&database.pool).await?.map(|row| read::registration(&row)).transpose()
}

/// Names that nobody lists.
pub async fn unlisted(database: &Database, limit: u32) -> Result<Vec<CertificateName>, Fault> {
    let rows: Vec<String> = sqlx::query_scalar("SELECT name FROM unlisted ORDER BY name LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(&database.pool)
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
    sqlx::query("DELETE FROM unlisted WHERE name = $1").bind(name).execute(&database.pool).await?;
    Ok(())
}
