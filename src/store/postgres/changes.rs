//! The sequence of changes by which machines learn what others did.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use crate::store::Error;
use crate::store::changes::{Changes, KINDS, LOOK, News, read};

/// A change as it is stored: its number, its kind, the name it is about.
pub type Stored = (i64, String, String);

/// How many changes of a kind a machine may be behind before it reads everything again.
const KEPT: i64 = 100_000;
/// How often older ones are forgotten, by each machine.
const TRIM: Duration = Duration::from_secs(10 * 60);
/// The longest time between two looks of somebody who was brought no word.
const PATIENCE: Duration = Duration::from_secs(10);
const CHANNEL: &str = "nameplate_changes";
/// Numbers grow by at least as much, so the first one is not smaller: see `number_changes` in the schema.
const STEP: i64 = 1_048_576;

/// The number of the last change of one of these kinds; 0: there has never been one.
pub async fn last(database: &Database, kinds: &[&str]) -> Result<i64, Fault> {
    sqlx::query("SELECT number_changes() WHERE EXISTS (SELECT 1 FROM changes WHERE number IS NULL)")
        .execute(&database.pool)
        .await?;
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(last) FROM unnest($1::text[]) AS wanted (kind) CROSS JOIN LATERAL
             (SELECT number AS last FROM changes WHERE changes.kind = wanted.kind AND number IS NOT NULL
              ORDER BY number DESC LIMIT 1) AS of_kind",
    )
    .bind(kinds)
    .fetch_one(&database.pool)
    .await?;
    Ok(last.unwrap_or(0))
}

/// Up to `limit` changes of these kinds behind `after`; `None` where it is no number of this store, or is
/// forgotten.
pub async fn after(
    database: &Database,
    kinds: &[&str],
    after: i64,
    limit: u32,
) -> Result<Option<Vec<Stored>>, Fault> {
    let (known, fresh): (bool, bool) = sqlx::query_as(
        "SELECT $1 = 0 OR EXISTS (SELECT 1 FROM changes WHERE number = $1),
             EXISTS (SELECT 1 FROM changes WHERE number IS NULL)",
    )
    .bind(after)
    .fetch_one(&database.pool)
    .await?;
    if !known {
        return Ok(None);
    }
    if fresh {
        sqlx::query("SELECT number_changes()").execute(&database.pool).await?;
    }
    let rows = sqlx::query_as(
        "SELECT number, kind, name FROM changes WHERE number > $2 AND kind = ANY($1) ORDER BY number LIMIT $3",
    )
    .bind(kinds)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(&database.pool)
    .await?;
    Ok(Some(rows))
}

async fn news_after(database: &Database, number: i64, limit: u32) -> Result<News, Fault> {
    let Some(rows) = after(database, &KINDS, number, limit).await? else {
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT min(number) FROM changes WHERE kind = 'certificate'")
                .fetch_one(&database.pool)
                .await?;
        // A smaller number is of an embedded store. Where older changes of certificates are kept, none was
        // forgotten.
        let forgotten = number >= STEP && oldest.is_some_and(|oldest| oldest > number);
        return Ok(if forgotten { News::Forgotten } else { News::Elsewhere });
    };
    let known = |(number, kind, name): Stored| match read(&kind, &name) {
        Some(change) => Some((number, change)),
        None => {
            tracing::error!(kind, ?name, "a change is of a kind that this version does not know");
            None
        }
    };
    Ok(News::Next(rows.into_iter().filter_map(known).collect()))
}

#[async_trait]
impl Changes for PostgresStore {
    async fn last_news(&self) -> Result<i64, Error> {
        let operation = Operation { label: "last_news", doing: "look for the last change" };
        self.database.timed(operation, last(&self.database, &KINDS)).await
    }

    async fn news_after(&self, number: i64, limit: u32) -> Result<News, Error> {
        let operation = Operation { label: "news_after", doing: "read changes" };
        self.database.timed(operation, news_after(&self.database, number, limit)).await
    }

    async fn stirred(&self, seen: i64) -> i64 {
        let mut last = self.watch.last.subscribe();
        let grown = timeout(PATIENCE, last.wait_for(|last| *last != seen)).await;
        grown.map_or(seen, |last| last.map_or(seen, |last| *last))
    }
}

/// Follows the last change's number, and lets others know of this machine's own. Ends when it is dropped.
pub struct Watch {
    last: watch::Sender<i64>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// - `bell`: rung after a commit with changes
    pub fn begin(pool: PgPool, bell: Arc<Notify>) -> Self {
        let last = watch::Sender::new(0);
        let told = last.clone();
        Self { last, task: tokio::spawn(async move { follow(&pool, &bell, &told).await }) }
    }
}

async fn follow(pool: &PgPool, bell: &Notify, last: &watch::Sender<i64>) {
    let mut listener = None;
    let mut trim_at = Instant::now() + TRIM.mul_f64(rand::random());
    loop {
        if listener.is_none() {
            listener = listen(pool).await;
        }
        let rung = tokio::select! {
            // Sooner or later one comes, or its connection is found broken: then it is opened again.
            heard = hear(&mut listener) => {
                if !heard {
                    listener = None;
                }
                false
            }
            () = bell.notified() => true,
            () = sleep(LOOK) => false,
        };
        // What fails here fails the same way for whoever reads the changes, and is told there.
        match look(pool, rung).await {
            Ok(number) => drop(last.send_if_modified(|last| {
                let grown = number != *last;
                *last = number;
                grown
            })),
            Err(error) => tracing::debug!(%error, "the last change could not be looked for"),
        }
        if Instant::now() >= trim_at {
            trim_at = Instant::now() + TRIM.mul_f64(rand::random_range(0.5..1.5));
            if let Err(error) = trim(pool).await {
                tracing::debug!(%error, "old changes could not be forgotten");
            }
        }
    }
}

async fn listen(pool: &PgPool) -> Option<PgListener> {
    let listener = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    listener.await.inspect_err(|error| tracing::debug!(%error, "no word of changes is heard")).ok()
}

/// Whether word came, rather than the end of the connection.
async fn hear(listener: &mut Option<PgListener>) -> bool {
    match listener {
        Some(listener) => listener.try_recv().await.is_ok_and(|word| word.is_some()),
        None => std::future::pending().await,
    }
}

/// The last change's number; those that have none get it first.
async fn look(pool: &PgPool, rung: bool) -> Result<i64, sqlx::Error> {
    const LAST: &str =
        "SELECT coalesce(max(number), 0), EXISTS (SELECT 1 FROM changes WHERE number IS NULL) FROM changes";
    if !rung {
        let (last, fresh): (i64, bool) = sqlx::query_as(LAST).fetch_one(pool).await?;
        if !fresh {
            return Ok(last);
        }
    }
    sqlx::query("SELECT number_changes()").execute(pool).await?;
    let (last, _): (i64, bool) = sqlx::query_as(LAST).fetch_one(pool).await?;
    Ok(last)
}

/// Forgets all but the newest of each kind.
async fn trim(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM changes USING (
             WITH RECURSIVE kinds AS (
                 (SELECT kind FROM changes ORDER BY kind LIMIT 1)
                 UNION ALL
                 SELECT (SELECT kind FROM changes WHERE kind > kinds.kind ORDER BY kind LIMIT 1) FROM kinds
                 WHERE kinds.kind IS NOT NULL
             )
             SELECT kind, (SELECT number FROM changes WHERE changes.kind = kinds.kind
                           ORDER BY number DESC NULLS LAST OFFSET $1 LIMIT 1) AS last FROM kinds
         ) AS old
         WHERE changes.kind = old.kind AND changes.number <= old.last",
    )
    .bind(KEPT)
    .execute(pool)
    .await?;
    Ok(())
}
