//! `nameplate demo`: everything on loopback, to look at and to try.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::Router;
use axum::extract::Path as UrlPath;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::get;
use tokio::net::TcpListener;

use super::run::runtime;
use super::serving::{self, Signals};
use super::token;
use crate::api::access::NewToken;
use crate::app::{self, Running};
use crate::config::file;
use crate::domain::access::{Reach, Scope};
use crate::domain::clock::{Clock, SystemClock};
use crate::telemetry::log;

/// Names under this one are approved by the demo's endpoint.
const CUSTOMERS: &str = ".customer.example";
/// What `[listen]` has unless the ports are taken: HTTP, HTTPS, admin.
const PORTS: [u16; 3] = [8080, 8443, 9443];

/// Arguments of `nameplate demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep data in this folder, and let it stand afterwards.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// Runs until Ctrl-C or SIGTERM.
pub fn run(args: &Args) -> ExitCode {
    log::start();
    match runtime(None).map_err(Error::from).and_then(|runtime| runtime.block_on(demo(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo cannot run: {}", crate::certs::in_full(&error));
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("a socket or folder cannot be made")]
    Io(#[from] std::io::Error),
    #[error("the demo's own configuration is wrong")]
    Config(#[from] crate::config::Problems),
    #[error(transparent)]
    Start(#[from] app::StartError),
    #[error("no token can be made")]
    Store(#[from] crate::store::Error),
}

async fn demo(args: &Args) -> Result<(), Error> {
    let data_dir = args
        .data_dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("nameplate-demo-{}", std::process::id())));
    let origin = serve(Router::new().fallback(get(example_page).post(example_page))).await?;
    let approval = serve(Router::new().route("/approvalendpoint/{hostname}", get(approve))).await?;
    let text = configuration(&data_dir, origin, approval);
    let config = file::parse(&text, &data_dir.join("nameplate.toml"))?;
    let signals = Signals::new()?;
    let running = app::start(config.clone(), Vec::new()).await?;
    let operator = NewToken::draw(Reach::All, Scope::Admin, "demo".into(), SystemClock.now(), None);
    token::keep(&config, &operator).await?;
    print_what_to_try(&running, &data_dir, &operator.text);
    serving::until_stopped(running, signals).await;
    if args.data_dir.is_none() {
        std::fs::remove_dir_all(&data_dir)?;
    }
    println!("\nThe demo has ended.");
    Ok(())
}

/// The demo's configuration, as a user would write it.
fn configuration(data_dir: &Path, origin: SocketAddr, approval: SocketAddr) -> String {
    let [http, https, admin] = PORTS.map(free_or_any);
    let data_dir = toml::Value::String(data_dir.display().to_string());
    format!(
        r#"data_dir = {data_dir}

[listen]
http = ["127.0.0.1:{http}"]
https = ["127.0.0.1:{https}"]
admin = "127.0.0.1:{admin}"

[[authority]]
name = "internal"
directory = "internal"

[on_demand]
approval = "http://{approval}/approvalendpoint/{{hostname}}"

[dns]
cname_target = "edge.platform.example"
# Nobody answers there: names of the demo are in no DNS.
resolvers = ["127.0.0.1:9"]

[[site]]
name = "default"
origins = ["{origin}"]
"#
    )
}

/// `port`, or 0 where something listens there already.
fn free_or_any(port: u16) -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_or(0, |_free| port)
}

async fn serve(router: Router) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a server of the demo stopped");
        }
    });
    Ok(address)
}

/// What a platform's backend answers: is this hostname one of its customers'?
async fn approve(UrlPath(hostname): UrlPath<String>) -> StatusCode {
    if hostname.ends_with(CUSTOMERS) { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

/// What a platform's site shows.
async fn example_page(uri: Uri, headers: HeaderMap) -> String {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
    format!(
        "Hello from the example origin.\nhostname: {}\npath: {}\nclient: {}\nprotocol: {}\n",
        header("host"),
        uri.path(),
        header("x-forwarded-for"),
        header("x-forwarded-proto"),
    )
}

fn print_what_to_try(running: &Running, data_dir: &Path, token: &str) {
    let port = |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port);
    let (http, https) = (port(&running.bound.http), port(&running.bound.https));
    let root = data_dir.join("internal-ca").join("root.pem");
    let root = root.display();
    println!(
        "Nameplate runs on loopback with an embedded store, an internal CA, an example origin, and
an approval endpoint that says yes to every name that ends in {CUSTOMERS}.

A hostname nobody configured: its certificate is made during this first handshake.
  curl --cacert {root} --resolve status.customer.example:{https}:127.0.0.1 https://status.customer.example:{https}/

The same over HTTP is redirected.
  curl -i --resolve status.customer.example:{http}:127.0.0.1 http://status.customer.example:{http}/a?b=c

A hostname that the platform does not know is refused in the handshake, before any order.
  curl --cacert {root} --resolve status.stranger.example:{https}:127.0.0.1 https://status.stranger.example:{https}/

A hostname registered by the API; the answer says where it stands and which DNS records to set.
  curl -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{{\"data\":{{\"attributes\":{{\"hostname\":\"shop.registered.example\"}}}}}}' http://{admin}/api/v1/sites/default/hostnames

It is served too.
  curl --cacert {root} --resolve shop.registered.example:{https}:127.0.0.1 https://shop.registered.example:{https}/

What Prometheus reads:
  curl http://{admin}/metrics

Ctrl-C ends it.",
        admin = running.bound.admin,
    );
}
