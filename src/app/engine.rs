//! What decides about certificates and requests, and how the configuration reaches it.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::machine::ThisMachine;
use super::news::Newsreader;
use super::{Proxies, StartError, ThreadPorts, tickets};
use crate::acme::authority::Authorities;
use crate::acme::bridge::Bridge;
use crate::acme::challenge::Challenges;
use crate::acme::dns01::Dns01;
use crate::acme::order::Answers;
use crate::api::webhooks::client::Client;
use crate::api::webhooks::deliver::Deliveries;
use crate::approval::cache::Approvals;
use crate::certs::ahead::Keeper;
use crate::certs::budget::NewNames;
use crate::certs::files::{self, Watched};
use crate::certs::find::{Certificates, Parts};
use crate::certs::in_full;
use crate::certs::obtain::Obtain;
use crate::certs::rules::{Platform, Rules};
use crate::certs::tickets::{Rotated, Tickets};
use crate::certs::write_back::WriteBack;
use crate::config::Config;
use crate::dns::check::Check;
use crate::dns::server::service::{self, NameServer};
use crate::domain::approval::Registered;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::hostname::CertificateName;
use crate::domain::site::Site;
use crate::edge::gate::EdgeGate;
use crate::edge::handshake::Handshakes;
use crate::edge::listener::Ports;
use crate::edge::middleware::Middleware;
use crate::edge::plain::{self, PlainProxy};
use crate::edge::proxy::{self, EdgeProxy};
use crate::edge::redirects::Redirects;
use crate::edge::route::Routes;
use crate::edge::settings::Settings;
use crate::edge::staple::Stapler;
use crate::edge::tls::ocsp::Staples;
use crate::edge::tls::ready::Preparer;
use crate::sites::directory::Directory;
use crate::sites::lookup::Lookup;
use crate::sites::plan::Plan;
use crate::sites::service::Sites;
use crate::sites::shelter::Shelter;
use crate::sites::table::Names;
use crate::sites::{Followed, Versioned};
use crate::store::local::{LOCAL_TIER, LocalTier};
use crate::store::seal::SealingKey;
use crate::store::steady::SteadyStore;
use crate::store::{Error, Store, key_file};
use crate::telemetry::memory::Memory;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// What lives as long as the process, whatever the configuration becomes.
pub(super) struct Engine {
    pub(super) certificates: Arc<Certificates<Preparer>>,
    pub(super) store: Arc<SteadyStore>,
    pub(super) memory: Arc<Memory>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) webhooks: Arc<Deliveries>,
    stapler: Option<Arc<Stapler>>,
    pub(super) key: SealingKey,
    pub(super) local: LocalTier,
    pub(super) name_server: Arc<NameServer>,
    challenges: Arc<Challenges>,
    write_back: Arc<WriteBack>,
    gate: Arc<EdgeGate>,
    tickets: Arc<Tickets>,
    handshakes: Arc<Handshakes>,
    routes: Arc<Routes>,
    directory: Arc<Directory>,
    registered: Arc<dyn Registered>,
    pub(super) machine: ThisMachine,
    shelter: Shelter,
    pub(super) sites: Arc<Sites>,
    clock: Arc<dyn Clock>,
    middlewares: Vec<Arc<dyn Middleware>>,
}

impl Engine {
    /// - `handed_over`: the store's lock, from the process before this one.
    pub(super) async fn build(
        config: &Config,
        middlewares: Vec<Arc<dyn Middleware>>,
        handed_over: Option<File>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let key = key_file::open(&config.store.key)?;
        let local = LocalTier::open(&config.data_dir.join(LOCAL_TIER), key.clone())?;
        let store = Arc::new(open_store(config, &key, &local, &clock, &metrics, handed_over).await?);
        let webhooks = Client::new(&config.webhooks)?;
        let webhooks = Arc::new(Deliveries::new(store.clone(), webhooks, clock.clone(), metrics.clone()));
        let challenges = Challenges::new(store.clone(), clock.clone(), metrics.clone());
        let write_back = WriteBack::new(store.clone(), metrics.clone());
        let name_server = name_server(config, &challenges, &metrics)?;
        let memory = Memory::new(config.limits.memory);
        let directory = Arc::new(Directory::default());
        let registered: Arc<dyn Registered> = Arc::new(Lookup::new(directory.clone(), store.clone()));
        let basis = Basis {
            store: &store,
            challenges: &challenges,
            memory: &memory,
            clock: &clock,
            registered: &registered,
            write_back: &write_back,
        };
        let (staples, stapler) = stapler(config, &clock, &metrics)?;
        let certificates = certificates(config, &basis, &local, staples, &metrics)?;
        let machine = ThisMachine::new(&config.data_dir, (&store, &key, &clock, &certificates, &directory))?;
        let gate = EdgeGate::new(certificates.clone(), challenges.clone(), metrics.clone());
        let (tickets, ticket_use) = tickets::begin(config, &store, &local, &clock, &metrics).await;
        let handshakes = Arc::new(Handshakes::new(gate.clone(), ticket_use, &metrics)?);
        let (keeper, plan) = (Arc::new(certificates.clone()), Plan::new(config)?);
        let sites = Sites::new(store.clone(), directory.clone(), keeper, clock.clone(), plan);
        let routes = Arc::new(Routes::new(&Names::of(config), directory.clone(), &metrics));
        Ok(Self {
            certificates,
            store,
            memory,
            metrics,
            webhooks,
            stapler,
            key,
            local,
            name_server,
            challenges,
            write_back,
            gate,
            tickets,
            handshakes,
            routes,
            directory,
            registered,
            machine,
            shelter: Shelter::new(&config.data_dir),
            sites,
            clock,
            middlewares,
        })
    }

    /// Certificates from files: those of platforms and of single hostnames, and the default one. Changes
    /// all or nothing.
    pub(super) fn load_files(&self, config: &Config) -> Result<(), StartError> {
        load_files(config, &*self.clock, &self.certificates, &self.gate)
    }

    /// What `config` says about obtaining, for all that begins from now on.
    pub(super) fn rules(&self, config: &Config) -> Result<Rules, StartError> {
        let Self { store, challenges, memory, clock, registered, write_back, .. } = self;
        let basis = Basis { store, challenges, memory, clock, registered, write_back };
        rules(config, &basis, &self.metrics, Some(&self.certificates.rules()))
    }

    /// Makes a new key of session tickets, as [`Tickets::rotate`] says; the work goes on without this value.
    pub(super) fn rotate_tickets(&self, discard: bool) -> impl Future<Output = Rotated> + use<> {
        let tickets = self.tickets.clone();
        async move { tickets.rotate(discard).await }
    }

    /// Puts in force what cannot fail.
    pub(super) fn follow(
        &self,
        config: &Config,
        rules: Rules,
        plan: Plan,
        zone: service::Plan,
        webhooks: Client,
    ) {
        self.name_server.follow(zone);
        share(&rules, &self.challenges, &self.write_back);
        self.certificates.set_rules(rules);
        self.sites.set_plan(plan);
        self.webhooks.set_client(webhooks);
        self.routes.replace(&Names::of(config), &self.metrics);
        self.memory.set_ceiling(config.limits.memory);
        self.tickets.set_period(config.tickets.rotate);
    }

    /// One set for each serving thread: as many as this runtime has workers.
    pub(super) fn proxies(&self, config: &Config, https_port: u16) -> Vec<Proxies> {
        let settings = Settings::new(config, https_port);
        let challenges = self.challenges.clone();
        let edge = EdgeProxy::new(
            self.routes.clone(),
            challenges.clone(),
            self.middlewares.clone(),
            self.metrics.clone(),
            settings.clone(),
        );
        let reachable = Arc::new(self.certificates.clone());
        let plain = PlainProxy::new(challenges, reachable, https_port, self.metrics.clone(), settings);
        let proxies = || Proxies {
            https: Arc::new(proxy::https_proxy(edge.clone())),
            http: Arc::new(plain::http_proxy(plain.clone())),
        };
        (0..Handle::current().metrics().num_workers()).map(|_| proxies()).collect()
    }

    /// What connections from now on are served by, one set for each of `proxies`.
    pub(super) fn ports(&self, config: &Config, proxies: &[Proxies], https_port: u16) -> Vec<ThreadPorts> {
        let limits = &config.limits;
        let proxy_protocol_from: Arc<[_]> = config.listen.proxy_protocol_from.clone().into();
        let redirects = Redirects::new(
            Arc::new(self.certificates.clone()),
            https_port,
            limits.keep_alive,
            config.access_log,
            self.metrics.clone(),
        );
        let ports = |proxies: &Proxies| Ports {
            handshakes: self.handshakes.clone(),
            https: proxies.https.clone(),
            redirects: redirects.clone(),
            http: proxies.http.clone(),
            proxy_protocol_from: proxy_protocol_from.clone(),
            handshake: limits.handshake,
            request_header: limits.request_header,
            keep_alive: limits.keep_alive,
            metrics: self.metrics.clone(),
        };
        proxies.iter().map(ports).collect()
    }

    /// Work that places orders by itself.
    pub(super) fn orders(&self) -> Vec<JoinHandle<()>> {
        let certificates = self.certificates.clone();
        let renewals = tokio::spawn(async move { certificates.renew_due().await });
        let certificates = self.certificates.clone();
        let suggestions = tokio::spawn(async move { certificates.follow_suggestions().await });
        let certificates = self.certificates.clone();
        let fallbacks = tokio::spawn(async move { certificates.keep_fallbacks().await });
        let sites = self.sites.clone();
        let life = tokio::spawn(async move { sites.live().await });
        let certificates = self.certificates.clone();
        let platforms = tokio::spawn(async move { certificates.keep_platforms().await });
        vec![renewals, suggestions, fallbacks, life, platforms]
    }

    fn follower(&self) -> Follower {
        Follower {
            routes: self.routes.clone(),
            certificates: self.certificates.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Work beside serving.
    pub(super) fn background(&self) -> Vec<JoinHandle<()>> {
        let store = self.store.clone();
        let store = tokio::spawn(async move { store.keep_open().await });
        let news = Newsreader {
            store: self.store.clone(),
            local: self.local.clone(),
            certificates: self.certificates.clone(),
            challenges: self.challenges.clone(),
            tickets: self.tickets.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            seen: self.machine.seen_change.clone(),
        };
        let news = tokio::spawn(news.follow());
        let here = tokio::spawn(self.machine.clone().check_in());
        let certificates = self.certificates.clone();
        let ends = tokio::spawn(async move { certificates.count_ends().await });
        let certificates = self.certificates.clone();
        let revocations = tokio::spawn(async move { certificates.follow_revocations().await });
        let certificates = self.certificates.clone();
        let own = tokio::spawn(async move {
            tokio::join!(certificates.follow_own(), certificates.keep_pinned());
        });
        let (memory, metrics) = (self.memory.clone(), self.metrics.clone());
        let memory = tokio::spawn(async move { memory.follow(&metrics).await });
        let (directory, records, follower) = (self.directory.clone(), self.store.clone(), self.follower());
        let shelter = self.shelter.clone();
        let listings = tokio::spawn(async move { directory.follow(records, &follower, shelter).await });
        // A process that follows this one shares the work: what one has taken is not the other's.
        let webhooks = self.webhooks.clone();
        let webhooks = tokio::spawn(async move { webhooks.run().await });
        let stapler = self.stapler.clone().map(|stapler| tokio::spawn(async move { stapler.run().await }));
        let write_back = self.write_back.clone();
        let write_back = tokio::spawn(async move { write_back.run().await });
        let tickets = self.tickets.clone();
        let tickets = tokio::spawn(async move { tickets.follow().await });
        let mut all =
            vec![store, news, here, ends, revocations, own, memory, listings, webhooks, write_back, tickets];
        all.extend(stapler);
        all
    }

    /// Work that goes by one state of the configuration.
    pub(super) fn watches(&self, config: &Config, watched: Watched) -> Vec<JoinHandle<()>> {
        let approvals = self.certificates.rules().approvals.clone();
        let canary = tokio::spawn(async move {
            approvals.warn_if_it_says_yes_to_everything().await;
        });
        let (config, clock) = (config.clone(), self.clock.clone());
        let (certificates, gate) = (self.certificates.clone(), self.gate.clone());
        let files =
            tokio::spawn(watched.watch(move || match load_files(&config, &*clock, &certificates, &gate) {
                Ok(()) => tracing::info!("changed certificate files are in force"),
                Err(error) => tracing::error!(
                    error = in_full(&error),
                    "changed certificate files cannot be used; the certificates before them stay in force"
                ),
            }));
        let dns01 = self.certificates.rules().obtain.authorities.dns01().cloned();
        let records = dns01.map(|dns01| tokio::spawn(dns01.tidy()));
        [canary, files].into_iter().chain(records).collect()
    }
}

fn certificates(
    config: &Config,
    basis: &Basis<'_>,
    local: &LocalTier,
    staples: Arc<Staples>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Certificates<Preparer>>, StartError> {
    let rules = rules(config, basis, metrics, None)?;
    share(&rules, basis.challenges, basis.write_back);
    Ok(Certificates::new(Parts {
        prepare: Preparer::new(staples),
        local: Arc::new(local.clone()),
        rules,
        store: basis.store.clone(),
        clock: basis.clock.clone(),
        metrics: metrics.clone(),
        hot: config.limits.hot_certificates,
        runtime: Handle::current(),
    }))
}

fn name_server(
    config: &Config,
    challenges: &Arc<Challenges>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<NameServer>, StartError> {
    let server = NameServer::new(challenges.clone(), metrics.clone());
    server.follow(server.plan(config.dns_server.as_ref()).map_err(StartError::NameServer)?);
    Ok(server)
}

/// The certificates that name an OCSP responder, and who asks it; `None`: nobody.
fn stapler(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Staples>, Option<Arc<Stapler>>), StartError> {
    let staples = Arc::new(Staples::default());
    let stapler = Stapler::new(&config.ocsp, staples.clone(), clock.clone(), metrics.clone())?;
    Ok((staples, config.ocsp.enabled.then(|| Arc::new(stapler))))
}

async fn open_store(
    config: &Config,
    key: &SealingKey,
    local: &LocalTier,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    handed_over: Option<File>,
) -> Result<SteadyStore, Error> {
    let (place, key, local) = ((&config.store.engine, &*config.data_dir), key.clone(), local.clone());
    SteadyStore::open(place, key, local, clock.clone(), metrics.clone(), handed_over).await
}

/// Puts changes of hostnames and sites in force.
struct Follower {
    routes: Arc<Routes>,
    certificates: Arc<Certificates<Preparer>>,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl Followed for Follower {
    fn sites(&self, sites: &[Versioned<Site>]) {
        self.routes.set_stored(sites, &self.metrics);
    }

    async fn gone(&self, name: &CertificateName) {
        self.certificates.withdraw(name).await;
    }

    fn store_failed(&self, error: &Error) {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
        if let Some(unsaid) = COMPLAINTS.permit() {
            tracing::warn!(
                error = in_full(error),
                unsaid,
                "changes of hostnames could not be read; trying again"
            );
        }
    }
}

/// What [`Rules`] are made on.
struct Basis<'a> {
    store: &'a Arc<SteadyStore>,
    challenges: &'a Arc<Challenges>,
    memory: &'a Arc<Memory>,
    clock: &'a Arc<dyn Clock>,
    registered: &'a Arc<dyn Registered>,
    write_back: &'a Arc<WriteBack>,
}

/// Lets those that live as long as the process cross the bridge of `rules`, if it has one.
fn share(rules: &Rules, challenges: &Challenges, write_back: &WriteBack) {
    challenges.set_bridge(rules.obtain.bridge.clone());
    write_back.set_bridge(rules.obtain.bridge.clone());
}

/// - `before`: whose verdicts are kept where the same endpoint is asked, and what is known of certificates
fn rules(
    config: &Config,
    basis: &Basis<'_>,
    metrics: &Arc<Metrics>,
    before: Option<&Rules>,
) -> Result<Rules, StartError> {
    let store: Arc<dyn Store> = basis.store.clone();
    let hostnames = basis.store.clone();
    let dns01 = Dns01::new(config, store.clone(), hostnames, basis.challenges.clone(), metrics.clone())?;
    let authorities = Authorities::new(
        &config.authorities,
        &config.data_dir,
        store.clone(),
        &Answers { challenges: basis.challenges.clone(), dns01 },
        basis.clock.clone(),
        metrics.clone(),
    )?;
    let approvals = Approvals::new(config, basis.clock.clone(), metrics.clone())?;
    let approvals = approvals.with_registered(basis.registered.clone());
    let approvals = match before {
        Some(before) => approvals.with_verdicts_of(&before.approvals),
        None => approvals,
    };
    let bridge = config.bridge.as_ref().map(|bridge| Bridge::new(bridge, metrics.clone())).transpose()?;
    let orders = config.limits.orders;
    let obtained = config.platforms.iter().filter(|platform| platform.dns().is_some());
    let platforms = obtained.filter_map(|platform| Platform::new(&platform.domain, &platform.site));
    Ok(Rules {
        approvals: Arc::new(approvals),
        obtain: Obtain {
            store,
            authorities: Arc::new(authorities),
            clock: basis.clock.clone(),
            slots: Semaphore::new(orders),
            check: Check::new(config)?,
            metrics: metrics.clone(),
            unsaved: before.map(|before| before.obtain.unsaved.clone()).unwrap_or_default(),
            bridge: bridge.map(Arc::new),
            write_back: basis.write_back.clone(),
            revoked: before.map(|before| before.obtain.revoked.clone()).unwrap_or_default(),
        },
        platforms: platforms.collect(),
        budget: NewNames::new(&config.limits, basis.memory.clone()),
        orders,
        wait: config.on_demand.handshake_wait,
    })
}

fn load_files(
    config: &Config,
    clock: &dyn Clock,
    certificates: &Certificates<Preparer>,
    gate: &EdgeGate,
) -> Result<(), StartError> {
    let platforms = files::platforms(&config.platforms, clock)?;
    let default = config.listen.default_certificate.as_ref();
    let default = default.map(|files| files::read(files, clock)).transpose()?.unwrap_or_default();
    let default = default.first().map(|certificate| certificates.ready(certificate)).transpose();
    let default = default.map_err(StartError::Certificate)?;
    let hostnames = files::certificates(&config.certificates, clock)?;
    certificates.pin(platforms, hostnames).map_err(StartError::Certificate)?;
    gate.set_default(default);
    Ok(())
}
