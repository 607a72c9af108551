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

use std::collections::{BTreeMap, BTreeSet};

use super::{Exposition, label_name};
use crate::engine::alert::AlertKind;
use crate::engine::{Slo, SloSnapshot, Snapshot, Whole};
use crate::spec::model::{Origin, OriginFormat};
use crate::telemetry::compat::{self, Compat, PYRRA_RATE_S, window_name};
use crate::web::Info;

/// What an SLO is called over there: by the file it was imported from, else by its own names.
struct PeerIdentity<'a> {
    id: String,
    service: &'a str,
    slo: &'a str,
    /// `sloth_spec`.
    spec: &'static str,
    /// The label `slo` of Pyrra.
    pyrra: &'a str,
    /// Labels that its file gave to every series.
    sloth_labels: Option<&'a BTreeMap<String, String>>,
    pyrra_labels: Option<&'a BTreeMap<String, String>>,
}

impl<'a> PeerIdentity<'a> {
    fn of(slo: &'a Slo, origin: Option<&'a Origin>) -> Self {
        let own = PeerIdentity {
            id: slo.id.clone(),
            service: &slo.service,
            slo: &slo.name,
            spec: "slowburn/v1",
            pyrra: &slo.id,
            sloth_labels: None,
            pyrra_labels: None,
        };
        let Some(origin) = origin else { return own };
        let spec = match origin.format {
            OriginFormat::Sloth => "prometheus/v1",
            OriginFormat::SlothResource => "sloth.slok.dev/v1",
            OriginFormat::Openslo => "openslo/v1",
            OriginFormat::Pyrra => {
                return PeerIdentity { pyrra: &origin.slo, pyrra_labels: Some(&origin.labels), ..own };
            }
            OriginFormat::SloGenerator => return own,
        };
        let service = origin.service.as_deref().unwrap_or(&slo.service);
        let id = format!("{service}-{}", origin.slo);
        PeerIdentity { id, service, slo: &origin.slo, spec, sloth_labels: Some(&origin.labels), ..own }
    }

    fn sloth(&self) -> Vec<(String, &str)> {
        let own = [("sloth_id", self.id.as_str()), ("sloth_service", self.service), ("sloth_slo", self.slo)];
        with_labels(own.to_vec(), self.sloth_labels, "sloth_")
    }

    fn pyrra(&self) -> Vec<(String, &str)> {
        with_labels(vec![("slo", self.pyrra)], self.pyrra_labels, "__")
    }
}

/// `own`, the labels of its file but for those that would hide one of these, and an empty `instance` and `job`: a server
/// that scrapes with `honor_labels: true` then adds none, and the series are as its own rules would have recorded them.
/// Pyrra's dashboards need that, for they match on all labels.
fn with_labels<'a>(
    own: Vec<(&str, &'a str)>,
    labels: Option<&'a BTreeMap<String, String>>,
    reserved: &str,
) -> Vec<(String, &'a str)> {
    let mut all: Vec<(String, &str)> = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let more = labels.into_iter().flatten().map(|(name, value)| (label_name(name), value.as_str()));
    for (name, value) in more.chain(["instance", "job"].map(|name| (name.to_owned(), ""))) {
        let taken = all.iter().any(|(other, _)| *other == name);
        if !taken && !name.starts_with("__") && !name.starts_with(reserved) {
            all.push((name, value));
        }
    }
    all
}

/// Everything that is switched on.
pub(super) fn render(page: &mut Exposition, snapshot: &Snapshot, info: &Info) {
    let Compat { sloth, sloth_alerts, pyrra } = info.compat;
    let mut taken = BTreeSet::new();
    for entry in &snapshot.slos {
        let mut identity = PeerIdentity::of(&entry.slo, info.origins.get(&entry.slo.id));
        // Two files may have called theirs the same; the second one keeps its own name.
        if !taken.insert(identity.id.clone()) | !taken.insert(format!("{}\n", identity.pyrra)) {
            identity = PeerIdentity::of(&entry.slo, None);
        }
        let period = PeerPeriod::of(entry);
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
struct PeerPeriod {
    window_s: i64,
    ratio: Option<f64>,
    remaining: Option<f64>,
}

impl PeerPeriod {
    /// Of one series what its status says; of several their sum.
    fn of(entry: &SloSnapshot) -> Self {
        let window_s = entry.slo.window_s;
        let unlabelled = entry.series.iter().find(|series| series.labels.is_empty() && series.window.total > 0);
        match (unlabelled, &entry.whole) {
            (Some(one), _) => PeerPeriod { window_s, ratio: one.window.error_ratio, remaining: one.budget_remaining },
            (_, Some(whole)) => {
                let ratio = whole.period.error_ratio();
                PeerPeriod { window_s, ratio, remaining: whole.remaining }
            }
            (_, None) => PeerPeriod { window_s, ratio: None, remaining: None },
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

fn sloth_slo(
    page: &mut Exposition,
    entry: &SloSnapshot,
    identity: &PeerIdentity<'_>,
    period: &PeerPeriod,
    version: &str,
) {
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
fn sloth_alerts_of(page: &mut Exposition, snapshot: &Snapshot, slo: &Slo, identity: &PeerIdentity<'_>) {
    let mut firing = BTreeSet::new();
    for alert in snapshot.alerts.iter().filter(|alert| alert.slo_id == slo.id && alert.resolved_at.is_none()) {
        let severity = match alert.kind {
            AlertKind::FastBurn => "page",
            AlertKind::SlowBurn => "ticket",
            AlertKind::Budget | AlertKind::DataMissing | AlertKind::ChangeWorse | AlertKind::BreakGlass => continue,
        };
        firing.insert((severity, alert.labels.get("alertname").unwrap_or("SLOBurn")));
    }
    for (severity, name) in firing {
        let labels = [("alertname", name), ("alertstate", "firing"), ("sloth_severity", severity)];
        page.sample(compat::ALERTS, &identity.sloth(), &labels, 1.0);
    }
}

fn pyrra_slo(page: &mut Exposition, entry: &SloSnapshot, identity: &PeerIdentity<'_>, period: &PeerPeriod) {
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
