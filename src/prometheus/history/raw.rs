//! Raw history: every sample, in time order, walked by the rules that polls are.
//!
//! By remote read where the server offers it, a month in one long answer. Where it does not, a small SLO is read by instant
//! queries of range vectors, each over no more than a day: the same samples as text, some twenty times as many bytes, so how
//! much is read like that is bounded (`extent`).
//!
//! Deliberately absent: what cannot be read raw. That is `backfill`.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};

use super::backfill::{Backfill, Progress, Way};
use super::extent::QUERIED_TOGETHER_MAX;
use super::older::{Older, samples};
use super::pieces::again;
use super::recent::{STEP_OVERLAP_S, WITNESS_BEFORE_S, selectors, targets_of};
use super::remote_read;
use super::walked::Walked;
use crate::prometheus::client::Client;
use crate::prometheus::fault::Fault;
use crate::query::fetch::Ask;
use crate::query::increment::{PROCESS_START, UP};
use crate::query::promql::request;
use crate::query::queue::QueueBook;
use crate::query::{RawSeries, Selector};

/// Raw samples of one span of a remote read (about 2 bytes each): what is in memory at a time.
const SAMPLES_PER_SPAN: i64 = 250_000;
/// Longest and shortest span, seconds. Chunks that reach over its ends are sent twice; they hold about an hour.
const SPAN_MAX_S: i64 = 86_400;
const SPAN_MIN_S: i64 = 3 * 3600;
/// Raw samples that are decoded (to 16 bytes each) and walked at a time.
const SAMPLES_PER_STEP: i64 = 50_000;
/// Raw samples asked for in one request.
const SAMPLES_PER_READ: i64 = 50_000_000;
/// At so many moments it is looked whether a metric was there of which remote read brought nothing.
const MOMENTS: i64 = 50;
/// The shortest span of raw samples that is asked for by queries, seconds.
const QUERIED_SPAN_MIN_S: i64 = 600;
/// Where queries bring more raw samples than this there were far more series than live now: the rest is not worth it.
const QUERIED_SAMPLES_MAX: usize = 4 * QUERIED_TOGETHER_MAX as usize;

/// Tells series and their witnesses apart.
fn parted(series: Vec<RawSeries>) -> (Vec<RawSeries>, Vec<RawSeries>) {
    series.into_iter().partition(|series| ![UP, PROCESS_START].contains(&series.label("__name__")))
}

impl Backfill {
    /// Raw history in time order, span by span out of one long answer. What breaks off is asked for again from there.
    pub(super) async fn raw(
        &self,
        way: Way,
        client: &Client,
        from_s: i64,
        to_s: i64,
        older: &mut Older,
        queues: &mut QueueBook,
    ) -> Result<(), Fault> {
        let tracker = self.tracker(from_s);
        let mut walked =
            Walked { tracker, queues, jobs: self.jobs.clone(), met: BTreeMap::new(), from_s, at_s: from_s, to_s };
        let per_second = self.extent.series.max(1) as f64 / self.extent.scrape_s.max(1) as f64;
        let seconds = |samples: i64, min_s, max_s| ((samples as f64 / per_second) as i64).clamp(min_s, max_s);
        let step_s = seconds(SAMPLES_PER_STEP, 3600, SPAN_MAX_S) / 3600 * 3600;
        let span_min_s = if way == Way::Queries { QUERIED_SPAN_MIN_S } else { SPAN_MIN_S };
        let mut span_s = seconds(SAMPLES_PER_SPAN, span_min_s, SPAN_MAX_S);
        let mut tries = 0;
        if from_s >= to_s {
            return Ok(());
        }
        // The last span reaches past the end: up to the samples the polls began with.
        while walked.at_s < self.joined_until_s(to_s) {
            older.requests += 1;
            let before_s = walked.at_s;
            let spans = (seconds(SAMPLES_PER_READ, span_s, i64::MAX) / span_s) as usize;
            let read = match way {
                Way::Queries => self.queried_span(client, span_s, &mut walked, older).await,
                _ => self.raw_spans(client, span_s, spans, step_s, &mut walked, older).await,
            };
            if walked.at_s > before_s {
                tries = 0;
            }
            if way == Way::Queries && older.samples > QUERIED_SAMPLES_MAX {
                return Err(Fault::TooLarge(older.bytes));
            }
            match read {
                Ok(()) => {}
                Err(fault) if fault.asks_for_less() && span_s > span_min_s => {
                    span_s = (span_s / 2).max(span_min_s);
                }
                Err(fault) => again(fault, &mut tries).await?,
            }
        }
        older.remembered = walked.tracker.remembered(&self.plan);
        match way {
            Way::Queries => Ok(()),
            _ => self.contradicted(client, &walked).await,
        }
    }

    /// A history in which a metric never was, or was not yet, while the server knows it by other means, is no history.
    async fn contradicted(&self, client: &Client, walked: &Walked<'_>) -> Result<(), Fault> {
        let (from_s, to_s) = (walked.from_s, walked.to_s);
        let step_s = ((to_s - from_s) / MOMENTS).max(60);
        for fetch in self.plan.fetches.iter().filter(|fetch| fetch.ask == Ask::Counter) {
            let Some(selector) = Selector::parse(&fetch.expr).ok().filter(|selector| !selector.metric.is_empty())
            else {
                continue;
            };
            let met_s = walked.met.get(&selector.metric).copied().filter(|&met_s| met_s < to_s);
            if met_s.is_some_and(|met_s| met_s <= from_s + 2 * step_s) {
                continue;
            }
            let answer = client.query_range(&request::count(&fetch.expr, &[]), from_s + step_s, to_s, step_s).await;
            let Ok(answer) = answer else { continue };
            let known = answer.series.iter().filter_map(|row| row.samples.iter().next());
            let Some(known_s) = known.map(|(at_ms, _)| at_ms.div_euclid(1000)).min() else { continue };
            if met_s.is_none_or(|met_s| met_s > known_s + 2 * step_s) {
                let expr = &fetch.expr;
                return Err(Fault::NotAnAnswer(format!("remote read does not know of {expr} what queries do")));
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
        let joined_s = self.joined_until_s(walked.to_s);
        let ends = |at_s: &i64| match *at_s {
            at_s if at_s < walked.to_s => Some(walked.to_s.min(at_s + span_s)),
            at_s if at_s < joined_s => Some(joined_s.min(at_s + span_s)),
            _ => None,
        };
        let starts: Vec<i64> = std::iter::successors(Some(walked.at_s), ends).take(spans.max(1) + 1).collect();
        let begins_s = |at_s: i64| at_s - STEP_OVERLAP_S;
        let asked: Vec<(i64, i64)> =
            starts.windows(2).map(|span| (begins_s(span[0]) * 1000 + 1, span[1] * 1000)).collect();
        let mut wanted = selectors(&self.plan);
        wanted.extend(request::witnesses(&targets_of(&walked.jobs)));
        let mut answer = remote_read::read_spans(client, &wanted, &asked).await?;
        for end_s in starts.into_iter().skip(1) {
            let history = answer.next().await?.unwrap_or_default();
            older.bytes += history.bytes;
            let known = walked.jobs.len();
            walked.jobs.extend(history.values("job"));
            if walked.jobs.len() > known {
                // Targets that were not known so far: what they say of themselves is asked for, too.
                return Ok(());
            }
            while walked.at_s < end_s {
                let step_end_s = end_s.min(walked.at_s + step_s);
                let (series, seen) = parted(history.span(begins_s(walked.at_s) * 1000, step_end_s * 1000)?);
                older.samples += samples(&series) + samples(&seen);
                self.book(walked, &series, &seen, step_end_s, older);
                walked.at_s = step_end_s;
            }
            let done_s = end_s.min(walked.to_s) - walked.from_s;
            (self.progress)(Progress { done_s, total_s: walked.to_s - walked.from_s });
        }
        Ok(())
    }

    /// The next `span_s` seconds by instant queries: every sample in a range vector for each request, and then those of
    /// the witnesses of the targets that were met.
    async fn queried_span(
        &self,
        client: &Client,
        span_s: i64,
        walked: &mut Walked<'_>,
        older: &mut Older,
    ) -> Result<(), Fault> {
        let ends_s = if walked.at_s < walked.to_s { walked.to_s } else { self.joined_until_s(walked.to_s) };
        let end_s = ends_s.min(walked.at_s + span_s);
        let counters = self.plan.fetches.iter().filter(|fetch| fetch.ask == Ask::Counter);
        let asked = counters.map(|fetch| {
            let text = request::raw(&fetch.expr, end_s - walked.at_s + STEP_OVERLAP_S);
            async move { client.query(&text, end_s).await }
        });
        let asked: Vec<_> = asked.collect();
        let answers: Vec<_> = stream::iter(asked).buffered(self.options.concurrency.max(1)).collect().await;
        older.requests += answers.len().saturating_sub(1);
        let mut series = Vec::new();
        for answer in answers {
            let answer = answer?;
            older.bytes += answer.bytes;
            series.extend(answer.series);
        }
        walked.jobs.extend(series.iter().map(|raw| raw.label("job").to_owned()).filter(|job| !job.is_empty()));
        let window_s = end_s - walked.at_s + WITNESS_BEFORE_S;
        let mut seen = Vec::new();
        if let Some(text) = request::raw_witnesses(&targets_of(&walked.jobs), window_s) {
            older.requests += 1;
            let answer = client.query(&text, end_s).await?;
            older.bytes += answer.bytes;
            seen = answer.series;
        }
        older.samples += samples(&series) + samples(&seen);
        self.book(walked, &series, &seen, end_s, older);
        walked.at_s = end_s;
        let done_s = end_s.min(walked.to_s) - walked.from_s;
        (self.progress)(Progress { done_s, total_s: walked.to_s - walked.from_s });
        Ok(())
    }
}
