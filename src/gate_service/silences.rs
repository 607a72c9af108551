//! Silences of others: shown beside an answer, and written down when they begin and end, so that an incident shows who kept
//! which alerts quiet. No check of a decision reads them: a silence loosens nothing.
//!
//! Deliberately absent: which there are; whoever looks at the Alertmanagers says so.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

use super::GateService;
use super::answer::moment;
use super::record::SELF;
use crate::audit::record::{Kind, Record};
use crate::engine::Seconds;

/// Beginnings and ends that one look writes down at most.
const RECORDED_MAX: usize = 100;
/// Silences that an answer shows at most.
const SHOWN_MAX: usize = 10;
/// Pairs of a silence and a service that are known at a time: one silence of everything is about every service.
const KNOWN_MAX: usize = 50_000;

/// A silence and the services that it is about; its texts are short and neutral.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silenced {
    /// Its id there.
    pub id: String,
    /// Who says to have made it.
    pub by: String,
    /// Why.
    pub comment: String,
    /// Since when.
    pub starts_at: Seconds,
    /// Until when.
    pub ends_at: Seconds,
    /// Services whose alerts it keeps quiet, or that it names.
    pub services: BTreeSet<String>,
}

/// Those that were seen last, by service and id; the services stand there alone.
pub(super) type Silences = BTreeMap<(String, String), Silenced>;

/// What holds of a service, the newest first, and how many more there are.
pub(super) fn shown(all: &Silences, service: &str, now: Seconds) -> (Vec<Value>, usize) {
    let of = all.iter().filter(|((of, _), silence)| of == service && silence.ends_at > now);
    let mut holding: Vec<&Silenced> = of.map(|(_, silence)| silence).collect();
    holding.sort_by_key(|silence| (std::cmp::Reverse(silence.starts_at), &silence.id));
    let shown = holding.iter().take(SHOWN_MAX).map(|silence| {
        json!({
            "id": silence.id, "by": silence.by, "comment": silence.comment, "since": moment(silence.starts_at),
            "until": moment(silence.ends_at),
        })
    });
    let shown: Vec<Value> = shown.collect();
    let left_out = holding.len() - shown.len();
    (shown, left_out)
}

/// That it began, or ended, for the services that it has here.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SilenceTold {
    #[serde(flatten)]
    silence: Silenced,
    holds: bool,
}

impl SilenceTold {
    /// As the log told it.
    pub fn put(mut self, all: &mut Silences) {
        for service in std::mem::take(&mut self.silence.services) {
            let key = (service, self.silence.id.clone());
            match self.holds && all.len() < KNOWN_MAX {
                true => drop(all.insert(key, self.silence.clone())),
                false => drop(all.remove(&key)),
            }
        }
    }
}

fn record(service: &str, silence: &Silenced, holds: bool, time_ms: i64) -> Record {
    let action = if holds { "silence_began" } else { "silence_ended" };
    let mut record = Record::new(Kind::Incident, SELF, action, time_ms);
    record.service = Some(service.to_owned());
    record.resource = Some(format!("silence/{}", silence.id));
    record.reason = Some(silence.comment.clone()).filter(|comment| !comment.is_empty());
    let told = SilenceTold { silence: Silenced { services: [service.to_owned()].into(), ..silence.clone() }, holds };
    record.event = Some(serde_json::to_value(told).expect("a silence is plain data"));
    record
}

impl GateService {
    /// Every service there is.
    pub fn services(&self) -> BTreeSet<String> {
        self.read().rules.services.clone()
    }

    /// These silences hold now, and no others. Of what began and ended so much is written down as fits.
    pub async fn take_silences(&self, all: Vec<Silenced>) {
        let mut new: Silences = BTreeMap::new();
        let mut unknown = 0;
        for mut silence in all {
            for service in std::mem::take(&mut silence.services) {
                match new.len() < KNOWN_MAX {
                    true => drop(new.insert((service, silence.id.clone()), silence.clone())),
                    false => unknown += 1,
                }
            }
        }
        if unknown > 0 {
            warn!(unknown, "silences are about more services than are looked at");
        }
        let now_ms = self.0.clock.now_ms();
        let (mut records, mut left_out) = (Vec::new(), 0);
        {
            let known = self.0.reported.silences();
            let began = new.iter().filter(|(key, _)| !known.contains_key(*key)).map(|one| (one, true));
            let ended = known.iter().filter(|(key, _)| !new.contains_key(*key)).map(|one| (one, false));
            for (((service, _), silence), holds) in began.chain(ended) {
                match records.len() < RECORDED_MAX {
                    true => records.push(record(service, silence, holds, now_ms)),
                    false => left_out += 1,
                }
            }
        }
        self.0.reported.take_silences(new);
        if !self.leads() {
            return;
        }
        for record in records {
            if let Err(refused) = self.log().append(record).await {
                warn!(%refused, "a silence could not be recorded in the audit log");
                return;
            }
        }
        if left_out > 0 {
            warn!(left_out, "more silences began and ended at once than are recorded in the audit log");
        }
    }
}
