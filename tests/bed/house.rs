//! An edge with all that it belongs to: a CA that validates at its ports, an approval endpoint, an
//! origin.

use openssl::x509::X509;
use tempfile::TempDir;

use super::approval::ApprovalEndpoint;
use super::ca::{Ca, Options};
use super::client::Client;
use super::free_port;
use super::meddler::Meddler;
use super::origin::Origin;
use super::program::Edge;

/// How a house differs from others.
pub struct Plan {
    pub challenges: &'static str,
    pub nonces_rejected: u8,
    pub handshake_wait: &'static str,
    /// How long a verdict is kept.
    pub approval_cache: &'static str,
    /// How long the CA's certificates live, in seconds.
    pub lifetime: Option<u32>,
    /// Further lines of the authority.
    pub authority: &'static str,
    /// Further variables of the edge's environment; `{folder}` in them stands for its folder.
    pub environment: Vec<(&'static str, String)>,
    /// Lines before the authority's; `{dns}` in them stands for where the CA's DNS listens.
    pub before: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            challenges: r#"["http-01", "tls-alpn-01"]"#,
            nonces_rejected: 0,
            handshake_wait: "60s",
            approval_cache: "5m",
            lifetime: None,
            authority: "",
            environment: Vec::new(),
            before: String::new(),
        }
    }
}

/// A CA, an approval endpoint, an origin, and the edge that they belong to.
pub struct House {
    pub ca: Ca,
    pub endpoint: ApprovalEndpoint,
    pub edge: Edge,
    pub origin: Origin,
}

/// Builds one.
pub async fn house(plan: Plan) -> House {
    let (http, https, ca) = ca(&plan).await;
    let authority = format!("{}\n{}\n", ca.authority_toml("pebble", plan.challenges), plan.authority);
    build(plan, (http, https), ca, authority).await
}

/// Builds one whose edge speaks to its CA through a meddler.
pub async fn meddled_house(plan: Plan) -> (House, Meddler) {
    let (http, https, ca) = ca(&plan).await;
    let meddler = Meddler::start(&ca).await;
    let authority = format!(
        "[[authority]]\nname = \"pebble\"\ndirectory = {:?}\nchallenges = {}\nca_file = {:?}\n{}\n",
        meddler.directory(),
        plan.challenges,
        ca.ca_file(),
        plan.authority
    );
    (build(plan, (http, https), ca, authority).await, meddler)
}

async fn ca(plan: &Plan) -> (u16, u16, Ca) {
    let (http, https) = (free_port(), free_port());
    let ca = Ca::start(Options {
        nonces_rejected: plan.nonces_rejected,
        lifetime: plan.lifetime,
        ..Options::validating_at(http, https)
    })
    .await;
    (http, https, ca)
}

async fn build(plan: Plan, (http, https): (u16, u16), ca: Ca, authority: String) -> House {
    let endpoint = ApprovalEndpoint::start().await;
    let origin = Origin::start().await;
    let config = format!(
        r#"
[listen]
http = ["127.0.0.1:{http}"]
https = ["127.0.0.1:{https}"]
admin = "127.0.0.1:0"

{before}
{authority}

[on_demand]
approval = "{approval}"
approval_timeout = "30s"
approval_cache = "{cache}"
handshake_wait = "{wait}"

[[site]]
name = "default"
origins = ["{origin}"]
"#,
        before = plan.before.replace("{dns}", &ca.dns_server()),
        approval = endpoint.template(),
        cache = plan.approval_cache,
        wait = plan.handshake_wait,
        origin = origin.address,
    );
    let folder = TempDir::new().unwrap();
    let path = folder.path().display().to_string();
    let lines = plan.environment.iter().map(|(name, value)| format!("{name}={value}\n"));
    let lines = lines.collect::<String>().replace("{folder}", &path);
    std::fs::write(folder.path().join("environment"), lines).unwrap();
    let mut edge = Edge::start_in(folder, &config).await;
    edge.client.roots = X509::stack_from_pem(ca.root().await.as_bytes()).unwrap();
    House { ca, endpoint, edge, origin }
}

/// Starts the edge in the folder of an earlier one, with clients as before.
pub async fn again(folder: TempDir, before: Client) -> Edge {
    let mut edge = Edge::again(folder).await;
    edge.client = before;
    edge
}
