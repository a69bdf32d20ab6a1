//! Revocation at a real CA.

mod bed;

use std::path::{Path, PathBuf};

use bed::approval::Behaviour;
use bed::house::{House, Plan, again, house, meddled_house};
use bed::meddler::{Asked, Meddling};
use bed::program::{Edge, Ran, run};

async fn revoke(edge: &Edge, hostname: &str, reason: &str) -> Ran {
    let path = edge.config_file();
    run(&["cert", "revoke", hostname, "--reason", reason, "--config", path.to_str().unwrap()]).await
}

/// The one file of the local tier.
fn local_copy(edge: &Edge) -> Option<PathBuf> {
    let files = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let folders = files(&edge.folder().join("data/local")).filter(|path| path.is_dir());
    folders.flat_map(|folder| files(&folder).collect::<Vec<_>>()).find(|path| path.is_file())
}

#[tokio::test]
async fn a_revoked_certificate_is_replaced_at_once_and_never_served_again() {
    let House { ca, endpoint, edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says("leaked.test", Behaviour::Yes);
    let old = edge.handshake("leaked.test").await.unwrap().serial();
    let copy = bed::appears("the local copy", async || local_copy(&edge)).await;
    let stolen = std::fs::read(&copy).unwrap();
    let (client, https) = (edge.client.clone(), edge.https);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let beside = tokio::spawn(async move {
        let mut serials = Vec::new();
        while stopped.try_recv().is_err() {
            serials.push(client.handshake(https, "leaked.test").await.expect("served all the time").serial());
        }
        serials
    });
    let ran = revoke(&edge, "leaked.test", "keyCompromise").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told = "the certificate of leaked.test is not served any more (keyCompromise); pebble has revoked it; \
                another one, valid until ";
    assert!(ran.out.starts_with(told), "{}", ran.out);
    let status = ca.status(&old).await;
    assert_eq!((&status["Status"], &status["Reason"]), (&"Revoked".into(), &1.into()));
    let new = edge.handshake("leaked.test").await.unwrap().serial();
    assert_ne!(new, old);
    stop.send(()).unwrap();
    let serials = beside.await.unwrap();
    assert_eq!(serials.last(), Some(&new));
    assert_eq!(ca.orders(), 2);
    assert_eq!(ca.status(&new).await["Status"], "Valid");
    assert_eq!(edge.metric("revocations_total{result=\"told\"}").await, 1.0);

    // A copy of it that comes back to this machine's disk is not served, from the first moment on.
    let client = edge.client.clone();
    let folder = edge.stop().await;
    std::fs::write(&copy, &stolen).unwrap();
    let edge = again(folder, client).await;
    assert_eq!(edge.handshake("leaked.test").await.unwrap().serial(), new);
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn an_authority_that_does_not_listen_is_told_later() {
    let (house, meddler) = meddled_house(Plan::default()).await;
    house.endpoint.says("leaked.test", Behaviour::Yes);
    let old = house.edge.handshake("leaked.test").await.unwrap().serial();
    meddler.once(Asked::Revocation, Meddling::Say(503, None, "text/html", "<h1>down</h1>".into()));
    let ran = revoke(&house.edge, "leaked.test", "superseded").await;
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.err.contains("its authority has not revoked it yet: pebble: "), "{}", ran.err);
    assert!(
        ran.err.contains("the next try is at ") && ran.err.contains("another one, valid until"),
        "{}",
        ran.err
    );
    assert_ne!(house.edge.handshake("leaked.test").await.unwrap().serial(), old);
    assert_eq!(house.ca.status(&old).await["Status"], "Valid");
    let pending = async || house.edge.metric("revocations_pending").await;
    bed::eventually("it is shown", async || pending().await == 1.0).await;
    bed::eventually("it is told again", async || pending().await == 0.0).await;
    let status = house.ca.status(&old).await;
    assert_eq!((&status["Status"], &status["Reason"]), (&"Revoked".into(), &4.into()));
}

#[tokio::test]
async fn its_authority_is_told_only_once_it_is_replaced() {
    let plan = Plan { approval_cache: "1s", ..Plan::default() };
    let House { ca, endpoint, edge, origin: _origin } = house(plan).await;
    endpoint.says("slow.test", Behaviour::Yes);
    let old = edge.handshake("slow.test").await.unwrap().serial();
    // Every five seconds it is looked whether an authority is to be told.
    let look = r#"store_operations_total{operation="revocations_to_tell",result="ok"}"#;
    let two_more_looks = async || {
        let before = edge.metric(look).await;
        bed::eventually("two more looks", async || edge.metric(look).await >= before + 2.0).await;
    };
    // By then the verdict has to be asked for again, which holds the replacement up.
    two_more_looks().await;
    endpoint.says("slow.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    let path = edge.config_file().display().to_string();
    let revokes = tokio::spawn(async move {
        run(&["cert", "revoke", "slow.test", "--reason", "superseded", "--config", &path]).await
    });
    bed::eventually("it is asked", async || endpoint.questions_about("slow.test") == 2).await;
    two_more_looks().await;
    assert_eq!(edge.handshake("slow.test").await.unwrap().serial(), old, "served until it is replaced");
    assert_eq!(ca.status(&old).await["Status"], "Valid");
    endpoint.open_gate();
    let ran = revokes.await.unwrap();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ca.status(&old).await["Status"], "Revoked");
    assert_ne!(edge.handshake("slow.test").await.unwrap().serial(), old);
}

#[tokio::test]
async fn a_revocation_that_was_broken_off_leaves_the_name_to_its_next_visitor() {
    let (house, meddler) = meddled_house(Plan::default()).await;
    house.endpoint.says("cut.test", Behaviour::Yes);
    let old = house.edge.handshake("cut.test").await.unwrap().serial();
    meddler.once(Asked::NewOrder, Meddling::Hang);
    let before = meddler.asked(Asked::NewOrder);
    let path = house.edge.config_file().display().to_string();
    let revokes = tokio::spawn(async move {
        run(&["cert", "revoke", "cut.test", "--reason", "keyCompromise", "--config", &path]).await
    });
    bed::eventually("another one is ordered", async || meddler.asked(Asked::NewOrder) > before).await;
    let client = house.edge.client.clone();
    let folder = house.edge.kill().await;
    assert_eq!(revokes.await.unwrap().code, 1);
    let edge = again(folder, client).await;
    // The order that was broken off holds its lease for half a minute.
    let served = bed::appears("it is served", async || edge.handshake("cut.test").await.ok()).await;
    assert_ne!(served.serial(), old);
    let pending = async || edge.metric("revocations_pending").await == 1.0;
    bed::eventually("its authority is still to be told", pending).await;
}

#[tokio::test]
async fn a_name_that_is_not_approved_any_more_gets_no_other_certificate() {
    let plan = Plan { approval_cache: "1s", ..Plan::default() };
    let House { ca, endpoint, edge, origin: _origin } = house(plan).await;
    endpoint.says("gone.test", Behaviour::Yes);
    edge.handshake("gone.test").await.unwrap();
    endpoint.says("gone.test", Behaviour::No);
    // A moment ago it was approved; that verdict ends within a second.
    let (old, ran) = loop {
        let old = edge.handshake("gone.test").await.unwrap().serial();
        let ran = revoke(&edge, "gone.test", "cessationOfOperation").await;
        if ran.code == 1 {
            break (old, ran);
        }
    };
    let told = ran.err;
    assert!(told.contains("no other one is in its place: it is not approved"), "{told}");
    assert_eq!(ca.status(&old).await["Status"], "Revoked");
    assert!(edge.handshake("gone.test").await.is_err());
    let client = edge.client.clone();
    let edge = again(edge.stop().await, client).await;
    assert!(edge.handshake("gone.test").await.is_err(), "after a restart too");
}

#[tokio::test]
async fn what_cannot_be_revoked_is_said() {
    let House { edge, ca: _ca, .. } = house(Plan::default()).await;
    let none = revoke(&edge, "never.test", "unspecified").await;
    assert!(none.code == 1 && none.err.contains("no certificate of exactly this name"), "{}", none.err);
    for (hostname, reason) in [("own.test", "boredom"), ("*.", "unspecified"), ("192.0.2.1", "unspecified")] {
        let wrong = revoke(&edge, hostname, reason).await;
        assert_eq!(wrong.code, 2, "{hostname} {reason}: {}", wrong.err);
    }
    let path = edge.config_file();
    let _folder = edge.stop().await;
    let ran =
        run(&["cert", "revoke", "a.test", "--reason", "unspecified", "--config", path.to_str().unwrap()])
            .await;
    assert!(ran.code == 1 && ran.err.contains("no process serves from"), "{}", ran.err);
}
