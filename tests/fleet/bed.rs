//! Machines on one database, behind one address.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nameplate::store::seal::SealingKey;
use openssl::x509::X509;
use tempfile::TempDir;

use crate::bed::approval::{ApprovalEndpoint, Behaviour};
use crate::bed::ca::{Ca, Options, plain_client};
use crate::bed::client::Client;
use crate::bed::meddler::Meddler;
use crate::bed::network::{Network, RANGE, Switch};
use crate::bed::origin::Origin;
use crate::bed::postgres::PostgresServer;
use crate::bed::program::{Edge, Ran, run};
use crate::bed::relay::Relay;
use crate::bed::{appears, free_port};

/// The database that the machines share.
pub const DATABASE: &str = "fleet";

/// For a store that goes away: it is soon given up.
pub const QUICK: &str = "timeout = \"2s\"";

/// How a fleet differs from others.
pub struct Plan {
    pub machines: usize,
    pub challenges: &'static str,
    /// How long the CA's certificates live, in seconds.
    pub lifetime: Option<u32>,
    /// Further lines of the authority.
    pub authority: &'static str,
    /// Lines before the authority's.
    pub before: String,
    /// Whom the CA asks, in place of its own DNS server.
    pub resolver: Option<String>,
    /// Further lines of `[store]`.
    pub store: &'static str,
    /// Whether the machines speak to the CA through a meddler.
    pub meddled: bool,
    /// Whether each machine has a network of its own, where this user may make networks.
    pub networks: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            machines: 3,
            challenges: r#"["http-01", "tls-alpn-01"]"#,
            lifetime: None,
            authority: "",
            before: String::new(),
            resolver: None,
            store: "timeout = \"20s\"",
            meddled: false,
            networks: false,
        }
    }
}

/// Machines, and all that they belong to.
pub struct Fleet {
    pub database: PostgresServer,
    pub ca: Ca,
    pub meddler: Option<Meddler>,
    pub endpoint: ApprovalEndpoint,
    _origin: Origin,
    pub machines: Vec<Option<Edge>>,
    /// Each machine's way to the database, where they have no networks.
    pub cables: Vec<Relay>,
    /// Each machine's network, where they have such.
    networks: Vec<Network>,
    switch: Option<Switch>,
    /// What the machines in networks ask: approval endpoint, origin and CA.
    _beyond: Vec<Relay>,
    /// The one address of all: plain HTTP, and TLS.
    pub http: Relay,
    pub https: Relay,
    config: String,
    key: TempDir,
    client: Client,
}

impl Fleet {
    pub async fn of(plan: Plan) -> Self {
        let switch = if plan.networks { Switch::new() } else { None };
        let database = database_for(switch.as_ref()).await;
        let (http, https) = (free_port(), free_port());
        let address = switch.as_ref().map(Switch::address);
        let options = Options {
            lifetime: plan.lifetime,
            resolver: plan.resolver,
            address,
            ..Options::validating_at(http, https)
        };
        let ca = Ca::start(options).await;
        let (http, https) = (Relay::start(http, Vec::new()).await, Relay::start(https, Vec::new()).await);
        let meddler = if plan.meddled { Some(Meddler::start(&ca).await) } else { None };
        let authority = match &meddler {
            None => ca.authority_toml("pebble", plan.challenges),
            Some(meddler) => format!(
                "[[authority]]\nname = \"pebble\"\ndirectory = {:?}\nchallenges = {}\nca_file = {:?}\n",
                meddler.directory(),
                plan.challenges,
                ca.ca_file()
            ),
        };
        let (endpoint, origin) = (ApprovalEndpoint::start().await, Origin::start().await);
        let config = format!(
            "{}\n{authority}\n{}\n[on_demand]\napproval = \"{}\"\napproval_timeout = \"30s\"\nhandshake_wait = \"60s\"\n\
             [[site]]\nname = \"default\"\norigins = [\"{}\"]\n[store]\n{}\n",
            plan.before,
            plan.authority,
            endpoint.template(),
            origin.address,
            plan.store,
        );
        let roots = X509::stack_from_pem(ca.root().await.as_bytes()).unwrap();
        let client = Client { roots, ..Client::default() };
        let (machines, cables, key) = (Vec::new(), Vec::new(), TempDir::new().unwrap());
        let (config, beyond) = beyond(switch.as_ref(), config).await;
        let mut fleet = Self {
            database,
            ca,
            meddler,
            endpoint,
            _origin: origin,
            machines,
            cables,
            networks: Vec::new(),
            switch,
            _beyond: beyond,
            http,
            https,
            config,
            key,
            client,
        };
        fleet.write_key();
        for _ in 0..plan.machines {
            fleet.add().await;
        }
        fleet
    }

    /// Approves `name`.
    pub fn approve(&self, name: &str) {
        self.endpoint.says(name, Behaviour::Yes);
    }

    fn write_key(&self) {
        let path = self.key.path().join("store.key");
        let made = nameplate::store::key_file::load_or_make(&path).unwrap();
        assert_ne!(made.id(), SealingKey::random().id());
    }

    /// One more machine; its number.
    pub async fn add(&mut self) -> usize {
        let number = self.machines.len();
        let folder = TempDir::new().unwrap();
        fs::copy(self.key.path().join("store.key"), folder.path().join("store.key")).unwrap();
        if let Some(switch) = &self.switch {
            let network = switch.network();
            fs::write(folder.path().join("network"), &network.name).unwrap();
            self.networks.push(network);
        } else {
            let server: SocketAddr = ([127, 0, 0, 1], self.database.port).into();
            self.cables.push(Relay::start(0, vec![server]).await);
        }
        let mut edge = Edge::start_in(folder, &self.config_of(number)).await;
        edge.client = self.client.clone();
        self.machines.push(Some(edge));
        self.lead();
        number
    }

    fn config_of(&self, number: usize) -> String {
        let (url, listen) = match (&self.switch, self.networks.get(number)) {
            (Some(switch), Some(network)) => {
                let (server, port, own) = (switch.address(), self.database.port, network.address);
                let listen = format!(
                    "[listen]\nhttp = [\"{own}:0\"]\nhttps = [\"{own}:0\"]\nadmin = \"127.0.0.1:0\"\n"
                );
                (format!("postgres://nameplate@{server}:{port}/{DATABASE}?sslmode=disable"), listen)
            }
            _ => {
                let port = self.cables[number].address.port();
                (format!("postgres://nameplate@127.0.0.1:{port}/{DATABASE}"), String::new())
            }
        };
        let store = format!("[store]\nurl = \"{url}\"\nkey_file = \"store.key\"\n");
        listen + &self.config.replace("[store]\n", &store)
    }

    /// Cuts a machine off from everything: its plug is pulled, or it is paused where there is none.
    pub fn cut_off(&self, number: usize) {
        match self.networks.get(number) {
            Some(network) => network.pull_the_plug(),
            None => self.machine(number).signal("STOP"),
        }
    }

    /// Ends [`Fleet::cut_off`].
    pub fn let_back(&self, number: usize) {
        match self.networks.get(number) {
            Some(network) => network.plug_in(),
            None => self.machine(number).signal("CONT"),
        }
    }

    /// Each machine's network, where they have such.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Lets the one address lead to the machines that run.
    pub fn lead(&self) {
        let running = || self.machines.iter().flatten();
        self.http.lead_to(running().map(|edge| edge.http).collect());
        self.https.lead_to(running().map(|edge| edge.https).collect());
    }

    /// Lets the one address lead past a machine: whoever announces it there has noticed.
    pub fn lead_past(&self, number: usize) {
        let running = || self.machines.iter().enumerate().filter(|(other, _)| *other != number);
        self.http.lead_to(running().filter_map(|(_, edge)| Some(edge.as_ref()?.http)).collect());
        self.https.lead_to(running().filter_map(|(_, edge)| Some(edge.as_ref()?.https)).collect());
    }

    /// A machine that runs.
    pub fn machine(&self, number: usize) -> &Edge {
        self.machines[number].as_ref().expect("it runs")
    }

    /// Kills a machine as a crash would; its folder.
    pub async fn kill(&mut self, number: usize) -> TempDir {
        let folder = self.machines[number].take().expect("it runs").kill().await;
        self.lead();
        folder
    }

    /// Starts a machine again.
    pub async fn again(&mut self, number: usize, folder: TempDir) {
        let mut edge = Edge::again(folder).await;
        edge.client = self.client.clone();
        self.machines[number] = Some(edge);
        self.lead();
    }

    /// The one number that a query comes to in the database.
    pub async fn number(&self, query: &str) -> i64 {
        self.database.number(DATABASE, query).await
    }

    /// Runs `nameplate fleet status --json` on a machine.
    pub async fn status(&self, number: usize) -> (Ran, serde_json::Value) {
        let config = self.machine(number).config_file();
        let ran = run(&["fleet", "status", "--json", "--config", config.to_str().unwrap()]).await;
        let document = serde_json::from_str(&ran.out).unwrap_or_default();
        (ran, document)
    }

    /// The sum of a metric over the machines that run.
    pub async fn metric(&self, line: &str) -> f64 {
        let mut sum = 0.0;
        for edge in self.machines.iter().flatten() {
            sum += edge.metric(line).await;
        }
        sum
    }
}

/// The server, which machines in networks may ask too.
async fn database_for(switch: Option<&Switch>) -> PostgresServer {
    let mut database = PostgresServer::start().await;
    if let Some(switch) = switch {
        database.stop().await;
        database.let_in(switch.address(), RANGE);
        database.start_again().await;
    }
    database.database(DATABASE).await;
    database
}

/// What machines in networks ask listens on this machine's loopback: the configuration with the switch's
/// address in its place, and what leads from there.
async fn beyond(switch: Option<&Switch>, config: String) -> (String, Vec<Relay>) {
    let Some(switch) = switch else { return (config, Vec::new()) };
    let mut relays = Vec::new();
    for after in config.split("127.0.0.1:").skip(1) {
        let port: String = after.chars().take_while(char::is_ascii_digit).collect();
        let port: u16 = port.parse().unwrap();
        let to = ([127, 0, 0, 1], port).into();
        relays.push(Relay::start_at((switch.address(), port).into(), vec![to]).await);
    }
    (config.replace("127.0.0.1:", &format!("{}:", switch.address())), relays)
}

/// One of three tries takes no longer than `limit`: other tests may keep the processors at one or the other.
pub async fn within(limit: Duration, tried: impl AsyncFn(u32) -> Duration) {
    let mut took = Vec::new();
    for number in 0..3 {
        took.push(tried(number).await);
        if took.last().is_some_and(|last| *last <= limit) {
            return;
        }
    }
    panic!("within {limit:?}: {took:?}");
}

/// What a call of the API came to: its status and its document.
pub type Said = (u16, serde_json::Value);

impl Fleet {
    /// A token of the API for every organization.
    pub async fn token(&self) -> String {
        let config = self.machine(0).config_file();
        let create = ["token", "create", "--organization", "*", "--scope", "admin", "--json", "--config"];
        let ran = run(&[create.as_slice(), &[config.to_str().unwrap()]].concat()).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        document["token"].as_str().unwrap().to_owned()
    }

    /// One call of the API of a machine.
    pub async fn call(&self, number: usize, token: &str, method: &str, path: &str, body: &str) -> Said {
        let url = format!("http://{}/api/v1{path}", self.machine(number).admin);
        let call = plain_client().request(method.parse().unwrap(), url).bearer_auth(token);
        let call = call.header("content-type", "application/json").body(body.to_owned());
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    /// Registers `name` for the site `default` by a machine's API.
    pub async fn register(&self, number: usize, token: &str, name: &str) {
        let body = serde_json::json!({ "data": { "attributes": { "hostname": name } } }).to_string();
        let (status, document) = self.call(number, token, "POST", "/sites/default/hostnames", &body).await;
        assert_eq!(status, 201, "{document}");
    }

    /// Waits until every machine serves `name` with the same certificate; its serial.
    pub async fn served_alike(&self, name: &str) -> String {
        appears("all machines serve the same certificate", async || {
            let mut serials = std::collections::BTreeSet::new();
            for edge in self.machines.iter().flatten() {
                serials.insert(edge.handshake(name).await.ok()?.serial());
            }
            if serials.len() == 1 { serials.pop_first() } else { None }
        })
        .await
    }
}
