//! `nameplate hostname certificate`: certificates of one's own, by the API.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::client::{Connection, Failure};
use super::hostname::{Which, find};
use super::table::{cell, print, say};
use crate::certs::{in_full, pem};

/// Arguments of `nameplate hostname certificate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Bring a certificate; it is served at once. One of each family of keys is kept.
    Set {
        #[command(flatten)]
        which: Which,
        /// The certificate and those of its issuers, PEM.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key, PEM, not encrypted.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take the certificates that were brought away; what is obtained is served in their place.
    Remove {
        #[command(flatten)]
        which: Which,
        /// The one of this family of keys alone: ecdsa, rsa or ed25519.
        #[arg(long, value_name = "FAMILY", value_parser = ["ecdsa", "rsa", "ed25519"])]
        family: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

/// `false` where the API says no.
pub(super) async fn run(args: Args) -> Result<bool, Failure> {
    match args.what {
        What::Set { which, certificate, key, connection } => set(connection, which, &certificate, &key).await,
        What::Remove { which, family, connection } => remove(connection, which, family).await,
    }
}

fn text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let octets = pem::read_file(path)
        .map_err(|error| Failure::Usage(format!("{}: {}", path.display(), in_full(&error))))?;
    let text = std::str::from_utf8(&octets);
    let text = text.map_err(|_| Failure::Usage(format!("{} is no text in PEM", path.display())))?;
    Ok(Zeroizing::new(text.to_owned()))
}

async fn set(connection: Connection, which: Which, certificate: &Path, key: &Path) -> Result<bool, Failure> {
    let (fullchain, private_key) = (text(certificate)?, text(key)?);
    let api = connection.open()?;
    let (site, name) = find(&api, which).await?;
    let attributes = json!({ "fullchain": *fullchain, "private_key": *private_key });
    let path = ["sites", &site, "hostnames", &name, "certificate"];
    let document = api.call(Method::PUT, &path, Some(attributes)).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    let list = |key: &str| {
        document["data"]["attributes"][key].as_array().map(Vec::as_slice).unwrap_or_default().to_vec()
    };
    say(&format!("{name} is served by it."));
    for one in list("certificates") {
        say(&format!("{}: valid until {}", cell(&one["key_type"]), cell(&one["not_after"])));
    }
    for warning in list("warnings") {
        say(&format!("Note: {}", cell(&warning["text"])));
    }
    Ok(true)
}

async fn remove(connection: Connection, which: Which, family: Option<String>) -> Result<bool, Failure> {
    let api = connection.open()?;
    let (site, name) = find(&api, which).await?;
    let path = ["sites", &site, "hostnames", &name, "certificate"];
    api.delete(&path, &[("family", family.as_deref())]).await?;
    match family {
        _ if api.json => print(&json!({ "id": name, "removed": true })),
        Some(family) => say(&format!("The own {family} certificate of {name} is taken away.")),
        None => say(&format!("{name} is served by what is obtained for it.")),
    }
    Ok(true)
}
