//! The series that Sloth and Pyrra would record, from the same snapshot, where settings ask for them.
//!
//! **One set an SLO.** Their dashboards divide by the one budget of an id, so an SLO that fans out is shown as the sum
//! of its series; the children are in `slowburn_*`.
//!
//! **Unknown is NaN.** Their dashboards read a series that is missing as "no errors" (`OR on() vector(0)`), so what is
//! not known must be there and be no number. Only ratios and rates can be unknown: what the SLO promises is always
//! there, or the SLO would not be listed.
//!
//! What the numbers mean is ours: a ratio is the sum of bad by the sum of all, over any window. The length of a calendar
//! window in a name is that of the longest such period without leap days: a month ends in `30d`, as their menus have it.

use std::collections::BTreeSet;

use super::{Exposition, label_name};
use crate::engine::alert::AlertKind;
use crate::engine::{Slo, SloSnapshot, Snapshot, Whole};
use crate::telemetry::compat::{self, Compat, PYRRA_RATE_S, window_name};
use crate::web::Info;

/// What an SLO is called over there.
struct Identity<'a> {
    id: &'a str,
    service: &'a str,
    slo: &'a str,
    /// Labels that its file gave to every series.
    labels: Vec<(String, &'a str)>,
    /// `sloth_spec`.
    spec: &'a str,
}

impl<'a> Identity<'a> {
    fn of(slo: &'a Slo) -> Self {
        Identity { id: &slo.id, service: &slo.service, slo: &slo.name, labels: Vec::new(), spec: "slowburn/v1" }
    }

    fn sloth(&self) -> Vec<(String, &'a str)> {
        let own = [("sloth_id", self.id), ("sloth_service", self.service), ("sloth_slo", self.slo)];
        self.with_labels(own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), "sloth_")
    }

    fn pyrra(&self) -> Vec<(String, &'a str)> {
        self.with_labels(vec![("slo".to_owned(), self.id)], "slo")
    }

    /// The labels of its file after `own`, but for those that would hide one of these.
    fn with_labels(&self, mut own: Vec<(String, &'a str)>, reserved: &str) -> Vec<(String, &'a str)> {
        for (name, value) in &self.labels {
            let name = label_name(name);
            let taken =
                name.starts_with("__") || name.starts_with(reserved) || own.iter().any(|(other, _)| *other == name);
            if !taken {
                own.push((name, value));
            }
        }
        own
    }
}

/// Everything that is switched on.
pub(super) fn render(page: &mut Exposition, snapshot: &Snapshot, info: &Info) {
    let Compat { sloth, sloth_alerts, pyrra } = info.compat;
    for entry in &snapshot.slos {
        let identity = Identity::of(&entry.slo);
        let period = Period::of(entry);
        if sloth {
            sloth_slo(page, entry, &identity, &period, &info.version);
        }
        if sloth_alerts {
            sloth_alerts_of(page, snapshot, &entry.slo, &identity);
        }
        if pyrra {
            pyrra_slo(page, entry, &identity, &period);
        }
    }
}

/// The SLO's own window.
struct Period {
    window_s: i64,
    ratio: Option<f64>,
    remaining: Option<f64>,
}

impl Period {
    /// Of one series what its status says; of several their sum.
    fn of(entry: &SloSnapshot) -> Self {
        let window_s = entry.slo.window_s;
        match (entry.series.as_slice(), &entry.whole) {
            ([one], _) if one.labels.is_empty() && one.window.total > 0 => {
                Period { window_s, ratio: one.window.error_ratio, remaining: one.budget_remaining }
            }
            (_, Some(whole)) => {
                let ratio = whole.period.error_ratio();
                Period { window_s, ratio, remaining: ratio.map(|ratio| 1.0 - ratio / entry.slo.budget()) }
            }
            (_, None) => Period { window_s, ratio: None, remaining: None },
        }
    }
}

fn or_nan(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

/// A ratio as it was written: 99.9 % is 0.999, not 0.9990000000000001.
fn objective(slo: &Slo) -> f64 {
    (slo.objective * 1e10).round() / 1e12
}

fn sloth_slo(page: &mut Exposition, entry: &SloSnapshot, identity: &Identity<'_>, period: &Period, version: &str) {
    let (slo, own) = (&*entry.slo, identity.sloth());
    let budget = slo.budget();
    let mut current = None;
    let windows = entry.whole.iter().flat_map(|whole: &Whole| &whole.windows);
    for window in windows.filter(|window| window.window_s != period.window_s) {
        let ratio = window.error_ratio();
        if window.window_s == 300 {
            current = ratio;
        }
        let name = window_name(window.window_s);
        page.sample(format!("{}{name}", compat::SLOTH_RATIO), &own, &[("sloth_window", &name)], or_nan(ratio));
    }
    let name = window_name(period.window_s);
    page.sample(format!("{}{name}", compat::SLOTH_RATIO), &own, &[("sloth_window", &name)], or_nan(period.ratio));
    for (name, value) in [
        (compat::SLOTH_OBJECTIVE, objective(slo)),
        (compat::SLOTH_BUDGET, budget),
        (compat::SLOTH_PERIOD, period.window_s as f64 / 86_400.0),
        (compat::SLOTH_CURRENT, or_nan(current.map(|ratio| ratio / budget))),
        (compat::SLOTH_PERIOD_BURN, or_nan(period.ratio.map(|ratio| ratio / budget))),
        (compat::SLOTH_REMAINING, or_nan(period.remaining)),
    ] {
        page.sample(name, &own, &[], value);
    }
    let percent = slo.objective.to_string();
    let describing = [
        ("sloth_version", version),
        ("sloth_mode", "slowburn"),
        ("sloth_spec", identity.spec),
        ("sloth_objective", &percent),
    ];
    page.sample(compat::SLOTH_INFO, &own, &describing, 1.0);
}

/// The burn alerts of an SLO as a server that evaluated Sloth's rules would show them: one a severity, whatever series
/// burn; a ticket also while a page fires, for inhibiting is what Alertmanager does later.
fn sloth_alerts_of(page: &mut Exposition, snapshot: &Snapshot, slo: &Slo, identity: &Identity<'_>) {
    let mut firing = BTreeSet::new();
    for alert in snapshot.alerts.iter().filter(|alert| alert.slo_id == slo.id && alert.resolved_at.is_none()) {
        let severity = match alert.kind {
            AlertKind::FastBurn => "page",
            AlertKind::SlowBurn => "ticket",
            AlertKind::Budget | AlertKind::DataMissing => continue,
        };
        firing.insert((severity, alert.labels.get("alertname").unwrap_or("SLOBurn")));
    }
    for (severity, name) in firing {
        let labels = [("alertname", name), ("alertstate", "firing"), ("sloth_severity", severity)];
        page.sample(compat::ALERTS, &identity.sloth(), &labels, 1.0);
    }
}

fn pyrra_slo(page: &mut Exposition, entry: &SloSnapshot, identity: &Identity<'_>, period: &Period) {
    let own = identity.pyrra();
    let of_five = |whole: &Whole| whole.windows.iter().find(|window| window.window_s == PYRRA_RATE_S)?.rates();
    let rates = entry.whole.as_ref().and_then(of_five);
    for (name, value) in [
        (compat::PYRRA_OBJECTIVE, objective(&entry.slo)),
        (compat::PYRRA_WINDOW, period.window_s as f64),
        (compat::PYRRA_AVAILABILITY, or_nan(period.ratio.map(|ratio| 1.0 - ratio))),
        (compat::PYRRA_REQUESTS, or_nan(rates.map(|(all, _)| all))),
        (compat::PYRRA_ERRORS, or_nan(rates.map(|(_, bad)| bad))),
    ] {
        page.sample(name, &own, &[], value);
    }
    if let Some(Whole { counted, .. }) = &entry.whole {
        page.sample(compat::PYRRA_REQUESTS_TOTAL, &own, &[], counted.total as f64);
        page.sample(compat::PYRRA_ERRORS_TOTAL, &own, &[], counted.bad as f64);
    }
}

#[cfg(test)]
mod tests;
