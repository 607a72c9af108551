//! The last weeks as sums of five minutes: what a look back at an SLO is made of, at a bounded cost.
//!
//! Counters come as `increase` over five minutes and a scrape, scaled so that they tile; gauges as their value every five
//! minutes. How much is read is bounded by the raw samples the server has to touch: of SLOs with very many raw series fewer
//! days are read, and that is said.
//!
//! Deliberately absent: who waits in a queue (slices in which nobody gets through are idle here), exactness (polls and backfill read raw samples), and what to make of the sums.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};

use super::client::Client;
use super::fault::Fault;
use super::history::tiling::Tiling;
use super::options::SourceOptions;
use crate::engine::Labels;
use crate::query::fetch::Ask;
use crate::query::grid::{self, CoarseSpan};
use crate::query::promql::request;
use crate::query::{Fanout, Fetch, Plan, RawSeries};

/// Length of a sum, seconds.
pub const STEP_S: i64 = 300;
/// Most raw samples that one query makes the server read.
const SAMPLES_PER_QUERY: i64 = 5_000_000;
/// Most raw samples that one group of queries makes the server read.
const SAMPLES_MAX: i64 = 200_000_000;
/// Most steps of one query: Prometheus refuses over 11,000.
const STEPS_MAX: i64 = 10_000;
const DAY_S: i64 = 86_400;

/// What is known of one SLI over the time that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Sums by series, in time order.
    pub series: BTreeMap<Labels, Vec<CoarseSpan>>,
    /// The time that was read, seconds.
    pub from_s: i64,
    /// Why nothing, or not all, was read.
    pub fault: Option<String>,
}

/// What was asked and found.
#[derive(Debug, Default)]
pub struct Lookback {
    /// By index into `Plan::slis`.
    pub seen: Vec<Seen>,
    /// Queries sent.
    pub requests: usize,
}

/// How to look back.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The oldest moment wanted, seconds, on the grid of [`STEP_S`].
    pub from_s: i64,
    /// The end, seconds, on that grid.
    pub to_s: i64,
    /// Seconds between scrapes.
    pub scrape_s: i64,
}

/// Reads `range`, group by group; `progress` is told how many of how many groups are done.
pub async fn lookback(
    client: &Client,
    plan: &Plan,
    options: &SourceOptions,
    range: Range,
    progress: impl Fn(usize, usize),
) -> Lookback {
    let mut back =
        Lookback { seen: vec![Seen { from_s: range.from_s, ..Seen::default() }; plan.slis.len()], requests: 1 };
    let tiling = Tiling::of(client, range.to_s, range.scrape_s).await;
    let groups = plan.groups();
    let of_ask = |ask: Ask| plan.fetches.iter().filter(move |fetch| fetch.ask == ask).flat_map(|fetch| &fetch.slis);
    let counted: BTreeSet<usize> = of_ask(Ask::Counter).copied().collect();
    // Who waits in a queue is not what it counts.
    let is_beside = |i: &usize| {
        let fetch = &plan.fetches[*i];
        fetch.ask == Ask::Gauge && fetch.slis.iter().all(|sli| counted.contains(sli))
    };
    for (done, group) in groups.iter().enumerate().filter(|(_, group)| !group.iter().all(is_beside)) {
        progress(done, groups.len());
        let fetches: Vec<&Fetch> = group.iter().map(|&i| &plan.fetches[i]).collect();
        if fetches.iter().any(|fetch| fetch.ask == Ask::Native) {
            let why = "native histograms are not looked back at";
            for &sli in fetches.iter().flat_map(|fetch| &fetch.slis) {
                back.seen[sli].fault = Some(why.to_owned());
            }
            continue;
        }
        let reader = LookbackReader { client, plan, options, tiling, fetches: &fetches };
        if let Err(fault) = reader.read(range, &mut back).await {
            for &sli in fetches.iter().flat_map(|fetch| &fetch.slis) {
                back.seen[sli] = Seen { from_s: range.to_s, fault: Some(fault.to_string()), ..Seen::default() };
            }
        }
    }
    progress(groups.len(), groups.len());
    back
}

struct LookbackReader<'a> {
    client: &'a Client,
    plan: &'a Plan,
    options: &'a SourceOptions,
    tiling: Tiling,
    fetches: &'a [&'a Fetch],
}

impl LookbackReader<'_> {
    async fn read(&self, range: Range, back: &mut Lookback) -> Result<(), Fault> {
        let counters = self.fetches.iter().all(|fetch| fetch.ask == Ask::Counter);
        let raw_series = if counters { self.raw_series(range.to_s, back).await? } else { 1 };
        // Days that may be read at all, and in one query.
        let seconds = |samples: i64| (samples / raw_series.max(1)).saturating_mul(range.scrape_s.max(1));
        let allowed_s = (seconds(SAMPLES_MAX) / STEP_S * STEP_S).max(STEP_S);
        let from_s = range.from_s.max(range.to_s - allowed_s);
        let chunk_s = (seconds(SAMPLES_PER_QUERY) / STEP_S).clamp(1, STEPS_MAX) * STEP_S;
        if from_s > range.from_s {
            let days = (range.to_s - from_s) / DAY_S;
            for &sli in self.fetches.iter().flat_map(|fetch| &fetch.slis) {
                back.seen[sli].from_s = from_s;
                back.seen[sli].fault =
                    Some(format!("with {raw_series} raw series only the last {days} days are looked at"));
            }
        }
        let mut fanout = Fanout::default();
        let mut at_s = from_s;
        while at_s < range.to_s {
            let end_s = range.to_s.min(at_s + chunk_s);
            let rows = if counters { self.sums(at_s, end_s).await? } else { self.values(at_s, end_s).await? };
            back.requests += self.fetches.len();
            let answers: Vec<(&Fetch, &[RawSeries])> =
                self.fetches.iter().copied().zip(rows.iter().map(Vec::as_slice)).collect();
            for (fetch, rows) in &answers {
                grid::meet(self.plan, &mut fanout, fetch, rows);
            }
            match counters {
                true => self.take_sums(&fanout, &answers, back),
                false => self.take_values(&fanout, &answers, at_s, back),
            }
            at_s = end_s;
        }
        Ok(())
    }

    /// Raw series of the largest query.
    async fn raw_series(&self, at_s: i64, back: &mut Lookback) -> Result<i64, Fault> {
        let mut largest = 0;
        for fetch in self.fetches {
            back.requests += 1;
            let answer = self.client.query(&request::count(&fetch.expr, &[]), at_s).await?;
            let count = answer.series.first().and_then(|row| row.samples.iter().last()).map_or(0.0, |(_, n)| n);
            largest = largest.max(count as i64);
        }
        Ok(largest)
    }

    async fn ask(&self, exprs: Vec<String>, from_s: i64, to_s: i64) -> Result<Vec<Vec<RawSeries>>, Fault> {
        let asked = exprs.into_iter().map(|expr| async move {
            self.client.query_range(&expr, from_s, to_s, STEP_S).await.map(|answer| answer.series)
        });
        let answers: Vec<_> = stream::iter(asked).buffered(self.options.concurrency.max(1)).collect().await;
        answers.into_iter().collect()
    }

    async fn sums(&self, at_s: i64, end_s: i64) -> Result<Vec<Vec<RawSeries>>, Fault> {
        let window_ms = self.tiling.window_ms(STEP_S);
        let expr = |fetch: &&Fetch| request::increases(&fetch.expr, &fetch.keep, window_ms);
        self.ask(self.fetches.iter().map(expr).collect(), at_s + STEP_S, end_s).await
    }

    async fn values(&self, at_s: i64, end_s: i64) -> Result<Vec<Vec<RawSeries>>, Fault> {
        let context = self.fetches.iter().map(|fetch| fetch.context).max().unwrap_or(0);
        let exprs = self.fetches.iter().map(|fetch| fetch.on_grid(STEP_S)).collect();
        self.ask(exprs, at_s + (1 - context) * STEP_S, end_s).await
    }

    fn take_sums(&self, fanout: &Fanout, answers: &[(&Fetch, &[RawSeries])], back: &mut Lookback) {
        let scale = self.tiling.scale(STEP_S);
        for harvest in grid::coarse(self.plan, fanout, answers, STEP_S, scale) {
            back.seen[harvest.sli].series.entry(harvest.labels).or_default().extend(harvest.spans);
        }
    }

    fn take_values(&self, fanout: &Fanout, answers: &[(&Fetch, &[RawSeries])], at_s: i64, back: &mut Lookback) {
        let harvests = grid::values(self.plan, fanout, answers, at_s.div_euclid(STEP_S), STEP_S * 1000);
        for harvest in harvests {
            // A value stands for all slices of its five minutes.
            let times = match self.plan.slis[harvest.sli].rates {
                true => 1,
                false => (STEP_S / self.options.resolution_s).unsigned_abs(),
            };
            let span = |(slice, cell): (i64, grid::Cell)| CoarseSpan {
                start_s: slice * STEP_S,
                total: cell.total * times,
                bad: cell.bad * times,
            };
            let spans = harvest.slices.into_iter().map(span);
            back.seen[harvest.sli].series.entry(harvest.labels).or_default().extend(spans);
        }
    }
}
