//! Selectors that differ only in the values of equality matchers become one request (`service=~"a|b"`), and one that
//! another one contains (`bad` inside `total`) needs no request of its own.
//!
//! A request is cut by the bytes it is printed in, never by hope: names are as long as they are. What cannot be printed
//! is refused for its own SLI alone, and nothing of that SLI is asked for: half of it would be counted wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use promql_parser::label::MatchOp;

use crate::query::bucket::same_bound;
use crate::query::fetch::{Ask, Fetch, Plan, Role, Sli, Use};
use crate::query::promql::request;
use crate::query::selector::Selector;

/// Most alternatives merged into one matcher.
const VALUES_MAX: usize = 500;
/// Longest text of a merged request, bytes: half of what [`crate::query::selector::EXPR_BYTES_MAX`] and VictoriaMetrics
/// (`-search.maxQueryLen`, 16 KiB) take, for the sums and counts around it need room. One SLI alone may have more.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Histograms whose thresholds differ are merged up to this many `le` spellings; beyond, each threshold asks for itself
/// (one request must not read every bucket of everybody).
const LE_SPELLINGS_MAX: usize = 12;

/// What came of merging.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// Requests, in a fixed order.
    pub fetches: Vec<Fetch>,
    /// SLIs that cannot be asked for, by their index, with why. No request holds anything of them.
    pub refused: BTreeMap<usize, String>,
}

/// Uses that may share a request: same metric, same names fixed by equality, same other matchers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    metric: String,
    fixed: Vec<String>,
    others: Vec<String>,
    /// Set where thresholds are too many to share.
    le: Option<String>,
    /// Labels that name a scraped target, of counters.
    targets: Vec<String>,
}

/// Tells each request of a batch where all events of its SLIs are, if that is one other request.
fn with_totals<'a>(
    mut made: Vec<(&'a GroupKey, Fetch)>,
    family: &CutFamily<'a>,
    batch: &[usize],
) -> Vec<(&'a GroupKey, Fetch)> {
    let of_totals = batch.iter().flat_map(|sli| &family.uses[sli]).filter(|(_, u)| u.role == Role::Total);
    let totals: BTreeSet<&GroupKey> = of_totals.map(|(key, _)| family.keys[*key]).collect();
    let mut all = made.iter().filter(|(key, _)| totals.contains(key)).map(|(key, fetch)| (*key, fetch.expr.clone()));
    if let (Some((total, all)), None) = (all.next(), all.next()) {
        for (key, fetch) in &mut made {
            fetch.all = (*key != total).then(|| all.clone());
        }
    }
    made
}

/// Uses of one kind by what they may share, and those that ride along in the requests of others.
struct Sorted<'a> {
    shared: BTreeMap<GroupKey, Vec<&'a Use>>,
    riders: Vec<&'a Use>,
}

/// Uses that must be cut at the same SLIs, because some SLI has uses in more than one of the requests: if each were cut
/// where it likes, all of them would hang together, and one that fails would be bound to all.
#[derive(Default)]
struct CutFamily<'a> {
    keys: Vec<&'a GroupKey>,
    /// Of each SLI its uses, and in which of the requests: an index into `keys`.
    uses: BTreeMap<usize, Vec<(usize, &'a Use)>>,
}

/// The requests for these uses, all of which are asked for in the same way.
pub(super) fn merge(ask: Ask, uses: &[&Use], slis: &[Sli]) -> Merged {
    let mut merged = Merged::default();
    loop {
        let uses: Vec<&Use> = uses.iter().copied().filter(|u| !merged.refused.contains_key(&u.sli)).collect();
        let (fetches, refused) = merged_once(ask, &uses, slis);
        if refused.is_empty() {
            return Merged { fetches, ..merged };
        }
        // Without those that were just refused: each round has fewer.
        merged.refused.extend(refused);
    }
}

impl Plan {
    /// The requests that answer for some of the SLIs of `fetches` alone.
    pub fn narrowed(&self, fetches: &[Fetch], slis: &BTreeSet<usize>) -> Vec<Fetch> {
        let mut narrowed: Vec<Fetch> = Vec::new();
        let mut asked: BTreeMap<Ask, BTreeMap<&str, BTreeSet<usize>>> = BTreeMap::new();
        for fetch in fetches {
            let of: Vec<usize> = fetch.slis.iter().copied().filter(|sli| slis.contains(sli)).collect();
            match &fetch.metric {
                _ if of.is_empty() => {}
                None => narrowed.push(Fetch { slis: of, ..fetch.clone() }),
                Some(metric) => asked.entry(fetch.ask).or_default().entry(metric).or_default().extend(of),
            }
        }
        for (ask, metrics) in asked {
            let of = |(metric, slis): (&str, BTreeSet<usize>)| {
                let uses = self.uses.of_metric(metric).iter();
                uses.filter(move |u| u.ask() == ask && slis.contains(&u.sli))
            };
            let uses: Vec<&Use> = metrics.into_iter().flat_map(of).collect();
            // What would be refused here was refused when the plan was made, and is in none of its requests.
            narrowed.extend(merge(ask, &uses, &self.slis).fetches);
        }
        narrowed
    }
}

fn merged_once(ask: Ask, uses: &[&Use], slis: &[Sli]) -> (Vec<Fetch>, BTreeMap<usize, String>) {
    let Sorted { shared, riders } = sorted(ask, uses, slis);
    let (mut fetches, mut refused) = (Vec::new(), BTreeMap::new());
    for family in families(&shared) {
        let order = family.order();
        let mut left: Vec<&[usize]> = family.cuts(ask, &order);
        left.reverse();
        while let Some(batch) = left.pop() {
            let made: Result<Vec<(&GroupKey, Fetch)>, String> =
                family.of(batch).map(|(key, uses)| Ok((key, fetch_of(ask, key, &uses, &riders, slis)?))).collect();
            let made = made.map(|made| with_totals(made, &family, batch));
            // What turns out too long after all is halved, and what cannot be printed is halved until it is alone.
            let halves = batch.split_at(batch.len() / 2);
            match made {
                Ok(made) if batch.len() == 1 || made.iter().all(|(_, one)| one.expr.len() <= REQUEST_BYTES_MAX) => {
                    fetches.extend(made);
                }
                Err(reason) if batch.len() == 1 => drop(refused.insert(batch[0], reason)),
                Ok(_) | Err(_) => left.extend([halves.1, halves.0]),
            }
        }
    }
    fetches.sort_by_key(|&(key, _)| key);
    (fetches.into_iter().map(|(_, fetch)| fetch).collect(), refused)
}

fn sorted<'a>(ask: Ask, uses: &[&'a Use], slis: &[Sli]) -> Sorted<'a> {
    let mut by_metric: BTreeMap<&str, Vec<&Use>> = BTreeMap::new();
    for u in uses {
        by_metric.entry(&u.selector.metric).or_default().push(u);
    }
    let mut sorted = Sorted { shared: BTreeMap::new(), riders: Vec::new() };
    for (metric, uses) in &by_metric {
        let totals: HashMap<usize, &Selector> =
            uses.iter().filter(|u| u.role == Role::Total).map(|u| (u.sli, &u.selector)).collect();
        let bounds: BTreeSet<&String> = uses.iter().flat_map(|u| &u.spelled).collect();
        for u in uses {
            // A use inside another one of the same bucket bound rides along.
            let rides = u.role != Role::Total
                && u.le.is_none()
                && totals.get(&u.sli).is_some_and(|total| total.contains(&u.selector));
            if rides {
                sorted.riders.push(u);
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
                targets: if ask == Ask::Counter { slis[u.sli].target_labels.clone() } else { Vec::new() },
            };
            sorted.shared.entry(key).or_default().push(u);
        }
    }
    sorted
}

fn families<'a>(shared: &'a BTreeMap<GroupKey, Vec<&'a Use>>) -> Vec<CutFamily<'a>> {
    let mut families: Vec<CutFamily<'a>> = Vec::new();
    let mut family_of: HashMap<usize, usize> = HashMap::new();
    for (key, uses) in shared {
        let linked: BTreeSet<usize> = uses.iter().filter_map(|u| family_of.get(&u.sli).copied()).collect();
        let mut linked = linked.into_iter();
        let home = linked.next().unwrap_or_else(|| {
            families.push(CutFamily::default());
            families.len() - 1
        });
        for other in linked {
            let CutFamily { keys, uses } = std::mem::take(&mut families[other]);
            let moved = families[home].keys.len();
            families[home].keys.extend(keys);
            for (sli, uses) in uses {
                family_of.insert(sli, home);
                let uses = uses.into_iter().map(|(key, u)| (key + moved, u));
                families[home].uses.entry(sli).or_default().extend(uses);
            }
        }
        let place = families[home].keys.len();
        families[home].keys.push(key);
        for u in uses {
            family_of.insert(u.sli, home);
            families[home].uses.entry(u.sli).or_default().push((place, *u));
        }
    }
    families
}

impl<'a> CutFamily<'a> {
    /// Its SLIs in an order that does not depend on how many there are: by what they select.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<(String, usize)> = self
            .uses
            .iter()
            .map(|(&sli, uses)| (uses.first().map_or_else(String::new, |(_, u)| u.selector.to_string()), sli))
            .collect();
        order.sort();
        order.into_iter().map(|(_, sli)| sli).collect()
    }

    /// The uses of some SLIs, request by request.
    fn of(&self, slis: &[usize]) -> impl Iterator<Item = (&'a GroupKey, Vec<&'a Use>)> {
        let mut by_key: BTreeMap<usize, Vec<&'a Use>> = BTreeMap::new();
        for &(key, u) in slis.iter().flat_map(|sli| &self.uses[sli]) {
            by_key.entry(key).or_default().push(u);
        }
        by_key.into_iter().map(|(key, uses)| (self.keys[key], uses))
    }

    /// Cuts its SLIs, in this order, so that no request holds more than [`VALUES_MAX`] of them and none, as far as can be
    /// said before it is printed, is longer than [`REQUEST_BYTES_MAX`].
    fn cuts<'b>(&self, ask: Ask, order: &'b [usize]) -> Vec<&'b [usize]> {
        if self.keys.iter().all(|key| key.fixed.is_empty()) {
            // There is one selector, however many read it.
            return vec![order];
        }
        let mut lengths = Lengths::new(self.keys.len());
        let (mut cuts, mut start) = (Vec::new(), 0);
        for (i, sli) in order.iter().enumerate() {
            let full = lengths.add(ask, &self.keys, &self.uses[sli]);
            if i > start && (full || i - start >= VALUES_MAX) {
                cuts.push(&order[start..i]);
                start = i;
                lengths = Lengths::new(self.keys.len());
                lengths.add(ask, &self.keys, &self.uses[sli]);
            }
        }
        cuts.push(&order[start..]);
        cuts
    }
}

/// How long requests in the making are going to be printed.
struct Lengths<'a>(Vec<(usize, BTreeSet<(&'a str, &'a str)>)>);

impl<'a> Lengths<'a> {
    fn new(requests: usize) -> Self {
        Lengths(vec![(0, BTreeSet::new()); requests])
    }

    /// Adds the uses of one SLI. Whether a request is too long with them.
    fn add(&mut self, ask: Ask, keys: &[&GroupKey], uses: &[(usize, &'a Use)]) -> bool {
        let mut full = false;
        for &(place, u) in uses {
            let (bytes, values) = &mut self.0[place];
            if values.is_empty() {
                let key = keys[place];
                *bytes =
                    key.metric.len() + key.fixed.iter().chain(&key.others).map(|text| text.len() + 6).sum::<usize>();
            }
            let fixed = u.selector.matchers.iter().filter(|m| m.op == MatchOp::Equal);
            let fixed = fixed.map(|m| (m.name.as_str(), m.value.as_str()));
            for value in fixed.chain(u.spelled.iter().map(|text| ("le", text.as_str()))) {
                if values.insert(value) {
                    *bytes += printed_bytes(value.1) + 1;
                }
            }
            // What stands around a native histogram names it three times.
            let copies = if ask == Ask::Native { 3 } else { 1 };
            full |= copies * *bytes + 128 > REQUEST_BYTES_MAX;
        }
        full
    }
}

/// Bytes of a value as an alternative of a regular expression between quotes, where each backslash is written twice.
fn printed_bytes(value: &str) -> usize {
    let escaped = regex::escape(value);
    escaped.len() + escaped.bytes().filter(|byte| matches!(byte, b'\\' | b'"' | b'\n')).count()
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
        targets: key.targets.clone(),
        all: None,
        spelled: if ask == Ask::Counter { spelled_of(uses) } else { Vec::new() },
        roles: Vec::new(),
        context: if ask == Ask::Gauge { context_of(&of, slis) } else { 0 },
        slis: of,
    })
}

/// The spellings of each bound that these uses ask for.
fn spelled_of(uses: &[&Use]) -> Vec<Vec<String>> {
    let mut bounds: Vec<(f64, BTreeSet<&String>)> = Vec::new();
    for (bound, u) in uses.iter().filter_map(|u| Some((u.le?, u))) {
        match bounds.iter_mut().find(|(known, _)| same_bound(*known, bound)) {
            Some((_, spelled)) => spelled.extend(&u.spelled),
            None => bounds.push((bound, u.spelled.iter().collect())),
        }
    }
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    bounds.into_iter().map(|(_, spelled)| spelled.into_iter().cloned().collect()).collect()
}

/// The events of a native histogram, all or those up to a bound. `counted` is named as those of a classic one are.
fn native(counted: &Selector, le: Option<f64>) -> Result<String, String> {
    let name = counted.metric.trim_end_matches("_count").trim_end_matches("_bucket");
    Ok(request::native(&counted.renamed(name.to_owned()).to_promql()?, le))
}

/// Slices before the first wanted one that any of these SLIs needs to be judged by: a counter moves from one to the next.
pub(super) fn context_of(slis: &[usize], all: &[Sli]) -> i64 {
    let of = |sli: &Sli| {
        let moves = i64::from(sli.queue.is_some_and(|rule| rule.through));
        sli.trust.frozen_after.map_or(0, i64::from).max(moves)
    };
    slis.iter().map(|&sli| of(&all[sli])).max().unwrap_or(0)
}
