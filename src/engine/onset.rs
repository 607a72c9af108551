//! When did the errors begin to rise, and by how much? A burn clause fires minutes after the first bad event, and a change
//! made in between would look like the cause. So the slices themselves are asked.
//!
//! **Method.** One change of a binomial proportion, by maximum likelihood (Hinkley and Hinkley, Biometrika 57, 1970): of all
//! splits of the slices into "before" and "since", each with an error ratio of its own, the likeliest one in which the ratio
//! rises. It is named only where the slices are [`EVIDENCE_MIN`] nats likelier with the split than without. A burn that came
//! after an earlier one is told from it by a cumulative sum (Page, Biometrika 41, 1954) that looks for the last recovery:
//! what lies before that is not looked at.
//!
//! **How exact.** Splits that are within two nats of the best one are the interval (`earliest` to `latest`). How wide that is
//! depends on the errors alone: each minute at a rate of errors that is new speaks for it, and where there is one error in
//! five minutes nobody can say the minute. `tests.rs` prints what can be had.
//!
//! Deliberately absent: causes. A split says when, never why.

use serde::{Deserialize, Serialize};

use super::{Seconds, SliceDelta, Unit};

/// An interval up to this long is said as one moment, seconds.
const MINUTE_S: i64 = 60;
/// How much likelier, in nats, the slices must be with a rise than without one.
pub const EVIDENCE_MIN: f64 = 10.0;
/// Splits that are less likely than the best one by this, in nats, are outside of the interval.
const SUPPORT: f64 = 2.0;
/// A recovery is believed when the slices are so much likelier, in nats, by the ratio of before.
const RECOVERED: f64 = 12.0;

/// A rise of the error ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Onset {
    /// Start of the first slice in which it was higher.
    pub at: Seconds,
    /// The earliest start that the slices allow.
    pub earliest: Seconds,
    /// The latest.
    pub latest: Seconds,
    /// Events before it, as far as was looked back.
    pub total_before: u64,
    /// Bad ones among them.
    pub bad_before: u64,
    /// Events since.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// How much likelier the slices are with the rise than without, in nats.
    pub evidence: f64,
}

impl Onset {
    /// Error ratio before it.
    pub fn ratio_before(&self) -> f64 {
        self.bad_before as f64 / self.total_before.max(1) as f64
    }

    /// Error ratio since.
    pub fn ratio(&self) -> f64 {
        self.bad as f64 / self.total.max(1) as f64
    }

    /// `error rate 8.1x since 02:07 UTC (0.04% -> 0.33%), 1,240 of 375,000 events bad`; a span where the minute is not known.
    pub fn spoken(&self, unit: Unit) -> String {
        let times = match self.factor() {
            Some(factor) => format!("{}x", figures(factor)),
            None => "up from none".to_owned(),
        };
        let since = match self.latest - self.earliest <= MINUTE_S {
            true => format!("since {} UTC", clock(self.at)),
            false => format!(
                "since about {} UTC (between {} and {})",
                clock(self.at),
                clock(self.earliest),
                clock(self.latest)
            ),
        };
        let bad = match unit {
            Unit::Events => "events bad",
            Unit::QuantileSlices { .. } => "events too slow",
            Unit::GaugeSlices | Unit::RatioSlices => "slices bad",
        };
        let (before, now) = (percent(self.ratio_before()), percent(self.ratio()));
        format!(
            "error rate {times} {since} ({before} -> {now}), {} of {} {bad}",
            grouped(self.bad),
            grouped(self.total)
        )
    }

    /// How many times higher it is; `None` where there were no errors before.
    pub fn factor(&self) -> Option<f64> {
        (self.bad_before > 0).then(|| self.ratio() / self.ratio_before())
    }
}

/// `02:07`, of UTC.
fn clock(at: Seconds) -> String {
    let of_day = at.rem_euclid(86_400);
    format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60)
}

/// A ratio as a percentage with two figures at least: `0.04%`, `0.33%`, `12.5%`.
pub fn percent(ratio: f64) -> String {
    format!("{}%", figures(ratio * 100.0))
}

/// Two figures, and one decimal from ten on: `0.0042`, `0.33`, `8.1`, `43.2`, `120`.
fn figures(number: f64) -> String {
    let text = match number {
        number if number >= 99.95 => return format!("{number:.0}"),
        number if number >= 1.0 => format!("{number:.1}"),
        number if number > 0.0 => {
            let places = (1.0 - number.log10().floor()).clamp(0.0, 12.0) as usize;
            format!("{number:.places$}")
        }
        _ => return "0".to_owned(),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `375,000`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The rise that the newest of `slices` (ascending, of `slice_s` seconds, each event counted as `scale`) are in; `None` where
/// nothing rose, or the evidence is thin.
pub fn onset(slices: &[SliceDelta], slice_s: i64, scale: u64) -> Option<Onset> {
    let slices: Vec<Slice> =
        slices.iter().filter(|slice| slice.total > 0).map(|slice| Slice::of(slice, scale)).collect();
    let whole = best(&slices)?;
    let from = recovered(&slices, &whole);
    let slices = &slices[from..];
    let split = if from == 0 { whole } else { best(slices)? };
    if split.gain < EVIDENCE_MIN {
        return None;
    }
    let start = |place: usize| slices[place].at * slice_s;
    let near = |gain: &f64| *gain >= split.gain - SUPPORT;
    let first = split.gains.iter().position(near).map_or(split.place, |place| place + 1);
    let last = split.gains.iter().rposition(near).map_or(split.place, |place| place + 1);
    let rounded = |count: f64| (count + 0.5) as u64;
    Some(Onset {
        at: start(split.place),
        earliest: start(first),
        latest: start(last),
        total_before: rounded(split.before.total),
        bad_before: rounded(split.before.bad),
        total: rounded(split.since.total),
        bad: rounded(split.since.bad),
        evidence: split.gain,
    })
}

/// The first slice of the likelier half, whatever the evidence: the likeliest split in which the ratio rises.
pub fn likeliest(slices: &[SliceDelta]) -> Option<i64> {
    let slices: Vec<Slice> = slices.iter().filter(|slice| slice.total > 0).map(|slice| Slice::of(slice, 1)).collect();
    best(&slices).map(|split| slices[split.place].at)
}

/// A slice with events.
#[derive(Debug, Clone, Copy)]
struct Slice {
    at: i64,
    counts: Counts,
}

impl Slice {
    fn of(slice: &SliceDelta, scale: u64) -> Self {
        let unit = scale.max(1) as f64;
        let total = slice.total as f64 / unit;
        Slice { at: slice.slice, counts: Counts { total, bad: (slice.bad as f64 / unit).min(total) } }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    total: f64,
    bad: f64,
}

impl Counts {
    fn with(self, other: Counts) -> Self {
        Counts { total: self.total + other.total, bad: self.bad + other.bad }
    }

    fn ratio(self) -> f64 {
        self.bad / self.total
    }

    /// Logarithm of the likelihood of these counts at their own ratio.
    fn likelihood(self) -> f64 {
        let term = |part: f64| if part > 0.0 { part * (part / self.total).ln() } else { 0.0 };
        term(self.bad) + term(self.total - self.bad)
    }

    /// The same at another ratio, which is neither 0 nor 1.
    fn likelihood_at(self, ratio: f64) -> f64 {
        self.bad * ratio.ln() + (self.total - self.bad) * (1.0 - ratio).ln()
    }
}

/// The likeliest split.
struct Split {
    /// The first slice of "since".
    place: usize,
    before: Counts,
    since: Counts,
    /// How much likelier than no split.
    gain: f64,
    /// The same of a split after each slice but the last; minus infinity where the ratio does not rise.
    gains: Vec<f64>,
}

fn best(slices: &[Slice]) -> Option<Split> {
    let all = slices.iter().fold(Counts::default(), |sum, slice| sum.with(slice.counts));
    let none = all.likelihood();
    let mut before = Counts::default();
    let mut found: Option<(usize, Counts, Counts, f64)> = None;
    let mut gains = Vec::with_capacity(slices.len());
    for (place, slice) in slices.iter().enumerate().take(slices.len().saturating_sub(1)) {
        before = before.with(slice.counts);
        let since = Counts { total: all.total - before.total, bad: (all.bad - before.bad).max(0.0) };
        if since.ratio() <= before.ratio() {
            gains.push(f64::NEG_INFINITY);
            continue;
        }
        let gain = before.likelihood() + since.likelihood() - none;
        gains.push(gain);
        if found.is_none_or(|(.., most)| gain > most) {
            found = Some((place + 1, before, since, gain));
        }
    }
    found.map(|(place, before, since, gain)| Split { place, before, since, gain, gains })
}

/// The place of the first slice after the last recovery: where slices that speak for the ratio of before, after some that
/// spoke for the one since, outweigh them. 0 where there was none, or what there was is not over.
fn recovered(slices: &[Slice], split: &Split) -> usize {
    // Neither may be impossible: half an event stands for none.
    let low = ((split.before.bad + 0.5) / (split.before.total + 1.0)).clamp(1e-9, 1.0 - 1e-9);
    let high = split.since.ratio().clamp(1e-9, 1.0 - 1e-9);
    if high <= low {
        return 0;
    }
    let (mut up, mut down, mut burnt, mut from, mut turned) = (0.0_f64, 0.0_f64, false, 0, 0);
    for (place, slice) in slices.iter().enumerate() {
        let gain = slice.counts.likelihood_at(high) - slice.counts.likelihood_at(low);
        if !burnt {
            up = (up + gain).max(0.0);
            burnt = up >= RECOVERED;
            continue;
        }
        if down <= 0.0 {
            turned = place;
        }
        down = (down - gain).max(0.0);
        if down >= RECOVERED {
            (up, down, burnt, from) = (0.0, 0.0, false, turned);
        }
    }
    from
}

#[cfg(test)]
mod tests;
