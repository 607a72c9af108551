//! What must be said of the history that was read of SLOs: that range queries counted it, or that it does not go back as
//! far as it was wanted. It is said for as long as a window holds it, by whoever goes on from the state file too.
//!
//! Deliberately absent: history that has not been read yet; that is `history`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Slo;
use crate::prometheus::Fault;
use crate::prometheus::backfill::{Older, Short};
use crate::store::Said;

/// By SLO. Shared with who keeps it: of a large fleet it is much, and changes only when history was read.
#[derive(Debug, Default)]
pub struct Reach(Arc<[Said]>);

impl Reach {
    /// Takes note of what a backfill of these SLOs, up to `to_s`, fell short of. Answers the SLOs of which nothing was read,
    /// with why.
    pub fn note(&mut self, order: &[Arc<Slo>], older: &Older, to_s: i64) -> Vec<(String, Fault)> {
        let mut unread = Vec::new();
        let mut said = Vec::new();
        let moment = |at_s: i64| {
            jiff::Timestamp::from_second(at_s).unwrap_or_default().strftime("%Y-%m-%d %H:%M UTC").to_string()
        };
        for (sli, slo) in order.iter().enumerate() {
            let mut say = |of_s: i64, note: String| {
                let until_s = of_s.saturating_add(slo.longest_s());
                said.push(Said { slo_id: slo.id.clone(), until_s, note });
            };
            match older.short.get(&sli) {
                None => {}
                Some(Short { since_s: Some(since_s), fault }) => {
                    say(*since_s, format!("history goes back to {} only: {fault}", moment(*since_s)));
                }
                Some(Short { since_s: None, fault }) => unread.push((slo.id.clone(), fault.clone())),
            }
            if older.approximate.contains(&sli) {
                let note = format!(
                    "approximate history: before {} it was counted by range queries over five minutes and an hour, which \
                     lose events at restarts and where scrapes fail",
                    moment(to_s)
                );
                say(to_s, note);
            }
        }
        self.replace(order.iter().map(|slo| slo.id.as_str()).collect(), said);
        unread
    }

    /// Says `said`, and nothing else of these SLOs.
    fn replace(&mut self, ids: BTreeSet<&str>, said: Vec<Said>) {
        let others = self.0.iter().filter(|said| !ids.contains(said.slo_id.as_str())).cloned();
        let mut all: Vec<Said> = others.chain(said.iter().cloned()).collect();
        all.sort_by(|a, b| a.slo_id.cmp(&b.slo_id));
        self.0 = all.into();
    }

    /// What to say of them.
    pub fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|said| (said.slo_id.as_str(), said.note.as_str()))
    }

    /// All of it, to be kept.
    pub fn said(&self) -> Arc<[Said]> {
        Arc::clone(&self.0)
    }

    /// What an earlier process said of SLOs whose history it read, or that were not in force for a while.
    pub fn say_again(&mut self, said: Vec<Said>) {
        self.replace(said.iter().map(|said| said.slo_id.as_str()).collect(), said.clone());
    }

    /// What no window holds any more at `at_s` is said no longer.
    pub fn forget(&mut self, at_s: i64) {
        self.keep(|said| said.until_s > at_s);
    }

    /// Says nothing of SLOs that `keep` does not name.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.keep(|said| keep(&said.slo_id));
    }

    fn keep(&mut self, keep: impl Fn(&Said) -> bool) {
        if !self.0.iter().all(&keep) {
            self.0 = self.0.iter().filter(|said| keep(said)).cloned().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Ledger, burn};

    const DAY: i64 = 86_400;

    fn older(approximate: bool, short: Option<Option<i64>>) -> Older {
        Older {
            ledger: Ledger::new(30),
            joined: Vec::new(),
            requests: 0,
            samples: 0,
            bytes: 0,
            short: short.map(|since_s| (0, Short { since_s, fault: Fault::Timeout })).into_iter().collect(),
            approximate: approximate.then_some(0).into_iter().collect(),
            queried: 0,
            remembered: Default::default(),
        }
    }

    #[test]
    fn what_range_queries_counted_is_said_while_a_window_holds_it() {
        let slo = Arc::new(burn::tests::slo(99.0));
        let (order, to_s) = ([Arc::clone(&slo)], 1_790_000_000);
        let begins = |reach: &Reach| -> Vec<String> {
            reach.notes().map(|(_, note)| note.split([':', ' ']).next().unwrap_or_default().to_owned()).collect()
        };
        let mut reach = Reach::default();
        assert!(reach.note(&order, &older(true, Some(Some(to_s - 3 * DAY))), to_s).is_empty());
        assert_eq!(begins(&reach), ["history", "approximate"]);
        // The older end leaves the windows first.
        reach.forget(to_s - 3 * DAY + slo.longest_s());
        assert_eq!(begins(&reach), ["approximate"]);
        let mut restarted = Reach::default();
        restarted.say_again(reach.said().to_vec());
        assert_eq!(restarted.said(), reach.said());
        for reach in [&mut reach, &mut restarted] {
            reach.forget(to_s + slo.longest_s() - 1);
            assert_eq!(begins(reach), ["approximate"]);
            reach.forget(to_s + slo.longest_s());
            assert!(reach.said().is_empty());
        }
        // What was read anew, raw, is approximate no longer; of what was not read at all nothing is said here.
        reach.note(&order, &older(true, None), to_s);
        assert_eq!(reach.note(&order, &older(false, Some(None)), to_s), [(slo.id.clone(), Fault::Timeout)]);
        assert!(reach.said().is_empty());
    }
}
