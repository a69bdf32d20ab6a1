//! Who registers what in the laws.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nameplate::domain::access::Reach;
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::event::{Event, EventKind};
use nameplate::domain::label::Label;
use nameplate::domain::registration::{Proof, Registration, Settings, Standing, State, Via};
use nameplate::store::Attempt;
use nameplate::store::records::{Claimed, EventFilter, Filter, Look, NewHostname, Registered};

use crate::bed::{Bed, name};

/// More than any law registers.
pub const PLENTY: u32 = 1_000;

static FRESH: AtomicU32 = AtomicU32::new(0);

pub fn label(raw: &str) -> Label {
    raw.parse().unwrap()
}

pub fn reach(raw: &str) -> Reach {
    raw.parse().unwrap()
}

/// On the site of the organization's own name.
pub fn new(organization: &str, raw: &str) -> NewHostname {
    let fresh = FRESH.fetch_add(1, Ordering::Relaxed);
    NewHostname {
        name: name(raw),
        organization: label(organization),
        site: label(&format!("{organization}-site")),
        via: Via::Api,
        settings: Settings::default(),
        preview: format!("preview-{fresh}"),
        proof: format!("proof-{fresh}"),
        quota: PLENTY,
    }
}

/// Everything, a page of `limit`.
pub fn all(limit: u32) -> Filter {
    Filter { reach: Reach::All, site: None, state: None, text: None, after: None, limit }
}

/// A look at the hostname as it was then.
pub fn look(hostname: &Registration, state: State, reason: &str, look_at: UnixTime) -> Look {
    let standing = Standing {
        state,
        reason: reason.into(),
        diagnosis: Some(r#"{"found":[]}"#.into()),
        looks: 1,
        looked_at: Some(look_at),
        look_at,
    };
    Look { standing, events: Vec::new(), turn: hostname.turn, holder: hostname.holder }
}

impl Bed {
    pub async fn try_register(&self, new: &NewHostname) -> Registered {
        self.store.register(new, Some("token")).await.unwrap()
    }

    pub async fn register(&self, organization: &str, raw: &str) -> Registration {
        match self.try_register(&new(organization, raw)).await {
            Registered::Created(created) => *created,
            other => panic!("{raw} was to be new for {organization}: {other:?}"),
        }
    }

    pub async fn unregister(&self, organization: &str, raw: &str) -> Option<Registration> {
        self.store.unregister(&label(organization), &name(raw), Some("token")).await.unwrap()
    }

    pub async fn registration(&self, organization: &str, raw: &str) -> Option<Registration> {
        self.store.registration(&label(organization), &name(raw)).await.unwrap()
    }

    pub async fn holder(&self, raw: &str) -> Option<String> {
        let holder = self.store.holder(&name(raw)).await.unwrap();
        holder.map(|holder| holder.organization.to_string())
    }

    pub async fn claim(&self, registration: &Registration, proof: Proof) -> Claimed {
        self.store.claim_for(registration.id, proof, false).await.unwrap()
    }

    /// A look at the hostname as it is now.
    pub async fn looked(&self, hostname: &Registration, state: State, reason: &str, look_at: UnixTime) {
        let now = self.registration(hostname.organization.as_str(), hostname.name.as_str()).await.unwrap();
        self.store.note_look(now.id, &look(&now, state, reason, look_at)).await.unwrap();
    }

    /// What routing has to look at again behind `after`: hostnames, and `None` for a site.
    pub async fn changed(&self, after: i64) -> Vec<Option<String>> {
        let changes = self.store.changes_after(after, 9).await.unwrap().unwrap();
        let numbers: Vec<i64> = changes.iter().map(|(number, _)| *number).collect();
        assert!(numbers.iter().all(|number| *number > after) && numbers.is_sorted_by(|one, next| one < next));
        changes.into_iter().map(|(_, name)| name.map(|name| name.to_string())).collect()
    }

    /// What is due until a moment so many seconds from now.
    pub async fn due(&self, seconds: u64) -> Vec<String> {
        let until = self.clock.now().plus(Duration::from_secs(seconds));
        let due = self.store.due_for_look(until, 100).await.unwrap();
        due.into_iter().map(|due| format!("{} of {}", due.name, due.organization)).collect()
    }

    /// An attempt that ended just now, so many failures after the last success.
    pub async fn attempt(&self, raw: &str, failures: u32) {
        let attempt = Attempt {
            at: self.clock.now(),
            failures,
            next: None,
            report: "CAA forbids it".into(),
            failed_validations: Vec::new(),
        };
        self.store.record_attempt(&raw.parse().unwrap(), &attempt).await.unwrap();
    }

    /// The newest first, those about the name alone.
    pub async fn events_of(&self, raw: &str) -> Vec<Event> {
        let hostname = Some(name(raw));
        let filter = EventFilter { reach: Reach::All, hostname, audit: false, before: None, limit: 100 };
        self.store.events(&filter).await.unwrap()
    }

    /// How many events of this kind there are about the name.
    pub async fn count(&self, raw: &str, kind: EventKind) -> usize {
        self.events_of(raw).await.iter().filter(|event| event.kind == kind).count()
    }
}

/// Puts `count` hostnames of an organization `many` into the embedded store, behind its back.
pub async fn fill(bed: &Bed, count: u32) {
    bed.change(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
         INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, state, reason, looks,
             look_at, version, created_at, updated_at)
         SELECT printf('%06d.many.test', n), 'many', 'many-site', 'api', 1, 'many-' || n, 'proof',
             CASE n % 10 WHEN 0 THEN 'stuck' WHEN 1 THEN 'waiting' ELSE 'serving' END, '', 0, n, 1, n, n
         FROM numbers"
    ))
    .await;
    bed.change(
        "INSERT INTO hostname_texts (rowid, name)
         SELECT id, name FROM hostnames WHERE organization = 'many'",
    )
    .await;
}
