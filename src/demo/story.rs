//! The demo as it happens, told line by line: baseline, onset, burn, page, recovery, resolved.
//!
//! A line is a pure function of two snapshots in a row and of the notifications that arrived between them, so the story
//! is tested like everything else. Nothing here waits, prints or asks for the time.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::engine::alert::Alert;
use crate::engine::severity::Sev;
use crate::engine::status::{ClauseStatus, DataReason, SeriesStatus};
use crate::engine::{Labels, Seconds, Slo, SloState, Snapshot, Speed};

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
    /// A notification of a firing alert arrived at its receiver.
    Sent,
    /// No clause fires any more.
    Recovery,
    /// A notification of a resolved alert arrived.
    Resolved,
    /// There is no data, or there is again.
    Data,
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

/// What happened between `previous` and `next`. A delivery is told at `next`'s time.
pub fn tell(previous: &Snapshot, next: &Snapshot, deliveries: &[Delivery]) -> Vec<Line> {
    let mut lines = Vec::new();
    if !has_begun(previous) {
        if knows_something(next) {
            baseline(next, &mut lines);
        }
    } else {
        for slo in &next.slos {
            for series in &slo.series {
                if let Some(before) = series_of(previous, &slo.slo.id, &series.labels) {
                    change(&slo.slo, before, series, &mut lines);
                }
            }
        }
    }
    for delivery in deliveries {
        lines.push(delivered(delivery, previous, next));
    }
    lines
}

fn knows_something(snapshot: &Snapshot) -> bool {
    snapshot.slos.iter().flat_map(|slo| &slo.series).any(|series| series.state != SloState::Unknown)
}

/// Whether there has been a baseline: something is known, or was before its data got lost.
fn has_begun(snapshot: &Snapshot) -> bool {
    let lost = |series: &SeriesStatus| series.data.newest.is_some() && series.data.reason != DataReason::Filling;
    knows_something(snapshot) || snapshot.slos.iter().flat_map(|slo| &slo.series).any(lost)
}

fn series_of<'a>(snapshot: &'a Snapshot, slo_id: &str, labels: &Labels) -> Option<&'a SeriesStatus> {
    snapshot.slo(slo_id)?.series.iter().find(|series| series.labels == *labels)
}

/// One line for the fleet, and one for each series that is not well.
fn baseline(snapshot: &Snapshot, lines: &mut Vec<Line>) {
    let all: Vec<(&Slo, &SeriesStatus)> =
        snapshot.slos.iter().flat_map(|slo| slo.series.iter().map(|series| (&*slo.slo, series))).collect();
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
            state => format!("is already in {}, {}", words(state), budget_left(series)),
        };
        let text = format!("{} {state}", named(&slo.id, &series.labels));
        lines.push(Line { at: snapshot.at, beat: Beat::Baseline, text });
    }
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A change of one series: its state's, or else the onset of one.
fn change(slo: &Slo, before: &SeriesStatus, now: &SeriesStatus, lines: &mut Vec<Line>) {
    let name = named(&slo.id, &now.labels);
    let (beat, text) = match (before.state, now.state) {
        (was, is) if was == is => {
            if let Some(clause) = onset(before, now).filter(|_| is != SloState::FastBurn) {
                let (burn, short) = (clause.burn_short.unwrap_or_default(), span(clause.short_s));
                let text =
                    format!("{name} burns {burn:.0}x over {short}, {} waits for {}", clause.text, span(clause.long_s));
                lines.push(Line { at: now.at, beat: Beat::Onset, text });
            }
            return;
        }
        (SloState::Unknown, _) => (Beat::Data, format!("{name} has data again")),
        (_, SloState::Unknown) => (Beat::Data, format!("{name} has no data: {}", reason(now))),
        (_, SloState::FastBurn) => (Beat::FastBurn, burning(&name, now, Speed::Fast)),
        (_, SloState::SlowBurn) => (Beat::SlowBurn, burning(&name, now, Speed::Slow)),
        (_, SloState::Exhausted) => (Beat::Exhausted, format!("{name} has spent its budget")),
        (_, SloState::Ok) => (Beat::Recovery, format!("{name} no longer burns, {}", budget_left(now))),
    };
    lines.push(Line { at: now.at, beat, text });
}

/// A fast clause whose short window has just passed its factor.
fn onset<'a>(before: &SeriesStatus, now: &'a SeriesStatus) -> Option<&'a ClauseStatus> {
    let over = |clause: &ClauseStatus| clause.burn_short.is_some_and(|burn| burn > clause.factor);
    now.clauses
        .iter()
        .zip(&before.clauses)
        .find_map(|(now, before)| (now.speed == Speed::Fast && over(now) && !over(before)).then_some(now))
}

fn burning(name: &str, now: &SeriesStatus, speed: Speed) -> String {
    let mut text = name.to_owned();
    if let Some(clause) = now.clauses.iter().find(|clause| clause.speed == speed && clause.firing) {
        let (long, short) = (clause.burn_long.unwrap_or_default(), clause.burn_short.unwrap_or_default());
        write!(text, " burns {long:.1}x over {} and {short:.1}x over {}", span(clause.long_s), span(clause.short_s))
            .expect("writing to a string");
        write!(text, " ({})", clause.text).expect("writing to a string");
    }
    write!(text, "; {}", budget_left(now)).expect("writing to a string");
    if let Some(left) = now.exhaustion_s {
        write!(text, ", gone in {}", span(left as i64)).expect("writing to a string");
    }
    text
}

fn budget_left(series: &SeriesStatus) -> String {
    match series.budget_remaining {
        Some(left) => format!("{:.0} % of the budget left", left * 100.0),
        None => "budget unknown".to_owned(),
    }
}

fn reason(series: &SeriesStatus) -> String {
    let reason = serde_json::to_value(series.data.reason).ok();
    reason.as_ref().and_then(|reason| reason.as_str()).unwrap_or("unknown").replace('_', " ")
}

/// A notification, told with how long its alert has been firing.
fn delivered(delivery: &Delivery, previous: &Snapshot, next: &Snapshot) -> Line {
    let label = |name| delivery.labels.get(name).unwrap_or("?");
    let is_it = |alert: &&Alert| alert.labels == delivery.labels;
    let alert = next.alerts.iter().find(is_it).or_else(|| previous.alerts.iter().find(is_it));
    let sev = label("sev");
    let paging = Sev::try_from(sev.to_owned()).is_ok_and(|sev| sev.severity() == "critical");
    let what = format!("{} on {}", label("alertname"), label("slo_id"));
    let (beat, text) = if delivery.firing {
        (Beat::Sent, format!("{sev} {} sent: {what}", if paging { "page" } else { "ticket" }))
    } else {
        let end = alert.and_then(|alert| alert.resolved_at).unwrap_or(next.at);
        let lasted = alert.map(|alert| format!(" after {}", span(end - alert.starts_at))).unwrap_or_default();
        (Beat::Resolved, format!("{sev} resolved: {what}{lasted}"))
    };
    Line { at: next.at, beat, text }
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

/// Seconds in the two largest units that say enough: `1h`, `6h 30m`, `2d 4h`.
fn span(seconds: i64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds.max(0);
    let mut parts = Vec::new();
    for (size, unit) in units {
        if left >= size {
            parts.push(format!("{}{unit}", left / size));
            left %= size;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

impl Beat {
    fn word(self) -> &'static str {
        match self {
            Beat::Baseline => "baseline",
            Beat::Onset => "onset",
            Beat::SlowBurn => "slow burn",
            Beat::FastBurn => "FAST BURN",
            Beat::Exhausted => "EXHAUSTED",
            Beat::Sent => "alert",
            Beat::Recovery => "recovery",
            Beat::Resolved => "resolved",
            Beat::Data => "data",
        }
    }

    /// ANSI colour: red for what wakes people, yellow for what is coming, green for what is over.
    fn colour(self) -> &'static str {
        match self {
            Beat::FastBurn | Beat::Exhausted | Beat::Sent => "1;31",
            Beat::Onset | Beat::SlowBurn | Beat::Data => "33",
            Beat::Recovery | Beat::Resolved => "32",
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
