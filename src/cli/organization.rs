//! `nameplate organization` and `nameplate quota`: who may have how many hostnames, by the API.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Connection, Failure, code};
use super::table::{cell, list, print, say};

/// Arguments of `nameplate organization`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List organizations; for operators.
    List {
        /// All of them, not the first page alone.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Set how many hostnames an organization may have; for operators.
    SetQuota {
        /// The organization.
        organization: String,
        /// The number; `default`: what the configuration says.
        #[arg(value_parser = quota)]
        quota: Quota,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Arguments of `nameplate quota`.
#[derive(Debug, clap::Args)]
pub struct QuotaArgs {
    /// Whose; an operator's token needs it.
    #[arg(long, value_name = "ORG")]
    organization: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// A quota as it is typed; `None`: the configuration's.
#[derive(Clone, Copy, Debug)]
struct Quota(Option<u32>);

fn quota(text: &str) -> Result<Quota, String> {
    match text {
        "default" => Ok(Quota(None)),
        text => text.parse().map(|count| Quota(Some(count))).map_err(|_| "it is a number, or default".into()),
    }
}

/// Exit code 1 where the API says no.
pub async fn run(args: Args) -> ExitCode {
    code(match args.what {
        What::List { all, connection } => list_them(connection, all).await,
        What::SetQuota { organization, quota, connection } => {
            set_quota(connection, &organization, quota).await
        }
    })
}

/// Exit code 1 where the API says no.
pub async fn run_quota(args: QuotaArgs) -> ExitCode {
    code(show_quota(args).await)
}

async fn list_them(connection: Connection, all: bool) -> Result<bool, Failure> {
    let api = connection.open()?;
    let document = api.list(&["organizations"], &[], all).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    list(&document, &["ORGANIZATION", "HOSTNAMES", "QUOTA"], |one| {
        ["name", "used", "allocated"].map(|key| cell(&one[key])).to_vec()
    });
    Ok(true)
}

async fn set_quota(connection: Connection, organization: &str, quota: Quota) -> Result<bool, Failure> {
    let api = connection.open()?;
    let attributes = json!({ "quota": quota.0 });
    let document = api.call(Method::PATCH, &["organizations", organization], Some(attributes)).await?;
    tell(&document, api.json)
}

async fn show_quota(args: QuotaArgs) -> Result<bool, Failure> {
    let api = args.connection.open()?;
    let document = api.list(&["quota"], &[("organization", args.organization.as_deref())], false).await?;
    tell(&document, api.json)
}

fn tell(document: &Value, as_json: bool) -> Result<bool, Failure> {
    if as_json {
        print(document);
        return Ok(true);
    }
    let [name, used, allocated] =
        ["name", "used", "allocated"].map(|key| cell(&document["data"]["attributes"][key]));
    say(&format!("{name} has {used} hostnames and may have {allocated}."));
    Ok(true)
}
