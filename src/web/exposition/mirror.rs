//! What a sidecar shows in `/metrics`: signals and SLOs of one service under the names that the daemon has for them, and how
//! far they are known. The process beside the service is told from the daemon by the job and the instance of the scrape.

use super::{Exposition, labels_of, policy_burns, status_of};
use crate::engine::{Labels, SloState};
use crate::mirror::Signals;
use crate::mirror::wire::MirroredSlo;
use crate::telemetry::names;

/// Classes that have a signal.
const CLASSES: [&str; 2] = ["mitigate", "risk"];
/// States of change that the label of the metric has.
const CHANGE_STATES: [&str; 5] = ["idle", "in_flight", "settling", "frozen", "halted"];

/// One page of metrics.
pub struct MirrorPage<'a> {
    /// The service.
    pub service: &'a str,
    /// Its SLOs; without series where nothing is known.
    pub slos: &'a [MirroredSlo],
    /// Its signals; `None` where nothing is known, or where nothing is decided.
    pub signals: Option<&'a Signals>,
    /// Why nothing is known, or `none`.
    pub reason: &'a str,
    /// Since the source said something.
    pub age_s: Option<f64>,
    /// Age of the newest evaluated slice.
    pub lag_s: Option<i64>,
}

impl MirrorPage<'_> {
    /// As text.
    pub fn render(&self) -> String {
        let mut page = Exposition::default();
        page.sample(names::BUILD_INFO, &[], &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        page.sample(names::MIRROR_STATE, &[], &[("service", self.service), ("reason", self.reason)], 1.0);
        page.known(names::MIRROR_AGE_SECONDS, &[], &[("service", self.service)], self.age_s);
        page.known(names::EVALUATION_LAG_SECONDS, &[], &[], self.lag_s.map(|lag| lag as f64));
        for class in CLASSES {
            // Of a service that nothing is decided of there is no signal, here and at the daemon.
            let value = match (self.signals, self.reason) {
                (Some(signals), _) => signals.signals.get(class).map(|signal| signal.value),
                (None, "none") => None,
                (None, _) => Some(-1),
            };
            let labels = [("service", self.service), ("class", class)];
            page.known(names::SAFE_TO_ACT, &[], &labels, value.map(f64::from));
        }
        let change = self.signals.and_then(|signals| signals.change_state["state"].as_str());
        if let Some(state) = change.filter(|state| CHANGE_STATES.contains(state)) {
            page.sample(names::CHANGE_STATE, &[], &[("service", self.service), ("state", state)], 1.0);
        }
        let none = Labels::new();
        for slo in self.slos {
            let own = labels_of(&slo.id, &slo.service, &slo.name, &none);
            page.sample(names::SLO_OBJECTIVE_RATIO, &own, &[], (slo.objective * 1e10).round() / 1e12);
            if slo.series.is_empty() {
                debug_assert_eq!(slo.state, SloState::Unknown);
                page.sample(names::SLO_STATE, &own, &[("state", "unknown")], 1.0);
            }
            for series in &slo.series {
                let own = labels_of(&slo.id, &slo.service, &slo.name, &series.labels);
                status_of(&mut page, &own, series);
                policy_burns(&mut page, &own, series);
            }
        }
        page.finish()
    }
}
