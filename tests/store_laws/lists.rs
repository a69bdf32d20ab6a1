//! What every store promises of lists of hostnames.

use nameplate::domain::access::Reach;
use nameplate::domain::registration::{Registration, State};
use nameplate::store::records::{Cursor, Filter, NewHostname};

use crate::bed::{Bed, laws};
use crate::registered::{all, fill, label, new, reach};

laws!(
    every_combination_of_filters_lists_what_fits_it,
    a_row_that_cannot_be_read_is_left_out_of_a_full_page,
    pages_show_each_hostname_once_and_in_order,
    a_name_of_many_organizations_is_listed_for_each_over_pages,
    a_text_is_taken_as_it_is,
    a_short_text_is_a_beginning,
    a_list_follows_what_is_deleted_and_what_changes,
    states_are_counted_for_whom_they_are_asked,
);

const NAMES: [&str; 12] = [
    "a.test",
    "shop.a.test",
    "shop.b.test",
    "www.shop.test",
    "*.shop.test",
    "xn--bcher-kva.test",
    "and.or.not.test",
    "near.test",
    "s.test",
    "sh.test",
    "a-shop.test",
    "zz.example",
];

/// Three organizations, two sites each, every state; the same names in several.
async fn people(bed: &Bed) {
    for (number, raw) in NAMES.iter().enumerate() {
        for (which, organization) in ["a", "b", "c"].into_iter().enumerate() {
            if (number + which) % 4 == 0 {
                continue;
            }
            let site = label(&format!("{organization}-{}", number % 2));
            bed.try_register(&NewHostname { site, ..new(organization, raw) }).await;
            let registered = bed.registration(organization, raw).await.unwrap();
            let state = State::ALL[(number + 2 * which) % 3];
            bed.looked(&registered, state, "", crate::UnixTime(0)).await;
        }
    }
}

/// All that the filter lists, page by page; each page is full but the last.
async fn listed(bed: &Bed, filter: &Filter) -> Vec<Registration> {
    let mut seen: Vec<Registration> = Vec::new();
    let mut filter = filter.clone();
    loop {
        let page = bed.store.registrations(&filter).await.unwrap();
        let full = page.len() == filter.limit as usize;
        assert!(page.len() <= filter.limit as usize);
        seen.extend(page);
        let last = seen.last().map(|last| Cursor { name: last.name.to_string(), id: last.id });
        if !full {
            return seen;
        }
        filter.after = last;
    }
}

fn shown(list: &[Registration]) -> Vec<(String, i64)> {
    list.iter().map(|one| (one.name.to_string(), one.id)).collect()
}

fn fits(one: &Registration, filter: &Filter) -> bool {
    let text = filter.text.as_deref().unwrap_or("").to_ascii_lowercase();
    let name = one.name.as_str();
    filter.reach.covers(&one.organization)
        && filter.site.as_ref().is_none_or(|site| *site == one.site)
        && filter.state.is_none_or(|state| state == one.standing.state)
        && if text.len() < 3 { name.starts_with(&text) } else { name.contains(&text) }
}

async fn every_combination_of_filters_lists_what_fits_it(bed: Bed) {
    people(&bed).await;
    let every = listed(&bed, &all(100)).await;
    assert_eq!(every.len(), NAMES.len() * 9 / 4);
    let mut found = 0;
    for reach in [Reach::All, reach("a"), reach("b"), reach("nobody")] {
        for site in [None, Some("a-0"), Some("b-1"), Some("none")] {
            for state in [None, Some(State::Waiting), Some(State::Serving), Some(State::Stuck)] {
                for text in [None, Some(""), Some("s"), Some("sh"), Some("shop"), Some("SHOP"), Some(".test")]
                {
                    let site = site.map(label);
                    let text = text.map(str::to_owned);
                    let filter = Filter { reach: reach.clone(), site, state, text, ..all(3) };
                    let expected: Vec<_> = every.iter().filter(|one| fits(one, &filter)).cloned().collect();
                    assert_eq!(shown(&listed(&bed, &filter).await), shown(&expected), "{filter:?}");
                    found += expected.len();
                }
            }
        }
    }
    assert!(found > 500, "{found}");
}

async fn pages_show_each_hostname_once_and_in_order(bed: Bed) {
    people(&bed).await;
    let every = shown(&listed(&bed, &all(100)).await);
    assert!(every.is_sorted() && every.windows(2).all(|pair| pair[0] != pair[1]));
    for limit in 1..8 {
        assert_eq!(shown(&listed(&bed, &all(limit)).await), every, "pages of {limit}");
    }
}

async fn a_name_of_many_organizations_is_listed_for_each_over_pages(bed: Bed) {
    for organization in ["c", "a", "d", "b"] {
        let site = label("shared");
        bed.try_register(&NewHostname { site, ..new(organization, "same.test") }).await;
    }
    bed.register("a", "before.test").await;
    bed.register("a", "other.test").await;
    for text in [None, Some("same".to_owned()), Some("sa".to_owned())] {
        for site in [None, Some(label("shared"))] {
            for state in [None, Some(State::Waiting)] {
                let filter = Filter { text: text.clone(), site: site.clone(), state, ..all(1) };
                let seen = listed(&bed, &filter).await;
                let same = seen.iter().filter(|one| one.name.as_str() == "same.test");
                let whose: String = same.map(|one| one.organization.to_string()).collect();
                assert_eq!(whose, "cadb", "in the order of their numbers: {filter:?}");
            }
        }
    }
}

/// What would mean something to a pattern, to an index of parts or to SQL.
const ODD: &[&str] = &[
    "sh%p",
    "%%%",
    "___",
    "s_op",
    "%",
    "_",
    "!",
    "!%!",
    "shop*",
    "sho AND test",
    "shop OR near",
    "NOT shop",
    "\"shop\"",
    "\"\"\"",
    "\"",
    "'",
    "''' OR 1",
    "name:shop",
    "shop NEAR test",
    "^shop",
    "shop + test",
    "(shop)",
    "{shop}",
    "shop;",
    "-shop.a",
    "\\shop",
    "sh\0",
    "shop\0",
    "\0\0\0\0",
    "sh\u{7f}",
    "büc",
    "ü",
    "sho\u{212a}",
    "   ",
    " ",
    " shop",
];

async fn a_text_is_taken_as_it_is(bed: Bed) {
    for raw in NAMES {
        bed.register("a", raw).await;
    }
    let find = async |text: &str| {
        let filter = Filter { text: Some(text.into()), ..all(100) };
        let found = bed.store.registrations(&filter).await.unwrap();
        found.iter().map(|one| one.name.to_string()).collect::<Vec<_>>()
    };
    for (text, names) in [
        ("and.or.not", vec!["and.or.not.test"]),
        ("ShOp.TeSt", vec!["*.shop.test", "a-shop.test", "www.shop.test"]),
        ("*.shop", vec!["*.shop.test"]),
        ("*.", vec!["*.shop.test"]),
        ("xn--", vec!["xn--bcher-kva.test"]),
        ("bcher-kva", vec!["xn--bcher-kva.test"]),
        ("not.and.or", vec![]),
        ("w.shop.tes", vec!["www.shop.test"]),
    ] {
        assert_eq!(find(text).await, names, "{text:?}");
    }
    let too_long = "a".repeat(100_000);
    for text in ODD.iter().chain([&too_long.as_str()]) {
        assert_eq!(find(text).await, [""; 0], "{text:?}");
    }
}

async fn a_short_text_is_a_beginning(bed: Bed) {
    for raw in ["sh.test", "shop.test", "shz.test", "si.test", "as.test", "rsh.test", "s.test"] {
        bed.register("a", raw).await;
    }
    let find = async |text: &str, after: Option<&str>| {
        let after = after.map(|name| Cursor { name: name.into(), id: i64::MAX });
        let filter = Filter { text: Some(text.into()), after, ..all(100) };
        let found = bed.store.registrations(&filter).await.unwrap();
        found.iter().map(|one| one.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(find("sh", None).await, ["sh.test", "shop.test", "shz.test"]);
    assert_eq!(find("s", None).await, ["s.test", "sh.test", "shop.test", "shz.test", "si.test"]);
    assert_eq!(find("sh", Some("a")).await, ["sh.test", "shop.test", "shz.test"]);
    assert_eq!(find("sh", Some("shop.test")).await, ["shz.test"]);
    assert_eq!(find("sh", Some("z")).await, [""; 0]);
}

async fn a_list_follows_what_is_deleted_and_what_changes(bed: Bed) {
    people(&bed).await;
    let every = listed(&bed, &all(100)).await;
    let gone = &every[4];
    bed.unregister(gone.organization.as_str(), gone.name.as_str()).await.unwrap();
    let text = Some(gone.name.to_string());
    for filter in [all(100), Filter { text, ..all(100) }] {
        assert!(!listed(&bed, &filter).await.iter().any(|one| one.id == gone.id));
    }
    let other = every.iter().find(|one| one.standing.state == State::Waiting && one.id != gone.id).unwrap();
    bed.looked(other, State::Stuck, "", crate::UnixTime(0)).await;
    for (state, there) in [(State::Waiting, false), (State::Stuck, true)] {
        let list = listed(&bed, &Filter { state: Some(state), ..all(100) }).await;
        assert_eq!(list.iter().any(|one| one.id == other.id), there);
    }
}

async fn states_are_counted_for_whom_they_are_asked(bed: Bed) {
    people(&bed).await;
    let every = listed(&bed, &all(100)).await;
    for reach in [Reach::All, reach("a"), reach("nobody")] {
        let expected = State::ALL.map(|state| {
            let of = |one: &&Registration| reach.covers(&one.organization) && one.standing.state == state;
            (state, every.iter().filter(of).count() as u64)
        });
        assert_eq!(bed.store.count_states(&reach).await.unwrap(), expected);
    }
}

/// The embedded store looks for a text that many names have in another way than for a rare one.
#[tokio::test]
async fn a_text_that_most_names_have_is_found_over_pages_too() {
    let bed = Bed::embedded().await;
    fill(&bed, 5_000).await;
    bed.register("a", "001500.many.test").await;
    for (text, state, expected) in [
        ("many", None, 5_001),
        (".Many.Test", Some(State::Stuck), 500),
        ("0.many", None, 501),
        ("001500", None, 2),
        ("any%test", None, 0),
    ] {
        let filter = Filter { text: Some(text.into()), state, ..all(500) };
        let list = shown(&listed(&bed, &filter).await);
        assert!(list.is_sorted());
        assert_eq!(list.len(), expected, "{text}");
    }
    let filter = Filter { reach: reach("a"), text: Some("many".into()), ..all(500) };
    assert_eq!(listed(&bed, &filter).await.len(), 1);
}

async fn a_row_that_cannot_be_read_is_left_out_of_a_full_page(bed: Bed) {
    people(&bed).await;
    let every = listed(&bed, &all(100)).await;
    bed.change("UPDATE hostnames SET via = 'by_pigeon' WHERE id IN (SELECT id FROM hostnames ORDER BY name, id LIMIT 5)")
        .await;
    for limit in [1, 2, 3, 100] {
        let left = listed(&bed, &all(limit)).await;
        assert_eq!(shown(&left), shown(&every[5..]), "pages of {limit}");
    }
}
