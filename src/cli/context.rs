//! What others say of a service, as it is printed under an answer, a question to people and a decision of before.
//!
//! Deliberately absent: a say. It stands beside the reasons and is none of them.

use serde_json::Value;

/// One line for each thing that is said.
pub(super) fn beside(context: &Value) -> String {
    let text = |value: &Value| crate::gate::text::plain(value.as_str().unwrap_or_default());
    let mut out = String::new();
    for alert in context["alerts"].as_array().into_iter().flatten() {
        let summary = match text(&alert["summary"]) {
            summary if summary.is_empty() => String::new(),
            summary => format!(": {summary}"),
        };
        let (name, since, by) = (text(&alert["name"]), text(&alert["since"]), text(&alert["told_by"]));
        out += &format!("  meanwhile: alert {name} fires since {since}, told by {by}{summary}\n");
    }
    for silence in context["silences"].as_array().into_iter().flatten() {
        let (by, until, comment) = (text(&silence["by"]), text(&silence["until"]), text(&silence["comment"]));
        out += &format!("  meanwhile: alerts are silenced until {until} by {by}: {comment}\n");
    }
    match context["left_out"].as_u64() {
        None | Some(0) => {}
        Some(more) => out += &format!("  meanwhile: {more} more\n"),
    }
    out
}
