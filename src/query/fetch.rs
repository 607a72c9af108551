//! What is asked of a Prometheus and for whom, as plain data: [`super::plan`] makes it, everything else reads it.
//!
//! A [`Fetch`] is one request, a [`Sli`] what its answers are read into, and a [`Plan`] is all of them, with the way back
//! from a raw series to the SLIs that count it. A request may return more than was needed; [`Plan::uses_of`] sends each
//! raw series only to the SLIs whose own selector matches it, so a wide request never makes a wrong count.
//!
//! Deliberately absent: how a plan comes about (`plan`) and how PromQL is written (`promql`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use promql_parser::label::MatchOp;

use crate::engine::{EVERY_LABEL, Labels};
use crate::spec::model::{Bound, Trust};

use super::bucket::{parse_le, same_bound};
use super::promql::request;
use super::samples::{RawSeries, Samples, label_of};
use super::selector::Selector;

/// What a raw series counts for an SLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// All events.
    Total,
    /// Bad events.
    Bad,
    /// Good events: bad = total - good.
    Good,
    /// A value to compare with a bound, once a slice.
    Value,
    /// The share of bad events, once a slice.
    Share,
    /// How many wait in a queue, once a slice.
    Waiting,
    /// A counter of those who were let in, once a slice.
    Through,
    /// Events up to the bound above a threshold that lies between two.
    Upper,
    /// Events up to the bound below it.
    Lower,
}

impl Role {
    /// How what plays it is asked for.
    pub(super) fn ask(self) -> Ask {
        match self {
            Role::Total | Role::Bad | Role::Good | Role::Upper | Role::Lower => Ask::Counter,
            Role::Value | Role::Share | Role::Waiting | Role::Through => Ask::Gauge,
        }
    }
}

/// How a request is asked and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// Raw samples of counters: `SELECTOR[window]` as an instant query.
    Counter,
    /// Values on the slice grid: a range query with `step = resolution`.
    Gauge,
    /// Counts of native histograms, which rise like counters: a range query as well.
    Native,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// How to ask.
    pub ask: Ask,
    /// The PromQL selector or expression, without range.
    pub expr: String,
    /// Indices into `Model::slos` that need it, ascending.
    pub slis: Vec<usize>,
    /// Metric of a selector; `None` for an expression, whose answer belongs to all of `roles`.
    pub metric: Option<String>,
    /// Labels an aggregation must keep so that the answer can still be told apart.
    pub keep: Vec<String>,
    /// The same where children are not told apart.
    pub keep_undivided: Vec<String>,
    /// Labels that name a scraped target.
    pub targets: Vec<String>,
    /// The selector of all events of its SLIs, where that is not its own: whoever is born is news only on a target of which
    /// something was there before.
    pub all: Option<String>,
    /// The spellings of each bound that is asked for, where it asks for buckets.
    pub spelled: Vec<Vec<String>>,
    /// What the answer of an expression is to whom.
    pub roles: Vec<(usize, Role)>,
    /// Slices before the first wanted one that are read along to judge by: a gauge that stands still shows it there.
    pub context: i64,
    /// The bound up to which events of a native histogram are counted; `None` of all.
    pub le: Option<f64>,
}

impl Fetch {
    /// Whether it is a foreign query of rates or ratios.
    pub fn is_ratio(&self) -> bool {
        self.roles.iter().any(|&(_, role)| role != Role::Value)
    }

    /// The answer of a native histogram as counters: the name and the bound that its functions drop are put back, and the
    /// value at the end of a slice is that slice's.
    pub fn as_counters(&self, rows: Vec<RawSeries>) -> Vec<RawSeries> {
        let counter = |row: RawSeries| {
            let mut labels = row.labels.to_vec();
            labels.extend(self.metric.iter().map(|metric| ("__name__".to_owned(), metric.clone())));
            labels.extend(self.le.map(|le| ("le".to_owned(), le.to_string())));
            labels.sort();
            // A product of a share and a count is off by binary dust.
            let whole = |(at, value): (i64, f64)| (at - 1, value.round());
            RawSeries { labels: labels.into(), samples: Samples::new(row.samples.iter().map(whole).collect()) }
        };
        rows.into_iter().map(counter).collect()
    }

    /// What to ask on the slice grid: the expression, with a range in every `[slice]` of a foreign query.
    pub fn on_grid(&self, resolution_s: i64) -> String {
        request::over_range(&self.expr, request::foreign_range_s(resolution_s))
    }
}

/// One way an SLI uses a metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Use {
    pub sli: usize,
    pub role: Role,
    pub selector: Selector,
    /// Upper bound of the bucket that counts, matched as a number.
    pub le: Option<f64>,
    /// How it may be spelled.
    pub spelled: Vec<String>,
    /// The histogram is a native one.
    pub native: bool,
}

impl Use {
    pub fn ask(&self) -> Ask {
        if self.native { Ask::Native } else { self.role.ask() }
    }

    fn matches(&self, labels: &[(String, String)]) -> bool {
        let is_bucket = |bound| parse_le(label_of(labels, "le")).is_some_and(|le| same_bound(le, bound));
        self.selector.matches(|name| label_of(labels, name)) && self.le.is_none_or(is_bucket)
    }
}

/// A threshold between two bounds of a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Between {
    /// The bound below; `None` under the smallest, where there is nothing certainly good.
    pub lower: Option<f64>,
    /// The bound above.
    pub upper: f64,
    /// Share of the events between the two that counts as good.
    pub share: f64,
}

/// The bits of its lower bound (minus infinity where there is none), upper bound and share.
pub(crate) type BetweenKey = [u64; 3];

impl Between {
    /// What tells it from others.
    pub(crate) fn key(&self) -> BetweenKey {
        let lower = self.lower.unwrap_or(f64::NEG_INFINITY);
        [lower, self.upper, self.share].map(f64::to_bits)
    }
}

/// When a slice of a queue is bad although nobody got through in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueRule {
    /// As how many bad events it counts at least.
    pub least: u64,
    /// So long a silence proves nothing, seconds.
    pub bound_s: i64,
    /// A counter of its own says who was let in.
    pub through: bool,
}

/// What the tracker must know of an SLI.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sli {
    /// SLO id.
    pub id: String,
    /// Labels it fans out to.
    pub by: Vec<String>,
    /// Labels that its file sets on its series: where it fans out to every label of an answer, these are not among them.
    pub set: BTreeSet<String>,
    /// Most children with rows of their own.
    pub series_max: usize,
    /// The values of `by` labels that a `when` of the severities names.
    pub told: BTreeMap<String, BTreeSet<String>>,
    /// Labels naming a scraped target.
    pub target_labels: Vec<String>,
    /// The longest window it is judged over, seconds.
    pub longest_s: i64,
    /// Total and part come in different requests, so a moment counts only when both have been seen.
    pub paired: bool,
    /// The part is good events (histograms): without its series nothing can be said.
    pub good_part: bool,
    /// Total and part are the count and a bucket of one histogram: they are read moment by moment, or not at all.
    pub histogram: bool,
    /// Bound of a gauge.
    pub bound: Option<Bound>,
    /// Which of its values are no values.
    pub trust: Trust,
    /// Total and part are rates, events a second, on the slice grid.
    pub rates: bool,
    /// It is a native histogram.
    pub native: bool,
    /// Its threshold lies between two bounds of its histogram.
    pub between: Option<Between>,
    /// It is a queue, of which the gauge of those who wait is read beside the histogram.
    pub queue: Option<QueueRule>,
    /// Why nothing is asked for although it has a source.
    pub refused: Option<String>,
    /// ... because the buckets of its histogram are not cumulative.
    pub crooked: bool,
    /// The key of what it counts, as text: an SLI whose text is another one is a new SLI, whatever it is called. Saved with
    /// its cursors, so it must not change from version to version. And as versions before 0.1.0 wrote it: their cursors are
    /// read on.
    pub counts: [u128; 2],
}

impl Sli {
    /// Whether each label set of its answer is a child.
    pub fn is_by_every_label(&self) -> bool {
        self.by.iter().any(|name| name == EVERY_LABEL)
    }
}

/// All requests of a model, and the way back from raw series to SLIs.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Requests, in a fixed order.
    pub fetches: Vec<Fetch>,
    /// One entry per SLO of the model, same order.
    pub slis: Vec<Sli>,
    /// Remarks on how the numbers of an SLO come about, by its id.
    pub notes: BTreeMap<String, Vec<String>>,
    pub(super) uses: Uses,
}

impl Plan {
    /// Requests that must be read together because some SLI needs them all: where the count of a histogram came and its
    /// buckets did not, nothing can be said. Each request is in one group; groups and their members ascend.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        // The fetch that each one is in a group with, nearer to the first of the group; that one leads to itself.
        let mut towards: Vec<usize> = (0..self.fetches.len()).collect();
        let first_of = |towards: &[usize], mut of: usize| {
            while towards[of] != of {
                of = towards[of];
            }
            of
        };
        // What a queue reads on the slice grid is read apart from its histogram.
        let mut asked_by: Vec<[Option<usize>; 2]> = vec![[None; 2]; self.slis.len()];
        for (i, fetch) in self.fetches.iter().enumerate() {
            let on_grid = fetch.ask == Ask::Gauge;
            let together = |sli: &&usize| !on_grid || self.slis[**sli].rates || self.slis[**sli].queue.is_some();
            for &sli in fetch.slis.iter().filter(together) {
                let other = *asked_by[sli][usize::from(on_grid)].get_or_insert(i);
                let (a, b) = (first_of(&towards, other), first_of(&towards, i));
                let first = a.min(b);
                (towards[a], towards[b], towards[i]) = (first, first, first);
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for i in 0..self.fetches.len() {
            groups.entry(first_of(&towards, i)).or_default().push(i);
        }
        groups.into_values().collect()
    }

    /// The SLIs that count a raw series, and as what. `labels` are sorted and hold `__name__`.
    pub fn uses_of(&self, labels: &[(String, String)]) -> Vec<(usize, Role)> {
        self.uses.of(labels)
    }

    /// Whether any SLI fans out.
    pub fn fans_out(&self) -> bool {
        self.slis.iter().any(|sli| !sli.by.is_empty())
    }

    /// The series of an SLI that a raw label set belongs to: its `by` labels.
    pub fn series_labels(&self, sli: usize, labels: &[(String, String)]) -> Labels {
        if self.slis[sli].is_by_every_label() {
            let own = |(name, _): &&(String, String)| name != "__name__" && !self.slis[sli].set.contains(name);
            return labels.iter().filter(own).cloned().collect();
        }
        self.slis[sli].by.iter().map(|name| (name.as_str(), label_of(labels, name))).collect()
    }
}

/// All uses of all metrics, to be found by the labels of a raw series.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses(HashMap<String, MetricUses>);

#[derive(Debug, Clone, Default)]
struct MetricUses {
    uses: Vec<Use>,
    /// A label that every use fixes by equality, and the uses of each of its values.
    split: Option<(String, HashMap<String, Vec<usize>>)>,
}

impl Uses {
    pub fn new(uses: Vec<Use>) -> Self {
        let mut by_metric: HashMap<String, MetricUses> = HashMap::new();
        for u in uses {
            by_metric.entry(u.selector.metric.clone()).or_default().uses.push(u);
        }
        for entry in by_metric.values_mut() {
            entry.split = split(&entry.uses);
        }
        Uses(by_metric)
    }

    /// Those of one metric.
    pub fn of_metric(&self, metric: &str) -> &[Use] {
        self.0.get(metric).map_or(&[], |metric| &metric.uses)
    }

    fn of(&self, labels: &[(String, String)]) -> Vec<(usize, Role)> {
        let Some(metric) = self.0.get(label_of(labels, "__name__")) else { return Vec::new() };
        let found = |u: &&Use| u.matches(labels);
        let role = |u: &Use| (u.sli, u.role);
        let mut found: Vec<(usize, Role)> = match &metric.split {
            Some((name, values)) => {
                let of = values.get(label_of(labels, name)).into_iter().flatten();
                of.map(|&i| &metric.uses[i]).filter(found).map(role).collect()
            }
            None => metric.uses.iter().filter(found).map(role).collect(),
        };
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The label that tells most uses apart by equality, if every use fixes it.
fn split(uses: &[Use]) -> Option<(String, HashMap<String, Vec<usize>>)> {
    let fixed = |u: &Use| -> BTreeMap<String, String> {
        u.selector
            .matchers
            .iter()
            .filter(|m| m.op == MatchOp::Equal)
            .map(|m| (m.name.clone(), m.value.clone()))
            .collect()
    };
    let names: Vec<String> = uses.first().map(fixed)?.into_keys().collect();
    names
        .into_iter()
        .filter_map(|name| {
            let mut values: HashMap<String, Vec<usize>> = HashMap::new();
            for (i, u) in uses.iter().enumerate() {
                values.entry(fixed(u).get(&name)?.clone()).or_default().push(i);
            }
            Some((name, values))
        })
        .max_by_key(|(_, values)| values.len())
}
