//! Every key that a configuration file may have.

/// Tables with their keys, in the order the documentation has them.
///
/// A table is named by its dotted path, the file's own level by `""`; tables inside a table are
/// among its keys. The reader judges a file by this list and reads no key that is not in it, and
/// a test holds `docs/configuration.md` against it.
pub const TABLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "data_dir",
            "listen",
            "store",
            "authority",
            "on_demand",
            "platform",
            "certificate",
            "limits",
            "api",
            "dns",
            "dns_server",
            "dns_zone",
            "webhooks",
            "ocsp",
            "tickets",
            "bridge",
            "site",
            "log",
        ],
    ),
    (
        "listen",
        &[
            "http",
            "https",
            "admin",
            "metrics",
            "proxy_protocol_from",
            "default_certificate_file",
            "default_certificate_key_file",
            "https_port",
            "admin_certificate_file",
            "admin_certificate_key_file",
        ],
    ),
    ("store", &["url", "url_file", "url_env", "connections", "timeout", "key_file", "key_env"]),
    (
        "authority",
        &[
            "name",
            "directory",
            "contact",
            "challenges",
            "ca_file",
            "caa_identities",
            "eab",
            "accounts",
            "profile",
            "key_type",
            "lifetime",
            "order_timeout",
            "limits",
        ],
    ),
    ("authority.limits", &["orders", "orders_per_domain", "orders_per_hostname", "failed_validations"]),
    ("authority.eab", &["key_id", "hmac_key", "hmac_key_file", "hmac_key_env"]),
    (
        "on_demand",
        &[
            "enabled",
            "approval",
            "approval_timeout",
            "approval_concurrency",
            "approval_cache",
            "approval_cache_size",
            "site",
            "handshake_wait",
        ],
    ),
    ("platform", &["domain", "site", "certificate_file", "certificate_key_file", "dns"]),
    ("platform.dns", DNS_ZONE),
    ("certificate", &["certificate_file", "certificate_key_file"]),
    (
        "limits",
        &[
            "handshake",
            "request_header",
            "keep_alive",
            "connections",
            "connections_per_client",
            "hot_certificates",
            "orders",
            "drain",
            "hand_over",
            "new_names_per_client",
            "new_names_per_domain",
            "new_names",
            "label_depth",
            "handshakes",
            "body_idle",
            "body_rate",
            "write_idle",
            "memory",
        ],
    ),
    ("api", &["requests_per_token", "hostnames_per_organization"]),
    ("dns", &["resolvers", "edge_addresses", "cname_target"]),
    (
        "dns_server",
        &["listen", "zone", "name_servers", "addresses", "hostmaster", "ttl", "queries_per_client"],
    ),
    ("dns_zone", DNS_ZONE),
    ("webhooks", &["allow_private", "timeout"]),
    ("bridge", &["lua_resty_auto_ssl"]),
    (
        "bridge.lua_resty_auto_ssl",
        &["redis", "redis_file", "redis_env", "ca_file", "prefix", "timeout", "write_back"],
    ),
    ("ocsp", &["enabled", "allow_private", "timeout"]),
    ("tickets", &["rotate"]),
    (
        "site",
        &[
            "name",
            "organization",
            "hostnames",
            "origins",
            "root",
            "index",
            "fallback",
            "not_found",
            "cache_control",
            "immutable",
            "hsts",
            "timeouts",
        ],
    ),
    ("site.hsts", &["max_age", "include_subdomains", "preload"]),
    ("site.timeouts", &["connect", "read", "write", "idle"]),
    ("log", &["access"]),
];

/// Access to a zone.
const DNS_ZONE: &[&str] = &[
    "zone",
    "provider",
    "server",
    "key_name",
    "key_algorithm",
    "key",
    "key_file",
    "key_env",
    "command",
    "token",
    "token_file",
    "token_env",
    "key_id",
    "secret",
    "secret_file",
    "secret_env",
    "consumer_key",
    "consumer_key_file",
    "consumer_key_env",
    "account",
    "endpoint",
    "region",
    "zone_id",
    "name_servers",
    "propagation_timeout",
    "ttl",
];

/// Tables that a file may have several of, written `[[name]]`.
pub const REPEATED: &[&str] = &["authority", "certificate", "dns_zone", "platform", "site"];

/// The keys of the table at `path`; none where there is no such table.
pub(super) fn of(path: &str) -> &'static [&'static str] {
    TABLES.iter().find(|(table, _)| *table == path).map_or(&[], |(_, keys)| keys)
}

/// How far apart two keys may be for one to be meant by the other: a third of the longer one.
fn near(a: &str, b: &str) -> bool {
    let longer = a.chars().count().max(b.chars().count());
    strsim::damerau_levenshtein(a, b) <= (longer / 3).max(1)
}

/// What to do about `key`, which the table at `path` does not have.
pub(super) fn cure_for_unknown(path: &str, key: &str) -> String {
    let own = of(path);
    // An edit distance costs the product of both lengths, and a key may be a megabyte of junk.
    let short = key.len() <= 64;
    let nearest = own
        .iter()
        .filter(|known| short && near(known, key))
        .min_by_key(|known| strsim::damerau_levenshtein(known, key));
    if let Some(nearest) = nearest {
        return format!("did you mean {nearest}?");
    }
    if let Some((home, _)) = TABLES.iter().find(|(_, keys)| keys.contains(&key)) {
        return match *home {
            "" if of(key).is_empty() => "move it to the top of the file, before the first [table]".into(),
            "" => format!("write it as a table of its own, {}", header(key)),
            home => format!("move it to {}", header(home)),
        };
    }
    match path {
        "" => format!("the file may have {}", own.join(", ")),
        path => format!("{} may have {}", header(path), own.join(", ")),
    }
}

/// How the table at `path` is written: `[limits]`, `[[site]]`, `timeouts of [[site]]`.
pub(super) fn header(path: &str) -> String {
    match path.split_once('.') {
        Some((parent, child)) => format!("{child} of {}", header(parent)),
        None if REPEATED.contains(&path) => format!("[[{path}]]"),
        None => format!("[{path}]"),
    }
}
