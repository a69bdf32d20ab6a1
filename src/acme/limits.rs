//! The limits that an authority's orders are kept to, so that it never has to refuse one.

use std::time::Duration;

use crate::config::{AuthorityLimits, Directory, OrderLimits, Rate};
use crate::store::{Bound, Scope};

/// Host of Let's Encrypt's production directory.
const LETS_ENCRYPT: &str = "acme-v02.api.letsencrypt.org";

const HOUR: u64 = 60 * 60;
const WEEK: u64 = 7 * 24 * HOUR;

/// Let's Encrypt's published figures (2026).
const LETS_ENCRYPT_LIMITS: OrderLimits = OrderLimits {
    orders: Some(Rate { count: 300, per: Duration::from_secs(3 * HOUR) }),
    orders_per_domain: Some(Rate { count: 50, per: Duration::from_secs(WEEK) }),
    orders_per_hostname: Some(Rate { count: 5, per: Duration::from_secs(WEEK) }),
    failed_validations: Some(Rate { count: 5, per: Duration::from_secs(HOUR) }),
};

/// The limits of the authority at `directory`.
pub fn limits(configured: AuthorityLimits, directory: &Directory) -> OrderLimits {
    match (configured, directory) {
        (AuthorityLimits::Given(limits), _) => limits,
        (AuthorityLimits::Auto, Directory::Acme(url)) if url.host_str() == Some(LETS_ENCRYPT) => {
            LETS_ENCRYPT_LIMITS
        }
        _ => OrderLimits::default(),
    }
}

/// Those that count orders, as the store takes them.
pub fn bounds(limits: &OrderLimits) -> Vec<Bound> {
    let bound =
        |scope, rate: Option<Rate>| rate.map(|rate| Bound { scope, count: rate.count, per: rate.per });
    [
        bound(Scope::Authority, limits.orders),
        bound(Scope::Domain, limits.orders_per_domain),
        bound(Scope::Hostname, limits.orders_per_hostname),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_encrypt_has_its_limits_and_others_have_none_unless_told() {
        let at = |url: &str| Directory::Acme(url.parse().unwrap());
        let production = at("https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!(bounds(&limits(AuthorityLimits::Auto, &production)).len(), 3);
        assert_eq!(limits(AuthorityLimits::None, &production), OrderLimits::default());
        let staging = at("https://acme-staging-v02.api.letsencrypt.org/directory");
        assert_eq!(limits(AuthorityLimits::Auto, &staging), OrderLimits::default());
        let given = OrderLimits { orders: LETS_ENCRYPT_LIMITS.orders, ..OrderLimits::default() };
        assert_eq!(limits(AuthorityLimits::Given(given), &staging), given);
    }
}
