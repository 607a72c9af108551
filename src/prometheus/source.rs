//! A Prometheus as a source of slices: each poll reads what is new, and says how far its data can be trusted.
//!
//! A request is *good* when its answer came, had no warnings, only finite numbers and about as many series as before.
//! The next poll reads from the last good one on, so whatever a failing or lying Prometheus hid is read again, and
//! cursors keep it from counting twice. The age of data never hides behind a poll that merely succeeded.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use futures_util::stream::{self, StreamExt};

use super::answer::Answer;
use super::client::Client;
use super::fault::Fault;
use crate::clock::Clock;
use crate::engine::Labels;
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::query::grid;
use crate::query::increment::{Cursors, Liveness, Read, SeriesHarvest, Starts};
use crate::query::plan::Ask;
use crate::query::{Fetch, Harvest, Plan, RawSeries, Selector, Tracker};

/// A source is given up on waiting for a better answer after this long, seconds: what it says then is what there is.
const REREAD_MAX_S: i64 = 600;
/// A gauge that has no value for a slice may still get one this long, seconds.
const GAUGE_WAIT_S: i64 = 120;
/// No sample for this long means absent (Prometheus' own lookback), seconds.
const ABSENT_AFTER_S: i64 = 300;
/// Fewer than this share of the raw series of the last five minutes is partial data.
const LIVE_SHARE_MIN: f64 = 0.9;
/// Clocks further apart than this make data unusable, seconds.
const SKEW_MAX_S: i64 = 30;
/// Samples asked for in one answer at most, when a gap is caught up.
const SAMPLES_PER_ANSWER: i64 = 500_000;

/// How to poll.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Slice length, seconds.
    pub resolution_s: i64,
    /// Time between polls, seconds; a multiple of `resolution_s`.
    pub poll_interval_s: i64,
    /// How far each read reaches behind the one before, seconds: samples that arrive late are still seen.
    pub overlap_s: i64,
    /// A request that answers with more raw series than this is summed by the server from then on.
    pub raw_series_max: usize,
    /// Requests under way at once.
    pub concurrency: usize,
    /// The clock to hold the server's clock against; `None` when polls replay the past.
    pub clock: Option<Clock>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions {
            resolution_s: 30,
            poll_interval_s: 30,
            overlap_s: 15,
            raw_series_max: 20_000,
            concurrency: 4,
            clock: None,
        }
    }
}

/// Where a source stands: what a restart needs to count nothing twice and lose nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The last sample of each raw series.
    raw: Cursors,
    /// Requests that the server sums.
    aggregated: BTreeSet<String>,
    /// End of the last good read of each request, seconds.
    good: BTreeMap<String, i64>,
    /// End of the last poll, seconds.
    previous_s: Option<i64>,
}

impl Position {
    /// A position of which nothing is known but the moment (seconds) up to which everything was read.
    pub fn since(until_s: i64) -> Self {
        Position { good: BTreeMap::from([(String::new(), until_s)]), previous_s: Some(until_s), ..Position::default() }
    }
}

/// One poll's result.
#[derive(Debug, Default)]
pub struct Poll {
    /// What each series gained.
    pub series: Vec<SeriesHarvest>,
    /// Requests sent.
    pub requests: usize,
    /// Raw samples in the answers.
    pub samples: usize,
    /// Bytes of the answers.
    pub bytes: usize,
    /// Requests that failed, with why.
    pub faults: Vec<(String, Fault)>,
    /// Requests whose answers were not wholly good, with why.
    pub doubts: Vec<(String, DataReason)>,
    /// Counter falls taken for restarts, and for glitches.
    pub resets: u64,
    /// See `resets`.
    pub glitches: u64,
}

impl Poll {
    fn take(&mut self, harvest: Harvest) {
        self.series.extend(harvest.series);
        self.resets += harvest.resets;
        self.glitches += harvest.glitches;
    }
}

/// Polls one Prometheus for all SLIs of a plan.
#[derive(Debug)]
pub struct Source {
    client: Client,
    pub(super) plan: Arc<Plan>,
    pub(super) tracker: Tracker,
    pub(super) options: SourceOptions,
    requests: Vec<Request>,
    /// Requests whose last answer had too many raw series.
    outgrown: Vec<usize>,
    /// The newest booked slice of series that come on the slice grid.
    booked: HashMap<(usize, Labels), i64>,
    peaks: HashMap<(usize, Labels), VecDeque<(i64, usize)>>,
    faults: HashMap<(usize, Labels), DataReason>,
    /// Series that answer with far fewer raw series than shortly before.
    missing: BTreeSet<(usize, Labels)>,
    /// How far the server's clock was ahead at the last answer, seconds.
    skew_s: Option<i64>,
    started_s: Option<i64>,
    previous_s: Option<i64>,
}

/// The state of one request of the plan.
#[derive(Debug, Clone, Default)]
struct Request {
    /// End of the last good read, seconds.
    good_s: Option<i64>,
    /// The same, before the read that is being judged.
    good_before_s: Option<i64>,
    /// End of the last read that answered at all.
    answered_s: Option<i64>,
    /// The last answer came with warnings.
    warned: bool,
    aggregated: bool,
    raw_series: usize,
}

impl Source {
    /// A source that continues from a saved position, or starts from nothing. A request that the position does not know
    /// (the rules changed) reads from where the oldest of the others stands.
    pub fn new(client: Client, plan: Arc<Plan>, options: SourceOptions, saved: Option<Position>) -> Self {
        let begun = saved.is_some();
        let Position { raw, aggregated, good, previous_s } = saved.unwrap_or_default();
        let tracker = match begun {
            true => Tracker::restore(options.resolution_s, &plan, raw),
            false => Tracker::new(options.resolution_s),
        };
        let oldest = good.values().min().copied();
        let request = |fetch: &Fetch| {
            let good_s = good.get(&fetch.expr).copied().or(oldest);
            let aggregated = aggregated.contains(&fetch.expr);
            Request { good_s, answered_s: good_s, aggregated, ..Request::default() }
        };
        let requests = plan.fetches.iter().map(request).collect();
        Source {
            client,
            plan,
            tracker,
            options,
            requests,
            outgrown: Vec::new(),
            booked: HashMap::new(),
            peaks: HashMap::new(),
            faults: HashMap::new(),
            missing: BTreeSet::new(),
            skew_s: None,
            started_s: None,
            previous_s,
        }
    }

    /// What a restart needs to continue exactly here.
    pub fn position(&self) -> Position {
        let pairs = self.plan.fetches.iter().zip(&self.requests);
        let aggregated = pairs.filter(|(_, request)| request.aggregated).map(|(fetch, _)| fetch.expr.clone());
        let good = self.plan.fetches.iter().zip(&self.requests);
        let good = good.filter_map(|(fetch, request)| Some((fetch.expr.clone(), request.good_s?)));
        Position {
            raw: self.tracker.cursors(&self.plan),
            aggregated: aggregated.collect(),
            good: good.collect(),
            previous_s: self.previous_s,
        }
    }

    /// The client, for reads beside the polls.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether a request is summed by the server because it has too many raw series; the SLIs concerned.
    pub fn aggregated(&self) -> impl Iterator<Item = usize> + '_ {
        let pairs = self.plan.fetches.iter().zip(&self.requests);
        pairs.filter(|(_, request)| request.aggregated).flat_map(|(fetch, _)| fetch.slis.iter().copied())
    }

    /// The end of the oldest read that was good, over all requests; `None` before the first.
    pub fn good_until_s(&self) -> Option<i64> {
        self.requests.iter().map(|request| request.good_s).min().flatten()
    }

    /// Sets the moment from which the next poll reads requests of this kind.
    pub(super) fn read_from(&mut self, ask: Ask, from_s: i64) {
        for (_, request) in self.plan.fetches.iter().zip(&mut self.requests).filter(|(fetch, _)| fetch.ask == ask) {
            request.good_s = Some(from_s);
        }
    }

    /// Remembers that a series is booked up to `slice`. Values on the slice grid (gauges, sums of the server) have no
    /// cursors, so after a restart this keeps them from being booked again.
    pub fn note_booked(&mut self, sli: usize, labels: &Labels, slice: i64) {
        let on_grid = |(fetch, request): (&Fetch, &Request)| {
            fetch.slis.contains(&sli) && (fetch.ask == Ask::Gauge || request.aggregated)
        };
        if self.plan.fetches.iter().zip(&self.requests).any(on_grid) {
            let booked = self.booked.entry((sli, labels.clone())).or_insert(slice);
            *booked = slice.max(*booked);
        }
    }

    /// Where the polls began, for a backfill to join on to.
    pub fn starts(&self) -> Starts {
        self.tracker.starts()
    }

    /// Older history was joined on.
    pub fn forget_starts(&mut self) {
        self.tracker.forget_starts();
    }

    /// Raw series that are followed, and their usual scrape interval, seconds.
    pub fn extent(&self) -> (usize, i64) {
        let series =
            self.requests.iter().map(|request| request.raw_series).sum::<usize>().max(self.tracker.raw_series());
        let mut intervals: Vec<i64> =
            self.tracker.liveness(0, 0).into_values().filter_map(|live| live.interval_ms).collect();
        intervals.sort_unstable();
        (series, intervals.get(intervals.len() / 2).map_or(30, |ms| (ms + 500) / 1000).max(1))
    }

    /// Takes counters that were read beside the polls, up to `until_s`.
    pub(super) fn take_history(&mut self, counters: &[RawSeries], until_s: i64) -> Harvest {
        let plan = Arc::clone(&self.plan);
        let read = Read { counters, started: &BTreeMap::new(), until_ms: until_s * 1000, previous_ms: None };
        self.tracker.read(&plan, &read)
    }

    /// Reads everything new up to `at_s` (a multiple of the resolution). A long gap is caught up in steps, oldest first.
    pub async fn poll(&mut self, at_s: i64) -> Poll {
        let mut poll = Poll::default();
        self.started_s.get_or_insert(at_s);
        let mut from = self.good_until_s().unwrap_or(at_s - self.options.poll_interval_s);
        let mut failed = BTreeSet::new();
        loop {
            let to = at_s.min(from + self.step_max_s());
            // One that failed is asked again by the next poll; those that were read further wait for the rest.
            let behind = |i: usize, request: &Request| {
                !failed.contains(&i) && (to >= at_s || request.good_s.is_none_or(|good| good < to))
            };
            let asked: BTreeSet<usize> =
                (0..).zip(&self.requests).filter(|(i, request)| behind(*i, request)).map(|(i, _)| i).collect();
            failed.extend(self.step(to, &asked, &mut poll).await);
            if to >= at_s || failed.len() == self.requests.len() {
                break;
            }
            from = to;
        }
        if poll.faults.is_empty() {
            self.tracker.forget_silent(at_s * 1000);
        }
        poll
    }

    /// Reads the last `back_s` seconds once, to see what there is.
    pub async fn look(&mut self, at_s: i64, back_s: i64) -> Poll {
        for ask in [Ask::Counter, Ask::Gauge] {
            self.read_from(ask, at_s - back_s);
        }
        self.poll(at_s).await
    }

    /// How many raw series each SLI was seen with; an expression counts as one series for each that it answers with.
    pub fn raw_series_of_slis(&self) -> Vec<usize> {
        let mut counts = self.tracker.raw_series_of_slis(self.plan.slis.len());
        for (sli, _) in self.booked.keys() {
            counts[*sli] += 1;
        }
        counts
    }

    /// One step of [`Source::poll`] for requests of one kind.
    pub(super) async fn poll_only(&mut self, ask: Ask, at_s: i64) -> Poll {
        let mut poll = Poll::default();
        let asked = (0..).zip(&self.plan.fetches).filter(|(_, fetch)| fetch.ask == ask).map(|(i, _)| i).collect();
        self.step(at_s, &asked, &mut poll).await;
        poll
    }

    /// The longest stretch one answer should cover.
    fn step_max_s(&self) -> i64 {
        let series = self.requests.iter().map(|request| request.raw_series).max().unwrap_or(0).max(1) as i64;
        let step = (SAMPLES_PER_ANSWER / series).saturating_mul(15).clamp(600, 21_600);
        step - step % self.options.resolution_s
    }

    /// Asks some requests for everything up to `at_s`; answers which of them failed.
    async fn step(&mut self, at_s: i64, requests: &BTreeSet<usize>, poll: &mut Poll) -> BTreeSet<usize> {
        let client = &self.client;
        let options = &self.options;
        let asked: Vec<(usize, String, Query)> = self
            .plan
            .fetches
            .iter()
            .zip(&self.requests)
            .enumerate()
            .filter(|(i, _)| requests.contains(i))
            .filter_map(|(i, (fetch, request))| {
                let (text, query) = question(fetch, request, at_s, options)?;
                Some((i, text, query))
            })
            .collect();
        let mut answers: Vec<(usize, Result<Answer, Fault>)> = stream::iter(asked)
            .map(|(i, text, query)| async move {
                (
                    i,
                    match query {
                        Query::Raw => client.query(&text, at_s).await,
                        Query::Grid { start_s, step_s } => client.query_range(&text, start_s, at_s, step_s).await,
                    },
                )
            })
            .buffer_unordered(options.concurrency.max(1))
            .collect()
            .await;
        answers.sort_by_key(|(i, _)| *i);
        let failed = answers.iter().filter(|(_, answer)| answer.is_err()).map(|(i, _)| *i).collect();
        self.take(at_s, answers, poll).await;
        failed
    }

    async fn take(&mut self, at_s: i64, answers: Vec<(usize, Result<Answer, Fault>)>, poll: &mut Poll) {
        let plan = Arc::clone(&self.plan);
        let mut counters: Vec<RawSeries> = Vec::new();
        let mut sums: Vec<(&Fetch, Vec<RawSeries>)> = Vec::new();
        for (i, answer) in answers {
            let fetch = &plan.fetches[i];
            poll.requests += 1;
            let answer = match answer {
                Ok(answer) => answer,
                Err(fault) => {
                    poll.faults.push((fetch.expr.clone(), fault));
                    continue;
                }
            };
            poll.samples += answer.samples();
            poll.bytes += answer.bytes;
            if let (Some(clock), Some(server)) = (&self.options.clock, answer.server_time_s) {
                self.skew_s = Some(server - clock.now());
            }
            self.judge(i, at_s, &answer, poll);
            match fetch.ask {
                Ask::Gauge => {
                    let read = grid::gauge(&plan, fetch, &answer.series, self.options.resolution_s * 1000);
                    let booked = read.into_iter().map(|series| self.book_gauge(series, at_s));
                    let booked: Vec<_> = booked.collect();
                    poll.series.extend(booked);
                }
                Ask::Counter if self.requests[i].aggregated => sums.push((fetch, answer.series)),
                Ask::Counter => {
                    self.requests[i].raw_series = answer.series.len();
                    counters.extend(answer.series);
                }
            }
        }
        for mut series in grid::aggregated(&plan, &sums, self.options.resolution_s * 1000) {
            let booked = self.booked.entry((series.sli, series.labels.clone())).or_insert(i64::MIN);
            series.deltas.retain(|delta| delta.slice > *booked);
            *booked = series.deltas.last().map_or(*booked, |delta| delta.slice);
            poll.series.push(series);
        }
        let started = self.start_times(&counters, at_s).await;
        let harvest = self.tracker.read(
            &plan,
            &Read {
                counters: &counters,
                started: &started,
                until_ms: at_s * 1000,
                previous_ms: self.previous_s.map(|s| s * 1000),
            },
        );
        poll.take(harvest);
        for i in std::mem::take(&mut self.outgrown) {
            // Their cursors would bridge all that the server sums from now on.
            self.requests[i].aggregated = true;
            self.tracker.forget_slis(&plan.fetches[i].slis);
        }
        for series in &poll.series {
            let key = (series.sli, series.labels.clone());
            match series.fault {
                Some(fault) => drop(self.faults.insert(key, fault)),
                None => drop(self.faults.remove(&key)),
            }
        }
        self.watch_liveness(at_s, poll);
        if poll.faults.is_empty() {
            self.previous_s = Some(at_s);
        }
    }

    /// Decides whether an answer was good, and whether its request must be summed by the server from now on.
    fn judge(&mut self, i: usize, at_s: i64, answer: &Answer, poll: &mut Poll) {
        let fetch = &self.plan.fetches[i];
        let request = &mut self.requests[i];
        let doubt = if !answer.warnings.is_empty() {
            Some(DataReason::SourceWarning)
        } else if !answer.finite() {
            Some(DataReason::NotANumber)
        } else {
            None
        };
        if let Some(reason) = doubt {
            poll.doubts.push((fetch.expr.clone(), reason));
        }
        request.warned = doubt == Some(DataReason::SourceWarning);
        request.good_before_s = request.good_s;
        request.answered_s = Some(at_s);
        let since_good = request.good_s.map_or(0, |good| at_s - good);
        if doubt.is_none() || since_good >= REREAD_MAX_S || request.good_s.is_none() {
            request.good_s = Some(at_s);
        }
        if fetch.ask == Ask::Counter && answer.series.len() > self.options.raw_series_max && !request.aggregated {
            // Everything this answer holds is booked; from its end on the server adds up.
            request.good_s = Some(at_s);
            self.outgrown.push(i);
        }
    }

    /// Books the slices of a gauge that were not booked yet. A slice without a number waits a while for one.
    fn book_gauge(&mut self, mut series: SeriesHarvest, at_s: i64) -> SeriesHarvest {
        let resolution = self.options.resolution_s;
        let key = (series.sli, series.labels.clone());
        let first = series.deltas.first().map_or(i64::MAX, |delta| delta.slice);
        let mut booked = *self.booked.get(&key).unwrap_or(&(first - 1));
        let give_up = (at_s - GAUGE_WAIT_S).div_euclid(resolution);
        series.deltas.retain(|delta| {
            let next = delta.slice == booked + 1 || (delta.slice > booked && booked + 1 < give_up);
            if next {
                booked = delta.slice;
            }
            next
        });
        self.booked.insert(key, booked);
        series
    }

    /// Asks when targets that were never seen before started: a pod that is new since the last read counts from 0.
    async fn start_times(&self, counters: &[RawSeries], at_s: i64) -> BTreeMap<u128, i64> {
        if self.previous_s.is_none() {
            return BTreeMap::new();
        }
        let new = self.tracker.new_targets(&self.plan, counters);
        let jobs: Vec<String> = {
            let mut jobs: Vec<_> = new.values().filter_map(|labels| labels.get("job").map(str::to_owned)).collect();
            jobs.sort();
            jobs.dedup();
            jobs
        };
        let selector = Selector { metric: "process_start_time_seconds".into(), matchers: Vec::new() };
        let expr = match selector.with_values("job", &jobs).and_then(|selector| selector.to_promql()) {
            Ok(expr) => expr,
            Err(_) => return BTreeMap::new(),
        };
        // Without an answer the series only set their start: a lifetime total is never taken for news.
        let Ok(answer) = self.client.query(&expr, at_s).await else { return BTreeMap::new() };
        new.into_iter()
            .filter_map(|(key, labels)| {
                let same = |series: &&RawSeries| labels.iter().all(|(name, value)| series.label(name) == value);
                let (_, start) = answer.series.iter().find(same)?.samples.iter().next_back()?;
                start.is_finite().then_some((key, (start * 1000.0) as i64))
            })
            .collect()
    }

    /// Remembers how many raw series answered, and doubts requests that suddenly answer with far fewer.
    fn watch_liveness(&mut self, at_s: i64, poll: &mut Poll) {
        let poll_ms = self.options.poll_interval_s * 1000;
        let liveness: Vec<((usize, Labels), Liveness)> = self
            .tracker
            .liveness(at_s * 1000, poll_ms)
            .into_iter()
            .map(|((sli, labels), live)| ((sli, labels.clone()), live))
            .collect();
        self.missing.clear();
        for (key, live) in liveness {
            let peaks = self.peaks.entry(key.clone()).or_default();
            peaks.retain(|&(at, _)| at > at_s - ABSENT_AFTER_S);
            peaks.push_back((at_s, live.live));
            if shrunk(peaks) {
                self.missing.insert(key);
            }
        }
        let missing: BTreeSet<usize> = self.missing.iter().map(|(sli, _)| *sli).collect();
        for (fetch, request) in self.plan.fetches.iter().zip(&mut self.requests) {
            let answered_now = request.answered_s == Some(at_s) && request.good_s == Some(at_s);
            if answered_now && fetch.ask == Ask::Counter && fetch.slis.iter().any(|sli| missing.contains(sli)) {
                poll.doubts.push((fetch.expr.clone(), DataReason::SeriesMissing));
                // What is missing now may be in the next answer: that one reads again from the last whole one.
                let before = request.good_before_s.unwrap_or(at_s);
                if at_s - before < REREAD_MAX_S {
                    request.good_s = Some(before);
                }
            }
        }
    }

    fn age_max_s(&self, interval_ms: Option<i64>) -> i64 {
        let scrape_s = interval_ms.map_or(30, |ms| (ms + 999) / 1000);
        let poll_s = self.options.poll_interval_s;
        (2 * scrape_s + poll_s).clamp(60, 120).max(scrape_s * 3 / 2 + poll_s)
    }

    /// How far the data of every series can be trusted at `at_s`.
    pub fn health(&self, at_s: i64) -> BTreeMap<(usize, Labels), DataHealth> {
        let mut answers: Vec<Option<Answered>> = vec![None; self.plan.slis.len()];
        for (fetch, request) in self.plan.fetches.iter().zip(&self.requests) {
            let this = Answered { at_s: request.answered_s, warned: request.warned };
            for &sli in &fetch.slis {
                let all = answers[sli].get_or_insert(this);
                *all = Answered { at_s: all.at_s.min(this.at_s), warned: all.warned || this.warned };
            }
        }
        let answered = |sli: usize| answers[sli].unwrap_or(Answered { at_s: None, warned: false });
        let mut health: BTreeMap<(usize, Labels), DataHealth> = BTreeMap::new();
        for ((sli, labels), live) in self.tracker.liveness(at_s * 1000, self.options.poll_interval_s * 1000) {
            let newest = live.newest_ms.map(|ms| ms.div_euclid(1000));
            let key = (sli, labels.clone());
            let age_max = self.age_max_s(live.interval_ms);
            health.insert(key.clone(), self.health_of(&key, at_s, newest, age_max, answered(sli)));
        }
        for (key, slice) in &self.booked {
            let newest = (slice + 1) * self.options.resolution_s;
            let age_max = self.age_max_s(None);
            health.insert(key.clone(), self.health_of(key, at_s, Some(newest), age_max, answered(key.0)));
        }
        health
    }

    /// The health of an SLI of which no series was ever seen.
    pub fn health_unseen(&self, sli: usize, at_s: i64) -> DataHealth {
        let requests = self.plan.fetches.iter().zip(&self.requests).filter(|(fetch, _)| fetch.slis.contains(&sli));
        let answered: Option<i64> = requests.map(|(_, request)| request.answered_s).min().flatten();
        let key = (sli, Labels::new());
        let reason = match answered {
            _ if !self.plan.fetches.iter().any(|fetch| fetch.slis.contains(&sli)) => DataReason::NoSource,
            Some(answered) if at_s - answered < 2 * self.options.poll_interval_s => {
                self.faults.get(&key).copied().unwrap_or(DataReason::NoSeries)
            }
            _ => DataReason::SourceUnreachable,
        };
        DataHealth { state: DataState::Absent, reason, newest: None }
    }

    fn health_of(
        &self,
        key: &(usize, Labels),
        at_s: i64,
        newest: Option<i64>,
        age_max_s: i64,
        answered: Answered,
    ) -> DataHealth {
        let age = newest.map_or(i64::MAX, |newest| at_s - newest);
        let silent = answered.at_s.map_or(i64::MAX, |answered| at_s - answered);
        let fault = self.faults.get(key).copied();
        let (state, reason) = if age > ABSENT_AFTER_S.max(age_max_s) {
            let unreachable = silent >= 2 * self.options.poll_interval_s;
            let reason = if unreachable { DataReason::SourceUnreachable } else { DataReason::NoSeries };
            (DataState::Absent, fault.filter(|_| !unreachable).unwrap_or(reason))
        } else if silent >= 2 * self.options.poll_interval_s {
            (DataState::Stale, DataReason::SourceUnreachable)
        } else if age > age_max_s {
            (DataState::Stale, fault.unwrap_or(DataReason::SamplesOld))
        } else if self.skew_s.is_some_and(|skew| skew.abs() > SKEW_MAX_S) {
            (DataState::Stale, DataReason::ClockSkew)
        } else if silent > 0 {
            (DataState::Partial, DataReason::SourceUnreachable)
        } else if let Some(reason) = fault {
            (DataState::Partial, reason)
        } else if answered.warned {
            (DataState::Partial, DataReason::SourceWarning)
        } else if self.missing.contains(key) {
            (DataState::Partial, DataReason::SeriesMissing)
        } else {
            (DataState::Fresh, DataReason::None)
        };
        DataHealth { state, reason, newest }
    }
}

/// How the requests of one SLI were answered.
#[derive(Debug, Clone, Copy)]
struct Answered {
    /// The oldest of their last answers; `None` when one never came.
    at_s: Option<i64>,
    warned: bool,
}

/// How a request is asked this time.
enum Query {
    Raw,
    Grid { start_s: i64, step_s: i64 },
}

/// The text of a request, and how it is asked; `None` when there is nothing new to ask for.
fn question(fetch: &Fetch, request: &Request, at_s: i64, options: &SourceOptions) -> Option<(String, Query)> {
    let good = request.good_s.unwrap_or(at_s - options.poll_interval_s).min(at_s);
    match fetch.ask {
        Ask::Counter if request.aggregated => {
            let start_s = good + options.resolution_s;
            (start_s <= at_s).then(|| {
                (aggregate(fetch, options.resolution_s), Query::Grid { start_s, step_s: options.resolution_s })
            })
        }
        Ask::Counter => {
            let window_s = at_s - good + options.overlap_s;
            Some((format!("{}[{window_s}s]", fetch.expr), Query::Raw))
        }
        Ask::Gauge => {
            let from = (good - GAUGE_WAIT_S.min(2 * options.poll_interval_s)).max(at_s - REREAD_MAX_S.max(at_s - good));
            let start_s = from - from.rem_euclid(options.resolution_s) + options.resolution_s;
            Some((fetch.expr.clone(), Query::Grid { start_s: start_s.min(at_s), step_s: options.resolution_s }))
        }
    }
}

/// Increments over one slice, summed by the server without extrapolation: rises, and for what fell or was born the
/// value itself, if its target was there before (semantics §3).
fn aggregate(fetch: &Fetch, slice_s: i64) -> String {
    let (m, keep) = (&fetch.expr, fetch.keep.join(", "));
    format!(
        "sum by ({keep}) ((({m} - {m} offset {slice_s}s) >= 0) or ({m} and on (job, instance) ({m} offset {slice_s}s)))"
    )
}

fn shrunk(peaks: &VecDeque<(i64, usize)>) -> bool {
    let most = peaks.iter().map(|&(_, live)| live).max().unwrap_or(0);
    let now = peaks.back().map_or(0, |&(_, live)| live);
    (now as f64) < LIVE_SHARE_MIN * most as f64
}

/// The deadline of one poll: no poll may run into the next.
pub fn poll_deadline(options: &SourceOptions) -> Duration {
    Duration::from_secs(options.poll_interval_s.unsigned_abs().max(1))
}
