//! `nameplate site`: where hostnames' requests go, by the API.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Connection, Failure, code};
use super::table::{cell, list, pairs, print, say};

/// Arguments of `nameplate site`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List sites.
    List {
        /// All of them, not the first page alone.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a site.
    Add {
        /// Its name.
        name: String,
        /// Where requests go; may be given several times.
        #[arg(long, value_name = "ORIGIN", required = true)]
        origin: Vec<String>,
        /// What customers' hostnames are to point at.
        #[arg(long, value_name = "HOSTNAME")]
        cname_target: Option<String>,
        /// Its organization; an operator's token needs it.
        #[arg(long, value_name = "ORG")]
        organization: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a site.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change a site.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Its name.
        name: String,
        /// Where requests go, in place of all that was set; may be given several times.
        #[arg(long, value_name = "ORIGIN", group = "change")]
        origin: Vec<String>,
        /// What customers' hostnames are to point at.
        #[arg(long, value_name = "HOSTNAME", group = "change")]
        cname_target: Option<String>,
        /// Let them point at what the configuration says.
        #[arg(long, group = "change", conflicts_with = "cname_target")]
        no_cname_target: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take away a site that has no hostnames.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Exit code 1 where the API says no.
pub async fn run(args: Args) -> ExitCode {
    code(match args.what {
        What::List { all, connection } => list_them(connection, all).await,
        What::Add { name, origin, cname_target, organization, connection } => {
            let mut attributes = json!({ "name": name, "origins": origin });
            if let Some(target) = cname_target {
                attributes["cname_target"] = target.into();
            }
            if let Some(organization) = organization {
                attributes["organization"] = organization.into();
            }
            tell(connection, Method::POST, &["sites"], Some(attributes)).await
        }
        What::Show { name, connection } => tell(connection, Method::GET, &["sites", &name], None).await,
        What::Set { name, origin, cname_target, no_cname_target, connection } => {
            let mut attributes = Map::new();
            if !origin.is_empty() {
                attributes.insert("origins".into(), json!(origin));
            }
            if cname_target.is_some() || no_cname_target {
                attributes.insert("cname_target".into(), json!(cname_target));
            }
            tell(connection, Method::PATCH, &["sites", &name], Some(attributes.into())).await
        }
        What::Remove { name, connection } => remove(connection, &name).await,
    })
}

async fn list_them(connection: Connection, all: bool) -> Result<bool, Failure> {
    let api = connection.open()?;
    let document = api.list(&["sites"], &[], all).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    list(&document, &["SITE", "ORGANIZATION", "CONFIGURED", "POINT AT", "ORIGINS", "ROOT"], |one| {
        let keys = ["name", "organization", "configured", "cname_target", "origins", "root"];
        keys.map(|key| cell(&one[key])).to_vec()
    });
    Ok(true)
}

/// Calls, and shows the site that the answer has.
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
    say(&own("name"));
    pairs(&[
        ("organization", own("organization")),
        ("origins", own("origins")),
        ("root", own("root")),
        ("point at", own("cname_target")),
        ("configured", own("configured")),
        ("made", own("created_at")),
        ("changed", own("updated_at")),
    ]);
    Ok(true)
}

async fn remove(connection: Connection, name: &str) -> Result<bool, Failure> {
    let api = connection.open()?;
    api.call(Method::DELETE, &["sites", name], None).await?;
    if api.json {
        print(&json!({ "id": name, "removed": true }))
    } else {
        say(&format!("{name} is gone."))
    }
    Ok(true)
}
