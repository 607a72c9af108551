//! What a label set is to the tracker: whose cursor, the count of which histogram, one of its buckets.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cursors::{Asleep, Feed, Kind, Raw};
use super::ended::label_hashes;
use super::pace::Pace;
use super::pair::CounterPair;
use super::target::Target;
use super::{TrackedSeries, Tracker};
use crate::engine::Labels;
use crate::engine::ledger::End;
use crate::query::bucket::parse_le;
use crate::query::fanout::{Met, child_key};
use crate::query::fetch::{BetweenKey, Plan, Role};
use crate::query::samples::{RawSeries, key_of, key_of_pairs};

/// Label sets remembered beyond four for each cursor.
const MATCHES_SPARE: usize = 10_000;

/// Found once per label set, then remembered.
#[derive(Debug, Clone, Default)]
pub(super) struct SeriesMatch {
    /// The cursor of the series by itself.
    own: Option<u32>,
    /// The histogram whose count or bucket it is.
    histogram: Option<u128>,
    /// The series whose total it is, as a count.
    count_of: Box<[u32]>,
    /// The cursor of the histogram's count and this bucket.
    bucket: Option<u32>,
    /// Cursors of thresholds of which this is the bucket above; and what tells them from others.
    above: Box<[(u32, BetweenKey)]>,
    /// Thresholds of which it is the bucket below.
    below: Box<[BetweenKey]>,
}

/// An answer sorted into pairs.
pub(super) struct Matched<'a> {
    pub pairs: Vec<CounterPair<'a>>,
    /// Series of histograms whose count came without the bucket at their threshold.
    pub without_bucket: BTreeSet<u32>,
}

impl Tracker {
    pub(super) fn pairs<'a>(&mut self, plan: &Plan, counters: impl IntoIterator<Item = &'a RawSeries>) -> Matched<'a> {
        // Label sets that nothing counts have no cursor to forget them by.
        if self.matches.len() > 4 * self.raws.len() + MATCHES_SPARE {
            self.matches.clear();
        }
        let counters: Vec<(u128, &RawSeries)> = counters.into_iter().map(|raw| (raw.labels.key(), raw)).collect();
        self.meet(plan, &counters);
        let mut pairs = Vec::new();
        let mut counts: HashMap<u128, (u128, &RawSeries)> = HashMap::new();
        let (mut buckets, mut above) = (Vec::new(), Vec::new());
        let mut below: HashMap<(u128, BetweenKey), &RawSeries> = HashMap::new();
        for (key, raw) in counters {
            if !self.matches.contains_key(&key) {
                let found = self.find_match(plan, raw, key);
                self.matches.insert(key, found);
            }
            let found = &self.matches[&key];
            pairs.extend(found.own.map(|id| CounterPair { id, whole: raw, part: None, lower: None, share: None }));
            let Some(histogram) = found.histogram else { continue };
            buckets.extend(found.bucket.map(|id| (histogram, id, raw)));
            above.extend(found.above.iter().map(|&(id, between)| (histogram, id, between, raw)));
            below.extend(found.below.iter().map(|&between| ((histogram, between), raw)));
            if found.bucket.is_none() && found.above.is_empty() && found.below.is_empty() {
                counts.insert(histogram, (key, raw));
            }
        }
        let mut with_bucket: BTreeSet<u32> = BTreeSet::new();
        for (histogram, id, bucket) in buckets {
            if let Some(&(_, count)) = counts.get(&histogram) {
                pairs.push(CounterPair { id, whole: count, part: Some(bucket), lower: None, share: None });
                with_bucket.extend(self.raws[id as usize].series());
            }
        }
        for (histogram, id, between, upper) in above {
            let lower = below.get(&(histogram, between)).copied();
            let smallest = f64::from_bits(between[0]) == f64::NEG_INFINITY;
            if let Some(&(_, count)) = counts.get(&histogram).filter(|_| smallest || lower.is_some()) {
                let share = Some(f64::from_bits(between[2]));
                pairs.push(CounterPair { id, whole: count, part: Some(upper), lower, share });
                with_bucket.extend(self.raws[id as usize].series());
            }
        }
        let mut without_bucket: BTreeSet<u32> =
            counts.values().flat_map(|(key, _)| self.matches[key].count_of.iter().copied()).collect();
        without_bucket.retain(|series| !with_bucket.contains(series));
        // What a child lacks its whole lacks, too.
        let whole = |&series: &u32| {
            let TrackedSeries { sli, labels, .. } = &self.series[series as usize];
            (!labels.is_empty()).then(|| self.series_ids.get(&(*sli, Labels::new())).copied()).flatten()
        };
        let wholes: Vec<u32> = without_bucket.iter().filter_map(whole).collect();
        without_bucket.extend(wholes);
        Matched { pairs, without_bucket }
    }

    fn find_match(&mut self, plan: &Plan, raw: &RawSeries, key: u128) -> SeriesMatch {
        let mut uses = plan.uses_of(&raw.labels);
        // Who was let in is asked for on the slice grid, though it is a counter.
        uses.retain(|&(_, role)| role != Role::Through);
        let (paired, own): (Vec<_>, Vec<_>) = uses.into_iter().partition(|&(sli, _)| plan.slis[sli].histogram);
        let mut found = SeriesMatch::default();
        if !own.is_empty() {
            found.own = Some(self.cursor(plan, raw, key, &own, Kind::Own, String::new()));
        }
        if !paired.is_empty() {
            found.histogram = Some(histogram_of(raw));
        }
        let (counts, buckets): (Vec<_>, Vec<_>) = paired.into_iter().partition(|&(_, role)| role == Role::Total);
        let counted = self.feeds(plan, raw, &counts);
        found.count_of = counted.iter().map(|feed| feed.series).collect();
        let mut at_threshold = Vec::new();
        let mut above: BTreeMap<BetweenKey, Vec<(usize, Role)>> = BTreeMap::new();
        let mut below = BTreeSet::new();
        for (sli, role) in buckets {
            match (plan.slis[sli].between, role) {
                (Some(between), Role::Lower) => drop(below.insert(between.key())),
                (Some(between), _) => above.entry(between.key()).or_default().push((sli, role)),
                (None, _) => at_threshold.push((sli, role)),
            }
        }
        if !at_threshold.is_empty() {
            found.bucket = Some(self.cursor(plan, raw, bucket_key(raw), &at_threshold, Kind::Pair, bound_of(raw)));
        }
        let cursors = above.into_iter().map(|(between, uses)| {
            let key = between_key(raw, between);
            (self.cursor(plan, raw, key, &uses, Kind::Between, format!("{between:?}")), between)
        });
        found.above = cursors.collect();
        found.below = below.into_iter().collect();
        found
    }

    /// The series that these uses of a raw series are booked to.
    fn feeds(&mut self, plan: &Plan, raw: &RawSeries, uses: &[(usize, Role)]) -> Vec<Feed> {
        let mut feeds = Vec::with_capacity(uses.len());
        for &(sli, role) in uses {
            for booking in self.fanout.bookings(plan, sli, &raw.labels) {
                if role == Role::Upper {
                    for (end, role) in [(End::Least, Role::Good), (End::Most, Role::Lower)] {
                        let series = self.series_id(sli, end.labels(&booking.labels));
                        feeds.push(Feed { series, role, child: None, pace: 0, leads: false });
                    }
                }
                let series = self.series_id(sli, booking.labels);
                feeds.push(Feed { series, role, child: booking.child, pace: 0, leads: false });
            }
        }
        feeds
    }

    /// Lets the fan-out know which children there are, before any of their series is placed: of many new ones those with
    /// the most traffic get rows.
    fn meet(&mut self, plan: &Plan, counters: &[(u128, &RawSeries)]) {
        if !plan.fans_out() {
            return;
        }
        let mut met = Vec::new();
        for (_, raw) in counters.iter().filter(|(key, _)| !self.matches.contains_key(key)) {
            let uses = plan.uses_of(&raw.labels).into_iter();
            for (sli, _) in uses.filter(|&(sli, role)| role == Role::Total && !plan.slis[sli].by.is_empty()) {
                let child = plan.series_labels(sli, &raw.labels);
                let samples = raw.samples.as_slice();
                let (Some(&(_, first)), Some(&(at_ms, last))) = (samples.first(), samples.last()) else { continue };
                let (none, child) = (child.is_empty(), child_key(&child));
                if !none && !self.fanout.knows(sli, child) {
                    met.push(Met { sli, child, events: last - first, at_ms });
                }
            }
        }
        self.fanout.meet(plan, met);
    }

    /// The cursor `key`, made if it is new.
    fn cursor(
        &mut self,
        plan: &Plan,
        raw: &RawSeries,
        key: u128,
        uses: &[(usize, Role)],
        kind: Kind,
        bound: String,
    ) -> u32 {
        let mut feeds = self.feeds(plan, raw, uses);
        let known = self.raw_ids.get(&key).copied();
        let target = self.target(plan, uses[0].0, raw);
        let mut led = BTreeSet::new();
        for feed in &mut feeds {
            let sli = self.series[feed.series as usize].sli;
            feed.pace = self.pace_id(sli, target);
            feed.leads = (kind != Kind::Own || feed.role == Role::Total) && led.insert(sli);
        }
        let feeds = Some(feeds.into_boxed_slice());
        let bound = if kind == Kind::Own { 0 } else { key_of_pairs([(bound.as_str(), "")].into_iter()) };
        let labels = Some(label_hashes(&raw.labels, bound));
        if let Some(id) = known {
            let known = &mut self.raws[id as usize];
            (known.target, known.feeds, known.kind, known.labels) = (target, feeds, kind, labels);
            return id;
        }
        let id = self.raws.len() as u32;
        let last = self.asleep.remove(&key).map(Asleep::last);
        let seen_ms = last.map(|last| last.at_ms);
        self.raws.push(Raw { feeds, last, seen_ms, kind, labels, ..Raw::new(key, target) });
        self.raw_ids.insert(key, id);
        id
    }

    /// The target of a raw series, made if it is new.
    fn target(&mut self, plan: &Plan, sli: usize, raw: &RawSeries) -> u32 {
        let (key, labels) = target_of(plan, sli, raw);
        if let Some(job) = labels.get("job").filter(|job| !job.is_empty() && !self.jobs.contains(*job)) {
            self.jobs.insert(job.to_owned());
        }
        let nameless = labels.iter().filter(|(name, _)| *name != "job").all(|(_, value)| value.is_empty());
        *self.target_ids.entry(key).or_insert_with(|| {
            self.targets.push(Target::new(key, nameless));
            (self.targets.len() - 1) as u32
        })
    }

    /// The pace of an SLI on a target, made if it is new.
    pub(super) fn pace_id(&mut self, sli: usize, target: u32) -> u32 {
        *self.pace_ids.entry((sli, target)).or_insert_with(|| {
            self.paces.push(Pace::default());
            self.pace_of.push((sli, target));
            (self.paces.len() - 1) as u32
        })
    }
}

/// The histogram that a count or a bucket belongs to: its labels without `le`, and its base name.
fn histogram_of(raw: &RawSeries) -> u128 {
    key_of_pairs(raw.labels.iter().filter(|(name, _)| name != "le").map(|(name, value)| {
        let base = || value.strip_suffix("_bucket").or_else(|| value.strip_suffix("_count"));
        (name.as_str(), if name == "__name__" { base().unwrap_or(value) } else { value })
    }))
}

/// The bound of a bucket, in one spelling.
fn bound_of(raw: &RawSeries) -> String {
    parse_le(raw.label("le")).unwrap_or(f64::INFINITY).to_string()
}

/// The bucket of a histogram, however its bound is spelled: a server that begins to write `1.0` for `1` continues it.
fn bucket_key(raw: &RawSeries) -> u128 {
    let bound = bound_of(raw);
    let labels = raw.labels.iter().map(|(name, value)| (name.as_str(), if name == "le" { &bound } else { value }));
    key_of_pairs(labels.map(|(name, value)| (name, value.as_str())).chain([("", "bucket")]))
}

/// The count of a histogram and the buckets on both sides of a threshold, of which `upper` is one.
fn between_key(upper: &RawSeries, between: BetweenKey) -> u128 {
    let bounds = format!("{between:?}");
    let labels = upper.labels.iter().map(|(name, value)| (name.as_str(), if name == "le" { &bounds } else { value }));
    key_of_pairs(labels.map(|(name, value)| (name, value.as_str())).chain([("", "between")]))
}

pub(super) fn target_of(plan: &Plan, sli: usize, raw: &RawSeries) -> (u128, Labels) {
    let pairs: Vec<(String, String)> =
        plan.slis[sli].target_labels.iter().map(|name| (name.clone(), raw.label(name).to_owned())).collect();
    // Native histograms are not seen when they are scraped, but at the ends of slices: that says nothing of their target.
    let key = match plan.slis[sli].native {
        true => key_of_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain([("", "native")])),
        false => key_of(&pairs),
    };
    (key, pairs.into_iter().collect())
}
