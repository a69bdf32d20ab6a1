//! Kept answers as rows, sealed, as some hold a secret.

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use crate::store::Error;
use crate::store::answers::{Answer, Answers, KEPT, Keyed, PER_CALLER, Turn, UNDER_WAY};
use crate::store::read::answer as read;

/// Rows deleted at a time.
const BATCH: i64 = 5_000;

/// One statement, so that of all that come at once one gets the turn.
const TAKE: &str = "
    INSERT INTO answers (id, caller, fingerprint, until) VALUES ($1, $2, $3, unix_now() + $4)
    ON CONFLICT (id) DO UPDATE SET caller = excluded.caller, fingerprint = excluded.fingerprint,
        sealed_answer = NULL, until = excluded.until
    WHERE answers.until <= unix_now()";

/// Of the caller's others the newest stay.
const KEEP: &str = "
    WITH kept AS (
        UPDATE answers SET sealed_answer = $4, until = unix_now() + $5
        WHERE id = $1 AND fingerprint = $3 AND sealed_answer IS NULL RETURNING id
    )
    DELETE FROM answers WHERE id IN (
        SELECT id FROM answers
        WHERE caller = $2 AND sealed_answer IS NOT NULL AND EXISTS (SELECT 1 FROM kept)
        ORDER BY until DESC LIMIT 10 OFFSET $6)";

fn seconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

async fn take_turn(database: &Database, request: Keyed<'_>) -> Result<Turn, Fault> {
    let id = read::id(request);
    loop {
        let taken = sqlx::query(TAKE)
            .bind(&id)
            .bind(request.caller)
            .bind(request.fingerprint.as_slice())
            .bind(seconds(UNDER_WAY))
            .execute(&database.pool)
            .await?;
        if taken.rows_affected() > 0 {
            return Ok(Turn::Ours);
        }
        let found: Option<read::Row> = sqlx::query_as(
            "SELECT fingerprint, sealed_answer, until FROM answers WHERE id = $1 AND until > unix_now()",
        )
        .bind(&id)
        .fetch_optional(&database.pool)
        .await?;
        // None: the turn was given back, or ended, between the two.
        if let Some(row) = found {
            return Ok(read::turn(&database.key, request, row)?);
        }
    }
}

async fn keep_answer(database: &Database, request: Keyed<'_>, answer: &Answer) -> Result<(), Fault> {
    sqlx::query(KEEP)
        .bind(read::id(request))
        .bind(request.caller)
        .bind(request.fingerprint.as_slice())
        .bind(read::sealed(&database.key, request, answer)?)
        .bind(seconds(KEPT))
        .bind(i64::from(PER_CALLER) - 1)
        .execute(&database.pool)
        .await?;
    Ok(())
}

async fn give_turn_back(database: &Database, request: Keyed<'_>) -> Result<(), Fault> {
    sqlx::query("DELETE FROM answers WHERE id = $1 AND fingerprint = $2 AND sealed_answer IS NULL")
        .bind(read::id(request))
        .bind(request.fingerprint.as_slice())
        .execute(&database.pool)
        .await?;
    Ok(())
}

async fn trim_answers(database: &Database) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM answers
         WHERE id = ANY (ARRAY (
                 SELECT id FROM answers WHERE until <= (SELECT unix_now()) ORDER BY until LIMIT $1))
             AND until <= unix_now()",
    )
    .bind(BATCH)
    .execute(&database.pool)
    .await?;
    Ok(())
}

#[async_trait]
impl Answers for PostgresStore {
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
