//! How a counter is shown: when at all, and what exporters, merging servers and several processes behind one address do
//! to it on its way. The truth is not touched by any of it.

use super::Sample;
use super::pod::Pod;
use super::value::Value;
use crate::demo::count::{hash, unit};

/// How a counter is shown.
#[derive(Debug, Clone, Default)]
pub struct Exposure {
    pub(super) born: bool,
    pub(super) spans: Option<Vec<(i64, i64)>>,
    pub(super) twist: Option<Twist>,
}

/// What is done to a counter on its way.
#[derive(Debug, Clone, PartialEq)]
pub enum Twist {
    /// Each sample has a time of its own, up to `most_s` seconds (less than the scrape interval) before the scrape.
    OwnTimes {
        /// Seed of the times.
        seed: u64,
        /// Seconds.
        most_s: i64,
    },
    /// After each scrape whose number divides by `every` a second replica's view follows 1.04 s later: what the scrape
    /// before it saw.
    Replica {
        /// Scrapes between two such views.
        every: i64,
    },
    /// A share of scrapes sees 1 to 3 events less.
    Glitch {
        /// Seed of the choice.
        seed: u64,
        /// Share of the scrapes.
        share: f64,
    },
    /// A share of scrapes sees the count of `by_s` seconds ago: read without a lock beside its siblings.
    Late {
        /// Seed of the choice.
        seed: u64,
        /// Share of the scrapes.
        share: f64,
        /// Seconds.
        by_s: i64,
    },
    /// Two processes answer by chance; the first has `share` of all events.
    Workers {
        /// Seed of the turns; series with one seed see the same process.
        seed: u64,
        /// Share of the first.
        share: f64,
    },
    /// Counted since long before: so much stood there at the start of each life.
    Before(f64),
    /// Each process takes over what the one before had counted, from a file: since this moment, seconds.
    TakenOver(i64),
    /// Its exporter forgot it and began it anew at nothing at these moments, seconds, in time order.
    Forgotten(Vec<i64>),
}

impl Exposure {
    /// From the start of each life on, and as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appears with its first event, anew in each life.
    pub fn born(self) -> Self {
        Exposure { born: true, ..self }
    }

    /// Only within these spans, [from, to) in seconds, in time order and apart.
    pub fn within(self, spans: Vec<(i64, i64)>) -> Self {
        Exposure { spans: Some(spans), ..self }
    }

    /// With something done to it.
    pub fn twisted(self, twist: Twist) -> Self {
        Exposure { twist: Some(twist), ..self }
    }
}

impl Twist {
    /// Appends what scrape `number` of the life that began at `started` leaves of `value`, oldest first.
    pub(super) fn samples(&self, pod: &Pod, value: &Value, (number, started): (i64, i64), out: &mut Vec<Sample>) {
        let at_ms = pod.at_ms(number);
        let second = at_ms.div_euclid(1000);
        let at = |s: i64| if s < started { 0.0 } else { value.at(s, started) };
        let plain = Sample { at_ms, value: at(second) };
        let chosen = |seed: u64, share: f64| unit(hash(seed, number as u64)) < share;
        match *self {
            Twist::OwnTimes { seed, most_s } => {
                let at_ms = at_ms - (hash(seed, number as u64) % (most_s as u64 * 1000)) as i64;
                out.push(Sample { at_ms, value: at(at_ms.div_euclid(1000)) });
            }
            Twist::Replica { every } => {
                out.push(plain);
                let before = pod.at_ms(number - 1).div_euclid(1000);
                if number % every == 0 && before >= started {
                    out.push(Sample { at_ms: at_ms + 1_040, value: at(before) });
                }
            }
            Twist::Glitch { seed, share } => {
                let less = if chosen(seed, share) { 1 + hash(seed ^ 0x61, number as u64) % 3 } else { 0 };
                out.push(Sample { value: (plain.value - less as f64).max(0.0), ..plain });
            }
            Twist::Late { seed, share, by_s } => {
                let value = if chosen(seed, share) { at(second - by_s) } else { plain.value };
                out.push(Sample { value, ..plain });
            }
            Twist::Workers { seed, share } => {
                let of_first = (plain.value * share).floor();
                let value = if chosen(seed, 0.5) { of_first } else { plain.value - of_first };
                out.push(Sample { value, ..plain });
            }
            Twist::TakenOver(since) => out.push(Sample { value: value.at(second, since), ..plain }),
            Twist::Forgotten(ref moments) => {
                let since = moments[..moments.partition_point(|&at| at <= second)].last();
                let value = value.at(second, since.map_or(started, |&since| since.max(started)));
                out.push(Sample { value, ..plain });
            }
            Twist::Before(base) => out.push(Sample { value: base + plain.value, ..plain }),
        }
    }
}
