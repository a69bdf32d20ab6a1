//! Lists of hostnames, and the store's side of the routing table.

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite};

use super::database::{Database, Fault, Operation};
use super::hostnames::{self, hostname};
use super::registry::{covered, readable, unusable};
use super::{SqliteStore, looks, restore};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Claim, Proof, Registration, Settings, State};
use crate::store::Error;
use crate::store::read::hostname as read;
use crate::store::records::{
    Actor, CHANGES_KEPT, Changed, Claimed, Cursor, EVENTS_KEPT, Filter, Hostnames, Listing, Look,
    NewHostname, Registered, StoredSite,
};

/// A part of a name that so many hostnames have is looked for along the list, not by the index of
/// parts.
const COMMON: i64 = 4_000;

macro_rules! listing {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, organization, site, via, holder, preview, proof, origin, redirect_to, redirect_status, metadata
             FROM hostnames ",
            $rest
        )
    };
}

/// What a list is made by; the parameters are those of [`Filter`], in its order, then the end of the
/// names, the part of a name, and its pieces.
fn list(filter: &Filter, rare: bool) -> Query<'static, Sqlite, SqliteArguments> {
    // Each names the index that gives the order, so that a page costs its own rows.
    match (&filter.site, filter.state, filter.reach.organization(), rare) {
        (_, _, _, true) => sqlx::query(hostname!(
            "WHERE id IN (SELECT rowid FROM hostname_texts WHERE name MATCH ?9)
                 AND (?1 IS NULL OR organization = ?1) AND (?2 IS NULL OR site = ?2)
                 AND (?3 IS NULL OR state = ?3) AND (+name, +id) > (?4, ?5) AND +name < ?7
                 AND instr(name, ?8) > 0 ORDER BY +name, +id LIMIT ?6"
        )),
        (Some(_), Some(_), _, _) => sqlx::query(hostname!(
            "INDEXED BY hostnames_by_site_and_state WHERE site = ?2 AND state = ?3 AND (name, id) > (?4, ?5)
                 AND name < ?7 AND (?1 IS NULL OR organization = ?1)
                 AND (?8 IS NULL OR instr(name, ?8) > 0) ORDER BY name, id LIMIT ?6"
        )),
        (Some(_), None, _, _) => sqlx::query(hostname!(
            "INDEXED BY hostnames_by_site WHERE site = ?2 AND (name, id) > (?4, ?5) AND name < ?7
                 AND (?1 IS NULL OR organization = ?1) AND ?3 IS NULL
                 AND (?8 IS NULL OR instr(name, ?8) > 0) ORDER BY name, id LIMIT ?6"
        )),
        (None, Some(_), Some(_), _) => sqlx::query(hostname!(
            "INDEXED BY hostnames_by_organization_and_state WHERE organization = ?1 AND state = ?3
                 AND (name, id) > (?4, ?5) AND name < ?7 AND ?2 IS NULL
                 AND (?8 IS NULL OR instr(name, ?8) > 0) ORDER BY name LIMIT ?6"
        )),
        (None, Some(_), None, _) => sqlx::query(hostname!(
            "INDEXED BY hostnames_by_state WHERE state = ?3 AND (name, id) > (?4, ?5) AND name < ?7
                 AND ?1 IS NULL AND ?2 IS NULL AND (?8 IS NULL OR instr(name, ?8) > 0)
                 ORDER BY name, id LIMIT ?6"
        )),
        (None, None, Some(_), _) => sqlx::query(hostname!(
            "INDEXED BY hostnames_by_organization WHERE organization = ?1 AND (name, id) > (?4, ?5)
                 AND name < ?7 AND ?2 IS NULL AND ?3 IS NULL AND (?8 IS NULL OR instr(name, ?8) > 0)
                 ORDER BY name LIMIT ?6"
        )),
        (None, None, None, _) => sqlx::query(hostname!(
            "INDEXED BY hostnames_by_name WHERE (name, id) > (?4, ?5) AND name < ?7 AND ?1 IS NULL
                 AND ?2 IS NULL AND ?3 IS NULL AND (?8 IS NULL OR instr(name, ?8) > 0)
                 ORDER BY name, id LIMIT ?6"
        )),
    }
}

/// The text as the index of parts is asked for it: all of it, in pieces of [`PART`](read::PART) octets. As a whole
/// it would take several times longer; names that have the pieces elsewhere fall out afterwards.
fn pieces(text: &str) -> String {
    let last = text.len() - read::PART;
    let begins = (0..last).step_by(read::PART).chain([last]);
    let pieces = begins.map(|begin| text[begin..begin + read::PART].replace('"', "\"\""));
    pieces.map(|piece| format!("\"{piece}\"")).collect::<Vec<_>>().join(" AND ")
}

/// Whether so few names have these pieces that all of them are looked at.
async fn is_rare(database: &Database, pieces: &str) -> Result<bool, Fault> {
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT rowid FROM hostname_texts WHERE name MATCH ?1 LIMIT ?2)",
    )
    .bind(pieces)
    .bind(COMMON)
    .fetch_one(&database.readers)
    .await?;
    Ok(found < COMMON)
}

async fn registrations(database: &Database, filter: &Filter) -> Result<Vec<Registration>, Fault> {
    let text = filter.text.as_deref().unwrap_or("").to_ascii_lowercase();
    if !read::possible(&text) {
        return Ok(Vec::new());
    }
    let (beginning, part) = if text.len() < read::PART { (text, None) } else { (String::new(), Some(text)) };
    let searched = part.as_deref().map(pieces);
    let rare = match &searched {
        Some(searched) => is_rare(database, searched).await?,
        None => false,
    };
    let mut after = filter.after.clone().unwrap_or(Cursor { name: String::new(), id: 0 });
    // Names with this beginning stand together, and no name has a character as great as the last one.
    if after.name < beginning {
        after = Cursor { name: beginning.clone(), id: 0 };
    }
    let search = Search { filter, rare, beginning, part, searched };
    let mut found = Vec::new();
    loop {
        let rest = filter.limit as usize - found.len();
        let rows = search.page(database, &after, rest).await?;
        found.append(&mut readable(&rows, read::registration)?);
        // Rows that cannot be read leave room for others behind them.
        match rows.last() {
            Some(last) if rows.len() == rest && found.len() < filter.limit as usize => {
                after = Cursor { name: last.try_get("name")?, id: last.try_get("id")? };
            }
            _ => return Ok(found),
        }
    }
}

/// What is looked for, and how.
struct Search<'a> {
    filter: &'a Filter,
    rare: bool,
    /// Of the names.
    beginning: String,
    /// Of a name, and its pieces.
    part: Option<String>,
    searched: Option<String>,
}

impl Search<'_> {
    /// Up to `limit` rows behind `after`.
    async fn page(
        &self,
        database: &Database,
        after: &Cursor,
        limit: usize,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let filter = self.filter;
        list(filter, self.rare)
            .bind(covered(&filter.reach))
            .bind(filter.site.as_ref().map(ToString::to_string))
            .bind(filter.state.map(State::word))
            .bind(after.name.clone())
            .bind(after.id)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(format!("{}\u{7f}", self.beginning))
            .bind(self.part.clone())
            .bind(self.searched.clone())
            .fetch_all(&database.readers)
            .await
    }
}

async fn count_states(database: &Database, reach: &Reach) -> Result<Vec<(State, u64)>, Fault> {
    let mut counts = Vec::new();
    for state in State::ALL {
        let query = match reach {
            Reach::All => sqlx::query_scalar(
                "SELECT count(*) FROM (SELECT 1 FROM hostnames INDEXED BY hostnames_by_state
                 WHERE state = ?1 AND ?2 IS NULL LIMIT ?3)",
            ),
            Reach::Organization(_) => sqlx::query_scalar(
                "SELECT count(*) FROM (SELECT 1 FROM hostnames INDEXED BY hostnames_by_organization_and_state
                 WHERE state = ?1 AND organization = ?2 LIMIT ?3)",
            ),
        };
        let query = query.bind(state.word()).bind(covered(reach)).bind(EVENTS_KEPT);
        let count: i64 = query.fetch_one(&database.readers).await?;
        counts.push((state, count.unsigned_abs()));
    }
    Ok(counts)
}

async fn registration(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
) -> Result<Option<Registration>, Fault> {
    let mut reader = database.readers.acquire().await?;
    hostnames::find(&mut reader, organization, name).await
}

async fn holder(database: &Database, name: &CertificateName) -> Result<Option<Registration>, Fault> {
    let row = sqlx::query(hostname!("WHERE name = ?1 AND holder = 1"))
        .bind(name.as_str())
        .fetch_optional(&database.readers)
        .await?;
    row.map(|row| read::registration(&row)).transpose()
}

async fn claim(database: &Database, name: &CertificateName) -> Result<Option<Claim>, Fault> {
    let mut reader = database.readers.acquire().await?;
    hostnames::claim(&mut reader, name).await
}

async fn listings_after(database: &Database, id: i64, limit: u32) -> Result<Vec<Listing>, Fault> {
    let rows = sqlx::query(listing!("WHERE id > ?1 ORDER BY id LIMIT ?2"))
        .bind(id)
        .bind(limit)
        .fetch_all(&database.readers)
        .await?;
    readable(&rows, read::listing)
}

async fn listings_of(database: &Database, name: &CertificateName) -> Result<Vec<Listing>, Fault> {
    let rows = sqlx::query(listing!("WHERE name = ?1 ORDER BY id"))
        .bind(name.as_str())
        .fetch_all(&database.readers)
        .await?;
    rows.iter().map(read::listing).collect()
}

async fn last_change(database: &Database) -> Result<i64, Fault> {
    // The number itself outlives the row that had it.
    let last: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        .fetch_optional(&database.readers)
        .await?;
    Ok(last.unwrap_or(0))
}

type Changes = Option<Vec<(i64, Option<CertificateName>)>>;

async fn changes_after(database: &Database, after: i64, limit: u32) -> Result<Changes, Fault> {
    // Read first, so that a change between the two statements is among the rows.
    let newest = last_change(database).await?;
    let rows: Vec<(i64, Option<String>)> =
        sqlx::query_as("SELECT id, name FROM changes WHERE id > ?1 ORDER BY id LIMIT ?2")
            .bind(after)
            .bind(limit)
            .fetch_all(&database.readers)
            .await?;
    // Where `after` is the greater one, it is another store's: this one was begun anew since.
    let Some((first, _)) = rows.first() else { return Ok((newest == after).then(Vec::new)) };
    if *first > after + 1 {
        return Ok(None);
    }
    let last = rows.last().map_or(after, |(id, _)| *id);
    if last / i64::from(CHANGES_KEPT) > after / i64::from(CHANGES_KEPT) {
        forget_changes(database, last - i64::from(CHANGES_KEPT)).await?;
    }
    let read = |(id, name): (i64, Option<String>)| {
        let name = name.map(|name| name.parse().map_err(|why| unusable("change", &name, why))).transpose()?;
        Ok((id, name))
    };
    rows.into_iter().map(read).collect::<Result<_, Fault>>().map(Some)
}

async fn forget_changes(database: &Database, until: i64) -> Result<(), Fault> {
    let mut writer = database.writer(super::database::Durability::Process).await?;
    sqlx::query("DELETE FROM changes WHERE id <= ?1").bind(until).execute(&mut *writer.connection).await?;
    Ok(())
}

#[async_trait]
impl Hostnames for SqliteStore {
    async fn register(&self, new: &NewHostname, actor: Actor<'_>) -> Result<Registered, Error> {
        let operation = Operation { label: "register", doing: "register a hostname" };
        self.database.timed(operation, hostnames::register(&self.database, new, actor)).await
    }

    async fn registration(
        &self,
        organization: &Label,
        name: &CertificateName,
    ) -> Result<Option<Registration>, Error> {
        let operation = Operation { label: "registration", doing: "look a hostname up" };
        self.database.timed(operation, registration(&self.database, organization, name)).await
    }

    async fn holder(&self, name: &CertificateName) -> Result<Option<Registration>, Error> {
        let operation = Operation { label: "holder", doing: "look up who holds a hostname" };
        self.database.timed(operation, holder(&self.database, name)).await
    }

    async fn claim(&self, name: &CertificateName) -> Result<Option<Claim>, Error> {
        let operation = Operation { label: "claim", doing: "look up whose a hostname is" };
        self.database.timed(operation, claim(&self.database, name)).await
    }

    async fn registrations(&self, filter: &Filter) -> Result<Vec<Registration>, Error> {
        let operation = Operation { label: "registrations", doing: "list hostnames" };
        self.database.timed(operation, registrations(&self.database, filter)).await
    }

    async fn count_states(&self, reach: &Reach) -> Result<Vec<(State, u64)>, Error> {
        let operation = Operation { label: "count_states", doing: "count hostnames" };
        self.database.timed(operation, count_states(&self.database, reach)).await
    }

    async fn configure(
        &self,
        organization: &Label,
        name: &CertificateName,
        settings: &Settings,
        based_on: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Changed<Registration>, Error> {
        let operation = Operation { label: "configure", doing: "change a hostname" };
        let changed = hostnames::configure(&self.database, organization, name, settings, based_on, actor);
        self.database.timed(operation, changed).await
    }

    async fn unregister(
        &self,
        organization: &Label,
        name: &CertificateName,
        actor: Actor<'_>,
    ) -> Result<Option<Registration>, Error> {
        let operation = Operation { label: "unregister", doing: "take a hostname away" };
        let gone = hostnames::unregister(&self.database, organization, name, actor);
        self.database.timed(operation, gone).await
    }

    async fn due_for_look(&self, now: UnixTime, limit: u32) -> Result<Vec<Registration>, Error> {
        let operation = Operation { label: "due_for_look", doing: "list the hostnames to look at" };
        self.database.timed(operation, looks::due(&self.database, now, limit)).await
    }

    async fn look_again(&self, id: i64, at: UnixTime) -> Result<(), Error> {
        let operation = Operation { label: "look_again", doing: "have a hostname looked at" };
        self.database.timed(operation, looks::again(&self.database, id, at)).await
    }

    async fn note_look(&self, id: i64, look: &Look) -> Result<(), Error> {
        let operation = Operation { label: "note_look", doing: "keep what a look at a hostname found" };
        self.database.timed(operation, looks::note(&self.database, id, look)).await
    }

    async fn claim_for(&self, id: i64, proof: Proof, theirs_gone: bool) -> Result<Claimed, Error> {
        let operation = Operation { label: "claim_for", doing: "claim a hostname" };
        self.database.timed(operation, looks::claim_for(&self.database, id, proof, theirs_gone)).await
    }

    async fn unlisted(&self, limit: u32) -> Result<Vec<CertificateName>, Error> {
        let operation = Operation { label: "unlisted", doing: "list names that nobody lists" };
        self.database.timed(operation, looks::unlisted(&self.database, limit)).await
    }

    async fn forget_unlisted(&self, name: &CertificateName) -> Result<(), Error> {
        let operation = Operation { label: "forget_unlisted", doing: "forget a name that nobody lists" };
        self.database.timed(operation, looks::forget_unlisted(&self.database, name.as_str())).await
    }

    async fn listings_after(&self, id: i64, limit: u32) -> Result<Vec<Listing>, Error> {
        let operation = Operation { label: "listings_after", doing: "read hostnames for routing" };
        self.database.timed(operation, listings_after(&self.database, id, limit)).await
    }

    async fn listings_of(&self, name: &CertificateName) -> Result<Vec<Listing>, Error> {
        let operation = Operation { label: "listings_of", doing: "read a hostname for routing" };
        self.database.timed(operation, listings_of(&self.database, name)).await
    }

    async fn restore(&self, sites: &[StoredSite], listings: &[Listing]) -> Result<u64, Error> {
        let operation = Operation { label: "restore", doing: "take lost hostnames in again" };
        self.database.timed(operation, restore::restore(&self.database, sites, listings)).await
    }

    async fn last_change(&self) -> Result<i64, Error> {
        let operation = Operation { label: "last_change", doing: "look for changes" };
        self.database.timed(operation, last_change(&self.database)).await
    }

    async fn changes_after(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<(i64, Option<CertificateName>)>>, Error> {
        let operation = Operation { label: "changes_after", doing: "read changes" };
        self.database.timed(operation, changes_after(&self.database, after, limit)).await
    }
}
