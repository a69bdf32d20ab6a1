//! `nameplate import`: certificates from other servers.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::import_view::View;
use super::open_beside;
use crate::certs::import::batches::{self, Target};
use crate::certs::import::{Failed, Source, caddy, certbot, haproxy, keyed};
use crate::certs::in_full;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock, UnixTime};
use crate::peers::connection::Address;
use crate::peers::kong;
use crate::peers::layout::Layout;
use crate::store::key_file;
use crate::store::local::{LOCAL_TIER, LocalTier};
use crate::store::opened::Opened;

/// Bring certificates from other servers.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Where they come from.
    #[command(subcommand)]
    pub source: From,
}

/// What can be imported.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum From {
    /// haproxy: a folder of *.pem files with leaf, chain and private key in one file.
    Haproxy {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// certbot: its folder, with live and renewal in it.
    Certbot {
        /// The folder.
        #[arg(value_name = "DIR", default_value = "/etc/letsencrypt")]
        folder: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Caddy: its data folder, with certificates in it.
    Caddy {
        /// The folder; /var/lib/caddy/.local/share/caddy or ~/.local/share/caddy unless given.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
        /// From this issuer only, as its folder is named; may be given more than once. All but
        /// Caddy's own authority (local) unless given.
        #[arg(long, value_name = "ISSUER")]
        issuer: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// lua-resty-auto-ssl: its folder, or its Redis.
    LuaRestyAutoSsl {
        #[command(flatten)]
        place: DirOrRedis,
        /// What its redis.prefix is set to.
        #[arg(long, conflicts_with = "dir")]
        prefix: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// lua-resty-acme: its folder, or its Redis.
    LuaRestyAcme {
        #[command(flatten)]
        place: DirOrRedis,
        /// What its storage's namespace is set to.
        #[arg(long, default_value = "")]
        namespace: String,
        #[command(flatten)]
        how: How,
    },
    /// Kong's ACME plugin: its Redis.
    Kong {
        #[command(flatten)]
        redis: Redis,
        /// What its keys begin with.
        #[arg(long, default_value = kong::PREFIX)]
        prefix: String,
        #[command(flatten)]
        how: How,
    },
}

/// What is done with them.
#[derive(clap::Args, Clone, Debug)]
pub struct How {
    /// Write into the store; without it, only show what would be done.
    #[arg(long)]
    pub apply: bool,
    /// The configuration file; read with --apply only.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write what became of each item here too, as lines of JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// A folder or a Redis, one of them.
#[derive(clap::Args, Clone, Debug)]
#[group(args = ["dir", "redis"], required = true, multiple = false)]
pub struct DirOrRedis {
    /// The folder.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The Redis: redis://USER:PASSWORD@HOST:PORT/DATABASE, of which all but the host may be left
    /// out; rediss:// for TLS.
    #[arg(long, value_name = "URL")]
    pub redis: Option<Url>,
    #[command(flatten)]
    pub access: Access,
}

/// A Redis.
#[derive(clap::Args, Clone, Debug)]
pub struct Redis {
    /// The Redis: redis://USER:PASSWORD@HOST:PORT/DATABASE, of which all but the host may be left
    /// out; rediss:// for TLS.
    #[arg(long, value_name = "URL")]
    pub redis: Url,
    #[command(flatten)]
    pub access: Access,
}

/// How a Redis lets us in.
#[derive(clap::Args, Clone, Debug)]
pub struct Access {
    /// A file with Redis' password, in place of one in the URL, which other users of this machine
    /// can see. NAMEPLATE_REDIS_PASSWORD in the environment does the same.
    #[arg(long, value_name = "FILE", requires = "redis")]
    pub redis_password_file: Option<PathBuf>,
    /// Whom to trust with rediss://, in place of the system's roots (PEM).
    #[arg(long, value_name = "FILE", requires = "redis")]
    pub redis_ca_file: Option<PathBuf>,
}

/// A URL with a password in it, perhaps. `Debug` does not show it, and no text is refused here, as
/// clap would show that.
#[derive(Clone)]
pub struct Url(Zeroizing<String>);

impl FromStr for Url {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(…)")
    }
}

/// What only the process knows.
#[derive(Clone, Default)]
pub struct Environment {
    /// The user's folder.
    pub home: Option<String>,
    /// Redis' password.
    pub redis_password: Option<Zeroizing<String>>,
}

impl Environment {
    fn of_process() -> Self {
        let redis_password = std::env::var("NAMEPLATE_REDIS_PASSWORD").ok().map(Zeroizing::new);
        Self { home: std::env::var("HOME").ok(), redis_password }
    }
}

impl From {
    fn how(&self) -> &How {
        match self {
            Self::Haproxy { how, .. }
            | Self::Certbot { how, .. }
            | Self::Caddy { how, .. }
            | Self::LuaRestyAutoSsl { how, .. }
            | Self::LuaRestyAcme { how, .. }
            | Self::Kong { how, .. } => how,
        }
    }

    async fn open(&self, environment: &Environment, now: UnixTime) -> Result<Source, Box<dyn Error>> {
        let redis = |url: &Option<Url>, access: &Access| address(url.as_ref(), access, environment);
        Ok(match self {
            Self::Haproxy { folder, .. } => haproxy::open(folder, now)?,
            Self::Certbot { folder, .. } => certbot::open(folder, now)?,
            Self::Caddy { folder, issuer, .. } => {
                let usual = || caddy::usual_folder(environment.home.as_deref());
                caddy::open(&folder.clone().map_or_else(usual, Ok)?, issuer.clone(), now)?
            }
            Self::LuaRestyAutoSsl { place, prefix, .. } => match &place.dir {
                Some(dir) => keyed::open_lua_resty_auto_ssl(dir, now)?,
                None => {
                    let layout = Layout::LuaRestyAutoSsl { prefix: prefix.clone() };
                    keyed::open_redis(&redis(&place.redis, &place.access)?, layout, now).await?
                }
            },
            Self::LuaRestyAcme { place, namespace, .. } => match &place.dir {
                Some(dir) => keyed::open_lua_resty_acme(dir, namespace.clone(), now)?,
                None => {
                    let layout = Layout::LuaRestyAcme { namespace: namespace.clone() };
                    keyed::open_redis(&redis(&place.redis, &place.access)?, layout, now).await?
                }
            },
            Self::Kong { redis: place, prefix, .. } => {
                let layout = Layout::Kong { prefix: prefix.clone() };
                let address = redis(&Some(place.redis.clone()), &place.access)?;
                keyed::open_redis(&address, layout, now).await?
            }
        })
    }
}

/// A password in a file comes before one in the environment, and that before the URL's.
fn address(url: Option<&Url>, access: &Access, environment: &Environment) -> Result<Address, Box<dyn Error>> {
    let read = |path: &Path| std::fs::read(path).map_err(|source| Failed::File { path: path.into(), source });
    let mut password = environment.redis_password.clone();
    if let Some(path) = &access.redis_password_file {
        let octets = Zeroizing::new(read(path)?);
        let text = std::str::from_utf8(&octets).map_err(|_| Failed::NoText { path: path.clone() })?;
        password = Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let roots = access.redis_ca_file.as_deref().map(read).transpose()?;
    let url = url.map_or("", |url| url.0.as_str());
    Ok(Address::new(url, password.as_ref().map(|password| password.as_str()), roots)?)
}

/// Does it. The configuration is loaded by `load` where it is needed: a dry run needs none. The
/// server may run meanwhile.
///
/// 0: done; 1: nothing was there to import, or an error stopped it (what was imported until then
/// stays).
pub async fn run(args: &Args, load: impl FnOnce(Option<&Path>) -> Result<Config, ExitCode>) -> ExitCode {
    let how = args.source.how();
    let config = match how.apply.then(|| load(how.config.as_deref())).transpose() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let environment = Environment::of_process();
    match import(&args.source, &environment, config.as_ref(), &mut io::stdout().lock()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nameplate import: {}", in_full(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Imports `from` into the store of `config`, or shows what would be imported where there is none;
/// writes its report to `out`. Whether there was anything to import.
pub async fn import(
    from: &From,
    environment: &Environment,
    config: Option<&Config>,
    out: &mut dyn Write,
) -> Result<bool, Box<dyn Error>> {
    let source = from.open(environment, SystemClock.now()).await?;
    let lines = match &from.how().report {
        Some(path) => Some(BufWriter::new(
            File::create(path).map_err(|source| Failed::File { path: path.clone(), source })?,
        )),
        None => None,
    };
    let mut view = View::new(&source, config.is_some(), lines, out);
    let afterwards = source.afterwards.clone();
    let (summary, ended) = match config {
        None => batches::import(source, None, &mut view).await,
        Some(config) => {
            let (store, local) = open_store(config).await?;
            let target = Target { store: store.records(), local: &local };
            let imported = batches::import(source, Some(target), &mut view).await;
            store.close().await;
            imported
        }
    };
    view.end(&summary, &afterwards, ended.is_ok())?;
    ended?;
    Ok(summary.names + summary.kept > 0)
}

async fn open_store(config: &Config) -> Result<(Opened, LocalTier), crate::store::Error> {
    let store = open_beside(config).await?;
    let local = LocalTier::open(&config.data_dir.join(LOCAL_TIER), key_file::open(&config.store.key)?)?;
    Ok((store, local))
}
