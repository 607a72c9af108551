//! Answers become slices: counters by their cursors, values on the slice grid by what was booked of them, queues by both
//! of their sources.
//!
//! Deliberately absent: who asks (`reader`), and what is asked together (`groups`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::group::Group;
use super::options::SourceOptions;
use super::span::{Answered, ReadSpan, first_slice};
use crate::engine::{Labels, SliceDelta};
use crate::query::grid::{self, GridBook, GridHarvest, Through};
use crate::query::increment::{Cursors, Liveness, Read, Remembered, SeriesDeltas, Starts, Tracing};
use crate::query::queue::{self, PATIENCE_S, QueueBook, ReadUpTo, SavedQueues};
use crate::query::{Fanout, Plan, RawSeries, ReadDeltas, Tracker};

/// An answer is asked for again from this far back at most, seconds.
const REREAD_MAX_S: i64 = 1800;
/// Series that come on the slice grid are forgotten when silent for this long, seconds.
const FORGET_S: i64 = 86_400;

/// What was counted so far.
#[derive(Debug)]
pub(super) struct Booking {
    plan: Arc<Plan>,
    options: SourceOptions,
    tracker: Tracker,
    grid: GridBook,
    queues: QueueBook,
}

/// A series: the index of its SLI, and its labels.
type Key = (usize, Labels);

impl Booking {
    /// Nothing was counted yet.
    pub fn new(plan: Arc<Plan>, options: SourceOptions) -> Self {
        Booking {
            tracker: Tracker::new(options.resolution_s),
            grid: GridBook::new(REREAD_MAX_S / options.resolution_s),
            queues: QueueBook::new(options.resolution_s),
            plan,
            options,
        }
    }

    /// Counts on from where an earlier process ended; everything up to `until_s` was counted.
    pub fn restored(
        plan: Arc<Plan>,
        options: SourceOptions,
        cursors: Cursors<'_>,
        queues: SavedQueues,
        until_s: i64,
    ) -> Self {
        let mut booking = Booking::new(Arc::clone(&plan), options);
        let changed = cursors.changed(&plan);
        booking.tracker = Tracker::restore(booking.options.resolution_s, &plan, cursors);
        // The same events under another name were counted up to here.
        changed.into_iter().for_each(|sli| booking.tracker.begin(sli, until_s * 1000));
        booking.queues.restore(&plan, queues);
        booking
    }

    /// What a restart needs to count nothing twice, if it reads again from `read_again_s` on.
    pub fn saved(&self, read_again_s: i64) -> (Cursors<'_>, SavedQueues) {
        (self.tracker.cursors(&self.plan, read_again_s * 1000), self.queues.saved(&self.plan))
    }

    /// Remembers what the ledger holds of a series on the slice grid: its newest slice, and those it can tell apart.
    pub fn note_booked(&mut self, sli: usize, labels: &Labels, newest: i64, slices: impl Iterator<Item = SliceDelta>) {
        self.grid.note(sli, labels, newest, slices);
    }

    /// Which children of fan-outs have rows of their own.
    pub fn fanout(&self) -> &Fanout {
        self.tracker.fanout()
    }

    /// Lets the busiest children have rows; who is in `kept` keeps its own.
    pub fn reconsider_children(&mut self, kept: &BTreeSet<(usize, u128)>) {
        self.tracker.reconsider(&self.plan, kept);
    }

    /// Where the polls began, for a backfill to join on to.
    pub fn starts(&self) -> Starts {
        self.tracker.starts()
    }

    /// What must be said of counters that could not be placed, at `now_s`.
    pub fn notes(&self, now_s: i64) -> impl Iterator<Item = (usize, String)> {
        self.tracker.notes(&self.plan, now_s * 1000)
    }

    /// Takes what reading older history leaves, up to `now_s`.
    pub fn remember(&mut self, older: Remembered, now_s: i64) {
        self.tracker.remember(&self.plan, older, now_s * 1000, self.kept_ms());
    }

    /// How long the last values of silent series are kept: as long as the longest window.
    fn kept_ms(&self) -> i64 {
        self.plan.slis.iter().map(|sli| sli.longest_s).max().unwrap_or(0) * 1000
    }

    /// Whether older history will be joined on: only then it is remembered where each series began.
    pub fn expect_history(&mut self, expected: bool) {
        self.tracker.expect_history(expected);
    }

    /// Writes down every change of what an SLI counts, from now on.
    pub fn trace(&mut self, sli: usize) {
        self.tracker.trace(BTreeSet::from([sli]));
    }

    /// What was written down.
    pub fn traced(&self) -> Option<&Tracing> {
        self.tracker.traced()
    }

    /// How many raw series are followed by cursors.
    pub fn raw_series(&self) -> usize {
        self.tracker.raw_series()
    }

    /// How many raw series each SLI was seen with; an expression counts as one series for each that it answers with.
    pub fn raw_series_of_slis(&self) -> Vec<usize> {
        let mut counts = self.tracker.raw_series_of_slis(self.plan.slis.len());
        for ((sli, _), _) in self.grid.newest() {
            counts[*sli] += 1;
        }
        counts
    }

    /// How many raw series of each SLI answered within `back_s` before `at_s`.
    pub fn live_of_slis(&self, at_s: i64, back_s: i64) -> Vec<usize> {
        self.tracker.live_of_slis(self.plan.slis.len(), at_s * 1000, back_s * 1000)
    }

    /// The usual scrape interval of each SLI, milliseconds.
    pub fn intervals_ms(&self) -> Vec<Option<i64>> {
        self.tracker.intervals_ms(self.plan.slis.len())
    }

    /// Liveness of every series that has cursors, at `now_ms`.
    pub fn liveness(&self, now_ms: i64, poll_ms: i64) -> BTreeMap<(usize, &Labels), Liveness> {
        self.tracker.liveness(now_ms, poll_ms)
    }

    /// The newest booked slice of every series on the slice grid.
    pub fn newest_on_grid(&self) -> impl Iterator<Item = (&Key, i64)> {
        self.grid.newest()
    }

    /// Rows of the last answer that a slice on the grid was made of.
    pub fn rows(&self, key: &Key, slice: i64) -> usize {
        self.grid.rows(key, slice)
    }

    /// Whether a series is followed.
    pub fn follows(&self, key: &Key) -> bool {
        self.tracker.follows(key) || self.grid.follows(key)
    }

    /// Forgets what was silent for a day at `at_s`, of SLIs that were `heard`.
    pub fn forget_silent(&mut self, at_s: i64, heard: impl Fn(usize) -> bool) {
        self.tracker.forget_silent(at_s * 1000, self.kept_ms(), &heard);
        let oldest = (at_s - FORGET_S).div_euclid(self.options.resolution_s);
        self.grid.forget_silent(oldest, &heard);
        self.queues.forget_silent(oldest, &heard);
    }

    /// The raw series of these SLIs are counted by the server from now on.
    pub fn forget_slis(&mut self, slis: &[usize]) {
        self.tracker.forget_slis(slis);
    }

    /// Lets the fan-out know which children an answer on the slice grid holds.
    pub fn meet(&mut self, answered: &Answered, group: &Group) {
        for (i, rows) in answered.series.iter().filter(|_| group.on_grid()) {
            grid::meet(&self.plan, self.tracker.fanout_mut(), &group.fetches[*i], rows);
        }
    }

    /// Where a group must be read again from, if its answers do not join on to what was read before.
    pub fn gap(&mut self, answered: &Answered, group: &Group) -> Option<ReadSpan> {
        let span = answered.span;
        let oldest_s = span.to_s - REREAD_MAX_S;
        let from_s = if group.on_grid() {
            let asked = first_slice(&span, self.options.resolution_s);
            let harvests = self.grid_harvests(answered, group);
            let gaps = harvests.into_iter().filter_map(|harvest| self.grid.gap(&harvest, asked));
            gaps.min()? * self.options.resolution_s
        } else {
            let asked_ms = span.begins_s() * 1000;
            self.tracker.gap(&self.plan, answered.counters(), oldest_s * 1000, asked_ms)?.div_euclid(1000)
        };
        Some(ReadSpan { from_s: from_s.max(oldest_s), ..span })
    }

    /// Whether a longer read has what the shorter one missed.
    pub fn brings_news(&mut self, wider: &Answered, narrow: &Answered, group: &Group) -> bool {
        if group.on_grid() {
            let asked = first_slice(&narrow.span, self.options.resolution_s);
            return self.grid_harvests(wider, group).iter().any(|harvest| self.grid.lacks(harvest, asked));
        }
        let (from_ms, to_ms) = (wider.span.from_s * 1000, narrow.span.begins_s() * 1000);
        self.tracker.gap(&self.plan, wider.counters(), from_ms - 1, to_ms).is_none_or(|gap| gap >= from_ms + 1000)
    }

    fn grid_harvests(&self, answered: &Answered, group: &Group) -> Vec<GridHarvest> {
        let resolution_ms = self.options.resolution_s * 1000;
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

    /// What an answer says of who was let in to queues.
    fn through(&self, answered: &Answered, group: &Group) -> Vec<Through> {
        if group.aggregated || !group.slis.iter().any(|&sli| self.plan.slis[sli].queue.is_some_and(|rule| rule.through))
        {
            return Vec::new();
        }
        let fetches: Vec<_> =
            answered.series.iter().map(|(i, series)| (&group.fetches[*i], series.as_slice())).collect();
        let from = first_slice(&answered.span, self.options.resolution_s);
        grid::through(&self.plan, self.fanout(), &fetches, from, self.options.resolution_s * 1000)
    }

    /// Labels of the targets in an answer of which more must be known before it can be booked.
    pub fn doubtful(&mut self, answered: &Answered) -> BTreeSet<Labels> {
        self.tracker.doubtful(&self.plan, answered.counters())
    }

    /// Jobs of the targets that were seen.
    pub fn jobs(&self) -> &BTreeSet<String> {
        self.tracker.jobs()
    }

    /// Takes the answers of one step, each of the group beside it, up to `at_s`. `witnesses` say more of targets
    /// that are doubtful.
    pub fn book(&mut self, read: Vec<(Answered, &Group)>, witnesses: &[RawSeries], at_s: i64) -> ReadDeltas {
        let mut counters: Vec<RawSeries> = Vec::new();
        let mut booked: Vec<SeriesDeltas> = Vec::new();
        for (answered, group) in read {
            if group.on_grid() {
                booked.extend(self.book_grid(&answered, group));
                continue;
            }
            for &sli in &group.slis {
                // A value at the end of a slice is booked in it.
                self.tracker.begin(sli, answered.span.begins_s() * 1000 - 1);
            }
            counters.extend(answered.series.into_iter().flat_map(|(_, series)| series));
        }
        let mut harvest = self.read(&counters, witnesses, at_s * 1000);
        booked.append(&mut harvest.series);
        ReadDeltas { series: booked, ..harvest }
    }

    fn book_grid(&mut self, answered: &Answered, group: &Group) -> Vec<SeriesDeltas> {
        let (span, resolution_s) = (answered.span, self.options.resolution_s);
        let (from, to) = (first_slice(&span, resolution_s), first_slice(&answered.asked, resolution_s));
        let mut booked = Vec::new();
        let intervals_ms = self.tracker.intervals_ms(self.plan.slis.len());
        for through in self.through(answered, group) {
            let every_s = intervals_ms[through.sli].map_or(PATIENCE_S, |ms| (ms + 999).div_euclid(1000));
            self.queues.take_through(&self.plan, through, (every_s + resolution_s - 1).div_euclid(resolution_s));
        }
        for harvest in self.grid_harvests(answered, group) {
            let key = (harvest.sli, harvest.labels.clone());
            let waiting = grid::series_of(&harvest.labels).map(|labels| (labels, harvest.clone()));
            let mut news = self.grid.book(harvest, group.floor);
            self.grid.settle(&key, from, to);
            match waiting {
                Some((labels, harvest)) => {
                    self.queues.take_waiting(&self.plan, labels, &harvest);
                    news.deltas.clear();
                }
                None => {
                    if self.plan.slis[news.sli].queue.is_some() {
                        queue::mark_sums(&mut news, resolution_s);
                    }
                    news = self.counted(news);
                }
            }
            booked.push(news);
        }
        booked
    }

    /// Takes counters that were read beside the polls, from `from_s` on and up to `until_s`, of all that these groups
    /// answer for.
    pub fn take_history<'a>(
        &mut self,
        groups: impl Iterator<Item = &'a Group>,
        counters: &[RawSeries],
        witnesses: &[RawSeries],
        (from_s, until_s): (i64, i64),
    ) -> ReadDeltas {
        for &sli in groups.flat_map(|group| &group.slis) {
            // What was scraped at that very moment was not read: nobody looked for a series then.
            self.tracker.begin(sli, from_s * 1000 + 1);
        }
        self.read(counters, witnesses, until_s * 1000)
    }

    fn read(&mut self, counters: &[RawSeries], witnesses: &[RawSeries], until_ms: i64) -> ReadDeltas {
        let mut harvest = self.tracker.read(&self.plan, &Read { counters, witnesses, until_ms, join: None });
        harvest.series = harvest.series.into_iter().map(|series| self.counted(series)).collect();
        harvest
    }

    /// What reading counters found, as far as it can be booked: of queues it waits for who waits.
    fn counted(&mut self, harvest: SeriesDeltas) -> SeriesDeltas {
        match self.plan.slis[harvest.sli].queue {
            Some(_) => self.queues.take_counts(harvest),
            None => harvest,
        }
    }

    /// Decides on slices of queues as far as both of their sources have been read: `read_s` says of an SLI how far its
    /// counters were, and how far its gauge, seconds.
    pub fn settle_queues(&mut self, read_s: impl Fn(usize) -> Option<(i64, i64)>) -> Vec<SeriesDeltas> {
        if self.queues.is_empty() {
            return Vec::new();
        }
        let (resolution_s, overlap_s) = (self.options.resolution_s, self.options.overlap_s);
        let intervals_ms = self.tracker.intervals_ms(self.plan.slis.len());
        let read = |sli: usize| {
            let every_s = intervals_ms[sli].unwrap_or(0).div_euclid(1000) + 1;
            let patience_s = intervals_ms[sli].map_or(PATIENCE_S, |_| every_s + overlap_s);
            let (counted_s, waiting_s) = read_s(sli)?;
            let slices = |read_s: i64| read_s.div_euclid(resolution_s);
            Some(ReadUpTo {
                known: slices(counted_s - patience_s),
                counted: slices(counted_s - patience_s.max(PATIENCE_S)),
                waiting: slices(waiting_s),
            })
        };
        self.queues.settle(&self.plan, read)
    }
}
