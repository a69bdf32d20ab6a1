//! A connection to Redis that is there for as long as the process: made when it is first needed and
//! again after it was lost.
//!
//! While Redis is away its users are told so at once, and it is tried again after pauses that grow, so
//! that neither waits for the other. (redis' own manager lets each caller wait for its tries.)

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::Error;
use super::connection::{Address, Value, failed};
use super::layout::MAX_OCTETS;

/// First and longest pause between two tries to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Removes a key where it still has the value that the caller put there.
const REMOVE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
/// Lets a key with the caller's value end later.
const PROLONG: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end return 0";

/// A steady connection. No call takes longer than its `timeout`.
pub struct Link {
    address: Address,
    timeout: Duration,
    state: Mutex<State>,
    /// Held by the one that connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Grows with each connection, so that a loss is that of the one that was used.
    number: u64,
    /// Tries in a row that came to nothing.
    failures: u32,
    away: Option<(Instant, Arc<str>)>,
}

impl Link {
    /// Nothing is connected yet.
    ///
    /// - `timeout`: for each call, connecting included
    pub fn new(address: Address, timeout: Duration) -> Self {
        Self { address, timeout, state: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// Host and port, or the socket's path.
    pub fn place(&self) -> &Arc<str> {
        self.address.place()
    }

    /// The string under `key`, cut one octet after `most`; empty where there is none.
    pub async fn value(&self, key: &str, most: u64) -> Result<Value, Error> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(key).arg(0).arg(most.min(MAX_OCTETS));
        match self.call("read a value", &command).await {
            Err(Error::Redis { source, .. }) if source.code() == Some("WRONGTYPE") => Err(Error::NoString),
            answer => answer.map(|value: Vec<u8>| Zeroizing::new(value)),
        }
    }

    /// Puts `value` under `key`, for `lifetime` where one is given.
    pub async fn put(&self, key: &str, value: &[u8], lifetime: Option<Duration>) -> Result<(), Error> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value);
        if let Some(lifetime) = lifetime {
            command.arg("EX").arg(lifetime.as_secs().max(1));
        }
        self.call("write a value", &command).await
    }

    /// Puts `value` under `key` for `lifetime`, where nothing is; whether it did.
    pub async fn put_new(&self, key: &str, value: &str, lifetime: Duration) -> Result<bool, Error> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value).arg("NX").arg("EX").arg(lifetime.as_secs().max(1));
        let answer: Option<String> = self.call("take a lock", &command).await?;
        Ok(answer.is_some())
    }

    /// Lets `key` end after `lifetime` from now, where it has `value`; whether it does.
    pub async fn prolong(&self, key: &str, value: &str, lifetime: Duration) -> Result<bool, Error> {
        let mut command = redis::cmd("EVAL");
        command.arg(PROLONG).arg(1).arg(key).arg(value).arg(lifetime.as_secs().max(1));
        self.call("keep a lock", &command).await
    }

    /// Removes `key`, where it has `value`.
    pub async fn remove(&self, key: &str, value: &str) -> Result<(), Error> {
        let mut command = redis::cmd("EVAL");
        command.arg(REMOVE).arg(1).arg(key).arg(value);
        self.call("remove a value", &command).await.map(|_removed: i64| ())
    }

    async fn call<T: FromRedisValue>(&self, doing: &'static str, command: &Cmd) -> Result<T, Error> {
        let mut used = None;
        match timeout(self.timeout, self.try_twice(doing, command, &mut used)).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                let error = Error::Late { place: self.place().clone(), doing, after: self.timeout };
                self.lost(used, error.to_string().into());
                Err(error)
            }
        }
    }

    /// A connection that Redis closed while nobody used it is found out by using it: then another one
    /// is made at once.
    async fn try_twice<T: FromRedisValue>(
        &self,
        doing: &'static str,
        command: &Cmd,
        used: &mut Option<u64>,
    ) -> Result<T, Error> {
        loop {
            let (mut connection, number, is_new) = self.connection(doing).await?;
            *used = Some(number);
            match command.query_async(&mut connection).await {
                Err(error) if is_lost(&error) => {
                    self.lost(Some(number), error.to_string().into());
                    if is_new {
                        return Err(failed(self.place(), doing, error));
                    }
                    *used = None;
                    self.state.lock().away = None;
                }
                answer => return answer.map_err(|error| failed(self.place(), doing, error)),
            }
        }
    }

    /// The connection, its number, and whether it was made for this call.
    async fn connection(&self, doing: &'static str) -> Result<(MultiplexedConnection, u64, bool), Error> {
        if let Some((connection, number)) = self.standing(doing)? {
            return Ok((connection, number, false));
        }
        let _turn = self.connecting.lock().await;
        if let Some((connection, number)) = self.standing(doing)? {
            return Ok((connection, number, false));
        }
        match self.address.open(self.timeout).await {
            Ok(connection) => {
                let mut state = self.state.lock();
                let number = state.number + 1;
                *state = State { connection: Some(connection.clone()), number, failures: 0, away: None };
                Ok((connection, number, true))
            }
            Err(error) => {
                self.lost(None, error.to_string().into());
                Err(failed(self.place(), doing, error))
            }
        }
    }

    /// The connection that is there; an error where Redis is left alone for now.
    fn standing(&self, doing: &'static str) -> Result<Option<(MultiplexedConnection, u64)>, Error> {
        let state = self.state.lock();
        if let Some(connection) = &state.connection {
            return Ok(Some((connection.clone(), state.number)));
        }
        match &state.away {
            Some((until, why)) if Instant::now() < *until => {
                Err(Error::Away { place: self.place().clone(), doing, why: why.clone() })
            }
            _ => Ok(None),
        }
    }

    /// Gives the connection up, unless it is another one by now.
    ///
    /// - `used`: its number; `None`: there was none
    fn lost(&self, used: Option<u64>, why: Arc<str>) {
        let mut state = self.state.lock();
        let is_another = match used {
            Some(number) => number != state.number,
            None => state.connection.is_some(),
        };
        let is_known = state.away.as_ref().is_some_and(|(until, _)| Instant::now() < *until);
        // Many who wait for one try count as one.
        if is_another || is_known {
            return;
        }
        let pause = PAUSE.0.saturating_mul(2_u32.saturating_pow(state.failures)).min(PAUSE.1);
        state.connection = None;
        state.failures = state.failures.saturating_add(1);
        state.away = Some((Instant::now() + pause, why));
    }
}

fn is_lost(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}
