//! Works out, from Prometheus, the numbers between theirs and ours.
//!
//! Of a mean of 5-minute ratios: the recorded ratios at the moments of their evaluation; the same moments asked of the SLO's own
//! selectors; the same weighted by their events; every moment of the window; and the raw increments. Of a sum over the
//! window: the same sum asked now, and the raw increments. Each cause is the step between two of them.
//!
//! Every query is bounded: one series an answer, at most `POINTS_MAX` points, raw samples only up to `RAW_MAX`. What
//! could not be asked is said, and leaves its part of the difference unexplained.

use std::collections::BTreeMap;

use super::cause::{Cause, Explained, Share, Trail};
use super::gains::{Events, Gains, Walk};
use super::recorded::{Foreign, Recorded, Tool};
use crate::engine::Unit;
use crate::prometheus::{Client, Fault, remote_read};
use crate::query::promql::{Asked, Counts, Selectors, ask, expr};
use crate::spec::SloSpec;
use crate::telemetry::compat::{self, window_name};

/// Points of one range query; Prometheus refuses 11,001.
const POINTS_MAX: i64 = 10_000;
/// Moments are at least so far apart, seconds; of windows of over [`LONG_S`] at least five minutes.
const STEP_S: i64 = 60;
const LONG_STEP_S: i64 = 300;
const LONG_S: i64 = 35 * 86_400;
/// Raw samples of one SLO that are read at most; about two bytes each.
const RAW_MAX: f64 = 60_000_000.0;
/// Raw samples that are decoded at a time.
const RAW_SPAN: f64 = 500_000.0;
/// Before the window so much is read to know where series stood, seconds.
const BEFORE_S: i64 = 600;
/// Two ways to work out one number may differ by so much; the moments of an evaluation are not ours.
const SAME: f64 = 0.01;

/// What is compared.
pub struct Case<'a> {
    /// Where to ask.
    pub client: &'a Client,
    /// The SLO.
    pub spec: &'a SloSpec,
    /// What it is called over there.
    pub foreign: &'a Foreign,
    /// What is recorded of it.
    pub recorded: &'a Recorded,
    /// Their error ratio; NaN where it is 0/0.
    pub theirs: f64,
    /// Ours over their window, and over our own.
    pub exact: (Option<f64>, f64),
    /// Their window, seconds.
    pub window_s: i64,
    /// The moment.
    pub at_s: i64,
}

/// Two numbers that are the same but for the moments they were taken at.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= SAME * a.abs().max(b.abs())
}

/// A ratio for people.
pub fn percent(ratio: f64) -> String {
    match ratio {
        ratio if ratio.is_nan() => "NaN".into(),
        ratio if ratio != 0.0 && ratio.abs() < 0.000_1 => format!("{:.6} %", ratio * 100.0),
        ratio => format!("{:.4} %", ratio * 100.0),
    }
}

/// A count for people.
fn count(events: f64) -> String {
    let digits = format!("{:.0}", events.abs().round());
    let mut text = if events.round() < 0.0 { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12 of 3,400 events bad`.
fn events(of: Events) -> String {
    format!("{} bad of {} events", count(of.bad), count(of.total))
}

impl Case<'_> {
    /// Why theirs differs from ours, and what could not be found out.
    pub async fn explain(&self) -> (Explained, Vec<String>) {
        let mut remarks = Vec::new();
        if !matches!(self.spec.slo.unit, Unit::Events | Unit::RatioSlices) {
            remarks.push("here slices of time are counted, there events: the two promise different things".to_owned());
            return (Trail::from(self.theirs).end(self.exact.1), remarks);
        }
        let walked = match self.foreign.tool {
            Tool::Sloth => self.mean(&mut remarks).await,
            Tool::Pyrra => self.sums(&mut remarks).await,
        };
        let explained = walked.unwrap_or_else(|fault| {
            remarks.push(format!("the causes could not be measured: {fault}"));
            Trail::from(self.theirs).end(self.exact.1)
        });
        (explained, remarks)
    }

    /// Bad and all events asked of the SLO's own selectors.
    fn own(&self, function: &str, window: &str) -> Result<Asked, Fault> {
        let source = self.spec.source.as_ref().map_err(|why| unasked(why.clone()))?;
        ask(source, &[], function, window).map_err(unasked)
    }

    /// Their number as a mean of 5-minute ratios; where it is none, as a sum over the window.
    async fn mean(&self, remarks: &mut Vec<String>) -> Result<Explained, Fault> {
        let five = self.foreign.sloth_series(&format!("{}5m", compat::SLOTH_RATIO));
        let window = window_name(self.window_s);
        let moments = self.moments(&five).await?;
        let recorded = self.grid(&five, moments).await?;
        let broken = recorded.values().filter(|ratio| ratio.is_nan()).count();
        if !self.theirs.is_finite() {
            return Ok(match broken {
                0 => Explained::default(),
                _ => not_a_number(format!(
                    "{broken} of {} recorded 5-minute ratios are NaN (0/0: no traffic), and one of them makes the mean \
                     over {window} NaN",
                    recorded.len()
                )),
            });
        }
        let known: BTreeMap<i64, f64> = recorded.into_iter().filter(|(_, ratio)| ratio.is_finite()).collect();
        let mean_of_all = self.number(&expr::over("avg_over_time", &five, &window)).await?;
        let Some(mean_of_all) = mean_of_all.filter(|mean| same(*mean, self.theirs)) else {
            if known.is_empty() {
                remarks.push("its 5-minute ratios were not recorded".into());
            }
            return self.sums(remarks).await;
        };
        let mut trail = Trail::from(self.theirs);
        // The same moments, asked of the selectors that are read here.
        let (ratios, counts) = match self.own("rate", "5m")? {
            Asked::Counts { bad, total } => {
                let (bad, total) = (self.grid(&bad, moments).await?, self.grid(&total, moments).await?);
                let counts: BTreeMap<i64, Events> = total
                    .into_iter()
                    .filter(|(_, total)| *total > 0.0)
                    .map(|(at, total)| {
                        let bad = bad.get(&at).copied().filter(|bad| bad.is_finite()).unwrap_or(0.0);
                        (at, Events { bad: bad * moments.step_s as f64, total: total * moments.step_s as f64 })
                    })
                    .collect();
                (counts.iter().filter_map(|(at, of)| Some((*at, of.ratio()?))).collect(), Some(counts))
            }
            Asked::Ratio(ratio) => {
                let ratios = self.grid(&ratio, moments).await?.into_iter();
                (ratios.filter(|(_, ratio)| ratio.is_finite()).collect(), None)
            }
            Asked::Bad(_) => (BTreeMap::new(), None),
        };
        let both: Vec<i64> = known.keys().filter(|at| ratios.contains_key(at)).copied().collect();
        if both.is_empty() {
            remarks.push("this SLO's own selectors find nothing at the moments at which it was recorded".into());
            return Ok(trail.end(self.exact.1));
        }
        let theirs = mean(both.iter().filter_map(|at| known.get(at).copied()));
        let ours = mean(both.iter().filter_map(|at| ratios.get(at).copied()));
        trail.pass(theirs);
        if same(theirs, ours) {
            trail.pass(ours);
        } else {
            let evidence = format!(
                "at the same {} moments their 5-minute ratios average {}, and those of the selectors read here {}",
                both.len(),
                percent(theirs),
                percent(ours)
            );
            trail.step(Cause::OtherQuery, ours, evidence);
        }
        let Some(counts) = counts else { return Ok(self.end(trail)) };

        let weighted = sum(both.iter().filter_map(|at| counts.get(at).copied()));
        let every = sum(counts.values().copied());
        if let Some(ratio) = weighted.ratio() {
            let evidence = format!(
                "their number is the plain mean of recorded 5-minute ratios ({}, theirs {}); the same ratios weighted by \
                 their events give {} ({})",
                percent(mean_of_all),
                percent(self.theirs),
                percent(ratio),
                events(weighted)
            );
            trail.step(Cause::TrafficWeighting, ratio, evidence);
        }
        if let Some(ratio) = every.ratio().filter(|_| counts.len() > both.len()) {
            let missing = counts.len() - both.len();
            let lost = Events { bad: every.bad - weighted.bad, total: every.total - weighted.total };
            let silent = self.without_errors(&counts, &known, moments).await?;
            let why = match silent {
                0 => String::new(),
                _ if silent == missing => {
                    "; at none of them had the error query a series, so a division gives no ratio".into()
                }
                _ => format!("; at {silent} of them the error query had no series, so a division gives no ratio"),
            };
            let evidence = format!(
                "at {missing} of {} moments with traffic no 5-minute ratio was recorded{why}; they hold {}",
                counts.len(),
                events(lost)
            );
            trail.step(Cause::MissingEvaluations, ratio, evidence);
        }
        let asked = format!("rate[5m] each {}", window_name(moments.step_s));
        self.raw(trail, every, true, &asked, remarks).await
    }

    /// Their number as a sum over the window, asked now.
    async fn sums(&self, remarks: &mut Vec<String>) -> Result<Explained, Fault> {
        let window = window_name(self.window_s);
        if !self.theirs.is_finite() {
            return Ok(not_a_number(format!("the sums over {window} hold no events, and 0/0 is NaN")));
        }
        let five = self.recorded.by_five_minutes;
        let sum_over = |counts: &str| expr::subquery("sum_over_time", counts, &window, "5m");
        let (bad, total) = match self.own("increase", if five { "5m" } else { &window })? {
            Asked::Counts { bad, total } if five => (sum_over(&bad), sum_over(&total)),
            Asked::Counts { bad, total } => (bad, total),
            Asked::Ratio(_) | Asked::Bad(_) => {
                remarks.push("nothing between their number and ours can be asked for: it counts no events".into());
                return Ok(Trail::from(self.theirs).end(self.exact.1));
            }
        };
        let mut trail = Trail::from(self.theirs);
        let (Some(bad), Some(total)) = (self.number(&bad).await?, self.number(&total).await?) else {
            remarks.push("this SLO's own selectors find nothing".into());
            return Ok(trail.end(self.exact.1));
        };
        let own = Events { bad, total };
        match own.ratio() {
            Some(ratio) if same(ratio, self.theirs) => trail.pass(ratio),
            Some(ratio) => {
                let evidence = format!(
                    "increase over {window} of the selectors read here gives {} ({}), theirs is {}",
                    percent(ratio),
                    events(own),
                    percent(self.theirs)
                );
                trail.step(Cause::OtherQuery, ratio, evidence);
            }
            None => return Ok(trail.end(self.exact.1)),
        }
        let asked = if five { "increase[5m]".to_owned() } else { format!("increase[{window}]") };
        self.raw(trail, own, five, &asked, remarks).await
    }

    /// The last steps: from what the server extrapolates to what the counters gained.
    async fn raw(
        &self,
        mut trail: Trail,
        server: Events,
        short: bool,
        asked: &str,
        remarks: &mut Vec<String>,
    ) -> Result<Explained, Fault> {
        let gains = match self.gains().await {
            Ok(gains) => gains,
            Err(fault) => {
                let exact = self.exact.0.unwrap_or(self.exact.1);
                let evidence = format!("{asked} gives {}, exact increments {}", events(server), percent(exact));
                trail.step(Cause::RateNotRaw, exact, evidence);
                remarks.push(format!(
                    "extrapolation, first errors and scrape holes are not told apart: raw samples were not read ({fault})"
                ));
                return Ok(self.end(trail));
            }
        };
        // A window of five minutes never reaches over a hole; one of thirty days does.
        let seen = if short { gains.seen } else { gains.seen.and(gains.holes) };
        if let Some(ratio) = seen.ratio() {
            let evidence = format!("{asked} makes {} of what the counters gained: {}", events(server), events(seen));
            trail.step(Cause::Extrapolation, ratio, evidence);
        }
        let born = seen.and(gains.born);
        if let Some(ratio) = born.ratio().filter(|_| gains.born_series > 0) {
            trail.step(Cause::FirstErrors, ratio, first_errors(&gains, asked));
        }
        if let Some(ratio) = born.and(gains.holes).ratio().filter(|_| short && gains.hole_count > 0) {
            let evidence = format!(
                "{} holes in the scrapes, up to {}, hold {}; {asked} does not reach over them",
                gains.hole_count,
                window_name(gains.hole_longest_s),
                events(gains.holes)
            );
            trail.step(Cause::ScrapeHoles, ratio, evidence);
        }
        Ok(self.end(trail))
    }

    /// Ends at ours; where their window is another, that is the last step.
    fn end(&self, mut trail: Trail) -> Explained {
        if let (Some(theirs_s), Some(exact)) = (self.recorded.other_window_s, self.exact.0) {
            trail.pass(exact);
            let evidence = format!(
                "theirs looks at {}, ours at {}; exact over theirs: {}, over ours: {}",
                window_name(theirs_s),
                window_name(self.spec.slo.window_s),
                percent(exact),
                percent(self.exact.1)
            );
            trail.step(Cause::OtherWindow, self.exact.1, evidence);
        }
        trail.end(self.exact.1)
    }

    /// What the counters gained in the window, from raw samples.
    async fn gains(&self) -> Result<Gains, Fault> {
        let source = self.spec.source.as_ref().map_err(|why| unasked(why.clone()))?;
        let selectors = Selectors::of(source).map_err(unasked)?;
        let selectors = selectors.ok_or_else(|| unasked("a query is read here, not counters".into()))?;
        let (from_s, until_s) = (self.at_s - self.window_s, self.at_s);
        let mut walk = Walk::new(&selectors, &self.spec.target_labels, from_s * 1000).map_err(unasked)?;
        let asked = walk.selectors();
        let mut per_second = 0.0;
        for selector in &asked {
            let selector = selector.to_promql().map_err(unasked)?;
            per_second +=
                self.number(&expr::call("sum", &expr::over("count_over_time", &selector, "10m"))).await?.unwrap_or(0.0)
                    / 600.0;
        }
        let samples = per_second * self.window_s as f64;
        if samples > RAW_MAX {
            return Err(unasked(format!("about {} raw samples; at most {} are read", count(samples), count(RAW_MAX))));
        }
        let span_s = ((RAW_SPAN / per_second.max(1e-9)) as i64).clamp(3 * 3600, 86_400);
        let mut spans = Vec::new();
        let mut at_s = from_s - BEFORE_S;
        while at_s < until_s {
            let end_s = until_s.min(at_s + span_s);
            spans.push((at_s * 1000 + 1, end_s * 1000));
            at_s = end_s;
        }
        let mut answer = remote_read::read_spans(self.client, &asked, &spans).await?;
        for &(after_ms, until_ms) in &spans {
            let Some(history) = answer.next().await? else { break };
            walk.take(&history.span(after_ms - 1, until_ms)?);
        }
        Ok(walk.gains())
    }

    /// At how many of the moments with traffic and no ratio there was no series of errors either.
    async fn without_errors(
        &self,
        counts: &BTreeMap<i64, Events>,
        known: &BTreeMap<i64, f64>,
        moments: Moments,
    ) -> Result<usize, Fault> {
        let source = self.spec.source.as_ref().map_err(|why| unasked(why.clone()))?;
        let Some(selectors) = Selectors::of(source).map_err(unasked)? else { return Ok(0) };
        if selectors.counts == Counts::Good {
            return Ok(0);
        }
        let errors = self
            .grid(&expr::aggregate::<&str>("sum", &[], &expr::over("rate", &selectors.part, "5m")), moments)
            .await?;
        Ok(counts.keys().filter(|at| !known.contains_key(at) && !errors.contains_key(at)).count())
    }

    /// The one number an instant query gives.
    async fn number(&self, expr: &str) -> Result<Option<f64>, Fault> {
        let answer = self.client.query(expr, self.at_s).await?;
        Ok(match answer.series.as_slice() {
            [one] => one.samples.iter().last().map(|(_, value)| value),
            _ => None,
        })
    }

    /// When the recorded ratios are evaluated: as the last hour shows it.
    async fn moments(&self, five: &str) -> Result<Moments, Fault> {
        let answer = self.client.query(&expr::range(five, "1h"), self.at_s).await?;
        let times: Vec<i64> = match answer.series.as_slice() {
            [one] => one.samples.iter().map(|(at_ms, _)| at_ms).collect(),
            _ => Vec::new(),
        };
        let least_s = if self.window_s > LONG_S { LONG_STEP_S } else { STEP_S };
        Ok(Moments::of(&times, least_s, self.at_s))
    }

    /// The values of an expression at these moments of the window, by time; of several series none.
    async fn grid(&self, expr: &str, Moments { last_s, step_s }: Moments) -> Result<BTreeMap<i64, f64>, Fault> {
        let mut values = BTreeMap::new();
        let begin_s = self.at_s - self.window_s;
        let mut from_s = last_s - (last_s - begin_s - 1) / step_s * step_s;
        while from_s <= last_s {
            let until_s = last_s.min(from_s + (POINTS_MAX - 1) * step_s);
            let answer = self.client.query_range(expr, from_s, until_s, step_s).await?;
            if let [one] = answer.series.as_slice() {
                values.extend(one.samples.iter().map(|(at_ms, value)| (at_ms / 1000, value)));
            }
            from_s = until_s + step_s;
        }
        Ok(values)
    }
}

/// Moments at equal steps, the last one and those before it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moments {
    last_s: i64,
    step_s: i64,
}

impl Moments {
    /// Those of evaluations at `times_ms`, or every so many of them that steps are not shorter than `least_s`. Without
    /// any, moments up to `at_s`.
    fn of(times_ms: &[i64], least_s: i64, at_s: i64) -> Self {
        let mut steps: Vec<i64> = times_ms.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_unstable();
        let usual_s = steps.get(steps.len() / 2).map(|step_ms| (step_ms + 500) / 1000).filter(|step_s| *step_s > 0);
        match (usual_s, times_ms.last()) {
            // Rounded up: just after the evaluation.
            (Some(usual_s), Some(last_ms)) => Moments {
                last_s: at_s.min((last_ms + 999).div_euclid(1000)),
                step_s: usual_s * (least_s + usual_s - 1).div_euclid(usual_s),
            },
            _ => Moments { last_s: at_s, step_s: least_s },
        }
    }
}

fn unasked(why: String) -> Fault {
    Fault::NotAnAnswer(why)
}

fn not_a_number(evidence: String) -> Explained {
    let share = Share { cause: Cause::NotANumber, amount: None, share: None, evidence };
    Explained { causes: vec![share], ..Explained::default() }
}

fn first_errors(gains: &Gains, asked: &str) -> String {
    format!(
        "{} series appeared with a value while their targets were being scraped; their first samples hold {}, and {asked} \
         never counts a first sample",
        gains.born_series,
        events(gains.born)
    )
}

/// Of nothing NaN.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for value in values {
        sum += value;
        n += 1.0;
    }
    sum / n
}

fn sum(all: impl Iterator<Item = Events>) -> Events {
    all.fold(Events::default(), Events::and)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_evaluations() {
        let every = |step_ms: i64| (0..20).map(|n| 7_300 + n * step_ms).collect::<Vec<_>>();
        assert_eq!(Moments::of(&every(30_000), 60, 1_000), Moments { last_s: 578, step_s: 60 });
        assert_eq!(Moments::of(&every(45_000), 60, 1_000), Moments { last_s: 863, step_s: 90 });
        assert_eq!(Moments::of(&every(120_000), 60, 5_000), Moments { last_s: 2_288, step_s: 120 });
        assert_eq!(Moments::of(&[7_300], 60, 5_000), Moments { last_s: 5_000, step_s: 60 });
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([count(0.4), count(999.0), count(1_234_567.6)], ["0", "999", "1,234,568"]);
        assert_eq!([percent(0.000_547), percent(0.000_001), percent(0.0)], ["0.0547 %", "0.000100 %", "0.0000 %"]);
        assert_eq!(percent(f64::NAN), "NaN");
    }
}
