//! Small things as pages show them: states, moments, names.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::super::hostname::Summary;
use crate::dns::diagnosis::RecordStatus;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::registration::State;
use crate::sites::input;

/// Longest value of an event that a list shows, in characters.
const SHOWN: usize = 300;

/// The colour of a mark; its sign and word say the same.
fn mark(class: &str, sign: &str, word: &str) -> Markup {
    html! { span.mark-word.(class) { span.sign aria-hidden="true" { (sign) } (word) } }
}

/// A state: a word, a sign and a colour.
pub fn state(state: State) -> Markup {
    match state {
        State::Serving => mark("good", "✓", state.word()),
        State::Waiting => mark("soon", "…", state.word()),
        State::Stuck => mark("bad", "!", state.word()),
    }
}

/// How a record is.
pub fn status(status: RecordStatus) -> Markup {
    match status {
        RecordStatus::Right => mark("good", "✓", "right"),
        RecordStatus::Missing => mark("soon", "…", "missing"),
        RecordStatus::Wrong => mark("bad", "!", "wrong"),
        RecordStatus::Unknown => mark("idle", "?", "unknown"),
        RecordStatus::Unneeded => mark("idle", "–", "not needed"),
    }
}

/// How often something went wrong; none is no trouble.
pub fn failures(count: u64) -> Markup {
    let word = format!("{count} failed");
    if count == 0 { mark("idle", "–", &word) } else { mark("bad", "!", &word) }
}

/// Whether something is as it should be.
pub fn health(good: bool, word: &str) -> Markup {
    if good { mark("good", "✓", word) } else { mark("bad", "!", word) }
}

/// A moment (RFC 3339) by its distance from `now`; whole in its title.
pub fn moment(now: UnixTime, at: &str) -> Markup {
    let Ok(moment) = at.parse::<Timestamp>() else { return html! { (at) } };
    let distance = distance(moment.as_second() - now.0);
    html! { time datetime=(at) title=(date(moment)) { (distance) } }
}

/// A moment (RFC 3339) whole, and its distance from `now`.
pub fn whole_moment(now: UnixTime, at: &str) -> Markup {
    let Ok(moment) = at.parse::<Timestamp>() else { return html! { (at) } };
    let distance = distance(moment.as_second() - now.0);
    html! { time datetime=(at) { (date(moment)) } " " span.faint { "(" (distance) ")" } }
}

fn date(moment: Timestamp) -> String {
    moment.strftime("%-d %b %Y, %H:%M UTC").to_string()
}

/// Seconds from now, as people say it.
fn distance(seconds: i64) -> String {
    let size = seconds.unsigned_abs();
    let (count, unit) = match size {
        0..60 => (size, "s"),
        60..3_600 => (size / 60, "min"),
        3_600..172_800 => (size / 3_600, "h"),
        _ => (size / 86_400, "days"),
    };
    match seconds {
        0 => "now".into(),
        1.. => format!("in {count} {unit}"),
        _ => format!("{count} {unit} ago"),
    }
}

/// A hostname as people read it; as DNS has it in its title where that is something else.
pub fn name(name: &CertificateName) -> Markup {
    named(name.as_str(), &input::shown(name))
}

/// The same of a list's entry.
pub fn name_of(summary: &Summary) -> Markup {
    named(&summary.hostname, &summary.unicode)
}

fn named(ascii: &str, shown: &str) -> Markup {
    html! { span.name title=[(ascii != shown).then_some(ascii)] { (shown) } }
}

/// The path of a hostname's page.
pub fn path(site: &str, hostname: &str) -> String {
    format!("/sites/{site}/hostnames/{hostname}")
}

/// The details of an event, as far as there are some.
pub fn detail(detail: &Value) -> Markup {
    html! {
        @for (key, value) in detail.as_object().into_iter().flatten() {
            @if let Some(text) = said(value) {
                @let cut = text.chars().take(SHOWN).collect::<String>();
                span.detail { span.faint { (key.replace('_', " ")) } " " (cut) @if cut.len() < text.len() { "…" } }
            }
        }
    }
}

/// A value as a text; `None` where it says nothing.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(inner) => {
            let inner = inner.iter().filter_map(|(key, value)| Some(format!("{key} {}", said(value)?)));
            Some(inner.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
        }
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_said_in_the_unit_that_fits() {
        for (seconds, said) in [
            (0, "now"),
            (-5, "5 s ago"),
            (59, "in 59 s"),
            (-61, "1 min ago"),
            (7_200, "in 2 h"),
            (-90_000, "25 h ago"),
            (7_776_000, "in 90 days"),
        ] {
            assert_eq!(distance(seconds), said);
        }
    }

    #[test]
    fn what_others_wrote_is_text() {
        let odd = serde_json::json!({ "<b>": "<script>\"'", "none": { "a": null } });
        let shown = detail(&odd).into_string();
        assert!(!shown.contains("<script>") && !shown.contains("<b>"), "{shown}");
        assert!(!shown.contains("none"), "{shown}");
        assert!(moment(UnixTime(0), "<i>").into_string().contains("&lt;i&gt;"));
    }
}
