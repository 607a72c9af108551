//! A record as a sentence: who, what, when, why, with whose approval, and what came of it.
//!
//! What callers said stands in quotation marks, for nobody vouches for it. Deliberately absent: judging. It says what the
//! record says.

use serde_json::Value;

use super::record::Entry;

/// One line for people.
pub fn sentence(entry: &Entry) -> String {
    let incident = entry.text("incident_id").filter(|text| !text.is_empty());
    let incident = incident.map(|incident| format!(" ({incident})")).unwrap_or_default();
    format!("{} {}{incident}.", entry.text("time").unwrap_or("at an unknown time"), deed(entry))
}

/// The same without its time: who did what, and why.
pub fn deed(entry: &Entry) -> String {
    let text = |path: &str| entry.text(path).filter(|text| !text.is_empty());
    let event = entry.members.get("event").unwrap_or(&Value::Null);
    let who = text("actor").unwrap_or("somebody");
    let act = act(entry);
    let what = match (text("kind").unwrap_or_default(), event["kind"].as_str().unwrap_or_default()) {
        ("decision", _) => {
            let answer = match text("decision.result") {
                Some("allow") => "yes".to_owned(),
                Some("deny") => format!("no{}", codes(entry)),
                _ => format!("that a person must approve it{}", codes(entry)),
            };
            format!("{who} asked for {act}; the answer was {answer}")
        }
        ("break_glass", _) => format!("{who} used break-glass access for {act}"),
        (_, "permit_issued") => format!("{who} got a permit for {act}{}", approval(entry)),
        (_, "decision_repeated") => format!("{who} asked again with the same key and got the same permit for {act}"),
        (_, "permit_redeemed") => format!("{who} used the permit for {act}{}", approval(entry)),
        (_, "permit_refused") => format!("{who} presented the permit for {act} and was refused"),
        (_, "permit_expired") => format!("the permit for {act} ran out unused"),
        (_, "permit_revoked") => {
            format!("the permit for {act} was taken back ({})", event["reason"].as_str().unwrap_or("no reason"))
        }
        (_, "approval_asked") => format!("people were asked to approve {act}"),
        (_, "approval_voted") => {
            format!("{} approved {act}", event["vote"]["by"].as_str().unwrap_or(who))
        }
        (_, "approval_rejected") => format!("{who} rejected {act}"),
        (_, "approval_consumed") => format!("the approval of {act} was used"),
        (_, "approval_vote_lapsed") => format!("an approval of {act} does not count any more"),
        (_, "approval_withdrawn") => format!("{who} does not ask for {act} any more"),
        (_, "approval_expired") => format!("the question about {act}, or its approval, ran out unused"),
        (_, "approval_superseded") => format!("a newer question took the place of the one about {act}"),
        (_, "approval_revoked") => format!("the approval of {act} was taken back"),
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
        ("accepted", _) => format!("{who} accepted the log as it is, with what is in doubt about it"),
        // What people say of an incident is the record's reason.
        ("incident", _) if text("action") == Some("incident_note") => {
            let said = text("reason").unwrap_or("nothing");
            return format!("{who} said of the incident of {}: \u{201c}{said}\u{201d}", target(entry));
        }
        ("policy_load", _) => "policies were loaded".to_owned(),
        ("boot", _) => "a process began to write the log".to_owned(),
        ("shutdown", _) => "a process stopped writing the log".to_owned(),
        ("incident", _) => said_by_others(entry, who),
        (kind, _) => format!("{who}: {}", text("action").unwrap_or(kind).replace('_', " ")),
    };
    let why = text("reason").map(|reason| format!(", because \u{201c}{reason}\u{201d}")).unwrap_or_default();
    format!("{what}{why}")
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

/// `rollback of deployment/checkout-service from v42 to v41`.
fn act(entry: &Entry) -> String {
    let request =
        [&["event", "permit", "request"][..], &["event", "approval", "request"]].into_iter().find_map(|path| {
            let mut at = entry.members.get(path[0])?;
            for key in &path[1..] {
                at = at.get(key)?;
            }
            at.get("action")?.as_str()
        });
    // Only of a decision is the record's own action what was asked for.
    let own = entry.text("action").filter(|_| entry.text("kind") == Some("decision"));
    match request.or(own).or(entry.text("event.verdict.action")).or(entry.text("event.action")) {
        Some(action) => format!("{action} of {}", target(entry)),
        None => format!("a change of {}", target(entry)),
    }
}

fn target(entry: &Entry) -> String {
    let of = entry.text("resource").or(entry.text("service")).unwrap_or("something");
    let service = entry.text("service").filter(|service| *service != of);
    let versions = match (entry.text("from_version"), entry.text("to_version")) {
        (Some(from), Some(to)) => format!(" from {from} to {to}"),
        (None, Some(to)) => format!(" to {to}"),
        _ => String::new(),
    };
    format!("{of}{versions}{}", service.map(|service| format!(" in {service}")).unwrap_or_default())
}

/// With whose approval.
fn approval(entry: &Entry) -> String {
    let by = entry.text("approval.approved_by").map(|by| format!(" with the approval of {by}"));
    by.unwrap_or_else(|| ", which the policy allows without an approval".to_owned())
}

fn codes(entry: &Entry) -> String {
    let reasons = entry.members.get("decision").and_then(|decision| decision["reasons"].as_array());
    let codes: Vec<String> =
        reasons.into_iter().flatten().filter_map(Value::as_str).map(|code| code.replace('_', " ")).collect();
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
    fn a_record_says_who_what_when_why_with_whose_approval_and_what_came_of_it() {
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
            "2026-09-21T14:13:20.000Z ai-operator/orca asked for rollback of deployment/checkout-service from v42 to v41 in \
             checkout; the answer was that a person must approve it (approval required), because \u{201c}errors rose\u{201d} (INC-7)."
        );
        // Most records have no event and no action that could be asked for.
        let loaded = Record::new(Kind::PolicyLoad, "start", "policy_load", 1_790_000_000_000);
        assert_eq!(said(&loaded), "2026-09-21T14:13:20.000Z policies were loaded.");
        let used = Record {
            approval: Some(json!({"approved_by": "@ada"})),
            event: Some(json!({"kind": "permit_redeemed", "id": "prm_1"})),
            reason: None,
            ..base(Kind::Presented, "permit_redeemed")
        };
        assert!(
            said(&used).contains("used the permit for a change of")
                && said(&used).contains("with the approval of @ada")
        );
        let judged = Record {
            event: Some(json!({"kind": "judged", "verdict": {"outcome": "no_effect", "action": "restart"}})),
            ..base(Kind::Verdict, "judged")
        };
        let words = said(&judged);
        assert!(words.contains("what came of restart of deployment/checkout-service from v42"), "{words}");
        assert!(words.contains(": no effect, because"), "{words}");
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
            ("incident_note", "checkout", "alertmanager said of the incident of checkout: \u{201c}nothing\u{201d}."),
        ] {
            let sentence = of(action, resource, "bob");
            assert!(sentence.ends_with(expected), "{sentence}");
        }
    }
}
