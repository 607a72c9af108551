//! The demo as it happens, told line by line: baseline, onset, burn, page, recovery, resolved.
//!
//! A line is a pure function of two snapshots in a row and of the notifications that arrived between them, so the story
//! is tested like everything else. Nothing here waits, prints or asks for the time.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::engine::alert::Alert;
use crate::engine::duration;
use crate::engine::severity::Sev;
use crate::engine::status::{ClauseStatus, DataReason, SeriesStatus};
use crate::engine::{Labels, Seconds, Slo, SloSnapshot, SloState, Snapshot, Speed};

/// What a line is about; decides its word and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beat {
    /// How the fleet stands when the story begins.
    Baseline,
    /// A short window began to burn faster than a fast clause allows: nothing is decided yet.
    Onset,
    /// A slow clause fires.
    SlowBurn,
    /// A fast clause fires.
    FastBurn,
    /// The budget is spent.
    Exhausted,
    /// A notification of an alert that wakes people arrived at its receiver.
    Page,
    /// A notification of any other firing alert arrived.
    Ticket,
    /// A fast clause, or the last clause, no longer fires.
    Recovery,
    /// A notification of a resolved alert arrived.
    Resolved,
    /// There is no data, or there is again.
    Data,
    /// Somebody asks the gate, does what it allowed, or tells it of a change.
    Act,
    /// The gate says yes.
    Allowed,
    /// The gate says no.
    Denied,
    /// The gate asks people, or one of them answers.
    Consent,
    /// What is known of an incident.
    Incident,
    /// What an act came to.
    Verdict,
    /// The audit log.
    Audit,
}

/// One line of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Simulated time.
    pub at: Seconds,
    /// What it is about.
    pub beat: Beat,
    /// The sentence.
    pub text: String,
}

/// A notification as it arrived at a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Still firing, or resolved.
    pub firing: bool,
    /// Identity of the alert.
    pub labels: Labels,
}

/// A webhook body of Alertmanager's version 4, as far as the story needs it.
#[derive(Deserialize)]
struct Webhook {
    alerts: Vec<WebhookAlert>,
}

#[derive(Deserialize)]
struct WebhookAlert {
    status: String,
    labels: Labels,
}

impl Delivery {
    /// The alerts of a webhook v4 body.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn from_webhook(body: &str) -> Result<Vec<Delivery>, serde_json::Error> {
        let webhook: Webhook = serde_json::from_str(body)?;
        let delivery = |alert: WebhookAlert| Delivery { firing: alert.status == "firing", labels: alert.labels };
        Ok(webhook.alerts.into_iter().map(delivery).collect())
    }
}

/// What happened to one series; equal ones of an SLO become one line.
#[derive(Debug, PartialEq)]
struct Event {
    beat: Beat,
    slo_id: String,
    series: Labels,
    /// The sentence before the name of the series.
    before: String,
    /// The sentence after it.
    after: String,
}

/// What happened between `previous` and `next`. A delivery is told at `next`'s time.
pub fn tell(previous: &Snapshot, next: &Snapshot, deliveries: &[Delivery]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut events = Vec::new();
    if has_begun(previous) {
        for slo in &next.slos {
            let known = told(slo).filter_map(|now| Some((series_of(previous, &slo.slo.id, &now.labels)?, now)));
            events.extend(known.filter_map(|(before, now)| change(&slo.slo, before, now)));
        }
    } else if has_begun(next) {
        baseline(next, &mut lines);
    }
    events.extend(deliveries.iter().map(|delivery| delivered(delivery, previous, next)));
    lines.extend(folded(events).into_iter().map(|(beat, text)| Line { at: next.at, beat, text }));
    lines
}

/// One sentence for each event, or for all those of an SLO that only their series tells apart.
fn folded(events: Vec<Event>) -> Vec<(Beat, String)> {
    let mut groups: Vec<(Event, usize)> = Vec::new();
    for event in events {
        let same = |(first, _): &&mut (Event, usize)| {
            (first.beat, &first.slo_id, &first.before, &first.after)
                == (event.beat, &event.slo_id, &event.before, &event.after)
        };
        match groups.iter_mut().find(same) {
            Some((_, times)) => *times += 1,
            None => groups.push((event, 1)),
        }
    }
    let sentence = |(event, times): (Event, usize)| {
        let name = match times {
            1 => named(&event.slo_id, &event.series),
            _ => format!("{} ({times} series)", event.slo_id),
        };
        (event.beat, format!("{}{name}{}", event.before, event.after))
    };
    groups.into_iter().map(sentence).collect()
}

fn knows_something(snapshot: &Snapshot) -> bool {
    snapshot.slos.iter().flat_map(|slo| slo.series.iter()).any(|series| series.state != SloState::Unknown)
}

/// Whether there has been a baseline: history is read, and something is known, or was before its data got lost.
fn has_begun(snapshot: &Snapshot) -> bool {
    let mut series = snapshot.slos.iter().flat_map(|slo| slo.series.iter());
    let filling = series.clone().any(|series| series.data.reason == DataReason::Filling);
    !filling && (knows_something(snapshot) || series.any(|series| series.data.newest.is_some()))
}

fn series_of<'a>(snapshot: &'a Snapshot, slo_id: &str, labels: &Labels) -> Option<&'a SeriesStatus> {
    snapshot.slo(slo_id)?.series.iter().find(|series| series.labels == *labels)
}

/// The series that are told of: of a fan-out its children, which say more than the whole of them.
fn told(slo: &SloSnapshot) -> impl Iterator<Item = &SeriesStatus> {
    slo.series.iter().filter(|series| slo.series.len() == 1 || !slo.slo.is_whole(&series.labels))
}

/// One line for the fleet, and one for each series that is not well.
fn baseline(snapshot: &Snapshot, lines: &mut Vec<Line>) {
    let all: Vec<(&Slo, &SeriesStatus)> =
        snapshot.slos.iter().flat_map(|slo| told(slo).map(|series| (&*slo.slo, series))).collect();
    let mut services: Vec<&str> = snapshot.slos.iter().map(|slo| slo.slo.service.as_str()).collect();
    services.dedup();
    let well = all.iter().filter(|(_, series)| series.state == SloState::Ok).count();
    let text = format!(
        "{}, {}: {well} of {} series are well",
        counted(services.len(), "service"),
        counted(snapshot.slos.len(), "SLO"),
        all.len()
    );
    lines.push(Line { at: snapshot.at, beat: Beat::Baseline, text });
    for (slo, series) in all {
        let state = match series.state {
            SloState::Ok => continue,
            SloState::Unknown => "has no data yet".to_owned(),
            SloState::Exhausted => format!("spent its budget earlier this month: {}", budget_left(series)),
            state => format!("is already in {}: {}", words(state), budget_left(series)),
        };
        let text = format!("{} {state}", named(&slo.id, &series.labels));
        lines.push(Line { at: snapshot.at, beat: Beat::Baseline, text });
    }
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A change of one series: its state's, or else the onset of one.
fn change(slo: &Slo, before: &SeriesStatus, now: &SeriesStatus) -> Option<Event> {
    let (beat, after) = match (before.state, now.state) {
        (SloState::Ok, SloState::Ok) => (Beat::Onset, onset(before, now)?),
        (was, is) if was == is => return None,
        (SloState::Unknown, _) => (Beat::Data, " has data again".to_owned()),
        (_, SloState::Unknown) => (Beat::Data, format!(" has no data: {}", reason(now))),
        (_, SloState::FastBurn) => (Beat::FastBurn, burning(now, Speed::Fast)),
        (SloState::FastBurn, SloState::SlowBurn | SloState::Exhausted) => (Beat::Recovery, eased(now)),
        (_, SloState::SlowBurn) => (Beat::SlowBurn, burning(now, Speed::Slow)),
        (_, SloState::Exhausted) => (Beat::Exhausted, format!(" has spent its budget: {}", budget_left(now))),
        (_, SloState::Ok) => (Beat::Recovery, format!(" no longer burns: {}", budget_left(now))),
    };
    Some(Event { beat, slo_id: slo.id.clone(), series: now.labels.clone(), before: String::new(), after })
}

/// A fast clause whose short window has just passed its factor, while its long one has not.
fn onset(before: &SeriesStatus, now: &SeriesStatus) -> Option<String> {
    let over = |clause: &ClauseStatus| clause.burn_short.is_some_and(|burn| burn > clause.factor);
    let begins =
        |(now, before): &(&ClauseStatus, &ClauseStatus)| now.speed == Speed::Fast && over(now) && !over(before);
    let (clause, _) = now.clauses.iter().zip(&before.clauses).find(begins)?;
    let (long, short) = (clause.burn_long.unwrap_or_default(), clause.burn_short.unwrap_or_default());
    Some(format!(
        " burns {short:.1}x over {} and {long:.1}x over {}: an alert when both are over {:.1}x ({})",
        span(clause.short_s),
        span(clause.long_s),
        clause.factor,
        clause.text
    ))
}

fn burning(now: &SeriesStatus, speed: Speed) -> String {
    let mut text = String::new();
    if let Some(clause) = now.clauses.iter().find(|clause| clause.speed == speed && clause.firing) {
        let (long, short) = (clause.burn_long.unwrap_or_default(), clause.burn_short.unwrap_or_default());
        write!(text, " burns {short:.1}x over {} and {long:.1}x over {}", span(clause.short_s), span(clause.long_s))
            .expect("writing to a string");
        write!(text, " ({})", clause.text).expect("writing to a string");
    }
    write!(text, ": {}", budget_left(now)).expect("writing to a string");
    if let Some(left) = now.exhaustion_s {
        write!(text, ", gone in {} at this pace", span(left as i64)).expect("writing to a string");
    }
    text
}

/// The fast burn has ended, but something is left of it.
fn eased(now: &SeriesStatus) -> String {
    let calm = now.clauses.iter().find(|clause| clause.speed == Speed::Fast);
    let short = calm.and_then(|clause| Some(format!("{:.1}x over {}", clause.burn_short?, span(clause.short_s))));
    let slow = match now.state {
        SloState::SlowBurn => "; a slow burn until its windows have forgotten it",
        _ => "",
    };
    format!(" is down to {}{slow}: {}", short.unwrap_or_else(|| "no fast burn".to_owned()), budget_left(now))
}

fn budget_left(series: &SeriesStatus) -> String {
    match series.budget_remaining {
        Some(left) if left < 0.0 => format!("overspent by {:.0} % of the budget", -left * 100.0),
        Some(left) => format!("{:.0} % of the budget left", left * 100.0),
        None => "budget unknown".to_owned(),
    }
}

fn reason(series: &SeriesStatus) -> String {
    let reason = serde_json::to_value(series.data.reason).ok();
    reason.as_ref().and_then(|reason| reason.as_str()).unwrap_or("unknown").replace('_', " ")
}

/// A notification, told with how long its alert has been firing.
fn delivered(delivery: &Delivery, previous: &Snapshot, next: &Snapshot) -> Event {
    let label = |name| delivery.labels.get(name).unwrap_or("?");
    let is_it = |alert: &&Alert| alert.labels == delivery.labels;
    let alert = next.alerts.iter().find(is_it).or_else(|| previous.alerts.iter().find(is_it));
    let (sev, name) = (label("sev"), label("alertname"));
    let paging = Sev::try_from(sev.to_owned()).is_ok_and(|sev| sev.severity() == "critical");
    let (beat, before, after) = match (delivery.firing, paging) {
        (true, true) => (Beat::Page, format!("{sev} page sent: {name} on "), String::new()),
        (true, false) => (Beat::Ticket, format!("{sev} ticket sent: {name} on "), String::new()),
        (false, _) => {
            let end = alert.and_then(|alert| alert.resolved_at).unwrap_or(next.at);
            let lasted = alert.map(|alert| format!(" after {}", span(end - alert.starts_at))).unwrap_or_default();
            (Beat::Resolved, format!("{sev} resolved: {name} on "), lasted)
        }
    };
    let series = alert.map(|alert| alert.series.clone()).unwrap_or_default();
    Event { beat, slo_id: label("slo_id").to_owned(), series, before, after }
}

/// `id`, with its series where there are several.
fn named(id: &str, labels: &Labels) -> String {
    if labels.is_empty() { id.to_owned() } else { format!("{id}{labels}") }
}

fn words(state: SloState) -> &'static str {
    match state {
        SloState::Ok => "order",
        SloState::SlowBurn => "slow burn",
        SloState::FastBurn => "fast burn",
        SloState::Exhausted => "exhaustion of its budget",
        SloState::Unknown => "the unknown",
    }
}

/// Seconds in the two largest units: `1h`, `6h 30m`, `2d 4h`.
fn span(seconds: i64) -> String {
    duration::rough(seconds, " ")
}

impl Beat {
    fn word(self) -> &'static str {
        match self {
            Beat::Baseline => "baseline",
            Beat::Onset => "onset",
            Beat::SlowBurn => "slow burn",
            Beat::FastBurn => "FAST BURN",
            Beat::Exhausted => "EXHAUSTED",
            Beat::Page | Beat::Ticket => "alert",
            Beat::Recovery => "recovery",
            Beat::Resolved => "resolved",
            Beat::Data => "data",
            Beat::Act => "act",
            Beat::Allowed => "allowed",
            Beat::Denied => "DENIED",
            Beat::Consent => "consent",
            Beat::Incident => "incident",
            Beat::Verdict => "verdict",
            Beat::Audit => "audit",
        }
    }

    /// ANSI colour: red for what wakes people, yellow for what is coming, green for what is over.
    fn colour(self) -> &'static str {
        match self {
            Beat::FastBurn | Beat::Exhausted | Beat::Page | Beat::Incident => "1;31",
            Beat::Denied => "31",
            Beat::Onset | Beat::SlowBurn | Beat::Ticket | Beat::Data | Beat::Consent => "33",
            Beat::Recovery | Beat::Resolved | Beat::Allowed | Beat::Verdict => "32",
            Beat::Act | Beat::Audit => "36",
            Beat::Baseline => "2",
        }
    }
}

impl Line {
    /// The line as it is printed: simulated time of day (UTC), wall seconds since the start, what, the sentence.
    /// `colour` only on a terminal.
    pub fn render(&self, wall_s: f64, colour: bool) -> String {
        let at = jiff::Timestamp::from_second(self.at).unwrap_or_default().strftime("%H:%M:%S");
        let word = format!("{:<9}", self.beat.word());
        let word = if colour { format!("\x1b[{}m{word}\x1b[0m", self.beat.colour()) } else { word };
        format!("{at}  +{wall_s:>5.1}s  {word}  {}", self.text)
    }
}

#[cfg(test)]
mod tests;
