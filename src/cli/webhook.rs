//! `nameplate webhook`: who is told what happens, by the API.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Connection, Failure, code};
use super::table::{cell, list, pairs, print, say};

/// Arguments of `nameplate webhook`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List webhooks.
    List {
        /// All of them, not the first page alone.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a webhook; its secret is shown this once.
    Add {
        /// Where messages are sent.
        url: String,
        /// What it wants to know, such as hostname.serving; may be given several times; all unless given.
        #[arg(long, value_name = "EVENT")]
        event: Vec<String>,
        /// Its organization; an operator's token needs it.
        #[arg(long, value_name = "ORG")]
        organization: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a webhook.
    Show {
        /// Its identifier.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change a webhook.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Its identifier.
        id: String,
        /// Where messages are sent.
        #[arg(long, group = "change")]
        url: Option<String>,
        /// What it wants to know, in place of all that was set; may be given several times.
        #[arg(long, value_name = "EVENT", group = "change")]
        event: Vec<String>,
        /// Send messages again.
        #[arg(long, group = "change")]
        enable: bool,
        /// Send no messages.
        #[arg(long, group = "change", conflicts_with = "enable")]
        disable: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take a webhook away, with all that is on its way to it.
    Remove {
        /// Its identifier.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// List what was delivered, or is on its way.
    Deliveries {
        /// The webhook's identifier.
        id: String,
        /// All of them, not the first page alone.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Send again: one delivery, or all that was given up.
    Redeliver {
        /// The webhook's identifier.
        id: String,
        /// The delivery's number; all that was given up, unless given.
        delivery: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Exit code 1 where the API says no.
pub async fn run(args: Args) -> ExitCode {
    code(match args.what {
        What::List { all, connection } => list_them(connection, all).await,
        What::Add { url, event, organization, connection } => {
            let mut attributes = json!({ "url": url, "events": event });
            if let Some(organization) = organization {
                attributes["organization"] = organization.into();
            }
            tell(connection, Method::POST, &["webhooks"], Some(attributes)).await
        }
        What::Show { id, connection } => tell(connection, Method::GET, &["webhooks", &id], None).await,
        What::Set { id, url, event, enable, disable, connection } => {
            let mut attributes = Map::new();
            if let Some(url) = url {
                attributes.insert("url".into(), url.into());
            }
            if !event.is_empty() {
                attributes.insert("events".into(), json!(event));
            }
            if enable || disable {
                attributes.insert("enabled".into(), enable.into());
            }
            tell(connection, Method::PATCH, &["webhooks", &id], Some(attributes.into())).await
        }
        What::Remove { id, connection } => {
            let gone = format!("{id} is gone.");
            act(connection, Method::DELETE, &["webhooks", &id], &gone).await
        }
        What::Deliveries { id, all, connection } => deliveries(connection, &id, all).await,
        What::Redeliver { id, delivery, connection } => {
            let path = match &delivery {
                Some(delivery) => vec!["webhooks", &id, "deliveries", delivery, "redeliver"],
                None => vec!["webhooks", &id, "redeliver"],
            };
            act(connection, Method::POST, &path, "It is on its way.").await
        }
    })
}

async fn list_them(connection: Connection, all: bool) -> Result<bool, Failure> {
    let heads = ["WEBHOOK", "URL", "ORGANIZATION", "ENABLED", "MADE"];
    let keys = ["url", "organization", "enabled", "created_at"];
    show_list(connection, &["webhooks"], all, &heads, &keys).await
}

async fn deliveries(connection: Connection, id: &str, all: bool) -> Result<bool, Failure> {
    let heads = ["DELIVERY", "EVENT", "HOSTNAME", "STATE", "FAILURES", "NEXT TRY", "LAST TRY"];
    let keys = ["kind", "hostname", "state", "failures", "next_at", "report"];
    show_list(connection, &["webhooks", id, "deliveries"], all, &heads, &keys).await
}

/// Shows a list, each resource by its identifier and the attributes of `keys`.
async fn show_list(
    connection: Connection,
    path: &[&str],
    all: bool,
    heads: &[&str],
    keys: &[&str],
) -> Result<bool, Failure> {
    let api = connection.open()?;
    let mut document = api.list(path, &[], all).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    // A list knows attributes alone.
    for resource in document["data"].as_array_mut().into_iter().flatten() {
        let id = resource["id"].clone();
        resource["attributes"]["id"] = id;
    }
    list(&document, heads, |one| ["id"].iter().chain(keys).map(|key| cell(&one[*key])).collect());
    Ok(true)
}

/// Calls, and shows the webhook that the answer has.
async fn tell(
    connection: Connection,
    method: Method,
    path: &[&str],
    attributes: Option<Value>,
) -> Result<bool, Failure> {
    let api = connection.open()?;
    let document = api.call(method, path, attributes).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    let own = |key: &str| cell(&document["data"]["attributes"][key]);
    say(&cell(&document["data"]["id"]));
    let mut shown = vec![
        ("url", own("url")),
        ("events", own("events")),
        ("organization", own("organization")),
        ("enabled", own("enabled")),
        ("disabled, as", own("disabled_reason")),
        ("made", own("created_at")),
    ];
    if document["data"]["attributes"]["secret"].is_string() {
        shown.push(("secret", own("secret")));
    }
    pairs(&shown);
    Ok(true)
}

async fn act(connection: Connection, method: Method, path: &[&str], done: &str) -> Result<bool, Failure> {
    let api = connection.open()?;
    api.call(method, path, None).await?;
    if api.json {
        print(&json!({ "done": true }));
    } else {
        say(done);
    }
    Ok(true)
}
