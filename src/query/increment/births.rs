//! What the first sample of a series is worth: all it holds, the difference to a series it goes on from, or nothing.
//!
//! A counter's first sample is its lifetime total. It is news only where something proves that the target cannot have
//! counted it before: its process, or the counter itself, began since the scrape before; or the scrape before was made
//! by the same scraper (one scrape writes one timestamp), did not show it, and what it holds can have been gained since.
//! A first sample beside a series that has just ended, with the same labels but for some, is that series under another
//! name; where it reads a little lower the next sample will be as high again, so it sets the start. Everything else sets
//! the start too, and is said.
//!
//! Some of that shows only with the next scrape: whether the older series really ended, and how busy a target is that
//! had counted nothing yet. Such a birth waits for it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::accumulator::{Accumulator, book};
use super::cursors::Raw;
use super::delta::{CounterDelta, follow};
use super::ended::Ended;
use super::evidence::TargetEvidence;
use super::pace::{PACE_MULTIPLE, SLIP};
use super::pair::Count;
use super::reason::Reason;
use super::{ReadDeltas, Tracker};

/// The process of a target that was never seen before is young up to this age, milliseconds.
const YOUNG_MS: i64 = 300_000;
/// The clock of a target may be ahead of the one that stamps its samples by this much, milliseconds.
const AHEAD_MS: i64 = 60_000;
/// Reading begins with the first sample of all, and with what comes within this time of it, milliseconds, or within two
/// scrapes.
const FIRST_MS: i64 = 120_000;
/// A series goes on from one that ended no more than so many scrapes before ...
const ENDED_INTERVALS: f64 = 2.5;
/// ... or this long, milliseconds, where older series of its target are scraped along: it was hidden when its labels changed.
const HIDDEN_MS: i64 = 3_600_000;
/// ... and one that was not seen for so many has ended.
const MISSED_INTERVALS: f64 = 1.75;
/// The scrape interval where it is not known yet, milliseconds.
const INTERVAL_MS: i64 = 60_000;
/// A birth waits for the next scrape of its target no longer than this, milliseconds.
const WAITS_MS: i64 = 3_600_000;
/// So few events can be gained between two scrapes of a target that was idle so far.
const FEW_BORN: f64 = 5.0;

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
    /// How far apart the scrapes of its target were before it, milliseconds.
    pub beat_ms: i64,
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

enum BirthDecision {
    Book { events: Count, from_ms: Option<i64>, why: Reason, ends: Option<u32> },
    Start { why: Reason, ends: Option<u32> },
    Wait(Waits),
}

impl BirthDecision {
    /// It only sets the start.
    fn start(why: Reason) -> Self {
        BirthDecision::Start { why, ends: None }
    }
}

impl Tracker {
    /// Places the births of this read and those that waited for it.
    pub(super) fn place_births(
        &mut self,
        evidence: &TargetEvidence,
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
        let mut ended = self.ended_before(&births);
        for mut birth in births {
            let Some(&id) = self.raw_ids.get(&birth.key) else { continue };
            if birth.waits == Waits::Nothing {
                birth.beat_ms = self.interval_before(evidence, self.raws[id as usize].target, birth.at_ms);
            }
            let decision = self.decide(evidence, &birth, id, &mut ended, until_ms);
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
                BirthDecision::Book { events, from_ms, why, ends } => {
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
                BirthDecision::Start { why, ends } => {
                    self.begins(feeds, birth.at_ms, Some(why), accumulators);
                    if self.joining {
                        self.starts.extend(birth.raws.iter().map(|&raw| (raw, birth.at_ms)));
                    }
                    (CounterDelta { why, ..none }, ends)
                }
                BirthDecision::Wait(waits) => {
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
                self.raws[ended as usize].end();
            }
        }
    }

    /// Series of the targets of these births that were not seen any more when the last of them came.
    fn ended_before(&self, births: &[Birth]) -> Ended {
        let mut newest: HashMap<u32, i64> = HashMap::new();
        for birth in births {
            if let Some(&id) = self.raw_ids.get(&birth.key) {
                let at = newest.entry(self.raws[id as usize].target).or_insert(birth.at_ms);
                *at = birth.at_ms.max(*at);
            }
        }
        let mut ended = Ended::default();
        for (raw, id) in self.raws.iter().zip(0..) {
            let Some((last, labels)) = raw.last.zip(raw.labels.as_deref()) else { continue };
            if newest.get(&raw.target).is_some_and(|&at| last.at_ms < at) {
                ended.insert(raw.target, id, labels);
            }
        }
        ended
    }

    fn decide(
        &self,
        evidence: &TargetEvidence,
        birth: &Birth,
        id: u32,
        ended: &mut Ended,
        until_ms: i64,
    ) -> BirthDecision {
        match birth.waits {
            Waits::Nothing => {}
            Waits::Pace(was_ms) => return self.by_next_scrape(evidence, birth, id, was_ms, until_ms),
            Waits::End(older) => {
                let older = self.raw_ids.get(&older).copied();
                return match older.filter(|&older| self.raws[older as usize].last.is_some()) {
                    Some(older) => self.goes_on_if_ended(evidence, birth, id, older, until_ms),
                    None => self.not_placed(birth, &self.raws[id as usize], Reason::NotPlaced),
                };
            }
        }
        let raw = &self.raws[id as usize];
        let (target, of) = (raw.target, &self.targets[raw.target as usize]);
        let (at_ms, since_ms) = (birth.at_ms, birth.since_ms);
        let looked_for = |at: &i64| *at >= since_ms;
        let previous = evidence.previous(of, target, at_ms).filter(looked_for);
        let together = evidence.scraped_with(target, at_ms).filter(looked_for);
        let all = |why| BirthDecision::Book { events: birth.count, from_ms: None, why, ends: None };
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
        if let Some(older) = self.continued(evidence, birth, id, ended) {
            return self.goes_on(evidence, birth, id, older, until_ms);
        }
        if birth.start_ms.zip(previous).is_some_and(|(began_ms, before_ms)| began_ms <= before_ms) {
            return BirthDecision::start(Reason::Older);
        }
        let Some(was_ms) = together else {
            let old = previous.is_none() && process_ms.is_some();
            return self.not_placed(birth, raw, if old { Reason::Older } else { Reason::NotPlaced });
        };
        let value = birth.count.whole;
        let by_pace = || evidence.limit(self, raw, was_ms, at_ms).is_some_and(|limit| value <= limit);
        if value <= FEW_BORN || value <= evidence.gained(raw, at_ms) || by_pace() {
            return all(Reason::Born);
        }
        self.by_next_scrape(evidence, birth, id, was_ms, until_ms)
    }

    /// It can have been gained since `was_ms` if the target goes on like that.
    fn by_next_scrape(
        &self,
        evidence: &TargetEvidence,
        birth: &Birth,
        id: u32,
        was_ms: i64,
        until_ms: i64,
    ) -> BirthDecision {
        let raw = &self.raws[id as usize];
        let Some(next_ms) = evidence.next(raw.target, birth.at_ms) else {
            return match until_ms - birth.at_ms > WAITS_MS {
                true => BirthDecision::start(Reason::TooMuch),
                false => BirthDecision::Wait(Waits::Pace(was_ms)),
            };
        };
        let pace = evidence.gained(raw, next_ms) / (next_ms - birth.at_ms).max(1) as f64;
        match birth.count.whole <= PACE_MULTIPLE * pace * (birth.at_ms - was_ms) as f64 {
            true => BirthDecision::Book { events: birth.count, from_ms: None, why: Reason::Born, ends: None },
            false => BirthDecision::start(Reason::TooMuch),
        }
    }

    /// The series that ended shortly before, has the same labels but for some, and stood no higher than by a slip: one
    /// sample that reads a little too low makes an heir no counter of its own.
    fn continued(&self, evidence: &TargetEvidence, birth: &Birth, id: u32, ended: &mut Ended) -> Option<u32> {
        let raw = &self.raws[id as usize];
        let labels_of = |id: u32| self.raws[id as usize].labels.as_deref();
        let like = ended.like(labels_of, raw.target, raw.labels.as_deref()?);
        if like.is_empty() {
            return None;
        }
        let recent_ms = ENDED_INTERVALS * birth.beat_ms as f64;
        let along = evidence.scraped_with(raw.target, birth.at_ms).is_some();
        let candidates = like.into_iter().filter_map(|(labels, older)| {
            let other = &self.raws[older as usize];
            let last = other.last?;
            let (since_ms, gained) = (birth.at_ms - last.at_ms, birth.count.whole - last.count.whole);
            let near = since_ms > 0 && (since_ms as f64 <= recent_ms || along && since_ms <= HIDDEN_MS);
            let steps = (gained < 0.0, since_ms, labels);
            (near && gained >= -SLIP && other.kind == raw.kind).then_some((steps, gained.abs(), older))
        });
        type Candidate = ((bool, i64, usize), f64, u32);
        let nearer = |a: &Candidate, b: &Candidate| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2));
        candidates.min_by(nearer).map(|(.., older)| older)
    }

    /// It only sets the start. That is no doubt where reading began with it: nobody looked before.
    fn not_placed(&self, birth: &Birth, raw: &Raw, why: Reason) -> BirthDecision {
        let began_ms = self.first_of(raw).unwrap_or(birth.at_ms).max(birth.since_ms);
        let first = birth.at_ms.saturating_sub(began_ms) <= FIRST_MS.max(2 * birth.beat_ms);
        BirthDecision::start(if first { Reason::First } else { why })
    }

    /// The first sample, of any target, that what a raw series counts for ever had, milliseconds.
    fn first_of(&self, raw: &Raw) -> Option<i64> {
        raw.series().filter_map(|series| self.series[series as usize].first_ms).min()
    }

    /// How far apart the scrapes of one scraper of a target are, as it showed before a birth. The births' own moment may
    /// be off the beat: a scrape loop that begins anew has another phase.
    fn interval_before(&self, evidence: &TargetEvidence, target: u32, at_ms: i64) -> i64 {
        let together_ms = evidence.scraped_with(target, at_ms).map(|before_ms| at_ms - before_ms);
        let every_ms = evidence.beat_ms(&self.targets[target as usize], target, at_ms - 1);
        every_ms.max(together_ms).unwrap_or(INTERVAL_MS)
    }

    /// Whether a birth goes on from an older series. What its own moment says is asked at once, for later reads do not show
    /// that moment any more: the same process must have answered, and the difference must be possible.
    fn goes_on(&self, evidence: &TargetEvidence, birth: &Birth, id: u32, older: u32, until_ms: i64) -> BirthDecision {
        let raw = &self.raws[id as usize];
        let Some(last) = self.raws[older as usize].last.filter(|last| last.at_ms < birth.at_ms) else {
            return self.not_placed(birth, raw, Reason::NotPlaced);
        };
        if evidence.other_process(&self.targets[raw.target as usize], raw.target, last.at_ms, birth.at_ms) {
            return self.not_placed(birth, raw, Reason::NotPlaced);
        }
        let (events, _) = follow(last.count, birth.count);
        if !evidence.can_go_on(self, raw, events.whole, last.count.whole, last.at_ms, birth.at_ms) {
            return BirthDecision::start(Reason::TooMuch);
        }
        self.goes_on_if_ended(evidence, birth, id, older, until_ms)
    }

    /// The same of an older series that it can go on from: that one must have ended.
    fn goes_on_if_ended(
        &self,
        evidence: &TargetEvidence,
        birth: &Birth,
        id: u32,
        older: u32,
        until_ms: i64,
    ) -> BirthDecision {
        let raw = &self.raws[id as usize];
        let Some(last) = self.raws[older as usize].last.filter(|last| last.at_ms < birth.at_ms) else {
            return self.not_placed(birth, raw, Reason::NotPlaced);
        };
        let missed_ms = (MISSED_INTERVALS * birth.beat_ms as f64) as i64;
        let together = evidence.scraped_with(raw.target, birth.at_ms);
        if until_ms - last.at_ms < missed_ms && together != Some(last.at_ms) {
            return BirthDecision::Wait(Waits::End(self.raws[older as usize].key));
        }
        // Another scraper, while the older one goes on without this series: it is hidden, and the birth is no heir of it.
        if together.is_none() && evidence.went_on(raw.target, last.at_ms, last.at_ms + missed_ms) {
            return self.not_placed(birth, raw, Reason::NotPlaced);
        }
        // It is that series, and has less. What it gains until it is as high again happened before.
        if birth.count.whole < last.count.whole {
            return BirthDecision::Start { why: Reason::NotPlaced, ends: Some(older) };
        }
        let (events, _) = follow(last.count, birth.count);
        BirthDecision::Book { events, from_ms: Some(last.at_ms), why: Reason::Continued, ends: Some(older) }
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
