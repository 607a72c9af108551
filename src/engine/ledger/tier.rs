//! One tier of a series: a ring of equal slots keyed by their absolute index, with running sums.
//!
//! Slots live in blocks of 32 kept in a deque, so a tier costs what its data costs and forgets whole blocks at its
//! old end. Each block begins with the sum of all blocks before it, and its slots follow side by side, as narrow as
//! the tier allows: any range of slots is a difference of two running sums, each read from one place in memory. On a
//! large fleet nothing is in a cache, and what a window costs is the number of such places.
//!
//! Deliberately absent: time. A tier knows slot indices only; `series` knows how long a slot is.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Add, AddAssign, Range, Sub};

use serde::{Deserialize, Serialize};

use super::{Coverage, SliceDelta};

/// Slots in one block.
pub(super) const BLOCK: i64 = 32;
const LEN: usize = BLOCK as usize;

/// Most events one slot can hold (2.8e14). Prometheus counts in doubles, which stop counting singly at 2^53, and
/// 2^48 leaves room to add up every slot of a tier without overflow.
pub(super) const EVENTS_MAX: u64 = 1 << 48;

/// What one slot of a tier holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Events.
    pub total: u64,
    /// Bad events.
    pub bad: u64,
    /// Slices known or partial.
    pub known: u32,
    /// Slices partial.
    pub partial: u32,
    /// Slices judged: good, bad or undecided.
    pub judged: u32,
    /// Slices judged bad.
    pub judged_bad: u32,
    /// Judged slices of which the evidence says neither; they count as good.
    pub undecided: u32,
}

impl Slot {
    /// Every count times `part / whole`, rounded down, for `part <= whole <= 3600`. One fraction for all, so what was at
    /// most another stays so.
    pub(super) fn share(self, part: i64, whole: i64) -> Slot {
        let whole = whole.max(1) as u64;
        let part = (part.max(0) as u64).min(whole);
        let wide = |count: u64| count.saturating_mul(part).saturating_add(whole / 2) / whole;
        let narrow = |count: u32| wide(u64::from(count)) as u32;
        Slot {
            total: wide(self.total),
            bad: wide(self.bad),
            known: narrow(self.known),
            partial: narrow(self.partial),
            judged: narrow(self.judged),
            judged_bad: narrow(self.judged_bad),
            undecided: narrow(self.undecided),
        }
    }

    /// Whether it is made of these slices and of nothing else, whatever was said of them.
    pub(super) fn holds_just(&self, slices: &[SliceDelta]) -> bool {
        let sum = |count: fn(&SliceDelta) -> u64| slices.iter().map(count).sum::<u64>();
        let partial = slices.iter().filter(|slice| slice.coverage == Coverage::Partial).count();
        (self.total, self.bad) == (sum(|slice| slice.total), sum(|slice| slice.bad))
            && (self.known as usize, self.partial as usize) == (slices.len(), partial)
    }

    fn each(self, other: Slot, wide: impl Fn(u64, u64) -> u64, narrow: impl Fn(u32, u32) -> u32) -> Slot {
        Slot {
            total: wide(self.total, other.total),
            bad: wide(self.bad, other.bad),
            known: narrow(self.known, other.known),
            partial: narrow(self.partial, other.partial),
            judged: narrow(self.judged, other.judged),
            judged_bad: narrow(self.judged_bad, other.judged_bad),
            undecided: narrow(self.undecided, other.undecided),
        }
    }

    fn wrapping_add(self, other: Slot) -> Slot {
        self.each(other, u64::wrapping_add, u32::wrapping_add)
    }

    fn wrapping_sub(self, other: Slot) -> Slot {
        self.each(other, u64::wrapping_sub, u32::wrapping_sub)
    }
}

impl Add for Slot {
    type Output = Slot;

    fn add(self, other: Slot) -> Slot {
        self.each(other, |a, b| a + b, |a, b| a + b)
    }
}

impl AddAssign for Slot {
    fn add_assign(&mut self, other: Slot) {
        *self = *self + other;
    }
}

impl Sub for Slot {
    type Output = Slot;

    /// Never below 0: a saturated slot may hold less than its parts.
    fn sub(self, other: Slot) -> Slot {
        self.each(other, u64::saturating_sub, u32::saturating_sub)
    }
}

/// 32 slots. `set` stores what fits and answers the upper halves of the counts of events that do not, total and bad. Counts
/// over [`EVENTS_MAX`] are cut to that, and the slot is marked partial, since it no longer says all it should.
pub(super) trait Block: Default {
    fn get(&self, slot: usize) -> Slot;
    fn set(&mut self, slot: usize, value: Slot) -> (u32, u32);
    fn sum(&self, from: usize, to: usize) -> Slot;
    /// Reads a little of each line of memory that holds slots before `to`.
    fn skim(&self, to: usize) -> u64;
}

/// Bytes of memory that come at once.
const LINE: usize = 64;

/// By the index of a block, the upper halves of its counts: there where one of them is over 4.3e9, such as bytes counted as
/// events. Few series have any.
type UpperHalves = Option<Box<BTreeMap<i64, [(u32, u32); LEN]>>>;

/// Slots of one slice each: five of the seven counts are single bits.
#[derive(Debug, Clone, Default)]
pub(super) struct FineBlock {
    known: u32,
    partial: u32,
    judged: u32,
    judged_bad: u32,
    undecided: u32,
    /// Total and bad.
    events: [(u32, u32); LEN],
}

impl Block for FineBlock {
    fn get(&self, slot: usize) -> Slot {
        self.sum(slot, slot + 1)
    }

    fn set(&mut self, slot: usize, value: Slot) -> (u32, u32) {
        let cut = value.total.max(value.bad) > EVENTS_MAX;
        let ((total, total_upper), (bad, bad_upper)) = (halves(value.total), halves(value.bad));
        self.events[slot] = (total, bad);
        let put = |bits: &mut u32, on: bool| *bits = *bits & !(1 << slot) | u32::from(on) << slot;
        put(&mut self.known, value.known > 0);
        put(&mut self.partial, value.known > 0 && (cut || value.partial > 0));
        put(&mut self.judged, value.judged > 0);
        put(&mut self.judged_bad, value.judged_bad > 0);
        put(&mut self.undecided, value.undecided > 0);
        (total_upper, bad_upper)
    }

    fn sum(&self, from: usize, to: usize) -> Slot {
        let mask = (((1_u64 << to) - 1) & !((1_u64 << from) - 1)) as u32;
        let (mut total, mut bad) = (0, 0);
        for slot in &self.events[from..to] {
            total += u64::from(slot.0);
            bad += u64::from(slot.1);
        }
        Slot {
            total,
            bad,
            known: (self.known & mask).count_ones(),
            partial: (self.partial & mask).count_ones(),
            judged: (self.judged & mask).count_ones(),
            judged_bad: (self.judged_bad & mask).count_ones(),
            undecided: (self.undecided & mask).count_ones(),
        }
    }

    fn skim(&self, to: usize) -> u64 {
        self.events[..to].iter().step_by(LINE / size_of::<(u32, u32)>()).map(|slot| u64::from(slot.0)).sum()
    }
}

/// The halves of a count of at most [`EVENTS_MAX`], the lower one first.
fn halves(value: u64) -> (u32, u32) {
    let value = value.min(EVENTS_MAX);
    (value as u32, (value >> 32) as u32)
}

/// Five counts of slices side by side in one integer.
pub(super) trait Counts: Copy + Default {
    fn pack(counts: [u32; 5]) -> Self;
    fn unpack(self) -> [u32; 5];
}

macro_rules! counts {
    ($($int:ty: $bits:expr),*) => {$(
        impl Counts for $int {
            fn pack(counts: [u32; 5]) -> Self {
                counts.iter().rev().fold(0, |packed, &count| packed << $bits | <$int>::from(count.min((1 << $bits) - 1)))
            }
            fn unpack(self) -> [u32; 5] {
                std::array::from_fn(|nth| (self >> ($bits * nth) & ((1 << $bits) - 1)) as u32)
            }
        }
    )*};
}
counts!(u32: 5, u64: 9);

/// Slots of many slices, the numbers of which are in `N`.
#[derive(Debug, Clone, Default)]
pub(super) struct CoarseBlock<N>([Coarse<N>; LEN]);

/// One slot, 12 or 16 bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Coarse<N> {
    total: u32,
    bad: u32,
    /// Known, partial, judged, judged bad, undecided.
    slices: N,
}

/// 5-minute slots hold at most 30 slices (resolution 10 s).
pub(super) type MidBlock = CoarseBlock<u32>;
/// Hour slots hold at most 360 slices.
pub(super) type HourBlock = CoarseBlock<u64>;

impl<N: Counts> Block for CoarseBlock<N> {
    fn get(&self, slot: usize) -> Slot {
        let slot = self.0[slot];
        let [known, partial, judged, judged_bad, undecided] = slot.slices.unpack();
        Slot { total: slot.total.into(), bad: slot.bad.into(), known, partial, judged, judged_bad, undecided }
    }

    fn set(&mut self, slot: usize, value: Slot) -> (u32, u32) {
        let cut = value.total.max(value.bad) > EVENTS_MAX;
        let partial = if cut { value.known } else { value.partial };
        let ((total, total_upper), (bad, bad_upper)) = (halves(value.total), halves(value.bad));
        let slices = N::pack([value.known, partial, value.judged, value.judged_bad, value.undecided]);
        self.0[slot] = Coarse { total, bad, slices };
        (total_upper, bad_upper)
    }

    fn sum(&self, from: usize, to: usize) -> Slot {
        (from..to).fold(Slot::default(), |sum, slot| sum + self.get(slot))
    }

    fn skim(&self, to: usize) -> u64 {
        self.0[..to].iter().step_by(LINE / size_of::<Coarse<N>>()).map(|slot| u64::from(slot.total)).sum()
    }
}

/// A block, and the sum of all that ever stood before it.
#[derive(Debug, Clone, Default)]
struct SummedBlock<B> {
    before: Slot,
    block: B,
}

/// A ring of slots.
#[derive(Debug, Clone)]
pub(super) struct Tier<B> {
    /// Index of the front block.
    first: i64,
    blocks: VecDeque<SummedBlock<B>>,
    upper: UpperHalves,
    /// The sum of everything ever held, modulo the width of the counts: only differences mean anything.
    ever: Slot,
    /// First slot this tier speaks for: the oldest one written, later the oldest one kept.
    from: i64,
    blocks_max: usize,
}

impl<B: Block> Tier<B> {
    /// A tier that keeps the newest `slots` slots, and up to a block more.
    pub(super) fn new(slots: i64) -> Self {
        Tier {
            first: 0,
            blocks: VecDeque::new(),
            upper: None,
            ever: Slot::default(),
            from: i64::MAX,
            blocks_max: Self::blocks_for(slots),
        }
    }

    fn blocks_for(slots: i64) -> usize {
        (slots.max(1) as u64).div_ceil(BLOCK as u64) as usize + 1
    }

    /// Makes room for `slots` slots where it has less.
    pub(super) fn grow_to(&mut self, slots: i64) {
        self.blocks_max = self.blocks_max.max(Self::blocks_for(slots));
    }

    /// First slot this tier speaks for; `i64::MAX` when it is empty.
    pub(super) fn from(&self) -> i64 {
        self.from
    }

    /// One past the last slot of the newest block.
    pub(super) fn end(&self) -> i64 {
        (self.first + self.blocks.len() as i64) * BLOCK
    }

    /// Whether the tier has given up older slots to keep newer ones, or is about to.
    fn is_full(&self) -> bool {
        self.blocks.len() == self.blocks_max
    }

    /// Where it begins, if it has given up what is older.
    pub(super) fn given_up(&self) -> Option<i64> {
        (self.is_full() && self.from == self.first * BLOCK).then_some(self.from)
    }

    fn push(&mut self) {
        if self.is_full() {
            self.blocks.pop_front();
            if let Some(upper) = &mut self.upper {
                upper.remove(&self.first);
            }
            self.first += 1;
            self.from = self.from.max(self.first * BLOCK);
        }
        self.blocks.reserve_exact(1);
        self.blocks.push_back(SummedBlock { before: self.ever, block: B::default() });
    }

    /// Whether `slot` is not older than the ring reaches.
    pub(super) fn reaches(&self, slot: i64) -> bool {
        let kept = self.first + self.blocks.len() as i64 - slot.div_euclid(BLOCK);
        self.blocks.is_empty() || kept <= self.blocks_max as i64
    }

    /// Makes the ring hold `slot`; `false` when it is older than the ring reaches.
    fn reach(&mut self, slot: i64) -> bool {
        let block = slot.div_euclid(BLOCK);
        let max = self.blocks_max as i64;
        if self.blocks.is_empty() || block - (self.first + self.blocks.len() as i64) >= max {
            self.blocks.clear();
            self.upper = None;
            self.first = block;
            self.from = slot;
        }
        while block >= self.first + self.blocks.len() as i64 {
            self.push();
        }
        if !self.reaches(slot) {
            return false;
        }
        while block < self.first {
            self.blocks.reserve_exact(1);
            let before = self.blocks[0].before;
            self.blocks.push_front(SummedBlock { before, block: B::default() });
            self.first -= 1;
        }
        self.from = self.from.min(slot);
        true
    }

    /// Changes one slot. Answers what it was and what it is now, or `None` when it is older than the tier reaches.
    pub(super) fn edit(&mut self, slot: i64, change: impl FnOnce(&mut Slot)) -> Option<(Slot, Slot)> {
        if !self.reach(slot) {
            return None;
        }
        let (block, at) = self.place(slot);
        let old = self.with_upper(block, at..at + 1, self.blocks[block].block.get(at));
        let mut new = old;
        change(&mut new);
        let upper = self.blocks[block].block.set(at, new);
        self.set_upper(block, at, upper);
        let new = self.with_upper(block, at..at + 1, self.blocks[block].block.get(at));
        let gain = new.wrapping_sub(old);
        self.blocks.range_mut(block + 1..).for_each(|later| later.before = later.before.wrapping_add(gain));
        self.ever = self.ever.wrapping_add(gain);
        Some((old, new))
    }

    fn place(&self, slot: i64) -> (usize, usize) {
        ((slot.div_euclid(BLOCK) - self.first) as usize, slot.rem_euclid(BLOCK) as usize)
    }

    /// What a block says of slots, with the upper halves of their counts.
    fn with_upper(&self, block: usize, slots: Range<usize>, lower: Slot) -> Slot {
        let Some(halves) = self.upper.as_ref().and_then(|upper| upper.get(&(self.first + block as i64))) else {
            return lower;
        };
        let add = |sum: (u64, u64), half: &(u32, u32)| (sum.0 + u64::from(half.0), sum.1 + u64::from(half.1));
        let (total, bad) = halves[slots].iter().fold((0, 0), add);
        Slot { total: lower.total + (total << 32), bad: lower.bad + (bad << 32), ..lower }
    }

    fn set_upper(&mut self, block: usize, at: usize, halves: (u32, u32)) {
        let index = self.first + block as i64;
        match &mut self.upper {
            Some(upper) if halves != (0, 0) || upper.contains_key(&index) => {
                upper.entry(index).or_default()[at] = halves
            }
            None if halves != (0, 0) => self.upper.get_or_insert_default().entry(index).or_default()[at] = halves,
            _ => {}
        }
    }

    /// One slot; empty where the tier holds nothing.
    pub(super) fn get(&self, slot: i64) -> Slot {
        if slot < self.from || slot >= self.end() {
            return Slot::default();
        }
        let (block, at) = self.place(slot);
        self.with_upper(block, at..at + 1, self.blocks[block].block.get(at))
    }

    /// The sum of the slots `from..to`; what the tier does not hold counts nothing.
    pub(super) fn range(&self, from: i64, to: i64) -> Slot {
        let (from, to) = (from.max(self.from), to.min(self.end()));
        if from >= to {
            return Slot::default();
        }
        self.up_to(to).wrapping_sub(self.up_to(from))
    }

    /// The sum of everything ever held before `slot`.
    fn up_to(&self, slot: i64) -> Slot {
        let (block, at) = self.place(slot);
        match self.blocks.get(block) {
            Some(summed) => summed.before.wrapping_add(self.with_upper(block, 0..at, summed.block.sum(0, at))),
            None => self.ever,
        }
    }

    /// Reads a little of all that [`Tier::range`] reads at this edge.
    pub(super) fn skim(&self, slot: i64) -> u64 {
        let (block, at) = self.place(slot);
        self.blocks.get(block).map_or(0, |summed| summed.before.total ^ summed.block.skim(at))
    }

    /// Slots that hold anything known, ascending.
    pub(super) fn known(&self) -> impl Iterator<Item = (i64, Slot)> {
        self.blocks.iter().enumerate().flat_map(move |(block, summed)| {
            let first = (self.first + block as i64) * BLOCK;
            let slot = move |at: usize| self.with_upper(block, at..at + 1, summed.block.get(at));
            let slots = (0..LEN).map(move |at| (first + at as i64, slot(at)));
            slots.filter(|(_, slot)| slot.known > 0)
        })
    }

    /// Heap it holds, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let upper = self.upper.as_ref().map_or(0, |upper| upper.len());
        self.blocks.capacity() * size_of::<SummedBlock<B>>() + upper * size_of::<(i64, [(u32, u32); LEN])>()
    }
}
