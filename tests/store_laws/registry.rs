//! What every store promises of organizations, tokens and sites.

use std::time::Duration;

use nameplate::domain::access::{Reach, Scope};
use nameplate::domain::clock::Clock;
use nameplate::domain::event::EventKind;
use nameplate::store::records::{Changed, EventFilter, StoredSite, Token};

use crate::bed::{Bed, laws};
use crate::registered::{label, reach};

laws!(
    an_organization_is_made_by_what_is_done_for_it_first,
    organizations_come_in_pages,
    a_token_is_found_again_without_its_secret,
    tokens_come_in_pages_for_whom_they_are_for,
    a_token_is_revoked_once_and_by_whom_it_is_for_alone,
    a_token_identifier_is_given_once,
    a_site_is_kept_as_it_is_and_its_name_is_taken_then,
    a_sites_name_is_not_anothers_while_hostnames_of_whoever_had_it_go_by_it,
    a_site_is_changed_by_whoever_knows_its_version,
    sites_come_in_pages_for_whose_they_are,
    a_site_with_hostnames_is_not_taken_away,
    what_is_done_to_tokens_sites_and_quotas_is_told_with_who_did_it,
    what_is_done_to_operators_tokens_is_told_to_operators_alone,
);

fn token(id: &str, of: &str) -> Token {
    Token {
        id: id.into(),
        reach: reach(of),
        scope: Scope::Write,
        hash: [7; 32],
        note: "it's \"for\" ci; DROP TABLE tokens".into(),
        created_at: crate::UnixTime(5),
        expires_at: Some(crate::UnixTime(50)),
        revoked_at: None,
    }
}

fn site(bed: &Bed, name: &str, organization: &str) -> StoredSite {
    StoredSite {
        name: label(name),
        organization: label(organization),
        origins: vec!["10.0.0.1:80".parse().unwrap(), "https://[::1]:444".parse().unwrap()],
        cname_target: Some("customers.edge.test".parse().unwrap()),
        version: 1,
        created_at: bed.clock.now(),
        updated_at: bed.clock.now(),
    }
}

async fn an_organization_is_made_by_what_is_done_for_it_first(bed: Bed) {
    assert_eq!(bed.store.organization(&label("quota")).await.unwrap(), None);
    bed.store.set_quota(&label("quota"), Some(3), None).await.unwrap();
    bed.store.add_token(&token("t", "token"), None).await.unwrap();
    assert!(bed.store.add_site(&site(&bed, "shop", "site"), None).await.unwrap());
    bed.register("hostname", "a.test").await;
    let bed = bed.reopen().await;
    for (name, quota, used) in
        [("quota", Some(3), 0), ("token", None, 0), ("site", None, 0), ("hostname", None, 1)]
    {
        let found = bed.store.organization(&label(name)).await.unwrap().unwrap();
        assert_eq!((found.quota, found.used, found.created_at), (quota, used, bed.clock.now()), "{name}");
    }
    bed.store.set_quota(&label("quota"), None, None).await.unwrap();
    assert_eq!(bed.store.organization(&label("quota")).await.unwrap().unwrap().quota, None);
}

async fn organizations_come_in_pages(bed: Bed) {
    for name in ["c", "a", "d", "b"] {
        bed.store.set_quota(&label(name), None, None).await.unwrap();
    }
    let page = async |after: &str| {
        let page = bed.store.organizations(after, 3).await.unwrap();
        page.iter().map(|organization| organization.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page("").await, ["a", "b", "c"]);
    assert_eq!(page("c").await, ["d"]);
}

async fn a_token_is_found_again_without_its_secret(bed: Bed) {
    let (one, every) = (token("one", "a"), Token { expires_at: None, ..token("every", "*") });
    for token in [&one, &every] {
        bed.store.add_token(token, Some("first")).await.unwrap();
    }
    let bed = bed.reopen().await;
    assert_eq!(bed.store.token("one").await.unwrap(), Some(one));
    assert_eq!(bed.store.token("every").await.unwrap(), Some(every));
    assert_eq!(bed.store.token("none").await.unwrap(), None);
}

async fn tokens_come_in_pages_for_whom_they_are_for(bed: Bed) {
    for (id, of) in [("1", "a"), ("2", "b"), ("3", "*"), ("4", "a")] {
        bed.store.add_token(&token(id, of), None).await.unwrap();
    }
    let page = async |of: &str, after: &str| {
        let page = bed.store.tokens(&reach(of), after, 2).await.unwrap();
        page.iter().map(|token| token.id.clone()).collect::<String>()
    };
    assert_eq!((page("*", "").await, page("*", "2").await), ("12".into(), "34".into()));
    assert_eq!((page("a", "").await, page("a", "1").await), ("14".into(), "4".into()));
    assert_eq!(page("c", "").await, "");
}

async fn a_token_is_revoked_once_and_by_whom_it_is_for_alone(bed: Bed) {
    bed.store.add_token(&token("one", "a"), None).await.unwrap();
    let revoke = async |of: &str, id: &str| bed.store.revoke_token(&reach(of), id, None).await.unwrap();
    assert!(!revoke("b", "one").await);
    assert!(!revoke("a", "other").await);
    assert_eq!(bed.store.token("one").await.unwrap().unwrap().revoked_at, None);
    let then = bed.clock.now();
    assert!(revoke("a", "one").await);
    bed.clock.advance(Duration::from_secs(10));
    assert!(!revoke("*", "one").await);
    assert_eq!(bed.store.token("one").await.unwrap().unwrap().revoked_at, Some(then));
}

async fn a_token_identifier_is_given_once(bed: Bed) {
    bed.store.add_token(&token("one", "a"), None).await.unwrap();
    bed.store.add_token(&token("one", "b"), None).await.unwrap_err();
    assert_eq!(bed.store.token("one").await.unwrap().unwrap().reach, reach("a"));
}

async fn a_site_is_kept_as_it_is_and_its_name_is_taken_then(bed: Bed) {
    let made = site(&bed, "shop", "a");
    assert!(bed.store.add_site(&made, None).await.unwrap());
    assert!(!bed.store.add_site(&site(&bed, "shop", "b"), None).await.unwrap());
    let bed = bed.reopen().await;
    assert_eq!(bed.store.site(&label("shop")).await.unwrap(), Some(made));
    assert_eq!(bed.store.site(&label("other")).await.unwrap(), None);
    assert_eq!(bed.store.organization(&label("b")).await.unwrap(), None, "nothing came of it");
}

async fn a_sites_name_is_not_anothers_while_hostnames_of_whoever_had_it_go_by_it(bed: Bed) {
    // A site of the configuration, which the store does not know, has them too.
    bed.register("a", "one.test").await;
    let (as_a, as_b) = (site(&bed, "a-site", "a"), site(&bed, "a-site", "b"));
    let before = bed.store.last_change().await.unwrap();
    assert!(!bed.store.add_site(&as_b, None).await.unwrap(), "its hostname would go to b's origins");
    assert_eq!(bed.store.site(&label("a-site")).await.unwrap(), None);
    assert_eq!(bed.store.last_change().await.unwrap(), before);
    bed.store.restore(std::slice::from_ref(&as_b), &[]).await.unwrap();
    assert_eq!(bed.store.site(&label("a-site")).await.unwrap(), None, "nor by a copy of before");
    assert!(bed.store.add_site(&as_a, None).await.unwrap(), "it is a's own again");
    bed.unregister("a", "one.test").await.unwrap();
    assert_eq!(bed.store.remove_site(&label("a-site"), None).await.unwrap(), Some(0));
    assert!(bed.store.add_site(&as_b, None).await.unwrap(), "nobody goes by it any more");
}

async fn a_site_is_changed_by_whoever_knows_its_version(bed: Bed) {
    let made = site(&bed, "shop", "a");
    bed.store.add_site(&made, None).await.unwrap();
    bed.clock.advance(Duration::from_secs(10));
    let wanted = StoredSite {
        origins: vec!["10.0.0.2:81".parse().unwrap()],
        cname_target: None,
        organization: label("thief"),
        version: 77,
        ..made.clone()
    };
    let change = async |based_on| bed.store.change_site(&wanted, based_on, None).await.unwrap();
    let changed = StoredSite {
        organization: label("a"),
        version: 2,
        created_at: made.created_at,
        updated_at: bed.clock.now(),
        ..wanted.clone()
    };
    assert_eq!(change(Some(1)).await, Changed::Done(changed.clone()));
    assert_eq!(change(Some(1)).await, Changed::Newer(2));
    assert_eq!(bed.store.site(&label("shop")).await.unwrap(), Some(changed));
    assert!(matches!(change(None).await, Changed::Done(StoredSite { version: 3, .. })));
    let absent = StoredSite { name: label("other"), ..wanted.clone() };
    assert_eq!(bed.store.change_site(&absent, None, None).await.unwrap(), Changed::Absent);
}

async fn sites_come_in_pages_for_whose_they_are(bed: Bed) {
    for (name, organization) in [("1", "a"), ("2", "b"), ("3", "a")] {
        bed.store.add_site(&site(&bed, name, organization), None).await.unwrap();
    }
    let page = async |of: &str, after: &str| {
        let page = bed.store.sites(&reach(of), after, 2).await.unwrap();
        page.iter().map(|site| site.name.to_string()).collect::<String>()
    };
    assert_eq!((page("*", "").await, page("*", "2").await), ("12".into(), "3".into()));
    assert_eq!((page("a", "").await, page("a", "1").await), ("13".into(), "3".into()));
}

async fn a_site_with_hostnames_is_not_taken_away(bed: Bed) {
    bed.store.add_site(&site(&bed, "a-site", "a"), None).await.unwrap();
    bed.register("a", "one.test").await;
    bed.register("a", "two.test").await;
    let remove = async |name: &str| bed.store.remove_site(&label(name), None).await.unwrap();
    assert_eq!(remove("a-site").await, Some(2));
    assert!(bed.store.site(&label("a-site")).await.unwrap().is_some());
    bed.unregister("a", "one.test").await.unwrap();
    bed.unregister("a", "two.test").await.unwrap();
    let before = bed.store.last_change().await.unwrap();
    assert_eq!(remove("a-site").await, Some(0));
    assert_eq!(bed.store.site(&label("a-site")).await.unwrap(), None);
    assert_eq!(bed.changed(before).await, [None]);
    assert_eq!(remove("a-site").await, None);
}

async fn what_is_done_to_tokens_sites_and_quotas_is_told_with_who_did_it(bed: Bed) {
    let who = Some("token-1");
    bed.store.set_quota(&label("a"), Some(9), who).await.unwrap();
    bed.store.add_token(&token("t", "a"), None).await.unwrap();
    bed.store.revoke_token(&reach("a"), "t", who).await.unwrap();
    bed.store.add_site(&site(&bed, "shop", "a"), who).await.unwrap();
    bed.store.change_site(&site(&bed, "shop", "a"), None, who).await.unwrap();
    bed.store.remove_site(&label("shop"), who).await.unwrap();
    let filter = EventFilter { reach: reach("a"), hostname: None, audit: true, before: None, limit: 100 };
    let events = bed.store.events(&filter).await.unwrap();
    let told: Vec<_> = events.iter().rev().map(|event| (event.kind, event.actor.as_deref())).collect();
    let expected = [
        (EventKind::OrganizationUpdated, who),
        (EventKind::TokenCreated, Some("command line")),
        (EventKind::TokenRevoked, who),
        (EventKind::SiteCreated, who),
        (EventKind::SiteUpdated, who),
        (EventKind::SiteDeleted, who),
    ];
    assert_eq!(told, expected);
    assert!(events[..3].iter().all(|event| event.site == Some(label("shop"))));
    assert!(!events.iter().any(|event| event.detail.to_string().contains("hash")), "{events:?}");
}

async fn what_is_done_to_operators_tokens_is_told_to_operators_alone(bed: Bed) {
    let who = Some("token-1");
    bed.store.add_token(&Token { reach: Reach::All, ..token("t", "a") }, who).await.unwrap();
    bed.store.add_token(&token("u", "a"), who).await.unwrap();
    bed.store.revoke_token(&Reach::All, "t", None).await.unwrap();
    let told = async |reach: Reach| {
        let filter = EventFilter { reach, hostname: None, audit: true, before: None, limit: 100 };
        let events = bed.store.events(&filter).await.unwrap();
        events.into_iter().map(|event| (event.kind, event.organization, event.actor)).collect::<Vec<_>>()
    };
    let (theirs, line) = (Some(label("a")), Some("command line".to_owned()));
    let made = |organization| (EventKind::TokenCreated, organization, who.map(str::to_owned));
    let all = [(EventKind::TokenRevoked, None, line), made(theirs.clone()), made(None)];
    assert_eq!(told(Reach::All).await, all);
    assert_eq!(told(reach("a")).await, [made(theirs)]);
}
