//! Tickets in real handshakes between machines.

use std::sync::Arc;

use openssl::ssl::SslVersion;

use crate::bed::client::Client;
use crate::fleet::{Fleet, HOUR, NAMES, PERIOD};

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

fn client(version: SslVersion) -> Client {
    Client { version: Some(version), ..Client::default() }
}

#[tokio::test]
async fn a_session_of_one_machine_is_resumed_by_another_under_its_own_name_alone() {
    let fleet = Fleet::new().await;
    let (one, other) = (fleet.machine().await, fleet.machine().await);
    for client in VERSIONS.map(client) {
        let session = one.session(&client, NAMES[0]).await;
        assert!(one.resumes(&client, &session, NAMES[0]).await);
        assert!(other.resumes(&client, &session, NAMES[0]).await);
        assert!(!other.resumes(&client, &session, NAMES[1]).await, "the ticket of another name");
        assert!(!one.resumes(&client, &session, NAMES[1]).await);
    }
    assert_eq!((other.counted("current_key"), other.counted("unknown_key")), (4, 0));
}

#[tokio::test]
async fn a_session_of_another_fleet_is_not_resumed() {
    let (fleet, strangers) = (Fleet::new().await, Fleet::new().await);
    let (one, other) = (fleet.machine().await, strangers.machine().await);
    for client in VERSIONS.map(client) {
        let session = one.session(&client, NAMES[0]).await;
        assert!(!other.resumes(&client, &session, NAMES[0]).await);
    }
    assert_eq!(other.counted("unknown_key"), 2);
}

#[tokio::test]
async fn after_a_rotation_an_older_ticket_is_good_until_its_key_ends() {
    let fleet = Fleet::new().await;
    let (one, other) = (fleet.machine().await, fleet.machine().await);
    // OpenSSL's own clock, which ends a session after two hours, does not move meanwhile.
    let clients = VERSIONS.map(client);
    let mut sessions = Vec::new();
    for client in &clients {
        sessions.push(one.session(client, NAMES[0]).await);
    }
    fleet.clock.advance(PERIOD);
    one.tickets.look_again().await;
    other.tickets.look_again().await;
    assert_eq!(one.encrypting(&fleet), other.encrypting(&fleet));
    for (client, session) in clients.iter().zip(&sessions) {
        assert!(other.resumes(client, session, NAMES[0]).await);
    }
    assert_eq!(other.counted("older_key"), 2);
    fleet.clock.advance(PERIOD);
    for (client, session) in clients.iter().zip(&sessions) {
        assert!(!other.resumes(client, session, NAMES[0]).await, "also where nobody looked again");
    }
}

#[tokio::test]
async fn a_client_of_tls_1_3_never_runs_out_of_tickets() {
    let fleet = Fleet::new().await;
    let machines = [fleet.machine().await, fleet.machine().await];
    let client = client(SslVersion::TLS1_3);
    let mut session = machines[0].session(&client, NAMES[0]).await;
    for step in 0..6 {
        let machine = &machines[step % 2];
        let again = Client { session: Some(session), ..client.clone() };
        // Exactly one ticket comes with each.
        session = crate::bed::client::session(&again, machine.address, NAMES[0], 1).await;
    }
    let tickets: u64 = machines.iter().map(|machine| machine.counted("issued")).sum();
    let resumed: u64 = machines.iter().map(|machine| machine.counted("current_key")).sum();
    assert_eq!((tickets, resumed), (7, 6));
}

#[tokio::test]
async fn a_client_of_tls_1_2_gets_another_ticket_once_its_key_is_an_older_one() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let client = client(SslVersion::TLS1_2);
    let session = machine.session(&client, NAMES[0]).await;
    assert!(machine.resumes(&client, &session, NAMES[0]).await);
    assert_eq!(machine.counted("issued"), 1);
    fleet.clock.advance(PERIOD + HOUR);
    machine.tickets.look_again().await;
    assert!(machine.resumes(&client, &session, NAMES[0]).await);
    assert_eq!(machine.counted("issued"), 2);
}

#[tokio::test]
async fn clients_are_told_for_how_long_a_ticket_is_good() {
    let fleet = Fleet::new().await;
    for (period, hint) in [(PERIOD, 2 * HOUR), (HOUR, HOUR)] {
        let machine = fleet.machine_with(period, Arc::new(tempfile::tempdir().unwrap())).await;
        for client in VERSIONS.map(client) {
            let session = machine.session(&client, NAMES[0]).await;
            assert_eq!(session.ticket_lifetime_hint_seconds(), hint.as_secs());
        }
    }
}

trait Hint {
    fn ticket_lifetime_hint_seconds(&self) -> u64;
}

impl Hint for openssl::ssl::SslSession {
    fn ticket_lifetime_hint_seconds(&self) -> u64 {
        use foreign_types_shared::ForeignTypeRef;
        unsafe extern "C" {
            fn SSL_SESSION_get_ticket_lifetime_hint(
                session: *const openssl_sys::SSL_SESSION,
            ) -> std::ffi::c_ulong;
        }
        // SAFETY: the session is live.
        unsafe { SSL_SESSION_get_ticket_lifetime_hint(self.as_ptr()) }
    }
}
