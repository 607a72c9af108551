//! Which requests answer for which SLIs.
//!
//! Selectors of one metric that differ only in the values of equality matchers become one request
//! (`service=~"a|b"`); a selector that another one contains (`bad` inside `total`) needs no request of its own. The
//! merged request may return more than was needed (it is the union's hull); [`Plan::uses_of`] sends each raw series
//! only to the SLIs whose own selector matches it, so a wide request never makes a wrong count.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use promql_parser::label::MatchOp;
use promql_parser::parser::value::ValueType;

use crate::engine::{Labels, Slo, Unit};
use crate::spec::model::{Bound, Part, Trust};
use crate::spec::{Model, SliSource, SloSpec};

use super::samples::{RawSeries, Samples, label_of};
use super::selector::{Selector, bounded};
use threshold::Reading;

mod survey;
mod threshold;

pub use survey::{Known, Probes, Survey, is_surveyed};
pub(crate) use threshold::BetweenKey;
pub use threshold::{Between, same_bound};

/// Most alternatives merged into one matcher: keeps a request under about 64 KiB.
const VALUES_MAX: usize = 500;
/// Histograms whose thresholds differ are merged up to this many `le` spellings; beyond, each threshold asks for itself
/// (one request must not read every bucket of everybody).
const LE_SPELLINGS_MAX: usize = 12;

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
    /// Events up to the bound above a threshold that lies between two.
    Upper,
    /// Events up to the bound below it.
    Lower,
}

impl Role {
    /// How what plays it is asked for.
    fn ask(self) -> Ask {
        match self {
            Role::Total | Role::Bad | Role::Good | Role::Upper | Role::Lower => Ask::Counter,
            Role::Value | Role::Share | Role::Waiting => Ask::Gauge,
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
            let mut labels = row.labels;
            labels.extend(self.metric.iter().map(|metric| ("__name__".to_owned(), metric.clone())));
            labels.extend(self.le.map(|le| ("le".to_owned(), le.to_string())));
            labels.sort();
            // A product of a share and a count is off by binary dust.
            let whole = |(at, value): (i64, f64)| (at - 1, value.round());
            RawSeries { labels, samples: Samples::new(row.samples.iter().map(whole).collect()) }
        };
        rows.into_iter().map(counter).collect()
    }

    /// What to ask on the slice grid: the expression, with a range in every `[slice]` of a foreign query.
    pub fn on_grid(&self, resolution_s: i64) -> String {
        with_range(&self.expr, foreign_range_s(resolution_s))
    }
}

/// One way an SLI uses a metric.
#[derive(Debug, Clone, PartialEq)]
struct Use {
    sli: usize,
    role: Role,
    selector: Selector,
    /// Upper bound of the bucket that counts, matched as a number.
    le: Option<f64>,
    /// How it may be spelled.
    spelled: Vec<String>,
    /// The histogram is a native one.
    native: bool,
}

impl Use {
    fn ask(&self) -> Ask {
        if self.native { Ask::Native } else { self.role.ask() }
    }
}

/// What the tracker must know of an SLI.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sli {
    /// SLO id.
    pub id: String,
    /// Labels it fans out to.
    pub by: Vec<String>,
    /// Most children with rows of their own.
    pub series_max: usize,
    /// The values of `by` labels that a `when` of the severities names.
    pub told: BTreeMap<String, BTreeSet<String>>,
    /// Labels naming a scraped target.
    pub target_labels: Vec<String>,
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
    /// It is a queue, of which the gauge of those who wait is read beside the histogram: as how many bad events a slice in
    /// which nobody gets through counts at least.
    pub queue: Option<u64>,
    /// What it counts, as text: an SLI whose text is another one is a new SLI, whatever it is called.
    pub counts: String,
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
    by_metric: HashMap<String, MetricUses>,
}

#[derive(Debug, Clone, Default)]
struct MetricUses {
    uses: Vec<Use>,
    /// A label that every use fixes by equality, and the uses of each of its values.
    split: Option<(String, HashMap<String, Vec<usize>>)>,
}

impl Plan {
    /// Plans a model of which nothing else is known. An SLO whose source cannot be planned gets the reason instead; the
    /// others are not touched by it.
    pub fn new(model: &Model) -> (Self, BTreeMap<String, String>) {
        Plan::surveyed(model, &Survey::default())
    }

    /// Plans a model by what a Prometheus was found to hold of it.
    pub fn surveyed(model: &Model, survey: &Survey) -> (Self, BTreeMap<String, String>) {
        let mut refused = BTreeMap::new();
        let mut uses: Vec<Use> = Vec::new();
        let mut exprs: BTreeMap<String, Vec<(usize, Role)>> = BTreeMap::new();
        let mut slis = Vec::new();
        let mut patterns = HashMap::new();
        for (index, spec) in model.slos.iter().enumerate() {
            let source = survey.source(spec);
            let mut sli = Sli {
                id: spec.slo.id.clone(),
                by: spec.slo.by.clone(),
                series_max: spec.slo.series_max as usize,
                told: told(&spec.slo),
                target_labels: spec.target_labels.clone(),
                paired: false,
                good_part: false,
                histogram: false,
                bound: None,
                trust: Trust::default(),
                rates: false,
                queue: None,
                between: None,
                native: false,
                counts: format!("{source:?} by {:?} on {:?}", spec.slo.by, spec.target_labels),
            };
            match source {
                Err(reason) => drop(refused.insert(spec.slo.id.clone(), reason.clone())),
                Ok(source) => match uses_of_source(index, spec.slo.unit, source, survey.of(&spec.slo.id), &mut sli) {
                    Ok(Sourced::Uses(mut more)) => {
                        more.iter_mut().for_each(|one| one.selector.share(&mut patterns));
                        uses.extend(more);
                    }
                    Ok(Sourced::Exprs(all)) => {
                        all.into_iter().for_each(|(expr, role)| exprs.entry(expr).or_default().push((index, role)));
                    }
                    Err(reason) => drop(refused.insert(spec.slo.id.clone(), reason)),
                },
            }
            if let Some(between) = &sli.between {
                sli.counts += &format!(" between {between:?}");
            }
            if sli.native {
                sli.counts += " natively";
            }
            slis.push(sli);
        }
        let mut fetches = Vec::new();
        for ask in [Ask::Counter, Ask::Gauge, Ask::Native] {
            let of_ask: Vec<&Use> = uses.iter().filter(|u| u.ask() == ask).collect();
            match merge(ask, &of_ask, &slis) {
                Ok(merged) => fetches.extend(merged),
                Err(reason) => {
                    for u in of_ask {
                        refused.insert(slis[u.sli].id.clone(), reason.clone());
                    }
                }
            }
        }
        fetches.extend(exprs.into_iter().map(|(expr, roles)| {
            let mut of: Vec<usize> = roles.iter().map(|&(sli, _)| sli).collect();
            of.dedup();
            let context = context_of(&of, &slis);
            let (keep, keep_undivided) = (Vec::new(), Vec::new());
            Fetch { ask: Ask::Gauge, expr, slis: of, metric: None, keep, keep_undivided, roles, context, le: None }
        }));
        let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (id, reason) in &refused {
            notes.entry(id.clone()).or_default().push(reason.clone());
        }
        for spec in &model.slos {
            let notes = notes.entry(spec.slo.id.clone()).or_default();
            notes.extend(generation(spec, survey));
            notes.extend(survey.source(spec).ok().and_then(remark));
        }
        for (sli, spec) in slis.iter().zip(&model.slos) {
            let threshold = survey.source(spec).ok().and_then(threshold_of);
            let remark = sli.between.zip(threshold).map(|(between, threshold)| between.remark(threshold));
            let native = sli.native.then(|| "reads a native histogram, once a slice".to_owned());
            notes.entry(sli.id.clone()).or_default().extend(remark.into_iter().chain(native));
        }
        (Plan { fetches, slis, notes, by_metric: index(uses) }, refused)
    }

    /// Requests that must be read together because some SLI needs them all: where the count of a histogram came and its
    /// buckets did not, nothing can be said. Each request is in one group; groups and their members ascend.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(Vec<usize>, BTreeSet<usize>)> = Vec::new();
        for (i, fetch) in self.fetches.iter().enumerate() {
            let slis: BTreeSet<usize> = match fetch.ask {
                Ask::Counter | Ask::Native => fetch.slis.iter().copied().collect(),
                Ask::Gauge => fetch.slis.iter().copied().filter(|&sli| self.slis[sli].rates).collect(),
            };
            let (linked, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(_, of)| !of.is_disjoint(&slis));
            let mut joined = (vec![i], slis);
            for (members, of) in linked {
                joined.0.extend(members);
                joined.1.extend(of);
            }
            joined.0.sort_unstable();
            groups = apart;
            groups.push(joined);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_iter().map(|(members, _)| members).collect();
        groups.sort();
        groups
    }

    /// The requests that answer for some of the SLIs of `fetches` alone; `None` where they cannot be told apart.
    pub fn narrowed(&self, fetches: &[Fetch], slis: &BTreeSet<usize>) -> Option<Vec<Fetch>> {
        let mut narrowed: Vec<Fetch> = Vec::new();
        for fetch in fetches {
            let of: Vec<usize> = fetch.slis.iter().copied().filter(|sli| slis.contains(sli)).collect();
            match &fetch.metric {
                _ if of.is_empty() => {}
                None => narrowed.push(Fetch { slis: of, ..fetch.clone() }),
                Some(metric) => {
                    let of_fetch = |u: &&Use| of.contains(&u.sli) && u.ask() == fetch.ask;
                    let uses: Vec<&Use> = self.by_metric.get(metric)?.uses.iter().filter(of_fetch).collect();
                    for one in merge(fetch.ask, &uses, &self.slis).ok()? {
                        if narrowed.iter().all(|known| known.expr != one.expr) {
                            narrowed.push(one);
                        }
                    }
                }
            }
        }
        Some(narrowed)
    }

    /// The SLIs that count a raw series, and as what. `labels` are sorted and hold `__name__`.
    pub fn uses_of(&self, labels: &[(String, String)]) -> Vec<(usize, Role)> {
        let Some(metric) = self.by_metric.get(label_of(labels, "__name__")) else { return Vec::new() };
        let matching = |u: &Use| {
            u.selector.matches(|name| label_of(labels, name))
                && u.le.is_none_or(|bound| parse_le(label_of(labels, "le")).is_some_and(|le| same_bound(le, bound)))
        };
        let mut found: Vec<(usize, Role)> = match &metric.split {
            Some((name, values)) => values
                .get(label_of(labels, name))
                .into_iter()
                .flatten()
                .map(|&i| &metric.uses[i])
                .filter(|u| matching(u))
                .map(|u| (u.sli, u.role))
                .collect(),
            None => metric.uses.iter().filter(|u| matching(u)).map(|u| (u.sli, u.role)).collect(),
        };
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether any SLI fans out.
    pub fn fans_out(&self) -> bool {
        self.slis.iter().any(|sli| !sli.by.is_empty())
    }

    /// The series of an SLI that a raw label set belongs to: its `by` labels.
    pub fn series_labels(&self, sli: usize, labels: &[(String, String)]) -> Labels {
        self.slis[sli].by.iter().map(|name| (name.as_str(), label_of(labels, name))).collect()
    }
}

/// The label values that severities tell apart.
fn told(slo: &Slo) -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in slo.severity.iter().flat_map(|rule| &rule.when) {
        told.entry(name.clone()).or_default().insert(value.clone());
    }
    told
}

/// `le` as a number; `None` where it is none. `+Inf` is infinite.
pub fn parse_le(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|bound| !bound.is_nan())
}

/// The ways exporters spell a bucket bound: Go (`0.25`, `1`, `1e+06`), Python and Java (`1.0`, `1000000.0`).
pub fn le_spellings(bound: f64) -> Vec<String> {
    let plain = format!("{bound}");
    let mut spellings = BTreeSet::new();
    if bound.is_finite() {
        if !plain.contains('.') {
            spellings.insert(format!("{plain}.0"));
        }
        let exp = format!("{bound:e}");
        if let Some((mantissa, power)) = exp.split_once('e') {
            let (sign, digits) = power.strip_prefix('-').map_or(("+", power), |d| ("-", d));
            if digits.len() > 1 || !(-4..6).contains(&power.parse::<i32>().unwrap_or(0)) {
                spellings.insert(format!("{mantissa}e{sign}{digits:0>2}"));
            }
        }
    }
    spellings.insert(plain);
    spellings.into_iter().collect()
}

/// Stands in foreign queries where the range goes.
const SLICE: &str = "[slice]";
/// Shortest range of a foreign query, seconds: two scrapes of a minute. A shorter one would find one sample, and no rate.
const FOREIGN_RANGE_MIN_S: i64 = 120;

/// The range of foreign queries, seconds.
pub fn foreign_range_s(resolution_s: i64) -> i64 {
    FOREIGN_RANGE_MIN_S.max(4 * resolution_s)
}

/// `expr` with a range for every placeholder; what stands in quotes stays.
fn with_range(expr: &str, range_s: i64) -> String {
    let mut out = String::with_capacity(expr.len());
    let mut quote = None;
    let mut rest = expr;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (quote, c) {
            (None, '[') if rest.starts_with(SLICE) => {
                out += &format!("[{range_s}s]");
                rest = &rest[SLICE.len()..];
                continue;
            }
            (None, '"' | '\'' | '`') => quote = Some(c),
            (Some('"' | '\''), '\\') => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        out += &rest[..taken];
        rest = &rest[taken..];
    }
    out
}

fn context_of(slis: &[usize], all: &[Sli]) -> i64 {
    slis.iter().filter_map(|&sli| all[sli].trust.frozen_after).max().map_or(0, i64::from)
}

/// Which generation of several is read.
fn generation(spec: &SloSpec, survey: &Survey) -> Option<String> {
    let Ok(SliSource::Generations(all)) = &spec.source else { return None };
    let known = survey.of(&spec.slo.id).and_then(|known| all.get(known.generation?));
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    Some(match known {
        Some(one) => format!("reads the metrics of {} (known are {}); never two of them", one.name, names.join(", ")),
        None => format!("none of its generations of metrics has been found yet ({})", names.join(", ")),
    })
}

/// The threshold of a histogram.
fn threshold_of(source: &SliSource) -> Option<f64> {
    match source {
        SliSource::Histogram { threshold, .. } | SliSource::Queue { threshold, .. } => Some(*threshold),
        _ => None,
    }
}

/// What has to be said of the numbers of a source.
fn remark(source: &SliSource) -> Option<String> {
    let SliSource::Query { bad, total, why } = source else { return None };
    let counted = match total {
        Some(_) => "its rates are taken for events",
        None => "each slice counts alike, however many events it had",
    };
    let ranged = [Some(bad), total.as_ref()].into_iter().flatten().any(|expr| expr.contains(SLICE));
    let range = if ranged { ", over the last two minutes (four slices where that is longer)" } else { "" };
    Some(format!("approximate: {why}; the query is used as it is{range}, and {counted}"))
}

enum Sourced {
    Uses(Vec<Use>),
    Exprs(Vec<(String, Role)>),
}

/// A query of somebody else's: it must be PromQL once a range is put in, and give one value for each series.
fn foreign(expr: &str) -> Result<String, String> {
    bounded(expr)?;
    let tried = with_range(expr, FOREIGN_RANGE_MIN_S);
    match promql_parser::parser::parse(&tried).map(|parsed| parsed.value_type()) {
        Ok(ValueType::Vector | ValueType::Scalar) => Ok(expr.to_owned()),
        Ok(_) => Err(format!("`{expr}` gives no single value for a moment")),
        Err(error) => Err(format!("`{expr}` is not PromQL: {error}")),
    }
}

fn uses_of_source(
    sli: usize,
    unit: Unit,
    source: &SliSource,
    known: Option<&Known>,
    meta: &mut Sli,
) -> Result<Sourced, String> {
    let seen = known.map_or(&[][..], |known| &known.spelled);
    let on = |role, selector, le: Option<f64>| {
        let spelled = le.map_or(Vec::new(), |bound| threshold::spellings(bound, seen));
        Use { sli, role, selector, le, spelled, native: false }
    };
    match source {
        SliSource::Ratio { total, part } => {
            let total = Selector::parse(total)?;
            let (role, part) = match part {
                Part::Bad(text) => (Role::Bad, Selector::parse(text)?),
                Part::Good(text) => (Role::Good, Selector::parse(text)?),
                Part::Beside(text) => (Role::Bad, Selector::parse(text)?),
            };
            let beside = matches!(source, SliSource::Ratio { part: Part::Beside(_), .. });
            meta.paired = !total.contains(&part);
            meta.good_part = role == Role::Good;
            let mut uses = vec![on(Role::Total, total, None)];
            if beside {
                uses.push(on(Role::Total, part.clone(), None));
            }
            uses.push(on(role, part, None));
            Ok(Sourced::Uses(uses))
        }
        SliSource::Histogram { selector, threshold } | SliSource::Queue { histogram: selector, threshold, .. } => {
            let base = Selector::parse(selector)?;
            meta.paired = true;
            meta.good_part = true;
            meta.histogram = true;
            let count = base.renamed(format!("{}_count", base.metric));
            let bucket = base.renamed(format!("{}_bucket", base.metric));
            let mut uses = vec![on(Role::Total, count, None)];
            match threshold::reading(*threshold, known)? {
                Reading::At(bound) => uses.push(on(Role::Good, bucket, Some(bound))),
                Reading::Between(between) => {
                    meta.between = Some(between);
                    uses.extend(between.lower.map(|lower| on(Role::Lower, bucket.clone(), Some(lower))));
                    uses.push(on(Role::Upper, bucket, Some(between.upper)));
                }
            }
            meta.native = threshold::is_native(known);
            uses.iter_mut().for_each(|of| of.native = meta.native);
            if let SliSource::Queue { waiting, .. } = source {
                meta.queue = Some(unit.judged_on());
                uses.push(on(Role::Waiting, Selector::parse(waiting)?, None));
            }
            Ok(Sourced::Uses(uses))
        }
        SliSource::Query { bad, total: Some(total), .. } => {
            meta.rates = true;
            Ok(Sourced::Exprs(vec![(foreign(total)?, Role::Total), (foreign(bad)?, Role::Bad)]))
        }
        SliSource::Query { bad, total: None, .. } => Ok(Sourced::Exprs(vec![(foreign(bad)?, Role::Share)])),
        SliSource::Generations(_) => Err("a generation of metrics cannot hold generations itself".into()),
        SliSource::Gauge { expr, bound, trust } => {
            meta.bound = Some(*bound);
            meta.trust = *trust;
            bounded(expr)?;
            Ok(match Selector::parse(expr) {
                Ok(selector) => Sourced::Uses(vec![on(Role::Value, selector, None)]),
                Err(_) => Sourced::Exprs(vec![(expr.clone(), Role::Value)]),
            })
        }
    }
}

/// Uses that may share a request: same metric, same names fixed by equality, same other matchers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    metric: String,
    fixed: Vec<String>,
    others: Vec<String>,
    /// Set where thresholds are too many to share.
    le: Option<String>,
}

fn merge(ask: Ask, uses: &[&Use], slis: &[Sli]) -> Result<Vec<Fetch>, String> {
    // A use inside another one of the same bucket bound rides along.
    let mut by_metric: BTreeMap<&str, Vec<&Use>> = BTreeMap::new();
    for u in uses {
        by_metric.entry(&u.selector.metric).or_default().push(u);
    }
    let mut groups: BTreeMap<GroupKey, Vec<&Use>> = BTreeMap::new();
    let mut riders: Vec<&Use> = Vec::new();
    for (metric, uses) in &by_metric {
        let totals: HashMap<usize, &Selector> =
            uses.iter().filter(|u| u.role == Role::Total).map(|u| (u.sli, &u.selector)).collect();
        let bounds: BTreeSet<&String> = uses.iter().flat_map(|u| &u.spelled).collect();
        for u in uses {
            let rides = u.role != Role::Total
                && u.le.is_none()
                && totals.get(&u.sli).is_some_and(|total| total.contains(&u.selector));
            if rides {
                riders.push(u);
                continue;
            }
            let (fixed, others) = u.selector.matchers.iter().partition::<Vec<_>, _>(|m| m.op == MatchOp::Equal);
            let key = GroupKey {
                metric: (*metric).to_owned(),
                fixed: fixed.iter().map(|m| m.name.clone()).collect(),
                others: others.iter().map(|m| m.to_string()).collect(),
                le: u
                    .le
                    .filter(|_| bounds.len() > LE_SPELLINGS_MAX || ask == Ask::Native)
                    .map(|bound| bound.to_string()),
            };
            groups.entry(key).or_default().push(u);
        }
    }
    let mut fetches = Vec::new();
    for (key, uses) in groups {
        for chunk in chunks_of(&key, &uses) {
            fetches.push(fetch_of(ask, &key, &chunk, &riders, slis)?);
        }
    }
    Ok(fetches)
}

/// Cuts a group so that no merged matcher grows past `VALUES_MAX` alternatives.
fn chunks_of<'a>(key: &GroupKey, uses: &[&'a Use]) -> Vec<Vec<&'a Use>> {
    if key.fixed.is_empty() {
        return vec![uses.to_vec()];
    }
    let mut sorted = uses.to_vec();
    sorted.sort_by_key(|u| u.selector.to_string());
    sorted.chunks(VALUES_MAX).map(<[&Use]>::to_vec).collect()
}

fn fetch_of(ask: Ask, key: &GroupKey, uses: &[&Use], riders: &[&Use], slis: &[Sli]) -> Result<Fetch, String> {
    let first = &uses[0].selector;
    let mut merged = Selector { metric: key.metric.clone(), matchers: Vec::new() };
    merged.matchers.extend(first.matchers.iter().filter(|m| m.op != MatchOp::Equal).cloned());
    let mut keep: BTreeSet<String> = merged.matchers.iter().map(|m| m.name.clone()).collect();
    for name in &key.fixed {
        let values: BTreeSet<String> = uses
            .iter()
            .flat_map(|u| u.selector.matchers.iter())
            .filter(|m| m.name == *name && m.op == MatchOp::Equal)
            .map(|m| m.value.clone())
            .collect();
        merged = merged.with_values(name, &values.into_iter().collect::<Vec<_>>())?;
        keep.insert(name.clone());
    }
    let bounds: BTreeSet<String> = uses.iter().flat_map(|u| u.spelled.clone()).collect();
    let le = uses.iter().find_map(|u| u.le).filter(|_| ask == Ask::Native);
    if !bounds.is_empty() && ask != Ask::Native {
        merged = merged.with_values("le", &bounds.into_iter().collect::<Vec<_>>())?;
        keep.insert("le".into());
    }
    let mut of: Vec<usize> = uses.iter().map(|u| u.sli).collect();
    of.sort_unstable();
    of.dedup();
    let mut keep_undivided = keep.clone();
    for &sli in &of {
        keep.extend(slis[sli].by.iter().cloned());
    }
    for rider in riders.iter().filter(|r| of.binary_search(&r.sli).is_ok() && r.selector.metric == key.metric) {
        keep.extend(rider.selector.matchers.iter().map(|m| m.name.clone()));
        keep_undivided.extend(rider.selector.matchers.iter().map(|m| m.name.clone()));
    }
    Ok(Fetch {
        ask,
        expr: if ask == Ask::Native { native(&merged, le)? } else { merged.to_promql()? },
        le,
        metric: Some(key.metric.clone()),
        keep: keep.into_iter().collect(),
        keep_undivided: keep_undivided.into_iter().collect(),
        roles: Vec::new(),
        context: if ask == Ask::Gauge { context_of(&of, slis) } else { 0 },
        slis: of,
    })
}

/// The events of a native histogram, all or those up to a bound. `counted` is named as those of a classic one are.
fn native(counted: &Selector, le: Option<f64>) -> Result<String, String> {
    let name = counted.metric.trim_end_matches("_count").trim_end_matches("_bucket");
    let histogram = counted.renamed(name.to_owned()).to_promql()?;
    Ok(match le {
        None => format!("histogram_count({histogram})"),
        // Nothing of an empty one is under it: its share is no number.
        Some(le) => format!(
            "(histogram_fraction(-Inf, {le}, {histogram}) * histogram_count({histogram})) >= 0 or histogram_count({histogram}) == 0"
        ),
    })
}

fn index(uses: Vec<Use>) -> HashMap<String, MetricUses> {
    let mut by_metric: HashMap<String, MetricUses> = HashMap::new();
    for u in uses {
        by_metric.entry(u.selector.metric.clone()).or_default().uses.push(u);
    }
    for entry in by_metric.values_mut() {
        entry.split = split(&entry.uses);
    }
    by_metric
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

#[cfg(test)]
mod tests;
