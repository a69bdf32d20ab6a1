//! Chromium, driven by the calls of WebDriver (W3C Recommendation of 2018) through chromedriver.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::ca::plain_client;
use crate::bed::{appears, eventually, free_port};
use crate::house::House;

/// What a reference to an element is called (§11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How a browser is.
#[derive(Clone, Copy)]
pub struct Setting {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub scripts: bool,
}

impl Setting {
    pub const DESKTOP: Self = Self { width: 1280, height: 900, dark: false, scripts: true };
}

/// A browser with nothing of anybody's in it; ended when dropped.
pub struct Browser {
    driver: Child,
    session: String,
    root: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with it where it is asked to; by a kill it could not.
        let _asked = Command::new("kill").args(["-s", "TERM", &self.driver.id().to_string()]).status();
        let _status = self.driver.wait();
    }
}

impl Browser {
    pub async fn start(house: &House) -> Self {
        Self::with(house, Setting::DESKTOP).await
    }

    pub async fn with(house: &House, setting: Setting) -> Self {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver, from Debian's package chromium-driver");
        let (address, http) = (format!("http://127.0.0.1:{port}"), plain_client());
        let mut browser = Self {
            driver,
            session: address.clone(),
            root: format!("http://{}", house.edge.admin),
            http,
            _folder: folder,
        };
        eventually("chromedriver listens", async || {
            browser.http.get(format!("{address}/status")).send().await.is_ok()
        })
        .await;
        let capabilities = capabilities(setting, browser._folder.path());
        let made = browser.call("POST", "/session", capabilities).await.unwrap();
        browser.session = format!("{address}/session/{}", made["sessionId"].as_str().unwrap());
        if setting.width < 500 {
            let size = json!({ "width": setting.width, "height": setting.height, "deviceScaleFactor": 2, "mobile": true });
            browser.devtools("Emulation.setDeviceMetricsOverride", size).await;
        }
        if setting.dark {
            let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
            browser.devtools("Emulation.setEmulatedMedia", dark).await;
        }
        browser
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Result<Value, Value> {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.session));
        if method == "POST" {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let good = response.status().is_success();
        let mut answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let value = answer["value"].take();
        if good { Ok(value) } else { Err(value) }
    }

    async fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        self.call("POST", "/goog/cdp/execute", body).await.unwrap()
    }

    /// Opens a page of the dashboard.
    pub async fn open(&self, path: &str) {
        let url = json!({ "url": format!("{}{path}", self.root) });
        self.call("POST", "/url", url).await.unwrap();
    }

    /// The path and query that it is at.
    pub async fn place(&self) -> String {
        let url = self.call("GET", "/url", Value::Null).await.unwrap();
        url.as_str().unwrap().trim_start_matches(&self.root).to_owned()
    }

    async fn element(&self, selector: &str) -> Option<String> {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.call("POST", "/element", by).await.ok()?;
        found[ELEMENT].as_str().map(str::to_owned)
    }

    async fn found(&self, selector: &str) -> String {
        appears(&format!("{selector} is on the page"), async || self.element(selector).await).await
    }

    /// Types into the field of this selector, over what it has.
    pub async fn fill(&self, selector: &str, text: &str) {
        let field = self.found(selector).await;
        self.call("POST", &format!("/element/{field}/clear"), json!({})).await.unwrap();
        self.call("POST", &format!("/element/{field}/value"), json!({ "text": text })).await.unwrap();
    }

    /// Presses what is there, and waits for the page that comes.
    pub async fn press(&self, selector: &str) {
        eventually(&format!("{selector} can be pressed"), async || {
            let Some(element) = self.element(selector).await else { return false };
            // A page that loaded itself again meanwhile has another one.
            self.call("POST", &format!("/element/{element}/click"), json!({})).await.is_ok()
        })
        .await;
    }

    /// What is read on the page.
    pub async fn text(&self) -> String {
        self.text_of("body").await
    }

    pub async fn text_of(&self, selector: &str) -> String {
        appears(&format!("{selector} has a text"), async || {
            let element = self.element(selector).await?;
            let text = self.call("GET", &format!("/element/{element}/text"), Value::Null).await.ok()?;
            text.as_str().map(str::to_owned)
        })
        .await
    }

    /// Waits until the page says `text`.
    pub async fn says(&self, text: &str) {
        eventually(&format!("the page says {text:?}"), async || {
            let Some(body) = self.element("body").await else { return false };
            let said = self.call("GET", &format!("/element/{body}/text"), Value::Null).await;
            said.is_ok_and(|said| said.as_str().is_some_and(|said| said.contains(text)))
        })
        .await;
    }

    /// How many of them are on the page.
    pub async fn count(&self, selector: &str) -> usize {
        let by = json!({ "using": "css selector", "value": selector });
        self.call("POST", "/elements", by).await.unwrap().as_array().unwrap().len()
    }

    pub async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let element = self.found(selector).await;
        let value =
            self.call("GET", &format!("/element/{element}/attribute/{name}"), Value::Null).await.unwrap();
        value.as_str().map(str::to_owned)
    }

    /// Its cookies.
    pub async fn cookies(&self) -> Vec<Value> {
        self.call("GET", "/cookie", Value::Null).await.unwrap().as_array().unwrap().clone()
    }

    /// Signs in by the form.
    pub async fn sign_in(&self, token: &str) {
        self.open("/sign-in").await;
        self.fill("#token", token).await;
        self.press("main button").await;
    }

    /// Fails where the browser complained, of the content security policy or of anything else.
    pub async fn has_no_complaint(&self) {
        self.has_no_complaint_but("nothing at all").await;
    }

    /// The same; it may have told of an answer with this status.
    pub async fn has_no_complaint_but(&self, status: &str) {
        let log = self.call("POST", "/se/log", json!({ "type": "browser" })).await.unwrap();
        let told = |entry: &&Value| !entry["message"].as_str().is_some_and(|said| said.contains(status));
        let complaints: Vec<&Value> = log.as_array().unwrap().iter().filter(told).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    /// A picture of the page, into the folder that NAMEPLATE_SCREENSHOTS names; nothing without it.
    pub async fn picture(&self, name: &str) {
        let Ok(folder) = std::env::var("NAMEPLATE_SCREENSHOTS") else { return };
        let shot = json!({ "format": "png", "captureBeyondViewport": true });
        let taken = self.devtools("Page.captureScreenshot", shot).await;
        let octets = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), octets).unwrap();
    }
}

fn capabilities(setting: Setting, folder: &Path) -> Value {
    let mut arguments: Vec<String> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--user-data-dir={}", folder.display()));
    arguments.push(format!("--window-size={},{}", setting.width, setting.height));
    let scripts = if setting.scripts { 1 } else { 2 };
    let options = json!({
        "args": arguments,
        "prefs": { "profile.managed_default_content_settings.javascript": scripts },
    });
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": { "browser": "INFO" },
    } } })
}
