//! Which requests are asked together: a group that fails is split, and parts that are well are merged again.
//!
//! One SLO whose selector the server refuses, or whose answer is too large or too late, must not blind those that share
//! its request. So a group is halved until the one that fails is alone; each half that answers is well at once. What is
//! still too large alone is summed by the server, and summed without its children when those are too many.
//!
//! A fault that says nothing of the query (no connection, a server that is down for all) splits nothing: that would only
//! ask more of it. What was split is merged again after a while, and later each time it fails again.
//!
//! Deliberately absent: what was counted. Whoever counts is told by [`GroupChanges`] what it has to begin anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{info, warn};

use super::fault::Fault;
use super::group::Group;
use super::options::SourceOptions;
use super::span::ReadSpan;
use crate::query::fetch::Ask;
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
struct Origin {
    /// All of its requests.
    fetches: Vec<Fetch>,
    /// When its parts are merged again; `None` while there is one part.
    heal_s: Option<i64>,
    /// How long that took the last time.
    pause_s: i64,
}

/// Where an SLO stood when an earlier process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupStand {
    /// How far it was read, seconds.
    pub read_s: i64,
    /// The server sums its raw series.
    pub aggregated: bool,
    /// Its children are not told apart.
    pub undivided: bool,
}

/// What follows from splitting or summing a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GroupChanges {
    /// Groups that can be asked at once.
    pub ask: Vec<usize>,
    /// SLIs whose raw series the server sums from now on: cursors say nothing of them any more.
    pub summed: Vec<usize>,
    /// SLIs that answer with another number of rows from now on.
    pub recount: Vec<usize>,
}

/// All groups of a source.
#[derive(Debug)]
pub(super) struct Groups {
    plan: Arc<Plan>,
    options: SourceOptions,
    groups: Vec<Group>,
    /// The groups of the plan, which `groups` are parts of.
    origins: Vec<Origin>,
    /// The group that answers for each SLI; `None` for one without a source.
    group_of: Vec<Option<usize>>,
    /// The group that reads who waits, of SLIs that are queues.
    waiting_of: Vec<Option<usize>>,
}

impl Groups {
    /// The groups of a plan, of which nothing was read.
    pub fn new(plan: Arc<Plan>, options: SourceOptions) -> Self {
        let fetches = |members: Vec<usize>| members.into_iter().map(|i| plan.fetches[i].clone()).collect();
        let groups: Vec<Group> =
            plan.groups().into_iter().zip(0..).map(|(members, i)| Group::new(i, fetches(members))).collect();
        let origin = |group: &Group| Origin { fetches: group.fetches.clone(), heal_s: None, pause_s: HEAL_S / 2 };
        let origins = groups.iter().map(origin).collect();
        let of = vec![None; plan.slis.len()];
        let mut groups = Groups { plan, options, groups, origins, group_of: of.clone(), waiting_of: of };
        groups.find();
        groups
    }

    /// The groups of a plan as an earlier process left them: SLOs that did not stand alike were apart, and are again.
    pub fn restored(
        plan: Arc<Plan>,
        options: SourceOptions,
        until_s: i64,
        raw_series: usize,
        stand: impl Fn(&str) -> GroupStand,
    ) -> Self {
        let mut all = Groups::new(plan, options);
        let plan = Arc::clone(&all.plan);
        let stand = |sli: &usize| stand(&plan.slis[*sli].id);
        all.groups =
            std::mem::take(&mut all.groups).into_iter().flat_map(|group| parted(&plan, group, stand)).collect();
        for group in &mut all.groups {
            let lone = GroupStand { read_s: until_s, aggregated: false, undivided: false };
            let GroupStand { read_s, aggregated, undivided } = group.slis.iter().map(stand).min().unwrap_or(lone);
            (group.read_s, group.answered_s, group.restored) = (Some(read_s), Some(read_s), true);
            (group.raw_series, group.undivided) = (raw_series, undivided);
            if aggregated && group.ask == Ask::Counter {
                group.sum_from(until_s, all.options.resolution_s);
            }
        }
        all.find();
        all
    }

    /// Finds again which group answers for each SLI.
    fn find(&mut self) {
        for (i, group) in self.groups.iter().enumerate() {
            for &sli in &group.slis {
                let waiting = group.ask == Ask::Gauge && self.plan.slis[sli].queue.is_some();
                let of = if waiting { &mut self.waiting_of } else { &mut self.group_of };
                of[sli] = Some(i);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut()
    }

    pub fn get(&self, i: usize) -> &Group {
        &self.groups[i]
    }

    pub fn get_mut(&mut self, i: usize) -> &mut Group {
        &mut self.groups[i]
    }

    /// The groups that `wanted` names, by place.
    pub fn places(&self, wanted: impl Fn(&Group) -> bool) -> Vec<usize> {
        (0..self.groups.len()).filter(|&i| wanted(&self.groups[i])).collect()
    }

    /// The place of the group that answers for an SLI; `None` of one without a source.
    pub fn place_of(&self, sli: usize) -> Option<usize> {
        self.group_of[sli]
    }

    /// The group that answers for an SLI; `None` of one without a source.
    pub fn of(&self, sli: usize) -> Option<&Group> {
        self.group_of[sli].map(|i| &self.groups[i])
    }

    /// The group that reads who waits in a queue.
    pub fn waiting_of(&self, sli: usize) -> Option<&Group> {
        self.waiting_of[sli].map(|i| &self.groups[i])
    }

    /// What to read next of these groups, on the way to `at_s`.
    pub fn spans(&self, places: &[usize], at_s: i64) -> Vec<ReadSpan> {
        let together = places.iter().map(|&i| self.groups[i].expected_series()).sum();
        places.iter().map(|&i| self.groups[i].next_span(i, at_s, together, &self.options)).collect()
    }

    /// The end of the newest read of any group; `None` before the first.
    pub fn read_until_s(&self) -> Option<i64> {
        self.groups.iter().filter_map(|group| group.read_s).max()
    }

    /// The end of the newest read that was answered; `None` before the first.
    pub fn answered_until_s(&self) -> Option<i64> {
        self.groups.iter().filter_map(|group| group.answered_s).max()
    }

    /// A request of a group failed; `others` says whether another group answered in the same step.
    pub fn failed(&mut self, span: &ReadSpan, fault: &Fault, others: bool, at_s: i64) -> GroupChanges {
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
            return GroupChanges::default();
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
                GroupChanges { ask: vec![i], ..self.sum_from(i, span.from_s) }
            }
            Ask::Counter if too_large && !group.undivided => {
                warn!(
                    query = group.name(),
                    "the answer is too large even when the server sums it: children are no longer counted one by one"
                );
                GroupChanges { ask: vec![i], ..self.divide_no_more(i) }
            }
            _ => {
                // What cannot be read is left behind: cursors bridge it, and the newest may be less.
                let newest_s = at_s - self.options.poll_interval_s;
                let group = &mut self.groups[i];
                let long_ago = group.read_s.is_some_and(|read_s| read_s < at_s - GIVEN_UP_AFTER_S);
                if long_ago && fault.is_of_the_query() {
                    warn!(query = group.name(), to_s = newest_s, "a part of the past cannot be read and is skipped");
                    group.read_s = Some(newest_s);
                }
                GroupChanges::default()
            }
        }
    }

    /// A group answered with `largest` series, more than one request should; `sizes` are the raw series of each SLI. It is
    /// split by size; an SLO that has too many alone is summed by the server.
    pub fn grown(&mut self, i: usize, largest: usize, sizes: &[usize], at_s: i64) -> GroupChanges {
        let (most, group) = (self.options.raw_series_max, &self.groups[i]);
        if group.slis.len() > 1 {
            let mut parts: Vec<Vec<usize>> = Vec::new();
            let mut room = 0;
            for &sli in &group.slis {
                let size = sizes[sli].max(1);
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
            return GroupChanges { ask: Vec::new(), ..self.split(i, parts, at_s, "too_many_series") };
        }
        match (group.ask, group.aggregated, group.undivided, group.read_s) {
            (Ask::Counter, false, _, Some(read_s)) => {
                info!(query = group.name(), raw_series = largest, "the server sums it from now on");
                self.sum_from(i, read_s)
            }
            (Ask::Counter, true, false, _) if largest > CHILD_ROWS_MIN => {
                warn!(
                    query = group.name(),
                    rows = largest,
                    "there are too many children: they are no longer counted one by one"
                );
                self.divide_no_more(i)
            }
            _ => GroupChanges::default(),
        }
    }

    /// From `from_s` on the server sums the series of a group; up to there everything is booked.
    fn sum_from(&mut self, i: usize, from_s: i64) -> GroupChanges {
        self.groups[i].sum_from(from_s, self.options.resolution_s);
        let slis = self.groups[i].slis.clone();
        GroupChanges { summed: slis.clone(), recount: slis, ask: Vec::new() }
    }

    /// From now on the children of a group are not asked for.
    fn divide_no_more(&mut self, i: usize) -> GroupChanges {
        self.groups[i].undivided = true;
        GroupChanges { recount: self.groups[i].slis.clone(), ..GroupChanges::default() }
    }

    fn split(&mut self, i: usize, parts: Vec<Vec<usize>>, at_s: i64, why: &str) -> GroupChanges {
        let origin = self.groups[i].origin;
        let there = self.groups.iter().filter(|group| group.origin == origin).count();
        if there + parts.len() > PARTS_MAX + 1 {
            return GroupChanges::default();
        }
        let Some(made) = parts_of(&self.plan, &self.groups[i], parts) else { return GroupChanges::default() };
        info!(
            query = self.groups[i].name(),
            parts = made.len(),
            why,
            "a group of requests is split: each part is asked by itself"
        );
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
        self.find();
        GroupChanges { ask: places, ..GroupChanges::default() }
    }

    /// Merges parts that are well and read alike, where it is time to try.
    pub fn merge_healed(&mut self, at_s: i64) {
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
        let fetches = self.plan.narrowed(&self.origins[origin].fetches, &slis);
        let raw_series: usize = parts.iter().map(|&i| self.groups[i].raw_series).sum();
        if fetches.is_empty() || raw_series > self.options.raw_series_max {
            return;
        }
        let warned = parts.iter().any(|&i| self.groups[i].warned);
        let mut merged = self.groups[parts[0]].part(fetches);
        (merged.raw_series, merged.warned) = (raw_series, warned);
        info!(query = merged.name(), parts = parts.len(), "the parts of a group of requests are asked together again");
        let mut place = 0;
        self.groups.retain(|_| {
            place += 1;
            !parts.contains(&(place - 1))
        });
        self.groups.push(merged);
        self.find();
    }
}

/// The parts of a group whose SLIs share a key.
fn parted<K: Ord>(plan: &Plan, group: Group, key: impl Fn(&usize) -> K) -> Vec<Group> {
    let mut parts: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for &sli in &group.slis {
        parts.entry(key(&sli)).or_default().push(sli);
    }
    match parts.len() {
        0 | 1 => vec![group],
        _ => parts_of(plan, &group, parts.into_values().collect()).unwrap_or_else(|| vec![group]),
    }
}

/// A group in parts of these SLIs; `None` where one of them would have no request.
fn parts_of(plan: &Plan, group: &Group, parts: Vec<Vec<usize>>) -> Option<Vec<Group>> {
    let part = |slis: Vec<usize>| {
        let fetches = plan.narrowed(&group.fetches, &slis.iter().copied().collect());
        (!fetches.is_empty()).then(|| group.part(fetches))
    };
    parts.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    const SLO: &str =
        "owner: t\nslo: {availability: {objective: 99, sli: {total: 'm{s=\"NAME\"}', bad: 'm{s=\"NAME\",c=\"5\"}'}}}\n";

    fn groups(services: usize) -> Groups {
        let texts: Vec<(String, String)> = (0..services)
            .map(|n| (format!("{n}.yaml"), format!("name: s{n}\n{}", SLO.replace("NAME", &format!("s{n}")))))
            .collect();
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let loaded = spec::load_texts(&texts, &spec::Options::default());
        let (plan, refused) = Plan::new(&loaded.model);
        assert!(refused.is_empty() && plan.slis.len() == services, "{refused:?}");
        Groups::new(Arc::new(plan), SourceOptions::default())
    }

    /// A cold start reads six hours. Of a large fleet all answers of one such step were half of the memory it ever took.
    #[test]
    fn a_step_of_a_large_fleet_covers_less_time() {
        let at_s = 1_800_000_000;
        let longest_s = |services: usize, series: usize| {
            let mut groups = groups(services);
            for group in groups.iter_mut() {
                group.read_s = Some(at_s - 6 * 3600);
                group.raw_series = series * group.slis.len();
            }
            let spans = groups.spans(&groups.places(|_| true), at_s);
            spans.iter().map(|span| span.to_s - span.from_s).max().expect("a group")
        };
        assert_eq!(longest_s(20, 0), 6 * 3600, "a few are read at once");
        let (unseen_s, seen_s) = (longest_s(6_000, 0), longest_s(6_000, 2));
        assert!(unseen_s * 6_000 / 15 <= 4_000_000 && unseen_s >= 2 * 3600, "{unseen_s} s before the first answer");
        assert!(seen_s * 12_000 / 15 <= 4_000_000 && seen_s >= 3600, "{seen_s} s of two series each");
    }
}
