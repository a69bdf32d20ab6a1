//! An edge with its API: the program itself, a CA that validates at its ports, a DNS server whose
//! records the tests set, an origin, a platform with its wildcard certificate.

use std::process::Command;

use openssl::x509::X509;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::ca::{Ca, Options, plain_client};
use crate::bed::house::again;
use crate::bed::origin::Origin;
use crate::bed::program::Edge;
use crate::bed::{appears, free_port, pem};

/// The platform's domain.
pub const PLATFORM: &str = "plat.test";
/// What customers point at.
pub const TARGET: &str = "edge.plat.test";

/// The whole of it.
pub struct House {
    pub edge: Edge,
    pub ca: Ca,
    pub origin: Origin,
    pub other_origin: Origin,
    pub http: reqwest::Client,
}

/// What a call came to.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Reply {
    /// The attributes of its one resource.
    pub fn attributes(&self) -> &Value {
        &self.body["data"]["attributes"]
    }

    /// The code of its first error.
    pub fn code(&self) -> &str {
        self.body["errors"][0]["code"].as_str().unwrap_or_default()
    }
}

/// Builds one; `more` are further lines of the configuration, in which `{other}` stands for the other
/// origin.
pub async fn house(more: &str) -> House {
    house_asking(None, more).await
}

/// The same, where the CA and the edge ask `resolver` in place of the DNS server whose records are set.
pub async fn house_asking(resolver: Option<String>, more: &str) -> House {
    let (http, https) = (free_port(), free_port());
    let options = Options { resolver: resolver.clone(), ..Options::validating_at(http, https) };
    let ca = Ca::start(options).await;
    let (origin, other_origin) = (Origin::start().await, Origin::start().await);
    let folder = TempDir::new().unwrap();
    let wildcard = pem::pair(&[&format!("*.{PLATFORM}"), PLATFORM], &pem::p256(), 2096);
    wildcard.write(folder.path(), "wildcard");
    let config = format!(
        r#"
[listen]
http = ["127.0.0.1:{http}"]
https = ["127.0.0.1:{https}"]
admin = "127.0.0.1:0"

{authority}

[dns]
resolvers = ["{dns}"]
edge_addresses = ["127.0.0.1"]
cname_target = "{TARGET}"

[[platform]]
domain = "{PLATFORM}"
site = "default"
certificate_file = "wildcard.pem"
certificate_key_file = "wildcard.key"

[[site]]
name = "default"
organization = "cats"
origins = ["{origin}"]

{more}
"#,
        authority = ca.authority_toml("pebble", r#"["http-01", "tls-alpn-01"]"#),
        dns = resolver.unwrap_or_else(|| ca.dns_server()),
        origin = origin.address,
        more = more.replace("{other}", &other_origin.address.to_string()),
    );
    let mut edge = Edge::start_in(folder, &config).await;
    edge.client.roots = X509::stack_from_pem(ca.root().await.as_bytes()).unwrap();
    edge.client.roots.extend(X509::stack_from_pem(wildcard.certificate.as_bytes()).unwrap());
    House { edge, ca, origin, other_origin, http: plain_client() }
}

impl House {
    /// The Host that the last request for this path brought to the origin.
    pub fn host_of(&self, path: &str) -> String {
        let requests = self.origin.requests();
        let seen = requests.iter().rev().find(|seen| seen.line.ends_with(path)).expect("it was asked for");
        seen.headers["host"].to_str().unwrap().to_owned()
    }

    /// The same after the program was stopped and started again.
    pub async fn restarted(self) -> Self {
        let client = self.edge.client.clone();
        let folder = self.edge.stop().await;
        Self { edge: again(folder, client).await, ..self }
    }

    /// A token, made by the command.
    pub fn token(&self, organization: &str, scope: &str) -> String {
        self.token_with(organization, scope, &[])
    }

    /// The same with further arguments.
    pub fn token_with(&self, organization: &str, scope: &str, more: &[&str]) -> String {
        let made = Command::new(env!("CARGO_BIN_EXE_nameplate"))
            .args(["token", "create", "--organization", organization, "--scope", scope, "--json", "--config"])
            .arg(self.edge.config_file())
            .args(more)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    /// One call.
    pub async fn call(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
        let body = body.map(|body| body.to_string());
        self.call_with(token, method, path, body, &[]).await
    }

    /// One call with a body as it is, and further header fields.
    pub async fn call_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let url = format!("http://{}/api/v1{path}", self.edge.admin);
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(token);
        if let Some(body) = body {
            request = request.body(body);
            if !headers.iter().any(|(name, _)| *name == "content-type") {
                request = request.header("content-type", "application/json");
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status, headers, body }
    }

    /// Registers a hostname for the site `default`.
    pub async fn register(&self, token: &str, hostname: &str) -> Reply {
        let body = json!({ "data": { "attributes": { "hostname": hostname } } });
        self.call(token, "POST", "/sites/default/hostnames", Some(body)).await
    }

    /// Where a hostname of the site `default` stands.
    pub async fn get(&self, token: &str, hostname: &str) -> Reply {
        self.call(token, "GET", &format!("/sites/default/hostnames/{hostname}"), None).await
    }

    /// Waits until a hostname is in this state; its attributes.
    pub async fn becomes(&self, token: &str, hostname: &str, state: &str) -> Value {
        appears(&format!("{hostname} is {state}"), async || {
            let reply = self.get(token, hostname).await;
            (reply.attributes()["state"] == state).then(|| reply.attributes().clone())
        })
        .await
    }
}
