//! An incident told: one sentence, a timeline, and the draft of a post-mortem.
//!
//! Every line says where it comes from: the slices of an SLO (with the command that shows them again), a record of the audit
//! log, or the person who wrote it. What nothing stands behind is not written.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::change::{Relation, Suspect};
use super::similar::Similar;
use super::text::{markdown, plain};
use super::{Burn, Incident};
use crate::engine::Seconds;
use crate::engine::duration::rough;

/// How long before and after an incident what happened belongs to it, seconds.
pub const AROUND_S: i64 = 1800;

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at: Seconds,
    /// `onset`, `alert`, `recovery`, `change`, `note`, `alert_of_others`, `silence_of_others`, or the kind of a record: `decision`, `approval`,
    /// `permit`, `presented`, `verdict`, ...
    pub kind: String,
    /// What happened.
    pub text: String,
    /// Where it stands: `slices of SLO …`, `audit #17`, `said by …`.
    pub source: String,
}

/// `checkout: error rate 8.1x since 02:07 UTC (…), 1,240 of … bad. Change: … . Similar: … .`
pub fn headline(incident: &Incident, similar: &[Similar<'_>]) -> String {
    let what = match incident.first() {
        Some(Burn { said: Some(said), slo_id, .. }) => format!("{slo_id}: {said}"),
        Some(Burn { slo_id, .. }) => format!("{slo_id} burns since {} UTC", clock(incident.detected_at)),
        None => format!("{} burns since {} UTC", incident.service, clock(incident.detected_at)),
    };
    format!("{what}. {}. {}.", changed(incident), alike(similar))
}

/// `Change before it: configmap/rate-limiter v1 to v2 at 02:06 UTC, 1m before the errors`; or that none was found.
pub fn changed(incident: &Incident) -> String {
    match incident.changes.first() {
        None => "No change found before it".to_owned(),
        Some(suspect) => format!("Change before it: {}", plain(&suspect_text(suspect))),
    }
}

fn suspect_text(suspect: &Suspect) -> String {
    let change = &suspect.change;
    let version = match (&change.from_version, &change.version) {
        (Some(from), Some(to)) => format!(" {from} to {to}"),
        (None, Some(to)) => format!(" to {to}"),
        _ => change.replicas.map(|replicas| format!(" to {replicas} replicas")).unwrap_or_default(),
    };
    let whose = match suspect.relation {
        Relation::SameService => String::new(),
        Relation::Dependency => format!(" of {}, which it depends on", change.service),
    };
    let by = change.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let lead = match suspect.lead_s {
        lead @ 1.. => format!("{} before the errors", rough(lead, " ")),
        _ => "as the errors began".to_owned(),
    };
    format!("{}{version}{whose}{by} at {} UTC, {lead}", change.resource, clock(change.at))
}

/// `Similar: SEV-1 of 2025-01-14 (checkout-…); mitigation then: revert config and flush cache, which helped`; or that none was
/// found.
pub fn alike(similar: &[Similar<'_>]) -> String {
    let Some(one) = similar.first() else { return "No similar incident found".to_owned() };
    let mitigation = match (one.mitigation, one.helped) {
        (None, _) => String::new(),
        (Some(text), helped) => {
            let helped = match helped {
                Some(true) => ", which helped",
                Some(false) => ", which did not help",
                None => "",
            };
            format!("; mitigation then: {}{helped}", plain(text))
        }
    };
    format!("Similar incident: {} on {} ({}){mitigation}", one.sev, date(one.started_at), one.id)
}

/// What happened, in the order of time: what the incident knows itself, and `records` of the audit log.
pub fn timeline(incident: &Incident, records: Vec<Moment>) -> Vec<Moment> {
    let moment = |at, kind: &str, text: String, source: String| Moment { at, kind: kind.to_owned(), text, source };
    let mut all = Vec::new();
    for burn in &incident.burns {
        let subject = subject(burn);
        let slices = slices(burn, incident);
        if let (Some(onset), Some(said)) = (burn.onset, &burn.said) {
            all.push(moment(onset.at, "onset", format!("{subject}: {said}"), slices.clone()));
        }
        let alert = format!("{subject}: alert {}", burn.kind.alertname());
        all.push(moment(burn.alert_at, "alert", alert, slices.clone()));
        if let Some(end) = burn.resolved_at {
            all.push(moment(end, "recovery", format!("{subject}: does not burn any more"), slices));
        }
    }
    for suspect in &incident.changes {
        let text = format!("{} (how suspect: {:.2} of 1)", plain(&suspect_text(suspect)), suspect.score);
        all.push(moment(
            suspect.change.at,
            "change",
            text,
            format!("a change of {} in the audit log", suspect.change.service),
        ));
    }
    for note in &incident.notes {
        let said = |name: &str, text: &Option<String>| text.as_ref().map(|text| format!("{name}: {}", plain(text)));
        let helped = note.helped.map(|helped| if helped { "it helped" } else { "it did not help" }.to_owned());
        let parts =
            [said("cause", &note.cause), said("mitigation", &note.mitigation), helped, said("ticket", &note.ticket)];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        all.push(moment(note.at, "note", text, format!("said by {}", plain(&note.by))));
    }
    // What leads to something stands before it, also within one second; records come in the order of the log.
    let rank = |kind: &str| ["change", "onset", "alert", "note", "recovery"].iter().position(|one| *one == kind);
    all.sort_by(|a, b| (a.at, rank(&a.kind), &a.text).cmp(&(b.at, rank(&b.kind), &b.text)));
    all.extend(records);
    all.sort_by_key(|one| one.at);
    all
}

fn subject(burn: &Burn) -> String {
    match burn.series.is_empty() {
        true => burn.slo_id.clone(),
        false => format!("{}{}", burn.slo_id, plain(&burn.series.to_string())),
    }
}

/// The command that shows the slices of a burn again.
fn slices(burn: &Burn, incident: &Incident) -> String {
    let from = incident.started_at - AROUND_S;
    let to = incident.ended_at.unwrap_or(incident.detected_at) + AROUND_S;
    format!("GET /v1/slos/{}/history?from={from}&to={to}&step=1m", burn.slo_id)
}

/// The draft of a post-mortem. It wants editing: what nobody said is left open, by name.
pub fn draft(incident: &Incident, similar: &[Similar<'_>], timeline: &[Moment]) -> String {
    let mut text = format!("# {} {}\n\n", incident.sev, markdown(&incident.id));
    let line = |text: &mut String, what: &str, source: &str| {
        writeln!(text, "- {what} [{}]", source.replace(['[', ']'], "")).expect("a String takes every write");
    };
    let first_source = incident.first().map(|burn| slices(burn, incident)).unwrap_or_default();
    text += "## What happened\n\n";
    if let Some(burn) = incident.first() {
        let said = burn.said.clone().unwrap_or_else(|| "burnt its error budget faster than allowed".to_owned());
        line(&mut text, &format!("{}: {}.", markdown(&subject(burn)), markdown(&said)), &first_source);
    }
    let lasted = match incident.ended_at {
        Some(end) => format!("It lasted {}, until {}.", rough(end - incident.started_at, " "), rfc3339(end)),
        None => "It is not over.".to_owned(),
    };
    line(&mut text, &format!("It began at {}. {lasted}", rfc3339(incident.started_at)), &first_source);
    let blind_s = incident.detected_at - incident.started_at;
    line(&mut text, &format!("The first alert came {} after the errors began.", rough(blind_s, " ")), &first_source);
    text += "\n## What changed\n\n";
    match incident.changes.as_slice() {
        [] => line(&mut text, "No change was found before it.", "audit log of the service and what it depends on"),
        some => {
            for suspect in some {
                let source = format!("change of {} in the audit log", markdown(&suspect.change.service));
                line(&mut text, &format!("{}.", markdown(&suspect_text(suspect))), &source);
            }
        }
    }
    text += "\n## Cause, and what was done\n\n";
    let mut said = false;
    for note in &incident.notes {
        let source = format!("said by {} at {}", markdown(&note.by), rfc3339(note.at));
        for (name, words) in [("Cause", &note.cause), ("Mitigation", &note.mitigation), ("Ticket", &note.ticket)] {
            if let Some(words) = words {
                said = true;
                line(&mut text, &format!("{name}: {}", markdown(words)), &source);
            }
        }
        if let Some(helped) = note.helped {
            line(&mut text, if helped { "It helped." } else { "It did not help." }, &source);
        }
    }
    if !said {
        text += "- TODO: nobody has named a cause or a mitigation yet.\n";
    }
    text += "\n## What was like it\n\n";
    match similar {
        [] => line(&mut text, "No similar incident was found.", "incidents that are remembered"),
        some => {
            for one in some {
                let shares = markdown(&one.shares.join(", "));
                let what = format!(
                    "{}; it shares {shares}; distance {:.2}.",
                    markdown(&alike(std::slice::from_ref(one))),
                    one.distance
                );
                line(&mut text, &what, &format!("incident {}", markdown(one.id)));
            }
        }
    }
    text += "\n## Timeline\n\n| when | what | | source |\n|---|---|---|---|\n";
    for one in timeline {
        let cells = [&one.kind, &one.text, &one.source].map(|cell| markdown(cell).replace(['\n', '\r'], " "));
        let [kind, what, source] = cells;
        writeln!(text, "| {} | {kind} | {what} | {source} |", rfc3339(one.at)).expect("a String takes every write");
    }
    text
}

/// `02:07`.
fn clock(at: Seconds) -> String {
    let of_day = at.rem_euclid(86_400);
    format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60)
}

fn time(at: Seconds) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

fn date(at: Seconds) -> String {
    time(at).strftime("%Y-%m-%d").to_string()
}

fn rfc3339(at: Seconds) -> String {
    time(at).to_string()
}
