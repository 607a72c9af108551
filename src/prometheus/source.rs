//! A Prometheus as a source of slices: each poll reads what is new, and says how far its data can be trusted.
//!
//! What a failing or lying Prometheus hid is made up when it shows: a read begins where the last one that answered
//! ended, and an answer that holds more than can join on to earlier ones is asked for again from where the gap begins.
//! Cursors, and the slices booked of what has none, keep it from counting twice. The age of data never hides behind a
//! poll that merely succeeded.
//!
//! Four states that know nothing of each other are composed here: which requests are asked together (`Groups`), who
//! asks (`Reader`), what was counted (`Booking`) and what was noticed beside the counts (`Watch`). A [`Position`] is
//! what survives of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::booking::Booking;
use super::client::Client;
use super::fault::Fault;
use super::group::{Group, RESTORED_OVERLAP_S};
use super::groups::{GroupChanges, GroupStand, Groups};
use super::health::{self, Answering, Key, SeriesHealth, SourceWatch};
use super::history::extent::Extent;
use super::options::SourceOptions;
use super::poll::Poll;
use super::position::Position;
use super::reader::{Collected, Reader};
use super::span::{Answered, ReadSpan};
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::engine::{Labels, SliceDelta};
use crate::query::fetch::Ask;
use crate::query::grid;
use crate::query::increment::{Remembered, Starts, Tracing};
use crate::query::{Fanout, Plan, RawSeries, ReadDeltas};

/// After a longer read that brought nothing none is made for this long, seconds.
const REREAD_PAUSE_S: i64 = 300;
/// How long a first read of the recent hours may take.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// What answered within this time, seconds, is there.
const LATELY_S: i64 = 600;

/// The note of SLOs whose raw series the server sums.
const AGGREGATED: &str = "aggregated: the server sums its raw series, which loses more in crash loops and does not bridge \
                          holes in the scrapes";

/// Polls one Prometheus for all SLIs of a plan.
#[derive(Debug)]
pub struct Source {
    pub(super) plan: Arc<Plan>,
    options: SourceOptions,
    groups: Groups,
    reader: Reader,
    booking: Booking,
    watch: SourceWatch,
}

impl Source {
    /// A source that continues from a saved position, or starts from nothing.
    pub fn new(client: Client, plan: Arc<Plan>, options: SourceOptions, saved: Option<Position<'_>>) -> Self {
        let reader = Reader::new(client, options.concurrency, options.clock.clone());
        let mut watch = SourceWatch::new(options.poll_interval_s);
        let Some((saved, until_s)) = saved.and_then(|saved| saved.until_s.map(|until_s| (saved, until_s))) else {
            let groups = Groups::new(Arc::clone(&plan), options.clone());
            let booking = Booking::new(Arc::clone(&plan), options.clone());
            return Source { plan, options, groups, reader, booking, watch };
        };
        let booking = Booking::restored(Arc::clone(&plan), options.clone(), saved.raw, saved.queues, until_s);
        let slis: BTreeMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        for (id, labels, lately) in saved.live {
            if let Some(&sli) = slis.get(&*id) {
                watch.remember((sli, labels.into_owned()), lately.into_owned());
            }
        }
        let stand = |id: &str| GroupStand {
            read_s: saved.behind.get(id).copied().unwrap_or(until_s),
            aggregated: saved.aggregated.contains(id),
            undivided: saved.undivided.contains(id),
        };
        let groups = Groups::restored(Arc::clone(&plan), options.clone(), until_s, booking.raw_series(), stand);
        Source { plan, options, groups, reader, booking, watch }
    }

    /// What a restart needs to continue exactly here.
    pub fn position(&self) -> Position<'_> {
        let newest_s = self.read_until_s();
        let id = |sli: usize| self.plan.slis[sli].id.clone();
        let read_again_s = newest_s.map_or(i64::MAX / 1000, |newest_s| newest_s - RESTORED_OVERLAP_S);
        let (raw, queues) = self.booking.saved(read_again_s);
        let mut live: Vec<_> = (self.watch.remembered())
            .map(|((sli, labels), lately)| {
                (Cow::Borrowed(self.plan.slis[*sli].id.as_str()), Cow::Borrowed(labels), Cow::Borrowed(lately))
            })
            .collect();
        live.sort();
        let mut position = Position { raw, until_s: newest_s, live, queues, ..Position::default() };
        for group in self.groups.iter() {
            for id in group.slis.iter().map(|&sli| id(sli)) {
                if group.aggregated {
                    position.aggregated.insert(id.clone());
                }
                if group.undivided {
                    position.undivided.insert(id.clone());
                }
                if let Some(read_s) = group.read_s.filter(|_| group.read_s < newest_s) {
                    position.behind.entry(id).and_modify(|least| *least = read_s.min(*least)).or_insert(read_s);
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
        self.reader.client()
    }

    /// The end of the newest read of any request; `None` before the first. Requests that are behind it are named by
    /// the [`Position`].
    pub fn read_until_s(&self) -> Option<i64> {
        self.groups.read_until_s()
    }

    /// How far the request of an SLI was read: its next poll begins there.
    pub fn read_until_of(&self, sli: usize) -> Option<i64> {
        self.groups.of(sli)?.read_s
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
        if self.groups.of(sli).is_some_and(Group::on_grid) {
            self.booking.note_booked(sli, labels, newest, slices);
        }
    }

    /// Which children of fan-outs have rows of their own.
    pub fn fanout(&self) -> &Fanout {
        self.booking.fanout()
    }

    /// Whether what this child once counted is now counted elsewhere: in `other`, or in the whole alone.
    pub fn is_folded(&self, sli: usize, labels: &Labels) -> bool {
        self.is_undivided(sli) || self.fanout().is_folded(&self.plan, sli, labels)
    }

    /// Whether the children of an SLI are so many that the server is not asked for them.
    pub fn is_undivided(&self, sli: usize) -> bool {
        self.groups.of(sli).is_some_and(|group| group.undivided)
    }

    /// Once an hour: lets the busiest children have rows. Who is in `kept` (SLI, `fanout::child_key`) keeps its own.
    pub fn reconsider_children(&mut self, kept: &BTreeSet<(usize, u128)>) {
        self.booking.reconsider_children(kept);
    }

    /// Writes down every change of what an SLI counts, from now on: for whoever explains a count.
    pub fn trace(&mut self, sli: usize) {
        self.booking.trace(sli);
    }

    /// What was written down.
    pub fn traced(&self) -> Option<&Tracing> {
        self.booking.traced()
    }

    /// Where the polls began, for a backfill to join on to.
    pub fn starts(&self) -> Starts {
        self.booking.starts()
    }

    /// Takes what reading older history leaves to whoever reads on.
    pub fn remember(&mut self, older: Remembered) {
        let now_s = self.groups.answered_until_s().unwrap_or(0);
        self.booking.remember(older, now_s);
    }

    /// How much there is of each SLI at `at_s`, by what answered lately.
    pub fn extents(&self, at_s: i64) -> Vec<Extent> {
        let (live, intervals_ms) = (self.booking.live_of_slis(at_s, LATELY_S), self.booking.intervals_ms());
        let extent = |(sli, (series, interval_ms)): (usize, (usize, Option<i64>))| {
            // Of what the server sums there are no cursors.
            let summed = self.groups.of(sli).filter(|group| group.aggregated);
            let summed = summed.map_or(0, |group| group.raw_series.max(self.options.raw_series_max));
            let scrape_s = interval_ms.map_or(30, |ms| (ms + 500) / 1000).max(1);
            Extent { series: series.max(summed), scrape_s }
        };
        live.into_iter().zip(intervals_ms).enumerate().map(extent).collect()
    }

    /// Jobs of the targets that were seen: history is read with their witnesses.
    pub fn jobs(&self) -> &BTreeSet<String> {
        self.booking.jobs()
    }

    /// Takes counters that were read beside the polls, from `from_s` on and up to `until_s`; the polls go on from there.
    pub(super) fn take_history(
        &mut self,
        counters: &[RawSeries],
        witnesses: &[RawSeries],
        (from_s, until_s): (i64, i64),
    ) -> ReadDeltas {
        let of_counters = |group: &&mut Group| group.ask == Ask::Counter;
        for group in self.groups.iter_mut().filter(of_counters) {
            (group.read_s, group.answered_s) = (Some(until_s), Some(until_s));
        }
        let groups = self.groups.iter().filter(|group| group.ask == Ask::Counter);
        let found = self.booking.take_history(groups, counters, witnesses, (from_s, until_s));
        self.watch.note_faults(&found.series);
        found
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
        self.booking.raw_series_of_slis()
    }

    /// Everything up to `at_s`, however long it takes: for whoever has nothing to show before.
    pub async fn catch_up(&mut self, at_s: i64) -> Poll {
        self.poll_until(at_s, |_| true, Instant::now() + CATCH_UP_MAX).await
    }

    async fn poll_groups(&mut self, at_s: i64, wanted: impl Fn(&Group) -> bool) -> Poll {
        let limit = Duration::from_secs(self.options.poll_interval_s.unsigned_abs().max(1));
        self.poll_until(at_s, wanted, Instant::now() + limit).await
    }

    async fn poll_until(&mut self, at_s: i64, wanted: impl Fn(&Group) -> bool, deadline: Instant) -> Poll {
        let mut poll = Poll::default();
        self.groups.merge_healed(at_s);
        self.watch.retain(|key| self.booking.follows(key));
        let mut behind = self.groups.places(wanted);
        while !behind.is_empty() && Instant::now() < deadline {
            behind = self.step(&behind, at_s, deadline, &mut poll).await;
        }
        let groups = &self.groups;
        let read_s = |sli: usize| groups.of(sli)?.read_s.zip(groups.waiting_of(sli)?.read_s);
        poll.series.extend(self.booking.settle_queues(read_s));
        self.note_live(at_s, &mut poll);
        poll
    }

    /// Forgets what has been silent for a day at `at_s`, the end of the last poll. Call it at moments that are trusted: what
    /// is forgotten begins anew when it comes back.
    pub fn forget_silent(&mut self, at_s: i64) {
        // Of what did not answer nobody knows whether it is silent.
        let groups = &self.groups;
        let answered = |group: Option<&Group>| group.is_none_or(|group| group.answered_s == Some(at_s));
        self.booking.forget_silent(at_s, |sli| answered(groups.of(sli)) && answered(groups.waiting_of(sli)));
    }

    /// Whether older history will be joined on: only then it is remembered where each series began.
    pub fn expect_history(&mut self, expected: bool) {
        self.booking.expect_history(expected);
    }

    /// Reads the next stretch of some groups. Answers which of them have more to read.
    async fn step(&mut self, places: &[usize], at_s: i64, deadline: Instant, poll: &mut Poll) -> Vec<usize> {
        let spans = self.groups.spans(places, at_s);
        let Collected { mut read, failed, .. } = self.ask(&spans, deadline, poll).await;
        let others = !read.is_empty();
        let again: Vec<ReadSpan> = read.iter().filter_map(|answered| self.gap(answered)).collect();
        for wider in self.ask(&again, deadline, poll).await.read {
            let narrow = read.iter_mut().find(|answered| answered.span.group == wider.span.group);
            let narrow = narrow.expect("only what answered is asked for again");
            let found = self.booking.brings_news(&wider, narrow, self.groups.get(wider.span.group));
            self.groups.get_mut(wider.span.group).fruitless_s = (!found).then_some(at_s);
            *narrow = Answered { asked: narrow.span, ..wider };
        }
        let grown = self.book(read, at_s, deadline, poll).await;
        let mut parts: Vec<usize> = Vec::new();
        for (span, fault) in failed {
            // Parts are asked at once, as far as there is time.
            let changes = self.groups.failed(&span, &fault, others, at_s);
            parts.extend(self.apply(changes));
        }
        for (place, largest) in grown {
            let sizes = self.booking.raw_series_of_slis();
            let changes = self.groups.grown(place, largest, &sizes, at_s);
            self.apply(changes);
        }
        let more = |&i: &usize| match spans.iter().find(|span| span.group == i) {
            Some(span) => self.groups.get(i).has_more(span, at_s),
            None => false,
        };
        let more: Vec<usize> = places.iter().copied().filter(|i| !parts.contains(i)).filter(more).collect();
        parts.into_iter().chain(more).collect()
    }

    /// Sends the requests of these spans: those that answered whole, and those of which a request failed.
    async fn ask(&mut self, spans: &[ReadSpan], deadline: Instant, poll: &mut Poll) -> Collected {
        let asked: Vec<(ReadSpan, &Group)> = spans.iter().map(|&span| (span, self.groups.get(span.group))).collect();
        let collected = self.reader.ask(&asked, self.options.resolution_s, deadline, poll).await;
        self.watch.skew_s = collected.skew_s.or(self.watch.skew_s);
        for (span, fault) in &collected.failed {
            self.groups.get_mut(span.group).note_fault(span, fault);
        }
        for answered in &collected.read {
            self.booking.meet(answered, self.groups.get(answered.span.group));
        }
        collected
    }

    /// Where a group must be read again from, if its answers do not join on to what was read before.
    fn gap(&mut self, answered: &Answered) -> Option<ReadSpan> {
        let group = self.groups.get(answered.span.group);
        let to_s = answered.span.to_s;
        let pausing = group.fruitless_s.is_some_and(|at| (0..REREAD_PAUSE_S).contains(&(to_s - at)));
        if group.answered_s.is_none() || pausing {
            return None;
        }
        self.booking.gap(answered, group)
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
        let mut doubtful: BTreeSet<Labels> = BTreeSet::new();
        let mut outgrown: Vec<(usize, usize)> = Vec::new();
        for answered in &read {
            let group = self.groups.get_mut(answered.span.group);
            // What a first read finds sets starts.
            if !group.on_grid() && group.answered_s.is_some() {
                doubtful.extend(self.booking.doubtful(answered));
            }
            let largest = answered.series.iter().map(|(_, series)| series.len()).max().unwrap_or(0);
            if largest > self.options.raw_series_max {
                outgrown.push((answered.span.group, largest));
            }
            group.note(answered);
        }
        let from_s = read.iter().map(|answered| answered.span.begins_s()).min().unwrap_or(at_s);
        let to_s = read.iter().map(|answered| answered.span.to_s).max().unwrap_or(at_s);
        let witnesses = self.reader.witnesses(&doubtful, from_s, to_s, deadline, poll).await;
        let read = read.into_iter().map(|answered| (self.groups.get(answered.span.group), answered));
        let harvest = self.booking.book(read.map(|(group, answered)| (answered, group)).collect(), &witnesses, at_s);
        self.watch.note_faults(&harvest.series);
        poll.take(harvest);
        outgrown
    }

    /// Lets those who count follow what became of the groups. Answers which groups can be asked at once.
    fn apply(&mut self, changes: GroupChanges) -> Vec<usize> {
        if !changes.summed.is_empty() {
            self.booking.forget_slis(&changes.summed);
        }
        if !changes.recount.is_empty() {
            self.watch.count_anew(&changes.recount);
        }
        changes.ask
    }

    /// Remembers how many raw series answered at `at_s`, and doubts groups that suddenly answer with far fewer.
    fn note_live(&mut self, at_s: i64, poll: &mut Poll) {
        let slice = at_s.div_euclid(self.options.resolution_s) - 1;
        let raw = self.booking.liveness(at_s * 1000, self.options.poll_interval_s * 1000).into_iter();
        let raw = raw.map(|((sli, labels), live)| (sli, labels, live.live, false));
        let grid = self.booking.newest_on_grid().map(|(key, _)| (key.0, &key.1, self.booking.rows(key, slice), true));
        let mut doubted: BTreeSet<usize> = BTreeSet::new();
        for (sli, labels, live, on_grid) in raw.chain(grid) {
            let Some(place) = self.groups.place_of(sli) else { continue };
            let group = self.groups.get(place);
            if group.answered_s != Some(at_s) || group.on_grid() != on_grid {
                continue;
            }
            if self.watch.note_live(&(sli, labels.clone()), at_s, live) && labels.is_empty() {
                // Children come and go; of a whole that lost a tenth the poll is in doubt.
                doubted.insert(place);
            }
        }
        let names = doubted.iter().map(|&place| self.groups.get(place).name().to_owned());
        poll.doubts.extend(names.map(|name| (name, DataReason::SeriesMissing)));
    }

    /// How far the data of every series can be trusted at `at_s`.
    pub fn health(&self, at_s: i64) -> SeriesHealth {
        let mut health: Vec<(Key, DataHealth)> = Vec::new();
        let mut waiting: BTreeMap<Key, DataHealth> = BTreeMap::new();
        let last_s = self.groups.answered_until_s();
        let answering = |group| answering(group, last_s);
        for ((sli, labels), live) in self.booking.liveness(at_s * 1000, self.options.poll_interval_s * 1000) {
            let (key, newest) = ((sli, labels.clone()), live.newest_ms.map(|ms| ms.div_euclid(1000)));
            let answering = answering(self.groups.of(sli));
            let found = self.watch.health(&key, at_s, newest, live.interval_ms, answering);
            health.push((key, found));
        }
        for (key, slice) in self.booking.newest_on_grid() {
            let newest = Some(slice.saturating_add(1).saturating_mul(self.options.resolution_s));
            let Some(labels) = grid::series_of(&key.1) else {
                let answering = answering(self.groups.of(key.0));
                health.push((key.clone(), self.watch.health(key, at_s, newest, None, answering)));
                continue;
            };
            let answering = answering(self.groups.waiting_of(key.0));
            waiting.insert((key.0, labels), self.watch.health(key, at_s, newest, None, answering));
        }
        let mut health = SeriesHealth::of_all(health, self.plan.slis.len());
        let queues = |(key, _): &(Key, DataHealth)| self.plan.slis[key.0].queue.is_some();
        let queues: BTreeSet<Key> =
            health.iter().filter(|of| queues(of)).map(|(key, _)| key.clone()).chain(waiting.keys().cloned()).collect();
        let mut both = Vec::with_capacity(queues.len());
        for key in queues {
            let answering = answering(self.groups.waiting_of(key.0));
            let why = if self.watch.is_silent(answering, at_s) { answering.silence() } else { DataReason::NoSeries };
            let of_both = health::of_queue(health.of(key.0, &key.1).as_ref(), waiting.get(&key), why);
            both.push((key, of_both));
        }
        health.put(both);
        health
    }

    /// Prometheus's clock less ours, seconds, as the last answer showed it.
    pub fn clock_skew_s(&self) -> Option<f64> {
        self.watch.skew_s.map(|skew| skew as f64)
    }

    /// The health of an SLI of which no series was ever seen.
    pub fn health_unseen(&self, sli: usize, at_s: i64) -> DataHealth {
        let answering = answering(self.groups.of(sli), self.groups.answered_until_s());
        let reason = match self.groups.of(sli) {
            None if self.plan.slis[sli].crooked => DataReason::NotCumulative,
            None if self.plan.slis[sli].refused.is_some() => DataReason::SourceUnplanned,
            None => DataReason::NoSource,
            Some(_) if self.watch.is_silent(answering, at_s) => answering.silence(),
            Some(_) => self.watch.fault(&(sli, Labels::new())).unwrap_or(DataReason::NoSeries),
        };
        DataHealth { state: DataState::Absent, reason, newest: None }
    }

    /// What must be said of how SLIs are read, beside what the plan says of them.
    pub fn notes(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        let last_s = self.groups.answered_until_s();
        let of_counters = self.booking.notes(last_s.unwrap_or(0));
        let of_groups = self.groups.iter().flat_map(move |group| {
            let summed = group.aggregated.then(|| AGGREGATED.to_owned());
            let failing = group.fault.as_ref().filter(|_| answering(Some(group), last_s).failing);
            let failing = failing.map(|fault| format!("its query fails while others are answered: {fault}"));
            let notes: Vec<String> = summed.into_iter().chain(failing).collect();
            group.slis.iter().flat_map(move |&sli| notes.clone().into_iter().map(move |note| (sli, note)))
        });
        of_groups.chain(of_counters)
    }
}

/// How the group of an SLI stands, where the newest answer of any group ends at `last_s`; without a group nothing ever
/// answered.
fn answering(group: Option<&Group>, last_s: Option<i64>) -> Answering {
    let Some(group) = group else { return Answering::default() };
    let alone = |fault: &Fault| fault.is_of_the_query() || group.answered_s < last_s;
    let failing = group.fault.as_ref().is_some_and(alone);
    Answering { at_s: group.answered_s, warned: group.warned, failing }
}
