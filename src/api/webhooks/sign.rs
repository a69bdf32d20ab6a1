//! What shows a receiver that a message is ours (Standard Webhooks, "Verifying webhook authenticity").

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::clock::UnixTime;
use crate::domain::webhook::WebhookSecret;

/// Header with the message's identifier, the same at each try.
pub const ID_HEADER: &str = "webhook-id";
/// Header with the moment of this try, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The value of [`SIGNATURE_HEADER`]: HMAC-SHA256 over identifier, timestamp and body with points
/// between them, in base64 behind its version.
pub fn signature(secret: &WebhookSecret, id: &str, timestamp: UnixTime, body: &str) -> String {
    let signed = format!("{id}.{}.{body}", timestamp.0);
    let tag = sign(&Key::new(HMAC_SHA256, secret.octets()), signed.as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        let wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(&secret, id, UnixTime(1_614_265_330), body), wanted);
    }
}
