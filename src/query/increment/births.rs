//! What the first sample of a series is worth: all it holds, the difference to a series it goes on from, or nothing.
//!
//! A counter's first sample is its lifetime total. It is news only where something proves that the target cannot have
//! counted it before: its process, or the counter itself, began since the scrape before; or the scrape before was made
//! by the same scraper (one scrape writes one timestamp), did not show it, and what it holds can have been gained since.
//! A first sample beside a series that has just ended, with the same labels but for some, is that series under another
//! name. Everything else sets the start, and is said.
//!
//! Some of that shows only with the next scrape: whether the older series really ended, and how busy a target is that
//! had counted nothing yet. Such a birth waits for it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::accumulator::Accumulator;
use super::cursors::Raw;
use super::delta::{CounterDelta, follow};
use super::evidence::{Evidence, PACE_MULTIPLE};
use super::pair::Count;
use super::reason::Reason;
use super::{ReadDeltas, Tracker, book};

/// Pairs of a birth and a sibling that are looked at in one read: a tenth of a second of work.
const PAIRS_MAX: usize = 5_000_000;
/// The process of a target that was never seen before is young up to this age, milliseconds.
const YOUNG_MS: i64 = 300_000;
/// The clock of a target may be ahead of the one that stamps its samples by this much, milliseconds.
const AHEAD_MS: i64 = 60_000;
/// Reading begins with the first sample that comes within this time, milliseconds, or within two scrapes.
const FIRST_MS: i64 = 120_000;
/// A series goes on from one that ended no more than so many scrapes before.
const ENDED_INTERVALS: f64 = 2.5;
/// ... and one that was not seen for so many has ended.
const MISSED_INTERVALS: f64 = 1.5;
/// The scrape interval where it is not known yet, milliseconds.
const INTERVAL_MS: i64 = 60_000;
/// A birth waits for the next scrape of its target no longer than this, milliseconds.
const WAITS_MS: i64 = 3_600_000;
/// So few events can be gained between two scrapes of a target that was idle so far.
const FEW_BORN: f64 = 5.0;
/// Labels that may be added, dropped or renamed at once.
const LABELS_CHANGED: usize = 3;

/// A first sample that is not placed yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Birth {
    /// Its cursor.
    pub key: u128,
    pub at_ms: i64,
    pub count: Count,
    /// Since when its SLIs are read, milliseconds.
    pub since_ms: i64,
    /// When the counter began, as the source stores it.
    pub start_ms: Option<i64>,
    pub waits: Waits,
    /// The raw series it is made of, for older history to be joined on.
    pub raws: Vec<u128>,
}

/// What a birth waits for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Waits {
    Nothing,
    /// Whether this older cursor has ended.
    End(u128),
    /// What its target gains next; it was scraped before at this moment.
    Pace(i64),
}

enum Decision {
    Book { events: Count, from_ms: Option<i64>, why: Reason, ends: Option<u32> },
    Start(Reason),
    Wait(Waits),
}

/// Name and value of a label, hashed.
pub(super) type LabelHash = (u32, u32);

/// The labels of a raw series and what else tells its cursor from others, to compare them with those of another.
pub(super) fn label_hashes(labels: &[(String, String)], bound: u128) -> Box<[LabelHash]> {
    let own = labels.iter().filter(|(name, _)| name != "le").map(|(name, value)| (hash(name), hash(value)));
    let mut hashes: Vec<LabelHash> = own.chain([(hash("le"), bound as u32)]).collect();
    hashes.sort_unstable();
    hashes.into_boxed_slice()
}

fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// How many labels were added, dropped or renamed from one to the other; `None` where they are two different series.
fn changed(from: &[LabelHash], to: &[LabelHash]) -> Option<usize> {
    let only = |of: &[LabelHash], not: &[LabelHash]| -> Vec<LabelHash> {
        of.iter().filter(|label| not.binary_search(label).is_err()).copied().collect()
    };
    let (dropped, added) = (only(from, to), only(to, from));
    let name = hash("__name__");
    if dropped.iter().chain(&added).any(|label| label.0 == name || label.0 == hash("le")) {
        return None;
    }
    let values = |of: &[LabelHash]| {
        let mut values: Vec<u32> = of.iter().map(|label| label.1).collect();
        values.sort_unstable();
        values
    };
    let renamed = dropped.len() == added.len() && values(&dropped) == values(&added);
    let count = dropped.len().max(added.len());
    let one_sided = dropped.is_empty() != added.is_empty();
    ((1..=LABELS_CHANGED).contains(&count) && (one_sided || renamed)).then_some(count)
}

impl Tracker {
    /// Places the births of this read and those that waited for it.
    pub(super) fn place_births(
        &mut self,
        evidence: &Evidence,
        new: Vec<Birth>,
        until_ms: i64,
        accumulators: &mut BTreeMap<u32, Accumulator>,
        found: &mut ReadDeltas,
    ) {
        let mut births = std::mem::take(&mut self.births);
        births.extend(new);
        if births.is_empty() {
            return;
        }
        births.sort_by_key(|birth| (birth.at_ms, birth.key));
        let mut of_target: HashMap<u32, Vec<u32>> = HashMap::new();
        let targets = births.iter().filter_map(|birth| self.raw_ids.get(&birth.key));
        of_target.extend(targets.map(|&id| (self.raws[id as usize].target, Vec::new())));
        for (raw, id) in self.raws.iter().zip(0..) {
            if let Some(of) = of_target.get_mut(&raw.target).filter(|_| raw.last.is_some()) {
                of.push(id);
            }
        }
        // What is compared in pairs is bounded: of a target with so many series at once nobody can say which goes on as which.
        let mut pairs = PAIRS_MAX;
        for birth in births {
            let Some(&id) = self.raw_ids.get(&birth.key) else { continue };
            let siblings = of_target.get(&self.raws[id as usize].target).map_or(&[][..], Vec::as_slice);
            let siblings = if pairs >= siblings.len() { siblings } else { &[] };
            pairs = pairs.saturating_sub(siblings.len());
            let decision = self.decide(evidence, &birth, id, siblings, until_ms);
            let raw = &self.raws[id as usize];
            let feeds = raw.feeds.as_deref().unwrap_or(&[]);
            let none = CounterDelta {
                from_ms: None,
                at_ms: birth.at_ms,
                events: Count::default(),
                hole: false,
                why: Reason::First,
            };
            let (delta, ends) = match decision {
                Decision::Book { events, from_ms, why, ends } => {
                    let delta = CounterDelta { events, from_ms, why, ..none };
                    book(
                        &mut self.fanout,
                        &self.series,
                        self.resolution_ms,
                        raw.kind,
                        feeds.iter(),
                        &delta,
                        accumulators,
                    );
                    (delta, ends)
                }
                Decision::Start(why) => {
                    self.begins(feeds, birth.at_ms, Some(why), accumulators);
                    if self.joining {
                        self.starts.extend(birth.raws.iter().map(|&raw| (raw, birth.at_ms)));
                    }
                    (CounterDelta { why, ..none }, None)
                }
                Decision::Wait(waits) => {
                    self.begins(feeds, birth.at_ms, None, accumulators);
                    self.births.push(Birth { waits, ..birth });
                    continue;
                }
            };
            *found.reasons.entry(delta.why).or_default() += 1;
            if let Some(tracing) = &mut self.tracing {
                tracing.place(birth.key, birth.count, &delta);
            }
            if let Some(ended) = ends {
                self.raws[ended as usize].last = None;
            }
        }
    }

    fn decide(&self, evidence: &Evidence, birth: &Birth, id: u32, siblings: &[u32], until_ms: i64) -> Decision {
        match birth.waits {
            Waits::Nothing => {}
            Waits::Pace(was_ms) => return self.by_next_scrape(evidence, birth, id, was_ms, until_ms),
            Waits::End(older) => {
                let older = self.raw_ids.get(&older).copied();
                return match older.filter(|&older| self.raws[older as usize].last.is_some()) {
                    Some(older) => self.goes_on(evidence, birth, id, older, until_ms),
                    None => Decision::Start(Reason::NotPlaced),
                };
            }
        }
        let raw = &self.raws[id as usize];
        let (target, of) = (raw.target, &self.targets[raw.target as usize]);
        let (at_ms, since_ms) = (birth.at_ms, birth.since_ms);
        let looked_for = |at: &i64| *at >= since_ms;
        let previous = evidence.previous(of, target, at_ms).filter(looked_for);
        let together = evidence.scraped_with(target, at_ms).filter(looked_for);
        let all = |why| Decision::Book { events: birth.count, from_ms: None, why, ends: None };
        let process_ms = evidence.process_at(target, at_ms);
        if let Some(began_ms) = birth.start_ms.or(process_ms) {
            let young = began_ms >= since_ms.max(at_ms - YOUNG_MS) && began_ms <= at_ms + AHEAD_MS;
            match together.or(previous) {
                None if young => return all(Reason::YoungTarget),
                None => {}
                Some(before_ms) => {
                    let anew = began_ms > before_ms
                        || birth.start_ms.is_none() && evidence.began_anew(of, target, before_ms, at_ms) == Some(true);
                    // Counters that went on are not those of the process that began.
                    let gone_on = evidence.rose(target, at_ms) > 0 && evidence.fell(target, at_ms) == 0;
                    if anew && (birth.start_ms.is_some() || !gone_on) {
                        return all(Reason::BornWithProcess);
                    }
                }
            }
        }
        if let Some(older) = self.ended(evidence, birth, id, siblings) {
            return self.goes_on(evidence, birth, id, older, until_ms);
        }
        if birth.start_ms.zip(previous).is_some_and(|(began_ms, before_ms)| began_ms <= before_ms) {
            return Decision::Start(Reason::Older);
        }
        let Some(was_ms) = together else {
            let patience_ms = of.interval_ms().map_or(FIRST_MS, |every| FIRST_MS.max(2 * every));
            let first = previous.is_none() && at_ms.saturating_sub(since_ms) <= patience_ms;
            return Decision::Start(match () {
                () if first || since_ms == i64::MIN && previous.is_none() => Reason::First,
                () if previous.is_none() && process_ms.is_some() => Reason::Older,
                () => Reason::NotPlaced,
            });
        };
        let value = birth.count.whole;
        let by_pace = || evidence.limit(self, raw, was_ms, at_ms).is_some_and(|limit| value <= limit);
        if value <= FEW_BORN || value <= evidence.gained(raw, at_ms) || by_pace() {
            return all(Reason::Born);
        }
        self.by_next_scrape(evidence, birth, id, was_ms, until_ms)
    }

    /// It can have been gained since `was_ms` if the target goes on like that.
    fn by_next_scrape(&self, evidence: &Evidence, birth: &Birth, id: u32, was_ms: i64, until_ms: i64) -> Decision {
        let raw = &self.raws[id as usize];
        let Some(next_ms) = evidence.next(raw.target, birth.at_ms) else {
            return match until_ms - birth.at_ms > WAITS_MS {
                true => Decision::Start(Reason::TooMuch),
                false => Decision::Wait(Waits::Pace(was_ms)),
            };
        };
        let pace = evidence.gained(raw, next_ms) / (next_ms - birth.at_ms).max(1) as f64;
        match birth.count.whole <= PACE_MULTIPLE * pace * (birth.at_ms - was_ms) as f64 {
            true => Decision::Book { events: birth.count, from_ms: None, why: Reason::Born, ends: None },
            false => Decision::Start(Reason::TooMuch),
        }
    }

    /// The series that ended shortly before, has the same labels but for some, and stood no higher.
    fn ended(&self, evidence: &Evidence, birth: &Birth, id: u32, siblings: &[u32]) -> Option<u32> {
        let raw = &self.raws[id as usize];
        let every_ms = self.interval_before(evidence, raw.target, birth.at_ms);
        let own = raw.labels.as_deref()?;
        let near = |&&older: &&u32| {
            let older = &self.raws[older as usize];
            older.last.is_some_and(|last| {
                let since_ms = birth.at_ms - last.at_ms;
                since_ms > 0
                    && since_ms as f64 <= ENDED_INTERVALS * every_ms as f64
                    && last.count.whole <= birth.count.whole
                    && older.kind == raw.kind
            })
        };
        let candidates = siblings.iter().filter(near).filter_map(|&older| {
            let other = &self.raws[older as usize];
            let labels = changed(other.labels.as_deref()?, own)?;
            Some((labels, birth.count.whole - other.last?.count.whole, older))
        });
        candidates.min_by(|a, b| (a.0, a.2).cmp(&(b.0, b.2)).then(a.1.total_cmp(&b.1))).map(|(.., older)| older)
    }

    fn interval_before(&self, evidence: &Evidence, target: u32, at_ms: i64) -> i64 {
        // The births' own moment may be off the beat: a scrape loop that begins anew has another phase.
        evidence.interval_ms(&self.targets[target as usize], target, at_ms - 1).unwrap_or(INTERVAL_MS)
    }

    /// Whether a birth goes on from an older series: it must have ended, and the difference must be possible.
    fn goes_on(&self, evidence: &Evidence, birth: &Birth, id: u32, older: u32, until_ms: i64) -> Decision {
        let raw = &self.raws[id as usize];
        let Some(last) = self.raws[older as usize].last.filter(|last| last.at_ms < birth.at_ms) else {
            return Decision::Start(Reason::NotPlaced);
        };
        let every_ms = self.interval_before(evidence, raw.target, birth.at_ms);
        let missed = (until_ms - last.at_ms) as f64 >= MISSED_INTERVALS * every_ms as f64;
        let left_out = evidence.scraped_with(raw.target, birth.at_ms) == Some(last.at_ms);
        if !missed && !left_out {
            return Decision::Wait(Waits::End(self.raws[older as usize].key));
        }
        let (events, _) = follow(last.count, birth.count);
        let before = Some(last.count.whole);
        match evidence.possible(self, raw, events.whole, before, last.at_ms, birth.at_ms) {
            true => Decision::Book { events, from_ms: Some(last.at_ms), why: Reason::Continued, ends: Some(older) },
            false => Decision::Start(Reason::TooMuch),
        }
    }
}

impl Raw {
    /// The paces of the SLIs that it counts for.
    pub(super) fn paces(&self) -> impl Iterator<Item = u32> + '_ {
        self.feeds.iter().flatten().map(|feed| feed.pace)
    }

    /// The paces that it moves, each once.
    pub(super) fn total_paces(&self) -> impl Iterator<Item = u32> + '_ {
        self.feeds.iter().flatten().filter(|feed| feed.leads).map(|feed| feed.pace)
    }
}
