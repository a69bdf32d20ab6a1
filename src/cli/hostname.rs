//! `nameplate hostname`: customers' hostnames, by the API.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Api, Connection, Failure, code};
use super::hostname_view::{self, show};
use super::own_certificate;
use super::table::{cell, list, print, say};
use crate::config::duration;
use crate::domain::registration::State;

/// Pauses between two looks while a hostname is waited for: at first, and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Arguments of `nameplate hostname`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Register a hostname; says which DNS records its owner sets.
    Add {
        /// The hostname, or a wildcard.
        name: String,
        /// Its site.
        #[arg(long, default_value = "default")]
        site: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        wait: Wait,
        #[command(flatten)]
        connection: Connection,
    },
    /// List hostnames.
    List {
        /// Of this site alone.
        #[arg(long)]
        site: Option<String>,
        /// In this state alone: waiting, serving or stuck.
        #[arg(long, value_parser = state)]
        state: Option<State>,
        /// With this text in their name alone.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// All of them, not the first page alone.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show all about a hostname.
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change what is set for a hostname.
    Set {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        connection: Connection,
    },
    /// Look at a hostname's DNS and try for its certificate now.
    Check {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        wait: Wait,
        #[command(flatten)]
        connection: Connection,
    },
    /// Bring a certificate of one's own for a hostname, or take it away.
    Certificate(own_certificate::Args),
    /// Take a hostname away; it is no longer served.
    Remove {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The hostname, or a wildcard.
    name: String,
    /// Its site; looked up unless given.
    #[arg(long)]
    site: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Settings {
    /// An origin of its own, in place of its site's.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Send its visitors to another hostname; path and query are kept.
    #[arg(long, value_name = "HOSTNAME")]
    redirect_to: Option<String>,
    /// 301 or 308.
    #[arg(long, value_name = "STATUS")]
    redirect_status: Option<u16>,
    /// A JSON object, which its origin gets as X-Nameplate-Metadata.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    metadata: Option<Value>,
}

#[derive(Debug, clap::Args)]
struct Change {
    #[command(flatten)]
    settings: Settings,
    /// Take its own origin away.
    #[arg(long, conflicts_with = "origin")]
    no_origin: bool,
    /// Send its visitors nowhere else.
    #[arg(long, conflicts_with_all = ["redirect_to", "redirect_status"])]
    no_redirect: bool,
    /// Take its metadata away.
    #[arg(long, conflicts_with = "metadata")]
    no_metadata: bool,
}

#[derive(Debug, clap::Args)]
struct Wait {
    /// Wait until it is serving, and tell of each change until then.
    #[arg(long)]
    wait: bool,
    /// Longest wait.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse_text, requires = "wait")]
    timeout: Duration,
}

fn state(text: &str) -> Result<State, &'static str> {
    State::of(text).ok_or("it is waiting, serving or stuck")
}

fn json_value(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

impl Settings {
    fn attributes(self) -> Map<String, Value> {
        let given = [
            ("origin", self.origin.map(Value::from)),
            ("redirect_to", self.redirect_to.map(Value::from)),
            ("redirect_status", self.redirect_status.map(Value::from)),
            ("metadata", self.metadata),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

impl Change {
    fn attributes(self) -> Map<String, Value> {
        let mut attributes = self.settings.attributes();
        let gone = [
            ("origin", self.no_origin),
            ("redirect_to", self.no_redirect),
            ("redirect_status", self.no_redirect),
            ("metadata", self.no_metadata),
        ];
        for (key, _) in gone.iter().filter(|(_, gone)| *gone) {
            attributes.insert((*key).to_owned(), Value::Null);
        }
        attributes
    }
}

/// Exit code 1 where the API says no, or the wait ends before the hostname is serving.
pub async fn run(args: Args) -> ExitCode {
    code(match args.what {
        What::Add { name, site, settings, wait, connection } => {
            add(connection, &name, &site, settings, wait).await
        }
        What::List { site, state, search, all, connection } => {
            let filters = [("filter[state]", state.map(State::word)), ("filter[q]", search.as_deref())];
            list_them(connection, site.as_deref(), &filters, all).await
        }
        What::Show { which, connection } => show_one(connection, which).await,
        What::Set { which, change, connection } => set(connection, which, change).await,
        What::Check { which, wait, connection } => check(connection, which, wait).await,
        What::Certificate(args) => own_certificate::run(args).await,
        What::Remove { which, connection } => remove(connection, which).await,
    })
}

async fn add(
    connection: Connection,
    name: &str,
    site: &str,
    settings: Settings,
    wait: Wait,
) -> Result<bool, Failure> {
    let api = connection.open()?;
    let mut attributes = settings.attributes();
    attributes.insert("hostname".into(), json!(name));
    let document = api.call(Method::POST, &["sites", site, "hostnames"], Some(attributes.into())).await?;
    if wait.wait {
        return follow(&api, site, document, wait.timeout).await;
    }
    if api.json {
        print(&document);
        return Ok(true);
    }
    let attributes = &document["data"]["attributes"];
    say(&format!("{} is registered.", cell(&attributes["unicode"])));
    hostname_view::to_begin_with(attributes);
    say(&format!("{}: {}", cell(&attributes["state"]), cell(&attributes["reason"])));
    Ok(true)
}

/// Waits until the hostname of `document` is serving.
async fn follow(api: &Api, site: &str, mut document: Value, timeout: Duration) -> Result<bool, Failure> {
    // Where the document is printed, what is told on the way goes beside it.
    let tell = |line: &str| if api.json { eprintln!("{}", super::table::plain(line)) } else { say(line) };
    if !api.json {
        hostname_view::to_begin_with(&document["data"]["attributes"]);
    }
    let name = document["data"]["id"].as_str().unwrap_or_default().to_owned();
    let waited = tokio::time::timeout(timeout, async {
        let (mut told, mut pause) = (String::new(), LOOKS.0);
        loop {
            let attributes = &document["data"]["attributes"];
            let stands = format!("{}: {}", cell(&attributes["state"]), cell(&attributes["reason"]));
            if stands != told {
                tell(&stands);
                (told, pause) = (stands, LOOKS.0);
            }
            if attributes["state"] == State::Serving.word() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f32(1.3).min(LOOKS.1);
            match api.get(&["sites", site, "hostnames", &name]).await {
                Ok(found) => document = found,
                Err(passing) if passing.passes() => tell(&passing.to_string()),
                Err(failure) => return Err(failure),
            }
        }
    });
    let done = match waited.await {
        Ok(Ok(())) => true,
        Ok(Err(failure)) => return Err(failure),
        Err(_elapsed) => {
            eprintln!("{name} is not serving after {} s; it goes on by itself.", timeout.as_secs());
            false
        }
    };
    if api.json {
        print(&document);
    }
    Ok(done)
}

async fn list_them(
    connection: Connection,
    site: Option<&str>,
    filters: &[(&str, Option<&str>)],
    all: bool,
) -> Result<bool, Failure> {
    let api = connection.open()?;
    let document = match site {
        Some(site) => api.list(&["sites", site, "hostnames"], filters, all).await?,
        None => api.list(&["hostnames"], filters, all).await?,
    };
    if api.json {
        print(&document);
        return Ok(true);
    }
    list(&document, &["HOSTNAME", "STATE", "SITE", "SINCE", "REASON"], |one| {
        ["unicode", "state", "site", "created_at", "reason"].map(|key| cell(&one[key])).to_vec()
    });
    Ok(true)
}

async fn show_one(connection: Connection, which: Which) -> Result<bool, Failure> {
    let api = connection.open()?;
    let (site, name) = find(&api, which).await?;
    let document = api.get(&["sites", &site, "hostnames", &name]).await?;
    if api.json {
        print(&document)
    } else {
        show(&document["data"]["attributes"])
    }
    Ok(true)
}

async fn set(connection: Connection, which: Which, change: Change) -> Result<bool, Failure> {
    let attributes = change.attributes();
    if attributes.is_empty() {
        return Err(Failure::Usage("say what to set; nameplate hostname set --help lists it".into()));
    }
    let api = connection.open()?;
    let (site, name) = find(&api, which).await?;
    let path = ["sites", &site, "hostnames", &name];
    let document = api.call(Method::PATCH, &path, Some(attributes.into())).await?;
    if api.json {
        print(&document)
    } else {
        say(&format!("{name} is changed."))
    }
    Ok(true)
}

async fn check(connection: Connection, which: Which, wait: Wait) -> Result<bool, Failure> {
    let api = connection.open()?;
    let (site, name) = find(&api, which).await?;
    let document = api.call(Method::POST, &["sites", &site, "hostnames", &name, "check"], None).await?;
    if wait.wait {
        return follow(&api, &site, document, wait.timeout).await;
    }
    if api.json {
        print(&document);
    } else {
        say(&format!("{name} is being looked at; nameplate hostname show {name} says what came of it."));
    }
    Ok(true)
}

async fn remove(connection: Connection, which: Which) -> Result<bool, Failure> {
    let api = connection.open()?;
    let (site, name) = find(&api, which).await?;
    api.call(Method::DELETE, &["sites", &site, "hostnames", &name], None).await?;
    if api.json {
        print(&json!({ "id": name, "removed": true }))
    } else {
        say(&format!("{name} is gone."))
    }
    Ok(true)
}

/// Site and name of a hostname as A-labels: its site is looked up unless given.
pub(super) async fn find(api: &Api, which: Which) -> Result<(String, String), Failure> {
    let typed = which.name.trim().trim_end_matches('.');
    let (star, bare) = typed.strip_prefix("*.").map_or(("", typed), |bare| ("*.", bare));
    let ascii = idna::domain_to_ascii(bare).unwrap_or_else(|_| bare.to_lowercase());
    let name = format!("{star}{ascii}");
    if let Some(site) = which.site {
        return Ok((site, name));
    }
    let found = api.list(&["hostnames"], &[("filter[q]", Some(&name))], true).await?;
    let sites: Vec<String> = super::table::rows(&found)
        .filter(|one| one["hostname"] == name.as_str())
        .map(|one| cell(&one["site"]))
        .collect();
    match sites.as_slice() {
        [site] => Ok((site.clone(), name)),
        [] => {
            Err(Failure::NotFound(format!("there is no hostname {name}; nameplate explain {name} says more")))
        }
        several => {
            let sites = several.join(", ");
            Err(Failure::NotFound(format!(
                "{name} is registered for several sites: {sites}; name one by --site"
            )))
        }
    }
}
