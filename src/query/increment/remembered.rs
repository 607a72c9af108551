//! What a tracker hands on to one that reads on from where it stopped, and what it says of counters that could not be placed.

use super::Tracker;
use super::cursors::{Asleep, bound};
use super::unplaced::Unplaced;
use crate::engine::Labels;
use crate::query::plan::Plan;

/// What reading older history leaves to whoever reads on: he would book and say the same, had he read it himself.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The last value of each raw series.
    last: Vec<(u128, Asleep)>,
    /// By id of the SLO.
    unplaced: Vec<(String, Unplaced)>,
}

impl Tracker {
    /// What must be said of SLIs of which first samples or new values could not be placed, where these still lie in
    /// their longest window at `now_ms`.
    pub fn notes(&self, plan: &Plan, now_ms: i64) -> impl Iterator<Item = (usize, String)> {
        let wholes = self.series.iter().filter(|series| series.labels.is_empty());
        wholes.filter_map(move |series| {
            let counts = series.unplaced.since(now_ms - plan.slis[series.sli].longest_s * 1000);
            let sum: u64 = counts.values().map(|count| u64::from(*count)).sum();
            let reasons: Vec<String> =
                counts.iter().map(|(reason, count)| format!("{} {count}", reason.as_str())).collect();
            let said = || {
                let times = if sum == 1 { "once".to_owned() } else { format!("{sum} times") };
                let reasons = reasons.join(", ");
                format!("counters began or fell {times} in a way that cannot be counted ({reasons}): counts may be low")
            };
            (sum > 0).then(|| (series.sli, said()))
        })
    }

    /// What those who read on from here have to know.
    pub fn remembered(&self, plan: &Plan) -> Remembered {
        let last = self.raws.iter().filter_map(|raw| Some((raw.key, Asleep::of(raw.last?))));
        let wholes = self.series.iter().filter(|series| series.labels.is_empty());
        Remembered {
            last: last.collect(),
            unplaced: wholes.map(|series| (plan.slis[series.sli].id.clone(), series.unplaced.clone())).collect(),
        }
    }

    /// Takes what reading older history leaves; what is followed already is known better. Nothing is older than `kept_ms`
    /// before `now_ms`, where the newer reads stand: what was seen behind that is still to be counted.
    pub fn remember(&mut self, plan: &Plan, older: Remembered, now_ms: i64, kept_ms: i64) {
        for (key, last) in older.last {
            if last.at_ms <= now_ms && !self.raw_ids.contains_key(&key) {
                self.asleep.entry(key).or_insert(last);
            }
        }
        bound(&mut self.asleep, now_ms - kept_ms);
        for (id, unplaced) in older.unplaced {
            let Some(sli) = plan.slis.iter().position(|sli| sli.id == id) else { continue };
            let series = self.series_id(sli, Labels::new()) as usize;
            for (of, more) in unplaced.0 {
                self.series[series].unplaced.add(of, more);
            }
        }
    }

    /// Forgets what lies in no window any more.
    pub(super) fn forget_unplaced(&mut self, oldest_ms: i64) {
        self.series.iter_mut().for_each(|series| series.unplaced.forget_before(oldest_ms));
    }
}
