//! Kept answers as rows, sealed, as some hold a secret.

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use sqlx::{Connection, SqliteConnection};

use super::SqliteStore;
use super::database::{Database, Durability, Fault, Operation};
use crate::domain::clock::UnixTime;
use crate::store::answers::{Answer, Answers, KEPT, Keyed, PER_CALLER, Turn, UNDER_WAY};
use crate::store::seal::hexadecimal;
use crate::store::{Error, seal};

/// A row: of the request, its sealed answer, its end.
type Row = (Vec<u8>, Option<Vec<u8>>, i64);

/// The record an answer is sealed for.
///
/// - `fingerprint`: of the request
fn sealed_as<'a>(id: &'a str, fingerprint: &'a [u8]) -> seal::Record<'a> {
    crate::store::read::sealed::answer(id, fingerprint)
}

fn id(request: Keyed<'_>) -> String {
    let mut hash = Context::new(&SHA256);
    hash.update(&(request.caller.len() as u64).to_be_bytes());
    hash.update(request.caller.as_bytes());
    hash.update(request.key.as_bytes());
    hexadecimal(hash.finish().as_ref())
}

fn open(database: &Database, id: &str, fingerprint: &[u8], sealed: &[u8]) -> Result<Answer, Error> {
    let octets = database.key.open(sealed_as(id, fingerprint), sealed)?;
    serde_json::from_slice(&octets).map_err(|why| unusable(id, &why))
}

fn unusable(id: &str, why: &serde_json::Error) -> Error {
    Error::Record { what: "answer", of: id.into(), why: why.to_string() }
}

async fn take_turn(database: &Database, request: Keyed<'_>) -> Result<Turn, Fault> {
    let id = id(request);
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let found: Option<Row> =
        sqlx::query_as("SELECT fingerprint, sealed_answer, until FROM answers WHERE id = ?1 AND until > ?2")
            .bind(&id)
            .bind(now.0)
            .fetch_optional(&mut *transaction)
            .await?;
    if let Some((fingerprint, sealed, until)) = found {
        if fingerprint != request.fingerprint {
            return Ok(Turn::OtherRequest);
        }
        let Some(sealed) = sealed else { return Ok(Turn::Theirs(UnixTime(until))) };
        return Ok(Turn::Answered(open(database, &id, &fingerprint, &sealed)?));
    }
    sqlx::query("INSERT OR REPLACE INTO answers (id, caller, fingerprint, until) VALUES (?1, ?2, ?3, ?4)")
        .bind(&id)
        .bind(request.caller)
        .bind(request.fingerprint.as_slice())
        .bind(now.plus(UNDER_WAY).0)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Turn::Ours)
}

async fn keep_answer(database: &Database, request: Keyed<'_>, answer: &Answer) -> Result<(), Fault> {
    let id = id(request);
    let octets = serde_json::to_vec(answer).map_err(|why| unusable(&id, &why))?;
    let octets = zeroize::Zeroizing::new(octets);
    let sealed = database.key.seal(sealed_as(&id, &request.fingerprint), &octets);
    // What was done survives a power cut, so this must too.
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "UPDATE answers SET sealed_answer = ?3, until = ?4
         WHERE id = ?1 AND fingerprint = ?2 AND sealed_answer IS NULL",
    )
    .bind(&id)
    .bind(request.fingerprint.as_slice())
    .bind(sealed)
    .bind(database.now().plus(KEPT).0)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "DELETE FROM answers WHERE rowid IN (
             SELECT rowid FROM answers WHERE caller = ?1 AND sealed_answer IS NOT NULL
             ORDER BY until DESC LIMIT 10 OFFSET ?2)",
    )
    .bind(request.caller)
    .bind(PER_CALLER)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

async fn give_turn_back(database: &Database, request: Keyed<'_>) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM answers WHERE id = ?1 AND fingerprint = ?2 AND sealed_answer IS NULL")
        .bind(id(request))
        .bind(request.fingerprint.as_slice())
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// Gives all turns back: whoever had them lived in a process that is gone.
pub async fn void_turns(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM answers WHERE sealed_answer IS NULL").execute(connection).await?;
    Ok(())
}

async fn trim_answers(database: &Database) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    // A number of rows at a time, so that nobody waits long for the turn to write.
    sqlx::query(
        "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE until <= ?1 ORDER BY until LIMIT 5000)",
    )
    .bind(database.now().0)
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

#[async_trait]
impl Answers for SqliteStore {
    async fn take_turn(&self, request: Keyed<'_>) -> Result<Turn, Error> {
        let operation = Operation { label: "take_turn", doing: "see whether a request came before" };
        self.database.timed(operation, take_turn(&self.database, request)).await
    }

    async fn keep_answer(&self, request: Keyed<'_>, answer: &Answer) -> Result<(), Error> {
        let operation = Operation { label: "keep_answer", doing: "keep an answer" };
        self.database.timed(operation, keep_answer(&self.database, request, answer)).await
    }

    async fn give_turn_back(&self, request: Keyed<'_>) -> Result<(), Error> {
        let operation = Operation { label: "give_turn_back", doing: "let a request come again" };
        self.database.timed(operation, give_turn_back(&self.database, request)).await
    }

    async fn trim_answers(&self) -> Result<(), Error> {
        let operation = Operation { label: "trim_answers", doing: "forget old answers" };
        self.database.timed(operation, trim_answers(&self.database)).await
    }
}
