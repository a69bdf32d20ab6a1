//! The Redis that other servers keep certificates in.
//!
//! Keys are found by SCAN, page by page, which holds nobody else up; values are read many at a time
//! and never beyond [`MAX_OCTETS`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, TlsCertificates};
use redis::{IntoConnectionInfo, RedisResult, ServerErrorKind};
use zeroize::Zeroizing;

use super::Error;
use super::layout::MAX_OCTETS;

/// Keys that one step of SCAN looks at, in Redis' words a hint.
const COUNT: usize = 1_000;
/// How long connecting, and one answer, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a Redis is and how to be let in. `Debug` shows no password.
#[derive(Clone)]
pub struct Address {
    client: Client,
    place: Arc<str>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl Address {
    /// - `url`: `redis://[USER][:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://…` for TLS, or
    ///   `redis+unix:///PATH[?db=DATABASE]`
    /// - `password`: in place of the URL's
    /// - `roots`: PEM; whom to trust in place of the system's
    pub fn new(url: &str, password: Option<&str>, roots: Option<Vec<u8>>) -> Result<Self, Error> {
        // Its words are fixed, beside numbers of places in files.
        let wrong = |error: RedisError| Error::Address { why: error.to_string() };
        let mut info = url.trim().into_connection_info().map_err(wrong)?;
        if let Some(password) = password {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let place: Arc<str> = info.addr().to_string().into();
        let client = if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // Redis' client takes the process's; a second time it is set already.
            let _set = rustls::crypto::aws_lc_rs::default_provider().install_default();
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: roots })
        } else {
            Client::open(info)
        };
        Ok(Self { client: client.map_err(wrong)?, place })
    }

    /// Host and port, or the socket's path.
    pub fn place(&self) -> &Arc<str> {
        &self.place
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Redis, Error> {
        let connection =
            self.open(PATIENCE).await.map_err(|source| failed(&self.place, "connect", source))?;
        Ok(Redis { connection, place: self.place.clone() })
    }

    /// - `patience`: for connecting, and for each answer
    pub(super) async fn open(&self, patience: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// What lies under a key.
pub type Value = Zeroizing<Vec<u8>>;

/// A connection to Redis.
pub struct Redis {
    connection: MultiplexedConnection,
    place: Arc<str>,
}

impl Redis {
    /// How many keys its database has.
    pub async fn size(&mut self) -> Result<u64, Error> {
        let size = redis::cmd("DBSIZE").query_async(&mut self.connection).await;
        size.map_err(|source| failed(&self.place, "count the keys (DBSIZE)", source))
    }

    /// One step of SCAN from `cursor`, 0 at the start: keys that fit `pattern`, and the cursor to go
    /// on with; 0 at the end. A key may come more than once; one that is no UTF-8 is left out.
    pub async fn scan(&mut self, cursor: u64, pattern: &str) -> Result<(u64, Vec<String>), Error> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(COUNT);
        let answer: RedisResult<(u64, Vec<Vec<u8>>)> = scan.query_async(&mut self.connection).await;
        let (next, keys) = answer.map_err(|source| failed(&self.place, "list the keys (SCAN)", source))?;
        Ok((next, keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect()))
    }

    /// The strings under `keys`, in their order; empty where there is none, cut one octet after
    /// [`MAX_OCTETS`].
    pub async fn values(&mut self, keys: &[String]) -> Result<Vec<Result<Value, Error>>, Error> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for key in keys {
            pipeline.cmd("GETRANGE").arg(key).arg(0).arg(MAX_OCTETS);
        }
        let answers: RedisResult<Vec<RedisResult<Vec<u8>>>> =
            pipeline.query_async(&mut self.connection).await;
        let answers = answers.map_err(|source| failed(&self.place, "read values", source))?;
        let value = |answer: RedisResult<Vec<u8>>| match answer {
            Ok(value) => Ok(Ok(Zeroizing::new(value))),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(Err(Error::NoString)),
            Err(source) => Err(failed(&self.place, "read values", source)),
        };
        answers.into_iter().map(value).collect()
    }
}

pub(super) fn failed(place: &Arc<str>, doing: &'static str, source: RedisError) -> Error {
    let cure = match source.kind() {
        ErrorKind::AuthenticationFailed => "; check user and password",
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            "; the user needs the commands SCAN, GETRANGE and DBSIZE, for [bridge] SET, EVAL, GET, DEL and \
             EXPIRE too, and the keys"
        }
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "; try again once it has loaded its data",
        ErrorKind::InvalidClientConfig => "; check the address",
        _ if source.code() == Some("NOAUTH") => {
            "; it wants a password: give --redis-password-file, or one in the URL"
        }
        ErrorKind::Io => "; check that it runs there, and whether it wants TLS (rediss://)",
        _ => "",
    };
    Error::Redis { place: place.clone(), doing, cure, source }
}
