//! `GET /metrics`: what the process counted, then what the last snapshot says.
//!
//! The gauges of SLOs are written from the snapshot at each scrape and are not kept anywhere: they are exact, in the
//! same order every time, and an SLO that was deleted is gone with the next scrape (the `metrics` crate cannot delete).
//! **A value that is not known has no sample**; a 0 would be read as "fine". What is then known (state `unknown`, the
//! data state, the fault) has its own series. The series of other tools (`peers`) keep to the customs of those.

mod gate;
mod mirror;
mod peers;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::view::Word;
use super::{Info, Site, api, encoding};
use crate::engine::alert::{Alert, AlertKind};
use crate::engine::period::rolling_label;
use crate::engine::severity::Sev;
use crate::engine::status::{DataReason, WindowStatus};
use crate::engine::{DataState, Labels, Seconds, SeriesStatus, Slo, Snapshot, Speed};
use crate::telemetry::compat::Foreign;
use crate::telemetry::detail::Detail;
use crate::telemetry::names::{self, Metric};
pub use mirror::MirrorPage;

/// `GET /metrics`.
pub(super) async fn metrics(State(site): State<Site>, headers: HeaderMap) -> Response {
    let (snapshot, info, now) = (site.snapshot(), site.app.info.borrow().clone(), site.app.clock.now());
    api::apart(move || {
        let mut text = site.app.metrics.render() + &render(&snapshot, &info, now);
        text.extend(site.app.gate_service.as_ref().map(gate::render));
        encoding::text(&headers, "text/plain; version=0.0.4; charset=utf-8", text.into_bytes())
    })
    .await
}

/// Everything the snapshot and the configuration say, seen at `now`.
pub fn render(snapshot: &Snapshot, info: &Info, now: Seconds) -> String {
    let mut page = Exposition::default();
    let mut build = vec![("version", info.version.as_str()), ("config_hash", &info.config_hash)];
    build.extend(info.external_url.as_deref().map(|url| ("external_url", url)));
    page.sample(names::BUILD_INFO, &[], &build, 1.0);
    page.sample(names::CONFIG_LAST_RELOAD_SUCCESSFUL, &[], &[], f64::from(u8::from(!info.last_reload_failed)));
    if info.loaded_at > 0 {
        page.sample(names::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS, &[], &[], info.loaded_at as f64);
    }
    if snapshot.at > 0 {
        page.sample(names::EVALUATION_LAG_SECONDS, &[], &[], (now - snapshot.at) as f64);
        alerts(&mut page, &snapshot.alerts);
    }
    for entry in &snapshot.slos {
        definition(&mut page, &entry.slo, info.metrics_detail);
        for series in entry.series.iter() {
            status(&mut page, &entry.slo, series);
            match info.metrics_detail {
                Detail::Lean => policy_burns(&mut page, &series_labels(&entry.slo, &series.labels), series),
                Detail::Full => every_window(&mut page, &entry.slo, series, now),
            }
        }
    }
    peers::render(&mut page, snapshot, info);
    page.finish()
}

/// How many alerts fire, zeros included: absence would be read as "not known".
fn alerts(page: &mut Exposition, alerts: &[Alert]) {
    for kind in AlertKind::ALL.into_iter().chain([AlertKind::ChangeWorse, AlertKind::BreakGlass]) {
        for sev in (1..=5).filter_map(Sev::new) {
            let counted = |alert: &&Alert| {
                alert.resolved_at.is_none() && alert.inhibited_by.is_none() && alert.kind == kind && alert.sev == sev
            };
            let labels =
                [("severity", sev.severity().to_owned()), ("sev", sev.to_string()), ("kind", Word(kind).to_string())];
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            page.sample(names::ALERTS_FIRING, &[], &labels, alerts.iter().filter(counted).count() as f64);
        }
    }
}

/// What the SLO promises, whatever its data says.
fn definition(page: &mut Exposition, slo: &Slo, detail: Detail) {
    let none = Labels::new();
    let own = series_labels(slo, &none);
    // 99.9 / 100 is 0.9990000000000001; what was written as a decimal is shown as one.
    page.sample(names::SLO_OBJECTIVE_RATIO, &own, &[], (slo.objective * 1e10).round() / 1e12);
    if detail == Detail::Lean {
        return;
    }
    page.sample(names::SLO_WINDOW_SECONDS, &own, &[], slo.window_s as f64);
    for clause in &slo.burn {
        let (speed, long, short) =
            (Word(clause.speed).to_string(), rolling_label(clause.long_s), rolling_label(clause.short_s));
        let labels = [("speed", speed.as_str()), ("window", &long), ("short_window", &short)];
        page.sample(names::SLO_BURN_RATE_THRESHOLD, &own, &labels, clause.factor);
    }
}

/// What is shown of one series however lean: its state, its data, the budget, and the events of its windows.
fn status(page: &mut Exposition, slo: &Slo, series: &SeriesStatus) {
    let own = &series_labels(slo, &series.labels);
    status_of(page, own, series);
    for (name, window) in own_windows(slo, series) {
        events(page, own, &name, window, series.data.state);
    }
}

/// What is shown of one series whose events nobody sums up again.
fn status_of(page: &mut Exposition, own: &[(String, &str)], series: &SeriesStatus) {
    page.known(names::SLO_ERROR_BUDGET_REMAINING_RATIO, own, &[], series.budget_remaining);
    page.sample(names::SLO_STATE, own, &[("state", &Word(series.state).to_string())], 1.0);
    let (state, reason) = (Word(series.data.state).to_string(), Word(series.data.reason).to_string());
    let labels = [("state", state.as_str()), ("reason", reason.as_str())];
    let labels = if series.data.reason == DataReason::None { &labels[..1] } else { &labels };
    page.sample(names::SLO_DATA_STATE, own, labels, 1.0);
    for budget in &series.budgets {
        let labels = [("window", budget.name.as_str())];
        page.known(names::SLO_WINDOW_BUDGET_REMAINING_RATIO, own, &labels, budget.budget_remaining);
        let all = budget.counting_all;
        page.known(names::SLO_WINDOW_BUDGET_COUNTING_ALL_RATIO, own, &labels, all.and_then(|all| all.budget_remaining));
        page.known(names::SLO_WINDOW_EXCLUDED_SECONDS, own, &labels, all.map(|all| all.excluded_s as f64));
        page.known(names::SLO_BUDGET_RESET_TIMESTAMP_SECONDS, own, &labels, budget.resets_at.map(|at| at as f64));
    }
}

/// The windows of the SLO itself, by name.
fn own_windows<'s>(slo: &Slo, series: &'s SeriesStatus) -> Vec<(String, &'s WindowStatus)> {
    match series.budgets.as_slice() {
        [] => vec![(slo.period().label(), &series.window)],
        budgets => budgets.iter().map(|budget| (budget.name.clone(), &budget.window)).collect(),
    }
}

fn events(page: &mut Exposition, own: &[(String, &str)], name: &str, window: &WindowStatus, data: DataState) {
    if data != DataState::Absent {
        for (kind, count) in [("total", window.total), ("bad", window.bad)] {
            page.sample(names::SLO_WINDOW_EVENTS, own, &[("window", name), ("kind", kind)], count as f64);
        }
    }
}

/// The burn rates that pages and tickets go by: of each speed the two shortest long windows. With what every series
/// shows these are ten at most.
fn policy_burns(page: &mut Exposition, own: &[(String, &str)], series: &SeriesStatus) {
    let mut shown: BTreeMap<i64, Option<f64>> = BTreeMap::new();
    for speed in [Speed::Fast, Speed::Slow] {
        let of_speed = series.clauses.iter().filter(|clause| clause.speed == speed);
        let burns: BTreeMap<i64, Option<f64>> = of_speed.map(|clause| (clause.long_s, clause.burn_long)).collect();
        shown.extend(burns.into_iter().take(2));
    }
    for (window_s, burn) in shown {
        page.known(names::SLO_BURN_RATE, own, &[("window", &rolling_label(window_s))], burn);
    }
}

/// Everything that is known of one series, each window ready-made.
fn every_window(page: &mut Exposition, slo: &Slo, series: &SeriesStatus, now: Seconds) {
    let own = &series_labels(slo, &series.labels);
    let mut windows = own_windows(slo, series);
    let of_slo = windows.len();
    // Those of its clauses that are none of its own.
    for window in &series.windows {
        let name = rolling_label(window.window_s);
        if windows.iter().all(|(taken, _)| *taken != name) {
            windows.push((name, window));
        }
    }
    for (name, window) in &windows[of_slo..] {
        events(page, own, name, window, series.data.state);
    }
    windows.sort_by_key(|(_, window)| window.window_s);
    for (text, window) in &windows {
        let labels = [("window", text.as_str())];
        page.known(names::SLO_BURN_RATE, own, &labels, window.burn_rate);
        page.known(names::SLO_ERROR_RATIO, own, &labels, window.error_ratio);
        let ratio = |bad: u64| window.error_ratio.map(|_| bad as f64 / window.total.max(1) as f64);
        for (bound, bad) in window.bad_bounds.iter().flat_map(|of| [("least", of.least), ("most", of.most)]) {
            let labels = [("window", text.as_str()), ("bound", bound)];
            page.known(names::SLO_ERROR_BOUND_RATIO, own, &labels, ratio(bad));
        }
    }
    page.known(names::SLO_EXHAUSTION_SECONDS, own, &[], series.exhaustion_s);
    page.known(names::SLO_COVERAGE_RATIO, own, &[], Some(series.coverage));
    page.known(names::SLO_DATA_AGE_SECONDS, own, &[], series.data.newest.map(|newest| (now - newest) as f64));
}

/// Label names that mean something of ours; a series label of that name gets a prefix.
const OWN_LABELS: &[&str] =
    &["slo_id", "service", "slo", "window", "short_window", "speed", "kind", "state", "reason", "bound"];

/// `slo_id, service, slo`, then the labels of the series under names that Prometheus accepts and that do not collide.
fn series_labels<'a>(slo: &'a Slo, labels: &'a Labels) -> Vec<(String, &'a str)> {
    labels_of(&slo.id, &slo.service, &slo.name, labels)
}

fn labels_of<'a>(id: &'a str, service: &'a str, name: &'a str, labels: &'a Labels) -> Vec<(String, &'a str)> {
    let mut own: Vec<(String, &str)> =
        vec![("slo_id".to_owned(), id), ("service".to_owned(), service), ("slo".to_owned(), name)];
    for (name, value) in labels.iter() {
        let mut name = label_name(name);
        while name.starts_with("__")
            || OWN_LABELS.contains(&name.as_str())
            || own.iter().any(|(taken, _)| *taken == name)
        {
            name.insert_str(0, "series_");
        }
        own.push((name, value));
    }
    own
}

/// A label name that Prometheus accepts.
fn label_name(name: &str) -> String {
    let legal = |(i, c): (usize, char)| match c {
        'a'..='z' | 'A'..='Z' | '_' => c,
        '0'..='9' if i > 0 => c,
        _ => '_',
    };
    name.chars().enumerate().map(legal).collect()
}

/// Samples by metric name; HELP and TYPE are written once for each.
#[derive(Default)]
struct Exposition {
    families: BTreeMap<Cow<'static, str>, String>,
}

impl Exposition {
    /// A sample whose value may not be known; then there is none.
    fn known(&mut self, name: &'static str, own: &[(String, &str)], more: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sample(name, own, more, value);
        }
    }

    fn sample(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        own: &[(String, &str)],
        more: &[(&str, &str)],
        value: f64,
    ) {
        let name = name.into();
        let start = name.clone();
        let lines = self.families.entry(name).or_default();
        lines.push_str(&start);
        let labels = own.iter().map(|(name, value)| (name.as_str(), *value)).chain(more.iter().copied());
        let mut open = '{';
        for (name, value) in labels {
            lines.push(open);
            lines.push_str(name);
            lines.push_str("=\"");
            escape(lines, value);
            lines.push('"');
            open = ',';
        }
        if open == ',' {
            lines.push('}');
        }
        writeln!(lines, " {value}").expect("a String takes every write");
    }

    fn finish(self) -> String {
        let mut text = String::new();
        for (name, lines) in self.families {
            let (help, kind) = match (Metric::named(&name), Foreign::named(&name)) {
                (Some(metric), _) => (metric.help(), metric.kind),
                (None, foreign) => foreign.map(|foreign| (foreign.help, foreign.kind)).expect("a name from a table"),
            };
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word()).expect("a String takes every write");
            text.push_str(&lines);
        }
        text
    }
}

/// Escapes a label value as the text format wants it.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
