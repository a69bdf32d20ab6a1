//! What somebody does with the pages.

use serde_json::json;

use crate::browser::{Browser, Setting};
use crate::house::house;

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_is_registered_seen_to_serve_found_and_deleted() {
    let house = house("").await;
    let browser = Browser::start(&house).await;
    browser.open("/").await;
    assert_eq!(browser.place().await, "/sign-in", "a stranger is led to the form");
    browser.sign_in(&house.token("cats", "write")).await;
    browser.says("No hostname is registered yet.").await;

    browser.press("main a[href='/register']").await;
    browser.fill("#hostname", "Shop.Customer.test").await;
    browser.fill("#metadata", "{\"plan\": \"<script>alert(1)</script>\"}").await;
    browser.press("form.card button").await;
    browser.says("shop.customer.test").await;
    assert_eq!(browser.place().await, "/sites/default/hostnames/shop.customer.test");
    // Nobody touches the page.
    browser.says("It is served by a certificate").await;
    browser.says("pebble").await;
    browser.says("certificate.issued").await;
    let text = browser.text().await;
    assert!(text.contains("\"plan\": \"<script>alert(1)</script>\""), "{text}");
    assert!(text.contains("_nameplate.shop.customer.test"), "{text}");
    let preview = browser.attribute("dl.facts a", "href").await.unwrap();
    assert!(preview.starts_with("https://") && preview.ends_with(".plat.test/"), "{preview}");
    browser.press("div.buttons button").await;
    browser.says("It is being looked at now.").await;

    browser.open("/").await;
    assert_eq!(browser.text_of(".list tbody th").await, "shop.customer.test");
    assert!(browser.text_of(".counts li:nth-child(3)").await.starts_with('1'), "one is serving");
    browser.press(".list tbody a").await;
    browser.press("a.danger").await;
    browser.says("Delete shop.customer.test?").await;
    browser.press("main button.danger").await;
    browser.says("The hostname is deleted.").await;
    browser.says("No hostname is registered yet.").await;
    browser.has_no_complaint().await;

    browser.press("form.out button").await;
    browser.says("Sign in").await;
    browser.open("/").await;
    assert_eq!(browser.place().await, "/sign-in", "signed out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_searched_and_goes_on_page_by_page() {
    let house = house("").await;
    let token = house.token("cats", "write");
    for number in 0..53 {
        assert_eq!(house.register(&token, &format!("n{number:02}.shop.test")).await.status, 201);
    }
    assert_eq!(house.register(&token, "bücher.example").await.status, 201);
    let browser = Browser::start(&house).await;
    browser.sign_in(&token).await;
    browser.says("n00.shop.test").await;
    assert_eq!(browser.count(".list tbody tr").await, 50);
    browser.press("a[rel=next]").await;
    browser.says("bücher.example").await;
    assert_eq!(browser.count(".list tbody tr").await, 4);
    let title = browser.attribute(".list tbody tr:last-child span.name", "title").await;
    assert_eq!(title.as_deref(), Some("xn--bcher-kva.example"));
    for (typed, found) in [("n1", 10), ("BÜCHER.example", 1), ("no.such", 0), ("\"><script>", 0)] {
        browser.open("/").await;
        browser.fill("#q", typed).await;
        browser.press("form.search button").await;
        let wanted = if found == 0 { "No hostname is like that." } else { "Looked at" };
        browser.says(wanted).await;
        assert_eq!(browser.count(".list tbody tr").await, found, "{typed}");
        assert_eq!(browser.attribute("#q", "value").await.as_deref(), Some(typed));
    }
    browser.open("/?site=default&state=stuck&q=zzz").await;
    browser.says("No hostname is like that.").await;
    browser.open("/?site=other").await;
    browser.says("There is no site \"other\" here.").await;
    browser.has_no_complaint_but("404").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_is_signed_out_at_once_and_a_wrong_one_never_in() {
    let house = house("").await;
    let operator = house.token("*", "admin");
    let token = house.token("cats", "read");
    let browser = Browser::start(&house).await;
    browser.sign_in("np_wrong_token").await;
    browser.says("The token is not one of ours.").await;
    browser.sign_in(&token).await;
    browser.says("No hostname is registered yet.").await;
    assert_eq!(browser.count("main a[href='/register']").await, 0, "it may only look");
    let cookies = browser.cookies().await;
    assert_eq!(cookies.len(), 1);
    assert!(!token.contains(cookies[0]["value"].as_str().unwrap()));
    assert_eq!(cookies[0]["name"], "nameplate");
    assert_eq!(cookies[0]["httpOnly"], true);
    assert_eq!(cookies[0]["sameSite"], "Strict");
    browser.open("/register").await;
    browser.says("This token has the scope read").await;

    let id = token.split('_').nth(1).unwrap();
    assert_eq!(house.call(&operator, "DELETE", &format!("/tokens/{id}"), None).await.status, 204);
    browser.open("/").await;
    assert_eq!(browser.place().await, "/sign-in");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_not_there_and_what_others_wrote_is_text() {
    let house =
        house("[[site]]\nname = \"dogs\"\norganization = \"dogs\"\norigins = [\"127.0.0.1:9\"]\n").await;
    let (cats, dogs) = (house.token("cats", "write"), house.token("dogs", "write"));
    let body = json!({ "data": { "attributes": { "hostname": "dog.test", "metadata": { "a": "</pre><script>\"'" } } } });
    assert_eq!(house.call(&dogs, "POST", "/sites/dogs/hostnames", Some(body)).await.status, 201);
    // What an authority or a customer's DNS said comes from strangers.
    house
        .ca
        .set_dns("set-txt", json!({ "host": "_nameplate.dog.test.", "value": "<script>alert(1)</script>" }))
        .await;
    let browser = Browser::start(&house).await;
    browser.sign_in(&cats).await;
    browser.says("No hostname is registered yet.").await;
    for path in ["/sites/dogs/hostnames/dog.test", "/sites/dogs/hostnames/dog.test/delete"] {
        browser.open(path).await;
        browser.says("There is no site \"dogs\" here.").await;
    }
    browser.open("/events").await;
    assert!(!browser.text().await.contains("dog.test"));
    browser.press("form.out button").await;
    browser.sign_in(&dogs).await;
    browser.says("dog.test").await;
    browser.open("/sites/dogs/hostnames/dog.test").await;
    browser.says("</pre><script>").await;
    browser.has_no_complaint_but("404").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_without_scripts() {
    let house = house("").await;
    let browser = Browser::with(&house, Setting { scripts: false, ..Setting::DESKTOP }).await;
    browser.sign_in(&house.token("cats", "write")).await;
    browser.press("main a[href='/register']").await;
    browser.fill("#hostname", "plain.test").await;
    browser.press("form.card button").await;
    browser.says("plain.test").await;
    // The page loads itself again all the same.
    browser.says("It is served by a certificate").await;
    browser.press("a.danger").await;
    browser.press("main button.danger").await;
    browser.says("The hostname is deleted.").await;
}
