//! Hears messages and answers them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::{Record, RecordType};
use moka::future::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::flood::{Connections, Flood, Verdict};
use super::message::{Question, Reply};
use super::zone::{self, Place, Zone};
use super::{Fault, Outcome, Texts, Transport};
use crate::config::{DnsServer, Rate};
use crate::dns::delegation;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Questions that wait for the store at a time; beyond them one fails at once.
const WAITING: u32 = 1_024;
/// Labels whose records are remembered.
const REMEMBERED: u64 = 10_000;

/// The name server. It lives as long as the process, whatever the configuration becomes.
pub struct NameServer {
    state: ArcSwapOption<State>,
    texts: Arc<dyn Texts>,
    kept: Cache<String, Arc<[String]>>,
    waiting: Arc<Semaphore>,
    pub(super) connections: Arc<Connections>,
    metrics: Arc<Metrics>,
}

/// What goes by the configuration.
struct State {
    rate: Rate,
    zone: Zone,
    flood: Arc<Flood>,
}

/// What a configuration comes to.
pub struct Plan(Option<Arc<State>>);

/// What is to be done about a message.
pub enum Heard {
    /// Nothing.
    Nothing,
    /// These octets are to be sent.
    Answer(Vec<u8>),
    /// It has to be looked up first.
    Later(Box<Pending>),
}

/// A question that waits for the store.
pub struct Pending {
    server: Arc<NameServer>,
    state: Arc<State>,
    question: Question,
    label: String,
    permit: OwnedSemaphorePermit,
}

/// An answer on its way; kept until it is sent, so that nobody ends before.
pub struct Answer {
    /// Its octets.
    pub octets: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl NameServer {
    /// One that answers for nothing yet.
    pub fn new(texts: Arc<dyn Texts>, metrics: Arc<Metrics>) -> Arc<Self> {
        let kept = Cache::builder().max_capacity(REMEMBERED).time_to_live(delegation::STORE_FOR).build();
        Arc::new(Self {
            state: ArcSwapOption::empty(),
            texts,
            kept,
            waiting: Arc::new(Semaphore::new(WAITING as usize)),
            connections: Arc::default(),
            metrics,
        })
    }

    /// What `config` comes to; nothing where there is none.
    ///
    /// Fails where names of it do not fit into a record.
    pub fn plan(&self, config: Option<&DnsServer>) -> Result<Plan, ProtoError> {
        let Some(config) = config else { return Ok(Plan(None)) };
        let before = self.state.load_full();
        let same = before.filter(|before| before.rate == config.queries_per_client);
        // What clients have asked already counts on.
        let flood = same.map(|before| before.flood.clone());
        let flood = flood.unwrap_or_else(|| Arc::new(Flood::new(config.queries_per_client)));
        let rate = config.queries_per_client;
        Ok(Plan(Some(Arc::new(State { rate, zone: Zone::new(config)?, flood }))))
    }

    /// Answers by `plan` from now on.
    pub fn follow(&self, plan: Plan) {
        self.state.store(plan.0);
    }

    /// Hears a message of `peer`.
    pub fn hear(self: &Arc<Self>, octets: &[u8], peer: SocketAddr, transport: Transport) -> Heard {
        let Some(state) = self.state.load_full() else { return Heard::Nothing };
        let verdict = state.flood.hear(peer.ip(), transport);
        if verdict == Verdict::Drop {
            self.count(Outcome::Limited);
            return Heard::Nothing;
        }
        let question = match Question::read(octets, peer, transport) {
            Ok(question) => question,
            Err(unread) => {
                self.count(unread.outcome);
                return match unread.answer.filter(|_| verdict == Verdict::Hear) {
                    Some(octets) => Heard::Answer(octets),
                    None => Heard::Nothing,
                };
            }
        };
        if verdict == Verdict::ByTcp {
            self.count(Outcome::Limited);
            return Heard::Answer(question.cut_off(Outcome::Limited));
        }
        let reply = match state.zone.place(&question.name()) {
            Place::Elsewhere => Reply::bare(Outcome::Refused),
            Place::Apex => apex(&state.zone, &question),
            Place::Host => {
                found(&state.zone, &question, state.zone.addresses(&question.name(), question.kind()))
            }
            Place::Between => found(&state.zone, &question, Vec::new()),
            Place::Nowhere => absent(&state.zone, Outcome::NoName),
            Place::Label(label) => match self.waiting.clone().try_acquire_owned() {
                Ok(permit) => {
                    let server = self.clone();
                    return Heard::Later(Box::new(Pending { server, state, question, label, permit }));
                }
                Err(_) => Reply::bare(Outcome::Failed),
            },
        };
        self.count(reply.outcome);
        Heard::Answer(question.write(&reply))
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.metrics.dns_queries.with_label_values(&[outcome.label()]).inc();
    }

    /// Waits until every question that was heard is answered, `patience` at most.
    pub async fn answered(&self, patience: Duration) {
        // That it took too long, or that nobody hears any more, is as good.
        let _either = tokio::time::timeout(patience, self.waiting.acquire_many(WAITING)).await;
    }

    /// What is published under `owner`, as the store said a moment ago at the earliest.
    async fn published(&self, owner: String) -> Result<Arc<[String]>, Arc<Fault>> {
        if self.texts.is_own(&owner) {
            return Ok(self.texts.texts(&owner).await.map_err(Arc::new)?.into());
        }
        let ask = async { Ok(self.texts.texts(&owner).await?.into()) };
        self.kept.try_get_with_by_ref(&owner, ask).await
    }
}

impl Pending {
    /// Looks it up. A store that cannot be asked is never taken for one that has nothing.
    pub async fn answer(self) -> Answer {
        let Self { server, state, question, label, permit } = self;
        let reply = match server.published(state.zone.owner(&label)).await {
            Ok(values) if values.is_empty() => absent(&state.zone, Outcome::NoName),
            Ok(values) => {
                let asked = question.kind() == RecordType::TXT;
                let records = if asked { zone::texts(&question.name(), &values) } else { Vec::new() };
                found(&state.zone, &question, records)
            }
            Err(fault) => {
                complain(&fault);
                Reply::bare(Outcome::Failed)
            }
        };
        server.count(reply.outcome);
        Answer { octets: question.write(&reply), _permit: permit }
    }
}

fn apex(zone: &Zone, question: &Question) -> Reply {
    let reply = found(zone, question, zone.at_apex(question.kind()));
    let additional = if question.kind() == RecordType::NS { zone.beside_servers() } else { Vec::new() };
    Reply { additional, ..reply }
}

/// What is said of a name that exists and has `records` of the type that is asked for.
fn found(zone: &Zone, question: &Question, records: Vec<Record>) -> Reply {
    let answers = match question.kind() {
        RecordType::ANY => vec![zone::not_everything(&question.name())],
        _ => records,
    };
    if answers.is_empty() {
        return absent(zone, Outcome::NoData);
    }
    Reply { answers, ..Reply::bare(Outcome::Answered) }
}

fn absent(zone: &Zone, outcome: Outcome) -> Reply {
    Reply { authority: vec![zone.absent()], ..Reply::bare(outcome) }
}

fn complain(fault: &Fault) {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
    if let Some(unsaid) = COMPLAINTS.permit() {
        let error = fault as &dyn std::error::Error;
        tracing::warn!(error, unsaid, "a question by DNS could not be answered (SERVFAIL)");
    }
}
