//! History at a cold start, newest first.
//!
//! The last hours come raw, so that alerts are right within seconds. What is older is read beside the polls: raw by
//! remote read where the server offers it (exact, one to two bytes a sample), else by range queries over five minutes
//! and an hour, scaled to tile (`increase[W + scrape] × W/(W + scrape)`). Prometheus §5 of the reference has the costs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tracing::{debug, info, warn};

use super::client::Client;
use super::fault::Fault;
use super::remote_read;
use super::source::{Poll, Source, SourceOptions};
use crate::engine::{Coverage, Ledger, Slo};
use crate::query::grid;
use crate::query::increment::{Read, SeriesHarvest, Starts};
use crate::query::plan::Ask;
use crate::query::{Fetch, Plan, RawSeries, Selector, Tracker};

/// How much is read raw before the first evaluation, seconds: the longest paging window and its alignment.
pub const RECENT_S: i64 = 6 * 3600 + 600;
/// History is walked in steps of this length, seconds.
const STEP_S: i64 = 86_400;
/// Raw samples in one remote read at most (about 2 bytes each on the wire).
const SAMPLES_PER_READ: i64 = 8_000_000;
/// Longest and shortest stretch of one remote read, seconds.
const READ_MAX_S: i64 = 8 * 86_400;
const READ_MIN_S: i64 = 3600;
/// Fleets with more raw samples than this in their history use the coarse range queries.
const RAW_SAMPLES_MAX: i64 = 400_000_000;
/// Points of one range query; Prometheus refuses 11,001.
const POINTS_MAX: i64 = 10_800;
/// History younger than this is filled in steps of five minutes, seconds; older in hours.
const FIVE_MINUTES_FOR_S: i64 = 4 * 86_400;
const RETRIES: u32 = 4;
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// The deadline of one history request.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Raw, by remote read.
    RemoteRead,
    /// Raw for the last hours, coarse range queries before.
    Ranges,
}

/// How far a backfill is, for a progress bar and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Seconds of history read.
    pub done_s: i64,
    /// Seconds of history wanted.
    pub total_s: i64,
}

/// A backfill of everything older than the recent hours. Runs beside the polls.
pub struct Backfill {
    /// Where to read.
    pub client: Client,
    /// What to read.
    pub plan: Arc<Plan>,
    /// The SLOs, in plan order.
    pub slos: Vec<Arc<Slo>>,
    /// Resolution and concurrency.
    pub options: SourceOptions,
    /// Where the polls began.
    pub starts: Starts,
    /// How to read.
    pub way: Way,
    /// Scrape interval, seconds; the coarse queries need it to tile.
    pub scrape_s: i64,
    /// Raw series of all counters.
    pub raw_series: usize,
    /// Called as it goes on.
    pub progress: Box<dyn Fn(Progress) + Send + Sync>,
}

/// What a backfill found.
#[derive(Debug)]
pub struct Older {
    /// Everything up to where the polls began.
    pub ledger: Ledger,
    /// The increments between the last old sample and the first new one; they belong to the newer ledger.
    pub joined: Vec<SeriesHarvest>,
    /// Requests it took.
    pub requests: usize,
}

/// Reads the recent hours `(from_s, to_s]` into the source, raw. Says how older history can be read.
pub async fn recent(source: &mut Source, from_s: i64, to_s: i64) -> (Way, Poll) {
    let selectors = selectors(&source.plan);
    let mut poll = Poll::default();
    let client = source.client().with_timeout(TIMEOUT);
    source.read_from(Ask::Gauge, from_s);
    poll.requests += 1;
    let read = match selectors.is_empty() {
        true => Err(Fault::NotAnAnswer("there is no counter to read".into())),
        false => remote_read::read(&client, &selectors, from_s * 1000, to_s * 1000).await,
    };
    let read = read.and_then(|history| Ok((history.bytes, history.span(from_s * 1000, to_s * 1000)?)));
    match read {
        Ok((bytes, series)) => {
            poll.bytes += bytes;
            poll.samples += series.iter().map(|series| series.samples.len()).sum::<usize>();
            let harvest = source.take_history(&series, to_s);
            poll.series.extend(harvest.series);
            let gauges = source.poll_only(Ask::Gauge, to_s).await;
            poll.series.extend(gauges.series);
            poll.requests += gauges.requests;
            poll.faults = gauges.faults;
            (Way::RemoteRead, poll)
        }
        Err(fault) => {
            debug!(%fault, "no remote read; history comes by range queries");
            source.read_from(Ask::Counter, from_s);
            let rest = source.catch_up(to_s).await;
            let requests = rest.requests + poll.requests;
            (Way::Ranges, Poll { requests, ..rest })
        }
    }
}

fn selectors(plan: &Plan) -> Vec<Selector> {
    plan.fetches
        .iter()
        .filter(|fetch| fetch.ask == Ask::Counter)
        .filter_map(|fetch| Selector::parse(&fetch.expr).ok())
        .collect()
}

impl Backfill {
    /// Reads `(from_s, to_s]`.
    pub async fn run(self, from_s: i64, to_s: i64) -> Result<Older, Fault> {
        let client = self.client.with_timeout(TIMEOUT);
        let mut older = Older { ledger: Ledger::new(self.options.resolution_s), joined: Vec::new(), requests: 0 };
        let samples = self.raw_series as i64 * (to_s - from_s) / self.scrape_s.max(1);
        let raw = self.way == Way::RemoteRead && samples <= RAW_SAMPLES_MAX;
        let counters = self.plan.fetches.iter().any(|fetch| fetch.ask == Ask::Counter);
        match (counters, raw) {
            (false, _) => {}
            (true, true) => self.raw(&client, from_s, to_s, &mut older).await?,
            (true, false) => self.coarse(&client, from_s, to_s, &mut older).await?,
        }
        self.gauges(&client, from_s, to_s, &mut older).await?;
        (self.progress)(Progress { done_s: to_s - from_s, total_s: to_s - from_s });
        info!(requests = older.requests, raw, from_s, to_s, "history read");
        Ok(older)
    }

    /// Raw history in time order: each stretch is one request, walked a day at a time.
    async fn raw(&self, client: &Client, from_s: i64, to_s: i64, older: &mut Older) -> Result<(), Fault> {
        let selectors = selectors(&self.plan);
        let mut tracker = Tracker::new(self.options.resolution_s);
        let per_second = (self.raw_series as i64).max(1) as f64 / self.scrape_s.max(1) as f64;
        let mut stretch = ((SAMPLES_PER_READ as f64 / per_second) as i64).clamp(READ_MIN_S, READ_MAX_S);
        let mut at = from_s;
        while at < to_s {
            let end = to_s.min(at + stretch);
            // The last stretch reaches past the end: up to the samples the polls began with.
            let reach = if end == to_s { end + RECENT_S } else { end };
            older.requests += 1;
            let read = || remote_read::read(client, &selectors, at * 1000 + 1, reach * 1000);
            let history = match retried(read).await {
                Err(Fault::TooLarge(_) | Fault::Timeout) if stretch > READ_MIN_S => {
                    stretch = (stretch / 2).max(READ_MIN_S);
                    continue;
                }
                other => other?,
            };
            let mut day = at;
            while day < end {
                let day_end = end.min(day + STEP_S);
                let series = history.span(day * 1000, day_end * 1000)?;
                self.book(&mut tracker, &series, day_end, &mut older.ledger);
                day = day_end;
            }
            if end == to_s {
                let series = self.starts.join(history.span(end * 1000, reach * 1000)?);
                older.joined = self.walk(&mut tracker, &series, reach);
            }
            at = end;
            (self.progress)(Progress { done_s: at - from_s, total_s: to_s - from_s });
        }
        Ok(())
    }

    fn walk(&self, tracker: &mut Tracker, series: &[RawSeries], until_s: i64) -> Vec<SeriesHarvest> {
        let read = Read { counters: series, started: &BTreeSet::new(), until_ms: until_s * 1000 };
        tracker.read(&self.plan, &read).series
    }

    fn book(&self, tracker: &mut Tracker, series: &[RawSeries], until_s: i64, ledger: &mut Ledger) {
        for harvest in self.walk(tracker, series, until_s) {
            ledger.series_mut(&self.slos[harvest.sli], &harvest.labels).apply(&harvest.deltas);
        }
    }

    /// Coarse history: the newest days in steps of five minutes first, then hours.
    async fn coarse(&self, client: &Client, from_s: i64, to_s: i64, older: &mut Older) -> Result<(), Fault> {
        let five_from = from_s.max((to_s - FIVE_MINUTES_FOR_S).div_euclid(3600) * 3600);
        let mut harvests = Vec::new();
        for (from, to, span_s) in [(five_from, to_s, 300), (from_s.div_euclid(3600) * 3600, five_from, 3600)] {
            if from >= to {
                continue;
            }
            let window_s = span_s + self.scrape_s;
            let fetches: Vec<&Fetch> = self.plan.fetches.iter().filter(|fetch| fetch.ask == Ask::Counter).collect();
            older.requests += fetches.len();
            let asked: Vec<_> = fetches
                .iter()
                .map(|fetch| {
                    let expr = format!("sum by ({}) (increase({}[{window_s}s]))", fetch.keep.join(", "), fetch.expr);
                    let client = client.clone();
                    async move { retried(|| client.query_range(&expr, from + span_s, to, span_s)).await }
                })
                .collect();
            let answers: Vec<_> = stream::iter(asked).buffered(self.options.concurrency.max(1)).collect().await;
            let answers =
                fetches.into_iter().zip(answers).map(|(fetch, answer)| answer.map(|answer| (fetch, answer.series)));
            let answers = answers.collect::<Result<Vec<_>, Fault>>()?;
            let scale = span_s as f64 / window_s as f64;
            let rows: Vec<(&Fetch, &[RawSeries])> =
                answers.iter().map(|(fetch, rows)| (*fetch, rows.as_slice())).collect();
            harvests.push((span_s, grid::coarse(&self.plan, &rows, span_s, scale)));
            (self.progress)(Progress { done_s: to_s - from, total_s: to_s - from_s });
        }
        for (span_s, harvest) in harvests.into_iter().rev() {
            for series in harvest {
                let ledger = older.ledger.series_mut(&self.slos[series.sli], &series.labels);
                for span in series.spans {
                    ledger.apply_coarse(span.start_s, span_s, span.total, span.bad, Coverage::Known);
                }
            }
        }
        Ok(())
    }

    /// Gauges on the slice grid, in as few requests as the limit on points allows.
    async fn gauges(&self, client: &Client, from_s: i64, to_s: i64, older: &mut Older) -> Result<(), Fault> {
        let resolution = self.options.resolution_s;
        for fetch in self.plan.fetches.iter().filter(|fetch| fetch.ask == Ask::Gauge) {
            let mut at = from_s - from_s.rem_euclid(resolution);
            while at < to_s {
                let end = to_s.min(at + POINTS_MAX * resolution);
                older.requests += 1;
                let answer = retried(|| client.query_range(&fetch.expr, at + resolution, end, resolution)).await?;
                for harvest in grid::gauge(&self.plan, fetch, &answer.series, resolution * 1000) {
                    let harvest = harvest.whole();
                    older.ledger.series_mut(&self.slos[harvest.sli], &harvest.labels).apply(&harvest.deltas);
                }
                at = end;
            }
        }
        Ok(())
    }
}

/// Tries again what may pass: a connection, a busy server. What is too large or refused stays so.
async fn retried<T, F: Future<Output = Result<T, Fault>>>(request: impl Fn() -> F) -> Result<T, Fault> {
    let mut tries = 0;
    loop {
        match request().await {
            Err(fault @ (Fault::Unreachable(_) | Fault::Status(500.., _))) if tries < RETRIES => {
                tries += 1;
                warn!(%fault, tries, "history request failed; trying again");
                tokio::time::sleep(RETRY_AFTER * tries).await;
            }
            other => return other,
        }
    }
}
