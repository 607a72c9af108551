//! A record as a sentence: who, what, when, why, by whose leave, and what came of it.
//!
//! What callers said stands in quotation marks, for nobody vouches for it. Deliberately absent: judging. It says what the
//! record says.

use serde_json::Value;

use crate::audit::record::Entry;

/// One line for people.
pub fn sentence(entry: &Entry) -> String {
    let text = |path: &str| entry.text(path).filter(|text| !text.is_empty());
    let event = entry.members.get("event").unwrap_or(&Value::Null);
    let who = text("actor").unwrap_or("somebody");
    let act = act(entry);
    let what = match (text("kind").unwrap_or_default(), event["kind"].as_str().unwrap_or_default()) {
        ("decision", _) => {
            let answer = match text("decision.result") {
                Some("allow") => "yes".to_owned(),
                Some("deny") => format!("no{}", codes(entry)),
                _ => format!("ask a person{}", codes(entry)),
            };
            format!("{who} asked for {act}; the answer was {answer}")
        }
        ("break_glass", _) => format!("{who} went past the checks for {act}"),
        (_, "permit_issued") => format!("{who} got a permit for {act}{}", leave(entry)),
        (_, "decision_repeated") => format!("{who} asked again with the same key and got the same permit for {act}"),
        (_, "permit_redeemed") => format!("{who} used the permit for {act}{}", leave(entry)),
        (_, "permit_refused") => format!("{who} presented the permit for {act} and was refused"),
        (_, "permit_expired") => format!("the permit for {act} ran out unused"),
        (_, "permit_revoked") => {
            format!("the permit for {act} was taken back ({})", event["reason"].as_str().unwrap_or("no reason"))
        }
        (_, "approval_asked") => format!("people were asked for their leave to {act}"),
        (_, "approval_voted") => {
            format!("{} gave leave for {act}", event["vote"]["by"].as_str().unwrap_or(who))
        }
        (_, "approval_rejected") => format!("{who} refused leave for {act}"),
        (_, "approval_consumed") => format!("the leave for {act} was used up"),
        (_, "outcome_reported") => match event["applied"].as_bool() {
            Some(false) => format!("{who} said that {act} was not done"),
            _ => format!("{who} said that {act} was done"),
        },
        (_, "change_observed") => format!("{who} changed {}", target(entry)),
        (_, "judged") => {
            let outcome = event["verdict"]["outcome"].as_str().unwrap_or("nothing that could be judged");
            format!("what came of {act}: {}", outcome.replace('_', " "))
        }
        (_, "halted") => format!("{who} halted changes of {}", scope(&event["halt"]["scope"])),
        (_, "resumed") => format!("{who} lifted a halt"),
        ("accepted", _) => format!("{who} took the log as it is, with what spoke against it"),
        ("boot", _) => "a process began to write the log".to_owned(),
        ("shutdown", _) => "a process stopped writing the log".to_owned(),
        ("incident", _) => said_by_others(entry, who),
        (kind, _) => format!("{who}: {}", text("action").unwrap_or(kind).replace('_', " ")),
    };
    let why = text("reason").map(|reason| format!(", because \u{201c}{reason}\u{201d}")).unwrap_or_default();
    let incident = text("incident_id").map(|incident| format!(" ({incident})")).unwrap_or_default();
    format!("{} {what}{why}{incident}.", text("time").unwrap_or("at an unknown time"))
}

/// Alerts and silences of others, and what people say of an incident.
fn said_by_others(entry: &Entry, who: &str) -> String {
    let service = entry.text("service").unwrap_or("an unknown service");
    let named = entry.text("resource").and_then(|resource| resource.split_once('/')).map_or("-", |(_, name)| name);
    let by = event_text(entry, "by").unwrap_or("somebody");
    match entry.text("action").unwrap_or_default() {
        "alert_fired" => format!("{who} told that the alert {named} of {service} fires"),
        "alert_resolved" => format!("{who} told that the alert {named} of {service} is over"),
        "silence_began" => format!("{by} silenced alerts of {service} (silence {named})"),
        "silence_ended" => format!("the silence {named} of {by} for alerts of {service} is over"),
        other => format!("{who}: {}", other.replace('_', " ")),
    }
}

fn event_text<'a>(entry: &'a Entry, member: &str) -> Option<&'a str> {
    entry.members.get("event")?.get(member)?.as_str()
}

/// `rollback of deployment/checkout-service v42 -> v41`.
fn act(entry: &Entry) -> String {
    let request =
        [&["event", "permit", "request"][..], &["event", "approval", "request"]].into_iter().find_map(|path| {
            let mut at = entry.members.get(path[0])?;
            for key in &path[1..] {
                at = at.get(key)?;
            }
            at.get("action")?.as_str()
        });
    let own = entry.text("action").filter(|action| !action.contains('_'));
    match request.or(own).or(entry.members["event"]["action"].as_str()) {
        Some(action) => format!("{action} of {}", target(entry)),
        None => format!("a change of {}", target(entry)),
    }
}

fn target(entry: &Entry) -> String {
    let of = entry.text("resource").or(entry.text("service")).unwrap_or("something");
    let service = entry.text("service").filter(|service| *service != of);
    let versions = match (entry.text("from_version"), entry.text("to_version")) {
        (Some(from), Some(to)) => format!(" {from} -> {to}"),
        (None, Some(to)) => format!(" to {to}"),
        _ => String::new(),
    };
    format!("{of}{versions}{}", service.map(|service| format!(" in {service}")).unwrap_or_default())
}

/// By whose leave.
fn leave(entry: &Entry) -> String {
    let by = entry.text("approval.approved_by").map(|by| format!(" by leave of {by}"));
    by.unwrap_or_else(|| " by leave of the policy alone".to_owned())
}

fn codes(entry: &Entry) -> String {
    let reasons = entry.members.get("decision").and_then(|decision| decision["reasons"].as_array());
    let codes: Vec<&str> = reasons.into_iter().flatten().filter_map(Value::as_str).collect();
    if codes.is_empty() { String::new() } else { format!(" ({})", codes.join(", ")) }
}

fn scope(scope: &Value) -> String {
    match scope {
        Value::String(word) if word == "global" => "everything".to_owned(),
        Value::Object(of) => of.iter().map(|(kind, name)| format!("{kind} {}", name.as_str().unwrap_or("?"))).collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::{Kind, Log, Options, Record, entries};
    use crate::clock::Clock;

    fn said(record: &Record) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::open(Options::new(folder.path()), Clock::scaled(record.time_ms, 1e-9)).expect("it opens");
        let seq = log.append_blocking(record.clone()).expect("written").seq;
        log.close();
        let mut sentences = Vec::new();
        entries(folder.path(), |entry| sentences.push(sentence(entry))).expect("readable");
        sentences.swap_remove(seq as usize)
    }

    #[test]
    fn a_record_says_who_what_when_why_by_whose_leave_and_what_came_of_it() {
        let base = |kind, action: &str| Record {
            resource: Some("deployment/checkout-service".into()),
            service: Some("checkout".into()),
            from_version: Some("v42".into()),
            to_version: Some("v41".into()),
            reason: Some("errors rose".into()),
            incident_id: Some("INC-7".into()),
            ..Record::new(kind, "ai-operator/orca", action, 1_790_000_000_000)
        };
        let asked = Record {
            decision: Some(json!({"id": "dec_1", "result": "needs_approval", "reasons": ["approval_required"]})),
            event: Some(json!({"kind": "decided"})),
            ..base(Kind::Decision, "rollback")
        };
        assert_eq!(
            said(&asked),
            "2026-09-21T14:13:20.000Z ai-operator/orca asked for rollback of deployment/checkout-service v42 -> v41 in \
             checkout; the answer was ask a person (approval_required), because \u{201c}errors rose\u{201d} (INC-7)."
        );
        let used = Record {
            approval: Some(json!({"approved_by": "@ada"})),
            event: Some(json!({"kind": "permit_redeemed", "id": "prm_1"})),
            reason: None,
            ..base(Kind::Presented, "permit_redeemed")
        };
        assert!(said(&used).contains("used the permit for a change of") && said(&used).contains("by leave of @ada"));
        let judged = Record {
            event: Some(json!({"kind": "judged", "verdict": {"outcome": "no_effect"}})),
            ..base(Kind::Verdict, "judged")
        };
        assert!(said(&judged).contains(": no effect, because"), "{}", said(&judged));
        let halted = Record {
            event: Some(json!({"kind": "halted", "halt": {"scope": {"service": "checkout"}}})),
            ..Record::new(Kind::Halt, "@ada", "halted", 1_790_000_000_000)
        };
        assert!(said(&halted).contains("@ada halted changes of service checkout"), "{}", said(&halted));
    }

    #[test]
    fn what_others_say_is_theirs() {
        let of = |action: &str, resource: &str, by: &str| {
            said(&Record {
                resource: Some(resource.into()),
                service: Some("checkout".into()),
                event: Some(json!({"by": by})),
                ..Record::new(Kind::Incident, "alertmanager", action, 1_790_000_000_000)
            })
        };
        for (action, resource, expected) in [
            ("alert_fired", "alert/DiskFull", "alertmanager told that the alert DiskFull of checkout fires."),
            ("alert_resolved", "alert/DiskFull", "alertmanager told that the alert DiskFull of checkout is over."),
            ("silence_began", "silence/s-1", "bob silenced alerts of checkout (silence s-1)."),
            ("silence_ended", "silence/s-1", "the silence s-1 of bob for alerts of checkout is over."),
            ("incident_note", "x", "alertmanager: incident note."),
        ] {
            let sentence = of(action, resource, "bob");
            assert!(sentence.ends_with(expected), "{sentence}");
        }
    }
}
