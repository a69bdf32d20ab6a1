//! What every store promises, run on each implementation; and what the embedded one adds.

mod answers;
mod bed;
mod claims;
mod due;
mod events;
mod heard;
mod hostnames;
mod ledger;
mod lists;
mod looks;
mod news;
mod own;
mod plans;
mod postgres_asked;
mod postgres_hostnames;
mod postgres_opening;
mod postgres_plans;
mod postgres_races;
mod proofs;
mod registered;
mod registry;
#[path = "../bed/mod.rs"]
mod test_bed;
mod tickets;
mod withheld;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bed::{Bed, assert_same, certificate, credentials, laws, metrics, name};
use nameplate::domain::certificate::{Certificate, KeyType, Source};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::hostname::CertificateName;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::SqliteStore;
use nameplate::store::{Attempt, Error, LEASE_TTL, SealError, Store};
use tempfile::TempDir;

laws!(
    a_saved_certificate_is_found_again_after_reopening,
    a_certificate_that_is_not_there_is_absent,
    a_saved_certificate_replaces_the_one_before,
    a_removed_certificate_is_gone,
    a_second_lease_is_refused,
    names_are_leased_apart_from_each_other,
    a_lease_ends_with_its_time,
    a_renewed_lease_lives_on,
    a_stale_lease_cannot_save,
    a_stale_lease_can_neither_be_renewed_nor_released,
    a_lease_on_another_name_cannot_save,
    tokens_grow_also_after_a_release,
    of_many_at_once_one_gets_the_lease,
    the_last_attempt_is_kept,
    the_first_account_wins,
    of_many_accounts_at_once_one_wins,
    an_import_replaces_what_ends_sooner_only,
    an_import_is_done_whole_and_needs_no_lease,
    names_come_in_pages,
    what_is_due_comes_longest_due_first_until_it_is_put_off,
    a_wildcard_is_due_as_any_other_name,
    certificates_are_counted_by_their_end,
    a_damaged_certificate_fails_alone,
    a_damaged_certificate_is_kept_aside,
    a_parked_name_comes_last_until_a_certificate_is_saved,
    a_key_beside_another_chain_does_not_open,
    another_sealing_key_is_refused_and_nothing_is_lost,
    operations_are_counted,
);

async fn a_damaged_certificate_is_kept_aside(bed: Bed) {
    bed.save(&certificate("a.test", 1_000)).await;
    assert!(bed.store.quarantine(&name("a.test"), "its seal does not hold").await.unwrap());
    assert!(bed.find("a.test").await.is_none());
    assert!(!bed.store.quarantine(&name("a.test"), "again").await.unwrap());
    bed.change("UPDATE quarantine SET why = why || '.' WHERE name = 'a.test'").await;
}

async fn a_parked_name_comes_last_until_a_certificate_is_saved(bed: Bed) {
    let now = bed.clock.now();
    bed.save(&certificate("gone.test", now.0 - 1)).await;
    assert_eq!(bed.store.late(now).await.unwrap(), (1, Some(name("gone.test"))));
    let again = now.plus(Duration::from_secs(100));
    bed.store.park_renewal(&name("gone.test"), "it left", again).await.unwrap();
    let state = bed.store.renewal_state(&name("gone.test")).await.unwrap().unwrap();
    assert_eq!((state.parked.as_deref(), state.due), (Some("it left"), again));
    assert_eq!((bed.store.parked().await.unwrap(), bed.store.late(now).await.unwrap().0), (1, 0));
    assert!(bed.renewals(now, 9).await.is_empty());
    assert!(bed.store.due_for_asking(now, 9).await.unwrap().is_empty());
    bed.save(&certificate("gone.test", now.0 + 1_000)).await;
    assert_eq!((bed.store.parked().await.unwrap(), bed.store.late(now).await.unwrap().0), (0, 0));
}

async fn a_saved_certificate_is_found_again_after_reopening(bed: Bed) {
    let saved = certificate("*.shop.test", 1_000);
    bed.save(&saved).await;
    let bed = bed.reopen().await;
    assert_same(&bed.find("*.shop.test").await.unwrap(), &saved);
    assert!(bed.store.has_certificate(&name("*.shop.test")).await.unwrap());
}

async fn a_certificate_that_is_not_there_is_absent(bed: Bed) {
    bed.save(&certificate("a.test", 1_000)).await;
    assert!(bed.find("b.test").await.is_none());
    assert!(!bed.store.has_certificate(&name("b.test")).await.unwrap());
}

async fn a_saved_certificate_replaces_the_one_before(bed: Bed) {
    bed.save(&certificate("a.test", 2_000)).await;
    let newer = Certificate { key_type: KeyType::Rsa2048, ..certificate("a.test", 1_000) };
    bed.save(&newer).await;
    assert_same(&bed.find("a.test").await.unwrap(), &newer);
}

async fn a_removed_certificate_is_gone(bed: Bed) {
    bed.save(&certificate("a.test", 1_000)).await;
    assert!(bed.store.remove(&name("a.test")).await.unwrap());
    assert!(bed.find("a.test").await.is_none());
    assert!(!bed.store.remove(&name("a.test")).await.unwrap());
}

async fn a_second_lease_is_refused(bed: Bed) {
    bed.lease("a.test").await.unwrap();
    bed.clock.advance(LEASE_TTL - Duration::from_secs(1));
    assert!(bed.lease("a.test").await.is_none());
}

async fn names_are_leased_apart_from_each_other(bed: Bed) {
    assert!(bed.lease("a.test").await.is_some());
    assert!(bed.lease("b.test").await.is_some());
}

async fn a_lease_ends_with_its_time(bed: Bed) {
    bed.lease("a.test").await.unwrap();
    bed.clock.advance(LEASE_TTL);
    assert!(bed.lease("a.test").await.is_some());
}

async fn a_renewed_lease_lives_on(bed: Bed) {
    let lease = bed.lease("a.test").await.unwrap();
    bed.clock.advance(LEASE_TTL / 2);
    bed.store.renew_lease(&lease, LEASE_TTL).await.unwrap();
    bed.clock.advance(LEASE_TTL / 2);
    assert!(bed.lease("a.test").await.is_none());
}

async fn a_stale_lease_cannot_save(bed: Bed) {
    let stale = bed.lease("a.test").await.unwrap();
    bed.clock.advance(LEASE_TTL);
    let fresh = bed.lease("a.test").await.unwrap();
    let refused = bed.store.save(&stale, &certificate("a.test", 1_000)).await;
    assert!(matches!(refused, Err(Error::StaleLease { .. })), "{refused:?}");
    assert!(bed.find("a.test").await.is_none());
    bed.store.save(&fresh, &certificate("a.test", 1_000)).await.unwrap();
}

async fn a_stale_lease_can_neither_be_renewed_nor_released(bed: Bed) {
    let stale = bed.lease("a.test").await.unwrap();
    bed.clock.advance(LEASE_TTL);
    let fresh = bed.lease("a.test").await.unwrap();
    let refused = bed.store.renew_lease(&stale, LEASE_TTL).await;
    assert!(matches!(refused, Err(Error::StaleLease { .. })), "{refused:?}");
    bed.store.release(&stale).await.unwrap();
    assert!(bed.lease("a.test").await.is_none(), "the fresh lease still lives");
    bed.store.renew_lease(&fresh, LEASE_TTL).await.unwrap();
}

async fn a_lease_on_another_name_cannot_save(bed: Bed) {
    let lease = bed.lease("a.test").await.unwrap();
    let refused = bed.store.save(&lease, &certificate("b.test", 1_000)).await;
    assert!(matches!(refused, Err(Error::StaleLease { .. })), "{refused:?}");
}

async fn tokens_grow_also_after_a_release(bed: Bed) {
    let mut last = 0;
    for _ in 0..3 {
        let lease = bed.lease("a.test").await.unwrap();
        assert!(lease.token > last, "{} after {last}", lease.token);
        last = lease.token;
        bed.store.release(&lease).await.unwrap();
    }
    let bed = bed.reopen().await;
    assert!(bed.lease("a.test").await.unwrap().token > last);
}

async fn of_many_at_once_one_gets_the_lease(bed: Bed) {
    let takes = (0..50).map(|_| bed.lease("a.test"));
    let leases = futures::future::join_all(takes).await;
    assert_eq!(leases.into_iter().flatten().count(), 1);
}

async fn the_last_attempt_is_kept(bed: Bed) {
    let hostname = "a.test".parse().unwrap();
    assert_eq!(bed.store.attempt(&hostname).await.unwrap(), None);
    let failed = Attempt {
        at: bed.clock.now(),
        failures: 3,
        next: Some(bed.clock.now().plus(Duration::from_secs(60))),
        report: "the authority said: \"no\"".into(),
        failed_validations: vec![UnixTime(7), UnixTime(8)],
    };
    let succeeded = Attempt { failures: 0, next: None, ..failed.clone() };
    for attempt in [failed, succeeded] {
        bed.store.record_attempt(&hostname, &attempt).await.unwrap();
        assert_eq!(bed.store.attempt(&hostname).await.unwrap(), Some(attempt));
    }
}

async fn the_first_account_wins(bed: Bed) {
    assert!(bed.store.account("https://ca.test/dir").await.unwrap().is_none());
    let first = bed.store.save_account("https://ca.test/dir", &credentials(1)).await.unwrap();
    let second = bed.store.save_account("https://ca.test/dir", &credentials(2)).await.unwrap();
    assert_eq!((&first, &second), (&credentials(1), &credentials(1)));
    let bed = bed.reopen().await;
    assert_eq!(bed.store.account("https://ca.test/dir").await.unwrap(), Some(credentials(1)));
}

async fn of_many_accounts_at_once_one_wins(bed: Bed) {
    let saves = (0..20).map(|number| {
        let store = bed.store.clone();
        tokio::spawn(async move { store.save_account("key", &credentials(number)).await.unwrap() })
    });
    let kept = futures::future::join_all(saves).await;
    let kept: std::collections::HashSet<Vec<u8>> =
        kept.into_iter().map(|one| one.unwrap().to_vec()).collect();
    assert_eq!(kept.len(), 1);
}

async fn an_import_replaces_what_ends_sooner_only(bed: Bed) {
    bed.save(&certificate("old.test", 1_000)).await;
    bed.save(&certificate("new.test", 3_000)).await;
    let brought = [certificate("old.test", 2_000), certificate("new.test", 2_000)];
    let imported = bed.store.import(&brought).await.unwrap();
    assert_eq!((imported.filed, imported.kept), (1, vec![name("new.test")]));
    assert_same(&bed.find("old.test").await.unwrap(), &brought[0]);
    assert_same(&bed.find("new.test").await.unwrap(), &certificate("new.test", 3_000));
    let again = bed.store.import(&brought[..1]).await.unwrap();
    assert_eq!((again.filed, again.kept), (0, vec![name("old.test")]), "the same one is there");
    let mut other = brought[0].clone();
    other.chain[0].push(0);
    assert_eq!(bed.store.import(std::slice::from_ref(&other)).await.unwrap().filed, 1);
    assert_same(&bed.find("old.test").await.unwrap(), &other);
}

async fn an_import_is_done_whole_and_needs_no_lease(bed: Bed) {
    let _of_somebody_else = bed.lease("n0500.test").await.unwrap();
    let brought: Vec<_> = (0..1_000).map(|n| certificate(&format!("n{n:04}.test"), 1_000)).collect();
    assert_eq!(bed.store.import(&brought).await.unwrap().filed, 1_000);
    let bed = bed.reopen().await;
    for one in brought.iter().step_by(250) {
        assert_same(&bed.find(one.name.as_str()).await.unwrap(), one);
    }
}

async fn names_come_in_pages(bed: Bed) {
    let brought: Vec<_> = (0..25).map(|n| certificate(&format!("n{n:02}.test"), 1_000)).collect();
    bed.store.import(&brought).await.unwrap();
    let mut names: Vec<CertificateName> = Vec::new();
    for size in [10, 10, 5, 0] {
        let page = bed.store.names_after(names.last(), 10).await.unwrap();
        assert_eq!(page.len(), size);
        names.extend(page);
    }
    assert!(names.iter().eq(brought.iter().map(|one| &one.name)));
}

async fn what_is_due_comes_longest_due_first_until_it_is_put_off(bed: Bed) {
    const DAY: u64 = 24 * 60 * 60;
    let begin = bed.clock.now();
    for (one, days) in [("late.test", 90), ("soon.test", 30), ("never.test", 3000)] {
        let mut obtained = certificate(one, 1_000);
        obtained.source = Source::Authority("ca".into());
        obtained.validity.not_after = begin.plus(Duration::from_secs(days * DAY));
        bed.save(&obtained).await;
    }
    assert_eq!(bed.renewals(begin, 10).await, []);
    bed.clock.advance(Duration::from_secs(61 * DAY));
    let now = bed.clock.now();
    assert_eq!(bed.renewals(now, 10).await, [name("soon.test"), name("late.test")]);
    assert_eq!(bed.renewals(now, 1).await, [name("soon.test")]);
    bed.store.postpone_renewal(&name("soon.test"), UnixTime(now.0 + 1)).await.unwrap();
    bed.store.postpone_renewal(&name("nobody.test"), now).await.unwrap();
    let bed = bed.reopen().await;
    assert_eq!(bed.renewals(now, 10).await, [name("late.test")]);
}

async fn a_wildcard_is_due_as_any_other_name(bed: Bed) {
    bed.save(&certificate("*.shop.test", 1)).await;
    bed.store.postpone_renewal(&name("*.shop.test"), UnixTime(7)).await.unwrap();
    assert_eq!(bed.renewals(UnixTime(6), 10).await, []);
    assert_eq!(bed.renewals(UnixTime(7), 10).await, [name("*.shop.test")]);
}

async fn certificates_are_counted_by_their_end(bed: Bed) {
    let ends: Vec<_> = (0..25).map(|n| certificate(&format!("n{n:02}.test"), 1_000 + n)).collect();
    bed.store.import(&ends).await.unwrap();
    let (first, tenth) = (ends[0].validity.not_after, ends[10].validity.not_after);
    assert_eq!(bed.store.ending_between(first, tenth).await.unwrap(), 10);
    assert_eq!(bed.store.ending_between(tenth, UnixTime(i64::MAX)).await.unwrap(), 14);
}

async fn a_damaged_certificate_fails_alone(bed: Bed) {
    for one in ["chain.test", "key.test", "type.test", "good.test", "name.test"] {
        bed.save(&certificate(one, 1_000)).await;
    }
    bed.change("UPDATE certificates SET chain = substr(chain, 1, 9) WHERE name = 'chain.test'").await;
    bed.change("UPDATE certificates SET sealed_key = x'0102' WHERE name = 'key.test'").await;
    bed.change("UPDATE certificates SET key_type = 'p1' WHERE name = 'type.test'").await;
    bed.change("UPDATE certificates SET name = '../../etc' WHERE name = 'name.test'").await;
    for (damaged, why) in [("chain.test", "seal"), ("key.test", "seal"), ("type.test", "p1")] {
        let error = bed.store.certificate(&name(damaged)).await.unwrap_err().to_string();
        assert!(error.contains(damaged) && error.contains(why), "{error}");
    }
    assert!(bed.find("good.test").await.is_some());
    let names = bed.store.names_after(None, 2).await.unwrap();
    assert_eq!(names, [name("chain.test"), name("good.test")], "the one without a name is left out");
}

async fn a_key_beside_another_chain_does_not_open(bed: Bed) {
    bed.save(&certificate("a.test", 1_000)).await;
    bed.save(&certificate("b.test", 1_000)).await;
    let of_b = "(SELECT sealed_key FROM certificates WHERE name = 'b.test')";
    bed.change(&format!("UPDATE certificates SET sealed_key = {of_b} WHERE name = 'a.test'")).await;
    let error = bed.store.certificate(&name("a.test")).await.unwrap_err();
    assert!(matches!(error, Error::Seal(SealError::Damaged { .. })), "{error}");
}

async fn another_sealing_key_is_refused_and_nothing_is_lost(bed: Bed) {
    bed.save(&certificate("a.test", 1_000)).await;
    let other = SealingKey::random();
    let bed = bed.close().await;
    let error = bed.try_open(other.clone()).await.err().expect("another key must not open it");
    assert!(matches!(error, Error::Seal(SealError::OtherKey { .. })), "{error}");
    let text = error.to_string();
    assert!(text.contains(&bed.key.id()) && text.contains(&other.id()), "{text}");
    let bed = bed.open().await;
    assert!(bed.find("a.test").await.is_some());
}

async fn operations_are_counted(bed: Bed) {
    bed.save(&certificate("a.test", 1_000)).await;
    bed.find("a.test").await.unwrap();
    bed.change("UPDATE certificates SET sealed_key = x''").await;
    bed.store.certificate(&name("a.test")).await.unwrap_err();
    let metrics = String::from_utf8(bed.metrics.render()).unwrap();
    for line in [
        r#"nameplate_store_operations_total{operation="save",result="ok"} 1"#,
        r#"nameplate_store_operations_total{operation="certificate",result="ok"} 1"#,
        r#"nameplate_store_operations_total{operation="certificate",result="error"} 1"#,
        r#"nameplate_store_operation_seconds_count{operation="certificate"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn leases_of_a_dead_process_are_void_at_the_next_start() {
    let bed = Bed::embedded().await;
    let held = bed.lease("a.test").await.unwrap();
    let bed = bed.reopen().await;
    let fresh = bed.lease("a.test").await.expect("its holder is gone");
    assert!(fresh.token > held.token);
}

#[tokio::test]
async fn one_process_serves_and_commands_work_beside_it() {
    let bed = Bed::embedded().await;
    let held = bed.lease("a.test").await.unwrap();
    let error = bed.try_open(bed.key.clone()).await.err().expect("it is in use");
    assert!(matches!(error, Error::InUse { .. }), "{error}");

    let data_dir = bed.data_dir();
    let beside = SqliteStore::open_beside(&data_dir, bed.key.clone(), bed.clock.clone(), metrics());
    let beside = beside.await.unwrap();
    beside.import(&[certificate("b.test", 1_000)]).await.unwrap();

    assert!(bed.find("b.test").await.is_some(), "the serving process sees the import");
    bed.store.save(&held, &certificate("a.test", 1_000)).await.expect("its leases stay");
}

#[tokio::test]
async fn no_file_shows_a_private_key_and_only_the_owner_reads_them() {
    let bed = Bed::embedded().await;
    bed.save(&certificate("a.test", 1_000)).await;
    bed.store.import(&[certificate("b.test", 1_000)]).await.unwrap();
    bed.store.save_account("key", &credentials(7)).await.unwrap();
    // The WAL is there as long as the store is open; a copy is read, as SQLite's locks on a file
    // end where anybody in this process closes it.
    let copy = TempDir::new().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(bed.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let copied = copy.path().join(path.file_name().unwrap());
        let cp = std::process::Command::new("cp").arg(&path).arg(&copied).status().unwrap();
        assert!(cp.success());
        let content = fs::read(copied).unwrap();
        for secret in
            [certificate("a.test", 0).key.der(), certificate("b.test", 0).key.der(), &credentials(7)]
        {
            assert!(!content.windows(secret.len()).any(|part| part == secret), "{}", path.display());
        }
        seen += content.len();
    }
    assert!(seen > 10_000, "the files were read");
    let folder = fs::metadata(bed.data_dir()).unwrap().permissions().mode() & 0o777;
    assert_eq!(folder, 0o700);
}
