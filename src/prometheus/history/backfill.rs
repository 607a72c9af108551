//! History at a cold start, newest first.
//!
//! The last hours come raw, so that alerts are right within seconds. What is older is read beside the polls: raw by
//! remote read where the server offers it (exact, one to two bytes a sample), else by range queries over five minutes
//! and an hour, scaled to tile (`increase[W + scrape] × W/(W + scrape)`; VictoriaMetrics tiles without). `benches/cost.rs` measures both ways.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tracing::{debug, info, warn};

use super::remote_read::{self, History};
use crate::engine::{Coverage, Ledger, Slo};
use crate::prometheus::answer::Answer;
use crate::prometheus::client::Client;
use crate::prometheus::fault::Fault;
use crate::prometheus::options::SourceOptions;
use crate::prometheus::poll::Poll;
use crate::prometheus::source::Source;
use crate::query::fetch::Ask;
use crate::query::grid;
use crate::query::increment::{Read, SeriesHarvest, Starts};
use crate::query::promql::request;
use crate::query::queue::{QueueBook, ReadUpTo};
use crate::query::{Fanout, Fetch, Plan, RawSeries, Selector, Tracker};

/// How much is read raw before the first evaluation, seconds: the longest paging window and its alignment.
const RECENT_S: i64 = 6 * 3600 + 600;
/// It begins on this grid, seconds: not so much earlier that the fine tier would have dropped its beginning before older
/// history is put under it, for the first slices of a quiet quantile are judged again then, by what came before them.
const RECENT_STARTS_S: i64 = 600;
/// Raw samples of one span of a remote read (about 2 bytes each): what is in memory at a time.
const SAMPLES_PER_SPAN: i64 = 250_000;
/// Longest and shortest span, seconds. Chunks that reach over its ends are sent twice; they hold about an hour.
const SPAN_MAX_S: i64 = 86_400;
const SPAN_MIN_S: i64 = 3 * 3600;
/// Raw samples that are decoded (to 16 bytes each) and walked at a time.
const SAMPLES_PER_STEP: i64 = 50_000;
/// Recent history is walked in steps of this length, seconds.
const RECENT_STEP_S: i64 = 3600;
/// Who waits is read on for so long behind the end, seconds: what joins on to the polls needs it.
const JOINED_S: i64 = 600;
/// Each step begins this much before the end of the one before, seconds: a total waits that long for its part.
const STEP_OVERLAP_S: i64 = 60;
/// Raw samples asked for in one request.
const SAMPLES_PER_READ: i64 = 50_000_000;
/// Fleets with more raw samples than this in their history use the coarse range queries.
const RAW_SAMPLES_MAX: i64 = 400_000_000;
/// Points of one range query; Prometheus refuses 11,001.
const POINTS_MAX: i64 = 10_700;
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
    /// Which children have rows; those that only the past knows get the free ones.
    pub fanout: Fanout,
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
    /// Samples in the answers.
    pub samples: usize,
    /// Bytes of the answers.
    pub bytes: usize,
}

impl Older {
    /// Counts an answer and hands out its series.
    fn take(&mut self, answer: Answer) -> Vec<RawSeries> {
        self.samples += answer.samples();
        self.bytes += answer.bytes;
        answer.series
    }
}

/// Where the recent hours before `at_s` begin.
pub fn recent_from(at_s: i64) -> i64 {
    (at_s - RECENT_S).div_euclid(RECENT_STARTS_S) * RECENT_STARTS_S
}

/// Reads the recent hours `(from_s, to_s]` into the source, raw. Says how older history can be read.
pub async fn recent(source: &mut Source, from_s: i64, to_s: i64) -> (Way, Poll) {
    let selectors = selectors(&source.plan);
    let mut poll = Poll::default();
    let client = source.client().with_timeout(TIMEOUT);
    source.read_from(Ask::Gauge, from_s);
    source.read_from(Ask::Native, from_s);
    poll.requests += 1;
    let read = match selectors.is_empty() {
        true => Err(Fault::NotAnAnswer("there is no counter to read".into())),
        false => remote_read::read(&client, &selectors, from_s * 1000, to_s * 1000).await,
    };
    match read.and_then(|history| take_recent(source, &history, from_s, to_s, &mut poll)) {
        Ok(()) => {
            poll.answered += 1;
            poll.add(source.poll_all_but(Ask::Counter, to_s).await);
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

/// Walks the recent hours step by step: decoded, a sample takes eight times the room.
fn take_recent(source: &mut Source, history: &History, from_s: i64, to_s: i64, poll: &mut Poll) -> Result<(), Fault> {
    poll.bytes += history.bytes;
    for at_s in (from_s..to_s).step_by(RECENT_STEP_S as usize) {
        let until_s = to_s.min(at_s + RECENT_STEP_S);
        let series = history.span((at_s - STEP_OVERLAP_S).max(from_s) * 1000, until_s * 1000)?;
        poll.samples += samples(&series);
        poll.series.extend(source.take_history(&series, until_s).series);
    }
    Ok(())
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
        let mut older = Older {
            ledger: Ledger::new(self.options.resolution_s),
            joined: Vec::new(),
            requests: 0,
            samples: 0,
            bytes: 0,
        };
        let mut queues = QueueBook::new(self.options.resolution_s);
        let samples = self.raw_series as i64 * (to_s - from_s) / self.scrape_s.max(1);
        let raw = self.way == Way::RemoteRead && samples <= RAW_SAMPLES_MAX;
        let counters = self.plan.fetches.iter().any(|fetch| fetch.ask == Ask::Counter);
        match (counters, raw) {
            (false, _) => {}
            (true, true) => self.raw(&client, from_s, to_s, &mut older, &mut queues).await?,
            (true, false) => self.coarse(&client, from_s, to_s, &mut older, &mut queues).await?,
        }
        self.native(&client, from_s, to_s, &mut older, &mut queues).await?;
        self.gauges(&client, from_s, to_s, &mut older, &mut queues).await?;
        self.settle(&mut queues, to_s, &mut older);
        (self.progress)(Progress { done_s: to_s - from_s, total_s: to_s - from_s });
        info!(requests = older.requests, samples = older.samples, raw, from_s, to_s, "history read");
        Ok(older)
    }

    /// Raw history in time order, span by span out of one long answer. What breaks off is asked for again from there.
    async fn raw(
        &self,
        client: &Client,
        from_s: i64,
        to_s: i64,
        older: &mut Older,
        queues: &mut QueueBook,
    ) -> Result<(), Fault> {
        let tracker = Tracker::new(self.options.resolution_s);
        let mut walked = Walked { tracker, queues, from_s, at_s: from_s, to_s };
        *walked.tracker.fanout_mut() = self.fanout.clone();
        let per_second = (self.raw_series as i64).max(1) as f64 / self.scrape_s.max(1) as f64;
        let seconds = |samples: i64, min_s, max_s| ((samples as f64 / per_second) as i64).clamp(min_s, max_s);
        let step_s = seconds(SAMPLES_PER_STEP, 3600, SPAN_MAX_S) / 3600 * 3600;
        let mut span_s = seconds(SAMPLES_PER_SPAN, SPAN_MIN_S, SPAN_MAX_S);
        let mut tries = 0;
        if from_s >= to_s {
            return Ok(());
        }
        // The last span reaches past the end: up to the samples the polls began with.
        while walked.at_s < to_s + RECENT_S {
            older.requests += 1;
            let before_s = walked.at_s;
            let spans = (seconds(SAMPLES_PER_READ, span_s, i64::MAX) / span_s) as usize;
            let read = self.raw_spans(client, span_s, spans, step_s, &mut walked, older).await;
            if walked.at_s > before_s {
                tries = 0;
            }
            match read {
                Ok(()) => {}
                Err(Fault::TooLarge(_) | Fault::Timeout) if span_s > SPAN_MIN_S => {
                    span_s = (span_s / 2).max(SPAN_MIN_S);
                }
                Err(fault) => again(fault, &mut tries).await?,
            }
        }
        Ok(())
    }

    /// One request for the next `spans` spans of `span_s` seconds.
    async fn raw_spans(
        &self,
        client: &Client,
        span_s: i64,
        spans: usize,
        step_s: i64,
        walked: &mut Walked<'_>,
        older: &mut Older,
    ) -> Result<(), Fault> {
        let ends = |at_s: &i64| match *at_s {
            at_s if at_s < walked.to_s => Some(walked.to_s.min(at_s + span_s)),
            at_s if at_s == walked.to_s => Some(at_s + RECENT_S),
            _ => None,
        };
        let starts: Vec<i64> = std::iter::successors(Some(walked.at_s), ends).take(spans.max(1) + 1).collect();
        let asked: Vec<(i64, i64)> = starts.windows(2).map(|span| (span[0] * 1000 + 1, span[1] * 1000)).collect();
        let mut answer = remote_read::read_spans(client, &selectors(&self.plan), &asked).await?;
        for end_s in starts.into_iter().skip(1) {
            let history = answer.next().await?.unwrap_or_default();
            older.bytes += history.bytes;
            if walked.at_s == walked.to_s {
                let series = self.starts.join(history.span(walked.at_s * 1000, end_s * 1000)?);
                older.samples += samples(&series);
                older.joined = self.walk(walked, &series, end_s);
                walked.at_s = end_s;
                continue;
            }
            while walked.at_s < end_s {
                let step_end_s = end_s.min(walked.at_s + step_s);
                let series = history.span(walked.at_s * 1000, step_end_s * 1000)?;
                older.samples += samples(&series);
                self.book(walked, &series, step_end_s, &mut older.ledger);
                walked.at_s = step_end_s;
            }
            (self.progress)(Progress { done_s: end_s - walked.from_s, total_s: walked.to_s - walked.from_s });
        }
        Ok(())
    }

    /// Native histograms at the ends of slices, and up to the values the polls began with.
    async fn native(
        &self,
        client: &Client,
        from_s: i64,
        to_s: i64,
        older: &mut Older,
        queues: &mut QueueBook,
    ) -> Result<(), Fault> {
        let fetches: Vec<&Fetch> = self.plan.fetches.iter().filter(|fetch| fetch.ask == Ask::Native).collect();
        let resolution_s = self.options.resolution_s;
        let tracker = Tracker::new(resolution_s);
        let mut walked = Walked { tracker, queues, from_s, at_s: from_s.div_euclid(resolution_s) * resolution_s, to_s };
        *walked.tracker.fanout_mut() = self.fanout.clone();
        while !fetches.is_empty() && walked.at_s < to_s + JOINED_S {
            let newer = walked.at_s >= to_s;
            let end_s = if newer { to_s + JOINED_S } else { to_s.min(walked.at_s + POINTS_MAX * resolution_s) };
            let mut series = Vec::new();
            for fetch in &fetches {
                older.requests += 1;
                let start_s = walked.at_s + resolution_s;
                let answer = retried(|| client.query_range(&fetch.expr, start_s, end_s, resolution_s)).await?;
                series.extend(fetch.as_counters(older.take(answer)));
            }
            if newer {
                let joined = self.walk(&mut walked, &self.starts.join(series), end_s);
                older.joined.extend(joined);
            } else {
                self.book(&mut walked, &series, end_s, &mut older.ledger);
            }
            walked.at_s = end_s;
        }
        Ok(())
    }

    fn walk(&self, walked: &mut Walked<'_>, series: &[RawSeries], until_s: i64) -> Vec<SeriesHarvest> {
        let read = Read { counters: series, started: &BTreeSet::new(), until_ms: until_s * 1000 };
        let harvests = walked.tracker.read(&self.plan, &read).series.into_iter();
        let counted = |harvest: SeriesHarvest| match self.plan.slis[harvest.sli].queue {
            Some(_) => walked.queues.take_counts(harvest),
            None => harvest,
        };
        harvests.map(counted).collect()
    }

    /// Decides on the slices of queues, all of which have been read. What is newer than the end joins on to the polls.
    fn settle(&self, queues: &mut QueueBook, to_s: i64, older: &mut Older) {
        let end = to_s.div_euclid(self.options.resolution_s);
        let ends = ReadUpTo { counted: i64::MAX, waiting: i64::MAX };
        queues.cut(end);
        for mut harvest in queues.settle(&self.plan, |_| Some(ends)) {
            let newer = harvest.deltas.split_off(harvest.deltas.partition_point(|delta| delta.slice < end));
            older.ledger.series_mut(&self.slos[harvest.sli], &harvest.labels).apply(&harvest.deltas);
            if !newer.is_empty() {
                older.joined.push(SeriesHarvest { deltas: newer, ..harvest });
            }
        }
    }

    fn book(&self, walked: &mut Walked<'_>, series: &[RawSeries], until_s: i64, ledger: &mut Ledger) {
        for harvest in self.walk(walked, series, until_s) {
            ledger.series_mut(&self.slos[harvest.sli], &harvest.labels).apply(&harvest.deltas);
        }
    }

    /// Coarse history: the newest days in steps of five minutes first, then hours.
    async fn coarse(
        &self,
        client: &Client,
        from_s: i64,
        to_s: i64,
        older: &mut Older,
        queues: &mut QueueBook,
    ) -> Result<(), Fault> {
        let five_from = from_s.max((to_s - FIVE_MINUTES_FOR_S).div_euclid(3600) * 3600);
        let mut harvests = Vec::new();
        let mut fanout = self.fanout.clone();
        let overlap_s = if tiles_by_itself(client, to_s).await { 0 } else { self.scrape_s };
        for (from, to, span_s) in [(five_from, to_s, 300), (from_s.div_euclid(3600) * 3600, five_from, 3600)] {
            if from >= to {
                continue;
            }
            let window_s = span_s + overlap_s;
            let fetches: Vec<&Fetch> = self.plan.fetches.iter().filter(|fetch| fetch.ask == Ask::Counter).collect();
            older.requests += fetches.len();
            let asked: Vec<_> = fetches
                .iter()
                .map(|fetch| {
                    let expr = request::increases(&fetch.expr, &fetch.keep, window_s);
                    let client = client.clone();
                    async move { retried(|| client.query_range(&expr, from + span_s, to, span_s)).await }
                })
                .collect();
            let answers: Vec<_> = stream::iter(asked).buffered(self.options.concurrency.max(1)).collect().await;
            let taken = fetches.into_iter().zip(answers).map(|(fetch, answer)| Ok((fetch, older.take(answer?))));
            let answers = taken.collect::<Result<Vec<_>, Fault>>()?;
            let scale = span_s as f64 / window_s as f64;
            let rows: Vec<(&Fetch, &[RawSeries])> =
                answers.iter().map(|(fetch, rows)| (*fetch, rows.as_slice())).collect();
            for (fetch, rows) in &rows {
                grid::meet(&self.plan, &mut fanout, fetch, rows);
            }
            harvests.push((span_s, grid::coarse(&self.plan, &fanout, &rows, span_s, scale)));
            (self.progress)(Progress { done_s: to_s - from, total_s: to_s - from_s });
        }
        for (span_s, harvest) in harvests.into_iter().rev() {
            for mut series in harvest {
                if self.plan.slis[series.sli].queue.is_some() {
                    queues.take_spans(&mut series, span_s, self.options.resolution_s);
                }
                let ledger = older.ledger.series_mut(&self.slos[series.sli], &series.labels);
                for span in series.spans {
                    ledger.apply_coarse(span.start_s, span_s, span.total, span.bad, Coverage::Known);
                }
            }
        }
        Ok(())
    }

    /// Gauges on the slice grid, in as few requests as the limit on points allows.
    async fn gauges(
        &self,
        client: &Client,
        from_s: i64,
        to_s: i64,
        older: &mut Older,
        queues: &mut QueueBook,
    ) -> Result<(), Fault> {
        let resolution = self.options.resolution_s;
        let mut fanout = self.fanout.clone();
        for group in self.plan.groups() {
            let fetches: Vec<&Fetch> = group.iter().map(|&i| &self.plan.fetches[i]).collect();
            if fetches.iter().any(|fetch| fetch.ask != Ask::Gauge) {
                continue;
            }
            let of_queue = |&sli: &usize| self.plan.slis[sli].queue.is_some();
            let waiting = fetches.iter().flat_map(|fetch| &fetch.slis).all(of_queue);
            let to_s = if waiting { to_s + JOINED_S } else { to_s };
            let mut at = from_s - from_s.rem_euclid(resolution);
            while at < to_s {
                let end = to_s.min(at + POINTS_MAX * resolution);
                let mut answers: Vec<(&Fetch, Vec<RawSeries>)> = Vec::new();
                for fetch in &fetches {
                    older.requests += 1;
                    let (expr, start) = (fetch.on_grid(resolution), at + (1 - fetch.context) * resolution);
                    let answer = retried(|| client.query_range(&expr, start, end, resolution)).await?;
                    let rows = older.take(answer);
                    grid::meet(&self.plan, &mut fanout, fetch, &rows);
                    answers.push((fetch, rows));
                }
                let answers: Vec<_> = answers.iter().map(|(fetch, rows)| (*fetch, rows.as_slice())).collect();
                for harvest in grid::values(&self.plan, &fanout, &answers, at / resolution, resolution * 1000) {
                    if let Some(labels) = grid::series_of(&harvest.labels) {
                        queues.take_waiting(&self.plan, labels, &harvest);
                        continue;
                    }
                    let harvest = harvest.whole();
                    older.ledger.series_mut(&self.slos[harvest.sli], &harvest.labels).apply(&harvest.deltas);
                }
                at = end;
            }
        }
        Ok(())
    }
}

/// Whether `increase` of this server looks at the sample before its window, as MetricsQL does: then windows tile as they
/// are, and scaling them would be wrong. Only MetricsQL knows `now()`.
pub(in crate::prometheus) async fn tiles_by_itself(client: &Client, at_s: i64) -> bool {
    client.query("now()", at_s).await.is_ok()
}

/// How far raw history was walked.
struct Walked<'a> {
    tracker: Tracker,
    queues: &'a mut QueueBook,
    from_s: i64,
    /// Everything up to here is booked, seconds.
    at_s: i64,
    to_s: i64,
}

fn samples(series: &[RawSeries]) -> usize {
    series.iter().map(|series| series.samples.len()).sum()
}

/// Tries again what may pass.
async fn retried<T, F: Future<Output = Result<T, Fault>>>(request: impl Fn() -> F) -> Result<T, Fault> {
    let mut tries = 0;
    loop {
        match request().await {
            Err(fault) => again(fault, &mut tries).await?,
            done => return done,
        }
    }
}

/// Waits before another try, if the fault may pass (a connection, a busy server) and there were not too many. What is
/// too large or refused stays so.
async fn again(fault: Fault, tries: &mut u32) -> Result<(), Fault> {
    if !matches!(fault, Fault::Unreachable(_) | Fault::Status(500.., _)) || *tries >= RETRIES {
        return Err(fault);
    }
    *tries += 1;
    warn!(%fault, tries, "history request failed; trying again");
    tokio::time::sleep(RETRY_AFTER * *tries).await;
    Ok(())
}
