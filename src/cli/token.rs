//! `nameplate token`: who may call the API. Works on the store itself, so that the first token needs
//! none, whether a process serves or not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::{configuration, failure, open_beside};
use crate::api::access::NewToken;
use crate::certs::in_full;
use crate::config::{Config, duration};
use crate::domain::access::{Reach, Scope};
use crate::domain::clock::{Clock, SystemClock};
use crate::store::Error;
use crate::store::records::Token;

/// Tokens read at a time.
const PAGE: u32 = 200;

/// Arguments of `nameplate token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token; it is shown this once.
    Create {
        /// Whose hostnames it opens; '*' for an operator's, which opens everybody's.
        #[arg(long, value_name = "ORG")]
        organization: Reach,
        /// What it allows: read, write (hostnames) or admin (sites, tokens, webhooks too).
        #[arg(long)]
        scope: Scope,
        /// How long it is good, as in 90d; without end unless given.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse_text)]
        expires: Option<Duration>,
        /// What to remember it by.
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        common: Common,
    },
    /// List tokens.
    List {
        /// Of this organization alone.
        #[arg(long, value_name = "ORG", default_value = "*")]
        organization: Reach,
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a token; in force at once.
    Revoke {
        /// Its identifier, as the list shows it.
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code 1 where there is no such token.
pub async fn run(args: Args) -> ExitCode {
    let (What::Create { common, .. } | What::List { common, .. } | What::Revoke { common, .. }) = &args.what;
    let config = match configuration(common.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let done = match args.what {
        What::Create { organization, scope, expires, note, common } => {
            let now = SystemClock.now();
            let end = expires.map(|expires| now.plus(expires));
            create(&config, NewToken::draw(organization, scope, note, now, end), common.json).await
        }
        What::List { organization, common } => list(&config, &organization, common.json).await,
        What::Revoke { id, common } => revoke(&config, &id, common.json).await,
    };
    done.unwrap_or_else(|error| failure(&in_full(&error)))
}

/// Keeps a token that was drawn.
pub(super) async fn keep(config: &Config, made: &NewToken) -> Result<(), Error> {
    let store = open_beside(config).await?;
    let kept = store.records().add_token(&made.token, None).await;
    store.close().await;
    kept
}

async fn create(config: &Config, made: NewToken, as_json: bool) -> Result<ExitCode, Error> {
    keep(config, &made).await?;
    if as_json {
        let mut shown = shown(&made.token);
        shown["token"] = json!(made.text.as_str());
        println!("{shown}");
    } else {
        println!("{}", made.text.as_str());
        eprintln!("Keep it: it is not shown again. Its identifier is {}.", made.token.id);
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(token: &Token) -> serde_json::Value {
    json!({
        "id": token.id,
        "organization": token.reach.to_string(),
        "scope": token.scope,
        "note": token.note,
        "created_at": token.created_at.to_string(),
        "expires_at": token.expires_at.map(|at| at.to_string()),
        "revoked_at": token.revoked_at.map(|at| at.to_string()),
    })
}

async fn list(config: &Config, reach: &Reach, as_json: bool) -> Result<ExitCode, Error> {
    let store = open_beside(config).await?;
    let mut tokens: Vec<Token> = Vec::new();
    loop {
        let after = tokens.last().map_or(String::new(), |token| token.id.clone());
        let page = store.records().tokens(reach, &after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        tokens.extend(page);
    }
    store.close().await;
    if as_json {
        println!("{}", serde_json::Value::from_iter(tokens.iter().map(shown)));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<14} {:<20} {:<6} {:<22} NOTE", "ID", "ORGANIZATION", "SCOPE", "GOOD UNTIL");
    for token in &tokens {
        let end = match (token.revoked_at, token.expires_at) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(end)) => end.to_string(),
            (None, None) => "no end".to_owned(),
        };
        let organization = token.reach.to_string();
        println!("{:<14} {organization:<20} {:<6} {end:<22} {}", token.id, token.scope.word(), token.note);
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(config: &Config, id: &str, as_json: bool) -> Result<ExitCode, Error> {
    let store = open_beside(config).await?;
    let revoked = store.records().revoke_token(&Reach::All, id, None).await?;
    store.close().await;
    if as_json {
        println!("{}", json!({ "id": id, "revoked": revoked }));
    } else if !revoked {
        return Ok(failure(&format!("there is no good token {id}; nameplate token list shows all")));
    } else {
        println!("{id} is no longer good");
    }
    Ok(if revoked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
