//! A Prometheus as a source of slices: each poll reads what is new, and says how far its data can be trusted.
//!
//! What a failing or lying Prometheus hid is made up when it shows: a read begins where the last one that answered
//! ended, and an answer that holds more than can join on to earlier ones is asked for again from where the gap begins.
//! Cursors, and a book of the slices that have none, keep it from counting twice. The age of data never hides behind a
//! poll that merely succeeded.
//!
//! Requests are read in groups (those that an SLI needs together); a group that fails holds up no other, and is split
//! (`split`) until those that do not fail are rid of the one that does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::fault::Fault;
use super::group::{Answered, Group, Query, Span, first_slice};
use super::health::{self, Answering, Key, Lately, Watch};
use super::split::{self, Origin};
use crate::clock::Clock;
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::engine::{Labels, SliceDelta};
use crate::query::grid::{self, GridBook, GridHarvest};
use crate::query::increment::{Cursors, Read, SeriesHarvest, Starts};
use crate::query::plan::Ask;
use crate::query::queue::{self, PATIENCE_S, QueueBook, ReadUpTo, SavedQueues};
use crate::query::{Fanout, Harvest, Plan, RawSeries, Selector, Tracker};

/// An answer is asked for again from this far back at most, seconds.
const REREAD_MAX_S: i64 = 1800;
/// After a longer read that brought nothing none is made for this long, seconds.
const REREAD_PAUSE_S: i64 = 300;
/// How long a first read of the recent hours may take.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// Series that come on the slice grid are forgotten when silent for this long, seconds.
const FORGET_S: i64 = 86_400;

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
    /// How far everything was read, seconds; `None` when nothing was.
    until_s: Option<i64>,
    /// SLOs whose raw series the server sums.
    aggregated: BTreeSet<String>,
    /// SLOs whose children the server does not tell apart.
    undivided: BTreeSet<String>,
    /// SLOs that were not read as far as the others, and how far, seconds.
    behind: BTreeMap<String, i64>,
    /// With how many raw series each series answered lately, by SLO.
    live: Vec<(String, Labels, Lately)>,
    /// Slices of queues that are not decided yet.
    queues: SavedQueues,
}

impl Position {
    /// A position of which nothing is known but the moment (seconds) up to which everything was read.
    pub fn since(until_s: i64) -> Self {
        Position { until_s: Some(until_s), ..Position::default() }
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
    tracker: Tracker,
    pub(super) options: SourceOptions,
    pub(super) groups: Vec<Group>,
    /// The groups of the plan, which `groups` are parts of.
    pub(super) origins: Vec<Origin>,
    /// The group that answers for each SLI; `None` for one without a source.
    group_of: Vec<Option<usize>>,
    /// The group that reads who waits, of SLIs that are queues.
    waiting_of: Vec<Option<usize>>,
    queues: QueueBook,
    grid: GridBook,
    watch: Watch,
}

impl Source {
    /// A source that continues from a saved position, or starts from nothing.
    pub fn new(client: Client, plan: Arc<Plan>, options: SourceOptions, saved: Option<Position>) -> Self {
        let fetches = |members: Vec<usize>| members.into_iter().map(|i| plan.fetches[i].clone()).collect();
        let mut groups: Vec<Group> =
            plan.groups().into_iter().zip(0..).map(|(members, i)| Group::new(i, fetches(members))).collect();
        let origins: Vec<Origin> = groups.iter().map(|group| Origin::new(group.fetches.clone())).collect();
        let mut tracker = Tracker::new(options.resolution_s);
        let mut watch = Watch::new(options.poll_interval_s);
        let mut queues = QueueBook::new(options.resolution_s);
        if let Some((saved, until_s)) = saved.and_then(|saved| saved.until_s.map(|until_s| (saved, until_s))) {
            let changed = saved.raw.changed(&plan);
            tracker = Tracker::restore(options.resolution_s, &plan, saved.raw);
            // The same events under another name were counted up to here.
            changed.into_iter().for_each(|sli| tracker.begin(sli, until_s * 1000));
            queues.restore(&plan, saved.queues);
            let slis: BTreeMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
            for (id, labels, lately) in saved.live {
                if let Some(&sli) = slis.get(id.as_str()) {
                    watch.remember((sli, labels), lately);
                }
            }
            // SLOs that did not stand alike were apart, and are again.
            let stand = |sli: &usize| {
                let id = &plan.slis[*sli].id;
                let read_s = saved.behind.get(id).copied().unwrap_or(until_s);
                (read_s, saved.aggregated.contains(id), saved.undivided.contains(id))
            };
            groups = groups.into_iter().flat_map(|group| split::by(&plan, group, stand)).collect();
            for group in &mut groups {
                let stands = group.slis.iter().map(stand).min();
                let (read_s, aggregated, undivided) = stands.unwrap_or((until_s, false, false));
                (group.read_s, group.answered_s) = (Some(read_s), Some(read_s));
                group.raw_series = tracker.raw_series();
                group.undivided = undivided;
                if aggregated && group.ask == Ask::Counter {
                    group.sum_from(until_s, options.resolution_s);
                }
            }
        }
        let mut source = Source {
            client,
            tracker,
            groups,
            origins,
            group_of: vec![None; plan.slis.len()],
            waiting_of: vec![None; plan.slis.len()],
            queues,
            grid: GridBook::new(REREAD_MAX_S / options.resolution_s),
            watch,
            plan,
            options,
        };
        source.find_groups();
        source
    }

    /// Finds again which group answers for each SLI.
    pub(super) fn find_groups(&mut self) {
        for (i, group) in self.groups.iter().enumerate() {
            for &sli in &group.slis {
                let waiting = group.ask == Ask::Gauge && self.plan.slis[sli].queue.is_some();
                let of = if waiting { &mut self.waiting_of } else { &mut self.group_of };
                of[sli] = Some(i);
            }
        }
    }

    /// What a restart needs to continue exactly here.
    pub fn position(&self) -> Position {
        let newest_s = self.read_until_s();
        let raw = self.tracker.cursors(&self.plan);
        let mut live: Vec<_> = (self.watch.remembered())
            .map(|((sli, labels), lately)| (self.plan.slis[*sli].id.clone(), labels.clone(), lately.clone()))
            .collect();
        live.sort();
        let queues = self.queues.saved(&self.plan);
        let mut position = Position { raw, until_s: newest_s, live, queues, ..Position::default() };
        for group in &self.groups {
            for id in group.slis.iter().map(|&sli| &self.plan.slis[sli].id) {
                if group.aggregated {
                    position.aggregated.insert(id.clone());
                }
                if group.undivided {
                    position.undivided.insert(id.clone());
                }
                if let Some(read_s) = group.read_s.filter(|_| group.read_s < newest_s) {
                    position.behind.entry(id.clone()).and_modify(|least| *least = read_s.min(*least)).or_insert(read_s);
                }
            }
        }
        position
    }

    /// What it reads.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The client, for reads beside the polls.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// SLIs whose raw series are so many that the server sums them.
    pub fn aggregated(&self) -> impl Iterator<Item = usize> + '_ {
        let of = |sli: &usize| self.group_of[*sli].is_some_and(|group| self.groups[group].aggregated);
        (0..self.plan.slis.len()).filter(of)
    }

    /// The end of the newest read of any request; `None` before the first. Requests that are behind it are named by
    /// the [`Position`].
    pub fn read_until_s(&self) -> Option<i64> {
        self.groups.iter().filter_map(|group| group.read_s).max()
    }

    /// How far the request of an SLI was read: its next poll begins there.
    pub fn read_until_of(&self, sli: usize) -> Option<i64> {
        self.groups[self.group_of[sli]?].read_s
    }

    /// Sets the moment from which the next poll reads requests of this kind.
    pub(super) fn read_from(&mut self, ask: Ask, from_s: i64) {
        for group in self.groups.iter_mut().filter(|group| group.ask == ask) {
            group.read_s = Some(from_s);
        }
    }

    /// Remembers what the ledger holds of a series: its newest slice, and those it can tell apart. Values on the slice
    /// grid (gauges, sums of the server) have no cursors, so after a restart this keeps them from being booked again.
    pub fn note_booked(&mut self, sli: usize, labels: &Labels, newest: i64, slices: impl Iterator<Item = SliceDelta>) {
        if self.group_of[sli].is_some_and(|group| self.groups[group].on_grid()) {
            self.grid.note(sli, labels, newest, slices);
        }
    }

    /// Which children of fan-outs have rows of their own.
    pub fn fanout(&self) -> &Fanout {
        self.tracker.fanout()
    }

    /// Whether what this child once counted is now counted elsewhere: in `other`, or in the whole alone.
    pub fn is_folded(&self, sli: usize, labels: &Labels) -> bool {
        self.is_undivided(sli) || self.fanout().is_folded(&self.plan, sli, labels)
    }

    /// Whether the children of an SLI are so many that the server is not asked for them.
    pub fn is_undivided(&self, sli: usize) -> bool {
        self.group_of[sli].is_some_and(|group| self.groups[group].undivided)
    }

    /// Once an hour: lets the busiest children have rows. Who is in `kept` (SLI, `fanout::child_key`) keeps its own.
    pub fn reconsider_children(&mut self, kept: &BTreeSet<(usize, u128)>) {
        self.tracker.reconsider(&self.plan, kept);
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
        let answered: usize = self.groups.iter().map(|group| group.raw_series).sum();
        let mut intervals: Vec<i64> =
            self.tracker.liveness(0, 0).into_values().filter_map(|live| live.interval_ms).collect();
        intervals.sort_unstable();
        let scrape_s = intervals.get(intervals.len() / 2).map_or(30, |ms| (ms + 500) / 1000).max(1);
        (answered.max(self.tracker.raw_series()), scrape_s)
    }

    /// Takes counters that were read beside the polls, up to `until_s`; the polls go on from there.
    pub(super) fn take_history(&mut self, counters: &[RawSeries], until_s: i64) -> Harvest {
        let plan = Arc::clone(&self.plan);
        for group in self.groups.iter_mut().filter(|group| group.ask == Ask::Counter) {
            (group.read_s, group.answered_s) = (Some(until_s), Some(until_s));
            for &sli in &group.slis {
                self.tracker.begin(sli, i64::MIN);
            }
        }
        let read = Read { counters, started: &BTreeSet::new(), until_ms: until_s * 1000 };
        let mut harvest = self.tracker.read(&plan, &read);
        harvest.series = harvest.series.into_iter().map(|series| self.counted(series)).collect();
        harvest
    }

    /// What reading counters found, as far as it can be booked: of queues it waits for who waits.
    fn counted(&mut self, harvest: SeriesHarvest) -> SeriesHarvest {
        match self.plan.slis[harvest.sli].queue {
            Some(_) => self.queues.take_counts(harvest),
            None => harvest,
        }
    }

    /// Decides on slices of queues as far as both of their sources have been read.
    fn settle_queues(&mut self, poll: &mut Poll) {
        let (resolution_s, overlap_s) = (self.options.resolution_s, self.options.overlap_s);
        let read_s = |group: &[Option<usize>], sli: usize| self.groups[group[sli]?].read_s;
        let read = |sli: usize| {
            let every_s = self.tracker.interval_ms(sli).unwrap_or(0).div_euclid(1000) + 1;
            let patience_s = PATIENCE_S.max(every_s + overlap_s);
            let (counted_s, waiting_s) = (read_s(&self.group_of, sli)?, read_s(&self.waiting_of, sli)?);
            let counted = (counted_s - patience_s).div_euclid(resolution_s);
            Some(ReadUpTo { counted, waiting: waiting_s.div_euclid(resolution_s) })
        };
        poll.series.extend(self.queues.settle(&self.plan, read));
    }

    /// Reads everything new up to `at_s` (a multiple of the resolution). A long gap is caught up in steps, oldest
    /// first. After the time to the next poll it ends wherever it is; the next one goes on from there.
    pub async fn poll(&mut self, at_s: i64) -> Poll {
        self.poll_groups(at_s, |_| true).await
    }

    /// The same without requests of one kind.
    pub(super) async fn poll_all_but(&mut self, ask: Ask, at_s: i64) -> Poll {
        self.poll_groups(at_s, |group| group.ask != ask).await
    }

    /// Reads the last `back_s` seconds once, to see what there is.
    pub async fn look(&mut self, at_s: i64, back_s: i64) -> Poll {
        for ask in [Ask::Counter, Ask::Gauge, Ask::Native] {
            self.read_from(ask, at_s - back_s);
        }
        self.poll(at_s).await
    }

    /// How many raw series each SLI was seen with; an expression counts as one series for each that it answers with.
    pub fn raw_series_of_slis(&self) -> Vec<usize> {
        let mut counts = self.tracker.raw_series_of_slis(self.plan.slis.len());
        for ((sli, _), _) in self.grid.newest() {
            counts[*sli] += 1;
        }
        counts
    }

    /// Everything up to `at_s`, however long it takes: for whoever has nothing to show before.
    pub(super) async fn catch_up(&mut self, at_s: i64) -> Poll {
        self.poll_until(at_s, |_| true, Instant::now() + CATCH_UP_MAX).await
    }

    async fn poll_groups(&mut self, at_s: i64, wanted: impl Fn(&Group) -> bool) -> Poll {
        let limit = Duration::from_secs(self.options.poll_interval_s.unsigned_abs().max(1));
        self.poll_until(at_s, wanted, Instant::now() + limit).await
    }

    async fn poll_until(&mut self, at_s: i64, wanted: impl Fn(&Group) -> bool, deadline: Instant) -> Poll {
        let mut poll = Poll::default();
        self.merge_healed(at_s);
        self.watch.retain(|key| self.tracker.follows(key) || self.grid.follows(key));
        let mut behind: Vec<usize> = (0..self.groups.len()).filter(|&i| wanted(&self.groups[i])).collect();
        while !behind.is_empty() && Instant::now() < deadline {
            behind = self.step(&behind, at_s, deadline, &mut poll).await;
        }
        self.settle_queues(&mut poll);
        self.note_live(at_s, &mut poll);
        if poll.faults.is_empty() {
            self.tracker.forget_silent(at_s * 1000);
            let oldest = (at_s - FORGET_S).div_euclid(self.options.resolution_s);
            self.grid.forget_silent(oldest);
            self.queues.forget_silent(oldest);
        }
        poll
    }

    /// Reads the next stretch of some groups. Answers which of them have more to read.
    async fn step(&mut self, groups: &[usize], at_s: i64, deadline: Instant, poll: &mut Poll) -> Vec<usize> {
        let spans: Vec<Span> = groups.iter().map(|&i| self.groups[i].next_span(i, at_s, &self.options)).collect();
        let (mut read, failed) = self.ask(&spans, deadline, poll).await;
        let others = !read.is_empty();
        let again: Vec<Span> = read.iter().filter_map(|answered| self.gap(answered)).collect();
        for wider in self.ask(&again, deadline, poll).await.0 {
            let narrow = read.iter_mut().find(|answered| answered.span.group == wider.span.group);
            let narrow = narrow.expect("only what answered is asked for again");
            let found = self.brings_news(&wider, narrow);
            self.groups[wider.span.group].fruitless_s = (!found).then_some(at_s);
            *narrow = Answered { asked: narrow.span, ..wider };
        }
        let grown = self.book(read, at_s, deadline, poll).await;
        let mut parts: Vec<usize> = Vec::new();
        for (span, fault) in failed {
            // Parts are asked at once, as far as there is time.
            parts.extend(self.split_failed(&span, &fault, others, at_s));
        }
        for (group, largest) in grown {
            self.split_grown(group, largest, at_s);
        }
        let more = |&i: &usize| match spans.iter().find(|span| span.group == i) {
            Some(span) => self.groups[i].has_more(span, at_s),
            None => false,
        };
        let more: Vec<usize> = groups.iter().copied().filter(|i| !parts.contains(i)).filter(more).collect();
        parts.into_iter().chain(more).collect()
    }

    /// Sends the requests of these spans: those that answered whole, and those of which a request failed.
    async fn ask(&mut self, spans: &[Span], deadline: Instant, poll: &mut Poll) -> (Vec<Answered>, Vec<(Span, Fault)>) {
        let client = &self.client;
        let mut requests = Vec::new();
        for (place, span) in spans.iter().enumerate() {
            let group = &self.groups[span.group];
            let question = |(i, fetch)| (place, i, group.question(fetch, span, self.options.resolution_s));
            requests.extend(group.fetches.iter().enumerate().map(question));
        }
        let asked = requests.into_iter().map(|(place, i, (text, query))| async move {
            let to_s = spans[place].to_s;
            let answer = async {
                match query {
                    Query::Raw => client.query(&text, to_s).await,
                    Query::Grid { start_s, step_s } => client.query_range(&text, start_s, to_s, step_s).await,
                }
            };
            (place, i, timeout_at(deadline, answer).await.unwrap_or(Err(Fault::Timeout)))
        });
        let mut answers: Vec<_> = stream::iter(asked).buffer_unordered(self.options.concurrency.max(1)).collect().await;
        answers.sort_by_key(|&(place, i, _)| (place, i));

        let mut failed = Vec::new();
        let mut read: Vec<Option<Answered>> = spans.iter().map(|&span| Some(Answered::new(span))).collect();
        for (place, i, answer) in answers {
            poll.requests += 1;
            let expr = self.groups[spans[place].group].fetches[i].expr.clone();
            match answer {
                Ok(answer) => {
                    poll.samples += answer.samples();
                    poll.bytes += answer.bytes;
                    if let (Some(clock), Some(server)) = (&self.options.clock, answer.server_time_s) {
                        self.watch.skew_s = Some(server - clock.now());
                    }
                    let doubt = match () {
                        () if !answer.warnings.is_empty() => Some(DataReason::SourceWarning),
                        // Ratios of no events are no numbers, and no wonder.
                        () if !answer.finite() && !self.plan.fetches[i].is_ratio() => Some(DataReason::NotANumber),
                        () => None,
                    };
                    poll.doubts.extend(doubt.map(|reason| (expr.clone(), reason)));
                    if let Some(answered) = &mut read[place] {
                        answered.warned |= !answer.warnings.is_empty();
                        let group = &self.groups[spans[place].group];
                        let series = match group.ask {
                            Ask::Native => group.fetches[i].as_counters(answer.series),
                            Ask::Counter | Ask::Gauge => answer.series,
                        };
                        answered.series.push((i, series));
                    }
                }
                Err(fault) => {
                    poll.faults.push((expr, fault.clone()));
                    if read[place].take().is_some() {
                        let group = &mut self.groups[spans[place].group];
                        group.ask_less(&spans[place], &fault);
                        group.failures += 1;
                        failed.push((spans[place], fault));
                    }
                }
            }
        }
        let read: Vec<Answered> = read.into_iter().flatten().collect();
        for answered in read.iter().filter(|answered| self.groups[answered.span.group].on_grid()) {
            for (i, rows) in &answered.series {
                let fetch = &self.groups[answered.span.group].fetches[*i];
                grid::meet(&self.plan, self.tracker.fanout_mut(), fetch, rows);
            }
        }
        (read, failed)
    }

    /// Where a group must be read again from, if its answers do not join on to what was read before.
    fn gap(&mut self, answered: &Answered) -> Option<Span> {
        let (span, group) = (answered.span, &self.groups[answered.span.group]);
        let pausing = group.fruitless_s.is_some_and(|at| (0..REREAD_PAUSE_S).contains(&(span.to_s - at)));
        if group.answered_s.is_none() || pausing {
            return None;
        }
        let oldest_s = span.to_s - REREAD_MAX_S;
        let from_s = if group.on_grid() {
            let asked = first_slice(&span, self.options.resolution_s);
            let gaps = self.grid_harvests(answered).into_iter().filter_map(|harvest| self.grid.gap(&harvest, asked));
            gaps.min()? * self.options.resolution_s
        } else {
            let asked_ms = span.begins_s() * 1000;
            self.tracker.gap(&self.plan, answered.counters(), oldest_s * 1000, asked_ms)?.div_euclid(1000)
        };
        Some(Span { from_s: from_s.max(oldest_s), ..span })
    }

    /// Whether a longer read has what the shorter one missed.
    fn brings_news(&mut self, wider: &Answered, narrow: &Answered) -> bool {
        if self.groups[wider.span.group].on_grid() {
            let asked = first_slice(&narrow.span, self.options.resolution_s);
            return self.grid_harvests(wider).iter().any(|harvest| self.grid.lacks(harvest, asked));
        }
        let (from_ms, to_ms) = (wider.span.from_s * 1000, narrow.span.begins_s() * 1000);
        self.tracker.gap(&self.plan, wider.counters(), from_ms - 1, to_ms).is_none_or(|gap| gap >= from_ms + 1000)
    }

    fn grid_harvests(&self, answered: &Answered) -> Vec<GridHarvest> {
        let resolution_ms = self.options.resolution_s * 1000;
        let group = &self.groups[answered.span.group];
        let fetches: Vec<_> =
            answered.series.iter().map(|(i, series)| (&group.fetches[*i], series.as_slice())).collect();
        let mut harvests = match group.aggregated {
            true => grid::aggregated(&self.plan, self.fanout(), &fetches, resolution_ms),
            false => {
                let from = first_slice(&answered.span, self.options.resolution_s);
                grid::values(&self.plan, self.fanout(), &fetches, from, resolution_ms)
            }
        };
        for harvest in &mut harvests {
            // Nobody asked for the future.
            drop(harvest.slices.split_off(&answered.span.to_s.div_euclid(self.options.resolution_s)));
        }
        harvests
    }

    /// Takes the answers of one step. Says which groups answered with more series than one request should, and with how
    /// many.
    async fn book(
        &mut self,
        read: Vec<Answered>,
        at_s: i64,
        deadline: Instant,
        poll: &mut Poll,
    ) -> Vec<(usize, usize)> {
        let plan = Arc::clone(&self.plan);
        let resolution_s = self.options.resolution_s;
        let started = self.started_targets(&read, deadline).await;
        let mut counters: Vec<RawSeries> = Vec::new();
        let mut outgrown: Vec<(usize, usize)> = Vec::new();
        let mut booked: Vec<SeriesHarvest> = Vec::new();
        for answered in read {
            let (i, span) = (answered.span.group, answered.span);
            let largest = answered.series.iter().map(|(_, series)| series.len()).max().unwrap_or(0);
            if largest > self.options.raw_series_max {
                outgrown.push((i, largest));
            }
            if self.groups[i].on_grid() {
                let (from, to) = (first_slice(&span, resolution_s), first_slice(&answered.asked, resolution_s));
                for harvest in self.grid_harvests(&answered) {
                    let key = (harvest.sli, harvest.labels.clone());
                    let waiting = queue::series_of(&harvest.labels).map(|labels| (labels, harvest.clone()));
                    let mut news = self.grid.book(harvest, self.groups[i].floor);
                    self.grid.settle(&key, from, to);
                    match waiting {
                        Some((labels, harvest)) => {
                            self.queues.take_waiting(&plan, labels, &harvest);
                            news.deltas.clear();
                        }
                        None => {
                            if plan.slis[news.sli].queue.is_some() {
                                queue::mark_sums(&mut news, resolution_s);
                            }
                            news = self.counted(news);
                        }
                    }
                    booked.push(news);
                }
            } else {
                for &sli in &self.groups[i].slis {
                    // A value at the end of a slice is booked in it.
                    self.tracker.begin(sli, span.begins_s() * 1000 - 1);
                }
            }
            self.groups[i].note(&answered);
            if !self.groups[i].on_grid() {
                counters.extend(answered.series.into_iter().flat_map(|(_, series)| series));
            }
        }
        let read = Read { counters: &counters, started: &started, until_ms: at_s * 1000 };
        let mut harvest = self.tracker.read(&plan, &read);
        harvest.series = harvest.series.into_iter().map(|series| self.counted(series)).collect();
        self.watch.note_faults(&booked);
        self.watch.note_faults(&harvest.series);
        poll.series.extend(booked);
        poll.take(harvest);
        outgrown
    }

    /// From `from_s` on the server sums the series of a group; up to there everything is booked.
    pub(super) fn sum_from(&mut self, group: usize, from_s: i64) {
        self.groups[group].sum_from(from_s, self.options.resolution_s);
        let slis = self.groups[group].slis.clone();
        self.tracker.forget_slis(&slis);
        self.count_anew(&slis);
    }

    /// These SLIs answer with another number of rows from now on.
    pub(super) fn count_anew(&mut self, slis: &[usize]) {
        self.watch.count_anew(slis);
    }

    /// Targets that were never seen before and started since their group was last read: what they count is news.
    async fn started_targets(&mut self, read: &[Answered], deadline: Instant) -> BTreeSet<u128> {
        let mut new: BTreeMap<u128, (Labels, i64)> = BTreeMap::new();
        for answered in read {
            let group = &self.groups[answered.span.group];
            let (false, Some(previous_s), Some(_)) = (group.on_grid(), group.read_s, group.answered_s) else {
                continue;
            };
            let targets = self.tracker.new_targets(&self.plan, answered.counters());
            new.extend(targets.into_iter().map(|(key, labels)| (key, (labels, previous_s))));
        }
        let mut jobs: Vec<String> =
            new.values().filter_map(|(labels, _)| labels.get("job").map(str::to_owned)).collect();
        jobs.sort();
        jobs.dedup();
        let selector = Selector { metric: "process_start_time_seconds".into(), matchers: Vec::new() };
        let (false, Ok(expr)) =
            (jobs.is_empty(), selector.with_values("job", &jobs).and_then(|selector| selector.to_promql()))
        else {
            return BTreeSet::new();
        };
        let to_s = read.iter().map(|answered| answered.span.to_s).max().unwrap_or(0);
        // Without an answer the series only set their start: a lifetime total is never taken for news.
        let Ok(Ok(answer)) = timeout_at(deadline, self.client.query(&expr, to_s)).await else { return BTreeSet::new() };
        let started = |(key, (labels, previous_s)): (u128, (Labels, i64))| {
            let same = |series: &&RawSeries| labels.iter().all(|(name, value)| series.label(name) == value);
            let (_, start_s) = answer.series.iter().find(same)?.samples.iter().next_back()?;
            (start_s > previous_s as f64).then_some(key)
        };
        new.into_iter().filter_map(started).collect()
    }

    /// Remembers how many raw series answered at `at_s`, and doubts groups that suddenly answer with far fewer.
    fn note_live(&mut self, at_s: i64, poll: &mut Poll) {
        let slice = at_s.div_euclid(self.options.resolution_s) - 1;
        let group_of = |sli: usize| self.group_of[sli].filter(|&i| self.groups[i].answered_s == Some(at_s));
        let raw = self.tracker.liveness(at_s * 1000, self.options.poll_interval_s * 1000).into_iter();
        let raw = raw.map(|((sli, labels), live)| (sli, labels, live.live, false));
        let grid = self.grid.newest().map(|(key, _)| (key.0, &key.1, self.grid.rows(key, slice), true));
        let mut doubted: BTreeSet<usize> = BTreeSet::new();
        for (sli, labels, live, on_grid) in raw.chain(grid) {
            let Some(group) = group_of(sli).filter(|&i| self.groups[i].on_grid() == on_grid) else { continue };
            if self.watch.note_live(&(sli, labels.clone()), at_s, live) && labels.is_empty() {
                // Children come and go; of a whole that lost a tenth the poll is in doubt.
                doubted.insert(group);
            }
        }
        let names = doubted.iter().map(|&i| self.groups[i].name().to_owned());
        poll.doubts.extend(names.map(|name| (name, DataReason::SeriesMissing)));
    }

    fn answering(&self, sli: usize) -> Answering {
        self.answering_of(self.group_of[sli])
    }

    fn answering_of(&self, group: Option<usize>) -> Answering {
        let group = group.map(|i| &self.groups[i]);
        group.map_or(Answering::default(), |group| Answering { at_s: group.answered_s, warned: group.warned })
    }

    /// How far the data of every series can be trusted at `at_s`.
    pub fn health(&self, at_s: i64) -> BTreeMap<Key, DataHealth> {
        let (mut health, mut waiting) = (BTreeMap::<Key, DataHealth>::new(), BTreeMap::<Key, DataHealth>::new());
        for ((sli, labels), live) in self.tracker.liveness(at_s * 1000, self.options.poll_interval_s * 1000) {
            let (key, newest) = ((sli, labels.clone()), live.newest_ms.map(|ms| ms.div_euclid(1000)));
            let found = self.watch.health(&key, at_s, newest, live.interval_ms, self.answering(sli));
            health.insert(key, found);
        }
        for (key, slice) in self.grid.newest() {
            let newest = slice.saturating_add(1).saturating_mul(self.options.resolution_s);
            let Some(labels) = queue::series_of(&key.1) else {
                health.insert(key.clone(), self.watch.health(key, at_s, Some(newest), None, self.answering(key.0)));
                continue;
            };
            let answering = self.answering_of(self.waiting_of[key.0]);
            waiting.insert((key.0, labels), self.watch.health(key, at_s, Some(newest), None, answering));
        }
        let queues = |(key, _): &(&Key, &DataHealth)| self.plan.slis[key.0].queue.is_some();
        let queues: BTreeSet<Key> =
            health.iter().filter(queues).map(|(key, _)| key.clone()).chain(waiting.keys().cloned()).collect();
        for key in queues {
            let silent = self.watch.is_silent(self.answering_of(self.waiting_of[key.0]), at_s);
            let both = health::of_queue(health.get(&key), waiting.get(&key), silent);
            health.insert(key, both);
        }
        health
    }

    /// Prometheus's clock less ours, seconds, as the last answer showed it.
    pub fn clock_skew_s(&self) -> Option<f64> {
        self.watch.skew_s.map(|skew| skew as f64)
    }

    /// The health of an SLI of which no series was ever seen.
    pub fn health_unseen(&self, sli: usize, at_s: i64) -> DataHealth {
        let reason = match self.group_of[sli] {
            None => DataReason::NoSource,
            Some(_) if self.watch.is_silent(self.answering(sli), at_s) => DataReason::SourceUnreachable,
            Some(_) => self.watch.fault(&(sli, Labels::new())).unwrap_or(DataReason::NoSeries),
        };
        DataHealth { state: DataState::Absent, reason, newest: None }
    }
}
