//! What the first sample of a series is worth: all it holds, the difference to a series it goes on from, or nothing.
//!
//! A counter's first sample is its lifetime total. It is news only where something proves that the target cannot have
//! counted it before: its process, or the counter itself, began since the scrape before; or the scrape before was made
//! by the same scraper (one scrape writes one timestamp), did not show it, and what it holds can have been gained since.
//! A first sample beside a series that has just ended, with the same labels but for some, is that series under another
//! name; where it reads a little lower the next sample will be as high again, so it sets the start. Whatever has taken the
//! place of an older series, that one goes on from it should it come back. Everything else sets the start too, and is said.
//!
//! Some of that shows only with the next scrape: which of the older series really ended, and how busy a target is that
//! had counted nothing yet. Such a birth waits for it, and remembers what its own moment said.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::accumulator::{Accumulator, book};
use super::cursors::{Asleep, Last, Raw};
use super::delta::{CounterDelta, follow};
use super::ended::Ended;
use super::evidence::TargetEvidence;
use super::pace::{PACE_MULTIPLE, SLIP, SMALL_SHARE};
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
/// Within so many after a scrape every other scraper of the target has scraped it, too.
const TURN_INTERVALS: f64 = 0.9;
/// So many of them are looked at, the nearest first.
const ELDERS_MAX: usize = 4;
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

/// What a birth waits for. Stored by place: new ones come last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Waits {
    Nothing,
    /// Whether this older cursor has ended; nobody waits like that any more, but in state files.
    End(u128),
    /// What its target gains next; it was scraped before at this moment.
    Pace(i64),
    /// Which of these older cursors has ended, the nearest first; and what it is worth where none has.
    Ends(Vec<Elder>, Alone),
}

/// A cursor that a birth goes on from, if it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Elder {
    pub key: u128,
    /// Its newest sample, milliseconds.
    last_ms: i64,
    /// When it was scraped last, with it or without, milliseconds.
    scraped_ms: i64,
    /// Older series of the target were scraped along with the birth.
    along: bool,
    /// Why it only sets a start all the same, as its own moment says.
    refused: Option<Reason>,
}

/// What a birth is worth that goes on from no other series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Alone {
    /// All it holds: gained since the scrape before.
    Born,
    /// All it holds: its process began since the scrape before.
    BornWithProcess,
    /// Nothing: it sets the start.
    Start(Reason),
    /// What its target gains next says so; it was scraped before at this moment.
    Pace(i64),
    /// What it gained since it was seen last itself.
    Returns(Asleep),
}

enum BirthDecision {
    /// `ends`: the cursor that it goes on from.
    Book {
        events: Count,
        from_ms: Option<i64>,
        why: Reason,
        ends: Option<u32>,
    },
    Start {
        why: Reason,
        ends: Option<u32>,
    },
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
        self.note_turnovers(evidence, &births, &ended);
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
                    let delta = CounterDelta { events, from_ms, why, hole: why == Reason::Bridged, ..none };
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
                    // Older history is joined on to where this reading began, and never to where what it had counted began anew.
                    if self.joining && raw.gone.is_none() && raw.ended_ms.is_none() {
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
            self.raws[id as usize].gone = None;
            self.may_be_gone(&birth, id);
            *found.reasons.entry(delta.why).or_default() += 1;
            if let Some(tracing) = &mut self.tracing {
                tracing.place(birth.key, birth.count, &delta);
            }
            match ends {
                Some(older) => self.raws[older as usize].end(),
                None => self.may_have_replaced(evidence, &birth, id, delta.why, &mut ended),
            }
        }
    }

    /// Whatever it waited for to end is back, and it was seen no more since: then that one has taken its place, unless it is there at
    /// its next scrape.
    fn may_be_gone(&mut self, birth: &Birth, id: u32) {
        let Waits::Ends(elders, _) = &birth.waits else { return };
        let last_ms = |id: u32| self.raws[id as usize].last.map(|last| last.at_ms);
        let Some(own_ms) = last_ms(id) else { return };
        let seen_ms = elders.iter().filter_map(|elder| last_ms(*self.raw_ids.get(&elder.key)?)).max();
        if seen_ms.is_some_and(|seen_ms| seen_ms > own_ms) {
            self.raws[id as usize].gone_after_ms = Some(own_ms + (MISSED_INTERVALS * birth.beat_ms as f64) as i64);
        }
    }

    /// Whatever else had its labels but for some is gone, if it is not seen at its next scrape: should it come back later, what
    /// it says was counted under this name meanwhile.
    fn may_have_replaced(&mut self, evidence: &TargetEvidence, birth: &Birth, id: u32, why: Reason, ended: &mut Ended) {
        let target = self.raws[id as usize].target;
        let process_ms = evidence.newest_start(&self.targets[target as usize], target, birth.at_ms + 1);
        let anew = matches!(why, Reason::Born | Reason::BornWithProcess);
        let missed_ms = (MISSED_INTERVALS * birth.beat_ms as f64) as i64;
        // After a hole each scraper has its turn first.
        let turn_ms = birth.at_ms + (TURN_INTERVALS * birth.beat_ms as f64) as i64;
        for (_, older) in self.like(id, ended) {
            let raw = &mut self.raws[older as usize];
            // A counter of the same size: what is far higher is somebody else's.
            let (now, size) = (birth.count.whole, SMALL_SHARE * birth.count.whole);
            let of_old_process = |last: &Last| process_ms.is_some_and(|began_ms| began_ms > last.at_ms);
            // One that cannot have gained so much from there may be it all the same: a young process suddenly gets busy.
            let size = if why == Reason::TooMuch { 0.0 } else { size };
            let as_high = |last: &Last| anew || of_old_process(last) || (size..=now + SLIP).contains(&last.count.whole);
            if let Some(last) = raw.last.filter(|last| last.at_ms < birth.at_ms && as_high(last)) {
                raw.gone_after_ms = Some(turn_ms.max(last.at_ms + missed_ms));
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
        match &birth.waits {
            Waits::Nothing => {}
            &Waits::Pace(was_ms) => return self.alone(evidence, birth, id, Alone::Pace(was_ms), until_ms),
            &Waits::End(key) => {
                let alone = self.not_placed(birth, &self.raws[id as usize], Reason::NotPlaced);
                let last = self.raw_ids.get(&key).and_then(|&id| self.raws[id as usize].last);
                let last_ms = last.map_or(i64::MIN, |last| last.at_ms);
                let elder = Elder { key, last_ms, scraped_ms: last_ms, along: false, refused: None };
                return self.goes_on(evidence, birth, id, &[elder], alone, until_ms);
            }
            Waits::Ends(elders, alone) => return self.goes_on(evidence, birth, id, elders, *alone, until_ms),
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
                    // Another process of the same address that began anew says nothing of this one.
                    let of_target = || {
                        !evidence.is_older_process(of, target, at_ms)
                            && evidence.began_anew(of, target, before_ms, at_ms) == Some(true)
                    };
                    let anew = began_ms > before_ms || birth.start_ms.is_none() && of_target();
                    // Counters that went on are not those of the process that began.
                    let gone_on = evidence.rose(target, at_ms) > 0 && evidence.fell(target, at_ms) == 0;
                    if anew && (birth.start_ms.is_some() || !gone_on) {
                        // What was seen under another name since it began is no news.
                        let mut elders = self.elders(evidence, birth, id, ended);
                        elders.retain(|elder| elder.last_ms >= began_ms);
                        return self.goes_on(evidence, birth, id, &elders, Alone::BornWithProcess, until_ms);
                    }
                }
            }
        }
        let began_before = birth.start_ms.zip(previous).is_some_and(|(began_ms, before_ms)| began_ms <= before_ms);
        let value = birth.count.whole;
        let by_pace = |was_ms| evidence.limit(self, raw, was_ms, at_ms).is_some_and(|limit| value <= limit);
        let alone = match together {
            _ if let Some(own) = &raw.gone => Alone::Returns(**own),
            _ if began_before => Alone::Start(Reason::Older),
            None if previous.is_none() && process_ms.is_some() => self.not_placed(birth, raw, Reason::Older),
            None => self.not_placed(birth, raw, Reason::NotPlaced),
            Some(_) if value <= FEW_BORN || value <= evidence.gained(raw, at_ms) => Alone::Born,
            Some(was_ms) if by_pace(was_ms) => Alone::Born,
            Some(was_ms) => Alone::Pace(was_ms),
        };
        let elders = self.elders(evidence, birth, id, ended);
        self.goes_on(evidence, birth, id, &elders, alone, until_ms)
    }

    /// It goes on from no other series.
    fn alone(&self, evidence: &TargetEvidence, birth: &Birth, id: u32, alone: Alone, until_ms: i64) -> BirthDecision {
        let all = |why| BirthDecision::Book { events: birth.count, from_ms: None, why, ends: None };
        match self.by_next_scrape(evidence, birth, id, alone) {
            Alone::Born => all(Reason::Born),
            Alone::BornWithProcess => all(Reason::BornWithProcess),
            Alone::Start(why) => BirthDecision::start(why),
            Alone::Returns(own) if birth.count.whole >= own.last().count.whole => {
                let (events, _) = follow(own.last().count, birth.count);
                let from_ms = Some(own.at_ms);
                BirthDecision::Book { events, from_ms, why: Reason::Bridged, ends: None }
            }
            Alone::Returns(_) => BirthDecision::start(Reason::NotPlaced),
            Alone::Pace(_) if until_ms - birth.at_ms > WAITS_MS => BirthDecision::start(Reason::TooMuch),
            Alone::Pace(was_ms) => BirthDecision::Wait(Waits::Pace(was_ms)),
        }
    }

    /// Older series of its target that have the same labels but for some, or for the values that all of the target had:
    /// how many, and which.
    fn like(&self, id: u32, ended: &mut Ended) -> Vec<(usize, u32)> {
        let raw = &self.raws[id as usize];
        let labels_of = |id: u32| self.raws[id as usize].labels.as_deref();
        let like = |labels| ended.like(labels_of, raw.target, labels);
        let mut like = raw.labels.as_deref().map(like).unwrap_or_default();
        like.extend(self.before_turnover(raw, ended));
        like
    }

    /// It can have been gained since the scrape before if the target goes on like that.
    fn by_next_scrape(&self, evidence: &TargetEvidence, birth: &Birth, id: u32, alone: Alone) -> Alone {
        let Alone::Pace(was_ms) = alone else { return alone };
        let raw = &self.raws[id as usize];
        let Some(next_ms) = evidence.next(raw.target, birth.at_ms) else { return alone };
        let pace = evidence.gained(raw, next_ms) / (next_ms - birth.at_ms).max(1) as f64;
        match birth.count.whole <= PACE_MULTIPLE * pace * (birth.at_ms - was_ms) as f64 {
            true => Alone::Born,
            false => Alone::Start(Reason::TooMuch),
        }
    }

    /// The series that may have ended shortly before, have the same labels but for some, and stood no higher than by a slip,
    /// the nearest first: one sample that reads a little too low makes an heir no counter of its own. What its own moment says
    /// is asked at once, for later reads do not show that moment any more: the same process must have answered, and the
    /// difference must be possible.
    fn elders(&self, evidence: &TargetEvidence, birth: &Birth, id: u32, ended: &mut Ended) -> Vec<Elder> {
        let raw = &self.raws[id as usize];
        let like = self.like(id, ended);
        if like.is_empty() {
            return Vec::new();
        }
        let recent_ms = ENDED_INTERVALS * birth.beat_ms as f64;
        let along = evidence.scraped_with(raw.target, birth.at_ms).is_some();
        // What one process said before and after a hole, however long, is said by the same counters.
        let of = &self.targets[raw.target as usize];
        let runs_since_ms = evidence.runs_since(of, raw.target, birth.at_ms);
        let previous_ms = evidence.previous(of, raw.target, birth.at_ms);
        let mut elders: Vec<_> = like
            .into_iter()
            .filter_map(|(labels, older)| {
                let other = &self.raws[older as usize];
                let last = other.last?;
                let (since_ms, gained) = (birth.at_ms - last.at_ms, birth.count.whole - last.count.whole);
                let of_same_process = runs_since_ms.is_some_and(|began_ms| began_ms <= last.at_ms);
                let hidden = of_same_process || along && since_ms <= HIDDEN_MS;
                let near = since_ms > 0 && (since_ms as f64 <= recent_ms || hidden);
                let steps = (gained < 0.0, since_ms, labels);
                (near && gained >= -SLIP && other.kind == raw.kind).then_some((steps, gained.abs(), older, last))
            })
            .collect();
        elders.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        elders.truncate(ELDERS_MAX);
        let refused = |last: Last| {
            let (events, _) = follow(last.count, birth.count);
            if evidence.other_process(of, raw.target, last.at_ms, birth.at_ms) {
                return Some(Reason::NotPlaced);
            }
            // A counter that was hidden has no part in the pace before: its own is known since its process began.
            let by_own_pace = runs_since_ms.filter(|began_ms| *began_ms < last.at_ms).is_some_and(|began_ms| {
                let pace = last.count.whole / (last.at_ms - began_ms) as f64;
                events.whole <= PACE_MULTIPLE * pace * (birth.at_ms - last.at_ms) as f64
            });
            let possible =
                by_own_pace || evidence.can_go_on(self, raw, events.whole, last.count.whole, last.at_ms, birth.at_ms);
            (!possible).then_some(Reason::TooMuch)
        };
        let elder = |(.., older, last): (_, _, u32, Last)| {
            let recent = (birth.at_ms - last.at_ms) as f64 <= recent_ms;
            let scraped_ms = previous_ms.filter(|_| !recent).unwrap_or(last.at_ms).max(last.at_ms);
            let key = self.raws[older as usize].key;
            Elder { key, last_ms: last.at_ms, scraped_ms, along, refused: refused(last) }
        };
        elders.into_iter().map(elder).collect()
    }

    /// It only sets the start. That is no doubt where reading began with it: nobody looked before.
    fn not_placed(&self, birth: &Birth, raw: &Raw, why: Reason) -> Alone {
        let began_ms = self.first_of(raw).unwrap_or(birth.at_ms).max(birth.since_ms);
        let first = birth.at_ms.saturating_sub(began_ms) <= FIRST_MS.max(2 * birth.beat_ms);
        Alone::Start(if first { Reason::First } else { why })
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
        every_ms.or(together_ms).unwrap_or(INTERVAL_MS)
    }

    /// A birth goes on from the nearest of these that has ended; of one that may yet be seen again it waits for that.
    fn goes_on(
        &self,
        evidence: &TargetEvidence,
        birth: &Birth,
        id: u32,
        elders: &[Elder],
        alone: Alone,
        until_ms: i64,
    ) -> BirthDecision {
        let raw = &self.raws[id as usize];
        let missed_ms = (MISSED_INTERVALS * birth.beat_ms as f64) as i64;
        let together = evidence.scraped_with(raw.target, birth.at_ms);
        for (nth, elder) in elders.iter().enumerate() {
            let older = self.raw_ids.get(&elder.key).copied();
            let last = older.and_then(|older| self.raws[older as usize].last);
            // One that was seen again, or that another one goes on from, has no other heir.
            let Some((older, last)) = older.zip(last.filter(|last| last.at_ms < birth.at_ms)) else { continue };
            // After a hole every scraper must have had its turn.
            let hole = birth.at_ms - elder.scraped_ms > missed_ms && until_ms - birth.at_ms < birth.beat_ms;
            let may_go_on = until_ms - elder.scraped_ms < missed_ms || hole;
            if may_go_on && together != Some(elder.scraped_ms) {
                let alone = self.by_next_scrape(evidence, birth, id, alone);
                return BirthDecision::Wait(Waits::Ends(elders[nth..].to_vec(), alone));
            }
            // Another scraper, while the older one goes on without this series: it is hidden, and the birth is no heir of it.
            let until_ms = elder.scraped_ms + missed_ms;
            if !elder.along && evidence.went_on(raw.target, elder.scraped_ms, until_ms) {
                continue;
            }
            let (events, _) = follow(last.count, birth.count);
            return match elder.refused {
                // It cannot go on from there, and has taken its place all the same.
                Some(why) => {
                    let first = matches!(self.not_placed(birth, raw, why), Alone::Start(Reason::First));
                    let why = if first && why == Reason::NotPlaced { Reason::First } else { why };
                    BirthDecision::start(why)
                }
                // It is that series, and has less. What it gains until it is as high again happened before.
                None if birth.count.whole < last.count.whole => {
                    BirthDecision::Start { why: Reason::NotPlaced, ends: Some(older) }
                }
                None => {
                    let (why, from_ms) = (Reason::Continued, Some(last.at_ms));
                    BirthDecision::Book { events, from_ms, why, ends: Some(older) }
                }
            };
        }
        self.alone(evidence, birth, id, alone, until_ms)
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
