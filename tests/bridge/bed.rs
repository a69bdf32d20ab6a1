//! A house whose edge shares the Redis of an old fleet, and what that fleet put there.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use time::OffsetDateTime;

use super::bed::house::{House, Plan, house};
use super::bed::pem::{Pair, p256, pair};
use super::bed::redis::Redis;

/// A token as authorities make them, and what the old fleet answers it with.
pub const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
pub const ANSWER: &str =
    "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

/// The configuration's part on the bridge to `redis`, and `more` lines of it.
pub fn bridge(redis: &Redis, more: &str) -> String {
    format!("[bridge.lua_resty_auto_ssl]\nredis = {:?}\n{more}\n", redis.url())
}

/// An edge that shares `redis`. As users have it, tls-alpn-01 comes first.
pub async fn bridged(redis: &Redis, more: &str) -> House {
    bridged_by(redis, more, Plan::default()).await
}

pub async fn bridged_by(redis: &Redis, more: &str, plan: Plan) -> House {
    let before = bridge(redis, more);
    house(Plan { challenges: r#"["tls-alpn-01", "http-01"]"#, before, ..plan }).await
}

/// Puts a certificate of the old fleet for `name` there, which nobody's root has signed.
pub async fn put_old_certificate(redis: &Redis, name: &str) -> Pair {
    let old = pair(&[name], &p256(), 2099);
    let value = serde_json::json!({ "fullchain_pem": old.certificate, "cert_pem": old.certificate,
        "privkey_pem": old.key, "expiry": 4_070_908_800_u64 });
    redis.set(&[(format!("{name}:latest"), value.to_string())]).await;
    old
}

/// The same in the last tenth of its life.
pub async fn put_ending_certificate(redis: &Redis, name: &str, hours: u64) {
    let key: KeyPair = p256();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let (now, hour) = (OffsetDateTime::now_utc(), 60 * 60);
    params.not_before = now - Duration::from_secs(89 * 24 * hour);
    params.not_after = now + Duration::from_secs(hours * hour);
    let certificate = params.self_signed(&key).unwrap().pem();
    let value = serde_json::json!({ "fullchain_pem": certificate, "privkey_pem": key.serialize_pem() });
    redis.set(&[(format!("{name}:latest"), value.to_string())]).await;
}
