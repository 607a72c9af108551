//! One counter pair read on from its cursor: each count against the one before it, and what the two together mean.

use super::cursors::{Last, Raw};
use super::doubt::{Anew, CounterDoubt, Fall, Low, RELATED_MS, SETTLED};
use super::evidence::{AWAY_INTERVALS, FORGOTTEN_INTERVALS, TargetEvidence};
use super::pace::FEW;
use super::pair::{Count, CounterPair};
use super::reason::Reason;
use super::{ReadDeltas, Tracker};

/// A series that is not seen for so many scrapes of its target was gone.
pub(super) const GONE_INTERVALS: f64 = 1.75;

/// What a counter pair gained between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CounterDelta {
    /// Time of the older sample; `None` when the series counts from nothing.
    pub from_ms: Option<i64>,
    /// Time of the newer sample, where it is booked.
    pub at_ms: i64,
    /// Events gained.
    pub events: Count,
    /// The gap is longer than scrapes are apart: what happened inside is not known in detail.
    pub hole: bool,
    pub why: Reason,
}

/// A first sample: what it is worth is decided when all of its target is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FirstSample {
    pub at_ms: i64,
    pub count: Count,
    /// When the counter began, as the source stores it.
    pub start_ms: Option<i64>,
}

/// One counter pair on its way through a read.
pub(super) struct Deltas<'a> {
    pub tracker: &'a Tracker,
    pub evidence: &'a TargetEvidence,
    pub raw: &'a Raw,
    /// A first sample is looked for from here on, milliseconds: since its SLIs are read, or it ended.
    pub from_ms: i64,
    pub last: Option<Last>,
    pub doubt: CounterDoubt,
    pub first: Option<FirstSample>,
    /// Since when it flickers; found in this read.
    pub flickers: Vec<(i64, i64)>,
    pub found: &'a mut ReadDeltas,
}

impl Deltas<'_> {
    pub fn walk(&mut self, pair: &CounterPair<'_>, until_ms: i64, mut book: impl FnMut(CounterDelta)) {
        let target = &self.tracker.targets[self.raw.target as usize];
        let least_ms = self.evidence.least_interval_ms(target, self.raw.target);
        // Since when values are no counts.
        let mut spoilt: Option<CounterDelta> = None;
        for point in pair.points(until_ms) {
            let at_ms = point.at_ms;
            // What an SLI did before it was read this way is not counted this way.
            if self.last.map_or(at_ms < self.from_ms, |last| at_ms <= last.at_ms) {
                continue;
            }
            self.found.samples += 1;
            let none = CounterDelta { from_ms: None, at_ms, events: Count::default(), hole: false, why: Reason::First };
            let Some(count) = point.count else {
                // Back to the sample before: what it was where none was taken yet nobody knows either.
                let before_ms = || match self.last {
                    Some(last) => last.at_ms,
                    None => at_ms - self.evidence.interval_ms(target, self.raw.target, at_ms).unwrap_or(0),
                };
                let from_ms = spoilt.map_or_else(|| Some(before_ms()), |spoilt| spoilt.from_ms);
                let why = if point.too_large { Reason::TooLarge } else { Reason::NotANumber };
                spoilt = Some(CounterDelta { from_ms, why, ..none });
                continue;
            };
            // What comes after bridges it.
            if let Some(bridged) = spoilt.take() {
                book(CounterDelta { why: Reason::NotANumber, ..bridged });
            }
            let start_ms = pair.whole.samples.start_ms(at_ms);
            let Some(before) = self.last else {
                self.first = Some(FirstSample { at_ms, count, start_ms });
                if self.is_of_new_process(at_ms) {
                    // Whatever a view of the process before says now, under this name, is over it.
                    self.doubt.before_restart = Some((at_ms, 0.0));
                }
                book(none);
                self.last = Some(Last { at_ms, count });
                continue;
            };
            let newest = self.doubt.low.map_or(before.count, |low| low.newest);
            let counter_began = start_ms.map(|start| {
                let known = pair.whole.samples.start_ms(before.at_ms);
                start > before.at_ms || known.is_some_and(|known| start > known)
            });
            let apart_ms = (at_ms - before.at_ms) as f64;
            // How often it is scraped is worked out only where it can matter.
            let missed = apart_ms > GONE_INTERVALS * least_ms as f64;
            let step = Step { before, newest, now: count, at_ms, missed, counter_began };
            self.doubt.see(at_ms, count.whole);
            let (why, events, stands) = self.judge(&step);
            // What comes later says nothing of how often it was scraped here.
            let hole = apart_ms > AWAY_INTERVALS * least_ms as f64
                && (self.evidence.interval_ms(target, self.raw.target, at_ms))
                    .is_some_and(|every| apart_ms > AWAY_INTERVALS * every as f64);
            let why = if why == Reason::Rose && hole { Reason::Bridged } else { why };
            let from_ms = (!matches!(why, Reason::ShownAfterRestart | Reason::SetAnew)).then_some(before.at_ms);
            book(CounterDelta { from_ms, events, hole, why, ..none });
            self.last = Some(Last { at_ms, count: stands });
        }
        if let Some(lasting) = spoilt {
            book(CounterDelta { hole: true, ..lasting });
        }
    }

    /// What a step means, what it gained, and what the next count is compared with.
    fn judge(&mut self, step: &Step) -> (Reason, Count, Count) {
        let Step { before, newest, now, at_ms, .. } = *step;
        let (target, of) = (self.raw.target, &self.tracker.targets[self.raw.target as usize]);
        let began_since = |was_ms| step.counter_began.or_else(|| self.evidence.began_anew(of, target, was_ms, at_ms));
        let process_began = began_since(before.at_ms);
        let fell = now.whole < newest.whole;
        // The newest sample was a view from before a restart, which this one is after.
        let viewed = self.doubt.view.filter(|&(view_ms, _)| fell && view_ms == before.at_ms);
        if viewed.is_some_and(|(_, was_ms)| began_since(was_ms) == Some(true)) {
            return self.began(Reason::ProcessBegan, step);
        }
        if self.is_view_from_before_restart(step) {
            self.doubt.view = Some((at_ms, before.at_ms));
            return match now.whole >= before.count.whole {
                true => self.rose(step),
                false => (Reason::Fell, Count::default(), before.count),
            };
        }
        if process_began == Some(true) && (fell || self.evidence.fell(target, at_ms) > 0) {
            return match (self.evidence.restored(target, at_ms), fell) {
                (false, _) => self.began(Reason::ProcessBegan, step),
                (true, true) => self.set_anew(now),
                (true, false) => self.rose(step),
            };
        }
        if process_began == Some(true) && self.is_of_process_since(step) {
            return self.began(Reason::ProcessBegan, step);
        }
        if self.shown_after_restart(step) {
            return self.began(Reason::ShownAfterRestart, step);
        }
        if now.whole >= before.count.whole {
            return self.rose(step);
        }
        if let Some(low) = self.doubt.low.filter(|low| low.anew != Anew::No) {
            return self.stayed_low(step, low);
        }
        if !fell {
            return self.still_low(step);
        }
        let fall = newest.whole - now.whole;
        let possible = self.possible(now.whole, newest.whole, before.at_ms, at_ms);
        let away = self.is_away(before.at_ms, at_ms);
        let goes_on = step.counter_began == Some(false);
        let most_fell = !goes_on && self.evidence.most_fell(target, at_ms);
        match possible {
            true if away && process_began != Some(false) => self.began(Reason::TargetAway, step),
            true if most_fell => {
                self.note(step, true);
                self.began(Reason::MostFell, step)
            }
            // A process that went on, and a slip of a few, are no counter that was set.
            false if (away || most_fell) && process_began != Some(false) && self.is_deep(fall, at_ms) => {
                self.set_anew(now)
            }
            _ => {
                self.found.glitches += 1;
                let anew = match possible && !goes_on {
                    true if self.evidence.most_may_have_fallen(target, at_ms) => Anew::Process,
                    true if self.was_forgotten(step) => Anew::Counter,
                    _ => Anew::No,
                };
                if anew != Anew::Counter && self.is_deep(fall, at_ms) {
                    self.note(step, false);
                }
                self.doubt.low = Some(Low { landed: now, newest: now, samples: 1, anew });
                (Reason::Fell, Count::default(), before.count)
            }
        }
    }

    /// Whether a new process can have counted `value` by now, where the old one stood at `before`.
    fn possible(&self, value: f64, before: f64, was_ms: i64, at_ms: i64) -> bool {
        self.evidence.possible(self.tracker, self.raw, value, Some(before), was_ms, at_ms)
    }

    /// Whether a fall is too deep for an older view of the counter, as replicas that are merged hand it out.
    fn is_deep(&self, fall: f64, at_ms: i64) -> bool {
        self.evidence.is_deep(self.tracker, self.raw, fall, at_ms)
    }

    /// Lower for a second sample, as a new process or a counter that was forgotten is: that was no older view of it.
    fn stayed_low(&mut self, step: &Step, low: Low) -> (Reason, Count, Count) {
        let Step { newest, now, at_ms, .. } = *step;
        self.found.resets += 1;
        // That it was left out says why it fell: that is no flicker.
        let why = if low.anew == Anew::Counter { Reason::Forgotten } else { Reason::MostFell };
        if why == Reason::MostFell {
            let (was_ms, from) = (step.before.at_ms, step.before.count.whole);
            self.remember(Fall { was_ms, at_ms, from, to: now.whole, believed: true });
        }
        if now.whole >= newest.whole {
            self.doubt.low = None;
            let (since, stands) = follow(low.landed, now);
            return (why, low.landed.plus(since), stands);
        }
        // And lower again: the next sample says what that was.
        let possible = self.possible(now.whole, newest.whole, step.before.at_ms, at_ms);
        let fell = possible && self.evidence.most_may_have_fallen(self.raw.target, at_ms);
        let anew = if fell { Anew::Process } else { Anew::No };
        self.doubt.low = Some(Low { landed: now, newest: now, samples: 1, anew });
        (why, low.landed, low.landed)
    }

    /// It stands where nobody saw it count to.
    fn set_anew(&mut self, now: Count) -> (Reason, Count, Count) {
        self.doubt.low = None;
        (Reason::SetAnew, Count::default(), now)
    }

    /// A new process: its value is what it counted since it began.
    fn began(&mut self, why: Reason, step: &Step) -> (Reason, Count, Count) {
        self.found.resets += 1;
        // What it had counted since it was forgotten is not lost with its process.
        let forgotten = self.doubt.low.take().filter(|low| low.anew == Anew::Counter);
        let events = forgotten.map_or(step.now, |low| low.newest.plus(step.now));
        self.doubt.before_restart = Some((step.at_ms, step.newest.whole));
        (why, events, step.now)
    }

    /// Whether the process that answered began after the scrape before, and can have counted what it says since: in a crash
    /// loop that is often more than the one before it had.
    fn is_of_process_since(&self, step: &Step) -> bool {
        let Step { before, newest, now, at_ms, .. } = *step;
        let (target, of) = (self.raw.target, &self.tracker.targets[self.raw.target as usize]);
        let next = |every_ms| ((at_ms - before.at_ms) as f64) < GONE_INTERVALS * every_ms as f64;
        self.evidence.process_at(target, at_ms).is_some_and(|began_ms| began_ms > before.at_ms)
            && self.evidence.beat_ms(of, target, at_ms).is_some_and(next)
            && !self.evidence.kept(target, at_ms)
            && self.possible(now.whole, newest.whole, before.at_ms, at_ms)
    }

    /// Its target began anew since the scrape before.
    fn is_of_new_process(&self, at_ms: i64) -> bool {
        let (target, of) = (self.raw.target, &self.tracker.targets[self.raw.target as usize]);
        let since = |was_ms| self.evidence.began_anew(of, target, was_ms, at_ms) == Some(true);
        self.evidence.previous(of, target, at_ms).is_some_and(since)
    }

    /// A replica's view from before a restart that another one showed already.
    fn is_view_of_old_process(&self, step: &Step) -> bool {
        let Step { before, now, at_ms, .. } = *step;
        let Some((_, old)) = self.doubt.before_restart.filter(|&(at, old)| at == before.at_ms && now.whole >= old)
        else {
            return false;
        };
        // Just what the old one said last, or more than the new one can have counted, be it by what its siblings say.
        let gained = (now.whole - before.count.whole).max(self.evidence.gained(self.raw, at_ms));
        let possible = || self.possible(gained, before.count.whole, before.at_ms, at_ms);
        self.evidence.comes_soon(self.tracker, self.raw, before.at_ms, at_ms) && (now.whole == old || !possible())
    }

    fn rose(&mut self, step: &Step) -> (Reason, Count, Count) {
        let Step { before, now, at_ms, .. } = *step;
        if self.is_view_of_old_process(step) {
            return (Reason::Fell, Count::default(), before.count);
        }
        let why = if self.doubt.low.take().is_some() { Reason::Recovered } else { Reason::Rose };
        // It counted on from lower for a while, and is back where it was: that is no gain.
        if let Some((was_ms, was)) = self.doubt.was.filter(|(was_ms, _)| at_ms - was_ms <= RELATED_MS)
            && now.whole >= was.whole
        {
            self.doubt.was = None;
            let gain = now.whole - before.count.whole;
            if !self.evidence.possible(self.tracker, self.raw, gain, None, before.at_ms, at_ms) {
                let fall = Fall { was_ms, at_ms, from: was.whole, to: before.count.whole, believed: false };
                self.remember(fall);
                let (events, stands) = follow(was, now);
                return (Reason::Recovered, events, stands);
            }
        }
        let (events, stands) = follow(before.count, now);
        (why, events, stands)
    }

    /// Lower than it was, and no lower than at the sample before.
    fn still_low(&mut self, step: &Step) -> (Reason, Count, Count) {
        let Step { before, now, at_ms, .. } = *step;
        let low = self.doubt.low.unwrap_or(Low { landed: now, newest: now, samples: 0, anew: Anew::No });
        let low = Low { newest: now, samples: low.samples.saturating_add(1), ..low };
        if low.samples < SETTLED {
            self.doubt.low = Some(low);
            return (Reason::Fell, Count::default(), before.count);
        }
        self.doubt.low = None;
        self.doubt.was = Some((at_ms, before.count));
        let (events, stands) = follow(low.landed, now);
        (Reason::Lowered, events, stands)
    }

    /// Its target was not scraped, so nobody saw what became of it.
    fn is_away(&self, was_ms: i64, at_ms: i64) -> bool {
        let of = &self.tracker.targets[self.raw.target as usize];
        let every = self.evidence.interval_ms(of, self.raw.target, at_ms);
        let scraped = self.evidence.previous(of, self.raw.target, at_ms).unwrap_or(was_ms).max(was_ms);
        every.is_some_and(|every| (at_ms - scraped) as f64 > AWAY_INTERVALS * every as f64)
    }

    /// It was gone while its target was scraped, and the target began anew meanwhile: what it says now it counted since.
    /// Without a restart it was hidden, and counted on.
    fn shown_after_restart(&self, step: &Step) -> bool {
        self.began_unseen(step).is_some_and(|Unseen { began_ms, .. }| {
            let before = Some(step.newest.whole);
            let since_ms = began_ms.min(step.at_ms - 1);
            self.evidence.possible(self.tracker, self.raw, step.now.whole, before, since_ms, step.at_ms)
        })
    }

    /// It was gone when its target had begun anew, and soon after that it says what it can have said before: a replica's
    /// view from then, and no news of the new process. Where that one says less at the next scrape, it began anew.
    fn is_view_from_before_restart(&self, step: &Step) -> bool {
        self.began_unseen(step).is_some_and(|Unseen { scraped_ms, began_ms }| {
            let Step { before: Last { at_ms: was_ms, count: before }, now, at_ms, .. } = *step;
            let gained = now.whole - before.whole;
            began_ms <= scraped_ms
                && self.evidence.comes_soon(self.tracker, self.raw, scraped_ms, at_ms)
                && !self.is_deep(-gained, at_ms)
                && self.evidence.possible(self.tracker, self.raw, gained, None, was_ms, at_ms)
        })
    }

    /// Whether it was left out of some scrapes of its target, whose process went on, and holds what can have happened since
    /// the last of them: exporters forget series for want of events (a StatsD exporter's `ttl`), and begin them at nothing.
    fn was_forgotten(&self, step: &Step) -> bool {
        let (was_ms, at_ms) = (step.before.at_ms, step.at_ms);
        let (target, of) = (self.raw.target, &self.tracker.targets[self.raw.target as usize]);
        let every_ms = self.evidence.beat_ms(of, target, at_ms).filter(|_| step.missed);
        every_ms.is_some_and(|every| (at_ms - was_ms) as f64 > FORGOTTEN_INTERVALS * every as f64)
            && !self.evidence.other_process(of, target, was_ms, at_ms)
            && (self.evidence.scraped_with(target, at_ms).filter(|&scraped_ms| scraped_ms > was_ms)).is_some_and(
                |scraped_ms| self.evidence.possible(self.tracker, self.raw, step.now.whole, None, scraped_ms, at_ms),
            )
    }

    /// When its target began anew while it was not there though its target was scraped.
    fn began_unseen(&self, step: &Step) -> Option<Unseen> {
        let (was_ms, at_ms) = (step.before.at_ms, step.at_ms);
        if !step.missed {
            return None;
        }
        let of = &self.tracker.targets[self.raw.target as usize];
        let every_ms = self.evidence.beat_ms(of, self.raw.target, at_ms)?;
        if ((at_ms - was_ms) as f64) < GONE_INTERVALS * every_ms as f64 {
            return None;
        }
        // Another process of the same address, which goes on.
        if self.evidence.process_at(self.raw.target, at_ms).is_some_and(|began_ms| began_ms <= was_ms) {
            return None;
        }
        let scraped_ms = self.evidence.previous(of, self.raw.target, at_ms).filter(|&scraped| scraped > was_ms)?;
        let restarts = self.evidence.restarts(self.raw.target).chain(of.restarted_ms);
        let began_ms = restarts.filter(|&t| t > was_ms && t <= at_ms).max()?;
        Some(Unseen { scraped_ms, began_ms })
    }

    fn note(&mut self, step: &Step, believed: bool) {
        let (was_ms, at_ms) = (step.before.at_ms, step.at_ms);
        self.remember(Fall { was_ms, at_ms, from: step.newest.whole, to: step.now.whole, believed });
    }

    fn remember(&mut self, fall: Fall) {
        let nameless = self.tracker.targets[self.raw.target as usize].nameless && !fall.believed;
        let flickers = self.doubt.note(fall).or(nameless.then_some(fall.was_ms));
        self.flickers.extend(flickers.map(|since_ms| (since_ms, fall.at_ms)));
    }
}

/// A counter was not there when its target had begun anew.
struct Unseen {
    /// The scrape of its target before.
    scraped_ms: i64,
    /// When the target began anew.
    began_ms: i64,
}

/// From one count to the next.
struct Step {
    /// What was counted, and when it was seen last.
    before: Last,
    /// What the counter said then: lower where it waits.
    newest: Count,
    now: Count,
    at_ms: i64,
    /// It may have been left out of a scrape between the two.
    missed: bool,
    /// Whether the counter began anew, where the source stores that.
    counter_began: Option<bool>,
}

/// Events gained from `before` to `now`, where the whole rose, and what the next count is compared with. A bucket follows
/// its count: what only one of the two did is no restart of both.
pub(super) fn follow(before: Count, now: Count) -> (Count, Count) {
    let whole = now.whole - before.whole;
    let part_of = |before: f64, now: f64, most: f64| match () {
        () if now >= before => (now - before, now),
        () if fell_far(before, now) => (now.min(most), now),
        () => (0.0, before),
    };
    let (part, part_stands) = part_of(before.part, now.part, whole);
    let (lower, lower_stands) = part_of(before.lower, now.lower, part);
    let (good, good_stands) = part_of(before.good, now.good, part);
    let stands = Count { whole: now.whole, part: part_stands, lower: lower_stands, good: good_stands };
    (Count { whole, part, lower, good: good.clamp(lower.min(part), part) }, stands)
}

/// A fall of a bucket too deep for an older sample of it.
fn fell_far(before: f64, now: f64) -> bool {
    (before - now) * 8.0 >= before && now < before && before > FEW
}
