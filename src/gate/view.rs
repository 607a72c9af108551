//! What a decision sees of one service: a small extract of a snapshot and the ledger. It can be written down, and a
//! decision made again from it.

mod build;
mod onset;

use serde::{Deserialize, Serialize};

use super::action::ActionClass;
use super::observed::Observed;
use crate::engine::slo::Speed;
use crate::engine::{DataReason, DataState, Labels, Seconds, SloState};

pub use build::Scene;

/// One service at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// The service.
    pub service: String,
    /// End of the newest evaluated slice.
    pub at: Seconds,
    /// Its SLOs in id order.
    pub slos: Vec<SloView>,
    /// The services it depends on.
    pub upstreams: Vec<Upstream>,
    /// Median burn rate over the shortest windows of services that did not change within the last hour.
    pub peers: Option<f64>,
    /// What its versions were like.
    pub history: Vec<VersionRecord>,
    /// What runs.
    pub observed: Observed,
    /// The resources it says that it has; `None` where it does not say.
    #[serde(default)]
    pub resources: Option<Vec<String>>,
    /// How the gate itself stands.
    pub health: Health,
}

/// One SLO: of several series the worst in each respect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloView {
    /// Its id.
    pub id: String,
    /// Percent of good events.
    pub objective: f64,
    /// Error budget, ratio.
    pub budget: f64,
    /// Series it has.
    pub series: u64,
    /// The series the numbers are of: the one that burns most.
    pub worst: Labels,
    /// State of that series.
    pub state: SloState,
    /// Since when it is in that state, within six hours.
    pub since: Option<Seconds>,
    /// When its errors began to rise, where the ledger shows it.
    pub onset: Option<Seconds>,
    /// The worst data state of all series.
    pub data: DataState,
    /// Why.
    pub data_reason: DataReason,
    /// Oldest of the series' newest samples.
    pub newest: Option<Seconds>,
    /// Least of all series; ratio, may be negative.
    pub budget_remaining: Option<f64>,
    /// Windows of the clauses, shortest first.
    pub windows: Vec<WindowView>,
    /// Burn clauses.
    pub clauses: Vec<ClauseView>,
}

/// One window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowView {
    /// Length, seconds.
    pub window_s: i64,
    /// Events, or judged slices.
    pub total: u64,
    /// Bad ones.
    pub bad: u64,
    /// Burn rate.
    pub burn: Option<f64>,
}

/// One burn clause.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClauseView {
    /// Fast or slow.
    pub speed: Speed,
    /// Long window, seconds.
    pub long_s: i64,
    /// Short window, seconds.
    pub short_s: i64,
    /// Factor both windows must exceed.
    pub factor: f64,
    /// Whether it fires.
    pub firing: bool,
}

/// A service this one depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its name.
    pub service: String,
    /// The worst state of its SLOs; `Unknown` where it has none.
    pub state: SloState,
    /// When its errors began to rise.
    pub onset: Option<Seconds>,
}

/// What an SLO was while a version ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// What ran.
    pub resource: String,
    /// Its version.
    pub version: String,
    /// The SLO.
    pub slo: String,
    /// Events, or judged slices.
    pub total: u64,
    /// Bad ones.
    pub bad: u64,
}

/// What a machine may not do in a state of the gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stops {
    /// It may do everything.
    #[default]
    Nothing,
    /// No risk.
    Risks,
    /// No risk and no cure.
    Cures,
}

impl Stops {
    /// Whether acts of this class wait.
    pub fn stops(self, class: ActionClass) -> bool {
        match self {
            Stops::Nothing => false,
            Stops::Risks => class == ActionClass::Risk,
            Stops::Cures => class != ActionClass::Observe,
        }
    }
}

/// How the gate itself stands. Whatever is not known is not well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The newest policy files are in force, not older ones in their place.
    pub policy_current: bool,
    /// History has been read as far as the decisions need.
    pub warm: bool,
    /// The audit log can be written.
    pub audit_writable: bool,
    /// The audit log was proved complete: what is remembered from it is what was written.
    #[serde(default = "yes")]
    pub log_proved: bool,
    /// This process is the one that decides.
    #[serde(default = "yes")]
    pub leads: bool,
    /// What waits because too few witnesses have seen the log.
    #[serde(default)]
    pub unwitnessed: Stops,
    /// Prometheus's clock less ours, seconds; `None` where it is not known.
    pub clock_skew_s: Option<f64>,
    /// Some channel to approvers works.
    pub can_ask: bool,
}

/// Records of before have no word of it.
fn yes() -> bool {
    true
}

impl View {
    /// A service of which nothing is known but what runs.
    pub fn bare(service: &str, observed: Observed, health: Health) -> Self {
        View {
            service: service.to_owned(),
            at: 0,
            slos: Vec::new(),
            upstreams: Vec::new(),
            peers: None,
            history: Vec::new(),
            observed,
            resources: None,
            health,
        }
    }

    /// The SLO with this id.
    pub fn slo(&self, id: &str) -> Option<&SloView> {
        self.slos.iter().find(|slo| slo.id == id)
    }
}

impl SloView {
    /// The window of this length.
    pub fn window(&self, window_s: i64) -> Option<&WindowView> {
        self.windows.iter().find(|window| window.window_s == window_s)
    }

    /// The long window of the first clause: what "now" means to a decision.
    pub fn recent(&self) -> Option<&WindowView> {
        self.clauses.first().and_then(|clause| self.window(clause.long_s))
    }

    /// The shortest window.
    pub fn shortest(&self) -> Option<&WindowView> {
        self.windows.first()
    }

    /// Whether a clause of it fires.
    pub fn burns(&self) -> bool {
        matches!(self.state, SloState::FastBurn | SloState::SlowBurn)
    }
}
