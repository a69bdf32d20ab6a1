//! A folder for each hostname, by its name or by what the API was told of it.

use serde_json::json;

use crate::bed::appears;
use crate::client::Ask;
use crate::folder::Folder;
use crate::house::{House, PLATFORM, house};

async fn registered(house: &House, token: &str, site: &str, hostname: &str) -> String {
    let body = json!({ "data": { "attributes": { "hostname": hostname } } });
    let made = house.call(token, "POST", &format!("/sites/{site}/hostnames"), Some(body)).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    appears(&format!("{hostname} is serving"), async || {
        let path = format!("/sites/{site}/hostnames/{hostname}");
        let reply = house.call(token, "GET", &path, None).await;
        (reply.attributes()["state"] == "serving").then_some(())
    })
    .await;
    made.attributes()["preview_hostname"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostname_has_a_folder_of_its_own_and_sees_no_other() {
    let folder = Folder::new();
    folder.write("cool.pages.test/index.html", "cool cats");
    folder.write("warm.pages.test/index.html", "warm dogs");
    folder.link("cool.pages.test/warm", "../warm.pages.test");
    folder.write("birds/index.html", "birds");
    folder.write("index.html", "the root of all");
    let root = folder.root().display().to_string();
    let house = house(&format!(
        "[[site]]\nname = \"own\"\norganization = \"cats\"\nroot = \"{root}/{{hostname}}\"\n\
         [[site]]\nname = \"told\"\norganization = \"cats\"\nroot = \"{root}/{{metadata.folder}}\"\n"
    ))
    .await;
    let token = house.token("cats", "admin");
    let get = async |host: &str, target: &str| {
        let answer = Ask::get(target).of(&house.edge, host).await;
        (answer.status, answer.text())
    };

    let preview = registered(&house, &token, "own", "cool.pages.test").await;
    assert_eq!(get("cool.pages.test", "/").await, (200, "cool cats".into()));
    assert!(preview.ends_with(PLATFORM));
    assert_eq!(get(&preview, "/").await, (200, "cool cats".into()));
    for target in ["/warm/", "/warm/index.html", "/../warm.pages.test/index.html", "/%2e%2e/index.html"] {
        let (status, text) = get("cool.pages.test", target).await;
        assert!([400, 404].contains(&status) && !text.contains("warm dogs"), "{target}: {status} {text}");
    }
    registered(&house, &token, "own", "lost.pages.test").await;
    assert_eq!(get("lost.pages.test", "/").await.0, 404, "it has no folder");

    registered(&house, &token, "told", "birds.test").await;
    let set = async |metadata: serde_json::Value, wanted: (u16, &str)| {
        let body = json!({ "data": { "attributes": { "metadata": metadata } } });
        let reply = house.call(&token, "PATCH", "/sites/told/hostnames/birds.test", Some(body)).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        appears(&format!("{metadata} is in force"), async || {
            let (status, text) = get("birds.test", "/").await;
            assert!(!text.contains("root of all") && !text.contains("cats"), "{metadata}: {text}");
            (status == wanted.0 && text.contains(wanted.1)).then_some(())
        })
        .await;
    };
    assert_eq!(get("birds.test", "/").await.0, 404, "it has no metadata");
    set(json!({ "folder": "birds" }), (200, "birds")).await;
    for unsafe_one in
        [json!("."), json!(".."), json!("../site"), json!("a/b"), json!(""), json!(7), json!(null)]
    {
        set(json!({ "folder": unsafe_one }), (404, "There is no page")).await;
        set(json!({ "folder": "birds" }), (200, "birds")).await;
    }

    // An origin of its own is asked in place of the files.
    let body = json!({ "data": { "attributes": { "origin": house.other_origin.address.to_string() } } });
    house.call(&token, "PATCH", "/sites/told/hostnames/birds.test", Some(body)).await;
    appears("the origin is asked", async || {
        (get("birds.test", "/x").await == (200, "GET /x".into())).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_chooses_a_folder_of_this_machine() {
    let folder = Folder::new();
    let root = folder.root().display().to_string();
    let site =
        format!("[[site]]\nname = \"pages\"\norganization = \"cats\"\nroot = \"{root}/{{hostname}}\"\n");
    let house = house(&site).await;
    let token = house.token("cats", "admin");
    let shown = house.call(&token, "GET", "/sites/pages", None).await;
    assert_eq!(shown.attributes()["root"], format!("{root}/{{hostname}}"));
    assert_eq!(shown.attributes()["origins"], json!([]));

    let with_root = |more: serde_json::Value| {
        let mut attributes = json!({ "root": "/etc" });
        attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some(json!({ "data": { "attributes": attributes } }))
    };
    let made = with_root(json!({ "name": "mine", "origins": ["127.0.0.1:3000"] }));
    let refused = house.call(&token, "POST", "/sites", made).await;
    assert_eq!(refused.status, 422, "{:?}", refused.body);
    let detail = refused.body["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("in the configuration file alone"), "{detail}");
    let made = json!({ "data": { "attributes": { "name": "mine", "origins": ["127.0.0.1:3000"] } } });
    assert_eq!(house.call(&token, "POST", "/sites", Some(made)).await.status, 201);
    let refused = house.call(&token, "PATCH", "/sites/mine", with_root(json!({}))).await;
    assert_eq!(refused.status, 422, "{:?}", refused.body);
    let shown = house.call(&token, "GET", "/sites/mine", None).await;
    assert!(shown.attributes()["root"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_folder_on_the_way_leads_into_no_other_hostnames() {
    let folder = Folder::new();
    folder.write("warm.pages.test/private/index.html", "warm dogs");
    folder.write("cool.pages.test/index.html", "above what is shown");
    folder.link("cool.pages.test/public", "../warm.pages.test/private");
    folder.write("good.pages.test/releases/1/index.html", "the first release");
    folder.link("good.pages.test/public", "releases/1");
    let root = folder.root().display().to_string();
    let site =
        format!("[[site]]\nname = \"own\"\norganization = \"cats\"\nroot = \"{root}/{{hostname}}/public\"\n");
    let house = house(&site).await;
    let token = house.token("cats", "admin");
    for hostname in ["cool.pages.test", "good.pages.test"] {
        registered(&house, &token, "own", hostname).await;
    }
    let answer = Ask::get("/").of(&house.edge, "good.pages.test").await;
    assert_eq!((answer.status, answer.text()), (200, "the first release".into()));
    let answer = Ask::get("/").of(&house.edge, "cool.pages.test").await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}
