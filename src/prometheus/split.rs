//! Which requests are asked together: a group that fails is split, and parts that are well are merged again.
//!
//! One SLO whose selector the server refuses, or whose answer is too large or too late, must not blind those that share
//! its request. So a group is halved until the one that fails is alone; each half that answers is well at once. What is
//! still too large alone is summed by the server, and summed without its children when those are too many.
//!
//! A fault that says nothing of the query (no connection, a server that is down for all) splits nothing: that would only
//! ask more of it. What was split is merged again after a while, and later each time it fails again.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::fault::Fault;
use super::group::{Group, Span};
use super::source::Source;
use crate::query::plan::Ask;
use crate::query::{Fetch, Plan};

/// Polls that a group must fail in, one after the other, before it is split for a fault that may be the server's.
const PATIENCE: u32 = 2;
/// ... and where no other group answers to show that the server is well.
const PATIENCE_ALONE: u32 = 10;
/// A stretch that a request fails on alone is tried for this long, seconds.
const GIVEN_UP_AFTER_S: i64 = 1800;
/// Sums by child are never too many while they are fewer than this, whatever `raw_series_max` says.
const CHILD_ROWS_MIN: usize = 2_000;
/// Parts are merged again after this long, seconds, and at most so long.
const HEAL_S: i64 = 900;
const HEAL_MAX_S: i64 = 86_400;
/// Most parts of one group of the plan: a server that fails in turn with everything is not asked for everything alone.
const PARTS_MAX: usize = 64;

/// A group of the plan, which may be asked in parts.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// All of its requests.
    fetches: Vec<Fetch>,
    /// When its parts are merged again; `None` while there is one part.
    heal_s: Option<i64>,
    /// How long that took the last time.
    pause_s: i64,
}

impl Origin {
    pub fn new(fetches: Vec<Fetch>) -> Self {
        Origin { fetches, heal_s: None, pause_s: HEAL_S / 2 }
    }
}

/// The parts of a group whose SLIs share a key.
pub(super) fn by<K: Ord>(plan: &Plan, group: Group, key: impl Fn(&usize) -> K) -> Vec<Group> {
    let mut parts: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for &sli in &group.slis {
        parts.entry(key(&sli)).or_default().push(sli);
    }
    match parts.len() {
        0 | 1 => vec![group],
        _ => made(plan, &group, parts.into_values().collect()).unwrap_or_else(|| vec![group]),
    }
}

fn made(plan: &Plan, group: &Group, parts: Vec<Vec<usize>>) -> Option<Vec<Group>> {
    let part = |slis: Vec<usize>| {
        let fetches = plan.narrowed(&group.fetches, &slis.iter().copied().collect::<BTreeSet<_>>())?;
        (!fetches.is_empty()).then(|| group.part(fetches))
    };
    parts.into_iter().map(part).collect()
}

impl Source {
    /// A request of a group failed. Answers which groups can be asked at once: its parts, if it was split.
    pub(super) fn split_failed(&mut self, span: &Span, fault: &Fault, others: bool, at_s: i64) -> Vec<usize> {
        let i = span.group;
        let group = &self.groups[i];
        let due = match fault {
            Fault::TooLarge(_) if group.can_ask_less(span) => false,
            fault if fault.is_of_the_query() => true,
            Fault::Unreachable(_) => false,
            _ if others => group.failures >= PATIENCE,
            _ => group.failures == PATIENCE_ALONE,
        };
        if !due {
            return Vec::new();
        }
        if group.slis.len() > 1 {
            let (left, right) = group.slis.split_at(group.slis.len() / 2);
            let halves = vec![left.to_vec(), right.to_vec()];
            return self.split(i, halves, at_s, fault.code());
        }
        let too_large = matches!(fault, Fault::TooLarge(_));
        match group.ask {
            Ask::Counter if too_large && !group.aggregated => {
                warn!(query = group.name(), "the answer is too large: the server sums it from now on");
                self.sum_from(i, span.from_s);
                vec![i]
            }
            Ask::Counter if too_large && !group.undivided => {
                warn!(
                    query = group.name(),
                    "the answer is too large even as sums: children are not told apart any more"
                );
                self.divide_no_more(i);
                vec![i]
            }
            _ => {
                // What cannot be read is left behind: cursors bridge it, and the newest may be less.
                let newest_s = at_s - self.options.poll_interval_s;
                let group = &mut self.groups[i];
                let long_ago = group.read_s.is_some_and(|read_s| read_s < at_s - GIVEN_UP_AFTER_S);
                if long_ago && fault.is_of_the_query() {
                    warn!(query = group.name(), to_s = newest_s, "a stretch that cannot be read is left behind");
                    group.read_s = Some(newest_s);
                }
                Vec::new()
            }
        }
    }

    /// A group answered with more series than one request should. It is split by size; an SLO that has too many alone is
    /// summed by the server.
    pub(super) fn split_grown(&mut self, i: usize, largest: usize, at_s: i64) {
        let (most, group) = (self.options.raw_series_max, &self.groups[i]);
        if group.slis.len() > 1 {
            let counts = self.raw_series_of_slis();
            let mut parts: Vec<Vec<usize>> = Vec::new();
            let mut room = 0;
            for &sli in &group.slis {
                let size = counts[sli].max(1);
                if parts.is_empty() || size > room {
                    parts.push(Vec::new());
                    room = most;
                }
                parts.last_mut().expect("one was just pushed").push(sli);
                room = room.saturating_sub(size);
            }
            if parts.len() < 2 {
                let (left, right) = group.slis.split_at(group.slis.len() / 2);
                parts = vec![left.to_vec(), right.to_vec()];
            }
            self.split(i, parts, at_s, "too_many_series");
            return;
        }
        match (group.ask, group.aggregated, group.undivided, group.read_s) {
            (Ask::Counter, false, _, Some(read_s)) => {
                info!(query = group.name(), raw_series = largest, "the server sums it from now on");
                self.sum_from(i, read_s);
            }
            (Ask::Counter, true, false, _) if largest > CHILD_ROWS_MIN => {
                warn!(
                    query = group.name(),
                    rows = largest,
                    "children are so many that they are not told apart any more"
                );
                self.divide_no_more(i);
            }
            _ => {}
        }
    }

    /// From now on the children of a group are not asked for.
    fn divide_no_more(&mut self, i: usize) {
        self.groups[i].undivided = true;
        let slis = self.groups[i].slis.clone();
        self.count_anew(&slis);
    }

    fn split(&mut self, i: usize, parts: Vec<Vec<usize>>, at_s: i64, why: &str) -> Vec<usize> {
        let origin = self.groups[i].origin;
        let there = self.groups.iter().filter(|group| group.origin == origin).count();
        if there + parts.len() > PARTS_MAX + 1 {
            return Vec::new();
        }
        let Some(made) = made(&self.plan, &self.groups[i], parts) else { return Vec::new() };
        info!(query = self.groups[i].name(), parts = made.len(), why, "a group of requests is split");
        let mut places = vec![i];
        places.extend(self.groups.len()..self.groups.len() + made.len().saturating_sub(1));
        let mut made = made.into_iter();
        if let Some(first) = made.next() {
            self.groups[i] = first;
        }
        self.groups.extend(made);
        let origin = &mut self.origins[origin];
        if origin.heal_s.is_none() {
            origin.pause_s = (2 * origin.pause_s).min(HEAL_MAX_S);
        }
        origin.heal_s = Some(at_s + origin.pause_s);
        self.find_groups();
        places
    }

    /// Merges parts that are well and read alike, where it is time to try.
    pub(super) fn merge_healed(&mut self, at_s: i64) {
        for origin in 0..self.origins.len() {
            if self.origins[origin].heal_s.is_none_or(|heal_s| at_s < heal_s) {
                continue;
            }
            let well = |group: &Group| group.origin == origin && group.failures == 0 && !group.aggregated;
            let mut alike: BTreeMap<Option<i64>, Vec<usize>> = BTreeMap::new();
            for (i, group) in self.groups.iter().enumerate().filter(|(_, group)| well(group)) {
                alike.entry(group.read_s).or_default().push(i);
            }
            let most = alike.into_values().max_by_key(Vec::len).unwrap_or_default();
            if most.len() > 1 {
                self.merge(origin, &most);
            }
            let parts = self.groups.iter().filter(|group| group.origin == origin).count();
            let origin = &mut self.origins[origin];
            origin.heal_s = (parts > 1).then_some(at_s + origin.pause_s);
        }
    }

    fn merge(&mut self, origin: usize, parts: &[usize]) {
        let slis: BTreeSet<usize> = parts.iter().flat_map(|&i| self.groups[i].slis.iter().copied()).collect();
        let Some(fetches) = self.plan.narrowed(&self.origins[origin].fetches, &slis) else { return };
        let raw_series: usize = parts.iter().map(|&i| self.groups[i].raw_series).sum();
        if fetches.is_empty() || raw_series > self.options.raw_series_max {
            return;
        }
        let warned = parts.iter().any(|&i| self.groups[i].warned);
        let mut merged = self.groups[parts[0]].part(fetches);
        (merged.raw_series, merged.warned) = (raw_series, warned);
        info!(query = merged.name(), parts = parts.len(), "parts of a group of requests are one again");
        let mut place = 0;
        self.groups.retain(|_| {
            place += 1;
            !parts.contains(&(place - 1))
        });
        self.groups.push(merged);
        self.find_groups();
    }
}
