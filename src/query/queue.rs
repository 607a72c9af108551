//! Queues: who waits, beside who was let in.
//!
//! A histogram of waiting times sees only those who got through. So the gauge of those who wait is read with it, and a
//! slice is bad where somebody waits and nobody has been let in for longer than the bound (`silence`):
//!
//! - *somebody waits*: the gauge, summed over its series, is above 0 at the end of the slice;
//! - *somebody was let in*: a counter of its own (`through:`) moved, where there is one; else a scrape interval that touches
//!   the slice has a completion. Whether one that is still going on has shows with the next scrape, so the verdict on
//!   such a slice waits for it. While that counter is not there the completions say so;
//! - *how bad*: each waiter is one bad event of the slice. Where slices are judged they count as no fewer than a slice
//!   is judged on, so that it is bad however few wait;
//! - a silence that is not longer than the bound proves nothing: such a slice is known and idle;
//! - without the gauge a slice without completions is unknown, never idle; one with completions is the histogram's alone;
//! - a histogram that has been silent for five minutes while the gauge is there has nobody who got through: a process
//!   that has let nobody through yet has no histogram.
//!
//! A verdict depends on the samples alone, not on when they were read, so polls, remote read and range queries come to
//! the same. Only what comes to light later than the overlap of the polls is added to a slice that was judged already.
//!
//! Deliberately absent: reading. Slices come in as `increment` and `grid` found them, and go out as changes of the ledger.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fetch::{Plan, QueueRule};
use super::grid::{CoarseHarvest, GridHarvest, Through};
use super::increment::{Mark, SeriesDeltas};
use crate::engine::ledger::End;
use crate::engine::{Coverage, Labels, SliceDelta};

mod silence;

use silence::QueueSilence;

/// A histogram that is silent for longer is not there (Prometheus' own lookback), seconds.
const GONE_S: i64 = 300;
/// A slice is decided no earlier than so long after its end, seconds: a histogram of which the first sample comes within
/// it was there before.
pub const PATIENCE_S: i64 = 60;
/// Undecided slices remembered of one series: a day and more of them.
const UNDECIDED_MAX: usize = 10_000;
/// Marks what sums of the server tell of a queue. They hold only sums of slices, so an interval before a rise is taken to
/// reach back as far as the slowest usual scrape.
pub fn mark_sums(harvest: &mut SeriesDeltas, resolution_s: i64) {
    let back = PATIENCE_S / resolution_s.max(1) + 1;
    for delta in &harvest.deltas {
        let moved = delta.total > 0;
        let first = if moved { delta.slice - back } else { delta.slice };
        harvest.marks.extend((first..=delta.slice).map(|slice| Mark { slice, moved, begins: false }));
    }
}

/// What became of a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Verdict {
    /// Not known yet.
    #[default]
    Open,
    /// The histogram says what there is to say.
    Counted,
    /// Somebody waited, and nobody had been let in for longer than the bound.
    Stuck,
    /// Nobody knows who waited, or who got through.
    Unknown,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct QueueSlice {
    /// What is known of the counter in it.
    counted: Coverage,
    /// There was a sample of the counter, or an interval between two.
    seen: bool,
    /// Somebody may have got through.
    moved: bool,
    /// A counter begins in it: who got through before, nobody knows.
    begins: bool,
    /// Whether somebody may have been let in, by the counter of its own.
    let_in: Option<bool>,
    /// How many waited at its end.
    waiting: Option<u32>,
    verdict: Verdict,
    /// Nothing more is said of it: what has completions may still turn out to be stuck.
    settled: bool,
}

/// The slices of one series that are not decided, and those just before them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Queue {
    /// Slices before this one are done with.
    floor: Option<i64>,
    slices: BTreeMap<i64, QueueSlice>,
    /// What went before the first of them.
    silence: QueueSilence,
    /// Slices that a move of the counter of its own reaches back: those of a scrape interval.
    reach: i64,
    /// What can be booked, once it is known of all slices before it: a ledger judges slices in their order.
    #[serde(skip)]
    ready: Vec<SliceDelta>,
}

/// How far the two sources of a queue were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadUpTo {
    /// Slices before this one, and whatever of the next ones tells of them, have been read of the counter.
    pub known: i64,
    /// The same where there was no counter so far.
    pub counted: i64,
    /// Slices before this one have been read of the gauge.
    pub waiting: i64,
}

/// The queues of one source.
#[derive(Debug, Default)]
pub struct QueueBook {
    resolution_s: i64,
    gone: i64,
    ahead: i64,
    queues: BTreeMap<(usize, Labels), Queue>,
}

/// What survives a restart.
pub type SavedQueues = Vec<(String, Labels, SavedQueue)>;

/// One queue of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedQueue(Queue);

impl QueueBook {
    /// An empty book of slices of `resolution_s` seconds.
    pub fn new(resolution_s: i64) -> Self {
        let slices = |seconds: i64| seconds.div_euclid(resolution_s.max(1));
        QueueBook {
            resolution_s: resolution_s.max(1),
            gone: slices(GONE_S),
            ahead: slices(PATIENCE_S),
            queues: BTreeMap::new(),
        }
    }

    /// Whether there is no queue.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// What a restart needs to go on.
    pub fn saved(&self, plan: &Plan) -> SavedQueues {
        let saved = |((sli, labels), queue): (&(usize, Labels), &Queue)| {
            (plan.slis[*sli].id.clone(), labels.clone(), SavedQueue(queue.clone()))
        };
        self.queues.iter().map(saved).collect()
    }

    /// Takes back what was saved; queues that are none any more are dropped.
    pub fn restore(&mut self, plan: &Plan, saved: SavedQueues) {
        let of = |id: &str| plan.slis.iter().position(|sli| sli.id == id && sli.queue.is_some());
        for (id, labels, SavedQueue(queue)) in saved {
            if let Some(sli) = of(&id) {
                self.queues.insert((sli, labels), queue);
            }
        }
    }

    /// Takes what reading the histogram found; what is left of it is what is wrong with it. [`QueueBook::settle`] hands it
    /// out: events always, and what is known of a slice once it is clear that nobody had to wait in it in vain.
    pub fn take_counts(&mut self, mut harvest: SeriesDeltas) -> SeriesDeltas {
        let queue = self.queues.entry((harvest.sli, harvest.labels.clone())).or_default();
        for Mark { slice, moved, begins } in std::mem::take(&mut harvest.marks) {
            if let Some(of) = queue.slice(slice) {
                of.seen = true;
                of.moved |= moved;
                of.begins |= begins;
                if begins && of.verdict == Verdict::Open {
                    of.verdict = Verdict::Unknown;
                }
            }
        }
        harvest.deltas.retain(|delta| {
            let events = delta.total.max(delta.bad) > 0;
            match queue.slice(delta.slice) {
                None => events,
                Some(slice) => {
                    slice.moved |= events;
                    slice.counted = merged(slice.counted, delta.coverage);
                    match slice.verdict {
                        Verdict::Open if events => slice.verdict = Verdict::Counted,
                        Verdict::Open => return false,
                        Verdict::Unknown => return events,
                        Verdict::Counted | Verdict::Stuck => {}
                    }
                    true
                }
            }
        });
        queue.ready.append(&mut harvest.deltas);
        harvest
    }

    /// Takes the counts of whole spans. Those with events stay in `harvest`; of the others it is clear that nobody got through
    /// in any of their slices, and they wait for the gauge. In a span with events nobody knows when: they are the
    /// histogram's alone.
    pub fn take_spans(&mut self, harvest: &mut CoarseHarvest, span_s: i64, resolution_s: i64) {
        let queue = self.queues.entry((harvest.sli, harvest.labels.clone())).or_default();
        harvest.spans.retain(|span| {
            let events = span.total.max(span.bad) > 0;
            let first = span.start_s.div_euclid(resolution_s);
            for slice in first..first + span_s / resolution_s {
                if let Some(of) = queue.slice(slice) {
                    (of.seen, of.moved) = (true, events);
                    (of.counted, of.verdict) = match events {
                        true => (Coverage::Unknown, Verdict::Counted),
                        false => (Coverage::Known, Verdict::Open),
                    };
                }
            }
            events
        });
    }

    /// Takes what the gauge says; of a slice that is read again the larger number holds.
    pub fn take_waiting(&mut self, plan: &Plan, labels: Labels, harvest: &GridHarvest) {
        let sli = harvest.sli;
        // Who waits waits at both ends of an interval.
        let ends = End::BOTH.iter().filter(|_| plan.slis[sli].between.is_some()).map(|end| end.labels(&labels));
        for labels in ends.chain([labels.clone()]) {
            let queue = self.queues.entry((sli, labels)).or_default();
            for (&slice, cell) in &harvest.slices {
                if let Some(of) = queue.slice(slice) {
                    let waiting = u32::try_from(cell.total).unwrap_or(u32::MAX);
                    of.waiting = Some(of.waiting.map_or(waiting, |was| was.max(waiting)));
                }
            }
        }
    }

    /// Takes what the counter of those who were let in says. A move may have been anywhere in the scrape interval before it,
    /// which is `reach` slices long.
    pub fn take_through(&mut self, plan: &Plan, through: Through, reach: i64) {
        let sli = through.sli;
        let ends = End::BOTH.iter().filter(|_| plan.slis[sli].between.is_some()).map(|end| end.labels(&through.labels));
        for labels in ends.chain([through.labels.clone()]) {
            let queue = self.queues.entry((sli, labels)).or_default();
            queue.reach = reach;
            for (&slice, &moved) in &through.slices {
                for touched in if moved { slice - reach..=slice } else { slice..=slice } {
                    if let Some(of) = queue.slice(touched) {
                        of.let_in = Some(moved || of.let_in == Some(true));
                    }
                }
            }
        }
    }

    /// Decides what can be decided, and hands out what can be booked: `read` says of an SLI how far it was read.
    pub fn settle(&mut self, plan: &Plan, read: impl Fn(usize) -> Option<ReadUpTo>) -> Vec<SeriesDeltas> {
        let mut harvests = Vec::new();
        for ((sli, labels), queue) in &mut self.queues {
            let mut deltas = std::mem::take(&mut queue.ready);
            if let (Some(read), Some(rule)) = (read(*sli), plan.slis[*sli].queue) {
                let pace = Pace { resolution_s: self.resolution_s, gone: self.gone, ahead: self.ahead };
                deltas.extend(queue.settle(read, rule, pace));
            }
            deltas.sort_by_key(|delta| delta.slice);
            if !deltas.is_empty() {
                let (sli, labels) = (*sli, labels.clone());
                harvests.push(SeriesDeltas { sli, labels, deltas, ..SeriesDeltas::default() });
            }
        }
        harvests
    }

    /// Forgets slices from `end` on of which the counter says nothing.
    pub fn cut(&mut self, end: i64) {
        for queue in self.queues.values_mut() {
            queue.slices.retain(|&slice, of| slice < end || of.counted != Coverage::Unknown);
        }
    }

    /// Forgets queues that were silent since `slice`, of SLIs that were `heard`.
    pub fn forget_silent(&mut self, slice: i64, heard: impl Fn(usize) -> bool) {
        let silent =
            |queue: &Queue| queue.slices.keys().next_back().or(queue.floor.as_ref()).is_none_or(|&at| at < slice);
        self.queues.retain(|&(sli, _), queue| !silent(queue) || !heard(sli));
    }
}

impl Queue {
    /// A slice that is not done with.
    fn slice(&mut self, slice: i64) -> Option<&mut QueueSlice> {
        self.floor.is_none_or(|floor| slice >= floor).then(|| self.slices.entry(slice).or_default())
    }

    fn settle(&mut self, read: ReadUpTo, rule: QueueRule, pace: Pace) -> Vec<SliceDelta> {
        let near =
            |all: BTreeSet<i64>| move |slice: i64| all.range(slice - pace.gone..=slice + pace.ahead).next().is_some();
        let with =
            |is: fn(&QueueSlice) -> bool| self.slices.iter().filter(move |(_, of)| is(of)).map(|(&slice, _)| slice);
        let (is_there, is_guided) =
            (near(with(|of| of.seen).collect()), near(with(|of| of.let_in.is_some()).collect()));
        let mut deltas = Vec::new();
        let mut silence = self.silence;
        for (&slice, of) in &mut self.slices {
            let guided = rule.through && is_guided(slice);
            let look = SliceLook {
                slice,
                let_in: if guided { of.let_in == Some(true) } else { of.moved },
                // Whoever is let in later shows up to a scrape interval after it.
                read: if guided { slice + self.reach < read.waiting } else { of.is_read(slice, read) },
                counted: of.is_read(slice, read),
                gauged: slice < read.waiting,
                absent: !is_there(slice),
                stuck: silence.is_over(slice, rule.bound_s, pace),
                guided,
            };
            if !of.settled {
                deltas.extend(of.decide(&look, rule.least));
            }
            silence.step(slice, of, &look, pace);
        }
        self.forget(read, pace, rule, is_guided);
        deltas
    }

    /// Undecided slices stay, and decided ones as long as they tell that the counter was there.
    fn forget(&mut self, read: ReadUpTo, pace: Pace, rule: QueueRule, is_guided: impl Fn(i64) -> bool) {
        let too_many = self.slices.len().saturating_sub(UNDECIDED_MAX + pace.gone as usize);
        let first_open = self.slices.iter().find(|(_, of)| !of.settled).map(|(&slice, _)| slice);
        let oldest = first_open.unwrap_or(read.counted).min(read.counted) - pace.gone;
        let oldest = self
            .slices
            .keys()
            .nth(too_many)
            .map_or(oldest, |&slice| if too_many > 0 { slice.max(oldest) } else { oldest });
        if self.slices.first_key_value().is_none_or(|(&slice, _)| slice >= oldest) {
            return;
        }
        let kept = self.slices.split_off(&oldest);
        for (slice, of) in std::mem::replace(&mut self.slices, kept) {
            let guided = rule.through && is_guided(slice);
            let let_in = if guided { of.let_in == Some(true) } else { of.moved };
            self.silence.step(slice, &of, &SliceLook { slice, let_in, guided, ..SliceLook::default() }, pace);
        }
        self.floor = self.floor.max(Some(oldest));
    }
}

impl QueueSlice {
    /// Whether all was read of the counter that tells of it.
    fn is_read(&self, slice: i64, read: ReadUpTo) -> bool {
        slice < if self.counted == Coverage::Unknown { read.counted } else { read.known }
    }

    /// The verdict, where it is time for one, and what is booked for it.
    fn decide(&mut self, look: &SliceLook, least: u64) -> Option<SliceDelta> {
        let known = self.counted != Coverage::Unknown;
        let coverage = if known { self.counted } else { Coverage::Known };
        let book = |total: u64| Some(SliceDelta { slice: look.slice, total, bad: total, coverage });
        let open = self.verdict == Verdict::Open;
        if self.verdict == Verdict::Unknown {
            self.settled = true;
            return None;
        }
        let (verdict, booked) = match self.waiting {
            _ if look.let_in => (Verdict::Counted, book(0).filter(|_| open && known)),
            Some(0) if !open => (self.verdict, None),
            Some(0) if known || look.counted && look.absent => (Verdict::Counted, book(0)),
            Some(waiting @ 1..) if look.read && look.stuck == Some(true) && (known || look.absent || look.guided) => {
                (Verdict::Stuck, book(u64::from(waiting).max(least)))
            }
            Some(1..) if look.read && look.stuck == Some(false) && !open => (self.verdict, None),
            Some(1..) if look.read && look.stuck == Some(false) && (known || look.counted && look.absent) => {
                (Verdict::Counted, book(0))
            }
            Some(_) if look.counted && !known && !look.absent && open => (Verdict::Unknown, None),
            None if look.counted && look.gauged => (if open { Verdict::Unknown } else { self.verdict }, None),
            _ if !open && !look.guided => (self.verdict, None),
            _ => return None,
        };
        (self.verdict, self.settled) = (verdict, true);
        booked
    }
}

/// How long slices are, and how many of them a counter may be silent and is waited for.
#[derive(Debug, Clone, Copy)]
struct Pace {
    resolution_s: i64,
    gone: i64,
    ahead: i64,
}

/// What is known around a slice.
#[derive(Debug, Default)]
struct SliceLook {
    slice: i64,
    /// Somebody may have been let in.
    let_in: bool,
    /// All was read that tells whether somebody was.
    read: bool,
    /// All was read of the histogram that tells of it.
    counted: bool,
    /// The gauge was read.
    gauged: bool,
    /// The histogram is not there.
    absent: bool,
    /// Nobody had been let in for longer than the bound; `None` where an earlier slice is not decided.
    stuck: Option<bool>,
    /// The counter of those who were let in is there.
    guided: bool,
}

/// What two reads know of one slice: partial stays partial.
fn merged(a: Coverage, b: Coverage) -> Coverage {
    match (a, b) {
        (Coverage::Partial, _) | (_, Coverage::Partial) => Coverage::Partial,
        (Coverage::Known, _) | (_, Coverage::Known) => Coverage::Known,
        (Coverage::Unknown, Coverage::Unknown) => Coverage::Unknown,
    }
}

#[cfg(test)]
mod tests;
