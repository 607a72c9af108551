//! Cumulative event counts as pure functions of time: "how many events happened in all seconds before `s`".
//!
//! Events lie on a one-second grid and are whole. Every count can be asked for any second in O(log n), which is what
//! lets thirty days of samples be served without storing one. Parts of a count (its errors, the events under a bucket
//! bound) are taken from the parent's *integer* by fixed-point arithmetic: a part never outgrows its parent, both only
//! ever rise, and what is left over is a count again.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Seconds of a day.
pub const DAY: i64 = 86_400;
/// Binary places of a ratio: 2^-40 is finer than one event in a trillion.
const PLACES: u32 = 40;

/// How a rate changes over the day; times of day are seconds after midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// The same all day.
    Flat,
    /// A cosine with its top at `peak_s`; the top is `ratio` (>= 1) times the bottom.
    Cosine {
        /// Top over bottom.
        ratio: f64,
        /// Second of the day of the top.
        peak_s: i64,
    },
    /// Two levels: `ratio` (>= 0) times the day's level for `length_s` seconds from `from_s` on. 0 is an idle night.
    Square {
        /// Level of the night over the level of the day.
        ratio: f64,
        /// Second of the day at which the night begins.
        from_s: i64,
        /// Its length, seconds, < 86,400.
        length_s: i64,
    },
}

/// A traffic: a mean rate, its shape over the day, and an optional wobble that keeps every total.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Events a second, mean over a day (over the busy hours for `Square`).
    pub rate: f64,
    /// Shape over the day.
    pub shape: Shape,
    /// Seed of the wobble: traffic runs up to 20 s ahead of or behind its plan, differently each minute.
    pub wobble: Option<u64>,
    /// Where counting begins; midnight UTC of some day before the first sample.
    pub origin: i64,
}

impl Traffic {
    /// Expected events between the origin and `s`; rises with `s`.
    fn expected(&self, s: i64) -> f64 {
        let planned = (s - self.origin) as f64;
        let t = match self.wobble {
            None => planned,
            Some(seed) => planned + 20.0 * drift(seed, s),
        };
        let (days, second) = ((t / DAY as f64).floor(), t.rem_euclid(DAY as f64));
        match self.shape {
            Shape::Flat => self.rate * t,
            Shape::Cosine { ratio, peak_s } => {
                let swing = (ratio - 1.0) / (ratio + 1.0);
                let turn = std::f64::consts::TAU / DAY as f64;
                self.rate * (t + swing / turn * (((t - peak_s as f64) * turn).sin()))
            }
            Shape::Square { ratio, from_s, length_s } => {
                let (from, length) = (from_s as f64, length_s as f64);
                let night_until = |second: f64| {
                    // The night may run past midnight: count its part before midnight and its part after.
                    let late = (second - from).clamp(0.0, length.min(DAY as f64 - from));
                    let early = second.min((from + length - DAY as f64).max(0.0));
                    late + early
                };
                let night = days * length + night_until(second);
                self.rate * ((t - night) + ratio * night)
            }
        }
    }
}

/// Value noise in [-1, 1] with one lattice point a minute. Its slope stays under 1/30 a second, so a wobble of 20 s
/// never turns time back.
fn drift(seed: u64, s: i64) -> f64 {
    let (minute, within) = (s.div_euclid(60), s.rem_euclid(60) as f64 / 60.0);
    let point = |m: i64| unit(hash(seed, m as u64)) * 2.0 - 1.0;
    let (a, b) = (point(minute), point(minute + 1));
    a + (b - a) * within
}

/// splitmix64 of a seed and an index: the one source of chance, random access.
pub fn hash(seed: u64, index: u64) -> u64 {
    let mut z = seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A hash as a number in [0, 1).
pub fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// A number that changes at known seconds: an error ratio, a share of slow requests, a queue length.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    base: f64,
    changes: BTreeMap<i64, f64>,
}

impl Timeline {
    /// `base` at all times.
    pub fn new(base: f64) -> Self {
        Timeline { base, changes: BTreeMap::new() }
    }

    /// `value` in [from, to); what was set there before is overwritten.
    pub fn during(mut self, from: i64, to: i64, value: f64) -> Self {
        if from < to {
            let after = self.at(to);
            let inside: Vec<i64> = self.changes.range(from..to).map(|(&s, _)| s).collect();
            for s in inside {
                self.changes.remove(&s);
            }
            self.changes.insert(from, value);
            self.changes.insert(to, after);
        }
        self
    }

    /// `value` for `length_s` seconds every `period_s`, first at the first multiple of `period_s` plus `offset_s`
    /// (counted from the epoch) in [from, to).
    pub fn bursts(mut self, from: i64, to: i64, period_s: i64, offset_s: i64, length_s: i64, value: f64) -> Self {
        let mut s = from + (offset_s - from).rem_euclid(period_s);
        while s < to {
            self = self.during(s, s + length_s, value);
            s += period_s;
        }
        self
    }

    /// The value at `s`.
    pub fn at(&self, s: i64) -> f64 {
        self.changes.range(..=s).next_back().map_or(self.base, |(_, &value)| value)
    }
}

/// A cumulative count; cheap to clone.
#[derive(Debug, Clone)]
pub struct Count(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Traffic(Traffic),
    Poisson { seed: u64, first_minute: i64, before: Vec<u64> },
    Part { of: Count, steps: Vec<Step> },
    Rest { of: Count, without: Count },
    Sum(Vec<Count>),
}

/// From second `from` on, `ratio` of the parent's events belong to the part.
#[derive(Debug)]
struct Step {
    from: i64,
    ratio: u64,
    parent_before: u64,
    part_before: u128,
}

impl Count {
    /// Whole events of a traffic, rounded so that no fraction is ever lost.
    pub fn of(traffic: Traffic) -> Self {
        Count(Arc::new(Kind::Traffic(traffic)))
    }

    /// A Poisson process of `rate(s)` events a second over [from, to), widened to whole minutes (the rate is read once
    /// a minute); no events outside. Costs 8 bytes a minute.
    pub fn poisson(seed: u64, from: i64, to: i64, rate: impl Fn(i64) -> f64) -> Self {
        let first_minute = from.div_euclid(60);
        let mut before = vec![0];
        let mut sum = 0;
        for minute in first_minute..(to + 59).div_euclid(60) {
            sum += draw_poisson(hash(seed, minute as u64), rate(minute * 60) * 60.0);
            before.push(sum);
        }
        Count(Arc::new(Kind::Poisson { seed, first_minute, before }))
    }

    /// The part of this count that a changing ratio (clamped to 0..=1) picks.
    pub fn part(&self, ratio: &Timeline) -> Count {
        let mut steps = vec![Step { from: i64::MIN, ratio: fixed(ratio.base), parent_before: 0, part_before: 0 }];
        for (&from, &value) in &ratio.changes {
            let last = &steps[steps.len() - 1];
            let parent_before = self.before(from);
            let part_before =
                last.part_before + u128::from(last.ratio) * u128::from(parent_before - last.parent_before);
            steps.push(Step { from, ratio: fixed(value), parent_before, part_before });
        }
        Count(Arc::new(Kind::Part { of: self.clone(), steps }))
    }

    /// A constant share of this count.
    pub fn share(&self, ratio: f64) -> Count {
        self.part(&Timeline::new(ratio))
    }

    /// This count without one of its own parts.
    pub fn without(&self, part: &Count) -> Count {
        Count(Arc::new(Kind::Rest { of: self.clone(), without: part.clone() }))
    }

    /// The sum of counts.
    pub fn sum(counts: Vec<Count>) -> Count {
        Count(Arc::new(Kind::Sum(counts)))
    }

    /// Events in all seconds before `s`.
    pub fn before(&self, s: i64) -> u64 {
        match &*self.0 {
            // A float that is too small for u64 becomes 0: nothing is counted before the origin.
            Kind::Traffic(traffic) => traffic.expected(s) as u64,
            Kind::Poisson { seed, first_minute, before } => poisson_before(*seed, *first_minute, before, s),
            Kind::Part { of, steps } => {
                let step = &steps[steps.partition_point(|step| step.from <= s) - 1];
                let parent = of.before(s).saturating_sub(step.parent_before);
                ((step.part_before + u128::from(step.ratio) * u128::from(parent)) >> PLACES) as u64
            }
            Kind::Rest { of, without } => of.before(s) - without.before(s),
            Kind::Sum(counts) => counts.iter().map(|count| count.before(s)).sum(),
        }
    }

    /// Events in [from, to).
    pub fn between(&self, from: i64, to: i64) -> u64 {
        if from < to { self.before(to) - self.before(from) } else { 0 }
    }
}

fn fixed(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * (1u64 << PLACES) as f64).round() as u64
}

/// Within its minute every event falls on a second of its own choice, which is what makes the process Poisson.
fn poisson_before(seed: u64, first_minute: i64, before: &[u64], s: i64) -> u64 {
    let minute = s.div_euclid(60);
    let index = minute - first_minute;
    if index < 0 {
        return 0;
    }
    let Ok(index) = usize::try_from(index) else { return 0 };
    let Some(&next) = before.get(index + 1) else { return before[before.len() - 1] };
    let second = s.rem_euclid(60) as u64;
    let draw = hash(seed ^ 0x5EC0_17D5, minute as u64);
    let within = (0..next - before[index]).filter(|&event| hash(draw, event) % 60 < second).count();
    before[index] + within as u64
}

/// A Poisson draw by multiplication (Knuth), in portions of mean 30 so that `exp` never underflows.
fn draw_poisson(seed: u64, mean: f64) -> u64 {
    let (mut left, mut drawn, mut index) = (mean.max(0.0), 0, 0);
    while left > 0.0 {
        let portion = left.min(30.0);
        let limit = (-portion).exp();
        let mut product = 1.0;
        loop {
            product *= unit(hash(seed, index));
            index += 1;
            if product <= limit {
                break;
            }
            drawn += 1;
        }
        left -= portion;
    }
    drawn
}

#[cfg(test)]
mod tests;
