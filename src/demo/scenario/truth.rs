//! What really happened behind the samples, and what of it they can show.

use super::{PodId, Scenario};
use crate::demo::count::Count;

/// What really happened in a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truth {
    /// All events.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Events that some scrape can have seen: without those a dying process took with it.
    pub seen_total: u64,
    /// Bad ones among them.
    pub seen_bad: u64,
}

impl Truth {
    /// `bad / total`; `None` without events.
    pub fn ratio(&self) -> Option<f64> {
        (self.total > 0).then(|| self.bad as f64 / self.total as f64)
    }

    /// `seen_bad / seen_total`; `None` without events.
    pub fn seen_ratio(&self) -> Option<f64> {
        (self.seen_total > 0).then(|| self.seen_bad as f64 / self.seen_total as f64)
    }
}

/// What is true of an SLI on one pod.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub pod: usize,
    pub total: Count,
    pub bad: Count,
}

impl Scenario {
    /// States what is true of SLI `sli` on this pod while it lives; several pods add up.
    pub fn truth_of(&mut self, sli: &str, pod: PodId, total: &Count, bad: &Count) {
        let known = Known { pod: pod.0, total: total.clone(), bad: bad.clone() };
        self.truths.entry(sli.to_owned()).or_default().push(known);
    }

    /// Names of the SLIs whose truth is known.
    pub fn slis(&self) -> impl Iterator<Item = &str> {
        self.truths.keys().map(String::as_str)
    }

    /// What really happened to `sli` in the seconds [from, to); `None` for an SLI it does not know.
    pub fn truth(&self, sli: &str, from: i64, to: i64) -> Option<Truth> {
        let mut truth = Truth::default();
        for known in self.truths.get(sli)? {
            let pod = &self.pods[known.pod];
            let (from, to) = (from.max(pod.starts[0]), pod.end.map_or(to, |end| end.min(to)));
            let (total, bad) = (known.total.between(from, to), known.bad.between(from, to));
            let (mut lost_total, mut lost_bad) = (0, 0);
            for (lost_from, lost_to) in self.lost(known.pod, from, to) {
                lost_total += known.total.between(lost_from, lost_to);
                lost_bad += known.bad.between(lost_from, lost_to);
            }
            truth.total += total;
            truth.bad += bad;
            truth.seen_total += total - lost_total;
            truth.seen_bad += bad - lost_bad;
        }
        Some(truth)
    }

    /// The spans within [from, to) whose events died with their process: from a life's last scrape to its end.
    fn lost(&self, pod: usize, from: i64, to: i64) -> Vec<(i64, i64)> {
        let pod = &self.pods[pod];
        let ends = pod.lives().filter_map(|(start, end)| Some((start, end?)));
        ends.filter(|&(start, end)| end > from && start < to)
            .filter_map(|(start, end)| {
                let last = pod.runs(start * 1000, end * 1000 - 1).last().map(|run| pod.at_ms(run.last));
                let unseen_from = last.map_or(start, |at_ms| at_ms.div_euclid(1000) + 1);
                let span = (unseen_from.max(from), end.min(to));
                (span.0 < span.1).then_some(span)
            })
            .collect()
    }

    /// `(total, bad)` that the scrapes in [from, to) are the first to show, where nothing before `oldest` is kept: the
    /// first scrape of a life that began before `oldest` only sets a start. `None` for an SLI it does not know.
    ///
    /// It is what an exact reader books, to the event; [`Scenario::truth`] differs from it at the ends of a window by what
    /// happened since the last scrape.
    pub fn scraped(&self, sli: &str, oldest: i64, from: i64, to: i64) -> Option<(u64, u64)> {
        let (mut total, mut bad) = (0, 0);
        for known in self.truths.get(sli)? {
            let pod = &self.pods[known.pod];
            for (start, end) in pod.lives() {
                let kept_from = start.max(oldest);
                let end = end.map_or(to, |end| end.min(to));
                let second = |scrape: i64| pod.at_ms(scrape).div_euclid(1000) + 1;
                let before = pod.runs(kept_from * 1000, end.min(from) * 1000 - 1).last().map(|run| second(run.last));
                let first = pod.runs(kept_from * 1000, end * 1000 - 1).first().map(|run| second(run.first));
                let Some(last) = pod.runs(kept_from * 1000, end * 1000 - 1).last().map(|run| second(run.last)) else {
                    continue;
                };
                let counted_from = match before {
                    Some(at) => at,
                    None if start < oldest => first.unwrap_or(last),
                    None => start,
                };
                total += known.total.between(counted_from, last);
                bad += known.bad.between(counted_from, last);
            }
        }
        Some((total, bad))
    }
}
