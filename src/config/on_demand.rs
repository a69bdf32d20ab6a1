//! `[on_demand]`

use std::time::Duration;

use url::Url;

use super::duration::{days, minutes};
use super::place::{Wrong, quoted};
use super::section::{Section, Text};
use super::{ApprovalUrl, OnDemand, address};

/// What stands for the hostname in an approval URL.
const PLACEHOLDER: &str = "{hostname}";

/// Reads `[on_demand]`; `site_names` are those of the file's `[[site]]`.
pub(super) fn read(section: &Section<'_>, site_names: &[String]) -> OnDemand {
    let enabled = section.flag("enabled", true);
    let text = section.text("approval", "approval = \"https://api.example.com/approvalendpoint/{hostname}\"");
    let approval = text.and_then(|text| text.read(approval_url)).filter(|_| enabled);
    let site = section.text("site", "site = \"default\"");
    if approval.is_some() {
        let known = |name: &str| site_names.iter().any(|site| site == name);
        match &site {
            Some(text) => check_site(text, site_names),
            None if !known("default") => {
                let what = "approved names go to the site \"default\", which does not exist";
                section
                    .problem("site", Wrong::new(what, "name one of the sites, or add [[site]] of that name"));
            }
            None => {}
        }
    }
    let name = site.and_then(|text| text.read(address::label));
    let second = Duration::from_secs(1);
    let least = Duration::from_millis(10);
    OnDemand {
        approval,
        approval_timeout: section.duration("approval_timeout", least..=minutes(1), 2 * second),
        approval_concurrency: section.count("approval_concurrency", 65_536, 256),
        approval_cache: section.duration("approval_cache", second..=days(30), minutes(5)),
        approval_cache_size: section
            .number("approval_cache_size", 1..=100_000_000, 100_000)
            .unwrap_or(100_000),
        site: name.unwrap_or_else(|| "default".into()),
        handshake_wait: section.duration("handshake_wait", least..=minutes(10), 20 * second),
    }
}

/// Records that `text` names none of the sites.
pub(super) fn check_site(text: &Text<'_>, site_names: &[String]) {
    if site_names.iter().any(|site| site == text.get()) {
        return;
    }
    let what = format!("there is no site {}", quoted(text.get()));
    let known: Vec<String> = site_names.iter().take(10).map(|name| quoted(name)).collect();
    let cure = match known.is_empty() {
        true => "add [[site]] of that name".to_owned(),
        false => format!("add [[site]] of that name, or use one of {}", known.join(", ")),
    };
    text.problem(Wrong::new(what, cure));
}

/// Reads an approval URL. Nothing of it is shown: it may hold a password or token.
fn approval_url(text: &str) -> Result<ApprovalUrl, Wrong> {
    const CURE: &str = "write it like \"https://api.example.com/approve/{hostname}\"";
    let wrong = |what: &str| Wrong::new(what, CURE);
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(wrong("it has a space, a backslash or a control character"));
    }
    // No part of a URL holds this by itself.
    let stand_in = "nameplate-stands-here-for-a-hostname.invalid";
    let url = Url::parse(&text.replace(PLACEHOLDER, stand_in))
        .map_err(|why| wrong(&format!("it is no URL: {why}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it has a scheme that is not http or https"));
    }
    if url.fragment().is_some() {
        return Err(wrong("it has a fragment, which is never sent"));
    }
    let mut pieces = text.split(PLACEHOLDER);
    let (before, after) = (pieces.next().unwrap_or_default(), pieces.next());
    if pieces.next().is_some() {
        return Err(wrong("it has {hostname} more than once"));
    }
    if before.contains(['{', '}']) || after.is_some_and(|after| after.contains(['{', '}'])) {
        return Err(wrong("it has a brace that is not part of {hostname}"));
    }
    match after {
        None => Ok(ApprovalUrl::Query(url)),
        Some(after) => {
            let asks =
                url.path().contains(stand_in) || url.query().is_some_and(|query| query.contains(stand_in));
            if !asks {
                return Err(wrong("{hostname} is neither in its path nor in its query"));
            }
            Ok(ApprovalUrl::Template { before: before.to_owned(), after: after.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hostname_goes_where_the_placeholder_is() {
        let template = |before: &str, after: &str| ApprovalUrl::Template {
            before: before.to_owned(),
            after: after.to_owned(),
        };
        let url = |text: &str| approval_url(text).unwrap();
        assert!(url("https://a.test/ok/{hostname}?t=1") == template("https://a.test/ok/", "?t=1"));
        assert!(url("http://a.test?domain={hostname}") == template("http://a.test?domain=", ""));
        assert!(url("https://a.test/ask") == ApprovalUrl::Query("https://a.test/ask".parse().unwrap()));
    }

    #[test]
    fn urls_that_could_not_ask_are_refused_and_never_shown() {
        for text in [
            "",
            "a.test/s3cret",
            "ftp://s3cret@a.test/{hostname}",
            "https://{hostname}/s3cret",
            "https://{hostname}.a.test/s3cret",
            "https://{hostname}@a.test/s3cret",
            "https://a.test:{hostname}/s3cret",
            "https://a.test/s3cret#{hostname}",
            "https://a.test/s3cret#x",
            "https://a.test/{hostname}/{hostname}?s3cret",
            "https://a.test/{host}?s3cret",
            "https://a.test/{hostname}/../s3cret",
            "https://a.test/{hostname} s3cret",
            "https://a.test\\{hostname}?s3cret",
        ] {
            let wrong = approval_url(text).unwrap_err();
            assert!(!format!("{wrong:?}").contains("s3cret"), "{text:?}");
        }
    }
}
