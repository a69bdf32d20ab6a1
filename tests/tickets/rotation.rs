//! Keys of several machines over time, whatever becomes of the store.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nameplate::certs::tickets::LOOK;
use nameplate::domain::clock::Clock;
use nameplate::store::local::LocalTier;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::DATABASE_FILE;
use nameplate::store::ticket_copy::TICKET_KEYS_FILE;
use nameplate::store::tickets::TicketKeys;
use sqlx::Connection;

use crate::bed::client::Client;
use crate::bed::eventually;
use crate::fleet::{Fleet, HOUR, Machine, NAMES, PERIOD};

/// Lets the store be there again, for as long as the test.
fn bring_back(fleet: &Fleet) {
    let store = fleet.store.clone();
    tokio::spawn(async move { store.keep_open().await });
}

async fn has_the_fleets(machine: &Machine, fleet: &Fleet) -> bool {
    machine.tickets.look_again().await;
    machine.encrypting(fleet).1
}

#[tokio::test]
async fn of_many_machines_that_rotate_at_once_one_makes_the_key_and_all_have_it_before_it_begins() {
    let fleet = Fleet::new().await;
    let mut machines = Vec::new();
    for _ in 0..10 {
        machines.push(fleet.machine_in(Arc::new(tempfile::tempdir().unwrap())).await);
    }
    for count in 1..=4 {
        let looks = machines.iter().map(|machine| machine.tickets.look_again());
        join_all(looks).await;
        assert_eq!(fleet.store.ticket_keys().await.unwrap().serial, count);
        // One that looked before the key was there has it from the next look.
        join_all(machines.iter().map(|machine| machine.tickets.look_again())).await;
        let encrypting: Vec<_> = machines.iter().map(|machine| machine.encrypting(&fleet)).collect();
        assert!(encrypting[0].1 && encrypting.iter().all(|one| *one == encrypting[0]));
        let sees = |machine: &Machine| {
            let ring = machine.tickets.ring().load_full();
            ring.held().iter().filter(|held| held.shared).count()
        };
        assert!(machines.iter().all(|machine| sees(machine) == sees(&machines[0])));
        fleet.clock.advance(if count == 1 { PERIOD / 2 } else { PERIOD });
    }
}

#[tokio::test]
async fn without_the_store_a_machine_goes_on_with_a_key_of_its_own_until_it_is_back() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let first = machine.encrypting(&fleet);
    assert!(first.1);
    let old = machine.session(&Client::default(), NAMES[0]).await;
    fleet.store.close().await;
    fleet.clock.advance(PERIOD - HOUR);
    machine.tickets.look_again().await;
    assert_eq!(machine.encrypting(&fleet), first, "its time is not over");
    assert_eq!(machine.metrics.ticket_key_age_seconds.get(), 11 * 60 * 60);
    fleet.clock.advance(HOUR - LOOK);
    machine.tickets.look_again().await;
    fleet.clock.advance(LOOK);
    let own = machine.encrypting(&fleet);
    assert!(own.0 != first.0 && !own.1, "there is one before the time of the other is over");
    machine.tickets.look_again().await;
    assert_eq!((machine.encrypting(&fleet), machine.metrics.ticket_key_shared.get()), (own, 0));
    let of_its_own = machine.session(&Client::default(), NAMES[0]).await;
    assert!(machine.resumes(&Client::default(), &old, NAMES[0]).await);

    bring_back(&fleet);
    eventually("the fleet's key", async || has_the_fleets(&machine, &fleet).await).await;
    assert_eq!(machine.metrics.ticket_key_shared.get(), 1);
    let other = fleet.machine().await;
    assert_eq!(other.encrypting(&fleet), machine.encrypting(&fleet));
    for session in [&old, &of_its_own] {
        assert!(machine.resumes(&Client::default(), session, NAMES[0]).await);
    }
    assert!(other.resumes(&Client::default(), &old, NAMES[0]).await);
    assert!(!other.resumes(&Client::default(), &of_its_own, NAMES[0]).await);
}

#[tokio::test]
async fn a_store_that_does_not_answer_holds_no_rotation_up() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine_in(Arc::new(tempfile::tempdir().unwrap())).await;
    let url = format!("sqlite:{}", fleet.data.path().join(DATABASE_FILE).display());
    let mut holder = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let held = holder.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let look = tokio::time::timeout(Duration::from_secs(8), machine.tickets.look_again());
    look.await.expect("it gives the store up");
    assert!(!machine.encrypting(&fleet).1);
    held.rollback().await.unwrap();
    eventually("the fleet's key", async || has_the_fleets(&machine, &fleet).await).await;
}

#[tokio::test]
async fn a_machine_that_starts_without_the_store_has_its_keys_of_before() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let session = machine.session(&Client::default(), NAMES[0]).await;
    let copy = machine.folder.path().join(TICKET_KEYS_FILE);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let octets = std::fs::read(&copy).unwrap();
    for held in machine.tickets.ring().load().held() {
        for secret in [held.key.cipher(), held.key.mac()] {
            assert!(!octets.windows(16).any(|window| *window == secret[..16]), "the copy is sealed");
        }
    }
    fleet.store.close().await;
    let again = fleet.machine_in(machine.folder.clone()).await;
    assert_eq!(again.encrypting(&fleet), machine.encrypting(&fleet));
    assert!(again.resumes(&Client::default(), &session, NAMES[0]).await);

    // With a damaged copy it begins anew, and the copy is whole again.
    std::fs::write(&copy, &octets[1..]).unwrap();
    let anew = fleet.machine_in(machine.folder.clone()).await;
    assert!(!anew.resumes(&Client::default(), &session, NAMES[0]).await);
    let session = anew.session(&Client::default(), NAMES[0]).await;
    let again = fleet.machine_in(machine.folder.clone()).await;
    assert!(again.resumes(&Client::default(), &session, NAMES[0]).await);
}

#[tokio::test]
async fn a_store_that_was_begun_anew_ends_no_session() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let session = machine.session(&Client::default(), NAMES[0]).await;
    let before = machine.encrypting(&fleet);
    fleet.store.close().await;
    for end in ["", "-wal", "-shm"] {
        let _missing = std::fs::remove_file(fleet.data.path().join(format!("{DATABASE_FILE}{end}")));
    }
    bring_back(&fleet);
    let look = async || {
        machine.tickets.look_again().await;
        machine.encrypting(&fleet) != before
    };
    eventually("another key of the fleet's", look).await;
    assert!(machine.encrypting(&fleet).1);
    assert!(machine.resumes(&Client::default(), &session, NAMES[0]).await);
}

#[tokio::test]
async fn an_operator_rotates_and_sessions_of_before_go_on() {
    let fleet = Fleet::new().await;
    let (one, other) = (fleet.machine().await, fleet.machine().await);
    let session = one.session(&Client::default(), NAMES[0]).await;
    let before = one.encrypting(&fleet);
    let rotated = one.tickets.rotate(false).await;
    assert!(rotated.is_through(), "{rotated}");
    let now = one.encrypting(&fleet);
    assert!(now.0 != before.0 && now.1);
    assert_eq!(other.encrypting(&fleet), before);
    other.tickets.look_again().await;
    assert_eq!(other.encrypting(&fleet), now);
    for machine in [&one, &other] {
        assert!(machine.resumes(&Client::default(), &session, NAMES[0]).await);
    }
}

#[tokio::test]
async fn another_period_counts_for_keys_that_are_made_from_then_on() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let lasts = || {
        let ring = machine.tickets.ring().load_full();
        let life = ring.encrypting(fleet.clock.now()).unwrap().key.life;
        life.begins.until(life.ends)
    };
    assert_eq!(lasts(), PERIOD * 2);
    machine.tickets.set_period(HOUR);
    machine.tickets.look_again().await;
    assert_eq!(lasts(), PERIOD * 2);
    assert!(machine.tickets.rotate(false).await.is_through());
    assert_eq!(lasts(), HOUR * 2);
}

#[tokio::test]
async fn a_discard_ends_every_key_of_before_on_every_machine() {
    let fleet = Fleet::new().await;
    let (one, other) = (fleet.machine().await, fleet.machine().await);
    // The next key is there already, and the other machine has one of its own.
    fleet.clock.advance(PERIOD / 2);
    one.tickets.look_again().await;
    fleet.store.close().await;
    assert!(!other.tickets.rotate(false).await.is_through());
    assert!(!other.encrypting(&fleet).1, "the new key encrypts here all the same");
    let of_its_own = other.session(&Client::default(), NAMES[0]).await;
    let session = one.session(&Client::default(), NAMES[0]).await;
    bring_back(&fleet);
    eventually("the store", async || fleet.store.ticket_keys().await.is_ok()).await;

    let rotated = one.tickets.rotate(true).await;
    assert!(rotated.is_through() && rotated.to_string().contains("not resumed any more"), "{rotated}");
    assert_eq!(fleet.store.ticket_keys().await.unwrap().keys.len(), 1);
    assert!(!one.resumes(&Client::default(), &session, NAMES[0]).await, "at once");
    other.tickets.look_again().await;
    assert_eq!(other.encrypting(&fleet), one.encrypting(&fleet));
    for session in [&session, &of_its_own] {
        assert!(!other.resumes(&Client::default(), session, NAMES[0]).await);
    }
    let again = fleet.machine_in(one.folder.clone()).await;
    assert!(!again.resumes(&Client::default(), &session, NAMES[0]).await, "nor after a restart");
    let session = one.session(&Client::default(), NAMES[0]).await;
    assert!(other.resumes(&Client::default(), &session, NAMES[0]).await, "from then on all is well");
}

#[tokio::test]
async fn a_discard_without_the_store_holds_on_this_machine_and_says_what_is_left() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let session = machine.session(&Client::default(), NAMES[0]).await;
    fleet.store.close().await;
    let rotated = machine.tickets.rotate(true).await;
    assert!(!rotated.is_through());
    assert!(rotated.to_string().contains("do it again once the store is well"), "{rotated}");
    assert!(!machine.resumes(&Client::default(), &session, NAMES[0]).await);
    let own = machine.session(&Client::default(), NAMES[0]).await;
    bring_back(&fleet);
    eventually("the fleet's key", async || has_the_fleets(&machine, &fleet).await).await;
    assert!(!machine.resumes(&Client::default(), &session, NAMES[0]).await, "it does not come back");
    assert!(machine.resumes(&Client::default(), &own, NAMES[0]).await);
}

#[tokio::test]
async fn a_copy_that_cannot_be_written_is_told_of_and_written_later() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let copy = machine.folder.path().join(TICKET_KEYS_FILE);
    std::fs::remove_file(&copy).unwrap();
    std::fs::create_dir(&copy).unwrap();
    let rotated = machine.tickets.rotate(true).await;
    assert!(!rotated.is_through() && rotated.store.is_none());
    assert!(rotated.to_string().contains("this machine's copy of its keys is still the one of before"));
    std::fs::remove_dir(&copy).unwrap();
    machine.tickets.look_again().await;
    let again = fleet.machine_in(machine.folder.clone()).await;
    assert_eq!(again.encrypting(&fleet), machine.encrypting(&fleet));
}

#[tokio::test]
async fn the_copy_follows_a_change_of_the_sealing_key() {
    let fleet = Fleet::new().await;
    let machine = fleet.machine().await;
    let (now, ring) = (fleet.clock.now(), machine.tickets.ring().load_full());
    let [old, new] = [1, 2].map(|number: u8| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode([number; 32])
    });
    let key = SealingKey::parse(&old).unwrap();
    let local = LocalTier::open(machine.folder.path(), key.clone()).unwrap();
    local.keep_ticket_keys(&ring).await.unwrap();
    key.replace_by(&SealingKey::parse(&format!("{new} {old}")).unwrap());
    assert_eq!((local.reseal().await.unwrap(), local.reseal().await.unwrap()), (1, 0));
    key.replace_by(&SealingKey::parse(&new).unwrap());
    assert_eq!(local.ticket_keys(now).await.unwrap(), *ring);
}
