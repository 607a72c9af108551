//! History at a cold start, newest first.
//!
//! The last hours come raw (`recent`), so that alerts are right within seconds. What is older is read beside the polls: raw by
//! remote read where the server offers it, or by queries, where the SLO is small enough (`raw`, `extent`), else by range
//! queries over five minutes and an hour that tile (`tiling`), which are approximate and said to be. `benches/cost.rs`
//! measures both ways. What cannot be read of one SLO keeps no other from its own, and is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tracing::{info, warn};

use super::extent::Extent;
pub use super::extent::Way;
use super::older::slis_of;
pub use super::older::{Older, Short};
use super::pieces::{POINTS_MAX, Pieces};
use super::recent::{RECENT_S, TIMEOUT};
pub use super::recent::{recent, recent_from};
use super::tiling::Tiling;
use super::walked::Walked;
use crate::engine::{Coverage, Slo};
use crate::prometheus::client::Client;
use crate::prometheus::fault::Fault;
use crate::prometheus::options::SourceOptions;
use crate::query::fetch::Ask;
use crate::query::grid;
use crate::query::increment::{Join, Read, SeriesDeltas, Starts};
use crate::query::promql::request;
use crate::query::queue::{QueueBook, ReadUpTo};
use crate::query::{Fanout, Fetch, Plan, RawSeries, Samples, Tracker};

/// Who waits is read on for so long behind the end, seconds: what joins on to the polls needs it.
const JOINED_S: i64 = 600;
/// History younger than this is filled in steps of five minutes, seconds; older in hours.
const FIVE_MINUTES_FOR_S: i64 = 4 * 86_400;

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
    /// Jobs of the targets: their witnesses are read along.
    pub jobs: BTreeSet<String>,
    /// How to read.
    pub way: Way,
    /// How, where the server refuses that; by range queries in the end.
    pub otherwise: Way,
    /// How much there is of all of them; the coarse queries need the scrape interval to tile.
    pub extent: Extent,
    /// Called as it goes on.
    pub progress: Box<dyn Fn(Progress) + Send + Sync>,
}

impl Backfill {
    /// Reads `(from_s, to_s]`.
    pub async fn run(self, from_s: i64, to_s: i64) -> Result<Older, Fault> {
        let client = self.client.with_timeout(TIMEOUT);
        let pieces = Pieces::new(client.clone());
        let mut older = Older::new(self.options.resolution_s);
        let mut queues = QueueBook::new(self.options.resolution_s);
        let counters = self.plan.fetches.iter().any(|fetch| fetch.ask == Ask::Counter);
        let mut raw = false;
        for way in [self.way, self.otherwise].into_iter().filter(|way| counters && *way != Way::Ranges) {
            let read = self.raw(way, &client, from_s, to_s, &mut older, &mut queues).await;
            let queried =
                if way == Way::Queries { older.samples.max(self.extent.queried(to_s - from_s) as usize) } else { 0 };
            let Err(fault) = read else {
                (older.queried, raw) = (queried, true);
                break;
            };
            // What may pass is tried again later: exact history is worth a wait. What was refused stays so.
            let slow = way == Way::RemoteRead && fault == Fault::Timeout;
            if slow || matches!(fault, Fault::Unreachable(_)) {
                return Err(fault);
            }
            warn!(%fault, ?way, "raw history cannot be read in this way");
            let spent = older.requests;
            (older, queues) = (Older::new(self.options.resolution_s), QueueBook::new(self.options.resolution_s));
            (older.requests, older.queried) = (spent, queried);
        }
        if counters && !raw {
            self.coarse(&pieces, from_s, to_s, &mut older, &mut queues).await?;
        }
        self.native(&pieces, from_s, to_s, &mut older, &mut queues).await;
        self.gauges(&pieces, from_s, to_s, &mut older, &mut queues).await;
        self.settle(&mut queues, to_s, &mut older);
        (self.progress)(Progress { done_s: to_s - from_s, total_s: to_s - from_s });
        info!(requests = older.requests, samples = older.samples, raw, from_s, to_s, "history read");
        Ok(older)
    }

    /// A tracker that reads everything from `from_s` on.
    pub(super) fn tracker(&self, from_s: i64) -> Tracker {
        let mut tracker = Tracker::new(self.options.resolution_s);
        (0..self.plan.slis.len()).for_each(|sli| tracker.begin(sli, from_s * 1000 + 1));
        *tracker.fanout_mut() = self.fanout.clone();
        tracker
    }

    /// Native histograms at the ends of slices, and up to the values the polls began with. A stretch that cannot be read
    /// is left out, and said.
    async fn native(&self, pieces: &Pieces, from_s: i64, to_s: i64, older: &mut Older, queues: &mut QueueBook) {
        let fetches: Vec<&Fetch> = self.plan.fetches.iter().filter(|fetch| fetch.ask == Ask::Native).collect();
        let resolution_s = self.options.resolution_s;
        let tracker = self.tracker(from_s);
        let at_s = from_s.div_euclid(resolution_s) * resolution_s;
        let mut walked = Walked { tracker, queues, jobs: BTreeSet::new(), met: BTreeMap::new(), from_s, at_s, to_s };
        while !fetches.is_empty() && walked.at_s < to_s + JOINED_S {
            let newer = walked.at_s >= to_s;
            let end_s = if newer { to_s + JOINED_S } else { to_s.min(walked.at_s + POINTS_MAX * resolution_s) };
            let mut series = Vec::new();
            for fetch in &fetches {
                let start_s = walked.at_s + resolution_s;
                match pieces.range(&fetch.expr, start_s, end_s, resolution_s).await {
                    Ok(read) => {
                        let (rows, since) = older.take(read);
                        series.extend(fetch.as_counters(rows));
                        if let Some((since_s, fault)) = since {
                            older.fall_short(&slis_of(&[fetch]), Some(since_s), &fault);
                        }
                    }
                    Err(fault) => older.fall_short(&slis_of(&[fetch]), Some(end_s), &fault),
                }
            }
            self.book(&mut walked, &series, &[], end_s, older);
            walked.at_s = end_s;
        }
    }

    /// Up to where counters are read for what joins on to the polls, seconds: the samples that these began with, and
    /// what the next scrapes say of them.
    pub(super) fn joined_until_s(&self, to_s: i64) -> i64 {
        let newest_s = self.join(to_s).newest_ms().div_euclid(1000);
        to_s.saturating_add(RECENT_S).min(newest_s + JOINED_S)
    }

    fn join(&self, to_s: i64) -> Join<'_> {
        Join { starts: &self.starts, ends_ms: to_s * 1000 }
    }

    /// Decides on the slices of queues, all of which have been read. What is newer than the end joins on to the polls.
    fn settle(&self, queues: &mut QueueBook, to_s: i64, older: &mut Older) {
        let end = to_s.div_euclid(self.options.resolution_s);
        let ends = ReadUpTo { known: i64::MAX, counted: i64::MAX, waiting: i64::MAX };
        queues.cut(end);
        for mut harvest in queues.settle(&self.plan, |_| Some(ends)) {
            let newer = harvest.deltas.split_off(harvest.deltas.partition_point(|delta| delta.slice < end));
            older.ledger.series_mut(&self.slos[harvest.sli], &harvest.labels).apply(&harvest.deltas);
            if !newer.is_empty() {
                older.joined.push(SeriesDeltas { deltas: newer, ..harvest });
            }
        }
    }

    /// Walks on to `until_s` and books what was found: in the older ledger, and past its end to what joins on.
    pub(super) fn book(
        &self,
        walked: &mut Walked<'_>,
        series: &[RawSeries],
        witnesses: &[RawSeries],
        until_s: i64,
        older: &mut Older,
    ) {
        for raw in series {
            let first = raw.samples.iter().next().map(|(at_ms, _)| at_ms.div_euclid(1000));
            let met = walked.met.get_mut(raw.label("__name__"));
            match (first, met) {
                (Some(first), Some(met)) => *met = first.min(*met),
                (Some(first), None) => drop(walked.met.insert(raw.label("__name__").to_owned(), first)),
                (None, _) => {}
            }
        }
        let join = (until_s > walked.to_s).then(|| self.join(walked.to_s));
        let read = Read { counters: series, witnesses, until_ms: until_s * 1000, join };
        for harvest in walked.tracker.read(&self.plan, &read).series {
            let harvest = match self.plan.slis[harvest.sli].queue {
                Some(_) => walked.queues.take_counts(harvest),
                None => harvest,
            };
            let ledger = older.ledger.series_mut(&self.slos[harvest.sli], &harvest.labels);
            if join.is_none() {
                harvest.apply_to(ledger);
                continue;
            }
            // What it says of slices before the end is told here, while they can still be told apart.
            let newer = harvest.undo_before(walked.to_s.div_euclid(self.options.resolution_s), ledger);
            if !newer.is_empty() {
                older.joined.push(newer);
            }
        }
    }

    /// Coarse history: the newest days in steps of five minutes first, then hours. Requests that only count together are
    /// used from where on all of them were read; those that fail leave the others alone. What a group of them brought is
    /// booked before the next is asked: read, a month takes more room than booked.
    async fn coarse(
        &self,
        pieces: &Pieces,
        from_s: i64,
        to_s: i64,
        older: &mut Older,
        queues: &mut QueueBook,
    ) -> Result<(), Fault> {
        // Spans that hold no whole number of scrapes weigh some of them more than others: what comes at one moment of each
        // pattern would be counted short. Then only what fills no hour is read in five minutes.
        let fine_s = if 300 % self.extent.scrape_s.max(1) == 0 { FIVE_MINUTES_FOR_S } else { 0 };
        let five_from = from_s.max((to_s - fine_s).div_euclid(3600) * 3600);
        let mut fanout = self.fanout.clone();
        let tiling = Tiling::of(&self.client, to_s, self.extent.scrape_s).await;
        let groups = self.plan.groups();
        let of_counters = |fetches: &Vec<&Fetch>| fetches.iter().all(|fetch| fetch.ask == Ask::Counter);
        let groups = groups.iter().map(|group| group.iter().map(|&i| &self.plan.fetches[i]).collect::<Vec<_>>());
        let groups: Vec<Vec<&Fetch>> = groups.filter(of_counters).collect();
        let mut nothing = true;
        for (done, fetches) in groups.iter().enumerate() {
            let mut harvests = Vec::new();
            for (from, to, span_s) in [(five_from, to_s, 300), (from_s.div_euclid(3600) * 3600, five_from, 3600)] {
                // What is not there from `to` on is not there before it.
                let gone = fetches.iter().flat_map(|fetch| &fetch.slis).all(|sli| older.short.contains_key(sli));
                if from >= to || gone {
                    continue;
                }
                let span = (from, to, span_s);
                let Some(rows) = self.coarse_rows(pieces, fetches, span, to_s, &tiling, older).await? else { continue };
                let rows: Vec<(&Fetch, &[RawSeries])> =
                    rows.iter().map(|(fetch, rows)| (*fetch, rows.as_slice())).collect();
                for (fetch, rows) in &rows {
                    grid::meet(&self.plan, &mut fanout, fetch, rows);
                    if !rows.is_empty() {
                        older.approximate.extend(fetch.slis.iter().copied());
                    }
                }
                harvests.push((span_s, grid::coarse(&self.plan, &fanout, &rows, span_s, tiling.scale(span_s))));
            }
            nothing &= harvests.is_empty();
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
            let total_s = to_s - from_s;
            (self.progress)(Progress { done_s: total_s * (done as i64 + 1) / groups.len() as i64, total_s });
        }
        match older.short.values().next() {
            Some(short) if nothing && !groups.is_empty() => Err(short.fault.clone()),
            _ => Ok(()),
        }
    }

    /// What requests that count together say of `(from, to]` in steps of `span_s`; `None` where one of them failed.
    async fn coarse_rows<'a>(
        &self,
        pieces: &Pieces,
        fetches: &[&'a Fetch],
        (from, to, span_s): (i64, i64, i64),
        to_s: i64,
        tiling: &Tiling,
        older: &mut Older,
    ) -> Result<Option<Vec<(&'a Fetch, Vec<RawSeries>)>>, Fault> {
        let window_ms = tiling.window_ms(span_s);
        let asked = fetches.iter().map(|fetch| {
            let expr = request::increases(&fetch.expr, &fetch.keep, window_ms);
            async move { pieces.range(&expr, from + span_s, to, span_s).await }
        });
        let asked: Vec<_> = asked.collect();
        let read: Vec<_> = stream::iter(asked).buffered(self.options.concurrency.max(1)).collect().await;
        let mut rows: Vec<(&Fetch, Vec<RawSeries>)> = Vec::new();
        let mut since: Option<(i64, Fault)> = None;
        let mut failed: Option<Fault> = None;
        for (&fetch, read) in fetches.iter().zip(read) {
            match read {
                Ok(read) => {
                    let (series, from) = older.take(read);
                    since = since.into_iter().chain(from).max_by_key(|&(since_s, _)| since_s);
                    rows.push((fetch, series));
                }
                Err(fault) => failed = Some(fault),
            }
        }
        let slis = slis_of(fetches);
        if let Some(fault) = failed {
            let newer_s = (to < to_s).then_some(to);
            if newer_s.is_none() && slis.len() == self.plan.slis.len() {
                return Err(fault);
            }
            older.fall_short(&slis, newer_s, &fault);
            return Ok(None);
        }
        if let Some((since_s, fault)) = since {
            // A value stands at the end of its span.
            older.fall_short(&slis, Some(since_s - span_s), &fault);
            rows.iter_mut().for_each(|(_, rows)| cut(rows, since_s));
        }
        Ok(Some(rows))
    }

    /// Gauges on the slice grid, in as few requests as the limit on points allows. A stretch that cannot be read is left
    /// out, and said.
    async fn gauges(&self, pieces: &Pieces, from_s: i64, to_s: i64, older: &mut Older, queues: &mut QueueBook) {
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
                let mut since: Option<(i64, Fault)> = None;
                for fetch in &fetches {
                    let (expr, start) = (fetch.on_grid(resolution), at + (1 - fetch.context) * resolution);
                    match pieces.range(&expr, start, end, resolution).await {
                        Ok(read) => {
                            let (rows, from) = older.take(read);
                            since = since.into_iter().chain(from).max_by_key(|&(since_s, _)| since_s);
                            grid::meet(&self.plan, &mut fanout, fetch, &rows);
                            answers.push((fetch, rows));
                        }
                        Err(fault) => since = Some((end + resolution, fault)),
                    }
                }
                if let Some((since_s, fault)) = since {
                    older.fall_short(&slis_of(&fetches), Some(since_s - resolution), &fault);
                    answers.iter_mut().for_each(|(_, rows)| cut(rows, since_s));
                }
                let answers: Vec<_> = answers.iter().map(|(fetch, rows)| (*fetch, rows.as_slice())).collect();
                let every = (self.extent.scrape_s.max(1) + resolution - 1) / resolution;
                for through in grid::through(&self.plan, &fanout, &answers, at / resolution, resolution * 1000) {
                    queues.take_through(&self.plan, through, every);
                }
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
    }
}

/// Takes out what is older than `since_s`.
fn cut(rows: &mut [RawSeries], since_s: i64) {
    for row in rows {
        let newer = row.samples.iter().filter(|&(at_ms, _)| at_ms >= since_s * 1000).collect();
        row.samples = Samples::new(newer);
    }
}
