//! What a daemon says of one service: an event of `GET /v1/services/{name}/stream`, for the end that writes it and the one that
//! reads it.
//!
//! Each event holds everything, so one that was missed is no loss, and what is gone from the rules is gone from the next
//! event. A reader takes whole events or none: one that cannot be true is the end of the stream.
//!
//! Deliberately absent: who may hear it. Reads are guarded where all reads are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{DataState, Seconds, SeriesStatus, SloState};

/// The form that is written and read here. Members may be added within it; what a member means never changes.
pub const VERSION: u32 = 1;
/// Longest event, bytes; a writer leaves series out to stay below, a reader reads no more.
pub const EVENT_BYTES_MAX: usize = 512 * 1024;
/// Longest time between two polls that settings allow, seconds.
const POLL_MAX_S: i64 = 3_600;
/// Longest time between two signs of life, seconds.
const HEARTBEAT_MAX_S: u64 = 60;
/// Most SLOs of one service.
const SLOS_MAX: usize = 1_000;
/// Longest word of another program: a code, a state.
const WORD_MAX: usize = 64;
/// Most codes of one signal.
const CODES_MAX: usize = 64;

/// A service at one moment. `S` is an SLO: borrowed where it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceState<S = MirroredSlo> {
    /// [`VERSION`].
    pub version: u32,
    /// Who says it.
    pub source: Speaker,
    /// The service.
    pub service: String,
    /// End of the newest evaluated slice; 0 before the first evaluation.
    pub at: Seconds,
    /// The source's time when it said this.
    pub now_ms: i64,
    /// Time between its polls: two of them without a word, and nothing is known.
    pub poll_interval_s: i64,
    /// Time between its signs of life on the stream.
    pub heartbeat_s: u64,
    /// Whether changes of this service are decided there.
    pub gate: GateStanding,
    /// What robots would be told; none where nothing is decided.
    pub signals: Option<Signals>,
    /// The SLOs of the service in id order.
    pub slos: Vec<S>,
}

/// The process that speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speaker {
    /// Another one with each start of a process.
    pub instance: String,
    /// Its version.
    pub version: String,
    /// The digest of its rules.
    pub config_hash: String,
}

/// Whether changes of a service are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateStanding {
    /// It has a policy.
    Decides,
    /// It has none: nothing is allowed.
    NoPolicy,
    /// The source has no gate.
    None,
}

/// What `/v1/signals/{service}` says of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// By class.
    pub signals: BTreeMap<String, SignalValue>,
    /// Whether the service is being changed.
    pub change_state: Value,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalValue {
    /// 1 yes, 0 no, -1 not known.
    pub value: i8,
    /// Why not 1. Words and no enum: a newer source knows more of them.
    pub codes: Vec<String>,
}

/// An SLO as `/v1/slos/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the members are those of web::view::SloView, which says what they mean")]
pub struct MirroredSlo {
    pub id: String,
    pub service: String,
    pub name: String,
    pub owner: String,
    pub state: SloState,
    pub objective: f64,
    pub budget_ratio: f64,
    pub window: String,
    pub window_s: i64,
    pub unit: String,
    pub quantile: Option<f64>,
    pub by: Vec<String>,
    pub clauses: Value,
    pub annotations: BTreeMap<String, String>,
    pub exclusions: Value,
    pub notes: Vec<String>,
    pub series: Vec<SeriesStatus>,
    /// Series that the source left out, the best ones, for want of room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub series_left_out: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like that")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl MirroredSlo {
    /// What is left of it when nothing is known: what was promised, and no number that was measured.
    pub fn unknown(&self) -> Self {
        MirroredSlo { state: SloState::Unknown, series: Vec::new(), series_left_out: 0, ..self.clone() }
    }
}

impl ServiceState {
    /// Reads an event of the stream that was opened for `service`.
    ///
    /// # Errors
    /// It is not of this form, or it cannot be true.
    pub fn read(data: &str, service: &str) -> Result<Self, Fault> {
        let told: ServiceState = serde_json::from_str(data).map_err(|_| Fault::Form)?;
        told.judge(service).map(|()| told)
    }

    fn judge(&self, service: &str) -> Result<(), Fault> {
        if self.version != VERSION {
            return Err(Fault::Version(self.version));
        }
        let is_word = |text: &str| !text.is_empty() && text.len() <= WORD_MAX && text.chars().all(|c| !c.is_control());
        let holds = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(Fault::Untrue(what)) };
        holds(self.service == service, "it is of another service")?;
        holds(is_word(&self.source.instance), "it does not say who speaks")?;
        holds((1..=POLL_MAX_S).contains(&self.poll_interval_s), "nobody polls like that")?;
        holds((1..=HEARTBEAT_MAX_S).contains(&self.heartbeat_s), "no sign of life comes like that")?;
        holds(self.at >= 0 && self.now_ms > 0, "it is of no time")?;
        let now = self.now_ms.div_euclid(1000);
        holds(self.at <= now.saturating_add(self.poll_interval_s), "it is of a time to come")?;
        holds(self.slos.len() <= SLOS_MAX, "it has too many SLOs")?;
        let mut ids = BTreeSet::new();
        for slo in &self.slos {
            holds(slo.service == service, "one of its SLOs is of another service")?;
            holds(!slo.id.is_empty() && ids.insert(&slo.id), "two of its SLOs have one id")?;
            let says_ok = slo.state == SloState::Ok;
            let absent = slo.series.iter().all(|series| series.data.state == DataState::Absent);
            holds(!(says_ok && absent), "an SLO without data is well")?;
        }
        holds((self.gate == GateStanding::Decides) == self.signals.is_some(), "its gate and its signals differ")?;
        for (class, signal) in self.signals.iter().flat_map(|signals| &signals.signals) {
            holds(is_word(class), "a signal is of no class")?;
            holds((-1..=1).contains(&signal.value), "a signal is neither yes nor no")?;
            let codes = &signal.codes;
            holds(codes.len() <= CODES_MAX && codes.iter().all(|code| is_word(code)), "a code is no word")?;
            // A yes has no reasons against it.
            holds(signal.value < 1 || codes.is_empty(), "a signal that says yes has reasons against it")?;
        }
        Ok(())
    }
}

/// Why an event is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is no event of this form.
    Form,
    /// It is of another version.
    Version(u32),
    /// It cannot be true.
    Untrue(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Form => f.write_str("an event has not the form of a service's state"),
            Fault::Version(other) => write!(f, "it speaks version {other} of the stream, and this program {VERSION}"),
            Fault::Untrue(what) => write!(f, "an event cannot be true: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mirror::standing::tests::state;

    type Change = fn(&mut Value);

    fn read(change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let mut value = serde_json::to_value(state("a", 1_790_000_000, 1_790_000_005_000)).expect("plain data");
        change(&mut value);
        ServiceState::read(&value.to_string(), "checkout").map(drop).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_cannot_be_true_is_not_believed() {
        assert_eq!(read(|_| ()), Ok(()));
        assert_eq!(read(|value| value["further"] = 1.into()), Ok(()), "members may be added");
        let rows: [(&str, Change); 12] = [
            ("speaks version 2", |value| value["version"] = 2.into()),
            ("of another service", |value| value["service"] = "payments".into()),
            ("nobody polls like that", |value| value["poll_interval_s"] = 0.into()),
            ("nobody polls like that", |value| value["poll_interval_s"] = 4_000_000.into()),
            ("no sign of life", |value| value["heartbeat_s"] = 0.into()),
            ("of a time to come", |value| value["at"] = 1_790_000_100.into()),
            ("of no time", |value| value["at"] = (-1).into()),
            ("neither yes nor no", |value| value["signals"]["signals"]["risk"]["value"] = 2.into()),
            ("a signal that says yes has reasons against it", |value| {
                value["signals"]["signals"]["risk"]["codes"] = vec!["halted"].into()
            }),
            ("its gate and its signals differ", |value| value["signals"] = Value::Null),
            ("not the form", |value| value["slos"] = "none".into()),
            ("does not say who speaks", |value| value["source"]["instance"] = "a\nb".into()),
        ];
        for (expected, change) in rows {
            let fault = read(change).expect_err(expected);
            assert!(fault.contains(expected), "{fault}");
        }
        assert!(ServiceState::read("", "checkout").is_err() && ServiceState::read("[]", "checkout").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            assert!(ServiceState::read(&text, "checkout").is_err());
        }
    }
}
