//! Kept answers as rows, sealed, as some hold a secret.

use async_trait::async_trait;
use sqlx::{Connection, SqliteConnection};

use super::SqliteStore;
use super::database::{Database, Durability, Fault, Operation};
use crate::store::Error;
use crate::store::answers::{Answer, Answers, KEPT, Keyed, PER_CALLER, Turn, UNDER_WAY};
use crate::store::read::answer as read;

async fn take_turn(database: &Database, request: Keyed<'_>) -> Result<Turn, Fault> {
    let id = read::id(request);
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let found: Option<read::Row> =
        sqlx::query_as("SELECT fingerprint, sealed_answer, until FROM answers WHERE id = ?1 AND until > ?2")
            .bind(&id)
            .bind(now.0)
            .fetch_optional(&mut *transaction)
            .await?;
    if let Some(row) = found {
        return Ok(read::turn(&database.key, request, row)?);
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
    let id = read::id(request);
    let sealed = read::sealed(&database.key, request, answer)?;
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
        .bind(read::id(request))
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
