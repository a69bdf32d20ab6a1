//! Lists of hostnames, and the store's side of the routing table.

use async_trait::async_trait;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

use super::changes::{self, Stored};
use super::database::{Database, Fault, Operation};
use super::hostnames::{self, hostname};
use super::text::plain;
use super::{PostgresStore, looks, restore};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Claim, Proof, Registration, Settings, State};
use crate::store::Error;
use crate::store::columns::Columns;
use crate::store::read::hostname as read;
use crate::store::read::hostname::PART;
use crate::store::read::row::{covered, readable, unusable};
use crate::store::records::{
    Actor, Changed, Claimed, Cursor, EVENTS_KEPT, Filter, Hostnames, Listing, Look, NewHostname, Registered,
    StoredSite,
};

/// The kinds of changes that routing follows.
const KINDS: [&str; 2] = ["hostname", "site"];
/// So many hostnames of a list are looked at for a part of their name, before the index of parts is asked:
/// it costs what all hostnames with that part cost, and most texts that many have are found at once.
const WALK: i64 = 2_000;

macro_rules! listing {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, organization, site, via, holder, preview, proof, origin, redirect_to, redirect_status, metadata
             FROM hostnames ",
            $rest
        )
    };
}

/// A list in the order of an index, and of the first [`WALK`] of it the page of those with a part in their
/// name. The parameters are those of [`Filter`] in its order, then the end of the names, the part, and how
/// many of those that were walked past are wanted.
macro_rules! list {
    ($rest:literal) => {
        [
            hostname!($rest),
            concat!(
                "WITH walked AS MATERIALIZED (",
                hostname!($rest),
                ") SELECT * FROM walked WHERE strpos(name, $8) > 0 ORDER BY name, id LIMIT $9"
            ),
        ]
    };
}

/// What a list is made by, with no part of a name and with one.
fn list(filter: &Filter) -> [&'static str; 2] {
    match (&filter.site, filter.state, filter.reach.organization()) {
        (Some(_), Some(_), _) => list!(
            "WHERE site = $2 AND state = $3 AND (name, id) > ($4, $5) AND name < $7
                 AND ($1::text IS NULL OR organization = $1) ORDER BY name, id LIMIT $6"
        ),
        (Some(_), None, _) => list!(
            "WHERE site = $2 AND (name, id) > ($4, $5) AND name < $7
                 AND ($1::text IS NULL OR organization = $1) AND $3::text IS NULL ORDER BY name, id LIMIT $6"
        ),
        // An organization has a name once.
        (None, Some(_), Some(_)) => list!(
            "WHERE organization = $1 AND state = $3 AND name >= $4 AND (name > $4 OR id > $5) AND name < $7
                 AND $2::text IS NULL ORDER BY name LIMIT $6"
        ),
        (None, Some(_), None) => list!(
            "WHERE state = $3 AND (name, id) > ($4, $5) AND name < $7 AND $1::text IS NULL
                 AND $2::text IS NULL ORDER BY name, id LIMIT $6"
        ),
        (None, None, Some(_)) => list!(
            "WHERE organization = $1 AND name >= $4 AND (name > $4 OR id > $5) AND name < $7
                 AND $2::text IS NULL AND $3::text IS NULL ORDER BY name LIMIT $6"
        ),
        (None, None, None) => list!(
            "WHERE (name, id) > ($4, $5) AND name < $7 AND $1::text IS NULL AND $2::text IS NULL
                 AND $3::text IS NULL ORDER BY name, id LIMIT $6"
        ),
    }
}

/// All hostnames with a part in their name, by the index of parts, and of them the page.
const BY_TEXT: &str = concat!(
    "WITH found AS MATERIALIZED (",
    hostname!("WHERE name LIKE $8"),
    ")
    SELECT * FROM found
    WHERE (name, id) > ($4, $5) AND name < $7 AND ($1::text IS NULL OR organization = $1)
        AND ($2::text IS NULL OR site = $2) AND ($3::text IS NULL OR state = $3)
    ORDER BY name, id LIMIT $6"
);

/// What LIKE takes for any name with this text in it.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "%"
}

async fn registrations(database: &Database, filter: &Filter) -> Result<Vec<Registration>, Fault> {
    let text = filter.text.as_deref().unwrap_or("").to_ascii_lowercase();
    if !read::possible(&text) {
        return Ok(Vec::new());
    }
    let (beginning, part) = if text.len() < PART { (text, None) } else { (String::new(), Some(text)) };
    let mut after = filter.after.clone().unwrap_or(Cursor { name: String::new(), id: 0 });
    after.name = plain(&after.name).into_owned();
    // Names with this beginning stand together, and no name has a character as great as the last one.
    if after.name < beginning {
        after = Cursor { name: beginning.clone(), id: 0 };
    }
    let search = Search { filter, beginning, part };
    let mut found = Vec::new();
    loop {
        let rest = filter.limit as usize - found.len();
        let page = search.page(database, &after, rest).await?;
        found.append(&mut readable(&page.rows, read::registration)?);
        // Rows that cannot be read leave room for others behind them.
        match page.next {
            Some(next) if found.len() < filter.limit as usize => after = next,
            _ => return Ok(found),
        }
    }
}

/// What is looked for.
struct Search<'a> {
    filter: &'a Filter,
    /// Of the names.
    beginning: String,
    /// Of a name.
    part: Option<String>,
}

/// Rows, and where more may be.
struct Page {
    rows: Vec<PgRow>,
    next: Option<Cursor>,
}

impl Search<'_> {
    /// Up to `limit` rows behind `after`.
    async fn page(&self, database: &Database, after: &Cursor, limit: usize) -> Result<Page, Fault> {
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX);
        let [list, walk] = list(self.filter);
        let Some(part) = &self.part else {
            return page(self.list(list, after, wanted).fetch_all(&database.pool).await?, limit);
        };
        let walked = self.list(walk, after, WALK).bind(part).bind(wanted);
        let walked = walked.fetch_all(&database.pool).await?;
        if walked.len() == limit {
            return page(walked, limit);
        }
        let found = self.list(BY_TEXT, after, wanted).bind(pattern(part));
        page(found.fetch_all(&database.pool).await?, limit)
    }

    fn list(&self, statement: &'static str, after: &Cursor, limit: i64) -> Query<'_, Postgres, PgArguments> {
        let filter = self.filter;
        sqlx::query(statement)
            .bind(covered(&filter.reach))
            .bind(filter.site.as_ref().map(ToString::to_string))
            .bind(filter.state.map(State::word))
            .bind(after.name.clone())
            .bind(after.id)
            .bind(limit)
            .bind(format!("{}\u{7f}", self.beginning))
    }
}

fn page(rows: Vec<PgRow>, limit: usize) -> Result<Page, Fault> {
    let last = rows.last().filter(|_| rows.len() == limit);
    let next = last.map(|last| Ok::<_, Fault>(Cursor { name: last.text("name")?, id: last.number("id")? }));
    Ok(Page { next: next.transpose()?, rows })
}

async fn count_states(database: &Database, reach: &Reach) -> Result<Vec<(State, u64)>, Fault> {
    // In the order of an index, which alone is read.
    let query = match reach {
        Reach::All => {
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM hostnames WHERE hostnames.state = wanted.state
                 ORDER BY name, id LIMIT $3) AS found)
             FROM unnest($1::text[]) WITH ORDINALITY AS wanted (state, place) WHERE $2::text IS NULL ORDER BY place"
        }
        Reach::Organization(_) => {
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM hostnames WHERE hostnames.state = wanted.state
                 AND organization = $2 ORDER BY name LIMIT $3) AS found)
             FROM unnest($1::text[]) WITH ORDINALITY AS wanted (state, place) ORDER BY place"
        }
    };
    let counts: Vec<i64> = sqlx::query_scalar(query)
        .bind(State::ALL.map(State::word).as_slice())
        .bind(covered(reach))
        .bind(i64::from(EVENTS_KEPT))
        .fetch_all(&database.pool)
        .await?;
    Ok(State::ALL.into_iter().zip(counts.into_iter().map(i64::unsigned_abs)).collect())
}

async fn registration(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
) -> Result<Option<Registration>, Fault> {
    let mut connection = database.pool.acquire().await?;
    hostnames::find(&mut connection, organization, name).await
}

async fn listings_after(database: &Database, id: i64, limit: u32) -> Result<Vec<Listing>, Fault> {
    let rows = sqlx::query(listing!("WHERE id > $1 ORDER BY id LIMIT $2"))
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(&database.pool)
        .await?;
    readable(&rows, read::listing)
}

async fn listings_of(database: &Database, name: &CertificateName) -> Result<Vec<Listing>, Fault> {
    let query = sqlx::query(listing!("WHERE name = $1 ORDER BY id")).bind(name.as_str());
    query.fetch_all(&database.pool).await?.iter().map(read::listing).collect()
}

type Changes = Option<Vec<(i64, Option<CertificateName>)>>;

async fn changes_after(database: &Database, after: i64, limit: u32) -> Result<Changes, Fault> {
    let Some(rows) = changes::after(database, &KINDS, after, limit).await? else { return Ok(None) };
    let read = |(number, kind, name): Stored| match kind.as_str() {
        "site" => Ok((number, None)),
        _ => Ok((number, Some(name.parse().map_err(|why| unusable("change", &name, why))?))),
    };
    rows.into_iter().map(read).collect::<Result<_, Fault>>().map(Some)
}

#[async_trait]
impl Hostnames for PostgresStore {
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
        self.database.timed(operation, looks::holder(&self.database, name)).await
    }

    async fn claim(&self, name: &CertificateName) -> Result<Option<Claim>, Error> {
        let operation = Operation { label: "claim", doing: "look up whose a hostname is" };
        self.database.timed(operation, looks::claim(&self.database, name)).await
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
        self.database.timed(operation, changes::last(&self.database, &KINDS)).await
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
