//! A real ACME CA in processes of its own: Pebble, and pebble-challtestsrv as its DNS.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nameplate::config::{Authority, ChallengeType, Directory};
use nameplate::domain::certificate::KeyType;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{eventually, free_port};

/// How a [`Ca`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it validates HTTP-01, on 127.0.0.1.
    pub http_port: u16,
    /// Where it validates TLS-ALPN-01, on 127.0.0.1.
    pub tls_port: u16,
    /// Nonces out of a hundred that it rejects though they are good.
    pub nonces_rejected: u8,
    /// How long its certificates live, in seconds; years unless told.
    pub lifetime: Option<u32>,
    /// Key id and HMAC key (base64url) that an account must be bound to.
    pub external_account: Option<(&'static str, &'static str)>,
    /// Whom it asks in place of its own DNS, as `127.0.0.1:53`.
    pub resolver: Option<String>,
    /// A further address that its own HTTPS is reached at.
    pub address: Option<Ipv4Addr>,
}

impl Options {
    /// A well-behaved CA that validates at these ports.
    pub fn validating_at(http_port: u16, tls_port: u16) -> Self {
        Self {
            http_port,
            tls_port,
            nonces_rejected: 0,
            lifetime: None,
            external_account: None,
            resolver: None,
            address: None,
        }
    }
}

/// A running CA; its processes end with it.
pub struct Ca {
    folder: TempDir,
    port: u16,
    management: u16,
    dns: u16,
    dns_management: u16,
    nonces_rejected: u8,
    resolver: String,
    pebble: Process,
    dns_server: Process,
}

/// A child process that ends with its owner, also where a test panics.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Ca {
    /// Starts it and waits until it answers.
    pub async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, management, dns, dns_management) = (free_port(), free_port(), free_port(), free_port());
        write_tls_files_for(folder.path(), options.address);
        write_config(folder.path(), &options, port, management);
        let dns_process = Process(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-dns01", &format!("127.0.0.1:{dns}")])
                .args(["-management", &format!("127.0.0.1:{dns_management}")])
                .stdout(log(folder.path(), "dns.log"))
                .stderr(log(folder.path(), "dns.err"))
                .spawn()
                .expect("pebble-challtestsrv, from Debian's package pebble"),
        );
        let resolver = options.resolver.unwrap_or_else(|| format!("127.0.0.1:{dns}"));
        let pebble = start_pebble(folder.path(), &resolver, options.nonces_rejected);
        let nonces_rejected = options.nonces_rejected;
        let ca = Self {
            folder,
            port,
            management,
            dns,
            dns_management,
            nonces_rejected,
            resolver,
            pebble,
            dns_server: dns_process,
        };
        ca.answers().await;
        ca
    }

    /// Ends it and starts it again at the same address; it has forgotten everything.
    pub async fn restart(&mut self) {
        self.stop();
        self.pebble = start_pebble(self.folder.path(), &self.resolver, self.nonces_rejected);
        self.answers().await;
    }

    async fn answers(&self) {
        for port in [self.port, self.management, self.dns_management] {
            let connects = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
            eventually("the CA listens", connects).await;
        }
    }

    /// Its directory URL.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// The root (PEM) of its own HTTPS, for `ca_file`.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("https-root.pem")
    }

    /// Certificate and key (PEM) of its own HTTPS, for a server that stands in its place.
    pub fn https_files(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("https.pem"), self.folder.path().join("https.key"))
    }

    /// The `[[authority]]` for it, as code has it.
    pub fn authority(&self, name: &str, challenges: &[ChallengeType]) -> Authority {
        Authority {
            name: name.into(),
            directory: Directory::Acme(self.directory().parse().unwrap()),
            contact: vec!["mailto:ops@example.com".into()],
            challenges: challenges.to_vec(),
            ca_file: Some(self.ca_file()),
            eab: None,
            accounts: 1,
            profile: None,
            key_type: KeyType::P256,
            limits: nameplate::config::AuthorityLimits::None,
            caa_identities: Vec::new(),
            order_timeout: Duration::from_secs(60),
        }
    }

    /// The `[[authority]]` for it, as a configuration file has it.
    pub fn authority_toml(&self, name: &str, challenges: &str) -> String {
        format!(
            "[[authority]]\nname = {name:?}\ndirectory = {:?}\ncontact = [\"mailto:ops@example.com\"]\n\
             challenges = {challenges}\nca_file = {:?}\n",
            self.directory(),
            self.ca_file()
        )
    }

    /// The root (PEM) that its certificates end in.
    pub async fn root(&self) -> String {
        let client = trusting(&self.ca_file());
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// What it says of the certificate with this serial number: `Status`, `Reason`.
    pub async fn status(&self, serial: &str) -> serde_json::Value {
        let client = trusting(&self.ca_file());
        let serial = serial.to_lowercase();
        let url = format!("https://127.0.0.1:{}/cert-status-by-serial/{serial}", self.management);
        let text = client.get(url).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{serial}: {error} in {text}"))
    }

    /// Orders placed in all.
    pub fn orders(&self) -> usize {
        self.logged(|line| line.contains("Added order "))
    }

    /// Orders for `name` that came to a validation: the first one does that once its challenge is said
    /// to be ready. Of the orders after it one in a hundred does not, see [`start_pebble`].
    pub fn orders_for(&self, name: &str) -> usize {
        let value = format!("Value:{name:?}");
        self.logged(|line| line.contains("Pulled a task from the Tasks queue") && line.contains(&value))
    }

    /// Requests that reached it in all.
    pub fn requests(&self) -> usize {
        self.logged(|line| line.contains("-> calling handler()"))
    }

    /// Accounts made in all.
    pub fn accounts(&self) -> usize {
        self.logged(|line| line.contains("accounts in memory"))
    }

    /// Lets every DNS question about `name` fail (SERVFAIL).
    pub async fn break_dns_of(&self, name: &str) {
        self.set_dns("set-servfail", serde_json::json!({ "host": name })).await;
    }

    /// Changes what its DNS says, by a call of pebble-challtestsrv such as `add-a`.
    pub async fn set_dns(&self, call: &str, what: serde_json::Value) {
        let url = format!("http://127.0.0.1:{}/{call}", self.dns_management);
        let answer = plain_client().post(url).body(what.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{call}: {answer:?}");
    }

    /// Where its DNS listens.
    pub fn dns_server(&self) -> String {
        format!("127.0.0.1:{}", self.dns)
    }

    /// Ends it; from now on nobody listens at its directory.
    pub fn stop(&mut self) {
        self.pebble.0.kill().unwrap();
        self.pebble.0.wait().unwrap();
    }

    /// Ends its DNS: no name resolves any more.
    pub fn stop_dns(&mut self) {
        self.dns_server.0.kill().unwrap();
        self.dns_server.0.wait().unwrap();
    }

    /// Where its DNS is told what to say.
    pub fn dns_management(&self) -> String {
        format!("http://127.0.0.1:{}", self.dns_management)
    }

    /// Halts it, so that every request to it hangs until [`Ca::resume`].
    pub fn halt(&self) {
        signal(&self.pebble, "STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        signal(&self.pebble, "CONT");
    }

    /// Halts its DNS, so that a validation hangs until [`Ca::resume_dns`].
    pub fn halt_dns(&self) {
        signal(&self.dns_server, "STOP");
    }

    /// Lets its DNS go on.
    pub fn resume_dns(&self) {
        signal(&self.dns_server, "CONT");
    }

    /// What it logged, for a test that failed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("pebble.log")).unwrap()
    }

    fn logged(&self, says: impl Fn(&str) -> bool) -> usize {
        self.log().lines().filter(|line| says(line)).count()
    }
}

fn signal(process: &Process, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A client that trusts the root (PEM) in `root` alone, and follows no redirect.
pub fn trusting(root: &Path) -> reqwest::Client {
    let own = fs::read(root).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let root = <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice;
    roots.add(root(&own).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// A client for plain HTTP that follows no redirect.
pub fn plain_client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

fn start_pebble(folder: &Path, resolver: &str, nonces_rejected: u8) -> Process {
    Process(
        Command::new("pebble")
            .args(["-config", "pebble.json", "-dnsserver", resolver])
            .current_dir(folder)
            // On several threads its locks can end in a deadlock: one order reads authorizations under
            // the lock that the reader of an authorization waits for.
            .env("GOMAXPROCS", "1")
            .env("PEBBLE_VA_NOSLEEP", "1")
            // It reuses a valid authorization where a number below a hundred is at most this one: at 0 too
            // that is so for one order in a hundred, and it takes no number below.
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", nonces_rejected.to_string())
            .stdin(Stdio::null())
            .stdout(log(folder, "pebble.log"))
            .stderr(log(folder, "pebble.err"))
            .spawn()
            .expect("pebble, from Debian's package of this name"),
    )
}

fn log(folder: &Path, name: &str) -> File {
    File::create(folder.join(name)).unwrap()
}

fn write_config(folder: &Path, options: &Options, port: u16, management: u16) {
    let keys = match options.external_account {
        Some((id, hmac)) => serde_json::json!({ id: hmac }),
        None => serde_json::json!({}),
    };
    let mut config = serde_json::json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": "https.pem",
        "privateKey": "https.key",
        "httpPort": options.http_port,
        "tlsPort": options.tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": options.external_account.is_some(),
        "externalAccountMACKeys": keys,
    }});
    if let Some(seconds) = options.lifetime {
        config["pebble"]["certificateValidityPeriod"] = seconds.into();
    }
    fs::write(folder.join("pebble.json"), config.to_string()).unwrap();
}

/// The certificate of the CA's own HTTPS, with a root of its own.
pub fn write_tls_files(folder: &Path) {
    write_tls_files_for(folder, None);
}

fn write_tls_files_for(folder: &Path, address: Option<Ipv4Addr>) {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(address.map(|address| address.to_string()));
    let leaf = CertificateParams::new(names).unwrap();
    let pem = leaf.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap().pem();
    fs::write(folder.join("https-root.pem"), root_pem).unwrap();
    fs::write(folder.join("https.pem"), pem).unwrap();
    fs::write(folder.join("https.key"), key.serialize_pem()).unwrap();
}
