//! What an alert says to people. Values live here, never in labels.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::AlertKind;
use crate::engine::duration::rough;
use crate::engine::onset::{self, Onset};
use crate::engine::status::{ClauseStatus, DataReason, WindowStatus};
use crate::engine::text::{plain, seen};
use crate::engine::{SeriesStatus, Slo, Speed};

/// From this share on a window is known as a whole.
const KNOWN_MOST: f64 = 0.9;

/// The annotations of an alert of `kind`. What the user wrote in the SLO wins over the texts made here, and never
/// over the values.
pub(super) fn annotations(slo: &Slo, status: &SeriesStatus, kind: AlertKind) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::from([
        ("summary".to_owned(), summary(slo, status, kind)),
        ("description".to_owned(), description(slo, status, kind)),
    ]);
    let of_kind = slo.alerts.get(&kind).map(|extras| &extras.annotations);
    let written = slo.annotations.iter().chain(of_kind.into_iter().flatten());
    // Who writes rules may call a channel; nobody hides anything.
    texts.extend(written.map(|(name, text)| (name.clone(), seen(text))));
    // What the rules of others call it, and the templates of receivers look for.
    if let Some(runbook) = texts.get("runbook").cloned() {
        texts.entry("runbook_url".to_owned()).or_insert(runbook);
    }
    let mut say = |name: &str, text: String| texts.insert(name.to_owned(), text);
    if let Some(left) = status.budget_remaining {
        say("budget_remaining", percent(left));
    }
    if let Some(seconds) = status.exhaustion_s {
        say("exhaustion", duration(seconds));
    }
    if let Some(onset) = burning(status, kind) {
        say("error_rate", onset::percent(onset.ratio()));
        say("error_rate_before", onset::percent(onset.ratio_before()));
        say("failed", format!("{} of {}", onset::grouped(onset.bad), onset::grouped(onset.total)));
        say("onset", jiff::Timestamp::from_second(onset.at).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string());
    }
    if let Some(clause) = worst(status, kind) {
        say("clause", clause.text.to_string());
        if let (Some(long), Some(short)) = (clause.burn_long, clause.burn_short) {
            say("burn_long", factor(long));
            say("burn_short", factor(short));
        }
    }
    texts
}

/// The two annotations of a held alert.
pub(super) fn data_annotations(status: &SeriesStatus) -> [(String, String); 2] {
    [
        ("data_state".to_owned(), status.data.state.as_str().to_owned()),
        ("data_reason".to_owned(), status.data.reason.as_str().to_owned()),
    ]
}

/// The clause an alert is about: the first of its speed that fires.
fn worst(status: &SeriesStatus, kind: AlertKind) -> Option<&ClauseStatus> {
    let speed = match kind {
        AlertKind::FastBurn => Speed::Fast,
        AlertKind::SlowBurn => Speed::Slow,
        AlertKind::Budget | AlertKind::DataMissing | AlertKind::ChangeWorse | AlertKind::BreakGlass => return None,
    };
    status.clauses.iter().find(|clause| clause.speed == speed && clause.firing)
}

/// It fires on although no clause does: the incident is not known to be over.
fn lives_on(status: &SeriesStatus, kind: AlertKind) -> bool {
    let is_out = kind == AlertKind::FastBurn && status.pages() || kind == AlertKind::SlowBurn && status.tickets();
    is_out && worst(status, kind).is_none()
}

/// `checkout-availability`, with its series labels where it has any.
fn subject(slo: &Slo, status: &SeriesStatus) -> String {
    // Values of labels are whatever a metric says.
    if status.labels.is_empty() { slo.id.clone() } else { plain(&format!("{}{}", slo.id, status.labels)) }
}

fn summary(slo: &Slo, status: &SeriesStatus, kind: AlertKind) -> String {
    let subject = subject(slo, status);
    match kind {
        AlertKind::FastBurn | AlertKind::SlowBurn => match worst(status, kind) {
            Some(ClauseStatus {
                burn_long: Some(long),
                burn_short: Some(short),
                long_s,
                short_s,
                factor: allowed,
                ..
            }) => {
                format!(
                    "{subject} burns its error budget {} over {} and {} over {} ({} allowed)",
                    factor(*long),
                    duration(*long_s as f64),
                    factor(*short),
                    duration(*short_s as f64),
                    factor(*allowed)
                )
            }
            _ if lives_on(status, kind) => {
                format!("{subject} burnt its error budget faster than allowed, and is not known to have recovered")
            }
            _ => format!("{subject} burns its error budget faster than allowed"),
        },
        AlertKind::Budget => {
            let whose = which_budget(status);
            match status.least_budget() {
                Some(left) if left > 0.0 => format!("{subject} has {} of its error budget{whose} left", percent(left)),
                Some(left) => format!("{subject} has spent its error budget{whose} ({} left)", percent(left)),
                None => format!("{subject} has little error budget left"),
            }
        }
        AlertKind::ChangeWorse => format!("a permitted change made {subject} worse"),
        AlertKind::BreakGlass => format!("a person changes {subject} past the checks"),
        AlertKind::DataMissing => format!("{subject} has no data: {}", cause(status.data.reason)),
    }
}

/// ` of the month`: where there are several windows, the one whose budget an alert is about.
fn which_budget(status: &SeriesStatus) -> String {
    let known = status.budgets.iter().filter(|budget| budget.budget_remaining.is_some());
    match known.min_by(|a, b| a.budget_remaining.partial_cmp(&b.budget_remaining).unwrap_or(Ordering::Equal)) {
        Some(least) if status.budgets.len() > 1 => format!(" of the window {}", least.name),
        _ => String::new(),
    }
}

/// The rise that a burn is about.
fn burning(status: &SeriesStatus, kind: AlertKind) -> Option<&Onset> {
    status.onset.as_ref().filter(|_| matches!(kind, AlertKind::FastBurn | AlertKind::SlowBurn))
}

/// Of a window of which little is known, how much: ` (of the 20m of it that are known)`.
fn known(status: &SeriesStatus) -> String {
    let known_s = status.coverage * status.window.window_s as f64;
    match status.coverage {
        coverage if coverage >= KNOWN_MOST => String::new(),
        _ => format!(" (of the {} of it that are known)", duration(known_s)),
    }
}

fn description(slo: &Slo, status: &SeriesStatus, kind: AlertKind) -> String {
    let window = match &slo.terms.calendar {
        None => duration(slo.window_s as f64),
        Some(_) => slo.period().spoken(),
    };
    let mut text = String::new();
    if let Some(onset) = burning(status, kind) {
        let said = onset.spoken(slo.unit);
        text = format!("{}. ", said.replacen("error", "Error", 1));
    }
    text += &format!("The objective is {}% good events over {window}.", slo.objective);
    match status.window.error_ratio {
        Some(ratio) => {
            let WindowStatus { bad, total, .. } = status.window;
            text += &format!(" {} of them were bad, {bad} of {total}{}.", percent(ratio), known(status));
        }
        None => text += " No events are known in it.",
    }
    if let Some(seconds) = status.exhaustion_s {
        text += &format!(" At the present burn the budget is gone in {}.", duration(seconds));
    }
    text
}

fn cause(reason: DataReason) -> &'static str {
    match reason {
        DataReason::None => "its samples are missing",
        DataReason::NoSource => "it has no source",
        DataReason::NoSeries => "no series matches its selector",
        DataReason::SourceUnreachable => "Prometheus does not answer",
        DataReason::SourceWarning => "Prometheus answers with warnings",
        DataReason::SeriesMissing => "far fewer series answer than before",
        DataReason::SamplesOld => "its newest sample is too old",
        DataReason::NoBucket => "its histogram has no bucket at the threshold",
        DataReason::NotANumber => "its values are not numbers",
        DataReason::Frozen => "its gauge stands still, so its exporter has stopped measuring",
        DataReason::Sentinel => "its gauge says that it does not know yet",
        DataReason::BadAboveTotal => "its bad events outnumber all its events",
        DataReason::CounterFlickers => "its counters fall again and again: several processes behind one address?",
        DataReason::CounterSummed => "its counters were summed over several processes and fall",
        DataReason::NotCumulative => "the buckets of its histogram are not cumulative",
        DataReason::ClockSkew => "the clocks of Slowburn and Prometheus differ too much",
        DataReason::Filling => "its history is still being read",
        DataReason::SourceUnplanned => "no request can be made of its source",
        DataReason::QueryFailing => "Prometheus refuses its query, or cannot answer it, while it answers others",
        DataReason::ScaledToZero => "its workloads are scaled to 0 replicas",
    }
}

/// A burn rate: `14.4x`, `43x`, `0.52x`.
pub(super) fn factor(burn: f64) -> String {
    let text = match burn {
        burn if burn >= 99.95 => format!("{burn:.0}"),
        burn if burn >= 9.995 => format!("{burn:.1}"),
        burn => format!("{burn:.2}"),
    };
    format!("{}x", trimmed(&text))
}

/// A ratio as a percentage: `12.5%`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{}%", trimmed(&format!("{:.2}", ratio * 100.0)))
}

/// Without the zeros that say nothing; never `-0`.
fn trimmed(number: &str) -> &str {
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if number == "-0" { "0" } else { number }
}

/// Seconds in the two largest units that say something: `1h`, `2d4h`, `5m`, `30s`.
pub(super) fn duration(seconds: f64) -> String {
    rough(seconds.clamp(0.0, 1e12).round() as i64, "")
}
