//! The keys of session tickets, and who uses them.

use std::sync::Arc;

use crate::certs::tickets::{Parts, Tickets};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::edge::tls::tickets::TicketUse;
use crate::store::local::LocalTier;
use crate::store::steady::SteadyStore;
use crate::telemetry::metrics::Metrics;

/// The keys as `config` wants them, and how handshakes come by them.
pub(super) async fn begin(
    config: &Config,
    store: &Arc<SteadyStore>,
    local: &LocalTier,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> (Arc<Tickets>, TicketUse) {
    let period = config.tickets.rotate;
    let parts = Parts {
        store: store.clone(),
        local: local.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        period,
    };
    let tickets = Tickets::begin(parts).await;
    let ticket_use = TicketUse::new(tickets.ring(), clock.clone(), period, metrics);
    (tickets, ticket_use)
}
