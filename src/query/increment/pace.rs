//! How fast the total of an SLI usually grows on one target: what a birth, or a new process, can have counted.

use serde::{Deserialize, Serialize};

/// A process cannot count more than this many times what its target usually counts in as long.
pub(super) const PACE_MULTIPLE: f64 = 5.0;
/// So few events can happen in any interval, however idle a target was.
pub(super) const FEW: f64 = 10.0;
/// Exporters that read a counter apart from others slip by so many events.
pub(super) const SLIP: f64 = 5.0;
/// Where nothing is known of the pace a new process has at most this share of what the old one had.
pub(super) const SMALL_SHARE: f64 = 0.125;
/// How many rates are remembered.
const REMEMBERED: usize = 8;

/// The newest rates of growth that are not 0, events a second.
///
/// Their median is the pace. Idle intervals say nothing of it, and a single jump (two counters that answer in turn) does
/// not move it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<f32>", into = "Vec<f32>")]
pub(super) struct Pace {
    rates: [f32; REMEMBERED],
    len: u8,
}

impl From<Vec<f32>> for Pace {
    fn from(rates: Vec<f32>) -> Self {
        let mut pace = Pace::default();
        rates.into_iter().for_each(|rate| pace.note(f64::from(rate)));
        pace
    }
}

impl From<Pace> for Vec<f32> {
    fn from(pace: Pace) -> Self {
        pace.rates[..usize::from(pace.len)].to_vec()
    }
}

impl Pace {
    /// Takes the rate of one more interval.
    pub fn note(&mut self, rate: f64) {
        if rate <= 0.0 || !rate.is_finite() {
            return;
        }
        if usize::from(self.len) == REMEMBERED {
            self.rates.rotate_left(1);
            self.len -= 1;
        }
        self.rates[usize::from(self.len)] = rate as f32;
        self.len += 1;
    }

    /// The newest of these newer rates (newest first) and of those remembered.
    pub fn rates(&self, newer: impl Iterator<Item = f64>) -> Rates {
        let mut rates = Rates { rates: [0.0; REMEMBERED], known: 0 };
        let remembered = self.rates[..usize::from(self.len)].iter().rev().map(|&rate| f64::from(rate));
        // As exact as those that are remembered: who has just read them says the same as who remembers them.
        let newer = newer.map(|rate| f64::from(rate as f32));
        for rate in newer.filter(|rate| *rate > 0.0 && rate.is_finite()).chain(remembered).take(REMEMBERED) {
            rates.rates[rates.known] = rate;
            rates.known += 1;
        }
        rates
    }
}

/// Events a second in the newest intervals in which anything grew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    rates: [f64; REMEMBERED],
    known: usize,
}

impl Rates {
    /// Their median; `None` where nothing ever grew.
    pub fn median(mut self) -> Option<f64> {
        let rates = &mut self.rates[..self.known];
        rates.sort_unstable_by(f64::total_cmp);
        rates.get(self.known.saturating_sub(1) / 2).copied()
    }

    /// The highest of them.
    pub fn fastest(self) -> Option<f64> {
        self.rates[..self.known].iter().copied().reduce(f64::max)
    }
}
