//! `[bridge.lua_resty_auto_ssl]`: the servers that ours take over from.

use std::time::Duration;

use url::Url;

use super::duration::LEAST;
use super::place::Wrong;
use super::section::Section;
use super::{LuaRestyAutoSsl, secret};

/// How long a question to Redis may take; one in the same network answers within a few milliseconds.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The longest that may be set: a handshake waits for it.
const LONGEST: Duration = Duration::from_secs(10);
const SCHEMES: [&str; 4] = ["redis", "rediss", "redis+unix", "unix"];

/// Reads `[bridge]`; `None` where the file has none.
pub(super) fn read(section: &Section<'_>) -> Option<LuaRestyAutoSsl> {
    let section = section.optional_section("lua_resty_auto_ssl")?;
    let redis = secret::secret(&section, ["redis", "redis_file", "redis_env"]);
    let wrong = redis.as_ref().and_then(|redis| url(&redis.0).err());
    let is_wrong = wrong.is_some();
    if let Some(wrong) = wrong {
        let keys = ["redis", "redis_file", "redis_env"];
        match keys.into_iter().find_map(|key| section.value(key)) {
            Some(value) => value.problem(wrong),
            None => section.problem("redis", wrong),
        }
    }
    let roots = section.path("ca_file").and_then(|(text, path)| text.read(|_| secret::certificates(&path)));
    let prefix = section.text("prefix", "prefix = \"auto-ssl\"").and_then(|text| text.read(prefix));
    let timeout = section.duration("timeout", LEAST..=LONGEST, TIMEOUT);
    let write_back = section.flag("write_back", false);
    let redis = redis.filter(|_| !is_wrong)?;
    Some(LuaRestyAutoSsl { redis, roots, prefix, timeout, write_back })
}

/// Checks a URL of Redis, of which nothing is shown.
fn url(text: &str) -> Result<(), Wrong> {
    const LIKE: &str = "write it like \"redis://:PASSWORD@HOST:6379/0\", \"rediss://…\" for TLS, or \
                        \"redis+unix:///PATH\"";
    let Ok(url) = Url::parse(text) else { return Err(Wrong::new("it is no URL", LIKE)) };
    if !SCHEMES.contains(&url.scheme()) {
        return Err(Wrong::new("it is no URL of a Redis", LIKE));
    }
    if url.scheme().starts_with("redis") && !url.scheme().ends_with("unix") && !url.has_host() {
        return Err(Wrong::new("it names no host", LIKE));
    }
    Ok(())
}

fn prefix(text: &str) -> Result<String, Wrong> {
    match text {
        "" => Err(Wrong::new("it is empty", "leave the key out where redis.prefix is not set")),
        text => Ok(text.to_owned()),
    }
}
