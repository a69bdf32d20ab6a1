//! `[limits]`, `[dns]`, `[webhooks]`, `[ocsp]` and `[tickets]`: what is only read, key by key.

use std::time::Duration;

use super::duration::{LEAST, days, hours, minutes, parse_rate};
use super::section::Section;
use super::{Api, Dns, Limits, Ocsp, Rate, Tickets, Webhooks, address, size};

/// Reads `[limits]`.
pub(super) fn read(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let rate = |key: &'static str, default: Rate| {
        let text = section.text(key, &format!("{key} = \"500/1m\""));
        text.and_then(|text| text.read(parse_rate)).unwrap_or(default)
    };
    Limits {
        handshake: section.duration("handshake", LEAST..=minutes(10), default.handshake),
        request_header: section.duration("request_header", LEAST..=minutes(10), default.request_header),
        keep_alive: section.duration("keep_alive", LEAST..=days(1), default.keep_alive),
        connections: section.count("connections", 10_000_000, default.connections),
        connections_per_client: section.count(
            "connections_per_client",
            10_000_000,
            default.connections_per_client,
        ),
        hot_certificates: section
            .number("hot_certificates", 1..=10_000_000, default.hot_certificates)
            .unwrap_or(default.hot_certificates),
        orders: section.count("orders", 100_000, default.orders),
        drain: section.duration("drain", Duration::ZERO..=hours(1), default.drain),
        hand_over: section.duration("hand_over", Duration::ZERO..=days(1), default.hand_over),
        new_names_per_client: rate("new_names_per_client", default.new_names_per_client),
        new_names_per_domain: rate("new_names_per_domain", default.new_names_per_domain),
        new_names: rate("new_names", default.new_names),
        label_depth: section.count("label_depth", 127, default.label_depth),
        handshakes: section.count("handshakes", 10_000_000, default.handshakes),
        body_idle: section.duration("body_idle", LEAST..=hours(1), default.body_idle),
        body_rate: section.number("body_rate", 0..=1_000_000, default.body_rate).unwrap_or(default.body_rate),
        write_idle: section.duration("write_idle", LEAST..=hours(1), default.write_idle),
        memory: section
            .text("memory", "memory = \"2GiB\"")
            .and_then(|text| text.read(size::parse))
            .unwrap_or(default.memory),
    }
}

/// Reads `[api]`.
pub(super) fn read_api(section: &Section<'_>) -> Api {
    let default = Api::default();
    let text = section.text("requests_per_token", "requests_per_token = \"600/1m\"");
    let hostnames = u64::from(default.hostnames_per_organization);
    let hostnames = section.number("hostnames_per_organization", 0..=100_000_000, hostnames);
    Api {
        requests_per_token: text.and_then(|text| text.read(parse_rate)).unwrap_or(default.requests_per_token),
        hostnames_per_organization: hostnames
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(default.hostnames_per_organization),
    }
}

/// Reads `[dns]`.
pub(super) fn read_dns(section: &Section<'_>) -> Dns {
    let resolvers = section.list("resolvers", "resolvers = [\"192.0.2.53\"]", address::resolver);
    let edges = section.list("edge_addresses", "edge_addresses = [\"192.0.2.7\"]", address::ip);
    let target = section.text("cname_target", "cname_target = \"edge.example.io\"");
    Dns {
        resolvers: resolvers.unwrap_or_default(),
        edge_addresses: edges.unwrap_or_default(),
        cname_target: target.and_then(|text| text.read(address::hostname)),
    }
}

/// Reads `[webhooks]`.
pub(super) fn read_webhooks(section: &Section<'_>) -> Webhooks {
    let default = Webhooks::default();
    let allowed = section.list("allow_private", "allow_private = [\"10.0.0.0/8\"]", address::network);
    Webhooks {
        allow_private: allowed.unwrap_or_default(),
        timeout: section.duration("timeout", LEAST..=minutes(1), default.timeout),
    }
}

/// Reads `[ocsp]`.
pub(super) fn read_ocsp(section: &Section<'_>) -> Ocsp {
    let default = Ocsp::default();
    let allowed = section.list("allow_private", "allow_private = [\"10.0.0.0/8\"]", address::network);
    Ocsp {
        enabled: section.flag("enabled", default.enabled),
        allow_private: allowed.unwrap_or_default(),
        timeout: section.duration("timeout", LEAST..=minutes(1), default.timeout),
    }
}

/// Reads `[tickets]`.
pub(super) fn read_tickets(section: &Section<'_>) -> Tickets {
    Tickets { rotate: section.duration("rotate", hours(1)..=days(7), Tickets::default().rotate) }
}
